"""Losses as the objective sees them; their derivatives are in test_kernels.py."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, xlogy

from skdeltagrad import _kernels
from skdeltagrad._objective.losses import (
    BinomialLoss,
    HalfSquaredLoss,
    MultinomialLoss,
    PoissonLoss,
)

LOSSES = [BinomialLoss(), MultinomialLoss(3), MultinomialLoss(5), HalfSquaredLoss(2)]
LOG_LOSSES = LOSSES[:3]
MULTINOMIAL = LOSSES[1:3]
SCALES = [0.01, 1.0, 10.0, 800.0]


def targets(loss, n_stored, rng):
    if isinstance(loss, HalfSquaredLoss):
        return rng.normal(size=(n_stored, loss.n_outputs))
    return rng.integers(max(2, loss.n_outputs), size=n_stored)


def losses_of_rows(loss, raw, y):
    """Plain formulas, one number for each row."""
    if isinstance(loss, HalfSquaredLoss):
        return ((raw - y) ** 2).sum(axis=1) / 2
    if isinstance(loss, BinomialLoss):
        return np.logaddexp(0, raw[:, 0]) - y * raw[:, 0]
    return logsumexp(raw, axis=1) - raw[np.arange(len(y)), y]


def by_output(loss, curvature):
    """``Q C Q'``, a row's second derivative in the outputs."""
    if not loss.couples_outputs:
        return curvature[0, 0] * np.eye(loss.n_outputs)
    return loss.to_outputs(loss.to_outputs(curvature).T)


def second_derivative(loss, raw, y):
    """Of the loss of one row, by central differences of the first."""
    h = 1e-5
    columns = []
    for shift in h * np.eye(loss.n_outputs):
        rows = np.array([raw + shift, raw - shift])
        indices = np.zeros(2, np.int64)
        loss.differentiate(rows, y, np.ones(1), indices)
        columns.append((rows[0] - rows[1]) / (2 * h))
    return np.array(columns)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_each_loss_has_its_kernel(loss):
    rng = np.random.default_rng(0)
    kernel = {
        BinomialLoss: _kernels.losses.binomial,
        MultinomialLoss: _kernels.losses.multinomial,
        HalfSquaredLoss: _kernels.losses.half_squared,
    }[type(loss)]
    indices = rng.integers(6, size=9)
    y, weight = targets(loss, 6, rng), rng.random(6)
    raw = rng.normal(size=(9, loss.n_outputs))
    expected = raw.copy()
    kernel(expected, y, weight, indices)
    assert loss.differentiate(raw, y, weight, indices) is None
    assert_array_equal(raw, expected)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_the_curvature_bound_holds(loss):
    rng = np.random.default_rng(1)
    for scale in (0.01, 1.0, 10.0):
        for _ in range(50):
            raw = scale * rng.normal(size=loss.n_outputs)
            hessian = second_derivative(loss, raw, targets(loss, 1, rng))
            assert np.linalg.eigvalsh(hessian)[-1] <= loss.curvature_bound + 1e-8


@pytest.mark.parametrize(
    ("loss", "raw"),
    [
        (BinomialLoss(), [0.0]),
        # Two classes equally likely, the others out of the question.
        (MultinomialLoss(3), [0.0, 0.0, -40.0]),
        (MultinomialLoss(5), [0.0, -40.0, -40.0, 0.0, -40.0]),
        (HalfSquaredLoss(2), [1.0, -3.0]),
    ],
)
def test_the_curvature_bound_is_reached(loss, raw):
    y = np.zeros((1, loss.n_outputs))
    y = y if isinstance(loss, HalfSquaredLoss) else np.zeros(1, np.int64)
    hessian = second_derivative(loss, np.array(raw), y)
    assert_allclose(np.linalg.eigvalsh(hessian)[-1], loss.curvature_bound, rtol=1e-7)


def test_numbers_of_outputs():
    assert [loss.n_outputs for loss in LOSSES] == [1, 3, 5, 2]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_evaluate_sums_the_losses_and_differentiates(loss, scale):
    """Rows come out of order, one of them twice, one with a weight of 0."""
    rng = np.random.default_rng(2)
    indices = rng.integers(8, size=40)
    y, weight = targets(loss, 8, rng), rng.random(8)
    weight[indices[0]] = 0
    raw = scale * rng.choice([-1.0, 1.0, 0.3], size=(40, loss.n_outputs))
    expected = weight[indices] @ losses_of_rows(loss, raw, y[indices])
    derivative = raw.copy()
    loss.differentiate(derivative, y, weight, indices)

    found = loss.evaluate(raw, y, weight, indices)

    assert np.isfinite(raw).all()
    assert_allclose(found, expected, rtol=1e-13)
    assert_allclose(raw, derivative, rtol=1e-15)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_no_rows_have_no_loss(loss):
    nobody = np.zeros(0, np.int64)
    y = targets(loss, 3, np.random.default_rng(0))
    assert loss.evaluate(np.empty((0, loss.n_outputs)), y, np.ones(3), nobody) == 0.0


@pytest.mark.parametrize("z", [1.0, 40.0, 700.0])
def test_the_loss_of_a_certain_row_is_not_rounded_away(z):
    """log(1 + exp(-z)) keeps all its digits where 1 + exp(-z) is 1."""
    y, index = np.array([1]), np.zeros(1, np.int64)
    found = BinomialLoss().evaluate(np.array([[z]]), y, np.ones(1), index)
    assert_allclose(found, np.log1p(np.exp(-z)), rtol=1e-14)
    found = BinomialLoss().evaluate(np.array([[-z]]), 1 - y, np.ones(1), index)
    assert_allclose(found, np.log1p(np.exp(-z)), rtol=1e-14)


@pytest.mark.parametrize("loss", LOG_LOSSES, ids=lambda loss: type(loss).__name__)
def test_the_derivative_is_that_of_the_loss(loss):
    rng = np.random.default_rng(3)
    y, index, weight = targets(loss, 1, rng), np.zeros(1, np.int64), np.array([1.7])
    raw = rng.normal(size=loss.n_outputs)

    def value(shift):
        return loss.evaluate((raw + shift)[np.newaxis], y, weight, index)

    derivative = raw[np.newaxis].copy()
    loss.differentiate(derivative, y, weight, index)
    h = 1e-5 * np.eye(loss.n_outputs)
    expected = [(value(shift) - value(-shift)) / 2e-5 for shift in h]
    assert_allclose(derivative[0], expected, atol=1e-9)


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_curvatures_by_finite_differences(loss, scale):
    rng = np.random.default_rng(4)
    raw = scale * rng.normal(size=(20, loss.n_outputs))
    y = targets(loss, 1, rng)
    m = loss.n_coordinates if loss.couples_outputs else 1
    curvatures = loss.second_derivatives(raw, np.repeat(y, 20, axis=0))
    assert curvatures.shape == (20, m, m)
    assert_allclose(curvatures, curvatures.swapaxes(1, 2), rtol=0, atol=1e-16)
    for row, curvature in zip(raw, curvatures, strict=True):
        hessian = second_derivative(loss, row, y)
        assert_allclose(by_output(loss, curvature), hessian, atol=1e-8)
        if not loss.is_quadratic:
            turned = loss.to_coordinates(loss.to_coordinates(hessian).T)
            assert_allclose(curvature, turned, atol=1e-8)


@pytest.mark.parametrize("loss", LOG_LOSSES, ids=lambda loss: type(loss).__name__)
def test_curvatures_at_extreme_predictions(loss):
    rng = np.random.default_rng(5)
    raw = 800 * rng.choice([-1.0, 1.0], size=(30, loss.n_outputs))
    y = targets(loss, 30, rng)
    values = np.linalg.eigvalsh(loss.second_derivatives(raw, y))
    assert np.isfinite(values).all()
    assert values.min() >= -1e-15
    assert values.max() <= loss.curvature_bound + 1e-15


@pytest.mark.parametrize("z", [-700.0, -40.0, -1.0, 0.0, 1.0, 40.0, 700.0])
def test_binomial_curvature_without_cancellation(z):
    small = np.exp(-abs(z))
    found = BinomialLoss().second_derivatives(np.array([[z]]), np.zeros(1, int))
    assert_allclose(found, small / (1 + small) ** 2, rtol=1e-14)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_the_hessian_product_is_the_second_derivative_times_a_direction(loss, scale):
    rng = np.random.default_rng(6)
    raw, along = rng.normal(size=(2, 20, loss.n_outputs))
    raw *= scale
    y = targets(loss, 20, rng)
    curvatures = loss.second_derivatives(raw, y)
    state = loss.hessian_state(raw, y)
    before = state.copy()
    expected = [
        by_output(loss, curvature) @ direction
        for curvature, direction in zip(curvatures, along, strict=True)
    ]
    assert loss.hessian_product(along, state) is None
    assert state.shape == raw.shape
    assert_array_equal(state, before)
    assert_allclose(along, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n_outputs", [3, 4, 5, 30])
def test_the_basis_is_orthonormal_and_sees_no_sums(n_outputs):
    loss = MultinomialLoss(n_outputs)
    basis = loss.to_outputs(np.eye(n_outputs - 1))
    assert loss.n_coordinates == n_outputs - 1
    assert basis.shape == (n_outputs, n_outputs - 1)
    assert_allclose(basis.T @ basis, np.eye(n_outputs - 1), atol=1e-14)
    assert_allclose(basis.sum(axis=0), 0, atol=1e-14)
    assert_allclose(loss.to_coordinates(np.eye(n_outputs)), basis.T, rtol=1e-15)


@pytest.mark.parametrize("shape", [(), (7,), (2, 3)])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_coordinates_there_and_back(loss, shape):
    rng = np.random.default_rng(7)
    there = rng.normal(size=(loss.n_coordinates, *shape))
    outputs = loss.to_outputs(there)
    assert outputs.shape == (loss.n_outputs, *shape)
    assert_allclose(loss.to_coordinates(outputs), there, rtol=1e-13, atol=1e-14)
    given = rng.normal(size=(loss.n_outputs, *shape))
    back = loss.to_outputs(loss.to_coordinates(given))
    lost = given.mean(axis=0) if isinstance(loss, MultinomialLoss) else 0.0
    assert_allclose(back, given - lost, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("loss", MULTINOMIAL, ids=lambda loss: f"{loss.n_outputs}")
def test_contrasts_are_all_pairs_of_classes(loss):
    n_outputs = loss.n_outputs
    expected = [
        np.eye(n_outputs)[j] - np.eye(n_outputs)[k]
        for j in range(n_outputs)
        for k in range(j + 1, n_outputs)
    ]
    contrasts = loss.contrasts()
    assert contrasts.shape == (n_outputs * (n_outputs - 1) // 2, n_outputs - 1)
    assert_allclose(loss.to_outputs(contrasts.T).T, expected, atol=1e-14)


def test_a_single_output_is_its_own_contrast():
    for loss in (BinomialLoss(), HalfSquaredLoss(1)):
        assert_array_equal(loss.contrasts(), [[1.0]])


@pytest.mark.parametrize("loss", LOG_LOSSES, ids=lambda loss: type(loss).__name__)
def test_ranges_are_the_largest_contrasts(loss):
    raw = np.random.default_rng(8).normal(size=(20, loss.n_outputs))
    along = loss.contrasts() @ loss.to_coordinates(raw.T)
    ranges = loss.ranges(raw)
    assert_allclose(ranges, abs(along).max(axis=0), rtol=1e-13)
    if isinstance(loss, MultinomialLoss):
        assert_allclose(loss.ranges(raw + 3.0), ranges, rtol=1e-13)


def test_ranges_of_many_targets():
    raw = np.array([[1.0, -3.0, 2.0], [0.0, 0.0, 0.0], [5.0, 4.0, -1.0]])
    assert_array_equal(HalfSquaredLoss(3).ranges(raw), [3.0, 0.0, 5.0])


def test_second_derivatives_of_a_few_rows_take_memory_for_these_rows_only():
    loss = MultinomialLoss(200)
    raw = np.random.default_rng(0).standard_normal((2, 200))
    tracemalloc.start()
    curvatures = loss.second_derivatives(raw, np.zeros(2, np.int64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * curvatures.nbytes


# Counts.


def poisson(n_rows, seed=0):
    rng = np.random.default_rng(seed)
    raw = rng.uniform(-5.0, 5.0, (n_rows, 1))
    y = rng.poisson(np.exp(raw)).astype(float)
    return raw, y, rng.uniform(0.5, 2.0, n_rows), rng.permutation(n_rows)


def test_the_poisson_loss_is_half_the_deviance_and_the_target():
    raw, y, weight, indices = poisson(200)
    mean, target = np.exp(raw[:, 0]), y[indices, 0]
    deviance = 2.0 * (xlogy(target, target / mean) - target + mean)
    expected = weight[indices] @ (deviance / 2.0 + target)
    found, derivative = raw.copy(), raw.copy()
    assert_allclose(
        PoissonLoss().evaluate(found, y, weight, indices), expected, rtol=1e-12
    )
    PoissonLoss().differentiate(derivative, y, weight, indices)
    assert_array_equal(found, derivative)
    assert_allclose(found[:, 0], weight[indices] * (mean - target), rtol=1e-12)


def test_second_derivatives_of_the_poisson_loss_are_means():
    raw, y, _, _ = poisson(50)
    loss = PoissonLoss()
    found = loss.second_derivatives(raw, y)
    assert_allclose(found, np.exp(raw)[:, :, np.newaxis])
    for row, of_row in zip(raw, found, strict=True):
        assert_allclose(of_row, second_derivative(loss, row, y[:1]), rtol=1e-7)
    along = np.ones_like(raw)
    loss.hessian_product(along, loss.hessian_state(raw, y))
    assert_allclose(along, found[:, 0])


def test_the_poisson_loss_of_a_mean_that_overflows():
    """Infinite, and nothing for a row of no weight; never NaN."""
    loss, weight, indices = PoissonLoss(), np.array([1.0, 0.0]), np.arange(2)
    y = np.full((2, 1), 3.0)
    raw = np.full((2, 1), 800.0)
    assert loss.evaluate(raw[:1].copy(), y, weight, indices[:1]) == np.inf
    assert loss.evaluate(raw[1:].copy(), y, weight, indices[1:]) == 0.0
    derivative = raw.copy()
    loss.differentiate(derivative, y, weight, indices)
    assert derivative.tolist() == [[np.inf], [0.0]]
    assert np.isfinite(loss.second_derivatives(raw, y)).all()


def test_facts_of_the_poisson_loss():
    loss = PoissonLoss()
    assert loss.curvature_bound is loss.gradient_bound is None
    assert not (loss.is_quadratic or loss.couples_outputs or loss.targets_are_classes)
    _, y, weight, _ = poisson(200)
    mean = np.average(y[:, 0], weights=weight)
    assert_allclose(np.exp(loss.constant_prediction(mean)), mean)
    y[::2], weight[1] = 0.0, 0.0
    kinds = loss.essential_kinds(y, weight, has_intercept=True)
    assert_array_equal(kinds >= 0, (y[:, 0] > 0) & (weight > 0))
    assert loss.essential_kinds(y, weight, has_intercept=False) is None
