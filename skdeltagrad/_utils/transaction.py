"""All of an edit or none of it."""

from contextlib import ExitStack

import numpy as np
from scipy import sparse


class Transaction:
    """Remembers how to undo what was done in place, and does so on any exception.

    A context manager around the part of an edit that changes anything. What is changed
    in place registers its undoing *before* it is done; undoing what did not happen yet
    must do no harm.

        with Transaction() as transaction:
            transaction.undo(rows.restore, storage indices, saved=rows.read(storage indices))
            rows.wipe(storage indices)

    `saved` holds copies of rows: they are overwritten when it is over.
    """

    def __init__(self):
        self._undoing = ExitStack()  # newest first, and all of it if one step fails
        self._saved = []

    def undo(self, function, *args, saved=None):
        """Register ``function(*args)``, or ``function(*args, saved)``, to undo."""
        if saved is not None:
            args = (*args, saved)
            self._saved.append(saved)
        self._undoing.callback(function, *args)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        try:
            if kind is not None:
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
