"""Who the rows are, through removals, additions, corrections and their undoing."""

import pickle
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdeltagrad._data.growing_array import is_mapped
from skdeltagrad._data.row_table import GONE, RowTable
from skdeltagrad._utils.transaction import Transaction

N_ROWS = 12

KINDS_OF_IDS = [None, "int", "str"]


def some_ids(kind, numbers):
    """Ids of which several rows share one."""
    if kind is None:
        return None
    ids = np.asarray(numbers) % 5
    return ids if kind == "int" else np.array([f"user-{i * 'x'}{i}" for i in ids], str)


def carried(ids=None, n_targets=None, n_rows=N_ROWS, first=0):
    """Targets, weights and ids of rows, all different but the ids."""
    numbers = np.arange(first, first + n_rows)
    y = numbers % 3 + 1
    if n_targets is not None:
        y = 0.5 + np.outer(numbers, np.arange(1, n_targets + 1))
    return y, 1.0 + numbers / 7, some_ids(ids, numbers)


def state(table):
    """All that a row table says, to the last bit."""
    arrays = [table.y, table.weight, table.position]
    arrays.append(table.indices_of(np.arange(table.n_positions)))
    if table.ids is not None:
        arrays.append(table.ids)
    found = None
    if table.ids is not None:
        found = indices_by_id(table, np.unique(table.ids[table.live_indices()]))
    return [array.tolist() for array in arrays], table.n_live, found


def indices_by_id(table, ids):
    which, indices = table.indices_of_ids(ids)
    return list(zip(which.tolist(), indices.tolist(), strict=True))


def indices_by_id_naively(table, ids):
    return [
        (which, index)
        for which, id_ in enumerate(ids)
        for index in table.live_indices().tolist()
        if table.ids[index] == id_
    ]


@pytest.fixture(params=KINDS_OF_IDS)
def ids(request):
    return request.param


@pytest.fixture(params=[None, 2])
def n_targets(request):
    return request.param


@pytest.fixture
def table(ids, n_targets):
    return RowTable(*carried(ids, n_targets))


def remove(table, indices):
    """Remove rows for good, as an edit does."""
    positions = table.position[indices]
    table.detach(indices)
    table.wipe(indices)
    return positions


def add(table, rows, positions=None):
    """Add rows for good, as an edit does."""
    indices = table.append(*rows)
    if positions is None:
        positions = table.give_positions(len(indices))
    table.index_ids(indices)
    table.attach(indices, positions)
    return indices, positions


def test_rows_of_fit(table, ids, n_targets):
    y, weight, given = carried(ids, n_targets)
    assert table.n_live == table.n_positions == N_ROWS
    assert_array_equal(table.y, y)
    assert_array_equal(table.weight, weight)
    assert_array_equal(table.position, np.arange(N_ROWS))
    assert_array_equal(table.indices_of(np.arange(N_ROWS)), np.arange(N_ROWS))
    assert_array_equal(table.live_indices(), np.arange(N_ROWS))
    assert (table.ids is None) == (ids is None)
    if ids is not None:
        assert_array_equal(table.ids, given)


def test_the_example_of_the_documentation():
    """5 rows in fit, position 1 removed and two rows added; then compaction."""
    table = RowTable(*carried(n_rows=5))
    remove(table, np.array([1]))
    add(table, carried(n_rows=2, first=20))
    live = [0, 2, 3, 4, 5, 6]
    assert_array_equal(table.live_indices(), live)
    assert_array_equal(table.position[live], live)
    assert_array_equal(table.indices_of([0, 1, 2, 6]), [0, GONE, 2, 6])
    table.compact(Transaction())
    assert_array_equal(table.live_indices(), np.arange(6))
    assert_array_equal(table.position, live)
    assert_array_equal(table.indices_of([0, 1, 2, 6]), [0, GONE, 1, 5])


def test_appended_rows_have_no_position_yet(table, ids, n_targets):
    y, weight, more_ids = carried(ids, n_targets, n_rows=3, first=50)
    indices = table.append(y, weight, more_ids)
    assert_array_equal(indices, [N_ROWS, N_ROWS + 1, N_ROWS + 2])
    assert table.n_live == N_ROWS
    assert_array_equal(table.position[indices], GONE)
    assert_array_equal(table.live_indices(), np.arange(N_ROWS))

    positions = table.give_positions(3)
    assert_array_equal(positions, [N_ROWS, N_ROWS + 1, N_ROWS + 2])
    assert_array_equal(table.indices_of(positions), GONE)

    table.attach(indices, positions)
    assert table.n_live == N_ROWS + 3
    assert_array_equal(table.indices_of(positions), indices)
    assert_array_equal(table.position[indices], positions)
    assert_array_equal(table.y[indices], y)
    assert_array_equal(table.weight[indices], weight)


def test_a_position_is_given_out_once(table):
    indices, positions = add(table, carried_like(table, 2, first=30))
    remove(table, indices)
    assert_array_equal(table.give_positions(2), positions + 2)


def carried_like(table, n_rows, first):
    """Rows such as the row table has them."""
    kind = None
    if table.ids is not None:
        kind = "str" if table.ids.dtype.kind == "U" else "int"
    n_targets = table.y.shape[1] if table.y.ndim == 2 else None
    return carried(kind, n_targets, n_rows, first)


def test_a_corrected_row_takes_over_the_position(table):
    old = np.array([4, 7])
    positions = remove(table, old)
    indices, _ = add(table, carried_like(table, 2, first=40), positions)
    assert_array_equal(positions, [4, 7])
    assert_array_equal(table.indices_of([4, 7]), indices)
    assert_array_equal(table.position[old], GONE)
    assert table.n_live == table.n_positions == N_ROWS


def test_wiped_rows_carry_nothing(table, ids):
    indices = np.array([2, 9, 5])
    remove(table, indices)
    assert not table.y[indices].any()
    assert not table.weight[indices].any()
    assert table.n_live == N_ROWS - 3
    if ids is not None:
        assert not np.any(table.ids[indices] != np.zeros((), table.ids.dtype))


@pytest.mark.parametrize("indexed", [False, True])
def test_wiped_ids_are_in_no_index(indexed):
    table = RowTable(*carried("str"))
    if indexed:
        table.indices_of_ids(np.array(["user-0"]))
    remove(table, np.flatnonzero(table.ids == "user-x1"))
    table.indices_of_ids(np.array(["user-0"]))
    keys = np.concatenate([segment[0] for segment in table._id_index._segments])
    assert "user-0" in keys
    assert "user-x1" not in keys


@pytest.mark.parametrize("indexed", [False, True])
def test_undoing_each_change(table, ids, indexed):
    if ids is not None and indexed:
        indices_by_id(table, table.ids[:1])
    before = state(table)
    n_live = table.n_live
    indices = np.array([3, 0, 8])

    positions = table.position[indices]
    table.detach(indices)
    table.reattach(indices, positions, n_live)
    assert state(table) == before

    mark = table.mark()
    added = table.append(*carried_like(table, 30, first=60))
    positions = table.give_positions(30)
    table.index_ids(added)
    table.attach(added, positions)
    table.unattach(added, positions, n_live)
    table.truncate(mark)
    assert state(table) == before

    saved = table.read(indices)
    table.wipe(indices)
    table.restore(indices, saved)
    assert state(table) == before


def test_undoing_an_edit_as_a_whole(table, ids):
    """Rows are corrected, then all is undone in reverse."""
    if ids is not None:
        indices_by_id(table, table.ids[:1])
    before, n_live = state(table), table.n_live
    indices = np.array([3, 0, 8])

    mark = table.mark()
    added = table.append(*carried_like(table, 4, first=60))
    fresh = table.give_positions(1)
    positions = table.position[indices]
    table.detach(indices)
    n_kept = table.n_live
    table.index_ids(added)
    saved = table.read(indices)
    table.wipe(indices)
    taken = np.concatenate([positions, fresh])
    table.attach(added, taken)
    assert table.n_live == N_ROWS + 1

    table.unattach(added, taken, n_kept)
    table.restore(indices, saved)
    table.reattach(indices, positions, n_live)
    table.truncate(mark)
    assert state(table) == before


def test_read_copies(table):
    indices = np.array([1, 2])
    saved = table.read(indices)
    expected = [np.array(part) for part in saved]
    table.wipe(indices)
    for part, values in zip(saved, expected, strict=True):
        assert_array_equal(part, values)


@pytest.mark.parametrize("kind", ["int", "str"])
@pytest.mark.parametrize("seed", range(3))
def test_finding_ids_through_random_edits(kind, seed):
    rng = np.random.default_rng(seed)
    table = RowTable(*carried(kind))
    asked = np.unique(some_ids(kind, np.arange(5)))
    unknown = np.array([99] if kind == "int" else ["nobody-of-that-name"])
    for number in range(30):
        live = table.live_indices()
        if rng.random() < 0.5 or len(live) < 3:
            add(table, carried_like(table, int(rng.integers(4)), first=number))
        elif rng.random() < 0.8:
            remove(table, rng.choice(live, size=2, replace=False))
        else:
            table.compact(Transaction())
        assert indices_by_id(table, asked) == indices_by_id_naively(table, asked)
        assert indices_by_id(table, unknown) == []


def test_detached_rows_are_not_found():
    """They are in the index still: their data is not wiped yet."""
    table = RowTable(*carried("int"))
    table.indices_of_ids(np.array([0]))
    table.detach(np.array([0, 5]))
    assert indices_by_id(table, np.array([0])) == [(0, 10)]


def test_an_index_is_made_when_rows_were_added_before():
    table = RowTable(*carried("str"))
    indices, _ = add(table, (np.array([1]), np.array([1.0]), np.array(["a longer id"])))
    assert indices_by_id(table, np.array(["a longer id"])) == [(0, indices[0])]


def test_compact_keeps_the_rows_that_are_there(table, ids):
    remove(table, np.array([1, 6]))
    add(table, carried_like(table, 2, first=70))
    table.set_column("leverage", np.arange(len(table.weight)) / 3.0)
    kept = table.live_indices()
    expected = [np.array(array[kept]) for array in (table.y, table.weight)]
    position, leverages = table.position[kept], table.column("leverage")[kept]
    own_ids = None if ids is None else table.ids[kept]
    n_positions, n_live = table.n_positions, table.n_live

    table.compact(Transaction())
    assert table.n_live == n_live == len(table.weight) == len(kept)
    assert table.n_positions == n_positions
    assert_array_equal(table.position, position)
    assert_array_equal(table.indices_of(position), np.arange(len(kept)))
    assert_array_equal(table.indices_of([1, 6]), GONE)
    assert_array_equal(table.y, expected[0])
    assert_array_equal(table.weight, expected[1])
    assert_array_equal(table.column("leverage"), leverages)
    if ids is not None:
        assert_array_equal(table.ids, own_ids)
        asked = np.unique(own_ids)
        assert indices_by_id(table, asked) == indices_by_id_naively(table, asked)
    remove(table, np.array([0]))
    add(table, carried_like(table, 3, first=80))
    table.compact(Transaction())
    assert len(table.weight) == n_live + 2


def test_compact_is_undone(table):
    remove(table, np.array([1, 6]))
    add(table, carried_like(table, 2, first=70))
    before = state(table)
    with pytest.raises(KeyboardInterrupt), Transaction() as transaction:
        table.compact(transaction)
        raise KeyboardInterrupt
    assert state(table) == before


def test_a_long_id_leaves_no_width_behind():
    """How wide ids are tells how long the longest one is."""
    table = RowTable(*carried("str"))
    width = table.ids.dtype
    indices, _ = add(table, (np.array([1]), np.array([1.0]), np.array(["x" * 90])))
    assert table.ids.dtype == "<U90"
    remove(table, indices)
    table.compact(Transaction())
    assert table.ids.dtype == width
    assert len(table.ids) == N_ROWS
    add(table, (np.array([1]), np.array([1.0]), np.array(["y" * 80])))
    assert table.ids[-1] == "y" * 80


def test_a_long_id_that_is_taken_back_leaves_no_width_behind():
    table = RowTable(*carried("str"))
    before, width = state(table), table.ids.dtype
    mark = table.mark()
    table.append(np.array([1]), np.array([1.0]), np.array(["x" * 90]))
    assert table.ids[-1] == "x" * 90
    table.truncate(mark)
    assert state(table) == before
    assert table.ids.dtype == width


def test_looking_for_a_long_id_widens_nothing():
    table = RowTable(*carried("str"))
    indices_by_id(table, np.array(["user-0"]))
    asked = np.array(["user-0", "user-x1", "user-x1" + "x" * 10**6])
    tracemalloc.start()
    found = indices_by_id(table, asked)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == indices_by_id_naively(table, asked)
    assert len(found) > 1
    assert peak < 10**7  # the rows would take 48 MB


def test_recode_gives_other_targets_to_the_same_rows():
    table = RowTable(*carried("int"))
    remove(table, np.array([1]))
    before = state(table)
    y = 10 * table.y
    other = table.recode(y)
    assert_array_equal(other.y, y)
    assert_array_equal(other.weight, table.weight)
    assert_array_equal(other.position, table.position)
    assert other.n_live == table.n_live
    assert indices_by_id(other, np.array([0, 1])) == indices_by_id_naively(
        other, [0, 1]
    )
    other.y[:] = 0
    assert state(table) == before


def test_a_row_is_found_after_an_edit_with_other_codes_is_undone():
    """The last row of a class leaves, something fails, all is as it was."""
    table = RowTable(*carried("int"))
    before = state(table)  # makes the index
    indices, n_live = np.array([0, 3]), table.n_live
    positions = table.position[indices]
    table.detach(indices)
    recoded = table.recode(table.y - 1)
    saved = recoded.read(indices)
    recoded.wipe(indices)

    recoded.restore(indices, saved)
    table.reattach(indices, positions, n_live)
    assert state(table) == before


def test_pickling(table):
    remove(table, np.array([2]))
    add(table, carried_like(table, 2, first=70))
    before = state(table)
    loaded = pickle.loads(pickle.dumps(table))
    assert loaded._id_index is None
    assert state(loaded) == before
    add(loaded, carried_like(loaded, 2, first=90))
    assert loaded.n_live == table.n_live + 2


def test_rows_of_a_file_are_copied_to_memory(table, tmp_path):
    before = state(table)
    for number, array in enumerate(table._arrays()):
        np.save(tmp_path / f"{number}.npy", array.values)
        loaded = np.load(tmp_path / f"{number}.npy", mmap_mode="r")
        array.__setstate__({"values": loaded})
    assert is_mapped(table.weight)
    table.into_memory()
    assert not any(is_mapped(array.values) for array in table._arrays())
    assert state(table) == before
    remove(table, np.array([2]))
