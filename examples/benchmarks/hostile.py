"""What requests cost that are made to be dear, next to a refit and to what a plan said.

    python examples/benchmarks/hostile.py --data-dir DIR

Somebody who knows the data chooses the rows: those of largest leverage, again and
again; those that the model is surest of; nearly all of a class. Every request is
planned, made, and followed by a fit from nothing of the same rows with the same
parameters. Seconds are those of the process's CPU, of all its threads. A line is a
sequence of requests.

--only takes names of data sets.
"""

import argparse
import warnings
from copy import deepcopy
from dataclasses import dataclass
from time import process_time

import _data
import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge


def experiments(folder):
    """Names of data sets, with what loads them and a model for them."""
    logistic = DeltaGradLogisticRegression
    return {
        "a9a": (lambda: _data.a9a(folder), logistic()),
        "covtype, 7 classes": (lambda: _standard(*_data.covtype(folder)), logistic()),
        "higgs": (lambda: _data.higgs(folder), logistic()),
        "news20": (lambda: _data.news20(folder), logistic()),
        "blogfeedback": (lambda: _data.blogfeedback(folder), DeltaGradRidge()),
        "higgs, gd": (
            lambda: _data.higgs(folder),
            logistic(solver="gd", max_iter=300),
        ),
    }


def _standard(X, y):
    return _data.standardised(X), y


# Who asks: functions of the data, the model, and the rows that are there.


def leverage(share):
    """So large a share of the rows, those of largest leverage."""

    def choose(X, y, model, live):
        leverages = model._training_set.roster.leverages
        if leverages is None:
            size = sparse.csr_matrix(X[live]).multiply(X[live]).sum(axis=1)
        else:
            size = leverages[model._training_set.roster.slots_of(live)]
        n_rows = max(1, int(share * len(live)))
        return live[np.argsort(np.ravel(size))[-n_rows:]]

    return choose


def surest(share):
    """The rows that the model is surest of, or that it predicts to be largest."""

    def choose(X, y, model, live):
        is_classifier = hasattr(model, "decision_function")
        raw = (model.decision_function if is_classifier else model.predict)(X[live])
        raw = np.abs(raw) if raw.ndim == 1 else raw.max(axis=1)
        return live[np.argsort(raw)[-int(share * len(live)) :]]

    return choose


def one_class(X, y, model, live):
    """All of a class but one row in ten; of targets, the largest tenth."""
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
    """What was measured of one request, in CPU seconds.

    `used` is the work that the report counts, as a fraction of what the plan allowed:
    the larger of passes and Hessians.
    """

    edit: float
    refit: float
    used: float
    planned_refit: bool
    refitted: bool


def run(X, y, fitted, choose, n_requests):
    """Requests one after another, from the same fitted model."""
    model = deepcopy(fitted)
    live = np.arange(1, len(y))  # the first has left before
    requests = []
    for _ in range(n_requests):
        gone = choose(X, y, model, live)
        if not len(gone):
            break
        plan = model.plan_unfit(position=gone)
        edit = seconds_of(model.unlearn, position=gone)
        live = np.setdiff1d(live, gone, assume_unique=True)
        refit = seconds_of(clone(model).fit, X[live], y[live])
        report = model.update_report_
        used = max(
            report.n_passes / plan.n_passes_at_most,
            report.n_hessians / plan.n_hessians_at_most,
        )
        requests.append(Request(edit, refit, used, plan.refit, report.refit))
    return requests


def seconds_of(function, *args, **kwargs):
    """CPU seconds of a call."""
    started = process_time()
    function(*args, **kwargs)
    return process_time() - started


def line(data, kind, requests):
    """A row of the table."""
    ratio = np.array([request.edit / request.refit for request in requests])
    used = max(request.used for request in requests)
    return (
        f"| {data} | {kind} | {len(requests)} | {np.median(ratio):.2g} | "
        f"{ratio.max():.2g} | {sum(request.refitted for request in requests)} | "
        f"{sum(request.planned_refit for request in requests)} | {used:.2g} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder with the data sets as .npz files")
    parser.add_argument("--only", nargs="+", help="names of sets")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(
        "| data | rows that leave | requests | edit / refit: median | largest | "
        "fitted anew | planned so | work / at most, largest |\n" + "|---" * 8 + "|"
    )
    for name, (load, model) in experiments(options.data_dir).items():
        if options.only and name not in options.only:
            continue
        X, y = load()
        model.fit(X[::10], y[::10]).unlearn(position=0)  # compiled
        model.fit(X, y).unlearn(position=0)  # makes the curvature
        for kind, (choose, n_requests) in REQUESTS.items():
            requests = run(X, y, model, choose, n_requests)
            print(line(name, kind, requests), flush=True)


if __name__ == "__main__":
    main()
