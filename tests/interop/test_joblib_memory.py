"""Functions of estimators whose results joblib.Memory keeps."""

from copy import deepcopy

import joblib
import numpy as np
import pytest
from joblib import Memory
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, unlearn

CALLS = []


def fitted(estimator, X, y):
    CALLS.append("fitted")
    return clone(estimator).fit(X, y)


def without(model, positions):
    CALLS.append("without")
    return model.unlearn(position=positions)


@pytest.fixture
def memory(tmp_path):
    CALLS.clear()
    return Memory(tmp_path, verbose=0)


@pytest.mark.filterwarnings("ignore:Persisting input arguments")  # on a slow machine
@pytest.mark.parametrize(
    "estimator",
    [
        DeltaGradRidge(),
        DeltaGradRidge(solver="sgd", batch_size=100, max_iter=5, random_state=0),
        DeltaGradLogisticRegression(),
    ],
    ids=["ridge", "sgd", "logistic"],
)
def test_estimators_are_taken_and_returned(memory, estimator):
    X, y = load_diabetes(return_X_y=True)
    y = y > 100 if isinstance(estimator, DeltaGradLogisticRegression) else y
    fit, forget = memory.cache(fitted), memory.cache(without)
    first, again = fit(estimator, X, y), fit(estimator, X, y)
    assert CALLS == ["fitted"]
    assert first is not again
    assert_array_equal(first.coef_, again.coef_)
    # The same state makes the same hash, and an edit another one.
    left = forget(again, [1, 2])
    assert left.update_report_.n_samples == len(y) - 2
    assert CALLS == ["fitted", "without"]
    assert_array_equal(forget(fit(estimator, X, y), [1, 2]).coef_, left.coef_)
    assert CALLS == ["fitted", "without"]
    forget(left, [3])
    assert CALLS == ["fitted", "without", "without"]
    fit(clone(estimator).set_params(fit_intercept=False), X, y)
    assert CALLS[-1] == "fitted"


def test_a_hash_is_that_of_the_purged_estimator():
    """Its coefficients may change in the last digits by that, and no second time."""
    X, y = load_diabetes(return_X_y=True)
    model = DeltaGradRidge().fit(X, y).unlearn(position=[1, 2])
    before, first = model.coef_, joblib.hash(model)
    assert model.purged_ == "yes"
    assert_allclose(model.coef_, before, rtol=1e-9)
    assert joblib.hash(model) == first
    assert joblib.hash(deepcopy(model)) == first
    assert joblib.hash(model.unlearn(position=5)) != first


def test_memory_of_a_pipeline(memory):
    X, y = load_diabetes(return_X_y=True)
    steps = Pipeline(
        [("scale", StandardScaler()), ("model", DeltaGradRidge())], memory=memory
    ).fit(X, y)
    unlearn(steps, X[:5], y[:5])
    fresh = DeltaGradRidge().fit(steps[0].transform(X)[5:], y[5:])
    assert np.allclose(steps[-1].coef_, fresh.coef_, rtol=1e-9)
