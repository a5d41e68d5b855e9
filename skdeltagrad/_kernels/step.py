"""The gradient step."""

import math

from numba import njit


# The sum below is vectorised only where its order may change.
@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def descend(iterate, gradient, rate, shrinkage, n_features, iterate_out):
    """One step ``w - rate * gradient - shrinkage * w``, intercepts not shrunk.

    ============ ===================== ==========================================
    argument     shape                 meaning
    ============ ===================== ==========================================
    iterate      (n_outputs, n_dof)    w
    gradient     (n_outputs, n_dof)    sum of the data gradient over the batch
    rate         scalar                step size over the weight of the batch
    shrinkage    (n_outputs,)          step size times alpha over the total weight
    n_features   scalar                columns from here on are intercepts
    iterate_out  (n_outputs, n_dof)    OUT: the next iterate
    ============ ===================== ==========================================

    Returns
    -------
    finite : bool
        False as soon as a coefficient is infinite or not a number.
    """
    total = 0.0
    for k in range(iterate.shape[0]):
        keep = 1.0 - shrinkage[k]
        for j in range(n_features):
            iterate_out[k, j] = keep * iterate[k, j] - rate * gradient[k, j]
            total += abs(iterate_out[k, j])
        for j in range(n_features, iterate.shape[1]):
            iterate_out[k, j] = iterate[k, j] - rate * gradient[k, j]
            total += abs(iterate_out[k, j])
    return math.isfinite(total)
