"""Which rows each step reads, and how far it goes.

A *schedule* is fixed by `fit` and never edited: it says which batch a position belongs
to in each epoch, for positions of `fit` and for those given out later. A *census* says
how many rows, of what weight, each batch holds now. Batches are looked up both ways:
`batches` lists the rows of a step that are there now, `members` the steps of a few
rows; both answer ``at(step)`` with slots.

With 5 rows, batches of 2 and 2 epochs, there are 6 steps; an epoch might deal the
positions as [3, 0], [4, 1], [2]. If row 4 leaves, the second batch holds row 1 alone;
if that leaves too, the step is skipped. A row that is added joins one of the three.
"""

import math
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from .. import _kernels
from .._data.group_weights import Census

_N_ROUND_KEYS = 8


class BatchMembers:
    """Rows grouped by the step whose batch they belong to."""

    def __init__(self, slots, bounds):
        self._slots = slots
        self._bounds = bounds

    def at(self, step):
        """Slots of the rows that belong to this step's batch."""
        return self._slots[self._bounds[step] : self._bounds[step + 1]]

    def where(self, n_steps):
        """Whether each step has any: shape (n_steps,)."""
        return np.diff(self._bounds) > 0


class EveryStep:
    """Rows that take part in every step."""

    def __init__(self, slots):
        self._slots = slots

    def at(self, step):
        """Slots of the rows: the same for every step."""
        return self._slots

    def where(self, n_steps):
        """Whether each step has any: shape (n_steps,)."""
        return np.full(n_steps, len(self._slots) > 0)


class WholeRoster:
    """All rows that are there, for every step; looked for when first asked."""

    def __init__(self, roster):
        self._roster = roster

    def at(self, step):
        """Slots of the rows: the same for every step."""
        return self._slots

    @cached_property
    def _slots(self):
        return self._roster.live_slots()


class AbstractSchedule(ABC):
    """A fixed number of epochs, each with its learning rate.

    Parameters
    ----------
    learning_rates : ndarray of shape (n_epochs,)
    n_positions : int
        Number of rows in `fit`.
    seed : int
        Decides what is random.
    """

    def __init__(self, learning_rates, n_positions, seed):
        self.learning_rates = learning_rates
        self.n_positions = n_positions
        self.seed = seed

    @property
    def n_epochs(self):
        return len(self.learning_rates)

    @property
    @abstractmethod
    def steps_per_epoch(self):
        """Number of batches."""

    @property
    def n_steps(self):
        return self.n_epochs * self.steps_per_epoch

    @abstractmethod
    def census(self, positions, weight, group, n_groups):
        """Census of some rows alone: one position, weight and group for each."""

    @abstractmethod
    def members(self, positions, slots):
        """Where a few rows take part, in O(n_rows n_epochs).

        Returns
        -------
        members : object
            ``at(step)`` gives slots, ``where(n_steps)`` whether there are any.
        """

    @abstractmethod
    def batches(self, roster):
        """Who takes part in each step now, as an object with ``at(step)``."""

    def step_sizes(self, census, group_weight, alpha):
        """What the loop multiplies with, for every step.

            w <- w - rate * gradient_sum - shrinkage * w

        with rate = eta / S_b, shrinkage = eta alpha / S; S_b and S are the weights of
        the batch and of all rows. A batch without weight has rate 0 and is skipped.

        Parameters
        ----------
        census : Census
        group_weight : ndarray of shape (n_groups,)
        alpha : ndarray of shape (n_outputs,)

        Returns
        -------
        rate : ndarray of shape (n_steps,)
        shrinkage : ndarray of shape (n_steps, n_outputs)
        """
        eta = np.repeat(self.learning_rates, self.steps_per_epoch)
        by_batch = census.weight @ group_weight
        total = by_batch[: self.steps_per_epoch].sum()
        rate = np.divide(eta, by_batch, where=by_batch > 0, out=np.zeros_like(eta))
        return rate, np.outer(eta / total, alpha)


class FullBatch(AbstractSchedule):
    """Gradient descent: every step reads every row."""

    steps_per_epoch = 1

    def census(self, positions, weight, group, n_groups):
        return Census.of_all(weight, group, n_groups)

    def members(self, positions, slots):
        return EveryStep(slots)

    def batches(self, roster):
        return WholeRoster(roster)


class MiniBatches(AbstractSchedule):
    """Stochastic gradient descent: the rows are dealt anew in every epoch.

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

    @property
    def steps_per_epoch(self):
        return -(-self.n_positions // self.batch_size)

    def census(self, positions, weight, group, n_groups):
        count = np.zeros((self.n_steps, n_groups), np.int64)
        weights = np.zeros((self.n_steps, n_groups))
        _kernels.shuffle.tally(
            positions, weight, group, *self._domain(), self._keys, self.batch_size,
            count, weights,
        )  # fmt: skip
        return Census(count, weights)

    def members(self, positions, slots):
        place = np.empty((self.n_epochs, len(positions)), np.int64)
        _kernels.shuffle.places_of(positions, *self._domain(), self._keys, place)
        step = place // self.batch_size
        step += self.steps_per_epoch * np.arange(self.n_epochs)[:, np.newaxis]
        return _group_by(step.ravel(), np.tile(slots, self.n_epochs), self.n_steps)

    def batches(self, roster):
        return DealtBatches(self, roster)

    def dealt(self, step, slot_of):
        """Slots of the rows of `fit` that belong to the batch of a step.

        `slot_of` holds the slot of every position, GONE (negative) for rows that left.
        """
        epoch, batch = divmod(step, self.steps_per_epoch)
        first = batch * self.batch_size
        slots = np.empty(min(self.batch_size, self.n_positions - first), np.int64)
        n_found = _kernels.shuffle.slots_at(
            first, *self._domain(), self._keys[epoch], slot_of, slots
        )
        return slots[:n_found]

    def joined(self, epoch, positions, slots):
        """Later rows by the batch of one epoch that they joined, ``at(batch)``."""
        place = np.empty((1, len(positions)), np.int64)
        keys = self._keys[epoch : epoch + 1]
        _kernels.shuffle.places_of(positions, *self._domain(), keys, place)
        return _group_by(place[0] // self.batch_size, slots, self.steps_per_epoch)

    def _domain(self):
        return self.n_positions, self._side, self._other


class DealtBatches:
    """The rows that are there, by the batches of `MiniBatches`."""

    def __init__(self, schedule, roster):
        self._schedule = schedule
        self._roster = roster
        self._later = np.arange(schedule.n_positions, roster.n_positions)
        self._later = self._later[roster.slots_of(self._later) >= 0]
        self._epoch = None

    def at(self, step):
        """Slots of the rows that belong to this step's batch."""
        slots = self._schedule.dealt(step, self._roster.slot_of_first)
        if not len(self._later):
            return slots
        epoch, batch = divmod(step, self._schedule.steps_per_epoch)
        if epoch != self._epoch:
            self._joined = self._schedule.joined(
                epoch, self._later, self._roster.slots_of(self._later)
            )
            self._epoch = epoch
        return np.concatenate([slots, self._joined.at(batch)])


def _group_by(number, slots, n_numbers):
    order = np.argsort(number, kind="stable")
    bounds = np.searchsorted(number[order], np.arange(n_numbers + 1))
    return BatchMembers(slots[order], bounds)


def _round_keys(seed, n_epochs):
    """32-bit keys from a seed by splitmix64 (Steele, Lea and Flood 2014)."""
    mask = 2**64 - 1
    state = seed
    keys = np.empty((n_epochs, _N_ROUND_KEYS), np.int64)
    for place in np.ndindex(keys.shape):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        keys[place] = (z ^ (z >> 31)) >> 32
    return keys
