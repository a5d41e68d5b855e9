"""Which rows a fitted estimator holds: their number, positions and ids."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

X, Y = load_iris(return_X_y=True)


@pytest.fixture(params=["integers", "strings", "no ids"])
def case(request):
    ids = {
        "integers": np.arange(150) // 2 + 7,
        "strings": np.array([f"C{i // 2:03d}" for i in range(150)]),
        "no ids": None,
    }[request.param]
    return DeltaGradLogisticRegression().fit(X, Y, sample_id=ids), ids


def test_positions_and_ids_follow_edits(case):
    model, ids = case
    assert model.n_samples_ == 150
    assert_array_equal(model.positions_, np.arange(150))
    model.unlearn(position=[3, 17, 149])
    new = {} if ids is None else {"sample_id": ids[[0, 0]]}
    model.partial_refit(X[:2], Y[:2], **new)
    left = np.setdiff1d(np.arange(150), [3, 17, 149])
    assert model.n_samples_ == 149
    assert_array_equal(model.positions_, [*left, 150, 151])
    if ids is not None:
        expected = [*ids[left], ids[0], ids[0]]
        assert_array_equal(np.asarray(model.sample_ids_), expected)
        assert list(model.sample_ids_) == [value.item() for value in expected]
        assert len(model.sample_ids_) == 149
        assert model.sample_ids_[-1] == ids[0]
    model.purge(exact=True)
    assert_array_equal(model.positions_, [*left, 150, 151])


def test_corrected_rows_keep_their_positions(case):
    model, ids = case
    name = {"position": [5]} if ids is None else {"sample_id": ids[[4]]}
    if ids is not None:
        model.unlearn(position=4)  # so that one row is left of this id
    model.partial_refit(X[[5]], [2], replace=True, **name)
    expected = np.arange(150) if ids is None else np.delete(np.arange(150), 4)
    assert_array_equal(model.positions_, expected)


def test_ids_are_looked_up():
    ids = [f"C{i:03d}" for i in range(150)]
    model = DeltaGradLogisticRegression().fit(X, Y, sample_id=ids)
    assert "C007" in model.sample_ids_
    model.unlearn(sample_id=["C007"])
    assert "C007" not in model.sample_ids_
    assert 7 not in model.sample_ids_
    assert None not in model.sample_ids_
    assert "C" * 500 not in model.sample_ids_
    assert repr(model.sample_ids_) == "<ids of 149 rows>"


def test_there_is_an_error_where_there_are_none():
    with pytest.raises(NotFittedError):
        _ = DeltaGradRidge().n_samples_
    with pytest.raises(AttributeError, match="before fit"):
        _ = DeltaGradRidge().positions_
    model = DeltaGradRidge().fit(X, Y)
    with pytest.raises(AttributeError, match="not given any sample_id"):
        _ = model.sample_ids_
    model = DeltaGradRidge(store_data=False).fit(X, Y)
    assert model.n_samples_ == 150
    with pytest.raises(AttributeError, match="store_data=False"):
        _ = model.positions_


def test_a_notebook_shows_no_ids():
    model = DeltaGradRidge().fit(X, Y, sample_id=[f"secret{i}" for i in range(150)])
    html = model._repr_html_()
    assert "secret" not in html
    assert "sample_ids_" not in html
    assert "positions_" not in html
