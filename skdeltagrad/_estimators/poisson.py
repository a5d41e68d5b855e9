"""Poisson regression whose training rows can be removed, added and corrected."""

from __future__ import annotations

import os
from collections.abc import Callable
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import RegressorMixin
from sklearn.linear_model import PoissonRegressor
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._engine import Model
from .._objective.losses import PoissonLoss
from .._reports.report import UpdateReport
from .._utils.sklearn_compat import Interval, LinearModel
from .._utils.typing import Kind, MatrixLike, Solver
from .base import BaseDeltaGrad
from .requests import check_some_count
from .targets import Targets


class DeltaGradPoissonRegressor(RegressorMixin, BaseDeltaGrad, LinearModel):
    """Poisson regression that can forget, add and correct training rows.

    For counts and frequencies: the mean is ``exp(x @ w + b)``. Minimises the objective
    of `sklearn.linear_model.PoissonRegressor` times the sum of the weights,

        sum_i s_i (exp(z_i) - y_i z_i) + alpha ||w||^2 / 2,    z_i = x_i @ w + b,

    so that an edit does not change the penalty. For rates, give the counts divided by
    their exposures as `y`, and the exposures as `sample_weight`.

    After an edit the model becomes what a fit on the edited rows would give, at a
    fraction of the cost, by DeltaGrad [1]_: by default the optimum moves by one step
    from the cached gradient and Hessian, and a bound says how far it may be off; with
    the solvers "gd" and "sgd" the whole training run is cached and replayed.

    Parameters
    ----------
    alpha : float, default=1.0
        Regularisation strength. That of scikit-learn's model is alpha divided by the
        sum of the weights, which `to_sklearn` sets.
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
        the way since the rows were last read (not of what this edit changes, which the
        report gives as `change_bound`). Held by a bound where there is one.
        For a replay with ``period="auto"``: how far from an exact retrain, as a share
        of what the edit moves; held by an estimate.
    curvature : {"auto", "exact", "kronecker", "diagonal"}, default="auto"
        For "newton": "exact" keeps the Hessian, so that most edits take no pass over
        the rows. The others keep none and solve by conjugate gradients, one pass each,
        preconditioned by a Kronecker product or by the diagonal.
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
        removed rows. `sample_weight` counts in them.
    learning_rate : "auto", float or array-like of shape (max_iter,), default="auto"
        For "gd" and "sgd": step size on the mean objective, for all epochs or for
        each. It must be given: there is no "auto", because the objective is not smooth,
        and any step size is too large somewhere.
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
    coef_ : ndarray of shape (n_features,)
        Coefficients: float64, for float32 rows, too.
    intercept_ : float
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
    DeltaGradRidge : Linear regression of the same kind.
    sklearn.linear_model.PoissonRegressor : The model, without editing.

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
    >>> import numpy as np
    >>> from skdeltagrad import DeltaGradPoissonRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((1000, 3))
    >>> y = rng.poisson(np.exp(X @ [0.3, -0.2, 0.1]))
    >>> model = DeltaGradPoissonRegressor().fit(X, y)
    >>> report = model.unlearn(position=[3, 17]).update_report_
    >>> report.n_samples, report.n_passes, report.relative_bound < 0.01
    (998, 0.0, True)
    """

    _parameter_constraints = {
        **BaseDeltaGrad._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
    }
    _fixed_by_fit = (*BaseDeltaGrad._fixed_by_fit, "alpha")

    def __init__(
        self,
        alpha: float = 1.0,
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
        """Predicted means, ``exp(x @ coef_ + intercept_)``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        means : ndarray of shape (n_samples,)
        """
        return self._predictions(LinearModel.predict(self._as_it_is_now(), X))

    def score(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """D^2, the fraction of the deviance that is explained, as in scikit-learn.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Targets, 0 or more.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            1 at best; 0 for a constant that is the mean of `y`.
        """
        model = self._as_it_is_now()
        return model.to_sklearn().score(X, y, sample_weight=sample_weight)

    def to_sklearn(self) -> PoissonRegressor:
        """The fitted model as scikit-learn's own, without rows and without the run.

        Returns
        -------
        model : sklearn.linear_model.PoissonRegressor
            Its `alpha` is ours divided by the sum of the weights. With
            ``standardize=True``, a pipeline of a `StandardScaler` and that.
        """
        check_is_fitted(self)
        model = PoissonRegressor(
            alpha=self.alpha / self._engine.total_weight,
            fit_intercept=self.fit_intercept,
        )
        # It needs attributes of its own that only `fit` gives.
        model.fit(sparse.csr_matrix((2, self.n_features_in_)), np.ones(2))
        return self._hand_over(model)

    def _fit_targets(self, y, weight):
        y = column_or_1d(y, warn=True)
        check_some_count(np.count_nonzero(weight))  # that is said before all else
        return self._targets(self._code_targets(y), weight, 0)

    def _targets(self, y, weight, n_positive):
        """`Targets` of rows that join others, some of which have positive targets."""
        if (y < 0).any():
            raise ValueError(
                f"y must be 0 or more, like any count, and its least is {y.min()}."
            )
        n_positive += _count_positive(y, weight)
        if self.fit_intercept and not n_positive:
            raise ValueError(
                "No row of positive weight has a positive target, or would have one: "
                "there is no optimum, because the lower the intercept the better. Keep "
                "such a row, or use fit_intercept=False."
            )
        return Targets(
            y, np.ones(len(y)), Model(PoissonLoss(), np.full(1, float(self.alpha))),
            attributes={"_n_positive": n_positive},
        )  # fmt: skip

    def _code_targets(self, y):
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        return np.ascontiguousarray(column_or_1d(y).reshape(-1, 1))

    def _edit_targets(self, table, edit):
        removed, new_rows = edit.removed, edit.new_rows
        n_positive = self._n_positive
        n_positive -= _count_positive(table.y[removed], table.weight[removed])
        if new_rows is None:
            return self._targets(table.y[:0], table.weight[:0], n_positive)
        return self._targets(
            self._code_targets(new_rows.y), new_rows.weight, n_positive
        )

    _default_scoring = None  # D^2, by `score`

    def _publish(self, coef, intercept):
        return {
            "coef_": coef[0],
            "intercept_": intercept[0] if self.fit_intercept else 0.0,
        }

    def _predictions(self, raw):
        with np.errstate(over="ignore"):  # beyond the largest number: infinite
            return np.exp(raw)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags


def _count_positive(y, weight):
    """Number of rows of a positive target and a positive weight."""
    return int(np.count_nonzero((y[:, 0] > 0) & (weight > 0)))
