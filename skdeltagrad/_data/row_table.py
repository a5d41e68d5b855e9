"""Who the stored rows are: positions, ids, targets and weights.

Three names of a row
--------------------
slot
    Where its data is stored. Internal; changes when the storage is compacted.
position
    Its number in `fit`; rows added later count on from there. The user's name for the
    row, and the one that decides which batches it belongs to. Never given twice,
    except that a corrected row takes over the position of the row that it replaces.
id
    What the user called it; several rows may share one.

With 5 rows in `fit`, position 1 removed and two rows added, the rows at positions
0, 2, 3, 4, 5, 6 are alive, in slots 0, 2, 3, 4, 5, 6; after compaction in slots 0 to 5.
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


class Roster:
    """The stored rows' positions, targets, weights and ids, by slot.

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
        self._y = GrowingArray(y)
        self._weight = GrowingArray(weight)
        self._ids = None if ids is None else GrowingArray(ids)
        self._given_weight = None
        if given_weight is not None:
            self._given_weight = GrowingArray(given_weight)
        self._position = GrowingArray(np.arange(n_samples))
        self._slot = GrowingArray(np.arange(n_samples))
        # Where in `_slot` the entry of a position is: see `_places`.
        self._n_first, self._n_settled = n_samples, n_samples
        self._settled = np.zeros(0, np.int64)
        self._leverages = None
        self._index = None
        self.n_live = n_samples

    # What the rows carry, by slot.

    @property
    def y(self):
        return self._y.values

    @property
    def weight(self):
        return self._weight.values

    @property
    def given_weight(self):
        """Weights as they were given, by slot, or None."""
        return None if self._given_weight is None else self._given_weight.values

    @property
    def ids(self):
        """Ids by slot, or None where fit was given none."""
        return None if self._ids is None else self._ids.values

    @property
    def leverages(self):
        """By slot, where an engine left them; None where it did not."""
        return None if self._leverages is None else self._leverages.values

    @leverages.setter
    def leverages(self, by_slot):
        self._leverages = None if by_slot is None else GrowingArray(by_slot)

    @property
    def position(self):
        """Positions by slot, GONE for a removed row."""
        return self._position.values

    # Who is alive, by position.

    @property
    def n_positions(self):
        """Number of positions ever given out."""
        n_dense = len(self._slot) - len(self._settled) - self._n_first
        return self._n_settled + n_dense

    @property
    def slot_of_first(self):
        """Slots by position, of the rows of fit; GONE where they are not there."""
        return self._slot.values[: self._n_first]

    def slots_of(self, positions):
        """Slots of rows, GONE for those that are not there any more."""
        places = self._places(np.asarray(positions))
        return np.where(places == GONE, GONE, self._slot.values[places])

    def _places(self, positions):
        """Where in `_slot` the entries of positions are; GONE where there is none.

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

    def live_slots(self):
        """Slots of all rows that are there, ascending."""
        return np.flatnonzero(self.position != GONE)

    def first_slots(self, n_wanted):
        """Slots of some rows that are there: `n_wanted`, or all if there are fewer."""
        n_seen = 2 * n_wanted  # rarely is every second gone
        found = np.flatnonzero(self.position[:n_seen] != GONE)
        if len(found) < n_wanted and n_seen < len(self.position):
            found = self.live_slots()
        return found[:n_wanted]

    def slots_of_ids(self, ids):
        """Live rows of ids, as pairs: which id of `ids` (ascending), and the slot."""
        if self._index is None:
            slots = self.live_slots()
            self._index = SortedIndex(self.ids[slots], slots)
        may_be_there = np.arange(len(ids))
        if self.ids.dtype.kind == "U":
            # One that is longer than all that are stored would widen all of them.
            width = self.ids.dtype.itemsize // _CHARACTER_BYTES
            may_be_there = np.flatnonzero(np.strings.str_len(ids) <= width)
            ids = ids[may_be_there].astype(self.ids.dtype)
        which, slots = self._index.find(ids, ids)
        live = self.position[slots] != GONE
        return may_be_there[which[live]], slots[live]

    # Rows come and go.

    def append(self, y, weight, ids=None, given_weight=None):
        """Store rows behind the last; return their slots. They have no position yet."""
        first = len(self._weight)
        self._y.append(y)
        self._weight.append(weight)
        if ids is not None:
            if ids.dtype.itemsize > self.ids.dtype.itemsize:
                # Another array, for `truncate` brings the narrow one back.
                self._ids = GrowingArray(self.ids.astype(ids.dtype))
            self._ids.append(ids)
        if self._given_weight is not None:
            self._given_weight.append(given_weight)
        if self._leverages is not None:
            self._leverages.append(np.zeros(len(weight)))
        self._position.append(np.full(len(weight), GONE))
        return np.arange(first, len(self._weight))

    def mark(self):
        """Where storage ends now, for `truncate`."""
        return self._ids, [len(array) for array in self._arrays()]

    def truncate(self, mark):
        """Drop all that was stored since the mark."""
        self._ids, sizes = mark
        for array, size in zip(self._arrays(), sizes, strict=True):
            array.truncate(size)
        self._index = None

    def give_positions(self, n_rows):
        """Hand out new positions, to nobody yet."""
        first = self.n_positions
        self._slot.append(np.full(n_rows, GONE))
        return np.arange(first, first + n_rows)

    def detach(self, slots):
        """Take the rows of some slots out of their positions."""
        self._slot.values[self._places(self.position[slots])] = GONE
        self._position.values[slots] = GONE
        self.n_live -= len(slots)

    def attach(self, slots, positions):
        """Put the rows of some slots at positions that nobody holds."""
        self._slot.values[self._places(positions)] = slots
        self._position.values[slots] = positions
        self.n_live += len(slots)

    def reattach(self, slots, positions, n_live):
        """Undo `detach`; `n_live` is what it was before."""
        self._slot.values[self._places(positions)] = slots
        self._position.values[slots] = positions
        self.n_live = n_live

    def unattach(self, slots, positions, n_live):
        """Undo `attach`; `n_live` is what it was before."""
        self._slot.values[self._places(positions)] = GONE
        self._position.values[slots] = GONE
        self.n_live = n_live

    def index_ids(self, slots):
        """Make the ids of added rows findable."""
        if self._index is not None:
            self._index.insert(self.ids[slots], slots)

    def wipe(self, slots):
        """Overwrite what detached rows carried."""
        if self._index is not None:
            ids = self.ids[slots]
            self._index.strike(ids, ids, slots)
        for array in self._by_slot():
            array.values[slots] = np.zeros((), array.values.dtype)

    def read(self, slots):
        """Copies of what rows carry."""
        return [array.values[slots] for array in self._by_slot()]

    def restore(self, slots, carried):
        """Undo `wipe`: `carried` is what `read` returned before."""
        self._index = None
        for array, values in zip(self._by_slot(), carried, strict=True):
            array.values[slots] = values

    def compact(self, transaction):
        """Move the rows that are there to the first slots, in place.

        What the others left is given up: their slots, the entries of their positions,
        and the width of ids that are longer than those of all that are there.
        """
        slots = self.live_slots()
        self._index = None
        for array in self._by_slot():
            shift = Shift.of_rows(array, slots)
            transaction.undo(shift.undo)
            shift.run()
        attributes = ("_position", "_slot", "_settled", "_n_settled")
        for name in attributes:
            transaction.undo(setattr, self, name, getattr(self, name))
        position = self.position[slots]
        n_positions = self.n_positions
        self.narrow_ids(transaction)
        self._settled = np.sort(position[position >= self._n_first])
        self._n_settled = n_positions
        self._position = GrowingArray(position)
        self._slot = GrowingArray(np.full(self._n_first + len(self._settled), GONE))
        self._slot.values[self._places(position)] = np.arange(len(slots))

    def forget_gaps(self, transaction):
        """Forget what removed rows have left between others, and how long ids were."""
        self._index = None
        self.narrow_ids(transaction)

    def narrow_ids(self, transaction):
        """Give ids the width of the longest one: not of one that was removed."""
        if self._ids is not None:
            transaction.undo(setattr, self, "_ids", self._ids)
            self._ids = narrowed(self._ids)

    def give_back(self):
        """Give back memory that is spare."""
        for array in self._arrays():
            array.give_back()

    def aside(self):
        """A roster of the same rows that may be detached without detaching ours."""
        roster = object.__new__(type(self))
        vars(roster).update(vars(self))
        roster._position = GrowingArray(self.position)
        roster._slot = GrowingArray(self._slot.values)
        return roster

    def recode(self, y):
        """A roster of the same rows with other targets, by slot."""
        roster = object.__new__(type(self))
        # Without the index, which would be shared with a roster that may come back,
        # and what an engine knew about rows with other targets.
        vars(roster).update(vars(self) | {"_index": None, "_leverages": None})
        roster._y = GrowingArray(y)
        return roster

    def into_memory(self):
        """Copy what is a file mapped into memory."""
        for array in self._arrays():
            array.into_memory()

    def _by_slot(self):
        arrays = [
            self._y, self._weight, self._ids, self._given_weight, self._leverages,
        ]  # fmt: skip
        return [array for array in arrays if array is not None]

    def _arrays(self):
        return [*self._by_slot(), self._position, self._slot]

    def __getstate__(self):
        # The index is made anew when it is needed: a dump holds every id once.
        return vars(self) | {"_index": None}


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
