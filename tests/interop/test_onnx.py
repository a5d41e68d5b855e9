"""ONNX takes what `to_sklearn` gives: the model, without rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, unlearn

skl2onnx = pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run(model, X):
    options = {"zipmap": False} if hasattr(model, "classes_") else None
    onnx = skl2onnx.to_onnx(model, X[:1], options=options)
    session = onnxruntime.InferenceSession(
        onnx.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: X})


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_logistic(load):
    X, y = load(return_X_y=True)
    X = scale(X)
    model = DeltaGradLogisticRegression().fit(X, y).unlearn(position=[1, 2])
    labels, probabilities = run(model.to_sklearn(), X)
    assert_array_equal(labels, model.predict(X))
    assert_allclose(probabilities, model.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_ridge(n_targets):
    X, y = load_diabetes(return_X_y=True)
    y = y if n_targets == 1 else np.column_stack([y, X[:, 0]])
    model = DeltaGradRidge().fit(X, y).unlearn(position=[1, 2])
    (predicted,) = run(model.to_sklearn(), X)
    assert_allclose(predicted.reshape(y.shape), model.predict(X), rtol=1e-10)


def test_a_pipeline():
    X, y = load_wine(return_X_y=True)
    steps = make_pipeline(StandardScaler(), DeltaGradLogisticRegression()).fit(X, y)
    unlearn(steps, X[:3], y[:3])
    plain = make_pipeline(steps[0], steps[-1].to_sklearn())
    labels, probabilities = run(plain, X)
    assert_array_equal(labels, steps.predict(X))
    assert_allclose(probabilities, steps.predict_proba(X), atol=1e-12)
