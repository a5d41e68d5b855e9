"""Find what else tells of a row: the number that it is indexed by, and its id."""

import numpy as np

from .intervals import Intervals
from .row_search import CHUNK, lines


def places_of_marks(arrays, values, tolerance, numbers):
    """Yield each place that holds numbers that rows are indexed by.

    Parameters
    ----------
    arrays : iterable of (str, ndarray)
    values, tolerance : ndarray of shape (n_rows,)
        The number of each row, and what rounding may do to it.
    numbers : ndarray of shape (n_rows,)
        What the rows are called.
    """
    intervals = Intervals(values, tolerance)
    for place, array in arrays:
        # In fewer bits, many numbers are alike.
        if array.dtype.kind != "f" or array.dtype.itemsize < 8:
            continue
        flat, _ = lines(array)
        found = set()
        for lo in range(0, len(flat), CHUNK):
            part = np.asarray(flat[lo : lo + CHUNK], dtype=np.float64)
            _, interval = intervals.hits(part)
            for hit in np.unique(interval):
                everyone = np.arange(intervals.n_members[hit])
                found.update(numbers[intervals.members(hit, everyone)].tolist())
        if found:
            yield place, found


def places_of_ids(objects, ids):
    """Yield each place that holds an id, and which.

    Parameters
    ----------
    objects : iterable of (str, object)
    ids : ndarray of shape (n_ids,), dtype int64 or str
    """
    wanted = set(ids.tolist())
    kinds = "iu" if ids.dtype.kind == "i" else "US"
    for place, obj in objects:
        if issubclass(type(obj), np.ndarray):
            found = _ids_in_array(np.asarray(obj), ids, kinds)
        else:
            found = wanted.intersection(filter(_is_id, _values_of(obj)))
        if found:
            yield place, found


def _ids_in_array(array, ids, kinds):
    if array.dtype.kind == "O":
        return set(ids.tolist()).intersection(filter(_is_id, array.ravel().tolist()))
    if array.dtype.kind not in kinds:
        return set()
    if array.dtype.kind == "S":
        ids = np.array([name.encode() for name in ids.tolist()])
    there = np.intersect1d(array.ravel(), ids).tolist()
    return {name.decode() if isinstance(name, bytes) else name for name in there}


def _values_of(obj):
    """Numbers and strings right within an object."""
    kind = type(obj)
    if issubclass(kind, dict):
        yield from list(dict.keys(obj))
        yield from list(dict.values(obj))
        return
    for collection in (list, tuple, set, frozenset):
        if issubclass(kind, collection):
            yield from collection.__iter__(obj)
            return
    try:
        yield from list(object.__getattribute__(obj, "__dict__").values())
    except AttributeError:
        return


def _is_id(value):
    return type(value) in (int, str)
