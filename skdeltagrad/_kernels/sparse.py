"""Products of sparse rows, read in place by their slot numbers.

The rows are those of a CSR matrix, except that every row keeps its own start and
length: a row can then be struck out, or added at the end, without moving the others.

============ ============================ ======================================
argument     shape                        meaning
============ ============================ ======================================
data         (n_stored,)                  values, float64 or float32
indices      (n_stored,)                  their columns
starts       (n_slots,)                   where each row begins in the two above
lengths      (n_slots,)                   how many entries it has
slots        (n_rows,)                    which rows to read, in which order
coef         (n_dof, n_outputs)           iterate, FEATURES FIRST, so that one
                                          stored entry meets its n_outputs
                                          coefficients side by side in memory;
                                          rows from n_features on are not read
intercept    (n_outputs,)                 added to every row's product
pointwise    (n_rows, n_outputs)          one number per row and output
*_out        as stated                    OUT: results
============ ============================ ======================================

A single output has a branch of its own: the inner loop over one output is a third of
the time otherwise.
"""

from numba import njit


@njit(nogil=True, cache=True)
def matvec(data, indices, starts, lengths, slots, coef, intercept, raw_out):
    """``raw_out[i] = x[slots[i]] @ coef + intercept``, shape (n_rows, n_outputs)."""
    n_outputs = coef.shape[1]
    if n_outputs == 1:
        column = coef[:, 0]
        for i in range(slots.shape[0]):
            first = starts[slots[i]]
            total = intercept[0]
            for s in range(first, first + lengths[slots[i]]):
                total += data[s] * column[indices[s]]
            raw_out[i, 0] = total
        return
    for i in range(slots.shape[0]):
        first = starts[slots[i]]
        out = raw_out[i]
        for k in range(n_outputs):
            out[k] = intercept[k]
        for s in range(first, first + lengths[slots[i]]):
            value = data[s]
            row = coef[indices[s]]
            for k in range(n_outputs):
                out[k] += value * row[k]


@njit(nogil=True, cache=True)
def rmatvec(data, indices, starts, lengths, slots, pointwise, gradient_out):
    """``gradient_out[j, k] += sum_i pointwise[i, k] * x[slots[i], j]``.

    `gradient_out` has shape (n_dof, n_outputs), features first like `coef`.
    """
    n_outputs = pointwise.shape[1]
    if n_outputs == 1:
        column = gradient_out[:, 0]
        for i in range(slots.shape[0]):
            first = starts[slots[i]]
            value = pointwise[i, 0]
            for s in range(first, first + lengths[slots[i]]):
                column[indices[s]] += value * data[s]
        return
    for i in range(slots.shape[0]):
        first = starts[slots[i]]
        point = pointwise[i]
        for s in range(first, first + lengths[slots[i]]):
            value = data[s]
            row = gradient_out[indices[s]]
            for k in range(n_outputs):
                row[k] += value * point[k]


@njit(nogil=True, cache=True)
def column_moments(data, indices, starts, lengths, slots, weight, sum_out, square_out):
    """Add ``weight * x`` and ``weight * x^2`` of the rows to the two sums.

    `weight` has shape (n_rows,): one weight per entry of `slots`.
    """
    for i in range(slots.shape[0]):
        first = starts[slots[i]]
        for s in range(first, first + lengths[slots[i]]):
            wx = weight[i] * data[s]
            sum_out[indices[s]] += wx
            square_out[indices[s]] += wx * data[s]


@njit(nogil=True, cache=True)
def squared_distances(data, indices, starts, lengths, slots, centre, distance_out):
    """``distance_out[i] = ||x[slots[i]] - centre||^2``, centre of shape (n_features,).

    ``||x - c||^2 = ||c||^2 + sum over stored entries of (x - c)^2 - c^2``.
    """
    centre_squared = 0.0
    for j in range(centre.shape[0]):
        centre_squared += centre[j] * centre[j]
    for i in range(slots.shape[0]):
        first = starts[slots[i]]
        total = centre_squared
        for s in range(first, first + lengths[slots[i]]):
            c = centre[indices[s]]
            difference = data[s] - c
            total += difference * difference - c * c
        distance_out[i] = total
