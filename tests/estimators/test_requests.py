"""Rows are named by content, position or id, before and after other edits.

The replay has ``period=1`` here, which makes every edit an exact retraining: that an
estimator equals a fresh fit on certain rows then says that it holds just those rows.
"""

import tracemalloc
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, StandardScaler, scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._utils.ids import check_ids

N_SAMPLES = 60
ROWS = np.arange(N_SAMPLES)
WRITTEN_IDS = [f"person-{number}" for number in ROWS]


def without(removed, n_samples=N_SAMPLES):
    return np.setdiff1d(np.arange(n_samples), removed)


@pytest.fixture(scope="module")
def data():
    """Sixty rows to fit on, and ten more to add."""
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X[: N_SAMPLES + 10]), scale(y[: N_SAMPLES + 10])
    return X[:N_SAMPLES], y[:N_SAMPLES], X[N_SAMPLES:], y[N_SAMPLES:]


@pytest.fixture
def ridge():
    return DeltaGradRidge(solver="gd", period=1, learning_rate=0.2, max_iter=20)


@pytest.fixture
def fitted(ridge, data):
    X, y, _, _ = data
    return ridge.fit(X, y)


@pytest.fixture
def fitted_with_ids(ridge, data):
    """Three rows to an id: id 0 has rows 0, 20 and 40."""
    X, y, _, _ = data
    return ridge.fit(X, y, sample_id=ROWS % 20)


@pytest.fixture
def labelled():
    """Rows of three classes, and an unfitted classifier."""
    X, y = load_wine(return_X_y=True)
    return scale(X)[::3], np.array(["red", "rose", "white"])[y[::3]]


def assert_fitted_on(estimator, X, y, sample_weight=None):
    fresh = clone(estimator).fit(X, y, sample_weight)
    assert_allclose(estimator.coef_, fresh.coef_, rtol=1e-9, atol=1e-12)
    assert_allclose(estimator.intercept_, fresh.intercept_, rtol=1e-9, atol=1e-12)
    assert estimator.update_report_.n_samples == X.shape[0]


# ---------------------------------------------------------------------------
# By position
# ---------------------------------------------------------------------------

POSITIONS = {
    "scalar": (7, [7]),
    "numpy scalar": (np.int32(7), [7]),
    "0-d array": (np.array(7), [7]),
    "list": ([3, 17], [3, 17]),
    "unordered": ([17, 3, 59, 0], [0, 3, 17, 59]),
    "duplicates": ([17, 3, 17, 17], [3, 17]),
    "range": (range(5), [0, 1, 2, 3, 4]),
    "uint8": (np.array([3, 17], np.uint8), [3, 17]),
    "series": (pd.Series([3, 17], index=[9, 8]), [3, 17]),
    "index as an array": (pd.Index([3, 17]).to_numpy(), [3, 17]),
    "nullable series": (pd.Series([3, 17], dtype="Int64"), [3, 17]),
    "objects": (np.array([3, np.int64(17)], object), [3, 17]),
    "mask": (np.isin(ROWS, [3, 17]), [3, 17]),
    "mask as a list": (np.isin(ROWS, [3, 17]).tolist(), [3, 17]),
    "mask as a series": (
        pd.Series(np.isin(ROWS, [3, 17]), index=ROWS[::-1]), [3, 17],
    ),
    "mask as a nullable series": (
        pd.Series(np.isin(ROWS, [3, 17]), dtype="boolean"), [3, 17],
    ),
    "mask as objects": (np.isin(ROWS, [3, 17]).astype(object), [3, 17]),
    "mask of nobody": (np.zeros(N_SAMPLES, bool), []),
    "slice": (slice(3, 6), [3, 4, 5]),
    "slice of steps": (slice(50, 40, -5), [45, 50]),
    "slice from the end": (slice(-2, None), [58, 59]),
    "slice that ends behind the last": (slice(57, 1000), [57, 58, 59]),
    "slice of nobody": (slice(5, 5), []),
    "slice of NumPy's integers": (slice(np.int64(3), np.uint8(5)), [3, 4]),
}  # fmt: skip


@pytest.mark.parametrize("kind", POSITIONS)
def test_position(fitted, data, kind):
    X, y, _, _ = data
    position, rows = POSITIONS[kind]
    fitted.unlearn(position=position)
    assert fitted.update_report_.n_removed == len(rows)
    assert_fitted_on(fitted, X[without(rows)], y[without(rows)])


@pytest.mark.parametrize("position", [[], np.zeros(0, int)])
def test_no_position_is_nothing_to_do(fitted, position):
    trajectory = fitted.trajectory_
    fitted.unlearn(position=position)
    assert fitted.trajectory_ is trajectory
    assert fitted.update_report_.n_removed == 0
    assert fitted.update_report_.n_steps == 0


@pytest.mark.parametrize(
    "position",
    [
        True, np.True_, [1.0, 2.0], 1.5, ["1"], [None], [[1, 2], [3, 4]], [True, 2],
        [True, None] * 30, np.ones((60, 1), bool), pd.Series([True, pd.NA] * 30),
        pd.Series([1, pd.NA], dtype="Int64"), [2**70, 1.5], "3", slice("a", "b"),
        slice(0.5, 3), slice(0, 9, 0),
    ],
    ids=str,
)  # fmt: skip
def test_position_that_is_no_integer(fitted, unchanged, position):
    with unchanged(fitted), pytest.raises(TypeError, match=r"position .*integers"):
        fitted.unlearn(position=position)


@pytest.mark.parametrize("n_entries", [0, 1, 3, 59, 61])
@pytest.mark.parametrize("kind", [np.array, list, pd.Series])
def test_a_mask_of_another_length(fitted, unchanged, n_entries, kind):
    if n_entries == 0 and kind is list:
        return  # which is a list of nothing
    mask = kind([True] * n_entries) if n_entries else kind([], dtype=bool)
    message = rf"position is a mask of {n_entries} entries.* 60 "
    with unchanged(fitted), pytest.raises(IndexError, match=message):
        fitted.unlearn(position=mask, on_missing="ignore")


def test_a_mask_counts_all_positions_that_were_given_out(fitted, unchanged, data):
    """Those of rows that left and of rows that came, too."""
    X, y, X_new, y_new = data
    fitted.unlearn(position=[3, 17]).partial_refit(X_new[:4], y_new[:4])
    X_all, y_all = np.vstack([X, X_new]), np.append(y, y_new)
    with unchanged(fitted), pytest.raises(IndexError, match="62 entries.* 64 "):
        fitted.unlearn(position=np.ones(62, bool))
    mask = np.isin(np.arange(64), [5, 61])
    fitted.unlearn(position=mask)
    rows = without([3, 5, 17, 61], 64)
    assert_fitted_on(fitted, X_all[rows], y_all[rows])
    # A row that is gone and has a True is asked for as if by its number.
    mask[7] = True
    with unchanged(fitted), pytest.raises(IndexError, match=r"position 5, 61 .*ignore"):
        fitted.unlearn(position=mask)
    fitted.unlearn(position=mask, on_missing="ignore")
    report = fitted.update_report_
    assert (report.n_removed, report.n_not_found) == (1, 2)


def test_a_slice_names_the_rows_that_are_still_there(fitted, data):
    """As a slice of Python does, which ends where the list does."""
    X, y, X_new, y_new = data
    X_all, y_all = np.vstack([X, X_new]), np.append(y, y_new)
    fitted.unlearn(position=[3, 17]).partial_refit(X_new[:4], y_new[:4])
    fitted.unlearn(position=slice(5))
    report = fitted.update_report_
    assert (report.n_removed, report.n_not_found) == (4, 0)
    fitted.unlearn(position=slice(-2, None))  # positions 62 and 63
    rows = without([0, 1, 2, 3, 4, 17, 62, 63], 64)
    assert_fitted_on(fitted, X_all[rows], y_all[rows])
    fitted.unlearn(position=slice(5))
    assert fitted.update_report_.n_removed == 0


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([3, 17]),
        pd.RangeIndex(3),
        pd.RangeIndex(N_SAMPLES),
        pd.Index(["a", "b"]),
        pd.Index([True, False] * 30),
        pd.CategoricalIndex([3, 17]),
        pd.MultiIndex.from_tuples([(3, 17)]),
        pd.DatetimeIndex(["2020-01-01"]),
    ],
    ids=lambda index: f"{type(index).__name__}-{len(index)}-{index.dtype}",
)
def test_an_index_is_no_position(fitted, unchanged, data, index):
    """It holds labels, and a row of another number would leave in silence."""
    X, y, X_new, y_new = data
    n_new = len(index)
    X_new, y_new = np.resize(X_new, (n_new, 10)), np.resize(y_new, n_new)
    ask = r"position .*pandas.*Index.*labels.*sample_id=.*get_indexer"
    with unchanged(fitted):
        for operation in (fitted.unlearn, fitted.partial_unfit, fitted.plan_unfit):
            with pytest.raises(TypeError, match=ask):
                operation(position=index, on_missing="ignore")
        with pytest.raises(TypeError, match=f"remove_{ask}"):
            fitted.partial_refit(remove_position=index)
        with pytest.raises(TypeError, match=ask):
            fitted.partial_refit(X_new, y_new, position=index, replace=True)
    with pytest.raises(TypeError, match=ask.replace("position", "sample_id", 1)):
        fitted.hash_ids(index)  # of positions, where there are no ids


def test_an_index_of_another_library_is_no_position(fitted, unchanged):
    class Index:
        def __array__(self, dtype=None, copy=None):
            return np.array([3, 17])

    class Labels(Index):
        pass

    with unchanged(fitted), pytest.raises(TypeError, match="position .*labels"):
        fitted.unlearn(position=Labels())


@pytest.mark.parametrize("named", [slice(2, 4), np.isin(ROWS, [2, 3])], ids=str)
def test_masks_and_slices_in_other_operations(fitted, data, named):
    X, y, X_new, y_new = data
    assert fitted.plan_unfit(position=named).n_removed == 2
    fitted.partial_refit(X_new[:2], y_new[:2], position=named, replace=True)
    X, y = X.copy(), y.copy()
    X[2:4], y[2:4] = X_new[:2], y_new[:2]
    assert_fitted_on(fitted, X, y)
    fitted.partial_refit(remove_position=named)
    assert_fitted_on(fitted, X[without([2, 3])], y[without([2, 3])])
    with pytest.raises(ValueError, match="position names 3 different rows and X has 2"):
        fitted.partial_refit(X_new[:2], y_new[:2], position=slice(4, 7), replace=True)


@pytest.mark.parametrize(
    "position",
    [
        -1, [3, -60], N_SAMPLES, [2, 10**12], 2**63, 2**64 - 1, [3, 2**64 - 1], 2**70,
        [-1, 2**70], np.array([2**64 - 1], np.uint64), [-(2**63), 2**63],
        np.array([2, 300], np.uint16),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("on_missing", ["raise", "ignore"])
def test_position_that_does_not_exist(fitted, unchanged, position, on_missing):
    wrong = np.atleast_1d(np.asarray(position, object))[-1]
    message = f"{wrong} does not exist.*0 to 59"
    with unchanged(fitted), pytest.raises(IndexError, match=message):
        fitted.unlearn(position=position, on_missing=on_missing)


def test_position_that_is_gone(fitted, unchanged, data):
    X, y, _, _ = data
    fitted.unlearn(position=[3, 17])
    with unchanged(fitted), pytest.raises(IndexError, match=r"position 17 .*ignore"):
        fitted.unlearn(position=[5, 17])
    fitted.unlearn(position=[5, 17], on_missing="ignore")
    assert fitted.update_report_.n_removed == 1
    assert fitted.update_report_.n_not_found == 1
    rows = without([3, 5, 17])
    assert_fitted_on(fitted, X[rows], y[rows])


def test_long_lists_are_cut_in_messages(fitted):
    with pytest.raises(IndexError, match="104 and 15 more") as caught:
        fitted.unlearn(position=range(100, 120))
    assert len(str(caught.value)) < 300


# ---------------------------------------------------------------------------
# By id
# ---------------------------------------------------------------------------

IDS = {
    "int64": np.asarray,
    "int32": lambda ids: np.asarray(ids, np.int32),
    "uint16": lambda ids: np.asarray(ids, np.uint16),
    "list": list,
    "tuple": tuple,
    "object": lambda ids: np.asarray(ids, object),
    "series": lambda ids: pd.Series(ids, index=np.arange(len(ids))[::-1] + 500),
    "index": pd.Index,
    "object series": lambda ids: pd.Series(ids, dtype=object),
    "categorical": lambda ids: pd.Series(ids, dtype="category"),
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("start", [1000, -3])
def test_integer_ids(ridge, data, kind, start):
    if kind == "uint16" and start < 0:
        start = 0
    X, y, _, _ = data
    ids = start + ROWS
    ridge.fit(X, y, sample_id=IDS[kind](ids))
    ridge.unlearn(sample_id=IDS[kind](ids[[40, 2]]))
    assert_fitted_on(ridge, X[without([2, 40])], y[without([2, 40])])
    ridge.unlearn(sample_id=int(ids[5]))
    ridge.unlearn(sample_id=ids[6])
    rows = without([2, 5, 6, 40])
    assert_fitted_on(ridge, X[rows], y[rows])


@pytest.mark.parametrize("kind", sorted(IDS.keys() - {"int64", "int32", "uint16"}))
def test_text_ids(ridge, data, kind):
    X, y, _, _ = data
    ids = np.array(WRITTEN_IDS)
    ridge.fit(X, y, sample_id=IDS[kind](ids.tolist()))
    ridge.unlearn(sample_id=IDS[kind](["person-40", "person-2"]))
    assert_fitted_on(ridge, X[without([2, 40])], y[without([2, 40])])
    ridge.unlearn(sample_id="person-5")
    ridge.unlearn(sample_id=ids[6])
    rows = without([2, 5, 6, 40])
    assert_fitted_on(ridge, X[rows], y[rows])


def test_ids_of_nullable_integers(ridge, data):
    X, y, _, _ = data
    ridge.fit(X, y, sample_id=pd.Series(ROWS, dtype="Int64"))
    ridge.unlearn(sample_id=pd.Series([4], dtype="Int64"))
    assert_fitted_on(ridge, X[without(4)], y[without(4)])


def test_all_rows_of_an_id_leave(fitted_with_ids, data):
    X, y, _, _ = data
    fitted_with_ids.unlearn(sample_id=[3, 8, 3])
    assert fitted_with_ids.update_report_.n_removed == 6
    rows = without([3, 23, 43, 8, 28, 48])
    assert_fitted_on(fitted_with_ids, X[rows], y[rows])


def test_rows_with_ids_can_be_named_otherwise(fitted_with_ids, data):
    X, y, _, _ = data
    fitted_with_ids.unlearn(position=23)
    fitted_with_ids.unlearn(X[[28]], y[[28]])
    fitted_with_ids.unlearn(sample_id=[3, 8])
    assert fitted_with_ids.update_report_.n_removed == 4
    rows = without([3, 23, 43, 8, 28, 48])
    assert_fitted_on(fitted_with_ids, X[rows], y[rows])


def test_the_callers_ids_are_copied(ridge, data):
    X, y, _, _ = data
    ids = ROWS.copy()
    ridge.fit(X, y, sample_id=ids)
    ids[:] = -1
    ridge.unlearn(sample_id=7)
    assert_fitted_on(ridge, X[without(7)], y[without(7)])


@pytest.mark.parametrize("sample_id", [[], np.zeros(0, int)], ids=str)
def test_no_id_is_nothing_to_do(fitted_with_ids, sample_id):
    trajectory = fitted_with_ids.trajectory_
    fitted_with_ids.unlearn(sample_id=sample_id)
    assert fitted_with_ids.trajectory_ is trajectory
    assert fitted_with_ids.update_report_.n_steps == 0


@pytest.mark.parametrize("on_missing", ["raise", "ignore"])
def test_sample_id_where_fit_had_none(fitted, unchanged, on_missing):
    message = r"sample_id was given, but fit was not .*position.*pandas index"
    with unchanged(fitted), pytest.raises(ValueError, match=message):
        fitted.unlearn(sample_id=[3], on_missing=on_missing)


def test_a_pandas_index_is_no_id(ridge, data):
    X, y, _, _ = data
    names = [f"column {number}" for number in range(X.shape[1])]
    frame = pd.DataFrame(X, index=ROWS[::-1], columns=names)
    ridge.fit(frame, pd.Series(y, index=ROWS[::-1]))
    with pytest.raises(ValueError, match="pandas index is not an id"):
        ridge.unlearn(sample_id=[3])
    ridge.unlearn(position=3)
    assert_fitted_on(ridge, frame.iloc[without(3)], y[without(3)])


@pytest.mark.parametrize("sample_id", [[20], [3, 99], -1])
def test_unknown_id(fitted_with_ids, unchanged, sample_id):
    wrong = np.atleast_1d(sample_id)[-1]
    message = f"sample_id {wrong}: no row carries it.*on_missing"
    with unchanged(fitted_with_ids), pytest.raises(KeyError, match=message):
        fitted_with_ids.unlearn(sample_id=sample_id)


def test_id_that_is_gone(fitted_with_ids, unchanged, data):
    X, y, _, _ = data
    fitted_with_ids.unlearn(sample_id=3)
    with unchanged(fitted_with_ids), pytest.raises(KeyError, match="sample_id 3:"):
        fitted_with_ids.unlearn(sample_id=[3, 8])
    fitted_with_ids.unlearn(sample_id=[3, 8], on_missing="ignore")
    assert fitted_with_ids.update_report_.n_removed == 3
    assert fitted_with_ids.update_report_.n_not_found == 1
    rows = without([3, 23, 43, 8, 28, 48])
    assert_fitted_on(fitted_with_ids, X[rows], y[rows])


def test_integers_that_are_too_large_for_ids(ridge, data):
    """They would wrap around to negative ones, and name other rows."""
    X, y, _, _ = data
    for ids in (2**63 + ROWS.astype(np.uint64), [2**70 + int(row) for row in ROWS]):
        with pytest.raises((ValueError, OverflowError), match="sample_id"):
            ridge.fit(X, y, sample_id=ids)
    ridge.fit(X, y, sample_id=ROWS)
    with pytest.raises((ValueError, OverflowError, KeyError), match="sample_id"):
        ridge.unlearn(sample_id=2**64 + 3)


@pytest.mark.parametrize("kind", [list, np.array])
def test_ids_that_are_too_long_are_refused(ridge, data, kind):
    """One would give all others its width: 40 kB for each of a million rows."""
    X, y = data[:2]
    ids = [f"user-{i}" for i in range(len(X))]
    ids[3] = "x" * 128
    model = ridge.fit(X, y, sample_id=kind(ids))
    ids[3] = "x" * 129
    message = "sample_id holds an id of 129 characters, 'xxxxxxxxxxxxxxxxxxxx'"
    with pytest.raises(ValueError, match=message):
        clone(ridge).fit(X, y, sample_id=kind(ids))
    coef = model.coef_.copy()
    with pytest.raises(ValueError, match="hashlib"):
        model.partial_refit(X[:2], y[:2], sample_id=kind(["a", "y" * 500]))
    assert_array_equal(model.coef_, coef)
    with pytest.raises(KeyError, match="no row carries it"):
        model.unlearn(sample_id="y" * 500)
    model.unlearn(sample_id=kind(["x" * 128, "y" * 500]), on_missing="ignore")
    assert model.update_report_.n_removed == 1


def test_a_long_id_among_many_takes_no_memory_before_it_is_refused():
    ids = [f"user-{i}" for i in range(1_000)]
    ids[7] = "x" * 10**5
    tracemalloc.start()
    with pytest.raises(ValueError, match="100,000 characters"):
        check_ids(ids, n_rows=1_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**6


def test_ids_are_as_wide_as_the_longest_one_only(ridge, data):
    X, y = data[:2]
    ids = np.array([f"{i:03d}" for i in range(len(X))], "U5000")
    model = ridge.fit(X, y, sample_id=ids)
    assert model._training_set.table.ids.dtype == "U3"


def test_unknown_text_id_is_quoted(ridge, data):
    X, y, _, _ = data
    ridge.fit(X, y, sample_id=WRITTEN_IDS)
    with pytest.raises(KeyError) as caught:
        ridge.unlearn(sample_id=["person-1", "person-x"])
    assert caught.value.args[0].startswith("sample_id 'person-x': no row carries it")


NUL_IDS = {
    "list": ["a", "a\0"],
    "within": ["a", "b\0c"],
    "object array": np.array(["a", "a\0"], object),
    "array": np.array(["a", "b\0c"]),
    "array with a NUL in front": np.array(["a", "\0b"]),
    "variable width": np.array(["a", "a\0"], np.dtypes.StringDType()),
    "series": pd.Series(["a", "a\0"]),
    "object series": pd.Series(["a", "a\0"], dtype=object),
}


@pytest.mark.parametrize("kind", NUL_IDS)
def test_ids_with_nul_characters(ridge, unchanged, data, kind):
    """NumPy pads strings by them: "a" and "a\0" would be the same id."""
    X, y, X_new, y_new = data
    ids = NUL_IDS[kind]
    with pytest.raises(ValueError, match=r"sample_id .*'(a\\x00|b\\x00c|\\x00b)'.*NUL"):
        ridge.fit(X[:2], y[:2], sample_id=ids)
    ridge.fit(X, y, sample_id=WRITTEN_IDS)
    with unchanged(ridge):
        with pytest.raises(ValueError, match="sample_id .*NUL"):
            ridge.unlearn(sample_id=ids, on_missing="ignore")
        with pytest.raises(ValueError, match="sample_id .*NUL"):
            ridge.partial_refit(X_new[:2], y_new[:2], sample_id=ids)
        with pytest.raises(ValueError, match="remove_id .*NUL"):
            ridge.partial_refit(remove_id=ids, on_missing="ignore")


@pytest.mark.parametrize("one", ["a\0", "\0"])
def test_one_id_with_a_nul_character(ridge, unchanged, data, one):
    X, y, _, _ = data
    ridge.fit(X[:2], y[:2], sample_id=["a", "b"])
    with unchanged(ridge), pytest.raises(ValueError, match="sample_id .*NUL"):
        ridge.unlearn(sample_id=one)
    with pytest.raises(ValueError, match="sample_id .*NUL"):
        ridge.hash_ids(one)


@pytest.mark.parametrize("request_", ["content", "position", "sample_id"])
def test_a_retried_request_does_nothing(fitted_with_ids, data, request_):
    X, y, _, _ = data
    arguments = {
        "content": {"X": X[[3, 23, 43]], "y": y[[3, 23, 43]]},
        "position": {"position": [3, 23, 43]},
        "sample_id": {"sample_id": 3},
    }[request_]
    fitted_with_ids.unlearn(**arguments, on_missing="ignore")
    trajectory, coef = fitted_with_ids.trajectory_, fitted_with_ids.coef_
    fitted_with_ids.unlearn(**arguments, on_missing="ignore")
    assert fitted_with_ids.trajectory_ is trajectory
    assert fitted_with_ids.coef_ is coef
    report = fitted_with_ids.update_report_
    assert report.operation == "unlearn"
    assert (report.n_removed, report.n_steps, report.n_samples) == (0, 0, 57)
    assert report.n_not_found == (1 if request_ == "sample_id" else 3)


MIXED_IDS = {
    "int and str": [1, "b"],
    "str and int": ["1", 2],
    "float": [1.0, 2.0],
    "int and float": [1, 2.5],
    "float array": np.array([1.0, 2.0]),
    "bool": [True, False],
    "bool array": np.array([True, False]),
    "int and bool": [1, True],
    "None": ["a", None],
    "NaN": ["a", np.nan],
    "bytes": [b"a", b"b"],
    "dates": np.array(["2020-01-01", "2020-01-02"], "datetime64[D]"),
    "series": pd.Series([1, "b"]),
}


@pytest.mark.parametrize("kind", MIXED_IDS)
def test_mixed_ids_in_fit(ridge, data, kind):
    X, y, _, _ = data
    with pytest.raises(TypeError, match=r"sample_id must hold integers only or str"):
        ridge.fit(X[:2], y[:2], sample_id=MIXED_IDS[kind])
    assert not hasattr(ridge, "coef_")


@pytest.mark.parametrize("kind", MIXED_IDS)
def test_mixed_ids_in_requests(fitted_with_ids, unchanged, data, kind):
    ids = MIXED_IDS[kind]
    _, _, X_new, y_new = data
    with unchanged(fitted_with_ids):
        with pytest.raises(TypeError, match="sample_id must hold"):
            fitted_with_ids.unlearn(sample_id=ids)
        with pytest.raises(TypeError, match="sample_id must hold"):
            fitted_with_ids.partial_refit(X_new[:2], y_new[:2], sample_id=ids)
        with pytest.raises(TypeError, match="remove_id must hold"):
            fitted_with_ids.partial_refit(remove_id=ids)


@pytest.mark.parametrize(
    ("of_fit", "of_request"), [(ROWS, ["1", "2"]), (WRITTEN_IDS, [1, 2])]
)
def test_ids_of_the_other_type(ridge, unchanged, data, of_fit, of_request):
    X, y, X_new, y_new = data
    ridge.fit(X, y, sample_id=of_fit)
    kinds = ("str", "int") if of_fit is ROWS else ("int", "str")
    message = "holds {} ids, but those given to fit were {}".format(*kinds)
    with unchanged(ridge):
        with pytest.raises(TypeError, match=f"sample_id {message}"):
            ridge.unlearn(sample_id=of_request)
        with pytest.raises(TypeError, match=f"sample_id {message}"):
            ridge.partial_refit(X_new[:2], y_new[:2], sample_id=of_request)
        with pytest.raises(TypeError, match=f"remove_id {message}"):
            ridge.partial_refit(remove_id=of_request)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (ROWS[:-1], "sample_id has 59 entries and X has 60 rows"),
        (ROWS.reshape(-1, 1), r"sample_id must be one-dimensional, got .*\(60, 1\)"),
        (5, "sample_id has 1 entries and X has 60 rows"),
    ],
)
def test_ids_of_the_wrong_shape(ridge, data, ids, message):
    X, y, _, _ = data
    with pytest.raises(ValueError, match=message):
        ridge.fit(X, y, sample_id=ids)


# ---------------------------------------------------------------------------
# By content
# ---------------------------------------------------------------------------


def test_content(fitted, data):
    X, y, _, _ = data
    fitted.unlearn(X[[17, 3]], y[[17, 3]])
    assert fitted.update_report_.n_removed == 2
    assert fitted.update_report_.indexed
    assert_fitted_on(fitted, X[without([3, 17])], y[without([3, 17])])
    fitted.unlearn(X[[4]], y[[4]])
    assert not fitted.update_report_.indexed


def test_content_of_all_kinds_of_array(fitted, data):
    X, y, _, _ = data
    fitted.unlearn(X[[3]].tolist(), y[[3]].tolist())
    fitted.unlearn(np.asfortranarray(X[[4, 17]]), y[[4, 17]].reshape(-1, 1))
    fitted.unlearn(pd.DataFrame(X[[5]]), pd.Series(y[[5]], index=[99]))
    fitted.unlearn(sparse.csr_array(X[[6]]), y[[6]])
    rows = without([3, 4, 5, 6, 17])
    assert_fitted_on(fitted, X[rows], y[rows])


def test_content_from_a_frame(ridge, data):
    X, y, _, _ = data
    names = [f"column {number}" for number in range(X.shape[1])]
    frame, target = pd.DataFrame(X, ROWS + 100, names), pd.Series(y, ROWS + 100)
    ridge.fit(frame, target)
    ridge.unlearn(frame.loc[[107, 103]], target.loc[[107, 103]])
    assert_fitted_on(ridge, frame.iloc[without([3, 7])], y[without([3, 7])])
    with pytest.raises(ValueError, match="feature names"):
        ridge.unlearn(frame[names[::-1]].iloc[[9]], target.iloc[[9]])


def test_content_with_the_wrong_target(fitted, unchanged, data):
    X, y, _, _ = data
    with unchanged(fitted):
        with pytest.raises(ValueError, match=r"X\[1\].*is not among the 60 training"):
            fitted.unlearn(X[[3, 17]], y[[3, 18]])
        with pytest.raises(ValueError, match=r"X\[0, 1\], with its y"):
            fitted.unlearn(X[[3, 17]], y[[17, 3]])


def test_same_row_with_another_target(ridge, data):
    X, y, _, _ = data
    X, y = np.vstack([X, X[[7]]]), np.append(y, y[7] + 1)
    ridge.fit(X, y)
    ridge.unlearn(X[[7]], [y[7] + 1])
    assert_fitted_on(ridge, X[:-1], y[:-1])
    with pytest.raises(ValueError, match="is not among"):
        ridge.unlearn(X[[7]], [y[7] + 1])
    ridge.unlearn(X[[7]], y[[7]])
    assert_fitted_on(ridge, X[without(7)], y[without(7)])


@pytest.mark.parametrize("label", ["blue", "", "zzz"])
def test_unknown_label(labelled, unchanged, label):
    X, y = labelled
    model = DeltaGradLogisticRegression(solver="gd", max_iter=10).fit(X, y)
    with unchanged(model), pytest.raises(ValueError, match=r"X\[0\], with its y"):
        model.unlearn(X[[0]], [label])
    model.unlearn(X[[0]], [label], on_missing="ignore")
    assert model.update_report_.n_not_found == 1


@pytest.mark.parametrize("labels", ["text", "numbers"])
def test_labels_of_another_kind(data, unchanged, labels):
    X, y, *_ = data
    y = np.where(y > 0, *(["yes", "no"] if labels == "text" else [1, 0]))
    model = DeltaGradLogisticRegression().fit(X, y)
    other = [1] if labels == "text" else ["yes"]
    message = f"y must contain labels like those of fit, .*{y[0]}.*, got {other[0]!r}"
    for edit in (model.unlearn, model.partial_refit, model.plan_unfit):
        with unchanged(model), pytest.raises(ValueError, match=message):
            edit(X[:1], other)


def test_one_of_several_rows_of_an_id_is_corrected(data):
    X, y, X_new, y_new = data
    model = DeltaGradRidge().fit(X, y, sample_id=np.arange(len(y)) // 2)
    correction = {"position": 5, "sample_id": [2], "replace": True}
    model.partial_refit(X_new[:1], y_new[:1], **correction)
    assert model.update_report_.n_removed == model.update_report_.n_added == 1
    X, y = X.copy(), y.copy()
    X[5], y[5] = X_new[0], y_new[0]
    assert_fitted_on(model, X, y)
    model.unlearn(sample_id=2)
    assert model.update_report_.n_removed == 2


def test_a_row_of_somebody_else_is_not_replaced(data, unchanged):
    X, y, X_new, y_new = data
    model = DeltaGradRidge().fit(X, y, sample_id=np.arange(len(y)) // 2)
    message = "position 6 is of sample_id 3, and the rows that replace it of 2"
    with unchanged(model), pytest.raises(ValueError, match=message):
        model.partial_refit(
            X_new[:2], y_new[:2], position=[5, 6], sample_id=[2, 2], replace=True
        )


@pytest.mark.parametrize("on_missing", ["raise", "ignore"])
def test_row_that_is_not_there(fitted, unchanged, data, on_missing):
    X, y, X_new, y_new = data
    wanted, targets = np.vstack([X[:2], X_new[:2]]), np.append(y[:2], y_new[:2])
    if on_missing == "raise":
        message = r"X\[2, 3\].*nothing is changed.*on_missing"
        with unchanged(fitted), pytest.raises(ValueError, match=message):
            fitted.unlearn(wanted, targets)
        return
    fitted.unlearn(wanted, targets, on_missing="ignore")
    assert fitted.update_report_.n_removed == 2
    assert fitted.update_report_.n_not_found == 2
    assert_fitted_on(fitted, X[2:], y[2:])


def test_a_row_that_is_nearly_there(fitted, unchanged, data):
    X, y, _, _ = data
    other = X[[3]].copy()
    other[0, 4] *= 1 + 1e-9
    with unchanged(fitted), pytest.raises(ValueError, match="is not among"):
        fitted.unlearn(other, y[[3]])


@pytest.mark.parametrize("n_wanted", [1, 2, 3, 4])
def test_copies_leave_one_by_one(ridge, unchanged, data, n_wanted):
    X, y, _, _ = data
    copies = np.append(ROWS, [7, 7])
    ridge.fit(X[copies], y[copies])
    request = X[[7] * n_wanted], y[[7] * n_wanted]
    if n_wanted == 4:
        with unchanged(ridge), pytest.raises(ValueError, match=r"X\[3\]"):
            ridge.unlearn(*request)
    ridge.unlearn(*request, on_missing="ignore")
    n_removed = min(n_wanted, 3)
    assert ridge.update_report_.n_removed == n_removed
    assert ridge.update_report_.n_not_found == n_wanted - n_removed
    left = np.append(without(7), np.full(3 - n_removed, 7))
    assert_fitted_on(ridge, X[left], y[left])


@pytest.mark.parametrize("n_stored", [1, 2])
def test_copies_that_differ_in_the_last_bits(ridge, unchanged, data, n_stored):
    """Two rows of a request that are nearly equal still are two rows."""
    X, y, _, _ = data
    copies = np.append(ROWS, [7] * (n_stored - 1)).astype(int)
    ridge.fit(X[copies], y[copies])
    request = np.vstack([X[7], X[7] * (1 + 1e-15)])
    assert (request[0] != request[1]).any()
    if n_stored == 1:
        with unchanged(ridge), pytest.raises(ValueError, match=r"X\[1\], with its y"):
            ridge.unlearn(request, y[[7, 7]])
    else:
        ridge.unlearn(request, y[[7, 7]])
        assert_fitted_on(ridge, X[without(7)], y[without(7)])


def test_copies_of_different_weight(ridge, unchanged, data):
    X, y, _, _ = data
    copies, weight = np.append(ROWS, [7, 7]), np.ones(N_SAMPLES + 2)
    weight[-2:] = [2.0, 3.0]
    ridge.fit(X[copies], y[copies], weight)
    ridge.unlearn(X[[7]], y[[7]], sample_weight=[3.0])
    assert_fitted_on(ridge, X[copies[:-1]], y[copies[:-1]], weight[:-1])
    message = r"X\[0\], with its y and sample_weight"
    with unchanged(ridge), pytest.raises(ValueError, match=message):
        ridge.unlearn(X[[7]], y[[7]], sample_weight=[3.0])


def test_weights_in_requests_are_those_of_fit_under_class_weight(labelled):
    X, y = labelled
    weight = np.where(np.arange(len(y)) % 2, 1.0, 2.0)
    model = DeltaGradLogisticRegression(
        solver="gd", class_weight={"red": 3.0, "rose": 0.5, "white": 7.0}, max_iter=10
    ).fit(X, y, weight)
    model.unlearn(X[:4], y[:4], sample_weight=weight[:4])
    assert model.update_report_.n_removed == 4
    with pytest.raises(ValueError, match="sample_weight"):
        model.unlearn(X[4:5], y[4:5], sample_weight=3 * weight[4:5])


TRANSFORMERS = {
    "StandardScaler": StandardScaler(),
    "MinMaxScaler": MinMaxScaler((-3, 5)),
    "PCA": PCA(random_state=0),
    "PCA, whitened": PCA(5, whiten=True, random_state=0),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_that_were_transformed_alone(ridge, name, dtype):
    X, y = load_diabetes(return_X_y=True)
    X, y = X.astype(dtype), scale(y)
    transformer = clone(TRANSFORMERS[name]).fit(X)
    ridge.set_params(learning_rate="auto").fit(transformer.transform(X), y)
    for rows in (slice(3), slice(100, 101), slice(7, 50)):
        ridge.unlearn(transformer.transform(X[rows]), y[rows])
    assert ridge.update_report_.n_samples == len(X) - 3 - 1 - 43


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_float32_rows_asked_for_in_float64(ridge, data, convert):
    X, y, _, _ = data
    stored = convert(X.astype(np.float32))
    ridge.fit(stored, y)
    ridge.unlearn(X[[3, 17]], y[[3, 17]])
    assert ridge.coef_.dtype == np.float64
    fresh = clone(ridge).fit(stored[without([3, 17])], y[without([3, 17])])
    assert_allclose(ridge.coef_, fresh.coef_, rtol=1e-6)


@pytest.fixture(scope="module")
def sparse_data():
    """Sparse rows, with one of zeros only, one twice, and explicit zeros."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_SAMPLES, 12)) * (rng.uniform(size=(N_SAMPLES, 12)) < 0.3)
    X[11], X[12] = 0, X[13]
    y = X @ rng.normal(size=12)
    y[12] = y[13]
    return X, y


@pytest.mark.parametrize("stored", [np.asarray, sparse.csr_matrix, sparse.csr_array])
@pytest.mark.parametrize(
    "given",
    [
        np.asarray, sparse.csr_matrix, sparse.csr_array, sparse.csc_array,
        sparse.coo_matrix, sparse.lil_array,
    ],
)  # fmt: skip
def test_storage_and_request_of_any_kind(ridge, sparse_data, stored, given):
    X, y = sparse_data
    ridge.fit(stored(X), y)
    for rows in ([3, 17], [11], [13]):
        ridge.unlearn(given(X[rows]), y[rows])
    rows = without([3, 11, 13, 17])
    assert_fitted_on(ridge, stored(X[rows]), y[rows])
    ridge.partial_refit(given(X[[3, 11]]), y[[3, 11]])
    ridge.unlearn(given(X[[11]]), y[[11]])
    rows = np.append(rows, 3)
    assert_fitted_on(ridge, stored(X[rows]), y[rows])


def test_sparse_requests_that_are_not_canonical(ridge, sparse_data):
    X, y = sparse_data
    stored = sparse.csr_array(X)
    stored.data[5] = 0.0  # stored explicitly
    X = stored.toarray()
    ridge.fit(stored, y)
    row = sparse.csr_array(X[[3]])
    columns, values = row.indices[::-1], row.data[::-1]
    halves = np.repeat(values / 2, 2), (np.zeros(2 * len(values)), columns.repeat(2))
    unsorted = sparse.csr_array((values, columns, row.indptr), shape=row.shape)
    assert not unsorted.has_sorted_indices
    ridge.unlearn(unsorted, y[[3]])
    assert_array_equal(unsorted.indices, columns)  # the caller's matrix is not sorted
    ridge.partial_refit(sparse.coo_array(halves, shape=row.shape), y[[3]])
    ridge.unlearn(X[[3]], y[[3]])
    assert_fitted_on(ridge, sparse.csr_array(X[without(3)]), y[without(3)])


def test_targets_of_many_outputs(ridge, unchanged, data):
    X, y, _, _ = data
    Y = np.column_stack([y, y[::-1]])
    ridge.fit(X, Y)
    ridge.unlearn(X[[3, 17]], Y[[3, 17]])
    assert_fitted_on(ridge, X[without([3, 17])], Y[without([3, 17])])
    with unchanged(ridge):
        with pytest.raises(ValueError, match="is not among"):
            ridge.unlearn(X[[5]], Y[[5]][:, ::-1])
        with pytest.raises(ValueError, match="y has 1 target, and fit was given 2"):
            ridge.unlearn(X[[5]], y[[5]])


# ---------------------------------------------------------------------------
# After edits
# ---------------------------------------------------------------------------


def test_positions_count_on(fitted, data):
    X, y, X_new, y_new = data
    X_all, y_all = np.vstack([X, X_new]), np.append(y, y_new)
    fitted.unlearn(position=[58, 59])
    fitted.partial_refit(X_new[:4], y_new[:4])
    fitted.unlearn(position=61)
    fitted.partial_refit(X_new[4:6], y_new[4:6])
    fitted.unlearn(position=[60, 65])
    rows = np.append(np.arange(58), [62, 63, 64])
    assert_fitted_on(fitted, X_all[rows], y_all[rows])
    with pytest.raises(IndexError, match="66 does not exist.*from 0 to 65"):
        fitted.unlearn(position=66)


def test_added_rows_are_found_by_content(fitted, data):
    X, y, X_new, y_new = data
    fitted.unlearn(X[[3]], y[[3]])  # indexes the rows
    fitted.partial_refit(X_new, y_new)
    fitted.unlearn(X_new[:9], y_new[:9])
    X_left, y_left = (
        np.vstack([X[without(3)], X_new[9:]]),
        np.append(y[without(3)], y_new[9:]),
    )
    assert_fitted_on(fitted, X_left, y_left)
    with pytest.raises(ValueError, match=r"X\[0, 1\]"):
        fitted.unlearn(np.vstack([X[[3]], X_new[[0]]]), [y[3], y_new[0]])


def test_a_row_that_came_back(fitted, data):
    X, y, _, _ = data
    for _ in range(3):
        fitted.unlearn(X[[3]], y[[3]])
        fitted.partial_refit(X[[3]], y[[3]])
    order = np.append(without(3), 3)
    assert_fitted_on(fitted, X[order], y[order])
    with pytest.raises(IndexError, match="3, 60"):
        fitted.unlearn(position=[3, 60, 62])


def test_added_rows_carry_ids(fitted_with_ids, data):
    X, y, X_new, y_new = data
    fitted_with_ids.unlearn(sample_id=19)  # indexes the ids
    fitted_with_ids.partial_refit(X_new[:4], y_new[:4], sample_id=[3, 77, 77, -5])
    fitted_with_ids.unlearn(sample_id=[3, 77])
    assert fitted_with_ids.update_report_.n_removed == 6
    rows = without([3, 23, 43, 19, 39, 59])
    assert_fitted_on(
        fitted_with_ids, np.vstack([X[rows], X_new[[3]]]), np.append(y[rows], y_new[3])
    )
    with pytest.raises(KeyError, match="sample_id 77"):
        fitted_with_ids.unlearn(sample_id=77)


def test_longer_text_ids_are_not_cut(ridge, data):
    X, y, X_new, y_new = data
    ridge.fit(X, y, sample_id=WRITTEN_IDS)
    long = "person-1" + 30 * "0"
    ridge.partial_refit(X_new[:2], y_new[:2], sample_id=[long, long + "1"])
    ridge.unlearn(sample_id=long)
    assert ridge.update_report_.n_removed == 1
    with pytest.raises(KeyError):
        ridge.unlearn(sample_id=long[:11])
    ridge.unlearn(sample_id=[long + "1", "person-1"])
    assert_fitted_on(ridge, X[without(1)], y[without(1)])


def test_an_id_comes_back_with_new_rows(fitted_with_ids, data):
    X, y, X_new, y_new = data
    fitted_with_ids.unlearn(sample_id=3)
    fitted_with_ids.partial_refit(X_new[:2], y_new[:2], sample_id=[3, 3])
    fitted_with_ids.unlearn(sample_id=3)
    assert fitted_with_ids.update_report_.n_removed == 2
    rows = without([3, 23, 43])
    assert_fitted_on(fitted_with_ids, X[rows], y[rows])


def test_replaced_rows_carry_ids(fitted_with_ids, data):
    X, y, X_new, y_new = data
    ids = [3, 3, 8, 8]
    fitted_with_ids.partial_refit(X_new[:4], y_new[:4], sample_id=ids, replace=True)
    fitted_with_ids.unlearn(sample_id=8)
    assert fitted_with_ids.update_report_.n_removed == 2
    rows = without([3, 23, 43, 8, 28, 48])
    assert_fitted_on(
        fitted_with_ids,
        np.vstack([X[rows], X_new[:2]]),
        np.append(y[rows], y_new[:2]),
    )


def test_ids_survive_a_retraining(fitted_with_ids, data):
    X, y, _, _ = data
    fitted_with_ids.unlearn(position=3).partial_refit()
    fitted_with_ids.unlearn(sample_id=3)
    rows = without([3, 23, 43])
    assert_fitted_on(fitted_with_ids, X[rows], y[rows])


def test_ids_survive_a_change_of_classes(labelled):
    X, y = labelled
    model = DeltaGradLogisticRegression(solver="gd", period=1, max_iter=10)
    ids = np.array([f"{label} {i}" for i, label in enumerate(y)])
    model.fit(X, y, sample_id=ids)
    model.unlearn(sample_id=ids[y == "rose"])
    model.partial_refit(X[y == "rose"], y[y == "rose"], sample_id=ids[y == "rose"])
    model.unlearn(sample_id=[ids[0], ids[y == "rose"][1]])
    assert model.update_report_.n_removed == 2
    model.unlearn(X[y == "rose"][:1], ["rose"])
    order = np.append(np.flatnonzero(y != "rose")[1:], np.flatnonzero(y == "rose")[2:])
    fresh = clone(model).set_params(learning_rate=model.learning_rate_)
    model_rate = fresh.fit(X[order], y[order])
    assert_allclose(model.coef_, model_rate.coef_, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------------------
# partial_refit
# ---------------------------------------------------------------------------


def test_add(fitted, data):
    X, y, X_new, y_new = data
    fitted.partial_refit(X_new, y_new)
    report = fitted.update_report_
    assert (report.n_removed, report.n_added, report.n_samples) == (0, 10, 70)
    assert_fitted_on(fitted, np.vstack([X, X_new]), np.append(y, y_new))


@pytest.mark.parametrize("weight", [None, 2.5, np.arange(1.0, 11.0)])
def test_add_with_weights(fitted, data, weight):
    X, y, X_new, y_new = data
    fitted.partial_refit(X_new, y_new, sample_weight=weight)
    weights = np.ones(70)
    weights[60:] = 1.0 if weight is None else weight
    assert_fitted_on(fitted, np.vstack([X, X_new]), np.append(y, y_new), weights)


@pytest.mark.parametrize("n_new", [1, 2, 3, 4, 6])
def test_replace_by_id(fitted_with_ids, data, n_new):
    """Id 3 has three rows; fewer, as many, or more take their place."""
    X, y, X_new, y_new = data
    fitted_with_ids.partial_refit(
        X_new[:n_new], y_new[:n_new], sample_id=[3] * n_new, replace=True
    )
    report = fitted_with_ids.update_report_
    assert (report.n_removed, report.n_added) == (3, n_new)
    rows = without([3, 23, 43])
    assert_fitted_on(
        fitted_with_ids,
        np.vstack([X[rows], X_new[:n_new]]),
        np.append(y[rows], y_new[:n_new]),
    )
    # The first ones took over positions 3, 23 and 43, the others count on.
    positions = [3, 23, 43, 60, 61, 62]
    last = fitted_with_ids.unlearn(position=positions[n_new - 1])
    assert last.update_report_.n_removed == 1
    for position in positions[n_new:]:
        with pytest.raises(IndexError):
            fitted_with_ids.unlearn(position=position)
    assert_fitted_on(
        fitted_with_ids,
        np.vstack([X[rows], X_new[: n_new - 1]]),
        np.append(y[rows], y_new[: n_new - 1]),
    )


def test_replace_by_several_ids(fitted_with_ids, data):
    X, y, X_new, y_new = data
    ids = [8, 3, 8, 8, 3]
    fitted_with_ids.partial_refit(X_new[:5], y_new[:5], sample_id=ids, replace=True)
    # In order of the rows: id 8 was at 8, 28, 48 and id 3 at 3, 23, 43.
    X, y = X.copy(), y.copy()
    X[[8, 3, 28, 48, 23]], y[[8, 3, 28, 48, 23]] = X_new[:5], y_new[:5]
    assert_fitted_on(fitted_with_ids, X[without(43)], y[without(43)])
    fitted_with_ids.unlearn(position=[28, 23])
    rows = without([43, 28, 23])
    assert_fitted_on(fitted_with_ids, X[rows], y[rows])


def test_replace_by_position(fitted, data):
    X, y, X_new, y_new = data
    fitted.partial_refit(X_new[:3], y_new[:3], replace=True, position=[17, 3, 59])
    report = fitted.update_report_
    assert (report.n_removed, report.n_added, report.n_samples) == (3, 3, 60)
    X, y = X.copy(), y.copy()
    X[[17, 3, 59]], y[[17, 3, 59]] = X_new[:3], y_new[:3]
    assert_fitted_on(fitted, X, y)
    fitted.unlearn(position=17)
    assert_fitted_on(fitted, X[without(17)], y[without(17)])


@pytest.mark.parametrize("by", ["position", "id"])
def test_a_corrected_row_keeps_its_position(data, by):
    """With mini-batches a position says which batches a row belongs to."""
    X, y, X_new, y_new = data
    model = DeltaGradRidge(
        solver="sgd", period=1, learning_rate=0.05, max_iter=5, batch_size=7,
        random_state=0,
    )  # fmt: skip
    if by == "position":
        model.fit(X, y)
        rows, names = [17, 3, 50], {"position": [17, 3, 50]}
    else:
        model.fit(X, y, sample_id=ROWS % 20)
        rows, names = [8, 28, 48], {"sample_id": [8, 8, 8]}
    corrected, targets = X.copy(), y.copy()
    # Twice: the rows that took over the positions are replaced in their turn.
    for new in (slice(0, 3), slice(3, 6)):
        model.partial_refit(X_new[new], y_new[new], replace=True, **names)
        corrected[rows], targets[rows] = X_new[new], y_new[new]
        assert_fitted_on(model, corrected, targets)


def test_replace_an_id_that_is_not_there(fitted_with_ids, unchanged, data):
    X, y, X_new, y_new = data
    request = {"sample_id": [3, 99], "replace": True}
    with unchanged(fitted_with_ids), pytest.raises(KeyError, match="sample_id 99"):
        fitted_with_ids.partial_refit(X_new[:2], y_new[:2], **request)
    fitted_with_ids.partial_refit(X_new[:2], y_new[:2], **request, on_missing="ignore")
    report = fitted_with_ids.update_report_
    assert (report.n_removed, report.n_added, report.n_not_found) == (3, 2, 1)
    rows = without([3, 23, 43])
    assert_fitted_on(
        fitted_with_ids, np.vstack([X[rows], X_new[:2]]), np.append(y[rows], y_new[:2])
    )


def test_replace_a_position_that_is_gone(fitted, unchanged, data):
    """The new row is added in any case, says `partial_refit`."""
    X, y, X_new, y_new = data
    fitted.unlearn(position=17)
    request = {"position": [3, 17], "replace": True}
    with unchanged(fitted), pytest.raises(IndexError, match="position 17"):
        fitted.partial_refit(X_new[:2], y_new[:2], **request)
    fitted.partial_refit(X_new[:2], y_new[:2], **request, on_missing="ignore")
    report = fitted.update_report_
    assert (report.n_removed, report.n_added, report.n_not_found) == (1, 2, 1)
    rows = without([3, 17])
    assert_fitted_on(
        fitted, np.vstack([X[rows], X_new[:2]]), np.append(y[rows], y_new[:2])
    )


@pytest.mark.parametrize("by", ["remove_position", "remove_id"])
@pytest.mark.parametrize("with_rows", [True, False])
def test_remove_in_the_same_go(fitted_with_ids, data, by, with_rows):
    X, y, X_new, y_new = data
    removed = {"remove_position": [40, 0, 20], "remove_id": 0}[by]
    if with_rows:
        fitted_with_ids.partial_refit(
            X_new, y_new, sample_id=np.arange(10), **{by: removed}
        )
    else:
        X_new, y_new = X_new[:0], y_new[:0]
        fitted_with_ids.partial_refit(**{by: removed})
    report = fitted_with_ids.update_report_
    assert report.operation == "partial_refit"
    assert (report.n_removed, report.n_added) == (3, len(X_new))
    rows = without([0, 20, 40])
    assert_fitted_on(
        fitted_with_ids, np.vstack([X[rows], X_new]), np.append(y[rows], y_new)
    )


def test_the_new_rows_of_an_id_stay_when_its_old_ones_leave(fitted_with_ids, data):
    X, y, X_new, y_new = data
    fitted_with_ids.partial_refit(X_new[:2], y_new[:2], sample_id=[0, 0], remove_id=[0])
    rows = without([0, 20, 40])
    assert_fitted_on(
        fitted_with_ids, np.vstack([X[rows], X_new[:2]]), np.append(y[rows], y_new[:2])
    )


def test_remove_by_position_and_by_id_at_once(fitted_with_ids, data):
    X, y, X_new, y_new = data
    fitted_with_ids.partial_refit(
        X_new[:1], y_new[:1], sample_id=[5], replace=True, remove_id=[0],
        remove_position=[20, 5, 7],
    )  # fmt: skip
    report = fitted_with_ids.update_report_
    assert (report.n_removed, report.n_added) == (7, 1)
    rows = without([0, 20, 40, 5, 25, 45, 7])
    assert_fitted_on(
        fitted_with_ids, np.vstack([X[rows], X_new[:1]]), np.append(y[rows], y_new[:1])
    )


def test_removed_rows_that_are_not_there(fitted_with_ids, unchanged, data):
    X, y, X_new, y_new = data
    fitted_with_ids.unlearn(sample_id=0)
    with unchanged(fitted_with_ids):
        with pytest.raises(KeyError, match="remove_id 0, 99"):
            fitted_with_ids.partial_refit(
                X_new[:1], y_new[:1], sample_id=[0], remove_id=[1, 0, 99]
            )
        with pytest.raises(IndexError, match="remove_position 20"):
            fitted_with_ids.partial_refit(remove_position=[20, 1])
    fitted_with_ids.partial_refit(
        X_new[:1], y_new[:1], sample_id=[0], remove_id=[0, 99], on_missing="ignore",
        remove_position=[40, 1],
    )  # fmt: skip
    report = fitted_with_ids.update_report_
    assert (report.n_removed, report.n_added, report.n_not_found) == (1, 1, 3)
    rows = without([0, 20, 40, 1])
    assert_fitted_on(
        fitted_with_ids, np.vstack([X[rows], X_new[:1]]), np.append(y[rows], y_new[:1])
    )


@pytest.mark.parametrize(
    "batches", [{"solver": "gd"}, {"solver": "sgd", "batch_size": 25}]
)
def test_without_rows_the_run_is_trained_anew(data, batches):
    X, y, _, _ = data
    model = DeltaGradRidge(
        learning_rate=0.05, max_iter=30, burn_in=2, **batches,
        period=10, random_state=0,
    )  # fmt: skip
    model.fit(X, y).unlearn(position=ROWS[:30:3])
    exact = deepcopy(model).partial_refit()
    report = exact.update_report_
    assert report.operation == "partial_refit"
    assert report.n_exact_steps == report.n_steps > 0
    assert (report.n_removed, report.n_added, report.n_samples) == (0, 0, 50)
    always_exact = clone(model).set_params(period=1)
    always_exact.fit(X, y).unlearn(position=ROWS[:30:3])
    assert_allclose(exact.coef_, always_exact.coef_, rtol=1e-12)
    assert np.abs(model.coef_ - exact.coef_).max() > 1e-8
    assert exact.trajectory_.exact.all()
    assert not model.trajectory_.exact.all()


# ---------------------------------------------------------------------------
# Combinations that make no sense
# ---------------------------------------------------------------------------

UNFIT_ERRORS = {
    "nothing": ({}, "exactly one of X .*position and sample_id; got 0"),
    "X and position": ("X y position", "exactly one of X .*; got 2"),
    "X and sample_id": ("X y sample_id", "exactly one of X .*; got 2"),
    "position and sample_id": ("position sample_id", "exactly one of X .*; got 2"),
    "all": ("X y position sample_id", "exactly one of X .*; got 3"),
    "X alone": ("X", "y is missing.*X and y together"),
    "y alone": ("y", "exactly one of X"),
    "position and y": ("position y", "y and sample_weight go with X"),
    "id and weight": ("sample_id sample_weight", "y and sample_weight go with X"),
    "on_missing": ("position on_missing", "on_missing must be .*got 'skip'"),
}


@pytest.mark.parametrize("case", UNFIT_ERRORS)
def test_wrong_arguments_of_partial_unfit(fitted_with_ids, unchanged, data, case):
    X, y, _, _ = data
    values = {
        "X": X[[3]], "y": y[[3]], "position": [3], "sample_id": [3],
        "sample_weight": [1.0], "on_missing": "skip",
    }  # fmt: skip
    names, message = UNFIT_ERRORS[case]
    arguments = {name: values[name] for name in names.split()} if names else {}
    with unchanged(fitted_with_ids), pytest.raises(ValueError, match=message):
        fitted_with_ids.partial_unfit(**arguments)


REFIT_ERRORS = {
    "y alone": ("y", "X is missing"),
    "position alone": ("position", "X is missing"),
    "sample_id alone": ("sample_id", "X is missing"),
    "weight alone": ("sample_weight", "X is missing"),
    "replace alone": ("replace", "X is missing"),
    "position and replace": ("position replace", "X is missing"),
    "remove_id and y": ("remove_id y", "X is missing"),
    "X alone": ("X sample_id", "y is missing"),
    "no ids": ("X y", "sample_id is missing: fit was given ids"),
    "no ids, replace": ("X y replace", "sample_id is missing"),
    "no ids, by position": ("X y replace position", "sample_id is missing"),
    "no replace": ("X y position sample_id", "position .*replace=True"),
    "on_missing": ("X y sample_id on_missing", "on_missing must be .*got 'skip'"),
}


@pytest.mark.parametrize("case", REFIT_ERRORS)
def test_wrong_arguments_of_partial_refit(fitted_with_ids, unchanged, data, case):
    _, _, X_new, y_new = data
    values = {
        "X": X_new[[3]], "y": y_new[[3]], "position": [3], "sample_id": [3],
        "sample_weight": [1.0], "replace": True, "remove_id": [5],
        "on_missing": "skip",
    }  # fmt: skip
    names, message = REFIT_ERRORS[case]
    arguments = {name: values[name] for name in names.split()}
    with unchanged(fitted_with_ids), pytest.raises(ValueError, match=message):
        fitted_with_ids.partial_refit(**arguments)


REFIT_ERRORS_WITHOUT_IDS = {
    "ids": ({"sample_id": [3, 4]}, "sample_id was given, but fit was not"),
    "replace by ids": (
        {"sample_id": [3, 4], "replace": True},
        "sample_id was given, but fit was not",
    ),
    "remove ids": ({"remove_id": [3]}, "remove_id was given, but fit was not"),
    "replace nothing": ({"replace": True}, "replace=True needs position"),
    "one position": (
        {"replace": True, "position": 3},
        "position names 1 .*rows.*has 2",
    ),
    "three positions": (
        {"replace": True, "position": [1, 2, 3]},
        "position names 3 .*rows and X has 2",
    ),
    "one position twice": ({"replace": True, "position": [3, 3]}, "position"),
    "no replace": ({"position": [3, 4]}, "replace=True, or remove_position"),
}


@pytest.mark.parametrize("case", REFIT_ERRORS_WITHOUT_IDS)
def test_wrong_arguments_where_fit_had_no_ids(fitted, unchanged, data, case):
    _, _, X_new, y_new = data
    arguments, message = REFIT_ERRORS_WITHOUT_IDS[case]
    with unchanged(fitted), pytest.raises(ValueError, match=message):
        fitted.partial_refit(X_new[:2], y_new[:2], **arguments)


@pytest.mark.parametrize("method", ["partial_unfit", "partial_refit"])
def test_as_many_targets_as_rows(fitted, unchanged, data, method):
    X, y, _, _ = data
    with unchanged(fitted), pytest.raises(ValueError, match="X has 3 rows and y has 2"):
        getattr(fitted, method)(X[:3], y[:2])


def test_unlearn_is_partial_unfit(fitted, data):
    X, y, _, _ = data
    twin = deepcopy(fitted)
    assert fitted.unlearn(X[:3], y[:3]) is fitted
    assert twin.partial_unfit(X[:3], y[:3]) is twin
    assert_array_equal(fitted.coef_, twin.coef_)
    assert fitted.update_report_.operation == "unlearn"
    assert twin.update_report_.operation == "partial_unfit"
