"""Some of many, the important ones likelier, for sums that are right on average."""

import numpy as np

# Rounds that raise the factor until so many are expected: more would change little.
_ROUNDS = 5


def importance(squares, group):
    """How much each row may matter to an optimum.

    Its share in the standardised columns' squares, and in its group. A row that stands
    alone in a column, or in a group, matters as much as all others.

    Parameters
    ----------
    squares : ndarray of shape (n_rows,)
        See `AbstractDataTerm.standardised_squares`. May be infinite or NaN.
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
    """Draw each with a probability that is proportional to its importance, up to 1.

    Weighted by one over their probabilities, sums over those drawn have the sums over
    all as expected values.

    Parameters
    ----------
    importance : ndarray of shape (n,)
        Not negative. Those of importance 0 are never drawn.
    n_expected : float
        Expected number of those drawn; about, where there are fewer important ones.
    rng : Generator

    Returns
    -------
    drawn : ndarray of shape (n_drawn,)
        Ascending.
    probability : ndarray of shape (n_drawn,)
    """
    share = importance / importance.sum()
    factor = n_expected
    for _ in range(_ROUNDS):
        certain = factor * share >= 1.0
        left, rest = n_expected - np.count_nonzero(certain), share[~certain].sum()
        if left <= 0 or rest <= 0:
            break
        factor = left / rest
    probability = np.minimum(1.0, factor * share)
    drawn = np.flatnonzero(rng.random(len(share)) < probability)
    return drawn, probability[drawn]
