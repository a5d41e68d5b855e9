"""
Rows in files: fit from Parquet, edit, erase
============================================

Rows that do not fit into memory stay in files: ``fit`` reads them from Parquet in
batches and keeps them in a folder of its own, which edits change in place. Here a few
hundred thousand customers are enough to see how it works.
"""

import tempfile
from pathlib import Path
from time import perf_counter

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

from skdeltagrad import DeltaGradLogisticRegression, assert_erased

plt.style.use("petroff10")
folder = Path(tempfile.mkdtemp())

# %%
# The data set is a folder of Parquet files, each written without the others in memory.

N_PARTS, N_ROWS, N_FEATURES = 8, 50_000, 10
FEATURES = [f"x{j}" for j in range(N_FEATURES)]
coef = np.random.default_rng(0).normal(size=N_FEATURES)


def customers(part):
    """The rows of a part: features, whether the customer buys, and an id."""
    rng = np.random.default_rng(part)
    X = rng.normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
    buys = X @ coef + rng.logistic(size=N_ROWS) > 0
    return X, buys, part * N_ROWS + np.arange(N_ROWS)


(folder / "parquet").mkdir()
for part in range(N_PARTS):
    X, buys, ids = customers(part)
    columns = dict(zip(FEATURES, X.T, strict=True)) | {"buys": buys, "customer": ids}
    pa.parquet.write_table(pa.table(columns), folder / "parquet" / f"{part}.parquet")

# %%
# ``fit`` reads the files once. Columns are named instead of given as arrays, and are no
# features then.

data = pa.dataset.dataset(folder / "parquet")
est = DeltaGradLogisticRegression(store=folder / "store")
started = perf_counter()
est.fit(data, y="buys", sample_id="customer")
print(f"{est.update_report_.n_samples:,} rows in {perf_counter() - started:.1f} s")
print("features:", ", ".join(est.feature_names_in_))

# %%
# The folder has a file for X and one for each column of the table of rows.

for path in sorted((folder / "store").iterdir()):
    print(f"{path.name:20} {path.stat().st_size / 1e6:8.2f} MB")

# %%
# Customers ask to be forgotten. An edit changes their rows in the files, and nothing
# else; most of its time is waiting for the disk.

seconds, bounds = [], []
requests = np.random.default_rng(1).choice(N_PARTS * N_ROWS, 40, replace=False)
for customer in requests:
    started = perf_counter()
    est.unlearn(sample_id=[customer])
    seconds.append(perf_counter() - started)
    bounds.append(est.update_report_.relative_bound)
print(est.update_report_)

# %%
# A dump contains the model and the name of the folder. Predicting needs no folder; the
# next edit opens it. Only one estimator at a time can have it open, hence ``close``.

est.save(folder / "model.joblib")
est.close()
print(f"dump: {(folder / 'model.joblib').stat().st_size / 1e3:.0f} kB")
est = joblib.load(folder / "model.joblib")
est.unlearn(sample_id=[int(np.setdiff1d(np.arange(99), requests)[0])]).purge()

# %%
# The rows of these customers are gone, from the estimator and from all files in its
# folder.

removed = np.stack([customers(c // N_ROWS)[0][c % N_ROWS] for c in requests.tolist()])
print(assert_erased(est, removed))

# %%
# The first edits complete what later ones need.

fig, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
axes[0].semilogy(1e3 * np.array(seconds), ".")
axes[0].set(xlabel="edit", ylabel="milliseconds")
axes[1].semilogy(bounds, ".")
axes[1].set(xlabel="edit", ylabel="bound, relative to the change")
plt.show()
