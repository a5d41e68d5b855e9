"""Reproducible random numbers that belong to an integer: splitmix64.

Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
Whoever knows a row's position can find its number again, without a list.
"""

import numpy as np


def splitmix64(numbers, seed=0):
    """Return the generator's outputs of some numbers, counted from 0.

    Parameters
    ----------
    numbers : ndarray of shape (n_numbers,), dtype int
    seed : int, default=0

    Returns
    -------
    outputs : ndarray of shape (n_numbers,), dtype uint64
    """
    # Mathematics: the constants are those of the paper; products wrap around.
    x = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draw(positions):
    """Return a number in [0, 1) for each position, as if drawn uniformly."""
    return splitmix64(positions) / 2.0**64
