"""Losses as the objective sees them; their derivatives are in test_kernels.py."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdeltagrad import _kernels
from skdeltagrad._losses import BinomialLoss, HalfSquaredLoss, MultinomialLoss

LOSSES = [BinomialLoss(), MultinomialLoss(3), MultinomialLoss(5), HalfSquaredLoss(2)]


def targets(loss, n_slots, rng):
    if isinstance(loss, HalfSquaredLoss):
        return rng.normal(size=(n_slots, loss.n_outputs))
    return rng.integers(max(2, loss.n_outputs), size=n_slots)


def second_derivative(loss, raw, y):
    """Of the loss of one row, by central differences of the first."""
    h = 1e-5
    columns = []
    for shift in h * np.eye(loss.n_outputs):
        rows = np.array([raw + shift, raw - shift])
        slots = np.zeros(2, np.int64)
        loss.differentiate(rows, y, np.ones(1), slots)
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
    slots = rng.integers(6, size=9)
    y, weight = targets(loss, 6, rng), rng.random(6)
    raw = rng.normal(size=(9, loss.n_outputs))
    expected = raw.copy()
    kernel(expected, y, weight, slots)
    assert loss.differentiate(raw, y, weight, slots) is None
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
