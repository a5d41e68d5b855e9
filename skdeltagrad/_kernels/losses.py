"""Derivatives of the losses at given raw predictions, written over them.

=========== ======================= ==============================================
argument    shape                   meaning
=========== ======================= ==============================================
raw         (n_rows, n_outputs)     IN: raw predictions; OUT: weight times the
                                    derivative of the loss, called `pointwise`
y           (n_slots,) class codes  of all stored rows, read by slot
            or (n_slots, n_outputs)
weight      (n_slots,)              sample weights of all stored rows
slots       (n_rows,)               which rows `raw` belongs to
=========== ======================= ==============================================
"""

import math

from numba import njit


@njit(nogil=True, cache=True)
def binomial(raw, y, weight, slots):
    """``w (sigmoid(z) - y)``, y in {0, 1}, without cancellation at either end."""
    for i in range(slots.shape[0]):
        slot = slots[i]
        z = raw[i, 0]
        small = math.exp(-abs(z))
        likelier = 1.0 / (1.0 + small)
        unlikelier = small / (1.0 + small)
        if y[slot] == 1:
            raw[i, 0] = -weight[slot] * (unlikelier if z >= 0.0 else likelier)
        else:
            raw[i, 0] = weight[slot] * (likelier if z >= 0.0 else unlikelier)


@njit(nogil=True, cache=True)
def multinomial(raw, y, weight, slots):
    """``w (softmax(z)_k - 1[y = k])`` for every class k."""
    n_outputs = raw.shape[1]
    for i in range(slots.shape[0]):
        slot = slots[i]
        row = raw[i]
        largest = row[0]
        for k in range(1, n_outputs):
            largest = max(largest, row[k])
        total = 0.0
        for k in range(n_outputs):
            row[k] = math.exp(row[k] - largest)
            total += row[k]
        scale = weight[slot] / total
        for k in range(n_outputs):
            row[k] *= scale
        row[y[slot]] -= weight[slot]


@njit(nogil=True, cache=True)
def half_squared(raw, y, weight, slots):
    """``w (z - y)`` for every target."""
    for i in range(slots.shape[0]):
        slot = slots[i]
        for k in range(raw.shape[1]):
            raw[i, k] = weight[slot] * (raw[i, k] - y[slot, k])
