"""Hessians at a few points of a training path, for its replay to predict with.

    gradient at w_t + drift  =  g_t + B_t drift,      B_t between H(w_c) and H(w_c')

The points are dense at the start, where the path moves most; between two of them B_t is
interpolated by the length of the path. Hessians are sums over a sample of the rows:
those whose position falls into it, so that rows which leave and join can be taken out
and in without a list. What a sample misses is made up for by a control variate,

    H  ~  H_sample + A_sample (x) (G_all - G_sample),

all per unit of weight: A the rows' second derivatives, G their second moments. How far
a sample is off shows by its two halves.

Hessians are kept whole where they are small. Of large ones the block in the leading
directions U of the rows is kept, and beyond it nothing but the Kronecker product's
diagonal:

    B  =  A (x) diag(tail) + U' C U,        U B U' = that block.

Where even that is too dear, or rows are sparse, U is the direction of their mean.
"""

from dataclasses import dataclass, replace

import numpy as np

from .. import _kernels
from .._data.group_weights import per_weight
from .._utils import threads
from .checkpoint_sums import (
    N_DIRECTIONS,
    ROWS_PER_COLUMN,
    DirectedView,
    Sums,
    WholeView,
    direction_of_mean,
    draw,
    leading_directions,
)

# Points of the path: with five, what interpolation misses is four times as much. But
# where they are made of a sample its size matters more; and a block lacks more.
_N_POINTS = 9
_FEW_POINTS = 5
_POINTS_OF_BLOCK = 4
# Largest order of a Hessian that is kept whole.
_MOST_COEFFICIENTS = 1024
# Rows in a sample: so many, or as a share of all that the fit reads, but no more than
# that; for blocks, which lack more than a sample does; and at least for each
# coefficient.
_SAMPLE = 2**14
_SAMPLE_OF_FIT = 1.0 / 60.0
_LARGEST_SAMPLE = 2**19
_SAMPLE_OF_BLOCK = 2**13
_ROWS_PER_COEFFICIENT = 10
# What a seed may cost, in fits; multiplications that BLAS does in the time of one of
# the kernels'; and those of an eigenvector's coefficient, per column.
_MOST_FITS = 1.0
_BLAS = 5.0
_EIGEN = 4.0
# What it may take in memory.
_MOST_BYTES = 2**28
# Parts of its largest entry that a point is rounded to.
_GRAINS = 2.0**10
# Orders from which on blocks are read in single precision, for the sake of time.
_LARGE_BLOCK = 128


@dataclass(frozen=True)
class SeedKind:
    """What is kept of Hessians, and what they are made of.

    Attributes
    ----------
    name : {"whole", "block", "mean"}
        Whole Hessians; those in leading directions; those in the mean's.
    share : float
        Of the rows that are sampled.
    n_points : int
    """

    name: str
    share: float
    n_points: int

    def n_directions(self, n_dof):
        """In which Hessians are kept, of every coordinate of the loss."""
        some = min(N_DIRECTIONS, n_dof)
        return {"whole": n_dof, "block": some, "mean": 1}[self.name]

    def work_of_step(self, loss, n_dof, n_groups):
        """Multiplications of a prediction."""
        n_coef, n_directions = loss.n_outputs * n_dof, self.n_directions(n_dof)
        size = n_directions * loss.n_curvatures
        work = 2 * loss.n_coordinates * n_directions * size
        if self.name != "whole":
            work += n_coef * (2 * n_directions + loss.n_outputs)
        return n_groups * (work + 16 * n_coef)

    def work_of_survey(self, loss, n_dof):
        """What making it takes, in passes over all rows; about."""
        m, n_directions = loss.n_curvatures, self.n_directions(n_dof)
        # A pass makes 2 n_outputs n_dof multiplications of a row.
        of_hessian = 1.0 + m * (m + 1) / 2 * n_directions**2 / (
            2 * loss.n_outputs * n_dof * _BLAS
        )
        seen = 0.0 if self.name == "whole" else n_directions / (2 * loss.n_outputs)
        return self.n_points * self.share * of_hessian + seen

    def nbytes(self, loss, n_dof, n_groups, n_steps, n_rows):
        """Size of such a seed; about, where rows are sampled."""
        m, n_directions = loss.n_curvatures, self.n_directions(n_dof)
        n_halves = 1 if self.share == 1.0 else 2
        n_points = 1 if loss.is_quadratic else self.n_points
        of_group = 1 + n_directions**2
        of_group += n_points * ((m * n_directions) ** 2 + m**2)
        numbers = n_halves * n_groups * of_group
        numbers += n_groups * (1 + n_directions**2 + n_dof)
        numbers += n_points * loss.n_outputs * n_dof
        numbers += 0 if self.name == "whole" else n_directions * n_dof
        return 8 * int(numbers + self.share * n_rows + 2 * n_steps)


@dataclass(frozen=True)
class Seed:
    """Hessians along a path, of the rows that are there. Never mutated.

    Attributes
    ----------
    kind : SeedKind
    basis : ndarray of shape (n_directions, n_dof) or None
        None where Hessians are whole.
    places : ndarray of shape (n_points, n_outputs, n_dof)
    sums : Sums
    positions : ndarray of shape (n_sampled,)
        Of the rows in the sample.
    point : ndarray of shape (n_steps,)
        The last point up to a step.
    progress : ndarray of shape (n_steps,)
        How far the step is from there to the next, from 0 to 1.
    """

    kind: SeedKind
    basis: np.ndarray | None
    places: np.ndarray
    sums: Sums
    positions: np.ndarray
    point: np.ndarray
    progress: np.ndarray

    @classmethod
    def survey(cls, kind, objective, trajectory, indices, positions):
        """Hessians along a path.

        Parameters
        ----------
        kind : SeedKind
        objective : DataTerm
        trajectory : Trajectory
        indices, positions : ndarray of shape (n_rows,)
            All rows.
        """
        points, point, progress = _points_of(
            trajectory, 1 if objective.loss.is_quadratic else kind.n_points
        )
        places = _rounded(trajectory.iterates_at(points))
        sampled = draw(positions) < kind.share
        if kind.name == "whole":
            view = WholeView(objective)
        elif kind.name == "block":
            with threads.blas_for(objective.n_dof):
                basis = leading_directions(objective, indices[sampled])
            view = DirectedView(objective, basis)
        else:
            view = DirectedView(objective, direction_of_mean(objective, indices))
        with threads.blas_for(order=1):  # products of one block of rows are small
            sums = Sums.of(objective, view, places, indices, positions, kind.share)
        return cls(kind, view.basis, places, sums, positions[sampled], point, progress)

    @threads.blas_for(order=1)
    def changed(self, objective, edit):
        """The seed of the rows that are there after an edit.

        None where a row was so large that nothing precise is left without it.
        """
        view = WholeView(objective)
        if self.basis is not None:
            view = DirectedView(objective, self.basis)

        def sums_of(indices, positions):
            share = self.kind.share
            return Sums.of(objective, view, self.places, indices, positions, share)

        sums, positions = self.sums, self.positions
        removed, added = edit.removed_positions, edit.added_positions
        if len(removed):
            sums = sums.minus(sums_of(edit.removed, removed))
            if sums is None:
                return None
            gone = self.sampled(removed, removed)
            positions = np.setdiff1d(positions, gone, assume_unique=True)
        if len(added):
            sums = sums.plus(sums_of(edit.added, added))
            positions = np.concatenate([positions, self.sampled(added, added)])
        return replace(self, sums=sums, positions=positions)

    def sampled(self, indices, positions):
        """Those of some rows that belong to the sample."""
        return indices[draw(positions) < self.kind.share]

    def at(self, step):
        """The seed of one step alone."""
        before = self.point[step]
        points = slice(before, before + 1 + (self.progress[step] > 0.0))
        hessians, bends = self.sums.hessians[:, points], self.sums.bends[:, points]
        return replace(
            self,
            places=self.places[points],
            sums=replace(self.sums, hessians=hessians, bends=bends),
            point=np.zeros(1, np.int64),
            progress=self.progress[step : step + 1],
        )

    def of_all(self, loss):
        """Hessians of all rows, about, as the kernels read them: a tuple."""
        return self._arrays(loss, *self._means())

    def of_sample(self, loss):
        """Hessians of the sample alone, likewise."""
        hessians, bends, _ = self._means()
        return self._arrays(loss, hessians, bends)

    def of_halves(self, loss):
        """Hessians of all rows by either half of the sample; none, without a sample."""
        if len(self.sums.weight) == 1:
            return []
        halves = slice(0, 1), slice(1, 2)
        return [self._arrays(loss, *self._means(half)) for half in halves]

    def _means(self, halves=slice(None)):
        """Hessians, bends and moments of the sample, or of a half, by weight."""
        sums = self.sums
        weight = sums.weight[halves].sum(axis=0)
        parts = (sums.hessians, sums.bends, sums.moments)
        return [per_weight(part[halves].sum(axis=0), weight) for part in parts]

    def _arrays(self, loss, hessians, bends, moments=None):
        """See `_kernels.replay`; with a control variate where moments are given."""
        sums = self.sums
        tail = per_weight(sums.all_squares[:, np.newaxis], sums.all_weight)[:, 0]
        all_moments = per_weight(sums.all_moments, sums.all_weight)
        n_directions = all_moments.shape[-1]
        correction = np.zeros_like(all_moments)
        if moments is not None:
            correction += all_moments - moments
        basis = np.zeros((0, tail.shape[-1]))
        if self.basis is not None:
            basis = self.basis
            inside = np.einsum("gij,ia,ja->ga", all_moments, basis, basis)
            tail = np.maximum(tail - inside, 0.0)
            correction -= np.einsum("ia,ga,ja->gij", basis, tail, basis)
        m = bends.shape[-1]
        blocks = hessians.reshape(
            *hessians.shape[:2], m, n_directions, m, n_directions
        ).copy()
        blocks += np.einsum("pgjk,gab->pgjakb", bends, correction)
        if not loss.couples_outputs:
            bends = bends * np.eye(loss.n_outputs)
        size = m * n_directions
        dtype = np.float32 if size > _LARGE_BLOCK else np.float64
        blocks = blocks.reshape(*blocks.shape[:2], size, size).astype(dtype)
        frame = np.ascontiguousarray(loss.to_outputs(np.eye(loss.n_coordinates)))
        return frame, basis, tail, bends, blocks, self.point, self.progress

    def stretches(self):
        """Steps between two neighbouring points, where there are any.

        Returns
        -------
        stretches : list of (first, last, bow)
            The steps [first, last), and for every step of the path how much of a second
            difference is missed there: the product of the distances to both points, 0
            beside the stretch.
        """
        found = []
        bow = self.progress * (1.0 - self.progress)
        for point in np.unique(self.point):
            steps = np.flatnonzero(self.point == point)
            mine = np.zeros_like(bow)
            mine[steps] = bow[steps]
            if mine.any():
                found.append((steps[0], steps[-1] + 1, mine))
        return found

    def second_differences(self, arrays):
        """What interpolated Hessians are off by between points, over `bow`.

        Of the two parabolas through the points of a stretch and one more the one that
        bends more.
        """
        frame, basis, tail, bends, blocks, point, progress = arrays
        h = self.gaps

        def bent(values):
            values = values.astype(float)
            slopes = np.diff(values, axis=0) / h.reshape(-1, *[1] * (values.ndim - 1))
            second = np.zeros_like(values)
            for k in range(len(values) - 1):
                sides = []
                if k > 0:
                    sides.append((slopes[k] - slopes[k - 1]) / (h[k] + h[k - 1]))
                if k < len(values) - 2:
                    sides.append((slopes[k + 1] - slopes[k]) / (h[k] + h[k + 1]))
                if sides:
                    second[k] = -(h[k] ** 2) * max(sides, key=np.linalg.norm)
            return second

        bow = np.zeros_like(progress)
        blocks = bent(blocks).astype(blocks.dtype)
        return frame, basis, tail, bent(bends), blocks, point, bow

    @property
    def gaps(self):
        """Lengths of the path between neighbouring points."""
        moved = np.linalg.norm(np.diff(self.places, axis=0), axis=(1, 2))
        return np.maximum(moved, np.finfo(float).tiny)

    @property
    def repairs(self):
        """Whether it is good enough for what it predicts to be repaired by it."""
        return self.kind.name != "mean"

    @property
    def nbytes(self):
        """Size of what is kept."""
        arrays = [self.places, self.sums, self.positions, self.point, self.progress]
        if self.basis is not None:
            arrays.append(self.basis)
        return sum(array.nbytes for array in arrays)


def respond(arrays, step, drift):
    """What a drift changes the gradients by, per unit of weight, by group.

    Parameters
    ----------
    arrays : tuple
        See `Seed.of_all`.
    step : int
    drift : ndarray of shape (n_outputs, n_dof)

    Returns
    -------
    response : ndarray of shape (n_groups, n_outputs, n_dof)
    """
    response = np.empty((arrays[4].shape[1], *drift.shape))
    _kernels.replay.hessian_product(drift, step, arrays, response)
    return response


def affordable_kind(loss, n_dof, n_rows, n_epochs, entry_cost, n_groups=1):
    """The best `SeedKind` that costs no more than the fit; or None.

    The fit reads all of `n_rows` in every epoch.
    """
    for kind in _candidates(loss, n_dof, n_rows, n_epochs, entry_cost):
        order = loss.n_curvatures * kind.n_directions(n_dof)
        sampled = kind.share * n_rows
        is_enough = kind.share == 1.0 or sampled >= _ROWS_PER_COEFFICIENT * order
        if is_enough and kind.nbytes(loss, n_dof, n_groups, 0, n_rows) <= _MOST_BYTES:
            return kind
    return None


def _candidates(loss, n_dof, n_rows, n_epochs, entry_cost):
    """Kinds that cost no more than the fit, the best one first; maybe of no rows."""
    m = loss.n_curvatures
    fit = _MOST_FITS * n_epochs * n_rows * 2 * loss.n_outputs * n_dof
    largest = min(max(_SAMPLE, _SAMPLE_OF_FIT * n_epochs * n_rows), _LARGEST_SAMPLE)
    largest = min(1.0, largest / n_rows)
    pairs = m * (m + 1) / 2
    if m * n_dof <= _MOST_COEFFICIENTS:
        at_a_point = n_rows * pairs * n_dof**2 / _BLAS
        n_points = 1 if loss.is_quadratic else _N_POINTS
        if n_points * largest * at_a_point <= fit:
            yield SeedKind("whole", largest, n_points)
        share = min(largest, fit / (_FEW_POINTS * at_a_point))
        yield SeedKind("whole", share, _FEW_POINTS)
    if entry_cost > 1.0:
        yield SeedKind("mean", largest, _N_POINTS)
        return
    directions = (ROWS_PER_COLUMN + _EIGEN) * n_dof**3 / _BLAS
    once = n_rows * N_DIRECTIONS * n_dof + directions
    at_all_points = _POINTS_OF_BLOCK * n_rows * pairs * N_DIRECTIONS**2 / _BLAS
    wanted = max(_SAMPLE_OF_BLOCK, _ROWS_PER_COEFFICIENT * N_DIRECTIONS * m)
    share = min(1.0, wanted / n_rows, (fit - once) / at_all_points)
    yield SeedKind("block", max(share, 0.0), _POINTS_OF_BLOCK)


def _rounded(places):
    """Places near some iterates, to a part of their largest entry.

    Places stay when rows leave, and the first iterates are sums over rows: less the
    rows that are there, they would be the rows that left.
    """
    grain = np.abs(places).max(axis=(1, 2), keepdims=True) / _GRAINS
    grain[grain == 0.0] = 1.0
    return np.rint(places / grain) * grain


def _points_of(trajectory, n_points):
    """Steps that Hessians are made at, and where between them every step is."""
    n_steps = trajectory.n_steps
    moved = [np.linalg.norm(step) for step in trajectory.steps]
    length = np.concatenate([[0.0], np.cumsum(moved)])
    share_of_path = np.linspace(0.0, 1.0, n_points) ** 2
    points = np.unique(np.rint(share_of_path * n_steps).astype(int))
    steps = np.arange(n_steps)
    point = np.searchsorted(points, steps, side="right") - 1
    next_point = np.minimum(point + 1, len(points) - 1)
    way = length[points[next_point]] - length[points[point]]
    done = length[steps] - length[points[point]]
    progress = np.divide(done, way, where=way > 0, out=np.zeros(n_steps))
    return points, point, progress
