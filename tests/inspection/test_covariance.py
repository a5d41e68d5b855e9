"""Covariances, next to statsmodels and to refits without each row or cluster."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad.inspection import covariance, jackknife, leave_one_out, summary

HC = ("HC0", "HC1", "HC2", "HC3")


def rows(n_rows=80, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, 3)) * [1.0, 2.0, 0.3] + [0.0, 1.0, 2.0]
    return rng, X, X @ [0.5, -0.4, 1.0] - 0.5


def with_constant(X):
    return np.column_stack([X, np.ones(len(X))])


@pytest.mark.parametrize("kind", HC)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_sandwiches_of_ridge_equal_statsmodels(kind, fit_intercept):
    sm = pytest.importorskip("statsmodels.api")
    X, y = load_diabetes(return_X_y=True)
    X = X * 20.0 + 1.0
    Z = with_constant(X) if fit_intercept else X
    expected = getattr(sm.OLS(y, Z).fit(), f"cov_{kind}")
    model = DeltaGradRidge(alpha=1e-10, fit_intercept=fit_intercept).fit(X, y)
    found = covariance(model, kind=kind)
    size = np.abs(expected).max()
    assert_allclose(found.matrix, expected, rtol=1e-9, atol=1e-9 * size)
    assert_allclose(found.standard_errors, np.sqrt(np.diag(expected)), rtol=1e-9)
    assert found.n_units == len(y) and found.error == 0.0


@pytest.mark.parametrize("family", ["Binomial", "Poisson"])
def test_sandwiches_of_other_losses_equal_statsmodels(family):
    sm = pytest.importorskip("statsmodels.api")
    rng, X, raw = rows()
    if family == "Poisson":
        y = rng.poisson(np.exp(raw * 0.4))
        model = DeltaGradPoissonRegressor(alpha=1e-9, tol=1e-12)
    else:
        y = (raw + rng.logistic(size=80) > 0).astype(int)
        model = DeltaGradLogisticRegression(C=1e9, tol=1e-12)
    theirs = sm.GLM(y, with_constant(X), getattr(sm.families, family)())
    expected = theirs.fit(tol=1e-14, cov_type="HC0").cov_params()
    found = covariance(model.fit(X, y), kind="HC0")
    assert_allclose(found.matrix, expected, rtol=1e-5)


def test_weights_are_those_of_weighted_least_squares():
    sm = pytest.importorskip("statsmodels.api")
    rng, X, raw = rows()
    y, weight = raw + rng.standard_normal(80), rng.uniform(0.2, 3.0, 80)
    theirs = sm.WLS(y, with_constant(X), weights=weight).fit()
    model = DeltaGradRidge(alpha=0.0).fit(X, y, sample_weight=weight)
    for kind in ("HC0", "HC1"):
        expected = getattr(theirs, f"cov_{kind}")
        assert_allclose(covariance(model, kind=kind).matrix, expected, rtol=1e-8)


@pytest.mark.parametrize("kind", HC)
def test_penalised_sandwiches_equal_their_definition(kind):
    rng, X, raw = rows()
    y, weight = (raw + rng.logistic(size=80) > 0).astype(int), rng.uniform(0.2, 3, 80)
    model = DeltaGradLogisticRegression(tol=1e-12).fit(X, y, sample_weight=weight)
    Z = with_constant(X)
    p = model.predict_proba(X)[:, 1]
    inverse = np.linalg.inv(
        (Z.T * weight * p * (1 - p)) @ Z + np.diag([1.0, 1.0, 1.0, 0.0])
    )
    h = weight * p * (1 - p) * np.einsum("ij,jk,ik->i", Z, inverse, Z)
    power = {"HC0": 0, "HC1": 0, "HC2": 1, "HC3": 2}[kind]
    factors = (weight * (y - p)) ** 2 / (1 - h) ** power
    expected = inverse @ ((Z.T * factors) @ Z) @ inverse
    if kind == "HC1":
        expected *= 80 / (80 - h.sum())
    assert_allclose(covariance(model, kind=kind).matrix, expected, rtol=1e-8)


def test_the_jackknife_has_its_standard_errors():
    rng, X, raw = rows()
    y = raw[:, np.newaxis] + rng.standard_normal((80, 2))
    for target in (y, y[:, 0]):
        model = DeltaGradRidge().fit(X, target)
        for groups in (None, np.arange(80) // 4):
            found = covariance(model, kind="jackknife", groups=groups)
            expected = jackknife(model, groups=groups)
            assert found.names == expected.names
            assert_allclose(found.standard_errors, expected.standard_error.ravel())
            assert_allclose(found.estimate, expected.estimate.ravel())


def refits(kind, X, y, cluster, model):
    """Coefficients without each cluster, by scikit-learn."""
    for number in np.unique(cluster):
        keep = cluster != number
        if kind == "logistic":
            fitted = LogisticRegression(
                C=model.C, solver="newton-cholesky", tol=1e-12
            ).fit(X[keep], y[keep])
        elif kind == "poisson":
            fitted = PoissonRegressor(
                alpha=model.alpha / keep.sum(), solver="newton-cholesky", tol=1e-12
            ).fit(X[keep], y[keep])
        else:
            fitted = Ridge(model.alpha, solver="cholesky").fit(X[keep], y[keep])
        yield np.append(fitted.coef_.ravel(), fitted.intercept_)


@pytest.mark.parametrize("kind", ["squared", "logistic", "poisson"])
@pytest.mark.parametrize("size", [3, 40])
def test_crv3_equals_refits_within_the_bound(kind, size):
    rng, X, raw = rows(n_rows=30 * size)
    cluster = np.arange(30 * size) % 30
    raw = raw + 0.5 * rng.standard_normal(30)[cluster]
    if kind == "logistic":
        y = (raw + rng.logistic(size=len(raw)) > 0).astype(int)
        model = DeltaGradLogisticRegression(tol=1e-10)
    elif kind == "poisson":
        y = rng.poisson(np.exp(0.4 * raw))
        model = DeltaGradPoissonRegressor(tol=1e-10)
    else:
        y = raw + rng.standard_normal(len(raw))
        model = DeltaGradRidge()
    model.fit(X, y, sample_id=cluster)
    change = np.array(list(refits(kind, X, y, cluster, model)))
    change -= np.append(model.coef_.ravel(), model.intercept_)
    expected = 29 / 30 * change.T @ change
    Z, variance = with_constant(X), variances(kind, model, X)
    H = (Z.T * variance) @ Z + np.diag([1.0, 1.0, 1.0, 0.0])
    half = np.linalg.inv(np.linalg.cholesky(H))
    parts = [half @ (Z.T * (variance * (cluster == g))) @ Z @ half.T for g in range(30)]
    largest = max(np.linalg.eigvalsh(part)[-1] for part in parts)
    for tol in (0.1, 1e-3, 1e-7):
        found = covariance(model, kind="CRV3", groups="sample_id", tol=tol)
        assert found.error <= (0.0 if kind == "squared" else tol)
        # Each change is right to this fraction of its length in the norm of the Hessian
        # without the cluster. In that of all rows, whose squares are at most 1 / (1 -
        # largest) times as large, the triangle inequality holds for all clusters.
        theirs, ours = (
            np.sqrt(np.trace(H @ matrix)) for matrix in (expected, found.matrix)
        )
        bound = found.error / np.sqrt(1.0 - largest)
        assert abs(theirs - ours) <= (bound + 1e-7) * ours
    assert_allclose(found.matrix, expected, rtol=1e-5, atol=1e-9)
    assert found.n_units == 30


def variances(kind, model, X):
    if kind == "logistic":
        return model.predict_proba(X).prod(axis=1)
    return model.predict(X) if kind == "poisson" else np.ones(len(X))


def test_intervals_and_the_summary():
    rng, X, raw = rows()
    model = DeltaGradRidge().fit(X, raw + rng.standard_normal(80))
    found = covariance(model)
    lower, upper = found.intervals(0.9)
    half = stats.norm.ppf(0.95) * found.standard_errors
    assert_allclose([lower, upper], [found.estimate - half, found.estimate + half])
    groups = np.arange(80) // 8
    clustered = covariance(model, kind="CRV3", groups=groups)
    half = stats.t(9).ppf(0.975) * clustered.standard_errors
    assert_allclose(clustered.intervals()[1], clustered.estimate + half)
    table = summary(model, kind="CRV3", groups=groups, level=0.99)
    assert table.names == ("x0", "x1", "x2", "intercept")
    assert_allclose(table.lower, clustered.intervals(0.99)[0])
    expected = 2 * stats.t(9).sf(np.abs(table.estimate / table.standard_error))
    assert_allclose(table.p_value, expected)
    text = repr(table)
    assert len(text.splitlines()) == 6
    assert f"{table.upper[2]:.4g}" in text.splitlines()[4]
    assert f"{table.upper[2]:.4g}" in table._repr_html_()
    assert 2 <= len(repr(clustered).splitlines()) <= 5
    frame = pytest.importorskip("pandas") and table.to_frame()
    assert_array_equal(frame.loc["x1", "upper"], table.upper[1])
    frame = clustered.to_frame()
    assert_array_equal(frame.loc["x1", "intercept"], clustered.matrix[1, 3])


def test_intervals_cover():
    """Where the variance grows with x, the classical interval covers too little."""
    hits = {"HC3": 0, "CRV3": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((100, 1))
        y = 2.0 * x[:, 0] + np.abs(x[:, 0]) * rng.standard_normal(100)
        model = DeltaGradRidge(alpha=0.0).fit(x, y)
        for kind in hits:
            groups = np.arange(100) // 4 if kind == "CRV3" else None
            lower, upper = covariance(model, kind=kind, groups=groups).intervals(0.9)
            hits[kind] += lower[0] <= 2.0 <= upper[0]
    # The standard error of the frequency is 0.021.
    assert all(0.85 <= count / 200 <= 0.95 for count in hits.values()), hits


def test_many_coefficients_are_cut():
    rng = np.random.default_rng(0)
    model = DeltaGradRidge().fit(rng.standard_normal((50, 30)), rng.random(50))
    lines = repr(summary(model)).splitlines()
    assert len(lines) == 23 and lines[-1] == "and 11 more"


def test_errors_say_what_to_do():
    rng, X, raw = rows()
    model = DeltaGradRidge().fit(X, raw)
    with pytest.raises(ValueError, match="kind must be one of HC0.*got 'HC4'"):
        covariance(model, kind="HC4")
    with pytest.raises(ValueError, match="leaves out clusters"):
        covariance(model, kind="CRV3")
    with pytest.raises(ValueError, match='takes no groups. Use "CRV3"'):
        covariance(model, groups=np.arange(80))
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        summary(model, level=95)
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 0"):
        covariance(model).intervals(0)
    several = DeltaGradRidge().fit(X, np.column_stack([raw, raw]))
    with pytest.raises(ValueError, match='kind="HC3" is for models with one output'):
        covariance(several)
    with pytest.raises(ValueError, match="everything, would be gone"):
        covariance(model, kind="CRV3", groups=np.zeros(80, int))


def test_nothing_is_changed(unchanged):
    rng, X, raw = rows()
    model = DeltaGradLogisticRegression().fit(X, (raw > 0).astype(int))
    with unchanged(model):
        covariance(model)
        covariance(model, kind="CRV3", groups=np.arange(80) // 8)
        leave_one_out(model)
