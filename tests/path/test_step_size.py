"""The automatic learning rate against eigenvalues of dense matrices."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from skdeltagrad._data.storage import store
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import HalfSquaredLoss
from skdeltagrad._path.step_size import automatic_learning_rate

BOUNDS = {"binomial": 0.25, "multinomial": 0.5, "half_squared": 1.0}
CENTRES = ["without", "plain", "centred"]
INSTANCES = list(itertools.product(BOUNDS, CENTRES, ["ones", "random"]))


def some_rows(n_rows=200, n_features=12, seed=0):
    """Correlated columns of different sizes, away from zero."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(n_features, n_features))
    return rng.normal(size=(n_rows, n_features)) @ mixing + rng.normal(size=n_features)


def some_weight(kind, n_rows, seed=1):
    rng = np.random.default_rng(seed)
    if kind == "ones":
        return np.ones(n_rows)
    return rng.random(n_rows) * (rng.random(n_rows) < 0.8)


def some_centre(kind, X):
    if kind == "without":
        return None
    return np.zeros(X.shape[1]) if kind == "plain" else np.round(X.mean(axis=0), 1)


def design(X, centre):
    X = np.asarray(X, float)
    return X if centre is None else np.column_stack([X - centre, np.ones(len(X))])


def learning_rate(X, weight, centre, bound, alpha=0.0, share=1.0, is_sparse=False):
    rows = store(sparse.csr_matrix(X) if is_sparse else X)
    objective = DataTerm(rows, None, weight, HalfSquaredLoss(1), centre)
    indices = np.arange(X.shape[0])
    return automatic_learning_rate(objective, indices, bound, alpha, share)


def largest_eigenvalue(X, weight, centre):
    """Of the weighted mean of x x', centred and with a column of ones."""
    Z = design(X, centre)
    return np.linalg.eigvalsh((Z.T * weight) @ Z / weight.sum())[-1]


def assert_rate(rate, expected):
    """Two digits of it, rounded down; eigenvalues are a little too small."""
    assert rate == float(f"{rate:.1e}")
    assert expected * 0.9 < rate <= expected * 1.02


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize(("loss", "centring", "weighting"), INSTANCES)
def test_full_batch(loss, centring, weighting, is_sparse):
    X = some_rows()
    weight, centre = some_weight(weighting, len(X)), some_centre(centring, X)
    alpha = 3.0
    smoothness = BOUNDS[loss] * largest_eigenvalue(X, weight, centre)
    smoothness += alpha / weight.sum()
    rate = learning_rate(X, weight, centre, BOUNDS[loss], alpha, 1.0, is_sparse)
    assert_rate(rate, 1 / smoothness)


@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 9, 60, 300])
@pytest.mark.parametrize("centring", CENTRES)
def test_any_number_of_features(n_features, centring):
    X = some_rows(100, n_features)
    weight, centre = np.ones(100), some_centre(centring, X)
    expected = 1 / largest_eigenvalue(X, weight, centre)
    assert_rate(learning_rate(X, weight, centre, 1.0), expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n_rows", "n_features"), [(2000, 50), (60, 100), (500, 400)])
def test_eigenvalues_close_together(n_rows, n_features, seed):
    """Independent columns: the largest eigenvalue hardly stands out."""
    X = np.random.default_rng(seed).normal(size=(n_rows, n_features))
    weight = np.ones(n_rows)
    expected = 1 / largest_eigenvalue(X, weight, None)
    assert_rate(learning_rate(X, weight, None, 1.0), expected)


@pytest.mark.parametrize("share", [1e-9, 0.005, 0.1, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("centring", CENTRES)
@pytest.mark.parametrize("weighting", ["ones", "random"])
def test_batches(share, centring, weighting):
    """Between the smoothness of the mean and that of the worst row alone."""
    X = some_rows() / 5  # so that the column of ones weighs something
    weight, centre = some_weight(weighting, len(X)), some_centre(centring, X)
    n, total = np.count_nonzero(weight), weight.sum()
    b = max(1.0, share * n)
    a = n * (b - 1) / (b * (n - 1))
    squared = (design(X, centre) ** 2).sum(axis=1)
    smoothness = a * largest_eigenvalue(X, weight, centre)
    smoothness += (1 - a) * (weight * squared).max() * n / total
    smoothness = 0.25 * smoothness + 2.0 / total
    rate = learning_rate(X, weight, centre, 0.25, 2.0, share)
    assert_rate(rate, 1 / smoothness)


def test_smaller_batches_take_smaller_steps():
    X = some_rows()
    rates = [
        learning_rate(X, np.ones(200), None, 1.0, share=share)
        for share in (1.0, 0.5, 0.1, 0.01, 0.005)
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0] / 2


def test_a_weight_of_two_is_a_row_given_twice():
    X = some_rows(50)
    twice = learning_rate(X.repeat(2, axis=0), np.ones(100), None, 1.0)
    assert_allclose(learning_rate(X, np.full(50, 2.0), None, 1.0), twice, rtol=1e-10)


def test_only_the_rows_given_count():
    X = some_rows(60)
    rows = store(X)
    objective = DataTerm(rows, None, np.ones(60), HalfSquaredLoss(1), None)
    indices = np.array([5, 40, 12, 33, 8])
    rate = automatic_learning_rate(objective, indices, 1.0, 0.0, 0.4)
    expected = learning_rate(X[indices], np.ones(5), None, 1.0, share=0.4)
    assert_allclose(rate, expected, rtol=1e-10)


@pytest.mark.parametrize("n_features", [1, 2, 3, 20])
@pytest.mark.parametrize("centring", ["without", "plain"])
@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_rows_of_zeros(n_features, centring, alpha):
    X = np.zeros((10, n_features))
    rate = learning_rate(X, np.ones(10), some_centre(centring, X), 1.0, alpha)
    smoothness = (0.0 if centring == "without" else 1.0) + alpha / 10
    assert_rate(rate, 1 / smoothness if smoothness else 1.0)


@pytest.mark.parametrize("n_features", [3, 8, 20])
def test_one_column_that_is_not_zero(n_features):
    """Wherever it stands, the iterations must not start at a right angle to it."""
    for column in range(n_features):
        X = np.zeros((10, n_features))
        X[:, column] = 2.0
        assert_rate(learning_rate(X, np.ones(10), None, 1.0), 0.25)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 7), (2, 9)])
def test_two_columns_that_cancel(first, second):
    """One column is the other's negative: a centred category and its complement."""
    X = np.zeros((10, 12))
    X[:, first] = np.linspace(-1, 1, 10)
    X[:, second] = -X[:, first]
    expected = 1 / largest_eigenvalue(X, np.ones(10), None)
    assert_rate(learning_rate(X, np.ones(10), None, 1.0), expected)


def test_gradient_descent_is_stable_below_twice_the_rate_only():
    """The rate is meant to be safe, and not to be timid."""
    X = some_rows()
    eigenvalues = np.linalg.eigvalsh(X.T @ X / len(X))
    rate = learning_rate(X, np.ones(200), None, 1.0)
    assert abs(1 - 1.95 * rate * eigenvalues).max() <= 1
    assert abs(1 - 2.05 * rate * eigenvalues).max() > 1
