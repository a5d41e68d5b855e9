"""Rows found by what they contain, up to the last bits and no further."""

import json
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skdeltagrad._data import content_index
from skdeltagrad._data.content_index import ContentIndex
from skdeltagrad._data.row_table import GONE, RowTable
from skdeltagrad._data.storage import store

STORAGES = [
    (is_sparse, dtype)
    for is_sparse in (False, True)
    for dtype in ("float64", "float32")
]


class Stored:
    """Rows, their row table and their index, and the questions put to them."""

    def __init__(self, X, y=None, weight=None, is_sparse=False):
        self.is_sparse = is_sparse
        n_rows = len(X)
        y = np.zeros(n_rows, np.int64) if y is None else np.asarray(y)
        weight = np.ones(n_rows) if weight is None else np.asarray(weight, float)
        self.rows = store(self.given(X))
        self.table = RowTable(y, weight)
        self.index = ContentIndex(self.rows, np.arange(n_rows))

    def given(self, X):
        return sparse.csr_matrix(X) if self.is_sparse else np.ascontiguousarray(X)

    def match(self, X, y=None, weight=None):
        y = np.zeros(len(X), np.int64) if y is None else np.asarray(y)
        weight = None if weight is None else np.asarray(weight, float)
        X = self.given(np.asarray(X, self.rows.dtype))
        return self.index.match(self.rows, self.table, X, y, weight).tolist()

    def count(self, X):
        X = self.given(np.asarray(X, self.rows.dtype))
        return self.index.count(self.rows, self.table, X).tolist()

    def add(self, X):
        indices = self.rows.append(self.given(X))
        self.table.append(np.zeros(len(X), np.int64), np.ones(len(X)))
        self.index.insert(self.rows, indices)
        self.table.attach(indices, self.table.give_positions(len(X)))

    def remove(self, indices):
        indices = np.asarray(indices)
        self.table.detach(indices)
        self.index.strike(self.rows, indices)
        self.rows.wipe(indices)
        self.table.wipe(indices)


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
    for index in (3, 4, 17):
        expected[index] = GONE
    assert stored.match(X) == expected
    assert stored.count(X) == [int(index != GONE) for index in expected]


def test_rows_that_are_leaving_are_not_found():
    """Detached, but not wiped yet: the index has them still."""
    X = some_rows(5)
    stored = Stored(X)
    stored.table.detach(np.array([2]))
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


def test_nobody_knows_the_direction():
    """It was `RandomState(0)`; it is another one in every process now."""
    stored, again = Stored(np.eye(50)), Stored(np.eye(50))
    assert_array_equal(stored.index._direction, again.index._direction)
    known = np.random.RandomState(0).standard_normal(50)
    direction = stored.index._direction.ravel()
    cosine = known @ direction / np.linalg.norm(known) / np.linalg.norm(direction)
    assert abs(cosine) < 0.9
    script = (
        "import numpy as np\n"
        "from skdeltagrad._data.content_index import ContentIndex\n"
        "from skdeltagrad._data.storage import store\n"
        "rows = store(np.eye(50))\n"
        "print(ContentIndex(rows, np.arange(50))._direction[0, :5].tolist())"
    )
    command = [sys.executable, "-c", script]
    other = subprocess.run(command, capture_output=True, check=True, text=True)
    assert json.loads(other.stdout) != direction[:5].tolist()


class Counted:
    """Stored rows that count how many of them are read."""

    def __init__(self, stored):
        self.n_read, self._read = 0, stored.rows.read
        stored.rows.read = self

    def __call__(self, indices):
        self.n_read += len(indices)
        return self._read(indices)


def test_rows_made_for_the_direction_of_before_are_no_candidates(kind):
    """Each was compared with each: they differ, and had the same projection."""
    rng = np.random.default_rng(0)
    known = np.random.RandomState(0).standard_normal(30)
    X = rng.normal(size=(500, 30))
    X -= np.outer((X @ known - 1.0) / (known @ known), known)
    X = X.astype(kind[1])
    stored = Stored(X, is_sparse=kind[0])
    counted = Counted(stored)
    assert stored.match(X) == list(range(500))
    assert counted.n_read <= 1000
    others = X.astype(float)
    others[:, 0] += known[1]
    others[:, 1] -= known[0]
    counted.n_read = 0
    assert stored.match(others) == [GONE] * 500
    # In single precision more rows are in a window.
    assert counted.n_read <= (20_000 if kind[1] == "float32" else 500)


COPIES = {
    "copies": lambda X, y: (X, y * 0),
    "copies of other targets": lambda X, y: (X, y),
    "copies that are rounded otherwise": lambda X, y: (at_distance(X, 50), y * 0),
    "copies of other targets that are": lambda X, y: (at_distance(X, 50), y),
    "copies of targets that are": lambda X, y: (X, y * (1 + 1e-14)),
    "one row": lambda X, y: (X[:1], y[:1]),
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", COPIES)
def test_many_copies_cost_no_more_than_there_are_rows(name, several, kind):
    n_rows = 1500
    X = np.repeat(some_rows(1, 5, dtype=kind[1]), n_rows, axis=0)
    y = np.random.default_rng(0).permutation(n_rows)
    if several:
        y = np.column_stack([y + 0.5, np.ones(n_rows)])
    asked, targets = COPIES[name](X, y)
    if not several:
        targets = np.rint(targets).astype(np.int64)
    same = name in ("copies", "copies that are rounded otherwise")
    stored = Stored(X, y=y * 0 if same else y, is_sparse=kind[0])
    counted = Counted(stored)
    found = np.array(stored.match(asked, y=targets))
    assert sorted(found) == (list(range(n_rows)) if len(asked) > 1 else [found[0]])
    assert same or (y[found] == np.rint(targets * 2) / 2).all()
    # A row that is not the same to the bit looks for the nearest of 64.
    n_compared = 2 if name in ("copies", "copies of other targets", "one row") else 130
    assert counted.n_read <= n_compared * n_rows


@pytest.mark.parametrize("asked_for", ["the same", "rounded otherwise"])
def test_what_is_found_does_not_depend_on_the_direction(asked_for, kind, monkeypatch):
    rng = np.random.default_rng(3)
    X = np.repeat(some_rows(6, dtype=kind[1]), 5, axis=0)
    X = at_distance(X, rng.uniform(0, 900, size=(30, 1)), seed=4).astype(kind[1])
    X = np.vstack([X, X])
    y = rng.integers(0, 2, len(X))
    picks = rng.integers(0, len(X), 50)
    asked = X[picks]
    if asked_for != "the same":
        asked = at_distance(asked, rng.uniform(0, 900, size=(50, 1)), seed=5)
    found = []
    for seed in range(8):
        monkeypatch.setattr(content_index, "_SECRET", np.array([seed], np.uint32))
        stored = Stored(X, y=y, is_sparse=kind[0])
        found.append(stored.match(asked, y=y[picks]))
    assert found == found[:1] * 8
    assert GONE in found[0]  # several ask for the same row


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_rows_whose_squares_overflow_are_compared_with_few(kind):
    huge = 3e38 if kind[1] == "float32" else 1e200
    X = np.vstack([some_rows(500, 3, dtype=kind[1]), np.full((1, 3), huge)])
    X = X.astype(kind[1])
    stored = Stored(X, is_sparse=kind[0])
    counted = Counted(stored)
    assert stored.match(X[[500]]) == [500]
    assert stored.match(X[[500]] * np.array([1, 1, 0.5], kind[1])) == [GONE]
    assert counted.n_read <= 10


def test_rows_whose_squares_underflow():
    X = 1e-200 * some_rows(20)
    stored = Stored(X)
    assert stored.match(X) == list(range(20))
    assert stored.match(at_distance(X, 900)) == list(range(20))
