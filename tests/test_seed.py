"""Hessians along a path: each point's is the sample's own, and edits are sums."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdeltagrad import _seed
from skdeltagrad._change import Change
from skdeltagrad._losses import BinomialLoss, HalfSquaredLoss, MultinomialLoss
from skdeltagrad._objective import Objective
from skdeltagrad._rows import AbstractRows
from skdeltagrad._seed import Seed, affordable_share, is_sampled
from skdeltagrad._trajectory import Trajectory

LOSSES = {
    "binomial": BinomialLoss(),
    "multinomial": MultinomialLoss(4),
    "half_squared": HalfSquaredLoss(2),
}
N_ROWS, N_FEATURES, N_STEPS = 80, 4, 40


class Run:
    """A path that bends, over random rows."""

    def __init__(self, loss, n_groups=1):
        rng = np.random.default_rng(0)
        self.loss = LOSSES[loss]
        n_outputs = self.loss.n_outputs
        X = rng.normal(size=(N_ROWS, N_FEATURES))
        if self.loss.is_quadratic:
            y = rng.normal(size=(N_ROWS, n_outputs))
        else:
            y = rng.integers(max(2, n_outputs), size=N_ROWS)
        self.weight = rng.random(N_ROWS) + 0.5
        self.group = rng.integers(n_groups, size=N_ROWS)
        self.objective = Objective(
            AbstractRows.of(X), y, self.weight, self.loss, np.zeros(N_FEATURES),
            self.group, n_groups,
        )  # fmt: skip
        self.trajectory = Trajectory.allocate(N_STEPS, n_groups, self.objective.shape)
        speed = rng.normal(size=(N_STEPS, *self.objective.shape))
        if isinstance(self.loss, MultinomialLoss):
            speed -= speed.mean(axis=1, keepdims=True)
        speed /= np.arange(1, N_STEPS + 1)[:, np.newaxis, np.newaxis]
        self.trajectory.iterates[1:] = np.cumsum(speed, axis=0)
        self.slots = np.arange(N_ROWS)
        self.positions = self.slots + 1000
        self.drift = 1e-3 * speed[3]

    def seed(self, share=1.0, without=()):
        kept = np.setdiff1d(self.slots, without)
        return Seed.survey(
            self.objective, self.trajectory, kept, self.positions[kept], share
        )

    def response(self, place, slots):
        """By finite differences, per unit of weight."""
        h = 1e-4 / np.linalg.norm(self.drift)
        higher = self.objective.gradient_sums(place + h * self.drift, slots)
        lower = self.objective.gradient_sums(place - h * self.drift, slots)
        group = self.group[slots]
        weight = np.bincount(group, self.weight[slots], self.objective.n_groups)
        return (higher - lower) / (2 * h) / weight[:, np.newaxis, np.newaxis]


@pytest.fixture(params=[("binomial", 1), ("multinomial", 2), ("half_squared", 1)])
def run(request):
    return Run(*request.param)


def test_at_a_point_it_is_the_hessian_there(run):
    seed = run.seed()
    first_steps = np.flatnonzero(np.diff(seed.point, prepend=-1))
    for step in first_steps:
        assert seed.progress[step] == 0.0
        found = seed.predict(run.loss, step, run.drift)
        expected = run.response(run.trajectory.iterates[step], run.slots)
        assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_between_points_it_moves_from_one_to_the_next(run):
    seed = run.seed()
    if run.loss.is_quadratic:
        assert len(seed.places) == 1
        return
    assert len(seed.places) == 9
    assert_allclose(seed.places[-1], run.trajectory.iterates[-1])
    inside = np.diff(seed.point) == 0
    assert (np.diff(seed.progress)[inside] > 0).all()
    step = int(np.flatnonzero(seed.progress > 0.4)[0])
    ends = [
        run.response(seed.places[seed.point[step] + end], run.slots) for end in (0, 1)
    ]
    progress = seed.progress[step]
    expected = (1 - progress) * ends[0] + progress * ends[1]
    found = seed.predict(run.loss, step, run.drift)
    assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_after_an_edit_it_is_that_of_the_rows_that_are_there(run, share):
    others = np.arange(20, 30)
    removed = np.array([3, 7, 41])
    seed = run.seed(share, without=others)
    change = Change(removed, run.positions[removed], others, run.positions[others])
    found = seed.changed(run.objective, change)
    expected = run.seed(share, without=removed)
    assert_allclose(found.hessians, expected.hessians, rtol=1e-9, atol=1e-11)
    for name, sums in vars(expected.sums).items():
        assert_allclose(getattr(found.sums, name), sums, rtol=1e-9, atol=1e-11)
    before = run.seed(share, without=others)
    assert_array_equal(seed.hessians, before.hessians)  # as it was


def test_a_sample_is_made_up_for_where_all_rows_bend_alike():
    """Exact for a squared error, and at the start of a path for log-losses."""
    for loss in LOSSES:
        run = Run(loss)
        found = run.seed(0.4)
        assert np.count_nonzero(is_sampled(run.positions, 0.4)) < 60
        expected = run.seed()
        assert_allclose(found.hessians[0], expected.hessians[0], rtol=1e-9)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_a_sample_has_its_share_of_any_positions(share):
    for positions in (np.arange(40_000), 10**9 + 7 * np.arange(40_000)):
        drawn = is_sampled(positions, share)
        deviation = np.sqrt(share * (1 - share) / len(positions))
        assert abs(drawn.mean() - share) < 4 * deviation
        assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.03
    larger = is_sampled(positions, min(1.0, 1.5 * share))
    assert larger[drawn].all()


def test_everybody_is_in_a_sample_of_all():
    assert is_sampled(np.arange(1000), 1.0).all()


def test_a_long_fit_affords_all_rows_and_a_short_one_none(monkeypatch):
    objective = Run("multinomial").objective
    assert affordable_share(objective, N_ROWS, 10_000 * N_ROWS) == 1.0
    assert affordable_share(objective, N_ROWS, 1 * N_ROWS) is None
    share = affordable_share(objective, 10_000_000, 3 * 10_000_000)
    assert 0.0 < share < 1.0
    monkeypatch.setattr(_seed, "_MOST_COEFFICIENTS", 5)
    assert affordable_share(objective, N_ROWS, 10_000 * N_ROWS) is None


def test_a_group_without_rows_predicts_nothing():
    run = Run("binomial", 2)
    seed = run.seed(without=run.slots[run.group == 1])
    found = seed.predict(run.loss, 5, run.drift)
    assert found[0].any()
    assert not found[1].any()
