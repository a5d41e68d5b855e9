"""Logistic regression whose training rows can be removed, added and corrected."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._data.edit import NO_ROWS
from .._engine import Model
from .._objective.losses import BinomialLoss, MultinomialLoss
from .._reports.report import UpdateReport
from .._utils.callers import level_of_caller
from .._utils.row_blocks import row_blocks
from .._utils.sklearn_compat import (
    Interval,
    LinearClassifierMixin,
    SparseCoefMixin,
    StrOptions,
)
from .._utils.text import shown
from .._utils.typing import Kind, MatrixLike, Solver
from .base import BaseDeltaGrad
from .documentation import with_shared_parts
from .targets import Targets

# Kinds of dtypes whose values can only be labels, unlike floating-point numbers.
_KINDS_OF_LABELS = frozenset("biuU")
_UNKNOWN = -1  # a sentinel: the code of a label that is no class


@with_shared_parts
class DeltaGradLogisticRegression(
    LinearClassifierMixin, SparseCoefMixin, BaseDeltaGrad
):
    """Logistic regression that can forget, add and correct training rows.

    Minimises the objective of `sklearn.linear_model.LogisticRegression`,

        sum_i s_i log-loss(y_i, x_i @ W + b) + ||W||^2 / (2 C),

    binomial for two classes and multinomial for more. After an edit the model becomes
    what a fit on the edited rows would give, at a fraction of the cost, by DeltaGrad
    [1]_: by default the new optimum is computed by a Newton step from the cached
    gradient and Hessian, with a bound on its error; with the solvers "gd" and "sgd" the
    whole training run is cached and replayed.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the regularisation strength; ``np.inf`` for none.
    $fit_intercept
    class_weight : dict or "balanced", default=None
        Weights of the classes, multiplied with `sample_weight`. "balanced" weights are
        those of the current training rows: every edit changes them. Rows count by
        `sample_weight`, as in scikit-learn since 1.7; earlier each counted once.
    $parameters

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels. An edit that adds the first row of a class, or removes the last one,
        changes them, and the model is fitted again.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients: float64, for float32 rows, too.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts.
    $attributes

    See Also
    --------
    DeltaGradRidge : Linear regression in the same way.
    sklearn.linear_model.LogisticRegression : The model, without editing.

    $notes

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skdeltagrad import DeltaGradLogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X)
    >>> model = DeltaGradLogisticRegression().fit(X, y)
    >>> report = model.unlearn(X[:5], y[:5]).update_report_
    >>> report.n_samples, report.n_passes < 1, report.relative_bound < 0.01
    (564, True, True)
    """

    classes_: np.ndarray

    _parameter_constraints = {
        **BaseDeltaGrad._parameter_constraints,
        "C": [Interval(Real, 0, None, closed="right")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    _default_scoring = "accuracy"
    _fixed_by_fit = (*BaseDeltaGrad._fixed_by_fit, "C", "class_weight")

    def __init__(
        self,
        C: float = 1.0,
        *,
        fit_intercept: bool = True,
        class_weight: dict | Literal["balanced"] | None = None,
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
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
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

    def decision_function(self, X: MatrixLike) -> np.ndarray:
        """Return raw predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        raw_prediction : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Positive for the second of two classes; largest for the predicted class.
        """
        return LinearClassifierMixin.decision_function(self._as_it_is_now(), X)

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict the most probable classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        return LinearClassifierMixin.predict(self._as_it_is_now(), X)

    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        raw_prediction = self.decision_function(X)
        if raw_prediction.ndim == 1:
            positive = expit(raw_prediction)
            return np.column_stack([1 - positive, positive])
        return softmax(raw_prediction, axis=1)

    def predict_log_proba(self, X: MatrixLike) -> np.ndarray:
        """Return the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        raw_prediction = self.decision_function(X)
        if raw_prediction.ndim == 1:
            raw_prediction = np.column_stack(
                [np.zeros_like(raw_prediction), raw_prediction]
            )
        return log_softmax(raw_prediction, axis=1)

    def to_sklearn(self) -> LogisticRegression:
        """Return the fitted model as one of scikit-learn, without the training rows.

        Returns
        -------
        model : sklearn.linear_model.LogisticRegression
            With ``standardize=True``, a pipeline of a `StandardScaler` and it.
        """
        check_is_fitted(self)
        return self._as_fitted_sklearn()

    def _as_sklearn(self):
        model = LogisticRegression(
            C=self.C, fit_intercept=self.fit_intercept, class_weight=self.class_weight
        )
        return model, ("classes_",)

    def _fit_targets(self, y, weight, numbers=np.zeros):
        y = column_or_1d(y, warn=True)
        blocks = row_blocks(len(y))
        for block in blocks:
            check_classification_targets(y[block])
        labels = [np.unique(y[block]) for block in blocks]
        classes = labels[0] if len(labels) == 1 else np.unique(np.concatenate(labels))
        codes, counts = numbers(len(y), np.int64), np.zeros(len(classes), np.int64)
        for block in blocks:
            codes[block] = np.searchsorted(classes, y[block])
            counts += np.bincount(codes[block], minlength=len(classes))
        if isinstance(self.class_weight, dict):
            # Only for its check of weights of classes that do not occur.
            compute_class_weight(self.class_weight, classes=classes, y=classes)
        factor = np.broadcast_to(1.0, len(y))
        if isinstance(self.class_weight, dict):
            factor = numbers(len(y))
            for block in blocks:
                factor[block] = self._weight_factor(y[block])
        return self._targets(codes, factor, classes, counts)

    def _targets(self, codes, factor, classes, counts, recode=None):
        n_classes = len(classes)
        if n_classes < 2:
            raise ValueError(
                f"y contains one class only, {classes.tolist()[0]!r}: a classifier "
                "needs samples of at least 2 classes in the data."
            )
        loss = BinomialLoss() if n_classes == 2 else MultinomialLoss(n_classes)
        return Targets(
            codes,
            factor,
            Model(
                loss,
                np.full(loss.n_outputs, self._penalty()),
                n_classes if self.class_weight == "balanced" else 1,
            ),
            {"classes_": classes, "_class_counts": counts},
            recode,
        )

    def _penalty(self):
        """Return the strength of the penalty, 1 / C."""
        # A Python float, whose division by a tiny C gives no NumPy warning.
        penalty = 1.0 / float(self.C)
        if not np.isfinite(penalty):
            raise ValueError(
                f"C={float(self.C)} is so small that the strength of the penalty, "
                "1 / C, is beyond the largest floating-point number. Use C of 5.6e-309 "
                "or more."
            )
        return penalty

    def _code_targets(self, y):
        y = y if y.ndim == 1 else column_or_1d(y)
        kinds = {y.dtype.kind, self.classes_.dtype.kind}
        try:
            if len(kinds) > 1 or kinds - _KINDS_OF_LABELS:
                unique_labels(self.classes_, y)  # refuses text among numbers
        except ValueError as error:
            raise ValueError(
                f"y must contain labels like those of fit, {shown(self.classes_)}, got "
                f"{shown(y)}: nothing is changed."
            ) from error
        places = np.searchsorted(self.classes_, y)
        places[places == len(self.classes_)] = 0
        return np.where(self.classes_[places] == y, places, _UNKNOWN)

    def _weight_factor(self, y):
        if not isinstance(self.class_weight, dict):
            return np.ones(len(y))
        labels, codes = np.unique(y, return_inverse=True)
        factors = [self.class_weight.get(label, 1.0) for label in labels.tolist()]
        factors = np.array(factors, dtype=float)
        if not (np.isfinite(factors).all() and (factors >= 0).all()):
            raise ValueError(
                f"class_weight must be finite and 0 or more, got {self.class_weight}."
            )
        return factors[codes]

    def _edit_targets(self, table, edit):
        counts = np.bincount(table.y[edit.removed], minlength=len(self.classes_))
        counts = self._class_counts - counts
        if edit.new_rows is None and counts.all():
            return Targets(NO_ROWS, np.ones(0), attributes={"_class_counts": counts})
        if edit.new_rows is None:
            added = self.classes_[:0]
        else:
            added = _as_labels(edit.new_rows.y)
        # Codes of the fitted classes, then those of new ones.
        codes = self._code_targets(added)
        factor = self._weight_factor(added)
        is_new = codes == _UNKNOWN
        labels = self.classes_
        if is_new.any():
            new, new_codes = np.unique(added[is_new], return_inverse=True)
            codes[is_new] = len(labels) + new_codes
            warnings.warn(
                f"y contains new labels, {shown(new)}, besides those of fit, "
                f"{shown(labels)}: the model gets one more class for each.",
                stacklevel=level_of_caller(),
            )
            labels = np.concatenate([labels, new])
            counts = np.concatenate([counts, np.zeros(len(new), np.int64)])
        counts = counts + np.bincount(codes, minlength=len(labels))
        if counts.all() and labels is self.classes_:
            return Targets(codes, factor, attributes={"_class_counts": counts})
        present = np.flatnonzero(counts)
        if len(present) < 2:
            raise ValueError(
                f"Only rows of class {shown(labels[present])} would be left, and a "
                "classifier needs samples of at least 2 classes: nothing is changed. "
                "Keep a row of another class, or discard the estimator."
            )
        present = present[np.argsort(labels[present])]
        recode = np.zeros(len(labels), np.int64)
        recode[present] = np.arange(len(present))
        labels = _narrowed(labels[present])
        return self._targets(codes, factor, labels, counts[present], recode)

    def _counted_again(self, table):
        indices, n_classes = table.live_indices(), len(self.classes_)
        counts = sum(
            np.bincount(table.y[indices[block]], minlength=n_classes)
            for block in row_blocks(len(indices))
        )
        return {"_class_counts": counts}

    def _publish(self, coef, intercept):
        return {"coef_": coef, "intercept_": intercept}


def _as_labels(y):
    """Return labels of shape (n_rows,); raise ValueError for other targets."""
    y = y if y.ndim == 1 else column_or_1d(y)
    if y.dtype.kind not in _KINDS_OF_LABELS:
        check_classification_targets(y)
    return y


def _narrowed(labels):
    """Return labels in a dtype as wide as the longest: a longer one was removed."""
    if labels.dtype.kind != "U":
        return labels
    return labels.astype(f"U{np.strings.str_len(labels).max()}")
