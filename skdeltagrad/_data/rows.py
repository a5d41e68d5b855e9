"""Stored training rows: products with them, and rows that come and go.

A row keeps its *storage index* while others leave: storage indices are handed out at the end, and rows are
moved to other storage indices by `compact` alone, now and then. What a row is called
outside (its position, its id), whether it is alive and what its target is, is the
row table's business.

Conventions
-----------
* ``indices`` is an int64 array that says which rows to read, in which order.
* ``coef`` is an iterate of shape (n_outputs, n_dof), C order, whose columns from
  n_features on (the intercept) are ignored; `layout` brings it into the order that the
  kernels of a storage read best.
* An *accumulator* collects gradients in that same order; `deposit` adds it to one.
"""

from abc import ABC, abstractmethod

import numpy as np
from scipy import sparse
from scipy.linalg import blas

from .. import _kernels
from .compaction import RowEntries, Shift
from .growing_array import GrowingArray

# Rows worked on at a time: about half of a core's second-level cache, so that the
# second product finds them there.
_BLOCK_BYTES = 2**19
# Entries copied at a time to be multiplied by BLAS: 4 MB.
_GRAM_ENTRIES = 2**19
# Fewer rows than this share of the columns are few.
_FEW = 0.25


def canonical(X):
    """Rows as they are stored: CSR with sorted columns, each once, or an array."""
    if sparse.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


class AbstractRows(ABC):
    """Rows of a design matrix, dense or sparse.

    Attributes
    ----------
    n_features : int
    dtype : dtype
        float64 or float32; all sums are in float64.
    is_sparse : bool
    entry_cost : float
        A cost: time of a product with one stored entry, in units of one with an entry
        of dense rows.
    keeps_zeros : bool
        Whether a transformation of the rows must leave zeros as they are, because the
        rows would take too much memory without: for example a `StandardScaler`.
    """

    is_sparse: bool
    entry_cost: float
    keeps_zeros: bool

    @staticmethod
    def of(X):
        """Copy a C-ordered array or a canonical CSR matrix into storage of our own."""
        return CsrRows(X) if sparse.issparse(X) else DenseRows(X)

    @staticmethod
    @abstractmethod
    def in_form(X):
        """Given rows, an array or a sparse matrix, in the form of the stored ones."""

    @abstractmethod
    def __len__(self):
        """Number of storage indices, those of removed rows included."""

    @abstractmethod
    def block_size(self):
        """Number of rows that stay in cache between two products."""

    @abstractmethod
    def n_entries(self, indices):
        """Number of entries stored for some rows."""

    @abstractmethod
    def layout(self, coef):
        """Coefficients in the order that `matvec` reads."""

    @abstractmethod
    def accumulator(self, shape):
        """Zeros that `rmatvec` adds to, for a gradient of shape (n_outputs, n_dof)."""

    @abstractmethod
    def as_accumulator(self, gradient):
        """A gradient to be added to itself; None where its order is another."""

    @abstractmethod
    def deposit(self, accumulator, gradient_out):
        """Add an accumulator to a gradient."""

    @abstractmethod
    def matvec(self, coef, intercept, indices, raw_out):
        """``raw_out[i, k] = x[storage indices[i]] @ coef[k] + intercept[k]``."""

    @abstractmethod
    def rmatvec(self, pointwise, indices, accumulator):
        """``accumulator[k] += sum_i pointwise[i, k] x[storage indices[i]]``."""

    @abstractmethod
    def extended(self, indices, centre):
        """Dense copies of rows in float64, shape (n_rows, n_dof).

        With a centre it is subtracted, and a column of ones follows.
        """

    @abstractmethod
    def add_grams(self, indices, weights, centre, grams_out):
        """``grams_out[g] += sum_i weights[g, i] x_i x_i'`` of rows as in `extended`.

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
        """``squares_out[k, j] += sum_i weights[i, k] x_ij^2`` of rows as in `extended`.

        Parameters
        ----------
        indices : ndarray of shape (n_rows,)
        weights : ndarray of shape (n_rows, n_sums)
        centre : ndarray of shape (n_features,) or None
        squares_out : ndarray of shape (n_sums, n_dof)
        """

    @abstractmethod
    def column_moments(self, indices, weight, shift=None):
        """Entries other than 0, weighted sums of x and of x^2: (n_features,) each.

        With a shift, shape (n_features,), all that of x - shift.
        """

    @abstractmethod
    def squared_distances(self, indices, centre, scale=None):
        """``sum_j scale_j (x_ij - centre_j)^2``, shape (n_rows,); scale 1 if None."""

    @abstractmethod
    def read(self, indices):
        """Copies of rows, an array or a CSR matrix."""

    @abstractmethod
    def append(self, X):
        """Store rows behind the last; return their storage indices."""

    @abstractmethod
    def mark(self):
        """Where storage ends now, for `truncate`."""

    @abstractmethod
    def truncate(self, mark):
        """Drop all that was stored since the mark."""

    @abstractmethod
    def wipe(self, indices):
        """Overwrite rows by zeros."""

    @abstractmethod
    def restore(self, indices, X):
        """Undo `wipe`: `X` is what `read` returned before."""

    @abstractmethod
    def compact(self, transaction, indices):
        """Keep some rows only, in place, at storage indices from 0 on.

        Parameters
        ----------
        transaction : Transaction
            Undoes it.
        indices : ndarray of shape (n_rows,)
            Their storage indices, ascending; all others were wiped.
        """

    @abstractmethod
    def _arrays(self):
        """All that is stored, as instances of `GrowingArray`."""

    def give_back(self):
        """Give back memory that is spare."""
        for array in self._arrays():
            array.give_back()

    def into_memory(self):
        """Copy what is a file mapped into memory."""
        for array in self._arrays():
            array.into_memory()


class DenseRows(AbstractRows):
    """Rows of a dense array, C order."""

    is_sparse = False
    entry_cost = 1.0
    keeps_zeros = False

    @staticmethod
    def in_form(X):
        return X.toarray() if sparse.issparse(X) else X

    def __init__(self, X):
        self._X = GrowingArray(X)
        self.n_features = X.shape[1]

    @property
    def dtype(self):
        return self._X.values.dtype

    def __len__(self):
        return len(self._X)

    def block_size(self):
        row_bytes = max(1, self.n_features) * self.dtype.itemsize
        return min(max(_BLOCK_BYTES // row_bytes, 16), 4096)

    def n_entries(self, indices):
        return len(indices) * self.n_features

    def layout(self, coef):
        return coef

    def accumulator(self, shape):
        return np.zeros(shape)

    def as_accumulator(self, gradient):
        return gradient

    def deposit(self, accumulator, gradient_out):
        gradient_out += accumulator

    def matvec(self, coef, intercept, indices, raw_out):
        _kernels.dense.matvec(self._X.values, indices, coef, intercept, raw_out)

    def rmatvec(self, pointwise, indices, accumulator):
        _kernels.dense.rmatvec(self._X.values, indices, pointwise, accumulator)

    def extended(self, indices, centre):
        return self._scaled(indices, centre, np.ones(len(indices)))

    def _scaled(self, indices, centre, scale):
        rows = np.empty((len(indices), self.n_features + (centre is not None)))
        if centre is None:
            centre = np.zeros(self.n_features)
        _kernels.dense.extend(self._X.values, indices, centre, scale, rows)
        return rows

    def add_grams(self, indices, weights, centre, grams_out):
        # Blocks that stay in cache while BLAS multiplies them.
        block_size = max(_GRAM_ENTRIES // max(1, self.n_features), 64)
        if len(indices) < _FEW * self.n_features:
            # A product of the matrices' size, to be added, would be most of the work.
            X = self.extended(indices, centre)
            for weight, gram in zip(weights, grams_out, strict=True):
                blas.dgemm(
                    1.0, (weight[:, np.newaxis] * X).T, X.T, trans_b=True,
                    beta=1.0, c=gram.T, overwrite_c=True,
                )  # fmt: skip
            return
        for first in range(0, len(indices), block_size):
            block = slice(first, first + block_size)
            for weight, gram in zip(weights[:, block], grams_out, strict=True):
                # A product with itself is half the work.
                half = self._scaled(indices[block], centre, np.sqrt(np.abs(weight)))
                if (weight >= 0).all():
                    gram += half.T @ half
                else:
                    gram += half.T @ (np.sign(weight)[:, np.newaxis] * half)

    def add_squares(self, indices, weights, centre, squares_out):
        n_dof = self.n_features + (centre is not None)
        block_size = max(_GRAM_ENTRIES // max(1, n_dof), 64)
        for first in range(0, len(indices), block_size):
            block = slice(first, first + block_size)
            squares_out += weights[block].T @ self.extended(indices[block], centre) ** 2

    def column_moments(self, indices, weight, shift=None):
        shift = np.zeros(self.n_features) if shift is None else shift
        moments = _no_moments(self.n_features)
        _kernels.dense.column_moments(self._X.values, indices, weight, shift, *moments)
        return moments

    def squared_distances(self, indices, centre, scale=None):
        scale = np.ones(self.n_features) if scale is None else scale
        distance = np.empty(len(indices))
        _kernels.dense.squared_distances(
            self._X.values, indices, centre, scale, distance
        )
        return distance

    def read(self, indices):
        return self._X.values[indices]

    def append(self, X):
        first = len(self)
        self._X.append(X)
        return np.arange(first, len(self))

    def mark(self):
        return len(self._X)

    def truncate(self, mark):
        self._X.truncate(mark)

    def wipe(self, indices):
        self._X.values[indices] = 0

    def restore(self, indices, X):
        self._X.values[indices] = X

    def compact(self, transaction, indices):
        shift = Shift.of_rows(self._X, indices)
        transaction.undo(shift.undo)
        shift.run()

    def _arrays(self):
        return (self._X,)


class CsrRows(AbstractRows):
    """Rows of a CSR matrix, each with a start and a length of its own."""

    is_sparse = True
    entry_cost = 16.0
    keeps_zeros = True

    @staticmethod
    def in_form(X):
        return sparse.csr_matrix(X)

    def __init__(self, X):
        self._data = GrowingArray(X.data)
        self._indices = GrowingArray(X.indices)
        self._starts = GrowingArray(X.indptr[:-1].astype(np.int64))
        self._lengths = GrowingArray(np.diff(X.indptr).astype(np.int64))
        self.n_features = X.shape[1]

    @property
    def dtype(self):
        return self._data.values.dtype

    def __len__(self):
        return len(self._starts)

    def _arrays(self):
        return self._data, self._indices, self._starts, self._lengths

    def _matrix(self):
        return [array.values for array in self._arrays()]

    def block_size(self):
        # Sparse rows are read through the cache once; what counts is few calls.
        return 4096

    def n_entries(self, indices):
        return int(self._lengths.values[indices].sum())

    def layout(self, coef):
        return np.ascontiguousarray(coef.T)

    def accumulator(self, shape):
        return np.zeros(shape[::-1])

    def as_accumulator(self, gradient):
        return gradient.T if len(gradient) == 1 else None

    def deposit(self, accumulator, gradient_out):
        gradient_out += accumulator.T

    def matvec(self, coef, intercept, indices, raw_out):
        _kernels.sparse.matvec(*self._matrix(), indices, coef, intercept, raw_out)

    def rmatvec(self, pointwise, indices, accumulator):
        _kernels.sparse.rmatvec(*self._matrix(), indices, pointwise, accumulator)

    def extended(self, indices, centre):
        return _extend(self.read(indices).toarray(), centre)

    def add_grams(self, indices, weights, centre, grams_out):
        n_features = self.n_features
        shift = np.zeros(n_features) if centre is None else centre
        far = np.flatnonzero(shift)
        for weight, gram in zip(weights, grams_out, strict=True):
            lower = np.zeros((n_features, n_features))
            total = np.zeros(n_features)
            _kernels.sparse.gram(
                *self._matrix(), indices, weight, shift, far, lower, total
            )
            inner = gram[:n_features, :n_features]
            inner += lower
            inner += np.tril(lower, -1).T
            if centre is not None:
                gram[n_features, :n_features] += total
                gram[:n_features, n_features] += total
                gram[n_features, n_features] += weight.sum()

    def add_squares(self, indices, weights, centre, squares_out):
        n_features = self.n_features
        inner = squares_out[:, :n_features]
        of_row = self.n_entries(indices) // max(1, len(indices))
        block_size = max(_GRAM_ENTRIES // max(1, of_row), 64)
        for first in range(0, len(indices), block_size):
            block = slice(first, first + block_size)
            X = self.read(indices[block]).astype(np.float64, copy=False)
            inner += (X.multiply(X).T @ weights[block]).T
            if centre is not None:
                # (x - c)^2 = x^2 - 2 c x + c^2, without a dense row.
                inner -= 2.0 * centre * (X.T @ weights[block]).T
        if centre is not None:
            total = weights.sum(axis=0)
            inner += np.outer(total, centre**2)
            squares_out[:, n_features] += total

    def column_moments(self, indices, weight, shift=None):
        shift = np.zeros(self.n_features) if shift is None else shift
        moments = _no_moments(self.n_features)
        _kernels.sparse.column_moments(
            *self._matrix(), indices, weight, shift, *moments
        )
        return moments

    def squared_distances(self, indices, centre, scale=None):
        scale = np.ones(self.n_features) if scale is None else scale
        distance = np.empty(len(indices))
        _kernels.sparse.squared_distances(
            *self._matrix(), indices, centre, scale, distance
        )
        return distance

    def _entries(self, indices):
        starts, lengths = self._starts.values[indices], self._lengths.values[indices]
        return RowEntries(starts, lengths)

    def read(self, indices):
        entries = self._entries(indices)
        data = np.empty(len(entries), self.dtype)
        column_indices = np.empty(len(entries), self._indices.values.dtype)
        for block in entries:
            data[block.places] = self._data.values[block.sources]
            column_indices[block.places] = self._indices.values[block.sources]
        indptr = np.append(entries.new_starts, len(entries))
        shape = (len(indices), self.n_features)
        return sparse.csr_matrix((data, column_indices, indptr), shape=shape)

    def append(self, X):
        first = len(self)
        self._starts.append(X.indptr[:-1].astype(np.int64) + len(self._data))
        self._lengths.append(np.diff(X.indptr))
        self._data.append(X.data)
        self._indices.append(X.indices)
        return np.arange(first, len(self))

    def mark(self):
        return [len(array) for array in self._arrays()]

    def truncate(self, mark):
        for array, size in zip(self._arrays(), mark, strict=True):
            array.truncate(size)

    def wipe(self, indices):
        for block in self._entries(indices):
            self._data.values[block.sources] = 0
            self._indices.values[block.sources] = 0
        self._lengths.values[indices] = 0

    def restore(self, indices, X):
        self._lengths.values[indices] = np.diff(X.indptr)
        for block in self._entries(indices):
            self._data.values[block.sources] = X.data[block.places]
            self._indices.values[block.sources] = X.indices[block.places]

    def compact(self, transaction, indices):
        entries = self._entries(indices)
        for array in (self._data, self._indices):
            shift = entries.shift(array)
            transaction.undo(shift.undo)
            shift.run()
        transaction.undo(setattr, self, "_starts", self._starts)
        transaction.undo(setattr, self, "_lengths", self._lengths)
        self._starts = GrowingArray(entries.new_starts)
        self._lengths = GrowingArray(entries.lengths)


def _extend(X, centre):
    X = X.astype(np.float64, copy=False)
    if centre is None:
        return X
    extended = np.empty((X.shape[0], X.shape[1] + 1))
    np.subtract(X, centre, out=extended[:, :-1])
    extended[:, -1] = 1.0
    return extended


def _no_moments(n_features):
    return np.zeros(n_features, np.int64), *np.zeros((2, n_features))
