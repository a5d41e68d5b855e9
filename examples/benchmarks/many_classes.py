"""What do many classes take: time and memory of a fit, and of two edits.

With k classes a row's second derivative has (k - 1)^2 entries. `fit`, an edit that
removes one row and one that removes 100 are measured for the default solver, and
scikit-learn's own fit beside them: processor time in one thread, and by how much the
resident memory of the process grows at most. Every measurement is made in a process of
its own. Rows are normal around a centre for each class.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python examples/benchmarks/many_classes.py

Linux only, for it reads and resets the peak in /proc.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from time import process_time

import numpy as np
from sklearn.linear_model import LogisticRegression

from skdeltagrad import DeltaGradLogisticRegression

# Classes, columns, rows.
SIZES = [(60, 20, 20_000), (200, 10, 20_000), (500, 4, 20_000)]
MB = 1e6


def draw(n_classes, n_features, n_rows):
    rng = np.random.default_rng(0)
    centres = 1.5 * rng.normal(size=(n_classes, n_features))
    y = rng.integers(n_classes, size=n_rows)
    y[:n_classes] = np.arange(n_classes)
    return centres[y] + rng.normal(size=(n_rows, n_features)), y


class Peak:
    """Grown resident memory, at most, since it was made."""

    def __init__(self):
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._status("VmRSS")

    def __call__(self):
        return self._status("VmHWM") - self._before

    @staticmethod
    def _status(name):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return 1024 * int(line.split()[1])
        raise OSError(f"/proc/self/status has no {name}.")


def timed(function, *args, **kwargs):
    started = process_time()
    function(*args, **kwargs)
    return process_time() - started


def measure_ours(X, y):
    # What is compiled or read from Numba's cache is no part of it.
    DeltaGradLogisticRegression().fit(X[:400], y[:400] % 5).unlearn(position=3)
    peak = Peak()
    model = DeltaGradLogisticRegression()
    seconds = [timed(model.fit, X, y)]
    kind = model.update_report_.curvature
    print(f"fit {seconds[0]:8.1f} s {peak() / MB:7.0f} MB   curvature: {kind}")
    for removed in ([1000], np.arange(1001, 1101)):
        seconds.append(timed(model.unlearn, position=removed))
        report = model.update_report_
        bound = report.relative_bound
        bound = "no bound" if bound is None else f"bound {bound:.1e} of the way"
        print(
            f"{len(removed):3} rows {seconds[-1]:4.1f} s {peak() / MB:7.0f} MB   "
            f"{report.n_passes:.3g} passes, {report.n_hessians:.3g} Hessians, {bound}"
        )
    print(f"all together {sum(seconds) / seconds[0]:.2f} fits")


def measure_scikit_learn(X, y):
    LogisticRegression().fit(X[:400], y[:400] % 5)
    peak = Peak()
    seconds = timed(LogisticRegression(max_iter=1000).fit, X, y)
    print(f"scikit-learn {seconds:.1f} s {peak() / MB:.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=3, metavar=("K", "COLUMNS", "ROWS"))
    parser.add_argument("--who", choices=["ours", "scikit-learn"])
    arguments = parser.parse_args()
    if arguments.who is not None:
        X, y = draw(*arguments.size)
        measure = {"ours": measure_ours, "scikit-learn": measure_scikit_learn}
        measure[arguments.who](X, y)
        return
    sizes = SIZES if arguments.size is None else [arguments.size]
    for size in sizes:
        n_classes, n_features, n_rows = size
        print(f"{n_classes} classes, {n_features} columns, {n_rows:,} rows", flush=True)
        for who in ("ours", "scikit-learn"):
            command = [sys.executable, __file__, "--who", who, "--size"]
            subprocess.run([*command, *map(str, size)], check=True)


if __name__ == "__main__":
    main()
