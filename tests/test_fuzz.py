"""Inputs of every form that NumPy, SciPy and pandas have for them.

Whatever the form, the result is that of a plain copy, or a clear error; the input is
not written to, NumPy has nothing to warn of, and no coefficient is infinite or not a
number.
"""

import re
import warnings
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

GD = {"solver": "gd", "max_iter": 4, "period": 1}
SGD = {"solver": "sgd", "max_iter": 3, "batch_size": 4, "period": 1, "random_state": 0}
MODELS = {
    "newton": DeltaGradLogisticRegression(),
    "balanced": DeltaGradLogisticRegression(class_weight="balanced"),
    "by products": DeltaGradLogisticRegression(curvature="diagonal"),
    "gd": DeltaGradLogisticRegression(**GD),
    "sgd": DeltaGradLogisticRegression(**SGD),
    "ridge": DeltaGradRidge(),
    "ridge, gd": DeltaGradRidge(fit_intercept=False, **GD),
    "ridge, sgd": DeltaGradRidge(**SGD),
}
# As many for each test and model as there are sequences for one state machine.
EXAMPLES = settings(max_examples=settings().max_examples // 6)

# Forms of an array: functions of a plain one.


def strided(X):
    twice = np.full([2 * n for n in X.shape], X.flat[0] if X.size else 0, X.dtype)
    twice[tuple(slice(None, None, 2) for _ in X.shape)] = X
    return twice[tuple(slice(None, None, 2) for _ in X.shape)]


def backwards(X):
    return X[::-1].copy()[::-1]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def unaligned(X):
    buffer = np.zeros(X.nbytes + 1, np.uint8)
    view = buffer[1:].view(X.dtype).reshape(X.shape)
    view[...] = X
    return view


def foreign(X):
    """Of the other byte order."""
    return X.astype(X.dtype.newbyteorder())


def mapped(X, folder):
    """A read-only file."""
    path = folder / f"{len(list(folder.iterdir()))}.npy"
    np.save(path, X)
    return np.load(path, mmap_mode="r") if X.size else X


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": strided,
    "backwards": backwards,
    "read-only": read_only,
    "unaligned": unaligned,
    "foreign": foreign,
    "mapped": mapped,
    "list": np.ndarray.tolist,
    "object": lambda X: X.astype(object),
    "frame": pd.DataFrame,
}
DTYPES = ["f8", "f4", "f2", "g", "i8", "i4", "i1", "u1", "u8", "?"]


def unsorted(X):
    X = sparse.csr_matrix(X)
    for first, last in zip(X.indptr, X.indptr[1:], strict=False):
        for part in (X.indices, X.data):
            part[first:last] = part[first:last][::-1].copy()
    X.has_sorted_indices = False
    return X


def duplicated(X):
    """Every entry in two halves."""
    X = sparse.csr_matrix(X)
    halves = np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr
    return sparse.csr_matrix(halves, X.shape)


def with_long_indices(X):
    X = sparse.csr_array(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def read_only_sparse(X):
    X = sparse.csr_matrix(X)
    for part in (X.data, X.indices, X.indptr):
        part.flags.writeable = False
    return X


SPARSE = {
    "csr": sparse.csr_matrix,
    "csr array": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_array,
    "unsorted": unsorted,
    "duplicated": duplicated,
    "long indices": with_long_indices,
    "read-only": read_only_sparse,
}


def bytes_of(value):
    """All that an input holds, to see whether it was written to."""
    if sparse.issparse(value):
        parts = [vars(value).get(name) for name in ("data", "indices", "indptr")]
        return [None if part is None else part.tobytes() for part in parts]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return value.to_numpy().tobytes()
    return repr(value)


# What is drawn.


@st.composite
def tables(draw, min_rows=2, extreme=False):
    """X of float64, by kind of its values."""
    shape = draw(st.integers(min_rows, 14)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    kinds = ["plain", "twins", "constant column", "zeros", "sparse"]
    if extreme:
        kinds = ["1e300", "1e150", "denormal", "mixed", "offset", "one huge entry"]
    kind = draw(st.sampled_from(kinds))
    X = np.rint(4 * rng.standard_normal(shape)) / 4
    if kind == "twins":
        X[:] = X[: max(1, len(X) // 4)][np.arange(len(X)) % max(1, len(X) // 4)]
    elif kind == "constant column":
        X[:, 0] = 3.0
    elif kind == "zeros":
        X[:] = 0.0
    elif kind == "sparse":
        X[rng.random(shape) < 0.6] = 0.0
    elif kind == "1e300":
        X *= 1e300
    elif kind == "1e150":
        X *= 1e150
    elif kind == "denormal":
        X *= 5e-324
    elif kind == "mixed":
        X *= 10.0 ** rng.integers(-300, 300, shape)
    elif kind == "offset":
        X += 1e12
    elif kind == "one huge entry":
        X[0, 0] = 1e308
    return X


def labels_of(X, n_classes=2):
    """Of all classes where there are rows enough."""
    return np.arange(len(X)) % n_classes


def targets_of(name, X):
    if name.startswith("ridge"):
        return np.linspace(-1, 1, len(X)) ** 2
    return labels_of(X)


class Outcome:
    """What a call led to: an estimator, or a clear error."""

    NAMES = re.compile(
        r"X\b|\by\b|sample_weight|sample_id|position|sample\(s\)|feature|learning_rate|"
        "class|samples|weights",
        re.IGNORECASE,
    )

    def __init__(self, call):
        self.model = self.error = None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                self.model = call()
            except (ValueError, TypeError) as error:
                self.error = error
        if self.error is not None:
            note(repr(self.error))
            assert self.NAMES.search(str(self.error))
            return
        assert np.isfinite(self.model.coef_).all()
        assert np.isfinite(self.model.intercept_).all()

    def same_as(self, other, rtol=1e-9, atol=1e-10):
        assert type(self.error) is type(other.error)
        if self.model is not None:
            for name in ("coef_", "intercept_"):
                one, two = getattr(self.model, name), getattr(other.model, name)
                assert_allclose(one, two, rtol=rtol, atol=atol)
            assert self.model.update_report_.n_samples == (
                other.model.update_report_.n_samples
            )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mapped")


def formed(layout, X, folder):
    return mapped(X, folder) if layout == "mapped" else LAYOUTS[layout](X)


def exact(X, dtype):
    """Values that a dtype can hold, as it and as float64."""
    kind = np.dtype(dtype).kind
    values = np.abs(X) if kind in "u?" else X
    values = np.rint(values) if kind in "iu" else values
    typed = values.astype(dtype)
    return typed, typed.astype(float)


def tolerance(dtype):
    return {"rtol": 1e-4, "atol": 1e-6} if dtype == "f4" else {}


@pytest.mark.parametrize("name", MODELS)
@EXAMPLES
@given(
    X=tables(), dtype=st.sampled_from(DTYPES), layout=st.sampled_from(sorted(LAYOUTS)),
    layout_of_y=st.sampled_from(sorted(set(LAYOUTS) - {"frame"})),
    weighted=st.booleans(),
)  # fmt: skip
def test_fit_on_all_forms_of_arrays(
    name, X, dtype, layout, layout_of_y, weighted, folder
):
    typed, plain = exact(X, dtype)
    y = targets_of(name, X)
    weight = 1.0 + np.arange(len(X)) % 3 if weighted else None
    given_X, given_y = formed(layout, typed, folder), formed(layout_of_y, y, folder)
    if layout_of_y == "object":
        given_y = y  # labels of dtype object are text
    given_weight = None if weight is None else formed(layout_of_y, weight, folder)
    before = [bytes_of(value) for value in (given_X, given_y, given_weight)]
    model = MODELS[name]
    found = Outcome(lambda: clone(model).fit(given_X, given_y, given_weight))
    expected = Outcome(lambda: clone(model).fit(plain, y, weight))
    found.same_as(expected, **tolerance(dtype))
    assert [bytes_of(v) for v in (given_X, given_y, given_weight)] == before


@pytest.mark.parametrize("name", MODELS)
@EXAMPLES
@given(X=tables(), form=st.sampled_from(sorted(SPARSE)), dtype=st.sampled_from("df"))
def test_fit_on_all_forms_of_sparse_matrices(name, X, form, dtype):
    X = X.astype(dtype)
    given_X, y = SPARSE[form](X), targets_of(name, X)
    before = bytes_of(given_X)
    model = MODELS[name]
    found = Outcome(lambda: clone(model).fit(given_X, y))
    expected = Outcome(lambda: clone(model).fit(X.astype(float), y))
    found.same_as(expected, **({} if dtype == "d" else tolerance("f4")))
    assert bytes_of(given_X) == before


@pytest.mark.parametrize("name", MODELS)
@EXAMPLES
@given(
    X=tables(extreme=True), is_sparse=st.booleans(),
    weights=st.sampled_from([None, "zeros", "one", "huge", "tiny", "denormal"]),
)  # fmt: skip
def test_fit_and_edits_of_extreme_numbers(name, X, is_sparse, weights):
    """No result is to be had of some of them; but never a silent NaN."""
    y = targets_of(name, X)
    weight = None
    if weights is not None:
        weight = np.ones(len(X))
        weight[::3] = {"huge": 1e300, "tiny": 1e-300, "denormal": 5e-324}.get(
            weights, 0
        )
        if weights == "one":
            weight[:] = np.arange(len(X)) == 0
    given_X = sparse.csr_matrix(X) if is_sparse else X
    before = bytes_of(given_X), bytes_of(weight)
    outcome = Outcome(lambda: clone(MODELS[name]).fit(given_X, y, weight))
    if outcome.model is not None:
        for edit in (
            lambda model: model.unlearn(position=[len(X) - 1]),
            lambda model: model.partial_refit(given_X[:1], y[:1]),
            lambda model: model.partial_refit(
                given_X[:1], y[:1], position=0, replace=True
            ),
            lambda model: model.unlearn(given_X[:1], y[:1], on_missing="ignore"),
        ):
            Outcome(lambda edit=edit: edit(outcome.model))
            assert np.isfinite(outcome.model.coef_).all()
    assert (bytes_of(given_X), bytes_of(weight)) == before


@pytest.mark.parametrize("name", MODELS)
@EXAMPLES
@given(
    X=tables(min_rows=0), n_rows=st.integers(0, 3), n_columns=st.integers(0, 1),
    zero_weights=st.booleans(),
)  # fmt: skip
def test_fit_on_hardly_anything(name, X, n_rows, n_columns, zero_weights):
    """Nothing, one row, one column, nothing that counts, one class."""
    X = X[:n_rows, :n_columns]
    y = targets_of(name, X)
    weight = np.zeros(len(X)) if zero_weights else None
    outcome = Outcome(lambda: clone(MODELS[name]).fit(X, y, weight))
    least = 1 if name.startswith("ridge") else 2
    if min(X.shape) == 0 or zero_weights or len(X) < least:
        assert isinstance(outcome.error, ValueError)
    else:
        assert outcome.error is None


@pytest.mark.parametrize("name", MODELS)
@EXAMPLES
@given(
    X=tables(min_rows=8), dtype=st.sampled_from(DTYPES),
    form=st.sampled_from(sorted(LAYOUTS) + [f"sparse {form}" for form in SPARSE]),
    stored=st.sampled_from(["dense", "sparse"]),
    layout_of_y=st.sampled_from(sorted(set(LAYOUTS) - {"frame", "object"})),
)  # fmt: skip
def test_edits_with_all_forms_of_rows(
    name, X, dtype, form, stored, layout_of_y, folder
):
    typed, plain = exact(X, dtype)
    y = targets_of(name, X)
    few = [0, 3, 4]
    if form.startswith("sparse"):
        typed = typed.astype(float)
        given_X = SPARSE[form.removeprefix("sparse ")](typed[few])
    else:
        given_X = formed(form, typed[few], folder)
    given_y = formed(layout_of_y, y[few], folder)
    before = bytes_of(given_X), bytes_of(given_y)
    rows = sparse.csr_matrix(plain) if stored == "sparse" else plain
    fitted = clone(MODELS[name]).fit(rows, y)
    for edit in (
        lambda model, X, y: model.unlearn(X, y),
        lambda model, X, y: model.partial_refit(X, y),
        lambda model, X, y: model.partial_refit(X, y, remove_position=[1]),
        lambda model, X, y: model.partial_refit(X, y, position=few, replace=True),
    ):
        models = [deepcopy(fitted) for _ in range(2)]
        found = Outcome(lambda e=edit, m=models[0]: e(m, given_X, given_y))
        expected = Outcome(lambda e=edit, m=models[1]: e(m, plain[few], y[few]))
        found.same_as(expected)
    assert (bytes_of(given_X), bytes_of(given_y)) == before


POSITIONS = {
    **{f"dtype {dtype}": (lambda p, dtype=dtype: p.astype(dtype)) for dtype in [
        "i1", "i4", "i8", "u1", "u8", ">i4",
    ]},
    "list": np.ndarray.tolist,
    "tuple": lambda p: tuple(p.tolist()),
    "read-only": read_only,
    "backwards": lambda p: p[::-1],
    "strided": strided,
    "twice": lambda p: np.concatenate([p, p]),
    "index": pd.Index,
    "series": pd.Series,
    "set as list": lambda p: list(set(p.tolist())),
}  # fmt: skip
NO_POSITIONS = {
    "floats": (lambda p: p.astype(float), TypeError),
    "object": (lambda p: np.array([*p.tolist(), None], object), TypeError),
    "text": (lambda p: p.astype(str), TypeError),
    "mask of another length": (lambda p: np.isin(np.arange(7), p), IndexError),
    "index": (pd.Index, TypeError),
    "column": (lambda p: p[:, np.newaxis], TypeError),
    "huge": (lambda p: np.array([2**63 + 1], np.uint64), IndexError),
    "negative": (lambda p: -1 - p, IndexError),
}


@pytest.mark.parametrize("name", ["newton", "ridge, sgd"])
@EXAMPLES
@given(
    X=tables(min_rows=8), which=st.sets(st.integers(0, 7), min_size=1, max_size=4),
    form=st.sampled_from(sorted(POSITIONS)), by=st.sampled_from(["position", "id"]),
)  # fmt: skip
def test_edits_with_all_forms_of_positions_and_ids(name, X, which, form, by):
    wanted = np.array(sorted(which))
    assume(form != "index" or by == "id")  # an index is no position
    given_p = POSITIONS[form](wanted)
    before = bytes_of(given_p)
    y = targets_of(name, X)
    model = clone(MODELS[name])
    model.fit(X, y, sample_id=np.arange(len(X)) if by == "id" else None)
    plain = deepcopy(model)
    request = {"sample_id" if by == "id" else "position": given_p}
    found = Outcome(lambda: model.unlearn(**request))
    expected = Outcome(lambda: plain.unlearn(position=wanted.tolist()))
    found.same_as(expected)
    assert bytes_of(given_p) == before


@pytest.mark.parametrize("form", NO_POSITIONS)
def test_what_is_no_position_is_refused(form, unchanged):
    convert, error = NO_POSITIONS[form]
    X = np.arange(24.0).reshape(8, 3) % 5
    model = DeltaGradRidge().fit(X, X[:, 0])
    with unchanged(model), pytest.raises(error, match="position"):
        model.unlearn(position=convert(np.array([1, 4])))
