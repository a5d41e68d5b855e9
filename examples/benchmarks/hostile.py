"""What requests cost that are chosen to be expensive, beside a refit and the plan.

    python examples/benchmarks/hostile.py --data-dir DIR

An adversary who knows the data chooses the rows: repeatedly those of largest leverage;
those that the model is surest of; nearly all rows of a class. Every request is planned,
made, and followed by a fit from zero of the same rows with the same parameters.
Seconds are processor seconds of all threads of the process. A line of the table is a
sequence of requests.
"""

import warnings
from copy import deepcopy
from dataclasses import dataclass

import _data
import numpy as np
from _command import parser
from _internals import leverages
from _tables import print_head, print_row
from _timing import timed
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge


def experiments(folder):
    """For each data set a function that loads it, and a model."""
    logistic = DeltaGradLogisticRegression
    return {
        "a9a": (lambda: _data.a9a(folder), logistic()),
        "covtype, 7 classes": (lambda: _data.covtype_standardised(folder), logistic()),
        "higgs": (lambda: _data.higgs(folder), logistic()),
        "news20": (lambda: _data.news20(folder), logistic()),
        "blogfeedback": (lambda: _data.blogfeedback(folder), DeltaGradRidge()),
        "higgs, gd": (
            lambda: _data.higgs(folder),
            logistic(solver="gd", max_iter=300),
        ),
    }


# Choices of rows: functions of the data, the model and the current training rows.


def leverage(fraction):
    """A fraction of the rows, those of largest leverage (or norm)."""

    def choose(X, y, model, live):
        size = leverages(model, live)
        if size is None:
            size = sparse.csr_matrix(X[live]).multiply(X[live]).sum(axis=1)
        n_rows = max(1, int(fraction * len(live)))
        return live[np.argsort(np.ravel(size))[-n_rows:]]

    return choose


def surest(fraction):
    """The rows that the model is surest of; of a regression, largest predictions."""

    def choose(X, y, model, live):
        is_classifier = hasattr(model, "decision_function")
        raw = (model.decision_function if is_classifier else model.predict)(X[live])
        raw = np.abs(raw) if raw.ndim == 1 else raw.max(axis=1)
        return live[np.argsort(raw)[-int(fraction * len(live)) :]]

    return choose


def one_class(X, y, model, live):
    """Nine tenths of the rarest class; of a regression, the largest tenth of y."""
    if hasattr(model, "classes_"):
        labels, counts = np.unique(y[live], return_counts=True)
        members = live[y[live] == labels[np.argmin(counts)]]
        return members[len(members) // 10 + 1 :]
    return live[np.argsort(y[live])[-len(live) // 10 :]]


REQUESTS = {
    "one row of largest leverage": (leverage(0.0), 10),
    "0.1% of largest leverage": (leverage(1e-3), 5),
    "1% of largest leverage": (leverage(1e-2), 5),
    "10% of largest leverage": (leverage(0.1), 3),
    "the surest 10%": (surest(0.1), 3),
    "nine tenths of a class": (one_class, 2),
}


@dataclass
class Request:
    """One request: processor seconds of the edit and of the refit.

    `used` is the work in the report as a fraction of the largest that the plan allowed;
    of passes or of Hessians, whichever fraction is larger.
    """

    edit: float
    refit: float
    used: float
    planned_refit: bool
    refitted: bool


def run(X, y, fitted, choose, n_requests):
    """Make requests one after another on a copy of a fitted model."""
    model = deepcopy(fitted)
    live = np.arange(1, len(y))  # row 0 was removed before
    requests = []
    for _ in range(n_requests):
        gone = choose(X, y, model, live)
        if not len(gone):
            break
        plan = model.plan_unfit(position=gone)
        edit = timed(model.unlearn, position=gone).processor
        live = np.setdiff1d(live, gone, assume_unique=True)
        refit = timed(clone(model).fit, X[live], y[live]).processor
        report = model.update_report_
        used = max(
            report.n_passes / plan.n_passes_at_most,
            report.n_hessians / plan.n_hessians_at_most,
        )
        requests.append(Request(edit, refit, used, plan.refit, report.refit))
    return requests


def line(data, kind, requests):
    """A row of the table."""
    ratio = np.array([request.edit / request.refit for request in requests])
    return [
        data,
        kind,
        f"{len(requests)}",
        f"{np.median(ratio):.2g}",
        f"{ratio.max():.2g}",
        f"{sum(request.refitted for request in requests)}",
        f"{sum(request.planned_refit for request in requests)}",
        f"{max(request.used for request in requests):.2g}",
    ]


def main():
    options = parser(__doc__, data=True, only=experiments(None)).parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print_head([
        "data", "rows that leave", "requests", "edit / refit: median", "largest",
        "refitted", "planned so", "work / at most, largest",
    ])  # fmt: skip
    for name, (load, model) in experiments(options.data_dir).items():
        if name not in options.only:
            continue
        X, y = load()
        model.fit(X[::10], y[::10]).unlearn(position=0)  # compiles the kernels
        model.fit(X, y).unlearn(position=0)  # computes the Hessian
        for kind, (choose, n_requests) in REQUESTS.items():
            print_row(line(name, kind, run(X, y, model, choose, n_requests)))


if __name__ == "__main__":
    main()
