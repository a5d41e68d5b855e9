"""The parts of a replay's estimate, each where the truth is known by other means."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad._data.edit import Edit
from skdeltagrad._path import correction_points, replay_error
from skdeltagrad._path.checkpoint_replay import SeededReplay
from skdeltagrad._path.checkpoints import SeedKind

WHOLE = SeedKind("whole", 1.0, 9)
SAMPLED = SeedKind("whole", 0.1, 5)
BLOCK = SeedKind("block", 1.0, 4)
MEAN = SeedKind("mean", 1.0, 9)


def test_shapes_of_checks():
    until = replay_error.until_node(8, step=2, node=6)
    assert_allclose(until, [1, 1, 1, 0.75, 0.5, 0.25, 0, 0])
    since = replay_error.since_node(8, node=3, step=7)
    assert_allclose(since, [0, 0, 0, 0, 0.25, 0.5, 0.75, 1])


def test_the_estimate_is_made_of_its_parts():
    parts = {"checks": 3.0, "between": 12.0}
    assert_allclose(replay_error.combined(parts), 5.0)
    assert_allclose(replay_error.combined(parts, ("between", "noise")), 4.0)
    assert replay_error.combined({}) == 0.0


def test_rows_that_are_measured_and_their_price():
    # A pass and a half for a node and for a check.
    assert correction_points.begins_on_all(WHOLE, 4)
    assert correction_points.passes(WHOLE, 1, True, n_epochs=100) == 3.0
    # Where all rows are dear, a sample is taken; where that is dear, too, no check.
    assert correction_points.begins_on_all(SAMPLED, 30)
    assert not correction_points.begins_on_all(SAMPLED, 29)
    assert_allclose(correction_points.passes(SAMPLED, 2, False, n_epochs=10), 0.45)
    assert_allclose(correction_points.passes(SAMPLED, 2, False, n_epochs=2), 0.45)
    assert_allclose(correction_points.passes(SAMPLED, 2, False, n_epochs=1), 0.3)
    assert correction_points.passes(SAMPLED, 1, True, n_epochs=20) == 3.0
    assert correction_points.passes(SAMPLED, 1, True, n_epochs=10) == 1.5


def test_a_run_that_is_not_corrected_is_checked_twice():
    assert correction_points.checks(MEAN, True, n_epochs=100) == ("early", "after")
    assert correction_points.passes(MEAN, 3, True, n_epochs=100) == 7.5
    assert correction_points.checks(MEAN, True, n_epochs=20) == ("early",)
    assert correction_points.checks(MEAN, True, n_epochs=10) == ()


def test_of_a_squared_error_rows_are_compared_early():
    assert correction_points.checks(SeedKind("whole", 1.0, 1), True, n_epochs=100) == (
        "early",
    )


def test_nodes_of_a_block_are_nearer_to_the_start():
    assert correction_points.gap(WHOLE, 1, 30) == 20
    assert correction_points.gap(BLOCK, 1, 30) == 15


def test_the_two_halves_of_a_change():
    removed, *places = (np.array([number]) for number in range(4))
    change = Edit(removed).staged(*places)
    assert_array_equal(change.removal().removed_positions, [1])
    assert_array_equal(change.addition().added_positions, [3])
    assert len(change.removal()) == len(change.addition()) == 1


@pytest.fixture
def runs(monkeypatch, replay_always):
    """Every `SeededReplay` that is run, and its residuals: later the rows are gone."""
    found, run = [], SeededReplay.run

    def recorded(replay, n_nodes):
        found.append(replay)
        result = run(replay, n_nodes)
        steps = {30, 74, 75, 76, 77} & set(range(replay._trajectory.n_steps))
        replay.residuals = {step: replay._residual_at(step) for step in steps}
        return result

    monkeypatch.setattr(SeededReplay, "run", recorded)
    return found


def model(**parameters):
    X, y = load_breast_cancer(return_X_y=True)
    parameters = {"solver": "gd", "max_iter": 150, "learning_rate": 0.2} | parameters
    return DeltaGradLogisticRegression(edit_tol=1e6, **parameters).fit(scale(X), y)


def test_second_differences_are_exact_for_hessians_on_a_parabola(runs):
    model().unlearn(position=[3, 5])
    (run,) = runs
    seed, arrays = run._seed, list(run._hessians)
    at = np.concatenate([[0.0], np.cumsum(seed.gaps)])
    rng = np.random.default_rng(0)
    for number in (3, 4):  # bends and blocks
        values = arrays[number]
        constant, slope, bend = rng.standard_normal((3, *values.shape[1:]))
        t = at.reshape(-1, *[1] * (values.ndim - 1))
        arrays[number] = constant + slope * t + bend * t**2
    *_, bends, _, _, _ = seed.second_differences(tuple(arrays))
    stretches = seed.stretches()
    assert len(stretches) > 3
    for first, last, bow in stretches:
        assert not bow[:first].any()
        assert not bow[last:].any()
        step = int(np.argmax(bow))
        point, share = seed.point[step], seed.progress[step]
        here = at[point] + share * seed.gaps[point]
        line = (1.0 - share) * arrays[3][point] + share * arrays[3][point + 1]
        # What the Hessian there is, less the line between its neighbours.
        missed = constant_of(arrays[3], at, here) - line
        assert_allclose(bow[step] * bends[first_point(seed, first)], missed, atol=1e-9)


def first_point(seed, step):
    return seed.point[step]


def constant_of(values, at, here):
    """The parabola through the first three values, at another place."""
    weights = [
        np.prod([(here - at[j]) / (at[i] - at[j]) for j in range(3) if j != i])
        for i in range(3)
    ]
    return np.tensordot(weights, values[:3], axes=1)


def test_a_check_measures_what_the_recorded_gradient_gets_wrong(runs):
    """With full batches that is told by the exact gradient of the rows that stay."""
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
    """Whatever their Hessian is: they are known, not predicted."""
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
