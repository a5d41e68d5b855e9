"""Find rows and multiples of rows in arrays, wherever they lie.

Two entries of a row have the same quotient as the same two entries of any multiple of
it. One pass over an array therefore finds candidates for both: it looks for entries
that are as far apart as two neighbouring non-zero entries of a row and have their
quotient. There all entries are compared. If they are equal, the row has been found, and
otherwise, if they differ from those of a multiple by rounding only, a multiple of it.

Arrays that only the row itself is searched in (integers, half precision, the bytes of a
dump) are searched for the value of one entry instead of a quotient.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product

import numpy as np
from scipy import sparse

from .chance import MIN_DISTINCT, has_telling_places
from .intervals import Intervals

# Cost: entries of an array, and of X, that are held in memory at a time (8 MB each).
CHUNK = 2**20
BLOCK = 2**20

# Rounding, in units in the last place: a row, its factor and their product may all be
# rounded, in a quotient on both sides. Single precision bounds what may agree at all.
_LOOSE = 8.0 * float(np.finfo(np.float32).eps)
_TIGHT = 16.0 * float(np.finfo(np.float64).eps)

ITSELF = ""
MULTIPLE = "a multiple of"


@dataclass(frozen=True)
class Rows:
    """Rows to search for, by their non-zero values.

    Attributes
    ----------
    numbers : ndarray of shape (n_rows,)
        The row numbers.
    lengths : ndarray of shape (n_rows,)
        How many entries of an array each row takes up.
    sizes : ndarray of shape (n_rows,)
        How many of them are stored here. All others are zero.
    columns, values : ndarray of shape (n_rows, n_entries)
        The stored entries from left to right. Shorter rows are padded with repetitions
        of the last one.
    """

    numbers: np.ndarray
    lengths: np.ndarray
    sizes: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def in_dtype(self, dtype):
        """Return what the rows become in arrays of a dtype, as float64.

        Wide arrays may also hold rows that were rounded to float32 on their way. Rows
        that the dtype cannot represent, or that could be found by chance, are dropped.

        Returns
        -------
        many, few : Rows
            Those with enough distinct values, and those that only their places tell
            from chance.
        """
        images = self.values.astype(dtype).real.astype(np.float64)
        which = np.arange(len(images))
        if dtype.kind in "iu":
            fits = (images == self.values).all(axis=1)
            images, which = images[fits], which[fits]
        elif dtype.itemsize > 4:
            rounded = self.values.astype(np.float32).astype(np.float64)
            differs = (rounded != images).any(axis=1)
            images = np.vstack([images, rounded[differs]])
            which = np.append(which, which[differs])
        rows = replace(self.take(which), values=images)
        return rows.take(rows.n_distinct() >= MIN_DISTINCT), rows.with_telling_places()

    def n_distinct(self):
        """Return how many distinct non-zero values each row has."""
        ordered = np.sort(self.values, axis=1)
        n_distinct = 1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1)
        return n_distinct - (ordered == 0).any(axis=1)

    def with_telling_places(self):
        """Return the rows of few distinct values that their places tell from chance."""
        few = np.flatnonzero(self.n_distinct() < MIN_DISTINCT)
        entries = zip(self.columns[few], self.values[few], strict=True)
        telling = [
            has_telling_places(columns[:size], values[:size], length)
            for (columns, values), size, length in zip(
                entries, self.sizes[few], self.lengths[few], strict=True
            )
        ]
        return self.take(few[np.array(telling, dtype=bool)])

    @property
    def have_zeros(self):
        return bool((self.sizes < self.lengths).any())

    def take(self, which):
        return Rows(*(values[which] for values in vars(self).values()))

    def squeezed(self):
        """Return the rows without their zeros, as in the data of a CSR matrix."""
        entry = np.arange(self.columns.shape[1])
        columns = np.minimum(entry, self.sizes[:, np.newaxis] - 1)
        return replace(self, columns=columns, lengths=self.sizes)

    def anchors(self, multiples):
        """Choose the entries by which each row is looked for.

        Parameters
        ----------
        multiples : bool
            Whether to look for quotients of entries, or else for entries.

        Yields
        ------
        gap : int
            The distance of the two entries whose quotient is looked for; 0 for one
            entry by its value.
        which, entry : ndarray of shape (n_chosen,)
            Rows, and the number of the first of the two entries in each.
        intervals : Intervals
            Around the quotients or values.
        """
        value, gap = self.values, np.zeros_like(self.columns)
        if multiples:
            value, gap = value[:, 1:] / value[:, :-1], np.diff(self.columns, axis=1)
            # Padding repeats a column, and what overflows is no quotient.
            gap = np.where(np.isfinite(value) & (value != 0), gap, 0)
            value = np.where(gap > 0, value, self.values[:, :-1])
        # Rare values make few candidates, and short distances few passes: small whole
        # numbers, and what several of the rows have, are likely to be common.
        _, where, counts = np.unique(value, return_inverse=True, return_counts=True)
        common = (counts / counts.max(initial=1))[where].reshape(value.shape)
        common += (value == np.rint(value)) | (1 / value == np.rint(1 / value))
        far = 1.0 + self.lengths.max(initial=0)
        rank = np.where(gap == 0, multiples * 4.0 * far, gap) + common * far
        rank[~np.isfinite(value) | (value == 0)] = np.inf
        entry = np.argmin(rank, axis=1)
        chosen = np.arange(len(rank)), entry
        value, gap = value[chosen], gap[chosen]
        for distance in np.unique(gap):
            which = np.flatnonzero(gap == distance)
            intervals = Intervals(value[which], _LOOSE * np.abs(value[which]))
            yield int(distance), which, entry[which], intervals


def portions(X, numbers):
    """Yield some rows of a CSR array as `Rows` of bounded size."""
    n_entries = int(np.diff(X.indptr)[numbers].max(initial=1))
    step = max(1, BLOCK // n_entries)
    for lo in range(0, len(numbers), step):
        part = numbers[lo : lo + step]
        rows = X[part]
        sizes = np.diff(rows.indptr)
        entry = np.minimum(np.arange(sizes.max()), sizes[:, np.newaxis] - 1)
        entry += rows.indptr[:-1, np.newaxis]
        # Columns are multiplied by strides: int32 would overflow.
        columns, values = rows.indices[entry].astype(np.int64), rows.data[entry]
        yield Rows(part, np.full(len(part), X.shape[1]), sizes, columns, values)


# ---------------------------------------------------------------------------
# The places
# ---------------------------------------------------------------------------


def places_of_rows(objects, arrays, wanted, scalable=()):
    """Yield each place that holds wanted rows or multiples of them.

    Parameters
    ----------
    objects : iterable of (str, object)
        Sparse containers are searched among them.
    arrays : iterable of (str, ndarray)
    wanted : Rows
    scalable : collection of int
        The numbers of the rows of which multiples are searched for, too.

    Yields
    ------
    what : {ITSELF, MULTIPLE}
    place : str
    number : int
        The row number.
    """
    patterns_in = cache(partial(_patterns_in, wanted, len(scalable) > 0))
    containers = [
        (place, obj)
        for place, obj in objects
        if issubclass(type(obj), (sparse.spmatrix, sparse.sparray))
    ]
    # The data of a sparse container is compared together with the indices, which is
    # more exact, unless its buffer holds more than the matrix shows.
    compared_with_indices = {
        _identity(container.data)
        for _, container in containers
        if hasattr(container, "data") and container.data.size == container.nnz
    }
    for place, array in arrays:
        found = set()
        has_indices = _identity(array) in compared_with_indices
        for reading in _readings(array):
            # Rows of few values are not searched for without the zeros between them.
            spread, squeezed, few, _ = patterns_in(reading.dtype.newbyteorder("="))
            reading = reading.real
            for patterns in (spread, few):
                _find(*lines(reading), patterns, scalable, found)
            # In integers, counts and indices look too much like one another.
            is_list = reading.ndim == 1 and reading.dtype.kind == "f"
            if is_list and wanted.have_zeros and not has_indices:
                _find(reading, [(1, reading.size)], squeezed, (), found)
        yield from ((what, place, number) for what, number in sorted(found))
    for place, container in containers:
        if container.ndim != 2:
            container = container.reshape((-1, container.shape[-1]))
        found = set()
        # A row of X is a row of the matrix or, if that is transposed, a column.
        for matrix in (container.tocsr(), container.tocsc().T):
            spread, squeezed, few, few_squeezed = patterns_in(container.dtype)
            _find_in_csr(matrix, spread, squeezed, scalable, found)
            _find_in_csr(matrix, few, few_squeezed, scalable, found)
        yield from ((what, place, number) for what, number in sorted(found))


def distinct_arrays(arrays):
    """Drop arrays that show the same memory under another name."""
    known = {}
    for place, array in arrays:
        known.setdefault(_identity(array), (place, array))
    return list(known.values())


def _identity(array):
    start = array.__array_interface__["data"][0]
    return start, array.shape, array.strides, array.dtype.str


def _readings(array):
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


def lines(array):
    """Return the entries in memory order, and the fibres a row may lie along.

    Returns
    -------
    flat : ndarray of shape (size,) or flatiter
        The entries, without a copy.
    fibres : list of (stride, length)
        The entries as one long fibre, and the fibres along each axis: they follow on
        one another in `flat`, and their entries are `stride` apart.
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
# The search in one array
# ---------------------------------------------------------------------------


def _patterns_in(wanted, multiples, dtype):
    """Prepare the search for rows, and for rows without zeros, in arrays of a dtype."""
    if dtype.kind not in "iufc":
        wanted, dtype = wanted.take(slice(0)), np.dtype(np.float64)
    many, few = wanted.in_dtype(dtype)
    multiples &= dtype.kind == "c" or dtype.kind == "f" and dtype.itemsize >= 4
    return [
        (rows, list(rows.anchors(multiples)))
        for rows in (many, many.squeezed(), few, few.squeezed())
    ]


def _find(flat, fibres, patterns, scalable, found, confirm=None):
    """Add what occurs in an array, and the row number, to `found`.

    Parameters
    ----------
    flat, fibres
        See `lines`.
    patterns : tuple of (Rows, list)
        What to look for, and its anchors.
    scalable : collection of int
    found : set of (str, int)
    confirm : callable, default=None
        Has the last word on a match, given its start and the index of the row.
    """
    rows, anchors = patterns
    fibres = [fibre for fibre in fibres if fibre[1] >= rows.lengths.min(initial=0)]
    for (gap, which, entry, intervals), (stride, length) in product(anchors, fibres):
        for position, i in candidates(flat, gap * stride, intervals):
            row, first = which[i], entry[i]
            left = position // stride % length - rows.columns[row, first]
            fits = (left >= 0) & (left + rows.lengths[row] <= length)
            row, first = row[fits], first[fits]
            start = position[fits] - rows.columns[row, first] * stride
            for match, what in _agree(flat, start, stride, rows, row, first):
                at, who = start[match], row[match]
                number = int(rows.numbers[who])
                if what == MULTIPLE and number not in scalable:
                    continue
                if (ITSELF, number) in found or (what, number) in found:
                    continue
                span = flat[at : at + (rows.lengths[who] - 1) * stride + 1 : stride]
                n_stored = np.count_nonzero(rows.values[who, : rows.sizes[who]])
                if np.count_nonzero(span) == n_stored and (
                    confirm is None or confirm(at, who)
                ):
                    found.add((what, number))


def candidates(flat, reach, intervals):
    """Yield where in an array a value or, at some reach, a quotient is looked for.

    Parameters
    ----------
    flat : ndarray of shape (size,) or flatiter
    reach : int
        The distance of the two entries of a quotient; 0 for one entry by its value.
    intervals : Intervals

    Yields
    ------
    position, i : ndarray of shape (n_candidates,)
        Positions of (first) entries, and the intervals they are in.
    """
    step = max(CHUNK, reach)
    for lo in range(0, len(flat) - reach, step):
        part = np.asarray(flat[lo : lo + step + reach], dtype=np.float64)
        if reach:
            part = part[reach:] / part[:-reach]
        for position, i in intervals.hits(part):
            yield lo + position, i


def _agree(flat, start, stride, rows, row, first):
    """Yield which candidates are rows or multiples of rows, and what they are.

    This is the only place that compares a row with the entries of an array.
    """

    def entries_of(which, i):
        positions = start[which] + rows.columns[row[which], i] * stride
        return np.asarray(flat[positions], dtype=np.float64)

    agree = np.arange(len(start))
    factor = entries_of(agree, first) / rows.values[row, first]
    worst = np.zeros(len(start))
    equal, single = np.ones((2, len(start)), bool)
    for i in range(rows.values.shape[1]):
        if not agree.size:
            return
        value, entries = rows.values[row[agree], i], entries_of(agree, i)
        expected = factor[agree] * value
        same = entries == value
        off = np.abs(entries - expected) / np.abs(expected)
        off[same & np.isnan(off)] = 0.0  # zeros and infinities
        equal[agree] &= same
        worst[agree] = np.fmax(worst[agree], off)
        single[agree] &= entries.astype(np.float32) == entries
        agree = agree[off <= _LOOSE]
    agreeing = rows.take(row[agree])
    rounded = agreeing.values.astype(np.float32).astype(np.float64)
    n_distinct = replace(agreeing, values=rounded).n_distinct()
    tells = (n_distinct >= MIN_DISTINCT) | (n_distinct == agreeing.n_distinct())
    for match, tells_in_single in zip(agree, tells, strict=True):
        if equal[match]:
            yield match, ITSELF
        # What went through single precision may be off by its rounding, but must be
        # told from chance in it.
        elif single[match] and tells_in_single or worst[match] <= _TIGHT:
            yield match, MULTIPLE


def _find_in_csr(matrix, spread, squeezed, scalable, found):
    """Add what occurs in the rows of a CSR matrix, and the row number, to `found`."""
    if not matrix.has_canonical_format or not matrix.data.all():
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    indptr, indices, rows = matrix.indptr, matrix.indices, spread[0]

    def confirm(start, who):
        """Tell whether the values lie in one row, alone and at the right distances."""
        line = np.searchsorted(indptr, start, side="right") - 1
        columns = rows.columns[who, : rows.sizes[who]]
        shift = indices[start] - columns[0]
        there = indices[indptr[line] : indptr[line + 1]] - shift
        there = there[(there >= 0) & (there < rows.lengths[who])]
        fits = 0 <= shift <= matrix.shape[1] - rows.lengths[who]
        return fits and np.array_equal(there, columns)

    data = matrix.data[: matrix.nnz].real
    _find(data, [(1, len(data))], squeezed, scalable, found, confirm)
