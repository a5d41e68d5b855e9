"""Passes over the rows for many iterates at once, each without some of the rows.

Iterates are told by their changes from one that they have in common. Products are of
the rows with all of them, so that BLAS does the work.
"""

import numpy as np

# Entries of rows, or of raw predictions, in a block.
_BLOCK_ENTRIES = 2**18


class ManyIterates:
    """The rows of a problem, seen from an iterate and from others near to it.

    Parameters
    ----------
    problem : Problem
    iterate : ndarray of shape (n_outputs, n_dof)
    """

    def __init__(self, problem, iterate):
        self.problem = problem
        self.iterate = iterate
        self._place = np.zeros(len(problem.objective.weight), np.int64)
        self._place[problem.indices] = np.arange(len(problem.indices))

    def vectors(self, many):
        """`Problem.vectors` of many at once: (n, n_outputs, n_dof) to (n, ..., q)."""
        coordinates = self.problem.objective.loss.to_coordinates(many.swapaxes(0, 1))
        n_systems, q = self.problem.penalty.shape
        return coordinates.swapaxes(0, 1).reshape(len(many), n_systems, q)

    def by_output(self, many):
        """The inverse of `vectors`."""
        objective = self.problem.objective
        m = objective.loss.n_coordinates
        coordinates = many.reshape(len(many), m, objective.n_dof).swapaxes(0, 1)
        by_output = objective.loss.to_outputs(coordinates)
        return np.ascontiguousarray(by_output.swapaxes(0, 1))

    def gradients(self, data, iterates):
        """Gradients of F for each unit, from those of the data term by output."""
        iterates = np.broadcast_to(iterates, data.shape)
        return self.vectors(data) + self.problem.penalty * self.vectors(iterates)

    def measure(self, leaving, vectors, hessians_out=None):
        """Gradients of the rows that stay, each at its own iterate: a pass for each.

        Parameters
        ----------
        leaving : Leaving
            Those that do not stay.
        vectors : ndarray of shape (n_units, n_systems, q)
            From the common iterate.
        hessians_out : ndarray of shape (n_units, q, q), optional
            The data term's Hessians are added to it.

        Returns
        -------
        gradients : ndarray of shape (n_units, n_systems, q)
        moved : ndarray of shape (n_units,)
            Largest distance (`AbstractLoss.distances`) of a row.
        """
        objective, loss = self.problem.objective, self.problem.objective.loss
        changes = self.by_output(vectors)
        moved, total = np.zeros(len(changes)), np.zeros_like(changes)
        width = 1
        if hessians_out is not None:
            # Second derivatives are (m, m) matrices of every row, too.
            width = max(objective.n_dof, loss.n_curvatures)
        for block, X in self._row_blocks(len(changes) * objective.n_outputs * width):
            indices = self.problem.indices[block]
            raw, ranges, gone = self._moves(leaving, block, X, changes)
            np.maximum(moved, ranges.max(axis=1), out=moved)
            raw += X @ self.iterate.T
            counts = np.broadcast_to(leaving.factors(indices), raw.shape[:2]).copy()
            counts[gone] = 0.0
            if hessians_out is not None:
                weight = counts * objective.weight[indices]
                self._add_hessians(X, raw, objective.y[indices], weight, hessians_out)
            flat = raw.reshape(-1, raw.shape[2])
            of_units = np.tile(indices, len(changes))
            loss.differentiate(flat, objective.y, objective.weight, of_units)
            raw *= counts[:, :, np.newaxis]
            total += raw.swapaxes(1, 2) @ X
        return self.gradients(total, self.iterate + changes), moved

    def along(self, leaving, vectors):
        """What raw predictions of the rows that stay do along steps: half a pass.

        Returns the largest range that a row sees, and ``sum_i l_i''[a_i, a_i] osc_i^2``
        of `_certificate`, with second derivatives at the common iterate; for each unit.
        """
        objective, loss = self.problem.objective, self.problem.objective.loss
        changes = self.by_output(vectors)
        largest, squares = np.zeros((2, len(changes)))
        for block, X in self._row_blocks(len(changes) * objective.n_outputs):
            indices = self.problem.indices[block]
            moves, ranges, _ = self._moves(leaving, block, X, changes)
            np.maximum(largest, ranges.max(axis=1), out=largest)
            states = loss.hessian_state(X @ self.iterate.T, objective.y[indices])
            flat = moves.reshape(-1, moves.shape[2])
            bent = flat.copy()
            loss.hessian_product(bent, np.tile(states, (len(changes), 1)))
            bent = np.sum(bent * flat, axis=1).reshape(ranges.shape)
            weight = objective.weight[indices] * leaving.factors(indices)
            squares += (bent * ranges**2) @ weight
        return largest, squares

    def _add_hessians(self, X, raw, y, weight, hessians_out):
        """Add the Hessians of some rows at raw predictions of every unit."""
        n_units, n_rows, n_outputs = raw.shape
        loss, y = self.problem.objective.loss, np.concatenate([y] * n_units)
        curvatures = loss.second_derivatives(raw.reshape(-1, n_outputs), y)
        m, n_dof = curvatures.shape[1], X.shape[1]
        curvatures = curvatures.reshape(n_units, n_rows, m, m)
        blocks = hessians_out.reshape(n_units, m, n_dof, m, n_dof)
        for j, k in zip(*np.triu_indices(m), strict=True):
            scaled = (weight * curvatures[:, :, j, k])[:, np.newaxis] * X.T
            gram = scaled @ X
            blocks[:, j, :, k] += gram
            if j != k:
                blocks[:, k, :, j] += gram

    def _moves(self, leaving, block, X, changes):
        """Moves of raw predictions, (n_units, n_rows, n_outputs), and their ranges.

        Also where the rows are that do not stay: their ranges are 0.
        """
        moves = changes.reshape(-1, changes.shape[2]) @ X.T
        moves = moves.reshape(*changes.shape[:2], len(X)).swapaxes(1, 2)
        moves = np.ascontiguousarray(moves)
        loss = self.problem.objective.loss
        ranges = loss.distances(moves.reshape(-1, moves.shape[2]))
        ranges = ranges.reshape(moves.shape[:2])
        own = self._place[leaving.indices]
        inside = (own >= block.start) & (own < block.stop)
        gone = np.nonzero(inside)[0], own[inside] - block.start
        ranges[gone] = 0.0
        return moves, ranges, gone

    def _row_blocks(self, n_entries):
        """Slices of the rows and dense copies, few enough for so many entries each."""
        objective, indices = self.problem.objective, self.problem.indices
        size = max(1, _BLOCK_ENTRIES // max(objective.n_dof, n_entries))
        for first in range(0, len(indices), size):
            block = slice(first, min(first + size, len(indices)))
            yield block, objective.extended(indices[block])
