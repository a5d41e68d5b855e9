"""The Hessian that an optimum keeps, and what the certificate needs besides it.

It is built from all rows once (`Curvature.built`). After that, an edit changes it by
the rows that it touches (`Curvature.changed`).
"""

from dataclasses import dataclass

import numpy as np

from .._objective.losses import AbstractLoss
from .._utils.few_digits import rounded_up
from .._utils.frozen import replace
from .._utils.row_blocks import row_blocks
from . import certificate
from .certificate import Bound
from .cost import HESSIANS_FOR_MOMENTS, PASSES_FOR_LARGEST, n_hessians_to_build
from .hessian import Hessian, over_groups, roots
from .leverages import Leverages
from .newton import LATEST
from .rounding import ERROR_OF_NEW_HESSIAN, Gradient, RoundingOfCurvature, offsets

# Accuracy: the fraction of a Hessian that must remain after rows left. Below it, the
# growth factors of the certificate's constants are so large that hardly any bound would
# meet `edit_tol`; for a squared error, so many digits of the Hessian are lost that
# a new one is computed.
_MIN_REMAINING = 0.1
_MIN_REMAINING_QUADRATIC = 1e-9
# Accuracy: if d' Q d may be too large by more than this factor, the leverages and Q are
# computed again together with the Hessian. The bound has its square root as a factor.
_MAX_GROWTH = 4.0
# Rounding: edits of ordinary rows leave less than this in an entry of the Hessian, in
# units of the entry's own rounding. A row 40 times as large as the others leaves more.
_MAX_ENTRY_ERROR = 100.0
# Cost: one row of so many is read first, to find out whether reading the others can
# help.
_SAMPLING_INTERVAL = 16
# Accuracy: the part of the allowed error that is left to rows that are not read. It
# is added to that of the others as a square, which leaves 66% of it to those.
_LIGHT = 0.75
# Cost: if more than this fraction of the rows would have to be read, or edits have read
# as many as the second one together, all rows are read, which serves later steps.
_MANY, _MANY_IN_ALL = 0.25, 0.5
# Rounding: the relative error of a Hessian, in its own norm, up to which bounds are
# reported; it is a correction of 10% to them.
_MAX_RELATIVE_ERROR = 0.1
# Rounding: a condition number above this leaves fewer than three correct digits, too
# few to call a number a bound.
_MAX_CONDITION = 1e-3 / np.finfo(float).eps
# Columns of the row table: at least the leverage of a row, apart from the growth since
# then; its distance R between `hessian_iterate` and the reference, where any is above
# zero; and that along the step `Curvature.measured`.
LEVERAGE, DISTANCE, ALONG = "leverage", "distance", "along"
COLUMNS = LEVERAGE, DISTANCE, ALONG
# What reports say where there is no bound.
SINGULAR = "the Hessian is singular, or nearly so, in working precision"
TOO_FAR = "the step is too large for the curvature that is kept"
UNBOUNDED = (
    "the loss is not known to be self-concordant, or its derivatives to be bounded"
)


@dataclass(frozen=True)
class FourthMoment:
    """Q of `certificate`: a Hessian whose rows are weighted by squared leverages.

    Attributes
    ----------
    sums : ndarray of shape (n_groups, q, q)
        Without the groups' factors. A row counts with the leverage that it had when Q
        was computed, or when it joined.
    iterate : ndarray of shape (n_outputs, n_dof)
        Where the second derivatives in it were taken.
    distance : float, default=0.0
        The distance R from there to `Curvature.hessian_iterate`. Second derivatives
        have grown by at most e to this power.
    """

    sums: np.ndarray
    iterate: np.ndarray
    distance: float = 0.0


@dataclass(frozen=True)
class MeasuredStep:
    """How far the rows move along a step from the reference, by half a pass.

    Distances along a sum of two steps are at most the sums of the distances along each
    of them: those of a row, the largest one, and the fourth root of the sum of their
    fourth powers. Steps to near the end of this one are therefore known nearly as well.

    Attributes
    ----------
    vectors : ndarray of shape (n_systems, q)
        The step.
    largest : float
        At least the largest distance R of a row along it.
    fourth_power : float
        At least ``sum_i l_i''[a_i, a_i] R_i^2`` at `hessian_iterate`: see
        `certificate`, (3).
    """

    vectors: np.ndarray
    largest: float
    fourth_power: float

    @classmethod
    def of(cls, vectors, along, curvatures):
        """Return it, given distances and second derivatives of the rows along it."""
        return cls(vectors, float(along.max(initial=0.0)), float(curvatures @ along**2))


@dataclass(frozen=True)
class RowsAlong:
    """What is known of the rows along a step, by reading some of them.

    Attributes
    ----------
    largest : float
        At least the largest distance R of a row along the step.
    gradient : float
        At least the gradient at the end of the step, in the norm of H^-1, without
        rounding: see `certificate`, (4).
    """

    largest: float
    gradient: float


@dataclass(frozen=True)
class Step:
    """A Newton step from a gradient.

    Attributes
    ----------
    gradient : Gradient
        Where the step begins.
    vectors : ndarray of shape (n_systems, q)
        The step, ``-H^-1 g``.
    length : float
        Its norm, ``||step||_H``.
    rounding : float or None
        See `RoundingOfCurvature.rounding_after_step`; None where that is not known yet.
    bound : Bound or None
        Of the distance between its end and the optimum.
    no_bound : str or None
        Why there is no bound.
    rows : RowsAlong or None
        None where the constants of the curvature have been enough.
    """

    gradient: Gradient
    vectors: np.ndarray
    length: float
    rounding: float | None = None
    bound: Bound | None = None
    no_bound: str | None = None
    rows: RowsAlong | None = None


@dataclass(frozen=True)
class Curvature(RoundingOfCurvature):
    """The Hessian that is kept, and what the certificate needs to know of the rows.

    The *distance* R is the largest change of a raw prediction, times the constant K of
    the loss: see `certificate`.

    Attributes
    ----------
    hessian : Hessian
        Of the current training rows, at `hessian_iterate`.
    hessian_iterate : ndarray of shape (n_outputs, n_dof)
    loss : AbstractLoss
    leverage : float
        At least the largest leverage of a row (L in `certificate`).
    fourth_moment : FourthMoment or None
        None where there is no certificate, for a quadratic loss, and where only an
        upper bound of the leverages is known.
    growth : float
        At least the factor by which squared leverages have grown since they entered the
        fourth moment.
    offsets : ndarray of shape (n_dof,)
        How far from zero the columns are, in standard deviations. Their rounding is as
        many times larger than that of centred columns.
    since_hessian : float
        The distance R between `hessian_iterate` and the reference.
    passes_since_hessian : int
        Number of passes since the Hessian was computed.
    spread_error : float
        Relative rounding error of the penalty: see `problem.Problem`.
    uncertainty : float
        At least the error of the gradient that is kept at the reference, besides
        rounding, in the norm of H^-1, summed over the groups. 0 if it was measured.
    log_hessian_error : float
        The Hessian and that of the current training rows at `hessian_iterate` are each
        at most e to this power times the other. Above 0 only after `at_end_of_step`.
    avoidable_passes : float
        Passes that a tight bound would have saved, since leverages are known by an
        upper bound only. When these have cost as much as the leverages, the leverages
        are computed (ski-rental rule: at most twice the least possible cost).
    entry_error : float
        Rounding error of an entry of the Hessian, in units of the unit roundoff times
        the square roots of its two diagonal entries.
    has_leverages : bool
        Whether the leverage is that of the rows, or else only an upper bound of it from
        the sizes of their entries.
    measured : MeasuredStep or None
        From the reference. None where it was enough to read some rows.
    fraction_read : float
        Rows that were read since then, as a fraction of all: see `measured_along`.
    """

    hessian: Hessian
    hessian_iterate: np.ndarray
    loss: AbstractLoss
    leverage: float = 0.0
    fourth_moment: FourthMoment | None = None
    growth: float = 1.0
    offsets: np.ndarray | None = None
    since_hessian: float = 0.0
    passes_since_hessian: int = 0
    spread_error: float = 0.0
    uncertainty: float = 0.0
    log_hessian_error: float = 0.0
    avoidable_passes: float = 0.0
    entry_error: float = ERROR_OF_NEW_HESSIAN
    has_leverages: bool = True
    measured: MeasuredStep | None = None
    fraction_read: float = 0.0

    @property
    def nbytes(self):
        """Size of what is kept."""
        moment = self.fourth_moment
        of_moment = 0 if moment is None else moment.sums.nbytes
        return self.hessian.nbytes + self.hessian_iterate.nbytes + of_moment

    @property
    def is_quadratic(self):
        """Whether the Hessian is the same everywhere, so that only rounding matters."""
        return self.loss.is_quadratic

    @property
    def is_bounded(self):
        """Whether the certificate holds for the loss."""
        return certificate.applies_to(self.loss)

    @property
    def is_certain(self):
        """Whether there are bounds: the loss allows them, and the digits suffice."""
        hessian = self.hessian
        known = self.is_bounded and hessian.is_exact
        known = known and hessian.condition() < _MAX_CONDITION
        return known and self.relative_error < _MAX_RELATIVE_ERROR

    @property
    def largest_range(self):
        """At least the change of any raw prediction in a step of length 1.

        This is the leverage without the constant K of the loss.
        """
        return self.leverage / self.loss.distance_scale

    @property
    def is_complete(self):
        """Whether everything is known that makes edits cheaper.

        Otherwise the leverage is an upper bound, and the bounds are loose.
        """
        return self.is_quadratic or self.fourth_moment is not None

    @property
    def is_tight(self):
        """Whether everything is known that the certificate can use.

        The error of a squared error's step does not depend on leverages, but what a
        bound says of decision values does.
        """
        return self.is_complete and self.has_leverages

    @classmethod
    def built(cls, problem, table, iterate):
        """Compute everything from the rows: see `cost.n_hessians_to_build`."""
        table.set_column(DISTANCE, None)
        return cls._of_hessian(problem, iterate).completed(problem, table)

    @classmethod
    def _of_hessian(cls, problem, iterate, hessian=None, since_hessian=0.0):
        """Return the curvature of a Hessian, new by default, without leverages."""
        objective = problem.objective
        if hessian is None:
            hessian = problem.hessian(iterate)
        return cls(
            hessian, iterate, objective.loss, since_hessian=since_hessian,
            offsets=offsets(objective, hessian), spread_error=problem.spread_error,
            has_leverages=False,
        )  # fmt: skip

    @classmethod
    def incomplete(cls, problem, table, iterate, hessian=None, distances=None):
        """Return the curvature of a Hessian, with upper bounds of the leverages.

        They cost about half a pass (`Leverages.bounds`). With a new Hessian, that is a
        third of `built`.

        Parameters
        ----------
        problem : Problem
        table : RowTable
            The bounds become a column of it, as do the distances.
        iterate : ndarray of shape (n_outputs, n_dof)
            Where the Hessian is computed, or was.
        hessian : Hessian, optional
            Without it, a new one is computed.
        distances : ndarray of shape (n_rows,), optional
            Distances R of the rows from there to the reference; zero by default.
        """
        since = 0.0 if distances is None else float(distances.max(initial=0.0))
        made = cls._of_hessian(problem, iterate, hessian, since)
        _keep(table, DISTANCE, problem.indices, distances)
        if not (made.hessian.is_exact and made.is_bounded):
            return made
        bounds = made._leverages(problem.objective).bounds(
            problem.objective, problem.indices
        )
        problem.meter.spend(n_passes=PASSES_FOR_LARGEST)
        if not made.is_quadratic:
            _keep(table, LEVERAGE, problem.indices, bounds)
        return replace(made, leverage=float(bounds.max()))

    @classmethod
    def of_fit(cls, problem, table, optimum):
        """Return the curvature at the end of a fit, by its last Hessian if that serves.

        Parameters
        ----------
        problem : Problem
        table : RowTable
        optimum : newton.Optimum

        Returns
        -------
        curvature : Curvature or None
            None if the problem's meter does not allow it.
        """
        objective, factor, end = problem.objective, optimum.factor, optimum.iterate
        meter = problem.meter
        if factor is None or not meter.allows(n_passes=2 * PASSES_FOR_LARGEST):
            return None
        if objective.loss.is_quadratic:
            return cls.incomplete(problem, table, end, factor.hessian)
        if not factor.is_of_sample:
            moved = objective.distances_along(end - factor.iterate, problem.indices)
            meter.spend(n_passes=PASSES_FOR_LARGEST)
            if moved.max(initial=0.0) <= LATEST:
                return cls.incomplete(
                    problem, table, factor.iterate, factor.hessian, moved
                )
        if not meter.allows(n_hessians=1):
            return None
        return cls.incomplete(problem, table, end)

    def completed(self, problem, table):
        """Compute the leverages of all rows and the fourth moment.

        The leverages become a column of the row table, so that rows can be taken out of
        the fourth moment when they leave.
        """
        objective, hessian = problem.objective, self.hessian
        if not (hessian.is_exact and self.is_bounded):
            return self
        of_rows = self._leverages(objective).of_rows(objective, problem.indices)
        problem.meter.spend(n_hessians=1)
        known = replace(
            self, leverage=float(of_rows.max()), growth=1.0, avoidable_passes=0.0,
            has_leverages=True,
        )  # fmt: skip
        if known.is_quadratic:
            return known
        _keep(table, LEVERAGE, problem.indices, of_rows)
        sums = np.zeros_like(hessian.sums)
        iterate, squares = self.hessian_iterate, np.square(of_rows, out=of_rows)
        objective.add_hessian_sums(iterate, problem.indices, sums, squares)
        problem.meter.spend(n_hessians=HESSIANS_FOR_MOMENTS - 1)
        return replace(known, fourth_moment=FourthMoment(sums, iterate))

    def at_reference(self, problem, table, measured):
        """Return the curvature for a new reference, given its `Measurement`."""
        if not self.is_quadratic:
            _keep(table, DISTANCE, problem.indices, measured.distances)
        return replace(
            self, since_hessian=measured.largest_change, uncertainty=0.0, measured=None,
            passes_since_hessian=self.passes_since_hessian + 1, fraction_read=0.0,
        )  # fmt: skip

    def _leverages(self, objective, hessian=None):
        return Leverages(hessian or self.hessian, objective.loss, objective.n_dof)

    @property
    def has_lost_digits(self):
        """Whether rows that left were so large that digits of the others were lost."""
        return self.entry_error > _MAX_ENTRY_ERROR

    def without_extremes(self, iterate):
        """Return the curvature without maxima over rows that may have left.

        It is for a squared error, whose Hessian is that of any iterate. The leverage
        becomes infinite, which means unknown, and the factors are computed again.
        """
        return replace(
            self, hessian=self.hessian.factorised(), hessian_iterate=iterate,
            leverage=np.inf, growth=1.0,
            entry_error=max(self.entry_error, _MAX_ENTRY_ERROR),
        )  # fmt: skip

    def after_passes(self, problem, table, n_passes):
        """Count passes that a tight bound would have saved: see `avoidable_passes`."""
        if self.is_complete or not self.is_certain:
            return self
        total = self.avoidable_passes + n_passes
        if total < HESSIANS_FOR_MOMENTS * problem.hessian_cost:
            return replace(self, avoidable_passes=total)
        return self.completed(problem, table)

    @property
    def _has_grown(self):
        """Whether a new Hessian alone would leave bounds that are far too large."""
        since_moment = (
            0.0 if self.fourth_moment is None else self.fourth_moment.distance
        )
        log_growth = np.log(self.growth) + since_moment + 2.0 * self.since_hessian
        return log_growth > np.log(_MAX_GROWTH)

    @property
    def n_hessians_to_refresh(self):
        """Cost of `refreshed`, in Hessians."""
        builds_all = self.is_complete and self._has_grown
        return n_hessians_to_build(self.loss) if builds_all else 1.0

    def refreshed(self, problem, table, iterate):
        """Return the curvature with a new Hessian, at the distance `since_hessian`.

        This costs a third of `built`: the squares of leverages, and second derivatives,
        have grown by at most e to the power of the distance.
        """
        if not self.is_complete:
            made = self.incomplete(problem, table, iterate)
            return replace(made, avoidable_passes=self.avoidable_passes)
        if self._has_grown:
            return self.built(problem, table, iterate)
        table.set_column(DISTANCE, None)
        moment, distance = self.fourth_moment, self.since_hessian
        if moment is not None:
            moment = replace(moment, distance=moment.distance + distance)
        return replace(
            self, hessian=problem.hessian(iterate), hessian_iterate=iterate,
            leverage=self.leverage * float(np.exp(0.5 * distance)),
            growth=self.growth * float(np.exp(distance)), fourth_moment=moment,
            measured=None,
            since_hessian=0.0, passes_since_hessian=0, uncertainty=0.0,
            entry_error=ERROR_OF_NEW_HESSIAN,
        )  # fmt: skip

    def changed(self, problem, table, edit, reference):
        """Return the curvature after an edit, computed from the touched rows alone.

        Parameters
        ----------
        problem : Problem
            Of the rows after the edit.
        table : RowTable
        edit : Edit
        reference : ndarray of shape (n_outputs, n_dof)
            Where the gradient is kept.

        Returns
        -------
        curvature : Curvature or None
            None if too little of the Hessian remains.
        """
        objective, added = problem.objective, edit.added
        before, after = self.hessian.group_weight, problem.group_weight
        sums, leaving, fraction = self._removed(objective, edit.removed)
        iterate = self.hessian_iterate
        if len(added):
            objective.add_hessian_sums(iterate, added, sums, np.ones(len(added)))
        joining = None
        n_roots = len(edit) * objective.n_curvatures
        same_penalty = np.array_equal(problem.penalty, self.hessian.penalty)
        if same_penalty and self.hessian.takes_roots(n_roots):
            joining = self._roots(objective, added, after)
        if not same_penalty:
            fraction += self.hessian.fraction_of_penalty(problem.penalty)
        # The new H is at least `remaining` times the old one: see `certificate`.
        ratio = after[before > 0] / before[before > 0]
        remaining = (1.0 - fraction) * min(1.0, np.min(ratio))
        least = _MIN_REMAINING_QUADRATIC if self.is_quadratic else _MIN_REMAINING
        if not remaining > least:
            return None
        hessian = self.hessian.changed(
            sums, after, joining, leaving, remaining, problem.penalty
        )
        of_added, measured = np.zeros(0), self.measured
        leverage, distance = self.leverage / np.sqrt(remaining), self.since_hessian
        if len(added):
            leverages = self._leverages(objective, hessian)
            of_added = leverages.of_rows(objective, added)
            leverage = max(leverage, of_added.max())
            _set_column(table, LEVERAGE, added, of_added)
            if not self.is_quadratic:
                moved = objective.distances_along(reference - iterate, added)
                _set_column(table, DISTANCE, added, moved)
                distance = max(distance, moved.max())
            if measured is not None:
                along, curvatures = self._along(problem, measured.vectors, added)
                _set_column(table, ALONG, added, along)
                of_rows = MeasuredStep.of(measured.vectors, along, curvatures)
                measured = replace(
                    measured, largest=max(measured.largest, of_rows.largest),
                    fourth_power=measured.fourth_power + of_rows.fourth_power,
                )  # fmt: skip
        if measured is not None:
            grown = max(1.0, np.max(ratio)) * measured.fourth_power
            measured = replace(measured, fourth_power=float(grown))
        return replace(
            self, hessian=hessian, leverage=float(leverage),
            growth=float(self.growth / remaining), spread_error=problem.spread_error,
            since_hessian=distance,
            # H^-1 has grown by at most 1 / remaining, and a group's part by its factor.
            uncertainty=float(self.uncertainty * (np.max(ratio) / np.sqrt(remaining))),
            offsets=offsets(objective, hessian),
            entry_error=self.entry_error_after(hessian),
            log_hessian_error=self._log_error_after(fraction, ratio),
            fourth_moment=self._moment_after(objective, table, edit, of_added),
            measured=measured,
        )  # fmt: skip

    def _removed(self, objective, removed):
        """Take rows out of the Hessian.

        Returns
        -------
        sums : ndarray of shape (n_groups, q, q)
            Of the other rows.
        roots : ndarray or None
            See `_few_roots`.
        fraction : float
            At least the largest eigenvalue of ``H^-1`` times the rows' Hessian.
        """
        hessian, sums = self.hessian, self.hessian.sums.copy()
        leaving = self._few_roots(objective, removed)
        if leaving is not None and len(sums) == 1:
            sums[0] -= leaving.T @ leaving
        else:
            minus = -np.ones(len(removed))
            objective.add_hessian_sums(self.hessian_iterate, removed, sums, minus)
        if leaving is not None:
            return sums, leaving, hessian.fraction_of_roots(leaving)
        part = over_groups(hessian.sums - sums, hessian.group_weight)
        return sums, None, hessian.fraction(part)

    def _moment_after(self, objective, table, edit, of_added):
        """Return the fourth moment after an edit, given the added rows' leverages."""
        moment = self.fourth_moment
        if moment is None:
            return None
        sums, distance, added = moment.sums.copy(), moment.distance, edit.added
        squares = self._squares_of(objective, table, edit.removed)
        objective.add_hessian_sums(moment.iterate, edit.removed, sums, -squares)
        if len(added):
            objective.add_hessian_sums(moment.iterate, added, sums, of_added**2)
            change = self.hessian_iterate - moment.iterate
            distance = max(distance, objective.largest_change(change, added))
        return FourthMoment(sums, moment.iterate, distance)

    def _log_error_after(self, fraction, ratio):
        """Return `log_hessian_error` after a fraction of the Hessian left, at most.

        What leaves is the rows' Hessian C at `hessian_iterate`, and C <= s H. With d
        the logarithm of the error and H' the true Hessian,

            H' - C <= e^d H - C <= [e^d + (e^d - 1) s / (1 - s)] (H - C),

        and likewise from below. Factors of groups change both, by at most the quotient
        of their largest and their least ratio.
        """
        if not self.log_hessian_error:
            return 0.0
        excess = fraction / (1.0 - fraction)
        grown = np.exp(self.log_hessian_error)
        above = grown + (grown - 1.0) * excess
        below = 1.0 / grown - (1.0 - 1.0 / grown) * excess
        if not below > 0.0:
            return np.inf
        weights = max(1.0, np.max(ratio)) / min(1.0, np.min(ratio))
        return float(max(np.log(above), -np.log(below)) + np.log(weights))

    def _squares_of(self, objective, table, indices):
        """Return at most what rows' squared leverages are in the fourth moment."""
        if (leverages := table.column(LEVERAGE)) is not None:
            return leverages[indices] ** 2
        leverages = self._leverages(objective)
        of_rows = leverages.of_rows(objective, indices, from_below=True)
        return of_rows**2 / self.growth

    def growth_without(self, problem, indices):
        """Return at least the growth of squared norms of H^-1 when some rows left.

        ``H + R <= (1 + s) H`` where R is the Hessian of the rows, and s the largest
        eigenvalue of H^-1 R.
        """
        objective, hessian = problem.objective, self.hessian
        few = self._few_roots(objective, indices)
        if few is not None:
            return 1.0 + hessian.fraction_of_roots(few)
        sums = np.zeros_like(hessian.sums)
        ones = np.ones(len(indices))
        objective.add_hessian_sums(self.hessian_iterate, indices, sums, ones)
        return 1.0 + hessian.fraction(over_groups(sums, hessian.group_weight))

    def _few_roots(self, objective, indices):
        """Return `_roots` of some rows, or None where there are more than columns."""
        if len(indices) * objective.n_curvatures > self.hessian.order:
            return None
        return self._roots(objective, indices, self.hessian.group_weight)

    def _roots(self, objective, indices, group_weight):
        """Return vectors whose outer products sum to the Hessian of some rows."""
        if not len(indices):
            return np.zeros((0, self.hessian.order))
        curvatures = objective.second_derivatives(self.hessian_iterate, indices)
        weight = np.ones(len(indices))
        if objective.n_groups > 1:
            weight = group_weight[objective.group[indices]]
        return roots(objective.extended(indices), curvatures, weight)

    def bound(self, gradient):
        """Bound the distance from the reference of a `Gradient` to the optimum.

        Returns
        -------
        bound : Bound or None
        no_bound : str or None
            Why there is none.
        """
        nu = self.hessian.dual_norm(gradient.vectors) + self.rounding(gradient)
        return self._bound_of(nu, self._log_mismatch)

    @property
    def _log_mismatch(self):
        """H and the Hessian at the reference are at most e to this times each other."""
        return self.since_hessian + self.log_hessian_error

    def at_end_of_step(self, step, iterate):
        """Return the curvature for a reference at the end of a `Step`.

        The gradient there is taken to be zero, and its bound becomes the uncertainty.
        Numbers are rounded up to two digits, so that they do not identify rows.

        Parameters
        ----------
        step : Step
        iterate : ndarray of shape (n_outputs, n_dof)
            The end of the step.
        """
        n_groups = len(self.hessian.sums)
        along = self.leverage * step.length
        return replace(
            self, hessian_iterate=iterate, since_hessian=0.0, fourth_moment=None,
            measured=None,
            uncertainty=rounded_up(n_groups * self._gradient_after(step)),
            log_hessian_error=rounded_up(self._log_mismatch + along),
            leverage=rounded_up(self.leverage), growth=rounded_up(self.growth),
            entry_error=rounded_up(self.entry_error),
            hessian=self.hessian.factorised(),
        )  # fmt: skip

    def step(self, gradient):
        """Return the `Step` from a `Gradient` to the optimum, with its bound."""
        vectors = -self.hessian.solve(gradient.vectors)
        step = Step(gradient, vectors, self.hessian.norm(vectors))
        return replace(step, rounding=self.rounding_after_step(step))

    def bounded(self, step):
        """Return a `Step` with a bound of the distance between its end and the optimum.

        The step begins at the reference.
        """
        distance = 0.0
        if not self.is_quadratic:
            distance = self._log_mismatch + self._constants_along(step)[0]
        bound, no_bound = self._bound_of(self._gradient_after(step), distance)
        return replace(step, bound=bound, no_bound=no_bound)

    def _gradient_after(self, step):
        """Return at least the gradient at the end of a step, in the norm of H^-1."""
        rounding = step.rounding
        if rounding is None:
            rounding = self.rounding_after_step(step)
        if self.is_quadratic or step.length == 0.0:
            return rounding
        largest, moment = self._constants_along(step)
        left = certificate.gradient_after_step(
            step.length, largest / step.length, self._log_mismatch, moment
        )
        if step.rows is not None:
            left = min(left, step.rows.gradient)
        return rounding + left

    def _constants_along(self, step):
        """Return rho and q of (3) in `certificate` for a step from the reference."""
        length, known = step.length, self.measured
        largest = self.leverage * length
        fourth_power = self._fourth_power(step.vectors, length)
        if known is not None:
            rest = step.vectors - known.vectors
            of_rest = self.hessian.norm(rest)
            largest = min(largest, known.largest + self.leverage * of_rest)
            root = self._fourth_power(rest, of_rest) ** 0.25
            root += known.fourth_power**0.25
            fourth_power = min(fourth_power, root**4)
        if step.rows is not None:
            largest = min(largest, step.rows.largest)
        return largest, np.sqrt(fourth_power) / length if length else 0.0

    def _fourth_power(self, vectors, length):
        """Return `MeasuredStep.fourth_power` of a step by the leverages."""
        length = np.float64(length)  # it may overflow, and is then of no use
        if self.fourth_moment is None:
            return self.leverage**2 * length**4
        Q = over_groups(self.fourth_moment.sums, self.hessian.group_weight)
        growth = self.growth * np.exp(self.fourth_moment.distance)
        squared = max(0.0, float(np.sum(vectors * (vectors @ Q))))
        return growth * squared * length**2

    @property
    def origin(self):
        """Where distances in raw predictions are measured from; None for no need."""
        return None if self.is_quadratic else self.hessian_iterate

    def prediction_error(self, length, distance):
        """Return at least the error of H v as a prediction of the gradient's change.

        It is in the norm of H^-1.

        Parameters
        ----------
        length : float
            Of the step v, in the norm of H.
        distance : float
            R between `hessian_iterate` and where the step begins.
        """
        if self.is_quadratic:
            return 0.0
        return certificate.gradient_after_step(length, self.leverage, distance)

    def measured_along(self, problem, table, removed, allowed, step):
        """Return a step with a bound by the rows themselves, if that can be of use.

        Only rows are read that may be heavy, by their leverages and distances.

        Parameters
        ----------
        problem : Problem
        table : RowTable
        removed : ndarray
            Storage indices of the rows that the edit removes.
        allowed : float
            The largest distance from the optimum that is of use.
        step : Step
            From the reference.

        Returns
        -------
        curvature : Curvature
            With the step as `measured`, if all rows were read.
        step : Step
            Unchanged if the bound would be above `allowed`.
        n_passes : float
            The cost: 0 if a sample of the rows has decided.
        """
        if step.length == 0.0:
            return self, step, 0.0
        light = _LIGHT * allowed / step.length
        rows = self._heavy(table, removed, step, light)
        reads_all, fraction = rows is None, 0.0
        if not reads_all:
            fraction = len(rows) / max(1, table.n_live)
            in_all = fraction + self.fraction_read
            reads_all = fraction > _MANY or in_all > _MANY_IN_ALL
        if reads_all:
            rows, light = problem.indices, 0.0  # none is left
        cost = PASSES_FOR_LARGEST * len(rows) / max(1, len(problem.indices))
        attempts = [(rows, cost, 1)]
        if reads_all:
            # The sample estimates whether all rows can give a bound; it gives none.
            interval = _SAMPLING_INTERVAL
            attempts.insert(0, (rows[::interval], 0.0, interval))
        for indices, n_passes, interval in attempts:
            along, curvatures = self._along(problem, step.vectors, indices)
            curvatures *= interval
            found = self._bounded_by_rows(
                table, step, light, indices, along, curvatures
            )
            if found.bound is None or found.bound.distance > allowed:
                return self, step, n_passes
        if not reads_all:
            return replace(self, fraction_read=in_all), found, n_passes
        _keep(table, ALONG, rows, along)
        measured = MeasuredStep.of(step.vectors, along, curvatures)
        return replace(self, measured=measured, fraction_read=0.0), found, n_passes

    def _heavy(self, table, removed, step, light):
        """Return the rows of which `certificate.log_growth` may be above a limit.

        None if nothing is known of single rows.
        """
        leverages, distances = table.column(LEVERAGE), table.column(DISTANCE)
        if leverages is None:
            return None
        length, known = step.length, None
        if self.measured is not None:
            of_rest = self.hessian.norm(step.vectors - self.measured.vectors)
            if of_rest < length:
                length, known = of_rest, table.column(ALONG)
        reach, heavy = np.sqrt(self.growth) * length, []
        for block in row_blocks(len(leverages)):
            along = reach * leverages[block]
            if known is not None:
                along += known[block]
            since = self.since_hessian if distances is None else distances[block]
            found = np.flatnonzero(certificate.log_growth(since, along) > light)
            heavy.append(found + block.start)
        found = np.concatenate(heavy)
        return found[~np.isin(found, removed)]

    def _along(self, problem, vectors, indices):
        """Return distances and second derivatives of rows along a step.

        The latter contain the factors of the groups.
        """
        objective = problem.objective
        along, curvatures = objective.curvatures_along(
            self.hessian_iterate, problem.by_output(vectors), indices
        )
        factor = problem.group_weight
        if objective.n_groups > 1:
            factor = factor[objective.group[indices]]
        return along, factor * curvatures

    def _bounded_by_rows(self, table, step, light, indices, along, curvatures):
        """Return a step with a bound by some rows, if all others are light."""
        distances = table.column(DISTANCE)
        since = self.since_hessian if distances is None else distances[indices]
        gradient = certificate.gradient_after_step_by_rows(
            step.length, light, certificate.log_growth(since, along), curvatures
        )
        # A light row has R / 2 <= x.
        largest = max(along.max(initial=0.0), 2.0 * light)
        return self.bounded(replace(step, rows=RowsAlong(largest, gradient)))

    def _bound_of(self, nu, distance):
        """Bound the distance to the optimum by a gradient; see `bound` for the result.

        Parameters
        ----------
        nu : float
            At least the gradient, in the norm of H^-1.
        distance : float
            R between `hessian_iterate` and the iterate.
        """
        if not self.is_certain:
            return None, SINGULAR if self.is_bounded else UNBOUNDED
        nu /= 1.0 - self.relative_error
        if self.is_quadratic:
            known = np.isfinite(self.leverage)
            return Bound(nu, self.largest_range * nu if known else None), None
        bound = certificate.after_gradient(
            nu, self.leverage, distance, self.loss.distance_scale
        )
        return bound, None if bound else TOO_FAR


def _keep(table, name, indices, values):
    """Make numbers of some rows a column of a row table; None drops it."""
    column = None
    if values is not None:
        column = table.numbers(len(table.weight))
        column[indices] = values
    table.set_column(name, column)


def _set_column(table, name, indices, values):
    """Set the values of some rows in a column, if there is one."""
    if (column := table.column(name)) is not None:
        column[indices] = values
