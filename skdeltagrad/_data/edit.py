"""The rows of one edit, as the engines see them."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from .._utils.text import shown

NO_SLOTS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class GivenRows:
    """Rows that came with a request, checked.

    Attributes
    ----------
    X : ndarray or csr_matrix of shape (n_rows, n_features)
        As it is stored: C order or canonical CSR, of the storage's dtype.
    y : ndarray
        Targets, as given.
    weight : ndarray of shape (n_rows,) or None
    ids : ndarray of shape (n_rows,) or None
    """

    X: np.ndarray | sparse.csr_matrix
    y: np.ndarray
    weight: np.ndarray | None = None
    ids: np.ndarray | None = None

    def __len__(self):
        return self.X.shape[0]


@dataclass(frozen=True)
class Edit:
    """Rows that leave and rows that join.

    Attributes
    ----------
    removed : ndarray of shape (n_removed,)
        Slots.
    added : GivenRows or None
    taken_over : ndarray of shape (n_added,) or None
        Position that each added row takes over, GONE where it gets a new one.
    n_missing : int
        Rows, positions and ids that were not there and were passed over.
    missing : tuple of str
        What receipts call those positions and ids.
    indexed : bool
        Whether the rows had to be indexed by content.
    """

    removed: np.ndarray
    added: GivenRows | None = None
    taken_over: np.ndarray | None = None
    n_missing: int = 0
    missing: tuple = ()
    indexed: bool = False

    def also(self, removal):
        """This edit, and the removal of other rows in the same go."""
        return replace(
            self,
            removed=np.union1d(self.removed, removal.removed),
            n_missing=self.n_missing + removal.n_missing,
            missing=self.missing + removal.missing,
        )

    @property
    def n_added(self):
        """Number of rows that join."""
        return 0 if self.added is None else len(self.added)


@dataclass(frozen=True)
class Change:
    """Rows that leave and rows that join, by slot and by position.

    Removed rows have left their positions already and added ones have not taken theirs
    yet; the data of both is still, or already, stored.
    """

    removed_slots: np.ndarray
    removed_positions: np.ndarray
    added_slots: np.ndarray
    added_positions: np.ndarray

    def __len__(self):
        return len(self.removed_slots) + len(self.added_slots)

    def removal(self):
        """The rows that leave alone."""
        return Change(self.removed_slots, self.removed_positions, NO_SLOTS, NO_SLOTS)

    def addition(self):
        """The rows that join alone."""
        return Change(NO_SLOTS, NO_SLOTS, self.added_slots, self.added_positions)


NO_CHANGE = Change(NO_SLOTS, NO_SLOTS, NO_SLOTS, NO_SLOTS)


def refuse_missing(missing, n_samples, weight, on_missing):
    """Raise ValueError for rows that are not stored, unless they are passed over.

    Parameters
    ----------
    missing : ndarray of shape (n_rows,), dtype bool
    n_samples : int
        Number of training rows.
    weight : str
        What is said about weights.
    on_missing : {"raise", "ignore"}
    """
    if missing.any() and on_missing == "raise":
        raise ValueError(
            f"X[{shown(np.flatnonzero(missing))}], with its y{weight}, is not among "
            f"the {n_samples} training rows: nothing is changed. Rows must be given as "
            "they were given to fit (transformed in the same way, with the same y); "
            'pass on_missing="ignore" to pass over rows that are not there.'
        )
