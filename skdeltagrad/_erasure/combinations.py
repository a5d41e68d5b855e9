"""Find removed rows in vectors that also hold what the training set accounts for.

    vector  =  a_1 sum of current training rows + ... + a_k centre  +  b removed row

A mean, a moment or a cached gradient that still contains a removed row is such a
vector, and n times the mean less the other rows *is* the row. The terms that need no
removed row are called a *basis*. Several bases are tried, since each vector is made of
few terms, and the fewer there are, the more entries of a vector are left to agree. A
row is found if b is far above the effect of rounding and the rest is mere rounding.

With an empty basis these are the multiples of a row; with the centre, or ones, they are
the multiples of a row that was centred.
"""

from itertools import product

import numpy as np
from scipy.linalg import orth

from .chance import MIN_DISTINCT, SPARE, bits_of_entries, is_telling
from .row_search import CHUNK, MULTIPLE

_EPS = np.finfo(np.float64).eps  # rounding: its unit
# Rounding of a vector, in units in the last place of its length.
_ULPS = 16.0
# Rounding of a sum of n terms, in units in the last place of their size times sqrt(n):
# the errors add up like a random walk, and eight standard deviations do not occur.
_WALK = 8.0
# Accuracy: the multiple of a row must be this many times larger than rounding, so that
# what a row leaves behind when it is subtracted again is not taken for it.
_CLEAR = 16.0
# Accuracy, relative to length: parts of a row outside a basis that are smaller are
# rounding of the row (half of the digits of float64), as are dependent basis vectors.
_NOTHING = 1e-7
# Rounding: the last ten bits of single precision. Numbers in which they are zero were
# probably never rounded to it.
_LAST_BITS = np.uint32(2**10 - 1)
# Cost: how far the squared length outside a basis may exceed the projection onto a row,
# relative to itself and to the vector's, for the pair to be verified by least squares.
_FIRST_LOOK = 1e-6
_ROUNDING = 1e-12


def bases_of(n_features, sums=None):
    """Return what vectors may be made of without a removed row.

    Parameters
    ----------
    n_features : int
    sums : TrainingSums, optional

    Returns
    -------
    bases : list of (str, list of (ndarray, float))
        What is said of a row that is found with the basis, and the basis: vectors of
        shape (n_features,), and how far each may be off by rounding, in length.
    """
    bases = [(MULTIPLE, []), ("a centred multiple of", [(np.ones(n_features), 0.0)])]
    if sums is None:
        return bases
    noise = _WALK * np.sqrt(sums.n_rows) * _EPS
    all_rows, weighted, *classes = (
        (vector, noise * sums.magnitudes[name]) for name, vector in sums.vectors.items()
    )
    centres = [[]]
    if sums.centre is not None and sums.centre.any():
        centres.append([(sums.centre, 0.0)])
        bases.append(("a centred multiple of", centres[1]))
    # Means and moments; first gradients are sums over all classes (or targets).
    for part in ([all_rows], [weighted], [weighted, *classes]):
        bases += [("a sum over", part + centre) for centre in centres]
    return bases


def bases_of_squares(sums):
    """Return the same for the squares of rows."""
    noise = _WALK * np.sqrt(sums.n_rows) * _EPS
    return [
        ("a sum of squares over", [(vector, noise * np.linalg.norm(vector))])
        for vector in sums.squares.values()
    ]


class Combinations:
    """Looks for rows in vectors, together with bases.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    numbers : ndarray of shape (n_rows,)
        The row numbers.
    bases : list of (str, list of (ndarray, float))
        See `bases_of`.
    """

    def __init__(self, rows, numbers, bases):
        self._rows, self._numbers = rows, numbers
        n_features = rows.shape[1]
        bits = np.array([bits_of_entries(row) for row in rows])
        self._views, self._accounts = [], []
        for name, terms in bases:
            view = _View(name, terms, rows)
            telling = is_telling(bits, n_features, len(view.directions))
            telling &= view.lengths > 0
            if telling.any():
                self._views.append((view, np.flatnonzero(telling)))
            if 0 < len(view.directions) <= n_features - SPARE:
                self._accounts.append(view)
        # What is not a combination of all bases and a row is none of one basis and it.
        self._widest = _View("", [term for _, terms in bases for term in terms], rows)

    def found(self, vectors, noise):
        """Find rows in vectors.

        Parameters
        ----------
        vectors : ndarray of shape (n_vectors, n_features), dtype float64
        noise : ndarray of shape (n_vectors,)
            What each may be off by, in length.

        Yields
        ------
        name : str
            What is said of the row, by the basis it is found with.
        number, i : int
            The numbers of the row and of the vector.
        """
        step = max(1, CHUNK // len(self._rows))
        for lo in range(0, len(vectors), step):
            part = slice(lo, lo + step)
            for name, number, i in self._found_in(vectors[part], noise[part]):
                yield name, number, lo + i

    def _found_in(self, vectors, noise):
        squares = np.einsum("ij,ij->i", vectors, vectors)
        worth = np.flatnonzero(np.isfinite(squares) & (squares > 0))
        _, likely = self._widest.look(vectors[worth], squares[worth])
        worth = worth[likely.any(axis=1)]
        vectors, noise, squares = vectors[worth], noise[worth], squares[worth]
        for view, telling in self._views:
            along, likely = view.look(vectors, squares)
            likely &= np.abs(along) > (_CLEAR * noise)[:, np.newaxis]
            for i, j in zip(*np.nonzero(likely[:, telling]), strict=True):
                row, given = telling[j], (vectors[i], noise[i])
                # If all rows add up to zero, the sum of the removed ones is minus that
                # of the others.
                if view.finds(row, self._rows[row], *given) and not any(
                    other.accounts_for(*given) for other in self._accounts
                ):
                    yield view.name, int(self._numbers[row]), int(worth[i])


class _View:
    """A basis, and the parts of rows that are outside its span.

    Attributes
    ----------
    name : str
    vectors : ndarray of shape (n_vectors, n_features)
        The basis.
    noise : ndarray of shape (n_vectors,)
        How far each vector may be off by rounding, in length.
    directions : ndarray of shape (n_dimensions, n_features)
        An orthonormal basis of the span.
    lengths : ndarray of shape (n_rows,)
        The lengths of the rows' parts outside it, 0 for those that are rounding.
    units : ndarray of shape (n_rows, n_features)
        These parts, scaled to length one.
    """

    def __init__(self, name, terms, rows):
        self.name = name
        self.vectors = np.array([v for v, _ in terms]).reshape(-1, rows.shape[1])
        self.noise = np.array([noise for _, noise in terms])
        lengths = np.linalg.norm(self.vectors, axis=1)
        given = self.vectors[lengths > 0] / lengths[lengths > 0, np.newaxis]
        self.directions = orth(given.T, rcond=_NOTHING).T
        outside = rows
        for _ in range(2):  # the second time removes the rounding of the first
            outside = outside - (outside @ self.directions.T) @ self.directions
        lengths = np.linalg.norm(outside, axis=1)
        some = lengths > _NOTHING * np.linalg.norm(rows, axis=1)
        self.lengths = np.where(some, lengths, 0.0)
        self.units = outside * (some / np.where(some, lengths, 1.0))[:, np.newaxis]

    def look(self, vectors, squares):
        """Return the share of each row in vectors, and whether it may be all.

        Parameters
        ----------
        vectors : ndarray of shape (n_vectors, n_features)
        squares : ndarray of shape (n_vectors,)
            Their squared lengths.

        Returns
        -------
        along, likely : ndarray of shape (n_vectors, n_rows)
        """
        along = vectors @ self.units.T
        inside = vectors @ self.directions.T
        outside = squares - np.einsum("ij,ij->i", inside, inside)
        least = (1.0 - _FIRST_LOOK) * outside - _ROUNDING * squares
        return along, np.abs(along) >= np.sqrt(np.maximum(least, 0.0))[:, np.newaxis]

    def finds(self, which, row, vector, noise):
        """Tell whether a vector is made of a row, the basis and rounding only."""
        if len(np.unique(vector)) < MIN_DISTINCT:
            return False  # ones, for instance, are the sum of many things
        left, shares, rounding = _fitted(vector, np.vstack([self.vectors, row]))
        share = abs(shares[-1])
        # A sum that a row was subtracted from has the rounding of the sum with it.
        noise = noise + rounding + np.sum((np.abs(shares[:-1]) + share) * self.noise)
        # Entries that rounding hides, as beside one of 1e9, agree with everything.
        n_seen = np.count_nonzero(share * np.abs(row) > noise)
        is_clear = share * self.lengths[which] > _CLEAR * noise
        return left <= noise and is_clear and n_seen > len(self.vectors) + SPARE

    def accounts_for(self, vector, noise):
        """Tell whether a vector is made of the basis and of rounding alone."""
        left, shares, rounding = _fitted(vector, self.vectors)
        return left <= noise + rounding + np.sum(np.abs(shares) * self.noise)


def _fitted(vector, terms):
    """Return the length of what terms leave of a vector, their shares, and rounding."""
    lengths = np.linalg.norm(terms, axis=1)
    some = lengths > 0
    shares = np.zeros(len(terms))
    scaled = (terms[some] / lengths[some, np.newaxis]).T
    shares[some] = np.linalg.lstsq(scaled, vector, rcond=_NOTHING)[0] / lengths[some]
    left = np.linalg.norm(vector - shares @ terms)
    return left, shares, _ULPS * _EPS * np.sum(np.abs(shares) * lengths)


def vectors_in(array, n_features):
    """Yield the vectors that lie along the axes of an array, in portions.

    Fibres of any axis are cut into vectors if they consist of whole ones, each with or
    without an entry for the intercept before or behind it.

    Yields
    ------
    vectors : ndarray of shape (n_vectors, n_features), dtype float64
    noise : ndarray of shape (n_vectors,)
        What rounding may have done to each, in length.
    """
    array = array.real
    if array.dtype.kind != "f" or array.dtype.itemsize < 4 or array.size < n_features:
        return
    # Of an axis that was broadcast, one entry says everything.
    array = array[tuple(slice(None if step else 1) for step in array.strides)]
    eps = max(_EPS, float(np.finfo(array.dtype).eps))
    for axis, width in product(range(array.ndim), (n_features, n_features + 1)):
        fibres = np.moveaxis(array, axis, -1)
        if fibres.shape[-1] % width or not array.size:
            continue
        # Axes are split without a copy; only portions are copied.
        cut = fibres.reshape(*fibres.shape[:-1], -1, width)
        step = max(1, CHUNK // width)
        for lo in range(0, array.size // width, step):
            chosen = np.arange(lo, min(lo + step, array.size // width))
            portion = cut[np.unravel_index(chosen, cut.shape[:-1])].astype(np.float64)
            for first in range(width - n_features + 1):
                vectors = portion[:, first : first + n_features]
                yield vectors, _noise_of(vectors, eps)


def _noise_of(vectors, eps):
    if eps == _EPS:
        # What went through single precision may be off by its rounding.
        rounded = vectors.astype(np.float32)
        single = (rounded == vectors).all(axis=1)
        single &= (rounded.view(np.uint32) & _LAST_BITS != 0).any(axis=1)
        eps = np.where(single, np.finfo(np.float32).eps, eps)
    return _ULPS * eps * np.linalg.norm(vectors, axis=1)
