"""Matches that are not evidence of a leak, and the estimators that know of them.

A row is exempt if a current training row is equal to it, or if it has so few values
that it would be found by chance. The same holds for its multiples, and for ids.
"""

import numpy as np

from .._utils.training_rows import KnowsTrainingRows
from . import row_search
from .chance import MIN_DISTINCT, bits_of_entries, has_telling_places, is_telling

# Why a row, a multiple of it or an id is not searched for.
_FEW = f"fewer than {MIN_DISTINCT} distinct non-zero values"
LIVE_ROW = "an equal row is still in the training set"
_LIVE_MULTIPLE = "a multiple of it is still in the training set"
_REGULAR = "its values are so regular that they could be found by chance"
LIVE_ID = "a row that is still in the training set carries it"
_SMALL_ID = "so small a number may be a count or a position"

# Rounding, relative: how far the steps of evenly spaced values may differ.
_EVEN = 1e-9


class Exemptions:
    """What is not searched for, as fitted estimators know their training rows.

    Parameters
    ----------
    objects : list of (str, object)
        All that is searched.
    forms : list of CSR array
        The removed rows, in each form in which they may be held.

    Attributes
    ----------
    fitted : list of (str, KnowsTrainingRows)
        The estimators by place.
    not_checkable, multiples_not_checkable : dict of int to str
        The reason for each row that is not searched for, or of which no multiples are.
    checkable, scalable : ndarray of int
        The numbers of the other rows.
    """

    def __init__(self, objects, forms):
        self.fitted = [(place, obj) for place, obj in objects if knows_rows(obj)]
        everyone = np.arange(forms[0].shape[0])
        self.not_checkable = {
            row: _FEW
            for row in everyone.tolist()
            if not any(_is_checkable(rows, row) for rows in forms)
        }
        self.multiples_not_checkable = {}
        for obj, part, dense in self.questions(forms, everyone):
            equal = part[obj._count_equal_rows(dense) > 0]
            self.not_checkable.update(dict.fromkeys(equal.tolist(), LIVE_ROW))
        self.checkable = np.setdiff1d(everyone, list(self.not_checkable))
        for rows in forms:
            for row in self.checkable.tolist():
                if _is_regular(_values(rows, row), rows.shape[1]):
                    self.multiples_not_checkable[row] = _REGULAR
        for obj, part, dense in self.questions(forms, self.checkable):
            multiple = part[obj._count_multiples(dense) > 0].tolist()
            self.multiples_not_checkable.update(dict.fromkeys(multiple, _LIVE_MULTIPLE))
        self.scalable = np.setdiff1d(self.checkable, list(self.multiples_not_checkable))

    def knowing(self, n_features):
        """Return the estimators that were fitted on rows of some width, by place."""
        return [(p, obj) for p, obj in self.fitted if obj.n_features_in_ == n_features]

    def questions(self, forms, numbers):
        """Yield each estimator with numbers of rows and the rows to ask it about."""
        for rows in forms:
            for _, obj in self.knowing(rows.shape[1]):
                for part, dense in dense_portions(rows, numbers):
                    yield obj, part, dense

    def sums(self, n_features):
        """Return sums over the training rows of the first estimator that knows them."""
        answers = (obj._training_sums() for _, obj in self.knowing(n_features))
        return next((sums for sums in answers if sums is not None), None)

    def is_training_row(self, vector):
        return any(
            obj._count_equal_rows(vector[np.newaxis])[0] > 0
            for _, obj in self.knowing(len(vector))
        )

    def ids_not_checkable(self, ids, largest):
        """Return the reason for each id that is not searched for.

        Parameters
        ----------
        ids : ndarray of shape (n_ids,), dtype int64 or str
        largest : int
            The largest number that may be a count or a position.
        """
        reasons = {}
        if ids.dtype.kind == "i":
            reasons = dict.fromkeys(ids[np.abs(ids) <= largest].tolist(), _SMALL_ID)
        for _, obj in self.fitted:
            carried = ids[obj._count_ids(ids) > 0].tolist()
            reasons.update(dict.fromkeys(carried, LIVE_ID))
        return reasons


def knows_rows(obj):
    # By its type: an object may run code when it is asked for its class. A search for
    # parameters also holds an estimator that was never fitted.
    return issubclass(type(obj), KnowsTrainingRows) and hasattr(obj, "n_features_in_")


def dense_portions(rows, numbers):
    """Yield numbers of rows, and these rows of a CSR array as dense arrays."""
    step = max(1, row_search.BLOCK // max(1, rows.shape[1]))
    for lo in range(0, len(numbers), step):
        part = numbers[lo : lo + step]
        yield part, rows[part].toarray()


def _values(rows, row):
    return rows.data[rows.indptr[row] : rows.indptr[row + 1]]


def _is_checkable(rows, row):
    """Tell whether a row has many distinct values, or few at telling places."""
    values = _values(rows, row)
    columns = rows.indices[rows.indptr[row] : rows.indptr[row + 1]]
    return len(np.unique(values)) >= MIN_DISTINCT or has_telling_places(
        columns, values, rows.shape[1]
    )


def _is_regular(values, n_features):
    """Tell whether multiples of a row could be found by chance."""
    steps = np.diff(values)
    is_even = not len(steps) or np.ptp(steps) <= _EVEN * np.abs(values).max()
    return is_even or not is_telling(bits_of_entries(values), n_features)
