"""Curvature pairs, which correct an approximate inverse of a Hessian.

A pair is a vector v and its product with the Hessian, known from a step (the change of
the gradient) or from conjugate gradients (the product itself). The correction is that
of BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.4), started from any
positive definite approximation instead of a multiple of the identity. Pairs of earlier
systems make it a preconditioner for the next one (Morales and Nocedal 2000, "Automatic
preconditioning by limited memory quasi-Newton updating", SIAM J. Optim. 10): the
directions in which the approximation is worst come first in every system.
"""

from copy import copy

import numpy as np

# Accuracy: a pair is used if the cosine of its angle exceeds this; otherwise its
# curvature is not clearly positive.
_MIN_COSINE = 1e-8


class CurvaturePairs:
    """The last pairs that were added, never changed by a copy.

    Parameters
    ----------
    most : int
        Number of pairs that are kept.
    """

    def __init__(self, most):
        self._most = most
        self._pairs = []

    def __len__(self):
        return len(self._pairs)

    @property
    def nbytes(self):
        return sum(v.nbytes + response.nbytes for v, response, _ in self._pairs)

    def copied(self):
        """Return the same pairs, to which others can be added."""
        return copy(self)

    def add(self, vectors, response):
        """Add a pair, if its curvature is clearly positive."""
        curvature = np.sum(vectors * response)
        lengths = np.sqrt(np.sum(vectors**2) * np.sum(response**2))
        if self._most and curvature > _MIN_COSINE * lengths:
            added = [*self._pairs, (vectors, response, curvature)]
            self._pairs = added[-self._most :]

    def solve(self, vectors, solve):
        """Return the product of vectors with the corrected inverse.

        Parameters
        ----------
        vectors : ndarray of shape (n_systems, q)
        solve : callable
            The product with the approximate inverse.
        """
        coefficients, remaining = [], vectors
        for moved, response, curvature in reversed(self._pairs):
            coefficients.append(np.sum(moved * remaining) / curvature)
            remaining = remaining - coefficients[-1] * response
        found = solve(remaining)
        for moved, response, curvature in self._pairs:
            correction = coefficients.pop() - np.sum(response * found) / curvature
            found = found + correction * moved
        return found
