"""Run serial kernels over blocks of rows in a small pool of threads.

How the work is cut never depends on the number of threads, and partial results are
added in a fixed order: results are the same to the last bit for any thread count.

Numba's own ``parallel=True`` is not used: on its workqueue layer the process aborts
when two Python threads enter it at once.
"""

import contextlib
import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_pool = None
_n_threads = None
_blas_lock = threading.RLock()
# Cost: matrices of a larger order are faster with several threads of BLAS.
_SMALL_ORDER = 1024


def thread_count():
    """Number of threads in use: NUMBA_NUM_THREADS, else the cores of this process.

    joblib sets that variable in its worker processes, which keeps a grid search in
    several processes from oversubscribing the machine.
    """
    global _n_threads
    if _n_threads is None:
        _n_threads = int(os.environ.get("NUMBA_NUM_THREADS") or joblib.cpu_count())
    return _n_threads


@contextlib.contextmanager
def limit_threads(n_threads):
    """Use `n_threads` threads inside a ``with`` block (process-wide)."""
    global _n_threads
    before = thread_count()
    _n_threads = n_threads
    try:
        yield
    finally:
        _n_threads = before


@contextlib.contextmanager
def blas_for(order):
    """BLAS with as many threads as matrices of some order are worth.

    Process-wide, inside a ``with`` block: one for small ones. NumPy's and SciPy's BLAS
    have a pool each, whose idle threads spin for a while: a solution that takes 20
    microseconds in one thread took 5 milliseconds where they met. Inside another such
    block there is one thread, whatever the order.
    """
    # Where another thread of ours has set the limit, it is there; were it set twice,
    # whoever left last would restore it to one thread.
    mine = order <= _SMALL_ORDER and _blas_lock.acquire(blocking=False)
    if not mine:
        yield
        return
    try:
        with _blas().limit(limits=1, user_api="blas"):
            yield
    finally:
        _blas_lock.release()


@functools.cache
def _blas():
    return ThreadpoolController()


def run(task, n_tasks):
    """Call ``task(0), ..., task(n_tasks - 1)``, each once, several at a time."""
    n_helpers = min(thread_count(), n_tasks) - 1
    if n_helpers <= 0:
        for number in range(n_tasks):
            task(number)
        return
    numbers = iter(range(n_tasks))  # next() on it is atomic

    def work():
        try:
            for number in numbers:
                task(number)
        finally:
            for _ in numbers:  # after an error or an interrupt nobody takes another
                pass

    pool = _get_pool()
    helpers = [pool.submit(work) for _ in range(n_helpers)]
    try:
        work()
    finally:
        # Nothing may go on reading the rows when this is left.
        for helper in helpers:
            if not helper.cancel():
                helper.exception()
    for helper in helpers:
        if not helper.cancelled():
            helper.result()


def _get_pool():
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(
                max_workers=max(thread_count(), os.cpu_count() or 1),
                thread_name_prefix="skdeltagrad",
            )
        return _pool


def _forget_pool():
    # The threads of a pool do not survive a fork; the child starts its own.
    global _pool, _lock, _blas_lock
    _pool = None
    _lock = threading.Lock()
    _blas_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
