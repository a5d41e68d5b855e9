"""Results of the functions of `inspection`."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LeaveOneOut:
    """Result of `leave_one_out`.

    Attributes
    ----------
    units : ndarray of shape (n_units,)
        Positions of the rows that were left out, or labels of the groups.
    positions : ndarray of shape (n_rows,)
        Positions of all rows, in order.
    unit : ndarray of shape (n_rows,)
        Number of the unit of each row: the row itself, or its group.
    decision_values : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Decision value of each row by the model without it, or without its group.
    predictions : ndarray of shape (n_rows,) or (n_rows, n_targets)
        The labels or targets that follow from them. Where there is no model without the
        row (or its group), the label is NaN if labels are numbers, which are then
        floating-point numbers, and None otherwise.
    influence : ndarray of shape (n_units,)
        How much the model changes without the unit, in the norm of the Hessian of all
        rows.
    error : ndarray of shape (n_units,)
        Distance of each model from a fit without the unit, as a fraction of the change
        from the model of all rows. A bound for "newton" with a Hessian (0 for a squared
        error, which is exact up to rounding), an estimate for "gd" and "sgd"; infinite
        where there is neither.
    coef : ndarray of shape (n_units, n_features) or (n_units, n_outputs, n_features)
        Coefficients without each unit; None unless ``return_coef=True``.
    intercept : ndarray of shape (n_units,) or (n_units, n_outputs)
        Intercepts without each unit; None unless ``return_coef=True``.
    decision_values_of_X : ndarray of shape (n_units, n_rows_of_X[, n_outputs])
        Decision values of the rows of `X` by the model without each unit; None unless
        `X` was given.
    """

    units: np.ndarray
    positions: np.ndarray
    unit: np.ndarray
    decision_values: np.ndarray
    predictions: np.ndarray
    influence: np.ndarray
    error: np.ndarray
    coef: np.ndarray | None = None
    intercept: np.ndarray | None = None
    decision_values_of_X: np.ndarray | None = None


@dataclass(frozen=True)
class Jackknife:
    """Result of `jackknife`. Arrays have the shape of the statistic.

    Attributes
    ----------
    estimate : ndarray
        The statistic of the model of all rows.
    bias : ndarray
        ``(n - 1) (mean of the leave-one-out estimates - estimate)``.
    standard_error : ndarray
        ``sqrt((n - 1) / n * sum (leave-one-out estimate - their mean)^2)``.
    n_units : int
        n: number of rows of positive weight, or of groups that have one.
    """

    estimate: np.ndarray
    bias: np.ndarray
    standard_error: np.ndarray
    n_units: int

    @property
    def corrected(self) -> np.ndarray:
        """The estimate minus its bias."""
        return self.estimate - self.bias


@dataclass(frozen=True)
class DataValues:
    """Result of `data_values`.

    Attributes
    ----------
    units : ndarray of shape (n_units,)
        Positions of the rows, or labels of the groups.
    values : ndarray of shape (n_units,)
        ``score - scores``: how much the score drops without the unit. Negative where it
        rises.
    score : float
        Score of the model of all rows.
    scores : ndarray of shape (n_units,)
        Score of the model without each unit.
    """

    units: np.ndarray
    values: np.ndarray
    score: float
    scores: np.ndarray


@dataclass(frozen=True)
class Influence:
    """Result of `influential`, the most influential unit first.

    Attributes
    ----------
    units : ndarray of shape (n,)
        Positions of the rows, or labels of the groups.
    influence : ndarray of shape (n,)
        How much the model changes without each of them, in the norm of the Hessian of
        all rows.
    """

    units: np.ndarray
    influence: np.ndarray
