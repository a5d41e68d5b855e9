"""How far an iterate can be from the optimum: bounds, with their proofs.

The bounds hold for losses that are self-concordant in this form: there is a constant K,
`AbstractLoss.self_concordance`, such that for a row with raw predictions z, any
change a of them and any direction u

    |l'''(z)[u, u, a]| <= K osc(a) l''(z)[u, u],      osc(a) = max a - min a

(one output: |a|). K is 1 for the log-losses (Bach 2010, "Self-concordant analysis for
logistic regression", EJS 4, proposition 1; Sun and Tran-Dinh 2019, Math. Program. 178).
The logarithm of l''(z + ta)[u, u] changes with t by at most K osc(a), so that

    e^{-K osc(a)} l''(z) <= l''(z + a) <= e^{K osc(a)} l''(z).

This also holds with weights. Summed over rows, and with any quadratic
penalty, with the *distance* R(v) = K max_i osc(x_i v):

    e^-R(v) H(w) <= H(w + v) <= e^R(v) H(w).                                     (1)

Let B <= H(w) be positive definite, ||v||_B^2 = v'Bv, and L the largest *leverage*, K
times the maximum over rows and pairs of outputs of ||(e_j - e_k) (x) x_i||_{B^-1}; then
R(v) <= L ||v||_B. K is in R and in L (`AbstractLoss.distances`, `Leverages`), and in no
formula below.

(2) Exact gradient g at w, nu = ||g||_{B^-1}. If L nu < 1 there is a unique optimum w*,

        ||w - w*||_B <= -log(1 - L nu) / L,      R(w - w*) <= -log(1 - L nu).

    With v = w* - w:  -g'v = int v'H(w + tv)v dt >= ||v||_B^2 (1 - e^-R) / R by (1), and
    -g'v <= nu ||v||_B, so ||v||_B (1 - e^-R) / R <= nu; (1 - e^-r) / r decreases and
    R <= L ||v||_B, so 1 - e^{-L ||v||_B} <= L nu.

(3) No pass. H known at h, g at w, r = R(w - h); a step d = -H^-1 g, and rho at least
the largest R of a row along it (L ||d||_H, for example):

        ||g(w + d)||_{H^-1} <= [e^r - 1 + e^r phi(rho) min(rho, q)] ||d||_H,
        phi(rho) = (e^rho - 1 - rho) / rho^2,
        q^2 >= sum_i l_i''(h)[a_i, a_i] (K osc(a_i))^2 / ||d||_H^2,  a_i = x_i d.

    g(w + d) = (H(w) - H) d + int (H(w + td) - H(w)) d dt. By (1) the first term is at
    most (e^r - 1) ||d||_H. In the second a row contributes, along a direction u, with
    R_i = K osc(a_i), at most

        int (e^{t R_i} - 1) dt l_i''(w)[u, a_i] <= phi(R_i) R_i l_i''(w)[u, a_i],

    l_i''(w) <= e^r l_i''(h), phi increases, and Cauchy-Schwarz over the rows with
    ||u||_H = 1 leaves q ||d||_H, or rho ||d||_H as R_i <= rho. Two values of q:
    sqrt(d' Q d) with Q = sum_i L_i^2 l_i'' (x) x_i x_i', because R_i <= L_i ||d||_H;
    and that of the rows themselves, by a pass without their targets.
    Then (2) at w + d with B = e^-(r + rho) H.

(4) The same, row by row. With r_i = R_i(w - h) for the distance of row i alone, and
    R_i = R_i(d),

        ||g(w + d)||_{H^-1}^2 <= sum_i l_i''(h)[a_i, a_i] g_i^2,
        g_i = e^{r_i} (e^{R_i} - 1) / R_i - 1 <= e^{x_i} - 1,
        x_i = r_i + R_i / 2 + R_i^2 / 24.

    By (1) for the row, the second derivative at w + td and that at h are at most e^s
    times each other, with s = r_i + t R_i, so that their difference, along a_i and
    along u_i = x_i u, is at most (e^s - 1) (l_i''[a_i, a_i] l_i''[u_i, u_i])^(1/2) with
    l_i'' at h. The integral of e^s - 1 over t is g_i, and Cauchy-Schwarz over the rows
    is as in (3). (e^R - 1) / R = e^{R/2} sinh(R/2) / (R/2) <= e^{R/2 + R^2/24}, because
    (2k + 1)! >= 6^k k!. All rows together have sum_i l_i''[a_i, a_i] <= ||d||_H^2: the
    *light* rows, with x_i <= x, add at most (e^x - 1)^2 ||d||_H^2, and only the others
    must be read.

A quadratic loss has R = 0: then ||w - w*||_H = ||g||_{H^-1}.

There are no bounds for a loss that states no constant: see `applies_to`.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bound:
    """Where the optimum must be.

    Attributes
    ----------
    distance : float
        At least ``||w - w*||_H``, in the norm of the Hessian that is kept.
    decision : float or None
        At least the change of any stored row's decision value (of the difference of
        any two classes' values) on the way to the optimum: R / K. None where the rows'
        leverages are not known.
    """

    distance: float
    decision: float | None


def applies_to(loss):
    """Whether the bounds hold for a loss, and for the rounding of its gradients."""
    if loss.is_quadratic:
        return True
    is_rounding_known = loss.gradient_sum_bound(1.0, 1.0) is not None
    return loss.self_concordance is not None and is_rounding_known


def after_gradient(nu, leverage, since=0.0, self_concordance=1.0):
    """Bound by (2) where B = e^-since H; None where it does not apply.

    Parameters
    ----------
    nu : float
        ``||g||_{H^-1}``.
    leverage : float
        L in the norm of H^-1; 0 for a quadratic loss.
    since : float
        The distance R between the iterate and where the Hessian was computed.
    self_concordance : float
        K.
    """
    distance, decision = distance_after_gradient(nu, leverage, since)
    if not math.isfinite(distance):
        return None
    return Bound(float(distance), float(decision / self_concordance))


def distance_after_gradient(nu, leverage, since=0.0):
    """The distance and the decision of `after_gradient`, of numbers or of arrays.

    Both are infinite where (2) does not apply.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        radius = leverage * nu * np.exp(since)
    inside = radius < 1.0
    decision = -np.log1p(-np.where(inside, radius, 0.0))
    is_flat = np.equal(leverage, 0.0)
    distance = np.where(is_flat, nu, decision / np.where(is_flat, 1.0, leverage))
    return np.where(inside, distance, np.inf), np.where(inside, decision, np.inf)


def gradient_after_step(length, leverage, since=0.0, moment=None):
    """Bound of ``||g(w + d)||_{H^-1}`` by (3), of numbers or of arrays.

    Parameters
    ----------
    length : float or ndarray
        ``||d||_H``.
    leverage, since : float or ndarray
        As for `after_gradient`; or rho / length for the leverage.
    moment : float or ndarray, optional
        q of (3).
    """
    if moment is None:
        moment = np.inf
    with np.errstate(over="ignore", invalid="ignore"):
        rho = leverage * length
        of_step = np.exp(since) * _remainder(rho) * np.minimum(rho, moment)
        bound = length * (np.expm1(since) + of_step)
        is_near = rho + since < 100.0
    return np.where(is_near, bound, np.inf)[()]


def log_growth(distance, along):
    """x of (4), for r and R of rows."""
    return distance + along * (0.5 + along / 24.0)


def gradient_after_step_by_rows(length, light, heavy, curvatures):
    """Bound of ``||g(w + d)||_{H^-1}`` by (4).

    Parameters
    ----------
    length : float
        ``||d||_H``.
    light : float
        At least `log_growth` of every row that is not among the heavy ones.
    heavy, curvatures : ndarray of shape (n_heavy,)
        `log_growth` of the others, and their second derivatives at h along the step,
        with their weights.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.expm1(light) ** 2 * length**2 + curvatures @ np.expm1(heavy) ** 2
    return np.sqrt(squares) if np.isfinite(squares) else np.inf


def _remainder(rho):
    """``(e^rho - 1 - rho) / rho^2``."""
    small = rho < 1e-2
    safe = np.where(small, 1.0, rho)
    series = 0.5 + rho * (1 / 6 + rho * (1 / 24 + rho * (1 / 120 + rho / 600)))
    return np.where(small, series, (np.expm1(safe) - safe) / safe**2)[()]
