"""Replay of a path with no exact step: predicted by a seed, measured at a few nodes.

    old gradient at w'_t  =  g_t + S_b (B_t drift + r_t |drift|)

as in `_periodic_replay`, with the seed's Hessian in place of the quasi-Hessian, and
with a residual r of what it gets wrong per length of the drift.

At a *node* c of the path the change of the gradient along the drift is measured over
some rows, or all, as they were: r_c = (change / S - B_c drift) / |drift|. What would
have come of r growing towards r_c on the way is then added to the steps that led there
(*repaired*): to first order the change of an iterate obeys the run's own recursion, so
that no row is read twice. Carried on to the end it is an estimate of the error: not a
bound. Added to it is what the sample of the seed and the luck of the batches may do.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import helmert

from . import _kernels, _progress
from ._census import per_weight
from ._descent import raise_diverged, take_out
from ._objective import Objective
from ._seed import respond
from ._seed_sums import draw
from ._trajectory import Playback, Trajectory

_TINY = np.finfo(float).tiny
# From comparison with exact retrains, 250 random edits of five sets: the true error was
# this much of what nodes tell, and of what a run of chance does, in the median.
_CALIBRATION = 0.6
_OF_CHANCE = 2.0
# Runs of chance where they cost nothing.
_RUNS_OF_CHANCE = 16
# Parts of the witnesses whose differences tell of the noise of batches.
_N_PARTS = 4
# What is drawn for slots has nothing to do with what is drawn for positions.
_OTHER_NUMBERS = 2**40


@dataclass(frozen=True)
class Replay:
    """A cached run, and the run that an edit makes of it.

    Attributes
    ----------
    objective : Objective
    removed, added : object with ``at(step)`` and ``where(n_steps)``
        Rows that leave and rows that join.
    base : Playback
        The cached run.
    sizes : tuple
        Rate, shrinkage and group_weight of the new run: see `_descent.descend`.
    base_weight, kept_weight : ndarray of shape (n_steps, n_groups)
        Weights of the batches in the cached run, and of their kept rows.
    batch_rows : float
        Rows in a batch, on average.
    batch_share : float
        Of all rows.
    n_epochs : int
    """

    objective: Objective
    removed: object
    added: object
    base: Playback
    sizes: tuple
    base_weight: np.ndarray
    kept_weight: np.ndarray
    batch_rows: float
    batch_share: float
    n_epochs: int

    def touched(self, step, iterate, sums_out):
        """Gradient sums of rows that join, less those of rows that leave."""
        sums_out[:] = 0.0
        kept_weight = self.kept_weight[step]
        take_out(self.objective, self.removed.at(step), iterate, kept_weight, sums_out)
        self.objective.add_gradient_sums(iterate, self.added.at(step), sums_out)


@dataclass(frozen=True)
class Witnesses:
    """Rows that nodes are measured on.

    Attributes
    ----------
    slots : ndarray of shape (n_rows,)
    are_sample : bool
        Whether they are the seed's sample, or all rows.
    """

    slots: np.ndarray
    are_sample: bool


class SeededReplay:
    """Makes the new run of a `Replay`.

    Parameters
    ----------
    replay : Replay
    seed : Seed
    witnesses : Witnesses
    trajectory : Trajectory
        OUT; one that stands still.
    """

    def __init__(self, replay, seed, witnesses, trajectory: Trajectory):
        self._replay = replay
        self._seed = seed
        self._witnesses = witnesses
        self._trajectory = trajectory
        loss = replay.objective.loss
        self._hessians = seed.of_all(loss)
        self._iterate = np.zeros(trajectory.end.shape)
        self._drift = np.zeros(trajectory.end.shape)
        self._lengths, self._moves, self._bends = np.zeros((3, trajectory.n_steps))
        by_group = (replay.objective.n_groups, *trajectory.end.shape)
        self._touched, self._residual = np.zeros((2, *by_group))
        self._work = np.zeros((by_group[0] + 2, *trajectory.end.shape))
        n_steps = trajectory.n_steps
        there = replay.removed.where(n_steps) | replay.added.where(n_steps)
        self._stops = np.flatnonzero(there)
        # What the sample, and what one row, adds to the residual.
        self._of_sample, self._of_row = np.zeros(by_group), np.zeros((1, *by_group))
        self._tell = None

    def run(self, n_nodes):
        """Make the run; return an estimate of its error.

        Returns
        -------
        estimate, noise : float
            As shares of how far the edit moves the end of the path: of all, and of
            what no node can mend.
        """
        n_steps = self._trajectory.n_steps
        self._tell = _progress.begin("replayed steps", n_steps)
        # Half a gap is left at the end.
        gap = n_steps / (n_nodes + 0.5)
        nodes = np.unique(np.rint(gap * np.arange(1, n_nodes + 1)).astype(int))
        error, first = np.zeros_like(self._drift), 0
        news = np.zeros_like(self._residual)
        for node in nodes[(nodes > 0) & (nodes < n_steps)]:
            self._coast(first, node)
            news = self._measure(node)
            grown = self._lengths.copy()
            grown[first:node] *= np.arange(node - first) / (node - first)
            if self._seed.repairs:
                self._carry(first, node, error)
                repair = np.zeros_like(error)
                self._carry(first, node, repair, news[np.newaxis], grown, record=True)
                self._drift += repair
                error += repair
            else:
                error *= self._left(first, node, error)[0]
                error += self._pushed(first, node, news, grown)
            first = node
        # After the last node the residual may go on as it did.
        self._coast(first, n_steps)
        grown = self._lengths.copy()
        grown[first:] *= np.arange(n_steps - first) / gap
        if self._seed.repairs:
            self._carry(first, n_steps, error, news[np.newaxis], grown)
        else:
            error *= self._left(first, n_steps, error)[0]
            error += self._pushed(first, n_steps, news, grown)
        self._trajectory.end[:] = self._iterate + self._drift
        self._trajectory.exact[:] = False
        moved = np.linalg.norm(self._drift)
        if not moved > 0.0:
            return 0.0, 0.0
        noise = self._noise()
        estimate = np.hypot(_CALIBRATION * np.linalg.norm(error), noise)
        return float(estimate / moved), float(noise / moved)

    def _coast(self, first, last):
        """Make steps; those that a removed or added row takes part in one by one."""
        replay, base, trajectory = self._replay, self._replay.base, self._trajectory
        inside = self._stops[np.searchsorted(self._stops, [first, last])[0] :]
        inside = inside[inside < last]
        bounds = np.unique([first, *inside, last])
        for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
            replay.touched(begin, self._iterate + self._drift, self._touched)
            reached = _kernels.replay.coast(
                begin, end, self._iterate, self._drift, self._touched, self._residual,
                replay.objective.n_features,
                (base.rate, base.shrinkage, base.group_weight), replay.sizes,
                (base.trajectory.steps, base.trajectory.group_sums),
                (trajectory.steps, trajectory.group_sums),
                (replay.base_weight, replay.kept_weight), self._hessians, self._work,
                self._lengths, self._moves, self._bends,
            )  # fmt: skip
            if reached < end:
                raise_diverged(reached - 1, trajectory.n_steps)
            if self._tell is not None:
                self._tell(int(end))

    def _carry(self, first, last, change, sources=(), growth=(), record=False):
        """Carry a change of the iterate on, and what sources that grow add to it."""
        replay, trajectory = self._replay, self._trajectory
        if not len(sources) and not change.any():
            return
        _kernels.replay.carry(
            first, last, change, np.reshape(sources, (-1, *self._residual.shape)),
            np.reshape(growth, (-1, trajectory.n_steps)), replay.objective.n_features,
            replay.sizes, (trajectory.steps, trajectory.group_sums),
            (replay.base_weight, replay.kept_weight), self._hessians, self._work,
            record,
        )  # fmt: skip

    def _measure(self, step):
        """Make a node: renew the residual, and return what is new of it."""
        length = np.linalg.norm(self._drift)
        if not length > 0.0:
            return np.zeros_like(self._residual)
        objective, slots = self._replay.objective, self._witnesses.slots
        # At random, not every fourth: rows may come in turns.
        part_of = (_N_PARTS * draw(slots + _OTHER_NUMBERS)).astype(int)
        parts = [slots[part_of == number] for number in range(_N_PARTS)]
        changes = [
            objective.gradient_change(self._iterate, self._drift, part)
            for part in parts
        ]
        weights = [objective.weight_by_group(part) for part in parts]
        predicted, *by_half = self._predicted(step)
        measured = per_weight(sum(changes), sum(weights))
        news = (measured - predicted) / length - self._residual
        self._residual = self._residual + news
        # The parts differ by what the rows differ by, the halves by their sample.
        means = np.stack(list(map(per_weight, changes, weights)))
        contrasts = np.tensordot(helmert(_N_PARTS), means, axes=1)
        bend = np.linalg.norm(predicted)
        if bend > 0.0:
            self._of_row = contrasts / bend * np.sqrt(len(slots) / _N_PARTS)
        if by_half:
            self._of_sample = (by_half[0] - by_half[1]) / (2.0 * length)
        return news

    def _predicted(self, step):
        """What a node is held against; and of all rows, by either half of a sample.

        Predicted by its own Hessians, a sample shows what is wrong with them but for
        being those of a sample; that, the halves show.
        """
        if not self._witnesses.are_sample:
            return [respond(self._hessians, step, self._drift)]
        seed, loss = self._seed.at(step), self._replay.objective.loss
        arrays = [seed.of_sample(loss), *seed.of_halves(loss)]
        return [respond(some, 0, self._drift) for some in arrays]

    def _left(self, first, last, change):
        """What the steps after each one leave of a change, by its mean curvature.

        That is less than they do leave, but costs one product and no run.
        """
        rate, shrinkage, factor = self._replay.sizes
        response = respond(self._hessians, last - 1, change)
        curvature = np.tensordot(response, change, axes=2)
        curvature /= max(np.sum(change**2), _TINY)
        steps = slice(first, last)
        damping = rate[steps] * (self._replay.base_weight[steps] @ (factor * curvature))
        keep = np.clip(1.0 - damping - shrinkage[steps].mean(axis=1), 0.0, 1.0)
        return np.cumprod(keep[::-1])[::-1]

    def _pushed(self, first, last, news, grown):
        """How far a residual that grows to itself pushes the iterate."""
        rate, _, factor = self._replay.sizes
        steps = slice(first, last)
        total = np.tensordot(factor, news, axes=1)
        left = self._left(first, last, total)
        push = (rate * grown)[steps] * left
        by_group = push @ self._replay.base_weight[steps]
        return -np.tensordot(by_group * factor, news, axes=1)

    def _noise(self):
        """How far the seed's sample and batches, not all rows, may have led astray.

        By a run of chance: what a batch adds to the residual goes along what parts of
        the rows differ by, and adds up to nothing within an epoch as far as the drift
        stays what it is.
        """
        sources = np.concatenate([self._of_sample[np.newaxis], self._of_row])
        if not sources.any():
            return 0.0
        n_steps = self._trajectory.n_steps
        if self._seed.repairs:
            growth = np.concatenate([self._lengths[np.newaxis], self._chance()])
            astray = np.zeros_like(self._drift)
            self._carry(0, n_steps, astray, sources, growth)
            return np.linalg.norm(astray)
        # A run of one curvature costs nothing: the mean of many.
        rate, _, factor = self._replay.sizes
        of_row = np.tensordot(factor, sources[-1], axes=1)
        left = rate * (self._replay.base_weight @ factor)
        left *= self._left(0, n_steps, of_row)
        by_run = []
        for run in range(_RUNS_OF_CHANCE):
            pushes = np.concatenate([[self._lengths @ left], self._chance(run) @ left])
            by_run.append(np.linalg.norm(np.tensordot(pushes, sources, axes=1)))
        return np.sqrt(np.mean(np.square(by_run)))

    def _chance(self, run=0):
        """How much of what one row adds to the residual a batch has, by chance.

        Returns
        -------
        chance : ndarray of shape (n_sources, n_steps)
            Over what a step changes the gradient by.
        """
        replay, n_steps = self._replay, self._trajectory.n_steps
        by_epoch = (replay.n_epochs, n_steps // replay.n_epochs)
        moved = np.linalg.norm(self._moves.reshape(by_epoch), axis=1)
        length = np.sqrt(np.mean(self._lengths.reshape(by_epoch) ** 2, axis=1))
        stays = 1.0 - np.minimum(moved, length) / np.maximum(length, _TINY)
        rng = np.random.default_rng(run)
        chance = rng.standard_normal((len(self._of_row), *by_epoch))
        chance -= stays[:, np.newaxis] * chance.mean(axis=2, keepdims=True)
        scale = (1.0 - replay.batch_share) / replay.batch_rows / len(chance)
        return _OF_CHANCE * np.sqrt(scale) * self._bends * chance.reshape(-1, n_steps)
