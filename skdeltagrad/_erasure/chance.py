"""What could be found by chance: how much the values and places of a row tell."""

from math import comb, log2

import numpy as np

# Mathematics: a row with fewer distinct non-zero values could be found by chance,
# unless their places tell more.
MIN_DISTINCT = 4
# Accuracy: bits in which a vector must agree with a row. With 2^40 (1e12) pairs of
# vectors and rows, one agrees by chance; with a tenth of the bits, small integers do.
_BITS = 40.0
# Accuracy: the number of coordinates beyond those that are fitted which must agree.
SPARE = 3
# Rounding: bits of an entry that is no multiple of 1, 0.1, 0.01 or 0.001, as in single
# precision, and how far, relatively, such a multiple may be off in it.
_BITS_OF_ENTRY = 24.0
_GRAINS = (1.0, 10.0, 100.0, 1000.0)
_WHOLE = 5e-7


def bits_of_entries(values):
    """Return about how many bits of information an entry of a row has."""
    values = np.abs(values[values != 0])
    if not len(values):
        return 0.0
    for grain in _GRAINS:
        scaled = grain * values
        if (np.abs(scaled - np.rint(scaled)) <= _WHOLE * scaled).all():
            return min(float(np.log2(scaled.max() + 1.0)), _BITS_OF_ENTRY)
    return _BITS_OF_ENTRY


def is_telling(bits, n_features, n_fitted=0):
    """Tell whether a vector that agrees with a row does not do so by chance.

    Parameters
    ----------
    bits : float or ndarray
        See `bits_of_entries`.
    n_features : int
    n_fitted : int, default=0
        How many terms the vector may have besides the row.
    """
    spare = n_features - n_fitted - 1
    return (spare >= SPARE) & (spare * bits >= _BITS)


def has_telling_places(columns, values, n_features):
    """Tell whether a row of few distinct values is not found by chance.

    Its values must have all bits of single precision, so that few other arrays consist
    of them. Beyond that, the places at which they lie must be one of 2^40 arrangements
    in two ways of counting: of rows with these values as often, and of rows with as
    many changes from one value to another, so that sorted and alternating values do
    not count. Places that repeat are refused as well.

    Parameters
    ----------
    columns, values : ndarray of shape (n_entries,)
        The non-zero entries of the row, whose columns are ascending.
    n_features : int

    Returns
    -------
    telling : bool
    """
    if not len(values) or bits_of_entries(values) < _BITS_OF_ENTRY:
        return False
    row = np.zeros(n_features)
    row[columns] = values
    arrangements, left = 1, n_features
    for count in np.unique(row, return_counts=True)[1].tolist():
        arrangements *= comb(left, count)
        left -= count
    n_changes = int(np.count_nonzero(np.diff(row)))
    fewest = min(arrangements, comb(n_features - 1, n_changes))
    repeats = any(
        np.array_equal(row[period:], row[:-period])
        for period in range(1, n_features // 2 + 1)
    )
    return log2(fewest) >= _BITS and not repeats
