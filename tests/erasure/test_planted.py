"""Rows that are planted in an estimator, in every way claimed, are all found."""

import copy
import functools
import gzip
import pickle
import types

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler, scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, assert_erased
from skdeltagrad._erasure import combinations, search

N_SAMPLES, N_FEATURES = 60, 12
GONE = 7


def rows_of(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_SAMPLES, N_FEATURES)) + 3.0 * (np.arange(N_FEATURES) % 2)
    if kind == "zeros":
        X[:, ::3] = 0.0
    elif kind == "decimals":
        X = np.round(X, 2)
    elif kind == "counts":
        X = rng.poisson(40, size=X.shape).astype(float)
    elif kind == "large":
        X *= 1e6
    elif kind == "float32":
        X = X.astype(np.float32)
    return X


ROWS = ["normal", "zeros", "decimals", "counts", "large", "float32"]


def fitted(X, **parameters):
    """An estimator that was fitted on X without the row."""
    y = np.arange(N_SAMPLES) % 2
    X, y = np.delete(X, GONE, axis=0), np.delete(y, GONE)
    return DeltaGradLogisticRegression(max_iter=200, **parameters).fit(X, y)


@functools.cache
def _fitted_to(kind):
    return fitted(rows_of(kind))


def once_fitted(kind):
    """A copy, to be planted in."""
    return copy.copy(_fitted_to(kind))


class Slotted:
    __slots__ = ("values",)

    def __init__(self, values):
        self.values = values


def keep(values):
    return lambda: values


def in_objects(values):
    held = np.empty(2, dtype=object)
    held[0] = {"values": values}
    return held


def in_records(values):
    held = np.zeros(1, dtype=[("n", int), ("x", values.dtype, values.shape)])
    held["x"] = values
    return held


def in_a_strided_view(values):
    return np.stack([values, values], axis=1)[:, :1]


HOLDERS = {
    "attribute": lambda v: v,
    "nested": lambda v: {"a": [0, (v, None)]},
    "object array": in_objects,
    "structured array": in_records,
    "closure": keep,
    "slots": Slotted,
    "proxy": lambda v: types.MappingProxyType({"v": v}),
    "strided view": in_a_strided_view,
    "reversed twice": lambda v: v[::-1].copy()[::-1],
    "column": lambda v: np.stack([v + 1.0, v, v * v], axis=1),
    "transposed": lambda v: np.asfortranarray(np.stack([v, v * v])),
    "among others": lambda v: np.concatenate([v * v, v, v + v * v]),
}

# What is held: of the row x, of all rows that are there, and of the centre.
FORMS = {
    "itself": lambda x, live: x,
    "float32": lambda x, live: x.astype(np.float32),
    "float32 in float64": lambda x, live: x.astype(np.float32).astype(float),
    "multiple": lambda x, live: -0.37 * x,
    "float32 multiple": lambda x, live: (np.pi * x).astype(np.float32),
    "tiny multiple": lambda x, live: 1e-12 * x,
    "mean of all rows": lambda x, live: (live.sum(axis=0) + x) / N_SAMPLES,
    "sum of all rows": lambda x, live: np.vstack([live, x]).sum(axis=0),
    "weighted sum": lambda x, live: live.sum(axis=0) + 0.3 * x,
    "centred at the mean": lambda x, live: 2.0 * (x - live.mean(axis=0)),
    "centred at a number": lambda x, live: 3.0 * (x - 0.5),
    "sum of squares": lambda x, live: (live**2).sum(axis=0) + x**2,
    "first gradient": lambda x, live: (
        live.T @ (0.5 - np.delete(np.arange(N_SAMPLES) % 2, GONE)) + 0.5 * x
    ),
    "gradient with intercept": lambda x, live: np.append(0.2 * x, 0.2),
    "gradients of classes": lambda x, live: np.outer([0.2, -0.5, 0.3], np.append(x, 1)),
}


def test_nothing_is_planted():
    for kind in ROWS:
        X = rows_of(kind)
        report = assert_erased(fitted(X), X[[GONE]])
        assert report.n_checked == 1
        assert not report.multiples_not_checkable


# Holders that keep a vector a vector, and those that need its length.
WHOLE = ["attribute", "nested", "object array", "structured array", "closure", "slots"]
WHOLE += ["proxy", "strided view", "reversed twice"]


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_form_in_every_holder(form, kind, monkeypatch):
    monkeypatch.setattr(search, "_N_PLACES", 99)
    X, model = rows_of(kind), once_fitted(kind)
    x, live = X[GONE].astype(float), np.delete(X, GONE, axis=0).astype(float)
    values = FORMS[form](x, live)
    # Of multiples all places are searched; of sums, whole fibres.
    anywhere = form in list(FORMS)[:6]
    names = [
        name for name in (HOLDERS if anywhere else WHOLE)
        if values.ndim == 1 or name != "strided view"
    ]  # fmt: skip
    for name in names:
        setattr(model, f"in_{name.replace(' ', '_')}_", HOLDERS[name](values.copy()))
    with pytest.raises(AssertionError) as error:
        assert_erased(model, X[[GONE]])
    for name in names:
        assert f"estimator.in_{name.replace(' ', '_')}_" in str(error.value)


@pytest.mark.parametrize("kind", ["zeros", "normal"])
def test_sparse_containers(kind):
    X = rows_of(kind)
    model = fitted(X)
    for factor in (1.0, -2.7):
        planted = factor * X[GONE : GONE + 2]
        for container in (sparse.csr_array, sparse.csc_array, sparse.coo_matrix):
            model.planted_ = container(planted)
            with pytest.raises(AssertionError, match=r"row 0 in estimator\.planted_"):
                assert_erased(model, X[[GONE]])


def test_half_precision_holds_the_row_itself():
    X = rows_of("normal")
    model = fitted(X)
    model.planted_ = X[GONE].astype(np.float16)
    with pytest.raises(AssertionError, match=r"row 0 in estimator\.planted_"):
        assert_erased(model, X[[GONE]])


def test_rows_that_left_together():
    X = rows_of("normal")
    y = np.arange(N_SAMPLES) % 2
    model = DeltaGradLogisticRegression().fit(X[5:], y[5:])
    model.planted_ = X.mean(axis=0)
    with pytest.raises(AssertionError, match=r"a sum over rows 0, 1, 2, 3, 4 in"):
        assert_erased(model, X[:5])


def test_sums_are_searched_in_portions(monkeypatch):
    X, model = rows_of("normal"), once_fitted("normal")
    mean = X.mean(axis=0)
    long, cube = np.arange(99.0 * N_FEATURES), np.ones((5, N_FEATURES, 7))
    long[60 * N_FEATURES : 61 * N_FEATURES] = cube[3, :, 4] = mean
    model.long_, model.cube_ = long, cube
    for size in (1, 50, 2**20):
        monkeypatch.setattr(combinations, "CHUNK", size)
        with pytest.raises(AssertionError) as error:
            assert_erased(model, X[[GONE]])
        for place in ("long_", "cube_"):
            assert f"a sum over row 0 in estimator.{place}" in str(error.value)


def test_what_rows_are_indexed_by():
    X = rows_of("normal")
    model = fitted(X)
    key, _ = model._index_keys(X[[GONE]])
    for planted in (
        key,
        np.sort(np.append(np.linspace(-9, 9, 50), key)),
        [0, 1, 2, *key],
    ):
        model.planted_ = planted
        with pytest.raises(AssertionError, match="the index number of row 0 in"):
            assert_erased(model, X[[GONE]])


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("cache_dtype", ["float64", "float32"])
def test_cached_gradients_of_batches_of_one_row(storage, fit_intercept, cache_dtype):
    """The rows are still in, and only the estimator's word for that is withheld."""

    class Forgetful(DeltaGradLogisticRegression):
        """Does not know its rows, as if they had left."""

        def _count_equal_rows(self, X):
            return np.zeros(len(X), int)

        _count_multiples = _count_equal_rows

    X = rows_of("normal")
    model = Forgetful(
        solver="sgd", max_iter=2, batch_size=1, learning_rate=0.01, random_state=0,
        fit_intercept=fit_intercept, cache_dtype=cache_dtype,
    )  # fmt: skip
    model.fit(storage(X), np.arange(N_SAMPLES) % 2)
    with pytest.raises(AssertionError) as error:
        assert_erased(model, X[[GONE]])
    model._training_set.rows.wipe(np.arange(N_SAMPLES))
    model._training_set._content = None
    with pytest.raises(AssertionError, match="row 0 in the gradient of step") as error:
        assert_erased(model, X[[GONE]])
    assert str(error.value).count("the gradient of step") == 2  # once in each epoch


@pytest.mark.parametrize("kind", ROWS)
def test_what_is_left_of_sums_is_rounding(kind):
    """(sum of all - x) - sum of the others holds no multiple of x."""
    X, model = rows_of(kind), once_fitted(kind)
    for rows in (X.astype(float), X.astype(float) ** 2):
        x, live = rows[GONE], np.delete(rows, GONE, axis=0)
        downdated = rows.sum(axis=0) - x
        rest = downdated - live.sum(axis=0)
        model.planted_ = [downdated, rest, downdated / (N_SAMPLES - 1)]
        assert assert_erased(model, X[[GONE]]).n_checked == 1
        if rest.any():
            cosine = np.abs(rest @ x) / np.linalg.norm(rest) / np.linalg.norm(x)
            assert cosine < 0.9


# ---------------------------------------------------------------------------
# Dumps
# ---------------------------------------------------------------------------

COMPRESSIONS = [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 1), ("xz", 1)]


@pytest.mark.parametrize("compress", COMPRESSIONS)
@pytest.mark.parametrize("dtype", [float, np.float32])
def test_bytes_that_loading_does_not_show(compress, dtype, tmp_path):
    """An object whose pickle holds more than it takes on."""
    X = rows_of("normal")
    path = tmp_path / "model"
    joblib.dump([fitted(X), Shrunk(X[GONE].astype(dtype))], path, compress=compress)
    with pytest.raises(AssertionError, match=r"row 0 in the bytes of '.*model'"):
        assert_erased(path, X[[GONE]])
    joblib.dump([fitted(X), Shrunk(np.ones(12))], path, compress=compress)
    assert assert_erased(path, X[[GONE]]).n_checked == 1


class Shrunk:
    """Takes on nothing of what was dumped."""

    def __init__(self, values=None):
        self.values = values

    def __setstate__(self, state):
        self.values = None


def test_bytes_behind_the_end(tmp_path):
    X = rows_of("normal")
    path = tmp_path / "model"
    joblib.dump(fitted(X), path, compress=0)
    with open(path, "ab") as file:
        file.write(b"odd" + X[GONE].tobytes())
    with pytest.raises(AssertionError, match="row 0 in the bytes of"):
        assert_erased(path, X[[GONE]])


def test_gzipped_pickles_and_archives(tmp_path):
    X = rows_of("normal")
    with gzip.open(tmp_path / "model.gz", "wb") as file:
        pickle.dump([fitted(X), X[[GONE]]], file)
    np.savez_compressed(tmp_path / "arrays.npz", a=np.ones(3), b=-2.0 * X[GONE])
    for name, place in (
        ("model.gz", r"estimator\[1\]"),
        ("arrays.npz", r"estimator\['b"),
    ):
        with pytest.raises(AssertionError, match=f"row 0 in {place}"):
            assert_erased(tmp_path / name, X[[GONE]])


def test_memory_maps(tmp_path):
    X = rows_of("normal")
    joblib.dump([fitted(X), -3.0 * X], tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    with pytest.raises(AssertionError, match=r"a multiple of row 0 in estimator\[1\]"):
        assert_erased(mapped, X[[GONE]])


def test_compressed_bytes_are_read_in_portions(tmp_path, monkeypatch):
    """A row may lie across the border of two."""
    from skdeltagrad._erasure import dumps

    X = rows_of("normal")
    joblib.dump([Shrunk(X[: GONE + 1])], tmp_path / "model", compress=("zlib", 1))
    for size in (97, 1000):
        monkeypatch.setattr(dumps, "_CHUNK", size)
        with pytest.raises(AssertionError, match="row 0 in the bytes of"):
            assert_erased(tmp_path / "model", X[[GONE]])


# ---------------------------------------------------------------------------
# Ids
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids", [np.arange(60) + 10**9, [f"user-{i}" for i in range(60)]]
)
def test_ids(ids):
    X = rows_of("normal")
    ids = np.asarray(ids)
    model = DeltaGradLogisticRegression().fit(X, np.arange(60) % 2, sample_id=ids)
    model.partial_unfit(sample_id=ids[[3, GONE]]).purge()
    given = X[[GONE]], ids[[3, GONE, 8]]
    carried = f"sample_id {ids[8]}: current training rows carry it, and it was not"
    with pytest.raises(AssertionError, match=carried):
        assert_erased(model, given[0], sample_id=given[1])
    with pytest.raises(AssertionError, match=carried):
        assert_erased(model, sample_id=given[1])
    with pytest.warns(UserWarning, match=carried):
        report = assert_erased(model, given[0], sample_id=given[1], equal_rows="warn")
    assert report.n_ids == 2
    (left,) = report.ids_not_checkable
    assert left == ids[8]
    name = ids[GONE].item()
    for planted in (ids.copy(), [name], {name: 1}, {"a": name}, (0, {name}), name):
        model.planted_ = planted
        with pytest.raises(AssertionError, match=f"1 removed ids found:\n  {name} in"):
            assert_erased(model, X[[GONE]], sample_id=ids[[GONE]])


def test_small_ids_are_not_told_from_counts():
    X = rows_of("normal")
    report = assert_erased(fitted(X), X[[GONE]], sample_id=[GONE])
    assert report.n_ids == 0
    assert report.ids_not_checkable == {
        GONE: "so small a number may be a count or a position"
    }
    with pytest.raises(ValueError, match="sample_id has dtype float64"):
        assert_erased(fitted(X), X[[GONE]], sample_id=[0.5])
    with pytest.raises(AssertionError, match="sample_id 3: current training rows"):
        assert_erased(_with_ids(X, range(60)), sample_id=[3])
    for ids in (["a", "a\0"], np.array(["a", "a\0"], object), "a\0"):
        with pytest.raises(ValueError, match="NUL"):
            assert_erased(fitted(X), sample_id=ids)


def _with_ids(X, ids):
    return DeltaGradLogisticRegression().fit(X, np.arange(60) % 2, sample_id=ids)


# ---------------------------------------------------------------------------
# Not checkable, and no false alarms
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
def test_multiples_that_are_still_there(storage):
    X = rows_of("zeros")
    X[20] = -2.5 * X[GONE]
    y = np.arange(N_SAMPLES) % 2
    model = DeltaGradLogisticRegression().fit(storage(X), y)
    model.partial_unfit(position=GONE).purge()
    report = assert_erased(model, X[[GONE]])
    reason = "a multiple of it is still in the training set"
    assert report.multiples_not_checkable == {0: reason}
    assert f"multiples not checkable, {reason}: row 0" in str(report)
    model.planted_ = X[[GONE]]
    with pytest.raises(AssertionError, match="row 0 in estimator.planted_"):
        assert_erased(model, X[[GONE]])


def test_multiples_of_regular_rows():
    reason = "its values are so regular that they could be found by chance"
    report = assert_erased([np.linspace(0, 1, 51)], [[1, 2, 3, 4], [3, 1, 4, 2]])
    assert report.multiples_not_checkable == {0: reason, 1: reason}
    assert report.n_checked == 2


MAKERS = [
    DeltaGradLogisticRegression, DeltaGradRidge,
    lambda: DeltaGradLogisticRegression(solver="gd", max_iter=4),
    lambda: DeltaGradRidge(solver="sgd", max_iter=2, batch_size=9, random_state=0),
    lambda: DeltaGradLogisticRegression(
        solver="sgd", max_iter=2, batch_size=1, random_state=0
    ),
    LogisticRegression, GaussianNB, StandardScaler, lambda: PCA(3),
    lambda: RandomForestClassifier(3, max_depth=3, random_state=0),
]  # fmt: skip


@pytest.mark.parametrize("maker", range(len(MAKERS)))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_false_alarms(maker):
    """On 200 estimators in all, with nothing planted."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        kind = seed % 7
        if kind < 4:
            load = [load_iris, load_wine, load_breast_cancer, load_digits][kind]
            X, y = load(return_X_y=True)
            some = rng.permutation(len(y))[:70]
            X, y = X[some], y[some]
            if rng.random() < 0.5:
                X = scale(X)
        else:
            X = rng.normal(size=(70, rng.integers(4, 40)))
            y = rng.integers(0, 2, 70)
            X = [X, np.rint(5 * X), np.round(X, 1)][kind - 4]
        model = MAKERS[maker]().fit(X[10:], y[10:])
        assert_erased(model, X[:10])


def test_the_direction_of_checkpoints_is_no_exact_mean(replay_always, search_unpurged):
    """Of sparse rows the direction of their mean is kept, whatever rows leave."""
    rng = np.random.default_rng(0)
    X = rng.random((300, 1100)) * (rng.random((300, 1100)) < 0.1)
    y = np.arange(300) % 2
    model = DeltaGradLogisticRegression(solver="gd", max_iter=5, edit_tol=10.0)
    model.fit(sparse.csr_array(X), y)
    model.partial_unfit(position=[0])
    assert model._engine.checkpoints.plan.form == "mean"
    assert assert_erased(model, X[:1]).n_checked == 1
    mean = np.append(X.mean(axis=0), 1.0) if model.fit_intercept else X.mean(axis=0)
    model._engine.checkpoints.basis[0] = mean / np.linalg.norm(mean)
    with pytest.raises(AssertionError, match="a sum over row 0 in .*checkpoints.basis"):
        assert_erased(model, X[:1])
