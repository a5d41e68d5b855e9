"""Curvature pairs, and what edits by products keep of earlier systems."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad._optimum.curvature_pairs import CurvaturePairs


def _hessian(rng, order=6):
    root = rng.standard_normal((order, order))
    return root @ root.T + 0.1 * np.eye(order)


def test_the_last_pair_is_solved_exactly():
    rng = np.random.default_rng(0)
    hessian, pairs = _hessian(rng), CurvaturePairs(3)
    for _ in range(5):
        vector = rng.standard_normal((1, 6))
        pairs.add(vector, vector @ hessian)
        assert_allclose(pairs.solve(vector @ hessian, lambda v: v), vector)
    assert len(pairs) == 3


def test_conjugate_pairs_of_all_directions_are_the_inverse():
    rng = np.random.default_rng(1)
    hessian, pairs = _hessian(rng), CurvaturePairs(6)
    for vector in np.linalg.eigh(hessian)[1].T:
        pairs.add(vector[np.newaxis], vector[np.newaxis] @ hessian)
    right = rng.standard_normal((1, 6))
    found = pairs.solve(right, lambda v: 7.0 * v)
    assert_allclose(found, np.linalg.solve(hessian, right.T).T)


def test_the_corrected_inverse_is_symmetric_and_positive_definite():
    rng = np.random.default_rng(2)
    hessian, pairs = _hessian(rng), CurvaturePairs(4)
    for _ in range(4):
        vector = rng.standard_normal((1, 6))
        pairs.add(vector, vector @ (hessian + 0.3 * _hessian(rng)))  # not of one H
    inverse = np.vstack([pairs.solve(e[np.newaxis], lambda v: v) for e in np.eye(6)])
    assert_allclose(inverse, inverse.T, atol=1e-12)
    assert np.linalg.eigvalsh(inverse)[0] > 0.0


@pytest.mark.parametrize("vector", [np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0]])])
def test_a_pair_without_curvature_is_not_kept(vector):
    pairs = CurvaturePairs(3)
    pairs.add(vector, np.array([[-1.0, 0.0, 0.0]]))
    assert len(pairs) == 0


def test_a_copy_is_not_changed_by_what_is_added_to_another():
    pairs, one = CurvaturePairs(3), np.ones((1, 2))
    other = pairs.copied()
    other.add(one, one)
    assert (len(pairs), len(other)) == (0, 1)


def _model(curvature="diagonal"):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 30)) @ rng.standard_normal((30, 30))
    X *= np.logspace(0, -1, 30)
    y = np.argmax(X[:, :3] + rng.gumbel(size=(600, 3)), axis=1)
    return DeltaGradLogisticRegression(C=0.01, curvature=curvature).fit(X, y), X, y


def test_later_edits_take_fewer_passes():
    model, _, _ = _model()
    forgetful = deepcopy(model)
    passes = []
    for kept in (True, False):
        edited = model if kept else forgetful
        for row in range(8):
            if not kept:
                edited._engine = deepcopy(edited._engine)  # which drops the pairs
                assert edited._engine.recycled is None
            edited.unlearn(position=row)
            assert edited.update_report_.relative_bound <= edited.edit_tol
        passes.append(edited.update_report_.n_passes)
    assert passes[0] <= 0.8 * passes[1]


@pytest.mark.parametrize("curvature", ["kronecker", "diagonal"])
def test_neither_dumps_nor_purges_keep_what_edits_have_learnt(curvature):
    model, X, y = _model(curvature)
    model.unlearn(position=range(5))
    before = model._engine.recycled
    assert len(before.pairs) and before.nbytes < model.update_report_.cache_bytes
    assert (before.moments is None) == (curvature == "diagonal")
    model.purge()
    after = model._engine.recycled
    fresh = DeltaGradLogisticRegression(C=0.01, curvature=curvature).fit(X[5:], y[5:])
    expected = fresh._engine.recycled
    one = np.ones((1, 2 * 31))
    assert_allclose(
        after.pairs.solve(one, np.copy), expected.pairs.solve(one, np.copy), rtol=1e-5
    )
    if after.moments is not None:
        assert_allclose(after.moments[0], expected.moments[0])
    assert pickle.loads(pickle.dumps(model))._engine.recycled is None
