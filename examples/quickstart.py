"""
Quickstart
==========

Three real data sets that come with scikit-learn, both estimators, both solvers: fit,
unlearn rows, compare with an exact retrain, add rows, correct a label, save, load, and
unlearn again.

Run it with ``python examples/quickstart.py``; it takes a few seconds, most of which is
Numba compiling its kernels the first time.
"""

import tempfile
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.preprocessing import StandardScaler

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, assert_erased


def show(name, step, estimator, note=""):
    report = estimator.update_report_
    print(
        f"{name:14}{step:26}{report.n_samples:>7}{report.n_exact_steps:>7}"
        f" of {report.n_steps:<5}{report.seconds:>8.3f}  {note}"
    )


def distance(a, b):
    return np.linalg.norm(a.coef_ - b.coef_)


def tour(name, estimator, X, y, wrong, right):
    """Everything that can be done to one model.

    `wrong` is the position of a row whose target is corrected to `right`.
    """
    # The last 20 rows come later; the first 5 people ask to be forgotten.
    X_late, y_late = X[-20:], y[-20:]
    estimator.fit(X[:-20], y[:-20])
    show(name, "fit", estimator, f"score {estimator.score(X, y):.3f}")
    before = estimator.to_sklearn()

    # Forget rows by their content: most gradients of the replay are predicted.
    estimator.unlearn(X[:5], y[:5])
    show(name, "unlearn 5 rows", estimator)
    replayed = estimator.to_sklearn()
    print(f"{'':14}{assert_erased(estimator, X[:5])}")

    # The yardstick: the same run on the remaining rows, every gradient computed.
    estimator.partial_refit()
    error = distance(replayed, estimator) / distance(before, estimator)
    show(name, "exact retrain", estimator, f"the replay was {error:.1e} off, nothing 1")

    # Rows that arrive later, and a target that was wrong, addressed by position.
    estimator.partial_refit(X_late, y_late)
    show(name, "add 20 rows", estimator)
    estimator.partial_refit(X[[wrong]], [right], position=wrong, replace=True)
    show(name, "correct a target", estimator)

    # Tomorrow, in another process: the run and the rows come back with the model.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.joblib"
        joblib.dump(estimator, path)
        loaded = joblib.load(path)
    same = np.array_equal(loaded.predict(X), estimator.predict(X))
    loaded.unlearn(position=[10, 11, 12])
    show(name, "save, load, unlearn 3", loaded, f"same predictions when loaded: {same}")
    print()


# %%
# What each step did
# ------------------
# "exact" counts the steps whose gradient was computed over the rows; the others were
# predicted. The exact retrain is what the replay is measured against, as a share of
# how far the model was from it before the edit.

print(f"{'data':14}{'step':26}{'rows':>7}{'exact':>10} steps{'seconds':>9}")
print("-" * 90)

X, y = load_digits(return_X_y=True)
tour(
    "digits",
    DeltaGradLogisticRegression(C=1.0, solver="sgd", batch_size=512, random_state=0),
    X / 16,
    y,
    wrong=100,
    right=y[101],
)

X, y = load_breast_cancer(return_X_y=True)
tour(
    "breast_cancer",
    DeltaGradLogisticRegression(C=1.0, solver="gd", class_weight="balanced"),
    StandardScaler().fit_transform(X),
    y,
    wrong=50,
    right=1 - y[50],
)

X, y = load_diabetes(return_X_y=True)
tour(
    "diabetes",
    # Squared error has the same curvature everywhere: pairs never age, keep more.
    DeltaGradRidge(alpha=10.0, solver="gd", history_size=10),
    StandardScaler().fit_transform(X),
    y,
    wrong=50,
    right=y[50] + 100,
)
