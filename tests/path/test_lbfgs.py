"""The compact quasi-Hessian against the dense BFGS recursion that it stands for."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdeltagrad._path.lbfgs import CompactLBFGS

N_COEF = 8


def pairs(n_pairs, n_coef=N_COEF, seed=0):
    """Changes of the iterate and of the gradient, each time by another Hessian."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_pairs):
        root = rng.normal(size=(n_coef, n_coef)) / np.sqrt(n_coef)
        change = rng.normal(size=n_coef)
        found.append((change, root @ root.T @ change + 0.3 * change))
    return found


def dense_bfgs(kept):
    """B from the pairs kept, oldest first, started from sigma I of the newest."""
    s, y = kept[-1]
    B = (s @ y) / (s @ s) * np.eye(len(s))
    for s, y in kept:
        Bs = B @ s
        B = B - np.outer(Bs, Bs) / (s @ Bs) + np.outer(y, y) / (y @ s)
    return B


def as_matrix(quasi_hessian, n_coef=N_COEF):
    columns = [product(quasi_hessian, unit) for unit in np.eye(n_coef)]
    return np.column_stack(columns)


def product(quasi_hessian, drift):
    zero, found = np.zeros_like(drift), np.full_like(drift, np.nan)
    quasi_hessian.predict(drift, zero, zero, 1.0, found)
    return found


@pytest.mark.parametrize("n_pairs", range(1, 13))
@pytest.mark.parametrize("history_size", range(1, 6))
def test_equals_the_dense_recursion_at_every_ring_offset(history_size, n_pairs):
    quasi_hessian = CompactLBFGS(history_size, N_COEF)
    given = pairs(n_pairs)
    for pair in given:
        assert quasi_hessian.update(*pair)
    assert quasi_hessian.n_pairs == min(n_pairs, history_size)
    expected = dense_bfgs(given[-history_size:])
    assert_allclose(as_matrix(quasi_hessian), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("history_size", range(1, 6))
@pytest.mark.parametrize("n_coef", [1, 2, 3])
def test_more_pairs_than_coefficients(history_size, n_coef):
    quasi_hessian = CompactLBFGS(history_size, n_coef)
    given = pairs(7, n_coef)
    for pair in given:
        assert quasi_hessian.update(*pair)
    expected = dense_bfgs(given[-history_size:])
    assert_allclose(as_matrix(quasi_hessian, n_coef), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("history_size", [1, 2, 5])
def test_the_newest_secant_is_met(history_size):
    quasi_hessian = CompactLBFGS(history_size, N_COEF)
    for change, response in pairs(6):
        quasi_hessian.update(change, response)
        found = product(quasi_hessian, change)
        assert_allclose(found, response, rtol=1e-9, atol=1e-9)


def test_symmetric_and_positive():
    quasi_hessian = CompactLBFGS(4, N_COEF)
    for pair in pairs(9):
        quasi_hessian.update(*pair)
        B = as_matrix(quasi_hessian)
        assert_allclose(B, B.T, rtol=1e-9, atol=1e-9)
        assert np.linalg.eigvalsh(B)[0] > 0


def test_exact_on_a_quadratic_in_as_many_directions():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(N_COEF, N_COEF))
    hessian = root @ root.T + np.eye(N_COEF)
    # Conjugate directions: then BFGS is exact in all of them.
    directions = np.linalg.eigh(hessian)[1].T
    quasi_hessian = CompactLBFGS(N_COEF, N_COEF)
    for direction in directions:
        quasi_hessian.update(direction, hessian @ direction)
    assert_allclose(as_matrix(quasi_hessian), hessian, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_pairs", [0, 1, 5])
@pytest.mark.parametrize("scale", [0.0, 0.25, 3.0])
def test_predicts_the_base_and_the_scaled_product(scale, n_pairs):
    rng = np.random.default_rng(2)
    quasi_hessian = CompactLBFGS(3, N_COEF)
    for pair in pairs(n_pairs):
        quasi_hessian.update(*pair)
    iterate, anchor, base = given = rng.normal(size=(3, N_COEF))
    before = given.copy()
    predicted = np.full(N_COEF, np.nan)
    quasi_hessian.predict(iterate, anchor, base, scale, predicted)
    B = as_matrix(quasi_hessian)  # without any pair: zero
    assert B.any() == (n_pairs > 0)
    expected = base + scale * B @ (iterate - anchor)
    assert_allclose(predicted, expected, rtol=1e-10, atol=1e-10)
    assert_array_equal(given, before)


@pytest.mark.parametrize("size", [1e-8, 1e8])
def test_pairs_of_any_size(size):
    """The drift of one row in a million is small, and so are its pairs."""
    quasi_hessian = CompactLBFGS(3, N_COEF)
    given = [(size * change, 10 * size * response) for change, response in pairs(5)]
    for pair in given:
        assert quasi_hessian.update(*pair)
    expected = dense_bfgs(given[-3:])
    assert_allclose(as_matrix(quasi_hessian), expected, rtol=1e-8, atol=1e-8)


def test_pairs_that_are_nearly_parallel():
    """So they are along a path: each drift is close to the one before it."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(N_COEF, N_COEF))
    hessian = root @ root.T + np.eye(N_COEF)
    change = rng.normal(size=N_COEF)
    quasi_hessian, given = CompactLBFGS(4, N_COEF), []
    for _ in range(10):
        change = change + 1e-4 * rng.normal(size=N_COEF)
        given.append((change, hessian @ change))
        assert quasi_hessian.update(*given[-1])
    expected = dense_bfgs(given[-4:])
    assert_allclose(as_matrix(quasi_hessian), expected, rtol=1e-4, atol=1e-4)


def test_the_same_pair_again():
    quasi_hessian, (pair,) = CompactLBFGS(3, N_COEF), pairs(1)
    for _ in range(5):
        assert quasi_hessian.update(*pair)
    assert_allclose(as_matrix(quasi_hessian), dense_bfgs([pair]), rtol=1e-9, atol=1e-9)


def refused_pairs():
    change, response = pairs(1, seed=9)[0]
    across = np.zeros(N_COEF)
    across[:2] = response[1], -response[0]
    bad = change.copy()
    bad[3] = np.nan
    endless = change.copy()
    endless[3] = np.inf
    zero = np.zeros(N_COEF)
    return {
        "negative": (change, -response),
        "slightly negative": (across - 1e-6 * response, response),
        "none": (across, response),
        "rounding": (across + 1e-12 * response, response),
        "no change": (zero, response),
        "no response": (change, zero),
        "nothing": (zero, zero),
        "nan change": (bad, response),
        "nan response": (change, bad),
        "infinite change": (endless, response),
        "infinite response": (change, endless),
    }


@pytest.mark.parametrize("n_pairs", [0, 1, 3, 7])
@pytest.mark.parametrize("name", refused_pairs())
def test_refuses_what_has_no_clearly_positive_curvature(name, n_pairs):
    quasi_hessian = CompactLBFGS(3, N_COEF)
    for pair in pairs(n_pairs):
        quasi_hessian.update(*pair)
    before = as_matrix(quasi_hessian) if n_pairs else None

    assert quasi_hessian.update(*refused_pairs()[name]) is False

    assert quasi_hessian.n_pairs == min(n_pairs, 3)
    if n_pairs:
        assert_array_equal(as_matrix(quasi_hessian), before)
    # The next pair is taken as if nothing had been there.
    given = pairs(n_pairs + 1)
    assert quasi_hessian.update(*given[-1]) is True
    expected = dense_bfgs(given[-3:])
    assert_allclose(as_matrix(quasi_hessian), expected, rtol=1e-9, atol=1e-9)


def test_takes_pairs_of_small_but_clear_curvature():
    """Condition number 1e12: an honest pair of an ill-conditioned function."""
    change = np.zeros(N_COEF)
    change[:2] = 1.0, 1e-6
    assert CompactLBFGS(2, N_COEF).update(change, change * [1e-6, *[1e6] * 7])


def test_no_pairs_at_first():
    assert CompactLBFGS(4, N_COEF).n_pairs == 0


def test_what_was_given_may_be_overwritten():
    quasi_hessian, given = CompactLBFGS(2, N_COEF), pairs(2)
    for change, response in given:
        change, response = change.copy(), response.copy()
        quasi_hessian.update(change, response)
        change[:] = response[:] = np.nan
    expected = dense_bfgs(given)
    assert_allclose(as_matrix(quasi_hessian), expected, rtol=1e-9, atol=1e-9)
