"""Compact L-BFGS: inner products of the curvature pairs, and the product with them.

============ ============================ ======================================
argument     shape                        meaning
============ ============================ ======================================
changes      (history_size, n_coef)       s, the changes of the iterate, a ring
responses    (history_size, n_coef)       y, the changes of the gradient, a ring
newest       scalar                       ring place that was just written
n_pairs      scalar                       how many places are in use
ss, sy       (history_size, history_size) s_i . s_j and s_i . y_j by ring place
iterate      (n_coef,)                    where the gradient is predicted
anchor       (n_coef,)                    where it is known
inverse      (2 n_pairs, 2 n_pairs)       of the compact form's middle matrix
base, scale  (n_coef,), scalar            the known gradient; weight of its rows
*_out        as stated                    OUT: results
============ ============================ ======================================
"""

import numpy as np
from numba import njit

# Cost: coefficients taken at a time, so that they stay in the first-level cache. They
# are taken as slices, because loops over whole arrays from `first` on are not
# vectorised.
_CHUNK = 1024


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def own_products(change, response):
    """``s's``, ``s'y`` and ``y'y`` of one pair.

    Not by BLAS: its threads cost milliseconds on a busy machine.
    """
    ss = sy = yy = 0.0
    for j in range(change.shape[0]):
        ss += change[j] * change[j]
        sy += change[j] * response[j]
        yy += response[j] * response[j]
    return ss, sy, yy


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
def predict(
    iterate, anchor, changes, responses, n_pairs, sigma, inverse, base, scale,
    gradient_out,
):  # fmt: skip
    """``base + scale B drift`` with drift = iterate - anchor, shape (n_coef,).

        B drift = sigma drift - [sigma S', Y'] inverse [sigma S drift, Y drift]

    Chunk by chunk, so that a long drift is read once from memory for all pairs.
    """
    n_coef = iterate.shape[0]
    drift = np.empty(_CHUNK)
    projection = np.zeros(2 * n_pairs)
    for first in range(0, n_coef, _CHUNK):
        size = min(_CHUNK, n_coef - first)
        here = iterate[first : first + size]
        there = anchor[first : first + size]
        for j in range(size):
            drift[j] = here[j] - there[j]
        for i in range(n_pairs):
            s = changes[i, first : first + size]
            y = responses[i, first : first + size]
            s_drift = y_drift = 0.0
            for j in range(size):
                s_drift += s[j] * drift[j]
                y_drift += y[j] * drift[j]
            projection[i] += sigma * s_drift
            projection[n_pairs + i] += y_drift
    coordinates = np.zeros(2 * n_pairs)
    for i in range(2 * n_pairs):
        for j in range(2 * n_pairs):
            coordinates[i] += inverse[i, j] * projection[j]
    for first in range(0, n_coef, _CHUNK):
        size = min(_CHUNK, n_coef - first)
        here = iterate[first : first + size]
        there = anchor[first : first + size]
        known = base[first : first + size]
        out = gradient_out[first : first + size]
        for j in range(size):
            out[j] = known[j] + scale * sigma * (here[j] - there[j])
        for i in range(n_pairs):
            s = changes[i, first : first + size]
            y = responses[i, first : first + size]
            of_s = scale * sigma * coordinates[i]
            of_y = scale * coordinates[n_pairs + i]
            for j in range(size):
                out[j] -= of_s * s[j] + of_y * y[j]
