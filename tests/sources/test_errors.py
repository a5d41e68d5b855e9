"""Every error of a source names the parameter, the value, the place and the way out."""

import builtins
import sys

import numpy as np
import pytest
from scipy import sparse

from skdeltagrad._sources.as_source import as_source

N = 12
X = np.arange(3.0 * N).reshape(N, 3)
Y = np.arange(N) % 2
IDS = np.arange(N)


def read(*args, max_rows=5, **kwargs):
    return list(as_source(*args, **kwargs).batches(max_rows))


def fails(*args, match, error=ValueError, max_rows=5, **kwargs):
    """The error comes, and each of some texts is in its message."""
    with pytest.raises(error) as raised:
        read(*args, max_rows=max_rows, **kwargs)
    for text in [match] if isinstance(match, str) else match:
        assert text in str(raised.value)
    assert str(raised.value).endswith(".")


def with_value(value, row=7, column=1, values=X):
    values = values.astype(type(value) if not isinstance(value, float) else float)
    values[row, column] = value
    return values


def pandas_frame(values=X, **columns):
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(dict(zip("abc", values.T, strict=True)) | columns)


def arrow_table(values=X, **columns):
    pa = pytest.importorskip("pyarrow")
    return pa.table(dict(zip("abc", values.T, strict=True)) | columns)


def polars_frame(values=X, **columns):
    pytest.importorskip("pyarrow")
    pl = pytest.importorskip("polars")
    return pl.DataFrame(dict(zip("abc", values.T, strict=True)) | columns)


FRAMES = {"pandas": pandas_frame, "pyarrow": arrow_table, "polars": polars_frame}
every_frame = pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)

# Missing values.

GAPS = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


@pytest.mark.parametrize("name", GAPS)
def test_a_gap_in_an_array(name):
    gap = with_value(GAPS[name])
    fails(gap, match=[f"X holds {name} in row 7, column 1", "Leave such rows out"])
    fails(gap.astype(np.float32), match=f"X holds {name} in row 7, column 1")
    fails(np.asfortranarray(gap), match=f"X holds {name} in row 7, column 1")


@pytest.mark.parametrize("name", GAPS)
def test_a_gap_in_a_sparse_matrix(name):
    gap = sparse.csr_matrix(with_value(GAPS[name]))
    fails(gap, match=f"X holds {name} in row 7, column 1")
    fails([gap[:2], gap[2:]], match=f"X of batch 1 holds {name} in row 5, column 1")


def test_a_gap_in_a_sparse_matrix_after_empty_rows():
    gap = sparse.csr_matrix(([1.0, np.nan], ([0, 9], [2, 0])), shape=(N, 3))
    for max_rows in (1, 5, N):
        fails(gap, match="X holds nan in row 9, column 0", max_rows=max_rows)


@pytest.mark.parametrize("name", GAPS)
@every_frame
def test_a_gap_in_a_frame(make, name):
    gap = make(with_value(GAPS[name]))
    held = "a missing value" if (make, name) == (pandas_frame, "nan") else name
    fails(gap, match=[f"X holds {held} in row 7, column 'b'", "Leave such rows out"])


def test_the_row_of_a_gap_in_data_sets_is_that_of_all_files(tmp_path):
    ds = pytest.importorskip("pyarrow.dataset")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(arrow_table(), tmp_path / "1.parquet", row_group_size=5)
    gap = arrow_table(with_value(np.nan))
    pq.write_table(gap, tmp_path / "2.parquet", row_group_size=5)
    fails(ds.dataset(tmp_path), match=f"X holds nan in row {N + 7}, column 'b'")
    pl = pytest.importorskip("polars")
    query = pl.scan_parquet(tmp_path / "*.parquet")
    fails(query, match=f"X holds nan in row {N + 7}, column 'b'")


def test_nulls():
    values = [*range(7), None, *range(4)]
    pa = pytest.importorskip("pyarrow")
    match = "X holds a missing value in row 7, column 'd'"
    for type_ in (pa.int64(), pa.float32(), pa.bool_()):
        column = pa.array(values, pa.int64()).cast(type_)
        fails(arrow_table(d=column), match=match)
        parts = [arrow_table(d=column).slice(0, 6), arrow_table(d=column).slice(6)]
        fails(parts, match="X of batch 1 holds a missing value in row 1, column 'd'")
    pd = pytest.importorskip("pandas")
    for type_ in ("Int64", "Float64", "int64[pyarrow]"):
        fails(pandas_frame(d=pd.array(values, type_)), match=match)
    pytest.importorskip("polars")
    fails(polars_frame(d=values), match=match)


def test_masked_arrays():
    masked = np.ma.array(X, mask=with_value(True, values=np.zeros_like(X)))
    fails(masked, match="X holds a missing value in row 7")
    assert len(read(np.ma.array(X, mask=False))) == 3


@pytest.mark.parametrize("gap", [np.nan, None, np.inf, "NA"])
@pytest.mark.parametrize("name", ["y", "sample_weight"])
def test_gaps_in_targets_and_weights(name, gap):
    pd = pytest.importorskip("pandas")
    gap = pd.NA if gap == "NA" else gap
    values = np.array([1.0] * N, dtype=object)
    values[7] = gap
    found = "in row 7"
    fails(X, **{name: values}, match=[name, found, "Leave such rows out"])
    fails(X, **{name: values.tolist()}, match=[name, found])
    fails(X, **{name: pd.Series(values)}, match=[name, found])
    if gap is not pd.NA:
        fails(X, **{name: values.astype(float)}, match=[name, found])
        fails(pandas_frame(d=values.astype(float)), **{name: "d"}, match=[name, found])
    batches = [(x, None if name == "sample_weight" else v, v)[: 2 + (name != "y")]
               for x, v in ((X[:5], values[:5]), (X[5:], values[5:]))]  # fmt: skip
    fails(batches, match=[f"{name} of batch 1 holds", "in row 2"])


@pytest.mark.parametrize("gap", [np.nan, None])
def test_gaps_in_ids(gap):
    ids = [f"u{i}" for i in range(N)]
    ids[7] = gap
    fails(X, sample_id=ids, match=["sample_id holds a missing value in row 7"])
    fails([(X, Y, None, ids)], match="sample_id of batch 0 holds a missing value in r")
    fails(arrow_table(who=[*ids[:7], None, *ids[8:]]), sample_id="who",
          match="sample_id holds a missing value in row 7, column 'who'")  # fmt: skip


def test_gaps_in_labels_and_in_two_targets():
    labels = ["yes", "no"] * (N // 2)
    labels[7] = None
    fails(X, labels, match="y holds a missing value in row 7")
    fails(pandas_frame(label=labels), "label", match="y holds a missing value in row 7")
    fails(X, with_value(np.nan), match="y holds nan in row 7, column 1")


# Types.


@pytest.mark.parametrize(
    "values",
    [
        X.astype(str), X.astype(object), X.astype(complex), X.astype("datetime64[s]"),
        X.astype(bytes), [["1", 2.0]] * N,
    ],
)  # fmt: skip
def test_arrays_of_other_types(values):
    fails(values, error=TypeError, match=["X has dtype", "numbers only"])
    fails([(X, Y), (values, Y)], error=TypeError, match="X of batch 1 has dtype")


def dates(n):
    return np.arange(n).astype("datetime64[ms]")


@every_frame
@pytest.mark.parametrize(
    "column", [np.array(["red", "blue"] * (N // 2)), dates(N)], ids=["strings", "dates"]
)
def test_columns_of_other_types(make, column):
    match = ["column 'd' of X has type", "Encode", "leave the column out"]
    fails(make(d=column), error=TypeError, match=match)
    fails([make(d=IDS), make(d=column)], error=TypeError,
          match="column 'd' of X of batch 1 has type")  # fmt: skip


def test_categories_and_objects_are_no_features():
    pd = pytest.importorskip("pandas")
    for column, type_ in (
        (pd.Categorical(IDS), "category"),
        (np.array([1, "a", None] * 4, dtype=object), "object"),
    ):
        frame = pandas_frame(d=column)
        fails(frame, error=TypeError, match=f"column 'd' of X has type {type_}")
    pa = pytest.importorskip("pyarrow")
    encoded = pa.array(["u", "v"] * (N // 2)).dictionary_encode()
    fails(arrow_table(d=encoded), error=TypeError, match="has type dictionary")
    fails(arrow_table(d=pa.array([[1.0]] * N)), error=TypeError, match="type list")
    fails(arrow_table(d=pa.nulls(N)), error=TypeError, match="has type null")
    pl = pytest.importorskip("polars")
    category = pl.Series(["u", "v"] * (N // 2), dtype=pl.Categorical)
    fails(polars_frame(d=category), error=TypeError, match="has type dictionary")
    with pytest.raises(TypeError, match="column 'd' of X has type dictionary"):
        as_source(polars_frame(d=category).lazy())  # before anything is read


@pytest.mark.parametrize("values", [[1, "a"], [1.0, True], [b"a", b"b"], [[1], [2]]])
def test_targets_of_several_or_unknown_types(values):
    values = np.array([*values * (N // 2), None], dtype=object)[:N]
    fails(X, values, error=TypeError, match=["y holds values of several types"])
    fails([(X, values)], error=TypeError, match="y of batch 0 holds values of several")


def test_a_list_of_numbers_and_strings_is_no_list_of_strings():
    fails(X, [1, "a"] * (N // 2), error=TypeError, match=["integer, string"])


def test_targets_of_other_types():
    fails(X, dates(N), error=TypeError, match="y has dtype datetime64[ms]")
    fails(X, X[:, 0] + 1j, error=TypeError, match="y has dtype complex128")
    fails(X, X[:, :, None], match="y is a ndarray of shape (12, 3, 1)")
    fails(X, "label", match=["y='label' names a column", "X have no names"])


def test_weights_of_other_types():
    fails(X, Y, ["1"] * N, error=TypeError, match="sample_weight holds strings such")
    fails(X, Y, X, match="sample_weight is a ndarray of shape (12, 3)")


@pytest.mark.parametrize("row", [0, 7])
def test_negative_weights(row):
    weight = np.ones(N)
    weight[row] = -0.5
    match = [f"sample_weight holds -0.5 in row {row}", "0 or more"]
    fails(X, Y, weight, match=match)
    fails(X, Y, -2.0, match="sample_weight holds -2.0 in row 0")
    fails(arrow_table(w=weight), sample_weight="w", match=match)
    fails([(X[:3], Y[:3], [1, 1, -1])], match="sample_weight of batch 0 holds -1 in")


def test_ids_are_integers_or_strings():
    for ids in (IDS + 0.0, IDS == 1, [1, "a"] * (N // 2), X[:, 0].tolist()):
        fails(X, Y, None, ids, error=TypeError, match="sample_id must hold integers")
    fails(pandas_frame(who=IDS + 0.0), sample_id="who", error=TypeError,
          match="sample_id must hold integers only or strings only")  # fmt: skip
    fails([(X, Y, None, IDS + 0.5)], error=TypeError, match="sample_id of batch 0 must")
    fails(X, sample_id=X, match="sample_id is a ndarray of shape (12, 3)")
    fails(X, sample_id=np.full(N, 2**63, np.uint64), match="64-bit integers")


@pytest.mark.parametrize("ids", [["a\0"] * N, ["\0b"] * N])
def test_strings_with_nul_characters(ids):
    fails(X, Y, None, ids, match=["sample_id", "NUL"])
    fails(arrow_table(who=ids), sample_id="who", match=["sample_id", "NUL"])
    fails(X, ids, match=["y holds", "in row 0", "NUL"])


def test_long_ids_are_refused_before_they_take_memory():
    fails(X, Y, None, ["a" * 10**6] * N, match="1,000,000 characters")


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**62 + 1])
def test_integers_that_floats_cannot_hold(value):
    values = with_value(value)
    match = [f"X holds {value} in row 7, column", "float64 cannot hold"]
    fails(values, match=match)
    fails(sparse.csr_matrix(values), match=match)
    for make in (pandas_frame, arrow_table):
        fails(make(values), match=[*match, "column 'b'"])
    fails(np.full((N, 2), 2**64 - 1, np.uint64), match="18446744073709551615 in row 0")


def test_integers_that_floats_can_hold():
    held = [2**53, -(2**53), 2**62, -(2**63), 2**60 + 2**10]
    (batch,) = read(np.array(held)[:, None])
    assert [int(value) for value in batch.X[:, 0]] == held
    (batch,) = read(np.array([[2**63]], np.uint64))
    assert int(batch.X[0, 0]) == 2**63


# Batches that differ.


@pytest.mark.parametrize("once", [True, False])
def test_other_columns(once):
    batches = [(X, Y), (X[:, :2], Y)]
    fails(iter(batches) if once else batches,
          match=["X of batch 1 has other columns", "2 features, not 3"])  # fmt: skip


@every_frame
def test_other_names_of_columns(make):
    first, other = make(), make(with_value(0.0))
    names = ["a", "c", "b"]
    swapped = other[names] if make is pandas_frame else other.select(names)
    fails([first, swapped], match=["X of batch 1", "feature 1 is 'c', not 'b'"])
    fails([first, make(label=Y)], match="X of batch 1 has other columns")
    fails([make(label=Y), first], "label",
          match=["y='label' must name one column of X of batch 1"])  # fmt: skip
    fails([first, X], match=["X of batch 1", "it has no names"])
    fails([X, first], match=["X of batch 1", "it has names"])


def test_other_dtypes_and_forms():
    single = X.astype(np.float32)
    fails([X, single], error=TypeError, match="X of batch 1 becomes float32")
    fails([single, X], error=TypeError, match="X of batch 1 becomes float64")
    fails([X, sparse.csr_matrix(X)], error=TypeError, match="X of batch 1 is sparse")
    fails([sparse.csr_matrix(X), X], error=TypeError, match="X of batch 1 is dense")
    assert read([X, X.astype(int)])  # both are float64


@pytest.mark.parametrize(
    "first, other",
    [
        ("float64", "str"), ("float32", "float64"), ("int64", "float64"),
        ("int32", "int64"), ("float64", "datetime64[ms]"), ("str", "float64"),
    ],
)  # fmt: skip
def test_files_of_other_types(tmp_path, first, other):
    """Arrow would read "7" as a number, and round float64 to float32."""
    ds = pytest.importorskip("pyarrow.dataset")
    pq = pytest.importorskip("pyarrow.parquet")
    for number, type_ in enumerate((first, other)):
        table = arrow_table(d=IDS.astype(type_))
        pq.write_table(table, tmp_path / f"{number}.parquet")
    match = ["column 'd' has type", "1.parquet", "of the data set", ".to_batches()"]
    fails(ds.dataset(tmp_path), "d", error=TypeError, match=match)


@pytest.mark.parametrize(
    "first, other",
    [("float64", "float32"), ("float64", "int64"), ("int64", "int8"), ("int64", "?")],
)
def test_files_of_types_that_the_first_one_holds(tmp_path, first, other):
    ds = pytest.importorskip("pyarrow.dataset")
    pq = pytest.importorskip("pyarrow.parquet")
    values = np.array([0, 1])
    for number, type_ in enumerate((first, other)):
        table = {"a": values.astype(type_), "b": values.astype(type_)}
        pq.write_table(arrow_table(X[:2], **table), tmp_path / f"{number}.parquet")
    (batch,) = read(ds.dataset(tmp_path), "b")
    assert batch.X[:, 0].tolist() == [0.0, 1.0] * 2
    assert batch.y.tolist() == [0, 1] * 2


def test_files_without_a_column(tmp_path):
    ds = pytest.importorskip("pyarrow.dataset")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(arrow_table(d=IDS), tmp_path / "0.parquet")
    pq.write_table(arrow_table(), tmp_path / "1.parquet")
    fails(ds.dataset(tmp_path), match=["'d'", "1.parquet", "no column"])


def test_other_targets():
    fails([(X, Y), (X, Y + 0.5)], error=TypeError,
          match=["y of batch 1 has dtype float64", "Convert"])  # fmt: skip
    fails([(X, Y), (X, Y.astype(str))], error=TypeError, match="y of batch 1 has dtype")
    fails([(X, Y), (X, X)], match="y of batch 1 has shape")
    fails([(X, Y), (X, Y[:, None])], match="y of batch 1 has shape")
    fails([(X, X), (X, X[:, :2])], match="y of batch 1 has shape")
    fails([(X, Y * 0.5), (X, Y + 2**53)], match="y of batch 1 holds 9007199254740993")


def test_other_ids():
    fails([(X, Y, None, IDS), (X, Y, None, IDS.astype(str))], error=TypeError,
          match=["sample_id of batch 1 has dtype", "int64 before"])  # fmt: skip


def test_types_that_change_within_one_array():
    values = np.array([0, 1, 0, 1, 1, 0, 0.5, 1, 0, 1, 0, 1], dtype=object)
    fails(X, values, error=TypeError, match=["y has dtype float64 from row 5 on"])


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
@pytest.mark.parametrize("other", [1, 2, 3, 4])
def test_parts_that_only_some_batches_have(parts, other):
    columns = X, Y, np.ones(N), IDS
    batches = [columns[:parts], columns[:other]]
    if parts == other:
        assert len(read(batches, max_rows=100)) == 1
    else:
        fails(batches, match=["with X of batch 1 came", "with all batches or with"])


# Lengths.


@pytest.mark.parametrize("name", ["y", "sample_weight", "sample_id"])
@pytest.mark.parametrize("n", [0, N - 1, N + 1])
def test_other_lengths(name, n, tmp_path):
    ones = {name: np.ones(n, int)}
    match = [f"{name} has {n} entries", "give one for each row"]
    fails(X, **ones, match=match)
    with pytest.raises(ValueError, match=match[0]):
        as_source(sparse.csr_matrix(X), **ones)  # before anything is read
    fails(pandas_frame(), **ones, match=match)
    fails([X[:5], X[5:]], **ones, match=name)
    fails((x for x in (X[:5], X[5:])), **ones, match=name)
    place = ["y", "sample_weight", "sample_id"].index(name)
    others = [None] * 3
    others[place] = np.ones(n, int)
    fails([(X, *others)], match=f"{name} of batch 0 has {n} entries and X has {N} rows")
    fails(polars_frame().lazy(), **ones, match=name)
    ds = pytest.importorskip("pyarrow.dataset")
    ds.write_dataset(arrow_table(), tmp_path, format="parquet")
    with pytest.raises(ValueError, match=match[0]):
        as_source(ds.dataset(tmp_path), **ones)  # before anything is read
    polars_frame().write_csv(tmp_path / "x.csv")
    fails(ds.dataset(tmp_path / "x.csv", format="csv"), **ones, match=name)


# Names of columns.


@every_frame
@pytest.mark.parametrize("name", ["y", "sample_weight", "sample_id"])
def test_names_that_do_not_exist(make, name):
    match = [f"{name}='lable' must name one column of X, and 0", "there are 'a', 'b'"]
    fails(make(), **{name: "lable"}, match=match)
    fails([make()], **{name: "lable"}, match=f"{name}='lable' must name one column of")


def test_names_that_do_not_exist_in_files(tmp_path):
    ds = pytest.importorskip("pyarrow.dataset")
    ds.write_dataset(arrow_table(), tmp_path, format="parquet")
    for kwargs in ({"y": "lable"}, {"y": ["a", "lable"]}):
        with pytest.raises(ValueError, match="y='lable' must name one column of X"):
            as_source(ds.dataset(tmp_path), **kwargs)


def test_many_names_are_not_all_shown():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.zeros((3, 100))).add_prefix("x")
    fails(frame, "label", match="'x8', 'x9' and 90 more")


@every_frame
def test_names_that_are_given_twice(make):
    frame = make(label=Y, w=IDS)
    for kwargs, first in (
        ({"y": "label", "sample_weight": "label"}, "sample_weight='label'"),
        ({"y": "label", "sample_id": "label"}, "sample_id='label'"),
        ({"y": ["label", "label"]}, "y='label'"),
        ({"y": ["w", "label"], "sample_weight": "w"}, "sample_weight='w'"),
    ):
        fails(frame, **kwargs, match=[first, "that y named before"])


def test_names_that_two_columns_have():
    frame = pandas_frame(label=Y, w=IDS).rename(columns={"w": "label"})
    fails(frame, "label", match="one column of X, and 2 columns have this name")
    pa = pytest.importorskip("pyarrow")
    table = pa.table([X[:, 0], Y, Y], names=["a", "label", "label"])
    fails(table, "label", match="one column of X, and 2 columns have this name")


def test_names_for_rows_without_names():
    fails(X, Y, "w", match=["sample_weight='w' names a column", "have no names"])
    fails([X], Y, "w", match=["sample_weight='w'", "X of batch 0 have no names"])


def test_no_column_is_left():
    pd = pytest.importorskip("pandas")
    fails(pd.DataFrame({"label": Y}), "label", match=["X has no features", "(12, 1)"])
    fails(np.zeros((N, 0)), Y, match="X has no features")


def test_names_that_are_no_strings():
    pandas_frame()  # skips
    frame = pandas_frame().rename(columns={"b": 7})
    fails(frame, error=TypeError, match=["others, such as 7", "astype(str)"])


def test_both_in_batches_and_as_an_argument():
    fails([(X, Y)], Y, match=["y came with X of batch 0 and as arguments of fit"])
    fails([(X, Y, Y, IDS)], sample_weight=Y, sample_id=IDS,
          match="sample_weight and sample_id came with X of batch 0")  # fmt: skip
    frame = pandas_frame(label=Y)
    fails([(frame, Y)], "label", match="y came with X of batch 0 and as arguments")
    fails([X, (X, Y)], np.ones(2 * N), match="y came with X of batch 1")


# Sources without rows, and what is no source.


def test_no_rows(tmp_path):
    match = ["X", "rows"]
    for empty in (X[:0], sparse.csr_matrix(X[:0]), [], (), iter([]), [(X[:0], Y[:0])]):
        fails(empty, match=match)
    for make in (pandas_frame, arrow_table, polars_frame):
        fails(make()[:0], match="X has no rows")
    fails(polars_frame().lazy().filter(a=-1.0), match="X has no rows")
    ds = pytest.importorskip("pyarrow.dataset")
    fails(ds.dataset(tmp_path), match="X has no features: its shape is (0, 0)")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(arrow_table()[:0], tmp_path / "1.parquet")
    fails(ds.dataset(tmp_path), match="X has no rows")


def test_generators_that_were_read():
    batches = ((x, y) for x, y in [(X, Y), (X, Y)])
    source = as_source(batches)
    assert len(list(source.batches(N))) == 2
    match = "generator, which can be read once"
    with pytest.raises(ValueError, match=match):
        list(source.batches(N))
    fails(batches, match=["X is a generator that gives no rows", "make a new one"])
    half = as_source(iter([(X, Y), (X, Y)]))
    next(half.batches(N))
    with pytest.raises(ValueError, match="list_iterator, which can be read once"):
        next(half.batches(N))


def test_sources_that_give_other_rows_at_the_second_reading():
    class Shrinking:
        n = N

        def __iter__(self):
            yield X[: self.n], Y[: self.n]
            self.n -= 1

    source = as_source(Shrinking())
    list(source.batches(5))
    with pytest.raises(ValueError, match="X gave 12 rows at first and 11 now"):
        list(source.batches(5))


def test_errors_of_the_users_generator_are_his():
    def batches():
        yield X, Y
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        read(batches())


def test_what_is_no_source(tmp_path):
    for path in ("rows.parquet", tmp_path):
        fails(path, error=TypeError, match=["holds no rows", "pyarrow.dataset.dataset"])
    for other in (3, None, {"a": [1.0]}, object()):
        fails(other, error=TypeError, match=["holds no rows", "Give an array"])
    pa = pytest.importorskip("pyarrow")
    for values in (pa.array(Y), pa.chunked_array([Y])):
        fails(values, match=["X is a", "it must be a table"])
    fails((X, Y), match=["X of batch 1 must have two", "A batch is X, or (X, y, ...)"])
    fails(X, (y for y in Y), match=["y is a generator", "one-dimensional"])
    for values in (X[0], X[:, :, None], np.float64(3.0), [1.0, 2.0]):
        fails(values, match=["X must have two dimensions", "shape"])
    fails([[1.0, 2.0], [3.0]], match=["X is no array"])
    parts = [Y[:5], Y[5:]]
    fails([X[:5], X[5:]], parts, match=["y is no array", "inhomogeneous"])
    fails([X[:5], X[5:]], [Y, Y], match="y has 2 entries")
    fails([(X, Y), 3], match=["X of batch 1 must have two dimensions"])
    fails([(X, Y, Y, IDS, IDS)], match="batch 0 has 5 parts")
    fails(iter([(X, Y), ()]), match="batch 1 has 0 parts")
    with pytest.raises(ValueError, match="max_rows must be 1 or more, got 0"):
        as_source(X).batches(0)


def test_without_pyarrow(monkeypatch):
    pl = pytest.importorskip("polars")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in [name for name in sys.modules if name.startswith("pyarrow")]:
        monkeypatch.delitem(sys.modules, name)
    frame = pl.DataFrame(X)
    for given in (frame, frame.lazy()):
        with pytest.raises(ImportError, match="pip install pyarrow"):
            as_source(given)
