"""Translate the arguments of an edit into an `Edit` of storage indices and rows.

Nothing is changed here. Errors name the parameter, its value and what to do.
"""

from dataclasses import replace
from numbers import Integral

import numpy as np
from sklearn.utils import check_array

from .._data.edit import NO_ROWS, Edit, refuse_missing
from .._data.row_table import GONE
from .._reports.digests import id_names, position_names
from .._utils.ids import check_ids
from .._utils.text import shown
from .positions import positions_of


def find_rows(table, position, sample_id, on_missing, prefix=""):
    """Return the `Edit` that removes the rows at some positions or with some ids."""
    removed, missing = NO_ROWS, []
    if position is not None:
        name = f"{prefix}position"
        removed, missing = find_positions(table, position, on_missing, name)
        removed = np.sort(removed)
    if sample_id is not None:
        name = f"{prefix or 'sample_'}id"
        by_id, unknown = find_ids(table, sample_id, on_missing, name)
        removed, missing = np.union1d(removed, by_id), missing + unknown
    return Edit(removed, n_missing=len(missing), missing=tuple(missing))


def addition(table, added, position, sample_id, replace, on_missing):
    """Return the `Edit` that adds rows, or replaces those at positions or with ids."""
    if not replace:
        if position is not None:
            raise ValueError(
                "position names rows to be replaced, and replace is False: pass "
                "replace=True, or remove_position to remove rows and add others."
            )
        return Edit(NO_ROWS, added)
    if position is None and sample_id is None:
        raise ValueError(
            "replace=True needs position to say which rows the new ones replace; where "
            "fit was given ids, sample_id will do."
        )
    if position is None:
        replaced, missing = find_ids(table, sample_id, on_missing)
        taken_over = _take_over(table, replaced, added.ids)
        return Edit(replaced, added, taken_over, len(missing), tuple(missing))
    position = positions_of(table, position)
    if len(np.unique(position)) != len(added) or len(position) != len(added):
        raise ValueError(
            f"position names {len(np.unique(position))} different rows and X has "
            f"{len(added)}: with replace=True each new row replaces one."
        )
    replaced = table.indices_of(position)
    gone = replaced == GONE
    if on_missing == "raise":
        _refuse_gone(position[gone], "position")
    if added.ids is not None:
        _refuse_other_ids(table.ids[replaced[~gone]], added.ids[~gone], position[~gone])
    taken_over = np.where(gone, GONE, position)
    missing = tuple(position_names(position[gone]))
    return Edit(replaced[~gone], added, taken_over, len(missing), missing)


def check_weights(sample_weight, n_rows):
    """Return sample weights as float64 of shape (n_rows,), finite and 0 or more."""
    if sample_weight is None:
        return np.ones(n_rows)
    if np.isscalar(sample_weight):
        sample_weight = np.full(n_rows, float(sample_weight))
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weight.ndim}D array: "
            "give sample_weight one number for each row of X."
        )
    if weight.shape != (n_rows,):
        raise ValueError(
            f"sample_weight.shape == {weight.shape}, expected {(n_rows,)}: give one "
            "weight for each row of X."
        )
    if (weight < 0).any():
        raise ValueError(
            f"Negative values in data passed to `sample_weight`: {weight.min()} at row "
            f"{int(weight.argmin())}. Weights must be 0 or more."
        )
    return weight


def check_request_id(request_id):
    """Raise TypeError unless the id of a request is a string, an integer or None.

    A bool is refused: ``request_id=True`` was probably meant for another parameter.
    """
    is_name = isinstance(request_id, str | Integral | None)
    if not is_name or isinstance(request_id, bool):
        raise TypeError(
            f"request_id must be a string or an integer, got {request_id!r}. Pass the "
            "name or the number of the request, or leave request_id out."
        )


def with_ids(added, table, sample_id):
    """Return added rows with their ids, which are required if `fit` was given ids."""
    if table.ids is None:
        if sample_id is None:
            return added
        raise ValueError(
            "sample_id was given, but fit was not given any: rows are addressed by "
            "position. Leave sample_id out, or fit again with sample_id."
        )
    if sample_id is None:
        raise ValueError(
            "sample_id is missing: fit was given ids, so added rows must bring theirs."
        )
    ids = check_ids(sample_id, n_rows=len(added))
    return replace(added, ids=_same_kind(ids, table, "sample_id"))


def find_positions(table, position, on_missing, name="position"):
    """Return storage indices of rows at positions, and names of removed positions.

    Raises
    ------
    IndexError
        For a position that does not exist, and for one whose row was removed unless
        ``on_missing="ignore"``.
    """
    position = positions_of(table, position, name)
    if len(position) > 1:
        _, first = np.unique(position, return_index=True)
        position = position[np.sort(first)]
    indices = table.indices_of(position)
    gone = indices == GONE
    if on_missing == "raise":
        _refuse_gone(position[gone], name)
    return indices[~gone], position_names(position[gone])


def _refuse_gone(position, name):
    if len(position):
        was = "was" if len(position) == 1 else "were"
        raise IndexError(
            f"{name} {shown(position)} {was} removed before: nothing is changed. Pass "
            'on_missing="ignore" to pass over rows that are gone.'
        )


def _refuse_other_ids(there, given, position):
    other = there != given
    if other.any():
        raise ValueError(
            f"position {shown(position[other])} is of sample_id {shown(there[other])}, "
            f"and the rows that replace it of {shown(given[other])}: nothing is "
            "changed. To remove a row and add one of somebody else, pass "
            "remove_position in place of position and replace."
        )


def find_ids(table, sample_id, on_missing, name="sample_id"):
    """Return storage indices of all rows with some ids, and names of ids without rows.

    Raises
    ------
    KeyError
        For an id that no row has, unless ``on_missing="ignore"``.
    """
    if table.ids is None:
        raise ValueError(
            f"{name} was given, but fit was not given sample_id: rows are addressed "
            "by position (their number in fit), or by their content. A pandas index "
            "is not an id."
        )
    ids = np.unique(_same_kind(check_ids(sample_id, name), table, name))
    which, indices = table.indices_of_ids(ids)
    missing = np.ones(len(ids), bool)
    missing[which] = False
    if missing.any() and on_missing == "raise":
        raise KeyError(
            f"{name} {shown(ids[missing])}: no row carries it (any more), nothing is "
            'changed. Pass on_missing="ignore" to pass over ids that are gone.'
        )
    return indices, id_names(ids[missing])


def find_content(training_set, given, codes, on_missing):
    """Return the `Edit` that removes the stored rows equal to given ones.

    Parameters
    ----------
    training_set : TrainingSet
    given : GivenRows
    codes : ndarray
        Their targets as they are stored.
    on_missing : {"raise", "ignore"}

    Raises
    ------
    ValueError
        For a row that is not stored, unless ``on_missing="ignore"``.
    """
    indexed = training_set.index_content()
    indices = training_set.match(given.X, codes, given.weight)
    missing = indices == GONE
    weight = "" if given.weight is None else " and sample_weight"
    refuse_missing(missing, training_set.table.n_live, weight, on_missing)
    n_missing = int(missing.sum())
    return Edit(indices[~missing], n_missing=n_missing, indexed=indexed)


def _take_over(table, replaced, ids):
    """Return positions that new rows take over from replaced ones with the same id.

    They are taken over in order. The entry is GONE for new rows that get a new position
    because there are more of them than rows that they replace.
    """
    taken = np.full(len(ids), GONE)
    waiting = {}
    positions = table.position[replaced].tolist()
    for id_, position in zip(table.ids[replaced].tolist(), positions, strict=True):
        waiting.setdefault(id_, []).append(position)
    for number, id_ in enumerate(ids.tolist()):
        if waiting.get(id_):
            taken[number] = waiting[id_].pop(0)
    return taken


def _same_kind(ids, table, name):
    wanted = "str" if table.ids.dtype.kind == "U" else "int"
    got = "str" if ids.dtype.kind == "U" else "int"
    if len(ids) and got != wanted:
        raise TypeError(
            f"{name} holds {got} ids, but those given to fit were {wanted}. Convert "
            "them."
        )
    return ids


def check_classes_stay(table, targets):
    """Raise ValueError if the classes change and there are no rows to fit on."""
    if targets.recode is not None and not table.is_stored:
        raise ValueError(
            "store_data=False kept none of the rows that the model of the other "
            "classes would be fitted on, and the last row of a class would leave: "
            "nothing is changed. Call fit on the rows that remain."
        )


def check_some_count(n_rows):
    """Raise ValueError if no row has a positive weight."""
    if n_rows == 0:
        raise ValueError(
            "sample_weight is zero for all rows: nothing counts. Give at least one row "
            "a positive weight."
        )
