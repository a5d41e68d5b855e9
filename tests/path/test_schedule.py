"""Which rows a batch holds, counted and listed in every way there is."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdeltagrad._data.group_weights import RowCounts
from skdeltagrad._data.row_table import RowTable
from skdeltagrad._path.schedule import FullBatch, MiniBatches

N_ROWS, N_EPOCHS, N_GROUPS = 53, 4, 3

SCHEDULES = {
    "full": FullBatch(np.linspace(0.1, 0.4, N_EPOCHS), N_ROWS, 7),
    "short last batch": MiniBatches(np.linspace(0.1, 0.4, N_EPOCHS), N_ROWS, 7, 10),
    "single rows": MiniBatches(np.full(N_EPOCHS, 0.1), N_ROWS, 7, 1),
    "one batch": MiniBatches(np.full(N_EPOCHS, 0.1), N_ROWS, 7, 1000),
}


@pytest.fixture(params=SCHEDULES)
def schedule(request):
    return SCHEDULES[request.param]


def dealt(schedule, step):
    """Rows of fit that belong to a batch, their storage indices being their numbers."""
    return schedule.dealt(step, np.arange(schedule.n_positions))


class Rows:
    """Rows of fit and later ones, some of them gone, with weights and groups."""

    def __init__(self, n_later=20, n_gone=15, seed=0):
        rng = np.random.default_rng(seed)
        n_rows = N_ROWS + n_later
        self.weight = rng.random(n_rows) * (rng.random(n_rows) < 0.9)
        self.group = rng.integers(N_GROUPS, size=n_rows)
        self.table = RowTable(self.group[:N_ROWS], self.weight[:N_ROWS])
        indices = self.table.append(self.group[N_ROWS:], self.weight[N_ROWS:])
        # Positions are not storage indices: added rows take them in another order.
        positions = rng.permutation(self.table.give_positions(n_later))
        self.table.attach(indices, positions)
        self.table.detach(rng.choice(n_rows, size=n_gone, replace=False))
        self.indices = self.table.live_indices()
        self.positions = self.table.position[self.indices]

    def row_counts(self, schedule):
        return self.row_counts_of(schedule, self.indices, self.positions)

    def row_counts_of(self, schedule, indices, positions):
        return schedule.row_counts(
            positions, self.weight[indices], self.group[indices], N_GROUPS
        )


def steps(schedule):
    return range(schedule.n_steps)


def by_step(batches, schedule):
    return [sorted(batches.at(step).tolist()) for step in steps(schedule)]


def assert_row_counts(row_counts, schedule, batches, rows):
    """A row counts says what batches hold, one entry for all steps or one for each."""
    shape = schedule.n_steps, N_GROUPS
    count = np.broadcast_to(row_counts.count, shape)
    weight = np.broadcast_to(row_counts.weight, shape)
    for step, indices in enumerate(batches):
        group, of_rows = rows.group[indices], rows.weight[indices]
        expected = np.bincount(group[of_rows > 0], minlength=N_GROUPS)
        assert_array_equal(count[step], expected)
        expected = np.bincount(group, of_rows, N_GROUPS)
        assert_allclose(weight[step], expected, rtol=1e-13, atol=1e-15)


def test_numbers_of_steps():
    found = {name: schedule.steps_per_epoch for name, schedule in SCHEDULES.items()}
    assert found == {
        "full": 1,
        "short last batch": 6,
        "single rows": N_ROWS,
        "one batch": 1,
    }
    for schedule in SCHEDULES.values():
        assert schedule.n_epochs == N_EPOCHS
        assert schedule.n_steps == N_EPOCHS * schedule.steps_per_epoch


def test_every_row_is_dealt_once_an_epoch(schedule):
    table = RowTable(np.zeros(N_ROWS, np.int64), np.ones(N_ROWS))
    batches = schedule.batches(table)
    for epoch in range(N_EPOCHS):
        first = epoch * schedule.steps_per_epoch
        dealt = [batches.at(first + i) for i in range(schedule.steps_per_epoch)]
        assert_array_equal(np.sort(np.concatenate(dealt)), np.arange(N_ROWS))


def test_the_last_batch_is_short():
    schedule = SCHEDULES["short last batch"]
    sizes = [len(dealt(schedule, step)) for step in steps(schedule)]
    assert sizes == [10, 10, 10, 10, 10, 3] * N_EPOCHS


def test_epochs_are_dealt_anew():
    schedule = SCHEDULES["short last batch"]
    first = [tuple(dealt(schedule, 6 * epoch)) for epoch in range(N_EPOCHS)]
    assert len(set(first)) == N_EPOCHS


def test_batches_belong_to_a_seed():
    rates = np.ones(2)
    first = [dealt(MiniBatches(rates, 53, seed, 10), 0) for seed in (1, 1, 2)]
    assert_array_equal(first[0], first[1])
    assert first[0].tolist() != first[2].tolist()


def test_the_batches_are_what_they_always_were():
    """Computed once: a saved model must find its batches in every later version."""
    schedule = MiniBatches(np.ones(2), 10, 2024, 4)
    assert [
        dealt(schedule, step).tolist() for step in steps(schedule)
    ] == GOLDEN_BATCHES
    later = schedule.members(np.arange(10, 16), np.arange(10, 16))
    assert by_step(later, schedule) == GOLDEN_LATER


GOLDEN_BATCHES = [
    [8, 7, 2, 4], [0, 9, 3, 5], [1, 6],
    [7, 9, 8, 1], [4, 6, 5, 2], [3, 0],
]  # fmt: skip
GOLDEN_LATER = [
    [11, 15], [13], [10, 12, 14],
    [10, 13, 14], [11, 12, 15], [],
]  # fmt: skip


@pytest.mark.parametrize("n_later", [0, 1, 20])
@pytest.mark.parametrize("n_gone", [0, 15, 50])
def test_batches_and_members_say_the_same(schedule, n_later, n_gone):
    rows = Rows(n_later, n_gone)
    batches = by_step(schedule.batches(rows.table), schedule)
    assert batches == by_step(schedule.members(rows.positions, rows.indices), schedule)
    for epoch in range(N_EPOCHS):
        first = epoch * schedule.steps_per_epoch
        dealt = sum(batches[first : first + schedule.steps_per_epoch], [])
        assert sorted(dealt) == rows.indices.tolist()


def test_batches_can_be_asked_in_any_order(schedule):
    rows = Rows()
    expected = by_step(schedule.batches(rows.table), schedule)
    batches = schedule.batches(rows.table)
    for step in np.random.default_rng(1).permutation(schedule.n_steps):
        assert sorted(batches.at(step).tolist()) == expected[step]


def test_a_row_keeps_its_batches_whatever_happens_to_others(schedule):
    few, many = Rows(n_later=20, n_gone=0), Rows(n_later=20, n_gone=40)
    kept = set(many.indices.tolist())
    before = by_step(schedule.batches(few.table), schedule)
    after = by_step(schedule.batches(many.table), schedule)
    # Both number the rows alike: the same seed drew them.
    assert_array_equal(
        few.table.position[many.indices], many.table.position[many.indices]
    )
    assert after == [[index for index in batch if index in kept] for batch in before]


def test_members_of_nobody(schedule):
    no_rows = np.zeros(0, np.int64)
    members = schedule.members(no_rows, no_rows)
    assert by_step(members, schedule) == [[]] * schedule.n_steps
    row_counts = schedule.row_counts(no_rows, np.zeros(0), no_rows, N_GROUPS)
    assert not row_counts.count.any()
    assert not row_counts.weight.any()


@pytest.mark.parametrize("n_later", [0, 20])
@pytest.mark.parametrize("n_gone", [0, 15, 50])
def test_row_counts(schedule, n_later, n_gone):
    rows = Rows(n_later, n_gone)
    batches = by_step(schedule.batches(rows.table), schedule)
    assert_row_counts(rows.row_counts(schedule), schedule, batches, rows)


def test_row_counts_after_an_edit(schedule):
    """Rows leave and others join: the same as counting those that are there then."""
    rows = Rows(n_later=30, n_gone=0)
    chosen = np.random.default_rng(2).permutation(len(rows.indices))
    left, joined, kept = chosen[:11], chosen[11:18], chosen[18:]

    def row_counts(which):
        return rows.row_counts_of(schedule, rows.indices[which], rows.positions[which])

    base = row_counts(np.concatenate([left, kept]))
    before = base.count.copy(), base.weight.copy()
    edited = base.minus(row_counts(left)).plus(row_counts(joined))
    expected = row_counts(np.concatenate([kept, joined]))

    assert_array_equal(edited.count, expected.count)
    assert_allclose(edited.weight, expected.weight, rtol=1e-12, atol=1e-14)
    # An edit that fails leaves the old row counts behind.
    assert_array_equal(base.count, before[0])
    assert_array_equal(base.weight, before[1])


def removed_batch(seed, step, group=None):
    """Row counts after the rows of a batch, or those of a group in it, have left."""
    schedule = SCHEDULES["short last batch"]
    rows = Rows(n_later=0, n_gone=0, seed=seed)
    rows.weight = 0.1 + rows.weight  # sums of these round
    everyone = np.arange(N_ROWS)
    gone = dealt(schedule, step)
    if group is not None:
        gone = gone[rows.group[gone] == group]
    row_counts = rows.row_counts_of(schedule, everyone, everyone)
    for some in (gone[1::2], gone[::2]):
        row_counts = row_counts.minus(
            rows.row_counts_of(schedule, some[::-1], some[::-1])
        )
    return schedule, row_counts


@pytest.mark.parametrize("step", [0, 5, 13])
@pytest.mark.parametrize("seed", range(4))
def test_an_emptied_batch_weighs_nothing(seed, step):
    schedule, row_counts = removed_batch(seed, step)
    assert_array_equal(row_counts.count[step], np.zeros(N_GROUPS))
    assert_array_equal(row_counts.weight[step], np.zeros(N_GROUPS))
    rate, _ = schedule.step_sizes(row_counts, np.ones(N_GROUPS), np.ones(1))
    assert_array_equal(np.flatnonzero(rate == 0), [step])


@pytest.mark.parametrize("seed", range(4))
def test_an_emptied_group_weighs_nothing(seed):
    """Not what rounding left, which would pass for a weight and scale predictions."""
    for step in range(6):
        for group in range(N_GROUPS):
            _, row_counts = removed_batch(seed, step, group)
            assert row_counts.count[step, group] == 0
            assert row_counts.weight[step, group] == 0.0


def test_rows_without_weight_do_not_count():
    schedule = SCHEDULES["short last batch"]
    everyone, group = np.arange(N_ROWS), np.zeros(N_ROWS, np.int64)
    weight = np.ones(N_ROWS)
    weight[dealt(schedule, 2)] = 0.0
    row_counts = schedule.row_counts(everyone, weight, group, 1)
    assert row_counts.count[:6, 0].tolist() == [10, 10, 0, 10, 10, 3]
    rate, _ = schedule.step_sizes(row_counts, np.ones(1), np.ones(1))
    assert rate[2] == 0.0
    full = SCHEDULES["full"].row_counts(everyone, weight, group, 1)
    assert full.count.tolist() == [[N_ROWS - 10]]


def test_step_sizes(schedule):
    rows = Rows()
    alpha, factor = np.array([0.5, 2.0]), np.array([0.3, 1.0, 4.0])
    rate, shrinkage = schedule.step_sizes(rows.row_counts(schedule), factor, alpha)
    batches = by_step(schedule.batches(rows.table), schedule)
    weight = rows.weight * factor[rows.group]
    eta = np.repeat(schedule.learning_rates, schedule.steps_per_epoch)

    batch_weight = [weight[indices].sum() for indices in batches]
    expected = [e / w if w > 0 else 0.0 for e, w in zip(eta, batch_weight, strict=True)]
    assert rate.shape == (schedule.n_steps,)
    assert_allclose(rate, expected, rtol=1e-12)
    total = weight[rows.indices].sum()
    assert shrinkage.shape == (schedule.n_steps, 2)
    assert_allclose(shrinkage, np.outer(eta / total, alpha), rtol=1e-12)


def test_row_counts_of_one_entry_stand_for_all_steps():
    schedule = SCHEDULES["full"]
    row_counts = RowCounts(np.array([[1, 2]]), np.array([[2.0, 4.0]]))
    rate, shrinkage = schedule.step_sizes(
        row_counts, np.array([1.0, 0.5]), np.array([8.0])
    )
    assert_allclose(rate, schedule.learning_rates / 4)
    assert_allclose(shrinkage[:, 0], schedule.learning_rates * 2)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 5, 97])
@pytest.mark.parametrize("batch_size", [1, 2, 97, 200])
def test_few_rows(n_rows, batch_size):
    schedule = MiniBatches(np.ones(3), n_rows, 0, batch_size)
    assert schedule.batch_size == min(batch_size, n_rows)
    assert schedule.steps_per_epoch == -(-n_rows // batch_size)
    for epoch in range(3):
        first = epoch * schedule.steps_per_epoch
        last = first + schedule.steps_per_epoch
        rows = np.concatenate([dealt(schedule, step) for step in range(first, last)])
        assert_array_equal(np.sort(rows), np.arange(n_rows))
