"""Prediction sets for classification by the jackknife+ and CV+."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from .._estimators.base import BaseDeltaGrad
from .._utils.lock import one_at_a_time
from .._utils.typing import Groups, MatrixLike
from ._driver import Driver
from ._functions import raw_predictions_of_units, size_of_chunk


@one_at_a_time
def prediction_sets(
    estimator: BaseDeltaGrad, X: MatrixLike, *, alpha: float = 0.1,
    score: Literal["lac", "aps"] = "lac",
    random_state: int | np.random.RandomState | None = None, groups: Groups = None,
    tol: float = 0.1, verbose: int = 0,
) -> np.ndarray:  # fmt: skip
    """Sets of labels that hold the label of a new row with a given probability.

    For exchangeable rows a set holds the label with probability at least 1 - 2 alpha
    whatever the distribution, and about 1 - alpha in practice: the jackknife+ [1]_ for
    scores of classes [2]_. With folds as `groups` it is the CV+.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression
        Fitted, with ``store_data=True``. It is not changed.
    X : {array-like, sparse matrix} of shape (n_rows, n_features)
        New rows. They are predicted in chunks.
    alpha : float, default=0.1
        Fraction of the labels that may be outside their sets.
    score : {"lac", "aps"}, default="lac"
        How badly a label fits, as in MAPIE. "lac" is 1 minus its probability: small
        sets, which may be empty. "aps" is the probability of all labels that are
        more probable, plus a random part of its own: sets that are larger for ambiguous
        rows.
    random_state : int, RandomState instance or None, default=None
        Decides the random parts of "aps".
    groups, tol, verbose
        See `leave_one_out`. With groups, a row's score is that of the model without its
        group.

    Returns
    -------
    sets : ndarray of shape (n_rows, n_classes), dtype bool
        Whether each label, in the order of `classes_`, is in the set of a row.

    Raises
    ------
    TypeError
        When the estimator is not a classifier.
    ValueError
        When `alpha` or `score` is invalid, or there is no model without one of the
        units.

    References
    ----------
    .. [1] R. F. Barber, E. J. Candes, A. Ramdas, R. J. Tibshirani, "Predictive
       inference with the jackknife+", Annals of Statistics 49(1), 2021.
    .. [2] Y. Romano, M. Sesia, E. J. Candes, "Classification with valid and adaptive
       coverage", NeurIPS 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdeltagrad import DeltaGradLogisticRegression
    >>> from skdeltagrad.inspection import prediction_sets
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DeltaGradLogisticRegression().fit(X[::2], y[::2])
    >>> sets = prediction_sets(model, X[1::2], alpha=0.05)
    >>> float(sets[range(75), y[1::2]].mean().round(2))
    0.97
    """
    driver = Driver(estimator, groups, tol, verbose)
    if not is_classifier(estimator):
        raise TypeError(
            f"estimator must be a classifier, got {type(estimator).__name__}. "
            "jackknife_plus returns intervals for regression."
        )
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}.")
    if score not in _SCORES:
        raise ValueError(f'score must be "lac" or "aps", got {score!r}.')
    units, scores = driver.units, _SCORES[score]
    units.check_defined(required=True)
    raw = np.empty((len(units.weight), len(driver.iterate)))

    def keep(_, found):
        raw[found.index] = driver.own_predictions(found)

    driver.run(keep)
    counts = units.weight[units.index] > 0
    index, of_row = units.index[counts], units.of_row[counts]
    rows, n_classes = driver.rows_of(X), len(estimator.classes_)
    rng = check_random_state(random_state)
    parts, parts_of_new = rng.uniform(size=len(index)), rng.uniform(size=len(rows))
    own = scores(_probabilities(raw[index]), parts[:, np.newaxis])
    own = own[np.arange(len(index)), units.y[index], np.newaxis, np.newaxis]
    # A label is left out where so many rows have smaller scores than it.
    most = np.ceil((1.0 - alpha) * (len(index) + 1) - 1e-9)
    sets = np.empty((len(rows), n_classes), bool)
    size = size_of_chunk(len(index) * n_classes)
    for first in range(0, len(rows), size):
        chunk = slice(first, first + size)
        of_units = raw_predictions_of_units(driver, rows.extended(chunk))
        of_new = scores(_probabilities(of_units), parts_of_new[chunk, np.newaxis])
        sets[chunk] = np.count_nonzero(own < of_new[of_row], axis=0) < most
    return sets


def _probabilities(raw):
    """Probabilities (..., n_classes) that follow from raw predictions."""
    if raw.shape[-1] > 1:
        return softmax(raw, axis=-1)
    return np.concatenate([expit(-raw), expit(raw)], axis=-1)


def _least_ambiguous(probability, part):
    return 1.0 - probability


def _adaptive(probability, part):
    """The probability of all more probable labels, and of a part of each label."""
    scores = part * probability
    for label in range(probability.shape[-1]):
        other = probability[..., label : label + 1]
        scores += np.where(other > probability, other, 0.0)
    return scores


_SCORES = {"lac": _least_ambiguous, "aps": _adaptive}
