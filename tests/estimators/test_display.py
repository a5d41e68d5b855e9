"""Pictures of runs show what the runs were."""

import sys
from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes, load_wine
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, TrajectoryDisplay


@pytest.fixture
def plt():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture(scope="module")
def wine():
    X, y = load_wine(return_X_y=True)
    return scale(X), y


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_the_objective_is_the_objective(plt, wine, class_weight):
    X, y = wine
    C = 0.5
    model = DeltaGradLogisticRegression(
        C, solver="gd", max_iter=80, period=5, class_weight=class_weight
    ).fit(X, y)
    model.unlearn(position=[3, 4, 5, 100])
    X, y = np.delete(X, [3, 4, 5, 100], axis=0), np.delete(y, [3, 4, 5, 100])
    display = TrajectoryDisplay.from_estimator(model, n_points=20)
    assert display.step[0] == 0 and display.step[-1] == 80
    weight = np.ones(len(y))
    if class_weight is not None:
        weight = (len(y) / 3 / np.bincount(y))[y]
    penalty = (model.coef_**2).sum() / (2 * C * weight.sum())
    end = log_loss(y, model.predict_proba(X), sample_weight=weight) + penalty
    assert_allclose(display.objective[[0, -1]], [np.log(3), end])
    assert np.all(np.diff(display.objective) < 0)
    assert_array_equal(display.exact, model.trajectory_.exact)
    assert_array_equal(display.line_.get_xdata(), display.step)
    assert_array_equal(display.line_.get_ydata(), display.objective)
    marks = display.exact_line_.get_xdata()
    assert_array_equal(marks, np.flatnonzero(model.trajectory_.exact))
    assert display.drift_line_ is None
    assert display.figure_ is display.ax_.figure


def test_the_drift_is_the_distance_from_the_run_before(plt):
    X, y = load_diabetes(return_X_y=True)
    X = scale(X) + np.arange(10)
    model = DeltaGradRidge(solver="gd", max_iter=50, period=1).fit(X, y)
    before = deepcopy(model)
    model.unlearn(position=np.arange(40))
    fig, ax = plt.subplots()
    kwargs = {
        "line_kw": {"color": "k"},
        "exact_kw": {"marker": "x"},
        "drift_kw": {"color": "g", "label": "moved"},
    }
    display = TrajectoryDisplay.from_estimator(model, previous=before, ax=ax, **kwargs)
    assert display.ax_ is ax and display.figure_ is fig
    assert display.line_.get_color() == "k"
    assert display.exact_line_.get_marker() == "x"
    assert display.drift_line_.get_label() == "moved"
    assert display.drift[0] == 0.0
    # At the end in terms of what is published: of columns centred as in the new run.
    centre = model._engine.model.centre
    ends = [
        np.append(m.coef_, m.intercept_ + m.coef_ @ centre) for m in (model, before)
    ]
    assert_allclose(display.drift[-1], np.linalg.norm(ends[0] - ends[1]))
    assert_allclose(display.drift_line_.get_ydata(), display.drift)
    mse = mean_squared_error(y[40:], model.predict(X[40:]))
    end = mse / 2 + (model.coef_**2).sum() / (2 * (len(y) - 40))
    assert_allclose(display.objective[-1], end)
    # The same centre: by the trajectories alone.
    other = deepcopy(model).unlearn(position=100)
    assert_array_equal(other._engine.model.centre, model._engine.model.centre)
    one = TrajectoryDisplay.from_estimator(other, previous=model)
    two = TrajectoryDisplay.from_estimator(other, previous=model.trajectory_, name="z")
    assert_allclose(one.drift, two.drift, rtol=1e-12)
    assert two.line_.get_label() == "z"
    again = two.plot(name="again")
    assert again is two and two.line_.get_label() == "again"


def test_a_replay_without_an_exact_step(plt, wine, replay_always):
    X, y = wine
    model = DeltaGradLogisticRegression(
        solver="sgd", max_iter=60, batch_size=60, random_state=0, edit_tol=10.0
    ).fit(X, y)
    model.unlearn(position=3)
    assert not model.update_report_.refit
    display = TrajectoryDisplay.from_estimator(model)
    assert display.exact_line_ is None


def test_drawing_changes_nothing(plt, wine, unchanged):
    model = DeltaGradLogisticRegression(solver="gd", max_iter=5).fit(*wine)
    with unchanged(model):
        TrajectoryDisplay.from_estimator(model, previous=model)


def test_errors(plt, wine, monkeypatch):
    X, y = wine
    newton = DeltaGradLogisticRegression().fit(X, y)
    draw = TrajectoryDisplay.from_estimator
    with pytest.raises(AttributeError, match='Fit with solver="gd"'):
        draw(newton)
    model = DeltaGradLogisticRegression(solver="gd", max_iter=5).fit(X, y)
    with pytest.raises(TypeError, match="pass its last step"):
        draw(make_pipeline(model))
    with pytest.raises(TypeError, match="or its trajectory_, got ndarray"):
        draw(model, previous=model.coef_)
    shorter = DeltaGradLogisticRegression(solver="gd", max_iter=4).fit(X, y)
    with pytest.raises(ValueError, match="no runs of the same model"):
        draw(model, previous=shorter)
    display = draw(model)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for call in (lambda: draw(model), display.plot):
        with pytest.raises(ImportError, match="TrajectoryDisplay.* requires"):
            call()
