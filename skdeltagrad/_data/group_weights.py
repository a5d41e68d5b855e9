"""How many rows there are, and what they weigh, by batch and by group."""

import numpy as np

# How much larger than the rest a part that is taken out of sums may be: it costs them
# eight of sixteen digits.
LARGEST_PART = 1e8
# The same of weights, whose rounding no bound counts: so many times what is left may
# have been there when they were last added up.
_MOST_LEFT_BEHIND = 16.0


class RowCounts:
    """How many rows each batch holds, and their weight, by group.

    Parameters
    ----------
    count : ndarray of shape (n_steps, n_groups), dtype int64
        Rows of positive weight. One entry for all steps where every step reads every
        row.
    weight : ndarray of shape (n_steps, n_groups)
        Total sample weight of the batch's rows.
    counted : ndarray of shape (n_steps, n_groups), optional
        At least that weight at any time since it was last added up; by default now.
    """

    counted = None  # of dumps of schema 3

    def __init__(self, count, weight, counted=None):
        self.count = count
        self.weight = weight
        self.weight[count == 0] = 0.0  # not what rounding left
        self.counted = weight if counted is None else counted

    @classmethod
    def of_all(cls, weight, group, n_groups):
        """RowCounts of some rows in one batch; a weight and a group for each."""
        count = np.bincount(group[weight > 0], minlength=n_groups)
        weight = np.bincount(group, weight, minlength=n_groups)
        return cls(count.reshape(1, n_groups), weight.reshape(1, n_groups))

    def plus(self, other):
        """After rows joined."""
        return RowCounts(
            self.count + other.count, self.weight + other.weight,
            self._counted + other.weight,
        )  # fmt: skip

    @property
    def _counted(self):
        return self.weight if self.counted is None else self.counted

    def coarse(self):
        """With `counted` as a power of two: its digits would tell of rows that left."""
        exponents = np.ceil(np.log2(np.maximum(self._counted, np.finfo(float).tiny)))
        return RowCounts(self.count, self.weight, np.exp2(exponents))

    def minus(self, other):
        """After rows left, or None where that costs a batch's weight its digits.

        Next to a row of weight 1e15 few digits are left of the others' weights, and
        little is left of a class that nearly all rows have left one by one.
        """
        rest = RowCounts(
            self.count - other.count, self.weight - other.weight, self._counted
        )
        # Replays by batches are estimated, and adding all batches up takes long.
        most = _MOST_LEFT_BEHIND if len(self.count) == 1 else LARGEST_PART
        kept = self._counted <= most * rest.weight
        kept |= rest.count == 0
        # Sums of integers are exact.
        kept |= (self.weight % 1.0 == 0.0) & (other.weight % 1.0 == 0.0)
        return rest if kept.all() else None


def balanced_factors(by_group):
    """S / (n_groups S_k) for groups of total weight S_k; 0 for one without weight.

    What ``class_weight="balanced"`` means, with sample weights: see
    `sklearn.utils.class_weight.compute_class_weight` of scikit-learn 1.7 or later. The
    groups are the last axis.
    """
    share = by_group.shape[-1] * by_group
    total = by_group.sum(axis=-1, keepdims=True)
    return np.divide(total, share, where=share > 0, out=np.zeros_like(share))


def per_weight(sums, weight):
    """Sums of matrices by group, per unit of the groups' weight; 0 where that is 0.

    Parameters
    ----------
    sums : ndarray of shape (..., n_groups, n, m)
    weight : ndarray of shape (n_groups,)
    """
    weight = weight[:, np.newaxis, np.newaxis]
    return np.divide(sums, weight, where=weight > 0, out=np.zeros_like(sums))
