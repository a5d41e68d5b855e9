"""Rows in pandas and polars frames."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, unlearn


@pytest.fixture(params=["pandas", "polars"])
def frames(request):
    """The name of a library; and its frames and series from arrays."""
    library = pytest.importorskip(request.param)

    def frame(X):
        names = [f"column {j}" for j in range(X.shape[1])]
        if request.param == "pandas":
            return library.DataFrame(X, columns=names)
        return library.DataFrame(X, schema=names)

    return request.param, frame, library.Series


def test_frames(frames):
    _, frame, series = frames
    X, y = load_diabetes(return_X_y=True)
    ids = np.array([f"patient {i}" for i in range(len(y))])
    model = DeltaGradRidge().fit(frame(X), series(y), sample_id=series(ids))
    plain = DeltaGradRidge().fit(X, y, sample_id=ids)
    names = [f"column {j}" for j in range(10)]
    assert_array_equal(model.feature_names_in_, names)
    model.unlearn(frame(X)[3:6], series(y)[3:6])
    plain.unlearn(X[3:6], y[3:6])
    model.unlearn(sample_id=series(["patient 9", "patient 17"]))
    plain.unlearn(sample_id=["patient 9", "patient 17"])
    model.partial_refit(frame(X)[4:6], series(y)[4:6], sample_id=series(["new", "new"]))
    plain.partial_refit(X[4:6], y[4:6], sample_id=["new", "new"])
    assert_array_equal(model.coef_, plain.coef_)
    assert_allclose(model.predict(frame(X)), plain.predict(X), rtol=1e-12)
    assert_array_equal(model.to_sklearn().feature_names_in_, names)


def test_columns_in_another_order_are_refused(frames, unchanged):
    _, frame, series = frames
    X, y = load_diabetes(return_X_y=True)
    model = DeltaGradRidge().fit(frame(X), series(y))
    turned = frame(X)[[f"column {j}" for j in range(9, -1, -1)]]
    with unchanged(model), pytest.raises(ValueError, match="same order"):
        model.unlearn(turned[:2], series(y)[:2])


def test_labels_that_are_text(frames):
    _, frame, series = frames
    X, y = load_breast_cancer(return_X_y=True)
    y = np.array(["malignant", "benign"])[y]
    steps = make_pipeline(StandardScaler(), DeltaGradLogisticRegression(C=0.1))
    steps.fit(frame(X), series(y.tolist()))
    assert list(steps.classes_) == ["benign", "malignant"]
    unlearn(steps, frame(X)[:5], series(y.tolist())[:5])
    assert steps[-1].update_report_.n_samples == len(y) - 5
    assert set(steps.predict(frame(X))) == {"benign", "malignant"}


def test_pipelines_that_hand_frames_on(frames):
    name, frame, series = frames
    X, y = load_diabetes(return_X_y=True)
    steps = make_pipeline(StandardScaler(), DeltaGradRidge())
    steps.set_output(transform=name).fit(frame(X), series(y))
    assert_array_equal(steps[-1].feature_names_in_, steps[0].get_feature_names_out())
    unlearn(steps, frame(X)[:4], series(y)[:4])
    fresh = DeltaGradRidge().fit(steps[0].transform(frame(X))[4:], y[4:])
    assert_allclose(steps[-1].coef_, fresh.coef_, rtol=1e-9)
