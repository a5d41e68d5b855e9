"""What rounding may have done to a gradient and to a Hessian that are kept.

In the standard model of floating-point arithmetic a computed sum is the exact one of
terms each of which is off by some units u in the last place (Higham, "Accuracy and
Stability of Numerical Algorithms", 2002, section 3.1). With H for the Hessian, q for
its order and ``D_j^2 = H_jj``, there are three kinds of errors.

1. *Of sums.* A sum over rows ``sum_i r_i x_ij`` is off by

       |e_j| <= u sum_i |r_i| (|x_ij - c_j| + |c_j|) <= u ||r|| D_j (1 + offset_j)

   for a squared error, by Cauchy-Schwarz. For other losses, with M the largest
   ``||x_i||_{H^-1}``, which is the largest leverage but for the constant K of
   self-concordance, it is off by ``u M D_j (1 + offset_j) sum_i |r_i|``, for
   ``|x_ij|^2 <= H_jj x_i' H^-1 x_i``. The sum of ``|r_i|``, derivatives times weights,
   is bounded by the total weight or by the sum of the losses: the derivative of a
   log-loss is the probability of the other classes, which is at most 1 and at most the
   loss (`AbstractLoss.gradient_sum_bound`). With ``H = D C D``, C of unit diagonal,
   errors ``|e_j| <= e D_j`` weigh

       ||e||_{H^-1}^2 = (D^-1 e)' C^-1 (D^-1 e) <= e^2 sum_jk |(C^-1)_jk|,

   and where their signs are those of chance e^2 times the trace of C^-1 on average:
   that is q where columns do not correlate, and about the size of C^-1 where some
   nearly do. So they weigh most in directions that have hardly any rows, or none but
   the penalty: with fewer rows than columns, and a tiny penalty.

2. *Of raw predictions.* One is off by
   ``|e_i| <= u sum_j |w_j| (|x_ij - c_j| + |c_j|)``, its derivative by l'' e_i, and

       ||sum_i l_i'' e_i x_i||_{H^-1} <= (sum_i l_i'' e_i^2)^(1/2)
                                      <= u sum_j |w_j| D_j (1 + offset_j).

   These are combinations of rows, and condition does not matter. They are of the same
   size as the rounding of the published intercept, and of a reference plus a step. When
   rows leave, H is less than it was and they weigh more, but never more than errors of
   the first kind do.

3. *Of the Hessian.* ``|E_jk| <= u D_j D_k`` when it is made. What rows that left were
   in it leaves its rounding: D is less then, and the error is not. A step v makes an
   error of the first kind of it, ``|(E v)_j| <= u D_j sum_k D_k |v_k|``, and norms
   differ by at most ``|v'Ev| <= u |C^-1| v'Hv`` (up to a factor of q that errors of the
   same sign would make).

The gradient is the sums plus the penalty's part P w: rounding of that is at most
``u ||P w||_{H^-1} <= u ||w||_P``, for H is at least P.

Units u are a few, not the number of terms: sums are made in blocks, and what many edits
add are steps of a random walk.
"""

from dataclasses import dataclass

import numpy as np

_EPS = np.finfo(float).eps
# In units of the unit roundoff: of a raw prediction; of an entry of a new Hessian; of
# taking rows out of it and adding others; of a product with it.
_OF_PREDICTION = 4.0
OF_HESSIAN = 8.0
_OF_ADDITION = 2.0
_OF_PRODUCT = 4.0
# The relative error of a Hessian, in its own norm, that calls for a new one; and what
# that must gain.
_WORN = 0.01
_LEAST_GAIN = 4.0


@dataclass(frozen=True)
class Noise:
    """What rounding may have done to cached sums of gradients.

    Attributes
    ----------
    of_sums : float
        The first kind: ``max_j |e_j| / D_j``; to be multiplied by one plus the largest
        offset, and by M where the loss is not quadratic.
    of_predictions : float
        The second kind, in the norm of H^-1 as it was when they were made.
    growth : float
        At most what that norm has grown by since.
    """

    of_sums: float = 0.0
    of_predictions: float = 0.0
    growth: float = 1.0


class Rounding:
    """What a kept curvature knows of rounding: a part of `Curvature`.

    It reads its attributes hessian, is_quadratic, largest_range (M), inflation,
    offsets, lost, spread_error and uncertainty.
    """

    @property
    def relative_error(self):
        """What rounding may have done to the Hessian, next to it, in its own norm."""
        return _EPS * self.lost * self.hessian.condition()

    @property
    def is_worn(self):
        """Whether edits cost the Hessian digits that a new one would have."""
        return self.gains_by_new and self.relative_error > _WORN

    @property
    def gains_by_new(self):
        """Whether a new Hessian would have clearly more digits."""
        return self.lost > _LEAST_GAIN * OF_HESSIAN

    def lost_after(self, hessian):
        """`lost` when the Hessian has become another one by an edit."""
        ratio = max(1.0, hessian.largest_ratio(self.hessian.spreads()))
        return float(np.hypot(self.lost * ratio**2, _OF_ADDITION))

    @property
    def amplification(self):
        """What the norm of H^-1 of errors of the first kind is, next to e."""
        return float(np.sqrt(self.hessian.order + self.hessian.inverse_size()))

    def rounding(self, noise, reference):
        """What rounding did to a gradient at a reference, in the norm of H^-1.

        Parameters
        ----------
        noise : Noise
        reference : ndarray of shape (n_systems, q)
        """
        of_sums = noise.of_sums * (1.0 + self.offsets.max(initial=0.0))
        if not self.is_quadratic:
            of_sums *= self.largest_range
        amplification = self.amplification
        of_predictions = min(noise.growth, amplification) * noise.of_predictions
        penalised = np.sqrt(np.sum(self.hessian.penalty * reference**2))
        of_penalty = (self.spread_error + _OF_PREDICTION * _EPS) * penalised
        rounding = amplification * of_sums + of_predictions + of_penalty
        return rounding + self.uncertainty

    def slack(self, gradient, step, noise, reference):
        """What rounding left of a gradient after a step, in the norm of H^-1.

        The gradient there is that at the reference, with its rounding, plus the product
        of the step with the exact Hessian; what is known is the product with the
        computed one, and what the solution left of the system.
        """
        left = self.rounding(noise, reference)
        left += self.hessian.dual_norm(gradient + self.hessian.product(step))
        return left + self.amplification * self._of_product(step)

    def noise_of_predictions(self, reference, sizes=None):
        """The second kind, of all rows; or of some, with their own sizes for D.

        Parameters
        ----------
        reference : ndarray of shape (n_systems, q)
        sizes : ndarray of shape (n_systems, q), optional
        """
        terms = np.abs(reference) * (self.hessian.spreads() if sizes is None else sizes)
        terms = terms.reshape(-1, len(self.offsets)) * (1.0 + self.offsets)
        return float(_OF_PREDICTION * _EPS * terms.sum())

    def noise_after(self, problem, edit, sums, measured, engine):
        """What rounding may have done to gradient sums after an edit: a `Noise`.

        The second kind is X'v, with one row of X for every one that was ever read.
        Squares of v add up, and ``||X'v||_{H^-1} <= g ||v||`` for as long as
        ``X'X <= g^2 H``. Where a fraction h of H leaves, X'X gains as much once more,
        and ``X'X <= (g^2 + h) H <= (g^2 + h) / (1 - h) H'``; where rows join, both gain
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
        kept = engine.curvature
        if kept is not None and kept.inflation <= self.inflation:
            grown = self.inflation / kept.inflation
            ratio = max(1.0, self.hessian.largest_ratio(kept.hessian.spreads()))
        else:
            grown = self.growth_without(problem, edit.removed)
            ratio = np.sqrt(grown)
        reference = problem.vectors(engine.reference)
        of_all = self.noise_of_predictions(reference)
        of_sums = ratio * engine.noise
        of_predictions = ratio * max(engine.raw_noise, of_all)
        growth = np.sqrt((engine.raw_growth**2 + 1.0 - 1.0 / grown) * grown)
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
        """The same when the sums of a squared error were moved to another place.

        Parameters
        ----------
        problem : Problem
        noise : Noise
        sums : ndarray of shape (1, n_outputs, n_dof)
            There.
        moved : ndarray of shape (n_systems, q)
        """
        of_sums = noise.of_sums + self._next_to_columns(self._of_product(moved))
        of_sums += self._of_addition(problem, sums)
        return Noise(float(of_sums), noise.of_predictions, noise.growth)

    def _of_product(self, step):
        """Rounding of ``H step``: ``max_j |e_j| / D_j``.

        That of the entries of H, and of making the product.
        """
        sizes = np.sum(np.abs(step) * self.hessian.spreads(), axis=1)
        return float((self.lost + _OF_PRODUCT) * _EPS * np.linalg.norm(sizes))

    def _of_addition(self, problem, sums):
        """Rounding of gradient sums that something was added to, as `of_sums`."""
        sizes = np.tensordot(problem.group_weight, np.abs(sums), axes=1)
        if len(sizes) != len(self.hessian.penalty):  # coordinates mix outputs
            sizes = np.linalg.norm(sizes, axis=0)[np.newaxis]
            sizes = np.tile(sizes, (1, self.hessian.order // sizes.size))
        return self._next_to_columns(_EPS * self.hessian.largest_ratio(sizes))

    def _next_to_columns(self, size):
        """Something that is to be multiplied by neither offsets nor leverages."""
        size /= 1.0 + self.offsets.max(initial=0.0)
        if self.is_quadratic or self.largest_range == 0.0:
            return size
        return size / self.largest_range


def offsets(objective, hessian):
    """How far from zero the columns' centres are, in standard deviations."""
    found = np.zeros(objective.n_dof)
    if objective.fit_intercept and objective.centre.any():
        spreads = hessian.spreads()[0][: objective.n_dof]
        found[:-1] = np.abs(objective.centre) * spreads[-1] / spreads[:-1]
    return found
