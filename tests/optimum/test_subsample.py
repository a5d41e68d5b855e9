"""Sums over a sample have the sums over all as expected values."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdeltagrad._optimum.subsample import importance, sample


def heavy_tailed(n):
    return np.random.default_rng(0).pareto(1.2, size=n)


@pytest.mark.parametrize("n_expected", [10, 300, 900])
def test_about_as_many_are_drawn_as_were_asked_for(n_expected):
    importance = heavy_tailed(1000)
    sizes = [
        len(sample(importance, n_expected, np.random.default_rng(seed))[0])
        for seed in range(200)
    ]
    # The variance of a sum of so many draws is at most their number.
    assert abs(np.mean(sizes) - n_expected) < 4 * np.sqrt(n_expected / 200) + 1e-9


def test_weighted_sums_are_right_on_average():
    importance = heavy_tailed(200)
    values = np.random.default_rng(1).normal(size=200)
    sums = []
    for seed in range(4000):
        drawn, probability = sample(importance, 60, np.random.default_rng(seed))
        sums.append(np.sum(values[drawn] / probability))
    deviation = np.std(sums) / np.sqrt(len(sums))
    assert abs(np.mean(sums) - values.sum()) < 4 * deviation


def test_probabilities_are_proportional_up_to_one():
    importance = np.array([1.0, 2.0, 4.0, 1e6])
    seen = np.full(4, np.nan)
    for seed in range(400):
        drawn, probability = sample(importance, 2.0, np.random.default_rng(seed))
        seen[drawn] = probability
    assert_allclose(seen, [1 / 7, 2 / 7, 4 / 7, 1.0])


def test_what_does_not_matter_is_never_drawn():
    importance = np.array([0.0, 1.0] * 50)
    drawn, probability = sample(importance, 200, np.random.default_rng(0))
    assert_array_equal(drawn, np.arange(1, 100, 2))
    assert_array_equal(probability, 1.0)


def test_one_that_outweighs_all_others_does_not_crowd_them_out():
    importance = np.ones(1000)
    importance[7] = 1e12
    drawn, probability = sample(importance, 100, np.random.default_rng(0))
    assert 7 in drawn
    assert probability[drawn == 7] == 1.0
    assert 60 < len(drawn) < 140


def test_importance_is_the_share_in_columns_and_in_the_group():
    squares = np.array([0.5, 2.0, 1.0, 0.5])
    group = np.array([0, 0, 0, 2])  # nobody in group 1
    expected = squares + np.array([2 / 3, 2 / 3, 2 / 3, 2.0])
    assert_allclose(importance(squares, group, np.bincount(group)), expected)


def test_squares_that_overflow_are_as_important_as_all_rows():
    squares = np.array([1.0, np.inf, np.nan, 1e300])
    found = importance(squares, np.zeros(4, int), np.array([4]))
    assert_allclose(found, [2.0, 5.0, 5.0, 5.0])
