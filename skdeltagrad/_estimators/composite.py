"""Edits of fitted pipelines, and of other estimators that contain ours.

The rows are given as they were to the ``fit`` of the whole. On their way to the
estimators of this library they are transformed as in ``fit``, by the transformers as
they are: what these learned from removed rows, for example a mean, stays.

An edit is passed on where the result is what a new fit of the parts on the remaining
rows would be. Where parts were fitted on predictions for removed rows, or on samples of
the rows, it is not, and an error says what to do instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._reports.plan import EditPlan, together
from .._utils.typing import MatrixLike
from .base import BaseDeltaGrad

_Model = TypeVar("_Model", bound=BaseEstimator)

# Why rows cannot be edited through an estimator, and what to do, by its class.
_OF_SEARCHES = (
    "it chose its parameters with the rows that are to be removed. Pass its "
    "best_estimator_, and search again if the choice matters"
)
_NOT_EXACT = {
    "GridSearchCV": _OF_SEARCHES,
    "RandomizedSearchCV": _OF_SEARCHES,
    "HalvingGridSearchCV": _OF_SEARCHES,
    "HalvingRandomSearchCV": _OF_SEARCHES,
    "CalibratedClassifierCV": (
        "its calibrators were fitted on predictions for the rows that are to be "
        "removed. Edit the classifier inside, and calibrate it again, wrapped in "
        "FrozenEstimator, on rows that stay"
    ),
    "StackingClassifier": (
        "its final estimator was fitted on predictions for the rows that are to be "
        "removed, by models that are gone. Fit it again without them"
    ),
    "BaggingClassifier": (
        "its estimators were fitted on samples of the rows, and without some rows "
        "they would be other samples. Fit it again without them"
    ),
    "OneVsOneClassifier": (
        "each of its estimators was fitted on the rows of two classes, under positions "
        "of their own. Use DeltaGradLogisticRegression alone, which takes any number "
        "of classes, or OneVsRestClassifier"
    ),
}
_NOT_EXACT["StackingRegressor"] = _NOT_EXACT["StackingClassifier"]
_NOT_EXACT["BaggingRegressor"] = _NOT_EXACT["BaggingClassifier"]


def unlearn(
    model: _Model,
    X: MatrixLike | None = None,
    y: ArrayLike | None = None,
    **kwargs: Any,
) -> _Model:
    """Remove rows from a fitted pipeline, or another estimator that contains ours.

    The rows are given untransformed. They pass through fitted transformers, which are
    not changed: what these learned from the rows, for example a mean, stays. Every
    estimator of this library inside forgets the rows, or none does if anything fails.

    Parameters
    ----------
    model : Pipeline, VotingClassifier, VotingRegressor, OneVsRestClassifier, \
TransformedTargetRegressor, FrozenEstimator or an estimator of this library
        Fitted; also one inside of another.
    X : array-like or DataFrame of shape (n_rows, n_features), default=None
        The rows as they were given to ``model.fit``.
    y : array-like of shape (n_rows,) or (n_rows, n_targets), default=None
        Their targets, likewise; required with `X`.
    **kwargs
        Passed on to `partial_unfit`: `sample_id` or `position` instead of `X`,
        `sample_weight`, `on_missing`, `request_id`.

    Returns
    -------
    model : object
        The same object.

    Raises
    ------
    TypeError
        When there is no estimator of this library inside, or where the result would not
        be that of a fit without the rows: for searches, calibration, bagging, stacking,
        and pipelines that resample rows.
    """
    _all_or_none("unlearn", _parts(model, X, y), kwargs)
    return model


def partial_refit(
    model: _Model,
    X: MatrixLike | None = None,
    y: ArrayLike | None = None,
    **kwargs: Any,
) -> _Model:
    """Add or correct rows of a fitted pipeline, or retrain its last step exactly.

    Parameters
    ----------
    model, X, y
        As for `unlearn`, with the rows to add or the corrected ones. Without any
        arguments the estimators of this library inside are fitted again.
    **kwargs
        Passed on to `partial_refit` of the estimators.

    Returns
    -------
    model : object
        The same object.

    Raises
    ------
    TypeError
        As for `unlearn`.
    """
    _all_or_none("partial_refit", _parts(model, X, y), kwargs)
    return model


def plan_unfit(
    model: BaseEstimator,
    X: MatrixLike | None = None,
    y: ArrayLike | None = None,
    **kwargs: Any,
) -> EditPlan:
    """Predict the cost of `unlearn` without running it.

    Parameters and errors are those of `unlearn`.

    Returns
    -------
    plan : EditPlan
        The work of all estimators inside together.
    """
    parts = _parts(model, X, y)
    return together([part.plan_unfit(X, y, **kwargs) for part, X, y in parts])


def purge(model: _Model, *, exact: bool = False) -> _Model:
    """Purge every estimator of this library inside of a fitted pipeline.

    Parameters
    ----------
    model
        As for `unlearn`.
    exact : bool, default=False
        As for `purge` of the estimators.

    Returns
    -------
    model : object
        The same object.

    Raises
    ------
    TypeError
        As for `unlearn`.
    """
    for part, _, _ in _parts(model, None, None):
        part.purge(exact=exact)
    return model


def _all_or_none(method, parts, kwargs):
    """Edit one estimator after the other; if one of them fails, none has changed.

    Each is edited inside of the edit before, by its callback: an error that a callback
    raises undoes the edit.
    """
    (part, X, y), *others = parts
    given = part.callback

    def go_on(report):
        if given is not None:
            given(report)
        _all_or_none(method, others, kwargs)

    if others:
        part.callback = go_on
    try:
        getattr(part, method)(X, y, **kwargs)
    finally:
        part.callback = given


def _parts(model, X, y):
    """Return the estimators of this library inside of another one, and their rows.

    Returns
    -------
    parts : list of tuple
        Of an estimator, and X and y as they were given to its ``fit``.
    """
    if isinstance(model, BaseDeltaGrad):
        return [(model, X, y)]
    for kind, open_up in _WAYS.items():
        if isinstance(model, kind):
            if kind is not Pipeline:
                check_is_fitted(model)
            inside = open_up(model, X, y)
            return [part for one in inside for part in _parts(*one)]
    name = type(model).__name__
    if name in _NOT_EXACT:
        raise TypeError(f"Rows cannot be edited in a {name}: {_NOT_EXACT[name]}.")
    raise TypeError(
        "model must be an estimator of skdeltagrad, or a Pipeline, a Voting ensemble, "
        "a OneVsRestClassifier, a TransformedTargetRegressor or a FrozenEstimator with "
        f"one at the end; at the end of this one is a {name}."
    )


def _in_pipeline(pipeline, X, y):
    for name, step in pipeline.steps[:-1]:
        if hasattr(step, "fit_resample"):
            raise TypeError(
                f"The step {name!r} of pipeline resamples the rows, so that rows of "
                "the last step cannot be found by content. If it selects rows, "
                "pipeline[-1].unlearn(position=np.flatnonzero(np.isin("
                f"pipeline[{name!r}].sample_indices_, positions))) removes every copy "
                "of those at some positions in fit. If it makes new rows, fit again "
                "without the given ones."
            )
    _parts(pipeline[-1], None, None)  # a wrong last step is said before all else
    if X is not None and len(pipeline) > 1:
        X = pipeline[:-1].transform(X)
    return [(pipeline[-1], X, y)]


def _with_targets(model, X, y):
    """The regressor behind transformed targets, which are transformed as in its fit."""
    if y is not None:
        y = np.asarray(y)
        y = model.transformer_.transform(y.reshape(-1, 1) if y.ndim == 1 else y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y.squeeze(axis=1)
    return [(model.regressor_, X, y)]


def _voters(model, X, y):
    if y is not None and isinstance(model, VotingClassifier):
        y = model.le_.transform(y)
    return [(voter, X, y) for voter in model.estimators_]


def _against_the_rest(model, X, y):
    columns = [None] * len(model.estimators_)
    if y is not None:
        unknown = [] if model.multilabel_ else np.setdiff1d(y, model.classes_)
        if len(unknown):
            raise ValueError(
                f"y contains labels that the OneVsRestClassifier was not fitted on, "
                f"{unknown.tolist()}: it has no estimator for them. Fit it again."
            )
        columns = model.label_binarizer_.transform(y).toarray().T
    return [
        (one, X, column) for one, column in zip(model.estimators_, columns, strict=True)
    ]


def _unfrozen(model, X, y):
    return [(model.estimator, X, y)]


# How to get to the estimators inside, by the class of the one around them.
_WAYS: dict[Any, Callable] = {
    Pipeline: _in_pipeline,
    TransformedTargetRegressor: _with_targets,
    VotingClassifier: _voters,
    VotingRegressor: _voters,
    OneVsRestClassifier: _against_the_rest,
    FrozenEstimator: _unfrozen,
}
