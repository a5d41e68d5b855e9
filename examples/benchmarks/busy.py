"""How much slower edits are while every core is busy.

    python examples/benchmarks/busy.py --repeats 5

One process for every core does nothing but count. An edit then gets half of a core, so
that a slow-down of about 2 is due to the load alone for one thread, and more for
several threads. Threads of BLAS that spin between small products while they wait for
one another show as slow-downs of 10 and more. The data are `--rows` random rows of 300
columns in ten classes.
"""

import multiprocessing
import os
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from time import sleep

import numpy as np
from _command import parser
from _tables import duration, table
from _timing import timed

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, assert_erased
from skdeltagrad.inspection import leave_one_out

# Seconds in which the counting processes start.
_HEAD_START = 0.5
SGD = {"solver": "sgd", "batch_size": 2_048, "max_iter": 30, "learning_rate": 0.1}
GD = {"solver": "gd", "max_iter": 60, "learning_rate": 0.1}


def count():
    """Keep a core busy until the process is terminated."""
    while True:
        pass


@contextmanager
def busy(n_cores):
    """Keep some cores busy inside a ``with`` block."""
    counting = [multiprocessing.Process(target=count) for _ in range(n_cores)]
    try:
        for process in counting:
            process.daemon = True
            process.start()
        sleep(_HEAD_START)
        yield
    finally:
        for process in counting:
            process.terminate()
        for process in counting:
            process.join()


class Edits:
    """Operations that are timed, on a copy of a fitted model."""

    def __init__(self, n_rows, n_columns=300, n_classes=10):
        rng = np.random.default_rng(0)
        spread = np.geomspace(3.0, 0.1, n_columns)
        self.X = rng.standard_normal((n_rows, n_columns)) * spread
        raw = self.X[:, :20] @ rng.standard_normal((20, n_classes))
        self.y = np.argmax(raw + rng.gumbel(size=raw.shape), axis=1)
        self.gone = rng.choice(n_rows, n_rows // 1000, replace=False)

    def fitted(self, few_columns=False, target=None, **parameters):
        """A fitted model of all columns, or of the first 30."""
        estimator = DeltaGradLogisticRegression
        if target is not None:
            estimator = DeltaGradRidge
        X = self.X[:, :30] if few_columns else self.X
        y = self.y if target is None else target
        return estimator(random_state=0, **parameters).fit(X, y)

    def kinds(self):
        """For each kind, a function that fits a model.

        It returns a function that copies the model and returns the operation to be
        timed, a function without arguments.
        """
        y = self.X[:, 0] + np.random.default_rng(1).standard_normal(len(self.X))
        return {
            "gd, first edit": partial(self._first, **GD),
            "gd, later edit": partial(self._later, **GD),
            "sgd, first edit": partial(self._first, **SGD),
            "sgd, later edit": partial(self._later, **SGD),
            "sgd, first edit, 30 columns": partial(
                self._first, few_columns=True, **SGD
            ),
            "sgd, period=5": partial(self._first, period=5, **SGD),
            "first edit, 30 columns": partial(self._first, few_columns=True),
            "later edit, 30 columns": partial(self._later, few_columns=True),
            "no Hessian": partial(self._first, curvature="kronecker"),
            "Ridge, first edit": partial(self._first, target=y),
            "learning_rate=auto": self._fit_auto,
            "leave_one_out, 30 columns": self._left_out,
            "assert_erased": self._searched,
        }

    def _first(self, **parameters):
        fitted = self.fitted(**parameters)

        def prepare():
            model = deepcopy(fitted)
            return lambda: model.unlearn(position=self.gone)

        return prepare

    def _later(self, **parameters):
        fitted = self.fitted(**parameters).unlearn(position=self.gone)
        others = np.setdiff1d(np.arange(len(self.X)), self.gone)[:: len(self.X) // 20]

        def prepare():
            model = deepcopy(fitted)
            return lambda: model.unlearn(position=others)

        return prepare

    def _fit_auto(self):
        auto = partial(self.fitted, solver="gd", max_iter=1, learning_rate="auto")
        return lambda: auto

    def _left_out(self):
        fitted = self.fitted(few_columns=True)
        groups = np.arange(len(self.X)) * 10 // len(self.X)
        return lambda: lambda: leave_one_out(fitted, groups=groups)

    def _searched(self):
        fitted = self.fitted(few_columns=True)
        removed = self.X[self.gone][:, :30]
        fitted.unlearn(position=self.gone)
        return lambda: lambda: assert_erased(fitted, removed)


def medians(kinds, n_repeats):
    """Median seconds of each kind, on a new copy for every repetition."""
    return {
        name: float(np.median([timed(prepare()).wall for _ in range(n_repeats)]))
        for name, prepare in kinds.items()
    }


def main():
    command = parser(__doc__)
    command.add_argument("--rows", type=int, default=20_000)
    command.add_argument("--repeats", type=int, default=5)
    command.add_argument("--cores", type=int, default=os.cpu_count())
    command.add_argument("--only", default="", help="kinds with this in their name")
    asked = command.parse_args()
    kinds = {
        name: make()
        for name, make in Edits(asked.rows).kinds().items()
        if asked.only in name
    }
    medians(kinds, 1)  # compiles the kernels
    idle = medians(kinds, asked.repeats)
    with busy(asked.cores):
        loaded = medians(kinds, asked.repeats)
    ratios = {name: loaded[name] / idle[name] for name in kinds}
    head = ["", "idle", f"{asked.cores} busy processes", "slow-down"]
    lines = [
        [name, duration(idle[name]), duration(loaded[name]), f"{ratio:.1f}"]
        for name, ratio in ratios.items()
    ]
    median = float(np.median(list(ratios.values())))
    print(table(head, [*lines, ["median", "", "", f"{median:.1f}"]]))


if __name__ == "__main__":
    main()
