"""Newton's method, by which a model is fitted.

    F(w) = sum_groups group_weight * losses + sum alpha / 2 w^2

A Hessian is expensive compared with a pass. Its factor is therefore kept as long as the
steps still gain enough, and is corrected by the curvature pairs of the steps (BFGS:
Nocedal and Wright, Numerical Optimization, algorithm 7.4, started from the factor). The
first steps, far from the optimum, are made on a sample of the rows.

If the Hessian is too large to keep, systems are solved by its products with vectors,
after some steps of L-BFGS from SciPy.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy import optimize

from .._objective.data_term import Measurement
from .._utils import progress
from .cost import PASSES_PER_PRODUCT_STEP

# Cost: a step that leaves more than this fraction of the Newton decrement calls for a
# new Hessian. Smaller values (0.02 to 0.1) were no faster where a Hessian costs as
# little as two or three passes, and much slower where it costs many.
_SLOW = 0.2
# Accuracy: the constant of Armijo's condition, which is Nocedal and Wright's, and how
# often a step is halved; 30 times reduce it by 1e-9.
_SUFFICIENT = 1e-4
_MAX_HALVINGS = 30
# Cost: curvature pairs that correct a factor; each adds two inner products to a step.
_N_PAIRS = 20
# Accuracy: a pair is used if the cosine of its angle exceeds this; otherwise its
# curvature is not clearly positive.
_MIN_COSINE = 1e-8
# Rounding: relative differences of F below this are not meaningful.
_NOISE = 1e-12
# Cost: steps of L-BFGS before Newton's method by products. They are cheap, and far from
# the optimum as good.
_N_LBFGS = 30
# Accuracy: the relative residuals to which systems are solved by products, at most and
# at least.
_MAX_RESIDUAL, _MIN_RESIDUAL = 0.1, 1e-3
_TINY = np.finfo(float).tiny
# What steps are called where progress is reported.
_STEPS = "Newton steps"


@dataclass(frozen=True)
class Optimum:
    """The end of a minimisation.

    Attributes
    ----------
    iterate : ndarray of shape (n_outputs, n_dof)
    measured : Measurement
        Loss and gradient there.
    gradient_norm : float
        Largest entry of the gradient of F, per unit of weight.
    n_iter : int
        Number of steps on all rows.
    converged : bool
        Whether the tolerance, or rounding, was reached.
    """

    iterate: np.ndarray
    measured: Measurement
    gradient_norm: float
    n_iter: int
    converged: bool


def minimise(problem, start, tol, max_iter):
    """Minimise F from a start by steps that decrease it.

    The minimisation has converged if the largest entry of the gradient per unit of
    weight is at most `tol`, as in scikit-learn, *and* the distance to the optimum is
    negligible compared with the influence of a median row: one row among many changes
    the gradient by less than any fixed tolerance. It has also converged if only
    rounding is left. It stops earlier where the problem's meter allows no more.

    Parameters
    ----------
    problem : Problem
    start : ndarray of shape (n_outputs, n_dof)
    tol : float
    max_iter : int
        Largest number of steps on all rows.

    Returns
    -------
    optimum : Optimum
    """
    if not problem.keeps_hessian:
        return _by_products(problem, start, tol, max_iter)

    def is_enough(largest, distance, iterate, hessian):
        return largest <= tol and distance <= problem.negligible_distance(
            iterate, hessian
        )

    if np.array_equal(start, problem.origin):
        start = _on_a_sample(problem, start, max_iter)
    return _by_factors(problem, start, tol, max_iter, is_enough, _STEPS)


def _on_a_sample(problem, start, max_iter):
    """Return a better start than zero, the optimum of a sample of the rows."""
    sample = problem.sampled()
    if sample is None:
        return start

    def is_enough(largest, distance, iterate, hessian):
        # The optima of two samples are farther apart than this.
        return distance**2 <= problem.penalty.size

    task = f"{_STEPS} on a sample"
    return _by_factors(sample, start, np.inf, max_iter, is_enough, task).iterate


def _by_factors(problem, start, tol, max_iter, is_enough, task):
    """Minimise with factors of Hessians that are kept: see `minimise`."""
    report = progress.begin(task)
    factor, before = None, np.inf
    point = _Point.at(problem, start)
    for n_iter in range(max_iter + 1):
        largest = problem.largest(point.gradient)
        if report is not None:
            report(n_iter, _described(point.value, largest))
        # 1) direction, by a new Hessian if the last step gained too little
        if factor is not None:
            direction, decrement = factor.direction(point.gradient)
        if factor is None or decrement > _SLOW * before:
            noise = _NOISE * abs(point.value)
            if factor is not None and factor.is_new and decrement <= noise:
                converged = True  # only rounding is left
                break
            if not problem.meter.allows(n_hessians=1):
                converged = False
                break
            factor = KeptFactor(problem.hessian(point.iterate))
            direction, decrement = factor.direction(point.gradient)
        # 2) convergence
        distance = np.sqrt(max(decrement, 0.0))
        converged = problem.is_done(point.value, n_iter) or is_enough(
            largest, distance, point.iterate, factor.hessian
        )
        if converged or n_iter == max_iter:
            break
        # 3) step
        trial = _search(problem, point, direction, decrement)
        if trial is None:
            converged = largest <= tol and problem.meter.allows(n_passes=2)
            break
        moved = problem.vectors(trial.iterate - point.iterate)
        factor.add_pair(moved, trial.gradient - point.gradient)
        point, before = trial, decrement
    return Optimum(
        point.iterate, point.measured, float(largest), n_iter, bool(converged)
    )


def _by_products(problem, start, tol, max_iter):
    """Minimise with systems that are solved by products: see `minimise`.

    The better the last step was, the more exactly the next system is solved (Eisenstat
    and Walker 1996, choice 2). The distance to the optimum after a step is estimated by
    the error of the system's solution plus the change of the gradient that the system
    did not predict.
    """
    tolerance, distance, negligible = _MAX_RESIDUAL, np.inf, 0.0
    start = _by_lbfgs(problem, start)
    report = progress.begin(_STEPS)
    point, hessian = _Point.at(problem, start), None
    largest = problem.largest(point.gradient)
    for n_iter in range(max_iter + 1):
        if report is not None:
            report(n_iter, _described(point.value, largest))
        converged = problem.is_done(point.value, n_iter) or (
            largest <= tol and distance <= negligible
        )
        affordable = problem.meter.allows(
            n_passes=PASSES_PER_PRODUCT_STEP, n_hessians=1
        )
        if converged or n_iter == max_iter or not affordable:
            break
        hessian = problem.products(point.iterate)
        direction, residual, error = hessian.solve(point.gradient, tolerance)
        decrement = float(np.sum(point.gradient * direction))
        trial = _search(problem, point, direction, decrement)
        if trial is None:
            converged = largest <= tol and problem.meter.allows(n_passes=2)
            break
        point, before = trial, largest
        largest = problem.largest(point.gradient)
        if decrement <= _NOISE * abs(point.value) and not largest < before:
            converged = largest <= tol  # only rounding is left
            break
        distance = error + hessian.dual_norm(point.gradient - residual)
        negligible = problem.negligible_distance(point.iterate, hessian)
        needed = 0.5 * negligible / max(distance, _TINY)
        tolerance = max((largest / before) ** 2, needed, _MIN_RESIDUAL)
        tolerance = min(tolerance, _MAX_RESIDUAL)
    return Optimum(point.iterate, point.measured, largest, n_iter, bool(converged))


def _by_lbfgs(problem, start):
    """Return where some steps of L-BFGS lead."""

    def evaluate(flat):
        if not problem.meter.allows(n_passes=1 + PASSES_PER_PRODUCT_STEP):
            raise _LimitReached
        vectors = flat.reshape(scale.shape) / scale
        point = _Point.at(problem, problem.by_output(vectors))
        return point.value, (point.gradient / scale).ravel()

    report, steps = progress.begin("L-BFGS steps", _N_LBFGS), count(1)
    scale = problem.scale
    try:
        found = optimize.minimize(
            evaluate, (problem.vectors(start) * scale).ravel(), jac=True,
            method="L-BFGS-B", options={"maxiter": _N_LBFGS},
            callback=None if report is None else lambda _: report(next(steps)),
        )  # fmt: skip
    except _LimitReached:
        return problem.lowest[1]
    return problem.by_output(found.x.reshape(scale.shape) / scale)


class _LimitReached(Exception):
    """The meter allows no more."""


def _described(value, largest):
    return f"objective {value:.10g}, largest gradient entry {largest:.2e}"


@dataclass(frozen=True)
class _Point:
    """An iterate, with what one pass measured there."""

    iterate: np.ndarray
    measured: Measurement
    value: float
    gradient: np.ndarray

    @classmethod
    def at(cls, problem, iterate):
        measured = problem.measure(iterate)
        return cls(
            iterate, measured, problem.value(measured, iterate),
            problem.gradient(measured.gradient_sums, iterate),
        )  # fmt: skip


class KeptFactor:
    """A Hessian that is kept, corrected by the curvature pairs of later steps."""

    def __init__(self, hessian):
        self.hessian = hessian
        self._pairs = []

    @property
    def is_new(self):
        """Whether at most one step was made since the Hessian was computed."""
        return len(self._pairs) <= 1

    def direction(self, gradient):
        """Return B^-1 g and g'B^-1 g, where B is the corrected Hessian."""
        coefficients, remaining = [], gradient
        for moved, response, curvature in reversed(self._pairs):
            coefficients.append(np.sum(moved * remaining) / curvature)
            remaining = remaining - coefficients[-1] * response
        direction = self.hessian.solve(remaining)
        for moved, response, curvature in self._pairs:
            correction = coefficients.pop() - np.sum(response * direction) / curvature
            direction = direction + correction * moved
        return direction, float(np.sum(gradient * direction))

    def add_pair(self, moved, response):
        """Add the curvature pair of a step, if its curvature is clearly positive."""
        curvature = np.sum(moved * response)
        lengths = np.sqrt(np.sum(moved**2) * np.sum(response**2))
        if curvature > _MIN_COSINE * lengths:
            self._pairs = [*self._pairs, (moved, response, curvature)][-_N_PAIRS:]


@np.errstate(over="ignore", invalid="ignore")  # a step too long is halved
def _search(problem, point, direction, decrement):
    """Return a point along a direction with a lower F.

    None if there is none, because only rounding is left, or if the meter allows no
    more.
    """
    step = problem.by_output(direction)
    # A smaller slope of a quadratic means a lower value, whatever its rounding error.
    noise = _NOISE * abs(point.value)
    if problem.objective.loss.is_quadratic:
        noise = np.inf
    length = 1.0
    for _ in range(_MAX_HALVINGS):
        if not problem.meter.allows(n_passes=2):
            return None
        trial = _Point.at(problem, point.iterate - length * step)
        if trial.value <= point.value - _SUFFICIENT * length * decrement:
            return trial
        # If a difference of F is only rounding, the slope decides.
        slope = abs(np.sum(trial.gradient * direction))
        if abs(trial.value - point.value) <= noise and slope <= 0.5 * decrement:
            return trial
        length *= 0.5
    return None
