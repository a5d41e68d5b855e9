"""What a reader of training rows sees of them, and rows that are given all at once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from . import checks
from .arguments import Arguments
from .batch import Batch, resized
from .form import Form
from .place import Place
from .tables import AbstractTable


class AbstractSource(ABC):
    """Training rows that are read in batches, each time in the same order.

    Parameters
    ----------
    form : Form
    n_rows : int or None
        None: it is not known before all are read.
    """

    def __init__(self, form: Form, n_rows: int | None):
        self.form, self.n_rows = form, n_rows

    @property
    def n_features(self) -> int:
        return self.form.n_features

    @property
    def feature_names(self) -> np.ndarray | None:
        """Names as an array of objects, or None."""
        names = self.form.names
        return None if names is None else np.array(names, dtype=object)

    @property
    def dtype(self) -> np.dtype:
        """That of the features, float32 or float64."""
        return self.form.dtype

    @property
    def is_sparse(self) -> bool:
        """Whether batches have CSR matrices."""
        return self.form.is_sparse

    def batches(self, max_rows: int) -> Iterator[Batch]:
        """Read all rows.

        Parameters
        ----------
        max_rows : int
            Number of rows of each batch but the last one, which may have fewer.

        Yields
        ------
        batch : Batch

        Raises
        ------
        TypeError, ValueError
            At the first batch that holds an invalid value, or does not fit to those
            before it. The message names the parameter, the row and the batch.
        """
        if max_rows < 1:
            raise ValueError(f"max_rows must be 1 or more, got {max_rows}.")
        return resized(_uniform(self.parts(max_rows)), max_rows)

    @abstractmethod
    def parts(self, max_rows):
        """Yield checked batches of at most `max_rows` rows, each with its `Place`."""


class TableSource(AbstractSource):
    """The rows of a table, with arrays beside it or targets in some of its columns.

    Parameters
    ----------
    table : AbstractTable
    arguments : Arguments
    place : Place
    """

    def __init__(self, table: AbstractTable, arguments: Arguments, place: Place):
        self._table, self._place = table, place
        self._arguments = arguments.resolved(table.names, place)
        self._arguments.check_lengths(table.n_rows, place)
        self._named = self._arguments.columns(table.names, place)
        taken = {number for numbers in self._named.values() for number in numbers}
        self._columns = [j for j in range(table.n_columns) if j not in taken]
        if not self._columns:
            raise ValueError(
                f"{place.of('X')} has no features: its shape is "
                f"{(table.n_rows, table.n_columns)}, and {len(taken)} of its columns "
                "are named by other parameters. Give at least one column of numbers."
            )
        form = Form(
            len(self._columns), _feature_names(table, self._columns),
            table.float_dtype(self._columns, place), table.is_sparse,
            self._arguments.given(),
        )  # fmt: skip
        super().__init__(form, table.n_rows)

    def parts(self, max_rows):
        for start in range(0, self.n_rows, max_rows):
            stop = min(start + max_rows, self.n_rows)
            place = self._place.after(start)
            rows = self._table.rows(start, stop)
            X = rows.features(self._columns, self.dtype, place)
            arguments = self._arguments.rows(start, stop)
            yield place, Batch(X, *arguments.read(rows, self._named, place))


def _feature_names(table, columns):
    """Return the names of columns if they are strings, as scikit-learn does."""
    if table.names is None:
        return None
    names = [table.names[number] for number in columns]
    are_strings = {isinstance(name, str) for name in names}
    if are_strings == {True, False}:
        other = next(name for name in names if not isinstance(name, str))
        raise TypeError(
            f"X has columns whose names are strings and others, such as {other!r}: "
            "feature names must all be strings, or none of them. Convert them with "
            "X.columns = X.columns.astype(str)."
        )
    return tuple(names) if True in are_strings else None


def _uniform(parts):
    """Yield batches whose arrays can be joined; there is at least one row."""
    kept = None
    for place, batch in parts:
        if kept is None:
            # Empty copies, which do not keep the first rows in memory.
            kept = [None if a is None else a[:0].copy() for a in (batch.y, batch.ids)]
        y = _like(kept[0], batch.y, "y", place)
        ids = _like(kept[1], batch.ids, "sample_id", place)
        yield Batch(batch.X, y, batch.weight, ids)
    if kept is None:
        raise ValueError(
            "X has no rows: nothing can be fitted. Check the filter, the folder or "
            "the generator that the rows come from."
        )


def _like(first, values, name, place):
    """Return values with the dtype of the first ones; strings may be longer."""
    if first is None:
        return None
    if values.shape[1:] != first.shape[1:]:
        before = "one dimension" if first.ndim == 1 else f"{first.shape[1]} columns"
        raise ValueError(
            f"{place.of(name)} has shape {values.shape}, and those of the rows before "
            f"had {before}. Give the same targets for all rows."
        )
    old, new = first.dtype, values.dtype
    if new == old or new.kind == old.kind == "U":
        return values
    if "U" in (new.kind, old.kind) or not np.can_cast(new, old, "safe"):
        raise TypeError(
            f"{place.of(name)} has dtype {new} from {place.row(0)} on, and {old} "
            "before. Convert all of it to one type."
        )
    return checks.floats(values, old, place, name)
