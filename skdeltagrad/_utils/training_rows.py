"""What an estimator can say about its training rows when it is searched for others."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TrainingSums:
    """Sums over the current training rows, which may be found without being a leak.

    Attributes
    ----------
    vectors : dict of str to ndarray of shape (n_features,)
        Sums of the rows: first unweighted, then weighted, then of each class or target.
    magnitudes : dict of str to float
        An upper bound of the lengths of the terms of each: rounding is relative to it.
    n_rows : int
        The number of rows.
    centre : ndarray of shape (n_features,) or None
        What is subtracted from the rows, if they are centred.
    squares : dict of str to ndarray of shape (n_features,)
        Sums of the squared rows, by the same names.
    """

    vectors: dict
    magnitudes: dict
    n_rows: int
    centre: np.ndarray | None
    squares: dict


class KnowsTrainingRows(ABC):
    """An estimator that knows which rows are in its training set.

    :func:`assert_erased` asks every such object that it comes across, provided that
    its ``n_features_in_`` is the width of the removed rows. What it finds is no leak if
    it is a current training row, or follows from these rows alone.
    """

    def _purge_state(self) -> tuple[str, str | None]:
        """Tell whether what is kept is a function of the current training rows alone.

        Returns
        -------
        state : {"yes", "no", "cannot"}
            "no" if traces of removed rows may remain until a purge, "cannot" if a purge
            cannot remove them. By default "yes": an object without a purge has nothing
            to purge.
        reason : str or None
            Why the state is not "yes".
        """
        return "yes", None

    def _knows_rows(self) -> bool:
        """Tell whether the training rows are kept, so that they can be counted."""
        return True

    def _row_files(self) -> list[str]:
        """Return the paths of files that belong to the estimator, and hold its rows."""
        return []

    @abstractmethod
    def _count_equal_rows(self, X: np.ndarray) -> np.ndarray:
        """Count the current training rows that are equal to each row of X.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features), dtype float64

        Returns
        -------
        counts : ndarray of shape (n_rows,), dtype int
        """

    def _count_multiples(self, X: np.ndarray) -> np.ndarray:
        """Count the current training rows that are multiples of each row of X."""
        return np.zeros(len(X), np.int64)

    def _count_ids(self, ids: np.ndarray) -> np.ndarray:
        """Count the current training rows that carry each id."""
        return np.zeros(len(ids), np.int64)

    def _training_sums(self) -> TrainingSums | None:
        """Return sums over the current training rows, or None if they are not kept."""
        return None

    def _implied_vectors(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield vectors that are not stored but follow from what is.

        Yields
        ------
        place : str
            What the vectors are.
        vectors : ndarray of shape (n_vectors, n_features)
        noise : ndarray of shape (n_vectors,)
            How far each may be off by rounding, in length.
        """
        yield from ()

    def _index_keys(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the key that each row is indexed by, and its rounding; or None."""
        return None
