"""Training sets that hold no rows: ``store_data=False``.

The engine keeps what an edit needs besides the touched rows. A request brings these, so
that they are stored for as long as it takes; of every other row a fingerprint is kept,
by which it is recognised (see `_fingerprints`).
"""

import hashlib
import warnings

import numpy as np

from .._utils.callers import level_of_caller
from .edit import NO_ROWS, Edit, refuse_missing
from .fingerprints import Fingerprints
from .row_table import RowTable
from .storage import store
from .training_set import TrainingSet

_NOWHERE = -1  # a sentinel: rows that are not stored have no storage index


class UnstoredRowTable(RowTable):
    """The rows of one request, and the number and fingerprints of all rows.

    Parameters
    ----------
    y, weight : ndarray
        Of the rows of the request.
    n_live : int
        Number of all rows.
    given_weight : ndarray or None
        See `RowTable`.
    fingerprints : ndarray of shape (n_live,), dtype uint64, or None
        Those of all rows but the ones of the request, ascending, so that their order
        says nothing about the order of the rows. None in dumps of versions that made
        none.
    key_digest : str or None
        Says which key they were made with.
    """

    is_stored = False
    # Of dumps that were written before there were fingerprints.
    fingerprints = None
    key_digest = None

    def __init__(
        self, y, weight, n_live, given_weight=None, fingerprints=None, key_digest=None
    ):
        super().__init__(y, weight, given_weight=given_weight)
        self.n_live = n_live
        self.fingerprints = fingerprints
        self.key_digest = key_digest

    def live_indices(self, added=NO_ROWS):
        raise ValueError(
            "The rows would have to be read, and store_data=False kept none: from the "
            "curvature alone it is not certain any more that the model is as near to "
            "the optimum as edit_tol demands. Nothing is changed. Call fit on the rows "
            "that remain, or raise edit_tol."
        )


def fingerprinted(training_set, key):
    """Return a training set with fingerprints of its rows instead of the rows.

    Parameters
    ----------
    training_set : TrainingSet
    key : bytes
    """
    rows, table = training_set.rows, training_set.table
    fingerprints = Fingerprints(key, rows, table.y)
    found = fingerprints.of(rows, table.live_indices(), table.y, table.weight)
    return _without_rows(training_set, np.sort(found), _digest_of(key))


def without_request(training_set):
    """Return a training set after an edit, without the rows of the request."""
    table = training_set.table
    return _without_rows(training_set, table.fingerprints, table.key_digest)


def _without_rows(training_set, fingerprints, key_digest):
    table = training_set.table
    table = UnstoredRowTable(
        table.y[NO_ROWS],
        table.weight[NO_ROWS],
        table.n_live,
        fingerprints=fingerprints,
        key_digest=key_digest,
    )
    rows = store(training_set.rows.read(NO_ROWS))
    return TrainingSet(rows, table, None, training_set.spread)


def find_request(training_set, given, codes, factor, key, on_missing):
    """Return a training set that holds the rows of a request, and their removal.

    Parameters
    ----------
    training_set : TrainingSet
        Without rows.
    given : GivenRows
    codes : ndarray
        Their targets as they are stored.
    factor : ndarray of shape (n_rows,)
        What a ``class_weight`` dict multiplies their weights with.
    key : bytes or None
        That of `fingerprinted`, if it is known.
    on_missing : {"raise", "ignore"}

    Returns
    -------
    training_set : TrainingSet
        With those of the given rows that are training rows.
    edit : Edit

    Raises
    ------
    ValueError
        For a row that is none of the training rows, unless ``on_missing="ignore"``.

    Warns
    -----
    UserWarning
        If it cannot be checked, because there are no fingerprints, or another key.
    """
    before, rows = training_set.table, store(given.X)
    given_weight = np.ones(len(given)) if given.weight is None else given.weight
    weight = given_weight * factor
    reason = _why_not_checked(before, key)
    if reason is None:
        fingerprints = Fingerprints(key, rows, codes)
        place = _places(before.fingerprints, fingerprints, rows, codes, weight)
        found = np.flatnonzero(place != _NOWHERE)
        weight_too = " and sample_weight (1 where it is not given)"
        refuse_missing(place == _NOWHERE, before.n_live, weight_too, on_missing)
        left = np.delete(before.fingerprints, place[found]), before.key_digest
        error_rate = fingerprints.error_rate(before.n_live)
    else:
        warnings.warn(
            "It cannot be checked whether the rows of X are training rows: "
            f"store_data=False kept no rows, and {reason}. They are taken for training "
            "rows, and the model becomes wrong if they are not. Fit again to have "
            "them checked.",
            stacklevel=level_of_caller(),
        )
        found, error_rate = np.arange(len(given)), None
        # It is unknown which fingerprints are those of the rows that leave.
        left = None, None
    table = UnstoredRowTable(
        codes[found], weight[found], before.n_live, given_weight[found], *left
    )
    table.membership_error_rate = error_rate
    known = store(rows.read(found))
    training_set = TrainingSet(known, table, None, training_set.spread)
    edit = Edit(np.arange(len(found)), n_missing=len(given) - len(found))
    return training_set, edit


def _why_not_checked(table, key):
    """Return why rows cannot be compared with the fingerprints, or None."""
    if table.fingerprints is None:
        return "there are no fingerprints of them in this dump"
    if table.key_digest != _digest_of(key):
        return "the key of their fingerprints is not in this dump"
    return None


def _places(stored, fingerprints, rows, y, weight):
    """Return where among ascending fingerprints that of each row is, or _NOWHERE."""
    indices = np.arange(len(rows))
    wanted = fingerprints.of(rows, indices, y, weight)
    # The k-th row with some fingerprint takes the k-th entry of it.
    order = np.argsort(wanted, kind="stable")
    ascending = wanted[order]
    first = np.searchsorted(stored, ascending, side="left")
    place = first + np.arange(len(rows)) - np.searchsorted(ascending, ascending)
    is_there = place < np.searchsorted(stored, ascending, side="right")
    places = np.full(len(rows), _NOWHERE)
    places[order[is_there]] = place[is_there]
    others = np.flatnonzero(places == _NOWHERE)
    if not len(others):
        return places
    # The others may be rounded differently from the rows that they are equal to.
    taken, n_taken = np.unique(wanted[places != _NOWHERE], return_counts=True)
    n_taken = dict(zip(taken.tolist(), n_taken.tolist(), strict=True))
    for which, possible in fingerprints.possible(rows, others, y, weight):
        low = np.searchsorted(stored, possible, side="left")
        high = np.searchsorted(stored, possible, side="right")
        for i in np.flatnonzero(low < high):
            row, fingerprint = others[which[i]], int(possible[i])
            place = low[i] + n_taken.get(fingerprint, 0)
            if places[row] == _NOWHERE and place < high[i]:
                places[row] = place
                n_taken[fingerprint] = n_taken.get(fingerprint, 0) + 1
    return places


def _digest_of(key):
    """Return a name of a key, from which the key cannot be computed."""
    if key is None:
        return None
    return hashlib.blake2b(b"name of the key", digest_size=8, key=key).hexdigest()
