"""The Hessian that is kept at the end of the path, and what the certificate needs.

Made from all rows once (`Curvature.survey`), and changed by the touched rows alone from
then on (`Curvature.changed`).
"""

from dataclasses import dataclass, replace

import numpy as np

from .._utils import memory
from .._utils.few_digits import rounded_up
from . import certificate
from .certificate import Bound
from .hessian import Hessian, over_groups, roots
from .leverages import Leverages
from .rounding import OF_HESSIAN, Rounding, offsets

# Shares of a Hessian, where rows that leave made up the rest, that are too little to go
# on with: for the constants of the certificate; for the digits.
_LEAST_LEFT = 0.1
_LEAST_LEFT_QUADRATIC = 1e-9
# Largest order of a matrix that is kept; its factor costs seconds. How many such there
# are for each group: Hessian, Q and what is made of them, twice while an edit is made.
_MOST_EXACT = 3000
_N_SQUARES = 6
# What sums of outer products are made in, in several threads.
_BUFFER_BYTES = 2**26
# What the square of Q may be too large by before it is made anew.
_LOOSEST = 4.0
# Rounding: what edits of ordinary rows leave in an entry of the Hessian, in units of
# its own rounding, is below this. A row 40 times as large as the others leaves more.
_MOST_LOST = 100.0
# Cost of the leverages and of Q, in Hessians: see `Curvature.rent`.
_COMPLETION = 2.0
# One row in so many tells whether half a pass may do.
_SOME = 16
_EPS = np.finfo(float).eps
# The relative error of a Hessian, in its own norm, up to which bounds are given.
_LARGEST_ERROR = 0.1
# Conditions that leave too few digits to call a bound one.
_WORST_CONDITION = 1e-3 / _EPS
# Why there is no bound.
SINGULAR = "the Hessian is singular, or nearly so, in working precision"
TOO_FAR = "the step is too large for the curvature that is kept"
UNBOUNDED = (
    "the loss is not known to be self-concordant, or its derivatives to be bounded"
)


@dataclass(frozen=True)
class Curvature(Rounding):
    """The Hessian that is kept, and what the certificate needs to know of the rows.

    Attributes
    ----------
    hessian : Hessian
        Of the rows that are there, at `place`.
    place : ndarray of shape (n_outputs, n_dof)
    is_quadratic : bool
        Whether it is the same everywhere: nothing is to be bounded but rounding.
    is_bounded : bool
        Whether the certificate holds for the loss: see `certificate.applies_to`.
    self_concordance : float
        The constant K of the loss, of which leverages and distances are multiples; 1
        for a loss without one.
    leverage : float
        At least the largest leverage of a row (L in `certificate`).
    fourth : ndarray of shape (n_groups, q, q) or None
        Q of `_certificate`, with second derivatives at `surveyed_at`, and the leverages
        that rows had when they came; None where there is no certificate, and for a
        quadratic loss.
    surveyed_at : ndarray of shape (n_outputs, n_dof) or None
    inflation : float
        At least what those leverages' squares have grown by since.
    moved : float
        R between `surveyed_at` and `place`: second derivatives have grown by at most
        its exponential.
    offsets : ndarray of shape (n_dof,)
        How far from zero the columns are, in standard deviations: their rounding is
        worth so much more than that of centred ones.
    stale : float
        R between `place` and the reference.
    debt : float
        Passes made since the Hessian was, in Hessians.
    spread_error : float
        What rounding may have done to the penalty: see `_problem.Problem`.
    uncertainty : float
        At least the distance, in the norm of H^-1, between the gradient that is kept at
        the reference and that of the current training rows, besides rounding; summed
        over groups of rows. 0 where it was measured.
    doubt : float
        How far the Hessian may be from that of the current training rows at `place`:
        each is at most the other times e^doubt. Above 0 only where `absorbed` was
        called.
    rent : float
        Passes that a tight bound would have spared, since leverages are known by an
        upper bound only. When they have cost as much as the leverages, these are
        computed (the ski-rental rule: at most twice the least possible cost).
    lost : float
        What rounding may have done to an entry of the Hessian, in units of the unit
        roundoff times the roots of its two diagonal entries.
    """

    hessian: Hessian
    place: np.ndarray
    is_quadratic: bool
    leverage: float = 0.0
    fourth: np.ndarray | None = None
    surveyed_at: np.ndarray | None = None
    inflation: float = 1.0
    moved: float = 0.0
    offsets: np.ndarray | None = None
    stale: float = 0.0
    debt: float = 0.0
    spread_error: float = 0.0
    is_bounded: bool = False
    self_concordance: float = 1.0
    uncertainty: float = 0.0
    doubt: float = 0.0
    rent: float = 0.0
    lost: float = OF_HESSIAN

    @property
    def nbytes(self):
        fourth = 0 if self.fourth is None else self.fourth.nbytes
        return self.hessian.nbytes + self.place.nbytes + fourth

    @property
    def is_certain(self):
        """Whether there is a certificate: enough digits, and a loss that allows it."""
        hessian = self.hessian
        known = self.is_bounded and hessian.is_exact
        known = known and hessian.condition() < _WORST_CONDITION
        return known and self.relative_error < _LARGEST_ERROR

    @property
    def largest_range(self):
        """At least what a step of length 1 does to a raw prediction.

        That is the leverage without the constant K of the loss.
        """
        return self.leverage / self.self_concordance

    @property
    def is_complete(self):
        """Whether leverages and Q are known, as far as the certificate asks for them.

        Where they are not, the leverage is an upper bound, and bounds are loose.
        """
        return self.is_quadratic or self.fourth is not None

    @classmethod
    def survey(cls, problem, table, place):
        """Everything again from the rows: a Hessian, leverages and a second Hessian.

        What it costs: see `survey_cost`.
        """
        return cls._hessian_alone(problem, place).completed(problem, table)

    @classmethod
    def _hessian_alone(cls, problem, place):
        """A new Hessian, and nothing known of leverages."""
        objective = problem.objective
        hessian = problem.hessian(place)
        return cls(
            hessian, place, objective.loss.is_quadratic,
            offsets=offsets(objective, hessian), spread_error=problem.spread_error,
            is_bounded=certificate.applies_to(objective.loss),
            self_concordance=objective.loss.distance_scale,
        )  # fmt: skip

    @classmethod
    def quick(cls, problem, place):
        """A new Hessian, and an upper bound of the leverages: a third of `survey`.

        The bound comes from the rows' squares, in half a pass.
        """
        made = cls._hessian_alone(problem, place)
        if not (made.hessian.is_exact and made.is_bounded):
            return made
        objective = problem.objective
        leverages = Leverages(made.hessian, objective.loss, objective.n_dof)
        largest = objective.largest_square(problem.indices, leverages.dominating())
        problem.meter.spend(n_passes=0.5)
        return replace(made, leverage=float(np.sqrt(largest)))

    def completed(self, problem, table):
        """With the leverages of all rows, and Q: as expensive as two Hessians.

        The leverages are left in the row table, so that rows can leave Q again.
        """
        objective, hessian, place = problem.objective, self.hessian, self.place
        if not (hessian.is_exact and self.is_bounded):
            return self
        leverages = Leverages(hessian, objective.loss, objective.n_dof)
        of_rows = leverages.of_rows(objective, problem.indices)
        del leverages
        problem.meter.spend(n_hessians=1)
        known = replace(self, leverage=float(of_rows.max()), rent=0.0)
        if known.is_quadratic:
            return known
        by_index = np.zeros(len(table.weight))
        by_index[problem.indices] = of_rows
        table.set_column("leverage", by_index)
        fourth = np.zeros_like(hessian.sums)
        objective.add_hessian_sums(place, problem.indices, fourth, of_rows**2)
        problem.meter.spend(n_hessians=1)
        return replace(known, fourth=fourth, surveyed_at=place, moved=0.0)

    @property
    def has_lost_digits(self):
        """Whether rows that left were so large that the rest's digits were lost."""
        return self.lost > _MOST_LOST

    def forgetting(self, place):
        """Without what has been the largest of rows that may have left.

        Of a squared error, whose Hessian is that of any place: the leverage becomes
        infinite, which is to say unknown, and the factors are computed again from the
        sums.
        """
        return replace(
            self, hessian=self.hessian.factorised(), place=place, leverage=np.inf,
            inflation=1.0, lost=max(self.lost, _MOST_LOST),
        )  # fmt: skip

    def paid(self, problem, table, n_passes):
        """After passes that a tight bound would have spared: see `rent`."""
        if self.is_complete or not self.is_certain:
            return self
        rent = self.rent + n_passes
        if rent < _COMPLETION * problem.hessian_cost:
            return replace(self, rent=rent)
        return self.completed(problem, table)

    @property
    def _is_loose(self):
        """Whether a new Hessian alone would leave no bound to speak of."""
        looseness = np.log(self.inflation) + self.moved + 2.0 * self.stale
        return looseness > np.log(_LOOSEST)

    @property
    def n_hessians_to_refresh(self):
        """What `refreshed` takes, in Hessians."""
        renews_all = self.is_complete and self._is_loose
        return survey_cost(self.is_quadratic) if renews_all else 1.0

    def refreshed(self, problem, table, place):
        """With a new Hessian at a place that is `stale` away.

        A third of a survey: leverages' squares, and second derivatives, have grown by
        at most e^stale.
        """
        if not self.is_complete:
            return replace(self.quick(problem, place), rent=self.rent)
        if self._is_loose:
            return self.survey(problem, table, place)
        return replace(
            self,
            hessian=problem.hessian(place),
            place=place,
            leverage=self.leverage * float(np.exp(0.5 * self.stale)),
            inflation=self.inflation * float(np.exp(self.stale)),
            moved=self.moved + self.stale,
            stale=0.0,
            debt=0.0,
            uncertainty=0.0,
            lost=OF_HESSIAN,
        )

    def changed(self, problem, table, edit, reference):
        """The curvature after an edit, from the touched rows alone.

        Returns None where what is left of it says too little.
        """
        objective = problem.objective
        removed, added = edit.removed, edit.added
        sums = self.hessian.sums.copy()
        objective.add_hessian_sums(self.place, removed, sums, -np.ones(len(removed)))
        before, after = self.hessian.group_weight, problem.group_weight
        leaving = joining = None
        share = 0.0
        if len(removed) * objective.n_curvatures <= self.hessian.order:
            leaving = self._roots(objective, removed, before)
            if len(removed):
                share = self.hessian.share_of_roots(leaving)
        else:
            of_removed = over_groups(self.hessian.sums - sums, before)
            share = self.hessian.share(of_removed)
        objective.add_hessian_sums(self.place, added, sums, np.ones(len(added)))
        n_roots = len(edit) * objective.n_curvatures
        same_penalty = np.array_equal(problem.penalty, self.hessian.penalty)
        if same_penalty and self.hessian.takes_roots(n_roots):
            joining = self._roots(objective, added, after)
        share += self.hessian.share_of_penalty(problem.penalty)
        # H is at least this much of what it was: see `_certificate`.
        rest = (1.0 - share) * min(1.0, np.min(after[before > 0] / before[before > 0]))
        if not rest > (_LEAST_LEFT_QUADRATIC if self.is_quadratic else _LEAST_LEFT):
            return None
        hessian = self.hessian.changed(
            sums, after, joining, leaving, rest, problem.penalty
        )
        leverage = self.leverage / np.sqrt(rest)
        of_added = np.zeros(0)
        if len(added):
            leverages = Leverages(hessian, objective.loss, objective.n_dof)
            of_added = leverages.of_rows(objective, added)
            leverage = max(leverage, of_added.max())
        stale = self.stale
        if len(added) and not self.is_quadratic:
            moved = objective.largest_change(reference - self.place, added)
            stale = max(stale, moved)
        # H^-1 has grown by at most 1 / rest, and a group's part by its factor.
        ratio = after[before > 0] / before[before > 0]
        grown = np.max(ratio) / np.sqrt(rest)
        changed = replace(
            self, hessian=hessian, leverage=float(leverage),
            inflation=float(self.inflation / rest), spread_error=problem.spread_error,
            stale=stale, uncertainty=float(self.uncertainty * grown),
            offsets=offsets(objective, hessian), lost=self.lost_after(hessian),
            doubt=self._doubt_after(share, ratio),
        )  # fmt: skip
        if self.fourth is None:
            return changed
        squares = self._squares_of(objective, table, removed)
        at = self.surveyed_at
        fourth = self.fourth.copy()
        objective.add_hessian_sums(at, removed, fourth, -squares)
        since = self.moved
        if len(added):
            if (leverages := table.column("leverage")) is not None:
                leverages[added] = of_added
            objective.add_hessian_sums(at, added, fourth, of_added**2)
            since = max(since, objective.largest_change(self.place - at, added))
        return replace(changed, fourth=fourth, moved=since)

    def _doubt_after(self, share, ratio):
        """`doubt` after rows left that made up a fraction of the Hessian, at most.

        What leaves is their Hessian C at `place`, and C <= s H: with d the doubt,

            H' - C <= e^d H - C <= [e^d + (e^d - 1) s / (1 - s)] (H - C),

        where H' is the true Hessian; and likewise from below. Factors of groups change
        both, by at most the quotient of their largest and their least ratio.
        """
        if not self.doubt:
            return 0.0
        excess = share / (1.0 - share)
        grown = np.exp(self.doubt)
        above = grown + (grown - 1.0) * excess
        below = 1.0 / grown - (1.0 - 1.0 / grown) * excess
        if not below > 0.0:
            return np.inf
        weights = max(1.0, np.max(ratio)) / min(1.0, np.min(ratio))
        return float(max(np.log(above), -np.log(below)) + np.log(weights))

    def _squares_of(self, objective, table, indices):
        """What rows' leverages, squared, have in `fourth`, or less."""
        if (leverages := table.column("leverage")) is not None:
            return leverages[indices] ** 2
        leverages = Leverages(self.hessian, objective.loss, objective.n_dof)
        of_rows = leverages.of_rows(objective, indices, from_below=True)
        return of_rows**2 / self.inflation

    def growth_without(self, problem, indices):
        """At most what squares of norms of H^-1 grew by when some rows left.

        ``H + R <= (1 + s) H`` where R is the Hessian of the rows, and s the largest
        eigenvalue of H^-1 R.
        """
        objective, hessian = problem.objective, self.hessian
        if not len(indices):
            return 1.0
        if len(indices) * objective.n_curvatures <= hessian.order:
            roots = self._roots(objective, indices, hessian.group_weight)
            return 1.0 + hessian.share_of_roots(roots)
        sums = np.zeros_like(hessian.sums)
        objective.add_hessian_sums(self.place, indices, sums, np.ones(len(indices)))
        return 1.0 + hessian.share(over_groups(sums, hessian.group_weight))

    def _roots(self, objective, indices, group_weight):
        curvatures = objective.second_derivatives(self.place, indices)
        weight = np.ones(len(indices))
        if objective.n_groups > 1:
            weight = group_weight[objective.group[indices]]
        return roots(objective.extended(indices), curvatures, weight)

    def bound(self, gradient, noise, reference):
        """Where the optimum is, seen from the reference; or None, and why.

        Parameters are those of `step`.
        """
        nu = self.hessian.dual_norm(gradient) + self.rounding(noise, reference)
        return self._judge(nu, self._off)

    @property
    def _off(self):
        """H and that at the reference are at most the other times e^this."""
        return self.stale + self.doubt

    def absorbed(self, gradient, step, noise, reference, place):
        """The curvature as seen from the end of a step, its beginning forgotten.

        The gradient there is taken for none; how far it can be from that is `left` of
        the step. Numbers are rounded to two digits, in the safe direction.

        Parameters
        ----------
        gradient, step, noise, reference
            See `step`, and its step.
        place : ndarray of shape (n_outputs, n_dof)
            Where the step leads.
        """
        n_groups = len(self.hessian.sums)
        length = self.hessian.norm(step)
        left = self._left(gradient, step, length, noise, reference)
        return replace(
            self, place=place, stale=0.0, fourth=None, surveyed_at=None, moved=0.0,
            uncertainty=rounded_up(n_groups * left),
            doubt=rounded_up(self._off + self.leverage * length),
            leverage=rounded_up(self.leverage), inflation=rounded_up(self.inflation),
            lost=rounded_up(self.lost), hessian=self.hessian.factorised(),
        )  # fmt: skip

    def step(self, gradient, noise, reference):
        """The step to the optimum, -H^-1 g, and where it certainly leads.

        Parameters
        ----------
        gradient : ndarray of shape (n_systems, q)
        noise : Noise
            What rounding may have done to the sums that it was made from.
        reference : ndarray of shape (n_systems, q)
            Where it was taken.

        Returns
        -------
        step : ndarray of shape (n_systems, q)
        length : float
            ``||step||_H``.
        bound : Bound or None
        reason : str or None
            Why there is no bound.
        """
        hessian = self.hessian
        step = -hessian.solve(gradient)
        length = hessian.norm(step)
        left = self._left(gradient, step, length, noise, reference)
        if self.is_quadratic:
            return step, length, *self._judge(left, 0.0)
        return step, length, *self._judge(left, self._off + self.leverage * length)

    def _left(self, gradient, step, length, noise, reference):
        """At most the gradient where a step leads, in the norm of H^-1."""
        hessian, fourth = self.hessian, None
        left = self.slack(gradient, step, noise, reference)
        if self.fourth is not None:
            weighted = over_groups(self.fourth, hessian.group_weight)
            squared = np.sum(step * (step @ weighted))
            looseness = self.inflation * np.exp(self.moved)
            fourth = np.sqrt(looseness * max(0.0, squared))
        return left + self.unpredicted(length, self._off, fourth)

    @property
    def origin(self):
        """Where distances in raw predictions count from; None where they do not."""
        return None if self.is_quadratic else self.place

    def unpredicted(self, length, stale, fourth=None):
        """At most what H mispredicts of a change of the gradient, in the norm of H^-1.

        Parameters
        ----------
        length : float
            Of the step, in the norm of H.
        stale : float
            R between `place` and where the step begins.
        fourth : float, optional
            See `certificate.gradient_after_step`.
        """
        if self.is_quadratic:
            return 0.0
        return certificate.gradient_after_step(length, self.leverage, stale, fourth)

    def half_pass(self, problem, allowed, step, gradient, noise, reference):
        """Where a step certainly leads, by the rows' own predictions along it.

        The leverage along the step is theirs, not the largest of any step.

        Parameters
        ----------
        problem : Problem
        allowed : float
            The largest distance that is of use.
        step, gradient, noise, reference
            See `step`, and its step.

        Returns
        -------
        bound : Bound or None
            None where it is beyond what is allowed.
        n_passes : float
            0 where some of the rows told as much.
        """
        length = self.hessian.norm(step)
        if length == 0.0:
            return None, 0.0
        slack = self.slack(gradient, step, noise, reference)
        by_output = problem.by_output(step)
        # Some rows tell whether it is worth to read the others.
        for indices, n_passes in (
            (problem.indices[::_SOME], 0.0),
            (problem.indices, 0.5),
        ):
            rho = problem.objective.largest_change(by_output, indices)
            left = slack + certificate.gradient_after_step(
                length, rho / length, self._off
            )
            bound, _ = self._judge(left, self._off + rho)
            if bound is None or bound.distance > allowed:
                return None, n_passes
        return bound, n_passes

    def _judge(self, nu, stale):
        if not self.is_certain:
            return None, SINGULAR if self.is_bounded else UNBOUNDED
        nu /= 1.0 - self.relative_error
        if self.is_quadratic:
            known = np.isfinite(self.leverage)
            return Bound(nu, self.largest_range * nu if known else None), None
        bound = certificate.after_gradient(
            nu, self.leverage, stale, self.self_concordance
        )
        return bound, None if bound else TOO_FAR


def survey_cost(is_quadratic):
    """What `Curvature.survey` takes, in Hessians."""
    return 2.0 if is_quadratic else 3.0


def curvature_bytes(loss, alpha, n_features, n_groups):
    """At most what the exact Hessian, all that goes with it, and an edit take."""
    n_factors = 1 if loss.couples_outputs else len(np.unique(alpha))
    n_squares = _N_SQUARES * (n_groups + 1) + 2 * n_factors
    return n_squares * 8 * order(loss, n_features) ** 2 + _BUFFER_BYTES


def cheapest_curvature(loss, alpha, n_features, n_groups):
    """What `curvature="auto"` stands for.

    The exact Hessian, where it is small enough to keep, and takes no more memory with
    all its groups than the largest one of a single group; else the Kronecker
    preconditioner, where there are several classes and the rows' second moments are
    small enough; else the diagonal.
    """
    available = memory.available_bytes()
    n_bytes = curvature_bytes(loss, alpha, n_features, n_groups)
    fits = available is None or n_bytes <= available / 2
    fits &= n_bytes <= 8 * (2 * _N_SQUARES + 2) * _MOST_EXACT**2 + _BUFFER_BYTES
    if fits and order(loss, n_features) <= _MOST_EXACT:
        return "exact"
    if loss.couples_outputs and n_features < _MOST_EXACT:
        return "kronecker"
    return "diagonal"


def order(loss, n_features):
    """Order of the Hessian, or of that of each output where they are the same."""
    return (n_features + 1) * loss.n_curvatures
