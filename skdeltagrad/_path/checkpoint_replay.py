"""Replay of a path with no exact step: predicted by a seed, measured at a few nodes.

    gradient at w'_t  =  g_t - g_t of rows that leave + S_b (B_t drift + r_t |drift|)

with S_b, B and r of the rows that stay: what a row does that leaves, however large its
entries are, is known and not predicted. Rows that join are computed at w'_t.

Otherwise it is as in `_periodic_replay`, with the seed's Hessian in place of the
quasi-Hessian, and with a residual r of what it gets wrong per length of the drift.

At a *node* c of the path the change of the gradient along the drift is measured over
some of these rows, or all: r_c = (change / S - B_c drift) / |drift|. What would have
come of r growing towards r_c on the way, from a quarter of it at the start of the run,
is then added to the steps that led there (*repaired*): to first order the change of an
iterate obeys the run's own recursion, so that no row is read twice. What that tells of
the error at the end, and what else there is to it, is in `_replay_error`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import helmert

from .. import _kernels
from .._data.group_weights import per_weight
from .._objective.data_term import DataTerm
from .._utils import progress
from . import correction_points, replay_error
from .checkpoint_sums import draw
from .checkpoints import respond
from .descent import raise_diverged, take_out
from .propagation import Propagation
from .trajectory import Playback, Trajectory

# An accuracy threshold: how much of what the first node finds was there from the start.
# What a drift bends was not, what a sample or a block lacks was. With a quarter of it
# errors are a tenth smaller than with none, in the mean of 14 data sets; with half, by
# another tenth, but what is left is told less well.
_FROM_START = 0.25
# How far to the first node a check before it may be.
_EARLY = 0.7
# Parts of the witnesses whose differences tell of the noise of batches.
_N_PARTS = 16
# What is drawn for storage indices has nothing to do with what is drawn for positions.
_OTHER_NUMBERS = 2**40


@dataclass(frozen=True)
class Replay:
    """A cached run, and the run that an edit makes of it.

    Attributes
    ----------
    objective : DataTerm
    removed, added : object with ``at(step)`` and ``where(n_steps)``
        Rows that leave and rows that join.
    base : Playback
        The cached run.
    sizes : tuple
        Rate, shrinkage and group_weight of the new run: see `_descent.descend`.
    kept_weight : ndarray of shape (n_steps, n_groups)
        Weights of the batches' rows that stay.
    batch_rows : float
        Rows in a batch, on average.
    batch_share : float
        Of all rows.
    n_epochs : int
    """

    objective: DataTerm
    removed: object
    added: object
    base: Playback
    sizes: tuple
    kept_weight: np.ndarray
    batch_rows: float
    batch_share: float
    n_epochs: int

    def touched(self, step, iterate, drift, sums_out):
        """Gradient sums of rows that join, less what rows that leave had."""
        sums_out[:] = 0.0
        kept_weight = self.kept_weight[step]
        take_out(self.objective, self.removed.at(step), iterate, kept_weight, sums_out)
        added = self.added.at(step)
        self.objective.add_gradient_sums(iterate + drift, added, sums_out)


@dataclass(frozen=True)
class Witnesses:
    """Rows that nodes are measured on: of those that stay.

    Attributes
    ----------
    indices : ndarray of shape (n_rows,)
    are_sample : bool
        Whether they are the seed's sample, or all rows.
    """

    indices: np.ndarray
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
    checks : tuple of {"early", "after"}
        See `_replay_error` and `correction_points.checks`.

    Attributes
    ----------
    parts : dict of str to float
        Parts of the estimate before their factors, as shares of how far the edit moves
        the end of the path.
    """

    def __init__(
        self, replay, seed, witnesses, trajectory: Trajectory, checks=("early", "after")
    ):
        self._replay = replay
        self._seed = seed
        self._witnesses = witnesses
        self._trajectory = trajectory
        self._checks = checks
        self.parts = {}
        self._propagation = Propagation(replay, seed, trajectory)
        self._hessians = self._propagation.hessians
        self._iterate = np.zeros(trajectory.end.shape)
        self._drift = np.zeros(trajectory.end.shape)
        self._tally = replay_error.Tally(*np.zeros((3, trajectory.n_steps)))
        by_group = (replay.objective.n_groups, *trajectory.end.shape)
        self._touched, self._residual = np.zeros((2, *by_group))
        self._work = np.zeros((by_group[0] + 2, *trajectory.end.shape))
        n_steps = trajectory.n_steps
        there = replay.removed.where(n_steps) | replay.added.where(n_steps)
        self._stops = np.flatnonzero(there)
        # What the sample, and what one row, adds to the residual: see `_replay_error`.
        self._of_sample, self._of_rows = np.zeros(by_group), {}
        self._tell = None

    def run(self, n_nodes):
        """Make the run; return an estimate of its error.

        Returns
        -------
        estimate : float
            As a share of how far the edit moves the end of the path.
        parts : dict of str to float
        """
        n_steps, lengths = self._trajectory.n_steps, self._tally.lengths
        self._tell = progress.begin("replayed steps", n_steps)
        gap = correction_points.gap(self._seed.kind, n_nodes, n_steps)
        nodes = np.unique(np.rint(gap * np.arange(1, n_nodes + 1)).astype(int))
        first, error = 0, np.zeros_like(self._drift)
        news = np.zeros_like(self._residual)
        advanced = self._propagation.advanced
        nodes = nodes[(nodes > 0) & (nodes < n_steps)]
        for node in nodes:
            self._coast(first, node)
            news = self._measure(node)
            grown = lengths.copy()
            if self._seed.repairs:
                start = 0.0 if first > 0 else _FROM_START
                grown[first:node] *= np.linspace(
                    start, 1.0, node - first, endpoint=False
                )
                error = self._corrected(first, node, error, news, grown)
            else:
                if first > 0:  # what no Hessian tells is there from the start
                    grown[first:node] *= np.arange(node - first) / (node - first)
                error = advanced(first, node, error, news, grown)
            first = node
        self._coast(first, n_steps)
        self._trajectory.end[:] = self._iterate + self._drift
        self._trajectory.exact[:] = False
        moved = np.linalg.norm(self._drift)
        if not moved > 0.0:
            return 0.0, {}
        is_checked = self._seed.repairs and "after" in self._checks
        # After the last node the residual may go on as it did, unless that is checked.
        grown = lengths.copy()
        grown[first:] *= 0.0 if is_checked else np.arange(n_steps - first) / gap
        error = advanced(first, n_steps, error, news, grown)
        of_nodes = np.linalg.norm(error)
        if self._seed.repairs:
            of_nodes *= replay_error.LEFT_BY_NODES[is_checked]
        parts = self._parts_of_error(nodes, of_nodes)
        self.parts = {name: float(part / moved) for name, part in parts.items()}
        return replay_error.combined(self.parts), self.parts

    def _corrected(self, first, node, error, news, grown):
        """Correct the steps up to a node; return what was corrected in all."""
        nothing = np.zeros_like(news)
        error = self._propagation.advanced(first, node, error, nothing, grown)
        repair = np.zeros_like(self._drift)
        self._propagation.carry(
            first, node, repair, news[np.newaxis], grown, record=True
        )
        self._drift += repair
        return error + repair

    def _parts_of_error(self, nodes, of_nodes):
        """Norms of the parts of the estimate, by name."""
        propagation, tally = self._propagation, self._tally
        residuals, shapes = [], []
        for step, shape in self._steps_to_check(nodes):
            residuals.append(self._residual_at(step))
            shapes.append(shape)
        return {
            "nodes": of_nodes,
            "checks": replay_error.astray(propagation, tally, residuals, shapes),
            "between": replay_error.between_points(propagation, tally),
            "noise": replay_error.by_chance(
                propagation, tally, self._of_sample, self._of_rows
            ),
        }

    def _steps_to_check(self, nodes):
        """Steps of the checks, and how much of their residual every step has.

        Steps in whose batches every group has rows. The early one is at a point of the
        seed, if it can be: what is wrong between points is another part.
        """
        n_steps, rate = self._trajectory.n_steps, self._replay.sizes[0]
        possible = (rate > 0.0) & (self._replay.base.rate > 0.0)
        possible &= (self._replay.kept_weight > 0.0).all(axis=1)
        steps = np.flatnonzero(possible)
        if not len(nodes):
            return
        before = steps[(steps > 0) & (steps < _EARLY * nodes[0])]
        points = before[self._seed.progress[before] == 0.0]
        if "early" in self._checks and len(before):
            some = points if len(points) else before
            step = int(some[np.argmin(np.abs(some - nodes[0] / 3))])
            yield step, replay_error.until_node(n_steps, step, nodes[0])
        if "after" in self._checks and len(steps) and steps[-1] > nodes[-1]:
            step = int(steps[-1])
            yield step, replay_error.since_node(n_steps, nodes[-1], step)

    def _coast(self, first, last):
        """Make steps; those that a removed or added row takes part in one by one."""
        replay, base, trajectory = self._replay, self._replay.base, self._trajectory
        inside = self._stops[np.searchsorted(self._stops, [first, last])[0] :]
        inside = inside[inside < last]
        bounds = np.unique([first, *inside, last])
        for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
            replay.touched(begin, self._iterate, self._drift, self._touched)
            reached = _kernels.replay.predict_steps(
                begin, end, self._iterate, self._drift, self._touched, self._residual,
                replay.objective.n_features,
                (base.rate, base.shrinkage, base.group_weight), replay.sizes,
                (base.trajectory.steps, base.trajectory.group_sums),
                (trajectory.steps, trajectory.group_sums),
                replay.kept_weight, self._hessians, self._work,
                *vars(self._tally).values(),
            )  # fmt: skip
            if reached < end:
                raise_diverged(reached - 1, trajectory.n_steps)
            if self._tell is not None:
                self._tell(int(end))

    def _measure(self, step):
        """Make a node: renew the residual, and return what is new of it."""
        length = np.linalg.norm(self._drift)
        if not length > 0.0:
            return np.zeros_like(self._residual)
        wrong, by_half = self._look(step, self._iterate, self._drift)
        news = wrong / length - self._residual
        self._residual = self._residual + news
        if by_half:
            # A sample of half of the rows errs less than one of a few of many.
            unseen = np.sqrt(1.0 - self._seed.kind.share)
            self._of_sample = unseen * (by_half[0] - by_half[1]) / (2.0 * length)
        return news

    def _predicted(self, step, drift):
        """What a node is held against; and of all rows, by either half of a sample.

        Predicted by its own Hessians, a sample shows what is wrong with them but for
        being those of a sample; that, the halves show.
        """
        if not self._witnesses.are_sample:
            return [respond(self._hessians, step, drift)]
        seed, loss = self._seed.at(step), self._replay.objective.loss
        arrays = [seed.of_sample(loss), *seed.of_halves(loss)]
        return [respond(some, 0, drift) for some in arrays]

    def _look(self, step, iterate, drift):
        """What the Hessians get wrong of the gradient's change along a drift.

        What the rows differ by is remembered.

        Returns
        -------
        wrong : ndarray of shape (n_groups, n_outputs, n_dof)
            Per unit of weight.
        by_half : list of ndarray
            What the Hessians of either half of a sample tell, if there is a sample.
        """
        objective, indices = self._replay.objective, self._witnesses.indices
        # At random, not every sixteenth: rows may come in turns.
        part_of = (_N_PARTS * draw(indices + _OTHER_NUMBERS)).astype(int)
        parts = [indices[part_of == number] for number in range(_N_PARTS)]
        changes = [objective.gradient_change(iterate, drift, part) for part in parts]
        weights = [objective.weight_by_group(part) for part in parts]
        predicted, *by_half = self._predicted(step, drift)
        measured = per_weight(sum(changes), sum(weights))
        # The parts differ by what the rows differ by, the halves by their sample.
        means = np.stack(list(map(per_weight, changes, weights)))
        contrasts = np.tensordot(helmert(_N_PARTS), means, axes=1)
        bend = np.linalg.norm(predicted)
        if bend > 0.0:
            self._of_rows[step] = contrasts / bend * np.sqrt(len(indices) / _N_PARTS)
        return measured - predicted, by_half

    def _residual_at(self, step):
        """What a recorded step got wrong for the rows that nodes are measured on.

        Per unit of weight and length of the drift, of the run as it is now.
        """
        replay, n_features = self._replay, self._replay.objective.n_features
        base = replay.base
        old_sizes = base.rate, base.shrinkage, base.group_weight
        old = Playback(base.trajectory, *old_sizes, n_features)
        new = Playback(self._trajectory, *replay.sizes, n_features)
        ends = self._iterate, self._trajectory.end
        for playback, end in zip((old, new), ends, strict=True):
            steps = playback.trajectory.steps
            if 2 * step < len(steps):
                playback.go_to(step)
            else:  # from the end it is not so far
                playback.jump_to(step, end - steps[step:].sum(axis=0, dtype=float))
        drift = new.iterate - old.iterate
        length = np.linalg.norm(drift)
        if not length > 0.0:
            return np.zeros_like(self._residual)
        # What the step took the rows that stay to change by: see `_kernels.replay`.
        replay.touched(step, old.iterate, drift, self._touched)
        taken = new.gradient_sums() - old.gradient_sums() - self._touched
        taken = per_weight(taken, replay.kept_weight[step])
        added = taken - respond(self._hessians, step, drift)
        wrong, _ = self._look(step, old.iterate, drift)
        return (wrong - added) / length
