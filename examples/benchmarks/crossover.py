"""From how many rows an edit is faster than a refit, by columns and classes.

    python examples/benchmarks/crossover.py --out crossover-results

Rows are random, of independent columns; targets are drawn from a logistic model. A row
is removed after a fit (the first edit), and others after that (later edits). Opponents
are scikit-learn's solvers, warm-started from the old solution (see `_opponents`). They
are given the remaining rows; the time to copy these is not counted. Times are medians
of several fits, each of which is edited several times.

Results are a JSON file, and a Markdown table of what it contains.
"""

import numpy as np
from _command import Results, environment, parser
from _opponents import Edited, Experiment, fastest
from _tables import duration, table
from _timing import timed

# Rows, by columns and classes: a refit of the largest takes some seconds.
SIZES = {
    (5, 2): (100, 1_000, 10_000, 100_000, 1_000_000),
    (50, 2): (300, 1_000, 10_000, 100_000, 300_000),
    (300, 2): (1_000, 3_000, 10_000, 30_000, 100_000),
    (5, 10): (300, 1_000, 10_000, 100_000, 300_000),
    (50, 10): (1_000, 3_000, 10_000, 30_000, 100_000),
}
N_FITS, N_LATER = 5, 9


def draw(n_samples, n_features, n_classes):
    """Random rows, and classes that a linear model predicts."""
    rng = np.random.default_rng(20)
    X = rng.standard_normal((n_samples, n_features))
    raw = X @ rng.standard_normal((n_features, n_classes)) / np.sqrt(n_features)
    return X, (2.0 * raw + rng.gumbel(size=raw.shape)).argmax(axis=1)


def measure(n_samples, n_features, n_classes):
    """Medians of the first edit, of later ones, and of the fastest refit."""
    experiment = Experiment(
        "", lambda: draw(n_samples, n_features, n_classes), polish="newton-cholesky"
    )
    X, y = experiment.load()
    rng = np.random.default_rng(21)
    first, later = [], []
    for _ in range(1 + N_FITS):  # the first one compiles the kernels
        model = experiment.ours().fit(X, y)
        before = model.to_sklearn()
        row, *others = rng.choice(n_samples, 1 + N_LATER, replace=False)
        first.append(timed(model.unlearn, position=row).wall)
        later += [timed(model.unlearn, position=other).wall for other in others]
    seconds = {
        "first": float(np.median(first[1:])), "later": float(np.median(later[N_LATER:]))
    }  # fmt: skip
    X, y = np.delete(X, row, axis=0), np.delete(y, row)
    edit = Edited(before, experiment.polished(X, y, before), X, y)
    warm, cold = experiment.refits(edit, seconds["first"])
    sizes = {"n_samples": n_samples, "n_features": n_features, "n_classes": n_classes}
    refit = fastest([*warm, *cold])
    return sizes | seconds | {"refit": refit.seconds, "solver": refit.solver}


def markdown(cases):
    """A line for each size."""
    head = [
        "columns", "classes", "rows", "first edit", "later edits",
        "the fastest refit", "times faster: first edit", "later edits",
    ]  # fmt: skip
    return table(head, [
        [
            str(case["n_features"]),
            str(case["n_classes"]),
            f"{case['n_samples']:,}",
            duration(case["first"]),
            duration(case["later"]),
            f"{duration(case['refit'])} ({case['solver']})",
            f"{case['refit'] / case['first']:.2g}",
            f"{case['refit'] / case['later']:.2g}",
        ]
        for case in cases
    ])  # fmt: skip


def main():
    options = parser(__doc__, out="crossover-results").parse_args()
    cases = [
        measure(n_samples, *shape)
        for shape, numbers in SIZES.items()
        for n_samples in numbers
    ]
    results = Results(options.out)
    results.write("crossover", {"cases": cases, "environment": environment()})
    results.write_markdown("crossover", markdown(cases))


if __name__ == "__main__":
    main()
