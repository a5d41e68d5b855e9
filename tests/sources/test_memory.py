"""Reading files takes a bounded amount of memory, whatever their size."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from skdeltagrad._sources.batch import Batch, resized

N_ROWS, N_FEATURES = 2_000_000, 20  # 160 MB of float32
MB = 2**20

# Prints how much more anonymous memory than after the imports was in use at most.
READ = """
    import sys, threading, time
    import numpy as np
    from skdeltagrad._sources.as_source import as_source
    from skdeltagrad._sources.read_ahead import read_ahead

    def in_use():
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    def watch():
        global peak
        while not done:
            peak = max(peak, in_use())
            time.sleep(1e-3)

    how, path = sys.argv[1:]
    if how != "mapped":
        import pyarrow.dataset, pyarrow.parquet
    if how == "polars":
        import polars
        polars.DataFrame({"a": [1.0]}).to_arrow()  # starts its threads
    before = peak = in_use()
    done = False
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        if how == "polars":
            X = polars.scan_parquet(path)
        elif how == "mapped":
            X = np.load(path, mmap_mode="r")
        else:
            X = pyarrow.dataset.dataset(path, format=how)
        y = None if how == "mapped" else "x0"
        n_rows = total = 0
        for batch in read_ahead(as_source(X, y).batches(65536)):
            n_rows += batch.n_rows
            total += batch.X[:, -1].sum(dtype=float)
    finally:
        done = True
        watcher.join()
    print(n_rows, total, peak - before)
"""


def last_column():
    return np.random.default_rng(0).standard_normal(N_ROWS, dtype=np.float32)


def peak_of_reading(how, path):
    """Peak memory in bytes, of a process of its own; all rows are read."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READ), how, str(path)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    n_rows, total, peak = done.stdout.split()
    assert int(n_rows) == N_ROWS
    assert float(total) == pytest.approx(last_column().sum(dtype=float), rel=1e-9)
    print(f"{how}: {int(peak) / MB:.0f} MB")
    return int(peak)


pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc/self/status"
)


@pytest.fixture(scope="module")
def table():
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    last = last_column()
    # Random digits cannot be compressed; columns may share them.
    columns = {f"x{j}": np.roll(last, j + 1) for j in range(N_FEATURES - 1)}
    return pa.table(columns | {"last": last})


# polars holds a row group in memory.
@pytest.mark.parametrize(
    "how, row_group_size", [("parquet", 2**16), ("parquet", N_ROWS), ("polars", 2**16)]
)
def test_parquet_files(table, tmp_path, how, row_group_size):
    if how == "polars":
        pytest.importorskip("polars")
    import pyarrow.parquet as pq

    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, row_group_size=row_group_size)
    assert path.stat().st_size > 140 * MB
    assert peak_of_reading(how, path) < 200 * MB


@pytest.mark.parametrize("n_rows", [2**16, N_ROWS])
def test_arrow_files(table, tmp_path, n_rows):
    import pyarrow as pa

    path = tmp_path / "rows.arrow"
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table, max_chunksize=n_rows)
    assert peak_of_reading("ipc", path) < 100 * MB


def test_mapped_arrays(tmp_path):
    path = tmp_path / "rows.npy"
    mapped = np.lib.format.open_memmap(
        path, "w+", dtype=np.float32, shape=(N_ROWS, N_FEATURES)
    )
    mapped[:, -1] = last_column()
    mapped.flush()
    del mapped
    assert peak_of_reading("mapped", path) < 20 * MB


def test_batches_are_not_collected():
    """`resized` holds no more than it needs, however many batches there are."""
    alive = 0

    class Rows(np.ndarray):
        def __del__(self):
            nonlocal alive
            if self.base is None:
                alive -= 1

    def batches():
        nonlocal alive
        for _ in range(100):
            alive += 1
            yield Batch(np.ndarray.__new__(Rows, (10, 2)))

    most = 0
    for batch in resized(batches(), 25):
        most = max(most, alive)
        assert batch.n_rows in (25, 1000 % 25 or 25)
    assert most <= 4
