"""Rows of a dense array."""

import numpy as np
from scipy import sparse
from scipy.linalg import blas

from .. import _kernels
from .compaction import RowBlocks
from .growing_array import in_memory
from .rows import AbstractRows, no_moments

# A cost: bytes of a block of rows, about half of the second-level cache of a core, so
# that the second of two products finds them there; and limits of the number of rows.
_BLOCK_BYTES = 2**19
_LEAST_IN_BLOCK = 16
_MOST_IN_BLOCK = 4096
# A cost: number of rows, as a fraction of the number of columns, below which a matrix
# of outer products is better added to than computed and added.
_FEW_ROWS = 0.25


class DenseRows(AbstractRows):
    """Rows of a dense array, C order."""

    entry_cost = 1.0
    keeps_zeros = False
    shows_lengths = False

    @staticmethod
    def in_form(X):
        return X.toarray() if sparse.issparse(X) else X

    @staticmethod
    def contents(X):
        return [row.tobytes() for row in X + 0.0]  # the two zeros are one number

    @staticmethod
    def distances(X, x):
        difference = np.asarray(X, float) - np.asarray(x, float)
        return np.sqrt(np.einsum("ij,ij->i", difference, difference))

    def __init__(self, X, array=in_memory):
        self._X = array("X", X)
        self.n_features = X.shape[1]

    @property
    def dtype(self):
        return self._X.values.dtype

    def __len__(self):
        return len(self._X)

    def block_size(self):
        row_bytes = max(1, self.n_features) * self.dtype.itemsize
        return min(max(_BLOCK_BYTES // row_bytes, _LEAST_IN_BLOCK), _MOST_IN_BLOCK)

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
        if len(indices) < _FEW_ROWS * self.n_features:
            # Adding a product of that size to the sum would be most of the work.
            X = self.extended(indices, centre)
            for weight, gram in zip(weights, grams_out, strict=True):
                blas.dgemm(
                    1.0, (weight[:, np.newaxis] * X).T, X.T, trans_b=True,
                    beta=1.0, c=gram.T, overwrite_c=True,
                )  # fmt: skip
            return
        for block in self._blocks(len(indices), self.n_features):
            for weight, gram in zip(weights[:, block], grams_out, strict=True):
                # BLAS computes a matrix times its own transpose in half of the time.
                half = self._scaled(indices[block], centre, np.sqrt(np.abs(weight)))
                if (weight >= 0).all():
                    gram += half.T @ half
                else:
                    gram += half.T @ (np.sign(weight)[:, np.newaxis] * half)

    def add_squares(self, indices, weights, centre, squares_out):
        for block in self._blocks(len(indices), squares_out.shape[1]):
            squares_out += weights[block].T @ self.extended(indices[block], centre) ** 2

    def column_moments(self, indices, weight, shift=None):
        shift = np.zeros(self.n_features) if shift is None else shift
        moments = no_moments(self.n_features)
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

    def touched(self, indices):
        return [(self._X, indices)]

    def compact(self, transaction, indices):
        transaction.undo(setattr, self, "_X", self._X)
        self._X = self._X.compacted(transaction, RowBlocks(self._X, indices))

    def _arrays(self):
        return (self._X,)
