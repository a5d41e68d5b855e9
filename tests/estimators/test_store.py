"""Rows in files: the same results as from memory, and nothing of them left behind."""

import copy
import os
import pickle
import shutil
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
    RollingWindow,
    assert_erased,
    inspection,
)
from skdeltagrad._data import folder as folder_module
from skdeltagrad._data.two_slots import TwoSlots
from skdeltagrad._optimum.curvature import COLUMNS

N, P = 400, 4


def some_rows(form, dtype, n_rows=N, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, P)) + [0, 0, 5, 0]
    X[rng.random(X.shape) < 0.3] = 0
    X = X.astype(dtype)
    y = (X[:, 0] + rng.normal(size=n_rows) > 0) + (X[:, 1] > 1).astype(int)
    return (sparse.csr_matrix(X) if form == "csr" else X), y


SOLVERS = {
    "newton": {},
    "gd": {"solver": "gd", "max_iter": 30},
    "sgd": {"solver": "sgd", "max_iter": 3, "batch_size": 64},
}
OPTIONS = {
    "plain": (DeltaGradLogisticRegression, {}),
    "balanced": (DeltaGradLogisticRegression, {"class_weight": "balanced"}),
    "dict": (DeltaGradLogisticRegression, {"class_weight": {0: 2.0, 1: 1.0, 2: 0.5}}),
    "no_intercept": (DeltaGradLogisticRegression, {"fit_intercept": False}),
    "standardize": (DeltaGradLogisticRegression, {"standardize": True}),
    "products": (DeltaGradLogisticRegression, {"curvature": "subset"}),
    "ridge": (DeltaGradRidge, {}),
    "poisson": (DeltaGradPoissonRegressor, {}),
}


def cases():
    for option, (kind, parameters) in OPTIONS.items():
        for solver in SOLVERS:
            is_of_newton = {"standardize", "products", "poisson"} & {option}
            if solver == "newton" or not is_of_newton:
                yield pytest.param(
                    kind, SOLVERS[solver] | parameters, id=f"{option}-{solver}"
                )


def in_memory_and_in_files(kind, parameters, folder):
    parameters = parameters | {"random_state": 0}
    return kind(**parameters), kind(**parameters, store=folder)


def edits(form, dtype):
    """Edits of all sorts, as functions of an estimator."""
    X, y = some_rows(form, dtype)
    new, labels = some_rows(form, dtype, 20, seed=1)
    weight = np.random.default_rng(2).random(20) + 0.5

    def ids(first, n):
        return np.arange(first, first + n)

    yield lambda e: e.partial_unfit(position=[3, 5, 8])
    yield lambda e: e.partial_unfit(sample_id=[40, 41])
    yield lambda e: e.unlearn(X[10:12], y[10:12])
    yield lambda e: e.partial_refit(
        new, labels, sample_id=ids(500, 20), sample_weight=weight
    )
    yield lambda e: e.partial_refit(
        new[:2], labels[:2], sample_id=[100, 101], replace=True
    )
    yield lambda e: e.partial_refit(
        new[5:9], labels[5:9], sample_id=ids(600, 4), remove_id=ids(500, 4)
    )
    yield lambda e: e.partial_unfit(position=np.arange(200, 390))
    yield lambda e: e.partial_refit()
    yield lambda e: e.unlearn(new[5:7], labels[5:7])
    yield lambda e: e.purge()
    yield lambda e: e.partial_unfit(sample_id=[110])


def assert_equal_models(a, b):
    assert_array_equal(a.coef_, b.coef_)
    assert_array_equal(a.intercept_, b.intercept_)
    for name in ("error_bound", "decision_bound", "error_estimate", "n_passes"):
        assert getattr(a.update_report_, name, 0) == getattr(b.update_report_, name, 0)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("kind", "parameters"), list(cases()))
def test_the_same_to_the_bit_as_in_memory(kind, parameters, form, dtype, tmp_path):
    X, y = some_rows(form, dtype)
    weight = np.random.default_rng(3).random(N) + 0.5
    models = in_memory_and_in_files(kind, parameters, tmp_path / "store")
    for model in models:
        model.fit(X, y, sample_weight=weight, sample_id=np.arange(N))
    assert_equal_models(*models)
    outcomes = []
    for model in models:
        outcomes.append([])
        for edit in edits(form, dtype):
            edit(model)
            outcomes[-1].append((model.coef_.copy(), model.update_report_.reason))
    for (a, reason), (b, other) in zip(*outcomes, strict=True):
        assert_array_equal(a, b)
        assert reason == other
    assert_equal_models(*models)


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_inspection_is_that_of_rows_in_memory(form, tmp_path):
    X, y = some_rows(form, "float64")
    models = in_memory_and_in_files(DeltaGradRidge, {}, tmp_path / "store")
    found = []
    for model in models:
        model.fit(X, y)
        found.append(inspection.leave_one_out(model, return_coef=True).coef)
    assert_array_equal(*found)


@pytest.fixture
def stored(tmp_path):
    X, y = some_rows("dense", "float64")
    return DeltaGradRidge(store=tmp_path / "store").fit(X, y)


def files_of(folder):
    """The contents of all files by name, without spare room."""
    return {
        path.name: path.read_bytes().rstrip(b"\0")
        for path in sorted(folder.iterdir())
        if path.name != "lock" and not path.name.startswith("contents")
    } | {"contents": TwoSlots(folder).document}


class Boom(Exception):
    pass


def raising(report):
    raise Boom


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("number", range(11))
def test_an_edit_that_fails_leaves_the_folder_as_it_was(form, number, tmp_path):
    X, y = some_rows(form, "float32")
    model = DeltaGradLogisticRegression(store=tmp_path / "store")
    model.fit(X, y, sample_id=np.arange(N))
    for edit in list(edits(form, "float32"))[:number]:
        edit(model)
    twin = DeltaGradLogisticRegression().fit(X, y, sample_id=np.arange(N))
    for edit in list(edits(form, "float32"))[:number]:
        edit(twin)
    edit = list(edits(form, "float32"))[number]
    before = files_of(tmp_path / "store")
    model.callback = raising
    if number == 9:
        model._purge(exact=True) if model.purged_ == "yes" else None
    with pytest.raises(Boom):
        edit(model)
    assert files_of(tmp_path / "store") == before
    model.callback = None
    edit(model)
    edit(twin)
    assert_equal_models(model, twin)


def test_a_fit_that_fails_leaves_nothing(tmp_path):
    X, y = some_rows("dense", "float64")
    folder = tmp_path / "store"
    for model, error in [
        (DeltaGradRidge(store=folder, callback=raising), Boom),
        (DeltaGradRidge(store=folder, alpha=[1.0, 2.0]), ValueError),
        (DeltaGradRidge(store=folder, store_data=False), ValueError),
    ]:
        with pytest.raises(error):
            model.fit(X, y)
        assert not folder.exists()
    folder.mkdir()
    with pytest.raises(Boom):
        DeltaGradRidge(store=folder, callback=raising).fit(X, y)
    assert list(folder.iterdir()) == []


def test_a_fit_replaces_its_own_store_when_it_succeeds(stored, tmp_path):
    X, y = some_rows("csr", "float32", seed=5)
    before = files_of(tmp_path / "store")
    stored.callback = raising
    with pytest.raises(Boom):
        stored.fit(X, y)
    assert files_of(tmp_path / "store") == before
    stored.callback = None
    stored.partial_unfit(position=[0])
    stored.fit(X, y)
    names = {name.partition(".")[0] for name in files_of(tmp_path / "store")}
    assert names >= {"data", "indices", "lengths"}
    assert "X" not in names
    assert_array_equal(stored.coef_, DeltaGradRidge().fit(X, y).coef_)


def test_the_store_of_another_estimator_is_not_overwritten(stored):
    X, y = some_rows("dense", "float64")
    other = clone(stored)
    with pytest.raises(BlockingIOError, match="is open already, in the process"):
        other.fit(X, y)
    stored.close()
    with pytest.raises(FileExistsError, match="store of another estimator"):
        clone(other).fit(X, y)
    stored.partial_unfit(position=[0])


def test_a_folder_with_other_files_is_refused(tmp_path):
    X, y = some_rows("dense", "float64")
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(FileExistsError, match="thesis.tex"):
        DeltaGradRidge(store=tmp_path).fit(X, y)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(FileExistsError, match="thesis.tex"):
        DeltaGradRidge(store=tmp_path / "thesis.tex").fit(X, y)


# Dumps and copies.


def test_a_dump_names_the_store_and_holds_no_rows(stored, tmp_path):
    stored.partial_unfit(position=[7])
    twin = DeltaGradRidge().fit(*some_rows("dense", "float64"))
    twin.partial_unfit(position=[7]).purge().partial_unfit(position=[9])
    path = tmp_path / "model.joblib"
    stored.save(path)
    assert path.stat().st_size < 20_000
    loaded = joblib.load(path)
    X, _ = some_rows("dense", "float64")
    assert_array_equal(loaded.predict(X), stored.predict(X))
    with pytest.raises(BlockingIOError, match="Predicting needs no store"):
        loaded.partial_unfit(position=[9])
    stored.close()
    loaded.partial_unfit(position=[9])
    assert_array_equal(loaded.coef_, twin.coef_)


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_waits_for_the_folder(stored, copied):
    other = copied(stored)
    X, _ = some_rows("dense", "float64")
    assert_array_equal(other.predict(X), stored.predict(X))
    other.to_sklearn()
    with pytest.raises(BlockingIOError):
        other.partial_unfit(position=[0])
    coef = stored.coef_.copy()
    stored.close()
    assert_array_equal(other.coef_, coef)
    other.partial_unfit(position=[0])


def test_a_store_that_was_moved_is_found_where_set_params_says(stored, tmp_path):
    stored.save(tmp_path / "model.joblib")
    stored.close()
    os.rename(tmp_path / "store", tmp_path / "elsewhere")
    loaded = joblib.load(tmp_path / "model.joblib")
    loaded.predict(some_rows("dense", "float64")[0])
    with pytest.raises(FileNotFoundError, match=r"set_params\(store=...\)"):
        loaded.partial_unfit(position=[0])
    loaded.set_params(store=tmp_path / "elsewhere").partial_unfit(position=[0])
    with pytest.raises(ValueError, match="rows are in use where they are"):
        loaded.set_params(store=tmp_path / "third").partial_unfit(position=[1])
    loaded.set_params(store=tmp_path / "elsewhere").partial_unfit(position=[1])
    with pytest.raises(ValueError, match="and is None now"):
        loaded.set_params(store=None).partial_unfit(position=[2])
    # A string is as good as a path.
    loaded.set_params(store=str(tmp_path / "elsewhere")).partial_unfit(position=[2])


def test_a_store_that_has_changed_is_refused(stored, tmp_path):
    stored.save(tmp_path / "model.joblib")
    stored.partial_unfit(position=[0])
    stored.close()
    loaded = joblib.load(tmp_path / "model.joblib")
    with pytest.raises(ValueError, match="generation 2, and the dump belongs to gener"):
        loaded.partial_unfit(position=[1])
    X, y = some_rows("dense", "float64")
    loaded.fit(X, y)  # its own store may be replaced
    other = joblib.load(tmp_path / "model.joblib")
    loaded.close()
    with pytest.raises(ValueError, match="that of another fit"):
        other.partial_unfit(position=[1])


@pytest.mark.parametrize("name", ["X.1", "weight"])
def test_a_damaged_store_is_refused(stored, tmp_path, name):
    stored.save(tmp_path / "model.joblib")
    stored.close()
    (path,) = (tmp_path / "store").glob(f"{name}*")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=f"is damaged: its file '{name}"):
        joblib.load(tmp_path / "model.joblib").partial_unfit(position=[1])


def test_a_forked_process_cannot_edit(stored):
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            stored.partial_unfit(position=[0])
        except RuntimeError as error:
            os._exit(0 if "was forked" in str(error) else 2)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    stored.partial_unfit(position=[0])


def test_the_rows_are_not_in_memory(stored):
    rows, table = stored._training_set.rows, stored._training_set.table
    for array in (*rows._arrays(), *table._arrays()):
        assert os.path.exists(os.path.join(stored._training_set.path, array.name))


# Erasure.


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_removed_rows_are_in_no_file(form, dtype, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 6)).astype(dtype)
    X[:, 0] = 0
    y = rng.integers(2, size=N)
    removed = X[[3, 50]]
    stored_form = sparse.csr_matrix(X) if form == "csr" else X
    folder = tmp_path / "store"
    model = DeltaGradLogisticRegression(store=folder).fit(stored_form, y)
    with pytest.raises(AssertionError, match=r"removed rows found:(.|\n)*the bytes of"):
        assert_erased(folder, removed)
    model.partial_unfit(position=[3])
    model.unlearn(stored_form[50:51], y[50:51])
    model.purge()
    assert_erased(model, removed)
    model.save(tmp_path / "model.joblib")
    model.close()
    assert_erased(folder, removed)
    assert_erased(tmp_path / "model.joblib", removed)
    with pytest.raises(AssertionError, match="removed rows found"):
        assert_erased(folder, X[[60]])


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_a_planted_row_is_found_in_any_file(form, tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, 6)), rng.integers(2, size=N)
    folder = tmp_path / "store"
    rows = sparse.csr_matrix(X) if form == "csr" else X
    model = DeltaGradLogisticRegression(store=folder).fit(rows, y)
    model.partial_unfit(position=[3]).purge()
    assert_erased(model, X[[3]])
    for path in folder.iterdir():
        before = path.read_bytes()
        with open(path, "ab") as file:
            file.write(b"\1" * 3 + X[3].tobytes())
        with pytest.raises(AssertionError, match=f"the bytes of .*{path.name}"):
            assert_erased(model, X[[3]])
        path.write_bytes(before)


def test_the_undo_record_holds_the_row_until_the_edit_is_made(tmp_path, monkeypatch):
    """What shows that the tests above would find a record that was left behind."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, 6)), rng.integers(2, size=N)
    folder = tmp_path / "store"
    model = DeltaGradLogisticRegression(store=folder).fit(X, y)
    with monkeypatch.context() as patch:
        patch.setattr(folder_module.Folder, "clean", lambda self: None)
        model.partial_unfit(position=[3])
    with pytest.raises(AssertionError, match="the bytes of .*undo"):
        assert_erased(folder, X[[3]])
    model.partial_unfit(position=[4]).purge()
    assert_erased(model, X[[3, 4]])


def test_a_folder_without_a_store_cannot_be_searched(tmp_path):
    with pytest.raises(FileNotFoundError, match="no store of rows"):
        assert_erased(tmp_path, np.ones((1, 3)))


# A process that was killed after an edit and before its dump.


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("option", ["balanced", "standardize", "ridge", "poisson"])
@pytest.mark.parametrize("solver", ["newton", "sgd"])
def test_partial_refit_catches_up_with_the_rows(option, solver, form, tmp_path):
    if solver == "sgd" and option in ("standardize", "poisson"):
        pytest.skip("not of this solver")
    kind, parameters = OPTIONS[option]
    X, y = some_rows(form, "float64")
    models = in_memory_and_in_files(
        kind, SOLVERS[solver] | parameters, tmp_path / "store"
    )
    for model in models:
        model.fit(X, y, sample_id=np.arange(N))
    twin, stored = models
    stored.save(tmp_path / "old.joblib")
    for model in models:
        model.partial_unfit(position=np.arange(40, 90))
        model.partial_refit(X[:5], y[:5], sample_id=np.arange(900, 905))
    stored.close()
    late = joblib.load(tmp_path / "old.joblib")
    before = late.coef_.copy()
    with pytest.raises(ValueError, match="call partial_refit\\(\\) without rows"):
        late.partial_unfit(position=[0])
    late.callback = raising
    with pytest.raises(Boom):
        late.partial_refit()
    assert_array_equal(late.coef_, before)
    with pytest.raises(ValueError, match="has been edited since"):
        late.purge() if late.purged_ == "no" else late.partial_unfit(position=[0])
    late.callback = None
    for model in (late, twin):
        model.partial_refit()
    assert_allclose(late.coef_, twin.coef_, rtol=1e-9, atol=1e-12)
    for model in (late, twin):
        model.partial_unfit(position=[1, 2])
        model.unlearn(X[10:11], y[10:11])
    assert_allclose(late.coef_, twin.coef_, rtol=1e-5, atol=1e-8)
    if option == "balanced":
        assert late._class_counts.tolist() == twin._class_counts.tolist()
    if option == "poisson":
        assert late._n_positive == twin._n_positive


def test_other_classes_cannot_be_caught_up_with(tmp_path):
    X, y = some_rows("dense", "float64")
    model = DeltaGradLogisticRegression(store=tmp_path / "store").fit(X, y)
    model.save(tmp_path / "old.joblib")
    model.partial_unfit(position=np.flatnonzero(y == 0))
    model.close()
    late = joblib.load(tmp_path / "old.joblib")
    with pytest.raises(ValueError, match="classes of the rows .* have changed"):
        late.partial_refit()
    model.partial_unfit(position=[int(np.flatnonzero(y)[0])])


def test_what_needs_no_rows_needs_no_folder(stored, tmp_path):
    stored.save(tmp_path / "model.joblib")
    stored.close()
    shutil.rmtree(tmp_path / "store")
    loaded = joblib.load(tmp_path / "model.joblib")
    X, y = some_rows("dense", "float64")
    assert_array_equal(loaded.predict(X), stored.predict(X))
    loaded.score(X, y)
    loaded.to_sklearn()
    clone(loaded)
    assert repr(loaded)
    assert loaded._repr_html_()
    assert loaded.purged_ == "yes"
    assert loaded.update_report_ and loaded.history_.verify
    loaded.save(tmp_path / "again.joblib")
    joblib.load(tmp_path / "again.joblib").predict(X)
    loaded.fit(X, y)  # makes another folder
    loaded.partial_unfit(position=[0])


def test_what_a_refinement_knows_of_single_rows_is_on_the_disk(tmp_path):
    """A purged model is dumped as it is, and the rows' columns are in the folder."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 3))
    y = (X[:, 0] > rng.standard_normal(500)).astype(int)
    est = DeltaGradLogisticRegression(store=tmp_path / "rows").fit(X, y)
    est.unlearn(position=range(100)).purge().refine(distance=1e-10)
    assert est.purged_ == "yes"
    kept = {name: est._training_set.table.column(name) for name in COLUMNS}
    kept = {n: None if v is None else v.copy() for n, v in kept.items()}
    est.save(tmp_path / "model.joblib")
    est.close()
    table = joblib.load(tmp_path / "model.joblib")._training_set.table
    for name, values in kept.items():
        found = table.column(name)
        assert (found is None) == (values is None)
        if values is not None:
            assert_array_equal(found, values)


def test_a_forked_process_cannot_fit_over_the_store_of_its_parent(stored):
    X, y = some_rows("dense", "float64")
    est = stored
    before = est.coef_.copy()
    child = os.fork()
    if child == 0:
        try:
            est.fit(X[:50], y[:50])
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    est.partial_refit()
    assert_allclose(est.coef_, before, rtol=1e-6)


def test_a_copy_of_the_folder_that_was_edited_otherwise_is_refused(tmp_path):
    X = np.random.default_rng(0).standard_normal((60, 3))
    est = DeltaGradRidge(store=tmp_path / "rows").fit(X, X[:, 0])
    est.save(tmp_path / "first")
    est.close()
    shutil.copytree(tmp_path / "rows", tmp_path / "backup")
    one = joblib.load(tmp_path / "first").unlearn(position=[5])
    one.save(tmp_path / "second")
    one.close()
    shutil.rmtree(tmp_path / "rows")
    shutil.copytree(tmp_path / "backup", tmp_path / "rows")
    other = joblib.load(tmp_path / "first").unlearn(position=[6])
    other.close()
    with pytest.raises(ValueError, match="edited otherwise"):
        joblib.load(tmp_path / "second").unlearn(position=[7])


def test_a_rolling_window_is_fitted_again(tmp_path):
    X = np.random.default_rng(0).standard_normal((60, 3))
    window = RollingWindow(DeltaGradRidge(store=tmp_path / "rows"), n_rows=20)
    window.fit(X, X[:, 0]).fit(X[:40], X[:40, 1])
    again = DeltaGradRidge().fit(X[20:40], X[20:40, 1])
    assert_allclose(window.estimator_.coef_, again.coef_)


@pytest.mark.parametrize("function", ["influential_set", "semivalues"])
def test_what_edits_copies_says_that_a_store_has_none(function, stored):
    X, y = some_rows("dense", "float64")
    given = {"influential_set": {"coef": 0}, "semivalues": {"X": X[:5], "y": y[:5]}}
    given = given[function]
    with pytest.raises(ValueError, match="Fit one with store=None"):
        getattr(inspection, function)(stored, **given)


def test_an_error_of_the_disk_after_the_edit_is_told(stored, monkeypatch):
    folder = stored._training_set._folder
    clean = folder.clean

    def failing():
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(folder, "clean", failing)
    with pytest.warns(UserWarning, match="The edit is made") as caught:
        stored.unlearn(position=[3])
    assert caught[0].filename == __file__
    assert stored.n_samples_ == N - 1
    monkeypatch.setattr(folder, "clean", clean)
    stored.close()
    assert not (Path(stored.store) / "undo").read_bytes().strip(b"\0")
