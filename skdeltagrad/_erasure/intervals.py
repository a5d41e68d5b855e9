"""Find numbers that lie near some others, in bounded memory."""

import numpy as np

# Numbers are told apart by sign, exponent and eleven bits of the fraction first.
_SHIFT = 12
_N_BINS = 2**20


class Intervals:
    """Intervals around some numbers, each of which may be what is looked for.

    Those that overlap are joined; a hit in one of them is a hit of all its members.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
    tolerance : ndarray of shape (n_values,)
        Half the width of the interval around each value.
    """

    def __init__(self, values, tolerance):
        order = np.argsort(values - tolerance, kind="stable")
        low = (values - tolerance)[order]
        high = np.maximum.accumulate((values + tolerance)[order])
        begins = np.flatnonzero(np.concatenate([[True], low[1:] > high[:-1]]))
        self.low = low[begins]
        self.high = high[np.concatenate([begins[1:], [len(order)]]) - 1]
        self._members = order
        self._bounds = np.concatenate([begins, [len(order)]])
        self.n_members = np.diff(self._bounds)
        self._known = np.zeros(_N_BINS, bool)
        for first, last in zip(_bin(self.low), _bin(self.high), strict=True):
            # Bins ascend with the magnitude: those of negative numbers descend.
            if abs(int(last) - int(first)) < _N_BINS // 2:
                self._known[min(first, last) : max(first, last) + 1] = True
            else:  # from one sign to the other
                self._known[:] = True

    def hits(self, numbers):
        """Positions of numbers that lie in an interval, and in which."""
        maybe = np.flatnonzero(self._known[_bin(numbers)])
        number = numbers[maybe]
        interval = np.searchsorted(self.low, number, side="right") - 1
        inside = (interval >= 0) & (number <= self.high[interval])
        return maybe[inside], interval[inside]

    def members(self, interval, i):
        """The i-th value of each of some intervals that have so many."""
        return self._members[self._bounds[interval] + i]


def _bin(numbers):
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        image = np.ascontiguousarray(numbers, dtype=np.float32)
    return image.view(np.uint32) >> _SHIFT
