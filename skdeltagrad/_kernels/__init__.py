"""Numba kernels: plain functions on plain arrays, compiled on first use.

The modules of this package import nothing of ours, not even each other: Numba's
on-disk cache watches only the file of the function that was compiled, so a helper
changed in another file would go on being used in its old version, silently.

They are loaded when first asked for (PEP 562), because importing Numba costs as much
as importing NumPy and a process that only predicts never needs it.

Every kernel is serial and releases the GIL; `skdeltagrad._threads` runs several at
once over fixed blocks of rows.
"""

import atexit
import contextlib
import importlib
import os
import shutil
import tempfile
import threading

_lock = threading.RLock()

_MODULES = (
    "cholesky",
    "dense",
    "lbfgs",
    "losses",
    "replay",
    "shuffle",
    "sparse",
    "step",
)


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _somewhere_to_cache():
        return importlib.import_module(f"{__name__}.{name}")


@contextlib.contextmanager
def _somewhere_to_cache():
    """Let `cache=True` succeed where neither the package nor the home is writable.

    Numba looks for a place when a function is decorated and raises `RuntimeError`
    where there is none (a read-only container). A private directory that lives as
    long as the process then serves instead: the kernels are compiled in every
    process, which is what no cache means.
    """
    import numba
    from numba.core.caching import FunctionCache

    with _lock:  # Numba's setting is changed for a while
        try:
            FunctionCache(_somewhere_to_cache.__wrapped__)
        except RuntimeError:
            configured = numba.config.CACHE_DIR
            numba.config.CACHE_DIR = _directory_of_this_process()
            try:
                yield
            finally:
                numba.config.CACHE_DIR = configured
        else:
            yield


def _directory_of_this_process():
    directory = tempfile.mkdtemp(prefix="skdeltagrad-")
    owner = os.getpid()

    def remove():
        if os.getpid() == owner:  # not in a forked child
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    return directory
