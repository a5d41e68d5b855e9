"""Arrays that can grow at their end, and arrays that are still files."""

import contextlib

import numpy as np

from .compaction import Shift

# A cost: number of spare rows that are kept in any case.
_LEAST_SPARE = 1024
# A cost: bytes that are copied at a time to a longer store, which bounds memory.
_BLOCK_BYTES = 2**24


class GrowingArray:
    """An array with spare room at its end: appending r rows costs O(r), amortised.

    If no room is left, the array moves to a store that is longer by half. It moves
    block by block from its end, and the memory of every block is freed at once, so that
    there is never a second copy. `realloc` would do the same, but on Linux it copies
    arrays of NumPy (`mremap` refuses memory that may be in huge pages in part).

    Spare room is filled with zeros, because memory may contain rows that were removed.
    It takes no physical memory until it is used.

    Parameters
    ----------
    values : ndarray of shape (n, ...)
        Copied, in C order.

    Attributes
    ----------
    values : ndarray of shape (n, ...)
        View of the part in use; valid until the next `append`.
    """

    # The longer store, while the array moves there.
    _next = None

    def __init__(self, values):
        self._store = np.asarray(values)
        self._size = len(self._store)
        self._reserve(self._size // 4, self._store.dtype)

    @property
    def values(self):
        if self._next is not None:
            self._arrive()
        return self._store[: self._size]

    def __len__(self):
        return self._size

    def beside(self, name, values, dtype=None):
        """Return an array of other values that is stored where this one is.

        `name` says what the values are; it names the file of a `MappedArray`.
        """
        return GrowingArray(values if dtype is None else values.astype(dtype))

    def apart(self):
        """Return a copy that is no part of what is stored."""
        return GrowingArray(self.values)

    def numbers(self, shape, dtype=float):
        """Return zeros, one or more for each row, that are stored where this is.

        They are needed for a while, and overwritten.
        """
        return np.zeros(shape, dtype)

    def append(self, values):
        """Add `values` of shape (r, ...) at the end."""
        self._arrive()
        size = self._size + len(values)
        dtype = np.promote_types(self._store.dtype, np.asarray(values).dtype)
        if dtype != self._store.dtype:
            self._reserve(max(len(values), self._size // 2), dtype)
        elif size > len(self._store):
            n_spare = max(len(values), self._size // 2)
            self._next = np.zeros((size + n_spare, *self._store.shape[1:]), dtype)
            self._arrive()
        self._store[self._size : size] = values
        self._size = size

    def truncate(self, size):
        """Drop everything from `size` on."""
        self._arrive()
        self._store[size : self._size] = np.zeros((), self._store.dtype)
        self._size = size

    def extend_to(self, size):
        """Undo `truncate`, except that what was dropped is zero."""
        self._size = size

    def compacted(self, transaction, blocks):
        """Return the array of some of the entries, which are moved to its front.

        Parameters
        ----------
        transaction : Transaction
            Undoes it.
        blocks : RowBlocks or EntryBlocks
            The entries. All others must have been overwritten by zeros.
        """
        shift = Shift(self, blocks)
        transaction.undo(shift.undo)
        shift.run()
        return self

    def give_back(self):
        """Return spare memory to the operating system if it is much."""
        self._arrive()
        if len(self._store) - self._size > self._size // 2 + _LEAST_SPARE:
            with contextlib.suppress(ValueError):  # in use, or not ours
                self._shorten(self._size + self._size // 8)

    def shorten(self):
        """Give up the spare room of a file, when no more entries are expected."""

    def into_memory(self):
        """Copy the array if it is a file mapped into memory, or read-only."""
        self._arrive()
        if is_mapped(self._store) or not self._store.flags.writeable:
            self._reserve(0, self._store.dtype)

    def _shorten(self, size):
        """Free the memory behind `size` of the store.

        Raises
        ------
        ValueError
            If a view of it is in use, or it does not own its memory.
        """
        self._store.resize((size, *self._store.shape[1:]))

    def _arrive(self):
        """Finish a move to another store, also one that was interrupted."""
        if self._next is None:
            return
        if self._next is not self._store:
            left = min(self._size, len(self._store))
            row_bytes = max(1, self._store.nbytes // max(1, len(self._store)))
            size = max(1, _BLOCK_BYTES // row_bytes)
            try:
                while left:
                    first = max(0, left - size)
                    self._next[first:left] = self._store[first:left]
                    self._shorten(first)
                    left = first
            except ValueError:
                self._next[:left] = self._store[:left]
            self._store = self._next
        del self._next

    def _reserve(self, n_spare, dtype):
        shape = (self._size + n_spare, *self._store.shape[1:])
        store = np.zeros(shape, dtype)
        store[: self._size] = self._store[: self._size]
        self._store = store

    def __getstate__(self):
        return {"values": np.array(self.values)}

    def __setstate__(self, state):
        self._store = state["values"]
        self._size = len(self._store)


def in_memory(name, values):
    """Return a `GrowingArray`; `name` is ignored, as in `GrowingArray.beside`."""
    return GrowingArray(values)


def is_mapped(array):
    """Return whether an array is a memory-mapped file, or a view of one."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False
