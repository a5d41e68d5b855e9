"""Scores of many models on the same rows.

Those that are sums over the rows are taken from the raw predictions of many models at
once; any other scorer of scikit-learn is asked model by model.
"""

from abc import ABC, abstractmethod
from functools import partial

import numpy as np
from scipy.special import logsumexp
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.utils import check_array, check_consistent_length

from .._estimators.requests import check_weights

# Raw predictions that are made at a time.
_ENTRIES = 2**20


class AbstractScore(ABC):
    """A score of models on some rows.

    Attributes
    ----------
    serially : bool
        Whether it must be asked by one thread only.
    """

    serially = False

    @abstractmethod
    def of(self, iterates):
        """Scores of models, (n_models,), by iterates (n_models, n_outputs, n_dof)."""


class SumScore(AbstractScore):
    """A score made of sums over the rows.

    Parameters
    ----------
    rows : EvaluationRows
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Class codes, or targets.
    weight : ndarray of shape (n_rows,)
    predict : callable
        From raw predictions to predicted targets.
    """

    def __init__(self, rows, y, weight, predict):
        self.rows = rows
        self.y = y
        self.weight = weight
        self.predict = predict

    def of(self, iterates):
        total = 0.0
        for block, raw in self.rows.raw_predictions(iterates, _ENTRIES):
            total = total + self.sums(raw, self.y[block], self.weight[block])
        return self.finish(total)

    @abstractmethod
    def sums(self, raw, y, weight):
        """Sums over some rows, first axis models.

        Parameters
        ----------
        raw : ndarray of shape (n_rows, n_models, n_outputs)
        y, weight : ndarray
            Of these rows.
        """

    @abstractmethod
    def finish(self, total):
        """Scores from the sums over all rows."""


class NegLogLoss(SumScore):
    """ "neg_log_loss"."""

    def sums(self, raw, y, weight):
        if raw.shape[2] == 1:
            sign = 1.0 - 2.0 * y[:, np.newaxis]
            losses = np.logaddexp(0.0, sign * raw[:, :, 0])
        else:
            losses = logsumexp(raw, axis=2) - raw[np.arange(len(y)), :, y]
        return weight @ losses

    def finish(self, total):
        return -total / self.weight.sum()


class Accuracy(SumScore):
    """ "accuracy"."""

    def sums(self, raw, y, weight):
        codes = raw.argmax(axis=2) if raw.shape[2] > 1 else raw[:, :, 0] > 0
        return weight @ (codes == y[:, np.newaxis])

    def finish(self, total):
        return total / self.weight.sum()


class NegMeanSquaredError(SumScore):
    """ "neg_mean_squared_error"."""

    def sums(self, raw, y, weight):
        residual = self.predict(raw) - y[:, np.newaxis]
        return np.einsum("i,ijk->jk", weight, residual**2)

    def finish(self, total):
        return -total.mean(axis=1) / self.weight.sum()


class R2(NegMeanSquaredError):
    """ "r2"."""

    def finish(self, total):
        y = self.y - np.average(self.y, axis=0, weights=self.weight)
        spread = self.weight @ y**2
        # As in scikit-learn where the targets are all the same.
        worst = np.where(total > 0, 1.0, 0.0)
        share = np.divide(total, spread, where=spread > 0, out=worst)
        return 1.0 - share.mean(axis=1)


class ScorerScore(AbstractScore):
    """Any scorer of scikit-learn, asked model by model.

    Parameters
    ----------
    scorer : callable
    model_of : callable
        From an iterate to a fitted model of scikit-learn.
    X, y : array-like
        As given.
    sample_weight : ndarray or None
    """

    serially = True

    def __init__(self, scorer, model_of, X, y, sample_weight):
        self._scorer = scorer
        self._model_of = model_of
        self._data = X, y
        self._kwargs = {} if sample_weight is None else {"sample_weight": sample_weight}

    def of(self, iterates):
        return np.array([
            self._scorer(self._model_of(iterate), *self._data, **self._kwargs)
            for iterate in iterates
        ])  # fmt: skip


SUM_SCORES = {
    "accuracy": Accuracy,
    "neg_log_loss": NegLogLoss,
    "neg_mean_squared_error": NegMeanSquaredError,
    "r2": R2,
}
OF_CLASSIFIERS = ("accuracy", "neg_log_loss")


def score_of(estimator, rows, X, y, scoring, sample_weight):
    """A score on validation rows, checked.

    Parameters
    ----------
    estimator : BaseDeltaGrad
    rows : EvaluationRows
        Those of `X`.
    X, y, scoring, sample_weight
        As given to `inspection.data_values`.
    """
    check_consistent_length(X, y)
    weight = check_weights(sample_weight, len(rows))
    if scoring is None:
        scoring = estimator._default_scoring
    by_sums = SUM_SCORES.get(scoring) if isinstance(scoring, str) else None
    if by_sums is None or (scoring in OF_CLASSIFIERS) != is_classifier(estimator):
        scorer = check_scoring(estimator, scoring=scoring)
        given = None if sample_weight is None else weight
        return ScorerScore(scorer, partial(_model_of, estimator), X, y, given)
    y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
    codes = estimator._code_targets(y)
    if scoring == "neg_log_loss" and (codes < 0).any():
        raise ValueError(
            f"y has labels that fit has not seen: {np.unique(y[codes < 0]).tolist()}. "
            "Their log-loss is infinite; leave these rows out."
        )
    return by_sums(rows, codes, weight, estimator._predictions)


def _model_of(estimator, iterate):
    """scikit-learn's own model at an iterate, around the estimator's centre."""
    model = estimator.to_sklearn()
    published = estimator._engine.model.coefficients(iterate)
    for name, value in estimator._publish(*published).items():
        setattr(model, name, value)
    return model


class EvaluationRows:
    """Rows that models are to predict, centred as the training rows are.

    Parameters
    ----------
    rows : AbstractRows
    shift : ndarray of shape (n_features,) or None
        See `DataTerm.shift`.
    """

    def __init__(self, rows, shift):
        self.rows = rows
        self._shift = shift

    def __len__(self):
        return len(self.rows)

    def extended(self, block):
        """Some rows as `AbstractRows.extended` gives them; a slice."""
        return self.rows.extended(np.arange(len(self))[block], self._shift)

    def raw_predictions(self, iterates, n_entries):
        """Slices of rows, and the raw predictions of models for them.

        At most so many entries at a time, but for a single row; the predictions have
        shape (n_rows, n_models, n_outputs).
        """
        n_models, n_outputs, n_dof = iterates.shape
        flat = iterates.reshape(-1, n_dof).T
        size = max(1, n_entries // max(len(flat), flat.shape[1]))
        for first in range(0, len(self), size):
            block = slice(first, first + size)
            raw = self.extended(block) @ flat
            yield block, raw.reshape(-1, n_models, n_outputs)
