"""Steps from the old optimum to the new one, where no Hessian is kept.

The systems of a step are solved by conjugate gradients with products of the Hessian,
from the cached gradient without the removed rows and with the added ones. Each step is
judged by a pass, which measures the gradient at its end: by a bound of the distance to
the optimum (`penalty_bound`), or by an estimate where there is none.

A bound costs a few passes more than an estimate, and with a tiny penalty any number of
them. Steps are therefore continued for a smaller bound only until they have cost twice
as much as those that were enough by the estimate. The bound is reported then, too.
"""

from dataclasses import dataclass, replace

import numpy as np

from .._objective.data_term import Measurement
from .cost import PASSES_PER_PRODUCT_STEP
from .edit_steps import gradient_sums_after
from .penalty_bound import PenaltyBound
from .report import OptimumReport

# Accuracy: the fraction of the allowed error to which conjugate gradients solve a
# system. The remaining error is that of the change of the Hessian. It decides only
# where there is no bound: on MNIST, news20 and columns with a penalty 0.3, 0.5 and 0.7
# took the same passes. On columns without a penalty 0.5 saved 2% to 7% of the passes,
# but 24 edits took 30 steps instead of 27.
_FRACTION_FOR_SYSTEM = 0.3
# Accuracy: the same, where the error of the solution has a bound, or one is expected.
_FRACTION_FOR_PROOF = 0.6
# Cost: see the module's docstring.
_MAX_FOR_BOUND = 2.0


@dataclass(frozen=True)
class _ProductStep:
    """A step by products, and what a pass at its end says of it.

    Attributes
    ----------
    end : ndarray of shape (n_outputs, n_dof)
    measured : Measurement
        There.
    gradient : ndarray of shape (n_systems, q)
        Of the objective there.
    length : float
        In the norm of the Hessian at the beginning.
    error : float
        Estimate of the distance to the optimum, in the same norm.
    lower : PenaltyBound or None
    no_bound : str or None
    """

    end: np.ndarray
    measured: Measurement
    gradient: np.ndarray
    length: float
    error: float
    lower: PenaltyBound | None
    no_bound: str | None

    @classmethod
    def of(cls, problem, reference, gradient, tolerance, edit_tol, moved):
        """Take a step; None if it goes too far.

        Its system is solved to `tolerance` by the estimate or, if a bound can be
        expected, until that is a fraction of `edit_tol` of the whole way, of which
        `moved` lies behind.
        """
        hessian = problem.products(reference)
        lower, no_bound = PenaltyBound.at(hessian)
        if lower is None:
            step, residual, error = hessian.solve(-gradient, tolerance)
        else:
            fraction = _FRACTION_FOR_PROOF * edit_tol
            step, residual, error = hessian.solve(
                -gradient, tolerance,
                lambda left, norm, length: (
                    lower.expected_dual_norm(left, norm) <= fraction * (moved + length)
                ),
            )  # fmt: skip
            if np.isfinite(error):
                error = min(error, lower.expected_dual_norm(residual))
        end = problem.without_common_part(reference + problem.by_output(step))
        # Apart from the residual of the system, the gradient that is measured is due to
        # the change of the Hessian.
        measured = problem.measure(end, reference)
        length = np.sqrt(max(0.0, np.sum(step * (-gradient - residual))))
        gradient = problem.gradient(measured.gradient_sums, end)
        # The error is estimated in a norm that says nothing far from where it was
        # taken: a step that goes too far is given up, whatever that says.
        if not np.abs(np.sum(gradient * step)) <= 0.5 * length**2:
            return None
        error += hessian.dual_norm(gradient + residual)
        if not problem.objective.loss.is_quadratic:
            # By as much the norm at the end may differ from that at the beginning.
            error *= np.exp(measured.largest_change)
        return cls(end, measured, gradient, length, error, lower, no_bound)

    @property
    def distance(self):
        """An estimate of the bound of the distance, without a pass."""
        if self.lower is None:
            return self.error
        return max(self.error, self.lower.expected_dual_norm(self.gradient))

    def bound(self):
        """Bound the distance from the end to the optimum: see `PenaltyBound.bound`."""
        if self.lower is None:
            return None, self.no_bound
        return self.lower.bound(self.gradient, self.measured, self.end)


def follow_by_products(engine, problem, edit, edit_tol):
    """Return an engine after an edit, by conjugate gradients from the cached gradient.

    The parameters and the result are those of `edit_steps.follow`.
    """
    meter, end = problem.meter, engine.reference
    sums, _ = gradient_sums_after(engine, problem, edit)
    gradient = problem.gradient(sums, end)
    moved, tolerance, most = 0.0, _FRACTION_FOR_SYSTEM * edit_tol, np.inf
    bound, no_bound, is_enough = None, None, False
    while meter.allows(n_passes=PASSES_PER_PRODUCT_STEP):
        step = _ProductStep.of(problem, end, gradient, tolerance, edit_tol, moved)
        if step is None:
            return None
        end, gradient, distance = step.end, step.gradient, step.distance
        moved += step.length
        allowed = edit_tol * moved
        is_enough = step.error <= allowed
        if is_enough:
            most = min(most, _MAX_FOR_BOUND * meter.spent.n_passes)
        may_go_on = meter.spent.n_passes < most
        may_go_on &= meter.allows(n_passes=1 + PASSES_PER_PRODUCT_STEP)
        if is_enough and (distance <= allowed or not may_go_on):
            bound, no_bound = step.bound()
            distance = bound.distance if bound else distance
            if distance <= allowed or not may_go_on:
                break
        tolerance = _FRACTION_FOR_SYSTEM * allowed / distance
        tolerance = min(_FRACTION_FOR_SYSTEM, tolerance)
    if not is_enough:
        return None
    report = OptimumReport(
        curvature=engine.curvature_kind, no_bound=no_bound,
        gradient_norm=problem.largest(gradient),
    ).with_bound(bound, moved, moved)  # fmt: skip
    return replace(
        engine, iterate=end, reference=end, gradient_sums=step.measured.gradient_sums,
        converged=True, report=report, is_clean=False,
        recycled=problem.recycled,
    )  # fmt: skip
