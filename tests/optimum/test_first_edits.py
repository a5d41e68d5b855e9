"""What the first edit costs after everything that computes a model from its rows."""

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad._optimum import curvature as _curvature
from skdeltagrad._optimum.newton import LATEST

N_ROWS = 20_000


def heavy_tailed(n_columns=8, n_classes=2):
    rng = np.random.default_rng(0)
    X = rng.standard_t(3.0, (N_ROWS, n_columns))
    raw = X @ rng.standard_normal((n_columns, n_classes))
    return X, np.argmax(raw + 2.0 * rng.gumbel(size=raw.shape), axis=1)


def counts():
    X, _ = heavy_tailed()
    X = np.clip(X, -4.0, 4.0)
    mean = np.exp(0.1 * X.sum(axis=1))
    return X, np.random.default_rng(1).poisson(mean).astype(float)


def as_it_is(model, path):
    return model


def loaded(model, path):
    model.save(path / "model.joblib")
    return joblib.load(path / "model.joblib")


def purged(model, path):
    return model.unlearn(position=range(5)).purge()


def retrained(model, path):
    return model.unlearn(position=range(5)).partial_refit()


@pytest.mark.parametrize("before", [as_it_is, loaded, purged, retrained])
@pytest.mark.parametrize("model, data", [
    (DeltaGradLogisticRegression(), heavy_tailed()),
    (DeltaGradLogisticRegression(), heavy_tailed(n_classes=3)),
    (DeltaGradLogisticRegression(class_weight="balanced"), heavy_tailed()),
    (DeltaGradLogisticRegression(standardize=True), heavy_tailed()),
    (DeltaGradPoissonRegressor(), counts()),
    (DeltaGradRidge(), counts()),
], ids=["two", "three", "balanced", "standardize", "poisson", "ridge"])  # fmt: skip
def test_the_first_edit_takes_half_a_pass_at_most(model, data, before, tmp_path):
    X, y = data
    model = before(model.fit(X, y), tmp_path)
    report = model.unlearn(position=100).update_report_
    assert report.n_hessians == 0
    assert report.n_passes <= 0.5
    assert report.distance_bound is not None
    if report.relative_bound is not None and not isinstance(model, DeltaGradRidge):
        assert report.relative_bound <= model.edit_tol


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_fit_ends_with_a_hessian_from_near_the_optimum(n_classes):
    X, y = heavy_tailed(n_classes=n_classes)
    model = DeltaGradLogisticRegression().fit(X, y)
    curvature = model._engine.curvature
    assert 0.0 <= curvature.since_hessian <= LATEST
    moved = model._engine.reference - curvature.hessian_iterate
    table = model._training_set.table
    term = model._engine.model.data_term(model._training_set)
    assert_allclose(
        term.largest_change(moved, table.live_indices()), curvature.since_hessian
    )


def test_a_fit_of_many_rows_computes_one_hessian_of_them():
    X, y = heavy_tailed(n_columns=20)
    X, y = np.vstack([X] * 4), np.tile(y, 4)
    X += 1e-3 * np.random.default_rng(2).standard_normal(X.shape)
    report = DeltaGradLogisticRegression().fit(X, y).update_report_
    # Those of the sample count by its share.
    assert 1.0 < report.n_hessians < 2.0


def test_leverages_are_computed_when_passes_have_cost_as_much():
    X, y = heavy_tailed(n_columns=20)
    model = DeltaGradLogisticRegression(C=1e3).fit(X, y)
    n_passes = n_hessians = 0.0
    for position in np.argsort(-np.abs(X).max(axis=1))[:60]:
        report = model.unlearn(position=position).update_report_
        n_passes += report.n_passes
        n_hessians += report.n_hessians
        if model._engine.curvature.is_tight:
            break
    assert n_hessians >= 2.0
    assert n_passes >= 2.0 * (1.0 + 21 / 40)


def test_what_was_measured_along_one_step_serves_the_next(monkeypatch):
    """A row of weight 0 changes nothing: what was true of the last step still is."""
    rng = np.random.default_rng(5)
    X = rng.standard_t(2.5, (N_ROWS, 20))
    y = (X[:, 0] + 2.0 * rng.logistic(size=N_ROWS) > 0).astype(int)
    weight = np.ones(N_ROWS)
    weight[:100] = 0.0
    model = DeltaGradLogisticRegression().fit(X, y, sample_weight=weight)
    heavy = np.argsort(-weight * np.linalg.norm(X, axis=1))
    monkeypatch.setattr(_curvature, "_MANY", 0.02)  # of the rows: then all are read
    n_served = 0
    for nothing, position in enumerate(heavy[:100:4]):
        n_passes = model.unlearn(position=position).update_report_.n_passes
        if n_passes == 0.5 and model._engine.curvature.measured is not None:
            again = model.unlearn(position=nothing).update_report_.n_passes
            n_served += again < 0.01
    assert n_served >= 3


def test_single_rows_are_no_farther_from_the_optimum_than_their_bound():
    """Of rows with dummy variables and heavy tails, one after the other."""
    n_bounds, n_reads = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n_rows, n_columns = int(rng.integers(100, 600)), int(rng.integers(2, 6))
        X = rng.standard_t(2.5, (n_rows, n_columns))
        dummies = np.eye(4)[rng.choice(4, n_rows, p=[0.6, 0.35, 0.04, 0.01])]
        X = np.hstack([X, dummies])
        raw = X @ rng.standard_normal(X.shape[1]) + rng.logistic(size=n_rows)
        y, C = (raw > np.median(raw)).astype(int), 10.0 ** rng.integers(-2, 4)
        weight = rng.choice([0.3, 1.0, 2.0], n_rows)
        model = DeltaGradLogisticRegression(C, fit_intercept=False)
        model.fit(X, y, sample_weight=weight)
        left = np.arange(n_rows)
        influence = rng.permutation(np.argsort(-np.abs(X).max(axis=1))[:40])[:10]
        for gone in (*rng.choice(n_rows, 10, replace=False), *influence):
            if gone not in left:
                continue
            left = left[left != gone]
            report = model.unlearn(position=gone).update_report_
            n_reads += 0.0 < report.n_passes < 0.5
            if report.distance_bound is None:
                continue
            n_bounds += 1
            truth = _newton(X[left], y[left], weight[left], 1.0 / C, model.coef_[0])
            off = (model.coef_[0] - truth).astype(float)
            distance = model._engine.curvature.hessian.norm(off[np.newaxis])
            slack = 1e-11 * model._engine.curvature.hessian.norm(model.coef_)
            assert distance <= report.distance_bound * (1.0 + 1e-6) + slack
    assert n_bounds >= 600
    assert n_reads >= 20


def test_rows_with_dummy_variables_read_few_rows_from_the_first_edit_on():
    rng = np.random.default_rng(3)
    dummies = np.eye(12)[rng.choice(12, N_ROWS, p=np.r_[0.45, 0.4, np.full(10, 0.015)])]
    X = np.hstack([rng.standard_normal((N_ROWS, 8)), dummies])
    raw = X @ rng.standard_normal(20) + 2.0 * rng.logistic(size=N_ROWS)
    model = DeltaGradLogisticRegression().fit(X, (raw > 0).astype(int))
    n_passes = [
        model.unlearn(position=position).update_report_.n_passes
        for position in rng.choice(N_ROWS, 20, replace=False)
    ]
    assert max(n_passes) < 0.2


@pytest.mark.parametrize("kind", ["plain", "weights", "sparse", "certain"])
def test_first_edits_are_no_farther_from_the_optimum_than_their_bound(kind):
    """Bounds from an upper bound of the leverages, and a Hessian from elsewhere."""
    n_bounds = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n_rows, n_columns = int(rng.integers(40, 300)), int(rng.integers(1, 7))
        X = rng.standard_t(1.5, (n_rows, n_columns))
        noise = 0.05 if kind == "certain" else 1.0
        raw = X @ rng.standard_normal(n_columns) + noise * rng.logistic(size=n_rows)
        y = (raw > 0).astype(int)
        if min(np.bincount(y, minlength=2)) < 4:
            continue
        weight = np.ones(n_rows)
        if kind == "weights":
            weight = rng.choice([0.0, 1.0, 3.0, 1e6], n_rows, p=[0.1, 0.6, 0.28, 0.02])
        C = 10.0 ** rng.integers(-2, 3)
        model = DeltaGradLogisticRegression(C, fit_intercept=False)
        rows = sparse.csr_matrix(X) if kind == "sparse" else X
        for gone in (rng.choice(n_rows, 1), np.argsort(-np.abs(X).max(axis=1))[:2]):
            left = np.setdiff1d(np.arange(n_rows), gone)
            if len(np.unique(y[left][weight[left] > 0])) < 2:
                continue
            model.fit(rows, y, sample_weight=weight).unlearn(position=gone)
            report = model.update_report_
            if report.distance_bound is None:
                continue
            n_bounds += 1
            truth = _newton(X[left], y[left], weight[left], 1.0 / C, model.coef_[0])
            off = (model.coef_[0] - truth).astype(float)
            distance = model._engine.curvature.hessian.norm(off[np.newaxis])
            slack = 1e-11 * model._engine.curvature.hessian.norm(model.coef_)
            assert distance <= report.distance_bound * (1.0 + 1e-6) + slack
    assert n_bounds >= 40


def _newton(X, y, weight, alpha, start):
    """The optimum of two classes without an intercept, in long double."""
    X, w = X.astype(np.longdouble), start.astype(np.longdouble)
    for _ in range(60):
        with np.errstate(over="ignore"):
            p = 1 / (1 + np.exp(-(X @ w)))
        gradient = X.T @ (weight * (p - y)) + alpha * w
        hessian = (X.T * (weight * p * (1 - p))) @ X + alpha * np.eye(len(w))
        size = np.sqrt(hessian.diagonal())
        scaled = (hessian / np.outer(size, size)).astype(float)
        step = np.linalg.solve(scaled, (gradient / size).astype(float)) / size
        w = w - step
        if np.abs(step).max() <= 1e-17 * np.abs(w).max():
            break
    return w
