"""Hessians along a path: each point's is that of the rows, and edits are sums."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skdeltagrad._data.edit import Edit
from skdeltagrad._data.storage import store
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import (
    BinomialLoss,
    HalfSquaredLoss,
    MultinomialLoss,
)
from skdeltagrad._path import cost
from skdeltagrad._path.checkpoint_plan import CheckpointPlan, affordable_plan
from skdeltagrad._path.checkpoint_sums import CheckpointSums, view_of
from skdeltagrad._path.checkpoints import Checkpoints
from skdeltagrad._path.cost import step_work
from skdeltagrad._path.splitmix import draw
from skdeltagrad._path.trajectory import Trajectory

LOSSES = {
    "binomial": BinomialLoss(),
    "multinomial": MultinomialLoss(4),
    "half_squared": HalfSquaredLoss(2),
}
FORMS = ["whole", "block", "mean"]
N_ROWS, N_FEATURES, N_STEPS, N_POINTS = 80, 4, 40, 6


class Run:
    """A curved path, over random rows."""

    def __init__(self, loss, n_groups=1, storage="dense"):
        rng = np.random.default_rng(0)
        self.loss = LOSSES[loss]
        n_outputs = self.loss.n_outputs
        X = rng.normal(size=(N_ROWS, N_FEATURES)) + 0.5
        if self.loss.is_quadratic:
            y = rng.normal(size=(N_ROWS, n_outputs))
        else:
            y = rng.integers(max(2, n_outputs), size=N_ROWS)
        self.weight = rng.random(N_ROWS) + 0.5
        self.group = rng.integers(n_groups, size=N_ROWS)
        self.design = np.column_stack([X, np.ones(N_ROWS)])
        rows = store(sparse.csr_matrix(X) if storage == "csr" else X)
        self.objective = DataTerm(
            rows, y, self.weight, self.loss, np.zeros(N_FEATURES), self.group, n_groups
        )
        self.trajectory = Trajectory.allocate(N_STEPS, n_groups, self.objective.shape)
        steps = rng.normal(size=self.trajectory.steps.shape)
        steps /= np.arange(1, N_STEPS + 1)[:, np.newaxis, np.newaxis]
        self.trajectory.steps[:] = steps
        self.trajectory.end[:] = steps.sum(axis=0)
        self.indices = rng.permutation(N_ROWS)
        self.positions = np.arange(N_ROWS) + 1000  # by storage index
        self.drift = rng.normal(size=self.objective.shape)

    def checkpoints(self, form="whole", fraction=1.0, without=(), n_points=N_POINTS):
        kept = np.setdiff1d(self.indices, without)
        return Checkpoints.build(
            CheckpointPlan(form, fraction, n_points), self.objective, self.trajectory,
            kept, self.positions[kept],
        )  # fmt: skip

    def sums_in_basis_of(self, found, fraction, without=()):
        """Sums of other rows in the same directions."""
        kept = np.setdiff1d(self.indices, without)
        view = view_of(self.objective, found.basis)
        return CheckpointSums.of(
            self.objective, view, found.iterates, kept, self.positions[kept], fraction
        )

    def sample(self, fraction):
        return self.indices[draw(self.positions[self.indices]) < fraction]

    def hessians(self, iterate, indices=None):
        """By finite differences, per unit of weight: a matrix for each group."""
        indices = self.indices if indices is None else indices
        weight = np.bincount(
            self.group[indices], self.weight[indices], self.objective.n_groups
        )
        h, columns = 1e-4, []
        for unit in np.eye(iterate.size).reshape(-1, *iterate.shape):
            higher = self.objective.gradient_sums(iterate + h * unit, indices)
            lower = self.objective.gradient_sums(iterate - h * unit, indices)
            columns.append((higher - lower) / (2 * h))
        columns = np.stack(columns, axis=-1).reshape(len(weight), iterate.size, -1)
        return columns / weight[:, np.newaxis, np.newaxis]


def as_matrices(arrays, step, shape):
    """What is predicted with, as a matrix for each group."""
    units = np.eye(shape[0] * shape[1]).reshape(-1, *shape)
    columns = np.stack([arrays.product(step, unit) for unit in units], axis=-1)
    return columns.reshape(len(columns), len(units), len(units))


@pytest.fixture(params=[("binomial", 1), ("multinomial", 2), ("half_squared", 1)])
def run(request):
    return Run(*request.param)


@pytest.fixture(autouse=True)
def few_directions(monkeypatch):
    """Of the five that there are."""
    monkeypatch.setattr(cost, "N_DIRECTIONS", 3)


# ---------------------------------------------------------------------------
# Points
# ---------------------------------------------------------------------------


def test_at_a_point_it_is_the_hessian_there(run):
    kept = run.checkpoints()
    arrays = kept.for_all_rows(run.loss)
    for step in np.flatnonzero(np.diff(kept.point, prepend=-1)):
        assert kept.progress[step] == 0.0
        iterate, place = run.trajectory.iterates[step], kept.iterates[kept.point[step]]
        # Rounded: the first iterates are sums over rows, which may leave.
        assert_allclose(place, iterate, rtol=0, atol=1e-3 * np.abs(iterate).max())
        assert step == 0 or np.abs(place - iterate).max() > 1e-6
        found = as_matrices(arrays, step, place.shape)
        assert_allclose(found, run.hessians(place), rtol=1e-5, atol=1e-7)


def test_between_points_it_moves_from_one_to_the_next(run):
    kept = run.checkpoints()
    arrays = kept.for_all_rows(run.loss)
    step = int(np.argmax(kept.progress))
    found = as_matrices(arrays, step, run.objective.shape)
    if run.loss.is_quadratic:
        assert not kept.progress.any()
        return
    fraction, before = kept.progress[step], kept.point[step]
    ends = [run.hessians(kept.iterates[before + end]) for end in (0, 1)]
    assert np.abs(ends[0] - ends[1]).max() > 1e-3
    expected = (1 - fraction) * ends[0] + fraction * ends[1]
    assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_points_follow_the_path_from_its_start_to_its_end(run):
    kept = run.checkpoints()
    iterates = run.trajectory.iterates
    assert not kept.iterates[0].any()
    if run.loss.is_quadratic:  # the same everywhere
        assert len(kept.iterates) == 1
        assert not kept.point.any()
        return
    assert len(kept.iterates) == N_POINTS
    largest = np.abs(iterates[-1]).max()
    assert_allclose(kept.iterates[-1], iterates[-1], rtol=0, atol=1e-3 * largest)
    # Progress is by length.
    length = np.linalg.norm(run.trajectory.steps, axis=(1, 2))
    for point in range(N_POINTS - 1):
        inside = kept.point == point
        before = np.cumsum(length[inside]) - length[inside]
        expected = before / length[inside].sum()
        assert_allclose(kept.progress[inside], expected, atol=1e-13)
    # Dense at the start, where the path moves most.
    n_inside = np.bincount(kept.point)
    assert (np.diff(n_inside) >= 0).all()
    assert n_inside[0] < n_inside[-1] / 2


@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_paths_of_few_steps_have_few_points(n_steps):
    run = Run("binomial")
    whole = run.trajectory
    run.trajectory = Trajectory(
        whole.steps[:n_steps], whole.group_sums[:n_steps], whole.exact[:n_steps],
        whole.steps[:n_steps].sum(axis=0),
    )  # fmt: skip
    kept = run.checkpoints(n_points=9)
    assert len(kept.iterates) <= n_steps + 1
    assert len(kept.point) == len(kept.progress) == n_steps
    assert (kept.progress >= 0).all()
    assert (kept.progress < 1).all()
    place = run.trajectory.iterates[0]
    found = as_matrices(kept.for_all_rows(run.loss), 0, place.shape)
    assert_allclose(found, run.hessians(place), rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("error")
def test_a_path_that_stands_still():
    run = Run("multinomial")
    run.trajectory.steps[:] = 0.0
    kept = run.checkpoints()
    assert not kept.progress.any()
    found = as_matrices(kept.for_all_rows(run.loss), N_STEPS - 1, run.objective.shape)
    expected = run.hessians(np.zeros(run.objective.shape))
    assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


# ---------------------------------------------------------------------------
# Directions
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["block", "mean"])
def test_in_its_directions_it_is_the_hessian(run, form):
    kept = run.checkpoints(form)
    assert kept.basis.shape == (3 if form == "block" else 1, N_FEATURES + 1)
    U = np.kron(np.eye(run.loss.n_outputs), kept.basis)
    arrays = kept.for_all_rows(run.loss)
    for step in np.flatnonzero(np.diff(kept.point, prepend=-1)):
        place = kept.iterates[kept.point[step]]
        found = U @ as_matrices(arrays, step, place.shape) @ U.T
        expected = U @ run.hessians(place) @ U.T
        assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("form", ["block", "mean"])
def test_beyond_its_directions_it_is_a_kronecker_products_diagonal(run, form):
    kept = run.checkpoints(form)
    found = as_matrices(kept.for_all_rows(run.loss), 0, run.objective.shape)
    across = np.eye(N_FEATURES + 1) - kept.basis.T @ kept.basis
    raw = np.zeros((1, run.loss.n_outputs))  # where all rows are alike
    second = run.loss.second_derivatives(raw, run.objective.y[:1])[0]
    second = second * np.eye(run.loss.n_coordinates) if second.size == 1 else second
    Q = run.loss.to_outputs(np.eye(run.loss.n_coordinates))
    for group in range(run.objective.n_groups):
        mine = run.indices[run.group[run.indices] == group]
        # What is left of the columns' squares when the directions are taken out.
        seen = run.design[mine] @ kept.basis.T
        weight = run.weight[mine] / run.weight[mine].sum()
        moments = seen.T @ (weight[:, np.newaxis] * seen)
        tail = weight @ run.design[mine] ** 2
        tail -= np.diagonal(kept.basis.T @ moments @ kept.basis)
        outside = np.kron(Q @ second @ Q.T, np.diag(np.maximum(tail, 0.0)))
        C = np.kron(np.eye(run.loss.n_outputs), across)
        assert_allclose(found[group] @ C, outside @ C, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_in_all_directions_it_is_the_whole_hessian(run, fraction, monkeypatch):
    monkeypatch.setattr(cost, "N_DIRECTIONS", N_FEATURES + 1)
    block, whole = (
        run.checkpoints(form, fraction).for_all_rows(run.loss)
        for form in ("block", "whole")
    )
    for step in (0, 5, N_STEPS - 1):
        found = as_matrices(block, step, run.objective.shape)
        expected = as_matrices(whole, step, run.objective.shape)
        assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_it_is_symmetric_and_blind_to_what_the_loss_is_blind_to(run, form, fraction):
    arrays = run.checkpoints(form, fraction).for_all_rows(run.loss)
    found = as_matrices(arrays, 7, run.objective.shape)
    assert_allclose(found, np.swapaxes(found, 1, 2), rtol=1e-9, atol=1e-12)
    if isinstance(run.loss, MultinomialLoss):
        shift = np.broadcast_to(run.drift[0], run.objective.shape)
        assert_allclose(found @ shift.ravel(), 0.0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_sparse_rows_are_dense_rows(form):
    for loss in LOSSES:
        dense, csr = (Run(loss, 2, storage) for storage in ("dense", "csr"))
        found, expected = (
            run.checkpoints(form, 0.5).for_all_rows(run.loss).product(9, run.drift)
            for run in (csr, dense)
        )
        assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_large_blocks_are_read_in_single_precision(run, form, monkeypatch):
    kept = run.checkpoints(form)
    exact = kept.for_all_rows(run.loss)
    assert all(array.dtype != np.float32 for array in exact)
    monkeypatch.setattr(cost, "LARGE_BLOCK", 0)
    rounded = kept.for_all_rows(run.loss)
    assert sum(array.dtype == np.float32 for array in rounded) == 1
    found, expected = (some.product(9, run.drift) for some in (rounded, exact))
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_kernels_are_given_what_they_were_compiled_for(run, form):
    """Arrays of another layout would be compiled for, too: in every process, late."""
    kept = run.checkpoints(form, 0.5)
    for arrays in (
        kept.for_all_rows(run.loss),
        kept.for_sample(run.loss),
        *kept.for_halves(run.loss),
        kept.at(9).for_all_rows(run.loss),
    ):
        assert all(array.flags.c_contiguous for array in arrays)
        assert all(array.flags.writeable for array in arrays)


# ---------------------------------------------------------------------------
# Edits
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [1.0, 0.5])
@pytest.mark.parametrize("form", FORMS)
def test_after_an_edit_it_is_that_of_the_rows_that_are_there(run, form, fraction):
    others = np.arange(20, 40)
    removed = np.array([3, 7, 41, 50, 51, 52])
    kept = run.checkpoints(form, fraction, without=others)
    before = run.checkpoints(form, fraction, without=others)
    change = Edit(removed).staged(run.positions[removed], others, run.positions[others])
    found = kept.changed(run.objective, change)
    expected = run.sums_in_basis_of(kept, fraction, without=removed)
    for name, sums in vars(expected).items():
        assert_allclose(getattr(found.sums, name), sums, rtol=1e-9, atol=1e-11)
        was = getattr(before.sums, name)
        assert_array_equal(getattr(kept.sums, name), was)  # as it was
    # The sample, too, is what it would have been.
    fresh = run.checkpoints(form, fraction, without=removed).positions
    assert_array_equal(np.sort(found.positions), np.sort(fresh))
    assert_array_equal(kept.positions, before.positions)
    if fraction < 1.0:
        assert 0 < len(fresh) < N_ROWS - len(removed)
    for name in ("basis", "iterates", "point", "progress"):
        assert_array_equal(getattr(found, name), getattr(before, name))


@pytest.mark.parametrize("form", FORMS)
def test_an_edit_and_back(run, form):
    kept = run.checkpoints(form, 0.5)
    no_rows, some = run.indices[:0], np.arange(30)
    leave = Edit(some).staged(run.positions[some], no_rows, no_rows)
    join = Edit(no_rows).staged(no_rows, some, run.positions[some])
    found = kept.changed(run.objective, leave).changed(run.objective, join)
    for name, sums in vars(kept.sums).items():
        assert_allclose(getattr(found.sums, name), sums, rtol=1e-9, atol=1e-10)
    assert_array_equal(np.sort(found.positions), np.sort(kept.positions))


@pytest.mark.parametrize("form", FORMS)
def test_next_to_a_huge_row_nothing_precise_is_left(form):
    run = Run("half_squared")
    kept = run.checkpoints(form)
    run.objective.weight[7] = 1e12
    no_rows = np.zeros(0, np.int64)
    index = np.array([7])
    joined = Edit(no_rows).staged(no_rows, index, run.positions[index] + 1000)
    huge = kept.changed(run.objective, joined)
    assert huge is not None
    left = Edit(index).staged(run.positions[index] + 1000, no_rows, no_rows)
    assert huge.changed(run.objective, left) is None


def test_a_corrected_row_keeps_its_place_in_the_sample(run):
    """It takes over the position of the row that leaves."""
    old, new = np.array([3, 7, 41, 50]), np.array([20, 21, 22, 23])
    run.positions[new] = run.positions[old]
    kept = run.checkpoints("whole", 0.5, without=new)
    sampled = np.isin(run.positions[old], kept.positions)
    assert sampled.any()
    assert not sampled.all()
    change = Edit(old).staged(run.positions[old], new, run.positions[new])
    found = kept.changed(run.objective, change)
    assert_array_equal(np.sort(found.positions), np.sort(kept.positions))
    expected = run.sums_in_basis_of(kept, 0.5, without=old)
    assert_allclose(found.sums.hessians, expected.hessians, rtol=1e-9, atol=1e-11)


def test_rows_in_the_sample(run):
    kept = run.checkpoints("whole", 0.5)
    sample = run.sample(0.5)
    assert 20 < len(sample) < 60
    assert_array_equal(np.sort(kept.positions), np.sort(run.positions[sample]))
    everyone = run.checkpoints("whole", 1.0)
    assert len(everyone.positions) == N_ROWS
    assert_array_equal(np.sort(everyone.positions), run.positions)


@pytest.mark.parametrize("form", FORMS)
def test_a_group_without_rows_predicts_nothing(form):
    run = Run("binomial", 2)
    gone = run.indices[run.group[run.indices] == 1]
    # It has left, or was never there.
    change = Edit(gone).staged(run.positions[gone], run.indices[:0], run.indices[:0])
    for kept in (
        run.checkpoints(form, without=gone),
        run.checkpoints(form, 0.5, without=gone),
    ):
        for arrays in (kept.for_all_rows(run.loss), *kept.for_halves(run.loss)):
            found = arrays.product(5, run.drift)
            assert found[0].any()
            assert not found[1].any()
    left = run.checkpoints(form, 0.5).changed(run.objective, change)
    assert np.isfinite(left.for_all_rows(run.loss).product(5, run.drift)).all()


# ---------------------------------------------------------------------------
# Samples
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_groups", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_sample_is_corrected_exactly_where_all_rows_have_equal_derivatives(
    loss, n_groups, form
):
    """Exact for a squared error, and at the start of a path for log-losses."""
    run = Run(loss, n_groups)
    kept = run.checkpoints(form, 0.4)
    assert len(kept.positions) < 60
    everyone = run.sums_in_basis_of(kept, 1.0)
    at_first, shape = kept.at(0), run.objective.shape
    found = as_matrices(at_first.for_all_rows(run.loss), 0, shape)
    first = slice(0, 1)
    everyone = CheckpointSums(
        everyone.weight, everyone.hessians[:, first], everyone.moments,
        everyone.second_derivatives[:, first], everyone.all_weight,
        everyone.all_moments, everyone.all_squares,
    )  # fmt: skip
    whole = Checkpoints(
        kept.plan, kept.basis, at_first.iterates, everyone, kept.positions,
        at_first.point, at_first.progress,
    )  # fmt: skip
    expected = as_matrices(whole.for_all_rows(run.loss), 0, shape)
    assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    for arrays in kept.at(0).for_halves(run.loss):
        assert_allclose(as_matrices(arrays, 0, shape), expected, rtol=1e-9, atol=1e-11)
    alone = as_matrices(at_first.for_sample(run.loss), 0, shape)
    assert np.abs(alone - expected).max() > 1e-3


def test_it_is_nearer_than_the_sample_alone_all_along():
    """In the mean of many samples, and where second derivatives change little."""
    run = Run("multinomial", 2)
    run.trajectory.steps[:] /= 4.0
    step, shape = N_STEPS - 1, run.objective.shape
    expected = as_matrices(run.checkpoints().for_all_rows(run.loss), step, shape)
    errors, of_samples = [], []
    for _ in range(10):
        run.positions += N_ROWS
        kept = run.checkpoints(fraction=0.6)
        made_up = as_matrices(kept.for_all_rows(run.loss), step, shape)
        alone = as_matrices(kept.for_sample(run.loss), step, shape)
        errors.append(np.linalg.norm(made_up - expected))
        of_samples.append(np.linalg.norm(alone - expected))
    assert 0 < np.mean(errors) < 0.7 * np.mean(of_samples)


@pytest.mark.parametrize("form", ["whole", "mean"])
def test_a_sample_predicts_its_own_rows(run, form):
    kept = run.checkpoints(form, 0.5)
    U = np.eye(run.drift.size)
    if form == "mean":
        U = np.kron(np.eye(run.loss.n_outputs), kept.basis)
    arrays = kept.for_sample(run.loss)
    for step in np.flatnonzero(np.diff(kept.point, prepend=-1)):
        place = kept.iterates[kept.point[step]]
        found = U @ as_matrices(arrays, step, place.shape) @ U.T
        expected = U @ run.hessians(place, run.sample(0.5)) @ U.T
        assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_without_a_sample_there_are_no_halves(run):
    assert run.checkpoints(fraction=1.0).for_halves(run.loss) == []
    assert len(run.checkpoints(fraction=0.5).for_halves(run.loss)) == 2


@pytest.mark.parametrize("form", FORMS)
def test_two_halves_are_the_whole_sample_about(run, form):
    """But for what second derivatives and moments vary together."""
    kept = run.checkpoints(form, 0.6)
    sums, loss, shape = kept.sums, run.loss, run.objective.shape
    one, other = (as_matrices(arrays, 9, shape) for arrays in kept.for_halves(loss))
    every = as_matrices(kept.for_all_rows(loss), 9, shape)
    fraction = sums.weight / sums.weight.sum(axis=0)
    mean = fraction[0, :, np.newaxis, np.newaxis] * one
    mean += fraction[1, :, np.newaxis, np.newaxis] * other
    before, progress = kept.point[9], kept.progress[9]
    second, moments = sums.second_derivatives[:, before], sums.moments
    if progress > 0:
        second = (1 - progress) * second + progress * sums.second_derivatives[
            :, before + 1
        ]
    second, moments = (
        part / sums.weight[:, :, np.newaxis, np.newaxis] for part in (second, moments)
    )
    basis = np.eye(N_FEATURES + 1) if kept.basis is None else kept.basis
    Q = loss.to_outputs(np.eye(loss.n_coordinates))
    for group in range(run.objective.n_groups):
        difference = second[0, group] - second[1, group]
        difference = (
            Q @ (difference * np.eye(len(Q)) if loss.is_quadratic else difference) @ Q.T
        )
        moment = basis.T @ (moments[0, group] - moments[1, group]) @ basis
        together = fraction[0, group] * fraction[1, group] * np.kron(difference, moment)
        expected = every[group] - together
        assert_allclose(mean[group], expected, rtol=1e-9, atol=1e-11)
    if loss.is_quadratic:
        assert_allclose(mean, every, rtol=1e-10, atol=1e-12)
    else:
        apart = np.linalg.norm(one - other)
        assert np.linalg.norm(mean - every) < 0.25 * apart


# ---------------------------------------------------------------------------
# One step alone
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [1.0, 0.5])
@pytest.mark.parametrize("form", FORMS)
def test_checkpoints_for_one_step_predict_as_all_do(run, form, fraction):
    kept = run.checkpoints(form, fraction)
    wholes = [kept.for_all_rows(run.loss), kept.for_sample(run.loss)]
    wholes += kept.for_halves(run.loss)
    for step in (0, 1, 9, N_STEPS - 1):
        alone = kept.at(step)
        assert len(alone.iterates) <= 2
        parts = [alone.for_all_rows(run.loss), alone.for_sample(run.loss)]
        parts += alone.for_halves(run.loss)
        for part, whole in zip(parts, wholes, strict=True):
            found, expected = (
                part.product(0, run.drift),
                whole.product(step, run.drift),
            )
            assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_nbytes():
    run = Run("multinomial")
    whole, block = run.checkpoints("whole", 0.5), run.checkpoints("block", 0.5)
    n_numbers = N_POINTS * run.drift.size + 2 * N_STEPS + len(whole.positions)
    assert whole.nbytes == whole.sums.nbytes + 8 * n_numbers
    n_numbers += block.basis.size
    assert block.nbytes == block.sums.nbytes + 8 * n_numbers


# ---------------------------------------------------------------------------
# What can be afforded
# ---------------------------------------------------------------------------

SIZES = {"n_dof": 20, "n_rows": 50_000, "n_epochs": 100, "entry_cost": 1.0}


def plan_of(loss="multinomial", **sizes):
    return affordable_plan(LOSSES[loss], **{**SIZES, **sizes})


@pytest.fixture
def many_directions(monkeypatch):
    monkeypatch.setattr(cost, "N_DIRECTIONS", 64)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_long_fit_of_few_columns_affords_whole_hessians_of_all_rows(loss):
    plan = plan_of(loss, n_rows=10_000, n_epochs=100_000)
    n_points = 1 if LOSSES[loss].is_quadratic else cost.N_POINTS
    assert plan == CheckpointPlan("whole", 1.0, n_points)


@pytest.mark.parametrize("entry_cost", [1.0, 16.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_whole_hessians_are_no_larger_than_can_be_kept(loss, entry_cost, monkeypatch):
    monkeypatch.setattr(cost, "MOST_COEFFICIENTS", 60)
    m = {"binomial": 1, "multinomial": 3, "half_squared": 1}[loss]
    sizes = {"n_rows": 10_000, "n_epochs": 100_000, "entry_cost": entry_cost}
    assert plan_of(loss, n_dof=60 // m, **sizes).form == "whole"
    larger = plan_of(loss, n_dof=60 // m + 1, **sizes).form
    assert larger == ("mean" if entry_cost > 1.0 else "block")


@pytest.mark.parametrize("loss", LOSSES)
def test_a_short_fit_affords_the_mean_alone_and_only_where_rows_are_sparse(loss):
    sizes = {"n_dof": 500, "n_rows": 2_000, "n_epochs": 1}
    assert plan_of(loss, **sizes) is None
    plan = plan_of(loss, **sizes, entry_cost=16.0)
    assert plan == CheckpointPlan("mean", 1.0, cost.N_POINTS)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_costs_nothing_is_whole_and_what_costs_all_is_not_bought(
    loss, monkeypatch
):
    monkeypatch.setattr(cost, "MOST_FITS", 1e9)
    assert plan_of(loss, n_epochs=1).form == "whole"
    monkeypatch.setattr(cost, "MOST_FITS", 0.0)
    assert plan_of(loss) is None
    assert plan_of(loss, entry_cost=16.0).form == "mean"


def cost_of(plan, loss, n_dof, n_rows):
    """Multiplications, as of the fit: those of BLAS are cheaper."""
    m = 1 if loss.is_quadratic else loss.n_coordinates
    pairs = m * (m + 1) // 2
    n_points = 1 if loss.is_quadratic else plan.n_points
    if plan.form == "whole":
        return plan.fraction * n_rows * n_points * pairs * n_dof**2 / cost.BLAS
    of_sample = n_points * pairs * cost.N_DIRECTIONS**2 / cost.BLAS
    return n_rows * (cost.N_DIRECTIONS * n_dof + plan.fraction * of_sample)


@pytest.mark.usefixtures("many_directions")
@pytest.mark.parametrize("n_dof", [2, 20, 300, 1_000, 3_000])
@pytest.mark.parametrize("loss", [*LOSSES.values(), MultinomialLoss(30)])
def test_it_costs_no_more_than_the_fit_and_has_rows_enough(loss, n_dof):
    m = 1 if loss.is_quadratic else loss.n_coordinates
    best = {}
    for n_rows in (300, 20_000, 1_000_000, 100_000_000):
        for n_epochs in (1, 3, 30, 1_000):
            plan = affordable_plan(loss, n_dof, n_rows, n_epochs, entry_cost=1.0)
            if plan is None:
                assert n_rows not in best  # a longer fit affords no less
                continue
            best[n_rows] = plan
            assert 0.0 < plan.fraction <= 1.0
            most = cost.MOST_FITS * n_epochs * n_rows * cost.row_work(loss, n_dof)
            assert cost_of(plan, loss, n_dof, n_rows) <= most * (1 + 1e-12)
            n_coef = m * (n_dof if plan.form == "whole" else cost.N_DIRECTIONS)
            enough = cost.ROWS_PER_COEFFICIENT * n_coef
            assert plan.fraction == 1.0 or plan.fraction * n_rows > enough * (1 - 1e-12)
            assert plan.fraction * n_rows <= max(300, cost.LARGEST_SAMPLE) * (1 + 1e-12)
            if plan.form == "whole":
                assert m * n_dof <= cost.MOST_COEFFICIENTS


@pytest.mark.usefixtures("many_directions")
def test_a_larger_fit_affords_a_larger_sample():
    fractions = [
        plan_of(n_rows=1_000_000, n_epochs=n_epochs).fraction
        for n_epochs in (1, 10, 100, 10_000)
    ]
    assert fractions == sorted(fractions)
    assert fractions[0] < fractions[-1] < 1.0


@pytest.mark.parametrize("loss", LOSSES)
def test_predictions_by_less_are_less_work(loss):
    work = [
        step_work(CheckpointPlan(name, 1.0, 5), LOSSES[loss], 1_000, 1)
        for name in FORMS
    ]
    assert work == sorted(work, reverse=True)
    assert min(work) > 1_000
    for name in FORMS:
        plan = CheckpointPlan(name, 0.1, 5)
        one, three = (step_work(plan, LOSSES[loss], 1_000, n) for n in (1, 3))
        assert three == 3 * one
