"""Models without a row or a group, next to scikit-learn's refits on the other rows."""

import io
import tracemalloc
from contextlib import redirect_stdout

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracles import class_weights
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import LeaveOneOut as Splits
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import scale

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad._utils.threads import limit_threads
from skdeltagrad.inspection import (
    data_values,
    influential,
    jackknife,
    jackknife_plus,
    leave_one_out,
)


def targets(n_rows=60, n_features=5, n_targets=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features))
    y = X @ rng.standard_normal((n_features, n_targets))
    y += rng.standard_normal(y.shape) + 3.0
    weight = rng.uniform(0.2, 3.0, n_rows)
    return X, y[:, 0] if n_targets == 1 else y, weight


def labels(n_rows=70, n_features=4, n_classes=2, seed=0):
    X, _, weight = targets(n_rows, n_features, seed=seed)
    rng = np.random.default_rng(seed + 1)
    raw = X @ rng.standard_normal((n_features, n_classes))
    return X, (raw + rng.gumbel(size=raw.shape)).argmax(axis=1), weight


def refits(model, X, y, weight=None, unit=None):
    """scikit-learn's models without each unit."""
    unit = np.arange(len(y)) if unit is None else unit
    for number in np.unique(unit):
        stay = unit != number
        given = None if weight is None else weight[stay]
        other = clone(model)
        if is_classifier(model):
            by_class = class_weights(model.class_weight, y[stay], given)
            other.set_params(class_weight=by_class)
        yield other.fit(X[stay], y[stay], sample_weight=given)


def polished(C=1.0, **kwargs):
    """Logistic regression to the last digits."""
    return LogisticRegression(
        C=C, solver="newton-cholesky", tol=1e-12, max_iter=200, **kwargs
    )


def raw_of(model, X):
    raw = model.predict if isinstance(model, Ridge) else model.decision_function
    return raw(X)


def own_raw(models, X, unit=None):
    """Each row's raw prediction by the model without it."""
    unit = np.arange(X.shape[0]) if unit is None else unit
    found = {}
    for number, model in enumerate(models):
        rows = np.flatnonzero(unit == np.unique(unit)[number])
        found |= dict(zip(rows, raw_of(model, X[rows]), strict=True))
    return np.array([found[row] for row in range(X.shape[0])])


# Ridge is exact.


def test_ridge_is_the_closed_form():
    X, y = load_diabetes(return_X_y=True)
    hat = np.column_stack([np.ones(len(y)), X])
    penalty = np.diag([0.0, *np.full(X.shape[1], 0.1)])
    hat = hat @ np.linalg.solve(hat.T @ hat + penalty, hat.T)
    expected = y - (y - hat @ y) / (1.0 - hat.diagonal())
    found = leave_one_out(DeltaGradRidge(alpha=0.1).fit(X, y))
    assert_allclose(found.predictions, expected, rtol=1e-9)
    assert_allclose(
        found.predictions,
        cross_val_predict(Ridge(alpha=0.1, solver="svd"), X, y, cv=Splits()),
        rtol=1e-9,
    )
    assert_array_equal(found.decision_values, found.predictions)
    assert_array_equal(found.units, np.arange(len(y)))
    assert not found.error.any()


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("storage", [np.asarray, np.float32, sparse.csr_matrix])
@pytest.mark.parametrize("weighted", [True, False])
def test_ridge_equals_refits(fit_intercept, n_targets, storage, weighted):
    X, y, weight = targets(n_targets=n_targets)
    X = X.astype(np.float32).astype(float)
    weight = weight if weighted else None
    alpha = [0.5, 2.0, 0.5][:n_targets] if n_targets > 1 else 0.5
    model = DeltaGradRidge(alpha=alpha, fit_intercept=fit_intercept)
    given = X.astype(np.float32) if storage is np.float32 else storage(X)
    found = leave_one_out(
        model.fit(given, y, sample_weight=weight), X=X[:7], return_coef=True
    )
    theirs = Ridge(np.asarray(alpha), fit_intercept=fit_intercept, solver="cholesky")
    places = list(refits(theirs, X, y, weight))
    assert_allclose(
        found.predictions, own_raw(refits(theirs, X, y, weight), X), rtol=1e-9
    )
    assert len(places) == len(found.coef)
    for number, refit in enumerate(refits(theirs, X, y, weight)):
        assert_allclose(found.coef[number], refit.coef_, rtol=1e-9, atol=1e-11)
        assert_allclose(found.intercept[number], refit.intercept_, rtol=1e-9)
        assert_allclose(found.decision_values_of_X[number], refit.predict(X[:7]))


def test_columns_of_any_scale_and_offset():
    """Against an orthogonal factor of scaled columns: scikit-learn loses digits."""
    X, y, weight = targets()
    offsets, alpha = 10.0 ** np.arange(0, 10, 2), 1e-8
    given = X * 10.0 ** np.arange(-6, 9, 3) + offsets
    found = leave_one_out(DeltaGradRidge(alpha=alpha).fit(given, y, weight))
    half = np.sqrt(weight)
    rows = half[:, np.newaxis] * np.column_stack([given - offsets, np.ones(60)])
    rows = np.vstack([rows, np.sqrt(alpha) * np.eye(6)[:5]])
    basis, _ = np.linalg.qr(rows / np.linalg.norm(rows, axis=0))
    target = np.append(half * y, np.zeros(5))
    residual = (target - basis @ (basis.T @ target))[:60]
    expected = y - residual / half / (1.0 - (basis**2).sum(axis=1)[:60])
    assert_allclose(found.predictions, expected, rtol=1e-9)


def test_a_row_that_is_alone_in_a_direction():
    """Without it hardly anything but the penalty remains there."""
    X, y, _ = targets()
    X = np.column_stack([X, np.zeros((len(X), 2))])
    X[3, -1], X[4:6, -2] = 1e6, 1e4
    found = leave_one_out(DeltaGradRidge(alpha=1e-4).fit(X, y), return_coef=True)
    for number, refit in enumerate(refits(Ridge(alpha=1e-4, solver="svd"), X, y)):
        assert_allclose(found.coef[number], refit.coef_, rtol=1e-7, atol=1e-9)
    assert_allclose(found.coef[3, -1], 0.0, atol=1e-12)


@pytest.mark.parametrize("n_groups", [2, 7, 25])
def test_ridge_without_groups(n_groups):
    """Small ones by Woodbury's identity, large ones by an edit."""
    X, y, weight = targets(n_features=8)
    unit = np.random.default_rng(2).integers(0, n_groups, len(y))
    model = DeltaGradRidge().fit(X, y, weight, sample_id=100 + unit)
    found = leave_one_out(model, groups="sample_id", return_coef=True)
    theirs = list(refits(Ridge(), X, y, weight, unit))
    assert_array_equal(found.units, 100 + np.unique(unit))
    expected = own_raw(refits(Ridge(), X, y, weight, unit), X, unit)
    assert_allclose(found.predictions, expected, rtol=1e-9)
    again = leave_one_out(model, groups=unit.astype(str), return_coef=True)
    assert len(theirs) == len(again.coef)
    order = np.argsort(np.argsort(np.unique(unit).astype(str)))
    assert_allclose(again.coef[order], found.coef, rtol=1e-10)


def test_after_edits_the_current_training_rows_are_left_out():
    X, y, weight = targets()
    model = DeltaGradRidge().fit(X[:50], y[:50], weight[:50])
    model.unlearn(position=[3, 17]).partial_refit(
        X[50:], y[50:], sample_weight=weight[50:]
    )
    live = np.delete(np.arange(60), [3, 17])
    found = leave_one_out(model)
    assert_array_equal(found.positions, live)
    expected = own_raw(refits(Ridge(), X[live], y[live], weight[live]), X[live])
    assert_allclose(found.predictions, expected, rtol=1e-9)


# Log-losses.

MODELS = {
    "binary": (2, {}),
    "three classes": (3, {}),
    "balanced": (2, {"class_weight": "balanced"}),
    "three balanced": (3, {"class_weight": "balanced"}),
    "without intercept": (2, {"fit_intercept": False}),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_log_losses_within_the_bound(name, grouped, weighted):
    n_classes, kwargs = MODELS[name]
    X, y, weight = labels(n_classes=n_classes)
    weight = weight if weighted else None
    unit = np.arange(len(y)) // 4 if grouped else np.arange(len(y))
    model = DeltaGradLogisticRegression(C=3.0, tol=1e-10, **kwargs)
    model.fit(X, y, sample_weight=weight)
    theirs = polished(3.0, **kwargs)
    expected = own_raw(refits(theirs, X, y, weight, unit), X, unit)
    before = model.decision_function(X)
    changes = np.abs(expected - before).max()
    for tol, largest in ((np.inf, 0.3), (0.1, 0.05), (1e-6, 1e-6)):
        found = leave_one_out(model, groups=unit, tol=tol)
        assert np.abs(found.decision_values - expected).max() <= largest * changes
        assert tol == np.inf or found.error.max() <= tol
    codes = (expected > 0).astype(int) if n_classes == 2 else expected.argmax(axis=1)
    assert_array_equal(found.predictions, codes)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_errors_are_bounds(n_classes):
    """Distances in the norm of the Hessian without the row, made here."""
    X, y, weight = labels(n_classes=n_classes)
    model = DeltaGradLogisticRegression(C=3.0, tol=1e-10).fit(X, y, weight)
    rows = np.column_stack([X, np.ones(len(X))])
    start = np.column_stack([model.coef_, model.intercept_])
    raw = rows @ start.T
    p = np.exp(raw - raw.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    if n_classes == 2:
        p = 1.0 / (1.0 + np.exp(-raw))

    def norm(change, weights):
        moved = rows @ change.T
        products = (p * moved**2).sum(axis=1) - (p * moved).sum(axis=1) ** 2
        return np.sqrt(weights @ products + (change[:, :-1] ** 2).sum() / 3.0)

    def changes(found):
        shape = (len(X), *model.coef_.shape)
        intercept = found.intercept.reshape(*shape[:2], 1)
        return np.concatenate([found.coef.reshape(shape), intercept], axis=2) - start

    found = leave_one_out(model, tol=np.inf, return_coef=True)
    far = changes(found) - changes(leave_one_out(model, tol=1e-9, return_coef=True))
    bounded = np.flatnonzero(np.isfinite(found.error))
    assert len(bounded) > len(X) / 2
    for row in bounded:
        weights = np.where(np.arange(len(X)) == row, 0.0, weight)
        fraction = norm(far[row], weights) / norm(changes(found)[row], weights)
        assert fraction <= found.error[row] + 1e-7


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_row_that_holds_the_model_back(n_classes, class_weight):
    """Steps do not arrive where one row is a thousand times the others."""
    X, y, _ = labels(n_classes=n_classes)
    X[3], y[3] = 1e3 * X[3], (y[3] + 1) % n_classes
    model = DeltaGradLogisticRegression(C=10.0, class_weight=class_weight).fit(X, y)
    found = leave_one_out(model, tol=0.01)
    theirs = polished(10.0, class_weight=class_weight)
    stay = np.arange(len(y)) != 3
    expected = theirs.fit(X[stay], y[stay]).decision_function(X[[3]])[0]
    assert_allclose(found.decision_values[3], expected, rtol=0.02)
    assert np.abs(model.decision_function(X[[3]]) - expected).max() > 1.0
    assert found.error[3] <= 0.01


@pytest.mark.parametrize("grouped", [False, True])
def test_any_tolerance_is_reached_with_more_columns_than_rows(grouped):
    """Here every row matters, and some models can only be found by a fit."""
    X, y, _ = labels(n_rows=80, n_features=100)
    unit = np.arange(80) // (20 if grouped else 1)
    model = DeltaGradLogisticRegression(C=100.0, tol=1e-10).fit(X, y)
    expected = own_raw(refits(polished(100.0), X, y, None, unit), X, unit)
    for tol in (0.1, 1e-4, 1e-8):
        found = leave_one_out(model, groups=unit, tol=tol)
        assert found.error.max() <= tol
    assert_allclose(found.decision_values, expected, atol=1e-6 * abs(expected).max())


def test_changes_of_the_log_loss_on_real_rows():
    """The first rows of breast cancer: some move their own log-loss by more than 1."""
    X, y = load_breast_cancer(return_X_y=True)
    X, y = scale(X[:150]), y[:150]
    model = DeltaGradLogisticRegression(tol=1e-10).fit(X, y)
    expected = own_raw(refits(polished(), X, y), X)
    sign = 1 - 2 * y

    def changes(raw):
        loss = np.logaddexp(0, sign * raw)
        return loss - np.logaddexp(0, sign * model.decision_function(X))

    found = leave_one_out(model)
    assert np.corrcoef(changes(found.decision_values), changes(expected))[0, 1] > 0.9999
    assert np.abs(changes(expected)).max() > 1.0


def test_paths_are_replayed():
    X, y, weight = labels(n_rows=30)
    for kwargs in ({"solver": "gd"}, {"solver": "sgd", "batch_size": 8}):
        model = DeltaGradLogisticRegression(max_iter=6, random_state=0, **kwargs)
        model.fit(X, y, weight, sample_id=np.arange(30) // 3)
        found = leave_one_out(model, groups="sample_id", return_coef=True)
        for number in range(10):
            edited = joblib.hash(model)
            again = DeltaGradLogisticRegression(max_iter=6, random_state=0, **kwargs)
            again.fit(X, y, weight, sample_id=np.arange(30) // 3)
            again.unlearn(sample_id=number)
            assert_allclose(found.coef[number], again.coef_[0], rtol=1e-12)
            assert_allclose(found.intercept[number], again.intercept_[0], rtol=1e-9)
            assert joblib.hash(model) == edited


def test_paths_with_a_column_that_is_centred_again():
    X, y, _ = targets(n_rows=12, n_features=2)
    X[:, 0] = 1e3 + np.linspace(0.0, 1.0, 12)
    X[0, 0] = 3e3
    model = DeltaGradRidge(solver="gd", max_iter=5).fit(X, y)
    found = leave_one_out(model, return_coef=True)
    again = DeltaGradRidge(solver="gd", max_iter=5).fit(X, y).unlearn(position=0)
    assert "is centred elsewhere" in again.update_report_.reason
    assert_allclose(found.coef[0], again.coef_, rtol=1e-10)
    assert_allclose(found.intercept[0], again.intercept_, rtol=1e-10)


def test_hessian_checkpoints_are_computed_once(replay_always, monkeypatch):
    from skdeltagrad._path import engine

    X, y, _ = labels(n_rows=16)
    model = DeltaGradLogisticRegression(solver="gd", max_iter=20).fit(X, y)
    build, calls = engine.Checkpoints.build, []
    monkeypatch.setattr(
        engine.Checkpoints,
        "build",
        lambda *args: calls.append(1) or build(*args),
    )
    found = leave_one_out(model, return_coef=True)
    assert len(calls) == 1
    edited = DeltaGradLogisticRegression(solver="gd", max_iter=20).fit(X, y)
    edited.unlearn(position=5)
    assert_allclose(found.coef[5], edited.coef_[0], rtol=1e-9)
    assert_allclose(found.error[5], edited.update_report_.error_estimate, rtol=1e-6)


def test_without_a_hessian(monkeypatch):
    """By conjugate gradients, where a Hessian would not fit."""
    from skdeltagrad.inspection import _driver

    monkeypatch.setattr(_driver, "cheapest_curvature", lambda *_: "diagonal")
    X, y, _ = labels(n_rows=40)
    model = DeltaGradLogisticRegression(curvature="diagonal", edit_tol=1e-6)
    found = leave_one_out(model.fit(X, y))
    assert_allclose(
        found.decision_values, own_raw(refits(polished(), X, y), X), rtol=1e-4
    )
    assert np.isinf(found.error).all()


# Statistics.


def test_jackknife_equals_a_loop():
    X, y, weight = targets()
    weight[7] = 0.0  # does not count as a row
    model = DeltaGradRidge().fit(X, y, weight)
    found = jackknife(model)
    theirs = [
        np.append(refit.coef_, refit.intercept_)
        for refit in refits(Ridge(), X, y, weight)
    ]
    theirs = np.delete(theirs, 7, axis=0)
    n, estimate = 59, np.append(model.coef_, model.intercept_)
    assert found.n_units == n
    assert_allclose(found.estimate, estimate)
    bias = (n - 1) * (theirs.mean(axis=0) - estimate)
    assert_allclose(found.bias, bias, rtol=1e-8)
    assert_allclose(found.corrected, estimate - bias)
    error = np.sqrt((n - 1) / n * ((theirs - theirs.mean(axis=0)) ** 2).sum(axis=0))
    assert_allclose(found.standard_error, error, rtol=1e-8)


def test_jackknife_of_a_statistic():
    X, y, _ = labels(n_classes=3)
    model = DeltaGradLogisticRegression().fit(X, y)
    whole = jackknife(model, tol=1e-8)
    assert whole.estimate.shape == (3, 5)
    one = jackknife(model, lambda coef, intercept: coef[1, 2], tol=1e-8)
    assert_allclose(one.standard_error, whole.standard_error[1, 2])
    squared = jackknife(model, lambda coef, _: (coef**2).sum(axis=1), tol=1e-8)
    assert squared.bias.shape == (3,)


def naive_jackknife_plus(X, y, new, alpha, method):
    """Barber, Candes, Ramdas and Tibshirani (2021), word for word."""
    n = len(y)
    by_row, residuals = [], []
    for row, refit in enumerate(refits(Ridge(), X, y)):
        by_row.append(refit.predict(new))
        residuals.append(abs(y[row] - refit.predict(X[[row]])[0]))
    by_row, residuals = np.array(by_row), np.array(residuals)[:, np.newaxis]
    high, low = int(np.ceil((1 - alpha) * (n + 1))), int(np.floor(alpha * (n + 1)))
    if method == "minmax":
        quantile = np.sort(residuals, axis=0)[high - 1]
        return by_row.min(axis=0) - quantile, by_row.max(axis=0) + quantile
    return (
        np.sort(by_row - residuals, axis=0)[low - 1],
        np.sort(by_row + residuals, axis=0)[high - 1],
    )


@pytest.mark.parametrize("method", ["plus", "minmax"])
@pytest.mark.parametrize("chunk", [2**22, 100])
def test_jackknife_plus_equals_n_refits(method, chunk, monkeypatch):

    monkeypatch.setattr("skdeltagrad.inspection._functions._CHUNK_ENTRIES", chunk)
    X, y, _ = targets(n_rows=63)
    new = targets(n_rows=9, seed=1)[0]
    model = DeltaGradRidge().fit(X, y)
    for alpha in (0.1, 0.25, 0.0625):
        found = jackknife_plus(model, new, alpha=alpha, method=method)
        expected = naive_jackknife_plus(X, y, new, alpha, method)
        assert_allclose(found, expected, rtol=1e-9)
    assert np.isinf(jackknife_plus(model, new, alpha=0.01)).all()


def test_jackknife_plus_of_several_targets_and_of_groups():
    X, y, _ = targets(n_targets=2)
    model = DeltaGradRidge().fit(X, y)
    lower, upper = jackknife_plus(model, X[:5], groups=np.arange(60) // 2)
    assert lower.shape == upper.shape == (5, 2)
    one = DeltaGradRidge().fit(X, y[:, 1])
    again = jackknife_plus(one, X[:5], groups=np.arange(60) // 2)
    assert_allclose([lower[:, 1], upper[:, 1]], again)
    # A group's rows have residuals and predictions of the model without all of them.
    left = leave_one_out(one, X=X[:5], groups=np.arange(60) // 2)
    of_rows = left.decision_values_of_X[left.unit]
    residuals = np.abs(y[:, 1] - left.predictions)[:, np.newaxis]
    assert_allclose(again[1], np.sort(of_rows + residuals, axis=0)[54])


def test_poisson_regression_equals_refits():
    X, _, weight = targets(n_rows=50, n_features=3)
    y = np.random.default_rng(3).poisson(np.exp(0.4 * X[:, 0])).astype(float)
    new, y_new = X[:10] + 0.1, y[:10]
    model = DeltaGradPoissonRegressor(tol=1e-10).fit(X, y, weight)
    models = []
    for row in range(50):
        stay = np.arange(50) != row
        other = PoissonRegressor(
            alpha=1.0 / weight[stay].sum(), solver="newton-cholesky", tol=1e-12
        )
        models.append(other.fit(X[stay], y[stay], weight[stay]))
    found = leave_one_out(model, tol=1e-8)
    own = [other.predict(X[[row]])[0] for row, other in enumerate(models)]
    assert_allclose(found.predictions, own, rtol=1e-6)
    name = "neg_mean_poisson_deviance"
    values = data_values(model, new, y_new, scoring=name, tol=1e-8)
    scores = [get_scorer(name)(other, new, y_new) for other in models]
    assert_allclose(values.scores, scores, rtol=1e-5)
    # The quantiles of Barber et al. (2021), on the scale of the targets.
    of_rows = np.array([other.predict(new) for other in models])
    residuals = np.abs(y - own)[:, np.newaxis]
    lower, upper = jackknife_plus(model, new)
    assert_allclose(upper, np.sort(of_rows + residuals, axis=0)[45], rtol=5e-3)
    assert_allclose(lower, np.sort(of_rows - residuals, axis=0)[4], atol=5e-3)


def test_a_column_of_targets_is_one_target():
    """Shapes are those of predictions, which are one-dimensional as in scikit-learn."""
    X, y, _ = targets()
    models = [DeltaGradRidge().fit(X, target) for target in (y, y[:, np.newaxis])]
    one, column = (jackknife_plus(model, X[:5]) for model in models)
    assert_allclose(one, column)
    one, column = map(leave_one_out, models)
    assert_allclose(one.predictions, column.predictions)
    one, column = (
        data_values(model, X, y, scoring="neg_median_absolute_error")
        for model in models
    )
    assert_allclose(one.values, column.values)


CLASSIFIER_SCORES = ["accuracy", "neg_log_loss", "balanced_accuracy", None]
REGRESSOR_SCORES = ["r2", "neg_mean_squared_error", "neg_median_absolute_error", None]


@pytest.mark.parametrize("scoring", CLASSIFIER_SCORES)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_data_values_of_classifiers(scoring, n_classes):
    X, y, weight = labels(100, n_classes=n_classes)
    X, new, y, y_new = X[:60], X[60:], np.array(list("abc"))[y[:60]], y[60:]
    y_new = np.array(list("abc"))[y_new]
    model = DeltaGradLogisticRegression(tol=1e-10).fit(X, y)
    found = data_values(
        model, new, y_new, scoring=scoring, sample_weight=weight[60:], tol=1e-8
    )
    scorer = get_scorer(scoring or "accuracy")
    expected = [
        scorer(refit, new, y_new, sample_weight=weight[60:])
        for refit in refits(polished(), X, y)
    ]
    assert_allclose(found.scores, expected, rtol=1e-6)
    score = scorer(model, new, y_new, sample_weight=weight[60:])
    assert_allclose(found.score, score, rtol=1e-9)
    assert_allclose(found.values, score - np.array(expected), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("scoring", REGRESSOR_SCORES)
@pytest.mark.parametrize("n_targets", [1, 2])
def test_data_values_of_regressors(scoring, n_targets):
    X, y, weight = targets(n_targets=n_targets)
    model = DeltaGradRidge().fit(X[:40], y[:40])
    given = (
        {} if scoring == "neg_median_absolute_error" else {"sample_weight": weight[40:]}
    )
    found = data_values(model, X[40:], y[40:], scoring=scoring, **given)
    scorer = get_scorer(scoring or "r2")
    expected = [
        scorer(refit, X[40:], y[40:], **given)
        for refit in refits(Ridge(), X[:40], y[:40])
    ]
    assert_allclose(found.scores, expected, rtol=1e-9)
    assert_allclose(found.values, found.score - np.array(expected), atol=1e-9)


def test_data_values_of_groups_and_of_a_callable():
    X, y, _ = targets()
    unit = np.arange(40) % 10
    model = DeltaGradRidge().fit(X[:40], y[:40], sample_id=unit)

    def scoring(fitted, X, y):
        return -np.abs(fitted.predict(X) - y).max()

    found = data_values(model, X[40:], y[40:], scoring=scoring, groups="sample_id")
    expected = [
        scoring(refit, X[40:], y[40:])
        for refit in refits(Ridge(), X[:40], y[:40], None, unit)
    ]
    assert_allclose(found.scores, expected, rtol=1e-9)


def test_the_most_influential_come_first():
    X, y, _ = targets()
    y[[11, 29]] += [50.0, -30.0]
    model = DeltaGradRidge().fit(X, y)
    found = influential(model, 5)
    assert_array_equal(found.units[:2], [11, 29])
    left = leave_one_out(model, return_coef=True)
    assert_array_equal(found.influence, np.sort(left.influence)[::-1][:5])
    rows = np.column_stack([X, np.ones(60)])
    change = np.column_stack([left.coef, left.intercept])
    change -= np.append(model.coef_, model.intercept_)
    squares = ((change @ rows.T) ** 2).sum(axis=1) + (change[:, :-1] ** 2).sum(axis=1)
    assert_allclose(left.influence, np.sqrt(squares), rtol=1e-9)
    assert len(influential(model, 1000).units) == 60


# What must not happen.


@pytest.mark.parametrize("solver", ["newton", "gd", "sgd"])
@pytest.mark.parametrize("edited", [False, True])
def test_nothing_is_changed(solver, edited, unchanged):
    X, y, _ = labels(n_rows=30)
    model = DeltaGradLogisticRegression(solver=solver, max_iter=20, random_state=0)
    model.fit(X, y, sample_id=np.arange(30) // 2)
    ridge = DeltaGradRidge(solver=solver, max_iter=20, random_state=0).fit(X, y)
    if edited:
        model.unlearn(sample_id=3)
        ridge.unlearn(position=3)
    with unchanged(model), unchanged(ridge):
        leave_one_out(model, X=X[:3], return_coef=True)
        leave_one_out(model, groups="sample_id", tol=1e-6)
        jackknife(model)
        jackknife(ridge)
        jackknife_plus(ridge, X[:4])
        data_values(model, X, y, scoring="roc_auc")
        influential(ridge, 3)


def test_an_edit_has_to_wait(unchanged):
    X, y, _ = targets()
    model = DeltaGradRidge().fit(X, y)

    def edit(coef, intercept):
        model.unlearn(position=0)

    with unchanged(model), pytest.raises(RuntimeError, match="under way"):
        jackknife(model, edit)
    assert len(leave_one_out(model).units) == 60


def test_a_dump_that_is_mapped_is_read_only(tmp_path):
    X, y, _ = labels()
    model = DeltaGradLogisticRegression().fit(X, y)
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    assert_array_equal(
        leave_one_out(mapped).decision_values, leave_one_out(model).decision_values
    )


def test_threads_do_not_matter():
    X, y, weight = labels(n_rows=300, n_classes=3)
    model = DeltaGradLogisticRegression().fit(X, y, weight)
    with limit_threads(1):
        one = leave_one_out(model, return_coef=True)
        alone = jackknife(model)
    with limit_threads(4):
        many = leave_one_out(model, return_coef=True)
        together = jackknife(model)
    assert_array_equal(one.coef, many.coef)
    assert_array_equal(one.error, many.error)
    assert_array_equal(alone.standard_error, together.standard_error)


def test_threads_do_not_matter_where_units_are_edits():
    X, y, weight = labels(n_rows=600)
    model = DeltaGradLogisticRegression().fit(X, y, weight)
    unit = np.arange(600) // 60
    with limit_threads(1):
        one = leave_one_out(model, groups=unit, return_coef=True)
    with limit_threads(4):
        many = leave_one_out(model, groups=unit, return_coef=True)
    assert_array_equal(one.coef, many.coef)
    assert_array_equal(one.error, many.error)


@pytest.mark.parametrize("is_ridge", [True, False])
def test_memory_is_that_of_blocks(is_ridge):
    """Less than one copy of the rows, or all coefficients, would take."""
    X, y, _ = targets(20_000, 60)
    if is_ridge:
        model = DeltaGradRidge().fit(X, y)
    else:
        model = DeltaGradLogisticRegression().fit(X, (y > 3.0).astype(int))
    with limit_threads(1):  # every thread has a block
        tracemalloc.start()
        leave_one_out(model, tol=np.inf)
        jackknife(model, tol=np.inf)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < X.nbytes


def test_units_without_which_there_is_no_model():
    X, y, _ = labels(n_rows=30)
    y[5] = 2
    model = DeltaGradLogisticRegression().fit(X, y)
    with pytest.warns(FitFailedWarning, match=r"Without 5 \(1 of 30"):
        found = leave_one_out(model)
    assert_array_equal(np.isnan(found.influence), np.arange(30) == 5)
    assert np.isnan(found.decision_values[5]).all()
    with pytest.warns(FitFailedWarning):
        assert np.isnan(data_values(model, X, y).values[5])
    with pytest.warns(FitFailedWarning):
        assert influential(model, 1).units[0] == 5
    with pytest.raises(ValueError, match="Without 5"):
        jackknife(model)
    ridge = DeltaGradRidge().fit(X, y)
    with pytest.raises(ValueError, match="everything, would be gone"):
        jackknife_plus(ridge, X, groups=np.zeros(30, int))


NO_LABEL = {
    "integers": ([3, 5, 8], np.nan, np.float64),
    "small integers": (np.array([3, 5, 8], np.int8), np.nan, np.float64),
    "floats": ([-1.0, 0.0, 2.0], np.nan, np.float64),
    # As floats they would be other labels.
    "integers beyond 2**53": ([2**60, 2**60 + 1, 2**60 + 2], np.nan, object),
    "text": (["a", "b", "c"], None, object),
}


@pytest.mark.parametrize("kind", NO_LABEL)
def test_the_only_row_of_a_class_is_given_no_label(kind):
    of_classes, nothing, dtype = NO_LABEL[kind]
    X, y, _ = labels(n_rows=30)
    y[5] = 2
    classes = np.asarray(of_classes)
    model = DeltaGradLogisticRegression().fit(X, classes[y])
    with pytest.warns(FitFailedWarning):
        found = leave_one_out(model).predictions
    assert found.dtype == dtype
    assert found[5] is nothing or np.isnan(found[5])
    others = np.arange(30) != 5
    assert set(found[others].tolist()) <= set(of_classes)
    # Where every row has a label, the labels have the type of the classes.
    model.unlearn(position=5)
    assert leave_one_out(model).predictions.dtype == model.classes_.dtype


def test_the_only_row_of_one_of_two_classes_is_given_no_label():
    X, _, _ = labels(n_rows=30)
    y = np.arange(30) == 5
    model = DeltaGradLogisticRegression().fit(X, y)
    with pytest.warns(FitFailedWarning):
        found = leave_one_out(model).predictions
    assert found[5] is None  # a truth value is no number
    assert set(found[np.arange(30) != 5].tolist()) <= {True, False}


def test_progress_is_reported(monkeypatch):
    from skdeltagrad.inspection import _driver

    X, y, _ = targets()
    model = DeltaGradRidge().fit(X, y)
    with redirect_stdout(io.StringIO()) as said:
        leave_one_out(model)
    assert said.getvalue() == ""
    monkeypatch.setattr(_driver, "_INTERVAL", 0.0)
    slow = DeltaGradRidge(solver="gd", max_iter=3).fit(X, y)
    with redirect_stdout(io.StringIO()) as said:
        leave_one_out(slow, verbose=1)
    lines = said.getvalue().splitlines()
    assert len(lines) == 60
    assert lines[0].startswith("left out 1 of 60, ")
    assert lines[-1].startswith("left out 60 of 60, ")


def test_errors_say_what_to_do():
    X, y, _ = targets()
    model = DeltaGradRidge().fit(X, y)
    with pytest.raises(TypeError, match="pass its last step"):
        leave_one_out(make_pipeline(model))
    with pytest.raises(NotFittedError):
        leave_one_out(DeltaGradRidge())
    with pytest.raises(ValueError, match="store_data=True"):
        leave_one_out(DeltaGradRidge(store_data=False).fit(X, y))
    with pytest.raises(ValueError, match="groups must be None"):
        leave_one_out(model, groups="rows")
    with pytest.raises(ValueError, match="fit was given no sample_id"):
        leave_one_out(model, groups="sample_id")
    with pytest.raises(ValueError, match="groups has 3 entries and X has 60"):
        leave_one_out(model, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="tol must be a positive number, got 0"):
        leave_one_out(model, tol=0)
    with pytest.raises(ValueError, match="n must be 1 or more"):
        influential(model, 0)
    with pytest.raises(ValueError, match="alpha must be between 0 and 1"):
        jackknife_plus(model, X, alpha=1.5)
    with pytest.raises(ValueError, match="method must be"):
        jackknife_plus(model, X, method="naive")
    with pytest.raises(ValueError, match="features"):
        jackknife_plus(model, X[:, 1:])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        data_values(model, X, y[1:])
    with pytest.raises(ValueError, match="scoring"):
        data_values(model, X, y, scoring="no such score")
    Z, c = load_iris(return_X_y=True)
    classifier = DeltaGradLogisticRegression().fit(Z[:100], c[:100])
    with pytest.raises(TypeError, match="must be a regressor"):
        jackknife_plus(classifier, Z)
    with pytest.raises(ValueError, match=r"labels that fit has not seen: \[2\]"):
        data_values(classifier, Z, c, scoring="neg_log_loss")


def test_memory_that_is_not_there(monkeypatch):
    from skdeltagrad._utils import memory

    X, y, _ = targets()
    model = DeltaGradRidge().fit(X, y)
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with pytest.raises(MemoryError, match="coefficients of 60 models"):
        leave_one_out(model, return_coef=True)
