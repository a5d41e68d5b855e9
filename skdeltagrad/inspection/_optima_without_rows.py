"""Optima without some rows, for many sets of rows at once, from one Hessian.

Rows that leave together are a *unit*. From an iterate w with the gradient g and the
Hessian H of all rows, the optimum without a unit U is

    w_U  =  w - (H - H_U)^-1 (g - g_U)

to first order, and exactly for a quadratic loss. Units of the same size are solved in
blocks, with the one factor of H (`_woodbury`). The distance to the optimum is bounded
as in `_optimum.certificate`, and where the bound is above the tolerance,

1. half a pass over the rows computes how far the step moves their raw predictions,
   which tightens the bound;
2. up to `_MOST_STEPS` further steps use the gradient of the rows that stay at the new
   iterate, and the same Hessian. Each of them is a pass over the rows.

Passes are made for all units of a block together: the rows are multiplied with all
iterates, so that BLAS does the work. What is not near enough afterwards needs a new
Hessian, and is left to the engine of the estimator (`_driver`).
"""

import numpy as np

from .._optimum import certificate
from .._optimum.hessian import Hessian, over_groups
from ._woodbury import Downdate

# Cost: numbers that are made of a block of units or of rows at a time. 2 MB, so that
# they stay in the cache.
_ENTRIES = 2**18
# Cost: most units in a block, so that progress is reported now and then.
_MOST_UNITS = 2**10
# Cost: Woodbury's identity takes n_rows m vectors of the order q of the Hessian for a
# unit, with m coordinates. It is used for up to q vectors, or so many entries of them.
# Measured against edits of 20 to 5,000 rows, for q = 51, 61, 201 and 401: up to 7 times
# as fast below these limits, as fast near them, and 0.6 to 0.9 times as fast above.
_MOST_ENTRIES = 2**16
# Accuracy: `Downdate.remaining` from which Woodbury's identity is used. It divides
# rounding errors by it, so that about 11 digits are left here.
_LEAST_REMAINING = 1e-5
# Cost: most steps with the Hessian of all rows. Measured on breast_cancer and on 400
# rows of 300 columns: 2 take up to nine times as long in all, because more units need
# an edit then, and 8 are no faster.
_MOST_STEPS = 4
# Rounding: a change of fewer units in the last place than one is none; and the least
# number that is divided by.
_EPS, _TINY = np.finfo(float).eps, np.finfo(float).tiny


class OptimaWithoutRows:
    """Optima without units of rows, from a Hessian at an iterate.

    Parameters
    ----------
    problem : Problem
        Of all rows.
    iterate : ndarray of shape (n_outputs, n_dof)
    gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
        Of the data term at the iterate.
    curvature : Curvature
        At the iterate.
    tol : float
        Largest error of an optimum that needs no further step: see `without`.
    """

    def __init__(self, problem, iterate, gradient_sums, curvature, tol):
        self._problem = problem
        self._iterate = iterate
        self._gradient_sums = gradient_sums
        self._curvature = curvature
        self._tol = tol
        objective = problem.objective
        self._basis = objective.loss.to_outputs(np.eye(objective.loss.n_coordinates))
        # Where each row is among the rows of the problem, by storage index.
        self._place = np.zeros(len(objective.weight), np.int64)
        self._place[problem.indices] = np.arange(len(problem.indices))

    @property
    def is_exact(self):
        """Whether the Hessian is nonsingular in working precision."""
        return self._curvature.hessian.is_exact

    def block_size(self, size):
        """How many units of so many rows make a block; 0 where they are too large."""
        n_roots = size * self._problem.objective.n_curvatures
        n_entries = n_roots * self._problem.penalty.size
        if n_entries > max(_MOST_ENTRIES, self._curvature.hessian.order**2):
            return 0
        return min(max(_ENTRIES // n_entries, 1), _MOST_UNITS)

    def norms(self, changes):
        """Norms of changes (n, n_outputs, n_dof) in the metric of the Hessian."""
        return self._curvature.hessian.norms(self._vectors(changes))

    def without(self, index, group_weight):
        """Optima without each unit of a block.

        Parameters
        ----------
        index : ndarray of shape (n_units, size)
            Storage indices of the rows of each unit.
        group_weight : ndarray of shape (n_groups,)
            Factors of the groups' weights without a unit.

        Returns
        -------
        changes : ndarray of shape (n_units, n_outputs, n_dof)
            From the iterate.
        error : ndarray of shape (n_units,)
            Bound of the distance to the optimum, as a fraction of the length of the
            change. Infinite where nothing is certain, NaN where too little of the
            Hessian remains for a solution.
        """
        shape = len(index), *self._problem.penalty.shape
        changes, error = np.full(shape, np.nan), np.full(len(index), np.nan)
        hessian, objective = self._curvature.hessian, self._problem.objective
        if not np.array_equal(group_weight, hessian.group_weight):
            hessian = Hessian(hessian.sums, group_weight, hessian.penalty)
        block = Downdate(objective, hessian, self._iterate, index)
        solved = block.remaining >= _LEAST_REMAINING
        if solved.any():
            if not solved.all():
                block = block.some(solved)
            changes[solved], error[solved] = self._steps(block)
        return self._by_output(changes), error

    @np.errstate(over="ignore", invalid="ignore")  # what overflows has no bound
    def _steps(self, block):
        """Changes and errors of a block: a step, and further ones where needed."""
        data = np.tensordot(block.group_weight, self._gradient_sums, axes=1)
        gradients = self._gradients(data - block.gradients, self._iterate)
        changes = steps = -block.solve(gradients)
        if not (self._curvature.is_bounded and self.is_exact and block.is_exact):
            return changes, np.full(len(changes), np.inf)
        if self._curvature.is_quadratic:
            return changes, np.zeros(len(changes))
        error = self._errors(block, changes, gradients, steps)
        # 1) half a pass
        far = np.flatnonzero(error > self._tol)
        if not len(far):
            return changes, error
        some = block.some(far)
        along = self._along(some, steps[far])
        nearer = self._errors(
            some, changes[far], gradients[far], steps[far], along=along
        )
        error[far] = np.minimum(error[far], nearer)
        # 2) passes, for as long as the steps get shorter
        far = far[error[far] > self._tol]
        lengths = _lengths(gradients, steps)
        for _ in range(_MOST_STEPS):
            if not len(far):
                break
            some = block.some(far)
            gradients, moved = self._measure(some, changes[far])
            steps = -some.solve(gradients)
            changes[far] += steps
            error[far] = self._errors(some, changes[far], gradients, steps, moved)
            before, lengths[far] = lengths[far], _lengths(gradients, steps)
            far = far[(error[far] > self._tol) & (lengths[far] < before)]
        return changes, error

    def _errors(self, block, changes, gradients, steps, since=0.0, along=None):
        """Bounds of the distances to the optima after steps, as fractions of changes.

        They hold in the norm of ``H' - H_U``, where H' is the Hessian of all rows with
        the groups' factors of the block. If those are at least c times the factors in
        H, then ``H' - H_U`` is at least ``c * Downdate.remaining`` times H. The squares
        of leverages in its norm are at most those in the norm of H, divided by that.

        Parameters
        ----------
        block : Downdate
        changes, gradients, steps : ndarray of shape (n_units, n_systems, q)
            The changes from the iterate to the end of the steps, the steps, and the
            gradients that they were computed from.
        since : float or ndarray of shape (n_units,), default=0.0
            Largest change of a raw prediction from where H was taken to where the step
            begins.
        along : tuple of two ndarray of shape (n_units,), optional
            What `_along` returned for the steps. By default leverages bound it.
        """
        before = self._curvature.hessian.group_weight
        ratios = block.group_weight[before > 0] / before[before > 0]
        remaining = min(1.0, ratios.min()) * block.remaining
        # Where a group loses all its weight, leverages are infinite: nothing is known.
        growth = 1.0 / np.maximum(remaining, _TINY)
        leverages = self._curvature.leverage * np.sqrt(growth)
        lengths = _lengths(gradients, steps)
        if along is None:
            Q = over_groups(self._curvature.fourth_moment.sums, block.group_weight)
            largest = leverages * lengths
            fourth = np.sum(steps * (steps @ Q), axis=(1, 2)) * growth
        else:
            largest, fourth = along[0], along[1] / lengths**2
        left = certificate.gradient_after_step(
            lengths, largest / lengths, since, np.sqrt(np.maximum(fourth, 0.0))
        )
        distances, _ = certificate.distance_after_gradient(
            left, leverages, since + largest
        )
        # Where nothing but rounding changed, the iterate is the optimum. Changes that
        # are not finite are no such case.
        ways = block.norms(changes)
        norm = self._curvature.hessian.norm(self._problem.vectors(self._iterate))
        stayed = ways <= _EPS * norm
        return np.divide(distances, ways, out=np.zeros_like(ways), where=~stayed)

    def _along(self, block, steps):
        """How far steps move the raw predictions of the rows that stay: half a pass.

        Returns
        -------
        largest : ndarray of shape (n_units,)
            Largest range of the moves of a row's raw predictions.
        squares : ndarray of shape (n_units,)
            ``sum_i l_i''[a_i, a_i] osc(a_i)^2``: see `_optimum.certificate`.
        """
        loss = self._problem.objective.loss
        largest, squares = np.zeros((2, len(steps)))
        for rows in self._rows(block, self._by_output(steps)):
            index, X, moves, ranges, weight = rows
            np.maximum(largest, ranges.max(axis=1), out=largest)
            y = self._problem.objective.y[index]
            curvatures = loss.second_derivatives(X @ self._iterate.T, y)
            by_output = self._basis @ curvatures @ self._basis.T
            products = np.einsum("uij,ijk,uik->ui", moves, by_output, moves)
            products *= ranges**2
            squares += np.einsum("ui,ui->u", weight, products)
        return largest, squares

    def _measure(self, block, changes):
        """Gradients of the rows that stay, at the iterate of each unit: a pass.

        Returns
        -------
        gradients : ndarray of shape (n_units, n_systems, q)
        largest : ndarray of shape (n_units,)
            Largest range of what the raw predictions of a row changed by.
        """
        objective, changes = self._problem.objective, self._by_output(changes)
        data, largest = np.zeros_like(changes), np.zeros(len(changes))
        for rows in self._rows(block, changes):
            index, X, moves, ranges, weight = rows
            np.maximum(largest, ranges.max(axis=1), out=largest)
            raw = np.add(moves, X @ self._iterate.T, out=moves)
            flat = raw.reshape(-1, objective.n_outputs)
            y = np.concatenate([objective.y[index]] * len(changes))
            objective.loss.differentiate(flat, y, weight.ravel(), np.arange(len(flat)))
            data += raw.swapaxes(1, 2) @ X
        return self._gradients(data, self._iterate + changes), largest

    def _rows(self, block, changes):
        """The rows of the problem in blocks, as each unit's change moves them.

        Yields
        ------
        index : ndarray of shape (n_rows,)
            Storage indices.
        X : ndarray of shape (n_rows, n_dof)
        moves : ndarray of shape (n_units, n_rows, n_outputs)
            Of the raw predictions.
        ranges, weight : ndarray of shape (n_units, n_rows)
            Range of the moves of a row; its weight. Both are 0 for the unit's own rows.
        """
        objective, flat = self._problem.objective, changes.reshape(-1, changes.shape[2])
        own = self._place[block.index]
        size = max(1, _ENTRIES // max(objective.n_dof, len(flat)))
        for first in range(0, len(self._problem.indices), size):
            index = self._problem.indices[first : first + size]
            X = objective.extended(index)
            moves = (flat @ X.T).reshape(len(changes), -1, len(index))
            moves = np.ascontiguousarray(moves.swapaxes(1, 2))
            weight = np.tile(block.weights(index), (len(changes), 1))
            ranges = objective.loss.distances(moves.reshape(-1, objective.n_outputs))
            ranges = ranges.reshape(weight.shape)
            unit, row = np.nonzero((own >= first) & (own < first + len(index)))
            row = own[unit, row] - first
            ranges[unit, row] = weight[unit, row] = 0.0
            yield index, X, moves, ranges, weight

    def _gradients(self, data, iterates):
        """Gradients of the objective from those of the data term, by output."""
        return self._vectors(data) + self._problem.penalty * self._vectors(iterates)

    def _vectors(self, by_output):
        """`Problem.vectors` of many at once: (..., n_systems, q)."""
        vectors = self._basis.T @ by_output
        return vectors.reshape(*by_output.shape[:-2], *self._problem.penalty.shape)

    def _by_output(self, vectors):
        """The inverse of `_vectors`."""
        shape = len(vectors), self._basis.shape[1], self._problem.objective.n_dof
        return self._basis @ vectors.reshape(shape)


def _lengths(gradients, steps):
    """Lengths of steps ``-H^-1 g`` in the norm of H: (n_units,), not zero."""
    squares = -np.sum(gradients * steps, axis=(1, 2))
    return np.sqrt(np.maximum(squares, _TINY))
