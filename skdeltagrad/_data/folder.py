"""The folder in which an estimator keeps its training rows in files.

    contents-0.json, contents-1.json
                    what the folder contains, replaced by every edit: see `two_slots`
    lock            held by the process that has the folder open
    undo            the bytes that an edit is about to change: see `undo_record`
    X.1, y.2, ...   an array each; a number is never given twice

An edit is in two parts. `begin` writes the undo record; the arrays are then changed in
place, or written to new files. `commit` flushes them and replaces the contents, which
is the moment at which the edit is made. What is found later and does not belong to the
contents is of an edit that was not made, or of one that is over: `clean` overwrites and
deletes it. A folder that is opened after its process was killed is therefore as it was
before the edit, or as it is after it.

SSDs, and file systems that copy on write, may keep old blocks of a file that was
overwritten. Nothing here can prevent that.
"""

import contextlib
import os
import re
import secrets

import numpy as np

from . import undo_record
from .mapped_array import MappedArray
from .raw_file import RawFile
from .two_slots import FILES, TwoSlots

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

# Version of the format of the folder.
_FORMAT = 1
_LOCK, _UNDO = "lock", "undo"
_ARRAY_FILE = re.compile(r"[A-Za-z_]+\.\d+")
# Bytes of the random id of a store, which no two stores have in common: mathematics.
_ID_BYTES = 8


class Folder:
    """A folder with arrays in files, which one process at a time has open.

    It is open for as long as this object exists. An edit that was interrupted is undone
    when it is opened.

    Parameters
    ----------
    path : str or path-like
        It is made if it does not exist, in a folder that does.

    Attributes
    ----------
    path : str
        Absolute.
    contents : dict or None
        What is in the folder; None if nothing was ever committed:

        ``store``
            A random id.
        ``generation``
            Number of commits.
        ``stamp``
            Random, another one for each commit: two copies of a folder that were edited
            differently have the same generation.
        ``arrays``
            By the name of its file, what an array is made from.
        ``state``
            What was given to `commit`.

    Raises
    ------
    BlockingIOError
        If it is open already, in this process or in another one.
    FileExistsError
        If it holds other files, or is a file.
    """

    def __init__(self, path):
        if fcntl is None:
            raise NotImplementedError(
                "Rows are kept in files on Linux and macOS only: use store=None."
            )
        self.path = os.path.abspath(path)
        self._is_new = not os.path.exists(self.path)
        if self._is_new:
            os.mkdir(self.path)
        self._check_files()
        self._owner, self._has_new_names = os.getpid(), True
        self._lock = self._locked()
        try:
            self._open()
        except BaseException:
            self.close()  # a traceback may keep this object
            raise

    def _open(self):
        self._slots = TwoSlots(self.path)
        self._check_format()
        self._undo = RawFile(self._file(_UNDO))
        self._undo_bytes = len(self._undo)
        self._undo_interrupted()
        self.clean()
        known = (self.contents or {}).get("arrays", ())
        self._last_number = max((int(n.partition(".")[2]) for n in known), default=0)

    @property
    def contents(self):
        return self._slots.document

    # Arrays.

    def new_name(self, kind):
        """Return the name of a new file for an array of some kind."""
        self._last_number += 1
        self._has_new_names = True
        return f"{kind}.{self._last_number}"

    def array(self, kind, values, dtype=None):
        """Return a `MappedArray` of some values, in a new file."""
        values = np.asarray(values)
        array = MappedArray(
            self, self.new_name(kind), dtype or values.dtype, values.shape[1:],
            len(values),
        )  # fmt: skip
        array.values[...] = values
        return array

    def stored(self, name):
        """Return the `MappedArray` in a file that the contents list.

        Raises
        ------
        ValueError
            If the file is missing or too short.
        """
        described = self.contents["arrays"][name]
        array_bytes = described["size"] * np.dtype(described["dtype"]).itemsize
        array_bytes *= int(np.prod(described["row_shape"], dtype=int))
        path = self._file(name)
        if not os.path.exists(path) or os.path.getsize(path) < array_bytes:
            raise ValueError(
                f"The store {self.path!r} is damaged: its file {name!r} is missing or "
                "shorter than it was. Restore the folder as a whole, or fit again."
            )
        return MappedArray(self, name, **described)

    # Edits.

    def begin(self, touched):
        """Write the undo record of an edit: see `undo_record.write`."""
        self.check_owner()
        generation = self.contents["generation"]
        self._undo_bytes = undo_record.write(self._undo, generation, touched)

    @property
    def is_own(self):
        """Whether this process has opened the folder, and was not forked since."""
        return os.getpid() == self._owner

    def check_owner(self):
        """Raise an error in a forked process, whose edits the other would not know."""
        if not self.is_own:
            raise RuntimeError(
                f"The store {self.path!r} is open in the process {self._owner}, from "
                "which this one was forked. Edit the estimator there, or load its dump "
                "here when that process has ended."
            )

    def commit(self, arrays, state, store=None):
        """Make an edit: flush the arrays, and say what the folder contains.

        Nothing is done if that is what it says already.

        Parameters
        ----------
        arrays : list of MappedArray
        state : dict
            To be found by whoever opens the folder; values that JSON can hold.
        store : str or None
            Id of the store that is edited. None for another store.
        """
        self.check_owner()
        before, generation = self.contents, 0
        if store is not None:
            generation = before["generation"]
        contents = {
            "format": _FORMAT,
            "store": store or secrets.token_hex(_ID_BYTES),
            "generation": generation,
            "stamp": None if before is None else before["stamp"],
            "arrays": {array.name: array.description() for array in arrays},
            "state": state,
        }
        if contents == before:
            return
        contents["generation"] = generation + 1
        contents["stamp"] = secrets.token_hex(_ID_BYTES)
        self._flush(arrays)
        self._slots.write(contents)

    def keep(self, arrays, state):
        """Say what the folder contains after an edit was undone in memory."""
        described = {array.name: array.description() for array in arrays}
        contents = self.contents | {"arrays": described, "state": state}
        self._flush(arrays)
        if contents != self.contents:
            self._slots.write(contents)

    def clean(self):
        """Overwrite and delete what does not belong to the contents (any more)."""
        if self._undo_bytes:
            self._undo.erase(self._undo_bytes)
            self._undo_bytes = 0
        if not self._has_new_names:
            return
        known = (self.contents or {}).get("arrays", ())
        for name in os.listdir(self.path):
            if _ARRAY_FILE.fullmatch(name) and name not in known:
                RawFile(self._file(name)).erase()
                os.remove(self._file(name))
        self._has_new_names = False

    def discard(self):
        """Undo a fit: leave nothing of it, and no folder that it made."""
        self.clean()
        if self.contents is None:
            self._slots.remove()
            for name in (_UNDO, _LOCK):
                _remove(self._file(name))
            if self._is_new:
                os.rmdir(self.path)

    def close(self):
        """Let others open the folder, also while a forked process has it, too."""
        if self.is_own and self._lock.fileno() >= 0:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._lock.close()

    # Files.

    def _file(self, name):
        return os.path.join(self.path, name)

    def _check_files(self):
        names = os.listdir(self.path) if os.path.isdir(self.path) else [self.path]
        known = (*FILES, _LOCK, _UNDO)
        others = [n for n in names if n not in known and not _ARRAY_FILE.fullmatch(n)]
        if others:
            raise FileExistsError(
                f"store={self.path!r} contains {others[0]!r}, which is no part of a "
                "store: give the path of a folder that is empty or does not exist."
            )

    def _locked(self):
        file = RawFile(self._file(_LOCK))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read().decode() or "of another machine"
            raise BlockingIOError(
                f"The store {self.path!r} is open already, in the process {holder}. "
                "One estimator at a time can use it: let the other one be deleted, or "
                "its process end. Predicting needs no store."
            ) from None
        os.ftruncate(file.fileno(), 0)
        file.write(str(os.getpid()).encode())
        return file

    def _flush(self, arrays):
        for array in arrays:
            array.flush()
        if self._has_new_names:
            self._flush_names()

    def _check_format(self):
        if self.contents is not None and self.contents["format"] != _FORMAT:
            raise ValueError(
                f"The store {self.path!r} has format {self.contents['format']}, and "
                f"this version of skdeltagrad reads format {_FORMAT}. Open it with the "
                "version that wrote it, or fit again."
            )

    def _flush_names(self):
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _undo_interrupted(self):
        """Undo an edit that was not committed."""
        generation, entries = undo_record.read(self._file(_UNDO))
        if generation is None or self.contents is None:
            return
        if generation != self.contents["generation"]:
            return  # it was committed
        arrays = {name: self.stored(name) for name in self.contents["arrays"]}
        for name, places, values in entries:
            if name in arrays:  # otherwise `keep` has replaced it
                arrays[name].values[places] = values
        for array in arrays.values():
            array.clear_spare_room()
        self._flush(arrays.values())


def is_store(path):
    """Return whether a folder contains rows that were committed."""
    return os.path.isfile(os.path.join(path, FILES[0]))


def _remove(path):
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
