"""How far a replay is from the exact run: an estimate, in parts, not a bound.

checks     at one or two steps that are no nodes what is wrong with the gradient that
           the run has there is measured as at a node: at the last one, as if it had
           grown since the last node; and, see `_nodes.checks`, at one before the first
           node, as if it had been so from the start.
nodes      what nodes found, where the run is not corrected for it; else some of what it
           was corrected for.
between    what interpolated Hessians are off by between their points, by their second
           differences. That is most of the error where a few rows have very large
           entries: their second derivatives vanish within the first steps.
noise      what the rows of the sample and of the batches are by chance, and not all.

Each is propagated to the end of the run (`_propagation`), and the squares of the norms
are added. What a check measures is taken as it is. ``examples/benchmarks/estimates.py``
finds the factors again, for each of many data sets from the edits of all others.
"""

from dataclasses import dataclass

import numpy as np

from .checkpoints import respond

_TINY = np.finfo(float).tiny
# Accuracy thresholds. The larger of two second differences is three times the error, in
# the median of 300 edits of 17 data sets; the other parts need no factor. At ten times
# the values estimates are ten times too high, and edits are retrained in vain.
FACTORS = {"checks": 1.0, "nodes": 1.0, "between": 1.0 / 3.0, "noise": 1.0}
# Of the same kind: how much is left of what nodes corrected: without a check, and
# besides what one after the last node tells.
LEFT_BY_NODES = {False: 0.6, True: 1.0 / 3.0}
# A cost: runs of chance where each is carried through the run; where that is cheap, for
# Hessians of at most such an order; and where they are not carried.
_CARRIED_RUNS = 1
_CHEAP_RUNS = 4
_CHEAP_ORDER = 128
_RUNS = 16


@dataclass(frozen=True)
class Tally:
    """What a replay recorded of its steps.

    Attributes
    ----------
    lengths, moves, bends : ndarray of shape (n_steps,)
        See `_kernels.replay`.
    """

    lengths: np.ndarray
    moves: np.ndarray
    bends: np.ndarray


def combined(parts, names=tuple(FACTORS)):
    """The estimate, of all parts or of some: a number, from their norms by name."""
    squares = [(FACTORS[name] * parts.get(name, 0.0)) ** 2 for name in names]
    return float(np.sqrt(sum(squares)))


def between_points(propagation, tally):
    """How far what Hessians are off by between their points leads astray: a norm."""
    seed, trajectory = propagation.seed, propagation.trajectory
    stretches = seed.stretches()
    # Of one direction that is next to nothing.
    if not stretches or not seed.repairs:
        return 0.0
    bent = seed.second_differences(propagation.hessians)
    middles = [int(np.argmax(bow)) for _, _, bow in stretches]
    old = propagation.replay.base.trajectory.iterates_at(middles)
    drifts = trajectory.iterates_at(middles) - old
    sources, growth = [], []
    for (first, _, bow), drift in zip(stretches, drifts, strict=True):
        length = max(np.linalg.norm(drift), _TINY)
        sources.append(respond(bent, first, drift) / length)
        growth.append(bow * tally.lengths)
    return np.linalg.norm(propagation.astray(np.stack(sources), np.stack(growth)))


def astray(propagation, tally, residuals, shapes):
    """How far the residuals that checks found lead astray: a norm.

    Parameters
    ----------
    propagation : Propagation
    tally : Tally
    residuals : list of ndarray of shape (n_groups, n_outputs, n_dof)
        Per unit of weight and length of the drift.
    shapes : list of ndarray of shape (n_steps,)
        How much of each there is at every step: see `until_node` and `since_node`.
    """
    if not residuals:
        return 0.0
    growth = np.stack(shapes) * tally.lengths
    return np.linalg.norm(propagation.astray(np.stack(residuals), growth))


def until_node(n_steps, step, node):
    """As it is at a step before a node, from the start, and less and less after it."""
    shape = np.zeros(n_steps)
    shape[:step] = 1.0
    shape[step:node] = np.linspace(1.0, 0.0, node - step, endpoint=False)
    return shape


def since_node(n_steps, node, step):
    """More and more since a node, up to what it is at a later step, and so on."""
    return np.maximum(np.arange(n_steps) - node, 0.0) / (step - node)


def by_chance(propagation, tally, of_sample, of_rows):
    """How far the seed's sample and batches, not all rows, lead astray: a norm.

    By runs of chance: what a batch adds to the residual goes along what parts of the
    rows differ by, and adds up to nothing within an epoch as far as the drift stays
    what it is.

    Parameters
    ----------
    propagation : Propagation
    tally : Tally
    of_sample : ndarray of shape (n_groups, n_outputs, n_dof)
        What the sample adds to the residual.
    of_rows : dict of int to ndarray of shape (n_contrasts, n_groups, n_outputs, n_dof)
        What one row does, over what a step changes the gradient by, where it was
        measured.
    """
    if not of_rows:
        return 0.0
    steps = sorted(of_rows)
    sources = [of_sample[np.newaxis], *(of_rows[step] for step in steps)]
    sources = np.concatenate(sources)
    is_whole = propagation.replay.batch_share == 1.0 and not of_sample.any()
    if is_whole or not sources.any():
        return 0.0
    n_contrasts = (len(sources) - 1) // len(steps)

    def growth(run):
        chance = _chance(propagation.replay, tally, steps, n_contrasts, run)
        return np.concatenate([tally.lengths[np.newaxis], chance])

    if propagation.seed.repairs:
        is_cheap = of_sample[0].size <= _CHEAP_ORDER
        n_runs = _CHEAP_RUNS if is_cheap else _CARRIED_RUNS
        by_run = [
            np.linalg.norm(propagation.astray(sources, growth(run)))
            for run in range(n_runs)
        ]
        return np.sqrt(np.mean(np.square(by_run)))
    # By one curvature for all sources a run costs nothing.
    factor = propagation.replay.sizes[2]
    pushes = propagation.pushes(0, len(tally.lengths), sources[-1])
    split = list(zip(propagation.split(sources), pushes, strict=True))
    by_run = []
    for run in range(_RUNS):
        grown, astray = growth(run), 0.0
        for part, (_, push) in split:
            amounts = grown @ (push * factor)
            astray = astray + np.einsum("sg,sgkj->kj", amounts, part)
        by_run.append(np.linalg.norm(astray))
    return np.sqrt(np.mean(np.square(by_run)))


def _chance(replay, tally, measured, n_contrasts, run):
    """How much of what one row adds to the residual a batch has, by chance.

    Returns
    -------
    chance : ndarray of shape (n_sources, n_steps)
        For every contrast at every step that one was measured at. Each step of the run
        goes by what was measured nearest to it.
    """
    n_steps = len(tally.lengths)
    by_epoch = (replay.n_epochs, n_steps // replay.n_epochs)
    moved = np.linalg.norm(tally.moves.reshape(by_epoch), axis=1)
    length = np.sqrt(np.mean(tally.lengths.reshape(by_epoch) ** 2, axis=1))
    stays = 1.0 - np.minimum(moved, length) / np.maximum(length, _TINY)
    rng = np.random.default_rng(run)
    chance = rng.standard_normal((n_contrasts, *by_epoch))
    chance -= stays[:, np.newaxis] * chance.mean(axis=2, keepdims=True)
    scale = (1.0 - replay.batch_share) / replay.batch_rows / n_contrasts
    chance = np.sqrt(scale) * tally.bends * chance.reshape(-1, n_steps)
    # The path moves most at its start.
    place = np.sqrt(np.arange(n_steps))[:, np.newaxis]
    nearest = np.argmin(np.abs(place - np.sqrt(measured)), axis=1)
    return np.concatenate(
        [chance * (nearest == number) for number in range(len(measured))]
    )
