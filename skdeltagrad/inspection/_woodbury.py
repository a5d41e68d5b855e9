"""Solving with the Hessian of the rows that stay, for many units of rows at once.

Let V hold a root of the Hessian of the rows of a unit, one vector in a row, so that
their Hessian is V'V. Woodbury's identity then needs the factor of H alone:

    (H - V'V)^-1  =  H^-1 + Z' (I - V Z')^-1 Z,      Z = V H^-1.

A unit with more vectors than the order q of H has q of them instead, those of the
triangular factor R of V = QR, because ``V'V = R'R``.

The eigenvalues of I - V Z' are those of H^-1 (H - V'V), except for ones. The least of
them is the *fraction remaining* of H in the direction in which the unit matters most.
Where it is near to zero, the inverse has no digits left, and the unit has to be left
out by other means.
"""

from copy import copy

import numpy as np

from .._optimum.hessian import roots

# Rounding: the least eigenvalue that is divided by.
_EPS = np.finfo(float).eps


class Downdate:
    """The Hessian without the rows of each unit of a block.

    Parameters
    ----------
    objective : AbstractDataTerm
    hessian : Hessian
        Of all rows, with the factors of the groups' weights without a unit.
    iterate : ndarray of shape (n_outputs, n_dof)
        Where the Hessian was taken.
    index : ndarray of shape (n_units, size)
        Storage indices of the rows of each unit.

    Attributes
    ----------
    group_weight : ndarray of shape (n_groups,)
        Factors of the groups' weights.
    is_exact : bool
        Whether the Hessian is nonsingular in working precision.
    gradients : ndarray of shape (n_units, n_outputs, n_dof)
        Gradient of the data term at the iterate, summed over the rows of each unit.
    remaining : ndarray of shape (n_units,)
        Least eigenvalue of ``H^-1 (H - V'V)``.
    """

    def __init__(self, objective, hessian, iterate, index):
        self.index = index
        self.group_weight, self.is_exact = hessian.group_weight, hessian.is_exact
        self._hessian, self._objective = hessian, objective
        loss, rows = objective.loss, index.ravel()
        X, weight = objective.extended(rows), self.weights(rows)
        raw = X @ iterate.T
        V = roots(X, loss.second_derivatives(raw, objective.y[rows]), weight)
        self._V = V = _compressed(V.reshape(len(index), -1, V.shape[1]))
        flat = V.reshape(1, -1, V.shape[2])
        self._Z = hessian.solve_many(flat).reshape(-1, *V.shape)
        left = np.eye(self._V.shape[1]) - self._Z @ self._V.swapaxes(1, 2)
        values, vectors = np.linalg.eigh(left)
        self.remaining = values.min(axis=(0, 2))
        values = np.maximum(values, _EPS)[:, :, np.newaxis]
        self._inverse = (vectors / values) @ vectors.swapaxes(2, 3)
        loss.differentiate(raw, objective.y[rows], weight, np.arange(len(rows)))
        by_unit = raw.reshape(*index.shape, -1).swapaxes(1, 2)
        self.gradients = by_unit @ X.reshape(*index.shape, -1)

    def weights(self, rows):
        """Weights of rows, by storage index, with the factors of their groups."""
        weight = self._objective.weight[rows]
        if self._objective.n_groups == 1:
            return weight
        return weight * self.group_weight[self._objective.group[rows]]

    def some(self, units):
        """Some units of the block."""
        other = copy(self)
        other.index, other.gradients = self.index[units], self.gradients[units]
        other.remaining = self.remaining[units]
        other._V, other._Z = self._V[units], self._Z[:, units]
        other._inverse = self._inverse[:, units]
        return other

    def solve(self, vectors):
        """``(H - V'V)^-1 v`` for one v for each unit: (n_units, n_systems, q)."""
        by_system = np.ascontiguousarray(vectors.swapaxes(0, 1))
        solutions = self._hessian.solve_many(by_system)
        along = self._inverse @ (self._Z @ by_system[..., np.newaxis])
        solutions += (self._Z.swapaxes(2, 3) @ along)[..., 0]
        return solutions.swapaxes(0, 1)

    def norms(self, vectors):
        """``sqrt(v' (H - V'V) v)`` for one v for each unit: (n_units,)."""
        of_unit = np.sum((self._V @ vectors.swapaxes(1, 2)) ** 2, axis=(1, 2))
        squares = self._hessian.norms(vectors) ** 2 - of_unit
        return np.sqrt(np.maximum(squares, 0.0))


def _compressed(V):
    """At most q vectors with the same ``V'V`` for each unit: (n_units, n, q)."""
    return np.linalg.qr(V, mode="r") if V.shape[1] > V.shape[2] else V
