"""Who called this library, for warnings that should name the user's line."""

from inspect import currentframe
from pathlib import Path

import sklearn.base

# Files between the user's line and a warning: ours, and scikit-learn's decorators.
_BETWEEN = str(Path(__file__).parents[1]), str(sklearn.base.__file__)


def level_of_caller() -> int:
    """Return the `stacklevel` of the nearest frame that is not of this library.

    It is for a call of `warnings.warn` in the function that calls this one. Frames are
    counted, because edits are reached by several methods of different depths.
    """
    level, frame = 0, currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        level, frame = level + 1, frame.f_back
    return level
