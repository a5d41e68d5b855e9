"""Gradients of the data term, over loss x storage x intercept x centre x groups."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, logsumexp, softmax

from skdeltagrad._losses import BinomialLoss, HalfSquaredLoss, MultinomialLoss
from skdeltagrad._objective import Objective
from skdeltagrad._rows import AbstractRows
from skdeltagrad._threads import limit_threads

LOSSES = {
    "binomial": BinomialLoss(),
    "multinomial": MultinomialLoss(4),
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
        self, loss, storage, intercept, n_groups, n_rows=60, n_features=5, density=0.6
    ):
        rng = np.random.default_rng(0)
        self.loss = LOSSES[loss]
        n_outputs = self.loss.n_outputs
        X = rng.normal(size=(n_rows, n_features))
        X[rng.random(X.shape) > density] = 0
        if storage == "dense32":
            X = X.astype(np.float32)
        self.X = X.astype(float)
        self.rows = AbstractRows.of(sparse.csr_matrix(X) if storage == "csr" else X)
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
        self.objective = Objective(
            self.rows, self.y, self.weight, self.loss, self.centre, self.group, n_groups
        )
        self.iterate = rng.normal(size=self.objective.shape) / np.sqrt(n_features)
        self.slots = rng.integers(n_rows, size=3 * n_rows // 4)

    def design(self, slots):
        """Centred rows, with a column of ones for the intercept."""
        X = self.X[slots]
        if self.centre is None:
            return X
        return np.column_stack([X - self.centre, np.ones(len(X))])

    def value(self, iterate, slots):
        """The data term over some rows."""
        raw, y = self.design(slots) @ iterate.T, self.y[slots]
        if isinstance(self.loss, HalfSquaredLoss):
            losses = ((raw - y) ** 2).sum(axis=1) / 2
        elif isinstance(self.loss, BinomialLoss):
            losses = np.logaddexp(0, raw[:, 0]) - y * raw[:, 0]
        else:
            losses = logsumexp(raw, axis=1) - raw[np.arange(len(y)), y]
        return self.weight[slots] @ losses

    def gradient(self, iterate, slots):
        """Its gradient."""
        design, y = self.design(slots), self.y[slots]
        raw = design @ iterate.T
        if isinstance(self.loss, HalfSquaredLoss):
            pointwise = raw - y
        elif isinstance(self.loss, BinomialLoss):
            pointwise = expit(raw) - y[:, np.newaxis]
        else:
            pointwise = softmax(raw, axis=1) - np.eye(raw.shape[1])[y]
        return (self.weight[slots, np.newaxis] * pointwise).T @ design

    def members(self, number):
        return self.slots[self.group[self.slots] == number]


@pytest.fixture(params=INSTANCES, ids=lambda instance: "-".join(map(str, instance)))
def problem(request):
    return Problem(*request.param)


def test_gradient_sums(problem):
    sums = problem.objective.gradient_sums(problem.iterate, problem.slots)
    expected = [
        problem.gradient(problem.iterate, problem.members(number))
        for number in range(problem.n_groups)
    ]
    assert sums.shape == (problem.n_groups, *problem.objective.shape)
    assert_allclose(sums, expected, rtol=1e-11, atol=1e-11)


def test_gradient_sums_by_finite_differences(problem):
    sums = problem.objective.gradient_sums(problem.iterate, problem.slots)
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
    whole = Objective(
        grouped.rows, grouped.y, grouped.weight, grouped.loss, grouped.centre
    )
    assert_allclose(
        grouped.objective.gradient_sums(grouped.iterate, grouped.slots).sum(axis=0),
        whole.gradient_sums(grouped.iterate, grouped.slots)[0],
        rtol=1e-11,
        atol=1e-12,
    )


@pytest.mark.parametrize("storage", STORAGES)
def test_parts_of_the_rows_add_up(storage):
    problem = Problem("multinomial", storage, "centred", 3)
    slots, sums = problem.slots, problem.objective.gradient_sums
    parts = sum(sums(problem.iterate, slots[i : i + 7]) for i in range(0, 45, 7))
    assert len(slots) == 45
    assert_allclose(parts, sums(problem.iterate, slots), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_adding_to_sums_and_taking_from_them(problem, sign):
    before = np.random.default_rng(3).normal(
        size=(problem.n_groups, *problem.objective.shape)
    )
    sums = before.copy()
    problem.objective.add_gradient_sums(problem.iterate, problem.slots, sums, sign)
    added = problem.objective.gradient_sums(problem.iterate, problem.slots)
    assert_allclose(sums, before + sign * added, rtol=1e-11, atol=1e-11)


def test_taking_back_what_was_added():
    """Several parts, on top of what was there."""
    problem = Problem("multinomial", "csr", "centred", 1, 20_000, 60, 0.9)
    objective, slots = problem.objective, problem.slots
    assert (
        len(
            objective._cut(
                len(slots), objective.rows.n_entries(slots) * objective.n_outputs
            )
        )
        > 2
    )
    sums = objective.gradient_sums(problem.iterate, slots)
    largest = abs(sums).max()
    objective.add_gradient_sums(problem.iterate, slots, sums, sign=-1.0)
    assert abs(sums).max() < 1e-12 * largest


@pytest.mark.parametrize("n_groups", N_GROUPS)
@pytest.mark.parametrize("storage", STORAGES)
def test_no_rows(storage, n_groups):
    problem = Problem("multinomial", storage, "centred", n_groups)
    nobody = np.zeros(0, np.int64)
    sums = problem.objective.gradient_sums(problem.iterate, nobody)
    assert_array_equal(sums, np.zeros((n_groups, *problem.objective.shape)))


def test_a_group_without_rows():
    problem = Problem("binomial", "dense", "plain", 3)
    slots = np.flatnonzero(problem.group != 1)
    sums = problem.objective.gradient_sums(problem.iterate, slots)
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
    problem.objective.gradient_sums(problem.iterate, problem.slots)
    assert_array_equal(problem.iterate, before)


def test_a_column_far_from_zero_is_centred_exactly():
    """x - c loses nothing for a centre of few digits, nor does the shift."""
    offset = 2.0**20
    problem = Problem("half_squared", "dense", "plain", 1)
    X = np.round(problem.X * 8) / 8
    near = Objective(
        AbstractRows.of(X), problem.y, problem.weight, problem.loss, np.zeros(5)
    )
    far = Objective(
        AbstractRows.of(X + offset),
        problem.y,
        problem.weight,
        problem.loss,
        np.full(5, offset),
    )
    assert_allclose(
        far.gradient_sums(problem.iterate, problem.slots),
        near.gradient_sums(problem.iterate, problem.slots),
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
    work = objective.rows.n_entries(members) * objective.n_outputs
    n_parts = len(objective._cut(len(members), work)) - 1
    assert n_parts >= 2
    found = []
    for n_threads in (1, 2, 3, 2):
        with limit_threads(n_threads):
            found.append(objective.gradient_sums(problem.iterate, problem.slots))
    for sums in found[1:]:
        assert_array_equal(sums, found[0])
    expected = problem.gradient(problem.iterate, problem.slots)
    assert_allclose(found[0].sum(axis=0), expected, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("n_rows", [1, 5, 1000, 10**6, 10**9])
@pytest.mark.parametrize("n_features", [1, 100, 10_000])
def test_rows_are_cut_into_whole_parts(n_rows, n_features):
    objective = Problem("binomial", "dense", "plain", 1, 3, n_features).objective
    bounds = objective._cut(n_rows, n_rows * n_features)
    assert bounds[0] == 0
    assert bounds[-1] == n_rows
    assert (np.diff(bounds) > 0).all()
    assert len(bounds) <= 17
    if n_rows * n_features >= 10**8:
        assert len(bounds) == 17
    if n_rows * n_features < 10**5:
        assert len(bounds) == 2
