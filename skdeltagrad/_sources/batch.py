"""A batch of training rows, and batches of a wanted size."""

from typing import NamedTuple

import numpy as np
from scipy import sparse


class Batch(NamedTuple):
    """Some consecutive training rows.

    The arrays may be views of what the user gave: they must not be written to.

    Parameters
    ----------
    X : C-contiguous ndarray or canonical csr_matrix of shape (n_rows, n_features)
        float32 or float64.
    y : ndarray of shape (n_rows,) or (n_rows, n_targets), or None
        Numbers, booleans or strings, as they were given.
    weight : ndarray of shape (n_rows,) or None
        float64, finite, 0 or more.
    ids : ndarray of shape (n_rows,) or None
        int64 or str.
    """

    X: np.ndarray | sparse.csr_matrix
    y: np.ndarray | None = None
    weight: np.ndarray | None = None
    ids: np.ndarray | None = None

    @property
    def n_rows(self) -> int:
        return self.X.shape[0]

    def rows(self, start, stop):
        """Return the rows from `start` to `stop`, without a copy where possible."""
        if start == 0 and stop == self.n_rows:
            return self
        return Batch(*(None if array is None else array[start:stop] for array in self))

    def copy(self):
        """Return a batch that shares no memory with what the user gave."""
        return Batch(*(None if array is None else array.copy() for array in self))


def joined(batches):
    """Return one batch with the rows of several."""
    if len(batches) == 1:
        return batches[0]
    columns = zip(*batches, strict=True)
    return Batch(*(None if rows[0] is None else _stacked(rows) for rows in columns))


def _stacked(arrays):
    if sparse.issparse(arrays[0]):
        return sparse.vstack(arrays, format="csr")
    return np.concatenate(arrays)


def resized(batches, n_rows):
    """Cut and join batches: each has `n_rows` rows, and the last one at most so many.

    No more than the rows of one batch that is given and one that is made are held.
    """
    waiting, n_waiting = [], 0
    for batch in batches:
        start = 0
        while n_waiting + batch.n_rows - start >= n_rows:
            stop = start + n_rows - n_waiting
            waiting.append(batch.rows(start, stop))
            yield joined(waiting)
            waiting, n_waiting, start = [], 0, stop
        if start < batch.n_rows:
            waiting.append(batch.rows(start, batch.n_rows))
            n_waiting += batch.n_rows - start
    if waiting:
        yield joined(waiting)
