"""What an edit at the end of the path may cost, next to a fit.

Nobody knows what steps from the old optimum will take: rows can be chosen so that they
lead nowhere. So they may take a share of what the last fit from nothing took, and then
the model is fitted anew, from the lowest place that is known.
"""

from dataclasses import dataclass

from .meter import Cost

# What steps may take: so many passes, or by products this share of a fit's. A new
# Hessian on the way must not raise what they take over that share of a fit; over a fit,
# where it is made for the edits to come.
MOST_PASSES = 8
_MOST_TRIED = 0.5
_MOST_KEPT_UP = 1.0
# An edit of a larger share of the rows is fitted anew at once where the curvature,
# which is not there yet, takes more than steps may.
_LARGE = 0.05
# What a fit anew may take, in fits from nothing as the last one was; and what that is
# taken to be at least: other rows' fit may be dearer than the last one was.
_MOST_FITS = 3.0
_LEAST_FIT = Cost(20.0, 6.0)
# So few numbers are read in less time than Python takes around it: what bounds need is
# made at any price, and a fit anew is hardly ever stopped.
_CHEAP = 2**18
_LEAST_CHEAP_FIT = Cost(400.0, 40.0)
# Passes that compare where to begin with it, and lead to it.
TO_BEGIN = 3.0


@dataclass(frozen=True)
class Budget:
    """Limits to what an edit costs.

    Attributes
    ----------
    fit : Cost
        Of the last fit from nothing.
    survey : float or None
        What the curvature takes that steps are made with, in Hessians; None where steps
        are made by products.
    hessian_cost : float
        What a Hessian takes, in passes.
    n_entries : int
        Rows times coefficients.
    """

    fit: Cost
    survey: float | None
    hessian_cost: float
    n_entries: int

    @property
    def refit(self):
        """What a fit anew may cost."""
        least = _LEAST_CHEAP_FIT if self._is_cheap else _LEAST_FIT
        return self.fit.at_least(least).times(_MOST_FITS)

    @property
    def steps(self):
        """What steps from the old optimum may cost."""
        fit = self.fit.at_least(_LEAST_FIT)
        if self.survey is None:
            return Cost(_MOST_TRIED * fit.n_passes, 1.0)
        # The curvature is made, and once more.
        return Cost(MOST_PASSES, 2.0 * self.survey + fit.n_hessians)

    @property
    def edit(self):
        """What an edit may cost that is a fit anew after steps that led nowhere."""
        return self.steps + Cost(TO_BEGIN) + self.refit

    def allows_curvature(self, n_touched, n_live):
        """Whether the curvature is worth making for an edit of so many rows."""
        survey = Cost(n_hessians=self.survey)
        return n_touched <= _LARGE * n_live or self._is_within(survey, _MOST_TRIED)

    def allows_refreshing(self, meter, n_hessians, is_far):
        """Whether so many Hessians more are worth it, and allowed.

        `is_far`: they are needed to go on; else they are made for the edits to come.
        """
        share = _MOST_TRIED if is_far else _MOST_KEPT_UP
        after = meter.spent + Cost(n_hessians=n_hessians)
        return meter.allows(n_hessians=n_hessians) and self._is_within(after, share)

    @property
    def _is_cheap(self):
        return self.n_entries < _CHEAP

    def _is_within(self, cost, share):
        if self._is_cheap:
            return True
        in_passes = cost.in_passes(self.hessian_cost)
        return in_passes <= share * self.fit.in_passes(self.hessian_cost)
