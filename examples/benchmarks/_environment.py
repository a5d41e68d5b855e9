"""What a result depends on besides the code."""

import platform
import sys
from importlib.metadata import version
from pathlib import Path


def environment():
    """Machine, versions and command."""
    cpu = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":")[1].strip()
                break
    packages = ("skdeltagrad", "numpy", "scipy", "numba", "scikit-learn")
    return {
        "cpu": cpu,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "command": " ".join(["python", *sys.argv]),
    }
