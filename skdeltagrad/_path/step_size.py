"""``learning_rate="auto"``: one over the smoothness of the objective."""

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from .._utils import threads
from .._utils.few_digits import rounded_down
from .._utils.row_blocks import row_blocks


def automatic_learning_rate(objective, indices, curvature_bound, alpha, fraction):
    """Return 1 / L, rounded down to two significant digits.

    L is the smoothness of a mini-batch of the mean objective,

        L = curvature_bound (a lambda_max + (1 - a) max_i s_i ||x_i||^2 n / S) + alpha/S

    lambda_max is the largest eigenvalue of the weighted second moment of the centred
    rows, with a column of ones for the intercept, and
    a = n (b - 1) / (b (n - 1)): 1 for the full batch, 0 for single rows (expected
    smoothness of sampling b rows without replacement: Gower et al. 2019, "SGD: General
    analysis and improved rates", proposition 3.8).

    Parameters
    ----------
    objective : AbstractDataTerm
        With one group; its loss is not read.
    indices : ndarray of shape (n_samples,)
    curvature_bound : float or None
        Of the loss; None where its second derivative is unbounded, which is refused.
    alpha : float
        The largest penalty.
    fraction : float
        Batch size divided by the number of rows.

    Raises
    ------
    ValueError
        If the second derivative of the loss is unbounded, or squares of entries
        overflow.
    """
    if curvature_bound is None:
        raise ValueError(
            'There is no learning_rate="auto" for this loss: its second derivative is '
            "unbounded, and so is the smoothness of the objective. Give a number, and "
            'lower it where the run diverges; or use solver="newton", which needs none.'
        )
    blocks = [indices[block] for block in row_blocks(len(indices))]
    total = sum(objective.weight[some].sum() for some in blocks)
    moment = _second_moment(objective, indices) / total
    n_samples = sum(np.count_nonzero(objective.weight[some]) for some in blocks)
    batch_size = max(1.0, fraction * n_samples)
    together = 1.0
    if n_samples > 1:
        together = n_samples * (batch_size - 1) / (batch_size * (n_samples - 1))
    if together < 1.0:
        largest = max(
            (
                objective.weight[some]
                * (objective.squared_distances(some) + objective.fit_intercept)
            ).max()
            for some in blocks
        )
        largest = largest * n_samples / total
        moment = together * moment + (1 - together) * largest
    smoothness = curvature_bound * moment + alpha / total
    # All digits would identify a row that left. Smaller steps are stable, too.
    return rounded_down(1.0 / smoothness) if smoothness > 0 else 1.0


def _second_moment(objective, indices):
    """Return the largest eigenvalue of sum_i s_i x_i x_i'.

    Lanczos iterations approach the eigenvalue from below.
    """
    squares, n_dof = objective.half_squares(), objective.n_dof

    def product(vector):
        iterate = np.ascontiguousarray(vector, dtype=float).reshape(1, n_dof)
        return squares.gradient_sums(iterate, indices).ravel()

    # A legacy generator: its stream is frozen across NumPy versions.
    start = np.random.RandomState(0).standard_normal(n_dof)
    first = product(start)
    if not np.isfinite(first).all():
        raise ValueError(
            "The entries of X, or sample_weight, are so large that there is no "
            'learning_rate="auto": their squares overflow. Standardise the columns.'
        )
    if not first.any():
        return 0.0  # all rows are zero
    if n_dof <= 2:
        matrix = np.column_stack([product(unit) for unit in np.eye(n_dof)])
        return float(np.linalg.eigvalsh(matrix)[-1])
    operator = LinearOperator((n_dof, n_dof), matvec=product, dtype=float)
    # An accuracy threshold: an eigenvalue may be 1% too small, because gradient descent
    # is stable up to twice the step. With 10%, the second digit of the learning rate
    # would change. A cost: at most eight vectors are kept.
    with threads.blas_for(order=1):  # between the passes it multiplies vectors only
        value = eigsh(
            operator, k=1, v0=start, ncv=min(8, n_dof), tol=1e-2,
            return_eigenvectors=False,
        )  # fmt: skip
    return float(value[0])
