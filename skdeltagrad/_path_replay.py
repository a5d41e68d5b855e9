"""DeltaGrad along the path: replay a cached run with most gradients predicted.

Wu, Dobriban and Davidson, "DeltaGrad: Rapid retraining of machine learning models",
ICML 2020 (arXiv 2006.14755), algorithm 1. w_t and g_t are the cached iterates and
gradient sums, w'_t the ones of the replay, and drift = w'_t - w_t.

    exact step          old = sum of gradients at w'_t over the batch as it was;
                        the curvature pair (drift, old - g_t) goes to the quasi-Hessian
    approximate step    old = g_t + B drift                              (equation 5)
    both                g'_t = old - removed rows at w'_t + added rows at w'_t

Every iterate and gradient sum is recorded anew, so that the replay of a replay is
the paper's online algorithm (algorithm 3), with nothing added.

Curvature pairs are per unit of weight: the Hessian of a batch grows with its weight,
and the last batch of an epoch may be short.
"""

from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from . import _memory
from ._census import Census, balanced_factors
from ._change import NO_CHANGE
from ._curvature import CompactLBFGS
from ._descent import AbstractReplayOracle, ExactOracle, descend
from ._losses import AbstractLoss
from ._objective import Objective
from ._schedule import AbstractSchedule
from ._seed import Seed, affordable_share
from ._seeded_replay import (
    MOST_MEASURED,
    PASSES_PER_NODE,
    SeededOracle,
    seeded_replay,
)
from ._trajectory import Trajectory

# A drift below this share of the iterate is rounding, not the effect of an edit: what
# it does to the gradient is rounding, too, and makes a wild curvature pair.
_LEAST_DRIFT = 1e-11
# The period where period="auto" has no seed that can be afforded.
_PERIOD = 5
# A node that costs a larger share of a retrain leaves too little to gain.
_DEAREST_NODE = 0.2
# Rows whose time tells that of a pass.
_N_TIMED = 2**14
_TOO_HARD = "the estimated error is above edit_tol, at any price below a retrain's"


class ReplayOracle(AbstractReplayOracle):
    """Predicts the gradients of a cached run's replay, and computes some.

    Parameters
    ----------
    objective, removed, added, base, base_weight, kept_weight
        See `AbstractReplayOracle`.
    batches : object with ``at(step)``
        Kept rows.
    burn_in, period, history_size : int
        The first `burn_in` steps are exact, then one step in `period`; the quasi-
        Hessian keeps `history_size` pairs.
    """

    def __init__(
        self, objective, batches, removed, added, base, base_weight, kept_weight,
        *, burn_in, period, history_size,
    ):  # fmt: skip
        super().__init__(objective, removed, added, base, base_weight, kept_weight)
        self.batches = batches
        self.burn_in = burn_in
        self.period = period
        n_coef = objective.n_outputs * objective.n_dof
        self.quasi_hessians = [
            CompactLBFGS(history_size, n_coef) for _ in range(objective.n_groups)
        ]

    def gradient_sums(self, step, iterate, sums_out):
        exact = self._must_be_exact(step, iterate)
        if exact:
            self._measure(step, iterate, sums_out)
        else:
            self._predict(step, iterate, sums_out)
        self.objective.add_gradient_sums(iterate, self.added.at(step), sums_out)
        return exact

    def _must_be_exact(self, step, iterate):
        if step < self.burn_in or (step - self.burn_in) % self.period == 0:
            return True
        for quasi_hessian, weight in zip(
            self.quasi_hessians, self.base_weight[step], strict=True
        ):
            if quasi_hessian.n_pairs == 0 and weight > 0.0:
                # Nothing to predict with, and needed as soon as there is a drift.
                return _is_drift(iterate - self.base.iterates[step], iterate)
        return False

    def _measure(self, step, iterate, sums_out):
        """Kept rows, computed; with the removed ones they make a curvature pair."""
        self.objective.add_gradient_sums(iterate, self.batches.at(step), sums_out)
        response = sums_out - self.base.gradient_sums[step]
        self.objective.add_gradient_sums(iterate, self.removed.at(step), response)
        drift = (iterate - self.base.iterates[step]).ravel()
        if not _is_drift(drift, iterate):
            return
        for quasi_hessian, weight, of_group in zip(
            self.quasi_hessians, self.base_weight[step], response, strict=True
        ):
            if weight > 0.0:
                of_group /= weight
                quasi_hessian.update(drift, of_group.ravel())

    def _predict(self, step, iterate, sums_out):
        """The batch as it was, predicted, less the removed rows."""
        anchor = self.base.iterates[step].ravel()
        base = self.base.gradient_sums[step]
        for group, quasi_hessian in enumerate(self.quasi_hessians):
            quasi_hessian.predict(
                iterate.ravel(), anchor, base[group].ravel(),
                self.base_weight[step, group], sums_out[group].reshape(-1),
            )  # fmt: skip
        self._take_out_removed(step, iterate, sums_out)


def _is_drift(drift, iterate):
    return np.abs(drift).max() > _LEAST_DRIFT * np.abs(iterate).max()


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
    ledger : dict
        What the report says of the last edit besides the steps.
    """

    loss: AbstractLoss
    alpha: np.ndarray
    centre: np.ndarray | None
    schedule: AbstractSchedule
    n_groups: int
    census: Census | None = None
    trajectory: Trajectory | None = None
    seed: Seed | None = None
    ledger: dict = field(default_factory=dict)

    converged = True  # it runs as long as it was told to
    centre_is_fixed = False  # the path depends on it

    @property
    def iterate(self):
        """Where the run ended, shape (n_outputs, n_dof)."""
        return self.trajectory.iterates[-1]

    @property
    def n_counting(self):
        """Number of rows of positive weight."""
        return int(self.census.count[: self.schedule.steps_per_epoch].sum())

    def attributes(self):
        """What the estimator shows of the run."""
        rates = self.schedule.learning_rates
        return {
            "n_iter_": np.array([self.schedule.n_epochs], dtype=np.int32),
            "learning_rate_": rates.copy() if np.ptp(rates) > 0 else float(rates[0]),
        }

    def account(self):
        """What the report says about the run."""
        return {
            "n_steps": self.trajectory.n_steps,
            "n_exact_steps": int(self.trajectory.exact.sum()),
            **self.ledger,
        }

    @property
    def nbytes(self):
        """Size of the cached run, and of the seed."""
        seed = 0 if self.seed is None else self.seed.nbytes
        return self.trajectory.nbytes + seed

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
        `ReplayOracle`. With period="auto" it is replayed by a seed where that can be
        afforded: to an estimated error of edit_tol, or trained anew.
        """
        kept = self.census.minus(
            self._count(roster, change.removed_slots, change.removed_positions)
        )
        if kept is None:
            kept = self._count_live(roster)
        census = kept.plus(
            self._count(roster, change.added_slots, change.added_positions)
        )
        touched = (
            self.schedule.members(change.removed_positions, change.removed_slots),
            self.schedule.members(change.added_positions, change.added_slots),
            self.trajectory,
            self.census.weight,
            kept.weight,
        )
        if settings.period == "auto":
            seeded = self._edited_by_seed(
                rows, roster, change, settings.edit_tol, touched, census
            )
            if seeded is not None:
                return seeded
        oracle = ReplayOracle(
            self._objective(rows, roster),
            self.schedule.batches(roster),
            *touched,
            burn_in=settings.burn_in,
            period=_PERIOD if settings.period == "auto" else settings.period,
            history_size=settings.history_size,
        )
        return self._run(oracle, census)

    def _edited_by_seed(self, rows, roster, change, edit_tol, touched, census):
        """The path after an edit, by as many nodes as it takes; None: too dear."""
        objective = self._objective(rows, roster)
        share = self._seed_share(objective, roster.n_live + len(change.removed_slots))
        if share is None:
            return None
        live = roster.live_slots()
        everyone = np.concatenate([live, change.removed_slots])
        seed = self.seed
        if seed is None:
            positions = [roster.position[live], change.removed_positions]
            positions = np.concatenate(positions)
            seed = Seed.survey(objective, self.trajectory, everyone, positions, share)
        n_nodes, n_passes = 1, 0
        while n_nodes * PASSES_PER_NODE <= MOST_MEASURED * self.schedule.n_epochs:
            oracle = SeededOracle(objective, seed, everyone, *touched)
            run = self._prepare(objective, census)
            try:
                estimate = seeded_replay(oracle, n_nodes, *run)
            except ValueError:  # predictions that run away
                break
            n_passes += PASSES_PER_NODE * n_nodes
            if estimate <= edit_tol:
                ledger = {"n_passes": float(n_passes), "error_estimate": estimate}
                return replace(
                    self, census=census, trajectory=run[-1], ledger=ledger,
                    seed=seed.changed(objective, change),
                )  # fmt: skip
            if not np.isfinite(estimate):
                break
            # The error falls with the square of the gap between nodes.
            needed = n_nodes * min(np.sqrt(estimate / edit_tol), 2.0**20)
            n_nodes = max(2 * n_nodes, int(np.ceil(needed)))
        ledger = {"n_passes": float(n_passes), "refit": True, "reason": _TOO_HARD}
        return replace(self.train(rows, roster, change), ledger=ledger)

    def _seed_share(self, objective, n_rows):
        """Of the rows, for the seed; None where it, or a node, is too dear."""
        if _DEAREST_NODE * self.schedule.n_epochs < PASSES_PER_NODE:
            return None
        if self.seed is not None:
            return self.seed.share
        return affordable_share(objective, n_rows, self.schedule.n_epochs * n_rows)

    def plan(self, rows, roster, change, settings):
        """What an edit would do, as attributes of `EditPlan`."""
        n_steps = self.schedule.n_steps
        objective = self._objective(rows, roster)
        period = settings.period
        if period == "auto":
            n_live = roster.n_live
            if self._seed_share(objective, n_live) is not None:
                seconds = self._seconds(objective, roster.live_slots()[:_N_TIMED])
                seconds *= PASSES_PER_NODE * max(1.0, n_live / _N_TIMED)
                return {
                    "n_steps": n_steps, "n_passes": PASSES_PER_NODE, "seconds": seconds,
                }  # fmt: skip
            period = _PERIOD
        step = np.arange(n_steps)
        exact = step < settings.burn_in
        exact |= (step - settings.burn_in) % period == 0
        n_exact = int(exact.sum())
        seconds = self._seconds(objective, self.schedule.batches(roster).at(0))
        return {
            "n_steps": n_steps,
            "n_exact_steps": n_exact,
            "seconds": n_exact * seconds,
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
        *run, trajectory = self._prepare(oracle.objective, census)
        descend(oracle, *run, oracle.objective.n_features, trajectory)
        return replace(self, census=census, trajectory=trajectory, seed=None, ledger={})

    def _prepare(self, objective, census):
        """Step sizes, factors of groups and an empty run: see `descend`."""
        group_weight = self.group_weight(census)
        sizes = self.schedule.step_sizes(census, group_weight, self.alpha)
        return *sizes, group_weight, self._allocate(objective.shape)

    def _allocate(self, shape):
        n_steps = self.schedule.n_steps
        size = Trajectory.bytes_needed(n_steps, self.n_groups, shape)
        groups = f" for each of {self.n_groups} classes" if self.n_groups > 1 else ""
        _memory.require(
            size,
            f"the training run of {n_steps} steps x {shape[0] * shape[1]} coefficients "
            f"(an iterate, and a gradient{groups}, at every step)",
            "Lower max_iter, raise batch_size, or use fewer columns"
            + (', or class_weight other than "balanced".' if groups else "."),
        )
        return Trajectory.allocate(n_steps, self.n_groups, shape)
