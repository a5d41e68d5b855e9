"""Dumps of estimators: what they load to, and their bytes.

A dump may hold bytes that loading does not show: what comes after the end of the
pickle, or an array that nothing refers to.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import zipfile
import zlib

import joblib
import numpy as np
from joblib.compressor import BinaryZlibFile

# Cost: bytes that are held in memory at a time (8 MB).
_CHUNK = 2**23

# What joblib compresses with.
_OPENERS = [gzip.open, bz2.open, lzma.open, BinaryZlibFile]
with contextlib.suppress(ImportError):
    import lz4.frame

    _OPENERS.append(lz4.frame.open)


def load(path):
    """Load what was dumped by joblib, pickle, skops or NumPy.

    Raises
    ------
    ImportError
        For a dump by skops, if that is not installed.
    """
    if not zipfile.is_zipfile(path):
        return joblib.load(path)
    with zipfile.ZipFile(path) as archive:
        if "schema.json" not in archive.namelist():
            with np.load(path) as arrays:
                return dict(arrays)
    import skops.io

    untrusted = skops.io.get_untrusted_types(file=path)
    return skops.io.load(path, trusted=untrusted)


def byte_arrays(path, overlap):
    """Yield the bytes of a dump in portions, as they are and decompressed.

    Parameters
    ----------
    path : path-like
    overlap : int
        How many bytes of a portion the next one begins with.

    Yields
    ------
    name : str
    bytes : ndarray of dtype uint8
    """
    name = f"the bytes of {os.fspath(path)!r}"
    with open(path, "rb") as file:
        yield from _overlapping(name, file, overlap)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    place = name.replace("of ", f"of {member!r} in ", 1)
                    yield from _overlapping(place, file, overlap)
        return
    for opener in _OPENERS:
        # Each refuses what it has not compressed: other formats, and what follows
        # after the end. (lz4 raises RuntimeError.)
        refusals = (OSError, EOFError, zlib.error, lzma.LZMAError, RuntimeError)
        with contextlib.suppress(*refusals), opener(os.fspath(path), "rb") as file:
            yield from _overlapping(name, file, overlap)


def _overlapping(name, file, overlap):
    before = b""
    while block := file.read(_CHUNK):
        portion = before + block
        yield name, np.frombuffer(portion, dtype=np.uint8)
        before = portion[-overlap:]
