"""Leverages of rows: how much a step of length 1 can change their raw predictions.

The leverage of a row x is the largest ``||(e_j - e_k) (x) x||_{H^-1}`` over all pairs
of outputs (of a single output, its own), times the constant K of a self-concordant loss
(see `certificate`, which needs an upper bound of it).

A few outputs have few pairs, and the maximum is computed. With many classes that would
take longer than the Hessian itself, and the bound below is nearly as good: measured at
33 to 200 classes, the largest leverage is at most 8% too large. Let ``V_jk`` be the
blocks of K^2 H^-1 by outputs, of shape (n_dof, n_dof), and ``S_jk = x'V_jk x``. The
square of a leverage is

    max over pairs of   S_jj + S_kk - 2 S_jk.

The matrix S is positive semi-definite, so that the value of a pair is at most
``(sqrt(S_jj) + sqrt(S_kk))^2``. Let further D be the mean of the ``V_jj``, D = CC', and
t the largest eigenvalue of ``-C^-1 (V_jk + V_jk')/2 C^-T`` over all pairs. Then
``-S_jk <= t x'Dx``, and the value is at most ``S_jj + S_kk + 2 t x'Dx``. Both bounds
increase with the diagonal of S: its two largest entries bound all pairs at once.

The lower bound uses that the rows of S sum to zero, because the coordinates do not
contain what all outputs have in common. The mean over k of the values of the pairs of
the largest diagonal entry ``S_jj`` is therefore ``S_jj (1 + 2 / (n_outputs - 1))`` plus
the mean of the other diagonal entries, and the largest value is at least that.
"""

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from .._utils import threads

# Cost: up to so many pairs of outputs, those of 32 classes, all are computed.
_MOST_PAIRS = 496
# Cost: bytes of temporary arrays, and rows, that are processed at a time.
_BLOCK_BYTES = 2**25
_BLOCK_ROWS = 2**12


class Leverages:
    """Upper bounds of leverages in the norm of a Hessian's inverse.

    Parameters
    ----------
    hessian : Hessian
    loss : AbstractLoss
    n_dof : int

    Attributes
    ----------
    is_exact : bool
        Whether the bounds are the leverages themselves.
    """

    def __init__(self, hessian, loss, n_dof):
        # K enters here: all that follows are norms in this metric.
        inverse = hessian.inverse() * loss.distance_scale**2
        m = len(inverse) // n_dof
        n_pairs = loss.n_outputs * (loss.n_outputs - 1) // 2
        self.is_exact = m == 1 or n_pairs <= _MOST_PAIRS
        blocks = inverse.reshape(m, n_dof, m, n_dof)
        if self.is_exact:
            self._metrics = _along(blocks, loss.contrasts())
            return
        by_output = _by_output(blocks, loss)
        del inverse, blocks
        outputs = np.arange(loss.n_outputs)
        self._metrics = by_output[outputs, :, outputs]
        self._joint = _largest_joint(by_output, self._metrics.mean(axis=0))

    def dominating(self):
        """Return a diagonal r: no leverage is above ``sqrt(sum_j r_j x_j^2)``.

        Returns
        -------
        r : ndarray of shape (n_dof,)
        """
        largest = np.max([_dominating(metric) for metric in self._metrics], axis=0)
        # The value of a pair is at most (sqrt(S_jj) + sqrt(S_kk))^2.
        return largest if self.is_exact else 4.0 * largest

    def of_rows(self, objective, indices, from_below=False):
        """Bound the leverages of stored rows, block by block in threads.

        Parameters
        ----------
        objective : DataTerm
        indices : ndarray of shape (n_rows,)
        from_below : bool, default=False
            See `of`.

        Returns
        -------
        leverages : ndarray of shape (n_rows,)
        """
        n_made = 4 * objective.n_dof
        if not self.is_exact:
            n_made += objective.n_dof**2 + 2 * len(self._metrics)
        size = min(max(_BLOCK_BYTES // (8 * n_made), 1), _BLOCK_ROWS)
        of_rows = objective.numbers(len(indices))

        def take(number):
            block = slice(number * size, (number + 1) * size)
            of_rows[block] = self.of(objective.extended(indices[block]), from_below)

        threads.run(take, -(-len(indices) // size))
        return of_rows

    def of(self, X, from_below=False):
        """Bound the leverage of each row from above.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_dof)
        from_below : bool, default=False
            Whether to bound it from below instead. Both are the same if `is_exact`.

        Returns
        -------
        leverages : ndarray of shape (n_rows,)
        """
        if self.is_exact:
            squares = np.zeros(len(X))
            for metric in self._metrics:
                along = np.einsum("ij,ij->i", X @ metric, X)
                np.maximum(squares, along, out=squares)
            return np.sqrt(squares)
        n_outputs = len(self._metrics)
        outer = (X[:, :, np.newaxis] * X[:, np.newaxis]).reshape(len(X), -1)
        diagonal = outer @ self._metrics.reshape(n_outputs, -1).T
        np.maximum(diagonal, 0.0, out=diagonal)
        total = diagonal.sum(axis=1)
        if from_below:
            largest = diagonal.max(axis=1)
            squares = (n_outputs + 1.0) * largest + (total - largest)
            return np.sqrt(squares / (n_outputs - 1.0))
        two = np.partition(diagonal, -2, axis=1)[:, -2:]
        squares = np.sqrt(two).sum(axis=1) ** 2
        if self._joint is not None:
            joint = two.sum(axis=1) + 2.0 * self._joint * total / n_outputs
            squares = np.minimum(squares, joint)
        return np.sqrt(np.maximum(squares, 0.0))


def _dominating(metric):
    """Return a diagonal r with ``x'Mx <= sum_j r_j x_j^2``, shape (n_dof,).

    For any positive s, ``|M_jk x_j x_k| <= |M_jk| (s_k / s_j x_j^2 + s_j / s_k x_k^2) /
    2``; summed over j and k, ``r_j = sum_k |M_jk| s_k / s_j``. Here ``s_j`` is
    ``1 / sqrt(M_jj)``, which makes it exact for a diagonal M, whatever the columns'
    scales.
    """
    s = 1.0 / np.sqrt(metric.diagonal())
    return (np.abs(metric) @ s) / s


def _along(blocks, contrasts):
    """Return the inverse along contrasts: (n_contrasts, n_dof, n_dof)."""
    m, n_dof = blocks.shape[:2]
    metrics = np.empty((len(contrasts), n_dof, n_dof))
    size = max(1, _BLOCK_BYTES // (8 * m * n_dof**2))
    for first in range(0, len(contrasts), size):
        some = slice(first, first + size)
        half = np.tensordot(contrasts[some], blocks, axes=(1, 0))
        metrics[some] = np.einsum("ciaj,ca->cij", half, contrasts[some])
    return metrics


def _by_output(blocks, loss):
    """Return the inverse by outputs: (n_outputs, n_dof, n_outputs, n_dof)."""
    n_dof = blocks.shape[1]
    found = np.empty((loss.n_outputs, n_dof, loss.n_outputs, n_dof))
    for i in range(n_dof):
        for j in range(n_dof):
            half = loss.to_outputs(blocks[:, i, :, j])
            found[:, i, :, j] = loss.to_outputs(half.T).T
    return found


def _largest_joint(by_output, mean):
    """Return t of the module's docstring; None if D cannot be factorised."""
    try:
        factor = cholesky(mean, lower=True)
    except np.linalg.LinAlgError:
        return None
    n_outputs, n_dof = by_output.shape[:2]
    whiten = solve_triangular(factor, np.eye(n_dof), lower=True)
    largest = -np.inf
    first, second = np.triu_indices(n_outputs, 1)
    size = max(1, _BLOCK_BYTES // (4 * 8 * n_dof**2))
    for start in range(0, len(first), size):
        some = slice(start, start + size)
        block = by_output[first[some], :, second[some]]
        block = whiten @ (-0.5 * (block + block.swapaxes(1, 2))) @ whiten.T
        largest = max(largest, float(np.linalg.eigvalsh(block)[:, -1].max()))
    return largest
