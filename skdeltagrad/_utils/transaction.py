"""Edits that are made completely or not at all."""

from contextlib import ExitStack

import numpy as np
from scipy import sparse


class Transaction:
    """Undoes changes that were made in place if there is an exception.

    It is a context manager around the part of an edit that changes anything. Whoever
    changes something in place registers how to undo it *before* the change. Undoing a
    change that was not made must be harmless.

        with Transaction() as transaction:
            transaction.undo(rows.restore, indices, saved=rows.read(indices))
            rows.wipe(indices)

    `saved` are copies of rows. They are overwritten when the transaction is over.
    """

    def __init__(self):
        # It undoes the newest change first, and goes on if undoing one fails.
        self._undoing = ExitStack()
        self._saved = []
        self._completing = []

    def complete(self, function):
        """Register what is called last; if it raises, everything is undone."""
        self._completing.append(function)

    def undo(self, function, *args, saved=None):
        """Register ``function(*args)``, or ``function(*args, saved)``, to undo."""
        if saved is not None:
            args = (*args, saved)
            self._saved.append(saved)
        self._undoing.callback(function, *args)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        is_complete = False
        try:
            if kind is None:
                for function in self._completing:
                    function()
                is_complete = True
        finally:
            try:
                if not is_complete:
                    self._undoing.close()
            finally:
                self._undoing.pop_all()
                _overwrite(self._saved)
        return False


def _overwrite(saved):
    if isinstance(saved, list):
        for part in saved:
            _overwrite(part)
    elif sparse.issparse(saved):
        saved.data[...] = 0
        saved.indices[...] = 0
    else:
        saved[...] = np.zeros((), saved.dtype)
