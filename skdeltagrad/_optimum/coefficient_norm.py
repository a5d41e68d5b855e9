"""The distance of published coefficients from those of the optimum.

The certificate bounds ``||v||_H`` of the distance v between an iterate and the optimum,
in the coordinates of the loss and with centred columns. What users see are `coef_` and
`intercept_`: a linear function T of it, in which the coordinates are those of the
outputs again and the columns are not centred. With positive weights G of the published
coefficients

    ||T v||_G <= s ||v||_H,     s^2 = the largest eigenvalue of H^-1 T'GT,           (1)

(`Hessian.largest_eigenvalue`). Where the outputs are not coupled, T'GT is
block-diagonal, and s is the largest that an output has.

Where no Hessian is kept, ``H >= B = P + [T_0 I]' D_00 [T_0 I]`` (`penalty_bound`, whose
notation follows, with T_0 for its T). With a = P^(1/2) v and b = D_00^(1/2) (u + T_0 v)

    ||(v, u)||_B^2 = ||a||^2 + ||b||^2,
    coefficients  P^(-1/2) a,
    intercepts    D_00^(-1/2) b - (T_0 + e) P^(-1/2) a,

where e takes the columns' centre c into account, ``||e P^(-1/2)|| <= ||c||_{P^-1}``. By
inequality (3) there, ``||T_0 P^(-1/2)|| <= r sqrt(tr D_00 / m)``, and s is at most the
norm of

    [ max_j (G_j / P_j)^(1/2)                        0          ]
    [ g (||c||_{P^-1} + r sqrt(tr D_00 / m))    g m^(-1/2)      ]                    (2)

with the largest weight G_j of a column in any output, and g^2 that of an intercept.

*Rounding.* An intercept is computed as ``u - w c``, with an error of at most some units
in the last place of ``|u| + |w| |c|`` for each column whose centre is not zero.
"""

from dataclasses import dataclass

import numpy as np

_EPS = np.finfo(float).eps  # rounding: its unit
# Rounding, in units of the unit roundoff: of a published coefficient, and of an
# intercept besides the products that it is computed from.
_ERROR_OF_COEFFICIENT = 4.0
# Rounding: errors of the largest eigenvalue, relative to those of the Hessian.
_ERROR_OF_EIGENVALUE = 4.0


@dataclass(frozen=True)
class CoefficientNorm:
    """The Euclidean norm of published coefficients, each divided by its scale.

    Parameters
    ----------
    weight : ndarray of shape (n_outputs, n_dof)
        G, the inverse squares of the scales; of the intercept last.
    """

    weight: np.ndarray

    def stretch(self, problem, curvature, is_tight=True):
        """Return at least s of (1), for a Hessian that is kept.

        Parameters
        ----------
        problem : Problem
        curvature : Curvature
            One that is certain. The rounding of its Hessian is taken into account.
        is_tight : bool, default=True
            Whether the eigenvalue is computed, and not only bounded in less time.
        """
        loss, centre = problem.objective.loss, problem.objective.centre
        n_dof = problem.objective.n_dof
        basis = loss.to_outputs(np.eye(loss.n_coordinates))
        # Most outputs have the same weights, and then one stands for all. Weights are
        # compared and not matrices, which would take longer than the passes.
        weights = self.weight
        if not loss.couples_outputs:
            weights = np.unique(weights, axis=0)
        parts = [_of_output(weight, centre) for weight in weights]
        if loss.couples_outputs:
            of_all = np.einsum("ka,kb,kij->aibj", basis, basis, np.array(parts))
            parts = [of_all.reshape(loss.n_coordinates * n_dof, -1)]
        largest = curvature.hessian.largest_eigenvalue
        loose_below = 0.0 if is_tight else np.inf
        squared = max(largest(part, loose_below) for part in parts)
        error = _ERROR_OF_EIGENVALUE * curvature.relative_error
        return float(
            np.sqrt(squared * (1.0 + error) / (1.0 - curvature.relative_error))
        )

    def stretch_by_penalty(self, lower):
        """Return s of (2), for a `PenaltyBound`."""
        n_features = lower.penalty.shape[1]
        weight = self.weight.max(axis=0)
        of_columns = np.sqrt((weight[:n_features] / lower.penalty.min(axis=0)).max())
        if lower.intercepts is None:
            return float(of_columns)
        g = np.sqrt(weight[n_features])
        off = lower.of_centre + lower.radius * np.sqrt(lower.trace / lower.smallest)
        factor = [[of_columns, 0.0], [g * off, g / np.sqrt(lower.smallest)]]
        return float(np.linalg.norm(factor, 2))

    def rounding(self, iterate, centre):
        """Return the rounding error of what is published for an iterate."""
        unit = _ERROR_OF_COEFFICIENT * _EPS
        errors = unit * np.abs(iterate)
        if centre is not None:
            n_terms = 1 + np.count_nonzero(centre)
            errors[:, -1] += n_terms * _EPS * (np.abs(iterate[:, :-1]) @ np.abs(centre))
        return float(np.sqrt(np.sum(self.weight * errors**2)))


def _of_output(weight, centre):
    """Return ``T'GT`` of one output, whose published intercept is ``u - w c``."""
    if centre is None:
        return np.diag(weight)
    change = np.append(-centre, 1.0)
    return np.diag(np.append(weight[:-1], 0.0)) + weight[-1] * np.outer(change, change)
