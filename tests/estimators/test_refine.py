"""Refined coefficients are as near to the optimum as they are said to be."""

import numpy as np
import pytest
from adversarial_edits import Sequence, published, quiet
from hypothesis import settings
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)

# 45 by default, and 1,050 in the long profile: see doc/testing.md.
N_SEQUENCES = settings().max_examples // 2
N_BLOCKS = 5
ESTIMATORS = [DeltaGradLogisticRegression, DeltaGradPoissonRegressor, DeltaGradRidge]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    return X, (X[:, 0] + rng.standard_normal(200) > 0).astype(int)


def drawn_scale(rng, shape):
    """Return a scale in one of its forms, and the units of all coefficients."""
    numbers = 10.0 ** rng.uniform(-2, 2, shape)
    scale = [None, float(numbers[0, 0]), numbers[0], numbers][rng.integers(4)]
    return scale, np.broadcast_to(1.0 if scale is None else scale, shape)


# The bound.


@pytest.mark.parametrize("block", range(N_BLOCKS))
def test_coefficients_are_within_the_bound_and_the_bound_is_within_the_distance(
    block, unchanged
):
    """Against an optimum in extended precision, after edits that are hard on rounding.

    Where the distance is refused, nothing has changed, and it is also refused for half
    of a model that never saw any other rows: the refusal says nothing about them.
    """
    n_refined = 0
    for seed in range(block, N_SEQUENCES, N_BLOCKS):
        sequence = Sequence.drawn(seed)
        for _ in range(2):
            for _ in range(sequence.rng.integers(1, 4)):
                sequence.edit()
            n_refined += refine_and_check(seed, sequence, unchanged)
    assert n_refined > N_SEQUENCES / N_BLOCKS


def refine_and_check(seed, sequence, unchanged):
    """Return whether a distance was reached, after checking that it was; or not."""
    model, rng = sequence.model, sequence.rng
    scale, units = drawn_scale(rng, published(model).shape)
    distance = 10.0 ** rng.uniform(-10, -1)
    try:
        with quiet():
            model.refine(distance=distance, scale=scale)
    except ValueError:
        with quiet(), unchanged(model), pytest.raises(ValueError, match="brought"):
            model.refine(distance=distance, scale=scale)
        if (
            model.curvature == "subset"
        ):  # an eighth of so few rows depends on their order
            return False
        with quiet(), pytest.raises(ValueError, match="brought"):
            sequence.fitted_again().refine(distance=distance / 2, scale=scale)
        return False
    optimum, bound = sequence.optimum(), model.update_report_.coef_bound
    apart = np.linalg.norm((published(model) - optimum.coefficients) / units)
    assert np.linalg.norm(optimum.error / units) <= 0.1 * bound, seed
    assert apart <= bound <= distance, (seed, sequence)
    return True


@pytest.mark.parametrize("far", [1e2, 1e6, 1e8])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("curvature", ["exact", "diagonal"])
@pytest.mark.parametrize("kind", [DeltaGradLogisticRegression, DeltaGradRidge])
def test_a_distance_is_not_refused_because_of_rows_that_were_removed(
    kind, curvature, standardize, far, rows
):
    """Columns were centred at the rows that left, and their sums hold the rounding."""
    X, y = rows
    around = X.copy()
    around[40:] += far
    model = kind(curvature=curvature, standardize=standardize)
    with quiet():
        edited = clone(model).fit(around, y).unlearn(position=np.arange(40, 200))
        fresh = model.fit(X[:40], y[:40])
    for estimator in (edited, fresh):
        estimator.refine(distance=1e-10)
    assert edited.update_report_.coef_bound <= 1e-10
    assert np.abs(edited.coef_ - fresh.coef_).max() <= 2e-10


@pytest.mark.parametrize(("first", "second"), [(2.2, 1.8), (1.5, 3.0), (0.0, 2.2)])
def test_what_can_be_reached_does_not_depend_on_rows_that_were_removed(first, second):
    """Means of columns moved across where columns begin to be centred, or away."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 30)) + second
    y = (X[:, 0] + rng.standard_normal(400) > second).astype(int)
    X[200:] += 2.0 * (first - second)
    edited = DeltaGradLogisticRegression(curvature="exact").fit(X, y)
    edited.unlearn(position=np.arange(200, 400))
    fresh = clone(edited).fit(X[:200], y[:200])
    assert (edited._engine.model.centre != fresh._engine.model.centre).any()
    floors = [
        estimator._engine.refined(estimator._training_set, 1e-30, np.ones((1, 31)))
        for estimator in (edited, fresh)
    ]
    one, other = (floor.summary()["coef_bound"] for floor in floors)
    assert one == pytest.approx(other, rel=0.05)


def test_near_what_can_be_reached_the_report_counts_a_fit_from_zero(rows):
    """Steps aim at half of the distance, so that the fit decides what is refused."""
    model = DeltaGradLogisticRegression().fit(*rows)
    of_fit = model.update_report_
    tried = model._engine.refined(model._training_set, 1e-30, np.ones((1, 4)))
    floor = tried.summary()["coef_bound"]
    model.refine(distance=1.5 * floor)
    report = model.update_report_
    assert report.coef_bound <= 1.5 * floor
    assert report.n_passes > of_fit.n_passes
    assert report.n_hessians >= of_fit.n_hessians
    model.refine(distance=4.0 * floor)
    assert model.update_report_.n_passes < of_fit.n_passes


def test_a_refined_model_has_converged(rows):
    """Whatever it was before: a warning would say that an edit was stopped."""
    X, y = rows
    with pytest.warns(ConvergenceWarning):
        model = DeltaGradLogisticRegression(max_iter=1).fit(X, y)
    assert model.refine(distance=1e-9).update_report_.coef_bound <= 1e-9
    model.unlearn(position=3).refine(distance=1e-9)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_refining_again_costs_one_pass_and_a_smaller_distance_a_few(kind, rows):
    model = kind().fit(*rows)
    model.refine(distance=1e-6)
    model.refine(distance=1e-6)
    assert model.update_report_.n_passes == 1.0
    assert model.update_report_.n_hessians == 0.0
    model.refine(distance=1e-11)
    assert model.update_report_.n_passes <= 4.0
    assert model.update_report_.coef_bound <= 1e-11


def test_edits_after_a_refinement_are_those_of_any_model(rows):
    """The refined optimum is where the next edit starts from."""
    X, y = rows
    model = DeltaGradLogisticRegression(edit_tol=1e-3).fit(X, y)
    model.refine(distance=1e-10).unlearn(position=np.arange(20))
    report = model.update_report_
    assert report.operation == "unlearn"
    assert report.coef_bound is None
    assert report.change_bound < 1e-3
    fresh = DeltaGradLogisticRegression().fit(X[20:], y[20:]).refine(distance=1e-10)
    apart = np.abs(model.coef_ - fresh.coef_).max()
    assert apart < 1e-3 * np.linalg.norm(fresh.coef_)
    assert model.refine(distance=1e-10) is model
    assert np.abs(model.coef_ - fresh.coef_).max() <= 2e-10


def test_the_report_says_that_it_was_refined(rows):
    model = DeltaGradRidge().fit(*rows).refine(distance=1e-8)
    report = model.update_report_
    assert report.operation == "refine"
    assert "coefficients are off by at most" in str(report)
    assert report.n_samples == report.n_samples_before == len(rows[0])
    assert model.history_[-1] is report
    assert model.purged_ == "yes"
    assert model.unlearn(position=3).refine(distance=1e-8).purged_ == "no"


# Misuse: an error that names what is wrong, and nothing changes.


@pytest.mark.parametrize("distance", [0.0, -1.0, np.nan, np.inf, True, "small", None])
def test_distances_that_are_none(distance, rows, unchanged):
    model = DeltaGradRidge().fit(*rows)
    with unchanged(model), pytest.raises(ValueError, match="distance must be"):
        model.refine(distance=distance)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (0.0, "has the entry 0.0"),
        (-1, "has the entry -1"),
        (np.nan, "has the entry nan"),
        ([1, 1, np.inf, 1], "has the entry inf"),
        ([1, 1], r"shape \(2,\)"),
        (np.ones((2, 4)), r"shape \(2, 4\)"),
        (True, "must be a number"),
        ("large", "must be a number"),
        ([1, None, 1, 1], "must be a number"),
        # Squares of these are no numbers, or nothing at all.
        (1e-200, "between 1e-150 and 1e[+]150"),
        ([1, 1, 1, 1e200], "between 1e-150 and 1e[+]150"),
    ],
)
def test_scales_that_are_none(scale, message, rows, unchanged):
    model = DeltaGradRidge().fit(*rows)
    with unchanged(model), pytest.raises(ValueError, match=message):
        model.refine(distance=1e-3, scale=scale)


def test_without_intercepts_a_scale_has_no_place_for_them(rows):
    model = DeltaGradRidge(fit_intercept=False).fit(*rows)
    model.refine(distance=1e-9, scale=[1, 2, 3])
    with pytest.raises(ValueError, match="scale has shape") as error:
        model.refine(distance=1e-9, scale=[1, 2, 3, 4])
    assert "intercept" not in str(error.value)


@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_paths_have_no_bound(solver, rows, unchanged):
    model = DeltaGradLogisticRegression(solver=solver, max_iter=5, random_state=0)
    model.fit(*rows)
    with unchanged(model), pytest.raises(ValueError, match="estimated, not bounded"):
        model.refine(distance=1e-3)


def test_rows_must_be_stored(rows, unchanged):
    model = DeltaGradLogisticRegression(store_data=False).fit(*rows)
    with unchanged(model), pytest.raises(ValueError, match="store_data=True"):
        model.refine(distance=1e-3)


def test_it_must_be_fitted():
    with pytest.raises(NotFittedError):
        DeltaGradRidge().refine(distance=1e-3)


def test_below_the_rounding_floor_the_error_says_what_can_be_reached(rows, unchanged):
    model = DeltaGradLogisticRegression().fit(*rows)
    with unchanged(model), pytest.raises(ValueError, match="that rounding allows is"):
        model.refine(distance=1e-18)


@pytest.mark.parametrize("name", ["coef_", "intercept_"])
def test_coefficients_that_were_assigned(name, rows, unchanged):
    model = DeltaGradLogisticRegression().fit(*rows)
    setattr(model, name, getattr(model, name) + 1e-12)
    with unchanged(model), pytest.raises(ValueError, match=f"{name} is not what"):
        model.refine(distance=1e-3)


def test_a_parameter_that_was_changed(rows, unchanged):
    model = DeltaGradLogisticRegression().fit(*rows).set_params(C=2.0)
    with unchanged(model), pytest.raises(ValueError, match="C was 1.0 in fit"):
        model.refine(distance=1e-3)


def test_a_callback_that_fails_undoes_it(rows, unchanged):
    def refuse(report):
        raise RuntimeError("not today")

    model = DeltaGradLogisticRegression(callback=refuse)
    model.callback = None
    model.fit(*rows).unlearn(position=[1, 2])
    model.callback = refuse
    before = model.coef_.copy()
    with unchanged(model), pytest.raises(RuntimeError, match="not today"):
        model.refine(distance=1e-9)
    assert_array_equal(model.coef_, before)
