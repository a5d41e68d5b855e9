"""Who the rows are, through removals, additions, corrections and their undoing."""

import pickle
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdeltagrad._data.growing_array import is_mapped
from skdeltagrad._data.row_table import GONE, Roster
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


def state(roster):
    """All that a roster says, to the last bit."""
    arrays = [roster.y, roster.weight, roster.position]
    arrays.append(roster.slots_of(np.arange(roster.n_positions)))
    if roster.ids is not None:
        arrays.append(roster.ids)
    found = None
    if roster.ids is not None:
        found = slots_by_id(roster, np.unique(roster.ids[roster.live_slots()]))
    return [array.tolist() for array in arrays], roster.n_live, found


def slots_by_id(roster, ids):
    which, slots = roster.slots_of_ids(ids)
    return list(zip(which.tolist(), slots.tolist(), strict=True))


def slots_by_id_naively(roster, ids):
    return [
        (which, slot)
        for which, id_ in enumerate(ids)
        for slot in roster.live_slots().tolist()
        if roster.ids[slot] == id_
    ]


@pytest.fixture(params=KINDS_OF_IDS)
def ids(request):
    return request.param


@pytest.fixture(params=[None, 2])
def n_targets(request):
    return request.param


@pytest.fixture
def roster(ids, n_targets):
    return Roster(*carried(ids, n_targets))


def remove(roster, slots):
    """Remove rows for good, as an edit does."""
    positions = roster.position[slots]
    roster.detach(slots)
    roster.wipe(slots)
    return positions


def add(roster, rows, positions=None):
    """Add rows for good, as an edit does."""
    slots = roster.append(*rows)
    if positions is None:
        positions = roster.give_positions(len(slots))
    roster.index_ids(slots)
    roster.attach(slots, positions)
    return slots, positions


def test_rows_of_fit(roster, ids, n_targets):
    y, weight, given = carried(ids, n_targets)
    assert roster.n_live == roster.n_positions == N_ROWS
    assert_array_equal(roster.y, y)
    assert_array_equal(roster.weight, weight)
    assert_array_equal(roster.position, np.arange(N_ROWS))
    assert_array_equal(roster.slots_of(np.arange(N_ROWS)), np.arange(N_ROWS))
    assert_array_equal(roster.live_slots(), np.arange(N_ROWS))
    assert (roster.ids is None) == (ids is None)
    if ids is not None:
        assert_array_equal(roster.ids, given)


def test_the_example_of_the_documentation():
    """5 rows in fit, position 1 removed and two rows added; then compaction."""
    roster = Roster(*carried(n_rows=5))
    remove(roster, np.array([1]))
    add(roster, carried(n_rows=2, first=20))
    live = [0, 2, 3, 4, 5, 6]
    assert_array_equal(roster.live_slots(), live)
    assert_array_equal(roster.position[live], live)
    assert_array_equal(roster.slots_of([0, 1, 2, 6]), [0, GONE, 2, 6])
    roster.compact(Transaction())
    assert_array_equal(roster.live_slots(), np.arange(6))
    assert_array_equal(roster.position, live)
    assert_array_equal(roster.slots_of([0, 1, 2, 6]), [0, GONE, 1, 5])


def test_appended_rows_have_no_position_yet(roster, ids, n_targets):
    y, weight, more_ids = carried(ids, n_targets, n_rows=3, first=50)
    slots = roster.append(y, weight, more_ids)
    assert_array_equal(slots, [N_ROWS, N_ROWS + 1, N_ROWS + 2])
    assert roster.n_live == N_ROWS
    assert_array_equal(roster.position[slots], GONE)
    assert_array_equal(roster.live_slots(), np.arange(N_ROWS))

    positions = roster.give_positions(3)
    assert_array_equal(positions, [N_ROWS, N_ROWS + 1, N_ROWS + 2])
    assert_array_equal(roster.slots_of(positions), GONE)

    roster.attach(slots, positions)
    assert roster.n_live == N_ROWS + 3
    assert_array_equal(roster.slots_of(positions), slots)
    assert_array_equal(roster.position[slots], positions)
    assert_array_equal(roster.y[slots], y)
    assert_array_equal(roster.weight[slots], weight)


def test_a_position_is_given_out_once(roster):
    slots, positions = add(roster, carried_like(roster, 2, first=30))
    remove(roster, slots)
    assert_array_equal(roster.give_positions(2), positions + 2)


def carried_like(roster, n_rows, first):
    """Rows such as the roster has them."""
    kind = None
    if roster.ids is not None:
        kind = "str" if roster.ids.dtype.kind == "U" else "int"
    n_targets = roster.y.shape[1] if roster.y.ndim == 2 else None
    return carried(kind, n_targets, n_rows, first)


def test_a_corrected_row_takes_over_the_position(roster):
    old = np.array([4, 7])
    positions = remove(roster, old)
    slots, _ = add(roster, carried_like(roster, 2, first=40), positions)
    assert_array_equal(positions, [4, 7])
    assert_array_equal(roster.slots_of([4, 7]), slots)
    assert_array_equal(roster.position[old], GONE)
    assert roster.n_live == roster.n_positions == N_ROWS


def test_wiped_rows_carry_nothing(roster, ids):
    slots = np.array([2, 9, 5])
    remove(roster, slots)
    assert not roster.y[slots].any()
    assert not roster.weight[slots].any()
    assert roster.n_live == N_ROWS - 3
    if ids is not None:
        assert not np.any(roster.ids[slots] != np.zeros((), roster.ids.dtype))


@pytest.mark.parametrize("indexed", [False, True])
def test_wiped_ids_are_in_no_index(indexed):
    roster = Roster(*carried("str"))
    if indexed:
        roster.slots_of_ids(np.array(["user-0"]))
    remove(roster, np.flatnonzero(roster.ids == "user-x1"))
    roster.slots_of_ids(np.array(["user-0"]))
    keys = np.concatenate([segment[0] for segment in roster._index._segments])
    assert "user-0" in keys
    assert "user-x1" not in keys


@pytest.mark.parametrize("indexed", [False, True])
def test_undoing_each_change(roster, ids, indexed):
    if ids is not None and indexed:
        slots_by_id(roster, roster.ids[:1])
    before = state(roster)
    n_live = roster.n_live
    slots = np.array([3, 0, 8])

    positions = roster.position[slots]
    roster.detach(slots)
    roster.reattach(slots, positions, n_live)
    assert state(roster) == before

    mark = roster.mark()
    added = roster.append(*carried_like(roster, 30, first=60))
    positions = roster.give_positions(30)
    roster.index_ids(added)
    roster.attach(added, positions)
    roster.unattach(added, positions, n_live)
    roster.truncate(mark)
    assert state(roster) == before

    saved = roster.read(slots)
    roster.wipe(slots)
    roster.restore(slots, saved)
    assert state(roster) == before


def test_undoing_an_edit_as_a_whole(roster, ids):
    """Rows are corrected, then all is undone in reverse."""
    if ids is not None:
        slots_by_id(roster, roster.ids[:1])
    before, n_live = state(roster), roster.n_live
    slots = np.array([3, 0, 8])

    mark = roster.mark()
    added = roster.append(*carried_like(roster, 4, first=60))
    fresh = roster.give_positions(1)
    positions = roster.position[slots]
    roster.detach(slots)
    n_kept = roster.n_live
    roster.index_ids(added)
    saved = roster.read(slots)
    roster.wipe(slots)
    taken = np.concatenate([positions, fresh])
    roster.attach(added, taken)
    assert roster.n_live == N_ROWS + 1

    roster.unattach(added, taken, n_kept)
    roster.restore(slots, saved)
    roster.reattach(slots, positions, n_live)
    roster.truncate(mark)
    assert state(roster) == before


def test_read_copies(roster):
    slots = np.array([1, 2])
    saved = roster.read(slots)
    expected = [np.array(part) for part in saved]
    roster.wipe(slots)
    for part, values in zip(saved, expected, strict=True):
        assert_array_equal(part, values)


@pytest.mark.parametrize("kind", ["int", "str"])
@pytest.mark.parametrize("seed", range(3))
def test_finding_ids_through_random_edits(kind, seed):
    rng = np.random.default_rng(seed)
    roster = Roster(*carried(kind))
    asked = np.unique(some_ids(kind, np.arange(5)))
    unknown = np.array([99] if kind == "int" else ["nobody-of-that-name"])
    for number in range(30):
        live = roster.live_slots()
        if rng.random() < 0.5 or len(live) < 3:
            add(roster, carried_like(roster, int(rng.integers(4)), first=number))
        elif rng.random() < 0.8:
            remove(roster, rng.choice(live, size=2, replace=False))
        else:
            roster.compact(Transaction())
        assert slots_by_id(roster, asked) == slots_by_id_naively(roster, asked)
        assert slots_by_id(roster, unknown) == []


def test_detached_rows_are_not_found():
    """They are in the index still: their data is not wiped yet."""
    roster = Roster(*carried("int"))
    roster.slots_of_ids(np.array([0]))
    roster.detach(np.array([0, 5]))
    assert slots_by_id(roster, np.array([0])) == [(0, 10)]


def test_an_index_is_made_when_rows_were_added_before():
    roster = Roster(*carried("str"))
    slots, _ = add(roster, (np.array([1]), np.array([1.0]), np.array(["a longer id"])))
    assert slots_by_id(roster, np.array(["a longer id"])) == [(0, slots[0])]


def test_compact_keeps_the_rows_that_are_there(roster, ids):
    remove(roster, np.array([1, 6]))
    add(roster, carried_like(roster, 2, first=70))
    roster.leverages = np.arange(len(roster.weight)) / 3.0
    kept = roster.live_slots()
    expected = [np.array(array[kept]) for array in (roster.y, roster.weight)]
    position, leverages = roster.position[kept], roster.leverages[kept]
    own_ids = None if ids is None else roster.ids[kept]
    n_positions, n_live = roster.n_positions, roster.n_live

    roster.compact(Transaction())
    assert roster.n_live == n_live == len(roster.weight) == len(kept)
    assert roster.n_positions == n_positions
    assert_array_equal(roster.position, position)
    assert_array_equal(roster.slots_of(position), np.arange(len(kept)))
    assert_array_equal(roster.slots_of([1, 6]), GONE)
    assert_array_equal(roster.y, expected[0])
    assert_array_equal(roster.weight, expected[1])
    assert_array_equal(roster.leverages, leverages)
    if ids is not None:
        assert_array_equal(roster.ids, own_ids)
        asked = np.unique(own_ids)
        assert slots_by_id(roster, asked) == slots_by_id_naively(roster, asked)
    remove(roster, np.array([0]))
    add(roster, carried_like(roster, 3, first=80))
    roster.compact(Transaction())
    assert len(roster.weight) == n_live + 2


def test_compact_is_undone(roster):
    remove(roster, np.array([1, 6]))
    add(roster, carried_like(roster, 2, first=70))
    before = state(roster)
    with pytest.raises(KeyboardInterrupt), Transaction() as transaction:
        roster.compact(transaction)
        raise KeyboardInterrupt
    assert state(roster) == before


def test_a_long_id_leaves_no_width_behind():
    """How wide ids are tells how long the longest one is."""
    roster = Roster(*carried("str"))
    width = roster.ids.dtype
    slots, _ = add(roster, (np.array([1]), np.array([1.0]), np.array(["x" * 90])))
    assert roster.ids.dtype == "<U90"
    remove(roster, slots)
    roster.compact(Transaction())
    assert roster.ids.dtype == width
    assert len(roster.ids) == N_ROWS
    add(roster, (np.array([1]), np.array([1.0]), np.array(["y" * 80])))
    assert roster.ids[-1] == "y" * 80


def test_a_long_id_that_is_taken_back_leaves_no_width_behind():
    roster = Roster(*carried("str"))
    before, width = state(roster), roster.ids.dtype
    mark = roster.mark()
    roster.append(np.array([1]), np.array([1.0]), np.array(["x" * 90]))
    assert roster.ids[-1] == "x" * 90
    roster.truncate(mark)
    assert state(roster) == before
    assert roster.ids.dtype == width


def test_looking_for_a_long_id_widens_nothing():
    roster = Roster(*carried("str"))
    slots_by_id(roster, np.array(["user-0"]))
    asked = np.array(["user-0", "user-x1", "user-x1" + "x" * 10**6])
    tracemalloc.start()
    found = slots_by_id(roster, asked)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == slots_by_id_naively(roster, asked)
    assert len(found) > 1
    assert peak < 10**7  # the rows would take 48 MB


def test_recode_gives_other_targets_to_the_same_rows():
    roster = Roster(*carried("int"))
    remove(roster, np.array([1]))
    before = state(roster)
    y = 10 * roster.y
    other = roster.recode(y)
    assert_array_equal(other.y, y)
    assert_array_equal(other.weight, roster.weight)
    assert_array_equal(other.position, roster.position)
    assert other.n_live == roster.n_live
    assert slots_by_id(other, np.array([0, 1])) == slots_by_id_naively(other, [0, 1])
    other.y[:] = 0
    assert state(roster) == before


def test_a_row_is_found_after_an_edit_with_other_codes_is_undone():
    """The last row of a class leaves, something fails, all is as it was."""
    roster = Roster(*carried("int"))
    before = state(roster)  # makes the index
    slots, n_live = np.array([0, 3]), roster.n_live
    positions = roster.position[slots]
    roster.detach(slots)
    recoded = roster.recode(roster.y - 1)
    saved = recoded.read(slots)
    recoded.wipe(slots)

    recoded.restore(slots, saved)
    roster.reattach(slots, positions, n_live)
    assert state(roster) == before


def test_pickling(roster):
    remove(roster, np.array([2]))
    add(roster, carried_like(roster, 2, first=70))
    before = state(roster)
    loaded = pickle.loads(pickle.dumps(roster))
    assert loaded._index is None
    assert state(loaded) == before
    add(loaded, carried_like(loaded, 2, first=90))
    assert loaded.n_live == roster.n_live + 2


def test_rows_of_a_file_are_copied_to_memory(roster, tmp_path):
    before = state(roster)
    for number, array in enumerate(roster._arrays()):
        np.save(tmp_path / f"{number}.npy", array.values)
        loaded = np.load(tmp_path / f"{number}.npy", mmap_mode="r")
        array.__setstate__({"values": loaded})
    assert is_mapped(roster.weight)
    roster.into_memory()
    assert not any(is_mapped(array.values) for array in roster._arrays())
    assert state(roster) == before
    remove(roster, np.array([2]))
