"""From a request to an edited engine, with any solver.

The order of an edit, all of it undone if anything fails:

1. new rows are stored, removed ones leave their positions (their data stays);
2. the engine follows, or is fitted again where it must be;
3. removed rows are wiped, new ones take their positions;
4. storage is compacted, now and then.
"""

from dataclasses import replace

import numpy as np

from .._data.edit import NO_ROWS, Edit
from .._optimum.curvature import COLUMNS
from .._optimum.engine import OptimumEngine
from .._path.engine import PathEngine

# The only place that tells solvers apart by their names.
ENGINES = {"newton": OptimumEngine, "gd": PathEngine, "sgd": PathEngine}
# Numbers that are too large end up in coefficients that are not finite, which are
# refused where they would be published.
_QUIET = np.errstate(over="ignore", invalid="ignore", divide="ignore")
# Why a model is fitted again, whatever the engine.
_OTHER_CLASSES = "the classes changed"
_OTHER_CENTRE = "the mean of a column moved so far that the column is centred elsewhere"


@_QUIET
def first_engine(settings, training_set, model, seed):
    """Fit an engine, and prepare its first edit if the rows will not be kept.

    Parameters
    ----------
    settings : Settings
    training_set : TrainingSet
    model : Model
        Of the facade: without the columns' centre and spread.
    seed : int
        Decides all that is random.

    Raises
    ------
    ValueError
        When the solver does not go with `store_data` or `standardize`.
    """
    model = replace(model, centre=training_set.centre(), spread=training_set.spread)
    engine = ENGINES[settings.solver].untrained(settings, model, training_set, seed)
    engine = engine.fit(training_set)
    return engine if settings.store_data else engine.prepared(training_set, settings)


@_QUIET
def predict_cost(settings, training_set, engine, edit, targets):
    """Predict the cost of `carry_out` for a removal, as attributes of `EditPlan`."""
    edit = edit.staged(training_set.table.position[edit.removed])
    spread = training_set.spread_after(edit.removed, NO_ROWS)
    _, reason = _model_after(training_set, engine, edit, targets)
    model = replace(engine.model, spread=spread)
    engine = engine.adapted(model, training_set, settings)
    facts = engine.plan(training_set, edit, settings, reason is not None)
    return facts if reason is None else facts | {"refit": True, "reason": reason}


@_QUIET
def carry_out(settings, transaction, training_set, engine, edit, targets):
    """Carry out an edit.

    Parameters
    ----------
    settings : Settings
    transaction : Transaction
    training_set : TrainingSet
        Changed in place.
    engine : AbstractEngine
    edit : Edit
        Coded, not yet staged.
    targets : Targets
        Of the edit.

    Returns
    -------
    engine : AbstractEngine
    summary : dict
        What the report says about it; with `reason`, why the model was fitted again,
        if it was.
    """
    training_set.changing(transaction)
    edit = training_set.stage(transaction, edit)
    training_set.follow(transaction, edit)
    model, reason = _model_after(training_set, engine, edit, targets)
    if targets.recode is not None:
        training_set.recode(transaction, targets.recode[training_set.table.y])
    training_set.table.keep_columns(transaction)
    engine = _after(settings, training_set, engine, edit, model, reason)
    summary = engine.summary()
    if reason is not None:
        # A new dict: the engine may have handed out its own, and is immutable.
        summary = summary | {"refit": True, "reason": reason}
    training_set.settle(transaction, edit)
    training_set.tidy(transaction)
    return engine, summary


@_QUIET
def without(settings, training_set, engine, removed, targets):
    """Return the engine after some rows left; the training set stays as it is.

    Parameters are those of `carry_out`, with the storage indices of the rows for an
    edit. The classes must stay as they are.
    """
    aside = training_set.aside()
    edit = Edit(removed).staged(aside.table.position[removed])
    aside.table.detach(removed)
    aside.spread = aside.spread_after(removed, NO_ROWS)
    model, reason = _model_after(aside, engine, edit, targets)
    return _after(settings, aside, engine, edit, model, reason)


@_QUIET
def retrained(settings, transaction, training_set, engine):
    """Return the engine fitted again, from zero, to the current training rows."""
    training_set.changing(transaction)
    training_set.recount(transaction)
    training_set.table.keep_columns(transaction)
    model = _with_spread(engine.model, training_set)
    return engine.adapted(model, training_set, settings).fit(training_set)


@_QUIET
def refined(transaction, training_set, engine, distance, scale):
    """Return the engine at the optimum up to an absolute distance, if possible.

    Parameters are those of `AbstractEngine.refined`, and a transaction.

    Steps from where the engine is aim at half of the distance. If they do not reach it,
    the model is fitted from zero to the rows in their stored order, with the centre and
    the scales that the columns have by now, and steps begin there. Rounding is what
    limits both, and that of the latter is at most nearly as large. Therefore, if the
    whole distance is out of reach for the latter, half of it is for the former: whether
    this succeeds does not depend on earlier edits.
    """
    training_set.changing(transaction)
    training_set.table.keep_columns(transaction)
    near = engine.refined(training_set, 0.5 * distance, scale)
    if near.summary()["coef_bound"] <= 0.5 * distance:
        return near
    training_set.renew_sums(transaction)
    return near.refined(training_set, distance, scale, from_zero=True)


@_QUIET
def purged(settings, transaction, training_set, engine, exact):
    """Remove everything that was computed with rows that have left.

    Parameters
    ----------
    settings : Settings
        As they were in `fit`.
    transaction : Transaction
    training_set : TrainingSet
        Changed in place.
    engine : AbstractEngine
    exact : bool
        Whether everything is computed again from the rows, in the order in which they
        are stored, so that not even rounding depends on rows that left.

    Returns
    -------
    engine : AbstractEngine
    obstacle : str or None
        Why something is left, if it is.
    """
    training_set.changing(transaction)
    table = training_set.table
    if table.is_stored:
        # Before rows change their storage indices, so that the columns are restored
        # after the rows have them again.
        table.keep_columns(transaction)
        for name in COLUMNS:
            table.set_column(name, None)
        training_set.close_holes(transaction, exact)
        training_set.renew_sums(transaction)
    engine, obstacle = engine.purged(training_set, settings, exact)
    return engine, obstacle or training_set.remainder()


def _after(settings, training_set, engine, edit, model, reason):
    """Return the engine after a staged edit."""
    engine = engine.adapted(model, training_set, settings, edit)
    if reason is None:
        return engine.edited(training_set, edit, settings)
    return engine.fit(training_set, edit)


def _model_after(training_set, engine, edit, targets):
    """Return the model after an edit, and why it must be fitted again, or None."""
    if targets.recode is None and not engine.keeps_path:
        return _with_spread(engine.model, training_set), None
    centre = training_set.centre_after(edit.removed, edit.added)
    if targets.recode is not None:
        model = replace(targets.model, centre=centre, spread=training_set.spread)
        return model, _OTHER_CLASSES
    if np.array_equal(centre, engine.model.centre):
        return engine.model, None
    return replace(engine.model, centre=centre), _OTHER_CENTRE


def _with_spread(model, training_set):
    """Return the model with the present column scales of a training set."""
    if model.spread is training_set.spread:
        return model
    return replace(model, spread=training_set.spread)
