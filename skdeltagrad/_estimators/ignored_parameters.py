"""Parameters that are set and have no effect with the chosen solver."""

import inspect
import warnings

import numpy as np

from .editing import ENGINES

# By solver: parameters without effect, and where they have one. `random_state` is not
# listed, although only "sgd" draws anything, because many users set it everywhere.
_OF_PATHS = "of solver='gd' and 'sgd'"
_OF_BATCHES = "of solver='sgd'"
_OF_OPTIMA = "of solver='newton'"
_OF_PERIODS = "of a period that is a number"
_OF_ESTIMATES = "of period='auto'"
_IGNORED = {
    "newton": {
        "learning_rate": _OF_PATHS,
        "burn_in": _OF_PATHS,
        "period": _OF_PATHS,
        "history_size": _OF_PATHS,
        "cache_dtype": _OF_PATHS,
        "cache_folder": _OF_PATHS,
        "batch_size": _OF_BATCHES,
    },
    "gd": {"tol": _OF_OPTIMA, "curvature": _OF_OPTIMA, "batch_size": _OF_BATCHES},
    "sgd": {"tol": _OF_OPTIMA, "curvature": _OF_OPTIMA},
}
# The same for replays, by whether the period is "auto" or a number.
_WITH_AUTO = {"burn_in": _OF_PERIODS, "history_size": _OF_PERIODS}
_WITH_PERIOD = {"edit_tol": _OF_ESTIMATES}

# A cost: longest `repr` of a value in the warning, in characters.
_LONGEST = 60


def warn_of_ignored(estimator, stacklevel):
    """Warn of parameters that are set and have no effect.

    Parameters
    ----------
    estimator : BaseDeltaGrad
        With valid parameters.
    stacklevel : int
        As for `warnings.warn`, counted from the caller.
    """
    ignored = dict(_IGNORED[estimator.solver])
    used = f"solver={estimator.solver!r}"
    way_out = "solver"
    if ENGINES[estimator.solver].keeps_path:
        is_auto = estimator.period == "auto"
        ignored |= _WITH_AUTO if is_auto else _WITH_PERIOD
    by_reason = {}
    for name, reason in ignored.items():
        if _is_set(estimator, name):
            by_reason.setdefault(reason, []).append(name)
    if not by_reason:
        return
    if by_reason.keys() & {_OF_PERIODS, _OF_ESTIMATES}:
        used += f" and period={estimator.period!r}"
        way_out = "solver and period" if len(by_reason) > 1 else "period"
    given = ", ".join(
        f"{_listed(estimator, names)} ({reason})" for reason, names in by_reason.items()
    )
    warnings.warn(
        f"These parameters have no effect with {used}: {given}. Set {way_out}, or "
        "leave them at their defaults.",
        stacklevel=stacklevel + 1,
    )


def _is_set(estimator, name):
    """Tell whether a parameter has another value than its default.

    The default is that of the estimator's own class, because subclasses may have other
    defaults. A parameter that a subclass does not have counts as not set.
    """
    parameter = inspect.signature(type(estimator)).parameters.get(name)
    return parameter is not None and not np.array_equal(
        getattr(estimator, name), parameter.default
    )


def _listed(estimator, names):
    values = []
    for name in names:
        value = repr(getattr(estimator, name))
        cut = value if len(value) <= _LONGEST else f"{value[: _LONGEST - 3]}..."
        values.append(f"{name}={cut}")
    return " and ".join([", ".join(values[:-1]), values[-1]] if values[1:] else values)
