"""Influence diagnostics of regression, from exact leave-one-out fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._estimators.base import BaseDeltaGrad
from .._utils.lock import one_at_a_time
from ._base import AbstractUnitResult
from ._driver import Driver
from ._functions import full_of_nan


@dataclass(frozen=True, repr=False, eq=False)
class Diagnostics(AbstractUnitResult):
    """Result of `diagnostics`, under the names of statsmodels.

    H is the Hessian of the objective with its penalty, h_i the hat value of row i, phi
    the dispersion, and (i) means "by the model without row i".

    Attributes
    ----------
    units : ndarray of shape (n_rows,)
        Positions of the rows.
    hat_diag : ndarray of shape (n_rows,)
        h_i, the diagonal of the hat matrix: how much a row determines its own
        prediction, from 0 to 1. With a penalty their sum is below the number of
        coefficients.
    resid_studentized_internal : ndarray of shape (n_rows,)
        Pearson residual divided by ``sqrt(phi (1 - h_i))``.
    resid_studentized_external : ndarray of shape (n_rows,)
        Pearson residual of the leave-one-out prediction, with its own variance, times
        ``sqrt((1 - h_i) / phi_(i))``.
    cooks_distance : ndarray of shape (n_rows,)
        ``(w - w_(i))' H (w - w_(i)) / (df_model phi)``.
    dffits : ndarray of shape (n_rows,)
        Change of the row's own linear predictor, divided by its standard error
        ``sqrt(phi_(i) x_i' H^-1 x_i)``.
    dfbetas : ndarray of shape (n_rows, n_coefficients)
        ``w - w_(i)``, divided by the standard errors ``sqrt(phi_(i) diag(H^-1))``; the
        intercept last, if there is one.
    error : ndarray of shape (n_rows,)
        Bound of the error of each leave-one-out model: see `LeaveOneOut`. 0 for Ridge.
    df_model : float
        Effective degrees of freedom, the sum of `hat_diag`.
    scale : float
        phi. For Ridge the sum of squared residuals divided by the number of rows minus
        `df_model`; 1 otherwise.
    names : tuple of str
        Of the coefficients, in the order of the columns of `dfbetas`.
    sample_ids : ndarray of shape (n_rows,) or None
        Ids of the rows, if `fit` was given ids.
    unit_name : "position"
    """

    units: np.ndarray
    hat_diag: np.ndarray
    resid_studentized_internal: np.ndarray
    resid_studentized_external: np.ndarray
    cooks_distance: np.ndarray
    dffits: np.ndarray
    dfbetas: np.ndarray
    error: np.ndarray
    df_model: float
    scale: float
    names: tuple
    unit_name: str = "position"
    sample_ids: np.ndarray | None = None

    ranked_by = "cooks_distance"
    _further = (
        "hat_diag",
        "resid_studentized_internal",
        "resid_studentized_external",
        "dffits",
        "error",
        "dfbetas",
    )

    def _names(self):
        return self.names

    def _title(self):
        return f"{self._counted()}, {self.df_model:.4g} degrees of freedom"

    def _facts(self):
        return {
            "Cook's distance": self._spread(self.cooks_distance),
            "hat values": self._spread(self.hat_diag),
            "external residuals": self._spread(self.resid_studentized_external),
        }


@one_at_a_time
def diagnostics(
    estimator: BaseDeltaGrad, *, tol: float = 0.1, verbose: int = 0
) -> Diagnostics:  # fmt: skip
    """Influence diagnostics of every training row, under the names of statsmodels.

    They are computed from the model without each row, where statsmodels takes one step
    for models that are not linear. With a penalty they are those of the penalised fit:
    its Hessian takes the place of ``X'X``, and the trace of its hat matrix that of the
    number of coefficients. Without one, those of Ridge are the classical ones [1]_.

    Weights are those of weighted least squares: a row counts as one observation,
    whatever its weight is, unless it is 0.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression, DeltaGradPoissonRegressor or \
DeltaGradRidge
        Fitted with ``solver="newton"``, ``standardize=False`` and ``store_data=True``;
        two classes, or one target. It is not changed.
    tol, verbose
        See `leave_one_out`. `tol` does not matter for Ridge, which is exact.

    Returns
    -------
    result : Diagnostics

    Raises
    ------
    ValueError
        When the estimator has several outputs or no Hessian, or the Hessian is
        singular.
    MemoryError
        When n_rows x n_coefficients numbers do not fit into memory.

    Warns
    -----
    FitFailedWarning
        As for `leave_one_out`.

    References
    ----------
    .. [1] D. A. Belsley, E. Kuh, R. E. Welsch, "Regression Diagnostics", Wiley, 1980.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skdeltagrad import DeltaGradRidge
    >>> from skdeltagrad.inspection import diagnostics
    >>> X, y = load_diabetes(return_X_y=True)
    >>> found = diagnostics(DeltaGradRidge(alpha=1e-10).fit(X, y))
    >>> found.most_influential(3).units
    array([382, 123, 169])
    """
    driver = Driver(estimator, None, tol, verbose)
    units, iterate = driver.units, driver.iterate
    model = driver.working_model("diagnostics")
    units.check_defined()
    n_rows, n_dof = len(units), iterate.shape[1]
    influence, error, penalties = np.full((3, n_rows), np.nan)
    raw = np.full((len(units.weight), 1), np.nan)
    dfbetas = full_of_nan((n_rows, n_dof), "coefficients")
    coef = driver.joined(iterate[np.newaxis])[0]

    def use(_, found):
        influence[found.units], error[found.units] = found.influence, found.error
        raw[found.index] = driver.own_predictions(found)
        penalties[found.units] = found.iterates[:, 0] ** 2 @ model.penalty
        dfbetas[found.units] = coef - driver.joined(found.iterates)

    driver.run(use)
    raw_without, is_constant = raw[units.index], driver.has_constant_variance
    scale = float(model.dispersion(is_constant))
    scales = model.dispersions_without(
        is_constant, (iterate[0] ** 2 @ model.penalty, penalties)
    )
    shift = driver.raw_predictions() - raw_without
    external = np.sqrt(model.weight * model.remaining) * driver.pearson_residuals(
        raw_without
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        dfbetas /= driver.standard_errors(model.hessian)
        return Diagnostics(
            hat_diag=model.hat_diag,
            resid_studentized_internal=model.pearson / np.sqrt(scale * model.remaining),
            resid_studentized_external=external / np.sqrt(scales),
            cooks_distance=influence**2 / (model.df_model * scale),
            dffits=shift[:, 0] / np.sqrt(scales * model.spread),
            dfbetas=dfbetas / np.sqrt(scales)[:, np.newaxis],
            error=error,
            df_model=model.df_model,
            scale=scale,
            names=driver.coefficient_names,
            **units.described(),
        )
