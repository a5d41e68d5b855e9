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
from .._reports.report import UpdateReport
from .._utils.sklearn_compat import Interval, LinearModel
from .._utils.typing import Kind, MatrixLike, Solver
from .base import BaseDeltaGrad
from .targets import Targets


class DeltaGradRidge(MultiOutputMixin, RegressorMixin, BaseDeltaGrad, LinearModel):
    """Ridge regression that can forget, add and correct training rows.

    Minimises half the objective of `sklearn.linear_model.Ridge`,

        sum_i s_i ||y_i - x_i @ W - b||^2 / 2 + alpha ||W||^2 / 2,

    After an edit the model becomes what a fit on the edited rows would give, at a
    fraction of the cost, by DeltaGrad [1]_: by default by one step from the cached
    gradient and Hessian, exact but for rounding; with the solvers "gd" and "sgd" the
    whole training run is cached and replayed.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Regularisation strength, for all targets or for each.
    fit_intercept : bool, default=True
        Whether there is an intercept. It is not penalised.
    solver : {"newton", "gd", "sgd"}, default="newton"
        "newton" aims at scikit-learn's own solution, the optimum, and edits it at the
        end of the path, with a certificate. "gd" and "sgd" (gradient descent on all
        rows, or on mini-batches) run exactly `max_iter` epochs: the path is the model,
        and an edit replays all of it, as in the paper.
    max_iter : int, default=100
        Largest number of Newton steps; number of epochs (passes over the rows) for
        "gd" and "sgd".
    tol : float, default=1e-4
        For "newton": a fit stops where the largest entry of the gradient per unit of
        weight is at most this, and what is left is at most a thousandth of what a
        median row does to the optimum (a hundredth where no Hessian is kept).
    edit_tol : float, default=1e-2
        For "newton": how far from the exact optimum an edit may end, as a fraction of
        what it changes. Held by a bound where there is one; the step is exact but for
        rounding.
        For a replay with ``period="auto"``: how far from an exact retrain, as a share
        of what the edit moves; held by an estimate.
    curvature : {"auto", "exact", "kronecker", "diagonal"}, default="auto"
        For "newton": "exact" keeps the Hessian, so that most edits take no pass over
        the rows. The others keep none and solve by conjugate gradients, one pass each,
        preconditioned by a Kronecker product (several classes) or by the diagonal.
        "auto" takes the first that fits, by size and by the memory that is free.
    store_data : bool, default=True
        Whether the estimator keeps the training rows. Without them (for "newton" with
        the exact Hessian) rows can be removed, given by their content and with their
        weights, for as long as `edit_tol` is certified. A fingerprint of each row, of
        8 bytes, is kept, so that rows that were never trained are refused: whoever has
        the estimator can ask it whether a row that is suspected is a training row.
    standardize : bool, default=False
        For "newton": whether the model is that of standardised columns, as in a
        pipeline after a `StandardScaler`. Rows are stored and given as they are, and
        `coef_` is in their units; what is penalised is ``coef_ * scale_``. The
        deviations are those of the rows that are there: an edit changes them, and the
        model with them, exactly, where a scaler would go on with what it learned from
        removed rows. `sample_weight` counts in them, `class_weight` does not.
    learning_rate : "auto", float or array-like of shape (max_iter,), default="auto"
        For "gd" and "sgd": step size on the mean objective, for all epochs or for
        each. "auto" is one over its smoothness, decided by `fit` and kept through
        edits like a hyper-parameter: see `learning_rate_`.
    batch_size : int, default=1024
        For "sgd": rows in a batch. Rows are dealt to batches anew in every epoch; the
        last one may be shorter.
    burn_in : int, default=10
        For "gd" and "sgd": number of steps at the start of a replay whose gradients
        are computed (the paper's j0).
    period : "auto" or int, default="auto"
        With a number, one step in `period` is computed after `burn_in` steps, and the
        others are predicted (the paper's T0); with 1 every edit is an exact retraining.
        "auto" predicts every step by Hessians that are kept at a few points of the
        path, measures what they get wrong at as many nodes as `edit_tol` asks for, by
        an estimate, and retrains exactly where that is no dearer.
    history_size : int, default=2
        Number of curvature pairs that predictions rest on (the paper's m).
    cache_dtype : {"float64", "float32"}, default="float64"
        Precision of the steps that are kept, for "gd" and "sgd". With "float32" every
        step is rounded as it is made, to a relative 6e-8: the cached run takes half the
        memory, and its end is off by at most 6e-8 of the length of the path.
    cache_folder : str, path-like or None, default=None
        For "gd" and "sgd": a folder for the cached run, which is then mapped into
        memory from a file there instead of held; the file has no name and is gone
        with the estimator. None: in memory. May be changed after `fit`.
    random_state : int, RandomState instance or None, default=None
        Decides which rows share a batch, for "sgd".
    callback : callable, default=None
        Called with the `UpdateReport` of every fit and edit, for a log of them all. It
        is called last: where it raises, the edit is undone. It is not in dumps and
        copies of a fitted estimator. May be changed after `fit`.
    verbose : int, default=0
        If positive, the memory that curvature or the cached run takes is printed before
        `fit`, and `update_report_` after it and every edit; above 1 every Newton step,
        too.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients: float64, for float32 rows, too. For one target of shape
        (n_features,), also where `y` has shape (n_samples, 1), as in scikit-learn.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept; 0.0 if ``fit_intercept=False``.
    scale_ : ndarray of shape (n_features,)
        Standard deviations of the columns, 1 for constant ones, with
        ``standardize=True``.
    n_iter_ : ndarray of shape (1,), dtype int32
        Number of Newton steps of the last fit, or of epochs.
    learning_rate_ : float or ndarray of shape (max_iter,)
        Step size of each epoch, for "gd" and "sgd".
    trajectory_ : Trajectory
        The cached run, for "gd" and "sgd": its steps, of which its iterates follow.
    update_report_ : UpdateReport
        What the last fit or edit did: a receipt.
    history_ : History
        The receipts of the fit and the edits after it, the newest 1,000.
    n_features_in_ : int
        Number of features seen by `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, when X had names that are all strings.

    See Also
    --------
    DeltaGradLogisticRegression : Classification of the same kind.
    sklearn.linear_model.Ridge : The model, without editing.

    Notes
    -----
    The fitted estimator contains its training rows, and so does a dump of it, unless
    ``store_data=False``. `to_sklearn` returns a model without them.

    From scikit-learn 1.9 on, its callbacks (``set_callbacks``), progress bars for
    example, follow fits and edits.

    References
    ----------
    .. [1] Y. Wu, E. Dobriban, S. B. Davidson, "DeltaGrad: Rapid retraining of machine
       learning models", ICML 2020. https://arxiv.org/abs/2006.14755

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
        self.random_state = random_state
        self.callback = callback
        self.verbose = verbose

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predicted targets.

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
        """The fitted model as scikit-learn's own, without rows and without the run.

        Returns
        -------
        model : sklearn.linear_model.Ridge
            With ``standardize=True``, a pipeline of a `StandardScaler` and that.
        """
        check_is_fitted(self)
        alpha = self.alpha if np.isscalar(self.alpha) else np.asarray(self.alpha)
        return self._hand_over(Ridge(alpha, fit_intercept=self.fit_intercept))

    def _fit_targets(self, y, weight):
        y = _as_numbers(y)
        self._single_target = y.ndim == 1
        return self._targets(_as_columns(y))

    def _targets(self, y):
        n_targets = y.shape[1]
        alpha = np.asarray(self.alpha, dtype=float)
        if alpha.shape not in ((), (1,), (n_targets,)):
            raise ValueError(
                f"alpha has shape {alpha.shape} and y has {n_targets} targets: give "
                "one alpha, or one for each target."
            )
        if not (np.isfinite(alpha).all() and (alpha >= 0).all()):
            raise ValueError(f"alpha must be finite and 0 or more, got {self.alpha}.")
        return Targets(
            y,
            np.ones(len(y)),
            Model(HalfSquaredLoss(n_targets), np.broadcast_to(alpha, n_targets).copy()),
        )

    def _code_targets(self, y):
        y = _as_columns(_as_numbers(y))
        n_targets = self._engine.model.loss.n_outputs
        if y.shape[1] != n_targets:
            raise ValueError(f"y has {y.shape[1]} targets, fit was given {n_targets}.")
        return y

    def _edit_targets(self, table, edit):
        added = edit.new_rows
        return self._targets(
            table.y[:0] if added is None else self._code_targets(added.y)
        )

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
