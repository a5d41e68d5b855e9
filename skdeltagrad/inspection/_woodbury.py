"""Solving with a Hessian that some rows were taken out of, for many sets of rows.

With H_U = E C E' for the rows E of a unit and their second derivatives C = R R',
Woodbury's identity takes one solution with the factor of H for each row:

    (H - H_U)^-1  =  H^-1 + Z R (I - R'GR)^-1 R' Z',    Z = H^-1 E,  G = E'Z.

Where little is left of a direction, I - R'GR has no digits: `Alone` sums the Hessian of
the rows that stay.
"""

from dataclasses import dataclass

import numpy as np

from .._objective.data_term import DataTerm
from .._optimum.hessian import Hessian, over_groups

# What is left of a direction without a unit, as a share, below which its digits are
# taken from the rows that stay.
LEAST_LEFT = 1e-5
_EPS = np.finfo(float).eps


@dataclass(frozen=True)
class Units:
    """Rows that leave together.

    Attributes
    ----------
    indices : ndarray of shape (n_rows,)
        Unit by unit.
    bounds : ndarray of shape (n_units + 1,)
        Where each unit's begin.
    """

    indices: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, indices, unit, n_units):
        """Units by the number of each row's."""
        sizes = np.bincount(unit, minlength=n_units)
        order = np.argsort(unit, kind="stable")
        return cls(indices[order], np.concatenate([[0], np.cumsum(sizes)]))

    def __len__(self):
        return len(self.bounds) - 1

    @property
    def sizes(self):
        return np.diff(self.bounds)

    def of_unit(self, number):
        """Storage indices of one unit."""
        return self.indices[self.bounds[number] : self.bounds[number + 1]]

    def of_units(self, numbers):
        """Storage indices of units of one size: (n_units, size)."""
        size = self.bounds[numbers[0] + 1] - self.bounds[numbers[0]]
        return self.indices[self.bounds[numbers][:, np.newaxis] + np.arange(size)]


@dataclass(frozen=True)
class Leaving:
    """Units of one size that are to leave.

    Attributes
    ----------
    objective : DataTerm
    group_weight : ndarray of shape (n_groups,)
        Factors of the groups without any of them.
    indices : ndarray of shape (n_units, size)
    """

    objective: DataTerm
    group_weight: np.ndarray
    indices: np.ndarray

    def some(self, units):
        """Some of the units."""
        return Leaving(self.objective, self.group_weight, self.indices[units])

    def factors(self, indices):
        """Factors of the groups of some rows."""
        if self.objective.n_groups == 1:
            return np.ones(len(indices))
        return self.group_weight[self.objective.group[indices]]


class UnitRows:
    """The rows of units, copied, around an iterate.

    Parameters
    ----------
    leaving : Leaving
    iterate : ndarray of shape (n_outputs, n_dof)

    Attributes
    ----------
    X : ndarray of shape (n_units, size, n_dof)
    curvatures : ndarray of shape (n_units, size, m, m)
        Second derivatives, weights and factors included.
    gradients : ndarray of shape (n_units, n_outputs, n_dof)
        Of the data term, summed for each unit.
    """

    def __init__(self, leaving, iterate):
        objective, shape = leaving.objective, leaving.indices.shape
        flat = leaving.indices.ravel()
        X = objective.extended(flat)
        raw = X @ iterate.T
        factors = leaving.factors(flat)
        curvatures = objective.loss.second_derivatives(raw, objective.y[flat])
        curvatures *= (objective.weight[flat] * factors)[:, np.newaxis, np.newaxis]
        objective.loss.differentiate(raw, objective.y, objective.weight, flat)
        raw *= factors[:, np.newaxis]
        self.X = X.reshape(*shape, -1)
        self.curvatures = curvatures.reshape(*shape, *curvatures.shape[1:])
        self.gradients = raw.reshape(*shape, -1).swapaxes(1, 2) @ self.X


class Downdate:
    """Solves with H - H_U for the units of a block, by Woodbury's identity.

    Attributes
    ----------
    rest : ndarray of shape (n_units,)
        Least eigenvalue of ``H^-1 (H - H_U)``: what is left of H.
    """

    def __init__(self, hessian, rows):
        n_units, size, n_dof = rows.X.shape
        m = rows.curvatures.shape[-1]
        n_roots = size * m
        # A column of E for each row and coordinate.
        E = np.zeros((n_units, size, m, m, n_dof))
        E[:, :, np.arange(m), np.arange(m)] = rows.X[:, :, np.newaxis]
        Z = hessian.solve_many(E.reshape(1, -1, m * n_dof))
        self._Z = Z.reshape(-1, n_units, n_roots, m * n_dof)
        # G = E'Z: a row of E meets only the part of its own coordinate.
        G = Z.reshape(-1, n_units, n_roots * m, n_dof) @ rows.X.swapaxes(1, 2)
        G = G.reshape(-1, n_units, n_roots, m, size).transpose(0, 1, 4, 3, 2)
        G = G.reshape(-1, n_units, n_roots, n_roots)
        R = _block_roots(rows.curvatures)
        left = np.eye(n_roots) - R.swapaxes(1, 2) @ G @ R
        values, vectors = np.linalg.eigh(left)
        self.rest = values.min(axis=(0, 2))
        half = R @ vectors
        values = np.maximum(values, _EPS)[:, :, np.newaxis]
        self._middle = (half / values) @ half.swapaxes(2, 3)
        self._hessian, self._rows = hessian, rows
        self.is_exact = hessian.is_exact

    def solve(self, vectors, which=slice(None)):
        """``(H - H_U)^-1 v`` for one v for each unit, (n_units, n_systems, q).

        For all units of the block, or some.
        """
        many = np.ascontiguousarray(vectors.swapaxes(0, 1))
        Z = self._Z[:, which]
        seen = self._middle[:, which] @ (Z @ many[..., np.newaxis])
        solutions = self._hessian.solve_many(many)
        solutions += (Z.swapaxes(2, 3) @ seen)[..., 0]
        return solutions.swapaxes(0, 1)

    def norms(self, vectors, which=slice(None)):
        """``sqrt(v' (H - H_U) v)``; shapes are those of `solve`."""
        X, curvatures = self._rows.X[which], self._rows.curvatures[which]
        parts = vectors.reshape(len(vectors), -1, curvatures.shape[2], X.shape[2])
        seen = np.einsum("usjd,ukd->uskj", parts, X, optimize=True)
        gone = np.einsum("uski,ukij,uskj->u", seen, curvatures, seen)
        squares = self._hessian.norms(vectors) ** 2 - gone
        return np.sqrt(np.maximum(squares, 0.0))


class Alone:
    """Solves with the Hessian of the rows that stay without one unit.

    Attributes are those of `Downdate`.
    """

    def __init__(self, problem, iterate, leaving):
        stay = np.setdiff1d(problem.indices, leaving.indices, assume_unique=True)
        sums = problem.objective.hessian_sums(iterate, stay)
        self._hessian = Hessian(sums, leaving.group_weight, problem.penalty)
        self.is_exact = self._hessian.is_exact
        self.rest = np.zeros(1)

    def compare(self, hessian):
        """Find out what is left of the Hessian of all rows."""
        mine = over_groups(self._hessian.sums, self._hessian.group_weight)
        part = over_groups(hessian.sums, hessian.group_weight) - mine
        rest = 1.0 - hessian.share(part)
        self.rest[0] = rest if rest > LEAST_LEFT else 0.0

    def solve(self, vectors, which=slice(None)):
        """``(H - H_U)^-1 v``; shapes are those of `Downdate.solve`."""
        return self._hessian.solve(vectors[0])[np.newaxis]

    def norms(self, vectors, which=slice(None)):
        """``sqrt(v' (H - H_U) v)``."""
        return self._hessian.norms(vectors)


def _block_roots(curvatures):
    """R with ``C = R R'`` for the second derivatives of the rows of each unit."""
    n_units, size, m, _ = curvatures.shape
    values, vectors = np.linalg.eigh(curvatures)
    roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, :, np.newaxis]
    R = np.zeros((n_units, size, m, size, m))
    for row in range(size):
        R[:, row, :, row] = roots[:, row]
    return R.reshape(n_units, size * m, size * m)
