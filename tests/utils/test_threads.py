"""Tasks in a pool of threads: each once, and no pool is ever left in a bad state."""

import dataclasses
import functools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_info, threadpool_limits

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, assert_erased
from skdeltagrad._erasure import combinations
from skdeltagrad._objective.data_term import DataTerm
from skdeltagrad._objective.losses import MultinomialLoss
from skdeltagrad._optimum.conjugate_gradient import ProductHessian
from skdeltagrad._path import checkpoint_sums, step_size
from skdeltagrad._path.checkpoint_replay import CheckpointReplay
from skdeltagrad._path.descent import ExactOracle
from skdeltagrad._path.periodic_replay import PeriodicOracle
from skdeltagrad._utils import threads
from skdeltagrad._utils.threads import blas_for, limit_threads, run
from skdeltagrad.inspection import _driver, leave_one_out

N_THREADS = [1, 2, 3, 8]


@pytest.fixture(params=N_THREADS)
def n_threads(request):
    with limit_threads(request.param):
        yield request.param


@pytest.mark.parametrize("n_tasks", [0, 1, 2, 3, 7, 500])
def test_each_task_runs_once(n_threads, n_tasks):
    done = []
    run(done.append, n_tasks)
    assert sorted(done) == list(range(n_tasks))


def test_one_thread_runs_tasks_in_order_and_by_itself():
    done = []
    with limit_threads(1):
        run(lambda number: done.append((number, threading.current_thread())), 5)
    assert done == [(number, threading.current_thread()) for number in range(5)]


@pytest.mark.parametrize("n_together", [2, 3])
def test_tasks_run_at_the_same_time(n_together, monkeypatch):
    """Each waits for the others: in vain, if they came after it."""
    monkeypatch.setattr(threads, "_pool", None)  # of a machine of more cores
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    barrier = threading.Barrier(n_together, timeout=30)
    with limit_threads(n_together):
        run(lambda number: barrier.wait(), 2 * n_together)
    threads._pool.shutdown()


@pytest.mark.parametrize("failing", [0, 1, 17, 39])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_exceptions_come_out(n_threads, failing, error):
    def task(number):
        if number == failing:
            raise error(f"task {number}")

    with pytest.raises(error, match=f"task {failing}"):
        run(task, 40)


def test_exceptions_of_helpers_come_out():
    barrier = threading.Barrier(2, timeout=30)

    def task(number):
        barrier.wait()  # so that both threads have one
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("in a helper")

    with limit_threads(2), pytest.raises(ValueError, match="in a helper"):
        run(task, 2)


@pytest.mark.parametrize("n_threads", [2, 3])
def test_nothing_runs_on_after_an_exception(n_threads):
    """The caller is free to change what the tasks read."""
    started, ended = [], []
    barrier = threading.Barrier(2, timeout=30)

    def task(number):
        started.append(number)
        if number < 2:
            barrier.wait()  # so that another thread is at work when this one fails
        if number == 0:
            raise ValueError("stop")
        time.sleep(0.02)
        ended.append(number)

    with limit_threads(n_threads), pytest.raises(ValueError, match="stop"):
        run(task, 200)
    n_started, n_ended = len(started), len(ended)
    assert n_ended == n_started - 1
    assert n_started < 20
    time.sleep(0.05)
    assert len(started) == n_started


def test_runs_again_after_an_exception(n_threads):
    def task(number):
        raise ValueError("stop")

    for _ in range(5):
        with pytest.raises(ValueError, match="stop"):
            run(task, 10)
        done = []
        run(done.append, 10)
        assert sorted(done) == list(range(10))


def test_several_callers_at_once(n_threads):
    """As when estimators are fitted in threads of the user's own."""
    done = [[] for _ in range(6)]

    def caller(mine):
        for _ in range(20):
            run(mine.append, 30)

    callers = [threading.Thread(target=caller, args=(mine,)) for mine in done]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
    for mine in done:
        assert sorted(mine) == sorted(20 * list(range(30)))


def test_a_task_may_run_tasks():
    done = []
    with limit_threads(2):
        run(lambda outer: run(lambda inner: done.append((outer, inner)), 4), 6)
    assert sorted(done) == [(outer, inner) for outer in range(6) for inner in range(4)]


def blas_threads():
    return [
        library["num_threads"]
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]


def test_small_matrices_take_one_thread_of_blas():
    before = blas_threads()
    with blas_for(100):
        assert set(blas_threads()) == {1}
        with blas_for(10):
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == before
    with blas_for(5000):
        assert blas_threads() == before
    with pytest.raises(ValueError, match="stop"), blas_for(100):
        raise ValueError("stop")
    assert blas_threads() == before


def test_blas_gets_its_threads_back_from_several_callers():
    """Whoever leaves last must not leave its limit to others for good."""
    before = blas_threads()
    barrier = threading.Barrier(2, timeout=30)

    def first():
        with blas_for(100):
            barrier.wait()
            barrier.wait()
        barrier.wait()

    def second():
        barrier.wait()
        with blas_for(100):
            barrier.wait()
            barrier.wait()  # the first has left

    for _ in range(3):
        callers = [threading.Thread(target=one) for one in (first, second)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(60)
        assert blas_threads() == before


@pytest.fixture
def several_blas_threads():
    """Three threads of BLAS, whatever the environment says: so that a limit shows."""
    with threadpool_limits(3, user_api="blas"):
        if set(blas_threads()) != {3}:
            pytest.skip("this BLAS has one thread")
        yield


def watch(monkeypatch, owner, name):
    """Record BLAS's threads at every call of a function."""
    seen, inner = [], getattr(owner, name)

    @functools.wraps(inner)
    def watched(*arguments, **keywords):
        seen.append(max(blas_threads()))
        return inner(*arguments, **keywords)

    monkeypatch.setattr(owner, name, watched)
    return seen


def digits(n_features=None):
    X, y = load_digits(return_X_y=True)
    return X[:600, :n_features] / 16.0, y[:600]


def replayed(**parameters):
    """Of so many steps that a block of the Hessians is kept."""
    X, y = digits()
    parameters = {"solver": "gd", "max_iter": 80, "learning_rate": 0.1} | parameters
    return DeltaGradLogisticRegression(**parameters).fit(X, y)


def whole_hessians():
    """So few columns that whole Hessians are kept."""
    X, y = digits(30)
    DeltaGradLogisticRegression(solver="gd", max_iter=500).fit(X, y).unlearn(position=3)


def after_a_noisy_edit():
    model = replayed()
    model.unlearn(position=3)
    model._engine = dataclasses.replace(model._engine, noise=1e9)
    model.unlearn(position=4)


def by_products(curvature):
    """The order of the Hessian, which is not made, is 585."""
    X, y = digits()
    model = DeltaGradLogisticRegression(curvature=curvature)
    model.fit(X, y).unlearn(position=3)


def left_out(**parameters):
    X, y = digits()
    leave_one_out(replayed(**parameters), groups=np.arange(len(y)) // 200)


def searched():
    X, y = digits()
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(X[:2], y[:2]).purge()
    assert_erased(model, X[:2])


@pytest.mark.usefixtures("several_blas_threads", "replay_always")
@pytest.mark.parametrize(
    ("owner", "name", "act"),
    [
        (DataTerm, "raw_predictions", lambda: replayed().unlearn(position=3)),
        (checkpoint_sums, "eigh", lambda: replayed().unlearn(position=3)),
        (MultinomialLoss, "second_derivatives", lambda: replayed().unlearn(position=3)),
        (MultinomialLoss, "second_derivatives", whole_hessians),
        (MultinomialLoss, "second_derivatives", after_a_noisy_edit),
        (MultinomialLoss, "second_derivatives", left_out),
        (CheckpointReplay, "run", lambda: replayed().unlearn(position=3)),
        (ExactOracle, "gradient_sums", replayed),
        (ExactOracle, "gradient_sums", lambda: replayed(class_weight="balanced")),
        (
            PeriodicOracle,
            "gradient_sums",
            lambda: replayed(period=3).unlearn(position=3),
        ),
        (step_size, "eigsh", lambda: replayed(learning_rate="auto")),
        (ProductHessian, "product", lambda: by_products("diagonal")),
        (ProductHessian, "product", lambda: by_products("kronecker")),
        (_driver.Driver, "own_predictions", left_out),
        (combinations._View, "look", searched),
    ],
)
def test_loops_of_small_products_take_one_thread_of_blas(monkeypatch, owner, name, act):
    """Several threads spin between the products, and fight for busy cores."""
    monkeypatch.setattr(threads, "_SMALL_ORDER", 100)
    seen = watch(monkeypatch, owner, name)
    act()
    assert seen
    assert set(seen) == {1}
    assert set(blas_threads()) == {3}


def test_the_limit_ends_with_its_block():
    before = threads.thread_count()
    with limit_threads(7):
        assert threads.thread_count() == 7
        with limit_threads(2):
            assert threads.thread_count() == 2
        assert threads.thread_count() == 7
    assert threads.thread_count() == before
    with pytest.raises(ValueError, match="stop"), limit_threads(7):
        raise ValueError("stop")
    assert threads.thread_count() == before


@pytest.mark.parametrize(("variable", "expected"), [("3", 3), ("", 5), (None, 5)])
def test_the_number_of_threads(monkeypatch, variable, expected):
    monkeypatch.setattr(threads, "_n_threads", None)
    monkeypatch.setattr(threads.joblib, "cpu_count", lambda: 5)
    if variable is None:
        monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("NUMBA_NUM_THREADS", variable)
    assert threads.thread_count() == expected


FORK = """
import os, signal, sys, threading
from skdeltagrad._utils import threads
from skdeltagrad._utils.threads import limit_threads, run

def check():
    done = []
    with limit_threads(3):
        run(done.append, 50)
    assert sorted(done) == list(range(50))

check()  # the parent has a pool now
if sys.argv[1] == "locked":
    threads._lock.acquire()  # as if another thread were making one
child = os.fork()
if child == 0:
    signal.alarm(20)  # the end of a child that waits for threads that it has not
    check()
    check()
    sys.exit(0)
if sys.argv[1] == "locked":
    threads._lock.release()
check()
_, status = os.waitpid(child, 0)
assert status == 0, status
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.parametrize("state", ["idle", "locked"])
def test_a_forked_child_starts_threads_of_its_own(state, tmp_path):
    package = str(Path(skdeltagrad.__file__).parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    finished = subprocess.run(
        [sys.executable, "-c", FORK, state],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert finished.returncode == 0, finished.stderr
