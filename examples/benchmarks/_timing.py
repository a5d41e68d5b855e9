"""A stopwatch."""

from time import perf_counter


def timed(function, *args, **kwargs):
    """Wall seconds of a call."""
    started = perf_counter()
    function(*args, **kwargs)
    return perf_counter() - started
