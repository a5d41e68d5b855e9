"""What an edit would do is foretold, and nothing is done."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge


@pytest.fixture
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


MODELS = {
    "newton": DeltaGradLogisticRegression(C=0.01),
    "products": DeltaGradLogisticRegression(curvature="diagonal"),
    "gd": DeltaGradLogisticRegression(solver="gd", max_iter=20),
    "sgd": DeltaGradLogisticRegression(solver="sgd", batch_size=100, max_iter=5),
    "ridge": DeltaGradRidge(),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_plan_changes_nothing(cancer, contents, replay_always, name):
    X, y = cancer
    model = MODELS[name].fit(X, y)
    for _ in range(2):  # before and after the first edit
        before = contents(model)
        plan = model.plan_unfit(position=[5, 6, 7])
        assert contents(model) == before
        n_samples = model.update_report_.n_samples
        assert (plan.n_removed, plan.n_samples) == (3, n_samples - 3)
        assert plan.seconds > 0.0
        assert f"{n_samples - 3} remain" in str(plan)
        assert plan.to_dict()["n_removed"] == 3
        model.unlearn(position=0 if n_samples == len(y) else 1)


@pytest.mark.parametrize("n_rows", [1, 5, 200])
def test_passes_come_as_foretold(cancer, n_rows):
    X, y = cancer
    model = DeltaGradLogisticRegression(C=0.01).fit(X, y)
    first = model.plan_unfit(position=0)
    assert first.n_hessians == 0
    model.unlearn(position=0)
    assert model.update_report_.n_passes <= first.n_passes
    gone = np.arange(10, 10 + n_rows)
    plan = model.plan_unfit(X[gone], y[gone])
    report = model.unlearn(X[gone], y[gone]).update_report_
    assert (plan.n_passes > 0) == (report.n_passes > 0)
    assert plan.n_hessians == 0


@pytest.mark.parametrize("period", ["auto", 5])
@pytest.mark.parametrize("name", ["gd", "sgd"])
def test_steps_come_as_foretold(cancer, replay_always, name, period):
    X, y = cancer
    model = clone(MODELS[name])
    model.set_params(period=period, max_iter=60)
    if period == "auto":
        model.set_params(edit_tol=0.5)
    model.fit(X, y)
    plan = model.plan_unfit(position=range(5))
    report = model.unlearn(position=range(5)).update_report_
    assert not report.refit
    assert plan.n_steps == report.n_steps
    assert plan.n_exact_steps == report.n_exact_steps
    assert (plan.n_passes > 0) == (report.n_passes > 0) == (period == "auto")
    assert f"{plan.n_exact_steps} of {plan.n_steps} steps exact" in str(plan)


def test_a_fit_anew_is_foretold():
    X, y = load_wine(return_X_y=True)
    model = DeltaGradLogisticRegression().fit(scale(X), y)
    plan = model.plan_unfit(position=np.flatnonzero(y == 2))
    assert plan.refit
    assert "classes" in plan.reason
    assert "fitted again" in str(plan)


@pytest.mark.parametrize("n_rows", [569, 60])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_hessians_along_a_path_are_announced(
    cancer, replay_always, monkeypatch, class_weight, n_rows
):
    X, y = cancer
    monkeypatch.setattr("skdeltagrad._path.cost.SAMPLE", 300)
    model = clone(MODELS["gd"]).set_params(
        max_iter=2_000, learning_rate=0.01, class_weight=class_weight
    )
    model.fit(X[-n_rows:], y[-n_rows:])
    plan = model.plan_unfit(position=0)
    assert plan.n_hessians > 0
    assert "new Hessian" in str(plan)
    report = model.unlearn(position=0).update_report_
    # Positions of the sampled rows are kept, too: of a number that is drawn.
    assert abs(plan.checkpoint_bytes - report.checkpoint_bytes) < 8 * (
        2 + 60 * (n_rows > 300)
    )
    after = model.plan_unfit(position=1)
    assert after.n_hessians == after.checkpoint_bytes == 0
    assert after.n_passes == plan.n_passes


def test_a_retrain_that_is_no_dearer_is_foretold(cancer):
    X, y = cancer
    model = clone(MODELS["gd"]).fit(X, y)
    plan = model.plan_unfit(position=[1])
    assert plan.refit
    assert "as long" in plan.reason
    assert model.unlearn(position=[1]).update_report_.reason == plan.reason


def test_rows_that_are_not_there():
    X, y = load_diabetes(return_X_y=True)
    model = DeltaGradRidge().fit(X, y)
    with pytest.raises(ValueError, match="not among"):
        model.plan_unfit(X[:2] + 1.0, y[:2])
    plan = model.plan_unfit(X[:2] + 1.0, y[:2], on_missing="ignore")
    assert (plan.n_removed, plan.n_not_found, plan.n_samples) == (0, 2, len(y))
    with pytest.raises(ValueError, match="All 442"):
        model.plan_unfit(position=np.arange(442))
