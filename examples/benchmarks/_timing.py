"""Stopwatches: one call, or several calls in turns."""

import warnings
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning


class Timing(NamedTuple):
    """Seconds of one call, and what it returned.

    `wall` is elapsed time. `processor` is the CPU time of all threads of the process,
    which depends less on what else the machine does.
    """

    wall: float
    processor: float
    result: Any


def timed(function, *args, **kwargs):
    """Call a function once. Convergence and overflow warnings are not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        wall, processor = perf_counter(), process_time()
        result = function(*args, **kwargs)
        processor = process_time() - processor
        wall = perf_counter() - wall
    return Timing(wall, processor, result)


def in_turns(functions, n_turns):
    """Call functions one after the other, `n_turns` times.

    A machine that slows down for a while then slows all of them, so that ratios within
    a turn mean more than ratios of separate runs.

    Returns
    -------
    seconds : ndarray of shape (n_turns, n_functions, 2)
        Wall and processor seconds.
    """
    return np.array(
        [[timed(function)[:2] for function in functions] for _ in range(n_turns)]
    )


def median_seconds(function, n_calls):
    """Median processor seconds of several calls, after one that is not counted.

    The first call compiles kernels and brings data into the caches.
    """
    function()
    return float(np.median(in_turns([function], n_calls)[:, 0, 1]))
