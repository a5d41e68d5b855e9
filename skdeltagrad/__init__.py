"""scikit-learn estimators that forget, add and correct training rows after fit."""

from ._erasure.assert_erased import assert_erased
from ._erasure.report import ErasureReport
from ._estimators import earlier_names
from ._estimators.display import TrajectoryDisplay
from ._estimators.logistic import DeltaGradLogisticRegression
from ._estimators.pipeline import unlearn
from ._estimators.poisson import DeltaGradPoissonRegressor
from ._estimators.ridge import DeltaGradRidge
from ._estimators.saving import save
from ._path.trajectory import Trajectory
from ._reports.history import History
from ._reports.plan import EditPlan
from ._reports.report import UpdateReport
from ._version import __version__

earlier_names.register()

__all__ = [
    "DeltaGradLogisticRegression",
    "DeltaGradPoissonRegressor",
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
