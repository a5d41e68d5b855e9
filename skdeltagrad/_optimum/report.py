"""What an engine reports about its last fit or edit."""

from dataclasses import dataclass

from .._utils.few_digits import power_of_thousand
from .._utils.frozen import replace

# Why there is no bound, why something is left after a purge, and why a model was fitted
# again.
NOT_BUILT = "the curvature for it is made at the first edit"
TOO_MUCH = "the edit is too large for steps from the old optimum"
WITHOUT_ROWS = (
    "without its rows (store_data=False) a logistic model cannot be brought to their "
    "exact optimum, nor its Hessian be computed there: both keep traces of removed rows"
)
LARGE_ROWS = (
    "rows that left were so much larger than the others that the sums which are kept "
    "(store_data=False) hold their rounding"
)


@dataclass(frozen=True)
class OptimumReport:
    """What the last fit or edit cost, and the bounds of its result.

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
    coef_bound: float | None = None
    no_bound: str | None = None
    refit: bool = False
    reason: str | None = None

    def with_bound(self, bound, since_pass=0.0, changed=0.0):
        """Return the report with a bound, also as fractions of two distances.

        Parameters
        ----------
        bound : Bound or None
        since_pass, changed : float, default=0.0
            Distances of the iterate from where the rows were last read, and from where
            it was before this edit, in the norm of the bound. A fraction of 0 is not
            reported.
        """
        if bound is None:
            return self
        return replace(
            self,
            distance_bound=bound.distance,
            decision_bound=bound.decision,
            relative_bound=bound.distance / since_pass if since_pass > 0 else None,
            change_bound=bound.distance / changed if changed > 0 else None,
        )

    def coarse(self):
        """Return what still holds, with so few digits that no row can be identified."""
        return OptimumReport(
            curvature=self.curvature,
            distance_bound=power_of_thousand(self.distance_bound),
            decision_bound=power_of_thousand(self.decision_bound),
            no_bound=self.no_bound,
        )
