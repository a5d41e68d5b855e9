"""A Hessian that is kept, with its Cholesky factors, while rows come and go.

    H = sum_groups group_weight * sums + diag(penalty)

Outputs that do not meet (several targets of a squared error) are *systems* of their
own that share the data term and differ in the penalty; there is one factor for each
different penalty. Otherwise there is one system, of all outputs' coefficients.

Vectors have shape (n_systems, q).
"""

from copy import copy

import numpy as np
from scipy.linalg import cholesky, lapack

from .. import _kernels

# Rank-one changes cost about 6 q^2 each at the speed of memory, a new factor q^3 / 3 at
# that of BLAS.
_RANK_ONE_SHARE = 16
_MOST_JITTER = 1e-6
# What an estimate of the condition may have grown by before another is made.
_MOST_GROWTH = 2.0
# What rows, or a change of the penalty, make up of a Hessian, by bounds that are enough
# when it is so small.
_SMALL_SHARE = 0.05
_SMALL_SHARE_OF_PENALTY = 1e-3


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
        False where H is singular to working accuracy and something was added to its
        diagonal for the sake of the factor.
    """

    _inverse_size = None  # of dumps of versions that did not know it

    def __init__(self, sums, group_weight, penalty):
        self._penalise(penalty)
        self._take(sums, group_weight)
        self._factorise()

    def _penalise(self, penalty):
        self.penalty = penalty
        self._penalties, self._which = np.unique(penalty, axis=0, return_inverse=True)
        self._which = self._which.reshape(-1)  # NumPy 2.0 gave it another shape

    def _take(self, sums, group_weight):
        self.sums = sums
        self.group_weight = group_weight
        self._matrix = over_groups(sums, group_weight)

    def _factorise(self):
        """Upper Cholesky factors, one for each different penalty."""
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

        What is left of a Hessian whose condition is known takes that over, with what it
        may have grown by.
        """
        self._estimate()
        return self._condition * self._growth

    def inverse(self):
        """``H^-1``, of shape (q, q), by the first factor."""
        return _solution(self._factors[0], np.eye(len(self._matrix)))

    def inverse_size(self):
        """Estimate of the 1-norm of the inverse, after scaling the diagonal to 1.

        It takes over what is left of a Hessian as `condition` does.
        """
        self._estimate()
        return self._inverse_size * self._growth

    def _estimate(self):
        if self._condition is None or self._inverse_size is None:
            estimates = [_condition(factor) for factor in self._factors]
            self._condition, self._inverse_size = np.max(estimates, axis=0)
            self._growth = 1.0

    def share(self, part):
        """At least the largest eigenvalue of ``H^-1 part``: what some rows make up.

        Their sum of squares will do where it is small: it takes no eigenvalues.

        Parameters
        ----------
        part : ndarray of shape (q, q)
            Hessian of the rows.
        """
        largest = 0.0
        for factor in self._factors:
            ratio = _solution(factor, part)
            share = np.sqrt(max(0.0, np.sum(ratio * ratio.T)))
            if share > _SMALL_SHARE:
                half = _half(factor, _half(factor, part))
                share = np.linalg.eigvalsh(half)[-1]
            largest = max(largest, share)
        return float(largest)

    def share_of_roots(self, roots):
        """The same of vectors whose outer products sum to the rows' Hessian."""
        largest = 0.0
        for factor in self._factors:
            half = _half(factor, roots)
            largest = max(largest, np.linalg.eigvalsh(half.T @ half)[-1])
        return float(largest)

    def share_of_penalty(self, penalty):
        """The same of what another penalty is less than ours.

        ``H >= penalty``, so that the largest ratio of the two is one bound; columns
        where it says little are taken by their curvature.
        """
        largest = 0.0
        for number, before in enumerate(self._penalties):
            after = penalty[np.argmax(self._which == number)]
            less = np.maximum(before - after, 0.0)
            ratio = np.divide(less, before, out=np.zeros_like(less), where=less > 0)
            many = np.flatnonzero(ratio > _SMALL_SHARE_OF_PENALTY)
            roots = np.zeros((len(many), len(less)))
            roots[np.arange(len(many)), many] = np.sqrt(less[many])
            half = _half(self._factors[number], roots)
            share = np.linalg.eigvalsh(half.T @ half)[-1] if len(many) else 0.0
            ratio[many] = 0.0
            largest = max(largest, share + ratio.max(initial=0.0))
        return float(largest)

    def spreads(self):
        """Square roots of the diagonal of H, shape (n_systems, q)."""
        diagonal = self._matrix.diagonal()
        return np.sqrt(np.maximum(diagonal, 0.0) + self.penalty)

    def largest_ratio(self, sizes):
        """The largest ratio of some sizes of columns to our `spreads`.

        ``sizes`` has shape (n_systems or 1, q).
        """
        spreads = self.spreads()
        sizes = np.broadcast_to(sizes, spreads.shape)
        ratios = np.full(spreads.shape, np.inf)
        np.divide(sizes, spreads, out=ratios, where=spreads > 0.0)
        return float(np.max(ratios, where=sizes > 0.0, initial=0.0))

    def takes_roots(self, n_roots):
        """Whether so few rank-one changes cost less than a new factor."""
        return self.is_exact and n_roots <= len(self._matrix) / _RANK_ONE_SHARE

    def changed(
        self, sums, group_weight, added=None, removed=None, rest=0.0, penalty=None
    ):
        """This Hessian after rows joined and left.

        Parameters
        ----------
        sums : ndarray of shape (n_groups, q, q)
            Of the rows that are there now.
        group_weight : ndarray of shape (n_groups,)
        added, removed : ndarray of shape (n_roots, q), optional
            Vectors whose outer products sum to the change; the factors are then
            changed by them.
        rest : float
            At least what is left of H without those that leave, as a share.
        penalty : ndarray of shape (n_systems, q), optional
            What it is now. Where it is another, the factors are made anew.
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
            if len(added) or self._growth > _MOST_GROWTH * rest:
                other._condition = other._inverse_size = None
            else:
                other._growth = self._growth / rest
        if not rotates or any(factor is None for factor in other._factors):
            other._factorise()
        return other

    def factorised(self):
        """The same Hessian with fresh factors, which hold no rounding of edits."""
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
        while jitter <= _MOST_JITTER:
            np.fill_diagonal(matrix, np.where(empty, 1.0, (1.0 + jitter) * diagonal))
            try:
                factor = cholesky(matrix, check_finite=False)
            except np.linalg.LinAlgError:
                jitter = max(10.0 * jitter, 1e-14)
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


def _rotated(factor, added, removed):
    """A factor after rank-one changes; None where they leave nothing definite."""
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
    """Sum of matrices over the groups; not a copy where there is one, of factor 1."""
    if len(sums) == 1:
        return sums[0]
    return np.tensordot(group_weight, sums, axes=1)


def roots(X, curvatures, weight):
    """Vectors whose outer products sum to the Hessian of some rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_dof)
    curvatures : ndarray of shape (n_rows, m, m)
    weight : ndarray of shape (n_rows,)

    Returns
    -------
    roots : ndarray of shape (n_rows * m, m * n_dof)
    """
    values, vectors = np.linalg.eigh(curvatures)
    values = np.maximum(values, 0.0) * weight[:, np.newaxis]
    half = (vectors * np.sqrt(values)[:, np.newaxis]).swapaxes(1, 2)
    n_rows, m, _ = half.shape
    return (half[:, :, :, np.newaxis] * X[:, np.newaxis, np.newaxis]).reshape(
        n_rows * m, m * X.shape[1]
    )
