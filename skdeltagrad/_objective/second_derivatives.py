"""Sums of second derivatives over rows, in blocks and parts of a bounded size.

Two ways to the Hessian of some rows, ``sum_i w_i l_i'' (x) x_i x_i'``:

few coordinates
    A sum of weighted outer products for every pair of coordinates (`add_grams`).
many coordinates and not many more columns
    A multinomial row's second derivative is ``Q'(diag(p) - p p')Q``, so that

        sum_i w_i l_i'' (x) x_i x_i'
            = sum_k Q_k Q_k' (x) (sum_i w_i p_ik x_i x_i')  -  sum_i w_i g_i g_i',

    with ``g_i = Q'p_i (x) x_i``: one product of matrices with the shape of the Hessian,
    where the first way makes (n_classes - 1)^2 / 2 of the shape of the rows.
"""

import numpy as np
from scipy.linalg import blas

from .._utils import threads

# Cost: bytes of the arrays that a thread computes from a block of rows, and limits of
# the number of rows. Larger blocks are not faster, as none of them fits into the cache.
_BLOCK_BYTES = 2**25
_MOST_IN_BLOCK = 2**14
_LEAST_IN_BLOCK = 2**4
# Cost: largest number of columns for each coordinate with which the second way is
# taken. With more columns the first one was measured to be up to twice as fast.
_MOST_OF_FACTORED = 2
# Cost: how many arrays of the size of a row's second derivative computing it takes.
_N_TEMPORARY = 5
# Cost: sums of outer products are computed in parts, one for each thread at a time. A
# part takes at least _PART_WORK multiplications and _LEAST_GRAM_PART rows, and the sums
# of all parts have at most _GRAM_BUFFERS entries. Fewer parts than _FEWEST_GRAM_PARTS
# gain less than the threads of BLAS.
_MAX_PARTS = 16
_PART_WORK = 2**19
_GRAM_BUFFERS = 2**22
_LEAST_GRAM_PART = 2**7
_FEWEST_GRAM_PARTS = 4
# Rounding: of an entry of Q'DQ, relative to the largest entry of D.
_ROUNDING = 4.0 * np.finfo(float).eps


def blocks(n_rows, entries_per_row):
    """Cut rows into slices whose arrays take a bounded number of bytes.

    Parameters
    ----------
    n_rows : int
    entries_per_row : int
        Numbers in float64 that are computed for each row.

    Returns
    -------
    blocks : list of slice
    """
    size = _BLOCK_BYTES // (8 * max(1, entries_per_row))
    size = min(max(size, _LEAST_IN_BLOCK), _MOST_IN_BLOCK)
    return [slice(first, min(first + size, n_rows)) for first in range(0, n_rows, size)]


def curvature_blocks(n_rows, loss):
    """Cut rows into slices of which all second derivatives are computed at once."""
    order = loss.n_curvatures
    return blocks(n_rows, _N_TEMPORARY * order**2 + 3 * loss.n_outputs)


def add_grams(rows, indices, weigh, n_weighed, shift, grams_out):
    """Add ``sum_i weigh(i)_g x_i x_i'`` to matrices g.

    Parameters
    ----------
    rows : AbstractRows
    indices : ndarray of shape (n_rows,)
    weigh : callable
        ``weigh(block)`` gives the weights of a slice of the rows, shape
        (n_grams, n_rows); may run in several threads.
    n_weighed : int
        Numbers in float64 that `weigh` computes for each row.
    shift : ndarray of shape (n_features,) or None
        See `AbstractRows.add_grams`.
    grams_out : ndarray of shape (n_grams, n_dof, n_dof)
    """

    def add(some, sums):
        for block in blocks(some.stop - some.start, n_weighed):
            block = slice(some.start + block.start, some.start + block.stop)
            rows.add_grams(indices[block], weigh(block), shift, sums)

    work = rows.n_entries(indices) * grams_out.shape[-1] * len(grams_out)
    _in_parts(len(indices), work, add, grams_out)


def add_hessians(rows, indices, y, weigh_rows, loss, raw_of, shift, total_out):
    """Add ``sum_i w_i l_i'' (x) x_i x_i'`` to a matrix, the faster way.

    Parameters
    ----------
    rows : AbstractRows
    indices : ndarray of shape (n_rows,)
    y : ndarray
        Targets of all stored rows, read by storage index.
    weigh_rows : callable
        ``weigh_rows(block)`` gives the weights w of a slice of the rows, shape
        (n_rows,); they may be negative.
    loss : AbstractLoss
    raw_of : callable
        ``raw_of(indices)`` gives the raw predictions of rows, (n_rows, n_outputs).
    shift : ndarray of shape (n_features,) or None
        See `AbstractRows.extended`.
    total_out : ndarray of shape (q, q), q = n_curvatures * n_dof
        In C order; symmetric, before and after.
    """
    m = loss.n_curvatures
    n_dof = len(total_out) // m
    if loss.is_factored and n_dof <= _MOST_OF_FACTORED * m:
        _add_factored(rows, indices, y, weigh_rows, loss, raw_of, shift, total_out)
        return
    upper = np.triu_indices(m)

    def weigh(block):
        some = indices[block]
        weights = loss.second_derivatives(raw_of(some), y[some])[:, *upper]
        weights *= weigh_rows(block)[:, np.newaxis]
        return np.ascontiguousarray(weights.T)

    n_made = _N_TEMPORARY * m**2 + 3 * loss.n_outputs
    if m == 1:
        add_grams(rows, indices, weigh, n_made, shift, total_out[np.newaxis])
        return
    grams = np.zeros((len(upper[0]), n_dof, n_dof))
    add_grams(rows, indices, weigh, n_made, shift, grams)
    by_coordinate = total_out.reshape(m, n_dof, m, n_dof)
    for j, k, gram in zip(*upper, grams, strict=True):
        by_coordinate[j, :, k] += gram
        if j != k:
            by_coordinate[k, :, j] += gram


def _add_factored(rows, indices, y, weigh_rows, loss, raw_of, shift, total_out):
    """Do the same as `add_hessians` from factors of the second derivatives."""
    m, order = loss.n_coordinates, len(total_out)
    n_dof = order // m
    upper = np.triu_indices(n_dof)
    n_made = 4 * loss.n_outputs + 3 * order + 3 * len(upper[0])

    # Both sums in one array: of the products g g', of which only one triangle is made,
    # and of the outer products of rows for every class.
    def add(some, sums):
        lower, by_class = sums[: order * order], sums[order * order :]
        lower = lower.reshape(order, order)
        by_class = by_class.reshape(loss.n_outputs, -1)
        for block in blocks(some.stop - some.start, n_made):
            block = slice(some.start + block.start, some.start + block.stop)
            X = rows.extended(indices[block], shift)
            probability, mean = loss.second_derivative_factors(
                raw_of(indices[block]), y[indices[block]]
            )
            mine = weigh_rows(block)
            by_class += (probability * mine[:, np.newaxis]).T @ (
                X[:, upper[0]] * X[:, upper[1]]
            )
            scaled = np.sqrt(np.abs(mine))[:, np.newaxis] * mean
            for sign in (1.0, -1.0):
                signed = sign * mine > 0.0
                if signed.any():
                    g = scaled[signed, :, np.newaxis] * X[signed, np.newaxis]
                    blas.dsyrk(
                        -sign, g.reshape(len(g), order).T, beta=1.0, c=lower.T,
                        overwrite_c=True,
                    )  # fmt: skip

    sums = np.zeros(order * order + loss.n_outputs * len(upper[0]))
    work = len(indices) * order**2
    _in_parts(len(indices), work, add, sums)
    lower = sums[: order * order].reshape(order, order)
    by_class = sums[order * order :].reshape(loss.n_outputs, -1)
    _add_symmetric(lower, total_out)
    by_coordinate = total_out.reshape(m, n_dof, m, n_dof)
    for i, j, diagonal in zip(*upper, by_class.T, strict=True):
        part = loss.to_second_derivative(diagonal)
        # Equally likely classes do not couple coordinates, but for rounding.
        small = np.abs(part) <= _ROUNDING * np.abs(diagonal).max(initial=0.0)
        np.fill_diagonal(small, False)
        part[small] = 0.0
        by_coordinate[:, i, :, j] += part
        if i != j:
            by_coordinate[:, j, :, i] += part


def _in_parts(n_rows, work, add, sums_out):
    """Call ``add(slice, sums)`` for parts of the rows, in threads, and add the sums.

    How the rows are cut does not depend on the number of threads.
    """
    n_parts = min(
        _MAX_PARTS, work // _PART_WORK, _GRAM_BUFFERS // max(1, sums_out.size),
        n_rows // _LEAST_GRAM_PART,
    )  # fmt: skip
    if n_parts < _FEWEST_GRAM_PARTS:  # BLAS does the large ones in threads
        add(slice(0, n_rows), sums_out)
        return
    bounds = [n_rows * i // n_parts for i in range(n_parts + 1)]
    sums = np.zeros((n_parts, *sums_out.shape))
    with threads.blas_for(order=1):  # for every part has a thread
        threads.run(
            lambda number: add(slice(bounds[number], bounds[number + 1]), sums[number]),
            n_parts,
        )
    for part in sums:
        sums_out += part


def _add_symmetric(lower, total_out, size=256):
    """Add a symmetric matrix, given by its lower triangle, in place."""
    for first in range(0, len(lower), size):
        block = slice(first, first + size)
        total_out[block, :first] += lower[block, :first]
        total_out[:first, block] += lower[block, :first].T
        corner = np.tril(lower[block, block])
        total_out[block, block] += corner + np.tril(corner, -1).T
