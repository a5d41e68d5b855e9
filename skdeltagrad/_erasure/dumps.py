"""Dumps of estimators: what they load to, and their bytes.

A dump may hold bytes that loading does not show: what stands behind the end of the
pickle, or an array that nothing refers to.
"""

import bz2
import gzip
import lzma
import os
import zipfile
import zlib

import joblib
import numpy as np

# Bytes taken at once.
_CHUNK = 2**23
# How compressed files begin, and what reads them.
_READERS = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
    (b"]\x00", lzma.open),
)
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_LZ4 = b"\x04\x22\x4d\x18"


def load(path):
    """What was dumped by joblib, by pickle or by skops.

    Raises
    ------
    ImportError
        For a dump by skops, where that is not installed.
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
    name = os.fspath(path)
    with open(path, "rb") as file:
        start = file.read(8)
        file.seek(0)
        yield from _overlapping(f"the bytes of {name!r}", _blocks(file), overlap)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    place = f"the bytes of {member!r} in {name!r}"
                    yield from _overlapping(place, _blocks(file), overlap)
        return
    blocks = _decompressed(path, start)
    if blocks is not None:
        yield from _overlapping(f"the bytes of {name!r}", blocks, overlap)


def _decompressed(path, start):
    """Blocks of what a compressed file holds; None where it is not compressed."""
    if start[:2] in _ZLIB:
        return _inflated(path)
    if start.startswith(_LZ4):
        import lz4.frame

        return _opened(lz4.frame.open, path)
    for magic, reader in _READERS:
        if start.startswith(magic):
            return _opened(reader, path)
    return None


def _opened(reader, path):
    with reader(path, "rb") as file:
        try:
            yield from _blocks(file)
        except (OSError, EOFError, lzma.LZMAError):
            return  # what follows is not compressed: it was read as it is


def _inflated(path):
    with open(path, "rb") as file:
        stream = zlib.decompressobj()
        for block in _blocks(file):
            try:
                while block:
                    yield stream.decompress(block, _CHUNK)
                    block = stream.unconsumed_tail
                    if stream.eof:
                        block, stream = stream.unused_data, zlib.decompressobj()
            except zlib.error:
                return  # likewise
        yield stream.flush()


def _blocks(file):
    while block := file.read(_CHUNK):
        yield block


def _overlapping(name, blocks, overlap):
    before = b""
    for block in blocks:
        portion = before + block
        yield name, np.frombuffer(portion, dtype=np.uint8)
        before = portion[-overlap:]
