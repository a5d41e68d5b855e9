"""An edit happens altogether or not at all, whatever goes wrong in its middle.

Faults are raised in one internal function at a time, and at single lines. Afterwards
the estimator is what it was, to the last bit, and the same edit then succeeds and gives
what it gives on a twin that nothing happened to.
"""

import importlib
import inspect
import os
import sys
from copy import deepcopy
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_diabetes, load_wine
from sklearn.preprocessing import scale

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._data import training_set

pytestmark = pytest.mark.usefixtures("replay_always")

N_SAMPLES = 45
N_NEW = 6


def _three_classes():
    X, y = load_wine(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(y))[: N_SAMPLES + N_NEW]
    return scale(X)[order], y[order]


def _numbers():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[: N_SAMPLES + N_NEW], y[: N_SAMPLES + N_NEW]
    return scale(X), np.column_stack([scale(y), scale(y) ** 2])


class Scenario:
    """An estimator that was fitted and edited before, and an edit of it.

    Parameters
    ----------
    model : estimator
        Unfitted.
    edit : callable
        Edits an estimator; the second argument is the scenario.
    X, y : ndarray
        Rows to fit on, and `N_NEW` more.
    kind_of_id : {"int", "str", None}
    least_to_compact : int
        See `skdeltagrad._data.training_set`.
    """

    def __init__(self, model, edit, X, y, kind_of_id=None, least_to_compact=1024):
        self.model = model
        self.edit = edit
        self.X, self.y = X[:N_SAMPLES], y[:N_SAMPLES]
        self.X_new, self.y_new = X[N_SAMPLES:], y[N_SAMPLES:]
        self.ids = self.new_ids = None
        if kind_of_id is not None:
            self.ids = np.arange(N_SAMPLES) // 3
            self.new_ids = np.arange(N_NEW) + 1000
        if kind_of_id == "str":
            self.ids, self.new_ids = self.ids.astype(str), self.new_ids.astype(str)
        self.least_to_compact = least_to_compact
        self._prepared = None

    def prepare(self):
        """A fitted estimator, with rows that came and went and both indexes made."""
        if self._prepared is None:
            model = deepcopy(self.model).fit(self.X, self.y, sample_id=self.ids)
            # Rows 0 and 1 leave and come back at the end, as positions 45 and 46.
            model.unlearn(position=[0, 1])
            ids = None if self.ids is None else self.ids[:2]
            self._prepared = model.partial_refit(self.X[:2], self.y[:2], sample_id=ids)
        model = deepcopy(self._prepared)
        model.unlearn(-self.X[:1], self.y[:1], on_missing="ignore")
        if self.ids is not None:
            model.unlearn(sample_id=self.ids[:0].tolist() + [self._unknown_id()],
                          on_missing="ignore")  # fmt: skip
        return model

    def _unknown_id(self):
        return "?" if self.ids.dtype.kind == "U" else -1

    def last_words(self, model):
        """Edits that show whether rows are still found by all their names.

        No scenario touches these rows; none is of class 1, which may be gone.
        """
        model.unlearn(self.X[21:22], self.y[21:22])
        model.unlearn(position=19)
        if self.ids is not None:
            model.unlearn(sample_id=self.ids[22])


def _build_scenarios():
    X, y = _three_classes()
    binary = np.minimum(y, 1)
    X_numbers, Y_numbers = _numbers()
    csr = sparse.csr_matrix
    gd = {"solver": "gd", "max_iter": 6, "burn_in": 2, "period": 2}
    sgd = {
        "solver": "sgd", "max_iter": 3, "batch_size": 12, "burn_in": 2, "period": 2,
        "random_state": 0,
    }  # fmt: skip
    newton = {"solver": "newton"}
    return {
        "newton, remove by id and add, dense": Scenario(
            DeltaGradLogisticRegression(**newton),
            lambda model, s: model.partial_refit(
                s.X_new, s.y_new, sample_id=s.new_ids, remove_id=s.ids[[4, 31]]
            ),
            X, y, "int",
        ),
        "newton, replace by id, sparse": Scenario(
            DeltaGradLogisticRegression(class_weight="balanced", **newton),
            lambda model, s: model.partial_refit(
                s.X_new, s.y_new, sample_id=["1"] * 2 + ["9"] * 4, replace=True
            ),
            csr(X), binary, "str",
        ),
        "newton, a class disappears, dense": Scenario(
            DeltaGradLogisticRegression(**newton),
            lambda model, s: model.unlearn(sample_id="class 1"),
            X, y, "str",
        ),
        "newton, remove by content, dense": Scenario(
            DeltaGradRidge(**newton),
            lambda model, s: model.unlearn(s.X[[9, 0, 30]], s.y[[9, 0, 30]]),
            X_numbers, Y_numbers,
        ),
        "remove by id and add, dense": Scenario(
            DeltaGradLogisticRegression(**gd),
            lambda model, s: model.partial_refit(
                s.X_new, s.y_new, sample_id=s.new_ids, remove_id=s.ids[[4, 31]]
            ),
            X, binary, "int",
        ),
        "remove by position, dense": Scenario(
            DeltaGradLogisticRegression(class_weight="balanced", **sgd),
            lambda model, s: model.unlearn(position=[3, 17, 45]),
            X, y,
        ),
        "replace by id, sparse": Scenario(
            DeltaGradLogisticRegression(**sgd),
            lambda model, s: model.partial_refit(
                s.X_new, s.y_new, sample_id=["1"] * 2 + ["9"] * 4, replace=True
            ),
            csr(X), binary, "str",
        ),
        "remove by content, sparse": Scenario(
            DeltaGradRidge(fit_intercept=False, **gd),
            lambda model, s: model.unlearn(s.X[[9, 0, 30]], s.y[[9, 0, 30]]),
            csr(X_numbers), Y_numbers[:, 0],
        ),
        "remove by position and add, float32": Scenario(
            DeltaGradRidge(**sgd),
            lambda model, s: model.partial_refit(
                s.X_new, s.y_new, remove_position=[3, 46]
            ),
            X_numbers.astype(np.float32), Y_numbers,
        ),
        "a class disappears, dense": Scenario(
            DeltaGradLogisticRegression(**gd),
            lambda model, s: model.unlearn(sample_id="class 1"),
            X, y, "str",
        ),
        "a class disappears, sparse": Scenario(
            DeltaGradLogisticRegression(class_weight="balanced", **sgd),
            lambda model, s: model.unlearn(
                s.X[s.y == 1], s.y[s.y == 1]
            ),
            csr(X), y,
        ),
        "a class appears and another leaves": Scenario(
            DeltaGradLogisticRegression(**gd),
            lambda model, s: model.partial_refit(
                s.X_new, [7] * N_NEW, sample_id=["new"] * N_NEW, remove_id="class 1"
            ),
            csr(X), y, "str",
        ),
        "storage is compacted, dense": Scenario(
            DeltaGradLogisticRegression(**gd),
            lambda model, s: model.partial_refit(
                s.X_new, s.y_new, sample_id=s.new_ids,
                remove_position=np.r_[2:19, 24:43],
            ),
            X, binary, "int", least_to_compact=0,
        ),
        "storage is compacted, sparse": Scenario(
            DeltaGradRidge(**sgd),
            lambda model, s: model.unlearn(position=np.r_[2:19, 24:43]),
            csr(X_numbers), Y_numbers, least_to_compact=0,
        ),
        "a column is centred anew": Scenario(
            DeltaGradRidge(learning_rate=1e-3, **gd),
            lambda model, s: model.partial_refit(
                s.X_new + 100, s.y_new, remove_position=[2, 3]
            ),
            X_numbers, Y_numbers,
        ),
        "by a seed, remove and add": Scenario(
            DeltaGradLogisticRegression(solver="gd", max_iter=30, edit_tol=1.0),
            lambda model, s: model.partial_refit(
                s.X_new, s.y_new, remove_position=[3, 46]
            ),
            X, binary,
        ),
        "by a seed, balanced batches": Scenario(
            DeltaGradLogisticRegression(
                class_weight="balanced", edit_tol=1.0,
                **(sgd | {"period": "auto", "burn_in": 10, "max_iter": 20}),
            ),
            lambda model, s: model.unlearn(position=[3, 17, 45]),
            X, y,
        ),
        "retrain": Scenario(
            DeltaGradLogisticRegression(**sgd),
            lambda model, s: model.partial_refit(),
            X, y, "int",
        ),
    }  # fmt: skip


SCENARIOS = _build_scenarios()
for _name in (
    "a class disappears, dense",
    "a class appears and another leaves",
    "newton, a class disappears, dense",
):
    # The rows of class 1 share an id that is theirs alone.
    SCENARIOS[_name].ids = np.array(
        [
            f"class {c}" if c == 1 else f"row {i}"
            for i, c in enumerate(SCENARIOS[_name].y)
        ]
    )


# What belongs to an edit, as module and name. A fault is raised in one at a time.
POINTS = [
    "_kernels.step:descend",
    "_objective.data_term:DataTerm.add_gradient_sums",
    "_objective.losses:MultinomialLoss.differentiate",
    "_path.lbfgs:CompactLBFGS.update",
    "_path.lbfgs:CompactLBFGS.predict",
    "_data.growing_array:GrowingArray.append",
    "_data.dense_rows:DenseRows.append",
    "_data.dense_rows:DenseRows.read",
    "_data.dense_rows:DenseRows.wipe",
    "_data.dense_rows:DenseRows.compact",
    "_data.dense_rows:DenseRows.matvec",
    "_data.dense_rows:DenseRows.column_moments",
    "_data.csr_rows:CsrRows.append",
    "_data.csr_rows:CsrRows.read",
    "_data.csr_rows:CsrRows.wipe",
    "_data.csr_rows:CsrRows.compact",
    "_data.csr_rows:CsrRows.rmatvec",
    "_data.row_table:RowTable.append",
    "_data.row_table:RowTable.give_positions",
    "_data.row_table:RowTable.detach",
    "_data.row_table:RowTable.index_ids",
    "_data.row_table:RowTable.read",
    "_data.row_table:RowTable.wipe",
    "_data.row_table:RowTable.attach",
    "_data.row_table:RowTable.recode",
    "_data.row_table:RowTable.compact",
    "_data.compaction:Shift.run",
    "_data.row_table:RowTable.live_indices",
    "_data.sorted_index:SortedIndex.insert",
    "_data.sorted_index:SortedIndex.strike",
    "_data.content_index:ContentIndex.insert",
    "_data.content_index:ContentIndex.strike",
    "_data.content_index:ContentIndex.match",
    "_data.centring:ColumnMoments.centre",
    "_data.centring:ColumnMoments.minus",
    "_data.centring:ColumnMoments.plus",
    "_data.training_set:TrainingSet.append",
    "_data.training_set:TrainingSet.detach",
    "_data.training_set:TrainingSet.recode",
    "_data.training_set:TrainingSet.centre_after",
    "_data.training_set:TrainingSet.settle",
    "_data.training_set:TrainingSet.compact",
    "_path.schedule:FullBatch.row_counts",
    "_path.schedule:MiniBatches.row_counts",
    "_path.schedule:MiniBatches.members",
    "_path.schedule:MiniBatches.dealt",
    "_path.schedule:AbstractSchedule.step_sizes",
    "_path.trajectory:Trajectory.allocate",
    "_path.engine:PathEngine.edited",
    "_path.engine:PathEngine._edited_by_checkpoints",
    "_path.checkpoint_sums:CheckpointSums.of",
    "_path.checkpoints:Checkpoints.changed",
    "_path.checkpoint_replay:Replay.touched",
    "_path.checkpoint_replay:CheckpointReplay._measure",
    "_path.checkpoint_replay:CheckpointReplay._residual_at",
    "_path.replay_error:by_chance",
    "_path.propagation:HessianPropagation.propagate",
    "_kernels.replay:predict_steps",
    "_kernels.replay:propagate",
    "_optimum.engine:OptimumEngine.edited",
    "_optimum.engine:OptimumEngine.fit",
    "_optimum.curvature:Curvature.changed",
    "_optimum.curvature:Curvature.step",
    "_optimum.hessian:Hessian.changed",
    "_optimum.problem:Problem.measure",
    "_optimum.problem:Problem.hessian",
    "_path.engine:PathEngine.fit",
    "_utils.transaction:Transaction.undo",
    "_estimators.base:BaseDeltaGrad._state_of",
    "_estimators.base:BaseDeltaGrad._report",
    "_estimators.logistic:DeltaGradLogisticRegression._publish",
    "_estimators.logistic:DeltaGradLogisticRegression._edit_targets",
    "_estimators.ridge:DeltaGradRidge._publish",
    "_estimators.ridge:DeltaGradRidge._edit_targets",
]

ERRORS = cycle([RuntimeError, KeyboardInterrupt, MemoryError])


class Fault:
    """A function that raises at a call, before or after its work is done."""

    def __init__(self, monkeypatch, point):
        module, _, path = point.partition(":")
        self._owner = importlib.import_module(f"skdeltagrad.{module}")
        *classes, self._name = path.split(".")
        for name in classes:
            self._owner = getattr(self._owner, name)
        self._original = vars(self._owner)[self._name]
        self._monkeypatch = monkeypatch
        self.n_calls = 0

    def plant(self, at_call=None, after=False, error=None):
        """Count calls, and raise at one of them."""
        is_classmethod = isinstance(self._original, classmethod)
        call = self._original.__func__ if is_classmethod else self._original
        self.n_calls = 0

        def faulty(*args, **kwargs):
            self.n_calls += 1
            if self.n_calls == at_call and not after:
                raise error("a fault before")
            result = call(*args, **kwargs)
            if self.n_calls == at_call:
                raise error("a fault after")
            return result

        replacement = classmethod(faulty) if is_classmethod else faulty
        self._monkeypatch.setattr(self._owner, self._name, replacement)

    def remove(self):
        self._monkeypatch.setattr(self._owner, self._name, self._original)


def differences(before, after):
    places = sorted(before.keys() | after.keys())
    return [place for place in places if before.get(place) != after.get(place)]


@pytest.mark.parametrize("point", POINTS)
def test_fault_in_a_function(point, monkeypatch, contents, results):
    wrong, n_faults = [], 0
    for name, scenario in SCENARIOS.items():
        monkeypatch.setattr(
            training_set, "_LEAST_TO_COMPACT", scenario.least_to_compact
        )
        fault = Fault(monkeypatch, point)
        twin = scenario.prepare()
        fault.plant()
        scenario.edit(twin, scenario)
        n_calls = fault.n_calls
        fault.remove()
        expected = None
        # In the first call, before it has done anything, and in the last, after all.
        for at_call, after in ((1, False), (n_calls, True))[: 2 * n_calls]:
            n_faults += 1
            model = scenario.prepare()
            before, report = contents(model), model.update_report_
            error = next(ERRORS)
            fault.plant(at_call, after, error)
            with pytest.raises(error, match="a fault"):
                scenario.edit(model, scenario)
            fault.remove()
            changed = differences(before, contents(model))
            if changed or model.update_report_ is not report:
                wrong.append((name, at_call, after, "changed", changed))
                continue
            try:
                scenario.edit(model, scenario)
                scenario.last_words(model)
            except Exception as failure:
                wrong.append((name, at_call, after, "edit fails", repr(failure)))
                continue
            if expected is None:
                scenario.last_words(twin)
                expected = results(twin)
            changed = differences(expected, results(model))
            if changed:
                wrong.append((name, at_call, after, "not like the twin", changed))
    assert not wrong
    assert n_faults


# Functions in some lines of which the edit is not begun yet, or in force already.
_OUTSIDE = {
    "in_turn", "half", "_edit", "_retrain", "_changing", "followed", "listening",
    "_print_and_warn", "__exit__", "_overwrite",
}  # fmt: skip
_PACKAGE = str(Path(skdeltagrad.__file__).parent)


def _is_inside(frame):
    code = frame.f_code
    if not code.co_filename.startswith(_PACKAGE) or code.co_name in _OUTSIDE:
        return False
    # What gives memory back after the edit, with all that it calls.
    callers = set()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        callers.add(frame.f_code.co_name)
        frame = frame.f_back
    return "give_back" not in callers


class FaultAtCall:
    """Raises an error at the n-th call that is made in the package, or into it.

    Functions of the package, and compiled ones (NumPy's, Python's own) that it calls.
    """

    def __init__(self, at_call=None, error=None):
        self.at_call = at_call
        self.error = error
        self.n_calls = 0

    def __enter__(self):
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _event(self, frame, event, argument):
        if event == "call" and frame.f_code.co_flags & inspect.CO_GENERATOR:
            return  # when it is closed nobody hears of an error in it
        if event in ("call", "c_call") and _is_inside(frame):
            self.n_calls += 1
            if self.n_calls == self.at_call:
                raise self.error("a fault")


# Calls at which a fault is raised, of each scenario: some, or every one of them with
# the variable SKDELTAGRAD_LONG.
N_CALL_POINTS = 12


@pytest.mark.parametrize("name", SCENARIOS)
def test_fault_at_a_call(name, monkeypatch, contents, results):
    scenario = SCENARIOS[name]
    monkeypatch.setattr(training_set, "_LEAST_TO_COMPACT", scenario.least_to_compact)
    twin = scenario.prepare()
    with FaultAtCall() as calls:
        scenario.edit(twin, scenario)
    scenario.last_words(twin)
    expected = results(twin)
    every = "SKDELTAGRAD_LONG" in os.environ
    n_points = calls.n_calls if every else N_CALL_POINTS
    for at_call in np.linspace(1, calls.n_calls, n_points, dtype=int).tolist():
        model, error = scenario.prepare(), next(ERRORS)
        before = contents(model)
        with pytest.raises(error, match="a fault"), FaultAtCall(at_call, error):
            scenario.edit(model, scenario)
        assert (at_call, differences(before, contents(model))) == (at_call, [])
    print(f"{name}: {n_points} of {calls.n_calls} calls")
    scenario.edit(model, scenario)
    scenario.last_words(model)
    assert not differences(expected, results(model))


class Interrupt:
    """Raises KeyboardInterrupt before the n-th line that is run in the package."""

    def __init__(self, at_line=None):
        self.at_line = at_line
        self.n_lines = 0

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)

    def _call(self, frame, event, argument):
        return self._line if _is_inside(frame) else None

    def _line(self, frame, event, argument):
        if event == "line":
            self.n_lines += 1
            if self.n_lines == self.at_line:
                raise KeyboardInterrupt
        return self._line


N_INTERRUPTS = 20


@pytest.mark.parametrize("name", SCENARIOS)
def test_interrupt_at_a_line(name, monkeypatch, contents, results):
    scenario = SCENARIOS[name]
    monkeypatch.setattr(training_set, "_LEAST_TO_COMPACT", scenario.least_to_compact)
    twin = scenario.prepare()
    with Interrupt() as lines:
        scenario.edit(twin, scenario)
    scenario.last_words(twin)
    expected = results(twin)
    for at_line in np.linspace(1, lines.n_lines, N_INTERRUPTS, dtype=int).tolist():
        model = scenario.prepare()
        before = contents(model)
        with pytest.raises(KeyboardInterrupt), Interrupt(at_line):
            scenario.edit(model, scenario)
        assert (at_line, differences(before, contents(model))) == (at_line, [])
        scenario.edit(model, scenario)
        scenario.last_words(model)
        assert (at_line, differences(expected, results(model))) == (at_line, [])


def test_predictions_after_a_fault(monkeypatch):
    """What users see, said without looking inside."""
    scenario = SCENARIOS["remove by id and add, dense"]
    model = scenario.prepare()
    coef, intercept = model.coef_.copy(), model.intercept_.copy()
    probabilities = model.predict_proba(scenario.X)
    iterates = model.trajectory_.iterates.copy()
    steps = model.trajectory_.steps.copy()
    fault = Fault(monkeypatch, "_data.row_table:RowTable.attach")
    fault.plant(1, after=True, error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        scenario.edit(model, scenario)
    fault.remove()
    assert np.array_equal(model.coef_, coef)
    assert np.array_equal(model.intercept_, intercept)
    assert np.array_equal(model.predict_proba(scenario.X), probabilities)
    assert np.array_equal(model.trajectory_.iterates, iterates)
    assert np.array_equal(model.trajectory_.steps, steps)
    # The rows that were to be removed can be, and those to be added were not.
    with pytest.raises(KeyError, match="1000"):
        model.unlearn(sample_id=1000)
    assert model.unlearn(sample_id=scenario.ids[4]).update_report_.n_removed == 3


def test_a_fault_in_fit_leaves_the_old_fit(monkeypatch, unchanged):
    scenario = SCENARIOS["remove by position, dense"]
    model = scenario.prepare()
    for point in (
        "_data.dense_rows:DenseRows.matvec",
        "_objective.data_term:DataTerm.add_gradient_sums",
        "_kernels.step:descend",
        "_path.trajectory:Trajectory.allocate",
        "_estimators.base:BaseDeltaGrad._state_of",
        "_estimators.base:BaseDeltaGrad._report",
    ):
        fault = Fault(monkeypatch, point)
        fault.plant(1, error=next(ERRORS))
        with unchanged(model), pytest.raises(BaseException, match="a fault before"):
            model.fit(scenario.X[:30], scenario.y[:30])
        fault.remove()
    assert model.fit(scenario.X[:30], scenario.y[:30]).update_report_.n_samples == 30


def test_saved_copies_of_rows_are_wiped(monkeypatch):
    """While an edit is under way its rows are saved; not longer than that."""
    scenario = SCENARIOS["remove by position, dense"]
    saved = []
    undo = skdeltagrad._utils.transaction.Transaction.undo

    def spy(transaction, function, *args, saved_rows=saved, saved=None):
        if saved is not None:
            saved_rows.append(saved)
        return undo(transaction, function, *args, saved=saved)

    monkeypatch.setattr(skdeltagrad._utils.transaction.Transaction, "undo", spy)
    for fails in (False, True):
        model = scenario.prepare()
        saved.clear()
        if fails:
            fault = Fault(monkeypatch, "_data.row_table:RowTable.attach")
            fault.plant(1, error=RuntimeError)
            with pytest.raises(RuntimeError):
                scenario.edit(model, scenario)
            fault.remove()
        else:
            scenario.edit(model, scenario)
        rows = saved[0]
        assert rows.shape == (3, scenario.X.shape[1])
        assert not rows.any()
