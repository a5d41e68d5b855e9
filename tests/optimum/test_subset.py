"""The Hessian of a sample of the rows as preconditioner, and what is kept of it."""

import pickle

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


def test_it_is_made_once_and_is_in_no_dump():
    X, y, _ = _rows(2000)
    model = DeltaGradLogisticRegression(curvature="subset").fit(X, y)
    kept = model._engine.recycled.preconditioner
    model.unlearn(position=range(20))
    assert model._engine.recycled.preconditioner is kept
    assert model.update_report_.change_bound <= model.edit_tol
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded._engine.recycled is None
    loaded.unlearn(position=range(20, 30))
    model.unlearn(position=range(20, 30))
    distance = np.linalg.norm(loaded.coef_ - model.coef_)
    assert distance <= 0.02 * np.linalg.norm(model.coef_)
    assert loaded._engine.recycled.preconditioner is not None
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
