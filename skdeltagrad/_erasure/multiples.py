"""Find multiples of rows in arrays, wherever they lie.

The quotient of two neighbouring entries is the same in a row and in its multiples. One
pass over an array, for each way that a row may lie in it, looks for the quotient of two
entries of every row; where it is, all entries are compared.
"""

from dataclasses import dataclass

import numpy as np

from .intervals import Intervals
from .row_search import CHUNK, canonical_csr, is_sparse, lines, readings

# What rounding may do to a quotient, and to an entry next to the multiple of the row's:
# in units in the last place. A row, its factors and the product may all be rounded.
_ULPS = 8.0
_EPS = np.finfo(np.float64).eps
_EPS_SINGLE = float(np.finfo(np.float32).eps)
_LOOSE = _ULPS * _EPS_SINGLE
_TIGHT = 2.0 * _ULPS * _EPS
# Candidates that are compared at a time.
_AT_ONCE = 2**16


@dataclass(frozen=True)
class Quotients:
    """Rows by the quotient of two entries that are the same distance apart.

    Attributes
    ----------
    rows : Rows
    which : ndarray of shape (n_rows,)
        Rows of `rows` that have such a pair of entries.
    entries : ndarray of shape (n_rows,)
        The first of these entries; the other one is the next that is not zero.
    gap : int
        The distance, in columns.
    intervals : Intervals
        Around the quotients.
    """

    rows: object
    which: np.ndarray
    entries: np.ndarray
    gap: int
    intervals: Intervals


def quotients_of(rows, squeezed=False):
    """Quotients of rows, for each distance of entries that there is among them.

    Parameters
    ----------
    rows : Rows
    squeezed : bool, default=False
        Whether zeros between the entries do not count, as in the data of a CSR matrix.

    Returns
    -------
    quotients : list of Quotients
    """
    n_pairs = rows.values.shape[1] - 1
    first, second = rows.values[:, :-1], rows.values[:, 1:]
    with np.errstate(all="ignore"):
        quotient = second / first
        common = (quotient == np.rint(quotient)) | (
            1 / quotient == np.rint(1 / quotient)
        )
    gap = np.ones_like(rows.columns[:, 1:])
    if not squeezed:
        gap = rows.columns[:, 1:] - rows.columns[:, :-1]
    rank = gap + common * float(rows.n_features + 1)
    padding = np.arange(n_pairs) >= rows.sizes[:, np.newaxis] - 1
    rank[padding | ~np.isfinite(quotient) | (quotient == 0)] = np.inf
    entry = np.argmin(rank, axis=1)
    everyone = np.arange(len(rows.numbers))
    has_pair = np.isfinite(rank[everyone, entry])
    gap, quotient = gap[everyone, entry], quotient[everyone, entry]
    found = []
    for distance in np.unique(gap[has_pair]):
        which = np.flatnonzero(has_pair & (gap == distance))
        intervals = Intervals(quotient[which], _LOOSE * np.abs(quotient[which]))
        found.append(Quotients(rows, which, entry[which], int(distance), intervals))
    return found


def places_of_multiples(objects, arrays, rows):
    """Yield each place that holds multiples of rows.

    Parameters
    ----------
    objects : iterable of (str, object)
    arrays : iterable of (str, ndarray)
    rows : Rows

    Yields
    ------
    place : str
    numbers : set of int
        The numbers of the rows.
    """
    spread, squeezed = quotients_of(rows), quotients_of(rows, squeezed=True)
    for place, array in arrays:
        found = set()
        for reading in readings(array):
            if reading.dtype.kind == "c":
                reading = reading.real
            if reading.dtype.kind != "f" or reading.dtype.itemsize < 4:
                continue
            flat, fibres = lines(reading)
            for quotients in spread:
                for fibre in fibres:
                    found |= _find(flat, *fibre, quotients, rows.columns, found)
        if found:
            yield place, found
    for place, container in objects:
        if not is_sparse(container) or container.dtype.kind != "f":
            continue
        if container.ndim != 2:
            container = container.reshape((-1, container.shape[-1]))
        found = set()
        for matrix in (container.tocsr(), container.tocsc().T):
            found |= _find_in_csr(matrix, squeezed, rows)
        if found:
            yield place, found


def _find(flat, stride, length, quotients, columns, known):
    """Rows of which a multiple lies along the fibres of an array."""
    rows, reach = quotients.rows, quotients.gap * stride
    found = set()
    if length < rows.n_features:
        return found
    for position, which in _candidates(flat, reach, quotients):
        entry = quotients.entries[which]
        number = quotients.which[which]
        offset = columns[number, entry]
        first = position // stride % length - offset
        fits = (first >= 0) & (first + rows.n_features <= length)
        if known:
            fits &= ~np.isin(rows.numbers[number], list(known))
        start, number, entry = (
            (position - offset * stride)[fits], number[fits], entry[fits],
        )  # fmt: skip
        for lo in range(0, len(start), _AT_ONCE):
            part = slice(lo, lo + _AT_ONCE)
            agree = _agree(flat, start[part], stride, rows, number[part], entry[part])
            found.update(rows.numbers[number[part][agree]].tolist())
    return found


def _candidates(flat, reach, quotients):
    """Yield positions whose quotient with an entry further on is that of a row."""
    intervals, step = quotients.intervals, max(CHUNK, reach)
    for lo in range(0, len(flat) - reach, step):
        part = np.asarray(flat[lo : lo + step + reach], dtype=np.float64)
        with np.errstate(all="ignore"):
            quotient = part[reach:] / part[: len(part) - reach]
        position, interval = intervals.hits(quotient)
        for i in range(intervals.n_members[interval].max(initial=0)):
            has = intervals.n_members[interval] > i
            yield lo + position[has], intervals.members(interval[has], i)


def _agree(flat, start, stride, rows, number, entry):
    """Which of some candidates are multiples indeed."""
    with np.errstate(all="ignore"):
        there = _as_float(flat[start + rows.columns[number, entry] * stride])
        factor = there / rows.values[number, entry]
        agree = np.flatnonzero(np.isfinite(factor) & (factor != 0))
        worst = np.zeros(len(start))
        single = np.ones(len(start), bool)
        for i in range(rows.values.shape[1]):
            if not agree.size:
                return agree
            row = number[agree]
            entries = _as_float(flat[start[agree] + rows.columns[row, i] * stride])
            expected = factor[agree] * rows.values[row, i]
            off = np.abs(entries - expected) / np.abs(expected)
            worst[agree] = np.fmax(worst[agree], off)
            single[agree] &= entries.astype(np.float32) == entries
            agree = agree[off <= _LOOSE]
    # What went through single precision may be off by its rounding, else nothing may.
    agree = agree[single[agree] | (worst[agree] <= _TIGHT)]
    span = (rows.n_features - 1) * stride + 1
    n_there = [np.count_nonzero(flat[i : i + span : stride]) for i in start[agree]]
    return agree[np.array(n_there, int) == rows.sizes[number[agree]]]


def _find_in_csr(matrix, squeezed, rows):
    """Rows of which a multiple is a row of a CSR matrix."""
    matrix = canonical_csr(matrix)
    data = matrix.data[: matrix.nnz]
    found = set()
    for quotients in squeezed:
        for position, which in _candidates(data, 1, quotients):
            number, entry = quotients.which[which], quotients.entries[which]
            row = np.searchsorted(matrix.indptr, position, side="right") - 1
            size = matrix.indptr[row + 1] - matrix.indptr[row]
            start = position - entry
            fits = (start == matrix.indptr[row]) & (size == rows.sizes[number])
            for at, who in zip(start[fits], number[fits], strict=True):
                mine = slice(at, at + rows.sizes[who])
                columns = rows.columns[who, : rows.sizes[who]]
                if np.array_equal(matrix.indices[mine], columns) and _is_multiple(
                    data[mine], rows.values[who, : rows.sizes[who]]
                ):
                    found.add(int(rows.numbers[who]))
    return found


def _is_multiple(entries, values):
    """Whether entries are a multiple of values, none of which is zero."""
    entries = _as_float(entries)
    expected = entries[0] / values[0] * values
    off = np.max(np.abs(entries - expected) / np.abs(expected))
    is_single = (entries.astype(np.float32) == entries).all()
    return off <= (_LOOSE if is_single else _TIGHT)


def _as_float(entries):
    return np.asarray(entries, dtype=np.float64)
