"""Where the columns are centred, and how that follows the rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skdeltagrad._data.centring import ColumnMoments
from skdeltagrad._data.storage import store


def moments(X, weight=None):
    weight = np.ones(X.shape[0]) if weight is None else np.asarray(weight, float)
    return ColumnMoments.of(store(X), np.arange(X.shape[0]), weight)


def centre_of(X, weight=None):
    return moments(X, weight).centre()


def rounded_mean(column):
    """The mean as a multiple of a power of two of one to two deviations."""
    step = 2.0 ** np.ceil(np.log2(column.std()))
    return step * np.round(column.mean() / step)


def normal(mean, deviation, n_rows=500, seed=0):
    """A column of exactly this mean and deviation, up to rounding."""
    z = np.random.default_rng(seed).normal(size=n_rows)
    return mean + deviation * (z - z.mean()) / z.std()


@pytest.mark.parametrize("is_sparse", [False, True])
def test_moments(is_sparse):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(30, 4)) * (rng.random((30, 4)) < 0.6)
    weight = rng.random(30)
    found = moments(sparse.csr_matrix(X) if is_sparse else X, weight)
    assert_allclose(found.weight, weight.sum(), rtol=1e-14)
    assert_allclose(found.sums, weight @ X, rtol=1e-12)
    assert_allclose(found.squares, weight @ X**2, rtol=1e-12)


def test_moments_of_some_rows():
    X, indices = np.arange(12.0).reshape(6, 2), np.array([4, 0, 2])
    weight = np.array([2.0, 7.0, 0.5, 7.0, 1.0, 7.0])
    found = ColumnMoments.of(store(X), indices, weight)
    expected = moments(X[indices], weight[indices])
    assert vars(found).keys() == vars(expected).keys()
    for name, value in vars(expected).items():
        assert_array_equal(getattr(found, name), value)


def test_moments_add_up():
    rng = np.random.default_rng(2)
    X, weight = rng.normal(3, 1, size=(40, 3)), rng.random(40)
    whole = moments(X, weight)
    first, rest = moments(X[:15], weight[:15]), moments(X[15:], weight[15:])
    for found, expected in (
        (first.plus(rest), whole),
        (whole.minus(rest), first),
        (whole.minus(first).plus(first), whole),
    ):
        assert_allclose(found.weight, expected.weight, rtol=1e-13)
        assert_allclose(found.sums, expected.sums, rtol=1e-13)
        assert_allclose(found.squares, expected.squares, rtol=1e-13)


def test_adding_up_changes_neither_part():
    X = np.random.default_rng(3).normal(size=(6, 2))
    first, rest = moments(X[:3]), moments(X[3:])
    before = first.sums.copy(), rest.sums.copy()
    first.plus(rest)
    first.minus(rest)
    assert_array_equal(first.sums, before[0])
    assert_array_equal(rest.sums, before[1])


@pytest.mark.parametrize("deviation", [1e-3, 0.3, 1.1, 1.7, 1e6])
@pytest.mark.parametrize("ratio", [-200.3, -7.3, 2.1, 5.1, 1e4])
def test_the_mean_is_rounded(deviation, ratio):
    column = normal(ratio * deviation, deviation)
    centre = centre_of(column[:, np.newaxis])
    assert_array_equal(centre, [rounded_mean(column)])
    # What is left of the offset is one deviation at most.
    assert abs(column.mean() - centre[0]) <= deviation


@pytest.mark.parametrize("mean", [0.0, 0.5, -1.9])
def test_a_mean_within_two_deviations_is_left(mean):
    assert_array_equal(centre_of(normal(mean, 1.0)[:, np.newaxis]), [0.0])


def test_data_of_mean_zero():
    X = np.random.default_rng(4).normal(size=(100, 5)) * 10.0 ** np.arange(-2, 3)
    assert_array_equal(centre_of(X - X.mean(axis=0)), np.zeros(5))


@pytest.mark.parametrize("value", [1.0, -0.1, 2021.3, 1e8 / 3, 1e-30])
@pytest.mark.parametrize("n_rows", [1, 7, 10_000])
def test_a_constant_column(value, n_rows):
    """Nothing of the offset is left, up to the rounding that the spread is lost in."""
    centre = centre_of(np.full((n_rows, 1), value))
    assert_allclose(centre, value, rtol=1e-6)


def test_a_column_of_zeros():
    X = np.column_stack([np.zeros(9), normal(50, 1.1, 9), np.zeros(9)])
    assert_array_equal(centre_of(X), [0.0, 50.0, 0.0])


@pytest.mark.parametrize("offset", [1e6, -1e9, 1e12])
def test_a_huge_offset(offset):
    """Where the deviation is lost in the squares: near enough to the mean."""
    column = normal(offset, 10.0)
    centre = centre_of(column[:, np.newaxis])
    assert np.isfinite(centre).all()
    assert abs(centre[0] - offset) <= max(20.0, 1e-6 * abs(offset))


@pytest.mark.parametrize("value", [2021.3, 0.1])
@pytest.mark.parametrize("n_rows", [300, 10_000])
def test_removing_rows_leaves_the_centre_of_a_constant_column(value, n_rows):
    whole = moments(np.full((n_rows, 1), value))
    for n_removed in (1, n_rows // 100, n_rows // 10):
        left = whole.minus(moments(np.full((n_removed, 1), value)))
        assert_array_equal(left.centre(), whole.centre())


def test_a_weight_of_two_is_a_row_given_twice():
    X = np.random.default_rng(5).normal(30, 1, size=(40, 3))
    weight = np.random.default_rng(6).integers(4, size=40)
    repeated = centre_of(np.repeat(X, weight, axis=0))
    assert repeated.all()
    assert_array_equal(centre_of(X, weight), repeated)


@pytest.mark.parametrize("mean", [0.3, 70.4, -121.7])
def test_most_edits_leave_the_centre(mean):
    """So it says nothing about the rows that left."""
    rng = np.random.default_rng(7)
    X = normal(mean, 1.6, 2000)[:, np.newaxis]
    whole = moments(X)
    for n_removed in (1, 5, 20, 100):
        removed = rng.choice(2000, size=n_removed, replace=False)
        left = whole.minus(moments(X[removed]))
        assert_array_equal(left.centre(), whole.centre())
        assert_array_equal(centre_of(np.delete(X, removed, axis=0)), whole.centre())


def test_a_removal_that_costs_the_digits_is_refused():
    X = np.array([[1e10, 1.0, 0.0], [1.0, 2.0, 5.0], [3.0, 3.0, 0.0]])
    rows, weight = store(X), np.ones(3)
    moments = ColumnMoments.of(rows, np.arange(3), weight)
    assert moments.minus(ColumnMoments.of(rows, np.array([0]), weight)) is None
    # A column that is left without entries has lost nothing.
    rest = moments.minus(ColumnMoments.of(rows, np.array([1]), weight))
    assert rest.counts.tolist() == [2, 2, 0]
    assert rest.sums[2] == rest.squares[2] == 0.0


def test_an_entry_whose_square_overflows_can_leave():
    X = np.array([[1e200, 40.0], [1.0, 41.0], [2.0, 42.0]])
    whole = moments(X)
    assert_array_equal(whole.centre(), [0.0, 41.0])
    rest = whole.minus(moments(X[:1]))
    assert rest is None or np.isfinite(rest.squares).all()


def test_a_column_that_lost_all_its_entries_has_no_sums():
    """Not what rounding left: 0.1 + 0.2 + 0.3 less the three is not zero."""
    X = np.array([[0.1], [0.2], [0.3], [0.0]])
    rest = moments(X)
    for i in (2, 1, 0):
        rest = rest.minus(moments(X[[i]]))
    assert_array_equal(rest.counts, [0])
    assert_array_equal(rest.sums, [0.0])
    assert_array_equal(rest.squares, [0.0])
