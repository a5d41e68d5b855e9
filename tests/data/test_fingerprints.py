"""Fingerprints: the same ones for equal rows, others for other rows."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skdeltagrad._data import fingerprints as _fingerprints
from skdeltagrad._data.fingerprints import EQUAL_ULPS, Fingerprints
from skdeltagrad._data.storage import store

KEY = bytes(range(16))
STORAGES = [
    (is_sparse, dtype)
    for is_sparse in (False, True)
    for dtype in ("float64", "float32")
]


def some_rows(n_rows=300, n_features=7, seed=0):
    """Rows with zeros among their entries, of very different lengths."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    X[rng.random(X.shape) < 0.3] = 0
    return X * 10.0 ** rng.integers(-3, 4, size=(n_rows, 1))


class Case:
    """Rows of a storage, with class labels or targets, and weights."""

    def __init__(self, storage, X, y=None, weight=None):
        self.is_sparse, self.dtype = storage
        X = X.astype(self.dtype)
        self.rows = store(sparse.csr_matrix(X) if self.is_sparse else X)
        self.y = np.arange(len(X)) % 3 if y is None else y
        self.weight = np.ones(len(X)) if weight is None else weight
        self.fingerprints = Fingerprints(KEY, self.rows, self.y)

    def of(self, indices=None):
        indices = np.arange(len(self.rows)) if indices is None else np.asarray(indices)
        return self.fingerprints.of(self.rows, indices, self.y, self.weight)

    def is_possible(self, wanted):
        """Whether each row may have a fingerprint that is wanted of it."""
        found = np.zeros(len(wanted), bool)
        indices = np.arange(len(self.rows))
        for which, values in self.fingerprints.possible(
            self.rows, indices, self.y, self.weight
        ):
            found[which[values == wanted[which]]] = True
        return found


def moved(X, distance, seed=1):
    """Rows moved by so much of their length, in float64."""
    direction = np.random.default_rng(seed).normal(size=X.shape)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return X + distance * np.linalg.norm(X, axis=1, keepdims=True) * direction


@pytest.fixture(params=STORAGES, ids=lambda s: f"{'csr' if s[0] else 'dense'}-{s[1]}")
def storage(request):
    return request.param


def test_rows_in_any_company_may_have_theirs(storage):
    """One row is multiplied in another order than many; it is the same row."""
    X = some_rows()
    everyone = Case(storage, X).of()
    assert len(np.unique(everyone)) >= len(X) - 2  # short rows of zeros may be equal
    for i in range(40):
        alone = Case(storage, X[[i]], y=np.array([i % 3]))
        assert alone.is_possible(everyone[[i]]).all()


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_rounding_is_forgiven(storage, part):
    X = some_rows()
    X = X.astype(storage[1])
    there = Case(storage, X).of()
    near = moved(X.astype(float), part * EQUAL_ULPS * np.finfo(storage[1]).eps)
    assert Case(storage, near).is_possible(there).all()


def test_rounding_of_targets_and_weights_is_forgiven():
    X, rng = some_rows(), np.random.default_rng(4)
    y, weight = rng.normal(size=(len(X), 3)), rng.uniform(0.1, 9.0, len(X))
    there = Case(STORAGES[0], X, y, weight).of()
    near = Case(STORAGES[0], X, y * (1 - 1e-13), weight * (1 + 1e-13))
    assert near.is_possible(there).all()


def test_a_length_near_a_power_of_two_is_no_edge(storage):
    X = moved(np.zeros((200, 5)) + 1.0, 0.5)
    X *= 4.0 / np.linalg.norm(X, axis=1, keepdims=True)
    X = X.astype(storage[1])
    there = Case(storage, X).of()
    eps = np.finfo(storage[1]).eps
    for factor in (1 - 900 * eps, 1 - 2 * eps, 1 + 2 * eps, 1 + 900 * eps):
        assert Case(storage, factor * X).is_possible(there).all()


@pytest.mark.parametrize("times", [10, 1e3, 1e6])
def test_other_rows_have_others(storage, times):
    X = some_rows().astype(storage[1]).astype(float)
    X = X[np.count_nonzero(X, axis=1) > 1]
    there = Case(storage, X)
    distance = times * there.fingerprints.resolution
    assert not Case(storage, moved(X, distance)).is_possible(there.of()).any()


def test_other_targets_and_weights_are_other_rows():
    X = some_rows()
    there = Case(STORAGES[0], X).of()
    y = np.arange(len(X)) % 3
    assert not Case(STORAGES[0], X, y + 1).is_possible(there).any()
    assert not Case(STORAGES[0], X, y - 1).is_possible(there).any()
    assert not Case(STORAGES[0], X, y, np.full(len(X), 2.0)).is_possible(there).any()
    targets = np.random.default_rng(0).normal(size=(len(X), 2))
    there = Case(STORAGES[0], X, targets).of()
    other = Case(STORAGES[0], X, targets + [[0.0, 1e-6]])
    assert not other.is_possible(there).any()


def test_another_key_makes_other_fingerprints(storage):
    case = Case(storage, some_rows())
    before = case.of()
    case.fingerprints = Fingerprints(KEY[::-1], case.rows, case.y)
    assert not np.isin(case.of(), before).any()


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_reason_have_one_too(storage):
    huge = 1e38 if storage[1] == "float32" else 1e300
    X = np.array([[0.0, 0.0], [huge, -huge], [1e-44, 0.0], [huge, 1.0], [0.0, -0.0]])
    case = Case(storage, X, y=np.zeros(5, np.int64))
    fingerprints = case.of()
    assert case.is_possible(fingerprints).all()
    assert fingerprints[0] == fingerprints[4]
    weightless = Case(storage, X, np.zeros((5, 2)), np.zeros(5))
    assert weightless.is_possible(weightless.of()).all()


def test_blocks_make_no_difference(monkeypatch):
    case = Case(STORAGES[0], some_rows())
    expected = case.of()
    monkeypatch.setattr(_fingerprints, "_AT_ONCE", 16)
    monkeypatch.setattr(_fingerprints, "_SUSPECTS_AT_ONCE", 7)
    assert case.is_possible(expected).all()
    assert_array_equal(case.of(range(100, 116)), expected[100:116])


def test_collisions_are_as_rare_as_promised(monkeypatch):
    """With 20 bits, so that there are some."""
    monkeypatch.setattr(_fingerprints, "_BITS", 20)
    n_rows = 20_000
    there = Case(STORAGES[0], some_rows(n_rows))
    kept = np.sort(there.of())
    others = Case(STORAGES[0], some_rows(n_rows, seed=8))
    passed = np.zeros(n_rows, bool)
    n_cells = 0
    for which, values in others.fingerprints.possible(
        others.rows, np.arange(n_rows), others.y, others.weight
    ):
        passed[which[np.isin(values, kept)]] = True
        n_cells += len(which)
    expected = 1 - np.exp(-n_cells / n_rows * n_rows / 2**20)
    assert passed.mean() == pytest.approx(expected, rel=0.2)
    n_coordinates = others.fingerprints.n_coordinates
    assert n_coordinates == 5
    # The weight of all rows is the same one, and near an edge for all or for none.
    assert n_cells / n_rows <= 2 * 1.25 ** (n_coordinates - 1)
    rate = others.fingerprints.error_rate(n_rows)
    assert rate == pytest.approx(n_rows * 1.25**5 / 2**20)


def test_the_fingerprints_are_the_same_everywhere():
    """Dumps hold them: neither NumPy nor a machine may change them."""
    X = np.arange(12.0).reshape(4, 3)
    case = Case(STORAGES[0], X, np.arange(4))
    expected = [
        566345165592,
        828246016992,
        695387004448,
        638130476706,
    ]
    assert case.is_possible(np.array(expected, np.uint64)).all()
