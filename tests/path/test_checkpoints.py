"""Hessians along a path: each point's is that of the rows, and edits are sums."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skdeltagrad._data.edit import Edit
from skdeltagrad._data.rows import AbstractRows
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import (
    BinomialLoss,
    HalfSquaredLoss,
    MultinomialLoss,
)
from skdeltagrad._path import checkpoint_sums, checkpoints
from skdeltagrad._path.checkpoint_sums import DirectedView, Sums, WholeView, draw
from skdeltagrad._path.checkpoints import Seed, SeedKind, affordable_kind, respond
from skdeltagrad._path.trajectory import Trajectory

LOSSES = {
    "binomial": BinomialLoss(),
    "multinomial": MultinomialLoss(4),
    "half_squared": HalfSquaredLoss(2),
}
KINDS = ["whole", "block", "mean"]
N_ROWS, N_FEATURES, N_STEPS, N_POINTS = 80, 4, 40, 6


class Run:
    """A path that bends, over random rows."""

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
        rows = AbstractRows.of(sparse.csr_matrix(X) if storage == "csr" else X)
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

    def seed(self, kind="whole", share=1.0, without=(), n_points=N_POINTS):
        kept = np.setdiff1d(self.indices, without)
        return Seed.survey(
            SeedKind(kind, share, n_points), self.objective, self.trajectory, kept,
            self.positions[kept],
        )  # fmt: skip

    def with_basis_of(self, seed, share, without=()):
        """Another survey, in the same directions."""
        kept = np.setdiff1d(self.indices, without)
        view = WholeView(self.objective)
        if seed.basis is not None:
            view = DirectedView(self.objective, seed.basis)
        return Sums.of(
            self.objective, view, seed.places, kept, self.positions[kept], share
        )

    def sample(self, share):
        return self.indices[draw(self.positions[self.indices]) < share]

    def hessians(self, place, indices=None):
        """By finite differences, per unit of weight: a matrix for each group."""
        indices = self.indices if indices is None else indices
        weight = np.bincount(
            self.group[indices], self.weight[indices], self.objective.n_groups
        )
        h, columns = 1e-4, []
        for unit in np.eye(place.size).reshape(-1, *place.shape):
            higher = self.objective.gradient_sums(place + h * unit, indices)
            lower = self.objective.gradient_sums(place - h * unit, indices)
            columns.append((higher - lower) / (2 * h))
        columns = np.stack(columns, axis=-1).reshape(len(weight), place.size, -1)
        return columns / weight[:, np.newaxis, np.newaxis]


def as_matrices(arrays, step, shape):
    """What is predicted with, as a matrix for each group."""
    units = np.eye(shape[0] * shape[1]).reshape(-1, *shape)
    columns = np.stack([respond(arrays, step, unit) for unit in units], axis=-1)
    return columns.reshape(len(columns), len(units), len(units))


@pytest.fixture(params=[("binomial", 1), ("multinomial", 2), ("half_squared", 1)])
def run(request):
    return Run(*request.param)


@pytest.fixture(autouse=True)
def few_directions(monkeypatch):
    """Of the five that there are."""
    monkeypatch.setattr(checkpoint_sums, "N_DIRECTIONS", 3)


# ---------------------------------------------------------------------------
# Points
# ---------------------------------------------------------------------------


def test_at_a_point_it_is_the_hessian_there(run):
    seed = run.seed()
    arrays = seed.of_all(run.loss)
    for step in np.flatnonzero(np.diff(seed.point, prepend=-1)):
        assert seed.progress[step] == 0.0
        iterate, place = run.trajectory.iterates[step], seed.places[seed.point[step]]
        # Rounded: the first iterates are sums over rows, which may leave.
        assert_allclose(place, iterate, rtol=0, atol=1e-3 * np.abs(iterate).max())
        assert step == 0 or np.abs(place - iterate).max() > 1e-6
        found = as_matrices(arrays, step, place.shape)
        assert_allclose(found, run.hessians(place), rtol=1e-5, atol=1e-7)


def test_between_points_it_moves_from_one_to_the_next(run):
    seed = run.seed()
    arrays = seed.of_all(run.loss)
    step = int(np.argmax(seed.progress))
    found = as_matrices(arrays, step, run.objective.shape)
    if run.loss.is_quadratic:
        assert not seed.progress.any()
        return
    share, before = seed.progress[step], seed.point[step]
    ends = [run.hessians(seed.places[before + end]) for end in (0, 1)]
    assert np.abs(ends[0] - ends[1]).max() > 1e-3
    expected = (1 - share) * ends[0] + share * ends[1]
    assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_points_follow_the_path_from_its_start_to_its_end(run):
    seed = run.seed()
    iterates = run.trajectory.iterates
    assert not seed.places[0].any()
    if run.loss.is_quadratic:  # the same everywhere
        assert len(seed.places) == 1
        assert not seed.point.any()
        return
    assert len(seed.places) == N_POINTS
    largest = np.abs(iterates[-1]).max()
    assert_allclose(seed.places[-1], iterates[-1], rtol=0, atol=1e-3 * largest)
    # Progress is by length.
    length = np.linalg.norm(run.trajectory.steps, axis=(1, 2))
    for point in range(N_POINTS - 1):
        inside = seed.point == point
        before = np.cumsum(length[inside]) - length[inside]
        expected = before / length[inside].sum()
        assert_allclose(seed.progress[inside], expected, atol=1e-13)
    # Dense at the start, where the path moves most.
    n_inside = np.bincount(seed.point)
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
    seed = run.seed(n_points=9)
    assert len(seed.places) <= n_steps + 1
    assert len(seed.point) == len(seed.progress) == n_steps
    assert (seed.progress >= 0).all()
    assert (seed.progress < 1).all()
    place = run.trajectory.iterates[0]
    found = as_matrices(seed.of_all(run.loss), 0, place.shape)
    assert_allclose(found, run.hessians(place), rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("error")
def test_a_path_that_stands_still():
    run = Run("multinomial")
    run.trajectory.steps[:] = 0.0
    seed = run.seed()
    assert not seed.progress.any()
    found = as_matrices(seed.of_all(run.loss), N_STEPS - 1, run.objective.shape)
    expected = run.hessians(np.zeros(run.objective.shape))
    assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


# ---------------------------------------------------------------------------
# Directions
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["block", "mean"])
def test_in_its_directions_it_is_the_hessian(run, kind):
    seed = run.seed(kind)
    assert seed.basis.shape == (3 if kind == "block" else 1, N_FEATURES + 1)
    U = np.kron(np.eye(run.loss.n_outputs), seed.basis)
    arrays = seed.of_all(run.loss)
    for step in np.flatnonzero(np.diff(seed.point, prepend=-1)):
        place = seed.places[seed.point[step]]
        found = U @ as_matrices(arrays, step, place.shape) @ U.T
        expected = U @ run.hessians(place) @ U.T
        assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["block", "mean"])
def test_beyond_its_directions_it_is_a_kronecker_products_diagonal(run, kind):
    seed = run.seed(kind)
    found = as_matrices(seed.of_all(run.loss), 0, run.objective.shape)
    across = np.eye(N_FEATURES + 1) - seed.basis.T @ seed.basis
    raw = np.zeros((1, run.loss.n_outputs))  # where all rows are alike
    bends = run.loss.second_derivatives(raw, run.objective.y[:1])[0]
    bends = bends * np.eye(run.loss.n_coordinates) if bends.size == 1 else bends
    Q = run.loss.to_outputs(np.eye(run.loss.n_coordinates))
    for group in range(run.objective.n_groups):
        mine = run.indices[run.group[run.indices] == group]
        # What is left of the columns' squares when the directions are taken out.
        seen = run.design[mine] @ seed.basis.T
        weight = run.weight[mine] / run.weight[mine].sum()
        moments = seen.T @ (weight[:, np.newaxis] * seen)
        tail = weight @ run.design[mine] ** 2
        tail -= np.diagonal(seed.basis.T @ moments @ seed.basis)
        outside = np.kron(Q @ bends @ Q.T, np.diag(np.maximum(tail, 0.0)))
        C = np.kron(np.eye(run.loss.n_outputs), across)
        assert_allclose(found[group] @ C, outside @ C, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_in_all_directions_it_is_the_whole_hessian(run, share, monkeypatch):
    monkeypatch.setattr(checkpoint_sums, "N_DIRECTIONS", N_FEATURES + 1)
    block, whole = (
        run.seed(kind, share).of_all(run.loss) for kind in ("block", "whole")
    )
    for step in (0, 5, N_STEPS - 1):
        found = as_matrices(block, step, run.objective.shape)
        expected = as_matrices(whole, step, run.objective.shape)
        assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_it_is_symmetric_and_blind_to_what_the_loss_is_blind_to(run, kind, share):
    arrays = run.seed(kind, share).of_all(run.loss)
    found = as_matrices(arrays, 7, run.objective.shape)
    assert_allclose(found, np.swapaxes(found, 1, 2), rtol=1e-9, atol=1e-12)
    if isinstance(run.loss, MultinomialLoss):
        shift = np.broadcast_to(run.drift[0], run.objective.shape)
        assert_allclose(found @ shift.ravel(), 0.0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_rows_are_dense_rows(kind):
    for loss in LOSSES:
        dense, csr = (Run(loss, 2, storage) for storage in ("dense", "csr"))
        found, expected = (
            respond(run.seed(kind, 0.5).of_all(run.loss), 9, run.drift)
            for run in (csr, dense)
        )
        assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_large_blocks_are_read_in_single_precision(run, kind, monkeypatch):
    seed = run.seed(kind)
    exact = seed.of_all(run.loss)
    assert all(array.dtype != np.float32 for array in exact)
    monkeypatch.setattr(checkpoints, "_LARGE_BLOCK", 0)
    rounded = seed.of_all(run.loss)
    assert sum(array.dtype == np.float32 for array in rounded) == 1
    found, expected = (respond(some, 9, run.drift) for some in (rounded, exact))
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernels_are_given_what_they_were_compiled_for(run, kind):
    """Arrays of another layout would be compiled for, too: in every process, late."""
    seed = run.seed(kind, 0.5)
    for arrays in (
        seed.of_all(run.loss),
        seed.of_sample(run.loss),
        *seed.of_halves(run.loss),
        seed.at(9).of_all(run.loss),
    ):
        assert all(array.flags.c_contiguous for array in arrays)
        assert all(array.flags.writeable for array in arrays)


# ---------------------------------------------------------------------------
# Edits
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_after_an_edit_it_is_that_of_the_rows_that_are_there(run, kind, share):
    others = np.arange(20, 40)
    removed = np.array([3, 7, 41, 50, 51, 52])
    seed = run.seed(kind, share, without=others)
    before = run.seed(kind, share, without=others)
    change = Edit(removed).staged(run.positions[removed], others, run.positions[others])
    found = seed.changed(run.objective, change)
    expected = run.with_basis_of(seed, share, without=removed)
    for name, sums in vars(expected).items():
        assert_allclose(getattr(found.sums, name), sums, rtol=1e-9, atol=1e-11)
        was = getattr(before.sums, name)
        assert_array_equal(getattr(seed.sums, name), was)  # as it was
    # The sample, too, is what it would have been.
    fresh = run.seed(kind, share, without=removed).positions
    assert_array_equal(np.sort(found.positions), np.sort(fresh))
    assert_array_equal(seed.positions, before.positions)
    if share < 1.0:
        assert 0 < len(fresh) < N_ROWS - len(removed)
    for name in ("basis", "places", "point", "progress"):
        assert_array_equal(getattr(found, name), getattr(before, name))


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_and_back(run, kind):
    seed = run.seed(kind, 0.5)
    nobody, some = run.indices[:0], np.arange(30)
    leave = Edit(some).staged(run.positions[some], nobody, nobody)
    join = Edit(nobody).staged(nobody, some, run.positions[some])
    found = seed.changed(run.objective, leave).changed(run.objective, join)
    for name, sums in vars(seed.sums).items():
        assert_allclose(getattr(found.sums, name), sums, rtol=1e-9, atol=1e-10)
    assert_array_equal(np.sort(found.positions), np.sort(seed.positions))


@pytest.mark.parametrize("kind", KINDS)
def test_next_to_a_huge_row_nothing_precise_is_left(kind):
    run = Run("half_squared")
    seed = run.seed(kind)
    run.objective.weight[7] = 1e12
    nobody = np.zeros(0, np.int64)
    index = np.array([7])
    joined = Edit(nobody).staged(nobody, index, run.positions[index] + 1000)
    huge = seed.changed(run.objective, joined)
    assert huge is not None
    left = Edit(index).staged(run.positions[index] + 1000, nobody, nobody)
    assert huge.changed(run.objective, left) is None


def test_a_corrected_row_keeps_its_place_in_the_sample(run):
    """It takes over the position of the row that leaves."""
    old, new = np.array([3, 7, 41, 50]), np.array([20, 21, 22, 23])
    run.positions[new] = run.positions[old]
    seed = run.seed("whole", 0.5, without=new)
    sampled = np.isin(run.positions[old], seed.positions)
    assert sampled.any()
    assert not sampled.all()
    change = Edit(old).staged(run.positions[old], new, run.positions[new])
    found = seed.changed(run.objective, change)
    assert_array_equal(np.sort(found.positions), np.sort(seed.positions))
    expected = run.with_basis_of(seed, 0.5, without=old)
    assert_allclose(found.sums.hessians, expected.hessians, rtol=1e-9, atol=1e-11)


def test_who_belongs_to_the_sample(run):
    seed = run.seed("whole", 0.5)
    sample = run.sample(0.5)
    assert 20 < len(sample) < 60
    assert_array_equal(np.sort(seed.positions), np.sort(run.positions[sample]))
    found = seed.sampled(run.indices, run.positions[run.indices])
    assert_array_equal(found, sample)
    everyone = run.seed("whole", 1.0)
    assert len(everyone.positions) == N_ROWS
    found = everyone.sampled(run.indices, run.positions[run.indices])
    assert_array_equal(found, run.indices)


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_without_rows_predicts_nothing(kind):
    run = Run("binomial", 2)
    gone = run.indices[run.group[run.indices] == 1]
    # It has left, or was never there.
    change = Edit(gone).staged(run.positions[gone], run.indices[:0], run.indices[:0])
    for seed in (
        run.seed(kind, without=gone),
        run.seed(kind, 0.5, without=gone),
    ):
        for arrays in (seed.of_all(run.loss), *seed.of_halves(run.loss)):
            found = respond(arrays, 5, run.drift)
            assert found[0].any()
            assert not found[1].any()
    left = run.seed(kind, 0.5).changed(run.objective, change)
    assert np.isfinite(respond(left.of_all(run.loss), 5, run.drift)).all()


# ---------------------------------------------------------------------------
# Samples
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_groups", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_sample_is_made_up_for_where_all_rows_bend_alike(loss, n_groups, kind):
    """Exact for a squared error, and at the start of a path for log-losses."""
    run = Run(loss, n_groups)
    seed = run.seed(kind, 0.4)
    assert len(seed.positions) < 60
    everyone = run.with_basis_of(seed, 1.0)
    at_first, shape = seed.at(0), run.objective.shape
    found = as_matrices(at_first.of_all(run.loss), 0, shape)
    first = slice(0, 1)
    everyone = Sums(
        everyone.weight, everyone.hessians[:, first], everyone.moments,
        everyone.bends[:, first], everyone.all_weight, everyone.all_moments,
        everyone.all_squares,
    )  # fmt: skip
    whole = Seed(
        seed.kind, seed.basis, at_first.places, everyone, seed.positions,
        at_first.point, at_first.progress,
    )  # fmt: skip
    expected = as_matrices(whole.of_all(run.loss), 0, shape)
    assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    for arrays in seed.at(0).of_halves(run.loss):
        assert_allclose(as_matrices(arrays, 0, shape), expected, rtol=1e-9, atol=1e-11)
    alone = as_matrices(at_first.of_sample(run.loss), 0, shape)
    assert np.abs(alone - expected).max() > 1e-3


def test_it_is_nearer_than_the_sample_alone_all_along():
    """In the mean of many samples, and where rows do not bend much."""
    run = Run("multinomial", 2)
    run.trajectory.steps[:] /= 4.0
    step, shape = N_STEPS - 1, run.objective.shape
    expected = as_matrices(run.seed().of_all(run.loss), step, shape)
    errors, of_samples = [], []
    for _ in range(10):
        run.positions += N_ROWS
        seed = run.seed(share=0.6)
        made_up = as_matrices(seed.of_all(run.loss), step, shape)
        alone = as_matrices(seed.of_sample(run.loss), step, shape)
        errors.append(np.linalg.norm(made_up - expected))
        of_samples.append(np.linalg.norm(alone - expected))
    assert 0 < np.mean(errors) < 0.7 * np.mean(of_samples)


@pytest.mark.parametrize("kind", ["whole", "mean"])
def test_a_sample_predicts_its_own_rows(run, kind):
    seed = run.seed(kind, 0.5)
    U = np.eye(run.drift.size)
    if kind == "mean":
        U = np.kron(np.eye(run.loss.n_outputs), seed.basis)
    arrays = seed.of_sample(run.loss)
    for step in np.flatnonzero(np.diff(seed.point, prepend=-1)):
        place = seed.places[seed.point[step]]
        found = U @ as_matrices(arrays, step, place.shape) @ U.T
        expected = U @ run.hessians(place, run.sample(0.5)) @ U.T
        assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_without_a_sample_there_are_no_halves(run):
    assert run.seed(share=1.0).of_halves(run.loss) == []
    assert len(run.seed(share=0.5).of_halves(run.loss)) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_two_halves_are_the_whole_sample_about(run, kind):
    """But for what second derivatives and moments vary together."""
    seed = run.seed(kind, 0.6)
    sums, loss, shape = seed.sums, run.loss, run.objective.shape
    one, other = (as_matrices(arrays, 9, shape) for arrays in seed.of_halves(loss))
    every = as_matrices(seed.of_all(loss), 9, shape)
    share = sums.weight / sums.weight.sum(axis=0)
    mean = share[0, :, np.newaxis, np.newaxis] * one
    mean += share[1, :, np.newaxis, np.newaxis] * other
    before, progress = seed.point[9], seed.progress[9]
    bends, moments = sums.bends[:, before], sums.moments
    if progress > 0:
        bends = (1 - progress) * bends + progress * sums.bends[:, before + 1]
    bends, moments = (
        part / sums.weight[:, :, np.newaxis, np.newaxis] for part in (bends, moments)
    )
    basis = np.eye(N_FEATURES + 1) if seed.basis is None else seed.basis
    Q = loss.to_outputs(np.eye(loss.n_coordinates))
    for group in range(run.objective.n_groups):
        bend = bends[0, group] - bends[1, group]
        bend = Q @ (bend * np.eye(len(Q)) if loss.is_quadratic else bend) @ Q.T
        moment = basis.T @ (moments[0, group] - moments[1, group]) @ basis
        together = share[0, group] * share[1, group] * np.kron(bend, moment)
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


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_of_one_step_predicts_as_the_seed_does(run, kind, share):
    seed = run.seed(kind, share)
    wholes = [seed.of_all(run.loss), seed.of_sample(run.loss)]
    wholes += seed.of_halves(run.loss)
    for step in (0, 1, 9, N_STEPS - 1):
        alone = seed.at(step)
        assert len(alone.places) <= 2
        parts = [alone.of_all(run.loss), alone.of_sample(run.loss)]
        parts += alone.of_halves(run.loss)
        for part, whole in zip(parts, wholes, strict=True):
            found, expected = (
                respond(part, 0, run.drift),
                respond(whole, step, run.drift),
            )
            assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_nbytes():
    run = Run("multinomial")
    whole, block = run.seed("whole", 0.5), run.seed("block", 0.5)
    n_numbers = N_POINTS * run.drift.size + 2 * N_STEPS + len(whole.positions)
    assert whole.nbytes == whole.sums.nbytes + 8 * n_numbers
    n_numbers += block.basis.size
    assert block.nbytes == block.sums.nbytes + 8 * n_numbers


# ---------------------------------------------------------------------------
# What can be afforded
# ---------------------------------------------------------------------------

SIZES = {"n_dof": 20, "n_rows": 50_000, "n_epochs": 100, "entry_cost": 1.0}


def kind_of(loss="multinomial", **sizes):
    return affordable_kind(LOSSES[loss], **{**SIZES, **sizes})


@pytest.fixture
def many_directions(monkeypatch):
    for module in (checkpoints, checkpoint_sums):
        monkeypatch.setattr(module, "N_DIRECTIONS", 64)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_long_fit_of_few_columns_affords_whole_hessians_of_all_rows(loss):
    kind = kind_of(loss, n_rows=10_000, n_epochs=100_000)
    n_points = 1 if LOSSES[loss].is_quadratic else checkpoints._N_POINTS
    assert kind == SeedKind("whole", 1.0, n_points)


@pytest.mark.parametrize("entry_cost", [1.0, 16.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_whole_hessians_are_no_larger_than_can_be_kept(loss, entry_cost, monkeypatch):
    monkeypatch.setattr(checkpoints, "_MOST_COEFFICIENTS", 60)
    m = {"binomial": 1, "multinomial": 3, "half_squared": 1}[loss]
    sizes = {"n_rows": 10_000, "n_epochs": 100_000, "entry_cost": entry_cost}
    assert kind_of(loss, n_dof=60 // m, **sizes).name == "whole"
    larger = kind_of(loss, n_dof=60 // m + 1, **sizes).name
    assert larger == ("mean" if entry_cost > 1.0 else "block")


@pytest.mark.parametrize("loss", LOSSES)
def test_a_short_fit_affords_the_mean_alone_and_only_where_rows_are_sparse(loss):
    sizes = {"n_dof": 500, "n_rows": 2_000, "n_epochs": 1}
    assert kind_of(loss, **sizes) is None
    kind = kind_of(loss, **sizes, entry_cost=16.0)
    assert kind == SeedKind("mean", 1.0, checkpoints._N_POINTS)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_costs_nothing_is_whole_and_what_costs_all_is_not_bought(
    loss, monkeypatch
):
    monkeypatch.setattr(checkpoints, "_MOST_FITS", 1e9)
    assert kind_of(loss, n_epochs=1).name == "whole"
    monkeypatch.setattr(checkpoints, "_MOST_FITS", 0.0)
    assert kind_of(loss) is None
    assert kind_of(loss, entry_cost=16.0).name == "mean"


def cost_of(kind, loss, n_dof, n_rows):
    """Multiplications, as of the fit: those of BLAS are cheaper."""
    m = 1 if loss.is_quadratic else loss.n_coordinates
    pairs = m * (m + 1) // 2
    n_points = 1 if loss.is_quadratic else kind.n_points
    if kind.name == "whole":
        return kind.share * n_rows * n_points * pairs * n_dof**2 / checkpoints._BLAS
    of_sample = n_points * pairs * checkpoints.N_DIRECTIONS**2 / checkpoints._BLAS
    return n_rows * (checkpoints.N_DIRECTIONS * n_dof + kind.share * of_sample)


@pytest.mark.usefixtures("many_directions")
@pytest.mark.parametrize("n_dof", [2, 20, 300, 1_000, 3_000])
@pytest.mark.parametrize("loss", [*LOSSES.values(), MultinomialLoss(30)])
def test_it_costs_no_more_than_the_fit_and_has_rows_enough(loss, n_dof):
    m = 1 if loss.is_quadratic else loss.n_coordinates
    best = {}
    for n_rows in (300, 20_000, 1_000_000, 100_000_000):
        for n_epochs in (1, 3, 30, 1_000):
            kind = affordable_kind(loss, n_dof, n_rows, n_epochs, entry_cost=1.0)
            if kind is None:
                assert n_rows not in best  # a longer fit affords no less
                continue
            best[n_rows] = kind
            assert 0.0 < kind.share <= 1.0
            fit = n_epochs * n_rows * 2 * loss.n_outputs * n_dof
            assert cost_of(kind, loss, n_dof, n_rows) <= fit * (1 + 1e-12)
            n_coef = m * (n_dof if kind.name == "whole" else checkpoints.N_DIRECTIONS)
            enough = checkpoints._ROWS_PER_COEFFICIENT * n_coef
            assert kind.share == 1.0 or kind.share * n_rows > enough * (1 - 1e-12)
            assert kind.share * n_rows <= max(300, checkpoints._LARGEST_SAMPLE) * (
                1 + 1e-12
            )
            if kind.name == "whole":
                assert m * n_dof <= checkpoints._MOST_COEFFICIENTS


@pytest.mark.usefixtures("many_directions")
def test_a_larger_fit_affords_a_larger_sample():
    shares = [
        kind_of(n_rows=1_000_000, n_epochs=n_epochs).share
        for n_epochs in (1, 10, 100, 10_000)
    ]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1] < 1.0


@pytest.mark.parametrize("loss", LOSSES)
def test_predictions_by_less_are_less_work(loss):
    work = [
        SeedKind(name, 1.0, 5).work_of_step(LOSSES[loss], 1_000, 1) for name in KINDS
    ]
    assert work == sorted(work, reverse=True)
    assert min(work) > 1_000
    for name in KINDS:
        kind = SeedKind(name, 0.1, 5)
        one, three = (kind.work_of_step(LOSSES[loss], 1_000, n) for n in (1, 3))
        assert three == 3 * one
