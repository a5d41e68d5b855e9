"""The smallest set of rows that can be found whose removal flips a conclusion."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from .._estimators.base import BaseDeltaGrad
from .._utils.text import shown
from .._utils.typing import Groups, MatrixLike
from ._base import AbstractResult, data_frame
from ._driver import Driver, refuse_store

# Accuracy: `edit_tol` of the edits of the copy, at most. More is not needed, because a
# fit from zero decides whether the conclusion has flipped.
_EDIT_TOL = 1e-4


@dataclass(frozen=True, repr=False, eq=False)
class InfluentialSet(AbstractResult):
    """Result of `influential_set`.

    Attributes
    ----------
    units : ndarray of shape (n_units,)
        Positions of the rows, or labels of the groups, in the order of their removal.
    values : ndarray of shape (n_units + 1,)
        The coefficient or the prediction of the model of all rows, and after each
        removal. For the label of a classifier the decision value of the predicted
        class, minus the largest of the others.
    is_found : bool
        Whether the conclusion flips without these units.
    threshold : float
        What the values were to cross.
    name : str
        What the values are.
    n_samples : int
        Number of training rows of the estimator.
    n_removed : int
        Number of rows in all the units.
    unit_name : {"position", "sample_id", "group"}
        What `units` are.
    sample_ids : ndarray of shape (n_units,) or None
        Ids of the rows, if rows are the units and `fit` was given ids.
    """

    units: np.ndarray
    values: np.ndarray
    is_found: bool
    threshold: float
    name: str
    n_samples: int
    n_removed: int
    unit_name: str = "position"
    sample_ids: np.ndarray | None = None

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row for each unit, in order.

        Raises
        ------
        ImportError
            When pandas is not installed.
        """
        columns = {} if self.sample_ids is None else {"sample_id": self.sample_ids}
        columns["value"] = self.values[1:]
        return data_frame(columns, self.units, self.unit_name)

    def _title(self):
        what = "rows" if self.unit_name == "position" else "groups"
        found = "flip" if self.is_found else "do not flip"
        return f"{len(self.units):,} {what} {found} {self.name}"

    def _facts(self):
        units = ", ".join(map(repr, self.units[:5].tolist()))
        fraction = self.n_removed / self.n_samples
        return {
            "value": f"{self.values[0]:.4g} of all rows, {self.values[-1]:.4g} without",
            "removed": f"{self.n_removed:,} of {self.n_samples:,} rows, {fraction:.2%}",
            self.unit_name: units + (", ..." if len(self.units) > 5 else ""),
        }


def influential_set(
    estimator: BaseDeltaGrad, *, coef: int | str | None = None,
    X: MatrixLike | None = None, threshold: float = 0.0, groups: Groups = None,
    max_units: int = 100, verbose: int = 0,
) -> InfluentialSet:  # fmt: skip
    """Find few rows whose removal flips the sign of a coefficient, or a prediction.

    How many rows does a conclusion rest on? The search is greedy [1]_ [2]_: the row
    without which the value moves the most towards the threshold leaves a copy of the
    estimator, by an edit, and the others are measured again, until the value crosses
    the threshold. A fit from zero then confirms it, or the search goes on. The set is a
    proof that so many rows are enough, and an upper bound of how many are needed.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression, DeltaGradPoissonRegressor or \
DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed, but copied.
    coef : str or int, default=None
        Name or number of the coefficient: as in `covariance`, with the intercept last.
    X : {array-like, sparse matrix} of shape (1, n_features), default=None
        A row, in place of `coef`. Its predicted label is to change, or its predicted
        target is to cross the threshold.
    threshold : float, default=0.0
        What the coefficient, or the predicted target, is to cross. By default it
        changes its sign.
    groups : default=None
        See `leave_one_out`. Whole groups are then removed.
    max_units : int, default=100
        The search gives up after so many rows or groups. Each of them takes about as
        long as one `leave_one_out` with ``tol=np.inf``.
    verbose : int, default=0
        If positive, every removal is printed.

    Returns
    -------
    result : InfluentialSet

    Raises
    ------
    ValueError
        When not exactly one of `coef` and `X` is given, or a parameter is invalid.

    References
    ----------
    .. [1] T. Broderick, R. Giordano, R. Meager, "An automatic finite-sample robustness
       metric: when can dropping a little data make a big difference?",
       arXiv:2011.14999, 2020.
    .. [2] N. Kuschnig, G. Zens, J. Crespo Cuaresma, "Hidden in plain sight: influential
       sets in linear regression", CESifo working paper 8981, 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skdeltagrad import DeltaGradRidge
    >>> from skdeltagrad.inspection import influential_set
    >>> data = load_diabetes(as_frame=True)
    >>> model = DeltaGradRidge(alpha=0.1).fit(data.data, data.target)
    >>> print(influential_set(model, coef="s6"))
    InfluentialSet: 10 rows flip the coefficient of s6
      value: 86.75 of all rows, -5.306 without
      removed: 10 of 442 rows, 2.26%
      position: 141, 364, 129, 289, 77, ...
    """
    if max_units < 1:
        raise ValueError(f"max_units must be 1 or more, got {max_units!r}.")
    refuse_store(estimator, "influential_set")
    edited = deepcopy(estimator)  # from here on others may edit the estimator
    driver = Driver(edited, groups, np.inf, 0)
    question = _question(driver, coef, X, threshold)
    edit_tol = min(_EDIT_TOL, edited.edit_tol)
    edited.set_params(edit_tol=edit_tol, verbose=0, callback=None)
    units, values = driver.units, [question.value(driver)]
    chosen: list[int] = []
    is_found = False
    while len(chosen) < max_units and not is_found:
        name = _next_unit(driver, question, values[-1])
        if name is None:
            break
        (number,) = np.flatnonzero(units.names == name)
        chosen.append(int(number))
        edited.unlearn(position=units.positions[units.of_row == number])
        driver = _driver_without(edited, units, chosen, groups)
        if question.is_crossed(question.value(driver)):
            edited.partial_refit()
            driver = _driver_without(edited, units, chosen, groups)
        values.append(question.value(driver))
        is_found = bool(question.is_crossed(values[-1]))
        if verbose:
            print(f"without {name!r}: {question.name} = {values[-1]:.6g}")
    return InfluentialSet(
        values=np.array(values), is_found=is_found, threshold=float(threshold),
        name=question.name, n_samples=len(units.index),
        n_removed=int(units.sizes[chosen].sum()), **units.described(chosen),
    )  # fmt: skip


@dataclass(frozen=True)
class _Question:
    """A number of a model, and the threshold that it should cross.

    Attributes
    ----------
    name : str
    numbers : callable
        From a driver and iterates (n_models, n_outputs, n_dof) to numbers (n_models,).
    threshold : float
    is_above : bool
        Whether the number of the model of all rows is above the threshold.
    """

    name: str
    numbers: Callable
    threshold: float
    is_above: bool = True

    def value(self, driver):
        """Return the number of the driver's own model."""
        return float(self.numbers(driver, driver.iterate[np.newaxis])[0])

    def distance(self, numbers):
        """Return how far numbers are from the threshold; negative beyond it."""
        away = numbers - self.threshold
        return away if self.is_above else -away

    def is_crossed(self, number):
        return self.distance(number) < 0.0


def _question(driver, coef, X, threshold):
    """Return the `_Question` of valid parameters of `influential_set`."""
    if (coef is None) == (X is None):
        raise ValueError(
            "Give exactly one of coef, the name or number of a coefficient, and X, a "
            "row whose prediction should flip."
        )
    if not isinstance(threshold, Real) or not np.isfinite(threshold):
        raise ValueError(f"threshold must be a finite number, got {threshold!r}.")
    if X is None:
        question = _of_coefficient(driver, coef, threshold)
    elif is_classifier(driver.estimator):
        if threshold != 0.0:
            raise ValueError(
                f"threshold must be 0 for the label of a classifier, got {threshold!r}."
                " It is for coefficients and for targets of regression."
            )
        question = _of_label(driver, _one_row(driver, X))
    else:
        question = _of_target(driver, _one_row(driver, X), threshold)
    return replace(question, is_above=question.value(driver) >= threshold)


def _of_coefficient(driver, coef, threshold):
    names = driver.coefficient_names
    number = names.index(coef) if coef in names else coef
    is_number = isinstance(number, Integral) and not isinstance(number, bool)
    if not is_number or not 0 <= number < len(names):
        raise ValueError(
            f"coef must be one of {shown(names)}, or its number from 0 to "
            f"{len(names) - 1}; got {coef!r}."
        )

    def numbers(driver, iterates):
        return driver.joined(iterates).reshape(len(iterates), -1)[:, number]

    return _Question(f"the coefficient of {names[number]}", numbers, threshold)


def _of_label(driver, X):
    raw = _raw(driver, X, driver.iterate[np.newaxis])[0]
    code = int(raw[0] > 0) if len(raw) == 1 else int(raw.argmax())

    def numbers(driver, iterates):
        raw = _raw(driver, X, iterates)
        if raw.shape[1] == 1:
            return raw[:, 0] if code else -raw[:, 0]
        return raw[:, code] - np.delete(raw, code, axis=1).max(axis=1)

    return _Question(f"the label {driver.estimator.classes_[code]!s}", numbers, 0.0)


def _of_target(driver, X, threshold):
    if len(driver.iterate) > 1:
        raise ValueError(
            f"X is for models with one target, and the estimator has "
            f"{len(driver.iterate)}. Fit the target alone, or give coef."
        )

    def numbers(driver, iterates):
        return driver.inspected.predictions(_raw(driver, X, iterates))[:, 0]

    return _Question("the prediction", numbers, threshold)


def _one_row(driver, X):
    n_rows = len(driver.rows_of(X))
    if n_rows != 1:
        raise ValueError(f"X must have one row, got {n_rows}: ask row by row.")
    return X


def _raw(driver, X, iterates):
    """Raw predictions of one row: (n_models, n_outputs)."""
    ((_, raw),) = driver.rows_of(X).raw_predictions(iterates)
    return raw[0]


def _next_unit(driver, question, value):
    """The name of the unit without which the number is the nearest, or beyond.

    None where no unit brings it nearer.
    """
    numbers = np.full(len(driver.units), np.nan)

    def use(_, found):
        numbers[found.units] = question.numbers(driver, found.iterates)

    driver.run(use)
    distances = question.distance(numbers)
    if not (distances < question.distance(value)).any():
        return None
    return driver.units.names[np.nanargmin(distances)]


def _driver_without(edited, units, chosen, groups):
    """The driver of the edited copy, with the groups of the rows that are left."""
    if groups is None or isinstance(groups, str):
        return Driver(edited, groups, np.inf, 0)
    left = ~np.isin(units.of_row, chosen)
    return Driver(edited, units.names[units.of_row[left]], np.inf, 0)
