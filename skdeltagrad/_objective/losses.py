"""Losses, pointwise on raw predictions: they never see the features.

======================= ========================== ============ ================
loss                    per row                    n_outputs    curvature bound
======================= ========================== ============ ================
`BinomialLoss`          log(1 + exp(z)) - y z      1            1/4
`MultinomialLoss`       log(sum_k exp(z_k)) - z_y  n_classes    1/2
`HalfSquaredLoss`       ||z - y||^2 / 2            n_targets    1
======================= ========================== ============ ================

The curvature bound is the largest eigenvalue that the second derivative in z can have
(multinomial: Boehning 1992).

Coordinates
-----------
Adding a number to all raw predictions of a multinomial row changes nothing, so the
optimum has coefficients that sum to zero over the classes, and the Hessian is singular
across that. Second derivatives are therefore taken in the ``n_coordinates`` of an
orthonormal basis Q of what matters: ``n_classes - 1`` of them, z = Q v. For other
losses the coordinates are the outputs.
"""

from abc import ABC, abstractmethod

import numpy as np
from scipy.linalg import helmert
from scipy.special import softmax

from .. import _kernels

# Of probabilities, some of which add up to nothing.
_ROUNDING = 4.0 * np.finfo(float).eps
# A cost: from so many coordinates on sums over rows are made by factors of the second
# derivatives, which take no memory of (n_rows, n_coordinates, n_coordinates).
_LEAST_FACTORED = 8


class AbstractLoss(ABC):
    """A loss of raw predictions of shape (n_rows, n_outputs).

    Attributes
    ----------
    n_outputs : int
    n_coordinates : int
        See above.
    curvature_bound : float
    is_quadratic : bool
        Whether the second derivative is the same everywhere, and the same for every
        output, which then do not meet.
    self_concordance : float or None
        The constant K of ``|l'''[u, u, a]| <= K osc(a) l''[u, u]``, as `_certificate`
        has it. None, the default, where nobody has shown that there is one: then there
        is no certificate, unless the loss is quadratic.
    """

    curvature_bound: float
    is_quadratic = False
    self_concordance: float | None = None

    def __init__(self, n_outputs):
        self.n_outputs = n_outputs

    @property
    def n_coordinates(self):
        return self.n_outputs

    @property
    def n_curvatures(self):
        """Order of a row's second derivative; 1 where outputs do not meet."""
        return 1 if self.is_quadratic else self.n_coordinates

    @abstractmethod
    def differentiate(self, raw, y, weight, indices):
        """Overwrite raw predictions by weight times the derivative of the loss.

        `raw` belongs to the rows of `indices`; `y` and `weight` hold those of every
        storage index.
        """

    @abstractmethod
    def evaluate(self, raw, y, weight, indices):
        """Do the same, and return the sum of weight times the loss."""

    @abstractmethod
    def curvatures(self, raw):
        """Second derivatives of every row, in the coordinates, for weight 1.

        Returns
        -------
        curvatures : ndarray of shape (n_rows, m, m)
            m = n_coordinates, or 1 where outputs do not meet.
        """

    is_factored = False
    """Whether there are so many coordinates that `curvature_factors` is given."""

    def curvature_factors(self, raw):
        """Factors of the second derivatives, ``l'' = Q'diag(p)Q - mean mean'``.

        Returns
        -------
        diagonal : ndarray of shape (n_rows, n_outputs)
            p.
        mean : ndarray of shape (n_rows, n_coordinates)
        """
        raise NotImplementedError

    def to_curvature(self, diagonal):
        """``Q'diag(diagonal)Q``, shape (n_coordinates, n_coordinates)."""
        raise NotImplementedError

    def curvature_diagonals(self, raw):
        """Diagonals of the second derivatives: (n_rows, n_curvatures)."""
        return np.diagonal(self.curvatures(raw), axis1=1, axis2=2)

    def curvature_sum(self, raw, weight):
        """Weighted sum of the second derivatives: (n_curvatures, n_curvatures)."""
        return np.tensordot(weight, self.curvatures(raw), axes=1)

    @abstractmethod
    def curvature_state(self, raw):
        """What `bend` needs to know of rows: (n_rows, n_outputs)."""

    @abstractmethod
    def bend(self, along, state):
        """Overwrite directions by the second derivative's product with them.

        `along` and `state` have shape (n_rows, n_outputs); weights are 1.
        """

    def to_coordinates(self, by_output):
        """``Q' by_output``, shape (n_coordinates, ...), of something by output."""
        return by_output

    def to_outputs(self, by_coordinate):
        """``Q by_coordinate``, shape (n_outputs, ...)."""
        return by_coordinate

    def contrasts(self):
        """Differences of two outputs' raw predictions that a row can see.

        Returns
        -------
        contrasts : ndarray of shape (n_contrasts, n_coordinates)
            Rows are ``Q'(e_j - e_k)`` for all pairs of classes; for a single output
            there is one contrast, the output.
        """
        return np.ones((1, 1))

    def ranges(self, raw):
        """Largest difference that each row sees in raw predictions: (n_rows,)."""
        return np.abs(raw).max(axis=1)


class BinomialLoss(AbstractLoss):
    """Log-loss of two classes, codes 0 and 1."""

    curvature_bound = 0.25
    self_concordance = 1.0  # |l'''| = |1 - 2 p| l''

    def __init__(self):
        super().__init__(1)

    def differentiate(self, raw, y, weight, indices):
        _kernels.losses.binomial(raw, y, weight, indices)

    def evaluate(self, raw, y, weight, indices):
        return _kernels.losses.evaluate_binomial(raw, y, weight, indices)

    def curvatures(self, raw):
        return _logistic_variance(raw)[:, :, np.newaxis]

    def curvature_state(self, raw):
        return _logistic_variance(raw)

    def bend(self, along, state):
        along *= state


class MultinomialLoss(AbstractLoss):
    """Log-loss of three or more classes, codes 0 to n_classes - 1."""

    curvature_bound = 0.5
    self_concordance = 1.0  # Bach 2010, proposition 1

    def __init__(self, n_outputs):
        super().__init__(n_outputs)
        self._basis = np.ascontiguousarray(helmert(n_outputs).T)

    @property
    def n_coordinates(self):
        return self.n_outputs - 1

    def differentiate(self, raw, y, weight, indices):
        _kernels.losses.multinomial(raw, y, weight, indices)

    def evaluate(self, raw, y, weight, indices):
        return _kernels.losses.evaluate_multinomial(raw, y, weight, indices)

    def curvatures(self, raw):
        """``Q' (diag(p) - p p') Q``."""
        basis, m = self._basis, self.n_coordinates
        probability = softmax(raw, axis=1)
        mean = probability @ basis
        if self.is_factored:  # one product for each row, and nothing of size m^3
            second = (basis.T * probability[:, np.newaxis]) @ basis
        else:  # one product for all rows
            squares = basis[:, :, np.newaxis] * basis[:, np.newaxis]
            second = (probability @ squares.reshape(-1, m * m)).reshape(-1, m, m)
        curvatures = second - mean[:, :, np.newaxis] * mean[:, np.newaxis]
        # Where classes are equally likely coordinates do not meet, but for rounding,
        # which is another in other company: a row that is taken out of a sum of such
        # would leave a multiple of itself.
        rounding = np.abs(curvatures) <= _ROUNDING
        curvatures[rounding & ~np.eye(m, dtype=bool)] = 0.0
        return curvatures

    @property
    def is_factored(self):
        return self.n_coordinates >= _LEAST_FACTORED

    def curvature_factors(self, raw):
        probability = softmax(raw, axis=1)
        return probability, probability @ self._basis

    def to_curvature(self, diagonal):
        half = (self._basis.T * diagonal) @ self._basis
        return 0.5 * (half + half.T)

    def curvature_diagonals(self, raw):
        probability, mean = self.curvature_factors(raw)
        return probability @ self._basis**2 - mean**2

    def curvature_sum(self, raw, weight):
        if not self.is_factored:
            return super().curvature_sum(raw, weight)
        probability, mean = self.curvature_factors(raw)
        return self.to_curvature(weight @ probability) - (mean.T * weight) @ mean

    def curvature_state(self, raw):
        return softmax(raw, axis=1)

    def bend(self, along, state):
        along -= np.einsum("ik,ik->i", state, along)[:, np.newaxis]
        along *= state

    def to_coordinates(self, by_output):
        return np.tensordot(self._basis, by_output, axes=(0, 0))

    def to_outputs(self, by_coordinate):
        return np.tensordot(self._basis, by_coordinate, axes=1)

    def contrasts(self):
        j, k = np.triu_indices(self.n_outputs, 1)
        return self._basis[j] - self._basis[k]

    def ranges(self, raw):
        return np.ptp(raw, axis=1)


class HalfSquaredLoss(AbstractLoss):
    """Half the squared error of one or many targets."""

    curvature_bound = 1.0
    is_quadratic = True

    def differentiate(self, raw, y, weight, indices):
        _kernels.losses.half_squared(raw, y, weight, indices)

    def evaluate(self, raw, y, weight, indices):
        return _kernels.losses.evaluate_half_squared(raw, y, weight, indices)

    def curvatures(self, raw):
        return np.ones((len(raw), 1, 1))

    def curvature_state(self, raw):
        return np.ones_like(raw)

    def bend(self, along, state):
        pass  # the identity


def _logistic_variance(raw):
    small = np.exp(-np.abs(raw))
    return small / (1.0 + small) ** 2
