"""How far a run is: engines tell, and whoever listens hears.

    with listening(listener):
        ...
        for step in each("steps", range(n_steps)):
            ...

An engine does not know who listens, and what it tells costs nothing where nobody does.
Threads that it starts tell nobody.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

_T = TypeVar("_T")
# tell(done, fact): so many are done; and what there is to say about it.
Tell = Callable[..., None]


class AbstractListener(ABC):
    """Hears how far tasks are."""

    @abstractmethod
    def begin(self, task: str, total: int | None) -> Tell:
        """Hear of a task that begins.

        Parameters
        ----------
        task : str
            What there are so many of.
        total : int or None
            How many there are; None where that is not known.

        Returns
        -------
        tell : callable
            ``tell(done, fact="")``, called with numbers that grow.
        """


class PrintedFacts(AbstractListener):
    """Prints what there is to say."""

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
    """While it is entered these listen, and nobody else."""
    token = _listeners.set(listeners)
    try:
        yield
    finally:
        _listeners.reset(token)


def begin(task: str, total: int | None = None) -> Tell | None:
    """Begin a task; a function to tell with, or None where nobody listens."""
    tells = [listener.begin(task, total) for listener in _listeners.get()]
    if not tells:
        return None

    def tell(done, fact=""):
        for tell_one in tells:
            tell_one(done, fact)

    return tell


def each(task: str, items: Sequence[_T]) -> Iterable[_T]:
    """Items to go through, with what is done of them told after each."""
    tell = begin(task, len(items))
    return items if tell is None else _told(items, tell)


def _told(items, tell):
    for done, item in enumerate(items, start=1):
        yield item
        tell(done)
