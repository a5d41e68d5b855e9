"""Find numbers that lie near some others, in bounded memory."""

import numpy as np

# Cost: numbers are told apart by sign, exponent and eleven bits of the fraction before
# they are looked up among the intervals, which is ten times as expensive.
_SHIFT = 12
_N_BINS = 2**20


class Intervals:
    """Intervals around some numbers, to be looked up in bounded memory.

    Parameters
    ----------
    values, tolerance : ndarray of shape (n_values,)
        The middle and half the width of each interval.
    """

    def __init__(self, values, tolerance):
        low, high = values - tolerance, values + tolerance
        self._order = np.argsort(low, kind="stable")
        self._low = low[self._order]
        # An upper bound where intervals overlap, so that it ascends as well.
        self._high = np.maximum.accumulate(high[self._order])
        self._known = np.zeros(_N_BINS, bool)
        for first, last in zip(_bin(low), _bin(high), strict=True):
            self._known[first : last + 1] = True

    def hits(self, numbers):
        """Yield arrays of positions in `numbers`, and of the intervals they lie in."""
        maybe = np.flatnonzero(self._known[_bin(numbers)])
        first = np.searchsorted(self._high, numbers[maybe])
        n_hits = np.searchsorted(self._low, numbers[maybe], side="right") - first
        # Intervals may overlap. Taken one by one, they bound the memory.
        for i in range(n_hits.max(initial=0)):
            more = n_hits > i
            yield maybe[more], self._order[first[more] + i]


def _bin(numbers):
    """Number the bins from that of the lowest number to that of the highest."""
    bits = np.asarray(numbers, dtype=np.float32).view(np.int32)
    return ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) >> _SHIFT) + _N_BINS // 2
