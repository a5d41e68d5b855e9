"""Training sets that hold no rows: ``store_data=False``.

The engine keeps what an edit needs besides the touched rows. A request brings these, so
that they are stored for as long as it takes; everybody else is a number.
"""

import numpy as np

from ._roster import Roster
from ._rows import AbstractRows
from ._training_set import TrainingSet


class UnstoredRoster(Roster):
    """The rows of one request, and the number of all rows there are.

    Parameters
    ----------
    y, weight : ndarray
        Of the rows of the request.
    n_live : int
        Number of all rows.
    given_weight : ndarray or None
        See `Roster`.
    """

    is_stored = False

    def __init__(self, y, weight, n_live, given_weight=None):
        super().__init__(y, weight, given_weight=given_weight)
        self.n_live = n_live

    def live_slots(self):
        raise ValueError(
            "The rows would have to be read, and store_data=False kept none: from the "
            "curvature alone it is not certain any more that the model is as near to "
            "the optimum as edit_tol demands. Nothing is changed. Call fit on the rows "
            "that remain, or raise edit_tol."
        )


def without_rows(training_set):
    """A training set of the same kind of rows and none of them."""
    roster = training_set.roster
    nobody = np.zeros(0, np.int64)
    return TrainingSet(
        training_set.rows.select(nobody),
        UnstoredRoster(roster.y[nobody], roster.weight[nobody], roster.n_live),
        None,
        training_set.spread,
    )


def with_request(training_set, X, y, weight, given_weight):
    """A training set of which the rows of a request are known."""
    roster = UnstoredRoster(y, weight, training_set.roster.n_live, given_weight)
    return TrainingSet(AbstractRows.of(X), roster, None, training_set.spread)
