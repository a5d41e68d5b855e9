"""Reading ahead in a thread, and the end of that thread in every case."""

import gc
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from skdeltagrad._sources.read_ahead import read_ahead


def readers():
    return [t for t in threading.enumerate() if "read-ahead" in t.name]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    assert not readers()
    yield
    assert not readers()


class Numbers:
    """Counts, and knows how far it was read and whether it was closed."""

    def __init__(self, n, error_at=None, error=None):
        self.n_read, self.closed = 0, False
        self._n, self._error_at, self._error = n, error_at, error

    def __iter__(self):
        return self

    def __next__(self):
        if self.n_read == self._error_at:
            raise self._error
        if self.n_read == self._n:
            raise StopIteration
        self.n_read += 1
        return self.n_read - 1

    def close(self):
        self.closed = True


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_all_items_come_in_order(n):
    assert list(read_ahead(range(n))) == list(range(n))
    numbers = Numbers(n)
    assert list(read_ahead(numbers)) == list(range(n))
    assert numbers.closed


def test_one_item_is_read_ahead_and_no_more():
    numbers = Numbers(10)
    ahead = read_ahead(numbers)
    assert numbers.n_read == 0 and not readers()  # nothing happens before it is asked
    for item in range(3):
        assert next(ahead) == item
        deadline = time.monotonic() + 10
        while numbers.n_read < item + 2 and time.monotonic() < deadline:
            time.sleep(1e-3)
        time.sleep(0.01)
        assert numbers.n_read == item + 2
    ahead.close()


def test_reading_and_working_go_on_at_once():
    """Each side waits for the other: one after the other they would never meet."""
    meeting = threading.Barrier(2)

    def items():
        yield 0
        for item in range(1, 4):
            meeting.wait(timeout=10)
            yield item

    found = []
    for item in read_ahead(items()):
        found.append(item)
        if item < 3:
            meeting.wait(timeout=10)
    assert found == [0, 1, 2, 3]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(5)])
def test_errors_come_after_the_items_before_them(error):
    numbers = Numbers(10, error_at=3, error=error)
    ahead = read_ahead(numbers)
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(type(error)) as raised:
        next(ahead)
    assert raised.value is error
    assert "__next__" in [entry.name for entry in raised.traceback]
    assert numbers.closed and not readers()
    with pytest.raises(StopIteration):
        next(ahead)


def test_the_thread_ends_when_the_reader_stops_early():
    numbers = Numbers(10**9)
    for item in read_ahead(numbers):
        if item == 5:
            break
    gc.collect()  # where the loop's iterator is not collected at once
    assert numbers.closed and numbers.n_read <= 7


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_thread_ends_when_the_work_fails(error):
    numbers = Numbers(10**9)

    def work():
        for item in read_ahead(numbers):
            if item == 5:
                raise error

    with pytest.raises(error):
        work()
    gc.collect()
    assert numbers.closed


def test_the_thread_ends_at_garbage_collection():
    numbers = Numbers(10**9)
    ahead = read_ahead(numbers)
    next(ahead)
    assert readers()
    cycle = [ahead]
    cycle.append(cycle)
    del ahead, cycle
    gc.collect()
    assert numbers.closed and not readers()


def test_nothing_reads_after_it_was_closed():
    """The read that is under way is awaited."""
    entered, left = threading.Event(), threading.Event()

    def items():
        yield 0
        entered.set()
        time.sleep(0.05)
        left.set()
        yield 1

    ahead = read_ahead(items())
    next(ahead)
    assert entered.wait(10)
    ahead.close()
    assert left.is_set()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_an_interrupt_while_it_waits_leaves_no_thread():
    script = """
        import os, signal, threading, time
        from skdeltagrad._sources.read_ahead import read_ahead

        def slow():
            yield 0
            os.kill(os.getpid(), signal.SIGINT)  # while the main thread waits below
            time.sleep(0.2)
            yield 1
            raise SystemExit("the source was read on")

        try:
            for _ in read_ahead(slow()):
                pass
        except KeyboardInterrupt:
            print("interrupted", threading.active_count())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("interrupted 1\n", "")
