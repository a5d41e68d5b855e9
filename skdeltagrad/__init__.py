"""scikit-learn estimators that forget, add and correct training rows after fit."""

from importlib import import_module

from ._erasure.assert_erased import assert_erased
from ._erasure.report import ErasureReport
from ._estimators import earlier_names
from ._estimators.composite import partial_refit, plan_unfit, purge, unlearn
from ._estimators.display import TrajectoryDisplay
from ._estimators.logistic import DeltaGradLogisticRegression
from ._estimators.poisson import DeltaGradPoissonRegressor
from ._estimators.ridge import DeltaGradRidge
from ._estimators.rolling_window import RollingWindow
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
    "RollingWindow",
    "Trajectory",
    "TrajectoryDisplay",
    "UpdateReport",
    "__version__",
    "assert_erased",
    "partial_refit",
    "plan_unfit",
    "purge",
    "save",
    "unlearn",
]

# Parts that are imported when they are first used.
_LAZY = ("certified", "inspection")


def __getattr__(name):
    if name in _LAZY:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*__all__, *_LAZY])
