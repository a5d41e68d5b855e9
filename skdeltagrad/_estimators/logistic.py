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

from .._engine import Model
from .._objective.losses import BinomialLoss, MultinomialLoss
from .._reports.report import UpdateReport
from .._utils.sklearn_compat import (
    Interval,
    LinearClassifierMixin,
    SparseCoefMixin,
    StrOptions,
)
from .._utils.text import shown
from .._utils.typing import Kind, MatrixLike, Solver
from .base import BaseDeltaGrad
from .targets import Targets

_UNKNOWN = -1


class DeltaGradLogisticRegression(
    LinearClassifierMixin, SparseCoefMixin, BaseDeltaGrad
):
    """Logistic regression that can forget, add and correct training rows.

    Minimises the objective of `sklearn.linear_model.LogisticRegression`,

        sum_i s_i log-loss(y_i, x_i @ W + b) + ||W||^2 / (2 C),

    binomial for two classes and multinomial for more. After an edit the model becomes
    what a fit on the edited rows would give, at a fraction of the cost, by DeltaGrad
    [1]_: by default the optimum moves by one step from the cached gradient and Hessian,
    and a bound says how far it may be off; with the solvers "gd" and "sgd" the whole
    training run is cached and replayed.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the regularisation strength; ``np.inf`` for none.
    fit_intercept : bool, default=True
        Whether there is an intercept. It is not penalised.
    class_weight : dict or "balanced", default=None
        Weights of the classes, multiplied with `sample_weight`. "balanced" weights
        are those of the rows that are there: every edit changes them. Rows count by
        `sample_weight`, as in scikit-learn since 1.7, where each counted once before.
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
    classes_ : ndarray of shape (n_classes,)
        Labels. An edit that adds the first row of a class, or removes the last one,
        changes them and trains the model anew.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients: float64, for float32 rows, too.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts.
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
    sklearn.linear_model.LogisticRegression : The model, without editing.

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
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skdeltagrad import DeltaGradLogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X)
    >>> model = DeltaGradLogisticRegression().fit(X, y)
    >>> report = model.unlearn(X[:5], y[:5]).update_report_
    >>> report.n_samples, report.n_passes, report.relative_bound < 0.01
    (564, 0.0, True)
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
        self.random_state = random_state
        self.callback = callback
        self.verbose = verbose

    def decision_function(self, X: MatrixLike) -> np.ndarray:
        """Raw predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        raw_prediction : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Above 0 for the second of two classes; largest for the class predicted.
        """
        return LinearClassifierMixin.decision_function(self._as_it_is_now(), X)

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Most probable classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        return LinearClassifierMixin.predict(self._as_it_is_now(), X)

    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Probabilities of the classes.

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
        """Logarithms of the probabilities of the classes.

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
        """The fitted model as scikit-learn's own, without rows and without the run.

        Returns
        -------
        model : sklearn.linear_model.LogisticRegression
            With ``standardize=True``, a pipeline of a `StandardScaler` and that.
        """
        check_is_fitted(self)
        model = LogisticRegression(
            C=self.C, fit_intercept=self.fit_intercept, class_weight=self.class_weight
        )
        return self._hand_over(model, "classes_")

    def _fit_targets(self, y, weight):
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        if isinstance(self.class_weight, dict):
            # Only for its check: weights of classes that are not there.
            compute_class_weight(self.class_weight, classes=classes, y=classes)
        factor = self._weight_factor(y)
        return self._targets(codes, factor, classes, np.bincount(codes))

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
        """Strength of the penalty, 1 / C."""
        # A number of Python, whose division overflows in silence.
        penalty = 1.0 / float(self.C)
        if not np.isfinite(penalty):
            raise ValueError(
                f"C={float(self.C)} is so small that the strength of the penalty, "
                "1 / C, is beyond the largest floating-point number. Use C of 5.6e-309 "
                "or more."
            )
        return penalty

    def _code_targets(self, y):
        y = column_or_1d(y)
        try:
            unique_labels(self.classes_, y)  # refuses text among numbers
        except ValueError as error:
            raise ValueError(
                f"y must hold labels like those of fit, {shown(self.classes_)}, got "
                f"{shown(y)}: nothing is changed."
            ) from error
        places = np.searchsorted(self.classes_, y)
        places = np.minimum(places, len(self.classes_) - 1)
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
            nobody = np.zeros(0, np.int64)
            return self._targets(nobody, np.ones(0), self.classes_, counts)
        added = (
            self.classes_[:0]
            if edit.new_rows is None
            else column_or_1d(edit.new_rows.y)
        )
        check_classification_targets(added)
        # Codes in use: those of the fitted classes, then those of new ones.
        codes = self._code_targets(added)
        factor = self._weight_factor(added)
        new, new_codes = np.unique(added[codes == _UNKNOWN], return_inverse=True)
        codes[codes == _UNKNOWN] = len(self.classes_) + new_codes
        if len(new):
            warnings.warn(
                f"y holds labels that are new, {shown(new)}, besides those of fit, "
                f"{shown(self.classes_)}: the model gets one more class for each.",
                stacklevel=5,
            )
        labels = np.concatenate([self.classes_, new])
        counts = np.concatenate([counts, np.zeros(len(new), np.int64)])
        counts = counts + np.bincount(codes, minlength=len(labels))
        if counts.all() and not len(new):
            return self._targets(codes, factor, self.classes_, counts)
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

    def _publish(self, coef, intercept):
        return {"coef_": coef, "intercept_": intercept}


def _narrowed(labels):
    """Labels without the room that NumPy keeps for a longer one, which has left."""
    if labels.dtype.kind != "U":
        return labels
    return labels.astype(f"U{np.strings.str_len(labels).max()}")
