"""Make the dumps that later versions are tested with: once for each schema.

Run it with the version of the library that the dumps are going to stand for; what is
there is not made again.
"""

import json
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_diabetes, load_wine
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._estimators import plain_state

FOLDER = Path(__file__).parent
N_SAMPLES = 40


def wine():
    """The first rows of what test_persistence.py calls `_wine(3)`."""
    X, y = load_wine(return_X_y=True)
    X, y = scale(X), np.array(["red", "rose", "white"])[y]
    rows = np.random.RandomState(0).permutation(len(y))[:N_SAMPLES]
    return X[rows], y[rows]


def diabetes():
    """The first rows of what test_persistence.py calls `_diabetes(2)`."""
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X[:80]), scale(y[:80])
    return X[:N_SAMPLES], np.column_stack([y, X[:, 0] - y])[:N_SAMPLES]


MODELS = {
    "logistic-newton": (DeltaGradLogisticRegression(), wine()),
    "logistic-sgd": (
        DeltaGradLogisticRegression(
            solver="sgd", max_iter=3, batch_size=16, random_state=0, period=3,
            class_weight="balanced",
        ),
        wine(),
    ),
    "ridge-newton": (DeltaGradRidge([1.0, 3.0]), diabetes()),
    "ridge-gd": (DeltaGradRidge(solver="gd", max_iter=5, period=3), diabetes()),
}  # fmt: skip


def main():
    for name, (model, (X, y)) in MODELS.items():
        path = FOLDER / f"{name}-schema-{plain_state.SCHEMA}.joblib"
        if path.exists():
            continue
        model.fit(X, y, sample_id=np.arange(len(y)) // 2)
        model.unlearn(sample_id=1, request_id="first")
        joblib.dump(model, path, compress=3)
        expected = {
            "schema": plain_state.SCHEMA,
            "coef": model.coef_.tolist(),
            "predictions": model.predict(X[:5]).tolist(),
            "edited_coef": model.unlearn(sample_id=3).coef_.tolist(),
        }
        path.with_suffix(".json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
