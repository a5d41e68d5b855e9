"""The leave-one-out driver: the models without each row, or group of rows.

This is the only module of `inspection` that knows estimators, engines and their
training sets. An estimator goes in, blocks of `Models` come out, and the estimator is
not changed. How the models are computed depends on it:

newton, with a Hessian       all units of a block at once (`_optima_without_rows`), in
                             threads; an edit for the units that are too hard for it
newton, too large for one    an edit for every unit, by conjugate gradients
newton, standardize=True     an edit for every unit: the columns' scales change with it
gd, sgd                      an edit for every unit: a replay of the path
"""

import os
import threading
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from time import perf_counter

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from .._data.storage import canonical, store
from .._estimators.base import ROW_CHECKS, BaseDeltaGrad
from .._estimators.editing import without
from .._estimators.inspected import InspectedEstimator
from .._optimum.cost import cheapest_curvature
from .._optimum.curvature import Curvature
from .._optimum.problem import problem_of
from .._optimum.rounding import Noise
from .._utils import progress, threads
from .._utils.callbacks import followed, stand_in
from ._optima_without_rows import OptimaWithoutRows
from ._scores import EvaluationRows
from ._units import Units
from ._working_model import WorkingModel, rows_in_blocks

# Cost: entries of rows that are copied at a time. 2 MB, so that they stay in the cache.
_OWN_ENTRIES = 2**18
# Display: seconds between two lines of progress.
_INTERVAL = 2.0


@dataclass(frozen=True)
class Models:
    """Models without the units of a block, which are of the same size.

    Attributes
    ----------
    units : ndarray of shape (n_units,)
        Their numbers.
    index : ndarray of shape (n_units, size)
        Storage indices of their rows.
    iterates : ndarray of shape (n_units, n_outputs, n_dof)
    influence : ndarray of shape (n_units,)
        Norm of the change from the iterate of all rows, in the metric of the Hessian of
        all rows.
    error : ndarray of shape (n_units,)
        See `_results.LeaveOneOut`.
    """

    units: np.ndarray
    index: np.ndarray
    iterates: np.ndarray
    influence: np.ndarray
    error: np.ndarray


class Driver:
    """The models without each unit of the current training rows of an estimator.

    Parameters
    ----------
    estimator : BaseDeltaGrad
    groups, tol, verbose
        See `inspection.leave_one_out`.

    Attributes
    ----------
    units : Units
        Of the current training rows.
    iterate : ndarray of shape (n_outputs, n_dof)
        Of the estimator.

    Raises
    ------
    TypeError, ValueError
        When the estimator is not one of this package or has no rows, or a parameter is
        invalid.
    """

    def __init__(self, estimator, groups, tol, verbose):
        if not isinstance(estimator, BaseDeltaGrad):
            raise TypeError(
                "estimator must be a fitted estimator of skdeltagrad, got "
                f"{type(estimator).__name__}. For a pipeline pass its last step, and "
                "rows as the steps before it transform them."
            )
        check_is_fitted(estimator)
        if not isinstance(tol, Real) or not tol > 0:
            raise ValueError(f"tol must be a positive number, got {tol!r}.")
        inspected = InspectedEstimator(estimator)
        if not inspected.training_set.table.is_stored:
            raise ValueError(
                "estimator was fitted with store_data=False and kept no rows to leave "
                "out. Fit with store_data=True."
            )
        # No edit that is made here may reach the table of the estimator.
        self.inspected, self._training_set = inspected, inspected.training_set
        self._table = self._training_set.table
        self.estimator, self._tol, self._verbose = estimator, tol, verbose
        self._engine = inspected.engine
        self.iterate = self._engine.iterate
        model = self._engine.model
        self.units = Units(self._table, groups, model)
        self._problem = problem_of(model, self._training_set, self.units.index)
        self._settings = inspected.settings
        self._has_hessian = self._find_hessian()
        if self._has_hessian:  # a bound above the change itself tells nothing
            self._settings = replace(self._settings, edit_tol=min(tol, 1.0))

    def run(self, use, serially=False):
        """Call ``use(number, models)`` with every block of `Models` and its number.

        It is called by several threads at once unless `serially`. Callbacks that were
        set on the estimator follow.
        """
        n_units = np.count_nonzero(self.units.is_defined)
        with threads.blas_for(self._problem.penalty.shape[1]):
            # Computes all that threads share.
            blocks = self.units.blocks(self._engine.model.n_groups, self._block_size)

        def take(number):
            models = self._models(*blocks[number])
            with threads.blas_for(order=1):  # the matrices are small
                use(number, models)
            report(len(models.units))

        # Each block has a thread of its own, but edits need all threads of BLAS.
        order = 1 if self._has_hessian else np.inf
        with (
            followed(stand_in(self.estimator), "leave_one_out", n_units) as finish,
            threads.blas_for(order),
        ):
            report = self._reporter(n_units)
            with progress.listening():  # edits of single units are not reported
                if self._has_hessian and not serially:
                    threads.run(take, len(blocks))
                else:
                    for number in range(len(blocks)):
                        take(number)
            finish()

    def own_predictions(self, models):
        """Raw predictions of units' rows without them: (n_units, size, n_outputs)."""
        index, iterates = models.index, models.iterates.swapaxes(1, 2)
        raw = np.empty((*index.shape, len(self.iterate)))
        size = max(1, _OWN_ENTRIES // (len(raw) * self.iterate.shape[1]))
        for first in range(0, raw.shape[1], size):
            some = slice(first, first + size)
            X = self._problem.objective.extended(index[:, some].ravel())
            raw[:, some] = X.reshape(len(raw), -1, X.shape[1]) @ iterates
        return raw

    def residuals(self, raw):
        """Targets minus their means, for raw predictions of the rows of `units.index`.

        The losses are those of canonical links: the derivative in the raw prediction is
        the mean minus the target, (n_rows, n_outputs).
        """
        means, weight = raw.copy(), np.ones(len(self.units.weight))
        index, loss = self.units.index, self._engine.model.loss
        loss.differentiate(means, self.units.y, weight, index)
        return -means

    @property
    def output_names(self):
        """Classes or numbers of targets; nothing where there is one output."""
        if len(self.iterate) == 1:
            return ()
        return self.inspected.output_names(len(self.iterate))

    @property
    def coefficient_names(self):
        """Names of the columns, and "intercept" if there is one, for every output."""
        names = list(self.inspected.feature_names)
        if self.iterate.shape[1] > len(names):
            names.append("intercept")
        if len(self.iterate) == 1:
            return tuple(names)
        return tuple(f"{of} {name}" for of in self.output_names for name in names)

    def published(self, iterates):
        """Coefficients (n, n_outputs, n_features) and intercepts (n, n_outputs)."""
        return self._engine.model.coefficients(iterates)

    def iterate_of(self, fitted):
        """The coefficients of another fitted estimator as an iterate of this one."""
        n_outputs, n_dof = self.iterate.shape
        coef = np.reshape(fitted.coef_, (n_outputs, -1))
        if n_dof == coef.shape[1]:
            return coef
        intercept = np.reshape(fitted.intercept_, n_outputs)
        intercept = intercept + coef @ self._engine.model.centre
        return np.column_stack([coef, intercept])

    def training_rows(self):
        """Copies of the rows, their targets, and their weights, by position."""
        index = self.units.index
        X = self._training_set.rows.read(index)
        return X, self.targets(), self._table.weight[index]

    def targets(self):
        """Targets or labels of the rows as `fit` was given them, by position."""
        y = self.inspected.given_targets(self.units.y[self.units.index])
        return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y

    def joined(self, iterates):
        """Coefficients, and the intercept behind them if there is one.

        The last two axes are (n_outputs, n_dof); that of a single output is left out.
        """
        coef, intercept = self.published(iterates)
        if self.iterate.shape[1] > coef.shape[-1]:
            coef = np.concatenate([coef, intercept[..., np.newaxis]], axis=-1)
        return coef.squeeze(-2) if len(self.iterate) == 1 else coef

    def covariance_of(self, matrix):
        """The covariance of `joined` coefficients, given that of a single iterate."""
        basis = self.joined(np.eye(len(matrix))[:, np.newaxis])
        return basis.T @ matrix @ basis

    def standard_errors(self, hessian):
        """Square roots of the diagonal of the inverse Hessian, for `joined`."""
        return np.sqrt(self.covariance_of(hessian.inverse()).diagonal())

    def row_blocks(self):
        """Slices of `units.index` and dense copies of the rows, (n_rows, n_dof)."""
        return rows_in_blocks(self._problem.objective, self.units.index)

    def raw_predictions(self):
        """Raw predictions of the rows of `units.index`: (n_rows, n_outputs)."""
        objective = self._problem.objective
        return objective.raw_predictions(self.iterate, self.units.index)

    def attributes(self, iterate):
        """The fitted attributes of the estimator at an iterate, by name."""
        return self.inspected.attributes(*self.published(iterate))

    def sklearn_model(self, iterate):
        """scikit-learn's own model at an iterate."""
        model = self.estimator.to_sklearn()
        for name, value in self.attributes(iterate).items():
            setattr(model, name, value)
        return model

    def working_model(self, name):
        """The `WorkingModel` of the estimator, for a function of this name.

        Raises
        ------
        ValueError
            When there are several outputs, or when there is no Hessian of all rows.
        """
        if len(self.iterate) > 1:
            raise ValueError(
                f"{name} is for models with one output, and the estimator has "
                f"{len(self.iterate)} (classes or targets). leave_one_out and "
                'covariance with kind="jackknife" or "CRV3" accept any number.'
            )
        if not self._has_hessian:
            raise ValueError(
                f"{name} needs the Hessian at the optimum: fit with solver="
                '"newton", with standardize=False, and with few enough columns for '
                "their Hessian. leave_one_out accepts every estimator."
            )
        return WorkingModel.at(self._problem, self.iterate, self.units.index)

    @property
    def has_constant_variance(self):
        """Whether the variance of targets does not follow from their mean."""
        return self._engine.model.loss.is_quadratic

    def pearson_residuals(self, raw):
        """Pearson residuals for weight 1, for raw predictions of `units.index`."""
        loss, y = self._engine.model.loss, self.units.y[self.units.index]
        second = loss.second_derivatives(raw, y)[:, 0, 0]
        with np.errstate(divide="ignore"):
            return self.residuals(raw)[:, 0] / np.sqrt(second)

    def rows_of(self, X):
        """Check rows that a user passed: `EvaluationRows`."""
        X = validate_data(self.estimator, X, reset=False, **ROW_CHECKS)
        rows = store(canonical(X))
        return EvaluationRows(rows, self._problem.objective.centre)

    def _block_size(self, size):
        """How many units of so many rows make a block; 0 where each is an edit."""
        return self._optima.block_size(size) if self._has_hessian else 0

    def _models(self, units, group_weight):
        """`Models` without each unit of a block: see `Units.blocks`."""
        index = self.units.rows(units)
        changes = np.empty((len(units), *self.iterate.shape))
        error = np.full(len(units), np.nan)
        if self._block_size(index.shape[1]):
            changes, error = self._optima.without(index, group_weight)
        is_hard = np.isnan(error)
        if self._has_hessian and self._optima.is_exact:
            is_hard |= error > self._tol
        for number in np.flatnonzero(is_hard):
            changes[number], error[number] = self._by_edit(index[number])
        if self._has_hessian:
            influence = self._optima.norms(changes)
        else:
            with threads.blas_for(order=1):  # second derivatives of blocks of rows
                norms = map(self._products.norm, map(self._problem.vectors, changes))
                influence = np.array(list(norms))
        return Models(units, index, self.iterate + changes, influence, error)

    def _by_edit(self, index):
        """Remove some rows by an edit: the change of the iterate, and its error."""
        targets = self.inspected.targets_without(index)
        engine = without(
            self._settings, self._training_set, self._start, index, targets
        )
        if self._has_hessian and engine.summary()["refit"]:
            # It ended at the tolerance of a fit.
            others = self._training_set.aside()
            others.table.detach(index)
            engine = engine.purged_on_rows(others)
        centre = self._engine.model.centre
        change = engine.model.iterate_about(engine.iterate, centre) - self.iterate
        return change, self._error_of(engine, change)

    def _error_of(self, engine, change):
        """Bound or estimate of an edit's error as a fraction of the change, or inf."""
        summary = engine.summary()
        if not self._has_hessian:
            n_steps = summary.get("n_steps", 0)
            if n_steps and summary["n_exact_steps"] == n_steps:
                return 0.0
            estimate = summary.get("error_estimate")
            return np.inf if estimate is None else estimate
        if summary["distance_bound"] is None:
            return np.inf
        length = engine.curvature.hessian.norm(self._problem.vectors(change))
        if self._engine.model.loss.is_quadratic or not length > 0.0:
            return 0.0
        return summary["distance_bound"] / length

    def _find_hessian(self):
        """Whether the models are computed from one Hessian."""
        engine, model = self._engine, self._engine.model
        if engine.keeps_path or model.spread is not None:
            return False
        n_features = self.estimator.n_features_in_
        size = model.loss, model.alpha, n_features, model.n_groups
        return engine.keeps_hessian or cheapest_curvature(*size) == "exact"

    @cached_property
    def _products(self):
        return self._problem.products(self.iterate)

    @cached_property
    def _optima(self):
        start, tol = self._start, self._tol
        return OptimaWithoutRows(
            self._problem, self.iterate, start.gradient_sums, start.curvature, tol
        )

    @cached_property
    def _start(self):
        """The engine with all that its first edit would compute, once for all units."""
        if self._has_hessian:
            return self._at_iterate(self._engine)
        # A model and the one without a unit have the same error by earlier edits.
        engine = self._engine.taken_as_exact()
        return engine.prepared(self._training_set, self._settings)

    def _at_iterate(self, engine):
        """An engine with its gradient and its Hessian computed at its iterate."""
        problem, iterate = self._problem, self.iterate
        measured = problem.measure(iterate)
        try:
            if (
                engine.model.loss.is_quadratic
            ):  # the step is exact and needs no leverages
                curvature = Curvature.incomplete(problem, self._table, iterate)
            else:
                curvature = Curvature.built(problem, self._table, iterate)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                "The Hessian of the training rows cannot be factorised in working "
                "precision. Standardise the columns, or penalise them."
            ) from error
        # The Hessian keeps this number, and hands it on to the Hessians of edits. It is
        # computed now, so that they do not depend on which thread is the first.
        curvature.hessian.condition()
        return replace(
            engine, curvature_kind="exact", reference=iterate, curvature=curvature,
            gradient_sums=measured.gradient_sums,
            noise=Noise(problem.noise(measured)), distance_since_pass=0.0,
        )  # fmt: skip

    def _reporter(self, n_units):
        """A function that threads call with the number of units they have left out."""
        tell = progress.begin("left out", n_units)
        lock, n_done = threading.Lock(), 0
        started = printed = perf_counter()

        def report(n_more):
            nonlocal n_done, printed
            with lock:
                n_done += n_more
                if tell is not None:
                    tell(n_done)
                now = perf_counter()
                is_due = n_done == n_units or now - printed >= _INTERVAL
                if self._verbose and is_due:
                    printed, seconds = now, f"{now - started:.1f} s"
                    print(f"left out {n_done:,} of {n_units:,}, {seconds}")

        return report


def refuse_store(estimator, name):
    """Raise ValueError if a function edits copies, which rows in files do not have."""
    if estimator.store is not None:
        raise ValueError(
            f"{name} edits copies of the estimator, and rows in a store "
            f"({os.fspath(estimator.store)!r}) belong to one estimator. Fit one with "
            "store=None, on a sample of the rows if they do not fit into memory."
        )
