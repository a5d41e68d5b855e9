"""Total weights of groups, by which classes are balanced."""

import math

import numpy as np

from skdeltagrad._data.group_weights import RowCounts


def test_totals_have_little_rounding():
    """Equal weights are rounded to the same side in every addition."""
    weight, group = np.full(50_000, 0.3), np.arange(50_000) % 3
    counts = RowCounts.of_all(weight, group, 4)
    assert counts.count.tolist() == [[16_667, 16_667, 16_666, 0]]
    exact = [math.fsum(weight[group == k]) for k in range(4)]
    off = np.abs(counts.weight[0] - exact)
    assert (off <= 30 * np.finfo(float).eps * np.array(exact)).all()
