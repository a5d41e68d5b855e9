"""One thread at a time: others that would change or copy an object wait for their turn.

Every object has a lock, and a note of what its holder does. The note is what a copy
asks for that is taken within an edit, by a callback, and what the child of a fork asks
for, which has the object but not the thread that was editing it.
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
        Whoever waits for several locks waits for them by increasing number.
    holder : int or None
        The thread that holds the lock.
    is_half : bool
        Whether an edit of the object has begun and is not over.
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
        """Wait for the lock, and hold it within the context."""
        self.check_can_wait()
        with self.taken_in_order():
            yield

    @contextmanager
    def taken_in_order(self):
        """The same for whoever takes several turns by increasing number."""
        with self.lock:
            self.holder = get_ident()
            try:
                yield
            finally:
                self.holder = None

    @contextmanager
    def taken_at_once(self):
        """The same without waiting; raises `_Busy` where another thread has it."""
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
        """Within the context the object is in the middle of an edit."""
        self.is_half = True
        try:
            yield self
        finally:
            self.is_half = False

    @contextmanager
    def whole(self):
        """Within the context, in one of `half`, the object is whole nevertheless."""
        self.is_half = False
        try:
            yield
        finally:
            self.is_half = True

    def check_can_wait(self):
        """Refuse to wait where two threads could wait for each other for ever.

        Raises
        ------
        RuntimeError
            Where another thread has the lock, and this one that of another object.
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
        """Refuse to go on with half an edit of a process that this one is a fork of."""
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
    """A method that waits while another such method of the object runs in a thread.

    Raises
    ------
    RuntimeError
        When the thread would wait for itself; and in the child of a fork that took
        place in the middle of an edit.
    """
    return _in_turn(method, starts_over=False)


def starting_over(method: _Method) -> _Method:
    """The same for a method that does not go on with what the object is."""
    return _in_turn(method, starts_over=True)


def _in_turn(method, starts_over):
    @wraps(method)
    def in_turn(self, *args, **kwargs):
        turn = _turn_of(self)
        if turn.is_mine:
            raise RuntimeError(
                f"{method.__name__} was called while fit, an edit, save or inspection "
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
    """Whether this thread has the object's turn: it edits, saves or inspects it."""
    return _turn_of(owner).is_mine


def edit_of(owner: Any) -> AbstractContextManager[_Turn]:
    """A context in which an object is half edited, by the thread that has its turn.

    It yields the turn: in ``turn.whole()`` the object can be copied already.
    """
    return _turn_of(owner).half()


# ---------------------------------------------------------------------------
# Copies
# ---------------------------------------------------------------------------


class _Writing(threading.local):
    """The turns that this thread holds until a dump is written; outside of one None."""

    turns: ExitStack | None = None
    has_one = False


_writing = _Writing()


class _Busy(Exception):
    """Another thread holds a turn, and this one cannot wait for it as things are."""

    def __init__(self, turn):
        super().__init__("another thread holds the turn")
        self.turn = turn


@contextmanager
def turn_to_copy(owner):
    """A context in which no other thread edits the object.

    The thread may hold the turn already, as `save` does.

    Raises
    ------
    RuntimeError
        When the thread is in the middle of an edit itself, and where another thread
        was when this process was forked.
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
    """The same for a state that is pickled after the context is over.

    Yields
    ------
    is_kept : bool
        Whether no thread edits the object until the pickle is written, either: then
        its arrays need not be copied.
    """
    if _writing.turns is None:
        with turn_to_copy(owner):
            yield False
        return
    turn = _turn_of(owner)
    if turn.is_mine:
        _check_copied_between_edits(turn)
    else:
        # Two threads that hold a turn each and wait for the other's would never end.
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
    """Call a function that pickles objects; none of them is edited until it is over.

    Parameters
    ----------
    write : callable
        Starts at the beginning whenever it is called: it is called again where another
        thread holds the second or a further one of the objects.

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
                    # The first one must not be waited for within another's turn.
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
    """See to turns that are held by threads which a forked process does not have."""
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
