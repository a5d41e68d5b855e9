"""What a purge costs, after edits of several sizes, and what the next edit costs.

    python examples/benchmarks/purge.py --data-dir DIR

A model is fitted, rows are removed, and the model is purged: once after one row, once
after 20 single rows, and once after 1% of the rows. The next edit removes one row. Fits
are those of the same estimator on the rows that remain. Seconds are those of the
process's CPU, of all its threads; the median of some repetitions.

--only takes names of data sets; --repeat a number.
"""

import argparse
import warnings
from time import process_time

import _data
import numpy as np
from sklearn.base import clone

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

# Single rows before the next edit that is timed, so that it is not the first.
_N_SINGLE = 20


def experiments(folder):
    """Names of data sets, with what loads them and a model for them."""
    logistic, ridge = DeltaGradLogisticRegression, DeltaGradRidge
    return {
        "a9a": (lambda: _data.a9a(folder), logistic()),
        "covtype, 2 classes": (lambda: _two_classes(folder), logistic()),
        "covtype, 7 classes": (lambda: _covtype(folder), logistic()),
        "higgs 200k": (lambda: _data.higgs(folder, 200_000), logistic()),
        "higgs 200k, balanced": (
            lambda: _data.higgs(folder, 200_000),
            logistic(class_weight="balanced"),
        ),
        "higgs 200k, standardize": (
            lambda: _data.higgs(folder, 200_000),
            logistic(standardize=True),
        ),
        "rcv1, sparse": (lambda: _data.rcv1(folder), logistic(curvature="diagonal")),
        "california": (lambda: _data.california(folder), ridge()),
        "blogfeedback": (lambda: _data.blogfeedback(folder), ridge()),
    }


def _covtype(folder):
    X, y = _data.covtype(folder)
    return _data.standardised(X), y


def _two_classes(folder):
    X, y = _covtype(folder)
    return X, (y == 2).astype(int)


def _seconds(function):
    started = process_time()
    function()
    return process_time() - started


def measured(X, y, model, n_removed, seed):
    """Figures of one fit, its edits, a purge and the next edit."""
    order = np.random.default_rng(seed).permutation(len(y))
    model = clone(model).fit(X, y)
    if n_removed == _N_SINGLE:
        for position in order[:n_removed]:
            model.unlearn(position=position)
    else:
        model.unlearn(position=order[:n_removed])
    purge = _seconds(model.purge)
    report = model.update_report_
    first = _seconds(lambda: model.unlearn(position=order[n_removed]))
    after = model.update_report_
    later = [
        _seconds(lambda i=i: model.unlearn(position=order[i]))
        for i in range(n_removed + 1, n_removed + 10)
    ]
    rest = order[n_removed:]
    fit = _seconds(lambda: clone(model).fit(X[rest], y[rest]))
    return {
        "passes": report.n_passes, "Hessians": report.n_hessians,
        "purge ms": 1e3 * purge, "fits": purge / fit, "next ms": 1e3 * first,
        "its passes": after.n_passes, "its Hessians": after.n_hessians,
        "later ms": 1e3 * np.median(later),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    first = True
    for name, (load, model) in experiments(arguments.data_dir).items():
        if arguments.only and name not in arguments.only:
            continue
        X, y = load()
        for n_removed in (1, _N_SINGLE, len(y) // 100):
            runs = [
                measured(X, y, model, n_removed, seed)
                for seed in range(arguments.repeat)
            ]
            if first:
                print(f"{'':24s} {'removed':>8s} " + " ".join(runs[0]))
                first = False
            figures = {key: np.median([run[key] for run in runs]) for key in runs[0]}
            values = [f"{value:>{len(key)}.3g}" for key, value in figures.items()]
            print(f"{name:24s} {n_removed:8d} " + " ".join(values), flush=True)


if __name__ == "__main__":
    main()
