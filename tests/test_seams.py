"""What a new loss needs: its derivatives and its facts, and nothing else.

Losses that the package does not know are given to its solvers by a subclass of an
estimator, which is all that this takes.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from sklearn.linear_model import PoissonRegressor

from skdeltagrad import DeltaGradRidge, inspection
from skdeltagrad._engine import Model
from skdeltagrad._estimators.targets import Targets
from skdeltagrad._objective.losses import AbstractLoss


class ExponentialLoss(AbstractLoss):
    """``exp(z) - y z``, in as few lines as it takes. It states no facts."""

    def differentiate(self, raw, y, weight, indices):
        raw[:] = weight[indices, np.newaxis] * (np.exp(raw) - y[indices])

    def evaluate(self, raw, y, weight, indices):
        total = np.sum(weight[indices, np.newaxis] * (np.exp(raw) - y[indices] * raw))
        self.differentiate(raw, y, weight, indices)
        return total

    def second_derivatives(self, raw, y):
        return np.exp(raw)[:, :, np.newaxis]

    def hessian_state(self, raw, y):
        return np.exp(raw)

    def hessian_product(self, along, state):
        along *= state


class WithLoss(DeltaGradRidge):
    """A model of one target and a loss of its own."""

    loss = None

    def _targets(self, y):
        model = Model(self.loss, np.full(1, float(self.alpha)))
        return Targets(y, np.ones(len(y)), model)


class Exponential(WithLoss):
    loss = ExponentialLoss(1)


def counts(n_rows, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, 3))
    return X, rng.poisson(np.exp(X @ [0.3, -0.2, 0.1] + 0.5)).astype(float)


@pytest.mark.parametrize("curvature", ["exact", "diagonal"])
@pytest.mark.parametrize("n_rows", [400, 20_000])
def test_a_loss_of_numbers_has_no_groups(n_rows, curvature):
    """A fit of many rows begins with a sample of them, drawn by group."""
    X, y = counts(n_rows)
    model = Exponential(curvature=curvature, tol=1e-10, edit_tol=1e-8).fit(X, y)
    model.unlearn(position=range(7))
    expected = PoissonRegressor(alpha=1.0 / (n_rows - 7), tol=1e-10, max_iter=1000)
    expected.fit(X[7:], y[7:])
    assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    assert_allclose(model.intercept_, expected.intercept_, rtol=1e-6)
    if curvature == "exact":
        assert "self-concordant" in model.update_report_.no_bound


def test_without_a_smoothness_constant_there_is_no_automatic_learning_rate():
    X, y = counts(400)
    with pytest.raises(ValueError, match=r'no learning_rate="auto" for this loss'):
        Exponential(solver="gd").fit(X, y)


# A loss whose second derivative depends on the target, and is zero in the tails.


class HuberLoss(AbstractLoss):
    """``r^2 / 2`` for residuals up to delta, and a line beyond."""

    delta = 1.35
    curvature_bound = 1.0
    gradient_bound = delta

    def differentiate(self, raw, y, weight, indices):
        raw -= y[indices]
        np.clip(raw, -self.delta, self.delta, out=raw)
        raw *= weight[indices, np.newaxis]

    def evaluate(self, raw, y, weight, indices):
        size = np.abs(raw - y[indices])
        inner = np.minimum(size, self.delta)
        total = np.sum(weight[indices, np.newaxis] * inner * (size - inner / 2))
        self.differentiate(raw, y, weight, indices)
        return total

    def second_derivatives(self, raw, y):
        return self.hessian_state(raw, y)[:, :, np.newaxis]

    def hessian_state(self, raw, y):
        return (np.abs(raw - y) <= self.delta).astype(float)

    def hessian_product(self, along, state):
        along *= state


class Huber(WithLoss):
    loss = HuberLoss(1)


def heavy_tailed(n_rows=600, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, 4))
    y = X @ [1.0, -2.0, 0.5, 0.0] + 3.0 + rng.standard_t(1.5, n_rows)
    return X, y, rng.uniform(0.5, 2.0, n_rows)


def huber_optimum(X, y, weight, alpha=1.0):
    """By SciPy."""
    design, delta = np.column_stack([X, np.ones(len(X))]), HuberLoss.delta

    def objective(w):
        residual = design @ w - y
        size = np.abs(residual)
        losses = np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))
        slope = design.T @ (weight * np.clip(residual, -delta, delta))
        slope[:-1] += alpha * w[:-1]
        return weight @ losses + alpha / 2 * w[:-1] @ w[:-1], slope

    found = minimize(
        objective, np.zeros(design.shape[1]), jac=True, method="BFGS",
        options={"gtol": 1e-7, "maxiter": 1000},
    )  # fmt: skip
    return found.x[:-1], found.x[-1]


def assert_optimal(model, *rows):
    coef, intercept = huber_optimum(*rows)
    assert_allclose(model.coef_, coef, rtol=0, atol=1e-6)
    assert_allclose(model.intercept_, intercept, rtol=0, atol=1e-6)


@pytest.mark.parametrize("curvature", ["exact", "diagonal"])
def test_huber_follows_its_optimum_without_a_certificate(curvature):
    X, y, weight = heavy_tailed()
    model = Huber(curvature=curvature, tol=1e-10, edit_tol=1e-8).fit(X, y, weight)
    assert_optimal(model, X, y, weight)
    model.unlearn(position=range(10))
    assert_optimal(model, X[10:], y[10:], weight[10:])
    assert model.update_report_.distance_bound is None
    if curvature == "exact":
        assert "self-concordant" in model.update_report_.no_bound
    model.partial_refit(X[:20], y[:20] + 1, sample_weight=weight[:20])
    model.partial_refit(remove_position=range(10, 100))
    left = np.r_[100:600, 0:20]
    y[:20] += 1
    assert_optimal(model, X[left], y[left], weight[left])
    model.purge()
    assert model.purged_ == "yes"
    assert_optimal(model, X[left], y[left], weight[left])


def test_models_without_a_row_of_huber_are_near_their_optima():
    X, y, weight = heavy_tailed(60)
    model = Huber(tol=1e-10).fit(X, y, weight)
    left = inspection.leave_one_out(model, return_coef=True)
    assert np.isinf(left.error).all()  # of which nothing is certain
    coef = [
        huber_optimum(*(np.delete(a, row, axis=0) for a in (X, y, weight)))[0]
        for row in range(60)
    ]
    moved = np.linalg.norm(coef - model.coef_)
    assert np.linalg.norm(left.coef - coef) < 0.2 * moved


@pytest.mark.parametrize("parameters", [{"edit_tol": 1e-5}, {"period": 5}], ids=str)
def test_huber_is_replayed(parameters):
    X, y, weight = heavy_tailed()
    model = Huber(solver="gd", max_iter=400, **parameters).fit(X, y, weight)
    assert_optimal(model, X, y, weight)
    model.unlearn(position=range(3))
    assert_optimal(model, X[3:], y[3:], weight[3:])


def test_huber_is_replayed_on_batches():
    X, y, weight = heavy_tailed()
    replayed, retrained = (
        Huber(
            solver="sgd", max_iter=40, batch_size=100, random_state=0, period=period
        ).fit(X, y, weight)
        for period in ("auto", 1)
    )
    before = replayed.coef_
    replayed.unlearn(position=range(3))
    retrained.unlearn(position=range(3))
    moved = np.linalg.norm(retrained.coef_ - before)
    assert np.linalg.norm(replayed.coef_ - retrained.coef_) < 0.02 * moved


@np.errstate(over="ignore", invalid="ignore")
def test_steps_that_overflow_lead_to_a_fit():
    """The curvature of an earlier edit is kept, and a step leads where exp is inf."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 2)), np.zeros(60)
    y[:3] = 1.0
    model = Exponential(alpha=1e-3, tol=1e-10).fit(X, y)
    model.partial_refit(X[:1], [1.0])
    model.partial_refit(X[:20], np.full(20, 1e4))
    assert model.update_report_.refit
    X, y = X[[*range(60), 0, *range(20)]], np.r_[y, 1.0, np.full(20, 1e4)]
    expected = PoissonRegressor(
        alpha=1e-3 / 81, tol=1e-6, max_iter=1000, solver="newton-cholesky"
    )
    expected.fit(X, y)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    assert_allclose(model.intercept_, expected.intercept_, rtol=1e-6)
