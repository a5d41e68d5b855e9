"""A Hessian that is too large to keep: its products with vectors, by passes.

Systems are solved by preconditioned conjugate gradients (Nocedal and Wright, Numerical
Optimization, algorithm 5.3). A preconditioner is an approximation of the Hessian that
is easily inverted:

kronecker   A (x) X'SX / S + alpha I, with A the sum of the rows' second derivatives:
            exact if all rows have the same one; inverted by eigenvectors.
subset      The Hessian of a sample of the rows (`subset`).
diagonal    The diagonal of the Hessian itself.

All are corrected by the products of earlier systems of the same fit or edit, and of
those before (`curvature_pairs`).

None bounds the Hessian from below: see `penalty_bound`.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import eigh

from .curvature_pairs import CurvaturePairs
from .subset import Subset

# Accuracy: the error at a step is estimated from so many later steps (Strakos and Tichy
# recommend about 4). With fewer, slow phases are taken for convergence.
_DELAY = 4
# Cost: pairs of earlier systems that correct a preconditioner, and their bytes. Each
# reads two vectors, where a pass reads all rows. On digits in ten classes 100 pairs
# save a third of the passes of an edit, 40 a fifth.
_MOST_PAIRS = 100
_PAIR_BYTES = 2**25
# Cost: passes that are left to the caller, to try the step and to judge it.
_RESERVE = 3
# Cost: a solution that is exact enough by the estimate is improved by at most so many
# times the steps that it took, until the same can be proved.
_MAX_FOR_PROOF = 1.0


@dataclass(frozen=True)
class Recycled:
    """What earlier systems leave for the preconditioners of later ones.

    Nothing that it holds has to be right, so that it outlives edits.

    Attributes
    ----------
    pairs : CurvaturePairs
        Products with Hessians.
    moments : tuple or None
        See `Problem.standardised_moments`. None where they were not needed.
    preconditioner : Subset or None
        One that serves at other iterates, and for other rows, as well.
    """

    pairs: CurvaturePairs
    moments: tuple | None = None
    preconditioner: Subset | None = None

    @classmethod
    def nothing(cls, size):
        """Return what there is at first, for vectors of so many entries."""
        return cls(CurvaturePairs(min(_MOST_PAIRS, _PAIR_BYTES // (16 * size))))

    @property
    def nbytes(self):
        kept = 0 if self.preconditioner is None else self.preconditioner.nbytes
        kept += sum(array.nbytes for array in self.moments or ())
        return kept + self.pairs.nbytes


class ProductHessian:
    """The Hessian of a problem at an iterate.

    Parameters
    ----------
    problem : Problem
    iterate : ndarray of shape (n_outputs, n_dof)
    precondition : Diagonal, Kronecker or Subset

    Attributes
    ----------
    problem, iterate, precondition
    """

    def __init__(self, problem, iterate, precondition):
        self.problem, self.iterate = problem, iterate
        self._states = problem.objective.hessian_states(iterate, problem.indices)
        self.precondition = precondition
        self._pairs = problem.recycled.pairs

    def product(self, vectors):
        """Return ``H v``, in one pass."""
        problem = self.problem
        problem.meter.spend(n_passes=1)
        products = problem.objective.hessian_products(
            self._states, self.iterate, problem.by_output(vectors), problem.indices
        )
        return problem.data(products) + problem.penalty * vectors

    def solve(self, vectors, tolerance, is_enough=None):
        """Return ``H^-1 v`` to a relative error in the norm of H.

        The error is estimated from later steps (Hestenes and Stiefel 1952; Strakos and
        Tichy 2002): the squared error at a step is the sum of all later gains. The
        iteration stops where the problem's meter allows no more passes.

        Where a caller can tell from the residual that the error is small enough, the
        iteration stops as soon as that is so; and if it is not when the estimate is
        small enough, after at most as many steps more.

        Parameters
        ----------
        vectors : ndarray of shape (n_systems, q)
        tolerance : float
        is_enough : callable, optional
            ``is_enough(residual, norm, length)``, where the norm is that of the
            residual in the inverse of the preconditioner, and the length that of the
            solution so far in the norm of H.

        Returns
        -------
        solution : ndarray
        residual : ndarray
            The right-hand side minus H times the solution.
        error : float
            Estimate of the solution's error in the norm of H; infinite if H is
            singular in working precision, or if the meter allows no pass.
        """
        solution = np.zeros_like(vectors)
        residual = vectors.copy()
        direction = preconditioned = self._approximate(residual)
        squared_norm = np.sum(residual * preconditioned)
        gains, most, used = [], np.inf, self._pairs.copied()
        for _ in range(vectors.size):
            affordable = self.problem.meter.allows(n_passes=1 + _RESERVE)
            if not (squared_norm > 0.0 and affordable):
                break
            response = self.product(direction)
            curvature = np.sum(direction * response)
            used.add(direction, response)
            if not curvature > 0.0:  # H is singular: no step length is known
                return solution, residual, np.inf
            length = squared_norm / curvature
            solution = solution + length * direction
            residual = residual - length * response
            gains.append(length * squared_norm)
            preconditioned = self._approximate(residual)
            before, squared_norm = squared_norm, np.sum(residual * preconditioned)
            norm, moved = np.sqrt(max(0.0, squared_norm)), np.sqrt(sum(gains))
            if is_enough and is_enough(residual, norm, moved):
                break
            recent = sum(gains[-_DELAY:])
            if len(gains) >= _DELAY and recent <= tolerance**2 * sum(gains):
                allowed = (1.0 + _MAX_FOR_PROOF) * len(gains) if is_enough else 0.0
                most = min(most, allowed)
            if len(gains) >= most:
                break
            direction = preconditioned + (squared_norm / before) * direction
        if squared_norm > 0.0 and not gains:  # nothing was affordable
            return solution, residual, np.inf
        self.problem.recycled = replace(self.problem.recycled, pairs=used)
        # The last gains estimate the error before them, which was larger than now.
        return solution, residual, float(np.sqrt(sum(gains[-_DELAY:])))

    def _approximate(self, vectors):
        """Return the product with the inverse of the preconditioner."""
        return self._pairs.solve(vectors, self.precondition.solve)

    def norm(self, vectors):
        """Return ``sqrt(v' H v)``, in one pass."""
        return float(np.sqrt(max(0.0, np.sum(vectors * self.product(vectors)))))

    def dual_norms(self, many):
        """Return `dual_norm` of each of many vectors."""
        return np.array([self.dual_norm(vectors) for vectors in many])

    def dual_norm(self, vectors):
        """Return ``sqrt(v' M^-1 v)``, with the preconditioner for the Hessian."""
        squared_norm = np.sum(vectors * self.precondition.solve(vectors))
        return float(np.sqrt(max(0.0, squared_norm)))


class Diagonal:
    """The diagonal of the Hessian."""

    is_kept = False

    def __init__(self, problem, iterate):
        objective = problem.objective.merged(problem.group_weight)
        squares = objective.hessian_diagonals(iterate, problem.indices)[0]
        diagonal = squares.reshape(problem.penalty.shape) + problem.penalty
        self._diagonal = np.where(diagonal > 0.0, diagonal, 1.0)

    def solve(self, vectors):
        return vectors / self._diagonal


class Kronecker:
    """Mean second derivative (x) second moment of the rows.

    Parameters
    ----------
    problem : Problem
    iterate : ndarray of shape (n_outputs, n_dof)
    """

    is_kept = False

    def __init__(self, problem, iterate):
        objective = problem.objective.merged(problem.group_weight)
        self._scale = problem.scale
        self._moments, self._basis = problem.standardised_moments
        curvature = objective.second_derivative_sums(iterate, problem.indices)[0]
        if not np.isfinite(curvature).all():  # second derivatives overflow here
            raise np.linalg.LinAlgError("the preconditioner is not finite")
        values, self._outputs = eigh(curvature / problem.weight)
        scaled = np.outer(np.maximum(values, 0.0), np.maximum(self._moments, 0.0))
        self._values = scaled + problem.largest_alpha
        self._values[self._values <= 0.0] = 1.0

    @staticmethod
    def decompose(moments):
        """Return eigenvalues and eigenvectors, which are those of all iterates."""
        return eigh(moments, check_finite=False)

    def solve(self, vectors):
        # Outputs are one block if they couple; otherwise each system is a block.
        blocks = (vectors / self._scale).reshape(
            -1, len(self._outputs), len(self._basis)
        )
        inner = self._outputs.T @ blocks @ self._basis / self._values
        solution = self._outputs @ inner @ self._basis.T
        return solution.reshape(vectors.shape) / self._scale


# By curvature kind. Any other kind is a Hessian that is kept.
PRECONDITIONERS = {"subset": Subset, "kronecker": Kronecker, "diagonal": Diagonal}
