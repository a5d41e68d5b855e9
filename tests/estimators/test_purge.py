"""After a purge nothing that is kept tells of a row that was removed.

Two *twin histories* differ in one removed row only: fit on S and z, forget z; fit on S
and another row, forget that. Whatever differs afterwards is a trace, wherever it is and
whatever it is called.
"""

import copy
import dataclasses
import os
import pickle
import re
import threading
import warnings

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import scale

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, inspection
from skdeltagrad._estimators.plain_state import plain
from skdeltagrad._optimum import polish

# What may differ, by place: requests are public, times and salts are new every time,
# and the number of steps to the optimum is a cost.
PUBLIC = re.compile(
    r"history_|update_report_|_key$|n_iter|n_passes|n_hessians|fit_cost|seconds|time|digest"
)
FLOOR = 1e-9


def _rows(kind, n_classes=2, seed=0):
    """Rows, targets and two candidates for the row that is going to leave."""
    rng = np.random.default_rng(seed)
    if kind == "ridge":
        X, y = load_diabetes(return_X_y=True)
        X = scale(X)
    elif n_classes == 2:
        X, y = load_breast_cancer(return_X_y=True)
        X = scale(X)[:, :12]
    else:
        X, y = load_wine(return_X_y=True)
        X = scale(X)
    order = rng.permutation(len(y))
    X, y = X[order], y[order]
    alike = np.flatnonzero(y == y[-1]) if kind != "ridge" else np.arange(len(y))
    return X, y, (len(y) - 1, int(alike[0]))


def _histories(make, kind, n_classes=2, storage=np.asarray, before=0, edit="remove"):
    """Two estimators that had another row each, and have the same rows now."""
    X, y, candidates = _rows(kind, n_classes)
    rest = np.setdiff1d(np.arange(len(y)), candidates)
    for last in candidates:
        chosen = [*rest, last]
        rows = storage(X[chosen])
        model = make().fit(rows, y[chosen])
        for position in range(before):
            model.unlearn(position=position)
        if edit == "remove":
            model.unlearn(rows[[-1]], y[chosen][-1:])
        else:
            model.partial_refit(
                rows[[0]], y[chosen][:1], position=len(rest), replace=True
            )
        yield model


def _leaves(value, place=""):
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{place}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{place}[{number}]")
    elif isinstance(value, (np.ndarray, np.generic, float, int)):
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            yield place, array


def differences(one, other, floor=FLOOR):
    """Places of numbers and arrays that differ, relative to their largest entry."""
    one = dict(_leaves(plain(vars(one))))
    other = dict(_leaves(plain(vars(other))))
    found = {}
    for place in one.keys() | other.keys():
        if PUBLIC.search(place):
            continue
        a, b = one.get(place), other.get(place)
        if a is None or b is None or a.shape != b.shape:
            found[place] = np.inf
            continue
        a, b = a.astype(float), b.astype(float)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        size = np.abs(np.where(np.isfinite(a), a, 0.0)).max(initial=0.0) or 1.0
        off = np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b)) / size
        if off.max(initial=0.0) > floor:
            found[place] = float(off.max())
    return found


def sparse_rows(X):
    """CSR; the two rows that may leave have other numbers of entries."""
    X = X.copy()
    X[-1, : 3 if X[-1, 0] > X[-1].mean() else 6] = 0.0
    return sparse.csr_array(X)


def float32(X):
    return X.astype(np.float32)


PATH = {"max_iter": 20, "random_state": 0}
LOGISTIC = {
    "two classes": {},
    "standardize": {"standardize": True},
    "balanced": {"class_weight": "balanced"},
    "no intercept": {"fit_intercept": False},
    "float32": {"storage": float32},
    "sparse": {"storage": sparse_rows},
    "after edits": {"before": 5},
    "corrected": {"edit": "correct"},
    "classes": {"n_classes": 3},
    "classes, balanced": {"n_classes": 3, "class_weight": "balanced"},
    "gd": {"solver": "gd", **PATH},
    "gd, period": {"solver": "gd", "period": 5, "burn_in": 2, **PATH},
    "sgd, period": {"solver": "sgd", "period": 5, "batch_size": 64, **PATH},
}
RIDGE = {
    "one target": {},
    "standardize": {"standardize": True},
    "float32": {"storage": float32},
    "sparse": {"storage": sparse_rows},
    "after edits": {"before": 5},
    "corrected": {"edit": "correct"},
    "gd": {"solver": "gd", **PATH},
    "sgd, period": {"solver": "sgd", "period": 5, "batch_size": 64, **PATH},
}
CASES = [("logistic", name) for name in LOGISTIC] + [("ridge", name) for name in RIDGE]


def _case(kind, name):
    settings = dict((LOGISTIC if kind == "logistic" else RIDGE)[name])
    how = {"storage", "before", "edit", "n_classes"} & settings.keys()
    how = {option: settings.pop(option) for option in how}
    cls = DeltaGradLogisticRegression if kind == "logistic" else DeltaGradRidge
    return lambda: cls(**settings), how


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_twin_histories_are_the_same_after_a_purge(kind, name):
    make, how = _case(kind, name)
    one, other = _histories(make, kind, **how)
    # Or there is nothing to test; so small a path is retrained anyway.
    assert differences(one, other) or name == "gd"
    for model in (one, other):
        assert model.purged_ == "no"
        assert model.purge() is model
        assert model.purged_ == "yes"
        assert model.history_.verify(model) == len(model.history_)
    assert differences(one, other) == {}


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_no_number_tells_which_of_many_suspects_left(kind):
    X, y, (last, _) = _rows(kind)
    cls = DeltaGradLogisticRegression if kind == "logistic" else DeltaGradRidge
    # Of one class, or else the numbers of rows by class would differ.
    suspects = np.flatnonzero(y == y[last]) if kind == "logistic" else np.arange(last)
    suspects = suspects[:8]
    rest = np.setdiff1d(np.arange(len(y)), suspects)
    models = []
    for suspect in suspects:
        chosen = [*rest, suspect]
        model = cls().fit(X[chosen], y[chosen]).unlearn(position=len(rest))
        model.unlearn(position=[0, 5]).partial_refit(X[suspects[:1]], y[suspects[:1]])
        models.append(model.purge())
    for model in models[1:]:
        assert differences(models[0], model) == {}
        ours, theirs = models[0].update_report_, model.update_report_
        for name in ("distance_bound", "decision_bound", "gradient_norm"):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert one == other or one == pytest.approx(other, rel=1e-9)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_an_exact_purge_is_the_same_to_the_bit(kind, name):
    make, how = _case(kind, name)
    one, other = (model.purge(exact=True) for model in _histories(make, kind, **how))
    assert differences(one, other, floor=0.0) == {}


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_a_large_row_leaves_no_rounding_in_sums_and_no_maximum(kind):
    X, y, (last, _) = _rows(kind)
    cls = DeltaGradLogisticRegression if kind == "logistic" else DeltaGradRidge
    models = []
    for size in (1.0, 1e4):
        rows = X.copy()
        rows[last] *= size
        model = cls(standardize=True).fit(rows, y).unlearn(position=last)
        models.append(model.purge())
    assert differences(*models) == {}


def test_the_removed_row_is_not_in_the_coefficients():
    # Those of an edit are near the optimum, and what is missing tells of the row.
    X, y, (last, _) = _rows("logistic")
    rest = np.arange(len(y) - 1)
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=last).purge()
    exact = DeltaGradLogisticRegression(tol=1e-14).fit(X[rest], y[rest])
    exact = exact.unlearn(position=0).partial_refit(X[:1], y[:1]).purge()
    assert_allclose(model.coef_, exact.coef_, rtol=1e-11)
    assert_allclose(model.intercept_, exact.intercept_, rtol=1e-11)


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_no_gradient_of_the_remaining_rows_is_the_removed_row(kind):
    """What an attacker with the dump does: the old optimum gives the row away."""
    X, y, (last, _) = _rows(kind)
    cls = DeltaGradLogisticRegression if kind == "logistic" else DeltaGradRidge
    model = cls().fit(X, y).unlearn(position=last)
    if kind == "logistic":  # Ridge keeps nothing of the old optimum in any case
        assert _best_cosine(model, X[:last], y[:last], X[last]) > 0.999
    assert _best_cosine(model.purge(), X[:last], y[:last], X[last]) < 0.95


def _best_cosine(model, X, y, row):
    """How near a gradient at something that is kept comes to the row's direction."""
    engine = model._engine
    shift = engine.model.centre
    design = np.column_stack([X - shift, np.ones(len(X))])
    target = np.append(row - shift, 1.0)
    best = 0.0
    for _, array in _leaves(plain(vars(model))):
        if array.shape != engine.iterate.shape:
            continue
        w = array.astype(float)[0]
        raw = design @ w
        is_logistic = isinstance(model, DeltaGradLogisticRegression)
        residual = (1 / (1 + np.exp(-raw)) if is_logistic else raw) - y
        gradient = residual @ design + engine.model.alpha[0] * np.append(w[:-1], 0.0)
        size = np.linalg.norm(gradient) * np.linalg.norm(target)
        best = max(best, abs(gradient @ target) / size)
    return best


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_what_is_left_of_the_optimum_is_rounding(kind):
    """Compared with an optimum in long double: a larger error would reveal the row."""
    X, y, (last, _) = _rows(kind)
    cls = DeltaGradLogisticRegression if kind == "logistic" else DeltaGradRidge
    for n_rows in (60, 150, last):
        model = cls().fit(X[:n_rows], y[:n_rows]).unlearn(position=n_rows - 1)
        iterate = model.purge()._engine.iterate[0].astype(np.longdouble)
        design = X[: n_rows - 1].astype(np.longdouble) - model._engine.model.centre
        design = np.column_stack([design, np.ones(n_rows - 1, np.longdouble)])
        penalty = np.append(np.ones(X.shape[1]), 0.0)
        optimum = iterate.copy()
        for _ in range(4):
            raw = design @ optimum
            mean = 1 / (1 + np.exp(-raw)) if kind == "logistic" else raw
            gradient = (mean - y[: n_rows - 1]) @ design + penalty * optimum
            weights = mean * (1 - mean) if kind == "logistic" else np.ones(n_rows - 1)
            hessian = (design.T * weights) @ design + np.diag(penalty)
            hessian = hessian.astype(float)
            optimum -= np.linalg.solve(hessian, gradient.astype(float))
        away = (iterate - optimum).astype(float)
        size = np.sqrt(optimum.astype(float) @ hessian @ optimum.astype(float))
        assert np.sqrt(away @ hessian @ away) <= 5e-16 * size


def test_neither_index_keeps_the_place_of_a_removed_row():
    X, y, (last, _) = _rows("logistic")
    ids = [f"C{number:04}" for number in range(len(y))]
    model = DeltaGradLogisticRegression().fit(X, y, sample_id=ids)
    model.unlearn(X[[3]], y[[3]]).unlearn(sample_id="C0123").purge()
    assert model._training_set._content is None
    assert model._training_set.table._id_index is None
    model.unlearn(X[[4]], y[[4]]).unlearn(sample_id="C0124")  # made again


def test_widths_of_ids_and_labels_are_those_of_the_current_rows():
    X, y, (last, _) = _rows("logistic")
    ids = np.array([f"{number}" for number in range(len(y))], dtype=object)
    ids[7] = "x" * 100
    labels = np.where(y == 1, "yes", "no").astype(object)
    labels[8] = "c" * 50
    model = DeltaGradLogisticRegression().fit(X, labels.astype(str), sample_id=ids)
    model.unlearn(position=[7, 8]).purge()
    assert model._training_set.table.ids.dtype.itemsize == 4 * 3
    assert model.classes_.dtype == "<U3"


def test_many_rows_that_left_one_after_the_other_leave_no_rounding():
    X, y, _ = _rows("ridge")
    sums = []
    for size in (2.0, 1.2):
        outliers = np.ones((40, X.shape[1])) * size ** np.arange(40)[:, np.newaxis]
        model = DeltaGradRidge()
        model.fit(np.vstack([X, outliers]), np.append(y, np.arange(40) % 2))
        for position in range(len(y) + 39, len(y) - 1, -1):
            model.unlearn(position=position)
        sums.append(model.purge()._training_set.moments.squares)
    assert_allclose(sums[0], sums[1], rtol=1e-13)


# What a purge costs, and what comes after it.


def _large(n_rows=20_000, n_features=10):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, n_features))
    y = (X @ rng.standard_normal(n_features) + rng.logistic(size=n_rows) > 0).astype(
        int
    )
    return X, y


def test_a_purge_takes_few_passes_and_a_hessian_and_the_next_edit_none():
    X, y = _large()
    model = DeltaGradLogisticRegression().fit(X, y)
    for positions in (0, range(1, 20), range(200, 400)):
        report = model.unlearn(position=positions).purge().update_report_
        assert report.operation == "purge"
        # Four for gradients, because edits hardly ever read the rows, and half of one
        # for the norms that bound leverages.
        assert report.n_passes <= 4.5
        assert report.n_hessians <= 1.0
        report = model.unlearn(position=1000 + np.max(positions)).update_report_
        assert report.n_hessians == 0.0
        assert report.n_passes <= 0.5
        assert report.relative_bound <= model.edit_tol


def test_leverages_are_computed_when_loose_bounds_have_cost_as_much():
    X, y = _large(4_000)
    model = DeltaGradLogisticRegression(edit_tol=1e-6).fit(X, y)
    model.unlearn(position=0).purge()
    assert not model._engine.curvature.is_complete
    n_passes = []
    for position in range(1, 15):
        n_passes.append(model.unlearn(position=position).update_report_.n_passes)
    assert model._engine.curvature.is_complete
    assert sum(n_passes) > 0


def test_a_purge_of_ridge_takes_a_pass_and_two_hessians():
    X, y, _ = _rows("ridge")
    report = DeltaGradRidge().fit(X, y).unlearn(position=1).purge().update_report_
    assert report.n_passes <= 1.0
    assert report.n_hessians <= 2.0


@pytest.mark.parametrize("model", [
    DeltaGradLogisticRegression(), DeltaGradRidge(),
    DeltaGradLogisticRegression(solver="gd", max_iter=5),
    DeltaGradLogisticRegression(curvature="diagonal"),
    DeltaGradRidge(store_data=False),
])  # fmt: skip
def test_a_second_purge_in_a_row_does_nothing(model, unchanged):
    kind = "ridge" if isinstance(model, DeltaGradRidge) else "logistic"
    X, y, _ = _rows(kind)
    model.fit(X, y)
    with unchanged(model):
        model.purge()  # nothing has been removed
    model.unlearn(X[:2], y[:2]).purge()
    with unchanged(model):
        model.purge()


def test_without_a_kept_hessian_the_model_is_fitted_again():
    X, y, (last, _) = _rows("logistic")
    make = lambda: DeltaGradLogisticRegression(curvature="diagonal")  # noqa: E731
    model = make().fit(X, y).unlearn(position=last)
    fit = model.history_[0]
    report = model.purge().update_report_
    assert 0.5 * fit.n_passes <= report.n_passes <= 1.5 * fit.n_passes
    assert_array_equal(model.coef_, make().fit(X[:last], y[:last]).coef_)


def test_where_steps_do_not_arrive_the_model_is_fitted_again(monkeypatch):
    X, y, (last, _) = _rows("logistic")
    monkeypatch.setattr(polish, "_MOST_PASSES", 1)
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=range(100))
    report = model.purge().update_report_
    assert model.purged_ == "yes"
    assert report.n_hessians > 1.0
    fresh = DeltaGradLogisticRegression().fit(X[100:], y[100:])
    assert_allclose(model.coef_, fresh.coef_, rtol=1e-6)


def test_columns_far_from_zero_are_centred_again():
    X, y, (last, _) = _rows("logistic")
    X = X + 50.0
    X[last] += 1e5
    model = DeltaGradLogisticRegression().fit(X, y)
    centre = model._engine.model.centre
    model.unlearn(position=last).purge()
    fresh = DeltaGradLogisticRegression().fit(X[:last], y[:last])
    assert not np.array_equal(model._engine.model.centre, centre)
    assert_array_equal(model._engine.model.centre, fresh._engine.model.centre)
    assert_allclose(model.coef_, fresh.coef_, rtol=1e-6)


# Receipts.


def test_a_purge_is_an_operation_with_a_receipt_and_drops_the_figures_of_others():
    X, y, (last, _) = _rows("logistic")
    model = DeltaGradLogisticRegression().fit(X, y)
    model.unlearn(position=last, request_id="R-1")
    digests = [report.digest for report in model.history_]
    model.purge()
    fit, edit, purge = model.history_
    assert [fit.digest, edit.digest] == digests
    assert edit.is_redacted and fit.is_redacted
    assert edit.request_id == "R-1"
    assert edit.distance_bound is edit.seconds is edit.coef_digest is None
    assert purge.operation == "purge"
    assert purge.purged == "yes" and purge.n_removed == purge.n_added == 0
    assert model.history_.verify(model) == 3
    assert "purged" in str(purge)


@pytest.mark.parametrize("solver", ["newton", "gd"])
def test_edits_go_on_after_a_purge(solver):
    X, y, _ = _rows("ridge")
    settings = {"solver": solver}
    if solver == "gd":
        settings |= {"max_iter": 20, "learning_rate": 0.05}
    model = DeltaGradRidge(**settings).fit(X, y)
    model.unlearn(position=3).purge().unlearn(position=4)
    assert model.purged_ == "no"
    model.partial_refit(X[3:5], y[3:5]).purge()
    fresh = DeltaGradRidge(**settings).fit(X, y)
    assert_allclose(model.coef_, fresh.coef_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("exact", [False, True])
def test_after_a_purge_that_was_refused_everything_goes_on(storage, exact, unchanged):
    # Leverages are kept, and rows have left holes, which a purge closes.
    X, y, (last, _) = _rows("logistic")
    model = DeltaGradLogisticRegression().fit(storage(X), y)
    model.unlearn(position=[0, 5, 9])

    def refuse(report):
        raise RuntimeError("not now")

    model.callback = refuse
    with unchanged(model), pytest.raises(RuntimeError, match="not now"):
        model.purge(exact=exact)
    model.callback = None
    model.unlearn(position=1).partial_refit(storage(X[:2]), y[:2])
    assert model.purge(exact=exact).purged_ == "yes"
    assert model.history_.verify(model) == 5


def test_a_receipt_of_a_purge_tells_the_parameters_of_fit():
    X, y, (last, _) = _rows("logistic")
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=last)
    report = model.set_params(solver="gd", C=7.0).purge().update_report_
    assert report.solver == report.parameters["solver"] == "newton"
    assert report.parameters["C"] == 1.0


def test_a_warning_that_is_an_error_undoes_a_fit_anew(unchanged):
    X, y, (last, _) = _rows("logistic")
    model = DeltaGradLogisticRegression(max_iter=100).fit(X, y)
    model._engine = dataclasses.replace(model._engine, max_iter=1)
    with warnings.catch_warnings(), unchanged(model):
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            model.partial_refit()


def test_an_inspection_is_not_disturbed_by_a_pickle():
    X, y, _ = _rows("logistic")
    model = DeltaGradLogisticRegression().fit(sparse.csr_array(X), y)
    model.unlearn(position=[0, 5])

    def scorer(estimator, X, y):
        pickle.dumps(model)
        return 0.0

    with pytest.raises(RuntimeError, match="purge"):
        inspection.data_values(model, X[:5], y[:5], scoring=scorer)
    assert model.purged_ == "no"


# Dumps.


def test_save_and_pickle_purge_the_estimator_itself_first(tmp_path):
    X, y, (last, _) = _rows("logistic")
    for write in (
        lambda model: model.save(tmp_path / "model"),
        lambda model: skdeltagrad.save(make_pipeline(model), tmp_path / "model"),
        lambda model: joblib.dump(model, tmp_path / "model"),
    ):
        model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=last)
        write(model)
        loaded = joblib.load(tmp_path / "model")
        loaded = loaded if hasattr(loaded, "purged_") else loaded[-1]
        assert model.purged_ == loaded.purged_ == "yes"
        assert_array_equal(model.coef_, loaded.coef_)
        assert loaded.history_.verify(loaded) == 3
        assert loaded.history_[-1].digest == model.history_[-1].digest
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=last)
    assert pickle.loads(pickle.dumps(model)).purged_ == model.purged_ == "yes"


def test_copies_and_clones_do_not_purge():
    X, y, (last, _) = _rows("logistic")
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=last)
    for copied in (copy.deepcopy(model), copy.copy(model)):
        assert copied.purged_ == model.purged_ == "no"
    clone(model)
    assert model.purged_ == "no"


@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_a_path_is_purged_only_where_that_is_asked_for(solver, tmp_path):
    X, y, (last, _) = _rows("logistic")
    model = DeltaGradLogisticRegression(solver=solver, max_iter=5).fit(X, y)
    model.save(tmp_path / "model")  # of a fit there is nothing to warn of
    model.unlearn(position=last)
    for write in (
        lambda: model.save(tmp_path / "model"),
        lambda: joblib.dump(model, tmp_path / "model"),
    ):
        with pytest.warns(UserWarning, match="purge"):
            write()
        assert joblib.load(tmp_path / "model").purged_ == "no"
    model.save(tmp_path / "model", purge=True)
    assert joblib.load(tmp_path / "model").purged_ == model.purged_ == "yes"


def test_save_without_a_purge_warns(tmp_path):
    X, y, (last, _) = _rows("logistic")
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=last)
    with pytest.warns(
        UserWarning, match="may contain traces of rows that were removed"
    ):
        model.save(tmp_path / "model", purge=False)
    assert joblib.load(tmp_path / "model").purged_ == model.purged_ == "no"


def test_the_key_of_receipts_can_be_left_out_of_a_dump(tmp_path):
    X, y, (last, _) = _rows("logistic")
    ids = np.arange(len(y))
    model = DeltaGradLogisticRegression().fit(X, y, sample_id=ids)
    model.unlearn(sample_id=last).save(tmp_path / "model", receipt_key=False)
    assert model._key not in (tmp_path / "model").read_bytes()
    loaded = joblib.load(tmp_path / "model")
    with pytest.raises(ValueError, match="receipt_key"):
        loaded.hash_ids(last)
    assert loaded.unlearn(sample_id=0).history_.verify(loaded) == 4


def test_where_a_purge_fails_nothing_is_written_and_nothing_changes(
    tmp_path, monkeypatch, unchanged
):
    X, y, (last, _) = _rows("logistic")
    model = DeltaGradLogisticRegression().fit(X, y)
    model.save(tmp_path / "model")
    written = (tmp_path / "model").read_bytes()
    model.unlearn(position=last)

    def fail(*_):
        raise MemoryError("no room")

    monkeypatch.setattr("skdeltagrad._optimum.engine.polish", fail)
    with unchanged(model):
        for write in (
            lambda: model.save(tmp_path / "model"),
            lambda: pickle.dumps(model),
            model.purge,
        ):
            with pytest.raises(MemoryError, match="no room"):
                write()
    assert os.listdir(tmp_path) == ["model"]
    assert (tmp_path / "model").read_bytes() == written


def test_a_callback_can_refuse_a_purge(unchanged):
    X, y, (last, _) = _rows("logistic")
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=last)

    def refuse(report):
        assert report.operation == "purge"
        raise RuntimeError("not now")

    model.callback = refuse
    with unchanged(model), pytest.raises(RuntimeError, match="not now"):
        model.purge()


def test_an_estimator_that_is_not_fitted_has_nothing_to_purge():
    for use in (lambda model: model.purge(), lambda model: model.purged_):
        with pytest.raises(NotFittedError):
            use(DeltaGradRidge())
    assert pickle.loads(pickle.dumps(DeltaGradRidge(alpha=3.0))).alpha == 3.0


def test_parameters_that_were_set_since_do_not_stop_a_purge():
    X, y, (last, _) = _rows("logistic")
    model = DeltaGradLogisticRegression(solver="gd", max_iter=10).fit(X, y)
    model.unlearn(position=last).set_params(C=7.0, max_iter=3)
    model.purge()
    fresh = DeltaGradLogisticRegression(solver="gd", max_iter=10).fit(
        X[:last], y[:last]
    )
    assert_allclose(model.coef_, fresh.coef_, rtol=1e-10)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_what_is_mapped_is_purged_in_memory(mode, tmp_path):
    X, y, (last, _) = _rows("logistic")
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=last)
    with pytest.warns(UserWarning):
        model.save(tmp_path / "model", purge=False)
    written = (tmp_path / "model").read_bytes()
    mapped = joblib.load(tmp_path / "model", mmap_mode=mode)
    assert mapped.purged_ == "no"
    assert mapped.purge().purged_ == "yes"
    assert (tmp_path / "model").read_bytes() == written
    assert_array_equal(mapped.coef_, model.purge().coef_)


def test_threads_that_edit_and_save_wait_for_each_other(tmp_path):
    X, y = _large(2_000, 5)
    model = DeltaGradLogisticRegression().fit(X, y)
    failures = []

    def edit():
        try:
            for position in range(40):
                model.unlearn(position=position)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=edit)
    thread.start()
    for _ in range(10):
        model.save(tmp_path / "model")
        loaded = joblib.load(tmp_path / "model")
        assert loaded.purged_ == "yes"
        loaded.history_.verify(loaded)
    thread.join()
    assert not failures
    assert model.history_.verify(model) >= 41


# Without rows.


def test_ridge_without_rows_is_purged(tmp_path):
    X, y, candidates = _rows("ridge")
    rest = np.setdiff1d(np.arange(len(y)), candidates)
    models = []
    for last in candidates:
        model = DeltaGradRidge(store_data=False).fit(X[[*rest, last]], y[[*rest, last]])
        models.append(model.unlearn(X[[last]], y[[last]]).purge())
        assert models[-1].purged_ == "yes"
        assert models[-1].update_report_.decision_bound is None
    found = differences(*models)
    assert {place for place in found if "fingerprint" not in place} == set()


@pytest.mark.parametrize("size", [3.0, 10.0, 300.0])
def test_ridge_without_rows_does_not_tell_how_large_a_row_was(size):
    X, y, (last, _) = _rows("ridge")
    models = []
    for factor in (1.0, size):
        rows = X.copy()
        rows[last] *= factor
        model = DeltaGradRidge(store_data=False, edit_tol=1.0).fit(rows, y)
        models.append(model.unlearn(rows[[last]], y[[last]]).purge())
    if models[1].purged_ == "yes":
        found = differences(*models)
        assert {place for place in found if "fingerprint" not in place} == set()
    else:
        assert size > 100.0
        assert "larger than the others" in models[1].update_report_.not_purged


def test_a_logistic_model_without_rows_cannot_be_purged():
    X, y, _ = _rows("logistic")
    model = DeltaGradLogisticRegression(store_data=False, edit_tol=1.0).fit(X, y)
    assert model.purged_ == "yes"
    model.unlearn(X[:1], y[:1]).purge()
    assert model.purged_ == "cannot"
    report = model.update_report_
    assert "store_data=False" in report.not_purged
    assert "cannot be purged" in str(report)
    assert pickle.loads(pickle.dumps(model)).purged_ == "cannot"


def test_rounding_of_larger_coefficients_does_not_stay():
    """The part that classes have in common is in no step, but it is penalised."""
    rng = np.random.default_rng(101)
    X, y = 1e-6 * rng.standard_normal((8, 1)), np.arange(8) % 3
    model = DeltaGradLogisticRegression(C=0.1, standardize=True, edit_tol=0.1)
    model.fit(X, y)
    before = np.abs(model.coef_).max()
    for size in (1.0, 1e3):
        model.partial_refit([[size]], [0]).partial_refit([[-size]], [1])
    model.purge()
    largest = np.abs(model.coef_).max()
    assert largest < 1e-3 * before
    assert np.abs(model.coef_.sum()) <= 1e-15 * largest
