"""Hessians at a few checkpoints of a training path, from which a replay predicts.

    gradient at w_t + drift  =  g_t + B_t drift,      B_t between H(w_c) and H(w_c')

w_t and g_t are the cached iterates and gradients, and w_c, w_c' the iterates at the
checkpoints before and after step t. Checkpoints are dense at the start, where the path
moves most; between two of them B_t is interpolated by the length of the path. Hessians
are sums over a sample of the rows (`splitmix.draw`), so that rows which leave can be
subtracted, and rows which join added. A control variate corrects for what the sample
misses,

    H  ~  H_sample + A_sample (x) (G_all - G_sample),

all per unit of weight: A are the second derivatives of the loss, G the second moments
of the rows. The two halves of the sample show how large its error is.

Small Hessians are kept whole. Of large ones the block in the leading directions U of
the rows is kept, and in all other directions only the diagonal of the Kronecker
product:

    B  =  A (x) diag(tail) + U' C U,        U B U' = that block.

Where that is too expensive as well, or rows are sparse, U is the direction of the mean
row.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .. import _kernels
from .._data.group_weights import per_weight
from .._utils import threads
from . import cost
from .checkpoint_plan import CheckpointPlan
from .checkpoint_sums import CheckpointSums, view_of
from .splitmix import draw

# An accuracy threshold: iterates at checkpoints are rounded to multiples of 1/1024 of
# their largest entry. That moves the Hessians by less than interpolation does; with ten
# times as many digits they would resemble sums over rows that left.
_PARTS_OF_ITERATE = 2.0**10
# An accuracy threshold: Hessians are used for another path that is nearer than a
# quarter of the largest distance between two checkpoints. Errors of edits were then
# between half and twice those with new Hessians, on 13 data sets. With ten times as
# much, Hessians would be those of another part of the path.
_MOST_MOVED = 0.25


class HessianArrays(NamedTuple):
    """Hessians per unit of weight, as `_kernels.replay` reads and documents them."""

    frame: np.ndarray
    basis: np.ndarray
    tail: np.ndarray
    second_derivatives: np.ndarray
    blocks: np.ndarray
    point: np.ndarray
    progress: np.ndarray

    def product(self, step, drift):
        """Return the change of the gradients along a drift, per unit of weight.

        Parameters
        ----------
        step : int
        drift : ndarray of shape (n_outputs, n_dof)

        Returns
        -------
        product : ndarray of shape (n_groups, n_outputs, n_dof)
        """
        product = np.empty((self.blocks.shape[1], *drift.shape))
        _kernels.replay.hessian_product(drift, step, tuple(self), product)
        return product


@dataclass(frozen=True)
class Checkpoints:
    """Hessians at checkpoints of a path, of the current training rows. Immutable.

    Attributes
    ----------
    plan : CheckpointPlan
    basis : ndarray of shape (n_directions, n_dof) or None
        None if Hessians are whole.
    iterates : ndarray of shape (n_points, n_outputs, n_dof)
        Where Hessians were computed.
    sums : CheckpointSums
    positions : ndarray of shape (n_sampled,)
        Positions of the rows in the sample.
    point : ndarray of shape (n_steps,)
        Number of the last checkpoint up to each step.
    progress : ndarray of shape (n_steps,)
        Distance of each step from that checkpoint, in distances to the next: 0 to 1.
    """

    plan: CheckpointPlan
    basis: np.ndarray | None
    iterates: np.ndarray
    sums: CheckpointSums
    positions: np.ndarray
    point: np.ndarray
    progress: np.ndarray

    @classmethod
    def build(cls, plan, objective, trajectory, indices, positions):
        """Compute Hessians at the checkpoints of a path.

        Parameters
        ----------
        plan : CheckpointPlan
        objective : AbstractDataTerm
        trajectory : Trajectory
        indices, positions : ndarray of shape (n_rows,)
            All rows.
        """
        steps, point, progress = _place_checkpoints(
            trajectory, 1 if objective.loss.is_quadratic else plan.n_points
        )
        iterates = _rounded(trajectory.iterates_at(steps))
        sampled = draw(positions) < plan.fraction
        with threads.blas_for(objective.n_dof):
            basis = plan.properties.basis(objective, indices, indices[sampled])
        view = view_of(objective, basis)
        with threads.blas_for(order=1):  # products of one block of rows are small
            sums = CheckpointSums.of(
                objective, view, iterates, indices, positions, plan.fraction
            )
        return cls(plan, basis, iterates, sums, positions[sampled], point, progress)

    @threads.blas_for(order=1)
    def changed(self, objective, edit):
        """Return the checkpoints after an edit.

        None if the remaining sums would have too few digits, next to a row that was
        very large.
        """
        view = view_of(objective, self.basis)

        def sums_of(indices, positions):
            return CheckpointSums.of(
                objective, view, self.iterates, indices, positions, self.plan.fraction
            )

        sums, sample = self.sums, self.positions
        if len(edit.removed):
            sums = sums.minus(sums_of(edit.removed, edit.removed_positions))
            if sums is None:
                return None
            gone = self._sampled(edit.removed_positions)
            sample = np.setdiff1d(sample, gone, assume_unique=True)
        if len(edit.added):
            sums = sums.plus(sums_of(edit.added, edit.added_positions))
            sample = np.append(sample, self._sampled(edit.added_positions))
        return replace(self, sums=sums, positions=sample)

    def fit(self, trajectory):
        """Return whether they are near enough to another path of the same rows."""
        if len(self.iterates) == 1:  # the Hessian is constant
            return True
        steps = np.searchsorted(self.point, np.arange(len(self.iterates)))
        moved = trajectory.iterates_at(steps) - self.iterates
        largest = np.linalg.norm(moved, axis=(1, 2)).max()
        return bool(largest <= _MOST_MOVED * self.gaps.max())

    def _sampled(self, positions):
        return positions[draw(positions) < self.plan.fraction]

    def at(self, step):
        """Return checkpoints for one step alone."""
        before = self.point[step]
        points = slice(before, before + 1 + (self.progress[step] > 0.0))
        sums = replace(
            self.sums,
            hessians=self.sums.hessians[:, points],
            second_derivatives=self.sums.second_derivatives[:, points],
        )
        return replace(
            self, iterates=self.iterates[points], sums=sums,
            point=np.zeros(1, np.int64), progress=self.progress[step : step + 1],
        )  # fmt: skip

    def for_all_rows(self, loss):
        """Return the Hessians of all rows, estimated from the sample."""
        return self._arrays(loss, *self._means())

    def for_sample(self, loss):
        """Return the Hessians of the sample."""
        hessians, second_derivatives, _ = self._means()
        return self._arrays(loss, hessians, second_derivatives)

    def for_halves(self, loss):
        """Return the Hessians of all rows, estimated from each half of the sample.

        The list is empty if all rows are sampled.
        """
        if len(self.sums.weight) == 1:
            return []
        halves = slice(0, 1), slice(1, 2)
        return [self._arrays(loss, *self._means(half)) for half in halves]

    def _means(self, halves=slice(None)):
        """Return Hessians, second derivatives and moments, per unit of weight."""
        sums = self.sums
        weight = sums.weight[halves].sum(axis=0)
        parts = (sums.hessians, sums.second_derivatives, sums.moments)
        return [per_weight(part[halves].sum(axis=0), weight) for part in parts]

    def _arrays(self, loss, hessians, second_derivatives, moments=None):
        """Return `HessianArrays`, with the control variate if moments are given."""
        sums = self.sums
        tail = per_weight(sums.all_squares[:, np.newaxis], sums.all_weight)[:, 0]
        all_moments = per_weight(sums.all_moments, sums.all_weight)
        n_directions = all_moments.shape[-1]
        correction = np.zeros_like(all_moments)
        if moments is not None:
            correction += all_moments - moments
        basis = np.zeros((0, tail.shape[-1]))
        if self.basis is not None:
            basis = self.basis
            inside = np.einsum("gij,ia,ja->ga", all_moments, basis, basis)
            tail = np.maximum(tail - inside, 0.0)
            correction -= np.einsum("ia,ga,ja->gij", basis, tail, basis)
        m = second_derivatives.shape[-1]
        n_points, n_groups = hessians.shape[:2]
        blocks = hessians.copy()
        kronecker = blocks.reshape(n_points, n_groups, m, n_directions, m, n_directions)
        kronecker += np.einsum("pgjk,gab->pgjakb", second_derivatives, correction)
        if not loss.couples_outputs:
            second_derivatives = second_derivatives * np.eye(loss.n_outputs)
        if blocks.shape[-1] > cost.LARGE_BLOCK:
            blocks = blocks.astype(np.float32)
        frame = np.ascontiguousarray(loss.to_outputs(np.eye(loss.n_coordinates)))
        return HessianArrays(
            frame, basis, tail, second_derivatives, blocks, self.point, self.progress
        )

    def stretches(self):
        """Return the steps between two neighbouring checkpoints, where there are any.

        Returns
        -------
        stretches : list of (first, last, bow)
            The steps [first, last), and for every step of the path the factor of a
            second difference that interpolation misses there: the product of the
            distances to both checkpoints; 0 outside of the stretch.
        """
        found = []
        bow = self.progress * (1.0 - self.progress)
        for point in np.unique(self.point):
            inside = self.point == point
            if bow[inside].any():
                steps = np.flatnonzero(inside)
                found.append((steps[0], steps[-1] + 1, np.where(inside, bow, 0.0)))
        return found

    def second_differences(self, hessians):
        """Return the error of interpolated Hessians, divided by `bow`.

        Of the two parabolas through both checkpoints of a stretch and one more, the one
        of larger curvature is taken.
        """

        def differences(values):
            values = values.astype(float)
            h = self.gaps
            slopes = np.diff(values, axis=0) / h.reshape(-1, *[1] * (values.ndim - 1))
            found = np.zeros_like(values)
            for k in range(len(values) - 1):
                sides = [
                    (slopes[i + 1] - slopes[i]) / (h[i] + h[i + 1])
                    for i in (k - 1, k)
                    if 0 <= i < len(slopes) - 1
                ]
                if sides:
                    found[k] = -(h[k] ** 2) * max(sides, key=np.linalg.norm)
            return found

        return hessians._replace(
            second_derivatives=differences(hessians.second_derivatives),
            blocks=differences(hessians.blocks).astype(hessians.blocks.dtype),
            progress=np.zeros_like(hessians.progress),
        )

    @property
    def gaps(self):
        """Distances between the iterates of neighbouring checkpoints."""
        moved = np.linalg.norm(np.diff(self.iterates, axis=0), axis=(1, 2))
        return np.maximum(moved, np.finfo(float).tiny)

    @property
    def nbytes(self):
        """Size of what is kept."""
        arrays = [self.iterates, self.sums, self.positions, self.point, self.progress]
        if self.basis is not None:
            arrays.append(self.basis)
        return sum(array.nbytes for array in arrays)


def _rounded(iterates):
    """Return iterates rounded to a part of their largest entry.

    They are kept when rows leave, and the first iterates are sums over rows: less the
    rows that stay, they would be the rows that left.
    """
    unit = np.abs(iterates).max(axis=(1, 2), keepdims=True) / _PARTS_OF_ITERATE
    unit[unit == 0.0] = 1.0
    return np.rint(iterates / unit) * unit


def _place_checkpoints(trajectory, n_points):
    """Return the steps of the checkpoints; `point` and `progress` of all steps."""
    n_steps = trajectory.n_steps
    moved = [np.linalg.norm(step) for step in trajectory.steps]
    length = np.concatenate([[0.0], np.cumsum(moved)])
    fractions = np.linspace(0.0, 1.0, n_points) ** 2
    checkpoints = np.unique(np.rint(fractions * n_steps).astype(int))
    steps = np.arange(n_steps)
    point = np.searchsorted(checkpoints, steps, side="right") - 1
    next_point = np.minimum(point + 1, len(checkpoints) - 1)
    start = length[checkpoints[point]]
    way = length[checkpoints[next_point]] - start
    done = length[steps] - start
    progress = np.divide(done, way, where=way > 0, out=np.zeros(n_steps))
    return checkpoints, point, progress
