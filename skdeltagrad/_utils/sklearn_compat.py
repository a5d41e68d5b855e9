"""The names that we use of scikit-learn's private modules, in one place.

They have been stable for years and are widely used; should one move, this is the only
file to change. And those that not every version has: callbacks came with 1.9, and are
experimental there.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

from sklearn.base import _fit_context
from sklearn.linear_model._base import (
    LinearClassifierMixin,
    LinearModel,
    SparseCoefMixin,
)
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import Interval, StrOptions

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback._callback_support import callback_management_context
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: there are no callbacks to be set."""

    callback_management_context = nullcontext

_Method = TypeVar("_Method", bound=Callable[..., Any])


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[_Method], _Method]:
    """scikit-learn's own, in such a form that type checkers see through it."""
    return _fit_context(prefer_skip_nested_validation=prefer_skip_nested_validation)


__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "LinearClassifierMixin",
    "LinearModel",
    "SparseCoefMixin",
    "StrOptions",
    "callback_management_context",
    "check_matplotlib_support",
    "fit_context",
    "safe_indexing",
]
