"""The data sets of the benchmarks: from a folder of .npz files, or fetched.

Files: ``mnist.npz``, ``covtype_93k.npz``, ``higgs_23k.npz``, ``california.npz`` and
``blogfeedback.npz`` with arrays X and y; ``a9a.npz``, ``news20.npz`` and
``rcv1_tiny.npz`` with the parts of a CSR matrix (data, indices, indptr, shape) and y.
"""

from pathlib import Path

import numpy as np
from scipy import sparse


def mnist(folder=None):
    """60,000 x 784 pixels divided by 255, ten digits."""
    if folder is None:
        from sklearn.datasets import fetch_openml

        X, y = fetch_openml(
            "mnist_784", version=1, as_frame=False, return_X_y=True, parser="auto"
        )
        return X[:60_000] / 255.0, y[:60_000].astype(int)
    data = _load(folder, "mnist")
    return data["X"][:60_000] / 255.0, data["y"][:60_000].astype(int)


def covtype(folder=None, n_rows=None):
    """Columns scaled to [0, 1], seven classes; `n_rows`: resampled with jitter."""
    if folder is None:
        from sklearn.datasets import fetch_covtype

        X, y = fetch_covtype(return_X_y=True)
    else:
        data = _load(folder, "covtype_93k")
        X, y = data["X"], data["y"]
    X = X.astype(float)
    X -= X.min(axis=0)
    X /= np.maximum(X.max(axis=0), 1e-300)
    return _resample(X, y.astype(int), n_rows, jitter=0.01)


def higgs(folder=None, n_rows=None):
    """28 standardised columns, two classes; `n_rows`: resampled with jitter."""
    if folder is None:
        from sklearn.datasets import fetch_openml

        X, y = fetch_openml(
            "higgs", version=2, as_frame=False, return_X_y=True, parser="auto"
        )
        complete = np.isfinite(X).all(axis=1)
        X, y = X[complete], y[complete]
    else:
        data = _load(folder, "higgs_23k")
        X, y = data["X"], data["y"]
    X = X.astype(float)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return _resample(X, y.astype(int), n_rows, jitter=0.02)


def news20(folder=None, two_classes=True):
    """Word counts of newsgroup posts, rows of unit norm; first ten groups or not."""
    if folder is None:
        from sklearn.datasets import fetch_20newsgroups_vectorized

        X, y = fetch_20newsgroups_vectorized(return_X_y=True, normalize=False)
        y = y + 1
    else:
        X, y = _load_sparse(folder, "news20")
    return _unit_rows(X), (y <= 10).astype(int) if two_classes else y.astype(int)


def a9a(folder=None):
    """48,842 x 123 indicators of the census data "adult", dense; two classes."""
    if folder is None:
        from sklearn.datasets import fetch_openml

        X, y = fetch_openml("a9a", version=1, return_X_y=True, parser="auto")
        return sparse.csr_matrix(X).toarray(), (y.astype(float) > 0).astype(int)
    X, y = _load_sparse(folder, "a9a")
    return X.toarray(), (y > 0).astype(int)


def california(folder=None):
    """20,640 x 8 standardised columns, house prices."""
    if folder is None:
        from sklearn.datasets import fetch_california_housing

        X, y = fetch_california_housing(return_X_y=True)
        return standardised(X), y
    data = _load(folder, "california")
    return standardised(data["X"]), data["y"].astype(float)


def blogfeedback(folder):
    """60,021 x 280 standardised columns, number of comments."""
    data = _load(folder, "blogfeedback")
    return standardised(data["X"]), data["y"].astype(float)


def standardised(X):
    """Columns of mean 0 and standard deviation 1 (constant ones of 0)."""
    X = np.asarray(X, dtype=float)
    spread = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.ascontiguousarray(X)


def rcv1(folder=None):
    """Reuters stories, rows of unit norm, CCAT or not (a sample of 1,500 in files)."""
    if folder is None:
        from sklearn.datasets import fetch_rcv1

        data = fetch_rcv1(subset="train")
        ccat = data.target_names.tolist().index("CCAT")
        return _unit_rows(data.data), data.target[:, ccat].toarray().ravel().astype(int)
    X, y = _load_sparse(folder, "rcv1_tiny")
    return _unit_rows(X), (y > 0).astype(int)


def _load(folder, name):
    return np.load(Path(folder) / f"{name}.npz")


def _load_sparse(folder, name):
    data = _load(folder, name)
    parts = (data["data"].astype(float), data["indices"], data["indptr"])
    return sparse.csr_matrix(parts, shape=tuple(data["shape"])), data["y"]


def _unit_rows(X):
    norms = np.sqrt(X.multiply(X).sum(axis=1).A1)
    return sparse.csr_matrix(sparse.diags(1.0 / np.maximum(norms, 1e-300)) @ X)


def _resample(X, y, n_rows, jitter):
    """Rows drawn with replacement and a little noise, so that no two are equal."""
    if n_rows is None:
        return X, y
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(X), n_rows)
    sample = X[chosen]
    for first in range(0, n_rows, 100_000):  # the noise of all rows at once is large
        block = sample[first : first + 100_000]
        block += jitter * rng.standard_normal(block.shape)
    return sample, y[chosen]
