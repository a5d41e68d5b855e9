"""Steps to an optimum until only rounding is left.

An edit ends near the optimum, not at it, and its distance from the optimum depends on
the rows that it removed: whoever has the remaining rows can solve for a removed one. At
the optimum itself no such trace is left.

The steps are those of an edit, with the factor of the Hessian that is kept and
corrected by curvature pairs (`newton.KeptFactor`). Each takes a pass, and the nearer
the Hessian, the more digits it gains. The last step needs no pass: the gradient at its
end is predicted, and the error of the prediction is bounded.
"""

from dataclasses import dataclass

import numpy as np

from .newton import KeptFactor

# Rounding: how far from the optimum a polish may end, relative to the iterate, both in
# the norm of the Hessian. The gradient itself has no more digits. At 1e-12 what was
# left of the steps revealed which of a hundred suspects had been removed.
_POLISHED = 0.5 * np.finfo(float).eps
# Accuracy: where steps get no shorter, rounding has been reached if they are at most
# this long, relative to the iterate.
_STALLED = 1e-10
# Accuracy: the error of the gradient at the end, relative to the iterate, which is part
# of every later bound. It is the same whatever the steps were, because a number that
# depends on them would be a trace of the rows that left. The gradient of a squared
# error is predicted exactly, apart from rounding.
_CERTAIN = 1e-10
_CERTAIN_QUADRATIC = 1e-13
# Cost: two or three passes are enough after small edits, and eight after 1% of the rows
# of seven classes left. If more than this are needed, the model is fitted from zero.
_MOST_PASSES = 12
# Accuracy: steps that are longer than this fraction of the last one gain nothing more.
_SLOWEST = 0.5


@dataclass(frozen=True)
class Polished:
    """An optimum, apart from rounding.

    Attributes
    ----------
    iterate : ndarray of shape (n_outputs, n_dof)
    gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
        Of the data term there, without the penalty.
    noise : float
        Rounding error of the sums: see `Problem.noise`.
    uncertainty : float
        Other errors of the sums, relative to the iterate, in the norm of the Hessian
        there: see `Curvature.uncertainty`.
    """

    iterate: np.ndarray
    gradient_sums: np.ndarray
    noise: float
    uncertainty: float


def polish(problem, curvature, iterate, before):
    """Return the optimum near an iterate, by steps with a Hessian that is kept.

    Parameters
    ----------
    problem : Problem
        Of the current training rows. Its meter counts the passes.
    curvature : Curvature
        Of the same rows.
    iterate : ndarray of shape (n_outputs, n_dof)
    before : tuple or None
        An earlier iterate, and the gradient of the same rows there: the first curvature
        pair.

    Returns
    -------
    polished : Polished or None
        None if the steps do not converge.
    """
    hessian, origin, since = curvature.hessian, curvature.origin, 0.0
    factor, length = KeptFactor(hessian), None
    for _ in range(_MOST_PASSES):
        # 1) a pass; and how far the rows are from the Hessian, which later steps change
        # by so little that the leverages tell it
        measured = problem.measure(iterate, origin)
        since += measured.largest_change
        if length is not None and not curvature.is_quadratic:
            since += curvature.leverage * length
        origin = None
        gradient = problem.gradient(measured.gradient_sums, iterate)
        if before is not None:
            moved = problem.vectors(iterate - before[0])
            factor.add_pair(moved, gradient - before[1])
        # 2) a step, and the error that it leaves, which shrinks as the steps do
        direction, _ = factor.direction(gradient)
        last, length = length, hessian.norm(direction)
        left = curvature.prediction_error(length, since)
        remainder = left if not last else min(left, length / last * length)
        size = hessian.norm(problem.vectors(iterate))
        has_stalled = last is not None and length > _SLOWEST * last
        if has_stalled and length > _STALLED * size:
            return None
        # 3) the gradient at the end of the last step
        if remainder <= _POLISHED * size or has_stalled:
            end, sums, error = predicted(
                problem, hessian, iterate, measured.gradient_sums, -direction
            )
            # The norms are those of the kept Hessian. At the end they differ by at most
            # e to the power of the distance.
            error = (len(sums) * left + error) * np.exp(since)
            certain = _CERTAIN_QUADRATIC if curvature.is_quadratic else _CERTAIN
            if error <= certain * size:
                return Polished(end, sums, problem.noise(measured), certain)
        before = iterate, gradient
        iterate = iterate - problem.by_output(direction)
    return None


def predicted(problem, hessian, iterate, gradient_sums, step):
    """Predict the gradient sums at the end of a step to the optimum.

    Parameters
    ----------
    problem : Problem
    hessian : Hessian
    iterate : ndarray of shape (n_outputs, n_dof)
        Where the step begins.
    gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
        There.
    step : ndarray of shape (n_systems, q)

    Returns
    -------
    end : ndarray of shape (n_outputs, n_dof)
    sums : ndarray of shape (n_groups, n_outputs, n_dof)
        Of one group of rows they are those of an optimum, where the gradient is zero.
    remainder : float
        The predicted gradient, in the norm of H^-1.
    """
    end = problem.without_common_part(iterate + problem.by_output(step))
    sums = gradient_sums.copy()
    for total, of_group in zip(sums, hessian.sums, strict=True):
        total += problem.by_output(step @ of_group)
    remainder = problem.gradient(sums, end)
    if len(sums) == 1:
        sums -= problem.by_output(remainder) / problem.group_weight[0]
    return end, sums, hessian.dual_norm(remainder)
