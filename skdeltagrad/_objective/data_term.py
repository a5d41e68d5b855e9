"""The data term of the objective: sums over rows of the loss and its derivatives.

    F(W, b) = sum_i s_i loss(y_i, (x_i - c) @ W' + b) + sum_k alpha_k / 2 ||W_k||^2

c is the centre of the columns (zero without an intercept). The data term is the first
sum; the solvers add the penalty themselves, exactly and once.

This is the seam between the solvers and the rows. Solvers ask an `AbstractDataTerm` for
sums over rows that they name by storage index, and do not know where the rows are.
`DataTerm` computes the sums from rows in memory.

Groups
------
With ``class_weight="balanced"`` the weight of every row of a class changes when one
row leaves. Sums are therefore returned for each *group* of rows that share such a
factor, without the factor: one group for each class then, and one group of all rows
otherwise.
"""

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from functools import partial

import numpy as np

from .._utils import threads
from .._utils.row_blocks import row_blocks
from .losses import HalfSquaredLoss
from .second_derivatives import add_grams, add_hessians, curvature_blocks

# Cost: a pass is cut into at most this many parts, each of at least so many
# multiplications, whatever the number of threads is (see `_utils.threads`). Every part
# needs a buffer of the gradient's size.
_MAX_PARTS = 16
_PART_WORK = 2**19
# Cost: the buffers of all parts take at most so many bytes together, but there may
# always be a few parts.
_PARTS_BYTES = 2**28
_FEWEST_PARTS = 4
# Cost: the loss of a row takes as long as so many multiplications for each output:
# an exponential, and a target and a weight from somewhere in memory.
_LOSS_WORK = 64
# Cost: a block of rows has a gradient sum of its own if it makes so many
# multiplications for each entry of the sum, which is added and cleared.
_WORK_PER_SUM = 16
# Cost: the raw predictions of a block of rows take at most so many bytes, because
# they are read a second time and should still be in the cache.
_RAW_BYTES = 2**20
_LEAST_IN_BLOCK = 2**5
# Cost: what is kept of the rows for products with the Hessian takes at most so many
# bytes.
_MOST_STATE_BYTES = 2**28
# Cost: the standard deviations that `standardised_squares` divides by are those of
# about so many rows.
_N_SPREAD = 2**15


@dataclass(frozen=True)
class Measurement:
    """What one pass over some rows returns for an iterate.

    Attributes
    ----------
    loss_sums : ndarray of shape (n_groups,)
    gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
    distances : ndarray of shape (n_rows,) or None
        Distances of the rows (`AbstractLoss.distances`) from another iterate to this
        one; None where no other iterate was given.
    """

    loss_sums: np.ndarray
    gradient_sums: np.ndarray
    distances: np.ndarray | None = None

    @property
    def largest_change(self):
        """Largest of the distances; zero where there are none."""
        return 0.0 if self.distances is None else float(self.distances.max(initial=0.0))


class AbstractDataTerm(ABC):
    """Sums over rows, which is all that the solvers know of them.

    A subclass implements the abstract methods; everything else follows from them. Rows
    are named by `indices`, an int64 array of storage indices, shape (n_rows,). A row
    means ``[x - centre, 1]`` with an intercept and ``x`` without. Iterates and
    directions have shape (n_outputs, n_dof), with the intercept last. All sums are in
    float64, without the factors of groups, and do not depend on the number of threads.

    Parameters
    ----------
    n_features : int
    y : ndarray of shape (n_stored,) or (n_stored, n_outputs)
        Targets of every storage index, as the loss reads them.
    weight : ndarray of shape (n_stored,)
    loss : AbstractLoss
    centre : ndarray of shape (n_features,) or None
        What is subtracted from the columns. None: there is no intercept.
    group : ndarray of shape (n_stored,) or None, default=None
        Group of every storage index. None where there is one group.
    n_groups : int, default=1
    """

    def __init__(self, n_features, y, weight, loss, centre, group=None, n_groups=1):
        self.n_features = n_features
        self.y = y
        self.weight = weight
        self.loss = loss
        self.centre = centre
        self.group = group
        self.n_groups = n_groups

    # Sums that a subclass computes.

    @abstractmethod
    def measure(self, iterate, indices, origin=None) -> Measurement:
        """Return losses and gradients of some rows, in one pass.

        Parameters
        ----------
        iterate : ndarray of shape (n_outputs, n_dof)
        indices : ndarray of shape (n_rows,)
        origin : ndarray of shape (n_outputs, n_dof), optional
            Another iterate. Where it is given, `distances` are measured from it.
        """

    @abstractmethod
    def add_gradient_sums(self, iterate, indices, sums_out, sign=1.0):
        """Add the gradients of some rows, times a sign, to the sums of their groups.

        Parameters
        ----------
        iterate : ndarray of shape (n_outputs, n_dof)
        indices : ndarray of shape (n_rows,)
        sums_out : ndarray of shape (n_groups, n_outputs, n_dof)
        sign : float, default=1.0
        """

    @abstractmethod
    def gradient_change(self, anchor, drift, indices):
        """Return the change of the gradient sums from an anchor to anchor + drift.

        It is computed row by row, because the difference of two sums would lose digits.

        Parameters
        ----------
        anchor, drift : ndarray of shape (n_outputs, n_dof)
        indices : ndarray of shape (n_rows,)

        Returns
        -------
        changes : ndarray of shape (n_groups, n_outputs, n_dof)
        """

    @abstractmethod
    def add_hessian_sums(self, iterate, indices, sums_out, factor):
        """Add the Hessians of some rows, each times a factor, to sums by group.

        Parameters
        ----------
        iterate : ndarray of shape (n_outputs, n_dof)
        indices : ndarray of shape (n_rows,)
        sums_out : ndarray of shape (n_groups, q, q)
            See `hessian_sums`. Symmetric.
        factor : ndarray of shape (n_rows,)
            May be negative.
        """

    @abstractmethod
    def hessian_states(self, iterate, indices):
        """Return what `hessian_products` should know of some rows at an iterate.

        Only the same data term reads it.
        """

    @abstractmethod
    def hessian_products(self, states, iterate, direction, indices):
        """Return the Hessian's product with a direction, by one pass.

        Parameters
        ----------
        states : object
            What `hessian_states` returned for the same iterate and rows.
        iterate, direction : ndarray of shape (n_outputs, n_dof)
        indices : ndarray of shape (n_rows,)

        Returns
        -------
        products : ndarray of shape (n_groups, n_outputs, n_dof)
        """

    @abstractmethod
    def hessian_diagonals(self, iterate, indices):
        """Return diagonals of the Hessians: (n_groups, n_coordinates, n_dof)."""

    @abstractmethod
    def second_derivative_sums(self, iterate, indices):
        """Return weighted sums of second derivatives: (n_groups, m, m).

        m is `AbstractLoss.n_curvatures`.
        """

    @abstractmethod
    def second_moments(self, indices):
        """Return ``sum_i s_i x_i x_i'`` for each group: (n_groups, n_dof, n_dof)."""

    @abstractmethod
    def column_squares(self, indices):
        """Return the diagonals of `second_moments`: (n_groups, n_dof)."""

    @abstractmethod
    def column_sums(self, indices):
        """Return weighted sums over all groups of the columns as they are stored.

        Returns
        -------
        sums, squares : ndarray of shape (n_features,)
            Of the entries and of their squares, neither centred nor with an intercept.
        """

    # Numbers of single rows that a subclass computes.

    @abstractmethod
    def raw_predictions(self, directions, indices):
        """Return products of rows with directions, for example an iterate.

        Parameters
        ----------
        directions : ndarray of shape (n_directions, n_dof)
        indices : ndarray of shape (n_rows,)

        Returns
        -------
        raw_predictions : ndarray of shape (n_rows, n_directions)
        """

    @abstractmethod
    def squared_distances(self, indices, centre=None, scale=None):
        """Return ``sum_j scale_j (x_ij - centre_j)^2`` of some rows, shape (n_rows,).

        Parameters
        ----------
        indices : ndarray of shape (n_rows,)
        centre, scale : ndarray of shape (n_features,), optional
            The centre of the columns, and ones, by default.
        """

    @abstractmethod
    def extended(self, indices):
        """Return dense copies of some rows, shape (n_rows, n_dof), dtype float64."""

    @abstractmethod
    def work_per_row(self, indices):
        """Return the mean cost of one product with a row.

        Its unit is the time of one multiplication with an entry of a dense row.
        """

    @property
    @abstractmethod
    def entry_cost(self):
        """Cost of a product with one stored entry, in the same unit (float)."""

    # What follows from these.

    def numbers(self, shape):
        """Return zeros for numbers of rows, which are needed for a while.

        They may be where the rows are, if there are too many of them for memory.
        """
        return np.zeros(shape)

    @property
    def fit_intercept(self):
        return self.centre is not None

    @property
    def n_outputs(self):
        return self.loss.n_outputs

    @property
    def n_dof(self):
        """Number of coefficients of an output, with its intercept."""
        return self.n_features + self.fit_intercept

    @property
    def n_curvatures(self):
        """Order of a row's second derivative; 1 where outputs are not coupled."""
        return self.loss.n_curvatures

    @property
    def shape(self):
        """Shape of an iterate, (n_outputs, n_dof)."""
        return self.n_outputs, self.n_dof

    def origin(self, indices):
        """Return where a fit of some rows starts: coefficients of zero."""
        origin = np.zeros(self.shape)
        if self.fit_intercept and self.loss.starts_at_mean:
            total = weight = 0.0
            for block in row_blocks(len(indices)):
                of_rows = self.weight[indices[block], np.newaxis]
                total += (self.y[indices[block]] * of_rows).sum(axis=0)
                weight += of_rows.sum(axis=0)
            origin[:, self.n_features] = self.loss.constant_prediction(total / weight)
        return origin

    def gradient_sums(self, iterate, indices):
        """Return the sums of the gradients: (n_groups, n_outputs, n_dof)."""
        sums = np.zeros((self.n_groups, *self.shape))
        self.add_gradient_sums(iterate, indices, sums)
        return sums

    def hessian_sums(self, iterate, indices):
        """Return the sums of the Hessians of some rows at an iterate.

        Returns
        -------
        hessian_sums : ndarray of shape (n_groups, q, q)
            In the coordinates of the loss, q = n_coordinates * n_dof; where outputs
            are not coupled, q = n_dof: all outputs have the same Hessian.
        """
        q = self.n_curvatures * self.n_dof
        sums = np.zeros((self.n_groups, q, q))
        ones = np.broadcast_to(1.0, len(indices))
        self.add_hessian_sums(iterate, indices, sums, ones)
        return sums

    def row_gradients(self, iterate, indices):
        """Return the gradient of every row: (n_rows, n_outputs, n_dof)."""
        pointwise = self.raw_predictions(iterate, indices)
        self.loss.differentiate(pointwise, self.y, self.weight, indices)
        return pointwise[:, :, np.newaxis] * self.extended(indices)[:, np.newaxis]

    def second_derivatives(self, iterate, indices):
        """Return second derivatives of rows, weights included: (n_rows, m, m)."""
        raw = np.broadcast_to(0.0, (len(indices), self.n_outputs))
        if not self.loss.is_quadratic:
            raw = self.raw_predictions(iterate, indices)
        found = self.loss.second_derivatives(raw, self.y[indices])
        return found * self.weight[indices, np.newaxis, np.newaxis]

    def scaled_squares(self, indices, scale):
        """Return ``sum_j scale_j x_ij^2`` of some rows, with the intercept: (n_rows,).

        Parameters
        ----------
        indices : ndarray of shape (n_rows,)
        scale : ndarray of shape (n_dof,)
        """
        squares = self.squared_distances(indices, scale=scale[: self.n_features])
        squares += scale[self.n_features :].sum()
        return squares

    def largest_square(self, indices, scale):
        """Return the largest of `scaled_squares`, 0.0 without rows."""
        largest = 0.0
        for block in row_blocks(len(indices)):
            squares = self.scaled_squares(indices[block], scale)
            largest = max(largest, float(squares.max(initial=0.0)))
        return largest

    def distances_along(self, change, indices):
        """Return the distance of every row along a step, shape (n_rows,).

        Distances are those of `AbstractLoss.distances`; `change` has the shape of an
        iterate.
        """
        distances = self.numbers(len(indices))
        for block in row_blocks(len(indices)):
            raw = self.raw_predictions(change, indices[block])
            distances[block] = self.loss.distances(raw)
        return distances

    def largest_change(self, change, indices):
        """Return the largest distance of a row along a step, 0.0 without rows."""
        largest = 0.0
        for block in row_blocks(len(indices)):
            raw = self.raw_predictions(change, indices[block])
            largest = max(largest, float(self.loss.distances(raw).max(initial=0.0)))
        return largest

    def curvatures_along(self, iterate, change, indices):
        """Return how far every row moves along a step, and its second derivative.

        Parameters
        ----------
        iterate : ndarray of shape (n_outputs, n_dof)
            Where the second derivatives are taken.
        change : ndarray of shape (n_outputs, n_dof)
            The step.
        indices : ndarray of shape (n_rows,)

        Returns
        -------
        distances : ndarray of shape (n_rows,)
            See `distances_along`.
        curvatures : ndarray of shape (n_rows,)
            Second derivatives of the rows' losses along the step, times the weights.
        """
        distances = self.numbers(len(indices))
        curvatures = self.numbers(len(indices))
        directions = np.vstack([iterate, change])
        for block in row_blocks(len(indices)):
            some = indices[block]
            # Both products are made in one pass over the rows.
            raw = self.raw_predictions(directions, some)
            here, along = raw[:, : self.n_outputs], raw[:, self.n_outputs :]
            state = self.loss.hessian_state(here, self.y[some])
            product = along.copy()
            self.loss.hessian_product(product, state)
            curvatures[block] = self.weight[some] * np.sum(along * product, axis=1)
            distances[block] = self.loss.distances(along)
        return distances, curvatures

    @np.errstate(over="ignore", invalid="ignore")  # such rows are infinitely far away
    def standardised_squares(self, indices):
        """Return the mean squared entry of each row, its columns standardised.

        The standard deviations are those of some of the rows.

        Returns
        -------
        squares : ndarray of shape (n_rows,)
            May be infinite or NaN.
        """
        some = indices[:: max(1, len(indices) // _N_SPREAD)]
        sums, squares = self.column_sums(some)
        total = self.weight[some].sum()
        mean = sums / total if self.fit_intercept else np.zeros(self.n_features)
        # Rounding: a constant column has a variance of about one unit in the last
        # place of its squared mean, and a column of zeros has none.
        least = np.fmax(np.finfo(float).eps * mean**2, np.finfo(float).tiny)
        variance = np.fmax(squares / total - mean**2, least)
        squares = self.squared_distances(indices, mean, 1 / variance)
        squares /= self.n_dof
        return squares

    def row_sum(self, indices):
        """Return the weighted sum of some rows, shape (n_dof,)."""
        sums, _ = self.column_sums(indices)
        if not self.fit_intercept:
            return sums
        total = self.weight[indices].sum()
        return np.append(sums - total * self.centre, total)

    def by_group(self, indices):
        """Return the storage indices of some rows, group by group."""
        if self.n_groups == 1:
            return [indices]
        group = self.group[indices]
        return [indices[group == number] for number in range(self.n_groups)]

    def weight_by_group(self, indices):
        """Return the total weight of some rows, shape (n_groups,)."""
        return np.array([self.weight[some].sum() for some in self.by_group(indices)])

    def merged(self, group_weight):
        """Return the data term with one group, whose weights contain the factors.

        It is for sums that nobody needs by group: with a group for each of many
        classes they would take that many times the memory.

        Parameters
        ----------
        group_weight : ndarray of shape (n_groups,)
            Factors of the groups.
        """
        if self.n_groups == 1:
            return self.reweighted(self.weight * group_weight[0])
        weight = self.weight * group_weight[self.group]
        return self.replaced(weight=weight, group=None, n_groups=1)

    def reweighted(self, weight):
        """Return the data term with other weights, shape (n_stored,)."""
        return self.replaced(weight=weight)

    def half_squares(self):
        """Return half of the weighted sum of squared raw predictions as a data term.

        Its gradient is the product of the second moments with the iterate, shape
        (1, n_dof).
        """
        targets = np.zeros((len(self.weight), 1))
        return self.replaced(loss=HalfSquaredLoss(1), y=targets)

    def replaced(self, **attributes):
        """Return the data term of the same rows with other attributes.

        The two can be used by different threads at the same time.
        """
        other = copy(self)
        for name, value in attributes.items():
            setattr(other, name, value)
        return other


class DataTerm(AbstractDataTerm):
    """The data term of rows in memory.

    Parameters
    ----------
    rows : AbstractRows
    y, weight, loss, centre, group, n_groups
        See `AbstractDataTerm`.
    """

    def __init__(self, rows, y, weight, loss, centre, group=None, n_groups=1):
        super().__init__(rows.n_features, y, weight, loss, centre, group, n_groups)
        self._rows = rows
        # The centre, or None where nothing has to be subtracted: then a few sparse
        # rows can be added to a gradient without reading all of it.
        self._offset = None if centre is None or not centre.any() else centre
        self._accumulators = []

    def replaced(self, **attributes):
        other = super().replaced(**attributes)
        other._accumulators = []
        return other

    @property
    def entry_cost(self):
        return self._rows.entry_cost

    def work_per_row(self, indices):
        entries = self._rows.n_entries(indices) / len(indices)
        return entries * self._rows.entry_cost

    def numbers(self, shape):
        return self._rows.numbers(shape)

    def add_gradient_sums(self, iterate, indices, sums_out, sign=1.0):
        def differentiate(raw, block):
            self.loss.differentiate(raw, self.y, self.weight, block)
            if sign != 1.0:
                raw *= sign

        if len(indices):
            self._add_by_group(iterate, indices, differentiate, sums_out)

    def measure(self, iterate, indices, origin=None):
        sums = np.zeros((self.n_groups, *self.shape))
        if not len(indices):
            return Measurement(np.zeros(self.n_groups), sums)
        distances = None
        if origin is not None:
            change = self.affine(iterate - origin)
            distances = self.numbers(len(self.weight))

        def evaluate(raw, block):
            if distances is not None:
                distances[block] = self.loss.distances(self._raw(change, block))
            return self.loss.evaluate(raw, self.y, self.weight, block)

        seen = self._add_by_group(iterate, indices, evaluate, sums)
        losses = np.array([sum(blocks) for blocks in seen], float)
        if distances is not None:
            of_rows = self.numbers(len(indices))
            distances = np.take(distances, indices, out=of_rows, mode="clip")
        return Measurement(losses, sums, distances)

    def gradient_change(self, anchor, drift, indices):
        def differentiate(raw, block):
            before = self._raw(here, block)
            raw += before
            self.loss.differentiate(raw, self.y, self.weight, block)
            self.loss.differentiate(before, self.y, self.weight, block)
            raw -= before

        here = self.affine(anchor)
        changes = np.zeros((self.n_groups, *self.shape))
        self._add_by_group(drift, indices, differentiate, changes)
        return changes

    def hessian_states(self, iterate, indices):
        if 8 * len(self.weight) * self.n_outputs > _MOST_STATE_BYTES:
            return None
        affine = self.affine(iterate)
        states = np.zeros((len(self.weight), self.n_outputs))
        for block in self.blocks(indices):
            raw = self._raw(affine, block)
            states[block] = self.loss.hessian_state(raw, self.y[block])
        return states

    def hessian_products(self, states, iterate, direction, indices):
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
        self._add_by_group(direction, indices, multiply, products)
        return products

    def hessian_diagonals(self, iterate, indices):
        m, loss = self.loss.n_coordinates, self.loss
        diagonals = np.zeros((self.n_groups, m, self.n_dof))
        affine = self.affine(iterate)
        for members, diagonal in zip(self.by_group(indices), diagonals, strict=True):
            for block in curvature_blocks(len(members), loss):
                some = members[block]
                raw = self._raw_for_hessian(affine, some)
                weights = loss.second_derivative_diagonals(raw, self.y[some])
                weights = np.broadcast_to(weights, (len(some), m))
                weights = weights * self.weight[some, np.newaxis]
                self._rows.add_squares(some, weights, self.centre, diagonal)
        return diagonals

    def second_derivative_sums(self, iterate, indices):
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
        moments = np.zeros((self.n_groups, self.n_dof, self.n_dof))
        for members, moment in zip(self.by_group(indices), moments, strict=True):
            weigh = partial(_weights, self.weight, members, None)
            add_grams(
                self._rows, members, lambda block, w=weigh: w(block)[np.newaxis], 1,
                self.centre, moment[np.newaxis],
            )  # fmt: skip
        return moments

    def add_hessian_sums(self, iterate, indices, sums_out, factor):
        raw_of = partial(self._raw_for_hessian, self.affine(iterate))
        parts = [(indices, factor)]
        if self.n_groups > 1:
            group = self.group[indices]
            of_groups = (group == number for number in range(self.n_groups))
            parts = ((indices[mine], factor[mine]) for mine in of_groups)
        for (members, factors), total in zip(parts, sums_out, strict=True):
            weigh = partial(_weights, self.weight, members, factors)
            add_hessians(
                self._rows, members, self.y, weigh, self.loss, raw_of, self.centre,
                total,
            )  # fmt: skip

    def extended(self, indices):
        return self._rows.extended(indices, self.centre)

    def column_squares(self, indices):
        squares = np.zeros((self.n_groups, 1, self.n_dof))
        for members, total in zip(self.by_group(indices), squares, strict=True):
            weight = self.weight[members, np.newaxis]
            self._rows.add_squares(members, weight, self.centre, total)
        return squares[:, 0]

    def column_sums(self, indices):
        _, sums, squares = self._rows.column_moments(indices, self.weight[indices])
        return sums, squares

    def raw_predictions(self, directions, indices):
        affine, blocks = self.affine(directions), self.blocks(indices)
        products = np.empty((len(indices), len(directions)))
        bounds = np.cumsum([0, *map(len, blocks)])

        def take(number):
            mine = products[bounds[number] : bounds[number + 1]]
            self._rows.matvec(*affine, blocks[number], mine)

        threads.run(take, len(blocks))
        return products

    def squared_distances(self, indices, centre=None, scale=None):
        if centre is None:
            centre = np.zeros(self.n_features) if self.centre is None else self.centre
        distances = self.numbers(len(indices))
        bounds = self.cut(len(indices), self._rows.n_entries(indices))

        def add_part(number):
            mine = slice(bounds[number], bounds[number + 1])
            distances[mine] = self._rows.squared_distances(indices[mine], centre, scale)

        threads.run(add_part, len(bounds) - 1)
        return distances

    def blocks(self, indices):
        """Return the indices in blocks of rows that stay in the cache."""
        size = max(_RAW_BYTES // (8 * self.n_outputs), _LEAST_IN_BLOCK)
        size = min(size, self._rows.block_size())
        return [indices[first : first + size] for first in range(0, len(indices), size)]

    def affine(self, iterate):
        """Return what `AbstractRows.matvec` reads: coefficients and intercepts.

        The intercepts are those of columns that are not centred.
        """
        coef = self._rows.layout(iterate)
        if not self.fit_intercept:
            return coef, np.zeros(len(iterate))
        intercept = iterate[:, self.n_features].copy()
        if self._offset is not None:
            intercept -= iterate[:, : self.n_features] @ self._offset
        return coef, intercept

    def _raw(self, affine, indices):
        """Return raw predictions of a few rows, without threads."""
        raw = np.empty((len(indices), len(affine[1])))
        self._rows.matvec(*affine, indices, raw)
        return raw

    def _raw_for_hessian(self, affine, indices):
        """Return raw predictions, or zeros for a quadratic loss, which ignores them."""
        if self.loss.is_quadratic:
            return np.broadcast_to(0.0, (len(indices), self.n_outputs))
        return self._raw(affine, indices)

    def _add_by_group(self, iterate, indices, pointwise, sums_out):
        """Call `_add_products` for the rows of every group that has some.

        Returns
        -------
        seen : list of list
            What `pointwise` returned for each group, block by block.
        """
        affine = self.affine(iterate)
        return [
            self._add_products(affine, some, pointwise, out) if len(some) else []
            for some, out in zip(self.by_group(indices), sums_out, strict=True)
        ]

    def _add_products(self, affine, indices, pointwise, gradient_out):
        """Add ``sum_i pointwise(raw prediction of row i) x_i`` to a gradient.

        Parameters
        ----------
        affine : tuple
            See `affine`.
        indices : ndarray of shape (n_rows,)
        pointwise : callable
            ``pointwise(raw, block)`` overwrites the raw predictions of a block of
            rows. It may be called by several threads.
        gradient_out : ndarray of shape (n_outputs, n_dof)

        Returns
        -------
        seen : list
            What `pointwise` returned, block by block.
        """
        work = self._rows.n_entries(indices) * self.n_outputs
        bounds = self.cut(len(indices), work)
        n_parts = len(bounds) - 1
        # A few rows are added in place. Many are summed in buffers that stay in cache.
        own = None
        if work < self.n_outputs * self.n_dof:
            own = self._rows.as_accumulator(gradient_out)
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
            self._rows.deposit(total, gradient_out)
        if self.fit_intercept:
            residual = residual.sum(axis=0)
            gradient_out[:, self.n_features] += residual
            if self._offset is not None:
                gradient_out[:, : self.n_features] -= np.outer(residual, self._offset)
        return sum(seen, [])

    def _cleared(self, n_parts):
        """Return so many buffers of zeros.

        They are the same in every pass, because new memory would cost more.
        """
        for accumulator in self._accumulators[:n_parts]:
            accumulator.fill(0.0)
        while len(self._accumulators) < n_parts:
            self._accumulators.append(self._rows.accumulator(self.shape))
        return self._accumulators[:n_parts]

    def cut(self, n_rows, work):
        """Return bounds of the parts that may run at the same time.

        Parameters
        ----------
        n_rows : int
        work : int
            Multiplications of a pass over the rows, without those of the loss.
        """
        # A part must also outweigh the clearing and adding of its buffer.
        work += _LOSS_WORK * n_rows * self.n_outputs
        n_parts = work // max(_PART_WORK, 4 * self.n_outputs * self.n_dof)
        most = max(_PARTS_BYTES // (8 * self.n_outputs * self.n_dof), _FEWEST_PARTS)
        n_parts = max(min(n_parts, most, _MAX_PARTS, n_rows), 1)
        return [n_rows * i // n_parts for i in range(n_parts + 1)]

    @np.errstate(over="ignore", invalid="ignore")  # not inherited by threads
    def _accumulate(self, affine, indices, pointwise, accumulator, residual_out):
        """Add the products of some rows, block by block.

        Where it costs next to nothing, each block has a sum of its own. One sum over
        many equal rows would be rounded the same way in every addition.
        """
        blocks = self.blocks(indices)
        buffer, own = np.empty((len(blocks[0]), self.n_outputs)), accumulator
        work = self._rows.n_entries(blocks[0]) * self.n_outputs
        has_own = len(blocks) > 1 and work >= _WORK_PER_SUM * accumulator.size
        if has_own:
            own = np.zeros_like(accumulator)
        seen = []
        for block in blocks:
            raw = buffer[: len(block)]
            self._rows.matvec(*affine, block, raw)
            seen.append(pointwise(raw, block))
            self._rows.rmatvec(raw, block, own)
            residual_out += raw.sum(axis=0)
            if has_own:
                accumulator += own
                own.fill(0.0)
        return seen


def _weights(weight, indices, factor, block):
    """Return the weights of a slice of rows, times factors of the rows, if any."""
    of_block = weight[indices[block]]
    return of_block if factor is None else of_block * factor[block]
