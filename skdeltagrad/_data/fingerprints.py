"""Recognise rows that are not kept: a keyed fingerprint of 40 bits for each.

With ``store_data=False`` a request brings the rows that shall leave, and nothing is
there to compare them with. What is kept of every training row, its target and its
weight is a number of 40 bits. Three things are asked of it.

*Rows that are equal up to rounding have the same one.* Rows that went through a
transformer alone may differ in their last bits, so that bytes cannot be hashed. A row
is projected onto secret random directions instead, and each projection is rounded down
to a cell of a grid with a random offset (locality-sensitive hashing). A cell is several
times as wide as what rounding may do. At a request both cells are tried where a
projection is so near to the edge between them that the stored row may be beyond it.

*Other rows have another one.* A row unlike any training row passes with a probability
of at most

    n_rows * n_cells / 2**40,   n_cells = 1.25**n_coordinates on average,

which is that of a collision of fingerprints: 3e-6 for a million float64 rows with class
labels (5 coordinates), 7e-6 for float32 rows (9 coordinates). Rows that are nearly
equal may be in the same cell in every direction, too: see `Fingerprints.resolution`.

*A row cannot be computed from it.* But whoever has the fingerprints *and* the key can
ask whether a row that is suspected is there, and can try all rows where few are
possible. No check that needs no rows is without that. It is why there are 40 bits and
not 64: of much more than 2**40 / n_rows possible rows most that are accepted are false
ones. Without the key nothing can be tried.

The mixing function need not be cryptographic: with the key anything can be tried
anyway, and without it the cells of the secret projections are unknown.
"""

import hashlib

import numpy as np

# Rounding: two rows are the same up to this many units in the last place of their
# length.
EQUAL_ULPS = 1e3

# Cost: bits of a projection. With more of them a row that is not there is taken for
# one that is less often, and the table of fingerprints is larger.
_BITS = 40
# Mathematics: a random direction magnifies a difference by |g|, g ~ N(0, 1): by more
# than this once in 1e15 times.
_MOST_STANDARD_DEVIATIONS = 8.0
# Cost: width of a cell, in units of what rounding may do: a projection is so near to an
# edge that two cells are tried with a probability of at most 2 / 8.
_CELL_WIDTH = 8.0
_CELLS_PER_COORDINATE = 1 + 2 / _CELL_WIDTH
# Directions that rows are projected onto. The coarser the grid is, the more of them are
# needed to tell rows from others nearby.
_DIRECTIONS = {8: 4, 4: 8}  # by the bytes of an entry
# Rows that are hashed at a time, and whose alternatives are: a cost.
_AT_ONCE = 8192
_SUSPECTS_AT_ONCE = 1024
# The finaliser of splitmix64 (Steele, Lea, Flood 2014).
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP = np.uint64(0x9E3779B97F4A7C15)
_EPS = np.finfo(float).eps  # rounding: its unit
_PERSON = b"skdeltagrad rows"  # blake2b takes 16 bytes
# Mathematics: projections are stored as int64, which has 63 bits.
_FARTHEST = 2.0**62


class Fingerprints:
    """The fingerprints of rows, targets and weights under a key.

    They are the same on every machine and with every version of NumPy, up to the
    rounding of projections, which is provided for.

    Parameters
    ----------
    key : bytes
        At most 64 of them.
    rows : AbstractRows
        Says how wide rows are, and of which precision.
    y : ndarray of shape (n_rows,) or (n_rows, n_targets)
        Says how many targets there are; class codes if it has one dimension.
    """

    def __init__(self, key, rows, y):
        self._start, self._salt = _derived(key, b"salts", 16).view("<u8")
        # A legacy generator: its stream is frozen across NumPy versions.
        random = np.random.RandomState(_derived(key, b"directions", 64).view("<u4"))
        n_directions = _DIRECTIONS[rows.dtype.itemsize]
        grids = [_Grid(random, rows.n_features, n_directions, np.finfo(rows.dtype).eps)]
        if y.ndim == 2:
            grids.append(_Grid(random, y.shape[1], 1, _EPS))
        self._grids = [*grids, _Grid(random, 1, 1, _EPS)]
        self._rows_direction = rows.layout(grids[0].directions)

    @property
    def n_coordinates(self):
        """Number of projections: of the row, of its targets, and its weight."""
        return sum(len(grid.directions) for grid in self._grids)

    @property
    def resolution(self):
        """Width of a cell, in lengths of a row.

        A row that differs from a training row by this fraction of its length is in
        the same cells, and passes in its place, with a probability of some percent;
        at ten times the distance it is 1e-5 or less.
        """
        return self._grids[0].width

    def error_rate(self, n_rows):
        """At least the probability that a row unlike all of n_rows passes."""
        n_cells = _CELLS_PER_COORDINATE**self.n_coordinates
        return min(1.0, n_rows * n_cells / 2.0**_BITS)

    def of(self, rows, indices, y, weight):
        """Fingerprints of rows: one for each.

        Parameters
        ----------
        rows : AbstractRows
        indices : ndarray of shape (n_rows,)
        y : ndarray of shape (n_stored,) or (n_stored, n_targets)
        weight : ndarray of shape (n_stored,)

        Returns
        -------
        fingerprints : ndarray of shape (n_rows,), dtype uint64
        """
        found = np.empty(len(indices), np.uint64)
        for first in range(0, len(indices), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            some = indices[part]
            _, found[part] = self._hashed(rows, some, y[some], weight[some], 0.0)
        return found

    def possible(self, rows, indices, y, weight):
        """All fingerprints that equal rows may have, in portions.

        Yields
        ------
        which : ndarray of shape (n_found,)
            Which of the storage indices it is, ascending.
        fingerprints : ndarray of shape (n_found,), dtype uint64
        """
        for first in range(0, len(indices), _SUSPECTS_AT_ONCE):
            some = indices[first : first + _SUSPECTS_AT_ONCE]
            which, found = self._hashed(rows, some, y[some], weight[some], 1.0)
            order = np.argsort(which, kind="stable")
            yield first + which[order], found[order]

    @np.errstate(over="ignore", under="ignore", invalid="ignore")  # see `_floor`
    def _hashed(self, rows, indices, y, weight, leeway):
        """Pairs of a row and a fingerprint; `leeway` 1 for all that rounding may make.

        With a leeway of 0 every row has one, and rows are in order.
        """
        which = np.arange(len(indices))
        state = np.full(len(indices), self._start)
        if y.ndim == 1:
            state = _mixed(state, y, self._salt)
        parts = self._measured(rows, indices, y, weight)
        for grid, (values, length) in zip(self._grids, parts, strict=True):
            cells = grid.cells(which, values, length, leeway)
            for origin, cell in cells:
                which, state = which[origin], _mixed(state[origin], cell, self._salt)
        return which, state >> np.uint64(64 - _BITS)

    def _measured(self, rows, indices, y, weight):
        """Projections and length of each part that has a grid of its own."""
        directions = self._grids[0].directions
        values = np.empty((len(indices), len(directions)))
        no_intercept = np.zeros(len(directions))
        rows.matvec(self._rows_direction, no_intercept, indices, values)
        yield (
            values,
            np.sqrt(rows.squared_distances(indices, np.zeros(rows.n_features))),
        )
        if y.ndim == 2:
            length = np.sqrt(np.einsum("ij,ij->i", y, y))
            yield y @ self._grids[1].directions.T, length
        weight = weight[:, np.newaxis]
        yield weight * self._grids[-1].directions[0], np.abs(weight[:, 0])


class _Grid:
    """Cells of the projections of vectors, in units of their length.

    The unit is a power of two, at least the length and at most twice as much.

    Parameters
    ----------
    random : RandomState
    n_entries, n_directions : int
    eps : float
        The unit in the last place of the entries.
    """

    def __init__(self, random, n_entries, n_directions, eps):
        self.directions = random.standard_normal((n_directions, n_entries))
        self._offsets = random.random_sample(n_directions)
        norm = np.linalg.norm(self.directions, axis=1).max()
        # What two equal vectors may differ by, and the rounding of both projections.
        self._equal = EQUAL_ULPS * eps
        rounding = 2.0 * (4.0 + np.sqrt(n_entries)) * _EPS * norm
        spread = np.minimum(_MOST_STANDARD_DEVIATIONS, norm)
        self._slack = spread * self._equal + rounding
        self.width = _CELL_WIDTH * self._slack

    def cells(self, which, values, length, leeway):
        """Yield the coordinates of vectors, each with all that it may be.

        Parameters
        ----------
        which : ndarray of shape (n,)
            The vectors; those that have two alternatives are repeated from then on.
        values : ndarray of shape (n_vectors, n_directions)
        length : ndarray of shape (n_vectors,)
        leeway : float
            1 for all that an equal vector may have, 0 for what these vectors have.

        Yields
        ------
        origin : ndarray of shape (n_new,)
            Which entry of the coordinate before it goes on from.
        coordinate : ndarray of shape (n_new,), dtype int64
        """
        length = length[which]
        off = 2.0 * leeway * self._equal * length
        origin, scale = _either(np.frexp(length - off)[1], np.frexp(length + off)[1])
        which, length = which[origin], length[origin]
        yield origin, scale
        for values_k, offset in zip(values.T, self._offsets, strict=True):
            position = np.ldexp(values_k[which] / self.width, -scale) + offset
            off = np.ldexp(leeway * self._slack / self.width * length, -scale)
            origin, cell = _either(_floor(position - off), _floor(position + off))
            which, length, scale = which[origin], length[origin], scale[origin]
            yield origin, cell


def _derived(key, purpose, n_bytes):
    """Bytes that follow from a key, for one purpose."""
    digest = hashlib.blake2b(purpose, digest_size=n_bytes, key=key, person=_PERSON)
    return np.frombuffer(digest.digest(), np.uint8)


def _mixed(state, value, salt):
    """Hashes of hashes and integers, by the finaliser of splitmix64."""
    state = state ^ (value.astype(np.int64).view(np.uint64) * _STEP + salt)
    state = (state ^ (state >> np.uint64(30))) * _MIX[0]
    state = (state ^ (state >> np.uint64(27))) * _MIX[1]
    return state ^ (state >> np.uint64(31))


def _either(low, high):
    """All of one array, and of another where that differs; and where they are from."""
    differs = np.flatnonzero(low != high)
    origin = np.concatenate([np.arange(len(low)), differs])
    return origin, np.concatenate([low, high[differs]])


def _floor(position):
    """The cell of a position; the first or the last one for what is not finite."""
    cell = np.where(np.isnan(position), 0.0, np.floor(position))
    return np.clip(cell, -_FARTHEST, _FARTHEST).astype(np.int64)
