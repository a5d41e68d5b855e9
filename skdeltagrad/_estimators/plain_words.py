"""Edits under the words that people use for them.

They do what `partial_unfit` and `partial_refit` do, whose names follow scikit-learn's
`partial_fit`; reports say the word that was called.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

from numpy.typing import ArrayLike

from .._reports.plan import EditPlan
from .._utils.lock import one_at_a_time
from .._utils.typing import Ids, MatrixLike, OnMissing, Positions


class PlainWords:
    """An estimator with edits that are called unlearn, add and correct."""

    @abstractmethod
    def _unfit(self, operation, *request) -> Any:
        """Remove rows: see `partial_unfit` for the request, in the same order."""

    @abstractmethod
    def _refit(self, operation, *request) -> Any:
        """Add or correct rows: see `partial_refit` for the request."""

    plan_unfit: Any

    @one_at_a_time
    def unlearn(
        self, X: MatrixLike | None = None, y: ArrayLike | None = None, *,
        position: Positions | None = None, sample_id: Ids | None = None,
        sample_weight: ArrayLike | None = None, on_missing: OnMissing = "raise",
        request_id: str | int | None = None,
    ) -> Self:  # fmt: skip
        """Remove training rows: the same as `partial_unfit`.

        Parameters
        ----------
        X, y : default=None
            The rows as they were given to `fit`, and their targets; or else
        position, sample_id : default=None
            their numbers in `fit`, or ids.
        sample_weight, on_missing, request_id
            See `partial_unfit`.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, IndexError, KeyError
            As for `partial_unfit`.
        """
        return self._unfit(
            "unlearn", X, y, position, sample_id, sample_weight, on_missing, request_id
        )

    def plan_unlearn(
        self, X: MatrixLike | None = None, y: ArrayLike | None = None, **kwargs: Any
    ) -> EditPlan:
        """Predict the cost of `unlearn` without running it: the same as `plan_unfit`.

        Parameters
        ----------
        X, y, **kwargs
            See `plan_unfit`.

        Returns
        -------
        plan : EditPlan
        """
        return self.plan_unfit(X, y, **kwargs)

    @one_at_a_time
    def add(
        self, X: MatrixLike, y: ArrayLike, *, sample_id: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None, request_id: str | int | None = None,
    ) -> Self:  # fmt: skip
        """Add training rows: the same as ``partial_refit(X, y)``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features)
            The new rows. Their positions follow those that were given out before.
        y : array-like of shape (n_rows,) or (n_rows, n_targets)
            Their targets.
        sample_id : array-like of shape (n_rows,), default=None
            Their ids; required if `fit` was given ids.
        sample_weight : array-like of shape (n_rows,) or float, default=None
            Their weights. None: 1.
        request_id : str or int, default=None
            The caller's name for the request; the report contains it.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            As for `partial_refit`.
        """
        return self._refit(
            "add", _required(X, "X"), y, None, sample_id, sample_weight, False, None,
            None, "raise", request_id,
        )  # fmt: skip

    @one_at_a_time
    def correct(
        self, X: MatrixLike, y: ArrayLike, *, position: Positions | None = None,
        sample_id: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
        on_missing: OnMissing = "raise", request_id: str | int | None = None,
    ) -> Self:  # fmt: skip
        """Replace training rows: the same as ``partial_refit(X, y, replace=True)``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features)
            The rows as they should have been.
        y : array-like of shape (n_rows,) or (n_rows, n_targets)
            Their targets.
        position : int, slice or array-like of int or bool, default=None
            Which rows they replace, one for each.
        sample_id : array-like of shape (n_rows,), default=None
            Ids of the new rows. Without `position`, all rows that have one of them are
            replaced.
        sample_weight : array-like of shape (n_rows,) or float, default=None
            Their weights. None: 1.
        on_missing, request_id
            See `partial_refit`.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, IndexError, KeyError
            As for `partial_refit`.
        """
        return self._refit(
            "correct", _required(X, "X"), y, position, sample_id, sample_weight, True,
            None, None, on_missing, request_id,
        )  # fmt: skip


def _required(value, name):
    if value is None:
        raise ValueError(
            f"{name} is None: give the new rows. partial_refit() without arguments "
            "retrains."
        )
    return value
