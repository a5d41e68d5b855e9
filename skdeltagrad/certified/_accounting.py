"""What Gaussian noise guarantees, in mu and in (epsilon, delta).

Two distributions are *mu-GDP-close* if telling them apart is at least as hard as
telling N(0, 1) from N(mu, 1) (Dong, Roth and Su 2022, "Gaussian differential privacy",
JRSS B 84). Gaussian noise of standard deviation s hides a difference of length d
exactly as well as mu = d / s says, and T publications, each chosen with knowledge of
those before, are together sqrt(T) mu-GDP (their corollary 3.3). Nothing is lost in
that, unlike in sums of epsilons.

mu-GDP implies (epsilon, delta)-closeness for all pairs with (their corollary 2.13)

    delta = Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2).
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr

# Mathematics: where roots are sought, on both sides of any mu and epsilon of use.
_LEAST, _MOST = 1e-12, 1e6
# Accuracy: relative error of a root, in units of the root.
_RTOL = 1e-13


def log_delta_of(epsilon, mu):
    """Return log(delta), so that deltas below the smallest number have one, too."""
    first = log_ndtr(-epsilon / mu + 0.5 * mu)
    second = epsilon + log_ndtr(-epsilon / mu - 0.5 * mu)
    gap = min(0.0, second - first)
    return float(first + np.log(-np.expm1(gap))) if gap < 0.0 else -math.inf


def mu_of(epsilon, delta):
    """Return the largest mu that implies (epsilon, delta)-closeness."""
    wanted = math.log(delta)

    def excess(log_mu):
        found = log_delta_of(epsilon, math.exp(log_mu))
        return max(found, -1e300) - wanted

    bounds = math.log(_LEAST), math.log(_MOST)
    return math.exp(brentq(excess, *bounds, xtol=_RTOL, rtol=_RTOL))


def epsilon_of(mu, delta):
    """Return the least epsilon for which mu implies (epsilon, delta)-closeness.

    It is 0 where delta alone is enough.
    """
    wanted = math.log(delta)
    if mu == 0.0 or log_delta_of(0.0, mu) <= wanted:
        return 0.0
    # Above this, the first term alone is at most delta: Phi(-t) <= e^(-t^2 / 2).
    most = mu * (0.5 * mu + math.sqrt(-2.0 * wanted)) + 1.0

    def excess(epsilon):
        return max(log_delta_of(epsilon, mu), -1e300) - wanted

    return brentq(excess, 0.0, most, xtol=0.0 + _RTOL * most, rtol=_RTOL)


def cap_of(noise, mu, n_publications):
    """Return the largest distance from the optimum that a publication may have.

    Two machines that are each so near to the optimum publish at a distance of at most
    twice the cap: mu = sqrt(T) 2 cap / noise.

    Parameters
    ----------
    noise : float
        Standard deviation, in the units of the distance.
    mu : float
        For all publications together.
    n_publications : int
        T.
    """
    return noise * mu / (2.0 * math.sqrt(n_publications))
