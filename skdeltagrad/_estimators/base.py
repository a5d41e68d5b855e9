"""The one base class of the estimators: validate, fit, edit, publish.

    X, y        -> requests (checked rows, storage indices)  -> TrainingSet
    TrainingSet -> fit or edited of an engine                -> another engine
    engine      -> coef_, intercept_, update_report_

`BaseDeltaGrad` has seven mixins of one idea each: `PlainWords` (other names of edits),
`SharedParameters`, `Persistent` (copies, dumps and the purge), `Refinable` (absolute
bounds, and what is published under them), `WithContents` (which rows there are),
`SearchableForRows` (what `assert_erased` asks), and scikit-learn's support for
callbacks.
"""

from __future__ import annotations

import dataclasses
import warnings
from abc import ABC, abstractmethod
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import assert_all_finite, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .._data.edit import GivenRows
from .._data.mapped import folder_for, written
from .._data.storage import canonical
from .._data.training_set import TrainingSet
from .._data.unstored import find_request, fingerprinted, without_request
from .._engine import AbstractEngine
from .._path.trajectory import Trajectory
from .._reports import digests
from .._reports.history import History
from .._reports.plan import EditPlan
from .._reports.report import UpdateReport
from .._sources.as_source import as_source
from .._sources.read_ahead import read_ahead
from .._utils.callbacks import followed
from .._utils.callers import level_of_caller
from .._utils.ids import check_ids
from .._utils.lock import edit_of, one_at_a_time, starting_over
from .._utils.progress import begin
from .._utils.sklearn_compat import CallbackSupportMixin, fit_context
from .._utils.transaction import Transaction
from .._utils.typing import Ids, MatrixLike, OnMissing, Positions
from . import plain_state, positions, requests
from .contents import WithContents
from .editing import ENGINES, carry_out, first_engine, predict_cost, retrained
from .erasure import SearchableForRows
from .export import with_scaler
from .ignored_parameters import warn_of_ignored
from .parameters import VALIDATED, SharedParameters
from .persistence import Persistent
from .plain_words import PlainWords
from .refining import Refinable, lineage_of, new_lineage

ROW_CHECKS = {
    "accept_sparse": "csr",
    "dtype": [np.float64, np.float32],
    "order": "C",
}


# Cost: rows that are written to files at a time, which bounds memory.
_BATCH_ROWS = 2**16


class BaseDeltaGrad(
    PlainWords,
    SharedParameters,
    Persistent,
    Refinable,
    WithContents,
    SearchableForRows,
    CallbackSupportMixin,
    BaseEstimator,
    ABC,
):
    """An estimator whose training rows can be removed, added and corrected after fit.

    A fitted estimator holds an engine, a training set, the parameters that `fit` fixed,
    and the key for hashes of ids (`_engine`, `_training_set`, `_fit_parameters`,
    `_key`). Edits replace the engine and change the training set, within a transaction.

    A subclass adds `__init__`, `predict`, `to_sklearn`, and what it knows of its
    targets: the methods right below.
    """

    coef_: np.ndarray
    intercept_: np.ndarray | float
    n_iter_: np.ndarray
    learning_rate_: float | np.ndarray  # with "gd" and "sgd" only
    update_report_: UpdateReport
    history_: History
    n_features_in_: int
    feature_names_in_: np.ndarray
    _engine: AbstractEngine

    # What a subclass knows of its targets.

    @abstractmethod
    def _fit_targets(self, y, weight, numbers=np.zeros):
        """Return `Targets` of the rows given to `fit`, which have these weights.

        ``numbers(shape, dtype)`` gives zeros for an array of a number for each row.
        """

    @abstractmethod
    def _code_targets(self, y):
        """Return given targets as they are stored, to find rows by."""

    @abstractmethod
    def _edit_targets(self, table, edit):
        """Return `Targets` after an edit; raise ValueError if no model is left."""

    @abstractmethod
    def _publish(self, coef, intercept):
        """Return the attributes `coef_` and `intercept_`.

        Parameters
        ----------
        coef : ndarray of shape (n_outputs, n_features)
        intercept : ndarray of shape (n_outputs,)
        """

    def _weight_factor(self, y):
        """Return what a ``class_weight`` dict multiplies the rows' weights with."""
        return np.ones(len(y))

    def _counted_again(self, table):
        """Return fitted attributes that count the training rows, as `Targets` has."""
        return {}

    # The score of `inspection.data_values`. None: that of the `score` of `to_sklearn`.
    _default_scoring: str | None = "r2"

    def _predictions(self, raw):
        """Return predicted targets from raw ones of shape (..., n_outputs)."""
        return raw

    # Fit.

    @starting_over
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike | Any,
        y: ArrayLike | str | None = None,
        sample_weight: ArrayLike | str | None = None,
        sample_id: ArrayLike | str | None = None,
    ) -> Self:
        """Fit the model, and keep the rows and what edits will need.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows; copied. float32 rows stay float32, sparse ones become CSR.
            With `store`, also an Arrow table or data set, a data frame or a lazy query
            of polars, or an iterable of batches (X, y[, sample_weight[, sample_id]]):
            they are read in batches, and `y`, `sample_weight` and `sample_id` may be
            names of columns.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets; several targets for regression only.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Weights of the rows; a row of weight 0 counts as absent, one of weight 2
            as given twice.
        sample_id : array-like of shape (n_samples,), default=None
            Ids of the rows, integers or strings of at most 128 characters; several rows
            may share an id. Without ids, rows are identified by position or content.

        Returns
        -------
        self : object
            The fitted estimator. It contains the training rows.

        Raises
        ------
        ValueError
            For invalid data or parameters, and when the coefficients overflow.

        Warns
        -----
        UserWarning
            When a parameter that has no effect with the chosen solver is set.
        """
        warn_of_ignored(self, stacklevel=4)  # through the two decorators
        started = perf_counter()
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        is_one_run = self.store is None  # otherwise the rows are written first
        changing = self._changing("fit", is_one_run, X=X, y=y, metadata=weights)
        with changing as transaction:
            self._fit(transaction, X, y, sample_weight, sample_id, started)
        self._training_set.give_back()
        return self

    def _fit(self, transaction, X, y, sample_weight, sample_id, started):
        settings = self._settings()
        settings.check_learning_rates()
        store = self._store_in_memory if self.store is None else self._store_in_files
        training_set, targets = store(transaction, X, y, sample_weight, sample_id)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        engine = first_engine(settings, training_set, targets.model, seed)
        key = digests.new_key()
        if not self.store_data:
            training_set = fingerprinted(training_set, key)
        state = self._state_of(engine, training_set) | targets.attributes
        state["_fit_parameters"] = self._parameters_to_keep()
        state["_key"] = key
        state["_lineage"], state["_publications"] = new_lineage(), None
        state[VALIDATED] = self._parameter_values()
        state["history_"] = History()
        report = self._report("fit", engine, training_set, started, purged="yes")
        self._take_on(state, report)

    def _store_in_memory(self, transaction, X, y, sample_weight, sample_id):
        """Return the training set of the rows given to `fit`, and their `Targets`."""
        X, y = validate_data(self, X, y, multi_output=True, **ROW_CHECKS)
        given_weight = requests.check_weights(sample_weight, X.shape[0])
        ids = None
        if sample_id is not None:
            ids = check_ids(sample_id, n_rows=X.shape[0])
        targets = self._fit_targets(y, given_weight)
        weight = given_weight * targets.factor
        requests.check_some_count(np.count_nonzero(weight))
        training_set = TrainingSet.of(
            X, targets.y, weight, ids, self.fit_intercept,
            given_weight if self.standardize else None,
        )  # fmt: skip
        return training_set, targets

    def _store_in_files(self, transaction, X, y, sample_weight, sample_id):
        """Like `_store_in_memory`, in the folder `store`."""
        if not self.store_data:
            raise ValueError(
                "store_data=False keeps no rows, and store is where they are kept: set "
                "store=None or store_data=True."
            )
        source = as_source(X, y, sample_weight, sample_id)
        folder = folder_for(self.store, vars(self).get("_training_set"), transaction)
        batches = _followed(read_ahead(source.batches(_BATCH_ROWS)), source.n_rows)
        training_set = written(batches, folder, self.store, transaction)
        table = training_set.table
        given_weight = table.weight
        targets = self._fit_targets(table.y, given_weight, table.numbers)
        weight = table.numbers(len(given_weight))
        np.multiply(given_weight, targets.factor, out=weight)
        requests.check_some_count(np.count_nonzero(weight))
        training_set.complete(
            targets.y, weight, given_weight if self.standardize else None
        )
        training_set.summarise(self.fit_intercept, self.standardize)
        self.n_features_in_ = source.n_features
        vars(self).pop("feature_names_in_", None)
        if source.feature_names is not None:
            self.feature_names_in_ = source.feature_names
        return training_set, targets

    # Edits.

    @one_at_a_time
    def partial_unfit(
        self, X: MatrixLike | None = None, y: ArrayLike | None = None, *,
        position: Positions | None = None, sample_id: Ids | None = None,
        sample_weight: ArrayLike | None = None, on_missing: OnMissing = "raise",
        request_id: str | int | None = None,
    ) -> Self:  # fmt: skip
        """Remove training rows: the model becomes that of the remaining rows.

        Rows are named by exactly one of their content (`X` and `y`), `position` and
        `sample_id`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features), default=None
            The rows as they were given to `fit`. If a row is given k times, k copies
            of it are removed.
        y : array-like of shape (n_rows,) or (n_rows, n_targets), default=None
            Their targets; required with `X`.
        position : int, slice or array-like of int or bool, default=None
            Numbers of the rows in `fit`; the numbers of rows that were added later
            follow. A mask has one entry for every position, including those of removed
            rows. A slice names the rows in its range that were not removed. The index
            of a frame is refused, because it holds labels.
        sample_id : int, str or array-like, default=None
            Every row that has one of these ids is removed.
        sample_weight : array-like of shape (n_rows,), default=None
            With `X`: only rows of these weights are removed.
        on_missing : {"raise", "ignore"}, default="raise"
            What to do about rows, positions or ids that do not exist or were removed.
        request_id : str or int, default=None
            The caller's name for the request; the report contains it.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            When a row of `X` is not stored, or no row would be left to fit on.
        IndexError
            When a position does not exist, or its row was removed before; when a mask
            has another length.
        KeyError
            When no row has an id.
        """
        return self._unfit(
            "partial_unfit", X, y, position, sample_id, sample_weight, on_missing,
            request_id,
        )  # fmt: skip

    @one_at_a_time
    def plan_unfit(
        self, X: MatrixLike | None = None, y: ArrayLike | None = None, *,
        position: Positions | None = None, sample_id: Ids | None = None,
        sample_weight: ArrayLike | None = None, on_missing: OnMissing = "raise",
    ) -> EditPlan:  # fmt: skip
        """Predict the cost of `partial_unfit` without running it.

        Parameters and errors are those of `partial_unfit`.

        Returns
        -------
        plan : EditPlan
            The numbers of rows, passes and exact steps, whether the model would be
            fitted again, and about how long it would take. ``print(plan)`` shows them.
        """
        self._begin_edit(on_missing)
        training_set, edit = self._find_rows(
            X, y, position, sample_id, sample_weight, on_missing
        )
        facts = {}
        if len(edit.removed):
            self._check_what_is_left(training_set.table, edit)
            targets = self._edit_targets(training_set.table, edit)
            requests.check_classes_stay(training_set.table, targets)
            facts = predict_cost(
                self._settings(), training_set, self._engine, edit, targets
            )
        n_samples = training_set.table.n_live - len(edit.removed)
        return EditPlan(len(edit.removed), edit.n_missing, n_samples, **facts)

    @one_at_a_time
    def partial_refit(
        self, X: MatrixLike | None = None, y: ArrayLike | None = None, *,
        position: Positions | None = None, sample_id: Ids | None = None,
        sample_weight: ArrayLike | None = None, replace: bool = False,
        remove_position: Positions | None = None, remove_id: Ids | None = None,
        on_missing: OnMissing = "raise", request_id: str | int | None = None,
    ) -> Self:  # fmt: skip
        """Add rows, correct rows, add and remove rows at once, or retrain exactly.

        Without any arguments the model is fitted again, from zero, to the current
        training rows: no approximation of earlier edits remains.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features), default=None
            Rows to add.
        y : array-like of shape (n_rows,) or (n_rows, n_targets), default=None
            Their targets; required with `X`.
        position : int, slice or array-like of int or bool, default=None
            With ``replace=True``: the rows that the new ones replace, one for each, as
            for `partial_unfit`. A mask names them in ascending order.
        sample_id : array-like of shape (n_rows,), default=None
            Ids of the new rows; required if `fit` was given ids. With ``replace=True``
            and without `position`, all rows that have one of them are removed.
        sample_weight : array-like of shape (n_rows,) or float, default=None
            Weights of the new rows. None: 1.
        replace : bool, default=False
            Whether the rows at `position`, or those with `sample_id`, are removed. The
            new rows get their positions.
        remove_position, remove_id : default=None
            Rows to be removed in the same edit, by position or by id.
        on_missing : {"raise", "ignore"}, default="raise"
            What to do about positions and ids to be removed or replaced that do not
            exist or were removed; new rows are added in any case.
        request_id : str or int, default=None
            The caller's name for the request; the report contains it.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, IndexError, KeyError
            As for `partial_unfit`.
        """
        return self._refit(
            "partial_refit", X, y, position, sample_id, sample_weight, replace,
            remove_position, remove_id, on_missing, request_id,
        )  # fmt: skip

    # What these methods, and those of `PlainWords`, do; `operation` is what reports
    # call it.

    def _unfit(
        self, operation, X, y, position, sample_id, sample_weight, on_missing,
        request_id,
    ):  # fmt: skip
        started = self._begin_edit(on_missing, request_id)
        training_set, edit = self._find_rows(
            X, y, position, sample_id, sample_weight, on_missing
        )
        return self._edit(operation, started, training_set, edit, request_id)

    def _refit(
        self, operation, X, y, position, sample_id, sample_weight, replace,
        remove_position, remove_id, on_missing, request_id,
    ):  # fmt: skip
        started = self._begin_edit(on_missing, request_id)
        if not self._training_set.is_stored:
            raise ValueError(
                "store_data=False kept no rows: they can be removed, given as X and y "
                "to unlearn; nothing else. Fit with store_data=True to add, correct "
                "or retrain."
            )
        if X is None:
            if replace or any(
                value is not None for value in (y, position, sample_id, sample_weight)
            ):
                raise ValueError(
                    "X is missing: y, position, sample_id, sample_weight and replace "
                    "describe rows to add. Call partial_refit() alone to retrain, "
                    "partial_unfit to remove rows."
                )
            if remove_position is None and remove_id is None:
                return self._retrain(started, request_id)
        table = self._training_set.table
        removal = requests.find_rows(
            table, remove_position, remove_id, on_missing, "remove_"
        )
        edit = removal
        if X is not None:
            weight = 1.0 if sample_weight is None else sample_weight
            added = requests.with_ids(self._check_rows(X, y, weight), table, sample_id)
            edit = requests.addition(
                table, added, position, sample_id, replace, on_missing
            ).also(removal)
        return self._edit(operation, started, self._training_set, edit, request_id)

    # Requests.

    def _begin_edit(self, on_missing, request_id=None):
        """Check what every edit needs, and return the time at which it started."""
        if "_engine" not in vars(self):
            check_is_fitted(self)  # raises an error
        if on_missing not in ("raise", "ignore"):
            raise ValueError(
                f'on_missing must be "raise" or "ignore", got {on_missing!r}.'
            )
        requests.check_request_id(request_id)
        self._check_parameters()
        started = perf_counter()
        self._into_memory()
        return started

    def _find_rows(self, X, y, position, sample_id, sample_weight, on_missing):
        """Return the training set that contains the rows to remove, and the `Edit`."""
        given = [X is not None, position is not None, sample_id is not None]
        if sum(given) != 1:
            raise ValueError(
                "Name the rows to remove by exactly one of X (with y), position and "
                f"sample_id; got {sum(given)} of them. partial_refit() retrains."
            )
        if X is None and (y is not None or sample_weight is not None):
            raise ValueError("y and sample_weight go with X, which is missing.")
        training_set = self._training_set
        table = training_set.table
        if X is None:
            if not table.is_stored:
                raise ValueError(
                    "store_data=False kept no rows: give those to remove as X and y, "
                    "as they were given to fit."
                )
            edit = requests.find_rows(table, position, sample_id, on_missing)
            return training_set, edit
        given = self._check_rows(X, y, sample_weight)
        codes = self._code_targets(given.y)
        factor = self._weight_factor(given.y)
        if not table.is_stored:
            return find_request(
                training_set, given, codes, factor, self._key, on_missing
            )
        if given.weight is not None:
            given = dataclasses.replace(given, weight=given.weight * factor)
        return training_set, requests.find_content(
            training_set, given, codes, on_missing
        )

    def _check_rows(self, X, y, sample_weight):
        """Return rows as they are stored, with their targets as given."""
        if y is None:
            raise ValueError("y is missing: rows are given by X and y together.")
        if not self._is_validated(X):
            X = validate_data(self, X, reset=False, **ROW_CHECKS)
        y = np.asarray(y) if isinstance(y, list) else y
        if not (type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "biu"):
            y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
        if len(y) != X.shape[0]:
            raise ValueError(
                f"X has {X.shape[0]} rows and y has {len(y)}: give one target a row."
            )
        weight = None
        if sample_weight is not None:
            weight = requests.check_weights(sample_weight, X.shape[0])
        rows = self._training_set.rows
        X = rows.in_form(X)
        with np.errstate(over="ignore", invalid="ignore"):
            stored = X.astype(rows.dtype, copy=False)
            if stored.dtype != X.dtype:
                assert_all_finite(stored, input_name="X")
        return GivenRows(canonical(stored), y, weight)

    def _is_validated(self, X):
        """Tell whether `validate_data` would return X itself, without a warning.

        For one row, `validate_data` takes longer than it takes to find the row.
        """
        return (
            type(X) is np.ndarray
            and X.shape[1:] == (self.n_features_in_,)
            and len(X) > 0
            and X.dtype in ROW_CHECKS["dtype"]
            and X.flags.c_contiguous
            and "feature_names_in_" not in vars(self)
            and bool(np.isfinite(X).all())
        )

    def _check_what_is_left(self, table, edit):
        if len(edit.removed) >= table.n_live and not edit.n_new_rows:
            raise ValueError(
                f"All {table.n_live} training rows would be removed, and no model "
                "would be left: nothing is changed. Keep at least one row, or discard "
                "the estimator."
            )
        n_counting = self._engine.n_counting
        n_counting -= np.count_nonzero(table.weight[edit.removed])
        if edit.new_rows is not None:
            n_counting += np.count_nonzero(edit.new_rows.weight)
        requests.check_some_count(n_counting)

    # Carrying an edit out.

    def _edit(self, operation, started, training_set, edit, request_id):
        """Carry out an edit; on any error the estimator is unchanged."""
        table = training_set.table
        facts = self._facts(table, edit, request_id)
        if not len(edit.removed) and not edit.n_new_rows:
            with self._changing(operation):
                facts["purged"] = self.purged_  # nothing has changed
                report = self._report(operation, None, training_set, started, **facts)
                self._take_on({}, report)
            return self
        self._check_what_is_left(table, edit)
        targets = self._edit_targets(table, edit)
        requests.check_classes_stay(table, targets)
        edit = edit.coded(targets.y, targets.factor)
        with self._changing(operation) as transaction:
            engine, summary = carry_out(
                self._settings(), transaction, training_set, self._engine, edit,
                targets,
            )  # fmt: skip
            if not table.is_stored:
                training_set = without_request(training_set)
            state = self._state_of(engine, training_set) | targets.attributes
            state["_lineage"] = new_lineage(lineage_of(self))
            facts |= summary | {"purged": "no"}
            report = self._report(operation, engine, training_set, started, **facts)
            self._take_on(state, report)
        training_set.give_back()
        return self

    def _facts(self, table, edit, request_id):
        """Return what the report says about the request itself."""
        added = digests.names_of_added(edit, table.n_positions)
        return {
            "request_id": request_id,
            "n_samples_before": table.n_live,
            "membership_checked": table.membership_error_rate is not None,
            "membership_error_rate": table.membership_error_rate,
            "n_removed": len(edit.removed),
            "n_added": edit.n_new_rows,
            "n_not_found": edit.n_missing,
            "indexed": edit.indexed,
            "removed_ids": digests.hashed(
                digests.names_of(table, edit.removed), self._key
            ),
            "added_ids": digests.hashed(added, self._key),
            "missing_ids": digests.hashed(edit.missing, self._key),
        }

    def _retrain(self, started, request_id):
        training_set = self._training_set
        with self._changing("partial_refit", is_one_run=True) as transaction:
            counted = {}
            if training_set.catch_up(transaction):
                counted = self._counted_again(training_set.table)
            engine = retrained(
                self._settings(), transaction, training_set, self._engine
            )
            report = self._report(
                "partial_refit", engine, training_set, started, request_id=request_id,
                n_samples_before=training_set.table.n_live, purged="no",
            )  # fmt: skip
            state = self._state_of(engine, training_set) | counted
            self._take_on(state, report)
        training_set.give_back()
        return self

    # A change of state: all of it or nothing.

    @contextmanager
    def _changing(self, operation, is_one_run=False, **given):
        """Make a fit or an edit atomic, and let callbacks follow it.

        Parameters
        ----------
        operation : str
            What callbacks and the report call it.
        is_one_run : bool, default=False
            Whether a path is run once, and nothing else happens.
        **given
            What callbacks are told of it.

        Yields
        ------
        transaction : Transaction
        """
        one_run = is_one_run and ENGINES[self.solver].keeps_path
        n_steps = self.max_iter if one_run else None
        # Attributes that `followed` sets are removed last, by itself.
        following = followed(self, operation, n_steps, **given)
        with following as finish, edit_of(self) as turn, Transaction() as transaction:
            transaction.undo(self._go_back, dict(vars(self)))
            yield transaction
            with turn.whole():  # callbacks that are told of the end may copy it
                finish()

    def _go_back(self, attributes):
        self.__dict__ = attributes  # in one assignment, because others may be reading

    def _state_of(self, engine, training_set):
        """Return the attributes that follow from an engine and its training set."""
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
        """Return the report on an operation; `engine` is None if it did not change."""
        summary = {} if engine is None else engine.summary()
        engine = engine or self._engine
        return UpdateReport(
            operation,
            estimator=type(self).__name__,
            n_samples=training_set.table.n_live,
            cache_bytes=engine.nbytes,
            seconds=perf_counter() - started,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=engine.random_seed,
            versions=digests.versions(),
            **self._reported_parameters() | summary | facts,
        )

    def _take_on(self, state, report):
        """Publish a new state and its report, unless the `callback` raises an error."""
        new = vars(self) | state
        history = new["history_"]
        report = history.sealed(report, new["coef_"], new["intercept_"])
        history = history.followed_by(report)
        self._forget_file()  # an edit has checked it, and a fit does not need it
        # In one call: other threads read either the model before or the one after.
        vars(self).update(state | {"update_report_": report, "history_": history})
        if self.callback is not None:
            self.callback(report)
        # Last, because the edit is undone if this raises (a warning made an error).
        self._print_and_warn()

    def _print_and_warn(self):
        if self.verbose:
            print(self.update_report_)
        if not self._engine.converged:
            warnings.warn(
                f"The fit stopped after max_iter={self.max_iter} iterations, or an "
                "edit at the limit of its plan, before it converged. Raise max_iter, "
                "or standardise the columns of X; partial_refit() fits without a "
                "limit.",
                ConvergenceWarning,
                stacklevel=level_of_caller(),
            )

    # What can be read from a fitted estimator.

    @property
    def trajectory_(self) -> Trajectory:
        """The cached training run, with "gd" and "sgd" only."""
        check_is_fitted(self)
        if not self._engine.keeps_path:
            raise AttributeError(
                'There is no trajectory_ with solver="newton", which keeps the optimum '
                'only. Fit with solver="gd" or "sgd".'
            )
        return self._engine.trajectory

    @property
    def scale_(self) -> np.ndarray:
        """Standard deviations of the columns; only with ``standardize=True``."""
        check_is_fitted(self)
        if self._training_set.spread is None:
            raise AttributeError(
                "There is no scale_ with standardize=False, because columns are not "
                "scaled. Fit with standardize=True."
            )
        return self._training_set.spread.scale()

    def hash_ids(self, sample_id: Ids) -> tuple[str, ...]:
        """Return the keyed hashes by which reports refer to ids.

        Every fit makes a random key, so that the hashes differ between estimators.

        Parameters
        ----------
        sample_id : int, str or array-like
            Ids as they were given to `fit`; positions if `fit` was given none.

        Returns
        -------
        hashes : tuple of str
            One for each different id, in ascending order of the ids. For more than
            1,000 ids there is a single hash of them all, as in the reports.

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
        ids = np.unique(check_ids(sample_id))
        return digests.hashed(name(ids), key)

    def path_digest(self) -> str:
        """Return the sha256 of everything that the engine caches.

        With "gd" and "sgd" this is the whole path, with "newton" the optimum and its
        Hessian. Reports contain a digest of the coefficients only, because this one
        reads the whole cache.

        Returns
        -------
        digest : str
        """
        check_is_fitted(self)
        return digests.digest_of(plain_state.plain(self._engine))

    def _as_it_is_now(self):
        """Return a view of this estimator that edits in other threads do not change."""
        now = object.__new__(type(self))
        vars(now).update(vars(self))  # in one call: no other thread comes in between
        return now

    @abstractmethod
    def _as_sklearn(self):
        """Return a model of scikit-learn without coefficients.

        Returns
        -------
        model : linear model
        names : tuple of str
            Fitted attributes that it has besides those of every linear model.
        """

    def _as_fitted_sklearn(self):
        """Return a model of scikit-learn with the fitted attributes.

        With ``standardize=True`` a pipeline of a `StandardScaler` and it is returned.
        """
        model, names = self._as_sklearn()
        names = (*names, "coef_", "intercept_", "n_iter_", "n_features_in_")
        for name in (*names, "feature_names_in_"):
            if name in vars(self):
                setattr(model, name, deepcopy(vars(self)[name]))
        if not self.standardize:
            return model
        has_mean = self.fit_intercept and not self._training_set.keeps_zeros
        return with_scaler(model, self._training_set.spread, has_mean)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _followed(batches, n_rows):
    """Yield rows, targets, weights and ids, and report the progress.

    Raises
    ------
    ValueError
        If there are no targets.
    """
    tell = begin("batches of rows", n_rows and -(-n_rows // _BATCH_ROWS))
    n_read = 0
    for number, (X, y, weight, ids) in enumerate(batches, start=1):
        if y is None:
            raise ValueError(
                "requires y to be passed, but the target y is None: pass y to fit, or "
                "batches (X, y)."
            )
        yield X, y, np.ones(len(y)) if weight is None else weight, ids
        n_read += len(y)
        if tell is not None:
            is_power_of_two = not number & (number - 1)
            tell(number, f"{n_read:,} rows" if is_power_of_two else "")
