"""Rows in files compared with rows in memory: passes, edits, flushes and memory.

    python examples/benchmarks/rows_in_files.py [n_rows] [folder]

Both estimators are in one process and take turns; figures are medians. Memory is the
peak of anonymous memory of the process (``RssAnon``), sampled every 10 ms. Pages of the
files are not part of it: the system can drop them.
"""

import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad._data.mapped_array import MappedArray
from skdeltagrad._data.raw_file import RawFile

N_FEATURES = 20
N_EDITS = 31
N_PASSES = 7
BATCH_ROWS = 250_000


class Batches:
    """Random rows, the same whenever they are read."""

    def __init__(self, n_rows):
        self.n_rows = n_rows

    def __iter__(self):
        for first in range(0, self.n_rows, BATCH_ROWS):
            rng = np.random.default_rng(first)
            size = min(BATCH_ROWS, self.n_rows - first)
            X = rng.standard_normal((size, N_FEATURES), dtype=np.float32)
            yield X, (X[:, 0] + rng.standard_normal(size) > 0).astype(np.int64)


def anonymous_megabytes():
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024


@contextmanager
def measured(name):
    """Print the time, and how much anonymous memory was in use at most."""
    peak, is_over = [anonymous_megabytes()], threading.Event()

    def sample():
        while not is_over.wait(0.01):
            peak[0] = max(peak[0], anonymous_megabytes())

    sampler = threading.Thread(target=sample)
    sampler.start()
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - started
        is_over.set()
        sampler.join()
    print(f"{name}: {seconds:.2f} s, {peak[0]:.0f} MB of anonymous memory at most")


@contextmanager
def without_flushes():
    kinds = RawFile, MappedArray
    flushes = [kind.flush for kind in kinds]
    try:
        for kind in kinds:
            kind.flush = lambda self: None
        yield
    finally:
        for kind, flush in zip(kinds, flushes, strict=True):
            kind.flush = flush


def seconds_of(function, *arguments):
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def compare_edits(models):
    """Remove single rows, by turns in files with and without flushes and in memory."""
    of_each = {name: [] for name in models} | {"files, without flushes": []}
    for model in models.values():
        for row in range(10):
            model.partial_unfit(position=[row])
    for row in range(10, 10 + 2 * N_EDITS, 2):
        for name, model in models.items():
            of_each[name].append(
                seconds_of(lambda m=model, r=row: m.partial_unfit(position=[r]))
            )
        with without_flushes():
            of_each["files, without flushes"].append(
                seconds_of(
                    lambda r=row: models["files"].partial_unfit(position=[r + 1])
                )
            )
    for name, seconds in of_each.items():
        print(f"one row removed, {name}: {1e3 * np.median(seconds):.2f} ms")


def compare_passes(models):
    """Compute the gradient of all rows, by turns."""
    passes, of_each = {}, {name: [] for name in models}
    for name, model in models.items():
        engine, rows = model._engine, model._training_set
        objective, indices = engine.model.data_term(rows), rows.table.live_indices()
        passes[name] = objective.gradient_sums, engine.iterate, indices
    for _ in range(1 + N_PASSES):
        for name, (gradient_sums, iterate, indices) in passes.items():
            of_each[name].append(seconds_of(gradient_sums, iterate, indices))
    median = {name: np.median(seconds[1:]) for name, seconds in of_each.items()}
    for name, seconds in median.items():
        print(f"one pass, {name}: {seconds:.3f} s")
    print(f"files / memory: {median['files'] / median['memory']:.2f}")


def main(n_rows, folder):
    some = next(iter(Batches(20_000)))
    warm = DeltaGradLogisticRegression(store=Path(folder) / "warm")
    warm.fit(*some).partial_unfit(position=[0])
    models = {"files": DeltaGradLogisticRegression(store=Path(folder) / "rows")}
    with measured(f"fit of {n_rows:,} rows in files"):
        models["files"].fit(Batches(n_rows))
    with measured("ten edits of a row in files"):
        for row in range(10, 20):
            models["files"].partial_unfit(position=[n_rows - row])
    parts = zip(*Batches(n_rows), strict=True)
    models["memory"] = DeltaGradLogisticRegression()
    with measured(f"fit of {n_rows:,} rows in memory, with making them"):
        models["memory"].fit(*map(np.concatenate, parts))
    compare_passes(models)
    compare_edits(models)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=(sys.argv[2:] or [None])[0]) as temporary:
        main(int(float((sys.argv[1:] or [1e6])[0])), temporary)
