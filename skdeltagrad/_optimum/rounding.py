"""Bounds of the rounding errors of a gradient and a Hessian that are kept.

In the standard model of floating-point arithmetic a computed sum is the exact sum of
terms each of which has an error of some units u in the last place (Higham, "Accuracy
and Stability of Numerical Algorithms", 2002, section 3.1). With H for the Hessian, q
for its order and ``D_j^2 = H_jj``, there are three kinds of errors.

1. *Of sums.* A sum over rows ``sum_i r_i x_ij`` has an error of

       |e_j| <= u sum_i |r_i| (|x_ij - c_j| + |c_j|) <= u ||r|| D_j (1 + offset_j)

   for a squared error, by Cauchy-Schwarz. For other losses, with M the largest
   ``||x_i||_{H^-1}``, which is the largest leverage but for the constant K of
   self-concordance, the error is ``u M D_j (1 + offset_j) sum_i |r_i|``, because
   ``|x_ij|^2 <= H_jj x_i' H^-1 x_i``. The sum of ``|r_i|``, derivatives times weights,
   is bounded by the total weight or by the sum of the losses: the derivative of a
   log-loss is the probability of the other classes, which is at most 1 and at most the
   loss (`AbstractLoss.gradient_sum_bound`). With ``H = D C D``, C of unit diagonal,
   errors ``|e_j| <= e D_j`` have the norm

       ||e||_{H^-1}^2 = (D^-1 e)' C^-1 (D^-1 e) <= e^2 sum_jk |(C^-1)_jk|,

   and, if their signs are random, e^2 times the trace of C^-1 on average: that is q if
   columns do not correlate, and about the size of C^-1 if some are nearly collinear.
   These errors matter most in directions in which H is hardly more than the penalty:
   with fewer rows than columns, and a tiny penalty.

2. *Of raw predictions.* A prediction has an error
   ``|e_i| <= u sum_j |w_j| (|x_ij - c_j| + |c_j|)``, its derivative by l'' e_i, and

       ||sum_i l_i'' e_i x_i||_{H^-1} <= (sum_i l_i'' e_i^2)^(1/2)
                                      <= u sum_j |w_j| D_j (1 + offset_j).

   These errors are combinations of rows, so that the condition of H does not matter.
   They are as large as the rounding of the published intercept, and of a reference plus
   a step. When rows leave, H becomes smaller and the norm of these errors larger, but
   never larger than that of errors of the first kind.

3. *Of the Hessian.* ``|E_jk| <= u D_j D_k`` for a new Hessian. When rows leave, D
   decreases but the rounding error of their terms stays. Multiplied by a step v, this
   becomes an error of the first kind, ``|(E v)_j| <= u D_j sum_k D_k |v_k|``, and norms
   differ by at most ``|v'Ev| <= u |C^-1| v'Hv`` (up to a factor of q if all errors have
   the same sign).

The gradient is the sums plus the gradient of the penalty, P w. Its rounding is at most
``u ||P w||_{H^-1} <= u ||w||_P``, because H is at least P.

The number of units u is small and not the number of terms: sums are computed in blocks,
and the errors of many edits are steps of a random walk.
"""

from dataclasses import dataclass

import numpy as np

from .._utils.frozen import replace
from .hessian import over_groups

_EPS = np.finfo(float).eps  # rounding: its unit
# Rounding, in units of the unit roundoff: of a raw prediction; of an entry of a new
# Hessian; of taking rows out of it and adding others; of a product with it.
_ERROR_OF_PREDICTION = 4.0
ERROR_OF_NEW_HESSIAN = 8.0
_ERROR_OF_ADDITION = 2.0
_ERROR_OF_PRODUCT = 4.0
# Accuracy: a relative error of the Hessian, in its own norm, that calls for a new one.
# It slows the steps down by as much; a bound allows ten times of it.
_WORN = 0.01
# Accuracy: the factor by which a new Hessian must reduce the rounding of its entries.
_MIN_GAIN = 4.0


@dataclass(frozen=True)
class Noise:
    """Rounding errors of sums of gradients.

    Attributes
    ----------
    of_sums : float
        The first kind: ``max_j |e_j| / D_j``; to be multiplied by one plus the largest
        offset, and by M where the loss is not quadratic.
    of_predictions : float
        The second kind, in the norm of H^-1 as it was when they were made.
    growth : float
        At least the factor by which that norm has grown since.
    """

    of_sums: float = 0.0
    of_predictions: float = 0.0
    growth: float = 1.0


@dataclass(frozen=True)
class Gradient:
    """A gradient of F, and what is known of its rounding.

    Attributes
    ----------
    vectors : ndarray of shape (n_systems, q)
    noise : Noise
        Of the sums that it was computed from.
    reference : ndarray of shape (n_systems, q)
        The coefficients where it was taken.
    """

    vectors: np.ndarray
    noise: Noise
    reference: np.ndarray


class RoundingOfCurvature:
    """The part of `Curvature` that bounds rounding errors.

    It reads the attributes hessian, is_quadratic, largest_range (M), growth, offsets,
    entry_error, spread_error and uncertainty.
    """

    @property
    def relative_error(self):
        """Relative rounding error of the Hessian, in its own norm."""
        return _EPS * self.entry_error * self.hessian.condition()

    @property
    def is_worn(self):
        """Whether edits cost the Hessian digits that steps need."""
        return self.gains_digits and self.relative_error > _WORN

    @property
    def gains_digits(self):
        """Whether a new Hessian would have clearly more digits."""
        return self.entry_error > _MIN_GAIN * ERROR_OF_NEW_HESSIAN

    def entry_error_after(self, hessian):
        """Return `entry_error` after an edit has changed the Hessian to another one."""
        ratio = max(1.0, hessian.largest_ratio(self.hessian.spreads()))
        return float(np.hypot(self.entry_error * ratio**2, _ERROR_OF_ADDITION))

    @property
    def amplification(self):
        """Norm of H^-1 of errors of the first kind, as a multiple of e."""
        return float(np.sqrt(self.hessian.order + self.hessian.inverse_size()))

    def rounding(self, gradient):
        """Return the rounding error of a `Gradient`, in the norm of H^-1."""
        noise = gradient.noise
        of_sums = noise.of_sums * (1.0 + self.offsets.max(initial=0.0))
        if not self.is_quadratic:
            of_sums *= self.largest_range
        amplification = self.amplification
        of_predictions = min(noise.growth, amplification) * noise.of_predictions
        penalised = np.sqrt(np.sum(self.hessian.penalty * gradient.reference**2))
        of_penalty = (self.spread_error + _ERROR_OF_PREDICTION * _EPS) * penalised
        rounding = amplification * of_sums + of_predictions + of_penalty
        return rounding + self.uncertainty

    def rounding_after_step(self, step):
        """Return the rounding error of the gradient after a step, in the norm of H^-1.

        The gradient there is that at the beginning, with its rounding error, plus the
        product of the step with the exact Hessian. What is known is the product with
        the computed Hessian, and the residual of the linear system.
        """
        residual = step.gradient.vectors + self.hessian.product(step.vectors)
        error = self.rounding(step.gradient) + self.hessian.dual_norm(residual)
        return error + self.amplification * self._of_product(step.vectors)

    def noise_of_predictions(self, reference, sizes=None):
        """Return errors of the second kind: of all rows, or of some with sizes for D.

        Parameters
        ----------
        reference : ndarray of shape (n_systems, q)
        sizes : ndarray of shape (n_systems, q), optional
        """
        terms = np.abs(reference) * (self.hessian.spreads() if sizes is None else sizes)
        terms = terms.reshape(-1, len(self.offsets)) * (1.0 + self.offsets)
        return float(_ERROR_OF_PREDICTION * _EPS * terms.sum())

    def noise_after(self, problem, edit, sums, measured, engine):
        """Return the `Noise` of gradient sums after an edit.

        The second kind is X'v, with one row of X for every row that was ever read.
        Squares of v add up, and ``||X'v||_{H^-1} <= g ||v||`` for as long as
        ``X'X <= g^2 H``. If a fraction h of H leaves, X'X gains as much once more,
        and ``X'X <= (g^2 + h) H <= (g^2 + h) / (1 - h) H'``. If rows join, both gain
        the same.

        Parameters
        ----------
        problem : Problem
        edit : Edit
        sums : ndarray of shape (n_groups, n_outputs, n_dof)
            After the edit.
        measured : tuple of two Measurement
            Of the rows that left, and of those that joined.
        engine : OptimumEngine
            Before the edit: its reference, noise and curvature.
        """
        kept, noise = engine.curvature, engine.noise
        if kept is not None and kept.growth <= self.growth:
            grown = self.growth / kept.growth
            ratio = max(1.0, self.hessian.largest_ratio(kept.hessian.spreads()))
        else:
            grown = self.growth_without(problem, edit.removed)
            ratio = np.sqrt(grown)
        reference = problem.vectors(engine.reference)
        of_all = self.noise_of_predictions(reference)
        of_sums = ratio * noise.of_sums
        of_predictions = ratio * max(noise.of_predictions, of_all)
        growth = np.sqrt((noise.growth**2 + 1.0 - 1.0 / grown) * grown)
        parts = edit.removed, edit.added
        for indices, part in zip(parts, measured, strict=True):
            if not len(indices):
                continue
            sizes = problem.sizes(indices, reference, self)
            of_part = problem.noise_of(indices, part)
            if self.is_quadratic:
                of_part *= self.hessian.largest_ratio(sizes)
            of_sums += of_part
            of_rows = self.noise_of_predictions(reference, sizes)
            of_predictions = np.hypot(of_predictions, of_rows)
        of_sums += self._of_addition(problem, sums)
        return Noise(float(of_sums), float(of_predictions), float(growth))

    def noise_after_move(self, problem, noise, sums, moved):
        """Return the `Noise` of a squared error's sums, moved to another iterate.

        Parameters
        ----------
        problem : Problem
        noise : Noise
            Before the move.
        sums : ndarray of shape (1, n_outputs, n_dof)
            After the move.
        moved : ndarray of shape (n_systems, q)
            The change of the coefficients.
        """
        of_sums = noise.of_sums + self._next_to_columns(self._of_product(moved))
        of_sums += self._of_addition(problem, sums)
        return replace(noise, of_sums=float(of_sums))

    def _of_product(self, step):
        """Return the rounding error of ``H step``: ``max_j |e_j| / D_j``.

        It consists of that of the entries of H and that of the product itself.
        """
        sizes = np.sum(np.abs(step) * self.hessian.spreads(), axis=1)
        units = self.entry_error + _ERROR_OF_PRODUCT
        return float(units * _EPS * np.linalg.norm(sizes))

    def _of_addition(self, problem, sums):
        """Return the rounding error of an addition to gradient sums, as `of_sums`."""
        sizes = over_groups(np.abs(sums), problem.group_weight)
        if len(sizes) != len(self.hessian.penalty):  # coordinates mix outputs
            sizes = np.linalg.norm(sizes, axis=0)[np.newaxis]
            sizes = np.tile(sizes, (1, self.hessian.order // sizes.size))
        return self._next_to_columns(_EPS * self.hessian.largest_ratio(sizes))

    def _next_to_columns(self, size):
        """Divide an error by the factors of `of_sums` that do not apply to it."""
        size /= 1.0 + self.offsets.max(initial=0.0)
        if self.is_quadratic or self.largest_range == 0.0:
            return size
        return size / self.largest_range


def offsets(objective, hessian):
    """Return how far from zero the columns' centres are, in standard deviations."""
    found = np.zeros(objective.n_dof)
    if objective.fit_intercept and objective.centre.any():
        spreads = hessian.spreads()[0][: objective.n_dof]
        found[:-1] = np.abs(objective.centre) * spreads[-1] / spreads[:-1]
    return found
