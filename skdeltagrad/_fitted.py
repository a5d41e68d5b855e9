"""What a fitted estimator holds: attributes, report, dump; and its parameters.

engine, TrainingSet   -> coef_, intercept_, update_report_
"""

import dataclasses
import os
import warnings
from abc import ABC, abstractmethod
from copy import deepcopy
from numbers import Integral, Real
from time import perf_counter

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from . import _state
from ._erasure import LiveRows
from ._report import UpdateReport
from ._sklearn import Interval, StrOptions
from ._solve import Settings


class FittedState(LiveRows, BaseEstimator, ABC):
    """An estimator around a fitted engine and its training rows."""

    _parameter_constraints = {
        "fit_intercept": ["boolean"],
        "solver": [StrOptions({"newton", "gd", "sgd"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "edit_tol": [Interval(Real, 0, None, closed="neither")],
        "curvature": [StrOptions({"auto", "exact", "kronecker", "diagonal"})],
        "store_data": ["boolean"],
        "learning_rate": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="neither"),
            "array-like",
        ],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "burn_in": [Interval(Integral, 0, None, closed="left")],
        "period": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "history_size": [Interval(Integral, 1, None, closed="left")],
        "cache_dtype": [StrOptions({"float64", "float32"})],
        "cache_folder": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # Changing one of these after fit leaves the cached run behind.
    _fixed_by_fit = (
        "fit_intercept",
        "solver",
        "max_iter",
        "tol",
        "curvature",
        "store_data",
        "learning_rate",
        "batch_size",
        "cache_dtype",
    )

    @abstractmethod
    def _publish(self, coef, intercept):
        """`coef_` and `intercept_` from (n_outputs, n_features) and (n_outputs,)."""

    @property
    def trajectory_(self):
        """The cached training run, a `Trajectory` of arrays; not for "newton"."""
        check_is_fitted(self)
        if self.solver == "newton":
            raise AttributeError(
                'There is no trajectory_ with solver="newton", which keeps the end of '
                'the path only. Fit with solver="gd" or "sgd".'
            )
        return self._path.trajectory

    def _go_back(self, attributes):
        """Undo whatever became of the estimator."""
        vars(self).clear()
        vars(self).update(attributes)

    def _tell(self):
        if self.verbose:
            print(self.update_report_)
        if not self._path.converged:
            warnings.warn(
                f"The fit stopped after max_iter={self.max_iter} iterations before it "
                "converged. Raise max_iter, or standardise the columns of X.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _state_of(self, engine, training_set):
        n_features = training_set.rows.n_features
        last = engine.iterate
        coef = last[:, :n_features]
        intercept = np.zeros(len(last))
        if engine.centre is not None:
            intercept = last[:, n_features] - coef @ engine.centre
        dtype = training_set.rows.dtype
        return {
            "_path": engine,
            "_training_set": training_set,
            **engine.attributes(),
            **self._publish(coef.astype(dtype), intercept.astype(dtype)),
        }

    def _report(self, operation, engine, training_set, started, **facts):
        if engine is not None:
            facts = engine.account() | facts
        return UpdateReport(
            operation,
            self.solver,
            training_set.roster.n_live,
            cache_bytes=(engine or self._path).nbytes,
            seconds=perf_counter() - started,
            **facts,
        )

    def _settings(self):
        return Settings(
            *(getattr(self, field.name) for field in dataclasses.fields(Settings))
        )

    def _path_parameters(self):
        return {name: deepcopy(getattr(self, name)) for name in self._fixed_by_fit}

    def _hand_over(self, model, *names):
        """Give a scikit-learn model our fitted attributes."""
        names = (*names, "coef_", "intercept_", "n_iter_", "n_features_in_")
        for name in (*names, "feature_names_in_"):
            if name in vars(self):
                setattr(model, name, deepcopy(vars(self)[name]))
        return model

    def _count_live_copies(self, X):
        """Number of training rows equal to each row of X; see `assert_erased`."""
        if not self._training_set.roster.is_stored:
            return np.zeros(len(X), np.int64)
        rows = self._training_set.rows
        X = np.ascontiguousarray(X, dtype=rows.dtype)
        if rows.is_sparse:
            X = sparse.csr_matrix(X)
        return self._training_set.count_copies(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self):
        return _state.dump(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(_state.load(state, type(self).__name__))
