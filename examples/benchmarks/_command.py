"""What the command lines of the benchmarks have in common, and their result files."""

import argparse
import json
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path


def parser(doc, data=False, out=None, only=None):
    """A parser described by the first line of a module's docstring.

    Parameters
    ----------
    doc : str
    data : bool
        Whether there is an option --data-dir.
    out : str or None
        Default of the option --out; None for no such option.
    only : iterable of str or None
        What the option --only can name; None for no such option.
    """
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    if data:
        made.add_argument(
            "--data-dir",
            metavar="DIR",
            help="folder with the data sets as .npz files, described in _data.py; "
            "without it, scikit-learn downloads those that it knows",
        )
    if out is not None:
        made.add_argument(
            "--out", metavar="DIR", default=out, help="folder for results: %(default)s"
        )
    if only is not None:
        only = list(only)
        made.add_argument(
            "--only",
            nargs="+",
            metavar="NAME",
            choices=only,
            default=only,
            help="which of: " + ", ".join(map(repr, only)),
        )
    return made


class Results:
    """A folder with a JSON file for each result, and Markdown made of all of them.

    A result is written as soon as it is there, so that an interrupted run is continued
    with --only, and tables show the results of earlier runs, too.
    """

    def __init__(self, folder):
        self._folder = Path(folder)

    def write(self, name, result):
        """Replace the result of this name."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file(name).write_text(json.dumps(result, indent=1))

    def read(self, names):
        """Results by name, in the order of `names`; those that exist."""
        files = {name: self._file(name) for name in names}
        return {
            name: json.loads(file.read_text())
            for name, file in files.items()
            if file.exists()
        }

    def read_all(self):
        """All results, in the order of their files' names."""
        files = sorted(self._folder.glob("*.json"))
        return [json.loads(file.read_text()) for file in files]

    def write_markdown(self, name, text, show=True):
        """Write tables to a file, and print them or not."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{name}.md").write_text(text)
        if show:
            print(text, flush=True)

    def _file(self, name):
        return self._folder / (re.sub(r"[ /]+", "-", name.replace(",", "")) + ".json")


def environment():
    """What a result depends on besides the code: machine, versions and command."""
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
