"""Many threads and processes at once, with every threading layer of Numba's."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_backend
from sklearn.datasets import load_diabetes, load_wine
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import scale

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._utils import threads as _threads

ROOT = str(Path(skdeltagrad.__file__).parents[1])
N_THREADS = 8
N_OPERATIONS = int(os.environ.get("SKDELTAGRAD_N_OPERATIONS", "25"))


def _wine():
    X, y = load_wine(return_X_y=True)
    return scale(X), y


def _diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X), scale(y)


# ---------------------------------------------------------------------------
# Different estimators
# ---------------------------------------------------------------------------

# In a process of its own, as the layer is chosen once, and a crash would be one of all
# tests. Each thread fits, edits and predicts with estimators of its own, and what comes
# of it is what comes of it alone. A parallel kernel of somebody else's runs besides.
_AT_ONCE = """
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
import numba, numpy as np
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

n_threads, n_operations, parallel_beside = (int(word) for word in sys.argv[1:4])
X, y = load_wine(return_X_y=True)
X = scale(X)

@numba.njit(parallel=True)
def somebody_elses(a):
    total = 0.0
    for i in numba.prange(len(a)):
        total += a[i]
    return total

somebody_elses(np.ones(1000))  # starts the threading layer

def model_of(number):
    return [
        lambda: DeltaGradLogisticRegression(C=1 + number),
        lambda: DeltaGradLogisticRegression(solver="gd", max_iter=20, C=1 + number),
        lambda: DeltaGradLogisticRegression(
            solver="sgd", max_iter=4, batch_size=32, random_state=number, period=3
        ),
        lambda: DeltaGradRidge(alpha=1 + number),
    ][number % 4]()

def work(number):
    rng = np.random.RandomState(number)
    model, found = model_of(number), []
    model.fit(X, y)
    gone = []
    for operation in range(n_operations):
        kind = rng.randint(4)
        if kind == 0:
            row = int(rng.choice(np.setdiff1d(np.arange(len(y)), gone)))
            gone.append(row)
            model.unlearn(position=row)
        elif kind == 1:
            rows = rng.randint(len(y), size=2)
            model.partial_refit(X[rows], y[rows])
        elif kind == 2 and operation % 3 == 0:
            gone = []
            model = model_of(number).fit(X, y)
        if parallel_beside and number == 0:
            somebody_elses(np.ones(1000))
        found.append(model.predict(X[:50]).sum() + np.abs(model.coef_).sum())
    return found

alone = [work(number) for number in range(n_threads)]
with ThreadPoolExecutor(n_threads) as pool:
    together = list(pool.map(work, range(n_threads)))
print(json.dumps({
    "layer": numba.threading_layer(),
    "difference": float(np.abs(np.array(alone) - together).max()),
    "size": float(np.abs(alone).max()),
}))
"""


@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_estimators_of_their_own(layer):
    environment = os.environ | {
        "PYTHONPATH": ROOT,
        "NUMBA_THREADING_LAYER": layer,
        "LD_LIBRARY_PATH": f"{sys.prefix}/lib",  # where pip puts the library of tbb
    }
    # Workqueue aborts a process in which two threads run parallel kernels: one does.
    done = subprocess.run(
        [sys.executable, "-c", _AT_ONCE, str(N_THREADS), str(N_OPERATIONS), "1"],
        env=environment, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"the threading layer {layer} is not installed")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found["layer"] == layer
    assert found["difference"] <= 1e-9 * found["size"]


# ---------------------------------------------------------------------------
# The same estimator
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["newton", "gd"])
def test_edits_of_one_estimator_wait_for_each_other(solver):
    X, y = _diabetes()
    model = DeltaGradRidge(solver=solver, max_iter=20).fit(X, y)
    twin = DeltaGradRidge(solver=solver, max_iter=20).fit(X, y)
    with ThreadPoolExecutor(N_THREADS) as pool:
        list(pool.map(lambda row: model.unlearn(position=row), range(40)))
    twin.unlearn(position=range(40)).partial_refit()
    model.partial_refit()
    assert model.update_report_.n_samples == len(y) - 40
    assert len(model.history_) == model.history_.verify(model) == 42
    assert np.allclose(model.coef_, twin.coef_, rtol=1e-10)


def test_who_waits_sees_what_came_before():
    """Both name the same row: one removes it, the other hears that it is gone."""
    X, y = _diabetes()
    for _ in range(10):
        model = DeltaGradRidge().fit(X, y)
        start, heard = threading.Barrier(2), []

        def edit(model=model, start=start, heard=heard):
            start.wait()
            try:
                model.unlearn(position=3)
            except IndexError as error:
                heard.append(error)

        threads = [threading.Thread(target=edit) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(heard) == 1
        assert model.update_report_.n_samples == len(y) - 1


@pytest.mark.parametrize(
    "inner", ["fit", "unlearn", "partial_refit", "plan_unfit", "save"]
)
def test_a_thread_does_not_wait_for_itself(inner, unchanged, tmp_path):
    X, y = _diabetes()
    model = DeltaGradRidge().fit(X, y)
    calls = {
        "fit": lambda: model.fit(X, y),
        "unlearn": lambda: model.unlearn(position=4),
        "partial_refit": lambda: model.partial_refit(),
        "plan_unfit": lambda: model.plan_unfit(position=4),
        "save": lambda: model.save(tmp_path / "model.joblib"),
    }
    model.set_params(callback=lambda report: calls[inner]())
    # A dump is a copy, which waits for nothing where the estimator is half edited.
    refused = "in the middle of its fit" if inner == "save" else "under way in this"
    with unchanged(model), pytest.raises(RuntimeError, match=refused):
        model.unlearn(position=3)
    assert not list(tmp_path.iterdir())
    model.set_params(callback=None).unlearn(position=3)


def _before_and_after(model, edit, predict):
    """Predictions of a model while it is edited, of one thread after another."""
    done, seen = threading.Event(), set()

    def look():
        while not done.is_set():
            seen.add(predict(model).tobytes())

    with ThreadPoolExecutor(3) as pool:
        looking = [pool.submit(look) for _ in range(3)]
        try:
            allowed = {predict(model).tobytes()}
            for row in range(30):
                edit(model, row)
                allowed.add(predict(model).tobytes())
        finally:
            done.set()
        for each in looking:
            each.result()
    return seen, allowed


@pytest.mark.parametrize("name", ["predict", "predict_proba", "decision_function"])
def test_predictions_while_edits_go_on(name):
    """Of the model before an edit or after it, never of something in between."""
    X, y = _wine()
    model = DeltaGradLogisticRegression().fit(X, y)
    seen, allowed = _before_and_after(
        model,
        lambda model, row: model.unlearn(position=row),
        lambda model: getattr(model, name)(X[:20]),
    )
    assert seen <= allowed


def test_predictions_while_classes_come_and_go():
    X, y = _wine()
    rows = np.flatnonzero(y == 2)
    model = DeltaGradLogisticRegression().fit(X, y, sample_id=y)

    def edit(model, number):
        if number % 2:
            model.partial_refit(X[rows], y[rows], sample_id=y[rows])
        else:
            model.unlearn(sample_id=2)

    seen, allowed = _before_and_after(
        model, edit, lambda model: model.predict(X[:20]).astype(float)
    )
    assert seen <= allowed


def test_regression_while_edits_go_on():
    X, y = _diabetes()
    seen, allowed = _before_and_after(
        DeltaGradRidge().fit(X, y),
        lambda model, row: model.unlearn(position=row),
        lambda model: model.predict(X[:20]),
    )
    assert seen <= allowed


# ---------------------------------------------------------------------------
# Processes
# ---------------------------------------------------------------------------


def _search(n_jobs):
    X, y = _wine()
    search = GridSearchCV(
        DeltaGradLogisticRegression(solver="gd", max_iter=10),
        {"C": [0.1, 1.0, 10.0]}, cv=3, n_jobs=n_jobs,
    )  # fmt: skip
    return search.fit(X, y)


def test_grid_search_in_processes_is_the_same():
    alone = _search(n_jobs=1)
    together = _search(n_jobs=2)
    assert together.best_params_ == alone.best_params_
    scores = [s.cv_results_["mean_test_score"] for s in (alone, together)]
    assert np.array_equal(*scores)
    together.best_estimator_.unlearn(position=3)


def _threads_there():
    X, y = _wine()
    DeltaGradLogisticRegression().fit(X, y).unlearn(position=1)
    return _threads.thread_count()


def test_processes_share_the_cores():
    """joblib tells its workers how many threads they may have."""
    with parallel_backend("loky", n_jobs=2, inner_max_num_threads=1):
        counts = Parallel()(delayed(_threads_there)() for _ in range(4))
    assert counts == [1] * 4


def _edit_in_child(connection, model):
    model.set_params(callback=None)
    connection.send(model.unlearn(position=7).coef_)
    connection.close()


def _go_on_in_child(connection, model):
    """What comes of a half-edited model: of copies, edits, predictions and a fit."""
    X, y = _wine()
    model.set_params(callback=None)
    heard = {"predict": model.predict(X[:3]).tolist()}
    for name, use in {
        "unlearn": lambda: model.unlearn(position=7),
        "deepcopy": lambda: deepcopy(model),
        "pickle": lambda: pickle.dumps(model),
        "save": lambda: model.save(os.devnull),
    }.items():
        try:
            use()
        except RuntimeError as error:
            heard[name] = str(error)
    heard["fit"] = model.fit(X, y).unlearn(position=7).coef_
    heard["copy"] = deepcopy(model).coef_
    connection.send(heard)
    connection.close()


def _in_fork(target, estimator):
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=target, args=(theirs, estimator))
    child.start()
    assert ours.poll(60), "the child waits for ever"
    found = ours.recv()
    child.join()
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("solver", ["newton", "gd"])
def test_a_forked_child_goes_on(solver):
    """While the pool is up; but not with an estimator that a thread is editing."""
    X, y = _wine()
    model = DeltaGradLogisticRegression(solver=solver, max_iter=20).fit(X, y)
    _threads.run(lambda number: None, 8)  # starts the pool
    held, release = threading.Event(), threading.Event()

    def hold(report):
        held.set()
        release.wait(60)

    twin = DeltaGradLogisticRegression(solver=solver, max_iter=20).fit(X, y)
    twin.set_params(callback=hold)
    thread = threading.Thread(target=lambda: twin.unlearn(position=5))
    thread.start()
    assert held.wait(60)
    try:
        coef = _in_fork(_edit_in_child, model)
        assert np.array_equal(coef, model.unlearn(position=7).coef_)
        # The turn of `twin` is held by a thread that the child does not have.
        heard = _in_fork(_go_on_in_child, twin)
        for name in ("unlearn", "deepcopy", "pickle", "save"):
            assert "forked while another thread" in heard[name]
            assert "Load the estimator from a dump, or call fit" in heard[name]
        assert np.array_equal(heard["fit"], coef)
        assert np.array_equal(heard["copy"], coef)
    finally:
        release.set()
        thread.join()
