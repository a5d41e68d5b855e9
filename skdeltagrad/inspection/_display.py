"""Plots of results, after scikit-learn's conventions for displays."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from .._estimators.base import BaseDeltaGrad
from .._utils.sklearn_compat import check_matplotlib_support
from .._utils.typing import Groups, MatrixLike
from ._base import AbstractUnitResult
from ._functions import data_values, leave_one_out


class UnitsDisplay:
    """A plot of what every training row, or group of rows, means to a model.

    :meth:`from_results` draws the result of a function of `inspection`, and
    :meth:`from_estimator` computes one first.

    Parameters
    ----------
    units : ndarray of shape (n_units,)
        Positions of the rows, or labels of the groups.
    values : ndarray of shape (n_units,)
        What is drawn of each of them. NaN is left out.
    name : str
        What the values are.
    unit_name : str, default="position"
        What the units are.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D
        The values.
    text_ : list of matplotlib Annotation
        The labels of the units with the largest values.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skdeltagrad import DeltaGradRidge
    >>> from skdeltagrad.inspection import UnitsDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = DeltaGradRidge(alpha=0.1).fit(X, y)
    >>> display = UnitsDisplay.from_estimator(model)
    >>> display.figure_.savefig("influence.png")  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        units: np.ndarray,
        values: np.ndarray,
        name: str,
        unit_name: str = "position",
    ):
        self.units = units
        self.values = values
        self.name = name
        self.unit_name = unit_name

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseDeltaGrad,
        X: MatrixLike | None = None,
        y: ArrayLike | None = None,
        *,
        groups: Groups = None,
        tol: float = 0.1,
        n_labels: int = 5,
        ax: Any = None,
        line_kw: dict | None = None,
    ) -> Self:
        """Draw how much the model changes without each unit, or what the unit is worth.

        Parameters
        ----------
        estimator : DeltaGradLogisticRegression, DeltaGradPoissonRegressor or \
DeltaGradRidge
            Fitted, with ``store_data=True``. It is not changed.
        X, y : default=None
            Validation rows. With them the `data_values` are drawn, without them the
            influence by `leave_one_out`.
        groups, tol
            See `leave_one_out`.
        n_labels, ax, line_kw
            See `plot`.

        Returns
        -------
        display : UnitsDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        if (X is None) != (y is None):
            raise ValueError(
                "X and y are the validation rows of data_values: give both, or neither "
                "for the influence."
            )
        result: AbstractUnitResult
        if X is None or y is None:
            result = leave_one_out(estimator, groups=groups, tol=tol)
        else:
            result = data_values(estimator, X, y, groups=groups, tol=tol)
        return cls.from_results(result, n_labels=n_labels, ax=ax, line_kw=line_kw)

    @classmethod
    def from_results(
        cls,
        result: AbstractUnitResult,
        *,
        n_labels: int = 5,
        ax: Any = None,
        line_kw: dict | None = None,
    ) -> Self:
        """Draw a result that has a value for each unit.

        Parameters
        ----------
        result : LeaveOneOut, Influence, DataValues, SemiValues or Diagnostics
        n_labels, ax, line_kw
            See `plot`.

        Returns
        -------
        display : UnitsDisplay

        Raises
        ------
        TypeError
            When `result` is something else.
        """
        if not isinstance(result, AbstractUnitResult):
            raise TypeError(
                "result must have a value for each row or group, as that of "
                f"leave_one_out or data_values has, got {type(result).__name__}."
            )
        name = result.ranked_by.replace("_", " ")
        display = cls(
            units=result.units,
            values=result.ranked_values,
            name=name.removesuffix("s") if name == "values" else name,
            unit_name=result.unit_name,
        )
        return display.plot(ax, n_labels=n_labels, line_kw=line_kw)

    def plot(
        self, ax: Any = None, *, n_labels: int = 5, line_kw: dict | None = None
    ) -> Self:
        """Draw the values.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None: a new figure.
        n_labels : int, default=5
            How many of the units with the largest absolute values are labelled.
        line_kw : dict, default=None
            Passed on to ``ax.plot``.

        Returns
        -------
        display : UnitsDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots()
        is_number = self.units.dtype.kind in "iuf"
        place = self.units if is_number else np.arange(len(self.units))
        style = {"marker": ".", "linestyle": "none"} | (line_kw or {})
        (self.line_,) = ax.plot(place, self.values, **style)
        ax.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
        what = self.unit_name.replace("_", " ").capitalize()
        ax.set(xlabel=what, ylabel=self.name.capitalize())
        sizes = np.nan_to_num(np.abs(self.values), nan=-1.0)
        largest = np.argsort(-sizes, kind="stable")[:n_labels]
        self.text_ = [
            ax.annotate(
                str(self.units[number]), (place[number], self.values[number]),
                xytext=(4, 2), textcoords="offset points", fontsize="small",
            )
            for number in largest
            if sizes[number] >= 0
        ]  # fmt: skip
        self.ax_, self.figure_ = ax, ax.figure
        return self
