"""Recognise training rows that are not stored by keyed fingerprints of 40 bits.

With ``store_data=False``, a request contains the rows to be removed, and there are no
stored rows to compare them with. Only a fingerprint of 40 bits is kept of every
training row, its target and its weight. It has three properties.

*Rows that are equal up to rounding have the same fingerprint.* Rows that went through a
transformer alone may differ in their last bits, so that bytes cannot be hashed. A row
is projected onto secret random directions instead, and each projection is rounded down
to a cell of a grid with a random offset (locality-sensitive hashing). A cell is several
times as wide as the largest rounding. If a projection of a requested row is so near to
an edge that the equal training row may be in the cell next to it, both cells are tried.

*Other rows have other fingerprints.* A row unlike any training row passes with a
probability of at most

    n_rows * n_cells / 2**40,   n_cells = 1.25**n_coordinates on average,

which is that of a collision of fingerprints: 3e-6 for a million float64 rows with class
labels (5 coordinates), 7e-6 for float32 rows (9 coordinates). Rows that are nearly
equal may be in the same cell in every direction, too: see `Fingerprints.resolution`.

*A row cannot be computed from its fingerprint.* But those who have the fingerprints
*and* the key can test whether a suspected row is a training row, and if only few rows
are possible they can test all of them. Every check without stored rows has this
weakness. It is the reason for 40 bits instead of 64: if there are many more than
2**40 / n_rows possible rows, most of those that pass the test are false. Without the
key no row can be tested.

The mixing function need not be cryptographic: those who have the key can test any row
anyway, and to others the cells of the secret projections are unknown.
"""

import hashlib

import numpy as np

# Rounding: two rows are the same up to this many units in the last place of their
# length.
EQUAL_ULPS = 1e3

# Cost: bits of a projection. With more of them a row that is not there is taken for
# one that is less often, and the table of fingerprints is larger.
_BITS = 40
# Mathematics: a random direction multiplies a difference by |g| with g ~ N(0, 1), which
# exceeds this with a probability of 1e-15.
_MOST_STANDARD_DEVIATIONS = 8.0
# Cost: width of a cell in units of the largest rounding. A projection is so near to an
# edge that two cells are tried with a probability of at most 2 / 8.
_CELL_WIDTH = 8.0
_CELLS_PER_COORDINATE = 1 + 2 / _CELL_WIDTH
# An accuracy threshold: number of directions that rows are projected onto. The grid of
# float32 rows is coarser, so that more directions are needed to distinguish rows.
_DIRECTIONS = {8: 4, 4: 8}  # by the bytes of an entry
# A cost: number of rows that are hashed at a time, without and with alternatives.
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
        """Width of a cell, as a fraction of the length of a row.

        A row that differs from a training row by this fraction of its length has the
        same fingerprint, and passes the check, with a probability of some percent. At
        ten times the distance the probability is 1e-5 or less.
        """
        return self._grids[0].width

    def error_rate(self, n_rows):
        """Return an upper bound of the probability that an unlike row passes."""
        n_cells = _CELLS_PER_COORDINATE**self.n_coordinates
        return min(1.0, n_rows * n_cells / 2.0**_BITS)

    def of(self, rows, indices, y, weight):
        """Return the fingerprint of every row.

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
        """Yield all fingerprints that rows equal to these may have, in portions.

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
        """Return pairs of a row and a fingerprint.

        With a leeway of 0 there is one fingerprint for every row, in order; with 1, all
        those that rows equal up to rounding may have.
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
        """Yield projections and lengths of rows, of targets if 2-D, and of weights."""
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
        # Largest difference of two equal vectors, and rounding of both projections.
        self._equal = EQUAL_ULPS * eps
        rounding = 2.0 * (4.0 + np.sqrt(n_entries)) * _EPS * norm
        spread = np.minimum(_MOST_STANDARD_DEVIATIONS, norm)
        self._slack = spread * self._equal + rounding
        self.width = _CELL_WIDTH * self._slack

    def cells(self, which, values, length, leeway):
        """Yield the coordinates of vectors, each with its possible values.

        Parameters
        ----------
        which : ndarray of shape (n,)
            The vectors. One whose coordinate has two possible values is repeated in
            all coordinates after it.
        values : ndarray of shape (n_vectors, n_directions)
        length : ndarray of shape (n_vectors,)
        leeway : float
            1 for the coordinates of all equal vectors, 0 for those of these vectors.

        Yields
        ------
        origin : ndarray of shape (n_new,)
            Which entry of the coordinate before it each entry continues.
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
    """Return bytes that are derived from a key, for one purpose."""
    digest = hashlib.blake2b(purpose, digest_size=n_bytes, key=key, person=_PERSON)
    return np.frombuffer(digest.digest(), np.uint8)


def _mixed(state, value, salt):
    """Return hashes of hashes and integers, by the finaliser of splitmix64."""
    state = state ^ (value.astype(np.int64).view(np.uint64) * _STEP + salt)
    state = (state ^ (state >> np.uint64(30))) * _MIX[0]
    state = (state ^ (state >> np.uint64(27))) * _MIX[1]
    return state ^ (state >> np.uint64(31))


def _either(low, high):
    """Return the entries of one array, and those of another that differ from them.

    Returns
    -------
    origin : ndarray
        From which place each of the values comes.
    values : ndarray
    """
    differs = np.flatnonzero(low != high)
    origin = np.concatenate([np.arange(len(low)), differs])
    return origin, np.concatenate([low, high[differs]])


def _floor(position):
    """Return the cell of a position: 0 for NaN, the last one for infinity."""
    cell = np.where(np.isnan(position), 0.0, np.floor(position))
    return np.clip(cell, -_FARTHEST, _FARTHEST).astype(np.int64)
