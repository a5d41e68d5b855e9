"""Sums over the columns, and rows in a few directions, against plain NumPy."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skdeltagrad._data.storage import store
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import BinomialLoss
from skdeltagrad._utils.threads import limit_threads

STORAGES = ["dense", "csr", "dense32"]
INTERCEPTS = ["without", "plain", "centred"]
N_GROUPS = [1, 3]
INSTANCES = list(itertools.product(STORAGES, INTERCEPTS, N_GROUPS))


class Problem:
    """An objective on random rows, and its rows as a plain array."""

    def __init__(self, storage, intercept, n_groups=1, n_rows=60, n_features=5):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(n_rows, n_features)) + 2.0
        X[rng.random(X.shape) > 0.6] = 0
        if storage == "dense32":
            X = X.astype(np.float32)
        rows = store(sparse.csr_matrix(X) if storage == "csr" else X)
        self.weight = rng.random(n_rows) * (rng.random(n_rows) < 0.9)
        self.group = rng.integers(n_groups, size=n_rows)
        self.n_groups = n_groups
        centre = {
            "without": None,
            "plain": np.zeros(n_features),
            "centred": rng.integers(-3, 4, size=n_features) / 2,
        }[intercept]
        self.design = X.astype(float)
        if centre is not None:
            self.design = np.column_stack([X - centre, np.ones(n_rows)])
        self.objective = DataTerm(
            rows, rng.integers(2, size=n_rows), self.weight, BinomialLoss(), centre,
            self.group, n_groups,
        )  # fmt: skip
        # Out of order, and some of them more than once.
        self.indices = rng.integers(n_rows, size=n_rows)
        directions = rng.normal(size=(self.objective.n_dof, 3))
        self.basis = np.ascontiguousarray(np.linalg.qr(directions)[0].T)

    def by_group(self, indices):
        """Storage indices and weights of each group."""
        for number in range(self.n_groups):
            members = indices[self.group[indices] == number]
            yield members, self.weight[members]


@pytest.fixture(params=INSTANCES, ids=lambda param: "-".join(map(str, param)))
def problem(request):
    return Problem(*request.param)


def test_row_sum(problem):
    found = problem.objective.row_sum(problem.indices)
    expected = problem.weight[problem.indices] @ problem.design[problem.indices]
    assert found.shape == (problem.objective.n_dof,)
    assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_column_squares(problem):
    found = problem.objective.column_squares(problem.indices)
    assert found.shape == (problem.n_groups, problem.objective.n_dof)
    groups = problem.by_group(problem.indices)
    for squares, (members, weight) in zip(found, groups, strict=True):
        expected = weight @ problem.design[members] ** 2
        assert_allclose(squares, expected, rtol=1e-11, atol=1e-12)


def test_column_squares_are_the_diagonal_of_the_second_moments(problem):
    squares = problem.objective.column_squares(problem.indices)
    moments = problem.objective.second_moments(problem.indices)
    expected = np.diagonal(moments, axis1=1, axis2=2)
    assert_allclose(squares, expected, rtol=1e-11, atol=1e-12)


def test_raw_predictions(problem):
    """Rows are not multiplied by their weights."""
    assert not problem.weight[problem.indices].all()
    found = problem.objective.raw_predictions(problem.basis, problem.indices)
    expected = problem.design[problem.indices] @ problem.basis.T
    assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_rows_that_leave_and_join_add_up(problem):
    """Hessian checkpoints follow edits by such sums."""
    indices, cut = problem.indices, 17
    objective = problem.objective
    for method in (objective.row_sum, objective.column_squares):
        parts = [method(part) for part in np.split(indices, [cut])]
        whole = method(indices)
        assert_allclose(sum(parts), whole, rtol=1e-11, atol=1e-12)


def test_sums_over_no_rows(problem):
    no_rows = np.zeros(0, np.int64)
    objective = problem.objective
    assert not objective.row_sum(no_rows).any()
    assert objective.row_sum(no_rows).shape == (objective.n_dof,)
    squares = objective.column_squares(no_rows)
    assert squares.shape == (problem.n_groups, objective.n_dof)
    assert not squares.any()
    assert objective.raw_predictions(problem.basis, no_rows).shape == (0, 3)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_group_without_rows_has_no_squares(storage):
    problem = Problem(storage, "centred", 3)
    indices = problem.indices[problem.group[problem.indices] != 1]
    squares = problem.objective.column_squares(indices)
    assert squares[0].all()
    assert not squares[1].any()


@pytest.mark.parametrize("storage", STORAGES)
def test_many_rows_have_the_same_predictions_with_any_number_of_threads(storage):
    problem = Problem(storage, "centred", n_rows=9_000, n_features=30)
    objective, indices = problem.objective, problem.indices
    assert len(objective.blocks(indices)) > 2
    found = []
    for n_threads in (1, 2, 3):
        with limit_threads(n_threads):
            found.append(objective.raw_predictions(problem.basis, indices))
    expected = problem.design[indices] @ problem.basis.T
    assert_allclose(found[0], expected, rtol=1e-11, atol=1e-11)
    for products in found[1:]:
        assert_array_equal(products, found[0])


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_row_sum_far_from_the_centre_that_is_subtracted(storage):
    """For example a column of years: its deviations are not lost to rounding."""
    problem = Problem(storage, "plain")
    X = problem.design[:, :-1] + 2000.0
    rows = store(sparse.csr_matrix(X) if storage == "csr" else X)
    centre = np.full(X.shape[1], 2000.0)
    objective = DataTerm(
        rows, problem.objective.y, problem.weight, BinomialLoss(), centre
    )
    expected = problem.weight[problem.indices] @ (X - centre)[problem.indices]
    found = objective.row_sum(problem.indices)[:-1]
    assert_allclose(found, expected, rtol=1e-9)
