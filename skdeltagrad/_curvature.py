"""Quasi-Hessians: the change of the gradient predicted from the change of the iterate.

A curvature pair is (s, y): a change of the iterate and the change of the gradient that
was measured along it. For a quadratic y = H s, and the pairs tell what H does in the
directions that the iterate moves in, which are the ones that matter.
"""

import numpy as np

from . import _kernels

# A pair counts when its curvature is clearly positive: cos(s, y) above this. A convex
# function of condition number kappa has cos(s, y) >= 2 sqrt(kappa) / (1 + kappa), which
# reaches this value only at kappa = 4e16; what lies below is rounding.
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
        self._n_taken = 0  # pairs ever taken; the ring place of the next one follows
        self._sigma = 0.0
        self._inverse = None

    @property
    def n_pairs(self):
        """Number of pairs in use."""
        return min(self._n_taken, len(self._changes))

    def update(self, change, response):
        """Take a curvature pair, unless its curvature is not clearly positive.

        Parameters
        ----------
        change, response : ndarray of shape (n_coef,)

        Returns
        -------
        taken : bool
        """
        curvature = change @ response
        norms = np.sqrt((change @ change) * (response @ response))
        if not (curvature > _LEAST_COSINE * norms and np.isfinite(norms)):
            return False
        newest = self._n_taken % len(self._changes)
        self._changes[newest] = change
        self._responses[newest] = response
        self._n_taken += 1
        _kernels.lbfgs.inner_products(
            self._changes, self._responses, newest, self.n_pairs, self._ss, self._sy
        )
        self._sigma = self._sy[newest, newest] / self._ss[newest, newest]
        self._invert_middle(newest)
        return True

    def predict(self, drift, base, scale):
        """``base + scale * B drift``, shape (n_coef,)."""
        n_pairs = self.n_pairs
        projection = np.empty(2 * n_pairs)
        predicted = np.empty_like(base)
        _kernels.lbfgs.project(
            self._changes, self._responses, n_pairs, self._sigma, drift, projection
        )
        _kernels.lbfgs.predict(
            self._changes, self._responses, n_pairs, self._sigma,
            self._inverse @ projection, drift, base, scale, predicted,
        )  # fmt: skip
        return predicted

    def _invert_middle(self, newest):
        """M^-1 by ring place, from M scaled to a diagonal of 1 and -1."""
        n_pairs = self.n_pairs
        age = (newest - np.arange(n_pairs)) % len(self._changes)
        newer = age[:, np.newaxis] < age
        ss = self._sigma * self._ss[:n_pairs, :n_pairs]
        sy = self._sy[:n_pairs, :n_pairs]
        lower = np.where(newer, sy, 0.0)
        middle = np.block([[ss, lower], [lower.T, -np.diag(np.diag(sy))]])
        scale = 1.0 / np.sqrt(np.abs(np.diag(middle)))
        self._inverse = np.linalg.inv(middle * np.outer(scale, scale)) * np.outer(
            scale, scale
        )
