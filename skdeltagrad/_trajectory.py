"""The cached training run."""

import numpy as np


class Trajectory:
    """Every iterate and gradient of a training run.

    Holds arrays only, so that `joblib.dump` stores it as such and can map it into
    memory.

    Parameters
    ----------
    iterates : ndarray of shape (n_steps + 1, n_outputs, n_dof)
        The start and the iterate after every step. The last column is the intercept,
        if there is one, of columns centred at `centre`.
    gradient_sums : ndarray of shape (n_steps, n_groups, n_outputs, n_dof)
        Gradient of the data term at every iterate but the last, summed over the rows
        of the step's batch, without the penalty. One group, or with
        ``class_weight="balanced"`` one for each class, without the class's weight.
    exact : ndarray of shape (n_steps,), dtype bool
        Whether the gradient was computed, or predicted by the last edit.
    """

    def __init__(self, iterates, gradient_sums, exact):
        self.iterates = iterates
        self.gradient_sums = gradient_sums
        self.exact = exact

    @classmethod
    def allocate(cls, n_steps, n_groups, shape):
        """A run that is zero throughout; shape is (n_outputs, n_dof)."""
        return cls(
            np.zeros((n_steps + 1, *shape)),
            np.zeros((n_steps, n_groups, *shape)),
            np.ones(n_steps, bool),
        )

    @staticmethod
    def bytes_needed(n_steps, n_groups, shape):
        """Bytes that `allocate` asks for."""
        n_coef = shape[0] * shape[1]
        return 8 * n_coef * (n_steps + 1 + n_steps * n_groups) + n_steps

    @property
    def n_steps(self):
        """Number of steps."""
        return len(self.exact)

    @property
    def nbytes(self):
        """Bytes held."""
        return self.iterates.nbytes + self.gradient_sums.nbytes + self.exact.nbytes

    def __repr__(self):
        _, n_outputs, n_dof = self.iterates.shape
        return (
            f"Trajectory(n_steps={self.n_steps}, n_outputs={n_outputs}, n_dof={n_dof}, "
            f"{self.nbytes / 1e6:.1f} MB)"
        )
