"""Leave-one-out analyses: what training rows, or groups of them, mean to a model.

Every function looks at a fitted estimator without changing it, and computes what the
model would be without each row, or without all rows of each group.
"""

from ._covariance import CoefficientSummary, Covariance, covariance, summary
from ._diagnostics import Diagnostics, diagnostics
from ._display import UnitsDisplay
from ._functions import (
    data_values,
    influential,
    jackknife,
    jackknife_plus,
    leave_one_out,
)
from ._influential_set import InfluentialSet, influential_set
from ._prediction_sets import prediction_sets
from ._results import DataValues, Influence, Jackknife, LeaveOneOut
from ._semivalues import SemiValues, semivalues
from ._utility import Utility

__all__ = [
    "CoefficientSummary",
    "Covariance",
    "DataValues",
    "Diagnostics",
    "Influence",
    "InfluentialSet",
    "Jackknife",
    "LeaveOneOut",
    "SemiValues",
    "UnitsDisplay",
    "Utility",
    "covariance",
    "data_values",
    "diagnostics",
    "influential",
    "influential_set",
    "jackknife",
    "jackknife_plus",
    "leave_one_out",
    "prediction_sets",
    "semivalues",
    "summary",
]
