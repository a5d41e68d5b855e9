"""Warnings name the line of the user, whichever method leads to them."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris

from skdeltagrad import DeltaGradLogisticRegression

X, Y = load_iris(return_X_y=True)
EDITS = {
    "add": lambda model: model.add(X[:1], [7]),
    "partial_refit": lambda model: model.partial_refit(X[:1], [7]),
    "correct": lambda model: model.correct(X[:1], [7], position=0),
}


@pytest.mark.parametrize("name", EDITS)
def test_the_warning_is_of_this_file(name):
    model = DeltaGradLogisticRegression().fit(X, Y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        EDITS[name](model)
    assert [warning.filename for warning in caught] == [__file__]
    assert caught[0].lineno == EDITS[name].__code__.co_firstlineno


def test_a_fit_that_does_not_converge_names_the_call():
    rng = np.random.default_rng(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        X_wild = rng.standard_normal((50, 20)) * 10.0 ** rng.uniform(-3, 3, 20)
        y = (X_wild[:, 0] > 0).astype(int)
        DeltaGradLogisticRegression(C=1e6, max_iter=1).fit(X_wild, y)
    assert [warning.filename for warning in caught] == [__file__]
