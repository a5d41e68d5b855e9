"""Cluster-robust covariances (CRV3) against a refit without each cluster.

    OMP_NUM_THREADS=1 python examples/benchmarks/clusters.py --out clusters-results

1,000 clusters of 100,000 random rows with 20 columns; the rows of a cluster share a
random effect. One call of ours and refits by scikit-learn alternate five times within
one process. Refits are made without some of the clusters, and their times multiplied to
all of them: with the solver that is the fastest for so few columns, from zero, and for
log-losses started from the optimum of all rows as well.

The error is that of the coefficients without a cluster, as a fraction of their change,
at most over some clusters, refitted to 1e-10 (Ridge: exactly). Results are a JSON
file and a Markdown table.
"""

import numpy as np
from _command import Results, environment, parser
from _tables import table_of_dicts
from _timing import in_turns
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad.inspection import covariance, leave_one_out

TURNS = 5
TOLERANCES = (0.1, 0.01, 1e-3)


def draw(n_rows, n_columns, n_clusters, seed=0):
    """Rows, the linear predictor with random effects, and clusters."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_columns))
    cluster = rng.integers(0, n_clusters, n_rows)
    raw = X @ rng.standard_normal(n_columns) / 4
    return rng, X, raw + 0.5 * rng.standard_normal(n_clusters)[cluster], cluster


def models(rng, raw):
    """By name: targets, our model, and scikit-learn's as timed and as reference."""
    n_rows = len(raw)
    yield (
        "Ridge", raw + rng.standard_normal(n_rows), DeltaGradRidge(),
        {"cholesky": Ridge(solver="cholesky")}, Ridge(solver="cholesky"),
    )  # fmt: skip
    solver = "newton-cholesky"
    yield (
        "logistic", (raw + rng.logistic(size=n_rows) > 0).astype(int),
        DeltaGradLogisticRegression(),
        {
            "newton-cholesky": LogisticRegression(solver=solver),
            "newton-cholesky, warm": LogisticRegression(solver=solver, warm_start=True),
            "lbfgs": LogisticRegression(),
        },
        LogisticRegression(solver=solver, tol=1e-10, warm_start=True),
    )  # fmt: skip
    given = {"solver": solver, "alpha": 1.0 / n_rows}
    yield (
        "Poisson", rng.poisson(np.exp(raw)), DeltaGradPoissonRegressor(),
        {"newton-cholesky, warm": PoissonRegressor(**given, warm_start=True)},
        PoissonRegressor(**given, tol=1e-10, warm_start=True),
    )  # fmt: skip


def refit(model, X, y, cluster, number):
    """Coefficients of the refit without a cluster."""
    stay = cluster != number
    if isinstance(model, PoissonRegressor):
        model.set_params(alpha=1.0 / np.count_nonzero(stay))
    model.fit(X[stay], y[stay])
    return np.append(model.coef_, model.intercept_)


def largest_error(ours, X, y, cluster, tol, reference, n_clusters):
    """Of the coefficients without some clusters, as a fraction of their change."""
    found = leave_one_out(ours, groups=cluster, tol=tol, return_coef=True)
    reference.fit(X, y)
    whole, errors = np.append(reference.coef_, reference.intercept_), []
    for number in range(n_clusters):
        mine = np.append(found.coef[number], found.intercept[number])
        theirs = refit(reference, X, y, cluster, found.units[number])
        away = np.linalg.norm(mine - theirs) / np.linalg.norm(theirs - whole)
        errors.append(away)
    return max(errors)


def compare(X, cluster, name, y, ours, theirs, reference, n_refits):
    """Rows of the table for one model."""
    ours.fit(X, y)
    numbers = iter(np.tile(np.unique(cluster), 100))
    for tol in TOLERANCES if name != "Ridge" else TOLERANCES[:1]:

        def call(tol=tol):
            return covariance(ours, kind="CRV3", groups=cluster, tol=tol)

        found = call()
        error = largest_error(ours, X, y, cluster, tol, reference, 4 * n_refits)
        for solver, model in theirs.items():
            model.fit(X, y)  # a warm start begins at the optimum of all rows

            def some(model=model):
                for _ in range(n_refits):
                    refit(model, X, y, cluster, next(numbers))

            some()
            mine, refits = np.median(in_turns([call, some], TURNS), axis=0)
            refits = refits * len(np.unique(cluster)) / n_refits
            yield {
                "model": name, "tol": tol, "refits": solver,
                "bound": found.error, "error": error, "seconds": mine[0],
                "refits_seconds": refits[0], "speed_up": refits[0] / mine[0],
                "speed_up_processor": refits[1] / mine[1],
            }  # fmt: skip


def main():
    command = parser(__doc__, out="clusters-results")
    command.add_argument("--quick", action="store_true", help="fewer rows and clusters")
    options = command.parse_args()
    shape = (5_000, 5, 50) if options.quick else (100_000, 20, 1_000)
    n_refits = 2 if options.quick else 5
    rng, X, raw, cluster = draw(*shape)
    found = [
        row
        for given in models(rng, raw)
        for row in compare(X, cluster, *given, n_refits)
    ]
    results = Results(options.out)
    results.write("clusters", {"results": found, "environment": environment()})
    results.write_markdown("clusters", table_of_dicts(found))


if __name__ == "__main__":
    main()
