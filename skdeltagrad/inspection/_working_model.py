"""The weighted least-squares problem that an optimum solves, and its hat matrix.

At the optimum of a loss with the canonical link, Newton's step is a ridge regression of
*working* targets on the rows, with the weights c_i = s_i l_i'' (iteratively reweighted
least squares). Statistics of linear regression carry over to it: with the Hessian
H = X'CX + P of the objective, the hat matrix is ``C^1/2 X H^-1 X' C^1/2``, and the
Pearson residuals ``-sqrt(s_i) l_i' / sqrt(l_i'')`` are those of the working targets.

The canonical link makes l_i'' the variance of the target but for the dispersion. Where
the second derivative is constant, the variance does not follow from the mean, and the
dispersion is estimated from the residuals; it is 1 otherwise.
"""

from dataclasses import dataclass

import numpy as np

from .._optimum.hessian import Hessian

# Cost: entries of rows that are copied at a time, 8 MB of them.
_ENTRIES = 2**20


@dataclass(frozen=True)
class WorkingModel:
    """The working model of all training rows, in the order of their positions.

    It is for a single output, so that all rows have one hat value.

    Attributes
    ----------
    hessian : Hessian
        H, of the objective with its penalty.
    penalty : ndarray of shape (n_dof,)
        The diagonal P.
    weight, second_derivative : ndarray of shape (n_rows,)
        s_i, with the factors of class weights, and l_i''.
    slope : ndarray of shape (n_rows,)
        ``-s_i l_i'``: the row's score is x_i times this.
    spread : ndarray of shape (n_rows,)
        ``x_i' H^-1 x_i``.
    penalised_spread : ndarray of shape (n_rows,)
        ``x_i' H^-1 P H^-1 x_i``.
    """

    hessian: Hessian
    penalty: np.ndarray
    weight: np.ndarray
    second_derivative: np.ndarray
    slope: np.ndarray
    spread: np.ndarray
    penalised_spread: np.ndarray

    @classmethod
    def at(cls, problem, iterate, index):
        """Return the working model of a problem at its optimum.

        Parameters
        ----------
        problem : Problem
        iterate : ndarray of shape (1, n_dof)
        index : ndarray of shape (n_rows,)
            Storage indices of the rows.

        Raises
        ------
        ValueError
            When the Hessian is singular in working precision.
        """
        objective, hessian = problem.objective, problem.hessian(iterate)
        if not hessian.is_exact:
            raise ValueError(
                "The Hessian of the training rows is singular in working precision, so "
                "that the coefficients have no standard errors. Leave out columns that "
                "follow from others, or raise the penalty (alpha, or 1 / C)."
            )
        weight, y = objective.weight[index], objective.y[index]
        if objective.n_groups > 1:
            weight = weight * problem.group_weight[objective.group[index]]
        raw = objective.raw_predictions(iterate, index)
        second = objective.loss.second_derivatives(raw, y)[:, 0, 0]
        slope = raw.copy()
        objective.loss.differentiate(slope, y, weight, np.arange(len(index)))
        spread, penalised = np.empty((2, len(index)))
        for block, X in rows_in_blocks(objective, index):
            solved = hessian.solve_many(X[np.newaxis])[0]
            spread[block] = np.einsum("ij,ij->i", solved, X)
            penalised[block] = solved**2 @ problem.penalty[0]
        return cls(
            hessian, problem.penalty[0], weight, second, -slope[:, 0], spread, penalised
        )

    @property
    def hat_diag(self):
        """Diagonal of the hat matrix, shape (n_rows,)."""
        return self.weight * self.second_derivative * self.spread

    @property
    def remaining(self):
        """``1 - hat_diag``: what the other rows determine of a prediction."""
        return np.maximum(1.0 - self.hat_diag, 0.0)

    @property
    def df_model(self):
        """Effective degrees of freedom, the trace of the hat matrix."""
        return float(self.hat_diag.sum())

    @property
    def n_rows(self):
        """Number of rows of positive weight."""
        return int(np.count_nonzero(self.weight))

    @property
    def pearson(self):
        """Pearson residuals, shape (n_rows,); 0 for rows of weight 0."""
        return _quotient(self.slope, np.sqrt(self.weight * self.second_derivative))

    def dispersion(self, is_constant):
        """Return 1, or the residual variance where second derivatives are constant."""
        if not is_constant:
            return 1.0
        return _over_degrees(np.sum(self.pearson**2), self.n_rows - self.df_model)

    def dispersions_without(self, is_constant, penalties):
        """Return the dispersion without each row, (n_rows,).

        For a squared error the minimum of the *penalised* sum of squares without row i
        is that with it minus ``s_i e_i^2 / (1 - h_i)``. The degrees of freedom of n_dof
        coefficients are ``n_dof - tr(H^-1 P)``, and by the formula of Sherman and
        Morrison that trace grows by ``c_i x_i'H^-1 P H^-1 x_i / (1 - h_i)``.

        Parameters
        ----------
        is_constant : bool
        penalties : tuple of float and ndarray of shape (n_rows,)
            ``b'P b`` of the coefficients of all rows, and without each row.
        """
        if not is_constant:
            return np.ones(len(self.weight))
        of_all, without = penalties
        squares = np.sum(self.pearson**2) + of_all - without
        squares = squares - _quotient(self.pearson**2, self.remaining)
        curvature = self.weight * self.second_derivative
        df = self.df_model - _quotient(
            curvature * self.penalised_spread, self.remaining
        )
        # A row of weight 0 does not count, and changes nothing.
        return _over_degrees(squares, self.n_rows - (self.weight > 0) - df)


def rows_in_blocks(objective, index):
    """Iterate over slices of rows and dense copies of them, (n_rows, n_dof)."""
    size = max(1, _ENTRIES // objective.n_dof)
    for first in range(0, len(index), size):
        block = slice(first, first + size)
        yield block, objective.extended(index[block])


def _quotient(numerator, denominator):
    """0 where the numerator is 0; infinite where only the denominator is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numerator == 0.0, 0.0, numerator / denominator)


def _over_degrees(squares, degrees):
    """Mean squares; NaN where no degrees of freedom are left."""
    degrees = np.where(np.asarray(degrees) > 0, degrees, np.nan)
    return np.maximum(squares, 0.0) / degrees
