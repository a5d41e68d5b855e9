"""The only module of the benchmarks that reads private parts of the package.

Each function is here because no public attribute says the same. A renamed private
attribute is corrected here alone.
"""

from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from importlib import import_module

import numpy as np

from skdeltagrad import _kernels
from skdeltagrad._data.fingerprints import Fingerprints
from skdeltagrad._data.storage import store
from skdeltagrad._objective import second_derivatives
from skdeltagrad._optimum.subsample import importance
from skdeltagrad._path import checkpoint_replay, cost, replay_error
from skdeltagrad._reports import digests
from skdeltagrad._utils import threads

# Factors of the parts that an error estimate of a replay consists of.
ESTIMATE_FACTORS = replay_error.FACTORS
# A context manager; the public way, NUMBA_NUM_THREADS, is read only once.
limit_threads = threads.limit_threads


# An optimum -----------------------------------------------------------------------


def centre(model):
    """Means of columns, (n_features,); None if the model has no intercept."""
    return model._engine.model.centre


def iterate(model):
    """Coefficients of the centred columns in float64: shape (n_outputs, n_dof)."""
    return model._engine.iterate


def last_read(model):
    """The iterate at which the rows were last read, which bounds are relative to."""
    return model._engine.reference


def kept_norm(model):
    """The norm of the Hessian that is kept, as a function of a difference of iterates.

    None where no Hessian is kept.
    """
    path = model._engine
    if path.curvature is None:
        return None

    def norm(difference):
        coordinates = path.model.loss.to_coordinates(difference.astype(float))
        return path.curvature.hessian.norm(coordinates.reshape(1, -1))

    return norm


def leverages(model, positions):
    """Upper bounds of the leverages of rows; None where none are kept."""
    table = model._training_set.table
    leverages = table.column("leverage")
    return None if leverages is None else leverages[table.indices_of(positions)]


def n_positions(model):
    """How many positions are remembered."""
    return int(model._training_set.table.n_positions)


# A path ---------------------------------------------------------------------------


def batches(model):
    """For each step of the path, in turn, the storage indices of the rows it reads."""
    schedule = model._engine.schedule
    dealt = schedule.batches(model._training_set.table)
    for step in range(schedule.n_steps):
        yield dealt.at(step)


def beginning_with(model, n_corrections):
    """Let the next edit begin with some number of correction points; the model."""
    model._engine = replace(model._engine, n_corrections=n_corrections)
    return model


@contextmanager
def replays_at_any_price():
    """Make replays even where a retrain is faster, inside a ``with`` block."""
    before, cost.WORTHWHILE = cost.WORTHWHILE, np.inf
    try:
        yield
    finally:
        cost.WORTHWHILE = before


def estimate_parts():
    """From now on, record what the last error estimate consists of.

    Returns
    -------
    last : callable
        Returns the parts of the last replay's estimate before they are multiplied by
        `ESTIMATE_FACTORS`: a dict by name, or None before the first replay.
    """
    run, parts = checkpoint_replay.CheckpointReplay.run, [None]

    def recorded(replay):
        found = run(replay)
        parts[0] = dict(replay.parts)
        return found

    checkpoint_replay.CheckpointReplay.run = recorded
    return lambda: parts[0]


# Reports --------------------------------------------------------------------------


def make_receipt(model):
    """Do again what makes the last report of a model a receipt."""
    report, table = model.update_report_, model._training_set.table
    digests.hashed(digests.names_of(table, np.array([5])), model._key)
    digests.parameters_of(model)
    digests.versions()
    history = model.history_
    history.followed_by(history.sealed(report, model.coef_, model.intercept_))


# Fingerprints ---------------------------------------------------------------------


def key(model):
    """The key of a model's fingerprints."""
    return model._key


def kept_fingerprints(model):
    """The sorted fingerprints of a model without rows."""
    return model._training_set.table.fingerprints


def fingerprints_of_rows(key, X, y, n_rows=None):
    """Fingerprints of rows of weight 1, of the first `n_rows` only if it is given."""
    rows = store(X)
    indices, weight = np.arange(len(X)), np.ones(len(X))
    return Fingerprints(key, rows, y).of(rows, indices[:n_rows], y, weight)


def possible_fingerprints(key, X, y, dtype):
    """Fingerprints that rows of weight 1 may have been given.

    Rounding can give a row any of several. Yields pairs of arrays: row numbers, and a
    possible fingerprint of each.
    """
    rows = store(np.ascontiguousarray(X, dtype))
    indices, weight = np.arange(len(X)), np.ones(len(X))
    yield from Fingerprints(key, rows, y).possible(rows, indices, y, weight)


# Costs --------------------------------------------------------------------------------


def constant(module, *names):
    """The value of a constant in a module of the package, or in a class of it."""
    return reduce(getattr, names, import_module(f"skdeltagrad.{module}"))


def data_term(model):
    """The sum of losses of a model with solver="gd", and its rows' storage indices."""
    training_set = model._training_set
    indices = training_set.table.live_indices()
    return model._engine.model.data_term(training_set), indices


def importance_of_rows(objective, indices):
    """The importance by which rows are sampled."""
    return importance(
        objective.standardised_squares(indices), np.zeros(len(indices), int)
    )


@contextmanager
def hessians_by_factors(asked):
    """Compute all Hessians by factors of the second derivatives, or none of them."""
    before = second_derivatives._MOST_OF_FACTORED
    second_derivatives._MOST_OF_FACTORED = np.inf if asked else 0
    try:
        yield
    finally:
        second_derivatives._MOST_OF_FACTORED = before


def add_rank_one(factor, vector):
    """Update an upper Cholesky factor in place for one more row; overwrites both."""
    _kernels.cholesky.update(factor, vector)
