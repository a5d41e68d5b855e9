"""Sets of rows whose removal flips a conclusion, by refits without them."""

from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad.inspection import influential_set


def rows(n_rows=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, 3))
    return rng, X, X @ [0.8, -0.5, 0.1]


def refit_without(model, X, y, removed):
    stay = ~np.isin(np.arange(len(y)), removed)
    return clone(model).fit(X[stay], y[stay])


def smallest_by_enumeration(X, y, column):
    """The size of the smallest set whose removal flips a coefficient."""
    sign = np.sign(LinearRegression().fit(X, y).coef_[column])
    for size in range(1, len(y)):
        for some in combinations(range(len(y)), size):
            other = refit_without(LinearRegression(), X, y, some)
            if other.coef_[column] * sign < 0:
                return size
    raise AssertionError("no set flips it")


@pytest.mark.parametrize("seed", range(6))
def test_against_enumeration(seed):
    rng, X, _ = rows(12, seed)
    X = X[:, :2]
    y = 0.6 * X[:, 0] + rng.standard_normal(12)
    model = DeltaGradRidge(alpha=0.0).fit(X, y)
    found = influential_set(model, coef=0)
    other = refit_without(model, X, y, found.units)
    assert found.is_found and other.coef_[0] * model.coef_[0] < 0
    assert_allclose(found.values[0], model.coef_[0])
    assert_allclose(found.values[-1], other.coef_[0], rtol=1e-6)
    # One more than the smallest at most; on most draws as many.
    smallest = smallest_by_enumeration(X, y, 0)
    assert smallest <= len(found.units) <= smallest + 1


def test_planted_rows_are_found():
    rng, X, raw = rows()
    y = raw + 0.1 * rng.standard_normal(60)
    X[[7, 31], 2], y[[7, 31]] = 20.0, [-60.0, -60.0]  # these two make it negative
    model = DeltaGradRidge().fit(X, y)
    assert model.coef_[2] < -1.0
    found = influential_set(model, coef="x2")
    assert_array_equal(np.sort(found.units), [7, 31])
    assert found.n_removed == 2 and len(found.values) == 3
    assert "2 rows flip the coefficient of x2" in repr(found)


KINDS = ["logistic", "three classes", "poisson", "ridge"]


def model_and_targets(kind, rng, raw):
    if kind == "poisson":
        return DeltaGradPoissonRegressor(), rng.poisson(np.exp(0.5 * raw))
    if kind == "ridge":
        return DeltaGradRidge(), raw + rng.standard_normal(len(raw))
    if kind == "logistic":
        y = np.where(raw + rng.logistic(size=len(raw)) > 0, "yes", "no")
        return DeltaGradLogisticRegression(), y
    scores = raw[:, np.newaxis] * [1.0, 0.0, -1.0] + rng.gumbel(size=(len(raw), 3))
    return DeltaGradLogisticRegression(), np.array(list("abc"))[scores.argmax(axis=1)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grouped", [False, True])
def test_flips_are_confirmed_by_refits(kind, grouped, unchanged):
    rng, X, raw = rows()
    model, y = model_and_targets(kind, rng, raw)
    ids = 100 + np.arange(60) // 3
    model.set_params(tol=1e-8).fit(X, y, sample_id=ids)
    number = 2
    with unchanged(model):
        found = influential_set(
            model, coef=number, groups="sample_id" if grouped else None
        )
    removed = found.units
    if grouped:
        removed = np.flatnonzero(np.isin(ids, found.units))
    else:
        assert_array_equal(found.sample_ids, ids[found.units])
    assert found.is_found and found.n_removed == len(removed)
    other = refit_without(model, X, y, removed).coef_.ravel()[number]
    assert other * model.coef_.ravel()[number] < 0
    assert_allclose(found.values[-1], other, rtol=1e-3)
    of_row = ids if grouped else np.arange(60)
    before = np.flatnonzero(np.isin(of_row, found.units[:-1]))
    before = refit_without(model, X, y, before).coef_.ravel()[number]
    assert before * model.coef_.ravel()[number] >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_flip(kind):
    rng, X, raw = rows()
    model, y = model_and_targets(kind, rng, raw)
    new, threshold = np.array([[0.4, 0.2, -0.3]]), 0.0
    model.set_params(tol=1e-8).fit(X, y)
    if kind in ("poisson", "ridge"):
        threshold = model.predict(new)[0] + 0.1
    found = influential_set(model, X=new, threshold=threshold)
    assert found.is_found
    other = refit_without(model, X, y, found.units).predict(new)[0]
    if kind in ("poisson", "ridge"):
        assert_allclose(found.values[-1], other, rtol=1e-5)
        assert model.predict(new)[0] < threshold < other
    else:
        assert other != model.predict(new)[0]
        assert found.values[0] > 0 > found.values[-1]


def test_labels_of_groups_follow_the_rows_that_are_left():
    rng, X, raw = rows()
    y = raw + rng.standard_normal(60)
    model = DeltaGradRidge().fit(X, y).unlearn(position=[0, 17])
    labels = np.array([f"group {number % 12}" for number in range(60)])
    live = np.delete(np.arange(60), [0, 17])
    found = influential_set(model, coef="x2", groups=labels[live])
    stay = live[~np.isin(labels[live], found.units)]
    assert found.is_found and found.unit_name == "group"
    other = DeltaGradRidge().fit(X[stay], y[stay])
    assert_allclose(found.values[-1], other.coef_[2], rtol=1e-7)


def test_the_search_gives_up(capsys):
    rng, X, raw = rows()
    model = DeltaGradRidge().fit(X, raw + 0.1 * rng.standard_normal(60))
    found = influential_set(model, coef="x0", max_units=3, verbose=1)
    assert not found.is_found and len(found.units) == 3
    assert "3 rows do not flip the coefficient of x0" in repr(found)
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert np.all(np.diff(found.values) < 0)
    # A class may not lose its last row.
    y = np.repeat([0, 1], [2, 58])
    model = DeltaGradLogisticRegression(C=0.01).fit(X, y)
    found = influential_set(model, coef="intercept", threshold=-50.0)
    assert not found.is_found and np.isin([0, 1], found.units).sum() < 2


def test_the_result_can_be_read():
    pytest.importorskip("pandas")
    rng, X, raw = rows()
    ids = np.arange(60) + 100
    model = DeltaGradRidge().fit(X, raw + rng.standard_normal(60), sample_id=ids)
    found = influential_set(model, coef="x2")
    assert 2 <= len(repr(found).splitlines()) <= 5
    assert max(map(len, repr(found).splitlines())) <= 88
    assert "flip the coefficient of x2" in found._repr_html_()
    frame = found.to_frame()
    assert_array_equal(frame.index, found.units)
    assert_array_equal(frame["value"], found.values[1:])
    assert_array_equal(frame["sample_id"], 100 + found.units)


def test_errors_say_what_to_do():
    rng, X, raw = rows()
    model = DeltaGradRidge().fit(X, raw)
    classifier = DeltaGradLogisticRegression().fit(X, raw > 0)
    several = DeltaGradRidge().fit(X, np.column_stack([raw, raw]))
    with pytest.raises(ValueError, match="exactly one of coef"):
        influential_set(model)
    with pytest.raises(ValueError, match="exactly one of coef"):
        influential_set(model, coef=0, X=X[:1])
    with pytest.raises(ValueError, match="coef must be one of 'x0'.*got 'age'"):
        influential_set(model, coef="age")
    with pytest.raises(ValueError, match="number from 0 to 3; got 4"):
        influential_set(model, coef=4)
    with pytest.raises(ValueError, match="X must have one row, got 2"):
        influential_set(model, X=X[:2])
    with pytest.raises(ValueError, match="threshold must be 0 for the label"):
        influential_set(classifier, X=X[:1], threshold=0.5)
    with pytest.raises(ValueError, match="threshold must be a finite number"):
        influential_set(model, coef=0, threshold=np.nan)
    with pytest.raises(ValueError, match="models with one target"):
        influential_set(several, X=X[:1])
    with pytest.raises(ValueError, match="max_units must be 1 or more, got 0"):
        influential_set(model, coef=0, max_units=0)
