"""Sums of Hessian checkpoints against plain NumPy; directions and drawn numbers."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from scipy.linalg import helmert
from scipy.special import expit, softmax

from skdeltagrad._data.storage import store
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import (
    BinomialLoss,
    HalfSquaredLoss,
    MultinomialLoss,
)
from skdeltagrad._path import cost
from skdeltagrad._path.checkpoint_sums import (
    CheckpointSums,
    DirectedView,
    WholeView,
    direction_of_mean,
    leading_directions,
)
from skdeltagrad._path.splitmix import draw

LOSSES = {
    "binomial": BinomialLoss(),
    "multinomial": MultinomialLoss(4),
    "half_squared": HalfSquaredLoss(2),
}
N_ROWS, N_FEATURES, N_POINTS = 90, 5, 3
FRACTION = 0.5


class Problem:
    """An objective on random rows, some iterates, and the same in plain NumPy."""

    def __init__(self, loss="binomial", storage="dense", n_groups=1, n_rows=N_ROWS):
        rng = np.random.default_rng(0)
        self.loss = LOSSES[loss]
        n_outputs = self.loss.n_outputs
        X = rng.normal(size=(n_rows, N_FEATURES)) * np.arange(1, N_FEATURES + 1)
        X[rng.random(X.shape) > 0.8] = 0
        centre = rng.integers(-2, 3, size=N_FEATURES) / 2
        self.design = np.column_stack([X - centre, np.ones(n_rows)])
        if self.loss.is_quadratic:
            y = rng.normal(size=(n_rows, n_outputs))
        else:
            y = rng.integers(max(2, n_outputs), size=n_rows)
        self.weight = rng.random(n_rows) + 0.5
        self.weight[::10] = 0.0
        self.group = rng.integers(n_groups, size=n_rows)
        rows = store(sparse.csr_matrix(X) if storage == "csr" else X)
        self.objective = DataTerm(
            rows, y, self.weight, self.loss, centre, self.group, n_groups
        )
        self.iterates = rng.normal(size=(N_POINTS, *self.objective.shape)) / 4
        self.indices = rng.permutation(n_rows)
        self.positions = self.indices + 1000
        directions = rng.normal(size=(self.objective.n_dof,) * 2)
        self.directions = np.ascontiguousarray(np.linalg.qr(directions)[0].T)

    def view(self, view_name):
        if view_name == "whole":
            return WholeView(self.objective)
        return DirectedView(self.objective, self.directions[:2])

    def sums(self, view, fraction=FRACTION, some=slice(None)):
        """Of some rows."""
        return CheckpointSums.of(
            self.objective, view, self.iterates, self.indices[some],
            self.positions[some], fraction,
        )  # fmt: skip

    def by_group(self, indices):
        for number in range(self.objective.n_groups):
            yield indices[self.group[indices] == number]

    def curvatures(self, iterate, indices):
        """Second derivatives in the coordinates of the loss: (n_rows, m, m)."""
        raw = self.design[indices] @ iterate.T
        if self.loss.is_quadratic:
            return np.ones((len(indices), 1, 1))
        if raw.shape[1] == 1:
            return (expit(raw) * expit(-raw))[:, :, np.newaxis]
        p, Q = softmax(raw, axis=1), helmert(raw.shape[1]).T
        by_output = p[:, :, np.newaxis] * (np.eye(len(Q)) - p[:, np.newaxis])
        return Q.T @ by_output @ Q

    def hessians(self, indices, basis):
        """Of some rows, seen in some directions: (n_places, n_groups, size, size)."""
        found = []
        for iterate, members in itertools.product(
            self.iterates, self.by_group(indices)
        ):
            X, weight = self.design[members] @ basis.T, self.weight[members]
            curvatures = self.curvatures(iterate, members)
            block = np.einsum("i,ijk,ia,ib->jakb", weight, curvatures, X, X)
            size = block.shape[0] * block.shape[1]
            found.append(block.reshape(size, size))
        return np.reshape(found, (len(self.iterates), -1, size, size))

    def moments(self, indices, basis):
        """Their second moments: (n_groups, n_directions, n_directions)."""
        X, weight = self.design @ basis.T, self.weight[:, np.newaxis]
        return np.stack(
            [X[some].T @ (weight * X)[some] for some in self.by_group(indices)]
        )


@pytest.fixture(
    params=itertools.product(LOSSES, ["dense", "csr"], [1, 2]),
    ids=lambda param: "-".join(map(str, param)),
)
def problem(request):
    return Problem(*request.param)


# ---------------------------------------------------------------------------
# Views
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("view_name", ["whole", "directed"])
def test_hessians_and_moments_are_those_of_plain_numpy(problem, view_name):
    view, indices = problem.view(view_name), problem.indices[:60]
    basis = np.eye(problem.objective.n_dof) if view.basis is None else view.basis
    hessians, moments = view.sums(problem.iterates, indices)
    expected = problem.hessians(indices, basis)
    assert_allclose(hessians, expected, rtol=1e-10, atol=1e-11)
    expected = problem.moments(indices, basis)
    assert_allclose(moments, expected, rtol=1e-10, atol=1e-11)
    assert_allclose(view.second_moments(indices), moments, rtol=1e-12)


def test_in_directions_it_is_the_hessian_from_both_sides(problem):
    view, indices = problem.view("directed"), problem.indices
    hessians, moments = view.sums(problem.iterates, indices)
    U = np.kron(np.eye(problem.objective.n_curvatures), view.basis)
    for iterate, found in zip(problem.iterates, hessians, strict=True):
        whole = problem.objective.hessian_sums(iterate, indices)
        assert_allclose(found, U @ whole @ U.T, rtol=1e-10, atol=1e-10)
    whole = problem.objective.second_moments(indices)
    expected = view.basis @ whole @ view.basis.T
    assert_allclose(moments, expected, rtol=1e-10, atol=1e-10)


def test_in_all_directions_it_is_the_whole(problem):
    view, indices = DirectedView(problem.objective, problem.directions), problem.indices
    hessians, moments = view.sums(problem.iterates, indices)
    whole, whole_moments = problem.view("whole").sums(problem.iterates, indices)
    U = np.kron(np.eye(problem.objective.n_curvatures), problem.directions)
    assert_allclose(U.T @ hessians @ U, whole, rtol=1e-10, atol=1e-10)
    U = problem.directions
    assert_allclose(U.T @ moments @ U, whole_moments, rtol=1e-10, atol=1e-10)


def test_squares_are_those_of_all_columns_where_directions_miss_some(problem):
    indices = problem.indices
    expected = [
        problem.weight[members] @ problem.design[members] ** 2
        for members in problem.by_group(indices)
    ]
    found = problem.view("directed").squares(indices)
    assert_allclose(found, expected, rtol=1e-11)
    found = problem.view("whole").squares(indices)
    assert_array_equal(found, np.zeros_like(expected))


@pytest.mark.parametrize("view_name", ["whole", "directed"])
def test_no_rows(problem, view_name):
    no_rows = problem.indices[:0]
    for found in (
        *problem.view(view_name).sums(problem.iterates, no_rows),
        *vars(problem.sums(problem.view(view_name), some=slice(0))).values(),
    ):
        assert not found.any()


# ---------------------------------------------------------------------------
# Sums
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("view_name", ["whole", "directed"])
def test_a_sample_is_summed_by_halves_and_all_rows_beside_it(problem, view_name):
    view, indices = problem.view(view_name), problem.indices
    basis = np.eye(problem.objective.n_dof) if view_name == "whole" else view.basis
    draws = draw(problem.positions)
    halves = [
        indices[draws < FRACTION / 2],
        indices[(draws >= FRACTION / 2) & (draws < FRACTION)],
    ]
    assert min(map(len, halves)) > 10
    sums = problem.sums(view)
    for half, some in enumerate(halves):
        weight = [problem.weight[members].sum() for members in problem.by_group(some)]
        assert_allclose(sums.weight[half], weight, rtol=1e-12)
        hessians = problem.hessians(some, basis)
        assert_allclose(sums.hessians[half], hessians, rtol=1e-10, atol=1e-11)
        moments = problem.moments(some, basis)
        assert_allclose(sums.moments[half], moments, rtol=1e-10, atol=1e-11)
        expected = [
            [
                np.tensordot(
                    problem.weight[members],
                    problem.curvatures(iterate, members),
                    axes=1,
                )
                for members in problem.by_group(some)
            ]
            for iterate in problem.iterates
        ]
        assert_allclose(sums.second_derivatives[half], expected, rtol=1e-10, atol=1e-12)
    weight = [problem.weight[members].sum() for members in problem.by_group(indices)]
    assert_allclose(sums.all_weight, weight, rtol=1e-12)
    assert_allclose(sums.all_moments, problem.moments(indices, basis), rtol=1e-10)
    assert_array_equal(sums.all_squares, view.squares(indices))


@pytest.mark.parametrize("view_name", ["whole", "directed"])
def test_where_all_rows_are_sampled_there_are_no_halves(problem, view_name):
    view = problem.view(view_name)
    sums = problem.sums(view, fraction=1.0)
    hessians, moments = view.sums(problem.iterates, problem.indices)
    assert_array_equal(sums.hessians, [hessians])
    assert_array_equal(sums.moments, [moments])
    assert_array_equal(sums.all_moments, moments)
    assert_array_equal(sums.weight, [sums.all_weight])


@pytest.mark.parametrize("fraction", [0.3, FRACTION, 1.0])
@pytest.mark.parametrize("view_name", ["whole", "directed"])
def test_rows_that_join_and_leave_add_up(problem, view_name, fraction):
    view = problem.view(view_name)
    here, there = slice(0, 70), slice(70, None)
    some, others = (problem.sums(view, fraction, part) for part in (here, there))
    before = {name: array.copy() for name, array in vars(some).items()}
    everyone = problem.sums(view, fraction)
    assert_same_sums(some.plus(others), everyone)
    assert_same_sums(everyone.minus(others), some)
    for name, array in vars(some).items():  # as it was
        assert_array_equal(array, before[name])


def assert_same_sums(found, expected):
    assert vars(found).keys() == vars(expected).keys()
    for name, array in vars(expected).items():
        assert_allclose(
            getattr(found, name), array, rtol=1e-10, atol=1e-10, err_msg=name
        )


def test_the_order_of_rows_does_not_matter():
    problem = Problem("multinomial", n_groups=2)
    view = problem.view("directed")
    backwards = slice(None, None, -1)
    assert_same_sums(problem.sums(view, some=backwards), problem.sums(view))


def test_nbytes():
    problem = Problem("multinomial")
    sums = problem.sums(problem.view("whole"))
    n_coef, m = 3 * problem.objective.n_dof, 3
    n_numbers = 2 * (1 + N_POINTS * (n_coef**2 + m**2) + problem.objective.n_dof**2)
    n_numbers += 1 + problem.objective.n_dof**2 + problem.objective.n_dof
    assert sums.nbytes == 8 * n_numbers


# ---------------------------------------------------------------------------
# Directions
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_directions", [1, 3, 6, 64])
def test_leading_directions_are_where_rows_extend_most(monkeypatch, n_directions):
    monkeypatch.setattr(cost, "N_DIRECTIONS", n_directions)
    monkeypatch.setattr(cost, "ROWS_PER_COLUMN", N_ROWS)  # all of them
    problem = Problem("multinomial", n_groups=2)
    found = leading_directions(problem.objective, problem.indices)
    n_found = min(n_directions, problem.objective.n_dof)
    assert found.shape == (n_found, problem.objective.n_dof)
    assert found.flags.c_contiguous
    assert_allclose(found @ found.T, np.eye(n_found), atol=1e-12)
    rows = np.sqrt(problem.weight)[:, np.newaxis] * problem.design
    leading = np.linalg.svd(rows)[2][:n_found]
    assert_allclose(found.T @ found, leading.T @ leading, atol=1e-10)


def test_leading_directions_are_made_of_enough_rows(monkeypatch):
    """Of many rows every k-th is read, which is accurate enough."""
    monkeypatch.setattr(cost, "N_DIRECTIONS", 2)
    monkeypatch.setattr(cost, "ROWS_PER_COLUMN", 5)
    problem = Problem(n_rows=90)
    assert problem.objective.n_dof == 6
    found = leading_directions(problem.objective, problem.indices)
    read = problem.indices[::3]
    monkeypatch.setattr(cost, "ROWS_PER_COLUMN", 1000)
    assert_array_equal(found, leading_directions(problem.objective, read))
    everyone = leading_directions(problem.objective, problem.indices)
    assert np.abs(found.T @ found - everyone.T @ everyone).max() > 1e-3


def test_the_direction_of_the_mean(problem):
    found = direction_of_mean(problem.objective, problem.indices)
    mean = problem.weight @ problem.design / problem.weight.sum()
    # Rounded, so that it does not hold the rows that leave.
    assert_allclose(found, [mean / np.linalg.norm(mean)], rtol=0, atol=1 / 64)
    parts = found / np.abs(found).max() * 64
    assert_allclose(parts, np.rint(parts), atol=1e-9)


def test_rows_without_a_mean_have_no_direction():
    problem = Problem()
    found = direction_of_mean(problem.objective, problem.indices[:0])
    assert_array_equal(found, np.zeros((1, problem.objective.n_dof)))


# ---------------------------------------------------------------------------
# Draws
# ---------------------------------------------------------------------------


def test_draws_are_those_of_splitmix64():
    """The first numbers of the published generator, seeded with 0."""
    published = [
        0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC,
    ]  # fmt: skip
    assert_array_equal(draw(np.arange(4)), np.array(published) / 2.0**64)


@pytest.mark.parametrize("first", [0, 10**6, 10**12])
@pytest.mark.parametrize("stride", [1, 2, 7, 1024])
def test_draws_are_uniform_and_do_not_know_of_each_other(first, stride):
    draws = draw(first + stride * np.arange(20_000))
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    assert stats.kstest(draws, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 4 / np.sqrt(len(draws))
    halves = np.bincount((draws * 64).astype(int) % 2)  # the sixth binary digit
    assert abs(halves[0] - halves[1]) < 4 * np.sqrt(len(draws))


def test_a_draw_belongs_to_its_position():
    positions = np.random.default_rng(0).permutation(10_000)
    assert_array_equal(draw(positions), draw(np.arange(10_000))[positions])
    assert len(np.unique(draw(positions))) == len(positions)
    assert draw(positions[:0]).shape == (0,)
