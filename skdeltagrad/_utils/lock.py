"""A lock for each estimator: one thread at a time may edit or copy it.

A `_Turn` holds the lock of an object and what the thread that has the lock is doing.
Two situations need the latter. A callback may copy the object in the middle of an edit,
in the thread that has the lock. And the child of a fork has the object but not the
thread that was editing it.
"""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from itertools import count
from threading import get_ident
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

_Method = TypeVar("_Method", bound=Callable[..., Any])


class _Turn:
    """The lock of one object.

    Attributes
    ----------
    number : int
        A thread that needs several locks takes them in ascending order of numbers, so
        that no two threads wait for each other.
    holder : int or None
        The thread that holds the lock.
    is_half : bool
        Whether the object is in the middle of an edit.
    is_left_half : bool
        Whether this process was forked in the middle of an edit of the object.
    """

    numbers = count()

    def __init__(self):
        self.lock = threading.Lock()
        self.number = next(self.numbers)
        self.holder = None
        self.is_half = False
        self.is_left_half = False

    @property
    def is_mine(self):
        return self.holder == get_ident()

    @contextmanager
    def taken(self):
        """Return a context that holds the lock, after waiting for it if necessary."""
        self.check_can_wait()
        with self.taken_in_order():
            yield

    @contextmanager
    def taken_in_order(self):
        """Like `taken`, for a thread that takes several locks in ascending order."""
        with self.lock:
            self.holder = get_ident()
            try:
                yield
            finally:
                self.holder = None

    @contextmanager
    def taken_at_once(self):
        """Like `taken`, but raise `_Busy` if another thread has the lock."""
        if not self.lock.acquire(blocking=False):
            raise _Busy(self)
        try:
            self.holder = get_ident()
            yield
        finally:
            self.holder = None
            self.lock.release()

    @contextmanager
    def half(self):
        """Return a context in which the object counts as being edited."""
        self.is_half = True
        try:
            yield self
        finally:
            self.is_half = False

    @contextmanager
    def whole(self):
        """Return a context, inside that of `half`, in which copies are allowed."""
        self.is_half = False
        try:
            yield
        finally:
            self.is_half = True

    def check_can_wait(self):
        """Raise an error if two threads could wait for each other for ever.

        Raises
        ------
        RuntimeError
            If another thread has the lock, and this thread has that of another object.
        """
        if not self.lock.locked():
            return
        with _lock:
            others = list(_turns.values())
        if any(turn.is_mine for turn in others):
            raise RuntimeError(
                "Another thread uses this estimator, and waiting for it was refused in "
                "the middle of an edit, a copy or an inspection of another one (by a "
                "callback for example): the two could wait for each other for ever. "
                "Do it after that has returned."
            )

    def check_not_left_half(self, what):
        """Raise RuntimeError if the process was forked in the middle of an edit."""
        if self.is_left_half:
            raise RuntimeError(
                f"{what} was refused: this process was forked while another thread was "
                "in the middle of an edit of the estimator, and has half of that edit. "
                "Load the estimator from a dump, or call fit; and fork between edits."
            )


# Not in the objects: a lock can neither be copied nor pickled.
_turns: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_lock = threading.RLock()


def _turn_of(owner):
    with _lock:
        turn = _turns.get(owner)
        if turn is None:
            turn = _turns[owner] = _Turn()
        return turn


def one_at_a_time(method: _Method) -> _Method:
    """Decorate a method: it waits until no other such method of the object runs.

    Raises
    ------
    RuntimeError
        When the thread would wait for itself, and in a process that was forked in the
        middle of an edit.
    """
    return _in_turn(method, starts_over=False)


def starting_over(method: _Method) -> _Method:
    """Decorate a method like `fit`, which replaces whatever the object was before.

    It is like `one_at_a_time`, except that half an edit does not matter.
    """
    return _in_turn(method, starts_over=True)


def _in_turn(method, starts_over):
    @wraps(method)
    def in_turn(self, *args, **kwargs):
        turn = _turn_of(self)
        if turn.is_mine:
            name = method.__name__.lstrip("_")
            raise RuntimeError(
                f"{name} was called while fit, an edit, save or inspection "
                "of the same estimator is under way in this thread, by a callback for "
                "example. "
                "Call it afterwards, or for a deepcopy that was made before."
            )
        turn.check_can_wait()
        # Not by `taken`: Ctrl-C may come between any two lines of Python.
        with turn.lock:
            turn.holder = get_ident()
            try:
                if not starts_over:
                    turn.check_not_left_half(method.__name__)
                result = method(self, *args, **kwargs)
                turn.is_left_half = False
                return result
            finally:
                turn.is_half, turn.holder = False, None

    return cast(_Method, in_turn)


def is_in_use(owner: Any) -> bool:
    """Return whether this thread is editing, saving or inspecting the object."""
    return _turn_of(owner).is_mine


def edit_of(owner: Any) -> AbstractContextManager[_Turn]:
    """Return a context for an edit by the thread that has the object's lock.

    It yields the object's `_Turn`. Inside ``turn.whole()`` the object can be copied.
    """
    return _turn_of(owner).half()


# ---------------------------------------------------------------------------
# Copies
# ---------------------------------------------------------------------------


class _Writing(threading.local):
    """The locks that this thread holds until a dump is written; None otherwise."""

    turns: ExitStack | None = None
    has_one = False


_writing = _Writing()


class _Busy(Exception):
    """Another thread has a lock that this thread must not wait for now."""

    def __init__(self, turn):
        super().__init__("another thread holds the turn")
        self.turn = turn


@contextmanager
def turn_to_copy(owner):
    """Return a context in which no other thread edits the object.

    The thread may have the lock already, as in `save`.

    Raises
    ------
    RuntimeError
        If this thread is in the middle of an edit, or if another thread was when the
        process was forked.
    """
    turn = _turn_of(owner)
    if turn.is_mine:
        _check_copied_between_edits(turn)
        yield
        return
    with turn.taken():
        turn.check_not_left_half("A copy")
        yield


@contextmanager
def turn_to_pickle(owner):
    """Return a context in which a state is made that will be pickled after it.

    Yields
    ------
    is_kept : bool
        Whether the lock is held until the pickle is written. If so, arrays need not be
        copied.
    """
    if _writing.turns is None:
        with turn_to_copy(owner):
            yield False
        return
    turn = _turn_of(owner)
    if turn.is_mine:
        _check_copied_between_edits(turn)
    else:
        # Two threads that each wait for the lock of the other would wait for ever.
        taken = turn.taken_at_once() if _writing.has_one else turn.taken()
        _writing.turns.enter_context(taken)
        _writing.has_one = True
        turn.check_not_left_half("A dump")
    yield True


def _check_copied_between_edits(turn):
    turn.check_not_left_half("A copy")
    if turn.is_half:
        raise RuntimeError(
            "A copy of the estimator was asked for in the middle of its fit or of an "
            "edit, by a callback for example: it would be half edited. Copy or dump "
            "the estimator before the edit, or after it has returned."
        )


def write_in_turn(write: Callable[[], Any]) -> Any:
    """Call a function that pickles objects, and let no thread edit them meanwhile.

    Parameters
    ----------
    write : callable
        It must start from the beginning whenever it is called: it is called again if
        another thread has the lock of an object that is not the first one.

    Returns
    -------
    result : object
        What the function returned.
    """
    if _writing.turns is not None:
        return write()
    wanted: list[Any] = []
    while True:
        try:
            with ExitStack() as turns:
                in_order = sorted(wanted, key=lambda turn: turn.number)
                in_order = [turn for turn in in_order if not turn.is_mine]
                for number, turn in enumerate(in_order):
                    # `taken` refuses to wait if this thread is editing another object.
                    taken = turn.taken_in_order() if number else turn.taken()
                    turns.enter_context(taken)
                _writing.turns, _writing.has_one = turns, bool(wanted)
                return write()
        except _Busy as busy:
            wanted.append(busy.turn)
        finally:
            _writing.turns = None


# ---------------------------------------------------------------------------
# Forks
# ---------------------------------------------------------------------------


def _go_on_in_child():
    """Release the locks of threads that do not exist in a forked process."""
    global _turns, _lock
    before, _turns = _turns, WeakKeyDictionary()
    _lock = threading.RLock()
    for owner, turn in list(before.items()):
        if not turn.is_mine:
            turn.is_left_half |= turn.is_half
            turn.is_half, turn.holder, turn.lock = False, None, threading.Lock()
        _turns[owner] = turn


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_go_on_in_child)
