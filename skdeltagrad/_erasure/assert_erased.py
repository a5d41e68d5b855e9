"""Proof that removed training rows are gone from everything an estimator holds."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._utils import html as _html
from .._utils.live_rows import LiveRows
from . import dumps
from .exemptions import LIVE_ID, LIVE_ROW
from .object_graph import iter_objects
from .search import Search, row_text, shortened

_NOTHING_CHECKED = "none could be searched for"


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
    multiples_not_checkable : dict of int to str
        The reason for each row that was searched for as it is, and not for
        multiples of it or in sums.
    n_ids : int
        Number of different ids that were searched for, and found nowhere.
    ids_not_checkable : dict of (int or str) to str
        The reason for each id that was not searched for.
    purged : dict of str to {"yes", "cannot"}
        By place, for each estimator that knows its training rows: whether all that it
        keeps is a function of the current ones.
    purged_reason : dict of str to str
        Why an estimator cannot be purged, by place.
    membership_unknown : tuple of str
        Places of estimators that keep no rows, so that it is not known whether the rows
        are still training rows.
    """

    n_rows: int
    n_checked: int
    not_checkable: dict[int, str]
    n_arrays: int
    n_bytes: int
    multiples_not_checkable: dict[int, str] = field(default_factory=dict)
    n_ids: int = 0
    ids_not_checkable: dict[int | str, str] = field(default_factory=dict)
    purged: dict[str, str] = field(default_factory=dict)
    purged_reason: dict[str, str] = field(default_factory=dict)
    membership_unknown: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"ErasureReport({self.n_checked} of {self.n_rows} rows checked, "
            f"{self.n_arrays} arrays)"
        )

    def _repr_html_(self) -> str:
        first, *others = str(self).splitlines()
        values = {"checked": first, "besides": "\n".join(others)}
        return _html.facts("ErasureReport", values)

    def __str__(self) -> str:
        lines = []
        if self.n_rows:
            lines.append(
                f"{self.n_checked} of {self.n_rows} rows checked: {self._where}"
            )
        for what, reasons in (
            ("not checkable", self.not_checkable),
            ("multiples not checkable", self.multiples_not_checkable),
        ):
            lines += [
                f"{what}, {reason}: {row_text(rows)}"
                for reason, rows in _by_reason(reasons)
            ]
        n_ids = self.n_ids + len(self.ids_not_checkable)
        if self.n_ids:
            ids = "id" if self.n_ids == 1 else "ids"
            lines.append(f"{self.n_ids} {ids} checked: found nowhere")
        elif n_ids:
            ids = "id" if n_ids == 1 else "ids"
            lines.append(f"0 of {n_ids} {ids} checked: {_NOTHING_CHECKED}")
        if self.membership_unknown:
            lines.append(
                "not known whether they are still training rows, since no rows are "
                f"kept (store_data=False): {', '.join(self.membership_unknown)}"
            )
        lines += [
            f"ids not checkable, {reason}: {shortened(ids)}"
            for reason, ids in _by_reason(self.ids_not_checkable)
        ]
        lines += [
            f"cannot be purged, {reason}: {', '.join(places)}"
            for reason, places in _by_reason(self.purged_reason)
        ]
        return "\n".join(lines) or "nothing was given to check"

    @property
    def _where(self):
        if not self.n_checked:
            return _NOTHING_CHECKED
        if not self.n_arrays:
            return "there are no arrays to be found in"
        return f"found in none of {self.n_arrays} arrays ({self.n_bytes:,} bytes)"


def assert_erased(
    estimator: Any,
    X: Any = None,
    *,
    sample_id: Any = None,
    equal_rows: Literal["raise", "warn"] = "raise",
) -> ErasureReport:
    """Assert that removed rows are not in anything an estimator holds.

    Every array reachable from the estimator is searched for every row:

    - as it is: as float64, as float32 and in the dtype of the array, along every
      axis, and for the non-zero values of the row in order (its sparse form), entry
      by entry; also within raw memory;
    - for multiples of it, as the cached gradient of a batch of one row is: along
      every axis, anywhere in an array, and in the rows of sparse containers;
    - for what is made of it: a multiple of it and one of the centre, or of ones; or
      of sums over the rows that are still there (a mean, a moment, a first gradient,
      weighted or not, of all rows or of a class, and of squares). Besides the row,
      all rows that are given are looked for together, as if they were one;
    - for the number that it is indexed by, to be found by content.

    Estimators of this library are also asked for the gradients that follow from the
    steps they keep. A dump is searched in what it loads to, and its bytes, and
    what they decompress to, are searched for the rows as they are.

    And an estimator that was not purged since rows were removed is refused: what it
    keeps follows from them, though it holds no copy.

    Parameters
    ----------
    estimator : object, str or path-like
        A fitted estimator, a pipeline, any other object, or the path of a dump
        written by joblib, pickle or skops. Loading a dump runs the code it contains:
        only give the path of one you trust.
    X : {array-like, dataframe, sparse matrix} of shape (n_rows, n_features), \
            default=None
        The removed rows. For a :class:`~sklearn.pipeline.Pipeline`, they are given as
        they were to its `fit`, documents for example, and searched for as given,
        provided that they are finite numbers, and as transformed by the steps before
        the last. None: only ids are searched for, which tells nothing about rows that
        were copied without them.
    sample_id : array-like of int or str, default=None
        The ids of removed rows, to be searched for as well: in arrays, collections
        and attributes.
    equal_rows : {"raise", "warn"}, default="raise"
        What to do where a row that is given, or one that carries an id, is a current
        training row. "warn" is for rows that have an equal row, of somebody else, in
        the training set: such a row cannot be searched for.

    Returns
    -------
    report : ErasureReport
        What was searched, and which rows were not: rows with fewer than four
        distinct non-zero values, which could be found by chance, and, with
        ``equal_rows="warn"``, rows that an equal row in the training set has. Likewise
        of which rows no multiples were searched for: those with a multiple in the
        training set, and those whose values are evenly spaced. And which estimators
        cannot be purged.

    Raises
    ------
    AssertionError
        If a row is found. The message names the rows and the places. If a row, or one
        that carries an id, is a current training row, unless ``equal_rows="warn"``. If
        an estimator was not purged. The message says all of this, in this order.
    FileNotFoundError
        If `estimator` is a path and there is no such file.
    ImportError
        If `estimator` is the path of a dump by skops, and that is not installed.
    TypeError
        If `estimator` is a class, or neither X nor `sample_id` is given.
    ValueError
        If X is not a two-dimensional set of finite numbers (or what the steps of a
        pipeline make into one), or not as wide as the data `estimator` was fitted on.

    Warns
    -----
    UserWarning
        With ``equal_rows="warn"``, if a row that is given, or one that carries an id,
        is a current training row.

    Notes
    -----
    What an approximate edit leaves in gradients and iterates, of second order in the
    change, is not a multiple of the row and not found; `partial_refit()` clears it.
    Nor is a row that is rounded to less than single precision, or compressed
    (other than a dump), or whose entries are spread over several arrays; a row next
    to sums where there are no three columns more than there are terms; and, in a
    pipeline, the transformed row if the steps give it in another rounding now than
    in fit.

    The arrays, and the bytes of a dump, are read in portions. For 100 rows in an
    estimator fitted on 100,000 rows of 100 columns the search takes some 9 seconds on
    one core and no more memory than a few portions; in its dump of 84 MB, 23 seconds.
    """
    if X is None and (sample_id is None or np.size(sample_id) == 0):
        raise TypeError("Give the removed rows as X, or their ids as sample_id.")
    if equal_rows not in ("raise", "warn"):
        raise ValueError(f'equal_rows must be "raise" or "warn", got {equal_rows!r}.')
    path = estimator if isinstance(estimator, (str, os.PathLike)) else None
    estimator = _load(estimator)
    search = Search(estimator, _forms_of(estimator, X))
    ids, ids_not_checkable = (), {}
    with np.errstate(all="ignore"):  # raw memory, read as numbers, may be anything
        search.for_rows()
        search.for_multiples()
        search.for_sums()
        search.for_marks()
        if path is not None:
            search.in_bytes(path)
        if sample_id is not None:
            ids, ids_not_checkable = search.for_ids(sample_id)
    report = ErasureReport(
        n_rows=search.n_rows,
        n_checked=len(search.checkable),
        not_checkable=search.not_checkable,
        n_arrays=len(search.arrays),
        n_bytes=sum(array.nbytes for _, array in search.arrays),
        multiples_not_checkable=search.multiples_not_checkable,
        n_ids=len(ids),
        ids_not_checkable=ids_not_checkable,
        purged={place: state for place, (state, _, _) in search.states.items()},
        purged_reason={
            place: reason or "and no reason is given"
            for place, (state, reason, _) in search.states.items()
            if state != "yes"
        },
        membership_unknown=tuple(search.without_rows),
    )
    kept = _about_training_rows(report)
    wrong = search.findings()
    wrong += kept if equal_rows == "raise" else []
    wrong += _about_states(search.states, path is not None)
    if wrong:
        raise AssertionError("\n".join(wrong))
    for line in kept:
        warnings.warn(line, stacklevel=2)
    return report


def _about_training_rows(report):
    """Sentences about rows and ids that are given and were not removed."""
    lines = []
    rows = dict(_by_reason(report.not_checkable)).get(LIVE_ROW, [])
    if rows:
        one = len(rows) == 1
        lines.append(
            f"{len(rows)} of {report.n_rows} rows "
            + ("is a current training row, " if one else "are current training rows, ")
            + f"and {'was' if one else 'were'} not searched for: {row_text(rows)}. "
            + ("It was not removed, " if one else "They were not removed, ")
            + ("or an equal row stays. " if one else "or equal rows stay. ")
            + f"Remove {'it' if one else 'them'} first; where an equal row may stay, "
            'because it is of somebody else, pass equal_rows="warn".'
        )
    ids = dict(_by_reason(report.ids_not_checkable)).get(LIVE_ID, [])
    if ids:
        it = "it, and it was" if len(ids) == 1 else "them, and they were"
        lines.append(
            f"sample_id {shortened(ids)}: current training rows carry {it} not "
            "searched for. Remove these rows first, by unlearn(sample_id=...); where "
            'they may stay, pass equal_rows="warn".'
        )
    return lines


def _about_states(states, is_dump):
    """Sentences about estimators that keep what follows from removed rows."""
    lines = []
    for place, (state, reason, solver) in states.items():
        if state != "no":
            continue
        because = "" if reason is None else f" ({reason})"
        # Only for an optimum is a purge cheap enough to be a part of saving.
        other = "partial_refit()" if solver in ("gd", "sgd") else "save(path)"
        then = "and check it then."
        if is_dump:
            then = "save it again, and delete this dump."
        lines.append(
            f"{place} is not purged{because}: what follows from removed rows may still "
            f"be in it. Call purge() or {other} of it first, {then}"
        )
    return lines


def _by_reason(reasons):
    by_reason = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    return by_reason.items()


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
        estimator = dumps.load(estimator)
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
    if X is None:
        return [sparse.csr_array((0, 1))]
    pipelines = _fitted_pipelines(estimator)
    if not pipelines:
        return [_as_rows(X, getattr(estimator, "n_features_in_", None))]
    if isinstance(X, str):
        raise ValueError(
            f"X is one string, {shortened([X])[:40]!r}: give a list of documents, [X] "
            "for one."
        )
    if isinstance(X, Iterator):
        X = list(X)  # it is looked at twice
    if _is_documents(X):
        _check_some(len(X), (len(X),))
        return [_as_rows(steps.transform(X), None) for steps in pipelines]
    _check_two_dimensional(X)
    transformed = [_as_rows(steps.transform(X), None) for steps in pipelines]
    try:
        given = _as_rows(X, None)
    except (TypeError, ValueError):  # text, or missing values to be imputed
        return transformed
    return [given, *transformed]


def _fitted_pipelines(estimator: Any) -> list[Pipeline]:
    """Give the steps before the last of every fitted pipeline to a model in an object.

    A search holds the pipeline that it chose, and a log may hold several: their models
    know the rows as these steps transform them.
    """
    found = {}
    for _, obj in iter_objects(estimator):
        # By its type: an object may run code when it is asked for its class.
        if not issubclass(type(obj), Pipeline) or len(obj.steps) < 2:
            continue
        if obj is estimator or _ends_in_a_model(obj):
            found[id(obj)] = obj[:-1]
    return list(found.values())


def _ends_in_a_model(pipeline: Pipeline) -> bool:
    try:
        check_is_fitted(pipeline)
    except NotFittedError:
        return False
    return any(
        issubclass(type(obj), LiveRows) for _, obj in iter_objects(pipeline.steps[-1])
    )


def _is_documents(X: Any) -> bool:
    """Tell whether X is a sequence of rows that are no numbers, such as texts."""
    if sparse.issparse(X) or getattr(X, "ndim", 1) != 1:
        return False
    try:
        X = np.asarray(X)
    except ValueError:  # lists of words, of different lengths
        return True
    return X.ndim == 1 and X.dtype.kind not in "biufc"


def _check_two_dimensional(X: Any) -> None:
    ndim = X.ndim if hasattr(X, "ndim") else np.ndim(X)
    if ndim != 2:
        shape = X.shape if hasattr(X, "shape") else np.shape(X)
        raise ValueError(
            f"X must have shape (n_rows, n_features), got shape {tuple(shape)}. Use "
            "X.reshape(1, -1) if X is a single row."
        )


def _check_some(n_rows: int, shape: tuple) -> None:
    if n_rows == 0:
        raise ValueError(
            f"X has shape {shape}: there is no row to search for. Give the rows "
            "that were removed."
        )


def _as_numbers(X: Any) -> np.ndarray:
    try:
        return np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"X holds what is no number: {error}. If it was transformed before fit, "
            "pass the pipeline as estimator, or X as its steps transform it."
        ) from error


def _as_rows(X: Any, n_features: int | None) -> sparse.csr_array:
    """Validate X and convert it to float64, with the non-zero values in order."""
    if _is_documents(X):
        X = _as_numbers(X)
    _check_two_dimensional(X)
    if not sparse.issparse(X):
        X = _as_numbers(X)
    rows = sparse.csr_array(X, dtype=np.float64, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    _check_some(rows.shape[0], rows.shape)
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
