"""Influence diagnostics, next to statsmodels and to the definitions on true refits."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression, PoissonRegressor

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad.inspection import diagnostics, leave_one_out

NAMES = (
    "hat_diag",
    "resid_studentized_internal",
    "resid_studentized_external",
    "cooks_distance",
    "dffits",
    "dfbetas",
)


def rows(n_rows=60, n_features=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features)) * [1.0, 3.0, 0.1, 10.0] + 2.0
    raw = (X - 2.0) @ [0.7, -0.2, 5.0, 0.05]
    return rng, X, raw


def extended(X, fit_intercept):
    return np.column_stack([X, np.ones(len(X))]) if fit_intercept else X


def of_ordinary_least_squares(X, y, fit_intercept=True):
    sm = pytest.importorskip("statsmodels.api")
    found = sm.OLS(y, extended(X, fit_intercept)).fit().get_influence()
    return {
        "hat_diag": found.hat_matrix_diag,
        "cooks_distance": found.cooks_distance[0],
        "dffits": found.dffits[0],
        "dfbetas": found.dfbetas,
        "resid_studentized_internal": found.resid_studentized_internal,
        "resid_studentized_external": found.resid_studentized_external,
    }


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 1e-10])
def test_ridge_without_penalty_equals_statsmodels(fit_intercept, alpha):
    X, y = load_diabetes(return_X_y=True)
    X = X * 20.0 + 1.0
    model = DeltaGradRidge(alpha=alpha, fit_intercept=fit_intercept).fit(X, y)
    found = diagnostics(model)
    for name, expected in of_ordinary_least_squares(X, y, fit_intercept).items():
        assert_allclose(
            getattr(found, name), expected, rtol=1e-9, atol=1e-9, err_msg=name
        )
    assert_allclose(found.df_model, X.shape[1] + fit_intercept)
    assert not found.error.any()


def test_weights_are_those_of_weighted_least_squares():
    """The same as ordinary least squares on rows times the roots of the weights."""
    rng, X, raw = rows()
    y, weight = raw + rng.standard_normal(60), rng.uniform(0.2, 3.0, 60)
    model = DeltaGradRidge(alpha=0.0).fit(X, y, sample_weight=weight)
    half = np.sqrt(weight)[:, np.newaxis]
    scaled = half * extended(X, True), half[:, 0] * y
    expected = of_ordinary_least_squares(*scaled, fit_intercept=False)
    found = diagnostics(model)
    for name in NAMES:
        assert_allclose(getattr(found, name), expected[name], rtol=1e-8, err_msg=name)


# The definitions, from refits.

MEANS = {
    "squared": (lambda raw: raw, np.ones_like),
    "logistic": (
        lambda raw: 1 / (1 + np.exp(-raw)),
        lambda raw: 1 / (2 + 2 * np.cosh(raw)),
    ),
    "poisson": (np.exp, np.exp),
}


def by_refits(kind, fit, X, y, weight, alpha):
    """Every statistic as `Diagnostics` defines it; `fit` returns coefficients."""
    mean, variance = MEANS[kind]
    Z, n, penalty = extended(X, True), len(y), np.diag([alpha] * X.shape[1] + [0.0])

    def scale(keep, w):
        if kind != "squared":
            return 1.0
        A = Z[keep] * weight[keep, np.newaxis]
        df = np.trace(np.linalg.solve(A.T @ Z[keep] + penalty, A.T @ Z[keep]))
        return weight[keep] @ (y[keep] - Z[keep] @ w) ** 2 / (keep.sum() - df)

    everything = np.ones(n, bool)
    w = fit(everything)
    c = weight * variance(Z @ w)
    H = (Z.T * c) @ Z + penalty
    inverse = np.linalg.inv(H)
    spread = np.einsum("ij,jk,ik->i", Z, inverse, Z)
    h, phi = c * spread, scale(everything, w)
    pearson = np.sqrt(weight / variance(Z @ w)) * (y - mean(Z @ w))
    found = {
        "hat_diag": h,
        "resid_studentized_internal": pearson / np.sqrt(phi * (1 - h)),
    }
    found |= {name: [] for name in NAMES[2:]}
    for i in range(n):
        keep = np.arange(n) != i
        v = fit(keep)
        phi_i, raw = scale(keep, v), Z[i] @ v
        own = np.sqrt(weight[i] / variance(raw)) * (y[i] - mean(raw))
        found["resid_studentized_external"].append(own * np.sqrt((1 - h[i]) / phi_i))
        found["cooks_distance"].append((w - v) @ H @ (w - v) / h.sum() / phi)
        found["dffits"].append(Z[i] @ (w - v) / np.sqrt(phi_i * spread[i]))
        found["dfbetas"].append((w - v) / np.sqrt(phi_i * np.diag(inverse)))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("kind", MEANS)
def test_penalised_models_equal_the_definitions(kind):
    rng, X, raw = rows()
    weight, alpha = rng.uniform(0.2, 3.0, 60), 0.7
    if kind == "logistic":
        y = (raw + rng.logistic(size=60) > 0).astype(float)
        model = DeltaGradLogisticRegression(C=1 / alpha, tol=1e-10)
        theirs = LogisticRegression(C=1 / alpha, solver="newton-cholesky", tol=1e-12)
    elif kind == "poisson":
        y = rng.poisson(np.exp(0.3 * raw)).astype(float)
        model = DeltaGradPoissonRegressor(alpha=alpha, tol=1e-10)
        theirs = PoissonRegressor(solver="newton-cholesky", tol=1e-12, max_iter=500)
    else:
        y = raw + rng.standard_normal(60)
        model = DeltaGradRidge(alpha=alpha)
        theirs = None
    X = X - X.mean(axis=0)

    def fit(keep):
        if theirs is None:
            Z = extended(X[keep], True)
            A = (Z.T * weight[keep]) @ Z + np.diag([alpha] * 4 + [0.0])
            return np.linalg.solve(A, Z.T @ (weight[keep] * y[keep]))
        if kind == "poisson":
            theirs.set_params(alpha=alpha / weight[keep].sum())
        theirs.fit(X[keep], y[keep], sample_weight=weight[keep])
        return np.append(np.ravel(theirs.coef_), theirs.intercept_)

    expected = by_refits(kind, fit, X, y, weight, alpha)
    model.fit(X, y, sample_weight=weight)
    found = diagnostics(model, tol=1e-9)
    assert found.error.max() <= 1e-9
    for name in NAMES:
        assert_allclose(
            getattr(found, name), expected[name], rtol=2e-6, atol=1e-8, err_msg=name
        )
    assert_allclose(found.error, leave_one_out(model, tol=1e-9).error)


@pytest.mark.parametrize("tol", [0.1, 0.01])
def test_errors_bound_the_distances(tol):
    """In the norm of the Hessian without the row, as Cook's distance nearly is."""
    rng, X, raw = rows()
    y = (raw + rng.logistic(size=60) > 0).astype(int)
    model = DeltaGradLogisticRegression(tol=1e-10).fit(X, y)
    found, exact = diagnostics(model, tol=tol), diagnostics(model, tol=1e-9)
    assert 1e-6 < found.error.max() <= tol
    roots = np.sqrt([exact.cooks_distance, found.cooks_distance])
    # The norm of all rows is at most that without the row, divided by 1 - h.
    away = np.abs(roots[0] - roots[1]) * np.sqrt(1 - exact.hat_diag)
    assert (away <= found.error * roots[1] + 1e-9).all()


def test_the_frame_and_the_order():
    pd = pytest.importorskip("pandas")
    rng, X, raw = rows()
    table = pd.DataFrame(X, columns=list("abcd"))
    ids = np.arange(60) + 100
    model = DeltaGradRidge().fit(table, raw + rng.standard_normal(60), sample_id=ids)
    found = diagnostics(model)
    first = found.most_influential(3)
    assert list(first.units) == list(np.argsort(-found.cooks_distance)[:3])
    frame = first.to_frame()
    assert list(frame["sample_id"]) == [100 + unit for unit in first.units]
    assert_allclose(frame["dfbetas c"], found.dfbetas[first.units, 2])
    assert_allclose(frame["dfbetas intercept"], found.dfbetas[first.units, 4])
    assert 2 <= len(repr(found).splitlines()) <= 5


def test_a_row_of_weight_zero_is_no_row():
    rng, X, raw = rows()
    y, weight = raw + rng.standard_normal(60), np.ones(60)
    weight[5] = 0.0
    found = diagnostics(DeltaGradRidge().fit(X, y, sample_weight=weight))
    others = np.arange(60) != 5
    expected = diagnostics(DeltaGradRidge().fit(X[others], y[others]))
    for name in NAMES:
        values = getattr(found, name)
        assert_allclose(values[others], getattr(expected, name), rtol=1e-9)
        assert_allclose(values[5], 0.0, atol=1e-12)


def test_errors_say_what_to_do():
    rng, X, raw = rows()
    y = raw + rng.standard_normal(60)
    several = DeltaGradRidge().fit(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match=r"one output, and the estimator has 2"):
        diagnostics(several)
    path = DeltaGradRidge(solver="gd", max_iter=5).fit(X, y)
    with pytest.raises(ValueError, match='solver="newton"'):
        diagnostics(path)
    with pytest.raises(ValueError, match="standardize=False"):
        diagnostics(DeltaGradRidge(standardize=True).fit(X, y))
    twice = DeltaGradRidge(alpha=0.0).fit(np.column_stack([X, X]), y)
    with pytest.raises(ValueError, match="singular in working precision"):
        diagnostics(twice)
    with pytest.raises(ValueError, match="tol must be a positive number"):
        diagnostics(DeltaGradRidge().fit(X, y), tol=-1.0)
