"""What a fitted estimator holds: attributes, report, dump; and its parameters.

engine, TrainingSet   -> coef_, intercept_, update_report_
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from abc import ABC, abstractmethod
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from numbers import Integral, Real
from time import perf_counter

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from .._engine import Settings
from .._path.trajectory import Trajectory
from .._reports import digests
from .._reports.history import History
from .._reports.report import UpdateReport
from .._utils.callbacks import followed
from .._utils.lock import edit_of
from .._utils.sklearn_compat import CallbackSupportMixin, Interval, StrOptions
from .._utils.training_rows import KnowsTrainingRows
from .._utils.transaction import Transaction
from .._utils.typing import Ids
from . import plain_state, positions, requests
from .copies import CopiedBetweenEdits
from .editing import ENGINES
from .export import scaler_of


class FittedState(
    CopiedBetweenEdits, CallbackSupportMixin, KnowsTrainingRows, BaseEstimator, ABC
):
    """An estimator around a fitted engine and its training rows."""

    # Of a fitted one; learning_rate_ and trajectory_ with "gd" and "sgd" only.
    coef_: np.ndarray
    intercept_: np.ndarray | float
    n_iter_: np.ndarray
    learning_rate_: float | np.ndarray
    update_report_: UpdateReport
    history_: History
    n_features_in_: int
    feature_names_in_: np.ndarray

    _parameter_constraints = {
        "fit_intercept": ["boolean"],
        "solver": [StrOptions({"newton", "gd", "sgd"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "edit_tol": [Interval(Real, 0, None, closed="neither")],
        "curvature": [StrOptions({"auto", "exact", "kronecker", "diagonal"})],
        "store_data": ["boolean"],
        "standardize": ["boolean"],
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
        "callback": [callable, None],
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
        "standardize",
        "learning_rate",
        "batch_size",
        "cache_dtype",
    )

    @abstractmethod
    def _publish(self, coef, intercept):
        """`coef_` and `intercept_` from (n_outputs, n_features) and (n_outputs,)."""

    @property
    def trajectory_(self) -> Trajectory:
        """The cached training run, a `Trajectory` of arrays; not for "newton"."""
        check_is_fitted(self)
        if not self._engine.keeps_path:
            raise AttributeError(
                'There is no trajectory_ with solver="newton", which keeps the end of '
                'the path only. Fit with solver="gd" or "sgd".'
            )
        return self._engine.trajectory

    @property
    def scale_(self) -> np.ndarray:
        """Standard deviations of the columns; only with ``standardize=True``."""
        check_is_fitted(self)
        if self._training_set.spread is None:
            raise AttributeError(
                "There is no scale_ with standardize=False: columns are taken as they "
                "are."
            )
        return self._training_set.spread.scale()

    def hash_ids(self, sample_id: Ids) -> tuple[str, ...]:
        """What reports call some ids: keyed hashes, by a key of this estimator's own.

        Parameters
        ----------
        sample_id : int, str or array-like
            Ids as they were given to `fit`; positions, where it was given none.

        Returns
        -------
        hashes : tuple of str
            In the order of the ids, each once, ascending; of more than 1,000, one hash
            of them all, as in the reports.

        Raises
        ------
        ValueError
            When the key was left out of the dump (``receipt_key=False``).
        """
        check_is_fitted(self)
        key = digests.checked_key(self._key)
        name = digests.id_names
        if self._training_set.table.ids is None:
            positions.refuse_index(sample_id, "sample_id")
            name = digests.position_names
        ids = np.unique(requests.check_ids(sample_id))
        return digests.hashed(name(ids), key)

    def path_digest(self) -> str:
        """sha256 of the whole cached run, or of all that is kept of its end.

        Reports hold a digest of the coefficients only, for this reads all of it.

        Returns
        -------
        digest : str
        """
        check_is_fitted(self)
        return digests.digest_of(plain_state.plain(self._engine))

    @contextmanager
    def _changing(self, operation, is_one_run=False, **given):
        """All of a fit or an edit or none of it, followed by callbacks.

        Parameters
        ----------
        operation : str
        is_one_run : bool
            Whether a path is run once, and that is all.
        **given
            What callbacks are told of it.

        Yields
        ------
        transaction : Transaction
        """
        one_run = is_one_run and ENGINES[self.solver].keeps_path
        n_steps = self.max_iter if one_run else None
        # What callbacks are called with is taken back last, by its own.
        following = followed(self, operation, n_steps, **given)
        with following as finish, edit_of(self) as turn, Transaction() as transaction:
            transaction.undo(self._go_back, dict(vars(self)))
            yield transaction
            with turn.whole():  # callbacks that are told of the end may copy it
                finish()

    def _take_on(self, state, report):
        """Publish a new state and its receipt. The callback may refuse it."""
        new = vars(self) | state
        history = new["history_"]
        report = history.sealed(report, new["coef_"], new["intercept_"])
        history = history.followed_by(report)
        self._forget_file()  # an edit has checked it, a fit does without
        # At once: other threads read the model before or the one after.
        vars(self).update(state | {"update_report_": report, "history_": history})
        if self.callback is not None:
            self.callback(report)
        # Last, for where this raises (a warning that is an error) the edit is undone.
        self._tell()

    def _as_it_is_now(self):
        """This estimator, whatever an edit in another thread makes of it meanwhile."""
        now = object.__new__(type(self))
        vars(now).update(vars(self))  # at once: no other thread comes in between
        return now

    def _go_back(self, attributes):
        """Undo whatever became of the estimator."""
        self.__dict__ = attributes  # at once, for there may be readers

    def _tell(self):
        if self.verbose:
            print(self.update_report_)
        if not self._engine.converged:
            warnings.warn(
                f"The fit stopped after max_iter={self.max_iter} iterations, or an "
                "edit at what its plan allows, before it converged. Raise max_iter, or "
                "standardise the columns of X; partial_refit() fits without a limit.",
                ConvergenceWarning,
                stacklevel=6,
            )

    def _state_of(self, engine, training_set):
        with np.errstate(over="ignore", invalid="ignore"):
            coef, intercept = engine.model.coefficients(engine.iterate)
        if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
            raise ValueError(
                "The numbers in X, y or sample_weight are so large that coefficients "
                "are not finite. Standardise them."
            )
        coef = coef.copy()  # not a view of the engine's iterate
        return {
            "_engine": engine,
            "_training_set": training_set,
            **engine.attributes(),
            **self._publish(coef, intercept),
        }

    def _report(self, operation, engine, training_set, started, **facts):
        if engine is not None:
            facts = engine.summary() | facts
        return UpdateReport(
            operation,
            n_samples=training_set.table.n_live,
            cache_bytes=(engine or self._engine).nbytes,
            seconds=perf_counter() - started,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=(engine or self._engine).random_seed,
            versions=digests.versions(),
            **self._parameters_now() | facts,
        )

    def _parameters_now(self):
        return {"solver": self.solver, "parameters": digests.parameters_of(self)}

    def _parameters_of_fit(self):
        """The same with those that `fit` fixed, whatever was set since."""
        of_fit = {n: digests.plain(v) for n, v in self._fit_parameters.items()}
        parameters = digests.parameters_of(self) | of_fit
        return {"solver": self._fit_parameters["solver"], "parameters": parameters}

    def _settings(self):
        return Settings(
            *(getattr(self, field.name) for field in dataclasses.fields(Settings))
        )

    def _settings_of_fit(self):
        """Settings with the parameters of fit, whatever was set since."""
        of_fit = self._fit_parameters
        names = [field.name for field in dataclasses.fields(Settings)]
        return Settings(
            *(of_fit[name] if name in of_fit else getattr(self, name) for name in names)
        )

    def _path_parameters(self):
        return {name: deepcopy(getattr(self, name)) for name in self._fixed_by_fit}

    def _hand_over(self, model, *names):
        """Give a scikit-learn model our fitted attributes."""
        names = (*names, "coef_", "intercept_", "n_iter_", "n_features_in_")
        for name in (*names, "feature_names_in_"):
            if name in vars(self):
                setattr(model, name, deepcopy(vars(self)[name]))
        if not self.standardize:
            return model
        rows = self._training_set.rows
        with_mean = self.fit_intercept and not rows.keeps_zeros
        scaler = scaler_of(self._training_set.spread, with_mean)
        model.coef_ = self.coef_ * scaler.scale_
        if with_mean:
            model.intercept_ = self.intercept_ + self.coef_ @ scaler.mean_
        if "feature_names_in_" in vars(self):
            scaler.feature_names_in_ = self.feature_names_in_.copy()
            del model.feature_names_in_
        return make_pipeline(scaler, model)

    # What `assert_erased` asks.

    def _knows_rows(self):
        return self._training_set.table.is_stored

    def _count_equal_rows(self, X):
        """Number of training rows equal to each row of X."""
        if not self._training_set.table.is_stored:
            return np.zeros(len(X), np.int64)
        return self._training_set.count_copies(self._rows_of(X))

    def _count_multiples(self, X):
        """Number of training rows that are multiples of each row of X."""
        if not self._training_set.table.is_stored:
            return np.zeros(len(X), np.int64)
        X = X.astype(self._training_set.rows.dtype).astype(np.float64)
        return self._training_set.count_multiples(X)

    def _count_ids(self, ids):
        """Number of training rows that carry each id."""
        table = self._training_set.table
        is_kept = table.is_stored and table.ids is not None
        if not is_kept or (table.ids.dtype.kind == "U") != (ids.dtype.kind == "U"):
            return np.zeros(len(ids), np.int64)
        which, _ = table.indices_of_ids(ids)
        return np.bincount(which, minlength=len(ids))

    def _training_sums(self):
        """Sums over the training rows, where there are any."""
        if not self._training_set.table.is_stored:
            return None
        return self._training_set.live_sums(self._engine.model.centre)

    def _implied_vectors(self):
        """Gradients, where the training run is kept by its steps."""
        return self._engine.gradients(self._training_set.rows.n_features)

    def _index_keys(self, X):
        """What rows are indexed by, and its rounding."""
        return self._training_set.marks(self._rows_of(X))

    def _rows_of(self, X):
        """Rows as they are stored."""
        rows = self._training_set.rows
        X = np.ascontiguousarray(X, dtype=rows.dtype)
        return rows.in_form(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
