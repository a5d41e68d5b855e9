"""Steps to an absolute bound: when they stop, and what they cost."""

import numpy as np
import pytest

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad._data.edit import NO_EDIT
from skdeltagrad._optimum import refinement
from skdeltagrad._optimum.coefficient_norm import CoefficientNorm
from skdeltagrad._optimum.curvature import Curvature
from skdeltagrad._optimum.refinement import (
    Goal,
    refined_by_hessian,
    refined_by_products,
)

KINDS = {
    "two classes": (DeltaGradLogisticRegression, lambda raw: (raw > 0).astype(int)),
    "four classes": (
        DeltaGradLogisticRegression,
        lambda raw: np.digitize(raw, [-1.0, 0.0, 1.0]),
    ),
    "counts": (DeltaGradPoissonRegressor, lambda raw: np.floor(np.exp(raw))),
    "target": (DeltaGradRidge, lambda raw: raw),
}


class Case:
    """A fitted engine, and its problem."""

    def __init__(self, kind="two classes", curvature="exact", **parameters):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((200, 4))
        raw = X @ rng.standard_normal(4) + rng.standard_normal(200)
        estimator, targets = KINDS[kind]
        self.est = estimator(curvature=curvature, **parameters).fit(X, targets(raw))
        self.engine, training_set = self.est._engine, self.est._training_set
        self.table = training_set.table
        self.problem = self.engine._problem(
            training_set, NO_EDIT, self.engine.row_counts
        )
        self.iterate = self.engine.iterate
        self.rng = rng

    @property
    def spent(self):
        return self.problem.meter.spent

    def goal(self, distance):
        return Goal(distance, CoefficientNorm(np.ones(self.iterate.shape)))

    def moved(self, size):
        """An iterate that is off the optimum, in a direction that has an effect."""
        step = self.rng.standard_normal(self.iterate.shape)
        step = self.problem.without_common_part(step)
        return self.iterate + size * step / np.linalg.norm(step)

    def by_hessian(self, distance, iterate, curvature=None):
        return refined_by_hessian(
            self.problem, self.table, self.goal(distance), iterate, curvature
        )


@pytest.fixture(params=KINDS)
def case(request):
    return Case(request.param)


# With a Hessian.


def test_where_the_goal_is_reached_already_one_pass_says_so(case):
    near = case.by_hessian(1e-9, case.iterate)
    curvature, before = near.curvature, case.spent
    again = case.by_hessian(1e-9, near.iterate, curvature)
    assert again.iterate is near.iterate
    assert case.spent.n_passes - before.n_passes == 1
    assert case.spent.n_hessians == before.n_hessians
    assert again.coef_bound <= 1e-9


def test_a_kept_hessian_near_by_is_enough(case):
    near = case.by_hessian(1e-9, case.iterate)
    before = case.spent
    found = case.by_hessian(1e-9, case.moved(1e-3), near.curvature)
    assert found.coef_bound <= 1e-9
    assert case.spent.n_hessians == before.n_hessians
    assert case.spent.n_passes - before.n_passes <= 6


@pytest.mark.parametrize("kind", ["two classes", "four classes", "counts"])
def test_a_kept_hessian_that_is_too_far_away_is_replaced(kind):
    """Steps with it would leave about half of the error, or more."""
    case = Case(kind)
    far = Curvature.incomplete(case.problem, case.table, case.moved(4.0))
    before = case.spent
    found = case.by_hessian(1e-9, case.iterate, far)
    assert found.coef_bound <= 1e-9
    assert case.spent.n_hessians == before.n_hessians + 1
    assert found.curvature.since_hessian < 0.7


def test_without_a_hessian_one_is_computed(case):
    before = case.spent
    found = case.by_hessian(1e-9, case.moved(1e-2))
    assert found.coef_bound <= 1e-9
    assert case.spent.n_hessians == before.n_hessians + 1


def test_a_goal_that_is_out_of_reach_returns_the_nearest(case):
    """After few passes: steps that gain nothing are not repeated."""
    found = case.by_hessian(1e-30, case.moved(1e-3))
    assert 1e-30 < found.coef_bound < 1e-11
    assert case.spent.n_passes <= refinement._MOST_PASSES + 2
    for distance in (1e-6, 1e-9):
        assert case.by_hessian(distance, case.iterate).coef_bound <= distance


def test_sums_are_those_at_the_iterate(case):
    found = case.by_hessian(1e-9, case.moved(1e-3))
    measured = case.problem.measure(found.iterate)
    assert np.array_equal(measured.gradient_sums, found.gradient_sums)


def test_the_bound_is_that_of_the_gradient_and_not_of_the_steps(case):
    """From two sides of the optimum, bounds hold for each of the ends."""
    ends = [
        case.by_hessian(10.0**-digits, case.moved(1e-2)) for digits in (3, 5, 7, 10)
    ]
    best = ends[-1]
    for end in ends:
        apart = np.linalg.norm(
            np.subtract(*(
                np.column_stack(case.engine.model.coefficients(e.iterate))
                for e in (end, best)
            ))
        )  # fmt: skip
        assert apart <= end.coef_bound + best.coef_bound


@pytest.mark.parametrize("kind", ["two classes", "four classes"])
def test_the_rounding_of_the_factors_of_classes_is_in_the_bound(kind, monkeypatch):
    """It is in no sum over rows: at the floor it makes a difference."""
    case = Case(kind, class_weight="balanced")
    floor = case.by_hessian(1e-30, case.iterate).coef_bound
    monkeypatch.setattr(refinement, "_ERROR_OF_TOTALS", 0.0)
    assert case.by_hessian(1e-30, case.iterate).coef_bound < floor
    plain = Case(kind)
    floor = plain.by_hessian(1e-30, plain.iterate).coef_bound
    monkeypatch.undo()
    assert plain.by_hessian(1e-30, plain.iterate).coef_bound == floor


@pytest.mark.parametrize("kind", ["two classes", "four classes"])
@pytest.mark.parametrize("curvature", ["exact", "diagonal"])
def test_wrong_totals_of_classes_move_the_optimum_by_less_than_that(kind, curvature):
    """The optimum for totals that are off by their rounding is within the bound."""
    case = Case(kind, curvature, class_weight="balanced", tol=1e-12)
    factors = case.problem.group_weight.copy()

    def refined(distance):
        if curvature == "exact":
            return case.by_hessian(distance, case.iterate)
        return refined_by_products(case.problem, case.goal(distance), case.iterate)

    floor = refined(1e-30).coef_bound
    ends = []
    for sign in (-1.0, 1.0):
        errors = sign * np.resize([1.0, -1.0], len(factors))
        case.problem.group_weight = factors * (
            1.0 + refinement._ERROR_OF_TOTALS * errors
        )
        ends.append(refined(1e-30).iterate)
    # Twice the error of the totals; the ends have errors of their own besides.
    assert np.linalg.norm(ends[0] - ends[1]) <= 4.0 * floor


# By products.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("curvature", ["diagonal", "kronecker"])
def test_products_reach_the_goal_without_a_hessian(kind, curvature):
    case = Case(kind, curvature)
    found = refined_by_products(case.problem, case.goal(1e-9), case.iterate)
    assert found.coef_bound <= 1e-9
    assert found.curvature is None
    assert case.spent.n_hessians <= (curvature == "kronecker")  # its preconditioner
    measured = case.problem.measure(found.iterate)
    assert np.array_equal(measured.gradient_sums, found.gradient_sums)


def test_products_stop_where_rounding_is_all_that_is_left():
    case = Case(curvature="diagonal")
    found = refined_by_products(case.problem, case.goal(1e-30), case.iterate)
    assert 1e-30 < found.coef_bound < 1e-10


def test_products_have_no_bound_without_a_penalty():
    case = Case("target", "diagonal", alpha=0.0)
    found = refined_by_products(case.problem, case.goal(1e-3), case.iterate)
    assert found.bound is None
    assert found.coef_bound == np.inf
    assert "penalty" in found.no_bound


def test_both_ways_agree():
    exact, products = Case(), Case(curvature="diagonal")
    one = exact.by_hessian(1e-9, exact.iterate)
    two = refined_by_products(products.problem, products.goal(1e-9), products.iterate)
    assert np.linalg.norm(one.iterate - two.iterate) < 4e-9
