"""Targets, weights and ids: arrays beside the rows, or names of columns among them."""

from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from . import checks

# What the values of each parameter become, in the order of the fields of a `Batch`.
_CHECKS = {
    "y": checks.targets,
    "sample_weight": checks.weights,
    "sample_id": checks.row_ids,
}


class Names(tuple):
    """Names of columns, where a plain list might hold labels."""


class Arguments(NamedTuple):
    """`y`, `sample_weight` and `sample_id` as they were given to `fit`.

    They are arrays, or names of columns: a string, or for `y` also a list of strings.
    `sample_weight` may be one number for all rows.
    """

    y: Any = None
    sample_weight: Any = None
    sample_id: Any = None

    def given(self):
        """Return the names of the parameters that were given."""
        return tuple(n for n in self._fields if getattr(self, n) is not None)

    def resolved(self, names, place):
        """Return arguments that are None, a float, `Names`, or an ndarray.

        Parameters
        ----------
        names : list or None
            Names of the columns of the rows.
        place : Place
        """
        return Arguments(
            *(
                _resolved(name, value, names, place)
                for name, value in self._asdict().items()
            )
        )

    def rows(self, start, stop):
        """Return resolved arguments whose arrays are those of some rows."""
        return Arguments(
            *(
                value[start:stop] if isinstance(value, np.ndarray) else value
                for value in self
            )
        )

    def check_lengths(self, n_rows, place, n_before=0):
        """Raise ValueError unless resolved arrays have a number of rows.

        Parameters
        ----------
        n_rows : int
        place : Place
        n_before : int, default=0
            Number of rows before these, for messages.
        """
        for name, value in self._asdict().items():
            if isinstance(value, np.ndarray) and len(value) != n_rows:
                raise ValueError(
                    f"{place.of(name)} has {n_before + len(value)} entries and X has "
                    f"{n_before + n_rows} rows: give one for each row, or the name of "
                    "a column of X."
                )

    def columns(self, names, place):
        """Return the numbers of the columns that each resolved argument names.

        Returns
        -------
        columns : dict of str to list of int

        Raises
        ------
        ValueError
            If a name does not exist, or two columns have it, or it is given twice.
        """
        columns, users = {}, {}
        for argument, value in self._asdict().items():
            if not isinstance(value, Names):
                continue
            columns[argument] = [
                _number(name, names, argument, place) for name in value
            ]
            for name in value:
                if name in users:
                    raise ValueError(
                        f"{argument}={name!r} names a column that {users[name]} named "
                        "before. Name another one, or leave one of the two out."
                    )
                users[name] = argument
        return columns

    def read(self, rows, columns, place):
        """Return the arrays of some rows, checked: `y`, weights and ids.

        Parameters
        ----------
        rows : AbstractTable
        columns : dict
            What `columns` returned.
        place : Place
        """
        arrays = []
        for name, value in self._asdict().items():
            if name in columns:
                numbers = columns[name]
                value = [rows.column(number, name, place) for number in numbers]
                value = value[0] if len(numbers) == 1 else np.column_stack(value)
            elif isinstance(value, float):
                value = np.full(rows.n_rows, value)
            arrays.append(None if value is None else _CHECKS[name](value, place))
        return arrays


def _resolved(parameter, value, names, place):
    if value is None or isinstance(value, Names):
        return value
    if isinstance(value, str):
        return Names([value])
    if parameter == "sample_weight" and isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple):
        are_strings = len(value) > 0 and all(isinstance(one, str) for one in value)
        # It consists of labels or ids, unless a column has one of them as its name.
        if are_strings and set(value) & set(names or []):
            return Names(value)
        value = _of_list(value, place.of(parameter))
    array = np.asarray(value)
    allowed = (1, 2) if parameter == "y" else (1,)
    if array.ndim not in allowed:
        raise ValueError(
            f"{place.of(parameter)} is a {type(value).__name__} of shape {array.shape}:"
            " it must be one-dimensional"
            + (", or two-dimensional for several targets." if parameter == "y" else ".")
        )
    return array


def _of_list(values, name):
    """Return an array of numbers, or of the objects of a list."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{name} is no array: {error}") from error
    # NumPy turns numbers among strings into strings.
    return array if array.dtype.kind in checks.NUMBERS else np.asarray(values, object)


def _number(name, names, argument, place):
    """Return the number of the column that has a name."""
    if names is None:
        raise ValueError(
            f"{argument}={name!r} names a column, and the columns of {place.of('X')} "
            f"have no names. Give {argument} as an array, or X as a table."
        )
    count = names.count(name)
    if count != 1:
        known = ", ".join(repr(known) for known in names[:10])
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        raise ValueError(
            f"{argument}={name!r} must name one column of {place.of('X')}, and {count} "
            f"columns have this name; there are {known}{more}."
        )
    return names.index(name)
