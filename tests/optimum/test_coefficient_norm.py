"""The norm of published coefficients next to that of the Hessian, by brute force."""

import numpy as np
import pytest
from scipy.linalg import eigh

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad._optimum.coefficient_norm import CoefficientNorm
from skdeltagrad._optimum.curvature import Curvature
from skdeltagrad._optimum.penalty_bound import PenaltyBound
from skdeltagrad._optimum.problem import problem_of

KINDS = {
    "two classes": (DeltaGradLogisticRegression, lambda raw: (raw > 0).astype(int)),
    "four classes": (
        DeltaGradLogisticRegression,
        lambda raw: np.digitize(raw, [-1.0, 0.0, 1.0]),
    ),
    "counts": (DeltaGradPoissonRegressor, lambda raw: np.floor(np.exp(raw))),
    "targets": (DeltaGradRidge, lambda raw: np.column_stack([raw, raw**2, -raw])),
}
# Rounding: of the brute force.
RTOL = 1e-6


class Case:
    """A fitted model, its problem, and coefficients as a matrix times an iterate."""

    def __init__(self, kind, fit_intercept, seed):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((50, 3)) * 10.0 ** rng.uniform(-1, 1, 3)
        X += rng.choice([0.0, 100.0], 3)
        raw = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.standard_normal(3)
        estimator, targets = KINDS[kind]
        parameters = {"fit_intercept": fit_intercept, "curvature": "exact"}
        if estimator is DeltaGradLogisticRegression:
            parameters["class_weight"] = rng.choice(["balanced", None])
        elif kind == "targets":
            parameters["alpha"] = 10.0 ** rng.uniform(-2, 2, 3)
        self.est = estimator(**parameters).fit(X, targets(raw))
        engine, training_set = self.est._engine, self.est._training_set
        self.model, self.iterate = engine.model, engine.iterate
        self.table = training_set.table
        indices = self.table.live_indices()
        self.problem = problem_of(self.model, training_set, indices)
        self.scale = 10.0 ** rng.uniform(-2, 2, self.iterate.shape)
        self.norm = CoefficientNorm(1.0 / self.scale**2)
        self.rng = rng

    def published(self, iterate):
        """Coefficients in units of the scale, with the intercept last."""
        coef, intercept = self.model.coefficients(iterate)
        if self.model.centre is not None:
            coef = np.column_stack([coef, intercept])
        return (coef / self.scale).ravel()

    def largest_stretch(self, product, shape):
        """The largest of ``||T v||_G / ||v||_H``, from all of T and all of H."""
        basis = np.eye(int(np.prod(shape))).reshape(-1, *shape)
        hessian = np.array([product(vectors).ravel() for vectors in basis])
        images = [self.published(self.problem.by_output(v)) for v in basis]
        squares = np.array(images) @ np.array(images).T
        return float(np.sqrt(eigh(squares, hessian, eigvals_only=True)[-1]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_stretch_is_the_largest_ratio_of_both_norms(kind, fit_intercept, seed):
    case = Case(kind, fit_intercept, seed)
    curvature = Curvature.incomplete(case.problem, case.table, case.iterate)
    shape = case.problem.vectors(case.iterate).shape
    exact = case.largest_stretch(curvature.hessian.product, shape)
    tight = case.norm.stretch(case.problem, curvature)
    loose = case.norm.stretch(case.problem, curvature, is_tight=False)
    assert exact * (1.0 - RTOL) <= tight <= loose * (1.0 + RTOL)
    if kind != "targets":  # each target is taken to have the worst penalty and scale
        assert tight <= exact * (1.0 + RTOL)
    assert loose <= tight * np.sqrt(case.iterate.size)
    for vectors in case.rng.standard_normal((20, *shape)):
        moved = np.linalg.norm(case.published(case.problem.by_output(vectors)))
        assert moved <= tight * curvature.hessian.norm(vectors)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_stretch_by_the_penalty_is_not_smaller(kind, fit_intercept, seed):
    """It bounds any Hessian between the penalty and the one of all rows."""
    case = Case(kind, fit_intercept, seed)
    products = case.problem.products(case.iterate)
    lower, no_bound = PenaltyBound.at(products)
    if lower is None:
        pytest.skip(no_bound)
    curvature = Curvature.incomplete(case.problem, case.table, case.iterate)
    shape = case.problem.vectors(case.iterate).shape
    exact = case.largest_stretch(curvature.hessian.product, shape)
    assert case.norm.stretch_by_penalty(lower) >= exact * (1.0 - RTOL)


def test_one_unit_for_all_is_a_factor():
    case = Case("two classes", True, 0)
    curvature = Curvature.incomplete(case.problem, case.table, case.iterate)
    ones = CoefficientNorm(np.ones(case.iterate.shape))
    hundred = CoefficientNorm(np.full(case.iterate.shape, 1e-4))
    ratio = ones.stretch(case.problem, curvature)
    ratio /= hundred.stretch(case.problem, curvature)
    assert ratio == pytest.approx(100.0, rel=1e-12)


@pytest.mark.parametrize("seed", range(200))
def test_the_rounding_of_published_coefficients_is_bounded(seed):
    """Against the same sum in extended precision, with columns centred far away."""
    rng = np.random.default_rng(seed)
    n_outputs, n_features = int(rng.integers(1, 4)), int(rng.integers(1, 60))
    centre = 10.0 ** rng.uniform(-3, 8, n_features) * rng.choice([-1, 0, 1], n_features)
    iterate = rng.standard_normal((n_outputs, n_features + 1))
    iterate *= 10.0 ** rng.uniform(-4, 4, iterate.shape)
    case = Case("targets", True, 0)
    scale = 10.0 ** rng.uniform(-2, 2, iterate.shape)
    model = case.model.__class__(case.model.loss, case.model.alpha, centre=centre)
    coef, intercept = model.coefficients(iterate)
    exact = iterate[:, -1].astype(np.longdouble)
    exact -= iterate[:, :-1].astype(np.longdouble) @ centre.astype(np.longdouble)
    errors = np.column_stack([coef - iterate[:, :-1], intercept - exact])
    bound = CoefficientNorm(1.0 / scale**2).rounding(iterate, centre)
    assert np.linalg.norm(errors / scale) <= bound
