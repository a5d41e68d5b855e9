"""Replay of a path with no exact step: predicted by a seed, measured at a few nodes.

As in `_path_replay`, with the seed's Hessian in place of the quasi-Hessian, and with a
residual r of what it gets wrong per length of the drift:

    old gradient at w'_t  =  g_t + S_b (B_t drift + r_t |drift|)

At a *node* c of the path the change of the gradient along the drift is measured over
all rows, as they were: r_c = (change / S - B_c drift) / |drift|. The way there is then
made again with r growing towards r_c (repaired), and what that moves the iterate by,
carried on to the end by the seed, is an estimate of the error: not a bound. It does not
see the noise of batches, nor what happens after the last node.
"""

from bisect import bisect_right

import numpy as np

from ._census import per_weight
from ._descent import AbstractReplayOracle, descend

# How much of the rows that a retrain reads may be read at nodes, before a retrain is
# better.
MOST_MEASURED = 0.5
PASSES_PER_NODE = 2


class SeededOracle(AbstractReplayOracle):
    """Predicts all gradients of a cached run's replay.

    Parameters
    ----------
    objective, removed, added, base, base_weight, kept_weight
        See `AbstractReplayOracle`.
    seed : Seed
    everyone : ndarray of shape (n_rows,)
        All rows of the cached run.
    """

    def __init__(
        self, objective, seed, everyone, removed, added, base, base_weight,
        kept_weight,
    ):  # fmt: skip
        super().__init__(objective, removed, added, base, base_weight, kept_weight)
        self.seed = seed
        self.everyone = everyone
        shape = (objective.n_groups, *objective.shape)
        self._nodes = [0, base.n_steps]
        self._residuals = [np.zeros(shape), np.zeros(shape)]

    def gradient_sums(self, step, iterate, sums_out):
        drift = iterate - self.base.iterates[step]
        sums_out[:] = self.base.gradient_sums[step]
        sums_out += self.response(step, drift, self._residual(step))
        self._take_out_removed(step, iterate, sums_out)
        self.objective.add_gradient_sums(iterate, self.added.at(step), sums_out)
        return False

    def response(self, step, drift, residual):
        """What a drift changes the gradient sums of a batch by."""
        response = self.seed.predict(self.objective.loss, step, drift)
        response += np.linalg.norm(drift) * residual
        response *= self.base_weight[step, :, np.newaxis, np.newaxis]
        return response

    def _residual(self, step):
        """Between those of two nodes, or that of the last."""
        after = bisect_right(self._nodes, step)
        first, last = self._nodes[after - 1], self._nodes[after]
        share = (step - first) / (last - first)
        return (1.0 - share) * self._residuals[after - 1] + share * self._residuals[
            after
        ]

    def measure(self, step, iterate):
        """Make a node: towards it the residual grows, after it it stays.

        Two passes over all rows.
        """
        anchor = self.base.iterates[step]
        drift = iterate - anchor
        length = np.linalg.norm(drift)
        residual = self._residuals[-1]
        if length > 0.0:
            change = self.objective.gradient_sums(iterate, self.everyone)
            change -= self.objective.gradient_sums(anchor, self.everyone)
            weight = self.objective.weight_by_group(self.everyone)
            predicted = self.seed.predict(self.objective.loss, step, drift)
            residual = (per_weight(change, weight) - predicted) / length
        self._nodes[-1:] = [step, self.base.n_steps]
        self._residuals[-1:] = [residual, residual]


def seeded_replay(oracle, n_nodes, rate, shrinkage, group_weight, trajectory):
    """Replay a path into a trajectory; return an estimate of its error.

    Parameters
    ----------
    oracle : SeededOracle
    n_nodes : int
    rate, shrinkage, group_weight
        See `_descent.descend`.
    trajectory : Trajectory
        OUT; its first iterate is the start.

    Returns
    -------
    estimate : float
        As a share of how far the edit moves the end of the path.
    """
    n_steps = trajectory.n_steps
    n_features = oracle.objective.n_features
    run = (oracle, rate, shrinkage, group_weight, n_features, trajectory)
    # Half a gap is left at the end.
    nodes = np.rint(n_steps * np.arange(1, n_nodes + 1) / (n_nodes + 0.5)).astype(int)
    first, repairs = 0, {}
    for node in nodes:
        descend(*run, range(first, node))
        before = trajectory.iterates[node].copy()
        oracle.measure(node, before)
        descend(*run, range(first, node))
        repairs[node] = trajectory.iterates[node] - before
        first = node
    descend(*run, range(first, n_steps))
    # What every repair moves the end by, at the seed's word.
    error = np.zeros_like(trajectory.iterates[0])
    keep = np.ones(error.shape)
    for step in range(nodes[0], n_steps):
        error += repairs.get(step, 0.0)
        response = oracle.response(step, error, 0.0)
        keep[:, :n_features] = 1.0 - shrinkage[step][:, np.newaxis]
        gradient = np.tensordot(group_weight, response, axes=1)
        error = keep * error - rate[step] * gradient
    moved = np.linalg.norm(trajectory.iterates[-1] - oracle.base.iterates[-1])
    return float(np.linalg.norm(error) / moved) if moved > 0.0 else 0.0
