"""Steps to the optimum until published coefficients are certainly near enough to it.

An edit is exact to a fraction of what it changes (`edit_tol`). Some uses need an
*absolute* bound instead, of the Euclidean distance between `coef_` and `intercept_` and
those of the optimum, if need be in units of their own (`coefficient_norm`).

Every step is judged where it ends, by a pass that measures the gradient there: by (2)
of `certificate`, which has no part of the step in it. What can be reached is therefore
the rounding of one gradient.
"""

from dataclasses import dataclass, replace

import numpy as np

from .certificate import Bound
from .coefficient_norm import CoefficientNorm
from .curvature import COLUMNS, Curvature
from .edit_steps import MAX_DISTANCE
from .newton import KeptFactor
from .penalty_bound import PenaltyBound
from .rounding import Gradient, Noise

# Cost: passes of one refinement, with one Hessian. Three are usual; those that are
# judged by products cost several passes each.
_MOST_PASSES = 12
# Accuracy: a step that leaves more than this fraction of the bound gains too little: a
# new Hessian is computed, or rounding has been reached.
_SLOWEST = 0.5
# Accuracy: the residual to which a system is solved by products, as a fraction of what
# the goal allows, and at most.
_FRACTION_FOR_SYSTEM = 0.3
_LEAST_RESIDUAL = 1e-4
# Cost: up to this order of the Hessian, eigenvalues take less time than a pass.
_SMALL_ORDER = 256
# Rounding: relative error of the total weights of groups, which are sums over all rows
# in about sqrt(n) parts.
_ERROR_OF_TOTALS = 32.0 * np.finfo(float).eps


@dataclass(frozen=True)
class Goal:
    """How near to the optimum published coefficients are to be.

    Attributes
    ----------
    distance : float
    norm : CoefficientNorm
        Of their difference from those of the optimum.
    """

    distance: float
    norm: CoefficientNorm

    def bound_of(self, bound, stretch, iterate, problem):
        """Return the bound of published coefficients by a `Bound`; infinite if none."""
        if bound is None:
            return np.inf
        rounding = self.norm.rounding(iterate, problem.objective.centre)
        found = float(stretch * bound.distance + rounding)
        return found if np.isfinite(found) else np.inf


@dataclass(frozen=True)
class Refined:
    """An iterate, and how near to the optimum it is.

    Attributes
    ----------
    iterate : ndarray of shape (n_outputs, n_dof)
    gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
        Measured there.
    noise : Noise
        Of these sums.
    curvature : Curvature or None
        With its distance from there; None by products.
    bound : Bound or None
        In the norm of the Hessian.
    no_bound : str or None
    coef_bound : float
        In the norm of the goal; infinite without a bound.
    """

    iterate: np.ndarray
    gradient_sums: np.ndarray
    noise: Noise
    curvature: Curvature | None
    bound: Bound | None
    no_bound: str | None
    coef_bound: float


def refined_by_hessian(problem, table, goal, iterate, curvature):
    """Return an iterate nearer to the optimum, by steps with a Hessian that is kept.

    Parameters
    ----------
    problem : Problem
        Of the current training rows.
    table : RowTable
    goal : Goal
    iterate : ndarray of shape (n_outputs, n_dof)
    curvature : Curvature or None
        None: a new Hessian is computed.

    Returns
    -------
    refined : Refined
        The one with the smallest `coef_bound`, whether or not that reaches the goal.
    """
    is_new = curvature is None or not curvature.is_certain
    if is_new:
        curvature = Curvature.incomplete(problem, table, iterate)
    factor, before, best = KeptFactor(curvature.hessian), None, None
    for _ in range(_MOST_PASSES):
        found, gradient = _measured(problem, table, goal, iterate, curvature)
        best = _nearer(found, best)
        if best.coef_bound <= goal.distance:
            return best
        gains = before is None or found.coef_bound < _SLOWEST * before[0].coef_bound
        # 1) another step
        if gains and found.curvature.since_hessian <= MAX_DISTANCE:
            if before is not None:
                moved = problem.vectors(iterate - before[0].iterate)
                factor.add_pair(moved, gradient - before[1])
            before = found, gradient
            direction, _ = factor.direction(gradient)
            iterate = iterate - problem.by_output(direction)
            iterate = problem.without_common_part(iterate)
        # 2) or a new Hessian
        elif not is_new:
            iterate, before, is_new = best.iterate, None, True
            curvature = Curvature.incomplete(problem, table, iterate)
            factor = KeptFactor(curvature.hessian)
        # 3) or only rounding is left, and its bound can be tighter
        else:
            curvature = curvature.completed(problem, table)
            found, _ = _measured(
                problem, table, goal, best.iterate, curvature, is_tight=True
            )
            best = _nearer(found, best)
            break
    if best is not found:
        # What the table says of single rows is about the iterate that was measured
        # last, and the Hessian that was computed last.
        for name in COLUMNS:
            table.set_column(name, None)
    return best


def _measured(problem, table, goal, iterate, curvature, is_tight=False):
    """Return a `Refined` at an iterate, and the gradient there, by a pass."""
    measured = problem.measure(iterate, curvature.origin)
    curvature = curvature.at_reference(problem, table, measured)
    vectors, sums = problem.vectors(iterate), measured.gradient_sums
    noise = Noise(problem.noise(measured), curvature.noise_of_predictions(vectors))
    gradient = Gradient(problem.gradient(sums, iterate), noise, vectors)
    error = _error_of_totals(problem, sums, curvature.hessian.dual_norm)
    curvature = replace(curvature, uncertainty=error)
    bound, no_bound = curvature.bound(gradient)
    stretch = np.inf
    if bound is not None:
        is_tight |= curvature.hessian.order <= _SMALL_ORDER
        stretch = goal.norm.stretch(problem, curvature, is_tight)
    coef_bound = goal.bound_of(bound, stretch, iterate, problem)
    refined = Refined(iterate, sums, noise, curvature, bound, no_bound, coef_bound)
    return refined, gradient.vectors


def refined_by_products(problem, goal, iterate):
    """Return an iterate nearer to the optimum, by steps with products of the Hessian.

    The parameters and the result are those of `refined_by_hessian`.
    """
    best = None
    for _ in range(_MOST_PASSES):
        hessian = problem.products(iterate)
        lower, no_bound = PenaltyBound.at(hessian)
        measured = problem.measure(iterate)
        sums = measured.gradient_sums
        gradient = problem.gradient(sums, iterate)
        bound, stretch = None, np.inf
        if lower is not None:
            error = _error_of_totals(problem, sums, lower.dual_norm)
            bound, no_bound = lower.bound(gradient, measured, iterate, error)
            stretch = goal.norm.stretch_by_penalty(lower)
        coef_bound = goal.bound_of(bound, stretch, iterate, problem)
        noise = Noise(problem.noise(measured))
        found = Refined(iterate, sums, noise, None, bound, no_bound, coef_bound)
        gains = best is None or found.coef_bound < _SLOWEST * best.coef_bound
        best = _nearer(found, best)
        if best.coef_bound <= goal.distance or lower is None or not gains:
            return best
        fraction = _FRACTION_FOR_SYSTEM * goal.distance

        def is_enough(residual, norm, _, lower=lower, allowed=fraction / stretch):
            return lower.expected_dual_norm(residual, norm) <= allowed

        tolerance = min(_FRACTION_FOR_SYSTEM, fraction / found.coef_bound)
        tolerance = max(tolerance, _LEAST_RESIDUAL)
        step, _, _ = hessian.solve(-gradient, tolerance, is_enough)
        iterate = problem.without_common_part(iterate + problem.by_output(step))
    return best


def _error_of_totals(problem, sums, dual_norm):
    """Return at least the error of a gradient by rounding of the factors of groups.

    It is in no `Noise`, and counts as an error of each group's part of the gradient.

    Parameters
    ----------
    problem : Problem
    sums : ndarray of shape (n_groups, n_outputs, n_dof)
        Of the gradient.
    dual_norm : callable
        At least the norm of H^-1.
    """
    if len(sums) == 1:
        return 0.0
    of_groups = problem.group_weight[:, np.newaxis, np.newaxis] * sums
    return _ERROR_OF_TOTALS * sum(dual_norm(problem.vectors(g)) for g in of_groups)


def _nearer(one, other):
    """Return the one of two `Refined` that is nearer to the optimum for certain."""
    return other if other and other.coef_bound <= one.coef_bound else one
