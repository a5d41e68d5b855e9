"""Arrays in files, mapped into memory.

A mapping is shared: what is written to the array is written to the file, and the
operating system moves pages between the two as it sees fit. They count as pages of a
file, which it can drop at any time, and not as memory of the process. To a kernel it is
an array like any other.
"""

import mmap
import os

import numpy as np

from .growing_array import GrowingArray
from .raw_file import RawFile

# Cost: bytes by which the file of an array that grows gets longer. Nothing is copied
# then, so that the number need not grow with the file.
_SPARE_BYTES = 2**20
# Cost: fewer numbers than this are better in memory, where they take 8 MB.
_FEW = 2**20


class MappedArray(GrowingArray):
    """An array in a file of a folder, with spare room at its end.

    Parameters
    ----------
    folder : Folder
    name : str
        Of the file. Empty for a file without a name, which is deleted with the array.
    dtype : dtype
    row_shape : tuple of int
        Shape of an entry.
    size : int
        Number of entries. They are zero if the file is new.
    """

    def __init__(self, folder, name, dtype, row_shape, size):
        self._folder, self.name = folder, name
        self._dtype, self._row_shape = np.dtype(dtype), tuple(row_shape)
        if name:
            self._file = RawFile(os.path.join(folder.path, name))
        else:
            self._file = RawFile.without_name(folder.path)
        self._size = size
        self._map(max(size, len(self._file) // max(1, self._row_bytes)))

    @property
    def values(self):
        return self._store[: self._size]

    def beside(self, name, values, dtype=None):
        return self._folder.array(name, values, dtype)

    def apart(self):
        """Return a copy in a file without a name."""
        other = self._new("", len(self))
        other.values[...] = self.values
        return other

    def numbers(self, shape, dtype=float):
        if np.prod(shape, dtype=float) < _FEW:
            return np.zeros(shape, dtype)
        n_rows, *row_shape = np.atleast_1d(shape).tolist()
        return MappedArray(self._folder, "", dtype, row_shape, n_rows).values

    def append(self, values):
        values = np.asarray(values)
        dtype = np.promote_types(self._dtype, values.dtype)
        if dtype != self._dtype:
            kind, _, _ = self.name.partition(".")
            vars(self).update(vars(self.beside(kind, self.values, dtype)))
        size = self._size + len(values)
        if size > len(self._store):
            self._map(size + _SPARE_BYTES // max(1, self._row_bytes))
        self._store[self._size : size] = values
        self._size = size

    def truncate(self, size):
        self._store[size : self._size] = np.zeros((), self._dtype)
        self._size = size

    def compacted(self, transaction, blocks):
        """Return a new file of some of the entries; see `GrowingArray.compacted`.

        A process that is killed meanwhile leaves the old file as it was.
        """
        kind, _, _ = self.name.partition(".")
        size = sum(len(block.sources) for block in blocks)
        other = self._new(self._folder.new_name(kind), size)
        for block in blocks:
            other.values[block.places] = self.values[block.sources]
        return other

    def give_back(self):
        """Do nothing: spare room takes no memory."""

    def into_memory(self):
        """Do nothing: the file is the array's own."""

    def clear_spare_room(self):
        """Overwrite what an interrupted edit may have left behind the end."""
        self._store[self._size :] = np.zeros((), self._dtype)

    def shorten(self):
        """Cut off the spare room."""
        self._map(self._size)
        os.ftruncate(self._file.fileno(), max(1, self._store.nbytes))

    def flush(self):
        """Wait until the disk has what was changed."""
        self._mapping.flush()

    def description(self):
        """Return what makes an array of the same file, besides folder and name."""
        return {
            "dtype": self._dtype.str,
            "row_shape": list(self._row_shape),
            "size": self._size,
        }

    def _new(self, name, size):
        return MappedArray(self._folder, name, self._dtype, self._row_shape, size)

    @property
    def _row_bytes(self):
        return self._dtype.itemsize * int(np.prod(self._row_shape, dtype=int))

    def _map(self, capacity):
        """Map so many entries, for which the file is made long enough."""
        n_bytes = max(1, capacity * self._row_bytes)  # nothing cannot be mapped
        # Without this, a full disk would end the process when the array is written.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file.fileno(), 0, n_bytes)
        elif n_bytes > len(self._file):
            os.truncate(self._file.fileno(), n_bytes)
        self._mapping = mmap.mmap(self._file.fileno(), n_bytes)
        # Views of an earlier mapping stay valid: both are the same pages.
        shape = (capacity, *self._row_shape)
        self._store = np.ndarray(shape, self._dtype, buffer=self._mapping)

    def __getstate__(self):
        # Copies and dumps of a training set name its folder instead.
        raise TypeError("An array in a file is not copied: open its folder.")
