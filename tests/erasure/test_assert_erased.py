"""Removed rows are found wherever they are hidden, and only there."""

import array
import collections
import ctypes
import dataclasses
import functools
import io
import pickle
import sys
import threading
import types

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KDTree, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, unlearn
from skdeltagrad._erasure import row_search
from skdeltagrad._erasure.assert_erased import ErasureReport, assert_erased
from skdeltagrad._erasure.object_graph import iter_arrays, iter_objects
from skdeltagrad._utils.training_rows import KnowsTrainingRows

N_FEATURES = 6


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def data(rng):
    """Rows without zeros, of which row 7 is the one to be found."""
    return rng.normal(size=(20, N_FEATURES))


@pytest.fixture
def row(data):
    return data[[7]]


class Holder:
    """Any object: it holds what it is given."""

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def method(self):
        pass


class Slotted:
    __slots__ = ("never_set", "rows")

    def __init__(self, rows):
        self.rows = rows


class SubSlotted(Slotted):
    __slots__ = ("__private",)

    def __init__(self, rows):
        self.__private = rows


@dataclasses.dataclass(frozen=True)
class Record:
    rows: np.ndarray


class Structure(ctypes.Structure):
    _fields_ = [(f"x{i}", ctypes.c_double) for i in range(20 * N_FEATURES)]


Pair = collections.namedtuple("Pair", ["left", "right"])


class Estimator(KnowsTrainingRows, BaseEstimator):
    """An estimator with a training set, that says which rows are in it."""

    def __init__(self, rows):
        self.rows_ = np.array(rows)
        self.n_features_in_ = self.rows_.shape[1]
        self.questions = 0

    def fit(self, X, y=None):
        """For scikit-learn to take it for an estimator."""

    def _count_equal_rows(self, X):
        self.questions += 1
        return (self.rows_[None] == X[:, None]).all(axis=2).sum(axis=1)


def places_of(holder, X):
    """The places that the error names, each with its rows; {} without an error."""
    try:
        assert_erased(holder, X)
    except AssertionError as error:
        lines = str(error).splitlines()[1:]
        found = (line.strip().split(" in ", 1) for line in lines if " in " in line)
        return {place: rows for rows, place in found}
    return {}


def keep(rows):
    """A closure over rows."""
    return lambda: rows


# ---------------------------------------------------------------------------
# Where an array may be
# ---------------------------------------------------------------------------

HOLDERS = {
    "attribute": (lambda a: Holder(rows_=a), "estimator.rows_"),
    "nested": (lambda a: Holder(t_=Holder(g=a)), "estimator.t_.g"),
    "slot": (lambda a: Holder(s=Slotted(a)), "estimator.s.rows"),
    "inherited slot": (lambda a: SubSlotted(a), "estimator._SubSlotted__private"),
    "dict": (lambda a: Holder(d={"rows": [0, a]}), "estimator.d['rows'][1]"),
    "dict key": (
        lambda a: Holder(d={Pair(0, Slotted(a)): 1}),
        "list(estimator.d)[0].right.rows",
    ),
    "tuple key": (lambda a: Holder(d={("a", 1): a}), "estimator.d[('a', 1)]"),
    "set": (lambda a: Holder(s={Slotted(a)}), "list(estimator.s)[0].rows"),
    "deque": (lambda a: Holder(d=collections.deque([a])), "estimator.d[0]"),
    "dataclass": (lambda a: Holder(r=Record(a)), "estimator.r.rows"),
    "namedtuple": (lambda a: Holder(p=Pair(1, a)), "estimator.p.right"),
    "object array": (lambda a: Holder(o=objects(a)), "estimator.o[1]"),
    "2-d object array": (
        lambda a: Holder(o=objects(a).reshape(1, 2)),
        "estimator.o.flat[1]",
    ),
    "closure": (
        lambda a: Holder(f=keep(a)),
        "estimator.f.__closure__[0].cell_contents",
    ),
    "default": (lambda a: Holder(f=lambda x=a: x), "estimator.f.__defaults__[0]"),
    "keyword default": (
        lambda a: Holder(f=lambda *, x=a: x),
        "estimator.f.__kwdefaults__['x']",
    ),
    "mapping proxy": (
        lambda a: Holder(p=types.MappingProxyType({"a": a})),
        "dict(estimator.p)['a']",
    ),
    "compiled method": (lambda a: Holder(f=Holder(a=a).__eq__), None),
    "method": (lambda a: Holder(f=Holder(a=a).method), "estimator.f.__self__.a"),
    "partial": (lambda a: Holder(f=functools.partial(max, a)), "estimator.f.args[0]"),
    "KDTree": (
        lambda a: Holder(tree_=KDTree(a)),
        "estimator.tree_.__reduce_ex__(4)[2][0]",
    ),
    "view": (lambda a: Holder(v=a[:3]), "estimator.v.base"),
    "memoryview": (lambda a: Holder(v=memoryview(a)[:3]), "estimator.v.obj"),
    "field": (lambda a: Holder(r=records(a)), "estimator.r['x']"),
    "OrderedDict": (
        lambda a: Holder(c=collections.OrderedDict(a=a)),
        "estimator.c['a']",
    ),
}


def objects(a):
    values = np.empty(2, dtype=object)
    values[1] = a
    return values


def records(a):
    values = np.zeros(len(a), dtype=[("y", int), ("x", float, a.shape[1:])])
    values["x"] = a
    return values


@pytest.mark.parametrize("kind", HOLDERS)
def test_every_kind_of_holder(kind, data, row):
    hold, place = HOLDERS[kind]
    holder = hold(data.copy())
    places = places_of(holder, row)
    assert places, "not found"
    if place is not None:
        assert places.get(place) == "row 0"
    holder = hold(np.delete(data, 7, axis=0))
    assert places_of(holder, row) == {}


def test_place_is_an_expression(data, row):
    estimator = Holder(d={("a", 1): [Record(data)]}, f=keep(objects(data.copy())))
    places = places_of(estimator, row)
    assert len(places) == 2
    for place in places:
        assert_array_equal(eval(place), data)


def test_nothing_is_computed(data, row):
    def refuse(self, *args):
        raise RuntimeError("code of the object was run")

    hooks = ("__getattribute__", "__getattr__", "__repr__", "__iter__", "items")
    overridden = dict.fromkeys(hooks, refuse)
    overridden |= {"__class__": property(refuse), "rows": property(refuse)}

    touchy = type("Touchy", (), overridden)()
    object.__setattr__(touchy, "a", data)
    object.__setattr__(touchy, "lock", threading.Lock())
    sequence = type("TouchyList", (list,), overridden)([touchy])
    mapping = type("TouchyDict", (dict,), overridden)(b=sequence)
    held = [mapping, {touchy: 1}, {(touchy, 1): data + 0.0}]
    assert places_of(held[:1], row) == {"estimator[0]['b'][0].a": "row 0"}
    assert places_of(held[1:], row) == {
        "list(estimator[0])[0].a": "row 0",
        "estimator[1][<tuple>]": "row 0",
    }


def test_a_buffer_has_no_parts():
    holder = Holder(a=bytearray(99), b=array.array("d", [1.0]))
    places = [place for place, _ in iter_objects(holder)]
    assert places == ["estimator", "estimator.a", "estimator.b"]


def test_temporary_objects_are_told_apart(data, row):
    """Each tree hands out a new tuple, maybe where that of another one was."""
    trees = [KDTree(data + 0.0) for _ in range(30)]
    found = [array for _, array in iter_arrays(trees) if array.shape == data.shape]
    assert len({array.ctypes.data for array in found}) == 30


def test_modules_classes_and_globals_are_not_entered(data, row):
    class Hidden:
        rows = data

    namespace = {"rows": data}
    exec("def function(): return rows", namespace)
    held = Holder(m=np, c=Hidden, i=Hidden(), f=namespace["function"])
    assert places_of(held, row) == {}


def test_the_dict_of_a_module_is_not_entered(monkeypatch, data, row):
    module = types.ModuleType("loaded")
    module.rows = data
    assert places_of(Holder(d=vars(module)), row) == {"estimator.d['rows']": "row 0"}
    monkeypatch.setitem(sys.modules, "loaded", module)
    assert places_of(Holder(d=vars(module)), row) == {}


def test_cycles_end(data, row):
    holder = Holder(list=[])
    holder.me, holder.list = holder, [holder.list, holder]
    holder.list.append(holder.list)
    holder.rows = data
    assert places_of(holder, row) == {"estimator.rows": "row 0"}


def test_deep_nesting(data, row):
    chain = data
    for _ in range(5_000):
        chain = [chain]
    assert "estimator" + "[0]" * 5_000 in places_of(chain, row)


def test_each_object_is_visited_once(data):
    holder = Holder(a=data, b=data, c=[data, data])
    places = [place for place, obj in iter_objects(holder) if obj is data]
    assert places == ["estimator.a"]


def test_same_memory_is_named_once(data, row):
    held = Holder(a=data, b=data[:], c=np.asarray(memoryview(data)))
    assert places_of(held, row) == {"estimator.a": "row 0"}


def test_arrays_of_numbers(data):
    numbers = [1, 2.5, np.float32(3), np.int8(4), None, "text", 10**400]
    (place, found), *_ = iter_arrays(Holder(a=numbers, b=[1, 2, 3]))
    assert place == "estimator.a"
    assert_array_equal(found, [1, 2.5, 3, 4, np.nan, np.nan, np.nan])
    assert len(list(iter_arrays(Holder(b=[1, 2, 3])))) == 0


# ---------------------------------------------------------------------------
# How a row may lie in an array
# ---------------------------------------------------------------------------

LAYOUTS = {
    "rows": lambda X: X,
    "Fortran": np.asfortranarray,
    "columns": lambda X: np.ascontiguousarray(X.T),
    "flat": lambda X: np.concatenate([[9.0], X.ravel()]),
    "wider": lambda X: np.hstack([X[:, :2], X, X[:, :1]]),
    "first axis of three": lambda X: np.stack([X.T, X.T + 1], axis=2),
    "middle axis of three": lambda X: np.stack([X, X + 1, X + 2], axis=2).copy(),
    "four axes, Fortran": lambda X: np.asfortranarray(X.reshape(2, 1, 10, -1)),
    "float32": lambda X: X.astype(np.float32),
    "float32 image in float64": lambda X: X.astype(np.float32).astype(float),
    "float16": lambda X: X.astype(np.float16),
    "longdouble": lambda X: X.astype(np.longdouble),
    "complex": lambda X: X.astype(complex),
    "big-endian": lambda X: X.astype(">f8"),
    "masked": lambda X: np.ma.masked_array(X, mask=True),
    "matrix": lambda X: X.view(np.matrix),
    "lists": lambda X: X.tolist(),
    "tuples in lists": lambda X: [tuple(x) for x in X],
    "dict values": lambda X: [dict(zip("abcdef", x, strict=True)) for x in X.tolist()],
    "deques": lambda X: [collections.deque(x) for x in X.tolist()],
    "object array": lambda X: X.astype(object),
    "mixed object array": lambda X: np.hstack([[["id"]] * len(X), X.astype(object)]),
    "packed record": lambda X: np.rec.fromarrays(X.T),
    "bytes": lambda X: X.tobytes(),
    "float32 bytes": lambda X: X.astype(np.float32).tobytes(),
    "bytes at an odd place": lambda X: bytearray(b"abcde" + X.tobytes() + b"f"),
    "bytes scalar": lambda X: np.bytes_(b"a" + X.tobytes() + b"z"),
    "pickled": lambda X: pickle.dumps({"rows": X}),
    "uint8 array": lambda X: np.frombuffer(X.tobytes(), dtype=np.uint8),
    "void array": lambda X: np.frombuffer(X.tobytes(), dtype="V48"),
    "array.array": lambda X: array.array("f", X.ravel()),
    "ctypes structure": lambda X: memoryview(Structure.from_buffer_copy(X.tobytes())),
    "BytesIO": lambda X: io.BytesIO(X.tobytes()),
    "CSR": sparse.csr_array,
    "CSC": sparse.csc_matrix,
    "COO": sparse.coo_array,
    "LIL": sparse.lil_array,
    "DOK": sparse.dok_array,
    "BSR": lambda X: sparse.bsr_array(X, blocksize=(2, 2)),
    "DIA": sparse.dia_array,
    "transposed CSR": lambda X: sparse.csr_array(X.T),
}


@pytest.mark.parametrize("with_zeros", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout, with_zeros, data, row):
    if with_zeros:
        data[:, 3] = row[:, 3] = 0.0
        data[::2, 0] = 0.0
    lay = LAYOUTS[layout]
    places = places_of(Holder(held=lay(data)), row)
    assert places
    assert set(places.values()) == {"row 0"}
    assert all(place.startswith("estimator.held") for place in places)
    others = np.delete(data, 7, axis=0)
    others = np.vstack([others, others[:1]])  # the same shape
    assert places_of(Holder(held=lay(others)), row) == {}


def test_strided_views(data, row):
    """What no buffer holds as a run, a view may still show as one."""
    spread = np.zeros((20, 2 * N_FEATURES))
    spread[:, ::2] = data
    assert places_of(Holder(v=spread), row) == {}
    assert places_of(Holder(v=spread[:, ::2]), row) == {"estimator.v": "row 0"}
    tensor = np.zeros((2 * N_FEATURES, 3, 20))
    tensor[::2, 1] = data.T
    assert "estimator.v" in places_of(Holder(v=tensor[::2, 1:, ::-1]), row)


def test_broadcast_axes_cost_nothing(data, row):
    endless = np.broadcast_to(data, (10**9, *data.shape))
    assert "estimator.v" in places_of(Holder(v=endless), row)
    assert places_of(Holder(v=as_strided(np.ones(1), (10**9,), (0,))), row) == {}


def test_overlapping_windows(data, row):
    windows = sliding_window_view(data.ravel(), 9)
    assert "estimator.w" in places_of(Holder(w=windows), row)


def test_integers(rng):
    data = rng.integers(0, 100, size=(20, 8))
    for dtype in (np.int8, np.uint8, np.int32, np.uint64, float):
        held = Holder(a=data.astype(dtype))
        assert places_of(held, data[[3]].astype(float)) == {"estimator.a": "row 0"}
        some = np.arange(8) % 3 > 0
        assert places_of(held, data[[3]] + 0.5 * some) == {}
        assert places_of(held, data[[3]] - 256 * some) == {}
        assert places_of(held, data[[3]] + 256 * some) == {}
        assert places_of(held, data[[3]] + 1e30 * some) == {}
    assert_erased(Holder(a=data > 50), data[[3]])


def test_dataframes(data, row):
    pd = pytest.importorskip("pandas")
    mixed = pd.DataFrame(data).astype({2: np.float32}).assign(label="text")
    row[:, 2] = mixed[2].iloc[7]
    assert "estimator.f.to_numpy()" in places_of(Holder(f=mixed), row)
    assert places_of(Holder(f=mixed.drop(index=7)), row) == {}
    series = pd.Series(data.ravel())
    assert places_of(Holder(f=series), row) == {}
    row = data[[7]]
    assert "estimator.f.to_numpy()" in places_of(Holder(f=series), row)


# ---------------------------------------------------------------------------
# Sparse forms
# ---------------------------------------------------------------------------


@pytest.fixture
def sparse_data():
    return sparse.random_array((30, 40), density=0.3, rng=1, format="csr")


def test_non_zero_values_without_indices(sparse_data):
    row = sparse_data[[4]]
    held = Holder(values=sparse_data.data)
    assert places_of(held, row) == {"estimator.values": "row 0"}
    assert places_of(held, row.toarray()) == {"estimator.values": "row 0"}
    # In another order, or with one that does not belong there, it is another row.
    assert places_of(Holder(values=np.sort(sparse_data.data)), row) == {}
    values = np.insert(sparse_data.data, sparse_data.indptr[4] + 2, 0.25)
    assert places_of(Holder(values=values), row) == {}


def test_sparse_containers_are_searched_with_their_indices():
    """Counts are alike in many rows, and so are their non-zero values."""
    counts = np.zeros((3, 30))
    counts[0, [1, 5, 7, 20, 21]] = [4, 3, 2, 1, 5]
    counts[1, [1, 5, 8, 20, 21]] = [4, 3, 2, 1, 5]
    counts[2, [0, 1, 5, 7, 20, 21]] = [9, 4, 3, 2, 1, 5]
    for kind in (sparse.csr_array, sparse.csc_array, sparse.coo_array):
        assert places_of(Holder(X=kind(counts[1:])), counts[[0]]) == {}
        assert places_of(Holder(X=kind(counts)), counts[[0]]) == {
            "estimator.X": "row 0"
        }


def test_rows_of_sparse_containers_are_compared_in_full(rng):
    row = np.zeros((1, 9))
    row[0, [2, 3, 5, 6]] = rng.normal(size=4)
    held = {
        "itself": row,
        "to the left": np.roll(row, -1),
        "too far to the left": np.roll(np.hstack([row, row * 0]), -1),
        "too far to the right": np.roll(np.hstack([row * 0, row]), 1),
        "in a wider matrix": np.hstack([row + 1, row, row + 1]),
        "in two rows": np.vstack([row * (np.arange(9) < 4), row * (np.arange(9) > 3)]),
    }
    for column in (0, 1, 4, 7, 8):
        held[f"and a value in column {column}"] = row + 0.5 * (np.arange(9) == column)
    found = {name for name, X in held.items() if places_of(sparse.csr_array(X), row)}
    assert found == {"itself", "in a wider matrix"}


def test_explicit_zeros_are_zeros(sparse_data):
    row = sparse_data[[4]].toarray()
    with_zeros = sparse.csr_array(np.where(row == 0, 7, row))
    with_zeros.data[row[0] == 0] = 0.0
    held = Holder(a=row.copy(), b=sparse_data, c=sparse_data.data.copy())
    assert set(places_of(held, with_zeros)) == {f"estimator.{a}" for a in "abc"}
    assert places_of(with_zeros, row)


def test_integers_are_not_taken_for_the_values_of_a_sparse_row():
    row = np.array([[0, 1, 2, 3, 0, 0, 4, 5, 0]])
    assert_erased(Holder(classes_=np.arange(10)), row)
    assert places_of(Holder(values=np.arange(10.0)), row)


def test_sparse_containers_in_disorder(sparse_data):
    row = sparse_data[[4]].toarray()
    held = sparse_data.copy()
    first, last = held.indptr[4], held.indptr[5]
    held.indices[first:last] = held.indices[first:last][::-1]
    held.data[first:last] = held.data[first:last][::-1]
    held.has_sorted_indices = held.has_canonical_format = False
    before = held.data.copy()
    assert places_of(Holder(X=held), row) == {"estimator.X": "row 0"}
    assert_array_equal(held.data, before)


def test_sparse_array_of_one_dimension(sparse_data):
    row = sparse_data[[4]].toarray()
    held = Holder(X=sparse.coo_array(row[0]))
    assert places_of(held, row) == {"estimator.X": "row 0"}


def test_values_beyond_the_end_of_a_sparse_matrix(sparse_data):
    """A matrix cut down in place may show less than its buffers hold."""
    n = sparse_data.indptr[20]
    held = sparse.csr_array((20, 40))
    held.data, held.indices = sparse_data.data[:n], sparse_data.indices[:n]
    held.indptr = sparse_data.indptr[:21].copy()
    places = places_of(Holder(X=held), sparse_data[[25]])
    assert places == {"estimator.X.data.base": "row 0"}
    held.data, held.indices = sparse_data.data.copy(), sparse_data.indices.copy()
    assert places_of(Holder(X=held), sparse_data[[25]]) == {"estimator.X.data": "row 0"}
    assert places_of(Holder(X=held), sparse_data[[15]])


# ---------------------------------------------------------------------------
# What is not there
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("column", range(N_FEATURES))
def test_near_misses(column, data, row):
    near = data.copy()
    near[7, column] *= 1 + 1e-9
    assert_erased(
        Holder(a=near, b=near.T.copy(), c=near.tobytes(), d=near.tolist()), row
    )
    near[7, column] = np.nextafter(row[0, column], 10)  # that is rounding
    assert places_of(Holder(a=near), row) == {"estimator.a": "a multiple of row 0"}


def test_parts_at_the_ends_of_an_array(row):
    """A row that is cut by the end of the array, or of a fibre, is not there."""
    run = np.concatenate([row[0, 1:], row[0], row[0, :-1]])
    for lo in range(1, len(run) - N_FEATURES):
        part = run[lo : lo + N_FEATURES + 4]
        present = lo <= N_FEATURES - 1 <= lo + 4
        assert bool(places_of(Holder(a=part.copy()), row)) == present
    fibres = np.full((N_FEATURES, 3), 0.5)
    fibres[1:, 1], fibres[0, 2] = row[0, :-1], row[0, -1]
    assert_erased(Holder(a=fibres), row)


def test_the_rows_of_a_sparse_matrix_are_not_joined(row):
    row[0, 2] = 0.0
    held = np.zeros((2, N_FEATURES))
    held[0, 3:], held[1, :3] = row[0, :3], row[0, 3:]
    assert_erased(Holder(X=sparse.csr_array(held)), row)
    # In the memory of an array, they lie side by side.
    assert places_of(Holder(X=held), row)


def test_rows_that_vanish_in_a_narrow_dtype(data):
    tiny = data[[7]] * 1e-30
    assert_erased(Holder(a=np.zeros(50, np.float16)), tiny)
    close = 1 + np.arange(N_FEATURES)[None] * 1e-12
    assert_erased(Holder(a=np.ones(50, np.float32)), close)
    huge = data[[7]] * 1e30
    assert_erased(Holder(a=np.full(50, np.inf, np.float16)), huge)


@pytest.mark.parametrize("value", [1e-200, -1e-200, 1e200, -1e200])
@pytest.mark.filterwarnings("ignore:overflow")
def test_rows_of_which_one_value_vanishes(value, data, row):
    data[7, 2] = row[0, 2] = value
    for dtype in (np.float16, np.float32):
        held = Holder(a=data.astype(dtype), b=data.astype(dtype).astype(float))
        expected = {"estimator.a"} | ({"estimator.b"} if dtype == np.float32 else set())
        assert set(places_of(held, row)) == expected


def test_odd_arrays(row):
    odd = [
        np.empty((0, 6)),
        np.empty((3, 0, 6)),
        np.array(1.0),
        np.array(None),
        np.array(["text"] * 9),
        np.zeros(9, "M8[s]"),
        np.full((5, 6), np.nan),
        np.full((5, 6), -0.0),
        np.zeros(3, dtype=[("a", object), ("b", float)]),
        np.void(b""),
        b"",
        sparse.csr_array((0, 6)),
        sparse.csr_array((6, 0)),
        sparse.csr_array(np.eye(6) > 0),
    ]
    assert_erased(odd, row)


def test_negative_zero_is_zero(row):
    row[0, 1] = 0.0
    held = row.copy()
    held[0, 1] = -0.0
    assert places_of(Holder(a=held), row) == {"estimator.a": "row 0"}


# ---------------------------------------------------------------------------
# Many rows, common values, several chunks
# ---------------------------------------------------------------------------


def test_chunks(monkeypatch, rng):
    """What lies across the borders of the portions is found as well."""
    monkeypatch.setattr(row_search, "CHUNK", 7)
    monkeypatch.setattr(row_search, "BLOCK", 13)
    data = rng.normal(size=(25, 5)) * (rng.random((25, 5)) < 0.95)
    data = data[(data != 0).sum(axis=1) >= 4]
    for held in (data, data.T.copy(), sparse.csr_array(data), data.tobytes()):
        places = places_of(Holder(a=held), data)
        assert f"({len(data)} rows)" in places.popitem()[1]


def test_every_position_and_axis(rng):
    """Against a plain search, in small integers where values are all common."""
    for trial in range(12):
        held = rng.integers(0, 7, size=tuple(rng.integers(1, 9, size=3)))
        held = held.astype(float).transpose(rng.permutation(3))
        rows = rng.permuted(np.tile(np.arange(5.0), (60, 1)), axis=1)
        expected = {r for r in range(60) if plain_search(held, rows[r])}
        found = assert_or_found(Holder(a=held), rows)
        assert found == expected, trial


def plain_search(held, row):
    memory = held.ravel(order="K")
    lines = [memory]
    for axis in range(held.ndim):
        lines.extend(np.moveaxis(held, axis, -1).reshape(-1, held.shape[axis]))
    return any(
        (sliding_window_view(line, len(row)) == row).all(axis=1).any()
        for line in lines
        if len(line) >= len(row)
    )


def assert_or_found(holder, rows):
    """The numbers of the rows found, each searched alone and all at once."""
    alone = {r for r in range(len(rows)) if places_of(holder, rows[[r]])}
    text = "".join(places_of(holder, rows).values())
    assert ("rows" in text) == (len(alone) > 1)
    if len(alone) > 10:
        assert f"({len(alone)} rows)" in text
    return alone


def test_common_values(rng):
    """Rows of values that fill the array, but for one."""
    held = np.ones((2_000, 50))
    held[:, ::2] = rng.integers(1, 5, size=(2_000, 25))
    rows = held[:300].copy()
    rows[:, 1] = 1.5
    assert_erased(Holder(a=held), rows)
    held[100, 1] = 1.5
    assert places_of(Holder(a=held), rows) == {"estimator.a": "row 100"}


def test_equal_rows(data, row):
    rows = np.vstack([row] * 4)
    assert places_of(Holder(a=data), rows) == {"estimator.a": "rows 0, 1, 2, 3"}


# ---------------------------------------------------------------------------
# Reports, rows that are not checkable
# ---------------------------------------------------------------------------


def test_report(data):
    held = Holder(a=data[:7], b=sparse.csr_array(data[:7] > 9))
    held.a = held.a.copy()
    X = np.vstack([data[8:10], np.zeros((1, 6)), [[1, 2, 3, 3, 1, 0]], data[10:11]])
    report = assert_erased(held, X)
    reason = "fewer than 4 distinct non-zero values"
    n_bytes = sum(a.nbytes for _, a in iter_arrays(held))
    assert report == ErasureReport(5, 3, {2: reason, 3: reason}, 4, n_bytes)
    assert str(report) == (
        f"3 of 5 rows checked: found in none of 4 arrays ({n_bytes:,} bytes)\n"
        f"not checkable, {reason}: rows 2, 3"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.n_rows = 0


def test_message(data):
    held = Holder(**{f"a{i}": data.copy() for i in range(8)})
    with pytest.raises(AssertionError) as error:
        assert_erased(held, np.vstack([data[5:10], data[:1] ** 2]))
    message = str(error.value)
    assert message.startswith("5 of 6 removed rows found:\n")
    assert message.count("\n  rows 0, 1, 2, 3, 4 in estimator.a") == 5
    assert message.endswith("and 3 more places")


def test_rows_that_were_never_removed(data):
    """Whoever forgot to remove them would be told that nothing was found."""
    estimator = Estimator(data)
    stale = Holder(estimator=estimator, cache=data[2:4].copy())
    X = np.vstack([data[2:4], data[2:3] ** 2])
    with pytest.raises(AssertionError) as error:
        assert_erased(stale, X)
    assert str(error.value) == (
        "2 of 3 rows are current training rows, and were not searched for: rows 0, 1. "
        "They were not removed, or equal rows stay. Remove them first; where an equal "
        'row may stay, because it is of somebody else, pass equal_rows="warn".'
    )
    with pytest.warns(UserWarning, match="2 of 3 rows are current .*: rows 0, 1"):
        report = assert_erased(stale, X, equal_rows="warn")
    reason = "an equal row is still in the training set"
    assert report.not_checkable == {0: reason, 1: reason}
    assert report.n_checked == 1
    # A row that is found comes first, and the others are named, too.
    estimator.rows_ = np.delete(data, 2, axis=0)
    with pytest.raises(AssertionError) as error:
        assert_erased(stale, X)
    lines = str(error.value).splitlines()
    assert lines[:2] == ["1 of 3 removed rows found:", "  row 0 in estimator.cache"]
    assert lines[2].startswith("1 of 3 rows is a current training row")
    with pytest.raises(AssertionError, match="row 0 in estimator.cache$"):
        assert_erased(stale, X, equal_rows="warn")
    stale.cache = None
    with pytest.raises(AssertionError, match="not searched for: row 1. It was not"):
        assert_erased(stale, X)
    with pytest.warns(UserWarning, match="not searched for: row 1. It was not"):
        report = assert_erased(stale, X, equal_rows="warn")
    assert report.not_checkable == {1: reason}


def test_rows_of_few_values_that_were_never_removed():
    """They could not be searched for anyway, and still are training rows."""
    X = np.eye(6)
    with pytest.raises(AssertionError, match="2 of 2 rows are current training rows"):
        assert_erased(Estimator(X), X[:2])


@pytest.mark.parametrize("wrong", ["ignore", None, True])
def test_equal_rows_is_one_of_two_words(wrong, row):
    with pytest.raises(ValueError, match=f"equal_rows must be .*, got {wrong!r}"):
        assert_erased(Holder(), row, equal_rows=wrong)


def test_nothing_is_said_of_what_was_not_checked(data):
    held = Holder(a=data.copy())
    reason = "fewer than 4 distinct non-zero values"
    report = assert_erased(held, np.zeros((2, 6)))
    assert report.n_checked == 0
    assert str(report) == (
        "0 of 2 rows checked: none could be searched for\n"
        f"not checkable, {reason}: rows 0, 1"
    )
    assert "found in none" not in report._repr_html_()
    report = assert_erased(held, sample_id=[3])
    assert str(report) == (
        "0 of 1 id checked: none could be searched for\n"
        "ids not checkable, so small a number may be a count or a position: 3"
    )
    report = assert_erased(Holder(), data[:2])
    assert str(report) == "2 of 2 rows checked: there are no arrays to be found in"


class Purgeable(Estimator):
    state = "yes", None

    def _purge_state(self):
        return self.state


def test_the_state_of_estimators(data, row):
    """Foreign ones have nothing to purge."""
    ours = Purgeable(data[:5])
    holder = Holder(foreign=Estimator(data[:6, :4]), ours=ours)
    report = assert_erased(holder, row)
    assert report.purged == {"estimator.foreign": "yes", "estimator.ours": "yes"}
    assert report.purged_reason == {}
    assert "purged" not in str(report)
    # Of another width, too: the state is of all rows.
    holder.foreign = Purgeable(data[:6, :4])
    holder.foreign.state = "cannot", "no rows are kept"
    report = assert_erased(holder, row)
    assert report.purged == {"estimator.foreign": "cannot", "estimator.ours": "yes"}
    assert report.purged_reason == {"estimator.foreign": "no rows are kept"}
    assert str(report).splitlines()[1] == (
        "cannot be purged, no rows are kept: estimator.foreign"
    )
    assert "cannot be purged" in report._repr_html_()


def test_what_was_never_fitted_is_asked_nothing():
    """A search holds an estimator of which its candidates are clones."""
    X = np.random.default_rng(0).normal(size=(30, 5))
    ids = np.array([f"user {i}" for i in range(30)])
    search = GridSearchCV(DeltaGradRidge(), {"alpha": [0.1, 1.0]}, cv=2)
    search.fit(X, X[:, 0], sample_id=ids)
    search.best_estimator_.unlearn(sample_id="user 3")
    _purge(search.best_estimator_)
    report = assert_erased(search, X[[3]], sample_id=["user 3"])
    assert (report.n_checked, report.n_ids) == (1, 1)
    assert report.purged == {"estimator.best_estimator_": "yes"}
    with pytest.raises(AssertionError, match="sample_id user 4: current"):
        assert_erased(search, sample_id=["user 4"])


@pytest.mark.parametrize("equal_rows", ["raise", "warn"])
def test_an_estimator_that_was_not_purged(data, row, equal_rows):
    ours = Purgeable(data[:5])
    ours.state = "no", "rows were removed since"
    holder = Holder(ours=ours)
    for what in ({"X": row}, {"sample_id": ["user-7"]}, {"X": np.zeros((1, 6))}):
        with pytest.raises(AssertionError) as error:
            assert_erased(holder, **what, equal_rows=equal_rows)
        assert str(error.value) == (
            "estimator.ours is not purged (rows were removed since): what follows from "
            "removed rows may still be in it. Call purge() or save(path) of it first, "
            "and check it then."
        )
    ours.solver = "sgd"
    with pytest.raises(
        AssertionError, match=r"Call purge\(\) or partial_refit\(\) of it"
    ):
        assert_erased(holder, row, equal_rows=equal_rows)
    ours.state = "no", None
    with pytest.raises(AssertionError, match="estimator.ours is not purged: what"):
        assert_erased(holder, row, equal_rows=equal_rows)
    # A row that is found comes first.
    ours.cache = row.copy()
    with pytest.raises(AssertionError, match="^1 of 1 removed rows found:\n  row 0 in"):
        assert_erased(holder, row, equal_rows=equal_rows)


def test_a_dump_that_was_not_purged(tmp_path, data, row):
    ours = Purgeable(data[:5])
    ours.state = "no", None
    path = tmp_path / "model.joblib"
    joblib.dump(ours, path)
    with pytest.raises(
        AssertionError, match="not purged: .* save it again, and delete"
    ):
        assert_erased(path, row)


def test_estimators_of_another_width_are_not_asked(data, row):
    holder = Holder(a=Estimator(data[:, :4]), b=Estimator(data[:3]))
    assert_erased(holder, row)
    assert holder.a.questions == 0
    assert holder.b.questions == 1


def test_ids_alone():
    X = np.random.default_rng(0).normal(size=(30, 5))
    model = DeltaGradRidge().fit(X, X[:, 0], sample_id=[f"user {i}" for i in range(30)])
    model.unlearn(sample_id="user 3").purge()
    report = assert_erased(model, sample_id=["user 3"])
    assert (report.n_rows, report.n_ids) == (0, 1)
    assert str(report) == "1 id checked: found nowhere"
    model.note_ = ["user 3"]
    with pytest.raises(AssertionError, match="user 3 in estimator.note_"):
        assert_erased(model, sample_id=["user 3"])
    with pytest.raises(TypeError, match="rows as X, or their ids"):
        assert_erased(model)


def test_sparse_rows_that_were_never_removed(sparse_data):
    estimator = Estimator(sparse_data.toarray())
    with pytest.raises(AssertionError, match="2 of 2 rows are current training rows"):
        assert_erased(estimator, sparse_data[[2, 5]])
    with pytest.warns(UserWarning, match="2 of 2 rows are current training rows"):
        report = assert_erased(estimator, sparse_data[[2, 5]], equal_rows="warn")
    assert set(report.not_checkable) == {0, 1}


# ---------------------------------------------------------------------------
# Pipelines
# ---------------------------------------------------------------------------


@pytest.fixture
def pipeline(data):
    y = np.arange(len(data), dtype=float)
    return make_pipeline(StandardScaler(), KNeighborsRegressor()).fit(data, y)


def test_pipeline_is_searched_for_transformed_rows(pipeline, row):
    with pytest.raises(AssertionError, match=r"row 0 in estimator\.steps\[1\]"):
        assert_erased(pipeline, row)


def test_pipeline_is_searched_for_rows_as_given(data, row):
    pipeline = make_pipeline(StandardScaler(), LinearRegression())
    pipeline.fit(data, data[:, 0])
    assert_erased(pipeline, row)
    pipeline[0].rows_ = data
    assert places_of(pipeline, row) == {"estimator.steps[0][1].rows_": "row 0"}


def test_equal_rows_in_a_pipeline(data, row, pipeline):
    pipeline.steps[1] = ("ours", Estimator(pipeline[0].transform(data)))
    with pytest.raises(AssertionError, match="1 of 1 rows is a current training row"):
        assert_erased(pipeline, row)
    with pytest.warns(UserWarning, match="current training row"):
        assert assert_erased(pipeline, row, equal_rows="warn").n_checked == 0
    rest = pipeline[0].transform(np.delete(data, 7, axis=0))
    pipeline.steps[1] = ("ours", Estimator(rest))
    assert assert_erased(pipeline, row).n_checked == 1


def test_pipeline_that_changes_the_width(data, row):
    pca = PCA(n_components=4)
    pipeline = make_pipeline(pca, LinearRegression()).fit(data, data[:, 0])
    assert_erased(pipeline, row)
    pipeline[1].kept_ = pca.transform(row)
    assert places_of(pipeline, row) == {"estimator.steps[1][1].kept_": "row 0"}


def test_pipeline_of_text(data):
    def lengths(X):
        return np.array([[len(text) + 0.5 for text in x] for x in X])

    texts = np.array([["a", "bb", "ccc", "dddd"], ["bb", "a", "dddd", "ccc"]], object)
    pipeline = make_pipeline(FunctionTransformer(lengths), LinearRegression())
    pipeline.fit(texts, [0, 1])
    assert assert_erased(pipeline, texts).n_checked == 2
    pipeline[1].kept_ = [lengths(texts)[1].tolist()]
    assert places_of(pipeline, texts) == {"estimator.steps[1][1].kept_[0]": "row 1"}


WORDS = """box boxing brown daft dog dozen fax five fox help jocks judge jugs jump lazy
liquor my over pack quartz quick quiz sphinx the two vexingly vow wizards with zebras"""
DOCUMENTS = [
    " ".join(np.random.default_rng(i).choice(WORDS.split(), 6 + i % 5))
    for i in range(18)
]

FORMS_OF_DOCUMENTS = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "objects": lambda texts: np.array(texts, object),
    "series": pd.Series,
    "object series": lambda texts: pd.Series(texts, dtype=object),
    "iterator": iter,
}


@pytest.fixture
def pipeline_of_documents():
    pipeline = make_pipeline(TfidfVectorizer(), DeltaGradLogisticRegression())
    return pipeline.fit(DOCUMENTS, np.arange(len(DOCUMENTS)) % 2)


@pytest.mark.parametrize("form", FORMS_OF_DOCUMENTS)
def test_documents(pipeline_of_documents, form):
    """As `unlearn` takes them."""
    pipeline, removed = pipeline_of_documents, [2, 7]
    form = FORMS_OF_DOCUMENTS[form]
    texts = [DOCUMENTS[i] for i in removed]
    with pytest.raises(AssertionError, match="2 of 2 rows are current training rows"):
        assert_erased(pipeline, form(texts))
    unlearn(pipeline, form(texts), np.array(removed) % 2)
    _purge(pipeline[-1])
    report = assert_erased(pipeline, form(texts))
    assert (report.n_rows, report.n_checked) == (2, 2)
    pipeline[-1].kept_ = pipeline[0].transform(texts).toarray()
    with pytest.raises(AssertionError, match=r"rows 0, 1 in estimator.*kept_"):
        assert_erased(pipeline, form(texts))


def _purge(model):
    """Where there is such a thing."""
    getattr(model, "purge", lambda: None)()


def test_tables_with_text():
    table = pd.DataFrame({
        "text": DOCUMENTS,
        "city": ["Bern", "Basel", "Chur"] * 6,
        "age": np.arange(18.0) ** 1.5 + 0.25,
    })  # fmt: skip
    columns = make_column_transformer(
        (TfidfVectorizer(), "text"), (OneHotEncoder(), ["city"]),
        (StandardScaler(), ["age"]),
    )  # fmt: skip
    y = np.arange(18) % 2
    pipeline = make_pipeline(columns, DeltaGradLogisticRegression()).fit(table, y)
    unlearn(pipeline, table.iloc[[3, 4]], y[[3, 4]])
    _purge(pipeline[-1])
    assert assert_erased(pipeline, table.iloc[[3, 4]]).n_checked == 2
    with pytest.raises(AssertionError, match="1 of 2 rows is a current training row"):
        assert_erased(pipeline, table.iloc[[4, 5]])
    pipeline[-1].kept_ = pipeline[0].transform(table.iloc[[3]])
    with pytest.raises(AssertionError, match="row 0 in estimator"):
        assert_erased(pipeline, table.iloc[[3]])


def test_dictionaries():
    rows = [{"a": i + 0.5, "b": 2.0 * i, "c": i**1.5, "d": 7.0 + i} for i in range(12)]
    model = DeltaGradRidge()
    pipeline = make_pipeline(DictVectorizer(), model).fit(rows, np.arange(12.0))
    unlearn(pipeline, rows[:2], [0.0, 1.0])
    _purge(model)
    assert assert_erased(pipeline, rows[1:2]).n_rows == 1


def test_lists_of_words():
    texts = [text.split() for text in DOCUMENTS]  # of different lengths
    pipeline = make_pipeline(
        TfidfVectorizer(analyzer=lambda words: words), DeltaGradLogisticRegression()
    ).fit(texts, np.arange(18) % 2)
    unlearn(pipeline, texts[:2], [0, 1])
    _purge(pipeline[-1])
    assert assert_erased(pipeline, texts[:2]).n_checked == 2


def test_text_that_is_no_rows(pipeline_of_documents):
    pipeline = pipeline_of_documents
    with pytest.raises(ValueError, match=r"X is one string.* \[X\]"):
        assert_erased(pipeline, DOCUMENTS[0])
    for X in (DOCUMENTS[:2], pd.DataFrame({"a": ["x", "y"]}), [{"a": 1.0}]):
        with pytest.raises(
            ValueError, match="(?s)X holds what is no number.*pass the pipeline"
        ):
            assert_erased(pipeline[-1], X)
    pipeline = make_pipeline(StandardScaler(), DeltaGradRidge())
    pipeline.fit(np.eye(6), np.arange(6.0))
    for X in (np.arange(6.0), [1, 2, 3, 4, 5, 6]):
        with pytest.raises(
            ValueError, match=r"X must have shape .* X\.reshape\(1, -1\)"
        ):
            assert_erased(pipeline, X)


# ---------------------------------------------------------------------------
# Dumps
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [0, 3, ("xz", 1)])
@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_joblib_dumps(compress, as_path, tmp_path, data, row):
    path = tmp_path / "model.joblib"
    joblib.dump(Holder(rows_=data), path, compress=compress)
    assert places_of(as_path(path), row) == {"estimator.rows_": "row 0"}
    joblib.dump(Holder(rows_=data[:7].copy()), path, compress=compress)
    assert assert_erased(as_path(path), row).n_checked == 1


def test_pickles(tmp_path, data, row):
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(Holder(rows_=data)))
    assert places_of(path, row) == {"estimator.rows_": "row 0"}


# ---------------------------------------------------------------------------
# Bad input
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("one_row", [np.arange(6.0), [1, 2, 3, 4], np.array(1.0)])
def test_one_row(one_row):
    with pytest.raises(ValueError, match=r"X must have shape .* X\.reshape\(1, -1\)"):
        assert_erased(Holder(), one_row)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", [np.array, sparse.csr_array])
def test_not_finite(bad, kind, row):
    row[0, 2] = bad
    with pytest.raises(ValueError, match=f"X contains {bad}"):
        assert_erased(Holder(), kind(row))


def test_no_rows():
    with pytest.raises(ValueError, match=r"X has shape \(0, 6\)"):
        assert_erased(Holder(), np.empty((0, 6)))


def test_width(data, pipeline):
    match = "X has 5 features, but estimator was fitted on n_features_in_=6"
    with pytest.raises(ValueError, match=match):
        assert_erased(Estimator(data), data[:, :5])
    with pytest.raises(ValueError, match="5 features"):
        assert_erased(pipeline, data[:, :5])


def test_missing_file(tmp_path, row):
    with pytest.raises(FileNotFoundError, match=r"estimator='.*no\.joblib'"):
        assert_erased(tmp_path / "no.joblib", row)


def test_what_holds_nothing(row):
    with pytest.raises(TypeError, match="estimator=LinearRegression is a class"):
        assert_erased(LinearRegression, row)
    with pytest.raises(NotFittedError):
        assert_erased(LinearRegression(), row)


def few_valued(rng, n_distinct, n_features=60):
    """Make a row of few distinct values, whose places are random."""
    values = np.append(0.0, rng.normal(size=n_distinct))
    return values[rng.integers(n_distinct + 1, size=(1, n_features))]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_distinct", [1, 2, 3])
def test_rows_of_few_values_are_found_by_their_places(n_distinct, dtype, rng):
    row = few_valued(rng, n_distinct)
    others = np.vstack([few_valued(rng, n_distinct) for _ in range(50)])
    held = Holder(a=np.vstack([others, row, others]).astype(dtype))
    with pytest.raises(AssertionError, match=r"  row 0 in estimator\.a"):
        assert_erased(held, row)
    with pytest.raises(AssertionError, match=r"  row 0 in estimator\.a"):
        assert_erased(Holder(a=sparse.csr_array(held.a)), row)
    mask = np.where(others == others[0, 0], row.max(), 0.0)
    for innocent in (others, mask, np.full((9, 60), row.max()), np.ones(600)):
        assert assert_erased(Holder(a=innocent.astype(dtype)), row).n_checked == 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_distinct", [2, 3])
def test_multiples_of_rows_of_few_values_are_found(n_distinct, dtype, rng):
    row = few_valued(rng, n_distinct)
    held = Holder(a=(-0.37 * row).astype(dtype))
    with pytest.raises(AssertionError, match="a multiple of row 0 in"):
        assert_erased(held, row)


@pytest.mark.parametrize("row", [
    np.repeat([0.0, 0.7123456], 30), np.tile([0.0, 0.7123456], 30),
    np.tile([0.0, 0.7123456, 0.7123456], 20), np.full(60, 0.7123456),
    np.resize([1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0], 60),
])  # fmt: skip
def test_regular_rows_of_few_values_are_not_checkable(row):
    assert assert_erased(Holder(a=row), row[np.newaxis]).n_checked == 0


def test_what_single_precision_makes_equal_is_no_multiple(rng):
    """In it, a row whose values are nearly equal becomes a constant array."""
    row = 0.7371234567 + 1e-9 * rng.integers(1, 100, size=(1, 10))
    assert assert_erased(Holder(a=np.ones(10), b=np.full((3, 10), 0.5)), row)
    with pytest.raises(AssertionError, match="a multiple of row 0"):
        assert_erased(Holder(a=0.37 * row), row)
