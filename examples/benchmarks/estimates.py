"""The replay's estimate of its error, on data that its constants were not chosen on.

    python examples/benchmarks/estimates.py --data-dir DIR --out estimates-results

There are seventeen data sets of different character, with at most 20,000 rows of each;
some are read from the folder (see `_data`), others are random. 20 edits of each are
made, half of them of a path of full batches and half of mini-batches: random rows of
0.1% to 5%, one class, the rows with the largest entries, one of these rows alone, and
additions. Every edit is made on a copy of the fitted model and followed by an exact
retrain. The error is the distance of the replayed from the retrained coefficients,
divided by the distance that the edit moves them. Replays are made even if a retrain of
so few rows is faster, and with no tolerance, because larger errors would be missed
otherwise. Errors below 1e-6 are not counted.

The factors of the estimate's parts are chosen again for every data set from the edits
of all others ("left out"), and once from all. Results of a data set are written as soon
as it is measured; --tables measures nothing.
"""

import warnings
from copy import deepcopy
from functools import partial

import _data
import numpy as np
from _command import Results, environment, parser
from _data import standardised
from _internals import ESTIMATE_FACTORS, estimate_parts, replays_at_any_price
from _tables import table
from _timing import timed
from scipy import sparse
from scipy.optimize import minimize
from sklearn.datasets import make_classification

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

MOST_ROWS = 20_000
# Smaller errors are mostly rounding.
NOT_COUNTED = 1e-6
EDITS = (
    "random", "largest entries", "random", "one class", "addition",
    "one of the largest", "random", "addition", "largest entries", "random",
)  # fmt: skip
GD = {"solver": "gd", "max_iter": 100, "learning_rate": "auto"}
SGD = {"solver": "sgd", "max_iter": 40, "batch_size": 2_048, "learning_rate": 0.1}


# Data sets ------------------------------------------------------------------------


def part(X, y, n_rows=MOST_ROWS, seed=0):
    """At most `n_rows` random rows."""
    n_rows = min(n_rows, X.shape[0])
    rows = np.random.default_rng(seed).choice(X.shape[0], n_rows, replace=False)
    return X[rows], y[rows]


def shuttle(folder):
    """Heavy tails, entries of more than 100 standard deviations, rare classes."""
    X, y = part(*_data.shuttle(folder))
    return standardised(X), y


def adult(folder):
    """Numbers with heavy tails (capital gains) beside one-hot categories."""
    import pandas as pd

    frame, y = _data.adult(folder)
    numbers = frame.select_dtypes("number").to_numpy(float)
    flags = pd.get_dummies(frame.select_dtypes(exclude="number")).to_numpy(float)
    return part(np.column_stack([standardised(numbers), flags]), y)


def rare_heavy(folder):
    """A column in which one row in 500 has an entry of up to 100 deviations."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((MOST_ROWS, 12))
    some = rng.random(MOST_ROWS) < 0.002
    X[some, 0] *= 20.0 + 100.0 * rng.random(some.sum())
    raw = X[:, 1:5].sum(axis=1) + np.sign(X[:, 0]) * np.log1p(np.abs(X[:, 0]))
    return standardised(X), (raw + rng.logistic(size=MOST_ROWS) > 0).astype(int)


def heavy_tailed(folder):
    """Every column has tails of Student's t with 2 degrees of freedom; 3 classes."""
    rng = np.random.default_rng(2)
    X = standardised(rng.standard_t(2.0, (MOST_ROWS, 15)))
    raw = np.cbrt(X[:, :6]) @ rng.standard_normal((6, 3))
    return X, np.argmax(raw + rng.gumbel(size=raw.shape), axis=1)


def equal_rows(folder):
    """Sixty distinct rows, a few of them very frequent."""
    rng = np.random.default_rng(3)
    distinct = rng.standard_normal((60, 8))
    frequency = 1.0 / np.arange(1, 61) ** 1.5
    which = rng.choice(60, MOST_ROWS, p=frequency / frequency.sum())
    X = distinct[which]
    raw = X @ rng.standard_normal(8)
    return X, (raw + rng.logistic(size=MOST_ROWS) > 0).astype(int)


def few_columns(folder):
    """Three columns, one of them lognormal."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((MOST_ROWS, 3))
    X[:, 0] = np.exp(1.5 * X[:, 0])
    X = standardised(X)
    raw = X @ np.array([1.0, -2.0, 0.5])
    return X, (raw + rng.logistic(size=MOST_ROWS) > 0.5).astype(int)


def sparse_binary(folder):
    """300 indicators, of frequencies from a third to a thousandth."""
    rng = np.random.default_rng(5)
    frequency = np.geomspace(0.3, 1e-3, 300)
    X = sparse.csr_matrix((rng.random((MOST_ROWS, 300)) < frequency).astype(float))
    raw = X @ rng.standard_normal(300)
    return X, (raw + rng.logistic(size=MOST_ROWS) > np.median(raw)).astype(int)


def one_hot(folder):
    """Six categories of 5 to 40 values each, dense; four classes."""
    rng = np.random.default_rng(6)
    blocks = []
    for n_values in (5, 8, 12, 20, 30, 40):
        p = 1.0 / np.arange(1, n_values + 1)
        blocks.append(np.eye(n_values)[rng.choice(n_values, MOST_ROWS, p=p / p.sum())])
    X = np.column_stack(blocks)
    raw = X @ rng.standard_normal((X.shape[1], 4))
    return X, np.argmax(raw + rng.gumbel(size=raw.shape), axis=1)


def normal(folder):
    """Normally distributed clusters by `make_classification`."""
    return make_classification(MOST_ROWS, 20, random_state=0)


def scaled_target(load, folder):
    """A regression set with a target of standard deviation 1."""
    X, y = part(*load(folder))
    return X, (y - y.mean()) / y.std()


def news20(folder):
    """Text: 62,061 columns."""
    return part(*_data.news20(folder), n_rows=8_000)


SETS = {
    "shuttle": (shuttle, {}),
    "covtype": (lambda folder: part(*_data.covtype(folder)), {}),
    "higgs": (lambda folder: part(*_data.higgs(folder)), {}),
    "a9a": (lambda folder: part(*_data.a9a(folder)), {}),
    "adult": (adult, {}),
    "mnist": (lambda folder: part(*_data.mnist(folder), n_rows=6_000), {}),
    "news20": (news20, {"learning_rate": 4.0}),
    "rcv1": (_data.rcv1, {"learning_rate": 2.0, "batch_size": 256}),
    "california": (partial(scaled_target, _data.california), {"learning_rate": 0.02}),
    "blogfeedback": (
        partial(scaled_target, _data.blogfeedback), {"learning_rate": 0.003}
    ),
    "rare heavy rows": (rare_heavy, {"learning_rate": 0.01}),
    "heavy tails": (heavy_tailed, {"learning_rate": 0.02}),
    "equal rows": (equal_rows, {}),
    "few columns": (few_columns, {}),
    "sparse indicators": (sparse_binary, {}),
    "one-hot": (one_hot, {}),
    "make_classification": (normal, {}),
}  # fmt: skip
# Data sets that need --data-dir.
OF_FILES = {
    "shuttle", "covtype", "higgs", "a9a", "adult", "mnist", "news20", "rcv1",
    "california", "blogfeedback",
}  # fmt: skip


# Edits ----------------------------------------------------------------------------


def sizes(X):
    """Largest standardised entry of each row; largest entry if X is sparse."""
    if sparse.issparse(X):
        return np.abs(X).max(axis=1).toarray().ravel()
    return np.abs(standardised(X)).max(axis=1)


def rows_of(kind, X, y, rng):
    """Row numbers of an edit of a kind."""
    n_samples = X.shape[0]
    n_rows = max(1, round(n_samples * 10.0 ** rng.uniform(-3.0, np.log10(0.05))))
    if kind == "one class" and len(np.unique(y)) <= 20:
        pool = np.flatnonzero(y == rng.choice(y))
        return rng.choice(pool, min(n_rows, len(pool) // 2), replace=False)
    if kind == "one class":  # in a regression, the largest targets
        pool = np.argsort(y)[-2 * n_rows :]
        return rng.choice(pool, n_rows, replace=False)
    if kind == "largest entries":
        pool = np.argsort(sizes(X))[-2 * n_rows :]
        return rng.choice(pool, n_rows, replace=False)
    if kind == "one of the largest":
        return rng.choice(np.argsort(sizes(X))[-20:], 1)
    return rng.choice(n_samples, n_rows, replace=False)


def weights(model):
    """All coefficients and intercepts."""
    if np.ndim(model.coef_) == 1:
        return np.append(model.coef_, model.intercept_)
    return np.column_stack([model.coef_, model.intercept_])


def measure(name, folder, seed, last_parts):
    """Make the edits of both paths of a data set; a dict for each edit."""
    load, changes = SETS[name]
    X, y = load(folder)
    is_regression = np.issubdtype(y.dtype, np.floating)
    found, paths = [], {"gd": GD, "sgd": SGD | changes}
    if is_regression:  # a replay of full batches is exact
        paths = {"sgd, twice as many": SGD | changes}
    for path, schedule in paths.items():
        parameters = schedule | {"edit_tol": 1e6, "random_state": 0}
        if is_regression:
            model = DeltaGradRidge(alpha=0.005 * len(y), **parameters)
        else:
            model = DeltaGradLogisticRegression(C=1 / (0.005 * len(y)), **parameters)
        model.fit(X, y)
        rng = np.random.default_rng([seed, list(SETS).index(name), path == "gd"])
        for kind in EDITS * (2 if is_regression else 1):
            rows = rows_of(kind, X, y, rng)
            found.append({"path": path, "kind": kind, "n_rows": len(rows)})
            found[-1] |= one(deepcopy(model), kind, rows, X, y)
            found[-1]["parts"] = last_parts()
    return found


def one(model, kind, rows, X, y):
    """Make an edit and the exact retrain after it."""
    if kind == "addition":  # rows are removed to be added again
        model.unlearn(position=rows)
        model.partial_refit()
    before = weights(model)
    if kind == "addition":
        model.partial_refit(X[rows], y[rows])
    else:
        model.unlearn(position=rows)
    report = model.update_report_
    replayed = weights(model)
    exact = weights(model.partial_refit())
    moved = np.linalg.norm(before - exact)
    return {
        "error": float(np.linalg.norm(replayed - exact) / moved),
        "estimate": report.error_estimate,
        "refit": bool(report.refit),
        "n_passes": float(report.n_passes),
    }


# Tables ---------------------------------------------------------------------------


def counted(edits):
    """Edits that were replayed with an error above rounding."""
    return [e for e in edits if not e["refit"] and e["error"] >= NOT_COUNTED]


def estimates(edits, factors):
    """Estimates with other factors of their parts."""
    parts = np.array([[e["parts"].get(name, 0.0) for name in factors] for e in edits])
    return np.sqrt(np.square(parts) @ np.square(list(factors.values())))


def chosen(edits):
    """Factors whose estimates are nearest to the errors, on a logarithmic scale."""
    names = list(ESTIMATE_FACTORS)
    error = np.array([e["error"] for e in edits])

    def off(logs):
        factors = dict(zip(names, np.exp(logs), strict=True))
        ratio = np.log(np.maximum(estimates(edits, factors), 1e-300) / error)
        # An estimate that is too low counts twice; outliers must not decide.
        ratio = np.where(ratio < 0, 2.0 * ratio, ratio)
        return np.sum(np.minimum(np.abs(ratio), 4.0)) + 0.05 * np.sum(logs**2)

    best = minimize(off, np.zeros(len(names)), method="Nelder-Mead")
    return dict(zip(names, np.exp(best.x), strict=True))


def summary(name, edits, ratio):
    """A line of the table."""
    good = np.mean((ratio >= 1 / 3) & (ratio <= 3))
    quantiles = np.quantile(ratio, (0.05, 0.5, 0.95))
    errors = [e["error"] for e in edits]
    return [
        name,
        f"{len(edits)}",
        f"{np.count_nonzero((ratio >= 1 / 3) & (ratio <= 3))} ({good:.0%})",
        f"{np.count_nonzero(ratio < 1 / 3)}",
        f"{np.count_nonzero(ratio > 3)}",
        f"{np.median(errors):.1e}, {max(errors):.1e}",
        ", ".join(f"{q:.2g}" for q in quantiles),
        f"{ratio.min():.2g}",
    ]


def tables(results):
    """Tables of all data sets, with the factors in the code and with chosen ones."""
    head = [
        "set", "counted", "within a factor of 3", "estimate below a third",
        "above 3 times", "error: median, largest", "estimate / error: 5, 50, 95%",
        "least",
    ]  # fmt: skip
    text = ""
    kept = {name: counted(edits) for name, edits in results.items()}
    kept = {name: edits for name, edits in kept.items() if edits}
    for title, leave_out in (("As estimated", False), ("Left out", True)):
        lines, every, ratios, worst = [], [], [], (2.0, "")
        for name, edits in kept.items():
            given = np.array([e["estimate"] for e in edits])
            if leave_out:
                others = [e for n, es in kept.items() if n != name for e in es]
                if not others:
                    continue
                given = estimates(edits, chosen(others))
            ratio = given / np.array([e["error"] for e in edits])
            good = np.mean((ratio >= 1 / 3) & (ratio <= 3))
            worst = min(worst, (good, name))
            lines.append(summary(name, edits, ratio))
            every += edits
            ratios.append(ratio)
        if lines:
            lines.append(summary("all", every, np.concatenate(ratios)))
            text += f"{title}; the worst set is {worst[1]}.\n\n{table(head, lines)}\n"
    factors = chosen([e for edits in kept.values() for e in edits])
    shown = ", ".join(f"{name} {factor:.2f}" for name, factor in factors.items())
    return text + f"Factors chosen on all sets: {shown}.\n"


def main():
    command = parser(__doc__, data=True, out="estimates-results", only=SETS)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--tables", action="store_true", help="of earlier results")
    asked = command.parse_args()
    results = Results(asked.out)
    last_parts = estimate_parts()
    warnings.simplefilter("ignore")
    for name in [] if asked.tables else asked.only:
        if asked.data_dir is None and name in OF_FILES:
            print(f"{name}: left out, it needs --data-dir", flush=True)
            continue
        with replays_at_any_price():
            spent = timed(measure, name, asked.data_dir, asked.seed, last_parts)
        result = {"name": name, "edits": spent.result, "environment": environment()}
        results.write(name, result)
        print(f"{name}: {spent.wall:.0f} s", flush=True)
    found = {name: result["edits"] for name, result in results.read(SETS).items()}
    results.write_markdown("estimates", tables(found))


if __name__ == "__main__":
    main()
