"""What a receipt costs: an edit's time with and without all that makes its report one.

Hashes of ids, parameters, versions, digests, the history. Single rows are removed from
models of several sizes; the time between the new model and its publication is taken, of
which the report itself was there before.

    python examples/benchmarks/receipts.py
"""

import argparse
from statistics import median
from time import thread_time

import numpy as np

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad._reports import digests

SHAPES = [(20_000, 10, 2), (20_000, 50, 2), (5_000, 780, 2), (4_000, 200, 10)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edits", type=int, default=300)
    options = parser.parse_args()
    print("| rows x columns, classes | edit, ms of CPU | receipt | share |")
    print("|---|---|---|---|")
    for n, d, n_classes in SHAPES:
        edit, receipt = measured(n, d, n_classes, options.edits)
        print(
            f"| {n:,} x {d}, {n_classes} | {1e3 * edit:.2f} | {1e3 * receipt:.3f} "
            f"| {receipt / edit:.3f} |"
        )


def measured(n, d, n_classes, n_edits):
    """Median CPU seconds of an edit's thread, and of what makes a report a receipt."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    y = np.argmax(X[:, :n_classes] + rng.gumbel(size=(n, n_classes)), axis=1)
    model = DeltaGradLogisticRegression().fit(X, y, sample_id=np.arange(n))
    model.unlearn(sample_id=0)
    edits, receipts = [], []
    for id_ in range(1, n_edits + 1):
        started = thread_time()
        model.unlearn(sample_id=id_)
        edits.append(thread_time() - started)
        receipts.append(seconds_of_receipt(model))
    return median(edits), median(receipts)


def seconds_of_receipt(model):
    """The same work again."""
    report, slots = model.update_report_, np.array([5])
    roster, history = model._training_set.roster, model.history_
    started = thread_time()
    digests.hashed(digests.names_of(roster, slots), model._key)
    digests.parameters_of(model)
    digests.versions()
    sealed = history.sealed(report, model.coef_, model.intercept_)
    history.followed_by(sealed)
    return thread_time() - started


if __name__ == "__main__":
    main()
