"""Copies are of the state before an edit or after it, never of something in between."""

import copy
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, inspection
from skdeltagrad.inspection import _functions

PACKAGE = os.path.dirname(skdeltagrad.__file__)


def _diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X), scale(y)


def _dumped(model, path):
    joblib.dump(model, path)
    return joblib.load(path)


def _saved(model, path):
    skdeltagrad.save(model, path)
    return joblib.load(path)


def _saved_in_pipeline(model, path):
    return _saved(make_pipeline(StandardScaler(), model), path)[-1]


COPIES = {
    "copy": lambda model, path: copy.copy(model),
    "deepcopy": lambda model, path: copy.deepcopy(model),
    "deepcopy of a pipeline": lambda model, path: copy.deepcopy(
        make_pipeline(StandardScaler(), model)
    )[-1],
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "joblib": _dumped,
    "save": _saved,
    "save of a pipeline": _saved_in_pipeline,
}


def assert_whole(model):
    """Report, rows, sums and coefficients are of the same moment."""
    table, n_samples = model._training_set.table, model.update_report_.n_samples
    indices = table.live_indices()
    assert table.n_live == len(indices) == n_samples
    assert int(model._engine.row_counts.count.sum()) == n_samples
    assert not (model._training_set.rows.read(indices) == 0).all(axis=1).any()
    model.history_.verify(model)


@contextmanager
def switching_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@contextmanager
def in_the_middle_of_an_edit(model):
    """A thread that removes a row is in its callback within the context."""
    held, release = threading.Event(), threading.Event()

    def hold(report):
        held.set()
        assert release.wait(60)

    model.set_params(callback=hold)
    with ThreadPoolExecutor(1) as pool:
        edit = pool.submit(model.unlearn, position=5)
        try:
            assert held.wait(60)
            yield
        finally:
            release.set()
        edit.result()
    model.set_params(callback=None)


# ---------------------------------------------------------------------------
# Other threads
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_waits_for_the_edit_of_another_thread(how, tmp_path):
    X, y = _diabetes()
    model = DeltaGradRidge().fit(X, y)
    with ThreadPoolExecutor(1) as pool:
        with in_the_middle_of_an_edit(model):
            copied = pool.submit(COPIES[how], model, tmp_path / "model")
            with pytest.raises(TimeoutError):
                copied.result(timeout=0.1)
        copied = copied.result(timeout=60)
    assert copied.update_report_.n_samples == len(y) - 1
    assert copied.callback is None
    assert_whole(copied)
    assert np.array_equal(copied.coef_, model.coef_)


@pytest.mark.parametrize("how", COPIES)
def test_copies_while_another_thread_edits(how, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 8))
    y = (X[:, 0] + rng.normal(size=1000) > 0).astype(int)
    model, copies = DeltaGradLogisticRegression().fit(X, y), []
    stop = threading.Event()

    def edit():
        for position in range(900):
            if stop.is_set():
                break
            model.unlearn(position=position)

    with switching_often(), ThreadPoolExecutor(1) as pool:
        editing = pool.submit(edit)
        try:
            for number in range(15):
                copies.append(COPIES[how](model, tmp_path / f"model {number}"))
        finally:
            stop.set()
        editing.result()
    for copied in copies:
        assert_whole(copied)


def test_dumps_of_the_same_estimators_in_another_order(tmp_path):
    """Each holds one and wants the other: neither waits for ever."""
    X, y = _diabetes()
    models = [DeltaGradRidge(alpha).fit(X[:50], y[:50]) for alpha in (1.0, 2.0)]

    def save(number):
        for _ in range(40):
            skdeltagrad.save(models[:: 1 - 2 * number], tmp_path / f"{number}")
        return [model.alpha for model in joblib.load(tmp_path / f"{number}")]

    with switching_often(), ThreadPoolExecutor(2) as pool:
        found = [pool.submit(save, number) for number in range(2)]
        assert [each.result(timeout=120) for each in found] == [[1, 2], [2, 1]]


# ---------------------------------------------------------------------------
# The thread that edits
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("solver", ["newton", "gd"])
def test_a_copy_within_a_callback_is_refused(solver, how, unchanged, tmp_path):
    X, y = _diabetes()
    model = DeltaGradRidge(solver=solver, max_iter=20).fit(X, y)
    model.set_params(callback=lambda report: COPIES[how](model, tmp_path / "model"))
    message = "middle of its fit or of an edit.* before the edit, or after it"
    for edit in (
        lambda: model.unlearn(position=3),
        lambda: model.partial_refit(),
        lambda: model.fit(X[:90], y[:90]),
    ):
        with unchanged(model), pytest.raises(RuntimeError, match=message):
            edit()
    model.set_params(callback=None)
    assert_whole(COPIES[how](model, tmp_path / "model").unlearn(position=3))


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_within_what_edits_nothing(how, monkeypatch, tmp_path):
    """The thread that looks into an estimator has its turn, and can copy it."""
    X, y = _diabetes()
    model, copies = DeltaGradRidge().fit(X, y), []
    driver = _functions.Driver

    def copying_first(*args):
        copies.append(COPIES[how](model, tmp_path / "model"))
        return driver(*args)

    monkeypatch.setattr(_functions, "Driver", copying_first)
    inspection.leave_one_out(model)
    (copied,) = copies
    assert_whole(copied.unlearn(position=3))


# ---------------------------------------------------------------------------
# What a copy is
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", COPIES)
def test_edits_of_a_copy_and_of_the_original_are_apart(how, tmp_path, unchanged):
    X, y = _diabetes()
    model = DeltaGradRidge().fit(X, y).unlearn(position=[1, 2]).purge()
    copied = COPIES[how](model, tmp_path / "model")
    with unchanged(model):
        copied.unlearn(position=3).partial_refit(X[:4], y[:4])
    with unchanged(copied):
        model.unlearn(position=5).partial_refit(X[:4], y[:4])


def test_a_deep_copy_knows_what_was_copied_already():
    X, y = _diabetes()
    model = DeltaGradRidge(np.array(2.0)).fit(X, y)
    model.note = [model.coef_]
    first, second, coef = copy.deepcopy([model, model, model.coef_])
    assert first is second
    assert first.note[0] is first.coef_ is coef
    assert coef is not model.coef_


def test_clones_wait_for_nobody():
    X, y = _diabetes()
    model = DeltaGradRidge(3.0).fit(X, y)
    seen = []
    model.set_params(callback=lambda report: seen.append(clone(model)))
    model.unlearn(position=3)
    assert seen[0].alpha == 3.0
    assert not hasattr(seen[0], "coef_")


# ---------------------------------------------------------------------------
# Going back
# ---------------------------------------------------------------------------


def test_there_are_attributes_while_an_edit_is_undone():
    """Readers in other threads may come in at every line."""
    X, y = _diabetes()
    model = DeltaGradRidge().fit(X, y)
    names, missing = set(vars(model)), set()

    def look(frame, event, argument):
        if frame.f_code.co_filename.startswith(PACKAGE):
            missing.update(names - set(vars(model)))
            return look
        return None

    def refuse(report):
        raise ZeroDivisionError

    model.set_params(callback=refuse)
    before = sys.gettrace()
    sys.settrace(look)
    try:
        with pytest.raises(ZeroDivisionError):
            model.unlearn(position=3)
    finally:
        sys.settrace(before)
    assert not missing


def test_coefficients_and_reports_come_together():
    """`coef_` is that of `update_report_`, for whoever reads both at once."""
    X, y = _diabetes()
    model, apart = DeltaGradRidge().fit(X, y), []
    verify = type(model.history_).verify

    def look(frame, event, argument):
        if frame.f_code.co_filename.startswith(PACKAGE):
            if frame.f_code.co_name in ("_changing", "_take_on", "_edit"):
                now = model._as_it_is_now()
                sys.settrace(None)
                try:
                    verify(now.history_, now)
                except ValueError:
                    apart.append(frame.f_lineno)
                finally:
                    sys.settrace(look)
            return look
        return None

    before = sys.gettrace()
    sys.settrace(look)
    try:
        model.unlearn(position=3)
    finally:
        sys.settrace(before)
    assert not apart


def test_callbacks_that_pickle_each_other_do_not_wait_for_ever():
    X, y = _diabetes()
    one, other = DeltaGradRidge().fit(X, y), DeltaGradRidge().fit(X, y)
    both_edit, refused = threading.Barrier(2, timeout=20), []

    def pickling(estimator):
        def callback(report):
            if report.operation != "unlearn":
                return
            both_edit.wait()
            pickle.dumps(estimator)

        return callback

    one.callback, other.callback = pickling(other), pickling(one)

    def edit(estimator):
        try:
            estimator.unlearn(position=0)
        except RuntimeError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=edit, args=(e,)) for e in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    assert refused
    assert all("wait for each other for ever" in message for message in refused)
