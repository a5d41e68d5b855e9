"""Rows that are not there in full: batches of the user, and scans of files."""

from abc import abstractmethod
from itertools import chain

from .arguments import Arguments
from .place import Place
from .source import AbstractSource, TableSource
from .tables import table_of


class AbstractStream(AbstractSource):
    """Rows that come as one table after another.

    Parameters
    ----------
    first : AbstractTable
        The first table, or an empty one with the same columns. All others must be like
        it.
    arguments : Arguments
        Those that stand beside all of the tables: columns of each, or arrays with an
        entry for each row of all tables.
    place : Place
        Of the first table.
    own : Arguments, optional
        Those that came with the first table alone.
    n_rows : int, optional
    """

    def __init__(self, first, arguments, place, own=None, n_rows=None):
        self._arguments = arguments.resolved(first.names, Place())
        if n_rows is not None:
            self._arguments.check_lengths(n_rows, Place())
        source = self._source(first, own or Arguments(), 0, place)
        super().__init__(source.form, n_rows)

    @abstractmethod
    def _tables(self, max_rows):
        """Yield triples: an `AbstractTable`, its own `Arguments`, its `Place`."""

    def _source(self, table, own, n_before, place):
        """Return the source of a table that has some rows before it."""
        stop = n_before + table.n_rows
        shared = self._arguments.rows(n_before, stop)
        shared.check_lengths(table.n_rows, Place(), n_before)
        both = [name for name in own.given() if name in shared.given()]
        if both:
            raise ValueError(
                f"{' and '.join(both)} came with {place.of('X')} and as arguments of "
                "fit. Give each of them in one way only."
            )
        arguments = [
            ours if ours is not None else theirs
            for ours, theirs in zip(own, shared, strict=True)
        ]
        return TableSource(table, Arguments(*arguments), place)

    def parts(self, max_rows):
        n_read = 0
        for table, own, place in self._tables(max_rows):
            source = self._source(table, own, n_read, place)
            self.form.check_same(source.form, place)
            yield from source.parts(max_rows)
            n_read += table.n_rows
        self._arguments.check_lengths(n_read, Place())
        if self.n_rows not in (None, n_read):
            raise ValueError(
                f"X gave {self.n_rows} rows at first and {n_read} now: it must give "
                "the same rows each time it is read. Store them in a file or a list."
            )
        self.n_rows = n_read


class BatchStream(AbstractStream):
    """Batches from an iterable of the user.

    Parameters
    ----------
    X : iterable
        Each item is a table, or a tuple (X, y[, sample_weight[, sample_id]]). Items
        without rows are passed over. An iterator is read once.
    arguments : Arguments
    """

    def __init__(self, X, arguments):
        self._X = X
        iterator = iter(X)
        self._is_read_once = iterator is X
        self._begun = _parsed(iterator)
        self._first = next(self._begun, None)
        if self._first is None:
            raise ValueError(
                f"X is a {type(X).__name__} that gives no rows. An iterator that was "
                "read before is empty: make a new one."
            )
        first, own, place = self._first
        super().__init__(first, arguments, place, own)

    def parts(self, max_rows):
        # The arrays of a list stay as they are. A generator may fill the same ones
        # again, and does so in another thread where the next batch is read ahead.
        stays = isinstance(self._X, list | tuple)
        for place, batch in super().parts(max_rows):
            yield place, batch if stays else batch.copy()

    def _tables(self, max_rows):
        begun, first = self._begun, self._first
        self._begun = self._first = None
        if begun is not None:
            return chain([first], begun)
        if self._is_read_once:
            raise ValueError(
                f"X is a {type(self._X).__name__}, which can be read once, and it was "
                "read before. Give a new one, or a list of batches, or an object whose "
                "__iter__ begins again."
            )
        return _parsed(iter(self._X))


def _parsed(batches):
    """Yield batches of a user as tables with their own arguments and their places."""
    for number, batch in enumerate(batches):
        place = Place(number)
        parts = batch if is_batch(batch) else (batch,)
        if not 1 <= len(parts) <= 1 + len(Arguments()):
            raise ValueError(
                f"batch {number} has {len(parts)} parts: give (X, y), or (X, y, "
                "sample_weight), or (X, y, sample_weight, sample_id)."
            )
        table, others = table_of(parts[0], place), parts[1:]
        if table.n_rows:
            yield table, Arguments(*others), place


def is_batch(item):
    """Return whether an item is (X, y, ...) rather than a table."""
    return isinstance(item, tuple) or (
        isinstance(item, list) and len(item) > 0 and has_two_dimensions(item[0])
    )


def has_two_dimensions(X):
    """Return whether X is an array or a table, by its shape."""
    return len(getattr(X, "shape", ())) == 2


class Scan(AbstractStream):
    """Rows that another library reads from files.

    Parameters
    ----------
    read : callable
        ``read(max_rows)`` returns an iterator of tables with about so many rows each.
    empty : object
        A table without rows that has the same columns.
    arguments : Arguments
    n_rows : int or None
        None: it is not known.
    """

    def __init__(self, read, empty, arguments, n_rows=None):
        self._read = read
        empty = table_of(empty, Place())
        super().__init__(empty, arguments, Place(), n_rows=n_rows)

    def _tables(self, max_rows):
        place = Place()
        for given in self._read(max_rows):
            table = table_of(given, place)
            yield table, Arguments(), place
            place = place.after(table.n_rows)
