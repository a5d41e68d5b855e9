"""The Hessian of a sample of the rows as preconditioner, and what is kept of it."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad._data.storage import store
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import MultinomialLoss
from skdeltagrad._optimum.problem import Problem
from skdeltagrad._optimum.subset import Subset


def _rows(n_rows, n_features=20, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features)) * np.logspace(0, -1, n_features)
    X[:, 1] += X[:, 0]
    return X, np.argmax(X[:, :3] + rng.gumbel(size=(n_rows, 3)), axis=1), rng


def _problem(n_rows, alpha=1.0):
    X, y, rng = _rows(n_rows)
    weight = rng.choice([0.5, 2.0], n_rows)
    objective = DataTerm(store(X), y, weight, MultinomialLoss(3), X.mean(axis=0))
    return Problem(
        objective, np.full(3, alpha), np.ones(1), lambda: np.arange(n_rows),
        weight.sum(), "subset",
    )  # fmt: skip


def test_of_few_rows_all_are_taken():
    problem = _problem(15)
    iterate = np.full(problem.objective.shape, 0.1)
    vectors = np.random.default_rng(1).standard_normal(problem.penalty.shape)
    exact = problem.hessian(iterate).solve(vectors)
    # In single precision, and with something added to the diagonal.
    assert_allclose(Subset(problem, iterate).solve(vectors), exact, rtol=0.01)


def test_of_many_rows_the_mean_is_near():
    problem = _problem(20_000)
    iterate = np.zeros(problem.objective.shape)
    hessian, subset = problem.hessian(iterate), Subset(problem, iterate)
    ratios = []
    for vectors in np.random.default_rng(2).standard_normal((20, 1, 42)):
        squared_norm = np.sum(vectors * subset.solve(vectors))
        ratios.append(squared_norm / hessian.dual_norm(vectors) ** 2)
    assert np.min(ratios) > 0.3
    assert np.max(ratios) < 3.0


@pytest.mark.parametrize("size", [1e-40, 1.0, 1e40])
def test_sizes_beyond_single_precision(size):
    problem = _problem(200)
    subset = Subset(problem, np.zeros(problem.objective.shape))
    vectors = np.random.default_rng(3).standard_normal(problem.penalty.shape)
    expected = size * subset.solve(vectors)
    assert_allclose(subset.solve(size * vectors), expected, rtol=1e-4)
    assert_array_equal(subset.solve(0.0 * vectors), 0.0 * vectors)


def test_it_is_made_once_and_is_in_no_dump_or_copy():
    X, y, _ = _rows(2000)
    model = DeltaGradLogisticRegression(curvature="subset").fit(X, y)
    kept = model._engine.recycled.preconditioner
    model.unlearn(position=range(20))
    assert model._engine.recycled.preconditioner is kept
    assert model.update_report_.change_bound <= model.edit_tol
    others = pickle.loads(pickle.dumps(model)), deepcopy(model)
    model.unlearn(position=range(20, 30))
    for other in others:
        assert other._engine.recycled is None
        other.unlearn(position=range(20, 30))
        distance = np.linalg.norm(other.coef_ - model.coef_)
        assert distance <= 0.02 * np.linalg.norm(model.coef_)
        assert other._engine.recycled.preconditioner is not None
    # What removed rows were part of is made again.
    model.purge()
    assert model._engine.recycled.preconditioner is not kept


def test_a_matrix_that_is_too_large_is_refused_before_the_fit():
    X = np.ones((3, 10_001))
    model = DeltaGradLogisticRegression(curvature="subset")
    with pytest.raises(ValueError, match=r'"subset".* order 10,002'):
        model.fit(X, [0, 1, 0])


def test_the_same_rows_give_the_same_model():
    X, y, _ = _rows(3000)
    models = [
        DeltaGradLogisticRegression(curvature="subset").fit(X, y).unlearn(position=7)
        for _ in range(2)
    ]
    assert_array_equal(models[0].coef_, models[1].coef_)


class _Reference:
    """The optimum of all rows that are left, by Newton's method in extended precision.

    Two classes have one output, and several one for each.
    """

    def __init__(self, model, X, y, weight, balanced):
        self.weight = weight.astype(np.longdouble)
        if balanced:
            by_class = np.bincount(y, weight)
            self.weight *= (by_class.sum() / (len(by_class) * by_class))[y]
        self.design = np.column_stack([X, np.ones(len(X))]).astype(np.longdouble)
        self.targets = (y[:, np.newaxis] == np.arange(y.max() + 1)).astype(float)
        if self.targets.shape[1] == 2:
            self.targets = self.targets[:, 1:]
        self.penalty = np.append(np.full(X.shape[1], 1.0 / model.C), 0.0)
        self.optimum = self.of(model).astype(np.longdouble)
        for _ in range(60):
            step = np.linalg.lstsq(
                self.hessian, self._gradient.astype(float).ravel(), rcond=1e-14
            )[0].reshape(self.optimum.shape)
            largest = np.abs(self.design @ step.T).max()
            self.optimum = self.optimum - step / max(1.0, largest)
            if largest < 1e-16:
                break
        assert largest < 1e-12

    @staticmethod
    def of(model):
        return np.column_stack([model.coef_, model.intercept_])

    @property
    def _probability(self):
        raw = self.design @ self.optimum.T
        if raw.shape[1] == 1:
            return 1.0 / (1.0 + np.exp(-raw))
        raw = np.exp(raw - raw.max(axis=1, keepdims=True))
        return raw / raw.sum(axis=1, keepdims=True)

    @property
    def _gradient(self):
        residual = self._probability - self.targets
        data = (self.weight[:, np.newaxis] * residual).T @ self.design
        return data + self.penalty * self.optimum

    @property
    def hessian(self):
        p, x = self._probability.astype(float), self.design.astype(float)
        second = np.eye(p.shape[1]) * p[:, np.newaxis] - p[:, :, None] * p[:, None]
        second *= self.weight.astype(float)[:, np.newaxis, np.newaxis]
        blocks = np.einsum("nij,na,nb->iajb", second, x, x, optimize=True)
        penalty = np.tile(self.penalty, p.shape[1])
        return blocks.reshape(len(penalty), -1) + np.diag(penalty)

    def distance(self, model):
        """Of the coefficients of a model, in the norm of the Hessian at the optimum."""
        away = (self.of(model) - self.optimum).astype(float).ravel()
        return np.sqrt(away @ self.hessian @ away)

    def range(self, before):
        """Largest change of a difference of raw predictions since `before`."""
        changes = (self.design @ (before - self.optimum).T).astype(float)
        if changes.shape[1] == 1:
            return np.abs(changes).max()
        return np.ptp(changes, axis=1).max()


def _adversarial(rng, n_classes):
    """Rows with heavy tails, columns of all scales and rare classes; their weights."""
    n_rows, n_features = int(rng.integers(80, 400)), int(rng.integers(1, 8))
    X = rng.standard_t(3.0, (n_rows, n_features)) * 10.0 ** rng.uniform(-1.0, 0.5)
    X *= 10.0 ** rng.uniform(-1.0, 1.0, n_features)
    X += rng.choice([0.0, 3.0])
    frequency = rng.dirichlet(np.full(n_classes, rng.choice([0.5, 5.0])))
    y = rng.choice(n_classes, n_rows, p=frequency)
    y[: 4 * n_classes] = np.repeat(np.arange(n_classes), 4)
    return X, y, rng.choice([0.1, 1.0, 5.0], n_rows)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_edits_are_within_their_bounds(n_classes, balanced):
    n_bounds = 0
    for seed in range(8):
        rng = np.random.default_rng([seed, n_classes])
        X, y, weight = _adversarial(rng, n_classes)
        model = DeltaGradLogisticRegression(
            C=10.0 ** rng.uniform(-2.0, 1.0), curvature="subset",
            class_weight="balanced" if balanced else None,
        ).fit(X, y, sample_weight=weight)  # fmt: skip
        spared = 4 * n_classes  # so that no class disappears
        size = weight * np.linalg.norm(X, axis=1)
        size *= 1.0 - model.predict_proba(X)[np.arange(len(X)), y]
        worst = spared + np.argsort(-size[spared:])[: len(X) // 10]
        new = 5.0 * X[worst[:3]], (y[worst[:3]] + 1) % n_classes, size[:3] + 0.1
        rows, places = (X, y, weight), np.arange(len(X))
        for removed in (worst[:0], worst[:1], worst[1:], None):
            before = _Reference.of(model)
            if removed is None:
                model.partial_refit(new[0], new[1], sample_weight=new[2])
                rows = [np.concatenate(both) for both in zip(rows, new, strict=True)]
            elif len(removed):
                model.unlearn(position=removed)
                stay = ~np.isin(places, removed)
                rows, places = [part[stay] for part in rows], places[stay]
            reference = _Reference(model, *rows, balanced)
            bound = model.update_report_.distance_bound
            distance = reference.distance(model)
            if bound is not None:
                # A bound is in the norm where the last step began, which differs by as
                # much from that at the optimum.
                growth = np.exp(0.5 * reference.range(before))
                rounding = 1e-14 * np.sqrt(np.trace(reference.hessian))
                assert distance <= growth * bound + rounding
                n_bounds += 1
    assert n_bounds >= 16
