"""Progress of fits and edits, from the engines to listeners.

    with listening(listener):
        ...
        for step in each("steps", range(n_steps)):
            ...

Engines do not know the listeners, and reporting progress costs nothing without any.
Threads that an engine starts report no progress.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

_T = TypeVar("_T")
# ``tell(done, fact)`` reports how many items are done, and a remark to be printed.
Tell = Callable[..., None]


class AbstractListener(ABC):
    """Receives the progress of tasks."""

    @abstractmethod
    def begin(self, task: str, total: int | None) -> Tell:
        """Begin to follow a task.

        Parameters
        ----------
        task : str
            What the items of the task are called, such as "steps".
        total : int or None
            Number of items; None if it is not known.

        Returns
        -------
        tell : callable
            It is called as ``tell(done, fact="")``, with growing numbers of items.
        """


class PrintedFacts(AbstractListener):
    """Prints the remarks on tasks."""

    def begin(self, task, total):
        def tell(done, fact=""):
            if fact:
                print(f"{task} {done}: {fact}")

        return tell


_listeners: ContextVar[tuple[AbstractListener, ...]] = ContextVar(
    "listeners", default=()
)


@contextmanager
def listening(*listeners: AbstractListener) -> Iterator[None]:
    """Return a context in which these listeners, and no others, follow tasks."""
    token = _listeners.set(listeners)
    try:
        yield
    finally:
        _listeners.reset(token)


def begin(task: str, total: int | None = None) -> Tell | None:
    """Begin a task. Return a function that reports its progress; None: no listener."""
    tells = [listener.begin(task, total) for listener in _listeners.get()]
    if not tells:
        return None

    def tell(done, fact=""):
        for tell_one in tells:
            tell_one(done, fact)

    return tell


def each(task: str, items: Sequence[_T]) -> Iterable[_T]:
    """Return items to iterate over, whose progress is reported after each."""
    tell = begin(task, len(items))
    return items if tell is None else _told(items, tell)


def _told(items, tell):
    for done, item in enumerate(items, start=1):
        yield item
        tell(done)
