"""From a training set to a fitted engine.

Engines are `Path` ("gd", "sgd") and `Endpoint` ("newton"): one is trained on rows,
follows edits of them (`edited`), and knows what the report and the estimator's
attributes say.

The order of an edit, all of it undone if anything fails:

1. added rows are stored, removed ones leave their positions (their data stays);
2. the engine follows, or is trained anew where it must be;
3. removed rows are wiped, added ones take their positions;
4. storage is compacted, now and then.
"""

from dataclasses import dataclass, replace

import numpy as np

from .._data.edit import Change
from .._data.group_weights import balanced_factors
from .._data.row_table import GONE
from .._objective.data_term import Objective
from .._optimum.curvature import cheapest_curvature, curvature_bytes
from .._optimum.engine import Endpoint
from .._optimum.problem import Problem
from .._path.engine import Path
from .._path.schedule import FullBatch, MiniBatches
from .._path.step_size import automatic_learning_rate
from .._utils import memory

# Numbers that are too large end up in coefficients that are not finite, which are
# refused where they would be published.
_QUIET = np.errstate(over="ignore", invalid="ignore", divide="ignore")
# Why a model is fitted anew, whatever the engine.
_OTHER_CLASSES = "the classes changed"
_OTHER_CENTRE = "the mean of a column moved so far that the column is centred anew"


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of the solvers, as the estimators have them."""

    solver: str
    max_iter: int
    tol: float
    edit_tol: float
    curvature: str
    store_data: bool
    standardize: bool
    learning_rate: str | float | np.ndarray
    batch_size: int
    burn_in: int
    period: str | int
    history_size: int
    cache_dtype: str
    cache_folder: str | None
    verbose: int

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


@_QUIET
def first_engine(settings, training_set, targets, seed):
    """The engine of `fit`, trained; and surveyed, if the rows will be gone."""
    rows, roster = training_set.rows, training_set.roster
    slots = training_set.roster.live_slots()
    centre = training_set.centre()
    if settings.solver == "newton":
        engine = _endpoint(settings, training_set, targets, centre)
        if not settings.store_data and engine.kind != "exact":
            raise ValueError(
                "store_data=False needs a Hessian that is kept: there are too many "
                f"coefficients for it, or curvature={settings.curvature!r}. Use "
                'store_data=True, fewer columns, or curvature="exact".'
            )
    elif settings.standardize:
        raise ValueError(
            f'standardize=True needs solver="newton", got {settings.solver!r}: every '
            "step of a path would be another one when the deviations of the columns "
            'change. Use solver="newton", or standardize=False after a StandardScaler, '
            "which keeps what it learned from removed rows."
        )
    elif not settings.store_data:
        raise ValueError(
            f'store_data=False needs solver="newton", got {settings.solver!r}: a path '
            "is replayed on its rows."
        )
    else:
        schedule = _schedule(settings, training_set, targets, slots, centre, seed)
        engine = _path(settings, targets, centre, schedule)
        if settings.verbose:
            n_bytes = engine.bytes_needed(rows.n_features)
            where = "memory" if settings.cache_folder is None else "cache_folder"
            print(f"cached run: {n_bytes:,} bytes in {where}")
    engine = engine.train(rows, roster)
    return engine if settings.store_data else engine.surveyed(rows, roster)


@_QUIET
def foretell(settings, training_set, engine, request, targets):
    """What `carry_out` would do, as attributes of `EditPlan`; removals only."""
    nobody = np.zeros(0, np.int64)
    positions = training_set.roster.position[request.removed]
    change = Change(request.removed, positions, nobody, nobody)
    reason = None
    if targets.recode is not None:
        reason = _OTHER_CLASSES
    elif not engine.centre_is_fixed:
        centre = training_set.centre_after(request.removed, nobody)
        if not np.array_equal(centre, engine.centre):
            reason = _OTHER_CENTRE
    if isinstance(engine, Endpoint):
        spread = training_set.spread_after(request.removed, nobody)
        engine = replace(engine, spread=spread)
    rows, roster = training_set.rows, training_set.roster
    facts = engine.plan(rows, roster, change, settings, reason is not None)
    return facts if reason is None else facts | {"refit": True, "reason": reason}


@_QUIET
def carry_out(settings, transaction, training_set, engine, request, targets):
    """Carry out an edit.

    Parameters
    ----------
    settings : Settings
    transaction : Transaction
    training_set : TrainingSet
        Changed in place.
    engine : Path or Endpoint
    request : Edit
    targets : Targets
        Of the added rows.

    Returns
    -------
    engine : Path or Endpoint
    account : dict
        What the report says about it; with `reason`, why the engine was trained anew,
        if it was.
    """
    change = _stage(transaction, training_set, request, targets)
    training_set.follow(transaction, change)
    engine, reason = _adapt(
        settings, transaction, training_set, engine, change, targets
    )
    rows, roster = training_set.rows, training_set.roster
    transaction.undo(setattr, roster, "leverages", roster.leverages)
    engine = _adjusted(settings, training_set, engine)
    if reason is None:
        engine = engine.edited(rows, roster, change, settings)
        account = engine.account()
    else:
        engine = engine.train(rows, roster, change)
        account = engine.account() | {"refit": True, "reason": reason}
    training_set.settle(transaction, change)
    training_set.tidy(transaction)
    return engine, account


@_QUIET
def without(settings, training_set, engine, removed, targets):
    """The engine after some rows left, to look at: the training set is as before.

    Parameters are those of `carry_out`, with the slots of the rows for a request; the
    classes must stay as they are.
    """
    aside = training_set.aside()
    positions = aside.roster.position[removed]
    nobody = np.zeros(0, np.int64)
    change = Change(removed, positions, nobody, nobody)
    aside.roster.detach(removed)
    aside.spread = aside.spread_after(removed, nobody)
    engine = _adjusted(settings, aside, engine)
    # What is done aside needs no undoing.
    engine, reason = _adapt(settings, None, aside, engine, change, targets)
    if reason is None:
        return engine.edited(aside.rows, aside.roster, change, settings)
    return engine.train(aside.rows, aside.roster, change)


@_QUIET
def retrained(settings, transaction, training_set, engine):
    """The engine, trained anew on the rows that are there."""
    training_set.recount(transaction)
    engine = _adjusted(settings, training_set, engine)
    return engine.train(training_set.rows, training_set.roster)


@_QUIET
def purged(settings, transaction, training_set, engine, exact):
    """The engine and the rows with nothing kept that was computed with other rows.

    Parameters
    ----------
    settings : Settings
        As they were in fit.
    transaction : Transaction
    training_set : TrainingSet
        Changed in place.
    engine : Path or Endpoint
    exact : bool
        Whether everything is computed again from the rows, in the order in which they
        are stored, so that not even rounding depends on rows that left.

    Returns
    -------
    engine : Path or Endpoint
    obstacle : str or None
        Why something is left, if it is.
    """
    if not training_set.roster.is_stored:
        rows, roster = training_set.rows, training_set.roster
        engine, obstacle = engine.purged_without_rows(rows, roster)
        return engine, obstacle or training_set.remainder()
    rows, roster = training_set.rows, training_set.roster
    # Before rows change their slots, and so restored after they have them again.
    transaction.undo(setattr, roster, "leverages", roster.leverages)
    roster.leverages = None
    training_set.close_holes(transaction, exact)
    training_set.renew_sums(transaction)
    centre = training_set.centre()
    if isinstance(engine, Path):
        schedule = _schedule(
            settings, training_set, engine, roster.live_slots(), centre,
            engine.schedule.seed, engine.schedule.n_positions,
        )  # fmt: skip
        engine = replace(engine, centre=centre, schedule=schedule)
        return engine.train(rows, roster), None
    engine = _adjusted(settings, training_set, engine).about(centre, rows.n_features)
    return engine.purged(rows, roster, exact), None


def problem_of(engine, training_set, slots):
    """The objective of some rows, whatever the solver."""
    rows, roster = training_set.rows, training_set.roster
    objective = Objective(
        rows, roster.y, roster.weight, engine.loss, engine.centre, group=roster.y,
        n_groups=engine.n_groups,
    )  # fmt: skip
    by_group, group_weight = objective.weight_by_group(slots), np.ones(1)
    if engine.n_groups > 1:
        group_weight = balanced_factors(by_group)
    weight = float(by_group @ group_weight)
    return Problem(
        objective,
        engine.alpha,
        group_weight,
        lambda: slots,
        weight,
        "diagonal",
        spread=training_set.spread,
    )


def _adjusted(settings, training_set, engine):
    """The engine for the columns' spread now.

    Or that keeps its run where it is asked to: a dump may have travelled.
    """
    if isinstance(engine, Path):
        return replace(engine, cache_folder=settings.cache_folder)
    return replace(engine, spread=training_set.spread)


def _stage(transaction, training_set, request, targets):
    slots = positions = np.zeros(0, np.int64)
    added = request.added
    if added is not None:
        weight = added.weight * targets.factor
        slots = training_set.append(
            transaction, added.X, targets.y, weight, added.ids, added.weight
        )
        positions = np.full(len(added), GONE)
        if request.taken_over is not None:
            positions[:] = request.taken_over
        fresh = positions == GONE
        positions[fresh] = training_set.give_positions(np.count_nonzero(fresh))
    left = training_set.detach(transaction, request.removed)
    return Change(request.removed, left, slots, positions)


def _adapt(settings, transaction, training_set, engine, change, targets):
    """An engine for other classes or another centre, and why it must be trained.

    The same one, and None, where nothing of that changed.
    """
    if targets.recode is None and engine.centre_is_fixed:
        return engine, None
    centre = training_set.centre_after(change.removed_slots, change.added_slots)
    if targets.recode is None:
        if np.array_equal(centre, engine.centre):
            return engine, None
        return replace(engine, centre=centre), _OTHER_CENTRE
    training_set.recode(transaction, targets.recode[training_set.roster.y])
    reason = _OTHER_CLASSES
    if settings.solver == "newton":
        anew = _endpoint(settings, training_set, targets, centre)
        return replace(anew, fit_cost=engine.fit_cost), reason
    slots = training_set.roster.live_slots()
    slots = np.concatenate([slots, change.added_slots])
    schedule = _schedule(
        settings, training_set, targets, slots, centre, engine.schedule.seed,
        engine.schedule.n_positions,
    )  # fmt: skip
    return _path(settings, targets, centre, schedule), reason


def _path(settings, targets, centre, schedule):
    return Path(
        targets.loss, targets.alpha, centre, schedule, targets.n_groups,
        cache_dtype=settings.cache_dtype, cache_folder=settings.cache_folder,
    )  # fmt: skip


def _endpoint(settings, training_set, targets, centre):
    model = (
        targets.loss, targets.alpha, training_set.rows.n_features, targets.n_groups,
    )  # fmt: skip
    kind = settings.curvature
    if kind == "auto":
        kind = cheapest_curvature(*model)
    if kind == "exact":
        n_bytes = curvature_bytes(*model)
        memory.require(
            n_bytes,
            "the Hessian, what goes with it, and an edit of them",
            'Use curvature="kronecker" or "diagonal", or fewer columns.',
        )
        if settings.verbose:
            print(
                f"curvature: exact Hessian, at most {n_bytes / 1e6:,.1f} MB with all "
                "that goes with it, while an edit is made"
            )
    return Endpoint(
        targets.loss, targets.alpha, centre, targets.n_groups, settings.tol,
        settings.max_iter, kind, training_set.spread,
    )  # fmt: skip


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
