"""Find rows in arrays, as they stand there or cast to the arrays' dtype.

The search goes in three steps, so that arrays of 1e8 entries and a thousand rows are
feasible:

1. Each row is cast to the dtype of the array (:func:`_make_patterns`).
2. One pass over the array counts a few values of every row. A row with a value
   that does not occur cannot be there, which settles nearly all rows.
3. For the other rows, a second pass looks for their rarest value and compares
   the whole row around it (:func:`_agree`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from scipy import sparse

# A row that keeps fewer distinct non-zero values could be found by chance.
MIN_DISTINCT = 4

# Bounds of the memory in use: entries of an array, and of X, taken at once.
CHUNK = 2**20
BLOCK = 2**20

# Bound on the values looked up in the counting pass.
_N_PROBES = 2**13

# Multiplicative hashing of 64 bits to 20.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(44)
_N_HASHES = 2**20

_SPARSE = (sparse.spmatrix, sparse.sparray)
_Fibre = tuple[int, int]
Objects = list[tuple[str, Any]]
Arrays = list[tuple[str, np.ndarray]]


# ---------------------------------------------------------------------------
# The places
# ---------------------------------------------------------------------------


def places_of_rows(
    objects: Objects, arrays: Arrays, wanted: "Rows"
) -> Iterator[tuple[str, set[int]]]:
    """Yield each place that holds wanted rows, and the numbers of these rows."""
    patterns_of = cache(partial(_make_patterns, wanted))
    containers = [(p, obj) for p, obj in objects if is_sparse(obj)]
    # Their values are looked at together with the indices, which is more exact,
    # unless the buffer holds more than the matrix shows.
    held = {
        _identity(container.data)
        for _, container in containers
        if hasattr(container, "data") and container.data.size == container.nnz
    }
    for place, array in arrays:
        found = set()
        for reading in readings(array):
            patterns = patterns_of(reading.dtype.newbyteorder("="))
            found |= _find(*lines(reading), patterns)
            # In integers, counts and indices look too much like one another.
            lone = reading.ndim == 1 and reading.dtype.kind in "fc"
            if lone and wanted.have_zeros and _identity(array) not in held:
                found |= _find(reading, [(1, reading.size)], patterns.squeezed())
        if found:
            yield place, found
    for place, container in containers:
        patterns = patterns_of(container.dtype)
        matrix = container
        if container.ndim != 2:
            matrix = container.reshape((-1, container.shape[-1]))
        # A row of X is a row of the matrix or, if that is transposed, a column.
        found = _find_in_csr(matrix.tocsr(), patterns)
        found |= _find_in_csr(matrix.tocsc().T, patterns)
        if found:
            yield place, found


def distinct_arrays(arrays: Iterable[tuple[str, np.ndarray]]) -> Arrays:
    """Drop arrays that show the same memory under another name."""
    known: dict[tuple, tuple[str, np.ndarray]] = {}
    for place, array in arrays:
        known.setdefault(_identity(array), (place, array))
    return list(known.values())


def is_sparse(obj: Any) -> bool:
    """Tell whether an object is a sparse container of SciPy."""
    return issubclass(type(obj), _SPARSE)


def canonical_csr(matrix: Any) -> Any:
    """Give a CSR matrix with ordered columns, each once, and no stored zeros."""
    if not matrix.has_canonical_format or not matrix.data.all():
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    return matrix


def _identity(array: np.ndarray) -> tuple:
    """Tell arrays apart by the memory that they show."""
    start = array.__array_interface__["data"][0]
    return start, array.shape, array.strides, array.dtype.str


def readings(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the array and, if it is made of bytes, the floats it may encode."""
    yield array
    if array.dtype.itemsize > 1 or not array.flags.forc:
        return
    raw = array.reshape(-1, order="A").view(np.uint8)
    for dtype in (np.dtype(np.float64), np.dtype(np.float32)):
        for offset in range(dtype.itemsize):
            size = (raw.size - offset) // dtype.itemsize
            if size > 0:
                yield raw[offset : offset + size * dtype.itemsize].view(dtype)


def lines(array: np.ndarray) -> tuple[Any, list[_Fibre]]:
    """Give the entries in memory order, and the fibres a row may lie along.

    Returns
    -------
    flat : ndarray of shape (size,) or flatiter
        The entries, without a copy.
    fibres : list of (stride, length)
        The entries in a row, as one long fibre, and the fibres along each axis.
    """
    # Of an axis that was broadcast, one entry says everything.
    array = array[tuple(slice(None if step else 1) for step in array.strides)]
    axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    array = array.transpose(axes)
    fibres = [(1, array.size)]
    stride = array.size
    for length in array.shape[:-1]:
        stride //= max(1, length)
        fibres.append((stride, length))
    # A flat iterator can be sliced and indexed as well, at any strides.
    return array.reshape(-1) if array.flags.c_contiguous else array.flat, fibres


# ---------------------------------------------------------------------------
# The patterns
# ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Rows to search for, by their non-zero values.

    Parameters
    ----------
    numbers : ndarray of shape (n_rows,)
        The row numbers.
    n_features : int
        The width of the rows.
    sizes : ndarray of shape (n_rows,)
        Number of non-zero values of each row.
    columns, values : ndarray of shape (n_rows, n_entries)
        The non-zero values of each row and their columns, from left to right.
        Shorter rows are padded with repetitions of the last value.
    """

    numbers: np.ndarray
    n_features: int
    sizes: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    @property
    def have_zeros(self) -> bool:
        return bool((self.sizes < self.n_features).any())


def portions(X: sparse.csr_array, numbers: np.ndarray) -> Iterator[Rows]:
    """Yield some rows of X in portions of bounded size."""
    n_entries = int(np.diff(X.indptr)[numbers].max(initial=1))
    step = max(1, BLOCK // n_entries)
    for lo in range(0, len(numbers), step):
        part = numbers[lo : lo + step]
        rows = X[part]
        sizes = np.diff(rows.indptr)
        entry = np.minimum(np.arange(sizes.max()), sizes[:, None] - 1)
        entry += rows.indptr[:-1, None]
        # Columns are multiplied by strides: int32 would overflow.
        columns, values = rows.indices[entry].astype(np.int64), rows.data[entry]
        yield Rows(part, X.shape[1], sizes, columns, values)


@dataclass(frozen=True)
class _Patterns:
    """What rows look like in the arrays of some dtype.

    Parameters
    ----------
    numbers : ndarray of shape (n_patterns,)
        The number of the row that each pattern stands for.
    lengths : ndarray of shape (n_patterns,)
        How many entries of an array the pattern takes up.
    sizes : ndarray of shape (n_patterns,)
        How many of them are stored in the row, and may differ from zero.
    columns, values : ndarray of shape (n_patterns, n_entries)
        These entries and where they lie in the pattern, padded as in `Rows`.
    probes : ndarray of shape (n_patterns, n_probes)
        Which entries are counted in an array.
    lookup : _Lookup
        All their values.
    slots : ndarray of shape (n_patterns, n_probes)
        The positions of the values in `lookup`.
    """

    numbers: np.ndarray
    lengths: np.ndarray
    sizes: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    probes: np.ndarray
    lookup: "_Lookup"
    slots: np.ndarray

    def squeezed(self) -> "_Patterns":
        """Give the patterns without the zeros, as in the data of a CSR matrix."""
        entry = np.arange(self.columns.shape[1])
        columns = np.minimum(entry, self.sizes[:, None] - 1)
        return replace(self, columns=columns, lengths=self.sizes)


class _Lookup:
    """Finds some non-zero values in arrays, in bounded memory.

    A bitmap of hashes turns away nearly all other entries, which is ten times
    as fast as to look each of them up.
    """

    def __init__(self, values: np.ndarray):
        self.values = np.unique(values)
        self._known = np.zeros(_N_HASHES, dtype=bool)
        self._known[self._hash(self.values)] = True

    @staticmethod
    def _hash(values: np.ndarray) -> np.ndarray:
        # Equal numbers, other than zeros, have equal images in float64.
        with np.errstate(all="ignore"):
            image = np.ascontiguousarray(values.real, dtype=np.float64)
        return (image.view(np.uint64) * _MULTIPLIER) >> _SHIFT

    def hits(self, flat: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the positions of hits, and which value each of them is."""
        for lo in range(0, len(flat), CHUNK):
            part = flat[lo : lo + CHUNK]
            position = np.flatnonzero(self._known[self._hash(part)])
            if not position.size:
                continue
            part = part[position]
            slot = np.searchsorted(self.values, part)
            slot[slot == len(self.values)] = 0
            hit = self.values[slot] == part
            yield lo + position[hit], slot[hit]


def _make_patterns(wanted: Rows, dtype: np.dtype) -> _Patterns:
    """Cast rows to a dtype, and prepare the search for them."""
    values, which = _cast(wanted.values, dtype)
    # A cast to a narrow dtype may leave little of a row.
    telling = _n_distinct(values) >= MIN_DISTINCT
    values, which = values[telling], which[telling]
    probes = _choose_probes(values)
    probed = np.take_along_axis(values, probes, axis=1)
    lookup = _Lookup(probed)
    return _Patterns(
        numbers=wanted.numbers[which],
        lengths=np.full(len(which), wanted.n_features),
        sizes=wanted.sizes[which],
        columns=wanted.columns[which],
        values=values,
        probes=probes,
        lookup=lookup,
        slots=np.searchsorted(lookup.values, probed),
    )


def _cast(values: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Give the images that rows have in a dtype, and the row each belongs to."""
    which = np.arange(len(values))
    if dtype.kind not in "iufc":
        return values[:0], which[:0]
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        fits = (values == np.rint(values)) & (values >= info.min)
        fits &= values < float(info.max) + 1
        which = which[fits.all(axis=1)]
        return values[which].astype(dtype), which
    with np.errstate(over="ignore", under="ignore"):
        image = values.astype(dtype)
        # A wide array may hold rows that went through float32 on their way.
        rounded = values.astype(np.float32).astype(dtype)
    differs = (rounded != image).any(axis=1) & (dtype.itemsize > 4)
    which = np.concatenate([which, which[differs]])
    return np.vstack([image, rounded[differs]]), which


def _n_distinct(values: np.ndarray) -> np.ndarray:
    """Count the distinct non-zero values of each row."""
    ordered = np.sort(values, axis=1)
    n_changes = np.count_nonzero(ordered[:, 1:] != ordered[:, :-1], axis=1)
    return n_changes + 1 - (values == 0).any(axis=1)


def _choose_probes(values: np.ndarray) -> np.ndarray:
    """Choose entries, other than zero, that are likely to be rare in an array."""
    n_probes = max(MIN_DISTINCT, _N_PROBES // (len(values) + 1))
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = counts[which].reshape(values.shape).astype(np.float64)
    rank[values == np.rint(values)] += values.size
    rank[values == 0] = np.inf
    probes = np.argsort(rank, axis=1, kind="stable")[:, :n_probes]
    vanished = np.isinf(np.take_along_axis(rank, probes, axis=1))
    return np.where(vanished, probes[:, :1], probes)


# ---------------------------------------------------------------------------
# The search
# ---------------------------------------------------------------------------


def _find(
    flat: Any,
    fibres: list[_Fibre],
    patterns: _Patterns,
    confirm: Callable[[int, int], bool] | None = None,
) -> set[int]:
    """Find the rows whose pattern occurs in an array.

    Parameters
    ----------
    flat : ndarray of shape (size,) or flatiter
        The entries of the array.
    fibres : list of (stride, length)
        Where a pattern may lie: the fibres of each kind follow on one another
        in `flat`, and their entries are `stride` apart.
    patterns : _Patterns
        What to look for.
    confirm : callable, default=None
        Has the last word on a match, given its start and the pattern's index.

    Returns
    -------
    numbers : set of int
        The numbers of the rows found.
    """
    is_found = np.zeros(len(patterns.numbers), dtype=bool)
    for position, which, offset in _candidates(flat, patterns):
        for stride, length in fibres:
            first = position // stride % length - offset
            fits = (first >= 0) & (first + patterns.lengths[which] <= length)
            fits &= ~is_found[which]
            start, possible = (position - offset * stride)[fits], which[fits]
            for match in _agree(flat, start, stride, patterns, possible):
                if confirm is None or confirm(start[match], possible[match]):
                    is_found[possible[match]] = True
    return set(patterns.numbers[is_found].tolist())


def _candidates(
    flat: Any, patterns: _Patterns
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield where patterns may lie in an array.

    Yields
    ------
    position, which, offset : ndarray of shape (n_candidates,)
        An entry of the array that equals an entry of a pattern, the index of
        the pattern, and the offset of the entry from the start of the pattern.
    """
    if len(flat) < patterns.lengths.min(initial=len(flat) + 1):
        return
    chosen, anchors = _choose_anchors(flat, patterns)
    if not chosen.size:
        return
    values = patterns.values[chosen, anchors]
    offsets = patterns.columns[chosen, anchors]
    lookup = _Lookup(values)
    slots = np.searchsorted(lookup.values, values)
    members = np.argsort(slots, kind="stable")
    n_members = np.bincount(slots)
    first_member = np.cumsum(n_members) - n_members
    for position, slot in lookup.hits(flat):
        # Patterns may share an anchor. Taken one by one, they bound the memory.
        for i in range(n_members[slot].max(initial=0)):
            has = n_members[slot] > i
            member = members[first_member[slot[has]] + i]
            yield position[has], chosen[member], offsets[member]


def _choose_anchors(flat: Any, patterns: _Patterns) -> tuple[np.ndarray, np.ndarray]:
    """Choose the entry of each pattern whose value is the rarest in an array.

    Returns
    -------
    chosen : ndarray of shape (n_chosen,)
        The patterns with no value that does not occur at all.
    anchors : ndarray of shape (n_chosen,)
        Their entries.
    """
    counts = np.zeros(len(patterns.lookup.values), dtype=np.int64)
    for _, slot in patterns.lookup.hits(flat):
        counts += np.bincount(slot, minlength=len(counts))
    if not counts.any():
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    occurrences = counts[patterns.slots]
    chosen = np.flatnonzero(occurrences.min(axis=1) > 0)
    return chosen, patterns.probes[chosen, occurrences[chosen].argmin(axis=1)]


def _agree(
    flat: Any,
    start: np.ndarray,
    stride: int,
    patterns: _Patterns,
    which: np.ndarray,
) -> Iterator[int]:
    """Yield the indices into `start` where the pattern `which` does start.

    This is the only place that compares a row with the entries of an array.
    """
    agree = np.arange(len(start))
    for i in range(patterns.values.shape[1]):
        if not agree.size:
            return
        entries = flat[start[agree] + patterns.columns[which[agree], i] * stride]
        agree = agree[entries == patterns.values[which[agree], i]]
    for match in agree:
        size, length = patterns.sizes[which[match]], patterns.lengths[which[match]]
        end = start[match] + (length - 1) * stride + 1
        stored = patterns.values[which[match], :size]
        n_non_zero = np.count_nonzero(flat[start[match] : end : stride])
        if n_non_zero == np.count_nonzero(stored):
            yield match


def _find_in_csr(matrix: Any, patterns: _Patterns) -> set[int]:
    """Find the rows that occur in the rows of a CSR matrix."""
    matrix = canonical_csr(matrix)
    indptr, indices = matrix.indptr, matrix.indices

    def is_row(start: int, which: int) -> bool:
        """Tell whether the values lie in one row, at the right distances."""
        columns = patterns.columns[which, : patterns.sizes[which]]
        end = start + len(columns)
        row = np.searchsorted(indptr, start, side="right") - 1
        shift = indices[start] - columns[0]
        return (
            end <= indptr[row + 1]
            and 0 <= shift <= matrix.shape[1] - patterns.lengths[which]
            and np.array_equal(indices[start:end], columns + shift)
            and (start == indptr[row] or indices[start - 1] < shift)
            and (
                end == indptr[row + 1]
                or indices[end] >= shift + patterns.lengths[which]
            )
        )

    data = matrix.data[: matrix.nnz]
    return _find(data, [(1, len(data))], patterns.squeezed(), confirm=is_row)
