"""Estimators that keep no rows, and forget rows all the same."""

import pickle

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, assert_erased
from skdeltagrad._erasure.object_graph import iter_arrays
from skdeltagrad._reports import digests


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


CASES = {
    "binary": (
        DeltaGradLogisticRegression(C=0.01, store_data=False, edit_tol=0.1), cancer,
    ),
    "balanced": (
        DeltaGradLogisticRegression(
            C=0.01, class_weight="balanced", store_data=False, edit_tol=0.1
        ),
        cancer,
    ),
    "classes": (
        DeltaGradLogisticRegression(C=0.01, store_data=False, edit_tol=0.1),
        lambda: (scale(load_wine().data), load_wine().target),
    ),
    "ridge": (
        DeltaGradRidge(store_data=False),
        lambda: load_diabetes(return_X_y=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("name", CASES)
def test_follows_like_an_estimator_with_rows(name, convert):
    model, load = CASES[name]
    X, y = load()
    X = convert(X)
    weight = np.random.default_rng(0).choice([0.5, 1.0, 2.0], len(y))
    model = model.fit(X, y, weight)
    stored = type(model)(**model.get_params() | {"store_data": True})
    stored.fit(X, y, weight)
    for row in (3, 50, 100):
        model.unlearn(X[row : row + 1], y[row : row + 1], sample_weight=weight[row])
        stored.unlearn(position=row)
        np.testing.assert_allclose(model.coef_, stored.coef_, rtol=1e-6, atol=1e-9)
        report = model.update_report_
        assert report.n_passes == report.n_hessians == 0
        assert report.membership_checked
        assert 0 < report.membership_error_rate < 1e-8
        assert "recognised by their fingerprints" in str(report)
        assert report.n_samples == stored.update_report_.n_samples
        assert report.distance_bound >= 0.0


def fingerprints_of(model):
    return model._training_set.table.fingerprints


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CASES)
def test_rows_that_were_never_trained_are_refused(name, dtype, convert, unchanged):
    model, load = CASES[name]
    X, y = load()
    X = X.astype(dtype)
    model = clone(model).set_params(edit_tol=0.5)
    model.fit(convert(X[20:]), y[20:])
    near, near_y = X[[40]].copy(), y[[40]]
    near[0, 3] += 0.5 * np.linalg.norm(near)
    other_y = y[[40]] + 1 if name == "ridge" else y[y != y[40]][:1]
    for method in (model.unlearn, model.plan_unfit):
        for wrong in (
            lambda method=method: method(convert(X[:3]), y[:3]),
            lambda method=method: method(convert(X[[25, 3, 30]]), y[[25, 3, 30]]),
            lambda method=method: method(convert(near), near_y),
            lambda method=method: method(convert(X[[40]]), other_y),
            lambda method=method: method(convert(X[[40]]), y[[40]], sample_weight=[2]),
            lambda method=method: method(convert(X[[40, 40]]), y[[40, 40]]),
        ):
            message = r"is not among the \d+ training rows: nothing is changed"
            with unchanged(model), pytest.raises(ValueError, match=message):
                wrong()
    n_rows = len(y) - 20
    assert model.plan_unfit(convert(X[[40]]), y[[40]]).n_samples == n_rows - 1
    assert model.unlearn(convert(X[[40]]), y[[40]]).update_report_.n_removed == 1
    with unchanged(model), pytest.raises(ValueError, match="not among"):
        model.unlearn(convert(X[[40]]), y[[40]])  # it is gone
    assert len(fingerprints_of(model)) == n_rows - 1


def test_rows_that_are_not_there_are_passed_over():
    X, y = load_diabetes(return_X_y=True)
    model = DeltaGradRidge(store_data=False).fit(X[5:], y[5:])
    few = DeltaGradRidge(store_data=False).fit(X[5:], y[5:])
    request = [0, 7, 3, 8, 7]
    plan = model.plan_unfit(X[request], y[request], on_missing="ignore")
    assert (plan.n_removed, plan.n_not_found) == (2, 3)
    model.unlearn(X[request], y[request], on_missing="ignore")
    few.unlearn(X[[7, 8]], y[[7, 8]])
    np.testing.assert_array_equal(model.coef_, few.coef_)
    report = model.update_report_
    assert (report.n_removed, report.n_not_found) == (2, 3)
    before = model.coef_.copy()
    model.unlearn(X[request], y[request], on_missing="ignore")
    np.testing.assert_array_equal(model.coef_, before)
    report = model.update_report_
    assert (report.n_removed, report.n_not_found) == (0, 5)
    assert report.membership_checked
    assert report.n_samples == len(y) - 7


def test_equal_rows_leave_as_often_as_they_were_given():
    X, y = load_diabetes(return_X_y=True)
    X, y = np.vstack([X, X[:4], X[:4]]), np.concatenate([y, y[:4], y[:4]])
    model = DeltaGradRidge(store_data=False).fit(X, y)
    model.unlearn(X[[2, 2]], y[[2, 2]]).unlearn(X[[2]], y[[2]])
    with pytest.raises(ValueError, match=r"X\[0\], with its y and sample_weight"):
        model.unlearn(X[[2]], y[[2]])
    with pytest.raises(ValueError, match=r"X\[3\], with its y"):
        model.unlearn(X[[1, 1, 1, 1]], y[[1, 1, 1, 1]])


def test_equal_rows_that_are_rounded_otherwise():
    """Each is given for the other; a stored row is not taken twice."""
    X, y = load_diabetes(return_X_y=True)
    rounded = X[:40] * (1 + 1e-13)
    model = DeltaGradRidge(store_data=False)
    model.fit(np.vstack([X, rounded]), np.concatenate([y, y[:40]]))
    model.unlearn(np.vstack([rounded, rounded]), np.concatenate([y[:40], y[:40]]))
    assert model.update_report_.n_samples == len(y) - 40
    with pytest.raises(ValueError, match="not among"):
        model.unlearn(X[:1], y[:1])


def test_rows_of_a_transformer_alone_are_recognised():
    X, y = load_breast_cancer(return_X_y=True)
    steps = make_pipeline(StandardScaler(), PCA()).fit(X)
    model = DeltaGradLogisticRegression(C=0.01, store_data=False, edit_tol=0.5)
    model.fit(steps.transform(X), y)
    for row in range(10):
        model.unlearn(steps.transform(X[[row]]), y[[row]])
    assert model.update_report_.n_samples == len(y) - 10


def test_weights_are_those_of_fit(unchanged):
    """A row with another weight would leave a part of itself in the model."""
    X, y = load_diabetes(return_X_y=True)
    weight = np.where(np.arange(len(y)) < 5, 2.0, 1.0)
    model = DeltaGradRidge(store_data=False).fit(X, y, weight)
    with unchanged(model), pytest.raises(ValueError, match="1 where it is not given"):
        model.unlearn(X[:1], y[:1])
    model.unlearn(X[:1], y[:1], sample_weight=[2.0]).unlearn(X[7:8], y[7:8])
    assert model.update_report_.n_samples == len(y) - 2


def test_a_class_weight_is_no_weight_that_must_be_given():
    X, y = cancer()
    model = DeltaGradLogisticRegression(
        C=0.01, class_weight={0: 3.0}, store_data=False, edit_tol=0.5
    )
    model.fit(X, y).unlearn(X[:2], y[:2])
    assert model.update_report_.n_removed == 2


def test_a_label_that_never_was(unchanged):
    X, y = cancer()
    model = DeltaGradLogisticRegression(C=0.01, store_data=False).fit(X, y)
    with unchanged(model), pytest.raises(ValueError, match="not among"):
        model.unlearn(X[:1], [7])


def test_nothing_is_left_of_the_fingerprints_of_removed_rows(monkeypatch):
    """What is kept is that of a fit on the rows that remain, under the same key."""
    monkeypatch.setattr(digests, "new_key", lambda: bytes(16))
    X, y = load_diabetes(return_X_y=True)
    model = DeltaGradRidge(store_data=False).fit(X, y)
    before = fingerprints_of(model)
    model.unlearn(X[[3, 50]], y[[3, 50]]).unlearn(X[[9]], y[[9]])
    kept = np.delete(np.arange(len(y)), [3, 9, 50])
    fresh = DeltaGradRidge(store_data=False).fit(X[kept], y[kept])
    np.testing.assert_array_equal(fingerprints_of(model), fingerprints_of(fresh))
    gone = np.setdiff1d(before, fingerprints_of(fresh))
    assert len(gone) == 3
    for place, array in iter_arrays(model):
        assert array.dtype != np.uint64 or not np.isin(array, gone).any(), place
    # Their order says nothing about the order of the rows.
    assert (np.diff(fingerprints_of(model).astype(np.int64)) > 0).all()
    shuffled = np.random.default_rng(0).permutation(kept)
    again = DeltaGradRidge(store_data=False).fit(X[shuffled], y[shuffled])
    np.testing.assert_array_equal(fingerprints_of(model), fingerprints_of(again))


def test_a_failed_edit_keeps_the_fingerprints(unchanged):
    X, y = cancer()
    model = DeltaGradLogisticRegression(C=0.1, store_data=False).fit(X, y)
    with unchanged(model), pytest.raises(ValueError, match="Call fit on the rows"):
        model.unlearn(X[:200], y[:200])
    model.unlearn(X[:1], y[:1])


def test_other_keys_make_other_fingerprints():
    X, y = load_diabetes(return_X_y=True)
    models = [DeltaGradRidge(store_data=False).fit(X, y) for _ in range(2)]
    assert not np.isin(*map(fingerprints_of, models)).any()


def as_of_earlier_versions(model):
    """As if loaded from a dump that was written before there were fingerprints."""
    model = pickle.loads(pickle.dumps(model))
    del vars(model._training_set.table)["fingerprints"]
    del vars(model._training_set.table)["key_digest"]
    return pickle.loads(pickle.dumps(model))


def without_key(model):
    model = pickle.loads(pickle.dumps(model))
    model._key = None
    return model


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (as_of_earlier_versions, "there are no fingerprints"),
        (without_key, "the key of their fingerprints is not in this dump"),
    ],
)
def test_where_nothing_can_be_checked_the_call_warns(make, why):
    X, y = load_diabetes(return_X_y=True)
    model = make(DeltaGradRidge(store_data=False).fit(X, y))
    with pytest.warns(UserWarning, match=f"cannot be checked .* {why}") as warned:
        model.plan_unfit(X[:2], y[:2])
    assert warned[0].filename == __file__
    if make is without_key:
        model._key = bytes(16)  # receipts need one, and this is another one
    for reason in (why, "there are no fingerprints"):
        with pytest.warns(UserWarning, match=reason) as warned:
            model.unlearn(X[:2], y[:2])
        assert warned[0].filename == __file__
        report = model.update_report_
        assert not report.membership_checked
        assert report.membership_error_rate is None
        assert "not checked" in str(report)
        assert model.history_.verify(model)
        # Which of them are those of the rows that left, nobody could tell.
        assert fingerprints_of(model) is None
        model = pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_fingerprints_are_in_a_dump(mmap_mode, tmp_path):
    X, y = load_diabetes(return_X_y=True)
    model = DeltaGradRidge(store_data=False).fit(X, y)
    model.save(tmp_path / "model.joblib")
    model = joblib.load(tmp_path / "model.joblib", mmap_mode=mmap_mode)
    with pytest.raises(ValueError, match="not among"):
        model.unlearn(X[:1] + 1, y[:1])
    model.unlearn(X[:1], y[:1])
    assert len(fingerprints_of(model)) == len(y) - 1
    assert model.history_.verify(model)


def test_no_row_is_in_it():
    X, y = cancer()
    model = DeltaGradLogisticRegression(C=0.01, store_data=False).fit(X, y)
    assert len(pickle.dumps(model)) < 100_000 < X.nbytes
    report = assert_erased(model, X)
    assert report.n_checked == len(X)
    model.unlearn(X[:1], y[:1]).purge()
    report = assert_erased(model, X)
    assert report.n_checked == len(X)
    assert set(report.purged.values()) == {"cannot"}


def test_it_stops_where_edit_tol_is_not_certain_any_more(unchanged):
    X, y = cancer()
    model = DeltaGradLogisticRegression(C=0.1, store_data=False).fit(X, y)
    n_gone = 0
    with pytest.raises(ValueError, match="Call fit on the rows that remain"):
        for n_gone in range(100):
            model.unlearn(X[[n_gone]], y[[n_gone]])
    assert n_gone > 1
    with unchanged(model), pytest.raises(ValueError, match="edit_tol"):
        model.unlearn(X[[n_gone]], y[[n_gone]])
    exact = LogisticRegression(C=0.1, solver="newton-cholesky", tol=1e-12)
    exact.fit(X[n_gone:], y[n_gone:])
    first = LogisticRegression(C=0.1, solver="newton-cholesky", tol=1e-12).fit(X, y)
    moved = np.linalg.norm(exact.coef_ - first.coef_)
    assert np.linalg.norm(model.coef_ - exact.coef_) <= 1e-2 * moved


def test_a_dump_goes_on():
    X, y = load_diabetes(return_X_y=True)
    model = DeltaGradRidge(alpha=0.1, store_data=False).fit(X, y)
    model = pickle.loads(pickle.dumps(model.unlearn(X[:3], y[:3])))
    model.unlearn(X[3:5], y[3:5])
    exact = Ridge(alpha=0.1).fit(X[5:], y[5:])
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=1e-9)


def test_what_needs_rows_is_refused(unchanged):
    X, y = cancer()
    model = DeltaGradLogisticRegression(store_data=False).fit(X, y)
    with unchanged(model):
        for edit in (
            lambda: model.unlearn(position=3),
            lambda: model.partial_refit(),
            lambda: model.partial_refit(X[:2], y[:2]),
        ):
            with pytest.raises(ValueError, match="store_data=False kept no rows"):
                edit()
        with pytest.raises(ValueError, match="All 569"):
            model.unlearn(X, y)
        with pytest.raises(ValueError, match="Only rows of class 0 would be left"):
            model.unlearn(X[y == 1], y[y == 1])
    with pytest.raises(ValueError, match='needs solver="newton"'):
        DeltaGradLogisticRegression(solver="gd", store_data=False).fit(X, y)
    with pytest.raises(ValueError, match="needs a Hessian that is kept"):
        DeltaGradRidge(curvature="diagonal", store_data=False).fit(X, y)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_class_does_not_disappear_without_rows(class_weight, unchanged):
    """The model of the other classes would be that of their rows, which are gone."""
    X, y = load_wine(return_X_y=True)
    X, rare = scale(X), np.where(np.arange(len(y)) < 2, 7, np.minimum(y, 1))
    model = DeltaGradLogisticRegression(class_weight=class_weight, store_data=False)
    model.fit(X, rare)
    for method in (model.unlearn, model.plan_unfit):
        with unchanged(model), pytest.raises(ValueError, match="store_data=False kept"):
            method(X[:2], rare[:2])
