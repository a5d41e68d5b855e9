"""How much does a scaler remember of rows that were unlearned behind it?

A pipeline of a `StandardScaler` and `DeltaGradLogisticRegression` unlearns rows, and so
does `DeltaGradLogisticRegression(standardize=True)` on the rows as they are. Both are
compared with scikit-learn's pipeline, fitted anew on the rows that remain: how far are
coefficients (of standardised columns) and decision values off, as a share of what the
removal changes? And does the scaler's mean give a removed row away?

    python examples/benchmarks/scaler.py --data-dir DIR

Files: ``adult.csv.gz`` and ``covtype_93k.npz``. Without --data-dir the data is fetched
by scikit-learn.
"""

import argparse
import math
from copy import deepcopy
from pathlib import Path

import _data
import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression

N_DRAWS = 5


def adult(folder=None):
    """Numbers as they are, categories one-hot; and who was born in Mexico."""
    import pandas as pd

    if folder is None:
        from sklearn.datasets import fetch_openml

        table = fetch_openml("adult", version=2, parser="auto").frame
        table = table.rename(columns={"class": "income", "native-country": "born"})
    else:
        table = pd.read_csv(Path(folder) / "adult.csv.gz").drop(columns="split")
        table = table.rename(columns={"native_country": "born"})
    y = table.pop("income").str.startswith(">50K").to_numpy(int)
    columns = make_column_transformer(
        ("passthrough", make_column_selector(dtype_include="number")),
        (
            OneHotEncoder(sparse_output=False),
            make_column_selector(dtype_exclude="number"),
        ),
    )
    X = np.asarray(columns.fit_transform(table.astype({"born": str})), dtype=float)
    return X, y, np.flatnonzero(table["born"].astype(str).str.strip() == "Mexico")


def covtype(folder=None):
    """Metres, degrees and flags; second class or not; and one wilderness area."""
    if folder is None:
        from sklearn.datasets import fetch_covtype

        X, y = fetch_covtype(return_X_y=True)
    else:
        data = _data._load(folder, "covtype_93k")
        X, y = data["X"], data["y"]
    X = X.astype(float)
    return X, (y == 2).astype(int), np.flatnonzero(X[:, 13])


def removals(X, group):
    """Sets of rows, several draws of those that are drawn, by what they are called."""
    rng = np.random.default_rng(0)
    n = len(X)

    def draws(size):
        return [rng.choice(n, size, replace=False) for _ in range(N_DRAWS)]

    Z = _data.standardised(X)
    far = np.argsort(-np.einsum("ij,ij->i", Z, Z))
    return {
        "1 row": draws(1),
        "0.1% of the rows": draws(n // 1000),
        "1% of the rows": draws(n // 100),
        "the row farthest from the mean": [far[:1]],
        "the 0.1% farthest from the mean": [far[: n // 1000]],
        f"a group ({len(group) / n:.1%})": [group],
    }


class Linear:
    """Coefficients for rows as they are given, of whatever model."""

    def __init__(self, model):
        if hasattr(model, "steps"):
            scaler, last = model[0], model[-1]
            self.coef = last.coef_[0] / scaler.scale_
            self.intercept = last.intercept_[0] - self.coef @ scaler.mean_
        else:
            self.coef, self.intercept = model.coef_[0], model.intercept_[0]

    def off(self, other, X, scale):
        """Distances: coefficients of standardised columns, decision values (rms)."""
        change = X @ (self.coef - other.coef) + self.intercept - other.intercept
        coef = (self.coef - other.coef) * scale
        return np.linalg.norm(coef), np.sqrt(np.mean(change**2)), np.abs(change).max()


def compare(X, y, C, sets):
    """Print a line for every kind of removal."""
    parameters = {"C": C, "edit_tol": 1e-5}
    behind_scaler = make_pipeline(
        StandardScaler(), DeltaGradLogisticRegression(**parameters)
    ).fit(X, y)
    inside = DeltaGradLogisticRegression(standardize=True, **parameters).fit(X, y)
    before = Linear(behind_scaler)
    for name, draws in sets.items():
        lines = []
        for gone in draws:
            kept = np.setdiff1d(np.arange(len(X)), gone)
            behind = skdeltagrad.unlearn(deepcopy(behind_scaler), X[gone], y[gone])
            ours = deepcopy(inside).unlearn(X[gone], y[gone])
            anew = make_pipeline(
                StandardScaler(),
                LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12),
            ).fit(X[kept], y[kept])
            scale, anew = anew[0].scale_, Linear(anew)
            moved, of_scaler, of_ours = (
                np.array(model.off(anew, X[kept], scale))
                for model in (before, Linear(behind), Linear(ours))
            )
            share = [of_scaler[:2] / moved[:2], of_ours[:2] / moved[:2]]
            lines.append([moved[1], *share[0], of_scaler[2], *share[1], of_ours[2]])
        cells = " | ".join(f"{value:.1e}" for value in np.median(lines, axis=0))
        print(f"| {name} | {cells} |", flush=True)


def give_away(X, n_rows=100):
    """Share of entries that the mean gives away to 3, 6 and 9 digits."""
    mean, n = StandardScaler().fit(X).mean_, len(X)
    totals = np.array([math.fsum(column) for column in X.T])
    rng = np.random.default_rng(1)
    digits, whole = [], 0
    for row in X[rng.choice(n, n_rows, replace=False)]:
        found = n * mean - (totals - row)  # what whoever holds the others can compute
        seen = row != 0
        digits.append(-np.log10(np.abs(found - row)[seen] / np.abs(row[seen]) + 1e-16))
        whole += np.array_equal(np.rint(found), row)
    digits = np.concatenate(digits)
    shares = ", ".join(f"{(digits >= k).mean():.0%} to {k} digits" for k in (3, 6, 9))
    print(
        f"\nA row that left, by the mean: entries other than 0 recovered, {shares} "
        f"(median {np.median(digits):.1f}); {whole} of {n_rows} rows whole.\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder with the files")
    parser.add_argument("--data", choices=["adult", "covtype"], default="adult")
    options = parser.parse_args()
    X, y, group = {"adult": adult, "covtype": covtype}[options.data](options.data_dir)
    print(f"{options.data}: {X.shape[0]:,} rows, {X.shape[1]} columns")
    give_away(X)
    for C in (1.0, 1e-3):
        print(
            f"C={C:g}\n\n| removed | decisions move (rms) "
            "| scaler kept: coefficients | decisions | largest "
            "| standardize=True: coefficients | decisions | largest |\n"
            "|---|---|---|---|---|---|---|---|"
        )
        compare(X, y, C, removals(X, group))
        print()


if __name__ == "__main__":
    main()
