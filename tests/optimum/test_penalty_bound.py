"""The bound by the penalty's convexity, next to optima in extended precision."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad._data.storage import store
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import (
    BinomialLoss,
    HalfSquaredLoss,
    MultinomialLoss,
    PoissonLoss,
)
from skdeltagrad._optimum.newton import minimise
from skdeltagrad._optimum.penalty_bound import PenaltyBound, bound_at
from skdeltagrad._optimum.problem import Problem

LOSSES = {
    "two classes": BinomialLoss,
    "three classes": lambda: MultinomialLoss(3),
    "seven classes": lambda: MultinomialLoss(7),
    "counts": PoissonLoss,
    "three targets": lambda: HalfSquaredLoss(3),
}


class Case:
    """A small problem with heavy tails, rare classes and columns of all scales."""

    def __init__(self, name, seed, fit_intercept):
        rng = np.random.default_rng([seed, fit_intercept, *name.encode()])
        loss, self.rng = LOSSES[name](), rng
        n_rows, n_features = int(rng.integers(12, 60)), int(rng.integers(1, 7))
        X = rng.standard_t(3.0, (n_rows, n_features)) * 10.0 ** rng.uniform(-1, 0.5)
        X *= 10.0 ** rng.uniform(-1, 1, n_features) + rng.choice([0.0, 3.0])
        self.X = X
        n_groups = 1
        if loss.targets_are_classes:
            n_classes = max(2, loss.n_outputs)
            frequency = rng.dirichlet(np.full(n_classes, rng.choice([0.3, 5.0])))
            y = rng.choice(n_classes, n_rows, p=frequency)
            y[:n_classes] = np.arange(n_classes)
            n_groups = int(rng.choice([1, n_classes]))
        else:
            y = rng.poisson(2.0, (n_rows, loss.n_outputs)).astype(float)
            y[0] = 1.0
        self.y, weight = y, rng.choice([0.1, 1.0, 2.0], n_rows)
        group = y if n_groups > 1 else None
        factors = rng.uniform(0.2, 5.0, n_groups) if n_groups > 1 else np.ones(1)
        centre = np.average(X, axis=0, weights=weight) if fit_intercept else None
        objective = DataTerm(store(X), y, weight, loss, centre, group, n_groups)
        self.weight = weight * (factors[y] if n_groups > 1 else 1.0)
        alpha = np.full(loss.n_outputs, 10.0 ** rng.uniform(-1.5, 2.5))
        if loss.is_quadratic:
            alpha = 10.0 ** rng.uniform(-2, 2, loss.n_outputs)
        indices = np.arange(n_rows)
        self.problem = Problem(
            objective, alpha, factors, lambda: indices, self.weight.sum(), "exact"
        )
        self.design = X.astype(np.longdouble)
        if fit_intercept:
            self.design = np.column_stack([self.design - centre, np.ones(n_rows)])
        self.optimum = self._optimum()

    def gradient(self, w):
        """In the coordinates of the loss, in extended precision until there."""
        problem, loss = self.problem, self.problem.objective.loss
        raw = self.design @ w.T
        if isinstance(loss, BinomialLoss):
            residual = 1 / (1 + np.exp(-raw)) - self.y[:, np.newaxis]
        elif isinstance(loss, MultinomialLoss):
            residual = np.exp(raw - raw.max(axis=1, keepdims=True))
            residual /= residual.sum(axis=1, keepdims=True)
            own = np.arange(len(raw)), self.y
            residual[own] = 0.0
            residual[own] = -residual.sum(axis=1)
        elif isinstance(loss, PoissonLoss):
            residual = np.exp(raw) - self.y
        else:
            residual = raw - self.y
        data = (self.weight[:, np.newaxis] * residual).T @ self.design
        n_dof = problem.objective.n_dof
        penalty = problem.penalty.reshape(-1, n_dof)
        if len(penalty) < len(data):  # all outputs have the same
            penalty = np.tile(penalty[0], (len(data), 1))
        return problem.vectors((data + penalty * w).astype(float))

    def _optimum(self):
        problem = self.problem
        w = minimise(problem, problem.origin, 1e-12, 200).iterate
        hessian, w = problem.hessian(w), w.astype(np.longdouble)
        for _ in range(4):
            w = w - problem.by_output(hessian.solve(self.gradient(w)))
        return w

    def near(self):
        """An iterate at a random distance, in a direction that is hard in some way."""
        problem, rng = self.problem, self.rng
        hessian = problem.hessian(self.optimum.astype(float))
        kind, shape = rng.integers(4), problem.penalty.shape
        direction = rng.standard_normal(shape)
        if kind == 1:  # little curvature
            direction = hessian.solve(hessian.solve(direction))
        elif kind == 2:  # much
            direction = hessian.product(hessian.product(direction))
        elif kind == 3 and problem.objective.fit_intercept:
            blocks = direction.reshape(-1, problem.objective.n_dof)
            blocks[:, :-1] = 0.0
        length = 10.0 ** rng.uniform(-4.0, 0.0)
        length /= rng.choice([1.0, 10.0])
        direction *= length / hessian.norm(direction)
        return self.optimum.astype(float) + problem.by_output(direction)

    def true_distance(self, iterate, place):
        """The distance from the optimum in the norm of the Hessian at a place."""
        away = self.problem.vectors((iterate - self.optimum).astype(float))
        return self.problem.hessian(place).norm(away)

    def true_decision(self, iterate):
        """Of all rows, the largest change of a decision value."""
        raw = (self.design @ (iterate - self.optimum).T).astype(float)
        return self.problem.objective.loss.ranges(raw).max()


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_the_optimum_is_never_farther_than_the_bound(name, fit_intercept):
    ratios = []
    for seed in range(60):
        case = Case(name, seed, fit_intercept)
        problem = case.problem
        for _ in range(5):
            iterate, place = case.near(), case.near()
            if case.rng.random() < 0.5:
                place = iterate
            measured = problem.measure(iterate, place)
            lower, no_bound = PenaltyBound.at(problem.products(place))
            if lower is None:
                assert no_bound
                continue
            gradient = problem.gradient(measured.gradient_sums, iterate)
            bound, no_bound = lower.bound(gradient, measured, iterate)
            if bound is None:
                assert "too large" in no_bound
                continue
            distance = case.true_distance(iterate, place)
            ratios.append(distance / bound.distance)
            assert distance <= bound.distance * (1.0 + 1e-9)
            assert case.true_decision(iterate) <= bound.decision * (1.0 + 1e-9)
    assert len(ratios) > 100
    assert np.max(ratios) > 0.5  # a bound that is always far too large tells nothing


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_the_norm_and_the_leverages_are_those_of_a_matrix_below_the_hessian(
    name, fit_intercept
):
    """Against B as a matrix, made by (1) of the module's docstring."""
    n_compared = 0
    for seed in range(10):
        case = Case(name, seed, fit_intercept)
        problem, place = case.problem, case.optimum.astype(float)
        lower, _ = PenaltyBound.at(problem.products(place))
        if lower is None or len(problem.penalty) > 1:
            continue
        hessian = problem.hessian(place)
        n_dof, n_features = problem.objective.n_dof, problem.objective.n_features
        order = problem.penalty.size
        full = np.array([hessian.product(e[np.newaxis])[0] for e in np.eye(order)])
        data, matrix = full - np.diag(problem.penalty[0]), np.diag(problem.penalty[0])
        if fit_intercept:
            of_intercepts = np.arange(order) % n_dof == n_features
            d_00 = data[np.ix_(of_intercepts, of_intercepts)]
            rows = data[of_intercepts]
            matrix += rows.T @ np.linalg.solve(d_00, rows)
        smallest = np.linalg.eigvalsh(full - matrix)[0]
        assert smallest >= -1e-9 * np.linalg.norm(full, 2)
        vectors = case.rng.standard_normal(problem.penalty.shape)
        norm = np.sqrt(vectors[0] @ np.linalg.solve(matrix, vectors[0]))
        assert_allclose(lower.dual_norm(vectors), norm, rtol=1e-6)
        loss = problem.objective.loss
        X = problem.objective.extended(problem.indices)
        for contrast in loss.contrasts():
            functionals = np.einsum("c,ij->icj", contrast, X).reshape(len(X), -1)
            squares = np.sum(functionals.T * np.linalg.solve(matrix, functionals.T), 0)
            assert np.sqrt(squares.max()) <= lower.leverage * (1.0 + 1e-9)
        n_compared += 1
    assert n_compared >= 5 or name == "three targets"


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_the_norm_by_some_rows_is_never_below_that_of_the_hessian(name, fit_intercept):
    n_compared = 0
    for seed in range(40):
        case = Case(name, seed, fit_intercept)
        problem, place = case.problem, case.optimum.astype(float)
        lower, _ = PenaltyBound.at(problem.products(place))
        if lower is None:
            continue
        hessian = problem.hessian(place)
        vectors = case.rng.standard_normal(problem.penalty.shape)
        for v in (vectors, hessian.product(vectors), hessian.solve(vectors)):
            norm = hessian.dual_norm(v)
            assert norm <= lower.subset_dual_norm(v) * (1.0 + 1e-9)
            n_compared += 1
    assert n_compared >= 60


def test_where_the_data_decide_some_rows_are_better_than_the_penalty():
    X, y, rng = _rows(n_rows=4000)
    loss, n_rows = MultinomialLoss(3), len(X)
    weight = np.ones(n_rows)
    objective = DataTerm(store(X), y, weight, loss, X.mean(axis=0))
    problem = Problem(
        objective, np.full(3, 0.1), np.ones(1), lambda: np.arange(n_rows), n_rows,
        "diagonal",
    )  # fmt: skip
    place = np.zeros(objective.shape)
    lower, _ = PenaltyBound.at(problem.products(place))
    hessian = problem.hessian(place)
    vectors = hessian.product(rng.standard_normal(problem.penalty.shape))
    norm = hessian.dual_norm(vectors)
    # A row in eight is used, and the system is solved to a tenth.
    assert norm <= lower.subset_dual_norm(vectors) <= 1.2 * np.sqrt(8.0) * norm
    assert lower.dual_norm(vectors) > 10.0 * norm


def _rows(n_rows=400, n_features=8):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, n_features)) * np.logspace(0, -1, n_features)
    return X, np.argmax(X[:, :3] + rng.gumbel(size=(n_rows, 3)), axis=1), rng


ESTIMATORS = {
    "classes": DeltaGradLogisticRegression(),
    "no intercept": DeltaGradLogisticRegression(fit_intercept=False),
    "balanced": DeltaGradLogisticRegression(class_weight="balanced"),
    "standardised": DeltaGradLogisticRegression(standardize=True),
    "counts": DeltaGradPoissonRegressor(),
    "targets": DeltaGradRidge(alpha=[0.3, 4.0]),
}


@pytest.mark.parametrize("curvature", ["subset", "kronecker", "diagonal"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_fits_edits_and_purges_have_bounds(name, curvature):
    X, y, rng = _rows()
    if name == "targets":
        y = X @ rng.standard_normal((8, 2)) + rng.standard_normal((400, 2))
    model = ESTIMATORS[name].set_params(curvature=curvature).fit(X, y)
    edits = [
        lambda: model,
        lambda: model.unlearn(position=range(3)),
        lambda: model.partial_refit(X[:10], y[:10]),
        lambda: model.partial_refit(X[5:6], y[6:7], position=[5], replace=True),
        lambda: model.purge(),
    ]
    for edit in edits:
        edit()
        report, engine = model.update_report_, model._engine
        assert report.no_bound is None
        if report.change_bound is not None:
            assert report.change_bound <= model.edit_tol
        training_set, table = model._training_set, model._training_set.table
        indices = table.live_indices()
        by_group = engine.model.data_term(training_set).weight_by_group(indices)
        problem = Problem.of(
            engine.model, training_set, by_group, "exact", lambda i=indices: i
        )
        optimum = minimise(problem, engine.iterate, 1e-13, 50).iterate
        away = problem.vectors(engine.iterate - optimum)
        # In the norm at the optimum, which the short step hardly changes.
        distance = problem.hessian(optimum).norm(away)
        assert distance <= 1.1 * report.distance_bound + 1e-10


def test_without_a_penalty_there_is_no_bound():
    X, y, _ = _rows()
    model = DeltaGradRidge(alpha=0.0, curvature="diagonal").fit(X, y)
    model.unlearn(position=0)
    assert model.update_report_.distance_bound is None
    assert "penalty is zero" in model.update_report_.no_bound


def test_a_tiny_penalty_does_not_make_edits_expensive():
    X, y, _ = _rows()
    passes = []
    for C in (1.0, 1e8):
        model = DeltaGradLogisticRegression(C=C, curvature="diagonal").fit(X, y > 0)
        model.unlearn(position=0)
        assert not model.update_report_.refit
        passes.append(model.update_report_.n_passes)
    assert passes[1] <= 4.0 * passes[0]


def test_a_bound_where_the_gradient_was_measured():
    case = Case("two classes", 3, True)
    problem, iterate = case.problem, case.optimum.astype(float)
    bound, no_bound = bound_at(problem, problem.measure(iterate), iterate)
    assert no_bound is None
    # What is left is rounding, which is bounded, too.
    assert case.true_distance(iterate, iterate) <= bound.distance < 1e-9
