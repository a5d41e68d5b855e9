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

Leverages themselves cost about as much as the Hessian. A coarser bound (`bounds`) takes
a few products with every row. For a single output let ``M = K^2 H^-1``,
``D_j^2 = H_jj``, and ``D M D = sum_k t_k v_k v_k'`` with eigenvalues t_k. With
``z = D^-1 x`` and any number of the largest eigenvalues taken out,

    x'Mx <= t ||z||^2 + sum_k (t_k - t) (v_k'z)^2,    t the largest of the others.

Columns that do not correlate make all t_k near 1, and dummy variables make a few of
them large: with these taken out, the bound is not much above the leverage. Where very
many are large, or outputs are coupled, a diagonal bounds M instead (`_dominating`).
"""

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from .._utils import threads

# Cost: up to so many pairs of outputs, those of 32 classes, all are computed.
_MOST_PAIRS = 496
# Accuracy: eigenvalues above the first number are taken out, so that squares of
# leverages are about as many times too large at most. If one above the second number
# were left, the diagonal is as good.
_LARGE_EIGENVALUE, _TOO_LARGE = 2.0, 10.0
# Cost: at most this fraction of the eigenvalues are taken out. A product with a row for
# each of them then costs a quarter of what the leverages do.
_MOST_LARGE = 0.25
# Rounding: of an eigenvalue, in units in the last place of the largest one.
_ERROR_OF_EIGENVALUE = 16 * np.finfo(float).eps
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
        self._spreads = hessian.spreads()[0]
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

    def bounds(self, objective, indices):
        """Bound the leverages of stored rows by a few products with every row.

        Parameters
        ----------
        objective : DataTerm
        indices : ndarray of shape (n_rows,)

        Returns
        -------
        bounds : ndarray of shape (n_rows,)
        """
        directions = None
        if len(self._metrics) == 1:
            scale, directions = _few_directions(self._metrics[0], self._spreads)
        if directions is None:
            scale = np.max([_dominating(metric) for metric in self._metrics], axis=0)
            # The value of a pair is at most (sqrt(S_jj) + sqrt(S_kk))^2.
            scale = scale if self.is_exact else 4.0 * scale
        squares = objective.scaled_squares(indices, scale)
        if directions is not None and len(directions):
            size = max(1, _BLOCK_BYTES // (8 * len(directions)))
            for first in range(0, len(indices), size):
                some = slice(first, first + size)
                along = objective.raw_predictions(directions, indices[some])
                squares[some] += np.einsum("ij,ij->i", along, along)
        return np.sqrt(squares, out=squares)

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
            return np.sqrt(squares, out=squares)
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


def _few_directions(metric, spreads):
    """Return a diagonal and vectors for `Leverages.bounds`; None for too many vectors.

    Returns
    -------
    scale : ndarray of shape (n_dof,)
    directions : ndarray of shape (n_directions, n_dof) or None
        ``x'Mx <= sum_j scale_j x_j^2 + sum_k (directions_k'x)^2``.
    """
    values, vectors = np.linalg.eigh(metric * np.outer(spreads, spreads))
    values = values + _ERROR_OF_EIGENVALUE * values[-1]
    n_large = np.count_nonzero(values > _LARGE_EIGENVALUE)
    n_left = len(values) - min(n_large, int(_MOST_LARGE * len(values)))
    rest = values[n_left - 1]
    if not rest <= _TOO_LARGE:
        return None, None
    root = np.sqrt(values[n_left:] - rest)
    return rest / spreads**2, (root * vectors[:, n_left:]).T / spreads


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
