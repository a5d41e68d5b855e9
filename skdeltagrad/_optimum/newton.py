"""Newton's method to the optimum: the loop of the converged fit.

    F(w) = sum_groups group_weight * losses + sum alpha / 2 w^2

A Hessian is dear next to a pass (a loss with its gradient), so its factor is kept while
the steps still gain enough, and curvature pairs of the steps are laid over it (BFGS:
Nocedal and Wright, Numerical Optimization, algorithm 7.4, started from the factor). The
first steps, far from the optimum, are made on a sample of the rows.
Where it is too large, systems are solved by its products with vectors, after some steps
of L-BFGS from SciPy.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy import optimize

from .._objective.data_term import Measurement
from .._utils import progress

# A step that leaves more than this share of the Newton decrement calls for a new
# Hessian. Sooner (0.02 to 0.1) was no faster where a Hessian costs as little as two or
# three passes, and much slower where it costs many.
_SLOW = 0.2
# Armijo's condition, and how often a step is halved.
_SUFFICIENT = 1e-4
_MOST_HALVINGS = 30
# Pairs kept over a factor.
_MOST_PAIRS = 20
# Differences of F below this share of it are rounding.
_NOISE = 1e-12
# Steps of L-BFGS before Newton's where there are only products; and how exactly its
# systems are solved then.
_N_LBFGS = 30
# Passes of the shortest step by products: its Hessian, one product, one trial and what
# judges it.
_PASSES_OF_STEP = 5
_INNER = 0.1
_TIGHTEST = 1e-3
_TINY = np.finfo(float).tiny
# What steps are called, where they are told.
_STEPS = "Newton steps"


@dataclass(frozen=True)
class Optimum:
    """Where a minimisation arrived.

    Attributes
    ----------
    iterate : ndarray of shape (n_outputs, n_dof)
    measured : Measurement
        What the last pass told about it.
    gradient_norm : float
        Largest entry of the gradient of F per unit of weight.
    n_iter : int
        Number of steps on all rows.
    converged : bool
    """

    iterate: np.ndarray
    measured: Measurement
    gradient_norm: float
    n_iter: int
    converged: bool


def minimise(problem, start, tol, max_iter):
    """Minimise F from a start; never uphill.

    It stops where the largest entry of the gradient per unit of weight is at most
    `tol`, as scikit-learn does, *and* what is left is next to nothing beside the
    influence of a median row: one row among many moves the gradient by less than any
    fixed tolerance. Or where only rounding is left; or, before it converged, where the
    problem's meter allows no more.

    Parameters
    ----------
    problem : Problem
    start : ndarray of shape (n_outputs, n_dof)
    tol : float
    max_iter : int

    Returns
    -------
    optimum : Optimum
    """
    if not problem.keeps_hessian:
        return _by_products(problem, start, tol, max_iter)

    def is_enough(largest, distance, iterate, hessian):
        return largest <= tol and distance <= problem.leftover(iterate, hessian)

    if np.array_equal(start, problem.origin):
        start = _on_a_sample(problem, start, max_iter)
    return _by_factors(problem, start, tol, max_iter, is_enough, _STEPS)


def _on_a_sample(problem, start, max_iter):
    """A better start than zero, by some of the rows."""
    some = problem.sampled()
    if some is None:
        return start

    def is_enough(largest, distance, iterate, hessian):
        # Two samples' optima are further than that from each other.
        return distance**2 <= problem.penalty.size

    task = f"{_STEPS} on a sample"
    return _by_factors(some, start, np.inf, max_iter, is_enough, task).iterate


def _by_factors(problem, start, tol, max_iter, is_enough, task):
    """Newton's method with factors of Hessians that are kept: see `minimise`."""
    tell = progress.begin(task)
    factor, before = None, np.inf
    point = _Point.at(problem, start)
    for n_iter in range(max_iter + 1):
        largest = problem.largest(point.gradient)
        if tell is not None:
            tell(n_iter, _described(point.value, largest))
        # 1) direction, by a new Hessian where the kept one does not gain any more
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
        # 2) stop
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
    """Newton's method with systems solved by products: see `minimise`.

    Systems are solved the more exactly the better the last step did (Eisenstat and
    Walker 1996, choice 2). How far a step leads is what the system was solved to and
    what the gradient changed by besides: an estimate.
    """
    inner, left, nothing = _INNER, np.inf, 0.0
    start = _by_lbfgs(problem, start)
    tell = progress.begin(_STEPS)
    point, hessian = _Point.at(problem, start), None
    largest = problem.largest(point.gradient)
    for n_iter in range(max_iter + 1):
        if tell is not None:
            tell(n_iter, _described(point.value, largest))
        converged = problem.is_done(point.value, n_iter) or (
            largest <= tol and left <= nothing
        )
        affordable = problem.meter.allows(n_passes=_PASSES_OF_STEP, n_hessians=1)
        if converged or n_iter == max_iter or not affordable:
            break
        hessian = problem.products(point.iterate)
        direction, residual, error = hessian.solve(point.gradient, inner)
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
        left = error + hessian.dual_norm(point.gradient - residual)
        nothing = problem.leftover(point.iterate, hessian)
        inner = max(
            (largest / before) ** 2, 0.5 * nothing / max(left, _TINY), _TIGHTEST
        )
        inner = min(inner, _INNER)
    return Optimum(point.iterate, point.measured, largest, n_iter, bool(converged))


def _by_lbfgs(problem, start):
    """Some steps of L-BFGS."""

    def evaluate(flat):
        if not problem.meter.allows(n_passes=1 + _PASSES_OF_STEP):
            raise _TooDear
        vectors = flat.reshape(scale.shape) / scale
        point = _Point.at(problem, problem.by_output(vectors))
        return point.value, (point.gradient / scale).ravel()

    tell, steps = progress.begin("L-BFGS steps", _N_LBFGS), count(1)
    scale = problem.scale
    try:
        found = optimize.minimize(
            evaluate, (problem.vectors(start) * scale).ravel(), jac=True,
            method="L-BFGS-B", options={"maxiter": _N_LBFGS},
            callback=None if tell is None else lambda _: tell(next(steps)),
        )  # fmt: skip
    except _TooDear:
        return problem.lowest[1]
    return problem.by_output(found.x.reshape(scale.shape) / scale)


class _TooDear(Exception):
    """The meter allows no more."""


def _described(value, largest):
    return f"objective {value:.10g}, largest gradient entry {largest:.2e}"


@dataclass(frozen=True)
class _Point:
    """An iterate, and what one pass told about it."""

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
    """A Hessian that is kept, and the curvature pairs of the steps since."""

    def __init__(self, hessian):
        self.hessian = hessian
        self._pairs = []

    @property
    def is_new(self):
        """Whether at most one step was made since the Hessian."""
        return len(self._pairs) <= 1

    def direction(self, gradient):
        """Down the hill: B^-1 g, and g'B^-1 g."""
        coefficients, rest = [], gradient
        for moved, response, curvature in reversed(self._pairs):
            coefficients.append(np.sum(moved * rest) / curvature)
            rest = rest - coefficients[-1] * response
        direction = self.hessian.solve(rest)
        for moved, response, curvature in self._pairs:
            correction = coefficients.pop() - np.sum(response * direction) / curvature
            direction = direction + correction * moved
        return direction, float(np.sum(gradient * direction))

    def add_pair(self, moved, response):
        """The curvature pair of a step, if its curvature is clearly positive."""
        curvature = np.sum(moved * response)
        if curvature > 1e-8 * np.sqrt(np.sum(moved**2) * np.sum(response**2)):
            self._pairs = [*self._pairs, (moved, response, curvature)][-_MOST_PAIRS:]


@np.errstate(over="ignore", invalid="ignore")  # a step too far is halved
def _search(problem, point, direction, decrement):
    """A point along a direction with a lower F.

    None where there is none, for what is left is rounding; or the meter allows no more.
    """
    step = problem.by_output(direction)
    # A quadratic is lower where its slope is less, whatever rounding did to its value.
    noise = _NOISE * abs(point.value)
    if problem.objective.loss.is_quadratic:
        noise = np.inf
    length = 1.0
    for _ in range(_MOST_HALVINGS):
        if not problem.meter.allows(n_passes=2):
            return None
        trial = _Point.at(problem, point.iterate - length * step)
        if trial.value <= point.value - _SUFFICIENT * length * decrement:
            return trial
        # Differences of F that are rounding say nothing; its slope still does.
        slope = abs(np.sum(trial.gradient * direction))
        if abs(trial.value - point.value) <= noise and slope <= 0.5 * decrement:
            return trial
        length *= 0.5
    return None
