"""Read the next item in a thread while the current one is worked on."""

from concurrent.futures import ThreadPoolExecutor

_END = object()  # a sentinel


def read_ahead(iterable):
    """Yield the items of an iterable, reading one item ahead in a thread.

    The thread ends with the iterable, at its first error, and when this generator is
    closed, collected, or left by an exception such as `KeyboardInterrupt`; the read
    that is under way is awaited, so that nobody uses the iterable afterwards. Errors
    of the iterable are raised here, after the items before them.

    Memory: the item that was yielded last, and the next one.
    """
    iterator = iter(iterable)
    try:
        with ThreadPoolExecutor(1, "skdeltagrad-read-ahead") as pool:
            reading = pool.submit(next, iterator, _END)
            while (item := reading.result()) is not _END:
                reading = pool.submit(next, iterator, _END)
                yield item
                del item  # the caller's own reference decides how long it lives
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
