"""An optimum of a loss of one output, by Newton's method in extended precision.

Nothing of the package's arithmetic is used. For losses that `oracles` does not know.
"""

import numpy as np

_MOST_STEPS = 500
_MOST_HALVINGS = 60


def optimum(X, weight, penalty, loss, start):
    """The minimiser of ``sum_i s_i l_i(x_i w) + sum_j penalty_j w_j^2 / 2``.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_dof)
        With a column of ones, if there is an intercept.
    weight : ndarray of shape (n_rows,)
    penalty : ndarray of shape (n_dof,)
    loss : callable
        From raw predictions, in extended precision, to the losses of the rows and
        their first and second derivatives.
    start : ndarray of shape (n_dof,)

    Returns
    -------
    optimum : ndarray of shape (n_dof,), dtype longdouble
    """
    X, weight, w = (np.asarray(a, np.longdouble) for a in (X, weight, start))

    def at(w):
        values, first, second = loss(X @ w)
        value = weight @ values + np.sum(penalty * w**2) / 2
        gradient = X.T @ (weight * first) + penalty * w
        return value, gradient, X.T @ ((weight * second)[:, np.newaxis] * X)

    with np.errstate(over="ignore", invalid="ignore"):
        value, gradient, data = at(w)
        best, best_left = w, np.inf
        for _ in range(_MOST_STEPS):
            hessian = (data + np.diag(penalty)).astype(float)
            scale = 1.0 / np.sqrt(np.maximum(hessian.diagonal(), 1e-300))
            scaled = hessian * scale * scale[:, np.newaxis]
            step = scale * np.linalg.solve(scaled, (scale * gradient).astype(float))
            left = float(gradient @ step)
            if left < 1e-8 and not left < best_left / 4:
                return best  # the gradient has stopped falling
            if left < best_left:
                best, best_left = w, left
            length = 1.0
            for _ in range(_MOST_HALVINGS):
                trial, *rest = at(w - length * step)
                # Rounding of the value says nothing near the optimum.
                if trial <= value - 1e-4 * length * left or left < 1e-8:
                    break
                length /= 2
            w, value, (gradient, data) = w - length * step, trial, rest
    raise AssertionError("the reference did not converge")
