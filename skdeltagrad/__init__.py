"""scikit-learn estimators that forget, add and correct training rows after fit."""

from ._display import TrajectoryDisplay
from ._erasure import ErasureReport, assert_erased
from ._history import History
from ._logistic import DeltaGradLogisticRegression
from ._pipeline import unlearn
from ._plan import EditPlan
from ._report import UpdateReport
from ._ridge import DeltaGradRidge
from ._save import save
from ._trajectory import Trajectory
from ._version import __version__

__all__ = [
    "DeltaGradLogisticRegression",
    "DeltaGradRidge",
    "EditPlan",
    "ErasureReport",
    "History",
    "Trajectory",
    "TrajectoryDisplay",
    "UpdateReport",
    "__version__",
    "assert_erased",
    "save",
    "unlearn",
]
