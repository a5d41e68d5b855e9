"""Inspection against n refits: speed, error, and the coverage of jackknife+ intervals.

    python examples/benchmarks/inspection.py --data-dir DIR --out inspection-results

Within one process, one call of ours and some refits alternate five times. Times are
wall seconds: the median of our call, and the median of the refits multiplied to n of
them. Speed-ups are given in processor seconds, too: other work of the machine affects
the short call and the long loop differently.

Results are a JSON file and Markdown tables.
"""

import _data
import numpy as np
from _command import Results, environment, parser
from _tables import table_of_dicts
from _timing import in_turns
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import train_test_split

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad.inspection import data_values, jackknife_plus, leave_one_out

TURNS = 5
ALPHA = 0.1


def without(row, *arrays):
    """Copies of arrays without a row."""
    return [np.delete(array, row, axis=0) for array in arrays]


class Refits:
    """Refits without one row after the other."""

    def __init__(self, model, X, y):
        self.model, self.X, self.y = model, X, y
        self.row = 0

    def some(self, n_refits):
        """Make refits without the next rows."""
        for _ in range(n_refits):
            self.model.fit(*without(self.row % len(self.y), self.X, self.y))
            self.row += 1


def speed(ours, refits, n_rows, n_refits):
    """How many times faster one call of ours is than n refits."""
    ours()  # compiles the kernels
    refits.some(2)
    turns = in_turns([ours, lambda: refits.some(n_refits)], TURNS)
    mine, theirs = np.median(turns, axis=0)
    theirs *= n_rows / n_refits
    return {
        "seconds": mine[0], "refits_seconds": theirs[0],
        "speed_up": theirs[0] / mine[0], "speed_up_processor": theirs[1] / mine[1],
    }  # fmt: skip


def synthetic(n_rows, n_features, seed=0):
    """Standard normal rows and a linear target with noise of variance 1."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features))
    y = X @ rng.standard_normal(n_features) + rng.standard_normal(n_rows)
    return X, y


def warm_logistic(X, y, solver, tol):
    """scikit-learn's estimator, warm-started from the optimum of all rows."""
    model = LogisticRegression(solver=solver, tol=tol, max_iter=1000, warm_start=True)
    return model.fit(X, y)


def speeds(n_rows, n_features, n_refits):
    """One call against n refits on random rows."""
    X, y = synthetic(n_rows, n_features)
    ridge = DeltaGradRidge().fit(X, y)
    for name, model in (("scikit-learn", Ridge()), ("ours", DeltaGradRidge())):
        refits = Refits(model, X, y)
        found = speed(lambda: leave_one_out(ridge), refits, n_rows, n_refits)
        yield {"model": "Ridge", "tol": "exact", "refits": name, **found}
    y = (y > 0).astype(int)
    logistic = DeltaGradLogisticRegression().fit(X, y)
    opponents = {
        "scikit-learn lbfgs": LogisticRegression(),
        "scikit-learn lbfgs, warm, tol=1e-8": warm_logistic(X, y, "lbfgs", 1e-8),
        "scikit-learn newton-cholesky, warm, tol=1e-8": warm_logistic(
            X, y, "newton-cholesky", 1e-8
        ),
        "ours": DeltaGradLogisticRegression(),
    }
    for name, model in opponents.items():
        for tol in (np.inf, 0.1, 0.01):
            found = speed(
                lambda tol=tol: leave_one_out(logistic, tol=tol),
                Refits(model, X, y), n_rows, n_refits,
            )  # fmt: skip
            yield {"model": "logistic", "tol": tol, "refits": name, **found}


def closed_form(name, X, y, alpha):
    """Leave-one-out residuals of Ridge next to scikit-learn's closed form."""
    found = leave_one_out(DeltaGradRidge(alpha=alpha).fit(X, y))
    theirs = RidgeCV(alphas=[alpha], store_cv_results=True).fit(X, y)
    residuals = np.sqrt(theirs.cv_results_[:, 0])
    away = np.abs(np.abs(y - found.predictions) - residuals).max()
    return {"data": name, "error": away / np.abs(y).max()}


def log_losses(raw, y):
    """Log-losses of labels 0 and 1."""
    return np.logaddexp(0.0, (1 - 2 * y) * raw)


def breast_cancer(n_refits):
    """All refits, and the changes of the log-loss that they make."""
    X, y = load_breast_cancer(return_X_y=True)
    X = _data.standardised(X)
    model = DeltaGradLogisticRegression(tol=1e-10).fit(X, y)
    before = log_losses(model.decision_function(X), y)
    refit = warm_logistic(X, y, "newton-cholesky", 1e-12)
    own, total = np.empty((2, len(y)))
    for row in range(len(y)):
        raw = refit.fit(*without(row, X, y)).decision_function(X)
        after = log_losses(raw, y)
        own[row], total[row] = after[row] - before[row], after.sum() - before.sum()
    for tol in (np.inf, 0.1, 0.01):
        found = leave_one_out(model, tol=tol)
        mine = log_losses(found.decision_values, y) - before
        values = data_values(model, X, y, scoring="neg_log_loss", tol=tol).values
        row = {
            "tol": tol,
            "1 - correlation_own": 1.0 - np.corrcoef(mine, own)[0, 1],
            "1 - correlation_total": 1.0 - np.corrcoef(values, total)[0, 1],
            "largest_error": np.abs(mine - own).max(),
            "largest_change": np.abs(own).max(),
            "median_bound": np.median(found.error),
            "bounded": np.isfinite(found.error).mean(),
        }
        for solver in ("newton-cholesky", "lbfgs"):
            refits = Refits(warm_logistic(X, y, solver, 1e-8), X, y)
            measured = speed(
                lambda tol=tol: leave_one_out(model, tol=tol), refits, len(y), n_refits
            )
            row |= {f"{solver} {key}": value for key, value in measured.items()}
        yield row


def coverage(name, draw, n_splits, method):
    """Fraction of test targets inside jackknife+ intervals, over several splits."""
    fractions, widths = [], []
    for seed in range(n_splits):
        X, X_test, y, y_test = draw(seed)
        model = DeltaGradRidge().fit(X, y)
        lower, upper = jackknife_plus(model, X_test, alpha=ALPHA, method=method)
        fractions.append(np.mean((lower <= y_test) & (y_test <= upper)))
        widths.append(np.mean(upper - lower))
    return {
        "data": name, "method": method, "n_train": len(y), "n_splits": n_splits,
        "coverage": np.mean(fractions), "lowest": np.min(fractions),
        "highest": np.max(fractions), "width": np.mean(widths),
    }  # fmt: skip


def coverages(folder, n_splits):
    """Coverage on california, and on random rows, twice as many as columns."""
    X, y = _data.california(folder)

    def california(seed):
        return train_test_split(X, y, test_size=0.2, random_state=seed)

    def random(seed):
        parts = synthetic(1100, 50, seed)
        return train_test_split(*parts, train_size=100, random_state=seed)

    yield coverage("california", california, n_splits, "plus")
    for method in ("plus", "minmax"):
        yield coverage("synthetic 100 x 50", random, n_splits, method)


def main():
    command = parser(__doc__, data=True, out="inspection-results")
    command.add_argument("--quick", action="store_true", help="fewer rows and splits")
    options = command.parse_args()
    shape = (1000, 20) if options.quick else (5000, 50)
    n_refits, n_splits = (5, 3) if options.quick else (20, 20)
    X, y = load_diabetes(return_X_y=True)
    found = {
        "closed form": [
            closed_form("diabetes", X, y, 0.1),
            closed_form("california", *_data.california(options.data_dir), 1.0),
        ],
        "breast cancer": list(breast_cancer(n_refits)),
        "coverage": list(coverages(options.data_dir, n_splits)),
        f"speed, {shape[0]:,} x {shape[1]}": list(speeds(*shape, n_refits)),
    }
    results = Results(options.out)
    results.write("inspection", found | {"environment": environment()})
    results.write_markdown(
        "inspection",
        "\n".join(f"## {name}\n\n{table_of_dicts(r)}" for name, r in found.items()),
    )


if __name__ == "__main__":
    main()
