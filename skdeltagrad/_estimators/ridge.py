"""Ridge regression whose training rows can be removed, added and corrected."""

from __future__ import annotations

import os
from collections.abc import Callable
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .._engine import Model
from .._objective.losses import HalfSquaredLoss
from .._reports.few_words import counted
from .._reports.report import UpdateReport
from .._utils.sklearn_compat import Interval, LinearModel
from .._utils.typing import Kind, MatrixLike, Solver
from .base import BaseDeltaGrad
from .documentation import with_shared_parts
from .targets import Targets


@with_shared_parts
class DeltaGradRidge(MultiOutputMixin, RegressorMixin, BaseDeltaGrad, LinearModel):
    """Ridge regression that can forget, add and correct training rows.

    Minimises half the objective of `sklearn.linear_model.Ridge`,

        sum_i s_i ||y_i - x_i @ W - b||^2 / 2 + alpha ||W||^2 / 2.

    After an edit the model becomes what a fit on the edited rows would give, at a
    fraction of the cost, by DeltaGrad [1]_: by default by one Newton step from the
    cached gradient and Hessian, which is exact except for rounding; with the solvers
    "gd" and "sgd" the whole training run is cached and replayed.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Regularisation strength, for all targets or for each.
    $fit_intercept
    $parameters

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients: float64, for float32 rows, too. For one target of shape
        (n_features,), also where `y` has shape (n_samples, 1), as in scikit-learn.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept; 0.0 if ``fit_intercept=False``.
    $attributes

    See Also
    --------
    DeltaGradLogisticRegression : Classification in the same way.
    sklearn.linear_model.Ridge : The model, without editing.

    $notes

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from skdeltagrad import DeltaGradRidge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X = scale(X)
    >>> model = DeltaGradRidge(alpha=10.0).fit(X, y)
    >>> report = model.unlearn(position=[3, 17]).update_report_
    >>> report.n_samples, report.n_passes
    (440, 0.0)
    """

    _parameter_constraints = {
        **BaseDeltaGrad._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
    }
    _fixed_by_fit = (*BaseDeltaGrad._fixed_by_fit, "alpha")

    def __init__(
        self,
        alpha: float | ArrayLike = 1.0,
        *,
        fit_intercept: bool = True,
        solver: Solver = "newton",
        max_iter: int = 100,
        tol: float = 1e-4,
        edit_tol: float = 1e-2,
        curvature: Kind = "auto",
        store_data: bool = True,
        standardize: bool = False,
        learning_rate: Literal["auto"] | ArrayLike = "auto",
        batch_size: int = 1024,
        burn_in: int = 10,
        period: Literal["auto"] | int = "auto",
        history_size: int = 2,
        cache_dtype: Literal["float64", "float32"] = "float64",
        cache_folder: str | os.PathLike | None = None,
        store: str | os.PathLike | None = None,
        random_state: int | np.random.RandomState | None = None,
        callback: Callable[[UpdateReport], object] | None = None,
        verbose: int = 0,
    ):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.edit_tol = edit_tol
        self.curvature = curvature
        self.store_data = store_data
        self.standardize = standardize
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.burn_in = burn_in
        self.period = period
        self.history_size = history_size
        self.cache_dtype = cache_dtype
        self.cache_folder = cache_folder
        self.store = store
        self.random_state = random_state
        self.callback = callback
        self.verbose = verbose

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        targets : ndarray of shape (n_samples,) or (n_samples, n_targets)
            One-dimensional for one target.
        """
        return LinearModel.predict(self._as_it_is_now(), X)

    def to_sklearn(self) -> Ridge:
        """Return the fitted model as one of scikit-learn, without the training rows.

        Returns
        -------
        model : sklearn.linear_model.Ridge
            With ``standardize=True``, a pipeline of a `StandardScaler` and it.
        """
        check_is_fitted(self)
        return self._as_fitted_sklearn()

    def _as_sklearn(self):
        alpha = self.alpha if np.isscalar(self.alpha) else np.asarray(self.alpha)
        return Ridge(alpha, fit_intercept=self.fit_intercept), ()

    def _fit_targets(self, y, weight, numbers=np.zeros):
        y = _as_numbers(y)
        self._single_target = y.ndim == 1
        return self._targets(_as_columns(y))

    def _targets(self, y):
        n_targets = y.shape[1]
        alpha = np.asarray(self.alpha, dtype=float)
        if alpha.shape not in ((), (1,), (n_targets,)):
            raise ValueError(
                f"alpha has shape {alpha.shape} and y has "
                f"{counted(n_targets, 'target', 'targets')}: give one alpha, or one "
                "for each target."
            )
        if not (np.isfinite(alpha).all() and (alpha >= 0).all()):
            raise ValueError(f"alpha must be finite and 0 or more, got {self.alpha}.")
        return Targets(
            y,
            np.broadcast_to(1.0, len(y)),
            Model(HalfSquaredLoss(n_targets), np.broadcast_to(alpha, n_targets).copy()),
        )

    def _code_targets(self, y):
        y = _as_columns(_as_numbers(y))
        n_targets = self._engine.model.loss.n_outputs
        if y.shape[1] != n_targets:
            raise ValueError(
                f"y has {counted(y.shape[1], 'target', 'targets')}, and fit was given "
                f"{n_targets}: give y as many columns."
            )
        return y

    def _edit_targets(self, table, edit):
        added = edit.new_rows
        y = table.y[:0] if added is None else self._code_targets(added.y)
        return Targets(y, np.broadcast_to(1.0, len(y)))

    def _publish(self, coef, intercept):
        # The shapes of scikit-learn's `Ridge`: one target gives one row of coefficients
        # whether y is of shape (n_samples,) or (n_samples, 1), and an intercept that is
        # a number for the first only. Without an intercept it is a number for any y.
        if len(coef) == 1:
            coef = coef[0]
        if self._single_target:
            intercept = intercept[0]
        return {"coef_": coef, "intercept_": intercept if self.fit_intercept else 0.0}


def _as_numbers(y):
    return check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")


def _as_columns(y):
    return np.ascontiguousarray(y.reshape(len(y), -1))
