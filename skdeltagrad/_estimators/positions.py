"""Positions as a caller names them: by numbers, by a mask or by a slice.

All three become numbers here. What names rows by something else is refused: an index
holds labels, and a label that happens to be a number would name another row.
"""

from numbers import Integral

import numpy as np

from .._data.row_table import GONE
from .._utils.text import shown

_TRUTH = (bool, np.bool_)


def positions_of(table, given, name="position"):
    """Positions as an array of int64, in the order in which they are given.

    Parameters
    ----------
    table : RowTable
    given : int, array-like of int, array-like of bool or slice
        A mask has one entry for every position that was ever given out; rows that are
        gone and have a True in it are named by it like by their numbers. A slice names
        the current training rows whose positions it covers: like a slice of a list, it
        passes over what is not there.
    name : str
        What the parameter is called.

    Raises
    ------
    TypeError
        When it is neither, or a pandas index.
    IndexError
        When a position does not exist, or a mask has another length.
    """
    if isinstance(given, slice):
        return _of_slice(table, given, name)
    refuse_index(given, name)
    positions = _as_array(given, name)
    if positions.dtype.kind == "b":
        return _of_mask(table, positions, name)
    # Compared before they are int64, which would make -1 of 2**64 - 1.
    outside = (positions < 0) | (positions >= table.n_positions)
    if outside.any():
        raise IndexError(
            f"{name} {shown(positions[outside])} does not exist: positions run from 0 "
            f"to {table.n_positions - 1}, in the order of the rows in fit, then of "
            "those added."
        )
    return positions.astype(np.int64)


def refuse_index(given, name):
    """Raise TypeError for an index of pandas, or of a library like it.

    It is told by the name of its class, so that pandas need not be imported.
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
    """Numbers or a mask as a one-dimensional array: integers, of any size, or bool."""
    array = np.asarray(given)
    if array.size == 0 and array.dtype.kind != "b":
        return np.zeros(0, np.int64)  # an empty list is one of floating-point numbers
    if array.dtype.kind == "O" or isinstance(given, list | tuple):
        # Looked at one by one: NumPy makes a 1 of True beside integers, and a
        # floating-point number of an integer beside one beyond 64 bits.
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
