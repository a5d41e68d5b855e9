"""Steps from the old optimum to the new one, where no Hessian is kept.

The systems of a step are solved by conjugate gradients with products of the Hessian,
from the cached gradient without the removed rows and with the added ones. Each step is
judged by a pass, which measures the gradient at its end.
"""

from dataclasses import replace

import numpy as np

from .cost import PASSES_PER_PRODUCT_STEP
from .edit_steps import gradient_sums_after
from .report import NOT_KEPT, OptimumReport

# Accuracy: the fraction of the allowed error to which conjugate gradients solve a
# system. The remaining error is that of the change of the Hessian.
_FRACTION_FOR_SYSTEM = 0.3


def follow_by_products(engine, problem, edit, edit_tol):
    """Return an engine after an edit, by conjugate gradients from the cached gradient.

    The parameters and the result are those of `edit_steps.follow`.
    """
    reference = engine.reference
    sums, _ = gradient_sums_after(engine, problem, edit)
    gradient = problem.gradient(sums, reference)
    moved, tolerance = 0.0, _FRACTION_FOR_SYSTEM * edit_tol
    while problem.meter.allows(n_passes=PASSES_PER_PRODUCT_STEP):
        # 1) a step, to a fraction of the error that is allowed
        hessian = problem.products(reference)
        step, residual, error = hessian.solve(-gradient, tolerance)
        reference = reference + problem.by_output(step)
        # 2) a pass: apart from the residual of the system, the gradient that it
        # measures is due to the change of the Hessian
        sums = problem.measure(reference).gradient_sums
        length = np.sqrt(max(0.0, np.sum(step * (-gradient - residual))))
        moved += length
        gradient = problem.gradient(sums, reference)
        error += hessian.dual_norm(gradient + residual)
        # The error is estimated in a norm that says nothing far from where it was
        # taken: a step that goes too far is given up, whatever that says.
        if not np.abs(np.sum(gradient * step)) <= 0.5 * length**2:
            return None
        if error <= edit_tol * moved:
            break
        tolerance = _FRACTION_FOR_SYSTEM * edit_tol * moved / error
        tolerance = min(_FRACTION_FOR_SYSTEM, tolerance)
    else:
        return None
    report = OptimumReport(
        curvature=engine.curvature_kind, no_bound=NOT_KEPT,
        gradient_norm=problem.largest(gradient),
    )  # fmt: skip
    return replace(
        engine, iterate=reference, reference=reference, gradient_sums=sums,
        converged=True, report=report, is_clean=False,
    )  # fmt: skip
