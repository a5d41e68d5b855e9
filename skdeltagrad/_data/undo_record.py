"""The undo record of an edit of arrays in files: the old bytes of what it changes.

    8 bytes         number of bytes after the digest; 0 if there is no record
    16 bytes        digest of them
    8 bytes         length of the header
    header          JSON: the generation of the folder that the record leads back to,
                    and for each array its file, its dtype and its shape
    for each array  places of entries (int64), and the entries themselves

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
    """Write a record to a file, and wait until the disk has it.

    Parameters
    ----------
    file : RawFile
    generation : int
    touched : list of (MappedArray, ndarray)
        The arrays and which of their entries will change.

    Returns
    -------
    size : int
        Number of bytes of the record, to be overwritten when it is not needed any more.
    """
    saved = [(array, places, array.values[places]) for array, places in touched]
    entries = [
        [array.name, values.dtype.str, list(values.shape)] for array, _, values in saved
    ]
    header = json.dumps({"generation": generation, "entries": entries}).encode()
    parts = [_length(len(header)), header]
    for _, places, values in saved:
        parts += [_bytes(places.astype(np.int64)), _bytes(values)]
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    size = sum(map(len, parts))
    file.write(_length(size), digest.digest(), *parts)
    for _, _, values in saved:
        values[...] = np.zeros((), values.dtype)
    return _LENGTH_BYTES + _DIGEST_BYTES + size


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
    whole = np.memmap(path, np.uint8, "r")
    first = _LENGTH_BYTES + _DIGEST_BYTES
    record = whole[first : first + _number(whole)]
    digest = hashlib.blake2b(record, digest_size=_DIGEST_BYTES)
    if not len(record) or digest.digest() != whole[_LENGTH_BYTES:first].tobytes():
        return None, []
    start = _LENGTH_BYTES + _number(record)
    header = json.loads(record[_LENGTH_BYTES:start].tobytes())
    entries = []
    for name, dtype, shape in header["entries"]:
        places = _array(record, start, np.dtype(np.int64), shape[:1])
        start += places.nbytes
        values = _array(record, start, np.dtype(dtype), shape)
        start += values.nbytes
        entries.append((name, places, values))
    return header["generation"], entries


def _bytes(array):
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _length(number):
    return number.to_bytes(_LENGTH_BYTES, "little")


def _number(record):
    return int.from_bytes(record[:_LENGTH_BYTES].tobytes(), "little")


def _array(record, start, dtype, shape):
    n_bytes = dtype.itemsize * int(np.prod(shape, dtype=int))
    part = np.array(record[start : start + n_bytes])  # aligned
    return part.view(dtype).reshape(shape)
