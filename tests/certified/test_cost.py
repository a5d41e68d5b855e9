"""What a publication costs, in passes over the rows."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad.certified import Publisher

PARAMETERS = {"noise": 1e-5, "epsilon": 1.0, "delta": 1e-6, "n_publications": 1000}


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def digits():
    X, y = load_digits(return_X_y=True)
    return X[:, X.std(axis=0) > 1.0] / 16.0, y % 4


def drawn(targets, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((4000, 10))
    raw = 0.5 * X @ rng.standard_normal(10) + rng.standard_normal(4000)
    return X, targets(raw)


CASES = {
    "cancer": (DeltaGradLogisticRegression, cancer),
    "digits": (DeltaGradLogisticRegression, digits),
    "two classes": (DeltaGradLogisticRegression, lambda: drawn(lambda r: r > 0)),
    "counts": (
        DeltaGradPoissonRegressor,
        lambda: drawn(lambda r: np.floor(np.exp(np.minimum(r, 3.0)))),
    ),
    "targets": (DeltaGradRidge, lambda: drawn(lambda r: np.column_stack([r, r**2]))),
}


@pytest.mark.parametrize("case", CASES)
def test_a_publication_takes_at_most_four_passes_and_half_of_a_fit(case):
    """With a Hessian that is kept, after edits of one row and of one in a hundred."""
    estimator, rows = CASES[case]
    X, y = rows()
    est = estimator(curvature="exact").fit(X, y)
    of_fit = est.update_report_.n_passes + est.update_report_.n_hessians
    publisher = Publisher(est, **PARAMETERS)
    publisher.publish()
    next_row = 0
    for n_rows in (1, 1, 5, len(X) // 100):
        est.unlearn(position=range(next_row, next_row + n_rows))
        next_row += n_rows
        publisher.publish()
        report = est.update_report_
        assert report.operation == "refine"
        assert 0 < report.n_passes <= 4
        assert report.n_hessians == 0
        if not isinstance(est, DeltaGradRidge):  # its fit is one Hessian and a pass
            assert report.n_passes <= 0.5 * of_fit
    assert publisher.n_published_ == 5


def test_the_first_refinement_may_compute_a_hessian_and_the_next_one_does_not():
    est = DeltaGradLogisticRegression().fit(*cancer())
    publisher = Publisher(est, **PARAMETERS)
    assert est.update_report_.n_hessians <= 1
    publisher.publish()
    assert (est.update_report_.n_passes, est.update_report_.n_hessians) == (1, 0)


def test_publishing_the_same_model_again_costs_nothing():
    est = DeltaGradLogisticRegression().fit(*cancer())
    publisher = Publisher(est, **PARAMETERS)
    publisher.publish()
    report = est.update_report_
    publisher.publish()
    assert est.update_report_ is report
