"""Samplers of imbalanced-learn before an estimator: what can be unlearned then."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from skdeltagrad import DeltaGradLogisticRegression, unlearn

pytest.importorskip("imblearn")
from imblearn.over_sampling import SMOTE, RandomOverSampler  # noqa: E402
from imblearn.pipeline import make_pipeline  # noqa: E402
from imblearn.under_sampling import RandomUnderSampler  # noqa: E402


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    kept = np.sort(np.r_[np.flatnonzero(y == 0)[:60], np.flatnonzero(y == 1)[:180]])
    return X[kept], y[kept]


def model():
    return DeltaGradLogisticRegression(C=0.1, edit_tol=1e-5)


@pytest.mark.parametrize("sampler", [RandomOverSampler, RandomUnderSampler])
def test_rows_that_were_picked_leave_with_all_their_copies(cancer, sampler):
    X, y = cancer
    steps = make_pipeline(StandardScaler(), sampler(random_state=0), model())
    steps.fit(X, y)
    picked = steps[1].sample_indices_
    gone = np.concatenate([np.flatnonzero(y == 0)[:4], np.flatnonzero(y == 1)[:4]])
    copies = np.flatnonzero(np.isin(picked, gone))
    n_copies = {"RandomOverSampler": range(9, 99), "RandomUnderSampler": range(4, 8)}
    assert len(copies) in n_copies[sampler.__name__]
    steps[-1].unlearn(position=copies)
    stays = picked[~np.isin(picked, gone)]
    fresh = model().fit(steps[0].transform(X)[stays], y[stays])
    assert_allclose(steps[-1].coef_, fresh.coef_, atol=1e-5)
    assert steps[-1].update_report_.n_samples == len(stays)


def test_by_content_one_copy_leaves_for_each_row_given(cancer):
    X, y = cancer
    steps = make_pipeline(RandomOverSampler(random_state=0), StandardScaler(), model())
    steps.fit(X, y)
    picked = steps[0].sample_indices_
    row = np.argmax(np.bincount(picked))
    n_copies = np.count_nonzero(picked == row)
    assert n_copies > 2
    given = np.repeat(steps[1].transform(X[[row]]), n_copies, axis=0)
    last, n_samples = steps[-1], len(picked)
    last.unlearn(given[:1], y[[row]])
    assert last.update_report_.n_samples == n_samples - 1
    last.unlearn(given[1:], y[[row] * (n_copies - 1)])
    with pytest.raises(ValueError, match="not"):
        last.unlearn(given[:1], y[[row]])


def test_rows_that_were_made_stay(cancer):
    """What SMOTE made of a row is a row of its own: only a new fit is without it."""
    X, y = cancer
    steps = make_pipeline(StandardScaler(), SMOTE(random_state=0), model()).fit(X, y)
    gone = np.flatnonzero(y == 0)[:4]
    last = steps[-1].unlearn(steps[0].transform(X[gone]), y[gone])
    assert last.update_report_.n_samples == 2 * 180 - 4
    assert not hasattr(steps[1], "sample_indices_")


@pytest.mark.parametrize("sampler", [SMOTE, RandomOverSampler, RandomUnderSampler])
def test_pipelines_with_samplers_are_refused(cancer, unchanged, sampler):
    steps = make_pipeline(StandardScaler(), sampler(random_state=0), model())
    steps.fit(*cancer)
    with unchanged(steps[-1]), pytest.raises(TypeError, match="resamples the rows"):
        unlearn(steps, cancer[0][:1], cancer[1][:1])
