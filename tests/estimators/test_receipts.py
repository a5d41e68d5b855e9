"""Reports are receipts: complete, without feature values, chained, and kept."""

import dataclasses
import json
import pickle
from copy import deepcopy
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.preprocessing import scale

import skdeltagrad
from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradRidge,
    History,
    UpdateReport,
)
from skdeltagrad._reports import digests as _receipt
from skdeltagrad._reports import history as _history
from skdeltagrad._reports.digests import check_chain

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


def test_the_one_hash_of_many_ids_is_of_no_others():
    """Not even of ids that contain what separates them."""
    many = [f"a{number}" for number in range(1500)]
    joined = ["a0\nid 'a1'", *many[2:]]
    quoted = ["a0'\nid 'a1", *many[2:]]
    names = [_receipt.id_names(np.array(ids)) for ids in (many, joined, quoted)]
    key = _receipt.new_key()
    hashes = {_receipt.hashed(each, key) for each in names}
    hashes |= {_receipt.hashed(["\n".join(sorted(each))[:-1]], key) for each in names}
    hashes.add(_receipt.hashed(_receipt.position_names(np.arange(1500)), key))
    hashes.add(_receipt.hashed(_receipt.id_names(np.arange(1500)), key))
    assert len(hashes) == 8
    assert all(len(each) == 1 for each in hashes)


def test_without_the_key_nobody_is_named(case):
    """A key is left out of a dump so that its holder cannot try ids."""
    model, X, y, ids = case
    model.unlearn(sample_id=4)
    told = model.update_report_.removed_ids
    model._key = None
    for sample_id in (4, "4", [4, 5]):
        with pytest.raises(ValueError, match=r"no key .*receipt_key=False.*fit makes"):
            model.hash_ids(sample_id)
    for _ in edit_of_every_kind(model, X, y, ids):
        report = model.update_report_
        assert report.removed_ids == report.added_ids == report.missing_ids == ()
    assert model.history_.verify(model) == 8
    assert model.history_[1].removed_ids == told
    model.fit(X, y, sample_id=ids)
    assert len(model.hash_ids(4)) == 1


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


def test_any_parameters_go_through_json(tmp_path):
    X, y = _diabetes()
    model = DeltaGradRidge(
        alpha=np.float32(0.5), solver="sgd", max_iter=np.int64(2), batch_size=32,
        learning_rate=pd.Series([0.01, 0.02]), cache_folder=tmp_path,
        random_state=np.random.RandomState(0), fit_intercept=np.bool_(True),
    ).fit(X, y)  # fmt: skip
    parameters = model.update_report_.parameters
    json.dumps(model.history_.to_dicts(), allow_nan=False)
    assert parameters["alpha"] == 0.5
    assert parameters["learning_rate"] == [0.01, 0.02]
    assert parameters["cache_folder"] == str(tmp_path)
    assert parameters["random_state"] == "RandomState(MT19937)"
    assert parameters["fit_intercept"] is True
    assert parameters["max_iter"] == 2
    assert type(parameters["max_iter"]) is int


def test_keys_of_parameters_are_text():
    X, y = load_wine(return_X_y=True)
    weights = {np.int64(0): np.float32(2.0), 1: 1, np.int64(2): np.float64(0.5)}
    model = DeltaGradLogisticRegression(class_weight=weights).fit(scale(X), y)
    told = model.update_report_.to_dict()["parameters"]["class_weight"]
    assert json.loads(json.dumps(told)) == {"0": 2.0, "1": 1, "2": 0.5}


def test_numbers_of_a_report_are_those_of_json():
    report = UpdateReport(
        "fit", "newton", np.int64(3), n_passes=np.float64(1.5), seconds=np.float32(2),
        distance_bound=np.inf, decision_bound=float("nan"), change_bound=-np.inf,
        relative_bound=np.float64("nan"), refit=np.bool_(False), seed=np.uint32(7),
    )  # fmt: skip
    record = report.to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["n_samples"], record["n_passes"], record["seed"]) == (3, 1.5, 7)
    assert record["distance_bound"] is record["decision_bound"] is None
    assert record["change_bound"] is record["relative_bound"] is None
    assert record["refit"] is False
    assert type(report.n_samples) is int
    history = History().followed_by(History().sealed(report, [1.0], 0.0))
    assert history.verify() == 1


@pytest.mark.parametrize(
    "request_id", [1.5, ["a"], b"a", True, np.bool_(False), np.float64(1.0)]
)
def test_request_ids_are_text_or_integers(case, request_id, unchanged):
    model, *_ = case
    for edit in (model.partial_unfit, model.partial_refit):
        with unchanged(model), pytest.raises(TypeError, match="request_id must be"):
            edit(position=1, request_id=request_id)


@pytest.mark.parametrize(
    "request_id", [np.int64(7), np.uint8(7), np.str_("7"), 2**70, "", 0, "\ud800"]
)
def test_request_ids_are_kept_as_plain_values(case, request_id):
    model, *_ = case
    plain = str(request_id) if isinstance(request_id, str) else int(request_id)
    for edit in (
        lambda: model.unlearn(sample_id=3, request_id=request_id),
        lambda: model.partial_refit(request_id=request_id),
    ):
        edit()
        kept = model.update_report_.request_id
        assert kept == plain
        assert type(kept) is type(plain)
        record = model.update_report_.to_dict()
        assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert model.history_.verify(model) == 3


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


# ---------------------------------------------------------------------------
# Figures, and dropping them
# ---------------------------------------------------------------------------

PUBLIC = {
    "operation", "solver", "estimator", "n_samples", "n_samples_before", "request_id",
    "n_removed", "n_added", "n_not_found", "curvature", "membership_checked",
    "membership_error_rate", "indexed", "purged",
    "not_purged", "time", "removed_ids", "added_ids", "missing_ids", "parameters",
    "seed", "versions", "number", "previous_digest", "figures_digest",
}  # fmt: skip
FIGURES = {
    "n_steps", "n_exact_steps", "n_passes", "n_hessians", "gradient_norm",
    "distance_bound", "decision_bound", "change_bound", "coef_bound", "relative_bound",
    "no_bound", "error_estimate", "refit", "reason", "cache_bytes",
    "checkpoint_bytes", "seconds", "coef_digest",
}  # fmt: skip
SEALS = {"salt", "digest"}


def test_every_field_is_public_or_a_figure():
    """Whoever adds a field decides: may it be kept after a purge?"""
    fields = [field.name for field in dataclasses.fields(UpdateReport)]
    assert sorted(fields) == sorted([*PUBLIC, *FIGURES, *SEALS])
    assert PUBLIC == _receipt.PUBLIC
    assert SEALS == _receipt.SEALS


def test_fields_that_are_added_are_none_by_default():
    """So that a report of an older dump, which has them not, keeps its digest."""
    for field in dataclasses.fields(UpdateReport):
        earlier = _receipt._FIRST_NAMES.get(field.name, field.name)
        if earlier not in _receipt._FIELDS_OF_SCHEMA_3 | {"digest"}:
            assert field.default is None, field.name


def test_dropped_figures(case):
    model, X, y, ids = case
    for _ in edit_of_every_kind(model, X, y, ids):
        pass
    history = model.history_
    redacted = history.redacted()
    assert redacted.verify() == len(history) == len(redacted)
    assert [r.digest for r in redacted] == [r.digest for r in history]
    for before, after in zip(history, redacted, strict=True):
        assert not before.is_redacted
        assert after.is_redacted
        assert after.redacted() is after
        assert after == before.redacted()
        record = after.to_dict()
        assert {name for name in FIGURES if record[name] is not None} == set()
        assert record["salt"] is None
        kept = {name: record[name] for name in PUBLIC | {"digest"}}
        assert kept == {name: before.to_dict()[name] for name in kept}
    assert check_chain(json.loads(json.dumps(redacted.to_dicts()))) == len(history)


def test_nothing_of_the_figures_stays(case):
    model, X, y, ids = case
    model.unlearn(sample_id=3)
    before = model.update_report_
    kept = json.dumps(before.redacted().to_dict()) + repr(vars(before.redacted()))
    for name in (*FIGURES, "salt"):
        value = getattr(before, name)
        if isinstance(value, float) or name in ("salt", "coef_digest"):
            is_short = len(str(value)) < 6  # and may be part of a version
            assert value is None or is_short or str(value) not in kept
    # The figures and all that is kept do not give their digest, without the salt.
    record = before.to_dict()
    assert _receipt._figures_digest(record) == before.figures_digest
    for salt in (None, "", "0" * len(before.salt)):
        assert (
            _receipt._figures_digest(record | {"salt": salt}) != before.figures_digest
        )
    again = History(model.history_[:1]).sealed(before, model.coef_, model.intercept_)
    assert again.coef_digest == before.coef_digest
    assert again.figures_digest != before.figures_digest
    assert len(bytes.fromhex(before.salt)) >= 16


def test_what_stays_is_the_same_whatever_row_was_removed(case):
    """An outlier and an ordinary row leave the same receipts."""
    model, X, y, ids = case
    given = X[:N_SAMPLES].copy(), y[:N_SAMPLES].copy(), ids[:N_SAMPLES]
    told, figures = [], []
    model.set_params(random_state=0)
    for size in (1.0, -3.0, 100.0):
        given[0][7] = size * X[7]
        model.fit(given[0], given[1], sample_id=given[2])
        model._key = b"the same for all"
        model.unlearn(position=7, request_id="r").unlearn(sample_id=4)
        record = model.history_[1].redacted().to_dict()
        for name in ("time", "figures_digest", "digest", "previous_digest"):
            del record[name]
        told.append(record)
        figures.append(_receipt.figures_of(model.history_[1].to_dict()))
    assert told[0] == told[1] == told[2]
    assert figures[0] != figures[1]
    assert len(model.history_[1].time) == len("2026-01-01T00:00:00+00:00")


def test_edits_after_figures_were_dropped(case, tmp_path):
    model, X, y, ids = case
    model.unlearn(sample_id=3, request_id="before")
    digests = [report.digest for report in model.history_]
    model.history_ = model.history_.redacted()
    model.update_report_ = model.history_[-1]
    with pytest.raises(ValueError, match="figures of the last report were dropped"):
        model.history_.verify(model)
    model.unlearn(sample_id=4, request_id="after")
    assert model.history_.verify(model) == 3
    assert [report.digest for report in model.history_[:2]] == digests
    assert [report.number for report in model.history_] == [0, 1, 2]
    joblib.dump(model, tmp_path / "model.joblib")
    n_reports = len(model.history_)  # with that of a purge, if there was one
    assert joblib.load(tmp_path / "model.joblib").history_.verify(model) == n_reports


@pytest.mark.parametrize("which", ["none", "all", "first three"])
def test_the_chain_breaks_with_and_without_figures(which):
    model = DeltaGradRidge().fit(*_diabetes())
    for position in range(5):
        model.unlearn(position=position, request_id=f"r{position}")
    history = model.history_
    if which == "all":
        history = history.redacted()
    elif which == "first three":
        history = History([*history[:3].redacted(), *history[3:]])
    records = history.to_dicts()
    assert history.verify() == check_chain(json.loads(json.dumps(records))) == 6
    for place, name in [(p, n) for p in (0, 2, 4) for n in records[p]]:
        for value in (not records[place][name], 1.5, "other", None):
            if value == records[place][name]:
                continue
            forged = deepcopy(records)
            forged[place][name] = value
            if name == "salt" and value is None:
                continue  # one step of a redaction: seen by the figures that are left
            with pytest.raises(ValueError, match="was changed|does not follow"):
                check_chain(forged)
    if records[4]["salt"]:
        forged = deepcopy(records)
        forged[4]["salt"] = None
        with pytest.raises(ValueError, match="Record 4 .*was changed"):
            check_chain(forged)
    for wrong in (
        records[:2] + records[3:],
        records[:2] + [records[3], records[2]] + records[4:],
        records[:3] + [records[2]] + records[3:],
        [records[1], records[0], *records[2:]],
        [records[0], *records],
    ):
        with pytest.raises(ValueError, match="does not follow"):
            check_chain(wrong)
    forged = deepcopy(records)
    forged[3]["more"] = 1
    with pytest.raises(ValueError, match="Record 3 .*was changed"):
        check_chain(forged)


def test_figures_that_were_dropped_are_not_shown():
    X, y = _wine()
    model = DeltaGradLogisticRegression().fit(X, y)
    model.unlearn(position=[1, 2], request_id="mine")
    report = model.update_report_.redacted()
    assert str(report).splitlines() == [
        "'mine': removed 2 rows; 176 rows now",
        "  figures were dropped by a purge",
    ]
    assert "None" not in str(report)
    html = report._repr_html_()
    assert "figures were dropped by a purge" in html
    assert "None" not in html
    table = model.history_.redacted()._repr_html_()
    assert table.count("figures were dropped by a purge") == 2
    assert "None" not in table
    assert "None" not in str(model.history_.redacted())


# ---------------------------------------------------------------------------
# Numbers
# ---------------------------------------------------------------------------


def test_receipts_are_numbered(case):
    model, X, y, ids = case
    for _ in edit_of_every_kind(model, X, y, ids):
        pass
    assert [report.number for report in model.history_] == list(range(7))
    model.fit(X, y)
    assert model.update_report_.number == 0


def test_first_receipts_that_were_cut_off(case):
    model, X, y, ids = case
    for _ in edit_of_every_kind(model, X, y, ids):
        pass
    for first in range(1, 7):
        for history in (model.history_, model.history_.redacted()):
            with pytest.raises(ValueError, match=rf"number {first} .*are missing"):
                history[first:].verify()
    assert model.history_[:3].verify() == 3
    with pytest.raises(ValueError, match="coefficients of the estimator are not"):
        model.history_[:3].verify(model)


def test_a_full_history_may_begin_later(monkeypatch):
    monkeypatch.setattr(_history, "LENGTH", 4)
    model = DeltaGradRidge().fit(*_diabetes())
    for position in range(9):
        model.unlearn(position=position)
        assert model.history_.verify(model) == min(position + 2, 4)
    assert [report.number for report in model.history_] == [6, 7, 8, 9]
    with pytest.raises(ValueError, match="number 7 .*Only a history of 4"):
        model.history_[1:].verify()


def test_a_log_is_verified_as_a_history():
    log = []
    X, y = _diabetes()
    model = DeltaGradRidge(callback=lambda report: log.append(report.to_dict()))
    model.fit(X, y).unlearn(position=3, request_id="r").partial_refit()
    records = json.loads(json.dumps(log))
    assert History(UpdateReport(**record) for record in records).verify(model) == 3


# ---------------------------------------------------------------------------
# What was purged
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purged", "solver", "text"),
    [
        ("yes", "newton", "holds no trace of removed rows (purged)"),
        ("no", "newton", "may hold traces of removed rows until purge() or save()"),
        ("no", "gd", "may hold traces of removed rows until purge()\n"),
        ("cannot", "newton", "cannot be purged: no rows are kept"),
        (None, "newton", None),
    ],
)
def test_what_is_said_of_traces(purged, solver, text):
    reason = "no rows are kept" if purged == "cannot" else None
    report = UpdateReport(
        "partial_unfit", solver, 30, purged=purged, not_purged=reason, n_removed=1
    )
    for shown in (f"{report}\n", f"{report._repr_html_().replace('</td>', chr(10))}"):
        assert text in shown if text else "trace" not in shown
    fit = UpdateReport("fit", solver, 30, purged=purged, not_purged=reason)
    assert "trace" not in str(fit)
    assert "cannot" not in str(fit)
    history = History().followed_by(History().sealed(report, [1.0], 0.0)).redacted()
    assert history[0].purged == purged
    assert history.verify() == 1


def test_a_report_says_in_words_what_is_missing():
    report = UpdateReport(
        "partial_unfit", "newton", 30, curvature="exact", distance_bound=1e-3,
        decision_bound=2e-3, change_bound=0.25, relative_bound=0.004, n_removed=2,
    )  # fmt: skip
    assert str(report).splitlines()[:3] == [
        "removed 2 rows; 30 rows now",
        "  at most 25% of what this edit changed is missing (proven)",
        "  decision values are off by at most 0.002 (proven)",
    ]
    text = str(
        dataclasses.replace(report, estimator="DeltaGradRidge", change_bound=1e-9)
    )
    assert "less than 0.01% of what this edit changed is missing (proven)" in text
    assert "  predictions are off by at most 0.002 (proven)" in text


# ---------------------------------------------------------------------------
# Receipts in dumps of schema 3 and before
# ---------------------------------------------------------------------------

# Fields that have other names since.
TODAY = {"seed_bytes": "checkpoint_bytes"}
DUMPS = sorted((Path(__file__).parent / "dumps").glob("*-schema-3.joblib"))


def _old_history(n_edits=3):
    """Reports as schema 3 sealed them."""
    model = DeltaGradRidge().fit(*_diabetes())
    for position in range(n_edits):
        model.unlearn(position=position, request_id=position)
    reports, previous = [], None
    for report in model.history_:
        old = deepcopy(report)
        for name in list(vars(old)):
            if (
                _receipt._FIRST_NAMES.get(name, name)
                not in _receipt._FIELDS_OF_SCHEMA_3
            ):
                del vars(old)[name]  # it was not there
        vars(old)["previous_digest"] = previous
        previous = vars(old)["digest"] = _receipt.record_digest(old.to_dict())
        reports.append(old)
    model.history_, model.update_report_ = History(reports), reports[-1]
    return model


@pytest.fixture(params=[*DUMPS, None], ids=lambda path: path.stem if path else "made")
def old(request):
    return joblib.load(request.param) if request.param else _old_history()


def test_old_receipts_are_verified_by_their_own_rule(old):
    history = old.history_
    assert history.verify(old) == len(history)
    assert [report.number for report in history] == [None] * len(history)
    assert not any(report.is_redacted for report in history)
    assert len(str(history).splitlines()) >= 2 * len(history)
    assert "schema" not in history._repr_html_()
    records = json.loads(json.dumps(history.to_dicts(), allow_nan=False))
    assert check_chain(records) == len(history)
    without = [  # as the version that made them wrote them into a log
        {n: r[TODAY.get(n, n)] for n in (*_receipt._FIELDS_OF_SCHEMA_3, "digest")}
        for r in records
    ]
    assert check_chain(without) == len(history)
    for name in records[1]:
        if name == "digest":
            continue
        forged = deepcopy(records)
        forged[1][name] = not records[1][name]
        with pytest.raises(ValueError, match="Record 1 .*was changed"):
            check_chain(forged)
    with pytest.raises(ValueError, match="reports before it are missing"):
        history[1:].verify()


def test_new_receipts_follow_on_old_ones(old, tmp_path):
    digests = [report.digest for report in old.history_]
    n_old = len(digests)
    old.unlearn(position=20)
    old.partial_refit()
    assert [report.digest for report in old.history_[:n_old]] == digests
    numbers = [report.number for report in old.history_]
    assert numbers == [None] * n_old + [n_old, n_old + 1]
    assert old.history_.verify(old) == n_old + 2
    copied = deepcopy(old)
    joblib.dump(copied, tmp_path / "model.joblib")
    n_reports = len(copied.history_)  # with that of a purge, if there was one
    loaded = joblib.load(tmp_path / "model.joblib")
    assert loaded.history_.verify(copied) == n_reports
    for first in range(1, n_old + 2):
        with pytest.raises(ValueError, match="reports before it are missing"):
            old.history_[first:].verify()
    records = old.history_.to_dicts()
    with pytest.raises(ValueError, match="does not follow"):
        check_chain([*records[:n_old], records[-1]])


def test_old_receipts_are_sealed_again_without_figures(old):
    old.unlearn(position=20)
    history = old.history_
    redacted = history.redacted()
    assert redacted.verify() == len(history)
    assert [report.number for report in redacted] == list(range(len(history)))
    for before, after in zip(history, redacted, strict=True):
        assert after.is_redacted
        assert after.digest != before.digest
        assert not any(getattr(after, name) for name in FIGURES)
        assert after.removed_ids == before.removed_ids
        assert before.digest not in str(redacted.to_dicts())
    assert redacted.redacted().to_dicts() == redacted.to_dicts()
    with pytest.raises(ValueError, match=r"number 1 .*are missing"):
        redacted[1:].verify()
    old.history_ = redacted
    old.unlearn(position=21)
    assert old.update_report_.number == len(history)
    assert old.history_.verify(old) == len(history) + 1


def test_old_receipts_without_that_of_the_fit(monkeypatch):
    model = _old_history(5)
    monkeypatch.setattr(_history, "LENGTH", 4)
    model.history_ = model.history_[2:]
    assert model.history_.verify(model) == 4
    model.unlearn(position=20)
    assert [report.number for report in model.history_] == [None, None, None, 5]
    assert model.history_.verify(model) == 4
    redacted = model.history_.redacted()
    assert [report.number for report in redacted] == [2, 3, 4, 5]
    assert redacted.verify() == 4
    assert redacted[0].previous_digest is None  # it was over figures


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
    assert str(model.history_).count("removed 1 row in") == 7
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
    assert loaded.history_.verify(loaded) == len(model.history_) + 1


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


def test_receipts_of_before_a_field_was_renamed(case):
    """In dumps, in pickles and in logs; `seed_bytes` is `checkpoint_bytes` today."""
    model, X, y, ids = case
    for _ in edit_of_every_kind(model, X, y, ids):
        pass
    records = model.history_.to_dicts()
    for record in records:
        record["seed_bytes"] = record.pop("checkpoint_bytes")
    assert check_chain(records) == len(records)
    old = deepcopy(model.update_report_)
    vars(old)["seed_bytes"] = vars(old).pop("checkpoint_bytes")
    loaded = pickle.loads(pickle.dumps(old))
    assert loaded == model.update_report_
    assert loaded.seed_bytes == loaded.checkpoint_bytes
    assert "seed_bytes" not in vars(loaded)
