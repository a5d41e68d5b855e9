"""What is minimised, and what minimises it and follows edits.

`Model` is what is minimised, and an `AbstractEngine` minimises it. The two engines know
nothing of each other: one keeps the optimum (`_optimum`), the other the whole path of a
gradient descent (`_path`). Everything above them, such as estimators and inspection,
sees this interface only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ._data import centring
from ._data.edit import NO_EDIT, Edit
from ._data.group_weights import balanced_factors
from ._data.spread import ColumnSpread
from ._data.training_set import TrainingSet
from ._objective.data_term import DataTerm
from ._objective.losses import AbstractLoss


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of the solvers; the estimators document them."""

    solver: str
    max_iter: int
    tol: float
    edit_tol: float
    curvature: str
    store_data: bool
    standardize: bool
    learning_rate: str | float | np.ndarray
    batch_size: int
    burn_in: int
    period: str | int
    history_size: int
    cache_dtype: str
    cache_folder: str | None
    verbose: int

    def check_learning_rates(self):
        """Return one learning rate for each epoch, or None for "auto".

        Raises
        ------
        ValueError
            For rates of another shape, or rates that are not positive and finite.
        """
        if isinstance(self.learning_rate, str):
            return None
        rates = np.asarray(self.learning_rate, dtype=float)
        if rates.ndim > 1 or (rates.ndim == 1 and len(rates) != self.max_iter):
            raise ValueError(
                f"learning_rate has shape {rates.shape}: give one number, or one for "
                f"each of the max_iter={self.max_iter} epochs."
            )
        if not (np.isfinite(rates).all() and (rates > 0).all()):
            raise ValueError(
                f"learning_rate must be positive and finite, got {self.learning_rate}: "
                'give such numbers, or "auto".'
            )
        return np.broadcast_to(rates, self.max_iter).copy()


@dataclass(frozen=True)
class Model:
    """What is minimised on the training rows.

        F(W, b) = sum_i c_i s_i loss(y_i, x_i @ W' + b) + sum_k alpha_k / 2 ||D W_k||^2

    s_i are the rows' weights, c_i the factors of their groups, and D the columns'
    standard deviations where columns are to be as if standardised, else the identity.

    Attributes
    ----------
    loss : AbstractLoss
    alpha : ndarray of shape (n_outputs,)
        Strength of the penalty of each output.
    n_groups : int
        Number of classes under ``class_weight="balanced"``, else 1.
    centre : ndarray of shape (n_features,) or None
        Where the columns of an iterate are centred; None: there is no intercept.
    spread : ColumnSpread or None
        Of the columns, where they are to be as if standardised.
    """

    loss: AbstractLoss
    alpha: np.ndarray
    n_groups: int = 1
    centre: np.ndarray | None = None
    spread: ColumnSpread | None = None

    def data_term(self, training_set: TrainingSet):
        """Return the sums over the rows of a training set that solvers minimise."""
        table = training_set.table
        return DataTerm(
            training_set.rows, table.y, table.weight, self.loss, self.centre,
            group=table.y if self.n_groups > 1 else None, n_groups=self.n_groups,
        )  # fmt: skip

    def n_dof(self, n_features: int) -> int:
        """Return the number of coefficients of an output, with its intercept."""
        return n_features + (self.centre is not None)

    def coefficients(self, iterates):
        """Return coefficients and intercepts: see `centring.coefficients`.

        This is the only place where what a model publishes is made from an iterate.
        """
        n_features = iterates.shape[-1] - (self.centre is not None)
        return centring.coefficients(iterates, n_features, self.centre)

    def iterate_about(self, iterate, centre):
        """Return the same coefficients as an iterate with columns centred elsewhere."""
        n_features = iterate.shape[-1] - (self.centre is not None)
        return centring.recentred(iterate, n_features, self.centre, centre)

    def group_factors(self, weight_by_group):
        """Return the factors of the groups' weights, shape (n_groups,)."""
        if self.n_groups == 1:
            return np.ones(1)
        return balanced_factors(weight_by_group)


class AbstractEngine(ABC):
    """A model that was fitted, and all that its edits need besides the rows.

    Engines are immutable: an edit returns another engine.

    Attributes
    ----------
    model : Model
    iterate : ndarray of shape (n_outputs, n_dof)
        The fitted coefficients in centred columns, with the intercept last.
    converged : bool
        Whether the last fit or edit got as near to its goal as it was asked to.
    random_seed : int or None
        What decides all that is random.
    n_counting : int
        Number of training rows of positive weight.
    total_weight : float
        Sum of the weights of the training rows, without the factors of groups.
    trajectory : Trajectory
        The cached run, of an engine that keeps its path.
    nbytes : int
        Size of what is kept besides the rows.
    """

    # Whether the whole run is kept, and depends on where the columns are centred.
    keeps_path: ClassVar[bool]

    model: Model
    iterate: np.ndarray | None
    converged: bool
    random_seed: int | None
    n_counting: int
    total_weight: float
    nbytes: int
    trajectory: Any

    @classmethod
    @abstractmethod
    def untrained(
        cls, settings: Settings, model: Model, training_set: TrainingSet, seed: int
    ) -> AbstractEngine:
        """Return an engine that is to be fitted.

        Parameters
        ----------
        settings : Settings
        model : Model
        training_set : TrainingSet
            What `fit` will be given.
        seed : int
            Decides all that is random.

        Raises
        ------
        ValueError
            When the settings do not allow it, for example ``store_data=False`` with a
            solver that reads the rows.
        """

    @abstractmethod
    def fit(self, training_set: TrainingSet, edit: Edit = NO_EDIT) -> AbstractEngine:
        """Fit the model from zero to the current training rows and those of an edit."""

    @abstractmethod
    def prepared(self, training_set: TrainingSet, settings: Settings):
        """Return the engine with what its first edit would have to compute."""

    @abstractmethod
    def adapted(
        self,
        model: Model,
        training_set: TrainingSet,
        settings: Settings,
        edit: Edit = NO_EDIT,
    ):
        """Return an engine for a model that has changed.

        Parameters
        ----------
        model : Model
            The same as that of this engine but for the columns' spread; or another one,
            and then the engine is to be fitted.
        training_set : TrainingSet
            What it will be fitted on.
        settings : Settings
        edit : Edit
            Staged, with the rows that join.
        """

    @abstractmethod
    def edited(self, training_set: TrainingSet, edit: Edit, settings: Settings):
        """Return the engine after a staged edit, by as little work as will do."""

    @abstractmethod
    def plan(
        self, training_set: TrainingSet, edit: Edit, settings: Settings, is_refit: bool
    ) -> dict:
        """Predict the cost of an edit, as attributes of `EditPlan`.

        `is_refit`: whether the model has to be fitted from zero in any case.
        """

    @abstractmethod
    def purged(self, training_set: TrainingSet, settings: Settings, exact: bool):
        """Remove what was computed with rows that have left.

        Parameters
        ----------
        training_set : TrainingSet
        settings : Settings
        exact : bool
            Whether everything is computed again from the rows in their stored order.

        Returns
        -------
        engine : AbstractEngine
        obstacle : str or None
            Why something of removed rows is left, if it is.
        """

    def refined(
        self, training_set: TrainingSet, distance: float, scale, from_zero: bool = False
    ):
        """Return the engine nearer to the optimum than an absolute distance, if it can.

        Parameters
        ----------
        training_set : TrainingSet
        distance : float
            Largest Euclidean distance of what is published from the optimum.
        scale : ndarray of shape (n_outputs, n_dof)
            Units of the published coefficients in it, with the intercept last.
        from_zero : bool, default=False
            Whether the model is fitted from zero before. The report then adds the cost
            of the refinement that this engine is the result of.

        Raises
        ------
        ValueError
            From an engine that has no bounds.
        """
        raise ValueError(
            "The error of this solver is estimated, not bounded, and refine promises a "
            'bound: use solver="newton". partial_refit() retrains exactly.'
        )

    @abstractmethod
    def summary(self) -> dict:
        """Return what the report says about the last fit or edit."""

    @abstractmethod
    def attributes(self) -> dict:
        """Return the fitted attributes that the estimator shows."""

    def taken_as_exact(self):
        """Return the engine, with errors of its next edits counted from where it is.

        Otherwise they are counted from where the exact solution would be.
        """
        return self

    def gradients(self, n_features: int):
        """Iterate over the gradients that can be computed from what is kept."""
        return iter(())
