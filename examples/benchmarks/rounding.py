"""Do bounds hold at the level of rounding? Models where hardly anything else is left.

The problems are Ridge regressions with fewer rows than columns, a tiny penalty, nearly
equal columns, equal rows, columns far from zero, weights over six orders of magnitude,
or rows in float32; and logistic regressions that are edited with a tiny `edit_tol`.
After every edit the optimum of the current training rows is computed in extended
precision. The true distance to it is compared with `distance_bound`, and the true
change of decision values with `decision_bound`, without any tolerance.

    python examples/benchmarks/rounding.py --edits 2000

Needs a machine whose long double has more digits than its double (x86).
"""

import warnings
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from _command import parser
from _internals import centre, iterate, kept_norm
from _tables import table

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

LONG = np.longdouble
KINDS = [
    "few rows",
    "nearly equal columns",
    "equal rows",
    "far from zero",
    "weights",
    "scales",
    "heavy-tailed",
]
# Largest accepted error of the optimum in extended precision, relative to a bound.
UNCERTAIN = 0.1


@dataclass
class Case:
    """Rows, targets and weights, and the estimator that is edited."""

    kind: str
    estimator: object
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray


def random_case(rng, logistic):
    """A problem with large rounding errors, of one kind or of two at once."""
    kinds = rng.choice(KINDS, rng.choice([1, 2]), replace=False)
    n_features = int(rng.integers(2, 31))
    n_rows = int(np.exp(rng.uniform(np.log(8), np.log(200))))
    if "few rows" in kinds:
        n_rows = max(8, n_features // int(rng.integers(1, 4)))
    X = rng.standard_normal((n_rows, n_features))
    if "heavy-tailed" in kinds:
        X = rng.standard_t(1.5, X.shape)
    if "nearly equal columns" in kinds:
        noise = 10.0 ** rng.uniform(-8, -3)
        n_equal = max(1, n_features // 2)
        X[:, -n_equal:] = X[:, :n_equal] + noise * X[:, -n_equal:]
    if "scales" in kinds:
        X = X * 10.0 ** rng.uniform(-4, 4, n_features)
    n_targets = int(rng.choice([1, 1, 3]))
    raw = X @ rng.standard_normal((n_features, n_targets))
    raw /= raw.std(axis=0)
    noise = rng.choice([0.0, 1e-6, 0.1, 1.0])
    y = raw + noise * rng.standard_normal(raw.shape)
    y *= 10.0 ** rng.uniform(-2, 4)
    if "far from zero" in kinds:
        X = X + 10.0 ** rng.uniform(2, 6) * rng.choice([-1.0, 1.0], n_features)
    if "equal rows" in kinds:
        X[n_rows // 2 :] = X[: n_rows - n_rows // 2]
        y[n_rows // 2 :] = y[: n_rows - n_rows // 2]
    weight = np.ones(n_rows)
    if "weights" in kinds:
        weight = 10.0 ** rng.uniform(-3, 3, n_rows)
    if rng.random() < 0.25:
        X = X.astype(np.float32)
    common = {
        "fit_intercept": bool(rng.random() < 0.8),
        "standardize": bool(rng.random() < 0.2),
    }
    if logistic:
        noise = rng.logistic(size=n_rows) * rng.choice([0.3, 1.0])
        y = (raw[:, 0] + noise > 0).astype(int)
        y[:4] = [0, 1, 0, 1]
        common["edit_tol"] = float(10.0 ** rng.uniform(-12, -5))
        estimator = DeltaGradLogisticRegression(C=10.0 ** rng.uniform(-2, 6), **common)
    else:
        y = y if n_targets > 1 else y[:, 0]
        alpha = 10.0 ** rng.uniform(-12, 0)
        estimator = DeltaGradRidge(alpha=alpha, **common)
    return Case(" + ".join(sorted(kinds)), estimator, X, y, weight)


# The optimum in extended precision.


def cholesky(matrix):
    """Upper factor of a symmetric positive definite matrix in extended precision."""
    left, factor = matrix.copy(), np.zeros_like(matrix)
    for k in range(len(matrix)):
        if not left[k, k] > 0:
            raise ArithmeticError("not positive definite")
        factor[k, k:] = left[k, k:] / np.sqrt(left[k, k])
        left[k:, k:] -= np.outer(factor[k, k:], factor[k, k:])
    return factor


def solved(factor, vector):
    """Solution of factor' factor x = vector."""
    q = len(factor)
    half, solution = np.zeros(q, LONG), np.zeros(q, LONG)
    for k in range(q):
        half[k] = (vector[k] - factor[:k, k] @ half[:k]) / factor[k, k]
    for k in reversed(range(q)):
        known = factor[k, k + 1 :] @ solution[k + 1 :]
        solution[k] = (half[k] - known) / factor[k, k]
    return solution


class Reference:
    """The objective of the current training rows, in extended precision."""

    def __init__(self, estimator, X, y, weight):
        self.is_logistic = isinstance(estimator, DeltaGradLogisticRegression)
        X, self.weight = X.astype(LONG), weight.astype(LONG)
        mean = self.weight @ X / self.weight.sum()
        self.mean = mean if estimator.fit_intercept else np.zeros_like(mean)
        alpha = 1 / LONG(estimator.C) if self.is_logistic else LONG(estimator.alpha)
        self.penalty = np.full(X.shape[1], alpha)
        if estimator.standardize:
            variance = self.weight @ (X - mean) ** 2 / self.weight.sum()
            self.penalty = self.penalty * np.where(variance > 0, variance, 1)
        self.A = X - self.mean
        if estimator.fit_intercept:
            self.A = np.column_stack([self.A, np.ones(len(X), LONG)])
            self.penalty = np.append(self.penalty, LONG(0))
        self.y = y.reshape(len(y), -1).astype(LONG)

    def coefficients(self, coef, intercept):
        """Coefficients of the centred columns, from those of an estimator."""
        W = np.atleast_2d(np.asarray(coef, LONG))
        if self.A.shape[1] == W.shape[1]:
            return W
        b = np.atleast_1d(np.asarray(intercept, LONG)) + W @ self.mean
        return np.column_stack([W, b])

    def derivatives(self, W):
        """Gradient, and weighted second derivative of the loss of each row."""
        raw = self.A @ W.T
        second = self.weight
        residual = raw - self.y
        if self.is_logistic:
            p = 1 / (1 + np.exp(-raw))
            residual = p - self.y
            second = self.weight * (p * (1 / (1 + np.exp(raw))))[:, 0]
        gradient = (self.weight[:, None] * residual).T @ self.A + self.penalty * W
        return gradient, second

    def optimum(self, start):
        """The optimum, second derivatives there, and the length of the last step."""
        W, left, factor = start, np.inf, None
        for _ in range(60):
            gradient, second = self.derivatives(W)
            if factor is None or self.is_logistic:
                gram = (self.A * second[:, None]).T @ self.A + np.diag(self.penalty)
                factor = cholesky(gram)
            step = np.stack([solved(factor, one) for one in gradient])
            before, left = left, self.norm(step, second)
            if self.is_logistic:
                size = np.abs(self.A @ step.T).max()
                step = step * (np.log1p(size) / size if size > 0.1 else 1)
                if size > 0.1:
                    before = np.inf
            if not left < 0.5 * before:
                return W, second, left
            W = W - step
        raise ArithmeticError("the reference did not converge")

    def distance(self, estimator, off, second):
        """Norm of a difference with the Hessian that bounds refer to, the kept one.

        The Hessian of a squared error is constant, and computed exactly here.
        """
        norm = kept_norm(estimator)
        if not self.is_logistic or norm is None:
            return self.norm(off, second)
        off = off.copy()
        if centre(estimator) is not None:
            off[:, -1] += off[:, :-1] @ (centre(estimator) - self.mean)
        return norm(off)

    def norm(self, W, second):
        """Norm with the Hessian of the current rows."""
        squares = second[:, None] * (self.A @ W.T) ** 2
        return float(np.sqrt(squares.sum() + (self.penalty * W**2).sum()))


def published(estimator):
    """Coefficients and intercept in float64, before they are rounded to float32."""
    if estimator.coef_.dtype == np.float64:
        return estimator.coef_, estimator.intercept_
    mean, w = centre(estimator), iterate(estimator)
    coef = w[:, : estimator.n_features_in_]
    return coef, 0.0 if mean is None else w[:, -1] - coef @ mean


# Edits.


def edits(rng, case):
    """Make edits one by one; yield the estimator and the rows it should have."""
    X, y, weight = case.X.copy(), case.y.copy(), case.weight.copy()
    estimator = case.estimator.fit(X, y, sample_weight=weight)
    live = np.ones(len(y), dtype=bool)
    for _ in range(rng.integers(4, 9)):
        current = np.flatnonzero(live)
        kind = rng.choice(["one", "some", "correct"], p=[0.5, 0.2, 0.3])
        n_rows = (
            1 if kind == "one" else int(rng.integers(1, 1 + max(1, len(current) // 5)))
        )
        rows = rng.choice(current, n_rows, replace=False)
        if kind == "correct":
            order = rng.permutation(current)[: len(rows)]
            X[rows] = X[order] * (1 + 0.01 * rng.standard_normal((n_rows, 1)))
            X[rows] = X[rows].astype(case.X.dtype)
            estimator.partial_refit(
                X[rows],
                y[rows],
                sample_weight=weight[rows],
                position=rows,
                replace=True,
            )
        else:
            remaining = np.setdiff1d(current, rows)
            is_classifier = isinstance(estimator, DeltaGradLogisticRegression)
            n_classes = len(np.unique(y[remaining]))
            if len(remaining) < 4 or (is_classifier and n_classes < 2):
                continue
            estimator.unlearn(position=rows)
            live[rows] = False
        yield estimator, X[live], y[live], weight[live]


@dataclass
class Outcome:
    """True distances after one edit, and its report."""

    kind: str
    distance: float
    decision: float
    size: float
    report: object

    @property
    def has_bound(self):
        return self.report.distance_bound is not None

    @property
    def excess(self):
        """The larger of the two ratios of a true distance to its bound."""
        ratios = [0.0]
        for true, bound in (
            (self.distance, self.report.distance_bound),
            (self.decision, self.report.decision_bound),
        ):
            if true > 0:
                ratios.append(true / bound if bound else np.inf)
        return max(ratios)


def outcomes(seed, logistic):
    """Make all edits of one random problem."""
    rng = np.random.default_rng([seed, logistic])
    case = random_case(rng, logistic)
    try:
        for estimator, X, y, weight in edits(rng, case):
            report = estimator.update_report_
            reference = Reference(estimator, X, y, weight)
            W = reference.coefficients(*published(estimator))
            optimum, second, left = reference.optimum(W)
            bound = report.distance_bound
            if bound is not None and left > UNCERTAIN * bound:
                continue  # the reference is not accurate enough
            off = W - optimum
            yield Outcome(
                case.kind, reference.distance(estimator, off, second),
                float(np.abs(reference.A @ off.T).max()),
                reference.norm(optimum, second), report,
            )  # fmt: skip
    except (ArithmeticError, ValueError):
        return  # the estimator or the reference refuses the problem


def cells(kind, outcomes):
    """A row of the table; None if no edit has a bound."""
    bounded = [one for one in outcomes if one.has_bound]
    if not bounded:
        return None
    bounds = [(one.report.distance_bound, one) for one in bounded]
    ratios = [bound / one.distance for bound, one in bounds if one.distance]
    relative = [bound / one.size for bound, one in bounds if one.size]
    return [
        kind,
        f"{len(outcomes)}",
        f"{len(bounded) / len(outcomes):.0%}",
        f"{sum(one.excess > 1 for one in bounded)}",
        f"{max(one.excess for one in bounded):.2g}",
        f"{np.median(ratios):.2g}",
        f"{np.quantile(ratios, 0.9):.2g}",
        f"{np.median(relative):.1e}",
        f"{np.mean([one.report.n_passes for one in outcomes]):.2f}",
    ]


def show(found):
    """Print violations, and how much larger than the true distances the bounds are."""
    by_kind = defaultdict(list)
    for one in found:
        for kind in [*one.kind.split(" + "), "all"]:
            by_kind[kind].append(one)
    head = [
        "rows", "edits", "with a bound", "violations", "largest true / bound",
        "bound / true: median", "90%", "bound / norm of the optimum: median", "passes",
    ]  # fmt: skip
    lines = [cells(kind, by_kind[kind]) for kind in [*KINDS, "all"]]
    print(table(head, [line for line in lines if line is not None]))


def main():
    command = parser(__doc__)
    command.add_argument("--edits", type=int, default=2000)
    command.add_argument("--seed", type=int, default=0)
    options = command.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    for name, logistic in (("Ridge", False), ("logistic regression", True)):
        found, number = [], options.seed
        while len(found) < options.edits // 2:
            found += outcomes(number, logistic)
            number += 1
        print(f"\n{name}\n")
        show(found)


if __name__ == "__main__":
    main()
