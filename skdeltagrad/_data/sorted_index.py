"""Find rows by a key in O(log n), with rows that come and go."""

import numpy as np

from .._utils.row_blocks import row_blocks

# Cost: number of entries that are sorted at a time, in about 50 MB.
_BUCKET = 2**20
# Cost: number of keys for each bucket in the sample that bounds them. Buckets differ in
# size by about a quarter.
_PER_BUCKET = 64


class SortedIndex:
    """Sorted keys, each with the storage index of the row that it belongs to.

    It consists of a few sorted segments, newest last, as a log-structured merge tree. A
    segment is merged into the one before it when that is at most twice as long. So
    there are O(log n) segments, and every entry is copied O(log n) times.

    Parameters
    ----------
    keys : ndarray of shape (n,)
        Numbers or strings.
    indices : ndarray of shape (n,), dtype int64
        Storage indices of the rows. A row has one entry.
    numbers : callable, default=np.zeros
        ``numbers(shape, dtype)`` gives zeros for the entries.
    """

    def __init__(self, keys, indices, numbers=np.zeros):
        self._segments, self._numbers = [], numbers
        self.insert(keys, indices)

    def insert(self, keys, indices):
        """Add entries."""
        self._segments.append(_sorted(keys, indices, self._numbers))
        while len(self._segments) > 1 and (
            len(self._segments[-2][0]) <= 2 * len(self._segments[-1][0])
        ):
            newer, older = self._segments.pop(), self._segments.pop()
            keys = np.concatenate([older[0], newer[0]])
            indices = np.concatenate([older[1], newer[1]])
            live = indices >= 0
            entries = _sorted(keys[live], indices[live], self._numbers)
            self._segments.append(entries)

    def find(self, low, high):
        """Return the entries between two keys, both included, for many questions.

        Parameters
        ----------
        low, high : ndarray of shape (n_questions,)

        Returns
        -------
        question, index : ndarray of shape (n_found,)
            Which question an entry answers, ascending, and its storage index.
        """
        questions, indices = [], []
        for segment_keys, segment_indices in self._segments:
            first = np.searchsorted(segment_keys, low, side="left")
            last = np.searchsorted(segment_keys, high, side="right")
            question, place = _ranges(first, last)
            live = segment_indices[place] >= 0
            questions.append(question[live])
            indices.append(segment_indices[place[live]])
        question, index = np.concatenate(questions), np.concatenate(indices)
        order = np.lexsort((index, question))
        return question[order], index[order]

    def entries(self, low, high):
        """Return the entries in disjoint ranges of keys, ascending.

        Parameters
        ----------
        low, high : ndarray of shape (n_ranges,)
            Both included.

        Returns
        -------
        keys, indices : ndarray of shape (n_found,)
        """
        keys, indices = [], []
        for segment_keys, segment_indices in self._segments:
            first = np.searchsorted(segment_keys, low, side="left")
            last = np.searchsorted(segment_keys, high, side="right")
            _, place = _ranges(first, last)
            live = place[segment_indices[place] >= 0]
            keys.append(segment_keys[live])
            indices.append(segment_indices[live])
        return _sorted(np.concatenate(keys), np.concatenate(indices), self._numbers)

    def strike(self, low, high, indices):
        """Remove the entries of some storage indices without a trace.

        A key that no entry has any more is overwritten with the key before it.

        Parameters
        ----------
        low, high : ndarray of shape (n_stored,)
            Between which keys, both included, each entry is found. A key that is
            computed again may differ in its last bits.
        indices : ndarray of shape (n_stored,)
        """
        for segment_keys, segment_indices in self._segments:
            first = np.searchsorted(segment_keys, low, side="left")
            last = np.searchsorted(segment_keys, high, side="right")
            _, place = _ranges(*union(first, last))
            place = place[np.isin(segment_indices[place], indices)]
            if not len(place):
                continue
            segment_indices[place] = -1
            keys = np.unique(segment_keys[place])
            first = np.searchsorted(segment_keys, keys, side="left")
            last = np.searchsorted(segment_keys, keys, side="right")
            question, place = _ranges(first, last)
            live = np.bincount(
                question, weights=segment_indices[place] >= 0, minlength=len(keys)
            )
            for i in np.flatnonzero(live == 0):
                segment_keys[first[i] : last[i]] = (
                    segment_keys[first[i] - 1] if first[i] else _lowest(keys.dtype)
                )


def _sorted(keys, indices, numbers):
    """Return entries in the order of their keys, and as they were for equal keys.

    Sorting many at once would need memory for all of them. They are first dealt to
    buckets between quantiles of a sample of the keys, which are sorted one by one.
    """
    n_buckets = len(keys) // _BUCKET
    if n_buckets < 2:
        order = np.argsort(keys, kind="stable")
        return keys[order], indices[order]
    sample = np.sort(keys[:: max(1, len(keys) // (_PER_BUCKET * n_buckets))])
    bounds = np.unique(sample[_PER_BUCKET // 2 :: _PER_BUCKET])
    blocks = row_blocks(len(keys))
    sizes = np.zeros(len(bounds) + 1, np.int64)
    for block in blocks:
        bucket = np.searchsorted(bounds, keys[block], "right")
        sizes += np.bincount(bucket, minlength=len(sizes))
    ends = np.cumsum(sizes)
    free = ends - sizes  # where the next entry of each bucket goes
    sorted_keys = numbers(len(keys), keys.dtype)
    sorted_indices = numbers(len(keys), np.int64)
    for block in blocks:
        bucket = np.searchsorted(bounds, keys[block], "right")
        order = np.argsort(bucket, kind="stable")
        n_dealt = np.bincount(bucket, minlength=len(sizes))
        first = np.cumsum(n_dealt) - n_dealt
        place = (free - first)[bucket[order]] + np.arange(len(order))
        sorted_keys[place] = keys[block][order]
        sorted_indices[place] = indices[block][order]
        free += n_dealt
    for first, last in zip(ends - sizes, ends, strict=True):
        some = slice(first, last)
        order = np.argsort(sorted_keys[some], kind="stable")
        sorted_keys[some] = sorted_keys[some][order]
        sorted_indices[some] = sorted_indices[some][order]
    return sorted_keys, sorted_indices


def _ranges(first, last):
    """Return which range each number of first[i] .. last[i] - 1 is in, and itself."""
    if len(first) == 1:  # most requests are of one row
        numbers = np.arange(first[0], last[0])
        return np.zeros(len(numbers), np.int64), numbers
    lengths = last - first
    which = np.repeat(np.arange(len(first)), lengths)
    starts = np.cumsum(lengths) - lengths
    return which, np.arange(len(which)) - starts[which] + first[which]


def union(first, last):
    """Return disjoint ranges of the same numbers, ascending."""
    if len(first) == 1:
        return first, last
    order = np.argsort(first, kind="stable")
    first, last = first[order], np.maximum.accumulate(last[order])
    starts = np.ones(len(first), bool)
    starts[1:] = first[1:] > last[:-1]
    ends = np.append(starts[1:], True)[: len(first)]
    return first[starts], last[ends]


def _lowest(dtype):
    if dtype.kind == "f":
        return -np.inf
    return "" if dtype.kind == "U" else np.iinfo(dtype).min
