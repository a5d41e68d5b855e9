"""Training sets of which the rows are in files: ``store="folder"``.

The files are mapped into memory, so that all that reads or edits rows works as it does
on rows in memory. This module describes the differences: an edit is also made on the
disk, completely or not at all (see `folder`), and copies and dumps name the folder and
do not contain it.
"""

import os
import threading
import warnings

from .._utils.callers import level_of_caller
from .csr_rows import CsrRows
from .dense_rows import DenseRows
from .folder import Folder, is_store
from .mapped_array import MappedArray
from .row_table import RowTable
from .storage import canonical, store
from .training_set import TrainingSet

_ROWS = {kind.__name__: kind for kind in (CsrRows, DenseRows)}
# Attributes that are made again when they are needed.
_NOT_STORED = ("_id_index",)
_ARRAY = "array"
# Held by the thread that opens a folder, which another one may need as well.
_opening = threading.RLock()


class MappedTrainingSet(TrainingSet):
    """A training set in a folder, which is opened when the rows are needed first.

    Attributes
    ----------
    given : str
        The folder, as it was given to the estimator.
    path : str
        Its absolute path.
    store : str
        Random id of the store.
    generation : int
        Number of its edits, with its fit.
    stamp : str
        Random, another one after each of them.
    coding : int
        Number of its edits after which targets have other codes.
    kind : str
        Name of the class of its rows.
    """

    is_stored = True
    coding = 0
    _opened = _content = None
    moments = spread = None

    def __init__(self, rows, table, folder, given):
        self._opened = rows, table, folder
        self.kind = type(rows).__name__
        self.given, self.path = os.fspath(given), folder.path
        self.store, self.generation, self.stamp = None, 0, None

    # The rows -------------------------------------------------------------------------

    @property
    def rows(self):
        return self._open()[0]

    @property
    def table(self):
        return self._open()[1]

    @table.setter
    def table(self, table):
        rows, _, folder = self._open()
        self._opened = rows, table, folder

    @property
    def keeps_zeros(self):
        return _ROWS[self.kind].keeps_zeros

    @property
    def _folder(self):
        return self._open()[2]

    def _open(self, at_any_generation=False):
        with _opening:
            if self._opened is None:
                folder = self._found()
                try:
                    self._check(folder.contents, at_any_generation)
                    self._opened = *self._restored(folder), folder
                except BaseException:
                    folder.close()  # a traceback would keep it open
                    raise
        return self._opened

    def _restored(self, folder):
        """Return the rows and the row table in a folder."""
        state = _restored(folder.contents["state"], folder)
        rows = _object(_ROWS[self.kind], state["rows"])
        table = _object(RowTable, {"_id_index": None} | state["table"])
        return rows, table

    @property
    def is_open(self):
        """Whether this object has the folder open, and no other can."""
        return self._opened is not None

    def _found(self):
        if not is_store(self.path):
            raise FileNotFoundError(
                f"The training rows are in the store {self.path!r}, and there is none. "
                "Put the folder back, or call set_params(store=...) with its new "
                "place. Predicting needs no store."
            )
        return Folder(self.path)

    def _check(self, contents, at_any_generation):
        """Check that a folder contains the rows of this training set."""
        if contents["store"] != self.store:
            raise ValueError(
                f"The store {self.path!r} is that of another fit: it has the id "
                f"{contents['store']}, and the estimator's has {self.store}. Call "
                "set_params(store=...) with the right folder, or fit again."
            )
        if contents["stamp"] != self.stamp and not at_any_generation:
            raise ValueError(
                f"The store {self.path!r} has been edited since this dump was written, "
                "or is a copy that was edited otherwise: "
                f"it is at generation {contents['generation']}, and the dump belongs "
                f"to generation {self.generation}. Load the dump that was written "
                "last, or call partial_refit() without rows, which fits the model to "
                "the rows that are there now."
            )

    def at(self, given):
        given = given if given is None else os.fspath(given)
        if given != self.given:
            if self.is_open or given is None:
                raise ValueError(
                    f"store was {self.given!r} in fit and is {given!r} now, and the "
                    "rows are in use where they are. Set it back with set_params, or "
                    "fit again."
                )
            self.given, self.path = given, os.path.abspath(given)
        return self

    def catch_up(self, transaction):
        if self.is_open:
            return False
        transaction.undo(self._go_back, dict(vars(self)))
        _, _, folder = self._open(at_any_generation=True)
        if folder.contents["state"]["coding"] != self.coding:
            raise ValueError(
                f"The classes of the rows in the store {self.path!r} have changed "
                "since this dump was written, which does not say how. Load the dump "
                "that was written last, or fit again."
            )
        if folder.contents["stamp"] == self.stamp:
            return False
        self._follow_folder()
        self.summarise(self.moments is not None, self.spread is not None)
        return True

    def _go_back(self, attributes):
        self.close()
        self.__dict__ = attributes

    # Edits ----------------------------------------------------------------------------

    def changing(self, transaction):
        self._folder.check_owner()
        transaction.undo(self._keep)
        transaction.complete(self.commit)

    def stage(self, transaction, edit):
        removed = edit.removed
        self._folder.begin([*self.rows.touched(removed), *self.table.touched(removed)])
        return super().stage(transaction, edit)

    def recode(self, transaction, y):
        transaction.undo(setattr, self, "coding", self.coding)
        super().recode(transaction, y)
        self.coding += 1

    def into_memory(self):
        """Do nothing: the files are the estimator's own, and may not be needed."""

    def give_back(self):
        """Overwrite and delete what an edit has left in the folder.

        By then the edit has been made, so that an error of the disk is a warning.
        """
        try:
            self._folder.clean()
        except OSError as error:
            warnings.warn(
                f"The edit is made, but what it removed could not be overwritten in "
                f"the store {self.path!r} ({error}). The next edit and close() try it "
                "again: see to the disk, and call close().",
                stacklevel=level_of_caller(),
            )

    def files(self):
        return sorted(
            os.path.join(folder, name)
            for folder, _, names in os.walk(self.path)
            for name in names
        )

    def close(self):
        if self.is_open:
            if self._folder.is_own:
                self._folder.clean()  # an edit may have been interrupted while it did
            self._folder.close()
            self._opened = self._content = None

    def commit(self):
        """Make a fit or an edit on the disk."""
        arrays, state = self._described()
        self._folder.commit(arrays, state, self.store)
        self._follow_folder()

    def _keep(self):
        """Give up an edit on the disk, after it was undone in memory."""
        self._folder.keep(*self._described())
        self._folder.clean()
        self._follow_folder()

    def _follow_folder(self):
        contents = self._folder.contents
        self.store, self.generation = contents["store"], contents["generation"]
        self.stamp = contents["stamp"]

    def _described(self):
        """Return all arrays, and what `_restored` must know besides."""
        rows, table, _ = self._open()
        arrays = []
        state = {
            "rows": _plain(vars(rows), arrays),
            "table": _plain(vars(table), arrays),
            "coding": self.coding,
        }
        return arrays, state

    def __getstate__(self):
        return {
            name: getattr(self, name)
            for name in ("given", "path", "store", "generation", "stamp", "coding",
                         "kind", "moments", "spread")
        }  # fmt: skip


def folder_for(given, before, transaction):
    """Return the folder for a fit.

    Parameters
    ----------
    given : str or path-like
    before : TrainingSet or None
        Of the same estimator, whose store the new one may replace.
    transaction : Transaction
        Leaves nothing new in the folder if the fit fails.

    Raises
    ------
    FileExistsError
        If there is the store of another estimator.
    """
    path = os.path.abspath(given)
    own = isinstance(before, MappedTrainingSet) and before.path == path
    if own and before.is_open:
        folder = before._folder
        folder.check_owner()
        transaction.undo(folder.discard)
        return folder
    folder = Folder(path)
    # A traceback may keep the object for longer than it is of use.
    transaction.undo(folder.close)
    transaction.undo(folder.discard)
    contents = folder.contents
    if contents is not None and not (own and contents["store"] == before.store):
        raise FileExistsError(
            f"store={os.fspath(given)!r} is the store of another estimator, and it is "
            "not overwritten. Give another folder, or delete this one first if nobody "
            "needs its rows any more."
        )
    return folder


def written(batches, folder, given, transaction):
    """Return a training set of rows that are written to a folder.

    Their targets are stored as they are given: `TrainingSet.complete` replaces them by
    what the model reads.

    Parameters
    ----------
    batches : iterable of (X, y, weight, ids)
    folder : Folder
    given : str or path-like
    transaction : Transaction
        Makes the folder's contents these rows when it is complete.
    """
    rows = table = None
    for X, y, weight, ids in batches:
        X = canonical(X)
        if rows is None:
            rows = store(X[:0], folder.array)
            some_ids = None if ids is None else ids[:0]
            table = RowTable(y[:0], weight[:0], some_ids, array=folder.array)
        rows.append(X)
        indices = table.append(y, weight, ids)
        table.attach(indices, table.give_positions(len(indices)))
    table.take_for_first()
    rows.shorten()
    table.shorten()
    training_set = MappedTrainingSet(rows, table, folder, given)
    transaction.complete(training_set.commit)
    return training_set


def _plain(value, arrays):
    """Return a value as JSON can hold it, and append the arrays in it to a list."""
    if isinstance(value, dict):
        return {
            name: _plain(part, arrays)
            for name, part in value.items()
            if name not in _NOT_STORED
        }
    if isinstance(value, MappedArray):
        arrays.append(value)
        return {_ARRAY: value.name}
    return int(value)


def _restored(value, folder):
    """The inverse of `_plain`."""
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        return folder.stored(value[_ARRAY])
    return {name: _restored(part, folder) for name, part in value.items()}


def _object(kind, attributes):
    restored = kind.__new__(kind)
    vars(restored).update(attributes)
    return restored
