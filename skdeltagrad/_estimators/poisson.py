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
from .documentation import with_shared_parts
from .requests import check_some_count
from .targets import Targets


@with_shared_parts
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
    the solvers "gd" and "sgd" the whole training run is cached and replayed. These two
    need a `learning_rate`: there is no "auto", because the objective is not smooth, and
    any step size is too large somewhere.

    Parameters
    ----------
    alpha : float, default=1.0
        Regularisation strength. That of scikit-learn's model is alpha divided by the
        sum of the weights, which `to_sklearn` sets.
    $fit_intercept
    $parameters

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients: float64, for float32 rows, too.
    intercept_ : float
        Intercept; 0.0 if ``fit_intercept=False``.
    $attributes

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
        return self._as_fitted_sklearn()

    def _as_sklearn(self):
        model = PoissonRegressor(
            alpha=self.alpha / self._engine.total_weight,
            fit_intercept=self.fit_intercept,
        )
        # scikit-learn's model can predict only after its own `fit`.
        model.fit(sparse.csr_matrix((2, self.n_features_in_)), np.ones(2))
        return model, ()

    def _fit_targets(self, y, weight, numbers=np.zeros):
        y = column_or_1d(y, warn=True)
        check_some_count(np.count_nonzero(weight))  # that is said before all else
        model = Model(PoissonLoss(), np.full(1, float(self.alpha)))
        return self._targets(self._code_targets(y), weight, 0, model)

    def _targets(self, y, weight, n_positive, model=None):
        """`Targets` of rows that join others, some of which have positive targets."""
        if (y < 0).any():
            raise ValueError(
                f"y must be 0 or more, like any count, and its least is {y.min()}."
            )
        n_positive += _count_positive(y, weight)
        if self.fit_intercept and not n_positive:
            raise ValueError(
                "At least one row of positive weight must have a positive target: "
                "without it there is no optimum, because the loss falls for as long as "
                "the intercept does. Keep such a row, or use fit_intercept=False."
            )
        return Targets(
            y, np.broadcast_to(1.0, len(y)), model, {"_n_positive": n_positive}
        )

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

    def _counted_again(self, table):
        indices = table.live_indices()
        return {"_n_positive": _count_positive(table.y[indices], table.weight[indices])}

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
