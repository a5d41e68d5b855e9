"""Rows found by what they contain, up to the last bits and no further."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skdeltagrad._content import ContentIndex
from skdeltagrad._roster import GONE, Roster
from skdeltagrad._rows import AbstractRows

STORAGES = [
    (is_sparse, dtype)
    for is_sparse in (False, True)
    for dtype in ("float64", "float32")
]


class Stored:
    """Rows, their roster and their index, and the questions put to them."""

    def __init__(self, X, y=None, weight=None, is_sparse=False):
        self.is_sparse = is_sparse
        n_rows = len(X)
        y = np.zeros(n_rows, np.int64) if y is None else np.asarray(y)
        weight = np.ones(n_rows) if weight is None else np.asarray(weight, float)
        self.rows = AbstractRows.of(self.given(X))
        self.roster = Roster(y, weight)
        self.index = ContentIndex(self.rows, np.arange(n_rows))

    def given(self, X):
        return sparse.csr_matrix(X) if self.is_sparse else np.ascontiguousarray(X)

    def match(self, X, y=None, weight=None):
        y = np.zeros(len(X), np.int64) if y is None else np.asarray(y)
        weight = None if weight is None else np.asarray(weight, float)
        X = self.given(np.asarray(X, self.rows.dtype))
        return self.index.match(self.rows, self.roster, X, y, weight).tolist()

    def count(self, X):
        X = self.given(np.asarray(X, self.rows.dtype))
        return self.index.count(self.rows, self.roster, X).tolist()

    def add(self, X):
        slots = self.rows.append(self.given(X))
        self.roster.append(np.zeros(len(X), np.int64), np.ones(len(X)))
        self.index.insert(self.rows, slots)
        self.roster.attach(slots, self.roster.give_positions(len(X)))

    def remove(self, slots):
        slots = np.asarray(slots)
        self.roster.detach(slots)
        self.index.strike(self.rows, slots)
        self.rows.wipe(slots)
        self.roster.wipe(slots)


@pytest.fixture(
    params=STORAGES, ids=lambda param: f"{'csr' if param[0] else 'dense'}-{param[1]}"
)
def kind(request):
    """Whether rows are sparse, and their dtype."""
    return request.param


def some_rows(n_rows=40, n_features=7, dtype="float64", seed=0):
    """Rows with zeros among their entries, of very different lengths."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    X[rng.random(X.shape) < 0.3] = 0
    return (X * 10.0 ** rng.integers(-3, 4, size=(n_rows, 1))).astype(dtype)


def at_distance(X, ulps, seed=1):
    """Rows moved by so many units in the last place of their length, in float64."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=X.shape)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = np.linalg.norm(X.astype(float), axis=1, keepdims=True)
    return X + ulps * np.finfo(X.dtype).eps * length * direction


def test_each_row_is_found(kind):
    X = some_rows(dtype=kind[1])
    stored = Stored(X, is_sparse=kind[0])
    order = np.random.default_rng(2).permutation(len(X))
    assert stored.match(X[order]) == order.tolist()


@pytest.mark.parametrize("n_features", [1, 2, 50, 999])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_each_row_is_found_alone(n_features, is_sparse):
    """One row is multiplied in another order than many; it is the same row."""
    X = some_rows(n_features=n_features)
    stored = Stored(X, is_sparse=is_sparse)
    # A row of zeros alone has more than one twin.
    for i in np.flatnonzero(X.any(axis=1)):
        assert stored.match(X[[i]]) == [i]


@pytest.mark.parametrize("ulps", [0.1, 10, 900])
def test_rounding_is_forgiven(kind, ulps):
    X = some_rows(dtype=kind[1])
    stored = Stored(X, is_sparse=kind[0])
    assert stored.match(at_distance(X, ulps)) == list(range(len(X)))
    assert stored.count(at_distance(X, ulps)) == [1] * len(X)


@pytest.mark.parametrize("ulps", [1200, 1e4, 1e6])
def test_more_than_rounding_is_not(kind, ulps):
    X = some_rows(dtype=kind[1])
    stored = Stored(X, is_sparse=kind[0])
    assert stored.match(at_distance(X, ulps)) == [GONE] * len(X)
    assert stored.count(at_distance(X, ulps)) == [0] * len(X)


def test_a_row_with_the_same_projection_is_not_the_same_row():
    """The index finds candidates only: they are compared in full."""
    X = some_rows(5, 3)
    stored = Stored(X)
    direction = stored.index._direction.ravel()
    across = np.cross(direction, [1.0, 2.0, 3.0])
    assert stored.match(X + across) == [GONE] * 5
    assert stored.match(X - across) == [GONE] * 5


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_distances_that_overflow_make_no_copies():
    stored = Stored(np.array([[1e200, 0.0], [0.0, 1e200], [1.0, 2.0]]))
    assert stored.count(np.array([[1e200, 1e200], [1.0, 2.0]])) == [0, 1]


def test_a_row_of_zeros(kind):
    X = some_rows(6, dtype=kind[1])
    X[[2, 4]] = 0
    stored = Stored(X, is_sparse=kind[0])
    zeros = np.zeros((3, X.shape[1]))
    assert sorted(stored.match(zeros)) == [GONE, 2, 4]
    assert stored.count(zeros[:1]) == [2]


def test_copies_are_used_up_one_by_one(kind):
    X = some_rows(6, dtype=kind[1])
    X = np.concatenate([X, X[[1, 1, 3]]])
    stored = Stored(X, is_sparse=kind[0])
    assert sorted(stored.match(X[[1, 1, 1, 1]])) == [GONE, 1, 6, 7]
    assert sorted(stored.match(X[[3, 1, 3, 3]])[0::2] + [9]) == sorted(
        stored.match(X[[3, 3]]) + [9]
    )
    assert stored.count(X[[0, 1, 3]]) == [1, 3, 2]


def test_copies_that_differ_in_the_last_bits(kind):
    """Their windows overlap, and yet no stored row is given out twice."""
    one = some_rows(1, dtype=kind[1])
    X = np.repeat(one, 30, axis=0)
    stored = Stored(X, is_sparse=kind[0])
    request = at_distance(X, 100)
    assert sorted(stored.match(request)) == list(range(30))
    assert stored.match(request[:1].repeat(31, axis=0)).count(GONE) == 1
    assert stored.count(request[:2]) == [30, 30]


def test_many_copies():
    """More than are compared at a time."""
    X = np.ones((3000, 2))
    stored = Stored(X, y=np.arange(3000) % 3)
    found = stored.match(X[:1001], y=np.full(1001, 2))
    assert sorted(found) == [GONE, *range(2, 3000, 3)]


def test_the_nearest_row_comes_first(kind):
    X = some_rows(1, dtype=kind[1])
    X = np.concatenate([at_distance(X, ulps) for ulps in (300, 0, 500, 100)])
    stored = Stored(X.astype(kind[1]), is_sparse=kind[0])
    assert stored.match(X[[1, 1, 1, 1]]) == [1, 3, 0, 2]
    assert stored.match(X[[2]]) == [2]


def test_rows_of_another_target_are_other_rows():
    X = some_rows(4)
    X = np.concatenate([X, X])
    stored = Stored(X, y=[0, 1, 2, 0, 1, 1, 0, 2])
    assert stored.match(X[[0, 0, 0]], y=[1, 0, 2]) == [4, 0, GONE]
    assert stored.match(X[:4], y=[1, 1, 0, 2]) == [4, 1, 6, 7]
    assert stored.match(X[[1, 1, 1]], y=[1, 1, 1]) in ([1, 5, GONE], [5, 1, GONE])
    assert stored.count(X[:1]) == [2]


def test_several_targets_match_up_to_rounding():
    X = some_rows(2)
    X = np.concatenate([X, X])
    y = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 5.0], [0.0, 4.0]])
    stored = Stored(X, y=y)
    assert stored.match(X[[0, 0, 1, 1]], y=y[[2, 0, 3, 1]]) == [2, 0, 3, 1]
    near = y * (1 + 1e-14)
    assert stored.match(X, y=near) == [0, 1, 2, 3]
    assert stored.match(X, y=y + 1e-9) == [GONE] * 4


def test_weights_matter_where_they_are_given():
    X = np.repeat(some_rows(1), 3, axis=0)
    stored = Stored(X, weight=[1.0, 0.3, 2.0])
    assert stored.match(X[:2], weight=[2.0, 0.1 + 0.2]) == [2, 1]
    assert stored.match(X[:2], weight=[2.0, 2.0]) == [2, GONE]
    assert stored.match(X[:1], weight=[1.5]) == [GONE]
    assert sorted(stored.match(X)) == [0, 1, 2]


def test_rows_that_left_are_not_found(kind):
    X = some_rows(30, dtype=kind[1])
    stored = Stored(X, is_sparse=kind[0])
    stored.remove([3, 4, 17])
    expected = list(range(30))
    for slot in (3, 4, 17):
        expected[slot] = GONE
    assert stored.match(X) == expected
    assert stored.count(X) == [int(slot != GONE) for slot in expected]


def test_rows_that_are_leaving_are_not_found():
    """Detached, but not wiped yet: the index has them still."""
    X = some_rows(5)
    stored = Stored(X)
    stored.roster.detach(np.array([2]))
    assert stored.match(X) == [0, 1, GONE, 3, 4]
    assert stored.count(X) == [1, 1, 0, 1, 1]


def test_rows_that_joined_are_found(kind):
    X = some_rows(30, dtype=kind[1])
    more = some_rows(9, dtype=kind[1], seed=5)
    stored = Stored(X, is_sparse=kind[0])
    stored.add(more)
    stored.add(more[:2])
    assert stored.match(more[2:]) == list(range(32, 39))
    assert stored.count(more) == [2, 2] + [1] * 7


@pytest.mark.parametrize("n_features", [3, 16, 17, 200])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_rows_that_left_are_no_key_of_the_index(is_sparse, n_features, monkeypatch):
    """A projection of a removed row is something about it, too.

    Rows are struck in other company than they were indexed in, and on some machines
    their projections then differ in the last bits.
    """
    X = some_rows(43, n_features)
    stored = Stored(X, is_sparse=is_sparse)
    keys = stored.index._project(stored.rows, np.arange(43))
    project = stored.index._project
    monkeypatch.setattr(
        stored.index, "_project", lambda *of: project(*of) * (1 + 2**-51)
    )
    gone = np.array([5, 41, 42, 8, 20])
    stored.remove(gone[:1])
    stored.remove(gone[1:])
    left = np.concatenate([segment[0] for segment in stored.index._index._segments])
    assert not np.isin(keys[gone], left[left != -np.inf]).any()
    assert np.isin(np.delete(keys, gone), left).all()


def test_no_rows_in_the_request(kind):
    stored = Stored(some_rows(dtype=kind[1]), is_sparse=kind[0])
    nobody = np.zeros((0, 7))
    assert stored.match(nobody) == []
    assert stored.count(nobody) == []


def test_the_index_is_the_same_everywhere():
    """Frozen: NumPy may change the streams of its generators, not of this one."""
    stored = Stored(np.eye(3))
    expected = np.random.RandomState(0).standard_normal(3)
    assert_array_equal(stored.index._direction, expected[np.newaxis])
