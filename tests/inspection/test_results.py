"""Results print in a few lines, and turn into frames and plots."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad.inspection import (
    UnitsDisplay,
    data_values,
    influential,
    jackknife,
    leave_one_out,
)

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 3))
MEANS = X @ [1.0, -1.0, 0.5]
IDS = np.array([f"user {number // 2}" for number in range(40)])
TARGETS = MEANS + rng.standard_normal(40)
COUNTS = rng.poisson(np.exp(0.3 * MEANS))
LABELS = np.where(MEANS + rng.logistic(size=40) > 0, "yes", "no")


@pytest.fixture(scope="module")
def ridge():
    return DeltaGradRidge().fit(X, TARGETS, sample_id=IDS)


@pytest.fixture(scope="module")
def logistic():
    return DeltaGradLogisticRegression().fit(X, LABELS)


def results(model, targets):
    return {
        "loo": leave_one_out(model),
        "grouped": leave_one_out(model, groups=np.arange(40) // 4),
        "jackknife": jackknife(model),
        "values": data_values(model, X, targets),
        "influential": influential(model, 7),
    }


@pytest.mark.parametrize(
    "model, targets",
    [
        (DeltaGradRidge(), TARGETS),
        (DeltaGradRidge(), np.column_stack([TARGETS, -(TARGETS**2)])),
        (DeltaGradPoissonRegressor(), COUNTS),
        (DeltaGradLogisticRegression(), LABELS),
        (DeltaGradLogisticRegression(), rng.integers(0, 3, 40)),
    ],
    ids=["ridge", "targets", "poisson", "labels", "three classes"],
)
def test_five_lines_and_a_box(model, targets):
    for result in results(model.fit(X, targets), targets).values():
        lines = repr(result).splitlines()
        assert lines[0].startswith(f"{type(result).__name__}: ")
        assert 2 <= len(lines) <= 5
        assert max(map(len, lines)) <= 88
        box = result._repr_html_()
        assert box.startswith("<div") and type(result).__name__ in box
        frame = pytest.importorskip("pandas") and result.to_frame()
        assert len(frame) in (7, 40, np.size(getattr(result, "estimate", 0)))
        assert not frame.isna().any(axis=None)


def test_what_is_printed_is_what_is_there(ridge):
    found = leave_one_out(ridge)
    largest = int(np.argmax(found.influence))
    assert f"(position {largest})" in repr(found)
    assert f"{found.influence.max():.3g}" in found._repr_html_()
    values = data_values(ridge, X, TARGETS)
    assert f"harmful: {np.sum(values.values < 0)} " in repr(values)


def test_residuals_are_targets_minus_means(ridge, logistic):
    found = leave_one_out(ridge)
    assert_array_equal(found.targets, TARGETS)
    assert_allclose(found.residuals, TARGETS - found.predictions, rtol=1e-12)
    poisson = DeltaGradPoissonRegressor().fit(X, COUNTS)
    found = leave_one_out(poisson, X=X[:5])
    assert_array_equal(found.targets, COUNTS)
    assert_allclose(found.predictions, np.exp(found.decision_values))
    assert_allclose(found.residuals, COUNTS - found.predictions)
    assert_allclose(found.predictions_of_X, np.exp(found.decision_values_of_X))
    found = leave_one_out(logistic, X=X[:5])
    assert_array_equal(found.targets, LABELS)
    probability = 1.0 / (1.0 + np.exp(-found.decision_values))
    assert_allclose(found.residuals, (LABELS == "yes") - probability)
    assert found.predictions_of_X is None
    Z, y = load_iris(return_X_y=True)
    found = leave_one_out(DeltaGradLogisticRegression().fit(Z, y))
    p = np.exp(found.decision_values)
    p /= p.sum(axis=1, keepdims=True)
    assert_allclose(found.residuals, np.eye(3)[y] - p, atol=1e-12)


def test_frames_have_names_and_ids(ridge):
    pytest.importorskip("pandas")
    found = leave_one_out(ridge)
    frame = found.to_frame()
    assert frame.index.name == "position"
    assert_array_equal(frame["sample_id"], IDS)
    assert_array_equal(frame["residual"], found.residuals)
    assert_array_equal(data_values(ridge, X, TARGETS).to_frame()["sample_id"], IDS)
    found = leave_one_out(ridge, groups="sample_id")
    assert_array_equal(found.to_frame()["influence"], found.influence[found.unit])
    frame = influential(ridge, 3, groups="sample_id").to_frame()
    assert frame.index.name == "sample_id" and set(frame.index) <= set(IDS)
    labels = np.arange(40) // 10
    frame = leave_one_out(ridge, groups=labels).to_frame()
    assert_array_equal(frame["group"], labels)
    frame = jackknife(ridge).to_frame()
    assert list(frame.index) == ["x0", "x1", "x2", "intercept"]
    assert_array_equal(frame["corrected"], jackknife(ridge).corrected)


def test_columns_and_classes_have_their_names():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(X, columns=["height", "mass", "age"])
    labels = np.array(["a", "b", "c"])[np.arange(40) % 3]
    model = DeltaGradLogisticRegression(fit_intercept=False).fit(table, labels)
    names = [f"{label} {name}" for label in "abc" for name in table.columns]
    found = jackknife(model)
    assert list(found.to_frame().index) == names
    assert_array_equal(found.to_frame()["estimate"], found.estimate.ravel())
    columns = leave_one_out(model).to_frame().columns
    assert {"residual a", "decision_value c", "prediction"} <= set(columns)
    largest = jackknife(model, lambda coef, _: coef.max())
    assert list(largest.to_frame().index) == [0]


def test_without_pandas(ridge, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas.*NumPy arrays"):
        leave_one_out(ridge).to_frame()


def test_the_most_harmful_and_the_most_influential(ridge):
    values = data_values(ridge, X, TARGETS)
    harmful = values.most_harmful(4)
    order = np.argsort(values.values)
    assert_array_equal(harmful.units, order[:4])
    assert_array_equal(harmful.values, values.values[order[:4]])
    assert_array_equal(harmful.scores, values.scores[order[:4]])
    assert_array_equal(harmful.sample_ids, IDS[order[:4]])
    largest = values.most_influential(4).units
    assert_array_equal(largest, np.argsort(-np.abs(values.values))[:4])
    found = leave_one_out(ridge)
    assert_array_equal(found.most_influential(5).units, influential(ridge, 5).units)
    assert_array_equal(
        found.most_influential(5).sample_ids, influential(ridge, 5).sample_ids
    )
    with pytest.raises(ValueError, match="n must be 1 or more, got 0"):
        values.most_harmful(0)


def test_displays(ridge):
    pytest.importorskip("matplotlib").use("agg")
    import matplotlib.pyplot as plt

    found = data_values(ridge, X, TARGETS)
    _, ax = plt.subplots()
    display = UnitsDisplay.from_results(found, n_labels=3, ax=ax)
    assert display.ax_ is ax and display.figure_ is ax.figure
    assert_array_equal(display.line_.get_ydata(), found.values)
    labels = [text.get_text() for text in display.text_]
    assert labels == list(map(str, found.most_influential(3).units))
    assert ax.get_ylabel() == "Value" and ax.get_xlabel() == "Position"
    display = UnitsDisplay.from_estimator(ridge, groups="sample_id")
    expected = leave_one_out(ridge, groups="sample_id").influence
    assert_array_equal(display.line_.get_ydata(), expected)
    assert display.ax_.get_xlabel() == "Sample id"
    again = UnitsDisplay.from_estimator(ridge, X, TARGETS, line_kw={"color": "k"})
    assert_array_equal(again.line_.get_ydata(), found.values)
    assert again.line_.get_color() == "k"
    plt.close("all")
    with pytest.raises(ValueError, match="X and y are the validation rows"):
        UnitsDisplay.from_estimator(ridge, X)
    with pytest.raises(TypeError, match="got Jackknife"):
        UnitsDisplay.from_results(jackknife(ridge))
