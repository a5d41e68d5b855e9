"""The objective with its penalty, as solvers see it.

F(w) = sum_groups group_weight * losses + sum alpha / 2 (scale w)^2

Standardised columns are not stored: with an intercept, x / scale @ v is x @ w for
v = scale w, and v is penalised. The scale is 1 if columns are not standardised.
"""

from copy import copy
from dataclasses import replace
from functools import cached_property
from time import perf_counter

import numpy as np

from .._utils.row_blocks import row_blocks
from .conjugate_gradient import (
    PRECONDITIONERS,
    Diagonal,
    Kronecker,
    ProductHessian,
    Recycled,
)
from .cost import PASSES_FOR_IMPORTANCE, PASSES_FOR_LARGEST, Meter, hessian_cost
from .hessian import Hessian, over_groups
from .subsample import importance, sample

# Accuracy: the distance from the optimum that is negligible in a fit, as a fraction of
# the influence of a median row, and of the norm of w. Ten times as much would be 1% of
# the effect of removing a row.
_NEGLIGIBLE = 1e-3
_NEGLIGIBLE_OF_NORM = 1e-8
# Accuracy: the same of the norm for a squared error, whose step is exact: a larger
# distance means that columns far from zero have cost digits, and another pass recovers
# them.
_NEGLIGIBLE_OF_NORM_QUADRATIC = 1e-11
# Cost: more is negligible by this factor where every digit takes further passes.
_NEGLIGIBLE_BY_PRODUCTS = 10.0
# Cost: rows, or entries of their gradients, from which the median influence is taken.
_N_SAMPLED = 256
_SAMPLED_ENTRIES = 2**22
# Cost: entries of rows' gradients that are in memory at a time, 8 MB.
_GRADIENT_ENTRIES = 2**20
# Rounding of a sum over the rows, in a few units in the last place of its terms.
_ROUNDING = 8 * np.finfo(float).eps
# Accuracy: the bound of a step for a quadratic loss at which digits count as lost, in
# units of what no step can undercut: 2e-9 of the norm of the iterate. The true error is
# mostly a hundredth of that.
_LOST_DIGITS_QUADRATIC = 1e5
# Accuracy: a pass for lost digits must improve the bound by this factor.
_GAIN_OF_PASS = 4.0
# Rounding: the square of a larger weight overflows, with some room for that of rows.
_MOST_WEIGHT = 1e140
# Cost: a sample is this fraction of the rows, and so many rows for each coefficient. It
# does not pay for fewer rows than the last number.
_SAMPLE = 0.15
_SAMPLE_PER_COEFFICIENT = 10
_LEAST_TO_SAMPLE = 2**13


class Problem:
    """The objective with its penalty, of vectors in the coordinates of the loss.

    Parameters
    ----------
    objective : DataTerm
    alpha : ndarray of shape (n_outputs,)
    group_weight : ndarray of shape (n_groups,)
    find_indices : callable
        Returns the storage indices of the rows. It is called at the first pass, because
        most edits make none.
    weight : float
        Total weight of the rows, with the groups' factors.
    curvature : {"exact", "subset", "kronecker", "diagonal"}
        Whether the Hessian is kept ("exact"), or else its preconditioner.
    spread : ColumnSpread, optional
        Of columns that are to be as if standardised.

    Attributes
    ----------
    meter : Meter
        Counts passes and Hessians. It has no limit until one is set.
    lowest : tuple
        The lowest F that was measured on all rows, and its iterate.
    recycled : Recycled
        Of systems that were solved by products, for the next one.
    penalty : ndarray of shape (n_systems, q)
        Diagonal of the penalty's Hessian.
    scale : ndarray of shape (n_systems, q)
        Standard deviation of each coefficient's column; 1 for the intercept.
    spread_error : float
        Relative rounding error of the penalty.
    """

    def __init__(
        self,
        objective,
        alpha,
        group_weight,
        find_indices,
        weight,
        curvature,
        spread=None,
    ):
        self.meter = Meter()
        self.lowest = np.inf, None
        self.objective = objective
        self.group_weight = group_weight
        self._find_indices = find_indices
        self.keeps_hessian = curvature not in PRECONDITIONERS
        self._preconditioner = PRECONDITIONERS.get(curvature, Diagonal)
        loss = objective.loss
        n_features, n_dof = objective.n_features, objective.n_dof
        self._n_systems = 1 if loss.couples_outputs else loss.n_coordinates
        penalty = np.zeros((loss.n_coordinates, n_dof))
        penalty[:, :n_features] = alpha[: loss.n_coordinates, np.newaxis]
        scale, self.spread_error = np.ones_like(penalty), 0.0
        if spread is not None:
            scale[:, :n_features] = spread.scale()
            self.spread_error = spread.error()
        self.scale = scale.reshape(self._n_systems, -1)
        self.penalty = penalty.reshape(self._n_systems, -1) * self.scale**2
        self.largest_alpha = float(alpha.max())
        self.recycled = Recycled.nothing(penalty.size)
        self.weight = weight

    @classmethod
    def of(cls, model, training_set, weight_by_group, curvature, find_indices):
        """Return the problem of a model on rows of a training set.

        Parameters
        ----------
        model : Model
        training_set : TrainingSet
        weight_by_group : ndarray of shape (n_groups,)
            Total weight of the rows of each group.
        curvature, find_indices
            See `Problem`.
        """
        factors = model.group_factors(weight_by_group)
        weight = float(weight_by_group @ factors)
        if curvature in PRECONDITIONERS and not weight <= _MOST_WEIGHT:
            raise ValueError(
                f"sample_weight has a sum of {weight:.3g}, and with "
                f"curvature={curvature!r} it must be at most {_MOST_WEIGHT:.0g}, "
                "because squares of sums over the rows would overflow. Divide all "
                "weights by the same number, and multiply C (or divide alpha) by it."
            )
        return cls(
            model.data_term(training_set), model.alpha, factors, find_indices,
            weight, curvature, model.spread,
        )  # fmt: skip

    @cached_property
    def indices(self):
        """Storage indices of all rows; found in O(n)."""
        return self._find_indices()

    @property
    def origin(self):
        """The iterate from which a fit from zero starts."""
        return self.objective.origin(self.indices)

    @property
    def hessian_cost(self):
        """Cost of a Hessian, in passes."""
        _, n_dof = self.objective.shape
        return hessian_cost(n_dof, self.penalty.size // n_dof // self._n_systems)

    def sampled(self):
        """Return this problem on a weighted sample of the rows, or None if too few.

        On average it is the same problem. A uniform sample is not enough: columns that
        are all zero in it would have no curvature except the penalty's.
        """
        n_rows = len(self.indices)
        n_expected = _SAMPLE_PER_COEFFICIENT * self.penalty.size
        n_expected = max(_SAMPLE * n_rows, n_expected, _LEAST_TO_SAMPLE)
        if self.objective.loss.is_quadratic or 2 * n_expected > n_rows:
            return None
        return self.drawn(n_expected)

    def drawn(self, n_expected):
        """Return this problem on a weighted sample of about `n_expected` rows.

        The rows are drawn by their importance, always the same ones of the same rows.
        """
        n_rows = len(self.indices)
        if n_expected >= n_rows:
            return self
        objective = self.objective
        of_rows = objective.standardised_squares(self.indices)
        in_group = self._rows_by_class()
        for block in row_blocks(n_rows):
            some = self.indices[block]
            group = np.zeros(len(some), np.int64)
            if objective.loss.targets_are_classes:
                group = objective.y[some]
            of_rows[block] = importance(of_rows[block], group, in_group)
            of_rows[block] *= objective.weight[some]
        rng = np.random.default_rng(0)  # the optimum does not depend on it
        drawn, probability = sample(of_rows, n_expected, rng)
        self.meter.spend(PASSES_FOR_IMPORTANCE)
        weight = objective.numbers(len(objective.weight))
        other = self._of_some(self.indices[drawn])
        weight[other.indices] = objective.weight[other.indices] / probability
        other.objective = objective.reweighted(weight)
        return other

    def _rows_by_class(self):
        """Return the number of rows of each class, of all rows without classes."""
        objective, indices = self.objective, self.indices
        if not objective.loss.targets_are_classes:
            return np.array([len(indices)])
        n_classes = max(2, objective.n_outputs)
        return sum(
            np.bincount(objective.y[indices[block]], minlength=n_classes)
            for block in row_blocks(len(indices))
        )

    def subset(self, fraction):
        """Return this problem on a fraction of the rows, with their own weights.

        Its Hessian is at most that of all rows. The rows are drawn uniformly, always
        the same ones of the same rows.
        """
        n_rows = len(self.indices)
        n_drawn = max(1, int(fraction * n_rows))
        rng = np.random.default_rng(0)  # a bound holds for any rows
        drawn = rng.choice(n_rows, n_drawn, replace=False, shuffle=False)
        return self._of_some(self.indices[np.sort(drawn)])

    def _of_some(self, indices):
        other = copy(self)
        other.indices = indices
        other.meter = self.meter.of_sample(len(indices) / len(self.indices))
        return other

    def vectors(self, by_output):
        """Return an array (n_outputs, n_dof) in the coordinates of the loss."""
        coordinates = self.objective.loss.to_coordinates(by_output)
        return coordinates.reshape(self._n_systems, -1)

    def by_output(self, vectors):
        """Return the array (n_outputs, n_dof) of vectors (n_systems, q)."""
        coordinates = vectors.reshape(-1, self.objective.n_dof)
        return np.ascontiguousarray(self.objective.loss.to_outputs(coordinates))

    def without_common_part(self, iterate):
        """Return an iterate without what all classes have in common.

        No row sees it, and the penalty does. It is 0 in every step, but rounding of
        earlier, larger iterates would stay in it for good.
        """
        return self.by_output(self.vectors(iterate))

    def measure(self, iterate, origin=None):
        """Measure the data term at an iterate, by a pass.

        With an `origin`, the largest change of a raw prediction from there as well.
        """
        self.meter.spend(n_passes=1)
        measured = self.objective.measure(iterate, self.indices, origin)
        value = self.value(measured, iterate)
        if value < self.lowest[0]:
            self.lowest = value, iterate
        return measured

    def seconds_per_pass(self, iterate, some, n_rows):
        """Estimate the time of a pass over `n_rows` rows by that over some."""
        started = perf_counter()
        self.objective.measure(iterate, some)
        return (perf_counter() - started) * max(1.0, n_rows / len(some))

    def value(self, measurement, iterate):
        """Return F, given its data term."""
        data = self.group_weight @ measurement.loss_sums
        return data + 0.5 * np.sum(self.penalty * self.vectors(iterate) ** 2)

    def data(self, gradient_sums):
        """Return the data term's gradient, given its sums by group."""
        return self.vectors(over_groups(gradient_sums, self.group_weight))

    def gradient(self, gradient_sums, iterate):
        """Return the gradient of F, given its data term's sums by group."""
        return self.data(gradient_sums) + self.penalty * self.vectors(iterate)

    def largest(self, gradient):
        """Return the largest entry of a gradient, per unit of weight and of scale."""
        return float(np.abs(gradient / self.scale).max() / self.weight)

    def noise(self, measured):
        """Return the rounding error of a measured gradient: see `rounding.Noise`.

        It is ``u ||r||`` for a quadratic loss with residuals r, whose squares sum to
        twice the losses; otherwise ``u sum_i s_i |l_i'|``, to be multiplied by the
        largest change of a raw prediction in a step of length 1.
        """
        return self._noise(measured, self.weight)

    def noise_of(self, indices, measured):
        """Return `noise` of a few rows, relative to the columns of these rows."""
        return self._noise(measured, self.objective.weight[indices].sum())

    def _noise(self, measured, weight):
        losses = self.group_weight @ measured.loss_sums
        if self.objective.loss.is_quadratic:
            return float(_ROUNDING * np.sqrt(2.0 * losses))
        bound = self.objective.loss.gradient_sum_bound(weight, losses)
        return float(_ROUNDING * (bound or 0.0))  # without a bound, no certificate

    def sizes(self, indices, reference, curvature):
        """Bound the square roots of the diagonal of the Hessian of a few rows.

        ``|x_ij| <= M D_j``, with M the largest change of a raw prediction in a step of
        length 1. If second derivatives have a bound, they are not computed.

        Parameters
        ----------
        indices : ndarray of shape (n_rows,)
        reference : ndarray of shape (n_systems, q)
            Where the gradients of the rows were computed.
        curvature : Curvature
            Of the current training rows.

        Returns
        -------
        sizes : ndarray of shape (n_systems, q)
        """
        objective, bound = self.objective, self.objective.loss.curvature_bound
        if bound is not None and not objective.loss.is_quadratic:
            weight = objective.weight[indices] * bound
            if len(self.group_weight) > 1:
                weight = weight * self.group_weight[objective.group[indices]]
            spreads = curvature.hessian.spreads()
            return curvature.largest_range * np.sqrt(weight.sum()) * spreads
        diagonals = objective.hessian_diagonals(self.by_output(reference), indices)
        squares = np.tensordot(self.group_weight, diagonals, axes=1)
        return np.sqrt(np.maximum(squares, 0.0)).reshape(self.penalty.shape)

    def tolerance(self, asked, floor, least):
        """Return the largest distance from the optimum that an edit may leave.

        The step of a quadratic loss is exact apart from rounding: a larger distance
        means that digits were lost, and a pass recovers most of them.

        Parameters
        ----------
        asked : float
            Distance that `edit_tol` allows.
        floor : float
            Distance that no step can undercut.
        least : float
            Distance that a pass would leave at least.
        """
        if self.objective.loss.is_quadratic:
            asked = min(
                asked, max(_LOST_DIGITS_QUADRATIC * floor, _GAIN_OF_PASS * least)
            )
        return asked + floor

    def products(self, iterate):
        """Return the Hessian of F as products, with a preconditioner: about a pass."""
        self.meter.spend(n_passes=1)
        precondition = self.recycled.preconditioner
        if precondition is None:
            precondition = self._preconditioner(self, iterate)
        if precondition.is_kept:
            self.recycled = replace(self.recycled, preconditioner=precondition)
        return ProductHessian(self, iterate, precondition)

    @cached_property
    def extent(self):
        """Largest norm of a row in the inverse of the penalty, and that of the centre.

        Intercepts do not count, and the penalty must be positive otherwise. Of several
        outputs' penalties the smallest is taken.
        """
        objective = self.objective
        penalty = self.penalty.reshape(-1, objective.n_dof)[:, : objective.n_features]
        scale, largest = 1.0 / penalty.min(axis=0), 0.0
        for block in row_blocks(len(self.indices)):
            some = self.indices[block]
            squares = objective.squared_distances(some, scale=scale)
            largest = max(largest, squares.max(initial=0.0))
        self.meter.spend(n_passes=PASSES_FOR_LARGEST)
        of_centre = 0.0
        if objective.fit_intercept:
            of_centre = np.sum(scale * objective.centre**2)
        return float(np.sqrt(largest)), float(np.sqrt(of_centre))

    @property
    def standardised_moments(self):
        """Eigenvalues and eigenvectors of second moments of standardised rows.

        They may be those of the rows before some edits.
        """
        if self.recycled.moments is None:
            self.meter.spend(n_hessians=1)
            objective = self.objective.merged(self.group_weight)
            moments = objective.second_moments(self.indices)[0]
            scale = self.scale.ravel()[: self.objective.n_dof]
            moments = Kronecker.decompose(moments / np.outer(scale, scale))
            self.recycled = replace(self.recycled, moments=moments)
        return self.recycled.moments

    def hessian(self, iterate):
        """Compute the Hessian of F, with its factors."""
        self.meter.spend(n_hessians=1)
        sums = self.objective.hessian_sums(iterate, self.indices)
        return Hessian(sums, self.group_weight, self.penalty)

    def is_done(self, value, n_iter):
        """Whether only rounding is left to gain, whatever the gradient is.

        A squared error takes one step, and one more for its rounding. If all weight is
        on one class, a log-loss decreases without end as the intercept grows; it is
        done if F is below the rounding of the largest derivatives that are possible.
        """
        loss = self.objective.loss
        if loss.is_quadratic:
            return self.keeps_hessian and n_iter >= 2
        if loss.gradient_bound is None:
            return False
        return value <= np.finfo(float).eps * loss.gradient_bound * self.weight

    def negligible_distance(self, iterate, hessian):
        """Return a distance from the optimum that is negligible in a fit.

        It is small compared with the influence of a row, ``||g_i||_{H^-1}``, of which
        the median over a sample is taken, and with w.
        """
        n_sampled = min(_N_SAMPLED, max(8, _SAMPLED_ENTRIES // iterate.size))
        some = self.indices[:: max(1, len(self.indices) // n_sampled)]
        influences = []
        size = max(1, _GRADIENT_ENTRIES // iterate.size)
        for first in range(0, len(some), size):
            of_rows = self.objective.row_gradients(iterate, some[first : first + size])
            # `to_coordinates` takes the outputs first.
            coordinates = self.objective.loss.to_coordinates(of_rows.swapaxes(0, 1))
            of_rows = coordinates.swapaxes(0, 1).reshape(
                len(of_rows), self._n_systems, -1
            )
            influences.append(hessian.dual_norms(of_rows))
        of_row = _NEGLIGIBLE * np.median(np.concatenate(influences))
        exact = self.keeps_hessian
        fraction = _NEGLIGIBLE_OF_NORM
        if exact and self.objective.loss.is_quadratic:
            fraction = _NEGLIGIBLE_OF_NORM_QUADRATIC
        of_norm = fraction * hessian.norm(self.vectors(iterate))
        negligible = float(min(of_row, of_norm))
        return negligible if exact else _NEGLIGIBLE_BY_PRODUCTS * negligible


def problem_of(model, training_set, indices):
    """Return the problem of a model on some rows, whatever the solver.

    Parameters
    ----------
    model : Model
    training_set : TrainingSet
    indices : ndarray of shape (n_rows,)
        Storage indices of the rows.
    """
    by_group = model.data_term(training_set).weight_by_group(indices)
    return Problem.of(model, training_set, by_group, "diagonal", lambda: indices)
