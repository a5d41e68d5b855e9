"""What a reader of training rows sees of them, and rows that are there in full."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from . import checks
from .arguments import Arguments
from .batch import Batch, resized
from .checks import Place
from .tables import AbstractTable


class AbstractSource(ABC):
    """Training rows that are read in batches, each time in the same order.

    Attributes
    ----------
    n_features : int
    feature_names : ndarray of object, or None
    dtype : dtype
        float32 or float64.
    is_sparse : bool
        Whether batches have CSR matrices.
    n_rows : int or None
        None: it is not known before all are read.
    """

    n_features: int
    feature_names: np.ndarray | None
    dtype: np.dtype
    is_sparse: bool
    n_rows: int | None

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
        self.dtype = table.float_dtype(self._columns, place)
        self.feature_names = _feature_names(table, self._columns)
        self.n_features = len(self._columns)
        self.n_rows, self.is_sparse = table.n_rows, table.is_sparse

    def check_like(self, other):
        """Raise unless the rows of another source can follow those of this one."""
        place = other._place
        X = place.of("X")
        if other.is_sparse != self.is_sparse:
            forms = {True: "sparse", False: "dense"}
            raise TypeError(
                f"{X} is {forms[other.is_sparse]}, and the batches before it are "
                f"{forms[self.is_sparse]}. Convert them to one form."
            )
        if other.n_features != self.n_features or (
            _listed(other.feature_names) != _listed(self.feature_names)
        ):
            raise ValueError(
                f"{X} has other columns than the batches before it: "
                f"{_difference(other, self)}. Give the same columns in the same order."
            )
        if other.dtype != self.dtype:
            raise TypeError(
                f"{X} becomes {other.dtype}, and the batches before it {self.dtype}. "
                "Convert them to one type with astype."
            )
        if other._arguments.given() != self._arguments.given():
            with_it, before = (
                ", ".join(source._arguments.given()) or "nothing"
                for source in (other, self)
            )
            raise ValueError(
                f"with {X} came {with_it}, and with the batches before it {before}. "
                "Give y, sample_weight and sample_id with all batches or with none."
            )

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
    return np.array(names, dtype=object) if True in are_strings else None


def _listed(names):
    return None if names is None else names.tolist()


def _difference(other, first):
    """Say how the columns of a source differ from those of the first one."""
    if other.n_features != first.n_features:
        return f"{other.n_features} features, not {first.n_features}"
    if other.feature_names is None or first.feature_names is None:
        missing = "has no names" if other.feature_names is None else "has names"
        return f"it {missing}"
    pairs = zip(other.feature_names, first.feature_names, strict=True)
    number, (now, before) = next(
        (number, pair) for number, pair in enumerate(pairs) if pair[0] != pair[1]
    )
    return f"feature {number} is {now!r}, not {before!r}"


def _uniform(parts):
    """Yield batches whose arrays can be joined; there is at least one row."""
    first = None
    for place, batch in parts:
        if first is None:
            first = batch
        y = _like_first(batch.y, first.y, "y", place)
        ids = _like_first(batch.ids, first.ids, "sample_id", place)
        yield Batch(batch.X, y, batch.weight, ids)
    if first is None:
        raise ValueError(
            "X has no rows: nothing can be fitted. Check the filter, the folder or "
            "the generator that the rows come from."
        )


def _like_first(values, first, name, place):
    """Return values with the dtype of the first ones; strings may be longer."""
    if first is None:
        return None
    if values.shape[1:] != first.shape[1:]:
        raise ValueError(
            f"{place.of(name)} has shape {values.shape}, and the rows before have "
            f"{first.shape}. Give the same number of targets for all rows."
        )
    if values.dtype == first.dtype:
        return values
    if values.dtype.kind == first.dtype.kind == "U":
        return values
    is_exact = "U" not in (values.dtype.kind, first.dtype.kind) and np.can_cast(
        values.dtype, first.dtype, "safe"
    )
    if not is_exact:
        raise TypeError(
            f"{place.of(name)} has dtype {values.dtype} from {place.row(0)} on, and "
            f"{first.dtype} before. Convert all of it to one type."
        )
    return checks.floats(values, first.dtype, place, name)
