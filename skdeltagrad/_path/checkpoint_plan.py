"""In which form Hessians are kept, at how many checkpoints, and from which rows."""

from collections.abc import Callable
from dataclasses import dataclass

from . import cost
from .checkpoint_sums import direction_of_mean, leading_directions


@dataclass(frozen=True)
class HessianForm:
    """The directions in which Hessians are kept, and what follows from them.

    Attributes
    ----------
    basis : callable
        ``basis(objective, indices, sample)`` returns orthonormal directions of shape
        (n_directions, n_dof) for the rows `indices`, of which `sample` is a part; None
        if Hessians are whole.
    most_directions : int or None
        Upper limit of their number; None if Hessians are whole.
    corrects_path : bool
        Whether the Hessians are accurate enough to propagate an error that is measured
        at a correction point, and to correct the path by it.
    gaps_at_end : float
        Distance from the last correction point to the end of the path, in distances
        between two correction points. At the end the residual is little more than at
        the last correction point, so that half is enough. The residual of a block grows
        more.
    """

    basis: Callable
    most_directions: int | None
    corrects_path: bool = True
    gaps_at_end: float = 0.5

    def gap(self, n_corrections, n_steps):
        """Return the number of steps between correction points."""
        return n_steps / (n_corrections + self.gaps_at_end)


FORMS = {
    "whole": HessianForm(lambda objective, indices, sample: None, None),
    "block": HessianForm(
        lambda objective, indices, sample: leading_directions(objective, sample),
        cost.N_DIRECTIONS,
        gaps_at_end=1.0,
    ),
    "mean": HessianForm(
        lambda objective, indices, sample: direction_of_mean(objective, indices),
        most_directions=1,
        corrects_path=False,
    ),
}


@dataclass(frozen=True)
class CheckpointPlan:
    """What is kept of Hessians, and from which rows they are computed.

    Attributes
    ----------
    form : {"whole", "block", "mean"}
        Whether Hessians are kept whole, in the leading directions of the rows, or in
        the direction of the mean row only.
    fraction : float
        Fraction of the rows that is sampled.
    n_points : int
        Number of checkpoints.
    """

    form: str
    fraction: float
    n_points: int

    @property
    def properties(self):
        """The `HessianForm`."""
        return FORMS[self.form]

    @property
    def is_whole(self):
        """Whether Hessians are kept in all columns."""
        return self.properties.most_directions is None

    def n_directions(self, n_dof):
        """Return the number of directions for each coordinate of the loss."""
        most = self.properties.most_directions
        return n_dof if most is None else min(most, n_dof)


def affordable_plan(loss, n_dof, n_rows, n_epochs, entry_cost, n_groups=1):
    """Return the best plan whose checkpoints cost no more than the fit, or None.

    Parameters
    ----------
    loss : AbstractLoss
    n_dof, n_rows, n_epochs : int
        The fit reads all of `n_rows` in every epoch.
    entry_cost : float
        See `AbstractDataTerm`.
    n_groups : int, default=1
    """
    for plan in _candidates(loss, n_dof, n_rows, n_epochs, entry_cost):
        order = loss.n_curvatures * plan.n_directions(n_dof)
        n_sampled = plan.fraction * n_rows
        is_enough = (
            plan.fraction == 1.0 or n_sampled >= cost.ROWS_PER_COEFFICIENT * order
        )
        if (
            is_enough
            and cost.bytes_of(plan, loss, n_dof, n_groups, 0, n_rows) <= cost.MOST_BYTES
        ):
            return plan
    return None


def _candidates(loss, n_dof, n_rows, n_epochs, entry_cost):
    """Yield plans that cost no more than the fit, the best first; maybe of no rows."""
    m = loss.n_curvatures
    fit = n_epochs * n_rows * cost.row_work(loss, n_dof)
    limits = min(cost.FITS_AIMED_AT, cost.MOST_FITS) * fit, cost.MOST_FITS * fit
    largest = min(
        max(cost.SAMPLE, cost.SAMPLE_OF_FIT * n_epochs * n_rows), cost.LARGEST_SAMPLE
    )
    largest = min(1.0, largest / n_rows)
    pairs = m * (m + 1) / 2
    of_derivatives = cost.row_work(loss, n_dof) + m**2 * cost.SECOND_DERIVATIVE
    if m * n_dof <= cost.MOST_COEFFICIENTS:
        at_a_point = n_rows * (of_derivatives + pairs * n_dof**2 / cost.BLAS)
        n_points = 1 if loss.is_quadratic else cost.N_POINTS
        if n_points * largest * at_a_point <= limits[0]:
            yield CheckpointPlan("whole", largest, n_points)
        for most in limits:
            fraction = min(largest, most / (cost.FEW_POINTS * at_a_point))
            yield CheckpointPlan("whole", fraction, cost.FEW_POINTS)
    if entry_cost > 1.0:
        yield CheckpointPlan("mean", largest, cost.N_POINTS)
        return
    directions = (cost.ROWS_PER_COLUMN + cost.EIGENVECTORS) * n_dof**3 / cost.BLAS
    once = n_rows * cost.N_DIRECTIONS * n_dof + directions
    at_a_point = n_rows * (of_derivatives + pairs * cost.N_DIRECTIONS**2 / cost.BLAS)
    wanted = max(
        cost.SAMPLE_OF_BLOCK, cost.ROWS_PER_COEFFICIENT * cost.N_DIRECTIONS * m
    )
    for most in limits:
        fraction = min(
            1.0, wanted / n_rows, (most - once) / (cost.POINTS_OF_BLOCK * at_a_point)
        )
        yield CheckpointPlan("block", max(fraction, 0.0), cost.POINTS_OF_BLOCK)
