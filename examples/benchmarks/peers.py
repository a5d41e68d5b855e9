"""The default solver against scikit-learn: fit, and edits after it.

    python examples/benchmarks/peers.py --data-dir DIR --out peers-results

Times are medians within one process; opponents alternate. Opponents of `fit` are
scikit-learn's solvers, each with the loosest `tol` (a power of ten) that reaches the
given gap of the objective. Opponents of an edit are the same solvers, warm-started from
the old solution or started from zero, each with the loosest `tol` that comes within
1e-2 of the exact optimum, relative to the distance that the edit moves it. They are
given the remaining rows; the time to copy these is not counted. The exact optimum is
that of scikit-learn with the smallest `tol` it reaches.

Results are a JSON file for each data set and Markdown tables of all JSON files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import _data
import numpy as np
from _command import Results, environment, parser
from _internals import leverages
from _peers_tables import markdown
from _timing import timed
from scipy import sparse
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression, Ridge

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

TOLS = 10.0 ** -np.arange(3, 12)
EDIT_TOL = 1e-2
# An opponent that took this many times as long as ours is not tried with a smaller tol.
HOPELESS = 15.0


@dataclass(frozen=True)
class Experiment:
    """A data set, and the solvers of scikit-learn that are tried on it.

    `polish` is the solver that computes the exact optimum.
    """

    name: str
    load: Callable
    C: float = 1.0
    solvers: tuple = ("lbfgs", "newton-cholesky", "newton-cg")
    polish: str = "newton-cholesky"
    is_ridge: bool = False


def experiments(folder):
    """The data sets; `folder` holds them."""
    big = ("lbfgs", "newton-cg")
    return [
        Experiment("a9a", lambda: _data.a9a(folder)),
        Experiment(
            "covtype binary", lambda: _data.covtype_standardised(folder, True)
        ),
        Experiment("higgs 1M", lambda: _data.higgs(folder, 1_000_000)),
        Experiment("mnist odd/even", lambda: _odd(*_data.mnist(folder))),
        Experiment("covtype 7 classes", lambda: _data.covtype_standardised(folder)),
        Experiment(
            "mnist 10 classes", lambda: _data.mnist(folder), 1 / 60, big, "lbfgs"
        ),
        Experiment(
            "news20", lambda: _data.news20(folder, False), 1.0, big, "lbfgs"
        ),
        Experiment("california", lambda: _data.california(folder), is_ridge=True,
                   solvers=("cholesky", "lsqr", "svd"), polish="svd"),
        Experiment("blogfeedback", lambda: _data.blogfeedback(folder), is_ridge=True,
                   solvers=("cholesky", "lsqr", "svd"), polish="svd"),
        Experiment("synthetic 1M x 100", _synthetic, is_ridge=True,
                   solvers=("cholesky", "lsqr"), polish="cholesky"),
    ]  # fmt: skip


def _odd(X, y):
    return X, y % 2


def _synthetic():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1_000_000, 100))
    return X, X @ rng.standard_normal(100) + rng.standard_normal(len(X))


def flat(model):
    """All coefficients of a fitted model."""
    return np.concatenate([np.ravel(model.coef_), np.ravel(model.intercept_)])


def objective(model, X, y, C):
    """The function that both sides minimise."""
    raw = np.asarray(X @ model.coef_.T + model.intercept_)
    if raw.shape[1] == 1:
        raw = np.hstack([np.zeros_like(raw), raw])
    codes = np.searchsorted(model.classes_, y)
    loss = logsumexp(raw, axis=1) - raw[np.arange(len(y)), codes]
    return loss.sum() + np.sum(model.coef_**2) / (2 * C)


def newton_step(model, X, y, C):
    """All coefficients after one Newton step from a fitted model of two classes.

    The ten lines that one would write by hand: the exact gradient and Hessian of all
    given rows at the old solution.
    """
    d = X.shape[1]
    probability = model.predict_proba(X)[:, 1]
    residual = probability - (y == model.classes_[1])
    curvature = probability * (1.0 - probability)
    weighted = X * curvature[:, np.newaxis]
    H = np.empty((d + 1, d + 1))
    H[:d, :d] = X.T @ weighted + np.eye(d) / C
    H[:d, d] = H[d, :d] = weighted.sum(axis=0)
    H[d, d] = curvature.sum()
    gradient = np.append(X.T @ residual + model.coef_[0] / C, residual.sum())
    return flat(model) - np.linalg.solve(H, gradient)


class Study:
    """One data set, our model of it as it is edited, and its opponents."""

    def __init__(self, experiment, n_draws):
        self.experiment = experiment
        self.n_draws = n_draws
        self.X, self.y = experiment.load()
        self.live = np.arange(self.X.shape[0])
        self.rng = np.random.default_rng(1)

    def ours(self):
        """Our estimator, not fitted."""
        if self.experiment.is_ridge:
            return DeltaGradRidge()
        return DeltaGradLogisticRegression(self.experiment.C)

    def theirs(self, solver, tol):
        """scikit-learn's estimator, not fitted."""
        if self.experiment.is_ridge:
            return Ridge(solver=solver, tol=tol)
        C = self.experiment.C
        return LogisticRegression(C=C, solver=solver, tol=tol, max_iter=20_000)

    def polished(self, X, y, start=None):
        """The exact optimum, as nearly as scikit-learn reaches it."""
        model = self.theirs(self.experiment.polish, 1e-13)
        if self.experiment.polish == "lbfgs":
            model.set_params(tol=1e-9)
        return timed(self.warm(model, start).fit, X, y).result

    def warm(self, model, start):
        """The same estimator, started from another model if there is one."""
        if start is None or self.experiment.is_ridge:
            return model
        model.set_params(warm_start=True)
        for name in ("coef_", "intercept_", "classes_"):
            setattr(model, name, np.array(getattr(start, name)))
        return model

    # Fit.

    def fit(self):
        """Time of both sides' fits at the same objective gap."""
        X, y = self.X, self.y
        exact = self.polished(X, y)
        self.ours().fit(X[:2000], y[:2000])  # compiles the kernels
        seconds = []
        for _ in range(self.n_draws):
            fit = timed(self.ours().fit, X, y)
            self.model = fit.result
            seconds.append(fit.wall)
        report = self.model.update_report_
        distance = np.linalg.norm(flat(self.model) - flat(exact))
        result = {
            "seconds": float(np.median(seconds)),
            "passes": report.n_passes,
            "hessians": report.n_hessians,
            "curvature": report.curvature,
            "cache_bytes": report.cache_bytes,
            "distance": float(distance / np.linalg.norm(flat(exact))),
        }
        if self.experiment.is_ridge:
            by_solver = {
                solver: timed(self.theirs(solver, 1e-10).fit, X, y).wall
                for solver in self.experiment.solvers
            }
            return result | {"theirs": {"tight": by_solver}}
        lowest = min(objective(m, X, y, self.experiment.C) for m in (exact, self.model))
        gap = objective(self.model, X, y, self.experiment.C) / lowest - 1.0
        theirs = {"1e-4": {}, "1e-8": {}}
        for solver in self.experiment.solvers:
            for tol in TOLS:
                spent, _, model = timed(self.theirs(solver, tol).fit, X, y)
                found = objective(model, X, y, self.experiment.C) / lowest - 1.0
                for name, by_solver in theirs.items():
                    if found <= float(name) and solver not in by_solver:
                        again = timed(self.theirs(solver, tol).fit, X, y).wall
                        by_solver[solver] = min(spent, again)
                if solver in theirs["1e-8"] or spent > HOPELESS * result["seconds"]:
                    break
        return result | {"gap": float(gap), "theirs": theirs}

    # Edits.

    def first_edit(self):
        """The edit that computes the Hessian for later ones."""
        seconds = self.remove(self.pick(1))
        report = self.model.update_report_
        return {"seconds": seconds, "hessians": report.n_hessians}

    def pick(self, n_rows):
        """Random rows of the current training rows."""
        return self.rng.choice(self.live, n_rows, replace=False)

    def worst(self, n_rows):
        """The rows of largest leverage; of largest norm if no leverages are kept."""
        size = leverages(self.model, self.live)
        if size is None:
            X = self.X[self.live]
            square = X.multiply(X) if sparse.issparse(X) else X**2
            size = np.asarray(square.sum(axis=1)).ravel()
        return self.live[np.argsort(size)[-n_rows:]]

    def remove(self, rows):
        """Seconds to unlearn rows."""
        seconds = timed(self.model.unlearn, position=rows).wall
        self.live = np.setdiff1d(self.live, rows)
        return seconds

    def edits(self, choose, n_rows, n_edits):
        """Edits of one kind; the last one is compared with scikit-learn."""
        seconds, passes = [], []
        for _ in range(n_edits):
            before = self.model.to_sklearn()
            seconds.append(self.remove(choose(n_rows)))
            passes.append(self.model.update_report_.n_passes)
        report = self.model.update_report_
        X, y = self.X[self.live], self.y[self.live]
        exact = self.polished(X, y, self.model.to_sklearn())
        moved = np.linalg.norm(flat(before) - flat(exact))
        result = {
            "n_rows": n_rows,
            "seconds": float(np.median(seconds)),
            "passes": float(np.median(passes)),
            "relative_bound": report.relative_bound,
            "refit": report.refit,
            "error": float(np.linalg.norm(flat(self.model) - flat(exact)) / moved),
            "warm": {},
            "cold": {},
        }
        for solver in self.experiment.solvers:
            if not self.experiment.is_ridge:
                spent = self._refit(solver, before, exact, moved, X, y, seconds)
                if spent is not None:
                    result["warm"][solver] = spent
        fastest = self.experiment.solvers
        if result["warm"]:
            fastest = [min(result["warm"], key=result["warm"].get)]
        for solver in fastest:
            spent = self._refit(solver, None, exact, moved, X, y, seconds)
            if spent is not None:
                result["cold"][solver] = spent
        result["newton_step"] = self.newton_step(before, exact, moved, X, y)
        return result

    def _refit(self, solver, start, exact, moved, X, y, ours):
        """Seconds of the refit with the loosest sufficient `tol`; None if none is."""
        for tol in TOLS:
            model = self.warm(self.theirs(solver, tol), start)
            spent, _, model = timed(model.fit, X, y)
            if np.linalg.norm(flat(model) - flat(exact)) <= EDIT_TOL * moved:
                again = self.warm(self.theirs(solver, tol), start)
                return min(spent, timed(again.fit, X, y).wall)
            if spent > HOPELESS * max(np.median(ours), 0.1):
                break
        return None

    def newton_step(self, before, exact, moved, X, y):
        """One plain Newton step from the old solution: seconds and error."""
        if self.experiment.is_ridge or before.coef_.shape[0] > 1:
            return None
        if X.shape[1] > 3000:
            return None
        step = timed(newton_step, before, X, y, self.experiment.C)
        error = np.linalg.norm(step.result - flat(exact)) / moved
        return {"seconds": step.wall, "error": float(error)}

    def sequence(self, n_edits):
        """Single rows one after the other: times, and errors in between."""
        seconds, passes, errors = [], 0.0, []
        before = self.model.to_sklearn()
        checks = np.linspace(0, n_edits, max(1, n_edits // 250) + 1).astype(int)[1:]
        for number, row in enumerate(self.pick(n_edits), 1):
            seconds.append(timed(self.model.unlearn, position=row).wall)
            passes += self.model.update_report_.n_passes
            self.live = self.live[self.live != row]
            if number in checks:
                X, y = self.X[self.live], self.y[self.live]
                exact = self.polished(X, y, self.model.to_sklearn())
                moved = np.linalg.norm(flat(before) - flat(exact))
                error = np.linalg.norm(flat(self.model) - flat(exact)) / moved
                errors.append(float(error))
        return {
            "n_edits": n_edits,
            "seconds": float(np.median(seconds)),
            "mean_seconds": float(np.mean(seconds)),
            "passes": passes,
            "error": max(errors),
        }


def run(experiment, n_draws, n_sequence):
    """All measurements of one data set."""
    study = Study(experiment, n_draws)
    n_samples = study.X.shape[0]
    result = {
        "name": experiment.name,
        "n_samples": n_samples,
        "n_features": study.X.shape[1],
        "fit": study.fit(),
        "first_edit": study.first_edit(),
    }
    result["cache_bytes"] = study.model.update_report_.cache_bytes
    permille, percent = n_samples // 1000, n_samples // 100
    result["edits"] = {
        "1": study.edits(study.pick, 1, 9),
        "0.1%": study.edits(study.pick, permille, 3),
        "1%": study.edits(study.pick, percent, 3),
        "worst 1": study.edits(study.worst, 1, 3),
        "worst 0.1%": study.edits(study.worst, permille, 1),
    }
    result["sequence"] = study.sequence(n_sequence)
    return result


def growth():
    """Median seconds to remove one row from more and more rows of 20 columns."""
    rng = np.random.default_rng(2)
    result = {}
    for n_samples in (100_000, 1_000_000, 10_000_000):
        X = rng.standard_normal((n_samples, 20))
        y = (X[:, 0] + rng.logistic(size=n_samples) > 0).astype(int)
        model = DeltaGradLogisticRegression().fit(X, y)
        del X
        model.unlearn(position=0)
        seconds = [timed(model.unlearn, position=row).wall for row in range(1, 30)]
        result[f"{n_samples:,}"] = float(np.median(seconds))
    return result


def ridge_edits(mean, condition, n_edits=10_000):
    """Error of Ridge after replacements of single rows, against a solution by SVD."""
    rng = np.random.default_rng(3)
    n_samples, n_features = 3_000, 20
    scale = np.geomspace(1.0, condition**-0.5, n_features)
    rotation, _ = np.linalg.qr(rng.standard_normal((n_features, n_features)))

    def draw(n_rows):
        X = rng.standard_normal((n_rows, n_features)) * scale @ rotation
        return X, X.sum(axis=1) + rng.standard_normal(n_rows)

    (X, y), (X_new, y_new) = draw(n_samples), draw(n_edits)
    alpha = 1e-3 * scale[-1] ** 2
    model = DeltaGradRidge(alpha).fit(X + mean, y)
    passes = 0.0
    for number in range(n_edits):
        row = number % n_samples
        X[row], y[row] = X_new[number], y_new[number]
        model.partial_refit(X[[row]] + mean, y[[row]], position=row, replace=True)
        passes += model.update_report_.n_passes
    # Both get the rows as they are after rounding X + mean.
    rows = (X + mean) - mean
    exact = Ridge(alpha, solver="svd").fit(rows, y).coef_
    error = np.linalg.norm(model.coef_ - exact) / np.linalg.norm(exact)
    return {"mean": mean, "condition": condition, "error": error, "passes": passes}


def replay(experiment, n_steps=100):
    """The same edit by the default solver and by a replay of solver="gd"."""
    X, y = experiment.load()
    newton = DeltaGradLogisticRegression(experiment.C).fit(X, y)
    gd = DeltaGradLogisticRegression(
        experiment.C, solver="gd", max_iter=n_steps, burn_in=10, period=5
    ).fit(X, y)
    live = np.arange(X.shape[0])
    rng = np.random.default_rng(4)
    for _ in range(2):  # the first edit computes the Hessian and compiles
        before = newton.to_sklearn()
        rows = rng.choice(live, X.shape[0] // 1000, replace=False)
        live = np.setdiff1d(live, rows)
        ours = timed(newton.unlearn, position=rows).wall
        theirs = timed(gd.unlearn, position=rows).wall
    exact = LogisticRegression(C=experiment.C, solver=experiment.polish, tol=1e-12)
    exact = timed(exact.fit, X[live], y[live]).result
    moved = np.linalg.norm(flat(before) - flat(exact))
    return {
        "name": experiment.name,
        "newton": ours,
        "gd": theirs,
        "newton_error": float(np.linalg.norm(flat(newton) - flat(exact)) / moved),
        "gd_error": float(np.linalg.norm(flat(gd) - flat(exact)) / moved),
    }


def main():
    names = [experiment.name for experiment in experiments(None)]
    command = parser(__doc__, data=True, out="peers-results", only=names)
    command.add_argument("--draws", type=int, default=5, help="fits, for their median")
    command.add_argument(
        "--sequence", type=int, default=1000, help="number of single rows"
    )
    command.add_argument("--more", action="store_true", help="growth, replay, Ridge")
    options = command.parse_args()
    results, table = Results(options.out), experiments(options.data_dir)
    for experiment in table:
        if experiment.name in options.only:
            started = perf_counter()
            result = run(experiment, options.draws, options.sequence)
            results.write(experiment.name, result | {"environment": environment()})
            print(f"{experiment.name}: {perf_counter() - started:.0f} s", flush=True)
    if options.more:
        conditions = [(0.0, 1.0), (1e6, 1.0), (0.0, 1e6), (0.0, 1e10)]
        more = {
            "growth": growth(),
            "replay": [replay(experiment) for experiment in table[:3]],
            "ridge": [ridge_edits(*condition) for condition in conditions],
        }
        results.write("more", more)
    more = results.read(["more"]).get("more", {})
    text = markdown(list(results.read(names).values()), more)
    results.write_markdown("peers", text)


if __name__ == "__main__":
    main()
