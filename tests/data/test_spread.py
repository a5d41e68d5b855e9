"""Standard deviations of columns that follow the rows, next to a fresh scaler's."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from skdeltagrad._data.spread import ColumnSpread
from skdeltagrad._data.storage import store


def awkward(n_rows, seed=0):
    """Columns whose sums of squares lose their digits, rare ones and constant ones."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_rows, 5))
    return np.column_stack(
        [
            2000 + 10 * z[:, 0],
            1e6 + z[:, 1],
            1e-3 * z[:, 2],
            1e9 + z[:, 3],
            rng.exponential(size=n_rows) ** 3,
            rng.random(n_rows) < 0.02,
            np.full(n_rows, 0.1),
            np.full(n_rows, 2021.3),
            np.zeros(n_rows),
        ]
    )


def scaler_of(X, weight=None):
    with_mean = not sparse.issparse(X)
    return StandardScaler(with_mean=with_mean).fit(X, sample_weight=weight)


def spread_of(X, weight=None):
    weight = np.ones(X.shape[0]) if weight is None else weight
    return ColumnSpread.of(store(X), np.arange(X.shape[0]), weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("convert", [np.asarray, np.float32, sparse.csr_matrix])
def test_a_fresh_spread(convert, weighted):
    X = awkward(3000)
    if convert is not np.asarray:
        X = np.delete(X, 3, axis=1)  # float32 has no such digits, nor has a CSR mean
    weight = np.random.default_rng(1).integers(0, 4, 3000) / 2 if weighted else None
    spread, scaler = spread_of(convert(X), weight), scaler_of(X, weight)
    if convert is np.float32:
        scaler = scaler_of(X.astype(np.float32).astype(float), weight)
    assert_allclose(spread.scale(), scaler.scale_, rtol=1e-11)
    assert_allclose(spread.mean(), scaler.mean_, rtol=1e-12)
    assert spread.is_sharp()
    assert 0 < spread.error() < 1e-11


@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_thousand_edits(is_sparse):
    """Rows come and go; weights, and weights of 0, too."""
    rng = np.random.default_rng(2)
    X = awkward(1500)
    weight = rng.integers(0, 4, 1500) / 2
    rows = store(sparse.csr_matrix(X) if is_sparse else X)
    live = np.arange(1500) < 800
    spread = ColumnSpread.of(rows, np.flatnonzero(live), weight[live])
    shift = spread.shift
    for _ in range(1000):
        removed = rng.choice(np.flatnonzero(live), rng.integers(3), replace=False)
        added = rng.choice(np.flatnonzero(~live), rng.integers(3), replace=False)
        live[removed], live[added] = False, True
        spread = spread.after(rows, removed, added, weight)
    assert spread.is_sharp()
    assert_array_equal(spread.shift, shift)
    scaler = scaler_of(X[live], weight[live])
    assert_allclose(spread.scale(), scaler.scale_, rtol=1e-9)
    assert_allclose(spread.mean(), scaler.mean_, rtol=1e-12)
    off = np.abs(spread.variance() / np.maximum(scaler.var_, 1e-300) - 1)
    constant = scaler.var_ < 1e-20
    assert off[~constant].max() <= spread.error()


def test_the_shift_is_no_exact_mean():
    """The exact mean of many rows, less the others, is the row that left."""
    X = awkward(500)
    shift = spread_of(X).shift
    varying = X.std(axis=0) > 1e-6
    assert_array_equal(spread_of(X[1:]).shift[varying], shift[varying])
    row = X[0] - (X.sum(axis=0) - len(X) * shift)
    assert np.abs(row - X[0])[:4].min() > 1e-3


def test_what_is_watched_tells_nothing_of_a_row():
    """Sums are those of the rows that are there; what else is kept is rounded."""
    X = awkward(400)
    rows, weight = store(X), np.ones(400)
    nobody = np.zeros(0, np.int64)
    whole = spread_of(X)
    found = [whole.after(rows, np.array([i]), nobody, weight) for i in (3, 4)]
    assert_array_equal(found[0].peaks, found[1].peaks)
    assert found[0].heaviest == found[1].heaviest == 9
    fresh = ColumnSpread.of(rows, np.delete(np.arange(400), 3), np.ones(399))
    assert_allclose(found[0].squares, fresh.squares, rtol=1e-11)


@pytest.mark.parametrize("outlier", [1e10, 1e100, 1e200])
def test_an_outlier_takes_the_digits_along(outlier):
    X = np.random.default_rng(3).normal(size=(50, 2))
    X[7, 0] = outlier
    rows, nobody = store(X), np.zeros(0, np.int64)
    spread = spread_of(X).after(rows, np.array([7]), nobody, np.ones(50))
    assert not spread.is_sharp()


def test_a_heavy_row_takes_the_digits_along():
    X = np.random.default_rng(3).normal(size=(50, 2))
    weight = np.ones(50)
    weight[7] = 1e9
    rows, nobody = store(X), np.zeros(0, np.int64)
    spread = spread_of(X, weight).after(rows, np.array([7]), nobody, weight)
    assert not spread.is_sharp()


def test_a_column_that_becomes_constant():
    """At the shift it is known from counts; elsewhere digits are missing."""
    X = np.zeros((100, 2))
    X[:3, 0] = 0.3
    X[:, 1] = 0.7
    X[:3, 1] = [0.1, 0.2, 0.3]
    rows, nobody = store(X), np.zeros(0, np.int64)
    alone = ColumnSpread.of(store(X[:, :1]), np.arange(100), np.ones(100))
    few = store(X[:, :1])
    rest = alone.after(few, np.arange(3), nobody, np.ones(100))
    assert rest.is_sharp()
    assert rest.scale() == rest.mean() + 1 == 1
    both = spread_of(X).after(rows, np.arange(3), nobody, np.ones(100))
    assert not both.is_sharp()
    fresh = ColumnSpread.of(rows, np.arange(3, 100), np.ones(97))
    assert fresh.is_sharp()
    assert_array_equal(fresh.scale(), [1, 1])


def test_a_variance_beyond_all_numbers():
    X = np.ones((3, 2))
    X[0, 1] = 1e200
    with pytest.raises(ValueError, match=r"X .* column 1 .* standardize=False"):
        spread_of(X).scale()
