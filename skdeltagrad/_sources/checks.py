"""Turn values that a user gave into stored ones, or say which of them is wrong.

Nothing is repaired silently: a value becomes a number without loss, or it is refused.
"""

import numpy as np
from scipy import sparse

from .._utils import ids

# Kinds of NumPy's dtypes that are numbers: booleans, integers and floats.
NUMBERS = "biuf"
# Names of types whose one value says that a value is missing: Python's and pandas'.
_MISSING = {"NoneType", "NAType", "NaTType"}
# Types of Python and NumPy, by what an array of them becomes.
_KINDS = {
    "boolean": (bool, np.bool_),
    "integer": (int, np.integer),
    "float": (float, np.floating),
    "string": (str,),
}


def float_dtype(dtypes):
    """Return float32 if it holds all values of some dtypes, otherwise float64.

    Integers of 8 and 16 bits do not turn float32 columns beside them into float64, but
    alone they become float64, as in scikit-learn.
    """
    common = np.result_type(*dtypes)
    is_single = common.kind == "f" and common.itemsize == 4
    return np.dtype(np.float32 if is_single else np.float64)


def check_numbers(dtype, place):
    """Raise TypeError unless the rows of an array of this dtype are numbers."""
    if dtype.kind not in NUMBERS:
        raise TypeError(
            f"{place.of('X')} has dtype {dtype}: it must hold numbers only. Encode "
            "strings and categories, for example with sklearn.preprocessing."
            "OneHotEncoder, and convert numbers that are stored as objects with "
            "X.astype(float)."
        )


def floats(values, dtype, place, name="X", names=None):
    """Return numbers as finite float32 or float64.

    Parameters
    ----------
    values : ndarray of shape (n_rows,) or (n_rows, n_columns), or CSR matrix
    dtype : dtype
    place : Place
    name : str, default="X"
        Name of the parameter, for messages.
    names : sequence, optional
        Names of the columns. None: they are numbered.

    Raises
    ------
    ValueError
        If a value is NaN or infinite, or an integer that float64 cannot hold.
    """
    _refuse(_inexact(_entries(values)), values, _TOO_LARGE, place, name, names)
    values = values.astype(dtype, copy=False)
    _refuse(_not_finite(_entries(values)), values, _GAP, place, name, names)
    return values


_TOO_LARGE = (
    "an integer that float64 cannot hold. Convert the column to float64 if rounding it "
    "is right, and leave it out if it holds ids"
)
_GAP = (
    "all values must be finite. Leave such rows out, or fill gaps in X, for example "
    "with sklearn.impute.SimpleImputer"
)


def _entries(values):
    return values.data if sparse.issparse(values) else values


def _refuse(bad, values, reason, place, name, names=None):
    """Raise ValueError for the first of some entries; `bad` is None if there are none.

    Parameters
    ----------
    bad : ndarray of bool or None
        Which entries of `values` are refused.
    values : ndarray or CSR matrix
    reason : str
    place : Place
    name : str
    names : sequence or None
    """
    if bad is None:
        return
    entry = int(bad.argmax())
    value = _entries(values).flat[entry]
    if sparse.issparse(values):
        row = np.searchsorted(values.indptr, entry, side="right") - 1
        column = int(values.indices[entry])
    elif values.ndim == 2:
        row, column = divmod(entry, values.shape[1])
    else:
        row, column = entry, None
    if column is not None and names is not None:
        column = names[column]
    raise ValueError(
        f"{place.of(name)} holds {value} in {place.row(row, column)}: {reason}."
    )


def refuse_missing(missing, name, place, column=None):
    """Raise ValueError for the first of the values that are marked as missing."""
    if missing.any():
        raise ValueError(
            f"{place.of(name)} holds a missing value in "
            f"{place.row(missing.argmax(), column)}. Leave such rows out"
            + (", or fill the gaps." if name == "X" else ".")
        )


def _not_finite(values):
    """Return which values are not finite, or None if all are."""
    # The sum is finite in nearly every case, and takes no memory.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return None
    bad = ~np.isfinite(values)
    return bad if bad.any() else None


def _inexact(values):
    """Return which integers float64 cannot hold, or None if it can hold all."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8:
        return None
    floats = values.astype(np.float64)
    # The largest integer is rounded up to a power of two, which does not convert back.
    outside = floats >= float(np.iinfo(values.dtype).max)
    bad = outside | (np.where(outside, 0, floats).astype(values.dtype) != values)
    return bad if bad.any() else None


def targets(y, place, name="y"):
    """Return targets, or labels, as an array of numbers, booleans or strings.

    Raises
    ------
    ValueError
        If a value is missing or not finite, or the shape is wrong.
    TypeError
        If the values are of several types, or of none of these.
    """
    if y.dtype == object:
        y = _from_objects(y, place, name)
    if y.dtype.kind not in NUMBERS + "U":
        raise TypeError(
            f"{place.of(name)} has dtype {y.dtype}: it must hold numbers, booleans or "
            "strings. Convert it."
        )
    if y.dtype.kind == "f":
        _refuse(_not_finite(y), y, _GAP, place, name)
    return y


def weights(weight, place, name="sample_weight"):
    """Return weights as float64; raise ValueError if one is negative or not finite."""
    weight = targets(weight, place, name)
    if weight.dtype.kind == "U":
        raise TypeError(
            f"{place.of(name)} holds strings such as {str(weight[0])!r}: give numbers."
        )
    bad = weight < 0
    if bad.any():
        _refuse(bad, weight, "weights must be 0 or more", place, name)
    return floats(weight, np.float64, place, name)


def row_ids(values, place, name="sample_id"):
    """Return ids as int64 or str; see `check_ids` for the errors."""
    if values.dtype == object:
        _refuse_missing_objects(values, _types(values), place, name)
    return ids.check_ids(values, place.of(name), n_rows=len(values))


def _types(values):
    return set(map(type, values.ravel().tolist()))


def _refuse_missing_objects(values, types, place, name):
    """Raise ValueError if one of some objects, of these types, is a missing value."""
    if not any(_says_missing(type_) or issubclass(type_, float) for type_ in types):
        return
    missing = [
        _says_missing(type(value)) or (isinstance(value, float) and value != value)
        for value in values.flat
    ]
    rows = np.reshape(missing, (len(values), -1)).any(axis=1)
    refuse_missing(rows, name, place)


def _says_missing(type_):
    return type_.__name__ in _MISSING


def _from_objects(values, place, name):
    """Return objects as an array of the one type that they have."""
    types = _types(values)
    _refuse_missing_objects(values, types, place, name)
    kinds = {_kind(type_) for type_ in types}
    if kinds == {"integer", "float"}:
        return values.astype(np.float64)
    if len(kinds) > 1 or not kinds <= set(_KINDS):
        raise TypeError(
            f"{place.of(name)} holds values of several types, or of unknown ones: "
            f"{', '.join(sorted(kinds))}. Convert them to one type, numbers or "
            "strings."
        )
    if kinds == {"string"} and "\0" in "".join(values.flat):
        entry = next(i for i, value in enumerate(values.flat) if "\0" in value)
        row = np.unravel_index(entry, values.shape)[0]
        raise ValueError(
            f"{place.of(name)} holds {values.flat[entry]!r} in {place.row(row)}: NumPy "
            "drops NUL characters at the end of a string. Replace them."
        )
    return np.array(values.tolist()).reshape(values.shape)


def _kind(type_):
    # A boolean is an integer, too: the order of `_KINDS` decides.
    for kind, types in _KINDS.items():
        if issubclass(type_, types):
            return kind
    return type_.__name__
