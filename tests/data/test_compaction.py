"""Rows moved together in place: in order, within bounded memory, and undone."""

import sys
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._data import compaction
from skdeltagrad._data.compaction import RowBlocks, Shift
from skdeltagrad._data.growing_array import GrowingArray
from skdeltagrad._data.storage import store
from skdeltagrad._utils.transaction import Transaction

MIB = 2**20


class Interrupt:
    """A KeyboardInterrupt at the n-th line that a function of the module runs."""

    def __init__(self, at_line):
        self.left = at_line

    def __enter__(self):
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _trace(self, frame, event, _):
        inside = frame.f_code.co_filename == compaction.__file__
        if not inside or frame.f_code.co_name in ("undo", "_first_source"):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._trace


def holed(seed, n_rows, kept):
    """An array of which some rows are kept, and the others are zero."""
    values = np.random.default_rng(seed).integers(1, 100, size=(n_rows, 2))
    indices = np.flatnonzero(np.random.default_rng(seed + 1).random(n_rows) < kept)
    holes = np.setdiff1d(np.arange(n_rows), indices)
    values[holes] = 0
    return GrowingArray(values), indices


@pytest.mark.parametrize("block_rows", [1, 3, 1000])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_shift_and_its_undoing(seed, kept, block_rows, monkeypatch):
    monkeypatch.setattr(compaction, "_BLOCK_BYTES", 16 * block_rows)
    array, indices = holed(seed, 40, kept)
    before = array.values.copy()
    shift = Shift(array, RowBlocks(array, indices))
    shift.run()
    assert_array_equal(array.values, before[indices])
    assert not array._store[len(indices) :].any()
    shift.undo()
    assert_array_equal(array.values, before)


@pytest.mark.parametrize("block_rows", [2, 1000])
def test_a_shift_that_is_interrupted_anywhere(block_rows, monkeypatch):
    monkeypatch.setattr(compaction, "_BLOCK_BYTES", 16 * block_rows)
    n_interrupts = 0
    for at_line in range(1, 1000):
        array, indices = holed(1, 15, 0.6)
        before = array.values.copy()
        shift = Shift(array, RowBlocks(array, indices))
        try:
            with Interrupt(at_line):
                shift.run()
        except KeyboardInterrupt:
            n_interrupts += 1
            shift.undo()
            assert_array_equal(array.values, before)
        else:
            assert_array_equal(array.values, before[indices])
            break
    assert n_interrupts > 10


def some_rows(storage, n_rows=30, n_features=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    X[rng.random(X.shape) < 0.6] = 0.0
    X[3] = 0.0  # a sparse row without entries
    return X, sparse.csr_matrix(X) if storage == "csr" else X


@pytest.mark.parametrize("block_bytes", [1, 100, 2**20])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_rows_are_compacted_and_brought_back(storage, seed, block_bytes, monkeypatch):
    monkeypatch.setattr(compaction, "_BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(seed)
    X, given = some_rows(storage, seed=seed)
    rows = store(given)
    rows.append(given[:7])
    X = np.concatenate([X, X[:7]])
    gone = rng.choice(len(X), size=int(rng.integers(1, len(X))), replace=False)
    kept = np.setdiff1d(np.arange(len(X)), gone)
    rows.wipe(gone)
    X[gone] = 0.0
    before = [array.values.copy() for array in rows._arrays()]
    with pytest.raises(KeyboardInterrupt), Transaction() as transaction:
        rows.compact(transaction, kept)
        raise KeyboardInterrupt
    for array, values in zip(rows._arrays(), before, strict=True):
        assert_array_equal(array.values, values)
    for _ in range(2):  # the second time there is nothing to do
        rows.compact(Transaction(), kept)
        everyone = np.arange(len(kept))
        assert len(rows) == len(kept)
        assert_array_equal(rows.extended(everyone, None), X[kept])
        for array in rows._arrays():
            assert not array._store[len(array) :].any()
        X, kept = X[kept], everyone
    if storage == "csr":  # no room of removed rows is left
        assert len(rows._data) == rows.n_entries(kept)
    rows.append(given[:2])
    both = np.arange(len(kept), len(kept) + 2)
    assert_array_equal(rows.extended(both, None), some_rows("dense", seed=seed)[0][:2])


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_rows_that_are_interrupted_anywhere(storage, monkeypatch):
    monkeypatch.setattr(compaction, "_BLOCK_BYTES", 64)
    X, given = some_rows(storage, 12)
    gone = np.array([0, 4, 5, 9])
    kept = np.setdiff1d(np.arange(12), gone)
    n_interrupts = 0
    for at_line in range(1, 1000):
        rows = store(given)
        rows.wipe(gone)
        before = [array.values.copy() for array in rows._arrays()]
        try:
            with Transaction() as transaction, Interrupt(at_line):
                rows.compact(transaction, kept)
        except KeyboardInterrupt:
            n_interrupts += 1
            for array, values in zip(rows._arrays(), before, strict=True):
                assert_array_equal(array.values, values)
        else:
            assert_array_equal(rows.extended(np.arange(8), None), X[kept])
            break
    assert n_interrupts > 20


@pytest.fixture
def peak_of():
    """A function that tells how many bytes a call takes besides what was there."""

    def measured(function):
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        function()
        _, peak = tracemalloc.get_traced_memory()
        return peak - before

    tracemalloc.start()  # before there are arrays, for they may be given back
    yield measured
    tracemalloc.stop()


def large(storage):
    """Rows of 60 MB."""
    rng = np.random.default_rng(0)
    if storage == "csr":
        X = sparse.random(20_000, 400, 0.65, "csr", random_state=0, dtype=float)
    else:
        X = rng.normal(size=(20_000, 400))
    return X, rng.normal(size=20_000)


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_no_edit_copies_the_rows(storage, peak_of, monkeypatch):
    """A removal, an addition, a correction, and the edit that compacts storage."""
    monkeypatch.setattr(compaction, "_BLOCK_BYTES", 2**20)
    X, y = large(storage)
    size = X.nbytes if storage == "dense" else X.data.nbytes + X.indices.nbytes
    model = DeltaGradRidge().fit(X, y)
    model.unlearn(position=0)
    edits = {
        "remove": lambda: model.unlearn(position=[5, 7]),
        "add": lambda: model.partial_refit(X[:2], y[:2]),
        "correct": lambda: model.partial_refit(
            X[:1], y[:1], position=[9], replace=True
        ),
        "content": lambda: model.unlearn(X[100:101], y[100:101]),
        "compact": lambda: model.unlearn(position=np.arange(200, 4_000)),
    }
    for name, edit in edits.items():
        n_before = len(model._training_set.rows)
        peak = peak_of(edit)
        # The rows that are removed are saved until the edit is over.
        touched = 0.2 * size if name == "compact" else 0.0
        assert peak < 2 * touched + 0.2 * size, (name, peak / size)
        if name == "compact":
            assert len(model._training_set.rows) == model._training_set.table.n_live
            assert len(model._training_set.rows) < n_before - 3_800


def test_memory_of_removed_rows_is_given_back():
    X, y = large("dense")
    model = DeltaGradRidge().fit(X, y)
    model.unlearn(position=np.arange(15_000))
    assert model._training_set.rows._X._store.nbytes < 0.4 * X.nbytes
    assert_array_equal(model._training_set.rows.read(np.arange(5_000)), X[15_000:])
    reference = DeltaGradRidge().fit(X[15_000:], y[15_000:])
    np.testing.assert_allclose(model.coef_, reference.coef_, rtol=1e-8, atol=1e-10)


def test_a_training_set_is_compacted_when_asked():
    """Whatever the fraction of removed rows is."""
    X, y = large("csr")
    model = DeltaGradRidge().fit(X[:300], y[:300])
    model.unlearn(position=[3, 250])
    training_set = model._training_set
    assert len(training_set.rows) == 300
    with Transaction() as transaction:
        training_set.compact(transaction)
    assert len(training_set.rows) == training_set.table.n_live == 298
    assert training_set.rows._data.values.all()
    model.unlearn(position=[4, 251])
    model.unlearn(X[5:6], y[5:6])
    kept = np.setdiff1d(np.arange(300), [3, 4, 5, 250, 251])
    reference = DeltaGradRidge().fit(X[kept], y[kept])
    np.testing.assert_allclose(model.coef_, reference.coef_, rtol=1e-9, atol=1e-10)


def test_ids_are_narrowed_by_an_edit_that_compacts():
    X, y = large("dense")
    ids = np.array([f"{i:05d}" for i in range(2_000)], "U100")
    ids[7] = "x" * 100
    model = DeltaGradLogisticRegression().fit(
        X[:2_000, :3], y[:2_000] > 0, sample_id=ids
    )
    assert model._training_set.table.ids.dtype == "U100"
    model.unlearn(position=np.arange(1_500))
    assert model._training_set.table.ids.dtype == "U5"
    model.unlearn(sample_id="01999")
