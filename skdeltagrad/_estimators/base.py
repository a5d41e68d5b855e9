"""The scikit-learn contract of the estimators: validate, fit, edit, publish.

    X, y          -> _requests (checked rows, storage indices)     -> TrainingSet
    TrainingSet   -> train / edited of an engine         -> `PathEngine` or `OptimumEngine`
    the engine    -> coef_, intercept_, update_report_

Which loss it is, is the facades' business (`_logistic`, `_ridge`): they translate
labels and targets by three methods, `_fit_targets`, `_code_targets` and
`_edit_targets`.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from time import perf_counter
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import assert_all_finite, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .._data.edit import NO_ROWS, Edit, GivenRows
from .._data.rows import canonical
from .._data.training_set import TrainingSet
from .._data.unstored import find_request, fingerprinted, without_request
from .._reports import digests
from .._reports.history import History
from .._reports.plan import EditPlan
from .._utils.lock import one_at_a_time, starting_over
from .._utils.sklearn_compat import fit_context
from .._utils.typing import Ids, MatrixLike, OnMissing, Positions
from . import requests
from .editing import carry_out, first_engine, predict_cost, retrained
from .ignored_parameters import warn_of_ignored
from .persistence import PersistentState

ROW_CHECKS = {
    "accept_sparse": "csr",
    "dtype": [np.float64, np.float32],
    "order": "C",
}


class BaseDeltaGrad(PersistentState):
    """Estimators whose training rows can be removed, added and corrected after fit."""

    # What a facade says about its targets.

    @abstractmethod
    def _fit_targets(self, y, weight):
        """`Targets` of the rows given to `fit`, and their weights."""

    @abstractmethod
    def _code_targets(self, y):
        """Given targets as they are stored, to find rows by."""

    def _weight_factor(self, y):
        """What a ``class_weight`` dict multiplies the weight of given targets with."""
        return np.ones(len(y))

    @abstractmethod
    def _edit_targets(self, table, edit):
        """`Targets` after an `Edit`; raises ValueError where no model is left."""

    # The score of `inspection.data_values`; None: what the `score` of `to_sklearn` is.
    _default_scoring: str | None = "r2"

    def _predictions(self, raw):
        """Targets predicted from raw predictions of shape (..., n_outputs)."""
        return raw

    # The public face.

    @starting_over
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        sample_id: ArrayLike | None = None,
    ) -> Self:
        """Fit the model and keep the run and the rows, so that it can be edited.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows; copied. float32 rows stay float32, sparse ones become CSR.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets; several targets for regression only.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Weights of the rows; a row of weight 0 counts as absent, one of weight 2
            as given twice.
        sample_id : array-like of shape (n_samples,), default=None
            What the rows are called, integers or strings of at most 128 characters;
            several may share an id. Without it rows have a position and content only.

        Returns
        -------
        self : object
            The fitted estimator. It contains the training rows.

        Warns
        -----
        UserWarning
            When a parameter that has no effect with the chosen solver is set.
        """
        warn_of_ignored(self, stacklevel=4)  # through the two decorators
        started = perf_counter()
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        with self._changing("fit", is_one_run=True, X=X, y=y, metadata=weights):
            self._fit(X, y, sample_weight, sample_id, started)
        return self

    def _fit(self, X, y, sample_weight, sample_id, started):
        X, y = validate_data(self, X, y, multi_output=True, **ROW_CHECKS)
        settings = self._settings()
        settings.check_learning_rates()
        given_weight = requests.check_weights(sample_weight, X.shape[0])
        targets = self._fit_targets(y, given_weight)
        weight = given_weight * targets.factor
        requests.check_some_count(np.count_nonzero(weight))
        ids = None
        if sample_id is not None:
            ids = requests.check_ids(sample_id, n_rows=X.shape[0])
        training_set = TrainingSet.of(
            X, targets.y, weight, ids, self.fit_intercept,
            given_weight if self.standardize else None,
        )  # fmt: skip
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        engine = first_engine(settings, training_set, targets.model, seed)
        key = digests.new_key()
        if not self.store_data:
            training_set = fingerprinted(training_set, key)
        state = self._state_of(engine, training_set) | targets.attributes
        state["_fit_parameters"] = self._path_parameters()
        state["_key"] = key
        state["history_"] = History()
        report = self._report("fit", engine, training_set, started, purged="yes")
        self._take_on(state, report)

    @one_at_a_time
    def partial_unfit(
        self, X: MatrixLike | None = None, y: ArrayLike | None = None, *,
        position: Positions | None = None, sample_id: Ids | None = None,
        sample_weight: ArrayLike | None = None, on_missing: OnMissing = "raise",
        request_id: str | int | None = None,
    ) -> Self:  # fmt: skip
        """Remove training rows: the model becomes that of the rows that remain.

        Rows are named by exactly one of their content (`X` and `y`), `position` or
        `sample_id`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features), default=None
            The rows as they were given to `fit`. Given k times, k copies leave.
        y : array-like of shape (n_rows,) or (n_rows, n_targets), default=None
            Their targets; needed with `X`.
        position : int, slice or array-like of int or bool, default=None
            Their numbers in `fit`; rows added later count on from there. A mask has one
            entry for every position that was ever given out. A slice names the rows
            that are still there in its range. The index of a frame is refused: it
            holds labels.
        sample_id : int, str or array-like, default=None
            Every row that carries one of these ids leaves.
        sample_weight : array-like of shape (n_rows,), default=None
            With `X`: only rows of these weights.
        on_missing : {"raise", "ignore"}, default="raise"
            What to do about rows, positions or ids that are not there (any more).
        request_id : str or int, default=None
            What the caller calls the request: it is in the report.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            When a row of `X` is not stored, or nothing would be left to fit on.
        IndexError
            When a position does not exist, or is gone; when a mask has another length.
        KeyError
            When no row carries an id.
        """
        started = self._begin_edit(on_missing, request_id)
        training_set, edit = self._find_rows(
            X, y, position, sample_id, sample_weight, on_missing
        )
        return self._edit("partial_unfit", started, training_set, edit, request_id)

    # The word that people use; not a second method.
    unlearn = partial_unfit

    @one_at_a_time
    def plan_unfit(
        self, X: MatrixLike | None = None, y: ArrayLike | None = None, *,
        position: Positions | None = None, sample_id: Ids | None = None,
        sample_weight: ArrayLike | None = None, on_missing: OnMissing = "raise",
    ) -> EditPlan:  # fmt: skip
        """Foretell what `partial_unfit` would do, and do nothing.

        Parameters are those of `partial_unfit`, and so are the errors.

        Returns
        -------
        plan : EditPlan
            Rows, passes or exact steps, whether the model would be fitted anew, and
            roughly how long it would take. Printing it reads well.
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
        """Add rows, correct rows, add and remove in one go, or retrain exactly.

        Without any rows the run is trained anew on the rows that are there, every
        gradient computed: this clears what earlier edits left of approximation.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features), default=None
            Rows to add.
        y : array-like of shape (n_rows,) or (n_rows, n_targets), default=None
            Their targets.
        position : int, slice or array-like of int or bool, default=None
            With ``replace=True``: the rows that the new ones replace, one for each, as
            for `partial_unfit`. A mask names them in ascending order.
        sample_id : array-like of shape (n_rows,), default=None
            Ids of the new rows, if fit was given ids. With ``replace=True`` and no
            `position` all rows that carry one of them leave.
        sample_weight : array-like of shape (n_rows,) or float, default=None
            Weights of the new rows.
        replace : bool, default=False
            Whether the rows at `position`, or of `sample_id`, leave. The new rows
            take over their positions.
        remove_position, remove_id : default=None
            Rows that leave in the same go, by position or by id.
        on_missing : {"raise", "ignore"}, default="raise"
            What to do about positions and ids to be removed or replaced that are not
            there (any more); new rows are added in any case.
        request_id : str or int, default=None
            What the caller calls the request: it is in the report.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, IndexError, KeyError
            As for `partial_unfit`.
        """
        started = self._begin_edit(on_missing, request_id)
        table = self._training_set.table
        if not table.is_stored:
            raise ValueError(
                "store_data=False kept no rows: they can be removed, given as X and y "
                "to unlearn; nothing else. Fit with store_data=True to add, correct "
                "or retrain."
            )
        removal = requests.find_rows(
            table, remove_position, remove_id, on_missing, "remove_"
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
            return self._edit(
                "partial_refit", started, self._training_set, removal, request_id
            )
        added = self._check_rows(X, y, 1.0 if sample_weight is None else sample_weight)
        added = requests.with_ids(added, table, sample_id)
        if replace:
            edit = requests.replace_rows(table, added, position, sample_id, on_missing)
        elif position is None:
            edit = Edit(NO_ROWS, added)
        else:
            raise ValueError(
                "position names rows to be replaced, and replace is False: pass "
                "replace=True, or remove_position to remove rows and add others."
            )
        edit = edit.also(removal)
        return self._edit(
            "partial_refit", started, self._training_set, edit, request_id
        )

    # Requests.

    def _begin_edit(self, on_missing, request_id=None):
        """Refuse what cannot be edited, and see to rows that are still a file."""
        check_is_fitted(self)
        if on_missing not in ("raise", "ignore"):
            raise ValueError(
                f'on_missing must be "raise" or "ignore", got {on_missing!r}.'
            )
        requests.check_request_id(request_id)
        self._validate_params()
        for name, value in self._path_parameters().items():
            if not np.array_equal(value, self._fit_parameters[name]):
                raise ValueError(
                    f"{name} was {self._fit_parameters[name]!r} in fit and is "
                    f"{value!r} now: the cached run does not follow. Set it back with "
                    "set_params, or fit again."
                )
        started = perf_counter()
        self._into_memory()
        return started

    def _find_rows(self, X, y, position, sample_id, sample_weight, on_missing):
        """Rows to be removed: the training set that knows them, and an `Edit`."""
        given = [X is not None, position is not None, sample_id is not None]
        if sum(given) != 1:
            raise ValueError(
                "Name the rows to remove by exactly one of X (with y), position and "
                f"sample_id; got {sum(given)} of them. partial_refit() retrains."
            )
        if X is None and (y is not None or sample_weight is not None):
            raise ValueError("y and sample_weight go with X, which is missing.")
        training_set = self._training_set
        if X is None:
            if not training_set.table.is_stored:
                raise ValueError(
                    "store_data=False kept no rows: give those to remove as X and y, "
                    "as they were given to fit."
                )
            edit = requests.find_rows(
                training_set.table, position, sample_id, on_missing
            )
            return training_set, edit
        given = self._check_rows(X, y, sample_weight)
        codes = self._code_targets(given.y)
        factor = self._weight_factor(given.y)
        if training_set.table.is_stored:
            if given.weight is not None:
                given = dataclasses.replace(given, weight=given.weight * factor)
            return training_set, requests.find_content(
                training_set, given, codes, on_missing
            )
        return find_request(training_set, given, codes, factor, self._key, on_missing)

    def _check_rows(self, X, y, sample_weight):
        """Rows as they are stored, with their targets as given."""
        if y is None:
            raise ValueError("y is missing: rows are given by X and y together.")
        X = validate_data(self, X, reset=False, **ROW_CHECKS)
        y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
        if len(y) != X.shape[0]:
            raise ValueError(f"X has {X.shape[0]} rows and y has {len(y)}.")
        weight = None
        if sample_weight is not None:
            weight = requests.check_weights(sample_weight, X.shape[0])
        return GivenRows(self._as_stored(X), y, weight)

    def _as_stored(self, X):
        rows = self._training_set.rows
        X = rows.in_form(X)
        with np.errstate(over="ignore", invalid="ignore"):
            stored = X.astype(rows.dtype, copy=False)
            if stored.dtype != X.dtype:
                assert_all_finite(stored, input_name="X")
        return canonical(stored)

    # Edits.

    def _edit(self, operation, started, training_set, edit, request_id):
        """Carry out a request; on any error the estimator is as it was."""
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
            report = self._report(
                operation,
                engine,
                training_set,
                started,
                purged="no",
                **(facts | summary),
            )
            self._take_on(state, report)
        training_set.give_back()
        return self

    def _facts(self, table, edit, request_id):
        """What the report says about a request."""
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
            "added_ids": digests.hashed(
                digests.names_of_added(edit, table.n_positions), self._key
            ),
            "missing_ids": digests.hashed(edit.missing, self._key),
        }

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

    def _retrain(self, started, request_id):
        training_set = self._training_set
        with self._changing("partial_refit", is_one_run=True) as transaction:
            engine = retrained(
                self._settings(), transaction, training_set, self._engine
            )
            report = self._report(
                "partial_refit", engine, training_set, started, request_id=request_id,
                n_samples_before=training_set.table.n_live, purged="no",
            )  # fmt: skip
            self._take_on(self._state_of(engine, training_set), report)
        return self
