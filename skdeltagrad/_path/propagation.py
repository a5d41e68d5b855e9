"""How a change of an iterate or a gradient grows until the end of a replay.

To first order, a change of the new path obeys the recursion of the path itself. It can
be propagated by the Hessians, and no row is read (`HessianPropagation`). Where Hessians
are kept in the direction of the mean row only, that would cost as much as the replay
itself. There a change is split into its parts along this direction and across it, and
every step damps each part by its mean curvature (`MeanCurvaturePropagation`).
"""

from abc import ABC, abstractmethod

import numpy as np

from .. import _kernels
from . import cost

_TINY = np.finfo(float).tiny  # rounding: instead of zero in a denominator


class AbstractPropagation(ABC):
    """Propagates changes through the new path of a replay.

    Sources are errors of the gradients, per unit of weight, whose growth says how large
    they are at every step.

    Parameters
    ----------
    replay : Replay
    checkpoints : Checkpoints
    trajectory : Trajectory
        The new path.

    Attributes
    ----------
    hessians : HessianArrays
        Those of all rows.
    """

    def __init__(self, replay, checkpoints, trajectory):
        self.replay = replay
        self.checkpoints = checkpoints
        self.trajectory = trajectory
        self.hessians = checkpoints.for_all_rows(replay.objective.loss)

    @abstractmethod
    def change_at_end(self, sources, growth):
        """Return how sources change the end of the path.

        Parameters
        ----------
        sources : ndarray of shape (n_sources, n_groups, n_outputs, n_dof)
        growth : ndarray of shape (n_sources, n_steps)

        Returns
        -------
        change : ndarray of shape (n_outputs, n_dof)
        """

    @abstractmethod
    def advanced(self, first, last, change, source, growth):
        """Return what becomes of a change of an iterate, to which a source adds.

        Parameters
        ----------
        first, last : int
            The steps [first, last).
        change : ndarray of shape (n_outputs, n_dof)
            At the first step.
        source : ndarray of shape (n_groups, n_outputs, n_dof)
        growth : ndarray of shape (n_steps,)

        Returns
        -------
        change : ndarray of shape (n_outputs, n_dof)
            At the last step: a new array.
        """

    @abstractmethod
    def random_changes(self, sources, growth_of):
        """Return changes of the end of the path by sources that grow at random.

        Parameters
        ----------
        sources : ndarray of shape (n_sources, n_groups, n_outputs, n_dof)
        growth_of : callable
            ``growth_of(number)`` draws the growth, of shape (n_sources, n_steps).

        Returns
        -------
        changes : list of ndarray of shape (n_outputs, n_dof)
        """


class HessianPropagation(AbstractPropagation):
    """Propagates changes by the Hessians."""

    def propagate(self, first, last, change, sources, growth, record=False):
        """Propagate a change of the iterate, to which sources add.

        Parameters
        ----------
        first, last : int
            The steps [first, last).
        change : ndarray of shape (n_outputs, n_dof)
            OUT.
        sources : ndarray of shape (n_sources, n_groups, n_outputs, n_dof)
        growth : ndarray of shape (n_sources, n_steps)
        record : bool, default=False
            Whether the steps of the new path are changed accordingly.
        """
        replay, trajectory = self.replay, self.trajectory
        work = np.zeros((sources.shape[1] + 2, *change.shape))
        _kernels.replay.propagate(
            first, last, change, sources, growth, replay.objective.n_features,
            replay.sizes, (trajectory.steps, trajectory.group_sums),
            replay.kept_weight, tuple(self.hessians), work, record,
        )  # fmt: skip

    def change_at_end(self, sources, growth):
        change = np.zeros(self.trajectory.end.shape)
        self.propagate(0, self.trajectory.n_steps, change, sources, growth)
        return change

    def advanced(self, first, last, change, source, growth):
        change = change.copy()
        self.propagate(first, last, change, source[np.newaxis], growth[np.newaxis])
        return change

    def random_changes(self, sources, growth_of):
        is_cheap = self.trajectory.end.size <= cost.CHEAP_ORDER
        numbers = range(cost.SAMPLES if is_cheap else cost.FEW_SAMPLES)
        return [self.change_at_end(sources, growth_of(number)) for number in numbers]


class MeanCurvaturePropagation(AbstractPropagation):
    """Propagates parts of changes by their mean curvatures."""

    def change_at_end(self, sources, growth):
        change = np.zeros(self.trajectory.end.shape)
        for source, grown in zip(sources, growth, strict=True):
            change += self._pushed(0, self.trajectory.n_steps, source, grown)
        return change

    def advanced(self, first, last, change, source, growth):
        remaining = sum(
            part * self._remaining(first, last, part)[0] for part in self._split(change)
        )
        return remaining + self._pushed(first, last, source, growth)

    def random_changes(self, sources, growth_of):
        # With the same mean curvatures for all sources, samples cost next to nothing.
        factor = self.replay.sizes[2]
        pushes = self._pushes(0, self.trajectory.n_steps, sources[-1])
        parts = list(zip(self._split(sources), pushes, strict=True))
        found = []
        for number in range(cost.MANY_SAMPLES):
            growth, change = growth_of(number), 0.0
            for part, (_, push) in parts:
                amounts = growth @ (push * factor)
                change = change + np.einsum("sg,sgkj->kj", amounts, part)
            found.append(change)
        return found

    def _pushed(self, first, last, source, growth):
        """Return how far a source pushes the iterate."""
        factor = self.replay.sizes[2]
        change = np.zeros(self.trajectory.end.shape)
        for part, push in self._pushes(first, last, source):
            by_group = (growth[first:last, np.newaxis] * push).sum(axis=0)
            change -= np.tensordot(by_group * factor, part, axes=1)
        return change

    def _pushes(self, first, last, source):
        """Yield the parts of a source, and how far each step pushes the last iterate.

        Parts have the shape of the source, and pushes (last - first, n_groups).
        """
        rate, _, factor = self.replay.sizes
        steps = slice(first, last)
        for part in self._split(source):
            left = self._remaining(first, last, np.tensordot(factor, part, axes=1))
            push = (rate[steps] * left)[:, np.newaxis] * self.replay.kept_weight[steps]
            yield part, push

    def _split(self, change):
        """Return the parts of a change along the directions and across them."""
        basis = self.checkpoints.basis
        along = change @ basis.T @ basis
        return along, change - along

    def _remaining(self, first, last, change):
        """Return what fraction of a change remains of that made in each step."""
        rate, shrinkage, factor = self.replay.sizes
        product = self.hessians.product(last - 1, change)
        curvature = np.tensordot(product, change, axes=2)
        curvature /= max(np.sum(change**2), _TINY)
        steps = slice(first, last)
        weight = self.replay.kept_weight[steps]
        damping = rate[steps] * (weight @ (factor * curvature))
        keep = np.clip(1.0 - damping - shrinkage[steps].mean(axis=1), 0.0, 1.0)
        return np.cumprod(keep[::-1])[::-1]


def propagation_of(replay, checkpoints, trajectory):
    """Return the propagation that the form of the Hessians allows."""
    corrects = checkpoints.plan.properties.corrects_path
    propagation = HessianPropagation if corrects else MeanCurvaturePropagation
    return propagation(replay, checkpoints, trajectory)
