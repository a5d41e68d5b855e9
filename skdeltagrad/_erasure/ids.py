"""Ids of removed rows, and where they are found."""

from numbers import Integral

import numpy as np

from .object_graph import parts


def as_ids(sample_id):
    """Return the different ids, as fit keeps them."""
    # As objects, for NumPy makes text of integers beside text.
    given = np.atleast_1d(np.asarray(sample_id, dtype=object)).ravel().tolist()
    if all(isinstance(value, str) for value in given):
        with_nul = [value for value in given if "\0" in value]
        if with_nul:
            raise ValueError(
                f"sample_id holds {with_nul[0]!r}: ids have no NUL characters."
            )
        return np.unique(np.array(given, dtype=str))
    if any(isinstance(v, bool) or not isinstance(v, Integral) for v in given):
        raise ValueError(
            f"sample_id has dtype {np.asarray(sample_id).dtype} and does not hold "
            "integers only or strings only: give them as in fit."
        )
    try:
        return np.unique(np.array(given, dtype=np.int64))
    except OverflowError as error:
        raise ValueError(
            f"sample_id holds {max(given, key=abs)}, which is beyond 64 bits: fit "
            "cannot have kept it. Give ids as in fit."
        ) from error


def places_of_ids(objects, ids):
    """Yield each place that holds ids, and which.

    Parameters
    ----------
    objects : iterable of (str, object)
    ids : ndarray of shape (n_ids,), dtype int64 or str
    """
    wanted = set(ids.tolist())
    for place, obj in objects:
        held = (value for _, value in parts(place, obj))
        found = {v for v in held if type(v) in (int, str) and v in wanted}
        if issubclass(type(obj), np.ndarray):
            array, names = np.asarray(obj), ids
            if array.dtype.kind == "S" and ids.dtype.kind == "U":
                names = np.char.encode(ids)
            if array.dtype.kind in ("iu" if ids.dtype.kind == "i" else "US"):
                found.update(ids[np.isin(names, array)].tolist())
        if found:
            yield place, found
