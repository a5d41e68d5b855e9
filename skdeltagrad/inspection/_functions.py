"""Leave-one-out analyses of a fitted model: the public functions.

Every function looks at a fitted estimator of this package without changing it, and
computes the model without each row, or without all rows of each group: from one Hessian
for all of them with ``solver="newton"``, by replays of the path with "gd" and "sgd".
Edits of the estimator by other threads wait until the function returns.
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
from ._driver import Driver
from ._results import DataValues, Influence, Jackknife, LeaveOneOut
from ._scores import score_of

# Cost: predictions of all models for a chunk of new rows, 32 MB of them.
_CHUNK_ENTRIES = 2**22


@one_at_a_time
def leave_one_out(
    estimator: BaseDeltaGrad, *, X: MatrixLike | None = None, groups: Groups = None,
    tol: float = 0.1, return_coef: bool = False, verbose: int = 0,
) -> LeaveOneOut:  # fmt: skip
    """Predict every training row by the model without it.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression, DeltaGradPoissonRegressor or DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed.
    X : {array-like, sparse matrix} of shape (n_rows, n_features), default=None
        Further rows that every model predicts. Takes n_units x n_rows numbers, and as
        many again for the means of Poisson regression.
    groups : "sample_id" or array-like of shape (n_samples,), default=None
        Rows that are left out together: those with the same id, or the same label.
        Labels are given for the current training rows, in the order of their positions.
        By default every row is left out alone.
    tol : float, default=0.1
        Largest distance of each model from a fit without the unit, as a fraction of the
        change from the model of all rows, for log-losses with "newton". It is compared
        with a bound of the distance, which is often ten times the distance itself. Most
        models need no pass over the rows to reach it, others need a few. With
        ``np.inf`` a model is a single step, whatever its bound. Other edits use
        `edit_tol` of the estimator, and squared errors with "newton" are exact.
    return_coef : bool, default=False
        Whether to return the coefficients of all models, n_units x n_features numbers.
    verbose : int, default=0
        If positive, progress is printed every two seconds.

    Returns
    -------
    result : LeaveOneOut

    Raises
    ------
    ValueError
        When the estimator has no rows, or `groups` or `X` are invalid.
    MemoryError
        When the coefficients or predictions of all models do not fit into memory.

    Warns
    -----
    FitFailedWarning
        When there is no model of the same outputs without a unit, because the rows of
        a class, or all rows, belong to it. Its entries are NaN, and the predicted
        labels of its rows are NaN or None.

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
    driver = Driver(estimator, groups, tol, verbose)
    units = driver.units
    units.check_defined()
    n_units, (n_outputs, n_dof) = len(units), driver.iterate.shape
    own = np.full((len(units.weight), n_outputs), np.nan)
    influence, error = np.full((2, n_units), np.nan)
    models = of_X = rows = None
    if return_coef:
        models = full_of_nan((n_units, n_outputs, n_dof), "coefficients")
    if X is not None:
        rows = driver.rows_of(X)
        of_X = full_of_nan((n_units, len(rows), n_outputs), "predictions of X")

    def use(_, found):
        influence[found.units], error[found.units] = found.influence, found.error
        own[found.index] = driver.own_predictions(found)
        if return_coef:
            models[found.units] = found.iterates
        if X is not None:
            for block, raw in rows.raw_predictions(found.iterates):
                of_X[found.units, block] = raw.swapaxes(0, 1)

    driver.run(use)
    values = own[units.index]
    coef = intercept = predictions_of_X = None
    if X is not None and not is_classifier(estimator):
        predictions_of_X = _squeezed(driver.inspected.predictions(of_X), 2)
    if return_coef:
        coef, intercept = (_squeezed(part, 1) for part in driver.published(models))
    return LeaveOneOut(
        units=units.names,
        unit_name=units.kind_of_name,
        sample_ids=units.sample_ids,
        output_names=driver.output_names,
        positions=units.positions,
        unit=units.of_row,
        decision_values=_squeezed(values, 1),
        predictions=_predictions(driver, values),
        targets=driver.targets(),
        residuals=_squeezed(driver.residuals(values), 1),
        influence=influence,
        error=error,
        coef=coef,
        intercept=intercept,
        decision_values_of_X=None if X is None else _squeezed(of_X, 2),
        predictions_of_X=predictions_of_X,
    )


@one_at_a_time
def jackknife(
    estimator: BaseDeltaGrad, statistic: Callable[..., ArrayLike] | None = None, *,
    groups: Groups = None, tol: float = 0.1, verbose: int = 0,
) -> Jackknife:  # fmt: skip
    """Estimate bias and standard errors by leaving out one row or group at a time.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression, DeltaGradPoissonRegressor or DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed.
    statistic : callable, default=None
        ``statistic(coef, intercept)`` returns a number or an array; its arguments have
        the shapes of `coef_` and `intercept_`. By default the coefficients, followed by
        the intercept with ``fit_intercept=True``: shape (n_features + 1,) or
        (n_outputs, n_features + 1).
    groups, tol, verbose
        See `leave_one_out`. Groups are assumed to be independent of each other.

    Returns
    -------
    result : Jackknife

    Raises
    ------
    ValueError
        When there is no model of the same outputs without one of the units.

    References
    ----------
    B. Efron, C. Stein, "The jackknife estimate of variance", Annals of Statistics
    9(3), 1981.
    """
    driver = Driver(estimator, groups, tol, verbose)
    units = driver.units
    units.check_defined(required=True)
    values = _statistics_of(driver, statistic)
    estimate = values(driver.iterate[np.newaxis])[0]
    sums = {}

    def use(number, found):
        # Units without weight do not count.
        change = values(found.iterates[units.has_weight[found.units]]) - estimate
        sums[number] = np.array([change.sum(axis=0), (change**2).sum(axis=0)])

    driver.run(use, serially=statistic is not None)
    # In the order of the blocks, whatever the order in which threads finished.
    first, second = sum(sums[number] for number in sorted(sums))
    n = int(units.has_weight.sum())
    variance = np.maximum(second - first**2 / n, 0.0) * (n - 1) / n
    names = driver.coefficient_names
    if statistic is not None:
        names = tuple(range(estimate.size))
    return Jackknife(estimate, (n - 1) / n * first, np.sqrt(variance), n, names)


@one_at_a_time
def jackknife_plus(
    estimator: BaseDeltaGrad, X: MatrixLike, *, alpha: float = 0.1,
    method: str = "plus", groups: Groups = None, verbose: int = 0,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Prediction intervals by the jackknife+.

    An interval holds the target of a new row with probability at least 1 - 2 alpha
    whatever the distribution, if the rows are exchangeable, and about 1 - alpha in
    practice; at least 1 - alpha for ``method="minmax"``, which is wider [1]_.

    Parameters
    ----------
    estimator : DeltaGradRidge or DeltaGradPoissonRegressor
        Fitted, with ``store_data=True``. It is not changed.
    X : {array-like, sparse matrix} of shape (n_rows, n_features)
        New rows. They are predicted in chunks.
    alpha : float, default=0.1
        Fraction of the targets that may be outside their intervals.
    method : {"plus", "minmax"}, default="plus"
        "plus" takes quantiles of the leave-one-out predictions plus or minus their
        residuals; "minmax" takes the extreme predictions plus or minus a quantile of
        the residuals.
    groups, verbose
        See `leave_one_out`. With groups, a row's residual is that of the model without
        its group.

    Returns
    -------
    lower, upper : ndarray of shape (n_rows,) or (n_rows, n_targets)
        Infinite where there are too few training rows for so small an alpha.

    Raises
    ------
    TypeError
        When the estimator is a classifier.
    ValueError
        When `alpha` or `method` is invalid, or there is no model without one of the
        units.

    References
    ----------
    .. [1] R. F. Barber, E. J. Candes, A. Ramdas, R. J. Tibshirani, "Predictive
       inference with the jackknife+", Annals of Statistics 49(1), 2021.
    """
    driver = Driver(estimator, groups, 0.1, verbose)
    units = driver.units
    if is_classifier(estimator):
        raise TypeError(
            "estimator must be a regressor, got "
            f"{type(estimator).__name__}: an interval of labels means nothing. "
            "prediction_sets returns sets of labels."
        )
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}.")
    if method not in ("plus", "minmax"):
        raise ValueError(f'method must be "plus" or "minmax", got {method!r}.')
    units.check_defined(required=True)
    residuals = np.empty(units.y.shape)

    def keep_residuals(_, found):
        own = driver.inspected.predictions(driver.own_predictions(found))
        residuals[found.index] = np.abs(units.y[found.index] - own)

    driver.run(keep_residuals)
    has_weight = units.weight[units.index] > 0
    residuals = residuals[units.index[has_weight]][:, np.newaxis]
    rows, n_outputs = driver.rows_of(X), len(driver.iterate)
    lower, upper = np.empty((2, len(rows), n_outputs))
    size = size_of_chunk(len(residuals) * n_outputs)
    for first in range(0, len(rows), size):
        chunk = slice(first, first + size)
        raw = raw_predictions_of_units(driver, rows.extended(chunk))
        of_units = driver.inspected.predictions(raw)
        of_rows = of_units[units.of_row[has_weight]]
        lower[chunk], upper[chunk] = _intervals(of_rows, residuals, alpha, method)
    return _squeezed(lower, 1), _squeezed(upper, 1)


@one_at_a_time
def data_values(
    estimator: BaseDeltaGrad, X: MatrixLike, y: ArrayLike, *,
    scoring: str | Callable | None = None, sample_weight: ArrayLike | None = None,
    groups: Groups = None, tol: float = 0.1, verbose: int = 0,
) -> DataValues:  # fmt: skip
    """How much a score on validation rows drops without a training row or group.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression, DeltaGradPoissonRegressor or DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed.
    X : {array-like, sparse matrix} of shape (n_rows, n_features)
        Validation rows.
    y : array-like of shape (n_rows,) or (n_rows, n_targets)
        Their labels or targets.
    scoring : str or callable, default=None
        Name of a scorer of scikit-learn, or ``scorer(model, X, y)``. By default
        accuracy for classifiers, R^2 for Ridge and D^2 for Poisson regression, as
        `score` of the estimator. "accuracy", "neg_log_loss",
        "r2" and "neg_mean_squared_error" are computed for many models at once, others
        model by model.
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
        When `X` and `y` do not match, or `scoring` is unknown.

    Warns
    -----
    FitFailedWarning
        As for `leave_one_out`.
    """
    driver = Driver(estimator, groups, tol, verbose)
    units = driver.units
    score, serially = score_of(driver, X, y, scoring, sample_weight)
    units.check_defined()
    scores = np.full(len(units), np.nan)

    def use(_, found):
        scores[found.units] = score(found.iterates)

    driver.run(use, serially)
    of_all = float(score(driver.iterate[np.newaxis])[0])
    return DataValues(
        values=of_all - scores, score=of_all, scores=scores, **units.described()
    )


@one_at_a_time
def influential(
    estimator: BaseDeltaGrad, n: int = 10, *, groups: Groups = None,
    tol: float = 0.1, verbose: int = 0,
) -> Influence:  # fmt: skip
    """Find the training rows or groups without which the model changes the most.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression, DeltaGradPoissonRegressor or DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed.
    n : int, default=10
        How many to return; all if there are fewer.
    groups, tol, verbose
        See `leave_one_out`.

    Returns
    -------
    result : Influence
        Units without which there is no model of the same outputs come first, with NaN.
    """
    if n < 1:  # before the work
        raise ValueError(f"n must be 1 or more, got {n!r}.")
    driver = Driver(estimator, groups, tol, verbose)
    units = driver.units
    units.check_defined()
    influence = np.full(len(units), np.nan)

    def use(_, found):
        influence[found.units] = found.influence

    driver.run(use)
    return Influence(influence=influence, **units.described()).most_influential(n)


def full_of_nan(shape, what):
    """An array of NaN; raises MemoryError where there is no memory for it."""
    n_bytes = 8 * int(np.prod(shape, dtype=float))
    way_out = "Ask for less at a time, or for groups."
    memory.require(n_bytes, f"the {what} of {shape[0]:,} models", way_out)
    return np.full(shape, np.nan)


def _squeezed(array, axis):
    """The array without the axis of the outputs where there is only one output."""
    return array.squeeze(axis) if array.shape[axis] == 1 else array


def _predictions(driver, values):
    """Labels or targets that follow from decision values, (n_rows, n_outputs)."""
    if not is_classifier(driver.estimator):
        return _squeezed(driver.inspected.predictions(values), 1)
    is_binary = values.shape[1] == 1
    codes = (values[:, 0] > 0).astype(int) if is_binary else values.argmax(axis=1)
    labels = driver.estimator.classes_[codes]
    is_undefined = np.isnan(values).any(axis=1)
    if not is_undefined.any():
        return labels
    dtype, no_label = object, None
    if labels.dtype.kind in "iuf":
        no_label = np.nan
        # Integers beyond 2**53 would be other labels as floating-point numbers.
        if labels.min() >= -(2**53) and labels.max() <= 2**53:
            dtype = np.float64
    labels = labels.astype(dtype)
    labels[is_undefined] = no_label
    return labels


def _statistics_of(driver, statistic):
    """A function from iterates to the statistic of each of them."""

    def of_each(iterates):
        shown = map(driver.attributes, iterates)
        values = [statistic(one["coef_"], one["intercept_"]) for one in shown]
        return np.array([np.asarray(value, dtype=float) for value in values])

    return driver.joined if statistic is None else of_each


def size_of_chunk(n_entries):
    """How many new rows make a chunk, if all models predict so many numbers of each."""
    return max(1, _CHUNK_ENTRIES // n_entries)


def raw_predictions_of_units(driver, X):
    """Raw predictions of new rows by the model without each unit: (n_units, ...)."""
    predictions = np.empty((len(driver.units), len(X), len(driver.iterate)))

    def use(_, found):
        predictions[found.units] = X @ found.iterates.swapaxes(1, 2)

    driver.run(use)
    return predictions


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
