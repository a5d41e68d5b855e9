"""Every model that lacks a row, or a group of rows, one after the other.

An estimator in, blocks of `Left` out; the estimator is not changed. How the models are
made depends on it:

newton, with a Hessian       all rows of a block at once (`_leave_out`), in threads
newton, too large for one    an edit for every unit, by conjugate gradients
newton, standardize=True     an edit for every unit: deviations change with it
gd, sgd                      an edit for every unit: a replay of the path

Where progress is told, is here, too: `Progress`.
"""

import threading
import warnings
from functools import cached_property
from numbers import Real
from time import perf_counter

import numpy as np
from sklearn.exceptions import FitFailedWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from .._data.edit import Edit
from .._data.group_weights import LARGEST_PART, RowCounts, balanced_factors
from .._data.rows import AbstractRows, canonical
from .._estimators.base import ROW_CHECKS, BaseDeltaGrad
from .._estimators.editing import without
from .._estimators.requests import check_ids
from .._optimum.curvature import cheapest_curvature
from .._optimum.problem import problem_of
from .._utils import progress as _progress
from .._utils import threads
from .._utils.callbacks import followed, stand_in
from ._optima_without_rows import LeaveOut, Left
from ._scores import EvaluationRows
from ._woodbury import Units

# Entries of rows that are copied at a time.
_OWN_ENTRIES = 2**18
# Seconds between two lines of progress.
_INTERVAL = 2.0


class Progress:
    """Tells how many units were left out: whoever listens, and now and then prints it.

    Parameters
    ----------
    n_units : int
    verbose : int
        0: never.
    """

    def __init__(self, n_units, verbose):
        self.n_units = n_units
        self.verbose = verbose
        self._n_done = 0
        self._started = self._told = perf_counter()
        self._tell = _progress.begin("left out", n_units)
        self._lock = threading.Lock()

    def add(self, n_units):
        """So many more were left out; may be called by several threads."""
        with self._lock:
            self._n_done += n_units
            if self._tell is not None:
                self._tell(self._n_done)
            now = perf_counter()
            is_last = self._n_done == self.n_units
            if self.verbose and (is_last or now - self._told >= _INTERVAL):
                self._told = now
                print(
                    f"left out {self._n_done:,} of {self.n_units:,}, "
                    f"{now - self._started:.1f} s"
                )


class Sweep:
    """The models without each unit of an estimator's rows.

    Parameters
    ----------
    estimator : BaseDeltaGrad
        Fitted, with rows.
    labels : ndarray of shape (n_live,) or None
        Which unit each row is of, in the order of positions; None: each its own.
    tol : float
        See `_leave_out.LeaveOut`.
    verbose : int

    Attributes
    ----------
    positions, indices : ndarray of shape (n_rows,)
        Of the rows, in the order of positions.
    unit : ndarray of shape (n_rows,)
        Number of each row's unit.
    names : ndarray of shape (n_units,)
        Positions, or labels.
    is_defined : ndarray of shape (n_units,)
        Whether there is a model of the same outputs without the unit.
    counts : ndarray of shape (n_units,)
        Whether a row of it has weight.
    iterate : ndarray of shape (n_outputs, n_dof)
        Of the estimator.
    problem : Problem
        Of all rows.
    """

    def __init__(self, estimator, labels=None, tol=1e-2, verbose=0):
        self.estimator = estimator
        self.engine = estimator._engine
        self.training_set = estimator._training_set
        self.verbose = verbose
        self._tol = tol
        table = self.training_set.table
        self.indices = _by_position(table)
        self.positions = table.position[self.indices]
        self.names, self.unit = self.positions, np.arange(len(self.positions))
        if labels is not None:
            self.names, self.unit = np.unique(labels, return_inverse=True)
        self._units = Units.of(self.indices, self.unit, len(self.names))
        self.iterate = self.engine.iterate
        self.problem = problem_of(self.engine.model, self.training_set, self.indices)
        self.counts = self._sums_by_unit(table.weight[self.indices] > 0) > 0
        self.is_defined = self._find_defined()

    @classmethod
    def of(cls, estimator, groups, tol, verbose):
        """A sweep as the functions of `inspection` are asked for it.

        Raises
        ------
        TypeError, ValueError
            When the estimator is none of ours, has no rows, or a parameter is wrong.
        """
        if not isinstance(estimator, BaseDeltaGrad):
            raise TypeError(
                "estimator must be a fitted estimator of skdeltagrad, got "
                f"{type(estimator).__name__}. For a pipeline pass its last step, and "
                "rows as the steps before it transform them."
            )
        check_is_fitted(estimator)
        if not isinstance(tol, Real) or not tol > 0:
            raise ValueError(f"tol must be a positive number, got {tol!r}.")
        table = estimator._training_set.table
        if not table.is_stored:
            raise ValueError(
                "estimator was fitted with store_data=False and kept no rows to leave "
                "out. Fit with store_data=True."
            )
        return cls(estimator, _labels(table, groups), tol, verbose)

    @property
    def n_units(self):
        return len(self.names)

    @property
    def objective(self):
        return self.problem.objective

    def run(self, use, serially=False):
        """Call ``use(number of the block, Left)`` for every block of units.

        In several threads at once, unless they are to be used one after the other.
        Callbacks that were set on the estimator follow. Returns the number of blocks.
        """
        numbers = np.flatnonzero(self.is_defined)
        follower = stand_in(self.estimator)
        with followed(follower, "leave_one_out", len(numbers)) as finish:
            progress = Progress(len(numbers), self.verbose)
            with _progress.listening():  # edits of single units are no news
                n_blocks = self._take_all(numbers, use, progress, serially)
            finish()
        return n_blocks

    def _take_all(self, numbers, use, progress, serially):
        with threads.blas_for(self.problem.penalty.shape[1]):
            blocks, make = self._blocks(numbers)

        def take(number):
            left = make(blocks[number])
            with threads.blas_for(order=1):  # a block has a thread, or is small
                use(number, left)
            progress.add(len(left.units))

        if not self.has_hessian:  # edits have threads, and limits, of their own
            for number in range(len(blocks)):
                take(number)
            return len(blocks)
        with threads.blas_for(order=1):  # for every block has a thread
            if serially:
                for number in range(len(blocks)):
                    take(number)
            else:
                threads.run(take, len(blocks))
        return len(blocks)

    def own_predictions(self, left):
        """Raw predictions of units' rows without them: (n_units, size, n_outputs)."""
        iterates = (self.iterate + left.changes).swapaxes(1, 2)
        raw = np.empty((*left.indices.shape, len(self.iterate)))
        size = max(1, _OWN_ENTRIES // (len(raw) * self.iterate.shape[1]))
        for first in range(0, raw.shape[1], size):
            indices = left.indices[:, first : first + size]
            X = self.objective.extended(indices.ravel()).reshape(*indices.shape, -1)
            raw[:, first : first + size] = X @ iterates
        return raw

    def published(self, iterates):
        """Coefficients (n, n_outputs, n_features) and intercepts (n, n_outputs)."""
        return self.engine.model.coefficients(iterates)

    def rows_of(self, X):
        """Given rows, checked, to be predicted."""
        X = validate_data(self.estimator, X, reset=False, **ROW_CHECKS)
        return EvaluationRows(AbstractRows.of(canonical(X)), self.objective.shift())

    def warn_of_undefined(self):
        """Warn where there is no model without a unit."""
        if not self.is_defined.all():
            warnings.warn(
                f"{self._undefined()}: what depends on it is NaN.",
                FitFailedWarning,
                stacklevel=3,
            )

    def refuse_undefined(self):
        """Raise ValueError where there is no model without a unit."""
        if not self.is_defined.all():
            raise ValueError(
                f"{self._undefined()}. Add such rows, or remove the last ones with "
                "unlearn and look at what remains."
            )

    def _undefined(self):
        names = self.names[~self.is_defined].tolist()
        some = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
        return (
            f"Without {some} ({len(names)} of {self.n_units} rows or groups) a class, "
            "all targets above 0, or everything, would be gone, and there is no model "
            "of the same outputs"
        )

    def _blocks(self, numbers):
        """Units in blocks, and what makes a `Left` of one."""
        if not self.has_hessian:
            return np.split(numbers, len(numbers)), self._edited
        return self._leave_out.blocks(numbers), self._leave_out.without

    @cached_property
    def has_hessian(self):
        """Whether the models are made from one Hessian."""
        engine = self.engine
        if engine.keeps_path or engine.model.spread is not None:
            return False
        if engine.keeps_hessian:
            return True
        shape = (
            engine.model.loss,
            engine.model.alpha,
            self.objective.n_features,
            engine.model.n_groups,
        )
        return cheapest_curvature(*shape) == "exact"

    @cached_property
    def _leave_out(self):
        try:
            made = LeaveOut(
                self.problem, self.iterate, self._units, self._group_weight,
                self._tol,
            )  # fmt: skip
        except np.linalg.LinAlgError as error:
            raise ValueError(
                "The Hessian of the training rows cannot be factorised in working "
                "precision. Standardise the columns, or penalise them."
            ) from error
        made.prepare()
        return made

    def _edited(self, numbers):
        """`Left` of one unit, by an edit aside."""
        removed = self._units.of_unit(numbers[0])
        targets = self.estimator._edit_targets(self.training_set.table, Edit(removed))
        engine = without(
            self._settings, self.training_set, self._surveyed, removed, targets
        )
        change = self._as_ours(engine) - self.iterate
        with threads.blas_for(order=1):  # second derivatives of blocks of rows
            influence = self._products.norm(self.problem.vectors(change))
        return Left(
            numbers, removed[np.newaxis], change[np.newaxis],
            np.array([influence]), np.array([_error_of(engine)]),
        )  # fmt: skip

    @cached_property
    def _settings(self):
        return self.estimator._settings()

    @cached_property
    def _surveyed(self):
        """The engine with what its first edit would make, once for all units."""
        return self.engine.prepared(self.training_set.aside(), self._settings)

    @cached_property
    def _products(self):
        return self.problem.products(self.iterate)

    def _as_ours(self, engine):
        """An engine's iterate as if its columns were centred where ours are."""
        return engine.model.iterate_about(engine.iterate, self.engine.model.centre)

    def _row_counts(self, indices):
        table, n_groups = self.training_set.table, self.engine.model.n_groups
        group = np.zeros(len(indices), np.int64) if n_groups == 1 else table.y[indices]
        return RowCounts.of_all(table.weight[indices], group, n_groups)

    @property
    def _group_weight(self):
        """Factors of the groups without each unit: (n_units, n_groups)."""
        n_groups = self.engine.model.n_groups
        if n_groups == 1:
            return np.ones((self.n_units, 1))
        table = self.training_set.table
        place = self.unit * n_groups + table.y[self.indices]
        mine = np.bincount(
            place, table.weight[self.indices], self.n_units * n_groups
        ).reshape(self.n_units, n_groups)
        rest = self._row_counts(self.indices).weight[0] - mine
        # Next to a very large weight few digits are left of the others'.
        for number in np.flatnonzero((mine > LARGEST_PART * rest).any(axis=1)):
            rest[number] = self._row_counts(self.indices[self.unit != number]).weight[0]
        return balanced_factors(rest)

    def _sums_by_unit(self, values):
        return np.bincount(self.unit, values, self.n_units)

    def _find_defined(self):
        """Units without which every class has a row, and some row has weight.

        Whatever else the loss cannot do without counts as a class.
        """
        table = self.training_set.table
        n_counting = self._sums_by_unit(table.weight[self.indices] > 0)
        is_defined = n_counting < n_counting.sum()
        is_defined |= n_counting == 0
        kinds = self.engine.model.loss.essential_kinds(
            table.y[self.indices],
            table.weight[self.indices],
            self.objective.fit_intercept,
        )
        if kinds is not None:
            unit, kinds = self.unit[kinds >= 0], kinds[kinds >= 0]
            n_kinds = int(kinds.max(initial=0)) + 1
            pairs, n_rows = np.unique(unit * n_kinds + kinds, return_counts=True)
            of_kind = np.bincount(kinds, minlength=n_kinds)
            is_defined[pairs[n_rows == of_kind[pairs % n_kinds]] // n_kinds] = False
        return is_defined


def _by_position(table):
    """Storage indices of the rows that are there, in the order of their positions."""
    indices = table.live_indices()
    return indices[np.argsort(table.position[indices])]


def _labels(table, groups):
    """Labels of the rows, in the order of positions; None: each its own."""
    if groups is None:
        return None
    indices = _by_position(table)
    if isinstance(groups, str):
        if groups != "sample_id":
            raise ValueError(
                'groups must be None, "sample_id" or one label for each row, got '
                f"{groups!r}."
            )
        if table.ids is None:
            raise ValueError(
                'groups="sample_id" needs ids, and fit was given no sample_id. Pass '
                "one label for each row as groups, or fit with sample_id."
            )
        return table.ids[indices]
    return check_ids(groups, "groups", len(indices))


def _error_of(engine):
    """What an edit says about its error, as a share of what it moved."""
    account = engine.summary()
    if account.get("n_steps", 0) and account["n_exact_steps"] == account["n_steps"]:
        return 0.0
    estimate = account.get("error_estimate")
    return np.inf if estimate is None else estimate
