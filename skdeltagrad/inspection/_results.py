"""Results of the functions of `inspection`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ._base import AbstractResult, AbstractUnitResult, data_frame, named_columns


@dataclass(frozen=True, repr=False, eq=False)
class Influence(AbstractUnitResult):
    """Result of `influential`, the most influential unit first.

    Attributes
    ----------
    units : ndarray of shape (n,)
        Positions of the rows, or labels of the groups.
    influence : ndarray of shape (n,)
        How much the model changes without each of them, in the norm of the Hessian of
        all rows.
    unit_name : {"position", "sample_id", "group"}
        What `units` are.
    sample_ids : ndarray of shape (n,) or None
        Ids of the rows, if rows are the units and `fit` was given ids.
    """

    units: np.ndarray
    influence: np.ndarray
    unit_name: str = "position"
    sample_ids: np.ndarray | None = None

    ranked_by = "influence"

    def _title(self):
        return f"the most influential {self._counted()}"

    def _facts(self):
        some = list(zip(self.units.tolist(), self.influence, strict=True))
        return {
            f"{self.unit_name} {unit!r}": f"{value:.3g}" for unit, value in some[:4]
        }


@dataclass(frozen=True, repr=False, eq=False)
class LeaveOneOut(AbstractUnitResult):
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
        Decision value of each row by the model without it, or without its group; the
        linear predictor ``x @ w + b`` for every estimator.
    predictions : ndarray of shape (n_rows,) or (n_rows, n_targets)
        The labels or targets that follow from them: for Poisson regression means. Where
        there is no model without the row (or its group), the label is NaN if labels are
        numbers, which are then floating-point numbers, and None otherwise.
    targets : ndarray of shape (n_rows,) or (n_rows, n_targets)
        What each row was given to `fit` with: its target or its label.
    residuals : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        The target minus the mean that the model without the row predicts. For
        classifiers, whether the row is of the (second of two) class, 0 or 1, minus the
        probability.
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
    predictions_of_X : ndarray of shape (n_units, n_rows_of_X[, n_targets])
        The targets that follow from them, for regression; None for classifiers, and
        unless `X` was given.
    unit_name : {"position", "sample_id", "group"}
        What `units` are.
    sample_ids : ndarray of shape (n_rows,) or None
        Ids of all rows, in the order of their positions, if `fit` was given ids.
    output_names : tuple
        Classes or numbers of targets, where there are several outputs.
    """

    units: np.ndarray
    positions: np.ndarray
    unit: np.ndarray
    decision_values: np.ndarray
    predictions: np.ndarray
    targets: np.ndarray
    residuals: np.ndarray
    influence: np.ndarray
    error: np.ndarray
    coef: np.ndarray | None = None
    intercept: np.ndarray | None = None
    decision_values_of_X: np.ndarray | None = None
    predictions_of_X: np.ndarray | None = None
    unit_name: str = "position"
    sample_ids: np.ndarray | None = None
    output_names: tuple = ()

    ranked_by = "influence"

    def most_influential(self, n: int = 10) -> Influence:
        """Return the n units without which the model changes the most.

        Units without which there is no model, whose influence is NaN, come first.
        """
        ids = self.sample_ids if self.unit_name == "position" else None
        all_units = Influence(self.units, self.influence, self.unit_name, ids)
        return all_units.most_influential(n)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row for each training row.

        Its index are the positions. The influence and the error of a group are those of
        all its rows.

        Raises
        ------
        ImportError
            When pandas is not installed.
        """
        columns = {} if self.sample_ids is None else {"sample_id": self.sample_ids}
        if self.unit_name == "group":
            columns["group"] = self.units[self.unit]
        for name in ("target", "prediction", "residual", "decision_value"):
            columns |= named_columns(name, getattr(self, f"{name}s"), self.output_names)
        columns["influence"] = self.influence[self.unit]
        columns["error"] = self.error[self.unit]
        return data_frame(columns, self.positions, "position")

    def _title(self):
        one = "row" if self.unit_name == "position" else "group"
        return f"{len(self.units):,} models, each without one {one}"

    def _facts(self):
        size = np.sqrt(np.nanmean(self.residuals**2))
        error = np.nanmax(self.error, initial=0.0)
        return {
            "influence": self._spread(self.influence),
            "error": f"at most {error:.2g} of the change" if error else "rounding only",
            "residuals": f"root mean square {size:.4g}",
        }


@dataclass(frozen=True, repr=False, eq=False)
class Jackknife(AbstractResult):
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
    names : tuple of str
        Of the coefficients, in the order of the raveled arrays; numbers for a statistic
        of the caller.
    """

    estimate: np.ndarray
    bias: np.ndarray
    standard_error: np.ndarray
    n_units: int
    names: tuple = ()

    @property
    def corrected(self) -> np.ndarray:
        """The estimate minus its bias."""
        return self.estimate - self.bias

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row for each entry of the statistic.

        Raises
        ------
        ImportError
            When pandas is not installed.
        """
        names = ("estimate", "bias", "corrected", "standard_error")
        columns = {name: np.ravel(getattr(self, name)) for name in names}
        return data_frame(columns, list(self.names), "name")

    def _title(self):
        return f"{np.size(self.estimate):,} estimates from {self.n_units:,} models"

    def _facts(self):
        bias, error = np.ravel(self.bias), np.ravel(self.standard_error)
        ratio = np.abs(np.divide(bias, error, out=np.zeros_like(bias), where=error > 0))
        place = int(np.argmax(ratio))
        return {
            "standard errors": f"{error.min():.3g} to {error.max():.3g}",
            "largest bias": f"{ratio[place]:.2g} standard errors ({self.names[place]})",
        }


class AbstractValues(AbstractUnitResult):
    """What units are worth to a score: negative where they do harm."""

    values: np.ndarray

    ranked_by = "values"

    def most_harmful(self, n: int = 10) -> Self:
        """Return the n units with the lowest values, the lowest first."""
        return self._first(self.values, n, nan=np.inf)

    def _facts(self):
        n_harmful = np.count_nonzero(self.values < 0)
        return {
            "values": self._spread(self.values),
            "harmful": f"{n_harmful:,} have negative values",
        }


@dataclass(frozen=True, repr=False, eq=False)
class DataValues(AbstractValues):
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
    unit_name : {"position", "sample_id", "group"}
        What `units` are.
    sample_ids : ndarray of shape (n_units,) or None
        Ids of the rows, if rows are the units and `fit` was given ids.
    """

    units: np.ndarray
    values: np.ndarray
    score: float
    scores: np.ndarray
    unit_name: str = "position"
    sample_ids: np.ndarray | None = None

    _further = ("scores",)

    def _title(self):
        return f"{self._counted()}, score {self.score:.4g}"
