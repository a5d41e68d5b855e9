"""The memory that is available, checked before it is needed."""

import os
from pathlib import Path


def require(n_bytes, purpose, way_out):
    """Raise `MemoryError` unless `n_bytes` are available now.

    An array that does not fit is not refused by the operating system when it is
    allocated; the process is killed later, when it is filled.
    """
    available = available_bytes()
    if available is not None and n_bytes > available:
        raise MemoryError(
            f"{n_bytes:,} bytes are needed for {purpose}, and {available:,} bytes are "
            f"available. {way_out}"
        )


def available_bytes():
    """Return how many bytes can be allocated without swapping, None if unknown."""
    bounds = [_free_of_machine(), _free_of_container()]
    return min((bound for bound in bounds if bound is not None), default=None)


def _free_of_machine():
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None  # Windows: unknown


def _free_of_container(root="/sys/fs/cgroup"):
    """Return what the control group (version 2) leaves, with its caches, or None."""
    try:
        limit = (Path(root) / "memory.max").read_text().strip()
        used = int((Path(root) / "memory.current").read_text())
        statistics = (Path(root) / "memory.stat").read_text().split()
    except OSError:
        return None
    if limit == "max":
        return None
    statistics = dict(zip(statistics[::2], statistics[1::2], strict=False))
    return int(limit) - used + int(statistics.get("inactive_file", 0))
