"""A model of the newest rows only: new ones join, and old ones leave, in one edit."""

from __future__ import annotations

from datetime import timedelta
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._utils.sklearn_compat import safe_indexing
from .._utils.typing import MatrixLike
from .base import BaseDeltaGrad


def _estimator_has(name):
    return available_if(lambda window: hasattr(_inner(window), name))


def _inner(window):
    return getattr(window, "estimator_", window.estimator)


class RollingWindow(MetaEstimatorMixin, BaseEstimator):
    """An estimator that is fitted on the newest rows: a number of them, or an age.

    `partial_fit` adds rows and removes those that are no longer in the window, in one
    edit. The model is then that of a fit to the rows in the window, to within
    `edit_tol` of the estimator, at the cost of an edit.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression, DeltaGradRidge or DeltaGradPoissonRegressor
        It is cloned.
    n_rows : int, default=None
        The window holds at most so many rows, the last ones that were given.
    max_age : float, timedelta or numpy.timedelta64, default=None
        The window holds rows whose time is later than that of the newest row minus
        this. Exactly one of `n_rows` and `max_age` must be given.

    Attributes
    ----------
    estimator_ : estimator
        The fitted one. It can be edited, for example to erase or correct rows.
    times_ : ndarray of shape (`n_samples_`,) or None
        Times of the rows in the window, in the order of `estimator_.positions_`; None
        where none were given.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeltagrad import DeltaGradRidge, RollingWindow
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(500, 3)), rng.normal(size=500)
    >>> window = RollingWindow(DeltaGradRidge(), n_rows=200).fit(X[:300], y[:300])
    >>> window = window.partial_fit(X[300:], y[300:])
    >>> window.estimator_.n_samples_
    200
    >>> window.estimator_.update_report_.n_removed
    200
    """

    def __init__(
        self,
        estimator: BaseDeltaGrad,
        *,
        n_rows: int | None = None,
        max_age: float | timedelta | np.timedelta64 | None = None,
    ):
        self.estimator = estimator
        self.n_rows = n_rows
        self.max_age = max_age

    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        time: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        sample_id: ArrayLike | None = None,
    ) -> Self:
        """Fit a new model to those of the rows that are in the window.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features)
            Rows, the oldest first.
        y : array-like of shape (n_rows,) or (n_rows, n_targets)
            Their targets.
        time : array-like of shape (n_rows,), default=None
            Numbers or dates; required with `max_age`. They may be in any order.
        sample_weight : array-like of shape (n_rows,), default=None
            Weights of the rows.
        sample_id : array-like of shape (n_rows,), default=None
            Ids of the rows.

        Returns
        -------
        self : object
        """
        self._check_window()
        times = self._checked_time(time, _length(y))
        stays = self._is_inside(times, _length(y))
        estimator = self._to_be_fitted()
        given = {"sample_weight": sample_weight, "sample_id": sample_id}
        given = {name: _some(value, stays) for name, value in given.items()}
        estimator.fit(_some(X, stays), _some(y, stays), **given)
        self.estimator_ = estimator
        self._positions = estimator.positions_
        self._times = None if times is None else times[stays]
        return self

    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        time: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        sample_id: ArrayLike | None = None,
    ) -> Self:
        """Add rows, and remove those that are not in the window any more.

        Parameters are those of `fit`, which is called if there is no model yet. If an
        error is raised, nothing has changed.

        Returns
        -------
        self : object
        """
        if not hasattr(self, "estimator_"):
            return self.fit(
                X, y, time=time, sample_weight=sample_weight, sample_id=sample_id
            )
        self._check_window()
        n_new, positions = _length(y), self.estimator_.positions_
        time, times = self._checked_time(time, n_new), self._times
        if (time is None) != (times is None):
            raise ValueError(
                "time must be given to all calls or to none, and "
                f"{'is missing' if time is None else 'fit was given none'}."
            )
        if times is not None:
            times = np.concatenate([self._times_at(positions), time])
        stays = self._is_inside(times, len(positions) + n_new)
        old, new = np.split(stays, [len(positions)])
        given = {"sample_weight": sample_weight, "sample_id": sample_id}
        given = {name: _some(value, new) for name, value in given.items()}
        leaving = positions[~old] if not old.all() else None
        rows = (_some(X, new), _some(y, new)) if new.any() else ()
        if rows or leaving is not None:
            self.estimator_.partial_refit(*rows, remove_position=leaving, **given)
        self._positions = self.estimator_.positions_
        self._times = None if times is None else times[stays]
        return self

    @property
    def times_(self) -> np.ndarray | None:
        """Times of the rows in the window, in the order of their positions."""
        check_is_fitted(self, "estimator_")
        if self._times is None:
            return None
        return self._times_at(self.estimator_.positions_)

    def _to_be_fitted(self):
        """Return a clone; but a store can be replaced by its own estimator only."""
        known = getattr(self, "estimator_", None)
        if self.estimator.store is not None and type(known) is type(self.estimator):
            return known.set_params(**self.estimator.get_params())
        return clone(self.estimator)

    def _times_at(self, positions):
        """Times of rows that are still there, whoever has removed others."""
        places = np.searchsorted(self._positions, positions)
        if len(positions) and positions[-1] > self._positions[-1]:
            raise ValueError(
                "Rows were added to estimator_ directly, and the window does not know "
                "their times. Add rows by partial_fit of the window; rows may be "
                "removed and corrected in estimator_."
            )
        return self._times[places]

    def _is_inside(self, times, n_rows):
        """Return which rows, oldest first, are in the window."""
        if self.n_rows is not None:
            return np.arange(n_rows) >= n_rows - self.n_rows
        return times > times.max() - self.max_age if n_rows else np.zeros(0, bool)

    def _check_window(self):
        if not isinstance(self.estimator, BaseDeltaGrad):
            raise TypeError(
                "estimator must be one of skdeltagrad, got "
                f"{type(self.estimator).__name__}."
            )
        if (self.n_rows is None) == (self.max_age is None):
            raise ValueError(
                f"Give exactly one of n_rows and max_age, got n_rows={self.n_rows!r} "
                f"and max_age={self.max_age!r}."
            )
        is_count = isinstance(self.n_rows, Integral) and self.n_rows > 0
        if self.n_rows is not None and not is_count:
            raise ValueError(
                f"n_rows must be an integer of 1 or more, got {self.n_rows!r}."
            )
        if self.max_age is not None and not _is_positive(self.max_age):
            raise ValueError(
                "max_age must be a positive number or time difference, got "
                f"{self.max_age!r}."
            )

    def _checked_time(self, time, n_rows):
        if time is None:
            if self.max_age is not None:
                raise ValueError(
                    "time is missing: with max_age every row needs a time."
                )
            return None
        time = np.asarray(time)
        if time.shape != (n_rows,):
            raise ValueError(
                f"time has shape {time.shape} and y has {n_rows} rows: give one time "
                "for each row."
            )
        if time.dtype.kind not in "iufM":
            raise ValueError(
                f"time must hold numbers or dates (datetime64), got {time.dtype}. "
                "pandas.to_datetime converts strings."
            )
        if np.isnat(time).any() if time.dtype.kind == "M" else np.isnan(time).any():
            raise ValueError("time contains missing values: give every row a time.")
        is_date = isinstance(self.max_age, timedelta | np.timedelta64)
        if self.max_age is not None and is_date != (time.dtype.kind == "M"):
            raise ValueError(
                f"max_age={self.max_age!r} and time of dtype {time.dtype} do not go "
                "together: give dates and a time difference, or numbers for both."
            )
        return time

    # What the estimator can do.

    @_estimator_has("predict")
    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict by the model of the rows in the window: see the estimator."""
        return self._fitted().predict(X)

    @_estimator_has("predict_proba")
    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Predict probabilities: see the estimator."""
        return self._fitted().predict_proba(X)

    @_estimator_has("decision_function")
    def decision_function(self, X: MatrixLike) -> np.ndarray:
        """Return decision values: see the estimator."""
        return self._fitted().decision_function(X)

    @_estimator_has("score")
    def score(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the score of the estimator."""
        return self._fitted().score(X, y, sample_weight=sample_weight)

    @property
    def classes_(self) -> np.ndarray:
        """Labels of the classes, of a classifier."""
        return self._fitted().classes_

    def _fitted(self):
        check_is_fitted(self, "estimator_")
        return self.estimator_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = self.estimator.__sklearn_tags__()
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags, tags.regressor_tags = (
            inner.classifier_tags,
            inner.regressor_tags,
        )
        tags.input_tags.sparse = inner.input_tags.sparse
        return tags


def _length(y):
    return np.shape(y)[0]


def _some(rows, chosen):
    """Return some rows of an array, a matrix or a frame, and None for None."""
    if rows is None or chosen.all() or np.isscalar(rows):
        return rows
    return safe_indexing(rows, np.flatnonzero(chosen))


def _is_positive(age):
    if isinstance(age, timedelta | np.timedelta64):  # the latter is a Real, too
        return np.timedelta64(age) > np.timedelta64(0)
    return isinstance(age, Real) and 0 < age < np.inf and not isinstance(age, bool)
