"""What a receipt costs, relative to the edit that it belongs to.

A receipt is what makes the report of an edit verifiable: hashes of ids, parameters,
versions, digests and the history. Single rows are removed from models of several
sizes; after each edit the work of its receipt is done again and timed. Seconds are
processor seconds of the thread.

    python examples/benchmarks/receipts.py
"""

from statistics import median
from time import thread_time

import numpy as np
from _command import parser
from _internals import make_receipt
from _tables import print_head, print_row

from skdeltagrad import DeltaGradLogisticRegression

SHAPES = [(20_000, 10, 2), (20_000, 50, 2), (5_000, 780, 2), (4_000, 200, 10)]


def thread_seconds(function, *args, **kwargs):
    """Processor seconds of this thread during a call."""
    started = thread_time()
    function(*args, **kwargs)
    return thread_time() - started


def measured(n, d, n_classes, n_edits):
    """Median seconds of an edit, and of its receipt."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    y = np.argmax(X[:, :n_classes] + rng.gumbel(size=(n, n_classes)), axis=1)
    model = DeltaGradLogisticRegression().fit(X, y, sample_id=np.arange(n))
    model.unlearn(sample_id=0)
    edits, receipts = [], []
    for id_ in range(1, n_edits + 1):
        edits.append(thread_seconds(model.unlearn, sample_id=id_))
        receipts.append(thread_seconds(make_receipt, model))
    return median(edits), median(receipts)


def main():
    command = parser(__doc__)
    command.add_argument("--edits", type=int, default=300)
    options = command.parse_args()
    print_head(
        ["rows x columns, classes", "edit, ms of CPU", "receipt, ms", "fraction"]
    )
    for n, d, n_classes in SHAPES:
        edit, receipt = measured(n, d, n_classes, options.edits)
        print_row([
            f"{n:,} x {d}, {n_classes}",
            f"{1e3 * edit:.2f}",
            f"{1e3 * receipt:.3f}",
            f"{receipt / edit:.3f}",
        ])  # fmt: skip


if __name__ == "__main__":
    main()
