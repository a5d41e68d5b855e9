"""Samples of rows with probabilities by importance, for unbiased sums."""

import numpy as np

from .._utils.row_blocks import row_blocks

# Accuracy: rounds that raise the factor until the expected number is reached. After
# five it changes by less than the number varies by chance.
_ROUNDS = 5


def importance(squares, group, in_group):
    """Return how important each row may be for an optimum.

    This is the row's fraction of the standardised columns' squares, and of its group,
    as a multiple of the mean. A row that is alone in a column, or in a group, is as
    important as all others.

    Parameters
    ----------
    squares : ndarray of shape (n_rows,)
        See `AbstractDataTerm.standardised_squares`. It may be infinite or NaN.
    group : ndarray of shape (n_rows,)
    in_group : ndarray of shape (n_groups,)
        Number of rows in each group, of which those given may be a part.

    Returns
    -------
    importance : ndarray of shape (n_rows,)
    """
    n_rows = in_group.sum()
    rarity = n_rows / (np.count_nonzero(in_group) * in_group[group])
    return np.fmin(squares, n_rows) + rarity


def sample(importance, n_expected, rng):
    """Draw rows with probabilities that are proportional to importance, up to 1.

    Sums over the drawn rows, weighted by one over their probabilities, are unbiased
    estimates of the sums over all rows.

    Parameters
    ----------
    importance : ndarray of shape (n,)
        Not negative. A row of importance 0 is never drawn.
    n_expected : float
        Expected number of drawn rows; approximate if fewer rows are important.
    rng : Generator

    Returns
    -------
    drawn : ndarray of shape (n_drawn,)
        Ascending.
    probability : ndarray of shape (n_drawn,)
    """
    total, blocks = importance.sum(), row_blocks(len(importance))
    factor = n_expected
    for _ in range(_ROUNDS):
        n_certain, of_others = 0, 0.0
        for block in blocks:
            fraction = importance[block] / total
            certain = factor * fraction >= 1.0
            n_certain += np.count_nonzero(certain)
            of_others += fraction[~certain].sum()
        if n_certain >= n_expected or of_others <= 0:
            break
        factor = (n_expected - n_certain) / of_others
    drawn, probabilities = [], []
    for block in blocks:
        probability = np.minimum(1.0, factor * (importance[block] / total))
        some = np.flatnonzero(rng.random(len(probability)) < probability)
        drawn.append(block.start + some)
        probabilities.append(probability[some])
    return np.concatenate(drawn), np.concatenate(probabilities)
