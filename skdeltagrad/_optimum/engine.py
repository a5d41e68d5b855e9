"""The engine that keeps a converged optimum and follows edits from it.

What is kept is a *reference* iterate with the gradient sums of the rows there, the
Hessian at an iterate near it, and the constants of the certificate. An edit is a Newton
step,

    g   =  cached gradient - removed rows' + added rows', at the reference
    w'  =  reference - H^-1 g,      H changed by the touched rows' Hessians

without a pass over the data. The step always starts from the same reference, whatever
was edited before, so that thousands of edits do not drift, and the certificate
(`certificate`) holds for all of them together. If it is not tight enough, a pass
measures the gradient at the new iterate, which becomes the reference (`edit_steps`).

The gradient of a squared error at the new optimum is known without a pass, since it
changes by the product of the step with the Hessian. Its reference moves to the optimum
in every edit, so that nothing of the old optimum is kept. The gradient that a step
leaves is kept, so that its errors do not add up, and its rounding is counted.
"""

from dataclasses import dataclass, field
from functools import wraps
from time import perf_counter

import numpy as np

from .._data.edit import NO_EDIT
from .._data.group_weights import RowCounts
from .._engine import AbstractEngine, Model
from .._utils import memory, threads
from .._utils.few_digits import power_of_ten, power_of_thousand
from .._utils.frozen import replace
from .coefficient_norm import CoefficientNorm
from .conjugate_gradient import PRECONDITIONERS, Recycled
from .cost import (
    MAX_STEP_PASSES,
    START_PASSES,
    TYPICAL_PRODUCT_PASSES,
    Budget,
    Cost,
    cheapest_curvature,
    curvature_bytes,
    n_hessians_to_build,
    order,
)
from .curvature import SINGULAR, Curvature, Step
from .edit_steps import Start, follow
from .newton import minimise
from .penalty_bound import bound_at
from .polish import polish, predicted
from .problem import Problem
from .product_steps import follow_by_products
from .refinement import Goal, refined_by_hessian, refined_by_products
from .report import (
    LARGE_ROWS,
    NOT_BUILT,
    TOO_MUCH,
    WITHOUT_ROWS,
    OptimumReport,
)
from .rounding import Gradient, Noise

# Cost: iterations of a fit from zero that a refinement makes. Fits of difficult data
# take a tenth of it.
_MOST_ITERATIONS = 1000
# Cost: a plan times a pass over so many rows, which takes milliseconds.
_N_TIMED = 2**14


def _with_few_threads(method):
    """Run a method with as many threads of BLAS as its matrices are worth."""

    @wraps(method)
    def inside(self, training_set, *arguments, **named):
        # Where no Hessian is kept, the largest is the preconditioner's.
        n_features = training_set.n_features
        largest = {"diagonal": 1, "kronecker": n_features + 1}
        largest["exact"] = largest["subset"] = order(self.model.loss, n_features)
        with threads.blas_for(largest[self.curvature_kind]):
            return method(self, training_set, *arguments, **named)

    return inside


@dataclass(frozen=True)
class OptimumEngine(AbstractEngine):
    """An optimum, and all that its edits need besides the rows.

    Attributes
    ----------
    model : Model
        The optimum does not depend on where it has its columns centred.
    tol : float
        Of a fit: see `newton.minimise`.
    max_iter : int
        Of a fit.
    curvature_kind : {"exact", "subset", "kronecker", "diagonal"}
        See `Problem`.
    iterate : ndarray of shape (n_outputs, n_dof)
        The optimum.
    reference : ndarray of shape (n_outputs, n_dof)
        Where the rows were last read; for a squared error the optimum.
    gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
        Of the current training rows, at the reference, without the penalty.
    noise : Noise
        Rounding errors of the gradient sums. Those of predictions count from the first
        edit on, when the curvature is known.
    curvature : Curvature or None
        None until the first edit.
    recycled : Recycled or None
        Of systems that were solved by products. It makes the next edit faster, is
        computed from rows that may have left since, and is in no dump and no copy.
    row_counts : RowCounts
    n_iter : int
        Number of steps of the last fit.
    converged : bool
        Whether that fit reached its tolerance.
    fit_cost : Cost
        Of the last fit from zero.
    report : OptimumReport
    is_clean : bool
        Whether everything is a function of the current training rows alone, apart from
        rounding.
    distance_since_pass : float
        Length of the steps, in the norm of the Hessian, from where the rows were last
        read to the reference. 0 unless the reference was moved without the rows.
    """

    model: Model
    tol: float
    max_iter: int
    curvature_kind: str
    iterate: np.ndarray | None = None
    reference: np.ndarray | None = None
    gradient_sums: np.ndarray | None = None
    noise: Noise = Noise()
    curvature: Curvature | None = None
    recycled: Recycled | None = None
    row_counts: RowCounts | None = None
    n_iter: int = 0
    converged: bool = True
    fit_cost: Cost = Cost()
    report: OptimumReport = field(default_factory=OptimumReport)
    is_clean: bool = False
    distance_since_pass: float = 0.0

    keeps_path = False
    random_seed = None  # nothing is random

    @classmethod
    def untrained(cls, settings, model, training_set, seed=None):
        engine = cls._of(settings, model, training_set)
        if not settings.store_data and not engine.keeps_hessian:
            raise ValueError(
                "store_data=False needs a Hessian that is kept: there are too many "
                f"coefficients for it, or curvature={settings.curvature!r}. Use "
                'store_data=True, fewer columns, or curvature="exact".'
            )
        return engine

    @classmethod
    def _of(cls, settings, model, training_set):
        size = model.loss, model.alpha, training_set.n_features, model.n_groups
        kind = settings.curvature
        if kind == "auto":
            kind = cheapest_curvature(*size)
        engine = cls(model, settings.tol, settings.max_iter, kind)
        preconditioner = PRECONDITIONERS.get(kind)
        if preconditioner is not None and preconditioner.is_kept:
            preconditioner.require(order(model.loss, training_set.n_features))
        if engine.keeps_hessian:
            n_bytes = curvature_bytes(*size)
            memory.require(
                n_bytes,
                "the Hessian, what goes with it, and an edit of them",
                'Use curvature="kronecker" or "diagonal", or fewer columns.',
            )
            if settings.verbose:
                print(
                    f"curvature: exact Hessian, at most {n_bytes / 1e6:,.1f} MB with "
                    "all that goes with it, while an edit is made"
                )
        return engine

    def adapted(self, model, training_set, settings, edit=NO_EDIT):
        if model.loss is self.model.loss:
            return replace(self, model=model)
        other = self._of(settings, model, training_set)
        return replace(other, fit_cost=self.fit_cost)

    def __getstate__(self):
        return vars(self) | {"recycled": None}

    @property
    def keeps_hessian(self):
        """Whether the Hessian itself is kept, instead of a preconditioner computed."""
        return self.curvature_kind not in PRECONDITIONERS

    @property
    def n_counting(self):
        """Number of rows of positive weight."""
        return int(self.row_counts.count.sum())

    @property
    def total_weight(self):
        """Total weight of the rows, without the groups' factors."""
        return float(self.row_counts.weight.sum())

    @property
    def nbytes(self):
        """Size of what is kept besides the rows."""
        arrays = (self.iterate, self.reference, self.gradient_sums)
        kept = 0 if self.curvature is None else self.curvature.nbytes
        kept += 0 if self.recycled is None else self.recycled.nbytes
        return kept + sum(array.nbytes for array in arrays)

    def attributes(self):
        return {"n_iter_": np.array([self.n_iter], dtype=np.int32)}

    def summary(self):
        return vars(self.report)

    # Fits -----------------------------------------------------------------------------

    @_with_few_threads
    def fit(self, training_set, edit=NO_EDIT):
        """Fit the model from zero; for an edit within the budget of a new fit."""
        table = training_set.table
        live = table.live_indices(edit.added)
        row_counts = self._count(table, live)
        problem = self._problem(training_set, edit, row_counts)
        if len(edit):
            problem.meter.allow(self._budget(problem, row_counts).refit)
        trained = self._fit(problem, table, row_counts, problem.origin)
        return replace(trained, fit_cost=problem.meter.spent, is_clean=True)

    def _fit(self, problem, table, row_counts, start):
        try:
            optimum = minimise(problem, start, self.tol, self.max_iter)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                "The columns of X are so large, or so nearly the same, that no Hessian "
                "can be factorised in working precision. Standardise them."
            ) from error
        curvature, bound, no_bound = None, None, NOT_BUILT
        if self.keeps_hessian:
            curvature = self._curvature_of_fit(problem, table, optimum)
        else:
            bound, no_bound = bound_at(problem, optimum.measured, optimum.iterate)
        report = OptimumReport(
            **vars(problem.meter.spent), curvature=self.curvature_kind,
            gradient_norm=optimum.gradient_norm, no_bound=no_bound,
        ).with_bound(bound)  # fmt: skip
        fitted = replace(
            self, iterate=optimum.iterate, reference=optimum.iterate,
            recycled=None if self.keeps_hessian else problem.recycled,
            gradient_sums=optimum.measured.gradient_sums,
            noise=Noise(problem.noise(optimum.measured)), distance_since_pass=0.0,
            curvature=None, is_clean=False, row_counts=row_counts,
            n_iter=optimum.n_iter, converged=optimum.converged, report=report,
        )  # fmt: skip
        if curvature is None:
            return fitted
        return fitted._with_curvature(problem, curvature)

    def _curvature_of_fit(self, problem, table, optimum):
        """Return the curvature that a fit leaves, or None."""
        try:
            return Curvature.of_fit(problem, table, optimum)
        except np.linalg.LinAlgError:
            return None  # the first edit tries it again, and is a fit otherwise

    def _with_curvature(self, problem, curvature):
        """Return the engine with a curvature at its reference, and its bound."""
        reference = problem.vectors(self.reference)
        of_predictions = curvature.noise_of_predictions(reference)
        noise = Noise(self.noise.of_sums, of_predictions)
        gradient = problem.gradient(self.gradient_sums, self.reference)
        bound, no_bound = curvature.bound(Gradient(gradient, noise, reference))
        report = replace(self.report, no_bound=no_bound).with_bound(bound)
        return replace(self, curvature=curvature, noise=noise, report=report)

    @_with_few_threads
    def prepared(self, training_set, settings):
        """Return the engine with the curvature of its first edit, and a bound.

        Edits by conjugate gradients keep nothing that could be prepared.
        """
        if not self.keeps_hessian:
            return self
        table, curvature = training_set.table, self.curvature
        if curvature is not None and curvature.is_tight:
            return self
        problem = self._problem(training_set, NO_EDIT, self.row_counts)
        if curvature is None:
            curvature = Curvature.built(problem, table, self.reference)
        else:
            curvature = curvature.completed(problem, table)
        if not self.is_clean:  # the report is that of an edit
            return replace(self, curvature=curvature)
        n_hessians = self.report.n_hessians + problem.meter.spent.n_hessians
        report = replace(self.report, n_hessians=n_hessians)
        return replace(self, report=report)._with_curvature(problem, curvature)

    # Edits ----------------------------------------------------------------------------

    @_with_few_threads
    def edited(self, training_set, edit, settings):
        """Return the optimum after an edit, by steps from the reference if possible.

        ``settings.edit_tol`` is the largest distance from the optimum, as a fraction of
        the distance from the reference.
        """
        table, edit_tol = training_set.table, settings.edit_tol
        row_counts = self._row_counts_after(table, edit)
        problem = self._problem(training_set, edit, row_counts)
        budget = self._budget(problem, row_counts)
        problem.meter.allow(budget.steps)
        if self.recycled is not None:
            problem.recycled = self.recycled
        followed, builds = None, self._builds_curvature(edit, table.n_live)
        try:
            if not self.keeps_hessian:
                followed = follow_by_products(self, problem, edit, edit_tol)
            elif not self._is_refit_at_once(budget, edit, table.n_live):
                followed = follow(self, problem, budget, table, edit, builds, edit_tol)
        except np.linalg.LinAlgError:
            pass
        if followed is None:
            return self._refitted(problem, table, budget, row_counts)
        report = replace(followed.report, **vars(problem.meter.spent))
        return replace(followed, row_counts=row_counts, report=report)

    def _refitted(self, problem, table, budget, row_counts):
        """Fit the model again, from the iterate with the lowest known objective."""
        problem.meter.allow(budget.refit + Cost(START_PASSES))
        for iterate in (self.iterate, problem.origin):
            problem.measure(iterate)
        _, start = problem.lowest
        if start is None:
            raise ValueError(
                "The numbers in X, y or sample_weight are so large that the objective "
                "is not finite anywhere: nothing is changed. Standardise them, or "
                "check the new rows."
            )
        start = problem.without_common_part(start)
        refit = self._fit(problem, table, row_counts, start)
        report = replace(refit.report, refit=True, reason=TOO_MUCH)
        return replace(refit, report=report)

    def _builds_curvature(self, edit, n_live):
        """Whether an edit builds the curvature: if there is none, or few rows stay."""
        return self.curvature is None or len(edit) > n_live

    def _is_refit_at_once(self, budget, edit, n_live):
        """Whether the curvature costs too much for steps that may not converge."""
        if self.model.loss.is_quadratic or not self._builds_curvature(edit, n_live):
            return False
        return not budget.allows_curvature(len(edit), n_live)

    @_with_few_threads
    def plan(self, training_set, edit, settings, is_refit):
        table = training_set.table
        row_counts = self._row_counts_after(table, edit)
        problem = self._problem(training_set, edit, row_counts)
        budget = self._budget(problem, row_counts)
        n_live = table.n_live - len(edit.removed)
        some = table.first_indices(_N_TIMED)
        seconds = problem.seconds_per_pass(self.reference, some, n_live)
        if is_refit:
            in_passes = self.fit_cost.in_passes(problem.hessian_cost)
            facts = vars(self.fit_cost) | {"seconds": seconds * in_passes}
        else:
            facts = self._plan(problem, budget, table, edit, settings, n_live, seconds)
        limit = budget.refit if is_refit else budget.edit
        return facts | {
            "n_passes_at_most": float(limit.n_passes),
            "n_hessians_at_most": float(limit.n_hessians),
        }

    def _plan(self, problem, budget, table, edit, settings, n_live, seconds):
        if not self.keeps_hessian:
            n_passes = TYPICAL_PRODUCT_PASSES
            return {"n_passes": n_passes, "seconds": seconds * n_passes}
        refit = {"n_passes": MAX_STEP_PASSES, "n_hessians": 1}
        refit["seconds"] = seconds * Cost(**refit).in_passes(problem.hessian_cost)
        refit |= {"refit": True, "reason": TOO_MUCH}
        if self._is_refit_at_once(budget, edit, n_live):
            return refit
        if self._builds_curvature(edit, n_live):
            n_hessians = n_hessians_to_build(self.model.loss)
            seconds *= n_hessians * problem.hessian_cost
            return {"n_hessians": n_hessians, "seconds": seconds}
        started = perf_counter()
        try:
            start = Start.of_edit(self, problem, table, edit, builds=False)
        except np.linalg.LinAlgError:
            start = None
        if start is None:
            return refit
        curvature = start.curvature
        step = curvature.bounded(curvature.step(start.gradient))
        elapsed = perf_counter() - started
        allowed = settings.edit_tol * step.length
        if step.bound is not None and step.bound.distance <= allowed:
            return {"seconds": elapsed}
        return {"n_passes": 1, "seconds": elapsed + seconds}

    # Refinements ----------------------------------------------------------------------

    @_with_few_threads
    def refined(self, training_set, distance, scale, from_zero=False):
        table = training_set.table
        model = replace(self.model, spread=training_set.spread)
        # Rounding depends on where columns are centred, and must not on earlier rows.
        engine = replace(self, model=model)._about(training_set.centre())
        if from_zero:
            # A limit to the iterations of a fit must not make this one fail: an edited
            # model, which needs few, could be told from a new one.
            patient = max(self.max_iter, _MOST_ITERATIONS)
            engine = replace(engine, max_iter=patient).fit(training_set)
            engine = replace(engine, max_iter=self.max_iter)
        row_counts = engine._count(table, table.live_indices())
        problem = engine._problem(training_set, NO_EDIT, row_counts)
        if from_zero:
            problem.meter.spend(self.report.n_passes, self.report.n_hessians)
            problem.meter.spend(**vars(engine.fit_cost))
        goal = Goal(distance, CoefficientNorm(1.0 / scale**2))
        return engine._refined(problem, table, row_counts, goal)

    def _refined(self, problem, table, row_counts, goal):
        """Return the engine nearer to a `Goal`, by steps from where it is."""
        try:
            if self.keeps_hessian:
                found = refined_by_hessian(
                    problem, table, goal, self.iterate, self.curvature
                )
            else:
                found = refined_by_products(problem, goal, self.iterate)
        except np.linalg.LinAlgError:
            report = OptimumReport(
                **vars(problem.meter.spent), curvature=self.curvature_kind,
                no_bound=SINGULAR, coef_bound=np.inf,
            )  # fmt: skip
            return replace(self, report=report)
        report = OptimumReport(
            **vars(problem.meter.spent), curvature=self.curvature_kind,
            no_bound=found.no_bound, coef_bound=found.coef_bound,
        ).with_bound(found.bound)  # fmt: skip
        return replace(
            self, iterate=found.iterate, reference=found.iterate,
            gradient_sums=found.gradient_sums, noise=found.noise,
            curvature=found.curvature, row_counts=row_counts, distance_since_pass=0.0,
            converged=self.converged or found.coef_bound <= goal.distance,
            report=report, recycled=None if self.keeps_hessian else problem.recycled,
        )  # fmt: skip

    # Purges ---------------------------------------------------------------------------

    def purged(self, training_set, settings, exact):
        if not training_set.table.is_stored:
            return self._purged_without_rows(training_set)
        model = replace(self.model, spread=training_set.spread)
        engine = replace(self, model=model)._about(training_set.centre())
        return engine.purged_on_rows(training_set, exact), None

    def _about(self, centre):
        """Return the model with columns centred elsewhere, without curvature."""
        if centre is None or np.array_equal(centre, self.model.centre):
            return self
        iterate = self.model.iterate_about(self.iterate, centre)
        return replace(
            self, model=replace(self.model, centre=centre), iterate=iterate,
            reference=iterate, curvature=None, recycled=None, is_clean=False,
        )  # fmt: skip

    @_with_few_threads
    def purged_on_rows(self, training_set, exact=False):
        """Return the optimum without anything that was computed with removed rows.

        It is polished from where it is until only rounding is left. If that does not
        converge, it is fitted from zero first; where no Hessian is kept, it is only
        fitted.

        Parameters
        ----------
        training_set : TrainingSet
        exact : bool, default=False
            Whether it is fitted from zero in any case.
        """
        if self.is_clean and not exact:
            report = replace(self.report, n_passes=0.0, n_hessians=0.0)
            return replace(self, report=report)
        table = training_set.table
        row_counts = self._count(table, table.live_indices())
        problem = self._problem(training_set, NO_EDIT, row_counts)
        polished = None
        if self.keeps_hessian and not exact:
            polished = self._polished(problem, table, row_counts)
        if polished is not None:
            return polished
        trained = self.fit(training_set)
        problem.meter.spend(**vars(trained.fit_cost))
        if self.keeps_hessian:
            polished = trained._polished(problem, table, row_counts)
        report = replace(trained.report, **vars(problem.meter.spent))
        return polished or replace(trained, report=report)

    @_with_few_threads
    def _purged_without_rows(self, training_set):
        """Remove what can be removed from a model whose rows are not stored.

        The optimum of a squared error is exact, and so is its Hessian; only maxima over
        removed rows are dropped. Other models drop the beginning of their steps: the
        iterate becomes the reference, and its gradient is taken to be zero. The error
        of that is in the certificate.

        Parameters
        ----------
        training_set : TrainingSet
            Without rows.

        Returns
        -------
        engine : OptimumEngine
        obstacle : str or None
            Why something is left, if it is.
        """
        report, noise = self.report.coarse(), self.noise
        few_digits = {name: power_of_thousand(of) for name, of in vars(noise).items()}
        cleaned = replace(
            self, row_counts=self.row_counts.coarse(), noise=Noise(**few_digits),
            report=report,
        )  # fmt: skip
        curvature, hessian = self.curvature, self.curvature.hessian
        if curvature.is_quadratic:
            obstacle = LARGE_ROWS if curvature.has_lost_digits else None
            return replace(
                cleaned, curvature=curvature.without_extremes(self.iterate),
                is_clean=True, report=replace(report, decision_bound=None),
            ), obstacle  # fmt: skip
        problem = self._problem(training_set, NO_EDIT, self.row_counts)
        reference = problem.vectors(self.reference)
        moved = problem.vectors(self.iterate) - reference
        gradient = problem.gradient(self.gradient_sums, self.reference)
        step = Step(Gradient(gradient, noise, reference), moved, hessian.norm(moved))
        _, sums, _ = predicted(
            problem, hessian, self.reference, self.gradient_sums, moved
        )
        distance = power_of_ten(self.distance_since_pass + step.length) / 10.0
        return replace(
            cleaned, reference=self.iterate, gradient_sums=sums,
            curvature=curvature.at_end_of_step(step, self.iterate),
            distance_since_pass=distance,
        ), WITHOUT_ROWS  # fmt: skip

    def _polished(self, problem, table, row_counts):
        """Return the optimum polished, with a new Hessian; None if steps diverge.

        The steps use the Hessian that is kept, if there is one. That of a squared error
        is the same everywhere, and is computed again before.
        """
        quadratic = self.model.loss.is_quadratic
        curvature, before = self.curvature, None
        try:
            if quadratic:
                curvature = Curvature.built(problem, table, self.iterate)
            elif curvature is None or not curvature.is_certain:
                curvature = Curvature.incomplete(problem, table, self.iterate)
            elif self.reference is not self.iterate:
                gradient = problem.gradient(self.gradient_sums, self.reference)
                before = self.reference, gradient
            if not curvature.is_certain:
                return None
            found = polish(problem, curvature, self.iterate, before)
            if found is None:
                return None
            if not quadratic:
                curvature = Curvature.incomplete(problem, table, found.iterate)
        except np.linalg.LinAlgError:
            return None
        return self._at_polished(problem, row_counts, found, curvature)

    def _at_polished(self, problem, row_counts, found, curvature):
        """Return the engine at a `Polished` optimum, with its bound."""
        vectors = problem.vectors(found.iterate)
        uncertainty = found.uncertainty * curvature.hessian.norm(vectors)
        # The Hessian of a squared error was computed before: it is that of any iterate.
        curvature = replace(
            curvature, uncertainty=uncertainty, hessian_iterate=found.iterate
        )
        noise = Noise(found.noise, curvature.noise_of_predictions(vectors))
        # What is left of the gradient is in the uncertainty.
        bound, no_bound = curvature.bound(Gradient(0.0 * vectors, noise, vectors))
        report = OptimumReport(
            **vars(problem.meter.spent), curvature=self.curvature_kind,
            no_bound=no_bound,
        ).with_bound(bound)  # fmt: skip
        return replace(
            self, iterate=found.iterate, reference=found.iterate,
            gradient_sums=found.gradient_sums, noise=noise, curvature=curvature,
            row_counts=row_counts, converged=True, report=report, is_clean=True,
        )  # fmt: skip

    # What the methods above share -----------------------------------------------------

    def _budget(self, problem, row_counts):
        n_hessians = None
        if self.keeps_hessian:
            n_hessians = n_hessians_to_build(self.model.loss)
        n_entries = int(row_counts.count.sum() * problem.penalty.size)
        return Budget(self.fit_cost, n_hessians, problem.hessian_cost, n_entries)

    def _problem(self, training_set, edit, row_counts):
        table = training_set.table
        return Problem.of(
            self.model, training_set, row_counts.weight[0], self.curvature_kind,
            lambda: table.live_indices(edit.added),
        )  # fmt: skip

    def _row_counts_after(self, table, edit):
        kept = self.row_counts.minus(self._count(table, edit.removed))
        if kept is None:
            kept = self._count(table, table.live_indices())
        return kept.plus(self._count(table, edit.added))

    def _count(self, table, indices):
        n_groups = self.model.n_groups
        group = table.y if n_groups > 1 else None
        return RowCounts.of_all(table.weight, group, n_groups, indices)
