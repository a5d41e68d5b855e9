"""The data sets of the benchmarks: read from a folder of files, or downloaded.

Files: ``mnist.npz``, ``covtype_93k.npz``, ``higgs_23k.npz``, ``california.npz``,
``blogfeedback.npz`` and ``shuttle.npz`` with arrays X and y; ``a9a.npz``,
``news20.npz`` and ``rcv1_tiny.npz`` with the parts of a CSR matrix (data, indices,
indptr, shape) and y; ``adult.csv.gz``, a table with a column "split".

Without a folder scikit-learn downloads the data set, except blogfeedback and shuttle,
which it does not know. A file that is missing ends the script with a message.
"""

from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn import datasets


def mnist(folder=None):
    """60,000 x 784 pixels divided by 255, ten digits."""
    if folder is None:
        X, y = _openml("mnist_784", version=1)
    else:
        data = _load(folder, "mnist")
        X, y = data["X"], data["y"]
    return X[:60_000] / 255.0, y[:60_000].astype(int)


def covtype(folder=None, n_rows=None):
    """Columns scaled to [0, 1], seven classes; `n_rows`: resampled with jitter."""
    X, y = covtype_as_it_is(folder)
    X -= X.min(axis=0)
    X /= np.maximum(X.max(axis=0), 1e-300)
    return _resample(X, y, n_rows, jitter=0.01)


def covtype_as_it_is(folder=None):
    """54 columns in metres, degrees and 0 or 1; seven classes."""
    if folder is None:
        X, y = _fetched(datasets.fetch_covtype, return_X_y=True)
    else:
        data = _load(folder, "covtype_93k")
        X, y = data["X"], data["y"]
    return X.astype(float), y.astype(int)


def covtype_standardised(folder=None, two_classes=False):
    """54 standardised columns; seven classes, or the second one against the others."""
    X, y = covtype(folder)
    return standardised(X), (y == 2).astype(int) if two_classes else y


def higgs(folder=None, n_rows=None):
    """28 standardised columns, two classes; `n_rows`: resampled with jitter."""
    if folder is None:
        X, y = _openml("higgs", version=2)
        complete = np.isfinite(X).all(axis=1)
        X, y = X[complete], y[complete]
    else:
        data = _load(folder, "higgs_23k")
        X, y = data["X"], data["y"]
    X = X.astype(float)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return _resample(X, y.astype(int), n_rows, jitter=0.02)


def news20(folder=None, two_classes=True):
    """Word counts of newsgroup posts, rows of unit norm.

    Of two classes one is the first ten groups; otherwise there are twenty.
    """
    if folder is None:
        X, y = _fetched(
            datasets.fetch_20newsgroups_vectorized, return_X_y=True, normalize=False
        )
        y = y + 1
    else:
        X, y = _load_sparse(folder, "news20")
    return _unit_rows(X), (y <= 10).astype(int) if two_classes else y.astype(int)


def a9a(folder=None):
    """48,842 x 123 indicators of the census data "adult", dense; two classes."""
    if folder is None:
        X, y = _openml("a9a", version=1)
        return sparse.csr_matrix(X).toarray(), (y.astype(float) > 0).astype(int)
    X, y = _load_sparse(folder, "a9a")
    return X.toarray(), (y > 0).astype(int)


def adult(folder=None):
    """The census data "adult": a table without the target, and whether it is >50K."""
    import pandas as pd

    if folder is None:
        frame = _fetched(datasets.fetch_openml, "adult", version=2, parser="auto").frame
        names = {"class": "income", "native-country": "native_country"}
        frame = frame.rename(columns=names)
    else:
        frame = pd.read_csv(_file(folder, "adult.csv.gz")).drop(columns="split")
    y = frame.pop("income").str.strip().str.startswith(">50K").to_numpy().astype(int)
    return frame, y


def shuttle(folder):
    """58,000 x 9 integers with heavy tails, five classes: rare ones are one class."""
    data = _load(folder, "shuttle")
    return data["X"].astype(float), np.minimum(data["y"].astype(int), 5)


def california(folder=None):
    """20,640 x 8 standardised columns, house prices."""
    if folder is None:
        X, y = _fetched(datasets.fetch_california_housing, return_X_y=True)
        return standardised(X), y
    data = _load(folder, "california")
    return standardised(data["X"]), data["y"].astype(float)


def blogfeedback(folder):
    """60,021 x 280 standardised columns, number of comments."""
    data = _load(folder, "blogfeedback")
    return standardised(data["X"]), data["y"].astype(float)


def rcv1(folder=None):
    """Reuters stories, rows of unit norm, CCAT or not (a sample of 1,500 in files)."""
    if folder is None:
        data = _fetched(datasets.fetch_rcv1, subset="train")
        ccat = data.target_names.tolist().index("CCAT")
        return _unit_rows(data.data), data.target[:, ccat].toarray().ravel().astype(int)
    X, y = _load_sparse(folder, "rcv1_tiny")
    return _unit_rows(X), (y > 0).astype(int)


def standardised(X):
    """Columns of mean 0 and standard deviation 1; constant columns become 0."""
    X = np.asarray(X, dtype=float)
    spread = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.ascontiguousarray(X)


def _file(folder, name):
    """Path of a file; ends the script if it does not exist."""
    if folder is None:
        raise SystemExit(
            f"scikit-learn does not know this data set: give --data-dir a folder that "
            f"holds {name}. Its layout is described in {__file__}."
        )
    path = Path(folder) / name
    if not path.exists():
        raise SystemExit(
            f"{path} does not exist. Give --data-dir a folder that holds {name}, whose "
            f"layout is described in {__file__}, or use --only for other data sets. "
            "Most data sets are downloaded by scikit-learn if --data-dir is left out."
        )
    return path


def _fetched(fetch, *args, **kwargs):
    """What scikit-learn downloads; ends the script if it cannot."""
    try:
        return fetch(*args, **kwargs)
    except OSError as error:  # URLError is one
        raise SystemExit(
            f"{fetch.__name__} could not download the data set ({error}). Give "
            f"--data-dir a folder with the files described in {__file__}."
        ) from error


def _openml(name, version):
    return _fetched(
        datasets.fetch_openml, name, version=version, as_frame=False, return_X_y=True,
        parser="auto",
    )  # fmt: skip


def _load(folder, name):
    return np.load(_file(folder, f"{name}.npz"))


def _load_sparse(folder, name):
    data = _load(folder, name)
    parts = (data["data"].astype(float), data["indices"], data["indptr"])
    return sparse.csr_matrix(parts, shape=tuple(data["shape"])), data["y"]


def _unit_rows(X):
    norms = np.sqrt(X.multiply(X).sum(axis=1).A1)
    return sparse.csr_matrix(sparse.diags(1.0 / np.maximum(norms, 1e-300)) @ X)


def _resample(X, y, n_rows, jitter):
    """Rows drawn with replacement; noise is added so that no two are equal."""
    if n_rows is None:
        return X, y
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(X), n_rows)
    sample = X[chosen]
    for first in range(0, n_rows, 100_000):  # the noise of all rows at once is large
        block = sample[first : first + 100_000]
        block += jitter * rng.standard_normal(block.shape)
    return sample, y[chosen]
