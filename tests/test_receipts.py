"""Reports are receipts: complete, without feature values, chained, and kept."""

import json
import pickle
from copy import deepcopy

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.preprocessing import scale

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, _history
from skdeltagrad._receipt import check_chain

N_SAMPLES = 60


def _wine():
    X, y = load_wine(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(y))
    return scale(X)[order], np.array(["red", "rose", "white"])[y[order]]


def _diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X[:120]), scale(y[:120])


MODELS = {
    "newton": (DeltaGradLogisticRegression(), _wine()),
    "ridge": (DeltaGradRidge(), _diabetes()),
    "gd": (
        DeltaGradLogisticRegression(solver="gd", max_iter=9, class_weight="balanced"),
        _wine(),
    ),
    "sgd": (
        DeltaGradRidge(solver="sgd", max_iter=5, batch_size=16, random_state=7),
        _diabetes(),
    ),
}
KINDS = {"int": lambda ids: ids, "str": lambda ids: ids.astype(str), None: None}


@pytest.fixture(params=MODELS)
def case(request):
    """A fitted estimator with ids, 3 rows each, and the rows."""
    model, (X, y) = MODELS[request.param]
    ids = np.arange(len(y)) // 3
    model = clone(model).fit(X[:N_SAMPLES], y[:N_SAMPLES], sample_id=ids[:N_SAMPLES])
    return model, X, y, ids


def edit_of_every_kind(model, X, y, ids):
    """Edits, each with its request's name; yields after every one."""
    new = slice(N_SAMPLES, N_SAMPLES + 6)
    edits = [
        lambda name: model.partial_unfit(sample_id=2, request_id=name),
        lambda name: model.partial_unfit(X[:1], y[:1], request_id=name),
        lambda name: model.partial_refit(
            X[new], y[new], sample_id=ids[new], remove_id=[5, 6], request_id=name
        ),
        lambda name: model.partial_refit(
            X[new][:3], y[new][:3], sample_id=[7, 7, 7], replace=True, request_id=name
        ),
        lambda name: model.partial_unfit(
            sample_id=2, on_missing="ignore", request_id=name
        ),
        lambda name: model.partial_refit(request_id=name),
    ]
    for number, edit in enumerate(edits):
        edit(f"request {number}")
        yield number


def test_what_a_receipt_says(case):
    model, X, y, ids = case
    before = N_SAMPLES
    for number in edit_of_every_kind(model, X, y, ids):
        report = model.update_report_
        assert report.request_id == f"request {number}"
        assert report.n_samples_before == before
        before += report.n_added - report.n_removed
        assert report.n_samples == before
        assert report.solver == model.solver
        assert report.parameters["solver"] == model.solver
        assert report.versions["numpy"] == np.__version__
        assert report.versions["skdeltagrad"] == skdeltagrad.__version__
        assert report.time[:2] == "20"
        assert report.time.endswith("+00:00")
        assert (report.seed is not None) == (model.solver != "newton")
        assert len(report.digest) == len(report.coef_digest) == 64


def test_ids_are_hashed_by_a_key(case):
    model, X, y, ids = case
    said = []
    for _ in edit_of_every_kind(model, X, y, ids):
        report = model.update_report_
        said.append((report.removed_ids, report.added_ids, report.missing_ids))
    one, new = model.hash_ids, ids[N_SAMPLES : N_SAMPLES + 6]
    assert said == [
        (one(2), (), ()),
        (one(0), (), ()),
        (one([5, 6]), one(new), ()),
        (one(7), one(7), ()),
        ((), (), one(2)),
        ((), (), ()),
    ]
    other = clone(model).fit(X, y, sample_id=ids)
    assert other.hash_ids(2) != one(2)
    assert deepcopy(model).hash_ids([2, 3]) == one([3, 2])


def test_positions_are_named_where_there_are_no_ids():
    X, y = _diabetes()
    model = DeltaGradRidge().fit(X[:50], y[:50])
    model.unlearn(position=[3, 17])
    assert model.update_report_.removed_ids == model.hash_ids([3, 17])
    model.unlearn(X[5:6], y[5:6])
    assert model.update_report_.removed_ids == model.hash_ids(5)
    model.unlearn(position=3, on_missing="ignore")
    assert model.update_report_.missing_ids == model.hash_ids(3)
    model.partial_refit(X[50:52], y[50:52])
    assert model.update_report_.added_ids == model.hash_ids([50, 51])
    model.partial_refit(X[52:54], y[52:54], position=[50, 9], replace=True)
    assert model.update_report_.removed_ids == model.hash_ids([9, 50])
    assert model.update_report_.added_ids == model.hash_ids([9, 50])


def test_an_integer_is_not_its_text():
    X, y = _diabetes()
    model = DeltaGradRidge().fit(X, y, sample_id=np.arange(len(y)).astype(str))
    assert model.hash_ids("2") != model.hash_ids(2)


def test_many_ids_have_one_hash():
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((1500, 2)), rng.standard_normal(1500)
    ids = np.arange(1500)
    model = DeltaGradRidge().fit(X, y, sample_id=ids)
    model.unlearn(sample_id=ids[:1000])
    assert len(model.update_report_.removed_ids) == 1000
    model.partial_refit(X[:1000], y[:1000], sample_id=ids[:1000])
    model.unlearn(sample_id=ids[:1001])
    assert len(model.update_report_.removed_ids) == 1
    assert model.update_report_.removed_ids == model.hash_ids(ids[:1001][::-1])


def test_without_rows_nobody_is_named():
    X, y = _diabetes()
    model = DeltaGradRidge(store_data=False).fit(X, y)
    model.unlearn(X[:2], y[:2], request_id=12)
    report = model.update_report_
    assert (report.request_id, report.n_removed, report.removed_ids) == (12, 2, ())


def test_receipts_go_through_json_and_hold_no_features(case):
    model, X, y, ids = case
    for _ in edit_of_every_kind(model, X, y, ids):
        record = model.update_report_.to_dict()
        assert json.loads(json.dumps(record, allow_nan=False)) == record
    told = json.dumps(model.history_.to_dicts())
    assert not [value for value in X.ravel().tolist() if repr(value) in told]


def test_parameters_that_are_no_json():
    X, y = _wine()
    model = DeltaGradLogisticRegression(
        C=np.inf, class_weight={"red": np.float64(2.0)}, solver="sgd", max_iter=2,
        learning_rate=np.array([0.1, 0.05]), random_state=np.random.RandomState(0),
    ).fit(X, y)  # fmt: skip
    parameters = model.update_report_.parameters
    json.dumps(parameters, allow_nan=False)
    assert parameters["C"] == "inf"
    assert parameters["class_weight"] == {"red": 2.0}
    assert parameters["learning_rate"] == [0.1, 0.05]


@pytest.mark.parametrize("request_id", [1.5, ["a"], b"a"])
def test_request_ids_are_text_or_integers(case, request_id, unchanged):
    model, *_ = case
    for edit in (model.partial_unfit, model.partial_refit):
        with unchanged(model), pytest.raises(TypeError, match="request_id must be"):
            edit(position=1, request_id=request_id)


def test_the_chain(case):
    model, X, y, ids = case
    assert model.history_.verify(model) == 1
    for number in edit_of_every_kind(model, X, y, ids):
        assert model.history_[-1] is model.update_report_
        assert model.history_.verify(model) == number + 2
        digests = [report.digest for report in model.history_]
        assert [r.previous_digest for r in model.history_] == [None, *digests[:-1]]
    assert len(set(digests)) == len(digests)
    model.fit(X, y)  # begins anew
    assert len(model.history_) == 1


def test_the_chain_breaks():
    model = DeltaGradRidge().fit(*_diabetes())
    for position in range(5):
        model.unlearn(position=position, request_id=f"r{position}")
    records = model.history_.to_dicts()
    assert check_chain(records) == 6
    assert check_chain(json.loads(json.dumps(records))) == 6
    assert check_chain(records[2:]) == 4  # the oldest may be gone
    for name, value in records[3].items():
        if name == "digest":
            continue
        forged = deepcopy(records)
        forged[3][name] = not value
        with pytest.raises(ValueError, match="Record 3 .*was changed"):
            check_chain(forged)
    with pytest.raises(ValueError, match="Record 2 .*'r2'.*does not follow"):
        check_chain(records[:2] + records[3:])
    with pytest.raises(ValueError, match="does not follow"):
        check_chain([records[1], records[0]])


def test_coefficients_that_were_touched():
    X, y = _diabetes()
    model = DeltaGradRidge().fit(X, y)
    model.coef_[0] += 1e-15 * np.abs(model.coef_[0]) + 1e-300
    model.coef_[0] = np.nextafter(model.coef_[0], np.inf)
    assert model.history_.verify() == 1
    with pytest.raises(ValueError, match="coefficients of the estimator are not"):
        model.history_.verify(model)


def test_the_newest_are_kept(monkeypatch):
    monkeypatch.setattr(_history, "LENGTH", 7)
    X, y = _diabetes()
    model = DeltaGradRidge().fit(X, y)
    for position in range(20):
        model.unlearn(position=position, request_id=position)
    assert [report.request_id for report in model.history_] == list(range(13, 20))
    assert model.history_.verify(model) == 7
    assert repr(model.history_) == "History(7 reports)"
    assert str(model.history_).count("1 removed") == 7
    assert [report.request_id for report in model.history_[2:4]] == [15, 16]
    assert _history.LENGTH == 7


def test_a_thousand_are_kept():
    assert _history.LENGTH == 1000


@pytest.mark.parametrize("compress", [0, 3])
def test_history_survives_joblib(case, tmp_path, compress):
    model, X, y, ids = case
    model.unlearn(sample_id=4, request_id="before")
    joblib.dump(model, tmp_path / "model.joblib", compress=compress)
    loaded = joblib.load(tmp_path / "model.joblib")
    assert loaded.history_.to_dicts() == model.history_.to_dicts()
    assert loaded.hash_ids(4) == model.hash_ids(4)
    loaded.unlearn(sample_id=5, request_id="after")
    assert loaded.history_.verify(loaded) == 3


def test_a_callback_takes_them_all(case, monkeypatch):
    monkeypatch.setattr(_history, "LENGTH", 2)
    model, X, y, ids = case
    log = []
    model.set_params(callback=log.append)
    for _ in edit_of_every_kind(model, X, y, ids):
        assert log[-1] is model.update_report_
    assert len(log) == 6
    assert check_chain(report.to_dict() for report in log) == 6


def test_a_callback_is_told_of_a_fit():
    X, y = _diabetes()
    log = []
    model = DeltaGradRidge(callback=log.append).fit(X, y)
    assert log == [model.update_report_]


def test_a_callback_may_refuse(case, unchanged):
    """No edit is in force of which the receipt could not be kept."""
    model, X, y, ids = case

    def refuse(report):
        raise OSError("the log is full")

    model.set_params(callback=refuse)
    with unchanged(model):
        for edit in (
            lambda: model.unlearn(sample_id=3),
            lambda: model.unlearn(sample_id=-3, on_missing="ignore"),
            lambda: model.partial_refit(X[-1:], y[-1:], sample_id=[1]),
            lambda: model.partial_refit(),
            lambda: model.fit(X, y),
        ):
            with pytest.raises(OSError, match="the log is full"):
                edit()
    model.set_params(callback=None).unlearn(sample_id=3)


def test_a_callback_is_in_no_dump(case):
    model, *_ = case
    model.set_params(callback=lambda report: None)
    for copy in (pickle.loads(pickle.dumps(model)), deepcopy(model)):
        assert copy.callback is None
    assert clone(model).callback is model.callback
    with pytest.raises(ValueError, match="callback"):
        model.set_params(callback=3).unlearn(position=1)


def test_path_digest(case):
    model, X, y, ids = case
    digest = model.path_digest()
    assert deepcopy(model).path_digest() == digest
    model.unlearn(sample_id=3)
    assert model.path_digest() != digest


def test_a_request_said_again_by_its_ids_is_no_edit(case, results):
    model, *_ = case
    model.unlearn(sample_id=[3, 4], request_id="r")
    before = results(model)
    coef = model.coef_.copy()
    model.unlearn(sample_id=[3, 4], request_id="r", on_missing="ignore")
    assert np.array_equal(model.coef_, coef)
    after = results(model)
    changed = [place for place in after if before.get(place) != after[place]]
    assert all("update_report_" in place for place in changed)
    assert model.update_report_.n_removed == 0
    assert model.update_report_.n_not_found == 2
