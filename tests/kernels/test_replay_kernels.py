"""Predicted steps of a replay against dense matrices and a plain loop."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skdeltagrad
from skdeltagrad._kernels import replay

N_FEATURES, N_POINTS, N_STEPS = 4, 3, 12


class Hessians:
    """Random Hessians along a path: as the kernels read them, and as matrices.

    Parameters
    ----------
    form : {"whole", "directed"}
    framed : bool
        Whether the loss has a coordinate less than outputs, as with many classes.
    by_output : bool
        Whether a block is that of every output, as with a squared error.
    """

    def __init__(self, form, n_groups, n_outputs, framed, by_output, n_dof, dtype):
        rng = np.random.default_rng(1)
        self.frame = np.eye(n_outputs)
        if framed:
            square = rng.normal(size=(n_outputs, n_outputs - 1))
            self.frame = np.linalg.qr(square)[0]
        m = self.frame.shape[1]
        n_directions = n_dof if form == "whole" else 2
        basis = np.linalg.qr(rng.normal(size=(n_dof, n_directions)))[0].T
        self.basis = np.ascontiguousarray(basis[: 0 if form == "whole" else None])
        self.tail = rng.random((n_groups, n_dof))
        self.bends = positive(rng, n_groups, m)
        size = n_directions * (1 if by_output else m)
        self.blocks = positive(rng, n_groups, size).astype(dtype)
        self.point = np.sort(rng.integers(N_POINTS, size=N_STEPS))
        # Nothing is to be read beyond the last point.
        self.progress = np.where(self.point < N_POINTS - 1, rng.random(N_STEPS), 0.0)
        self.progress[0] = 0.0

    def arrays(self):
        return (
            self.frame, self.basis, self.tail, self.bends, self.blocks, self.point,
            self.progress,
        )  # fmt: skip

    def at_point(self, point, group):
        """B as a matrix on flattened iterates."""
        bends, block = self.bends[point, group], self.blocks[point, group].astype(float)
        n_dof, each = self.tail.shape[1], np.eye(len(bends))
        basis = self.basis if len(self.basis) else np.eye(n_dof)
        if len(block) == len(basis):
            block = np.kron(each, block)
        U = np.kron(each, basis)
        inside = U.T @ block @ U
        if len(self.basis):
            inside += np.kron(bends, np.diag(self.tail[group]))
        Q = np.kron(self.frame, np.eye(n_dof))
        return Q @ inside @ Q.T

    def matrix(self, step, group):
        """B as a matrix, between two points."""
        before, share = self.point[step], self.progress[step]
        after = min(before + 1, N_POINTS - 1)
        return (1 - share) * self.at_point(before, group) + share * self.at_point(
            after, group
        )


def positive(rng, n_groups, size):
    """Positive semidefinite matrices, so that no run runs away."""
    roots = rng.normal(size=(N_POINTS, n_groups, size, size)) / np.sqrt(2 * size)
    return roots @ np.swapaxes(roots, -1, -2)


class Case:
    """A cached run of arbitrary steps, and an edit of it."""

    def __init__(
        self,
        form="directed",
        n_groups=1,
        n_outputs=2,
        framed=False,
        by_output=False,
        n_intercepts=1,
        dtype="float64",
        blocks="float64",
    ):
        rng = np.random.default_rng(0)
        self.shape = n_outputs, N_FEATURES + n_intercepts
        by_group = (n_groups, *self.shape)
        self.hessians = Hessians(
            form, n_groups, n_outputs, framed, by_output, self.shape[1], blocks
        )
        self.weight = 1.0 + 9.0 * rng.random((N_STEPS, n_groups))
        self.kept_weight = 0.8 * self.weight
        self.cached = self.some_sizes(rng, self.weight)
        self.sizes = self.some_sizes(rng, self.kept_weight)
        self.steps = rng.normal(size=(N_STEPS, *self.shape)).astype(dtype)
        self.group_sums = rng.normal(size=(N_STEPS, n_groups - 1, *self.shape))
        self.group_sums = self.group_sums.astype(dtype)
        self.iterate = rng.normal(size=self.shape)
        self.drift = rng.normal(size=self.shape)
        self.touched, self.residual = rng.normal(size=(2, *by_group))
        self.residual *= 0.1

    @staticmethod
    def some_sizes(rng, weight):
        n_groups = weight.shape[1]
        group_weight = 0.5 + rng.random(n_groups) if n_groups > 1 else np.ones(1)
        rate = (0.2 + 0.2 * rng.random(N_STEPS)) / weight.sum(axis=1)
        shrinkage = 0.1 * rng.random((N_STEPS, 4))
        return rate, shrinkage, group_weight

    def without_batch(self, step, of_cached, of_new):
        """Nobody was in the batch of a step, or nobody is left there."""
        if of_cached:
            self.weight[step] = self.kept_weight[step] = 0.0
            self.cached[0][step] = self.steps[step] = self.group_sums[step] = 0.0
        if of_new:
            self.kept_weight[step] = self.sizes[0][step] = 0.0

    def run(self, *bounds):
        """Steps by the kernel, over the stretches between some bounds."""
        run = Run(self)
        for first, last in zip(bounds[:-1], bounds[1:], strict=True):
            touched = self.touched if first == bounds[0] else 0.0 * self.touched
            run.reached = replay.predict_steps(
                *self.arguments(run, first, last, touched)
            )
        return run

    def arguments(self, run, first, last, touched):
        """Those of `predict_steps`."""
        n_outputs = self.shape[0]
        cached, sizes = (
            (rate, np.ascontiguousarray(shrinkage[:, :n_outputs]), group_weight)
            for rate, shrinkage, group_weight in (self.cached, self.sizes)
        )
        return (
            first, last, run.iterate, run.drift, touched, self.residual, N_FEATURES,
            cached, sizes, (self.steps, self.group_sums), (run.steps, run.group_sums),
            self.kept_weight, self.hessians.arrays(), self.work(),
            run.lengths, run.moves, run.bends,
        )  # fmt: skip

    def carried(self, change, sources, growth, run=None, record=False):
        """A change carried on over all steps, in a copy."""
        change = change.copy()
        run = run or Run(self)
        *_, sizes, _, new_run, weight, hessian, work, _, _, _ = self.arguments(
            run, 0, N_STEPS, self.touched
        )
        replay.propagate(
            0, N_STEPS, change, sources, growth, N_FEATURES, sizes, new_run, weight,
            hessian, work, record,
        )  # fmt: skip
        return change

    def work(self):
        return np.full((self.weight.shape[1] + 2, *self.shape), np.nan)

    def penalty(self, sizes, step, iterate):
        """The intercepts are not shrunk."""
        penalty = sizes[1][step, : self.shape[0], np.newaxis] * iterate
        penalty[:, N_FEATURES:] = 0.0
        return penalty

    def respond(self, step, group, change):
        matrix = self.hessians.matrix(step, group)
        return (matrix @ change.ravel()).reshape(self.shape)

    def old_gradients(self, step, iterate):
        """Those of the cached run, by group."""
        *others, weight_of_last = self.cached[2]
        sums = np.zeros_like(self.touched)
        if self.cached[0][step] > 0.0:
            total = -(self.steps[step] + self.penalty(self.cached, step, iterate))
            sums[:-1] = self.group_sums[step]
            sums[-1] = total / self.cached[0][step]
            for factor, other in zip(others, sums[:-1], strict=True):
                sums[-1] -= factor * other
            sums[-1] /= weight_of_last
        return sums


class Run:
    """What a replay starts with, and where its steps go."""

    def __init__(self, case):
        self.iterate, self.drift = case.iterate.copy(), case.drift.copy()
        self.steps = np.zeros_like(case.steps)
        self.group_sums = np.zeros_like(case.group_sums)
        self.lengths, self.moves, self.bends = np.zeros((3, N_STEPS))


def naive_run(case, first=0, last=N_STEPS):
    """The recursion of the module's docstring, by matrices."""
    run = Run(case)
    for step in range(first, last):
        old_step = case.steps[step].astype(float)
        length = np.linalg.norm(run.drift)
        run.lengths[step] = length
        rate, _, factor = case.sizes
        if rate[step] > 0.0:
            sums = case.old_gradients(step, run.iterate)
            responses = np.zeros_like(sums)
            for group, weight in enumerate(case.kept_weight[step]):
                responses[group] = case.respond(step, group, run.drift)
                change = responses[group] + length * case.residual[group]
                sums[group] += weight * change
                if case.kept_weight[step, group] == 0.0:
                    sums[group] = 0.0
            if step == first:
                sums += case.touched
            new_step = -rate[step] * np.tensordot(factor, sums, axes=1)
            new_step -= case.penalty(case.sizes, step, run.iterate + run.drift)
            run.steps[step] = new_step
            run.group_sums[step] = sums[:-1]
            run.bends[step] = np.linalg.norm(responses)
        run.moves[step] = np.linalg.norm(run.steps[step] - old_step)
        run.drift += run.steps[step].astype(float) - old_step
        run.iterate += old_step
    return run


def naive_carry(case, change, sources, growth):
    """The same for a change of the new run; returns the changes of its steps, too."""
    rate, _, factor = case.sizes
    change = change.copy()
    of_steps, of_sums = np.zeros(case.steps.shape), np.zeros(case.group_sums.shape)
    for step in np.flatnonzero(rate):
        sums = np.zeros_like(case.touched)
        for group in np.flatnonzero(case.kept_weight[step]):
            sums[group] = case.respond(step, group, change)
            for source, grown in zip(sources, growth[:, step], strict=True):
                sums[group] += grown * source[group]
            sums[group] *= case.kept_weight[step, group]
        of_sums[step] = sums[:-1]
        of_steps[step] = -rate[step] * np.tensordot(factor, sums, axes=1)
        of_steps[step] -= case.penalty(case.sizes, step, change)
        change += of_steps[step]
    return change, of_steps, of_sums


def assert_same_run(found, expected, rtol=1e-11):
    for name, array in vars(expected).items():
        if name != "reached":
            scale = np.abs(array).max(initial=1.0)
            assert_allclose(
                getattr(found, name), array, rtol=0, atol=rtol * scale, err_msg=name
            )


FORMS = {
    "whole": {"form": "whole"},
    "whole, one output": {"form": "whole", "n_outputs": 1},
    "whole, of every output": {"form": "whole", "by_output": True},
    "directed": {},
    "directed, one output": {"n_outputs": 1},
    "directed, of every output": {"by_output": True, "n_outputs": 3},
    "whole, framed": {"form": "whole", "n_outputs": 3, "framed": True},
    "directed, framed": {"n_outputs": 4, "framed": True},
    "whole, groups": {"form": "whole", "n_groups": 3, "n_outputs": 3, "framed": True},
    "directed, groups": {"n_groups": 2, "n_outputs": 3, "framed": True},
    "no intercept": {"n_intercepts": 0, "n_groups": 2},
    "float32 blocks": {"blocks": "float32", "n_groups": 2},
    "float32 blocks, whole": {"form": "whole", "blocks": "float32"},
}


@pytest.fixture(params=FORMS)
def case(request):
    return Case(**FORMS[request.param])


# ---------------------------------------------------------------------------
# One response
# ---------------------------------------------------------------------------


def test_a_response_is_a_dense_matrix_times_the_drift(case):
    shares = case.hessians.progress
    assert shares.min() == 0.0
    assert shares.max() > 0.0
    for step in range(N_STEPS):
        found = np.full_like(case.touched, np.nan)
        before = case.drift.copy()
        replay.hessian_product(case.drift, step, case.hessians.arrays(), found)
        expected = [case.respond(step, group, before) for group in range(len(found))]
        assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
        assert_array_equal(case.drift, before)


def test_between_two_points_it_is_between_their_responses():
    case = Case(n_groups=2)
    hessians, found = case.hessians, np.zeros((3, *case.touched.shape))
    hessians.point[:] = 1
    for number, share in enumerate((0.0, 0.25, 1.0)):
        hessians.progress[:] = share
        replay.hessian_product(case.drift, 0, hessians.arrays(), found[number])
    here, between, there = found
    assert np.abs(here - there).max() > 0.1
    assert_allclose(between, 0.75 * here + 0.25 * there, rtol=1e-12, atol=1e-13)


def test_what_lies_across_the_directions_meets_the_tail_alone():
    case = Case(n_outputs=3)
    basis, tail = case.hessians.basis, case.hessians.tail
    tail[:] = 0.7
    across = case.drift - case.drift @ basis.T @ basis
    found = np.zeros_like(case.touched)
    replay.hessian_product(across, 0, case.hessians.arrays(), found)
    bends = case.hessians.bends[case.hessians.point[0], 0]
    assert_allclose(found[0], 0.7 * bends @ across, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("form", ["whole", "directed"])
def test_what_lies_across_the_coordinates_of_the_loss_meets_nothing(form):
    case = Case(form, n_outputs=3, framed=True)
    frame = case.hessians.frame
    found = np.full_like(case.touched, np.nan)
    across = case.drift - frame @ frame.T @ case.drift
    assert np.linalg.norm(across) > 0.1
    replay.hessian_product(across, 0, case.hessians.arrays(), found)
    assert_allclose(found, 0.0, atol=1e-14)


# ---------------------------------------------------------------------------
# Many steps
# ---------------------------------------------------------------------------


def test_steps_are_those_of_a_plain_loop(case):
    found = case.run(0, N_STEPS)
    assert found.reached == N_STEPS
    assert_same_run(found, naive_run(case))


def test_steps_in_the_middle_leave_the_others_alone(case):
    found = case.run(3, 7)
    assert found.reached == 7
    assert_same_run(found, naive_run(case, 3, 7))
    for array in (found.steps, found.lengths, found.moves, found.bends):
        assert array[3:7].any()
        assert not np.delete(array, slice(3, 7), axis=0).any()


def test_no_steps_at_all(case):
    found = case.run(5, 5)
    assert found.reached == 5
    assert_same_run(found, Run(case), rtol=0.0)


@pytest.mark.parametrize("step", [0, 6, N_STEPS - 1])
@pytest.mark.parametrize(
    ("of_cached", "of_new"), [(True, False), (False, True), (True, True)]
)
@pytest.mark.parametrize("form", ["whole", "directed, groups"])
def test_empty_batches(form, of_cached, of_new, step):
    """Of the old run, so that rows that join fill them; of the new one; of both."""
    case = Case(**FORMS[form])
    case.without_batch(step, of_cached, of_new)
    found = case.run(0, N_STEPS)
    assert_same_run(found, naive_run(case))
    stands_still = not found.steps[step].any() and not found.group_sums[step].any()
    assert stands_still == of_new


@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_group_without_kept_rows(group):
    """Not even the prediction's error is left of its gradient."""
    case = Case(n_groups=3)
    case.kept_weight[4:, group] = 0.0
    found = case.run(4, N_STEPS)
    assert_same_run(found, naive_run(case, 4))
    # Nothing of the group's is read: another residual changes nothing.
    case.residual[group] += 1e3
    again = case.run(4, N_STEPS)
    assert_array_equal(again.steps, found.steps)
    if group < 2:
        assert_array_equal(found.group_sums[4, group], case.touched[group])
        assert not found.group_sums[5:, group].any()


@pytest.mark.parametrize("group", [0, 1])
def test_a_group_without_rows_in_the_old_run(group):
    case = Case(n_groups=2)
    case.weight[:, group] = case.kept_weight[:, group] = 0.0
    case.cached[2][group] = 0.0
    if group == 0:
        case.group_sums[:, 0] = 0.0
    case.old_gradients = without_group(case.old_gradients, group)
    assert_same_run(case.run(0, N_STEPS), naive_run(case))


def without_group(old_gradients, group):
    """The gradients of all others where a group has no weight."""

    def of_others(step, iterate):
        with np.errstate(divide="ignore", invalid="ignore"):
            sums = old_gradients(step, iterate)
        sums[group] = 0.0
        return sums

    return of_others


def test_rows_that_join_or_leave_count_in_the_first_step_only():
    case = Case(n_groups=2)
    case.drift[:] = case.residual[:] = 0.0
    case.sizes = case.cached
    found = case.run(2, 3)
    rate, _, factor = case.sizes
    expected = -rate[2] * np.tensordot(factor, case.touched, axes=1)
    assert_allclose(found.drift, expected, rtol=1e-10, atol=1e-13)
    later = case.run(2, 4).steps[3]
    case.drift, case.iterate = found.drift, found.iterate
    case.touched[:] = 0.0
    assert_allclose(later, naive_run(case, 3, 4).steps[3], rtol=1e-10, atol=1e-13)


def assert_nothing_changes(case, atol):
    case.sizes = case.cached
    case.drift[:] = case.touched[:] = 0.0
    found = case.run(0, N_STEPS)
    assert_allclose(found.steps, case.steps, rtol=0, atol=atol)
    assert_allclose(found.group_sums, case.group_sums, rtol=0, atol=atol)
    assert_allclose(found.drift, 0.0, atol=10 * atol)
    expected = case.iterate + case.steps.sum(axis=0, dtype=float)
    assert_allclose(found.iterate, expected, rtol=1e-13, atol=1e-13)


def test_without_an_edit_the_steps_are_the_same(case):
    assert_nothing_changes(case, atol=1e-13)


@pytest.mark.parametrize("n_groups", [1, 2])
def test_nor_do_float32_steps_change_without_an_edit(n_groups):
    assert_nothing_changes(Case(n_groups=n_groups, dtype="float32"), atol=2e-6)


@pytest.mark.parametrize("middle", [1, 5, N_STEPS - 1])
def test_two_stretches_are_one(case, middle):
    case.without_batch(4, of_cached=False, of_new=True)
    assert_same_run(case.run(0, middle, N_STEPS), case.run(0, N_STEPS), rtol=1e-14)


def test_intercepts_are_not_shrunk():
    case = Case(form="whole")
    case.hessians.blocks[:] = case.residual[:] = case.touched[:] = 0.0
    found = case.run(0, 1)
    case.sizes[1][0] += 0.5
    shrunk = case.run(0, 1)
    change = shrunk.steps[0] - found.steps[0]
    expected = -0.5 * (case.iterate + case.drift)
    assert_allclose(change[:, :N_FEATURES], expected[:, :N_FEATURES], rtol=1e-12)
    assert_array_equal(change[:, N_FEATURES:], 0.0)
    # Likewise in the gradient that the old step tells of.
    case.cached[1][0] += 0.5
    change = case.run(0, 1).steps[0] - shrunk.steps[0]
    expected = 0.5 * case.sizes[0][0] / case.cached[0][0] * case.iterate
    expected *= case.sizes[2][0] / case.cached[2][0]
    assert_allclose(change[:, :N_FEATURES], expected[:, :N_FEATURES], rtol=1e-11)
    assert_allclose(change[:, N_FEATURES:], 0.0, atol=1e-14)


# ---------------------------------------------------------------------------
# Steps kept in single precision
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_groups", [1, 3])
def test_float32_steps_are_rounded_as_they_are_made(n_groups):
    case = Case(n_groups=n_groups, dtype="float32")
    found = case.run(0, N_STEPS)
    assert found.steps.dtype == found.group_sums.dtype == np.float32
    assert_same_run(found, naive_run(case), rtol=2e-6)
    exact = Case(n_groups=n_groups)
    exact.steps, exact.group_sums = (
        array.astype(float) for array in (case.steps, case.group_sums)
    )
    first = exact.run(0, 1).steps[0]
    assert_array_equal(found.steps[0], first.astype(np.float32))


def test_the_drift_is_that_of_the_float32_steps_that_are_kept():
    case = Case(dtype="float32")
    case.without_batch(5, of_cached=False, of_new=True)
    found = case.run(0, N_STEPS)
    expected = case.iterate + case.drift + found.steps.sum(axis=0, dtype=float)
    assert_allclose(found.iterate + found.drift, expected, rtol=0, atol=1e-13)


# ---------------------------------------------------------------------------
# Runs that leave the numbers there are
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_it_tells_the_step_before_which_the_drift_was_no_number(case, bad):
    case.touched[0, 0, 0] = bad / case.sizes[0][4]
    found = case.run(4, N_STEPS)
    assert found.reached == 5
    assert not found.steps[5:].any()
    case.drift[0, 0] = bad
    assert case.run(4, N_STEPS).reached == 4


def test_it_tells_where_a_rate_is_too_large():
    case = Case(form="whole")
    case.hessians.blocks *= 1e6
    case.sizes[0][:] *= 1e30
    reached = case.run(0, N_STEPS).reached
    assert 2 < reached < N_STEPS
    assert np.isfinite(case.run(0, reached).lengths).all()


# ---------------------------------------------------------------------------
# Changes of the new run
# ---------------------------------------------------------------------------


def some_sources(case, n_sources):
    rng = np.random.default_rng(2)
    sources = rng.normal(size=(n_sources, *case.touched.shape))
    return sources, rng.normal(size=(n_sources, N_STEPS))


@pytest.mark.parametrize("n_sources", [0, 1, 3])
def test_a_change_is_carried_on_as_by_a_plain_loop(case, n_sources):
    case.without_batch(2, of_cached=False, of_new=True)
    case.without_batch(7, of_cached=True, of_new=False)
    case.kept_weight[9:, 0] = 0.0
    sources, growth = some_sources(case, n_sources)
    found = case.carried(case.drift, sources, growth)
    expected, _, _ = naive_carry(case, case.drift, sources, growth)
    assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_what_is_carried_on_is_linear(case):
    """In the change, and in its sources."""
    sources, growth = some_sources(case, 2)
    none = sources[:0], growth[:0]
    together = case.carried(case.drift, sources, growth)
    parts = [
        case.carried(case.drift, *none),
        *(
            case.carried(np.zeros(case.shape), sources[[i]], growth[[i]])
            for i in (0, 1)
        ),
    ]
    assert_allclose(together, sum(parts), rtol=1e-11, atol=1e-12)
    larger = case.carried(-3.0 * case.drift, *none)
    assert_allclose(larger, -3.0 * parts[0], rtol=1e-11, atol=1e-12)


def test_it_is_by_what_two_replays_differ(case):
    """Whose drifts differ at the start: without a residual both obey one recursion."""
    case.residual[:] = 0.0
    case.without_batch(2, of_cached=False, of_new=True)
    case.without_batch(7, of_cached=True, of_new=False)
    case.kept_weight[9:, 0] = 0.0
    found, change = case.run(0, N_STEPS), np.random.default_rng(3).random(case.shape)
    sources, growth = some_sources(case, 0)
    carried = case.carried(change, sources, growth, found, record=True)
    case.drift += change
    other = case.run(0, N_STEPS)
    assert_allclose(carried, other.drift - found.drift, rtol=1e-9, atol=1e-12)
    assert_allclose(found.steps, other.steps, rtol=1e-9, atol=1e-12)
    assert_allclose(found.group_sums, other.group_sums, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("record", [False, True])
def test_recorded_steps_move_by_what_the_change_moved(case, record):
    case.without_batch(2, of_cached=False, of_new=True)
    run, sources_and_growth = case.run(0, N_STEPS), some_sources(case, 2)
    steps, sums = run.steps.copy(), run.group_sums.copy()
    found = case.carried(case.drift, *sources_and_growth, run, record)
    if not record:
        assert_array_equal(run.steps, steps)
        assert_array_equal(run.group_sums, sums)
        return
    moved = (run.steps - steps).sum(axis=0)
    assert_allclose(moved, found - case.drift, rtol=1e-11, atol=1e-13)
    _, of_steps, of_sums = naive_carry(case, case.drift, *sources_and_growth)
    assert_allclose(run.steps - steps, of_steps, rtol=1e-10, atol=1e-12)
    assert_allclose(run.group_sums - sums, of_sums, rtol=1e-10, atol=1e-11)
    assert not run.steps[2].any()


def test_the_change_is_that_of_the_float32_steps_that_are_kept():
    case = Case(dtype="float32", n_groups=2)
    run, sources_and_growth = case.run(0, N_STEPS), some_sources(case, 2)
    before = run.steps.sum(axis=0, dtype=float)
    found = case.carried(case.drift, *sources_and_growth, run, record=True)
    assert run.steps.dtype == np.float32
    moved = run.steps.sum(axis=0, dtype=float) - before
    assert_allclose(moved, found - case.drift, rtol=0, atol=1e-13)


# ---------------------------------------------------------------------------
# Without the compiler
# ---------------------------------------------------------------------------

INTERPRETED = """
import pickle
import numba
from skdeltagrad._kernels import replay
assert numba.config.DISABLE_JIT
with open("arguments", "rb") as file:
    of_steps, of_change = pickle.load(file)
reached = replay.predict_steps(*of_steps)
replay.propagate(*of_change)
with open("found", "wb") as file:
    pickle.dump((reached, of_steps, of_change), file)
"""


def test_the_same_without_the_compiler(tmp_path):
    case = Case(n_groups=2)
    case.without_batch(5, of_cached=False, of_new=True)
    sources, growth = some_sources(case, 1)
    run = Run(case)
    of_steps = case.arguments(run, 0, N_STEPS, case.touched)
    of_change = (
        0, N_STEPS, case.drift, sources, growth, *of_steps[6:7], of_steps[8],
        *of_steps[10:14], True,
    )  # fmt: skip
    (tmp_path / "arguments").write_bytes(pickle.dumps((of_steps, of_change)))
    package = str(Path(skdeltagrad.__file__).parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", INTERPRETED],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    reached, *found = pickle.loads((tmp_path / "found").read_bytes())
    assert reached == replay.predict_steps(*of_steps)
    replay.propagate(*of_change)
    assert found[0][10][0] is found[1][7][0]  # the steps that both wrote
    for arguments, expected in zip(found, (of_steps, of_change), strict=True):
        for one, other in zip(flat(arguments), flat(expected), strict=True):
            if np.shape(one) != np.shape(case.work()):  # but for scratch
                assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def flat(arguments):
    for argument in arguments:
        if isinstance(argument, tuple):
            yield from flat(argument)
        else:
            yield argument
