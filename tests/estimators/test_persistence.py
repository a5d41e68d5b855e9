"""Fitted estimators can be copied and stored, and are edited further all the same."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import scale

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, assert_erased
from skdeltagrad._data.growing_array import is_mapped
from skdeltagrad._erasure.object_graph import iter_arrays
from skdeltagrad._estimators import plain_state

N_SAMPLES = 70


def _wine(n_classes):
    X, y = load_wine(return_X_y=True)
    X, y = scale(X), np.array(["red", "rose", "white"])[y]
    kept = np.flatnonzero(np.isin(y, ["red", "rose", "white"][:n_classes]))
    kept = np.random.RandomState(0).permutation(kept)[: N_SAMPLES + 10]
    return X[kept], y[kept]


def _diabetes(n_targets):
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X[: N_SAMPLES + 10]), scale(y[: N_SAMPLES + 10])
    return X, y if n_targets == 1 else np.column_stack([y, X[:, 0] - y])


def _with_names(X):
    return pd.DataFrame(X, columns=[f"column {j}" for j in range(X.shape[1])])


def _float32(X):
    return X.astype(np.float32)


def _sparse32(X):
    return sparse.csr_array(X.astype(np.float32))


GD = {"solver": "gd", "max_iter": 25, "burn_in": 5, "period": 4}
SGD = {
    "solver": "sgd", "max_iter": 5, "batch_size": 16, "burn_in": 5, "period": 4,
    "random_state": 0,
}  # fmt: skip
NEWTON = {"solver": "newton"}
# Name: estimator, data, form of the rows, kind of the ids.
MODELS = {
    "binary": (DeltaGradLogisticRegression(**GD), _wine(2), np.asarray, None),
    "binary, newton": (
        DeltaGradLogisticRegression(**NEWTON), _wine(2), np.asarray, int,
    ),
    "classes, newton, sparse": (
        DeltaGradLogisticRegression(class_weight="balanced", **NEWTON),
        _wine(3), sparse.csr_array, str,
    ),
    "two targets, newton": (
        DeltaGradRidge([1.0, 3.0], **NEWTON), _diabetes(2), np.asarray, None,
    ),
    "binary, sparse": (
        DeltaGradLogisticRegression(fit_intercept=False, **SGD),
        _wine(2), sparse.csr_array, int,
    ),
    "binary, names": (
        DeltaGradLogisticRegression(class_weight={"red": 2.0}, **GD),
        _wine(2), _with_names, str,
    ),
    "classes": (
        DeltaGradLogisticRegression(class_weight="balanced", **SGD),
        _wine(3), np.asarray, str,
    ),
    "classes, float32": (DeltaGradLogisticRegression(**GD), _wine(3), _float32, int),
    "classes, no intercept": (
        DeltaGradLogisticRegression(C=np.inf, fit_intercept=False, **GD),
        _wine(3), sparse.csr_matrix, None,
    ),
    "one target": (DeltaGradRidge(**GD), _diabetes(1), np.asarray, int),
    "one target, names": (
        DeltaGradRidge(fit_intercept=False, **SGD), _diabetes(1), _with_names, None,
    ),
    "two targets": (DeltaGradRidge([1.0, 3.0], **SGD), _diabetes(2), np.asarray, str),
    "two targets, sparse float32": (
        DeltaGradRidge(**GD), _diabetes(2), _sparse32, int,
    ),
    "two targets, no intercept": (
        DeltaGradRidge(fit_intercept=False, **GD), _diabetes(2), np.asarray, None,
    ),
}  # fmt: skip


def take(X, rows):
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else X[rows]


class Case:
    """A fitted estimator that was edited before, and edits for it."""

    def __init__(self, name):
        model, (X, y), convert, kind_of_id = MODELS[name]
        self.X, self.y = convert(X), y
        self.ids = None
        if kind_of_id is not None:
            self.ids = (np.arange(len(y)) // 2).astype(kind_of_id)
        self.model = clone(model)
        self.model.fit(
            *self.rows(slice(0, N_SAMPLES)), sample_id=self.ids_of(slice(0, N_SAMPLES))
        )
        self.removed = [3, 8]
        self.model.unlearn(position=self.removed)
        if self.model.solver == "newton":
            self.model.purge()  # as a dump does

    def rows(self, rows):
        return take(self.X, rows), self.y[rows]

    def ids_of(self, rows):
        return None if self.ids is None else self.ids[rows]

    def edits(self):
        """One edit of each kind, by name."""

        def replace(model):
            if self.ids is None:
                by = {"position": [40, 41]}
            else:
                by = {"sample_id": self.ids_of([40, 41])}
            model.partial_refit(*self.rows(slice(76, 78)), replace=True, **by)

        edits = {
            "position": lambda model: model.unlearn(position=[50, 51]),
            "content": lambda model: model.unlearn(*self.rows([20, 30])),
            "add": lambda model: model.partial_refit(
                *self.rows(slice(70, 76)), sample_id=self.ids_of(slice(70, 76))
            ),
            "replace": replace,
            "content of added rows": lambda model: model.unlearn(*self.rows([71])),
            "retrain": lambda model: model.partial_refit(),
        }
        if self.ids is not None:
            edits["id"] = lambda model: model.unlearn(sample_id=self.ids[[44, 60]])
        if len(np.unique(self.y)) == 3:
            gone = np.flatnonzero(self.y == "white")
            edits["change of classes"] = lambda model: model.unlearn(
                *self.rows(gone), on_missing="ignore"
            )
        return edits


_cases = {}


@pytest.fixture(params=MODELS)
def case(request):
    if request.param not in _cases:
        _cases[request.param] = Case(request.param)
    return deepcopy(_cases[request.param])


def assert_same_after_edits(case, copy, results):
    """The copy and the original hold the same, to the last bit, edit by edit."""
    original = case.model
    assert_same(original, copy, results)
    for edit in case.edits().values():
        edit(original)
        edit(copy)
        assert_array_equal(copy.coef_, original.coef_)
        assert_array_equal(copy._engine.iterate, original._engine.iterate)
        assert_same(original, copy, results)


def assert_same(original, copy, results):
    expected, found = results(original), results(copy)
    places = sorted(expected.keys() | found.keys())
    assert not [place for place in places if expected.get(place) != found.get(place)]


def checksum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def mapped_arrays(model):
    return [place for place, array in iter_arrays(model) if is_mapped(array)]


COPIES = {
    "pickle 2": lambda model, path: pickle.loads(pickle.dumps(model, protocol=2)),
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "deepcopy": lambda model, path: deepcopy(model),
    "joblib": lambda model, path: joblib.load(joblib.dump(model, path)[0]),
    "compressed": lambda model, path: joblib.load(
        joblib.dump(model, path, compress=3)[0]
    ),
    "copy of a copy": lambda model, path: pickle.loads(
        pickle.dumps(deepcopy(joblib.load(joblib.dump(model, path)[0], mmap_mode="r")))
    ),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_edited_like_the_original(case, how, tmp_path, results):
    copy = COPIES[how](case.model, tmp_path / "model.joblib")
    assert copy is not case.model
    assert type(copy) is type(case.model)
    assert_same_after_edits(case, copy, results)


def test_editing_a_copy_leaves_the_original(case, unchanged):
    for copy in (deepcopy(case.model), pickle.loads(pickle.dumps(case.model))):
        with unchanged(case.model):
            for edit in case.edits().values():
                edit(copy)


def test_dump_after_edits(case, tmp_path, results):
    """Dumped after every edit, not after the first one only."""
    for number, edit in enumerate(case.edits().values()):
        edit(case.model)
        path = tmp_path / f"model-{number}.joblib"
        joblib.dump(case.model, path)
        assert_same(case.model, joblib.load(path), results)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_memory_maps_are_edited_and_the_file_is_not(case, mode, tmp_path, results):
    path = tmp_path / "model.joblib"
    joblib.dump(case.model, path)
    before = checksum(path)
    X, _ = case.rows(slice(0, N_SAMPLES))
    expected = case.model.predict(X)
    mapped = joblib.load(path, mmap_mode=mode)
    assert mapped_arrays(mapped)  # or this test would say nothing
    assert_array_equal(mapped.predict(X), expected)
    assert checksum(path) == before
    assert_same_after_edits(case, mapped, results)
    assert checksum(path) == before
    # And the file can be loaded once more, as it was.
    again = joblib.load(path, mmap_mode=mode)
    assert_array_equal(again.predict(X), expected)


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize(
    "edit", ["position", "content", "add", "replace", "retrain", "id"]
)
def test_the_first_edit_of_a_memory_map(mode, edit, tmp_path, results):
    """Each kind of edit is the first one to meet the map once."""
    case = Case("classes")
    path = tmp_path / "model.joblib"
    joblib.dump(case.model, path)
    before = checksum(path)
    mapped = joblib.load(path, mmap_mode=mode)
    case.edits()[edit](mapped)
    case.edits()[edit](case.model)
    assert_same(case.model, mapped, results)
    assert checksum(path) == before


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_refused_edit_of_a_memory_map(case, mode, tmp_path, results):
    path = tmp_path / "model.joblib"
    joblib.dump(case.model, path)
    before = checksum(path)
    mapped = joblib.load(path, mmap_mode=mode)
    with pytest.raises(IndexError):
        mapped.unlearn(position=[5, 3])
    with pytest.raises(ValueError):
        mapped.unlearn(*case.rows([5, 75]))
    assert_same(case.model, mapped, results)
    assert checksum(path) == before
    assert_same_after_edits(case, mapped, results)


def test_rows_of_a_memory_map_leave_memory_too(case, tmp_path):
    """After an edit nothing refers to the file, which still has the rows."""
    path = tmp_path / "model.joblib"
    joblib.dump(case.model, path)
    mapped = joblib.load(path, mmap_mode="r")
    mapped.unlearn(position=[5, 6])
    X, _ = case.rows([5, 6])
    assert assert_erased(mapped.purge(), X).n_checked == 2
    with pytest.raises(AssertionError):
        assert_erased(_raw_arrays(path), X)


def _raw_arrays(path):
    """What the file holds, without an estimator to say which rows are alive."""
    return [array for _, array in iter_arrays(joblib.load(path))]


@pytest.mark.parametrize("compress", [0, 3])
def test_dumps_hold_no_removed_row(case, tmp_path, compress):
    path = tmp_path / "model.joblib"
    gone = [3, 8]
    for rows, edit in (
        ([50, 51], "position"), ([20, 30], "content"), ([], "add"), ([], "retrain"),
        ([40, 41], "replace"), ([71], "content of added rows"),
    ):  # fmt: skip
        case.edits()[edit](case.model)
        gone += rows
        case.model.save(path, compress=compress, purge=True)
        X, _ = case.rows(gone)
        report = assert_erased(path, X)
        assert report.n_checked == len(gone)
        assert assert_erased(case.model, X).n_checked == len(gone)
    alive, _ = case.rows([60, 61])
    with pytest.raises(AssertionError):
        assert_erased(_raw_arrays(path), alive)


def test_a_dump_holds_every_row_once(case):
    size = len(pickle.dumps(case.model))
    case.model.unlearn(*case.rows([75]), on_missing="ignore")  # indexes the rows
    if case.ids is not None:
        case.model.unlearn(sample_id=case.ids[75], on_missing="ignore")
    # But for the receipts of the requests that found nothing.
    assert abs(len(pickle.dumps(case.model)) - size) < 2000


def test_the_trajectory_holds_arrays_only(case, tmp_path):
    if case.model.solver == "newton":
        with pytest.raises(AttributeError, match="keeps the optimum only"):
            _ = case.model.trajectory_
        return
    joblib.dump(case.model, tmp_path / "model.joblib")
    joblib.dump(case.model.trajectory_, tmp_path / "trajectory.joblib")
    for trajectory in (
        case.model.trajectory_,
        joblib.load(tmp_path / "model.joblib").trajectory_,
        joblib.load(tmp_path / "trajectory.joblib"),
        joblib.load(tmp_path / "trajectory.joblib", mmap_mode="r"),
    ):
        values = vars(trajectory).values()
        assert all(isinstance(value, np.ndarray) for value in values)
        assert not any(value.dtype.hasobject for value in values)
        assert_array_equal(trajectory.iterates, case.model.trajectory_.iterates)
    assert len(repr(trajectory)) < 100


def test_edited_in_another_process(tmp_path):
    """To the last bit, as the order of sums is fixed."""
    case = Case("classes")
    joblib.dump(case.model, tmp_path / "model.joblib")
    code = (
        "import joblib\n"
        "model = joblib.load('model.joblib', mmap_mode='r')\n"
        "model.unlearn(position=[50, 51])\n"
        "joblib.dump(model.coef_, 'coef.joblib')\n"
    )
    root = str(Path(skdeltagrad.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True,
        env=os.environ | {"PYTHONPATH": root, "NUMBA_NUM_THREADS": "1"},
    )  # fmt: skip
    case.model.unlearn(position=[50, 51])
    assert_array_equal(joblib.load(tmp_path / "coef.joblib"), case.model.coef_)


# ---------------------------------------------------------------------------
# Persistence by lists of trusted types
# ---------------------------------------------------------------------------


def test_skops_needs_to_trust_the_estimator_only(case, results):
    sio = pytest.importorskip("skops.io")
    dumped = sio.dumps(case.model)
    name = f"{type(case.model).__module__}.{type(case.model).__name__}"
    assert sio.get_untrusted_types(data=dumped) == [name]
    assert_same_after_edits(case, sio.loads(dumped, trusted=[name]), results)


def test_dumps_are_plain(case):
    """Nothing of ours in what is pickled, but in parameters that somebody set."""
    stack, kinds = [case.model.__getstate__()], set()
    while stack:
        value = stack.pop()
        kinds.add(type(value).__module__.partition(".")[0])
        if isinstance(value, (list, tuple)):
            stack += value
        elif isinstance(value, dict):
            stack += value.values()
    assert kinds <= {"builtins", "numpy"}


# ---------------------------------------------------------------------------
# Dumps of other versions
# ---------------------------------------------------------------------------

# One for each schema that was ever released, made by `make_dumps.py` there with the
# version that its name tells.
DUMPS = sorted((Path(__file__).parent / "dumps").glob("*.joblib"))


@pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.stem)
def test_dumps_of_released_versions(path):
    """They load, predict what was predicted and are edited; or say that they cannot."""
    expected = json.loads(path.with_suffix(".json").read_text())
    X, _ = _wine(3) if "logistic" in path.stem else _diabetes(2)
    model = joblib.load(path)
    assert_allclose(model.coef_, expected["coef"], rtol=1e-12)
    assert model.predict(X[:5]).tolist() == expected["predictions"]
    n_reports = len(model.history_)
    assert model.history_.verify(model) == n_reports
    is_path = model.solver != "newton"
    if expected["schema"] == 3:
        assert model.purged_ == "no"
    edited = deepcopy(model).unlearn(sample_id=3)
    assert_allclose(edited.coef_, expected["edited_coef"], rtol=1e-6)
    if not is_path:
        assert edited.update_report_.no_bound is None
    purged = edited.purge()
    assert purged.purged_ == "yes"
    tolerance = {"atol": 0.05} if is_path else {"rtol": 1e-3}
    assert_allclose(purged.coef_, expected["edited_coef"], **tolerance)
    assert purged.history_.verify(purged) == n_reports + 2


def test_there_is_a_dump_of_this_schema():
    schemas = {
        json.loads(path.with_suffix(".json").read_text())["schema"] for path in DUMPS
    }
    assert plain_state.SCHEMA in schemas


@pytest.mark.parametrize("schema", [0, 999, "1", None])
def test_wrong_schema(monkeypatch, tmp_path, schema):
    model = Case("one target").model
    with monkeypatch.context() as patch:
        patch.setattr(plain_state, "SCHEMA", schema)
        joblib.dump(model, tmp_path / "model.joblib")
    message = (
        f"dump of a DeltaGradRidge has schema {schema!r}.*reads schemas 3, 4 and 5"
    )
    with pytest.raises(ValueError, match=message):
        joblib.load(tmp_path / "model.joblib")


def test_no_schema():
    model = Case("binary").model
    with pytest.raises(ValueError, match="schema None"):
        DeltaGradLogisticRegression().__setstate__(vars(model))


def test_unfitted_estimators_can_be_stored():
    for model in (DeltaGradRidge(2.0, **GD), DeltaGradLogisticRegression(**SGD)):
        for copy in (pickle.loads(pickle.dumps(model)), deepcopy(model)):
            assert copy.get_params() == model.get_params()
            with pytest.raises(NotFittedError):
                copy.unlearn(position=0)


def test_clone(case, tmp_path):
    path = tmp_path / "model.joblib"
    joblib.dump(case.model, path)
    for model in (case.model, joblib.load(path), joblib.load(path, mmap_mode="r")):
        unfitted = clone(model)
        assert type(unfitted) is type(case.model)
        assert repr(unfitted.get_params()) == repr(case.model.get_params())
        # Nothing but parameters: no rows, no run.
        assert vars(unfitted).keys() == unfitted.get_params().keys()
        with pytest.raises(NotFittedError):
            unfitted.unlearn(position=0)


# ---------------------------------------------------------------------------
# Plain scikit-learn models
# ---------------------------------------------------------------------------


def test_to_sklearn(case):
    ours = case.model
    for edit in case.edits().values():
        model = ours.to_sklearn()
        X, _ = case.rows(slice(60, 80))
        is_classifier = hasattr(ours, "classes_")
        assert type(model) is (LogisticRegression if is_classifier else Ridge)
        assert_array_equal(model.predict(X), ours.predict(X))
        assert model.coef_.dtype == ours.coef_.dtype
        assert np.shape(model.coef_) == np.shape(ours.coef_)
        assert np.shape(model.intercept_) == np.shape(ours.intercept_)
        assert model.n_features_in_ == ours.n_features_in_
        assert model.get_params()["fit_intercept"] == ours.fit_intercept
        if is_classifier:
            assert model.C == ours.C
            assert_array_equal(model.classes_, ours.classes_)
            assert_array_equal(model.decision_function(X), ours.decision_function(X))
            for name in ("predict_proba", "predict_log_proba"):
                ours_says, theirs = getattr(ours, name)(X), getattr(model, name)(X)
                tolerance = 1e-5 if model.coef_.dtype == np.float32 else 1e-12
                assert_allclose(theirs, ours_says, rtol=tolerance, atol=tolerance)
        else:
            assert_array_equal(model.alpha, ours.alpha)
        edit(ours)


def test_to_sklearn_holds_no_rows(case):
    model = case.model.to_sklearn()
    X, _ = case.rows(slice(0, N_SAMPLES))
    report = assert_erased(model, X.to_numpy() if hasattr(X, "iloc") else X)
    assert report.n_checked == N_SAMPLES
    assert len(pickle.dumps(model)) < 5000
    assert not any(name.startswith("_") for name in vars(model))


def test_to_sklearn_is_a_copy(case):
    model = case.model.to_sklearn()
    before = pickle.dumps(model)
    for edit in case.edits().values():
        edit(case.model)
    assert pickle.dumps(model) == before
    copy = case.model.to_sklearn()
    copy.coef_ += 1
    assert np.abs(copy.coef_ - case.model.coef_).min() > 0.5


def test_to_sklearn_knows_the_names(recwarn):
    for name in ("binary, names", "one target, names"):
        case = Case(name)
        model = case.model.to_sklearn()
        assert_array_equal(model.feature_names_in_, case.X.columns)
        with pytest.raises(ValueError, match="feature names"):
            model.predict(case.X.iloc[:, ::-1])


def test_to_sklearn_can_be_fitted_anew(case):
    """The parameters are those of scikit-learn's own, with the same meaning."""
    X, y = case.rows(slice(0, N_SAMPLES))
    model = case.model.to_sklearn()
    model.set_params(**({"max_iter": 5000} if hasattr(model, "C") else {}))
    model.fit(X, y)
    assert model.coef_.shape == case.model.coef_.shape


def test_to_sklearn_of_a_memory_map(tmp_path):
    case, path = Case("binary"), tmp_path / "model.joblib"
    joblib.dump(case.model, path)
    before = checksum(path)
    model = joblib.load(path, mmap_mode="r+").to_sklearn()
    assert_array_equal(model.coef_, case.model.coef_)
    model.coef_ += 1
    assert checksum(path) == before


@pytest.mark.parametrize("name", ["binary, newton", "classes", "two targets"])
def test_nothing_refers_to_a_mapped_file_after_an_edit(name, tmp_path):
    case, path = Case(name), tmp_path / "model.joblib"
    joblib.dump(case.model, path)
    mapped = joblib.load(path, mmap_mode="r")
    mapped.classes_ = joblib.load(joblib.dump(np.arange(3), tmp_path / "a")[0], "r")
    # To another file: this one is still being read.
    (path,) = joblib.dump(mapped, tmp_path / "other.joblib")
    mapped = joblib.load(path, mmap_mode="r")
    assert "estimator.classes_" in mapped_arrays(mapped)
    mapped.partial_unfit(position=3, on_missing="ignore")  # removed before
    assert mapped_arrays(mapped) == []
