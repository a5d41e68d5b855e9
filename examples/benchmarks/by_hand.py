"""Edits of the default solver beside what one would write by hand, in two classes.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python examples/benchmarks/by_hand.py \\
        --data-dir DIR

By hand, one would take one Newton step from the old solution, with the exact gradient
and Hessian of all remaining rows; or warm-start scikit-learn with its default solver
and `tol`; or warm-start its "newton-cholesky" with the loosest `tol` (a power of ten)
that comes within 1e-2 of the optimum. All are given the remaining rows; the time to
copy these is not counted.

Seconds are processor seconds of one thread, medians of several turns. Errors are
distances to the exact optimum divided by the distance that the edit moves it.
"""

import _data
import numpy as np
from _command import parser
from _opponents import EDIT_TOL, TOLS, Experiment, experiments, flat, newton_step
from _tables import duration, print_head, print_row
from _timing import timed
from peers import Study

SIZES = {"1": lambda n: 1, "0.1%": lambda n: n // 1000, "1%": lambda n: n // 100}
WAYS = ("unlearn", "a Newton step", "warm start as written", "warm start, tight enough")


def turn(study, n_rows):
    """Make one edit in every way: processor seconds and error of each."""
    before, C = study.model.to_sklearn(), study.experiment.C
    rows = study.pick(n_rows)
    _, spent, model = timed(study.model.unlearn, position=rows)
    study.live = np.setdiff1d(study.live, rows)
    X, y = study.X[study.live], study.y[study.live]
    exact = flat(study.experiment.polished(X, y, model.to_sklearn()))
    moved = np.linalg.norm(flat(before) - exact)

    def off(coefficients):
        return float(np.linalg.norm(coefficients - exact) / moved)

    found = {"unlearn": (spent, off(flat(model)))}
    _, spent, after = timed(newton_step, before, X, y, C)
    found["a Newton step"] = spent, off(after)
    written = study.experiment.theirs("lbfgs", 1e-4, before)
    _, spent, written = timed(written.fit, X, y)
    found["warm start as written"] = spent, off(flat(written))
    for tol in TOLS:
        tight = study.experiment.theirs("newton-cholesky", tol, before)
        _, spent, tight = timed(tight.fit, X, y)
        if off(flat(tight)) <= EDIT_TOL:
            break
    found["warm start, tight enough"] = spent, off(flat(tight))
    return found


def main():
    command = parser(__doc__, data=True)
    command.add_argument("--turns", type=int, default=3)
    options = command.parse_args()
    folder = options.data_dir
    higgs = Experiment("higgs 200k", lambda: _data.higgs(folder, 200_000))
    print_head(["set", "removed", *(f"{way}: time, error" for way in WAYS)])
    for experiment in [*experiments(folder)[:2], higgs]:
        study = Study(experiment, 1)
        study.model = experiment.ours().fit(study.X, study.y)
        for _ in range(2):  # compiles the kernels and computes the Hessian
            study.remove(study.pick(1))
        for name, size in SIZES.items():
            n_rows = size(len(study.X))
            turns = [turn(study, n_rows) for _ in range(options.turns)]
            cells = []
            for way in WAYS:
                seconds, error = np.median([found[way] for found in turns], axis=0)
                cells.append(f"{duration(seconds)}, {error:.0e}")
            print_row([experiment.name, f"{name} ({n_rows:,})", *cells])


if __name__ == "__main__":
    main()
