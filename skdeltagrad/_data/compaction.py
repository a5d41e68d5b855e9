"""Move the rows that are kept to the front of an array, in place and undoably.

An array of which some entries are dropped is filled from its front, block by block, in
the order of the entries. Entries are only ever moved down, so that no copy of the array
is made: at any time there are copies of two blocks. The dropped entries must have been
overwritten by zeros before; undoing therefore needs no copy either: entries are
moved up again, from the last block to the first, and what lies between them is cleared.

With the entries a b c d at places 0, 2, 3 and 6, in blocks of two:

    a 0 b c 0 0 d     before
    a b 0 c 0 0 d     one block: a stays, b is moved
    a b c d 0 0 0     both blocks, and all that is behind is cleared
"""

import numpy as np

# A cost: bytes of a block, which bounds the memory that is needed; and bytes of the
# place of an entry.
_BLOCK_BYTES = 2**23
_PLACE_BYTES = 8


class Block:
    """Entries that are moved together.

    Parameters
    ----------
    first : int
        Where the first entry goes. The others follow it.
    sources : ndarray of shape (n_entries,)
        Where the entries are, ascending. Each is at or behind the place it goes to.
    """

    def __init__(self, first, sources):
        self.sources = sources
        self.places = slice(first, first + len(sources))

    @property
    def stays(self):
        """Whether all entries are in their places."""
        return not len(self.sources) or self.sources[-1] == self.places.stop - 1


class RowBlocks:
    """Some rows of an array, as `Block` by block.

    Parameters
    ----------
    array : GrowingArray
    indices : ndarray of shape (n_rows,)
        The rows, ascending.
    """

    def __init__(self, array, indices):
        row_bytes = max(1, array.values.nbytes // max(1, len(array)))
        self._indices, self._rows = indices, max(1, _BLOCK_BYTES // row_bytes)

    def __len__(self):
        """Number of blocks."""
        return -(-len(self._indices) // self._rows)

    def __getitem__(self, number):
        if not 0 <= number < len(self):
            raise IndexError(number)  # which ends an iteration
        first = number * self._rows
        return Block(first, self._indices[first : first + self._rows])


class Shift:
    """The entries of one array that are kept, moved to its front.

    Parameters
    ----------
    array : GrowingArray
    blocks : RowBlocks or EntryBlocks
        The places of the blocks ascend without gaps.
    """

    def __init__(self, array, blocks):
        self._array, self._blocks = array, blocks
        self._size = len(array)
        # Number of blocks that were moved, and what was where the next one goes. One
        # attribute, so that an interrupt finds both from before or both from after.
        self._state = 0, None

    def run(self):
        """Move the entries, and drop everything behind them."""
        values, end = self._array.values, 0
        for number, block in enumerate(self._blocks):
            end = block.places.stop
            if not block.stays:
                self._state = number, values[block.places].copy()
                values[block.places] = values[block.sources]
            self._state = number + 1, None
        self._array.truncate(end)

    def undo(self):
        """Move them back, also if `run` was interrupted or never called."""
        self._array.extend_to(self._size)
        values = self._array.values
        nothing = np.zeros((), values.dtype)
        n_moved, saved = self._state
        if saved is not None:
            values[self._blocks[n_moved].places] = saved
        # Clear the places behind the last entry, and then those between the others.
        end = self._size
        if n_moved < len(self._blocks):
            end = self._first_source(n_moved)
        for number in reversed(range(n_moved)):
            block = self._blocks[number]
            if not len(block.sources):
                continue
            if block.stays:  # as do all before it
                values[block.places.stop : end] = nothing
                return
            moved = values[block.places].copy()
            first = block.sources[0]
            values[first:end] = nothing
            values[block.sources] = moved
            end = first
        values[:end] = nothing

    def _first_source(self, number):
        for later in range(number, len(self._blocks)):
            sources = self._blocks[later].sources
            if len(sources):
                return sources[0]
        return self._size


class EntryBlocks:
    """The entries of some rows of a CSR matrix, as `Block` by block.

    Their places are those in a matrix of these rows alone.

    Parameters
    ----------
    starts, lengths : ndarray of shape (n_rows,)
        Where the entries of the rows begin, and how many there are. For a `Shift` they
        must begin in ascending order.

    Attributes
    ----------
    lengths : ndarray of shape (n_rows,)
    new_starts : ndarray of shape (n_rows,)
        Where they begin in a matrix of these rows alone.
    n_entries : int
    """

    def __init__(self, starts, lengths):
        self._starts, self.lengths = starts, lengths
        ends = np.cumsum(lengths)
        self.new_starts = ends - lengths
        self.n_entries = int(ends[-1]) if len(ends) else 0
        # Runs of rows whose entries take about a block.
        size = max(1, _BLOCK_BYTES // _PLACE_BYTES)
        cuts = np.searchsorted(ends, np.arange(size, self.n_entries, size))
        bounds = np.unique(np.concatenate([[0], cuts, [len(ends)]])).tolist()
        self._runs = [
            slice(*pair) for pair in zip(bounds[:-1], bounds[1:], strict=True)
        ]

    def __len__(self):
        """Number of blocks."""
        return len(self._runs)

    def __getitem__(self, number):
        some = self._runs[number]
        first, lengths = self.new_starts[some.start], self.lengths[some]
        sources = np.repeat(self._starts[some] - self.new_starts[some], lengths)
        sources += np.arange(first, first + len(sources))
        return Block(first, sources)
