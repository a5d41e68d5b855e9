"""How far a replay is from the exact path: an estimate in parts, not a bound.

checks       At one or two steps that are no correction points, the residual of the
             recorded gradient is measured as at a correction point: at the last step,
             as if it had grown since the last correction point; and (see
             `cost.Attempt.checks`) at one before the first correction point, as if it
             had been there from the start.
corrections  What correction points found, where the path is not corrected for it; else
             a fraction of the corrections.
between      The error of Hessians that are interpolated between checkpoints, from their
             second differences. It is most of the error where a few rows have very
             large entries, because their second derivatives vanish within the first
             steps.
noise        How the rows of the sample and of the batches differ from all rows by
             chance.

Errors of earlier edits are still in the path, because a replay measures changes of
gradients and not the gradients themselves: see `accumulated`.

Each part is propagated to the end of the path (`propagation`), and the squares of the
norms are added. ``examples/benchmarks/estimates.py`` fits the factors again, for each
of many data sets to the edits of all others.
"""

from dataclasses import dataclass

import numpy as np

_TINY = np.finfo(float).tiny  # rounding: instead of zero in a denominator
# Accuracy thresholds: factors of the parts. The larger one of two second differences is
# three times the error, in the median of 300 edits of 17 data sets; the other parts
# need no factor. With ten times the values, estimates are ten times too high, and paths
# are retrained without need.
FACTORS = {"checks": 1.0, "corrections": 1.0, "between": 1.0 / 3.0, "noise": 1.0}
# Accuracy thresholds, fitted in the same way: the fraction of the corrections that is
# counted as an error, without a check and with one after the last correction point.
FRACTION_OF_CORRECTIONS = {False: 0.6, True: 1.0 / 3.0}
# An accuracy threshold, between 1 and 2: the errors of edits add up if these move the
# model in one direction, as when all rows of a class leave one by one, and their
# squares add up if the rows are random. Which of both is known only to who keeps how
# each edit moved the model, which would reveal the rows that left. After 16 equal edits
# the estimate is off by a factor of 2 for either.
_POWER = 4.0 / 3.0


@dataclass(frozen=True)
class StepRecord:
    """What a replay records about its steps.

    Attributes
    ----------
    lengths : ndarray of shape (n_steps,)
        Length of the drift at each step.
    moves : ndarray of shape (n_steps,)
        How far the drift moves in each step.
    products : ndarray of shape (n_steps,)
        Length of the Hessian's product with the drift.
    """

    lengths: np.ndarray
    moves: np.ndarray
    products: np.ndarray


def combined(parts, names=tuple(FACTORS)):
    """Return the estimate from the norms of all its parts, or of some, by name."""
    squares = [(FACTORS[name] * parts.get(name, 0.0)) ** 2 for name in names]
    return float(np.sqrt(sum(squares)))


def accumulated(left, added):
    """Return the error after an edit, from the one before it and its own, as norms."""
    return float((left**_POWER + added**_POWER) ** (1.0 / _POWER))


def between_checkpoints(propagation, record):
    """Return the error at the end by interpolated Hessians, as a norm."""
    checkpoints, trajectory = propagation.checkpoints, propagation.trajectory
    stretches = checkpoints.stretches()
    # In the direction of the mean alone it is negligible.
    if not stretches or not checkpoints.plan.properties.corrects_path:
        return 0.0
    differences = checkpoints.second_differences(propagation.hessians)
    middles = [int(np.argmax(bow)) for _, _, bow in stretches]
    old = propagation.replay.base.trajectory.iterates_at(middles)
    drifts = trajectory.iterates_at(middles) - old
    sources, growth = [], []
    for (first, _, bow), drift in zip(stretches, drifts, strict=True):
        length = max(np.linalg.norm(drift), _TINY)
        sources.append(differences.product(first, drift) / length)
        growth.append(bow * record.lengths)
    change = propagation.change_at_end(np.stack(sources), np.stack(growth))
    return np.linalg.norm(change)


def by_residuals(propagation, record, residuals, shapes):
    """Return the error at the end by the residuals that checks found, as a norm.

    Parameters
    ----------
    propagation : AbstractPropagation
    record : StepRecord
    residuals : list of ndarray of shape (n_groups, n_outputs, n_dof)
        Per unit of weight and length of the drift.
    shapes : list of ndarray of shape (n_steps,)
        How much of each residual there is at every step: see `until_correction` and
        `since_correction`.
    """
    if not residuals:
        return 0.0
    growth = np.stack(shapes) * record.lengths
    return np.linalg.norm(propagation.change_at_end(np.stack(residuals), growth))


def until_correction(n_steps, step, corrected):
    """Return a residual's shape: 1 up to a step, falling to 0 at a correction point."""
    shape = np.zeros(n_steps)
    shape[:step] = 1.0
    shape[step:corrected] = np.linspace(1.0, 0.0, corrected - step, endpoint=False)
    return shape


def since_correction(n_steps, corrected, step):
    """Return a residual's shape: rising from 0 at a correction point to 1 at a step."""
    return np.maximum(np.arange(n_steps) - corrected, 0.0) / (step - corrected)


def by_chance(propagation, record, of_sample, of_rows):
    """Return the error at the end by the sample's and the batches' noise, as a norm.

    It is the root mean square of random samples. What a batch adds to the residual has
    the direction of a difference between parts of the rows; and it adds up to nothing
    within an epoch, as far as the drift does not change.

    Parameters
    ----------
    propagation : AbstractPropagation
    record : StepRecord
    of_sample : ndarray of shape (n_groups, n_outputs, n_dof)
        What the sample adds to the residual.
    of_rows : dict of int to ndarray of shape (n_contrasts, n_groups, n_outputs, n_dof)
        By the step where it was measured: what one row adds to the residual, divided by
        the change of the gradient that is predicted there.
    """
    if not of_rows:
        return 0.0
    steps = sorted(of_rows)
    sources = np.concatenate([of_sample[np.newaxis], *(of_rows[s] for s in steps)])
    reads_all = propagation.replay.batch_fraction == 1.0 and not of_sample.any()
    if reads_all or not sources.any():
        return 0.0
    n_contrasts = (len(sources) - 1) // len(steps)

    def growth_of(number):
        of_batches = _random_growth(
            propagation.replay, record, steps, n_contrasts, number
        )
        return np.concatenate([record.lengths[np.newaxis], of_batches])

    norms = list(map(np.linalg.norm, propagation.random_changes(sources, growth_of)))
    return np.sqrt(np.mean(np.square(norms)))


def _random_growth(replay, record, measured, n_contrasts, random_seed):
    """Draw how much of the difference between rows the batch of each step has.

    Returns
    -------
    growth : ndarray of shape (n_sources, n_steps)
        For every contrast at every step in `measured`. Each step of the path uses the
        measurement that is nearest to it.
    """
    n_steps = len(record.lengths)
    by_epoch = (replay.n_epochs, n_steps // replay.n_epochs)
    moved = np.linalg.norm(record.moves.reshape(by_epoch), axis=1)
    length = np.sqrt(np.mean(record.lengths.reshape(by_epoch) ** 2, axis=1))
    unchanged = 1.0 - np.minimum(moved, length) / np.maximum(length, _TINY)
    # Mathematics: the variance of a mean of rows drawn without replacement. The batches
    # of an epoch are all rows, so that their means, by size, add up to nothing.
    rows = replay.batch_rows.reshape(by_epoch)
    part = rows / rows.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(random_seed)
    growth = rng.standard_normal((n_contrasts, *by_epoch))
    growth *= np.sqrt((1.0 - part) / rows / n_contrasts)
    total = np.sum(part * growth, axis=2, keepdims=True)
    growth -= unchanged[:, np.newaxis] * total
    growth = record.products * growth.reshape(-1, n_steps)
    # The path moves most at its start: distances are those of square roots.
    place = np.sqrt(np.arange(n_steps))[:, np.newaxis]
    nearest = np.argmin(np.abs(place - np.sqrt(measured)), axis=1)
    return np.concatenate(
        [growth * (nearest == number) for number in range(len(measured))]
    )
