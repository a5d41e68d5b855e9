"""Steps from the old optimum to the new one, after an edit.

With a Hessian that is kept, an edit (`follow`) consists of

1. the cached gradient and Hessian, changed by the touched rows;
2. a Newton step, and a bound of its distance to the optimum;
3. if that is too large, a pass that measures the gradient at the end of the step, which
   becomes the reference; if necessary a new Hessian there; and another step;
4. for a squared error, the gradient at the end of the last step, which is predicted.

Without such a Hessian the steps are those of conjugate gradients: see `product_steps`.
"""

from dataclasses import dataclass

import numpy as np

from .._utils.frozen import replace
from .curvature import Curvature, Step
from .report import OptimumReport
from .rounding import Gradient, Noise

# Rounding: units in the last place of the iterate that no step can undercut.
_FLOOR = 100.0 * np.finfo(float).eps
# Accuracy: a distance R since the Hessian (a change of raw predictions) that calls for
# a new one at once. Steps then leave about half of the error, by e^R - 1; at ten times
# the value they diverge.
MAX_DISTANCE = 0.7
# Accuracy: below this fraction of `edit_tol` the distance limits no bound.
_SMALL_DISTANCE = 0.1
# Accuracy: steps that do not become shorter by this factor do not converge.
_MAX_RATIO_OF_STEPS = 0.7


@dataclass(frozen=True)
class Start:
    """Where a step begins.

    Attributes
    ----------
    reference : ndarray of shape (n_outputs, n_dof)
    sums : ndarray of shape (n_groups, n_outputs, n_dof)
        Gradient of the data term there, by group.
    gradient : Gradient
        Of the objective.
    curvature : Curvature
    is_measured : bool
        Whether the gradient was measured by a pass of this edit.
    """

    reference: np.ndarray
    sums: np.ndarray
    gradient: Gradient
    curvature: Curvature
    is_measured: bool

    @classmethod
    def of_edit(cls, engine, problem, table, edit, builds):
        """Return where the first step of an edit begins, or None.

        Parameters
        ----------
        engine : OptimumEngine
            Before the edit.
        problem : Problem
            Of the rows after the edit.
        table : RowTable
        edit : Edit
        builds : bool
            Whether the curvature is built from all rows; otherwise it is changed by the
            touched ones, and None is returned where too little of it remains.
        """
        reference = engine.reference
        sums, measured = gradient_sums_after(engine, problem, edit)
        if not builds:
            curvature = engine.curvature.changed(problem, table, edit, reference)
            if curvature is None:
                return None
        else:
            curvature = Curvature.built(problem, table, reference)
            if engine.curvature is not None and engine.curvature.uncertainty:
                # The sums were predicted, and their error is known in the norm of the
                # old Hessian only.
                sums = problem.measure(reference).gradient_sums
        noise = curvature.noise_after(problem, edit, sums, measured, engine)
        return cls._at(problem, reference, sums, noise, curvature, is_measured=False)

    @classmethod
    def _at(cls, problem, reference, sums, noise, curvature, is_measured):
        gradient = problem.gradient(sums, reference)
        gradient = Gradient(gradient, noise, problem.vectors(reference))
        return cls(reference, sums, gradient, curvature, is_measured)

    def after_pass(self, problem, budget, table, trial, edit_tol):
        """Return the start of the next step, at the end of a `_Trial`, or None.

        None says that the step was too long for its Hessian, or that a new one would
        cost too much.
        """
        curvature, step, end = self.curvature, trial.step, trial.end
        measured = problem.measure(end, curvature.hessian_iterate)
        vectors = problem.vectors(end)
        noise = Noise(problem.noise(measured), curvature.noise_of_predictions(vectors))
        start = self._at(
            problem, end, measured.gradient_sums, noise, curvature, is_measured=True
        )
        slope = np.abs(np.sum(start.gradient.vectors * step.vectors))
        rounding = curvature.rounding(step.gradient)
        if not slope <= 0.5 * step.length**2 + rounding * step.length:
            # The objective increases at the end of the step, or the loss overflows.
            return None
        curvature = curvature.at_reference(problem, table, measured)
        if curvature.is_quadratic:
            is_far, would_gain = curvature.is_worn, curvature.gains_digits
        else:
            is_far = curvature.since_hessian > MAX_DISTANCE
            would_gain = curvature.since_hessian > _SMALL_DISTANCE * edit_tol
        # Passes that an old Hessian makes necessary have cost as much as a new one.
        has_cost = curvature.passes_since_hessian > problem.hessian_cost
        if is_far or (has_cost and would_gain):
            n_hessians = curvature.n_hessians_to_refresh
            if not budget.allows_refreshing(problem.meter, n_hessians, is_far):
                return None
            curvature = curvature.refreshed(problem, table, end)
        return replace(start, curvature=curvature)


@dataclass(frozen=True)
class _Trial:
    """A step, and whether its end is near enough to the optimum.

    Attributes
    ----------
    start : Start
        Where the step begins, with what was measured along it.
    step : Step
    end : ndarray of shape (n_outputs, n_dof)
    since_pass : float
        Distance of the end from where the rows were last read before the edit.
    is_enough : bool
    """

    start: Start
    step: Step
    end: np.ndarray
    since_pass: float
    is_enough: bool

    @classmethod
    def of(cls, engine, problem, table, edit, start, edit_tol):
        """Take a step, and read some rows without targets if that may suffice."""
        curvature, meter = start.curvature, problem.meter
        norm = curvature.hessian.norm
        step = curvature.bounded(curvature.step(start.gradient))
        end = start.reference + problem.by_output(step.vectors)
        end = problem.without_common_part(end)
        moved = step.length
        if start.reference is not engine.reference:
            moved = norm(problem.vectors(end - engine.reference))
        since_pass = engine.distance_since_pass + moved
        floor = _FLOOR * norm(problem.vectors(end))
        least = curvature.noise_of_predictions(start.gradient.reference)
        allowed = problem.tolerance(edit_tol * since_pass, floor, least)
        too_far = step.bound is None or step.bound.distance > allowed
        if curvature.is_certain and too_far and not meter.spent.n_passes:
            curvature, step, n_passes = curvature.measured_along(
                problem, table, edit.removed, allowed, step
            )
            start = replace(start, curvature=curvature)
            meter.spend(n_passes)
        if step.bound is not None:
            # If only rounding is left, another pass does not improve the step.
            at_rounding = step.length <= curvature.rounding(start.gradient)
            is_enough = step.bound.distance <= allowed
            is_enough |= start.is_measured and at_rounding
        else:
            # An estimate is enough only where there is no bound in any case.
            is_near = step.length <= edit_tol * since_pass + floor
            is_enough = start.is_measured and is_near and not curvature.is_certain
        return cls(start, step, end, since_pass, is_enough)


def follow(engine, problem, budget, table, edit, builds, edit_tol):
    """Return an engine after an edit, by as few passes as possible.

    Parameters
    ----------
    engine : OptimumEngine
        Before the edit.
    problem : Problem
        Of the rows after the edit.
    budget : Budget
    table : RowTable
    edit : Edit
    builds : bool
        See `Start.of_edit`.
    edit_tol : float
        Largest distance from the optimum, as a fraction of that from the reference.

    Returns
    -------
    engine : OptimumEngine or None
        None if the steps do not converge within the limits of the problem's meter.
    """
    start = Start.of_edit(engine, problem, table, edit, builds)
    last_length = np.inf
    while start is not None:
        trial = _Trial.of(engine, problem, table, edit, start, edit_tol)
        if trial.is_enough:
            return _finished(engine, problem, table, trial)
        length = trial.step.length
        converges = length < _MAX_RATIO_OF_STEPS * last_length
        if not (problem.meter.allows(n_passes=1) and converges):
            return None
        last_length = length
        start = trial.start.after_pass(problem, budget, table, trial, edit_tol)
    return None


def _finished(engine, problem, table, trial):
    """Return the engine at the end of the last step."""
    start, step, end = trial.start, trial.step, trial.end
    n_passes = problem.meter.spent.n_passes
    curvature = start.curvature.after_passes(problem, table, n_passes)
    changed, largest = 0.0, None
    if table.is_stored:
        changed = curvature.hessian.norm(problem.vectors(end - engine.iterate))
    if start.is_measured:
        largest = problem.largest(start.gradient.vectors)
    report = OptimumReport(
        curvature=engine.curvature_kind, gradient_norm=largest, no_bound=step.no_bound
    ).with_bound(step.bound, trial.since_pass, changed)
    reference, sums, noise = start.reference, start.sums, start.gradient.noise
    if curvature.is_quadratic:
        moved = problem.vectors(end - reference)
        (of_rows,) = curvature.hessian.sums
        sums = sums + problem.by_output(moved @ of_rows)
        noise = curvature.noise_after_move(problem, noise, sums, moved)
        reference = end
        curvature = replace(curvature, hessian_iterate=end, since_hessian=0.0)
    return replace(
        engine, iterate=end, reference=reference, gradient_sums=sums, noise=noise,
        curvature=curvature, converged=True, report=report, is_clean=False,
    )  # fmt: skip


def gradient_sums_after(engine, problem, edit):
    """Return the cached gradient after an edit: without removed rows, with added ones.

    Returns
    -------
    sums : ndarray of shape (n_groups, n_outputs, n_dof)
    measured : tuple of two Measurement
        Of the removed rows and of the added ones.
    """
    objective, reference = problem.objective, engine.reference
    removed = objective.measure(reference, edit.removed)
    added = objective.measure(reference, edit.added)
    touched = added.gradient_sums - removed.gradient_sums
    return engine.gradient_sums + touched, (removed, added)
