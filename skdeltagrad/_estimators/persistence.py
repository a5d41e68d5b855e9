"""What of an estimator is written down: purged of rows that left, and in one piece.

A *purge* makes all that a fitted estimator keeps a function of its current training
rows: two estimators that had other rows removed, and have the same rows now, then keep
the same. Edits leave that to the purge, which `save` and pickling do first.
"""

from __future__ import annotations

import os
import warnings
from time import perf_counter
from typing import Literal, Self

from sklearn.utils.validation import check_is_fitted

from .._utils.lock import one_at_a_time
from . import saving
from .editing import purged
from .fitted import FittedState

# What "purged_" says of an estimator that has been edited since the last purge.
_NOT_PURGED = (
    "solver={!r} is purged by an exact retrain only, so that this dump is written as "
    "it is: what it keeps may tell of rows that were removed. Call purge() before, or "
    "pass purge=True to save."
)


class PersistentState(FittedState):
    """A fitted estimator that can be purged, saved and pickled."""

    @property
    def purged_(self) -> Literal["yes", "no", "cannot"]:
        """Whether what is kept is a function of the current training rows alone.

        "yes" after `fit` and after a purge, "no" after an edit, and "cannot" after a
        purge that had to leave something: `update_report_.not_purged` says what.
        """
        check_is_fitted(self)
        return self.update_report_.purged or "no"  # None: of an earlier version

    def _purge_state(self):
        return self.purged_, self.update_report_.not_purged

    @one_at_a_time
    def purge(self, *, exact: bool = False) -> Self:
        """Remove every trace of rows that were removed, but for rounding.

        Edits are as cheap as they are because they leave things where they were: a step
        ends near the optimum, and what it rests on was computed when a removed row was
        there. Afterwards all that is kept, coefficients included, is a function of the
        current training rows, up to the rounding of sums, and of what requests made
        public: how many rows left and joined, when, and at which positions. Receipts of
        earlier edits lose their figures. `save` and pickling do this first.

        With ``solver="newton"`` the optimum is polished to rounding, in some three
        passes after small edits, and the Hessian is computed there; where no Hessian is
        kept, or steps do not arrive, the model is fitted again from nothing. With "gd"
        and "sgd" the path is trained again, and ``learning_rate="auto"`` is resolved
        again.

        Parameters
        ----------
        exact : bool, default=False
            Whether everything is computed again from the rows in the order in which
            they are stored, at the cost of a fit. Then not even the rounding of sums
            depends on rows that left: nobody can confirm a suspected row by repeating
            the history bit by bit.

        Returns
        -------
        self : object
            A second purge in a row does nothing.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        return self._purge(exact)

    def _purge(self, exact=False):
        """`purge`, for whoever holds the estimator's turn."""
        if self.purged_ != "no" and not exact:
            return self
        started = perf_counter()
        self._into_memory()
        with self._changing("purge", is_one_run=True) as transaction:
            training_set = self._training_set
            engine, obstacle = purged(
                self._settings_of_fit(), transaction, training_set, self._engine, exact
            )
            n_samples = training_set.table.n_live
            report = self._report(
                "purge", engine, training_set, started, n_samples_before=n_samples,
                purged="yes" if obstacle is None else "cannot", not_purged=obstacle,
                **self._parameters_of_fit(),
            )  # fmt: skip
            state = self._state_of(engine, training_set)
            self._take_on(state | {"history_": self.history_.redacted()}, report)
        training_set.give_back()
        return self

    def save(
        self,
        path: str | os.PathLike,
        *,
        compress: int | str | tuple = 0,
        purge: bool | None = None,
        receipt_key: bool = True,
    ) -> None:
        """Write a joblib dump, so that the file is the old or the new one, never half.

        `joblib.load` reads it. The file contains the training rows, and after a purge
        no trace of rows that were removed. A `callback` is not in it.

        Parameters
        ----------
        path : str or path-like
        compress : int, str or tuple, default=0
            As for `joblib.dump`; without it a file can be mapped into memory.
        purge : bool, default=None
            Whether the estimator itself is purged first: see `purge`. None: with
            ``solver="newton"``, where that is cheap; "gd" and "sgd" warn if they are
            not purged.
        receipt_key : bool, default=True
            Whether the key for the hashes of ids in receipts is written, too. Without
            it nobody who has the file can tell whether an id is meant, and neither can
            `hash_ids` of the loaded estimator.

        Raises
        ------
        OSError
            When the file cannot be written: then `path` is as it was.

        See Also
        --------
        skdeltagrad.save : The same for pipelines, and more about it.
        """
        check_is_fitted(self)
        saving.save(self, path, compress=compress, purge=purge, receipt_key=receipt_key)

    def _attributes_to_write(self, is_busy):
        if "_engine" not in vars(self):
            return super()._attributes_to_write(is_busy)
        options = saving.options()
        self._purge_for_dump(options.purge, is_busy)
        attributes = super()._attributes_to_write(is_busy)
        return attributes if options.receipt_key else attributes | {"_key": None}

    def _purge_for_dump(self, wanted, is_busy):
        if self.purged_ != "no":
            return
        if wanted is None:
            wanted = not self._engine.keeps_path
        if wanted and is_busy:
            raise RuntimeError(
                "A dump or pickle would purge the estimator, which is being inspected "
                "in this thread: call purge() before the inspection, or write the dump "
                "after it."
            )
        if wanted:
            self._purge()
        else:
            warnings.warn(_NOT_PURGED.format(self.solver), stacklevel=3)
