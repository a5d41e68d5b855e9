"""Samples of rows with probabilities by importance, for unbiased sums."""

import numpy as np

# Accuracy: rounds that raise the factor until the expected number is reached. After
# five it changes by less than the number varies by chance.
_ROUNDS = 5


def importance(squares, group):
    """Return how important each row may be for an optimum.

    This is the row's fraction of the standardised columns' squares, and of its group,
    as a multiple of the mean. A row that is alone in a column, or in a group, is as
    important as all others.

    Parameters
    ----------
    squares : ndarray of shape (n_rows,)
        See `AbstractDataTerm.standardised_squares`. It may be infinite or NaN.
    group : ndarray of shape (n_rows,)

    Returns
    -------
    importance : ndarray of shape (n_rows,)
    """
    n_rows = len(squares)
    in_group = np.bincount(group)
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
    fraction = importance / importance.sum()
    factor = n_expected
    for _ in range(_ROUNDS):
        certain = factor * fraction >= 1.0
        n_others = n_expected - np.count_nonzero(certain)
        of_others = fraction[~certain].sum()
        if n_others <= 0 or of_others <= 0:
            break
        factor = n_others / of_others
    probability = np.minimum(1.0, factor * fraction)
    drawn = np.flatnonzero(rng.random(len(fraction)) < probability)
    return drawn, probability[drawn]
