"""An audit: how well can two worlds be told apart by all that is published?

In one world the coefficients lie as far on one side of the optimum as the cap allows,
in the other one on the other side. An adversary knows both worlds, sees T publications
and tests by their likelihood ratio, which no test surpasses (Neyman and Pearson). From
the rates of right and wrong answers in many runs, with Clopper-Pearson limits at 95%,
follows a lower limit of epsilon (Jagielski, Ullman and Oprea 2020, "Auditing
differentially private machine learning", NeurIPS):

    P(A | first) <= e^epsilon P(A | second) + delta   for every set A of outcomes.

It must stay below the claim. An audit that finds nothing proves nothing, unless it
finds what is wrong with mechanisms that are: so it has to.
"""

import math

import numpy as np
import pytest
from scipy import stats

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad.certified import Publisher
from skdeltagrad.certified._accounting import cap_of, mu_of
from skdeltagrad.certified._mechanism import fresh, published, seeded

N_RUNS = 20_000
NOISE = 1e-5
CONFIDENCE = 0.95
CLAIMS = [(0.5, 1e-6), (0.5, 1e-2), (1.0, 1e-6), (1.0, 1e-2)]
# How much noise each coefficient has: none of that may matter.
DEVIATION = NOISE * np.array([1.0, 30.0, 0.1])


def lower_limit_of_epsilon(first, second, delta):
    """Return a lower limit that holds at 95%, from scores in both worlds.

    Scores are large where the first world is more likely. Half of the runs choose the
    threshold, and the other half measure.
    """
    choose = first[::2], second[::2]
    measure = first[1::2], second[1::2]
    thresholds = np.quantile(np.concatenate(choose), np.linspace(0.002, 0.998, 250))
    best = max(thresholds, key=lambda t: _epsilon_at(t, *choose, delta))
    return _epsilon_at(best, *measure, delta)


def _epsilon_at(threshold, first, second, delta):
    """Of the larger of both directions; each rate has half of the error."""
    above = int((first > threshold).sum()), int((second > threshold).sum())
    below = len(second) - above[1], len(first) - above[0]
    return max(_epsilon(*above, len(first), delta), _epsilon(*below, len(first), delta))


def _epsilon(n_right, n_wrong, n_runs, delta):
    level = (1.0 - CONFIDENCE) / 4.0  # two limits in each of two directions
    least = stats.beta.ppf(level, n_right, n_runs - n_right + 1) if n_right else 0.0
    most = 1.0
    if n_wrong < n_runs:
        most = stats.beta.ppf(1.0 - level, n_wrong + 1, n_runs - n_wrong)
    return math.log((least - delta) / most) if least > delta else -math.inf


def log_densities(p, means, deviations):
    """Of publications of shape (n_runs, T, n_coefficients), up to a constant."""
    z = (p - means) / deviations
    terms = -0.5 * z**2 - np.log(deviations) + 0.0 * z
    return terms.sum(axis=(1, 2))


def worlds(epsilon, delta, n_publications, factor=1.0):
    """Return the exact coefficients of both worlds, shape (T, n_coefficients).

    The direction is the worst: any has the same length, in units of the noise.
    """
    cap = factor * cap_of(NOISE, mu_of(epsilon, delta), n_publications)
    optimum = np.array([0.3, -2.0, 700.0])
    direction = np.array([0.6, -0.64, 0.48])
    moved = cap * direction * DEVIATION / NOISE
    return np.tile(optimum + moved, (n_publications, 1)), np.tile(
        optimum - moved, (n_publications, 1)
    )


def all_published(w, deviation, draw, n_runs=N_RUNS):
    """Return what the mechanism publishes of coefficients of shape (T, n)."""
    every = np.broadcast_to(w, (n_runs, *w.shape))
    return published(every, np.broadcast_to(deviation, every.shape), draw)


def audited(first, second, delta, draw, n_runs=N_RUNS):
    """Return the lower limit of epsilon for the mechanism in two worlds."""

    def scores(w):
        p = all_published(w, DEVIATION, draw, n_runs)
        return log_densities(p, first, DEVIATION) - log_densities(p, second, DEVIATION)

    return lower_limit_of_epsilon(scores(first), scores(second), delta)


# The mechanism.


@pytest.mark.parametrize("n_publications", [1, 5])
@pytest.mark.parametrize(("epsilon", "delta"), CLAIMS)
def test_less_is_found_than_is_claimed(epsilon, delta, n_publications):
    first, second = worlds(epsilon, delta, n_publications)
    found = audited(first, second, delta, seeded(0))
    assert found < epsilon
    assert found > 0.3 * epsilon or delta < 1e-2  # it is no empty claim


@pytest.mark.parametrize("epsilon", [0.5, 1.0])
def test_the_audit_would_find_a_cap_that_is_missed(epsilon):
    """By half of it: what is claimed is nearly what holds."""
    first, second = worlds(epsilon, 1e-2, 5, factor=1.5)
    assert audited(first, second, 1e-2, seeded(0)) > epsilon


@pytest.mark.parametrize("n_publications", [1, 5, 20])
@pytest.mark.parametrize(("epsilon", "delta"), CLAIMS)
def test_less_is_found_in_two_million_runs_from_entropy(
    epsilon, delta, n_publications, long_profile
):
    first, second = worlds(epsilon, delta, n_publications)
    n_runs = 2_000_000 // n_publications
    assert audited(first, second, delta, fresh, n_runs) < epsilon


# The estimator, after a removal and without one.


@pytest.mark.parametrize(("epsilon", "delta"), CLAIMS)
def test_less_is_found_of_a_row_that_was_removed(epsilon, delta):
    """One machine removed a row and the other one never had it: the real pair."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y = (X[:, 0] + rng.standard_normal(60) > 0).astype(int)
    X[0] *= 30.0
    edited = DeltaGradLogisticRegression(edit_tol=0.3).fit(X, y)
    publisher = Publisher(
        edited, noise=NOISE, epsilon=epsilon, delta=delta, n_publications=5,
        scale=DEVIATION / NOISE, random_state=0,
    )  # fmt: skip
    edited.unlearn(position=0)
    publisher.publish()
    fresh_one = DeltaGradLogisticRegression().fit(X[1:], y[1:])
    fresh_one.refine(distance=publisher.statement_.cap, scale=publisher.scale)
    pair = [
        np.tile(np.append(est.coef_, est.intercept_), (5, 1))
        for est in (edited, fresh_one)
    ]
    apart = np.linalg.norm((pair[0] - pair[1])[0] / DEVIATION)
    assert 0.0 < apart <= 2.0 * publisher.statement_.cap / NOISE
    assert audited(*pair, delta, seeded(0)) < epsilon


# Planted bugs.


@pytest.mark.parametrize("epsilon", [0.5, 1.0])
def test_noise_scaled_by_a_bound_that_depends_on_the_rows_is_found(epsilon):
    """Two bounds that differ by a tenth, on 200 coefficients and publications."""
    delta, size = 1e-6, 200
    w, draw = np.zeros((1, size)), seeded(0)
    deviations = [np.full(size, NOISE), np.full(size, 1.1 * NOISE)]

    def scores(deviation):
        p = all_published(w, deviation, draw, N_RUNS // 10)
        return log_densities(p, w, deviations[0]) - log_densities(p, w, deviations[1])

    found = lower_limit_of_epsilon(*map(scores, deviations), delta)
    assert found > epsilon


@pytest.mark.parametrize("epsilon", [0.5, 1.0])
def test_noise_that_is_used_twice_is_found(epsilon):
    """The difference of two publications shows what the cap allows, without noise."""
    delta = 1e-6
    first, second = worlds(epsilon, delta, 2)
    first[1], second[1] = second[1], first[1].copy()  # to be on the other side

    def scores(w, draw):
        p = all_published(w, DEVIATION, draw)
        return ((p[:, 0] - p[:, 1]) / DEVIATION) @ (first[0] - second[0])

    draw = seeded(0)

    def once(shape):
        return np.broadcast_to(draw((shape[0], 1, shape[2])), shape)

    both = scores(first, once), scores(second, once)
    assert lower_limit_of_epsilon(*both, delta) > epsilon
    # With noise of its own for each, the same adversary finds nothing.
    both = scores(first, draw), scores(second, draw)
    assert lower_limit_of_epsilon(*both, delta) < epsilon


@pytest.mark.parametrize("epsilon", [0.5, 1.0])
def test_noise_that_is_kept_in_the_state_is_found(epsilon):
    """Each edit starts from what was published, and a fit from scratch does not."""
    delta, n_publications = 1e-6, 5
    w, draw = np.tile([0.3, -2.0, 700.0], (n_publications, 1)), seeded(0)

    def edited(keeps_noise):
        state, found = np.broadcast_to(w[0], (N_RUNS, 3)), []
        for _ in range(n_publications):
            deviation = np.broadcast_to(DEVIATION, state.shape)
            found.append(published(state, deviation, draw))
            state = found[-1] if keeps_noise else state
        return np.stack(found, axis=1)

    def scores(p):
        walk = np.diff(p, axis=1, prepend=np.broadcast_to(w[:1], p[:, :1].shape))
        return log_densities(walk, 0.0, DEVIATION) - log_densities(p, w, DEVIATION)

    from_scratch = all_published(w, DEVIATION, draw)
    found = lower_limit_of_epsilon(scores(edited(True)), scores(from_scratch), delta)
    assert found > epsilon
    found = lower_limit_of_epsilon(scores(edited(False)), scores(from_scratch), delta)
    assert found < epsilon
