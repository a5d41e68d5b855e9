"""DeltaGrad at the converged end of the path: the optimum follows its rows.

At the optimum only the end of the path matters. What is kept: a *reference* iterate
with the gradient sums of its rows, the Hessian at a *place* on the way there, and the
constants of the certificate. An edit is one step of DeltaGrad,

    g   =  cached gradient - removed rows' + added rows', at the reference
    w'  =  reference - H^-1 g,      H with the touched rows' Hessians taken out and in

with no pass over the data. It is the same step whatever was edited before, from the
same reference, so that thousands of edits do not drift; the certificate
(`_certificate`) is about all of them together. Where it does not hold any more, a pass
measures the gradient at the new iterate, which becomes the reference.

The gradient of a squared error at the new optimum is known without a pass: it changes
by the product of the step with the Hessian. There the reference moves to the optimum in
every edit, so that nothing of the old one is kept; what the step left of the gradient
is kept, so that its errors do not add up, and what rounding did to it is counted.
"""

from dataclasses import dataclass, field, replace
from functools import wraps
from time import perf_counter

import numpy as np

from .._data.edit import NO_EDIT
from .._data.group_weights import RowCounts
from .._engine import AbstractEngine, Model
from .._utils import memory, threads
from .._utils.few_digits import power_of_ten, power_of_thousand
from .account import Account
from .budget import MOST_PASSES, TO_BEGIN, Budget
from .conjugate_gradient import PRECONDITIONERS
from .curvature import (
    Curvature,
    cheapest_curvature,
    curvature_bytes,
    order,
    survey_cost,
)
from .meter import Cost
from .newton import minimise
from .polish import polish, predicted
from .problem import Problem
from .rounding import Noise

_EPS = np.finfo(float).eps
# What no bound can undercut: units in the last place of the iterate.
_FLOOR = 100.0 * _EPS
# Passes of the shortest step by products.
_PASSES_OF_STEP = 5
# Raw predictions that moved by this much call for a new Hessian at once; else it is
# made when the passes that a stale one costs add up to so many Hessians.
_MOST_STALE = 0.7
_MOST_DEBT = 1.0
# Steps that are not shorter than this share of the last one lead nowhere.
_SLOWEST = 0.7
# What systems may leave, where they are solved by products: of what an edit may.
_INNER = 0.3
# What a plan counts on: passes of conjugate gradients.
_USUAL_PASSES = 25
# Rows whose time tells that of a pass.
_N_TIMED = 2**14
# What reports say.
_LATER = "the curvature for it is made at the first edit"
_TOO_LARGE = "the Hessian of so many coefficients is not kept"
_TOO_MUCH = "the edit is too large for steps from the old optimum"
_WITHOUT_ROWS = (
    "without its rows (store_data=False) a logistic model cannot be brought to their "
    "exact optimum, nor its Hessian be computed there: both keep traces of removed rows"
)
_LARGE_ROWS = (
    "rows that left were so much larger than the others that the sums which are kept "
    "(store_data=False) hold their rounding"
)


def _with_few_threads(method):
    """A method of `OptimumEngine` with as many threads of BLAS as its matrices are worth."""

    @wraps(method)
    def inside(self, training_set, *arguments):
        # Where no Hessian is kept, the largest is the preconditioner's.
        n_features = training_set.n_features
        largest = {"diagonal": 1, "kronecker": n_features + 1}
        largest["exact"] = order(self.model.loss, n_features)
        with threads.blas_for(largest[self.kind]):
            return method(self, training_set, *arguments)

    return inside


@dataclass(frozen=True)
class OptimumEngine(AbstractEngine):
    """An optimum, and all that its edits need besides the rows. Never mutated.

    Attributes
    ----------
    model : Model
        The optimum does not depend on where it has its columns centred.
    tol : float
    max_iter : int
        Of a fit: see `_newton.minimise`.
    kind : {"exact", "kronecker", "diagonal"}
        Of curvature: see `_problem.Problem`.
    iterate, reference : ndarray of shape (n_outputs, n_dof)
        The optimum; where the last pass was made, or for a squared error the optimum.
    gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
        Of the rows that are there, at the reference, without the penalty.
    noise, raw_noise, raw_growth : float
        What rounding may have done to them: see `_rounding.Noise`. The last two
        count from the first edit on, when the curvature is known.
    curvature : Curvature or None
        None until the first edit.
    row_counts : RowCounts
    n_iter : int
        Steps of the last fit.
    converged : bool
        Whether that fit got as near as it was asked to.
    fit_cost : Cost
        Of the last fit from nothing.
    ledger : Account
    is_clean : bool
        Whether all of it is a function of the current training rows alone, but for
        rounding.
    way : float
        Length of the way, in the norm of the Hessian, from where the rows were last
        read to the reference: 0, unless it moved without rows.
    """

    model: Model
    tol: float
    max_iter: int
    kind: str
    iterate: np.ndarray | None = None
    reference: np.ndarray | None = None
    gradient_sums: np.ndarray | None = None
    noise: float = 0.0
    raw_noise: float = 0.0
    raw_growth: float = 1.0
    curvature: Curvature | None = None
    row_counts: RowCounts | None = None
    n_iter: int = 0
    converged: bool = True
    fit_cost: Cost = Cost()
    ledger: Account = field(default_factory=Account)
    is_clean: bool = False
    way: float = 0.0

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

    @property
    def keeps_hessian(self):
        """Whether the Hessian itself is kept, not only products with it computed."""
        return self.kind not in PRECONDITIONERS

    @property
    def n_counting(self):
        """Number of rows of positive weight."""
        return int(self.row_counts.count.sum())

    @property
    def total_weight(self):
        """Total weight of the rows, without factors of groups."""
        return float(self.row_counts.weight.sum())

    def attributes(self):
        return {"n_iter_": np.array([self.n_iter], dtype=np.int32)}

    def summary(self):
        return vars(self.ledger)

    @property
    def nbytes(self):
        """Size of what is kept besides the rows."""
        arrays = (self.iterate, self.reference, self.gradient_sums)
        kept = 0 if self.curvature is None else self.curvature.nbytes
        return kept + sum(array.nbytes for array in arrays)

    @_with_few_threads
    def fit(self, training_set, edit=NO_EDIT):
        """Fit the model from zero; for an edit at no more than the budget of a refit."""
        table = training_set.table
        live = np.concatenate([table.live_indices(), edit.added])
        row_counts = self._count(table, live)
        problem = self._problem(training_set, edit, row_counts)
        if len(edit):
            problem.meter.allow(self._budget(problem, row_counts).refit)
        trained = self._fit(problem, row_counts, problem.origin)
        return replace(trained, fit_cost=problem.meter.spent, is_clean=True)

    def _budget(self, problem, row_counts):
        """What an edit may cost."""
        survey = (
            survey_cost(self.model.loss.is_quadratic) if self.keeps_hessian else None
        )
        n_entries = row_counts.count.sum() * problem.penalty.size
        return Budget(self.fit_cost, survey, problem.hessian_cost, int(n_entries))

    def _at_most(self, budget, refit):
        """What an edit costs at most, as attributes of `EditPlan`."""
        cost = budget.refit if refit else budget.edit
        return {
            "n_passes_at_most": float(cost.n_passes),
            "n_hessians_at_most": float(cost.n_hessians),
        }

    @_with_few_threads
    def prepared(self, training_set, settings):
        """Return the engine with the curvature of its first edit, and a bound.

        Edits by products with the Hessian keep nothing that could be prepared.
        """
        if not self.keeps_hessian or self.curvature is not None:
            return self
        table = training_set.table
        problem = self._problem(training_set, NO_EDIT, self.row_counts)
        curvature = Curvature.survey(problem, table, self.reference)
        gradient = problem.gradient(self.gradient_sums, self.reference)
        reference = problem.vectors(self.reference)
        noise = Noise(self.noise, curvature.noise_of_predictions(reference))
        bound, no_bound = curvature.bound(gradient, noise, reference)
        ledger = replace(
            self.ledger,
            n_hessians=self.ledger.n_hessians + problem.meter.spent.n_hessians,
            no_bound=no_bound,
        ).with_bound(bound, 0.0, 0.0)
        return replace(self, curvature=curvature, ledger=ledger)

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
        return facts | self._at_most(budget, is_refit)

    def _plan(self, problem, budget, table, edit, settings, n_live, seconds):
        if not self.keeps_hessian:
            return {"n_passes": _USUAL_PASSES, "seconds": seconds * _USUAL_PASSES}
        refit = {"n_passes": MOST_PASSES, "n_hessians": 1}
        refit["seconds"] = seconds * Cost(**refit).in_passes(problem.hessian_cost)
        refit |= {"refit": True, "reason": _TOO_MUCH}
        if self._is_refit_at_once(budget, edit, n_live):
            return refit
        if self._is_surveyed_by(edit, n_live):
            n_hessians = survey_cost(self.model.loss.is_quadratic)
            seconds *= n_hessians * problem.hessian_cost
            return {"n_hessians": n_hessians, "seconds": seconds}
        started = perf_counter()
        try:
            curvature = self.curvature.changed(problem, table, edit, self.reference)
        except np.linalg.LinAlgError:
            curvature = None
        if curvature is None:
            return refit
        sums, measured = self._gradient_sums_after(problem, edit)
        gradient = problem.gradient(sums, self.reference)
        noise = curvature.noise_after(problem, edit, sums, measured, self)
        step, _, bound, _ = curvature.step(
            gradient, noise, problem.vectors(self.reference)
        )
        moved = curvature.hessian.norm(step)
        elapsed = perf_counter() - started
        if bound is not None and bound.distance <= settings.edit_tol * moved:
            return {"seconds": elapsed}
        return {"n_passes": 1, "seconds": elapsed + seconds}

    def _is_surveyed_by(self, edit, n_live):
        """Whether an edit makes the curvature anew, from more rows than it touches."""
        return self.curvature is None or len(edit) > n_live

    def _is_refit_at_once(self, budget, edit, n_live):
        """Whether the curvature would cost too much for steps that may lead nowhere."""
        if self.model.loss.is_quadratic or not self._is_surveyed_by(edit, n_live):
            return False
        return not budget.allows_curvature(len(edit), n_live)

    @_with_few_threads
    def edited(self, training_set, edit, settings):
        """The optimum after an edit, by a step from the reference where that will do.

        `settings` has the attribute edit_tol: how far from the optimum it may lead, as
        a share of its distance from the reference.
        """
        table, edit_tol = training_set.table, settings.edit_tol
        row_counts = self._row_counts_after(table, edit)
        problem = self._problem(training_set, edit, row_counts)
        budget = self._budget(problem, row_counts)
        problem.meter.allow(budget.steps)
        try:
            if self.keeps_hessian:
                followed = self._follow(problem, budget, table, edit, edit_tol)
            else:
                followed = self._follow_by_products(problem, edit, edit_tol)
        except np.linalg.LinAlgError:
            followed = None
        if followed is None:
            return self._refitted(problem, budget, row_counts)
        ledger = replace(followed.ledger, **vars(problem.meter.spent))
        return replace(followed, row_counts=row_counts, ledger=ledger)

    def _refitted(self, problem, budget, row_counts):
        """The optimum by a fit, from the lowest place that is known."""
        problem.meter.allow(budget.refit + Cost(TO_BEGIN))
        for iterate in (self.iterate, problem.origin):
            problem.measure(iterate)
        refit = self._fit(problem, row_counts, problem.lowest[1])
        return replace(
            refit, ledger=replace(refit.ledger, refit=True, reason=_TOO_MUCH)
        )

    def _follow(self, problem, budget, table, edit, edit_tol):
        """The optimum by as few passes as will do; None where it takes too many."""
        reference, meter = self.reference, problem.meter
        if self._is_refit_at_once(budget, edit, table.n_live):
            return None
        # 1) the cached gradient, and the curvature, of the rows that are there now
        sums, measured = self._gradient_sums_after(problem, edit)
        if self._is_surveyed_by(edit, table.n_live):
            curvature = Curvature.survey(problem, table, reference)
            if self.curvature is not None and self.curvature.uncertainty:
                # The sums were predicted, and how far they are off was known in the
                # norm of the Hessian that is given up.
                sums = problem.measure(reference).gradient_sums
        else:
            curvature = self.curvature.changed(problem, table, edit, reference)
            if curvature is None:
                return None
        noise = curvature.noise_after(problem, edit, sums, measured, self)
        gradient = problem.gradient(sums, reference)
        before = np.inf
        while True:
            # 2) a step, and how far it can be from the optimum
            start = problem.vectors(reference)
            step, length, bound, no_bound = curvature.step(gradient, noise, start)
            iterate = reference + problem.by_output(step)
            norm = curvature.hessian.norm
            moved = self.way + norm(problem.vectors(iterate - self.reference))
            floor = _FLOOR * norm(problem.vectors(iterate))
            rounding = curvature.rounding(noise, start)
            was_measured = reference is not self.reference
            least = curvature.noise_of_predictions(start)
            allowed = problem.tolerance(edit_tol * moved, floor, least)
            too_far = bound is None or bound.distance > allowed
            if curvature.is_certain and too_far and not meter.spent.n_passes:
                nearer, n_read = curvature.half_pass(
                    problem, allowed, step, gradient, noise, start
                )
                meter.spend(n_read)
                bound = nearer or bound
            if bound is not None:
                enough = bound.distance <= allowed
                # Where only rounding is left, another pass would find no more.
                enough |= was_measured and length <= rounding
            else:
                # An estimate will do only where there never is a bound.
                enough = was_measured and length <= edit_tol * moved + floor
                enough &= not curvature.is_certain
            if enough:
                break
            if not (meter.allows(n_passes=1) and length < _SLOWEST * before):
                return None
            # 3) a pass, where that is not near enough; and a new Hessian now and then
            measured = problem.measure(iterate, curvature.place)
            reference, sums = iterate, measured.gradient_sums
            gradient = problem.gradient(sums, reference)
            slope = np.abs(np.sum(gradient * step))
            if not slope <= 0.5 * length**2 + rounding * length:
                # Downhill no more, or where the loss overflows: the step is too long
                # for this Hessian.
                return None
            before = length
            noise = Noise(
                problem.noise(measured),
                curvature.noise_of_predictions(problem.vectors(reference)),
            )
            stale = measured.largest_change
            debt = curvature.debt + 1.0 / problem.hessian_cost
            curvature = replace(curvature, stale=stale, debt=debt, uncertainty=0.0)
            is_far = stale > _MOST_STALE
            would_gain = stale > 0.1 * edit_tol
            if self.model.loss.is_quadratic:
                is_far, would_gain = curvature.is_worn, curvature.gains_by_new
            if is_far or (debt > _MOST_DEBT and would_gain):
                n_hessians = curvature.n_hessians_to_refresh
                if not budget.allows_refreshing(meter, n_hessians, is_far):
                    return None
                curvature = curvature.refreshed(problem, table, reference)
        curvature = curvature.paid(problem, table, meter.spent.n_passes)
        changed = 0.0
        if table.is_stored:
            changed = norm(problem.vectors(iterate - self.iterate))
        ledger = Account(
            curvature=self.kind,
            gradient_norm=problem.largest(gradient) if was_measured else None,
            no_bound=no_bound,
        ).with_bound(bound, moved, changed)
        if self.model.loss.is_quadratic:
            # 4) the gradient at the optimum, and the Hessian as if it were made there
            step = problem.vectors(iterate - reference)
            (of_rows,) = curvature.hessian.sums
            sums = sums + problem.by_output(step @ of_rows)
            noise = curvature.noise_after_move(problem, noise, sums, step)
            reference = iterate
            curvature = replace(curvature, place=iterate, stale=0.0)
        return replace(
            self, iterate=iterate, reference=reference, gradient_sums=sums,
            noise=noise.of_sums, raw_noise=noise.of_predictions,
            raw_growth=noise.growth, curvature=curvature, converged=True,
            ledger=ledger, is_clean=False,
        )  # fmt: skip

    def about(self, centre):
        """Return the same model with columns centred elsewhere, without curvature."""
        if centre is None or np.array_equal(centre, self.model.centre):
            return self
        iterate = self.model.iterate_about(self.iterate, centre)
        return replace(
            self, model=replace(self.model, centre=centre), iterate=iterate, reference=iterate, curvature=None,
            is_clean=False,
        )  # fmt: skip

    def purged(self, training_set, settings, exact):
        if not training_set.table.is_stored:
            return self.purged_without_rows(training_set)
        model = replace(self.model, spread=training_set.spread)
        engine = replace(self, model=model).about(training_set.centre())
        return engine.purged_on_rows(training_set, exact), None

    @_with_few_threads
    def purged_on_rows(self, training_set, exact=False):
        """The optimum of the current training rows, and nothing computed with others.

        It is polished to rounding, from where it is. Where that does not arrive, it is
        fitted from nothing first; and where no Hessian is kept, that is all.

        Parameters
        ----------
        training_set : TrainingSet
        exact : bool
            Whether it is fitted from nothing in any case.
        """
        if self.is_clean and not exact:
            ledger = replace(self.ledger, n_passes=0.0, n_hessians=0.0)
            return replace(self, ledger=ledger)
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
        ledger = replace(trained.ledger, **vars(problem.meter.spent))
        return polished or replace(trained, ledger=ledger)

    @_with_few_threads
    def purged_without_rows(self, training_set):
        """What can be cleaned of a model whose rows are not stored.

        The optimum of a squared error is exact, and so is its Hessian; what has been
        the largest of all rows that ever were is dropped. Other models forget where
        their steps began: the iterate becomes the reference, and its gradient is taken
        for none. How far that is off is certified.

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
        ledger = self.ledger.coarse()
        cleaned = replace(
            self, row_counts=self.row_counts.coarse(),
            noise=power_of_thousand(self.noise),
            raw_noise=power_of_thousand(self.raw_noise),
            raw_growth=power_of_thousand(self.raw_growth), ledger=ledger,
        )  # fmt: skip
        if self.model.loss.is_quadratic:
            obstacle = _LARGE_ROWS if self.curvature.has_lost_digits else None
            return replace(
                cleaned, curvature=self.curvature.forgetting(self.iterate),
                is_clean=True, ledger=replace(ledger, decision_bound=None),
            ), obstacle  # fmt: skip
        problem = self._problem(training_set, NO_EDIT, self.row_counts)
        reference = problem.vectors(self.reference)
        step = problem.vectors(self.iterate) - reference
        hessian = self.curvature.hessian
        sums = self.gradient_sums
        noise = Noise(self.noise, self.raw_noise, self.raw_growth)
        curvature = self.curvature.absorbed(
            problem.gradient(sums, self.reference), step, noise, reference, self.iterate
        )
        _, sums, _ = predicted(problem, hessian, self.reference, sums, step)
        return replace(
            cleaned, reference=self.iterate, gradient_sums=sums, curvature=curvature,
            way=power_of_ten(self.way + hessian.norm(step)) / 10.0,
        ), _WITHOUT_ROWS  # fmt: skip

    def _polished(self, problem, table, row_counts):
        """At the optimum to rounding, with a new Hessian; None if steps do not arrive.

        The steps are made with the Hessian that is kept, if there is one. That of a
        squared error is the same everywhere, and is computed again before.
        """
        quadratic = self.model.loss.is_quadratic
        curvature, before = self.curvature, None
        try:
            if quadratic:
                curvature = Curvature.survey(problem, table, self.iterate)
            elif curvature is None or not curvature.is_certain:
                curvature = Curvature.quick(problem, self.iterate)
            elif self.reference is not self.iterate:
                gradient = problem.gradient(self.gradient_sums, self.reference)
                before = self.reference, gradient
            if not curvature.is_certain:
                return None
            found = polish(problem, curvature, self.iterate, before)
            if found is None:
                return None
            if not quadratic:
                curvature = Curvature.quick(problem, found.iterate)
        except np.linalg.LinAlgError:
            return None
        return self._at_rest(problem, row_counts, found, curvature)

    def _at_rest(self, problem, row_counts, found, curvature):
        """At an optimum that was polished, with its bound."""
        vectors = problem.vectors(found.iterate)
        uncertainty = found.uncertainty * curvature.hessian.norm(vectors)
        # Of a squared error the Hessian was computed before: it is that of any place.
        curvature = replace(curvature, uncertainty=uncertainty, place=found.iterate)
        # What is left of the gradient is in the uncertainty.
        noise = Noise(found.noise, curvature.noise_of_predictions(vectors))
        bound, no_bound = curvature.bound(0.0 * vectors, noise, vectors)
        ledger = Account(
            **vars(problem.meter.spent), curvature=self.kind, no_bound=no_bound
        ).with_bound(bound, 0.0, 0.0)
        return replace(
            self, iterate=found.iterate, reference=found.iterate,
            gradient_sums=found.gradient_sums, noise=noise.of_sums,
            raw_noise=noise.of_predictions, raw_growth=1.0, curvature=curvature,
            row_counts=row_counts, converged=True, ledger=ledger, is_clean=True,
        )  # fmt: skip

    def _gradient_sums_after(self, problem, edit):
        """Cached gradient - removed rows' + added rows', and what these measured."""
        objective, reference = problem.objective, self.reference
        removed = objective.measure(reference, edit.removed)
        added = objective.measure(reference, edit.added)
        touched = added.gradient_sums - removed.gradient_sums
        return self.gradient_sums + touched, (removed, added)

    def _follow_by_products(self, problem, edit, edit_tol):
        """The optimum by conjugate gradients from the cached gradient."""
        reference = self.reference
        sums, _ = self._gradient_sums_after(problem, edit)
        gradient = problem.gradient(sums, reference)
        moved, tolerance = 0.0, _INNER * edit_tol
        while problem.meter.allows(n_passes=_PASSES_OF_STEP):
            # 1) a step, to a part of the error that is allowed
            hessian = problem.products(reference)
            step, residual, error = hessian.solve(-gradient, tolerance)
            iterate = reference + problem.by_output(step)
            # 2) a pass: what is left of the gradient, but for the systems' residual, is
            # what the Hessian changed by
            measured = problem.measure(iterate)
            length = np.sqrt(max(0.0, np.sum(step * (-gradient - residual))))
            moved += length
            gradient = problem.gradient(measured.gradient_sums, iterate)
            error += hessian.dual_norm(gradient + residual)
            reference = iterate
            if error <= edit_tol * moved:
                break
            if not np.abs(np.sum(gradient * step)) <= 0.5 * length**2:
                return None  # downhill no more: too far for this Hessian
            tolerance = min(_INNER, _INNER * edit_tol * moved / error)
        else:
            return None
        largest = problem.largest(gradient)
        ledger = Account(
            curvature=self.kind, no_bound=_TOO_LARGE, gradient_norm=largest
        )
        return replace(
            self, iterate=iterate, reference=iterate, converged=True, ledger=ledger,
            gradient_sums=measured.gradient_sums, is_clean=False,
        )  # fmt: skip

    def _fit(self, problem, row_counts, start):
        try:
            optimum = minimise(problem, start, self.tol, self.max_iter)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                "The columns of X are so large, or so nearly the same, that no Hessian "
                "can be factorised in working precision. Standardise them."
            ) from error
        return replace(
            self,
            iterate=optimum.iterate,
            reference=optimum.iterate,
            gradient_sums=optimum.measured.gradient_sums,
            noise=problem.noise(optimum.measured),
            raw_noise=0.0,
            raw_growth=1.0,
            way=0.0,
            curvature=None,
            is_clean=False,
            row_counts=row_counts,
            n_iter=optimum.n_iter,
            converged=optimum.converged,
            ledger=Account(
                n_passes=problem.meter.spent.n_passes,
                n_hessians=problem.meter.spent.n_hessians,
                curvature=self.kind,
                gradient_norm=optimum.gradient_norm,
                no_bound=_LATER if self.keeps_hessian else _TOO_LARGE,
            ),
        )

    def _problem(self, training_set, edit, row_counts):
        table = training_set.table
        return Problem.of(
            self.model, training_set, row_counts.weight[0], self.kind,
            lambda: np.concatenate([table.live_indices(), edit.added]),
        )  # fmt: skip

    def _row_counts_after(self, table, edit):
        kept = self.row_counts.minus(self._count(table, edit.removed))
        if kept is None:
            kept = self._count(table, table.live_indices())
        return kept.plus(self._count(table, edit.added))

    def _count(self, table, indices):
        group = (
            table.y[indices]
            if self.model.n_groups > 1
            else np.zeros(len(indices), np.int64)
        )
        return RowCounts.of_all(table.weight[indices], group, self.model.n_groups)
