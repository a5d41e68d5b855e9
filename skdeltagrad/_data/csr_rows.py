"""Rows of a CSR matrix."""

from itertools import pairwise

import numpy as np
from scipy import sparse

from .. import _kernels
from .._utils.row_blocks import row_blocks
from .compaction import EntryBlocks
from .growing_array import in_memory
from .rows import AbstractRows, no_moments


class CsrRows(AbstractRows):
    """Rows of a CSR matrix, each with a start and a length of its own."""

    entry_cost = 16.0
    keeps_zeros = True
    shows_lengths = True

    @staticmethod
    def in_form(X):
        return sparse.csr_matrix(X)

    @staticmethod
    def contents(X):
        X = X.copy()
        X.eliminate_zeros()
        columns = X.indices.astype(np.int64)
        return [
            columns[i:j].tobytes() + X.data[i:j].tobytes()
            for i, j in pairwise(X.indptr)
        ]

    @staticmethod
    def distances(X, x):
        difference = X - x[np.zeros(X.shape[0], int)]
        return np.sqrt(difference.multiply(difference).sum(axis=1)).A1

    def __init__(self, X, array=in_memory):
        self._data = array("data", X.data)
        self._indices = array("indices", X.indices)
        self._starts = array("starts", X.indptr[:-1].astype(np.int64))
        self._lengths = array("lengths", np.diff(X.indptr).astype(np.int64))
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
        # A cost: the cache does not matter, because the entries of a row are few; more
        # rows in a block mean fewer calls of kernels.
        return 4096

    def n_entries(self, indices):
        lengths, blocks = self._lengths.values, row_blocks(len(indices))
        return sum(int(lengths[indices[block]].sum()) for block in blocks)

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
        X = self.read(indices).toarray().astype(np.float64, copy=False)
        if centre is None:
            return X
        return np.column_stack([X - centre, np.ones(len(X))])

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
        entries_per_row = self.n_entries(indices) // max(1, len(indices))
        for block in self._blocks(len(indices), entries_per_row):
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
        moments = no_moments(self.n_features)
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
        return EntryBlocks(starts, lengths)

    def read(self, indices):
        entries = self._entries(indices)
        data = np.empty(entries.n_entries, self.dtype)
        column_indices = np.empty(entries.n_entries, self._indices.values.dtype)
        for block in entries:
            data[block.places] = self._data.values[block.sources]
            column_indices[block.places] = self._indices.values[block.sources]
        indptr = np.append(entries.new_starts, entries.n_entries)
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

    def touched(self, indices):
        blocks = self._entries(indices)
        sources = np.concatenate(
            [np.zeros(0, np.int64), *(block.sources for block in blocks)]
        )
        return [
            (self._data, sources), (self._indices, sources), (self._lengths, indices),
        ]  # fmt: skip

    def compact(self, transaction, indices):
        entries = self._entries(indices)
        for name in ("_data", "_indices", "_starts", "_lengths"):
            transaction.undo(setattr, self, name, getattr(self, name))
        self._data = self._data.compacted(transaction, entries)
        self._indices = self._indices.compacted(transaction, entries)
        self._starts = self._starts.beside("starts", entries.new_starts)
        self._lengths = self._lengths.beside("lengths", entries.lengths)
