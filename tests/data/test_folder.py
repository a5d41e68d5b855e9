"""Files of an estimator's rows: what is written, overwritten and undone."""

import os
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdeltagrad._data import raw_file, undo_record
from skdeltagrad._data.folder import Folder
from skdeltagrad._data.raw_file import RawFile
from skdeltagrad._data.two_slots import FILES, TwoSlots


@pytest.mark.parametrize("n_bytes", [0, 1, 100, 1000])
def test_an_erased_file_is_all_zeros(tmp_path, n_bytes, monkeypatch):
    monkeypatch.setattr(raw_file, "_BLOCK_BYTES", 300)
    path = tmp_path / "file"
    path.write_bytes(b"x" * n_bytes)
    RawFile(path).erase()
    assert path.read_bytes() == bytes(n_bytes)
    path.write_bytes(b"x" * n_bytes)
    RawFile(path).erase(n_bytes // 2)
    assert path.read_bytes() == bytes(n_bytes // 2) + b"x" * (n_bytes - n_bytes // 2)


def test_erasing_a_large_file_takes_a_block_of_memory(tmp_path):
    file = RawFile(tmp_path / "file")
    os.truncate(tmp_path / "file", 10 * raw_file._BLOCK_BYTES)
    tracemalloc.start()
    try:
        file.erase()
        assert tracemalloc.get_traced_memory()[1] < 1.1 * raw_file._BLOCK_BYTES
    finally:
        tracemalloc.stop()


# The contents.


def test_the_last_document_counts(tmp_path):
    slots = TwoSlots(tmp_path)
    assert slots.document is None
    for number in range(5):
        slots.write({"number": number, "long": "x" * 3000 * (number % 3)})
        assert TwoSlots(tmp_path).document == slots.document
    assert slots.document["number"] == 4


@pytest.mark.parametrize("n_written", [1, 2, 5])
@pytest.mark.parametrize("kept", [0, 10, 40, 2000])
def test_a_document_that_is_half_written_does_not_count(tmp_path, n_written, kept):
    """A torn write may leave any part of the new page, and the old one behind it."""
    slots = TwoSlots(tmp_path)
    for number in range(n_written):
        slots.write({"number": number, "text": "x" * 3000})
    path = tmp_path / FILES[n_written % 2]
    old = path.read_bytes() if path.exists() else b""
    slots.write({"number": n_written, "text": "y" * 3000})
    new = path.read_bytes()
    path.write_bytes(new[:kept] + old[kept:])
    assert TwoSlots(tmp_path).document["number"] == n_written - 1


@pytest.mark.parametrize("n_before", [0, 1, 2])
def test_an_interrupted_write_is_taken_back(tmp_path, n_before, monkeypatch):
    slots = TwoSlots(tmp_path)
    for number in range(n_before):
        slots.write(number)
    flush, is_first = RawFile.flush, [True]

    def interrupted(self):
        flush(self)
        if is_first.pop() if is_first else False:
            raise KeyboardInterrupt

    monkeypatch.setattr(RawFile, "flush", interrupted)
    with pytest.raises(KeyboardInterrupt):
        slots.write("new")
    expected = n_before - 1 if n_before else None
    assert slots.document == TwoSlots(tmp_path).document == expected


# The undo record.


@pytest.fixture
def arrays(tmp_path):
    folder = Folder(tmp_path / "store")
    rng = np.random.default_rng(0)
    values = [
        rng.normal(size=(50, 3)).astype(np.float32),
        rng.integers(9, size=50),
        np.array([f"row {i}" for i in range(50)]),
        rng.normal(size=(50, 0)),
    ]
    return [folder.array(f"array_{'abcd'[i]}", v) for i, v in enumerate(values)]


@pytest.mark.parametrize("n_touched", [0, 1, 7])
def test_a_record_is_read_as_it_was_written(arrays, tmp_path, n_touched):
    places = np.arange(n_touched) * 3
    file = RawFile(tmp_path / "undo")
    size = undo_record.write(file, 5, [(array, places) for array in arrays])
    assert size == len(file)
    generation, entries = undo_record.read(tmp_path / "undo")
    assert generation == 5
    for array, (name, where, values) in zip(arrays, entries, strict=True):
        assert name == array.name
        assert_array_equal(where, places)
        assert_array_equal(values, array.values[places])
    file.erase(size)
    assert undo_record.read(tmp_path / "undo") == (None, [])
    assert not (tmp_path / "undo").read_bytes().strip(b"\0")


def test_a_record_that_was_not_written_completely_is_none(arrays, tmp_path):
    file = RawFile(tmp_path / "undo")
    undo_record.write(file, 5, [(array, np.arange(9)) for array in arrays])
    whole = (tmp_path / "undo").read_bytes()
    for length in range(0, len(whole), 13):
        (tmp_path / "undo").write_bytes(whole[:length])
        assert undo_record.read(tmp_path / "undo") == (None, [])
        padded = whole[:length] + bytes(len(whole) - length)
        if padded == whole:
            continue
        (tmp_path / "undo").write_bytes(padded)
        assert undo_record.read(tmp_path / "undo") == (None, [])


# Arrays.


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "<U5"])
@pytest.mark.parametrize("n_columns", [None, 3])
def test_an_array_in_a_file_grows_and_is_found_again(tmp_path, dtype, n_columns):
    shape = (10,) if n_columns is None else (10, n_columns)
    some = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    folder = Folder(tmp_path / "store")
    array = folder.array("X", some[:0])
    view = array.values
    for first in range(0, 10, 3):
        array.append(some[first : first + 3])
    assert_array_equal(array.values, some)
    assert view.size == 0
    array.truncate(7)
    assert not array._store[7:].astype(bool).any()
    array.append(some[7:])
    folder.commit([array], {})
    folder.close()
    other = Folder(tmp_path / "store").stored(array.name)
    assert_array_equal(other.values, some)
    other.shorten()
    assert_array_equal(other.values, some)


def test_longer_strings_go_to_another_file(tmp_path):
    folder = Folder(tmp_path / "store")
    array = folder.array("id", np.array(["a", "b"]))
    name = array.name
    array.append(np.array(["long"]))
    assert array.values.tolist() == ["a", "b", "long"]
    assert array.name != name
    folder.commit([array], {})
    folder.clean()
    assert not os.path.exists(os.path.join(folder.path, name))


def test_numbers_of_many_rows_are_in_a_file_without_a_name(tmp_path):
    folder = Folder(tmp_path / "store")
    array, before = folder.array("X", np.zeros(3)), os.listdir(folder.path)
    for shape in (5, 2**21, (2**20, 2)):
        tracemalloc.start()
        try:
            numbers = array.numbers(shape, np.float32)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()
        assert numbers.shape == np.zeros(shape).shape
        assert numbers.dtype == np.float32
        assert not numbers.any()
        numbers[...] = 1
    assert os.listdir(folder.path) == before
