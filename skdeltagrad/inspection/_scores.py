"""Scores of many models on the same rows.

Those that are averages over the rows are computed from the raw predictions of many
models at once; any other scorer of scikit-learn is called model by model.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.utils import check_array, check_consistent_length

from .._data.rows import AbstractRows
from .._estimators.requests import check_weights

# Cost: raw predictions that are made at a time, 8 MB of them.
_ENTRIES = 2**20


@dataclass(frozen=True)
class EvaluationRows:
    """Rows that models are to predict, centred as the training rows are.

    Attributes
    ----------
    rows : AbstractRows
    shift : ndarray of shape (n_features,) or None
        See `AbstractDataTerm.centre`.
    """

    rows: AbstractRows
    shift: np.ndarray | None

    def __len__(self):
        return len(self.rows)

    def extended(self, block):
        """A slice of the rows as `AbstractRows.extended` returns them."""
        return self.rows.extended(np.arange(len(self))[block], self.shift)

    def raw_predictions(self, iterates):
        """Slices of rows, and their raw predictions: (n_rows, n_models, n_outputs)."""
        n_models, n_outputs, n_dof = iterates.shape
        flat = iterates.reshape(-1, n_dof).T
        size = max(1, _ENTRIES // max(len(flat), flat.shape[1]))
        for first in range(0, len(self), size):
            block = slice(first, first + size)
            raw = self.extended(block) @ flat
            yield block, raw.reshape(-1, n_models, n_outputs)


# What is averaged over the rows: from raw predictions (n_rows, n_models, n_outputs) and
# class codes or targets to an array whose first axes are rows and models.


def _log_likelihoods(raw, y):
    if raw.shape[2] == 1:
        return -np.logaddexp(0.0, (1.0 - 2.0 * y)[:, np.newaxis] * raw[:, :, 0])
    return raw[np.arange(len(y)), :, y] - logsumexp(raw, axis=2)


def _hits(raw, y):
    codes = raw.argmax(axis=2) if raw.shape[2] > 1 else raw[:, :, 0] > 0
    return codes == y[:, np.newaxis]


def _squared_errors(raw, y):
    return (raw - y[:, np.newaxis]) ** 2


# From the averages over the rows to scores, one for each model.


def _themselves(averages, y, weight):
    return averages


def _negative_means(averages, y, weight):
    return -averages.mean(axis=1)


def _r2(averages, y, weight):
    centred = y - np.average(y, axis=0, weights=weight)
    variance = np.average(centred**2, axis=0, weights=weight)
    # As in scikit-learn where the targets are all the same.
    constant = np.where(averages > 0, 1.0, 0.0)
    ratio = np.divide(averages, variance, where=variance > 0, out=constant)
    return 1.0 - ratio.mean(axis=1)


CLASSIFIER_SCORES = {
    "accuracy": (_hits, _themselves),
    "neg_log_loss": (_log_likelihoods, _themselves),
}
REGRESSOR_SCORES = {
    "r2": (_squared_errors, _r2),
    "neg_mean_squared_error": (_squared_errors, _negative_means),
}


def score_of(driver, X, y, scoring, sample_weight):
    """A score on validation rows, whose parameters are checked.

    Parameters
    ----------
    driver : Driver
        Of the estimator.
    X, y, scoring, sample_weight
        See `inspection.data_values`.

    Returns
    -------
    score : callable
        From iterates (n_models, n_outputs, n_dof) to scores (n_models,).
    serially : bool
        Whether it may be called by one thread only.
    """
    estimator, rows = driver.estimator, driver.rows_of(X)
    check_consistent_length(X, y)
    weight = check_weights(sample_weight, len(rows))
    known = CLASSIFIER_SCORES if is_classifier(estimator) else REGRESSOR_SCORES
    if scoring is None:
        scoring = driver.inspected.default_scoring
    if not isinstance(scoring, str) or scoring not in known:
        scorer = check_scoring(estimator, scoring=scoring)
        given = {} if sample_weight is None else {"sample_weight": weight}

        def by_model(iterates):
            models = map(driver.sklearn_model, iterates)
            return np.array([scorer(model, X, y, **given) for model in models])

        return by_model, True
    y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
    codes = driver.inspected.codes(y)
    if scoring == "neg_log_loss" and (codes < 0).any():
        raise ValueError(
            f"y has labels that fit has not seen: {np.unique(y[codes < 0]).tolist()}. "
            "Their log-loss is infinite; leave these rows out."
        )
    of_rows, of_averages = known[scoring]

    def by_averages(iterates):
        total = 0.0
        for block, raw in rows.raw_predictions(iterates):
            values = of_rows(driver.inspected.predictions(raw), codes[block])
            total = total + np.tensordot(weight[block], values, axes=1)
        return of_averages(total / weight.sum(), codes, weight)

    return by_averages, False
