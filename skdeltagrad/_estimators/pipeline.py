"""Unlearning through a fitted pipeline."""

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
    """Remove rows from the last step of a fitted pipeline, given as they were raw.

    The rows go through the fitted transformers, and the last step forgets the
    transformed rows. Or they are named by `sample_id` or `position`. The transformers
    are not changed: what they learned from the rows, a mean for example, stays.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted; its last step is an estimator of this library. An estimator of this
        library alone will do, too.
    X : array-like or DataFrame of shape (n_rows, n_features), default=None
        The rows as they were given to ``pipeline.fit``.
    y : array-like of shape (n_rows,) or (n_rows, n_targets), default=None
        Their targets; needed with `X`.
    **kwargs
        Passed on to `partial_unfit`: `sample_id` or `position` in place of `X`,
        `sample_weight`, `on_missing`, `request_id`.

    Returns
    -------
    pipeline : Pipeline
        The same object.

    Raises
    ------
    TypeError
        When the last step cannot unlearn, or a step before it resamples the rows: the
        last step was fitted on copies, or on rows made of several given ones.
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
                f"The step {name!r} of pipeline resamples the rows: what of them the "
                "last step was fitted on cannot be told by content. If it picks rows, "
                "pipeline[-1].unlearn(position=np.flatnonzero(np.isin("
                f"pipeline[{name!r}].sample_indices_, positions))) removes every copy "
                "of those at some positions in fit. If it makes rows, fit again "
                "without them."
            )
