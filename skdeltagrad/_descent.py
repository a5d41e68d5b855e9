"""The one loop of `fit`, exact retraining and replay."""

from abc import ABC, abstractmethod

import numpy as np

from . import _kernels


class AbstractOracle(ABC):
    """Where the gradient of a step comes from."""

    @abstractmethod
    def gradient_sums(self, step, iterate, sums_out):
        """Gradient of the data term, summed over the rows of a step by group.

        Parameters
        ----------
        step : int
        iterate : ndarray of shape (n_outputs, n_dof)
        sums_out : ndarray of shape (n_groups, n_outputs, n_dof)
            OUT; zero when it comes in.

        Returns
        -------
        exact : bool
            Whether they were computed rather than predicted.
        """


class ExactOracle(AbstractOracle):
    """Computes every gradient.

    Parameters
    ----------
    objective : Objective
    batches : object with ``at(step)``
        Rows that are there.
    added : object with ``at(step)``
        Rows that join.
    """

    def __init__(self, objective, batches, added):
        self.objective = objective
        self.batches = batches
        self.added = added

    def gradient_sums(self, step, iterate, sums_out):
        slots = self.batches.at(step)
        added = self.added.at(step)
        if len(added):
            slots = np.concatenate([slots, added])
        self.objective.add_gradient_sums(iterate, slots, sums_out)
        return True


class AbstractReplayOracle(AbstractOracle):
    """Follows a cached run on other rows.

    Parameters
    ----------
    objective : Objective
    removed, added : object with ``at(step)``
        Rows that leave and rows that join.
    base : Trajectory
        The cached run.
    base_weight, kept_weight : ndarray of shape (n_steps, n_groups)
        Weights of the batches in the cached run, and of their kept rows; one row where
        all steps are the same.
    """

    def __init__(self, objective, removed, added, base, base_weight, kept_weight):
        self.objective = objective
        self.removed = removed
        self.added = added
        self.base = base
        by_step = (base.n_steps, objective.n_groups)
        self.base_weight = np.broadcast_to(base_weight, by_step)
        self.kept_weight = np.broadcast_to(kept_weight, by_step)

    def _take_out_removed(self, step, iterate, sums_out):
        """Take the removed rows out of what was predicted for the batch as it was."""
        removed = self.removed.at(step)
        if len(removed):
            self.objective.add_gradient_sums(iterate, removed, sums_out, sign=-1.0)
            # Where nobody is left nothing may be: not even the prediction's error,
            # which points along the removed rows.
            sums_out[self.kept_weight[step] == 0.0] = 0.0


@np.errstate(over="ignore", invalid="ignore")  # found and reported by step 2
def descend(oracle, rate, shrinkage, group_weight, n_features, trajectory, steps=None):
    """Run gradient descent from the first iterate of a trajectory and record it.

        w_{t+1} = w_t - eta_t (g_t / S_b + alpha w_t / S)

    g_t is the oracle's gradient sum over the step's batch; the penalty, which spares
    the intercept, is applied here.

    Parameters
    ----------
    oracle : AbstractOracle
    rate : ndarray of shape (n_steps,)
        eta_t / S_b; 0 for a batch without rows, which is a skipped step.
    shrinkage : ndarray of shape (n_steps, n_outputs)
        eta_t alpha / S.
    group_weight : ndarray of shape (n_groups,)
    n_features : int
        Coefficients from here on are intercepts.
    trajectory : Trajectory
        OUT; its first iterate is the start, all else is zero.
    steps : range, optional
        A part of the run, from where it starts; all of it if None. One that was made
        before is made again only by an oracle that does not add to what is there.

    Raises
    ------
    ValueError
        When an iterate is not finite.
    """
    iterates, gradient_sums = trajectory.iterates, trajectory.gradient_sums
    for step in range(trajectory.n_steps) if steps is None else steps:
        sums = gradient_sums[step]
        if rate[step] == 0.0:
            iterates[step + 1] = iterates[step]
            continue
        # 1) gradient, recorded as it is made
        trajectory.exact[step] = oracle.gradient_sums(step, iterates[step], sums)
        # 2) step
        if len(sums) == 1:
            gradient = sums[0]
        else:
            gradient = np.tensordot(group_weight, sums, axes=1)
        finite = _kernels.step.descend(
            iterates[step], gradient, rate[step], shrinkage[step], n_features,
            iterates[step + 1],
        )  # fmt: skip
        if not finite:
            raise ValueError(
                f"The iterates are not finite any more after step {step + 1} of "
                f"{trajectory.n_steps}: the learning rate is too large for this data. "
                "Lower learning_rate, or standardise the columns of X."
            )
