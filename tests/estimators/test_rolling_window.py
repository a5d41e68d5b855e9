"""Windows of the newest rows, by number and by age."""

from copy import deepcopy
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, RollingWindow

XC, YC = load_breast_cancer(return_X_y=True)
XC = XC / XC.std(axis=0)
XR, YR = load_diabetes(return_X_y=True)
EXACT = {"edit_tol": 1e-8}


def assert_model_of(window, X, y):
    again = clone(window.estimator).fit(X, y)
    assert_allclose(window.estimator_.coef_, again.coef_, rtol=1e-5, atol=1e-7)
    assert window.estimator_.n_samples_ == len(y)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, pd.DataFrame])
def test_a_number_of_rows(form):
    X, y = form(XC), pd.Series(YC) if form is pd.DataFrame else YC
    part = (lambda a, b: X.iloc[a:b]) if form is pd.DataFrame else lambda a, b: X[a:b]
    model = DeltaGradLogisticRegression(**EXACT)
    window = RollingWindow(model, n_rows=200).fit(part(0, 150), y[:150])
    for first in range(150, 500, 70):
        last = first + 70
        window.partial_fit(part(first, last), y[first:last])
        start = max(0, last - 200)
        assert_model_of(window, part(start, last), y[start:last])
    window.partial_fit(part(0, 400), y[:400])  # more than the window holds
    assert_model_of(window, part(200, 400), y[200:400])


@pytest.mark.parametrize("kind", ["numbers", "dates", "NumPy dates"])
def test_an_age(kind):
    rng = np.random.default_rng(0)
    time, age = np.arange(442) + rng.uniform(-20, 20, 442), 100.0
    given = time
    if kind != "numbers":
        given = np.datetime64("2026-01-01") + (time * 3600).astype("timedelta64[s]")
        age = timedelta(hours=100) if kind == "dates" else np.timedelta64(100, "h")
    window = RollingWindow(DeltaGradRidge(**EXACT), max_age=age)
    for first in range(0, 442, 60):
        new = slice(first, first + 60)
        window.partial_fit(XR[new], YR[new], time=given[new])
        seen = np.arange(442) < first + 60
        inside = seen & (time > time[seen].max() - 100.0 + 1e-3)
        # Rows that were too old once do not come back.
        assert_model_of(window, XR[inside], YR[inside])
        assert_array_equal(window.times_, given[inside])


def test_rows_that_come_too_late_are_left_out():
    window = RollingWindow(DeltaGradRidge(), max_age=10)
    window.fit(XR[:50], YR[:50], time=np.full(50, 100))
    before = window.estimator_.coef_.copy()
    window.partial_fit(XR[50:60], YR[50:60], time=np.full(10, 50))
    assert window.estimator_.n_samples_ == 50
    assert_array_equal(window.estimator_.coef_, before)


def test_erasures_in_the_window():
    ids = np.arange(442)
    window = RollingWindow(DeltaGradRidge(**EXACT), max_age=200)
    window.fit(XR[:200], YR[:200], time=ids[:200], sample_id=ids[:200])
    window.estimator_.unlearn(sample_id=[5, 150, 199])
    window.partial_fit(
        XR[200:300], YR[200:300], time=ids[200:300], sample_id=ids[200:300]
    )
    left = np.setdiff1d(np.arange(100, 300), [150, 199])
    assert_array_equal(window.times_, left)
    assert_model_of(window, XR[left], YR[left])
    window.estimator_.partial_refit(XR[:1], YR[:1], sample_id=[999])
    with pytest.raises(ValueError, match="does not know their times"):
        window.partial_fit(XR[:1], YR[:1], time=[301], sample_id=[1000])


def test_weights_and_scores():
    window = RollingWindow(DeltaGradLogisticRegression(**EXACT), n_rows=100)
    weight = np.random.default_rng(0).uniform(0.5, 2, 300)
    window.fit(XC[:300], YC[:300], sample_weight=weight)
    again = clone(window.estimator).fit(XC[200:300], YC[200:300], weight[200:])
    assert_allclose(window.predict_proba(XC), again.predict_proba(XC), atol=1e-8)
    assert_array_equal(window.predict(XC), again.predict(XC))
    assert_allclose(window.decision_function(XC), again.decision_function(XC))
    assert window.score(XC, YC) == again.score(XC, YC)
    assert_array_equal(window.classes_, [0, 1])
    assert is_classifier(window)
    assert is_regressor(RollingWindow(DeltaGradRidge(), n_rows=1))
    assert not hasattr(RollingWindow(DeltaGradRidge(), n_rows=1), "predict_proba")


def test_an_update_that_fails_changes_nothing():
    window = RollingWindow(DeltaGradLogisticRegression(), max_age=50)
    window.fit(XC[:100], YC[:100], time=np.arange(100))
    before, times = deepcopy(window.estimator_), window.times_
    bad = XC[100:102].copy()
    bad[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        window.partial_fit(bad, YC[100:102], time=[200, 201])
    ones = np.flatnonzero(YC == 1)[:30]
    with pytest.raises(ValueError, match="at least 2 classes"):
        window.partial_fit(XC[ones], YC[ones], time=np.full(30, 1000))
    assert_array_equal(window.estimator_.coef_, before.coef_)
    assert_array_equal(window.times_, times)


ERRORS = {
    "exactly one": {},
    "exactly one of n_rows": {"n_rows": 5, "max_age": 5},
    "n_rows must be an integer of 1 or more, got 0": {"n_rows": 0},
    "n_rows must be an integer of 1 or more, got 1.5": {"n_rows": 1.5},
    "max_age must be a positive": {"max_age": -1},
    "got timedelta": {"max_age": timedelta(0)},
    "time is missing": {"max_age": 5},
}


@pytest.mark.parametrize("message", ERRORS)
def test_parameters_are_checked(message):
    with pytest.raises(
        ValueError, match=message.replace("timedelta", "datetime.timed")
    ):
        RollingWindow(DeltaGradRidge(), **ERRORS[message]).fit(XR, YR)


TIMES = {
    "has shape": np.arange(3),
    "missing values": np.where(np.arange(442) == 7, np.nan, 1.0),
    "must hold numbers or dates": np.full(442, "2026-01-01"),
    "do not go together": np.full(442, np.datetime64("2026-01-01")),
}


@pytest.mark.parametrize("message", TIMES)
def test_times_are_checked(message):
    with pytest.raises(ValueError, match=message):
        RollingWindow(DeltaGradRidge(), max_age=5).fit(XR, YR, time=TIMES[message])


def test_other_estimators_are_refused():
    with pytest.raises(TypeError, match="got Ridge"):
        RollingWindow(Ridge(), n_rows=5).fit(XR, YR)
    with pytest.raises(NotFittedError):
        RollingWindow(DeltaGradRidge(), n_rows=5).predict(XR)


def test_times_are_given_always_or_never():
    window = RollingWindow(DeltaGradRidge(), n_rows=50)
    window.fit(XR[:50], YR[:50], time=np.arange(50))
    with pytest.raises(ValueError, match="is missing"):
        window.partial_fit(XR[50:60], YR[50:60])
    window.fit(XR[:50], YR[:50])
    assert window.times_ is None
    with pytest.raises(ValueError, match="fit was given none"):
        window.partial_fit(XR[50:60], YR[50:60], time=np.arange(10))
