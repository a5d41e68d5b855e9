"""Random sequences of edits that are hard on rounding, and the optimum after them.

The optimum is computed from a table of rows that is kept beside the estimator, by
Newton's method with gradients in extended precision. Nothing of the package's own
arithmetic is used, not even where it centres columns.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
from oracles import class_weights
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)

_MOST_STEPS = 200
STORAGES = {
    "float64": np.asarray,
    "float32": lambda X: X.astype(np.float32),
    "sparse": sparse.csr_array,
    "sparse float32": lambda X: sparse.csr_array(X.astype(np.float32)),
}
KINDS = ("binomial", "multinomial", "ridge", "poisson")
CURVATURES = ("exact", "subset", "kronecker", "diagonal")


# The exact optimum.


class Optimum:
    """Where published coefficients should be.

    Parameters
    ----------
    model : estimator
        Its parameters are read; and its coefficients, to begin the steps there.
    X, y, weight : ndarray
        The current training rows.

    Attributes
    ----------
    coefficients : ndarray of shape (n_outputs, n_dof), dtype longdouble
        With the intercept last.
    error : ndarray of the same shape
        The last step that the method made: it is at least about the error.
    """

    def __init__(self, model, X, y, weight):
        self.model, X = model, np.asarray(X, np.longdouble)
        weight = np.asarray(weight, np.longdouble)
        self.mean = weight @ X / weight.sum()
        variance = np.ones(X.shape[1])
        if model.standardize:
            variance = weight @ (X - self.mean) ** 2 / weight.sum()
            is_constant = np.ptp(X[weight > 0], axis=0) == 0
            variance = np.where(is_constant, 1.0, variance)
        self.Z = X
        if model.fit_intercept:
            self.Z = np.column_stack([X - self.mean, np.ones(len(X))])
        self.targets, self.weight = self._targets(y, weight)
        alpha = 1.0 / model.C if is_classifier(model) else model.alpha
        alpha = np.broadcast_to(np.asarray(alpha, np.longdouble), self.n_outputs)
        self.penalty = np.zeros((self.n_outputs, self.Z.shape[1]), np.longdouble)
        self.penalty[:, : X.shape[1]] = alpha[:, np.newaxis] * variance
        w, step = self._by_newton(self._centred(published(model)))
        self.coefficients, self.error = (
            self._published(w),
            np.abs(self._published(step)),
        )

    def _targets(self, y, weight):
        if not is_classifier(self.model):
            self.kind = "squared"
            if isinstance(self.model, DeltaGradPoissonRegressor):
                self.kind = "poisson"
            targets = np.asarray(y, np.longdouble).reshape(len(y), -1)
        else:
            classes, codes = np.unique(y, return_inverse=True)
            given = weight.astype(float)
            factors = class_weights(self.model.class_weight, y, given) or {}
            factors = np.array([factors.get(label, 1.0) for label in classes.tolist()])
            targets, weight = np.eye(len(classes))[codes], weight * factors[codes]
            self.kind = "binomial" if len(classes) == 2 else "multinomial"
            targets = targets[:, 1:] if self.kind == "binomial" else targets
        self.n_outputs = targets.shape[1]
        return targets, weight

    def _centred(self, coefficients):
        w = coefficients.astype(np.longdouble)
        if self.model.fit_intercept:
            w[:, -1] += w[:, :-1] @ self.mean
        return w

    def _published(self, w):
        w = w.copy()
        if self.model.fit_intercept:
            w[:, -1] -= w[:, :-1] @ self.mean
        return w

    def _derivatives(self, w):
        raw, same = self.Z @ w.T, np.eye(self.n_outputs)
        if self.kind == "binomial":
            mean, others = expit(raw), expit(-raw)
            second = (mean * others)[:, :, np.newaxis]
        elif self.kind == "multinomial":
            mean = softmax(raw, axis=1)
            others = mean @ (1.0 - same)
            second = -mean[:, :, np.newaxis] * mean[:, np.newaxis]
            second += ((mean * others) - second[:, same > 0])[:, :, np.newaxis] * same
        if self.kind in ("binomial", "multinomial"):
            # Not 1 - mean, which cancels where a row is certain.
            residual = np.where(self.targets > 0, -others, mean)
        elif self.kind == "poisson":
            residual, second = np.exp(raw) - self.targets, np.exp(raw)[:, :, np.newaxis]
        else:
            residual = raw - self.targets
            second = np.broadcast_to(same, (len(raw), *same.shape))
        gradient = (self.weight[:, np.newaxis] * residual).T @ self.Z
        return gradient + self.penalty * w, self._hessian(second)

    def _hessian(self, second):
        of_rows = self.weight[:, np.newaxis, np.newaxis] * second
        hessian = np.einsum("nab,ni,nj->aibj", of_rows, self.Z, self.Z)
        hessian = hessian.reshape(self.penalty.size, -1)
        hessian += np.diag(self.penalty.ravel())
        if self.kind == "multinomial":
            # What all classes have in common is zero: see `_of_classes`.
            n_outputs, n_dof = self.penalty.shape
            size = np.diag(hessian.diagonal().reshape(n_outputs, n_dof).max(axis=0))
            hessian += np.kron(np.ones((n_outputs, n_outputs)), size)
        return hessian

    def _of_classes(self, w):
        """Return coefficients without what all classes have in common.

        No prediction depends on that, and the penalty makes it zero.
        """
        return w - w.mean(axis=0) if self.kind == "multinomial" else w

    def _by_newton(self, w):
        """Steps until their length, in the norm of the Hessian, stops falling."""
        best, w = None, self._of_classes(w)
        for _ in range(_MOST_STEPS):
            gradient, hessian = self._derivatives(w)
            scale = 1.0 / np.sqrt(hessian.diagonal())
            factor = _cholesky(hessian * scale * scale[:, np.newaxis])
            half = _solved(factor, scale * gradient.ravel())
            step = scale * _solved(factor[::-1, ::-1].T, half[::-1])[::-1]
            step, length = step.reshape(w.shape), float(np.sqrt(half @ half))
            if best is not None and not length < 0.5 * best[2]:
                return best[:2]
            best = w, step, length
            w = self._of_classes(w - step)
        raise AssertionError("the reference did not converge")


def _cholesky(matrix):
    """Return the lower factor in extended precision, which LAPACK does not have."""
    factor = np.zeros_like(matrix)
    for j in range(len(matrix)):
        column = matrix[j:, j] - factor[j:, :j] @ factor[j, :j]
        factor[j:, j] = column / np.sqrt(column[0])
    return factor


def _solved(lower, right):
    """Return the solution of a triangular system."""
    found = np.zeros_like(right)
    for j in range(len(right)):
        found[j] = (right[j] - lower[j, :j] @ found[:j]) / lower[j, j]
    return found


def published(model):
    """Return `coef_` and `intercept_` as one array of shape (n_outputs, n_dof)."""
    coef = np.atleast_2d(model.coef_)
    if not model.fit_intercept:
        return coef.copy()
    return np.column_stack([coef, np.ravel(model.intercept_)])


# Sequences of edits.


@dataclass
class Sequence:
    """An estimator that was edited, and the rows that it should hold by now.

    Attributes
    ----------
    model : estimator
    X, y, weight : ndarray
        Of the current training rows.
    position : ndarray
        Of these rows.
    edits : list of str
        Names of the edits.
    """

    model: object
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    position: np.ndarray
    storage: str
    rng: np.random.Generator = field(repr=False)
    edits: list = field(default_factory=list)
    n_given: int = 0

    @classmethod
    def drawn(cls, seed):
        """Return a sequence with all that was drawn for it by a seed."""
        rng = np.random.default_rng(seed)
        kind, storage = rng.choice(KINDS), str(rng.choice(list(STORAGES)))
        n_rows, n_features = int(rng.integers(25, 90)), int(rng.integers(1, 7))
        X = _columns(rng, n_rows, n_features)
        if kind == "poisson" and np.abs(X).max() > 100.0:  # means would overflow
            X /= np.abs(X).max(axis=0) + 1e-3
        X = _rounded(X, storage)
        model, y = _model_and_targets(rng, kind, X)
        weight = _weights(rng, n_rows)
        sequence = cls(model, X, y, weight, np.arange(n_rows), storage, rng)
        sequence.n_given = n_rows
        with quiet():
            model.fit(sequence.stored(X), y, sample_weight=weight)
        return sequence

    def fitted_again(self):
        """Return an estimator that was only fitted, to the rows of the table."""
        model = clone(self.model)
        return model.fit(self.stored(self.X), self.y, sample_weight=self.weight)

    def optimum(self):
        return Optimum(self.model, self.X, self.y, self.weight)

    def stored(self, X):
        return STORAGES[self.storage](X)

    def edit(self):
        """Make an edit; one that is refused leaves the table as it is, too."""
        edits = (
            self.remove_some,
            self.remove_half,
            self.thin_out,
            self.add_outliers,
            self.correct,
            self.duplicate,
            self.remove_outliers,
        )
        change = self.rng.choice(edits)
        self.edits.append(change.__name__)
        try:
            with quiet():
                change()
        except ValueError as error:
            self.edits[-1] += f" ({str(error)[:60]})"

    def _remove(self, which):
        if len(which) and len(which) < len(self.X):
            self.model.unlearn(position=self.position[which])
            self._keep(np.setdiff1d(np.arange(len(self.X)), which))

    def _keep(self, rows):
        self.X, self.y, self.weight = self.X[rows], self.y[rows], self.weight[rows]
        self.position = self.position[rows]

    def _add(self, X, y, weight):
        X = _rounded(X, self.storage)
        self.model.partial_refit(self.stored(X), y, sample_weight=weight)
        self.X, self.y = np.concatenate([self.X, X]), np.concatenate([self.y, y])
        self.weight = np.concatenate([self.weight, weight])
        new = np.arange(self.n_given, self.n_given + len(X))
        self.position, self.n_given = np.concatenate([self.position, new]), new[-1] + 1

    def _some(self, n_most):
        n = min(int(self.rng.integers(1, n_most + 1)), len(self.X) - 1)
        return self.rng.choice(len(self.X), n, replace=False)

    def remove_some(self):
        self._remove(self._some(4))

    def remove_half(self):
        self._remove(self.rng.choice(len(self.X), len(self.X) // 2, replace=False))

    def thin_out(self):
        """Leave one row of a class, or of the larger targets."""
        if is_classifier(self.model):
            rows = np.flatnonzero(self.y == self.rng.choice(self.y))
        else:
            rows = np.flatnonzero(np.ravel(self.y.T)[: len(self.y)] > np.median(self.y))
        self._remove(rows[1:])

    def remove_outliers(self):
        size = np.abs(self.X).max(axis=1)
        n = self.rng.choice([1, 3, len(size) - len(size) // 10])
        self._remove(np.argsort(size)[-int(n) :])

    def add_outliers(self):
        rows = self._some(3)
        largest = 0.5 if isinstance(self.model, DeltaGradPoissonRegressor) else 8.0
        size = 10.0 ** self.rng.uniform(
            min(3.0, largest - 1.0), largest, (len(rows), 1)
        )
        X = self.X[rows] * size
        self._add(X, self.y[self._like(rows)], self.weight[rows])

    def correct(self):
        rows = self._some(3)
        X = _rounded(self.X[rows] + self.rng.normal(size=(len(rows), 1)), self.storage)
        self.model.partial_refit(
            self.stored(X), self.y[rows], position=self.position[rows], replace=True,
            sample_weight=self.weight[rows],
        )  # fmt: skip
        self.X[rows] = X

    def duplicate(self):
        rows = np.repeat(self._some(1), self.rng.integers(1, 30))
        self._add(self.X[rows], self.y[rows], self.weight[rows])

    def _like(self, rows):
        return self.rng.integers(len(self.X), size=len(rows))


def _rounded(X, storage):
    """Return rows as they are stored, as float64."""
    return X.astype(np.float32).astype(float) if "float32" in storage else X


def _columns(rng, n_rows, n_features):
    X = rng.normal(size=(n_rows, n_features))
    look = rng.choice(["plain", "collinear", "scaled", "offset", "holes", "far"])
    if look == "collinear" and n_features > 1:
        X[:, 1] = X[:, 0] + 10.0 ** rng.uniform(-6, -1) * X[:, 1]
    if look == "scaled":
        X *= 10.0 ** rng.uniform(-3, 3, n_features)
    if look == "offset":
        X += 1e4 * rng.choice([-1.0, 0.0, 1.0], n_features)
    if look == "far":
        X[n_rows // 10 :] += 10.0 ** rng.uniform(1, 6)
    if look == "holes":
        X *= rng.random(X.shape) < 0.3
    return X


def _model_and_targets(rng, kind, X):
    n_rows = len(X)
    shared = {
        "fit_intercept": bool(rng.random() < 0.7),
        "standardize": bool(rng.random() < 0.3),
        "curvature": str(rng.choice(CURVATURES)),
        "edit_tol": float(rng.choice([1e-6, 1e-2, 0.3])),
    }
    strength = 10.0 ** rng.choice([rng.uniform(-6, 6), rng.uniform(-1, 1)])
    sizes = np.abs(X - X.mean(axis=0)).mean(axis=0) + 1e-3
    raw = ((X - X.mean(axis=0)) / sizes) @ rng.normal(size=(X.shape[1], 5))
    if kind == "ridge":
        n_targets = int(rng.integers(1, 4))
        y = raw[:, :n_targets] + rng.normal(size=(n_rows, n_targets))
        alpha = strength
        if n_targets > 1 and rng.random() < 0.5:
            alpha = strength * 10.0 ** rng.uniform(-2, 2, n_targets)
        return DeltaGradRidge(alpha=alpha, **shared), y if n_targets > 1 else y[:, 0]
    if kind == "poisson":
        y = rng.poisson(np.exp(np.clip(0.3 * raw[:, 0], -3, 3))).astype(float)
        y[0] = 3.0
        return DeltaGradPoissonRegressor(alpha=strength, **shared), y
    n_classes = 2 if kind == "binomial" else int(rng.integers(3, 6))
    y = np.argmax(raw[:, :n_classes] + rng.gumbel(size=(n_rows, n_classes)), axis=1)
    y[:n_classes] = np.arange(n_classes)
    weight = str(rng.choice(["balanced", ""])) or None
    return DeltaGradLogisticRegression(C=strength, class_weight=weight, **shared), y


def _weights(rng, n_rows):
    look = rng.choice(["ones", "some", "wide"])
    if look == "ones":
        return np.ones(n_rows)
    if look == "some":
        return rng.uniform(0.5, 2.0, n_rows)
    return 10.0 ** rng.uniform(-6, 6, n_rows)


class quiet(warnings.catch_warnings):
    """A context without the warnings that such edits cause on purpose."""

    def __enter__(self):
        super().__enter__()
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
