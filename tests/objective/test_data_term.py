"""Gradients of the data term, over loss x storage x intercept x centre x groups."""

import itertools
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, logsumexp, softmax

from skdeltagrad._data.storage import store
from skdeltagrad._objective import data_term, second_derivatives
from skdeltagrad._objective import data_term as _data_term
from skdeltagrad._objective import losses as _losses
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import (
    BinomialLoss,
    HalfSquaredLoss,
    MultinomialLoss,
)
from skdeltagrad._utils.threads import limit_threads

LOSSES = {
    "binomial": BinomialLoss(),
    "multinomial_few": MultinomialLoss(3),
    "multinomial": MultinomialLoss(5),
    "half_squared": HalfSquaredLoss(1),
    "half_squared_many": HalfSquaredLoss(3),
}
STORAGES = ["dense", "csr", "dense32"]
INTERCEPTS = ["without", "plain", "centred"]
N_GROUPS = [1, 3]

INSTANCES = list(itertools.product(LOSSES, STORAGES, INTERCEPTS, N_GROUPS))


class Problem:
    """An objective on random rows, and the same in plain NumPy."""

    def __init__(
        self, loss, storage, intercept, n_groups, n_rows=60, n_features=5, density=0.6,
        n_classes=None,
    ):  # fmt: skip
        rng = np.random.default_rng(0)
        self.loss = LOSSES[loss] if n_classes is None else MultinomialLoss(n_classes)
        n_outputs = self.loss.n_outputs
        X = rng.normal(size=(n_rows, n_features))
        X[rng.random(X.shape) > density] = 0
        if storage == "dense32":
            X = X.astype(np.float32)
        self.X = X.astype(float)
        self.rows = store(sparse.csr_matrix(X) if storage == "csr" else X)
        if isinstance(self.loss, HalfSquaredLoss):
            self.y = rng.normal(size=(n_rows, n_outputs))
        else:
            self.y = rng.integers(max(2, n_outputs), size=n_rows)
        self.weight = rng.random(n_rows) * (rng.random(n_rows) < 0.9)
        self.centre = {
            "without": None,
            "plain": np.zeros(n_features),
            "centred": rng.integers(-3, 4, size=n_features) / 2,
        }[intercept]
        self.group = rng.integers(n_groups, size=n_rows)
        self.n_groups = n_groups
        self.objective = DataTerm(
            self.rows, self.y, self.weight, self.loss, self.centre, self.group, n_groups
        )
        self.iterate = rng.normal(size=self.objective.shape) / np.sqrt(n_features)
        self.indices = rng.integers(n_rows, size=3 * n_rows // 4)

    def design(self, indices):
        """Centred rows, with a column of ones for the intercept."""
        X = self.X[indices]
        if self.centre is None:
            return X
        return np.column_stack([X - self.centre, np.ones(len(X))])

    def raw(self, iterate, indices):
        return self.design(indices) @ iterate.T

    def value(self, iterate, indices):
        """The data term over some rows."""
        raw, y = self.raw(iterate, indices), self.y[indices]
        if isinstance(self.loss, HalfSquaredLoss):
            losses = ((raw - y) ** 2).sum(axis=1) / 2
        elif isinstance(self.loss, BinomialLoss):
            losses = np.logaddexp(0, raw[:, 0]) - y * raw[:, 0]
        else:
            losses = logsumexp(raw, axis=1) - raw[np.arange(len(y)), y]
        return self.weight[indices] @ losses

    def gradient(self, iterate, indices):
        """Its gradient."""
        design, y = self.design(indices), self.y[indices]
        raw = design @ iterate.T
        if isinstance(self.loss, HalfSquaredLoss):
            pointwise = raw - y
        elif isinstance(self.loss, BinomialLoss):
            pointwise = expit(raw) - y[:, np.newaxis]
        else:
            pointwise = softmax(raw, axis=1) - np.eye(raw.shape[1])[y]
        return (self.weight[indices, np.newaxis] * pointwise).T @ design

    def hessian(self, iterate, indices, factor=1.0):
        """Its second derivative in the outputs, (n_outputs * n_dof) squared."""
        design, raw = self.design(indices), self.raw(iterate, indices)
        weight = factor * self.weight[indices]
        if isinstance(self.loss, HalfSquaredLoss):
            curvatures = np.tile(np.eye(raw.shape[1]), (len(raw), 1, 1))
        elif isinstance(self.loss, BinomialLoss):
            curvatures = (expit(raw) * expit(-raw))[:, :, np.newaxis]
        else:
            p = softmax(raw, axis=1)
            curvatures = p[:, :, np.newaxis] * (np.eye(p.shape[1]) - p[:, np.newaxis])
        blocks = np.einsum("i,ijk,ia,ib->jakb", weight, curvatures, design, design)
        return blocks.reshape(self.iterate.size, self.iterate.size)

    def in_outputs(self, sums):
        """What `hessian_sums` tells, as a matrix like that of `hessian`."""
        n_outputs, n_dof = self.objective.shape
        if self.loss.is_quadratic:
            return np.kron(np.eye(n_outputs), sums)
        basis = np.kron(
            self.loss.to_outputs(np.eye(self.loss.n_coordinates)), np.eye(n_dof)
        )
        return basis @ sums @ basis.T

    def members(self, number):
        return self.indices[self.group[self.indices] == number]


@pytest.fixture(params=INSTANCES, ids=lambda instance: "-".join(map(str, instance)))
def problem(request):
    return Problem(*request.param)


def test_gradient_sums(problem):
    sums = problem.objective.gradient_sums(problem.iterate, problem.indices)
    expected = [
        problem.gradient(problem.iterate, problem.members(number))
        for number in range(problem.n_groups)
    ]
    assert sums.shape == (problem.n_groups, *problem.objective.shape)
    assert_allclose(sums, expected, rtol=1e-11, atol=1e-11)


def test_gradient_sums_by_finite_differences(problem):
    sums = problem.objective.gradient_sums(problem.iterate, problem.indices)
    h = 1e-5
    for number in range(problem.n_groups):
        members = problem.members(number)
        for place in np.ndindex(problem.iterate.shape):
            shift = np.zeros_like(problem.iterate)
            shift[place] = h
            higher = problem.value(problem.iterate + shift, members)
            lower = problem.value(problem.iterate - shift, members)
            difference = (higher - lower) / (2 * h)
            assert_allclose(sums[number][place], difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("loss", LOSSES)
def test_groups_add_up(loss, storage):
    grouped = Problem(loss, storage, "centred", 3)
    whole = DataTerm(
        grouped.rows, grouped.y, grouped.weight, grouped.loss, grouped.centre
    )
    assert_allclose(
        grouped.objective.gradient_sums(grouped.iterate, grouped.indices).sum(axis=0),
        whole.gradient_sums(grouped.iterate, grouped.indices)[0],
        rtol=1e-11,
        atol=1e-12,
    )


@pytest.mark.parametrize("storage", STORAGES)
def test_parts_of_the_rows_add_up(storage):
    problem = Problem("multinomial", storage, "centred", 3)
    indices, sums = problem.indices, problem.objective.gradient_sums
    parts = sum(sums(problem.iterate, indices[i : i + 7]) for i in range(0, 45, 7))
    assert len(indices) == 45
    assert_allclose(parts, sums(problem.iterate, indices), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_adding_to_sums_and_taking_from_them(problem, sign):
    before = np.random.default_rng(3).normal(
        size=(problem.n_groups, *problem.objective.shape)
    )
    sums = before.copy()
    problem.objective.add_gradient_sums(problem.iterate, problem.indices, sums, sign)
    added = problem.objective.gradient_sums(problem.iterate, problem.indices)
    assert_allclose(sums, before + sign * added, rtol=1e-11, atol=1e-11)


def test_taking_back_what_was_added():
    """Several parts, on top of what was there."""
    problem = Problem("multinomial", "csr", "centred", 1, 20_000, 60, 0.9)
    objective, indices = problem.objective, problem.indices
    work = problem.rows.n_entries(indices) * objective.n_outputs
    assert len(objective.cut(len(indices), work)) > 2
    sums = objective.gradient_sums(problem.iterate, indices)
    largest = abs(sums).max()
    objective.add_gradient_sums(problem.iterate, indices, sums, sign=-1.0)
    assert abs(sums).max() < 1e-12 * largest


@pytest.mark.parametrize("n_groups", N_GROUPS)
@pytest.mark.parametrize("storage", STORAGES)
def test_no_rows(storage, n_groups):
    problem = Problem("multinomial", storage, "centred", n_groups)
    no_rows = np.zeros(0, np.int64)
    sums = problem.objective.gradient_sums(problem.iterate, no_rows)
    assert_array_equal(sums, np.zeros((n_groups, *problem.objective.shape)))


def test_a_group_without_rows():
    problem = Problem("binomial", "dense", "plain", 3)
    indices = np.flatnonzero(problem.group != 1)
    sums = problem.objective.gradient_sums(problem.iterate, indices)
    assert not sums[1].any()
    assert sums[[0, 2]].all()


def test_a_weight_of_two_is_a_row_given_twice():
    problem = Problem("multinomial", "dense", "centred", 1)
    problem.weight[:] = 1.0
    twice = problem.objective.gradient_sums(problem.iterate, np.arange(60).repeat(2))
    problem.weight[:] = 2.0
    once = problem.objective.gradient_sums(problem.iterate, np.arange(60))
    assert_allclose(once, twice, rtol=1e-11, atol=1e-12)


def test_the_iterate_is_not_changed(problem):
    before = problem.iterate.copy()
    problem.iterate.flags.writeable = False
    problem.objective.gradient_sums(problem.iterate, problem.indices)
    assert_array_equal(problem.iterate, before)


def test_a_column_far_from_zero_is_centred_exactly():
    """x - c loses nothing for a centre of few digits, nor does the shift."""
    offset = 2.0**20
    problem = Problem("half_squared", "dense", "plain", 1)
    X = np.round(problem.X * 8) / 8
    near = DataTerm(store(X), problem.y, problem.weight, problem.loss, np.zeros(5))
    far = DataTerm(
        store(X + offset),
        problem.y,
        problem.weight,
        problem.loss,
        np.full(5, offset),
    )
    assert_allclose(
        far.gradient_sums(problem.iterate, problem.indices),
        near.gradient_sums(problem.iterate, problem.indices),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    ("loss", "n_features", "n_groups"), [("multinomial", 40, 1), ("binomial", 120, 3)]
)
def test_the_same_bits_for_any_number_of_threads(loss, n_features, n_groups, storage):
    problem = Problem(loss, storage, "centred", n_groups, 40_000, n_features, 0.9)
    objective = problem.objective
    members = problem.members(0)
    work = problem.rows.n_entries(members) * objective.n_outputs
    n_parts = len(objective.cut(len(members), work)) - 1
    assert n_parts >= 2
    found = []
    for n_threads in (1, 2, 3, 2):
        with limit_threads(n_threads):
            found.append(objective.gradient_sums(problem.iterate, problem.indices))
    for sums in found[1:]:
        assert_array_equal(sums, found[0])
    expected = problem.gradient(problem.iterate, problem.indices)
    assert_allclose(found[0].sum(axis=0), expected, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("n_rows", [1, 5, 1000, 10**6, 10**9])
@pytest.mark.parametrize("n_features", [1, 100, 10_000])
def test_rows_are_cut_into_whole_parts(n_rows, n_features):
    objective = Problem("binomial", "dense", "plain", 1, 3, n_features).objective
    bounds = objective.cut(n_rows, n_rows * n_features)
    assert bounds[0] == 0
    assert bounds[-1] == n_rows
    assert (np.diff(bounds) > 0).all()
    assert len(bounds) <= 17
    if n_rows * n_features >= 10**8:
        assert len(bounds) == 17
    if n_rows * n_features < 10**5:
        assert len(bounds) == 2


def test_measure(problem):
    objective, indices = problem.objective, problem.indices
    origin = problem.iterate + np.random.default_rng(4).normal(size=objective.shape)
    measured = objective.measure(problem.iterate, indices, origin)
    losses = [
        problem.value(problem.iterate, problem.members(number))
        for number in range(problem.n_groups)
    ]
    sums = objective.gradient_sums(problem.iterate, indices)
    change = problem.raw(problem.iterate, indices) - problem.raw(origin, indices)
    ranges = abs(change).max(axis=1)
    if isinstance(problem.loss, MultinomialLoss):
        ranges = change.max(axis=1) - change.min(axis=1)
    assert measured.loss_sums.shape == (problem.n_groups,)
    assert_allclose(measured.loss_sums, losses, rtol=1e-11)
    assert_allclose(measured.gradient_sums, sums, rtol=1e-11, atol=1e-12)
    assert_allclose(measured.largest_change, ranges.max(), rtol=1e-11)
    step = problem.iterate - origin
    assert_allclose(objective.largest_change(step, indices), ranges.max(), rtol=1e-11)
    assert_allclose(measured.distances, ranges, rtol=1e-9, atol=1e-12)
    along, curvatures = objective.curvatures_along(problem.iterate, step, indices)
    assert_allclose(along, ranges, rtol=1e-9, atol=1e-12)
    # Second differences of the loss along the step, row by row.
    h = 1e-4
    for i in range(0, len(indices), 7):
        one = indices[[i]]
        before, here, after = (
            problem.value(problem.iterate + t * step, one) for t in (-h, 0.0, h)
        )
        expected = (after - 2.0 * here + before) / h**2
        assert_allclose(curvatures[i], expected, rtol=1e-5, atol=1e-5)


def test_measuring_without_an_origin(problem):
    measured = problem.objective.measure(problem.iterate, problem.indices)
    again = problem.objective.measure(problem.iterate, problem.indices, problem.iterate)
    assert measured.largest_change == again.largest_change == 0.0
    assert_array_equal(measured.loss_sums, again.loss_sums)
    assert_array_equal(measured.gradient_sums, again.gradient_sums)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_largest_change_is_that_of_any_block_or_group(loss, monkeypatch):
    problem = Problem(loss, "dense", "centred", 3)
    monkeypatch.setattr(type(problem.rows), "block_size", lambda rows: 7)
    objective = problem.objective
    step = np.random.default_rng(5).normal(size=objective.shape)
    each = [objective.largest_change(step, np.array([index])) for index in range(60)]
    for indices in (np.arange(60), np.argsort(each), np.argsort(each)[::-1]):
        origin = problem.iterate - step
        measured = objective.measure(problem.iterate, indices, origin)
        assert_allclose(measured.largest_change, max(each), rtol=1e-11)
        assert_allclose(objective.largest_change(step, indices), max(each), rtol=1e-11)


def test_rows_of_weight_zero_change_too():
    """What a row sees has nothing to do with its weight."""
    problem = Problem("binomial", "dense", "plain", 1)
    objective, indices = problem.objective, np.arange(60)
    origin = np.zeros(objective.shape)
    before = objective.measure(problem.iterate, indices, origin)
    problem.weight[:] = 0.0
    after = objective.measure(problem.iterate, indices, origin)
    assert after.largest_change == before.largest_change
    assert after.loss_sums == 0.0


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("loss", LOSSES)
def test_far_from_every_optimum_nothing_overflows(loss, storage):
    problem = Problem(loss, storage, "centred", 1)
    iterate = 1e4 * problem.iterate
    measured = problem.objective.measure(iterate, problem.indices)
    expected = problem.value(iterate, problem.indices)
    assert_allclose(measured.loss_sums[0], expected, rtol=1e-10)
    assert np.isfinite(measured.gradient_sums).all()
    assert np.isfinite(problem.objective.hessian_sums(iterate, problem.indices)).all()


def test_hessian_sums(problem):
    objective = problem.objective
    sums = objective.hessian_sums(problem.iterate, problem.indices)
    q = objective.n_curvatures * objective.n_dof
    assert sums.shape == (problem.n_groups, q, q)
    for number, found in enumerate(sums):
        expected = problem.hessian(problem.iterate, problem.members(number))
        assert_allclose(problem.in_outputs(found), expected, rtol=1e-10, atol=1e-11)
        assert_allclose(found, found.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("few", [True, False])
def test_adding_hessians_times_a_factor(problem, few):
    objective = problem.objective
    indices = problem.indices[:1] if few else problem.indices
    factor = np.random.default_rng(6).normal(size=len(indices))  # of either sign
    before = objective.hessian_sums(problem.iterate, problem.indices)
    sums = before.copy()
    objective.add_hessian_sums(problem.iterate, indices, sums, factor)
    for number, found in enumerate(sums):
        mine = problem.group[indices] == number
        expected = problem.in_outputs(before[number])
        expected = expected + problem.hessian(
            problem.iterate, indices[mine], factor[mine]
        )
        assert_allclose(problem.in_outputs(found), expected, rtol=1e-10, atol=1e-11)


def test_hessian_sums_by_finite_differences(problem):
    objective, indices = problem.objective, problem.indices
    sums = objective.hessian_sums(problem.iterate, indices)
    hessians = [problem.in_outputs(found) for found in sums]
    h = 1e-5
    for number, shift in enumerate(h * np.eye(problem.iterate.size)):
        shift = shift.reshape(objective.shape)
        higher = objective.gradient_sums(problem.iterate + shift, indices)
        lower = objective.gradient_sums(problem.iterate - shift, indices)
        differences = (higher - lower).reshape(problem.n_groups, -1) / (2 * h)
        columns = [hessian[number] for hessian in hessians]
        assert_allclose(columns, differences, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("loss", LOSSES)
def test_hessian_sums_block_by_block(loss, storage, monkeypatch):
    problem = Problem(loss, storage, "centred", 3)
    arguments = problem.iterate, problem.indices
    whole = problem.objective.hessian_sums(*arguments)
    monkeypatch.setattr(second_derivatives, "_MOST_IN_BLOCK", 4)
    parts = problem.objective.hessian_sums(*arguments)
    assert_allclose(parts, whole, rtol=1e-11, atol=1e-11)


def test_hessian_products(problem):
    objective, indices = problem.objective, problem.indices
    direction = np.random.default_rng(8).normal(size=objective.shape)
    states = objective.hessian_states(problem.iterate, indices)
    products = objective.hessian_products(states, problem.iterate, direction, indices)
    assert products.shape == (problem.n_groups, *objective.shape)
    for number, product in enumerate(products):
        hessian = problem.hessian(problem.iterate, problem.members(number))
        expected = (hessian @ direction.ravel()).reshape(objective.shape)
        assert_allclose(product, expected, rtol=1e-10, atol=1e-10)


def test_hessian_diagonals(problem):
    objective, indices = problem.objective, problem.indices
    diagonals = objective.hessian_diagonals(problem.iterate, indices)
    m = problem.loss.n_coordinates
    assert diagonals.shape == (problem.n_groups, m, objective.n_dof)
    for sums, found in zip(
        objective.hessian_sums(problem.iterate, indices), diagonals, strict=True
    ):
        expected = np.diagonal(sums).reshape(-1, objective.n_dof)
        expected = np.broadcast_to(expected, found.shape)
        assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_sums_of_curvatures_and_of_squares(problem):
    objective = problem.objective
    curvatures = objective.second_derivative_sums(problem.iterate, problem.indices)
    moments = objective.second_moments(problem.indices)
    for number in range(problem.n_groups):
        members = problem.members(number)
        expected = objective.second_derivatives(problem.iterate, members).sum(axis=0)
        assert_allclose(curvatures[number], expected, rtol=1e-11, atol=1e-13)
        design = problem.design(members)
        expected = (design.T * problem.weight[members]) @ design
        assert_allclose(moments[number], expected, rtol=1e-11, atol=1e-12)


def test_row_gradients_sum_to_gradient_sums(problem):
    objective = problem.objective
    sums = objective.gradient_sums(problem.iterate, problem.indices)
    for number in range(problem.n_groups):
        members = problem.members(number)
        gradients = objective.row_gradients(problem.iterate, members)
        assert gradients.shape == (len(members), *objective.shape)
        assert_allclose(gradients.sum(axis=0), sums[number], rtol=1e-11, atol=1e-11)
        for member, gradient in zip(members[:5], gradients[:5], strict=True):
            alone = problem.gradient(problem.iterate, np.array([member]))
            assert_allclose(gradient, alone, rtol=1e-11, atol=1e-12)


def test_curvatures_and_rows_make_up_the_hessian(problem):
    objective, indices = problem.objective, problem.indices
    curvatures = objective.second_derivatives(problem.iterate, indices)
    m = objective.n_curvatures
    assert curvatures.shape == (len(indices), m, m)
    extended = objective.extended(indices)
    assert_array_equal(extended, problem.design(indices))
    hessian = np.einsum("ijk,ia,ib->jakb", curvatures, extended, extended)
    q = m * objective.n_dof
    sums = objective.hessian_sums(problem.iterate, indices).sum(axis=0)
    assert_allclose(hessian.reshape(q, q), sums, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("loss", LOSSES)
def test_no_rows_adds_nothing(loss, storage):
    problem = Problem(loss, storage, "centred", 3)
    objective, iterate = problem.objective, problem.iterate
    no_rows = np.zeros(0, np.int64)
    measured = objective.measure(iterate, no_rows, np.zeros_like(iterate))
    assert not measured.loss_sums.any()
    assert not measured.gradient_sums.any()
    assert measured.largest_change == 0.0
    assert objective.largest_change(iterate, no_rows) == 0.0
    assert not objective.hessian_sums(iterate, no_rows).any()
    states = objective.hessian_states(iterate, no_rows)
    assert not objective.hessian_products(states, iterate, iterate, no_rows).any()
    assert not objective.hessian_diagonals(iterate, no_rows).any()
    assert not objective.second_derivative_sums(iterate, no_rows).any()
    assert not objective.second_moments(no_rows).any()
    assert objective.row_gradients(iterate, no_rows).shape == (0, *objective.shape)
    m = objective.n_curvatures
    assert objective.second_derivatives(iterate, no_rows).shape == (0, m, m)


@pytest.mark.parametrize("n_groups", N_GROUPS)
@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("loss", LOSSES)
def test_sparse_rows_are_dense_rows_to_every_derivative(loss, intercept, n_groups):
    dense, csr = (
        Problem(loss, storage, intercept, n_groups) for storage in ("dense", "csr")
    )
    iterate, indices = dense.iterate, dense.indices
    origin = np.zeros_like(iterate)
    assert_array_equal(dense.X, csr.X)
    measured = [
        problem.objective.measure(iterate, indices, origin) for problem in (dense, csr)
    ]
    for name in ("loss_sums", "gradient_sums", "largest_change"):
        one, other = (getattr(each, name) for each in measured)
        assert_allclose(one, other, rtol=1e-11, atol=1e-11)
    for name in (
        "hessian_sums",
        "hessian_diagonals",
        "row_gradients",
        "second_derivatives",
    ):
        one, other = (
            getattr(problem.objective, name)(iterate, indices)
            for problem in (dense, csr)
        )
        assert_allclose(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_hessian_for_any_number_of_threads(loss, storage):
    problem = Problem(loss, storage, "centred", 2, 4_000, 20)
    objective, indices = problem.objective, problem.indices
    found = []
    for n_threads in (1, 2, 3):
        with limit_threads(n_threads):
            found.append(objective.hessian_sums(problem.iterate, indices))
    for sums in found[1:]:
        assert_array_equal(sums, found[0])


@pytest.mark.parametrize("loss", LOSSES)
def test_hessian_sums_in_parts_and_at_once(loss, monkeypatch):
    problem = Problem(loss, "dense", "centred", 2, 4_000, 20)
    arguments = problem.iterate, problem.indices
    work = problem.rows.n_entries(problem.indices) * 20
    assert work > 2 * second_derivatives._PART_WORK
    monkeypatch.setattr(second_derivatives, "_FEWEST_GRAM_PARTS", 2)
    parts = problem.objective.hessian_sums(*arguments)
    monkeypatch.setattr(second_derivatives, "_GRAM_BUFFERS", 1)
    whole = problem.objective.hessian_sums(*arguments)
    assert_allclose(parts, whole, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_standardised_squares(intercept, storage):
    problem = Problem("binomial", storage, intercept, 3)
    X, weight = problem.X, problem.weight
    mean = np.zeros(5) if intercept == "without" else weight @ X / weight.sum()
    variance = weight @ X**2 / weight.sum() - mean**2
    expected = ((X - mean) ** 2 / variance).sum(axis=1) / problem.objective.n_dof
    found = problem.objective.standardised_squares(np.arange(60))
    assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_a_row_alone_in_a_column_stands_out(storage, monkeypatch):
    problem = Problem("binomial", storage, "plain", 1, 500)
    X = problem.X.copy()
    X[:, 2] = 0.0
    X[:, 3] = 0.1  # its mean is rounded: far from it, in units of its spread
    X[123, 2] = 1e-3
    rows = store(sparse.csr_matrix(X) if storage == "csr" else X)
    objective = DataTerm(rows, problem.y, np.ones(500), problem.loss, problem.centre)
    monkeypatch.setattr(_data_term, "_N_SPREAD", 50)  # 123 is not among them
    squares = objective.standardised_squares(np.arange(500))
    assert squares[123] >= 500
    assert np.delete(squares, 123).max() < 20


@pytest.mark.parametrize("storage", STORAGES)
def test_the_same_measurement_for_any_number_of_threads(storage):
    problem = Problem("multinomial", storage, "centred", 1, 20_000, 40, 0.9)
    objective, indices = problem.objective, problem.indices
    work = problem.rows.n_entries(indices) * objective.n_outputs
    assert len(objective.cut(len(indices), work)) > 2
    origin = np.zeros(objective.shape)
    found = []
    for n_threads in (1, 2, 3):
        with limit_threads(n_threads):
            found.append(objective.measure(problem.iterate, indices, origin))
    for measured in found[1:]:
        assert_array_equal(measured.loss_sums, found[0].loss_sums)
        assert_array_equal(measured.gradient_sums, found[0].gradient_sums)
        assert measured.largest_change == found[0].largest_change
    expected = problem.value(problem.iterate, indices)
    assert_allclose(found[0].loss_sums[0], expected, rtol=1e-11)


@pytest.mark.parametrize("n_groups", [1, 3])
@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("storage", STORAGES)
def test_hessians_of_many_classes(storage, intercept, n_groups, monkeypatch):
    """Both ways to them are the same, and so are the sums made of factors."""
    problem = Problem("multinomial", storage, intercept, n_groups, n_classes=12)
    objective, iterate, indices = problem.objective, problem.iterate, problem.indices
    assert objective.loss.is_factored
    factor = np.random.default_rng(5).normal(size=len(indices))
    q = objective.loss.n_coordinates * objective.n_dof
    found = np.zeros((n_groups, q, q))
    monkeypatch.setattr(second_derivatives, "_MOST_IN_BLOCK", 7)
    objective.add_hessian_sums(iterate, indices, found, factor)
    diagonals = objective.hessian_diagonals(iterate, indices)
    sums = objective.second_derivative_sums(iterate, indices)
    monkeypatch.setattr(_losses, "_LEAST_FACTORED", 1000)
    expected = np.zeros_like(found)
    objective.add_hessian_sums(iterate, indices, expected, factor)
    assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    assert_array_equal(found, found.swapaxes(1, 2))
    expected = objective.hessian_sums(iterate, indices)
    expected = np.diagonal(expected, axis1=1, axis2=2).reshape(diagonals.shape)
    assert_allclose(diagonals, expected, rtol=1e-9, atol=1e-11)
    expected = objective.second_derivative_sums(iterate, indices)
    assert_allclose(sums, expected, rtol=1e-9, atol=1e-12)


def test_many_classes_that_are_equally_likely_do_not_meet():
    """What rounding leaves there would be a multiple of a row that is removed."""
    problem = Problem("multinomial", "dense", "centred", 1, n_classes=12)
    objective = problem.objective
    m = objective.loss.n_coordinates
    sums = objective.hessian_sums(np.zeros(objective.shape), problem.indices)
    blocks = sums.reshape(m, objective.n_dof, m, objective.n_dof)
    apart = ~np.eye(m, dtype=bool)
    largest = np.abs(sums).max()
    assert np.abs(blocks.swapaxes(1, 2)[apart]).max() <= 1e-30 * largest


def test_the_memory_of_hessians_of_many_classes_is_bounded():
    """Second derivatives of 100 classes take 100 times the raw predictions."""
    problem = Problem("multinomial", "dense", "centred", 1, 4_000, 4, n_classes=100)
    objective, arguments = problem.objective, (problem.iterate, problem.indices)
    for sums_of in (
        objective.hessian_sums, objective.hessian_diagonals,
        objective.second_derivative_sums,
    ):  # fmt: skip
        tracemalloc.start()
        sums_of(*arguments)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        order = 99 * 5
        assert peak < 8 * 3 * order**2 + 2**26, sums_of


def test_hessian_products_without_states(monkeypatch):
    problem = Problem("multinomial", "dense", "centred", 3)
    objective, indices = problem.objective, problem.indices
    direction = np.random.default_rng(8).normal(size=objective.shape)
    states = objective.hessian_states(problem.iterate, indices)
    arguments = problem.iterate, direction, indices
    expected = objective.hessian_products(states, *arguments)
    monkeypatch.setattr(data_term, "_MOST_STATE_BYTES", 0)
    assert objective.hessian_states(problem.iterate, indices) is None
    assert_array_equal(objective.hessian_products(None, *arguments), expected)


def test_merged_groups(problem):
    objective, indices = problem.objective, problem.indices
    group_weight = np.random.default_rng(9).random(problem.n_groups) + 0.5
    merged = objective.merged(group_weight)
    assert merged.n_groups == 1
    for name in ("hessian_diagonals", "second_derivative_sums"):
        expected = getattr(objective, name)(problem.iterate, indices)
        expected = np.tensordot(group_weight, expected, axes=1)
        found = getattr(merged, name)(problem.iterate, indices)
        assert_allclose(found[0], expected, rtol=1e-10, atol=1e-12)
    expected = np.tensordot(group_weight, objective.second_moments(indices), axes=1)
    assert_allclose(merged.second_moments(indices)[0], expected, rtol=1e-11, atol=1e-12)


def test_sums_over_equal_rows_are_not_rounded_the_same_way_again_and_again():
    """One running sum is off by 2,000 units in the last place after so many rows."""
    eps = np.finfo(float).eps
    n_rows, rng = 300_000, np.random.default_rng(0)
    x, loss = rng.standard_normal(3), HalfSquaredLoss(1)
    for X in (np.tile(x, (n_rows, 1)), sparse.csr_array(np.tile(x, (n_rows, 1)))):
        y, weight = np.full((n_rows, 1), 0.1), np.ones(n_rows)
        term = DataTerm(store(X), y, weight, loss, None)
        iterate = rng.standard_normal((1, 3))
        sums = term.measure(iterate, np.arange(n_rows)).gradient_sums[0, 0]
        raw = float(x @ iterate[0])
        expected = n_rows * (raw - 0.1) * x
        scale = n_rows * np.abs(raw - 0.1) * np.abs(x)
        assert np.all(np.abs(sums - expected) <= 700 * eps * scale)
