"""Derivatives of the losses at given raw predictions, written over them.

=========== ======================= ==============================================
argument    shape                   meaning
=========== ======================= ==============================================
raw         (n_rows, n_outputs)     IN: raw predictions; OUT: weight times the
                                    derivative of the loss, called `pointwise`
y           (n_stored,) class codes of all stored rows, read by storage index
            or (n_stored, n_outputs)
weight      (n_stored,)             sample weights of all stored rows
indices     (n_rows,)               storage indices of the rows of `raw`
=========== ======================= ==============================================
"""

import math

from numba import njit


@njit(nogil=True, cache=True)
def binomial(raw, y, weight, indices):
    """``w (sigmoid(z) - y)``, y in {0, 1}, without cancellation at either end."""
    for i in range(indices.shape[0]):
        index = indices[i]
        z = raw[i, 0]
        small = math.exp(-abs(z))
        likelier = 1.0 / (1.0 + small)
        unlikelier = small / (1.0 + small)
        if y[index] == 1:
            raw[i, 0] = -weight[index] * (unlikelier if z >= 0.0 else likelier)
        else:
            raw[i, 0] = weight[index] * (likelier if z >= 0.0 else unlikelier)


@njit(nogil=True, cache=True)
def multinomial(raw, y, weight, indices):
    """``w (softmax(z)_k - 1[y = k])`` for every class k."""
    n_outputs = raw.shape[1]
    for i in range(indices.shape[0]):
        index = indices[i]
        row = raw[i]
        largest = row[0]
        for k in range(1, n_outputs):
            largest = max(largest, row[k])
        others = 0.0
        for k in range(n_outputs):
            row[k] = math.exp(row[k] - largest)
            if k != y[index]:
                others += row[k]
        scale = weight[index] / (others + row[y[index]])
        for k in range(n_outputs):
            row[k] *= scale
        # Not the probability minus one, which loses its digits where that is near one.
        row[y[index]] = -others * scale


@njit(nogil=True, cache=True)
def half_squared(raw, y, weight, indices):
    """``w (z - y)`` for every target."""
    for i in range(indices.shape[0]):
        index = indices[i]
        for k in range(raw.shape[1]):
            raw[i, k] = weight[index] * (raw[i, k] - y[index, k])


@njit(nogil=True, cache=True)
def evaluate_binomial(raw, y, weight, indices):
    """`binomial`, and the sum of ``w (log(1 + exp(z)) - y z)``."""
    total = 0.0
    for i in range(indices.shape[0]):
        index = indices[i]
        z = raw[i, 0]
        small = math.exp(-abs(z))
        likelier = 1.0 / (1.0 + small)
        unlikelier = small * likelier
        if y[index] == 1:
            z = -z
        # Now the loss is log(1 + exp(z)), whichever class it is.
        total += weight[index] * (max(z, 0.0) + math.log1p(small))
        derivative = weight[index] * (likelier if z >= 0.0 else unlikelier)
        raw[i, 0] = -derivative if y[index] == 1 else derivative
    return total


@njit(nogil=True, cache=True)
def evaluate_multinomial(raw, y, weight, indices):
    """`multinomial`, and the sum of ``w (log(sum_k exp(z_k)) - z_y)``."""
    n_outputs = raw.shape[1]
    loss = 0.0
    for i in range(indices.shape[0]):
        index = indices[i]
        row = raw[i]
        largest = row[0]
        for k in range(1, n_outputs):
            largest = max(largest, row[k])
        of_class = row[y[index]] - largest
        others = 0.0
        for k in range(n_outputs):
            row[k] = math.exp(row[k] - largest)
            if k != y[index]:
                others += row[k]
        own = row[y[index]]
        if own == 1.0:
            loss += weight[index] * math.log1p(others)
        else:
            loss += weight[index] * (math.log(others + own) - of_class)
        scale = weight[index] / (others + own)
        for k in range(n_outputs):
            row[k] *= scale
        # Not the probability minus one, which loses its digits where that is near one.
        row[y[index]] = -others * scale
    return loss


@njit(nogil=True, cache=True)
def evaluate_half_squared(raw, y, weight, indices):
    """`half_squared`, and the sum of ``w ||z - y||^2 / 2``."""
    total = 0.0
    for i in range(indices.shape[0]):
        index = indices[i]
        for k in range(raw.shape[1]):
            residual = raw[i, k] - y[index, k]
            total += 0.5 * weight[index] * residual * residual
            raw[i, k] = weight[index] * residual
    return total


@njit(nogil=True, cache=True)
def poisson(raw, y, weight, indices):
    """``w (exp(z) - y)``; 0 for weight 0, also where exp(z) is infinite."""
    for i in range(indices.shape[0]):
        index = indices[i]
        if weight[index] == 0.0:
            raw[i, 0] = 0.0
        else:
            raw[i, 0] = weight[index] * (math.exp(raw[i, 0]) - y[index, 0])


@njit(nogil=True, cache=True)
def evaluate_poisson(raw, y, weight, indices):
    """`poisson`, and the sum of ``w (exp(z) - y (z - log(y)))``."""
    total = 0.0
    for i in range(indices.shape[0]):
        index = indices[i]
        if weight[index] == 0.0:
            raw[i, 0] = 0.0
            continue
        z, target = raw[i, 0], y[index, 0]
        mean = math.exp(z)
        value = mean
        if target > 0.0 and mean < math.inf:
            value -= target * (z - math.log(target))
        total += weight[index] * value
        raw[i, 0] = weight[index] * (mean - target)
    return total
