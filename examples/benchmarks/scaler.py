"""How much does a scaler remember of rows that are unlearned behind it?

A pipeline of a `StandardScaler` and `DeltaGradLogisticRegression` unlearns rows, and so
does `DeltaGradLogisticRegression(standardize=True)` on the rows as they are. Both are
compared with scikit-learn's pipeline, fitted to the remaining rows: how far off are the
coefficients (of standardised columns) and decision values, as a fraction of what the
removal changes? And does the scaler's mean reveal a removed row?

    python examples/benchmarks/scaler.py --data-dir DIR

Files: ``adult.csv.gz`` and ``covtype_93k.npz``.
"""

import math
from copy import deepcopy

import _data
import numpy as np
from _command import parser
from _tables import print_head, print_row
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression

N_DRAWS = 5


def adult(folder):
    """Numbers as they are, one-hot categories; the rows of people born in Mexico."""
    frame, y = _data.adult(folder)
    columns = make_column_transformer(
        ("passthrough", make_column_selector(dtype_include="number")),
        (
            OneHotEncoder(sparse_output=False),
            make_column_selector(dtype_exclude="number"),
        ),
    )
    frame = frame.astype({"native_country": str})
    X = np.asarray(columns.fit_transform(frame), dtype=float)
    return X, y, np.flatnonzero(frame["native_country"].str.strip() == "Mexico")


def covtype(folder):
    """Metres, degrees and flags, two classes; the rows of one wilderness area."""
    X, y = _data.covtype_as_it_is(folder)
    return X, (y == 2).astype(int), np.flatnonzero(X[:, 13])


def removals(X, group):
    """Lists of row numbers by name: several draws, or one where nothing is random."""
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
    """Coefficients of a model for unscaled rows."""

    def __init__(self, model):
        if hasattr(model, "steps"):
            scaler, last = model[0], model[-1]
            self.coef = last.coef_[0] / scaler.scale_
            self.intercept = last.intercept_[0] - self.coef @ scaler.mean_
        else:
            self.coef, self.intercept = model.coef_[0], model.intercept_[0]

    def off(self, other, X, scale):
        """Distances of coefficients and decision values (root mean square, largest)."""
        change = X @ (self.coef - other.coef) + self.intercept - other.intercept
        coef = (self.coef - other.coef) * scale
        return np.linalg.norm(coef), np.sqrt(np.mean(change**2)), np.abs(change).max()


def compare(X, y, C, sets):
    """Print a line for each kind of removal."""
    parameters = {"C": C, "edit_tol": 1e-5}
    behind_scaler = make_pipeline(
        StandardScaler(), DeltaGradLogisticRegression(**parameters)
    ).fit(X, y)
    inside = DeltaGradLogisticRegression(standardize=True, **parameters).fit(X, y)
    before = Linear(behind_scaler)
    for name, draws in sets.items():
        lines = []
        for removed in draws:
            kept = np.setdiff1d(np.arange(len(X)), removed)
            behind = skdeltagrad.unlearn(
                deepcopy(behind_scaler), X[removed], y[removed]
            )
            ours = deepcopy(inside).unlearn(X[removed], y[removed])
            refit = make_pipeline(
                StandardScaler(),
                LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12),
            ).fit(X[kept], y[kept])
            scale, refit = refit[0].scale_, Linear(refit)
            moved, of_scaler, of_ours = (
                np.array(model.off(refit, X[kept], scale))
                for model in (before, Linear(behind), Linear(ours))
            )
            fraction = [of_scaler[:2] / moved[:2], of_ours[:2] / moved[:2]]
            lines.append(
                [moved[1], *fraction[0], of_scaler[2], *fraction[1], of_ours[2]]
            )
        print_row([name, *(f"{value:.1e}" for value in np.median(lines, axis=0))])


def reveal(X, n_rows=100):
    """Fraction of the entries of a removed row that the mean reveals."""
    mean, n = StandardScaler().fit(X).mean_, len(X)
    totals = np.array([math.fsum(column) for column in X.T])
    rng = np.random.default_rng(1)
    digits, whole = [], 0
    for row in X[rng.choice(n, n_rows, replace=False)]:
        found = n * mean - (totals - row)  # an attacker who has the other rows
        seen = row != 0
        digits.append(-np.log10(np.abs(found - row)[seen] / np.abs(row[seen]) + 1e-16))
        whole += np.array_equal(np.rint(found), row)
    digits = np.concatenate(digits)
    fractions = ", ".join(
        f"{(digits >= k).mean():.0%} to {k} digits" for k in (3, 6, 9)
    )
    print(
        f"\nEntries of a removed row other than 0 that the mean reveals: {fractions} "
        f"(median {np.median(digits):.1f}); {whole} of {n_rows} rows whole.\n"
    )


def main():
    command = parser(__doc__, data=True)
    command.add_argument("--data", choices=["adult", "covtype"], default="adult")
    options = command.parse_args()
    X, y, group = {"adult": adult, "covtype": covtype}[options.data](options.data_dir)
    print(f"{options.data}: {X.shape[0]:,} rows, {X.shape[1]} columns")
    reveal(X)
    for C in (1.0, 1e-3):
        print(f"C={C:g}\n")
        print_head([
            "removed", "decisions move (rms)", "scaler kept: coefficients",
            "decisions", "largest", "standardize=True: coefficients", "decisions",
            "largest",
        ])  # fmt: skip
        compare(X, y, C, removals(X, group))
        print()


if __name__ == "__main__":
    main()
