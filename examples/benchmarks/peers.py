"""The default solver against scikit-learn: fit, the first edit, and edits after it.

    python examples/benchmarks/peers.py --data-dir DIR --out peers-results

Times are medians within one process; opponents alternate. Opponents of `fit` are
scikit-learn's solvers, each with the loosest `tol` (a power of ten) that reaches the
given gap of the objective. Opponents of an edit are described in `_opponents`. They
are given the remaining rows; the time to copy these is not counted.

The first edit is measured after a fit and after a dump is loaded, each time with
another row. A working day is: load a dump, remove 20 single rows, purge, and save;
scikit-learn's is 20 warm-started refits with the solver and the `tol` that were the
fastest for one row, and a dump.

Results are a JSON file for each data set and Markdown tables of all JSON files.
"""

import tempfile
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np
from _command import Results, environment, parser
from _internals import leverages
from _opponents import (
    Edited,
    by_solver,
    experiments,
    flat,
    newton_step,
    objective,
)
from _peers_tables import markdown
from _timing import timed
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

GAPS = ("1e-8", "1e-4")
N_FIRST, N_DAY = 5, 20


class Study:
    """One data set, our model of it as it is edited, and its opponents."""

    def __init__(self, experiment, n_draws):
        self.experiment = experiment
        self.n_draws = n_draws
        self.X, self.y = experiment.load()
        self.live = np.arange(self.X.shape[0])
        self.rng = np.random.default_rng(1)

    # Fits and first edits.

    def fit(self):
        """Time of both sides' fits at the same objective gap, and of a first edit."""
        X, y, experiment = self.X, self.y, self.experiment
        exact = experiment.polished(X, y)
        # This compiles the kernels.
        experiment.ours().fit(X[:2000], y[:2000]).unlearn(position=0)
        seconds, first = [], []
        for row in self.pick(self.n_draws):
            fit = timed(experiment.ours().fit, X, y)
            self.model = fit.result
            report = self.model.update_report_
            seconds.append(fit.wall)
            first.append(timed(self.model.unlearn, position=row).wall)
            self.live = np.delete(np.arange(len(y)), row)
        distance = np.linalg.norm(flat(self.model) - flat(exact))
        result = {
            "seconds": float(np.median(seconds)),
            "with_first_edit": float(np.median(np.add(seconds, first))),
            "first_edit": float(np.median(first)),
            "passes": report.n_passes,
            "hessians": report.n_hessians,
            "curvature": report.curvature,
            "cache_bytes": report.cache_bytes,
            "distance": float(distance / np.linalg.norm(flat(exact))),
        }
        if experiment.is_ridge:
            theirs = {
                solver: timed(experiment.theirs(solver, 1e-10).fit, X, y).wall
                for solver in experiment.solvers
            }
            return result | {"theirs": {"tight": theirs}}
        lowest = min(objective(m, X, y, experiment.C) for m in (exact, self.model))
        gap = objective(fit.result, X, y, experiment.C) / lowest - 1.0
        theirs = experiment.fits(X, y, result["seconds"], lowest, GAPS)
        return result | {"gap": float(gap), "theirs": theirs}

    def first_edit(self, folder):
        """First edits after a dump is loaded, and the working day from there.

        The row of the last edit, which is compared with scikit-learn, has the median
        influence of the rows that were tried.
        """
        file = Path(folder) / "ours.joblib"
        self.model.save(file)
        before = self.model.to_sklearn()
        rows = self.pick(N_FIRST)
        seconds, moved = [], []
        for row in rows:
            model = joblib.load(file)
            seconds.append(timed(model.unlearn, position=row).wall)
            moved.append(np.linalg.norm(flat(model) - flat(before)))
        row = rows[np.argsort(moved)[len(rows) // 2]]
        self.model = joblib.load(file)
        again = self.remove(row)
        report = self.model.update_report_
        result = self._compared(before, [*seconds, again])
        result |= {"passes": report.n_passes, "hessians": report.n_hessians}
        return result | {"day": self.day(file, result)}

    def day(self, file, first):
        """Seconds of a working day, ours and theirs; None where no refit suffices."""
        if not (refits := first["warm"] or first["cold"]):
            return None
        solver = min(refits, key=refits.get)
        tol = first["tol"][solver]
        X, y, experiment = self.X, self.y, self.experiment
        rows = self.pick(N_DAY)
        started = perf_counter()
        model = joblib.load(file)
        for row in rows:
            model.unlearn(position=row)
        model.save(file)  # purges
        ours = perf_counter() - started
        theirs, live = 0.0, self.live
        refit = self.model.to_sklearn()
        for row in rows:
            live = live[live != row]
            some_X, some_y = X[live], y[live]
            refit = experiment.theirs(solver, tol, refit)
            spent, _, refit = timed(refit.fit, some_X, some_y)
            theirs += spent
        theirs += timed(joblib.dump, refit, file.with_name("theirs.joblib")).wall
        return {"ours": ours, "theirs": theirs, "solver": solver}

    # Edits.

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
        result = self._compared(before, seconds)
        return result | {"n_rows": n_rows, "passes": float(np.median(passes))}

    def _compared(self, before, seconds):
        """The last edit beside scikit-learn's refits. `seconds` are ours."""
        report = self.model.update_report_
        X, y = self.X[self.live], self.y[self.live]
        exact = self.experiment.polished(X, y, self.model.to_sklearn())
        edit = Edited(before, exact, X, y)
        ours = float(np.median(seconds))
        warm, cold = self.experiment.refits(edit, ours)
        return {
            "seconds": ours,
            "relative_bound": report.relative_bound,
            "refit": report.refit,
            "error": edit.error(flat(self.model)),
            "warm": by_solver(warm),
            "cold": by_solver(cold),
            "tol": {refit.solver: refit.tol for refit in [*cold, *warm]},
            "newton_step": self.newton_step(edit),
        }

    def newton_step(self, edit):
        """One plain Newton step from the old solution: seconds and error."""
        if self.experiment.is_ridge or edit.before.coef_.shape[0] > 1:
            return None
        if sparse.issparse(edit.X) or edit.X.shape[1] > 3000:
            return None
        step = timed(newton_step, edit.before, edit.X, edit.y, self.experiment.C)
        return {"seconds": step.wall, "error": edit.error(step.result)}

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
                exact = self.experiment.polished(X, y, self.model.to_sklearn())
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
    }
    with tempfile.TemporaryDirectory() as folder:
        result["first_edit"] = study.first_edit(folder)
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
