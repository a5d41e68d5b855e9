"""Products with Hessians that are not kept, and edits that use them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._data.storage import store
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import (
    BinomialLoss,
    HalfSquaredLoss,
    MultinomialLoss,
)
from skdeltagrad._optimum.cost import Cost
from skdeltagrad._optimum.problem import Problem

LOSSES = [BinomialLoss(), MultinomialLoss(4), HalfSquaredLoss(2)]


def problem_of(loss, curvature, n_rows=60, n_features=5, is_sparse=False):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_features)) * [1, 3, 0.1, 1, 10]
    if loss.is_quadratic:
        y = rng.normal(size=(n_rows, loss.n_outputs))
    else:
        y = rng.integers(max(2, loss.n_outputs), size=n_rows)
    weight = rng.choice([0.5, 1.0, 2.0], n_rows)
    rows = store(sparse.csr_matrix(X) if is_sparse else X)
    objective = DataTerm(rows, y, weight, loss, np.zeros(n_features))
    alpha = np.full(loss.n_outputs, 0.7)
    indices = np.arange(n_rows)
    return Problem(
        objective, alpha, np.ones(1), lambda: indices, weight.sum(), curvature
    )


def point_of(problem):
    shape = problem.objective.shape
    iterate = 0.3 * np.random.default_rng(1).normal(size=shape)
    return problem.by_output(problem.vectors(iterate))


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("curvature", ["diagonal", "kronecker"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_products_and_solutions_are_those_of_the_kept_hessian(
    loss, curvature, is_sparse
):
    problem = problem_of(loss, curvature, is_sparse=is_sparse)
    iterate = point_of(problem)
    kept, products = problem.hessian(iterate), problem.products(iterate)
    vectors = np.random.default_rng(2).normal(size=problem.penalty.shape)
    assert_allclose(products.product(vectors), kept.product(vectors), rtol=1e-10)
    assert_allclose(products.norm(vectors), kept.norm(vectors), rtol=1e-10)
    for tolerance in (1e-1, 1e-3, 1e-6):
        solution, residual, error = products.solve(vectors, tolerance)
        assert_allclose(vectors - kept.product(solution), residual, atol=1e-8)
        truth = kept.solve(vectors)
        off = kept.norm(solution - truth)
        assert off <= 2.0 * tolerance * kept.norm(truth)
        assert off <= 2.0 * error + 1e-12


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_the_diagonal_is_the_diagonal(loss):
    problem = problem_of(loss, "diagonal")
    iterate = point_of(problem)
    kept, products = problem.hessian(iterate), problem.products(iterate)
    size = problem.penalty.size
    diagonal = [
        kept.product(unit.reshape(problem.penalty.shape)).ravel() @ unit
        for unit in np.eye(size)
    ]
    ones = np.ones(problem.penalty.shape)
    found = 1.0 / products.precondition.solve(ones)
    assert_allclose(found.ravel(), diagonal, rtol=1e-10)


def test_kronecker_is_exact_where_second_derivatives_are_equal():
    problem = problem_of(MultinomialLoss(4), "kronecker")
    iterate = np.zeros(problem.objective.shape)
    kept, products = problem.hessian(iterate), problem.products(iterate)
    problem.penalty[:] = 0.7  # its one simplification: the intercept is penalised
    vectors = np.random.default_rng(2).normal(size=problem.penalty.shape)
    kept = type(kept)(kept.sums, kept.group_weight, problem.penalty)
    assert_allclose(
        products.precondition.solve(vectors), kept.solve(vectors), rtol=1e-9
    )


@pytest.mark.parametrize("vectors", [0.0, 1.0])
def test_a_system_for_which_there_are_no_passes_is_not_solved(vectors):
    problem = problem_of(BinomialLoss(), "diagonal")
    products = problem.products(point_of(problem))
    problem.meter.allow(Cost(n_passes=2))
    _, _, error = products.solve(np.full(problem.penalty.shape, vectors), 0.1)
    assert error == (np.inf if vectors else 0.0)


EDITS = {
    "remove": lambda model, X, y: model.unlearn(position=range(3)),
    "add": lambda model, X, y: model.partial_refit(X[100:104], y[100:104]),
    "correct": lambda model, X, y: model.partial_refit(
        X[10:12], y[20:22], position=[10, 11], replace=True
    ),
}


def edited(name, X, y):
    if name == "remove":
        return X[3:], y[3:]
    if name == "add":
        return np.vstack([X, X[100:104]]), np.append(y, y[100:104])
    y = y.copy()
    y[10:12] = y[20:22]
    return X, y


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize(
    ("load", "curvature"),
    [
        (load_breast_cancer, "diagonal"),
        (load_wine, "diagonal"),
        (load_wine, "kronecker"),
        (load_wine, "subset"),
    ],
)
def test_edits_end_at_the_optimum(load, curvature, weight, convert, edit):
    X, y = load(return_X_y=True)
    X = scale(X)
    model = DeltaGradLogisticRegression(
        C=0.1, class_weight=weight, curvature=curvature, edit_tol=1e-5
    )
    model.fit(convert(X), y)
    exact = LogisticRegression(
        C=0.1, class_weight=weight, solver="newton-cholesky", tol=1e-12
    )
    before = exact.fit(X, y).coef_
    assert_allclose(model.coef_, before, atol=1e-6)
    EDITS[edit](model, convert(X) if edit == "add" else X, y)
    exact.fit(*edited(edit, X, y))
    moved = np.linalg.norm(exact.coef_ - before)
    assert np.linalg.norm(model.coef_ - exact.coef_) <= 1e-3 * moved + 1e-7
    report = model.update_report_
    assert report.n_passes >= 2
    assert report.distance_bound is not None
    assert report.curvature == curvature


def test_ridge_by_conjugate_gradients():
    X, y = load_diabetes(return_X_y=True)
    Y = np.column_stack([y, np.sqrt(y)])
    model = DeltaGradRidge(alpha=[0.1, 2.0], curvature="diagonal", edit_tol=1e-6)
    model.fit(sparse.csr_matrix(X), Y)
    model.unlearn(position=range(5))
    exact = Ridge(alpha=np.array([0.1, 2.0])).fit(X[5:], Y[5:])
    assert_allclose(model.coef_, exact.coef_, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("alpha", [2.0, [0.1, 2.0]])
def test_ridge_with_several_targets_by_kronecker_products(alpha):
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X), np.column_stack([scale(y), X[:, 0] ** 2])
    model = DeltaGradRidge(alpha, curvature="kronecker", edit_tol=1e-4).fit(X, y)
    model.unlearn(position=range(10))
    exact = Ridge(np.asarray(alpha)).fit(X[10:], y[10:])
    assert_allclose(model.coef_, exact.coef_, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("curvature", ["kronecker", "diagonal"])
def test_a_fit_converges_where_most_rows_have_no_influence(curvature):
    """A fraction of the influence of a row without any is 0, which no fit reaches."""
    X = np.array([[0.66410098], [0.0], [-0.23456508], [0.83404884]])
    model = DeltaGradLogisticRegression(
        C=100.0, curvature=curvature, fit_intercept=False, class_weight="balanced"
    )
    model.fit(X, [0, 1, 0, 1], sample_weight=[1, 3, 0, 0])  # no ConvergenceWarning
    assert model.n_iter_[0] < 10


def test_no_hessian_of_wide_rows_is_kept():
    rng = np.random.default_rng(0)
    X = sparse.random_array((200, 4000), density=0.01, rng=rng, format="csr")
    y = rng.integers(2, size=200)
    model = DeltaGradLogisticRegression().fit(X, y)
    assert model.update_report_.curvature == "diagonal"
    assert model.update_report_.cache_bytes < 0.02 * 8 * 4001**2
    model.unlearn(position=[1, 2])
    exact = LogisticRegression(tol=1e-10, max_iter=10_000)
    exact.fit(X[np.r_[0, 3:200]], y[np.r_[0, 3:200]])
    distance = np.linalg.norm(model.coef_ - exact.coef_)
    assert distance <= 1e-2 * np.linalg.norm(exact.coef_)


@pytest.mark.parametrize("kind", ["kronecker", "diagonal", "subset"])
@pytest.mark.parametrize("estimator", [DeltaGradLogisticRegression, DeltaGradRidge])
def test_weights_whose_squares_overflow_are_refused(estimator, kind):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    y = (X[:, 0] + rng.logistic(size=200) > 0).astype(int)
    weight = np.ones(200)
    model = estimator(curvature=kind).fit(X, y)
    coef, digest = model.coef_.copy(), model.path_digest()
    with pytest.raises(ValueError, match="sample_weight has a sum of 1e"):
        model.partial_refit(X[:1], y[:1], sample_weight=[1e308])
    assert_array_equal(model.coef_, coef)
    assert model.path_digest() == digest
    weight[0] = 1e200
    with pytest.raises(ValueError, match="multiply C"):
        estimator(curvature=kind).fit(X, y, sample_weight=weight)
