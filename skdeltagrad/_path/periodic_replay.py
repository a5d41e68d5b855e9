"""The paper's replay: gradients of some steps are computed, those of others predicted.

Wu, Dobriban and Davidson, "DeltaGrad: Rapid retraining of machine learning models",
ICML 2020 (arXiv 2006.14755), algorithm 1. w_t and g_t are the cached iterates and
gradient sums, w'_t the iterates of the replay, and drift = w'_t - w_t.

    exact step          old = sum of gradients at w'_t over the batch as it was;
                        the curvature pair (drift, old - g_t) goes to the quasi-Hessian
    approximate step    old = g_t + B drift                              (equation 5)
    both                g'_t = old - removed rows at w'_t + added rows at w'_t

Every step is recorded again, so that the replay of a replay is the paper's online
algorithm (algorithm 3) without further code.

Curvature pairs are per unit of weight, because the Hessian of a batch grows with its
weight, and the last batch of an epoch may be small.
"""

import numpy as np

from .descent import AbstractOracle, take_out
from .lbfgs import CompactLBFGS

# Rounding: a smaller drift, relative to the iterate, is not the effect of an edit. Its
# effect on the gradient is rounding as well, and gives an arbitrary curvature pair.
_LEAST_DRIFT = 1e-11


class PeriodicOracle(AbstractOracle):
    """Predicts the gradients of a replay, and computes some of them.

    Parameters
    ----------
    objective : AbstractDataTerm
    batches, removed, added : object with ``at(step)``
        Rows that stay, rows that leave and rows that join.
    base : Playback
        The cached path.
    base_weight, kept_weight : ndarray of shape (n_steps, n_groups)
        Weights of the batches in the cached path, and of the rows that stay of them.
    burn_in, period, history_size : int
        The first `burn_in` steps are exact, then one step in `period`. The
        quasi-Hessian keeps `history_size` curvature pairs.
    """

    def __init__(
        self, objective, batches, removed, added, base, base_weight, kept_weight,
        *, burn_in, period, history_size,
    ):  # fmt: skip
        self.objective = objective
        self.batches = batches
        self.removed = removed
        self.added = added
        self.base = base
        self.base_weight = base_weight
        self.kept_weight = kept_weight
        self.burn_in = burn_in
        self.period = period
        n_coef = objective.n_outputs * objective.n_dof
        self.quasi_hessians = [
            CompactLBFGS(history_size, n_coef) for _ in range(objective.n_groups)
        ]

    def gradient_sums(self, step, iterate, sums_out):
        self.base.go_to(step)
        exact = self._must_be_exact(step, iterate)
        if exact:
            self._measure(step, iterate, sums_out)
        else:
            self._predict(step, iterate, sums_out)
        self.objective.add_gradient_sums(iterate, self.added.at(step), sums_out)
        return exact

    def _must_be_exact(self, step, iterate):
        if is_exact(step, self.burn_in, self.period):
            return True
        for quasi_hessian, weight in zip(
            self.quasi_hessians, self.base_weight[step], strict=True
        ):
            if quasi_hessian.n_pairs == 0 and weight > 0.0:
                # A prediction is needed as soon as there is a drift.
                return _is_drift(iterate - self.base.iterate, iterate)
        return False

    def _measure(self, step, iterate, sums_out):
        """Compute the rows that stay; with removed ones they give a curvature pair."""
        self.objective.add_gradient_sums(iterate, self.batches.at(step), sums_out)
        response = sums_out - self.base.gradient_sums()
        self.objective.add_gradient_sums(iterate, self.removed.at(step), response)
        drift = (iterate - self.base.iterate).ravel()
        if not _is_drift(drift, iterate):
            return
        for quasi_hessian, weight, of_group in zip(
            self.quasi_hessians, self.base_weight[step], response, strict=True
        ):
            if weight > 0.0:
                of_group /= weight
                quasi_hessian.update(drift, of_group.ravel())

    def _predict(self, step, iterate, sums_out):
        """Predict the batch before the edit, and subtract the removed rows."""
        anchor = self.base.iterate.ravel()
        base = self.base.gradient_sums()
        for group, quasi_hessian in enumerate(self.quasi_hessians):
            quasi_hessian.predict(
                iterate.ravel(), anchor, base[group].ravel(),
                self.base_weight[step, group], sums_out[group].reshape(-1),
            )  # fmt: skip
        kept_weight = self.kept_weight[step]
        take_out(self.objective, self.removed.at(step), iterate, kept_weight, sums_out)


def _is_drift(drift, iterate):
    return np.abs(drift).max() > _LEAST_DRIFT * np.abs(iterate).max()


def is_exact(step, burn_in, period):
    """Return whether the gradient of a step, or of each of several, is computed."""
    return (step < burn_in) | ((step - burn_in) % period == 0)
