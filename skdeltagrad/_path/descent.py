"""The gradient descent of `fit`, of exact retraining and of the paper's replay."""

from abc import ABC, abstractmethod

import numpy as np

from .. import _kernels
from .._utils import progress, threads


class AbstractOracle(ABC):
    """A source of gradients for `descend`."""

    @abstractmethod
    def gradient_sums(self, step, iterate, sums_out):
        """Compute or predict the gradient sums of the rows of a step, by group.

        Parameters
        ----------
        step : int
        iterate : ndarray of shape (n_outputs, n_dof)
        sums_out : ndarray of shape (n_groups, n_outputs, n_dof)
            OUT; zero on input.

        Returns
        -------
        exact : bool
            Whether they were computed, not predicted.
        """


class ExactOracle(AbstractOracle):
    """Computes every gradient.

    Parameters
    ----------
    objective : AbstractDataTerm
    batches : object with ``at(step)``
        The current rows.
    added : object with ``at(step)``
        Rows that join.
    """

    def __init__(self, objective, batches, added):
        self.objective = objective
        self.batches = batches
        self.added = added

    def gradient_sums(self, step, iterate, sums_out):
        indices = self.batches.at(step)
        added = self.added.at(step)
        if len(added):
            indices = np.concatenate([indices, added])
        self.objective.add_gradient_sums(iterate, indices, sums_out)
        return True


def take_out(objective, removed, iterate, kept_weight, sums_out):
    """Subtract removed rows from gradient sums that were predicted for all rows.

    Sums over no remaining row are set to zero. Otherwise the error of the prediction
    would be left, which has the direction of the removed rows.

    Parameters
    ----------
    objective : AbstractDataTerm
    removed : ndarray of shape (n_removed,)
        Storage indices.
    iterate : ndarray of shape (n_outputs, n_dof)
    kept_weight : ndarray of shape (n_groups,)
        Weight of the remaining rows.
    sums_out : ndarray of shape (n_groups, n_outputs, n_dof)
        OUT.
    """
    if len(removed):
        objective.add_gradient_sums(iterate, removed, sums_out, sign=-1.0)
        sums_out[kept_weight == 0.0] = 0.0


@threads.blas_for(order=1)  # besides rows, a step multiplies small arrays only
@np.errstate(over="ignore", invalid="ignore")  # step 2 raises Diverged instead
def descend(oracle, rate, shrinkage, group_weight, n_features, trajectory):
    """Run gradient descent from zero and record it.

        w_{t+1} = w_t - eta_t (g_t / S_b + alpha w_t / S)

    g_t is the oracle's gradient sum over the step's batch; the penalty, which spares
    the intercept, is applied here.

    Parameters
    ----------
    oracle : AbstractOracle
    rate : ndarray of shape (n_steps,)
        eta_t / S_b; 0 for a batch without rows, whose step is skipped.
    shrinkage : ndarray of shape (n_steps, n_outputs)
        eta_t alpha / S.
    group_weight : ndarray of shape (n_groups,)
    n_features : int
        Coefficients from here on are intercepts.
    trajectory : Trajectory
        OUT; zero on input.

    Raises
    ------
    Diverged
        If an iterate is not finite.
    """
    iterate = trajectory.end
    sums = np.empty((len(group_weight), *iterate.shape))
    for step in progress.each("steps", range(trajectory.n_steps)):
        if rate[step] == 0.0:
            continue
        # 1) gradient
        sums[:] = 0.0
        trajectory.exact[step] = oracle.gradient_sums(step, iterate, sums)
        trajectory.group_sums[step] = sums[:-1]
        # 2) step
        gradient = sums[0] if len(sums) == 1 else np.tensordot(group_weight, sums, 1)
        finite = _kernels.step.descend(
            iterate, gradient, rate[step], shrinkage[step], n_features,
            trajectory.steps[step],
        )  # fmt: skip
        if not finite:
            raise_diverged(step, trajectory.n_steps)


class Diverged(ValueError):
    """The iterates overflowed."""


def raise_diverged(step, n_steps):
    """Raise `Diverged` for a step, counted from 0."""
    raise Diverged(
        f"The iterates are not finite any more after step {step + 1} of {n_steps}: the "
        "learning rate is too large for this data. Lower learning_rate, or standardise "
        "the columns of X."
    )
