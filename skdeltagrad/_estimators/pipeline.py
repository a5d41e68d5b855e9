"""Removing training rows from a fitted pipeline."""

from __future__ import annotations

from typing import Any, TypeVar

from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline

from .._utils.typing import MatrixLike
from .base import BaseDeltaGrad

_Model = TypeVar("_Model", Pipeline, BaseDeltaGrad)


def unlearn(
    pipeline: _Model,
    X: MatrixLike | None = None,
    y: ArrayLike | None = None,
    **kwargs: Any,
) -> _Model:
    """Remove rows from the last step of a fitted pipeline, given untransformed.

    The rows are transformed by the fitted transformers, and the last step removes the
    transformed rows. Rows can also be named by `sample_id` or `position`. The
    transformers are not changed: what they learned from the rows, for example a mean,
    stays.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted; its last step is an estimator of this library. Such an estimator can
        also be given without a pipeline.
    X : array-like or DataFrame of shape (n_rows, n_features), default=None
        The rows as they were given to ``pipeline.fit``.
    y : array-like of shape (n_rows,) or (n_rows, n_targets), default=None
        Their targets; required with `X`.
    **kwargs
        Passed on to `partial_unfit`: `sample_id` or `position` instead of `X`,
        `sample_weight`, `on_missing`, `request_id`.

    Returns
    -------
    pipeline : Pipeline
        The same object.

    Raises
    ------
    TypeError
        When the last step is not an estimator of this library, or when a step before it
        resamples the rows: then the last step was fitted on copies of rows, or on rows
        made from several given ones.
    """
    last = pipeline[-1] if isinstance(pipeline, Pipeline) else pipeline
    if not isinstance(last, BaseDeltaGrad):
        raise TypeError(
            "pipeline must be a Pipeline whose last step is an estimator of "
            f"skdeltagrad, got {type(last).__name__} at the end. For a search, pass "
            "its best_estimator_."
        )
    if isinstance(pipeline, Pipeline) and len(pipeline) > 1:
        _refuse_samplers(pipeline)
        X = None if X is None else pipeline[:-1].transform(X)
    last.partial_unfit(X, y, **kwargs)
    return pipeline


def _refuse_samplers(pipeline):
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
