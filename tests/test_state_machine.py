"""Random sequences of everything that can be done to a fitted estimator.

The rows that it should hold are kept beside it, in a table: position -> row. After
every step the estimator is held against the table: its rows and their names, what its
report says, and its coefficients. These are computed anew from the table alone
(`oracles`): the optimum for "newton", to within what the report and `edit_tol` promise,
and the path for "gd" and "sgd", to rounding where it is exact.

How many sequences there are, and with which seed, is said by a profile of hypothesis:
see `conftest` and ``doc/testing.md``.
"""

import hashlib
import pickle
import tempfile
import warnings
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.testing import assert_allclose, assert_array_equal
from oracles import DataTerm, class_weights
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, assert_erased

# How many times as far as it should an edit with an estimate may be off; and of how
# large a share of the rows the estimate of a replay speaks.
_ESTIMATES = 10.0
_SMALL = 0.15


class Row(NamedTuple):
    """A training row; weights of classes are not in its weight."""

    x: tuple
    y: object
    weight: float
    id: object

    @property
    def content(self):
        return self.x, self.y


# What is drawn.

# What a request that finds nothing changes all the same.
RECEIPTS = ("estimator.update_report_", "estimator.history_")
SEEDS = st.integers(0, 2**16)
PICKS = st.lists(st.integers(0, 99), min_size=1, max_size=8)
FEW = st.integers(1, 4)
STORAGES = {
    "float64": np.asarray,
    "float32": np.float32,
    "sparse": sparse.csr_matrix,
    "sparse float32": lambda X: sparse.csr_array(X.astype(np.float32)),
    "frame": lambda X: pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])]),
}
LABELS = [np.array(["a", "b", "c", "d"]), np.array([-1, 3, 5, 7])]


def _of_loss(kind):
    """Parameters of a loss."""
    if kind == "ridge":
        return {
            "alpha": st.sampled_from([0.1, 1.0, 10.0]),
            "fit_intercept": st.booleans(),
        }
    by_class = {label: 0.3 + code for code, label in enumerate(LABELS[0].tolist())}
    by_class |= {label: 0.3 + code for code, label in enumerate(LABELS[1].tolist())}
    return {
        "C": st.sampled_from([0.01, 1.0, 100.0]),
        "fit_intercept": st.booleans(),
        "class_weight": st.sampled_from([None, "balanced", by_class]),
    }


_OF_PATHS = {
    "max_iter": st.integers(1, 12),
    "edit_tol": st.sampled_from([1e-4, 1e-2, 0.3]),
    "learning_rate": st.sampled_from(["auto", "number", "numbers"]),
    "period": st.sampled_from([1, "auto", 3]),
    "burn_in": st.integers(0, 6),
    "history_size": st.integers(1, 3),
    "cache_dtype": st.sampled_from(["float64", "float32"]),
    "cache_folder": st.booleans(),
}
OF_SOLVERS = {
    "newton": {
        "edit_tol": st.sampled_from([1e-6, 1e-2, 0.3]),
        "curvature": st.sampled_from(
            ["auto", "exact", "subset", "kronecker", "diagonal"]
        ),
        "store_data": st.sampled_from([True, True, True, False]),
        "standardize": st.booleans(),
    },
    "gd": _OF_PATHS,
    "sgd": _OF_PATHS | {
        "batch_size": st.integers(2, 16),
        "random_state": st.integers(0, 3),
    },
}  # fmt: skip
KINDS = {"logistic": DeltaGradLogisticRegression, "ridge": DeltaGradRidge}


class Machine(RuleBasedStateMachine):
    """An estimator and the table of its rows; `model_of` says what it should be.

    Parameters
    ----------
    kind : {"logistic", "ridge"}
    solver : {"newton", "gd", "sgd"}
    contents : callable
        From an estimator to all that it holds, bit by bit.
    """

    def __init__(self, kind, solver, contents):
        super().__init__()
        self.kind, self.solver, self.contents = kind, solver, contents
        self.folder = tempfile.TemporaryDirectory()
        self.table, self.gone, self.n_positions = {}, [], 0
        self.files = {}

    # A start is drawn here, or else parameters could not depend on the test's.

    @initialize(
        data=st.data(), seed=SEEDS, n_rows=st.integers(10, 40),
        n_features=st.integers(1, 5), n_outputs=st.integers(1, 2),
        spread=st.sampled_from(["plain", "plain", "twins", "offset"]),
        storage=st.sampled_from(sorted(STORAGES)), weighted=st.booleans(),
        kind_of_id=st.sampled_from([None, "int", "str"]),
        labels=st.sampled_from([0, 1]),
    )  # fmt: skip
    def start(
        self, data, seed, n_rows, n_features, n_outputs, spread, storage, weighted,
        kind_of_id, labels,
    ):  # fmt: skip
        self.n_features, self.n_outputs = n_features, n_outputs
        self.spread, self.storage, self.weighted = spread, storage, weighted
        self.kind_of_id, self.labels = kind_of_id, LABELS[labels]
        self.n_ids = 0
        rows = self.new_rows(seed, n_rows, first=True)
        drawn = st.fixed_dictionaries(_of_loss(self.kind) | OF_SOLVERS[self.solver])
        parameters = self._settled(data.draw(drawn, label="parameters"), rows)
        self.model = KINDS[self.kind](solver=self.solver, **parameters)
        self.stored = parameters.get("store_data", True)
        self.fit_on(self.model, rows)

    def _settled(self, parameters, rows):
        """Parameters that are good for the rows."""
        if parameters.get("store_data") is False:
            parameters["curvature"] = "exact"
        if self.solver == "newton":
            return parameters
        folder = self.folder.name if parameters["cache_folder"] else None
        parameters["cache_folder"] = folder
        rate = parameters["learning_rate"]
        if rate != "auto":
            X = np.array([row.x for row in rows])
            largest = 1.0 + 4.0 * (X**2).sum(axis=1).max()
            rate = 0.5 / (4.0 * largest + 1.0 / parameters.get("C", 1.0))
            epochs = parameters["max_iter"]
            if parameters["learning_rate"] == "numbers":
                rate = rate / np.arange(1, epochs + 1)
            parameters["learning_rate"] = rate
        return parameters

    def teardown(self):
        try:
            for path, checksum in self.files.items():
                assert checksum == _checksum(path), "an edit wrote to a dump"
            if self.table:
                self.check_the_reference()
        finally:
            self.folder.cleanup()

    # Rows.

    def new_rows(self, seed, n_rows, first=False, new_label=False):
        """Rows for the table; the first ones hold two of every class."""
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n_rows, self.n_features))
        if self.spread == "twins":
            X = np.rint(X)
        elif self.spread == "offset":
            X += 40.0
        if self.storage.startswith("sparse"):
            X[rng.random(X.shape) < 0.4] = 0.0
        if self.storage.endswith("float32"):
            X = X.astype(np.float32)
        if self.kind == "ridge":
            y = [tuple(row) for row in rng.standard_normal((n_rows, self.n_outputs))]
        else:
            n_classes = self.n_outputs + 1
            codes = rng.integers(n_classes, size=n_rows)
            if first:
                codes[: 2 * n_classes] = np.repeat(np.arange(n_classes), 2)
            if new_label:
                codes[0] = 3
            y = self.labels[codes].tolist()
        weight = np.ones(n_rows)
        if self.weighted:
            weight = rng.choice([0.0, 0.5, 1.0, 3.0], n_rows)
            weight[: 2 * (self.n_outputs + 1) if first else 0] = 1.0
        ids = [None] * n_rows
        if self.kind_of_id is not None:
            ids = self.n_ids + rng.integers(max(2, n_rows // 2), size=n_rows)
            self.n_ids = int(ids.max()) + 1
            ids = [self.as_id(i) for i in ids]
        x = map(tuple, X.astype(float).tolist())
        return list(map(Row, x, y, weight.tolist(), ids))

    def as_id(self, number):
        return f"user {number}" if self.kind_of_id == "str" else int(number)

    def given(self, rows):
        """Rows as they are given to the estimator: X and y."""
        X = np.array([row.x for row in rows]).reshape(len(rows), self.n_features)
        y = np.array([row.y for row in rows])
        if self.kind == "ridge" and self.n_outputs == 1:
            y = y.reshape(-1)
        return STORAGES[self.storage](X), y

    def described(self, rows):
        """Weights and ids, as arguments."""
        described = {}
        if self.weighted:
            described["sample_weight"] = np.array([row.weight for row in rows])
        if self.kind_of_id is not None:
            described["sample_id"] = [row.id for row in rows]
        return described

    def fit_on(self, model, rows):
        model.fit(*self.given(rows), **self.described(rows))
        self.model, self.table = model, dict(enumerate(rows))
        self.n_positions, self.gone, self.memberships = len(rows), [], {}
        self.last_request = None
        self.check_report("fit", n_removed=0, n_added=0)
        self.before = None
        self.check_coefficients(is_exact=True)

    @property
    def live(self):
        return sorted(self.table)

    @property
    def rows(self):
        return [self.table[position] for position in self.live]

    def picked(self, picks):
        """Positions of live rows."""
        live = self.live
        return sorted({live[pick % len(live)] for pick in picks})

    def without(self, positions):
        return {p: row for p, row in self.table.items() if p not in set(positions)}

    def with_new(self, table, rows):
        """A table in which rows have joined at the end."""
        return table | dict(enumerate(rows, start=self.n_positions))

    def verdict(self, table):
        """What an edit that leads to a table is: good, refused, or of no meaning."""
        if not any(row.weight for row in table.values()):
            return "refused"
        if self.kind == "ridge":
            return "good"
        classes = {row.y for row in table.values()}
        counting = {row.y for row in table.values() if row.weight}
        if len(classes) < 2:
            return "refused"
        return "good" if classes == counting else "meaningless"

    # Edits.

    def edit(self, request, table, **facts):
        """Make a request that should lead to a table.

        Where no model would be left, it must be refused.
        """
        verdict = self.verdict(table)
        if verdict == "meaningless":
            return False
        if verdict == "refused":
            self.refused(request, ValueError)
            return False
        classes = self.classes
        path = self.model._engine
        self.before = getattr(path, "reference", path.iterate)
        try:
            assert request(self.model) is self.model
        except ValueError as error:
            # Without rows, what is not certain from the curvature alone is refused.
            assert not self.stored
            assert "store_data=False kept none" in str(error)
            event("refused for want of rows")
            return False
        removed = [row for p, row in self.table.items() if table.get(p) != row]
        joined = [row for p, row in table.items() if self.table.get(p) != row]
        self.touched = len(removed) + len(joined)
        self.gone = (self.gone + [row.x for row in removed])[-20:]
        self.n_positions = max([self.n_positions, *(p + 1 for p in table)])
        self.table = table
        changed = not np.array_equal(classes, self.classes)
        report = self.check_report(**facts)
        if changed:
            event("the classes changed")
            assert report.refit
            assert report.reason == "the classes changed"
        self.check_coefficients(is_exact=report.refit, anew=changed)
        return True

    @property
    def classes(self):
        """Labels, or None."""
        return sorted({row.y for row in self.rows}) if self.kind != "ridge" else None

    def refused(self, request, error):
        """The request fails and nothing changes, not by one bit."""
        report, before = self.model.update_report_, self.contents(self.model)
        with pytest.raises(error):
            request(self.model)
        self.assert_contents(before)
        assert self.model.update_report_ is report

    def assert_contents(self, expected, besides=()):
        """The estimator is what it was."""
        found = self.contents(self.model)
        places = sorted(expected.keys() | found.keys())
        changed = [p for p in places if expected.get(p) != found.get(p)]
        assert not [place for place in changed if not place.startswith(besides)]

    # Rules: rows leave.

    @precondition(lambda self: self.stored)
    @rule(picks=PICKS)
    def remove_by_position(self, picks):
        gone = named = self.picked(picks)
        if sum(picks) % 2:
            named = np.isin(np.arange(self.n_positions), gone)
        done = self.edit(
            lambda model: model.partial_unfit(position=named),
            self.without(gone), operation="partial_unfit", n_removed=len(gone),
        )  # fmt: skip
        if done:
            self.last_request = {"position": gone}

    @precondition(lambda self: self.stored and self.kind_of_id is not None)
    @rule(picks=PICKS)
    def remove_by_id(self, picks):
        ids = {self.table[position].id for position in self.picked(picks[:3])}
        gone = [p for p, row in self.table.items() if row.id in ids]
        done = self.edit(
            lambda model: model.unlearn(sample_id=sorted(ids)),
            self.without(gone), operation="unlearn", n_removed=len(gone),
        )  # fmt: skip
        if done:
            self.last_request = {"sample_id": sorted(ids)}

    @rule(picks=PICKS, by_weight=st.booleans())
    def remove_by_content(self, picks, by_weight):
        gone = self.picked(picks)
        wanted = [self.table[position] for position in gone]
        by_weight = self.weighted and (by_weight or not self.stored)
        X, y = self.given(wanted)
        weight = np.array([row.weight for row in wanted]) if by_weight else None
        # Any of several twins may leave. None of them may matter for the verdict.
        content = {row.content for row in wanted}
        twins = [p for p, row in self.table.items() if row.content in content]
        if self.weighted and self.verdict(self.without(twins)) != "good":
            return
        before = self.table
        table = self.without(gone)
        request = partial(_unlearn, X=X, y=y, sample_weight=weight)
        if self.stored and len(twins) > len(gone) and self.verdict(table) == "good":
            # Which of them leave is seen on a copy.
            left = self.positions_of(request(deepcopy(self.model)))
            table = {p: row for p, row in before.items() if p in left}
            key = (lambda row: row[:3]) if by_weight else (lambda row: row[:2])
            found = sorted(key(before[p]) for p in before.keys() - left)
            assert found == sorted(map(key, wanted))
        self.edit(request, table, operation="unlearn", n_removed=len(gone))

    @precondition(lambda self: self.stored and self.last_request is not None)
    @rule()
    def retry_the_last_request(self):
        """A row may carry the id again that was removed."""
        request = self.last_request
        if "position" in request:
            request = {
                "position": [p for p in request["position"] if p not in self.table]
            }
        else:
            present = {row.id for row in self.rows}
            request = {
                "sample_id": [i for i in request["sample_id"] if i not in present]
            }
        n_missing = len(*request.values())
        if not n_missing:
            return
        before = self.contents(self.model)
        self.model.partial_unfit(**request, on_missing="ignore")
        self.assert_contents(before, RECEIPTS)
        self.check_report("partial_unfit", n_removed=0, n_not_found=n_missing)

    # Rules: rows join, or are corrected.

    @precondition(lambda self: self.stored)
    @rule(seed=SEEDS, n_rows=FEW, new_label=st.booleans())
    def add(self, seed, n_rows, new_label):
        rows = self.new_rows(seed, n_rows, new_label=new_label)
        request = partial(_refit, rows=self.given(rows), **self.described(rows))
        self.edit(
            request, self.with_new(self.table, rows), operation="partial_refit",
            n_added=n_rows,
        )  # fmt: skip

    @precondition(lambda self: self.stored)
    @rule(seed=SEEDS, n_rows=FEW, picks=PICKS, by_id=st.booleans())
    def slide(self, seed, n_rows, picks, by_id):
        """Rows leave and others join in one go."""
        rows, gone = self.new_rows(seed, n_rows), self.picked(picks)
        remove = {"remove_position": gone}
        if by_id and self.kind_of_id is not None:
            ids = {self.table[position].id for position in gone}
            gone = [p for p, row in self.table.items() if row.id in ids]
            remove = {"remove_id": sorted(ids)}
        request = partial(
            _refit, rows=self.given(rows), **self.described(rows), **remove
        )
        self.edit(
            request, self.with_new(self.without(gone), rows),
            operation="partial_refit", n_added=n_rows, n_removed=len(gone),
        )  # fmt: skip

    @precondition(lambda self: self.stored)
    @rule(seed=SEEDS, picks=PICKS)
    def correct_by_position(self, seed, picks):
        gone = self.picked(picks)
        if self.kind_of_id is not None:
            return  # rows that join bring ids, and then it is the ids that count
        rows = self.new_rows(seed, len(gone))
        request = partial(
            _refit, rows=self.given(rows), **self.described(rows), replace=True,
            position=gone,
        )  # fmt: skip
        self.edit(
            request, self.table | dict(zip(gone, rows, strict=True)),
            operation="partial_refit", n_added=len(gone), n_removed=len(gone),
        )  # fmt: skip

    @precondition(lambda self: self.stored and self.kind_of_id is not None)
    @rule(seed=SEEDS, picks=PICKS, n_rows=st.integers(1, 6))
    def correct_by_id(self, seed, picks, n_rows):
        """The new rows of an id take over the positions of its old ones."""
        ids = sorted({self.table[position].id for position in self.picked(picks[:2])})
        n_rows = max(n_rows, len(ids))
        rows = [
            row._replace(id=ids[number % len(ids)])
            for number, row in enumerate(self.new_rows(seed, n_rows))
        ]
        waiting = {i: [p for p in self.live if self.table[p].id == i] for i in ids}
        gone = [p for positions in waiting.values() for p in positions]
        table, joining = self.without(gone), []
        for row in rows:
            if waiting[row.id]:
                table[waiting[row.id].pop(0)] = row
            else:
                joining.append(row)
        request = partial(
            _refit, rows=self.given(rows), **self.described(rows), replace=True
        )
        self.edit(
            request, self.with_new(table, joining), operation="partial_refit",
            n_added=n_rows, n_removed=len(gone),
        )  # fmt: skip

    @precondition(lambda self: self.stored)
    @rule()
    def retrain(self):
        self.model.partial_refit()
        self.check_report("partial_refit", n_removed=0, n_added=0)
        self.check_coefficients(is_exact=True, anew=True)

    @rule(exact=st.booleans())
    def purge(self, exact):
        n_reports = len(self.model.history_)
        was_purged = self.model.purged_ != "no" and not exact
        self.model.purge(exact=exact)
        assert self.model.purged_ in ("yes", "cannot")
        assert (self.model.purged_ == "yes") or not self.stored
        assert self.model.history_.verify(self.model) == len(self.model.history_)
        if was_purged:
            assert len(self.model.history_) == n_reports
            return
        self.check_report("purge")
        assert all(report.is_redacted for report in self.model.history_[:-1])
        self.before = None
        if self.stored:
            self.check_coefficients(is_exact=True, anew=True)

    # Rules: the estimator travels.

    @rule(how=st.sampled_from(["pickle", "deepcopy", "compressed", "r", "r+", "c"]))
    def travel(self, how):
        if how != "deepcopy" and self.solver == "newton":
            self.model.purge()  # as a pickle does
        before = self.contents(self.model)
        path = Path(self.folder.name) / f"{len(self.files)}.joblib"
        if how == "pickle":
            self.model = pickle.loads(pickle.dumps(self.model))
        elif how == "deepcopy":
            self.model = deepcopy(self.model)
        else:
            compress, mode = (3, None) if how == "compressed" else (0, how)
            joblib.dump(self.model, path, compress=compress)
            self.model = joblib.load(path, mmap_mode=mode)
            self.files[path] = _checksum(path)
        self.assert_contents(before)

    @precondition(lambda self: self.verdict(self.table) == "good")
    @rule(anew=st.booleans())
    def fit_again(self, anew):
        """The rows are numbered from 0 on."""
        self.fit_on(clone(self.model) if anew else self.model, self.rows)

    # Rules: nothing changes.

    @rule(tolerance=st.sampled_from([1e-6, 1e-2, 0.3]))
    def set_the_tolerance(self, tolerance):
        self.model.set_params(edit_tol=tolerance)

    @precondition(lambda self: self.stored)
    @rule(picks=PICKS)
    def plan(self, picks):
        gone = self.picked(picks)
        verdict = self.verdict(self.without(gone))
        before = self.contents(self.model)
        if verdict == "good":
            plan = self.model.plan_unfit(position=gone)
            assert plan.n_removed == len(gone)
            assert plan.n_samples == len(self.table) - len(gone)
        elif verdict == "refused":
            with pytest.raises(ValueError):
                self.model.plan_unfit(position=gone)
        self.assert_contents(before)

    @precondition(lambda self: self.gone)
    @rule()
    def search_for_removed_rows(self):
        there = {row.x for row in self.rows}
        gone = [x for x in self.gone if x not in there]
        if gone:
            with warnings.catch_warnings():  # rows may be equal as float32
                warnings.filterwarnings("ignore", ".*current training row")
                purged = deepcopy(self.model).purge()
                assert_erased(purged, np.array(gone), equal_rows="warn")

    @rule(data=st.data(), pick=st.integers(0, 99))
    def fail(self, data, pick):
        """A bad request is refused with the right error."""
        wrong = self.wrong_requests(self.table[self.picked([pick])[0]])
        name = data.draw(st.sampled_from(sorted(wrong)), label="what is wrong")
        request, error = wrong[name]
        self.refused(request, error)

    def wrong_requests(self, row):
        """By name: a request that must fail, and how."""
        X, y = self.given([row])
        one = {"sample_id": [row.id]} if self.kind_of_id is not None else {}
        far = self.given([row._replace(x=tuple(v + 1e4 for v in row.x))])[0]
        dense = np.array([row.x])
        wide, nan = np.hstack([dense, dense]), dense.copy()
        nan[0, 0] = np.nan
        if self.storage == "frame":
            nan = pd.DataFrame(nan, columns=X.columns)
            wide = pd.concat([X, X], axis=1)
        wrong = {
            "rows not there": (lambda m: m.unlearn(far, y), ValueError),
            "wrong width": (lambda m: m.unlearn(wide, y), ValueError),
            "NaN": (lambda m: m.unlearn(nan, y), ValueError),
            "two targets too many": (lambda m: m.unlearn(X, [*y, *y]), ValueError),
            "no y": (lambda m: m.unlearn(X), ValueError),
            "nothing named": (lambda m: m.unlearn(), ValueError),
            "two names": (lambda m: m.unlearn(X, y, position=0), ValueError),
            "on_missing": (lambda m: m.unlearn(X, y, on_missing="?"), ValueError),
            "other parameters": (_with_other_tol, ValueError),
            "invalid parameters": (_with_invalid_tol, ValueError),
        }
        if not self.stored:
            return wrong | {
                "positions without rows": (lambda m: m.unlearn(position=0), ValueError),
                "retrained without rows": (lambda m: m.partial_refit(), ValueError),
            }
        gone = [p for p in range(self.n_positions) if p not in self.table]
        wrong |= {
            "behind the last": (
                lambda m: m.unlearn(position=self.n_positions),
                IndexError,
            ),
            "before the first": (lambda m: m.unlearn(position=-1), IndexError),
            "a fraction": (lambda m: m.unlearn(position=[0.5]), TypeError),
            "negative weight": (
                lambda m: m.partial_refit(X, y, sample_weight=[-1.0], **one),
                ValueError,
            ),
            "added NaN": (lambda m: m.partial_refit(nan, y, **one), ValueError),
            "added width": (lambda m: m.partial_refit(wide, y, **one), ValueError),
            "replaced by nobody": (lambda m: m.partial_refit(replace=True), ValueError),
            "everybody": (lambda m: m.unlearn(position=self.live), ValueError),
        }
        if gone:
            wrong["gone"] = (lambda m: m.unlearn(position=gone[-1:]), IndexError)
        if is_classifier(self.model):
            most = [p for p, other in self.table.items() if other.y != row.y]
            wrong["one class"] = (lambda m: m.unlearn(position=most), ValueError)
            wrong["label that never was"] = (
                lambda m: m.unlearn(X, self.labels[[3]]), ValueError
            )  # fmt: skip
            if self.labels[3] in self.classes:  # it is there, then, or a copy may be
                del wrong["label that never was"]
        else:
            target = np.full((1, 3), 1.0)
            wrong["other targets"] = (
                lambda m: m.partial_refit(X, target, **one), ValueError
            )  # fmt: skip
        if self.kind_of_id is None:
            return wrong | {
                "ids": (lambda m: m.unlearn(sample_id=[0]), ValueError),
                "added ids": (
                    lambda m: m.partial_refit(X, y, sample_id=[0]), ValueError,
                ),
            }  # fmt: skip
        other = [7] if self.kind_of_id == "str" else ["seven"]
        return wrong | {
            "unknown id": (
                lambda m: m.unlearn(sample_id=[self.as_id(10**6)]), KeyError,
            ),
            "id of another kind": (lambda m: m.unlearn(sample_id=other), TypeError),
            "no ids": (lambda m: m.partial_refit(X, y), ValueError),
            "unknown id replaced": (
                lambda m: m.partial_refit(
                    X, y, sample_id=[self.as_id(10**6)], replace=True
                ),
                KeyError,
            ),
        }  # fmt: skip

    # What is checked.

    def positions_of(self, model):
        table = model._training_set.table
        return set(table.position[table.live_indices()].tolist())

    @invariant()
    def rows_are_those_of_the_table(self):
        if not self.table:
            return  # not started
        training_set = self.model._training_set
        table = training_set.table
        assert table.n_live == len(self.table)
        if self.classes is not None:
            assert self.model.classes_.tolist() == self.classes
        assert self.model.n_features_in_ == self.n_features
        if not self.stored:
            assert len(table.weight) == len(training_set.rows) == 0
            return
        assert self.positions_of(self.model) == set(self.table)
        assert table.n_positions == self.n_positions
        indices = table.indices_of(np.array(self.live))
        X = training_set.rows.read(indices)
        X = X.toarray() if sparse.issparse(X) else X
        assert_array_equal(X, [row.x for row in self.rows])
        factor = np.ones(len(indices))
        if self.classes is not None:
            y = self.model.classes_[table.y[indices]].tolist()
            if isinstance(self.model.class_weight, dict):
                factor = np.array([self.model.class_weight[row.y] for row in self.rows])
        else:
            y = list(map(tuple, table.y[indices].tolist()))
        assert y == [row.y for row in self.rows]
        weight = np.array([row.weight for row in self.rows])
        assert_array_equal(table.weight[indices], weight * factor)
        if self.kind_of_id is not None:
            assert table.ids[indices].tolist() == [row.id for row in self.rows]

    def check_report(self, operation, n_removed=0, n_added=0, n_not_found=0):
        report = self.model.update_report_
        assert report.operation == operation
        assert report.solver == self.solver
        assert report.n_samples == len(self.table)
        assert report.n_removed == n_removed
        assert report.n_added == n_added
        assert report.n_not_found == n_not_found
        assert report.membership_checked
        if operation in ("unlearn", "partial_unfit"):
            assert (report.membership_error_rate == 0.0) == self.stored
        assert str(report)
        return report

    def objective(self):
        return DataTerm(*self.arrays(), self.model)

    def arrays(self):
        """X, y and weights of the table."""
        return [
            np.array([getattr(row, name) for row in self.rows])
            for name in ("x", "y", "weight")
        ]

    def check_coefficients(self, is_exact, anew=False):
        """Against what the rows say; `is_exact`: trained on them anew.

        `anew`: it is not to be compared with what it was before.
        """
        objective = self.objective()
        self.check_published(objective)
        if self.solver == "newton":
            self.check_optimum(objective, is_exact)
        else:
            self.check_path(objective, is_exact, anew)

    def check_published(self, objective):
        """The attributes, and what is predicted by them, are the engine's."""
        model, iterate = self.model, self.model._engine.iterate
        dtype = np.float32 if self.storage.endswith("float32") else np.float64
        assert model.coef_.dtype == np.float64
        assert np.isfinite(model.coef_).all()
        X, _ = self.given(self.rows)
        found = model.decision_function(X) if self.kind == "logistic" else (
            model.predict(X)
        )  # fmt: skip
        raw = (objective.X @ iterate.T).astype(float)
        sizes = np.abs(np.array([row.x for row in self.rows])) @ np.abs(iterate).T[
            : self.n_features
        ] + np.abs(raw)
        error = np.abs(np.reshape(found, raw.shape) - raw)
        assert (error <= 100 * np.finfo(dtype).eps * (sizes + 1e-3)).all()

    def check_optimum(self, objective, is_exact):
        path, report = self.model._engine, self.model.update_report_
        optimum = objective.optimum(path.iterate)
        away = np.asarray(path.iterate - optimum, float)
        distance, size = (objective.norm(w, optimum) for w in (away, path.iterate))
        slack = 1e-9 * (1.0 + size)
        # Without a kept Hessian, the norm is that where the last step began.
        kept, log_ratio = partial(_kept_norm, path), 0.0
        if path.curvature is None:
            kept = partial(objective.norm, at=optimum)
            same_shape = self.before is not None and self.before.shape == away.shape
            if self.kind == "logistic" and same_shape:
                log_ratio = objective.ranges(self.before - optimum).max() / 2
        if report.distance_bound is not None:
            event("a bound")
            allowed = report.distance_bound * np.exp(log_ratio) * (1.0 + 1e-6) + slack
            assert kept(away) <= allowed
            if report.decision_bound is not None:
                allowed = report.decision_bound * (1.0 + 1e-6) + slack
                assert objective.ranges(away).max() <= allowed
        if is_exact or self.before is None or self.before.shape != away.shape:
            assert distance <= 1e-6 * (1.0 + size)
            return
        moved = objective.norm(path.iterate - self.before, optimum)
        edit_tol = self.model.edit_tol
        if report.distance_bound is not None:
            moved_kept = kept(path.iterate - self.before)
            # Without a kept Hessian, a tiny penalty ends edits before they are certain.
            if path.curvature is not None or report.relative_bound <= edit_tol:
                assert kept(away) <= edit_tol * moved_kept * np.exp(log_ratio) + slack
        else:
            event("an estimate")
            assert distance <= _ESTIMATES * edit_tol * moved + 1e-6 * (1.0 + size)

    def check_path(self, objective, is_exact, anew):
        model, path = self.model, self.model._engine
        end, largest = objective.descend(*self.schedule())
        scale = largest + 1e-3
        rounding = 1e-9 if model.cache_dtype == "float64" else 1e-5
        # 1) the exact path, from where the model is and from nothing but its rows
        twin = deepcopy(model).partial_refit()
        assert_allclose(twin._engine.iterate, end.astype(float), atol=rounding * scale)
        if self.solver == "gd":
            fresh = clone(model).set_params(learning_rate=model.learning_rate_)
            fresh.fit(*self.given(self.rows), **self.described(self.rows))
            if np.array_equal(fresh._engine.model.centre, path.model.centre):
                assert_allclose(
                    fresh._engine.iterate, end.astype(float), atol=rounding * scale
                )
        # 2) this one
        error = float(np.linalg.norm(path.iterate - end))
        report = model.update_report_
        if is_exact or anew or report.n_exact_steps == report.n_steps:
            self.allowed = 0.0
        elif model.period == "auto" and self.touched <= _SMALL * len(self.table):
            event("an estimate")
            moved = float(np.linalg.norm(end - self.exact_end))
            self.allowed += _ESTIMATES * model.edit_tol * moved
        else:
            event("no promise")
            self.allowed = np.inf
        assert error <= self.allowed + rounding * scale * end.size
        self.exact_end = end

    def schedule(self):
        """Batches, as places in the table, and step sizes."""
        schedule = self.model._engine.schedule
        live = np.array(self.live)
        members = schedule.members(live, np.arange(len(live)))
        batches = [members.at(step) for step in range(schedule.n_steps)]
        for step, batch in enumerate(batches):
            for position in live[batch].tolist():
                self.memberships.setdefault(position, set()).add(step)
        if self.solver == "sgd":
            # One batch in each epoch, the same for good.
            assert {len(self.memberships[p]) for p in self.live} == {schedule.n_epochs}
        rates = np.broadcast_to(self.model.learning_rate_, schedule.n_epochs)
        return batches, np.repeat(rates, schedule.steps_per_epoch)

    def check_the_reference(self):
        """The optimum that edits are held against is scikit-learn's, too."""
        if self.solver != "newton" or self.verdict(self.table) != "good":
            return
        objective = self.objective()
        X, y, weight = self.arrays()
        model, scale = self.model, 1.0
        if model.standardize:
            scale = StandardScaler().fit(X, sample_weight=weight).scale_
        X = (X - X.mean(axis=0) * model.fit_intercept) / scale
        if self.kind == "ridge":
            theirs = Ridge(
                model.alpha, fit_intercept=model.fit_intercept, solver="cholesky"
            )
        else:
            theirs = LogisticRegression(
                C=model.C, fit_intercept=model.fit_intercept, tol=1e-10,
                class_weight=class_weights(model.class_weight, y, weight),
                solver="newton-cholesky", max_iter=1000,
            )  # fmt: skip
        with warnings.catch_warnings():
            # It cannot get nearer than rounding lets it, and says so.
            warnings.simplefilter("ignore")
            theirs.fit(X, y, sample_weight=weight)
        ours = objective.optimum(model._engine.iterate)[:, : self.n_features] * scale
        assert_allclose(
            np.reshape(theirs.coef_, ours.shape), ours.astype(float), rtol=1e-4,
            atol=1e-5,
        )  # fmt: skip


def _kept_norm(path, by_output):
    """In the Hessian that is kept."""
    vectors = path.model.loss.to_coordinates(np.asarray(by_output, dtype=float))
    n_systems = len(vectors) if path.model.loss.is_quadratic else 1
    return path.curvature.hessian.norm(vectors.reshape(n_systems, -1))


def _unlearn(model, X, y, sample_weight):
    return model.unlearn(X, y, sample_weight=sample_weight)


def _refit(model, rows, **arguments):
    return model.partial_refit(*rows, **arguments)


def _with_other_tol(model):
    return _with_parameter(model, "tol", 0.5)


def _with_invalid_tol(model):
    return _with_parameter(model, "edit_tol", -1.0)


def _with_parameter(model, name, value):
    """An edit with a parameter that it cannot be made with, which is then set back."""
    before = getattr(model, name)
    setattr(model, name, value)
    try:
        return model.unlearn(position=0)
    finally:
        setattr(model, name, before)


def _checksum(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.mark.parametrize("solver", OF_SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:These parameters have no effect")
def test_random_sequences(kind, solver, contents, replay_always):
    n_machines = len(KINDS) * len(OF_SOLVERS)
    n_sequences = -(-settings().max_examples // n_machines)
    run_state_machine_as_test(
        lambda: Machine(kind, solver, contents),
        settings=settings(max_examples=n_sequences),
    )
