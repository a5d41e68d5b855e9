"""The compiled kernels against formulas in plain NumPy."""

import inspect
import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from scipy.special import expit, softmax
from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss, HalfSquaredError

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, _kernels
from skdeltagrad._path.schedule import _round_keys

N_SLOTS = 12
N_FEATURES = 7

# Around the four rows that the dense kernels take at a time, and the two outputs.
N_ROWS = range(10)
N_OUTPUTS = range(1, 6)

DTYPES = ["float64", "float32"]


def frozen(array):
    array.flags.writeable = False
    return array


# ---------------------------------------------------------------------------
# Products with rows
# ---------------------------------------------------------------------------


def scattered(X):
    """The entries of X, row after row in an order and with gaps of their own."""
    n_rows = len(X)
    data, indices = [], []
    starts, lengths = np.zeros((2, n_rows), np.int64)
    for i in reversed(range(n_rows)):
        columns = np.flatnonzero(X[i])
        starts[i], lengths[i] = len(data), len(columns)
        data += [*X[i, columns], np.nan]  # what no row may read
        indices += [*columns, 0]
    return np.array(data, X.dtype), np.array(indices, np.int32), starts, lengths


def stored_rows(storage, dtype, read_only):
    """Arguments that stand for the rows, and the same rows as a dense array."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(N_SLOTS, N_FEATURES)).astype(dtype)
    if storage == "dense":
        arrays = [X]
    else:
        X[rng.random(X.shape) < 0.5] = 0
        X[3] = 0  # a row without entries
        arrays = list(scattered(X))
    if read_only:
        arrays = [frozen(array.copy()) for array in arrays]
    return arrays, X.astype(float)


@pytest.fixture(
    params=[
        (storage, *rest)
        for storage in ("dense", "sparse")
        for rest in (("float64", False), ("float32", False), ("float64", True))
    ],
    ids=lambda param: "-".join(map(str, param)).replace("True", "read_only"),
)
def rows(request):
    """The kernels of a storage, its arguments, the dense rows, and `turn`.

    `turn` brings (n_outputs, n_dof) into the order that the kernels read.
    """
    arrays, X = stored_rows(*request.param)
    if request.param[0] == "dense":
        return _kernels.dense, arrays, X, np.ascontiguousarray
    return _kernels.sparse, arrays, X, lambda array: np.ascontiguousarray(array.T)


def some_indices(n_rows):
    """Storage indices out of order, some of them more than once."""
    indices = np.random.default_rng(n_rows).integers(N_SLOTS, size=n_rows)
    indices[1:2] = indices[:1]
    return indices


@pytest.mark.parametrize("n_outputs", N_OUTPUTS)
@pytest.mark.parametrize("n_rows", N_ROWS)
def test_matvec(rows, n_rows, n_outputs):
    kernels, arrays, X, turn = rows
    rng = np.random.default_rng(2)
    coef = rng.normal(size=(n_outputs, N_FEATURES))
    intercept = rng.normal(size=n_outputs)
    indices = some_indices(n_rows)
    raw = np.full((n_rows, n_outputs), np.nan)

    iterate = np.column_stack([coef, np.full(n_outputs, np.nan)])  # is not read
    kernels.matvec(*arrays, indices, turn(iterate), intercept, raw)

    assert_allclose(raw, X[indices] @ coef.T + intercept, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("n_outputs", N_OUTPUTS)
@pytest.mark.parametrize("n_rows", N_ROWS)
def test_rmatvec_adds(rows, n_rows, n_outputs):
    kernels, arrays, X, turn = rows
    rng = np.random.default_rng(3)
    pointwise = rng.normal(size=(n_rows, n_outputs))
    before = rng.normal(size=(n_outputs, N_FEATURES + 1))
    indices = some_indices(n_rows)

    accumulator = turn(before.copy())
    kernels.rmatvec(*arrays, indices, pointwise, accumulator)

    after = turn(accumulator)  # turned twice: as it was
    expected = before[:, :N_FEATURES] + pointwise.T @ X[indices]
    assert_allclose(after[:, :N_FEATURES], expected, rtol=1e-13, atol=1e-14)
    assert_array_equal(after[:, N_FEATURES], before[:, N_FEATURES])


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("n_rows", N_ROWS)
def test_column_moments_add(rows, n_rows, shifted):
    kernels, arrays, X, _ = rows
    rng = np.random.default_rng(4)
    weight = rng.random(n_rows)
    sums, squares = before = rng.normal(size=(2, N_FEATURES))
    before = before.copy()
    counts = np.arange(N_FEATURES)
    indices = some_indices(n_rows)
    shift = np.zeros(N_FEATURES)
    if shifted:
        shift[::2] = rng.normal(size=len(shift[::2]))
        shift[0] = X[0, 0]

    kernels.column_moments(*arrays, indices, weight, shift, counts, sums, squares)

    d = X[indices] - shift
    assert_array_equal(counts, np.arange(N_FEATURES) + (d != 0).sum(axis=0))
    assert_allclose(sums, before[0] + weight @ d, rtol=1e-13, atol=1e-13)
    assert_allclose(squares, before[1] + weight @ d**2, rtol=1e-13)


@pytest.mark.parametrize("n_rows", N_ROWS)
def test_squared_distances(rows, n_rows):
    kernels, arrays, X, _ = rows
    rng = np.random.default_rng(5)
    centre, scale = rng.normal(size=N_FEATURES), rng.exponential(size=N_FEATURES)
    indices = some_indices(n_rows)
    distance = np.full(n_rows, np.nan)

    kernels.squared_distances(*arrays, indices, centre, scale, distance)

    assert_allclose(distance, (X[indices] - centre) ** 2 @ scale, rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("n_rows", N_ROWS)
@pytest.mark.parametrize("far", [[], [1], [0, 2, N_FEATURES - 1]])
def test_gram_adds_the_lower_triangle(far, n_rows, dtype, read_only):
    arrays, X = stored_rows("sparse", dtype, read_only)
    rng = np.random.default_rng(6)
    weight = rng.normal(size=n_rows)
    before = rng.normal(size=(N_FEATURES, N_FEATURES))
    indices = some_indices(n_rows)

    centre = np.zeros(N_FEATURES)
    centre[far] = rng.normal(size=len(far))

    gram, total = before.copy(), before[0].copy()
    _kernels.sparse.gram(
        *arrays, indices, weight, centre, np.array(far, np.int64), gram, total
    )

    centred = X[indices] - centre
    expected = (centred.T * weight) @ centred
    assert_allclose(total, before[0] + weight @ centred, rtol=1e-12, atol=1e-13)
    assert_allclose(gram, before + np.tril(expected), rtol=1e-12, atol=1e-13)
    assert_array_equal(np.triu(gram, 1), np.triu(before, 1))


def test_products_of_long_rows():
    """Rows far longer than a vector register, whose sums are cut into lanes."""
    rng = np.random.default_rng(6)
    X = rng.normal(size=(9, 1003))
    coef = rng.normal(size=(3, 1003))
    indices = np.arange(9)
    raw = np.empty((9, 3))
    _kernels.dense.matvec(X, indices, coef, np.zeros(3), raw)
    assert_allclose(raw, X @ coef.T, rtol=1e-11, atol=1e-11)

    gradient = np.zeros((3, 1003))
    _kernels.dense.rmatvec(X, indices, raw, gradient)
    assert_allclose(gradient, raw.T @ X, rtol=1e-11, atol=1e-11)


# ---------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------

LOSSES = ["binomial", "multinomial", "half_squared"]


def loss_problem(name, scale, seed=0):
    """Raw predictions of some rows, with targets and weights of all stored rows."""
    rng = np.random.default_rng(seed)
    n_rows, n_outputs = 40, 1 if name == "binomial" else 4
    raw = scale * rng.uniform(-1, 1, size=(n_rows, n_outputs))
    indices = rng.integers(N_SLOTS, size=n_rows)
    weight = rng.random(N_SLOTS)
    if name == "binomial":
        y = rng.integers(2, size=N_SLOTS)
    elif name == "multinomial":
        y = rng.integers(n_outputs, size=N_SLOTS)
    else:
        y = rng.normal(size=(N_SLOTS, n_outputs))
    return raw, y, weight, indices


def derivative(name, raw, y, weight, indices):
    pointwise = raw.copy()
    getattr(_kernels.losses, name)(pointwise, y, weight, indices)
    return pointwise


def loss_value(name, raw, y, weight):
    """scikit-learn's loss of each row, summed over outputs, times its weight."""
    if name == "binomial":
        return HalfBinomialLoss().loss(y.astype(float), raw[:, 0].copy(), weight)
    if name == "multinomial":
        loss = HalfMultinomialLoss(n_classes=raw.shape[1])
        return loss.loss(y.astype(float), raw.copy(), weight)
    squared = HalfSquaredError()
    return sum(
        squared.loss(y[:, k].copy(), raw[:, k].copy(), weight)
        for k in range(raw.shape[1])
    )


def loss_gradient(name, raw, y, weight):
    """scikit-learn's derivatives, shape (n_rows, n_outputs)."""
    if name == "binomial":
        loss = HalfBinomialLoss()
        return loss.gradient(y.astype(float), raw[:, 0].copy(), weight)[:, np.newaxis]
    if name == "multinomial":
        loss = HalfMultinomialLoss(n_classes=raw.shape[1])
        return loss.gradient(y.astype(float), raw.copy(), weight)
    squared = HalfSquaredError()
    columns = [
        squared.gradient(y[:, k].copy(), raw[:, k].copy(), weight)
        for k in range(raw.shape[1])
    ]
    return np.column_stack(columns)


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_scikit_learns(name, scale):
    raw, y, weight, indices = loss_problem(name, scale)
    assert_allclose(
        derivative(name, raw, y, weight, indices),
        loss_gradient(name, raw, y[indices], weight[indices]),
        rtol=1e-12,
        atol=1e-15,
    )


@pytest.mark.parametrize("name", LOSSES)
def test_losses_by_finite_differences(name):
    raw, y, weight, indices = loss_problem(name, 3.0)
    pointwise = derivative(name, raw, y, weight, indices)
    h = 1e-5
    for k in range(raw.shape[1]):
        shift = np.zeros(raw.shape)
        shift[:, k] = h
        higher = loss_value(name, raw + shift, y[indices], weight[indices])
        lower = loss_value(name, raw - shift, y[indices], weight[indices])
        assert_allclose(pointwise[:, k], (higher - lower) / (2 * h), atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_read_frozen_targets(name):
    raw, y, weight, indices = loss_problem(name, 3.0)
    assert_array_equal(
        derivative(name, raw, frozen(y.copy()), frozen(weight.copy()), indices),
        derivative(name, raw, y, weight, indices),
    )


@pytest.mark.parametrize("z", [-800.0, -40.0, -1.0, 0.0, 1.0, 40.0, 800.0])
def test_binomial_without_cancellation(z):
    """Both tails to full relative precision, where ``expit(z) - 1`` would be 0."""
    raw = np.array([[z], [z]])
    weight, indices = np.array([2.0, 3.0]), np.arange(2)
    pointwise = derivative("binomial", raw, np.array([0, 1]), weight, indices)
    assert_allclose(pointwise[:, 0], [2 * expit(z), -3 * expit(-z)], rtol=1e-14)


def test_multinomial_at_extreme_predictions():
    raw = np.array([[800, -800, 0], [-800, 800, 800], [-800, -800, -800.0]])
    y, weight, indices = np.array([1, 1, 0]), np.array([1.0, 2.0, 3.0]), np.arange(3)
    pointwise = derivative("multinomial", raw, y, weight, indices)
    expected = weight[:, np.newaxis] * (softmax(raw, axis=1) - np.eye(3)[y])
    assert_allclose(pointwise, expected, rtol=1e-14)
    assert_allclose(pointwise.sum(axis=1), 0, atol=1e-15)


# ---------------------------------------------------------------------------
# The gradient step
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_intercepts", [0, 1])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_step(n_outputs, n_intercepts, dtype):
    rng = np.random.default_rng(7)
    shape = n_outputs, N_FEATURES + n_intercepts
    iterate, gradient = rng.normal(size=(2, *shape))
    shrinkage = rng.random(n_outputs)
    step = np.full(shape, np.nan, dtype)
    penalised = np.arange(shape[1]) < N_FEATURES
    expected = -0.3 * gradient - np.outer(shrinkage, penalised) * iterate
    before = iterate.copy()

    assert _kernels.step.descend(iterate, gradient, 0.3, shrinkage, N_FEATURES, step)

    rounding = np.finfo(dtype).eps
    assert_allclose(step, expected, rtol=4 * rounding, atol=4 * rounding)
    assert_array_equal(iterate, before + step)  # as the step is recorded


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [(0, 0), (1, 2), (1, 3)])
def test_step_tells_what_is_not_finite(place, value):
    iterate, gradient, after = np.ones((3, 2, 4))
    gradient[place] = value
    assert not _kernels.step.descend(iterate, gradient, 0.1, np.zeros(2), 3, after)


# ---------------------------------------------------------------------------
# Rank-one changes of a Cholesky factor
# ---------------------------------------------------------------------------

# Around a vector register.
ORDERS = [1, 2, 3, 4, 5, 8, 9, 33]


def definite(q, rng):
    """A positive definite matrix."""
    A = rng.normal(size=(q, q + 3))
    return A @ A.T


def upper(matrix):
    return np.ascontiguousarray(np.linalg.cholesky(matrix).T)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("q", ORDERS)
def test_cholesky_update(q, scale):
    rng = np.random.default_rng(q)
    matrix, v = definite(q, rng), scale * rng.normal(size=q)
    factor = upper(matrix)
    _kernels.cholesky.update(factor, v.copy())
    changed = matrix + np.outer(v, v)
    assert_allclose(factor.T @ factor, changed, rtol=1e-12, atol=1e-13)
    if scale <= 1.0:
        assert_allclose(factor, upper(changed), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("share", [1e-16, 0.1, 0.9, 1 - 1e-6])
@pytest.mark.parametrize("q", ORDERS)
def test_cholesky_downdate(q, share):
    """``v' H^-1 v`` is the share of H that is taken away along v."""
    rng = np.random.default_rng(q)
    matrix, v = definite(q, rng), rng.normal(size=q)
    v *= np.sqrt(share / (v @ np.linalg.solve(matrix, v)))
    factor = upper(matrix)
    assert _kernels.cholesky.downdate(factor, v.copy())
    changed = matrix - np.outer(v, v)
    size = abs(matrix).max()
    assert_allclose(factor.T @ factor, changed, rtol=1e-11, atol=1e-12 * size)
    lost = 1.0 / (1.0 - share)
    assert_allclose(factor, upper(changed), atol=1e-12 * lost * np.sqrt(size))


@pytest.mark.parametrize("share", [1.0, 1.0 + 1e-6, 2.0, np.nan])
@pytest.mark.parametrize("q", ORDERS)
def test_cholesky_downdate_tells_what_is_not_definite(q, share):
    rng = np.random.default_rng(q)
    matrix, v = definite(q, rng), rng.normal(size=q)
    v *= np.sqrt(share / (v @ np.linalg.solve(matrix, v)))
    assert not _kernels.cholesky.downdate(upper(matrix), v)


@pytest.mark.parametrize("q", ORDERS)
def test_cholesky_there_and_back(q):
    rng = np.random.default_rng(q)
    matrix, v = definite(q, rng), rng.normal(size=q)
    factor, before = upper(matrix), upper(matrix)
    for _ in range(20):
        _kernels.cholesky.update(factor, v.copy())
        assert _kernels.cholesky.downdate(factor, v.copy())
    assert_allclose(factor, before, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("first", [0, 2, 5])
def test_cholesky_changes_by_vectors_with_zeros(first):
    """Rows of the factor above the first entry stay; zeros change nothing at all."""
    rng = np.random.default_rng(12)
    matrix, v = definite(5, rng), rng.normal(size=5)
    v[:first] = 0
    v[3] = 0
    v *= 0.1
    before = upper(matrix)
    for kernel, sign in (
        (_kernels.cholesky.update, 1.0),
        (_kernels.cholesky.downdate, -1.0),
    ):
        factor = before.copy()
        kernel(factor, v.copy())
        assert_array_equal(factor[:first], before[:first])
        expected = upper(matrix + sign * np.outer(v, v))
        assert_allclose(factor, expected, rtol=1e-12, atol=1e-13)


def test_cholesky_changes_leave_what_is_below_the_diagonal():
    rng = np.random.default_rng(13)
    matrix, v = definite(6, rng), 0.1 * rng.normal(size=6)
    below = np.tril(rng.normal(size=(6, 6)), -1)
    for kernel in (_kernels.cholesky.update, _kernels.cholesky.downdate):
        factor, alone = upper(matrix) + below, upper(matrix)
        kernel(factor, v.copy())
        kernel(alone, v.copy())
        assert_array_equal(factor, alone + below)


# ---------------------------------------------------------------------------
# Compact L-BFGS
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_coef", [0, 1, 5, 67])
def test_own_products(n_coef):
    s, y = np.random.default_rng(8).normal(size=(2, n_coef))
    found = _kernels.lbfgs.own_products(s, y)
    assert_allclose(found, [s @ s, s @ y, y @ y], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("n_coef", [1, 5, 67])
@pytest.mark.parametrize("newest", range(3))
def test_inner_products_renew_one_row_and_column(newest, n_coef):
    rng = np.random.default_rng(8)
    S, Y = rng.normal(size=(2, 4, n_coef))
    n_pairs = 3
    ss, sy = before = rng.normal(size=(2, 4, 4))
    expected_ss, expected_sy = before.copy()
    for expected, product in ((expected_ss, S @ S.T), (expected_sy, S @ Y.T)):
        expected[newest, :n_pairs] = product[newest, :n_pairs]
        expected[:n_pairs, newest] = product[:n_pairs, newest]

    _kernels.lbfgs.inner_products(S, Y, newest, n_pairs, ss, sy)

    assert_allclose(ss, expected_ss, rtol=1e-12, atol=1e-13)
    assert_allclose(sy, expected_sy, rtol=1e-12, atol=1e-13)


# Around what the kernels take at a time.
@pytest.mark.parametrize("n_coef", [1, 5, 1023, 1024, 1025, 2500])
@pytest.mark.parametrize("n_pairs", range(4))
def test_product_with_the_pairs(n_pairs, n_coef):
    rng = np.random.default_rng(9)
    S, Y = rng.normal(size=(2, 4, n_coef))
    iterate, anchor, base = rng.normal(size=(3, n_coef))
    drift = iterate - anchor
    inverse = rng.normal(size=(2 * n_pairs, 2 * n_pairs))
    sigma, scale = 1.7, 0.6
    S_used, Y_used = S[:n_pairs], Y[:n_pairs]

    gradient = np.full(n_coef, np.nan)
    _kernels.lbfgs.predict(
        iterate, anchor, S, Y, n_pairs, sigma, inverse, base, scale, gradient
    )
    pairs = np.vstack([sigma * S_used, Y_used])
    expected = base + scale * (sigma * drift - pairs.T @ inverse @ (pairs @ drift))
    assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------------
# The shuffle
# ---------------------------------------------------------------------------


def domain(n):
    side = 1
    while side * side < n:
        side += 1
    return n, side, -(-n // side)


def shuffled(n, keys, first=0, n_places=None):
    rows = np.empty(n if n_places is None else n_places, np.int64)
    _kernels.shuffle.rows_at(first, *domain(n), keys, rows)
    return rows


def places(rows, n, keys):
    place = np.empty((len(keys), len(rows)), np.int64)
    _kernels.shuffle.places_of(rows, *domain(n), keys, place)
    return place


def test_every_row_has_one_place():
    for n in range(1, 301):
        keys = _round_keys(n, 2)
        for epoch in range(2):
            rows = shuffled(n, keys[epoch])
            assert_array_equal(np.sort(rows), np.arange(n), err_msg=f"n={n}")
            place = places(rows, n, keys[epoch : epoch + 1])
            assert_array_equal(place[0], np.arange(n), err_msg=f"n={n}")


@pytest.mark.parametrize("n", [2**16, 2**16 + 1, 99_991, 1_000_000])
def test_every_row_has_one_place_among_many(n):
    keys = _round_keys(5, 1)
    rows = shuffled(n, keys[0])
    assert_array_equal(np.bincount(rows, minlength=n), np.ones(n))
    assert_array_equal(places(rows, n, keys)[0], np.arange(n))


@pytest.mark.parametrize("n", [2**31 - 1, 2**31 - 2**16])
def test_the_largest_domain(n):
    keys = _round_keys(6, 1)
    for first in (0, n // 2, n - 1000):
        rows = shuffled(n, keys[0], first, 1000)
        assert rows.min() >= 0
        assert rows.max() < n
        assert_array_equal(places(rows, n, keys)[0], first + np.arange(1000))


def test_rows_that_are_gone_have_no_index():
    n, keys = 2000, _round_keys(4, 1)[0]
    index_of = np.random.default_rng(0).permutation(n)
    index_of[::3] = -1
    found = np.empty(1500, np.int64)
    n_found = _kernels.shuffle.indices_at(100, *domain(n), keys, index_of, found)
    expected = index_of[shuffled(n, keys, 100, 1500)]
    assert_array_equal(found[:n_found], expected[expected >= 0])


def test_a_batch_is_a_slice_of_the_epoch():
    n, keys = 53, _round_keys(3, 1)
    whole = shuffled(n, keys[0])
    for first in range(0, n, 10):
        part = shuffled(n, keys[0], first, min(10, n - first))
        assert_array_equal(part, whole[first : first + 10])


def test_the_shuffle_is_what_it_always_was():
    """Computed once: a saved model must find its batches in every later version."""
    keys = np.arange(1, 9) * 0x1234567
    assert_array_equal(shuffled(11, keys), GOLDEN_ROWS)
    later = places(np.arange(11, 19), 11, keys[np.newaxis])
    assert_array_equal(later[0], GOLDEN_PLACES)


GOLDEN_ROWS = [5, 7, 1, 10, 4, 6, 3, 8, 2, 0, 9]
GOLDEN_PLACES = [2, 0, 4, 2, 9, 7, 10, 1]


def assert_chi_square(statistic, n_degrees, what):
    """The statistic is drawn with fixed keys: this holds always or never."""
    level = stats.chi2.sf(statistic, n_degrees)
    message = (
        f"{what}: chi-square {statistic:.1f} on {n_degrees} degrees, p={level:.2g}"
    )
    assert 1e-3 < level < 1 - 1e-3, message


@pytest.mark.parametrize("n", [2, 3, 7, 13, 16, 30])
def test_every_row_is_anywhere_equally_often(n):
    n_epochs = 20_000
    count = np.zeros((n, n))
    for keys in _round_keys(0, n_epochs):
        count[np.arange(n), shuffled(n, keys)] += 1
    expected = n_epochs / n
    # Rows and columns sum to n_epochs: (n - 1)^2 degrees of freedom.
    statistic = (n - 1) / n * ((count - expected) ** 2).sum() / expected
    assert_chi_square(statistic, (n - 1) ** 2, f"place of each of {n} rows")


@pytest.mark.parametrize(("n", "n_first"), [(3, 3), (4, 4), (12, 2), (30, 2)])
def test_every_order_is_equally_likely(n, n_first):
    """Not so the whole orders of five or six rows: some come a third more often."""
    n_epochs = 24_000
    orders = np.array(
        [shuffled(n, keys, 0, n_first) for keys in _round_keys(1, n_epochs)]
    )
    number = orders @ n ** np.arange(n_first)
    _, count = np.unique(number, return_counts=True)
    assert len(count) == math.perm(n, n_first)
    expected = n_epochs / len(count)
    statistic = ((count - expected) ** 2).sum() / expected
    assert_chi_square(statistic, len(count) - 1, f"first {n_first} of {n} rows")


@pytest.mark.parametrize("n", [200, 1000])
def test_neighbours_are_dealt_apart(n):
    """Rows that stand together, such as those of one class, spread over batches."""
    n_together = batch_size = n // 10
    together = [
        np.count_nonzero(shuffled(n, keys, 0, batch_size) < n_together)
        for keys in _round_keys(2, 2000)
    ]
    model = stats.hypergeom(n, n_together, batch_size)
    statistic = ((np.array(together) - model.mean()) ** 2).sum() / model.var()
    assert_chi_square(statistic, 2000, f"first {n_together} rows in a batch")


def test_later_rows_join_any_place():
    n, n_rows = 50, 20_000
    place = places(np.arange(n, n + n_rows), n, _round_keys(3, 2))
    assert place.min() >= 0
    assert place.max() < n
    table = np.zeros((n, n))
    np.add.at(table, (place[0], place[1]), 1)
    for epoch, count in enumerate((table.sum(axis=1), table.sum(axis=0))):
        statistic = ((count - n_rows / n) ** 2).sum() / (n_rows / n)
        assert_chi_square(statistic, n - 1, f"later rows in epoch {epoch}")
    # Where a row is in one epoch tells nothing about the next.
    statistic = ((table - n_rows / n**2) ** 2).sum() / (n_rows / n**2)
    assert_chi_square(statistic, n**2 - 1, "later rows in two epochs")


def test_a_later_row_goes_anywhere_in_time():
    n, n_epochs = 50, 20_000
    place = places(np.array([n, 3 * n + 1]), n, _round_keys(4, n_epochs))
    for column in place.T:
        count = np.bincount(column, minlength=n)
        statistic = ((count - n_epochs / n) ** 2).sum() / (n_epochs / n)
        assert_chi_square(statistic, n - 1, "one later row over the epochs")


@pytest.mark.parametrize("n_rows", [0, 1, 60, 9000])
def test_tally_counts(n_rows):
    """9000 rows: more than are placed at a time."""
    rng = np.random.default_rng(10)
    n, batch_size, n_epochs, n_groups = 53, 10, 3, 4
    rows = rng.permutation(n_rows)
    weight = rng.random(n_rows) * (rng.random(n_rows) < 0.8)
    group = rng.integers(n_groups, size=n_rows)
    keys = _round_keys(5, n_epochs)

    count = np.zeros((n_epochs * 6, n_groups), np.int64)
    weights = np.zeros(count.shape)
    _kernels.shuffle.tally(
        rows, weight, group, *domain(n), keys, batch_size, count, weights
    )

    step = places(rows, n, keys) // batch_size + 6 * np.arange(n_epochs)[:, np.newaxis]
    expected, expected_weights = np.zeros_like(count), np.zeros_like(weights)
    for epoch in range(n_epochs):
        np.add.at(expected, (step[epoch], group), weight > 0)
        np.add.at(expected_weights, (step[epoch], group), weight)
    assert_array_equal(count, expected)
    assert_allclose(weights, expected_weights, rtol=1e-12)


# ---------------------------------------------------------------------------
# Without the compiler, without a cache, without Numba
# ---------------------------------------------------------------------------


def run_python(code, folder, **environment):
    """Run code in a fresh interpreter; return what it printed."""
    package = str(Path(skdeltagrad.__file__).parents[1])
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("NUMBA_")
    }
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=inherited | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def fit_and_unlearn(sparse_rows):
    """A little of everything: an edit of an edit, batches, classes, an intercept."""
    rng = np.random.default_rng(11)
    X = rng.normal(size=(60, 5))
    y = rng.integers(2 if sparse_rows else 3, size=60)
    X[np.arange(60), y] += 1.0
    if sparse_rows:
        X = sparse.csr_matrix(X * (X > -0.5))
    estimator = DeltaGradLogisticRegression(
        solver="sgd", batch_size=16, max_iter=8, random_state=0
    )
    estimator.fit(X, y)
    estimator.partial_unfit(position=[3, 5, 8])
    estimator.partial_refit(X[3:5], y[3:5])
    batches = estimator._engine.schedule.batches(estimator._training_set.table)
    dealt = [batches.at(step).tolist() for step in range(8)]
    return {
        "coef": np.column_stack([estimator.coef_, estimator.intercept_]).tolist(),
        "dealt": dealt,
    }


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """What an interpreter without the compiler finds, and what it warns of."""
    code = "\n".join(
        [
            "import json, sys, warnings",
            "import numba",
            "import numpy as np",
            "from scipy import sparse",
            "from skdeltagrad import DeltaGradLogisticRegression",
            inspect.getsource(fit_and_unlearn),
            "assert numba.config.DISABLE_JIT",
            "with warnings.catch_warnings(record=True) as caught:",
            "    warnings.simplefilter('always')",
            "    found = [fit_and_unlearn(kind) for kind in (False, True)]",
            "print(json.dumps([found, sorted({str(w.message) for w in caught})]))",
        ]
    )
    folder = tmp_path_factory.mktemp("interpreted")
    return json.loads(run_python(code, folder, NUMBA_DISABLE_JIT="1"))


@pytest.mark.parametrize("sparse_rows", [False, True])
def test_the_same_results_without_the_compiler(interpreted, sparse_rows):
    expected, found = fit_and_unlearn(sparse_rows), interpreted[0][sparse_rows]
    assert found["dealt"] == expected["dealt"]
    assert_allclose(found["coef"], expected["coef"], rtol=1e-12, atol=1e-12)


def test_no_overflow_without_the_compiler(interpreted):
    assert interpreted[1] == []


WITHOUT_A_PLACE_TO_CACHE = """
import tempfile
from pathlib import Path

import numba
import numpy as np
from numba.core import caching

implementation = caching.FunctionCache._impl_class
implementation._locator_classes = [
    locator
    for locator in implementation._locator_classes
    if "UserProvided" in locator.__name__
]
try:
    caching.FunctionCache(tempfile.mkdtemp)
except RuntimeError as error:
    assert "no locator available" in str(error)
else:
    raise AssertionError("there is a place to cache in")

from skdeltagrad import DeltaGradRidge

X = np.arange(20.0).reshape(10, 2) % 7
y = X @ [1.0, 2.0]
model = DeltaGradRidge(alpha=1e-3, fit_intercept=False).fit(X, y)
assert abs(model.coef_ - [1.0, 2.0]).max() < 0.01, model.coef_
assert numba.config.CACHE_DIR == "", numba.config.CACHE_DIR
assert any(Path(tempfile.gettempdir()).glob("skdeltagrad-*/**/*.nbi"))
"""


def test_a_fit_where_nothing_can_be_cached(tmp_path):
    run_python(WITHOUT_A_PLACE_TO_CACHE, tmp_path, TMPDIR=str(tmp_path))
    assert not list(tmp_path.iterdir())  # removed when the process ended


def test_two_threads_where_nothing_can_be_cached(monkeypatch):
    """The kernels are loaded by the first thread that asks, and by others as well."""
    import numba
    from numba.core import caching

    implementation = caching.FunctionCache._impl_class
    locators = implementation._locator_classes
    only = [locator for locator in locators if "UserProvided" in locator.__name__]
    monkeypatch.setattr(implementation, "_locator_classes", only)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    first_has_left, second_is_in = threading.Event(), threading.Event()
    failures = []

    def load_another():
        try:
            with _kernels._somewhere_to_cache():
                second_is_in.set()
                first_has_left.wait(10)
                caching.FunctionCache(_kernels._directory_of_this_process)
        except RuntimeError as error:
            failures.append(error)

    second = threading.Thread(target=load_another)
    with _kernels._somewhere_to_cache():
        second.start()
        second_is_in.wait(1)  # in vain, where one waits for the other
    first_has_left.set()
    second.join()
    assert not failures
    assert numba.config.CACHE_DIR == ""


def test_numba_is_not_imported_before_it_is_needed(tmp_path):
    run_python("import sys, skdeltagrad; assert 'numba' not in sys.modules", tmp_path)
