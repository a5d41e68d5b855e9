"""Coefficients with fresh Gaussian noise.

    p = w + s z,     z ~ N(0, I),     s = noise * scale,     on a grid of s / 2^10

Every publication draws another z, from the operating system's entropy, which is kept
nowhere. It must be neither used twice nor known to anyone: the difference of two
publications would show what changed, without noise. The grid hides the last bits of
floating-point numbers, which depend on w: see Mironov 2012, "On significance of the
least significant bits for differential privacy".
"""

import os

import numpy as np
from scipy.special import ndtri

# Mathematics: points of the grid in one standard deviation of the noise. Rounding to it
# adds 1e-7 to the variance, and does not change the guarantee, as nothing does that is
# computed from what is published.
_POINTS = 2.0**10


def published(coefficients, deviation, draw):
    """Return coefficients as they are published.

    Parameters
    ----------
    coefficients : ndarray
    deviation : ndarray of the same shape
        Standard deviations of the noise.
    draw : callable
        ``draw(shape)`` returns independent standard normal numbers.
    """
    grid = deviation / _POINTS
    return np.rint((coefficients + deviation * draw(coefficients.shape)) / grid) * grid


def fresh(shape):
    """Return standard normal numbers from the operating system's entropy.

    A random sign, and the normal quantile of a number u in (0, 1/2) with 127 random
    bits: no state is left from which the numbers could be computed again. With 63 bits
    the tail would be so coarse that it tells what was published from what was not with
    a probability of 1e-20 for each number.
    """
    bits = np.frombuffer(os.urandom(16 * int(np.prod(shape))), np.uint64)
    high, low = bits.reshape(2, *shape)
    sign = np.where(high & np.uint64(1), 1.0, -1.0)
    below = (low.astype(float) + 0.5) * 2.0**-64
    return sign * ndtri(((high >> np.uint64(1)).astype(float) + below) * 2.0**-64)


def seeded(seed):
    """Return a `draw` that can be repeated: for tests, and not private."""
    return np.random.default_rng(seed).standard_normal
