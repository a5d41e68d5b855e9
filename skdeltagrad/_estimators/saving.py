"""Dumps that are written completely or not at all."""

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
    """How estimators are to be written to the dump: see `save`."""

    purge: bool | None = None
    receipt_key: bool = True


_DEFAULT = Options()
_options = ContextVar("skdeltagrad_save_options", default=_DEFAULT)


def options():
    """Return the `Options` of the dump that is being written in this thread."""
    return _options.get()


def save(
    estimator: object,
    path: str | os.PathLike,
    *,
    compress: int | str | tuple = 0,
    purge: bool | None = None,
    receipt_key: bool = True,
) -> None:
    """Write a joblib dump; if that fails, the old file at `path` is unchanged.

    A new file is written in the same folder, flushed to the disk, and renamed to `path`
    at the end. If the process is killed before, a file ``<path>.<number>.tmp`` may
    remain: it contains training rows, as dumps do, and should be deleted. The blocks of
    the old file on the disk are freed, not overwritten.

    Parameters
    ----------
    estimator : object
        An estimator, or a pipeline that contains one. Edits of estimators of this
        library in other threads wait until the file is written.
    path : str or path-like
        Name of the file, for `joblib.load`. If it exists, its permissions are kept.
    compress : int, str or tuple, default=0
        As for `joblib.dump`.
    purge : bool, default=None
        Whether estimators are purged first, so that the file contains no trace of rows
        that were removed. None: those with ``solver="newton"``.
    receipt_key : bool, default=True
        Whether the key for the hashes of ids in receipts is written, too.

    Raises
    ------
    OSError
        When the file cannot be written: then `path` is unchanged.
    """
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"There is no folder {folder!r} to save {os.path.basename(path)!r} in: "
            "create it first, or check the path."
        )
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
    _sync_folder(folder)


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
    """Flush the new name to the disk, if the system can open folders for that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
