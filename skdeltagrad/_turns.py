"""One thread at a time: others that would change an object wait for their turn."""

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

_Method = TypeVar("_Method", bound=Callable[..., Any])


class _Turn:
    def __init__(self):
        self.lock = threading.Lock()
        self.holder = None


# Not in the objects: a lock can neither be copied nor pickled.
_turns = WeakKeyDictionary()
_lock = threading.Lock()


def one_at_a_time(method: _Method) -> _Method:
    """A method that waits while another such method of the object runs in a thread.

    Raises
    ------
    RuntimeError
        When the thread would wait for itself.
    """

    @wraps(method)
    def in_turn(self, *args, **kwargs):
        with _lock:
            turn = _turns.setdefault(self, _Turn())
        if turn.holder == threading.get_ident():
            raise RuntimeError(
                f"{method.__name__} was called while fit, an edit, save or inspection "
                "of the same estimator is under way in this thread, by a callback for "
                "example. "
                "Call it afterwards, or for a deepcopy."
            )
        with turn.lock:
            turn.holder = threading.get_ident()
            try:
                return method(self, *args, **kwargs)
            finally:
                turn.holder = None

    return cast(_Method, in_turn)


def _forget_turns():
    # Whoever held a turn when a process was forked is no thread of the child.
    global _turns, _lock
    _turns = WeakKeyDictionary()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_turns)
