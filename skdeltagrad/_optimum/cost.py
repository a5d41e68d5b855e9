"""What fits and edits of an optimum cost, and how much they may cost.

Costs are counted in two units. A *pass* reads all rows once, for their losses and their
gradients; a *Hessian* is computed from all rows. Whoever reads rows calls
`Meter.spend`, and whoever could continue asks `Meter.allows` before. The cost of an
edit is therefore known, and bounded, whatever the edit does.

Nobody can predict how many steps lead from the old optimum to the new one: rows can be
chosen so that the steps do not converge. An edit may therefore spend a fraction of the
cost of the last fit from zero on such steps. If that is not enough, the model is fitted
again, from the iterate with the lowest objective that is known (`Budget`).

The constants of this module are costs. `examples/benchmarks/calibrate.py` measures
those that depend on the machine and prints them beside these values.
"""

from dataclasses import dataclass

import numpy as np

from .._utils import memory

# Work, in passes or Hessians --------------------------------------------------------

# A Hessian of so many columns takes one pass more than a gradient; measured on dense
# rows of several widths.
_COLUMNS_PER_PASS = 40.0
# Reading the rows without their targets, for a largest value.
PASSES_FOR_LARGEST = 0.5
# The squares of the standardised columns, for the importance of rows.
PASSES_FOR_IMPORTANCE = 0.5
# The leverages of all rows, and the fourth moment, which is a second Hessian.
HESSIANS_FOR_MOMENTS = 2.0
# A rank-one change of a factor takes about 6 q^2 operations at the speed of memory, a
# new factor q^3 / 3 at that of BLAS: up to q / 16 changes are faster.
RANK_ONE_FRACTION = 16
# The shortest step with products: its Hessian, a lower bound of it, one product, one
# trial, and two passes that judge it.
PASSES_PER_PRODUCT_STEP = 6
# The bound by the penalty at an iterate that was measured: a Hessian and a product, and
# half a pass for each of the rows' norms and the intercepts' second derivatives.
PASSES_FOR_BOUND = 3.0
# What a plan expects of an edit by conjugate gradients.
TYPICAL_PRODUCT_PASSES = 15

# Limits -----------------------------------------------------------------------------

# Steps from the old optimum may take so many passes or, by products, this fraction of
# those of a fit. A new Hessian on the way must not raise what they have spent above
# that fraction of a fit; or above a fit, if later edits will need the Hessian anyway.
MAX_STEP_PASSES = 8
_MAX_TRIED = 0.5
_MAX_KEPT_UP = 1.0
# An edit of more than this fraction of the rows is a new fit at once, if the curvature
# has yet to be built and costs more than steps may.
_LARGE_EDIT = 0.05
# A new fit may cost so many times what the last fit from zero did. That is counted as
# at least `_MIN_FIT`, for the fit of other rows may be more expensive than the last
# one.
_MAX_FITS = 3.0
_MIN_FIT_PASSES, _MIN_FIT_HESSIANS = 20.0, 6.0
# So few numbers are read in less time than Python takes around it. There, the curvature
# is always built, and a new fit is hardly ever stopped.
_SMALL_PROBLEM = 2**18
_MIN_SMALL_FIT_PASSES, _MIN_SMALL_FIT_HESSIANS = 400.0, 40.0
# Passes at the candidates for the start of a new fit, and its first one.
START_PASSES = 3.0

# Memory -----------------------------------------------------------------------------

# Largest order of a matrix that is kept. Its factor takes seconds.
_MAX_ORDER = 3000
# Matrices of that order for each group: the Hessian, the fourth moment and what is
# computed from them, twice while an edit is made.
_N_SQUARES = 6
# Buffers of sums of outer products, in several threads.
_BUFFER_BYTES = 2**26


@dataclass(frozen=True)
class Cost:
    """Passes over the rows, and Hessians computed from all of them."""

    n_passes: float = 0.0
    n_hessians: float = 0.0

    def __add__(self, other):
        return Cost(self.n_passes + other.n_passes, self.n_hessians + other.n_hessians)

    def times(self, factor):
        """Return this cost times a factor."""
        return Cost(factor * self.n_passes, factor * self.n_hessians)

    def in_passes(self, hessian_cost):
        """Return the sum of both, where a Hessian costs `hessian_cost` passes."""
        return self.n_passes + hessian_cost * self.n_hessians

    def at_least(self, n_passes, n_hessians):
        """Return this cost, each of its numbers raised to a minimum."""
        return Cost(max(self.n_passes, n_passes), max(self.n_hessians, n_hessians))

    def is_within(self, limit):
        """Whether neither number is above that of a limit."""
        return self.n_passes <= limit.n_passes and self.n_hessians <= limit.n_hessians


UNLIMITED = Cost(float("inf"), float("inf"))


class Meter:
    """A count of what is spent, with a limit.

    Parameters
    ----------
    limit : Cost, default=UNLIMITED

    Attributes
    ----------
    spent : Cost
    limit : Cost
        What may be spent in all.
    """

    def __init__(self, limit=UNLIMITED):
        self.spent = Cost()
        self.limit = limit

    def allows(self, n_passes=0.0, n_hessians=0.0):
        """Whether so much more may be spent."""
        return (self.spent + Cost(n_passes, n_hessians)).is_within(self.limit)

    def spend(self, n_passes=0.0, n_hessians=0.0):
        """Count a cost."""
        self.spent += Cost(n_passes, n_hessians)

    def allow(self, more):
        """Set the limit to what has been spent and so much more."""
        self.limit = self.spent + more

    def of_sample(self, fraction):
        """Return a meter for a fraction of the rows, which is counted here."""
        return _SampleMeter(self, fraction)


class _SampleMeter:
    def __init__(self, meter, fraction):
        self._meter, self._fraction = meter, fraction

    def allows(self, n_passes=0.0, n_hessians=0.0):
        return self._meter.allows(**self._cost(n_passes, n_hessians))

    def spend(self, n_passes=0.0, n_hessians=0.0):
        self._meter.spend(**self._cost(n_passes, n_hessians))

    def _cost(self, n_passes, n_hessians):
        return vars(Cost(n_passes, n_hessians).times(self._fraction))


@dataclass(frozen=True)
class Budget:
    """Limits to the cost of an edit.

    Attributes
    ----------
    fit : Cost
        Of the last fit from zero.
    n_hessians_to_build : float or None
        Cost of the curvature that steps need; None if steps use products.
    hessian_cost : float
        Cost of a Hessian, in passes.
    n_entries : int
        Number of rows times number of coefficients.
    """

    fit: Cost
    n_hessians_to_build: float | None
    hessian_cost: float
    n_entries: int

    @property
    def refit(self):
        """What a new fit may cost."""
        least = _MIN_FIT_PASSES, _MIN_FIT_HESSIANS
        if self._is_small:
            least = _MIN_SMALL_FIT_PASSES, _MIN_SMALL_FIT_HESSIANS
        return self.fit.at_least(*least).times(_MAX_FITS)

    @property
    def steps(self):
        """What steps from the old optimum may cost."""
        fit = self.fit.at_least(_MIN_FIT_PASSES, _MIN_FIT_HESSIANS)
        if self.n_hessians_to_build is None:
            return Cost(_MAX_TRIED * fit.n_passes, 1.0)
        # The curvature may be built, and built again.
        n_hessians = 2.0 * self.n_hessians_to_build + fit.n_hessians
        return Cost(MAX_STEP_PASSES, n_hessians)

    @property
    def edit(self):
        """What an edit may cost: a new fit after steps that did not converge."""
        return self.steps + Cost(START_PASSES) + self.refit

    def allows_curvature(self, n_touched, n_live):
        """Whether it pays to build the curvature for an edit of `n_touched` rows."""
        cost = Cost(n_hessians=self.n_hessians_to_build)
        return n_touched <= _LARGE_EDIT * n_live or self._is_within(cost, _MAX_TRIED)

    def allows_refreshing(self, meter, n_hessians, is_far):
        """Whether `n_hessians` more pay, and are within the limit of the meter.

        `is_far` says that steps need them; otherwise later edits do.
        """
        fraction = _MAX_TRIED if is_far else _MAX_KEPT_UP
        after = meter.spent + Cost(n_hessians=n_hessians)
        return meter.allows(n_hessians=n_hessians) and self._is_within(after, fraction)

    @property
    def _is_small(self):
        return self.n_entries < _SMALL_PROBLEM

    def _is_within(self, cost, fraction):
        """Whether a cost is at most a fraction of that of the last fit."""
        of_fit = self.fit.in_passes(self.hessian_cost)
        return self._is_small or cost.in_passes(self.hessian_cost) <= fraction * of_fit


def hessian_cost(n_dof, m):
    """Return the cost of a Hessian, in passes.

    Parameters
    ----------
    n_dof : int
        Number of coefficients of an output.
    m : int
        Number of outputs whose second derivatives are coupled.
    """
    return (1.0 + n_dof / _COLUMNS_PER_PASS) * (m + 1) / 2.0


def n_hessians_to_build(loss):
    """Return the cost of `Curvature.built`, in Hessians.

    The Hessian itself and the leverages; and the fourth moment, which a quadratic loss
    does not need.
    """
    return 2.0 if loss.is_quadratic else 1.0 + HESSIANS_FOR_MOMENTS


def order(loss, n_features):
    """Return the order of the Hessian, of each output if the loss couples none."""
    return (n_features + 1) * loss.n_curvatures


def curvature_bytes(loss, alpha, n_features, n_groups):
    """Return an upper bound of the memory of the exact Hessian and an edit of it."""
    n_factors = 1 if loss.couples_outputs else len(np.unique(alpha))
    n_squares = _N_SQUARES * (n_groups + 1) + 2 * n_factors
    return n_squares * 8 * order(loss, n_features) ** 2 + _BUFFER_BYTES


def cheapest_curvature(loss, alpha, n_features, n_groups):
    """Return the curvature kind that ``curvature="auto"`` stands for.

    "exact" if the Hessian is small enough to keep and takes, with all its groups, no
    more memory than the largest one of a single group. Otherwise "kronecker" if there
    are several classes and the rows' second moments are small enough; else "diagonal".
    """
    available = memory.available_bytes()
    n_bytes = curvature_bytes(loss, alpha, n_features, n_groups)
    fits = available is None or n_bytes <= available / 2
    fits &= n_bytes <= 8 * (2 * _N_SQUARES + 2) * _MAX_ORDER**2 + _BUFFER_BYTES
    if fits and order(loss, n_features) <= _MAX_ORDER:
        return "exact"
    if loss.couples_outputs and n_features < _MAX_ORDER:
        return "kronecker"
    return "diagonal"
