"""What the functions of `inspection` return."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LeaveOneOut:
    """What `leave_one_out` found.

    Attributes
    ----------
    units : ndarray of shape (n_units,)
        Positions of the rows left out, or labels of the groups.
    positions : ndarray of shape (n_rows,)
        Positions of all rows, in order.
    unit : ndarray of shape (n_rows,)
        Number of each row's unit: the row itself, or its group.
    decision_values : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Of each row, by the model without it (without its group).
    predictions : ndarray of shape (n_rows,) or (n_rows, n_targets)
        The labels or targets that follow. Where there is no model without the row (or
        its group), because a class would be gone, it is NaN for numeric labels (which
        then are floating-point numbers) and None for others.
    influence : ndarray of shape (n_units,)
        How far the model moves without the unit, in the norm of the Hessian of all
        rows.
    error : ndarray of shape (n_units,)
        How far each model may be from a fit without the unit, as a share of the way
        that it moved. A bound for "newton" with a Hessian (0 for a squared error: exact
        but for rounding), an estimate for "gd" and "sgd"; inf where there is neither.
    coef : ndarray of shape (n_units, n_features) or (n_units, n_outputs, n_features)
        Coefficients without each unit; None unless asked for.
    intercept : ndarray of shape (n_units,) or (n_units, n_outputs)
        Intercepts; None unless asked for.
    decision_values_of_X : ndarray of shape (n_units, n_rows_of_X[, n_outputs])
        Of the rows of `X`, by the model without each unit; None unless `X` was given.
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
    """What `jackknife` found; shapes are those of the statistic.

    Attributes
    ----------
    estimate : ndarray
        Of all rows.
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
        """The estimate less its bias."""
        return self.estimate - self.bias


@dataclass(frozen=True)
class DataValues:
    """What `data_values` found.

    Attributes
    ----------
    units : ndarray of shape (n_units,)
        Positions of the rows, or labels of the groups.
    values : ndarray of shape (n_units,)
        ``score - scores``: what the score loses without the unit. Negative where it
        gains.
    score : float
        Of the model of all rows.
    scores : ndarray of shape (n_units,)
        Of the model without each unit.
    """

    units: np.ndarray
    values: np.ndarray
    score: float
    scores: np.ndarray


@dataclass(frozen=True)
class Influence:
    """What `influential` found, the most influential first.

    Attributes
    ----------
    units : ndarray of shape (n,)
        Positions of the rows, or labels of the groups.
    influence : ndarray of shape (n,)
        How far the model moves without them, in the norm of the Hessian of all rows.
    """

    units: np.ndarray
    influence: np.ndarray
