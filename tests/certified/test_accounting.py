"""The accounting against its definition, and against an independent library."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from skdeltagrad.certified._accounting import cap_of, epsilon_of, log_delta_of, mu_of

EPSILONS = [0.01, 0.1, 0.5, 1.0, 2.0, 8.0]
DELTAS = [1e-2, 1e-5, 1e-6, 1e-9, 1e-12]
# Twenty settings, from one publication to a million.
SETTINGS = [
    (noise * math.sqrt(n_publications), n_publications, delta)
    for noise in (0.1, 0.5, 4.0, 20.0, 1000.0)
    for n_publications, delta in ((1, 1e-2), (10, 1e-5), (1000, 1e-6), (10**6, 1e-9))
]


def test_figures_of_the_design():
    """From the page that the mechanism was designed on, to its four digits."""
    known = {(1, 1e-6): 0.2367, (0.5, 1e-6): 0.1241, (0.1, 1e-6): 0.0275}
    known[1, 1e-5] = 0.2681
    for (epsilon, delta), mu in known.items():
        assert mu_of(epsilon, delta) == pytest.approx(mu, abs=5e-5)


def log_delta_by_quadrature(epsilon, mu):
    """The definition: delta = int max(0, p - e^epsilon q) of N(mu, 1) and N(0, 1).

    Where the densities' ratio is e^epsilon begins x = epsilon / mu + mu / 2. With
    a = epsilon / mu - mu / 2 and s counted from there, the integral is

        phi(a) int_0^inf (1 - e^(-mu s)) e^(-a s - s^2 / 2) ds,

    in which nothing cancels, whatever the numbers are.
    """
    a = epsilon / mu - mu / 2
    width = 1.0 / max(1.0, a)

    def left(u):
        s = width * u
        return -width * np.expm1(-mu * s) * np.exp(-a * s - s**2 / 2)

    found, _ = quad(left, 0.0, 60.0, epsabs=0, epsrel=1e-11, limit=400)
    return -(a**2) / 2 - math.log(2 * math.pi) / 2 + math.log(found)


@pytest.mark.parametrize("mu", [0.1, 0.24, 1.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 2.0])
def test_delta_is_what_e_to_the_epsilon_leaves_of_a_density(mu, epsilon):
    def left(x):
        return norm.pdf(x, mu) - math.exp(epsilon) * norm.pdf(x)

    start = epsilon / mu + mu / 2
    plain, _ = quad(left, start, start + 40.0, epsabs=0, epsrel=1e-11, limit=200)
    expected = log_delta_by_quadrature(epsilon, mu)
    assert expected == pytest.approx(math.log(plain), abs=1e-8)
    assert log_delta_of(epsilon, mu) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_both_directions_are_inverse(epsilon, delta):
    mu = mu_of(epsilon, delta)
    assert log_delta_of(epsilon, mu) == pytest.approx(math.log(delta), rel=1e-10)
    assert epsilon_of(mu, delta) == pytest.approx(epsilon, rel=1e-8)


def test_more_noise_is_more_private():
    mus = np.geomspace(1e-6, 30.0, 60)
    found = np.array([epsilon_of(mu, 1e-6) for mu in mus])
    assert (np.diff(found) >= 0.0).all()
    assert (np.diff(found[found > 0]) > 0.0).all()
    assert found[0] == 0.0  # delta alone is enough
    assert epsilon_of(0.0, 1e-6) == 0.0


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3, 1.0, 699.0])
@pytest.mark.parametrize("delta", [1e-320, 1e-100, 1e-15, 1e-6, 0.5, 0.999])
def test_all_numbers_that_a_publisher_allows(epsilon, delta):
    """With smaller ones of epsilon, delta would lose the digits that it has."""
    mu = mu_of(epsilon, delta)
    expected = log_delta_by_quadrature(epsilon, mu)
    assert math.log(delta) == pytest.approx(expected, abs=1e-3)
    assert epsilon_of(mu, delta) == pytest.approx(epsilon, rel=1e-6)


def test_the_cap_spends_all_of_mu_on_the_publications():
    cap = cap_of(noise=2.0, mu=0.2367, n_publications=49)
    of_one = 2.0 * cap / 2.0
    assert math.sqrt(49 * of_one**2) == pytest.approx(0.2367, rel=1e-14)


@pytest.mark.parametrize(("noise", "n_publications", "delta"), SETTINGS)
def test_an_independent_library_has_the_same_epsilon(noise, n_publications, delta):
    """Of so many Gaussian mechanisms of sensitivity 1, to 1e-6 of epsilon."""
    library = pytest.importorskip("dp_accounting")
    mu = math.sqrt(n_publications) / noise
    expected = library.get_epsilon_gaussian(1.0 / mu, delta)
    assert epsilon_of(mu, delta) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("delta", DELTAS[1:])
@pytest.mark.parametrize("epsilon", EPSILONS[1:])
def test_an_independent_library_has_the_same_noise(epsilon, delta):
    library = pytest.importorskip("dp_accounting")
    expected = library.get_sigma_gaussian(epsilon, delta)
    assert 1.0 / mu_of(epsilon, delta) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("epsilon", "n_publications"), [(0.5, 4), (1.0, 16)])
def test_an_independent_library_composes_publications_in_the_same_way(
    epsilon, n_publications
):
    """By the convolution of their privacy losses, which are rounded up to a grid."""
    distributions = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution")
    noise, delta = 3e-6, 1e-6
    cap = cap_of(noise, mu_of(epsilon, delta), n_publications)
    one = distributions.from_gaussian_mechanism(
        noise, sensitivity=2.0 * cap, value_discretization_interval=1e-5
    )
    composed = one.self_compose(n_publications).get_epsilon_for_delta(delta)
    assert epsilon <= composed + 1e-6
    assert composed <= epsilon + 1e-3
