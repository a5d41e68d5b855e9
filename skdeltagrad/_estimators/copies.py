"""Copies and pickles of an estimator: of the state between two edits.

A copy waits for its turn, as an edit does. Copies in memory (`copy.copy`,
`copy.deepcopy`) are made of the attributes as they are. Pickles and dumps are made of
their plain form (`_state`).
"""

from .._utils.callbacks import OF_A_RUN
from .._utils.lock import is_in_use, turn_to_copy, turn_to_pickle
from . import plain_state

# What says how arrays of an estimator are stored, not what they are.
_OF_STORAGE = ("_is_mapped", "_unchecked_state")


class CopiedBetweenEdits:
    """A fitted or unfitted estimator, a scikit-learn one, that can be copied."""

    # Whether it stands in for another one, whose rows it shares: see `_callbacks`.
    _is_stand_in = False

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
            vars(copied).update(plain_state.copied(self._attributes_of_copies(), memo))
            if memo is None and "_is_mapped" in vars(self):
                copied._is_mapped = True
        return copied

    def __getstate__(self):
        is_busy = self._is_stand_in or is_in_use(self)
        with turn_to_pickle(self) as is_kept:
            self._check_file()
            attributes = self._attributes_to_write(is_busy)
            return plain_state.dump(attributes, as_views=is_kept)

    def __setstate__(self, state):
        is_mapped = plain_state.is_mapped(state)
        name = type(self).__name__
        super().__setstate__(plain_state.load(state, name, is_checked=not is_mapped))
        if is_mapped:
            # To check it takes reading all of the file: that can wait.
            vars(self).update(_is_mapped=True, _unchecked_state=state)

    def _attributes_to_write(self, is_busy):
        """Attributes of a pickle or dump, for whoever holds the estimator's turn.

        `is_busy`: whether the thread is inspecting the estimator, which must then not
        be changed.
        """
        return self._attributes_of_copies()

    def _attributes_of_copies(self):
        """Attributes without those of a run; without callbacks, once it is fitted."""
        attributes, left_out = super().__getstate__(), (*OF_A_RUN, *_OF_STORAGE)
        if "_engine" in attributes:
            # A dump of a fitted estimator holds data, no code. An unfitted one goes to
            # the processes of a search as it is.
            attributes = attributes | {"callback": None}
            left_out = (*left_out, "_skl_callbacks")
        return {n: value for n, value in attributes.items() if n not in left_out}

    def _check_file(self):
        """See that a dump that was mapped into memory is as it was written, once.

        Raises
        ------
        ValueError
            When it is damaged.
        """
        if "_unchecked_state" in vars(self):
            plain_state.check(self._unchecked_state, type(self).__name__)
            self._forget_file()

    def _forget_file(self):
        """Do without the state that a dump holds: it is checked, or not needed."""
        vars(self).pop("_unchecked_state", None)

    def _into_memory(self):
        """Copy what is a file mapped into memory.

        Edits are made in place; and the file holds rows that leave.
        """
        self._check_file()
        if "_is_mapped" in vars(self):
            receipts = {"update_report_", "history_"}  # which hold no arrays
            rest = {n: value for n, value in vars(self).items() if n not in receipts}
            vars(self).update(plain_state.in_memory(rest))
            del self._is_mapped
        self._training_set.into_memory()
