"""Stored training rows: products with them, and rows that come and go.

A row keeps its *storage index* while others leave. New rows get the storage indices
after the last one, and only `compact` moves rows to others. Which of the rows are
current training rows, their positions, ids and targets are in the row table.

Conventions
-----------
* ``indices`` is an int64 array that says which rows to read, in which order.
* ``coef`` is an iterate of shape (n_outputs, n_dof), C order. Its columns from
  n_features on (the intercept) are ignored. `layout` brings it into the order that the
  kernels of a storage read best.
* An *accumulator* collects gradients in that same order. `deposit` adds it to a
  gradient.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

# A cost: entries of the rows that are copied at a time to be multiplied by BLAS. They
# take 4 MB, which stay in the cache.
_GRAM_ENTRIES = 2**19


class AbstractRows(ABC):
    """Rows of a design matrix, dense or sparse.

    Attributes
    ----------
    n_features : int
    dtype : dtype
        float64 or float32; all sums are in float64.
    entry_cost : float
        A cost: time of a product with one stored entry, in units of one with an entry
        of dense rows.
    keeps_zeros : bool
        Whether a transformation of the rows must leave zeros as they are, because the
        rows would take too much memory without: for example a `StandardScaler`.
    shows_lengths : bool
        Whether a removed row still shows how many entries it had, until `compact`.
    """

    entry_cost: ClassVar[float]
    keeps_zeros: ClassVar[bool]
    shows_lengths: ClassVar[bool]

    n_features: int
    dtype: np.dtype

    @staticmethod
    @abstractmethod
    def in_form(X):
        """Return given rows, an array or a sparse matrix, in the form of `read`."""

    @staticmethod
    @abstractmethod
    def contents(X):
        """Return the bytes of every row that `read` returned, equal for equal rows."""

    @staticmethod
    @abstractmethod
    def distances(X, x):
        """Return Euclidean distances of rows to one row, both as `read` returns them.

        Shape (n_rows,).
        """

    @abstractmethod
    def __len__(self):
        """Return the number of storage indices, including those of removed rows."""

    @abstractmethod
    def block_size(self):
        """Return the number of rows that stay in the cache between two products."""

    @abstractmethod
    def n_entries(self, indices):
        """Return the number of entries stored for some rows."""

    @abstractmethod
    def layout(self, coef):
        """Return coefficients in the order that `matvec` reads."""

    @abstractmethod
    def accumulator(self, shape):
        """Return zeros for `rmatvec` to add a gradient of some shape to."""

    @abstractmethod
    def as_accumulator(self, gradient):
        """Return a view of a gradient that `rmatvec` can add to, or None."""

    @abstractmethod
    def deposit(self, accumulator, gradient_out):
        """Add an accumulator to a gradient of shape (n_outputs, n_dof)."""

    @abstractmethod
    def matvec(self, coef, intercept, indices, raw_out):
        """Compute ``raw_out[i, k] = x[indices[i]] @ coef[k] + intercept[k]``."""

    @abstractmethod
    def rmatvec(self, pointwise, indices, accumulator):
        """Compute ``accumulator[k] += sum_i pointwise[i, k] x[indices[i]]``."""

    @abstractmethod
    def extended(self, indices, centre):
        """Return dense copies of rows, shape (n_rows, n_dof), dtype float64.

        If a centre is given, it is subtracted and a column of ones is appended.
        """

    @abstractmethod
    def add_grams(self, indices, weights, centre, grams_out):
        """Add ``sum_i weights[g, i] x_i x_i'`` to every ``grams_out[g]``.

        Rows are meant as `extended` returns them.

        Parameters
        ----------
        indices : ndarray of shape (n_rows,)
        weights : ndarray of shape (n_grams, n_rows)
            May be negative.
        centre : ndarray of shape (n_features,) or None
        grams_out : ndarray of shape (n_grams, n_dof, n_dof)
        """

    @abstractmethod
    def add_squares(self, indices, weights, centre, squares_out):
        """Add ``sum_i weights[i, k] x_ij^2`` to every ``squares_out[k, j]``.

        Rows are meant as `extended` returns them.

        Parameters
        ----------
        indices : ndarray of shape (n_rows,)
        weights : ndarray of shape (n_rows, n_sums)
        centre : ndarray of shape (n_features,) or None
        squares_out : ndarray of shape (n_sums, n_dof)
        """

    @abstractmethod
    def column_moments(self, indices, weight, shift=None):
        """Return three sums over some rows, for each column of x - shift.

        Parameters
        ----------
        indices : ndarray of shape (n_rows,)
        weight : ndarray of shape (n_rows,)
        shift : ndarray of shape (n_features,), optional
            Zeros by default.

        Returns
        -------
        counts : ndarray of shape (n_features,), dtype int
            Entries other than zero.
        sums, squares : ndarray of shape (n_features,)
            Weighted sums of the entries and of their squares.
        """

    @abstractmethod
    def squared_distances(self, indices, centre, scale=None):
        """Return ``sum_j scale_j (x_ij - centre_j)^2``, shape (n_rows,).

        The scales are ones by default.
        """

    @abstractmethod
    def read(self, indices):
        """Return copies of rows, an array or a CSR matrix."""

    @abstractmethod
    def append(self, X):
        """Store rows after the last one, and return their storage indices."""

    @abstractmethod
    def mark(self):
        """Return where the storage ends now, for `truncate`."""

    @abstractmethod
    def truncate(self, mark):
        """Drop all rows that were stored since `mark` was called."""

    @abstractmethod
    def wipe(self, indices):
        """Overwrite rows with zeros."""

    @abstractmethod
    def restore(self, indices, X):
        """Undo `wipe`, given what `read` returned before."""

    @abstractmethod
    def touched(self, indices):
        """Return all arrays with the places of the entries that `wipe` overwrites."""

    @abstractmethod
    def compact(self, transaction, indices):
        """Keep some rows only, and move them in place to the storage indices from 0 on.

        Parameters
        ----------
        transaction : Transaction
            Undoes it.
        indices : ndarray of shape (n_rows,)
            Their storage indices, ascending. All others were wiped before.
        """

    @abstractmethod
    def _arrays(self):
        """Return all that is stored, as instances of `GrowingArray`."""

    def numbers(self, shape, dtype=float):
        """Return zeros for a while, stored where the rows are: see `GrowingArray`."""
        return self._arrays()[0].numbers(shape, dtype)

    def _blocks(self, n_rows, entries_per_row):
        """Return slices of rows, to be copied and multiplied by BLAS one by one."""
        size = max(_GRAM_ENTRIES // max(1, entries_per_row), 64)
        return [slice(first, first + size) for first in range(0, n_rows, size)]

    def give_back(self):
        """Return spare memory to the operating system."""
        for array in self._arrays():
            array.give_back()

    def shorten(self):
        """Give up the spare room of files."""
        for array in self._arrays():
            array.shorten()

    def into_memory(self):
        """Copy arrays that are memory-mapped files."""
        for array in self._arrays():
            array.into_memory()


def no_moments(n_features):
    """Return zeros for the three sums of `AbstractRows.column_moments`."""
    return np.zeros(n_features, np.int64), *np.zeros((2, n_features))
