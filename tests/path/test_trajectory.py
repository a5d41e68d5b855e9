"""The cached run: what follows from its steps, how many bytes it takes, and where."""

import gc
import os
import pickle
import sys
from copy import deepcopy
from itertools import product
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._path import cost
from skdeltagrad._path.trajectory import Trajectory
from skdeltagrad._utils import memory

on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="files have names elsewhere"
)

N_SAMPLES, N_FEATURES = 150, 4
LOSSES = ("binomial", "multinomial", "balanced", "squared", "squared, 2 targets")
SCHEDULES = {
    "gd": {"solver": "gd", "max_iter": 40},
    "sgd": {
        "solver": "sgd",
        "batch_size": 16,  # the last one holds 6
        "max_iter": 4,
        "learning_rate": [0.3, 0.2, 0.2, 0.1],
        "random_state": 7,
    },
}
RUNS = list(product(LOSSES, SCHEDULES))
FLOAT32 = {"cache_dtype": "float32"}
# What a step is off by when it is rounded.
ROUNDING = 6e-8


def make_rows(loss):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_SAMPLES, N_FEATURES))
    X[:, 1] += 20.0  # a column that is centred
    signal = X @ rng.standard_normal((N_FEATURES, 3)) / 2
    signal += rng.standard_normal(signal.shape) - np.median(signal, axis=0)
    y = {
        "binomial": signal[:, 0] > 0,
        "squared": signal[:, 0],
        "squared, 2 targets": signal[:, :2],
    }.get(loss, np.argmax(signal, axis=1))
    return X, y, rng.integers(1, 4, N_SAMPLES).astype(float)


def make_estimator(loss, schedule, **parameters):
    parameters = {**SCHEDULES[schedule], **parameters}
    if loss.startswith("squared"):
        return DeltaGradRidge(alpha=2.0, **parameters)
    class_weight = "balanced" if loss == "balanced" else None
    return DeltaGradLogisticRegression(C=0.5, class_weight=class_weight, **parameters)


def fitted(loss, schedule, **parameters):
    X, y, weight = make_rows(loss)
    return make_estimator(loss, schedule, **parameters).fit(X, y, sample_weight=weight)


def length_of(trajectory):
    """Length of the path, step by step."""
    return np.linalg.norm(trajectory.steps.astype(float), axis=(1, 2)).sum()


# ---------------------------------------------------------------------------
# What follows from the steps
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_iterates_are_sums_of_steps(dtype):
    rng = np.random.default_rng(0)
    trajectory = Trajectory.allocate(9, 1, (2, 3), dtype)
    assert not trajectory.iterates.any()
    trajectory.steps[:] = rng.normal(size=(9, 2, 3))
    iterate, expected = np.zeros((2, 3)), [np.zeros((2, 3))]
    for step in trajectory.steps:
        iterate = iterate + step.astype(float)
        expected.append(iterate)
    assert trajectory.n_steps == 9
    assert trajectory.iterates.dtype == np.float64
    assert_allclose(trajectory.iterates, expected, rtol=1e-13)
    for steps in ([], [0], [9], [0, 1, 2], [3, 3, 8], list(range(10))):
        found = trajectory.iterates_at(np.array(steps, int))
        assert found.shape == (len(steps), 2, 3)
        assert_allclose(found, np.reshape(expected, (10, 2, 3))[steps], rtol=1e-13)


def objective_of(model):
    engine, training_set = model._engine, model._training_set
    batches = engine.schedule.batches(training_set.table)
    return engine.model.data_term(training_set), batches


def assert_playback(model, rtol):
    """It tells the iterates and gradients that were computed, at every step.

    And however a step was rounded, its gradient makes it up.
    """
    objective, batches = objective_of(model)
    n_features = objective.n_features
    playback, trajectory = model._engine.playback(), model.trajectory_
    iterate = np.zeros(objective.shape)
    n_empty = 0
    for step in range(trajectory.n_steps):
        indices = batches.at(step)
        n_empty += not len(indices)
        playback.go_to(step)
        assert_allclose(playback.iterate, iterate, rtol=0, atol=1e-12)
        expected = objective.gradient_sums(iterate, indices)
        found = playback.gradient_sums()
        assert_allclose(found, expected, rtol=0, atol=rtol * N_SAMPLES)
        made_up = -playback.sizes[0][step] * np.tensordot(
            playback.sizes[2], found, axes=1
        )
        if len(indices):
            shrinkage = playback.sizes[1][step][:, np.newaxis]
            made_up[:, :n_features] -= shrinkage * iterate[:, :n_features]
        assert_allclose(made_up, trajectory.steps[step], rtol=0, atol=1e-14)
        iterate = iterate + trajectory.steps[step]
    assert_allclose(trajectory.end, iterate, rtol=0, atol=1e-12)
    return n_empty


@pytest.mark.parametrize(("loss", "schedule"), RUNS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_gradients_of_a_fit_follow_from_its_steps(loss, schedule, dtype):
    model = fitted(loss, schedule, cache_dtype=dtype)
    n_groups = 3 if loss == "balanced" else 1
    shape = model.trajectory_.steps.shape
    assert model.trajectory_.group_sums.shape == (
        shape[0], n_groups - 1, *shape[1:]
    )  # fmt: skip
    assert assert_playback(model, 1e-12 if dtype == "float64" else 1e-6) == 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", LOSSES)
def test_also_where_batches_are_empty(loss, dtype):
    model = fitted(loss, "sgd", period=1, cache_dtype=dtype)
    schedule = model._engine.schedule
    emptied = np.concatenate(
        [schedule.dealt(step, np.arange(schedule.n_positions)) for step in (0, 17)]
    )
    model.unlearn(position=np.unique(emptied))
    rtol = 1e-12 if dtype == "float64" else 1e-6
    assert assert_playback(model, rtol) == 2
    assert assert_playback(model.partial_refit(), rtol) == 2
    assert not model.trajectory_.steps[[0, 17]].any()
    assert not model.trajectory_.group_sums[[0, 17]].any()


def test_playback_may_leave_steps_out():
    model = fitted("balanced", "sgd")
    steps = [0, 1, 13, 14, model.trajectory_.n_steps - 1]
    playback, one_by_one = model._engine.playback(), model._engine.playback()
    for step in range(model.trajectory_.n_steps):
        one_by_one.go_to(step)
        if step in steps:
            playback.go_to(step)
            assert_array_equal(playback.iterate, one_by_one.iterate)
            found, expected = playback.gradient_sums(), one_by_one.gradient_sums()
            assert_array_equal(found, expected)


def test_playback_leaves_the_run_alone():
    model = fitted("balanced", "gd")
    before = deepcopy(model.trajectory_)
    playback = model._engine.playback()
    playback.go_to(7)
    playback.gradient_sums()[:] = np.nan
    playback.iterate[:] = np.nan
    for name, array in vars(before).items():
        assert_array_equal(getattr(model.trajectory_, name), array)


# ---------------------------------------------------------------------------
# Bytes
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("in_folder", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_groups", [1, 2, 3])
def test_what_is_asked_for_is_what_is_held(n_groups, dtype, in_folder, tmp_path):
    arguments = 7, n_groups, (2, 5), dtype
    folder = tmp_path if in_folder else None
    trajectory = Trajectory.allocate(*arguments, folder=folder)
    assert trajectory.nbytes == Trajectory.bytes_needed(*arguments)
    assert trajectory.nbytes == sum(a.nbytes for a in vars(trajectory).values())
    item = np.dtype(dtype).itemsize
    assert trajectory.nbytes == 7 * n_groups * 10 * item + 7 + 80
    assert trajectory.steps.dtype == trajectory.group_sums.dtype == dtype
    assert trajectory.end.dtype == np.float64
    assert not trajectory.steps.any()
    assert trajectory.exact.all()


@pytest.mark.parametrize(("loss", "schedule"), RUNS)
def test_half_of_what_the_paper_keeps(loss, schedule):
    """All iterates and all gradients: of every class, under "balanced"."""
    model = fitted(loss, schedule)
    n_steps, *shape = model.trajectory_.steps.shape
    n_coef = np.prod(shape)
    n_groups = 3 if loss == "balanced" else 1
    papers = 8 * n_coef * n_steps * (1 + n_groups)
    most = papers / 2 if n_groups == 1 else papers * 3 / 4
    assert model.trajectory_.nbytes <= most + n_steps + 8 * n_coef
    assert model.update_report_.cache_bytes == model.trajectory_.nbytes
    small = fitted(loss, schedule, **FLOAT32).trajectory_
    assert small.nbytes <= most / 2 + n_steps + 8 * n_coef


# ---------------------------------------------------------------------------
# Steps in single precision
# ---------------------------------------------------------------------------


def assert_rounded_run(trajectory):
    """It is the run itself that is kept, not a copy with an error."""
    assert trajectory.steps.dtype == trajectory.group_sums.dtype == np.float32
    total = trajectory.steps.sum(axis=0, dtype=float)
    assert_allclose(trajectory.end, total, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("loss", "schedule"), RUNS)
def test_a_fit_in_single_precision(loss, schedule):
    small, model = fitted(loss, schedule, **FLOAT32), fitted(loss, schedule)
    assert_rounded_run(small.trajectory_)
    off = np.linalg.norm(small.trajectory_.end - model.trajectory_.end)
    assert 0 < off <= ROUNDING * length_of(model.trajectory_)
    assert small.coef_.dtype == np.float64
    off = np.linalg.norm(small.coef_ - model.coef_)
    assert 0 < off <= ROUNDING * length_of(model.trajectory_)


# What the end of an edited run is off a retrain's by, as a share of what the edit moves
# it by, with gd and with sgd: a batch of 16 rows is mostly noise. And what the runs in
# single and in double precision differ by, in what rounding does to a path: curvature
# pairs are of small differences.
PERIODS = {1: (1e-6, 1e-6, 1), 5: (0.05, 0.6, 200), "auto": (0.02, 0.3, 2)}


@pytest.mark.usefixtures("replay_always")
@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize(("loss", "schedule"), RUNS)
def test_edits_in_single_precision_come_near_the_retrain(
    loss, schedule, period, monkeypatch
):
    # Of four epochs, one try takes more passes than tries may.
    monkeypatch.setattr(cost.Attempt, "most_passes", np.inf)
    X, y, _ = make_rows(loss)
    parameters = {"edit_tol": 10.0} if period == "auto" else {"burn_in": 4}
    parameters["period"] = period
    models = [
        fitted(loss, schedule, **parameters, cache_dtype=dtype)
        for dtype in ("float32", "float64")
    ]
    before = models[0].trajectory_.end.copy()
    for model in models:
        model.unlearn(position=[5, 77])
        model.partial_refit(X[:2] + 0.1, y[:2])
        assert not model.update_report_.refit
    small, exact = (model.trajectory_ for model in models)
    if period == "auto":  # a repair changes the steps before it, which are rounded
        assert small.steps.dtype == np.float32
        total = small.steps.sum(axis=0, dtype=float)
        assert np.linalg.norm(total - small.end) <= ROUNDING * length_of(small)
    else:
        assert_rounded_run(small)
    by_gd, by_sgd, roundings = PERIODS[period]
    apart = np.linalg.norm(small.end - exact.end)
    assert apart <= roundings * ROUNDING * length_of(exact)
    retrained = models[0].partial_refit().trajectory_
    assert_rounded_run(retrained)
    moved = np.linalg.norm(retrained.end - before)
    assert moved > 1e-2
    error = np.linalg.norm(small.end - retrained.end)
    assert error < (by_gd if schedule == "gd" else by_sgd) * moved


@pytest.mark.usefixtures("replay_always")
@pytest.mark.parametrize("period", PERIODS)
def test_many_edits_in_single_precision_add_up_to_no_more(period):
    models = [
        fitted("multinomial", "gd", period=period, cache_dtype=dtype)
        for dtype in ("float32", "float64")
    ]
    for model in models:
        for position in range(12):
            model.unlearn(position=position)
    small, exact = (model.trajectory_ for model in models)
    apart = np.linalg.norm(small.end - exact.end)
    assert apart <= PERIODS[period][2] * ROUNDING * length_of(exact)


@pytest.mark.parametrize(
    ("before", "after"), [("float64", "float32"), ("float32", "float64")]
)
def test_the_precision_is_fixed_by_fit(before, after, unchanged):
    model = fitted("binomial", "gd", cache_dtype=before)
    model.set_params(cache_dtype=after)
    message = f"cache_dtype was '{before}' in fit and is '{after}' now"
    for edit in (lambda: model.unlearn(position=1), model.partial_refit):
        with unchanged(model), pytest.raises(ValueError, match=message):
            edit()
    model.set_params(cache_dtype=before).unlearn(position=1)
    assert model.trajectory_.steps.dtype == before


# ---------------------------------------------------------------------------
# Runs in files
# ---------------------------------------------------------------------------


def maps_of(folder):
    """Mappings of files in a folder that the process holds."""
    return Path("/proc/self/maps").read_text().count(f"{folder}/")


def is_mapped(array):
    """Whether it lies in a file: its memory is another object's, not NumPy's."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return isinstance(array.base, memoryview)


def assert_in_file(trajectory, n_groups):
    assert is_mapped(trajectory.steps)
    assert is_mapped(trajectory.group_sums) == (n_groups > 1)


def assert_same_run(found, expected):
    for name, array in vars(expected).items():
        assert_array_equal(getattr(found, name), array, err_msg=name)


@pytest.mark.usefixtures("replay_always")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize(("loss", "schedule"), RUNS[::3])
def test_the_same_run_in_a_file(loss, schedule, period, dtype, tmp_path):
    X, y, _ = make_rows(loss)
    parameters = {"period": period, "cache_dtype": dtype}
    kept = fitted(loss, schedule, **parameters)
    assert not is_mapped(kept.trajectory_.steps)
    model = fitted(loss, schedule, **parameters, cache_folder=tmp_path)
    n_groups = 3 if loss == "balanced" else 1
    edits = (
        lambda model: model,
        lambda model: model.unlearn(position=[5, 77]),
        lambda model: model.partial_refit(X[:2] + 0.1, y[:2]),
        lambda model: model.partial_refit(),
    )
    for edit in edits:
        for each in (kept, model):
            edit(each)
        assert_in_file(model.trajectory_, n_groups)
        assert_same_run(model.trajectory_, kept.trajectory_)
        assert_array_equal(model.coef_, kept.coef_)
        assert model.update_report_.cache_bytes == kept.update_report_.cache_bytes


def test_a_file_needs_no_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "available_bytes", lambda: 100)
    arguments = 7, 3, (2, 5), "float64"
    with pytest.raises(MemoryError, match="or a cache_folder"):
        Trajectory.allocate(*arguments)
    trajectory = Trajectory.allocate(*arguments, folder=tmp_path)
    assert_in_file(trajectory, 3)


@on_linux
@pytest.mark.usefixtures("replay_always")
@pytest.mark.parametrize("period", PERIODS)
def test_files_have_no_name_and_are_gone_when_nobody_reads_them(period, tmp_path):
    model = fitted("balanced", "gd", period=period, cache_folder=str(tmp_path))
    for edit in (
        lambda: None,
        lambda: model.unlearn(position=[5, 77]),
        lambda: model.partial_refit(),
    ):
        edit()
        assert os.listdir(tmp_path) == []
        assert maps_of(tmp_path) == 2  # steps, and sums of the groups
    model = edit = None
    gc.collect()
    assert maps_of(tmp_path) == 0


@pytest.mark.usefixtures("replay_always")
@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("to_folder", [False, True])
def test_a_dump_is_edited_elsewhere(to_folder, period, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    model = fitted("balanced", "sgd", period=period, cache_folder=here)
    joblib.dump(model, tmp_path / "model.joblib")
    model.unlearn(position=[5, 77])
    here.rmdir()
    loaded = joblib.load(tmp_path / "model.joblib")
    loaded.set_params(cache_folder=there if to_folder else None)
    loaded.unlearn(position=[5, 77])
    assert is_mapped(loaded.trajectory_.steps) == to_folder
    assert_same_run(loaded.trajectory_, model.trajectory_)
    assert_array_equal(loaded.coef_, model.coef_)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_a_dump_may_be_a_file_again(mmap_mode, tmp_path):
    model = fitted("balanced", "gd", period=5, cache_folder=tmp_path)
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib", mmap_mode=mmap_mode)
    assert isinstance(loaded.trajectory_.steps, np.memmap) == (mmap_mode == "r")
    for each in (model, loaded):
        each.unlearn(position=[5, 77])
        assert_in_file(each.trajectory_, 3)
    assert_same_run(loaded.trajectory_, model.trajectory_)


@pytest.mark.parametrize(
    "copied",
    [deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_has_a_run_of_its_own(copied, tmp_path):
    model = fitted("balanced", "gd", period=5, cache_folder=tmp_path)
    copy = copied(model)
    assert_same_run(copy.trajectory_, model.trajectory_)
    for name in ("steps", "group_sums"):
        arrays = (getattr(each.trajectory_, name) for each in (copy, model))
        assert not np.shares_memory(*arrays)
    before = deepcopy(model.trajectory_)
    copy.trajectory_.steps[:] += 1.0
    copy.trajectory_.group_sums[:] += 1.0
    assert_same_run(model.trajectory_, before)
    copied(model).unlearn(position=[5, 77])
    assert_same_run(model.trajectory_, before)


@pytest.mark.usefixtures("replay_always")
@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("missing", ["nowhere", "a file"])
def test_a_folder_that_is_not_there(missing, period, tmp_path, unchanged):
    (tmp_path / "a file").touch()
    folder = tmp_path / missing
    message = f"cache_folder='{folder}' is no folder: make it, or use cache_folder=None"
    fresh = make_estimator("multinomial", "gd", cache_folder=str(folder))
    X, y, _ = make_rows("multinomial")
    with pytest.raises(NotADirectoryError, match=message):
        fresh.fit(X, y)
    assert not hasattr(fresh, "coef_")
    model = fitted("multinomial", "gd", period=period, cache_folder=tmp_path)
    model.unlearn(position=[0])
    model.set_params(cache_folder=folder)
    for edit in (
        lambda: model.unlearn(position=[5, 77]),
        lambda: model.partial_refit(X[:2], y[:2]),
        lambda: model.fit(X, y),
    ):
        with unchanged(model), pytest.raises(NotADirectoryError, match=message):
            edit()
    # It goes on where there is one.
    model.set_params(cache_folder=tmp_path).unlearn(position=[5, 77])
    other = fitted("multinomial", "gd", period=period).unlearn(position=[0])
    assert_same_run(model.trajectory_, other.unlearn(position=[5, 77]).trajectory_)


@pytest.mark.usefixtures("replay_always")
@pytest.mark.parametrize("period", PERIODS)
def test_the_folder_may_be_changed_after_fit(period, tmp_path):
    models = [
        fitted("multinomial", "sgd", period=period, cache_folder=folder)
        for folder in (None, tmp_path)
    ]
    models[0].set_params(cache_folder=tmp_path)
    models[1].set_params(cache_folder=None)
    for model in models:
        model.unlearn(position=[5, 77])
    assert is_mapped(models[0].trajectory_.steps)
    assert not is_mapped(models[1].trajectory_.steps)
    assert_same_run(*(model.trajectory_ for model in models))


def test_a_retrain_goes_to_another_folder_too(tmp_path):
    model = fitted("multinomial", "gd", cache_folder=tmp_path)
    model.set_params(cache_folder=tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="nowhere"):
        model.partial_refit()
    model.set_params(cache_folder=None).partial_refit()
    assert not is_mapped(model.trajectory_.steps)


def test_to_another_process_and_back(tmp_path):
    X, y, _ = make_rows("multinomial")
    model = fitted("multinomial", "gd", cache_folder=tmp_path)
    expected = model.trajectory_
    fit = make_estimator("multinomial", "gd", cache_folder=tmp_path).fit
    tasks = [joblib.delayed(deepcopy)(model), joblib.delayed(fit)(X, y)]
    there, back = joblib.Parallel(n_jobs=2)(tasks)
    assert_same_run(there.trajectory_, expected)
    assert_same_run(back.trajectory_, model.fit(X, y).trajectory_)
