"""If little but rounding is left, bounds hold and nothing of old optima is kept.

``examples/benchmarks/rounding.py`` looks at bounds thousands of times.
"""

import numpy as np
import pytest
from oracles import DataTerm
from scipy import sparse

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._optimum.hessian import Hessian


class Table:
    """The rows that an estimator should have, and edits of both."""

    def __init__(self, model, X, y, weight=None, storage=np.asarray):
        self.storage = storage
        self.X, self.y = X.copy(), y.copy()
        self.weight = np.ones(len(y)) if weight is None else weight.copy()
        self.live = np.ones(len(y), dtype=bool)
        self.model = model.fit(storage(X), y, sample_weight=self.weight)

    def remove(self, *rows):
        self.model.unlearn(position=list(rows))
        self.live[list(rows)] = False

    def correct(self, row, x, y):
        self.X[row], self.y[row] = x, y
        self.model.partial_refit(
            self.storage(self.X[[row]]),
            self.y[[row]],
            sample_weight=self.weight[[row]],
            position=row,
            replace=True,
        )

    def excess(self):
        """The true distance and change of decisions next to their bounds."""
        live, model = self.live, self.model
        report, path = model.update_report_, model._engine
        if report.distance_bound is None:
            return None
        exact = DataTerm(self.X[live], self.y[live], self.weight[live], model)
        optimum = exact.optimum(path.iterate)
        off = path.iterate - optimum
        decisions = exact.X @ off.T
        curvature = exact.weight[:, None]
        if exact.kind == "binomial":
            distance = path.curvature.hessian.norm(off.astype(float))
        else:
            squares = curvature * decisions**2
            distance = np.sqrt(squares.sum() + (exact.penalty * off**2).sum())
        return max(
            float(distance) / report.distance_bound,
            float(np.abs(decisions).max()) / report.decision_bound,
        )


# Rows that are hard on the digits.


def few_rows(rng):
    X = rng.standard_normal((14, 24))
    return X, 1e3 * X @ rng.standard_normal(24), np.ones(14)


def square(rng):
    X = rng.standard_normal((15, 15))
    return X, 1e3 * X @ rng.standard_normal(15), np.ones(15)


def nearly_equal_columns(rng):
    X = rng.standard_normal((80, 12))
    X[:, 6:] = X[:, :6] + 1e-5 * X[:, 6:]
    return X, 1e3 * X @ rng.standard_normal(12), np.ones(80)


def equal_rows(rng):
    X = np.tile(rng.standard_normal((7, 9)), (3, 1))
    return X, 1e3 * X @ rng.standard_normal(9), np.ones(21)


def far_from_zero(rng):
    X = rng.standard_normal((50, 5))
    return X + 1e6, X.sum(axis=1) + 0.01 * rng.standard_normal(50), np.ones(50)


def weights(rng):
    X = rng.standard_normal((40, 6)) * 10.0 ** rng.uniform(-3, 3, 6)
    return X, X @ np.ones(6) + 5.0, 10.0 ** rng.uniform(-3, 3, 40)


def outlier(rng):
    X = rng.standard_normal((40, 6))
    X[1] *= 1e4
    return X, X.sum(axis=1) + rng.standard_normal(40), np.ones(40)


CASES = [
    few_rows,
    square,
    nearly_equal_columns,
    equal_rows,
    far_from_zero,
    weights,
    outlier,
]


def edits(table, rng):
    table.remove(0)
    yield
    table.remove(1)
    yield
    table.correct(2, 1.01 * table.X[3], table.y[2])
    yield
    table.remove(5, 6)
    yield
    table.correct(4, 0.99 * table.X[2], table.y[4])
    yield
    table.remove(2)
    yield


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("alpha", [1e-12, 1e-7, 1e-3])
@pytest.mark.parametrize("case", CASES)
def test_bounds_of_ridge_hold_where_only_rounding_is_left(case, alpha, dtype):
    n_bounds = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X, y, weight = case(rng)
        X = X.astype(dtype)
        table = Table(DeltaGradRidge(alpha), X, y, weight)
        for _ in edits(table, rng):
            excess = table.excess()
            n_bounds += excess is not None
            assert (excess or 0.0) <= 1.0
    # A tiny penalty of fewer rows than columns is singular in working precision.
    assert n_bounds or alpha < 1e-3


@pytest.mark.parametrize("edit_tol", [1e-12, 1e-8])
@pytest.mark.parametrize("case", CASES)
def test_bounds_of_log_losses_hold_where_only_rounding_is_left(case, edit_tol):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        X, y, weight = case(rng)
        y = (y > np.median(y)).astype(int)
        if case is equal_rows:
            y[::7] = 1 - y[::7]
        model = DeltaGradLogisticRegression(C=10.0, edit_tol=edit_tol)
        table = Table(model, X, y, weight)
        for _ in edits(table, rng):
            assert (table.excess() or 0.0) <= 1.0 + 1e-6


def test_the_allowance_is_no_more_than_it_has_to_be():
    """Of ordinary rows: a bound of the size of rounding, not of the condition."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 10))
    table = Table(DeltaGradRidge(), X, X.sum(axis=1) + rng.standard_normal(500))
    for row in range(10):
        table.remove(row)
        path = table.model._engine
        size = path.curvature.hessian.norm(path.iterate)
        assert table.model.update_report_.distance_bound <= 1e-12 * size
        assert table.model.update_report_.n_passes == 0


# The reference of a squared error.


def case_of(name, rng):
    X = rng.standard_normal((80, 5)) + rng.choice([0.0, 3.0], 5)
    y = X.sum(axis=1) + rng.standard_normal(80)
    model, storage, weight = DeltaGradRidge(0.5), np.asarray, None
    if name == "several targets":
        y = np.column_stack([y, y**2])
        model = DeltaGradRidge([0.5, 3.0])
    elif name == "standardize":
        X *= [1.0, 10.0, 0.1, 5.0, 1.0]
        model = DeltaGradRidge(0.5, standardize=True)
    elif name == "float32":
        X = X.astype(np.float32)
    elif name == "sparse":
        storage = sparse.csr_array
    elif name == "weights":
        weight = rng.choice([0.5, 1.0, 4.0], 80)
    elif name == "no intercept":
        model = DeltaGradRidge(0.5, fit_intercept=False)
    return Table(model, X, y, weight, storage)


NAMES = [
    "plain",
    "several targets",
    "standardize",
    "float32",
    "sparse",
    "weights",
    "no intercept",
]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_old_optimum_is_kept_of_ridge(name):
    table = case_of(name, np.random.default_rng(0))
    model, path = table.model, None
    for number, _ in enumerate(edits(table, None)):
        before, path = path, model._engine
        assert model.update_report_.n_passes == 0
        np.testing.assert_array_equal(path.reference, path.iterate)
        np.testing.assert_array_equal(path.curvature.hessian_iterate, path.iterate)
        # The full gradient there is rounding: no row can be read off it.
        penalty = path.curvature.hessian.penalty
        sums, penalised = path.gradient_sums[0], penalty * path.reference
        size = path.curvature.hessian.spreads() * np.linalg.norm(table.y)
        assert (np.abs(sums + penalised) <= 1e-14 * size).all()
        if number:
            assert not np.array_equal(before.iterate, path.iterate)


def test_the_gradient_at_the_new_optimum_is_that_of_the_rows():
    table = case_of("plain", np.random.default_rng(1))
    for _ in edits(table, None):
        model, live = table.model, table.live
        exact = DataTerm(table.X[live], table.y[live], table.weight[live], model)
        path = model._engine
        w = path.reference.astype(np.longdouble)
        off = exact.gradient_sum(w) - path.gradient_sums[0]
        spreads = path.curvature.hessian.spreads()
        assert (np.abs(off) <= path.noise.of_sums * spreads + 1e-13).all()


def test_reference_of_rows_that_are_not_kept():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((300, 4))
    y = X.sum(axis=1) + rng.standard_normal(300)
    model = DeltaGradRidge(store_data=False).fit(X, y)
    for row in range(200):
        model.unlearn(X[[row]], y[[row]])
    path = model._engine
    np.testing.assert_array_equal(path.reference, path.iterate)
    exact = DataTerm(X[200:], y[200:], np.ones(100), model)
    off = path.iterate - exact.optimum(path.iterate)
    assert np.abs(off).max() <= 1e-13
    assert model.update_report_.change_bound is None


def test_many_edits_do_not_drift_and_their_rounding_is_counted():
    """Digits that edits cost the sums come back with a pass, before they are missed."""
    rng = np.random.default_rng(3)
    scale = np.geomspace(1.0, 1e-4, 6)
    X = rng.standard_normal((60, 6)) * scale
    table = Table(DeltaGradRidge(1e-11), X, X.sum(axis=1) + rng.standard_normal(60))
    n_passes = 0.0
    for number in range(400):
        x = rng.standard_normal(6) * scale
        table.correct(number % 60, x, x.sum() + rng.standard_normal())
        n_passes += table.model.update_report_.n_passes
        if number % 50 == 49:
            assert table.excess() <= 1.0
    assert n_passes <= 100.0
    exact = DataTerm(table.X, table.y, table.weight, table.model)
    iterate = table.model._engine.iterate
    optimum = exact.optimum(iterate).astype(float)
    assert np.linalg.norm(iterate - optimum) <= 3e-11 * np.linalg.norm(optimum)


# What the report says of it.


@pytest.mark.parametrize("classifies", [True, False])
def test_the_bound_as_a_fraction_of_what_this_edit_changed(classifies):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((2000, 5))
    y = X.sum(axis=1) + rng.logistic(size=2000)
    model = DeltaGradLogisticRegression() if classifies else DeltaGradRidge()
    table = Table(model, X, (y > 0).astype(int) if classifies else y)
    assert table.model.update_report_.change_bound is None
    larger = 0
    for row in range(12):
        before = model._engine.iterate
        table.remove(row)
        path, report = model._engine, model.update_report_
        changed = path.curvature.hessian.norm(path.iterate - before)
        assert report.change_bound == pytest.approx(report.distance_bound / changed)
        larger += report.change_bound > 1.5 * report.relative_bound
        if not classifies:
            assert report.change_bound == pytest.approx(report.relative_bound)
    assert larger > 0 or not classifies
    assert model.update_report_.to_dict()["change_bound"] is not None


def test_an_edit_that_changes_nothing_has_no_such_fraction():
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((50, 3)), rng.integers(0, 2, 50)
    weight = np.ones(50)
    weight[7] = 0.0
    model = DeltaGradLogisticRegression().fit(X, y, sample_weight=weight)
    before = model.unlearn(position=0).coef_.copy()
    model.unlearn(position=7)
    if np.array_equal(model.coef_, before):
        assert model.update_report_.change_bound is None


# Parts.


def test_the_size_of_the_inverse():
    rng = np.random.default_rng(6)
    for scale in (1.0, 1e-2, 1e-4):
        X = rng.standard_normal((40, 5)) @ np.diag([1.0, 1.0, 1.0, 1.0, scale])
        X[:, 4] += X[:, 3]
        gram = X.T @ X
        hessian = Hessian(gram[np.newaxis], np.ones(1), np.full((1, 5), 1e-12))
        spreads = hessian.spreads()[0]
        inverse = np.linalg.inv(gram / np.outer(spreads, spreads))
        size = np.abs(inverse).sum(axis=0).max()
        assert hessian.inverse_size() == pytest.approx(size, rel=0.5)
        assert hessian.largest_ratio(3.0 * spreads) == pytest.approx(3.0)


def test_a_column_without_curvature_is_no_size_of_anything():
    hessian = Hessian(np.diag([4.0, 0.0])[np.newaxis], np.ones(1), np.zeros((1, 2)))
    assert hessian.largest_ratio(np.array([[2.0, 0.0]])) == 1.0
    assert hessian.largest_ratio(np.array([[2.0, 1.0]])) == np.inf
