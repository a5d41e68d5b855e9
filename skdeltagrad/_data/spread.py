"""How far the columns spread: standard deviations that follow the rows exactly.

What `sklearn.preprocessing.StandardScaler` would find on the rows that are there, from
sums that rows are taken out of and put into. The sums are of deviations from a *shift*,
a coarsely rounded mean (see `_centring`): the variance of a column like year = 2000 +-
10 loses its digits in sums of squares about zero, and an exact mean would hold on to
removed rows. Digits that sums lose, next to rows that left, are counted; the sums are
to be made anew where too few remain.
"""

import numpy as np

from .centring import ColumnMoments

_EPS = np.finfo(float).eps
# Passes to a shift that is near enough to the mean: each tells it by more digits.
_MOST_SHIFTS = 3
# Rows that are added up before their sum is added to the others.
_BLOCK = 2**10
# Rounding of a fresh sum, in units in the last place, and of an edit: those of many
# edits add up like steps of a random walk.
_OF_SUM = 64
_OF_EDIT = 2
# Powers of two that are 0 and that are beyond all numbers.
_NOTHING = -2000
_INFINITE = 2000
# What rounding may be, next to a variance.
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
        The least power of two that `squares` never were above: what rounding is a share
        of. A power, for else it would tell of a row that left.
    heaviest : int
        The same of `weight`.
    n_edits : int
        Number of times that rows came or went.
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
        """Spread of stored rows, by as many passes as a good shift takes.

        Parameters
        ----------
        rows : AbstractRows
        indices : ndarray of shape (n_rows,)
        weight : ndarray of shape (n_rows,)
        """
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
        """Sums of blocks, so that rounding grows little with the number of rows."""
        total = [0, 0.0, 0.0]
        for first in range(0, max(1, len(indices)), _BLOCK):
            block = slice(first, first + _BLOCK)
            moments = rows.column_moments(indices[block], weight[block], shift)
            total = [one + other for one, other in zip(total, moments, strict=True)]
        return cls(shift, float(weight.sum()), *total)

    @np.errstate(over="ignore", invalid="ignore")  # what overflows is made anew
    def after(self, rows, removed, added, weight):
        """After rows left and joined.

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
        """Whether sums have been larger than they are: they hold more rounding."""
        is_above = self.peaks > _power(self.squares)
        is_heavier = self.heaviest > int(_power(self.weight))
        return is_heavier or bool((is_above & (self.counts > 0)).any())

    def mean(self):
        """Mean of every column, shape (n_features,)."""
        return self.shift + self.sums / self.weight

    @np.errstate(over="ignore", invalid="ignore")
    def variance(self):
        """Variance of every column, shape (n_features,): that of a population."""
        variance = self.squares / self.weight - (self.sums / self.weight) ** 2
        return np.maximum(variance, 0.0)

    def scale(self):
        """Standard deviations, 1 for constant columns, as `StandardScaler` has them.

        Raises
        ------
        ValueError
            Where a variance is beyond all numbers.
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
        """Whether enough digits are left."""
        variance = self.variance()
        rounding = self._rounding()
        rounding += 2.0 * (self.sums / self.weight) ** 2 * self._rounding_of_weight()
        certain = rounding <= _SHARPEST * variance
        # Certainly constant, and certain to be called so.
        certain |= self.counts == 0
        certain |= self._is_constant(variance + rounding)
        heavy = self._rounding_of_weight() <= _SHARPEST
        return bool(heavy and self.weight > 0 and certain.all())

    @np.errstate(over="ignore", invalid="ignore")
    def error(self):
        """About what rounding did to a variance, as a share of it: the largest."""
        variance = self.variance()
        share = np.zeros(len(variance))
        np.divide(self._rounding(), variance, out=share, where=variance > 0)
        share[self._is_constant(variance)] = 0.0
        return float(share.max(initial=0.0) + self._rounding_of_weight())

    def _rounding(self):
        """What it may be in variances."""
        return self._ulps() * _EPS * np.exp2(self.peaks) / self.weight

    def _rounding_of_weight(self):
        """What it may be in the total weight, as a share."""
        return self._ulps() * _EPS * np.exp2(self.heaviest) / self.weight

    def _ulps(self):
        return _OF_SUM + _OF_EDIT * np.sqrt(self.n_edits)

    def _is_constant(self, variance):
        """What `StandardScaler` takes for a constant column."""
        n, mean = self.weight, self.mean()
        return variance <= n * _EPS * variance + (n * mean * _EPS) ** 2

    @np.errstate(over="ignore", invalid="ignore")
    def _nearer(self):
        """A rounded mean, told by these sums."""
        of_deviations = ColumnMoments(
            self.weight, self.counts, self.sums, self.squares
        ).centre()
        return self.shift + of_deviations


def _power(values):
    """The least power of two that is not below some numbers."""
    exponents = np.full(np.shape(values), float(_NOTHING))
    some = (values > 0) & np.isfinite(values)
    np.ceil(np.log2(values, where=some, out=exponents), where=some, out=exponents)
    return np.where(np.isinf(values), _INFINITE, exponents).astype(np.int64)
