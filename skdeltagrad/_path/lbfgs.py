"""Quasi-Hessians predict the change of the gradient from the change of the iterate.

A curvature pair is (s, y): a change of the iterate and the change of the gradient that
was measured along it. For a quadratic function y = H s, and the pairs determine H in
the directions in which the iterate moves.
"""

import math

import numpy as np

from .. import _kernels

# Rounding: a pair is used if cos(s, y) is larger than this. A convex function of
# condition number kappa has cos(s, y) >= 2 sqrt(kappa) / (1 + kappa), which falls to
# this value at kappa = 4e16 only; smaller values are rounding.
_LEAST_COSINE = 1e-8


class CompactLBFGS:
    """The L-BFGS matrix B in compact form.

        B = sigma I - [sigma S, Y] M^-1 [sigma S, Y]',

        M = [ sigma S'S   L  ]     L_ij = s_i'y_j for i newer than j,
            [ L'         -D  ]     D_ii = s_i'y_i,

    with sigma = y's' / s's of the newest pair (Byrd, Nocedal and Schnabel 1994,
    equation 3.5 of the direct form; Nocedal and Wright, Numerical Optimization,
    theorem 7.4). Equal to applying the BFGS update for the pairs, oldest first, to
    sigma I.

    Parameters
    ----------
    history_size : int
        Number of pairs kept, the newest ones.
    n_coef : int
    """

    def __init__(self, history_size, n_coef):
        self._changes = np.zeros((history_size, n_coef))
        self._responses = np.zeros((history_size, n_coef))
        self._ss = np.zeros((history_size, history_size))
        self._sy = np.zeros((history_size, history_size))
        self._n_taken = 0  # modulo the history size: where the next pair is stored
        self._sigma = 0.0
        self._inverse = None

    @property
    def n_pairs(self):
        """Number of stored pairs."""
        return min(self._n_taken, len(self._changes))

    def update(self, change, response):
        """Store a curvature pair, unless its curvature is not clearly positive.

        Parameters
        ----------
        change, response : ndarray of shape (n_coef,)

        Returns
        -------
        taken : bool
        """
        ss, sy, yy = _kernels.lbfgs.own_products(change, response)
        norms = math.sqrt(ss * yy)
        if not (sy > _LEAST_COSINE * norms and math.isfinite(norms)):
            return False
        newest = self._n_taken % len(self._changes)
        self._changes[newest] = change
        self._responses[newest] = response
        self._n_taken += 1
        _kernels.lbfgs.inner_products(
            self._changes, self._responses, newest, self.n_pairs, self._ss, self._sy
        )
        self._sigma = sy / ss
        self._inverse = None  # computed when a prediction needs it
        return True

    def predict(self, iterate, anchor, base, scale, gradient_out):
        """Set ``base + scale * B (iterate - anchor)``, arrays of shape (n_coef,)."""
        if self._inverse is None:
            self._inverse = self._invert_middle()
        _kernels.lbfgs.predict(
            iterate, anchor, self._changes, self._responses, self.n_pairs, self._sigma,
            self._inverse, base, scale, gradient_out,
        )  # fmt: skip

    def _invert_middle(self):
        """Return M^-1 in storage order, from M scaled to a diagonal of 1 and -1."""
        n = self.n_pairs
        newest = self._n_taken - 1
        age = (newest - np.arange(n)) % len(self._changes)
        sy = self._sy[:n, :n]
        middle = np.zeros((2 * n, 2 * n))
        middle[:n, :n] = self._sigma * self._ss[:n, :n]
        middle[:n, n:] = np.where(age[:, np.newaxis] < age, sy, 0.0)
        middle[n:, :n] = middle[:n, n:].T
        middle[n:, n:] = np.diag(-sy.diagonal())
        scale = 1.0 / np.sqrt(np.abs(middle.diagonal()))
        scale = np.outer(scale, scale)
        return np.linalg.inv(middle * scale) * scale
