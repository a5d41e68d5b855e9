"""Edits through pipelines and other estimators that contain ours."""

from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

EDIT_TOL = 1e-8
GONE = [3, 17, 40, 99]


def classifier(C=1.0):
    return DeltaGradLogisticRegression(C=C, edit_tol=EDIT_TOL)


def regressor(alpha=1.0):
    return DeltaGradRidge(alpha=alpha, edit_tol=EDIT_TOL)


def log_scaled(model):
    """A pipeline with a transformer that learns nothing."""
    return make_pipeline(FunctionTransformer(np.log1p), model)


CLASSIFIERS = {
    "alone": classifier(),
    "pipeline": log_scaled(classifier()),
    "frozen": FrozenEstimator(classifier()),
    "voting": VotingClassifier(
        [("one", classifier()), ("two", log_scaled(classifier(0.1)))], voting="soft"
    ),
    "one against the rest": OneVsRestClassifier(classifier()),
    "pipeline of one against the rest": log_scaled(OneVsRestClassifier(classifier())),
}
REGRESSORS = {
    "targets": TransformedTargetRegressor(
        regressor(), func=np.log, inverse_func=np.exp
    ),
    "targets in a pipeline": log_scaled(
        TransformedTargetRegressor(regressor(), func=np.log, inverse_func=np.exp)
    ),
    "voting": VotingRegressor([("one", regressor()), ("two", regressor(10.0))]),
}
CASES = [
    pytest.param((model, data), id=f"{name}, {kind}")
    for models, data, kind in (
        (CLASSIFIERS, load_iris, "three classes"),
        (CLASSIFIERS, load_breast_cancer, "two classes"),
        (REGRESSORS, load_diabetes, "numbers"),
    )
    for name, model in models.items()
]


@pytest.fixture(params=CASES)
def case(request):
    model, load = request.param
    X, y = load(return_X_y=True)
    if load is load_iris:
        y = np.array(["setosa", "versicolor", "virginica"])[y]
    X = X / X.std(axis=0)
    X = X - X.min()
    return fitted(model, X, y), X, y


def fitted(model, X, y):
    model = deepcopy(model)
    if isinstance(model, FrozenEstimator):
        model.estimator.fit(X, y)  # the fit of a frozen estimator does nothing
        return model
    return model.fit(X, y)


def predicted(model, X):
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    return model.predict(X)


@pytest.mark.parametrize("by", ["content", "position"])
def test_the_result_is_that_of_a_fit_without_the_rows(case, by):
    model, X, y = case
    if by == "content":
        found = skdeltagrad.unlearn(model, X[GONE], y[GONE])
    else:
        found = skdeltagrad.unlearn(model, position=GONE)
    assert found is model
    again = fitted(model_of(model), np.delete(X, GONE, 0), np.delete(y, GONE))
    assert_allclose(predicted(model, X), predicted(again, X), rtol=1e-5, atol=1e-7)


def model_of(model):
    """An unfitted estimator of the same parameters."""
    if isinstance(model, FrozenEstimator):
        return FrozenEstimator(clone(model.estimator))
    return clone(model)


def test_rows_are_added_and_corrected(case):
    model, X, y = case
    skdeltagrad.partial_refit(model, X[:2], y[:2])
    skdeltagrad.partial_refit(model, X[[5]], y[[60]], position=[5], replace=True)
    changed = y.copy()
    changed[5] = y[60]
    rows = np.concatenate([X, X[:2]]), np.concatenate([changed, y[:2]])
    again = fitted(model_of(model), *rows)
    assert_allclose(predicted(model, X), predicted(again, X), rtol=1e-5, atol=1e-7)
    before = predicted(model, X)
    skdeltagrad.partial_refit(model)  # a retrain
    assert_allclose(predicted(model, X), before, rtol=1e-4, atol=1e-6)


def test_a_plan_changes_nothing(case):
    model, X, y = case
    before = predicted(model, X)
    plan = skdeltagrad.plan_unfit(model, X[GONE], y[GONE])
    assert plan.n_removed == len(GONE)
    assert plan.n_samples == len(X) - len(GONE)
    assert plan.seconds > 0
    assert_array_equal(predicted(model, X), before)


def test_a_purge_reaches_all_of_them(case):
    model, X, y = case
    skdeltagrad.unlearn(model, position=GONE)
    parts = [part for part, _, _ in skdeltagrad._estimators.composite._parts(
        model, None, None
    )]  # fmt: skip
    assert {part.purged_ for part in parts} == {"no"}
    assert skdeltagrad.purge(model) is model
    assert {part.purged_ for part in parts} == {"yes"}


def test_if_one_edit_fails_none_is_made():
    X, y = load_iris(return_X_y=True)
    model = VotingClassifier([("a", classifier()), ("b", classifier(0.1))]).fit(X, y)
    model.estimators_[1].unlearn(position=3)
    before = deepcopy(model)
    with pytest.raises(IndexError, match="position 3"):
        skdeltagrad.unlearn(model, position=[2, 3])
    for one, other in zip(model.estimators_, before.estimators_, strict=True):
        assert one.callback is None
        assert one.n_samples_ == other.n_samples_
        assert_array_equal(one.coef_, other.coef_)
        assert len(one.history_) == len(other.history_)
    skdeltagrad.unlearn(model, position=[2])
    assert [one.n_samples_ for one in model.estimators_] == [149, 148]


def test_callbacks_are_called_and_stay():
    X, y = load_iris(return_X_y=True)
    seen = []
    model = VotingClassifier([("a", classifier()), ("b", classifier(0.1))]).fit(X, y)
    for number, one in enumerate(model.estimators_):
        one.callback = lambda report, number=number: seen.append(number)
    given = [one.callback for one in model.estimators_]
    skdeltagrad.unlearn(model, position=[2])
    assert seen == [0, 1]
    assert [one.callback for one in model.estimators_] == given


X3, Y3 = load_iris(return_X_y=True)
INEXACT = {
    "GridSearchCV": (GridSearchCV(classifier(), {"C": [1.0]}, cv=2), "best_estimator_"),
    "CalibratedClassifierCV": (
        CalibratedClassifierCV(classifier(), cv=2), "calibrate it again"
    ),
    "BaggingClassifier": (BaggingClassifier(classifier(), n_estimators=2), "samples"),
    "StackingClassifier": (
        StackingClassifier([("a", classifier())], cv=2), "final estimator"
    ),
    "OneVsOneClassifier": (OneVsOneClassifier(classifier()), "any number of classes"),
    "RandomForestClassifier": (
        RandomForestClassifier(n_estimators=2), "at the end of this one"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INEXACT)
@pytest.mark.parametrize("edit", ["unlearn", "plan_unfit", "partial_refit"])
def test_what_would_not_be_exact_is_refused(name, edit):
    model, advice = INEXACT[name]
    model = deepcopy(model).fit(X3, Y3)
    with pytest.raises(TypeError, match=name) as error:
        getattr(skdeltagrad, edit)(model, X3[:2], Y3[:2])
    assert advice in str(error.value)
    with pytest.raises(TypeError, match=name):
        skdeltagrad.unlearn(make_pipeline(StandardScaler(), model).fit(X3, Y3))


def test_a_part_of_another_library_is_refused():
    voting = VotingClassifier([("a", classifier()), ("b", RandomForestClassifier())])
    with pytest.raises(TypeError, match="RandomForestClassifier"):
        skdeltagrad.unlearn(voting.fit(X3, Y3), position=3)
    targets = TransformedTargetRegressor(Ridge()).fit(X3, Y3)
    with pytest.raises(TypeError, match="is a Ridge"):
        skdeltagrad.unlearn(targets, position=3)


def test_labels_that_are_new_to_the_whole_are_refused():
    model = OneVsRestClassifier(classifier()).fit(X3, Y3)
    with pytest.raises(ValueError, match=r"was not fitted on, \[7\]"):
        skdeltagrad.partial_refit(model, X3[:1], [7])


def test_several_labels_at_once():
    labels = np.column_stack([Y3 == 0, Y3 >= 1, X3[:, 0] > 6]).astype(int)
    model = OneVsRestClassifier(classifier()).fit(X3, labels)
    skdeltagrad.unlearn(model, X3[GONE], labels[GONE])
    again = OneVsRestClassifier(classifier())
    again.fit(np.delete(X3, GONE, 0), np.delete(labels, GONE, 0))
    found, expected = model.predict_proba(X3), again.predict_proba(X3)
    assert_allclose(found, expected, atol=1e-7)
