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

from .newton import KeptFactor

# Rounding: how far from the optimum a polish may end, relative to the iterate, both in
# the norm of the Hessian. The gradient itself has no more digits. At 1e-12 what was
# left of the steps told which of a hundred suspects had been removed.
_POLISHED = 0.5 * np.finfo(float).eps
# Accuracy: where steps get no shorter, rounding has been reached if they are at most
# this long, relative to the iterate.
_STALLED = 1e-10
# Accuracy: what the gradient at the end may be off by, relative to the iterate, and
# what every later bound counts with. It is the same whatever the steps were, since a
# number that they come to would be a trace of the rows that left. The gradient of a
# squared error is predicted exactly, but for rounding.
_CERTAIN = 1e-10
_CERTAIN_QUADRATIC = 1e-13
# Cost: a polish takes two or three passes after small edits, and eight after 1% of the
# rows of seven classes left. One that takes more than this is given up, for a fit from
# nothing.
_MOST_PASSES = 12
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
    noise : float
        What rounding may have done to the sums: see `Problem.noise`.
    uncertainty : float
        What else the sums may be off by, relative to the iterate, in the norm of the
        Hessian there: see `Curvature.uncertainty`.
    """

    iterate: np.ndarray
    gradient_sums: np.ndarray
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
        has_stalled = last is not None and length > _SLOWEST * last
        if has_stalled and length > _STALLED * size:
            return None
        # 3) the gradient where the last step leads
        if remainder <= _POLISHED * size or has_stalled:
            end, sums, off = predicted(
                problem, hessian, iterate, measured.gradient_sums, -direction
            )
            # The norms are those of the kept Hessian; at the end others by e^stale.
            off = (len(sums) * left + off) * np.exp(measured.largest_change)
            certain = _CERTAIN_QUADRATIC if curvature.is_quadratic else _CERTAIN
            if off <= certain * size:
                return Polished(end, sums, problem.noise(measured), certain)
        before = iterate, gradient
        iterate = iterate - problem.by_output(direction)
    return None


def predicted(problem, hessian, iterate, gradient_sums, step):
    """Where a step leads, the gradient sums there, and how far they are from none.

    In one group of rows the sums are those of an optimum, where the gradient is zero;
    what the prediction says besides is then what they are off by.
    """
    end = iterate + problem.by_output(step)
    sums = gradient_sums.copy()
    for total, of_group in zip(sums, hessian.sums, strict=True):
        total += problem.by_output(step @ of_group)
    remainder = problem.gradient(sums, end)
    if len(sums) == 1:
        sums -= problem.by_output(remainder) / problem.group_weight[0]
    return end, sums, hessian.dual_norm(remainder)
