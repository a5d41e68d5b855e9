"""Dumps that are there altogether or not at all."""

import contextlib
import os
import secrets
import shutil
from contextvars import ContextVar
from dataclasses import dataclass

import joblib

from .._utils.lock import write_in_turn


@dataclass(frozen=True)
class Options:
    """What estimators are asked for while a dump is written: see `save`."""

    purge: bool | None = None
    receipt_key: bool = True


_DEFAULT = Options()
_options = ContextVar("skdeltagrad_save_options", default=_DEFAULT)


def options():
    """`Options` of the dump that is being written in this thread."""
    return _options.get()


def save(
    estimator: object,
    path: str | os.PathLike,
    *,
    compress: int | str | tuple = 0,
    purge: bool | None = None,
    receipt_key: bool = True,
) -> None:
    """Write a joblib dump so that the file is the old one or the new one, never half.

    It is written beside `path`, brought to the disk, and takes its name at last. A
    process that is killed before can leave a file named ``<path>.<number>.tmp``: it
    holds training rows, as dumps do, and nothing reads it; delete it. The old file's
    blocks on the disk are freed, not overwritten.

    Parameters
    ----------
    estimator : object
        An estimator, or a pipeline that holds one. Threads that would edit estimators
        of this library in it wait until the file is written.
    path : str or path-like
        Where the dump is going to be, for `joblib.load`. The file's permissions stay,
        if there is one.
    compress : int, str or tuple, default=0
        As for `joblib.dump`.
    purge : bool, default=None
        Whether estimators are purged first, so that nothing in the file tells of rows
        that were removed. None: those with ``solver="newton"``.
    receipt_key : bool, default=True
        Whether the key for the hashes of ids in receipts is in the file.

    Raises
    ------
    OSError
        When the file cannot be written: then `path` is as it was.
    """
    path = os.path.realpath(path)
    new = f"{path}.{secrets.token_hex(8)}.tmp"
    try:
        with open(new, "xb") as file:
            if os.path.exists(path):
                shutil.copymode(path, new)
            with _asking(Options(purge, receipt_key)):
                write_in_turn(lambda: _dump(estimator, file, compress))
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(new)
        raise
    _sync_folder(os.path.dirname(path))


@contextlib.contextmanager
def _asking(options):
    token = _options.set(options)
    try:
        yield
    finally:
        _options.reset(token)


def _dump(estimator, file, compress):
    file.seek(0)
    file.truncate()
    joblib.dump(estimator, file, compress=compress)


def _sync_folder(folder):
    """Bring the new name to the disk, where folders can be opened for that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
