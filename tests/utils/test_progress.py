"""How far a run is reaches whoever listens, scikit-learn's callbacks for one."""

import importlib.util
import pickle
import sys
from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._utils import progress, sklearn_compat
from skdeltagrad._utils.callbacks import N_LEAVES
from skdeltagrad.inspection import leave_one_out

with_callbacks = pytest.mark.skipif(
    importlib.util.find_spec("sklearn.callback") is None,
    reason="callbacks came with scikit-learn 1.9",
)


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


MODELS = {
    "newton": DeltaGradLogisticRegression(),
    "products": DeltaGradLogisticRegression(curvature="diagonal"),
    "gd": DeltaGradLogisticRegression(solver="gd", max_iter=120, period=5),
    "sgd": DeltaGradLogisticRegression(
        solver="sgd", max_iter=30, batch_size=64, random_state=0
    ),
    "ridge": DeltaGradRidge(),
}
TASKS = {
    "newton": {"Newton steps"},
    "products": {"Newton steps", "L-BFGS steps"},
    "gd": {"steps"},
    "sgd": {"steps", "replayed steps", "Hessians"},
    "ridge": {"Newton steps"},
}


class Recorder(progress.AbstractListener):
    """All that was told, task by task."""

    def __init__(self):
        self.tasks = []

    def begin(self, task, total):
        numbers = []
        self.tasks.append((task, total, numbers))
        return lambda done, fact="": numbers.append(done)


def edit(model, X, y):
    model.unlearn(position=[1, 2, 3])
    model.partial_refit(X[:2], y[:2])
    return model.partial_refit()


@pytest.mark.parametrize("name", MODELS)
def test_engines_tell(cancer, monkeypatch, replay_always, name):
    X, y = cancer
    quiet = edit(clone(MODELS[name]).fit(X, y), X, y)
    recorder = Recorder()
    # The estimator decides who listens: here it does not.
    monkeypatch.setattr(
        "skdeltagrad._utils.callbacks.listening",
        lambda: progress.listening(recorder),
    )
    told = edit(clone(MODELS[name]).fit(X, y), X, y)
    assert {task for task, *_ in recorder.tasks} == TASKS[name]
    for _, total, numbers in recorder.tasks:
        assert np.all(np.diff(numbers) > 0)
        if total is not None and numbers and total > 30:
            assert numbers[-1] == total
    assert_array_equal(told.coef_, quiet.coef_)
    assert_array_equal(told.intercept_, quiet.intercept_)


def test_nobody_listens():
    items = range(3)
    assert progress.begin("steps", 3) is None
    assert progress.each("steps", items) is items


def test_who_listens():
    first, second = Recorder(), Recorder()
    with progress.listening(first):
        assert list(progress.each("outer", [5, 6])) == [5, 6]
        with pytest.raises(KeyError), progress.listening(second):
            progress.begin("inner")(1)
            raise KeyError
        with progress.listening():
            assert progress.begin("nobody") is None
        with progress.listening(first, second):
            progress.begin("both", 9)(4, "fact")
        assert list(progress.each("outer", "x")) == ["x"]
    assert progress.begin("nobody") is None
    assert second.tasks == [("inner", None, [1]), ("both", 9, [4])]
    assert first.tasks == [("outer", 2, [1, 2]), ("both", 9, [4]), ("outer", 1, [1])]


def test_newton_steps_are_printed(cancer, capsys):
    X, y = cancer
    model = DeltaGradLogisticRegression(verbose=1).fit(X, y)
    assert "Newton steps" not in capsys.readouterr().out
    model.set_params(verbose=2).partial_refit()
    lines = [
        line for line in capsys.readouterr().out.splitlines() if "Newton steps" in line
    ]
    assert lines[0].startswith("Newton steps 0: objective ")
    assert "largest gradient entry" in lines[-1]


# Callbacks of scikit-learn.


class Followed:
    """A callback that keeps what it was called with, and fails when it is told to."""

    def __init__(self, fail_at=None):
        self.fail_at = fail_at
        self.calls = []
        self.open = []
        self.roots = []

    def _note(self, hook, context):
        at = f"{hook} {context.task_name}" if context.parent is None else hook
        self.calls.append((hook, context.task_name))
        if self.fail_at in (at, hook):
            raise RuntimeError(f"stopped at {at}")

    def setup(self, estimator, context):
        self.roots.append(context)
        self._note("setup", context)

    def teardown(self, estimator, context):
        assert context is self.roots[-1]
        self._note("teardown", context)

    def on_fit_task_begin(self, estimator, context):
        self.open.append(context)
        self._note("begin", context)

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None):
        assert self.open.pop() is context
        if context.parent is None:
            self.given = (X, y, metadata)
        self._note("end", context)

    def names(self, hook):
        return [task for called, task in self.calls if called == hook]


@with_callbacks
@pytest.mark.parametrize("name", MODELS)
def test_tasks_are_a_tree(cancer, replay_always, name):
    X, y = cancer
    callback = Followed()
    model = clone(MODELS[name]).set_callbacks(callback)
    weight = np.ones(len(y))
    model.fit(X, y, sample_weight=weight)
    assert callback.given[0] is X
    assert callback.given[2] == {"sample_weight": weight}
    edit(model, X, y)
    operations = ["fit", "unlearn", "partial_refit", "partial_refit"]
    assert callback.names("setup") == callback.names("teardown") == operations
    assert [root.task_name for root in callback.roots] == operations
    assert callback.open == []
    for hook in ("begin", "end"):
        tasks = callback.names(hook)
        assert TASKS[name] <= set(tasks)
        assert [task for task in tasks if task in operations] == operations
    for root in (callback.roots[0], callback.roots[-1]):  # a fit, a retrain
        if model.solver == "newton":
            assert root.max_subtasks is None
        else:
            assert root.max_subtasks == min(N_LEAVES, model.max_iter)
            assert len(root._children_map) == root.max_subtasks
    for root in callback.roots:
        for context in root:
            assert len(context._children_map) <= N_LEAVES
            assert context.max_subtasks in (None, 0, len(context._children_map)) or (
                context.task_name == "L-BFGS steps"  # ends when it is near enough
            )


@with_callbacks
@pytest.mark.parametrize("name", ["newton", "gd", "sgd"])
def test_a_callback_that_fails_changes_nothing(cancer, contents, replay_always, name):
    X, y = cancer
    model = clone(MODELS[name]).fit(X, y)
    edits = {
        "fit": lambda: model.fit(X[:400], y[:400]),
        "unlearn": lambda: model.unlearn(position=[1, 2]),
        "partial_refit": lambda: model.partial_refit(),
    }
    for operation, run in edits.items():
        for hook in ("setup", "begin", "end", f"end {operation}", "teardown"):
            if (name, operation, hook) == ("newton", "unlearn", "end"):
                continue  # there is no subtask
            callback = Followed(fail_at=hook)
            model.set_callbacks(callback)
            attributes, before = dict(vars(model)), contents(model)
            with pytest.raises(RuntimeError, match=f"stopped at {hook}"):
                run()
            assert callback.names("teardown") == [operation]
            if hook == "teardown":  # too late: it was done
                assert model.update_report_.operation == operation
                model.set_callbacks()
                model.fit(X, y)
                continue
            assert list(vars(model)) == list(attributes)
            assert all(vars(model)[key] is attributes[key] for key in attributes)
            assert contents(model) == before
    model.set_callbacks()
    assert "_skl_callbacks" not in vars(model)


@with_callbacks
def test_attributes_are_as_without_callbacks(cancer):
    X, y = cancer
    plain = edit(DeltaGradRidge().fit(X, y), X, y)
    model = edit(DeltaGradRidge().set_callbacks(Followed()).fit(X, y), X, y)
    assert set(vars(model)) - set(vars(plain)) == {"_skl_callbacks"}
    assert_array_equal(model.coef_, plain.coef_)


@with_callbacks
def test_callbacks_in_dumps(cancer, contents):
    """Of an unfitted estimator, which goes to other processes; not of a fitted one."""
    X, y = cancer
    model = DeltaGradRidge(callback=print).set_callbacks(Followed())
    for copy in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(copy._skl_callbacks[0], Followed)
        assert copy.callback is print
    model.set_params(callback=lambda report: None).fit(X, y)
    assert clone(model)._skl_callbacks is model._skl_callbacks
    for copy in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert "_skl_callbacks" not in vars(copy)
        assert copy.callback is None
        copy.unlearn(position=0)

    class Copies(Followed):
        def on_fit_task_end(self, estimator, context):
            self.copy = deepcopy(estimator)

    callback = Copies()
    model.set_callbacks(callback).unlearn(position=0)
    assert callback.copy.update_report_.operation == "unlearn"
    assert not [key for key in vars(callback.copy) if "callback_" in key]
    callback.copy.unlearn(position=1)


@with_callbacks
def test_other_estimators_do_not_tell(cancer):
    """A model that is edited while another one is followed."""
    X, y = cancer
    other = DeltaGradRidge(solver="gd", max_iter=9).fit(X, y)
    callback = Followed()
    model = DeltaGradRidge(callback=lambda report: other.unlearn(position=1))
    model.set_callbacks(callback).fit(X, y)
    assert set(callback.names("begin")) == {"fit", "Newton steps"}


@with_callbacks
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_callbacks_of_a_search_reach_the_models(cancer, n_jobs):
    from sklearn.callback import ScoringMonitor

    X, y = cancer
    monitor, bottom = ScoringMonitor(scoring="accuracy"), "DeltaGradLogisticRegression"
    model = DeltaGradLogisticRegression(C=0.1).set_callbacks(monitor)
    search = GridSearchCV(model, {"C": [0.1, 1.0]}, cv=2, n_jobs=n_jobs).fit(X, y)
    logs = monitor.get_logs(select="all")
    scores = [entry for log in logs for entry in log.data]
    assert len(scores) == 5
    assert {entry["estimator_name"] for entry in scores} == {bottom}
    assert min(entry["accuracy"] for entry in scores) > 0.95
    search.best_estimator_.unlearn(position=3)


@with_callbacks
@pytest.mark.parametrize("name", ["newton", "gd"])
def test_leave_one_out_is_followed(cancer, unchanged, name):
    X, y = cancer
    model = clone(MODELS[name]).fit(X[::4], y[::4])
    groups = np.arange(len(y[::4])) // (1 if name == "newton" else 20)
    quiet = leave_one_out(model, groups=groups)
    callback = Followed()
    model.set_callbacks(callback)
    attributes = dict(vars(model))
    with unchanged(model):
        result = leave_one_out(model, groups=groups)
    assert vars(model) == attributes
    assert_array_equal(result.influence, quiet.influence)
    assert callback.names("setup") == callback.names("teardown") == ["leave_one_out"]
    assert callback.open == []
    (root,) = callback.roots
    n_units = len(np.unique(groups))
    assert len(root._children_map) == root.max_subtasks == min(n_units, N_LEAVES)
    assert not callback.names("begin").count("steps")


@with_callbacks
def test_progress_bars(cancer, capfd):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    X, y = cancer
    steps = make_pipeline(StandardScaler(), clone(MODELS["gd"]))
    steps.set_callbacks(ProgressBar()).fit(X, y)
    model = steps[-1]
    assert "_parent_callback_ctx" not in vars(model)
    out = capfd.readouterr().out
    assert "Pipeline - fit" in out
    assert "DeltaGradLogisticRegression - fit" in out
    model.unlearn(position=0)
    assert capfd.readouterr().out == ""
    model.set_callbacks(ProgressBar()).unlearn(position=1)
    out = capfd.readouterr().out
    assert "DeltaGradLogisticRegression - partial_unfit" in out
    assert "100%" in out


def test_versions_without_callbacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    spec = importlib.util.spec_from_file_location("before_1_9", sklearn_compat.__file__)
    before = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(before)
    assert not hasattr(before.CallbackSupportMixin, "set_callbacks")
    with before.callback_management_context(object()):
        pass
