"""The forms of rows that are recognised, and what is delivered of each."""

import gc
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pytest
from scipy import sparse

from skdeltagrad._sources.as_source import as_source
from skdeltagrad._sources.read_ahead import read_ahead

N, P = 23, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, P))
Y = RNG.integers(0, 3, N)
WEIGHT = RNG.random(N)
IDS = np.array([f"user-{i // 2}" for i in range(N)])
NAMES = ["age", "height", "price"]


def read(source, max_rows=5):
    """All rows of a source, after a check of what every batch must be."""
    batches = list(source.batches(max_rows))
    assert [b.n_rows for b in batches[:-1]] == [max_rows] * (len(batches) - 1)
    assert 1 <= batches[-1].n_rows <= max_rows
    for batch in batches:
        assert batch.X.shape == (batch.n_rows, source.n_features)
        assert batch.X.dtype == source.dtype
        if source.is_sparse:
            assert isinstance(batch.X, sparse.csr_matrix)
            assert batch.X.has_canonical_format
        else:
            assert type(batch.X) is np.ndarray and batch.X.flags.c_contiguous
        for array in batch[1:]:
            assert array is None or len(array) == batch.n_rows
        assert batch.weight is None or batch.weight.dtype == np.float64
        assert batch.ids is None or batch.ids.dtype.kind in "iU"
    columns = zip(*batches, strict=True)
    X = next(columns)
    rest = [None if c[0] is None else np.concatenate(c) for c in columns]
    return sparse.vstack(X).toarray() if source.is_sparse else np.vstack(X), *rest


def frame(**columns):
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(dict(zip(NAMES, X.T, strict=True)) | columns)


def table(**columns):
    pa = pytest.importorskip("pyarrow")
    return pa.table(dict(zip(NAMES, X.T, strict=True)) | columns)


def polars_frame(**columns):
    pytest.importorskip("pyarrow")
    pl = pytest.importorskip("polars")
    return pl.DataFrame(dict(zip(NAMES, X.T, strict=True)) | columns)


FRAMES = {"pandas": frame, "pyarrow": table, "polars": polars_frame}
every_frame = pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)


def check(source, y=Y, weight=WEIGHT, ids=IDS, max_rows=5):
    found = read(source, max_rows)
    for got, expected in zip(found, (X, y, weight, ids), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("max_rows", [1, 5, N, 1000])
def test_arrays(max_rows):
    source = as_source(X, Y, WEIGHT, IDS)
    assert (source.n_features, source.n_rows, source.is_sparse) == (P, N, False)
    assert source.feature_names is None
    check(source, max_rows=max_rows)
    check(source, max_rows=max_rows)  # again


def test_lists_are_arrays():
    check(as_source(X.tolist(), Y.tolist(), WEIGHT.tolist(), IDS.tolist()))
    check(as_source(tuple(map(tuple, X)), Y, WEIGHT, IDS))
    check(as_source(list(X), Y, WEIGHT, IDS))


def test_fortran_order_becomes_c_order():
    check(as_source(np.asfortranarray(X), Y, WEIGHT, IDS))


def test_memory_maps(tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    source = as_source(mapped, Y, WEIGHT, IDS)
    check(source)
    batch = next(source.batches(5))
    assert np.shares_memory(batch.X, mapped)  # nothing is copied


@pytest.mark.parametrize("form", ["csr_matrix", "csr_array", "coo_array", "csc_matrix"])
def test_sparse_matrices(form):
    source = as_source(getattr(sparse, form)(X), Y, WEIGHT, IDS)
    assert source.is_sparse
    check(source)


@pytest.mark.parametrize("max_rows", [1, 2])
def test_sparse_rows_become_canonical_and_the_given_ones_stay(max_rows):
    data, indices = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2, 0, 0, 1])
    given = sparse.csr_matrix((data, indices, np.array([0, 3, 4])), shape=(2, 3))
    found, *_ = read(as_source(given), max_rows)
    np.testing.assert_array_equal(found, [[5.0, 0.0, 1.0], [0.0, 4.0, 0.0]])
    assert given.data.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert given.indices.tolist() == [2, 0, 0, 1]


def test_parts_of_a_sparse_matrix():
    parts = [sparse.csr_matrix(X[a:b]) for a, b in [(0, 4), (4, 4), (4, 17), (17, N)]]
    source = as_source(parts, Y, WEIGHT, IDS)
    assert source.is_sparse and source.n_rows is None
    check(source)
    assert source.n_rows == N
    check(source)


@every_frame
def test_frames_with_arrays(make):
    source = as_source(make(), Y, WEIGHT, IDS)
    assert source.feature_names.tolist() == NAMES
    assert source.feature_names.dtype == object
    assert source.n_rows == N
    check(source)


@every_frame
def test_frames_with_names_of_columns(make):
    given = make(label=Y, w=WEIGHT, who=IDS)
    source = as_source(given, "label", "w", "who")
    assert source.feature_names.tolist() == NAMES
    check(source)


@every_frame
def test_several_targets_are_a_list_of_names(make):
    given = make(a=X[:, 0], b=WEIGHT)
    source = as_source(given, ["b", "a"])
    assert source.n_features == P
    expected = np.column_stack([WEIGHT, X[:, 0]])
    check(source, y=expected, weight=None, ids=None)


def test_a_list_of_one_name_gives_targets_of_one_dimension():
    check(as_source(frame(label=Y), ["label"]), weight=None, ids=None)


@every_frame
def test_a_list_of_strings_without_names_is_an_array(make):
    labels = ["yes" if y else "no" for y in Y]
    check(as_source(make(), labels), y=labels, weight=None, ids=None)


@every_frame
def test_labels_are_strings_categories_or_booleans(make):
    labels = np.array(["one", "two", "three"])[Y]
    source = as_source(make(label=labels), "label")
    check(source, y=labels, weight=None, ids=None)
    source = as_source(make(label=Y == 1), "label")
    check(source, y=Y == 1, weight=None, ids=None)


def test_categories_of_pandas_arrow_and_polars_are_labels():
    labels = np.array(["one", "two", "three"])[Y]
    pd = pytest.importorskip("pandas")
    categories = as_source(frame(label=pd.Categorical(labels)), "label")
    check(categories, y=labels, weight=None, ids=None)
    pa = pytest.importorskip("pyarrow")
    encoded = pa.array(labels).dictionary_encode()
    check(as_source(table(label=encoded), "label"), y=labels, weight=None, ids=None)
    check(as_source(table(), encoded), y=labels, weight=None, ids=None)
    pl = pytest.importorskip("polars")
    for kind in (pl.Categorical, pl.Enum(["one", "two", "three"])):
        column = pl.Series(labels, dtype=kind)
        source = as_source(polars_frame(label=column), "label")
        check(source, y=labels, weight=None, ids=None)
        check(as_source(polars_frame(), column), y=labels, weight=None, ids=None)


def test_nullable_and_arrow_columns_of_pandas():
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    kinds = ["Int32", "boolean", "Float64", "int64[pyarrow]", "double[pyarrow]"]
    columns = {k: pd.array([0, 1, 1], dtype=k) for k in kinds}
    columns["sparse"] = pd.arrays.SparseArray([0.0, 1.0, 1.0])
    source = as_source(pd.DataFrame(columns))
    assert source.dtype == np.float64
    found, *_ = read(source)
    np.testing.assert_array_equal(found, np.repeat([[0.0], [1.0], [1.0]], 6, axis=1))


def test_columns_of_pandas_without_string_names_have_no_names():
    pd = pytest.importorskip("pandas")
    given = pd.DataFrame(X)
    assert as_source(given).feature_names is None
    given["label"] = Y
    source = as_source(given, "label")
    assert source.feature_names is None
    check(source, weight=None, ids=None)


def test_series_are_arrays():
    pd = pytest.importorskip("pandas")
    index = np.arange(N)[::-1]  # it is ignored, as in scikit-learn
    series = [pd.Series(values, index) for values in (Y, WEIGHT, IDS)]
    check(as_source(X, *series))
    pa = pytest.importorskip("pyarrow")
    check(as_source(X, *[pa.chunked_array([v]) for v in (Y, WEIGHT, IDS)]))
    pl = pytest.importorskip("polars")
    check(as_source(X, *[pl.Series(v) for v in (Y, WEIGHT, IDS)]))


@pytest.mark.parametrize("ids", [IDS, np.arange(N) + 2**60])
@every_frame
def test_ids_keep_their_values(make, ids):
    check(as_source(make(label=Y, w=WEIGHT, who=ids), "label", "w", "who"), ids=ids)


def test_one_weight_for_all_rows():
    weight = np.full(N, 2.0)
    check(as_source(X, Y, 2, IDS), weight=weight)
    check(as_source([(X[:9], Y[:9]), (X[9:], Y[9:])], sample_weight=2.0), ids=None,
          weight=weight)  # fmt: skip


@pytest.mark.parametrize(
    "dtype, expected",
    [
        ("float32", "float32"), ("float64", "float64"), (">f4", "float32"),
        ("float16", "float64"), ("longdouble", "float64"), ("int8", "float64"),
        ("int64", "float64"), ("uint64", "float64"), ("bool", "float64"),
    ],
)  # fmt: skip
def test_dtypes(dtype, expected):
    values = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    can_be_sparse = dtype not in ("float16", ">f4")
    for given in [values, sparse.csr_matrix(values)] if can_be_sparse else [values]:
        source = as_source(given)
        assert source.dtype == expected
        found, *_ = read(source)
        np.testing.assert_array_equal(found, values)


@every_frame
@pytest.mark.parametrize(
    "second, expected",
    [("float32", "float32"), ("int16", "float32"), ("int32", "float64")],
)
def test_dtypes_of_frames(make, second, expected):
    names = ["a", "b"]
    values = [np.arange(N, dtype=np.float32), np.arange(N, dtype=second)]
    full = make(**dict(zip(names, values, strict=True)))
    source = as_source(full[names] if make is frame else full.select(names))
    assert source.dtype == expected
    np.testing.assert_array_equal(read(source)[0], np.column_stack(values))


CUTS = [0, 4, 5, 5, 17, N]


def batches(*columns):
    for start, stop in zip(CUTS, CUTS[1:], strict=False):
        yield tuple(column[start:stop] for column in columns)


class Again:
    def __iter__(self):
        return batches(X, Y, WEIGHT, IDS)


def test_batches():
    for given in (list(batches(X, Y, WEIGHT, IDS)), Again()):
        source = as_source(given)
        assert source.n_rows is None
        check(source)
        check(source, max_rows=100)
        assert source.n_rows == N
    check(as_source(batches(X, Y, WEIGHT, IDS)))
    check(as_source(batches(X, Y)), weight=None, ids=None)
    check(as_source(batches(X)), y=None, weight=None, ids=None)
    check(as_source(map(list, batches(X, Y))), weight=None, ids=None)  # of PyTorch


@pytest.mark.parametrize("max_rows", [1, 5, 7, 100])
def test_generators_that_fill_the_same_arrays_again(max_rows):
    """What was delivered stays, also while the next batch is read ahead."""
    arrays = [np.empty_like(column[:6]) for column in (X, Y, WEIGHT, IDS)]

    def filled():
        for start in range(0, N, 6):
            batch = []
            for array, column in zip(arrays, (X, Y, WEIGHT, IDS), strict=True):
                part = column[start : start + 6]
                array[: len(part)] = part
                batch.append(array[: len(part)])
            yield tuple(batch)
        for array in arrays:
            array[...] = "" if array.dtype.kind == "U" else -1

    check(as_source(filled()), max_rows=max_rows)
    batches = read_ahead(as_source(filled()).batches(max_rows))
    seen = np.vstack([batch.X for batch in batches])
    np.testing.assert_array_equal(seen, X)


def test_batches_of_a_generator_are_not_held():
    class Rows(np.ndarray):
        """An array to which there can be weak references."""

    made = []

    def generated():
        for x, y in batches(X, Y):
            rows = Rows(x.shape)
            rows[...] = x
            made.append(weakref.ref(rows))
            yield rows, y
            del rows

    for _ in as_source(generated()).batches(3):
        gc.collect()
        alive = [rows for rows in made if rows() is not None]
        assert len(alive) <= 2  # that which is cut, and the one before it


def test_batches_beside_arrays():
    check(as_source((x for (x,) in batches(X)), Y, WEIGHT, IDS))
    check(as_source(batches(X, Y), sample_weight=WEIGHT, sample_id=IDS))


@every_frame
def test_batches_of_frames(make):
    given = make(label=Y, w=WEIGHT, who=IDS)
    cut = given.iloc.__getitem__ if make is frame else given.__getitem__
    parts = [cut(slice(a, b)) for a, b in zip(CUTS, CUTS[1:], strict=False)]
    source = as_source(parts, "label", "w", "who")
    assert source.feature_names.tolist() == NAMES
    check(source)
    check(as_source(iter(parts), "label", "w", "who"))


def test_chunks_of_a_csv_file(tmp_path):
    pd = pytest.importorskip("pandas")
    path = tmp_path / "rows.csv"
    frame(label=Y, w=WEIGHT, who=IDS).to_csv(path, index=False)
    whole = pd.read_csv(path)  # pandas 2 does not read the last digit as it was
    found = read(as_source(pd.read_csv(path, chunksize=7), "label", "w", "who"))
    np.testing.assert_array_equal(found[0], whole[NAMES])
    for values, name in zip(found[1:], ("label", "w", "who"), strict=True):
        np.testing.assert_array_equal(values, whole[name])


def test_targets_that_happen_to_be_integers_in_a_later_batch():
    source = as_source([(X[:2], [0.5, 1.5]), (X[2:4], [1, 2])])
    np.testing.assert_array_equal(read(source)[1], [0.5, 1.5, 1.0, 2.0])


def test_ids_of_later_batches_may_be_longer():
    parts = [(X[:2], Y[:2], None, ["a", "b"]), (X[2:4], Y[2:4], None, ["abc", "d"])]
    assert read(as_source(parts))[3].tolist() == ["a", "b", "abc", "d"]


def test_a_reader_of_record_batches_is_read_once():
    pa = pytest.importorskip("pyarrow")
    given = table(label=Y)
    reader = pa.RecordBatchReader.from_batches(given.schema, given.to_batches(4))
    source = as_source(reader, "label")
    check(source, weight=None, ids=None)
    with pytest.raises(ValueError, match="can be read once"):
        read(source)


def write(folder, n_files=3, format="parquet", **columns):
    ds = pytest.importorskip("pyarrow.dataset")
    given = table(**columns)
    cuts = np.linspace(0, N, n_files + 1).astype(int)
    for i, (a, b) in enumerate(zip(cuts, cuts[1:], strict=False)):
        ds.write_dataset(
            given.slice(a, b - a), folder, format=format, max_rows_per_group=3,
            max_rows_per_file=0 if format != "parquet" else 1000,
            min_rows_per_group=3, basename_template=f"part-{i}-{{i}}.{format}",
            existing_data_behavior="overwrite_or_ignore",
        )  # fmt: skip
    return ds.dataset(folder, format=format)


@pytest.mark.parametrize("format", ["parquet", "arrow", "feather"])
def test_data_sets_of_files(tmp_path, format):
    given = write(tmp_path, format=format, label=Y, w=WEIGHT, who=IDS)
    source = as_source(given, "label", "w", "who")
    assert source.feature_names.tolist() == NAMES
    assert source.n_rows == (N if format == "parquet" else None)
    check(source)
    check(source)


def test_data_sets_beside_arrays(tmp_path):
    check(as_source(write(tmp_path), Y, WEIGHT, IDS))


def test_filtered_data_sets(tmp_path):
    ds = pytest.importorskip("pyarrow.dataset")
    given = write(tmp_path, label=Y, who=IDS).filter(ds.field("label") > 0)
    source = as_source(given, "label", sample_id="who")
    found, y, _, ids = read(source)
    np.testing.assert_array_equal(found, X[Y > 0])
    np.testing.assert_array_equal(y, Y[Y > 0])
    np.testing.assert_array_equal(ids, IDS[Y > 0])


def test_partitioned_data_sets(tmp_path):
    ds = pytest.importorskip("pyarrow.dataset")
    given = table(label=Y, row=np.arange(N))
    ds.write_dataset(
        given, tmp_path, format="parquet", partitioning=["label"],
        partitioning_flavor="hive",
    )  # fmt: skip
    source = as_source(ds.dataset(tmp_path, partitioning="hive"), "label", "row")
    found, y, row, _ = read(source)
    np.testing.assert_array_equal(found, X[row.astype(int)])
    np.testing.assert_array_equal(y, Y[row.astype(int)])
    assert np.array_equal(np.sort(row), np.arange(N))


def test_data_sets_in_memory():
    ds = pytest.importorskip("pyarrow.dataset")
    check(as_source(ds.dataset(table(label=Y)), "label"), weight=None, ids=None)


def test_queries_of_polars(tmp_path):
    pl = pytest.importorskip("polars")
    write(tmp_path, label=Y, w=WEIGHT, who=IDS)
    query = pl.scan_parquet(tmp_path / "*.parquet")
    source = as_source(query, "label", "w", "who")
    assert source.feature_names.tolist() == NAMES
    assert source.n_rows is None
    check(source)
    check(as_source(query.select(NAMES), Y, WEIGHT, IDS))


def test_optional_libraries_are_not_imported():
    script = """
        import sys
        import numpy as np
        import skdeltagrad

        before = {*sys.modules}  # scikit-learn may have imported some
        from skdeltagrad._sources.as_source import as_source

        for X, y in ((np.eye(3), [0, 1, 2]), ([(np.eye(3), [0, 1, 2])], None)):
            assert len(list(as_source(X, y).batches(2))) == 2
        print(sorted({"pandas", "polars", "pyarrow"} & ({*sys.modules} - before)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"
