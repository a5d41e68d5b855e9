"""Ids of rows, as they are stored: 64-bit integers or strings."""

import numpy as np

from .text import shown

# A cost: largest number of characters of an id, enough for a SHA-512 in hexadecimal.
# NumPy gives all strings the width of the longest one, at most 512 bytes for each row.
MOST_CHARACTERS = 128
# Display: number of characters of a longer id that an error shows.
_SHOWN_CHARACTERS = 20


def check_ids(ids, name="sample_id", n_rows=None):
    """Return ids as a new array of int64 or of str.

    Parameters
    ----------
    ids : array-like of shape (n_rows,)
    name : str, default="sample_id"
        Name of the parameter, for errors.
    n_rows : int, optional
        Number of rows that will be stored with these ids. None: the ids are only
        searched for.

    Raises
    ------
    TypeError
        If they are neither all integers nor all strings.
    ValueError
        If a string contains a NUL character, an integer does not fit into 64 bits, the
        shape is wrong, or an id to be stored is longer than `MOST_CHARACTERS`.
    """
    # Convert to objects, because NumPy would turn integers among strings into strings,
    # and does not know the extension types of pandas.
    known = isinstance(getattr(ids, "dtype", None), np.dtype)
    ids = np.atleast_1d(np.asarray(ids, dtype=None if known else object))
    if ids.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {ids.shape}.")
    if n_rows is not None and len(ids) != n_rows:
        raise ValueError(
            f"{name} has {len(ids)} entries and X has {n_rows} rows: give one id for "
            "each row."
        )
    if ids.dtype.kind not in "iuU":
        kinds = {_kind_of_id(type_) for type_ in set(map(type, ids.tolist()))}
        if len(kinds) > 1 or kinds - {"int", "str"}:
            raise TypeError(
                f"{name} must hold integers only or strings only, got "
                f"{', '.join(sorted(kinds))}. Convert the ids to one type, for "
                "example with str()."
            )
        if "str" in kinds:
            if "\0" in "".join(ids):  # faster than one after the other
                with_nul = ["\0" in value for value in ids]
                _refuse_nul(ids.astype(object)[with_nul], name)
            if n_rows is not None:
                _refuse_long(max(ids, key=len), name)
        ids = ids.astype(object if "int" in kinds else str)
    if ids.dtype.kind == "U":
        _refuse_nul(ids[_holds_nul(ids)], name)
        lengths = np.strings.str_len(ids)
        longest = int(lengths.max(initial=1))
        if n_rows is not None and longest > MOST_CHARACTERS:
            _refuse_long(str(ids[lengths.argmax()]), name)
        return ids.astype(f"U{longest}")
    limits = np.iinfo(np.int64)
    if len(ids) and (ids.max() > limits.max or ids.min() < limits.min):
        raise ValueError(
            f"{name} must fit into 64-bit integers, got {ids.min()} to {ids.max()}. "
            "Convert the ids to strings."
        )
    return ids.astype(np.int64)


def _holds_nul(ids):
    """Return which strings of an array have a NUL character before their last one.

    NumPy pads shorter strings with NUL characters after their last one.
    """
    width = ids.dtype.itemsize // 4  # characters of four bytes
    characters = np.array(ids).view(np.uint32).reshape(len(ids), width)
    return ((characters[:, :-1] == 0) & (characters[:, 1:] != 0)).any(axis=1)


def _refuse_nul(ids, name):
    if len(ids):
        raise ValueError(
            f"{name} {shown(ids)}: ids must not hold NUL characters, by which strings "
            "are filled up to the same length, so that two such ids could become one. "
            "Replace them."
        )


def _refuse_long(longest, name):
    if len(longest) > MOST_CHARACTERS:
        raise ValueError(
            f"{name} holds an id of {len(longest):,} characters, "
            f"{longest[:_SHOWN_CHARACTERS]!r}...: at most {MOST_CHARACTERS} are "
            "stored, because every row's id takes the memory of the longest one. "
            "Nothing is changed. Give shorter ids, for example "
            "hashlib.sha256(...).hexdigest() of long ones."
        )


def _kind_of_id(type_):
    if issubclass(type_, (int, np.integer)) and not issubclass(type_, bool):
        return "int"
    return "str" if issubclass(type_, str) else type_.__name__
