"""How many models were published: a count that copies share and files remember.

A guarantee for T publications holds for T of them in all, whoever makes them. Copies of
an estimator and of its publisher, in one process, therefore share one `Count`. A dump
holds the count as it was when it was written, and loading an old one would set it back.
Against that there is a *counter file*, to which every publication appends a line before
the model leaves the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
import warnings
from datetime import UTC, datetime

# What this process knows of publications, by fit (see `refining.new_lineage`). Entries
# stay: a publisher that was deleted has published nonetheless.
_counts: dict[str, Count] = {}
_lock = threading.RLock()
# Mathematics: 2^64 lines are too many for two of them to be equal.
_LINE_BYTES = 8


class Count:
    """The publications of one fitted estimator and of all its copies.

    Parameters
    ----------
    fit : str
        Which estimator: see `refining.new_lineage`.
    n_publications : int
        How many there may be.
    path : str or None
        The counter file.
    n_published : int, default=0

    Attributes
    ----------
    fit, n_publications, path, n_published
    """

    def __init__(self, fit, n_publications, path, n_published=0):
        self.fit, self.n_publications, self.path = fit, n_publications, path
        self.n_published = n_published
        self._has_file = False

    @staticmethod
    def check_is_first(fit, record):
        """Raise ValueError if an estimator, or a copy of it, has a count already.

        Parameters
        ----------
        fit : str
        record : tuple or None
            What the estimator itself says.
        """
        if fit in _counts:
            record = _counts[fit].record()
        if record is not None:
            raise ValueError(_second_publisher(*record))

    def begin(self):
        """Count from now on, in a new file."""
        with _lock:
            self.check_is_first(self.fit, None)
            if self.path is not None:
                self._make_file()
            _counts[self.fit] = self

    def give_up(self):
        """Forget a count that nothing was published with, and its file.

        Returns
        -------
        has_begun : bool
            False if another count of the same fit is known, or none.
        """
        with _lock:
            is_known = _counts.get(self.fit) is self
            if is_known:
                del _counts[self.fit]
            if is_known or self._has_file:
                with contextlib.suppress(OSError, TypeError):
                    os.remove(self.path)
            return is_known

    @classmethod
    def of_record(cls, fit, n_publications, path, n_published):
        """Return the count of a `record`, which may be older than what is known."""
        with _lock:
            count = _counts.get(fit)
            if count is None:
                count = _counts[fit] = cls(fit, n_publications, path)
            count.n_published = max(count.n_published, n_published)
            if path is not None and os.path.exists(path):
                count._read_file()
            if count.n_published > n_published:
                warnings.warn(
                    f"This publisher was saved after {n_published:,} publications, and "
                    f"{count.n_published:,} have been made since the fit: the dump is "
                    "an old one. All of them count.",
                    stacklevel=2,
                )
            return count

    def now(self):
        """Return the number of publications, those of other processes included."""
        with _lock:
            if self.path is not None and os.path.exists(self.path):
                self._read_file()
            return self.n_published

    def record(self):
        """Return what a dump holds, in plain Python values."""
        return self.fit, self.n_publications, self.path, self.n_published

    def check(self):
        """Raise an error if no publication is left, or the file cannot be read."""
        with _lock:
            if self.path is not None:
                self._read_file()
            if self.n_published >= self.n_publications:
                raise ValueError(_used_up(self.n_publications))

    def add(self):
        """Count one more publication, in the file first."""
        with _lock:
            self.check()
            number = self.n_published + 1
            if self.path is not None:
                number = self._append()
            self.n_published = number
            if number > self.n_publications:  # another process was faster
                raise ValueError(_used_up(self.n_publications))

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return Count.of_record, self.record()

    # The file: one line of JSON about the count, and one for each publication.

    def _make_file(self):
        head = {"fit": self.fit, "n_publications": self.n_publications}
        try:
            with open(self.path, "x", encoding="utf-8") as file:
                self._has_file = True
                _write(file, head)
        except FileExistsError as error:
            raise ValueError(_exists_already(self.path)) from error

    def _lines(self):
        try:
            with open(self.path, encoding="utf-8") as file:
                head, *lines = [_object_of(line) for line in file]
        except (OSError, ValueError) as error:
            raise ValueError(
                f"The counter file {self.path!r} cannot be read ({error}): nobody "
                "knows how many models were published. Restore the file; nothing is "
                "published without it."
            ) from error
        if head.get("fit") != self.fit:
            raise ValueError(
                f"The counter file {self.path!r} counts the publications of another "
                "estimator. Restore the right file."
            )
        return lines

    def _read_file(self):
        self.n_published = max(self.n_published, len(self._lines()))

    def _append(self):
        """Append a line, and return which one it is."""
        line = {"token": secrets.token_hex(_LINE_BYTES)}
        line["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        with open(self.path, "a", encoding="utf-8") as file:
            _write(file, line)
        tokens = [line.get("token") for line in self._lines()]
        return max(self.n_published, tokens.index(line["token"])) + 1


def checked_path(counter):
    """Return the absolute path of a counter file that can be made.

    Parameters
    ----------
    counter : str or path-like

    Raises
    ------
    TypeError
    ValueError
        When there is such a file, or no folder for it.
    """
    if not isinstance(counter, (str, os.PathLike)):
        raise TypeError(f"counter must be the path of a file, got {counter!r}.")
    path = os.path.abspath(os.fspath(counter))
    if os.path.lexists(path):
        raise ValueError(_exists_already(path))
    if not os.path.isdir(os.path.dirname(path)):
        raise ValueError(f"counter={path!r} is in a folder that does not exist.")
    return path


def _object_of(line):
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError(f"{line.strip()!r} is no line of it")
    return found


def _write(file, line):
    file.write(json.dumps(line) + "\n")
    file.flush()
    os.fsync(file.fileno())


def _exists_already(path):
    return (
        f"counter={path!r} exists already: it counts the publications of another "
        "publisher. Load that publisher from its dump, or name a file that does not "
        "exist."
    )


def _second_publisher(_, n_publications, path, n_published):
    where = "" if path is None else f" and the counter file {path!r}"
    return (
        "This estimator, or a copy of it, has a publisher already, with "
        f"{n_published:,} of {n_publications:,} publications made{where}. Two of them "
        "would promise more than holds for both together: use that one, or load it "
        "from its dump. A new fit may have a new publisher."
    )


def _used_up(n_publications):
    return (
        f"All n_publications={n_publications:,} have been made, and one more is not "
        "covered by the guarantee: nothing is published. The last published model can "
        "still be used. A new fit may have a new publisher; what both have published "
        "then reveals more than either guarantee says."
    )


def _unlock_in_child():
    """Forget a lock that a thread holds which does not exist in a forked process."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_in_child)
