"""The sorted index against a plain list, through random insertions and removals."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdeltagrad._data.sorted_index import SortedIndex

LOWEST = {
    "float": -np.inf,
    "int": np.iinfo(np.int64).min,
    "str": "",
}


def random_keys(kind, rng, n, n_distinct=40):
    """Keys of which many are equal; strings of different widths."""
    numbers = rng.integers(n_distinct, size=n)
    if kind == "float":
        return (numbers - n_distinct / 2) / 8
    if kind == "int":
        return numbers - n_distinct // 2
    return np.array(["x" * (number % 5) + str(number) for number in numbers], str)


class Model:
    """What the index holds, as a list of (key, storage index)."""

    def __init__(self, keys, indices):
        self.entries = []
        self.kind = keys.dtype.type
        self.insert(keys, indices)

    def insert(self, keys, indices):
        self.entries += zip(keys.tolist(), indices.tolist(), strict=True)

    def strike(self, indices):
        gone = set(indices.tolist())
        self.entries = [entry for entry in self.entries if entry[1] not in gone]

    def find(self, low, high):
        found = [
            (question, index)
            for question, bounds in enumerate(zip(low, high, strict=True))
            for key, index in self.entries
            if bounds[0] <= key <= bounds[1]
        ]
        return sorted(found)

    def some(self, rng, n):
        """Entries chosen at random, as keys and storage indices."""
        n = min(n, len(self.entries))
        chosen = rng.choice(len(self.entries), size=n, replace=False)
        keys = np.array([self.entries[i][0] for i in chosen], self.kind)
        return keys, np.array([self.entries[i][1] for i in chosen], np.int64)


def found(index, low, high):
    question, index = index.find(low, high)
    return list(zip(question.tolist(), index.tolist(), strict=True))


def segments(index):
    return index._segments


def assert_no_trace(index, model, kind):
    """No segment holds a key that no live row of it carries."""
    live = dict(zip((index for _, index in model.entries), model.entries, strict=True))
    for keys, indices in segments(index):
        assert_array_equal(keys, np.sort(keys))
        carried = {live[index][0] for index in indices.tolist() if index >= 0}
        assert set(keys.tolist()) <= carried | {LOWEST[kind]}


@pytest.mark.parametrize("kind", ["float", "int", "str"])
@pytest.mark.parametrize("seed", range(5))
def test_random_edits(kind, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60))
    keys, indices = random_keys(kind, rng, n), np.arange(n)
    index, model, next_index = SortedIndex(keys, indices), Model(keys, indices), n
    for _ in range(40):
        if rng.random() < 0.5:
            n = int(rng.integers(8))
            keys = random_keys(kind, rng, n)
            indices = np.arange(next_index, next_index + n)
            next_index += n
            index.insert(keys, indices)
            model.insert(keys, indices)
        elif model.entries:
            keys, indices = model.some(rng, int(rng.integers(8)))
            index.strike(keys, keys, indices)
            model.strike(indices)
        bounds = np.sort([random_keys(kind, rng, 10), random_keys(kind, rng, 10)], 0)
        assert found(index, *bounds) == model.find(*bounds)
        exactly = random_keys(kind, rng, 10)
        assert found(index, exactly, exactly) == model.find(exactly, exactly)
        assert_no_trace(index, model, kind)


@pytest.mark.parametrize("kind", ["float", "int", "str"])
def test_nothing_is_left_when_all_are_struck(kind):
    rng = np.random.default_rng(0)
    keys, indices = random_keys(kind, rng, 30), np.arange(30)
    index = SortedIndex(keys, indices)
    for part in np.array_split(rng.permutation(30), 7):
        index.strike(keys[part], keys[part], indices[part])
    for segment_keys, segment_indices in segments(index):
        assert set(segment_keys.tolist()) == {LOWEST[kind]}
        assert set(segment_indices.tolist()) == {-1}
    assert found(index, np.sort(keys)[:1], np.sort(keys)[-1:]) == []


def test_a_struck_row_leaves_others_of_its_key():
    index = SortedIndex(np.array([5.0, 5.0, 5.0, 7.0]), np.arange(4))
    index.strike(np.array([5.0]), np.array([5.0]), np.array([1]))
    low = np.array([5.0])
    assert found(index, low, low) == [(0, 0), (0, 2)]


def test_only_the_indices_given_are_struck():
    """Also when a row of another key is among them: it keeps its entry."""
    index = SortedIndex(np.array([1, 2, 3]), np.arange(3))
    index.strike(np.array([1]), np.array([1]), np.array([0, 2]))
    assert found(index, np.array([0]), np.array([9])) == [(0, 1), (0, 2)]


@pytest.mark.parametrize("kind", ["float", "int", "str"])
def test_a_key_that_is_the_lowest_of_all(kind):
    """What struck keys are overwritten with is a key like any other."""
    lowest = np.array([LOWEST[kind]])
    other = random_keys(kind, np.random.default_rng(0), 3)
    index = SortedIndex(np.concatenate([other, lowest]), np.arange(4))
    index.strike(*2 * (np.sort(other)[:1],), np.argsort(other)[:1])
    assert found(index, lowest, lowest) == [(0, 3)]
    index.strike(lowest, lowest, np.array([3]))
    assert found(index, lowest, lowest) == []


def test_both_bounds_are_included():
    index = SortedIndex(np.array([1.0, 2.0, 3.0, 4.0]), np.array([7, 5, 3, 1]))
    low, high = np.array([2.0, 5.0, 1.0]), np.array([3.0, 9.0, 1.0])
    assert found(index, low, high) == [(0, 3), (0, 5), (2, 7)]


def test_no_rows_and_no_questions():
    nothing = np.zeros(0)
    index = SortedIndex(nothing, np.zeros(0, np.int64))
    assert found(index, np.array([0.0]), np.array([1.0])) == []
    index.insert(np.array([0.5]), np.array([3]))
    assert found(index, nothing, nothing) == []
    index.strike(nothing, nothing, np.zeros(0, np.int64))
    assert found(index, np.array([0.0]), np.array([1.0])) == [(0, 3)]


def test_an_entry_is_moved_a_few_times_only():
    n = 2000
    index = SortedIndex(np.zeros(0), np.zeros(0, np.int64))
    keys = np.random.default_rng(0).normal(size=n)
    for number in range(n):
        index.insert(keys[number : number + 1], np.array([number]))
        lengths = [len(segment[0]) for segment in segments(index)]
        assert len(lengths) <= 2 + np.log2(1 + number)
    assert found(index, np.array([-9.0]), np.array([9.0])) == [(0, i) for i in range(n)]


def test_struck_entries_are_dropped_in_time():
    index = SortedIndex(np.arange(100.0), np.arange(100))
    index.strike(*2 * (np.arange(1.0, 100.0),), np.arange(1, 100))
    index.insert(np.arange(60.0), np.arange(100, 160))
    assert sum(len(indices) for _, indices in segments(index)) == 61


def test_strings_wider_than_those_of_the_index():
    index = SortedIndex(np.array(["b", "d"]), np.array([0, 1]))
    low, high = np.array(["apple", "deer"]), np.array(["cat", "deer"])
    assert found(index, low, high) == [(0, 0)]
    index.insert(np.array(["deer"]), np.array([2]))
    assert found(index, low, high) == [(0, 0), (1, 2)]
    index.strike(np.array(["deer"]), np.array(["deer"]), np.array([2]))
    assert found(index, low, high) == [(0, 0)]


def test_what_was_given_is_not_changed():
    keys, indices = np.array([3.0, 1.0, 2.0]), np.arange(3)
    index = SortedIndex(keys, indices)
    index.strike(keys, keys, indices)
    assert_array_equal(keys, [3.0, 1.0, 2.0])
    assert_array_equal(indices, np.arange(3))
