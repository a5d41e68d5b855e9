"""DeltaGrad along the path: a cached training run that is replayed after an edit.

This module decides how a path is replayed. With a number as period, it is the replay of
the paper, whose exact steps give curvature pairs (`periodic_replay`). With
``period="auto"`` the replay predicts from Hessian checkpoints (`checkpoint_replay`), to
an estimated error of `edit_tol`, if they are affordable and save time; otherwise the
path is retrained exactly.
"""

from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from .._data.edit import NO_EDIT
from .._data.group_weights import RowCounts
from .._engine import AbstractEngine, Model
from .._utils import threads
from .._utils.row_blocks import row_blocks
from . import cost, replay_error
from .checkpoint_plan import affordable_plan
from .checkpoint_replay import CheckpointReplay, Replay
from .checkpoints import Checkpoints
from .descent import Diverged, ExactOracle, descend
from .periodic_replay import PeriodicOracle, is_exact
from .schedule import AbstractSchedule, schedule_of
from .trajectory import Playback, Trajectory

# An accuracy threshold: if the noise of an edit was three times its tolerance, the next
# one is not attempted. Half of the noise is remembered each time, so that one edit in
# about log2(noise / 3 edit_tol) is attempted again.
_HOPELESS = 3.0
_TINY = np.finfo(float).tiny  # rounding: instead of zero in a denominator

_TOO_HARD = "the estimated error is above edit_tol, at any cost below a retrain's"
_TOO_EXPENSIVE = "a replay within edit_tol would take as long"
_TOO_MANY = "a replay would read many more rows than a retrain"
_TOO_COARSE = "edit_tol is below the error of Hessians between their points of the path"
_TOO_NOISY = "edit_tol is below the noise of batches, or of the rows that are sampled"


@dataclass(frozen=True)
class PathEngine(AbstractEngine):
    """A training run, and all that its replay needs besides the rows. Immutable.

    Attributes
    ----------
    model : Model
        The path depends on where its columns are centred.
    schedule : AbstractSchedule
    row_counts : RowCounts
    trajectory : Trajectory
    checkpoints : Checkpoints or None
        None until an edit needs them.
    n_corrections : int or None
        With how many correction points the next edit begins: as many as the last edit
        needed, or would have needed if it was retrained. None: no edit has been made.
    on_all_rows : bool
        Whether the last edit measured its correction points on all rows instead of a
        sample.
    noise : float
        The part of the last edit's error that no correction point reduces, if that was
        above its tolerance.
    error_left : float
        Estimated distance of the path's end from that of an exact retrain, which the
        edits since the last one have left. Infinite if one of them was a replay of the
        paper, whose error is not estimated.
    facts : dict
        What the report says about the last edit, except for numbers of steps.
    cache_dtype : {"float64", "float32"}
        Data type of the cached steps.
    cache_folder : path-like or None
        Where they are cached; None: in memory.
    """

    model: Model
    schedule: AbstractSchedule
    row_counts: RowCounts | None = None
    trajectory: Trajectory | None = None
    checkpoints: Checkpoints | None = None
    n_corrections: int | None = None
    on_all_rows: bool = False
    noise: float = 0.0
    error_left: float = 0.0
    facts: dict = field(default_factory=dict)
    cache_dtype: str = "float64"
    cache_folder: str | None = None

    keeps_path = True
    converged = True  # the number of epochs is given

    @classmethod
    def untrained(cls, settings, model, training_set, seed):
        if settings.standardize:
            raise ValueError(
                f'standardize=True needs solver="newton", got {settings.solver!r}: '
                "every step of a path would be another one when the deviations of the "
                'columns change. Use solver="newton", or standardize=False after a '
                "StandardScaler, which keeps what it learned from removed rows."
            )
        if not settings.store_data:
            raise ValueError(
                f'store_data=False needs solver="newton", got {settings.solver!r}: a '
                "path is replayed on its rows."
            )
        schedule = schedule_of(settings, model, training_set, seed)
        engine = cls._of(settings, model, schedule)
        if settings.verbose:
            n_bytes = engine.bytes_needed(training_set.n_features)
            where = "memory" if settings.cache_folder is None else "cache_folder"
            print(f"cached run: {n_bytes:,} bytes in {where}")
        return engine

    def adapted(self, model, training_set, settings, edit=NO_EDIT):
        # A dump may have been moved to a machine with another folder.
        engine = replace(self, model=model, cache_folder=settings.cache_folder)
        if model.loss is self.model.loss:
            return engine
        return engine.rescheduled(training_set, settings, edit)

    def rescheduled(self, training_set, settings, edit=NO_EDIT):
        """Return an untrained engine with the same batches and new "auto" rates."""
        schedule = schedule_of(
            settings, self.model, training_set, self.schedule.seed, edit,
            self.schedule.n_positions,
        )  # fmt: skip
        return self._of(settings, self.model, schedule)

    @classmethod
    def _of(cls, settings, model, schedule):
        return cls(
            model, schedule, cache_dtype=settings.cache_dtype,
            cache_folder=settings.cache_folder,
        )  # fmt: skip

    @property
    def iterate(self):
        """Last iterate of the path, shape (n_outputs, n_dof)."""
        return self.trajectory.end

    @property
    def random_seed(self):
        """Seed of the assignment of rows to batches."""
        return self.schedule.seed

    @property
    def n_epochs(self):
        return self.schedule.n_epochs

    @property
    def n_counting(self):
        """Number of rows of positive weight."""
        return int(self.row_counts.count[: self.schedule.steps_per_epoch].sum())

    @property
    def total_weight(self):
        """Total weight of the rows, without factors of groups."""
        return float(self.row_counts.weight[: self.schedule.steps_per_epoch].sum())

    def attributes(self):
        rates = self.schedule.learning_rates
        return {
            "n_iter_": np.array([self.n_epochs], dtype=np.int32),
            "learning_rate_": rates.copy() if np.ptp(rates) > 0 else float(rates[0]),
        }

    def summary(self):
        return {
            "n_steps": self.trajectory.n_steps,
            "n_exact_steps": int(self.trajectory.exact.sum()),
            "checkpoint_bytes": getattr(self.checkpoints, "nbytes", 0),
            **self.facts,
        }

    @property
    def nbytes(self):
        """Size of the cached path."""
        return self.trajectory.nbytes

    def bytes_needed(self, n_features):
        """Return the size of the cached path before it is allocated."""
        shape = self.model.loss.n_outputs, self.model.n_dof(n_features)
        return Trajectory.bytes_needed(
            self.schedule.n_steps, self.model.n_groups, shape, self.cache_dtype
        )

    def fit(self, training_set, edit=NO_EDIT):
        """Run the whole path, with every gradient computed."""
        table = training_set.table
        row_counts = self._count_live(table).plus(
            self._count(table, edit.added, edit.added_positions)
        )
        oracle = ExactOracle(
            self.model.data_term(training_set),
            self.schedule.batches(table),
            self.schedule.members(edit.added_positions, edit.added),
        )
        fitted = self._run(oracle, row_counts)
        # A retrain of the same rows hardly changes the path.
        kept = self.checkpoints
        if edit is NO_EDIT and kept is not None and kept.fit(fitted.trajectory):
            return replace(fitted, checkpoints=kept)
        return fitted

    def edited(self, training_set, edit, settings):
        table = training_set.table
        n_before = table.n_live + len(edit.removed)
        plan, reason = self._plan_or_reason(training_set, n_before, edit, settings)
        if reason is not None:
            return self._retrained(training_set, edit, reason)
        kept = self.row_counts.minus(
            self._count(table, edit.removed, edit.removed_positions)
        )
        if kept is None:
            kept = self._count_live(table)
        row_counts = kept.plus(self._count(table, edit.added, edit.added_positions))
        common = {
            "objective": self.model.data_term(training_set),
            "removed": self.schedule.members(edit.removed_positions, edit.removed),
            "added": self.schedule.members(edit.added_positions, edit.added),
            "base": self.playback(),
            "kept_weight": self._by_step(kept.weight),
        }
        if plan is None:
            oracle = PeriodicOracle(
                **common,
                batches=self.schedule.batches(table),
                base_weight=self._by_step(self.row_counts.weight),
                burn_in=settings.burn_in,
                period=settings.period,
                history_size=settings.history_size,
            )
            found = self._run(oracle, row_counts)
            is_exact = found.trajectory.exact.all()
            return found if is_exact else replace(found, error_left=np.inf)
        replay = Replay(
            **common,
            sizes=self._sizes(row_counts),
            batch_rows=self._batch_rows(table, row_counts),
            batch_fraction=1.0 / self.schedule.steps_per_epoch,
            n_epochs=self.n_epochs,
        )
        return self._edited_by_checkpoints(
            replay, plan, training_set, edit, row_counts, settings.edit_tol
        )

    def _batch_rows(self, table, row_counts):
        """Return `Replay.batch_rows`, by Kish's effective sample size."""
        live = table.live_indices()
        weight = table.weight[live]
        weight = weight / max(weight.max(initial=0.0), _TINY)  # squares cannot overflow
        if np.isin(weight, (0.0, 1.0)).all():
            rows = self._by_step(row_counts.count).sum(axis=1)
        else:
            one_group = np.zeros(len(live), np.int64), 1
            total, squares = (
                self.schedule.row_counts(table.position[live], values, *one_group)
                for values in (weight, weight**2)
            )
            rows = total.weight**2 / np.maximum(squares.weight, _TINY)
            rows = np.broadcast_to(rows[:, 0], self.schedule.n_steps)
        return np.maximum(rows, 1.0)

    def prepared(self, training_set, settings):
        """Return the engine with the checkpoints that its first edit would compute."""
        if self.checkpoints is not None:
            return self
        n_rows = training_set.table.n_live
        plan, _ = self._plan_or_reason(training_set, n_rows, NO_EDIT, settings)
        if plan is None:
            return self
        return replace(self, checkpoints=self._build_checkpoints(plan, training_set))

    def _plan_or_reason(self, training_set, n_before, edit, settings):
        """Decide how to follow an edit.

        Returns
        -------
        plan : CheckpointPlan or None
            Of the checkpoints to replay from; None for the replay of the paper.
        reason : str or None
            Why the path is retrained instead.
        """
        if settings.period != "auto":
            too_many = cost.reads_too_many(
                self._n_exact(settings) / self.schedule.n_steps,
                n_before - len(edit.removed), edit,
            )  # fmt: skip
            return None, _TOO_MANY if too_many else None
        reason = self._why_hopeless(settings.edit_tol)
        if reason is not None:
            return None, reason
        term = self.model.data_term(training_set)
        if self.checkpoints is not None:
            plan = self.checkpoints.plan
        else:
            plan = affordable_plan(
                term.loss, term.n_dof, n_before, self.n_epochs, term.entry_cost,
                term.n_groups,
            )  # fmt: skip
        if plan is not None and cost.is_worthwhile(
            self._first_attempt(plan), term, training_set.table, n_before, edit,
            self.schedule.n_steps,
        ):  # fmt: skip
            return plan, None
        return None, _TOO_EXPENSIVE

    def _n_exact(self, settings):
        steps = np.arange(self.schedule.n_steps)
        return int(np.sum(is_exact(steps, settings.burn_in, settings.period)))

    def _why_hopeless(self, edit_tol):
        """Return why the last edit shows that the next one would fail, or None."""
        if self.checkpoints is None:
            return None
        if self.noise > _HOPELESS * edit_tol:
            return _TOO_NOISY
        attempt = cost.Attempt(
            self.checkpoints.plan, self.n_epochs, self.n_corrections or 0,
            self.on_all_rows,
        )  # fmt: skip
        return _TOO_HARD if attempt.passes > attempt.most_passes else None

    def _retrained(self, training_set, edit, reason):
        """Return the path retrained.

        If the last edit was too hard to be replayed, half of what it needed is
        remembered, so that an edit is attempted again after a while.
        """
        fitted = self.fit(training_set, edit)
        facts = {"refit": True, "reason": reason}
        if reason not in (_TOO_HARD, _TOO_NOISY):
            return replace(fitted, facts=facts)
        n_corrections = self.n_corrections
        if n_corrections is not None:
            n_corrections = max(1, n_corrections // 2)
        return replace(
            fitted, facts=facts, noise=self.noise / 2.0, n_corrections=n_corrections,
            on_all_rows=self.on_all_rows,
            checkpoints=self.checkpoints.changed(
                self.model.data_term(training_set), edit
            ),
        )  # fmt: skip

    def _edited_by_checkpoints(
        self, replay, plan, training_set, edit, row_counts, edit_tol
    ):
        """Return the path replayed within a tolerance, or else retrained."""
        objective, checkpoints, n_hessians = replay.objective, self.checkpoints, 0.0
        if checkpoints is not None:
            checkpoints = checkpoints.changed(objective, edit.removal())
        if checkpoints is None:
            checkpoints = self._build_checkpoints(plan, training_set)
            n_hessians = cost.hessians_to_build(plan, self.model.loss)
        with threads.blas_for(order=1):  # its idle threads would slow down ours
            found, changes = self._replayed(
                replay, checkpoints, training_set.table, edit, edit_tol
            )
        checkpoints = checkpoints.changed(objective, edit.addition())
        if found is None:
            found = self.fit(training_set, edit)
        else:
            changes |= {"row_counts": row_counts, "noise": 0.0}
        changes["facts"] |= {"n_hessians": n_hessians}
        return replace(found, checkpoints=checkpoints, **changes)

    def _replayed(self, replay, checkpoints, table, edit, edit_tol):
        """Replay the path with as many correction points as the tolerance needs.

        Returns
        -------
        found : PathEngine or None
            None if no attempt was accurate enough.
        changes : dict
            What the engine remembers of the attempts, by attribute.
        """
        attempt = self._first_attempt(checkpoints.plan)
        n_before = table.n_live + len(edit.removed)
        n_after = table.n_live + len(edit.added)
        most = attempt.most_passes * n_after / n_before
        # Every attempt reads the rows that leave and join, in every step.
        touched = self.n_epochs * len(edit) / n_before
        n_passes = noise = read = 0.0
        reason = _TOO_HARD
        while attempt is not None:
            if n_passes + attempt.passes + read > most:
                # If that is the first attempt, nothing is known about the error.
                reason = reason if n_passes else _TOO_EXPENSIVE
                break
            n_passes += attempt.passes
            read += touched
            trajectory = self._allocate(replay.objective.shape)
            rows = self._evaluation_rows(checkpoints, table, attempt.on_all_rows)
            run = CheckpointReplay(replay, checkpoints, attempt, rows, trajectory)
            try:
                estimate = run.run()
            except Diverged:
                break
            if estimate <= edit_tol:
                # Half as many correction points have four times the error.
                fewer = attempt.fewer()
                enough = estimate * (attempt.n_corrections / fewer) ** 2 <= edit_tol
                error = replay_error.accumulated(self.error_left, estimate * run.moved)
                facts = {"n_passes": n_passes, "error_estimate": 0.0}
                if error > 0.0:
                    fraction = error / run.moved if run.moved > 0.0 else np.inf
                    facts["error_estimate"] = fraction if fraction < np.inf else None
                changes = {
                    "n_corrections": fewer if enough else attempt.n_corrections,
                    "on_all_rows": attempt.on_all_rows,
                    "error_left": error,
                    "facts": facts,
                }
                return replace(self, trajectory=trajectory), changes
            if not np.isfinite(estimate):
                break
            noise = replay_error.combined(run.parts, ("between", "noise"))
            last, (attempt, reason) = (
                attempt,
                _next_attempt(attempt, run.parts, edit_tol),
            )
        last = attempt or last
        changes = {
            "facts": {"n_passes": n_passes, "refit": True, "reason": reason},
            "noise": noise,
            "on_all_rows": last.on_all_rows,
        }
        # The next edit begins with what this one needed. If that is too expensive, it
        # and a few more are not attempted.
        if reason == _TOO_HARD:
            most = cost.MOST_REMEMBERED * self.n_epochs
            changes["n_corrections"] = min(last.n_corrections, most)
        return None, changes

    def _first_attempt(self, plan):
        return cost.Attempt.first(
            plan, self.n_epochs, self.n_corrections, self.on_all_rows
        )

    def _build_checkpoints(self, plan, training_set):
        """Return Hessian checkpoints from the current training rows."""
        table, objective = training_set.table, self.model.data_term(training_set)
        live = table.live_indices()
        return Checkpoints.build(
            plan, objective, self.trajectory, live, table.position[live]
        )

    def _evaluation_rows(self, checkpoints, table, on_all_rows):
        """Return the rows that stay, or those of them that are in the sample."""
        if on_all_rows:
            return table.live_indices()
        indices = table.indices_of(checkpoints.positions)
        return indices[indices >= 0]

    def playback(self):
        """Return the path from its start on."""
        n_features = self.trajectory.end.shape[1] - self.model.n_dof(0)
        return Playback(self.trajectory, self._sizes(self.row_counts), n_features)

    def purged(self, training_set, settings, exact):
        model = replace(self.model, centre=training_set.centre())
        engine = replace(self, model=model).rescheduled(training_set, settings)
        return engine.fit(training_set), None

    def taken_as_exact(self):
        return replace(self, error_left=0.0)

    def gradients(self, n_features):
        return self.playback().gradients(n_features)

    def plan(self, training_set, edit, settings, is_refit):
        table, term = training_set.table, self.model.data_term(training_set)
        n_steps, n_live = self.schedule.n_steps, table.n_live
        some = table.first_indices(cost.N_TIMED)
        pass_seconds = self._seconds(term, some) * max(1.0, n_live / len(some))
        facts = {
            "n_steps": n_steps,
            "n_exact_steps": n_steps,
            "n_exact_steps_at_most": n_steps,
            "seconds": self.n_epochs * pass_seconds,
        }
        if is_refit:
            return facts
        plan, reason = self._plan_or_reason(training_set, n_live, edit, settings)
        if reason is not None:
            return facts | {"refit": True, "reason": reason}
        if plan is None:
            n_exact = self._n_exact(settings)
            seconds = facts["seconds"] * n_exact / n_steps
            return facts | {"n_exact_steps": n_exact, "seconds": seconds}
        attempt = self._first_attempt(plan)
        passes = attempt.passes
        facts |= {
            "n_exact_steps": 0,
            "n_passes": passes,
            "n_passes_at_most": attempt.most_passes,
        }
        if self.checkpoints is None:
            n_hessians = cost.hessians_to_build(plan, term.loss)
            n_bytes = cost.bytes_of(
                plan, term.loss, term.n_dof, term.n_groups, n_steps, n_live
            )
            facts |= {
                "n_hessians": n_hessians,
                "n_hessians_at_most": n_hessians,
                "checkpoint_bytes": n_bytes,
            }
            passes += cost.passes_to_build(plan, term.loss, term.n_dof)
        return facts | {"seconds": passes * pass_seconds}

    def _seconds(self, objective, indices):
        """Return the time that the gradient of some rows takes now."""
        started = perf_counter()
        objective.gradient_sums(self.iterate, indices)
        return perf_counter() - started

    def _count_live(self, table):
        return self._count(table, table.live_indices())

    def _count(self, table, indices, positions=None):
        """Return the `RowCounts` of some rows, by default where they are now."""
        n_groups, found = self.model.n_groups, None
        for block in row_blocks(len(indices)):
            some = indices[block]
            where = table.position[some] if positions is None else positions[block]
            group = table.y[some] if n_groups > 1 else np.zeros(len(some), np.int64)
            part = self.schedule.row_counts(where, table.weight[some], group, n_groups)
            found = part if found is None else found.plus(part)
        return found

    def _run(self, oracle, row_counts):
        trajectory = self._allocate(oracle.objective.shape)
        sizes = self._sizes(row_counts)
        descend(oracle, *sizes, oracle.objective.n_features, trajectory)
        return type(self)(
            self.model, self.schedule, row_counts, trajectory,
            cache_dtype=self.cache_dtype, cache_folder=self.cache_folder,
        )  # fmt: skip

    def _sizes(self, row_counts):
        """Return rate, shrinkage and group_weight: see `descend`."""
        weight = row_counts.weight[: self.schedule.steps_per_epoch].sum(axis=0)
        group_weight = self.model.group_factors(weight)
        sizes = self.schedule.step_sizes(row_counts, group_weight, self.model.alpha)
        return *sizes, group_weight

    def _by_step(self, weight):
        """Return weights for every step, also where they are the same for all."""
        shape = (self.schedule.n_steps, self.model.n_groups)
        return np.ascontiguousarray(np.broadcast_to(weight, shape))

    def _allocate(self, shape):
        return Trajectory.allocate(
            self.schedule.n_steps, self.model.n_groups, shape, self.cache_dtype,
            self.cache_folder,
        )  # fmt: skip


def _next_attempt(attempt, parts, edit_tol):
    """Return what to attempt after an error above the tolerance, if anything, and why.

    Parameters
    ----------
    attempt : Attempt
    parts : dict of str to float
        Of the estimated error: see `replay_error`.
    edit_tol : float

    Returns
    -------
    attempt : Attempt or None
    reason : str
        The obstacle.
    """
    if replay_error.combined(parts, ("between", "noise")) <= edit_tol:
        # The error falls with the square of the number of correction points. The limit
        # keeps the number finite where edit_tol is next to zero.
        factor = np.sqrt(replay_error.combined(parts) / edit_tol)
        needed = int(np.ceil(attempt.n_corrections * min(factor, 2.0**20)))
        n_corrections = max(attempt.n_corrections + 1, needed)
        return replace(attempt, n_corrections=n_corrections), _TOO_HARD
    if replay_error.combined(parts, ("noise",)) <= edit_tol:
        return None, _TOO_COARSE
    # All rows do not have the noise of a sample; and the next edit begins with them.
    return None if attempt.on_all_rows else attempt.on_all(), _TOO_NOISY
