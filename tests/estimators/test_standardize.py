"""standardize=True: the model of a pipeline with a `StandardScaler`, refitted.

The pipeline of scikit-learn, fitted anew on the rows that are there, is the oracle.
"""

import re
from copy import deepcopy

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracles import class_weights
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, assert_erased
from skdeltagrad._data.edit import NO_EDIT
from skdeltagrad.inspection import leave_one_out

N_ROWS = 240
CONVERT = {"dense": np.asarray, "float32": np.float32, "csr": sparse.csr_matrix}


def make_rows(n_rows=N_ROWS, seed=0):
    """Columns of all sizes: far from zero, rare, constant."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_rows, 4))
    rare = rng.random(n_rows) < 0.05
    rare[:3] = True
    X = np.column_stack(
        [
            np.round(2000 + 10 * z[:, 0]),
            np.round(1e5 + 100 * z[:, 1]),
            np.float32(1e-3 * z[:, 2]),
            np.where(rng.random(n_rows) < 0.6, np.float32(z[:, 3]), 0),
            rare,
            np.full(n_rows, 0.5),
        ]
    )
    return X, np.column_stack([z, 3 * rare])


def labels(z, n_classes, seed=1):
    rng = np.random.default_rng(seed)
    raw = z @ rng.normal(size=(5, n_classes)) + rng.gumbel(size=(len(z), n_classes))
    return np.array(["ash", "beech", "cedar"])[raw.argmax(axis=1)]


def targets(z, n_targets, seed=1):
    rng = np.random.default_rng(seed)
    y = 50 + z @ rng.normal(size=(5, n_targets)) + rng.normal(size=(len(z), n_targets))
    return y[:, 0] if n_targets == 1 else y


def logistic(**parameters):
    return DeltaGradLogisticRegression(
        standardize=True, tol=1e-10, edit_tol=1e-7, **parameters
    )


# Name, estimator, number of classes or targets, whether rows are weighted.
CASES = {
    "binomial": (logistic(C=0.7), 2, False),
    "weights": (logistic(), 2, True),
    "balanced": (logistic(class_weight="balanced"), 2, True),
    "class_weight": (logistic(class_weight={"ash": 3.0, "beech": 0.5}), 2, True),
    "multinomial": (logistic(C=0.2), 3, False),
    "multinomial, balanced": (logistic(class_weight="balanced"), 3, True),
    "without an intercept": (logistic(C=0.01, fit_intercept=False), 2, False),
    "kronecker": (logistic(curvature="kronecker"), 3, False),
    "diagonal": (logistic(curvature="diagonal"), 2, False),
    "ridge": (DeltaGradRidge(3.0, standardize=True), 1, False),
    "targets": (DeltaGradRidge([0.5, 20.0], standardize=True), 2, True),
    "ridge without an intercept": (
        DeltaGradRidge(10.0, standardize=True, fit_intercept=False),
        1,
        False,
    ),
}


class Table:
    """Rows, by id, and the pipeline that is fitted on those that are there."""

    def __init__(self, name, storage="dense"):
        model, n_outputs, weighted = CASES[name]
        self.model, self.storage = deepcopy(model), storage
        self.X, z = make_rows()
        self.is_ridge = isinstance(model, DeltaGradRidge)
        self.y = (targets if self.is_ridge else labels)(z, n_outputs)
        self.weight = np.ones(len(self.X))
        if weighted:
            self.weight = np.random.default_rng(2).integers(0, 5, len(self.X)) / 2
        self.ids = np.arange(len(self.X)) // 2
        self.live = np.arange(len(self.X)) < 200

    def rows(self, which):
        return CONVERT[self.storage](self.X[which])

    def given(self, which):
        return self.rows(which), self.y[which]

    def as_float64(self):
        X = self.rows(self.live)
        return (X.toarray() if sparse.issparse(X) else X).astype(float)

    def fit(self):
        here = self.live
        self.model.fit(
            *self.given(here), sample_weight=self.weight[here], sample_id=self.ids[here]
        )
        return self

    def refitted(self):
        X, y = self.as_float64(), self.y[self.live]
        weight = self.weight[self.live]
        parameters = {"fit_intercept": self.model.fit_intercept}
        if self.is_ridge:
            alpha = np.asarray(self.model.alpha)
            last = Ridge(alpha, solver="cholesky", **parameters)
        else:
            by_class = class_weights(self.model.class_weight, y, weight)
            last = LogisticRegression(
                C=self.model.C, class_weight=by_class, tol=1e-12,
                solver="newton-cholesky", max_iter=1000, **parameters,
            )  # fmt: skip
        scaler = StandardScaler(with_mean=self.model.fit_intercept)
        pipeline = make_pipeline(scaler, last)
        names = [f"{name}__sample_weight" for name in pipeline.named_steps]
        return pipeline.fit(X, y, **dict.fromkeys(names, weight))

    def check(self, rtol=None):
        model, pipeline = self.model, self.refitted()
        if rtol is None:
            rtol = 1e-9 if self.is_ridge and self.storage != "float32" else 1e-6
        scale = pipeline[0].scale_
        assert_allclose(model.scale_, scale, rtol=1e-9)
        expected = pipeline[-1].coef_
        size = np.abs(expected).max()
        assert_allclose(model.coef_ * scale, expected, rtol=rtol, atol=rtol * size)
        if self.storage == "float32":
            return  # as its coefficients are rounded, so are decisions
        raw = "predict" if self.is_ridge else "decision_function"
        found = getattr(model, raw)(self.rows(self.live))
        expected = getattr(pipeline, raw)(self.as_float64())
        assert_allclose(found, expected, rtol=rtol, atol=10 * rtol * size)


def remove_by_content(table):
    which = [0, 1, 2, 50]
    table.live[which] = False
    table.model.unlearn(*table.given(which))


def remove_by_id(table):
    table.live[[8, 9, 20, 21]] = False
    table.model.unlearn(sample_id=[4, 10])


def add(table):
    new = np.arange(200, 220)
    table.live[new] = True
    table.model.partial_refit(
        *table.given(new), sample_id=table.ids[new], sample_weight=table.weight[new]
    )


def correct(table):
    """A typing error in a price; the row changes in place."""
    which = [30, 31]
    table.X[which, 1] += 300
    table.model.partial_refit(
        *table.given(which), sample_id=table.ids[which], replace=True,
        sample_weight=table.weight[which],
    )  # fmt: skip


def slide(table):
    new = np.arange(220, 230)
    table.live[new], table.live[100:110] = True, False
    table.model.partial_refit(
        *table.given(new), sample_id=table.ids[new], remove_id=np.arange(50, 55),
        sample_weight=table.weight[new],
    )  # fmt: skip


def retrain(table):
    table.model.partial_refit()


def one_column_becomes_constant(table):
    """All rows that have an entry in the rare column leave."""
    gone = table.live & (table.X[:, 4] != 0)
    position = np.flatnonzero(gone[:200])
    table.live[position] = False
    table.model.unlearn(position=position)


EDITS = {
    edit.__name__: edit
    for edit in (
        remove_by_content, remove_by_id, add, correct, slide, retrain,
        one_column_becomes_constant,
    )
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("name", ["binomial", "targets"])
@pytest.mark.parametrize("storage", CONVERT)
def test_every_edit_on_every_storage(storage, name, edit):
    table = Table(name, storage).fit()
    table.check()
    edit(table)
    table.check()


@pytest.mark.parametrize("name", CASES)
def test_edits_one_after_another(name):
    table = Table(name).fit()
    table.check()
    rtol = 1e-5 if name in ("kronecker", "diagonal") else None
    for edit in EDITS.values():
        edit(table)
        if edit is not retrain:
            table.check(rtol)
    table.model.purge()
    table.check(rtol)
    assert_erased(table.model, table.X[~table.live])


def test_a_sparse_pipeline():
    """Without the mean, it is the same model: the intercept takes it in."""
    X, z = make_rows()
    X, y = sparse.csr_matrix(X[:, 2:5]), labels(z, 2)
    model = logistic().fit(X, y)
    model.unlearn(X[:7], y[:7])
    pipeline = make_pipeline(
        StandardScaler(with_mean=False),
        LogisticRegression(tol=1e-12, solver="newton-cholesky"),
    ).fit(X[7:], y[7:])
    assert_allclose(model.scale_, pipeline[0].scale_, rtol=1e-12)
    found, expected = (m.decision_function(X) for m in (model, pipeline))
    assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_rows_of_weight_zero_are_absent():
    table = Table("weights").fit()
    counting = table.live & (table.weight > 0)
    alone = deepcopy(table.model).fit(
        *table.given(counting), sample_weight=table.weight[counting]
    )
    assert_allclose(table.model.scale_, alone.scale_, rtol=1e-13)
    assert_allclose(table.model.coef_, alone.coef_, rtol=1e-6, atol=1e-9)


def test_a_class_weight_has_no_say_in_the_deviations():
    """Not even one of 0, for a scaler sees the rows of all classes."""
    table = Table("class_weight")
    table.model.set_params(class_weight={"ash": 0.0})
    table.y = labels(make_rows()[1], 3)
    table.fit()
    fresh = StandardScaler().fit(
        table.X[table.live], sample_weight=table.weight[table.live]
    )
    assert_allclose(table.model.scale_, fresh.scale_, rtol=1e-12)


def test_a_class_leaves():
    table = Table("multinomial").fit()
    gone = np.flatnonzero(table.live & (table.y == "cedar"))
    table.live[gone] = False
    report = table.model.unlearn(position=gone).update_report_
    assert report.refit
    assert report.reason == "the classes changed"
    table.check()


@pytest.mark.parametrize("name", ["binomial", "balanced", "multinomial", "targets"])
def test_without_stored_rows(name):
    table = Table(name)
    table.model.set_params(store_data=False, edit_tol=0.5)
    table.weight[:] = 1.0
    table.model.fit(*table.given(table.live))
    table.check()
    table.live[[5, 60]] = False
    report = table.model.unlearn(*table.given([5, 60])).update_report_
    assert report.n_passes == 0
    table.check(rtol=2e-2)
    table.model.purge()
    table.check(rtol=2e-2)
    assert_erased(table.model, table.X)


def test_a_store_without_rows_refuses_what_would_cost_the_digits(unchanged):
    table = Table("ridge")
    table.X[3, 1] = 1e12
    table.model.set_params(store_data=False)
    table.model.fit(*table.given(table.live))
    with unchanged(table.model), pytest.raises(ValueError, match="store_data=False"):
        table.model.unlearn(*table.given([3]))


def test_an_outlier_leaves():
    """What is left of the deviations is read from the rows anew."""
    table = Table("binomial")
    table.X[3, 1] = 1e12
    table.fit()
    table.live[3] = False
    table.model.unlearn(position=3)
    table.check()


# ---------------------------------------------------------------------------
# The certificate
# ---------------------------------------------------------------------------


def extreme_edit(model, X, y, z, rng):
    """A few rows that deviations depend on, at random of several kinds."""
    kind = rng.integers(4)
    k = rng.integers(1, 4)
    if kind == 0:  # one end of a column
        return np.argsort(z[:, rng.integers(z.shape[1])])[-k:]
    if kind == 1:  # most of a rare column
        rare = np.flatnonzero(X[:, 4])
        return rare[: max(1, int(len(rare) * rng.random()))]
    if kind == 2:  # rows that the model finds hardest
        margin = model.decision_function(X)
        margin = np.ptp(margin, axis=1) if margin.ndim > 1 else np.abs(margin)
        return np.argsort(margin)[-k:]
    return rng.choice(len(X), k, replace=False)


@pytest.mark.parametrize(
    ("n_classes", "class_weight"), [(2, None), (2, "balanced"), (3, None)]
)
def test_bounds_hold(n_classes, class_weight):
    """Against a polished optimum of the rows that are there, edit after edit."""
    n_bounds = n_free = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, z = make_rows(400, seed)
        y = labels(z, n_classes, seed)
        C = 10.0 ** rng.integers(-2, 3)
        model = DeltaGradLogisticRegression(
            C, class_weight=class_weight, standardize=True, edit_tol=0.9
        ).fit(X, y)
        for _ in range(14):
            gone = extreme_edit(model, X, y, z, rng)
            kept = np.setdiff1d(np.arange(len(X)), gone)
            if not len(gone) or (np.unique(y[kept], return_counts=True)[1] < 3).any():
                continue
            report = model.unlearn(X[gone], y[gone]).update_report_
            X, y, z = X[kept], y[kept], z[kept]
            n_free += report.n_passes == 0
            if report.distance_bound is None:
                continue
            n_bounds += 1
            optimum = polish(model)
            problem = problem_of(model)
            off = model._engine.iterate - optimum
            hessian = model._engine.curvature.hessian
            distance = hessian.norm(problem.vectors(off))
            assert distance <= report.distance_bound
            change = X @ off[:, :-1].T
            change += off[:, -1] - off[:, :-1] @ model._engine.model.centre
            decision = np.ptp(change, axis=1) if n_classes > 2 else np.abs(change)
            assert decision.max() <= report.decision_bound
    assert n_bounds >= 80
    assert n_free >= 20  # the bounds are loose until passes have added up


def problem_of(model):
    """That of the rows that are there."""
    training_set, path = model._training_set, model._engine
    table = training_set.table
    row_counts = path._count(table, table.live_indices())
    return path._problem(training_set, NO_EDIT, row_counts)


def polish(model):
    """Newton steps by fresh Hessians until only rounding is left."""
    problem, iterate = problem_of(model), model._engine.iterate
    X = model._training_set.rows.read(problem.indices)
    scale = StandardScaler().fit(X).scale_
    by_output = problem.scale.reshape(-1, problem.objective.n_dof)
    assert_allclose(by_output[0], [*scale, 1.0], rtol=1e-12)
    for _ in range(4):
        gradient = problem.gradient(problem.measure(iterate).gradient_sums, iterate)
        step = problem.hessian(iterate).solve(gradient)
        iterate = iterate - problem.by_output(step)
    return iterate


# ---------------------------------------------------------------------------
# The contract
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("storage", CONVERT)
@pytest.mark.parametrize("name", ["binomial", "multinomial", "targets", "ridge"])
def test_to_sklearn(name, storage):
    table = Table(name, storage).fit()
    remove_by_content(table)
    pipeline = table.model.to_sklearn()
    X = table.rows(table.live)
    assert isinstance(pipeline[0], StandardScaler)
    assert pipeline[-1].coef_.dtype == table.model.coef_.dtype
    rtol = 1e-3 if storage == "float32" else 1e-9
    model = table.model
    raw = "predict" if table.is_ridge else "decision_function"
    expected = getattr(model, raw)(X)
    assert_allclose(getattr(pipeline, raw)(X), expected, rtol=rtol, atol=rtol)
    assert_array_equal(pipeline.predict(X).shape, model.predict(X).shape)
    if storage == "csr" and not table.is_ridge:
        return  # scikit-learn's own solver does not arrive on columns far from zero
    # Refitted it is the same model.
    weights = dict.fromkeys(
        [f"{name}__sample_weight" for name in pipeline.named_steps],
        table.weight[table.live],
    )
    pipeline.fit(X, table.y[table.live], **weights)
    rtol = 1e-3 if table.is_ridge else 2e-2
    assert_allclose(getattr(pipeline, raw)(X), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_paths_do_not_standardise(solver):
    X, z = make_rows()
    model = DeltaGradRidge(solver=solver, standardize=True)
    message = f"standardize=True needs solver=\"newton\", got '{solver}'"
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(X, targets(z, 1))
    assert not hasattr(model, "coef_")


def test_scale_without_standardising():
    X, z = make_rows()
    model = DeltaGradRidge()
    assert not hasattr(model, "scale_")
    model.fit(X, targets(z, 1))
    assert not hasattr(model, "scale_")
    with pytest.raises(AttributeError, match="standardize=False"):
        model.scale_  # noqa: B018


def test_the_parameter_is_fixed_by_fit(unchanged):
    table = Table("ridge").fit()
    table.model.set_params(standardize=False)
    with (
        unchanged(table.model),
        pytest.raises(ValueError, match="standardize was True"),
    ):
        table.model.unlearn(position=0)


def test_plans():
    table = Table("binomial").fit()
    table.model.set_params(edit_tol=0.5).unlearn(position=0)
    before = table.model.scale_
    plan = table.model.plan_unfit(position=[5])
    assert_array_equal(table.model.scale_, before)
    report = table.model.unlearn(position=[5]).update_report_
    assert plan.n_passes == report.n_passes == 0
    assert (table.model.scale_ != before).any()
    assert report.parameters["standardize"] is True


def test_a_failing_edit_changes_nothing(unchanged):
    table = Table("binomial").fit()

    def refuse(report):
        raise RuntimeError("no")

    table.model.set_params(callback=refuse)
    for edit in (remove_by_content, add, correct, slide, retrain):
        with unchanged(table.model), pytest.raises(RuntimeError):
            edit(table)


def test_dumps(tmp_path):
    table = Table("class_weight").fit()
    remove_by_id(table)
    table.model.save(tmp_path / "model.joblib")
    table.model = joblib.load(tmp_path / "model.joblib")
    table.check()
    add(table)
    table.check()


def test_compaction():
    """Weights as they were given move with their rows."""
    rng = np.random.default_rng(4)
    X, z = make_rows(4000)
    y, weight = targets(z, 1), rng.integers(1, 4, 4000) / 2
    model = DeltaGradRidge(standardize=True).fit(X, y, weight)
    gone = rng.choice(4000, 2500, replace=False)
    model.unlearn(position=gone)
    assert len(model._training_set.rows) == 1500
    kept = np.delete(np.arange(4000), gone)
    model.unlearn(position=kept[:10])
    scaler = StandardScaler().fit(X[kept[10:]], sample_weight=weight[kept[10:]])
    assert_allclose(model.scale_, scaler.scale_, rtol=1e-11)


def test_leave_one_out():
    """Without a row its deviations are gone, too."""
    X, z = make_rows(30)
    y = targets(z, 1)
    model = DeltaGradRidge(10.0, standardize=True).fit(X, y)
    found = leave_one_out(model).predictions
    for i in range(0, 30, 6):
        kept = np.delete(np.arange(30), i)
        pipeline = make_pipeline(StandardScaler(), Ridge(10.0)).fit(X[kept], y[kept])
        assert_allclose(found[i], pipeline.predict(X[[i]])[0], rtol=1e-8)
