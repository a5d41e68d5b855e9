"""An optimum to rounding: what an edit left between its iterate and the optimum goes.

An edit ends near the optimum, not at it, and how far it is off follows from the rows
that it removed: whoever has the remaining rows can solve for a removed one. At the
optimum itself nothing of that is left.

The steps are those of an edit, with the factor of the Hessian that is kept, and with
curvature pairs over it (`_newton.KeptFactor`): each takes a pass, and gains as many
digits as the Hessian is near, or more. The last step needs no pass: the gradient where
it leads is predicted, and what the prediction may be off by is bounded.
"""

from dataclasses import dataclass

import numpy as np

from ._newton import KeptFactor

# Accuracy: how far from the optimum is rounding, relative to the iterate, both in the
# norm of the Hessian. For a condition number of 1e6 coefficients then agree to 1e-9;
# rounding alone leaves some 1e-15.
_POLISHED = 1e-12
# Accuracy: where steps get no shorter, rounding has been reached if they are at most
# this long, relative to the iterate.
_STALLED = 1e-10
# Cost: a polish takes one to three passes where it works at all. One that takes more
# than this is given up, for a fit from nothing.
_MOST_PASSES = 8
# Steps that are not shorter than this fraction of the last one gain nothing.
_SLOWEST = 0.5


@dataclass(frozen=True)
class Polished:
    """An optimum to rounding.

    Attributes
    ----------
    iterate : ndarray of shape (n_outputs, n_dof)
    gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
        Of the data term there, without the penalty.
    gradient : ndarray of shape (n_systems, q)
        Of the objective, where it was measured last: one step before.
    noise : float
        What rounding may have done to the sums: see `Problem.noise`.
    uncertainty : float
        What else the sums may be off by: see `Curvature.uncertainty`.
    """

    iterate: np.ndarray
    gradient_sums: np.ndarray
    gradient: np.ndarray
    noise: float
    uncertainty: float


def polish(problem, curvature, iterate, before):
    """Go to the optimum from an iterate that is near, with a Hessian that is kept.

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
        None where the steps do not arrive.
    """
    hessian = curvature.hessian
    factor, length = KeptFactor(hessian), None
    for _ in range(_MOST_PASSES):
        # 1) a pass
        measured = problem.measure(iterate, curvature.origin)
        gradient = problem.gradient(measured.gradient_sums, iterate)
        if before is not None:
            moved = problem.vectors(iterate - before[0])
            factor.add_pair(moved, gradient - before[1])
        # 2) a step, and what it leaves: judged by what the last ones left
        direction, _ = factor.direction(gradient)
        last, length = length, hessian.norm(direction)
        left = curvature.unpredicted(length, measured.largest_change)
        remainder = left if not last else min(left, length / last * length)
        size = hessian.norm(problem.vectors(iterate))
        is_last = remainder <= _POLISHED * size
        if not is_last and last is not None and length > _SLOWEST * last:
            if length > _STALLED * size:
                return None
            is_last = True  # rounding is all that is left
        # 3) the gradient where the last step leads
        if is_last:
            return _arrived(problem, curvature, iterate, measured, -direction, left)
        before = iterate, gradient
        iterate = iterate - problem.by_output(direction)
    return None


def _arrived(problem, curvature, iterate, measured, step, left):
    """`Polished` after the last step, whose gradient is predicted, not measured."""
    hessian, by_output = curvature.hessian, problem.by_output(step)
    end = iterate + by_output
    gradient = problem.gradient(measured.gradient_sums, iterate)
    sums = measured.gradient_sums.copy()
    for total, of_group in zip(sums, hessian.sums, strict=True):
        total += problem.by_output(step @ of_group)
    # The prediction is off by `left` in every group, and in one group the optimum has
    # no gradient: what is left of the prediction there is off, too.
    uncertainty = len(sums) * left
    if len(sums) == 1:
        remainder = problem.gradient(sums, end)
        uncertainty += hessian.dual_norm(remainder)
        sums -= problem.by_output(remainder) / problem.group_weight[0]
    return Polished(end, sums, gradient, problem.noise(measured), uncertainty)
