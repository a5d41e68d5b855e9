"""What do many classes cost: time and memory of a fit and of two edits.

With k classes the second derivative of a row has (k - 1)^2 entries. The default solver
is measured in `fit`, in an edit that removes one row and in one that removes 100, and
so is the fit of scikit-learn: processor seconds, and the largest growth of the resident
memory. Every measurement has a process of its own. Rows are normally distributed around
a centre for each class.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python examples/benchmarks/many_classes.py

Linux only: the script reads and resets the peak memory in /proc.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
from _command import parser
from _timing import timed
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
    """Largest growth of the resident memory since this object was made, in bytes."""

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


def measure_ours(X, y):
    # Compiles the kernels, or reads them from Numba's cache.
    DeltaGradLogisticRegression().fit(X[:400], y[:400] % 5).unlearn(position=3)
    peak = Peak()
    model = DeltaGradLogisticRegression()
    seconds = [timed(model.fit, X, y).processor]
    kind = model.update_report_.curvature
    print(f"fit {seconds[0]:8.1f} s {peak() / MB:7.0f} MB   curvature: {kind}")
    for removed in ([1000], np.arange(1001, 1101)):
        seconds.append(timed(model.unlearn, position=removed).processor)
        report = model.update_report_
        bound = report.relative_bound
        bound = "no bound" if bound is None else f"relative bound {bound:.1e}"
        print(
            f"{len(removed):3} rows {seconds[-1]:4.1f} s {peak() / MB:7.0f} MB   "
            f"{report.n_passes:.3g} passes, {report.n_hessians:.3g} Hessians, {bound}"
        )
    print(f"all together {sum(seconds) / seconds[0]:.2f} fits")


def measure_scikit_learn(X, y):
    LogisticRegression().fit(X[:400], y[:400] % 5)
    peak = Peak()
    seconds = timed(LogisticRegression(max_iter=1000).fit, X, y).processor
    print(f"scikit-learn {seconds:.1f} s {peak() / MB:.0f} MB")


def main():
    command = parser(__doc__)
    command.add_argument("--size", type=int, nargs=3, metavar=("K", "COLUMNS", "ROWS"))
    command.add_argument("--who", choices=["ours", "scikit-learn"])
    arguments = command.parse_args()
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
