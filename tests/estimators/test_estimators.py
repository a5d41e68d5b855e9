"""What users see of the estimators, with scikit-learn's own checks and tools."""

import json
import tracemalloc
from copy import deepcopy
from dataclasses import FrozenInstanceError

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, scale
from sklearn.utils.estimator_checks import parametrize_with_checks

import skdeltagrad
from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradRidge,
    Trajectory,
    UpdateReport,
    assert_erased,
)
from skdeltagrad._data import training_set
from skdeltagrad._erasure.object_graph import iter_arrays
from skdeltagrad._utils.threads import limit_threads

# Many tests try all solvers with one set of parameters.
pytestmark = pytest.mark.filterwarnings(
    "ignore:These parameters have no effect with solver='gd'.*batch_size:UserWarning"
)


def _exact(kind, **parameters):
    """An estimator whose edits are exact, with a fixed learning rate."""
    settings = {"solver": "gd", "period": 1, "learning_rate": 0.3, "max_iter": 25}
    return kind(**(settings | parameters))


@pytest.fixture(scope="module")
def wine():
    """90 rows of three classes; the first 90 hold all of them."""
    X, y = load_wine(return_X_y=True)
    order = np.random.RandomState(1).permutation(len(y))[:90]
    return scale(X)[order], np.array(["red", "rose", "white"])[y[order]]


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X)[:150], y[:150]


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X)[:100], scale(y)[:100]


def assert_same_model(one, other, rtol=1e-9, atol=1e-11):
    assert_allclose(one.coef_, other.coef_, rtol=rtol, atol=atol)
    assert_allclose(one.intercept_, other.intercept_, rtol=rtol, atol=atol)


@parametrize_with_checks(
    [
        DeltaGradLogisticRegression(),
        DeltaGradLogisticRegression(standardize=True),
        DeltaGradLogisticRegression(solver="gd"),
        DeltaGradLogisticRegression(solver="sgd", random_state=0),
        DeltaGradRidge(),
        DeltaGradRidge(standardize=True),
        DeltaGradRidge(solver="gd"),
        DeltaGradRidge(solver="sgd", random_state=0),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# ---------------------------------------------------------------------------
# Attributes
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_attributes_of_classifiers(wine, dtype, convert, fit_intercept, n_classes):
    X, y = wine
    kept = y != "rose" if n_classes == 2 else np.full(len(y), True)
    X, y = convert(X[kept].astype(dtype)), y[kept]
    model = DeltaGradLogisticRegression(
        solver="gd", fit_intercept=fit_intercept, max_iter=10
    )
    for _ in range(2):
        model.fit(X, y) if not hasattr(model, "coef_") else model.unlearn(position=0)
        n_outputs = 1 if n_classes == 2 else 3
        assert model.coef_.shape == (n_outputs, 13)
        assert model.intercept_.shape == (n_outputs,)
        assert model.coef_.dtype == model.intercept_.dtype == np.float64
        assert model.intercept_.any() == fit_intercept
        assert_array_equal(model.classes_, np.unique(y))
        assert_array_equal(model.n_iter_, [10])
        assert model.n_iter_.dtype == np.int32
        assert model.n_features_in_ == 13
        assert isinstance(model.learning_rate_, float)
        assert isinstance(model.trajectory_, Trajectory)
        assert isinstance(model.update_report_, UpdateReport)
        assert model.decision_function(X).dtype == np.float64
        probabilities = model.predict_proba(X)
        assert probabilities.shape == (len(y), n_classes)
        assert probabilities.dtype == np.float64
        assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        assert_allclose(np.log(probabilities), model.predict_log_proba(X), rtol=1e-3)
        assert_array_equal(
            model.classes_[probabilities.argmax(axis=1)], model.predict(X)
        )
        if n_classes == 3:
            assert_allclose(model.coef_.sum(axis=0), 0, atol=np.finfo(dtype).eps * 10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("target_shape", [(), (1,), (2,)])
def test_attributes_of_ridge(diabetes, dtype, fit_intercept, target_shape):
    X, y = diabetes
    Y = np.column_stack([y] * 2)[:, : len(target_shape) and target_shape[0]] + 1
    X, Y = X.astype(dtype), Y.reshape(len(y), *target_shape) if target_shape else y + 1
    model = DeltaGradRidge(solver="gd", fit_intercept=fit_intercept, max_iter=10)
    for _ in range(2):
        model.fit(X, Y) if not hasattr(model, "coef_") else model.unlearn(position=0)
        theirs = Ridge(fit_intercept=fit_intercept).fit(X, Y)
        assert model.coef_.shape == theirs.coef_.shape
        assert model.coef_.dtype == np.float64
        assert np.shape(model.intercept_) == np.shape(theirs.intercept_)
        assert np.any(model.intercept_) == fit_intercept
        if not target_shape and not fit_intercept:
            assert model.intercept_ == 0.0
        assert_array_equal(model.n_iter_, [10])
        assert model.predict(X).shape == theirs.predict(X).shape
        assert model.predict(X).dtype == np.float64
        assert model.to_sklearn().predict(X).shape == theirs.predict(X).shape


def test_learning_rates(diabetes):
    X, y = diabetes
    rates = [0.3, 0.2, 0.1]
    model = DeltaGradRidge(solver="gd", max_iter=3, learning_rate=rates).fit(X, y)
    assert_array_equal(model.learning_rate_, rates)
    constant = clone(model).set_params(learning_rate=0.25).fit(X, y)
    assert constant.learning_rate_ == 0.25
    automatic = clone(model).set_params(learning_rate="auto").fit(X, y)
    rate = automatic.learning_rate_
    moment = np.hstack([X, np.ones((100, 1))])
    moment = moment.T @ moment / 100
    most = 1 / (np.linalg.eigvalsh(moment)[-1] + 0.01)
    assert rate == np.floor(100 * most) / 100  # rounded down to two digits
    # Decided by fit, and kept through edits.
    automatic.unlearn(position=range(50))
    assert automatic.learning_rate_ == rate
    assert automatic.partial_refit().learning_rate_ == rate


@pytest.mark.parametrize("name", ["coef_", "intercept_", "learning_rate_", "n_iter_"])
def test_attributes_can_be_written_to(cancer, name):
    """They are copies: the cached run is not changed with them."""
    X, y = cancer
    model = DeltaGradLogisticRegression(
        solver="gd", max_iter=4, learning_rate=[0.4, 0.3, 0.2, 0.1]
    ).fit(X, y)
    twin = deepcopy(model)
    getattr(model, name)[...] = 7
    if name == "coef_":
        assert_array_equal(model.decision_function(X[:1] * 0 + 1) > 100, [True])
    model.unlearn(position=0)
    twin.unlearn(position=0)
    assert_array_equal(getattr(model, name), getattr(twin, name))
    assert_array_equal(model.coef_, twin.coef_)


def test_sparse_coefficients(cancer):
    X, y = cancer
    model = DeltaGradLogisticRegression(solver="gd", max_iter=5).fit(X, y)
    predicted = model.predict(X)
    assert_array_equal(model.sparsify().predict(X), predicted)
    assert sparse.issparse(model.coef_)
    assert not sparse.issparse(model.unlearn(position=0).coef_)


def test_html_repr(cancer):
    X, y = cancer
    model = DeltaGradLogisticRegression(solver="gd", max_iter=300)
    assert "DeltaGradLogisticRegression" in model._repr_html_()
    assert len(model.fit(X, y)._repr_html_()) < 200_000


# ---------------------------------------------------------------------------
# Weights of rows and classes
# ---------------------------------------------------------------------------

FORMS = {
    "dense": np.asarray,
    "sparse": sparse.csr_array,
    "float32": lambda X: np.asarray(X, np.float32),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rate", ["auto", 0.2])
@pytest.mark.parametrize("target", ["binary", "classes", "balanced", "ridge"])
def test_weight_zero_is_removed_and_two_is_repeated(wine, form, rate, target):
    X, y = wine
    X = FORMS[form](X)
    parameters = {"solver": "gd", "max_iter": 30, "learning_rate": rate}
    if target == "ridge":
        model, y = DeltaGradRidge(**parameters), np.linspace(-1, 1, 90)
    else:
        balanced = "balanced" if target == "balanced" else None
        model = DeltaGradLogisticRegression(class_weight=balanced, **parameters)
        y = np.where(y == "rose", "red", y) if target == "binary" else y
    weight = np.tile([1.0, 0.0, 2.0], 30)
    repeated = np.repeat(np.arange(90), weight.astype(int))
    weighted = clone(model).fit(X, y, weight)
    model.fit(X[repeated], y[repeated])
    tolerance = 1e-5 if form == "float32" else 1e-9
    assert_same_model(weighted, model, rtol=tolerance, atol=tolerance)
    # Rows without weight can leave, and change nothing.
    before = weighted.coef_
    weighted.unlearn(position=np.arange(1, 90, 3))
    assert_allclose(weighted.coef_, before, rtol=tolerance, atol=tolerance)
    # And one of weight two is two rows when it leaves, and when it joins.
    model.set_params(period=1).unlearn(X[[2, 2]], y[[2, 2]])
    weighted.set_params(period=1).unlearn(X[[2]], y[[2]])
    assert_same_model(weighted, model, rtol=tolerance, atol=tolerance)
    model.partial_refit(X[[5, 5, 1]], y[[5, 5, 1]])
    weighted.partial_refit(X[[5, 1]], y[[5, 1]], sample_weight=[2.0, 1.0])
    assert_same_model(weighted, model, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("solver", ["gd", "sgd"])
@pytest.mark.parametrize("labels", [["red", "rose", "white"], [0, 1, 2], [-1, 7, 8]])
def test_class_weight_multiplies_sample_weight(wine, solver, labels):
    X, y = wine
    y = np.array(labels)[np.unique(y, return_inverse=True)[1]]
    factors = dict(zip(labels, [0.5, 3.0, 1.0], strict=True))
    given = {label: factors[label] for label in labels[:2]}  # the third counts 1
    factor = np.array([factors[label] for label in y.tolist()])
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    one = DeltaGradLogisticRegression(
        solver=solver, max_iter=10, batch_size=20, class_weight=given, random_state=0
    )
    other = clone(one).set_params(class_weight=None)
    one.fit(X[:70], y[:70], weight[:70])
    other.fit(X[:70], y[:70], (weight * factor)[:70])
    assert_same_model(one, other, rtol=1e-12)
    for model, weights in ((one, weight), (other, weight * factor)):
        model.unlearn(position=[3, 17])
        model.unlearn(X[[5]], y[[5]])
        model.partial_refit(X[70:80], y[70:80], sample_weight=weights[70:80])
        model.partial_refit(
            X[80:82], y[80:82], position=[8, 9], replace=True,
            sample_weight=weights[80:82],
        )  # fmt: skip
    assert_same_model(one, other, rtol=1e-11)


BALANCED_EDITS = {
    "one row": (lambda model, X, y, w: model.unlearn(position=3), [3], 0),
    "most of a class": (
        lambda model, X, y, w: model.unlearn(
            position=np.flatnonzero(y[:70] == "red")[2:]
        ),
        "red", 0,
    ),
    "add": (
        lambda model, X, y, w: model.partial_refit(
            X[70:], y[70:], sample_weight=w[70:]
        ),
        [], 20,
    ),
    "remove and add": (
        lambda model, X, y, w: model.partial_refit(
            X[70:75], y[70:75], sample_weight=w[70:75], remove_position=[0, 1, 2]
        ),
        [0, 1, 2], 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", BALANCED_EDITS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_balanced_weights_are_those_of_the_rows_that_remain(
    wine, edit, weighted, n_classes
):
    X, y = wine
    if n_classes == 2:
        y = np.where(y == "rose", "white", y)
    weight = np.ones(90)
    if weighted:
        weight = np.random.default_rng(0).uniform(0.5, 2, 90)
    apply, removed, n_added = BALANCED_EDITS[edit]
    if removed == "red":
        removed = np.flatnonzero(y[:70] == "red")[2:]
    rows = np.setdiff1d(np.arange(70 + n_added), removed)
    model = _exact(DeltaGradLogisticRegression, class_weight="balanced", max_iter=60)
    model.fit(X[:70], y[:70], weight[:70])
    fresh = clone(model).fit(X[rows], y[rows], weight[rows])
    start = model.coef_
    exact = apply(deepcopy(model), X, y, weight)
    assert_same_model(exact, fresh, rtol=1e-10, atol=1e-12)
    replayed = apply(model.set_params(period=5), X, y, weight)
    assert replayed.update_report_.n_exact_steps < 25
    nothing = np.linalg.norm(start - fresh.coef_)
    share = 0.3 if edit == "most of a class" else 0.1
    assert np.linalg.norm(replayed.coef_ - fresh.coef_) < share * nothing


@pytest.mark.parametrize("weighted", [False, True])
def test_balanced_mini_batches_follow_the_exact_retraining(wine, weighted):
    X, y = wine
    weight = np.ones(90)
    if weighted:
        weight = np.random.default_rng(0).uniform(0.5, 2, 90)
    model = DeltaGradLogisticRegression(
        solver="sgd", batch_size=45, max_iter=30, class_weight="balanced",
        learning_rate=0.3, random_state=0,
    ).fit(X, y, weight)  # fmt: skip
    start = model.coef_
    for position in ([3, 17], [30], [44, 45]):
        model.unlearn(position=position)
        exact = deepcopy(model).partial_refit()
        nothing = np.linalg.norm(start - exact.coef_)
        assert np.linalg.norm(model.coef_ - exact.coef_) < 0.3 * nothing


# ---------------------------------------------------------------------------
# Classes that come and go
# ---------------------------------------------------------------------------


CLASS_MODELS = [
    DeltaGradLogisticRegression(
        solver=solver, class_weight=class_weight, period=1, max_iter=15,
        batch_size=1000, random_state=0,
    )
    for solver in ("gd", "sgd")
    for class_weight in (None, "balanced", {"red": 2.0, "white": 0.5})
]  # fmt: skip


@pytest.mark.parametrize("model", CLASS_MODELS, ids=str)
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_a_class_disappears(wine, model, convert):
    X, y = wine
    X = convert(X)
    gone = np.flatnonzero(y == "rose")
    model = clone(model).fit(X, y)
    model.unlearn(position=gone[:-1])
    assert not model.update_report_.refit
    assert model.coef_.shape == (3, 13)
    model.unlearn(position=gone[-1])
    report = model.update_report_
    assert report.refit
    assert "classes" in report.reason
    assert f"fitted again: {report.reason}" in str(report)
    assert report.n_exact_steps == report.n_steps == 15
    assert_array_equal(model.classes_, ["red", "white"])
    assert model.coef_.shape == (1, 13)
    assert set(model.predict(X)) == {"red", "white"}
    left = np.flatnonzero(y != "rose")
    fresh = clone(model).fit(X[left], y[left])
    assert_same_model(model, fresh)
    assert_allclose(model.learning_rate_, fresh.learning_rate_)
    # The new run is a run like any other.
    model.unlearn(position=left[:3])
    assert not model.update_report_.refit
    fresh.unlearn(position=[0, 1, 2])
    assert_same_model(model, fresh)


@pytest.mark.parametrize("model", CLASS_MODELS, ids=str)
@pytest.mark.parametrize("new", ["amber", "pink", "yellow"])
def test_a_class_appears(wine, model, new):
    """Before, between and behind the others in the order of labels."""
    X, y = wine
    y = np.where(y == "rose", new, y)
    known, later = np.flatnonzero(y != new), np.flatnonzero(y == new)
    model = clone(model).fit(X[known], y[known])
    assert model.coef_.shape == (1, 13)
    model.partial_refit(X[later], y[later])
    assert model.update_report_.refit
    assert "classes" in model.update_report_.reason
    assert_array_equal(model.classes_, sorted(["red", "white", new]))
    assert model.coef_.shape == (3, 13)
    order = np.concatenate([known, later])
    fresh = clone(model).fit(X[order], y[order])
    if model.solver == "gd":
        assert_same_model(model, fresh)
    assert np.mean(model.predict(X) == y) > 0.9
    # Rows of the old classes are found under their old labels.
    model.unlearn(X[known[:2]], y[known[:2]])
    model.unlearn(X[later[:2]], y[later[:2]])
    assert not model.update_report_.refit
    assert model.update_report_.n_samples == 86


def test_a_label_that_is_new_is_told(wine):
    """It may be a typing error."""
    X, y = wine
    model = DeltaGradLogisticRegression().fit(X[:-1], y[:-1])
    message = "new labels, 'Red', besides those of fit, 'red', 'rose', 'white'"
    with pytest.warns(UserWarning, match=message) as caught:
        model.partial_refit(X[-1:], ["Red"])
    assert caught[0].filename == __file__
    assert model.classes_.tolist() == ["Red", "red", "rose", "white"]


def test_one_class_takes_the_place_of_another(wine):
    X, y = wine
    X, y = X[y != "rose"], y[y != "rose"]
    red, white = np.flatnonzero(y == "red"), np.flatnonzero(y == "white")
    model = _exact(DeltaGradLogisticRegression).fit(X, y)
    model.partial_refit(X[red], ["blue"] * len(red), remove_position=red)
    assert model.update_report_.refit
    assert_array_equal(model.classes_, ["blue", "white"])
    order = np.concatenate([white, red])
    labels = np.where(y == "red", "blue", y)
    assert_same_model(model, clone(model).fit(X[order], labels[order]))
    # Corrected, and back: the same two classes with other rows.
    model.partial_refit(
        X[red], y[red], position=np.arange(len(y), len(y) + len(red)), replace=True
    )
    assert_array_equal(model.classes_, ["red", "white"])
    assert_same_model(model, clone(model).fit(X[order], y[order]))


def test_the_last_row_of_a_class_is_replaced_by_one_of_the_same(wine):
    X, y = wine
    red = np.flatnonzero(y == "red")
    model = _exact(DeltaGradLogisticRegression).fit(X, y)
    model.unlearn(position=red[1:])
    model.partial_refit(X[red[1:2]], ["red"], position=red[:1], replace=True)
    assert not model.update_report_.refit
    others = np.append(np.flatnonzero(y != "red"), red[1])
    assert_same_model(model, clone(model).fit(X[others], y[others]))


@pytest.mark.parametrize(
    ("labels", "new"),
    [([False, True], None), ([0, 1], 2), ([5, 3], 4), ([-1, 1], 0), ([0.0, 1.0], 2.0)],
)
def test_labels_of_other_kinds(cancer, labels, new):
    X, y = cancer
    y = np.array(labels)[y]
    model = _exact(DeltaGradLogisticRegression).fit(X, y)
    assert model.classes_.dtype == y.dtype
    assert set(model.predict(X).tolist()) == set(labels)
    model.unlearn(X[:2], y[:2])
    assert model.update_report_.n_removed == 2
    if new is not None:
        model.partial_refit(X[:2], [new] * 2)
        assert_array_equal(model.classes_, sorted([*labels, new]))
        order = np.append(np.arange(2, len(y)), [0, 1])
        y_all = np.append(y[2:], [new] * 2)
        assert_same_model(model, clone(model).fit(X[order], y_all))


def test_labels_as_objects(wine):
    X, y = wine
    model = _exact(DeltaGradLogisticRegression).fit(X[:80], y[:80].astype(object))
    twin = _exact(DeltaGradLogisticRegression).fit(X[:80], pd.Series(y[:80]))
    model.unlearn(X[:2], y[:2])
    model.partial_refit(X[80:], pd.Series(y[80:], dtype=object))
    twin.unlearn(X[:2], pd.Series(y[:2]))
    twin.partial_refit(X[80:], y[80:].tolist())
    assert_array_equal(model.coef_, twin.coef_)
    assert_array_equal(model.classes_, ["red", "rose", "white"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("corrupt", [1e3, 1e10, 1e20, 1e30])
def test_a_corrupt_row_leaves_no_trace(cancer, form, corrupt):
    """Sums over all rows lose their digits to it, and are not enough to go on with."""
    X, y = cancer
    X = X[:, :6] + 5
    X[7, 3] = corrupt
    X, left = FORMS[form](X), np.delete(np.arange(len(y)), 7)
    model = _exact(DeltaGradLogisticRegression).fit(X, y).unlearn(position=7)
    fresh = clone(model).fit(X[left], y[left])
    tolerance = 1e-5 if form == "float32" else 1e-9
    assert_same_model(model, fresh, rtol=tolerance, atol=tolerance)
    assert_same_model(model.partial_refit(), fresh, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("heavy", [1e3, 1e10, 1e15])
@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_a_row_of_enormous_weight_can_leave(cancer, heavy, solver):
    """The other rows count, however little next to it."""
    X, y = cancer
    weight = np.ones(len(y))
    weight[7] = heavy
    model = _exact(DeltaGradLogisticRegression, solver=solver, fit_intercept=False)
    model.fit(X, y, weight).unlearn(position=7)
    left = np.delete(np.arange(len(y)), 7)
    fresh = clone(model).fit(X[left], y[left])
    assert_same_model(model.partial_refit(), fresh)


# ---------------------------------------------------------------------------
# Forms of the data
# ---------------------------------------------------------------------------


def _strided(X):
    wide = np.zeros((2 * len(X), 2 * X.shape[1]))
    wide[::2, ::2] = X
    return wide[::2, ::2]


def _read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "strided": _strided,
    "reversed": lambda X: X[::-1].copy()[::-1],
    "read-only": _read_only,
    "list": lambda X: X.tolist(),
    "big-endian": lambda X: X.astype(">f8"),
    "object": lambda X: X.astype(object),
    "frame": pd.DataFrame,
}
SPARSE = {
    "csr_matrix": sparse.csr_matrix,
    "csc_array": sparse.csc_array,
    "csc_matrix": sparse.csc_matrix,
    "coo_array": sparse.coo_array,
    "coo_matrix": sparse.coo_matrix,
    "lil_array": sparse.lil_array,
    "lil_matrix": sparse.lil_matrix,
    "dok_array": sparse.dok_array,
    "bsr_array": sparse.bsr_array,
}


@pytest.mark.parametrize("layout", [*LAYOUTS, *SPARSE])
def test_layouts(cancer, layout):
    X, y = cancer
    X = np.where(np.abs(X) > 0.7, X, 0.0)
    convert = LAYOUTS.get(layout) or SPARSE[layout]
    plain = np.asarray if layout in LAYOUTS else sparse.csr_array
    models = []
    for form in (plain, convert):
        model = DeltaGradLogisticRegression(
            solver="sgd", batch_size=50, max_iter=4, random_state=0
        ).fit(form(X[:100]), y[:100])
        model.unlearn(form(X[:3]), y[:3])
        model.partial_refit(form(X[100:]), y[100:])
        models.append(model)
    assert_array_equal(models[1].coef_, models[0].coef_)
    assert_array_equal(models[1].predict(convert(X)), models[0].predict(plain(X)))


def test_integers_become_float64(diabetes):
    X, y = np.rint(diabetes[0] * 3), diabetes[1]
    for dtype in (np.int64, np.int8, np.float16):
        model = DeltaGradRidge(solver="gd", max_iter=5).fit(X.astype(dtype), y)
        assert model.coef_.dtype == np.float64
        model.unlearn(X[:2].astype(dtype), y[:2])
        fitted = DeltaGradRidge(solver="gd", max_iter=5).fit(X, y).unlearn(X[:2], y[:2])
        assert_array_equal(model.coef_, fitted.coef_)


def test_memory_mapped_rows(cancer, tmp_path):
    X, y = cancer
    joblib.dump((X, y, np.ones(len(y))), tmp_path / "data.joblib")
    plain = DeltaGradLogisticRegression(solver="gd", max_iter=5).fit(X, y)
    for mode in ("r", "r+"):
        mapped = joblib.load(tmp_path / "data.joblib", mmap_mode=mode)
        model = DeltaGradLogisticRegression(solver="gd", max_iter=5).fit(*mapped)
        assert_array_equal(model.coef_, plain.coef_)
        model.unlearn(mapped[0][:2], mapped[1][:2])
        model.partial_refit(*(array[:2] for array in mapped[:2]))
        again = joblib.load(tmp_path / "data.joblib")
        assert_array_equal(again[0], X)
        assert_array_equal(again[1], y)


@pytest.mark.parametrize("form", ["dense", "sparse", "frame"])
@pytest.mark.parametrize("solver", ["gd", "sgd"])
@pytest.mark.parametrize("kind", [DeltaGradLogisticRegression, DeltaGradRidge])
def test_the_callers_data_is_not_written_to(cancer, form, solver, kind):
    X, y = cancer
    X = {"dense": np.array, "sparse": sparse.csr_array, "frame": pd.DataFrame}[form](X)
    given = [X, y.astype(float), np.linspace(0.5, 2, len(y)), np.arange(len(y)) // 2]
    before = deepcopy(given)
    model = kind(solver=solver, max_iter=5, batch_size=20, random_state=0)

    def some(rows):
        return [X.iloc[rows] if form == "frame" else X[rows], given[1][rows]]

    edits = [
        lambda: model.fit(*given),
        lambda: model.unlearn(*some(slice(2, 5))),
        lambda: model.unlearn(position=given[3][80:100]),
        lambda: model.unlearn(sample_id=given[3][30:40]),
        lambda: model.partial_refit(
            *some(slice(0, 4)), sample_weight=given[2][:4], sample_id=given[3][:4]
        ),
        lambda: model.partial_refit(
            *some(slice(0, 4)), sample_weight=given[2][:4], sample_id=given[3][60:64],
            replace=True, remove_id=given[3][70:74],
        ),
    ]  # fmt: skip
    for edit in edits:
        edit()
        for now, then in zip(given, before, strict=True):
            if sparse.issparse(now):
                assert_array_equal(now.data, then.data)
                assert_array_equal(now.indices, then.indices)
                assert_array_equal(now.indptr, then.indptr)
            else:
                assert_array_equal(np.asarray(now), np.asarray(then))


@pytest.mark.parametrize("form", ["dense", "Fortran", "float32", "sparse"])
def test_fit_owns_its_rows(cancer, form):
    X, y = cancer
    X = {
        "dense": np.array, "Fortran": np.asfortranarray, "sparse": sparse.csr_array,
        "float32": lambda X: X.astype(np.float32),
    }[form](X)  # fmt: skip
    y, weight = y.astype(float), np.linspace(0.5, 2, len(y))
    model = DeltaGradRidge(solver="gd", max_iter=5).fit(X, y, weight)
    values = X.data if form == "sparse" else X
    for _, array in iter_arrays(model):
        for given in (values, y, weight):
            assert not np.may_share_memory(array, given)
    twin = deepcopy(model)
    values[...] = np.nan
    y[:] = np.nan
    weight[:] = np.nan
    model.unlearn(position=[3, 17])
    assert_array_equal(model.coef_, twin.unlearn(position=[3, 17]).coef_)
    assert np.isfinite(model.coef_).all()


def test_feature_names(cancer):
    X, y = cancer
    names = [f"column {j}" for j in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=names)
    model = DeltaGradLogisticRegression(solver="gd", max_iter=5).fit(frame, y)
    assert_array_equal(model.feature_names_in_, names)
    model.unlearn(frame[:2], y[:2])
    model.partial_refit(frame[:2], y[:2])
    assert_array_equal(model.feature_names_in_, names)
    with pytest.raises(ValueError, match="feature names"):
        model.partial_refit(frame.rename(columns={"column 3": "x"}), y)
    with pytest.warns(UserWarning, match="valid feature names"):
        model.unlearn(X[2:3], y[2:3])
    model.fit(X, y)
    assert not hasattr(model, "feature_names_in_")


# ---------------------------------------------------------------------------
# scikit-learn's tools
# ---------------------------------------------------------------------------


def test_grid_search(wine):
    X, y = wine
    search = GridSearchCV(
        DeltaGradLogisticRegression(solver="gd", max_iter=20),
        {"C": [0.01, 1.0], "fit_intercept": [True, False]},
        cv=3,
    ).fit(X, y)
    best = search.best_estimator_
    twin = clone(best).fit(X, y).unlearn(position=[0, 1, 2])
    assert best.unlearn(X[:3], y[:3]) is best
    assert_allclose(best.coef_, twin.coef_, rtol=1e-10)
    with pytest.raises(AssertionError, match="best_estimator_ is not purged"):
        assert_erased(search, X[:3])
    best.purge()
    assert assert_erased(search, X[:3]).n_checked == 3
    assert_array_equal(search.predict(X), best.predict(X))


@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_cross_validation(wine, solver):
    parameters = {"solver": solver, "batch_size": 20, "random_state": 0}
    classifier = DeltaGradLogisticRegression(max_iter=30, **parameters)
    assert cross_val_score(classifier, *wine, cv=3).min() > 0.9
    X, y = load_diabetes(return_X_y=True)
    ridge = make_pipeline(StandardScaler(), DeltaGradRidge(**parameters))
    assert cross_val_score(ridge, X, y, cv=3).min() > 0.4


def test_pipeline():
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(
        StandardScaler(),
        PCA(6, random_state=0),
        DeltaGradLogisticRegression(solver="gd"),
    ).fit(X, y)
    twin = deepcopy(pipeline)
    mean = pipeline[0].mean_.copy()
    assert skdeltagrad.unlearn(pipeline, X[[3, 100]], y[[3, 100]]) is pipeline
    assert pipeline[-1].update_report_.n_removed == 2
    twin[-1].unlearn(position=[3, 100])
    assert_allclose(pipeline[-1].coef_, twin[-1].coef_, rtol=1e-10)
    assert_array_equal(pipeline[0].mean_, mean)  # transformers are left alone
    with pytest.raises(ValueError, match=r"X\[0\], with its y"):
        skdeltagrad.unlearn(pipeline, X[[3]], y[[3]])
    skdeltagrad.unlearn(pipeline, X[[3]], y[[3]], on_missing="ignore")
    assert pipeline[-1].update_report_.n_not_found == 1
    assert pipeline.score(X, y) > 0.9


def test_pipeline_on_a_frame():
    X, y = load_iris(return_X_y=True, as_frame=True)
    X["origin"] = pd.Series(["north", "south", "east"] * 50)
    transformer = make_column_transformer(
        (StandardScaler(), list(X.columns[:4])), (OneHotEncoder(), ["origin"])
    )
    names = pd.Series(["a", "b", "c"])[y].reset_index(drop=True)
    pipeline = make_pipeline(transformer, DeltaGradLogisticRegression(solver="gd"))
    pipeline.fit(X, names)
    twin = deepcopy(pipeline)
    rows = [140, 3, 70]
    skdeltagrad.unlearn(pipeline, X.iloc[rows], names.iloc[rows])
    twin[-1].unlearn(position=rows)
    assert pipeline[-1].update_report_.n_samples == 147
    assert_allclose(pipeline[-1].coef_, twin[-1].coef_, rtol=1e-10)


def test_pipeline_of_frames():
    """Transformers may hand on frames, whose columns the last step has names of."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler(), DeltaGradRidge(solver="gd", max_iter=5))
    pipeline.set_output(transform="pandas").fit(X, y)
    skdeltagrad.unlearn(pipeline, X[5:8], y[5:8])
    assert pipeline[-1].update_report_.n_removed == 3
    assert list(pipeline[-1].feature_names_in_) == list(X.columns)


def test_unlearn_without_transformers(diabetes):
    X, y = diabetes
    model = DeltaGradRidge(solver="gd", max_iter=5).fit(X, y)
    alone = deepcopy(model)
    skdeltagrad.unlearn(model, X[:2], y[:2])
    pipeline = Pipeline([("ridge", alone)])
    skdeltagrad.unlearn(pipeline, X[:2], y[:2])
    assert alone.update_report_.n_removed == 2
    assert_array_equal(alone.coef_, model.coef_)
    pipeline = Pipeline([("nothing", "passthrough"), ("ridge", alone)])
    skdeltagrad.unlearn(pipeline, X[2:3], y[2:3], sample_weight=[1.0])
    assert alone.update_report_.n_samples == 97


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (LogisticRegression(), "a LogisticRegression"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "LogisticRegression"),
        (make_pipeline(StandardScaler()), "StandardScaler"),
        (make_pipeline(DeltaGradRidge(), "passthrough"), "str"),
        (GridSearchCV(DeltaGradRidge(solver="gd"), {}), "GridSearchCV"),
        (DeltaGradRidge, "type|ABCMeta"),
        (None, "NoneType"),
    ],
)
def test_unlearn_from_something_else(diabetes, wrong, name):
    X, y = diabetes
    if isinstance(wrong, GridSearchCV):
        wrong.fit(X, y)
    with pytest.raises(TypeError, match=name):
        skdeltagrad.unlearn(wrong, X[:2], y[:2])


def test_metadata_routing(diabetes):
    X, y = diabetes
    weight, ids = np.linspace(0.5, 2, 100), np.arange(100) // 2
    with sklearn.config_context(enable_metadata_routing=True):
        ridge = DeltaGradRidge(solver="gd", max_iter=5)
        ridge.set_fit_request(sample_weight=True, sample_id=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, ridge)
        pipeline.fit(X, y, sample_weight=weight, sample_id=ids)
        with pytest.raises(TypeError, match="sample_id"):
            ridge.set_fit_request(sample_id=False)
            make_pipeline(scaler, ridge).fit(X, y, sample_id=ids)
    direct = DeltaGradRidge(solver="gd", max_iter=5)
    direct.fit(scale(X), y, sample_weight=weight, sample_id=ids)
    assert_allclose(pipeline[-1].coef_, direct.coef_, rtol=1e-10)
    pipeline[-1].unlearn(sample_id=7)
    assert pipeline[-1].update_report_.n_removed == 2


def test_fit_parameters_of_a_pipeline(diabetes):
    X, y = diabetes
    pipeline = make_pipeline(StandardScaler(), DeltaGradRidge(solver="gd", max_iter=5))
    pipeline.fit(X, y, deltagradridge__sample_id=np.arange(100) // 2)
    pipeline[-1].unlearn(sample_id=7)
    assert pipeline[-1].update_report_.n_removed == 2


# ---------------------------------------------------------------------------
# Reports
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["gd", "sgd"])
@pytest.mark.parametrize(("burn_in", "period"), [(10, 5), (0, 1), (0, 7), (200, 5)])
def test_report(diabetes, solver, burn_in, period):
    X, y = diabetes
    model = DeltaGradRidge(
        solver=solver, max_iter=20, batch_size=30, burn_in=burn_in, period=period,
        random_state=0,
    ).fit(X[:95], y[:95])  # fmt: skip
    n_steps = 20 if solver == "gd" else 20 * 4
    report = model.update_report_
    assert report.operation == "fit"
    assert report.solver == solver
    assert report.n_samples == 95
    assert report.n_steps == report.n_exact_steps == n_steps
    assert report.cache_bytes == model.trajectory_.nbytes
    assert 0 < report.seconds < 60
    assert not report.refit
    assert (report.n_removed, report.n_added, report.n_not_found) == (0, 0, 0)

    model.partial_refit(X[95:], y[95:], remove_position=[0, 1, 3], on_missing="ignore")
    report = model.update_report_
    assert report.operation == "partial_refit"
    assert (report.n_removed, report.n_added, report.n_not_found) == (3, 5, 0)
    assert report.n_samples == 97
    assert report.n_steps == n_steps
    later = max(0, n_steps - burn_in)
    least = min(n_steps, burn_in) + -(-later // period)
    # Where there is no curvature pair yet, a step more is exact.
    assert least <= report.n_exact_steps <= least + (burn_in == 0)
    assert report.n_exact_steps == model.trajectory_.exact.sum()
    assert not report.indexed

    model.unlearn(X[4:6], y[4:6])
    assert model.update_report_.indexed
    model.unlearn(X[4:7], y[4:7], on_missing="ignore")
    report = model.update_report_
    assert (report.n_removed, report.n_not_found, report.n_samples) == (1, 2, 94)
    assert not report.indexed


def test_report_of_nothing_to_do(diabetes):
    X, y = diabetes
    model = DeltaGradRidge(solver="gd", max_iter=5).fit(X, y).unlearn(position=3)
    model.unlearn(position=3, on_missing="ignore")
    report = model.update_report_
    assert (report.n_removed, report.n_not_found, report.n_steps) == (0, 1, 0)
    assert "1 not found" in str(report)
    assert "nothing to do" in str(report)
    assert report.cache_bytes == model.trajectory_.nbytes


def test_report_as_text_and_dict(wine, replay_always):
    X, y = wine
    ids = pd.Series(np.arange(90))
    model = DeltaGradLogisticRegression(solver="gd").fit(X, y, sample_id=ids)
    reports = [model.update_report_]
    reports += [model.unlearn(position=np.arange(5)).update_report_]
    reports += [model.unlearn(X[5:7], y[5:7]).update_report_]
    reports += [
        model.partial_refit(
            X[:2], y[:2], sample_id=[5, 200], remove_id=[8, 999], on_missing="ignore"
        ).update_report_
    ]
    reports += [model.partial_refit().update_report_]
    reports += [model.unlearn(X[y == "red"], y[y == "red"], on_missing="ignore")]
    reports[-1] = reports[-1].update_report_
    for report in reports:
        as_dict = report.to_dict()
        assert json.loads(json.dumps(as_dict)) == as_dict
        assert UpdateReport(**as_dict).to_dict() == as_dict
        assert all(len(line) <= 88 for line in str(report).splitlines())
        assert "np." not in str(report)
        assert "np." not in repr(report)
        with pytest.raises(FrozenInstanceError):
            report.n_removed = 0
    fit, positions, content, both, retrain, refit = map(str, reports)
    assert fit.startswith("fitted on 90 rows in ")
    assert "computed 100 of 100 steps exactly" in fit
    assert positions.startswith("removed 5 rows in ")
    assert "; 85 rows now\n" in positions
    assert "computed 0 of 100 steps exactly, and read the rows 3 times" in positions
    assert "of what this edit changed is missing (an estimate)" in positions
    assert "indexed" in content
    assert both.startswith("removed 1 row and added 2 rows, 1 not found in ")
    assert retrain.startswith("retrained on 84 rows in ")
    assert "computed 100 of 100 steps exactly" in retrain
    assert "fitted again: the classes changed" in refit
    for text in (fit, positions, both, retrain):
        assert "fitted again" not in text


def test_verbose(diabetes, capsys):
    X, y = diabetes
    model = DeltaGradRidge(solver="gd", max_iter=5).fit(X, y).unlearn(position=0)
    assert capsys.readouterr().out == ""
    model.set_params(verbose=1).fit(X, y)
    size = model.update_report_.cache_bytes
    announced = f"cached run: {size:,} bytes in memory\n"
    assert capsys.readouterr().out == f"{announced}{model.update_report_}\n"
    for edit in (
        lambda: model.unlearn(position=0),
        lambda: model.unlearn(position=0, on_missing="ignore"),
        lambda: model.partial_refit(X[:1], y[:1]),
        lambda: model.partial_refit(),
    ):
        edit()
        assert capsys.readouterr().out == f"{model.update_report_}\n"


# ---------------------------------------------------------------------------
# Reproducibility
# ---------------------------------------------------------------------------


def test_random_state(diabetes):
    X, y = diabetes
    fits = {}
    for seed in (0, 1, np.random.RandomState(0)):
        for repetition in range(2):
            model = DeltaGradRidge(
                solver="sgd", max_iter=3, batch_size=10, random_state=deepcopy(seed)
            ).fit(X, y)
            model.unlearn(position=[3, 17]).partial_refit(X[:2], y[:2])
            fits[str(seed)[:6], repetition] = model.coef_
    for name, _ in fits:
        assert_array_equal(fits[name, 0], fits[name, 1])
    assert_array_equal(fits["0", 0], fits["Random", 0])
    assert np.abs(fits["0", 0] - fits["1", 0]).max() > 1e-6


def test_random_state_that_goes_on(diabetes):
    X, y = diabetes
    generator = np.random.RandomState(0)
    model = DeltaGradRidge(
        solver="sgd", max_iter=3, batch_size=10, random_state=generator
    )
    one = model.fit(X, y).coef_
    assert np.abs(one - model.fit(X, y).coef_).max() > 1e-6
    # After fit nothing is random any more.
    twin = deepcopy(model).partial_refit(X[:5], y[:5])
    generator.randint(10)
    assert_array_equal(model.partial_refit(X[:5], y[:5]).coef_, twin.coef_)


def test_gd_knows_no_chance(diabetes):
    one, other = (
        DeltaGradRidge(solver="gd", max_iter=5, random_state=seed).fit(*diabetes)
        for seed in (0, 1)
    )
    assert_array_equal(one.coef_, other.coef_)


@pytest.fixture(scope="module")
def digits():
    """Enough work to be shared among threads."""
    X, y = load_digits(return_X_y=True)
    return np.vstack([X, X[:, ::-1]]) / 16, np.append(y, y)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_threads(digits, convert, solver):
    X, y = digits
    X = convert(X)
    runs = []
    for n_threads in (1, 2, 3):
        with limit_threads(n_threads):
            model = DeltaGradLogisticRegression(
                solver=solver, max_iter=3, batch_size=2500, random_state=0
            ).fit(X[:3500], y[:3500])
            model.unlearn(position=np.arange(100))
            model.partial_refit(X[3500:], y[3500:])
            runs.append(model)
    for model in runs[1:]:
        for name in ("steps", "end"):
            assert_array_equal(
                getattr(model.trajectory_, name), getattr(runs[0].trajectory_, name)
            )


# ---------------------------------------------------------------------------
# Erasure
# ---------------------------------------------------------------------------


def arrays_of(model):
    """What an estimator holds, without the estimator to say which rows are alive."""
    return [array for _, array in iter_arrays(model)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("solver", ["gd", "sgd"])
@pytest.mark.parametrize("target", ["classes", "balanced", "ridge"])
def test_removed_rows_are_gone(wine, form, solver, target, search_unpurged):
    """What edits leave is no multiple of a row, even before a purge."""
    X, y = wine
    stored = FORMS[form](X)
    parameters = {"solver": solver, "max_iter": 5, "batch_size": 10, "random_state": 0}
    if target == "ridge":
        model, y = DeltaGradRidge(**parameters), np.linspace(-1, 1, 90)
    else:
        balanced = "balanced" if target == "balanced" else None
        model = DeltaGradLogisticRegression(class_weight=balanced, **parameters)
    model.fit(stored[:80], y[:80], sample_id=np.arange(80))
    with pytest.raises(AssertionError):  # so it is found where it is
        assert_erased(arrays_of(model), stored[:1])
    edits = [
        ([0], lambda: model.unlearn(stored[:1], y[:1])),
        ([1, 2], lambda: model.unlearn(position=[1, 2])),
        ([3], lambda: model.unlearn(sample_id=3)),
        ([4, 5], lambda: model.partial_refit(
            stored[80:84], y[80:84], sample_id=np.arange(80, 84), remove_id=[4, 5]
        )),
        ([6, 7], lambda: model.partial_refit(
            stored[84:86], y[84:86], sample_id=[6, 7], replace=True
        )),
        ([80], lambda: model.unlearn(stored[80:81], y[80:81])),
        ([], lambda: model.partial_refit()),
    ]  # fmt: skip
    gone = []
    for rows, edit in edits:
        edit()
        gone += rows
        report = assert_erased(model, stored[gone])
        assert report.n_checked == len(gone)
    with pytest.warns(UserWarning, match="current training rows.*rows 0, 1"):
        kept = assert_erased(model, stored[20:22], equal_rows="warn")
    assert kept.n_checked == 0
    assert set(kept.not_checkable) == {0, 1}


def test_refused_rows_are_gone(wine, search_unpurged):
    """Rows that were to be added, by an edit that failed, are not kept either."""
    X, y = wine
    model = DeltaGradLogisticRegression(solver="gd", max_iter=5).fit(X[:80], y[:80])
    with pytest.raises(ValueError, match="Only rows of class 'red' would be left"):
        model.partial_refit(X[80:], ["red"] * 10, remove_position=range(80))
    model.partial_refit(X[80:81], y[80:81])  # makes room for more
    ridge = DeltaGradRidge(solver="gd", period=1).fit(X[:80], np.ones(80))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="not finite"):
        ridge.partial_refit(X[80:] * 1e6, np.ones(10))
    assert assert_erased(ridge, X[80:] * 1e6).n_checked == 10
    assert assert_erased(model, X[81:]).n_checked == 9


def parallel_steps(gradient_sums, x):
    """Steps whose cached gradient, of any output, is a multiple of a row."""
    gradients = gradient_sums[..., : len(x)]
    norms = np.linalg.norm(gradients, axis=-1)
    along = np.abs(gradients @ x) / np.linalg.norm(x)
    return np.unique(np.nonzero((norms > 0) & (along > (1 - 1e-9) * norms))[0])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [DeltaGradLogisticRegression, DeltaGradRidge])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("edit", ["remove", "replace", "remove and add"])
def test_gradients_of_batches_of_one_row_are_gone(
    cancer, gradient_sums_of, form, kind, weighted, edit, search_unpurged
):
    """They are multiples of the row."""
    X, y = cancer[0][:12], -np.ones(12)
    if kind is DeltaGradLogisticRegression:
        y = np.arange(12) % 2
    X_new, y_new = cancer[0][12:13], y[:1]
    stored, new = FORMS[form](X), FORMS[form](X_new)
    model = kind(
        solver="sgd", max_iter=4, batch_size=1, fit_intercept=False, random_state=0,
        burn_in=1, period=5, learning_rate=0.02,
    )  # fmt: skip
    weight = np.linspace(1, 2, 12) if weighted else np.ones(12)
    model.fit(stored, y, weight)
    X = stored.toarray() if form == "sparse" else stored
    first = next(
        i for i in range(12) if 0 in parallel_steps(gradient_sums_of(model), X[i])
    )
    assert (
        len(parallel_steps(gradient_sums_of(model), X[first])) == 4
    )  # one batch in each epoch
    for row in (first, (first + 1) % 12):
        assert len(parallel_steps(gradient_sums_of(model), X[row])) > 0
        if edit == "remove":
            model.unlearn(position=row)
        elif edit == "replace":
            model.partial_refit(new, y_new, position=row, replace=True)
        else:
            model.partial_refit(new, y_new, remove_position=row)
        assert len(parallel_steps(gradient_sums_of(model), X[row])) == 0
        assert assert_erased(model, X[[row]]).n_checked == 1
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_of_a_class_that_left_a_batch_are_zero(
    wine, gradient_sums_of, form, weighted
):
    """Under "balanced", gradients are kept for each class of each batch."""
    X, y = wine
    weight = np.ones(90)
    if weighted:
        weight = np.random.default_rng(0).uniform(0.1, 3, 90)
    model = DeltaGradLogisticRegression(
        solver="sgd", max_iter=4, batch_size=6, class_weight="balanced", burn_in=1,
        period=6, learning_rate=0.1, fit_intercept=False, random_state=0,
    ).fit(FORMS[form](X), y, weight)  # fmt: skip
    removed = np.random.default_rng(1).permutation(90)[:40].reshape(10, 4)
    for position in removed:
        model.unlearn(position=position)
    # An exact retraining has a zero where a batch holds no row of a class.
    exact = deepcopy(model).partial_refit()
    empty = np.abs(gradient_sums_of(exact)).max(axis=(2, 3)) < 1e-9
    assert empty.sum() > 10
    assert_allclose(gradient_sums_of(model)[empty], 0.0, atol=1e-9)
    for row in removed.ravel():
        assert len(parallel_steps(gradient_sums_of(model), X[row])) == 0


# ---------------------------------------------------------------------------
# Memory traffic
# ---------------------------------------------------------------------------


def storage_of(model):
    """Address and size of the arrays that hold the rows."""
    places = {}
    for place, array in iter_arrays(model._training_set.rows, "rows"):
        if not place.endswith(".base"):
            places[place] = (array.__array_interface__["data"][0], array.shape)
    return places


@pytest.mark.parametrize("form", FORMS)
def test_removing_rows_moves_no_others(form):
    X, y = load_diabetes(return_X_y=True)
    X = FORMS[form](X)
    model = DeltaGradRidge(solver="gd", max_iter=3).fit(X, y, sample_id=range(442))
    before = storage_of(model)
    assert before
    model.unlearn(position=[0, 17])
    model.unlearn(X[20:22], y[20:22])
    model.unlearn(sample_id=np.arange(100, 150))
    model.partial_refit(remove_id=[200])
    assert storage_of(model) == before
    assert model.update_report_.n_samples == 442 - 55


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_no_copy_of_the_rows_is_made_on_the_way(convert, solver):
    X = np.random.default_rng(0).normal(size=(6000, 60))
    y = X[:, 0]
    model = DeltaGradRidge(solver=solver, max_iter=3, batch_size=500, random_state=0)
    model.fit(convert(X), y, sample_id=np.arange(6000))
    model.unlearn(position=0)
    tracemalloc.start()
    try:
        model.unlearn(position=np.arange(1, 30))
        model.unlearn(sample_id=np.arange(30, 60))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Sums along the path, which a replay tries first, are a quarter of that.
    assert peak < X.nbytes / 3


def test_many_small_additions_do_not_copy_each_time():
    X = np.random.default_rng(0).normal(size=(1200, 20))
    y = X[:, 0]
    model = DeltaGradRidge(solver="gd", max_iter=2).fit(X[:1000], y[:1000])
    addresses = set()
    for row in range(1000, 1200):
        model.partial_refit(X[row : row + 1], y[row : row + 1])
        addresses.add(tuple(storage_of(model)["rows._X._store"]))
    assert len(addresses) < 10


def test_memory_does_not_grow_with_edits(monkeypatch):
    """Not with rows that came and went, nor with the positions that they had."""
    monkeypatch.setattr(training_set, "_LEAST_TO_COMPACT", 16)
    X = np.random.default_rng(0).normal(size=(200, 4))
    y = X[:, 0]
    model = DeltaGradRidge().fit(X, y, sample_id=np.arange(200))
    model.unlearn(X[:1], y[:1])  # the index by content is there
    sizes = []
    for number in range(1, 700):
        row = [number % 200]
        model.partial_refit(
            X[row], y[row], sample_id=[199 + number], remove_id=[number]
        )
        if number % 3 == 0:
            model.partial_refit(X[row], y[row], sample_id=[199 + number], replace=True)
        if number > 1 and number % 40:
            continue
        parts = [model._training_set.rows, model._training_set.table]
        parts += [model._training_set._content, model._engine]
        arrays = {
            id(array): array.nbytes
            for part in parts
            for place, array in iter_arrays(part, "part")
            if not place.endswith(".base")
        }
        sizes.append(sum(arrays.values()))
    assert max(sizes) <= 1.1 * sizes[0]
    # Names of before are known, and what is gone is told from what never was.
    n_positions = model._training_set.table.n_positions
    assert n_positions == 899
    model.unlearn(position=n_positions - 1)
    for position in (0, 199, 200, 500, n_positions - 1):
        with pytest.raises(IndexError, match="removed before"):
            model.unlearn(position=position)
    with pytest.raises(IndexError, match="does not exist"):
        model.unlearn(position=n_positions)
    model.unlearn(position=n_positions - np.arange(2, 7))
    assert model.update_report_.n_samples == 193


def test_storage_is_compacted_when_a_good_part_is_gone():
    X = np.random.default_rng(0).normal(size=(2400, 3))
    model = DeltaGradRidge(solver="gd", max_iter=3, period=1, learning_rate=0.5)
    model.fit(X, X[:, 0], sample_id=np.arange(2400))
    before = storage_of(model)
    model.unlearn(position=np.arange(1024))
    assert storage_of(model) == before  # it is not worth it yet
    model.unlearn(position=np.arange(1024, 1201))
    assert storage_of(model) != before
    assert len(model._training_set.rows) == 1199
    assert_same_model(model, clone(model).fit(X[1201:], X[1201:, 0]))
    # Rows go by the same names.
    model.unlearn(position=[1201])
    model.unlearn(sample_id=[1202])
    model.unlearn(X[[1203]], X[[1203], 0])
    with pytest.raises(IndexError, match="1200"):
        model.unlearn(position=[1200])
    assert_same_model(model, clone(model).fit(X[1204:], X[1204:, 0]))


def _uneven(n_samples, n_features, rng):
    """Sparse rows, of which the first half are short and the others are long."""
    share = np.where(np.arange(n_samples) < n_samples / 2, 0.05, 0.9)
    kept = rng.uniform(size=(n_samples, n_features)) < share[:, np.newaxis]
    return sparse.csr_array(rng.normal(size=(n_samples, n_features)) * kept)


COMPACTED = {
    "dense": (
        lambda rng: rng.normal(size=(300, 8)), {"solver": "gd"}, 3,
    ),
    "dense, sgd": (
        lambda rng: rng.normal(size=(300, 8)), {"solver": "sgd", "batch_size": 32}, 3,
    ),
    "float32, balanced": (
        lambda rng: rng.normal(size=(300, 8)).astype(np.float32),
        {"solver": "sgd", "batch_size": 32, "class_weight": "balanced"}, 3,
    ),
    "sparse": (lambda rng: _uneven(300, 8, rng), {"solver": "gd"}, 2),
    "sparse, sgd": (
        lambda rng: _uneven(300, 8, rng), {"solver": "sgd", "batch_size": 32}, 3,
    ),
    # Enough work to be cut into parts that run at the same time.
    "large": (lambda rng: rng.normal(size=(3000, 60)), {"solver": "gd"}, 10),
    "large, sparse": (lambda rng: _uneven(3000, 100, rng), {"solver": "gd"}, 10),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPACTED)
def test_compaction_changes_nothing(name, monkeypatch, gradient_sums_of):
    make, parameters, n_classes = COMPACTED[name]
    rng = np.random.default_rng(0)
    X = make(rng)
    n_samples = X.shape[0]
    y = rng.integers(n_classes, size=n_samples)
    model = DeltaGradLogisticRegression(
        max_iter=4, burn_in=2, period=2, random_state=0, **parameters
    ).fit(X, y, sample_id=np.arange(n_samples))
    twin = deepcopy(model)
    edits = [
        lambda model: model.unlearn(position=np.arange(int(0.55 * n_samples))),
        lambda model: model.unlearn(X[-3:-1], y[-3:-1]),
        lambda model: model.partial_refit(X[:9], y[:9], sample_id=np.arange(9)),
        lambda model: model.unlearn(sample_id=[3, n_samples - 10]),
        lambda model: model.partial_refit(
            X[:1], y[:1], sample_id=[n_samples - 11], replace=True
        ),
        lambda model: model.partial_refit(),
    ]
    for edit in edits:
        monkeypatch.setattr(training_set, "_LEAST_TO_COMPACT", 0)
        edit(model)
        monkeypatch.setattr(training_set, "_LEAST_TO_COMPACT", 10**9)
        edit(twin)
        assert len(model._training_set.rows) < len(twin._training_set.rows)
        assert_array_equal(model.trajectory_.iterates, twin.trajectory_.iterates)
        assert_array_equal(gradient_sums_of(model), gradient_sums_of(twin))
