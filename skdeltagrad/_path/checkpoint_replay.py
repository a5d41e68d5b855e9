"""Replay of a path without exact steps: predicted from checkpoints, then corrected.

    gradient at w'_t  =  g_t - g_t of rows that leave + S_b (B_t drift + r_t |drift|)

with S_b, B and r of the rows that stay. What a row contributes that leaves is computed
and not predicted, however large its entries are. Gradients of rows that join are
computed at w'_t. B is the Hessian from the checkpoints, in place of the quasi-Hessian
of `periodic_replay`, and r, the *residual*, is its error per length of the drift.

At a *correction point* c of the path, the change of the gradient along the drift is
measured over the *evaluation rows*: all of the rows that stay, or those in the sample.
That gives r_c = (change / S - B_c drift) / |drift|. The steps before it are then
corrected as if r had grown towards r_c on the way, from a quarter of it at the start of
the path. To first order, the change of an iterate obeys the recursion of the path
itself, so that no row is read twice. The size of the corrections is a part of the
estimated error, which `replay_error` describes.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import helmert

from .. import _kernels
from .._data.group_weights import per_weight
from .._objective.data_term import AbstractDataTerm
from .._utils import progress
from . import cost, replay_error
from .descent import raise_diverged, take_out
from .propagation import propagation_of
from .splitmix import draw
from .trajectory import Playback

# An accuracy threshold: how much of what the first correction point finds was there
# from the start. What a second derivative misses was not; what a sample or a block
# misses was. With a quarter, errors are a tenth smaller than with none, in the mean of
# 14 data sets; with half, by another tenth, but the estimate is less accurate.
_FROM_START = 0.25
# An accuracy threshold: an early check is made before this fraction of the way to the
# first correction point. Close to that it would measure what is corrected.
_EARLY = 0.7
# Mathematics: offset that makes the numbers drawn for storage indices independent of
# those that are drawn for positions.
_OFFSET_OF_INDICES = 2**40


@dataclass(frozen=True)
class Replay:
    """A cached path, and the new one that an edit makes of it.

    Attributes
    ----------
    objective : AbstractDataTerm
    removed, added : object with ``at(step)`` and ``where(n_steps)``
        Rows that leave and rows that join.
    base : Playback
        The cached path.
    sizes : tuple
        Rate, shrinkage and group_weight of the new path: see `descent.descend`.
    kept_weight : ndarray of shape (n_steps, n_groups)
        Weight of the rows that stay in each batch.
    batch_rows : ndarray of shape (n_steps,)
        Number of rows in each batch of the new path, at least 1. Where weights differ,
        it is the number of rows of equal weight whose mean varies as much.
    batch_fraction : float
        Fraction of all rows in a batch.
    n_epochs : int
    """

    objective: AbstractDataTerm
    removed: object
    added: object
    base: Playback
    sizes: tuple
    kept_weight: np.ndarray
    batch_rows: np.ndarray
    batch_fraction: float
    n_epochs: int

    def touched(self, step, iterate, drift, sums_out):
        """Compute gradient sums of rows that join, minus those of rows that leave.

        Parameters
        ----------
        step : int
        iterate, drift : ndarray of shape (n_outputs, n_dof)
            Of the cached path, and from there to the new one.
        sums_out : ndarray of shape (n_groups, n_outputs, n_dof)
            OUT.
        """
        sums_out[:] = 0.0
        kept_weight = self.kept_weight[step]
        take_out(self.objective, self.removed.at(step), iterate, kept_weight, sums_out)
        added = self.added.at(step)
        self.objective.add_gradient_sums(iterate + drift, added, sums_out)


class CheckpointReplay:
    """Computes the new path of a `Replay`.

    Parameters
    ----------
    replay : Replay
    checkpoints : Checkpoints
    attempt : Attempt
        The number of correction points, and which checks are made.
    evaluation_rows : ndarray of shape (n_rows,)
        Storage indices of rows that stay: all of them, or those in the sample.
    trajectory : Trajectory
        OUT; zero on input.

    Attributes
    ----------
    parts : dict of str to float
        Parts of the estimated error before they are multiplied by their factors, as
        fractions of how far the edit moves the end of the path.
    moved : float
        How far that is.
    """

    def __init__(self, replay, checkpoints, attempt, evaluation_rows, trajectory):
        self.attempt = attempt
        self.parts = {}
        self.moved = 0.0
        self._replay = replay
        self._checkpoints = checkpoints
        self._evaluation_rows = evaluation_rows
        self._trajectory = trajectory
        self._propagation = propagation_of(replay, checkpoints, trajectory)
        self._hessians = self._propagation.hessians
        self._iterate = np.zeros(trajectory.end.shape)
        self._drift = np.zeros(trajectory.end.shape)
        self._record = replay_error.StepRecord(*np.zeros((3, trajectory.n_steps)))
        by_group = (replay.objective.n_groups, *trajectory.end.shape)
        self._touched, self._residual = np.zeros((2, *by_group))
        self._work = np.zeros((by_group[0] + 2, *trajectory.end.shape))
        n_steps = trajectory.n_steps
        self._stops = np.flatnonzero(
            replay.removed.where(n_steps) | replay.added.where(n_steps)
        )
        # What the sample, and what one row, adds to the residual: see `by_chance`.
        self._of_sample, self._of_rows = np.zeros(by_group), {}
        self._show_progress = None

    def run(self):
        """Compute the path and estimate its error.

        Returns
        -------
        estimate : float
            As a fraction of how far the edit moves the end of the path.

        Raises
        ------
        Diverged
            When the predicted iterates are not finite.
        """
        n_steps, lengths = self._trajectory.n_steps, self._record.lengths
        corrects_path = self._checkpoints.plan.properties.corrects_path
        self._show_progress = progress.begin("replayed steps", n_steps)
        gap, corrected = self._correction_points()
        first, error = 0, np.zeros_like(self._drift)
        change = np.zeros_like(self._residual)
        for last in corrected:
            self._predict(first, last)
            change = self._measure(last)
            growth = lengths.copy()
            if corrects_path:
                start = 0.0 if first > 0 else _FROM_START
                growth[first:last] *= np.linspace(
                    start, 1.0, last - first, endpoint=False
                )
                error = self._corrected(first, last, error, change, growth)
            else:
                if first > 0:  # what the mean direction misses is there from the start
                    growth[first:last] *= np.arange(last - first) / (last - first)
                error = self._propagation.advanced(first, last, error, change, growth)
            first = last
        self._predict(first, n_steps)
        self._trajectory.end[:] = self._iterate + self._drift
        self._trajectory.exact[:] = False
        self.moved = moved = float(np.linalg.norm(self._drift))
        if not moved > 0.0:
            return 0.0
        is_checked = corrects_path and "after" in self.attempt.checks
        # After the last correction point the residual may continue to grow as before,
        # unless that is checked.
        growth = lengths.copy()
        growth[first:] *= 0.0 if is_checked else np.arange(n_steps - first) / gap
        error = self._propagation.advanced(first, n_steps, error, change, growth)
        of_corrections = np.linalg.norm(error)
        if corrects_path:
            of_corrections *= replay_error.FRACTION_OF_CORRECTIONS[is_checked]
        parts = {"corrections": of_corrections} | self._other_parts(corrected)
        self.parts = {name: float(part / moved) for name, part in parts.items()}
        return replay_error.combined(self.parts)

    def _correction_points(self):
        """Return the distance between correction points, and their steps."""
        n_steps, n_corrections = self._trajectory.n_steps, self.attempt.n_corrections
        gap = self._checkpoints.plan.properties.gap(n_corrections, n_steps)
        steps = np.rint(gap * np.arange(1, n_corrections + 1)).astype(int)
        steps = np.unique(steps)
        return gap, steps[(steps > 0) & (steps < n_steps)]

    def _corrected(self, first, last, error, change, growth):
        """Correct the steps up to a correction point; return the sum of corrections."""
        propagation, nothing = self._propagation, np.zeros_like(change)
        error = propagation.advanced(first, last, error, nothing, growth)
        correction = np.zeros_like(self._drift)
        propagation.propagate(
            first, last, correction, change[np.newaxis], growth[np.newaxis], record=True
        )
        self._drift += correction
        return error + correction

    def _other_parts(self, corrected):
        """Return the parts of the error besides that of corrections: norms by name."""
        propagation, record = self._propagation, self._record
        checks = list(self._steps_to_check(corrected))
        residuals = [self._residual_at(step) for step, _ in checks]
        shapes = [shape for _, shape in checks]
        return {
            "checks": replay_error.by_residuals(propagation, record, residuals, shapes),
            "between": replay_error.between_checkpoints(propagation, record),
            "noise": replay_error.by_chance(
                propagation, record, self._of_sample, self._of_rows
            ),
        }

    def _steps_to_check(self, corrected):
        """Yield the steps of checks, with the shape of the residual over all steps.

        In their batches every group has rows. The early check is made at a checkpoint
        if possible, because the error between checkpoints is another part.
        """
        n_steps, rate = self._trajectory.n_steps, self._replay.sizes[0]
        possible = (rate > 0.0) & (self._replay.base.sizes[0] > 0.0)
        possible &= (self._replay.kept_weight > 0.0).all(axis=1)
        steps = np.flatnonzero(possible)
        if not len(corrected):
            return
        before = steps[(steps > 0) & (steps < _EARLY * corrected[0])]
        if "early" in self.attempt.checks and len(before):
            at_checkpoints = before[self._checkpoints.progress[before] == 0.0]
            some = at_checkpoints if len(at_checkpoints) else before
            step = int(some[np.argmin(np.abs(some - corrected[0] / 3))])
            yield step, replay_error.until_correction(n_steps, step, corrected[0])
        if "after" in self.attempt.checks and len(steps) and steps[-1] > corrected[-1]:
            step = int(steps[-1])
            yield step, replay_error.since_correction(n_steps, corrected[-1], step)

    def _predict(self, first, last):
        """Predict the steps [first, last).

        Steps in which a removed or added row takes part are predicted one by one.
        """
        replay, base, trajectory = self._replay, self._replay.base, self._trajectory
        inside = self._stops[(first <= self._stops) & (self._stops < last)]
        bounds = np.unique([first, *inside, last])
        for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
            replay.touched(begin, self._iterate, self._drift, self._touched)
            reached = _kernels.replay.predict_steps(
                begin, end, self._iterate, self._drift, self._touched, self._residual,
                replay.objective.n_features, base.sizes, replay.sizes,
                (base.trajectory.steps, base.trajectory.group_sums),
                (trajectory.steps, trajectory.group_sums),
                replay.kept_weight, tuple(self._hessians), self._work,
                *vars(self._record).values(),
            )  # fmt: skip
            if reached < end:
                raise_diverged(reached - 1, trajectory.n_steps)
            if self._show_progress is not None:
                self._show_progress(int(end))

    def _measure(self, step):
        """Measure the residual at a correction point; return its change."""
        length = np.linalg.norm(self._drift)
        if not length > 0.0:
            return np.zeros_like(self._residual)
        wrong, by_half = self._error_of_hessians(step, self._iterate, self._drift)
        change = wrong / length - self._residual
        self._residual = self._residual + change
        if by_half:
            # A sample of half of the rows has a smaller error than a small fraction.
            unseen = np.sqrt(1.0 - self._checkpoints.plan.fraction)
            self._of_sample = unseen * (by_half[0] - by_half[1]) / (2.0 * length)
        return change

    def _predicted_changes(self, step, drift):
        """Return the change that a measured one is compared with, and by halves.

        Changes of the sample are compared with Hessians of the sample, which shows
        their error apart from that of sampling. The latter shows in the difference
        between its halves: the list has no more entries if all rows are measured.
        """
        if self.attempt.on_all_rows:
            return [self._hessians.product(step, drift)]
        alone, loss = self._checkpoints.at(step), self._replay.objective.loss
        hessians = [alone.for_sample(loss), *alone.for_halves(loss)]
        return [some.product(0, drift) for some in hessians]

    def _error_of_hessians(self, step, iterate, drift):
        """Return the error of the predicted change of the gradient along a drift.

        The differences between the rows are recorded.

        Returns
        -------
        wrong : ndarray of shape (n_groups, n_outputs, n_dof)
            Per unit of weight.
        by_half : list of ndarray
            What the Hessians of each half of the sample predict, if there is a sample.
        """
        objective, indices = self._replay.objective, self._evaluation_rows
        # Parts are random, because the order of the rows may be periodic.
        part_of = (cost.N_PARTS * draw(indices + _OFFSET_OF_INDICES)).astype(int)
        parts = [indices[part_of == number] for number in range(cost.N_PARTS)]
        changes = [objective.gradient_change(iterate, drift, part) for part in parts]
        weights = [objective.weight_by_group(part) for part in parts]
        predicted, *by_half = self._predicted_changes(step, drift)
        measured = per_weight(sum(changes), sum(weights))
        # Parts differ because rows differ, and the halves because samples differ.
        means = np.stack(list(map(per_weight, changes, weights)))
        contrasts = np.tensordot(helmert(cost.N_PARTS), means, axes=1)
        length = np.linalg.norm(predicted)
        if length > 0.0:
            scale = np.sqrt(len(indices) / cost.N_PARTS)
            self._of_rows[step] = contrasts / length * scale
        return measured - predicted, by_half

    def _residual_at(self, step):
        """Return the residual of a recorded step for the evaluation rows.

        Per unit of weight and length of the drift, of the path as it is now.
        """
        replay, n_features = self._replay, self._replay.objective.n_features
        base = replay.base
        old = Playback(base.trajectory, base.sizes, n_features)
        new = Playback(self._trajectory, replay.sizes, n_features)
        ends = self._iterate, self._trajectory.end
        for playback, end in zip((old, new), ends, strict=True):
            steps = playback.trajectory.steps
            if 2 * step < len(steps):
                playback.go_to(step)
            else:  # the end is nearer
                playback.jump_to(step, end - steps[step:].sum(axis=0, dtype=float))
        drift = new.iterate - old.iterate
        length = np.linalg.norm(drift)
        if not length > 0.0:
            return np.zeros_like(self._residual)
        # What the step assumed of the rows that stay: see `_kernels.replay`.
        replay.touched(step, old.iterate, drift, self._touched)
        assumed = new.gradient_sums() - old.gradient_sums() - self._touched
        assumed = per_weight(assumed, replay.kept_weight[step])
        added = assumed - self._hessians.product(step, drift)
        wrong, _ = self._error_of_hessians(step, old.iterate, drift)
        return (wrong - added) / length
