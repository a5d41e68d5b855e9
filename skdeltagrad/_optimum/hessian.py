"""A Hessian with its Cholesky factors, which are changed when rows join or leave.

    H = sum_groups group_weight * sums + diag(penalty)

Outputs that a loss does not couple (several targets of a squared error) are *systems*
of their own that share the data term and differ in the penalty; there is one factor for
each different penalty. Otherwise there is one system, of all outputs' coefficients.

Vectors have shape (n_systems, q).
"""

from copy import copy

import numpy as np
from scipy.linalg import cholesky, lapack

from .. import _kernels
from .cost import RANK_ONE_FRACTION

# Rounding: a Hessian that is singular in working precision is factorised with a
# multiple of its diagonal added. Its own rounding needs 1e-14 to 1e-10; one that needs
# more than this is not positive definite.
_MIN_JITTER, _MAX_JITTER = 1e-14, 1e-6
# Accuracy: a bound of the condition number is replaced by a new estimate when it has
# grown by this factor. Estimates themselves are right to about this factor.
_MAX_GROWTH = 2.0
# Accuracy: fractions of a Hessian that are bounded without eigenvalues if they are this
# small. Of an edit's own effect such a bound loses 5% and 0.1% at most.
_SMALL_FRACTION = 0.05
_SMALL_FRACTION_OF_PENALTY = 1e-3


class Hessian:
    """A positive definite Hessian by group, factorised.

    Parameters
    ----------
    sums : ndarray of shape (n_groups, q, q)
        Data term, without the groups' factors.
    group_weight : ndarray of shape (n_groups,)
    penalty : ndarray of shape (n_systems, q)
        Diagonal.

    Attributes
    ----------
    is_exact : bool
        False if H is singular in working precision, so that something was added to its
        diagonal before it was factorised.
    """

    _inverse_size = _spreads = None  # for dumps of versions without them

    def __init__(self, sums, group_weight, penalty):
        self._penalise(penalty)
        self._take(sums, group_weight)
        self._factorise()

    def _penalise(self, penalty):
        self.penalty = penalty
        self._penalties, self._which = np.unique(penalty, axis=0, return_inverse=True)
        self._which = self._which.reshape(-1)  # NumPy 2.0 gave it another shape
        self._spreads = None

    def _take(self, sums, group_weight):
        self.sums = sums
        self.group_weight = group_weight
        self._matrix = over_groups(sums, group_weight)
        self._spreads = None

    def _factorise(self):
        """Compute the upper Cholesky factors, one for each different penalty."""
        self.is_exact = True
        self._factors = [self._factor(penalty) for penalty in self._penalties]
        self._condition, self._inverse_size, self._growth = None, None, 1.0

    @property
    def order(self):
        """q."""
        return len(self._matrix)

    @property
    def nbytes(self):
        matrix = self._matrix.nbytes if len(self.sums) > 1 else 0
        return self.sums.nbytes + matrix + sum(f.nbytes for f in self._factors)

    def product(self, vectors):
        """``H v``."""
        return vectors @ self._matrix + self.penalty * vectors

    def solve(self, vectors):
        """``H^-1 v``, with one step of iterative refinement."""
        solution = self._solve(vectors)
        return solution + self._solve(vectors - self.product(solution))

    def norm(self, vectors):
        """``sqrt(v' H v)``; NaN for vectors that are not finite."""
        return float(np.sqrt(np.maximum(np.sum(vectors * self.product(vectors)), 0.0)))

    def dual_norm(self, vectors):
        """``sqrt(v' H^-1 v)``."""
        return float(np.sqrt(np.maximum(np.sum(vectors * self._solve(vectors)), 0.0)))

    def dual_norms(self, many):
        """``sqrt(v' H^-1 v)`` of each v in an array (n_vectors, n_systems, q)."""
        squares = np.zeros(len(many))
        for system, number in enumerate(self._which):
            half = _half(self._factors[number], many[:, system])
            squares += np.einsum("ij,ij->j", half, half)
        return np.sqrt(squares)

    def solve_many(self, many):
        """``H^-1 v`` of many vectors for every system, with refinement as in `solve`.

        Parameters
        ----------
        many : ndarray of shape (n_systems or 1, n_vectors, q)
            One set of vectors for all systems, or one for each.

        Returns
        -------
        solutions : ndarray of shape (n_systems, n_vectors, q)
        """
        solutions = np.empty((len(self.penalty), *many.shape[1:]))
        for number, (factor, penalty) in enumerate(
            zip(self._factors, self._penalties, strict=True)
        ):
            mine = self._which == number
            vectors = many if len(many) == 1 else many[mine]
            flat = vectors.reshape(-1, vectors.shape[-1])
            solution = _solution(factor, flat)
            left = flat - solution @ self._matrix - penalty * solution
            solution = solution + _solution(factor, left)
            solutions[mine] = solution.reshape(vectors.shape)
        return solutions

    def norms(self, many):
        """``sqrt(v' H v)`` of each v in an array (n_vectors, n_systems, q)."""
        squares = np.sum(many * self.product(many), axis=(1, 2))
        return np.sqrt(np.maximum(squares, 0.0))

    def condition(self):
        """Estimate of the condition number, after scaling the diagonal to 1.

        After rows left, it is the last estimate times a bound of its growth.
        """
        self._estimate()
        return self._condition * self._growth

    def inverse(self):
        """``H^-1``, of shape (q, q), by the first factor."""
        return _solution(self._factors[0], np.eye(len(self._matrix)))

    def inverse_size(self):
        """Estimate of the 1-norm of the inverse, after scaling the diagonal to 1.

        After rows left, it is a bound, as `condition` is.
        """
        self._estimate()
        return self._inverse_size * self._growth

    def _estimate(self):
        if self._condition is None or self._inverse_size is None:
            estimates = [_condition(factor) for factor in self._factors]
            self._condition, self._inverse_size = np.max(estimates, axis=0)
            self._growth = 1.0

    def fraction(self, part):
        """Return at least the largest eigenvalue of ``H^-1 part``.

        This is the fraction of H that some rows make up.

        Parameters
        ----------
        part : ndarray of shape (q, q)
            Hessian of the rows.
        """
        return self.largest_eigenvalue(part, loose_below=_SMALL_FRACTION)

    def largest_eigenvalue(self, part, loose_below=0.0):
        """Return at least the largest eigenvalue of ``H^-1 part``.

        Parameters
        ----------
        part : ndarray of shape (q, q)
            Symmetric and positive semi-definite.
        loose_below : float, default=0.0
            Where the root of the eigenvalues' sum of squares is not above this, it is
            returned: that needs no eigenvalues, and is too large by at most the square
            root of their number.
        """
        largest = 0.0
        for factor in self._factors:
            ratio = _solution(factor, part)
            found = np.sqrt(max(0.0, np.sum(ratio * ratio.T)))
            if found > loose_below:
                half = _half(factor, _half(factor, part))
                found = np.linalg.eigvalsh(half)[-1]
            largest = max(largest, found)
        return float(largest)

    def fraction_of_roots(self, roots):
        """Return `fraction` of rows whose Hessian is the sum of the outer products."""
        return float(max(0.0, *(_fraction(factor, roots) for factor in self._factors)))

    def fraction_of_penalty(self, penalty):
        """Return `fraction` of the decrease from the penalty of H to another one.

        ``H >= penalty``, so that the largest ratio of the two is a bound. Columns for
        which it is not small are bounded with the rest of their Hessian.
        """
        largest = 0.0
        for number, before in enumerate(self._penalties):
            after = penalty[np.argmax(self._which == number)]
            less = np.maximum(before - after, 0.0)
            ratio = np.divide(less, before, out=np.zeros_like(less), where=less > 0)
            large = np.flatnonzero(ratio > _SMALL_FRACTION_OF_PENALTY)
            roots = np.zeros((len(large), len(less)))
            roots[np.arange(len(large)), large] = np.sqrt(less[large])
            ratio[large] = 0.0
            of_large = _fraction(self._factors[number], roots)
            largest = max(largest, of_large + ratio.max(initial=0.0))
        return float(largest)

    def spreads(self):
        """Square roots of the diagonal of H, shape (n_systems, q)."""
        if self._spreads is None:
            diagonal = self._matrix.diagonal()
            self._spreads = np.sqrt(np.maximum(diagonal, 0.0) + self.penalty)
        return self._spreads

    def largest_ratio(self, sizes):
        """Return the largest ratio of sizes of columns to `spreads`.

        Parameters
        ----------
        sizes : ndarray of shape (n_systems or 1, q)
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = sizes / self.spreads()
        return float(np.where(sizes > 0.0, ratios, 0.0).max())

    def takes_roots(self, n_roots):
        """Whether `n_roots` rank-one changes cost less than a new factor."""
        return self.is_exact and n_roots <= len(self._matrix) / RANK_ONE_FRACTION

    def changed(
        self, sums, group_weight, added=None, removed=None, remaining=0.0, penalty=None
    ):
        """Return this Hessian after rows joined and left.

        Parameters
        ----------
        sums : ndarray of shape (n_groups, q, q)
            Of the rows after the change.
        group_weight : ndarray of shape (n_groups,)
        added, removed : ndarray of shape (n_roots, q), optional
            Vectors whose outer products sum to the change. With them the factors are
            changed; without them they are computed again.
        remaining : float, default=0.0
            At most the fraction of H that remains without the rows that left.
        penalty : ndarray of shape (n_systems, q), optional
            The new one, if it has changed. The factors are then computed again.
        """
        other = copy(self)
        other._take(sums, group_weight)
        rotates = added is not None and np.array_equal(group_weight, self.group_weight)
        if penalty is not None and not np.array_equal(penalty, self.penalty):
            other._penalise(penalty)
            rotates = False
        if rotates:
            other._factors = [
                _rotated(factor, added, removed) for factor in self._factors
            ]
            if len(added) or self._growth > _MAX_GROWTH * remaining:
                other._condition = other._inverse_size = None
            else:
                other._growth = self._growth / remaining
        if not rotates or any(factor is None for factor in other._factors):
            other._factorise()
        return other

    def factorised(self):
        """Return the Hessian with new factors, without the rounding of edits."""
        return Hessian(self.sums, self.group_weight, self.penalty)

    def _solve(self, vectors):
        solution = np.empty_like(vectors)
        for number, factor in enumerate(self._factors):
            mine = self._which == number
            solution[mine] = _solution(factor, vectors[mine])
        return solution

    def _factor(self, penalty):
        matrix = self._matrix + np.diag(penalty)
        diagonal = matrix.diagonal().copy()
        empty = diagonal <= 0.0
        jitter = 0.0
        while jitter <= _MAX_JITTER:
            np.fill_diagonal(matrix, np.where(empty, 1.0, (1.0 + jitter) * diagonal))
            try:
                factor = cholesky(matrix, check_finite=False)
            except np.linalg.LinAlgError:
                jitter = max(10.0 * jitter, _MIN_JITTER)
            else:
                if not np.isfinite(factor.diagonal()).all():
                    break
                self.is_exact &= jitter == 0.0 and not empty.any()
                return np.ascontiguousarray(factor)
        raise np.linalg.LinAlgError("the Hessian is not positive definite")


# LAPACK reads an upper factor in C order as the lower one in its own; SciPy's solvers
# would copy it first.


def _solution(factor, vectors):
    """``H^-1 v`` of vectors in rows."""
    solution, _ = lapack.dpotrs(factor.T, vectors.T, lower=1)
    return solution.T


def _half(factor, vectors):
    """``U^-T v`` of vectors in rows, as columns."""
    half, _ = lapack.dtrtrs(factor.T, vectors.T, lower=1)
    return half


def _fraction(factor, roots):
    """Largest eigenvalue of H^-1 times the sum of the roots' outer products."""
    if not len(roots):
        return 0.0
    half = _half(factor, roots)
    return np.linalg.eigvalsh(half.T @ half)[-1]


def _rotated(factor, added, removed):
    """Return a factor after rank-one changes; None if it is no longer definite."""
    factor = factor.copy()
    for root in added:
        _kernels.cholesky.update(factor, root.copy())
    for root in removed:
        if not _kernels.cholesky.downdate(factor, root.copy()):
            return None
    return factor


def _condition(factor):
    """See `Hessian.condition` and `Hessian.inverse_size`."""
    scaled = factor / np.sqrt(np.einsum("ij,ij->j", factor, factor))
    reciprocal, _ = lapack.dtrcon(scaled, norm="1", uplo="U")
    of_square, _ = lapack.dpocon(scaled, 1.0, uplo="U")
    return 1.0 / max(1e-150, reciprocal) ** 2, 1.0 / max(1e-300, of_square)


def over_groups(sums, group_weight):
    """Return the weighted sum over groups; not a copy if there is only one group."""
    if len(sums) == 1:
        return sums[0]
    return np.tensordot(group_weight, sums, axes=1)


def roots(X, curvatures, weight):
    """Return vectors whose outer products sum to the Hessian of some rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_dof)
    curvatures : ndarray of shape (n_rows, m, m)
    weight : ndarray of shape (n_rows,)

    Returns
    -------
    roots : ndarray of shape (n_rows * m, m * n_dof)
    """
    if curvatures.shape[1] == 1:
        values, vectors = curvatures[:, 0], np.ones_like(curvatures)
    else:
        values, vectors = np.linalg.eigh(curvatures)
    values = np.maximum(values, 0.0) * weight[:, np.newaxis]
    half = (vectors * np.sqrt(values)[:, np.newaxis]).swapaxes(1, 2)
    n_rows, m, _ = half.shape
    return (half[:, :, :, np.newaxis] * X[:, np.newaxis, np.newaxis]).reshape(
        n_rows * m, m * X.shape[1]
    )
