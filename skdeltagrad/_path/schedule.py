"""Which rows each step reads, and how large the step is.

A *schedule* is made by `fit` and never edited. It assigns every position, of `fit` or
later, to a batch in each epoch. `RowCounts` hold how many current rows are in each
batch, and their weight. Batches are looked up in two ways: `batches` returns the
current rows of each step, and `members` the steps of a few given rows. Both return an
object whose ``at(step)`` gives storage indices.

With 5 rows, batches of 2 and 2 epochs, there are 6 steps. The batches of an epoch may
be the positions [3, 0], [4, 1] and [2]. If row 4 leaves, the second batch holds row 1
alone; if row 1 leaves too, the step is skipped. A row that is added joins one of the
three batches.
"""

import math
from abc import ABC, abstractmethod

import numpy as np

from .. import _kernels
from .._data.edit import NO_EDIT
from .._data.group_weights import RowCounts
from .splitmix import splitmix64
from .step_size import automatic_learning_rate

# Mathematics: two keys for each of the four rounds of the Feistel network that permutes
# the positions (`_kernels.shuffle`).
_N_ROUND_KEYS = 8


class BatchMembers:
    """Rows grouped by the step whose batch they belong to."""

    def __init__(self, indices, bounds):
        self._indices = indices
        self._bounds = bounds

    def at(self, step):
        """Return the storage indices of those in the batch of a step."""
        return self._indices[self._bounds[step] : self._bounds[step + 1]]

    def where(self, n_steps):
        """Return whether each step has any: shape (n_steps,)."""
        return np.diff(self._bounds) > 0


class EveryStep:
    """Rows that take part in every step."""

    def __init__(self, indices):
        self._indices = indices

    def at(self, step):
        """Return the storage indices of the rows, the same for every step."""
        return self._indices

    def where(self, n_steps):
        """Return whether each step has any: shape (n_steps,)."""
        return np.full(n_steps, len(self._indices) > 0)


class AbstractSchedule(ABC):
    """The epochs of a fit, each with its learning rate, and their batches.

    Parameters
    ----------
    learning_rates : ndarray of shape (n_epochs,)
    n_positions : int
        Number of rows in `fit`.
    seed : int
        Random seed.
    batch_size : int, optional
        Ignored by `FullBatch`.
    """

    def __init__(self, learning_rates, n_positions, seed, batch_size=None):
        self.learning_rates = learning_rates
        self.n_positions = n_positions
        self.seed = seed

    @property
    def n_epochs(self):
        return len(self.learning_rates)

    @property
    @abstractmethod
    def steps_per_epoch(self):
        """Number of batches in an epoch."""

    @property
    def n_steps(self):
        return self.n_epochs * self.steps_per_epoch

    @abstractmethod
    def row_counts(self, positions, weight, group, n_groups):
        """Return the `RowCounts` of some rows.

        Parameters
        ----------
        positions, weight, group : ndarray of shape (n_rows,)
        n_groups : int
        """

    @abstractmethod
    def members(self, positions, indices):
        """Return the steps in which a few rows take part, in O(n_rows n_epochs).

        Parameters
        ----------
        positions, indices : ndarray of shape (n_rows,)

        Returns
        -------
        members : object
            ``at(step)`` gives storage indices, and ``where(n_steps)`` whether each step
            has any.
        """

    @abstractmethod
    def batches(self, table):
        """Return the current rows of each step, as an object with ``at(step)``."""

    def step_sizes(self, row_counts, group_weight, alpha):
        """Return the factors of every step.

            w <- w - rate * gradient_sum - shrinkage * w

        with rate = eta / S_b, shrinkage = eta alpha / S; S_b and S are the weights of
        the batch and of all rows. A batch without weight has rate 0 and is skipped.

        Parameters
        ----------
        row_counts : RowCounts
        group_weight : ndarray of shape (n_groups,)
        alpha : ndarray of shape (n_outputs,)

        Returns
        -------
        rate : ndarray of shape (n_steps,)
        shrinkage : ndarray of shape (n_steps, n_outputs)
        """
        eta = np.repeat(self.learning_rates, self.steps_per_epoch)
        by_batch = row_counts.weight @ group_weight
        total = by_batch[: self.steps_per_epoch].sum()
        rate = np.divide(eta, by_batch, where=by_batch > 0, out=np.zeros_like(eta))
        return rate, np.outer(eta / total, alpha)


class FullBatch(AbstractSchedule):
    """Gradient descent: every step reads every row."""

    steps_per_epoch = 1

    @staticmethod
    def fraction_of_rows(batch_size, n_positions):
        """Fraction of the rows that a batch holds."""
        return 1.0

    def row_counts(self, positions, weight, group, n_groups):
        return RowCounts.of_all(weight, group, n_groups)

    def members(self, positions, indices):
        return EveryStep(indices)

    def batches(self, table):
        return EveryStep(table.live_indices())


class MiniBatches(AbstractSchedule):
    """Stochastic gradient descent: rows are assigned to other batches in every epoch.

    Parameters
    ----------
    learning_rates, n_positions, seed
        See `AbstractSchedule`.
    batch_size : int
        The last batch of an epoch may be shorter.
    """

    def __init__(self, learning_rates, n_positions, seed, batch_size):
        super().__init__(learning_rates, n_positions, seed)
        self.batch_size = min(batch_size, n_positions)
        self._side = math.isqrt(n_positions - 1) + 1
        self._other = -(-n_positions // self._side)
        self._keys = _round_keys(seed, self.n_epochs)

    @staticmethod
    def fraction_of_rows(batch_size, n_positions):
        """Fraction of the rows that a batch holds."""
        return min(1.0, batch_size / n_positions)

    @property
    def steps_per_epoch(self):
        return -(-self.n_positions // self.batch_size)

    def row_counts(self, positions, weight, group, n_groups):
        count = np.zeros((self.n_steps, n_groups), np.int64)
        weights = np.zeros((self.n_steps, n_groups))
        _kernels.shuffle.tally(
            positions, weight, group, *self._domain(), self._keys, self.batch_size,
            count, weights,
        )  # fmt: skip
        return RowCounts(count, weights)

    def members(self, positions, indices):
        place = np.empty((self.n_epochs, len(positions)), np.int64)
        _kernels.shuffle.places_of(positions, *self._domain(), self._keys, place)
        step = place // self.batch_size
        step += self.steps_per_epoch * np.arange(self.n_epochs)[:, np.newaxis]
        return _group_by(step.ravel(), np.tile(indices, self.n_epochs), self.n_steps)

    def batches(self, table):
        return DealtBatches(self, table)

    def dealt(self, step, index_of):
        """Return the storage indices of the rows of `fit` in the batch of a step.

        Parameters
        ----------
        step : int
        index_of : ndarray of shape (n_positions,)
            Storage index of every position, GONE (negative) for rows that left.
        """
        epoch, batch = divmod(step, self.steps_per_epoch)
        first = batch * self.batch_size
        indices = np.empty(min(self.batch_size, self.n_positions - first), np.int64)
        n_found = _kernels.shuffle.indices_at(
            first, *self._domain(), self._keys[epoch], index_of, indices
        )
        return indices[:n_found]

    def joined(self, epoch, positions, indices):
        """Return rows that joined later, by their batch in one epoch: ``at(batch)``."""
        place = np.empty((1, len(positions)), np.int64)
        keys = self._keys[epoch : epoch + 1]
        _kernels.shuffle.places_of(positions, *self._domain(), keys, place)
        return _group_by(place[0] // self.batch_size, indices, self.steps_per_epoch)

    def _domain(self):
        return self.n_positions, self._side, self._other


class DealtBatches:
    """The current rows, by the batches of `MiniBatches`."""

    def __init__(self, schedule, table):
        self._schedule = schedule
        self._table = table
        self._later = np.arange(schedule.n_positions, table.n_positions)
        self._later = self._later[table.indices_of(self._later) >= 0]
        self._epoch = None

    def at(self, step):
        """Return the storage indices of the rows in the batch of a step."""
        indices = self._schedule.dealt(step, self._table.index_of_first)
        if not len(self._later):
            return indices
        epoch, batch = divmod(step, self._schedule.steps_per_epoch)
        if epoch != self._epoch:
            self._joined = self._schedule.joined(
                epoch, self._later, self._table.indices_of(self._later)
            )
            self._epoch = epoch
        return np.concatenate([indices, self._joined.at(batch)])


_SCHEDULES = {"gd": FullBatch, "sgd": MiniBatches}


def schedule_of(settings, model, training_set, seed, edit=NO_EDIT, n_positions=None):
    """Return the schedule of a fit.

    Parameters
    ----------
    settings : Settings
    model : Model
    training_set : TrainingSet
    seed : int
    edit : Edit
        A staged edit, whose rows that join are counted in.
    n_positions : int, optional
        Number of rows in `fit`; by default that of the current training rows.
    """
    table = training_set.table
    indices = table.live_indices(edit.added)
    n_positions = n_positions or len(indices)
    make = _SCHEDULES[settings.solver]
    rates = settings.check_learning_rates()
    if rates is None:
        objective = model.data_term(training_set)
        factors = model.group_factors(objective.weight_by_group(indices))
        rate = automatic_learning_rate(
            objective.merged(factors), indices, model.loss.curvature_bound,
            model.alpha.max(), make.fraction_of_rows(settings.batch_size, n_positions),
        )  # fmt: skip
        rates = np.full(settings.max_iter, rate)
    return make(rates, n_positions, seed, settings.batch_size)


def _group_by(number, indices, n_numbers):
    """Return `BatchMembers` of storage indices, by the number of each."""
    order = np.argsort(number, kind="stable")
    bounds = np.searchsorted(number[order], np.arange(n_numbers + 1))
    return BatchMembers(indices[order], bounds)


def _round_keys(seed, n_epochs):
    """Return 32-bit keys that follow from a seed, shape (n_epochs, n_keys)."""
    numbers = np.arange(n_epochs * _N_ROUND_KEYS)
    keys = splitmix64(numbers, seed) >> np.uint64(32)
    return keys.astype(np.int64).reshape(n_epochs, _N_ROUND_KEYS)
