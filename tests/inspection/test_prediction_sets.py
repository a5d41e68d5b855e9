"""Prediction sets, next to refits without each row, and their coverage."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad.inspection import prediction_sets


def draw(n_rows, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, 3))
    raw = 1.5 * X @ np.random.default_rng(9).standard_normal((3, n_classes))
    y = (raw + rng.gumbel(size=raw.shape)).argmax(axis=1)
    y[:n_classes] = y[n_classes : 2 * n_classes] = np.arange(n_classes)
    return X, y


def by_refits(X, y, unit, new, alpha, score):
    """Romano, Sesia and Candes (2020), their jackknife+ and CV+, word for word."""

    def scores(probability, part):
        if score == "lac":
            return 1.0 - probability
        return np.array(
            [
                [row[row > p].sum() + u * p for p in row]
                for row, u in zip(probability, part, strict=True)
            ]
        )

    n, counts, rng = len(y), 0, np.random.RandomState(0)
    own_parts, new_parts = rng.uniform(size=n), rng.uniform(size=len(new))
    for row in range(n):
        stay = unit != unit[row]
        model = LogisticRegression(solver="newton-cholesky", tol=1e-12)
        model.fit(X[stay], y[stay])
        own = scores(model.predict_proba(X[[row]]), own_parts[[row]])[0, y[row]]
        counts = counts + (own < scores(model.predict_proba(new), new_parts))
    return counts < (1 - alpha) * (n + 1)


@pytest.mark.parametrize("score", ["lac", "aps"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_folds", [None, 5])
@pytest.mark.parametrize("chunk", [2**22, 300])
def test_sets_equal_refits(score, n_classes, n_folds, chunk, monkeypatch):
    monkeypatch.setattr("skdeltagrad.inspection._functions._CHUNK_ENTRIES", chunk)
    X, y = draw(60, n_classes)
    new, _ = draw(25, n_classes, seed=1)
    unit = np.arange(60) if n_folds is None else np.arange(60) % n_folds
    model = DeltaGradLogisticRegression(tol=1e-10).fit(X, np.array(list("abc"))[y])
    groups = None if n_folds is None else unit
    for alpha in (0.1, 0.3):
        found = prediction_sets(
            model, new, alpha=alpha, score=score, groups=groups, tol=1e-8,
            random_state=0,
        )  # fmt: skip
        assert_array_equal(found, by_refits(X, y, unit, new, alpha, score))
        assert 0 < found.mean() < 1


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_coverage(score):
    hits, sizes = [], []
    for seed in range(20):
        X, y = draw(160, 3, seed=100 + seed)
        model = DeltaGradLogisticRegression().fit(X[:60], y[:60])
        sets = prediction_sets(model, X[60:], alpha=0.2, score=score, random_state=seed)
        hits.append(sets[np.arange(100), y[60:]].mean())
        sizes.append(sets.sum(axis=1).mean())
    # 1 - 2 alpha is guaranteed; the standard error of the mean is about 0.015.
    assert 0.75 <= np.mean(hits) <= 0.85
    assert 1.0 < np.mean(sizes) < 2.9


def test_too_few_rows_leave_out_no_label():
    X, y = draw(12, 2)
    model = DeltaGradLogisticRegression().fit(X, y)
    assert prediction_sets(model, X, alpha=0.01).all()


def test_rows_of_weight_zero_count_as_absent():
    X, y = draw(61, 2)
    weight = np.ones(61)
    weight[7] = 0.0
    stay = weight > 0
    with_row = DeltaGradLogisticRegression(tol=1e-10).fit(X, y, weight)
    without = DeltaGradLogisticRegression(tol=1e-10).fit(X[stay], y[stay])
    found, expected = (
        prediction_sets(model, X, alpha=0.2, tol=1e-8) for model in (with_row, without)
    )
    assert_array_equal(found, expected)


def test_errors_say_what_to_do(unchanged):
    X, y = draw(30, 2)
    model = DeltaGradLogisticRegression().fit(X, y)
    with pytest.raises(TypeError, match="must be a classifier.*jackknife_plus"):
        prediction_sets(DeltaGradRidge().fit(X, y), X)
    with pytest.raises(ValueError, match="alpha must be between 0 and 1, got 5"):
        prediction_sets(model, X, alpha=5)
    with pytest.raises(ValueError, match="score must be.*got 'raps'"):
        prediction_sets(model, X, score="raps")
    with pytest.raises(ValueError, match="Without 0, 1"):
        prediction_sets(model, X, groups=y)
    with unchanged(model):
        prediction_sets(model, X)
