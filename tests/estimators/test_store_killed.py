"""A process is killed in the middle of an edit: its folder is as before, or as after.

    python tests/estimators/test_store_killed.py 200

kills 200 processes for each edit and form of the rows, interrupts as many edits in a
process that goes on, and prints what was found.
"""

import os
import shutil
import signal
import sys
import tempfile
import warnings
from itertools import count
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad._data.two_slots import FILES, TwoSlots

N = 2500
X_NEW = np.random.default_rng(1).normal(size=(30, 4))
Y_NEW = np.arange(30) % 3
NEW_IDS = [f"new {i}" for i in range(30)]

EDITS = {
    "remove": lambda model: model.partial_unfit(position=[3, 8, 9]),
    # So many that the storage is compacted.
    "remove many": lambda model: model.partial_unfit(position=range(10, 1400)),
    "add": lambda model: model.partial_refit(X_NEW, Y_NEW, sample_id=NEW_IDS),
    "correct": lambda model: model.partial_refit(
        X_NEW[:2], Y_NEW[:2], sample_id=["row 4", "row 5"], replace=True
    ),
    "window": lambda model: model.partial_refit(
        X_NEW, Y_NEW, sample_id=NEW_IDS, remove_id=[f"row {i}" for i in range(2, 32)]
    ),
    "purge": lambda model: model.purge(exact=True),
}


def fitted(folder, form):
    """A folder with a store and a dump, after an edit, which is not purged."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 4)) * (rng.random((N, 4)) < 0.7)
    X = sparse.csr_matrix(X) if form == "csr" else X
    ids = np.array([f"row {i}" for i in range(N)])
    folder.mkdir()
    model = DeltaGradLogisticRegression(store=folder / "store")
    model.fit(X, rng.integers(3, size=N), sample_id=ids)
    model.partial_unfit(position=[0, 1])
    model.save(folder / "model.joblib")
    model.close()
    return folder


def loaded(folder):
    return joblib.load(folder / "model.joblib").set_params(store=folder / "store")


def run(folder, edit, n_lines=None):
    """Edit in another process. Let it be killed at a line, or return their number."""
    result = folder / "n_lines"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            _edit_in_child(folder, edit, n_lines, result)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if n_lines is None:
        assert status == 0
        return int(result.read_text())
    assert os.WTERMSIG(status) == signal.SIGKILL
    return None


def _edit_in_child(folder, edit, fatal, result):
    lines = edit_until(
        loaded(folder), edit, fatal, lambda: os.kill(os.getpid(), signal.SIGKILL)
    )
    result.write_text(str(lines))


def edit_until(model, edit, last, act):
    """Edit, and act when a line in the folder of the rows is run as the last-th one.

    Return the number of such lines.
    """
    lines = count(1)

    def trace(frame, event, _):
        code = frame.f_code
        # Python ignores what is raised when an object is deleted.
        if f"{os.sep}_data{os.sep}" not in code.co_filename or code.co_name in (
            "__del__",
            "close",
        ):
            return None
        if event == "line" and next(lines) == last:
            sys.settrace(None)
            act()
        return trace

    sys.settrace(trace)
    try:
        EDITS[edit](model)
    finally:
        sys.settrace(None)
    return next(lines)


def contents(folder):
    """What is in a store when it is opened: rows and columns, by position."""
    model = loaded(folder)
    written = TwoSlots(folder / "store").document
    known = vars(model)["_training_set"]
    known.generation, known.stamp = written["generation"], written["stamp"]
    training_set = model._training_set
    rows, table = training_set.rows, training_set.table
    live = table.live_indices()
    order = live[np.argsort(table.position[live])]
    columns = [table.column(name)[order] for name in ("y", "weight", "id")]
    found = [dense(rows.read(order)), *columns, table.position[order]]
    # Nothing of the edit is left, nor of rows that were removed.
    assert not dense(rows.read(np.setdiff1d(np.arange(len(rows)), live))).any()
    assert_array_equal(np.sort(table.indices_of(found[-1])), live)
    files = {path.name for path in (folder / "store").iterdir()}
    assert files == {*written["arrays"], "lock", "undo", *FILES}
    assert not (folder / "store" / "undo").read_bytes().strip(b"\0")
    model.close()
    return found


def dense(rows):
    return rows.toarray() if sparse.issparse(rows) else rows


def same(a, b):
    return all(map(np.array_equal, a, b))


def kill(folder, form, edit, n_kills, seed):
    """Return whether what was found is from before the edit, for each kill."""
    rng = np.random.default_rng(seed)
    original = fitted(folder / "original", form)
    before = contents(original)
    shutil.copytree(original, folder / "whole")
    n_lines, after = run(folder / "whole", edit), contents(folder / "whole")
    assert same(before, after) == (edit == "purge")
    is_before = []
    for number, line in enumerate(some_lines(n_lines, n_kills, rng)):
        one = shutil.copytree(original, folder / str(number))
        run(one, edit, line)
        found = contents(one)
        is_before.append(same(found, before))
        assert is_before[-1] or same(found, after)
        if is_before[-1] and edit != "purge":
            # The dump goes with the rows, and the edit can be made.
            EDITS[edit](loaded(one))
            assert same(contents(one), after)
        shutil.rmtree(one)
    return is_before


def some_lines(n_lines, n, rng):
    """Half of them near the end, where the edit is committed and the folder cleaned."""
    powers = np.where(np.arange(n) % 2, 8, 1)
    return n_lines - 1 - ((n_lines - 2) * rng.random(n) ** powers).astype(int)


def interrupt(folder, form, edit, n_interrupts, seed):
    """Return whether an edit was undone, for each interrupt."""
    rng = np.random.default_rng(seed)
    original = fitted(folder / "original", form)
    before = contents(original)
    whole = shutil.copytree(original, folder / "whole")
    model = loaded(whole)
    coef, n_lines = model.coef_, edit_until(model, edit, None, None)
    edited = model.coef_
    model.close()
    after, was_undone = contents(whole), []

    def act():
        raise KeyboardInterrupt

    for number, line in enumerate(some_lines(n_lines, n_interrupts, rng)):
        one = shutil.copytree(original, folder / str(number))
        model = loaded(one)
        with pytest.raises(KeyboardInterrupt):
            edit_until(model, edit, line, act)
        was_undone.append(np.array_equal(model.coef_, coef))
        assert was_undone[-1] or np.array_equal(model.coef_, edited)
        if not (was_undone[-1] or edit == "purge"):
            model._training_set.give_back()  # as the next edit does
        model.close()
        found = contents(one)
        assert same(found, before if was_undone[-1] else after)
        if was_undone[-1]:
            EDITS[edit](model)
            assert_array_equal(model.coef_, edited)
            model.close()
            assert same(contents(one), after)
        shutil.rmtree(one)
    return was_undone


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("edit", EDITS)
def test_an_interrupted_edit_was_made_or_was_not(tmp_path, form, edit):
    assert len(interrupt(tmp_path, form, edit, n_interrupts=4, seed=0)) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("edit", EDITS)
def test_a_killed_edit_was_made_or_was_not(tmp_path, form, edit):
    assert len(kill(tmp_path, form, edit, n_kills=4, seed=0)) == 4


if __name__ == "__main__":
    for edit in EDITS:
        for form in ("dense", "csr"):
            with tempfile.TemporaryDirectory() as temporary:
                found = kill(Path(temporary), form, edit, int(sys.argv[1]), seed=1)
            print(f"{edit}, {form}: {sum(found)} before, of {len(found)} kills")
            with tempfile.TemporaryDirectory() as temporary:
                found = interrupt(Path(temporary), form, edit, int(sys.argv[1]), seed=1)
            print(f"{edit}, {form}: {sum(found)} undone, of {len(found)} interrupts")
