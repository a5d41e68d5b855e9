"""Find rows in vectors, together with what may stand there by right.

    vector  =  a_1 sum of the rows that are there + ... + a_k centre  +  b removed row

A mean, a moment or a cached gradient that has not let go of a row is such a vector, and
n times the mean less the other rows *is* the row. What may stand there by right is
called a *basis*; there are several, for each vector may be made of a few things only,
and the fewer there are the more a vector must agree with. A row is found when b is far
above what rounding may do and nothing else is left of the vector than rounding.

With an empty basis these are the multiples of a row; with the centre, or ones, in it,
the multiples of a row that was centred.
"""

from dataclasses import dataclass

import numpy as np

from .row_search import CHUNK, MIN_DISTINCT

_EPS = np.finfo(np.float64).eps
# What rounding may do: to a vector, in units in the last place of its length; to a sum,
# in those of its terms, which add up like a walk at random.
_ULPS = 16.0
_WALK = 8.0
# How far above that a row must be.
_CLEAR = 16.0
# Coordinates in which a vector must agree with a row beyond what is fitted to it.
_SPARE = 3
# Parts of a row, or of a basis, that are nothing: of its length.
_NOTHING = 1e-7
# Bits in which it must agree, lest small whole numbers do by chance; those of an entry
# that is no multiple of 1, 0.1, 0.01 or 0.001; and when an entry is one.
_BITS = 40.0
_BITS_OF_ENTRY = 24.0
_GRAINS = (1.0, 10.0, 100.0, 1000.0)
_WHOLE = 5e-7
# The last ten bits of numbers in single precision.
_LAST_BITS = np.uint32(2**10 - 1)
# A first look is that precise: of a squared length.
_FIRST_LOOK = 1e-6
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Basis:
    """What a vector may be made of by right.

    Attributes
    ----------
    name : str
        What a row found with it is called: the row's number follows.
    vectors : ndarray of shape (n_vectors, n_features)
    noise : ndarray of shape (n_vectors,)
        How far each may be off by rounding.
    """

    name: str
    vectors: np.ndarray
    noise: np.ndarray

    def orthonormal(self):
        """An orthonormal basis of it, shape (n_dimensions, n_features)."""
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        given = self.vectors[lengths.ravel() > 0] / lengths[lengths > 0][:, np.newaxis]
        if not len(given):
            return given
        _, share, directions = np.linalg.svd(given, full_matrices=False)
        return directions[share > _NOTHING * share[0]]


def bases_of(n_features, live=None):
    """The bases that are worth a search.

    Parameters
    ----------
    n_features : int
    live : LiveSums, optional
        See `_live_rows`.

    Returns
    -------
    bases : list of Basis
    """
    nothing = np.zeros((0, n_features)), np.zeros(0)
    ones = np.ones((1, n_features)), np.zeros(1)
    bases = [Basis("a multiple of", *nothing), Basis("a centred multiple of", *ones)]
    if live is None:
        return bases
    noise = _WALK * np.sqrt(live.n_rows) * _EPS
    sums = {
        name: (vector[np.newaxis], np.array([noise * live.magnitudes[name]]))
        for name, vector in live.vectors.items()
    }
    # Each alone, and those of the classes (or targets) together: first gradients.
    alone = [part for name, part in sums.items() if "class" not in name]
    together = [part for name, part in sums.items() if "unweighted" not in name]
    parts = [[part] for part in alone] + [together] * (len(together) > 1)
    centre = []
    if live.centre is not None and live.centre.any():
        centre = [(live.centre[np.newaxis], np.zeros(1))]
        bases.append(Basis("a centred multiple of", *centre[0]))
    for part in parts:
        for extra in [[], centre] if centre else [[]]:
            vectors, noises = zip(*part, *extra, strict=True)
            bases.append(
                Basis("a sum over", np.concatenate(vectors), np.concatenate(noises))
            )
    return bases


def bases_of_squares(live):
    """The same for squares of rows."""
    noise = _WALK * np.sqrt(live.n_rows) * _EPS
    return [
        Basis("a sum of squares over", vector[np.newaxis], np.array([noise * size]))
        for vector, size in ((v, np.linalg.norm(v)) for v in live.squares.values())
    ]


def bits_of_entries(values):
    """How many bits an entry of a row has, about."""
    values = np.abs(values[values != 0])
    if not len(values):
        return 0.0
    for grain in _GRAINS:
        scaled = grain * values
        if (np.abs(scaled - np.rint(scaled)) <= _WHOLE * scaled).all():
            return min(float(np.log2(scaled.max() + 1.0)), _BITS_OF_ENTRY)
    return _BITS_OF_ENTRY


def is_telling(values, n_features, n_fitted=0):
    """Whether a vector that is a multiple of a row is that by no chance.

    Parameters
    ----------
    values : ndarray of shape (n_entries,)
        The entries of the row other than zero.
    n_features : int
    n_fitted : int, default=0
        How many other vectors may be in it.
    """
    spare = n_features - n_fitted - 1
    return spare >= _SPARE and spare * bits_of_entries(values) >= _BITS


class Combinations:
    """Looks for rows in vectors, together with bases.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    numbers : ndarray of shape (n_rows,)
        What the rows are called.
    bases : list of Basis
    """

    def __init__(self, rows, numbers, bases):
        self._rows, self._numbers = rows, numbers
        self.n_features = rows.shape[1]
        bits = np.array([bits_of_entries(row) for row in rows])
        self._views, self._accounts = [], []
        for basis in bases:
            view = _View.of(basis, rows)
            spare = rows.shape[1] - len(view.directions) - 1
            if spare + 1 >= _SPARE and len(basis.vectors):
                self._accounts.append(basis)
            telling = view.lengths > _NOTHING * np.linalg.norm(rows, axis=1)
            telling &= (spare >= _SPARE) & (spare * bits >= _BITS)
            if telling.any():
                self._views.append((view, np.flatnonzero(telling)))
        # What is in none of the bases' vectors, and no row, is in none of them.
        everything = np.concatenate([basis.vectors for basis in bases])
        self._widest = _View.of(Basis("", everything, np.zeros(0)), rows)

    def found(self, vectors, noise):
        """Rows in vectors.

        Parameters
        ----------
        vectors : ndarray of shape (n_vectors, n_features), dtype float64
        noise : ndarray of shape (n_vectors,)
            What each may be off by, in length.

        Yields
        ------
        name : str
        number : int
            The row's.
        i : int
            The vector's.
        """
        squares = np.einsum("ij,ij->i", vectors, vectors)
        worth = np.flatnonzero(np.isfinite(squares) & (squares > 0))
        _, likely = self._widest.look(vectors[worth], squares[worth])
        worth = worth[likely.any(axis=1)]
        vectors, noise, squares = vectors[worth], noise[worth], squares[worth]
        for view, telling in self._views:
            along, likely = view.look(vectors, squares)
            likely &= np.abs(along) > (_CLEAR * noise)[:, np.newaxis]
            for i, j in zip(*np.nonzero(likely[:, telling]), strict=True):
                row, vector, basis = telling[j], vectors[i], view.basis
                length = view.lengths[row]
                if _stands_in(vector, noise[i], self._rows[row], length, basis) and (
                    # Where all rows add up to nothing, those that left are minus those
                    # that are there.
                    not any(
                        _is_accounted_for(vector, noise[i], other)
                        for other in self._accounts
                    )
                ):
                    yield basis.name, int(self._numbers[row]), int(worth[i])


@dataclass(frozen=True)
class _View:
    """Rows as they are seen beyond a basis.

    Attributes
    ----------
    basis : Basis
    directions : ndarray of shape (n_dimensions, n_features)
        Orthonormal, of the basis.
    lengths : ndarray of shape (n_rows,)
        Of the rows beyond it.
    units : ndarray of shape (n_rows, n_features)
        The rows beyond it, of length one; zero where nothing is.
    """

    basis: Basis
    directions: np.ndarray
    lengths: np.ndarray
    units: np.ndarray

    @classmethod
    def of(cls, basis, rows):
        directions = basis.orthonormal()
        beyond = rows - (rows @ directions.T) @ directions
        beyond -= (beyond @ directions.T) @ directions
        lengths = np.linalg.norm(beyond, axis=1)
        some = lengths > _NOTHING * np.linalg.norm(rows, axis=1)
        beyond[~some] = 0.0
        beyond[some] /= lengths[some, np.newaxis]
        return cls(basis, directions, lengths, beyond)

    def look(self, vectors, squares):
        """What of each row is in vectors, and whether nothing else may be.

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


def _stands_in(vector, noise, row, beyond, basis):
    """Whether a row, and else rounding only, is in a vector besides a basis."""
    if len(np.unique(vector)) < MIN_DISTINCT:
        return False  # ones, for instance, are the sum of many things
    left, shares, rounding = _fitted(vector, np.vstack([basis.vectors, row]))
    part = abs(shares[-1])
    # A sum that a row was taken out of has the rounding of what it was.
    noise = noise + rounding + np.sum((np.abs(shares[:-1]) + part) * basis.noise)
    # Entries that rounding hides, as beside one of 1e9, agree with everything.
    n_seen = np.count_nonzero(part * np.abs(row) > noise)
    spare = n_seen - len(basis.vectors) - 1
    return bool(left <= noise and part * beyond > _CLEAR * noise and spare >= _SPARE)


def _is_accounted_for(vector, noise, basis):
    """Whether a vector is made of a basis and of rounding alone."""
    left, shares, rounding = _fitted(vector, basis.vectors)
    return bool(left <= noise + rounding + np.sum(np.abs(shares) * basis.noise))


def _fitted(vector, terms):
    """What terms leave of a vector, in length; their shares; and rounding."""
    lengths = np.linalg.norm(terms, axis=1)
    some = lengths > 0
    shares = np.zeros(len(terms))
    scaled = (terms[some] / lengths[some, np.newaxis]).T
    shares[some] = np.linalg.lstsq(scaled, vector, rcond=_NOTHING)[0] / lengths[some]
    left = np.linalg.norm(vector - shares @ terms)
    return left, shares, _ULPS * _EPS * np.sum(np.abs(shares) * lengths)


def vectors_in(array, n_features):
    """Yield the vectors that lie along the axes of an array, in portions.

    Fibres of any axis are cut into vectors where they are made of whole ones, each with
    or without an entry for the intercept before or behind it.

    Parameters
    ----------
    array : ndarray of floats

    Yields
    ------
    vectors : ndarray of shape (n_vectors, n_features), dtype float64
    noise : ndarray of shape (n_vectors,)
        What rounding may have done to each, in length.
    """
    if array.dtype.kind == "c":
        array = array.real
    if array.dtype.kind != "f" or array.dtype.itemsize < 4 or array.size < n_features:
        return
    # Of an axis that was broadcast, one entry says everything.
    array = array[tuple(slice(None if step else 1) for step in array.strides)]
    eps = max(_EPS, float(np.finfo(array.dtype).eps))
    for axis in range(array.ndim):
        length = array.shape[axis]
        for width in (n_features, n_features + 1):
            if not length or length % width:
                continue
            for fibres in _portions(np.moveaxis(array, axis, -1)):
                cut = np.asarray(fibres, dtype=np.float64).reshape(-1, width)
                for first in range(width - n_features + 1):
                    vectors = cut[:, first : first + n_features]
                    yield vectors, noise_of(vectors, eps)


def noise_of(vectors, eps=_EPS):
    """What rounding may have done to vectors, in length."""
    with np.errstate(over="ignore", invalid="ignore"):
        if eps == _EPS:
            # What went through single precision may be off by its rounding; numbers of
            # a few bits were made as they are.
            rounded = vectors.astype(np.float32)
            single = (rounded == vectors).all(axis=1)
            single &= (rounded.view(np.uint32) & _LAST_BITS != 0).any(axis=1)
            eps = np.where(single, np.finfo(np.float32).eps, eps)
        return _ULPS * eps * np.linalg.norm(vectors, axis=1)


def _portions(array):
    """Yield an array of fibres in parts of bounded size."""
    if array.ndim == 1:
        array = array[np.newaxis]
    if array.flags.c_contiguous:
        array = array.reshape(-1, array.shape[-1])
    for index in np.ndindex(array.shape[:-2]):
        step = max(1, CHUNK // array.shape[-1])
        for lo in range(0, array.shape[-2], step):
            yield array[index][lo : lo + step]
