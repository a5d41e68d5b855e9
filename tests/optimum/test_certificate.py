"""Bounds of the distance to the optimum: their formulas, and whether they hold.

The randomised tests compare them, after every edit, with an optimum that is computed
here and independently: Newton's method with gradients in extended precision, until they
stop falling. ``examples/benchmarks/certificate.py`` does the same thousands of times.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from newton_reference import optimum
from numpy.testing import assert_allclose
from scipy import sparse

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, inspection
from skdeltagrad._data.storage import store
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import AbstractLoss, BinomialLoss, MultinomialLoss
from skdeltagrad._optimum.certificate import (
    Bound,
    _remainder,
    after_gradient,
    distance_after_gradient,
    gradient_after_step,
    gradient_after_step_by_rows,
    log_growth,
)

GRID = np.logspace(-12, 1, 53)


def _series(rho):
    """``(e^rho - 1 - rho) / rho^2`` to all digits that a float has."""
    rho = Fraction(float(rho))
    terms = (rho**k / math.factorial(k + 2) for k in range(60))
    return sum(terms, Fraction(0))


# The formulas.


@pytest.mark.parametrize("rho", [*GRID, np.nextafter(1e-2, 0), 1e-2])
def test_the_remainder_is_never_below_its_series(rho):
    exact = _series(rho)
    # What rounding does to the difference grows towards the switch to the series.
    assert _remainder(rho) >= exact * (1 - Fraction(1e-13))
    assert _remainder(rho) <= exact * (1 + Fraction(1e-11))


def test_the_remainder_is_continuous_where_the_series_ends():
    below, above = _remainder(np.nextafter(1e-2, 0)), _remainder(1e-2)
    assert_allclose(below, above, rtol=1e-11)


def test_the_remainder_at_zero():
    assert _remainder(0.0) == 0.5
    assert_allclose(_remainder(1e-12), 0.5, rtol=1e-11)


def test_a_quadratic_loss_is_as_far_from_its_optimum_as_its_gradient_says():
    assert after_gradient(3.0, 0.0) == Bound(3.0, 0.0)
    assert gradient_after_step(3.0, 0.0) == 0.0


def test_small_leverages_lead_to_the_quadratic_case():
    bound = after_gradient(3.0, 1e-9)
    assert_allclose(bound.distance, 3.0, rtol=1e-8)
    assert_allclose(bound.decision, 3e-9, rtol=1e-8)
    assert_allclose(gradient_after_step(2.0, 1e-9), 0.5 * 1e-9 * 2.0**2, rtol=1e-8)


@pytest.mark.parametrize("leverage", [1e-6, 0.3, 5.0])
def test_the_distance_solves_the_inequality_that_it_comes_from(leverage):
    nu = 0.8 / leverage
    bound = after_gradient(nu, leverage)
    assert_allclose(-math.expm1(-leverage * bound.distance), leverage * nu)
    assert_allclose(bound.decision, leverage * bound.distance)
    assert bound.distance >= nu


@pytest.mark.parametrize(
    ("nu", "leverage", "since"),
    [
        (1.0, 1.0, 0.0),
        (2.0, 0.5 * (1 + 1e-15), 0.0),
        (0.5, 1.0, math.log(2.0) * (1 + 1e-15)),
        (1e300, 1e300, 0.0),
        (1e-9, 1.0, 1e9),
        (math.inf, 1.0, 0.0),
        (math.inf, 0.0, 0.0),
        (1.0, math.inf, 0.0),
        (math.nan, 1.0, 0.0),
    ],
)
def test_there_is_no_bound_outside_the_radius(nu, leverage, since):
    assert after_gradient(nu, leverage, since) is None


def test_there_is_a_bound_up_to_the_radius():
    assert after_gradient(np.nextafter(1.0, 0.0), 1.0).distance < 40.0


@pytest.mark.parametrize("argument", ["nu", "leverage", "since"])
def test_distances_and_decisions_grow_with_what_they_depend_on(argument):
    arguments = {"nu": 0.2, "leverage": 0.7, "since": 0.3}
    values = np.linspace(1e-3, 1.0, 40)
    bounds = [after_gradient(**(arguments | {argument: v})) for v in values]
    assert None not in bounds
    for before, after in zip(bounds, bounds[1:], strict=False):
        assert before.distance < after.distance
        assert before.decision < after.decision


@pytest.mark.parametrize("argument", ["length", "leverage", "since"])
def test_the_gradient_left_by_a_step_grows_with_what_it_depends_on(argument):
    arguments = {"length": 0.2, "leverage": 0.7, "since": 0.3}
    values = [0.0, *np.logspace(-6, 1.5, 40)]
    left = [gradient_after_step(**(arguments | {argument: v})) for v in values]
    assert (np.diff(left) > 0).all()
    assert np.isfinite(left).all()


@pytest.mark.parametrize("rho", GRID)
def test_the_gradient_left_by_a_step_is_that_of_the_proof(rho):
    length, leverage = 4.0 * rho, 0.25
    expected = length * float(_series(rho) * Fraction(rho))
    assert_allclose(gradient_after_step(length, leverage), expected, rtol=1e-11)
    # A Hessian from nearby gives nearly the same bound, apart from cancellation.
    near = gradient_after_step(length, leverage, since=1e-9)
    assert_allclose(near, expected, rtol=1e-6, atol=1e-8 * length)
    assert near >= expected


def test_the_rows_own_leverages_only_ever_lower_what_is_left():
    length, leverage = 0.5, 0.8
    plain = gradient_after_step(length, leverage)
    assert gradient_after_step(length, leverage, moment=leverage * length) == plain
    assert gradient_after_step(length, leverage, moment=1e9) == plain
    assert gradient_after_step(length, leverage, moment=0.1) == pytest.approx(
        plain * 0.1 / (leverage * length)
    )
    assert gradient_after_step(length, leverage, moment=0.0) == 0.0


def test_a_hessian_from_elsewhere_leaves_its_own_error_at_least():
    length, rho, r = 0.5, 0.4, 0.1
    least = gradient_after_step(length, 0.8, since=r, moment=0.0)
    assert_allclose(least, length * math.expm1(r))
    # Without a moment it is the bracket of e^{r + t rho} - 1, integrated over t.
    plain = gradient_after_step(length, 0.8, since=r)
    integral = math.exp(r) * math.expm1(rho) / rho - 1.0
    assert_allclose(plain, length * integral)
    half = gradient_after_step(length, 0.8, since=r, moment=rho / 2)
    assert_allclose(half, (least + plain) / 2)


@pytest.mark.parametrize("along", [1e-12, 1e-4, 0.3, 2.0, 20.0])
@pytest.mark.parametrize("distance", [0.0, 1e-3, 1.0])
def test_the_growth_of_a_row_is_at_least_that_of_the_proof(distance, along):
    exact = distance + math.log(math.expm1(along) / along)
    found = log_growth(distance, along)
    assert exact <= found * (1.0 + 1e-12) + 1e-15
    assert found <= exact + along**2 / 24.0 + 1e-12


@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_gradient_after_a_step_is_at_most_that_of_the_rows(n_classes):
    """With any rows taken for light, of random problems."""
    n_tight = 0
    for seed in range(150):
        rng = np.random.default_rng([n_classes, seed])
        n_rows, n_columns = rng.integers(3, 30), rng.integers(1, 5)
        loss = BinomialLoss() if n_classes == 2 else MultinomialLoss(n_classes)
        X = rng.standard_t(1.5, (n_rows, n_columns))
        weight = rng.choice([0.0, 1.0, 1e3], n_rows)
        y = rng.integers(0, n_classes, n_rows)
        term = DataTerm(store(X), y, weight, loss, None)
        indices, scale = np.arange(n_rows), 10.0 ** rng.uniform(-3, 0)
        penalty = 10.0 ** rng.uniform(-3, 2)

        def coordinates(by_output, loss=loss):
            return loss.to_coordinates(by_output).ravel()

        def gradient(w, term=term, penalty=penalty, indices=indices):
            return term.gradient_sums(w, indices)[0] + penalty * w

        h = loss.to_outputs(rng.normal(size=(loss.n_coordinates, n_columns)))
        w = h + scale * loss.to_outputs(
            rng.normal(size=(loss.n_coordinates, n_columns))
        )
        hessian = term.hessian_sums(h, indices)[0]
        hessian += penalty * np.eye(len(hessian))
        d = -np.linalg.solve(hessian, coordinates(gradient(w)))
        length = math.sqrt(d @ hessian @ d)
        d = loss.to_outputs(d.reshape(loss.n_coordinates, n_columns))
        along, curvatures = term.curvatures_along(h, d, indices)
        growth = log_growth(term.distances_along(w - h, indices), along)
        left = coordinates(gradient(w + d))
        left = math.sqrt(left @ np.linalg.solve(hessian, left))
        for light in (0.0, *np.quantile(growth, [0.3, 1.0])):
            heavy = growth > light
            bound = gradient_after_step_by_rows(
                length, light, growth[heavy], curvatures[heavy]
            )
            assert left <= bound * (1.0 + 1e-9) + 1e-9 * length
            n_tight += left > 0.01 * bound
    assert n_tight >= 10


@pytest.mark.parametrize(
    ("length", "leverage", "since"),
    [
        (1e200, 1e200, 0.0),
        (1e3, 1e3, 0.0),
        (1.0, 1.0, 1e6),
        (math.inf, 0.0, 0.0),
        (math.inf, 1.0, 0.0),
        (math.nan, 1.0, 0.0),
    ],
)
def test_a_step_too_far_leaves_an_infinite_gradient(length, leverage, since):
    left = gradient_after_step(length, leverage, since)
    assert left == math.inf
    assert after_gradient(left, leverage, since) is None


def test_many_at_once_are_one_by_one():
    rng = np.random.default_rng(0)
    lengths, leverages = 10.0 ** rng.uniform(-9, 3, (2, 500))
    since = np.where(rng.random(500) < 0.5, 0.0, 10.0 ** rng.uniform(-9, 3, 500))
    fourth = 10.0 ** rng.uniform(-9, 3, 500)
    left = gradient_after_step(lengths, leverages, since, fourth)
    expected = [
        gradient_after_step(*one)
        for one in zip(lengths, leverages, since, fourth, strict=True)
    ]
    assert_allclose(left, expected, rtol=1e-12)
    assert np.isfinite(left).any()
    assert not np.isfinite(left).all()
    found = distance_after_gradient(lengths, leverages, since)
    bounds = [
        after_gradient(*one) for one in zip(lengths, leverages, since, strict=True)
    ]
    none = Bound(np.inf, np.inf)
    bounds = [none if bound is None else bound for bound in bounds]
    expected = [(bound.distance, bound.decision) for bound in bounds]
    assert_allclose(np.transpose(found), expected, rtol=1e-12)
    assert np.isfinite(found).any()


@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("start", [-3.0, 0.0, 0.1, 4.0])
def test_bounds_hold_for_one_row_and_one_coefficient(target, alpha, start):
    def gradient(w):
        return 1.0 / (1.0 + math.exp(-w)) - target + alpha * w

    def curvature(w):
        return 1.0 / (2.0 + math.exp(w) + math.exp(-w)) + alpha

    low, high = -500.0, 500.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if gradient(middle) < 0 else (low, middle)
    root = math.sqrt(curvature(start))
    leverage, nu = 1.0 / root, abs(gradient(start)) / root
    bound = after_gradient(nu, leverage)
    if bound is not None:
        assert abs(start - low) * root <= bound.distance + 1e-12
        assert abs(start - low) <= bound.decision + 1e-12
    # After a step with this curvature.
    step = -gradient(start) / root**2
    left = gradient_after_step(abs(step) * root, leverage)
    assert abs(gradient(start + step)) / root <= left + 1e-12
    bound = after_gradient(left, leverage, since=leverage * abs(step) * root)
    if bound is not None:
        assert abs(start + step - low) * root <= bound.distance + 1e-12


# Edits at random, of hard little problems.

# Kinds of rows, and the first seed of each.
KINDS = [
    "plain",
    "separable",
    "duplicated",
    "constant",
    "heavy-tailed",
    "rare",
    "offset",
]
EDITS = ["one row", "some", "leverage", "class", "additions", "corrections"]


class _Rows:
    """Rows that should be there, by position, kept apart from the estimator."""

    def __init__(self, rng, kind, is_sparse):
        self.rng, self.kind, self.is_sparse = rng, kind, is_sparse
        self.is_weighted = rng.random() < 0.4
        n_features, n_classes = rng.integers(1, 10), rng.choice([2, 3, 5])
        self.coef = rng.standard_normal((n_features, n_classes)) * rng.choice([0.3, 2])
        smallest = max(8, 2 * n_classes)
        n_rows = int(np.exp(rng.uniform(np.log(smallest), np.log(150))))
        self.X, self.y, self.weight = self.draw(n_rows)
        self.y[: 2 * n_classes] = np.repeat(np.arange(n_classes), 2)
        self.weight[: 2 * n_classes] = 1.0
        self.is_live = np.ones(n_rows, dtype=bool)

    def draw(self, n_rows):
        shape = (n_rows, len(self.coef))
        X = self.rng.standard_normal(shape)
        if self.kind == "heavy-tailed":
            X = self.rng.standard_t(1.5, shape)
        raw = X @ self.coef
        if self.kind != "separable":
            raw += self.rng.gumbel(size=raw.shape)
        if self.kind == "duplicated":
            X[:, -1] = X[:, 0]
        elif self.kind == "constant":
            X[:, -1] = 3.0
        elif self.kind == "rare":
            X[:, 0] = self.rng.random(n_rows) < 0.04
        elif self.kind == "offset":
            X += 30.0
        weight = np.ones(n_rows)
        if self.is_weighted:
            weight = self.rng.choice([0.0, 0.3, 1.0, 2.0, 20.0], n_rows)
        return X, raw.argmax(axis=1), weight

    def given(self, X):
        return sparse.csr_matrix(X) if self.is_sparse else X

    @property
    def live(self):
        return np.flatnonzero(self.is_live)

    def keeps_classes(self, gone, y=(), weight=()):
        """Whether the classes that are there all keep some weight."""
        kept = np.setdiff1d(self.live, gone)
        y = np.concatenate([self.y[kept], y])[
            np.concatenate([self.weight[kept], weight]) > 0
        ]
        return len(np.unique(y)) == len(np.unique(self.y[self.live]))

    def edit(self, model, edit):
        """Carry out an edit here and there; whether there was one to be made."""
        if edit in ("additions", "corrections"):
            return self._join(model, edit == "corrections")
        rng, live = self.rng, self.live
        n_gone = max(1, int(rng.uniform(0.01, 0.3) * len(live)))
        if edit == "one row":
            gone = rng.choice(live, 1)
        elif edit == "some":
            gone = rng.choice(live, n_gone, replace=False)
        elif edit == "leverage":
            spread = np.linalg.norm(self.X[live] - self.X[live].mean(axis=0), axis=1)
            gone = live[np.argsort(-spread * self.weight[live])[:n_gone]]
        else:  # all rows of a class but one
            gone = live[self.y[live] == rng.choice(np.unique(self.y[live]))]
            gone = np.delete(gone, np.flatnonzero(self.weight[gone] > 0)[:1])
        if not len(gone) or not self.keeps_classes(gone):
            return False
        model.partial_unfit(position=gone)
        self.is_live[gone] = False
        return True

    def _join(self, model, replace):
        n_rows = int(self.rng.choice([1, max(1, len(self.live) // 5)]))
        X, y, weight = self.draw(n_rows)
        y = self.rng.choice(np.unique(self.y[self.live]), n_rows)
        gone, how = self.live[:0], {}
        if self.is_weighted:
            how["sample_weight"] = weight
        if replace:
            gone = self.rng.permutation(self.live)[:n_rows]
            how |= {"replace": True, "position": gone}
        if not self.keeps_classes(gone, y, weight):
            return False
        model.partial_refit(self.given(X), y, **how)
        if replace:
            self.X[gone], self.y[gone], self.weight[gone] = X, y, weight
        else:
            self.X = np.concatenate([self.X, X])
            self.y = np.concatenate([self.y, y])
            self.weight = np.concatenate([self.weight, weight])
            self.is_live = np.concatenate([self.is_live, np.ones(n_rows, bool)])
        return True


class _Objective:
    """The objective of the rows, for columns centred where the model's are."""

    def __init__(self, rows, model):
        live = rows.live
        weight = rows.weight[live].astype(np.longdouble)
        classes, codes = np.unique(rows.y[live], return_inverse=True)
        if model.class_weight == "balanced":
            by_class = np.bincount(codes, rows.weight[live])
            weight *= (by_class.sum() / (len(classes) * by_class))[codes]
        elif model.class_weight is not None:
            factors = [model.class_weight.get(label, 1.0) for label in classes.tolist()]
            weight *= np.array(factors)[codes]
        X = rows.X[live].astype(np.longdouble)
        self.penalty = np.full(X.shape[1], 1.0 / model.C)
        if model.fit_intercept:
            X = np.column_stack([X - model._engine.model.centre, np.ones(len(X))])
            self.penalty = np.append(self.penalty, 0.0)
        self.X, self.weight = X, weight
        self.codes, self.is_binary = codes, len(classes) == 2
        self.y = codes[:, None] if self.is_binary else np.eye(len(classes))[codes]

    def ranges(self, w):
        """Largest change of a decision value, or of a difference of two, by row."""
        raw = (self.X @ w.T).astype(float)
        return np.abs(raw[:, 0]) if self.is_binary else np.ptp(raw, axis=1)

    def value(self, w):
        raw = self.X @ w.T
        if self.is_binary:
            raw = np.column_stack([np.zeros(len(raw)), raw])
        top = raw.max(axis=1, keepdims=True)
        losses = np.log(np.exp(raw - top).sum(axis=1, keepdims=True)) + top
        losses -= np.take_along_axis(raw, self.codes[:, None], axis=1)
        return self.weight @ losses[:, 0] + 0.5 * (self.penalty * w**2).sum()

    def gradient(self, w):
        raw = self.X @ w.T
        if self.is_binary:
            small = np.exp(-np.abs(raw))
            self._p = np.where(raw > 0, 1.0, small) / (1.0 + small)
            self._variance = (small / (1.0 + small) ** 2)[:, :, None]
        else:
            p = np.exp(raw - raw.max(axis=1, keepdims=True))
            self._p = p / p.sum(axis=1, keepdims=True)
            same = np.eye(raw.shape[1])
            self._variance = self._p[:, :, None] * (same - self._p[:, None])
        residual = self.weight[:, None] * (self._p - self.y)
        return residual.T @ self.X + self.penalty * w

    def hessian(self):
        """Where the last gradient was taken."""
        variance = (self.weight[:, None, None] * self._variance).astype(float)
        X = self.X.astype(float)
        m, q = variance.shape[1], X.shape[1]
        products = np.einsum("nab,ni->naib", variance, X).reshape(len(X), -1)
        hessian = (products.T @ X).reshape(m * q, m * q)
        hessian += np.diag(np.tile(self.penalty, m))
        if not self.is_binary and self.penalty[-1] == 0.0:
            # Nothing changes where the intercepts of all classes do.
            together = np.tile(np.arange(q) == q - 1, m) / np.sqrt(m)
            hessian += np.outer(together, together) * np.trace(hessian) / (m * q)
        return hessian

    def optimum(self, start):
        """The optimum, what is left of its gradient, and the condition there."""
        w = start.astype(np.longdouble)
        if not self.value(w) < self.value(np.zeros_like(w)):
            w = np.zeros_like(w)  # where there is curvature
        best, was_small = (np.inf,), False
        for _ in range(500):
            gradient = self.gradient(w)
            hessian = self.hessian()
            step = np.linalg.solve(hessian, gradient.astype(float).ravel())
            left = np.sqrt(max(0.0, float(gradient.ravel() @ step)))
            step = step.reshape(w.shape)
            if was_small and not left < 0.5 * best[0]:
                break
            best = left, w, hessian
            size = self.ranges(step).max()
            was_small = size < 1e-2
            length, value = 1.0, self.value(w)
            while not was_small and length > 1e-9:
                if self.value(w - length * step) <= value - 1e-4 * length * left**2:
                    break
                length *= 0.5
            w = w - length * step
        left, w, hessian = best
        return w, left, hessian


def _random_model(rng, kind, n_classes):
    by_class = {0: 3.0, int(n_classes) - 1: 0.2}
    return DeltaGradLogisticRegression(
        C=10.0 ** rng.uniform(-4, 5),
        # A constant column takes the place of an intercept.
        fit_intercept=bool(rng.random() < 0.8),
        class_weight=[None, None, "balanced", by_class][rng.integers(4)],
        edit_tol=float(rng.choice([1e-2, 1e-4, 0.3])),
    )


def _edited(kind, is_sparse, seed, purges=False):
    """A model and its rows, after every edit of a few; and the reference before.

    With `purges` some of the edits come after a purge.
    """
    rng = np.random.default_rng([KINDS.index(kind), is_sparse, seed])
    rows = _Rows(rng, kind, is_sparse)
    model = _random_model(rng, kind, rows.coef.shape[1])
    weight = rows.weight if rows.is_weighted else None
    model.fit(rows.given(rows.X), rows.y, sample_weight=weight)
    for _ in range(rng.integers(3, 7)):
        if purges and rng.random() < 0.7:
            model.purge()
        before = model._engine.reference
        if rows.edit(model, rng.choice(EDITS)):
            yield model, rows, before


def _check_fourth_moment(objective, curvature, leverages, to_outputs):
    """Q is at least that of the rows, with their true leverages."""
    whole = objective.weight, objective.penalty
    objective.weight = objective.weight * leverages**2
    objective.penalty = 0.0 * objective.penalty
    fourth = to_outputs.T @ objective.hessian() @ to_outputs
    objective.weight, objective.penalty = whole
    group_weight = curvature.hessian.group_weight
    moment = curvature.fourth_moment
    kept = np.tensordot(group_weight, moment.sums, axes=1)
    spare = curvature.growth * np.exp(moment.distance) * kept - fourth
    assert np.linalg.eigvalsh(spare)[0] >= -1e-6 * np.trace(fourth)


def _check_columns(model, root):
    """What is kept of single rows is true of them, given the factor of the Hessian."""
    training_set, path = model._training_set, model._engine
    table, curvature, loss = training_set.table, path.curvature, path.model.loss
    term, live = path.model.data_term(training_set), table.live_indices()
    design = term.extended(live)
    if (column := table.column("leverage")) is not None:
        leverages = np.zeros(len(live))
        for contrast in loss.contrasts():
            half = np.linalg.solve(root, np.kron(contrast, design).T)
            leverages = np.maximum(leverages, np.linalg.norm(half, axis=0))
        allowed = np.sqrt(curvature.growth) * column[live]
        assert (leverages <= allowed * (1.0 + 1e-5)).all()
    moved = path.reference - curvature.hessian_iterate
    distances = term.distances_along(moved, live)
    column = table.column("distance")
    allowed = np.zeros(len(live)) if column is None else column[live]
    assert (distances <= allowed * (1.0 + 1e-9) + 1e-9).all()
    if (measured := curvature.measured) is not None:
        change = loss.to_outputs(measured.vectors.reshape(-1, term.n_dof))
        along, curvatures = term.curvatures_along(
            curvature.hessian_iterate, change, live
        )
        assert (along <= table.column("along")[live] * (1.0 + 1e-9) + 1e-9).all()
        assert along.max() <= measured.largest * (1.0 + 1e-9) + 1e-9
        factor = curvature.hessian.group_weight[
            0 if term.group is None else term.group[live]
        ]
        powers = np.sum(factor * curvatures * along**2)
        assert powers <= measured.fourth_power * (1.0 + 1e-9) + 1e-30


def _norm(model, by_output):
    """In the Hessian that is kept."""
    path = model._engine
    vectors = path.model.loss.to_coordinates(np.asarray(by_output, dtype=float))
    return path.curvature.hessian.norm(vectors.reshape(1, -1))


@pytest.mark.parametrize("purges", [False, True], ids=["", "purges"])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_is_never_farther_than_the_bound(kind, is_sparse, purges):
    n_edits, n_bounds, ratios = 0, 0, []
    for seed in range(8):
        for model, rows, before in _edited(kind, is_sparse, seed, purges):
            path, report = model._engine, model.update_report_
            objective = _Objective(rows, model)
            optimum, left, hessian = objective.optimum(path.iterate)
            if np.linalg.cond(hessian) > 1e13:
                continue
            n_edits += 1
            away = path.iterate - optimum
            assert objective.value(path.iterate) <= objective.value(before) + 1e-9
            if report.refit:
                flat = np.asarray(away, dtype=float).ravel()
                assert np.sqrt(flat @ hessian @ flat) <= 1e-6
            if report.distance_bound is None:
                assert report.no_bound
                continue
            n_bounds += 1
            norm, distance = _norm(model, path.iterate), _norm(model, away)
            assert left <= 1e-10 * (1.0 + norm)  # a reference to rely on
            slack = 1e-9 * (1.0 + norm)
            allowed = report.distance_bound * (1.0 + 1e-6) + slack
            assert distance <= allowed
            allowed = report.decision_bound * (1.0 + 1e-6) + slack
            assert objective.ranges(away).max() <= allowed
            moved = _norm(model, path.iterate - before)
            assert distance <= model.edit_tol * moved + slack
            if report.relative_bound is not None:
                assert report.relative_bound == pytest.approx(
                    report.distance_bound / moved
                )
            if distance > slack:
                ratios.append(report.distance_bound / distance)
    assert n_edits >= 20
    assert n_bounds >= n_edits / 3
    assert np.median(ratios) < 100.0


@pytest.mark.parametrize("purges", [False, True], ids=["", "purges"])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_bounds_rest_on_is_true_of_the_rows_after_every_edit(
    kind, is_sparse, purges
):
    for seed in range(20, 26):
        for model, rows, _ in _edited(kind, is_sparse, seed, purges):
            path, curvature = model._engine, model._engine.curvature
            if curvature is None or not curvature.hessian.is_exact:
                continue
            objective = _Objective(rows, model)
            basis = path.model.loss.to_coordinates(np.eye(path.model.loss.n_outputs))
            q = objective.X.shape[1]
            to_outputs = np.kron(basis.T, np.eye(q))
            # 1) the Hessian, and its factor, are those of the rows at its iterate
            objective.gradient(curvature.hessian_iterate.astype(np.longdouble))
            truth = to_outputs.T @ objective.hessian() @ to_outputs
            size = np.sqrt(np.outer(truth.diagonal(), truth.diagonal()))
            kept = curvature.hessian
            eye = np.eye(len(truth))
            product = np.array([kept.product(row[None])[0] for row in eye])
            assert_allclose(product / size, truth / size, atol=1e-8)
            if np.linalg.cond(truth) < 1e10:
                solved = np.array([kept.solve(row[None])[0] for row in truth])
                assert_allclose(solved, eye, atol=1e-5)
                # 2) no row has a larger leverage, nor all of them together
                root = np.linalg.cholesky(truth)
                _check_columns(model, root)
                leverages = np.zeros(len(objective.X))
                for contrast in path.model.loss.contrasts():
                    rows_seen = np.kron(contrast, objective.X.astype(float))
                    half = np.linalg.norm(np.linalg.solve(root, rows_seen.T), axis=0)
                    leverages = np.maximum(leverages, half)
                assert leverages.max() <= curvature.leverage * (1.0 + 1e-5)
                if curvature.fourth_moment is not None:
                    _check_fourth_moment(objective, curvature, leverages, to_outputs)
            # 3) raw predictions moved by no more than that since the Hessian
            moved = objective.ranges(path.reference - curvature.hessian_iterate).max()
            assert moved <= curvature.since_hessian * (1.0 + 1e-9) + 1e-9
            # 4) the gradient is that of the rows at the reference
            sums = np.tensordot(
                kept.group_weight, np.asarray(path.gradient_sums), axes=1
            )
            w = path.reference.astype(np.longdouble)
            truth = objective.gradient(w) - objective.penalty * w
            scale = np.abs(objective.weight) @ np.abs(objective.X)
            error = (sums - truth).astype(float)
            if curvature.uncertainty:
                vectors = path.model.loss.to_coordinates(error).reshape(1, -1)
                slack = 1e-12 * (1.0 + _norm(model, path.reference))
                assert kept.dual_norm(vectors) <= curvature.uncertainty + slack
                continue
            assert np.abs(error).max() <= 1e-12 * scale.astype(float).max()


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_the_optimum_of_ridge_is_never_farther_than_the_bound(n_targets, fit_intercept):
    for seed in range(12):
        rng = np.random.default_rng([n_targets, fit_intercept, seed])
        n_rows, n_features = rng.integers(12, 100), rng.integers(1, 9)
        X = rng.standard_normal((n_rows, n_features))
        X *= 10.0 ** rng.uniform(-3, 3, n_features)
        y, weight = rng.standard_normal((n_rows, n_targets)), rng.choice([0.5, 1, 2])
        alpha = 10.0 ** rng.uniform(-3, 3, n_targets)
        model = DeltaGradRidge(alpha=alpha, fit_intercept=fit_intercept)
        model.fit(X, y, sample_weight=weight)
        live = np.arange(n_rows)
        for _ in range(4):
            gone = rng.choice(live, max(1, len(live) // 5), replace=False)
            live = np.setdiff1d(live, gone)
            model.partial_unfit(position=gone)
            path, report = model._engine, model.update_report_
            assert report.no_bound is None
            design = X[live].astype(np.longdouble)
            penalty = np.repeat(alpha[:, None], n_features, axis=1)
            if fit_intercept:
                design = np.column_stack(
                    [design - path.model.centre, np.ones(len(live))]
                )
                penalty = np.column_stack([penalty, np.zeros(n_targets)])
            optimum = path.iterate.astype(np.longdouble)
            for _ in range(4):
                residual = weight * (design @ optimum.T - y[live])
                gradient = residual.T @ design + penalty * optimum
                for one, own, slope in zip(optimum, penalty, gradient, strict=True):
                    hessian = weight * (design.T @ design) + np.diag(own)
                    one -= np.linalg.solve(hessian.astype(float), slope.astype(float))
            away = (path.iterate - optimum).astype(float)
            hessian = path.curvature.hessian
            slack = 1e-12 * hessian.norm(path.iterate)
            assert hessian.norm(away) <= report.distance_bound + slack
            change = np.abs((design @ away.T).astype(float)).max()
            assert change <= report.decision_bound + slack
            assert report.distance_bound <= 1e-8 * (1.0 + hessian.norm(path.iterate))


# Losses that do not say that they are self-concordant.


class UnknownLoss(BinomialLoss):
    """The log-loss, of which nobody has shown anything."""

    self_concordance = None


class UncountedLoss(BinomialLoss):
    """The log-loss, without a bound on the rounding of its gradients."""

    gradient_bound = gradient_per_loss = None


def test_a_loss_has_no_constant_unless_it_says_so():
    assert AbstractLoss.self_concordance is None


@pytest.mark.parametrize("loss", [UnknownLoss, UncountedLoss])
def test_a_loss_that_is_not_known_to_be_self_concordant_gets_no_certificate(
    loss, monkeypatch
):
    monkeypatch.setattr("skdeltagrad._estimators.logistic.BinomialLoss", loss)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 4)), rng.integers(2, size=300)
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=range(5))
    report = model.update_report_
    assert report.distance_bound is report.decision_bound is None
    assert report.relative_bound is None
    assert "self-concordant" in report.no_bound
    assert "no bound: the loss" in str(report)
    exact = DeltaGradLogisticRegression(tol=1e-10).fit(X[5:], y[5:])
    moved = np.linalg.norm(exact.coef_ - DeltaGradLogisticRegression().fit(X, y).coef_)
    assert np.linalg.norm(model.coef_ - exact.coef_) < 0.02 * moved
    left = inspection.leave_one_out(model)
    assert np.isinf(left.error).all()


# Losses with another constant than 1.


class SteepLoss(BinomialLoss):
    """The log-loss of c z, for which |l'''| <= c l''."""

    def __init__(self, c, stated=None):
        super().__init__()
        self.c = c
        self.curvature_bound = 0.25 * c**2
        self.self_concordance = c if stated is None else stated
        self.gradient_bound = self.gradient_per_loss = c

    def differentiate(self, raw, y, weight, indices):
        raw *= self.c
        super().differentiate(raw, y, weight, indices)
        raw *= self.c

    def evaluate(self, raw, y, weight, indices):
        raw *= self.c
        losses = super().evaluate(raw, y, weight, indices)
        raw *= self.c
        return losses

    def second_derivatives(self, raw, y):
        return self.c**2 * super().second_derivatives(self.c * raw, y)

    def hessian_state(self, raw, y):
        return self.c**2 * super().hessian_state(self.c * raw, y)

    def of_rows(self, raw, y):
        """Losses, first and second derivatives, in extended precision."""
        sign = np.where(y == 1, -1, 1) * np.longdouble(self.c)
        other = 1 / (1 + np.exp(-sign * raw))  # the probability of the other class
        own = 1 / (1 + np.exp(sign * raw))
        return np.logaddexp(0, sign * raw), sign * other, self.c**2 * own * other


class Adversary:
    """Rows and edits that make a step mispredict as much as it can."""

    def __init__(self, rng, loss):
        self.rng, self.loss = rng, loss
        n_features = int(rng.integers(1, 6))
        self.scale = rng.choice([0.3, 1.0, 4.0]) / loss.c
        self.coef = rng.standard_normal(n_features) * rng.choice([0.3, 2.0])
        self.X, self.y = self.draw(int(rng.integers(30, 120)))
        self.model = DeltaGradLogisticRegression(
            C=float(rng.choice([1e-2, 1.0, 100.0])) * loss.c**2, edit_tol=5.0
        ).fit(self.X, self.y)

    def draw(self, n_rows):
        X = self.rng.standard_t(3.0, (n_rows, len(self.coef)))
        y = (X @ self.coef + self.rng.logistic(size=n_rows) > 0).astype(int)
        y[:2] = 0, 1
        return X * self.scale, y

    def edit(self):
        """Carry out an edit: rows leave, rows join, or both."""
        kind = self.rng.integers(4)
        n_rows = int(self.rng.integers(1, max(2, len(self.y) // 4)))
        removed = self.rng.permutation(len(self.y))[:n_rows]
        if kind == 1:  # the rows that matter most
            raw = self.X @ self.model.coef_[0] + self.model.intercept_
            removed = np.argsort((2 * self.y - 1) * raw)[:n_rows]
        elif kind == 2:
            removed = np.argsort(-np.abs(self.X).max(axis=1))[:n_rows]
        if len(np.unique(np.delete(self.y, removed))) < 2:
            removed = removed[:0]
        X, y = self.draw(2 * n_rows)
        if kind == 3:  # rows that all pull to one side
            y = 1 - (X @ self.coef > 0)
        position = self.model._training_set.table.position
        indices = np.flatnonzero(position >= 0)
        order = indices[np.argsort(position[indices])]
        self.model.partial_refit(X, y, remove_position=position[order][removed])
        self.X = np.concatenate([np.delete(self.X, removed, axis=0), X])
        self.y = np.concatenate([np.delete(self.y, removed), y])

    def violation(self):
        """The true distance and decision change next to their bounds; None without."""
        report, path = self.model.update_report_, self.model._engine
        if report.distance_bound is None:
            return None
        X = np.column_stack([self.X - path.model.centre, np.ones(len(self.y))])
        penalty = np.append(np.full(len(self.coef), 1.0 / self.model.C), 0.0)
        w = path.iterate[0]
        best = optimum(
            X, np.ones(len(X)), penalty, lambda raw: self.loss.of_rows(raw, self.y), w
        )
        away = (w - best).astype(float)
        slack = 1e-9 * (1.0 + np.abs(w).max())
        distance = path.curvature.hessian.norm(away[np.newaxis]) - slack
        change = np.abs(X @ away).max() - slack
        return max(distance / report.distance_bound, change / report.decision_bound)


def violations(monkeypatch, loss, n_edits, seed):
    """True distances, next to their bounds, after edits of an adversary."""
    monkeypatch.setattr("skdeltagrad._estimators.logistic.BinomialLoss", lambda: loss)
    rng, found = np.random.default_rng(seed), []
    while len(found) < n_edits:
        adversary = Adversary(rng, loss)
        for _ in range(4):
            adversary.edit()
            found.append(adversary.violation())
            if found[-1] is None:
                break
    return np.array([ratio for ratio in found if ratio is not None])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("c", [0.1, 3.0, 30.0])
def test_bounds_hold_for_a_loss_with_another_constant(c, monkeypatch):
    ratios = violations(monkeypatch, SteepLoss(c), 700, seed=1)
    assert len(ratios) > 400
    assert ratios.max() <= 1.0 + 1e-6


@pytest.mark.filterwarnings("ignore")
def test_bounds_fail_for_a_constant_that_is_too_small(monkeypatch):
    ratios = violations(monkeypatch, SteepLoss(30.0, stated=1.0), 100, seed=1)
    assert np.mean(ratios > 1.0) > 0.5


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_bounds_hold_for_the_published_coefficients_of_float32_rows(shift):
    # Rounding them to float32 moves decision values by more than the bound.
    rng = np.random.default_rng(1)
    X = (shift + rng.standard_normal((400, 3))).astype(np.float32)
    y = (X[:, 0] - shift + rng.standard_normal(400) > 0).astype(int)
    model = DeltaGradLogisticRegression(edit_tol=1e-8).fit(X, y)
    exact = DeltaGradLogisticRegression(tol=1e-13).fit(X[1:].astype(float), y[1:])
    model.unlearn(position=0)
    ours = model.decision_function(X[1:].astype(float))
    off = np.abs(ours - exact.decision_function(X[1:].astype(float))).max()
    assert off <= model.update_report_.decision_bound + 1e-11  # of the reference
    assert model.coef_.dtype == model.intercept_.dtype == np.float64


# What an attacker found.


def _truth(X, y, model, weight=None):
    """The optimum in long double, and the Hessian there, in the model's coordinates."""
    path = model._engine
    design = X.astype(np.longdouble) - path.model.centre
    design = np.column_stack([design, np.ones(len(X), np.longdouble)])
    n_outputs, q = path.iterate.shape
    penalty = np.tile(
        np.append(np.full(q - 1, path.model.alpha[0]), 0.0), (n_outputs, 1)
    )
    w = path.iterate.astype(np.longdouble)
    weight = np.ones(len(X)) if weight is None else weight
    for _ in range(6):
        raw = design @ w.T
        raw -= raw.max(axis=1, keepdims=True)
        p = np.exp(raw)
        p /= p.sum(axis=1, keepdims=True)
        residual = p.copy()
        own = np.arange(len(y)), y
        residual[own] = 0.0
        residual[own] = -residual.sum(axis=1)
        gradient = (weight * residual.T) @ design + penalty * w
        gradient = path.model.loss.to_coordinates(gradient.astype(float)).reshape(1, -1)
        step = path.curvature.hessian.solve(gradient)
        w = w - path.model.loss.to_outputs(step.reshape(-1, q))
    return w


def test_bounds_hold_for_several_classes_that_are_certain():
    # The probability of a row's own class, minus one, has no digits there.
    n_bounds = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((40, 50)), np.arange(40) % 3
        model = DeltaGradLogisticRegression(C=1e8, edit_tol=1e-8).fit(X, y)
        model.unlearn(position=0)
        report = model.update_report_
        if report.distance_bound is None:
            continue
        n_bounds += 1
        away = model._engine.iterate - _truth(X[1:], y[1:], model)
        assert _norm(model, away) <= report.distance_bound
    assert n_bounds >= 6


def test_what_a_purge_predicted_is_measured_where_the_curvature_is_made_again():
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((60, 3)), rng.integers(2, size=60)
    weight = np.where(np.arange(60) < 40, 1e-14, 1.0)
    model = DeltaGradLogisticRegression(edit_tol=1e-6)
    model.fit(X, y, sample_weight=weight).unlearn(position=59).purge()
    assert model._engine.curvature.uncertainty > 0.0
    model.unlearn(position=range(40))  # more rows than stay
    assert model._engine.curvature.uncertainty == 0.0
    assert model.update_report_.n_passes >= 1.0


@pytest.mark.parametrize("heavy", [1e3, 1e7])
def test_totals_of_classes_have_all_digits_next_to_a_row_that_left(heavy):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 3)), rng.integers(2, size=200)
    weight = rng.uniform(0.1, 2.0, 200)
    weight[0] = heavy
    model = DeltaGradLogisticRegression(class_weight="balanced")
    model.fit(X, y, sample_weight=weight).unlearn(position=0)
    model.unlearn(position=range(5, 20))
    left = np.setdiff1d(np.arange(1, 200), np.arange(5, 20))
    exact = np.bincount(y[left], weight[left])
    assert_allclose(model._engine.row_counts.weight[0], exact, rtol=1e-14)
