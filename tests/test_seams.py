"""The seams of the package: what a new loss and a new source of rows have to provide.

A loss provides its derivatives and its facts. A source of rows provides the sums of
`AbstractDataTerm`. Losses that the package does not know are given to its solvers by a
subclass of an estimator.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.optimize import minimize
from sklearn.linear_model import PoissonRegressor
from test_recipes import PlainPoissonLoss

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, inspection
from skdeltagrad._data.storage import store
from skdeltagrad._engine import Model
from skdeltagrad._estimators.targets import Targets
from skdeltagrad._objective.data_term import AbstractDataTerm, DataTerm, Measurement
from skdeltagrad._objective.losses import AbstractLoss


class ExponentialLoss(PlainPoissonLoss):
    """The loss of the contributing page, if it stated no facts."""

    self_concordance = None


class WithLoss(DeltaGradRidge):
    """A model of one target and a loss of its own."""

    loss = None

    def _targets(self, y):
        model = Model(self.loss, np.full(1, float(self.alpha)))
        return Targets(y, np.ones(len(y)), model)


class Exponential(WithLoss):
    loss = ExponentialLoss(1)


def counts(n_rows, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, 3))
    return X, rng.poisson(np.exp(X @ [0.3, -0.2, 0.1] + 0.5)).astype(float)


@pytest.mark.parametrize("curvature", ["exact", "diagonal"])
@pytest.mark.parametrize("n_rows", [400, 20_000])
def test_a_loss_of_numbers_has_no_groups(n_rows, curvature):
    """A fit of many rows begins with a sample of them, drawn by group."""
    X, y = counts(n_rows)
    model = Exponential(curvature=curvature, tol=1e-10, edit_tol=1e-8).fit(X, y)
    model.unlearn(position=range(7))
    expected = PoissonRegressor(alpha=1.0 / (n_rows - 7), tol=1e-10, max_iter=1000)
    expected.fit(X[7:], y[7:])
    assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    assert_allclose(model.intercept_, expected.intercept_, rtol=1e-6)
    if curvature == "exact":
        assert "self-concordant" in model.update_report_.no_bound


def test_without_a_smoothness_constant_there_is_no_automatic_learning_rate():
    X, y = counts(400)
    with pytest.raises(ValueError, match=r'no learning_rate="auto" for this loss'):
        Exponential(solver="gd").fit(X, y)


# A loss whose second derivative depends on the target, and is zero in the tails.


class HuberLoss(AbstractLoss):
    """``r^2 / 2`` for residuals up to delta, and a line beyond."""

    delta = 1.35
    curvature_bound = 1.0
    gradient_bound = delta

    def differentiate(self, raw, y, weight, indices):
        raw -= y[indices]
        np.clip(raw, -self.delta, self.delta, out=raw)
        raw *= weight[indices, np.newaxis]

    def evaluate(self, raw, y, weight, indices):
        size = np.abs(raw - y[indices])
        inner = np.minimum(size, self.delta)
        total = np.sum(weight[indices, np.newaxis] * inner * (size - inner / 2))
        self.differentiate(raw, y, weight, indices)
        return total

    def second_derivatives(self, raw, y):
        return self.hessian_state(raw, y)[:, :, np.newaxis]

    def hessian_state(self, raw, y):
        return (np.abs(raw - y) <= self.delta).astype(float)

    def hessian_product(self, along, state):
        along *= state


class Huber(WithLoss):
    loss = HuberLoss(1)


def heavy_tailed(n_rows=600, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, 4))
    y = X @ [1.0, -2.0, 0.5, 0.0] + 3.0 + rng.standard_t(1.5, n_rows)
    return X, y, rng.uniform(0.5, 2.0, n_rows)


def huber_optimum(X, y, weight, alpha=1.0):
    """By SciPy."""
    design, delta = np.column_stack([X, np.ones(len(X))]), HuberLoss.delta

    def objective(w):
        residual = design @ w - y
        size = np.abs(residual)
        losses = np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))
        slope = design.T @ (weight * np.clip(residual, -delta, delta))
        slope[:-1] += alpha * w[:-1]
        return weight @ losses + alpha / 2 * w[:-1] @ w[:-1], slope

    found = minimize(
        objective, np.zeros(design.shape[1]), jac=True, method="BFGS",
        options={"gtol": 1e-7, "maxiter": 1000},
    )  # fmt: skip
    return found.x[:-1], found.x[-1]


def assert_optimal(model, *rows):
    coef, intercept = huber_optimum(*rows)
    assert_allclose(model.coef_, coef, rtol=0, atol=1e-6)
    assert_allclose(model.intercept_, intercept, rtol=0, atol=1e-6)


@pytest.mark.parametrize("curvature", ["exact", "diagonal"])
def test_huber_follows_its_optimum_without_a_certificate(curvature):
    X, y, weight = heavy_tailed()
    model = Huber(curvature=curvature, tol=1e-10, edit_tol=1e-8).fit(X, y, weight)
    assert_optimal(model, X, y, weight)
    model.unlearn(position=range(10))
    assert_optimal(model, X[10:], y[10:], weight[10:])
    assert model.update_report_.distance_bound is None
    if curvature == "exact":
        assert "self-concordant" in model.update_report_.no_bound
    model.partial_refit(X[:20], y[:20] + 1, sample_weight=weight[:20])
    model.partial_refit(remove_position=range(10, 100))
    left = np.r_[100:600, 0:20]
    y[:20] += 1
    assert_optimal(model, X[left], y[left], weight[left])
    model.purge()
    assert model.purged_ == "yes"
    assert_optimal(model, X[left], y[left], weight[left])


def test_models_without_a_row_of_huber_are_near_their_optima():
    X, y, weight = heavy_tailed(60)
    model = Huber(tol=1e-10).fit(X, y, weight)
    left = inspection.leave_one_out(model, return_coef=True)
    assert np.isinf(left.error).all()  # of which nothing is certain
    coef = [
        huber_optimum(*(np.delete(a, row, axis=0) for a in (X, y, weight)))[0]
        for row in range(60)
    ]
    moved = np.linalg.norm(coef - model.coef_)
    assert np.linalg.norm(left.coef - coef) < 0.2 * moved


@pytest.mark.parametrize("parameters", [{"edit_tol": 1e-5}, {"period": 5}], ids=str)
def test_huber_is_replayed(parameters):
    X, y, weight = heavy_tailed()
    model = Huber(solver="gd", max_iter=400, **parameters).fit(X, y, weight)
    assert_optimal(model, X, y, weight)
    model.unlearn(position=range(3))
    assert_optimal(model, X[3:], y[3:], weight[3:])


def test_huber_is_replayed_on_batches():
    X, y, weight = heavy_tailed()
    replayed, retrained = (
        Huber(
            solver="sgd", max_iter=40, batch_size=100, random_state=0, period=period
        ).fit(X, y, weight)
        for period in ("auto", 1)
    )
    before = replayed.coef_
    replayed.unlearn(position=range(3))
    retrained.unlearn(position=range(3))
    moved = np.linalg.norm(retrained.coef_ - before)
    assert np.linalg.norm(replayed.coef_ - retrained.coef_) < 0.02 * moved


@np.errstate(over="ignore", invalid="ignore")
def test_steps_that_overflow_lead_to_a_fit():
    """The curvature of an earlier edit is kept, and a step leads where exp is inf."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 2)), np.zeros(60)
    y[:3] = 1.0
    model = Exponential(alpha=1e-3, tol=1e-10).fit(X, y)
    model.partial_refit(X[:1], [1.0])
    model.partial_refit(X[:20], np.full(20, 1e4))
    assert model.update_report_.refit
    X, y = X[[*range(60), 0, *range(20)]], np.r_[y, 1.0, np.full(20, 1e4)]
    expected = PoissonRegressor(
        alpha=1e-3 / 81, tol=1e-6, max_iter=1000, solver="newton-cholesky"
    )
    expected.fit(X, y)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    assert_allclose(model.intercept_, expected.intercept_, rtol=1e-6)


# Rows in several places, of which the engines see sums.


class PartitionedDataTerm(AbstractDataTerm):
    """Rows in n parts: storage index i is row i // n of part i % n."""

    def __init__(self, n_parts, rows, *others):
        super().__init__(rows.n_features, *others)
        every = np.arange(len(rows))
        self.n_parts = n_parts
        self.stored = [store(rows.read(every[k::n_parts])) for k in range(n_parts)]

    def parts(self, indices):
        """Iterate over the parts, with places in `indices` and indices in the part."""
        for k, rows in enumerate(self.stored):
            y, weight, group = (
                None if column is None else column[k :: self.n_parts].copy()
                for column in (self.y, self.weight, self.group)
            )
            part = DataTerm(
                rows, y, weight, self.loss, self.centre, group, self.n_groups
            )
            places = np.flatnonzero(indices % self.n_parts == k)
            yield part, places, indices[places] // self.n_parts

    def of_parts(self, method, indices, *arguments):
        return [
            getattr(part, method)(*arguments, mine)
            for part, _, mine in self.parts(indices)
        ]

    def of_rows(self, out, indices, method):
        for part, places, mine in self.parts(indices):
            out[places] = method(part, mine)
        return out

    def measure(self, iterate, indices, origin=None):
        distances = None if origin is None else np.empty(len(indices))
        measured = []
        for part, places, mine in self.parts(indices):
            measured.append(part.measure(iterate, mine, origin))
            if origin is not None and len(mine):
                distances[places] = measured[-1].distances
        return Measurement(
            sum(one.loss_sums for one in measured),
            sum(one.gradient_sums for one in measured),
            distances,
        )

    def add_gradient_sums(self, iterate, indices, sums_out, sign=1.0):
        for part, _, mine in self.parts(indices):
            part.add_gradient_sums(iterate, mine, sums_out, sign)

    def gradient_change(self, anchor, drift, indices):
        return sum(self.of_parts("gradient_change", indices, anchor, drift))

    def add_hessian_sums(self, iterate, indices, sums_out, factor):
        for part, places, mine in self.parts(indices):
            part.add_hessian_sums(iterate, mine, sums_out, factor[places])

    def hessian_states(self, iterate, indices):
        return self.of_parts("hessian_states", indices, iterate)

    def hessian_products(self, states, iterate, direction, indices):
        return sum(
            part.hessian_products(state, iterate, direction, mine)
            for state, (part, _, mine) in zip(states, self.parts(indices), strict=True)
        )

    def hessian_diagonals(self, iterate, indices):
        return sum(self.of_parts("hessian_diagonals", indices, iterate))

    def second_derivative_sums(self, iterate, indices):
        return sum(self.of_parts("second_derivative_sums", indices, iterate))

    def second_moments(self, indices):
        return sum(self.of_parts("second_moments", indices))

    def column_squares(self, indices):
        return sum(self.of_parts("column_squares", indices))

    def column_sums(self, indices):
        return tuple(map(sum, zip(*self.of_parts("column_sums", indices), strict=True)))

    def raw_predictions(self, directions, indices):
        return self.of_rows(
            np.empty((len(indices), len(directions))), indices,
            lambda part, mine: part.raw_predictions(directions, mine),
        )  # fmt: skip

    def squared_distances(self, indices, centre=None, scale=None):
        return self.of_rows(
            np.empty(len(indices)), indices,
            lambda part, mine: part.squared_distances(mine, centre, scale),
        )  # fmt: skip

    def extended(self, indices):
        return self.of_rows(
            np.empty((len(indices), self.n_dof)), indices,
            lambda part, mine: part.extended(mine),
        )  # fmt: skip

    def work_per_row(self, indices):
        work = sum(
            len(mine) * part.work_per_row(mine)
            for part, _, mine in self.parts(indices)
            if len(mine)
        )
        return work / len(indices)

    @property
    def entry_cost(self):
        return self.stored[0].entry_cost


def partitioned(n_parts):
    """Return a replacement of `Model.data_term`."""

    def data_term(model, training_set):
        table = training_set.table
        return PartitionedDataTerm(
            n_parts, training_set.rows, table.y, table.weight, model.loss, model.centre,
            table.y if model.n_groups > 1 else None, model.n_groups,
        )  # fmt: skip

    return data_term


SOLVERS = {
    "exact Hessian": {"curvature": "exact"},
    # Conjugate gradients multiply rounding, so that their sums must be nearly exact.
    "products": {"curvature": "diagonal", "tol": 1e-13, "edit_tol": 1e-12},
    "Kronecker": {"curvature": "kronecker", "tol": 1e-13, "edit_tol": 1e-12},
    "gd auto": {"solver": "gd", "max_iter": 60},
    "gd periodic": {"solver": "gd", "max_iter": 60, "period": 5},
    "sgd auto": {"solver": "sgd", "max_iter": 30, "batch_size": 200},
    "sgd periodic": {"solver": "sgd", "max_iter": 30, "batch_size": 200, "period": 5},
}
FACES = {
    "ridge": (DeltaGradRidge, 0, {}),
    "two classes": (DeltaGradLogisticRegression, 2, {}),
    "three classes": (DeltaGradLogisticRegression, 3, {}),
    "balanced": (DeltaGradLogisticRegression, 3, {"class_weight": "balanced"}),
}


def edited(face, solver, is_sparse):
    """Yield coefficients and numbers of passes of a fit and of some edits."""
    estimator, n_classes, parameters = FACES[face]
    rng = np.random.default_rng(7)
    X = rng.standard_normal((1500, 6)) + 1.0
    X[rng.random(X.shape) < 0.5 * is_sparse] = 0.0
    score = X @ rng.standard_normal((6, max(n_classes, 1)))
    score += rng.gumbel(size=score.shape)
    y = score.argmax(axis=1) if n_classes else score[:, 0]
    given = sparse.csr_matrix(X) if is_sparse else X
    if "solver" in SOLVERS[solver]:
        parameters = parameters | {"random_state": 0}
    model = estimator(**parameters, **SOLVERS[solver])
    edits = [
        lambda: model.fit(given[:1400], y[:1400]),
        lambda: model.unlearn(position=[3, 700, 701]),
        lambda: model.partial_refit(given[1400:1403], y[1400:1403]),
        lambda: model.partial_refit(
            given[1403:], y[1403:], remove_position=range(800, 880)
        ),
        lambda: model.unlearn(position=range(1000, 1010)),
        lambda: model.purge(),
    ]
    for edit in edits:
        edit()
        coef = np.append(model.coef_, model.intercept_)
        yield coef, model.update_report_.n_passes


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("face", FACES)
def test_engines_see_sums_over_rows_only(face, solver, is_sparse, monkeypatch):
    """Sums of three parts give the same models, and one part the same bits."""
    plain = list(edited(face, solver, is_sparse))
    for n_parts, rtol in (1, 0.0), (3, 1e-12):
        monkeypatch.setattr(Model, "data_term", partitioned(n_parts))
        found = edited(face, solver, is_sparse)
        for (coef, n_passes), (coef_of_parts, n_passes_of_parts) in zip(
            plain, found, strict=True
        ):
            atol = rtol * np.abs(coef).max()
            assert_allclose(coef_of_parts, coef, rtol=0, atol=atol)
            if n_parts == 1:
                assert n_passes_of_parts == n_passes
