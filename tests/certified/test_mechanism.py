"""The law of what is published: the exact coefficients plus noise, and nothing else."""

import numpy as np
import pytest
from scipy import stats

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad.certified import Publisher
from skdeltagrad.certified._mechanism import fresh, published, seeded

N_DRAWS = 10_000
# Of all tests together that draw from the entropy of the operating system: they fail
# by chance once in a billion runs.
NEVER = 1e-9 / 20


def assert_standard_normal(z, level):
    """Check draws of shape (n_draws, n_coefficients), each test at a level.

    Marginals, variances, means, and correlations between coefficients and from one draw
    to the next.
    """
    n_draws, n_coefficients = z.shape
    level /= 5 * n_coefficients
    for column in z.T:
        assert stats.kstest(column, "norm").pvalue > level
    normal = stats.norm.isf(level / 2)
    assert np.abs(z.mean(axis=0)).max() < normal / np.sqrt(n_draws)
    squares = np.sum(z**2, axis=0)
    least, most = stats.chi2.ppf([level / 2, 1 - level / 2], n_draws)
    assert ((squares > least) & (squares < most)).all()
    with_next = z[1:].T @ z[:-1] / np.sqrt(n_draws - 1)
    assert np.abs(with_next).max() < stats.norm.isf(level / 2 / n_coefficients)
    together = np.corrcoef(z.T) - np.eye(n_coefficients)
    most = stats.norm.isf(level / 2 / n_coefficients) / np.sqrt(n_draws)
    assert np.abs(together).max() < most


def draws(draw, n_draws, coefficients, deviation):
    """Return standardised differences of what is published and what is exact."""
    found = [published(coefficients, deviation, draw) for _ in range(n_draws)]
    return ((np.array(found) - coefficients) / deviation).reshape(n_draws, -1)


# The mechanism.


@pytest.mark.parametrize("size", [0.0, 1.0, 1e6])
def test_published_coefficients_are_normal_around_the_exact_ones(size):
    """Each with its own deviation, without correlations, and wherever they lie."""
    rng = np.random.default_rng(1)
    coefficients = size * rng.standard_normal((2, 3))
    deviation = 1e-3 * 10.0 ** rng.uniform(-2, 2, (2, 3))
    assert_standard_normal(draws(seeded(0), N_DRAWS, coefficients, deviation), 1e-3)


def test_noise_from_the_operating_systems_entropy_is_normal():
    z = draws(fresh, N_DRAWS, np.full((1, 4), 0.3), np.array([[1e-9, 1e-3, 1.0, 5.0]]))
    assert_standard_normal(z, NEVER)


def test_a_million_numbers_from_entropy_are_normal(long_profile):
    """Tails included, which the tests of Kolmogorov and Smirnov hardly look at."""
    z = fresh((1_000_000,))
    assert_standard_normal(z.reshape(-1, 10), NEVER)
    for threshold in (2.0, 3.0, 4.0):
        n_beyond = int((np.abs(z) > threshold).sum())
        expected = 2 * stats.norm.sf(threshold)
        assert stats.binomtest(n_beyond, z.size, expected).pvalue > NEVER


def test_numbers_from_entropy_are_never_drawn_again():
    assert len(np.unique(fresh((N_DRAWS,)))) == N_DRAWS
    signs = np.sign(fresh((N_DRAWS,)))
    assert stats.binomtest(int((signs > 0).sum()), N_DRAWS).pvalue > NEVER


def test_the_most_extreme_bits_are_finite_numbers(monkeypatch):
    """All bits 0 or 1: the ends of the range, and never infinity."""
    for byte, size in ((b"\x00", 13.1), (b"\xff", 0.0)):
        monkeypatch.setattr("os.urandom", lambda n, byte=byte: byte * n)
        assert np.abs(fresh((3,))) == pytest.approx(np.full(3, size), abs=0.1)


def test_the_last_bits_do_not_depend_on_the_coefficients():
    """What is published is a whole number of steps, of a public width."""
    deviation = np.full(N_DRAWS, 3e-5)
    steps = []
    for shift in (0.0, 1e-12):
        p = published(0.7 + shift + 0.0 * deviation, deviation, seeded(0))
        count = p / (3e-5 / 2**10)
        assert np.abs(count - np.rint(count)).max() < 1e-6
        assert (np.rint(count) * (3e-5 / 2**10) == p).all()  # not one bit else
        steps.append(np.rint(count))
    assert (steps[0] == steps[1]).mean() > 0.999
    # And the noise on it is not rounded to anything coarser.
    assert np.abs(steps[0] % 2 - 0.5).mean() == 0.5
    assert 0.4 < (steps[0] % 2).mean() < 0.6


# Publications.


def publications(n_publications, random_state=None, kind=DeltaGradRidge, **parameters):
    """Return standardised noise of publications with an edit between each two."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((40, 2))
    y = (X[:, 0] + rng.standard_normal(40) > 0).astype(float)
    est = kind().fit(X, y)
    publisher = Publisher(
        est, epsilon=1.0, delta=1e-6, n_publications=n_publications,
        random_state=random_state, **parameters,
    )  # fmt: skip
    found = []
    for number in range(n_publications):
        row = number % len(X)
        moved = X[[row]] + rng.standard_normal((1, 2))
        est.partial_refit(moved, y[[row]], position=row, replace=True)
        model = publisher.publish()
        exact = np.append(est.coef_, est.intercept_)
        found.append(np.append(model.coef_, model.intercept_) - exact)
    scale = parameters.get("scale", 1.0)
    return np.array(found) / (publisher.noise * np.asarray(scale))


def test_the_noise_of_publications_is_that_of_the_mechanism():
    scale = [1.0, 100.0, 0.01]
    z = publications(150, random_state=0, noise=1e-5, scale=scale)
    assert_standard_normal(z, 1e-3)


def test_two_publications_have_nothing_in_common():
    """Neither does the noise add up, nor is any of it used again."""
    z = publications(200, noise=1e-5)
    assert len(np.unique(z, axis=0)) == len(z)
    assert_standard_normal(z, NEVER)


def test_ten_thousand_publications(long_profile):
    kind = DeltaGradLogisticRegression
    z = publications(N_DRAWS, noise=1e-5, scale=[1.0, 100.0, 0.01], kind=kind)
    assert_standard_normal(z, NEVER)


def test_noise_in_the_state_would_be_seen_here():
    """A random walk, the same noise twice, and a third more of it: none passes."""
    z = draws(seeded(0), 1000, np.zeros((1, 3)), np.ones((1, 3)))
    assert_standard_normal(z, NEVER)
    for planted in (np.cumsum(z, axis=0), np.repeat(z[:500], 2, axis=0), 1.33 * z):
        with pytest.raises(AssertionError):
            assert_standard_normal(planted, NEVER)
