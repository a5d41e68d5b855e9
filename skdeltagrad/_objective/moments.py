"""Sums over rows that tell of the columns: weighted, as an objective sees them."""

import numpy as np

from .._utils import threads

# Rows that tell how far columns spread.
_N_SPREAD = 2**15


@np.errstate(over="ignore", invalid="ignore")  # beyond all others, or no number
def standardised_squares(objective, indices):
    """Mean squared entry of each row, its columns standardised: (n_rows,)."""
    rows = objective.rows
    some = indices[:: max(1, len(indices) // _N_SPREAD)]
    weight = objective.weight[some]
    _, sums, squares = rows.column_moments(some, weight)
    total = weight.sum()
    mean = sums / total if objective.fit_intercept else np.zeros(rows.n_features)
    # Constant columns spread as little as rounding; rare entries as little as can
    # be told apart from nothing.
    least = np.fmax(np.finfo(float).eps * mean**2, np.finfo(float).tiny)
    variance = np.fmax(squares / total - mean**2, least)
    length = np.empty(len(indices))

    def add_part(number):
        mine = slice(bounds[number], bounds[number + 1])
        length[mine] = rows.squared_distances(indices[mine], mean, 1 / variance)

    bounds = objective.cut(len(indices), rows.n_entries(indices))
    threads.run(add_part, len(bounds) - 1)
    return length / objective.n_dof


def row_sum(objective, indices):
    """Sum of rows, centred and with a one for the intercept: (n_dof,)."""
    weight = objective.weight[indices]
    _, sums, _ = objective.rows.column_moments(indices, weight)
    shift = objective.shift()
    if shift is None:
        return sums
    total = weight.sum()
    return np.append(sums - total * shift, total)


def column_squares(objective, indices):
    """Sums of squares of the same columns, for each group: (n_groups, n_dof)."""
    squares = np.zeros((objective.n_groups, 1, objective.n_dof))
    for members, total in zip(objective.by_group(indices), squares, strict=True):
        weight = objective.weight[members, np.newaxis]
        objective.rows.add_squares(members, weight, objective.shift(), total)
    return squares[:, 0]


def project(objective, basis, indices):
    """Products of such rows with some directions: (n_rows, n_directions)."""
    affine, blocks = objective.affine(basis), objective.blocks(indices)
    products = np.empty((len(indices), len(basis)))
    bounds = np.cumsum([0, *map(len, blocks)])

    def take(number):
        mine = products[bounds[number] : bounds[number + 1]]
        objective.rows.matvec(*affine, blocks[number], mine)

    threads.run(take, len(blocks))
    return products
