"""DeltaGrad along the path: a training run, kept, and replayed after an edit.

Which replay it is, is decided here. With a number as period it is the paper's, whose
exact steps make curvature pairs (`_periodic_replay`). With ``period="auto"`` it is by
Hessians that are kept at a few points of the path (`_seeded_replay`), where they can be
afforded and save time, and to an estimated error of `edit_tol`; else an exact retrain.
"""

from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from .._data.edit import NO_CHANGE
from .._data.group_weights import Census, balanced_factors
from .._objective.data_term import Objective
from .._objective.losses import AbstractLoss
from .._utils import threads
from . import correction_points, replay_error
from .checkpoint_replay import Replay, SeededReplay, Witnesses
from .checkpoints import Seed, affordable_kind
from .descent import Diverged, ExactOracle, descend
from .periodic_replay import PeriodicOracle, is_exact
from .schedule import AbstractSchedule
from .trajectory import Playback, Trajectory

# Rows whose time tells that of a pass.
_N_TIMED = 2**14
# In multiplications of dense rows by a kernel: one of sparse rows; what Python takes
# around a step that reads rows, and around a replay. Runs that a replay makes of what
# it predicts, if it repairs; and the share of a retrain that it may take.
_SPARSE = 16.0
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
class Path:
    """A training run and all that its replay needs besides the rows. Never mutated.

    Attributes
    ----------
    loss : AbstractLoss
    alpha : ndarray of shape (n_outputs,)
    centre : ndarray of shape (n_features,) or None
        None: no intercept.
    schedule : AbstractSchedule
    n_groups : int
        Number of classes under ``class_weight="balanced"``, else 1.
    census : Census
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

    loss: AbstractLoss
    alpha: np.ndarray
    centre: np.ndarray | None
    schedule: AbstractSchedule
    n_groups: int
    census: Census | None = None
    trajectory: Trajectory | None = None
    seed: Seed | None = None
    n_nodes: int | None = None
    on_all: bool = False
    noise: float = 0.0
    ledger: dict = field(default_factory=dict)
    cache_dtype: str = "float64"
    cache_folder: str | None = None

    converged = True  # it runs as long as it was told to
    centre_is_fixed = False  # the path depends on it

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
        return int(self.census.count[: self.schedule.steps_per_epoch].sum())

    def attributes(self):
        """What the estimator shows of the run."""
        rates = self.schedule.learning_rates
        return {
            "n_iter_": np.array([self.n_epochs], dtype=np.int32),
            "learning_rate_": rates.copy() if np.ptp(rates) > 0 else float(rates[0]),
        }

    def account(self):
        """What the report says about the run."""
        return {
            "n_steps": self.trajectory.n_steps,
            "n_exact_steps": int(self.trajectory.exact.sum()),
            "seed_bytes": 0 if self.seed is None else self.seed.nbytes,
            **self.ledger,
        }

    @property
    def nbytes(self):
        """Size of the cached run."""
        return self.trajectory.nbytes

    def bytes_needed(self, n_features):
        """Size of the cached run, before there is one."""
        shape = self.loss.n_outputs, n_features + (self.centre is not None)
        return Trajectory.bytes_needed(
            self.schedule.n_steps, self.n_groups, shape, self.cache_dtype
        )

    def train(self, rows, roster, change=NO_CHANGE):
        """The path on the rows of a roster and an edit, every gradient computed."""
        census = self._count_live(roster).plus(
            self._count(roster, change.added_slots, change.added_positions)
        )
        oracle = ExactOracle(
            self._objective(rows, roster),
            self.schedule.batches(roster),
            self.schedule.members(change.added_positions, change.added_slots),
        )
        return self._run(oracle, census)

    def edited(self, rows, roster, change, settings):
        """The path after an edit by DeltaGrad.

        `settings` has the attributes burn_in, period and history_size: see
        `PeriodicOracle`. With period="auto" the path is replayed by a seed, to an
        estimated error of edit_tol, or trained anew.
        """
        if settings.period == "auto":
            reason = self._why_hopeless(settings.edit_tol)
            if reason is not None:
                return self._untried(rows, roster, change, reason)
            n_rows = roster.n_live + len(change.removed_slots)
            kind = self._seed_kind(rows, roster, n_rows, change)
            if kind is None:
                ledger = {"refit": True, "reason": _TOO_DEAR}
                return replace(self.train(rows, roster, change), ledger=ledger)
        elif self._reads_too_many(roster.n_live, change, settings):
            ledger = {"refit": True, "reason": _TOO_MANY}
            return replace(self.train(rows, roster, change), ledger=ledger)
        kept = self.census.minus(
            self._count(roster, change.removed_slots, change.removed_positions)
        )
        if kept is None:
            kept = self._count_live(roster)
        census = kept.plus(
            self._count(roster, change.added_slots, change.added_positions)
        )
        by_step = (self.schedule.n_steps, self.n_groups)
        cached_run = {
            "objective": self._objective(rows, roster),
            "removed": self.schedule.members(
                change.removed_positions, change.removed_slots
            ),
            "added": self.schedule.members(change.added_positions, change.added_slots),
            "base": self.playback(),
            "kept_weight": _by_step(kept.weight, by_step),
        }
        if settings.period == "auto":
            replay = Replay(**cached_run, **self._shape_of_batches(census))
            return self._edited_by_seed(
                replay, kind, roster, change, census, settings.edit_tol
            )
        oracle = PeriodicOracle(
            **cached_run,
            batches=self.schedule.batches(roster),
            base_weight=_by_step(self.census.weight, by_step),
            burn_in=settings.burn_in,
            period=settings.period,
            history_size=settings.history_size,
        )
        return self._run(oracle, census)

    def surveyed(self, rows, roster, settings):
        """With the Hessians along the path that the first edit would make, if any."""
        if settings.period != "auto" or self.seed is not None:
            return self
        kind = self._seed_kind(rows, roster, roster.n_live, NO_CHANGE)
        if kind is None:
            return self
        return replace(self, seed=self._survey(kind, rows, roster))

    def _reads_too_many(self, n_kept, change, settings):
        """Whether the paper's replay reads far more rows than a retrain."""
        share = self._n_exact(settings) / self.schedule.n_steps
        replay = share * n_kept + len(change)
        return replay > _MOST_READ * (n_kept + len(change.added_slots))

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

    def _untried(self, rows, roster, change, reason):
        """The path trained anew where the last edit was too hard to be replayed.

        Half of what the last one wanted is remembered, so that in a while one is tried.
        """
        seed = self.seed.changed(self._objective(rows, roster), change)
        n_nodes = None if self.n_nodes is None else max(1, self.n_nodes // 2)
        return replace(
            self.train(rows, roster, change), seed=seed, noise=self.noise / 2.0,
            n_nodes=n_nodes, on_all=self.on_all,
            ledger={"refit": True, "reason": reason},
        )  # fmt: skip

    def _edited_by_seed(self, replay, kind, roster, change, census, edit_tol):
        """The path after an edit, by as many nodes as it takes."""
        objective, seed, n_hessians = replay.objective, self.seed, 0.0
        if seed is not None:
            seed = seed.changed(objective, change.removal())
        if seed is None:
            seed = self._survey(kind, objective.rows, roster)
            n_hessians = self._hessians_of(kind)
        with threads.blas_for(order=1):  # its threads spin next to ours
            found, facts = self._with_nodes(replay, seed, roster, change, edit_tol)
        seed = seed.changed(objective, change.addition())
        if found is not None:
            facts = {"ledger": found.ledger, "census": census, "noise": 0.0}
        else:
            found = self.train(objective.rows, roster, change)
        facts["ledger"] = facts["ledger"] | {"n_hessians": n_hessians}
        return replace(found, seed=seed, **facts)

    def _hessians_of(self, kind):
        """What a seed is made of, in Hessians of all rows."""
        n_points = 1 if self.loss.is_quadratic else kind.n_points
        return n_points * kind.share

    def _with_nodes(self, replay, seed, roster, change, edit_tol):
        """The path by as many nodes as it takes, or None; and facts of why none."""
        kind, shape = seed.kind, replay.objective.shape
        least = correction_points.first_nodes(kind)
        n_nodes, on_all = self._first_try(kind)
        n_passes = noise = read = 0.0
        reason = _TOO_HARD
        witnesses = self._witnesses(seed, roster, on_all)
        n_rows = roster.n_live + len(change.removed_slots)
        n_after = roster.n_live + len(change.added_slots)
        # Every try reads the rows that leave and join, in every step.
        touched = self.n_epochs * len(change) / n_rows
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
            witnesses = self._witnesses(seed, roster, on_all)
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

    def _survey(self, kind, rows, roster):
        """Hessians along the path, of the rows that stay."""
        live, objective = roster.live_slots(), self._objective(rows, roster)
        return Seed.survey(
            kind, objective, self.trajectory, live, roster.position[live]
        )

    def _witnesses(self, seed, roster, on_all):
        """Rows that stay, that nodes are measured on: all of them, or the sample."""
        if on_all:
            return Witnesses(roster.live_slots(), are_sample=False)
        slots = roster.slots_of(seed.positions)
        return Witnesses(slots[slots >= 0], are_sample=True)

    def _seed_kind(self, rows, roster, n_rows, change):
        """What is kept of Hessians of `n_rows`; None where it is too dear to replay."""
        n_dof = rows.n_features + (self.centre is not None)
        n_epochs, n_steps = self.n_epochs, self.schedule.n_steps
        kind = None if self.seed is None else self.seed.kind
        if kind is None:
            kind = affordable_kind(
                self.loss, n_dof, n_rows, n_epochs, rows.is_sparse, self.n_groups
            )
        if kind is None:
            return None
        some = roster.first_slots(_N_LOOKED_AT)
        if not len(some):  # every row is replaced
            return None
        of_row = 2 * self.loss.n_outputs * rows.n_entries(some) / len(some)
        if rows.is_sparse:
            of_row *= _SPARSE
        n_after = n_rows - len(change.removed_slots) + len(change.added_slots)
        retrain = n_epochs * n_after * of_row + n_steps * _CALL
        touched_steps = min(n_steps, n_epochs * len(change))
        passes = correction_points.first_passes(kind, self.n_epochs) * n_rows
        ours = (n_epochs * len(change) + passes) * of_row + touched_steps * _CALL
        n_runs = 1 if kind.name == "mean" else _RUNS
        ours += n_runs * n_steps * kind.work_of_step(self.loss, n_dof, self.n_groups)
        return kind if ours + _OVERHEAD <= _WORTHWHILE * retrain else None

    def _shape_of_batches(self, census):
        """What `Replay` is told of the new run."""
        share = 1.0 / self.schedule.steps_per_epoch
        return {
            "sizes": self._sizes(census),
            "batch_rows": share * census.count[: self.schedule.steps_per_epoch].sum(),
            "batch_share": share,
            "n_epochs": self.n_epochs,
        }

    def playback(self):
        """The run from its start on."""
        sizes = self._sizes(self.census)
        n_features = self.trajectory.end.shape[1] - (self.centre is not None)
        return Playback(self.trajectory, *sizes, n_features)

    def plan(self, rows, roster, change, settings, anew=False):
        """What an edit would do, as attributes of `EditPlan`.

        `anew`: whether it is a retrain, whatever the rows are.
        """
        n_steps, n_live = self.schedule.n_steps, roster.n_live
        objective = self._objective(rows, roster)
        some = roster.first_slots(_N_TIMED)
        of_pass = self._seconds(objective, some) * max(1.0, n_live / len(some))
        retrain = self.n_epochs * of_pass
        facts = {"n_steps": n_steps, "n_exact_steps": n_steps, "seconds": retrain}
        facts |= {"n_exact_steps_at_most": n_steps}
        if anew:
            return facts
        if settings.period != "auto":
            n_kept = n_live - len(change.removed_slots)
            if self._reads_too_many(n_kept, change, settings):
                return facts | {"refit": True, "reason": _TOO_MANY}
            n_exact = self._n_exact(settings)
            seconds = retrain * n_exact / n_steps
            return facts | {"n_exact_steps": n_exact, "seconds": seconds}
        reason = self._why_hopeless(settings.edit_tol)
        kind = None if reason else self._seed_kind(rows, roster, n_live, change)
        if kind is None:
            return facts | {"refit": True, "reason": reason or _TOO_DEAR}
        passes = correction_points.passes(kind, *self._first_try(kind), self.n_epochs)
        most = correction_points.most_passes(kind, self.n_epochs)
        facts |= {"n_exact_steps": 0, "n_passes": passes, "n_passes_at_most": most}
        if self.seed is None:
            facts |= self._announced(kind, objective, roster)
            passes += kind.work_of_survey(self.loss, objective.n_dof)
        return facts | {"seconds": passes * of_pass}

    def _announced(self, kind, objective, roster):
        """What a seed that is not there yet is going to be."""
        size = (objective.n_dof, self.n_groups, self.schedule.n_steps, roster.n_live)
        n_hessians = self._hessians_of(kind)
        return {
            "n_hessians": n_hessians,
            "n_hessians_at_most": n_hessians,
            "seed_bytes": kind.nbytes(self.loss, *size),
        }

    def _seconds(self, objective, slots):
        """What a gradient of some rows takes now."""
        started = perf_counter()
        objective.gradient_sums(self.iterate, slots)
        return perf_counter() - started

    def group_weight(self, census):
        """The factor of each group's gradients: 1, or those of "balanced"."""
        if self.n_groups == 1:
            return np.ones(1)
        return balanced_factors(
            census.weight[: self.schedule.steps_per_epoch].sum(axis=0)
        )

    def _objective(self, rows, roster):
        return Objective(
            rows, roster.y, roster.weight, self.loss, self.centre,
            group=roster.y, n_groups=self.n_groups,
        )  # fmt: skip

    def _count_live(self, roster):
        live = roster.live_slots()
        return self._count(roster, live, roster.position[live])

    def _count(self, roster, slots, positions):
        group = roster.y[slots] if self.n_groups > 1 else np.zeros(len(slots), np.int64)
        return self.schedule.census(
            positions, roster.weight[slots], group, self.n_groups
        )

    def _run(self, oracle, census):
        trajectory = self._allocate(oracle.objective.shape)
        descend(oracle, *self._sizes(census), oracle.objective.n_features, trajectory)
        return replace(
            self, census=census, trajectory=trajectory, seed=None, n_nodes=None,
            on_all=False, noise=0.0, ledger={},
        )  # fmt: skip

    def _sizes(self, census):
        """Step sizes and factors of groups: see `descend`."""
        group_weight = self.group_weight(census)
        sizes = self.schedule.step_sizes(census, group_weight, self.alpha)
        return *sizes, group_weight

    def _allocate(self, shape):
        return Trajectory.allocate(
            self.schedule.n_steps, self.n_groups, shape, self.cache_dtype,
            self.cache_folder,
        )  # fmt: skip


def _by_step(weight, shape):
    """Weights of all steps, also where they are the same."""
    return np.ascontiguousarray(np.broadcast_to(weight, shape))
