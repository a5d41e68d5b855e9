"""What single training rows, or groups of them, mean to a fitted model.

Every function looks at a fitted estimator of this library without changing it, and asks
what the model would be without each row (or without all rows of each group): by one
Hessian for all of them with ``solver="newton"``, by replays of the path with "gd" and
"sgd". Edits of the estimator in other threads wait until it is done.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier

from .._estimators.base import BaseDeltaGrad
from .._utils import memory
from .._utils.lock import one_at_a_time
from .._utils.typing import Groups, MatrixLike
from ._driver import Sweep
from ._results import DataValues, Influence, Jackknife, LeaveOneOut
from ._scores import score_of

# Predictions that are made at a time, and those of all models for a chunk of rows.
_ENTRIES = 2**20
_CHUNK_ENTRIES = 2**22


@one_at_a_time
def leave_one_out(
    estimator: BaseDeltaGrad,
    *,
    X: MatrixLike | None = None,
    groups: Groups = None,
    tol: float = 0.1,
    return_coef: bool = False,
    verbose: int = 0,
) -> LeaveOneOut:
    """Every training row as the model without it sees it.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression or DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed.
    X : {array-like, sparse matrix} of shape (n_rows, n_features), default=None
        Rows that all the models are to predict, too. Takes n_units x n_rows numbers.
    groups : "sample_id" or array-like of shape (n_samples,), default=None
        Rows that leave together: those that share an id, or a label; labels are given
        for the rows that are there, in the order of their positions. None: every row
        by itself.
    tol : float, default=0.1
        For log-losses with "newton": how far each model may be from a fit without the
        unit, as a share of the way that it moves; by a bound, which is often ten times
        the error. Most models take no pass over the rows for it; others take a few.
        ``np.inf``: none does. Edits of other kinds are held to `edit_tol` of the
        estimator, and squared errors with "newton" are exact.
    return_coef : bool, default=False
        Whether to keep the coefficients of all models: n_units x n_features numbers.
    verbose : int, default=0
        If positive, a line is printed now and then.

    Returns
    -------
    result : LeaveOneOut

    Raises
    ------
    ValueError
        When the estimator has no rows, or `groups` or `X` do not fit.
    MemoryError
        When what was asked for does not fit into memory.

    Warns
    -----
    FitFailedWarning
        When there is no such model without a unit, because a class or everything would
        be gone: its entries are NaN, and the predicted labels of its rows NaN or None.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skdeltagrad import DeltaGradRidge
    >>> from skdeltagrad.inspection import leave_one_out
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = DeltaGradRidge(alpha=0.1).fit(X, y)
    >>> result = leave_one_out(model)
    >>> float(((y - result.predictions) ** 2).mean().round(1))
    3004.6
    """
    sweep = Sweep.of(estimator, groups, tol, verbose)
    sweep.warn_of_undefined()
    n_units, (n_outputs, n_dof) = sweep.n_units, sweep.iterate.shape
    own = np.full((len(sweep.objective.weight), n_outputs), np.nan)
    influence, error = np.full((2, n_units), np.nan)
    models = _nothing((n_units, n_outputs, n_dof), return_coef, "coefficients")
    rows = None if X is None else sweep.rows_of(X)
    shape = (n_units, 0 if X is None else len(rows), n_outputs)
    of_X = _nothing(shape, X is not None, "predictions of X")

    def use(_, left):
        influence[left.units] = left.influence
        error[left.units] = left.error
        iterates = sweep.iterate + left.changes
        own[left.indices] = sweep.own_predictions(left)
        if return_coef:
            models[left.units] = iterates
        if rows is not None:
            for block, raw in rows.raw_predictions(iterates, _ENTRIES):
                of_X[left.units, block] = raw.swapaxes(0, 1)

    sweep.run(use)
    decision_values = own[sweep.indices]
    coef = intercept = None
    if return_coef:
        coef, intercept = (_squeezed(part, 1) for part in sweep.published(models))
    return LeaveOneOut(
        sweep.names, sweep.positions, sweep.unit,
        _squeezed(decision_values, 1), _predictions(estimator, decision_values),
        influence, error, coef, intercept,
        None if X is None else _squeezed(of_X, 2),
    )  # fmt: skip


@one_at_a_time
def jackknife(
    estimator: BaseDeltaGrad,
    statistic: Callable[..., ArrayLike] | None = None,
    *,
    groups: Groups = None,
    tol: float = 0.1,
    verbose: int = 0,
) -> Jackknife:
    """Bias and standard errors by leaving out one row, or one group, at a time.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression or DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed.
    statistic : callable, default=None
        ``statistic(coef, intercept)`` gives a number or an array; its arguments have
        the shapes of `coef_` and `intercept_`. None: the coefficients and, with
        ``fit_intercept=True``, the intercept behind them, shape (n_features + 1,) or
        (n_outputs, n_features + 1).
    groups, tol, verbose
        See `leave_one_out`. Groups are taken to be independent of each other.

    Returns
    -------
    result : Jackknife

    Raises
    ------
    ValueError
        When there is no such model without one of the units.

    References
    ----------
    B. Efron, C. Stein, "The jackknife estimate of variance", Annals of Statistics
    9(3), 1981.
    """
    sweep = Sweep.of(estimator, groups, tol, verbose)
    sweep.refuse_undefined()
    statistics = _statistics_of(sweep, statistic)
    estimate = statistics(sweep.iterate[np.newaxis])[0]
    sums = {}

    def use(number, left):
        mine = sweep.counts[left.units]  # others do not count as rows
        change = statistics(sweep.iterate + left.changes[mine]) - estimate
        sums[number] = change.sum(axis=0), (change**2).sum(axis=0)

    n_blocks = sweep.run(use, serially=statistic is not None)
    n = int(sweep.counts.sum())
    first, second = (
        sum(sums[number][which] for number in range(n_blocks)) for which in (0, 1)
    )
    spread = np.maximum(second - first**2 / n, 0.0)
    return Jackknife(
        estimate, (n - 1) / n * first, np.sqrt((n - 1) / n * spread), n
    )  # fmt: skip


@one_at_a_time
def jackknife_plus(
    estimator: BaseDeltaGrad,
    X: MatrixLike,
    *,
    alpha: float = 0.1,
    method: str = "plus",
    groups: Groups = None,
    verbose: int = 0,
) -> np.ndarray:
    """Prediction intervals by the jackknife+.

    An interval holds the target of a new row with probability at least 1 - 2 alpha
    whatever the distribution, if the rows are exchangeable, and about 1 - alpha in
    practice; at least 1 - alpha for ``method="minmax"``, which is wider [1]_.

    Parameters
    ----------
    estimator : DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed.
    X : {array-like, sparse matrix} of shape (n_rows, n_features)
        New rows. They are predicted in chunks.
    alpha : float, default=0.1
        Share of the targets that may be outside.
    method : {"plus", "minmax"}, default="plus"
        "plus" takes quantiles of the leave-one-out predictions with their residuals
        added or taken off, "minmax" the extreme ones with a quantile of the residuals.
    groups, verbose
        See `leave_one_out`: with groups, residuals are those without the row's group.

    Returns
    -------
    lower, upper : ndarray of shape (n_rows,) or (n_rows, n_targets)
        Infinite where there are too few training rows for so small an alpha.

    Raises
    ------
    TypeError
        When the estimator is a classifier.
    ValueError
        When `alpha` or `method` is none, or there is no model without one of the
        units.

    References
    ----------
    .. [1] R. F. Barber, E. J. Candes, A. Ramdas, R. J. Tibshirani, "Predictive
       inference with the jackknife+", Annals of Statistics 49(1), 2021.
    """
    sweep = Sweep.of(estimator, groups, 0.1, verbose)
    if is_classifier(estimator):
        raise TypeError(
            "estimator must be a regressor, got "
            f"{type(estimator).__name__}: an interval of labels means nothing. "
            "leave_one_out gives leave-one-out decision values."
        )
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}.")
    if method not in ("plus", "minmax"):
        raise ValueError(f'method must be "plus" or "minmax", got {method!r}.')
    sweep.refuse_undefined()
    table = estimator._training_set.table
    counting = table.weight[sweep.indices] > 0
    own = np.empty(table.y.shape)

    def keep_residuals(_, left):
        predictions = estimator._predictions(sweep.own_predictions(left))
        own[left.indices] = np.abs(table.y[left.indices] - predictions)

    sweep.run(keep_residuals)
    residuals = own[sweep.indices[counting]][:, np.newaxis]
    rows = sweep.rows_of(X)
    n_outputs = len(sweep.iterate)
    lower, upper = np.empty((2, len(rows), n_outputs))
    size = max(1, _CHUNK_ENTRIES // (len(residuals) * n_outputs))
    for first in range(0, len(rows), size):
        chunk = slice(first, first + size)
        of_units = _predictions_of_units(sweep, rows, chunk)
        of_rows = of_units[sweep.unit[counting]]
        lower[chunk], upper[chunk] = _intervals(of_rows, residuals, alpha, method)
    return _squeezed(lower, 1), _squeezed(upper, 1)


@one_at_a_time
def data_values(
    estimator: BaseDeltaGrad,
    X: MatrixLike,
    y: ArrayLike,
    *,
    scoring: str | Callable | None = None,
    sample_weight: ArrayLike | None = None,
    groups: Groups = None,
    tol: float = 0.1,
    verbose: int = 0,
) -> DataValues:
    """What a score on validation rows loses when a training row, or a group, leaves.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression or DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed.
    X : {array-like, sparse matrix} of shape (n_rows, n_features)
        Validation rows.
    y : array-like of shape (n_rows,) or (n_rows, n_targets)
        Their labels or targets.
    scoring : str or callable, default=None
        A scorer of scikit-learn, or ``scorer(model, X, y)``; None: accuracy, or R^2.
        "accuracy", "neg_log_loss", "r2" and "neg_mean_squared_error" are taken from
        all models at once, others model by model.
    sample_weight : array-like of shape (n_rows,), default=None
        Weights of the validation rows.
    groups, tol, verbose
        See `leave_one_out`.

    Returns
    -------
    result : DataValues

    Raises
    ------
    ValueError
        When `X` and `y` do not fit, or `scoring` is unknown.

    Warns
    -----
    FitFailedWarning
        As for `leave_one_out`.
    """
    sweep = Sweep.of(estimator, groups, tol, verbose)
    rows = sweep.rows_of(X)
    score = score_of(estimator, rows, X, y, scoring, sample_weight)
    sweep.warn_of_undefined()
    scores = np.full(sweep.n_units, np.nan)

    def use(_, left):
        scores[left.units] = score.of(sweep.iterate + left.changes)

    sweep.run(use, serially=score.serially)
    of_all = float(score.of(sweep.iterate[np.newaxis])[0])
    return DataValues(sweep.names, of_all - scores, of_all, scores)


@one_at_a_time
def influential(
    estimator: BaseDeltaGrad,
    n: int = 10,
    *,
    groups: Groups = None,
    tol: float = 0.1,
    verbose: int = 0,
) -> Influence:
    """The training rows, or groups, without which the model would move the most.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression or DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed.
    n : int, default=10
        How many; all where there are fewer.
    groups, tol, verbose
        See `leave_one_out`.

    Returns
    -------
    result : Influence
        Units without which there is no such model come first, with NaN.
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more, got {n!r}.")
    sweep = Sweep.of(estimator, groups, tol, verbose)
    sweep.warn_of_undefined()
    influence = np.full(sweep.n_units, np.nan)

    def use(_, left):
        influence[left.units] = left.influence

    sweep.run(use)
    first = np.argsort(-np.nan_to_num(influence, nan=np.inf), kind="stable")[:n]
    return Influence(sweep.names[first], influence[first])


def _nothing(shape, wanted, what):
    """An array of NaN, if it is wanted and there is memory for it."""
    if not wanted:
        return None
    n_bytes = 8 * int(np.prod(shape, dtype=float))
    way_out = "Ask for less at a time, or for groups."
    memory.require(n_bytes, f"the {what} of {shape[0]:,} models", way_out)
    return np.full(shape, np.nan)


def _squeezed(array, axis):
    """Without the axis of outputs where there is one output."""
    return array.squeeze(axis) if array.shape[axis] == 1 else array


def _predictions(estimator, decision_values):
    """Labels, or targets."""
    if not is_classifier(estimator):
        return _squeezed(estimator._predictions(decision_values), 1)
    if decision_values.shape[1] == 1:
        codes = (decision_values[:, 0] > 0).astype(int)
    else:
        codes = decision_values.argmax(axis=1)
    labels = estimator.classes_[codes]
    is_undefined = np.isnan(decision_values).any(axis=1)
    return _without_labels(labels, is_undefined) if is_undefined.any() else labels


def _without_labels(labels, is_undefined):
    """Labels with NaN (None, where labels are not numbers) for some rows."""
    if labels.dtype.kind in "iuf":
        # Integers beyond 2**53 would be other labels as floating-point numbers.
        is_exact = labels.min() >= -(2**53) and labels.max() <= 2**53
        dtype, nothing = np.float64 if is_exact else object, np.nan
    else:
        dtype, nothing = object, None
    labels = labels.astype(dtype)
    labels[is_undefined] = nothing
    return labels


def _statistics_of(sweep, statistic):
    """A function from iterates to the statistic of each."""

    def coefficients(iterates):
        coef, intercept = sweep.published(iterates)
        if sweep.objective.fit_intercept:
            coef = np.concatenate([coef, intercept[..., np.newaxis]], axis=-1)
        return _squeezed(coef, 1)

    def of_each(iterates):
        values = []
        for coef, intercept in zip(*sweep.published(iterates), strict=True):
            shown = sweep.estimator._publish(coef, intercept)
            value = statistic(shown["coef_"], shown["intercept_"])
            values.append(np.asarray(value, dtype=float))
        return np.array(values)

    return coefficients if statistic is None else of_each


def _predictions_of_units(sweep, rows, chunk):
    """Of a slice of rows, by the model without each unit: (n_units, ...)."""
    X = rows.extended(chunk)
    base = X @ sweep.iterate.T
    predictions = np.empty((sweep.n_units, *base.shape))

    def use(_, left):
        predictions[left.units] = base + X @ left.changes.swapaxes(1, 2)

    sweep.run(use)
    return sweep.estimator._predictions(predictions)


def _intervals(predictions, residuals, alpha, method):
    """Lower and upper ends of prediction intervals.

    Parameters
    ----------
    predictions : ndarray of shape (n_train, n_rows, n_targets)
    residuals : ndarray of shape (n_train, 1, n_targets)
    alpha : float
    method : {"plus", "minmax"}
    """
    if method == "minmax":
        quantile = _upper(np.array(residuals), alpha)
        return predictions.min(axis=0) - quantile, predictions.max(axis=0) + quantile
    lower = -_upper(residuals - predictions, alpha)
    return lower, _upper(predictions + residuals, alpha)


def _upper(values, alpha):
    """The smallest value but for ceil((1 - alpha) (n + 1)) - 1 along the first axis.

    Sorts in place. 1e-9 is for products that are integers but for rounding.
    """
    n = len(values)
    rank = int(np.ceil((1.0 - alpha) * (n + 1) - 1e-9))
    if rank > n:
        return np.full(values.shape[1:], np.inf)
    values.partition(rank - 1, axis=0)
    return values[rank - 1].copy()
