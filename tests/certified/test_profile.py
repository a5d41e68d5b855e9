"""What the models before and after the removal of a row reveal of that row."""

import math

import numpy as np
import pytest
from adversarial_edits import Optimum, published
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad.certified import privacy_profile
from skdeltagrad.certified._accounting import epsilon_of

KINDS = {
    "binomial": (DeltaGradLogisticRegression, lambda raw: (raw > 0).astype(int)),
    "multinomial": (
        DeltaGradLogisticRegression,
        lambda raw: np.digitize(raw, [-0.5, 0.5]),
    ),
    "ridge": (DeltaGradRidge, lambda raw: raw),
    "ridges": (DeltaGradRidge, lambda raw: np.column_stack([raw, -(raw**2)])),
    "poisson": (DeltaGradPoissonRegressor, lambda raw: np.floor(np.exp(raw))),
}


def rows(kind, n_rows=30, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, 3))
    raw = X @ [1.0, -0.5, 0.2] + 0.5 * rng.standard_normal(n_rows)
    return X, KINDS[kind][1](raw), np.ones(n_rows)


def fitted(kind="binomial", **parameters):
    X, y, _ = rows(kind)
    return KINDS[kind][0](**parameters).fit(X, y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_distances_are_those_of_the_optima_without_each_row(kind, fit_intercept):
    """In extended precision, in units of the coefficients, to the tolerance asked."""
    X, y, weight = rows(kind)
    est = fitted(kind, fit_intercept=fit_intercept).refine(distance=1e-10)
    scale = np.arange(1.0, 4.0 + fit_intercept)
    profile = privacy_profile(est, 1e-3, scale=scale, tol=1e-3)
    for row in (0, 7, 29):
        kept = np.arange(len(X)) != row
        without = Optimum(est, X[kept], y[kept], weight[kept]).coefficients
        expected = np.linalg.norm((published(est) - without) / scale)
        assert profile.distance[row] == pytest.approx(expected, rel=5e-3, abs=1e-9)
    assert np.allclose(profile.mu, profile.distance / 1e-3, rtol=1e-12)


def test_publications_while_a_row_was_there_add_up_as_roots():
    est = fitted()
    one = privacy_profile(est, 1e-2)
    four = privacy_profile(est, 1e-2, n_publications=4)
    assert np.allclose(four.mu, 2.0 * one.mu)
    counts = np.arange(30)
    each = privacy_profile(est, 1e-2, n_publications=counts)
    assert np.allclose(each.mu, np.sqrt(counts) * one.mu)
    assert (each.distance == one.distance).all()


def test_epsilons_of_each_unit():
    profile = privacy_profile(fitted(), 1e-2)
    expected = [epsilon_of(mu, 1e-6) for mu in profile.mu]
    assert np.allclose(profile.epsilon(1e-6), expected, rtol=1e-12)
    assert (profile.epsilon(1e-2) <= profile.epsilon(1e-6)).all()


def test_groups_leave_together():
    X, y, _ = rows("ridge")
    ids = np.repeat(np.arange(10), 3)
    est = DeltaGradRidge().fit(X, y, sample_id=ids)
    profile = privacy_profile(est, 1e-2, groups="sample_id", tol=1e-3)
    assert profile.units.tolist() == list(range(10))
    without = DeltaGradRidge().fit(X[3:], y[3:])
    expected = np.linalg.norm(published(est) - published(without))
    assert profile.distance[0] == pytest.approx(expected, rel=1e-2)


def test_a_row_without_which_there_is_no_model():
    X, y, _ = rows("binomial")
    y = np.zeros(len(X), int)
    y[4] = 1
    est = DeltaGradLogisticRegression().fit(X, y)
    with pytest.warns(FitFailedWarning, match="Without 4"):
        profile = privacy_profile(est, 1e-2)
    assert math.isnan(profile.mu[4])
    assert math.isnan(profile.epsilon(1e-6)[4])
    assert np.isfinite(np.delete(profile.epsilon(1e-6), 4)).all()


def test_the_estimator_is_not_changed(unchanged):
    est = fitted()
    with unchanged(est):
        privacy_profile(est, 1e-2)


@pytest.mark.parametrize("noise", [0.0, -1.0, np.nan, np.inf, True, None, "1"])
def test_noise_that_is_none(noise):
    with pytest.raises(ValueError, match="noise must be a number above 0"):
        privacy_profile(fitted(), noise)


@pytest.mark.parametrize("counts", [-1, 1.5, True, None, [1, 2], np.ones(30), "1"])
def test_publications_that_are_none(counts):
    with pytest.raises(ValueError, match="n_publications must be"):
        privacy_profile(fitted(), 1e-2, n_publications=counts)


@pytest.mark.parametrize("scale", [0.0, [1.0, 2.0], "1"])
def test_scales_that_are_none(scale):
    with pytest.raises(ValueError, match="scale"):
        privacy_profile(fitted(), 1e-2, scale=scale)


def test_deltas_that_are_none():
    with pytest.raises(ValueError, match="delta must be a number"):
        privacy_profile(fitted(), 1e-2).epsilon(2.0)


def test_it_must_be_fitted():
    with pytest.raises(NotFittedError):
        privacy_profile(clone(fitted()), 1e-2)
