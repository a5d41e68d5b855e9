"""A dump is the old one or the new one, whatever happens to the process."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdeltagrad
from skdeltagrad import DeltaGradRidge, save

N_KILLS = 200


def fitted():
    X, y = load_diabetes(return_X_y=True)
    return DeltaGradRidge().fit(X, y)


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 1)])
def test_what_is_saved_can_be_loaded(tmp_path, compress):
    model, path = fitted(), tmp_path / "model.joblib"
    model.save(path, compress=compress)
    assert os.listdir(tmp_path) == ["model.joblib"]
    loaded = joblib.load(path)
    assert np.array_equal(loaded.unlearn(position=3).coef_,
                          model.unlearn(position=3).coef_)  # fmt: skip


def test_what_is_saved_can_be_mapped(tmp_path):
    model, path = fitted(), tmp_path / "model.joblib"
    model.save(path)
    mapped = joblib.load(path, mmap_mode="r")
    assert isinstance(mapped._training_set.rows._X._store, np.memmap)
    model.save(path)  # the old file stays until nobody maps it
    assert np.array_equal(mapped.unlearn(position=3).coef_,
                          model.unlearn(position=3).coef_)  # fmt: skip


def test_pipelines(tmp_path):
    X, y = load_diabetes(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), DeltaGradRidge()).fit(X, y)
    save(pipeline, tmp_path / "pipeline.joblib")
    loaded = joblib.load(tmp_path / "pipeline.joblib")
    assert np.array_equal(loaded.predict(X), pipeline.predict(X))


def test_the_old_file_stays_when_the_new_one_fails(tmp_path, monkeypatch):
    model, path = fitted(), tmp_path / "model.joblib"
    model.save(path)
    before = path.read_bytes()
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, _fail)
            with pytest.raises(KeyboardInterrupt):
                model.unlearn(position=5, on_missing="ignore").save(path)
        assert os.listdir(tmp_path) == ["model.joblib"]
        assert path.read_bytes() == before
    model.handler = lambda: None  # cannot be pickled
    with pytest.raises(Exception, match="pickle"):
        model.save(path)
    assert os.listdir(tmp_path) == ["model.joblib"]
    assert path.read_bytes() == before


def _fail(*_):
    raise KeyboardInterrupt


def test_links_and_permissions_stay(tmp_path):
    model, path = fitted(), tmp_path / "model.joblib"
    model.save(path)
    path.chmod(0o600)
    link = tmp_path / "latest.joblib"
    link.symlink_to(path)
    model.save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_errors(tmp_path):
    with pytest.raises(NotFittedError):
        DeltaGradRidge().save(tmp_path / "model.joblib")
    folder = tmp_path / "no folder"
    with pytest.raises(FileNotFoundError, match=re.escape(repr(str(folder)))) as error:
        fitted().save(folder / "model.joblib")
    assert ".tmp" not in str(error.value)
    assert not os.listdir(tmp_path)


# A process that saves an old and a new model by turns, as fast as it can, is killed:
# the file is one of them. It is a fork, for a start takes seconds.
_KILLING = """
import json, os, random, signal, sys, time
import joblib
import numpy as np

path, n_kills = sys.argv[1], int(sys.argv[2])
old, new = joblib.load(path + ".old"), joblib.load(path + ".new")
random.seed(0)
found, left = {"old": 0, "new": 0}, 0
for _ in range(n_kills):
    started = time.perf_counter()
    old.save(path)
    seconds = time.perf_counter() - started
    done, saved = os.pipe()
    child = os.fork()
    if not child:
        while True:
            for model in (new, old):
                model.save(path)
                os.write(saved, b".")
    for _ in range(random.randint(0, 2)):
        os.read(done, 1)
    time.sleep(random.uniform(0.0, seconds))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(done), os.close(saved)
    loaded = joblib.load(path)
    which = "old" if len(loaded.history_) == 1 else "new"
    expected = {"old": old, "new": new}[which]
    assert loaded.history_.verify(loaded) == len(expected.history_)
    assert loaded.path_digest() == expected.path_digest()
    assert loaded._training_set.table.n_live == expected.update_report_.n_samples
    found[which] += 1
    for name in set(os.listdir(os.path.dirname(path))) - {
        os.path.basename(path) + end for end in ("", ".old", ".new")
    }:
        assert name.endswith(".tmp"), name
        os.remove(os.path.join(os.path.dirname(path), name))
        left += 1
print(json.dumps(found | {"left": left}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_killed_while_saving(tmp_path):
    model, path = fitted(), tmp_path / "model.joblib"
    model.save(f"{path}.old")
    model.unlearn(position=list(range(100))).save(f"{path}.new")
    root = str(Path(skdeltagrad.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _KILLING, str(path), str(N_KILLS)], check=True,
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": root},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["old"] + found["new"] == N_KILLS
    # In the middle of it, and in both halves, or this test would say nothing.
    assert min(found.values()) > 0
