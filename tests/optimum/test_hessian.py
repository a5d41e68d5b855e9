"""The kept Hessian against a dense inverse, and its factors after many changes."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdeltagrad._data.storage import store
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import (
    BinomialLoss,
    HalfSquaredLoss,
    MultinomialLoss,
)
from skdeltagrad._optimum import leverages as _leverages
from skdeltagrad._optimum.hessian import Hessian, roots
from skdeltagrad._optimum.leverages import Leverages

Q = 6

# Penalties of every system, and the number of different ones.
PENALTIES = {
    "one system": ([0.3], 1),
    "none": ([0.0], 1),
    "alike": ([0.3, 0.3, 0.3], 1),
    "different": ([0.3, 2.0, 0.0], 3),
    "some alike": ([2.0, 0.3, 2.0, 0.0, 0.3], 3),
}
N_GROUPS = [1, 3]


def gram(X):
    return X.T @ X


class Case:
    """A Hessian, and for every system the same in plain NumPy."""

    def __init__(self, penalties, n_groups, q=Q):
        rng = np.random.default_rng(0)
        self.q = q
        self.X = [rng.normal(size=(20, q)) for _ in range(n_groups)]
        self.sums = np.array([gram(X) for X in self.X])
        self.group_weight = np.ones(1) if n_groups == 1 else rng.random(n_groups) + 0.5
        self.penalty = np.outer(penalties, np.arange(q) < q - 1)  # as an intercept
        self.hessian = Hessian(self.sums, self.group_weight, self.penalty)
        self.rng = rng

    @property
    def matrices(self):
        data = np.einsum("g,gij->ij", self.group_weight, self.sums)
        return [data + np.diag(own) for own in self.penalty]

    @property
    def inverses(self):
        return [np.linalg.inv(matrix) for matrix in self.matrices]

    def vectors(self, *shape):
        return self.rng.normal(size=(*shape, *self.penalty.shape))


@pytest.fixture(
    params=[(name, n_groups) for name in PENALTIES for n_groups in N_GROUPS],
    ids=lambda param: "-".join(map(str, param)),
)
def case(request):
    name, n_groups = request.param
    return Case(PENALTIES[name][0], n_groups)


def applied(matrices, vectors):
    return np.array([matrix @ v for matrix, v in zip(matrices, vectors, strict=True)])


def assert_same_hessian(found, expected, rtol=1e-9):
    """In everything that is asked of it."""
    rng = np.random.default_rng(1)
    v = rng.normal(size=expected.penalty.shape)
    assert found.is_exact == expected.is_exact
    assert_allclose(found.product(v), expected.product(v), rtol=rtol, atol=1e-12)
    assert_allclose(found.solve(v), expected.solve(v), rtol=rtol, atol=1e-12)
    assert_allclose(found.norm(v), expected.norm(v), rtol=rtol)
    assert_allclose(found.dual_norm(v), expected.dual_norm(v), rtol=rtol)
    X = rng.normal(size=(5, v.shape[1]))
    leverages = Leverages(expected, BinomialLoss(), v.shape[1]).of(X)
    found_leverages = Leverages(found, BinomialLoss(), v.shape[1]).of(X)
    assert_allclose(found_leverages, leverages, rtol=rtol)
    part = gram(X)
    assert_allclose(found.fraction(part), expected.fraction(part), rtol=rtol)


# ---------------------------------------------------------------------------
# Against a dense inverse
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", PENALTIES)
def test_one_factor_for_each_different_penalty(name):
    penalties, n_different = PENALTIES[name]
    hessian = Case(penalties, 1).hessian
    assert len(hessian._factors) == n_different


def test_product(case):
    v = case.vectors()
    expected = applied(case.matrices, v)
    assert_allclose(case.hessian.product(v), expected, rtol=1e-12, atol=1e-13)


def test_solve(case):
    v = case.vectors()
    before = v.copy()
    expected = applied(case.inverses, v)
    assert_allclose(case.hessian.solve(v), expected, rtol=1e-10, atol=1e-13)
    assert_array_equal(v, before)
    assert_allclose(case.hessian.product(case.hessian.solve(v)), v, rtol=1e-12)
    assert case.hessian.is_exact


def test_norms(case):
    v = case.vectors()
    expected = np.sqrt(np.sum(v * applied(case.matrices, v)))
    assert_allclose(case.hessian.norm(v), expected, rtol=1e-12)
    expected = np.sqrt(np.sum(v * applied(case.inverses, v)))
    assert_allclose(case.hessian.dual_norm(v), expected, rtol=1e-11)
    nothing = np.zeros_like(v)
    assert case.hessian.norm(nothing) == case.hessian.dual_norm(nothing) == 0.0


def test_the_dual_norm_is_the_norm_of_the_solution(case):
    v = case.vectors()
    solution = case.hessian.solve(v)
    assert_allclose(case.hessian.dual_norm(v), case.hessian.norm(solution), rtol=1e-11)


@pytest.mark.parametrize("n_vectors", [0, 1, 7])
def test_many_dual_norms(case, n_vectors):
    many = case.vectors(n_vectors)
    expected = [case.hessian.dual_norm(v) for v in many]
    found = case.hessian.dual_norms(many)
    assert found.shape == (n_vectors,)
    assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize(
    "loss", [BinomialLoss(), MultinomialLoss(3), MultinomialLoss(4), HalfSquaredLoss(5)]
)
def test_leverages(loss):
    m = loss.n_curvatures
    n_dof = 12 // m
    case = Case([0.3], 1, 12)
    X = case.rng.normal(size=(9, n_dof))
    inverse = case.inverses[0]
    contrasts = loss.contrasts()
    along = np.array([[np.kron(contrast, x) for contrast in contrasts] for x in X])
    expected = np.sqrt(np.einsum("ica,ab,icb->ic", along, inverse, along).max(axis=1))
    leverages = Leverages(case.hessian, loss, n_dof)
    assert leverages.is_exact
    for from_below in (False, True):
        assert_allclose(leverages.of(X, from_below), expected, rtol=1e-11)
    assert leverages.of(X[:0]).shape == (0,)


@pytest.mark.parametrize("kind", ["normal", "dummies", "nearly equal", "heavy"])
@pytest.mark.parametrize("n_classes", [2, 3, 40])
def test_a_few_products_bound_the_leverages(n_classes, kind):
    rng = np.random.default_rng(7)
    X = rng.standard_normal((600, 6))
    if kind == "dummies":
        shares = [0.5, 0.3, 0.1, 0.05, 0.04, 0.01]
        X = np.hstack([X, np.eye(6)[rng.choice(6, 600, p=shares)]])
        X += 1e-3 * rng.standard_normal(X.shape)
    elif kind == "nearly equal":
        X = np.hstack([X, X[:, :1] + 1e-5 * rng.standard_normal((600, 1))])
    elif kind == "heavy":
        X = 10.0 ** rng.uniform(-3, 3, 6) * rng.standard_t(1.2, (600, 6))
    loss = BinomialLoss() if n_classes == 2 else MultinomialLoss(n_classes)
    y = rng.integers(0, n_classes, 600)
    term = DataTerm(store(X), y, np.ones(600), loss, X.mean(axis=0))
    iterate, indices = np.zeros(term.shape), np.arange(600)
    sums = term.hessian_sums(iterate, indices)
    penalty = np.full((1, sums.shape[1]), 1e-3)
    leverages = Leverages(Hessian(sums, np.ones(1), penalty), loss, term.n_dof)
    truth = leverages.of_rows(term, indices, from_below=True)
    bounds = leverages.bounds(term, indices)
    assert (bounds >= truth * (1.0 - 1e-9)).all()
    if n_classes == 2:
        assert np.median(bounds / truth) < 3.0


def hessian_of_classes(seed, n_classes, n_dof, C, equal_classes):
    """The Hessian of a multinomial model, and rows; classes are rare, or the same."""
    rng = np.random.default_rng(seed)
    loss = MultinomialLoss(n_classes)
    centres = rng.normal(size=(n_classes, n_dof))
    if equal_classes:
        centres[: n_classes // 2] = centres[0]
    weight = 1.0 / np.arange(1, n_classes + 1) ** 1.5
    y = rng.choice(n_classes, 2000, p=weight / weight.sum())
    X = centres[y] + rng.normal(size=(2000, n_dof))
    X[0] *= 30.0
    curvatures = loss.second_derivatives(0.7 * X @ centres.T, y)
    sums = np.einsum("iab,ij,ik->ajbk", curvatures, X, X, optimize=True)
    order = loss.n_coordinates * n_dof
    penalty = np.full((1, order), 1.0 / C)
    return Hessian(sums.reshape(1, order, order), np.ones(1), penalty), X, loss


@pytest.mark.parametrize("equal_classes", [False, True])
@pytest.mark.parametrize("C", [1e-2, 1.0, 1e4])
@pytest.mark.parametrize("n_classes, n_dof", [(5, 4), (12, 3), (20, 6)])
def test_leverages_of_many_classes_are_bounded(
    n_classes, n_dof, C, equal_classes, monkeypatch
):
    hessian, X, loss = hessian_of_classes(3, n_classes, n_dof, C, equal_classes)
    exact = Leverages(hessian, loss, n_dof)
    monkeypatch.setattr(_leverages, "_MOST_PAIRS", 0)
    bounded = Leverages(hessian, loss, n_dof)
    assert exact.is_exact
    assert not bounded.is_exact
    above, truth = bounded.of(X), exact.of(X)
    below = bounded.of(X, from_below=True)
    assert (above >= truth * (1.0 - 1e-12)).all()
    assert (below <= truth * (1.0 + 1e-12)).all()
    # Not so loose as to be worthless.
    assert above.max() <= 1.25 * truth.max()
    assert (above <= 1.42 * truth).all()
    assert (below >= 0.65 * truth).all()
    # One matrix that cannot be factorised leaves the other bound.
    bounded._joint = None
    assert (bounded.of(X) >= above * (1.0 - 1e-12)).all()


def test_the_memory_of_leverages_of_many_classes_is_bounded():
    """All pairs of 100 classes take 100 times the inverse."""
    hessian, X, loss = hessian_of_classes(4, 100, 4, 1.0, False)
    Leverages(hessian, loss, 4)
    tracemalloc.start()
    Leverages(hessian, loss, 4).of(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 8 * (100 * 4) ** 2 + 2**25


@pytest.mark.parametrize("loss", [BinomialLoss(), MultinomialLoss(3)])
def test_leverages_bound_what_a_row_sees_of_a_step(loss):
    """By Cauchy and Schwarz; and there is a step for which that is all."""
    m, n_dof = loss.n_coordinates, 4
    case = Case([0.3], 1, m * n_dof)
    x = case.rng.normal(size=(1, n_dof))
    leverage = Leverages(case.hessian, loss, n_dof).of(x)[0]
    attained = 0.0
    steps = [case.rng.normal(size=m * n_dof) for _ in range(50)]
    steps += [
        case.inverses[0] @ np.kron(contrast, x[0]) for contrast in loss.contrasts()
    ]
    for step in steps:
        raw = loss.to_outputs(step.reshape(m, n_dof)) @ x[0]
        seen = loss.ranges(raw[np.newaxis])[0] / case.hessian.norm(step[np.newaxis])
        attained = max(attained, seen)
        assert seen <= leverage * (1 + 1e-12)
    assert_allclose(attained, leverage, rtol=1e-12)


@pytest.mark.parametrize("n_rows", [1, 4, 15])
def test_fraction(case, n_rows):
    R = case.X[0][:n_rows]
    expected = max(
        np.linalg.eigvals(inverse @ gram(R)).real.max() for inverse in case.inverses
    )
    assert_allclose(case.hessian.fraction(gram(R)), expected, rtol=1e-10)
    assert_allclose(case.hessian.fraction_of_roots(R), expected, rtol=1e-10)


def test_the_fraction_of_everything_is_one():
    case = Case([0.0], 3)
    data = case.matrices[0]
    assert_allclose(case.hessian.fraction(data), 1.0, rtol=1e-12)
    assert_allclose(
        case.hessian.fraction_of_roots(np.linalg.cholesky(data).T), 1.0, rtol=1e-12
    )
    assert case.hessian.fraction(np.zeros((Q, Q))) == 0.0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_condition(case, scale):
    """An estimate, the same in whatever units the columns are."""
    expected = 1.0
    for matrix in case.matrices:
        scaled = np.sqrt(np.diagonal(matrix))
        expected = max(expected, np.linalg.cond(matrix / np.outer(scaled, scaled)))
    found = case.hessian.condition()
    assert expected / Q <= found <= expected * Q**2
    units = scale ** np.linspace(-1, 1, Q)
    other = Hessian(
        case.sums * np.outer(units, units), case.group_weight, case.penalty * units**2
    )
    assert_allclose(other.condition(), found, rtol=1e-6)


def test_the_condition_of_what_is_left_is_at_least_the_true_one():
    """It is bounded by the last estimate for some edits, then estimated again."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(60, 4)) * [1.0, 0.1, 10.0, 1.0]
    sums, penalty = gram(X)[np.newaxis], np.full((1, 4), 1e-3)
    hessian = Hessian(sums, np.ones(1), penalty)
    measured = 0
    for row in X[:50]:
        row = row[np.newaxis]
        hessian.condition()
        remaining = 1.0 - hessian.fraction_of_roots(row)
        sums = sums - gram(row)
        no_roots = np.zeros((0, 4))
        hessian = hessian.changed(sums, np.ones(1), no_roots, row, remaining)
        measured += hessian._condition is None
        fresh = Hessian(sums, np.ones(1), penalty).condition()
        # Scaled by another diagonal, and both estimates: of the same size.
        assert 0.5 * fresh <= hessian.condition() <= 5.0 * fresh
    assert 1 <= measured <= 25


def test_condition_of_a_diagonal():
    hessian = Hessian(
        np.diag([1e-9, 1.0, 1e9])[np.newaxis], np.ones(1), np.zeros((1, 3))
    )
    assert_allclose(hessian.condition(), 1.0)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6])
def test_condition_of_columns_that_are_nearly_alike(gap):
    matrix = np.array([[[1.0, 1.0 - gap], [1.0 - gap, 1.0]]])
    hessian = Hessian(matrix, np.ones(1), np.zeros((1, 2)))
    assert 0.25 < hessian.condition() / (2 / gap) < 8


@pytest.mark.parametrize("n_groups", N_GROUPS)
def test_solving_is_refined(n_groups):
    """Even by factors that are off, by the jitter or by many changes."""
    case = Case([0.3, 2.0], n_groups)
    v = case.vectors()
    case.hessian._factors = [(1 + 1e-6) * factor for factor in case.hessian._factors]
    assert_allclose(case.hessian.solve(v), applied(case.inverses, v), rtol=1e-10)


# ---------------------------------------------------------------------------
# Changes
# ---------------------------------------------------------------------------


def test_a_change_without_roots_is_a_new_hessian(case):
    sums = case.sums + gram(case.rng.normal(size=(3, Q)))
    weight = case.group_weight * np.linspace(1.0, 2.0, len(case.group_weight))
    found = case.hessian.changed(sums, weight)
    expected = Hessian(sums, weight, case.penalty)
    for one, other in zip(found._factors, expected._factors, strict=True):
        assert_array_equal(one, other)


def test_a_change_by_roots_is_a_new_hessian(case):
    hessian, weight = case.hessian, case.group_weight
    factors = [factor.copy() for factor in hessian._factors]
    removed, added = case.X[0][:2], case.rng.normal(size=(3, Q))
    case.sums[0] += gram(added) - gram(removed)
    found = hessian.changed(
        case.sums, weight, added * np.sqrt(weight[0]), removed * np.sqrt(weight[0])
    )
    assert_same_hessian(found, Hessian(case.sums, weight, case.penalty))
    for one, other in zip(hessian._factors, factors, strict=True):
        assert_array_equal(one, other)


def test_roots_of_other_group_weights_are_not_used():
    """Another weight of a class changes the Hessian everywhere."""
    case = Case([0.3, 2.0], 3)
    weight = case.group_weight * [1.0, 1.1, 1.0]
    removed = case.X[0][:1]
    sums = case.sums.copy()
    sums[0] -= gram(removed)
    found = case.hessian.changed(
        sums, weight, np.zeros((0, Q)), removed * np.sqrt(weight[0])
    )
    assert_same_hessian(found, Hessian(sums, weight, case.penalty))


def test_another_penalty_is_a_new_hessian(case):
    """Rank-one changes would go on with the old one."""
    penalty = case.penalty * np.linspace(0.5, 2.0, Q)
    row = case.X[0][:1]
    case.sums[0] -= gram(row)
    root = np.sqrt(case.group_weight[0]) * row
    no_roots = np.zeros((0, Q))
    found = case.hessian.changed(
        case.sums, case.group_weight, no_roots, root, penalty=penalty
    )
    assert_same_hessian(found, Hessian(case.sums, case.group_weight, penalty))


@pytest.mark.parametrize("n_rows", [0, 2, 20])
@pytest.mark.parametrize("low", [0.0, 0.5, 0.9995])
def test_fraction_of_penalty(low, n_rows):
    """At least the largest eigenvalue, and near it where few columns lose much."""
    rng = np.random.default_rng(6)
    X = rng.normal(size=(n_rows, Q)) * 10.0 ** np.arange(-2, Q - 2)
    penalty = np.outer([0.3, 2.0, 0.3], np.arange(Q) < Q - 1) + 1e-9
    hessian = Hessian(gram(X)[np.newaxis], np.ones(1), penalty)
    change = np.r_[low, rng.uniform(0.9995, 1.5, Q - 1)]
    found = hessian.fraction_of_penalty(penalty * change)
    shares = [
        np.linalg.eigvals(
            np.linalg.solve(
                gram(X) + np.diag(own), np.diag(own * np.maximum(1 - change, 0))
            )
        ).real.max()
        for own in penalty
    ]
    assert max(shares) * (1 - 1e-12) <= found <= max(shares) + 1e-3
    assert hessian.fraction_of_penalty(penalty) == 0.0


def test_hundreds_of_changes(case):
    """The factors do not drift, and what is asked of them stays the same."""
    rng, weight = case.rng, case.group_weight
    hessian = case.hessian
    rows = [list(X) for X in case.X]
    sums = case.sums.copy()
    for number in range(300):
        group = rng.integers(len(rows))
        mine = rows[group]
        leaving = [mine.pop(rng.integers(len(mine))) for _ in range(rng.integers(3))]
        joining = list(rng.normal(size=(len(leaving), Q)) * 10.0 ** rng.integers(-2, 2))
        mine += joining
        joining, leaving = (
            np.array(some).reshape(-1, Q) for some in (joining, leaving)
        )
        sums = sums.copy()
        sums[group] += gram(joining) - gram(leaving)
        root = np.sqrt(weight[group])
        hessian = hessian.changed(sums, weight, root * joining, root * leaving)
        if number % 100 == 99:
            exact = np.array([gram(np.array(mine)) for mine in rows])
            assert_same_hessian(hessian, Hessian(exact, weight, case.penalty), 1e-7)


def test_coming_and_going():
    case = Case([0.3, 0.0], 1)
    hessian, weight = case.hessian, np.ones(1)
    hessian = hessian.changed(case.sums, weight)
    factors = [factor.copy() for factor in hessian._factors]
    row = 3.0 * case.rng.normal(size=(1, Q))
    no_roots = np.zeros((0, Q))
    for _ in range(200):
        hessian = hessian.changed(case.sums + gram(row), weight, row, no_roots)
        hessian = hessian.changed(case.sums, weight, no_roots, row)
    for one, other in zip(hessian._factors, factors, strict=True):
        assert_allclose(one, other, rtol=1e-10, atol=1e-11)


def test_a_row_that_nearly_is_the_hessian_leaves():
    """A downdate would lose the digits: a new factor is made."""
    others = 1e-6 * gram(np.random.default_rng(2).normal(size=(20, Q)))
    row = 1e3 * np.ones((1, Q))
    before = Hessian((others + gram(row))[np.newaxis], np.ones(1), np.zeros((1, Q)))
    found = before.changed(others[np.newaxis], np.ones(1), np.zeros((0, Q)), row)
    expected = Hessian(others[np.newaxis], np.ones(1), np.zeros((1, Q)))
    assert_array_equal(found._factors[0], expected._factors[0])
    assert before.fraction_of_roots(row) > 1 - 1e-9


def test_a_downdate_of_one_system_that_is_not_definite():
    """Only the system without a penalty becomes singular; all factors are new."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(Q, Q))
    penalty = np.array([[1.0] * Q, [0.0] * Q])
    hessian = Hessian(gram(X)[np.newaxis], np.ones(1), penalty)
    left = gram(X[1:])[np.newaxis]
    found = hessian.changed(left, np.ones(1), np.zeros((0, Q)), X[:1])
    assert hessian.is_exact
    assert not found.is_exact
    matrix = left[0] + np.eye(Q)
    factor = found._factors[found._which[0]]
    assert_allclose(factor.T @ factor, matrix, rtol=1e-12, atol=1e-13)


def test_a_few_roots_only():
    hessian = Hessian(np.eye(48)[np.newaxis], np.ones(1), np.zeros((1, 48)))
    assert hessian.takes_roots(3)
    assert not hessian.takes_roots(4)
    singular = Hessian(np.zeros((1, 48, 48)), np.ones(1), np.zeros((1, 48)))
    assert not singular.takes_roots(1)


# ---------------------------------------------------------------------------
# Roots
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [BinomialLoss(), MultinomialLoss(3), MultinomialLoss(5), HalfSquaredLoss(3)],
    ids=lambda loss: f"{type(loss).__name__}-{loss.n_outputs}",
)
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 800.0])
def test_outer_products_of_roots_sum_to_the_hessian(loss, scale):
    rng = np.random.default_rng(4)
    X, weight = rng.normal(size=(9, 4)), rng.random(9)
    weight[3] = 0
    raw = scale * rng.normal(size=(9, loss.n_outputs))
    curvatures = loss.second_derivatives(raw, np.zeros(9, np.int64))
    m = curvatures.shape[1]
    found = roots(X, curvatures, weight)
    assert found.shape == (9 * m, m * 4)
    expected = sum(
        w * np.kron(curvature, np.outer(x, x))
        for w, curvature, x in zip(weight, curvatures, X, strict=True)
    )
    assert_allclose(gram(found), expected, rtol=1e-11, atol=1e-13)


def test_no_rows_have_no_roots():
    found = roots(np.zeros((0, 4)), np.zeros((0, 2, 2)), np.zeros(0))
    assert found.shape == (0, 8)


# ---------------------------------------------------------------------------
# Singular matrices
# ---------------------------------------------------------------------------


def singular(kind, rng):
    X = rng.normal(size=(30, Q))
    if kind == "a column twice":
        X[:, 4] = X[:, 1]
    elif kind == "an empty column":
        X[:, 2] = 0
    elif kind == "few rows":
        X = X[:3]
    elif kind == "nothing":
        X[:] = 0
    elif kind == "unlike units":
        X[:, 4] = X[:, 1] + X[:, 0]
        X *= 10.0 ** np.arange(-9, 9, 3)
    return X


SINGULAR = [
    "a column twice", "an empty column", "few rows", "nothing", "unlike units",
]  # fmt: skip


@pytest.mark.parametrize("kind", SINGULAR)
def test_a_singular_hessian_is_reported_and_still_solves(kind):
    rng = np.random.default_rng(5)
    X = singular(kind, rng)
    hessian = Hessian(gram(X)[np.newaxis], np.ones(1), np.zeros((1, Q)))
    assert not hessian.is_exact or hessian.condition() > 1e12
    right = (X.T @ rng.normal(size=len(X)))[np.newaxis]
    solution = hessian.solve(right)
    unit = np.sqrt(np.diagonal(gram(X)))
    assert np.isfinite(solution).all()
    assert_allclose(
        hessian.product(solution), right, rtol=0, atol=1e-6 * unit.max() + 1e-300
    )
    assert np.isfinite(hessian.dual_norm(right))
    assert np.isfinite(hessian.norm(right))


@pytest.mark.parametrize("kind", SINGULAR)
def test_a_penalty_makes_it_regular(kind):
    rng = np.random.default_rng(6)
    X = singular(kind, rng)
    unit = np.maximum(np.diagonal(gram(X)), 1.0)[np.newaxis]
    hessian = Hessian(gram(X)[np.newaxis], np.ones(1), 0.1 * unit)
    assert hessian.is_exact
    assert hessian.condition() < 1e6


@pytest.mark.parametrize("seed", range(20))
def test_columns_that_became_empty(seed):
    """What subtraction leaves of them is rounding, of either sign."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(50, Q))
    X[:40, :3] = 0
    left = gram(X) - gram(X[40:])
    hessian = Hessian(left[np.newaxis], np.ones(1), np.zeros((1, Q)))
    assert not hessian.is_exact


def test_what_is_not_positive_at_all():
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        Hessian(np.array([[[1.0, 2.0], [2.0, 1.0]]]), np.ones(1), np.zeros((1, 2)))


@pytest.mark.parametrize("tiny", [1e-80, 1e-155, 1e-170, 1e-300, np.nan])
def test_condition_of_a_factor_that_is_nearly_singular(tiny):
    """Its square may be more than a number can hold."""
    hessian = Hessian(np.eye(2)[np.newaxis], np.ones(1), np.zeros((1, 2)))
    hessian._factors = [np.array([[1.0, 1.0], [0.0, tiny]])]
    assert 1e100 < hessian.condition() < np.inf


def test_norms_of_vectors_that_are_not_finite_are_not_numbers():
    """0 would be taken for a step that arrived."""
    hessian = Hessian(np.eye(3)[np.newaxis], np.ones(1), np.ones((1, 3)))
    for vector in ([[np.nan, 0.0, 0.0]], [[np.inf, -np.inf, 0.0]]):
        with np.errstate(invalid="ignore"):
            assert np.isnan(hessian.norm(np.array(vector)))
            assert np.isnan(hessian.dual_norm(np.array(vector)))
