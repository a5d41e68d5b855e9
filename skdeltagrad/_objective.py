"""Loss x rows x intercept: gradients of the data term, as plain sums.

    F(W, b) = sum_i s_i loss(y_i, (x_i - c) @ W' + b) + sum_k alpha_k / 2 ||W_k||^2

c is the centre of the columns (zero without an intercept); the penalty is applied in
the loop (`_descent`), exactly and once, so what is summed here is the first term only.

Groups
------
With ``class_weight="balanced"`` the weight of every row of a class changes when one
row leaves. Gradients are therefore summed per *group* of rows that share such a
factor, without the factor: one group per class then, one group of all rows otherwise.
"""

import numpy as np

from . import _threads

# Work is cut into at most this many parts of at least so many multiplications, whatever
# the number of threads: see `_threads`. A part costs a buffer of the gradient's size.
_MAX_PARTS = 16
_PART_WORK = 2**19
# What the loss of a row costs per output, in multiplications: an exponential, and a
# target and a weight from somewhere in memory.
_LOSS_WORK = 64


class Objective:
    """The data term of the objective on stored rows.

    Parameters
    ----------
    rows : AbstractRows
    y, weight : ndarray
        Of every slot, as the loss reads them.
    loss : AbstractLoss
    centre : ndarray of shape (n_features,) or None
        None: no intercept.
    group : ndarray of shape (n_slots,) or None
        Group of every slot; None: all rows in one group.
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

    @property
    def shape(self):
        """Shape of an iterate, (n_outputs, n_dof); the intercept comes last."""
        return self.n_outputs, self.n_dof

    def gradient_sums(self, iterate, slots):
        """Sum of the gradients of some rows at an iterate, for each group.

        Parameters
        ----------
        iterate : ndarray of shape (n_outputs, n_dof)
        slots : ndarray of shape (n_rows,)

        Returns
        -------
        gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
        """
        sums = np.zeros((self.n_groups, *self.shape))
        self.add_gradient_sums(iterate, slots, sums)
        return sums

    def add_gradient_sums(self, iterate, slots, sums_out, sign=1.0):
        """Add the gradients of some rows, times a sign, to the sums of their groups.

        A few rows cost what they touch: nothing of the gradient's size is made.
        """
        if not len(slots):
            return
        coef = self.rows.layout(iterate)
        intercept = self._intercept(iterate)
        for number, members in enumerate(self._by_group(slots)):
            if len(members):
                self._add_gradient(coef, intercept, members, sign, sums_out[number])

    def _by_group(self, slots):
        if self.n_groups == 1:
            return [slots]
        group = self.group[slots]
        return [slots[group == number] for number in range(self.n_groups)]

    def _intercept(self, iterate):
        """The intercept that goes with columns that are not centred."""
        if not self.fit_intercept:
            return np.zeros(self.n_outputs)
        intercept = iterate[:, self.n_features].copy()
        if self.centre is not None:
            intercept -= iterate[:, : self.n_features] @ self.centre
        return intercept

    def _add_gradient(self, coef, intercept, slots, sign, gradient_out):
        work = self.rows.n_entries(slots) * self.n_outputs
        bounds = self._cut(len(slots), work)
        n_parts = len(bounds) - 1
        # A few rows are added in place. Many are summed in buffers that stay in cache,
        # while the gradient may be memory of the trajectory that was never touched.
        in_place = work < self.n_outputs * self.n_dof
        partial = [gradient_out] if in_place else np.zeros((n_parts, *self.shape))
        residual = np.empty((n_parts, self.n_outputs))

        def add_part(number):
            mine = slots[bounds[number] : bounds[number + 1]]
            residual[number] = self._accumulate(
                coef, intercept, mine, sign, partial[number]
            )

        _threads.run(add_part, n_parts)
        if not in_place:
            for part in partial:
                gradient_out += part
        if self.fit_intercept:
            residual = residual.sum(axis=0)
            gradient_out[:, self.n_features] += residual
            if self.centre is not None:
                gradient_out[:, : self.n_features] -= np.outer(residual, self.centre)

    def _cut(self, n_rows, work):
        """Bounds of the parts that may run at the same time."""
        # A part must outweigh clearing and adding its buffer, too.
        work += _LOSS_WORK * n_rows * self.n_outputs
        n_parts = work // max(_PART_WORK, 4 * self.n_outputs * self.n_dof)
        n_parts = min(max(n_parts, 1), _MAX_PARTS, n_rows)
        return [n_rows * i // n_parts for i in range(n_parts + 1)]

    @np.errstate(over="ignore", invalid="ignore")  # not inherited by threads
    def _accumulate(self, coef, intercept, slots, sign, gradient_out):
        """Add the gradient of some rows, block by block while they are in cache.

        Returns the sum of the pointwise derivatives, shape (n_outputs,).
        """
        accumulator = self.rows.accumulator(gradient_out)
        residual = np.zeros(self.n_outputs)
        block_size = self.rows.block_size()
        raw = np.empty((min(block_size, len(slots)), self.n_outputs))
        for first in range(0, len(slots), block_size):
            block = slots[first : first + block_size]
            pointwise = raw[: len(block)]
            self.rows.matvec(coef, intercept, block, pointwise)
            self.loss.differentiate(pointwise, self.y, self.weight, block)
            if sign != 1.0:
                pointwise *= sign
            self.rows.rmatvec(pointwise, block, accumulator)
            residual += pointwise.sum(axis=0)
        self.rows.deposit(accumulator, gradient_out)
        return residual
