"""Parameters that are set and have no effect with the chosen solver: `fit` warns."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

X, Y = load_iris(return_X_y=True)
X, Y = X[::3], Y[::3]
BOTH = [DeltaGradLogisticRegression, DeltaGradRidge]

# Every parameter that does not mean the same to all solvers, and another value.
VALUES = {
    "tol": 1e-3,
    "edit_tol": 0.1,
    "curvature": "diagonal",
    "learning_rate": 0.05,
    "batch_size": 20,
    "burn_in": 3,
    "period": 5,
    "history_size": 3,
    "cache_dtype": "float32",
    "cache_folder": ".",
}
# Those that have no effect: by solver and period.
OF_PATHS = {"learning_rate", "burn_in", "period", "history_size"}
OF_PATHS |= {"cache_dtype", "cache_folder"}
IGNORED = {
    ("newton", "auto"): OF_PATHS | {"batch_size"},
    ("gd", "auto"): {"tol", "curvature", "batch_size", "burn_in", "history_size"},
    ("gd", 4): {"tol", "curvature", "batch_size", "edit_tol"},
    ("sgd", "auto"): {"tol", "curvature", "burn_in", "history_size"},
    ("sgd", 4): {"tol", "curvature", "edit_tol"},
}


def warnings_of(model, y=Y):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    return [warning for warning in caught if "no effect" in str(warning.message)]


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(("solver", "period"), IGNORED)
def test_each_parameter(tmp_path, kind, name, solver, period):
    value = tmp_path if name == "cache_folder" else VALUES[name]
    model = kind(solver=solver, period=period, max_iter=50)
    model.set_params(**{name: value})
    # A period is ignored by newton only, and decides about others elsewhere.
    found = warnings_of(model)
    assert len(found) == (name in IGNORED[solver, period])
    for warning in found:
        assert warning.category is UserWarning
        assert warning.filename == __file__
        shown = f"{name}={value!r}"[:50]  # values are cut
        assert shown in str(warning.message)
        assert f"solver={solver!r}" in str(warning.message)


def test_the_message_names_parameters_and_ways_out():
    model = DeltaGradLogisticRegression(learning_rate=0.1, period=5, batch_size=64)
    (warning,) = warnings_of(model)
    assert str(warning.message) == (
        "These parameters have no effect with solver='newton': learning_rate=0.1 and "
        "period=5 (of solver='gd' and 'sgd'), batch_size=64 (of solver='sgd'). Set "
        "solver, or leave them at their defaults."
    )
    model = DeltaGradRidge(
        solver="gd", curvature="exact", burn_in=0, history_size=3, max_iter=5
    )
    (warning,) = warnings_of(model)
    assert str(warning.message) == (
        "These parameters have no effect with solver='gd' and period='auto': "
        "curvature='exact' (of solver='newton'), burn_in=0 and history_size=3 (of a "
        "period that is a number). Set solver and period, or leave them at their "
        "defaults."
    )


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("solver", ["newton", "gd", "sgd"])
def test_defaults_that_are_passed_are_no_news(kind, solver):
    """As `clone` and searches do, and of other types of the same value."""
    model = clone(kind(solver=solver, max_iter=50, random_state=0, verbose=0))
    explicit = clone(model).set_params(**clone(kind()).get_params())
    explicit.set_params(solver=solver, max_iter=50)
    others = clone(explicit).set_params(batch_size=np.int64(1024), tol=np.float64(1e-4))
    for each in (model, explicit, others):
        assert warnings_of(each) == []


def test_arrays_and_paths_are_compared():
    rates = np.full(50, 0.1)
    (warning,) = warnings_of(DeltaGradRidge(learning_rate=rates, max_iter=50))
    assert "learning_rate=array([" in str(warning.message)
    assert len(str(warning.message)) < 400
    (warning,) = warnings_of(DeltaGradRidge(cache_folder=Path("runs")))
    assert "cache_folder=" in str(warning.message)


def test_edits_do_not_warn_again():
    model = DeltaGradLogisticRegression(batch_size=64)
    with pytest.warns(UserWarning, match="batch_size=64"):
        model.fit(X, Y)
    model.unlearn(position=0).partial_refit(X[:1], Y[:1]).partial_refit()
    with pytest.warns(UserWarning, match="batch_size=64"):
        model.fit(X, Y)


def test_where_warnings_are_errors_nothing_has_changed(unchanged):
    model = DeltaGradLogisticRegression().fit(X, Y)
    model.set_params(batch_size=64)
    with unchanged(model), pytest.raises(UserWarning, match="batch_size=64"):
        model.fit(X, Y)


def test_subclasses_have_defaults_of_their_own():
    class Small(DeltaGradRidge):
        def __init__(self, alpha=1.0, *, batch_size=32):
            super().__init__(alpha, batch_size=batch_size, learning_rate=0.1)

    assert warnings_of(Small()) == []
    (warning,) = warnings_of(Small(batch_size=1024))
    assert "batch_size=1024" in str(warning.message)


def test_a_search_warns_of_the_candidates_that_ignore_something():
    grid = [{"solver": ["newton"], "C": [0.1, 1.0]}, {"solver": ["gd"], "period": [5]}]
    pipeline = make_pipeline(
        StandardScaler(), DeltaGradLogisticRegression(max_iter=60, random_state=0)
    )
    step = "deltagradlogisticregression__"
    grid = [{step + name: each for name, each in part.items()} for part in grid]
    assert warnings_of(GridSearchCV(pipeline, grid, cv=2)) == []
    grid[0][step + "period"] = [5]
    assert len(warnings_of(GridSearchCV(pipeline, grid[:1], cv=2))) == 2 * 2 + 1
