"""The stored rows' positions, ids, targets and weights.

Three names of a row
--------------------
storage index
    Where its data is stored. It is internal, and compaction changes it.
position
    Its number in `fit`, counted on for rows that are added later. Users name a row by
    it, and it decides which batches the row belongs to. A position is never given
    twice, except that a corrected row takes over the position of the row it replaces.
id
    What the user calls the row. Several rows may have the same id.

For example, `fit` gets 5 rows, position 1 is removed and two rows are added. Then the
current rows have the positions 0, 2, 3, 4, 5 and 6. Their storage indices are the same
numbers, and 0 to 5 after compaction.
"""

import numpy as np

from .._utils.row_blocks import row_blocks
from .compaction import RowBlocks
from .edit import NO_ROWS
from .growing_array import GrowingArray, in_memory
from .sorted_index import SortedIndex

GONE = -1  # a sentinel in place of a position or a storage index
# Bytes of a character in a NumPy string, which stores code points.
_CHARACTER_BYTES = np.dtype("U1").itemsize
# A cost: number of ids whose lengths are computed at a time, which bounds memory.
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
        Weights without the factors of a ``class_weight``. None if they are not needed.
    array : callable, default=in_memory
        ``array(name, values)`` makes the `GrowingArray` of each column.
    """

    is_stored = True
    # Probability that another row is taken for one of these, None if that is not
    # checked. Stored rows are compared in full.
    membership_error_rate = 0.0

    def __init__(self, y, weight, ids=None, given_weight=None, array=in_memory):
        n_samples = len(weight)
        given = {"y": y, "weight": weight, "id": ids, "given_weight": given_weight}
        self._columns = {
            name: array(name, values)
            for name, values in given.items()
            if values is not None
        }
        self._position = array("position", np.arange(n_samples))
        self._stored_at = array("stored_at", np.arange(n_samples))
        # They say where in `_stored_at` the entry of a position is: see `_places`.
        self._n_first, self._n_settled = n_samples, n_samples
        self._settled = array("settled", np.zeros(0, np.int64))
        self._id_index = None
        self.n_live = n_samples

    # Columns, by storage index.

    @property
    def y(self):
        return self.column("y")

    @property
    def weight(self):
        return self.column("weight")

    @property
    def given_weight(self):
        """Weights as they were given, or None."""
        return self.column("given_weight")

    @property
    def ids(self):
        """Ids, or None if fit was given none."""
        return self.column("id")

    def column(self, name):
        """Return the values of a column, or None if there is no such column."""
        column = self._columns.get(name)
        return None if column is None else column.values

    def set_column(self, name, values):
        """Store a value for every row under a name, or drop the column for None.

        Engines keep numbers of single rows here. Rows that are added later have 0 until
        the engine sets their values. The value of a removed row is overwritten.
        """
        columns = {n: column for n, column in self._columns.items() if n != name}
        if values is not None:
            columns[name] = self._position.beside(name, values)
        self._columns = columns

    def keep_columns(self, transaction):
        """Let a transaction restore which columns there are now."""
        transaction.undo(setattr, self, "_columns", self._columns)

    @property
    def position(self):
        """Positions by storage index, GONE for a removed row."""
        return self._position.values

    # Storage indices, by position.

    @property
    def n_positions(self):
        """Number of positions that were ever given."""
        n_dense = len(self._stored_at) - len(self._settled) - self._n_first
        return self._n_settled + n_dense

    @property
    def index_of_first(self):
        """Storage indices of the positions of fit, GONE for removed rows."""
        return self._stored_at.values[: self._n_first]

    def indices_of(self, positions):
        """Return storage indices by position, GONE for removed rows."""
        places = self._places(np.asarray(positions))
        return np.where(places == GONE, GONE, self._stored_at.values[places])

    def _places(self, positions):
        """Return where in `_stored_at` the entries of positions are, or GONE.

        The positions of fit have the first entries, and those given since the last
        compaction the last ones. Of the positions between them, only those that were
        current at the compaction have an entry: the table does not grow with the number
        of rows that ever joined.
        """
        later = positions >= self._n_first
        if not np.any(later):
            return positions
        settled = self._settled.values
        n_settled = len(settled)
        recent = self._n_first + n_settled + positions - self._n_settled
        place = np.searchsorted(settled, positions)
        found = np.zeros(np.shape(positions), bool)
        if n_settled:
            found = settled[np.minimum(place, n_settled - 1)] == positions
        place = np.where(found, self._n_first + place, GONE)
        place = np.where(positions >= self._n_settled, recent, place)
        return np.where(later, place, positions)

    def numbers(self, shape, dtype=float):
        """Return zeros for a while, stored where the rows are: see `GrowingArray`."""
        return self._position.numbers(shape, dtype)

    def live_indices(self, added=NO_ROWS):
        """Return the storage indices of all current training rows, ascending.

        Those of `added` rows, which are to become current, follow.
        """
        position = self.position
        indices = self.numbers(self.n_live + len(added), np.int64)
        n_found = 0
        for block in row_blocks(len(position)):
            found = np.flatnonzero(position[block] != GONE)
            found += block.start
            indices[n_found : n_found + len(found)] = found
            n_found += len(found)
        indices[n_found:] = added
        return indices

    def first_indices(self, n_wanted):
        """Return the first storage indices of current rows, at most `n_wanted`."""
        n_seen = 2 * n_wanted  # enough, unless half of them were removed
        found = np.flatnonzero(self.position[:n_seen] != GONE)
        if len(found) < n_wanted and n_seen < len(self.position):
            found = self.live_indices()
        return found[:n_wanted]

    def indices_of_ids(self, ids):
        """Return the current rows that have some ids.

        Returns
        -------
        which : ndarray of shape (n_found,)
            Which of the ids a row has, ascending.
        indices : ndarray of shape (n_found,)
            Storage indices.
        """
        if self._id_index is None:
            indices = self.live_indices()
            keys = self.numbers(len(indices), self.ids.dtype)
            for block in row_blocks(len(indices)):
                keys[block] = self.ids[indices[block]]
            # Not `self.numbers`: a cycle of references would keep files open.
            self._id_index = SortedIndex(keys, indices, self._position.numbers)
        may_be_there = np.arange(len(ids))
        if self.ids.dtype.kind == "U":
            # An id that is longer than all stored ones would widen all of them.
            width = self.ids.dtype.itemsize // _CHARACTER_BYTES
            may_be_there = np.flatnonzero(np.strings.str_len(ids) <= width)
            ids = ids[may_be_there].astype(self.ids.dtype)
        which, indices = self._id_index.find(ids, ids)
        live = self.position[indices] != GONE
        return may_be_there[which[live]], indices[live]

    # Rows come and go.

    def append(self, y, weight, ids=None, given_weight=None):
        """Store rows without positions, and return their storage indices."""
        first, n_rows = len(self.weight), len(weight)
        if ids is not None and ids.dtype.itemsize > self.ids.dtype.itemsize:
            # A new array, because `truncate` restores the narrow one.
            wider = self._columns["id"].beside("id", self.ids, ids.dtype)
            self._columns = self._columns | {"id": wider}
        given = {"y": y, "weight": weight, "id": ids, "given_weight": given_weight}
        for name, column in self._columns.items():
            values = given.get(name)
            column.append(np.zeros(n_rows) if values is None else values)
        self._position.append(np.full(n_rows, GONE))
        return np.arange(first, first + n_rows)

    def mark(self):
        """Return what `truncate` needs to know of the present state."""
        return self._columns, [len(array) for array in self._arrays()]

    def truncate(self, mark):
        """Drop all rows that were stored since `mark` was called."""
        self._columns, sizes = mark
        for array, size in zip(self._arrays(), sizes, strict=True):
            array.truncate(size)
        self._id_index = None

    def take_for_first(self):
        """Let the present positions be those of fit, after rows came in batches."""
        self._n_first = self._n_settled = len(self._stored_at)

    def shorten(self):
        """Give up the spare room of files."""
        for array in self._arrays():
            array.shorten()

    def touched(self, indices):
        """Return all arrays with the entries that change when some rows leave."""
        places = self._places(self.position[indices])
        columns = [(column, indices) for column in self._columns.values()]
        return [*columns, (self._position, indices), (self._stored_at, places)]

    def give_positions(self, n_rows):
        """Return new positions, which no row has yet."""
        first = self.n_positions
        self._stored_at.append(np.full(n_rows, GONE))
        return np.arange(first, first + n_rows)

    def detach(self, indices):
        """Take the rows of some storage indices out of their positions."""
        self._stored_at.values[self._places(self.position[indices])] = GONE
        self._position.values[indices] = GONE
        self.n_live -= len(indices)

    def attach(self, indices, positions):
        """Give free positions to the rows of some storage indices."""
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
        """Add the ids of new rows to the index, if there is one."""
        if self._id_index is not None:
            self._id_index.insert(self.ids[indices], indices)

    def wipe(self, indices):
        """Overwrite the columns of detached rows with zeros."""
        if self._id_index is not None:
            ids = self.ids[indices]
            self._id_index.strike(ids, ids, indices)
        for array in self._columns.values():
            array.values[indices] = np.zeros((), array.values.dtype)

    def read(self, indices):
        """Return copies of the columns of some rows."""
        return [array.values[indices] for array in self._columns.values()]

    def restore(self, indices, values_by_column):
        """Undo `wipe`, given what `read` returned before."""
        self._id_index = None
        columns = self._columns.values()
        for array, values in zip(columns, values_by_column, strict=True):
            array.values[indices] = values

    def compact(self, transaction):
        """Move the current rows to the first storage indices, in place.

        The storage indices of the others are given up, as are the entries of their
        positions, and the width of ids if the longest ids have left.
        """
        indices = self.live_indices()
        self._id_index = None
        attributes = ("_columns", "_position", "_stored_at", "_settled", "_n_settled")
        for name in attributes:
            transaction.undo(setattr, self, name, getattr(self, name))
        self._columns = {
            name: column.compacted(transaction, RowBlocks(column, indices))
            for name, column in self._columns.items()
        }
        position = self.numbers(len(indices), np.int64)
        for block in row_blocks(len(indices)):
            position[block] = self.position[indices[block]]
        n_positions = self.n_positions
        self.narrow_ids(transaction)
        settled = np.sort(position[position >= self._n_first])
        self._settled = self._settled.beside("settled", settled)
        self._n_settled = n_positions
        self._position = self._position.beside("position", position)
        stored_at = self.numbers(self._n_first + len(settled), np.int64)
        stored_at[:] = GONE
        for block in row_blocks(len(position)):
            places = self._places(position[block])
            stored_at[places] = np.arange(block.start, block.start + len(places))
        self._stored_at = self._stored_at.beside("stored_at", stored_at)

    def forget_gaps(self, transaction):
        """Drop the index of ids, where removed rows left gaps, and narrow the ids."""
        self._id_index = None
        self.narrow_ids(transaction)

    def narrow_ids(self, transaction):
        """Give ids the width of the longest current one."""
        if self.ids is not None:
            self.keep_columns(transaction)
            self._columns = self._columns | {"id": narrowed(self._columns["id"])}

    def give_back(self):
        """Return spare memory to the operating system."""
        for array in self._arrays():
            array.give_back()

    def aside(self):
        """Return a table of the same rows, in which rows can be detached alone."""
        table = object.__new__(type(self))
        vars(table).update(vars(self))
        table._position = self._position.apart()
        table._stored_at = self._stored_at.apart()
        return table

    def recode(self, y):
        """Return a table of the same rows with other targets, by storage index."""
        table = object.__new__(type(self))
        # The index would be shared with this table, which a transaction may restore.
        vars(table).update(vars(self) | {"_id_index": None})
        table.set_column("y", y)
        # They were computed from the former targets.
        for name in ("leverage", "distance", "along"):
            table.set_column(name, None)
        return table

    def into_memory(self):
        """Copy arrays that are memory-mapped files."""
        for array in self._arrays():
            array.into_memory()

    def _arrays(self):
        return [*self._columns.values(), self._position, self._stored_at]

    def __getstate__(self):
        # The index is built again when it is needed: a dump holds every id once.
        return vars(self) | {"_id_index": None, "_settled": self._settled.values}

    def __setstate__(self, state):
        vars(self).update(state, _settled=GrowingArray(state["_settled"]))


def narrowed(ids):
    """Return ids whose width is that of the longest one: the same array, or a copy."""
    values = ids.values
    if values.dtype.kind != "U":
        return ids
    width = 1
    for first in range(0, len(values), _BLOCK):
        lengths = np.strings.str_len(values[first : first + _BLOCK])
        width = max(width, int(lengths.max()))
    dtype = np.dtype(f"U{width}")
    return ids if dtype == values.dtype else ids.beside("id", values, dtype)
