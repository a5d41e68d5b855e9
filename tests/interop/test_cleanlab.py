"""Label errors that cleanlab finds are unlearned, or corrected."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression

pytest.importorskip("cleanlab")
from cleanlab.classification import CleanLearning  # noqa: E402
from cleanlab.filter import find_label_issues  # noqa: E402


@pytest.fixture(scope="module")
def noisy():
    X, y = load_breast_cancer(return_X_y=True)
    wrong = np.random.RandomState(0).choice(len(y), 30, replace=False)
    given = y.copy()
    given[wrong] = 1 - y[wrong]
    return scale(X), y, given, wrong


def model():
    return DeltaGradLogisticRegression(C=0.1, edit_tol=1e-5)


def test_find_unlearn_correct(noisy):
    X, y, given, wrong = noisy
    issues = find_label_issues(
        given,
        cross_val_predict(model(), X, given, cv=3, method="predict_proba"),
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    assert len(np.intersect1d(issues, wrong)) > 20
    cleaned = model().fit(X, given, sample_id=np.arange(len(y)))
    before = cleaned.score(X, y)
    cleaned.unlearn(sample_id=issues)
    kept = np.delete(np.arange(len(y)), issues)
    exact = LogisticRegression(C=0.1, tol=1e-10, max_iter=1000)
    assert_allclose(cleaned.coef_, exact.fit(X[kept], given[kept]).coef_, atol=1e-5)
    assert cleaned.score(X, y) > before
    # They come back with the labels that an expert gives them.
    cleaned.partial_refit(X[issues], y[issues], sample_id=issues)
    given = given.copy()
    given[issues] = y[issues]
    assert_allclose(cleaned.coef_, exact.fit(X, given).coef_, atol=1e-5)


def test_clean_learning(noisy):
    X, y, given, wrong = noisy
    learning = CleanLearning(
        model(), seed=0, cv_n_folds=3, find_label_issues_kwargs={"n_jobs": 1}
    ).fit(X, given)
    found = np.flatnonzero(learning.get_label_issues()["is_label_issue"])
    assert len(np.intersect1d(found, wrong)) > 20
    # The estimator in it is fitted without them, and can be edited further.
    last = learning.clf
    assert last.update_report_.n_samples == len(y) - len(found)
    last.unlearn(X[[kept := np.delete(np.arange(len(y)), found)[0]]], given[[kept]])
    assert last.update_report_.n_removed == 1
