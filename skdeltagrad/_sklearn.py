"""The names that we use of scikit-learn's private modules, in one place.

They have been stable for years and are widely used; should one move, this is the only
file to change.
"""

from sklearn.base import _fit_context as fit_context
from sklearn.linear_model._base import (
    LinearClassifierMixin,
    LinearModel,
    SparseCoefMixin,
)
from sklearn.utils._param_validation import Interval, StrOptions

__all__ = [
    "Interval",
    "LinearClassifierMixin",
    "LinearModel",
    "SparseCoefMixin",
    "StrOptions",
    "fit_context",
]
