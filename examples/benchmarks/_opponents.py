"""scikit-learn's solvers as opponents: what they are, and how fast they could be.

An opponent of an edit gets the remaining rows, started from zero or from the old
solution, with the loosest `tol` (a power of ten) that comes within 1e-2 of the exact
optimum, relative to the distance that the edit moves it. The exact optimum is that of
scikit-learn with the smallest `tol` it reaches.
"""

from collections.abc import Callable
from dataclasses import dataclass

import _data
import numpy as np
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
    """A data set, our estimator, and the solvers of scikit-learn that are tried on it.

    `polish` is the solver that computes the exact optimum.
    """

    name: str
    load: Callable
    C: float = 1.0
    solvers: tuple = ("lbfgs", "newton-cholesky", "newton-cg")
    polish: str = "newton-cholesky"
    is_ridge: bool = False

    def ours(self):
        """Our estimator, not fitted."""
        return (
            DeltaGradRidge() if self.is_ridge else DeltaGradLogisticRegression(self.C)
        )

    def theirs(self, solver, tol, start=None):
        """scikit-learn's estimator, not fitted; warm-started from a model if given."""
        if self.is_ridge:
            return Ridge(solver=solver, tol=tol)
        model = LogisticRegression(C=self.C, solver=solver, tol=tol, max_iter=20_000)
        if start is not None:
            model.set_params(warm_start=True)
            for name in ("coef_", "intercept_", "classes_"):
                setattr(model, name, np.array(getattr(start, name)))
        return model

    def polished(self, X, y, start=None):
        """The exact optimum, as nearly as scikit-learn reaches it."""
        tol = 1e-9 if self.polish == "lbfgs" else 1e-13
        return timed(self.theirs(self.polish, tol, start).fit, X, y).result

    def fits(self, X, y, ours, lowest, gaps):
        """Seconds of fits by gap of the objective and solver: {gap: {solver: seconds}}.

        `ours` are the seconds of our own fit, and `lowest` is the lowest known value of
        the objective.
        """
        theirs = {gap: {} for gap in gaps}
        for solver in self.solvers:
            for tol in TOLS:
                spent, _, model = timed(self.theirs(solver, tol).fit, X, y)
                found = objective(model, X, y, self.C) / lowest - 1.0
                for gap, by_solver in theirs.items():
                    if found <= float(gap) and solver not in by_solver:
                        again = timed(self.theirs(solver, tol).fit, X, y).wall
                        by_solver[solver] = min(spent, again)
                if all(solver in by_solver for by_solver in theirs.values()):
                    break
                if spent > HOPELESS * ours:
                    break
        return theirs

    def refits(self, edit, ours):
        """The fastest sufficient refits after an `Edited`, as lists of `Refit`.

        Returns
        -------
        warm : list of Refit
            Of each solver that can be started from the old solution.
        cold : list of Refit
            Of the solver that was the fastest warm; of each solver if there is none.
        """
        warm = []
        if not self.is_ridge:
            warm = [self._refit(solver, edit.before, edit, ours)
                    for solver in self.solvers]  # fmt: skip
        warm = [refit for refit in warm if refit is not None]
        solvers = [fastest(warm).solver] if warm else self.solvers
        cold = [self._refit(solver, None, edit, ours) for solver in solvers]
        return warm, [refit for refit in cold if refit is not None]

    def _refit(self, solver, start, edit, ours):
        """The refit with the loosest sufficient `tol`, or None."""
        for tol in TOLS:
            spent, _, model = timed(self.theirs(solver, tol, start).fit, edit.X, edit.y)
            if edit.error(flat(model)) <= EDIT_TOL:
                again = self.theirs(solver, tol, start)
                again = timed(again.fit, edit.X, edit.y).wall
                return Refit(solver, tol, min(spent, again))
            if spent > HOPELESS * max(ours, 0.1):
                break
        return None


@dataclass(frozen=True)
class Refit:
    """A refit that is near enough to the exact optimum, and its seconds."""

    solver: str
    tol: float
    seconds: float


@dataclass(frozen=True)
class Edited:
    """An edit, as opponents see it.

    Attributes
    ----------
    before, exact : fitted estimators of scikit-learn
        The old solution, and the optimum of the remaining rows.
    X, y : arrays
        The remaining rows.
    """

    before: object
    exact: object
    X: object
    y: np.ndarray

    def error(self, coefficients):
        """Distance to the exact optimum, relative to that from the old solution."""
        exact = flat(self.exact)
        moved = np.linalg.norm(flat(self.before) - exact)
        return float(np.linalg.norm(coefficients - exact) / moved)


def fastest(refits):
    """The fastest refit."""
    return min(refits, key=lambda refit: refit.seconds)


def by_solver(refits):
    """Seconds by solver."""
    return {refit.solver: refit.seconds for refit in refits}


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
        Experiment("heavy tails 494k x 36", _heavy_tails),
        Experiment("narrow 490k x 9", _narrow),
        Experiment("sparse 50k x 300", _sparse),
        Experiment("california", lambda: _data.california(folder), is_ridge=True,
                   solvers=("cholesky", "lsqr", "svd"), polish="svd"),
        Experiment("blogfeedback", lambda: _data.blogfeedback(folder), is_ridge=True,
                   solvers=("cholesky", "lsqr", "svd"), polish="svd"),
        Experiment("synthetic 1M x 100", _synthetic, is_ridge=True,
                   solvers=("cholesky", "lsqr"), polish="cholesky"),
    ]  # fmt: skip


def _odd(X, y):
    return X, y % 2


def _heavy_tails():
    """Columns that are Student's t with three degrees of freedom; 60:40 classes."""
    rng = np.random.default_rng(11)
    X = rng.standard_t(3, (494_000, 36))
    raw = X @ rng.standard_normal(36) / 8.0 - 0.5
    return X, (raw + rng.logistic(size=len(X)) > 0).astype(int)


def _narrow():
    rng = np.random.default_rng(12)
    X = rng.standard_normal((490_000, 9)) @ rng.standard_normal((9, 9))
    raw = X @ rng.standard_normal(9) / 3.0 + 0.3
    return X, (raw + rng.logistic(size=len(X)) > 0).astype(int)


def _sparse():
    """Positive entries, about 30 in a row, of columns that are more and less common."""
    rng = np.random.default_rng(13)
    common = np.minimum(1.0, 12.0 / np.arange(1.0, 301.0))
    X = sparse.csr_matrix(rng.random((50_000, 300)) < common, dtype=float)
    X.data = rng.gamma(2.0, 0.5, X.nnz)
    raw = X @ rng.standard_normal(300) / 2.0
    raw -= np.median(raw)
    return X, (raw + rng.logistic(size=X.shape[0]) > 0).astype(int)


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
