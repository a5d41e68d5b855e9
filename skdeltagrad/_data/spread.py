"""Standard deviations of the columns, which follow the training rows exactly.

They are those of `sklearn.preprocessing.StandardScaler` on the current rows, computed
from sums to which rows are added and from which rows are subtracted. The sums are of
deviations from a *shift*, a coarsely rounded mean (see `centring`): the variance of a
column like year = 2000 +- 10 loses its digits in sums of squares about zero, and an
exact mean would identify removed rows. The digits that sums lose with large rows that
leave are counted. The sums must be computed again if too few remain.
"""

import numpy as np

from .centring import ColumnMoments

_EPS = np.finfo(float).eps  # rounding: its unit
# A cost: largest number of passes that compute the shift, each more precisely.
_MOST_SHIFTS = 3
# Rounding: number of rows that are added up before their sum is added to the others.
_BLOCK = 2**10
# Rounding: of a new sum and of an edit, in units in the last place. The rounding of
# many edits adds up like the steps of a random walk.
_OF_SUM = 64
_OF_EDIT = 2
# Sentinels: exponents of powers of two that stand for 0 and for infinity.
_NOTHING = -2000
_INFINITE = 2000
# An accuracy threshold: largest rounding of a variance, relative to it.
_SHARPEST = 1e-11


class ColumnSpread:
    """Weighted sums of the columns' deviations from a shift, kept through edits.

    Parameters
    ----------
    shift : ndarray of shape (n_features,)
    weight : float
        Total weight of the rows.
    counts : ndarray of shape (n_features,), dtype int64
        Number of rows of positive weight whose entry is not the shift.
    sums, squares : ndarray of shape (n_features,)
        Weighted sums of x - shift and of its square.
    peaks : ndarray of shape (n_features,), dtype int64
        Exponent of the least power of two that `squares` never exceeded. Rounding is
        relative to it. A more precise number would identify a row that left.
    heaviest : int
        The same for `weight`.
    n_edits : int
        Number of edits.
    """

    def __init__(
        self, shift, weight, counts, sums, squares, peaks=_NOTHING, heaviest=_NOTHING,
        n_edits=0,
    ):  # fmt: skip
        self.shift = shift
        self.weight = weight
        self.counts = counts
        self.sums = np.where(counts > 0, sums, 0.0)  # not what rounding left
        self.squares = np.where(counts > 0, squares, 0.0)
        self.peaks = np.maximum(peaks, _power(self.squares))
        self.peaks[counts == 0] = _NOTHING
        self.heaviest = max(heaviest, int(_power(weight)))
        self.n_edits = n_edits

    @classmethod
    def of(cls, rows, indices, weight):
        """Return the spread of stored rows, by as many passes as a good shift takes.

        Parameters
        ----------
        rows : AbstractRows
        indices : ndarray of shape (n_rows,)
        weight : ndarray of shape (n_rows,)
        """
        if weight.min(initial=1.0) <= 0:
            counting = weight > 0
            indices, weight = indices[counting], weight[counting]
        spread = cls._about(np.zeros(rows.n_features), rows, indices, weight)
        for _ in range(_MOST_SHIFTS):
            shift = spread._nearer()
            if np.array_equal(shift, spread.shift):
                break
            spread = cls._about(shift, rows, indices, weight)
        return spread

    @classmethod
    def _about(cls, shift, rows, indices, weight):
        """Add up blocks, so that rounding grows little with the number of rows."""
        total = [0, 0.0, 0.0]
        for first in range(0, max(1, len(indices)), _BLOCK):
            block = slice(first, first + _BLOCK)
            moments = rows.column_moments(indices[block], weight[block], shift)
            total = [one + other for one, other in zip(total, moments, strict=True)]
        return cls(shift, float(weight.sum()), *total)

    @np.errstate(over="ignore", invalid="ignore")  # overflowing sums are computed again
    def after(self, rows, removed, added, weight):
        """Return the spread after rows left and joined.

        Parameters
        ----------
        rows : AbstractRows
        removed, added : ndarray
            Storage indices.
        weight : ndarray of shape (n_stored,)
        """
        parts, signs = [vars(self)], (1, -1, 1)
        for indices in (removed, added):
            indices = indices[weight[indices] > 0]
            part = self._about(self.shift, rows, indices, weight[indices])
            parts.append(vars(part))
        weight, counts, sums, squares = (
            sum(sign * part[name] for sign, part in zip(signs, parts, strict=True))
            for name in ("weight", "counts", "sums", "squares")
        )
        peaks = np.maximum.reduce([part["peaks"] for part in parts])
        heaviest = max(part["heaviest"] for part in parts)
        return ColumnSpread(
            self.shift, weight, counts, sums, squares, peaks, heaviest,
            self.n_edits + 1,
        )  # fmt: skip

    @property
    def has_lost_digits(self):
        """Whether sums have been larger, so that they contain more rounding."""
        is_above = self.peaks > _power(self.squares)
        is_heavier = self.heaviest > int(_power(self.weight))
        return is_heavier or bool((is_above & (self.counts > 0)).any())

    def mean(self):
        """Return the mean of every column, shape (n_features,)."""
        return self.shift + self.sums / self.weight

    @np.errstate(over="ignore", invalid="ignore")
    def variance(self):
        """Return the population variance of every column, shape (n_features,)."""
        variance = self.squares / self.weight - (self.sums / self.weight) ** 2
        return np.maximum(variance, 0.0)

    def scale(self):
        """Return standard deviations, and 1 for constant columns, as `StandardScaler`.

        Raises
        ------
        ValueError
            If a variance overflows.
        """
        variance = self.variance()
        if not np.isfinite(variance).all():
            column = int(np.flatnonzero(~np.isfinite(variance))[0])
            raise ValueError(
                f"X has entries so large in column {column} that its variance is "
                "beyond all numbers, and standardize=True divides by it. Rescale the "
                "column, or pass standardize=False."
            )
        constant = self._is_constant(variance)
        return np.sqrt(np.where(constant, 1.0, variance))

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def is_sharp(self):
        """Return whether enough digits are left."""
        variance = self.variance()
        rounding = self._rounding()
        rounding += 2.0 * (self.sums / self.weight) ** 2 * self._rounding_of_weight()
        certain = rounding <= _SHARPEST * variance
        # Columns that are certainly constant, and certain to be recognised as such.
        certain |= self.counts == 0
        certain |= self._is_constant(variance + rounding)
        heavy = self._rounding_of_weight() <= _SHARPEST
        return bool(heavy and self.weight > 0 and certain.all())

    @np.errstate(over="ignore", invalid="ignore")
    def error(self):
        """Estimate the largest rounding of a variance, relative to it."""
        variance = self.variance()
        error = np.zeros(len(variance))
        np.divide(self._rounding(), variance, out=error, where=variance > 0)
        error[self._is_constant(variance)] = 0.0
        return float(error.max(initial=0.0) + self._rounding_of_weight())

    def _rounding(self):
        """Bound the rounding of variances."""
        return self._ulps() * _EPS * np.exp2(self.peaks) / self.weight

    def _rounding_of_weight(self):
        """Bound the rounding of the total weight, relative to it."""
        return self._ulps() * _EPS * np.exp2(self.heaviest) / self.weight

    def _ulps(self):
        return _OF_SUM + _OF_EDIT * np.sqrt(self.n_edits)

    def _is_constant(self, variance):
        """Return which columns `StandardScaler` treats as constant."""
        n, mean = self.weight, self.mean()
        return variance <= n * _EPS * variance + (n * mean * _EPS) ** 2

    @np.errstate(over="ignore", invalid="ignore")
    def _nearer(self):
        """Return a rounded mean, computed from these sums."""
        of_deviations = ColumnMoments(
            self.weight, self.counts, self.sums, self.squares
        ).centre()
        return self.shift + of_deviations


def _power(values):
    """Return exponents of the least powers of two that are not below some numbers."""
    exponents = np.full(np.shape(values), float(_NOTHING))
    some = (values > 0) & np.isfinite(values)
    np.ceil(np.log2(values, where=some, out=exponents), where=some, out=exponents)
    return np.where(np.isinf(values), _INFINITE, exponents).astype(np.int64)
