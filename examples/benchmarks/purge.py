"""What a purge costs after edits of several sizes, and what the next edit costs.

    python examples/benchmarks/purge.py --data-dir DIR

A model is fitted, rows are removed, and the model is purged: after one row, after 20
single rows, and after 1% of the rows. The next edit removes one row. Costs are compared
with a fit of the same estimator on the remaining rows. Seconds are processor seconds of
all threads of the process, medians of --repeat repetitions.
"""

import warnings

import _data
import numpy as np
from _command import parser
from _tables import print_head, print_row
from _timing import timed
from sklearn.base import clone

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

# Number of single rows that are removed before one of the purges.
_N_SINGLE = 20


def experiments(folder):
    """For each data set a function that loads it, and a model."""
    logistic, ridge = DeltaGradLogisticRegression, DeltaGradRidge
    return {
        "a9a": (lambda: _data.a9a(folder), logistic()),
        "covtype, 2 classes": (
            lambda: _data.covtype_standardised(folder, two_classes=True),
            logistic(),
        ),
        "covtype, 7 classes": (lambda: _data.covtype_standardised(folder), logistic()),
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


def measured(X, y, model, n_removed, seed):
    """Figures of one fit, its edits, a purge and the next edits."""
    order = np.random.default_rng(seed).permutation(len(y))
    model = clone(model).fit(X, y)
    if n_removed == _N_SINGLE:
        for position in order[:n_removed]:
            model.unlearn(position=position)
    else:
        model.unlearn(position=order[:n_removed])
    purge = timed(model.purge).processor
    report = model.update_report_
    first = timed(model.unlearn, position=order[n_removed]).processor
    after = model.update_report_
    later = [
        timed(model.unlearn, position=order[i]).processor
        for i in range(n_removed + 1, n_removed + 10)
    ]
    remaining = order[n_removed:]
    fit = timed(clone(model).fit, X[remaining], y[remaining]).processor
    return {
        "passes": report.n_passes, "Hessians": report.n_hessians,
        "purge ms": 1e3 * purge, "fits": purge / fit, "next ms": 1e3 * first,
        "its passes": after.n_passes, "its Hessians": after.n_hessians,
        "later ms": 1e3 * np.median(later),
    }  # fmt: skip


def main():
    command = parser(__doc__, data=True, only=experiments(None))
    command.add_argument("--repeat", type=int, default=3)
    options = command.parse_args()
    warnings.simplefilter("ignore")
    head = None
    for name, (load, model) in experiments(options.data_dir).items():
        if name not in options.only:
            continue
        X, y = load()
        for n_removed in (1, _N_SINGLE, len(y) // 100):
            runs = [
                measured(X, y, model, n_removed, seed) for seed in range(options.repeat)
            ]
            if head is None:
                head = ["data", "rows removed", *runs[0]]
                print_head(head)
            figures = (np.median([run[key] for run in runs]) for key in runs[0])
            print_row([name, f"{n_removed:,}", *(f"{value:.3g}" for value in figures)])


if __name__ == "__main__":
    main()
