"""The parts of a replay's estimate, each where the truth is known by other means."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad._data.edit import Edit
from skdeltagrad._path import replay_error
from skdeltagrad._path.checkpoint_plan import CheckpointPlan
from skdeltagrad._path.checkpoint_replay import CheckpointReplay
from skdeltagrad._path.checkpoints import HessianArrays
from skdeltagrad._path.cost import Attempt
from skdeltagrad.inspection import leave_one_out

WHOLE = CheckpointPlan("whole", 1.0, 9)
SAMPLED = CheckpointPlan("whole", 0.1, 5)
BLOCK = CheckpointPlan("block", 1.0, 4)
MEAN = CheckpointPlan("mean", 1.0, 9)


def test_shapes_of_checks():
    until = replay_error.until_correction(8, step=2, corrected=6)
    assert_allclose(until, [1, 1, 1, 0.75, 0.5, 0.25, 0, 0])
    since = replay_error.since_correction(8, corrected=3, step=7)
    assert_allclose(since, [0, 0, 0, 0, 0.25, 0.5, 0.75, 1])


def test_the_estimate_is_made_of_its_parts():
    parts = {"checks": 3.0, "between": 12.0}
    assert_allclose(replay_error.combined(parts), 5.0)
    assert_allclose(replay_error.combined(parts, ("between", "noise")), 4.0)
    assert replay_error.combined({}) == 0.0


def test_evaluation_rows_and_the_cost_of_measuring_them():
    # A pass and a half for a correction point and for a check.
    assert Attempt.first(WHOLE, 4).on_all_rows
    assert Attempt(WHOLE, 100, 1, True).passes == 3.0
    # Where all rows are expensive, a sample is read; if that is, too, without checks.
    assert Attempt.first(SAMPLED, 30).on_all_rows
    assert not Attempt.first(SAMPLED, 29).on_all_rows
    assert_allclose(Attempt(SAMPLED, 10, 2, False).passes, 0.45)
    assert_allclose(Attempt(SAMPLED, 2, 2, False).passes, 0.45)
    assert_allclose(Attempt(SAMPLED, 1, 2, False).passes, 0.3)
    assert Attempt(SAMPLED, 20, 1, True).passes == 3.0
    assert Attempt(SAMPLED, 10, 1, True).passes == 1.5


def test_a_path_that_is_not_corrected_is_checked_twice():
    assert Attempt(MEAN, 100, 1, True).checks == ("early", "after")
    assert Attempt(MEAN, 100, 3, True).passes == 7.5
    assert Attempt(MEAN, 20, 1, True).checks == ("early",)
    assert Attempt(MEAN, 10, 1, True).checks == ()


def test_of_a_squared_error_rows_are_compared_early():
    assert Attempt(CheckpointPlan("whole", 1.0, 1), 100, 1, True).checks == ("early",)


def test_correction_points_of_a_block_are_nearer_to_the_start():
    assert WHOLE.properties.gap(1, 30) == 20
    assert BLOCK.properties.gap(1, 30) == 15


def test_the_two_halves_of_a_change():
    removed, *places = (np.array([number]) for number in range(4))
    change = Edit(removed).staged(*places)
    assert_array_equal(change.removal().removed_positions, [1])
    assert_array_equal(change.addition().added_positions, [3])
    assert len(change.removal()) == len(change.addition()) == 1


@pytest.fixture
def runs(monkeypatch, replay_always):
    """Every `CheckpointReplay` that is run, with residuals measured at once."""
    found, run = [], CheckpointReplay.run

    def recorded(replay):
        found.append(replay)
        result = run(replay)
        steps = {30, 74, 75, 76, 77} & set(range(replay._trajectory.n_steps))
        replay.residuals = {step: replay._residual_at(step) for step in steps}
        return result

    monkeypatch.setattr(CheckpointReplay, "run", recorded)
    return found


def model(**parameters):
    X, y = load_breast_cancer(return_X_y=True)
    parameters = {"solver": "gd", "max_iter": 150, "learning_rate": 0.2} | parameters
    return DeltaGradLogisticRegression(edit_tol=1e6, **parameters).fit(scale(X), y)


def test_second_differences_are_exact_for_hessians_on_a_parabola(runs):
    model().unlearn(position=[3, 5])
    (run,) = runs
    kept, arrays = run._checkpoints, list(run._hessians)
    at = np.concatenate([[0.0], np.cumsum(kept.gaps)])
    rng = np.random.default_rng(0)
    for number in (3, 4):  # second derivatives and blocks
        values = arrays[number]
        constant, slope, second = rng.standard_normal((3, *values.shape[1:]))
        t = at.reshape(-1, *[1] * (values.ndim - 1))
        arrays[number] = constant + slope * t + second * t**2
    second = kept.second_differences(HessianArrays(*arrays)).second_derivatives
    stretches = kept.stretches()
    assert len(stretches) > 3
    for first, last, bow in stretches:
        assert not bow[:first].any()
        assert not bow[last:].any()
        step = int(np.argmax(bow))
        point, fraction = kept.point[step], kept.progress[step]
        here = at[point] + fraction * kept.gaps[point]
        line = (1.0 - fraction) * arrays[3][point] + fraction * arrays[3][point + 1]
        # What the Hessian there is, less the line between its neighbours.
        missed = constant_of(arrays[3], at, here) - line
        assert_allclose(bow[step] * second[kept.point[first]], missed, atol=1e-9)


def constant_of(values, at, here):
    """The parabola through the first three values, at another place."""
    weights = [
        np.prod([(here - at[j]) / (at[i] - at[j]) for j in range(3) if j != i])
        for i in range(3)
    ]
    return np.tensordot(weights, values[:3], axes=1)


def test_a_check_measures_what_the_recorded_gradient_gets_wrong(runs):
    """With full batches it follows from the exact gradient of the rows that stay."""
    fitted = model()
    fitted.unlearn(position=[3, 40, 77])
    (run,) = runs
    replay, trajectory = run._replay, run._trajectory
    step = 30
    residual = run.residuals[step]
    old, new = (
        run_.iterates_at([step])[0] for run_ in (replay.base.trajectory, trajectory)
    )
    indices = fitted._training_set.table.live_indices()
    exact = replay.objective.gradient_sums(new, indices)
    rate, shrinkage, _ = replay.sizes
    penalty = shrinkage[step][:, np.newaxis] * new
    penalty[:, replay.objective.n_features :] = 0.0
    recorded = -(trajectory.steps[step] + penalty) / rate[step]
    expected = (exact - recorded) / replay.kept_weight[step, 0]
    assert np.linalg.norm(expected) > 0
    assert_allclose(
        residual * np.linalg.norm(new - old), expected, rtol=1e-6, atol=1e-13
    )


def test_from_either_end_a_step_has_the_same_residual(runs):
    model().unlearn(position=[3, 40, 77])
    (run,) = runs
    for step in (74, 76):
        base, trajectory = run._replay.base.trajectory, run._trajectory
        iterates = [t.iterates_at([step])[0] for t in (base, trajectory)]
        ends = [t.end - t.steps[step:].sum(axis=0) for t in (base, trajectory)]
        assert_allclose(iterates, ends, atol=1e-13)
    before, after = run.residuals[74], run.residuals[75]  # by way of either end
    assert np.linalg.norm(after - before) < 0.1 * np.linalg.norm(after)


def test_large_rows_that_leave_do_not_matter(runs):
    """Whatever their Hessian is: their gradients are computed, not predicted."""
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    X[7] *= 1e3
    parameters = {"solver": "gd", "max_iter": 60, "learning_rate": 1e-5}
    fitted = DeltaGradLogisticRegression(edit_tol=1e6, **parameters).fit(X, y)
    before = fitted.coef_
    replayed = fitted.unlearn(position=7).coef_
    assert not fitted.update_report_.refit
    exact = fitted.partial_refit().coef_
    assert np.linalg.norm(replayed - exact) < 1e-2 * np.linalg.norm(before - exact)


# What earlier edits left --------------------------------------------------------------

SGD = {"solver": "sgd", "max_iter": 60, "batch_size": 64, "learning_rate": 0.05}


def sequence(edits, **parameters):
    """Make edits one after the other; how far the last report is from the truth.

    Returns the model, and the error of its coefficients as a fraction of the distance
    that the last edit moved them, divided by the estimate.
    """
    fitted = model(random_state=0, **parameters)
    for edit in edits:
        before = fitted.coef_
        edit(fitted)
    after, estimate = fitted.coef_, fitted.update_report_.error_estimate
    exact = clone(fitted).set_params(period=1, edit_tol=1e-2).fit(*breast_cancer())
    for edit in edits:
        edit(exact)
    error = np.linalg.norm(after - exact.coef_) / np.linalg.norm(after - before)
    return fitted, error / estimate


def breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


def removal(*positions):
    return lambda fitted: fitted.unlearn(position=list(positions))


def addition(*numbers):
    X, y = breast_cancer()
    numbers = list(numbers)
    return lambda fitted: fitted.partial_refit(1.5 * X[numbers], 1 - y[numbers])


@pytest.mark.parametrize("schedule", [{}, SGD], ids=["gd", "sgd"])
@pytest.mark.parametrize("first", [removal, addition], ids=["removal", "addition"])
def test_what_an_earlier_edit_left_is_counted(first, schedule, replay_always):
    """One row leaves after many have changed the model, whose error is still there."""
    ratios = []
    for number in range(5):
        rows = np.arange(number, 400, 40)
        _, ratio = sequence([first(*rows), removal(500 + number)], **schedule)
        ratios.append(ratio)
    assert 1 / 4 < np.median(ratios) < 4
    assert max(ratios) < 6


@pytest.mark.parametrize("schedule", [{}, SGD], ids=["gd", "sgd"])
def test_errors_of_many_edits_add_up(schedule, replay_always):
    of_one_class = np.flatnonzero(load_breast_cancer().target == 0)[:60]
    at_random = np.random.default_rng(0).permutation(569)[:60]
    for rows in (of_one_class, at_random):
        edits = [removal(*some) for some in rows.reshape(20, 3)]
        _, ratio = sequence(edits, **schedule)
        assert 1 / 4 < ratio < 4


def test_a_retrain_clears_what_edits_left(replay_always):
    several = [removal(*range(40)), removal(50)]
    fitted, _ = sequence(several)
    dirty = fitted.update_report_.error_estimate
    loaded = pickle.loads(pickle.dumps(fitted))
    for retrain in (lambda one: one.partial_refit(), lambda one: one.purge()):
        clean = deepcopy(loaded)
        retrain(clean)
        clean.unlearn(position=60)
        assert clean.update_report_.error_estimate < dirty / 3
    loaded.unlearn(position=60)
    assert loaded.update_report_.error_estimate > dirty / 3


def test_of_an_unknown_error_there_is_no_estimate(replay_always):
    """The paper's replay has none, and what it left is part of any later error."""
    fitted = model().set_params(period=5).unlearn(position=[1, 2])
    assert fitted.update_report_.error_estimate is None
    fitted.set_params(period="auto").unlearn(position=3)
    assert not fitted.update_report_.refit
    assert fitted.update_report_.error_estimate is None
    fitted.partial_refit()
    assert fitted.unlearn(position=4).update_report_.error_estimate < 1e-2


def test_leaving_a_row_out_is_compared_with_the_model_as_it_is(replay_always):
    """Both models have what earlier edits left: their difference does not."""
    fitted = model(max_iter=20, learning_rate=0.5).unlearn(position=[*range(0, 400, 8)])
    groups = np.arange(fitted.update_report_.n_samples) % 260  # of two rows each
    found = leave_one_out(fitted, groups=groups)
    fitted.unlearn(position=500)
    assert np.median(found.error) < 0.2 * fitted.update_report_.error_estimate
