"""Rank-one changes of a Cholesky factor.

========= ========= ============================================================
argument  shape     meaning
========= ========= ============================================================
factor    (q, q)    IN, OUT: upper triangle U with U'U = H, C order: rows are
                    contiguous; what is below the diagonal is not touched
vector    (q,)      v; overwritten
========= ========= ============================================================
"""

import math

from numba import njit


@njit(nogil=True, cache=True)
def update(factor, vector):
    """Make U'U + v v' of U'U by Givens rotations (Golub and Van Loan, section 6.5)."""
    q = vector.shape[0]
    for k in range(q):
        row = factor[k]
        diagonal = math.hypot(row[k], vector[k])
        c = row[k] / diagonal
        s = vector[k] / diagonal
        row[k] = diagonal
        for j in range(k + 1, q):
            old = row[j]
            row[j] = c * old + s * vector[j]
            vector[j] = c * vector[j] - s * old


@njit(nogil=True, cache=True)
def downdate(factor, vector):
    """Make U'U - v v' of U'U by hyperbolic rotations, in their stable mixed form.

    Returns
    -------
    definite : bool
        False where the difference is not positive definite to working accuracy; the
        factor is then of no use.
    """
    q = vector.shape[0]
    for k in range(q):
        row = factor[k]
        s = vector[k] / row[k]
        rest = (1.0 - s) * (1.0 + s)
        if not rest > 1e-8:
            return False
        c = math.sqrt(rest)
        row[k] = c * row[k]
        for j in range(k + 1, q):
            row[j] = (row[j] - s * vector[j]) / c
            vector[j] = c * vector[j] - s * row[j]
    return True
