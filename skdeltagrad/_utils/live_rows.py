"""What an estimator can tell about its training rows when it is searched."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LiveSums:
    """Vectors that a training set accounts for.

    Attributes
    ----------
    vectors : dict of str to ndarray of shape (n_features,)
        Sums over the rows that are there.
    magnitudes : dict of str to float
        What the terms of each add up to, in length: their rounding is a part of it.
    n_rows : int
        How many rows there are.
    centre : ndarray of shape (n_features,) or None
        Where the rows are centred.
    squares : dict of str to ndarray of shape (n_features,)
        Sums of the rows' squares; their terms are their magnitudes.
    """

    vectors: dict
    magnitudes: dict
    n_rows: int
    centre: np.ndarray | None
    squares: dict


class LiveRows(ABC):
    """An estimator that can tell which rows are in its training set.

    :func:`assert_erased` asks every such object it comes across, provided that
    its ``n_features_in_`` is the width of the rows, so as not to report a
    removed row of which a twin is still, legitimately, a training row; and to
    know what may stand next to a removed row in sums.
    """

    def _purge_state(self) -> tuple[str, str | None]:
        """Tell whether what is kept is a function of the current training rows alone.

        Returns
        -------
        state : {"yes", "no", "cannot"}
            "no" where what follows from removed rows may still be there until it is
            purged, "cannot" where it cannot be purged. By default "yes": an object that
            knows of no purge has nothing to purge.
        reason : str or None
            Why it is not "yes".
        """
        return "yes", None

    def _knows_rows(self) -> bool:
        """Tell whether the training rows are kept, so that they can be counted."""
        return True

    @abstractmethod
    def _count_live_copies(self, X: np.ndarray) -> np.ndarray:
        """Count the present training rows that are equal to each row of X.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features), dtype float64
            The rows to count.

        Returns
        -------
        counts : ndarray of shape (n_rows,), dtype int
            How many rows of the present training set equal each row.
        """

    def _count_live_multiples(self, X: np.ndarray) -> np.ndarray:
        """Count the present training rows that are multiples of each row of X."""
        return np.zeros(len(X), np.int64)

    def _count_live_ids(self, ids: np.ndarray) -> np.ndarray:
        """Count the present training rows that carry each id."""
        return np.zeros(len(ids), np.int64)

    def _live_sums(self) -> LiveSums | None:
        """Give sums over the present training rows, or None if they are not known."""
        return None

    def _implied_vectors(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield vectors that are not stored, but follow from what is.

        Yields
        ------
        place : str
            What they are.
        vectors : ndarray of shape (n_vectors, n_features)
        noise : ndarray of shape (n_vectors,)
            What each may be off by, in length.
        """
        yield from ()

    def _marks(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Give the number that each row is indexed by, and its rounding; or None."""
        return None
