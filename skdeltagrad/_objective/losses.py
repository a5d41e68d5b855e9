"""Losses, pointwise on raw predictions: they never see the features.

======================= ========================== ============ ================
loss                    per row                    n_outputs    curvature bound
======================= ========================== ============ ================
`BinomialLoss`          log(1 + exp(z)) - y z      1            1/4
`MultinomialLoss`       log(sum_k exp(z_k)) - z_y  n_classes    1/2
`HalfSquaredLoss`       ||z - y||^2 / 2            n_targets    1
`PoissonLoss`           exp(z) - y (z - log(y))    1            none
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

# Rounding: of an entry of a second derivative, which is a sum of products of
# probabilities. They are at most 1.
_ROUNDING = 4.0 * np.finfo(float).eps
# Cost: with this many coordinates or more, sums over rows are computed from factors
# of the second derivatives, without arrays of (n_rows, n_coordinates, n_coordinates).
_LEAST_FACTORED = 8
# Mathematics: the logarithm of the largest number, rounded down.
_LARGEST_LOG = 709.0


class AbstractLoss(ABC):
    """A loss of raw predictions of shape (n_rows, n_outputs).

    What the solvers and the certificate may rely on is stated as facts. The defaults
    promise nothing: a loss that states no facts can be fitted and edited, without a
    certificate and without ``learning_rate="auto"``.

    Attributes
    ----------
    n_outputs : int
    n_coordinates : int
        See the module's docstring.
    is_quadratic : bool, default=False
        Whether the second derivative is the same wherever it is taken.
    couples_outputs : bool
        Whether the second derivative of a row couples its outputs, or differs from one
        output to the next. Where it does not, it is a multiple of the identity, and all
        outputs have the same Hessian. True by default for several outputs.
    targets_are_classes : bool, default=False
    starts_at_mean : bool, default=False
        Whether fits with an intercept start at a prediction for the mean target.
        Whether `y` holds class codes of shape (n_rows,), rather than real numbers of
        shape (n_rows, n_outputs).
    curvature_bound : float or None, default=None
        The largest eigenvalue that the second derivative can have. None where it is
        unbounded: then there is no smoothness constant.
    self_concordance : float or None, default=None
        The constant K of ``|l'''[u, u, a]| <= K osc(a) l''[u, u]``: see
        `_optimum.certificate`. None where no such constant is known: then there is no
        certificate, unless the loss is quadratic.
    gradient_bound : float or None, default=None
        At least the absolute value of the derivative in any output, for weight 1. None
        where it is unbounded.
    gradient_per_loss : float or None, default=None
        A constant c such that the derivative in any output, and what rounding does to
        it in units of the unit roundoff, are at most c times the loss. None where there
        is no such constant.
    """

    is_quadratic = False
    targets_are_classes = False
    starts_at_mean = False
    curvature_bound: float | None = None
    self_concordance: float | None = None
    gradient_bound: float | None = None
    gradient_per_loss: float | None = None

    def __init__(self, n_outputs):
        self.n_outputs = n_outputs

    @property
    def couples_outputs(self):
        return self.n_outputs > 1

    @property
    def n_coordinates(self):
        return self.n_outputs

    @property
    def n_curvatures(self):
        """Order of a row's second derivative; 1 where outputs are not coupled."""
        return self.n_coordinates if self.couples_outputs else 1

    def constant_prediction(self, mean):
        """Raw predictions, the same for all rows, where a fit with an intercept starts.

        It is asked only if the loss `starts_at_mean`, and otherwise they are zeros.

        Parameters
        ----------
        mean : ndarray of shape (n_outputs,)
            Weighted mean of the targets of all rows.

        Returns
        -------
        constant_prediction : ndarray of shape (n_outputs,)
        """
        return mean

    def essential_kinds(self, y, weight, has_intercept):
        """Kinds of rows without which there is no model.

        Parameters
        ----------
        y, weight : ndarray
            Targets and weights of some rows.
        has_intercept : bool

        Returns
        -------
        kinds : ndarray of shape (n_rows,), dtype int, or None
            The kind of each row; of every kind that there is a row must stay. -1 for
            rows on which nothing depends. None: nothing depends on any row.
        """
        return y if self.targets_are_classes else None

    @abstractmethod
    def differentiate(self, raw, y, weight, indices):
        """Overwrite raw predictions by weight times the derivative of the loss.

        `raw` belongs to the rows of `indices`; `y` and `weight` hold those of every
        storage index.
        """

    @abstractmethod
    def evaluate(self, raw, y, weight, indices):
        """Do the same, and return the sum of weight times the loss."""

    def gradient_sum_bound(self, weight, losses):
        """At least ``sum_i s_i |l_i'|`` over some rows; None where nothing bounds it.

        Parameters
        ----------
        weight : float
            Total weight of the rows.
        losses : float
            Sum of weight times loss.
        """
        bounds = []
        if self.gradient_bound is not None:
            bounds.append(self.gradient_bound * weight)
        if self.gradient_per_loss is not None:
            bounds.append(self.gradient_per_loss * losses)
        return min(bounds, default=None)

    @abstractmethod
    def second_derivatives(self, raw, y):
        """Second derivatives of every row, in the coordinates, for weight 1.

        Parameters
        ----------
        raw : ndarray of shape (n_rows, n_outputs)
            Raw predictions. Not read where the loss is quadratic.
        y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
            Targets of the same rows; likewise in the methods below.

        Returns
        -------
        second_derivatives : ndarray of shape (n_rows, m, m)
            m = n_curvatures.
        """

    is_factored = False
    """Whether `second_derivative_factors` is faster, for there are many coordinates."""

    def second_derivative_factors(self, raw, y):
        """Factors of the second derivatives, ``l'' = Q'diag(p)Q - mean mean'``.

        Returns
        -------
        diagonal : ndarray of shape (n_rows, n_outputs)
            p.
        mean : ndarray of shape (n_rows, n_coordinates)
        """
        raise NotImplementedError

    def to_second_derivative(self, diagonal):
        """``Q'diag(diagonal)Q``, shape (n_coordinates, n_coordinates)."""
        raise NotImplementedError

    def second_derivative_diagonals(self, raw, y):
        """Diagonals of the second derivatives: (n_rows, n_curvatures)."""
        return np.diagonal(self.second_derivatives(raw, y), axis1=1, axis2=2)

    def second_derivative_sum(self, raw, y, weight):
        """Weighted sum of the second derivatives: (n_curvatures, n_curvatures)."""
        return np.tensordot(weight, self.second_derivatives(raw, y), axes=1)

    @abstractmethod
    def hessian_state(self, raw, y):
        """What `hessian_product` needs to know of rows: (n_rows, n_outputs)."""

    @abstractmethod
    def hessian_product(self, along, state):
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

    @property
    def distance_scale(self):
        """What turns a range into a distance: K; 1 where there is none, or it is 0."""
        return self.self_concordance or 1.0

    def distances(self, raw):
        """By how much changes of raw predictions change the second derivatives.

        Returns
        -------
        distances : ndarray of shape (n_rows,)
            R of `_optimum.certificate`, row by row: K times the ranges. Second
            derivatives change by a factor of at most its exponential.
        """
        return self.distance_scale * self.ranges(raw)


class BinomialLoss(AbstractLoss):
    """Log-loss of two classes, codes 0 and 1."""

    targets_are_classes = True
    curvature_bound = 0.25
    self_concordance = 1.0  # |l'''| = |1 - 2 p| l''
    gradient_bound = 1.0
    gradient_per_loss = 1.0  # with p of the row's own class, 1 - p <= -log(p)

    def __init__(self):
        super().__init__(1)

    def differentiate(self, raw, y, weight, indices):
        _kernels.losses.binomial(raw, y, weight, indices)

    def evaluate(self, raw, y, weight, indices):
        return _kernels.losses.evaluate_binomial(raw, y, weight, indices)

    def second_derivatives(self, raw, y):
        return _logistic_variance(raw)[:, :, np.newaxis]

    def hessian_state(self, raw, y):
        return _logistic_variance(raw)

    def hessian_product(self, along, state):
        along *= state


class MultinomialLoss(AbstractLoss):
    """Log-loss of three or more classes, codes 0 to n_classes - 1."""

    targets_are_classes = True
    curvature_bound = 0.5
    self_concordance = 1.0  # Bach 2010, proposition 1
    gradient_bound = 1.0
    gradient_per_loss = 1.0  # with p of the row's own class, 1 - p <= -log(p)

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

    def second_derivatives(self, raw, y):
        """``Q' (diag(p) - p p') Q``."""
        basis, m = self._basis, self.n_coordinates
        probability = softmax(raw, axis=1)
        mean = probability @ basis
        if self.is_factored:  # one product for each row, and nothing of size m^3
            second = (basis.T * probability[:, np.newaxis]) @ basis
        else:  # one product for all rows
            squares = basis[:, :, np.newaxis] * basis[:, np.newaxis]
            second = (probability @ squares.reshape(-1, m * m)).reshape(-1, m, m)
        found = second - mean[:, :, np.newaxis] * mean[:, np.newaxis]
        # Where classes are equally likely the coordinates are not coupled, but for
        # rounding, which depends on the other rows of the block: a row that is taken
        # out of a sum of such entries would leave a multiple of itself.
        rounding = np.abs(found) <= _ROUNDING
        found[rounding & ~np.eye(m, dtype=bool)] = 0.0
        return found

    @property
    def is_factored(self):
        return self.n_coordinates >= _LEAST_FACTORED

    def second_derivative_factors(self, raw, y):
        probability = softmax(raw, axis=1)
        return probability, probability @ self._basis

    def to_second_derivative(self, diagonal):
        half = (self._basis.T * diagonal) @ self._basis
        return 0.5 * (half + half.T)

    def second_derivative_diagonals(self, raw, y):
        probability, mean = self.second_derivative_factors(raw, y)
        return probability @ self._basis**2 - mean**2

    def second_derivative_sum(self, raw, y, weight):
        if not self.is_factored:
            return super().second_derivative_sum(raw, y, weight)
        probability, mean = self.second_derivative_factors(raw, y)
        return (
            self.to_second_derivative(weight @ probability) - (mean.T * weight) @ mean
        )

    def hessian_state(self, raw, y):
        return softmax(raw, axis=1)

    def hessian_product(self, along, state):
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

    is_quadratic = True
    couples_outputs = False
    curvature_bound = 1.0

    def differentiate(self, raw, y, weight, indices):
        _kernels.losses.half_squared(raw, y, weight, indices)

    def evaluate(self, raw, y, weight, indices):
        return _kernels.losses.evaluate_half_squared(raw, y, weight, indices)

    def second_derivatives(self, raw, y):
        return np.ones((len(raw), 1, 1))

    def hessian_state(self, raw, y):
        return np.ones_like(raw)

    def second_derivative_sum(self, raw, y, weight):
        return weight.sum().reshape(1, 1)

    def hessian_product(self, along, state):
        pass  # the identity


class PoissonLoss(AbstractLoss):
    """Negative log-likelihood of counts whose mean is exp(z), but for a constant.

    The constant ``y log(y)`` makes the loss at least y, and at least what rounding is
    counted by. With the mean m, the derivative ``m - y`` is computed with the rounding
    of m and its own, which are at most ``u (m + |m - y|)``. For m <= y that is u y. For
    m = r y > y it is ``(2 r - 1) y`` units, next to a loss of ``(r - log(r)) y``: their
    quotient is 2.68 at its largest, at r = 3.95. For y = 0 it is 2.
    """

    self_concordance = 1.0  # l''' = l''
    gradient_per_loss = 3.0

    def __init__(self):
        super().__init__(1)

    starts_at_mean = True

    def constant_prediction(self, mean):
        return np.log(mean)

    def essential_kinds(self, y, weight, has_intercept):
        # Where all targets are 0 the mean, and with it the loss, can always be less.
        is_positive = (y[:, 0] > 0) & (weight > 0)
        return np.where(is_positive, 0, -1) if has_intercept else None

    def differentiate(self, raw, y, weight, indices):
        _kernels.losses.poisson(raw, y, weight, indices)

    def evaluate(self, raw, y, weight, indices):
        return _kernels.losses.evaluate_poisson(raw, y, weight, indices)

    def second_derivatives(self, raw, y):
        return self.hessian_state(raw, y)[:, :, np.newaxis]

    def hessian_state(self, raw, y):
        # Finite, so that rows of weight 0 add 0 to a Hessian whatever their prediction.
        return np.exp(np.minimum(raw, _LARGEST_LOG))

    def hessian_product(self, along, state):
        along *= state


def _logistic_variance(raw):
    small = np.exp(-np.abs(raw))
    return small / (1.0 + small) ** 2
