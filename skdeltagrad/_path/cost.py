"""What replays, retrains and Hessian checkpoints cost, and which costs are allowed.

Work is counted in two units: a *pass* reads all rows once, for a gradient; a
*multiplication* is one of those that a pass over dense rows makes, two for each entry
and output. All constants of this module are costs. "Measured" ones are measured again,
and printed beside the values here, by ``examples/benchmarks/calibrate.py``; the others
are limits, and say what they balance.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

# What steps and rows cost -------------------------------------------------------------

# Measured: multiplications in the time that Python takes around a step that reads rows,
# around a correction point or a check, and around a whole replay.
CALL = 1e5
MEASURING = 5e6
OVERHEAD = 2e7
# Measured: multiplications in the time that a row takes besides those with its entries,
# for its loss; and that finding a row of a mini-batch and reading it from a random
# place takes, for the row and for each entry.
ROW = 90.0
DEALING = 100.0
DEALING_ENTRY = 1.5
# Measured: reading rows for K outputs takes as long as K + 2 multiplications where one
# output takes 3, because an entry is read only once.
READING = 2.0
# Measured: multiplications that BLAS makes in the time of one of a pass, and those by
# BLAS for the eigenvectors of a matrix of order d, divided by d^3.
BLAS = 5.0
EIGENVECTORS = 4.0
# Measured: passes over the evaluation rows in the time of one correction point or one
# check.
PASSES_EACH = 1.5
# Measured: multiplications in the time of one entry of a row's second derivative.
SECOND_DERIVATIVE = 100.0

# What replays do, and may cost --------------------------------------------------------

# How many times a replay goes through its predicted steps: to predict them, to correct
# them, and to propagate the parts of the estimated error.
RUNS_OF_REPLAY = 3
# Fraction of a retrain's time that a replay may be expected to take. A replay that
# saves less than a fifth of it is not worth its error.
WORTHWHILE = 0.8
# Rows that the paper's replay may read, relative to a retrain: it reads removed rows in
# every exact step, so that both read as many rows if half of them are removed.
MOST_READ = 2.0
# Rows from which the mean number of entries is estimated: with a thousand, its error is
# a few percent at next to no cost.
_N_LOOKED_AT = 2**10
# Rows whose gradient is timed in order to predict the time of a pass: enough for
# several blocks of rows, and a few milliseconds.
N_TIMED = 2**14
# Fraction of a retrain from which on correction points are measured on a sample, whose
# noise enters the path: with a few percent, they hardly slow a replay down.
_EXPENSIVE = 0.05
# By form of the Hessians: how many correction points a first edit begins with, and the
# fraction of a retrain that all attempts may take, apart from reading the rows that
# leave and join. A pass over sparse rows that measures a correction point takes the
# time of ten, because it goes through parts with as many columns each.
_FIRST_CORRECTIONS = {"whole": 1, "block": 1, "mean": 3}
_MOST_ATTEMPTED = {"whole": 0.5, "block": 0.5, "mean": 0.05}
# Most correction points, relative to epochs, that are remembered of an edit that needed
# too many. Half of them are remembered each time, so that a few edits are retrained
# before another one is attempted.
MOST_REMEMBERED = 2
# Parts of the evaluation rows, whose differences show the noise of batches: each part
# is another call, and the noise of 16 is known to within a fifth.
N_PARTS = 16
# Random samples of the noise that are averaged: where one of them takes as long as the
# replay; where it is cheap, for iterates of at most this many coefficients; and where
# it costs next to nothing.
FEW_SAMPLES = 1
SAMPLES = 4
CHEAP_ORDER = 128
MANY_SAMPLES = 16
# Order from which on blocks are read in single precision: they have more than 128 kB
# then, and reading them from memory takes longer than multiplying.
LARGE_BLOCK = 128

# What Hessian checkpoints may cost ----------------------------------------------------

# Time to compute them, in fits: what is aimed at, and the limit where nothing accurate
# enough is as cheap as that. With half as much, samples were so small that errors of
# replays became a hundred times larger on one of ten data sets.
FITS_AIMED_AT = 0.4
MOST_FITS = 1.0
# Largest size in memory: 256 MB.
MOST_BYTES = 2**28
# Largest order of a Hessian that is kept whole: one of 8 MB, of which every step reads
# two.
MOST_COEFFICIENTS = 1024
# Numbers of checkpoints. The error of interpolation with five is four times that with
# nine; but where Hessians are computed from a small sample, a larger sample improves
# them more than further checkpoints do. The same holds for blocks, which miss more.
N_POINTS = 9
FEW_POINTS = 5
POINTS_OF_BLOCK = 4
# Directions in which large Hessians are kept, and rows for each column from which these
# directions are computed. Twice as many directions take four times as long in each
# step; with few rows the last directions are random.
N_DIRECTIONS = 64
ROWS_PER_COLUMN = 8
# Rows in a sample: this number, or this fraction of all rows that the fit reads, but no
# more than the largest; for blocks, whose error is not mainly that of sampling; and for
# each coefficient at least, because a Hessian of fewer rows is mostly noise.
SAMPLE = 2**14
SAMPLE_OF_FIT = 1.0 / 60.0
LARGEST_SAMPLE = 2**19
SAMPLE_OF_BLOCK = 2**13
ROWS_PER_COEFFICIENT = 10


@dataclass(frozen=True)
class Attempt:
    """One attempt to replay a path within a tolerance.

    Attributes
    ----------
    plan : CheckpointPlan
    n_epochs : int
    n_corrections : int
        Number of correction points.
    on_all_rows : bool
        Whether correction points are measured on all rows, or on the sample only.
    """

    plan: Any
    n_epochs: int
    n_corrections: int
    on_all_rows: bool

    @classmethod
    def first(cls, plan, n_epochs, n_corrections=None, on_all_rows=False):
        """Return the first attempt of an edit.

        Parameters
        ----------
        plan : CheckpointPlan
        n_epochs : int
        n_corrections : int, optional
            What the last edit recommends.
        on_all_rows : bool, default=False
            What the last edit recommends. All rows are also used where the sample
            consists of them, or where a correction point is cheap anyway, because a
            sample may miss rare rows of large influence.
        """
        is_cheap = plan.fraction == 1.0 or _EXPENSIVE * n_epochs >= PASSES_EACH
        n_corrections = n_corrections or _FIRST_CORRECTIONS[plan.form]
        return cls(plan, n_epochs, n_corrections, on_all_rows or is_cheap)

    def on_all(self):
        """Return an attempt that begins again, on all rows."""
        least = _FIRST_CORRECTIONS[self.plan.form]
        return replace(self, n_corrections=least, on_all_rows=True)

    def fewer(self):
        """Return half the number of correction points, but not less than the first."""
        return max(_FIRST_CORRECTIONS[self.plan.form], self.n_corrections // 2)

    @cached_property
    def checks(self):
        """Which checks are made: before the first correction point, after the last.

        Checks are measured in order to estimate the error only: see `replay_error`.

        - A path that is corrected needs no check before the first correction point: the
          size of the corrections shows as much. One check after the last is enough.
        - For a squared error, whose Hessian is constant, the error is mainly that of
          the rows in a batch, which is seen best where the path begins.
        - A path that is not corrected is checked twice, or once where a check is
          expensive.
        - Where a check costs twice as much as that, there is none.
        """
        price = PASSES_EACH * self._fraction / (_EXPENSIVE * self.n_epochs)
        if price > 2.0:
            return ()
        if self.plan.n_points == 1:
            return ("early",)
        if self.plan.properties.corrects_path:
            return ("after",)
        return ("early",) if price > 1.0 else ("early", "after")

    @property
    def n_measured(self):
        """Number of correction points and checks."""
        return self.n_corrections + len(self.checks)

    @property
    def passes(self):
        """Cost of correction points and checks, in passes over all rows."""
        return PASSES_EACH * self.n_measured * self._fraction

    @property
    def most_passes(self):
        """Limit to the cost of all attempts of an edit, in passes over all rows."""
        return _MOST_ATTEMPTED[self.plan.form] * self.n_epochs

    @property
    def _fraction(self):
        return 1.0 if self.on_all_rows else self.plan.fraction


def is_worthwhile(attempt, objective, table, n_rows, edit, n_steps):
    """Return whether a replay from checkpoints is clearly faster than a retrain.

    Work is counted, and no clock is read. If decisions depended on measured times, the
    same edits of the same rows would sometimes be replayed and sometimes retrained, and
    would give other coefficients, within `edit_tol`; a path could not be reproduced,
    and its digest in a receipt would prove nothing. For the same reason, the number of
    threads is not considered. ``examples/benchmarks/replay.py --only decisions``
    compares the decisions with times.

    Parameters
    ----------
    attempt : Attempt
        The first one.
    objective : AbstractDataTerm
    table : RowTable
    n_rows : int
        Number of rows before the edit.
    edit : Edit
    n_steps : int
    """
    some = table.first_indices(_N_LOOKED_AT)
    if not len(some):  # every row is replaced
        return False
    n_epochs, plan, loss = attempt.n_epochs, attempt.plan, objective.loss
    entries = objective.work_per_row(some)
    row = row_work(loss, entries)
    dealing = DEALING + DEALING_ENTRY * entries
    # Full batches read rows in their stored order.
    of_batches = row + dealing if n_steps > n_epochs else row
    n_after = n_rows - len(edit.removed) + len(edit.added)
    retrain = n_epochs * n_after * of_batches + n_steps * CALL
    # Steps that read rows which leave or join are made one by one.
    n_single = min(n_steps, n_epochs * len(edit))
    n_read = n_epochs * len(edit) + attempt.passes * n_rows
    n_runs = RUNS_OF_REPLAY if plan.properties.corrects_path else 1
    replay = OVERHEAD + attempt.n_measured * MEASURING + n_single * CALL
    replay += n_read * (row + dealing)
    replay += (
        n_runs * n_steps * step_work(plan, loss, objective.n_dof, objective.n_groups)
    )
    return replay <= WORTHWHILE * retrain


def row_work(loss, entries):
    """Return the multiplications that reading a row of some entries takes."""
    return (2 * entries + ROW) * (loss.n_outputs + READING) / (1 + READING)


def step_work(plan, loss, n_dof, n_groups):
    """Return the multiplications of one predicted step."""
    n_coef, n_directions = loss.n_outputs * n_dof, plan.n_directions(n_dof)
    size = n_directions * loss.n_curvatures
    work = 2 * loss.n_coordinates * n_directions * size
    if not plan.is_whole:
        work += n_coef * (2 * n_directions + loss.n_outputs)
    return n_groups * (work + 16 * n_coef)


def hessians_to_build(plan, loss):
    """Return the cost of checkpoints, in Hessians of all rows."""
    return (1 if loss.is_quadratic else plan.n_points) * plan.fraction


def passes_to_build(plan, loss, n_dof):
    """Return the approximate cost of checkpoints, in passes over all rows."""
    m, n_directions = loss.n_curvatures, plan.n_directions(n_dof)
    # A pass makes 2 n_outputs n_dof multiplications for each row.
    of_hessian = 1.0 + m * (m + 1) / 2 * n_directions**2 / (
        2 * loss.n_outputs * n_dof * BLAS
    )
    projection = 0.0 if plan.is_whole else n_directions / (2 * loss.n_outputs)
    return plan.n_points * plan.fraction * of_hessian + projection


def bytes_of(plan, loss, n_dof, n_groups, n_steps, n_rows):
    """Return the size of checkpoints; approximate if rows are sampled."""
    m, n_directions = loss.n_curvatures, plan.n_directions(n_dof)
    n_halves = 1 if plan.fraction == 1.0 else 2
    n_points = 1 if loss.is_quadratic else plan.n_points
    of_group = 1 + n_directions**2
    of_group += n_points * ((m * n_directions) ** 2 + m**2)
    numbers = n_halves * n_groups * of_group
    numbers += n_groups * (1 + n_directions**2 + n_dof)
    numbers += n_points * loss.n_outputs * n_dof
    numbers += 0 if plan.is_whole else n_directions * n_dof
    return 8 * int(numbers + plan.fraction * n_rows + 2 * n_steps)


def reads_too_many(exact_fraction, n_kept, edit):
    """Return whether the paper's replay reads many more rows than a retrain.

    Parameters
    ----------
    exact_fraction : float
        Fraction of the steps whose gradient is computed.
    n_kept : int
        Number of rows that stay.
    edit : Edit
    """
    replay = exact_fraction * n_kept + len(edit)
    return replay > MOST_READ * (n_kept + len(edit.added))
