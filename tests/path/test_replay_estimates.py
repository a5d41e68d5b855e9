"""The estimate of a replay's error, where batches differ from one another."""

from copy import deepcopy

import numpy as np
import pytest

from skdeltagrad import DeltaGradLogisticRegression

CASES = {
    "a last batch of ten rows": (4010, lambda rng, n: None),
    "a last batch of 200 rows": (4200, lambda rng, n: None),
    "uneven weights": (4000, lambda rng, n: rng.pareto(1.2, n) + 0.1),
    "a few large weights": (4000, lambda rng, n: np.where(np.arange(n) % 800, 1, 1e3)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_small_and_uneven_batches_count_in_the_estimate(case):
    n_rows, weights = case
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 20))
    raw = X @ rng.standard_normal(20) + rng.logistic(size=n_rows)
    weight = weights(rng, n_rows)
    total = n_rows if weight is None else weight.sum()
    model = DeltaGradLogisticRegression(
        C=200.0 / total, solver="sgd", batch_size=1000, max_iter=100,
        learning_rate=0.1, random_state=0, edit_tol=0.5,
    ).fit(X, raw > 0, sample_weight=weight)  # fmt: skip
    edited = deepcopy(model).unlearn(position=range(40))
    report = edited.update_report_
    assert not report.refit
    exact = deepcopy(edited).partial_refit()
    moved = np.linalg.norm(exact.coef_ - model.coef_)
    error = np.linalg.norm(edited.coef_ - exact.coef_) / moved
    assert error / 3.0 <= report.error_estimate <= 6.0 * error
