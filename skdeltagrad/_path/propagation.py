"""What becomes of a change of an iterate, or of a gradient, until the end of a replay.

To first order a change of the new run obeys the run's own recursion: it is carried on
by the Hessians of the seed, and no row is read. Where the seed knows the direction of
the mean row only, that would cost as much as the replay itself; there a change is split
into what lies along that direction and what lies across it, and of each the steps leave
what its mean curvature says.
"""

import numpy as np

from .. import _kernels
from .checkpoints import respond

_TINY = np.finfo(float).tiny


class Propagation:
    """Propagates changes through the new run of a replay.

    Parameters
    ----------
    replay : Replay
    seed : Seed
    trajectory : Trajectory
        The new run.

    Attributes
    ----------
    hessians : tuple
        See `Seed.of_all`.
    """

    def __init__(self, replay, seed, trajectory):
        self.replay = replay
        self.seed = seed
        self.trajectory = trajectory
        self.hessians = seed.of_all(replay.objective.loss)
        self._by_group = (replay.objective.n_groups, *trajectory.end.shape)
        self._work = np.zeros((self._by_group[0] + 2, *trajectory.end.shape))

    def carry(self, first, last, change, sources=(), growth=(), record=False):
        """Carry a change of the iterate on, and what sources that grow add to it.

        Parameters
        ----------
        first, last : int
            The steps [first, last).
        change : ndarray of shape (n_outputs, n_dof)
            OUT.
        sources : ndarray of shape (n_sources, n_groups, n_outputs, n_dof)
            What is added to the gradients, per unit of weight.
        growth : ndarray of shape (n_sources, n_steps)
            Factors of the sources at each step.
        record : bool
            Whether the steps of the new run are changed accordingly.
        """
        replay, trajectory = self.replay, self.trajectory
        if not len(sources) and not change.any():
            return
        _kernels.replay.propagate(
            first, last, change, np.reshape(sources, (-1, *self._by_group)),
            np.reshape(growth, (-1, trajectory.n_steps)), replay.objective.n_features,
            replay.sizes, (trajectory.steps, trajectory.group_sums),
            replay.kept_weight, self.hessians, self._work, record,
        )  # fmt: skip

    def astray(self, sources, growth):
        """Where sources lead the end of the run: (n_outputs, n_dof). See `carry`."""
        n_steps = self.trajectory.n_steps
        change = np.zeros(self.trajectory.end.shape)
        if self.seed.repairs:
            self.carry(0, n_steps, change, sources, growth)
            return change
        for source, grown in zip(sources, growth, strict=True):
            change += self.pushed(0, n_steps, source, grown)
        return change

    def advanced(self, first, last, change, source, grown):
        """A change after some steps, to which a source adds: a new array."""
        if self.seed.repairs:
            change = change.copy()
            self.carry(first, last, change, source[np.newaxis], grown)
            return change
        return self._remaining(first, last, change) + self.pushed(
            first, last, source, grown
        )

    def pushed(self, first, last, source, grown):
        """How far a source that grows pushes the iterate, by mean curvatures."""
        factor = self.replay.sizes[2]
        change = np.zeros(self.trajectory.end.shape)
        for part, left in self.pushes(first, last, source):
            by_group = (grown[first:last, np.newaxis] * left).sum(axis=0)
            change -= np.tensordot(by_group * factor, part, axes=1)
        return change

    def pushes(self, first, last, source):
        """Parts of a source, and what each of the steps adds of them to the end.

        Returns
        -------
        pushes : list of (part, left)
            Arrays of shape (n_groups, n_outputs, n_dof), which sum up to the source,
            and (last - first, n_groups).
        """
        rate, _, factor = self.replay.sizes
        steps = slice(first, last)
        found = []
        for part in self.split(source):
            left = self._left(first, last, np.tensordot(factor, part, axes=1))
            push = (rate[steps] * left)[:, np.newaxis] * self.replay.kept_weight[steps]
            found.append((part, push))
        return found

    def _remaining(self, first, last, change):
        """What some steps leave of a change, by mean curvatures."""
        return sum(
            part * self._left(first, last, part)[0] for part in self.split(change)
        )

    def split(self, change):
        """The parts of a change along the seed's directions and across them."""
        along = change @ self.seed.basis.T @ self.seed.basis
        return along, change - along

    def _left(self, first, last, change):
        """What the steps after each one leave of a change, by its mean curvature."""
        rate, shrinkage, factor = self.replay.sizes
        response = respond(self.hessians, last - 1, change)
        curvature = np.tensordot(response, change, axes=2)
        curvature /= max(np.sum(change**2), _TINY)
        steps = slice(first, last)
        weight = self.replay.kept_weight[steps]
        damping = rate[steps] * (weight @ (factor * curvature))
        keep = np.clip(1.0 - damping - shrinkage[steps].mean(axis=1), 0.0, 1.0)
        return np.cumprod(keep[::-1])[::-1]
