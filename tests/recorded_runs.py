"""Record what runs of every kind give, to show that a change changes nothing.

    python tests/recorded_runs.py write FILE     run everything and keep the results
    python tests/recorded_runs.py compare FILE   run everything again and compare

`compare` prints one line for each run: that it is the same to the bit, or its largest
relative difference and where that is. It exits with 1 if anything differs. A field that
one side does not have is named once at the end and is not a difference. Reasons are
compared as texts; with ``--ignore-wording`` it only matters whether there is one.

Only the public interface is used, so that the same file runs against older and newer
versions: ``PYTHONPATH=<checkout> python <this file> ...``, started from another folder.
Bits are reproducible on one machine with the same versions of the libraries.
"""

import argparse
import os
import sys
import warnings
from collections import defaultdict
from dataclasses import dataclass
from time import perf_counter

import joblib
import numba
import numpy as np
import scipy
import sklearn
from scipy import sparse
from threadpoolctl import threadpool_info, threadpool_limits

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad.inspection import leave_one_out

# What a clock measured, what is random by design, what describes the machine or the
# program, and sizes in bytes, which depend on how things are stored.
NOT_RECORDED = (
    "seconds", "time", "salt", "parameters", "versions", "removed_ids", "added_ids",
    "missing_ids",
)  # fmt: skip
NOT_RECORDED_ENDINGS = ("_bytes", "digest")
ATTRIBUTES = (
    "coef_", "intercept_", "classes_", "scale_", "n_iter_", "learning_rate_", "purged_",
)  # fmt: skip
LEAVE_ONE_OUT = (
    "units", "decision_values", "predictions", "influence", "error", "coef",
    "intercept",
)  # fmt: skip

GD = {"solver": "gd", "max_iter": 30, "random_state": 3}
SGD = {"solver": "sgd", "max_iter": 12, "batch_size": 128, "random_state": 3}
SOLVERS = {
    "exact": {"curvature": "exact"},
    "kronecker": {"curvature": "kronecker"},
    "diagonal": {"curvature": "diagonal"},
    "gd auto": GD | {"period": "auto"},
    "gd 5": GD | {"period": 5},
    "sgd auto": SGD | {"period": "auto"},
    "sgd 5": SGD | {"period": 5, "history_size": 3},
}
# Rows, columns and outputs: classes for a classifier, targets for a regression.
TASKS = {
    "two classes": (900, 8, 2),
    "three classes": (1200, 7, 3),
    "twelve classes": (1500, 5, 12),
    "one target": (700, 9, 1),
    "three targets": (600, 6, 3),
}
FORMS = ("float64", "float32", "csr")
# Runs so large that the fit begins with Newton steps on a sample, or that a path is
# replayed from checkpoints of its Hessian, kept in each of the ways there are.
LARGE = (
    ("exact", "three classes", "float64", "none", (20_000, 10, 3), {}),
    ("exact", "one target", "csr", "sample_weight", (20_000, 15, 1), {}),
    ("gd auto", "two classes", "float64", "none", (20_000, 20, 2), {"max_iter": 80}),
    ("gd auto", "three targets", "float32", "none", (8_000, 20, 3), {"max_iter": 200}),
    (
        "gd auto", "twelve classes", "float64", "none", (2_500, 100, 12),
        {"max_iter": 100, "edit_tol": 0.3},
    ),
    (
        "gd auto", "twelve classes", "csr", "ids", (3_000, 100, 12),
        {"max_iter": 100, "edit_tol": 0.3},
    ),
    (
        "gd auto", "two classes", "csr", "sample_weight", (6_000, 1_100, 2),
        {"max_iter": 300, "edit_tol": 0.5},
    ),
    (
        "sgd auto", "three classes", "float64", "balanced", (20_000, 12, 3),
        {"max_iter": 40, "batch_size": 1024},
    ),
    (
        "sgd auto", "two classes", "float32", "cache_dtype", (20_000, 12, 2),
        {"max_iter": 40, "batch_size": 2048, "edit_tol": 0.5},
    ),
)  # fmt: skip
N_RARE = 12  # rows of the class that vanishes
N_ADDED = 5


def options_of(solver, task):
    """Options that have an effect with a solver and a task, as names."""
    options = ["none", "store_data"] if solver == "exact" else ["none"]
    options += ["sample_weight", "fit_intercept", "ids"]
    if "classes" in task:
        options += ["balanced", "class_weight"]
    if "gd" in solver:
        options += ["cache_dtype", "random_state"]
    else:
        options += ["standardize"]
    return options


def parameters_of(option, n_outputs):
    return {
        "fit_intercept": {"fit_intercept": False},
        "balanced": {"class_weight": "balanced"},
        "class_weight": {"class_weight": {k: 1 + k / 2 for k in range(n_outputs)}},
        "store_data": {"store_data": False, "edit_tol": 0.5},
        "cache_dtype": {"cache_dtype": "float32"},
        "random_state": {"random_state": 17},
        "standardize": {"standardize": True},
    }.get(option, {})


@dataclass(frozen=True)
class Run:
    """A model, its rows, and the rows that join and leave."""

    solver: str
    task: str
    form: str
    option: str
    shape: tuple
    parameters: dict

    @property
    def name(self):
        size = "x".join(map(str, self.shape[:2]))
        return f"{self.solver}, {self.task}, {self.form}, {self.option}, {size}"

    @property
    def is_classifier(self):
        return "classes" in self.task

    @property
    def is_stored(self):
        return self.option != "store_data"

    def model(self):
        parameters = SOLVERS[self.solver] | parameters_of(self.option, self.shape[2])
        parameters |= self.parameters
        if self.is_classifier:
            return DeltaGradLogisticRegression(C=0.5, **parameters)
        return DeltaGradRidge(alpha=2.0, **parameters)

    def rows(self):
        """X and y, with `N_ADDED` rows more than are given to fit."""
        n_rows, n_columns, n_outputs = self.shape
        rng = np.random.default_rng([n_rows, n_columns, n_outputs])
        X = rng.normal(size=(n_rows + N_ADDED, n_columns)) + 0.3
        density = {"csr": 0.3 if n_columns < 50 else 0.05}.get(self.form, 0.9)
        X *= rng.random(X.shape) < density
        raw = X @ rng.normal(size=(n_columns, n_outputs)) / np.sqrt(n_columns)
        raw += rng.normal(size=raw.shape)
        y = raw[:, 0] if n_outputs == 1 else raw
        if self.is_classifier:
            # The last class is rare, and not among the rows that are added.
            frequent = raw[:, : max(2, n_outputs - 1)]
            y = frequent.argmax(axis=1)
            if n_outputs > 2:
                y[rng.choice(n_rows, N_RARE, replace=False)] = n_outputs - 1
        if self.form == "csr":
            return sparse.csr_array(X), y
        return X.astype(self.form), y

    def extras(self):
        """Keyword arguments of `fit`: weights, some of them 0, or ids."""
        n_rows = self.shape[0]
        rng = np.random.default_rng(n_rows)
        if self.option == "sample_weight":
            return {"sample_weight": rng.choice([0.0, 0.5, 1.0, 2.0], n_rows)}
        if self.option == "ids":
            return {"sample_id": rng.integers(n_rows // 2, size=n_rows)}
        return {}

    def operations(self):
        """Pairs of a name and a function of the model that edits or plans."""
        X, y = self.rows()
        n_rows = self.shape[0]
        order = np.random.default_rng(n_rows + 1).permutation(n_rows)
        by_content, more_content = order[:2], order[2:5]
        by_position, many = order[5], order[6 : 6 + max(2, n_rows // 100)]
        corrected, added = order[-1], np.arange(n_rows, n_rows + N_ADDED)
        extras = self.extras()
        fitted = X[:n_rows], y[:n_rows]
        yield "fit", lambda model: model.fit(*fitted, **extras)
        yield "plan", lambda model: model.plan_unfit(X[by_content], y[by_content])
        yield "content", lambda model: model.unlearn(X[by_content], y[by_content])
        yield "more", lambda model: model.unlearn(X[more_content], y[more_content])
        if self.is_stored:
            yield "plan of 1%", lambda model: model.plan_unfit(position=many)
            yield "position", lambda model: model.unlearn(position=by_position)
            yield "1%", lambda model: model.unlearn(position=many)
            ids, own = {}, {}
            if "sample_id" in extras:
                gone, of_corrected = extras["sample_id"][[order[-3], corrected]]
                yield (
                    "id",
                    lambda model: model.unlearn(sample_id=gone, on_missing="ignore"),
                )
                ids = {"sample_id": np.arange(N_ADDED) + n_rows}
                own = {"sample_id": [of_corrected]}
            yield "added", lambda model: model.partial_refit(X[added], y[added], **ids)
            here = {"position": corrected} | own
            new = X[added[:1]], y[added[:1]]
            yield (
                "corrected",
                lambda model: model.partial_refit(*new, replace=True, **here),
            )
            if self.is_classifier and self.shape[2] > 2:
                rare = np.flatnonzero(y[:n_rows] == self.shape[2] - 1)
                yield (
                    "class vanishes",
                    lambda model: model.unlearn(position=rare, on_missing="ignore"),
                )
                again = {name: value[: len(rare[:3])] for name, value in ids.items()}
                yield (
                    "class returns",
                    lambda model: model.partial_refit(
                        X[rare[:3]], y[rare[:3]], **again
                    ),
                )
            yield "retrained", lambda model: model.partial_refit()
            yield "after retrain", lambda model: model.unlearn(position=order[-9:-6])
        yield "purged", lambda model: model.purge()
        if self.is_stored and self.has_leave_one_out:
            n_left = n_rows if "gd" not in self.solver else 10
            yield "leave one out", lambda model: self.leave_out(model, n_left)

    @property
    def has_leave_one_out(self):
        n_rows, n_columns, _ = self.shape
        if "gd" in self.solver:  # one of the small runs of each solver, and a large one
            is_first = self.task == "two classes" and self.form == "float64"
            return is_first or self.option == "balanced"
        return self.solver == "exact" or n_rows * n_columns < 10_000

    @staticmethod
    def leave_out(model, n_groups):
        """Every row by itself, or a few groups of them where that takes replays."""
        groups = None
        n_rows = model.update_report_.n_samples
        if n_groups < n_rows and (model.solver != "newton"):
            groups = np.arange(n_rows) % (n_rows // 3)
            groups[groups >= n_groups] = n_groups
        elif model.curvature != "exact":
            groups = np.arange(n_rows) % 20
        is_small = n_rows < 5_000
        return leave_one_out(model, groups=groups, return_coef=is_small)


def runs():
    """A covering selection: every solver with every task and form, options in turn."""
    turn = defaultdict(int)
    for i, solver in enumerate(SOLVERS):
        for j, (task, shape) in enumerate(TASKS.items()):
            options = options_of(solver, task)
            for k in range(len(FORMS)):
                form = FORMS[(i + j + k) % len(FORMS)]
                group = solver, "classes" in task
                option = options[turn[group] % len(options)]
                turn[group] += 1
                yield Run(solver, task, form, option, shape, {})
    for description in LARGE:
        yield Run(*description)


def recorded(run):
    """Everything that a run gives, as a dict by operation and field."""
    record, model = {}, run.model()
    for operation, act in run.operations():
        try:
            result = act(model)
        except Exception as error:
            record[f"{operation}: raised"] = type(error).__name__
            if operation == "fit":
                raise
            continue
        for field, value in fields_of(model, result):
            record[f"{operation}: {field}"] = value
    return record


def fields_of(model, result):
    if result is not model:
        if hasattr(result, "to_dict"):
            yield from figures(result.to_dict())
        else:
            for name in LEAVE_ONE_OUT:
                if getattr(result, name, None) is not None:
                    yield name, np.array(getattr(result, name))
        return
    for name in ATTRIBUTES:
        if hasattr(model, name):
            value = getattr(model, name)
            yield name, value if isinstance(value, str) else np.array(value)
    yield from figures(model.update_report_.to_dict())


def figures(fields):
    for name, value in fields.items():
        is_left_out = name in NOT_RECORDED or name.endswith(NOT_RECORDED_ENDINGS)
        if not is_left_out and isinstance(value, (int, float, str, type(None))):
            yield name, value


def difference(ours, theirs, ignores_wording):
    """None where two values are the same to the bit, else the relative difference.

    It is the largest difference over the largest entry; infinite where a shape, a
    type, a text or the place of a value that is not finite differs.
    """
    if isinstance(ours, str) and isinstance(theirs, str):
        return None if ours == theirs or ignores_wording else np.inf
    if ours is None or theirs is None:
        return None if ours is theirs else np.inf
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return np.inf
    if ours.tobytes() == theirs.tobytes():
        return None
    if ours.dtype.kind not in "biuf":
        return np.inf
    ours, theirs = ours.astype(float), theirs.astype(float)
    finite = np.isfinite(ours)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
        return np.inf
    gap = np.abs(ours[finite] - theirs[finite]).max(initial=0.0)
    largest = np.abs(ours[finite]).max(initial=0.0)
    return gap / largest if largest else (np.inf if gap else 0.0)


def compare(name, ours, theirs, only_in, ignores_wording):
    """Print how a run differs; return whether it does."""
    found = {}
    for key in ours.keys() | theirs.keys():
        operation, field = key.split(": ", 1)
        if key in ours and key in theirs:
            gap = difference(theirs[key], ours[key], ignores_wording)
            if gap is not None:
                found[key] = gap
        elif field == "raised" or not is_known(operation, ours, theirs):
            found[key] = np.inf
        else:
            only_in["this run" if key in ours else "the file"].add(field)
    if not found:
        print(f"same to the bit          {name}")
        return False
    # The first operation that differs is the one to look at.
    order = list(dict.fromkeys([*theirs, *ours]))
    worst = max(found, key=lambda key: (found[key], -order.index(key)))
    first = min(found, key=order.index)
    gap = "not comparable" if np.isinf(found[worst]) else f"{found[worst]:.1e}"
    print(f"DIFFERS {gap:16s} {name}")
    print(f"    largest in {shown(worst, theirs, ours)}")
    if first != worst:
        print(f"    first in   {shown(first, theirs, ours)}")
    print(f"    {len(found)} of {len(order)} values differ")
    return True


def is_known(operation, *sides):
    """Whether both sides have something of an operation."""
    begin = f"{operation}: "
    return all(any(key.startswith(begin) for key in side) for side in sides)


def shown(key, theirs, ours):
    values = [side.get(key, "nothing") for side in (theirs, ours)]
    if any(isinstance(value, np.ndarray) and value.size > 3 for value in values):
        return key
    return f"{key}: {values[0]!r} in the file, {values[1]!r} now"


def environment():
    return {
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "numba": numba.__version__,
        "BLAS": sorted(
            f"{library['internal_api']} {library['version']} "
            f"{library.get('architecture')}"
            for library in threadpool_info()
            if library["user_api"] == "blas"
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("action", choices=["write", "compare"])
    parser.add_argument("file")
    parser.add_argument("--ignore-wording", action="store_true")
    parser.add_argument("--only", default="", help="part of the names of runs to make")
    parser.add_argument("--times", action="store_true", help="print each run's seconds")
    given = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = "1"  # read by the package when it first computes
    warnings.simplefilter("ignore")
    print(f"skdeltagrad of {os.path.dirname(skdeltagrad.__file__)}")
    is_comparison = given.action == "compare"
    file = joblib.load(given.file) if is_comparison else {"runs": {}}
    if is_comparison and file["environment"] != environment():
        print(f"written with {file['environment']},\nnow {environment()}")
    started, results, only_in, n_different = perf_counter(), {}, defaultdict(set), 0
    with threadpool_limits(1):
        for run in runs():
            if given.only not in run.name:
                continue
            before = perf_counter()
            result = results[run.name] = recorded(run)
            if given.times:
                print(f"{perf_counter() - before:6.2f} s  {run.name}")
            if is_comparison:
                theirs = file["runs"].get(run.name, {})
                n_different += compare(
                    run.name, result, theirs, only_in, given.ignore_wording
                )
    print(f"{len(results)} runs in {perf_counter() - started:.0f} s")
    if not is_comparison:
        joblib.dump({"environment": environment(), "runs": results}, given.file, 3)
        raised = [
            f"{name}: {key}: {value}"
            for name, record in results.items()
            for key, value in record.items()
            if key.endswith(": raised")
        ]
        print("\n".join(raised) or "no operation raised an error")
        return 0
    missing = {name for name in file["runs"] if given.only in name} - results.keys()
    for name in sorted(missing):
        print(f"DIFFERS: not made now    {name}")
    for side, names in only_in.items():
        print(f"only in {side}: {', '.join(sorted(names))}")
    n_different += len(missing)
    print(f"{n_different} runs differ" if n_different else "no run differs")
    return int(n_different > 0)


if __name__ == "__main__":
    sys.exit(main())
