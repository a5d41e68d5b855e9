"""The cost of an edit is bounded, whatever its rows are, and the plan says so before.

Costs are passes, Hessians and steps as the report counts them, never seconds.
"""

import warnings
from copy import deepcopy

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._optimum import cost as costs
from skdeltagrad._optimum.cost import Cost, Meter
from skdeltagrad._path.checkpoint_replay import CheckpointReplay

KINDS = ["plain", "separable", "tails", "huge", "copies", "rare", "wide"]
# An edit may cost so many times what a fit of the same rows from zero costs.
MOST_REFITS = {"exact": 1.5, "products": 3.0}


def adversarial(rng, kind):
    """Few rows that make a replay difficult, of two or three classes."""
    n_rows, n_features = int(rng.integers(30, 150)), int(rng.integers(2, 9))
    n_classes = int(rng.integers(2, 4))
    X = rng.normal(size=(n_rows, n_features))
    noise = 0.1 if kind == "separable" else 1.5
    raw = 2.0 * X @ rng.normal(size=(n_features, n_classes))
    y = np.argmax(raw + noise * rng.gumbel(size=raw.shape), axis=1)
    if kind == "tails":
        X *= rng.pareto(1.0, size=(n_rows, 1)) + 0.1
    if kind == "huge":
        X[:3] *= 1e4
    if kind == "copies":
        X = X[rng.integers(n_rows // 5, size=n_rows)]
    if kind == "rare":
        y[y == n_classes - 1] = 0
        y[:3] = n_classes - 1
    if kind == "wide":
        X = np.hstack([X, rng.normal(size=(n_rows, n_rows))])
    y[:n_classes] = np.arange(n_classes)
    return X, y


def hostile(rng, model, X, y, live):
    """Rows whose removal is expensive."""
    table = model._training_set.table
    how = rng.choice(["leverage", "class", "norm", "most", "random", "one"])
    if how == "leverage" and table.column("leverage") is not None:
        order = np.argsort(table.column("leverage")[table.indices_of(live)])
        return live[order[-int(rng.integers(1, len(live) // 4 + 2)) :]]
    if how == "class":
        return live[y[live] == rng.choice(y[live])][1:]
    if how == "most":
        return rng.permutation(live)[max(5, len(live) // 20) :]
    if how == "random":
        return rng.choice(live, len(live) // 10 + 1, replace=False)
    if how == "one":
        return rng.choice(live, 1)
    order = np.argsort(np.linalg.norm(X[live], axis=1))
    return live[order[-int(rng.integers(1, 5)) :]]


def edits(make, n_edits, seed, n_in_sequence=6):
    """Edits of small models: a plan, a report, the model, and the rows left to it."""
    rng = np.random.default_rng(seed)
    n_made = 0
    while n_made < n_edits:
        X, y = adversarial(rng, rng.choice(KINDS))
        model = make(rng)
        target = y if isinstance(model, DeltaGradLogisticRegression) else X[:, 0] + y
        try:
            model.fit(X, target)
        except ValueError:  # no Hessian can be factorised: refused
            continue
        live = np.arange(len(y))
        for _ in range(n_in_sequence):
            gone = hostile(rng, model, X, y, live)
            left = np.setdiff1d(live, gone)
            if not len(gone) or len(left) < 4 or len(np.unique(y[left])) < 2:
                continue
            plan = model.plan_unfit(position=gone)
            try:
                report = model.unlearn(position=gone).update_report_
            except ValueError:
                break
            live = left
            n_made += 1
            yield plan, report, model, X[live], target[live]


def logistic(**parameters):
    return lambda rng: DeltaGradLogisticRegression(
        C=10.0 ** rng.uniform(-3, 5), **parameters
    )


MODELS = {
    "exact": logistic(),
    "balanced": logistic(class_weight="balanced"),
    "kronecker": logistic(curvature="kronecker"),
    "diagonal": logistic(curvature="diagonal"),
    "ridge": lambda rng: DeltaGradRidge(10.0 ** rng.uniform(-5, 3)),
    "standardize": logistic(standardize=True),
    "a tight edit_tol": logistic(edit_tol=1e-12),
    "ridge, standardize": lambda rng: DeltaGradRidge(1e-3, standardize=True),
    "ridge, tiny penalty": lambda rng: DeltaGradRidge(10.0 ** rng.uniform(-13, -6)),
    "ridge, diagonal": lambda rng: DeltaGradRidge(
        10.0 ** rng.uniform(-5, 3), curvature="diagonal"
    ),
    "gd": lambda rng: DeltaGradLogisticRegression(
        solver="gd", max_iter=int(rng.integers(5, 60))
    ),
    "gd, period": lambda rng: DeltaGradLogisticRegression(
        solver="gd", max_iter=30, period=int(rng.integers(2, 9)), burn_in=3
    ),
    "sgd": lambda rng: DeltaGradLogisticRegression(
        solver="sgd", max_iter=int(rng.integers(2, 9)), batch_size=16
    ),
    "ridge, gd": lambda rng: DeltaGradRidge(
        10.0 ** rng.uniform(-5, 3), solver="gd", max_iter=int(rng.integers(5, 60))
    ),
}
N_EDITS = {
    "exact": 200,
    "balanced": 100,
    "standardize": 50,
    "a tight edit_tol": 50,
    "ridge": 100,
    "ridge, standardize": 50,
    "ridge, tiny penalty": 50,
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("name", MODELS)
def test_no_edit_costs_more_than_its_plan_said(request, name):
    n_edits = N_EDITS.get(name, 25)
    if "gd" in name:
        request.getfixturevalue("replay_always")
    for plan, report, *_ in edits(MODELS[name], n_edits, seed=1):
        assert report.n_passes <= plan.n_passes_at_most
        assert report.n_hessians <= plan.n_hessians_at_most
        assert report.n_exact_steps <= plan.n_exact_steps_at_most
        assert plan.seconds >= 0.0
        assert "at most" in str(plan)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("name", ["exact", "diagonal"])
def test_no_edit_costs_much_more_than_a_refit(name, monkeypatch):
    monkeypatch.setattr(costs, "_SMALL_PROBLEM", 0)  # as where rows are many
    most = MOST_REFITS["exact" if name == "exact" else "products"]
    for _, report, model, X, y in edits(MODELS[name], 40, seed=2):
        cold = clone(model).fit(X, y).update_report_
        _, n_dof = model._engine.iterate.shape
        m = max(1, len(model.classes_) - 1)
        of_hessian = (1.0 + n_dof / 40.0) * (m + 1) / 2.0
        cost, refit = [
            each.n_passes + of_hessian * each.n_hessians for each in (report, cold)
        ]
        assert cost <= most * refit + 5.0


def test_steps_that_failed_are_counted(monkeypatch):
    """The report of a new fit includes the cost of the steps before it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5))
    y = (X[:, 0] + rng.logistic(size=200) > 0).astype(int)
    model = DeltaGradLogisticRegression().fit(X, y)
    monkeypatch.setattr(costs, "MAX_STEP_PASSES", 1)
    model.set_params(edit_tol=1e-13).unlearn(position=np.arange(60))
    report = model.update_report_
    assert report.refit
    assert report.n_hessians >= 2  # to build the curvature, and one of the fit
    assert report.n_passes >= 1 + 2 + 1  # a step, the start, and the fit


def test_a_new_fit_stops_where_the_plan_says(monkeypatch):
    """A warning says so, nothing is lost, and a retrain converges."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6))
    y = (X[:, 0] + 0.1 * rng.logistic(size=300) > 0).astype(int)
    model = DeltaGradLogisticRegression(C=1e4).fit(X, y)
    monkeypatch.setattr(costs, "_MAX_FITS", 0.02)
    monkeypatch.setattr(costs, "MAX_STEP_PASSES", 1)
    gone = np.flatnonzero(y == 1)[5:]
    plan = model.plan_unfit(position=gone)
    with pytest.warns(ConvergenceWarning, match="partial_refit"):
        report = model.unlearn(position=gone).update_report_
    assert report.refit
    assert report.n_passes <= plan.n_passes_at_most
    assert report.n_hessians <= plan.n_hessians_at_most
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_refit()
    left = np.setdiff1d(np.arange(300), gone)
    fresh = clone(model).fit(X[left], y[left])
    np.testing.assert_allclose(model.coef_, fresh.coef_, rtol=1e-6)


def test_an_edit_too_large_for_its_curvature_costs_no_more_than_a_fit(monkeypatch):
    monkeypatch.setattr(costs, "_SMALL_PROBLEM", 0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 120))
    y = (X[:, 0] + rng.logistic(size=400) > 0).astype(int)
    model = DeltaGradLogisticRegression().fit(X, y)
    for n_rows in (1, 60):
        edited = deepcopy(model)
        plan = edited.plan_unfit(position=np.arange(n_rows))
        report = edited.unlearn(position=np.arange(n_rows)).update_report_
        assert plan.refit == report.refit
        assert report.n_hessians == 0 or n_rows > 1  # the fit's curvature serves
    left = np.arange(60, 400)
    fresh = clone(model).fit(X[left], y[left])
    changed = np.linalg.norm(model.coef_ - fresh.coef_)
    assert np.linalg.norm(edited.coef_ - fresh.coef_) <= model.edit_tol * changed
    cost, refit = [each.update_report_.n_hessians for each in (edited, fresh)]
    assert cost <= refit


@pytest.mark.filterwarnings("ignore:y contains new labels")
def test_a_new_fit_of_few_rows_is_not_stopped():
    """Another class may make it far more expensive than the last fit."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(21, 5)) + 30.0 * rng.normal(size=5)
        y, weight = rng.integers(2, size=21), rng.integers(1, 5, 21)
        y[-1] = 7
        model = DeltaGradLogisticRegression(
            C=100.0, class_weight="balanced", curvature="kronecker", fit_intercept=False
        )
        model.fit(X[:-1], y[:-1], weight[:-1])
        model.partial_refit(X[-1:], y[-1:])  # other warnings are errors here
        assert model._engine.converged


def test_every_row_can_be_replaced_by_others():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    y = (X[:, 0] + rng.logistic(size=80) > 0).astype(int)
    for first in (None, 0):  # without curvature, and with
        model = DeltaGradLogisticRegression().fit(X[:40], y[:40])
        if first is not None:
            model.unlearn(position=first)
        gone = np.arange(0 if first is None else 1, 40)
        model.partial_refit(X[40:], y[40:], remove_position=gone)
        fresh = DeltaGradLogisticRegression().fit(X[40:], y[40:])
        np.testing.assert_allclose(model.coef_, fresh.coef_, rtol=1e-2, atol=1e-3)


def test_rows_of_huge_leverage_make_no_new_hessian_of_a_squared_error():
    """It is the same wherever it is: raw predictions may move."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20))
    X[:5] *= 1e4
    y = X @ rng.normal(size=20) + rng.normal(size=300)
    y[:5] *= 3.0
    model = DeltaGradRidge().fit(X, y).unlearn(position=10)
    report = model.unlearn(position=np.arange(5)).update_report_
    assert not report.refit
    assert report.n_passes <= 2
    assert report.n_hessians == 0
    left = np.setdiff1d(np.arange(5, 300), 10)
    exact = Ridge(solver="svd").fit(X[left], y[left])
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=1e-9)


def test_tries_that_read_many_touched_rows_are_few(monkeypatch, replay_always):
    """Every one of them reads these rows in every step."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 20))
    y = (X[:, 0] + rng.logistic(size=20_000) > 0).astype(int)
    model = DeltaGradLogisticRegression(solver="gd", max_iter=60, edit_tol=10.0)
    model.fit(X, y)
    gone = np.arange(7_000)
    easy = deepcopy(model).unlearn(position=gone).update_report_
    model.set_params(edit_tol=easy.error_estimate / 3.0)
    n_tries = []
    run = CheckpointReplay.run
    monkeypatch.setattr(
        CheckpointReplay,
        "run",
        lambda self: n_tries.append(self.attempt.n_corrections) or run(self),
    )
    report = model.unlearn(position=gone).update_report_
    assert report.refit
    assert n_tries == [1]


def test_a_replay_that_is_not_tried_was_too_expensive(replay_always):
    """The report has no estimate if none was computed."""
    X = np.random.default_rng(0).normal(size=(150, 4))
    model = DeltaGradRidge(solver="gd", max_iter=2, edit_tol=10.0).fit(X, X[:, 0])
    report = model.unlearn(position=3).update_report_
    assert report.reason == "a replay within edit_tol would take as long"
    assert report.n_passes == 0


def test_changes_of_classes_and_centres_are_predicted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3))
    y = np.repeat([0, 1, 2], 30)
    model = DeltaGradLogisticRegression().fit(X, y)
    plan = model.plan_unfit(position=np.arange(60, 90))
    report = model.unlearn(position=np.arange(60, 90)).update_report_
    assert plan.refit and report.refit
    assert 0 < report.n_passes <= plan.n_passes_at_most
    X[::2] += 100.0
    X += 1e3
    model = DeltaGradLogisticRegression(solver="gd", max_iter=5).fit(X, y)
    gone = np.arange(0, 90, 2)
    plan = model.plan_unfit(position=gone)
    report = model.unlearn(position=gone).update_report_
    assert "is centred elsewhere" in report.reason
    assert (plan.reason, plan.n_exact_steps) == (report.reason, report.n_exact_steps)


def test_a_meter_of_a_sample_counts_its_fraction():
    meter = Meter(Cost(2.0, 1.0))
    some = meter.of_sample(0.25)
    some.spend(n_passes=4, n_hessians=1)
    assert meter.spent == Cost(1.0, 0.25)
    assert some.allows(n_passes=4)
    assert not some.allows(n_passes=5)
    assert not some.allows(n_hessians=4)
    meter.allow(Cost(3.0, 0.0))
    assert meter.allows(n_passes=3) and not meter.allows(n_hessians=0.1)
