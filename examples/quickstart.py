"""
Quickstart
==========

This script tries both estimators and all solvers on data sets that come with
scikit-learn: fit, unlearn rows, compare with an exact retrain, add rows, correct a
label, save, load, and unlearn again. The default solver computes and edits the optimum,
which is scikit-learn's solution; "gd" and "sgd" replay a whole path, as in the paper.

Run it with ``python examples/quickstart.py``. It takes a few seconds, the first time
mostly for Numba to compile its kernels.
"""

import tempfile
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_wine,
)
from sklearn.preprocessing import StandardScaler

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, assert_erased


def show(name, step, estimator, note=""):
    report = estimator.update_report_
    if report.n_steps:
        work = f"{report.n_exact_steps} of {report.n_steps} steps"
    else:
        work = "1 pass" if report.n_passes == 1 else f"{report.n_passes:g} passes"
    print(
        f"{name:18}{step:24}{report.n_samples:>6}{work:>17}{report.seconds:>8.3f}"
        f"  {note}"
    )


def distance(a, b):
    return np.linalg.norm(a.coef_ - b.coef_)


def tour(name, estimator, X, y, wrong, right):
    """Try everything on one model.

    `wrong` is the position of a row whose target is corrected to `right`.
    """
    # The last 20 rows are added later; the first 5 are to be forgotten.
    X_late, y_late = X[-20:], y[-20:]
    estimator.fit(X[:-20], y[:-20])
    show(name, "fit", estimator, f"score {estimator.score(X, y):.3f}")
    before = estimator.to_sklearn()

    # Forget rows by their content; the report bounds the error of the model.
    estimator.unlearn(X[:5], y[:5])
    bound = estimator.update_report_.change_bound
    note = (
        "" if bound is None else f"certified: error at most {bound:.0e} of the change"
    )
    show(name, "unlearn 5 rows", estimator, note)
    replayed = estimator.to_sklearn()

    # The reference: the model trained again on the remaining rows.
    estimator.partial_refit()
    error = distance(replayed, estimator) / distance(before, estimator)
    note = f"error of the edit: {error:.0e} of the change"
    show(name, "exact retrain", estimator, note)

    # Edits leave traces of removed rows, and a purge removes them.
    estimator.purge()
    show(name, "purge", estimator)
    print(f"{'':18}{assert_erased(estimator, X[:5])}")

    # Add rows that arrive later, and correct a target, named by its position.
    estimator.partial_refit(X_late, y_late)
    show(name, "add 20 rows", estimator)
    estimator.partial_refit(X[[wrong]], [right], position=wrong, replace=True)
    show(name, "correct a target", estimator)

    # A saved model contains its rows and its path, and can be edited after loading.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.joblib"
        estimator.save(path, purge=True)
        loaded = joblib.load(path)
    same = np.array_equal(loaded.predict(X), estimator.predict(X))
    loaded.unlearn(position=[10, 11, 12])
    show(name, "save, load, unlearn 3", loaded, f"same predictions when loaded: {same}")
    print()


# %%
# What each step did
# ------------------
# The column "work" says for the default solver how often the rows were read, and for
# "gd" and "sgd" how many gradients were computed over the rows; the others were
# predicted. With so few rows a retrain is as fast as a replay, and the default
# ``period="auto"`` would retrain; here the paper's ``period`` forces a replay. The
# error of an edit is the distance from the exact retrain, relative to that before the
# edit.

print(f"{'data':18}{'step':24}{'rows':>6}{'work':>17}{'seconds':>8}")
print("-" * 100)

X, y = load_wine(return_X_y=True)
tour(
    "wine, newton",
    DeltaGradLogisticRegression(C=0.1),
    StandardScaler().fit_transform(X),
    y,
    wrong=50,
    right=1,
)

X, y = load_diabetes(return_X_y=True)
tour(
    "diabetes, newton",
    DeltaGradRidge(alpha=10.0),
    StandardScaler().fit_transform(X),
    y,
    wrong=50,
    right=y[50] + 100,
)

X, y = load_digits(return_X_y=True)
tour(
    "digits, sgd",
    DeltaGradLogisticRegression(
        C=1.0, solver="sgd", batch_size=512, period=5, random_state=0
    ),
    X / 16,
    y,
    wrong=100,
    right=y[101],
)

X, y = load_breast_cancer(return_X_y=True)
tour(
    "cancer, gd",
    DeltaGradLogisticRegression(C=1.0, solver="gd", class_weight="balanced", period=5),
    StandardScaler().fit_transform(X),
    y,
    wrong=50,
    right=1 - y[50],
)

X, y = load_diabetes(return_X_y=True)
tour(
    "diabetes, gd",
    # The Hessian of a squared error is constant, so that old pairs stay valid.
    DeltaGradRidge(alpha=10.0, solver="gd", period=5, history_size=10),
    StandardScaler().fit_transform(X),
    y,
    wrong=50,
    right=y[50] + 100,
)
