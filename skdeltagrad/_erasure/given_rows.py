"""The removed rows that are given, in each form in which an object may hold them."""

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from sklearn.pipeline import Pipeline

from .exemptions import knows_rows
from .object_graph import iter_objects
from .report import shortened


def forms_of(estimator, X):
    """Return the forms of X that an estimator may hold, as CSR arrays of float64.

    For pipelines these are the rows as given, if they are numbers, and as the steps
    before the last transform them.
    """
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
    if not _is_documents(X):
        _check_two_dimensional(X)
    transformed = [_as_rows(steps.transform(X)) for steps in pipelines]
    try:
        given = [] if _is_documents(X) else [_as_rows(X)]
    except (TypeError, ValueError):  # text, or missing values to be imputed
        given = []
    return given + transformed


def _fitted_pipelines(estimator):
    """Return the steps before the last of each pipeline that ends in a fitted model.

    A search for parameters holds the pipeline that it chose, and a log may hold
    several: their models know the rows as these steps transform them.
    """

    def is_known(obj):
        last = iter_objects(obj.steps[-1])
        return obj is estimator or any(knows_rows(part) for _, part in last)

    return [
        obj[:-1]
        for _, obj in iter_objects(estimator)
        if issubclass(type(obj), Pipeline) and len(obj.steps) > 1 and is_known(obj)
    ]


def _is_documents(X):
    """Tell whether X is a sequence of rows that are no numbers, such as texts."""
    if sparse.issparse(X) or getattr(X, "ndim", 1) != 1:
        return False
    try:
        X = np.asarray(X)
    except ValueError:  # lists of words, of different lengths
        return True
    return X.ndim == 1 and X.dtype.kind not in "biufc"


def _check_two_dimensional(X):
    shape = X.shape if hasattr(X, "shape") else np.shape(X)
    if len(shape) != 2:
        raise ValueError(
            f"X must have shape (n_rows, n_features), got shape {tuple(shape)}. Use "
            "X.reshape(1, -1) if X is a single row."
        )


def _as_rows(X, n_features=None):
    """Validate X and convert it to float64, with the non-zero values in order."""
    if not sparse.issparse(X):
        try:
            X = np.asarray(X, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"X holds what is no number: {error}. If it was transformed before "
                "fit, pass the pipeline as estimator, or X as its steps transform it."
            ) from error
    _check_two_dimensional(X)
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
