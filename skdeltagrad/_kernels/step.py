"""The gradient step."""

import math

from numba import njit


# The sum below is vectorised only where its order may change.
@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def descend(iterate, gradient, rate, shrinkage, n_features, step_out):
    """One step ``- rate * gradient - shrinkage * w``, intercepts not shrunk.

    ============ ===================== ==========================================
    argument     shape                 meaning
    ============ ===================== ==========================================
    iterate      (n_outputs, n_dof)    w; OUT: w + step, as the step is recorded
    gradient     (n_outputs, n_dof)    sum of the data gradient over the batch
    rate         scalar                step size over the weight of the batch
    shrinkage    (n_outputs,)          step size times alpha over the total weight
    n_features   scalar                columns from here on are intercepts
    step_out     (n_outputs, n_dof)    OUT: the step, in its own precision
    ============ ===================== ==========================================

    Returns
    -------
    finite : bool
        False as soon as a coefficient is infinite or not a number.
    """
    total = 0.0
    for k in range(iterate.shape[0]):
        for j in range(n_features):
            step_out[k, j] = -rate * gradient[k, j] - shrinkage[k] * iterate[k, j]
        for j in range(n_features, iterate.shape[1]):
            step_out[k, j] = -rate * gradient[k, j]
        for j in range(iterate.shape[1]):
            iterate[k, j] += step_out[k, j]
            total += abs(iterate[k, j])
    return math.isfinite(total)
