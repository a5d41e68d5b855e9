"""Find stored rows by what they contain.

Rows that went through a transformer alone may differ in the last bits from the same
rows in a big batch (BLAS adds in another order), so a hash of the bytes would miss
them. A random projection of every row, sorted, finds in O(log n) the few that can be
close enough; they are then compared in full.
"""

import numpy as np
from scipy import sparse

from ._fingerprints import EQUAL_ULPS
from ._roster import GONE
from ._rows import AbstractRows
from ._sorted_index import SortedIndex

# Entries compared at a time.
_CHUNK_ENTRIES = 2**22


class ContentIndex:
    """Sorted projections of stored rows.

    Parameters
    ----------
    rows : AbstractRows
    slots : ndarray of shape (n_rows,)
        The rows to index.
    """

    def __init__(self, rows, slots):
        # A legacy generator: its stream is frozen across NumPy versions.
        direction = np.random.RandomState(0).standard_normal(rows.n_features)
        self._direction = direction.reshape(1, -1)
        self._index = SortedIndex(self._project(rows, slots), slots)

    def insert(self, rows, slots):
        """Index added rows."""
        self._index.insert(self._project(rows, slots), slots)

    def strike(self, rows, slots):
        """Remove rows; their data must still be stored."""
        low, high, _ = self._windows(rows, slots)
        self._index.strike(low, high, slots)

    def match(self, rows, roster, X, y, weight=None):
        """The stored row that equals each given one, nearest first.

        Rows are equal when ``||x - x'|| <= 1e3 eps ||x||`` and their targets (and
        weights, where given) are. Equal rows of the request match different stored
        rows.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_rows, n_features)
        y : ndarray of shape (n_rows,) or (n_rows, n_targets)
        weight : ndarray of shape (n_rows,), optional

        Returns
        -------
        slots : ndarray of shape (n_rows,)
            GONE where no stored row is left.
        """
        low, high, tolerance = self._windows_of(X)
        matched = np.full(len(y), GONE)
        taken = set()
        for which, candidates in self._candidates(roster, low, high):
            left = {}  # candidates by target and weight: many copies cost one look
            for i in which:
                key = y[i].tobytes(), None if weight is None else weight[i]
                if key not in left:
                    mine = candidates[_same_target(roster.y[candidates], y[i])]
                    if weight is not None:
                        mine = mine[_close(roster.weight[mine], weight[i])]
                    left[key] = mine
                mine = left[key]
                matched[i] = self._nearest(rows, X[[i]], tolerance[i], mine, taken)
                taken.add(matched[i])  # windows may overlap
                if len(mine) and matched[i] == mine[0]:
                    left[key] = mine[1:]
                elif matched[i] != GONE:
                    left[key] = mine[mine != matched[i]]
        return matched

    def count(self, rows, roster, X):
        """Number of live stored rows that equal each given one in X."""
        low, high, tolerance = self._windows_of(X)
        counts = np.zeros(X.shape[0], np.int64)
        for which, candidates in self._candidates(roster, low, high):
            for i in which:
                for chunk in self._chunks(rows, candidates):
                    distance = _distances(rows.read(chunk), X[[i]])
                    is_near = distance <= tolerance[i]  # both may be infinite
                    counts[i] += np.count_nonzero(is_near & np.isfinite(distance))
        return counts

    def marks(self, X):
        """What given rows are indexed by, and what rounding may do to it.

        Returns
        -------
        marks, rounding : ndarray of shape (n_rows,)
        """
        request, everyone = AbstractRows.of(X), np.arange(X.shape[0])
        length = np.sqrt(request.squared_distances(everyone, np.zeros(X.shape[1])))
        rounding = (4.0 + np.sqrt(X.shape[1])) * np.finfo(float).eps * length
        rounding *= np.linalg.norm(self._direction)
        return self._project(request, everyone), rounding

    def _nearest(self, rows, x, tolerance, candidates, taken):
        best, best_distance = GONE, np.inf
        for chunk in self._chunks(rows, candidates):
            chunk = np.array([slot for slot in chunk if slot not in taken], np.int64)
            if not len(chunk):
                continue
            distance = _distances(rows.read(chunk), x)
            nearest = np.argmin(distance)
            if distance[nearest] <= tolerance and distance[nearest] < best_distance:
                best, best_distance = int(chunk[nearest]), distance[nearest]
            if best_distance == 0.0:
                break
        return best

    def _chunks(self, rows, slots):
        """Slots in growing portions: mostly the first row is the right one."""
        size, first = 1, 0
        largest = max(1, _CHUNK_ENTRIES // max(1, rows.n_features))
        while first < len(slots):
            yield slots[first : first + size]
            first += size
            size = min(8 * size, largest)

    def _candidates(self, roster, low, high):
        """Requests that look in the same window, with the live rows found there."""
        unique, inverse = np.unique(low, return_inverse=True)
        widest = np.full(len(unique), -np.inf)
        np.maximum.at(widest, inverse, high)
        which, slots = self._index.find(unique, widest)
        live = roster.position[slots] != GONE
        which, slots = which[live], slots[live]
        bounds = np.searchsorted(which, np.arange(len(unique) + 1))
        order = np.argsort(inverse, kind="stable")
        ends = np.searchsorted(inverse[order], np.arange(len(unique) + 1))
        for i in range(len(unique)):
            yield order[ends[i] : ends[i + 1]], slots[bounds[i] : bounds[i + 1]]

    def _windows_of(self, X):
        return self._windows(AbstractRows.of(X), np.arange(X.shape[0]))

    def _windows(self, rows, slots):
        length = np.sqrt(rows.squared_distances(slots, np.zeros(rows.n_features)))
        tolerance = EQUAL_ULPS * np.finfo(rows.dtype).eps * length
        # A projection is off by its own rounding, too; and it depends, in its last
        # bits, on how many rows are projected together.
        width = (2.0 * tolerance) * np.linalg.norm(self._direction)
        centre = self._project(rows, slots)
        # That of a row too large for a projection is beyond all that are stored.
        known = np.isfinite(centre)
        low = np.where(known, centre, np.inf) - np.where(known, width, 0.0)
        high = np.where(known, centre, np.inf) + np.where(known, width, 0.0)
        return low, high, tolerance

    def _project(self, rows, slots):
        projection = np.empty((len(slots), 1))
        coef = rows.layout(self._direction)
        rows.matvec(coef, np.zeros(1), slots, projection)
        return projection.ravel()


def _distances(X, x):
    """Euclidean distances of rows of X to one row."""
    if sparse.issparse(X):
        difference = X - x[np.zeros(X.shape[0], int)]
        return np.sqrt(difference.multiply(difference).sum(axis=1)).A1
    difference = np.asarray(X, float) - np.asarray(x, float)
    return np.sqrt(np.einsum("ij,ij->i", difference, difference))


def _same_target(stored, wanted):
    if stored.ndim == 1:
        return stored == wanted
    return _close(stored, wanted).all(axis=1)


def _close(stored, wanted):
    tolerance = EQUAL_ULPS * np.finfo(float).eps * np.abs(wanted)
    return np.abs(stored - wanted) <= tolerance
