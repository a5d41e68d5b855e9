"""A random order of the rows for every epoch, computed instead of stored.

The order of an epoch is a keyed bijection of ``{0, ..., n - 1}``: a Feistel network on
the grid ``side x other >= n`` (a place is ``left * other + right``), with a place that
falls outside ``n`` sent through again ("cycle walking", Black and Rogaway 2002; the
grid is at most one row too large, so this is rare). Where a row sits in an epoch, and
which rows a batch holds, are then both found in O(1) a row; nothing is stored, and the
order depends on no library's random generator.

Arithmetic is in int64 with 32-bit masks, the same under NUMBA_DISABLE_JIT=1.

======== =================== ====================================================
argument shape               meaning
======== =================== ====================================================
n        scalar              size of the domain, below 2^31
side     scalar              ceil(sqrt(n))
other    scalar              ceil(n / side)
keys     (n_epochs, n_keys)  32-bit round keys, two for each round
*_out    as stated           OUT: results
======== =================== ====================================================
"""

import numpy as np
from numba import njit

_MASK = 0xFFFFFFFF  # mathematics: the lower 32 bits of 64
# Cost: numbers worked on at a time, so that they stay in the first-level cache.
_CHUNK = 512


@njit(nogil=True, cache=True)
def _hash(value, key, bound):
    """A number in {0, ..., bound - 1} from a number and a key (murmur3's finaliser)."""
    h = ((int(value) * 0x9E3779B1) & _MASK) ^ key
    h ^= h >> 16
    h = (h * 0x85EBCA6B) & _MASK
    h ^= h >> 13
    h = (h * 0xC2B2AE35) & _MASK
    h ^= h >> 16
    return (h * int(bound)) >> 32


@njit(nogil=True, cache=True)
def _forward(left, right, side, other, keys):
    """Overwrite numbers, given as left * other + right, by their images on the grid."""
    # Round by round over all numbers: these loops are vectorised; one number after
    # the other takes five times as long.
    for r in range(0, keys.shape[0], 2):
        left_key, right_key = int(keys[r]), int(keys[r + 1])
        for i in range(left.shape[0]):
            x = left[i] + _hash(right[i], left_key, side)
            left[i] = x - side if x >= side else x
            z = right[i] + _hash(left[i], right_key, other)
            right[i] = z - other if z >= other else z


@njit(nogil=True, cache=True)
def _backward(numbers, side, other, keys):
    """Overwrite images on the grid by the numbers that they are images of."""
    left = numbers // other
    right = numbers - left * other
    for r in range(keys.shape[0] - 2, -1, -2):
        left_key, right_key = int(keys[r]), int(keys[r + 1])
        for i in range(numbers.shape[0]):
            z = right[i] - _hash(left[i], right_key, other)
            right[i] = z + other if z < 0 else z
            x = left[i] - _hash(right[i], left_key, side)
            left[i] = x + side if x < 0 else x
    for i in range(numbers.shape[0]):
        numbers[i] = left[i] * other + right[i]


@njit(nogil=True, cache=True)
def rows_at(first, n, side, other, keys, row_out):
    """The rows at the places first, first + 1, ... of one epoch (keys: its row)."""
    left = np.empty(_CHUNK, np.int64)
    right = np.empty(_CHUNK, np.int64)
    next_left = first // other
    next_right = first - next_left * other
    for done in range(0, row_out.shape[0], _CHUNK):
        rows = row_out[done : done + _CHUNK]
        size = rows.shape[0]
        for i in range(size):  # consecutive places: no division for each
            left[i] = next_left
            right[i] = next_right
            next_right += 1
            if next_right == other:
                next_right = 0
                next_left += 1
        _forward(left[:size], right[:size], side, other, keys)
        for i in range(size):
            rows[i] = left[i] * other + right[i]
            while rows[i] >= n:
                _forward(left[i : i + 1], right[i : i + 1], side, other, keys)
                rows[i] = left[i] * other + right[i]


@njit(nogil=True, cache=True)
def indices_at(first, n, side, other, keys, index_of, index_out):
    """Write the storage indices of the same rows, without those of removed rows.

    `index_of` has the storage index of every row, negative for a removed one. Returns
    how many entries of `index_out` are filled.
    """
    rows_at(first, n, side, other, keys, index_out)
    n_found = 0
    for i in range(index_out.shape[0]):
        index = index_of[np.uintp(index_out[i])]  # unsigned: never counted from the end
        if index >= 0:
            index_out[n_found] = index
            n_found += 1
    return n_found


@njit(nogil=True, cache=True)
def _places_in_epoch(rows, n, side, other, keys, place_out):
    draw_key = int(keys[0])
    for i in range(rows.shape[0]):
        place_out[i] = min(rows[i], n - 1)
    _backward(place_out, side, other, keys)
    for i in range(rows.shape[0]):
        while place_out[i] >= n:
            _backward(place_out[i : i + 1], side, other, keys)
        if rows[i] >= n:
            place_out[i] = _hash(int(rows[i]), draw_key, n)


@njit(nogil=True, cache=True)
def places_of(rows, n, side, other, keys, place_out):
    """The places of some rows in every epoch, shape (n_epochs, n_rows).

    A row from n on was added later: it takes the place that its hash draws, so that it
    joins one random batch of each epoch.
    """
    for epoch in range(keys.shape[0]):
        _places_in_epoch(rows, n, side, other, keys[epoch], place_out[epoch])


@njit(nogil=True, cache=True)
def tally(rows, weight, group, n, side, other, keys, batch_size, count_out, weight_out):
    """Count and weigh rows by step and group: add to shapes (n_steps, n_groups).

    `weight` and `group` have one entry for each of `rows`. Rows without weight are not
    counted.
    """
    n_batches = (n + batch_size - 1) // batch_size
    for epoch in range(keys.shape[0]):
        for first in range(0, rows.shape[0], _CHUNK):
            some = rows[first : first + _CHUNK]
            places = np.empty_like(some)
            _places_in_epoch(some, n, side, other, keys[epoch], places)
            for i in range(some.shape[0]):
                if weight[first + i] > 0.0:
                    step = epoch * n_batches + places[i] // batch_size
                    count_out[step, group[first + i]] += 1
                    weight_out[step, group[first + i]] += weight[first + i]
