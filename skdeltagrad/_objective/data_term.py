"""Loss x rows x intercept: derivatives of the data term, as plain sums.

    F(W, b) = sum_i s_i loss(y_i, (x_i - c) @ W' + b) + sum_k alpha_k / 2 ||W_k||^2

c is the centre of the columns (zero without an intercept); the penalty is applied in
the loop (`_descent`), exactly and once, so what is summed here is the first term only.

Groups
------
With ``class_weight="balanced"`` the weight of every row of a class changes when one
row leaves. Gradients are therefore summed per *group* of rows that share such a
factor, without the factor: one group per class then, one group of all rows otherwise.
"""

from copy import copy
from dataclasses import dataclass
from functools import partial

import numpy as np

from .._utils import threads
from .second_derivatives import add_grams, add_hessians, curvature_blocks

# Work is cut into at most this many parts of at least so many multiplications, whatever
# the number of threads: see `_threads`. A part costs a buffer of the gradient's size.
_MAX_PARTS = 16
_PART_WORK = 2**19
# These buffers take at most so many bytes together, but for a few.
_PARTS_BYTES = 2**28
_FEWEST_PARTS = 4
# What the loss of a row costs per output, in multiplications: an exponential, and a
# target and a weight from somewhere in memory.
_LOSS_WORK = 64
# Raw predictions of a block take at most so many bytes: they are read a second time.
_RAW_BYTES = 2**20
_LEAST_IN_BLOCK = 2**5
# What is kept of rows for products with the Hessian takes at most so many bytes.
_MOST_STATE_BYTES = 2**28


@dataclass(frozen=True)
class Measurement:
    """What one pass over some rows tells about an iterate.

    Attributes
    ----------
    loss_sums : ndarray of shape (n_groups,)
    gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
    largest_change : float
        Largest distance of a row (`AbstractLoss.distances`) from another iterate to
        this one.
    """

    loss_sums: np.ndarray
    gradient_sums: np.ndarray
    largest_change: float


class DataTerm:
    """The data term of the objective on stored rows.

    Parameters
    ----------
    rows : AbstractRows
    y, weight : ndarray
        Of every storage index, as the loss reads them.
    loss : AbstractLoss
    centre : ndarray of shape (n_features,) or None
        None: no intercept.
    group : ndarray of shape (n_stored,) or None
        Group of every storage index; None where ``n_groups`` is 1.
    n_groups : int
    """

    def __init__(self, rows, y, weight, loss, centre, group=None, n_groups=1):
        self.rows = rows
        self.y = y
        self.weight = weight
        self.loss = loss
        self.centre = centre if centre is None or centre.any() else None
        self.group = group
        self.n_groups = n_groups
        self.fit_intercept = centre is not None
        self.n_features = rows.n_features
        self.n_outputs = loss.n_outputs
        self.n_dof = rows.n_features + self.fit_intercept
        self._accumulators = []

    @property
    def n_curvatures(self):
        """Order of a row's second derivative; 1 where outputs are not coupled."""
        return self.loss.n_curvatures

    @property
    def shape(self):
        """Shape of an iterate, (n_outputs, n_dof); the intercept comes last."""
        return self.n_outputs, self.n_dof

    def origin(self, indices):
        """Where a fit of some rows starts: no coefficients, a constant prediction."""
        origin = np.zeros(self.shape)
        if self.fit_intercept:
            constant = self.loss.constant_prediction(
                self.y[indices], self.weight[indices]
            )
            origin[:, self.n_features] = constant
        return origin

    def gradient_sums(self, iterate, indices):
        """Sum of the gradients of some rows at an iterate, for each group.

        Parameters
        ----------
        iterate : ndarray of shape (n_outputs, n_dof)
        indices : ndarray of shape (n_rows,)

        Returns
        -------
        gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
        """
        sums = np.zeros((self.n_groups, *self.shape))
        self.add_gradient_sums(iterate, indices, sums)
        return sums

    def add_gradient_sums(self, iterate, indices, sums_out, sign=1.0):
        """Add the gradients of some rows, times a sign, to the sums of their groups.

        A few rows cost what they touch: nothing of the gradient's size is made.
        """
        if not len(indices):
            return

        def differentiate(raw, block):
            self.loss.differentiate(raw, self.y, self.weight, block)
            if sign != 1.0:
                raw *= sign

        affine = self.affine(iterate)
        for members, gradient_out in zip(self.by_group(indices), sums_out, strict=True):
            if len(members):
                self._add_products(affine, members, differentiate, gradient_out)

    def measure(self, iterate, indices, origin=None):
        """Losses and gradients of some rows, in one pass: a `Measurement`.

        Changes are counted from `origin`, another iterate, where it is given.
        """
        affine = self.affine(iterate)
        change = None if origin is None else self.affine(iterate - origin)

        def evaluate(raw, block):
            largest = 0.0
            if change is not None:
                largest = self.loss.distances(self._raw(change, block)).max()
            return self.loss.evaluate(raw, self.y, self.weight, block), largest

        losses = np.zeros(self.n_groups)
        sums = np.zeros((self.n_groups, *self.shape))
        largest = 0.0
        for number, members in enumerate(self.by_group(indices)):
            if len(members):
                seen = self._add_products(affine, members, evaluate, sums[number])
                losses[number] = sum(loss for loss, _ in seen)
                largest = max(largest, *(change for _, change in seen))
        return Measurement(losses, sums, float(largest))

    def largest_change(self, change, indices):
        """Largest distance (`AbstractLoss.distances`) of a row along a step."""
        affine, blocks = self.affine(change), self.blocks(indices)
        largest = np.zeros(len(blocks))

        def take(number):
            distances = self.loss.distances(self._raw(affine, blocks[number]))
            largest[number] = distances.max()

        threads.run(take, len(blocks))
        return float(largest.max(initial=0.0))

    def largest_square(self, indices, scale):
        """Largest ``sum_j scale_j x_ij^2`` of some rows, as `extended` gives them.

        Parameters
        ----------
        indices : ndarray of shape (n_rows,)
        scale : ndarray of shape (n_dof,)
        """
        n_features, blocks = self.n_features, self.blocks(indices)
        centre = np.zeros(n_features) if self.centre is None else self.centre
        largest = np.zeros(len(blocks))

        def take(number):
            squares = self.rows.squared_distances(
                blocks[number], centre, scale[:n_features]
            )
            largest[number] = squares.max()

        threads.run(take, len(blocks))
        return float(largest.max(initial=0.0) + scale[n_features:].sum())

    def gradient_change(self, anchor, drift, indices):
        """Change of the gradient sums from an anchor to anchor + drift, by group."""

        def differentiate(raw, block):
            before = self._raw(here, block)
            raw += before
            self.loss.differentiate(raw, self.y, self.weight, block)
            self.loss.differentiate(before, self.y, self.weight, block)
            raw -= before

        here, along = self.affine(anchor), self.affine(drift)
        sums = np.zeros((self.n_groups, *self.shape))
        for members, change in zip(self.by_group(indices), sums, strict=True):
            if len(members):
                self._add_products(along, members, differentiate, change)
        return sums

    def hessian_states(self, iterate, indices):
        """What `hessian_products` needs to know of rows at an iterate, by index.

        None where that is so much that it is rather made again for every product.
        """
        if 8 * len(self.weight) * self.n_outputs > _MOST_STATE_BYTES:
            return None
        affine = self.affine(iterate)
        states = np.zeros((len(self.weight), self.n_outputs))
        for block in self.blocks(indices):
            raw = self._raw(affine, block)
            states[block] = self.loss.hessian_state(raw, self.y[block])
        return states

    def hessian_products(self, states, iterate, direction, indices):
        """``H v`` of some rows at an iterate, for each group: one pass.

        Parameters
        ----------
        states : ndarray of shape (n_stored, n_outputs) or None
            See `hessian_states`, of the same iterate.
        iterate : ndarray of shape (n_outputs, n_dof)
        direction : ndarray of shape (n_outputs, n_dof)
        indices : ndarray of shape (n_rows,)

        Returns
        -------
        products : ndarray of shape (n_groups, n_outputs, n_dof)
        """

        def multiply(along, block):
            if states is None:
                raw = self._raw(here, block)
                state = self.loss.hessian_state(raw, self.y[block])
            else:
                state = states[block]
            self.loss.hessian_product(along, state)
            along *= self.weight[block, np.newaxis]

        here = self.affine(iterate) if states is None else None
        products = np.zeros((self.n_groups, *self.shape))
        along = self.affine(direction)
        for members, product in zip(self.by_group(indices), products, strict=True):
            if len(members):
                self._add_products(along, members, multiply, product)
        return products

    def hessian_diagonals(self, iterate, indices):
        """Diagonals of the Hessians of some rows, for each group.

        Returns
        -------
        diagonals : ndarray of shape (n_groups, n_coordinates, n_dof)
        """
        m, loss = self.loss.n_coordinates, self.loss
        diagonals = np.zeros((self.n_groups, m, self.n_dof))
        affine, shift = self.affine(iterate), self.shift()
        for members, diagonal in zip(self.by_group(indices), diagonals, strict=True):
            for block in curvature_blocks(len(members), loss):
                some = members[block]
                raw = self._raw_for_hessian(affine, some)
                weights = loss.second_derivative_diagonals(raw, self.y[some])
                weights = np.broadcast_to(weights, (len(some), m))
                weights = weights * self.weight[some, np.newaxis]
                self.rows.add_squares(some, weights, shift, diagonal)
        return diagonals

    def second_derivative_sums(self, iterate, indices):
        """Sums of second derivatives, for each group: (n_groups, m, m)."""
        m, loss = self.n_curvatures, self.loss
        sums = np.zeros((self.n_groups, m, m))
        affine = self.affine(iterate)
        for members, total in zip(self.by_group(indices), sums, strict=True):
            blocks = curvature_blocks(len(members), loss)
            for block in [slice(None)] if loss.is_quadratic else blocks:
                some = members[block]
                raw = self._raw_for_hessian(affine, some)
                total += loss.second_derivative_sum(
                    raw, self.y[some], self.weight[some]
                )
        return sums

    def second_moments(self, indices):
        """Sums of ``s_i x_i x_i'`` for each group: (n_groups, n_dof, n_dof)."""
        moments = np.zeros((self.n_groups, self.n_dof, self.n_dof))
        for members, moment in zip(self.by_group(indices), moments, strict=True):
            weight = self.weight[members][np.newaxis]
            add_grams(
                self.rows, members, lambda block, w=weight: w[:, block], 1,
                self.shift(), moment[np.newaxis],
            )  # fmt: skip
        return moments

    def hessian_sums(self, iterate, indices):
        """Sum of the Hessians of some rows at an iterate, for each group.

        Parameters
        ----------
        iterate : ndarray of shape (n_outputs, n_dof)
        indices : ndarray of shape (n_rows,)

        Returns
        -------
        hessian_sums : ndarray of shape (n_groups, q, q)
            In the coordinates of the loss, q = n_coordinates * n_dof; where outputs
            are not coupled, q = n_dof: that of every output.
        """
        q = self.n_curvatures * self.n_dof
        sums = np.zeros((self.n_groups, q, q))
        self.add_hessian_sums(iterate, indices, sums, np.ones(len(indices)))
        return sums

    def add_hessian_sums(self, iterate, indices, sums_out, factor):
        """Add the Hessians of some rows, each times a factor, to the sums of groups."""
        raw_of = partial(self._raw_for_hessian, self.affine(iterate))
        group = np.zeros(len(indices), np.int64)
        if self.n_groups > 1:
            group = self.group[indices]
        for number, total in enumerate(sums_out):
            mine = group == number
            members = indices[mine]
            weight = self.weight[members] * factor[mine]
            add_hessians(
                self.rows, members, self.y, weight, self.loss, raw_of, self.shift(),
                total,
            )  # fmt: skip

    def merged(self, group_weight):
        """This objective with one group, whose weights contain the groups' factors.

        For sums that nobody asks for by group: with a group for each of many classes
        they would take that many times the memory.
        """
        if self.n_groups == 1:
            return self.reweighted(self.weight * group_weight[0])
        other = self.reweighted(self.weight * group_weight[self.group])
        other.group, other.n_groups = None, 1
        return other

    def reweighted(self, weight):
        """This objective with other weights, by storage index."""
        other = copy(self)
        other.weight = weight
        return other

    def weight_by_group(self, indices):
        """Total weight of some rows, shape (n_groups,)."""
        return np.array([self.weight[some].sum() for some in self.by_group(indices)])

    def row_gradients(self, iterate, indices):
        """Gradient of every row alone: (n_rows, n_outputs, n_dof)."""
        pointwise = self._raw(self.affine(iterate), indices)
        self.loss.differentiate(pointwise, self.y, self.weight, indices)
        return pointwise[:, :, np.newaxis] * self.extended(indices)[:, np.newaxis]

    def second_derivatives(self, iterate, indices):
        """Second derivatives of rows, weights included: (n_rows, m, m)."""
        raw = self._raw_for_hessian(self.affine(iterate), indices)
        found = self.loss.second_derivatives(raw, self.y[indices])
        return found * self.weight[indices, np.newaxis, np.newaxis]

    def extended(self, indices):
        """Dense copies of rows, centred, with a column of ones for the intercept."""
        return self.rows.extended(indices, self.shift())

    def shift(self):
        """What `AbstractRows` calls the centre: None without an intercept."""
        if self.fit_intercept and self.centre is None:
            return np.zeros(self.n_features)
        return self.centre

    def by_group(self, indices):
        """Storage indices of some rows, group by group."""
        if self.n_groups == 1:
            return [indices]
        group = self.group[indices]
        return [indices[group == number] for number in range(self.n_groups)]

    def blocks(self, indices):
        """Rows that stay in cache, with their raw predictions."""
        size = max(_RAW_BYTES // (8 * self.n_outputs), _LEAST_IN_BLOCK)
        size = min(size, self.rows.block_size())
        return [indices[first : first + size] for first in range(0, len(indices), size)]

    def affine(self, iterate):
        """What `AbstractRows.matvec` reads: coefficients and uncentred intercepts."""
        coef = self.rows.layout(iterate)
        if not self.fit_intercept:
            return coef, np.zeros(len(iterate))
        intercept = iterate[:, self.n_features].copy()
        if self.centre is not None:
            intercept -= iterate[:, : self.n_features] @ self.centre
        return coef, intercept

    def _raw(self, affine, indices):
        raw = np.empty((len(indices), len(affine[1])))
        self.rows.matvec(*affine, indices, raw)
        return raw

    def _raw_for_hessian(self, affine, indices):
        """The same, or zeros for a quadratic loss, so that no row need be read."""
        if self.loss.is_quadratic:
            return np.broadcast_to(0.0, (len(indices), self.n_outputs))
        return self._raw(affine, indices)

    def _add_products(self, affine, indices, pointwise, gradient_out):
        """Add ``sum_i pointwise(raw prediction of row i) x_i`` to a gradient.

        Parameters
        ----------
        affine : tuple
            See `affine`.
        indices : ndarray of shape (n_rows,)
        pointwise : callable
            ``pointwise(raw, block)`` overwrites the raw predictions of a block of
            rows; may run in several threads.
        gradient_out : ndarray of shape (n_outputs, n_dof)

        Returns
        -------
        seen : list
            What `pointwise` returned, block by block.
        """
        work = self.rows.n_entries(indices) * self.n_outputs
        bounds = self.cut(len(indices), work)
        n_parts = len(bounds) - 1
        # A few rows are added in place. Many are summed in buffers that stay in cache.
        own = None
        if work < self.n_outputs * self.n_dof:
            own = self.rows.as_accumulator(gradient_out)
        accumulators = [own]
        if own is None:
            accumulators = self._cleared(n_parts)
        residual = np.zeros((n_parts, self.n_outputs))
        seen = [None] * n_parts

        def add_part(number):
            mine = indices[bounds[number] : bounds[number + 1]]
            seen[number] = self._accumulate(
                affine, mine, pointwise, accumulators[number], residual[number]
            )

        threads.run(add_part, n_parts)
        if own is None:
            total = accumulators[0]
            for other in accumulators[1:]:
                total += other
            self.rows.deposit(total, gradient_out)
        if self.fit_intercept:
            residual = residual.sum(axis=0)
            gradient_out[:, self.n_features] += residual
            if self.centre is not None:
                gradient_out[:, : self.n_features] -= np.outer(residual, self.centre)
        return sum(seen, [])

    def _cleared(self, n_parts):
        """So many zeros, the same for every pass: fresh memory costs more."""
        for accumulator in self._accumulators[:n_parts]:
            accumulator.fill(0.0)
        while len(self._accumulators) < n_parts:
            self._accumulators.append(self.rows.accumulator(self.shape))
        return self._accumulators[:n_parts]

    def cut(self, n_rows, work):
        """Bounds of the parts that may run at the same time."""
        # A part must outweigh clearing and adding its buffer, too.
        work += _LOSS_WORK * n_rows * self.n_outputs
        n_parts = work // max(_PART_WORK, 4 * self.n_outputs * self.n_dof)
        most = max(_PARTS_BYTES // (8 * self.n_outputs * self.n_dof), _FEWEST_PARTS)
        n_parts = min(max(n_parts, 1), most, _MAX_PARTS, n_rows)
        return [n_rows * i // n_parts for i in range(n_parts + 1)]

    @np.errstate(over="ignore", invalid="ignore")  # not inherited by threads
    def _accumulate(self, affine, indices, pointwise, accumulator, residual_out):
        """Add the products of some rows, block by block while they are in cache."""
        blocks = self.blocks(indices)
        buffer = np.empty((len(blocks[0]), self.n_outputs))
        seen = []
        for block in blocks:
            raw = buffer[: len(block)]
            self.rows.matvec(*affine, block, raw)
            seen.append(pointwise(raw, block))
            self.rows.rmatvec(raw, block, accumulator)
            residual_out += raw.sum(axis=0)
        return seen
