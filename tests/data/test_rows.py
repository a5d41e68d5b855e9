"""Dense and sparse storage, driven by one list, against a dense array."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skdeltagrad._data import rows as _rows
from skdeltagrad._data.csr_rows import CsrRows
from skdeltagrad._data.dense_rows import DenseRows
from skdeltagrad._data.growing_array import GrowingArray, is_mapped
from skdeltagrad._data.storage import canonical, store

N_ROWS, N_FEATURES = 23, 6

STORAGES = [
    (is_sparse, dtype)
    for is_sparse in (False, True)
    for dtype in ("float64", "float32")
]


def matrix(is_sparse, dtype="float64", n_rows=N_ROWS, seed=0):
    """A dense array, and the same as it is given to a storage."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, N_FEATURES))
    X[rng.random(X.shape) < 0.4] = 0
    if n_rows > 2:
        X[2] = 0
    X = X.astype(dtype)
    return X, sparse.csr_matrix(X) if is_sparse else X


def dense(X):
    return X.toarray() if sparse.issparse(X) else X


def everything(rows):
    return dense(rows.read(np.arange(len(rows))))


def stored(rows):
    """Every byte in use, to compare storage before and after."""
    arrays = [value for value in vars(rows).values() if isinstance(value, GrowingArray)]
    return [(array.values.dtype, array.values.tobytes()) for array in arrays]


def spare_is_zero(rows):
    arrays = [value for value in vars(rows).values() if isinstance(value, GrowingArray)]
    return not any(array._store[len(array) :].any() for array in arrays)


@pytest.fixture(
    params=STORAGES, ids=lambda param: f"{'csr' if param[0] else 'dense'}-{param[1]}"
)
def kind(request):
    """Whether rows are sparse, and their dtype."""
    return request.param


@pytest.fixture(params=["as given", "after edits"])
def case(request, kind):
    """A storage and the dense rows it stands for, fresh or after rows came and went."""
    X, given = matrix(*kind)
    rows = store(given)
    if request.param == "after edits":
        X = X.copy()
        for seed in (1, 2):
            more, given = matrix(*kind, n_rows=5, seed=seed)
            rows.append(given)
            X = np.concatenate([X, more])
        gone = np.array([4, 0, N_ROWS + 3])
        rows.wipe(gone)
        X[gone] = 0
    return rows, X


def some_indices(X):
    indices = np.random.default_rng(3).integers(len(X), size=17)
    indices[1] = indices[0]
    return indices


def test_what_a_storage_is(kind):
    X, given = matrix(*kind)
    rows = store(given)
    assert type(rows) is (CsrRows if kind[0] else DenseRows)
    assert rows.dtype == kind[1]
    assert rows.n_features == N_FEATURES
    assert len(rows) == N_ROWS
    indices = np.array([1, 0, 1])
    assert rows.n_entries(indices) == (
        given[indices].nnz if kind[0] else 3 * N_FEATURES
    )
    assert 16 <= rows.block_size() <= 4096


def test_rows_are_copied(kind):
    X, given = matrix(*kind)
    rows, expected = store(given), X.copy()
    (given.data if kind[0] else given)[:] = 7
    assert_array_equal(everything(rows), expected)


@pytest.mark.parametrize("n_features", [0, 1, 10, 100_000])
def test_a_block_of_dense_rows_fits_in_cache(n_features):
    rows = store(np.zeros((2, n_features)))
    size = rows.block_size()
    assert 16 <= size <= 4096
    assert size == 16 or size * n_features * 8 <= 2**19


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array])
@pytest.mark.parametrize("index_dtype", ["int32", "int64"])
def test_kinds_of_csr(container, index_dtype):
    X, _ = matrix(True)
    given = container(X)
    given.indices = given.indices.astype(index_dtype)
    given.indptr = given.indptr.astype(index_dtype)
    rows = store(given)
    rows.append(given[3:5])
    assert_array_equal(everything(rows), np.concatenate([X, X[3:5]]))


def test_canonical_rows():
    """Entries given twice are added up, columns are sorted; what was given stays."""
    entries = np.array([1.0, 2.0, 3.0, 4.0]), np.array([4, 0, 4, 1])
    X = sparse.csr_matrix((*entries, np.array([0, 3, 4])), shape=(2, 5))
    found = canonical(X)
    assert found.has_canonical_format
    assert found.indices.tolist() == [0, 4, 1]
    assert found.data.tolist() == [2.0, 4.0, 4.0]
    assert X.nnz == 4
    assert canonical(found) is found
    array = np.eye(2)
    assert canonical(array) is array


def test_read(case):
    rows, X = case
    indices = some_indices(X)
    copy = rows.read(indices)
    is_sparse = isinstance(rows, CsrRows)
    assert sparse.issparse(copy) == is_sparse
    assert copy.dtype == rows.dtype
    assert_array_equal(dense(copy), X[indices])
    (copy.data if is_sparse else copy)[...] = 7
    assert_array_equal(everything(rows), X)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("n_intercepts", [0, 1])
def test_products(case, n_outputs, n_intercepts):
    rows, X = case
    rng = np.random.default_rng(4)
    n_dof = N_FEATURES + n_intercepts
    coef = rng.normal(size=(n_outputs, n_dof))
    intercept = rng.normal(size=n_outputs)
    indices = some_indices(X)

    raw = np.full((len(indices), n_outputs), np.nan)
    rows.matvec(rows.layout(coef), intercept, indices, raw)
    expected = X[indices].astype(float) @ coef[:, :N_FEATURES].T + intercept
    assert_allclose(raw, expected, rtol=1e-13, atol=1e-14)

    before = rng.normal(size=(n_outputs, n_dof))
    gradient = before.copy()
    accumulator = rows.accumulator(gradient.shape)
    rows.rmatvec(raw, indices, accumulator)
    rows.rmatvec(raw[:5], indices[:5], accumulator)
    rows.deposit(accumulator, gradient)
    twice = np.concatenate([indices, indices[:5]])
    expected = np.concatenate([raw, raw[:5]]).T @ X[twice].astype(float)
    expected += before[:, :N_FEATURES]
    assert_allclose(gradient[:, :N_FEATURES], expected, rtol=1e-12, atol=1e-12)
    assert_array_equal(gradient[:, N_FEATURES:], before[:, N_FEATURES:])


@pytest.mark.parametrize("shifted", [False, True])
def test_column_moments(case, shifted):
    rows, X = case
    indices = some_indices(X)
    weight = np.random.default_rng(5).random(len(indices))
    shift = np.linspace(-1.0, 1.0, X.shape[1]) if shifted else None
    counts, sums, squares = rows.column_moments(indices, weight, shift)
    X = X[indices].astype(float) - (shift if shifted else 0.0)
    assert_array_equal(counts, (X != 0).sum(axis=0))
    assert_allclose(sums, weight @ X, rtol=1e-13, atol=1e-15)
    assert_allclose(squares, weight @ X**2, rtol=1e-13)


def test_squared_distances(case):
    rows, X = case
    indices = some_indices(X)
    centre = np.random.default_rng(6).normal(size=N_FEATURES)
    squares = (X[indices].astype(float) - centre) ** 2
    found = rows.squared_distances(indices, centre)
    assert_allclose(found, squares.sum(axis=1), rtol=1e-13)
    scale = np.random.default_rng(7).exponential(size=N_FEATURES)
    found = rows.squared_distances(indices, centre, scale)
    assert_allclose(found, squares @ scale, rtol=1e-13)


CENTRES = ["without", "zeros", "centred"]


def centre_of(name):
    return {
        "without": None,
        "zeros": np.zeros(N_FEATURES),
        "centred": np.random.default_rng(7).normal(size=N_FEATURES),
    }[name]


def extended_by_hand(X, centre):
    if centre is None:
        return X.astype(float)
    return np.column_stack([X - centre, np.ones(len(X))])


@pytest.mark.parametrize("centre", CENTRES)
def test_extended(case, centre):
    rows, X = case
    indices, centre = some_indices(X), centre_of(centre)
    before = stored(rows)
    found = rows.extended(indices, centre)
    assert found.dtype == np.float64
    assert_array_equal(found, extended_by_hand(X[indices], centre))
    found[:] = 7
    assert stored(rows) == before


@pytest.mark.parametrize("sign", ["positive", "negative", "mixed", "zero"])
@pytest.mark.parametrize("centre", CENTRES)
def test_grams_are_added(case, centre, sign):
    rows, X = case
    indices, centre = some_indices(X), centre_of(centre)
    rng = np.random.default_rng(8)
    weights = rng.random((3, len(indices)))
    weights[:, 4] = 0
    weights *= {
        "positive": 1.0,
        "negative": -1.0,
        "mixed": rng.choice([-1.0, 1.0], size=weights.shape),
        "zero": 0.0,
    }[sign]
    n_dof = N_FEATURES + (centre is not None)
    grams = rng.normal(size=(3, n_dof, n_dof))
    extended = extended_by_hand(X[indices], centre)
    expected = [
        before + (extended.T * weight) @ extended
        for before, weight in zip(grams, weights, strict=True)
    ]
    content = stored(rows)
    assert rows.add_grams(indices, weights, centre, grams) is None
    assert_allclose(grams, expected, rtol=1e-12, atol=1e-13)
    assert stored(rows) == content


@pytest.mark.parametrize("centre", CENTRES)
def test_squares_are_added(case, centre):
    rows, X = case
    indices, centre = some_indices(X), centre_of(centre)
    rng = np.random.default_rng(12)
    weights = rng.normal(size=(len(indices), 3))
    squares = rng.normal(size=(3, N_FEATURES + (centre is not None)))
    expected = squares + weights.T @ extended_by_hand(X[indices], centre) ** 2
    content = stored(rows)
    rows.add_squares(indices, weights, centre, squares)
    assert_allclose(squares, expected, rtol=1e-12, atol=1e-13)
    assert stored(rows) == content


@pytest.mark.parametrize("centre", CENTRES)
def test_grams_are_symmetric(case, centre):
    rows, X = case
    indices, centre = some_indices(X), centre_of(centre)
    n_dof = N_FEATURES + (centre is not None)
    grams = np.zeros((2, n_dof, n_dof))
    weights = np.random.default_rng(9).normal(size=(2, len(indices)))
    weights[0] = abs(weights[0])
    rows.add_grams(indices, weights, centre, grams)
    assert_allclose(grams, grams.swapaxes(1, 2), rtol=1e-13, atol=1e-15)
    assert np.linalg.eigvalsh(grams[0])[0] > -1e-13


@pytest.mark.parametrize("centre", CENTRES)
def test_what_leaves_a_gram_is_what_came(case, centre):
    rows, X = case
    indices, centre = some_indices(X), centre_of(centre)
    n_dof = N_FEATURES + (centre is not None)
    grams = np.zeros((1, n_dof, n_dof))
    weights = np.random.default_rng(10).random((1, len(indices)))
    rows.add_grams(indices, weights, centre, grams)
    rows.add_grams(indices, -weights, centre, grams)
    assert_allclose(grams, 0, atol=1e-13)


@pytest.mark.parametrize("centre", CENTRES)
def test_grams_of_more_rows_than_are_copied_at_a_time(kind, centre, monkeypatch):
    monkeypatch.setattr(_rows, "_GRAM_ENTRIES", 1)
    X, given = matrix(*kind, n_rows=200)
    rows, centre = store(given), centre_of(centre)
    weights = np.random.default_rng(11).random((2, 200))
    weights[1, 150] = -1.0
    extended = extended_by_hand(X, centre)
    grams = np.zeros((2, extended.shape[1], extended.shape[1]))
    rows.add_grams(np.arange(200), weights, centre, grams)
    expected = [(extended.T * weight) @ extended for weight in weights]
    assert_allclose(grams, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("centre", CENTRES)
def test_grams_of_no_rows(case, centre):
    rows, _ = case
    nobody, centre = np.zeros(0, np.int64), centre_of(centre)
    n_dof = N_FEATURES + (centre is not None)
    assert rows.extended(nobody, centre).shape == (0, n_dof)
    grams = np.ones((2, n_dof, n_dof))
    rows.add_grams(nobody, np.zeros((2, 0)), centre, grams)
    assert_array_equal(grams, 1.0)


def test_no_rows_at_all(case):
    rows, _ = case
    nobody = np.zeros(0, np.int64)
    assert rows.read(nobody).shape == (0, N_FEATURES)
    assert rows.squared_distances(nobody, np.zeros(N_FEATURES)).shape == (0,)
    for moment in rows.column_moments(nobody, np.zeros(0)):
        assert_array_equal(moment, np.zeros(N_FEATURES))
    before = stored(rows)
    rows.wipe(nobody)
    rows.restore(nobody, rows.read(nobody))
    assert_array_equal(rows.append(rows.read(nobody)), nobody)
    assert stored(rows) == before


def test_appended_rows_come_last(case, kind):
    rows, X = case
    for seed in range(10, 20):
        more, given = matrix(*kind, n_rows=seed - 9, seed=seed)
        indices = rows.append(given)
        assert_array_equal(indices, np.arange(len(X), len(X) + len(more)))
        X = np.concatenate([X, more])
        assert len(rows) == len(X)
        assert_array_equal(everything(rows), X)
        assert spare_is_zero(rows)


def test_truncating_drops_every_trace_of_appended_rows(case, kind):
    rows, X = case
    before, mark = stored(rows), rows.mark()
    for seed in (10, 11):
        rows.append(matrix(*kind, n_rows=30, seed=seed)[1])
    rows.truncate(mark)
    assert stored(rows) == before
    assert len(rows) == len(X)
    assert spare_is_zero(rows)


def test_wiped_rows_are_zeros_in_memory(kind):
    X, given = matrix(*kind)
    rows = store(given)
    indices = np.array([7, 2, 20])
    secret = {value for value in X[indices].ravel().tolist() if value}
    rows.wipe(indices)
    assert len(rows) == N_ROWS
    assert_array_equal(everything(rows)[indices], 0)
    kept = np.setdiff1d(np.arange(N_ROWS), indices)
    assert_array_equal(everything(rows)[kept], X[kept])
    values = (rows._data if kind[0] else rows._X)._store
    assert secret.isdisjoint(values.ravel().tolist())


def test_wiped_sparse_rows_do_not_tell_their_columns():
    """Of rows of zeros and ones the columns say it all."""
    rows = store(sparse.csr_matrix(np.eye(N_FEATURES)))
    rows.wipe(np.array([4]))
    assert 4 not in rows._indices.values
    assert rows._lengths.values[4] == 0


def test_restoring_gives_back_every_bit(case):
    rows, X = case
    indices = np.array([7, 2, 20, len(X) - 1])
    before, saved = stored(rows), rows.read(indices)
    rows.wipe(indices)
    assert stored(rows) != before
    rows.restore(indices, saved)
    assert stored(rows) == before


def test_restoring_what_was_never_wiped(case):
    """An exception may come between registering the undoing and the wiping."""
    rows, X = case
    indices = np.array([7, 2, 20])
    before = stored(rows)
    rows.restore(indices, rows.read(indices))
    assert stored(rows) == before


def test_undoing_a_correction(case, kind):
    rows, _ = case
    before, mark = stored(rows), rows.mark()
    indices = np.array([7, 2, 20])
    rows.append(matrix(*kind, n_rows=3, seed=12)[1])
    saved = rows.read(indices)
    rows.wipe(indices)
    rows.restore(indices, saved)
    rows.truncate(mark)
    assert stored(rows) == before


def test_rows_of_a_file_are_copied_to_memory(kind, tmp_path):
    X, given = matrix(*kind)
    rows = store(given)
    before = stored(rows)
    arrays = [value for value in vars(rows).values() if isinstance(value, GrowingArray)]
    for number, array in enumerate(arrays):
        np.save(tmp_path / f"{number}.npy", array.values)
        loaded = np.load(tmp_path / f"{number}.npy", mmap_mode="r")
        array.__setstate__({"values": loaded})
    # A file can be read from as it is.
    raw = np.empty((N_ROWS, 1))
    coef = np.ones((1, N_FEATURES))
    rows.matvec(rows.layout(coef), np.zeros(1), np.arange(N_ROWS), raw)
    assert_allclose(raw[:, 0], X.sum(axis=1, dtype=float), rtol=1e-13, atol=1e-14)

    rows.into_memory()

    assert not any(is_mapped(array.values) for array in arrays)
    assert stored(rows) == before
    rows.wipe(np.arange(N_ROWS))
    on_disk = b"".join((tmp_path / f"{i}.npy").read_bytes() for i in range(len(arrays)))
    assert all(content in on_disk for _, content in before)


def test_pickling(case):
    rows, X = case
    loaded = pickle.loads(pickle.dumps(rows))
    assert stored(loaded) == stored(rows)
    loaded.append(rows.read(np.array([1])))
    assert_array_equal(everything(loaded), np.concatenate([X, X[[1]]]))


def test_more_entries_than_int32_can_count():
    """The row pointer of what is added is int32, where it begins need not be."""

    class Full:
        def __len__(self):
            return 2**31 - 10

        def append(self, values):
            pass

    rows = store(sparse.csr_matrix(np.ones((2, 3))))
    rows._data = rows._indices = Full()
    added = sparse.csr_matrix(np.ones((8, 3)))
    added.indptr = added.indptr.astype(np.int32)
    rows.append(added)
    assert_array_equal(rows._starts.values[2:], 2**31 - 10 + 3 * np.arange(8))


def test_sums_of_float32_rows_are_in_float64():
    n_rows = 100_000
    rows = store(np.full((n_rows, 1), 0.1, np.float32))
    everyone = np.arange(n_rows)
    exact = n_rows * float(np.float32(0.1))
    counts, sums, squares = rows.column_moments(everyone, np.ones(n_rows))
    assert_array_equal(counts, [n_rows])
    assert_allclose(sums, exact, rtol=1e-10)
    assert_allclose(squares, exact * float(np.float32(0.1)), rtol=1e-10)
    gradient = np.zeros((1, 1))
    accumulator = rows.accumulator(gradient.shape)
    rows.rmatvec(np.ones((n_rows, 1)), everyone, accumulator)
    rows.deposit(accumulator, gradient)
    assert_allclose(gradient, exact, rtol=1e-10)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_grams_of_float32_rows_are_in_float64(container):
    n_rows = 100_000
    rows = store(container(np.full((n_rows, 1), 0.1, np.float32)))
    grams = np.zeros((1, 2, 2))
    rows.add_grams(np.arange(n_rows), np.ones((1, n_rows)), np.zeros(1), grams)
    x = float(np.float32(0.1))
    expected = n_rows * np.array([[x * x, x], [x, 1.0]])
    assert_allclose(grams[0], expected, rtol=1e-10)
