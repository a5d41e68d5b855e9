"""Newton's method to the optimum: the loop of the converged fit.

    F(w) = sum_groups group_weight * losses + sum alpha / 2 w^2

A Hessian is dear next to a pass (a loss with its gradient), so its factor is kept while
the steps still gain enough, and curvature pairs of the steps are laid over it (BFGS:
Nocedal and Wright, Numerical Optimization, algorithm 7.4, started from the factor).
Where it is too large, systems are solved by its products with vectors, after some steps
of L-BFGS from SciPy.
"""

from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

import numpy as np
from scipy import optimize

from ._hessian import Hessian
from ._objective import Measurement
from ._products import Diagonal, Kronecker, ProductHessian

# A step that leaves more than this share of the Newton decrement calls for a new
# Hessian: sooner where a Hessian costs about as much as a pass.
_SLOW_IF_DEAR = 0.2
_SLOW_IF_CHEAP = 0.02
_DEAR = 5.0
# Armijo's condition, and how often a step is halved.
_SUFFICIENT = 1e-4
_MOST_HALVINGS = 30
# What may be left of the way: as a share of the influence of a median row, and of w.
_LEFTOVER = 1e-3
_LEFTOVER_OF_ALL = 1e-8
_N_SAMPLED = 256
_SAMPLED_ENTRIES = 2**24
# Pairs kept over a factor.
_MOST_PAIRS = 20
# Differences of F below this share of it are rounding.
_NOISE = 1e-12
# Rows whose time tells that of a pass.
_N_TIMED = 2**14
# Steps of L-BFGS before Newton's where there are only products; and how exactly its
# systems are solved then.
_N_LBFGS = 30
_INNER = 0.1
# Rounding of a sum over the rows, in a few units in the last place of its terms.
_ROUNDING = 8 * np.finfo(float).eps
# What a step for a quadratic loss may lose, in units of what no step can undercut.
_QUADRATIC = 4e5


class Problem:
    """An objective with its penalty, in the vectors that `Hessian` reads.

    Parameters
    ----------
    objective : Objective
    alpha : ndarray of shape (n_outputs,)
    group_weight : ndarray of shape (n_groups,)
    find_slots : callable
        The rows of the data term; called when a pass is made, for most edits make none.
    weight : float
        Their total weight, groups' factors included.
    curvature : {"exact", "kronecker", "diagonal"}
        A Hessian that is kept, or the preconditioner of one that is not.
    """

    def __init__(self, objective, alpha, group_weight, find_slots, weight, curvature):
        self.objective = objective
        self.group_weight = group_weight
        self._find_slots = find_slots
        self.curvature = curvature
        loss = objective.loss
        n_features, n_dof = objective.n_features, objective.n_dof
        penalty = np.zeros((loss.n_coordinates, n_dof))
        penalty[:, :n_features] = alpha[: loss.n_coordinates, np.newaxis]
        self._n_systems = loss.n_coordinates if loss.is_quadratic else 1
        self.penalty = penalty.reshape(self._n_systems, -1)
        self.weight = weight

    @cached_property
    def slots(self):
        """Slots of all rows: O(n)."""
        return self._find_slots()

    @property
    def hessian_cost(self):
        """What a Hessian costs, in passes; measured on dense rows of several widths."""
        _, n_dof = self.objective.shape
        m = self.penalty.size // n_dof // self._n_systems
        return (3.0 + n_dof / 50.0) * (m + 1) / 2.0

    def vectors(self, by_output):
        """Something of shape (n_outputs, n_dof) in the coordinates of the loss."""
        coordinates = self.objective.loss.to_coordinates(by_output)
        return coordinates.reshape(self._n_systems, -1)

    def by_output(self, vectors):
        """The inverse of `vectors`."""
        coordinates = vectors.reshape(-1, self.objective.n_dof)
        return np.ascontiguousarray(self.objective.loss.to_outputs(coordinates))

    def measure(self, iterate, origin=None):
        """One pass over all rows."""
        return self.objective.measure(iterate, self.slots, origin)

    def seconds_per_pass(self, iterate, n_rows):
        """About what a pass takes now, by the time of some rows."""
        some = self.slots[:_N_TIMED]
        started = perf_counter()
        self.objective.measure(iterate, some)
        return (perf_counter() - started) * max(1.0, n_rows / len(some))

    def value(self, measurement, iterate):
        """F."""
        data = self.group_weight @ measurement.loss_sums
        return data + 0.5 * np.sum(self.penalty * self.vectors(iterate) ** 2)

    def data(self, gradient_sums):
        """The data term's gradient from its sums by group."""
        return self.vectors(np.tensordot(self.group_weight, gradient_sums, axes=1))

    def lower(self, one, other):
        """Where F is lower: one of two iterates."""
        values = [
            self.value(self.measure(iterate), iterate) for iterate in (one, other)
        ]
        return one if values[0] <= values[1] else other

    def gradient(self, gradient_sums, iterate):
        """Gradient of F from its data term's sums by group."""
        return self.data(gradient_sums) + self.penalty * self.vectors(iterate)

    def largest(self, gradient):
        """Largest entry of a gradient per unit of weight."""
        return float(np.abs(gradient).max() / self.weight)

    def noise(self, measured):
        """What rounding may do to a measured gradient: see `Curvature.step`.

        ``||sum_i e_i r_i x_i||_{H^-1} <= ||r||`` for a squared error, with any signs e;
        at most L times ``sum_i s_i`` for log-losses, whose derivatives are at most 1.
        """
        size = self.weight
        if self.objective.loss.is_quadratic:
            size = np.sqrt(2.0 * self.group_weight @ measured.loss_sums)
        return float(_ROUNDING * size)

    def noise_of(self, slots, touched, hessian):
        """The same of the gradients of a few rows, of which `touched` is the sum."""
        if self.objective.loss.is_quadratic:
            return _ROUNDING * hessian.dual_norm(self.data(touched))
        return float(_ROUNDING * self.objective.weight[slots].sum())

    def tolerance(self, asked, floor):
        """How far from the optimum is near enough.

        The step of a quadratic loss is exact but for rounding: less than that means
        that digits were lost, and a pass brings them back.
        """
        if self.objective.loss.is_quadratic:
            asked = min(asked, _QUADRATIC * floor)
        return asked + floor

    def products(self, iterate):
        """Hessian of F by its products, with a preconditioner."""
        if self.curvature == "kronecker":
            precondition = Kronecker(self, self._eigen, iterate)
        else:
            precondition = Diagonal(self, iterate)
        return ProductHessian(self, iterate, precondition)

    @cached_property
    def _eigen(self):
        moments = self.objective.second_moments(self.slots)
        return Kronecker.decompose(np.tensordot(self.group_weight, moments, axes=1))

    def metric(self, iterate):
        """What turns gradients into steps."""
        if self.curvature == "exact":
            return _Kept(self.hessian(iterate))
        return _Passing(self.products(iterate))

    def hessian(self, iterate):
        """Hessian of F, factorised."""
        sums = self.objective.hessian_sums(iterate, self.slots)
        return Hessian(sums, self.group_weight, self.penalty)

    def is_done(self, value, n_iter):
        """Whether there is nothing to gain but rounding, whatever the gradient says.

        A squared error takes one step, and one more for its rounding. Log-losses that
        are zero in working precision can be lowered for ever, by the intercept, where
        all weight is on one class.
        """
        if self.objective.loss.is_quadratic:
            return self.curvature == "exact" and n_iter >= 2
        return value <= np.finfo(float).eps * self.weight

    def is_left_over(self, distance, iterate, hessian):
        """Whether a distance is nothing: next to what one row does, and to w.

        The influence of a row is ``||g_i||_{H^-1}``; taken at the median of some.
        """
        if distance > _LEFTOVER_OF_ALL * hessian.norm(self.vectors(iterate)):
            return False
        n_sampled = min(_N_SAMPLED, max(8, _SAMPLED_ENTRIES // iterate.size))
        some = self.slots[:: max(1, len(self.slots) // n_sampled)]
        gradients = self.objective.row_gradients(iterate, some)
        gradients = np.stack([self.vectors(gradient) for gradient in gradients])
        return distance <= _LEFTOVER * np.median(hessian.dual_norms(gradients))


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
    n_iter, n_passes, n_hessians : int
    converged : bool
    """

    iterate: np.ndarray
    measured: Measurement
    gradient_norm: float
    n_iter: int
    n_passes: int
    n_hessians: int
    converged: bool


def minimise(problem, start, tol, max_iter, tell=None):
    """Minimise F from a start; never uphill.

    It stops where the largest entry of the gradient per unit of weight is at most
    `tol`, as scikit-learn does, *and* what is left is at most a thousandth of the
    influence of a median row: one row among many moves the gradient by less than any
    fixed tolerance. Or where only rounding is left.

    Parameters
    ----------
    problem : Problem
    start : ndarray of shape (n_outputs, n_dof)
    tol : float
    max_iter : int
    tell : callable, optional
        ``tell(n_iter, value, largest entry of the gradient per unit of weight)``.

    Returns
    -------
    optimum : Optimum
    """
    n_passes, n_hessians, metric, before = 1, 0, None, np.inf
    if problem.curvature != "exact" and not start.any():
        start, n_tried = _by_lbfgs(problem, start)
        n_passes += n_tried
    slow = _SLOW_IF_DEAR if problem.hessian_cost >= _DEAR else _SLOW_IF_CHEAP
    point = _Point.at(problem, start)
    for n_iter in range(max_iter + 1):
        largest = problem.largest(point.gradient)
        if tell is not None:
            tell(n_iter, point.value, largest)
        # 1) direction, by a new Hessian where the kept one does not gain any more
        if metric is not None:
            direction, decrement = metric.direction(point.gradient)
        if metric is None or decrement > slow * before:
            noise = _NOISE * abs(point.value)
            if metric is not None and metric.is_new and decrement <= noise:
                converged = True  # only rounding is left
                break
            metric = problem.metric(point.iterate)
            n_hessians += metric.n_hessians
            direction, decrement = metric.direction(point.gradient)
        # 2) stop
        converged = problem.is_done(point.value, n_iter) or (
            largest <= tol
            and problem.is_left_over(
                np.sqrt(max(decrement, 0.0)), point.iterate, metric.hessian
            )
        )
        if converged or n_iter == max_iter:
            break
        # 3) step
        trial, n_tried = _search(problem, point, direction, decrement)
        n_passes += n_tried + metric.n_products
        if trial is None:  # F cannot be lowered any more: what is left is rounding
            converged = largest <= tol
            break
        moved = problem.vectors(trial.iterate - point.iterate)
        metric = metric.after(moved, trial.gradient - point.gradient)
        point, before = trial, decrement
    return Optimum(
        point.iterate, point.measured, float(largest), n_iter, n_passes, n_hessians,
        bool(converged),
    )  # fmt: skip


def _by_lbfgs(problem, start):
    """Some steps of L-BFGS, and the number of passes."""

    def evaluate(flat):
        point = _Point.at(problem, problem.by_output(flat.reshape(shape)))
        return point.value, point.gradient.ravel()

    shape = problem.penalty.shape
    found = optimize.minimize(
        evaluate, problem.vectors(start).ravel(), jac=True, method="L-BFGS-B",
        options={"maxiter": _N_LBFGS},
    )  # fmt: skip
    return problem.by_output(found.x.reshape(shape)), found.nfev


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


class _Kept:
    """A Hessian that is kept, and the curvature pairs of the steps since."""

    n_hessians, n_products = 1, 0

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

    def after(self, moved, response):
        """With the curvature pair of a step, if its curvature is clearly positive."""
        curvature = np.sum(moved * response)
        if curvature > 1e-8 * np.sqrt(np.sum(moved**2) * np.sum(response**2)):
            self._pairs = [*self._pairs, (moved, response, curvature)][-_MOST_PAIRS:]
        return self


class _Passing:
    """A Hessian known by its products, good for one step."""

    n_hessians = 0

    def __init__(self, hessian):
        self.hessian = hessian

    @property
    def n_products(self):
        return self.hessian.n_products

    def direction(self, gradient):
        """Down the hill: nearly H^-1 g, and g'H^-1 g."""
        direction, _, _ = self.hessian.solve(gradient, _INNER)
        return direction, float(np.sum(gradient * direction))

    def after(self, moved, response):
        """Nothing: another iterate, another Hessian, at no cost."""


@np.errstate(over="ignore", invalid="ignore")  # a step too far is halved
def _search(problem, point, direction, decrement):
    """A point along a direction with a lower F, or None; and the number of passes."""
    step = problem.by_output(direction)
    noise = _NOISE * abs(point.value)
    length = 1.0
    for n_passes in range(1, _MOST_HALVINGS + 1):
        trial = _Point.at(problem, point.iterate - length * step)
        if trial.value <= point.value - _SUFFICIENT * length * decrement:
            return trial, n_passes
        # Differences of F that are rounding say nothing; its slope still does.
        slope = abs(np.sum(trial.gradient * direction))
        if abs(trial.value - point.value) <= noise and slope <= 0.5 * decrement:
            return trial, n_passes
        length *= 0.5
    return None, n_passes
