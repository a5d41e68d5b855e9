"""The sums over rows that Hessian checkpoints consist of, and their directions.

Whether a row belongs to the sample depends on a hash of its position (`splitmix.draw`).
Rows that leave can therefore be subtracted from the sums, and rows that join added,
without a list of the sampled rows.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from .._data.group_weights import LARGEST_PART
from .._objective.second_derivatives import curvature_blocks
from .._utils import progress
from . import cost
from .splitmix import draw

# An accuracy threshold: the entries of the mean row's direction are multiples of 1/64
# of the largest one. With ten times as many digits, n times the mean less the rows that
# stay would resemble the rows that left.
_PARTS_OF_MEAN = 64.0


@dataclass(frozen=True)
class CheckpointSums:
    """Sums over rows at each checkpoint, by group. Sums of disjoint rows add up.

    The sample is divided into two halves, whose difference shows the sampling error. If
    all rows are sampled, they form one "half".

    Attributes
    ----------
    weight : ndarray of shape (n_halves, n_groups)
        Weight of the sampled rows.
    hessians : ndarray of shape (n_halves, n_points, n_groups, size, size)
        Hessians of the sampled rows, in the coordinates of the loss and in the
        directions: ``size = n_curvatures * n_directions``.
    moments : ndarray of shape (n_halves, n_groups, n_directions, n_directions)
        Second moments of the sampled rows.
    second_derivatives : ndarray of shape (n_halves, n_points, n_groups, m, m)
        Second derivatives of the loss of the sampled rows; ``m = n_curvatures``.
    all_weight : ndarray of shape (n_groups,)
        Weight of all rows.
    all_moments : ndarray of shape (n_groups, n_directions, n_directions)
        Second moments of all rows.
    all_squares : ndarray of shape (n_groups, n_dof)
        Sums of the squared columns of all rows; zero where Hessians are whole.
    """

    weight: np.ndarray
    hessians: np.ndarray
    moments: np.ndarray
    second_derivatives: np.ndarray
    all_weight: np.ndarray
    all_moments: np.ndarray
    all_squares: np.ndarray

    @classmethod
    def of(cls, objective, view, iterates, indices, positions, fraction):
        """Return the sums of some rows.

        Parameters
        ----------
        objective : AbstractDataTerm
        view : WholeView or DirectedView
        iterates : ndarray of shape (n_points, n_outputs, n_dof)
            Where Hessians are computed.
        indices, positions : ndarray of shape (n_rows,)
        fraction : float
            Fraction of the rows that is sampled, by their positions.
        """
        draws = draw(positions)
        halves = [draws < fraction]
        if fraction < 1.0:
            in_first = draws < fraction / 2
            halves = [in_first, halves[0] & ~in_first]

        def sums_of(half):
            second_derivatives = [
                objective.second_derivative_sums(iterate, half) for iterate in iterates
            ]
            weight = objective.weight_by_group(half)
            return weight, *view.sums(iterates, half), np.stack(second_derivatives)

        by_half = [sums_of(indices[half]) for half in halves]
        of_sample = [np.stack(part) for part in zip(*by_half, strict=True)]
        return cls(
            *of_sample,
            objective.weight_by_group(indices),
            view.second_moments(indices) if fraction < 1.0 else of_sample[2][0],
            view.squares(indices),
        )

    def plus(self, other):
        """Return the sums with other rows added."""
        mine, theirs = vars(self), vars(other)
        return CheckpointSums(**{name: mine[name] + theirs[name] for name in mine})

    def minus(self, other):
        """Return the sums without some of the rows; None if too few digits remain."""
        mine, theirs = vars(self), vars(other)
        rest = CheckpointSums(**{name: mine[name] - theirs[name] for name in mine})
        for name in ("hessians", "all_moments", "all_squares"):
            left, taken = getattr(rest, name), theirs[name]
            if np.abs(taken).max() > LARGEST_PART * np.abs(left).max():
                return None
        return rest

    @property
    def nbytes(self):
        """Size of all arrays."""
        return sum(array.nbytes for array in vars(self).values())


class WholeView:
    """Sums in which rows have all their columns."""

    basis = None

    def __init__(self, objective):
        self._objective = objective
        self.second_moments = objective.second_moments

    def sums(self, iterates, indices):
        """Return Hessians at some iterates, and second moments, of some rows."""
        hessians = [
            self._objective.hessian_sums(iterate, indices)
            for iterate in progress.each("Hessians", iterates)
        ]
        return np.stack(hessians), self.second_moments(indices)

    def squares(self, indices):
        """Return zeros: no direction is left over."""
        return np.zeros((self._objective.n_groups, self._objective.n_dof))


class DirectedView:
    """Sums in which rows are projected on a few orthonormal directions."""

    def __init__(self, objective, basis):
        self._objective = objective
        self.basis = basis

    def sums(self, iterates, indices):
        """Return Hessians at some iterates, and second moments, of some rows."""
        objective = self._objective
        m, n_directions = objective.n_curvatures, len(self.basis)
        size = m * n_directions
        hessians = np.zeros((len(iterates), objective.n_groups, size, size))
        blocks = hessians.reshape(*hessians.shape[:2], m, n_directions, m, n_directions)
        moments = np.zeros((objective.n_groups, n_directions, n_directions))
        for group, (members, rows) in enumerate(self._projected(indices)):
            moments[group] = self._moments(members, rows)
            for point, iterate in enumerate(progress.each("Hessians", iterates)):
                for some in curvature_blocks(len(members), objective.loss):
                    curvatures = objective.second_derivatives(iterate, members[some])
                    part = rows[some]
                    for j, k in zip(*np.triu_indices(m), strict=True):
                        block = (part * curvatures[:, j, k, np.newaxis]).T @ part
                        blocks[point, group, j, :, k] += block
                        if j != k:
                            blocks[point, group, k, :, j] += block
        return hessians, moments

    def second_moments(self, indices):
        """Return second moments of some rows, by group."""
        return np.stack([self._moments(*part) for part in self._projected(indices)])

    def squares(self, indices):
        """Return sums of the squared columns of some rows, by group."""
        return self._objective.column_squares(indices)

    def _projected(self, indices):
        """Yield the storage indices and the projected rows of each group."""
        for members in self._objective.by_group(indices):
            yield members, self._objective.raw_predictions(self.basis, members)

    def _moments(self, members, rows):
        return (self._objective.weight[members, np.newaxis] * rows).T @ rows


def view_of(objective, basis):
    """Return the view in some directions; None stands for all columns."""
    return WholeView(objective) if basis is None else DirectedView(objective, basis)


def leading_directions(objective, indices):
    """Return the leading eigenvectors of the rows' second moments.

    Returns
    -------
    basis : ndarray of shape (n_directions, n_dof)
        Orthonormal.
    """
    n_dof = objective.n_dof
    some = indices[:: max(1, len(indices) // (cost.ROWS_PER_COLUMN * n_dof))]
    moments = objective.second_moments(some).sum(axis=0)
    n_directions = min(cost.N_DIRECTIONS, n_dof)
    _, vectors = eigh(moments, subset_by_index=[n_dof - n_directions, n_dof - 1])
    return np.ascontiguousarray(vectors.T)


def direction_of_mean(objective, indices):
    """Return the approximate direction of the mean row, shape (1, n_dof).

    The direction is kept when rows leave. From an exact one, n times the mean less the
    other rows would be the rows that left; therefore it is rounded.
    """
    mean = objective.row_sum(indices)
    unit = np.abs(mean).max() / _PARTS_OF_MEAN
    if unit > 0.0:
        mean = np.rint(mean / unit)
    length = np.linalg.norm(mean)
    return mean[np.newaxis] / (length if length > 0.0 else 1.0)
