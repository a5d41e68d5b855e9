"""Edits under the words that people use: they do the same, and reports say the word."""

from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_diabetes

from skdeltagrad import DeltaGradRidge

X, Y = load_diabetes(return_X_y=True)
IDS = np.arange(442) // 2
PAIRS = {
    "unlearn": (
        lambda model: model.unlearn(position=[3, 7], request_id="r"),
        lambda model: model.partial_unfit(position=[3, 7], request_id="r"),
    ),
    "add": (
        lambda model: model.add(X[:2], Y[:2], sample_id=[500, 501], request_id="r"),
        lambda model: model.partial_refit(
            X[:2], Y[:2], sample_id=[500, 501], request_id="r"
        ),
    ),
    "correct": (
        lambda model: model.correct(X[:2], Y[:2], sample_id=[9, 9], request_id="r"),
        lambda model: model.partial_refit(
            X[:2], Y[:2], sample_id=[9, 9], replace=True, request_id="r"
        ),
    ),
}


@pytest.mark.parametrize("word", PAIRS)
def test_words_do_the_same(word):
    model = DeltaGradRidge().fit(X, Y, sample_id=IDS)
    other = deepcopy(model)
    plain, formal = PAIRS[word]
    assert plain(model) is model
    formal(other)
    assert_array_equal(model.coef_, other.coef_)
    assert_array_equal(model.positions_, other.positions_)
    report = model.update_report_
    assert (report.operation, report.request_id) == (word, "r")
    assert other.update_report_.operation.startswith("partial_")
    assert model.history_.verify(model) == 2


def test_a_plan():
    model = DeltaGradRidge().fit(X, Y, sample_id=IDS)
    plan = model.plan_unlearn(sample_id=[3, 4])
    assert plan.n_removed == 4


def test_rows_by_position_are_corrected():
    model = DeltaGradRidge().fit(X, Y)
    model.correct(X[[5]], Y[[9]], position=5)
    changed = Y.copy()
    changed[5] = Y[9]
    again = DeltaGradRidge().fit(X, changed)
    np.testing.assert_allclose(model.coef_, again.coef_)


@pytest.mark.parametrize("word", ["add", "correct"])
def test_none_is_not_a_retrain(word):
    model = DeltaGradRidge().fit(X, Y)
    with pytest.raises(ValueError, match="X is None"):
        getattr(model, word)(None, None)
