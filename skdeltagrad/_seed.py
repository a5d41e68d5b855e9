"""Hessians at a few points of a training path, for its replay to predict with.

    gradient at w_t + drift  =  g_t + B_t drift,      B_t between H(w_c) and H(w_c')

The points are dense at the start, where the path moves most; between two of them B_t is
interpolated by the length of the path. Hessians are sums over a sample of the rows:
those whose position falls into it, so that rows which leave and join can be taken out
and in without a list. What a sample misses is made up for by a control variate,

    H  ~  H_sample + A_sample (x) (G_all - G_sample),

all per unit of weight: A the rows' second derivatives, G their second moments.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ._census import per_weight

# Points of the path: with five, what interpolation misses is four times as much. But
# where they are made of a sample its size matters more.
_N_POINTS = 9
_FEW_POINTS = 5
# Largest order of a Hessian, and the fewest rows for each of its coefficients.
_MOST_COEFFICIENTS = 512
_ROWS_PER_COEFFICIENT = 10
# What a seed may cost, in fits; and multiplications that BLAS does in the time of one
# of the kernels'.
_MOST_FITS = 1.0
_BLAS = 5.0


@dataclass(frozen=True)
class Sums:
    """Sums over rows, by group. Those of rows that leave and join add up.

    Attributes
    ----------
    weight : ndarray of shape (n_groups,)
        Of the sampled rows.
    hessians : ndarray of shape (n_points, n_groups, q, q)
        Of the sampled rows, in the coordinates of the loss.
    bends : ndarray of shape (n_points, n_groups, m, m)
        Second derivatives of the sampled rows.
    moments : ndarray of shape (n_groups, n_dof, n_dof)
        Second moments of the sampled rows.
    all_weight, all_moments : ndarray
        The same of all rows. Where all are sampled, they are those of none.
    """

    weight: np.ndarray
    hessians: np.ndarray
    bends: np.ndarray
    moments: np.ndarray
    all_weight: np.ndarray
    all_moments: np.ndarray

    @classmethod
    def of(cls, objective, places, slots, positions, share):
        """Of some rows; sampled by their positions."""
        sampled = slots[is_sampled(positions, share)]
        others, both = (slots, sampled) if share < 1.0 else (slots[:0], slots[:0])
        return cls(
            objective.weight_by_group(sampled),
            np.stack([objective.hessian_sums(place, sampled) for place in places]),
            np.stack([objective.curvature_sums(place, both) for place in places]),
            objective.second_moments(both),
            objective.weight_by_group(others),
            objective.second_moments(others),
        )

    def plus(self, other, sign=1.0):
        """With other rows, or without them."""
        mine, theirs = vars(self), vars(other)
        return Sums(**{name: mine[name] + sign * theirs[name] for name in mine})

    def mean_hessians(self):
        """Hessians of all rows, about: (n_points, n_groups, q, q)."""
        moments = per_weight(self.all_moments, self.all_weight)
        moments -= per_weight(self.moments, self.weight)
        bends = per_weight(self.bends, self.weight)
        hessians = per_weight(self.hessians, self.weight)
        if not moments.any():
            return hessians
        for of_point, bends_there in zip(hessians, bends, strict=True):
            for hessian, bend, missed in zip(
                of_point, bends_there, moments, strict=True
            ):
                hessian += np.kron(bend, missed)
        return hessians

    @property
    def nbytes(self):
        return sum(array.nbytes for array in vars(self).values())


@dataclass(frozen=True)
class Seed:
    """Hessians along a path, of the rows that are there. Never mutated.

    Attributes
    ----------
    places : ndarray of shape (n_points, n_outputs, n_dof)
    sums : Sums
    share : float
        Of the rows that are sampled.
    point : ndarray of shape (n_steps,)
        The last point up to a step.
    progress : ndarray of shape (n_steps,)
        How far the step is from there to the next, from 0 to 1.
    """

    places: np.ndarray
    sums: Sums
    share: float
    point: np.ndarray
    progress: np.ndarray

    @cached_property
    def hessians(self):
        """Per unit of weight: (n_points, n_groups, q, q)."""
        return self.sums.mean_hessians()

    @property
    def nbytes(self):
        """Size of what is kept."""
        arrays = (self.places, self.sums, self.hessians, self.point, self.progress)
        return sum(array.nbytes for array in arrays)

    @classmethod
    def survey(cls, objective, trajectory, slots, positions, share):
        """Hessians along a path.

        Parameters
        ----------
        objective : Objective
        trajectory : Trajectory
        slots, positions : ndarray of shape (n_rows,)
            All rows.
        share : float
            See `affordable_share`.
        """
        iterates = trajectory.iterates
        n_steps = trajectory.n_steps
        moved = [
            np.linalg.norm(after - before)
            for before, after in zip(iterates[:-1], iterates[1:], strict=True)
        ]
        length = np.concatenate([[0.0], np.cumsum(moved)])
        n_points = _N_POINTS if share == 1.0 else _FEW_POINTS
        share_of_path = np.linspace(0.0, 1.0, n_points) ** 2
        points = np.unique(np.rint(share_of_path * n_steps).astype(int))
        if objective.loss.is_quadratic:
            points = points[:1]  # it is the same everywhere
        steps = np.arange(n_steps)
        point = np.searchsorted(points, steps, side="right") - 1
        next_point = np.minimum(point + 1, len(points) - 1)
        way = length[points[next_point]] - length[points[point]]
        done = length[steps] - length[points[point]]
        progress = np.divide(done, way, where=way > 0, out=np.zeros(n_steps))
        places = iterates[points].copy()
        sums = Sums.of(objective, places, slots, positions, share)
        return cls(places, sums, share, point, progress)

    def changed(self, objective, change):
        """The seed of the rows that are there after an edit."""
        sums = self.sums
        for slots, positions, sign in (
            (change.removed_slots, change.removed_positions, -1.0),
            (change.added_slots, change.added_positions, 1.0),
        ):
            if len(slots):
                touched = Sums.of(objective, self.places, slots, positions, self.share)
                sums = sums.plus(touched, sign)
        return replace(self, sums=sums)

    def predict(self, loss, step, drift):
        """What a drift changes the gradients by, per unit of weight, by group.

        Parameters
        ----------
        loss : AbstractLoss
        step : int
        drift : ndarray of shape (n_outputs, n_dof)

        Returns
        -------
        response : ndarray of shape (n_groups, n_outputs, n_dof)
        """
        n_dof = drift.shape[1]
        hessians = self.hessians
        vectors = loss.to_coordinates(drift).reshape(-1, hessians.shape[-1])
        before, progress = self.point[step], self.progress[step]
        products = vectors @ hessians[before]
        if progress > 0.0:
            products *= 1.0 - progress
            products += progress * (vectors @ hessians[before + 1])
        return np.stack(
            [loss.to_outputs(product.reshape(-1, n_dof)) for product in products]
        )


def affordable_share(objective, n_rows, n_read):
    """Share of the rows whose Hessians cost no more than the fit; or None.

    None where too few rows would be left for so many coefficients. The fit reads
    `n_read` rows in all.
    """
    m, n_dof = objective.n_curvatures, objective.n_dof
    q = m * n_dof
    if q > _MOST_COEFFICIENTS:
        return None
    fit = _MOST_FITS * n_read * 2 * objective.n_outputs * n_dof
    at_a_point = n_rows * (m * (m + 1) / 2) * n_dof**2 / _BLAS
    n_points = 1 if objective.loss.is_quadratic else _N_POINTS
    if n_points * at_a_point <= fit:
        return 1.0
    share = min(0.5, fit / (_FEW_POINTS * at_a_point))
    return share if share * n_rows >= _ROWS_PER_COEFFICIENT * q else None


def is_sampled(positions, share):
    """Whether rows at some positions belong to a sample: shape (n_rows,).

    By a hash of the position (splitmix64: Steele, Lea and Flood 2014).
    """
    if share >= 1.0:
        return np.ones(len(positions), bool)
    x = (positions.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return x < np.uint64(share * 2.0**64)
