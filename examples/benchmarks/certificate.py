"""Do the bounds of edits hold, and how tight are they? Small adversarial problems.

After every edit of `DeltaGradLogisticRegression` the exact optimum of the current
training rows is computed independently, with gradients in extended precision. The true
distance to it is compared with `distance_bound`, and the true change of decision values
with `decision_bound`.

    python examples/benchmarks/certificate.py --edits 5000
"""

import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from _command import parser
from _internals import centre, iterate, kept_norm, last_read
from _tables import table
from scipy import sparse

from skdeltagrad import DeltaGradLogisticRegression

ROWS = [
    "plain",
    "separable",
    "duplicated",
    "constant",
    "heavy-tailed",
    "rare",
    "offset",
]
EDITS = {
    "one row": 3,
    "1 to 30% at random": 2,
    "highest leverage": 2,
    "a class but one row": 1,
    "additions": 2,
    "corrections": 2,
}
# Condition number of the Hessian above which the reference is not accurate enough.
WORST_CONDITION = 1e13
# Tolerance for rounding, relative to the bound and to the norm of the iterate.
RELATIVE, ABSOLUTE = 1e-6, 1e-9


class Source:
    """A distribution of labelled rows of a difficult kind."""

    def __init__(self, rng):
        self.rng = rng
        self.kind = rng.choice(ROWS)
        self.n_features = int(rng.integers(1, 10))
        self.n_classes = int(rng.choice([2, 2, 3, 5]))
        shape = (self.n_features, self.n_classes)
        self.coef = rng.standard_normal(shape) * rng.choice([0.3, 1.0, 3.0])

    def draw(self, n_rows):
        shape = (n_rows, self.n_features)
        X = self.rng.standard_normal(shape)
        if self.kind == "heavy-tailed":
            X = self.rng.standard_t(1.5, shape)
        raw = X @ self.coef
        if self.kind != "separable":
            raw += self.rng.gumbel(size=raw.shape)
        if self.kind == "duplicated":
            X[:, -1] = X[:, 0]
        elif self.kind == "constant":
            X[:, -1] = 3.0
        elif self.kind == "rare":
            X[:, 0] = self.rng.random(n_rows) < 0.04
        elif self.kind == "offset":
            X += 30.0
        return X, raw.argmax(axis=1)


class Rows:
    """The rows that an estimator should have, by position, independent of it."""

    def __init__(self, rng):
        self.rng = rng
        self.source = Source(rng)
        self.weighted = rng.random() < 0.4
        self.dtype = rng.choice([np.float64, np.float64, np.float32])
        self.is_sparse = rng.random() < 0.3
        n_classes = self.source.n_classes
        n_rows = int(np.exp(rng.uniform(np.log(max(8, 2 * n_classes)), np.log(150))))
        X, y, weight = self.draw(n_rows)
        y[: 2 * n_classes] = np.repeat(np.arange(n_classes), 2)
        weight[: 2 * n_classes] = 1.0
        self.X, self.y, self.weight = X, y, weight
        self.is_live = np.ones(n_rows, dtype=bool)

    def draw(self, n_rows):
        X, y = self.source.draw(n_rows)
        weight = np.ones(n_rows)
        if self.weighted:
            weight = self.rng.choice([0.0, 0.3, 1.0, 1.0, 2.0, 20.0], n_rows)
        return X.astype(self.dtype), y, weight

    def given(self, X):
        return sparse.csr_matrix(X) if self.is_sparse else X

    def live(self):
        return np.flatnonzero(self.is_live)

    def can_lose(self, gone, y=(), weight=()):
        """Whether every current class keeps some weight."""
        kept = np.setdiff1d(self.live(), gone)
        y = np.concatenate([self.y[kept], y])
        weight = np.concatenate([self.weight[kept], weight])
        return len(np.unique(y[weight > 0])) == len(np.unique(self.y[self.live()]))

    def edit(self, estimator, kind):
        """Edit these rows and the estimator; return whether an edit was possible."""
        rng, live = self.rng, self.live()
        n_some = max(1, int(rng.uniform(0.01, 0.3) * len(live)))
        if kind in ("additions", "corrections"):
            n_rows = int(rng.choice([1, n_some]))
            X, y, weight = self.draw(n_rows)
            y = rng.choice(np.unique(self.y[live]), n_rows)
            where = {"replace": True, "position": rng.permutation(live)[:n_rows]}
            if kind == "additions":
                where = {}
            gone = where.get("position", live[:0])
            if not self.can_lose(gone, y, weight):
                return False
            weights = weight if self.weighted else None
            estimator.partial_refit(self.given(X), y, sample_weight=weights, **where)
            if kind == "additions":
                self.X = np.concatenate([self.X, X])
                self.y = np.concatenate([self.y, y])
                self.weight = np.concatenate([self.weight, weight])
                self.is_live = np.concatenate([self.is_live, np.ones(n_rows, bool)])
            else:
                self.X[gone], self.y[gone], self.weight[gone] = X, y, weight
            return True
        if kind == "one row":
            gone = rng.choice(live, 1)
        elif kind == "1 to 30% at random":
            gone = rng.choice(live, n_some, replace=False)
        elif kind == "highest leverage":
            spread = np.linalg.norm(self.X[live] - self.X[live].mean(axis=0), axis=1)
            gone = live[np.argsort(-spread * self.weight[live])[:n_some]]
        else:
            rare = rng.choice(np.unique(self.y[live]))
            gone = live[self.y[live] == rare]
            counts = np.flatnonzero(self.weight[gone] > 0)
            gone = np.delete(gone, counts[:1])
        if not len(gone) or not self.can_lose(gone):
            return False
        estimator.partial_unfit(position=gone)
        self.is_live[gone] = False
        return True


class Reference:
    """The objective, computed independently, with the columns centred as in a model."""

    def __init__(self, rows, estimator):
        live = rows.live()
        X = rows.X[live].astype(np.longdouble)
        weight = rows.weight[live].astype(np.longdouble)
        classes, codes = np.unique(rows.y[live], return_inverse=True)
        class_weight = estimator.class_weight
        if class_weight == "balanced":
            by_class = np.bincount(codes, rows.weight[live])
            weight *= (by_class.sum() / (len(classes) * by_class))[codes]
        elif class_weight is not None:
            factors = [class_weight.get(label, 1.0) for label in classes.tolist()]
            weight *= np.array(factors)[codes]
        self.penalty = np.full(X.shape[1], 1.0 / estimator.C)
        if estimator.standardize:
            variance = variances(X, rows.weight[live])
            self.penalty = self.penalty * variance.astype(float)
        if estimator.fit_intercept:
            X = np.column_stack([X - centre(estimator), np.ones(len(X))])
            self.penalty = np.append(self.penalty, 0.0)
        self.X, self.weight = X, weight
        self.codes, self.is_binary = codes, len(classes) == 2
        self.target = codes[:, None] if self.is_binary else np.eye(len(classes))[codes]

    def ranges(self, w):
        """Largest change of a decision value, or of a difference of two, by row."""
        raw = (self.X @ w.T).astype(float)
        return np.abs(raw[:, 0]) if self.is_binary else np.ptp(raw, axis=1)

    def value(self, w):
        raw = self.X @ w.T
        if self.is_binary:
            raw = np.column_stack([np.zeros(len(raw)), raw])
        top = raw.max(axis=1, keepdims=True)
        losses = np.log(np.exp(raw - top).sum(axis=1, keepdims=True)) + top
        losses -= np.take_along_axis(raw, self.codes[:, None], axis=1)
        return self.weight @ losses[:, 0] + 0.5 * (self.penalty * w**2).sum()

    def derivatives(self, w):
        """Gradient, in extended precision, and Hessian."""
        raw = self.X @ w.T
        if self.is_binary:
            small = np.exp(-np.abs(raw))
            p = np.where(raw > 0, 1.0, small) / (1.0 + small)
            second = (small / (1.0 + small) ** 2)[:, :, None]
        else:
            p = np.exp(raw - raw.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            second = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None])
        gradient = (self.weight[:, None] * (p - self.target)).T @ self.X
        gradient += self.penalty * w
        m, q = w.shape
        second = (self.weight[:, None, None] * second).astype(float)
        X = self.X.astype(float)
        rows = np.einsum("nab,ni->naib", second, X).reshape(len(X), -1)
        return gradient, (rows.T @ X).reshape(m, q, m, q)

    def optimum(self, start):
        """Take Newton steps until the gradient does not decrease any more.

        Returns the optimum, the norm of the remaining gradient and the condition
        number of the Hessian.
        """
        w, best, was_small = start.astype(np.longdouble), (np.inf,), False
        if not self.value(w) < self.value(np.zeros_like(w)):
            w = np.zeros_like(w)  # where the loss has curvature
        for _ in range(500):
            gradient, hessian = self.derivatives(w)
            matrix = self.matrix(hessian)
            step = np.linalg.solve(matrix, gradient.astype(float).ravel())
            left = np.sqrt(max(0.0, float(gradient.ravel() @ step)))
            step = step.reshape(w.shape)
            if was_small and not left < 0.5 * best[0]:
                break
            best = left, w, matrix
            size = self.ranges(step).max()
            was_small = size < 1e-2
            length, value = 1.0, self.value(w)
            while not was_small and length > 1e-9:
                if self.value(w - length * step) <= value - 1e-4 * length * left**2:
                    break
                length *= 0.5
            w = w - length * step
        left, w, matrix = best
        return w, left, np.linalg.cond(matrix)

    def matrix(self, hessian):
        """The Hessian with the penalty as a matrix."""
        m, q = hessian.shape[:2]
        matrix = hessian.reshape(m * q, m * q) + np.diag(np.tile(self.penalty, m))
        if not self.is_binary and self.penalty[-1] == 0.0:
            # Equal changes of all intercepts change nothing.
            same = np.tile(np.arange(q) == q - 1, m) / np.sqrt(m)
            matrix += np.outer(same, same) * np.trace(matrix) / (m * q)
        return matrix


def variances(X, weight):
    """Variances of columns; 1 for constant ones, as in `StandardScaler`."""
    mean = weight @ X / weight.sum()
    variance = weight @ (X - mean) ** 2 / weight.sum()
    rounding = weight.sum() * np.finfo(float).eps * np.abs(mean)
    return np.where(variance <= rounding**2, 1.0, variance)


@dataclass
class Outcome:
    """One edit: its report and the true distances.

    `left` is the norm of the gradient at the reference; `is_worse` says that the
    objective of the current rows is higher than at the model before the edit.
    """

    kind: str
    report: object
    distance: float
    decision: float
    norm: float
    left: float
    condition: float
    is_worse: bool

    @property
    def is_violation(self):
        if self.report.distance_bound is None:
            return False
        if self.left > 0.01 * self.report.distance_bound + ABSOLUTE:
            return False  # the reference is not accurate enough
        slack = ABSOLUTE * (1.0 + self.norm)
        bounds = self.report.distance_bound, self.report.decision_bound
        true = self.distance, self.decision
        return any(
            not value <= bound * (1.0 + RELATIVE) + slack
            for value, bound in zip(true, bounds, strict=True)
        )


def compare(rows, estimator, kind, before):
    """Compare the estimator after an edit with the optimum of the rows."""
    reference = Reference(rows, estimator)
    w, left, condition = reference.optimum(iterate(estimator))
    away = iterate(estimator) - w
    decision = reference.ranges(away).max()
    norm_of = kept_norm(estimator)
    if norm_of is None:
        hessian = reference.matrix(reference.derivatives(w)[1])

        def norm_of(difference):
            flat = difference.astype(float).ravel()
            return float(np.sqrt(flat @ hessian @ flat))

    distance, norm = norm_of(away), norm_of(iterate(estimator))
    after, before = reference.value(iterate(estimator)), reference.value(before)
    is_worse = not after <= before + ABSOLUTE * (1.0 + abs(before))
    return Outcome(
        kind, estimator.update_report_, distance, decision, norm, left,
        condition, is_worse,
    )  # fmt: skip


def random_estimator(rng, n_classes, standardize):
    class_weights = [None, None, "balanced", {0: 3.0, n_classes - 1: 0.2}]
    return DeltaGradLogisticRegression(
        C=10.0 ** rng.uniform(-4, 5),
        fit_intercept=bool(rng.random() < 0.8),
        class_weight=class_weights[rng.integers(4)],
        edit_tol=float(rng.choice([1e-2, 1e-2, 1e-4, 0.3])),
        standardize=standardize,
    )


def sequence(seed, standardize):
    """Make a few edits of one random problem."""
    rng = np.random.default_rng(seed)
    rows = Rows(rng)
    estimator = random_estimator(rng, rows.source.n_classes, standardize)
    weights = rows.weight if rows.weighted else None
    estimator.fit(rows.given(rows.X), rows.y, sample_weight=weights)
    kinds, odds = list(EDITS), np.array(list(EDITS.values()), dtype=float)
    for _ in range(rng.integers(3, 7)):
        kind = str(rng.choice(kinds, p=odds / odds.sum()))
        before = last_read(estimator)
        if rows.edit(estimator, kind):
            yield compare(rows, estimator, kind, before)


def cells(kind, outcomes):
    """A row of the table."""
    bounded = [one for one in outcomes if one.report.distance_bound is not None]
    # Ratios of distances that are larger than rounding.
    ratios = [
        one.report.distance_bound / one.distance
        for one in bounded
        if one.distance > ABSOLUTE * (1.0 + one.norm)
    ]
    ratios = np.array(ratios or [np.nan])
    return [
        kind,
        f"{len(outcomes)}",
        f"{len(bounded) / max(1, len(outcomes)):.0%}",
        f"{sum(one.is_violation for one in bounded)}",
        f"{np.median(ratios):.2g}",
        f"{np.quantile(ratios, 0.9):.2g}",
        f"{ratios.max():.2g}",
        f"{np.mean([one.report.n_passes for one in outcomes] or [0]):.2f}",
        f"{np.mean([one.report.refit for one in outcomes] or [0]):.1%}",
        f"{sum(one.is_worse for one in outcomes)}",
    ]


def show(outcomes, skipped, errors):
    """Print the table, and why edits have no bound or were not counted."""
    by_kind = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.kind].append(outcome)
        by_kind["all"].append(outcome)
    head = [
        "edit", "edits", "with a bound", "violations", "bound / true: median", "90%",
        "max", "passes", "refitted", "worse than before",
    ]  # fmt: skip
    print(table(head, [cells(kind, by_kind[kind]) for kind in [*EDITS, "all"]]))
    print(f"skipped, condition above {WORST_CONDITION:g}: {skipped}")
    reasons = Counter(one.report.no_bound for one in by_kind["all"])
    for reason, count in reasons.most_common():
        print(f"{count} x {reason or 'bounded'}")
    for error, count in errors.most_common():
        print(f"{count} x an error: {error}")


def main():
    command = parser(__doc__)
    command.add_argument("--edits", type=int, default=5000)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--standardize", action="store_true")
    options = command.parse_args()
    warnings.simplefilter("ignore")  # edits with a warning are counted like all others
    outcomes, skipped, number, errors = [], 0, 0, Counter()
    while len(outcomes) < options.edits:
        try:
            for outcome in sequence([options.seed, number], options.standardize):
                if outcome.condition > WORST_CONDITION:
                    skipped += 1
                else:
                    outcomes.append(outcome)
        except (ArithmeticError, ValueError) as error:  # LinAlgError is a ValueError
            errors[f"{type(error).__name__}: {error}"] += 1
        number += 1
    show(outcomes, skipped, errors)


if __name__ == "__main__":
    main()
