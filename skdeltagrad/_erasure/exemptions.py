"""What may be found with good right: rows with a twin, or too much like others."""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from .._utils.live_rows import LiveRows, LiveSums
from . import row_search as row_search
from .combinations import is_telling
from .row_search import MIN_DISTINCT, Objects

# Why a row, or a multiple of it, is not searched for.
_FEW = f"fewer than {MIN_DISTINCT} distinct non-zero values"
LIVE_ROW = "an equal row is still in the training set"
_LIVE_MULTIPLE = "a multiple of it is still in the training set"
_REGULAR = "its values are so regular that they could be found by chance"
LIVE_ID = "a row that is still in the training set carries it"
SMALL_ID = "so small a number may be a count or a position"


def fitted_ones(objects: Objects) -> Objects:
    """Estimators that know their training rows.

    A search also holds one that was never fitted, of which its candidates are clones.
    """
    return [
        (place, obj)
        for place, obj in objects
        if issubclass(type(obj), LiveRows) and hasattr(obj, "n_features_in_")
    ]


def those_with_rows(objects: Objects, n_features: int) -> Objects:
    """Estimators that know their training rows, if these are of some width."""
    return [
        (place, obj)
        for place, obj in fitted_ones(objects)
        if obj.n_features_in_ == n_features
    ]


def not_checkable(objects: Objects, forms: list[sparse.csr_array]) -> dict[int, str]:
    """Give the reason for each row that a search could find with good right."""
    reasons = {}
    for row in range(forms[0].shape[0]):
        values = (rows.data[rows.indptr[row] : rows.indptr[row + 1]] for rows in forms)
        if max(len(np.unique(value)) for value in values) < MIN_DISTINCT:
            reasons[row] = _FEW
    for rows in forms:
        everyone = np.arange(rows.shape[0])
        for _, obj in those_with_rows(objects, rows.shape[1]):
            for numbers, dense in dense_portions(rows, everyone, together=False):
                live = numbers[obj._count_live_copies(dense) > 0]
                reasons.update(dict.fromkeys(live.tolist(), LIVE_ROW))
    return reasons


def multiples_not_checkable(
    objects: Objects, forms: list[sparse.csr_array], checkable: np.ndarray
) -> dict[int, str]:
    """The same for multiples of rows."""
    reasons = {}
    for rows in forms:
        for row in checkable:
            values = rows.data[rows.indptr[row] : rows.indptr[row + 1]]
            if _is_even(values) or not is_telling(values, rows.shape[1]):
                reasons[int(row)] = _REGULAR
        for _, obj in those_with_rows(objects, rows.shape[1]):
            for numbers, dense in dense_portions(rows, checkable, together=False):
                live = numbers[obj._count_live_multiples(dense) > 0]
                reasons.update(dict.fromkeys(live.tolist(), _LIVE_MULTIPLE))
    return reasons


def _is_even(values: np.ndarray) -> bool:
    """Tell whether numbers are the multiples of a step, one after the other."""
    steps = np.diff(values)
    return np.ptp(steps) <= 1e-9 * np.abs(values).max() if len(steps) else True


def dense_portions(
    rows: sparse.csr_array, numbers: np.ndarray, together: bool = True
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows as arrays of bounded size, and their numbers.

    The sum of all of them comes last, with the number -1, unless together is False:
    rows that left together may still stand somewhere together.
    """
    step = max(1, row_search.BLOCK // max(1, rows.shape[1]))
    for lo in range(0, len(numbers), step):
        part = numbers[lo : lo + step]
        dense = rows[part].toarray()
        if together and len(numbers) > 1 and lo + step >= len(numbers):
            total = rows[numbers].sum(axis=0)
            dense, part = np.vstack([dense, total]), np.append(part, -1)
        yield part, dense


def live_sums(objects: Objects, n_features: int) -> LiveSums | None:
    """Sums over the training rows of the first estimator that knows them, or None."""
    for _, obj in those_with_rows(objects, n_features):
        live = obj._live_sums()
        if live is not None:
            return live
    return None


def is_live(objects: Objects, row: np.ndarray) -> bool:
    """Tell whether a vector is a row of a training set."""
    asked = those_with_rows(objects, len(row))
    return any(obj._count_live_copies(row[np.newaxis])[0] > 0 for _, obj in asked)
