"""What leaves an estimator: copies, pickles and dumps, and the purge before a dump.

A *purge* makes all that a fitted estimator keeps a function of its current training
rows: two estimators that had other rows removed, and have the same rows now, then keep
the same. Edits leave that to the purge, which `save` and pickling do first.

Copies in memory (`copy.copy`, `copy.deepcopy`) are made of the attributes as they are,
pickles and dumps of the attributes in the form that `plain_state` describes. Both wait
until an edit in another thread is over.
"""

from __future__ import annotations

import os
import warnings
from time import perf_counter
from typing import Self

from sklearn.utils.validation import check_is_fitted

from .._data.training_set import TrainingSet
from .._reports.report import UpdateReport
from .._utils.callbacks import OF_A_RUN
from .._utils.lock import is_in_use, one_at_a_time, turn_to_copy, turn_to_pickle
from . import plain_state, saving
from .editing import purged
from .parameters import VALIDATED

_NOT_PURGED = (
    "solver={!r} is purged by an exact retrain only, so this dump is written without a "
    "purge: it may contain traces of rows that were removed. Call purge() before, or "
    "pass purge=True to save."
)
# Attributes that say where arrays of an estimator are stored and what was checked.
_NOT_COPIED = ("_is_mapped", "_unchecked_state", VALIDATED)


class Persistent:
    """A scikit-learn estimator that can be copied, pickled, saved and purged."""

    # Whether it stands in for another one, whose rows it shares: see `_callbacks`.
    _is_stand_in = False
    store: str | os.PathLike | None
    update_report_: UpdateReport

    @property
    def _training_set(self) -> TrainingSet:
        return vars(self)["_training_set"].at(self.store)

    @property
    def purged_(self) -> str:
        """Whether what is kept is a function of the current training rows alone.

        "yes" after `fit` and after a purge, "no" after an edit, and "cannot" after a
        purge that could not remove everything: `update_report_.not_purged` says why.
        """
        check_is_fitted(self)
        return self.update_report_.purged or "no"  # None: of an earlier version

    @one_at_a_time
    def purge(self, *, exact: bool = False) -> Self:
        """Remove every trace of rows that were removed, except for rounding.

        Edits are fast because they keep what was computed before: the new coefficients
        are near the optimum, and the cached Hessian was computed when the removed rows
        were still in the training set. After a purge everything that is kept,
        coefficients included, is a function of the current training rows, up to the
        rounding of sums, and of what the requests made public: how many rows were
        removed and added, when, and at which positions. Receipts of earlier edits lose
        their figures. `save` and pickling purge first.

        With ``solver="newton"`` the optimum is computed to rounding, which takes about
        three passes over the rows after small edits, and the Hessian is computed there.
        If no Hessian is kept, or Newton's method does not converge, the model is fitted
        again from zero. With "gd" and "sgd" the path is trained again, and
        ``learning_rate="auto"`` is resolved again.

        Parameters
        ----------
        exact : bool, default=False
            Whether everything is computed again from the rows in the order in which
            they are stored, at the cost of a fit. Then not even the rounding of sums
            depends on removed rows: nobody can confirm a suspected row by repeating
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
        """Purge, in a thread that holds the estimator's lock."""
        if self.purged_ != "no" and not exact:
            return self
        started = perf_counter()
        self._into_memory()
        with self._changing("purge", is_one_run=True) as transaction:
            training_set = self._training_set
            settings = self._settings(of_fit=True)
            engine, obstacle = purged(
                settings, transaction, training_set, self._engine, exact
            )
            report = self._report(
                "purge", engine, training_set, started,
                n_samples_before=training_set.table.n_live,
                purged="yes" if obstacle is None else "cannot", not_purged=obstacle,
                **self._reported_parameters(of_fit=True),
            )  # fmt: skip
            state = self._state_of(engine, training_set)
            self._take_on(state | {"history_": self.history_.redacted()}, report)
        training_set.give_back()
        return self

    @one_at_a_time
    def close(self) -> None:
        """Close the folder `store`, so that another estimator or process can open it.

        This estimator opens it again when the rows are needed. Without a `store`
        nothing happens.
        """
        if "_engine" in vars(self):
            self._training_set.close()

    def save(
        self,
        path: str | os.PathLike,
        *,
        compress: int | str | tuple = 0,
        purge: bool | None = None,
        receipt_key: bool = True,
    ) -> None:
        """Write a joblib dump; if that fails, the old file at `path` is unchanged.

        `joblib.load` reads it. The file contains the training rows, and after a purge
        no trace of rows that were removed. A `callback` is not in it.

        Parameters
        ----------
        path : str or path-like
            Name of the file.
        compress : int, str or tuple, default=0
            As for `joblib.dump`. A file without compression can be mapped into memory.
        purge : bool, default=None
            Whether the estimator itself is purged first: see `purge`. None: with
            ``solver="newton"`` it is, because that is cheap; with "gd" and "sgd" it is
            not, and there is a warning.
        receipt_key : bool, default=True
            Whether the key for the hashes of ids in receipts is written, too. Without
            it, nobody who has only the file can find out which ids the hashes belong
            to, and `hash_ids` of the loaded estimator raises an error.

        Raises
        ------
        OSError
            When the file cannot be written: then `path` is unchanged.

        See Also
        --------
        skdeltagrad.save : The same for pipelines, with more details.
        """
        check_is_fitted(self)
        saving.save(self, path, compress=compress, purge=purge, receipt_key=receipt_key)

    # Pickles and dumps.

    def __getstate__(self):
        is_busy = self._is_stand_in or is_in_use(self)
        with turn_to_pickle(self) as is_kept:
            self._check_file()
            key = {}
            if "_engine" in vars(self):
                options = saving.options()
                self._purge_for_dump(options.purge, is_busy)
                key = {} if options.receipt_key else {"_key": None}
            return plain_state.dump(self._state_to_copy() | key, as_views=is_kept)

    def _purge_for_dump(self, wanted, is_busy):
        """Purge, or warn that the estimator is not purged.

        Parameters
        ----------
        wanted : bool or None
            See `save`.
        is_busy : bool
            Whether this thread is inspecting the estimator, which must then not change.
        """
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

    def __setstate__(self, state):
        is_mapped = plain_state.is_mapped(state)
        name = type(self).__name__
        super().__setstate__(plain_state.load(state, name, is_checked=not is_mapped))
        if is_mapped:
            # The checksum needs a pass over the whole file, so it is checked later.
            vars(self).update(_is_mapped=True, _unchecked_state=state)

    def _check_file(self):
        """Check a dump that was mapped into memory, the first time it is needed.

        Raises
        ------
        ValueError
            When it is damaged.
        """
        if "_unchecked_state" in vars(self):
            plain_state.check(self._unchecked_state, type(self).__name__)
            self._forget_file()

    def _forget_file(self):
        """Drop the state as the dump holds it: it was checked, or it is replaced."""
        vars(self).pop("_unchecked_state", None)

    def _into_memory(self):
        """Copy arrays that are a file mapped into memory.

        Edits change arrays in place; and the file contains rows that will be removed.
        """
        self._check_file()
        if "_is_mapped" in vars(self):
            receipts = {"update_report_", "history_"}  # they hold no arrays
            rest = {n: value for n, value in vars(self).items() if n not in receipts}
            vars(self).update(plain_state.in_memory(rest))
            del self._is_mapped
        self._training_set.into_memory()

    # Copies in memory.

    def __copy__(self):
        """A copy that can be edited: it has rows of its own, and shares the rest."""
        return self._copied(None)

    def __deepcopy__(self, memo):
        return self._copied(memo)

    def _copied(self, memo):
        copied = object.__new__(type(self))
        if memo is not None:
            memo[id(self)] = copied
        with turn_to_copy(self):
            self._check_file()
            vars(copied).update(plain_state.copied(self._state_to_copy(), memo))
            if memo is None and "_is_mapped" in vars(self):
                copied._is_mapped = True
        return copied

    def _state_to_copy(self):
        """Return all attributes, except those of a run and, once fitted, callbacks."""
        attributes, left_out = super().__getstate__(), (*OF_A_RUN, *_NOT_COPIED)
        if "_engine" in attributes:
            # A dump of a fitted estimator contains data and no code. An unfitted one
            # is sent to the processes of a search, and keeps its callbacks.
            attributes = attributes | {"callback": None}
            left_out = (*left_out, "_skl_callbacks")
        return {n: value for n, value in attributes.items() if n not in left_out}
