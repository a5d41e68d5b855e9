"""Proof that removed training rows are gone from everything an estimator holds."""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from . import _row_search as row_search
from ._row_search import (
    MIN_DISTINCT,
    Objects,
    distinct_arrays,
    places_of_rows,
    portions,
)
from ._walk import iter_arrays, iter_objects

# Bounds of what a message spells out.
_N_PLACES = 5
_N_ROW_NUMBERS = 10


class LiveRows(ABC):
    """An estimator that can tell which rows are in its training set.

    :func:`assert_erased` asks every such object it comes across, provided that
    its ``n_features_in_`` is the width of the rows, so as not to report a
    removed row of which a twin is still, legitimately, a training row.
    """

    @abstractmethod
    def _count_live_copies(self, X: np.ndarray) -> np.ndarray:
        """Count the present training rows that are equal to each row of X.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features), dtype float64
            The rows to count.

        Returns
        -------
        counts : ndarray of shape (n_rows,), dtype int
            How many rows of the present training set equal each row.
        """


@dataclass(frozen=True)
class ErasureReport:
    """What :func:`assert_erased` has checked.

    Parameters
    ----------
    n_rows : int
        Number of rows given.
    n_checked : int
        Number of rows that were searched for, and found nowhere.
    not_checkable : dict of int to str
        The reason for each row, by row number, that was not searched for.
    n_arrays : int
        Number of arrays searched.
    n_bytes : int
        Size of these arrays.
    """

    n_rows: int
    n_checked: int
    not_checkable: dict[int, str]
    n_arrays: int
    n_bytes: int

    def __str__(self) -> str:
        lines = [
            f"{self.n_checked} of {self.n_rows} rows checked: found in none of "
            f"{self.n_arrays} arrays ({self.n_bytes:,} bytes)"
        ]
        reasons: dict[str, list[int]] = {}
        for row, reason in self.not_checkable.items():
            reasons.setdefault(reason, []).append(row)
        lines += [
            f"not checkable, {reason}: {_row_text(rows)}"
            for reason, rows in reasons.items()
        ]
        return "\n".join(lines)


def assert_erased(estimator: Any, X: Any) -> ErasureReport:
    """Assert that removed rows are not in anything an estimator holds.

    Every array reachable from the estimator is searched for every row: as
    float64, as float32 and in the dtype of the array, along every axis, and
    for the non-zero values of the row in order (its sparse form). Entries are
    compared exactly.

    Parameters
    ----------
    estimator : object, str or path-like
        A fitted estimator, a pipeline, any other object, or the path of a dump
        written by joblib or pickle. Loading a dump runs the code it contains:
        only give the path of one you trust.
    X : {array-like, dataframe, sparse matrix} of shape (n_rows, n_features)
        The removed rows. For a :class:`~sklearn.pipeline.Pipeline`, they are
        searched for as given, provided that they are finite numbers, and as
        transformed by the steps before the last.

    Returns
    -------
    report : ErasureReport
        What was searched, and which rows were not: rows with fewer than four
        distinct non-zero values, which could be found by chance, and rows of
        which a twin is still in the training set.

    Raises
    ------
    AssertionError
        If a row is found. The message names the rows and the places.
    FileNotFoundError
        If `estimator` is a path and there is no such file.
    TypeError
        If `estimator` is a class.
    ValueError
        If X is not a two-dimensional set of finite numbers, or not as wide as
        the data `estimator` was fitted on.

    Notes
    -----
    The rows are searched for in the clear, and exactly. A multiple of a row,
    a row that is centred, rounded or compressed, or whose entries are spread
    over several arrays, is not found; nor is, in a pipeline, the transformed
    row if the steps give it in another rounding now than in fit.
    """
    estimator = _load(estimator)
    objects = list(iter_objects(estimator))
    arrays = distinct_arrays(iter_arrays(estimator))
    forms = _forms_of(estimator, X)
    not_checkable = _not_checkable(objects, forms)
    n_rows = forms[0].shape[0]
    checkable = np.setdiff1d(np.arange(n_rows), list(not_checkable))
    places: dict[str, set[int]] = {}
    for rows in forms:
        for wanted in portions(rows, checkable):
            for place, found in places_of_rows(objects, arrays, wanted):
                # That the buffer of a view holds what the view shows is no news.
                found -= places.get(place.removesuffix(".base"), set())
                if found:
                    places.setdefault(place, set()).update(found)
    if places:
        raise AssertionError(_found_text(places, n_rows))
    return ErasureReport(
        n_rows=n_rows,
        n_checked=len(checkable),
        not_checkable=not_checkable,
        n_arrays=len(arrays),
        n_bytes=sum(array.nbytes for _, array in arrays),
    )


def _found_text(places: dict[str, set[int]], n_rows: int) -> str:
    rows = set().union(*places.values())
    lines = [f"{len(rows)} of {n_rows} removed rows found:"]
    for place, found in list(places.items())[:_N_PLACES]:
        lines.append(f"  {_row_text(sorted(found))} in {place}")
    if len(places) > _N_PLACES:
        lines.append(f"  and {len(places) - _N_PLACES} more places")
    return "\n".join(lines)


def _row_text(rows: list[int]) -> str:
    text = ", ".join(str(row) for row in rows[:_N_ROW_NUMBERS])
    if len(rows) > _N_ROW_NUMBERS:
        text += f", ... ({len(rows)} rows)"
    return f"row {text}" if len(rows) == 1 else f"rows {text}"


# ---------------------------------------------------------------------------
# The input
# ---------------------------------------------------------------------------


def _load(estimator: Any) -> Any:
    """Load a dump, and refuse what holds nothing by construction."""
    if isinstance(estimator, (str, os.PathLike)):
        if not os.path.isfile(estimator):
            raise FileNotFoundError(
                f"estimator={os.fspath(estimator)!r} is taken for the path of a "
                "joblib or pickle dump, and there is no such file. Give the path of "
                "an existing file, or the fitted estimator itself."
            )
        estimator = joblib.load(estimator)
    if isinstance(estimator, type):
        raise TypeError(
            f"estimator={estimator.__name__} is a class, which holds no data. Give "
            "a fitted instance of it."
        )
    if isinstance(estimator, BaseEstimator):
        check_is_fitted(estimator)
    return estimator


def _forms_of(estimator: Any, X: Any) -> list[sparse.csr_array]:
    """Give the forms of X that the estimator may hold, as float64 rows."""
    if not isinstance(estimator, Pipeline) or len(estimator.steps) == 1:
        return [_as_rows(X, getattr(estimator, "n_features_in_", None))]
    _check_two_dimensional(X)
    transformed = _as_rows(estimator[:-1].transform(X), None)
    try:
        given = _as_rows(X, None)
    except (TypeError, ValueError):  # text, or missing values to be imputed
        return [transformed]
    return [given, transformed]


def _check_two_dimensional(X: Any) -> None:
    ndim = X.ndim if hasattr(X, "ndim") else np.ndim(X)
    if ndim != 2:
        shape = X.shape if hasattr(X, "shape") else np.shape(X)
        raise ValueError(
            f"X must have shape (n_rows, n_features), got shape {tuple(shape)}. Use "
            "X.reshape(1, -1) if X is a single row."
        )


def _as_rows(X: Any, n_features: int | None) -> sparse.csr_array:
    """Validate X and convert it to float64, with the non-zero values in order."""
    _check_two_dimensional(X)
    if not sparse.issparse(X):
        X = np.asarray(X, dtype=np.float64)
    rows = sparse.csr_array(X, dtype=np.float64, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    if rows.shape[0] == 0:
        raise ValueError(
            f"X has shape {rows.shape}: there is no row to search for. Give the rows "
            "that were removed."
        )
    if not np.isfinite(rows.data).all():
        bad = rows.data[~np.isfinite(rows.data)][0]
        raise ValueError(
            f"X contains {bad}. Give the removed rows as the estimator was fitted on "
            "them, in finite numbers."
        )
    if n_features is not None and rows.shape[1] != n_features:
        raise ValueError(
            f"X has {rows.shape[1]} features, but estimator was fitted on "
            f"n_features_in_={n_features}. Give the removed rows with the same "
            "columns as in fit."
        )
    return rows


def _not_checkable(objects: Objects, forms: list[sparse.csr_array]) -> dict[int, str]:
    """Give the reason for each row that a search could find with good right."""
    reasons = {}
    for row in range(forms[0].shape[0]):
        values = (rows.data[rows.indptr[row] : rows.indptr[row + 1]] for rows in forms)
        if max(len(np.unique(value)) for value in values) < MIN_DISTINCT:
            reasons[row] = f"fewer than {MIN_DISTINCT} distinct non-zero values"
    live = "an equal row is still in the training set"
    for rows in forms:
        step = max(1, row_search.BLOCK // max(1, rows.shape[1]))
        for _, obj in objects:
            if not issubclass(type(obj), LiveRows):
                continue
            if getattr(obj, "n_features_in_", None) != rows.shape[1]:
                continue
            for lo in range(0, rows.shape[0], step):
                counts = obj._count_live_copies(rows[lo : lo + step].toarray())
                reasons.update(
                    dict.fromkeys((lo + np.flatnonzero(counts)).tolist(), live)
                )
    return reasons
