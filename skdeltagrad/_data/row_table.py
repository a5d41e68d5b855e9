"""Who the stored rows are: positions, ids, targets and weights.

Three names of a row
--------------------
storage index
    Where its data is stored. Internal; changes when the storage is compacted.
position
    Its number in `fit`; rows added later count on from there. The user's name for the
    row, and the one that decides which batches it belongs to. Never given twice,
    except that a corrected row takes over the position of the row that it replaces.
id
    What the user called it; several rows may share one.

With 5 rows in `fit`, position 1 removed and two rows added, the rows at positions
0, 2, 3, 4, 5, 6 are alive, in storage indices 0, 2, 3, 4, 5, 6; after compaction in storage indices 0 to 5.
"""

import numpy as np

from .compaction import Shift
from .growing_array import GrowingArray
from .sorted_index import SortedIndex

GONE = -1
# Of a string of NumPy, which stores code points.
_CHARACTER_BYTES = np.dtype("U1").itemsize
# Ids whose lengths are taken at a time.
_BLOCK = 2**16


class RowTable:
    """The stored rows' positions, targets, weights and ids, by storage index.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Class codes, or targets.
    weight : ndarray of shape (n_samples,)
    ids : ndarray of shape (n_samples,), dtype int64 or str, or None
    given_weight : ndarray of shape (n_samples,) or None
        Weights without what a ``class_weight`` multiplied them with; None where nobody
        asks for them.
    """

    is_stored = True
    # Probability that a row which is none of these is taken for one; None if nobody
    # looks. Stored rows are compared in full.
    membership_error_rate = 0.0

    def __init__(self, y, weight, ids=None, given_weight=None):
        n_samples = len(weight)
        given = {"y": y, "weight": weight, "id": ids, "given_weight": given_weight}
        self._columns = {
            name: GrowingArray(values)
            for name, values in given.items()
            if values is not None
        }
        self._position = GrowingArray(np.arange(n_samples))
        self._stored_at = GrowingArray(np.arange(n_samples))
        # Where in `_stored_at` the entry of a position is: see `_places`.
        self._n_first, self._n_settled = n_samples, n_samples
        self._settled = np.zeros(0, np.int64)
        self._id_index = None
        self.n_live = n_samples

    # What is stored of every row, by storage index.

    @property
    def y(self):
        return self.column("y")

    @property
    def weight(self):
        return self.column("weight")

    @property
    def given_weight(self):
        """Weights as they were given, by storage index, or None."""
        return self.column("given_weight")

    @property
    def ids(self):
        """Ids by storage index, or None where fit was given none."""
        return self.column("id")

    def column(self, name):
        """The values of a column by storage index, or None where there is no such column."""
        column = self._columns.get(name)
        return None if column is None else column.values

    def set_column(self, name, values):
        """Store a value for every row under a name, or drop the column for None.

        An engine keeps here what it knows of single rows. Rows that are added later
        have 0 until the engine sets their value; a removed row's value is wiped.
        """
        columns = {n: column for n, column in self._columns.items() if n != name}
        if values is not None:
            columns[name] = GrowingArray(values)
        self._columns = columns

    def keep_columns(self, transaction):
        """Let a transaction bring back the columns that there are now."""
        transaction.undo(setattr, self, "_columns", self._columns)

    @property
    def position(self):
        """Positions by storage index, GONE for a removed row."""
        return self._position.values

    # Who is alive, by position.

    @property
    def n_positions(self):
        """Number of positions ever given out."""
        n_dense = len(self._stored_at) - len(self._settled) - self._n_first
        return self._n_settled + n_dense

    @property
    def index_of_first(self):
        """Storage indices by position, of the rows of fit; GONE where they are not there."""
        return self._stored_at.values[: self._n_first]

    def indices_of(self, positions):
        """Storage indices of rows, GONE for those that are not there any more."""
        places = self._places(np.asarray(positions))
        return np.where(places == GONE, GONE, self._stored_at.values[places])

    def _places(self, positions):
        """Where in `_stored_at` the entries of positions are; GONE where there is none.

        Those of fit are there by their number, and then those given out since the last
        compaction. Of positions between them only rows that were there at that time
        have an entry, so that what is kept does not grow with all that ever came.
        """
        later = positions >= self._n_first
        if not np.any(later):
            return positions
        n_settled = len(self._settled)
        recent = self._n_first + n_settled + positions - self._n_settled
        place = np.searchsorted(self._settled, positions)
        found = np.zeros(np.shape(positions), bool)
        if n_settled:
            found = self._settled[np.minimum(place, n_settled - 1)] == positions
        place = np.where(found, self._n_first + place, GONE)
        place = np.where(positions >= self._n_settled, recent, place)
        return np.where(later, place, positions)

    def live_indices(self):
        """Storage indices of all rows that are there, ascending."""
        return np.flatnonzero(self.position != GONE)

    def first_indices(self, n_wanted):
        """Storage indices of some rows that are there: `n_wanted`, or all if there are fewer."""
        n_seen = 2 * n_wanted  # rarely is every second gone
        found = np.flatnonzero(self.position[:n_seen] != GONE)
        if len(found) < n_wanted and n_seen < len(self.position):
            found = self.live_indices()
        return found[:n_wanted]

    def indices_of_ids(self, ids):
        """Live rows of ids, as pairs: which id of `ids` (ascending), and the storage index."""
        if self._id_index is None:
            indices = self.live_indices()
            self._id_index = SortedIndex(self.ids[indices], indices)
        may_be_there = np.arange(len(ids))
        if self.ids.dtype.kind == "U":
            # One that is longer than all that are stored would widen all of them.
            width = self.ids.dtype.itemsize // _CHARACTER_BYTES
            may_be_there = np.flatnonzero(np.strings.str_len(ids) <= width)
            ids = ids[may_be_there].astype(self.ids.dtype)
        which, indices = self._id_index.find(ids, ids)
        live = self.position[indices] != GONE
        return may_be_there[which[live]], indices[live]

    # Rows come and go.

    def append(self, y, weight, ids=None, given_weight=None):
        """Store rows behind the last; return their storage indices. They have no position yet."""
        first, n_rows = len(self.weight), len(weight)
        if ids is not None and ids.dtype.itemsize > self.ids.dtype.itemsize:
            # Another array, for `truncate` brings the narrow one back.
            self.set_column("id", self.ids.astype(ids.dtype))
        given = {"y": y, "weight": weight, "id": ids, "given_weight": given_weight}
        for name, column in self._columns.items():
            values = given.get(name)
            column.append(np.zeros(n_rows) if values is None else values)
        self._position.append(np.full(n_rows, GONE))
        return np.arange(first, first + n_rows)

    def mark(self):
        """Where storage ends now, for `truncate`."""
        return self._columns, [len(array) for array in self._arrays()]

    def truncate(self, mark):
        """Drop all that was stored since the mark."""
        self._columns, sizes = mark
        for array, size in zip(self._arrays(), sizes, strict=True):
            array.truncate(size)
        self._id_index = None

    def give_positions(self, n_rows):
        """Hand out new positions, to nobody yet."""
        first = self.n_positions
        self._stored_at.append(np.full(n_rows, GONE))
        return np.arange(first, first + n_rows)

    def detach(self, indices):
        """Take the rows of some storage indices out of their positions."""
        self._stored_at.values[self._places(self.position[indices])] = GONE
        self._position.values[indices] = GONE
        self.n_live -= len(indices)

    def attach(self, indices, positions):
        """Put the rows of some storage indices at positions that nobody holds."""
        self._stored_at.values[self._places(positions)] = indices
        self._position.values[indices] = positions
        self.n_live += len(indices)

    def reattach(self, indices, positions, n_live):
        """Undo `detach`; `n_live` is what it was before."""
        self._stored_at.values[self._places(positions)] = indices
        self._position.values[indices] = positions
        self.n_live = n_live

    def unattach(self, indices, positions, n_live):
        """Undo `attach`; `n_live` is what it was before."""
        self._stored_at.values[self._places(positions)] = GONE
        self._position.values[indices] = GONE
        self.n_live = n_live

    def index_ids(self, indices):
        """Make the ids of added rows findable."""
        if self._id_index is not None:
            self._id_index.insert(self.ids[indices], indices)

    def wipe(self, indices):
        """Overwrite what detached rows carried."""
        if self._id_index is not None:
            ids = self.ids[indices]
            self._id_index.strike(ids, ids, indices)
        for array in self._columns.values():
            array.values[indices] = np.zeros((), array.values.dtype)

    def read(self, indices):
        """Copies of what rows carry."""
        return [array.values[indices] for array in self._columns.values()]

    def restore(self, indices, carried):
        """Undo `wipe`: `carried` is what `read` returned before."""
        self._id_index = None
        for array, values in zip(self._columns.values(), carried, strict=True):
            array.values[indices] = values

    def compact(self, transaction):
        """Move the rows that are there to the first storage indices, in place.

        What the others left is given up: their storage indices, the entries of their positions,
        and the width of ids that are longer than those of all that are there.
        """
        indices = self.live_indices()
        self._id_index = None
        for array in self._columns.values():
            shift = Shift.of_rows(array, indices)
            transaction.undo(shift.undo)
            shift.run()
        attributes = ("_position", "_stored_at", "_settled", "_n_settled")
        for name in attributes:
            transaction.undo(setattr, self, name, getattr(self, name))
        position = self.position[indices]
        n_positions = self.n_positions
        self.narrow_ids(transaction)
        self._settled = np.sort(position[position >= self._n_first])
        self._n_settled = n_positions
        self._position = GrowingArray(position)
        self._stored_at = GrowingArray(
            np.full(self._n_first + len(self._settled), GONE)
        )
        self._stored_at.values[self._places(position)] = np.arange(len(indices))

    def forget_gaps(self, transaction):
        """Forget what removed rows have left between others, and how long ids were."""
        self._id_index = None
        self.narrow_ids(transaction)

    def narrow_ids(self, transaction):
        """Give ids the width of the longest one: not of one that was removed."""
        if self.ids is not None:
            self.keep_columns(transaction)
            self._columns = self._columns | {"id": narrowed(self._columns["id"])}

    def give_back(self):
        """Give back memory that is spare."""
        for array in self._arrays():
            array.give_back()

    def aside(self):
        """A row table of the same rows that may be detached without detaching ours."""
        table = object.__new__(type(self))
        vars(table).update(vars(self))
        table._position = GrowingArray(self.position)
        table._stored_at = GrowingArray(self._stored_at.values)
        return table

    def recode(self, y):
        """A row table of the same rows with other targets, by storage index."""
        table = object.__new__(type(self))
        # Without the index, which would be shared with a row table that may come back.
        vars(table).update(vars(self) | {"_id_index": None})
        table.set_column("y", y)
        # An engine knew this about rows with other targets.
        table.set_column("leverage", None)
        return table

    def into_memory(self):
        """Copy what is a file mapped into memory."""
        for array in self._arrays():
            array.into_memory()

    def _arrays(self):
        return [*self._columns.values(), self._position, self._stored_at]

    def __getstate__(self):
        # The index is made anew when it is needed: a dump holds every id once.
        return vars(self) | {"_id_index": None}


def narrowed(ids):
    """Ids of no larger width than the longest one needs: the same, or a copy."""
    values = ids.values
    if values.dtype.kind != "U":
        return ids
    width = 1
    for first in range(0, len(values), _BLOCK):
        lengths = np.strings.str_len(values[first : first + _BLOCK])
        width = max(width, int(lengths.max()))
    dtype = np.dtype(f"U{width}")
    return ids if dtype == values.dtype else GrowingArray(values.astype(dtype))
