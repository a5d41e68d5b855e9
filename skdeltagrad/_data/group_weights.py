"""Number of rows and total weight, by batch and by group."""

import math

import numpy as np

# Rounding: how much larger than what remains a part may be that is subtracted from a
# sum. It costs the sum eight of sixteen digits.
LARGEST_PART = 1e8
# Rounding: the same for weights by group, relative to the largest weight since they
# were last added up. It is smaller, because no bound includes their rounding.
_MOST_LEFT_BEHIND = 16.0


class RowCounts:
    """The number of rows of each batch, and their weight, by group.

    Parameters
    ----------
    count : ndarray of shape (n_steps, n_groups), dtype int64
        Rows of positive weight. One entry for all steps if every step reads every row.
    weight : ndarray of shape (n_steps, n_groups)
        Total sample weight of the batch's rows.
    counted : ndarray of shape (n_steps, n_groups), optional
        An upper bound of the weight at any time since it was last added up; by default
        the present weight.
    """

    counted = None  # of dumps of schema 3

    def __init__(self, count, weight, counted=None):
        self.count = count
        self.weight = weight
        self.weight[count == 0] = 0.0  # not what rounding left
        self.counted = weight if counted is None else counted

    @classmethod
    def of_all(cls, weight, group, n_groups, indices=None):
        """Return the counts of one batch of rows.

        The weight is added up in about sqrt(n) parts: one sum over all rows would have
        rounding that is sqrt(n) / 2 times as large, and the factors of balanced classes
        with it.

        Parameters
        ----------
        weight : ndarray of shape (n_stored,)
        group : ndarray of shape (n_stored,) or None
            None where there is one group.
        n_groups : int
        indices : ndarray of shape (n_rows,), optional
            The rows. All that are given, by default.
        """
        n_rows = len(weight) if indices is None else len(indices)
        size = max(64, math.isqrt(n_rows))
        count, total = np.zeros(n_groups, np.int64), np.zeros(n_groups)
        for first in range(0, n_rows, size):
            some = slice(first, first + size)
            some = some if indices is None else indices[some]
            of_part = weight[some]
            which = np.zeros(len(of_part), int) if group is None else group[some]
            count += np.bincount(which[of_part > 0], minlength=n_groups)
            total += np.bincount(which, of_part, minlength=n_groups)
        return cls(count.reshape(1, n_groups), total.reshape(1, n_groups))

    def plus(self, other):
        """Return the counts after rows joined."""
        return RowCounts(
            self.count + other.count, self.weight + other.weight,
            self._counted + other.weight,
        )  # fmt: skip

    @property
    def _counted(self):
        return self.weight if self.counted is None else self.counted

    def coarse(self):
        """Round `counted` to powers of two: its digits would show removed rows."""
        exponents = np.ceil(np.log2(np.maximum(self._counted, np.finfo(float).tiny)))
        return RowCounts(self.count, self.weight, np.exp2(exponents))

    def minus(self, other):
        """Return the counts after rows left, or None if a weight loses its digits.

        A row of weight 1e15 leaves few digits of the others' weights, and so do many
        edits that remove nearly all rows of a class.
        """
        remaining = RowCounts(
            self.count - other.count, self.weight - other.weight, self._counted
        )
        # The error of replays by batches is an estimate, and adding up takes long.
        most = _MOST_LEFT_BEHIND if len(self.count) == 1 else LARGEST_PART
        kept = self._counted <= most * remaining.weight
        kept |= remaining.count == 0
        # Sums of integers are exact.
        kept |= (self.weight % 1.0 == 0.0) & (other.weight % 1.0 == 0.0)
        return remaining if kept.all() else None


def balanced_factors(by_group):
    """Return S / (n_groups S_k) for groups of total weight S_k, and 0 if S_k is 0.

    This is ``class_weight="balanced"`` with sample weights: see
    `sklearn.utils.class_weight.compute_class_weight` of scikit-learn 1.7 or later. The
    groups are the last axis.
    """
    denominator = by_group.shape[-1] * by_group
    total = by_group.sum(axis=-1, keepdims=True)
    return np.divide(
        total, denominator, where=denominator > 0, out=np.zeros_like(denominator)
    )


def per_weight(sums, weight):
    """Return sums of matrices by group, divided by the groups' weight if it is not 0.

    Parameters
    ----------
    sums : ndarray of shape (..., n_groups, n, m)
    weight : ndarray of shape (n_groups,)
    """
    weight = weight[:, np.newaxis, np.newaxis]
    return np.divide(sums, weight, where=weight > 0, out=np.zeros_like(sums))
