"""Find stored rows by what they contain.

Rows that went through a transformer alone may differ in the last bits from the same
rows in a big batch (BLAS adds in another order), so a hash of the bytes would miss
them. A random projection of every row, sorted, finds in O(log n) the few that can be
close enough; they are then compared in full.

The direction of the projection is a secret of the process. Someone who knew it could
store many different rows with the same projection, and a request for one of them would
be compared with all. The result does not depend on the direction, except for the choice
among more than 64 rows that are equal up to rounding.

The cost of a request grows with the number of its rows and of the rows that may equal
them, not with the product of the two, even where thousands are equal to each other:

1. Rows that are the same to the bit are found by a dictionary. It holds the rows whose
   projections are the same up to its rounding; they are read in portions, each once.
2. The others are compared with the rows in their window that have their target, until
   64 are found that are close enough, and take the nearest of these.
"""

import secrets
from collections import deque
from itertools import pairwise

import numpy as np
from scipy import sparse

from .fingerprints import EQUAL_ULPS
from .row_table import GONE
from .sorted_index import SortedIndex, union
from .storage import store

_EPS = np.finfo(float).eps  # rounding: its unit
# The same for all indexes of a process, so that `assert_erased` recognises a number
# that is left of an earlier index. Dumps hold neither it nor an index.
_SECRET = np.frombuffer(secrets.token_bytes(64), np.uint32)
# A cost: number of entries that are compared at a time, which bounds memory.
_CHUNK_ENTRIES = 2**22
# A cost: of more rows than this that are close enough, the nearest is not sought. They
# are copies up to rounding, and comparing all of them for each row of a request would
# be quadratic.
_ENOUGH = 64
# A cost: rows that were taken are dropped from a list of candidates when there are so
# many of them.
_MOST_TAKEN = 1024
# A cost: a window that is a smaller part of its group than this is sorted by itself.
_SMALL_PART = 0.25


class ContentIndex:
    """Sorted projections of stored rows.

    Parameters
    ----------
    rows : AbstractRows
    indices : ndarray of shape (n_rows,)
        The rows to index.
    """

    def __init__(self, rows, indices):
        self._direction = _secret_direction(rows.n_features)[np.newaxis]
        self._length = np.linalg.norm(self._direction)
        keys = self._project(rows, indices)
        self._index = SortedIndex(keys, indices, rows.numbers)

    def insert(self, rows, indices):
        """Index added rows."""
        self._index.insert(self._project(rows, indices), indices)

    def strike(self, rows, indices):
        """Remove rows; their data must still be stored."""
        keys, lengths = self._project(rows, indices), _lengths(rows, indices)
        low, high, _ = self._windows(keys, lengths, rows.dtype)
        self._index.strike(low, high, indices)

    @np.errstate(over="ignore", invalid="ignore")  # such rows equal no others
    def match(self, rows, table, X, y, weight=None):
        """Return the stored row that equals each given one.

        Rows are equal when ``||x - x'|| <= 1e3 eps ||x||`` and their targets (and
        weights, where given) are. Equal rows of the request match different stored
        rows: first those that are the same to the bit, in the order of their storage
        indices, and then the nearest ones.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_rows, n_features)
        y : ndarray of shape (n_rows,) or (n_rows, n_targets)
        weight : ndarray of shape (n_rows,), optional

        Returns
        -------
        indices : ndarray of shape (n_rows,)
            GONE where no stored row is left.
        """
        wanted_keys, lengths = self._keys_and_lengths(X)
        low, high, tolerance = self._windows(wanted_keys, lengths, rows.dtype)
        keys, indices = self._between(table, low, high)
        rounding = self._rounding(lengths)
        windows = _places_in(keys, wanted_keys - rounding, wanted_keys + rounding)
        found = _same_to_the_bit(rows, table, indices, windows, X, y, weight)
        others = np.flatnonzero(found == GONE)
        if len(others):
            is_free = np.ones(len(indices), bool)
            is_free[found[found != GONE]] = False
            windows = _places_in(keys, low[others], high[others])
            nearby = _Nearby(rows, table, indices, is_free, windows)
            for which, i in enumerate(others):
                wanted = y[i], None if weight is None else weight[i]
                found[i] = nearby.take(which, X[[i]], tolerance[i], *wanted)
        return np.append(indices, GONE)[found]  # GONE is the last place

    def count(self, rows, table, X):
        """Return the number of current rows that equal each given one: (n_rows,)."""
        low, high, tolerance = self._windows(*self._keys_and_lengths(X), rows.dtype)
        keys, indices = self._between(table, low, high)
        first, last = _places_in(keys, low, high)
        counts = np.zeros(X.shape[0], np.int64)
        for i in range(len(counts)):
            for chunk in _chunks(indices[first[i] : last[i]], rows.n_features):
                distance = rows.distances(rows.read(chunk), X[[i]])
                is_near = distance <= tolerance[i]  # both may be infinite
                counts[i] += np.count_nonzero(is_near & np.isfinite(distance))
        return counts

    def keys_of(self, X):
        """Return the keys that given rows are indexed by, and the rounding of each.

        Returns
        -------
        keys, rounding : ndarray of shape (n_rows,)
        """
        keys, lengths = self._keys_and_lengths(X)
        return keys, self._rounding(lengths)

    def _keys_and_lengths(self, X):
        request, everyone = store(X), np.arange(X.shape[0])
        return self._project(request, everyone), _lengths(request, everyone)

    def _rounding(self, lengths):
        """Return an upper bound of the rounding of projections of such lengths."""
        n_features = self._direction.shape[1]
        return (4.0 + np.sqrt(n_features)) * _EPS * self._length * lengths

    def _between(self, table, low, high):
        """Return projections and storage indices of current rows in some windows."""
        keys, indices = self._index.entries(*union(low, high))
        live = table.position[indices] != GONE
        return keys[live], indices[live]

    def _windows(self, keys, lengths, dtype):
        """Return between which keys rows lie that equal others, and their tolerance."""
        tolerance = EQUAL_ULPS * np.finfo(dtype).eps * lengths
        # A projection is off by its own rounding, too; and it depends, in its last
        # bits, on how many rows are projected together.
        width = (2.0 * tolerance) * self._length
        # The projection of a row that is too large for it is beyond all stored ones.
        known = np.isfinite(keys) & np.isfinite(width)
        centre, width = np.where(known, keys, np.inf), np.where(known, width, 0.0)
        return centre - width, centre + width, tolerance

    def _project(self, rows, indices):
        projection = rows.numbers((len(indices), 1))
        coef = rows.layout(self._direction)
        rows.matvec(coef, np.zeros(1), indices, projection)
        return projection.ravel()


def _same_to_the_bit(rows, table, indices, windows, X, y, weight):
    """Return which entry each given row is the same as, GONE if there is none.

    `indices` are storage indices in the order of the rows' projections, and `windows`
    says where among them the candidates for each given row begin and end.
    """
    y = y.astype(table.y.dtype, copy=False)
    wanted = _contents(rows, X, y, weight)
    found = np.full(len(y), GONE)
    for members, start, stop in _groups(*windows):
        entries = start + np.argsort(indices[start:stop], kind="stable")
        unread = _chunks(entries, rows.n_features)
        by_content = {}
        for i in members:
            while not by_content.get(wanted[i]):
                chunk = next(unread, None)
                if chunk is None:
                    break
                chosen = indices[chunk]
                their_weight = None if weight is None else table.weight[chosen]
                contents = _contents(
                    rows, rows.read(chosen), table.y[chosen], their_weight
                )
                for entry, content in zip(chunk, contents, strict=True):
                    by_content.setdefault(content, deque()).append(entry)
            else:
                found[i] = by_content[wanted[i]].popleft()
    return found


class _Nearby:
    """Stored rows that are equal to those of a request up to rounding.

    Parameters
    ----------
    rows : AbstractRows
    table : RowTable
    indices : ndarray of shape (n_entries,)
        Storage indices, in the order of the rows' projections.
    is_free : ndarray of shape (n_entries,), dtype bool
        Which of them are not taken. It is changed in place.
    windows : (ndarray, ndarray) of shape (n_rows,)
        Where among the entries the candidates for each row begin and end.
    """

    def __init__(self, rows, table, indices, is_free, windows):
        self._rows, self._table = rows, table
        self._indices, self._is_free = indices, is_free
        self._first, self._last = windows
        # Numbers that sort candidates by their targets.
        self._target_key, self._target_direction = table.y[indices], None
        if self._target_key.ndim == 2:
            self._target_direction = _secret_direction(self._target_key.shape[1])
            self._target_key = self._target_key @ self._target_direction
        self._group_of = {}
        for members, start, stop in _groups(*windows):
            group = {"start": start, "stop": stop, "order": None, "n_taken": 0}
            self._group_of |= dict.fromkeys(members.tolist(), group)

    def take(self, which, x, tolerance, y, weight):
        """Take an entry for a row, and return it, or GONE."""
        entries, distances = np.zeros(0, np.int64), np.zeros(0)
        for some in self._equal_but_for_the_row(which, y, weight):
            distance = self._rows.distances(self._rows.read(self._indices[some]), x)
            near = (distance <= tolerance) & np.isfinite(distance)
            entries = np.append(entries, some[near])
            distances = np.append(distances, distance[near])
            if len(entries) >= _ENOUGH:
                break
        if not len(entries):
            return GONE
        taken = entries[np.argmin(distances[:_ENOUGH])]
        self._is_free[taken] = False
        self._group_of[which]["n_taken"] += 1
        return taken

    def _equal_but_for_the_row(self, which, y, weight):
        """Yield free candidates that have the target, and weight, in portions."""
        n_features = self._rows.n_features
        for chunk in _chunks(self._candidates(which, y), n_features, _ENOUGH):
            indices = self._indices[chunk]
            equal = self._is_free[chunk] & _same_target(self._table.y[indices], y)
            if weight is not None:
                equal &= _close(self._table.weight[indices], weight)
            yield from _chunks(chunk[equal], n_features, _ENOUGH)

    def _candidates(self, which, y):
        """Return entries in the window of a row that may have its target.

        They are in the order of targets and then of storage indices. Some may be taken.
        """
        group = self._group_of.get(which)
        if group is None:
            return np.zeros(0, np.int64)
        low, high = self._target_keys_of(y)
        first, last = self._first[which], self._last[which]
        if last - first < _SMALL_PART * (group["stop"] - group["start"]):
            entries = self._ordered(first, last)
            key = self._target_key[entries]
            return entries[(key >= low) & (key <= high)]
        if group["order"] is None:
            group["order"] = self._ordered(group["start"], group["stop"])
        elif group["n_taken"] > _MOST_TAKEN:
            group["order"] = group["order"][self._is_free[group["order"]]]
            group["n_taken"] = 0
        order = group["order"]
        key = self._target_key[order]
        entries = order[np.searchsorted(key, low) : np.searchsorted(key, high, "right")]
        return entries[(entries >= first) & (entries < last)]

    def _ordered(self, first, last):
        """Return the free entries of a range, by target and storage index."""
        entries = first + np.flatnonzero(self._is_free[first:last])
        return entries[np.lexsort((self._indices[entries], self._target_key[entries]))]

    def _target_keys_of(self, y):
        """Return the least and the largest key of targets that are equal to one."""
        if self._target_direction is None:
            return y, y
        key = y @ self._target_direction
        size = np.abs(y) @ np.abs(self._target_direction)
        off = 2.0 * EQUAL_ULPS * _EPS * size
        return key - off, key + off


def _secret_direction(n_entries):
    """Return a direction that is unknown outside of this process."""
    return np.random.RandomState(_SECRET).standard_normal(n_entries)


def _places_in(keys, low, high):
    """Return where among ascending keys those of windows begin and end."""
    return np.searchsorted(keys, low, "left"), np.searchsorted(keys, high, "right")


def _groups(first, last):
    """Yield ranges that meet: which they are, ascending, and where they lie together.

    Empty ranges are in no group.
    """
    some = np.flatnonzero(first < last)
    order = some[np.argsort(first[some], kind="stable")]
    farthest = np.maximum.accumulate(last[order])
    starts = np.ones(len(order), bool)
    starts[1:] = first[order[1:]] >= farthest[:-1]
    bounds = np.append(np.flatnonzero(starts), len(order))
    for begin, end in pairwise(bounds):
        yield np.sort(order[begin:end]), first[order[begin]], farthest[end - 1]


def _chunks(entries, n_features, size=1):
    """Yield portions that grow, because mostly the first row is the right one."""
    first = 0
    largest = max(1, _CHUNK_ENTRIES // max(1, n_features))
    while first < len(entries):
        yield entries[first : first + size]
        first += size
        size = min(8 * size, largest)


def _contents(rows, X, y, weight):
    """Return the bytes of rows, of their targets, and of their weights if given."""
    others = [values + 0 for values in (y, weight) if values is not None]
    return [
        (row, *(value.tobytes() for value in rest))
        for row, *rest in zip(rows.contents(X), *others, strict=True)
    ]


@np.errstate(over="ignore", under="ignore")  # a length may be out of all range
def _lengths(rows, indices):
    """Return Euclidean lengths of rows, correct also if squares overflow."""
    length = np.sqrt(rows.squared_distances(indices, np.zeros(rows.n_features)))
    odd = np.flatnonzero(~((length > 1e-100) & (length < np.inf)))
    if len(odd):  # their squares overflow or underflow, or all entries are zero
        X = sparse.csr_matrix(rows.read(indices[odd])).astype(np.float64)
        exponent = np.frexp(abs(X).max(axis=1).toarray().ravel())[1]
        X.data = np.ldexp(X.data, -np.repeat(exponent, np.diff(X.indptr)))
        scaled = np.sqrt(X.multiply(X).sum(axis=1)).A1
        length[odd] = np.ldexp(scaled, exponent)
    return length


def _same_target(stored, wanted):
    if stored.ndim == 1:
        return stored == wanted
    return _close(stored, wanted).all(axis=1)


def _close(stored, wanted):
    tolerance = EQUAL_ULPS * _EPS * np.abs(wanted)
    return np.abs(stored - wanted) <= tolerance
