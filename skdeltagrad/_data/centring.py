"""Where the columns are centred: at a coarsely rounded mean.

An intercept that is not penalised wants centred columns: on columns with a large
offset gradient descent does not arrive in 20,000 steps, where it takes hundreds on
centred ones. The rows are not changed; the objective folds the centre in.

The exact mean would hold on to removed rows (n times the mean less the other rows *is*
the removed row), and moves with every edit. So a column whose mean is within two
standard deviations of zero is left alone, and others are centred at the mean rounded
to a multiple of a power of two between one and two standard deviations. Nearly every
edit leaves the centre as it is; one that does not changes the path, which is then
retrained. Rounding all columns like that was rejected: removing 1% of MNIST at random
would move the centre of some of its 784 columns in every second edit.
"""

import numpy as np

from .group_weights import LARGEST_PART


def coefficients(iterates, n_features, centre):
    """Coefficients and intercepts of columns as they are, from those of centred ones.

    This is the one place where what a model publishes is made of an iterate.

    Parameters
    ----------
    iterates : ndarray of shape (..., n_outputs, n_dof)
    n_features : int
    centre : ndarray of shape (n_features,) or None
        Where the columns are centred. None: there is no intercept.

    Returns
    -------
    coef : ndarray of shape (..., n_outputs, n_features)
    intercept : ndarray of shape (..., n_outputs)
    """
    coef = iterates[..., :n_features]
    if centre is None:
        return coef, np.zeros(coef.shape[:-1])
    return coef, iterates[..., n_features] - coef @ centre


def recentred(iterate, n_features, before, after):
    """An iterate of the same model about another centre; None: no intercept."""
    moved = iterate.copy()
    if after is not None:
        moved[:, n_features] += iterate[:, :n_features] @ (after - before)
    return moved


class ColumnMoments:
    """Weighted sums of the columns and of their squares, kept through edits.

    Parameters
    ----------
    weight : float
        Total weight of the rows.
    counts : ndarray of shape (n_features,), dtype int64
        Number of rows with an entry other than 0.
    sums, squares : ndarray of shape (n_features,)
        Weighted sums of x and of x^2.
    """

    def __init__(self, weight, counts, sums, squares):
        self.weight = weight
        self.counts = counts
        self.sums = np.where(counts > 0, sums, 0.0)  # not what rounding left
        self.squares = np.where(counts > 0, squares, 0.0)

    @classmethod
    def of(cls, rows, indices, weight):
        """Moments of rows of some storage; `weight` has one entry per storage index given."""
        return cls(float(weight.sum()), *rows.column_moments(indices, weight))

    @np.errstate(over="ignore", invalid="ignore")
    def plus(self, other):
        """Moments after rows were added."""
        return ColumnMoments(
            self.weight + other.weight,
            self.counts + other.counts,
            self.sums + other.sums,
            self.squares + other.squares,
        )

    @np.errstate(over="ignore", invalid="ignore")
    def minus(self, other):
        """Moments after rows were removed, or None where that loses most digits.

        Next to an entry of 1e10 no digits are left of the other rows' sums; next to
        one of 1e200, whose square is infinite, none at all.
        """
        rest = ColumnMoments(
            self.weight - other.weight,
            self.counts - other.counts,
            self.sums - other.sums,
            self.squares - other.squares,
        )
        kept = other.squares <= LARGEST_PART * np.abs(rest.squares)
        kept |= rest.counts == 0
        kept &= other.weight <= LARGEST_PART * rest.weight
        return rest if kept.all() else None

    # Columns whose squares overflow are left alone.
    @np.errstate(over="ignore", invalid="ignore")
    def centre(self):
        """The rounded mean of every column, shape (n_features,)."""
        mean = self.sums / self.weight
        variance = self.squares / self.weight - mean**2
        # Below sqrt(eps) |mean| the difference above is rounding: a constant column.
        spread = np.sqrt(np.maximum(variance, np.finfo(float).eps * mean**2))
        step = np.exp2(np.ceil(np.log2(spread, where=spread > 0, out=spread * 0)))
        far = (np.abs(mean) > 2 * spread) & (spread > 0)
        return np.where(far, np.rint(mean / step) * step, 0.0)
