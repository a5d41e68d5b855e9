"""Edits of the default solver against what one would do without it, in two classes.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python examples/benchmarks/by_hand.py \\
        --data-dir DIR

One Newton step from the old solution, with the exact gradient and Hessian of all rows
that remain; a warm start of scikit-learn as one writes it, with its own solver and
`tol`; and one by "newton-cholesky" with the loosest `tol` (by decades) that comes
within 1e-2 of the optimum. All get the rows without the removed ones, whose copy is not
counted.

Seconds are those of the processor in one thread, medians of turns; errors are distances
to the exact optimum over how far the edit moves it.
"""

import argparse
import warnings
from time import process_time

import _data
import numpy as np
from _peers_tables import brief
from peers import EDIT_TOL, TOLS, Experiment, Study, experiments, flat, newton_step
from sklearn.exceptions import ConvergenceWarning

SIZES = {"1": lambda n: 1, "0.1%": lambda n: n // 1000, "1%": lambda n: n // 100}
WAYS = ("unlearn", "a Newton step", "warm start as written", "warm start, tight enough")


def timed(function, *args):
    """Processor seconds and the result of a call."""
    started = process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = function(*args)
    return process_time() - started, result


def turn(study, n_rows):
    """One edit by every way: seconds and error of each."""
    before, C = study.model.to_sklearn(), study.experiment.C
    rows = study.pick(n_rows)
    spent, model = timed(lambda: study.model.unlearn(position=rows))
    study.live = np.setdiff1d(study.live, rows)
    X, y = study.X[study.live], study.y[study.live]
    exact = flat(study.polished(X, y, model.to_sklearn()))
    moved = np.linalg.norm(flat(before) - exact)

    def off(coefficients):
        return float(np.linalg.norm(coefficients - exact) / moved)

    found = {"unlearn": (spent, off(flat(model)))}
    spent, after = timed(newton_step, before, X, y, C)
    found["a Newton step"] = spent, off(after)
    written = study.warm(study.theirs("lbfgs", 1e-4), before)
    spent, written = timed(written.fit, X, y)
    found["warm start as written"] = spent, off(flat(written))
    for tol in TOLS:
        tight = study.warm(study.theirs("newton-cholesky", tol), before)
        spent, tight = timed(tight.fit, X, y)
        if off(flat(tight)) <= EDIT_TOL:
            break
    found["warm start, tight enough"] = spent, off(flat(tight))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder with the data sets as .npz files")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    folder = options.data_dir
    table = [
        *experiments(folder)[:2],
        Experiment("higgs 200k", lambda: _data.higgs(folder, 200_000)),
    ]
    print(
        "| set | removed | " + " | ".join(f"{way}: time, error" for way in WAYS) + " |"
    )
    print("|---" * (2 + len(WAYS)) + "|")
    for experiment in table:
        study = Study(experiment, 1)
        study.model = study.ours().fit(study.X, study.y)
        for _ in range(2):
            study.remove(study.pick(1))  # compiles, and makes the curvature
        for name, size in SIZES.items():
            n_rows = size(len(study.X))
            turns = [turn(study, n_rows) for _ in range(options.turns)]
            cells = []
            for way in WAYS:
                seconds, error = np.median([found[way] for found in turns], axis=0)
                cells.append(f"{brief(seconds)}, {error:.0e}")
            row = [experiment.name, f"{name} ({n_rows:,})", *cells]
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
