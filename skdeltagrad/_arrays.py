"""Arrays that can grow at their end, and arrays that are still files."""

import numpy as np

# Spare rows that are not worth giving back, and that an array grows by at least.
_LEAST_SPARE = 1024
_LEAST_GROWTH = 16


class GrowingArray:
    """An array with spare room at its end: appending r rows costs O(r), amortised.

    Where there is no room left it grows by an eighth, in place.

    Spare room is zero, never what memory held before: that may have been rows that
    were removed. It takes no physical memory until it is used.

    Parameters
    ----------
    values : ndarray of shape (n, ...)
        Copied, in C order.

    Attributes
    ----------
    values : ndarray of shape (n, ...)
        View of the part in use; valid until the next `append`.
    """

    def __init__(self, values):
        self._store = np.asarray(values)
        self._size = len(self._store)
        self._reserve(self._size // 4, self._store.dtype)

    @property
    def values(self):
        return self._store[: self._size]

    def __len__(self):
        return self._size

    def append(self, values):
        """Add `values` of shape (r, ...) at the end."""
        size = self._size + len(values)
        dtype = np.promote_types(self._store.dtype, np.asarray(values).dtype)
        if dtype != self._store.dtype:
            self._reserve(max(len(values), self._size // 8), dtype)
        elif size > len(self._store):
            self._resize(size + max(len(values), self._size // 8, _LEAST_GROWTH))
        self._store[self._size : size] = values
        self._size = size

    def truncate(self, size):
        """Drop all from `size` on."""
        self._store[size : self._size] = np.zeros((), self._store.dtype)
        self._size = size

    def extend_to(self, size):
        """Undo `truncate`, but for what was dropped: it is zero."""
        self._size = size

    def give_back(self):
        """Give memory back where more than half of what is used is spare."""
        if len(self._store) - self._size > self._size // 2 + _LEAST_SPARE:
            self._resize(self._size + self._size // 8, is_needed=False)

    def into_memory(self):
        """Copy the array if it is a file mapped into memory, or read-only."""
        if is_mapped(self._store) or not self._store.flags.writeable:
            self._reserve(0, self._store.dtype)

    def _resize(self, size, is_needed=True):
        """Another length of the store.

        In place, for a copy would take the memory of both: the operating system moves
        pages, and not what is in them. Not where a view of it is in use, or where it is
        not ours: then it is copied, if that is needed.
        """
        try:
            self._store.resize((size, *self._store.shape[1:]))
        except ValueError:
            if is_needed:
                self._reserve(size - self._size, self._store.dtype)

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


def is_mapped(array):
    """Whether an array is a memory-mapped file, or a view of one."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False
