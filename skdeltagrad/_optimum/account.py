"""What an optimum's last fit or edit cost, and what is certain about its result."""

from dataclasses import dataclass, replace

from .._utils.few_digits import power_of_thousand


@dataclass(frozen=True)
class Account:
    """What the last fit or edit cost, and what is certain about its result.

    See `UpdateReport` for the attributes.
    """

    n_passes: float = 0.0
    n_hessians: float = 0.0
    curvature: str | None = None
    gradient_norm: float | None = None
    distance_bound: float | None = None
    decision_bound: float | None = None
    relative_bound: float | None = None
    change_bound: float | None = None
    no_bound: str | None = None
    refit: bool = False
    reason: str | None = None

    def with_bound(self, bound, moved, changed):
        """With a `Bound`, or None, and where there is one its fractions.

        Parameters
        ----------
        bound : Bound or None
        moved, changed : float
            The way since the last pass, and what this edit changed, in the norm that
            the bound's distance is in; 0 where they are not to be told.
        """
        if bound is None:
            return self
        return replace(
            self,
            distance_bound=bound.distance,
            decision_bound=bound.decision,
            relative_bound=bound.distance / moved if moved > 0 else None,
            change_bound=bound.distance / changed if changed > 0 else None,
        )

    def coarse(self):
        """What is still true when nothing was done, without digits that could tell."""
        return Account(
            curvature=self.curvature,
            distance_bound=power_of_thousand(self.distance_bound),
            decision_bound=power_of_thousand(self.decision_bound),
            no_bound=self.no_bound,
        )
