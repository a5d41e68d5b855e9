"""From a training set to a path: schedule and step sizes, then train or replay.

The order of an edit, all of it undone if anything fails:

1. added rows are stored, removed ones leave their positions (their data stays);
2. the path is replayed, or trained anew where it must be;
3. removed rows are wiped, added ones take their positions;
4. storage is compacted, now and then.
"""

from dataclasses import dataclass, replace

import numpy as np

from ._path_replay import Change, Path, balanced_factors
from ._roster import GONE
from ._schedule import FullBatch, MiniBatches
from ._step_size import automatic_learning_rate


@dataclass(frozen=True)
class PathSettings:
    """Hyper-parameters of the path, as the estimators have them."""

    solver: str
    max_iter: int
    learning_rate: str | float | np.ndarray
    batch_size: int
    burn_in: int
    period: int
    history_size: int

    def check_learning_rates(self):
        """A number per epoch, or None for "auto"."""
        if isinstance(self.learning_rate, str):
            return None
        rates = np.asarray(self.learning_rate, dtype=float)
        if rates.ndim > 1 or (rates.ndim == 1 and len(rates) != self.max_iter):
            raise ValueError(
                f"learning_rate has shape {rates.shape}: give one number, or one for "
                f"each of the max_iter={self.max_iter} epochs."
            )
        if not (np.isfinite(rates).all() and (rates > 0).all()):
            raise ValueError(
                f"learning_rate must be positive and finite, got {self.learning_rate}."
            )
        return np.broadcast_to(rates, self.max_iter).copy()


def first_path(settings, training_set, targets, seed):
    """The path of `fit`."""
    slots = training_set.roster.live_slots()
    centre = training_set.centre()
    schedule = _schedule(settings, training_set, targets, slots, centre, seed)
    path = Path(targets.loss, targets.alpha, centre, schedule, targets.n_groups)
    return path.train(training_set.rows, training_set.roster)


def carry_out(settings, transaction, training_set, path, request, targets):
    """Carry out an edit.

    Parameters
    ----------
    settings : PathSettings
    transaction : Transaction
    training_set : TrainingSet
        Changed in place.
    path : Path
    request : Edit
    targets : Targets
        Of the added rows.

    Returns
    -------
    path : Path
    training_set : TrainingSet
        The same one, or a compact copy.
    reason : str or None
        Why the path was trained anew, if it was.
    """
    change = _stage(transaction, training_set, request, targets)
    path, reason = _adapt(settings, transaction, training_set, path, change, targets)
    if reason is None:
        path = path.replay(
            training_set.rows, training_set.roster, change, burn_in=settings.burn_in,
            period=settings.period, history_size=settings.history_size,
        )  # fmt: skip
    else:
        path = path.train(training_set.rows, training_set.roster, change)
    training_set.settle(transaction, change)
    return path, training_set.compacted(), reason


def _stage(transaction, training_set, request, targets):
    slots = positions = np.zeros(0, np.int64)
    added = request.added
    if added is not None:
        weight = added.weight * targets.factor
        slots = training_set.append(transaction, added.X, targets.y, weight, added.ids)
        positions = np.full(len(added), GONE)
        if request.taken_over is not None:
            positions[:] = request.taken_over
        fresh = positions == GONE
        positions[fresh] = training_set.give_positions(np.count_nonzero(fresh))
    left = training_set.detach(transaction, request.removed)
    return Change(request.removed, left, slots, positions)


def _adapt(settings, transaction, training_set, path, change, targets):
    """The path with another loss or centre if need be, and why it must be trained."""
    centre = training_set.centre_after(change.removed_slots, change.added_slots)
    if targets.recode is not None:
        training_set.recode(transaction, targets.recode[training_set.roster.y])
        slots = training_set.roster.live_slots()
        slots = np.concatenate([slots, change.added_slots])
        schedule = _schedule(
            settings, training_set, targets, slots, centre, path.schedule.seed,
            path.schedule.n_positions,
        )  # fmt: skip
        path = Path(targets.loss, targets.alpha, centre, schedule, targets.n_groups)
        return path, "the classes changed"
    if not np.array_equal(centre, path.centre):
        return replace(path, centre=centre), (
            "the mean of a column moved so far that the column is centred anew"
        )
    return path, None


def _schedule(settings, training_set, targets, slots, centre, seed, n_positions=None):
    rates = settings.check_learning_rates()
    n_positions = n_positions or len(slots)
    full_batch = settings.solver == "gd"
    if rates is None:
        roster = training_set.roster
        weight = roster.weight
        if targets.n_groups > 1:
            group = roster.y
            by_group = np.bincount(group[slots], weight[slots], targets.n_groups)
            weight = weight * balanced_factors(by_group)[group]
        rates = np.full(
            settings.max_iter,
            automatic_learning_rate(
                training_set.rows, slots, weight, centre,
                targets.loss.curvature_bound, targets.alpha.max(),
                1.0 if full_batch else min(1.0, settings.batch_size / n_positions),
            ),
        )  # fmt: skip
    if full_batch:
        return FullBatch(rates, n_positions, seed)
    return MiniBatches(rates, n_positions, seed, settings.batch_size)
