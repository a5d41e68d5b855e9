"""Poisson regression, next to scikit-learn and to an optimum in extended precision."""

import warnings

import joblib
import numpy as np
import pytest
from newton_reference import optimum
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import get_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdeltagrad import (
    DeltaGradPoissonRegressor,
    assert_erased,
    inspection,
    save,
)
from skdeltagrad._objective.losses import PoissonLoss
from skdeltagrad._optimum.problem import problem_of
from skdeltagrad._optimum.rounding import Gradient, Noise

TIGHT = {"tol": 1e-10, "edit_tol": 1e-6}
# The checks have columns of integers; a larger step diverges on them.
SLOW = {"learning_rate": 0.005, "max_iter": 1500}


def counts(n_rows=400, n_features=4, seed=0, shift=0.5):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features))
    mean = np.exp(0.4 * X @ rng.standard_normal(n_features) + shift)
    return X, rng.poisson(mean).astype(float), rng.uniform(0.5, 2.0, n_rows)


def exact(X, y, weight, alpha=1.0, fit_intercept=True):
    return PoissonRegressor(
        alpha=alpha / weight.sum(), fit_intercept=fit_intercept,
        tol=1e-10 * max(1.0, y.mean()), max_iter=1000, solver="newton-cholesky",
    ).fit(X, y, sample_weight=weight)  # fmt: skip


def assert_same(model, expected, atol=1e-6):
    assert_allclose(model.coef_, expected.coef_, rtol=0, atol=atol)
    assert_allclose(model.intercept_, expected.intercept_, rtol=0, atol=atol)


@parametrize_with_checks(
    [
        DeltaGradPoissonRegressor(),
        DeltaGradPoissonRegressor(standardize=True),
        DeltaGradPoissonRegressor(solver="gd", **SLOW),
        DeltaGradPoissonRegressor(solver="sgd", random_state=0, **SLOW),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# The optimum, and edits of it.


@pytest.mark.parametrize("storage", [np.asarray, np.float32, sparse.csr_matrix])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("curvature", ["exact", "kronecker", "diagonal"])
def test_it_is_scikit_learns_model_after_fit_and_edits(
    curvature, fit_intercept, storage
):
    X, y, weight = counts()
    if storage is np.float32:
        X = X.astype(np.float32)
    given = sparse.csr_matrix(X) if storage is sparse.csr_matrix else X
    parameters = {"alpha": 3.0, "fit_intercept": fit_intercept}
    model = DeltaGradPoissonRegressor(curvature=curvature, **parameters, **TIGHT)
    model.fit(given, y, sample_weight=weight)
    X = X.astype(float)
    assert_same(model, exact(X, y, weight, **parameters))
    model.unlearn(position=range(9))
    assert_same(model, exact(X[9:], y[9:], weight[9:], **parameters))
    model.unlearn(given[9:12], y[9:12], sample_weight=weight[9:12])
    model.partial_refit(given[:5], y[:5] + 2.0, sample_weight=weight[:5])
    model.partial_refit(
        given[5:7], y[5:7], sample_weight=weight[5:7], position=[20, 21], replace=True
    )
    left = np.r_[12:20, 5:7, 22:400, 0:5]
    y = y.copy()
    y[:5] += 2.0
    assert_same(model, exact(X[left], y[left], weight[left], **parameters))
    model.purge()
    assert_same(model, exact(X[left], y[left], weight[left], **parameters))


def test_small_edits_make_no_pass_and_have_a_bound():
    X, y, _ = counts(20_000)
    model = DeltaGradPoissonRegressor().fit(X, y)
    report = model.unlearn(position=[1, 2]).unlearn(position=3).update_report_
    assert report.n_passes == 0
    assert report.relative_bound < 1e-2


def test_a_model_with_standardised_columns_is_that_of_a_pipeline():
    X, y, weight = counts()
    X *= [1.0, 10.0, 0.1, 3.0]
    model = DeltaGradPoissonRegressor(standardize=True, **TIGHT)
    model.fit(X, y, weight).unlearn(position=range(7))
    X, y, weight = X[7:], y[7:], weight[7:]
    scaler = StandardScaler().fit(X, sample_weight=weight)
    expected = make_pipeline(scaler, exact(scaler.transform(X), y, weight))
    assert_allclose(model.predict(X), expected.predict(X), rtol=1e-6)
    assert_allclose(model.to_sklearn().predict(X), expected.predict(X), rtol=1e-6)


def test_rows_of_no_weight_do_not_count_whatever_they_are():
    X, y, weight = counts()
    far = np.concatenate([X, 1e6 * np.ones((1, 4))])
    model = DeltaGradPoissonRegressor(**TIGHT)
    model.fit(far, np.append(y, 5.0), np.append(weight, 0.0))
    assert_same(model, exact(X, y, weight))
    model.unlearn(position=range(9))
    assert_same(model, exact(X[9:], y[9:], weight[9:]))


@pytest.mark.parametrize("shift", [-6.0, 7.0, 15.0])
def test_targets_of_any_size(shift):
    X, y, weight = counts(shift=shift)
    model = DeltaGradPoissonRegressor().fit(X, y, weight).unlearn(position=range(5))
    expected = exact(X[5:], y[5:], weight[5:])
    assert_same(model, expected, atol=1e-4)
    assert_same(model.purge(), expected)


def test_steps_that_overflow_are_halved_without_a_warning():
    """Without an intercept the first step goes far beyond what exp can take."""
    X, y, _ = counts(shift=12.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = DeltaGradPoissonRegressor(fit_intercept=False, **TIGHT).fit(X, y)
        best = model.coef_
        design, target = X.astype(np.longdouble), y.astype(np.longdouble)
        raw = design @ best
        slope = design.T @ (np.exp(raw) - target) + best
        assert np.abs(slope).max() < 1e-9 * np.abs(design.T @ target).max()
        assert_array_equal(model.predict(1e4 * X[:3]) >= 0, True)  # maybe infinite


def test_edits_that_overflow_lead_to_a_fit():
    """A step from the curvature that is kept, and a row where exp is infinite."""
    X, y = counts(60, 2)[:2]
    y[:] = 0.0
    y[:3] = 1.0
    model = DeltaGradPoissonRegressor(1e-3, **TIGHT).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_refit(X[:1], [1.0])
        model.partial_refit(X[:20], np.full(20, 1e4))
        assert model.update_report_.refit
        X, y = X[[*range(60), 0, *range(20)]], np.r_[y, 1.0, np.full(20, 1e4)]
        assert_same(model, exact(X, y, np.ones(81), alpha=1e-3))
        far = 1e3 * model.coef_[np.newaxis] / np.linalg.norm(model.coef_) ** 2
        model.partial_refit(far, [0.0])
        assert model.update_report_.refit
        X, y = np.concatenate([X, far]), np.append(y, 0.0)
        assert_allclose(model.score(X, y), exact(X, y, np.ones(82), 1e-3).score(X, y))


# The certificate.


class Adversary:
    """Rows and edits that make a step mispredict as much as it can."""

    def __init__(self, rng):
        self.rng = rng
        n_features = int(rng.integers(1, 6))
        self.scale = rng.choice([0.1, 0.5, 1.5])
        self.offset = rng.choice([0.0, 0.0, 30.0])
        self.shift = rng.choice([-3.0, 0.0, 5.0])
        self.coef = rng.standard_normal(n_features) * rng.choice([0.1, 0.7])
        self.weighted = rng.random() < 0.5
        self.X, self.y, self.weight = self.draw(int(rng.integers(20, 100)))
        self.y[0] += 1.0
        self.model = DeltaGradPoissonRegressor(
            float(rng.choice([1e-3, 1.0, 100.0])), edit_tol=5.0
        ).fit(self.X, self.y, self.weight)

    def draw(self, n_rows):
        X = self.scale * self.rng.standard_t(4.0, (n_rows, len(self.coef)))
        raw = np.minimum(X @ self.coef + self.shift, 12.0)
        weight = np.ones(n_rows)
        if self.weighted:
            weight = 10.0 ** self.rng.uniform(-2, 2, n_rows)
        return X + self.offset, self.rng.poisson(np.exp(raw)).astype(float), weight

    def edit(self):
        kind = self.rng.integers(4)
        n_rows = int(self.rng.integers(1, max(2, len(self.y) // 5)))
        removed = self.rng.permutation(len(self.y))[:n_rows]
        if kind == 1:
            removed = np.argsort(-self.y)[:n_rows]
        elif kind == 2:
            removed = np.argsort(-np.abs(self.X - self.offset).max(axis=1))[:n_rows]
        if not np.delete(self.y, removed).any():
            removed = removed[:0]
        X, y, weight = self.draw(n_rows)
        if kind == 3:  # far more than the model expects
            y = np.ceil(5.0 * y) + 3.0
        table = self.model._training_set.table
        live = np.flatnonzero(table.position >= 0)
        position = np.sort(table.position[live])[removed]
        self.model.partial_refit(X, y, sample_weight=weight, remove_position=position)
        stay = np.delete(np.arange(len(self.y)), removed)
        self.X = np.concatenate([self.X[stay], X])
        self.y = np.concatenate([self.y[stay], y])
        self.weight = np.concatenate([self.weight[stay], weight])

    def of_rows(self, raw):
        mean = np.exp(raw)
        return mean - self.y * raw, mean - self.y, mean

    def ratio(self):
        """The true distance and change of decisions next to their bounds."""
        report, engine = self.model.update_report_, self.model._engine
        if report.distance_bound is None:
            return None
        X = np.column_stack([self.X - engine.model.centre, np.ones(len(self.y))])
        penalty = np.append(np.full(len(self.coef), self.model.alpha), 0.0)
        w = engine.iterate[0]
        best = optimum(X, self.weight, penalty, self.of_rows, w)
        away = (w - best).astype(float)
        slack = 1e-13 * np.abs(w).max()  # of the reference
        change = np.abs(X @ away).max() - slack * np.abs(X).max()
        hessian = engine.curvature.hessian
        distance = hessian.norm(away[np.newaxis]) - slack * hessian.spreads().max()
        return max(distance / report.distance_bound, change / report.decision_bound)


def ratios(n_edits, seed):
    rng, found = np.random.default_rng(seed), []
    while len(found) < n_edits:
        adversary = Adversary(rng)
        for _ in range(6):
            adversary.edit()
            found.append(adversary.ratio())
    return np.array([ratio for ratio in found if ratio is not None])


@pytest.mark.filterwarnings("ignore")
def test_bounds_hold_against_an_adversary():
    found = ratios(1400, seed=0)
    assert len(found) >= 1000
    assert found.max() <= 1.0 + 1e-6


@pytest.mark.filterwarnings("ignore")
def test_bounds_would_fail_if_the_constant_were_smaller(monkeypatch):
    monkeypatch.setattr(PoissonLoss, "self_concordance", 0.1)
    found = ratios(150, seed=0)
    assert (found > 1.0).any()


# Rounding.


@pytest.mark.parametrize("kernel", ["differentiate", "evaluate"])
def test_rounding_of_derivatives_is_at_most_its_bound(kernel):
    rng = np.random.default_rng(0)
    n_rows = 20_000
    raw = rng.uniform(-30.0, 30.0, (n_rows, 1))
    y = rng.poisson(np.minimum(np.exp(raw + rng.normal(size=raw.shape)), 1e15))
    y = y.astype(float)
    y[::7] = 0.0
    everything, weight = np.arange(n_rows), np.ones(n_rows)
    loss, found = PoissonLoss(), raw.copy()
    getattr(loss, kernel)(found, y, weight, everything)
    mean, target = np.exp(raw.astype(np.longdouble)), y.astype(np.longdouble)
    value = mean.copy()
    positive = target > 0
    value[positive] -= target[positive] * (raw[positive] - np.log(target[positive]))
    derivative = mean - target
    allowed = loss.gradient_per_loss * value
    assert (np.abs(derivative) <= allowed).all()
    # An exponential is within a unit in the last place, which is two roundoffs.
    assert (np.abs(found - derivative) <= np.finfo(float).eps * allowed).all()


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("shift", [-2.0, 3.0, 12.0])
def test_noise_is_at_least_the_rounding_of_a_gradient(shift, offset):
    """Of all rows, and of a few, in the norm that bounds are in."""
    X, y, weight = counts(shift=shift)
    model = DeltaGradPoissonRegressor().fit(X + offset, y, weight)
    engine = model.unlearn(position=0)._engine
    X, y, weight = X[1:] + offset, y[1:], weight[1:]
    table = model._training_set.table
    problem = problem_of(engine.model, model._training_set, table.live_indices())
    iterate = engine.iterate
    design = np.column_stack([X - engine.model.centre, np.ones(len(y))])
    design = design.astype(np.longdouble)
    residual = np.exp(design @ iterate[0]) - y
    true = (weight * residual) @ design
    measured = problem.measure(iterate)
    error = (measured.gradient_sums[0, 0] - true).astype(float)[np.newaxis]
    curvature = engine.curvature
    reference = problem.vectors(iterate)
    noise = Noise(problem.noise(measured), curvature.noise_of_predictions(reference))
    gradient = problem.gradient(measured.gradient_sums, iterate)
    allowed = curvature.rounding(Gradient(gradient, noise, reference))
    assert curvature.hessian.dual_norm(error) <= allowed


# What is refused.


@pytest.mark.parametrize(
    "solver", [{}, {"solver": "gd", "learning_rate": 0.1, "max_iter": 5}]
)
def test_edits_that_leave_no_model_change_nothing(solver, contents):
    X, y = counts(30)[:2]
    y[:] = 0.0
    y[3] = y[4] = 2.0
    weight = np.ones(30)
    weight[4] = 0.0
    model = DeltaGradPoissonRegressor(**solver)
    with pytest.raises(ValueError, match="no optimum"):
        model.fit(X, 0.0 * y)
    model.fit(X, y, weight)
    before = contents(model)
    with pytest.raises(ValueError, match="no optimum"):
        model.unlearn(position=3)
    with pytest.raises(ValueError, match="no optimum"):
        model.plan_unfit(position=3)
    with pytest.raises(ValueError, match="no optimum"):
        model.partial_refit(X[:1], [0.0], position=3, replace=True)
    with pytest.raises(ValueError, match="no optimum"):
        model.partial_refit(X[:1], [9.0], sample_weight=[0.0], remove_position=3)
    with pytest.raises(ValueError, match="0 or more"):
        model.partial_refit(X[:1], [-1.0])
    with pytest.raises(ValueError, match="NaN"):
        model.partial_refit(X[:1], [np.nan])
    assert contents(model) == before
    model.partial_refit(X[:1], [1.0], position=3, replace=True)
    assert model._n_positive == 1
    DeltaGradPoissonRegressor(fit_intercept=False, **solver).fit(X, 0.0 * y)


def test_targets_that_are_no_counts_are_refused():
    X, y = counts(30)[:2]
    model = DeltaGradPoissonRegressor()
    with pytest.raises(ValueError, match="0 or more.* -0.5"):
        model.fit(X, np.where(np.arange(30) == 3, -0.5, y))
    with pytest.raises(ValueError, match="infinity"):
        model.fit(X, np.where(np.arange(30) == 3, np.inf, y))
    with pytest.raises(ValueError, match="1d"):
        model.fit(X, np.column_stack([y, y]))
    model.fit(X, y + 0.25)  # frequencies need not be whole


@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_there_is_no_automatic_learning_rate(solver):
    X, y = counts(30)[:2]
    with pytest.raises(ValueError, match="its second derivative is unbounded"):
        DeltaGradPoissonRegressor(solver=solver).fit(X, y)


# The face.


def test_predictions_and_scores_are_those_of_scikit_learn():
    X, y, weight = counts()
    model = DeltaGradPoissonRegressor(2.0, **TIGHT).fit(X, y, weight)
    model.unlearn(position=range(7))
    expected = exact(X[7:], y[7:], weight[7:], alpha=2.0)
    theirs = model.to_sklearn()
    assert_allclose(theirs.alpha, expected.alpha, rtol=1e-14)
    assert_allclose(model.predict(X), np.exp(X @ model.coef_ + model.intercept_))
    for other in (expected, theirs):
        assert_allclose(model.predict(X), other.predict(X), rtol=1e-6)
        ours = model.score(X, y), model.score(X, y, sample_weight=weight)
        assert_allclose(ours, [other.score(X, y), other.score(X, y, weight)], rtol=1e-6)
    assert clone(model).fit(X, y).score(X, y) > 0.1
    assert_same(theirs.fit(X[7:], y[7:], weight[7:]), expected, atol=1e-3)


@pytest.mark.parametrize("dump", [save, joblib.dump])
def test_a_dump_follows_edits(dump, tmp_path):
    X, y = counts()[:2]
    model = DeltaGradPoissonRegressor(**TIGHT).fit(X, y).unlearn(position=3).purge()
    file = tmp_path / "model.joblib"
    dump(model, file)
    loaded = joblib.load(file)
    assert_array_equal(loaded.coef_, model.coef_)
    assert_array_equal(
        loaded.unlearn(position=5).coef_, model.unlearn(position=5).coef_
    )


def test_nothing_is_left_of_a_removed_row_after_a_purge():
    X, y = counts()[:2]
    model = DeltaGradPoissonRegressor().fit(X, y).unlearn(position=[3, 5])
    model.purge()
    assert model.purged_ == "yes"
    assert_erased(model, X[[3, 5]])
    assert_array_equal(
        model.purge(exact=True).coef_,
        DeltaGradPoissonRegressor().fit(*_without(X, y)).purge(exact=True).coef_,
    )


def _without(X, y):
    stay = np.delete(np.arange(len(y)), [3, 5])
    return X[stay], y[stay]


def test_rows_leave_a_model_that_does_not_store_them():
    X, y, weight = counts(2000)
    model = DeltaGradPoissonRegressor(store_data=False).fit(X, y, weight)
    model.unlearn(X[:3], y[:3], sample_weight=weight[:3])
    assert model.update_report_.relative_bound < 1e-2
    assert_same(model, exact(X[3:], y[3:], weight[3:]), atol=1e-5)
    assert_allclose(model.to_sklearn().alpha, 1.0 / weight[3:].sum())
    with pytest.raises(ValueError, match="not among"):
        model.unlearn(X[5:6], y[5:6] + 1.0, sample_weight=weight[5:6])
    model.purge()
    assert_same(model, exact(X[3:], y[3:], weight[3:]), atol=1e-5)


# Replays.


@pytest.mark.parametrize(
    "solver",
    [
        {"solver": "gd", "max_iter": 100, "learning_rate": 0.02},
        {"solver": "sgd", "max_iter": 20, "batch_size": 200, "learning_rate": 0.01},
    ],
)
@pytest.mark.parametrize(("period", "tolerance"), [("auto", 0.02), (5, 0.15)])
def test_a_replay_follows_an_exact_retraining(period, tolerance, solver):
    X, y, weight = counts(2000)
    replayed, retrained = (
        DeltaGradPoissonRegressor(random_state=0, period=some, **solver)
        for some in (period, 1)
    )
    replayed.fit(X, y, weight)
    retrained.fit(X, y, weight)
    before = retrained.coef_
    assert_array_equal(replayed.coef_, before)
    for edit in (
        lambda model: model.unlearn(position=range(9)),
        lambda model: model.partial_refit(X[:2], y[:2] + 3, sample_weight=weight[:2]),
    ):
        edit(replayed)
        edit(retrained)
        moved = np.linalg.norm(retrained.coef_ - before)
        off = np.linalg.norm(replayed.coef_ - retrained.coef_)
        assert off < tolerance * moved
    assert_allclose(replayed.purge().coef_, retrained.purge().coef_, atol=1e-12)
    total = weight[9:].sum() + weight[:2].sum()
    assert_allclose(replayed.to_sklearn().alpha, 1.0 / total)


def test_descent_arrives_at_the_optimum():
    X, y, weight = counts()
    model = DeltaGradPoissonRegressor(solver="gd", learning_rate=0.2, max_iter=1000)
    assert_same(model.fit(X, y, weight), exact(X, y, weight))


def test_a_step_that_is_too_long_is_told():
    X, y = counts(shift=8.0)[:2]
    model = DeltaGradPoissonRegressor(solver="gd", learning_rate=1.0)
    with pytest.raises(ValueError, match="learning_rate"):
        model.fit(X, y)


# Inspection.


def refits(X, y, weight, alpha=1.0):
    for row in range(len(y)):
        yield exact(*(np.delete(a, row, axis=0) for a in (X, y, weight)), alpha)


@pytest.mark.parametrize("curvature", ["exact", "diagonal"])
def test_leave_one_out_is_what_refits_give(curvature):
    X, y, weight = counts(50)
    model = DeltaGradPoissonRegressor(tol=1e-10, curvature=curvature)
    model.fit(X, y, weight)
    result = inspection.leave_one_out(model, tol=1e-4, return_coef=True)
    others = list(refits(X, y, weight))
    coef = [other.coef_ for other in others]
    moved = np.linalg.norm(coef - model.coef_, axis=1)
    assert (np.linalg.norm(result.coef - coef, axis=1) <= 1e-3 * moved).all()
    assert (result.error <= 1e-4).all()
    predicted = [other.predict(X[[i]])[0] for i, other in enumerate(others)]
    assert_allclose(result.predictions, predicted, rtol=1e-3)
    assert_allclose(np.exp(result.decision_values), result.predictions)


def test_rows_without_which_there_is_no_optimum():
    X, y, weight = counts(30)
    y[:] = 0.0
    y[3] = y[4] = 2.0
    weight[4] = 0.0
    model = DeltaGradPoissonRegressor().fit(X, y, weight)
    with pytest.warns(FitFailedWarning, match="targets above 0"):
        result = inspection.leave_one_out(model)
    assert np.flatnonzero(np.isnan(result.predictions)).tolist() == [3]
    with pytest.raises(ValueError, match="targets above 0"):
        inspection.jackknife(model)
    model = DeltaGradPoissonRegressor(fit_intercept=False).fit(X, y, weight)
    assert np.isfinite(inspection.leave_one_out(model).predictions).all()


@pytest.mark.parametrize("scoring", [None, "r2", "neg_mean_squared_error"])
def test_data_values_are_differences_of_scores(scoring):
    X, y, weight = counts(40)
    model = DeltaGradPoissonRegressor(tol=1e-10).fit(X, y, weight)
    validation, target, _ = counts(60, seed=0)
    values = inspection.data_values(
        model, validation, target, scoring=scoring, tol=1e-5
    )

    def score(other):
        if scoring is None:
            return other.score(validation, target)
        return get_scorer(scoring)(other, validation, target)

    assert_allclose(values.score, score(model), rtol=1e-6)
    expected = [score(model) - score(other) for other in refits(X, y, weight)]
    spread = np.abs(expected).max()
    assert_allclose(values.values, expected, rtol=0, atol=1e-3 * spread)


def test_intervals_are_of_targets():
    X, y, _ = counts(300)
    model = DeltaGradPoissonRegressor().fit(X[:200], y[:200])
    lower, upper = inspection.jackknife_plus(model, X[200:], alpha=0.2)
    inside = (lower <= y[200:]) & (y[200:] <= upper)
    assert 0.7 < inside.mean() < 0.95
    assert inspection.influential(model, n=5).influence.shape == (5,)


def test_reports_say_what_was_done():
    X, y = counts()[:2]
    model = DeltaGradPoissonRegressor(2.0).fit(X, y).unlearn(position=3)
    report = model.update_report_
    assert report.n_removed == 1
    assert report.parameters["alpha"] == 2.0


@pytest.mark.parametrize("target, weight", [(1e308, 1.0), (1e5, 1e308), (1e300, 1e10)])
def test_a_row_that_makes_the_objective_infinite_is_refused(target, weight):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)), rng.poisson(2.0, 60).astype(float)
    model = DeltaGradPoissonRegressor().fit(X, y)
    before = model.coef_.copy()
    with pytest.raises(ValueError, match="so large that .* nothing is changed"):
        model.partial_refit(X[:1] + 0.01, [target], sample_weight=[weight])
    assert_array_equal(model.coef_, before)
    assert model.unlearn(position=3).update_report_.n_samples == 59


@pytest.mark.parametrize("curvature", ["kronecker", "diagonal"])
@pytest.mark.parametrize("target", [1e3, 1e6])
def test_edits_without_a_hessian_do_not_end_where_the_loss_overflows(curvature, target):
    """A row with a huge count made steps far too long, and their end was taken."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((20, 8)), rng.poisson(2.0, 20).astype(float)
        model = DeltaGradPoissonRegressor(curvature=curvature, max_iter=1000)
        model.fit(X, y)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model.partial_refit(X[:1] + 0.5, [target])
        assert np.isfinite(model.update_report_.gradient_norm)
        if any(one.category is ConvergenceWarning for one in said):
            continue
        fresh = DeltaGradPoissonRegressor(tol=1e-10, max_iter=1000)
        fresh.fit(np.vstack([X, X[:1] + 0.5]), np.append(y, target))
        moved = np.linalg.norm(fresh.coef_)
        assert np.linalg.norm(model.coef_ - fresh.coef_) <= 0.1 * moved


@pytest.mark.parametrize("seed", range(20))
def test_a_row_a_thousand_times_as_large_leads_to_a_fit_or_an_edit(seed):
    """The fourth power of the step to it can overflow."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((60, 4))
    y = rng.poisson(np.exp(0.5 * X[:, 0])).astype(float)
    model = DeltaGradPoissonRegressor(alpha=10.0, **TIGHT).fit(X, y)
    model.unlearn(position=[5])
    model.partial_refit(1000.0 * X[:1], [1.0])
    expected = DeltaGradPoissonRegressor(alpha=10.0, **TIGHT)
    expected.fit(np.vstack([np.delete(X, 5, axis=0), 1000.0 * X[:1]]),
                 np.append(np.delete(y, 5), 1.0))  # fmt: skip
    assert_allclose(model.coef_, expected.coef_, rtol=1e-4, atol=1e-6)
