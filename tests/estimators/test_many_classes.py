"""Models of many classes: the optimum, its edits and bounds, within bounded memory."""

import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from oracles import class_weights
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skdeltagrad import DeltaGradLogisticRegression

MIB = 2**20


def some_rows(n_classes, n_rows, n_features=4, seed=0):
    rng = np.random.default_rng(seed)
    centres = 1.5 * rng.normal(size=(n_classes, n_features))
    y = rng.integers(n_classes, size=n_rows)
    y[: 2 * n_classes] = np.tile(np.arange(n_classes), 2)
    return centres[y] + rng.normal(size=(n_rows, n_features)), y


def optimum(X, y, class_weight=None):
    weights = class_weights(class_weight, y)
    model = LogisticRegression(
        class_weight=weights, solver="newton-cg", tol=1e-10, max_iter=1000
    )
    return model.fit(X, y)


def objective_norm(model, X, y, coef):
    """How far coefficients are from a model's in the norm of its Hessian."""
    probability = model.predict_proba(X)
    X1 = np.column_stack([X, np.ones(len(X))])
    along = X1 @ coef.T
    mean = np.sum(probability * along, axis=1)
    data = np.sum(probability * along**2) - np.sum(mean**2)
    return np.sqrt(max(0.0, data) + np.sum(coef[:, :-1] ** 2))


def stacked(model):
    coef = np.column_stack([model.coef_, model.intercept_])
    return coef - coef.mean(axis=0)


@pytest.mark.parametrize("storage", ["dense", "csr"])
@pytest.mark.parametrize("n_classes", [12, 60])
def test_the_optimum_and_bounds_of_edits(n_classes, storage):
    X, y = some_rows(n_classes, 2_000)
    given = sparse.csr_matrix(X) if storage == "csr" else X
    model = DeltaGradLogisticRegression(tol=1e-8).fit(given, y)
    assert model.update_report_.curvature == "exact"
    assert_allclose(stacked(model), stacked(optimum(X, y)), atol=2e-4)
    kept = np.arange(len(X))
    for removed in ([777], np.arange(1_000, 1_020), [5]):
        model.unlearn(position=removed)
        kept = np.setdiff1d(kept, removed)
        truth = optimum(X[kept], y[kept])
        report = model.update_report_
        off = stacked(model) - stacked(truth)
        distance = objective_norm(truth, X[kept], y[kept], off)
        assert report.distance_bound is not None
        # scikit-learn's solution is off a little, too.
        assert distance <= 1.1 * report.distance_bound + 1e-5
        moved = model.decision_function(X[kept]) - truth.decision_function(X[kept])
        assert np.ptp(moved, axis=1).max() <= 1.01 * report.decision_bound + 1e-5
    model.partial_refit(given[:2], y[:2])
    rows = np.concatenate([kept, [0, 1]])
    assert_allclose(stacked(model), stacked(optimum(X[rows], y[rows])), atol=1e-3)


@pytest.mark.parametrize("curvature", ["kronecker", "diagonal"])
def test_balanced_classes_without_a_hessian(curvature):
    X, y = some_rows(30, 1_500)
    model = DeltaGradLogisticRegression(
        class_weight="balanced", curvature=curvature, tol=1e-8, edit_tol=1e-3
    ).fit(X, y)
    truth = optimum(X, y, "balanced")
    assert_allclose(stacked(model), stacked(truth), atol=1e-3)
    model.unlearn(position=np.arange(100, 160))
    kept = np.setdiff1d(np.arange(len(X)), np.arange(100, 160))
    truth = optimum(X[kept], y[kept], "balanced")
    assert_allclose(stacked(model), stacked(truth), atol=1e-3)


def test_rows_that_are_not_stored():
    """What a row has in the fourth moments is then bounded from below."""
    X, y = some_rows(40, 6_000)
    X *= 0.1
    model = DeltaGradLogisticRegression(store_data=False, tol=1e-8, edit_tol=1.0)
    model.fit(X, y)
    model.unlearn(X[100:101], y[100:101])
    model.unlearn(X[101:102], y[101:102])
    kept = np.setdiff1d(np.arange(len(X)), [100, 101])
    truth = optimum(X[kept], y[kept])
    off = stacked(model) - stacked(truth)
    distance = objective_norm(truth, X[kept], y[kept], off)
    assert distance <= 1.1 * model.update_report_.distance_bound + 1e-5


@pytest.mark.parametrize(
    ("curvature", "class_weight"),
    [("auto", None), ("auto", "balanced"), ("kronecker", None), ("diagonal", None)],
)
def test_memory_is_bounded(curvature, class_weight):
    """Second derivatives of all rows would take 390 MB, balanced Hessians as well."""
    n_classes, n_rows = 100, 5_000
    X, y = some_rows(n_classes, n_rows)
    model = DeltaGradLogisticRegression(
        curvature=curvature, class_weight=class_weight, tol=1e-2, max_iter=3
    )
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
        model.unlearn(position=5)
        model.unlearn(position=np.arange(100, 140))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150 * MIB
