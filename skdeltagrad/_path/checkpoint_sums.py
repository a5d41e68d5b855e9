"""Sums over rows that a seed is made of, and the directions that rows are seen in.

Rows are sampled by a hash of their position: those that leave and join can be taken out
of the sums, and into them, without a list of who was counted.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from .._data.group_weights import LARGEST_PART
from .._objective.second_derivatives import curvature_blocks
from .._utils import progress

# Directions that are kept of many, and rows for each column that they are made of.
N_DIRECTIONS = 64
ROWS_PER_COLUMN = 8
# Parts of the mean's largest entry that its direction is rounded to.
_GRAINS = 64.0


@dataclass(frozen=True)
class Sums:
    """Sums over rows, by group. Those of rows that leave and join add up.

    Attributes
    ----------
    weight : ndarray of shape (n_halves, n_groups)
        Of the sampled rows.
    hessians : ndarray of shape (n_halves, n_points, n_groups, size, size)
        Of the sampled rows, in the coordinates of the loss and in the directions.
    moments : ndarray of shape (n_halves, n_groups, n_directions, n_directions)
        Second moments of the sampled rows.
    bends : ndarray of shape (n_halves, n_points, n_groups, m, m)
        Second derivatives of the sampled rows.
    all_weight : ndarray of shape (n_groups,)
    all_moments : ndarray of shape (n_groups, n_directions, n_directions)
        The same of all rows.
    all_squares : ndarray of shape (n_groups, n_dof)
        Second moments of the columns of all rows; zero where Hessians are whole.
    """

    weight: np.ndarray
    hessians: np.ndarray
    moments: np.ndarray
    bends: np.ndarray
    all_weight: np.ndarray
    all_moments: np.ndarray
    all_squares: np.ndarray

    @classmethod
    def of(cls, objective, view, places, indices, positions, share):
        """Of some rows; sampled by their positions."""
        draws = draw(positions)
        halves = [draws < share]
        if share < 1.0:
            halves = [draws < share / 2, (draws >= share / 2) & (draws < share)]
        halves = [indices[half] for half in halves]
        by_half = [
            (
                objective.weight_by_group(half),
                *view.sums(places, half),
                np.stack(
                    [objective.second_derivative_sums(place, half) for place in places]
                ),
            )
            for half in halves
        ]
        of_halves = [np.stack(part) for part in zip(*by_half, strict=True)]
        return cls(
            *of_halves,
            objective.weight_by_group(indices),
            view.second_moments(indices) if share < 1.0 else of_halves[2][0],
            view.squares(indices),
        )

    def plus(self, other):
        """With other rows."""
        mine, theirs = vars(self), vars(other)
        return Sums(**{name: mine[name] + theirs[name] for name in mine})

    def minus(self, other):
        """Without some of the rows, or None where that costs too many digits."""
        mine, theirs = vars(self), vars(other)
        rest = Sums(**{name: mine[name] - theirs[name] for name in mine})
        for left, taken in (
            (rest.hessians, other.hessians),
            (rest.all_moments, other.all_moments),
            (rest.all_squares, other.all_squares),
        ):
            if np.abs(taken).max() > LARGEST_PART * np.abs(left).max():
                return None
        return rest

    @property
    def nbytes(self):
        return sum(array.nbytes for array in vars(self).values())


class WholeView:
    """Rows as they are."""

    basis = None

    def __init__(self, objective):
        self._objective = objective

    def sums(self, places, indices):
        """Hessians at some places, and second moments, of some rows by group."""
        hessians = [
            self._objective.hessian_sums(place, indices)
            for place in progress.each("Hessians", places)
        ]
        return np.stack(hessians), self.second_moments(indices)

    def second_moments(self, indices):
        """Of some rows by group."""
        return self._objective.second_moments(indices)

    def squares(self, indices):
        return np.zeros((self._objective.n_groups, self._objective.n_dof))


class DirectedView:
    """Rows as they are seen in a few orthonormal directions."""

    def __init__(self, objective, basis):
        self._objective = objective
        self.basis = basis

    def sums(self, places, indices):
        """Hessians at some places, and second moments, of some rows by group."""
        objective = self._objective
        m, n_directions = objective.n_curvatures, len(self.basis)
        size = m * n_directions
        hessians = np.zeros((len(places), objective.n_groups, size, size))
        blocks = hessians.reshape(*hessians.shape[:2], m, n_directions, m, n_directions)
        moments = np.zeros((objective.n_groups, n_directions, n_directions))
        for group, members in enumerate(objective.by_group(indices)):
            rows = objective.raw_predictions(self.basis, members)
            moments[group] = _moments_of(rows, objective.weight[members])
            for at, place in enumerate(progress.each("Hessians", places)):
                for some in curvature_blocks(len(members), objective.loss):
                    curvatures = objective.second_derivatives(place, members[some])
                    seen = rows[some]
                    for j, k in zip(*np.triu_indices(m), strict=True):
                        block = (seen * curvatures[:, j, k, np.newaxis]).T @ seen
                        blocks[at, group, j, :, k] += block
                        if j != k:
                            blocks[at, group, k, :, j] += block
        return hessians, moments

    def second_moments(self, indices):
        """Of some rows by group."""
        objective = self._objective
        return np.stack(
            [
                _moments_of(
                    objective.raw_predictions(self.basis, members),
                    objective.weight[members],
                )
                for members in objective.by_group(indices)
            ]
        )

    def squares(self, indices):
        return self._objective.column_squares(indices)


def leading_directions(objective, indices):
    """Where rows extend most: (n_directions, n_dof), orthonormal."""
    n_dof = objective.n_dof
    some = indices[:: max(1, len(indices) // (ROWS_PER_COLUMN * n_dof))]
    moments = objective.second_moments(some).sum(axis=0)
    n_directions = min(N_DIRECTIONS, n_dof)
    _, vectors = eigh(moments, subset_by_index=[n_dof - n_directions, n_dof - 1])
    return np.ascontiguousarray(vectors.T)


def direction_of_mean(objective, indices):
    """The mean row's direction, about: (1, n_dof).

    It stays when rows leave, and from an exact one n times the mean less the other rows
    would be the rows that left. So it is rounded, to a few parts of its largest entry.
    """
    mean = objective.row_sum(indices)
    grain = np.abs(mean).max() / _GRAINS
    if grain > 0.0:
        mean = np.rint(mean / grain)
    length = np.linalg.norm(mean)
    return mean[np.newaxis] / (length if length > 0.0 else 1.0)


def _moments_of(rows, weight):
    return (weight[:, np.newaxis] * rows).T @ rows


def draw(positions):
    """A number in [0, 1) for each position, that looks like one drawn.

    By a hash (splitmix64: Steele, Lea and Flood 2014).
    """
    x = (positions.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) / 2.0**64
