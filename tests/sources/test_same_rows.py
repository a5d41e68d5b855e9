"""All forms of the same rows deliver the same batches, to the bit."""

import tempfile
from itertools import pairwise
from pathlib import Path

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from skdeltagrad._sources.as_source import as_source
from skdeltagrad._sources.read_ahead import read_ahead

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
ds = pytest.importorskip("pyarrow.dataset")
pq = pytest.importorskip("pyarrow.parquet")

FLOATS = {
    dtype: st.floats(
        allow_nan=False, allow_infinity=False, width=np.dtype(dtype).itemsize * 8
    )
    for dtype in ("float32", "float64")
}
TARGETS = st.sampled_from(
    [
        (np.int64, st.integers(-(2**63), 2**63 - 1)),
        (np.float64, FLOATS["float64"]),
        (np.bool_, st.booleans()),
        (np.str_, st.text("abcäß∂", min_size=1, max_size=5)),
    ]
)
IDS = st.sampled_from(
    [
        (np.int64, st.integers(-(2**63), 2**63 - 1)),
        (np.str_, st.text("0189xyzé", min_size=1, max_size=9)),
    ]
)


@st.composite
def tables(draw):
    """Rows with names, targets, weights and ids, and how they are cut."""
    n_rows = draw(st.integers(1, 40))
    n_features = draw(st.integers(1, 5))
    dtype = draw(st.sampled_from(sorted(FLOATS)))
    shape, zero = (n_rows, n_features), st.just(0.0)  # for sparse matrices
    X = draw(npst.arrays(dtype, shape, elements=FLOATS[dtype], fill=zero))

    def column(kind, values):
        return np.array(draw(st.lists(values, min_size=n_rows, max_size=n_rows)), kind)

    y = column(*draw(TARGETS))
    weight = column(np.float64, st.floats(0.0, 1e300))
    ids = column(*draw(IDS))
    inner = draw(st.lists(st.integers(0, n_rows), max_size=6))
    return X, y, weight, ids, [0, *sorted(inner), n_rows]


def forms(X, y, weight, ids, cuts, folder):
    """Everything that a user could give for these rows, as arguments of `as_source`."""
    whole = (y, weight, ids)
    names = ("label", "w", "who")
    slices = [slice(a, b) for a, b in pairwise(cuts)]
    columns = {f"x{j}": X[:, j] for j in range(X.shape[1])}
    columns |= dict(zip(names, whole, strict=True))
    frame = pd.DataFrame(columns)
    # The other columns may stand anywhere among the features.
    order = [*names[:2], *frame.columns[: X.shape[1]], names[2]]
    frame = frame[order]
    table = pa.table({name: columns[name] for name in order})
    chunks = pa.concat_tables([table.slice(a, b - a) for a, b in pairwise(cuts)])

    yield "array", X, *whole
    yield "Fortran", np.asfortranarray(X), *whole
    np.save(folder / "X.npy", X)
    yield "mapped", np.load(folder / "X.npy", mmap_mode="r"), *whole
    yield "batches", [(X[s], y[s], weight[s], ids[s]) for s in slices]
    yield "generator", ((X[s], y[s], weight[s], ids[s]) for s in slices)
    yield "parts", [X[s] for s in slices], *whole
    yield "pandas", frame, *names
    yield "pandas and arrays", frame[order[2:-1]], *whole
    yield "pandas, Arrow", table.to_pandas(types_mapper=pd.ArrowDtype), *names
    yield "pandas parts", [frame[s] for s in slices], *names
    yield "table", table, *names
    yield "chunks", chunks, *names
    yield "record batches", chunks.to_batches(), *names
    yield "reader", chunks.to_reader(max_chunksize=3), *names
    groups = max(1, cuts[1])
    for number, s in enumerate(slices):
        part = table.slice(s.start, s.stop - s.start)
        path = folder / f"{number}.parquet"
        pq.write_table(part, path, row_group_size=groups)
        path = folder / f"{number}.arrow"
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(part, max_chunksize=groups)
    for format in ("parquet", "arrow"):
        paths = [str(folder / f"{number}.{format}") for number in range(len(slices))]
        yield format, ds.dataset(paths, format=format), *names
    try:
        import polars as pl
    except ImportError:
        return
    yield "polars", pl.from_arrow(chunks), *names
    paths = [folder / f"{number}.parquet" for number in range(len(slices))]
    yield "polars parquet", pl.scan_parquet(paths), *names
    yield "polars in memory", pl.from_arrow(table).lazy(), *names


def assert_same(batches, expected, name):
    assert len(batches) == len(expected), name
    for batch, other in zip(batches, expected, strict=True):
        for one, two in zip(batch, other, strict=True):
            if one.dtype.kind == "U":  # a column's width depends on the batch
                assert one.tolist() == two.tolist(), name
            else:
                assert (one.dtype, one.shape) == (two.dtype, two.shape), name
                assert one.tobytes() == two.tobytes(), name


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.integers(1, 45))
def test_all_forms_deliver_the_same_batches(table, max_rows):
    X, y, weight, ids, cuts = table
    n_rows = len(X)
    starts = range(0, n_rows, max_rows)
    expected = [[a[i : i + max_rows] for a in (X, y, weight, ids)] for i in starts]
    with tempfile.TemporaryDirectory() as folder:
        for name, *arguments in forms(X, y, weight, ids, cuts, Path(folder)):
            source = as_source(*arguments)
            assert (source.dtype, source.n_features) == (X.dtype, X.shape[1]), name
            assert source.n_rows in (None, n_rows), name
            assert_same(list(read_ahead(source.batches(max_rows))), expected, name)
            if name not in ("generator", "reader"):
                assert_same(list(source.batches(max_rows)), expected, name)
                assert source.n_rows == n_rows, name


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(1, 45))
def test_sparse_forms_deliver_the_same_batches(table, max_rows):
    X, y, weight, ids, cuts = table
    whole = sparse.csr_array(X)
    slices = [slice(a, b) for a, b in pairwise(cuts)]
    twice = sparse.vstack([whole[[i]] for i in range(len(X))]).tocoo()  # unsorted
    flipped = np.argsort(-twice.coords[1], kind="stable")
    row, column = (c[flipped] for c in twice.coords)
    twice = sparse.coo_matrix((twice.data[flipped], (row, column)), X.shape)
    expected = [whole[i : i + max_rows] for i in range(0, len(X), max_rows)]
    for source in (
        as_source(whole, y, weight, ids),
        as_source(twice, y, weight, ids),
        as_source(sparse.csc_matrix(whole), y, weight, ids),
        as_source([whole[s] for s in slices], y, weight, ids),
        as_source([(whole[s], y[s], weight[s], ids[s]) for s in slices]),
    ):
        batches = list(source.batches(max_rows))
        for batch, other in zip(batches, expected, strict=True):
            assert batch.X.has_canonical_format
            for name in ("data", "indices", "indptr"):
                one, two = getattr(batch.X, name), getattr(other, name)
                np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(np.concatenate([b.y for b in batches]), y)
        assert np.concatenate([b.ids for b in batches]).tolist() == ids.tolist()
