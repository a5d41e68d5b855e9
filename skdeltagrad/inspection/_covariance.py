"""Covariances of coefficients that allow for wrong variances and for clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from .._estimators.base import BaseDeltaGrad
from .._utils import html
from .._utils.lock import one_at_a_time
from .._utils.typing import Groups
from ._base import AbstractResult, data_frame
from ._driver import Driver

Kinds = Literal["HC0", "HC1", "HC2", "HC3", "jackknife", "CRV3"]

# The power of 1 / (1 - h) that multiplies the squared scores of each sandwich.
_POWERS = {"HC0": 0, "HC1": 0, "HC2": 1, "HC3": 2}
_KINDS = (*_POWERS, "jackknife", "CRV3")
_HEADINGS = ("estimate", "std. error", "statistic", "p value", "lower", "upper")
# Display: most coefficients that are printed.
_MOST_PRINTED = 20


@dataclass(frozen=True, repr=False, eq=False)
class CoefficientSummary(AbstractResult):
    """A table of coefficients: see `summary`. It prints as a table.

    Attributes
    ----------
    names : tuple of str
    estimate, standard_error : ndarray of shape (n_coefficients,)
    statistic : ndarray of shape (n_coefficients,)
        Estimate divided by its standard error.
    p_value : ndarray of shape (n_coefficients,)
        Of the hypothesis that the coefficient is 0, two-sided.
    lower, upper : ndarray of shape (n_coefficients,)
        Ends of the confidence intervals.
    level : float
        Their nominal coverage.
    kind : str
        Of the covariance.
    """

    names: tuple
    estimate: np.ndarray
    standard_error: np.ndarray
    statistic: np.ndarray
    p_value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float
    kind: str

    _columns = (
        "estimate",
        "standard_error",
        "statistic",
        "p_value",
        "lower",
        "upper",
    )

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row for each coefficient.

        Raises
        ------
        ImportError
            When pandas is not installed.
        """
        columns = {name: getattr(self, name) for name in self._columns}
        return data_frame(columns, list(self.names), "name")

    def __repr__(self) -> str:
        width = max(map(len, ("", *self.names)))
        head = " ".join(f"{name:>10}" for name in _HEADINGS)
        lines = [f"{self._title()}", f"{'':{width}} {head}"]
        for name, cells in self._rows():
            row = " ".join(f"{cell:>10}" for cell in cells)
            lines.append(f"{name:{width}} {row}")
        return "\n".join([*lines, *self._facts().values()])

    def _repr_html_(self) -> str:
        columns = ["", *_HEADINGS]
        rows = ([name, *cells] for name, cells in self._rows())
        return html.records(self._title(), columns, rows, *self._facts().values())

    def _title(self):
        return f"{self.level:.4g} confidence intervals, {self.kind} standard errors"

    def _facts(self):
        n_more = len(self.names) - _MOST_PRINTED
        return {"more": f"and {n_more:,} more"} if n_more > 0 else {}

    def _rows(self):
        values = np.column_stack([getattr(self, name) for name in self._columns])
        for name, row in zip(self.names[:_MOST_PRINTED], values, strict=False):
            yield name, [f"{value:.4g}" for value in row]


@dataclass(frozen=True, repr=False, eq=False)
class Covariance(AbstractResult):
    """Result of `covariance`.

    Attributes
    ----------
    matrix : ndarray of shape (n_coefficients, n_coefficients)
        Covariance of the coefficients, with the intercept last if there is one; output
        after output if there are several.
    estimate : ndarray of shape (n_coefficients,)
        The coefficients.
    names : tuple of str
        Of the coefficients.
    kind : {"HC0", "HC1", "HC2", "HC3", "jackknife", "CRV3"}
    n_units : int
        Number of rows of positive weight, or of groups that have one.
    error : float
        The largest error of a model without a unit, as a fraction of the change from
        the model of all rows: see `LeaveOneOut`. 0 where no models are computed.
    """

    matrix: np.ndarray
    estimate: np.ndarray
    names: tuple
    kind: str
    n_units: int
    error: float = 0.0

    @property
    def standard_errors(self) -> np.ndarray:
        """Square roots of the diagonal, shape (n_coefficients,)."""
        return np.sqrt(np.maximum(self.matrix.diagonal(), 0.0))

    def intervals(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Confidence intervals of the coefficients.

        Parameters
        ----------
        level : float, default=0.95
            Nominal coverage.

        Returns
        -------
        lower, upper : ndarray of shape (n_coefficients,)
            By the normal distribution for "HC0" to "HC3", and by Student's with
            ``n_units - 1`` degrees of freedom for "jackknife" and "CRV3".

        Raises
        ------
        ValueError
            When `level` is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must be between 0 and 1, got {level!r}.")
        half = self._distribution().isf((1.0 - level) / 2.0) * self.standard_errors
        return self.estimate - half, self.estimate + half

    def summary(self, level: float = 0.95) -> CoefficientSummary:
        """Return a table of estimates, standard errors and intervals of this level."""
        lower, upper = self.intervals(level)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = self.estimate / self.standard_errors
        return CoefficientSummary(
            self.names, self.estimate, self.standard_errors, statistic,
            2.0 * self._distribution().sf(np.abs(statistic)), lower, upper, level,
            self.kind,
        )  # fmt: skip

    def to_frame(self) -> Any:
        """Return the matrix as a pandas DataFrame with names on both axes.

        Raises
        ------
        ImportError
            When pandas is not installed.
        """
        columns = dict(zip(self.names, self.matrix, strict=True))
        return data_frame(columns, list(self.names), "name")

    def _distribution(self):
        if self.kind in _POWERS:
            return stats.norm
        return stats.t(max(self.n_units - 1, 1))

    def _title(self):
        return f"{self.kind} of {len(self.names):,} coefficients"

    def _facts(self):
        smallest, largest = self.standard_errors.min(), self.standard_errors.max()
        return {
            "standard errors": f"{smallest:.3g} to {largest:.3g}",
            "rows" if self.kind in _POWERS else "models": f"{self.n_units:,}",
        }


@one_at_a_time
def covariance(
    estimator: BaseDeltaGrad, *, kind: Kinds = "HC3", groups: Groups = None,
    tol: float = 0.1, verbose: int = 0,
) -> Covariance:  # fmt: skip
    """Covariance of the coefficients that does not rely on the variance of the model.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression, DeltaGradPoissonRegressor or \
DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed.
    kind : {"HC0", "HC1", "HC2", "HC3", "jackknife", "CRV3"}, default="HC3"
        "HC0" to "HC3" are the sandwich of the Hessian with the squared scores of the
        rows [1]_: as they are; times ``n / (n - df_model)``; divided by ``1 - h``; and
        by its square, with the hat values h of `diagnostics`. They need one output and
        ``solver="newton"``. "jackknife" and "CRV3" are computed from the models without
        each row or group, and take any number of outputs and any solver: (n - 1) / n
        times the sum of outer products of their coefficients, "jackknife" minus the
        mean over models, "CRV3" minus the coefficients of all rows [2]_.
    groups : default=None
        See `leave_one_out`. Clusters that are independent of each other; required for
        "CRV3", optional for "jackknife".
    tol, verbose
        See `leave_one_out`.

    Returns
    -------
    result : Covariance

    Raises
    ------
    ValueError
        When `kind` is unknown or does not go with `groups`, when the estimator does not
        allow it, or when there is no model without one of the units.

    Notes
    -----
    The coefficients are those of a penalised fit: intervals do not allow for the bias
    that the penalty causes.

    References
    ----------
    .. [1] J. G. MacKinnon, H. White, "Some heteroskedasticity-consistent covariance
       matrix estimators with improved finite sample properties", Journal of
       Econometrics 29(3), 1985.
    .. [2] J. G. MacKinnon, M. O. Nielsen, M. D. Webb, "Fast and reliable jackknife and
       bootstrap methods for cluster-robust inference", Journal of Applied Econometrics
       38(5), 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skdeltagrad import DeltaGradRidge
    >>> from skdeltagrad.inspection import covariance
    >>> data = load_diabetes(as_frame=True)
    >>> model = DeltaGradRidge(alpha=0.1).fit(data.data[["bmi", "bp"]], data.target)
    >>> print(covariance(model).summary())
    0.95 confidence intervals, HC3 standard errors
                estimate std. error  statistic    p value      lower      upper
    bmi              723      58.78       12.3  9.109e-35      607.8      838.2
    bp             389.9      60.29      6.467  1.002e-10      271.7        508
    intercept      152.1      2.869      53.03          0      146.5      157.8
    """
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}, got {kind!r}.")
    if kind == "CRV3" and groups is None:
        raise ValueError(
            'kind="CRV3" leaves out clusters: pass one label for each row as groups, '
            'or "sample_id". For rows that are independent, use "HC3" or "jackknife".'
        )
    if kind in _POWERS and groups is not None:
        raise ValueError(
            f'kind="{kind}" treats rows as independent and takes no groups. Use "CRV3" '
            'or "jackknife" for clusters.'
        )
    driver = Driver(estimator, groups, tol, verbose)
    estimate = driver.joined(driver.iterate)
    names = driver.coefficient_names
    if kind in _POWERS:
        model = driver.working_model(f'kind="{kind}"')
        matrix = driver.covariance_of(_sandwich(driver, model, _POWERS[kind]))
        if kind == "HC1":
            matrix *= model.n_rows / (model.n_rows - model.df_model)
        return Covariance(matrix, estimate, names, kind, model.n_rows)
    matrix, n, error = _by_models(driver, is_centred=kind == "jackknife")
    return Covariance(matrix, estimate.ravel(), names, kind, n, error)


def summary(
    estimator: BaseDeltaGrad, *, kind: Kinds = "HC3", groups: Groups = None,
    level: float = 0.95, tol: float = 0.1, verbose: int = 0,
) -> CoefficientSummary:  # fmt: skip
    """A table of coefficients with standard errors and confidence intervals.

    Parameters
    ----------
    estimator, kind, groups
        See `covariance`.
    level : float, default=0.95
        Nominal coverage of the intervals.
    tol, verbose
        See `covariance`.

    Returns
    -------
    result : CoefficientSummary

    Raises
    ------
    ValueError
        As for `covariance`, and when `level` is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:  # before the work
        raise ValueError(f"level must be between 0 and 1, got {level!r}.")
    found = covariance(estimator, kind=kind, groups=groups, tol=tol, verbose=verbose)
    return found.summary(level)


def _sandwich(driver, model, power):
    """``H^-1 (sum_i g_i g_i' / (1 - h_i)^power) H^-1`` with the scores g_i."""
    middle = np.zeros((model.hessian.order,) * 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.where(model.slope, model.slope**2 / model.remaining**power, 0.0)
    for block, X in driver.row_blocks():
        middle += (X.T * factors[block]) @ X
    half = model.hessian.solve_many(middle[np.newaxis])[0]
    return model.hessian.solve_many(half.T[np.newaxis])[0]


def _by_models(driver, is_centred):
    """The covariance by the models without each unit, their number, and their error."""
    units = driver.units
    units.check_defined(required=True)
    estimate, sums = driver.joined(driver.iterate).ravel(), {}

    def use(number, found):
        counts = units.has_weight[found.units]  # units without weight do not count
        some = driver.joined(found.iterates[counts])
        change = some.reshape(len(some), -1) - estimate
        error = found.error[counts].max(initial=0.0)
        sums[number] = change.sum(axis=0), change.T @ change, error

    driver.run(use)
    # In the order of the blocks, whatever the order in which threads finished.
    first, second, errors = zip(*(sums[number] for number in sorted(sums)), strict=True)
    n, total, matrix = int(units.has_weight.sum()), sum(first), sum(second)
    if is_centred:
        matrix = matrix - np.outer(total, total) / n
    return (n - 1) / n * matrix, n, float(max(errors))
