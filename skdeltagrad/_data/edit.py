"""One edit of the training rows, from the request to the kernels.

A request names rows that leave and brings rows that join (`Edit.removed`,
`Edit.new_rows`). Targets are then translated to the codes of the model
(`Edit.coded`), and staging stores the new rows and fills in where everything is
(`Edit.staged`): see `training_set.TrainingSet.stage`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import sparse

from .._utils.text import shown

NO_ROWS = np.zeros(0, np.int64)


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
        Storage indices.
    new_rows : GivenRows or None
        The rows that join, as they were given.
    taken_over : ndarray of shape (n_new_rows,) or None
        Position that each new row takes over, GONE where it gets another one.
    n_missing : int
        Number of rows, positions and ids of the request that were not found and are
        ignored.
    missing : tuple of str
        Those positions and ids, as reports name them.
    indexed : bool
        Whether the rows had to be indexed by content.
    y, weight : ndarray or None
        Targets of the new rows as the loss reads them, and their weights times the
        factors of a ``class_weight`` dict.
    removed_positions, added, added_positions : ndarray
        Filled in by staging: positions of the removed rows, which they have left
        already, storage indices of the new rows, and the positions that they will
        have. The data of both is stored until the edit is settled.
    """

    removed: np.ndarray
    new_rows: GivenRows | None = None
    taken_over: np.ndarray | None = None
    n_missing: int = 0
    missing: tuple = ()
    indexed: bool = False
    y: np.ndarray | None = None
    weight: np.ndarray | None = None
    removed_positions: np.ndarray = field(default_factory=lambda: NO_ROWS)
    added: np.ndarray = field(default_factory=lambda: NO_ROWS)
    added_positions: np.ndarray = field(default_factory=lambda: NO_ROWS)

    def __len__(self):
        return len(self.removed) + len(self.added)

    @property
    def n_new_rows(self):
        """Number of rows that join."""
        return 0 if self.new_rows is None else len(self.new_rows)

    def also(self, removal):
        """Return this edit together with another removal of rows."""
        return replace(
            self,
            removed=np.union1d(self.removed, removal.removed),
            n_missing=self.n_missing + removal.n_missing,
            missing=self.missing + removal.missing,
        )

    def coded(self, y, factor):
        """Return this edit with the targets of its new rows as the loss reads them.

        Parameters
        ----------
        y : ndarray of shape (n_new_rows, ...)
        factor : ndarray of shape (n_new_rows,)
            What a ``class_weight`` dict multiplies their weights with.
        """
        if self.new_rows is None:
            return self
        return replace(self, y=y, weight=self.new_rows.weight * factor)

    def staged(self, removed_positions, added=NO_ROWS, added_positions=NO_ROWS):
        """Return this edit with the positions and storage indices of its rows."""
        return replace(
            self, removed_positions=removed_positions, added=added,
            added_positions=added_positions,
        )  # fmt: skip

    def removal(self):
        """Return an edit of which rows only leave."""
        return Edit(self.removed, removed_positions=self.removed_positions)

    def addition(self):
        """Return an edit of which rows only join."""
        return Edit(NO_ROWS).staged(NO_ROWS, self.added, self.added_positions)


NO_EDIT = Edit(NO_ROWS)


def refuse_missing(missing, n_samples, weight, on_missing):
    """Raise ValueError for rows that are not stored, unless they are ignored.

    Parameters
    ----------
    missing : ndarray of shape (n_rows,), dtype bool
    n_samples : int
        Number of training rows.
    weight : str
        What the message says about weights.
    on_missing : {"raise", "ignore"}
    """
    if missing.any() and on_missing == "raise":
        raise ValueError(
            f"X[{shown(np.flatnonzero(missing))}], with its y{weight}, is not among "
            f"the {n_samples} training rows: nothing is changed. Rows must be given as "
            "they were given to fit (transformed in the same way, with the same y); "
            'pass on_missing="ignore" to pass over rows that are not there.'
        )
