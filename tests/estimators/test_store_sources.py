"""What `fit` reads when rows are kept in files, and how much memory it needs."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._estimators import base

N, P = 500, 4
NAMES = [f"x{j}" for j in range(P)]


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(N, P)) * (rng.random((N, P)) < 0.6)).astype(np.float32)
    y = np.where(X[:, 0] + rng.normal(size=N) > 0, "yes", "no")
    weight, ids = rng.random(N) + 0.5, np.array([f"user {i}" for i in range(N)])
    return X, y, weight, ids


def batches_of(rows, size=70):
    return [tuple(part[i : i + size] for part in rows) for i in range(0, N, size)]


def table_of(rows):
    pa = pytest.importorskip("pyarrow")
    X, *others = rows
    columns = dict(zip(NAMES, X.T, strict=True))
    return pa.table(columns | dict(zip(("y", "weight", "id"), others, strict=True)))


NAMED = {"y": "y", "sample_weight": "weight", "sample_id": "id"}


def as_mapped(rows, tmp_path):
    np.save(tmp_path / "X.npy", rows[0])
    return np.load(tmp_path / "X.npy", mmap_mode="r"), {}


def as_dataset(rows, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    dataset = pytest.importorskip("pyarrow.dataset")
    pq.write_table(table_of(rows), tmp_path / "rows.parquet", row_group_size=90)
    return dataset.dataset(tmp_path / "rows.parquet"), NAMED


def as_lazy_frame(rows, tmp_path):
    polars = pytest.importorskip("polars")
    return polars.from_arrow(table_of(rows)).lazy(), NAMED


def as_frame(rows, tmp_path):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(rows[0], columns=NAMES), {}


def as_csr_parts(rows, tmp_path):
    X = sparse.csr_matrix(rows[0])
    return [X[i : i + 70] for i in range(0, N, 70)], {}


SOURCES = {
    "memory map": as_mapped,
    "table": lambda rows, _: (table_of(rows), NAMED),
    "dataset": as_dataset,
    "lazy frame": as_lazy_frame,
    "frame": as_frame,
    "csr parts": as_csr_parts,
    "batches": lambda rows, _: (batches_of(rows), None),
    "generator": lambda rows, _: (iter(batches_of(rows)), None),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("batch_rows", [64, 2**16])
def test_all_sources_give_the_same_model(
    source, batch_rows, rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(base, "_BATCH_ROWS", batch_rows)
    given, named = SOURCES[source](rows, tmp_path)
    if named == {}:
        _, *others = rows
        named = dict(zip(NAMED, others, strict=True))
    model = DeltaGradLogisticRegression(store=tmp_path / "store")
    model.fit(given, **(named or {}))
    X, y, weight, ids = rows
    X = sparse.csr_matrix(X) if source == "csr parts" else X
    twin = DeltaGradLogisticRegression().fit(X, y, weight, ids)
    assert model.n_features_in_ == P
    has_names = source in ("table", "dataset", "lazy frame", "frame")
    assert hasattr(model, "feature_names_in_") == has_names
    assert model.classes_.tolist() == twin.classes_.tolist()
    assert_array_equal(model.coef_, twin.coef_)
    for one in (model, twin):
        one.unlearn(sample_id=["user 3", "user 77"])
        if not has_names:  # otherwise rows should have them, too
            one.unlearn(X[:1], y[:1])
    assert_array_equal(model.coef_, twin.coef_)


def with_a(change):
    def batches(rows):
        for number, batch in enumerate(batches_of(rows)):
            yield batch if number < 4 else change(*batch)

    return batches


def failing(*batch):
    raise OSError("the disk is gone")


BAD = {
    "missing value": (lambda X, *rest: (X * np.nan, *rest), ValueError, "holds nan"),
    "other width": (lambda X, *rest: (X[:, 1:], *rest), ValueError, "3 features"),
    "no weights": (lambda X, y, *_: (X, y), ValueError, "with the batches before it"),
    "negative": (lambda X, y, w, i: (X, y, -w, i), ValueError, "sample_weight"),
    "other length": (lambda X, y, w, i: (X, y[1:], w, i), ValueError, "y"),
    "ids": (lambda X, y, w, i: (X, y, w, np.arange(len(i))), TypeError, "sample_id"),
    "numbers for labels": (
        lambda X, y, w, i: (X, np.arange(len(y)), w, i), TypeError, "y",
    ),
    "error of the reader": (failing, OSError, "the disk is gone"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_nothing_is_left_behind_by_bad_rows(case, rows, tmp_path):
    change, error, message = BAD[case]
    model = DeltaGradLogisticRegression(store=tmp_path / "store")
    with pytest.raises(error, match=message):
        model.fit(with_a(change)(rows))
    assert list(tmp_path.iterdir()) == []
    assert not hasattr(model, "coef_")
    assert not hasattr(model, "n_features_in_")
    # Nor of the model that was there before.
    model.fit(batches_of(rows))
    coef = model.coef_.copy()
    with pytest.raises(error, match=message):
        model.fit(with_a(change)(rows))
    assert_array_equal(model.coef_, coef)
    model.unlearn(sample_id=["user 5"])


def test_targets_are_required(rows, tmp_path):
    with pytest.raises(ValueError, match="requires y to be passed, but the target y"):
        DeltaGradRidge(store=tmp_path / "store").fit(rows[0])
    with pytest.raises(ValueError, match="requires y to be passed, but the target y"):
        DeltaGradRidge().fit(rows[0])
    assert list(tmp_path.iterdir()) == []


def test_several_targets(rows, tmp_path):
    X = rows[0]
    Y = np.column_stack([X.sum(axis=1), X[:, 0]]).astype(float)
    model = DeltaGradRidge(store=tmp_path / "store")
    model.fit([(X[:300], Y[:300]), (X[300:], Y[300:])])
    twin = DeltaGradRidge().fit(X, Y)
    for one in (model, twin):
        one.partial_unfit(position=[3]).unlearn(X[9:10], Y[9:10])
    assert_array_equal(model.coef_, twin.coef_)


MEMORY = textwrap.dedent(
    """
    import sys, threading
    from pathlib import Path
    import numpy as np
    from skdeltagrad import DeltaGradLogisticRegression

    n_rows, folder = int(sys.argv[1]), Path(sys.argv[2])

    class Batches:
        def __init__(self, n_rows):
            self.n_rows = n_rows

        def __iter__(self):
            for first in range(0, self.n_rows, 2**16):
                rng = np.random.default_rng(first)
                X = rng.standard_normal((2**16, 20), dtype=np.float32)
                yield X, X[:, 0] + rng.standard_normal(2**16) > 0

    def anonymous():
        status = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(
            int(line.split()[1]) for line in status if line.startswith("RssAnon"))

    def run(n_rows, name):
        model = DeltaGradLogisticRegression(store=folder / name).fit(Batches(n_rows))
        model.partial_unfit(position=range(100))
        model.unlearn(*(part[500:501] for part in next(iter(Batches(n_rows)))))
        model.purge()

    run(2**16, "warm")
    before, peak, is_over = anonymous(), 0, threading.Event()

    def sample():
        global peak
        while not is_over.wait(0.005):
            peak = max(peak, anonymous())

    sampler = threading.Thread(target=sample)
    sampler.start()
    run(n_rows, "rows")
    is_over.set()
    sampler.join()
    print(peak - before)
    """
)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_is_bounded(tmp_path):
    """150 MB for blocks, and 7 bytes a row; the rows take 80 bytes and more."""
    n_rows = 2**16 * 40
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(n_rows), str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 150e6 + 7 * n_rows
