"""Files that are closed when nobody refers to them any more."""

import contextlib
import os
import tempfile

# Cost: bytes of zeros that are written at a time.
_BLOCK_BYTES = 2**24
# Without times, which are not needed, where the system knows the difference.
_flush = getattr(os, "fdatasync", os.fsync)


class RawFile:
    """A file that is open for reading and writing, without a buffer.

    Unlike Python's own files, it may stay open for as long as there is an object that
    needs it: it is closed with the object, and without a warning.

    Parameters
    ----------
    path : str
        The file is made if there is none.
    """

    def __init__(self, path):
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    @classmethod
    def without_name(cls, folder):
        """Return a new file, which is deleted when it is closed."""
        file = object.__new__(cls)
        with tempfile.TemporaryFile(dir=folder) as temporary:
            file._descriptor = os.dup(temporary.fileno())
        return file

    def __len__(self):
        """Number of bytes."""
        return os.fstat(self._descriptor).st_size

    def fileno(self):
        return self._descriptor

    def read(self):
        return os.pread(self._descriptor, len(self), 0)

    def write(self, *parts):
        """Overwrite the beginning of the file, and wait until the disk has it."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        for part in parts:
            self._write_all(part)
        self.flush()

    def _write_all(self, part):
        left = memoryview(part)
        while len(left):  # the system may take some bytes at a time
            left = left[os.write(self._descriptor, left) :]

    def flush(self):
        """Wait until the disk has what was written."""
        _flush(self._descriptor)

    def erase(self, size=None):
        """Overwrite the first bytes, or all, with zeros, and wait for the disk."""
        size = len(self) if size is None else size
        zeros = memoryview(bytes(min(size, _BLOCK_BYTES)))
        firsts = range(0, size, _BLOCK_BYTES)
        self.write(*(zeros[: size - first] for first in firsts))

    def close(self):
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self):
        with contextlib.suppress(AttributeError, OSError):  # it was never opened
            self.close()
