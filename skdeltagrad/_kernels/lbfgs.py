"""Compact L-BFGS: inner products of the curvature pairs, and the product with them.

============ ============================ ======================================
argument     shape                        meaning
============ ============================ ======================================
changes      (history_size, n_coef)       s, the changes of the iterate, a ring
responses    (history_size, n_coef)       y, the changes of the gradient, a ring
newest       scalar                       ring place that was just written
n_pairs      scalar                       how many places are in use
ss, sy       (history_size, history_size) s_i . s_j and s_i . y_j by ring place
drift        (n_coef,)                    the vector to multiply
*_out        as stated                    OUT: results
============ ============================ ======================================
"""

from numba import njit


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def inner_products(changes, responses, newest, n_pairs, ss_out, sy_out):
    """Renew the row and the column of the newest pair in ``S S'`` and ``S Y'``."""
    s = changes[newest]
    y = responses[newest]
    for other in range(n_pairs):
        other_s = changes[other]
        other_y = responses[other]
        s_s = s_y = other_s_y = 0.0
        for j in range(s.shape[0]):
            s_s += s[j] * other_s[j]
            s_y += s[j] * other_y[j]
            other_s_y += other_s[j] * y[j]
        ss_out[newest, other] = s_s
        ss_out[other, newest] = s_s
        sy_out[newest, other] = s_y
        sy_out[other, newest] = other_s_y


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def project(changes, responses, n_pairs, sigma, drift, projection_out):
    """``[sigma S drift, Y drift]``, shape (2 n_pairs,)."""
    for i in range(n_pairs):
        s = changes[i]
        y = responses[i]
        s_drift = y_drift = 0.0
        for j in range(drift.shape[0]):
            s_drift += s[j] * drift[j]
            y_drift += y[j] * drift[j]
        projection_out[i] = sigma * s_drift
        projection_out[n_pairs + i] = y_drift


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def predict(
    changes, responses, n_pairs, sigma, coordinates, drift, base, scale, gradient_out
):
    """``base + scale (sigma drift - [sigma S', Y'] coordinates)``, shape (n_coef,)."""
    for j in range(drift.shape[0]):
        gradient_out[j] = base[j] + scale * sigma * drift[j]
    for i in range(n_pairs):
        s = changes[i]
        y = responses[i]
        of_s = scale * sigma * coordinates[i]
        of_y = scale * coordinates[n_pairs + i]
        for j in range(drift.shape[0]):
            gradient_out[j] -= of_s * s[j] + of_y * y[j]
