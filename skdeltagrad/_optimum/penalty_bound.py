"""How far an iterate is from the optimum, where no Hessian is kept: by the penalty.

The certificate (`certificate`) needs ``nu = ||g||_{H^-1}`` of the gradient g and the
largest leverage L of a row, or upper bounds of them. Any positive definite B <= H
provides both,

    ||g||_{B^-1} >= ||g||_{H^-1},        L_B >= L_H,

and because its inequality (2) increases in nu and in L, the distance that follows is a
bound in the norm of H, as where H is kept. B only makes it larger, by the ratio of the
two norms of g. Here B is made of the penalty P and of the intercepts' part of the data
term, which take no memory.

Notation: H = D + P with D = sum_i s_i l_i'' (x) x_i x_i' the data term. Coefficients
are v, the intercepts u, so that x_i = (z_i, 1). P is the same for each of coupled
outputs, zero for u and otherwise positive. r is the largest ||z_i||_{P^-1} of a row,
and c the contrast of two outputs, ||c||^2 = 2 (of a single output, 1).

**Without intercepts** B = P: ||g||_{B^-1} = ||g||_{P^-1} and L <= K ||c|| r.

**With intercepts** D_00 = sum_i s_i l_i'' is the block of u, T = D_00^-1 D_0v, and

    D >= [T I]' D_00 [T I],         B = P + [T I]' D_00 [T I],                     (1)

because the difference of the two sides in the first formula is the Schur complement of
D_00 in D, which is positive semi-definite as D is. With t = u + T v for u,
||(v, u)||_B^2 = ||v||_P^2 + ||t||_{D_00}^2, and a functional g has the norm

    ||g||_{B^-1}^2 = ||g_v - T'g_0||_{P^-1}^2 + ||g_0||_{D_00^-1}^2.               (2)

T'g_0 = D_v0 y with D_00 y = g_0 is a product of D with (0, y): one pass. For any c,

    ||T'c||_{P^-1} <= r sqrt(tr D_00) ||c||_{D_00^-1}.                             (3)

With y = D_00^-1 c, T'c = sum_i s_i (l_i'' y) (x) z_i, and ||l_i'' y||^2 <= tr(l_i'')
y'l_i''y. So its norm is at most r sum_i s_i (tr l_i'')^(1/2) (y'l_i''y)^(1/2), to which
Cauchy-Schwarz applies: sum_i s_i y'l_i''y = y'D_00 y. Equation (2) with g = c (x) x_i,
(3), and the smallest eigenvalue m of D_00 bound all leverages at once:

    L^2 <= K^2 ||c||^2 [(r + r sqrt(tr D_00 / m))^2 + 1 / m].                      (4)

One output has tr D_00 = m: T' is a mean of rows, which is at most 2 r from any of them.

**Some rows** make the bound of a norm smaller. For any set S of rows,

    C = sum_{i in S} s_i l_i'' (x) x_i x_i' + P

is at most H, since every row's part is positive semi-definite. For any y, as
``||C y||_{H^-1} <= ||C y||_{C^-1}``,

    ||g||_{H^-1} <= (y'C y)^(1/2) + ||g - C y||_{B^-1}.                            (5)

y is the solution of C y = g by conjugate gradients, so that little is left for the last
term. Where the data decide, (5) is too large by sqrt(n / |S|) on average over S, and
where the penalty does, by nothing.

H, and with it B, may be that of an iterate at a distance R: `certificate` takes R into
account. y is computed, and D_00 y is not quite g_0: the rest is bounded by (2) and (3).

*Rounding* is that of `rounding`, in the norm of B^-1. A sum ``sum_i e_i (x) x_i`` with
``sum_i ||e_i|| <= e`` has at most the norm e r, and e (1 + r sqrt(tr D_00)) / sqrt(m)
for its intercepts. Columns that are centred at a have the rounding of r + ||a||_{P^-1}
for r. An error e_i of raw predictions adds ``D (e_i)``, whose norm in H^-1 is at most
``(sum_i s_i e_i' l_i'' e_i)^(1/2) <= max_i ||e_i|| sqrt(tr D_00)``.
"""

from dataclasses import dataclass

import numpy as np

from . import certificate
from .certificate import Bound
from .conjugate_gradient import ProductHessian
from .cost import PASSES_FOR_BOUND, PASSES_FOR_LARGEST
from .curvature import SINGULAR, UNBOUNDED

_EPS = np.finfo(float).eps  # rounding: its unit
# Rounding, in units of the unit roundoff: of a raw prediction, and of a product, as in
# `rounding`.
_ERROR_OF_PREDICTION = 4.0
_ERROR_OF_PRODUCT = 8.0
# Rounding: the smallest eigenvalue of D_00 must exceed its rounding by this factor, so
# that it has three digits.
_LEAST_DIGITS = 1e3
# Cost: the fraction of the rows whose Hessian is used in (5). With twice as many the
# bound was 1.2 times smaller, on digits; a product costs this fraction of a pass.
_FRACTION = 1.0 / 8.0
# Accuracy: what `nearly_dual_norm` may be of the rest of the system in (5), as a
# fraction of the whole: the bound is larger by at most about as much.
_FRACTION_LEFT = 0.1
# Cost: passes that are left to (5) after its system, for two products.
_RESERVE = 2.0
# Accuracy: (5) over the norm in the inverse of the preconditioner, as is expected.
_EXPECTED = 2.0
# Why there is no bound.
TOO_LARGE = "the gradient is too large for a bound by the penalty alone"
OUT_OF_PASSES = "the fit took all the passes that it may"
UNPENALISED = "the penalty is zero, and the Hessian of so many coefficients is not kept"


@dataclass(frozen=True)
class PenaltyBound:
    """B of the module's docstring, of a problem at the iterate of a Hessian.

    Attributes
    ----------
    hessian : ProductHessian
    penalty : ndarray of shape (n_coordinates, n_features)
        P.
    radius : float
        r.
    of_centre : float
        ``||a||_{P^-1}``, with a the centre of the columns.
    intercepts : ndarray of shape (n_coordinates, n_coordinates) or None
        D_00; None without intercepts.
    smallest : float
        Smallest eigenvalue of D_00, m.
    trace : float
        Of D_00 or, without intercepts, at least that of ``sum_i s_i l_i''``.
    """

    hessian: ProductHessian
    penalty: np.ndarray
    radius: float
    of_centre: float
    intercepts: np.ndarray | None
    smallest: float
    trace: float

    @classmethod
    def at(cls, hessian):
        """Return what bounds a Hessian from below, or why nothing does.

        Returns
        -------
        lower : PenaltyBound or None
        no_bound : str or None
            Why there is none.
        """
        problem = hessian.problem
        objective, loss = problem.objective, problem.objective.loss
        n_features, n_dof = objective.n_features, objective.n_dof
        no_bound = obstacle(problem)
        if no_bound is not None:
            return None, no_bound
        penalty = problem.penalty.reshape(-1, n_dof)[:, :n_features]
        radius, of_centre = problem.extent
        merged = objective.merged(problem.group_weight)
        sums = merged.second_derivative_sums(hessian.iterate, problem.indices)[0]
        problem.meter.spend(n_passes=PASSES_FOR_LARGEST)
        trace = np.trace(sums)
        if not np.isfinite([radius, of_centre, trace]).all():
            return None, SINGULAR
        smallest, intercepts = 1.0, None
        if objective.fit_intercept:
            smallest = np.linalg.eigvalsh(sums)[0]
            rounding = _EPS * len(sums) * max(trace, problem.weight)
            if not smallest > _LEAST_DIGITS * rounding:
                return None, SINGULAR
            intercepts = np.eye(len(penalty)) * sums[0, 0]
            if loss.couples_outputs:
                intercepts = sums
        return cls(
            hessian, penalty, radius, of_centre, intercepts, float(smallest),
            float(trace),
        ), None  # fmt: skip

    @property
    def leverage(self):
        """At least the largest leverage of a row: L, by (4)."""
        loss = self.hessian.problem.objective.loss
        return loss.distance_scale * self._largest_range

    @property
    def _largest_range(self):
        """At least the change of a raw prediction by a step of length 1."""
        squared = 1.0 if self.hessian.problem.objective.n_outputs == 1 else 2.0
        if self.intercepts is None:
            return np.sqrt(squared) * self.radius
        off = self.radius * (1.0 + np.sqrt(self.trace / self.smallest))
        return np.sqrt(squared * (off**2 + 1.0 / self.smallest))

    def nearly_dual_norm(self, vectors):
        """Return ``||v||_{B^-1}`` as if T were zero: no bound, and no pass."""
        coefficients, intercepts, _ = self._parts(vectors)
        squared_norm = np.sum(coefficients**2 / self.penalty)
        if self.intercepts is not None:
            solution = np.linalg.solve(self.intercepts, intercepts)
            squared_norm += intercepts @ solution
        return float(np.sqrt(max(0.0, squared_norm)))

    def expected_dual_norm(self, vectors, norm=None):
        """Estimate the norm that `bound` would use, without a pass.

        Parameters
        ----------
        vectors : ndarray of shape (n_systems, q)
        norm : float, optional
            Norm in the inverse of the preconditioner; computed by default.
        """
        nearly = self.nearly_dual_norm(vectors)
        if not self.hessian.precondition.is_kept:
            return nearly
        if norm is None:
            norm = self.hessian.dual_norm(vectors)
        return min(_EXPECTED * norm, nearly)

    def subset_dual_norm(self, vectors):
        """Return at least ``||v||_{H^-1}``: by (5), with the Hessian of some rows."""
        problem = self.hessian.problem
        some = problem.subset(_FRACTION)
        part = ProductHessian(some, self.hessian.iterate, self.hessian.precondition)

        def is_enough(residual, _, length):
            if not problem.meter.allows(n_passes=_RESERVE):
                return True  # any y gives a bound
            return self.nearly_dual_norm(residual) <= _FRACTION_LEFT * length

        solution, _, _ = part.solve(vectors, _FRACTION_LEFT, is_enough)
        product = part.product(solution)
        squared_norm = np.sum(solution * product)
        if not np.isfinite(squared_norm):
            return self.dual_norm(vectors)
        # B y is not exact: neither are the raw predictions of y, nor the sums.
        norm = np.sqrt(max(0.0, squared_norm))
        unit = _ERROR_OF_PRODUCT * _EPS
        of_rows = unit * np.sqrt(self.trace) * norm
        rounding = self._of_sums(of_rows) + self._of_predictions(solution)
        return float(norm * (1.0 + unit) + self.dual_norm(vectors - product) + rounding)

    def dual_norm(self, vectors):
        """Return at least ``||v||_{B^-1}``: by (2), in one pass with intercepts."""
        if self.intercepts is None:
            return self.nearly_dual_norm(vectors)
        _, intercepts, blocks = self._parts(vectors)
        solution = np.linalg.solve(self.intercepts, intercepts)
        direction = np.zeros_like(blocks)
        direction[:, -1] = solution
        product = self.hessian.product(direction.reshape(vectors.shape))
        coefficients, rest, _ = self._parts(vectors - product)
        of_intercepts = np.sqrt(max(0.0, solution @ self.intercepts @ solution))
        norm = np.hypot(np.sqrt(np.sum(coefficients**2 / self.penalty)), of_intercepts)
        unit = _ERROR_OF_PRODUCT * _EPS * (self.radius + self.of_centre)
        of_product = unit * np.sqrt(self.trace) * of_intercepts
        return float(norm + of_product + self._of_intercepts(np.linalg.norm(rest)))

    def bound(self, gradient, measured, iterate, error=0.0):
        """Bound the distance of an iterate to the optimum, in the norm of the Hessian.

        Parameters
        ----------
        gradient : ndarray of shape (n_systems, q)
        measured : Measurement
            By which the gradient is known, with the distance from the Hessian's place.
        iterate : ndarray of shape (n_outputs, n_dof)
        error : float, default=0.0
            At least the error of the gradient besides rounding, in the norm of H^-1.

        Returns
        -------
        bound : Bound or None
        no_bound : str or None
            Why there is none.
        """
        loss = self.hessian.problem.objective.loss
        # Some rows cost few products only where the preconditioner is near to their
        # Hessian: by the diagonal, this was more expensive than further steps.
        by_rows = self.hessian.precondition.is_kept
        norm = self.subset_dual_norm if by_rows else self.dual_norm
        nu = norm(gradient) + self.rounding(measured, iterate) + error
        if loss.is_quadratic:
            return Bound(nu, float(self._largest_range * nu)), None
        bound = certificate.after_gradient(
            nu, self.leverage, measured.largest_change, loss.distance_scale
        )
        return bound, None if bound else TOO_LARGE

    def rounding(self, measured, iterate):
        """Bound the rounding error of a measured gradient, in the norm of B^-1."""
        problem = self.hessian.problem
        loss, vectors = problem.objective.loss, problem.vectors(iterate)
        # What `noise` bounds is the largest output of each row; a squared error's is
        # the norm of all residuals, which Cauchy-Schwarz makes a sum.
        factor = problem.weight if loss.is_quadratic else loss.n_outputs
        of_rows = np.sqrt(factor) * problem.noise(measured)
        penalised = problem.spread_error * self._penalised(vectors)
        return self._of_sums(of_rows) + self._of_predictions(vectors) + penalised

    def _of_sums(self, of_rows):
        """Bound the rounding of a sum over rows, given that of the factors of rows."""
        extent = self.radius + self.of_centre
        return of_rows * extent + self._of_intercepts(of_rows)

    def _of_predictions(self, vectors):
        """Bound the rounding of raw predictions, and of the gradient of the penalty."""
        penalised, (_, intercepts, _) = self._penalised(vectors), self._parts(vectors)
        extent = self.radius + self.of_centre
        of_row = penalised * extent + np.linalg.norm(intercepts)
        unit = _ERROR_OF_PREDICTION * _EPS
        return unit * (np.sqrt(self.trace) * of_row + penalised)

    def _penalised(self, vectors):
        """``||v||_P``."""
        return np.sqrt(np.sum(self.hessian.problem.penalty * vectors**2))

    def _of_intercepts(self, size):
        """Bound the norm of errors of the intercepts, given their Euclidean norm."""
        if self.intercepts is None:
            return 0.0
        # By (2) and (3), the norm is at most this factor times that in D_00^-1.
        factor = 1.0 + self.radius * np.sqrt(self.trace)
        return float(factor * size / np.sqrt(self.smallest))

    def _parts(self, vectors):
        """Return the coefficients and intercepts of vectors, and both by coordinate."""
        blocks = vectors.reshape(len(self.penalty), -1)
        n_features = self.penalty.shape[1]
        intercepts = blocks[:, n_features:]
        if self.intercepts is not None:
            intercepts = intercepts[:, 0]
        return blocks[:, :n_features], intercepts, blocks


def obstacle(problem):
    """Return why the penalty of a problem bounds nothing; None if it does."""
    objective = problem.objective
    penalty = problem.penalty.reshape(-1, objective.n_dof)
    if not certificate.applies_to(objective.loss):
        return UNBOUNDED
    if not (penalty[:, : objective.n_features] > 0.0).all():
        return UNPENALISED
    return None


def bound_at(problem, measured, iterate):
    """Bound the distance of an iterate that was measured: see `PenaltyBound.bound`."""
    no_bound = obstacle(problem)
    if no_bound is not None:
        return None, no_bound
    if not problem.meter.allows(n_passes=PASSES_FOR_BOUND):
        return None, OUT_OF_PASSES
    try:
        lower, no_bound = PenaltyBound.at(problem.products(iterate))
    except np.linalg.LinAlgError:
        return None, SINGULAR
    if lower is None:
        return None, no_bound
    gradient = problem.gradient(measured.gradient_sums, iterate)
    return lower.bound(gradient, measured, iterate)
