"""Fixtures that several test modules share."""

import secrets
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

from skdeltagrad._estimators.base import BaseDeltaGrad
from skdeltagrad._estimators.plain_state import plain
from skdeltagrad._path import cost

# Numbers of examples are those of `test_state_machine` in all; see doc/testing.md.
settings.register_profile(
    "ci",
    max_examples=90,
    stateful_step_count=10,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
settings.register_profile(
    "long",
    settings.get_profile("ci"),
    max_examples=2100,
    stateful_step_count=12,
    derandomize=False,
    print_blob=True,
)
settings.load_profile("ci")


def pytest_configure(config):
    """The long profile runs by another seed every time, unless one is given."""
    is_long = config.getoption("--hypothesis-profile") == "long"
    if is_long and config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(secrets.randbelow(2**32))


def pytest_report_header(config):
    """The seed, so that a run can be repeated."""
    return f"hypothesis seed: {config.getoption('--hypothesis-seed')}"


def _contents(value, place):
    """Everything that an object holds, as pairs of a place and a comparable value."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "UO":
        yield place, ("text", value.tolist())  # whatever the width of the dtype
    elif isinstance(value, np.ndarray):
        yield place, (value.dtype.str, value.shape, value.tobytes())
    elif isinstance(value, dict):
        yield place, ("dict", list(map(repr, value)))
        for key, part in value.items():
            yield from _contents(part, f"{place}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        yield place, (type(value).__name__, len(value))
        for number, part in enumerate(value):
            yield from _contents(part, f"{place}[{number}]")
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        # The pickled state: without caches that are made again when needed.
        yield place, type(value).__name__
        if isinstance(value, BaseDeltaGrad):  # pickling it would purge it
            state = plain(value._state_to_copy())
        else:
            state = value.__getstate__() or {}
        for name, part in state.items():
            yield from _contents(part, f"{place}.{name}")
    else:
        yield place, repr(value)


@pytest.fixture(scope="session")
def contents():
    """A function from an estimator to all that it holds, bit by bit, by place."""
    return lambda estimator: dict(_contents(estimator, "estimator"))


@pytest.fixture(scope="session")
def unchanged(contents):
    """A context in which an estimator may not change, not by one bit.

    Two estimators that were edited in the same way are compared by ``contents``.
    """

    @contextmanager
    def unchanged(estimator):
        report = vars(estimator).get("update_report_")
        before = contents(estimator)
        yield
        after = contents(estimator)
        places = sorted(before.keys() | after.keys())
        changed = [place for place in places if before.get(place) != after.get(place)]
        assert not changed
        assert vars(estimator).get("update_report_") is report

    return unchanged


@pytest.fixture
def results(contents):
    """A function from an estimator to what it holds, but for times and random names."""

    def results(model):
        times = ("seconds", "indexed", "time", "digest", "previous_digest")
        times += ("figures_digest", "salt", "number")
        passing = tuple(f"update_report_[{name!r}]" for name in times)
        return {
            place: value
            for place, value in contents(model).items()
            if not place.endswith(passing)
            and "history_" not in place
            and "_lineage" not in place
        }

    return results


@pytest.fixture
def replay_always(monkeypatch):
    """Paths are replayed by Hessians even where a retrain is faster, as on few rows."""
    monkeypatch.setattr(cost, "WORTHWHILE", np.inf)
    monkeypatch.setattr(cost, "FITS_AIMED_AT", 3.0)
    monkeypatch.setattr(cost, "MOST_FITS", 3.0)


@pytest.fixture
def search_unpurged(monkeypatch):
    """`assert_erased` searches what edits leave, and does not ask for a purge first."""
    monkeypatch.setattr(BaseDeltaGrad, "_purge_state", lambda self: ("yes", None))


@pytest.fixture(scope="session")
def gradient_sums_of():
    """A function to all gradient sums of an estimator's cached run.

    They have shape (n_steps, n_groups, n_outputs, n_dof).
    """

    def gradient_sums_of(model):
        playback, sums = model._engine.playback(), []
        for step in range(model.trajectory_.n_steps):
            playback.go_to(step)
            sums.append(playback.gradient_sums())
        return np.stack(sums)

    return gradient_sums_of
