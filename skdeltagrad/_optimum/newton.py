"""Newton's method, by which a model is fitted.

    F(w) = sum_groups group_weight * losses + sum alpha / 2 w^2

A Hessian is expensive compared with a pass. Its factor is therefore kept as long as the
steps still gain enough, and is corrected by the curvature pairs of the steps
(`curvature_pairs`). The first steps, far from the optimum, are made on a sample of the
rows, whose Hessian also serves the first steps on all rows.

Edits of the optimum need a Hessian of all rows too, and a bound of their error contains
how far raw predictions have moved since it was computed. The one Hessian of all rows
that most fits compute is therefore a *late* one: it is computed where hardly any raw
prediction will still move, and the fit ends with the steps that it makes possible.

If the Hessian is too large to keep, systems are solved by its products with vectors,
after some steps of L-BFGS from SciPy.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy import optimize

from .._objective.data_term import Measurement
from .._utils import progress
from .cost import PASSES_FOR_LARGEST, PASSES_PER_PRODUCT_STEP
from .curvature_pairs import CurvaturePairs

# Cost: a step that leaves more than this fraction of the Newton decrement calls for a
# new Hessian. Smaller values (0.02 to 0.1) were no faster where a Hessian costs as
# little as two or three passes, and much slower where it costs many.
_SLOW = 0.2
# Accuracy: the largest distance R of a row to the optimum (see `certificate`) at which
# a Hessian is late enough to be kept for edits, when it is computed and after the fit.
# The relative error of a step is at least e^R - 1: a quarter and a half of the default
# `edit_tol`. At ten times the values every edit would read the rows.
_LATE, LATEST = 2.5e-3, 5e-3
# Cost: one row of so many tells whether it is time for a late Hessian. If it misjudges
# that, another Hessian is computed after the fit.
_PROBING_INTERVAL = 4
# Accuracy: the constant of Armijo's condition, which is Nocedal and Wright's, and how
# often a step is halved; 30 times reduce it by 1e-9.
_SUFFICIENT = 1e-4
_MAX_HALVINGS = 30
# Cost: curvature pairs that correct a factor; each adds two inner products to a step.
_N_PAIRS = 20
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
    factor : KeptFactor or None
        The last Hessian with its corrections; None of a fit by products.
    """

    iterate: np.ndarray
    measured: Measurement
    gradient_norm: float
    n_iter: int
    converged: bool
    factor: "KeptFactor | None" = None


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

    hessians, factor = _Hessians(problem), None
    if np.array_equal(start, problem.origin):
        sample = problem.sampled()
        if sample is not None:
            hessians = _Hessians(problem, sample)
            on_sample = _on_a_sample(sample, start, max_iter)
            start, factor = on_sample.iterate, on_sample.factor
    return _by_factors(hessians, start, tol, max_iter, is_enough, _STEPS, factor)


def _on_a_sample(sample, start, max_iter):
    """Return the optimum of a sample of the rows, nearly, and a Hessian near it."""

    def is_enough(largest, distance, iterate, hessian):
        # The optima of two samples are farther apart than this.
        return distance**2 <= sample.penalty.size

    task = f"{_STEPS} on a sample"
    hessians = _Hessians(None, sample)
    return _by_factors(hessians, start, np.inf, max_iter, is_enough, task)


@dataclass(frozen=True)
class _Hessians:
    """Decides where Hessians are computed, and from which rows: see the module.

    Attributes
    ----------
    problem : Problem or None
        Of all rows. None where only a sample is minimised.
    sample : Problem or None, default=None
        Of a sample, which contains every row that is much larger than the others.
    """

    problem: object
    sample: object = None

    @property
    def minimised(self):
        """The problem that is minimised."""
        return self.sample if self.problem is None else self.problem

    def new(self, iterate, factor, is_near):
        """Return a new `KeptFactor` in place of one that gains too little, or None.

        Unless the optimum is near, or the sample's own error is what makes the steps
        slow, the sample's Hessian is as good as one of all rows. None says that the
        meter allows no more.
        """
        by_sample = self.sample is not None and not is_near
        if by_sample and self.problem is not None:
            by_sample = not (factor.is_of_sample and factor.is_new)
        problem = self.sample if by_sample else self.problem
        if not problem.meter.allows(n_hessians=1):
            return None
        return KeptFactor(problem.hessian(iterate), iterate, by_sample)

    def is_late(self, direction, limit):
        """Whether a Hessian at the start of a direction could be kept for edits."""
        problem = self.problem
        if problem is None or problem.objective.loss.is_quadratic:
            return False
        some = (self.sample or problem).indices[::_PROBING_INTERVAL]
        change = problem.by_output(direction)
        fraction = len(some) / len(problem.indices)
        problem.meter.spend(n_passes=PASSES_FOR_LARGEST * fraction)
        return problem.objective.largest_change(change, some) <= limit


def _by_factors(hessians, start, tol, max_iter, is_enough, task, factor=None):
    """Minimise with factors of Hessians that are kept: see `minimise`.

    `factor` is a first one, of a sample of the rows.
    """
    problem, report = hessians.minimised, progress.begin(task)
    before, converged = np.inf, False
    point = _Point.at(problem, start)
    for n_iter in range(max_iter + 1):
        largest = problem.largest(point.gradient)
        if report is not None:
            report(n_iter, _described(point.value, largest))
        # 1) direction, by a new Hessian if the last step gained too little, or if it is
        # time for the one that edits will use
        is_slow, is_near = factor is None, False
        if factor is not None:
            direction, decrement = factor.direction(point.gradient)
            is_slow = decrement > _SLOW * before
            if not factor.is_late:
                is_near = hessians.is_late(direction, LATEST if is_slow else _LATE)
        if is_slow or is_near:
            noise = _NOISE * abs(point.value)
            if is_slow and factor and factor.is_new and decrement <= noise:
                converged = True  # only rounding is left
                break
            new = hessians.new(point.iterate, factor, is_near)
            if new is None:
                break
            factor = new
            factor.is_late = is_near
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
        point.iterate, point.measured, float(largest), n_iter, bool(converged), factor
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
    """A Hessian that is kept, corrected by the curvature pairs of later steps.

    Parameters
    ----------
    hessian : Hessian
    iterate : ndarray of shape (n_outputs, n_dof), optional
        Where it was computed.
    is_of_sample : bool, default=False
        Whether it was computed from a sample of the rows.

    Attributes
    ----------
    is_late : bool
        Whether it was computed near the optimum: see the module.
    """

    def __init__(self, hessian, iterate=None, is_of_sample=False):
        self.hessian, self.iterate = hessian, iterate
        self.is_of_sample, self.is_late = is_of_sample, False
        self._pairs = CurvaturePairs(_N_PAIRS)

    @property
    def is_new(self):
        """Whether at most one step was made since the Hessian was computed."""
        return len(self._pairs) <= 1

    def direction(self, gradient):
        """Return B^-1 g and g'B^-1 g, where B is the corrected Hessian."""
        direction = self._pairs.solve(gradient, self.hessian.solve)
        return direction, float(np.sum(gradient * direction))

    def add_pair(self, moved, response):
        """Add the curvature pair of a step, if its curvature is clearly positive."""
        self._pairs.add(moved, response)


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
