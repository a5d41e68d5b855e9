"""`partial_unfit` leaves nothing of a row, whatever the solver, storage, loss or dump.

Every solver meets every loss here, with storages and forms of dump in turn. With
ALL_COMBINATIONS=1 in the environment they all meet each other.
"""

import itertools
import os
import pickle
from functools import partial

import joblib
import numpy as np
import pytest
from scipy import sparse

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradRidge,
    assert_erased,
)

N_SAMPLES, N_FEATURES = 40, 9

SOLVERS = {
    "newton, exact": {"curvature": "exact"},
    "newton, kronecker": {"curvature": "kronecker"},
    "newton, diagonal": {"curvature": "diagonal"},
    "newton, no data": {"store_data": False, "edit_tol": 10.0},
    "gd": {"solver": "gd", "max_iter": 5},
    "gd, period": {"solver": "gd", "max_iter": 8, "burn_in": 1, "period": 3},
    "sgd": {"solver": "sgd", "max_iter": 3, "batch_size": 7},
    "sgd, period": {
        "solver": "sgd", "max_iter": 3, "batch_size": 7, "burn_in": 1, "period": 3,
    },
    "sgd, one row": {
        "solver": "sgd", "max_iter": 2, "batch_size": 1, "burn_in": 1, "period": 4,
        "learning_rate": 0.02,
    },
    "sgd, one row, auto": {
        "solver": "sgd", "max_iter": 2, "batch_size": 1, "learning_rate": 0.02,
    },
    "sgd, float32 steps": {
        "solver": "sgd", "max_iter": 3, "batch_size": 7, "cache_dtype": "float32",
    },
    "sgd, steps in files": {
        "solver": "sgd", "max_iter": 3, "batch_size": 2, "period": 3,
        "cache_folder": ".",
    },
}  # fmt: skip


def as_frame(X):
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])


STORAGES = {
    "dense": np.ascontiguousarray,
    "float32": partial(np.asarray, dtype=np.float32),
    "CSR": sparse.csr_array,
    "Fortran": np.asfortranarray,
    "pandas": as_frame,
}

LOSSES = {
    "binomial": (DeltaGradLogisticRegression, {}, 2),
    "multinomial": (DeltaGradLogisticRegression, {}, 3),
    "balanced": (DeltaGradLogisticRegression, {"class_weight": "balanced"}, 3),
    "squared": (DeltaGradRidge, {}, None),
    "two targets": (DeltaGradRidge, {}, None),
}


def by_joblib(model, path, compress):
    joblib.dump(model, path, compress=compress)
    return path


def by_pickle(model, path, protocol):
    path.write_bytes(pickle.dumps(model, protocol=protocol))
    return path


def as_a_map(model, path):
    joblib.dump(model, path)
    return joblib.load(path, mmap_mode="r")


def by_skops(model, path):
    skops_io = pytest.importorskip("skops.io")
    skops_io.dump(model, path)
    return path


DUMPS = {
    "none": lambda model, path: model,
    "joblib": partial(by_joblib, compress=0),
    "zlib": partial(by_joblib, compress=("zlib", 3)),
    "gzip": partial(by_joblib, compress=("gzip", 3)),
    "bz2": partial(by_joblib, compress=("bz2", 3)),
    "lzma": partial(by_joblib, compress=("lzma", 1)),
    "xz": partial(by_joblib, compress=("xz", 1)),
    "pickle 2": partial(by_pickle, protocol=2),
    "pickle 5": partial(by_pickle, protocol=5),
    "memory map": as_a_map,
    "skops": by_skops,
}

COMBINATIONS = list(itertools.product(SOLVERS, STORAGES, LOSSES))
if os.environ.get("ALL_COMBINATIONS"):
    CASES = list(itertools.product(COMBINATIONS, DUMPS))
else:
    # Of each solver and loss, with storages and dumps in turn.
    CASES = [
        ((solver, storage, loss), dump)
        for (solver, loss), storage, dump in zip(
            itertools.product(SOLVERS, LOSSES),
            itertools.cycle(list(STORAGES) + list(STORAGES)[1:]),
            itertools.cycle(DUMPS),
        )
    ]


def data(loss):
    kind, parameters, n_classes = LOSSES[loss]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_SAMPLES, N_FEATURES)) + np.arange(N_FEATURES) % 3 * 4.0
    X[rng.random(X.shape) < 0.2] = 0.0
    if n_classes is None:
        y = X @ rng.normal(size=(N_FEATURES, 2)) + rng.normal(size=(N_SAMPLES, 2))
        return kind, parameters, X, y if loss == "two targets" else y[:, 0]
    return kind, parameters, X, np.arange(N_SAMPLES) % n_classes


@pytest.mark.parametrize(
    "combination, dump", CASES, ids=lambda part: "-".join(np.atleast_1d(part))
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_nothing_is_left(combination, dump, tmp_path, replay_always, search_unpurged):
    """After edits, which leave no multiple of a row, and after a purge."""
    solver, storage, loss = combination
    kind, parameters, X, y = data(loss)
    parameters = parameters | SOLVERS[solver]
    if "cache_folder" in parameters:
        parameters["cache_folder"] = str(tmp_path)
    if parameters.get("solver", "newton") != "newton":
        parameters["random_state"] = 0
    # Where no rows are kept, the certificate must hold.
    parameters |= {"alpha": 5.0} if kind is DeltaGradRidge else {"C": 1e-3}
    stored = STORAGES[storage](X)
    model = kind(**parameters).fit(stored, y)
    gone = [3, 8, 21]
    if parameters.get("store_data", True):
        model.partial_unfit(position=gone[:1])
        model.partial_unfit(stored[8:9], y[8:9])
        model.partial_unfit(position=gone[2:])
    else:
        for row in gone:
            model.partial_unfit(stored[row : row + 1], y[row : row + 1])
    for purge in (False, True):
        if purge:
            model.purge()
        report = assert_erased(DUMPS[dump](model, tmp_path / "model"), X[gone])
        assert report.n_checked == len(gone)
        assert not report.multiples_not_checkable
    assert model.purged_ != "no"
