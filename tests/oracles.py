"""What a model should be, computed from its rows by plain NumPy.

Nothing of the package's own arithmetic is used: only the parameters of an estimator,
and where its columns are centred, for the coefficients to be the same ones.
"""

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import is_classifier

# Decision values that move by less than this make a full Newton step safe.
_SMALL = 1e-2


def class_weights(class_weight, y, weight=None):
    """`class_weight` for an estimator of scikit-learn: "balanced" as a mapping.

    By the weights of rows, as it is there since 1.7; rows were counted before.
    """
    if class_weight != "balanced":
        return class_weight
    classes, codes = np.unique(y, return_inverse=True)
    by_class = np.bincount(codes, weight)
    factors = by_class.sum() / (len(classes) * by_class)
    return dict(zip(classes.tolist(), factors.tolist(), strict=True))


class DataTerm:
    """sum_i s_i loss(y_i, x_i W + b) + alpha / 2 |W|^2, in extended precision.

    Coefficients have shape (n_outputs, n_dof), the intercept last.

    Parameters
    ----------
    X, y, weight : ndarray
        The rows, in the order of their positions.
    model : estimator
        Fitted; its parameters are read, and where it centres columns.
    """

    def __init__(self, X, y, weight, model):
        X = np.asarray(X, np.longdouble)
        weight = np.asarray(weight, np.longdouble)
        variance = _variances(X, weight) if model.standardize else 1.0
        n_features, centre = X.shape[1], model._engine.model.centre
        if model.fit_intercept:
            X = np.column_stack([X - centre, np.ones(len(X))])
        if is_classifier(model):
            classes, codes = np.unique(y, return_inverse=True)
            factors = class_weights(model.class_weight, y, weight.astype(float)) or {}
            factors = [factors.get(label, 1.0) for label in classes.tolist()]
            weight = weight * np.array(factors)[codes]
            self.kind = "binomial" if len(classes) == 2 else "multinomial"
            self.targets = np.eye(len(classes))[codes]
            if self.kind == "binomial":
                self.targets = self.targets[:, 1:]
            alpha = 1.0 / model.C
        else:
            self.kind, self.targets = "squared", np.reshape(y, (len(X), -1))
            alpha = model.alpha
        self.X, self.weight = X, weight
        self.shape = self.targets.shape[1], X.shape[1]
        self.alpha = np.broadcast_to(alpha, self.shape[0])
        self.penalty = np.zeros(self.shape)
        self.penalty[:, :n_features] = self.alpha[:, np.newaxis] * variance

    def predict(self, w, rows=slice(None)):
        """Means of the targets."""
        raw = self.X[rows] @ w.T
        if self.kind == "binomial":
            return expit(raw)
        return softmax(raw, axis=1) if self.kind == "multinomial" else raw

    def gradient_sum(self, w, rows=slice(None)):
        """Of some rows, without the penalty."""
        residual = self.predict(w, rows) - self.targets[rows]
        return (self.weight[rows, np.newaxis] * residual).T @ self.X[rows]

    def gradient(self, w):
        return self.gradient_sum(w) + self.penalty * w

    def hessian(self, w):
        """Of all coefficients, output by output."""
        same, X = np.eye(self.shape[0]), self.X.astype(float)
        p = self.predict(w)
        if self.kind == "binomial":
            variance = (p * expit(-(self.X @ w.T)))[:, :, np.newaxis]
        elif self.kind == "multinomial":
            variance = p[:, :, np.newaxis] * (same - p[:, np.newaxis])
        else:
            variance = np.broadcast_to(same, (len(X), *same.shape))
        variance = (self.weight[:, np.newaxis, np.newaxis] * variance).astype(float)
        hessian = np.einsum("nab,ni,nj->aibj", variance, X, X, optimize=True)
        hessian = hessian.reshape(self.penalty.size, -1)
        return hessian + np.diag(self.penalty.ravel())

    def norm(self, w, at):
        """In the Hessian at a place."""
        flat = np.asarray(w, float).ravel()
        return float(np.sqrt(max(0.0, flat @ self.hessian(at) @ flat)))

    def ranges(self, w):
        """By row, the decision value, or the largest difference of two classes'."""
        raw = (self.X @ w.T).astype(float)
        return np.ptp(raw, axis=1) if self.kind == "multinomial" else np.abs(raw)

    def optimum(self, start):
        """By Newton's method, until the gradient stops falling.

        A step that changes decision values by at most R is made log(1 + R) / R long,
        which never leads uphill (Sun and Tran-Dinh 2019, Math. Program. 178).
        """
        w, best, best_left = start.astype(np.longdouble), start, np.inf
        for _ in range(1000):
            gradient, hessian = self.gradient(w), self.hessian(w)
            if self.kind == "multinomial" and not self.penalty[0, -1]:
                # Nothing changes where the intercepts of all classes do.
                together = np.zeros(self.shape)
                together[:, -1] = 1.0
                together = together.ravel()
                hessian += np.outer(together, together) * np.trace(hessian)
            step = np.linalg.solve(hessian, gradient.astype(float).ravel())
            left = np.sqrt(max(0.0, float(gradient.ravel() @ step)))
            step = step.reshape(self.shape)
            size = 0.0
            if self.kind != "squared":
                size = self.ranges(step).max()
            if size < _SMALL:
                if not left < 0.5 * best_left:
                    return best
                best, best_left = w, left
            w = w - step * (np.log1p(size) / size if size >= _SMALL else 1.0)
        raise AssertionError("the reference did not converge")

    def descend(self, batches, rates):
        """The end of gradient descent from zero, and the largest entry on the way.

        w <- w - rate (gradient of the batch / its weight + alpha w / weight of all)
        """
        w, largest, total = np.zeros(self.shape, np.longdouble), 0.0, self.weight.sum()
        for batch, rate in zip(batches, rates, strict=True):
            weight = self.weight[batch].sum()
            if weight == 0.0:
                continue  # a batch without rows is a skipped step
            slope = self.gradient_sum(w, batch) / weight + self.penalty * w / total
            w = w - rate * slope
            largest = max(largest, float(np.abs(w).max()))
        return w, largest


def _variances(X, weight):
    """Of columns; 1 of constant ones, as `StandardScaler` has it."""
    mean = weight @ X / weight.sum()
    variance = weight @ (X - mean) ** 2 / weight.sum()
    rounding = weight.sum() * np.finfo(float).eps * np.abs(mean)
    return np.where(variance <= rounding**2, 1.0, variance).astype(float)
