"""The Hessian of a sample of the rows, where that of all rows costs too much.

It preconditions conjugate gradients:

    M = sum_{i in S} s_i / pi_i l_i'' (x) x_i x_i' + P

for a sample S of rows that are drawn with the probabilities pi_i by their importance
(`subsample`). On average M is the Hessian of all rows. It is made once, in a fit, and
serves all later edits, because an approximation need not follow every row. Of bounds
it is no part (`penalty_bound` takes the current rows).
"""

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from .._utils import memory

# Accuracy: rows of the sample for each coefficient of an output. Twice as many saved
# one product of six on digits; with a tenth, the penalty alone would decide.
_ROWS_PER_COLUMN = 5
# Rounding: what is added to the diagonal, scaled to 1, so that a matrix in single
# precision is positive definite; and the factor by which it grows until it is.
_JITTER, _MORE_JITTER = 1e-5, 10.0
# Cost: largest order of the matrix: 0.4 GB, and 3e11 operations for its factor.
_MAX_ORDER = 10_000
# Cost: bytes for each entry, while it is made: the sums of the coordinates' pairs, the
# matrix, and a copy in single precision.
_BYTES_PER_ENTRY = 20
# Rounding: a matrix that needs more is no Hessian.
_MAX_JITTER = 1e-1


class Subset:
    """M, factorised in single precision: an approximate solution needs no more digits.

    Parameters
    ----------
    problem : Problem
    iterate : ndarray of shape (n_outputs, n_dof)
        Where second derivatives are taken.
    """

    # Whether one serves at other iterates, and for other rows, as well.
    is_kept = True

    def __init__(self, problem, iterate):
        n_systems, order = problem.penalty.shape
        drawn = problem.drawn(_ROWS_PER_COLUMN * problem.objective.n_dof)
        objective = drawn.objective.merged(problem.group_weight)
        (matrix,) = objective.hessian_sums(iterate, drawn.indices)
        problem.meter.spend(n_hessians=len(drawn.indices) / len(problem.indices))
        # Systems that differ in the penalty share the factor of their mean.
        matrix[np.diag_indices(order)] += problem.penalty.mean(axis=0)
        diagonal = np.diagonal(matrix)
        if not np.isfinite(diagonal).all():
            raise np.linalg.LinAlgError("the preconditioner is not finite")
        self._scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
        matrix *= self._scale
        matrix *= self._scale[:, np.newaxis]
        self._factor = _factor(matrix.astype(np.float32))

    @staticmethod
    def require(order):
        """Raise an error if a matrix of some order would be too large."""
        other = 'Use curvature="kronecker" or "diagonal", or fewer columns.'
        if order > _MAX_ORDER:
            raise ValueError(
                f'curvature="subset" makes a matrix of order {order:,}, the number of '
                f"coefficients; the largest is {_MAX_ORDER:,}. {other}"
            )
        n_bytes = _BYTES_PER_ENTRY * order**2
        memory.require(n_bytes, "the Hessian of a sample of the rows", other)

    @property
    def nbytes(self):
        return self._factor.nbytes

    def solve(self, vectors):
        """Return ``M^-1 v``."""
        scaled = (vectors * self._scale).T
        size = np.abs(scaled).max(initial=0.0)
        if not 0.0 < size < np.inf:
            return vectors * self._scale**2
        # Numbers of a size of 1 have an exponent in single precision.
        solution = (scaled / size).astype(np.float32)
        for trans in (1, 0):
            solution = solve_triangular(
                self._factor, solution, trans=trans, check_finite=False,
                overwrite_b=True,
            )  # fmt: skip
        return solution.T.astype(float) * self._scale * size


def _factor(matrix):
    """Return the upper Cholesky factor of a matrix with a diagonal of ones."""
    jitter = _JITTER
    while True:
        matrix[np.diag_indices(len(matrix))] = np.float32(1.0 + jitter)
        try:
            return cholesky(matrix, check_finite=False)
        except np.linalg.LinAlgError:
            jitter *= _MORE_JITTER
            if jitter > _MAX_JITTER:
                raise
