"""Products of sparse rows, read in place.

The rows are those of a CSR matrix, except that every row keeps its own start and
length: a row can then be struck out, or added at the end, without moving the others.

============== ==================== ============================================
argument       shape                meaning
============== ==================== ============================================
data           (n_stored,)          values, float64 or float32
column_indices (n_stored,)          their columns
starts         (n_stored,)          where each row begins in the two above
lengths        (n_stored,)          number of entries of each row
indices        (n_rows,)            storage indices of the rows to read
coef           (n_dof, n_outputs)   iterate, FEATURES FIRST, so that the n_outputs
                                    coefficients of a stored entry are side by
                                    side in memory; rows from n_features on are
                                    not read
intercept      (n_outputs,)         added to every row's product
pointwise      (n_rows, n_outputs)  one number for each row and output
*_out          as stated            OUT: results
============== ==================== ============================================

A single output has a branch of its own: the inner loop over one output is a third of
the time otherwise. Columns are read as unsigned numbers, or else every one is checked
for being negative (counted from the end), at twice the time.
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def matvec(data, column_indices, starts, lengths, indices, coef, intercept, raw_out):
    """``raw_out[i] = x[indices[i]] @ coef + intercept``, shape (n_rows, n_outputs)."""
    n_outputs = coef.shape[1]
    single = coef.reshape(coef.size)
    for i in range(indices.shape[0]):
        first = starts[indices[i]]
        values = data[first : first + lengths[indices[i]]]
        columns = column_indices[first : first + lengths[indices[i]]]
        out = raw_out[i]
        if n_outputs == 1:
            total = 0.0
            for s in range(values.shape[0]):
                total += values[s] * single[np.uintp(columns[s])]
            out[0] = total + intercept[0]
        else:
            for k in range(n_outputs):
                out[k] = intercept[k]
            for s in range(values.shape[0]):
                row = coef[np.uintp(columns[s])]
                for k in range(n_outputs):
                    out[k] += values[s] * row[k]


@njit(nogil=True, cache=True)
def rmatvec(data, column_indices, starts, lengths, indices, pointwise, gradient_out):
    """``gradient_out[j, k] += sum_i pointwise[i, k] * x[indices[i], j]``.

    `gradient_out` has shape (n_dof, n_outputs), features first like `coef`.
    """
    n_outputs = pointwise.shape[1]
    single = gradient_out.reshape(gradient_out.size)
    for i in range(indices.shape[0]):
        first = starts[indices[i]]
        values = data[first : first + lengths[indices[i]]]
        columns = column_indices[first : first + lengths[indices[i]]]
        point = pointwise[i]
        if n_outputs == 1:
            for s in range(values.shape[0]):
                single[np.uintp(columns[s])] += point[0] * values[s]
        else:
            for s in range(values.shape[0]):
                row = gradient_out[np.uintp(columns[s])]
                for k in range(n_outputs):
                    row[k] += values[s] * point[k]


@njit(nogil=True, cache=True)
def column_moments(
    data,
    column_indices,
    starts,
    lengths,
    indices,
    weight,
    shift,
    count_out,
    sum_out,
    square_out,
):
    """Add 1 (where d is not 0), ``weight * d`` and ``weight * d^2``, d = x - shift.

    `weight` has shape (n_rows,): one weight per entry of `indices`; `shift` has shape
    (n_features,). Entries that are not stored are 0 as well: in columns that are
    shifted they are told by the weight of those that are.
    """
    total = 0.0
    stored = np.zeros(shift.shape[0], np.int64)
    stored_weight = np.zeros(shift.shape[0])
    for i in range(indices.shape[0]):
        first = starts[indices[i]]
        total += weight[i]
        for s in range(first, first + lengths[indices[i]]):
            j = np.uintp(column_indices[s])
            d = data[s] - shift[j]
            wd = weight[i] * d
            count_out[j] += d != 0.0
            sum_out[j] += wd
            square_out[j] += wd * d
            stored[j] += 1
            stored_weight[j] += weight[i]
    for j in range(shift.shape[0]):
        if shift[j] != 0.0 and stored[j] < indices.shape[0]:
            rest = total - stored_weight[j]
            count_out[j] += indices.shape[0] - stored[j]
            sum_out[j] -= rest * shift[j]
            square_out[j] += rest * shift[j] * shift[j]


@njit(nogil=True, cache=True)
def squared_distances(
    data, column_indices, starts, lengths, indices, centre, scale, distance_out
):
    """``distance_out[i] = sum_j scale[j] (x[indices[i], j] - centre[j])^2``.

    That of a row of zeros, and over the stored entries of (x - c)^2 - c^2; centre and
    scale have shape (n_features,).
    """
    centre_squared = 0.0
    for j in range(centre.shape[0]):
        centre_squared += scale[j] * centre[j] * centre[j]
    for i in range(indices.shape[0]):
        first = starts[indices[i]]
        total = centre_squared
        for s in range(first, first + lengths[indices[i]]):
            c = centre[column_indices[s]]
            difference = data[s] - c
            total += scale[column_indices[s]] * (difference * difference - c * c)
        distance_out[i] = total


@njit(nogil=True, cache=True)
def gram(
    data,
    column_indices,
    starts,
    lengths,
    indices,
    weight,
    centre,
    far,
    gram_out,
    sum_out,
):
    """Add ``weight[i] (x_i - c)(x_i - c)'`` and ``weight[i] (x_i - c)`` of the rows.

    The centre is subtracted entry by entry, in the columns `far` where it is not 0:
    (x - c)(x - c)' has other digits than xx' - cx' - xc' + cc'.

    ========== ========================= ===========================================
    weight     (n_rows,)                 one for each of `indices`
    centre     (n_features,)             c
    far        (n_far,)                  columns where c is not 0, ascending
    gram_out   (n_features, n_features)  OUT: the lower triangle
    sum_out    (n_features,)             OUT
    ========== ========================= ===========================================
    """
    n_far = far.shape[0]
    place = np.full(centre.shape[0], -1)
    for f in range(n_far):
        place[far[f]] = f
    columns = np.empty(centre.shape[0], np.int64)
    values = np.empty(centre.shape[0])
    columns[:n_far] = far
    for i in range(indices.shape[0]):
        first = starts[indices[i]]
        for f in range(n_far):
            values[f] = -centre[far[f]]
        size = n_far
        for s in range(first, first + lengths[indices[i]]):
            column = np.uintp(column_indices[s])
            if place[column] >= 0:
                values[place[column]] += data[s]
            else:
                columns[size] = column_indices[s]
                values[size] = data[s]
                size += 1
        for s in range(size):
            wx = weight[i] * values[s]
            here = columns[s]
            sum_out[here] += wx
            for t in range(s + 1):
                there = columns[t]
                if there <= here:
                    gram_out[np.uintp(here), np.uintp(there)] += wx * values[t]
                else:
                    gram_out[np.uintp(there), np.uintp(here)] += wx * values[t]
