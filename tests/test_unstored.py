"""Estimators that keep no rows, and forget rows all the same."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import scale

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradRidge,
    assert_erased,
)


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


CASES = {
    "binary": (
        DeltaGradLogisticRegression(C=0.01, store_data=False, edit_tol=0.1), cancer,
    ),
    "balanced": (
        DeltaGradLogisticRegression(
            C=0.01, class_weight="balanced", store_data=False, edit_tol=0.1
        ),
        cancer,
    ),
    "classes": (
        DeltaGradLogisticRegression(C=0.01, store_data=False, edit_tol=0.1),
        lambda: (scale(load_wine().data), load_wine().target),
    ),
    "ridge": (
        DeltaGradRidge(store_data=False),
        lambda: load_diabetes(return_X_y=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("name", CASES)
def test_follows_like_an_estimator_with_rows(name, convert):
    model, load = CASES[name]
    X, y = load()
    X = convert(X)
    weight = np.random.default_rng(0).choice([0.5, 1.0, 2.0], len(y))
    model = model.fit(X, y, weight)
    stored = type(model)(**model.get_params() | {"store_data": True})
    stored.fit(X, y, weight)
    for row in (3, 50, 100):
        model.unlearn(X[row : row + 1], y[row : row + 1], sample_weight=weight[row])
        stored.unlearn(position=row)
        np.testing.assert_allclose(model.coef_, stored.coef_, rtol=1e-6, atol=1e-9)
        report = model.update_report_
        assert report.n_passes == report.n_hessians == 0
        assert not report.membership_checked
        assert "not checked" in str(report)
        assert report.n_samples == stored.update_report_.n_samples
        assert report.distance_bound >= 0.0


def test_no_row_is_in_it():
    X, y = cancer()
    model = DeltaGradLogisticRegression(C=0.01, store_data=False).fit(X, y)
    assert len(pickle.dumps(model)) < 100_000 < X.nbytes
    report = assert_erased(model, X)
    assert report.n_checked == len(X)
    model.unlearn(X[:1], y[:1])
    assert assert_erased(model, X).n_checked == len(X)


def test_it_stops_where_edit_tol_is_not_certain_any_more(unchanged):
    X, y = cancer()
    model = DeltaGradLogisticRegression(C=0.1, store_data=False).fit(X, y)
    n_gone = 0
    with pytest.raises(ValueError, match="Call fit on the rows that remain"):
        for n_gone in range(100):
            model.unlearn(X[[n_gone]], y[[n_gone]])
    assert n_gone > 1
    with unchanged(model), pytest.raises(ValueError, match="edit_tol"):
        model.unlearn(X[[n_gone]], y[[n_gone]])
    exact = LogisticRegression(C=0.1, solver="newton-cholesky", tol=1e-12)
    exact.fit(X[n_gone:], y[n_gone:])
    first = LogisticRegression(C=0.1, solver="newton-cholesky", tol=1e-12).fit(X, y)
    moved = np.linalg.norm(exact.coef_ - first.coef_)
    assert np.linalg.norm(model.coef_ - exact.coef_) <= 1e-2 * moved


def test_a_dump_goes_on():
    X, y = load_diabetes(return_X_y=True)
    model = DeltaGradRidge(alpha=0.1, store_data=False).fit(X, y)
    model = pickle.loads(pickle.dumps(model.unlearn(X[:3], y[:3])))
    model.unlearn(X[3:5], y[3:5])
    exact = Ridge(alpha=0.1).fit(X[5:], y[5:])
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=1e-9)


def test_what_needs_rows_is_refused(unchanged):
    X, y = cancer()
    model = DeltaGradLogisticRegression(store_data=False).fit(X, y)
    with unchanged(model):
        for edit in (
            lambda: model.unlearn(position=3),
            lambda: model.partial_refit(),
            lambda: model.partial_refit(X[:2], y[:2]),
        ):
            with pytest.raises(ValueError, match="store_data=False kept no rows"):
                edit()
        with pytest.raises(ValueError, match="All 569"):
            model.unlearn(X, y)
        with pytest.raises(ValueError, match="Only rows of class 0 would be left"):
            model.unlearn(X[y == 1], y[y == 1])
    with pytest.raises(ValueError, match='needs solver="newton"'):
        DeltaGradLogisticRegression(solver="gd", store_data=False).fit(X, y)
    with pytest.raises(ValueError, match="needs a Hessian that is kept"):
        DeltaGradRidge(curvature="diagonal", store_data=False).fit(X, y)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_class_does_not_disappear_without_rows(class_weight, unchanged):
    """The model of the other classes would be that of their rows, which are gone."""
    X, y = load_wine(return_X_y=True)
    X, rare = scale(X), np.where(np.arange(len(y)) < 2, 7, np.minimum(y, 1))
    model = DeltaGradLogisticRegression(class_weight=class_weight, store_data=False)
    model.fit(X, rare)
    for method in (model.unlearn, model.plan_unfit):
        with unchanged(model), pytest.raises(ValueError, match="store_data=False kept"):
            method(X[:2], rare[:2])
