"""Losses, pointwise on raw predictions: they never see the features.

======================= ========================== ============ ================
loss                    per row                    n_outputs    curvature bound
======================= ========================== ============ ================
`BinomialLoss`          log(1 + exp(z)) - y z      1            1/4
`MultinomialLoss`       log(sum_k exp(z_k)) - z_y  n_classes    1/2
`HalfSquaredLoss`       ||z - y||^2 / 2            n_targets    1
======================= ========================== ============ ================

The curvature bound is the largest eigenvalue that the second derivative in z can have
(multinomial: Boehning 1992).
"""

from abc import ABC, abstractmethod

from . import _kernels


class AbstractLoss(ABC):
    """A loss of raw predictions of shape (n_rows, n_outputs).

    Attributes
    ----------
    n_outputs : int
    curvature_bound : float
    """

    curvature_bound: float

    def __init__(self, n_outputs):
        self.n_outputs = n_outputs

    @abstractmethod
    def differentiate(self, raw, y, weight, slots):
        """Overwrite raw predictions by weight times the derivative of the loss.

        `raw` belongs to the rows of `slots`; `y` and `weight` hold those of every
        slot.
        """


class BinomialLoss(AbstractLoss):
    """Log-loss of two classes, codes 0 and 1."""

    curvature_bound = 0.25

    def __init__(self):
        super().__init__(1)

    def differentiate(self, raw, y, weight, slots):
        _kernels.losses.binomial(raw, y, weight, slots)


class MultinomialLoss(AbstractLoss):
    """Log-loss of three or more classes, codes 0 to n_classes - 1."""

    curvature_bound = 0.5

    def differentiate(self, raw, y, weight, slots):
        _kernels.losses.multinomial(raw, y, weight, slots)


class HalfSquaredLoss(AbstractLoss):
    """Half the squared error of one or many targets."""

    curvature_bound = 1.0

    def differentiate(self, raw, y, weight, slots):
        _kernels.losses.half_squared(raw, y, weight, slots)
