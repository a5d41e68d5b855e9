"""scikit-learn estimators that forget, add and correct training rows after fit."""

from ._erasure import ErasureReport, assert_erased
from ._logistic import DeltaGradLogisticRegression
from ._pipeline import unlearn
from ._report import UpdateReport
from ._ridge import DeltaGradRidge
from ._trajectory import Trajectory

__version__ = "0.1.0.dev0"

__all__ = [
    "DeltaGradLogisticRegression",
    "DeltaGradRidge",
    "ErasureReport",
    "Trajectory",
    "UpdateReport",
    "assert_erased",
    "unlearn",
]
