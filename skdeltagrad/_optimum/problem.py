"""An objective with its penalty: what the loop minimises, and what it is told of it.

F(w) = sum_groups group_weight * losses + sum alpha / 2 (scale w)^2

Standardised columns are not stored: with an intercept, x / scale @ v is x @ w for
v = scale w, and what is penalised is v. The scale is 1 where columns are taken as they
are.
"""

from copy import copy
from functools import cached_property
from time import perf_counter

import numpy as np

from .conjugate_gradient import (
    PRECONDITIONERS,
    Diagonal,
    Kronecker,
    ProductHessian,
)
from .hessian import Hessian
from .meter import Meter
from .subsample import importance, sample

# What may be left of the way: as a share of the influence of a median row, and of w.
_LEFTOVER = 1e-3
_LEFTOVER_OF_ALL = 1e-8
# The same of w for a squared error, whose step is exact: more is digits lost to columns
# far from zero, and another pass finds them.
_LEFTOVER_OF_QUADRATIC = 1e-11
_N_SAMPLED = 256
_SAMPLED_ENTRIES = 2**22
# Entries of rows' gradients that are made at a time: 8 MB.
_GRADIENT_ENTRIES = 2**20
# More may be left where every digit costs passes.
_DEAR_DIGIT = 10.0
# Rounding of a sum over the rows, in a few units in the last place of its terms.
_ROUNDING = 8 * np.finfo(float).eps
# What a step for a quadratic loss may lose, by its bound, in units of what no step can
# undercut: 2e-9 of the norm of the iterate. The truth is mostly a hundredth of that.
_QUADRATIC = 1e5
# What a pass must gain to be worth it.
_GAIN_OF_PASS = 4.0
# A sample: this share of the rows, and so many for each coefficient; and the fewest
# rows that are worth it.
_SAMPLE = 0.15
_SAMPLE_PER_COEFFICIENT = 10
_LEAST_TO_SAMPLE = 2**13
# What the importance of rows costs.
_IMPORTANCE_PASSES = 0.5


class Problem:
    """An objective with its penalty, in the vectors that `Hessian` reads.

    Parameters
    ----------
    objective : DataTerm
    alpha : ndarray of shape (n_outputs,)
    group_weight : ndarray of shape (n_groups,)
    find_indices : callable
        The rows of the data term; called when a pass is made, for most edits make none.
    weight : float
        Their total weight, groups' factors included.
    curvature : {"exact", "kronecker", "diagonal"}
        A Hessian that is kept, or the preconditioner of one that is not.
    spread : ColumnSpread, optional
        Of columns that are to be as if standardised.

    Attributes
    ----------
    meter : Meter
        Counts passes and Hessians; without a limit, until one is set.
    lowest : tuple
        The lowest F that was measured on all rows, and the iterate.
    penalty : ndarray of shape (n_systems, q)
        Diagonal of the penalty's Hessian.
    scale : ndarray of shape (n_systems, q)
        Of each coefficient's column; 1 for the intercept.
    spread_error : float
        What rounding may have done to a penalty, as a share of it.
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
        return cls(
            model.data_term(training_set), model.alpha, factors, find_indices,
            float(weight_by_group @ factors), curvature, model.spread,
        )  # fmt: skip

    @cached_property
    def indices(self):
        """Storage indices of all rows: O(n)."""
        return self._find_indices()

    @property
    def origin(self):
        """Where a fit from nothing starts: an iterate."""
        return self.objective.origin(self.indices)

    @property
    def hessian_cost(self):
        """What a Hessian costs, in passes; measured on dense rows of several widths."""
        _, n_dof = self.objective.shape
        m = self.penalty.size // n_dof // self._n_systems
        return (1.0 + n_dof / 40.0) * (m + 1) / 2.0

    def sampled(self):
        """This problem on some of the rows, weighted; or None where that gains little.

        It is the same problem on average. A uniform sample will not do: columns that
        are absent from it, or nearly, would have no curvature but the penalty's.
        """
        n_rows = len(self.indices)
        n_expected = _SAMPLE_PER_COEFFICIENT * self.penalty.size
        n_expected = max(_SAMPLE * n_rows, n_expected, _LEAST_TO_SAMPLE)
        if self.objective.loss.is_quadratic or 2 * n_expected > n_rows:
            return None
        objective = self.objective
        squares = objective.standardised_squares(self.indices)
        kind = np.zeros(len(self.indices), np.int64)
        if objective.loss.targets_are_classes:
            kind = objective.y[self.indices]
        matters = importance(squares, kind)
        matters *= objective.weight[self.indices]
        rng = np.random.default_rng(0)  # the optimum does not depend on it
        drawn, probability = sample(matters, n_expected, rng)
        self.meter.spend(_IMPORTANCE_PASSES)
        weight = np.zeros(len(objective.weight))
        other = copy(self)
        other.indices = self.indices[drawn]
        weight[other.indices] = objective.weight[other.indices] / probability
        other.objective = objective.reweighted(weight)
        other.meter = self.meter.of_share(len(drawn) / n_rows)
        return other

    def vectors(self, by_output):
        """Something of shape (n_outputs, n_dof) in the coordinates of the loss."""
        coordinates = self.objective.loss.to_coordinates(by_output)
        return coordinates.reshape(self._n_systems, -1)

    def by_output(self, vectors):
        """The inverse of `vectors`."""
        coordinates = vectors.reshape(-1, self.objective.n_dof)
        return np.ascontiguousarray(self.objective.loss.to_outputs(coordinates))

    def measure(self, iterate, origin=None):
        """One pass over all rows."""
        self.meter.spend(n_passes=1)
        measured = self.objective.measure(iterate, self.indices, origin)
        value = self.value(measured, iterate)
        if value < self.lowest[0]:
            self.lowest = value, iterate
        return measured

    def seconds_per_pass(self, iterate, some, n_rows):
        """About what a pass over so many rows takes now, by the time of some."""
        started = perf_counter()
        self.objective.measure(iterate, some)
        return (perf_counter() - started) * max(1.0, n_rows / len(some))

    def value(self, measurement, iterate):
        """F."""
        data = self.group_weight @ measurement.loss_sums
        return data + 0.5 * np.sum(self.penalty * self.vectors(iterate) ** 2)

    def data(self, gradient_sums):
        """The data term's gradient from its sums by group."""
        return self.vectors(np.tensordot(self.group_weight, gradient_sums, axes=1))

    def gradient(self, gradient_sums, iterate):
        """Gradient of F from its data term's sums by group."""
        return self.data(gradient_sums) + self.penalty * self.vectors(iterate)

    def largest(self, gradient):
        """Largest entry of a gradient by standardised columns, per unit of weight."""
        return float(np.abs(gradient / self.scale).max() / self.weight)

    def noise(self, measured):
        """What rounding may do to a measured gradient: see `rounding.Noise`.

        ``u ||r||`` for a quadratic loss, of residuals r, whose squares sum to twice the
        losses; otherwise ``u sum_i s_i |l_i'|``, to be multiplied by the largest change
        of a raw prediction in a step of length 1.
        """
        return self._noise(measured, self.weight)

    def noise_of(self, indices, measured):
        """The same of the gradients of a few rows, next to these rows' columns."""
        return self._noise(measured, self.objective.weight[indices].sum())

    def _noise(self, measured, weight):
        losses = self.group_weight @ measured.loss_sums
        if self.objective.loss.is_quadratic:
            return float(_ROUNDING * np.sqrt(2.0 * losses))
        bound = self.objective.loss.gradient_sum_bound(weight, losses)
        return float(_ROUNDING * (bound or 0.0))  # without a bound, no certificate

    def sizes(self, indices, reference, curvature):
        """At least the roots of the diagonal of the Hessian of a few rows.

        By ``|x_ij| <= M D_j``, with M the largest change of a raw prediction in a step
        of length 1, and the bound of the second derivatives, which are not computed for
        that. Where there is no such bound, they are.

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
        """How far from the optimum is near enough.

        The step of a quadratic loss is exact but for rounding: less than that means
        that digits were lost, and a pass brings them back; but not all of them.

        Parameters
        ----------
        asked : float
            What `edit_tol` allows.
        floor : float
            What no step can undercut.
        least : float
            What a pass would leave at least.
        """
        if self.objective.loss.is_quadratic:
            asked = min(asked, max(_QUADRATIC * floor, _GAIN_OF_PASS * least))
        return asked + floor

    def products(self, iterate):
        """Hessian of F by its products, with a preconditioner: about a pass."""
        self.meter.spend(n_passes=1)
        return ProductHessian(self, iterate, self._preconditioner(self, iterate))

    @cached_property
    def standardised_moments(self):
        """Eigenvalues and eigenvectors of second moments of standardised rows."""
        self.meter.spend(n_hessians=1)
        objective = self.objective.merged(self.group_weight)
        moments = objective.second_moments(self.indices)[0]
        scale = self.scale.ravel()[: self.objective.n_dof]
        return Kronecker.decompose(moments / np.outer(scale, scale))

    def hessian(self, iterate):
        """Hessian of F, factorised."""
        self.meter.spend(n_hessians=1)
        sums = self.objective.hessian_sums(iterate, self.indices)
        return Hessian(sums, self.group_weight, self.penalty)

    def is_done(self, value, n_iter):
        """Whether there is nothing to gain but rounding, whatever the gradient says.

        A squared error takes one step, and one more for its rounding. Log-losses that
        are zero in working precision can be lowered for ever, by the intercept, where
        all weight is on one class: they are next to nothing beside the largest
        derivatives that there could be.
        """
        loss = self.objective.loss
        if loss.is_quadratic:
            return self.keeps_hessian and n_iter >= 2
        if loss.gradient_bound is None:
            return False
        return value <= np.finfo(float).eps * loss.gradient_bound * self.weight

    def leftover(self, iterate, hessian):
        """How far from the optimum is nothing: next to what one row does, and to w.

        The influence of a row is ``||g_i||_{H^-1}``; taken at the median of some.
        """
        n_sampled = min(_N_SAMPLED, max(8, _SAMPLED_ENTRIES // iterate.size))
        some = self.indices[:: max(1, len(self.indices) // n_sampled)]
        influences = []
        size = max(1, _GRADIENT_ENTRIES // iterate.size)
        for first in range(0, len(some), size):
            gradients = self.objective.row_gradients(
                iterate, some[first : first + size]
            )
            gradients = np.stack([self.vectors(gradient) for gradient in gradients])
            influences.append(hessian.dual_norms(gradients))
        of_row = _LEFTOVER * np.median(np.concatenate(influences))
        exact = self.keeps_hessian
        share = _LEFTOVER_OF_ALL
        if exact and self.objective.loss.is_quadratic:
            share = _LEFTOVER_OF_QUADRATIC
        of_all = share * hessian.norm(self.vectors(iterate))
        nothing = float(min(of_row, of_all))
        return nothing if exact else _DEAR_DIGIT * nothing


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
