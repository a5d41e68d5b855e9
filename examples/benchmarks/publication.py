"""What it costs to publish models with a guarantee, and what two of them reveal.

    OMP_NUM_THREADS=2 python examples/benchmarks/publication.py --data-dir DIR

Five tables, with a guarantee of (1, 1e-6) for a thousand publications. All but the
first are about logistic regression with C = 1 and noise of 1e-4.

*rounding*: the smallest distance from the optimum that `refine` can prove, and the
noise that hides it.

*accuracy*: E||p - w||_H^2 of published coefficients p, expected and as the mean over
published models, divided by the statistical error. That is the expected squared
distance, in the same norm, between the fitted coefficients and those of infinitely many
rows: the trace of H^-1 S, where S is the covariance of the sum of the rows' gradients.
Beside it is the noise of certified removal (Guo et al., ICML 2020), by its theorem 3
with the residual of its corollary 1, for the removal of one typical row and of a
thousand.

*time*: passes over the rows of `publish()` after an edit, and its processor time as a
fraction of that of a fit of the same rows, measured in turns.

*two models*: an observer of the models before and after the removal of a row multiplies
their difference by the exact Hessian, which is favourable to the observer. A row counts
as reconstructed if the cosine between the result and the row, both centred, is above
0.9. The larger noise is the one with which `privacy_profile` finds mu = 1 for 99% of
the rows.

*mu*: the same fraction, where the noise is different for each row, so that all rows
have the same mu.
"""

import math

import _data
import numpy as np
from _command import parser
from _tables import print_head, print_row
from _timing import timed
from observer import cosine
from scipy.special import expit
from sklearn import datasets

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad.certified import Publisher, privacy_profile
from skdeltagrad.inspection import leave_one_out

EPSILON, DELTA, N_PUBLICATIONS, NOISE = 1.0, 1e-6, 1_000, 1e-4
# Guo et al. bound the second derivative's Lipschitz constant by this.
GAMMA = 0.25


def publisher_of(model, noise, n_publications=N_PUBLICATIONS):
    return Publisher(
        model, noise=noise, epsilon=EPSILON, delta=DELTA, n_publications=n_publications
    )


def flat(model):
    return np.append(model.coef_, model.intercept_)


def hessian(X, coefficients, penalty):
    """Hessian of the objective; the last column of X belongs to the intercept."""
    probability = expit(X @ coefficients)
    weights = probability * (1.0 - probability)
    return (X.T * weights) @ X + np.diag(penalty)


def with_ones(X):
    return np.column_stack([X, np.ones(len(X))])


def penalty_of(X):
    """Diagonal of the penalty's Hessian for C = 1; the intercept has none."""
    return np.append(np.ones(X.shape[1]), 0.0)


# Rounding -----------------------------------------------------------------------------


def experiments(folder):
    """For each name a function that loads a data set, and a model."""
    logistic, ridge = DeltaGradLogisticRegression, DeltaGradRidge
    covtype = _data.covtype_standardised
    return {
        "a9a": (lambda: _data.a9a(folder), logistic()),
        "HIGGS": (lambda: _data.higgs(folder), logistic()),
        "covtype, 2 classes": (lambda: covtype(folder, two_classes=True), logistic()),
        "covtype, 7 classes": (lambda: covtype(folder), logistic()),
        "covtype as it is": (
            lambda: _data.covtype_as_it_is(folder),
            logistic(max_iter=1000),
        ),
        "california, Ridge": (lambda: _data.california(folder), ridge()),
        "blogfeedback, Ridge": (lambda: _data.blogfeedback(folder), ridge()),
    }


def rounding(X, y, model):
    """The smallest distance that `refine` can prove, to a tenth, and its noise."""
    model.fit(X, y)
    distance = 10.0
    while True:
        try:
            model.refine(distance=0.9 * distance)
        except ValueError:
            break
        distance = model.update_report_.coef_bound
    cap = publisher_of(model, 1.0).statement_.cap  # proportional to the noise
    return [f"{distance:.1e}", f"{distance / cap:.1e}"]


# Accuracy -----------------------------------------------------------------------------


def statistical_error(X, y, coefficients, curvature):
    """Trace of H^-1 S."""
    gradients = (expit(X @ coefficients) - y)[:, np.newaxis] * X
    gradients -= gradients.mean(axis=0)
    return np.trace(np.linalg.solve(curvature, gradients.T @ gradients))


def noise_of_certified_removal(X, y):
    """E||H^-1 b||_H^2 of the perturbation b, for one removal and for a thousand.

    The intercept is a column of ones and penalised, as in the paper. Its rows have
    norms of at most 1; of others, the largest norm is a factor of the residual.
    """
    X = with_ones(X)
    model = DeltaGradLogisticRegression(fit_intercept=False).fit(X, y)
    coefficients = model.coef_[0]
    inverse = np.linalg.inv(hessian(X, coefficients, np.ones(X.shape[1])))
    gradients = (expit(X @ coefficients) - y)[:, np.newaxis] * X
    steps = (gradients + coefficients / len(y)) @ inverse
    changes = np.sqrt(np.einsum("ij,jk,ik->i", steps, X.T @ X, steps, optimize=True))
    longest = np.linalg.norm(X, axis=1).max()
    residuals = GAMMA * longest * np.linalg.norm(X, 2) * changes
    residuals *= np.linalg.norm(steps, axis=1)
    per_residual = math.sqrt(2.0 * math.log(1.5 / DELTA)) / EPSILON
    budgets = np.array([np.median(residuals), 1_000 * residuals.mean()])
    return (per_residual * budgets) ** 2 * np.trace(inverse)


def accuracy(X, y, n_models):
    model = DeltaGradLogisticRegression().fit(X, y)
    publisher = publisher_of(model, NOISE)
    full = with_ones(X)
    curvature = hessian(full, flat(model), penalty_of(X))
    error = statistical_error(full, y, flat(model), curvature)
    squared = []
    for position in range(n_models):
        change = flat(publisher.publish()) - flat(model)
        squared.append(change @ curvature @ change)
        model.unlearn(position=position)
    expected = NOISE**2 * np.trace(curvature)
    one, thousand = noise_of_certified_removal(X, y) / error
    return [
        f"{publisher.statement_.cap:.1e}", f"{error:.1f}", f"{expected / error:.1e}",
        f"{np.mean(squared) / error:.1e}", f"{one:.1e}", f"{thousand:.1e}",
    ]  # fmt: skip


# Time ---------------------------------------------------------------------------------


def times(X, y, curvature, n_removed, repeat):
    """Largest number of passes of a publication, and its time in fits."""
    model = DeltaGradLogisticRegression(curvature=curvature).fit(X, y)
    order = np.random.default_rng(0).permutation(len(y))
    publisher = publisher_of(model, NOISE)
    publisher.publish()
    passes, hessians, ratios, milliseconds = [], [], [], []
    for turn in range(repeat + 1):
        removed, order = order[:n_removed], order[n_removed:]
        model.unlearn(position=removed)
        seconds = timed(publisher.publish).processor
        report = model.update_report_
        fresh = DeltaGradLogisticRegression(curvature=curvature)
        fit = timed(fresh.fit, X[order], y[order]).processor
        if turn > 0:  # the first one compiles
            passes.append(report.n_passes)
            hessians.append(report.n_hessians)
            ratios.append(seconds / fit)
            milliseconds.append(1e3 * seconds)
    return [
        f"{n_removed:,}", f"{np.median(passes):g}, {max(passes):g}",
        f"{max(hessians):g}", f"{np.median(milliseconds):.0f}",
        f"{np.median(ratios):.2f}",
    ]  # fmt: skip


# Two models ---------------------------------------------------------------------------


def is_reconstructed(gradient, row, centre):
    if gradient[-1] == 0.0:  # the row has no influence at all
        return False
    guess = gradient[:-1] / gradient[-1]
    return cosine(guess - centre, row - centre) > 0.9


def without_row(curvature, row, coefficients):
    """The Hessian of the other rows; `row` ends with a one."""
    probability = expit(row @ coefficients)
    return curvature - probability * (1.0 - probability) * np.outer(row, row)


def reconstructed(X, y, noise, n_rows):
    """Fraction of rows that an observer of both models reconstructs."""
    model = DeltaGradLogisticRegression().fit(X, y)
    publish = model.refine(distance=1e-6).to_sklearn
    if noise > 0.0:
        publish = publisher_of(model, noise, 2 * n_rows).publish
    full, centre = with_ones(X), X.mean(axis=0)
    curvature = hessian(full, flat(model), penalty_of(X))
    found = []
    for row in np.random.default_rng(1).permutation(len(y))[:n_rows]:
        before = publish()
        model.unlearn(position=row)
        change = flat(publish()) - flat(before)
        gradient = without_row(curvature, full[row], flat(model)) @ change
        found.append(is_reconstructed(gradient, X[row], centre))
        model.partial_refit(X[[row]], y[[row]])
    return np.mean(found)


MUS = (1, 2, 5, 10, 20, 50, 100)


def reconstructed_by_mu(X, y, n_rows):
    """The same, with noise that gives each row the same mu; for each of `MUS`."""
    model = DeltaGradLogisticRegression().fit(X, y)
    coefficients, full, centre = flat(model), with_ones(X), X.mean(axis=0)
    curvature = hessian(full, coefficients, penalty_of(X))
    left = leave_one_out(model, return_coef=True)
    without = np.column_stack([left.coef.reshape(len(y), -1), left.intercept.ravel()])
    rng = np.random.default_rng(1)
    rows = rng.permutation(len(y))[:n_rows]
    found = np.zeros((len(MUS), len(rows)))
    for place, row in enumerate(rows):
        change = without[row] - coefficients
        known = without_row(curvature, full[row], coefficients)
        for number, mu in enumerate(MUS):
            deviation = np.linalg.norm(change) / mu
            both = deviation * rng.standard_normal((2, len(change)))
            gradient = known @ (change + both[1] - both[0])
            found[number, place] = is_reconstructed(gradient, X[row], centre)
    return [f"{fraction:.1%}" for fraction in found.mean(axis=1)]


def two_models(X, y, n_rows):
    model = DeltaGradLogisticRegression().fit(X, y)
    profile = privacy_profile(model, 1.0)
    hiding = float(np.quantile(profile.distance, 0.99))
    rng, full = np.random.default_rng(2), with_ones(X)
    right = [
        np.mean((full @ (flat(model) + hiding * z) > 0) == (y == 1))
        for z in rng.standard_normal((100, full.shape[1]))
    ]
    fractions = [reconstructed(X, y, noise, n_rows) for noise in (0.0, NOISE, hiding)]
    loss = 100 * (model.score(X, y) - np.mean(right))
    curvature = hessian(full, flat(model), penalty_of(X))
    error = statistical_error(full, y, flat(model), curvature)
    of_noise = hiding**2 * np.trace(curvature)
    return [
        *(f"{fraction:.1%}" for fraction in fractions), f"{hiding:.1e}",
        f"{of_noise / error:.2g}", f"{loss:.2f} points",
    ]  # fmt: skip


def small_sets():
    """Data that come with scikit-learn, standardised, with two classes."""
    X, y = datasets.load_breast_cancer(return_X_y=True)
    digits, digit = datasets.load_digits(return_X_y=True)
    digits = digits[:, digits.std(axis=0) > 0]
    return {
        "breast_cancer": (_data.standardised(X), y),
        "digits, odd or even": (_data.standardised(digits), digit % 2),
    }


TABLES = {
    "rounding": ["data", "smallest distance", "noise that hides it"],
    "accuracy": [
        "data", "cap", "statistical error", "noise, expected", "noise, measured",
        "Guo, one row", "Guo, 1,000 rows",
    ],
    "time": [
        "data", "curvature", "rows removed", "passes: median, most", "Hessians",
        "publish(), ms", "of a fit",
    ],
    "two models": [
        "data", "exact", f"noise {NOISE:g}", "noise for mu = 1", "that noise",
        "over the statistical error", "accuracy lost",
    ],
    "mu": ["data", *(f"mu = {mu}" for mu in MUS)],
}  # fmt: skip


def rows_of(table, X, y, options):
    """Yield the rows of a table about a data set, without its name."""
    if table == "accuracy":
        yield accuracy(X, y, options.rows)
    elif table == "two models":
        yield two_models(X, y, options.rows)
    elif table == "mu":
        yield reconstructed_by_mu(X, y, 10 * options.rows)
    else:
        for kind in ("exact", "diagonal"):
            for n_removed in (1, len(y) // 1000, len(y) // 100):
                yield [kind, *times(X, y, kind, n_removed, options.repeat)]


def main():
    command = parser(__doc__, data=True, only=TABLES)
    command.add_argument("--repeat", type=int, default=15)
    command.add_argument("--rows", type=int, default=300)
    options = command.parse_args()
    folder = options.data_dir
    if "rounding" in options.only:
        print_head(TABLES["rounding"])
        for name, (load, model) in experiments(folder).items():
            print_row([name, *rounding(*load(), model)])
        print()
    large = {"a9a": _data.a9a(folder), "HIGGS": _data.higgs(folder)}
    for table in ("accuracy", "time", "two models", "mu"):
        if table in options.only:
            print_head(TABLES[table])
            small = small_sets() if table in ("two models", "mu") else {}
            for name, (X, y) in {**small, **large}.items():
                for figures in rows_of(table, X, y, options):
                    print_row([name, *figures])
            print()


if __name__ == "__main__":
    main()
