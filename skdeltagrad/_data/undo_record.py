"""The undo record of an edit of arrays in files: the old bytes of what it changes.

    8 bytes         length of the header
    header          JSON: the generation of the folder that the record leads back to,
                    and for each array its file, its dtype and its shape
    for each array  places of entries (int64), and the entries themselves
    16 bytes        digest of all that

A record that was not written completely has another digest. The edit has changed
nothing then, because the record is flushed before.
"""

import hashlib
import json
import os

import numpy as np

# Version of the format: bytes of the digest, and of the header's length.
_DIGEST_BYTES = 16
_LENGTH_BYTES = 8


def write(file, generation, touched):
    """Write a record to a file, in place of what it contains, and flush it.

    Parameters
    ----------
    file : RawFile
    generation : int
    touched : list of (MappedArray, ndarray)
        The arrays and which of their entries will change.
    """
    saved = [(array, places, array.values[places]) for array, places in touched]
    entries = [
        [array.name, values.dtype.str, list(values.shape)] for array, _, values in saved
    ]
    header = json.dumps({"generation": generation, "entries": entries}).encode()
    parts = [len(header).to_bytes(_LENGTH_BYTES, "little"), header]
    for _, places, values in saved:
        parts.append(np.ascontiguousarray(places, np.int64).data)
        # A buffer does not say that it holds strings.
        parts.append(np.ascontiguousarray(values).view(np.uint8).data)
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    file.erase()
    file.write(*parts, digest.digest())
    file.flush()
    for _, _, values in saved:
        values[...] = np.zeros((), values.dtype)


def read(path):
    """Return what a file contains: see `write`.

    Returns
    -------
    generation : int or None
        None if there is no complete record.
    entries : list of (str, ndarray, ndarray)
        Name of a file, places of entries, and their values.
    """
    if not os.path.exists(path) or os.path.getsize(path) <= _LENGTH_BYTES:
        return None, []
    record = np.memmap(path, np.uint8, "r")
    end = len(record) - _DIGEST_BYTES
    digest = hashlib.blake2b(record[:end], digest_size=_DIGEST_BYTES)
    if digest.digest() != record[end:].tobytes():
        return None, []
    start = _LENGTH_BYTES + int.from_bytes(record[:_LENGTH_BYTES].tobytes(), "little")
    header = json.loads(record[_LENGTH_BYTES:start].tobytes())
    entries = []
    for name, dtype, shape in header["entries"]:
        places = _array(record, start, np.dtype(np.int64), shape[:1])
        start += places.nbytes
        values = _array(record, start, np.dtype(dtype), shape)
        start += values.nbytes
        entries.append((name, places, values))
    return header["generation"], entries


def _array(record, start, dtype, shape):
    n_bytes = dtype.itemsize * int(np.prod(shape, dtype=int))
    part = np.array(record[start : start + n_bytes])  # aligned
    return part.view(dtype).reshape(shape)
