"""Conformal prediction of MAPIE around estimators that are fitted already."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes, load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

pytest.importorskip("mapie")
from mapie.classification import SplitConformalClassifier  # noqa: E402
from mapie.regression import SplitConformalRegressor  # noqa: E402

LEVEL = 0.9


def intervals(model, X, y, X_new):
    wrapped = SplitConformalRegressor(model, confidence_level=LEVEL, prefit=True)
    return wrapped.conformalize(X, y).predict_interval(X_new)[1][:, :, 0]


def sets(model, X, y, X_new):
    wrapped = SplitConformalClassifier(model, confidence_level=LEVEL, prefit=True)
    return wrapped.conformalize(X, y).predict_set(X_new)[1][:, :, 0]


def test_intervals_before_and_after_unlearning():
    X, y = load_diabetes(return_X_y=True)
    rest = (X[200:320], y[200:320], X[320:])
    model = DeltaGradRidge(alpha=0.1).fit(X[:200], y[:200])
    before = intervals(model, *rest)
    assert_allclose(before, intervals(Ridge(0.1).fit(X[:200], y[:200]), *rest))
    covered = (before[:, 0] <= y[320:]) & (y[320:] <= before[:, 1])
    assert covered.mean() > LEVEL - 0.1
    model.unlearn(position=np.arange(50))
    after = intervals(model, *rest)
    assert_allclose(after, intervals(Ridge(0.1).fit(X[50:200], y[50:200]), *rest))
    assert np.abs(after - before).max() > 1.0


def test_prediction_sets_before_and_after_unlearning():
    X, y = load_wine(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(y))
    X, y = scale(X)[order][:, :3], y[order]
    rest = (X[80:130], y[80:130], X[130:])
    model = DeltaGradLogisticRegression(edit_tol=1e-6).fit(X[:80], y[:80])
    before = sets(model, *rest)
    exact = LogisticRegression(tol=1e-10, max_iter=1000)
    assert_array_equal(before, sets(exact.fit(X[:80], y[:80]), *rest))
    assert before[np.arange(len(before)), y[130:]].mean() > LEVEL - 0.1
    model.unlearn(position=np.arange(50))
    after = sets(model, *rest)
    assert_array_equal(after, sets(exact.fit(X[50:80], y[50:80]), *rest))
    assert (after != before).any()
