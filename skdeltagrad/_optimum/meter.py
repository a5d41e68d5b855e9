"""What is spent on an optimum, in passes over the rows and Hessians, and a limit to it.

Whoever reads the rows says so (`Meter.spend`); whoever could go on asks before
(`Meter.allows`). So the cost of an edit is known whichever way it took, and is bounded.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Passes over the rows, and Hessians made from all of them."""

    n_passes: float = 0.0
    n_hessians: float = 0.0

    def __add__(self, other):
        return Cost(self.n_passes + other.n_passes, self.n_hessians + other.n_hessians)

    def times(self, factor):
        """So many of it."""
        return Cost(factor * self.n_passes, factor * self.n_hessians)

    def in_passes(self, hessian_cost):
        """Both in one number, where a Hessian costs so many passes."""
        return self.n_passes + hessian_cost * self.n_hessians

    def at_least(self, other):
        """The larger of two costs, for each of both."""
        return Cost(
            max(self.n_passes, other.n_passes), max(self.n_hessians, other.n_hessians)
        )


WITHOUT_LIMIT = Cost(float("inf"), float("inf"))


class Meter:
    """Counts what is spent.

    Attributes
    ----------
    spent : Cost
    most : Cost
        What may be spent in all.
    """

    def __init__(self, most=WITHOUT_LIMIT):
        self.spent = Cost()
        self.most = most

    def allows(self, n_passes=0.0, n_hessians=0.0):
        """Whether so much more may be spent."""
        spent = self.spent + Cost(n_passes, n_hessians)
        return (
            spent.n_passes <= self.most.n_passes
            and spent.n_hessians <= self.most.n_hessians
        )

    def spend(self, n_passes=0.0, n_hessians=0.0):
        """Count what is done now."""
        self.spent += Cost(n_passes, n_hessians)

    def allow(self, more):
        """Let so much be spent from now on."""
        self.most = self.spent + more

    def of_share(self, share):
        """A meter of some of the rows: what it counts is a share of this one's."""
        return _Share(self, share)


class _Share:
    def __init__(self, meter, share):
        self._meter, self._share = meter, share

    def allows(self, n_passes=0.0, n_hessians=0.0):
        cost = Cost(n_passes, n_hessians).times(self._share)
        return self._meter.allows(cost.n_passes, cost.n_hessians)

    def spend(self, n_passes=0.0, n_hessians=0.0):
        cost = Cost(n_passes, n_hessians).times(self._share)
        self._meter.spend(cost.n_passes, cost.n_hessians)
