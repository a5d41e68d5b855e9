"""Arrays that grow: nothing is lost, and nothing is left behind."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdeltagrad._data import growing_array
from skdeltagrad._data.growing_array import GrowingArray, is_mapped

DTYPES = ["float64", "float32", "int64", "<U5"]


def some_values(n, dtype="float64", n_columns=None, seed=0):
    shape = (n,) if n_columns is None else (n, n_columns)
    return np.random.default_rng(seed).integers(1, 1000, size=shape).astype(dtype)


def spare(array):
    """What lies behind the part in use."""
    return array._store[len(array) :]


def as_loaded(values):
    """A growing array as joblib loads it: around an array that it did not make."""
    array = object.__new__(GrowingArray)
    array.__setstate__({"values": values})
    return array


def mapped(path, values, mode="r+"):
    np.save(path, values)
    return np.load(path, mmap_mode=mode)


@pytest.mark.parametrize("n_columns", [None, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 9])
def test_values_are_copied(n, dtype, n_columns):
    values = some_values(n, dtype, n_columns)
    array = GrowingArray(values)
    assert len(array) == n
    assert array.values.dtype == dtype
    assert array.values.flags.c_contiguous
    assert_array_equal(array.values, values)
    assert not np.shares_memory(array.values, values)


def test_values_become_c_ordered():
    values = np.asfortranarray(some_values(4, n_columns=3))
    array = GrowingArray(values)
    assert array.values.flags.c_contiguous
    assert_array_equal(array.values, values)


@pytest.mark.parametrize("n_columns", [None, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_appending_many_times(dtype, n_columns):
    rng = np.random.default_rng(1)
    expected = some_values(5, dtype, n_columns)
    array = GrowingArray(expected)
    for seed, n in enumerate(rng.integers(6, size=40)):
        more = some_values(n, dtype, n_columns, seed)
        array.append(more)
        expected = np.concatenate([expected, more])
        assert len(array) == len(expected)
        assert_array_equal(array.values, expected)
        assert not np.any(spare(array) != np.zeros((), dtype))


@pytest.mark.parametrize("n_before", [0, 1, 100])
def test_appending_rarely_moves_the_array(n_before, monkeypatch):
    moves = []
    arrive = GrowingArray._arrive

    def counted(self):
        if self._next is not None:
            moves.append(len(self._next))
        arrive(self)

    array = GrowingArray(some_values(n_before))
    monkeypatch.setattr(GrowingArray, "_arrive", counted)
    for value in range(2000):
        array.append([value])
    assert len(moves) < 25
    assert_array_equal(array.values[n_before:], np.arange(2000))


def test_a_move_that_is_interrupted_anywhere(monkeypatch):
    """Whatever is asked of the array next finishes it."""
    monkeypatch.setattr(growing_array, "_BLOCK_BYTES", 3 * 8)
    expected, more = some_values(12), some_values(30, seed=1)
    interrupts = 0
    for at_line in range(1, 500):
        array = GrowingArray(expected)
        array.append(more[:1])
        left = at_line

        def trace(frame, event, _):
            nonlocal left
            if frame.f_code.co_filename != growing_array.__file__:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return trace

        try:
            sys.settrace(trace)
            array.append(more)
        except KeyboardInterrupt:
            interrupts += 1
        finally:
            sys.settrace(None)
        n = len(array)
        assert n in (13, 43)
        if at_line % 2:
            array.append(more)
            assert_array_equal(array.values[n:], more)
        assert_array_equal(array.values[:12], expected)
        assert_array_equal(array.values[12:n], [more[0], *more][: n - 12])
        array.truncate(13)
        assert_array_equal(array.values, [*expected, more[0]])
        assert not spare(array).any()
        assert "_next" not in vars(array)
        if left > 0:
            break
    assert interrupts > 20


@pytest.mark.parametrize("loaded", [False, True])
def test_a_move_while_a_view_is_in_use(loaded):
    expected, more = some_values(12), some_values(30, seed=1)
    array = GrowingArray(expected)
    if loaded:  # its memory is another array's
        array = as_loaded(np.concatenate([expected, expected])[:12])
    view = array.values
    array.append(more)
    assert_array_equal(view, expected)
    assert_array_equal(array.values, np.concatenate([expected, more]))


@pytest.mark.skipif(sys.platform != "linux", reason="reads and resets a peak in /proc")
def test_growing_takes_no_second_copy():
    def status(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(x for x in lines if x.startswith(name)).split()[1])

    array = GrowingArray(np.ones((100_000, 100)))
    more = np.ones((26_000, 100))
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak cannot be reset here")
    before = status("VmRSS")
    array.append(more)
    grown = status("VmHWM") - before
    assert grown < more.nbytes + 3 * growing_array._BLOCK_BYTES
    array.truncate(10_000)
    array.give_back()
    assert status("VmRSS") < before - 50 * 2**20
    assert (array.values == 1.0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 3, 7, 9])
def test_truncating_leaves_zeros(size, dtype):
    values = some_values(7, dtype)
    array = GrowingArray(values)
    array.append(values[:2])
    array.truncate(size)
    assert len(array) == size
    assert_array_equal(array.values, np.concatenate([values, values[:2]])[:size])
    assert not np.any(spare(array) != np.zeros((), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_truncating_what_was_appended_restores_every_bit(dtype):
    array = GrowingArray(some_values(7, dtype))
    before = array.values.tobytes()
    array.append(some_values(50, dtype, seed=1))
    array.truncate(7)
    assert array.values.tobytes() == before


@pytest.mark.parametrize(
    ("before", "more", "dtype"),
    [
        (["ab", "c"], ["defgh"], "<U5"),
        (["abcde"], ["f"], "<U5"),
        ([""], ["abc"], "<U3"),
        ([1.0, 2.0], [3], "float64"),
    ],
)
def test_longer_strings_are_kept_whole(before, more, dtype):
    """Also where there is room enough for as many entries."""
    array = GrowingArray(np.array(before))
    array.append(np.array([*more] * 3))
    array.truncate(len(before))
    array.append(np.array(more))
    assert array.values.dtype == dtype
    assert_array_equal(array.values, [*before, *more])


def test_longer_strings_where_there_is_room():
    array = GrowingArray(np.array(["a"] * 8))
    array.append(np.array(["b"]))
    assert len(spare(array)) >= 1
    array.append(np.array(["longer"]))
    assert_array_equal(array.values, ["a"] * 8 + ["b", "longer"])


def test_a_single_row_may_be_given_as_a_list():
    array = GrowingArray(np.zeros((2, 3)))
    array.append([[1, 2, 3]])
    assert_array_equal(array.values[-1], [1, 2, 3])
    assert array.values.dtype == float


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_mapped_file_is_copied_and_not_written_to(tmp_path, mode):
    values = some_values(6, n_columns=2)
    array = as_loaded(mapped(tmp_path / "values.npy", values, mode))
    assert is_mapped(array.values)

    array.into_memory()

    assert not is_mapped(array.values)
    assert_array_equal(array.values, values)
    array.values[:] = 0
    assert_array_equal(np.load(tmp_path / "values.npy"), values)


def test_a_read_only_array_is_copied():
    values = some_values(6)
    values.flags.writeable = False
    array = as_loaded(values)
    array.into_memory()
    array.values[:] = 0
    assert values.all()


def test_what_is_in_memory_is_not_copied():
    array = GrowingArray(some_values(6))
    store = array._store
    array.into_memory()
    assert array._store is store


def test_a_mapped_file_can_be_appended_to_once_in_memory(tmp_path):
    values = some_values(6)
    array = as_loaded(mapped(tmp_path / "values.npy", values))
    array.into_memory()
    array.append(values)
    assert_array_equal(array.values, np.tile(values, 2))
    assert_array_equal(np.load(tmp_path / "values.npy"), values)


def test_a_view_of_a_mapped_file_is_mapped(tmp_path):
    file = mapped(tmp_path / "values.npy", some_values(6, n_columns=2))
    views = [file, file[2:], np.asarray(file), np.asarray(file).T[:1].reshape(-1, 2)]
    assert all(is_mapped(view) for view in views)
    assert not is_mapped(np.array(file))
    assert not is_mapped(np.zeros(3)[1:])


def test_pickling_leaves_spare_room_behind():
    array = GrowingArray(some_values(100))
    array.append(some_values(30))
    assert len(spare(array)) > 10
    dump = pickle.dumps(array)
    assert len(dump) == len(pickle.dumps(as_loaded(array.values.copy())))
    loaded = pickle.loads(dump)
    assert len(spare(loaded)) == 0
    assert_array_equal(loaded.values, array.values)
    loaded.append([1.0, 2.0])
    assert_array_equal(loaded.values, [*array.values, 1.0, 2.0])
