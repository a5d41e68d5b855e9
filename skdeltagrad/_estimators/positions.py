"""Positions as users pass them: numbers, a mask or a slice. All become numbers here.

An index of a data frame is refused. It contains labels, and if a label is a number, it
need not be the position of its row.
"""

from numbers import Integral

import numpy as np

from .._data.row_table import GONE
from .._utils.text import shown

_TRUTH = (bool, np.bool_)


def positions_of(table, given, name="position"):
    """Return positions as an array of int64, in the order in which they are given.

    Parameters
    ----------
    table : RowTable
    given : int, array-like of int, array-like of bool or slice
        A mask has one entry for every position, including those of removed rows, which
        it may select. A slice selects the current training rows in its range, and no
        removed ones.
    name : str
        Name of the parameter, for errors.

    Raises
    ------
    TypeError
        For anything else, including an index of pandas.
    IndexError
        When a position does not exist, or a mask has another length.
    """
    if isinstance(given, slice):
        return _of_slice(table, given, name)
    refuse_index(given, name)
    positions = _as_array(given, name)
    if positions.dtype.kind == "b":
        return _of_mask(table, positions, name)
    # Compare before the conversion to int64, which turns 2**64 - 1 into -1.
    outside = (positions < 0) | (positions >= table.n_positions)
    if outside.any():
        raise IndexError(
            f"{name} {shown(positions[outside])} does not exist: positions run from 0 "
            f"to {table.n_positions - 1}, in the order of the rows in fit, then of "
            "those added."
        )
    return positions.astype(np.int64)


def refuse_index(given, name):
    """Raise TypeError for an index of pandas or of a similar library.

    The name of the class is compared, so that pandas need not be imported.
    """
    if any(base.__name__ == "Index" for base in type(given).__mro__):
        kind = f"{type(given).__module__.split('.')[0]}.{type(given).__name__}"
        raise TypeError(
            f"{name} is a {kind}, which holds labels, and rows are numbered in the "
            "order in which they were given to fit: the label 3 may be of any row. "
            "Fit with sample_id=X.index and name rows by sample_id=..., or pass row "
            "numbers, for example X.index.get_indexer(labels)."
        )


def _as_array(given, name):
    """Return numbers or a mask as a 1-D array of bool or of integers of any size."""
    array = np.asarray(given)
    if array.size == 0 and array.dtype.kind != "b":
        return np.zeros(0, np.int64)  # an empty list is one of floating-point numbers
    if array.dtype.kind == "O" or isinstance(given, list | tuple):
        # Check every value: NumPy turns True among integers into 1, and integers into
        # floating-point numbers if one of them has more than 64 bits.
        objects = np.asarray(given, dtype=object)
        if all(isinstance(value, _TRUTH) for value in objects.flat):
            array = objects.astype(bool)
        elif not all(_is_integer(value) for value in objects.flat):
            _refuse(objects, name)
        elif array.dtype.kind not in "iu":
            array = objects
    is_one_truth = array.ndim == 0 and array.dtype.kind == "b"
    if array.ndim > 1 or array.dtype.kind not in "iuOb" or is_one_truth:
        _refuse(array, name)
    return np.atleast_1d(array)


def _is_integer(value):
    return isinstance(value, Integral) and not isinstance(value, _TRUTH)


def _refuse(array, name):
    raise TypeError(
        f"{name} must hold integers, or be a mask or a slice, got an array of dtype "
        f"{array.dtype} and shape {array.shape}: {shown(array.ravel())}."
    )


def _of_mask(table, mask, name):
    if len(mask) != table.n_positions:
        raise IndexError(
            f"{name} is a mask of {len(mask)} entries, and {table.n_positions} "
            "positions were given out so far: to the rows of fit, then to those added, "
            "whether they are still there or not. Give one entry for each of them, or "
            "row numbers."
        )
    return np.flatnonzero(mask)


def _of_slice(table, given, name):
    try:
        first, stop, step = given.indices(table.n_positions)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be a slice of integers, got {given}: {error}."
        ) from error
    positions = np.arange(first, stop, step)
    return positions[table.indices_of(positions) != GONE]
