"""In which form Hessians are kept, at how many checkpoints, and from which rows."""

from collections.abc import Callable
from dataclasses import dataclass

from .checkpoint_sums import N_DIRECTIONS, direction_of_mean, leading_directions


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
        N_DIRECTIONS,
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
