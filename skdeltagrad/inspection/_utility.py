"""The score of the model of any subset of the training rows, followed by edits."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from .._estimators.base import BaseDeltaGrad
from .._utils.lock import one_at_a_time
from .._utils.typing import Groups, MatrixLike
from ._driver import Driver, refuse_store
from ._scores import score_of

# Cost: a model of m rows is fitted, and not edited, from changes of this many times m
# on. Edits of more rows cost a fit themselves.
_MOST_CHANGES = 0.5


class Utility:
    """The score on validation rows of the model of some training rows only.

    Called with some units (rows, or groups of them), it returns the score of the model
    that a fit on them alone would give. The model of the last call is kept: where the
    next units differ by few rows, it is edited, and otherwise it is fitted. This is the
    utility that data values such as Shapley's are made of: see `semivalues`.

    pyDVL can use it in the place of its own ``ModelUtility``: it has the interface of
    ``pydvl.valuation.utility.base.UtilityBase`` (version 0.10), for one process, with
    the training rows of the estimator, in the order of their positions, as dataset.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression, DeltaGradPoissonRegressor or \
DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed; the rows are copied.
    X, y, scoring, sample_weight
        Validation rows, and their score: see `data_values`.
    groups : default=None
        See `leave_one_out`.
    empty_score : float, default=0.0
        The score where there is no model of the same outputs: without rows, or without
        those of a class.

    Attributes
    ----------
    n_fits, n_edits : int
        How many models were fitted, and how many edited, so far.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skdeltagrad import DeltaGradRidge
    >>> from skdeltagrad.inspection import Utility
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = DeltaGradRidge(alpha=0.1).fit(X[:300], y[:300])
    >>> utility = Utility(model, X[300:], y[300:])
    >>> scores = [utility(range(100)), utility(range(101)), utility([])]
    >>> [round(score, 3) for score in scores]
    [0.453, 0.452, 0.0]
    >>> utility.n_fits, utility.n_edits
    (1, 1)
    """

    def __init__(
        self,
        estimator: BaseDeltaGrad,
        X: MatrixLike,
        y: ArrayLike,
        *,
        scoring: str | Callable | None = None,
        sample_weight: ArrayLike | None = None,
        groups: Groups = None,
        empty_score: float = 0.0,
    ):
        self._driver, rows = _copied(estimator, groups)
        self._X, self._y, self._weight = rows
        self.units = self._driver.units
        self._score, _ = score_of(self._driver, X, y, scoring, sample_weight)
        self.empty_score = float(empty_score)
        self._training_data = None
        self._start_again()

    def __len__(self):
        """Number of units."""
        return len(self.units)

    def __call__(self, sample: Any) -> float:
        """Return the score of the model of some units alone.

        Parameters
        ----------
        sample : None, array-like of int, or object with such a `subset`
            Numbers of the units, from 0 on in the order of `units.names`.

        Returns
        -------
        score : float
        """
        chosen = np.zeros(len(self), bool)
        chosen[_numbers(sample, len(self))] = True
        if not self.units.have_model(chosen):
            return self.empty_score
        self._follow(chosen[self.units.of_row])
        return float(self._score(self._driver.iterate_of(self._model)[np.newaxis])[0])

    @property
    def full_score(self) -> float:
        """The score of the estimator itself."""
        return float(self._score(self._driver.iterate[np.newaxis])[0])

    # What pyDVL asks for.

    @property
    def training_data(self) -> Any:
        """The dataset of pyDVL, or None."""
        return self._training_data

    def with_dataset(self, data: Any, copy: bool = True) -> Self:
        """Return this utility for a dataset of pyDVL, which must be the training rows.

        Parameters
        ----------
        data : object
            It has a length, and is not read.
        copy : bool, default=True
            Whether to return a copy, without a model, and leave this utility as it is.

        Returns
        -------
        utility : Utility

        Raises
        ------
        ValueError
            When the dataset has another number of rows or groups.
        """
        if len(data) != len(self):
            raise ValueError(
                f"data has {len(data)} rows or groups and the utility {len(self)}: the "
                "dataset must be the rows that the estimator was fitted on."
            )
        other = self._copied() if copy else self
        other._training_data = data
        return other

    def _copied(self):
        other = copy(self)
        other._start_again()
        return other

    def _start_again(self):
        self._model = None
        self._held = np.zeros(len(self._y), bool)
        self.n_fits = self.n_edits = 0

    def _follow(self, rows):
        """Make the model that of some rows, a mask: by an edit if that is cheaper."""
        added, removed = rows & ~self._held, self._held & ~rows
        n_changed = np.count_nonzero(added) + np.count_nonzero(removed)
        if not n_changed:
            return
        # If an edit fails, the next model is fitted.
        held, self._held = self._held, np.zeros_like(rows)
        if not held.any() or n_changed > _MOST_CHANGES * np.count_nonzero(rows):
            self._model = self._driver.inspected.unfitted().fit(
                self._X[rows], self._y[rows], self._weight[rows], np.flatnonzero(rows)
            )
            self.n_fits += 1
        else:
            self._edit(added, np.flatnonzero(removed))
            self.n_edits += 1
        self._held = rows

    def _edit(self, added, removed):
        if not added.any():
            self._model.unlearn(sample_id=removed)
            return
        self._model.partial_refit(
            self._X[added], self._y[added], sample_id=np.flatnonzero(added),
            sample_weight=self._weight[added],
            remove_id=removed if len(removed) else None,
        )  # fmt: skip


@one_at_a_time
def _copied(estimator, groups):
    """A driver, and copies of the training rows, which others may edit afterwards."""
    driver = Driver(estimator, groups, np.inf, 0)
    refuse_store(estimator, "A utility of subsets")
    return driver, driver.training_rows()


def _numbers(sample, n_units):
    """The numbers of the units of a sample, checked."""
    numbers = [] if sample is None else getattr(sample, "subset", sample)
    numbers = np.asarray(numbers, dtype=np.int64).ravel()
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < n_units:
        raise ValueError(
            f"sample must hold numbers of units from 0 to {n_units - 1}, got "
            f"{numbers.min()} to {numbers.max()}."
        )
    return numbers
