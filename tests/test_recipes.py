"""The recipes of the contributing page, carried out: the page shows code from here."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradPoissonRegressor
from skdeltagrad._data.edit import NO_EDIT
from skdeltagrad._engine import AbstractEngine, Model
from skdeltagrad._estimators import editing, poisson
from skdeltagrad._objective.losses import AbstractLoss


class PlainPoissonLoss(AbstractLoss):
    """``exp(z) - y z``: Poisson deviance without the terms of y alone."""

    self_concordance = 1.0  # l''' = l'', so |l'''| <= 1 l''
    curvature_bound = None  # exp(z) is unbounded
    gradient_bound = None  # so is exp(z) - y
    # is_quadratic, couples_outputs and targets_are_classes are False, as by default

    def differentiate(self, raw, y, weight, indices):
        raw[:] = weight[indices, np.newaxis] * (np.exp(raw) - y[indices])

    def evaluate(self, raw, y, weight, indices):
        losses = np.exp(raw) - y[indices] * raw
        self.differentiate(raw, y, weight, indices)
        return weight[indices] @ losses.sum(axis=1)

    def second_derivatives(self, raw, y):
        return np.exp(raw)[:, :, np.newaxis]

    def hessian_state(self, raw, y):
        return np.exp(raw)

    def hessian_product(self, along, state):
        along *= state


def test_add_a_loss(monkeypatch):
    """The estimator of the package, with the loss of the page."""
    X, y = load_diabetes(return_X_y=True)
    X = scale(X)
    compiled = DeltaGradPoissonRegressor(tol=1e-10, edit_tol=1e-8).fit(X, y)
    monkeypatch.setattr(poisson, "PoissonLoss", lambda: PlainPoissonLoss(1))
    plain = DeltaGradPoissonRegressor(tol=1e-10, edit_tol=1e-8).fit(X, y)
    assert isinstance(plain._engine.model.loss, PlainPoissonLoss)
    for model in (compiled, plain):
        model.unlearn(position=range(10))
    assert_allclose(plain.coef_, compiled.coef_, rtol=1e-9)
    expected = PoissonRegressor(
        alpha=1.0 / (len(y) - 10), solver="newton-cholesky", tol=1e-10
    ).fit(X[10:], y[10:])
    assert_allclose(plain.coef_, expected.coef_, rtol=1e-6)


@dataclass(frozen=True)
class WarmStart(AbstractEngine):
    """An optimum that is found again after every edit, starting from the last one."""

    model: Model
    iterate: np.ndarray | None = None
    total_weight: float = 0.0
    n_counting: int = 0
    converged: bool = True
    facts: dict = field(default_factory=dict)

    keeps_path = False
    random_seed = None

    @classmethod
    def untrained(cls, settings, model, training_set, seed):
        return cls(model)

    def fit(self, training_set, edit=NO_EDIT):
        origin = np.zeros(self.model.data_term(training_set).shape)
        return self._minimised(training_set, edit, origin)

    def edited(self, training_set, edit, settings):
        return self._minimised(training_set, edit, self.iterate)

    def adapted(self, model, training_set, settings, edit=NO_EDIT):
        return replace(self, model=model)

    def prepared(self, training_set, settings):
        return self

    def plan(self, training_set, edit, settings, is_refit):
        return {"n_passes": self.facts["n_passes"]}

    def purged(self, training_set, settings, exact):
        return self.fit(training_set), None

    def summary(self):
        return self.facts

    def attributes(self):
        return {}

    @property
    def nbytes(self):
        return self.iterate.nbytes

    def _minimised(self, training_set, edit, start):
        """Minimise over the rows that stay, and those of the edit that join."""
        data_term, table = self.model.data_term(training_set), training_set.table
        indices = np.concatenate([table.live_indices(), edit.added])
        penalty = np.zeros(data_term.shape)
        penalty[:, : data_term.n_features] = self.model.alpha[:, np.newaxis]

        def objective(flat):
            iterate = flat.reshape(start.shape)
            measured = data_term.measure(iterate, indices)
            value = measured.loss_sums[0] + 0.5 * np.sum(penalty * iterate**2)
            return value, (measured.gradient_sums[0] + penalty * iterate).ravel()

        found = minimize(objective, start.ravel(), jac=True, tol=1e-10)
        weight = table.weight[indices]
        return replace(
            self, iterate=found.x.reshape(start.shape),
            total_weight=weight.sum(), n_counting=np.count_nonzero(weight),
            facts={"n_passes": float(found.nfev), "n_hessians": 0.0},
        )  # fmt: skip


@pytest.fixture
def warm_starts(monkeypatch):
    monkeypatch.setitem(editing.ENGINES, "newton", WarmStart)


def test_add_a_solver(warm_starts):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)[:200]
    y = y[:200]
    model = DeltaGradLogisticRegression().fit(X, y)
    assert isinstance(model._engine, WarmStart)
    n_passes = model.update_report_.n_passes

    def expected(X, y):
        return LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(X, y)

    assert_allclose(model.coef_, expected(X, y).coef_, atol=1e-5)
    assert model.plan_unfit(position=[0]).n_passes == n_passes
    model.unlearn(position=range(5))
    assert_allclose(model.coef_, expected(X[5:], y[5:]).coef_, atol=1e-5)
    assert model.update_report_.n_passes < n_passes
    model.partial_refit(X[:5], y[:5])
    assert_allclose(model.coef_, expected(X, y).coef_, atol=1e-5)


def test_a_purge_of_the_new_solver_depends_on_the_rows_alone(warm_starts):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=range(5)).purge()
    assert model.purged_ == "yes"
    expected = DeltaGradLogisticRegression().fit(X[5:], y[5:])
    assert_allclose(model.coef_, expected.coef_, atol=1e-5)
