"""DeltaGrad along the path: one list of instances drives all properties.

An instance is loss x storage x schedule x edit. Results are compared with a plain NumPy
loop that uses neither kernels nor storage indices nor row counts, with the exact
retrain, and, where gradient descent converges, with scikit-learn.
"""

from copy import deepcopy
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._path.periodic_replay import PeriodicOracle

N_SAMPLES, N_FEATURES = 61, 5
LOSSES = ("binomial", "multinomial", "balanced", "squared", "squared, 2 targets")
STORAGES = ("dense", "float32", "csr")
SCHEDULES = ("gd", "sgd")
EDITS = ("remove", "add", "remove and add", "correct")
INSTANCES = list(product(LOSSES, STORAGES, SCHEDULES, EDITS))

SCHEDULE_PARAMETERS = {
    "gd": {"solver": "gd", "max_iter": 30},
    # 61 rows in batches of 8: the last one holds 5.
    "sgd": {
        "solver": "sgd",
        "batch_size": 8,
        "max_iter": 5,
        "learning_rate": [0.3, 0.2, 0.2, 0.1, 0.1],
        "random_state": 7,
    },
}
LARGE_BATCHES = {"gd": {}, "sgd": {"batch_size": 128}}


def make_rows(n_samples, loss, storage, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, N_FEATURES))
    X[:, 1] += 20.0  # a column that is centred
    if storage == "csr":
        X *= rng.random(X.shape) < 0.6
        X[:, 1] = 0.0
    X = X.astype(np.float32 if storage == "float32" else np.float64)
    signal = X.astype(float) @ rng.standard_normal((N_FEATURES, 3)) / 2
    signal += rng.standard_normal((n_samples, 3))
    if loss == "binomial":
        y = np.where(signal[:, 0] > np.median(signal[:, 0]), "yes", "no")
    elif loss in ("multinomial", "balanced"):
        y = np.argmax(signal - np.median(signal, axis=0), axis=1)
    else:
        y = signal[:, 0] if loss == "squared" else signal[:, :2]
    weight = rng.integers(1, 4, n_samples).astype(float)
    return (sparse.csr_matrix(X) if storage == "csr" else X), y, weight


def make_estimator(loss, schedule, **parameters):
    parameters = {**SCHEDULE_PARAMETERS[schedule], **parameters}
    if loss == "squared":
        return DeltaGradRidge(alpha=2.0, **parameters)
    if loss == "squared, 2 targets":
        return DeltaGradRidge(alpha=[0.5, 3.0], **parameters)
    class_weight = "balanced" if loss == "balanced" else None
    return DeltaGradLogisticRegression(C=0.5, class_weight=class_weight, **parameters)


def apply(estimator, edit, loss, storage, n_samples=N_SAMPLES):
    """Make an edit; return the training rows after it, by position."""
    X, y, weight = make_rows(n_samples, loss, storage, 0)
    X_new, y_new, weight_new = make_rows(3, loss, storage, 1)
    y_new = y[[4, 5, 6]]  # no label that fit has not seen
    gone = np.array([2, 31, 60])
    if edit == "remove":
        estimator.partial_unfit(position=gone)
    elif edit == "add":
        estimator.partial_refit(X_new, y_new, sample_weight=weight_new)
    elif edit == "remove and add":
        estimator.partial_refit(
            X_new, y_new, sample_weight=weight_new, remove_position=gone
        )
    else:
        estimator.partial_refit(
            X_new, y_new, sample_weight=weight_new, position=gone, replace=True
        )
    rows = {i: (i, False) for i in range(n_samples)}
    if edit in ("remove", "remove and add"):
        for i in gone:
            del rows[i]
    if edit in ("add", "remove and add"):
        rows |= {n_samples + i: (i, True) for i in range(3)}
    if edit == "correct":
        rows |= {int(position): (i, True) for i, position in enumerate(gone)}
    X, X_new = (M.toarray() if storage == "csr" else M for M in (X, X_new))
    chosen = [((X_new, y_new, weight_new) if new else (X, y, weight), i)
              for i, new in rows.values()]  # fmt: skip
    return (
        np.array(list(rows)),
        *(np.array([data[part][i] for data, i in chosen]) for part in range(3)),
    )


def fitted(loss, storage, schedule, n_samples=N_SAMPLES, **parameters):
    X, y, weight = make_rows(n_samples, loss, storage, 0)
    return make_estimator(loss, schedule, **parameters).fit(X, y, sample_weight=weight)


def naive_path(estimator, positions, X, y, weight):
    """The run's last iterate, by a loop over NumPy arrays."""
    path = estimator._engine
    X = np.asarray(X, float) - path.model.centre
    X = np.column_stack([X, np.ones(len(X))])
    alpha = path.model.alpha[:, np.newaxis]
    if isinstance(estimator, DeltaGradRidge):
        target, link = y.reshape(len(y), -1), np.asarray
    else:
        target = (y[:, np.newaxis] == estimator.classes_).astype(float)
        if estimator.class_weight == "balanced":
            by_class = weight @ target
            weight = weight * (target @ (weight.sum() / (len(by_class) * by_class)))
        if target.shape[1] == 2:
            target, link = target[:, 1:], expit
        else:
            link = softmax_rows
    W = np.zeros((target.shape[1], X.shape[1]))
    penalised = np.ones(X.shape[1])
    penalised[-1] = 0.0
    batch = np.zeros((path.schedule.n_steps, len(positions)), bool)
    members = path.schedule.members(positions, np.arange(len(positions)))
    for step in range(path.schedule.n_steps):
        batch[step, members.at(step)] = True
    rates = np.repeat(path.schedule.learning_rates, path.schedule.steps_per_epoch)
    for eta, rows in zip(rates, batch, strict=True):
        s = weight[rows]
        gradient = (s[:, np.newaxis] * (link(X[rows] @ W.T) - target[rows])).T @ X[rows]
        W = W - eta * (gradient / s.sum() + alpha * W * penalised / weight.sum())
    return W


def softmax_rows(raw):
    return softmax(raw, axis=1)


def distance(a, b):
    return np.linalg.norm(a - b)


@pytest.mark.parametrize(("loss", "storage", "schedule"),
                         list(product(LOSSES, STORAGES, SCHEDULES)))  # fmt: skip
def test_fit_is_the_naive_loop(loss, storage, schedule):
    X, y, weight = make_rows(N_SAMPLES, loss, storage, 0)
    estimator = fitted(loss, storage, schedule)
    dense = X.toarray() if storage == "csr" else X
    expected = naive_path(estimator, np.arange(N_SAMPLES), dense, y, weight)
    assert_allclose(estimator.trajectory_.iterates[-1], expected, atol=1e-11)
    if storage != "csr":
        assert estimator._engine.model.centre[1] != 0


@pytest.mark.parametrize(("loss", "storage", "schedule", "edit"), INSTANCES)
def test_edit_with_period_one_is_the_exact_retrain_and_the_naive_loop(
    gradient_sums_of, loss, storage, schedule, edit
):
    estimator = fitted(loss, storage, schedule, period=1)
    rows = apply(estimator, edit, loss, storage)
    assert not estimator.update_report_.refit
    replayed, sums = estimator.trajectory_, gradient_sums_of(estimator)
    assert_allclose(replayed.end, naive_path(estimator, *rows), atol=1e-11)
    retrained = estimator.partial_refit().trajectory_
    assert_allclose(replayed.iterates, retrained.iterates, atol=1e-13)
    assert_allclose(sums, gradient_sums_of(estimator), atol=1e-9)


@pytest.mark.parametrize(("loss", "storage", "schedule", "edit"), INSTANCES)
def test_replay_comes_near_the_retrain_at_the_end_and_all_along(
    loss, storage, schedule, edit
):
    # More rows than elsewhere: a curvature pair of a batch of 8 rows is mostly noise.
    size = {"n_samples": 1000} | LARGE_BATCHES[schedule]
    estimator = fitted(loss, storage, schedule, **size, burn_in=4, period=3)
    before = estimator.trajectory_.iterates
    apply(estimator, edit, loss, storage, 1000)
    report = estimator.update_report_
    assert 0 < report.n_exact_steps < 0.55 * report.n_steps
    replayed = estimator.trajectory_.iterates
    retrained = estimator.partial_refit().trajectory_.iterates
    fraction = 0.03 if schedule == "gd" else 0.2
    assert distance(replayed[-1], retrained[-1]) < fraction * distance(
        before[-1], retrained[-1]
    )
    assert distance(replayed, retrained) < fraction * distance(before, retrained)


@pytest.mark.parametrize("burn_in", [0, 1, 7, 100])
@pytest.mark.parametrize("period", [1, 2, 100])
@pytest.mark.parametrize("history_size", [1, 2, 9])
def test_any_burn_in_period_and_history(burn_in, period, history_size):
    estimator = fitted(
        "multinomial", "dense", "sgd",
        burn_in=burn_in, period=period, history_size=history_size,
    )  # fmt: skip
    before = estimator.coef_
    replayed = estimator.partial_unfit(position=[3, 4]).coef_
    exact = estimator.update_report_.n_exact_steps
    n_steps = estimator.update_report_.n_steps
    expected = sum(t < burn_in or (t - burn_in) % period == 0 for t in range(n_steps))
    # Without a curvature pair there is nothing to predict with: such steps are exact.
    assert expected <= exact <= expected + 2
    retrained = estimator.partial_refit().coef_
    assert distance(replayed, retrained) < 0.6 * distance(before, retrained)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("loss", LOSSES)
def test_online_edits_are_one_edit(loss, schedule):
    batch = fitted(loss, "dense", schedule, period=1)
    batch.partial_unfit(position=[0, 9, 40])
    online = fitted(loss, "dense", schedule, period=1)
    for position in (40, 0, 9):
        online.partial_unfit(position=position)
    assert_allclose(online.trajectory_.iterates, batch.trajectory_.iterates, atol=1e-13)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_long_online_sequence_does_not_drift(loss, schedule):
    size = {"n_samples": 1000} | LARGE_BATCHES[schedule]
    estimator = fitted(loss, "dense", schedule, **size, burn_in=4, period=3)
    before = estimator.coef_
    rng = np.random.default_rng(3)
    for position in rng.choice(1000, 12, replace=False):
        estimator.partial_unfit(position=position)
    replayed = estimator.coef_
    retrained = estimator.partial_refit().coef_
    assert distance(replayed, retrained) < 0.25 * distance(before, retrained)


@pytest.mark.parametrize("loss", LOSSES)
def test_unlearning_added_rows_goes_back(loss):
    estimator = fitted(loss, "dense", "sgd", period=1)
    before = deepcopy(estimator)
    apply(estimator, "add", loss, "dense")
    assert distance(estimator.coef_, before.coef_) > 1e-3
    estimator.partial_unfit(position=[N_SAMPLES, N_SAMPLES + 1, N_SAMPLES + 2])
    assert_allclose(
        estimator.trajectory_.iterates, before.trajectory_.iterates, atol=1e-12
    )


def test_an_emptied_batch_is_skipped(gradient_sums_of):
    estimator = fitted("multinomial", "dense", "sgd", burn_in=2, period=4)
    schedule = estimator._engine.schedule
    step = 17  # in the third epoch: not an exact step
    emptied = schedule.dealt(step, np.arange(schedule.n_positions))
    assert len(emptied) in (5, 8)
    estimator.partial_unfit(position=emptied)
    replayed = estimator.trajectory_
    assert not gradient_sums_of(estimator)[step].any()
    assert_allclose(replayed.iterates[step + 1], replayed.iterates[step], rtol=0)
    retrained = estimator.partial_refit().trajectory_
    assert_allclose(retrained.iterates[step + 1], retrained.iterates[step], rtol=0)
    # Rows that join may fill it again.
    X, y, _ = make_rows(40, "multinomial", "dense", 5)
    estimator.set_params(period=1).partial_refit(X, y)
    assert gradient_sums_of(estimator)[step].any()
    refilled = estimator.trajectory_.iterates
    assert_allclose(
        estimator.partial_refit().trajectory_.iterates, refilled, atol=1e-13
    )


def test_added_rows_join_one_batch_in_each_epoch():
    estimator = fitted("squared", "dense", "sgd")
    before = estimator._engine.row_counts.count.reshape(5, 8)
    apply(estimator, "add", "squared", "dense")
    joined = estimator._engine.row_counts.count.reshape(5, 8) - before
    assert (joined.sum(axis=1) == 3).all()
    assert len(np.unique(joined, axis=0)) > 1


@pytest.mark.parametrize("loss", ["multinomial", "balanced"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_multinomial_coefficients_go_on_summing_to_zero(loss, schedule):
    estimator = fitted(loss, "dense", schedule)
    for position in range(20):
        estimator.partial_unfit(position=position)
    assert_allclose(estimator.coef_.sum(axis=0), 0, atol=1e-10)
    assert_allclose(estimator.intercept_.sum(), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("loss", "storage", "schedule", "edit"),
    # With "sgd" a fresh fit would number the rows again and make other batches.
    [instance for instance in INSTANCES if "gd" in instance],
)
def test_gd_equals_a_fresh_fit_on_the_current_rows(loss, storage, schedule, edit):
    estimator = fitted(loss, storage, schedule, period=1)
    _, X, y, weight = apply(estimator, edit, loss, storage)
    fresh = make_estimator(loss, schedule, learning_rate=estimator.learning_rate_)
    fresh.fit(sparse.csr_matrix(X) if storage == "csr" else X, y, sample_weight=weight)
    tolerance = 1e-5 if storage == "float32" else 1e-11
    assert_allclose(estimator.coef_, fresh.coef_, atol=tolerance)
    assert_allclose(estimator.intercept_, fresh.intercept_, atol=20 * tolerance)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2.0}])
@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
def test_converged_descent_and_edits_reach_scikit_learn(
    load, class_weight, fit_intercept
):
    X, y = load(return_X_y=True)
    X = scale(X)
    gone = np.arange(0, len(y), 25)
    kept = np.setdiff1d(np.arange(len(y)), gone)
    shared = {"C": 0.01, "class_weight": class_weight, "fit_intercept": fit_intercept}
    ours = DeltaGradLogisticRegression(max_iter=1500, solver="gd", **shared)
    ours.fit(X, y)
    oracle = LogisticRegression(solver="lbfgs", tol=1e-10, max_iter=10_000, **shared)
    assert_same_model(ours, oracle.fit(X, y), 1e-6)
    ours.unlearn(X[gone], y[gone])
    assert distance(ours.coef_, oracle.coef_) > 1e-3
    assert_same_model(ours.partial_refit(), oracle.fit(X[kept], y[kept]), 1e-6)


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_converged_ridge_and_edits_reach_scikit_learn(n_targets, fit_intercept):
    X, y = load_diabetes(return_X_y=True)
    X = scale(X)
    y = y / y.std()
    if n_targets == 3:
        y = np.column_stack([y, -2 * y + X[:, 0], np.sin(y)])
    gone = np.arange(0, len(y), 25)
    kept = np.setdiff1d(np.arange(len(y)), gone)
    alpha = 50.0 if n_targets == 1 else np.array([50.0, 100.0, 200.0])
    ours = DeltaGradRidge(
        alpha, max_iter=1500, solver="gd", fit_intercept=fit_intercept
    )
    oracle = Ridge(alpha, solver="cholesky", fit_intercept=fit_intercept)
    assert_same_model(ours.fit(X, y), oracle.fit(X, y), 1e-6)
    ours.unlearn(X[gone], y[gone])
    assert distance(ours.coef_, oracle.coef_) > 1e-4
    assert_same_model(ours.partial_refit(), oracle.fit(X[kept], y[kept]), 1e-6)


def assert_same_model(ours, oracle, tolerance):
    assert ours.coef_.shape == oracle.coef_.shape
    assert_allclose(ours.coef_, oracle.coef_, atol=tolerance)
    assert np.shape(ours.intercept_) == np.shape(oracle.intercept_)
    # scikit-learn leaves the common shift of multinomial intercepts undetermined.
    free = np.mean(ours.intercept_ - oracle.intercept_) if len(ours.coef_) == 3 else 0.0
    assert_allclose(ours.intercept_, oracle.intercept_ + free, atol=tolerance)


@pytest.mark.parametrize("relative", [1e-16, 1e-14, 1e-12])
def test_rounding_is_not_a_drift(gradient_sums_of, relative):
    """A row that joins late leaves the iterates before it alone but for rounding.

    Curvature pairs of rounding are arbitrary, and the replay would be wrong by 14
    orders of magnitude.
    """
    estimator = fitted("binomial", "dense", "gd", burn_in=2, period=4)
    path, training_set = estimator._engine, estimator._training_set
    no_rows = path.schedule.members(*np.zeros((2, 0), np.int64))
    weights = np.broadcast_to(path.row_counts.weight, (30, 1))
    oracle = PeriodicOracle(
        path.model.data_term(training_set),
        path.schedule.batches(training_set.table), no_rows, no_rows, path.playback(),
        weights, weights, burn_in=2, period=4, history_size=2,
    )  # fmt: skip
    iterates, gradient_sums = path.trajectory.iterates, gradient_sums_of(estimator)
    for step in (1, 5, 6, 7):
        sums = np.zeros_like(gradient_sums[step])
        iterate = iterates[step] * (1.0 + relative)
        exact = oracle.gradient_sums(step, iterate, sums)
        assert exact == (step == 1 or step == 6)
        assert oracle.quasi_hessians[0].n_pairs == 0
        assert_allclose(sums, gradient_sums[step], rtol=1e-9)
