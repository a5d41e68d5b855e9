"""What all batches of a source have in common."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Form:
    """The columns of some rows, and what is given beside them.

    Parameters
    ----------
    n_features : int
    names : tuple of str, or None
        Names of the features.
    dtype : dtype
        That of the features, float32 or float64.
    is_sparse : bool
    given : tuple of str
        Which of `y`, `sample_weight` and `sample_id` there are.
    """

    n_features: int
    names: tuple[str, ...] | None
    dtype: np.dtype
    is_sparse: bool
    given: tuple[str, ...]

    def check_same(self, other, place):
        """Raise unless rows of another form can follow those of this one.

        Raises
        ------
        TypeError
            If the features have another type, or only one of the two is sparse.
        ValueError
            If the columns differ, or what is given beside them.
        """
        X = place.of("X")
        if other.is_sparse != self.is_sparse:
            words = {True: "sparse", False: "dense"}
            raise TypeError(
                f"{X} is {words[other.is_sparse]}, and the batches before it are "
                f"{words[self.is_sparse]}. Convert them to one form."
            )
        if (other.n_features, other.names) != (self.n_features, self.names):
            raise ValueError(
                f"{X} has other columns than the batches before it: "
                f"{self._difference(other)}. Give the same columns in the same order."
            )
        if other.dtype != self.dtype:
            raise TypeError(
                f"{X} becomes {other.dtype}, and the batches before it {self.dtype}. "
                "Convert them to one type with astype."
            )
        if other.given != self.given:
            raise ValueError(
                f"with {X} came {', '.join(other.given) or 'nothing'}, and with the "
                f"batches before it {', '.join(self.given) or 'nothing'}. Give y, "
                "sample_weight and sample_id with all batches or with none."
            )

    def _difference(self, other):
        if other.n_features != self.n_features:
            return f"{other.n_features} features, not {self.n_features}"
        if other.names is None or self.names is None:
            return "it has no names" if other.names is None else "it has names"
        pairs = enumerate(zip(other.names, self.names, strict=True))
        number, (now, before) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
        return f"feature {number} is {now!r}, not {before!r}"
