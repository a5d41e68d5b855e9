"""Optima without some rows, for many sets of rows at once, from one Hessian.

Rows that leave together are a *unit*. Seen from an iterate w, with the gradient g and
the Hessian H of all rows there, the optimum without a unit U is

    w_U  =  w - (H - H_U)^-1 (g - g_U)

to first order, and exactly for a quadratic loss. Units of as many rows are solved in
blocks, with the one factor of H (`_downdates`). Where a unit is nearly all that there
is of a direction, or large, the Hessian without it is factorised.

How far it can be from the optimum is bounded as in `_certificate`. Where that is too
far, a further step takes the gradient of the rows that stay at w_U, and the same
Hessian; or, where raw predictions move much, one of its own. Where even that does not
arrive, the rows that stay are fitted.
"""

from copy import copy
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from .._objective.data_term import DataTerm
from .._optimum import certificate
from .._optimum.hessian import Hessian, over_groups
from .._optimum.leverages import Leverages
from .._optimum.newton import minimise
from ._many_iterates import ManyIterates
from ._woodbury import LEAST_LEFT, Alone, Downdate, Leaving, UnitRows

# Entries of the rows' solutions in a block, and most units in one.
_BLOCK_ENTRIES = 2**18
_MOST_UNITS = 2**10
# Rows whose second derivatives are together of this share of the Hessian's order are
# faster taken out of it.
_LARGE = 0.5
# Most steps with the Hessian of all rows; largest move of a raw prediction that it will
# do for; and most steps with a Hessian of their own.
_MOST_STEPS = 4
_NEAR = 0.3
_MOST_NEWTON = 8
# What is left of the tolerance is nothing, where there is no bound to say so.
_NOTHING = 1e-3
# Of a fit, where they do not arrive: as the estimators' defaults.
_FIT_TOL = 1e-4
_MOST_FIT = 100
# Entries of the Hessians that are made at a time.
_HESSIAN_ENTRIES = 2**18
_EPS = np.finfo(float).eps


@dataclass(frozen=True)
class Left:
    """Models without some units.

    Attributes
    ----------
    units : ndarray of shape (n_units,)
        Their numbers.
    indices : ndarray of shape (n_units, size)
        Their rows.
    changes : ndarray of shape (n_units, n_outputs, n_dof)
        From the iterate of all rows.
    influence : ndarray of shape (n_units,)
        Norms of the changes, in the metric of the Hessian of all rows.
    error : ndarray of shape (n_units,)
        At least how far from the optimum they are, as a share of the way there from
        the iterate; inf where there is no bound.
    """

    units: np.ndarray
    indices: np.ndarray
    changes: np.ndarray
    influence: np.ndarray
    error: np.ndarray

    @classmethod
    def joined(cls, parts):
        """Of units of one size."""
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(cls)]
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in names)
        )


class LeaveOut:
    """Optima without units, around an iterate.

    Parameters
    ----------
    problem : Problem
        All rows.
    iterate : ndarray of shape (n_outputs, n_dof)
    units : Units
    group_weight : ndarray of shape (n_units, n_groups)
        Factors of the groups without each unit.
    tol : float
        How far from the optimum each may be, as a share of the way it moved: more steps
        are made where the first is not certain to be as near. inf: never.
    """

    def __init__(self, problem, iterate, units, group_weight, tol=np.inf):
        self.problem = problem
        self.iterate = iterate
        self.units = units
        self.tol = tol
        self._many = ManyIterates(problem, iterate)
        measured = problem.measure(iterate)
        self._gradient_sums = measured.gradient_sums
        self.hessian = problem.hessian(iterate)
        self._group_weight, self._which = np.unique(
            group_weight, axis=0, return_inverse=True
        )
        self._which = self._which.reshape(-1)
        self._common = None
        if len(self._group_weight) == 1:
            self._common = self._hessian_of(self._group_weight[0])

    def blocks(self, numbers):
        """Units, cut into blocks of one size and one weight of the groups."""
        objective = self.problem.objective
        sizes = self.units.sizes[numbers]
        order = np.lexsort((sizes, self._which[numbers]))
        numbers, sizes = numbers[order], sizes[order]
        ends = np.flatnonzero(np.diff(sizes) | np.diff(self._which[numbers])) + 1
        blocks = []
        for alike in np.split(numbers, ends):
            size = self.units.sizes[alike[:1]].sum()
            entries = size * objective.n_curvatures * self.problem.penalty.size
            most = min(max(_BLOCK_ENTRIES // max(1, entries), 1), _MOST_UNITS)
            if self._is_large(size):
                most = 1
            blocks += [alike[i : i + most] for i in range(0, len(alike), most)]
        return blocks

    def without(self, numbers):
        """`Left` of a block of units."""
        group_weight = self._group_weight[self._which[numbers[0]]]
        indices = self.units.of_units(numbers)
        if self._is_large(indices.shape[1]):
            return self._one_by_one(numbers, indices, group_weight)
        leaving = Leaving(self.problem.objective, group_weight, indices)
        rows = UnitRows(leaving, self.iterate)
        downdate = Downdate(self._hessian_of(group_weight), rows)
        poor = downdate.rest < LEAST_LEFT
        if not poor.any():
            data = over_groups(self._gradient_sums, group_weight) - rows.gradients
            gradients = self._many.gradients(data, self.iterate)
            return self._followed(numbers, leaving, downdate, gradients)
        poorly = self._one_by_one(numbers[poor], indices[poor], group_weight)
        if poor.all():
            return poorly
        return Left.joined([poorly, self.without(numbers[~poor])])

    def _is_large(self, size):
        n_roots = size * self.problem.objective.n_curvatures
        return n_roots > _LARGE * self.hessian.order

    def _hessian_of(self, group_weight):
        """Of all rows, with some factors of the groups."""
        if self._common is not None:
            return self._common
        if np.array_equal(group_weight, self.hessian.group_weight):
            return self.hessian
        return Hessian(self.hessian.sums, group_weight, self.hessian.penalty)

    def _one_by_one(self, numbers, indices, group_weight):
        """`Left` of units, each by a factor of its own."""
        parts = []
        nowhere = np.zeros((1, *self.problem.penalty.shape))
        for i in range(len(numbers)):
            number = numbers[i : i + 1]
            leaving = Leaving(self.problem.objective, group_weight, indices[i : i + 1])
            try:
                alone = Alone(self.problem, self.iterate, leaving)
            except np.linalg.LinAlgError:
                parts.append(self._undefined(number, leaving))
                continue
            if not self.problem.objective.loss.is_quadratic:
                alone.compare(self._hessian_of(group_weight))
            gradients, _ = self._many.measure(leaving, nowhere)
            parts.append(self._followed(number, leaving, alone, gradients))
        return Left.joined(parts)

    def _undefined(self, number, leaving):
        changes = np.full((1, *self.iterate.shape), np.nan)
        nothing = np.full(1, np.nan)
        return Left(number, leaving.indices, changes, nothing, nothing)

    def _followed(self, numbers, leaving, solver, gradients):
        """`Left` of a block, by a step, and by more where that is not near enough."""
        changes = -solver.solve(gradients)
        nothing = np.zeros(len(numbers))
        error = self._errors(leaving, solver, gradients, changes, changes, nothing)
        if not self.problem.objective.loss.is_quadratic:
            self._refine(leaving, solver, gradients, changes, error)
        influence = self.hessian.norms(changes)
        return Left(
            numbers, leaving.indices, self._many.by_output(changes), influence, error
        )

    def _refine(self, leaving, solver, gradients, changes, error):
        """More than one step where the first is not near enough, in place."""
        rest = self._rest_of_weights(leaving.group_weight) * solver.rest
        coarse = np.flatnonzero(error > self.tol)
        if not len(coarse) or not self.hessian.is_exact:
            return
        # 1) half a pass: raw predictions along the step tell more of it
        some = leaving.some(coarse)
        moved, squares = self._many.along(some, changes[coarse])
        lengths = _lengths(gradients[coarse], changes[coarse])
        bounds = self._bounds(
            lengths, np.zeros(len(coarse)), rest[coarse], squares, moved
        )
        error[coarse] = np.minimum(
            error[coarse], self._shares(bounds, solver.norms(changes[coarse], coarse))
        )
        left = error[coarse] > self.tol
        coarse, moved = coarse[left], moved[left]
        # 2) steps with the same Hessian, or with one of their own
        near = moved <= _NEAR
        far = coarse[~near]
        changes[far] *= _damping(moved[~near])
        left = self._by_steps(coarse[near], leaving, solver, changes, error)
        far = np.concatenate([far, left])
        size = max(1, _HESSIAN_ENTRIES // self.hessian.order**2)
        for first in range(0, len(far), size):
            some = far[first : first + size]
            changes[some], error[some] = self._by_newton(
                leaving.some(some), changes[some], rest[some]
            )
        # 3) a fit, where that does not arrive
        for number in far[error[far] > self.tol]:
            changes[number], error[number] = self._by_fit(leaving.some([number]))

    def _by_steps(self, coarse, leaving, solver, changes, error):
        """Step on with the same Hessian, in place; a pass for every unit and step.

        Returns those units of a block for which that will not do.
        """
        for _ in range(_MOST_STEPS):
            if not len(coarse):
                break
            some = leaving.some(coarse)
            gradients, stale = self._many.measure(some, changes[coarse])
            steps = -solver.solve(gradients, coarse)
            changes[coarse] += steps
            error[coarse] = self._errors(
                some, solver, gradients, steps, changes[coarse], stale, coarse
            )
            coarse = coarse[error[coarse] > self.tol]
        return coarse

    def _by_newton(self, leaving, changes, rest):
        """Newton's method for units, with Hessians of their own, from some changes.

        Steps are damped as it is safe for a self-concordant loss: by log(1 + r) / r, r
        the largest change of a raw prediction (Sun and Tran-Dinh 2019, Math. Program.
        178, nu = 2), where that is much. Returns the changes and their errors.
        """
        changes, error = changes.copy(), np.full(len(changes), np.inf)
        going = np.arange(len(changes))
        q = self.hessian.order
        for _ in range(_MOST_NEWTON):
            some = leaving.some(going)
            hessians = np.zeros((len(going), q, q))
            gradients, stale = self._many.measure(some, changes[going], hessians)
            hessians[:, np.arange(q), np.arange(q)] += self.problem.penalty
            try:
                steps = -np.linalg.solve(hessians, gradients.swapaxes(1, 2))
            except np.linalg.LinAlgError:
                return changes, error
            steps = steps.swapaxes(1, 2)
            lengths = _lengths(gradients, steps)
            moved = self._many.along(some, steps)[0]
            shares = _damping(moved)
            changes[going] += shares * steps
            now = changes[going]
            ways = np.sqrt(np.sum((now @ hessians) * now, axis=(1, 2)))
            leverages = np.exp(0.5 * stale) * self._leverages_left(rest[going])
            made = shares.ravel()
            left = (1.0 - made) * lengths + certificate.gradients_after_steps(
                made * lengths, made * moved, np.zeros(len(made))
            )
            bounds = certificate.distances_after_gradients(
                left, leverages, made * moved
            )
            error[going] = self._shares(bounds, ways)
            on = (error[going] > self.tol) & (left > _NOTHING * self.tol * ways)
            going = going[on]
            if not len(going):
                break
        return changes, error

    def _by_fit(self, leaving):
        """The optimum of the rows that stay without one unit, from where it is lower.

        Returns its change and its error.
        """
        problem = self._problem_without(leaving)
        for iterate in (self.iterate, problem.origin):
            problem.measure(iterate)
        optimum = minimise(problem, problem.lowest[1], _FIT_TOL, _MOST_FIT)
        change = problem.vectors(optimum.iterate - self.iterate)
        hessian = problem.hessian(optimum.iterate)
        bound, way = None, hessian.norm(change)
        if hessian.is_exact and self._is_bounded and way > 0.0:
            sums = optimum.measured.gradient_sums
            nu = hessian.dual_norm(problem.gradient(sums, optimum.iterate))
            leverage = self._leverages(hessian, problem.indices).max()
            bound = certificate.after_gradient(nu, leverage)
        return change, np.inf if bound is None else bound.distance / way

    def _problem_without(self, leaving):
        """The problem of the rows that stay; other threads have theirs."""
        problem, objective = copy(self.problem), self.problem.objective
        problem.lowest = np.inf, None
        problem.objective = DataTerm(
            objective.rows, objective.y, objective.weight, objective.loss,
            objective.shift(), objective.group, objective.n_groups,
        )  # fmt: skip
        problem.indices = np.setdiff1d(
            self.problem.indices, leaving.indices, assume_unique=True
        )
        problem.group_weight = leaving.group_weight
        problem.weight = float(
            problem.objective.weight_by_group(problem.indices) @ leaving.group_weight
        )
        problem.keeps_hessian = True
        return problem

    def _errors(
        self, leaving, solver, gradients, steps, changes, stale, which=slice(None)
    ):  # fmt: skip
        """Bounds of the distances to the optima, as shares of the ways there.

        Parameters
        ----------
        leaving : Leaving
            The units.
        solver : Downdate or Alone
            Of their block.
        gradients, steps : ndarray of shape (n_units, n_systems, q)
            The last step of each, and the gradient that it was made of.
        changes : ndarray of shape (n_units, n_systems, q)
            From the iterate.
        stale : ndarray of shape (n_units,)
            How far raw predictions were from those at the iterate before that step.
        which : ndarray of shape (n_units,)
            Numbers of the units within the block.
        """
        bounds = np.full(len(steps), np.inf)
        if self._is_bounded and self.hessian.is_exact and solver.is_exact:
            if self.problem.objective.loss.is_quadratic:
                return np.zeros(len(steps))
            lengths = _lengths(gradients, steps)
            rest = self._rest_of_weights(leaving.group_weight) * solver.rest[which]
            # L_i^2 ||d||^2 is at least osc_i^2.
            fourth = np.sum(steps * (steps @ self._certain[1]), axis=(1, 2))
            rest_of = np.where(rest > 0.0, rest, np.inf)
            squares = np.maximum(fourth, 0.0) * lengths**2 / rest_of
            bounds = self._bounds(lengths, stale, rest, squares)
        return self._shares(bounds, solver.norms(changes, which))

    def _shares(self, bounds, ways):
        """Bounds as shares of ways; nothing moved by nothing is exact."""
        moved = ways > _EPS * self.hessian.norm(self.problem.vectors(self.iterate))
        return np.divide(bounds, ways, out=np.zeros_like(bounds), where=moved)

    def _rest_of_weights(self, group_weight):
        """At least what is left of H when the groups' factors change, as a share."""
        before = self.hessian.group_weight
        return min(1.0, np.min(group_weight[before > 0] / before[before > 0]))

    def _bounds(self, lengths, stale, rest, squares, moved=None):
        """At least the distances to the optima after a step; inf where unbounded.

        Parameters
        ----------
        lengths : ndarray of shape (n_units,)
            Of the steps.
        stale, rest : ndarray of shape (n_units,)
            See `_errors`, and `Downdate`.
        squares : ndarray of shape (n_units,)
            At least ``sum_i l_i''[a_i, a_i] osc_i^2``.
        moved : ndarray of shape (n_units,), optional
            At least how far the step moves a raw prediction.
        """
        leverages = self._leverages_left(rest)
        if moved is None:
            moved = np.where(lengths > 0.0, leverages, 0.0) * lengths
        after = certificate.gradients_after_steps(lengths, moved, stale, squares)
        return certificate.distances_after_gradients(after, leverages, stale + moved)

    def _leverages_left(self, rest):
        """At least the largest leverages without units; inf where nothing is known."""
        known = rest > 0.0
        if not self._is_bounded:
            return np.full(rest.shape, np.inf)
        return np.where(
            known, self._certain[0] / np.sqrt(np.where(known, rest, 1.0)), np.inf
        )

    @cached_property
    def _certain(self):
        """Largest leverage, and Q of `_certificate`."""
        problem, objective = self.problem, self.problem.objective
        of_rows = self._leverages(self.hessian, problem.indices)
        fourth = np.zeros_like(self.hessian.sums)
        objective.add_hessian_sums(self.iterate, problem.indices, fourth, of_rows**2)
        # The groups' largest factors make it hold for all units.
        largest = self._group_weight.max(axis=0)
        return float(of_rows.max()), over_groups(fourth, largest)

    def _leverages(self, hessian, indices):
        """At least the largest leverages of rows, over all contrasts."""
        objective = self.problem.objective
        return Leverages(hessian, objective.loss, objective.n_dof).of_rows(
            objective, indices
        )

    @property
    def _is_bounded(self):
        """Whether the certificate holds for the loss."""
        return certificate.applies_to(self.problem.objective.loss)

    def prepare(self):
        """Make now what threads would make several times."""
        is_quadratic = self.problem.objective.loss.is_quadratic
        if self._is_bounded and not is_quadratic and self.hessian.is_exact:
            self._certain  # noqa: B018


def _lengths(gradients, steps):
    """Of steps ``-H^-1 g``, in the norm of H: (n_units,)."""
    return np.sqrt(np.maximum(-np.sum(gradients * steps, axis=(1, 2)), 0.0))


def _damping(moved):
    """The share of steps that is safe where they move raw predictions that much."""
    safe = np.log1p(moved) / np.maximum(moved, _EPS)
    return np.where(moved > _NEAR, safe, 1.0)[:, np.newaxis, np.newaxis]
