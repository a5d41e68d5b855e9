"""The default solver, next to scikit-learn: after fit and after every kind of edit.

scikit-learn's models are fitted on the rows that should be there, which are kept here
and apart from the estimators.
"""

import re
import tracemalloc
import warnings
from inspect import signature

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.class_weight import compute_class_weight

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._optimum import problem


class Rows:
    """Rows that a model should have been fitted on, in the order of their positions.

    New rows are drawn from a generator of labels or targets. Every row is called by a
    number of its own.
    """

    def __init__(
        self, draw, n_rows, storage=np.asarray, weighted=False, with_ids=False
    ):
        self.draw, self.storage = draw, storage
        self.weighted, self.with_ids = weighted, with_ids
        X, self.y, self.weight = self._new(n_rows)
        self.X = np.asarray(X)
        self.ids = np.arange(n_rows)
        self.is_live = np.ones(n_rows, dtype=bool)
        self.rng = np.random.default_rng(0)

    def _new(self, n_rows):
        X, y, weight = self.draw(n_rows)
        if self.storage is np.float32:
            X = X.astype(np.float32)
        return X, y, weight if self.weighted else np.ones(n_rows)

    def given(self, X):
        return self.storage(X) if self.storage is sparse.csr_matrix else X

    @property
    def live(self):
        return np.flatnonzero(self.is_live)

    @property
    def remaining(self):
        """X, y and weights of what is there, as plain arrays of float64."""
        live = self.live
        return self.X[live].astype(float), self.y[live], self.weight[live]

    def fit(self, model):
        ids = self.ids if self.with_ids else None
        X = self.given(self.X)
        return model.fit(X, self.y, sample_weight=self.weight, sample_id=ids)

    def pick(self, n_rows):
        return self.rng.choice(self.live, n_rows, replace=False)

    def forget(self, positions):
        self.is_live[positions] = False

    def join(self, n_rows, positions=None):
        """New rows, at the end or at positions; as arguments of `partial_refit`."""
        X, y, weight = self._new(n_rows)
        ids = self.ids.max() + 1 + np.arange(n_rows)
        if positions is None:
            self.X, self.y = np.concatenate([self.X, X]), np.concatenate([self.y, y])
            self.weight = np.concatenate([self.weight, weight])
            self.ids = np.concatenate([self.ids, ids])
            self.is_live = np.concatenate([self.is_live, np.ones(n_rows, bool)])
        else:
            self.X[positions], self.y[positions] = X, y
            self.weight[positions], self.ids[positions] = weight, ids
        ids = ids if self.with_ids else None
        weight = weight if self.weighted else None
        return {
            "X": self.given(X),
            "y": y,
            "sample_weight": weight,
            "sample_id": ids,
        }


# Kinds of edits, of a model and of the rows that it should have.


def remove_by_position(model, rows, n_rows=7):
    gone = rows.pick(n_rows)
    model.partial_unfit(position=gone)
    rows.forget(gone)


def remove_by_content(model, rows):
    gone = rows.pick(5)
    model.unlearn(rows.given(rows.X[gone]), rows.y[gone])
    rows.forget(gone)


def remove_by_id(model, rows):
    gone = rows.pick(6)
    model.partial_unfit(sample_id=rows.ids[gone])
    rows.forget(gone)


def add(model, rows, n_rows=9):
    model.partial_refit(**rows.join(n_rows))


def correct_by_position(model, rows, n_rows=4):
    gone = rows.pick(n_rows)
    model.partial_refit(**rows.join(n_rows, gone), replace=True, position=gone)


def correct_by_id(model, rows):
    gone = rows.pick(4)
    ids = rows.ids[gone]
    new = rows.join(4, gone)
    rows.ids[gone] = new["sample_id"] = ids
    model.partial_refit(**new, replace=True)


def remove_and_add_at_once(model, rows):
    gone = rows.pick(8)
    rows.forget(gone)
    model.partial_refit(**rows.join(5), remove_position=gone)


def slide_a_window(model, rows):
    for _ in range(4):
        gone = rows.live[:10]
        rows.forget(gone)
        model.partial_refit(**rows.join(10), remove_position=gone)


def thirty_single_rows(model, rows):
    for _ in range(10):
        remove_by_position(model, rows, 1)
        add(model, rows, 1)
        correct_by_position(model, rows, 1)


EDITS = [
    remove_by_position,
    remove_by_content,
    add,
    correct_by_position,
    remove_and_add_at_once,
    slide_a_window,
    thirty_single_rows,
]
# Of rows with ids.
BY_ID = [remove_by_id, correct_by_id]


# Logistic regression.


def labelled(n_features=5, n_classes=2, seed=0, spread=1.0, sparsity=0.0):
    """A generator of rows with labels that they do not decide."""
    rng = np.random.default_rng(seed)
    coef = rng.standard_normal((n_features, n_classes))

    def draw(n_rows):
        X = rng.standard_normal((n_rows, n_features)) * spread
        X[rng.random(X.shape) < sparsity] = 0.0
        raw = X @ coef + rng.gumbel(size=(n_rows, n_classes)) + np.arange(n_classes) / 2
        return X, raw.argmax(axis=1), rng.choice([0.5, 1.0, 3.0], n_rows)

    return draw


def logistic_oracle(model, rows):
    X, y, weight = rows.remaining
    oracle = LogisticRegression(
        C=model.C,
        fit_intercept=model.fit_intercept,
        class_weight=model.class_weight,
        solver="newton-cholesky",
        tol=1e-12,
        max_iter=1000,
    )
    with warnings.catch_warnings():
        # It cannot get nearer than rounding lets it, and says so.
        warnings.simplefilter("ignore")
        return oracle.fit(X, y, sample_weight=weight)


def assert_logistic(model, rows, rtol=1e-5):
    oracle = logistic_oracle(model, rows)
    assert list(model.classes_) == list(oracle.classes_)
    error = np.linalg.norm(model.coef_ - oracle.coef_)
    assert error <= rtol * np.linalg.norm(oracle.coef_)
    ours, theirs = model.intercept_, oracle.intercept_
    if len(theirs) > 1:  # a common part changes nothing
        ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    scale = np.linalg.norm(oracle.coef_) + np.linalg.norm(theirs)
    assert np.linalg.norm(ours - theirs) <= rtol * scale


CASES = {
    "binary": {},
    "three classes": {"n_classes": 3},
    "five classes": {"n_classes": 5},
    "no intercept": {"fit_intercept": False, "n_classes": 3},
    "balanced": {"class_weight": "balanced"},
    "three balanced": {"class_weight": "balanced", "n_classes": 3},
    "weights of classes": {"class_weight": {0: 0.3, 1: 4.0}, "n_classes": 3},
    "weights": {"weighted": True, "n_classes": 3},
    "sparse": {"storage": sparse.csr_matrix},
    "sparse, three classes": {"storage": sparse.csr_matrix, "n_classes": 3},
    "float32": {"storage": np.float32, "n_classes": 3},
    "strong penalty": {"C": 0.01, "n_classes": 3},
    "weak penalty": {"C": 100.0, "n_classes": 3},
    "weak penalty, binary": {"C": 100.0},
}


def logistic_case(
    n_classes=2, storage=np.asarray, weighted=False, with_ids=False, n_rows=140,
    edit_tol=1e-6, **parameters,
):  # fmt: skip
    sparsity = 0.6 if storage is sparse.csr_matrix else 0.0
    draw = labelled(n_classes=n_classes, sparsity=sparsity)
    rows = Rows(draw, n_rows, storage, weighted, with_ids)
    model = DeltaGradLogisticRegression(edit_tol=edit_tol, **parameters)
    return rows.fit(model), rows


@pytest.mark.parametrize("case", CASES)
def test_the_fit_is_the_optimum_of_logistic_regression(case):
    model, rows = logistic_case(**CASES[case])
    assert_logistic(model, rows)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("edit", [*EDITS, *BY_ID])
def test_edits_lead_to_the_optimum_of_logistic_regression(edit, case):
    model, rows = logistic_case(**CASES[case], with_ids=edit in BY_ID)
    edit(model, rows)
    assert_logistic(model, rows)
    assert model.update_report_.n_samples == len(rows.live)


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_edit_one_after_the_other(case):
    model, rows = logistic_case(**CASES[case])
    for edit in EDITS:
        edit(model, rows)
        assert_logistic(model, rows)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_under_balanced_a_row_of_weight_three_is_three_rows(n_classes):
    X, y, _ = labelled(n_classes=n_classes)(140)
    weight = np.random.default_rng(1).integers(1, 4, 140)
    model = DeltaGradLogisticRegression(class_weight="balanced").fit(X, y, weight)
    oracle = LogisticRegression(
        class_weight="balanced", solver="newton-cholesky", tol=1e-12
    )
    oracle.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(model.coef_, oracle.coef_, rtol=1e-5)


@pytest.mark.skipif(
    "sample_weight" not in signature(compute_class_weight).parameters,
    reason='scikit-learn 1.6 counts rows under "balanced", whatever they weigh',
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_balanced_and_weighted_edits_lead_to_the_same_optimum(n_classes):
    model, rows = logistic_case(n_classes, class_weight="balanced", weighted=True)
    assert_logistic(model, rows)
    for edit in EDITS:
        edit(model, rows)
        assert_logistic(model, rows)


@pytest.mark.parametrize("case", ["binary", "three classes", "three balanced"])
def test_the_default_tolerance_is_one_percent_of_the_way(case):
    model, rows = logistic_case(**CASES[case], edit_tol=1e-2)
    before = model.coef_
    remove_by_position(model, rows, 20)
    oracle = logistic_oracle(model, rows)
    moved = np.linalg.norm(oracle.coef_ - before)
    assert np.linalg.norm(model.coef_ - oracle.coef_) <= 0.02 * moved


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_most_of_a_class_can_leave(n_classes, class_weight):
    model, rows = logistic_case(n_classes=n_classes, class_weight=class_weight)
    gone = rows.live[rows.y == 0][2:]
    model.partial_unfit(position=gone)
    rows.forget(gone)
    assert_logistic(model, rows)


def test_a_class_can_leave_and_come_back():
    model, rows = logistic_case(n_classes=3)
    gone = rows.live[rows.y == 1]
    model.partial_unfit(position=gone)
    rows.forget(gone)
    assert_logistic(model, rows)
    assert model.update_report_.refit
    assert "classes" in model.update_report_.reason
    add(model, rows, 30)
    assert list(model.classes_) == [0, 1, 2]
    assert_logistic(model, rows)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_columns_with_a_large_offset(n_classes):
    draw = labelled(n_classes=n_classes)

    def far(n_rows):
        X, y, weight = draw(n_rows)
        return X + 1e6, y, weight

    rows = Rows(far, 150)
    model = rows.fit(DeltaGradLogisticRegression(edit_tol=1e-8))
    centred = Rows.__new__(Rows)
    for edit in (remove_by_position, add, correct_by_position, thirty_single_rows):
        edit(model, rows)
        vars(centred).update(vars(rows))
        centred.X = rows.X - 1e6
        oracle = logistic_oracle(model, centred)
        assert_allclose(
            model.decision_function(rows.X[rows.live]),
            oracle.decision_function(centred.X[rows.live]),
            atol=1e-5,
        )
        error = np.linalg.norm(model.coef_ - oracle.coef_)
        assert error <= 1e-6 * np.linalg.norm(oracle.coef_)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_that_a_line_separates(n_classes):
    rng = np.random.default_rng(3)
    coef = rng.standard_normal((4, n_classes))

    def draw(n_rows):
        X = rng.standard_normal((n_rows, 4))
        return X, (X @ coef).argmax(axis=1), np.ones(n_rows)

    rows = Rows(draw, 100)
    model = rows.fit(DeltaGradLogisticRegression(C=1e6, edit_tol=1e-6, tol=1e-8))
    assert_logistic(model, rows, rtol=1e-4)
    for edit in (remove_by_position, add, correct_by_position, slide_a_window):
        edit(model, rows)
        assert_logistic(model, rows, rtol=1e-4)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_duplicated_and_constant_columns(n_classes, fit_intercept):
    draw = labelled(n_classes=n_classes)

    def degenerate(n_rows):
        X, y, weight = draw(n_rows)
        constant = np.full((n_rows, 1), 3.0)
        return np.hstack([X, X[:, :2], constant]), y, weight

    rows = Rows(degenerate, 120)
    model = DeltaGradLogisticRegression(fit_intercept=fit_intercept, edit_tol=1e-7)
    rows.fit(model)
    for edit in EDITS:
        edit(model, rows)
        assert_logistic(model, rows)
        assert_allclose(model.coef_[:, :2], model.coef_[:, 5:7], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_fewer_rows_than_columns(n_classes, storage):
    draw = labelled(n_features=60, n_classes=n_classes, sparsity=0.5)
    rows = Rows(draw, 25, storage)
    model = rows.fit(DeltaGradLogisticRegression(edit_tol=1e-7))
    for edit in (remove_by_content, add, correct_by_position, thirty_single_rows):
        edit(model, rows)
        assert_logistic(model, rows)


def test_more_rows_can_join_than_there_were():
    model, rows = logistic_case(n_rows=30)
    add(model, rows, 300)
    assert_logistic(model, rows)


def test_nearly_all_rows_can_leave():
    model, rows = logistic_case()
    remove_by_position(model, rows, 130)
    assert_logistic(model, rows)


def test_rows_of_no_weight_change_nothing():
    model, rows = logistic_case(weighted=True)
    coef = model.coef_
    X, y, _ = rows.draw(3)
    model.partial_refit(X, y, sample_weight=np.zeros(3))
    assert_allclose(model.coef_, coef, rtol=1e-6)
    model.partial_unfit(position=[140, 141, 142])
    assert_allclose(model.coef_, coef, rtol=1e-6)


def test_removed_rows_that_come_back_lead_back():
    model, rows = logistic_case(n_classes=3)
    coef = model.coef_
    for number in range(10):
        model.partial_unfit(position=number)
        model.partial_refit(rows.X[[number]], rows.y[[number]])
    assert_allclose(model.coef_, coef, rtol=1e-5)


# Ridge.


def with_targets(n_features=6, n_targets=None, seed=1, offset=0.0, sparsity=0.0):
    rng = np.random.default_rng(seed)
    coef = rng.standard_normal((n_features, n_targets or 1))

    def draw(n_rows):
        X = rng.standard_normal((n_rows, n_features))
        X[rng.random(X.shape) < sparsity] = 0.0
        y = X @ coef + rng.standard_normal((n_rows, n_targets or 1)) + 2.0
        y = y if n_targets else y[:, 0]
        return X + offset, y, rng.choice([0.0, 0.5, 1.0, 3.0], n_rows)

    return draw


def assert_ridge(model, rows, solver="svd", rtol=1e-9):
    X, y, weight = rows.remaining
    alpha = model.alpha if np.isscalar(model.alpha) else np.array(model.alpha)
    oracle = Ridge(alpha, fit_intercept=model.fit_intercept, solver=solver)
    oracle.fit(X, y, sample_weight=weight)
    assert model.coef_.shape == oracle.coef_.shape
    error = np.linalg.norm(model.coef_ - oracle.coef_)
    assert error <= rtol * np.linalg.norm(oracle.coef_)
    assert_allclose(
        model.predict(rows.given(X)), oracle.predict(X), rtol=rtol, atol=10 * rtol
    )


RIDGE_CASES = {
    "one target": {},
    "three targets": {"n_targets": 3},
    "an alpha for each": {"n_targets": 3, "alpha": [0.1, 1.0, 30.0]},
    "two alphas": {"n_targets": 3, "alpha": [2.0, 0.5, 2.0]},
    "weights": {"weighted": True, "n_targets": 2},
    "no intercept": {"fit_intercept": False, "n_targets": 2},
    "no intercept, weights": {"fit_intercept": False, "weighted": True},
    "no penalty": {"alpha": 0.0},
    "strong penalty": {"alpha": 1e4},
    "sparse": {"storage": sparse.csr_matrix},
    "sparse, no intercept": {"storage": sparse.csr_matrix, "fit_intercept": False},
}


def ridge_case(
    n_targets=None, storage=np.asarray, weighted=False, with_ids=False, n_rows=120,
    **parameters,
):  # fmt: skip
    sparsity = 0.6 if storage is sparse.csr_matrix else 0.0
    draw = with_targets(n_targets=n_targets, sparsity=sparsity)
    rows = Rows(draw, n_rows, storage, weighted, with_ids)
    return rows.fit(DeltaGradRidge(**parameters)), rows


@pytest.mark.parametrize("case", RIDGE_CASES)
def test_the_fit_is_the_optimum_of_ridge(case):
    model, rows = ridge_case(**RIDGE_CASES[case])
    assert_ridge(model, rows, "svd")
    assert_ridge(model, rows, "cholesky")


@pytest.mark.parametrize("case", RIDGE_CASES)
@pytest.mark.parametrize("edit", [*EDITS, *BY_ID])
def test_edits_lead_to_the_optimum_of_ridge(edit, case):
    model, rows = ridge_case(**RIDGE_CASES[case], with_ids=edit in BY_ID)
    edit(model, rows)
    assert_ridge(model, rows, "svd")
    assert_ridge(model, rows, "cholesky")


def test_float32_rows_lead_to_the_optimum_of_ridge():
    model, rows = ridge_case(storage=np.float32)
    for edit in EDITS:
        edit(model, rows)
        assert model.coef_.dtype == np.float64
        assert_ridge(model, rows, rtol=1e-5)


@pytest.mark.parametrize(
    ("n_targets", "alpha"), [(None, 1.0), (3, [0.1, 1.0, 30.0])], ids=["one", "three"]
)
def test_ridge_does_not_drift_in_a_thousand_edits(n_targets, alpha):
    model, rows = ridge_case(n_targets=n_targets, alpha=alpha)
    for _ in range(500):
        remove_by_position(model, rows, 1)
        add(model, rows, 1)
    assert_ridge(model, rows)
    assert model.update_report_.relative_bound <= model.edit_tol


@pytest.mark.parametrize("n_targets", [None, 2])
def test_ridge_on_columns_with_a_large_offset(n_targets):
    rows = Rows(with_targets(n_targets=n_targets, offset=1e6), 150)
    model = rows.fit(DeltaGradRidge())
    assert_ridge(model, rows, rtol=1e-8)
    for edit in EDITS:
        edit(model, rows)
        assert_ridge(model, rows, rtol=1e-8)


def test_a_thousand_edits_on_columns_with_a_large_offset():
    rows = Rows(with_targets(offset=1e6), 150)
    model = rows.fit(DeltaGradRidge())
    for _ in range(500):
        remove_by_position(model, rows, 1)
        add(model, rows, 1)
    assert_ridge(model, rows, rtol=1e-8)


def test_ridge_with_fewer_rows_than_columns():
    rows = Rows(with_targets(n_features=50, n_targets=2), 20)
    model = rows.fit(DeltaGradRidge(alpha=0.5))
    for edit in (remove_by_content, add, correct_by_position, thirty_single_rows):
        edit(model, rows)
        assert_ridge(model, rows)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_ridge_with_duplicated_and_constant_columns(fit_intercept):
    draw = with_targets()

    def degenerate(n_rows):
        X, y, weight = draw(n_rows)
        one, none = np.ones((n_rows, 1)), np.zeros((n_rows, 1))
        return np.hstack([X, X[:, :2], 3 * one, none]), y, weight

    rows = Rows(degenerate, 120)
    model = rows.fit(DeltaGradRidge(fit_intercept=fit_intercept))
    for edit in EDITS:
        edit(model, rows)
        assert_ridge(model, rows)


def test_nearly_all_rows_of_ridge_can_leave_and_others_join():
    model, rows = ridge_case()
    remove_by_position(model, rows, 117)
    assert_ridge(model, rows)
    add(model, rows, 400)
    assert_ridge(model, rows)


# What the report and the attributes say.


@pytest.mark.parametrize("n_classes", [2, 3])
def test_one_row_of_many_hardly_takes_a_pass_and_comes_with_a_bound(n_classes):
    draw = labelled(n_classes=n_classes)
    rows = Rows(draw, 2000)
    model = rows.fit(DeltaGradLogisticRegression())
    remove_by_position(model, rows, 1)
    first = model.update_report_
    assert first.n_passes <= 0.5
    assert first.n_hessians == 0
    assert first.relative_bound <= model.edit_tol
    # With the leverages, which an edit computes when passes have cost as much.
    model._engine = model._engine.prepared(model._training_set, model._settings)
    n_passes = 0.0
    for edit in (remove_by_position, add, correct_by_position):
        edit(model, rows, 1)
        report = model.update_report_
        n_passes += report.n_passes
        assert report.n_hessians == 0
        assert report.gradient_norm is None
        assert report.no_bound is None
        assert not report.refit
        assert report.reason is None
        assert report.distance_bound > 0.0
        assert 0.0 < report.decision_bound < 1e-2
        assert report.relative_bound <= model.edit_tol
    assert n_passes <= 1.0  # an edit may measure how far its step moves the rows
    oracle = logistic_oracle(model, rows)
    X = rows.remaining[0]
    away = model.decision_function(X) - oracle.decision_function(X)
    change = np.abs(away).max() if n_classes == 2 else np.ptp(away, axis=1).max()
    assert change <= report.decision_bound + 1e-9


def test_edits_of_ridge_take_no_pass_and_leave_no_error():
    model, rows = ridge_case()
    for edit in (remove_by_position, add, correct_by_position):
        edit(model, rows)
        report = model.update_report_
        assert report.n_passes == 0
        assert report.decision_bound < 1e-9
        assert report.distance_bound < 1e-9
        assert not report.refit


def test_a_tighter_tolerance_takes_passes():
    model, rows = logistic_case(edit_tol=1e-10)
    remove_by_position(model, rows)
    report = model.update_report_
    assert report.n_passes >= 1
    assert report.relative_bound <= 1e-10 or report.distance_bound < 1e-12
    assert report.gradient_norm < 1e-6  # before the last step
    assert_logistic(model, rows, rtol=1e-9)


def test_an_edit_too_large_for_steps_is_a_refit_with_a_reason():
    model, rows = logistic_case(n_classes=3, C=100.0)
    gone = rows.live[rows.y == 0][1:]
    model.partial_unfit(position=gone)
    rows.forget(gone)
    report = model.update_report_
    assert report.refit
    assert report.reason
    assert report.distance_bound > 0.0
    assert report.relative_bound is report.change_bound is None
    assert_logistic(model, rows)


def test_a_fit_has_a_bound():
    model, _ = logistic_case()
    report = model.update_report_
    assert report.operation == "fit"
    assert report.n_passes >= 2
    assert report.n_hessians >= 1
    assert report.gradient_norm <= model.tol
    assert report.distance_bound > 0.0
    assert report.relative_bound is report.no_bound is None
    assert not report.refit


@pytest.mark.parametrize("case", CASES)
def test_the_first_steps_are_made_on_a_sample(case, monkeypatch):
    monkeypatch.setattr(problem, "_LEAST_TO_SAMPLE", 100)
    model, rows = logistic_case(**CASES[case], n_rows=1500)
    report = model.update_report_
    # What a sample costs counts by its share.
    assert report.n_passes % 1 > 0
    assert report.n_hessians % 1 > 0
    assert model.n_iter_ < report.n_passes
    assert_logistic(model, rows)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_sample_holds_the_rows_that_stand_alone(fit_intercept, monkeypatch):
    monkeypatch.setattr(problem, "_LEAST_TO_SAMPLE", 100)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 12))
    X[:, 8:] = 0.0
    for column in range(8, 12):
        X[rng.choice(3000, 2), column] = 100.0
    y = (X[:, 0] + rng.logistic(size=3000) > 3).astype(int)
    model = DeltaGradLogisticRegression(fit_intercept=fit_intercept).fit(X, y)
    exact = LogisticRegression(
        solver="newton-cholesky", tol=1e-12, fit_intercept=fit_intercept
    ).fit(X, y)
    assert_allclose(model.coef_, exact.coef_, rtol=1e-6, atol=1e-8)


def test_ridge_makes_no_sample(monkeypatch):
    monkeypatch.setattr(problem, "_LEAST_TO_SAMPLE", 10)
    model, _ = ridge_case()
    assert model.update_report_.n_hessians == 1


@pytest.mark.parametrize("case", ["binary", "four classes", "balanced", "ridge"])
def test_memory_stays_within_what_was_announced(case, capsys):
    rng = np.random.default_rng(0)
    n_rows, n_features, n_classes = 400, 900, 2
    if case == "four classes":
        n_features, n_classes = 300, 4
    X = rng.normal(size=(n_rows, n_features))
    if case == "ridge":
        y = rng.normal(size=(n_rows, 2))
        model = DeltaGradRidge(alpha=[1.0, 2.0], verbose=1)
    else:
        y = np.arange(n_rows) % n_classes
        weight = "balanced" if case == "balanced" else None
        model = DeltaGradLogisticRegression(class_weight=weight, verbose=1)
    rows = X.nbytes
    tracemalloc.start()
    try:
        model.fit(X, y)
        for first in (0, 1, 40):
            model.unlearn(position=range(first, 2 * first + 1))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    announced = float(re.search(r"at most ([\d,.]+) MB", capsys.readouterr().out)[1])
    # Besides: the estimator's own copy of the rows, and copies of blocks of them.
    assert peak - 6 * rows <= 1e6 * announced
    assert model.update_report_.cache_bytes <= 1e6 * announced


def test_a_fit_that_is_cut_short_warns():
    draw = labelled()
    rows = Rows(draw, 100)
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        model = rows.fit(DeltaGradLogisticRegression(C=100.0, max_iter=1))
    assert model.n_iter_ == [1]
    with pytest.warns(ConvergenceWarning):
        model.partial_refit()


def test_a_fit_that_converges_does_not_warn():
    rows = Rows(labelled(), 100)
    model = rows.fit(DeltaGradLogisticRegression())
    assert model.n_iter_.shape == (1,)
    assert model.n_iter_.dtype == np.int32
    assert 2 <= model.n_iter_[0] <= 30


def test_one_step_is_enough_for_ridge():
    model, _ = ridge_case(max_iter=1)
    assert model.n_iter_ == [1]


def test_edits_leave_the_number_of_iterations_of_the_fit():
    model, rows = logistic_case(n_rows=500)
    n_iter = model.n_iter_[0]
    remove_by_position(model, rows, 1)
    assert not model.update_report_.refit
    assert model.n_iter_[0] == n_iter


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_refit_without_rows_equals_a_fresh_fit(n_classes):
    model, rows = logistic_case(n_classes=n_classes)
    for edit in (remove_by_position, add, correct_by_position):
        edit(model, rows)
    model.partial_refit()
    assert model.update_report_.n_passes >= 2
    X, y, weight = rows.remaining
    fresh = DeltaGradLogisticRegression().fit(X, y, sample_weight=weight)
    assert_allclose(model.coef_, fresh.coef_, rtol=1e-7, atol=1e-9)
    assert_allclose(model.intercept_, fresh.intercept_, rtol=1e-7, atol=1e-9)
    assert model.n_iter_ == fresh.n_iter_


def test_a_refit_of_ridge_without_rows_equals_a_fresh_fit():
    model, rows = ridge_case(n_targets=2)
    for edit in (remove_by_position, add, correct_by_position):
        edit(model, rows)
    model.partial_refit()
    X, y, weight = rows.remaining
    fresh = DeltaGradRidge().fit(X, y, sample_weight=weight)
    assert_allclose(model.coef_, fresh.coef_, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("case", ["binary", "three balanced", "weights"])
@pytest.mark.parametrize("edit", EDITS)
def test_the_tolerance_of_edits_may_change_after_fit(edit, case):
    model, rows = logistic_case(**CASES[case], edit_tol=0.1)
    edit(model, rows)
    model.set_params(edit_tol=1e-8)
    edit(model, rows)
    assert_logistic(model, rows, rtol=1e-6)


@pytest.mark.parametrize("curvature", ["exact", "kronecker", "diagonal"])
def test_an_edit_too_large_for_a_step_is_fitted_anew(curvature):
    """Steps without a line search ran away on a few rows with a huge C."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((9, 2)).round(1)
        y = np.append(np.arange(3), rng.integers(3, size=6))
        x, label = 2 * rng.standard_normal((1, 2)).round(1), rng.integers(3, size=1)
        model = DeltaGradLogisticRegression(C=1e4, curvature=curvature)
        model.fit(X, y).partial_refit(x, label)
        fresh = DeltaGradLogisticRegression(C=1e4)
        fresh.fit(np.vstack([X, x]), np.append(y, label))
        assert_allclose(model.coef_, fresh.coef_, atol=2e-2 * np.abs(fresh.coef_).max())


def test_constant_targets_converge_at_once():
    X = np.random.default_rng(0).standard_normal((60, 3))
    model = DeltaGradRidge().fit(X, np.full(60, 5.0))
    assert_allclose(model.intercept_, 5.0)
    assert_allclose(model.coef_, 0.0, atol=1e-12)


def test_half_a_pass_where_leverages_are_too_loose_a_bound():
    """A row on the edge: certified by the rows' predictions along the step."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(4000, 100))
    y = (X[:, 0] + rng.logistic(size=4000) > 0).astype(int)
    model = DeltaGradLogisticRegression(edit_tol=1e-2).fit(X, y)
    removed, halves = [], 0
    for row in range(16):
        before = np.append(model.coef_, model.intercept_)
        model.unlearn(position=row)
        removed.append(row)
        report = model.update_report_
        if report.n_passes != 0.5:
            continue
        halves += 1
        assert report.relative_bound <= model.edit_tol
        assert report.gradient_norm is None  # the last pass was no whole one
        exact = LogisticRegression(solver="newton-cholesky", tol=1e-13)
        exact.fit(np.delete(X, removed, axis=0), np.delete(y, removed))
        after = np.append(model.coef_, model.intercept_)
        optimum = np.append(exact.coef_, exact.intercept_)
        hessian = model._engine.curvature.hessian
        distance = hessian.norm((after - optimum)[np.newaxis])
        assert distance <= report.distance_bound
        assert np.linalg.norm(after - optimum) < np.linalg.norm(before - optimum)
    assert halves >= 2
