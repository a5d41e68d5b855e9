"""DeltaGrad along the path: a training run, kept, and replayed after an edit.

Which replay it is, is decided here. With a number as period it is the paper's, whose
exact steps make curvature pairs (`_periodic_replay`). With ``period="auto"`` it is by
Hessians that are kept at a few points of the path (`_seeded_replay`), where they can be
afforded and save time, and to an estimated error of `edit_tol`; else an exact retrain.
"""

from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from .._data.edit import NO_EDIT
from .._data.group_weights import RowCounts
from .._engine import AbstractEngine, Model
from .._utils import threads
from . import correction_points, replay_error
from .checkpoint_replay import Replay, SeededReplay, Witnesses
from .checkpoints import Seed, affordable_kind
from .descent import Diverged, ExactOracle, descend
from .periodic_replay import PeriodicOracle, is_exact
from .schedule import AbstractSchedule, schedule_of
from .trajectory import Playback, Trajectory

# Rows whose time tells that of a pass.
_N_TIMED = 2**14
# In multiplications of dense rows by a kernel: what Python takes
# around a step that reads rows, and around a replay. Runs that a replay makes of what
# it predicts, if it repairs; and the share of a retrain that it may take.
_CALL = 4e5
_OVERHEAD = 4e7
_RUNS = 3
_WORTHWHILE = 0.8
# Noise of an edit, over what is allowed, after which the next one is not tried; half as
# much of it is remembered every time.
_HOPELESS = 3.0
# A cost: nodes that are remembered of an edit that was too hard, over epochs; half as
# many every time.
_MOST_REMEMBERED = 2
# Rows whose entries tell those of all.
_N_LOOKED_AT = 2**10
# Rows that a replay may read, in retrains. With exact steps it reads removed rows in
# every step; what reads that many more is retrained.
_MOST_READ = 2.0
_TOO_HARD = "the estimated error is above edit_tol, at any price below a retrain's"
_TOO_DEAR = "a replay within edit_tol would take as long"
_TOO_MANY = "a replay would read many more rows than a retrain"
_TOO_COARSE = "edit_tol is below the error of Hessians between their points of the path"
_TOO_NOISY = "edit_tol is below the noise of batches, or of the rows that are sampled"


@dataclass(frozen=True)
class PathEngine(AbstractEngine):
    """A training run and all that its replay needs besides the rows. Never mutated.

    Attributes
    ----------
    model : Model
        The path depends on where it has its columns centred.
    schedule : AbstractSchedule
    row_counts : RowCounts
    trajectory : Trajectory
    seed : Seed or None
        None until an edit needs it.
    n_nodes : int or None
        How many the next edit begins with: of one that was replayed as many as it took,
        of one that was too hard as many as it would have taken.
    on_all : bool
        Whether the last edit's nodes were measured on all rows, not on a sample.
    noise : float
        What no node could mend in the last edit, if that was too much.
    ledger : dict
        What the report says of the last edit besides the steps.
    cache_dtype : {"float64", "float32"}
        Of the steps that are kept.
    cache_folder : path-like or None
        Where they are kept; None: in memory.
    """

    model: Model
    schedule: AbstractSchedule
    row_counts: RowCounts | None = None
    trajectory: Trajectory | None = None
    seed: Seed | None = None
    n_nodes: int | None = None
    on_all: bool = False
    noise: float = 0.0
    ledger: dict = field(default_factory=dict)
    cache_dtype: str = "float64"
    cache_folder: str | None = None

    keeps_path = True
    converged = True  # it runs as long as it was told to

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
        engine = cls(
            model, schedule, cache_dtype=settings.cache_dtype,
            cache_folder=settings.cache_folder,
        )  # fmt: skip
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
        """Return an untrained engine of the same batches; "auto" rates are renewed."""
        schedule = schedule_of(
            settings, self.model, training_set, self.schedule.seed, edit,
            self.schedule.n_positions,
        )  # fmt: skip
        return type(self)(
            self.model, schedule, cache_dtype=settings.cache_dtype,
            cache_folder=settings.cache_folder,
        )  # fmt: skip

    @property
    def iterate(self):
        """Where the run ended, shape (n_outputs, n_dof)."""
        return self.trajectory.end

    @property
    def random_seed(self):
        """What deals rows to batches."""
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
            "checkpoint_bytes": 0 if self.seed is None else self.seed.nbytes,
            **self.ledger,
        }

    @property
    def nbytes(self):
        """Size of the cached run."""
        return self.trajectory.nbytes

    def bytes_needed(self, n_features):
        """Size of the cached run, before there is one."""
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
        return self._run(oracle, row_counts)

    def edited(self, training_set, edit, settings):
        """The path after an edit by DeltaGrad.

        `settings` has the attributes burn_in, period and history_size: see
        `PeriodicOracle`. With period="auto" the path is replayed by a seed, to an
        estimated error of edit_tol, or trained anew.
        """
        table = training_set.table
        if settings.period == "auto":
            reason = self._why_hopeless(settings.edit_tol)
            if reason is not None:
                return self._untried(training_set, edit, reason)
            n_rows = table.n_live + len(edit.removed)
            kind = self._seed_kind(training_set, n_rows, edit)
            if kind is None:
                ledger = {"refit": True, "reason": _TOO_DEAR}
                return replace(self.fit(training_set, edit), ledger=ledger)
        elif self._reads_too_many(table.n_live, edit, settings):
            ledger = {"refit": True, "reason": _TOO_MANY}
            return replace(self.fit(training_set, edit), ledger=ledger)
        kept = self.row_counts.minus(
            self._count(table, edit.removed, edit.removed_positions)
        )
        if kept is None:
            kept = self._count_live(table)
        row_counts = kept.plus(self._count(table, edit.added, edit.added_positions))
        by_step = (self.schedule.n_steps, self.model.n_groups)
        cached_run = {
            "objective": self.model.data_term(training_set),
            "removed": self.schedule.members(edit.removed_positions, edit.removed),
            "added": self.schedule.members(edit.added_positions, edit.added),
            "base": self.playback(),
            "kept_weight": _by_step(kept.weight, by_step),
        }
        if settings.period == "auto":
            replay = Replay(**cached_run, **self._shape_of_batches(row_counts))
            return self._edited_by_seed(
                replay, kind, training_set, edit, row_counts, settings.edit_tol
            )
        oracle = PeriodicOracle(
            **cached_run,
            batches=self.schedule.batches(table),
            base_weight=_by_step(self.row_counts.weight, by_step),
            burn_in=settings.burn_in,
            period=settings.period,
            history_size=settings.history_size,
        )
        return self._run(oracle, row_counts)

    def prepared(self, training_set, settings):
        """With the Hessians along the path that the first edit would make, if any."""
        if settings.period != "auto" or self.seed is not None:
            return self
        kind = self._seed_kind(training_set, training_set.table.n_live, NO_EDIT)
        if kind is None:
            return self
        return replace(self, seed=self._survey(kind, training_set))

    def _reads_too_many(self, n_kept, edit, settings):
        """Whether the paper's replay reads far more rows than a retrain."""
        share = self._n_exact(settings) / self.schedule.n_steps
        replay = share * n_kept + len(edit)
        return replay > _MOST_READ * (n_kept + len(edit.added))

    def _n_exact(self, settings):
        steps = np.arange(self.schedule.n_steps)
        return int(np.sum(is_exact(steps, settings.burn_in, settings.period)))

    def _why_hopeless(self, edit_tol):
        """Why the last edit shows that the next one is not to be tried, or None."""
        if self.seed is None:
            return None
        if self.noise > _HOPELESS * edit_tol:
            return _TOO_NOISY
        kind, n_nodes = self.seed.kind, self.n_nodes or 0
        passes = correction_points.passes(kind, n_nodes, self.on_all, self.n_epochs)
        most = correction_points.most_passes(kind, self.n_epochs)
        return _TOO_HARD if passes > most else None

    def _untried(self, training_set, edit, reason):
        """The path trained anew where the last edit was too hard to be replayed.

        Half of what the last one wanted is remembered, so that in a while one is tried.
        """
        seed = self.seed.changed(self.model.data_term(training_set), edit)
        n_nodes = None if self.n_nodes is None else max(1, self.n_nodes // 2)
        return replace(
            self.fit(training_set, edit), seed=seed, noise=self.noise / 2.0,
            n_nodes=n_nodes, on_all=self.on_all,
            ledger={"refit": True, "reason": reason},
        )  # fmt: skip

    def _edited_by_seed(self, replay, kind, training_set, edit, row_counts, edit_tol):
        """The path after an edit, by as many nodes as it takes."""
        objective, seed, n_hessians = replay.objective, self.seed, 0.0
        if seed is not None:
            seed = seed.changed(objective, edit.removal())
        if seed is None:
            seed = self._survey(kind, training_set)
            n_hessians = self._hessians_of(kind)
        with threads.blas_for(order=1):  # its threads spin next to ours
            found, facts = self._with_nodes(
                replay, seed, training_set.table, edit, edit_tol
            )
        seed = seed.changed(objective, edit.addition())
        if found is not None:
            facts = {"ledger": found.ledger, "row_counts": row_counts, "noise": 0.0}
        else:
            found = self.fit(training_set, edit)
        facts["ledger"] = facts["ledger"] | {"n_hessians": n_hessians}
        return replace(found, seed=seed, **facts)

    def _hessians_of(self, kind):
        """What a seed is made of, in Hessians of all rows."""
        n_points = 1 if self.model.loss.is_quadratic else kind.n_points
        return n_points * kind.share

    def _with_nodes(self, replay, seed, table, edit, edit_tol):
        """The path by as many nodes as it takes, or None; and facts of why none."""
        kind, shape = seed.kind, replay.objective.shape
        least = correction_points.first_nodes(kind)
        n_nodes, on_all = self._first_try(kind)
        n_passes = noise = read = 0.0
        reason = _TOO_HARD
        witnesses = self._witnesses(seed, table, on_all)
        n_rows = table.n_live + len(edit.removed)
        n_after = table.n_live + len(edit.added)
        # Every try reads the rows that leave and join, in every step.
        touched = self.n_epochs * len(edit) / n_rows
        most = correction_points.most_passes(kind, self.n_epochs) * n_after / n_rows
        while True:
            passes = correction_points.passes(kind, n_nodes, on_all, self.n_epochs)
            if n_passes + passes + read > most:
                # Of a few epochs even the first try may be: then nothing is estimated.
                reason = reason if n_passes else _TOO_DEAR
                break
            n_passes += passes
            read += touched
            trajectory = self._allocate(shape)
            try:
                checks = correction_points.checks(kind, on_all, self.n_epochs)
                run = SeededReplay(replay, seed, witnesses, trajectory, checks)
                estimate, by_part = run.run(n_nodes)
            except Diverged:  # predictions run away
                break
            if estimate <= edit_tol:
                # What half as many nodes would do, they do the next time.
                fewer = max(least, n_nodes // 2)
                enough = estimate * (n_nodes / fewer) ** 2 <= edit_tol
                found = replace(
                    self,
                    trajectory=trajectory,
                    n_nodes=fewer if enough else n_nodes,
                    on_all=on_all,
                    ledger={"n_passes": n_passes, "error_estimate": estimate},
                )
                return found, {}
            if not np.isfinite(estimate):
                break
            noise = replay_error.combined(by_part, ("between", "noise"))
            if noise <= edit_tol:
                # The error falls with the square of the gap between nodes.
                needed = n_nodes * min(np.sqrt(estimate / edit_tol), 2.0**20)
                n_nodes = max(n_nodes + 1, int(np.ceil(needed)))
                reason = _TOO_HARD
                continue
            by_chance = replay_error.combined(by_part, ("noise",))
            reason = _TOO_NOISY if by_chance > edit_tol else _TOO_COARSE
            if on_all or reason == _TOO_COARSE:
                break
            # What a sample gets wrong is repaired where all rows are measured; and the
            # next edit begins with that.
            on_all, n_nodes = True, least
            witnesses = self._witnesses(seed, table, on_all)
        ledger = {"n_passes": n_passes, "refit": True, "reason": reason}
        facts = {"ledger": ledger, "noise": noise, "on_all": on_all}
        # The next edit begins with what this one lacked; where that is too dear, it and
        # a few more are not tried.
        if reason == _TOO_HARD:
            wanted = n_nodes if n_passes > 0.0 else n_nodes // 2
            facts["n_nodes"] = min(wanted, _MOST_REMEMBERED * self.n_epochs)
        return None, facts

    def _first_try(self, kind):
        """How many nodes an edit begins with, and whether on all rows."""
        on_all = self.on_all or correction_points.begins_on_all(kind, self.n_epochs)
        return self.n_nodes or correction_points.first_nodes(kind), on_all

    def _survey(self, kind, training_set):
        """Hessians along the path, of the rows that stay."""
        table, objective = training_set.table, self.model.data_term(training_set)
        live = table.live_indices()
        return Seed.survey(kind, objective, self.trajectory, live, table.position[live])

    def _witnesses(self, seed, table, on_all):
        """Rows that stay, that nodes are measured on: all of them, or the sample."""
        if on_all:
            return Witnesses(table.live_indices(), are_sample=False)
        indices = table.indices_of(seed.positions)
        return Witnesses(indices[indices >= 0], are_sample=True)

    def _seed_kind(self, training_set, n_rows, edit):
        """What is kept of Hessians of `n_rows`; None where it is too dear to replay."""
        objective, loss = self.model.data_term(training_set), self.model.loss
        n_dof, n_groups = objective.n_dof, objective.n_groups
        n_epochs, n_steps = self.n_epochs, self.schedule.n_steps
        kind = None if self.seed is None else self.seed.kind
        if kind is None:
            kind = affordable_kind(
                loss, n_dof, n_rows, n_epochs, objective.entry_cost, n_groups
            )
        if kind is None:
            return None
        some = training_set.table.first_indices(_N_LOOKED_AT)
        if not len(some):  # every row is replaced
            return None
        of_row = 2 * loss.n_outputs * objective.work_per_row(some)
        n_after = n_rows - len(edit.removed) + len(edit.added)
        retrain = n_epochs * n_after * of_row + n_steps * _CALL
        touched_steps = min(n_steps, n_epochs * len(edit))
        passes = correction_points.first_passes(kind, self.n_epochs) * n_rows
        ours = (n_epochs * len(edit) + passes) * of_row + touched_steps * _CALL
        n_runs = 1 if kind.name == "mean" else _RUNS
        ours += n_runs * n_steps * kind.work_of_step(loss, n_dof, n_groups)
        return kind if ours + _OVERHEAD <= _WORTHWHILE * retrain else None

    def _shape_of_batches(self, row_counts):
        """What `Replay` is told of the new run."""
        share = 1.0 / self.schedule.steps_per_epoch
        return {
            "sizes": self._sizes(row_counts),
            "batch_rows": share
            * row_counts.count[: self.schedule.steps_per_epoch].sum(),
            "batch_share": share,
            "n_epochs": self.n_epochs,
        }

    def playback(self):
        """The run from its start on."""
        sizes = self._sizes(self.row_counts)
        n_features = self.trajectory.end.shape[1] - self.model.n_dof(0)
        return Playback(self.trajectory, *sizes, n_features)

    def purged(self, training_set, settings, exact):
        model = replace(self.model, centre=training_set.centre())
        engine = replace(self, model=model).rescheduled(training_set, settings)
        return engine.fit(training_set), None

    def gradients(self, n_features):
        return self.playback().gradients(n_features)

    def plan(self, training_set, edit, settings, is_refit):
        table = training_set.table
        n_steps, n_live = self.schedule.n_steps, table.n_live
        objective = self.model.data_term(training_set)
        some = table.first_indices(_N_TIMED)
        of_pass = self._seconds(objective, some) * max(1.0, n_live / len(some))
        retrain = self.n_epochs * of_pass
        facts = {"n_steps": n_steps, "n_exact_steps": n_steps, "seconds": retrain}
        facts |= {"n_exact_steps_at_most": n_steps}
        if is_refit:
            return facts
        if settings.period != "auto":
            n_kept = n_live - len(edit.removed)
            if self._reads_too_many(n_kept, edit, settings):
                return facts | {"refit": True, "reason": _TOO_MANY}
            n_exact = self._n_exact(settings)
            seconds = retrain * n_exact / n_steps
            return facts | {"n_exact_steps": n_exact, "seconds": seconds}
        reason = self._why_hopeless(settings.edit_tol)
        kind = None if reason else self._seed_kind(training_set, n_live, edit)
        if kind is None:
            return facts | {"refit": True, "reason": reason or _TOO_DEAR}
        passes = correction_points.passes(kind, *self._first_try(kind), self.n_epochs)
        most = correction_points.most_passes(kind, self.n_epochs)
        facts |= {"n_exact_steps": 0, "n_passes": passes, "n_passes_at_most": most}
        if self.seed is None:
            facts |= self._announced(kind, objective, table)
            passes += kind.work_of_survey(self.model.loss, objective.n_dof)
        return facts | {"seconds": passes * of_pass}

    def _announced(self, kind, objective, table):
        """What a seed that is not there yet is going to be."""
        size = (
            objective.n_dof,
            self.model.n_groups,
            self.schedule.n_steps,
            table.n_live,
        )
        n_hessians = self._hessians_of(kind)
        return {
            "n_hessians": n_hessians,
            "n_hessians_at_most": n_hessians,
            "checkpoint_bytes": kind.nbytes(self.model.loss, *size),
        }

    def _seconds(self, objective, indices):
        """What a gradient of some rows takes now."""
        started = perf_counter()
        objective.gradient_sums(self.iterate, indices)
        return perf_counter() - started

    def group_weight(self, row_counts):
        """The factor of each group's gradients: 1, or those of "balanced"."""
        weight = row_counts.weight[: self.schedule.steps_per_epoch].sum(axis=0)
        return self.model.group_factors(weight)

    def _count_live(self, table):
        live = table.live_indices()
        return self._count(table, live, table.position[live])

    def _count(self, table, indices, positions):
        group = (
            table.y[indices]
            if self.model.n_groups > 1
            else np.zeros(len(indices), np.int64)
        )
        return self.schedule.row_counts(
            positions, table.weight[indices], group, self.model.n_groups
        )

    def _run(self, oracle, row_counts):
        trajectory = self._allocate(oracle.objective.shape)
        descend(
            oracle, *self._sizes(row_counts), oracle.objective.n_features, trajectory
        )
        return replace(
            self, row_counts=row_counts, trajectory=trajectory, seed=None, n_nodes=None,
            on_all=False, noise=0.0, ledger={},
        )  # fmt: skip

    def _sizes(self, row_counts):
        """Step sizes and factors of groups: see `descend`."""
        group_weight = self.group_weight(row_counts)
        sizes = self.schedule.step_sizes(row_counts, group_weight, self.model.alpha)
        return *sizes, group_weight

    def _allocate(self, shape):
        return Trajectory.allocate(
            self.schedule.n_steps, self.model.n_groups, shape, self.cache_dtype,
            self.cache_folder,
        )  # fmt: skip


def _by_step(weight, shape):
    """Weights of all steps, also where they are the same."""
    return np.ascontiguousarray(np.broadcast_to(weight, shape))
