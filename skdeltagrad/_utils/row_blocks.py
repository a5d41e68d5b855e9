"""Blocks of rows for numbers that are computed for every row, and needed for a while.

An array of them would take as much memory as some columns of X, although the rows
themselves may be in files.
"""

# Cost: rows in a block. An array of numbers of so many rows takes 8 MB, and computing
# it takes much longer than a call of NumPy.
_ROWS = 2**20


def row_blocks(n_rows):
    """Return slices of so many rows; there is at least one, which may be empty."""
    return [
        slice(first, min(first + _ROWS, n_rows))
        for first in range(0, max(n_rows, 1), _ROWS)
    ]
