"""The hyper-parameters that all estimators share, and when they may be changed."""

from __future__ import annotations

import dataclasses
import operator
import os
from copy import deepcopy
from functools import cache
from numbers import Integral, Real

import numpy as np

from .._engine import Settings
from .._reports import digests
from .._utils.sklearn_compat import Interval, StrOptions

# The attribute that holds the parameters as they were when they were last validated.
VALIDATED = "_validated_parameters"
_SETTINGS = tuple(field.name for field in dataclasses.fields(Settings))
# Parameters that have no influence on the model.
_NOT_REPORTED = frozenset({"callback", "store", "verbose"})


@cache
def parameter_names(kind):
    """Return the names of the parameters of a class, which reads its signature."""
    return kind._get_param_names()


class SharedParameters:
    """A scikit-learn estimator with the parameters that `Settings` lists."""

    _parameter_constraints = {
        "fit_intercept": ["boolean"],
        "solver": [StrOptions({"newton", "gd", "sgd"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "edit_tol": [Interval(Real, 0, None, closed="neither")],
        "curvature": [StrOptions({"auto", "exact", "subset", "kronecker", "diagonal"})],
        "store_data": ["boolean"],
        "standardize": ["boolean"],
        "learning_rate": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="neither"),
            "array-like",
        ],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "burn_in": [Interval(Integral, 0, None, closed="left")],
        "period": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "history_size": [Interval(Integral, 1, None, closed="left")],
        "cache_dtype": [StrOptions({"float64", "float32"})],
        "cache_folder": [str, os.PathLike, None],
        "store": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "callback": [callable, None],
        "verbose": ["verbose"],
    }

    # Of dumps that were written before there was this parameter.
    store: str | os.PathLike | None = None

    # An engine that was fitted with one value of these cannot follow an edit with
    # another value.
    _fixed_by_fit: tuple[str, ...] = (
        "fit_intercept",
        "solver",
        "max_iter",
        "tol",
        "curvature",
        "store_data",
        "standardize",
        "learning_rate",
        "batch_size",
        "cache_dtype",
    )

    def _settings(self, of_fit=False):
        """Return the `Settings` of the engine.

        Parameters
        ----------
        of_fit : bool, default=False
            Whether parameters that `fit` fixed have the values that they had in `fit`,
            even if others were set since.
        """
        values = {name: getattr(self, name) for name in _SETTINGS}
        if of_fit:
            fixed = self._fit_parameters
            values = {name: fixed.get(name, value) for name, value in values.items()}
        return Settings(**values)

    def _reported_parameters(self, of_fit=False):
        """Return the parameters as a report gives them; see `_settings`."""
        parameters = {
            name: digests.plain(getattr(self, name))
            for name in parameter_names(type(self))
            if name not in _NOT_REPORTED
        }
        if of_fit:
            parameters |= digests.plain(self._fit_parameters)
        solver = parameters.get("solver", self.solver)  # a subclass may fix it
        return {"solver": solver, "parameters": parameters}

    def _parameters_to_keep(self):
        """Return copies of the parameters that `fit` fixes, by name."""
        return {name: deepcopy(getattr(self, name)) for name in self._fixed_by_fit}

    def _parameter_values(self):
        return [getattr(self, name) for name in parameter_names(type(self))]

    def _check_parameters(self):
        """Raise ValueError for parameters that are invalid or not as `fit` fixed them.

        What was validated is remembered, because scikit-learn's validation takes half
        as long as the edit of one row. It depends on which objects the parameters are
        and not on what, for example, a list contains.
        """
        values = self._parameter_values()
        validated = vars(self).get(VALIDATED)
        if validated is None or not all(map(operator.is_, values, validated)):
            self._validate_params()
            setattr(self, VALIDATED, values)
        for name, of_fit in self._fit_parameters.items():
            now = getattr(self, name)
            if now is not of_fit and not np.array_equal(now, of_fit):
                raise ValueError(
                    f"{name} was {of_fit!r} in fit and is {now!r} now: what fit cached "
                    "is of no use for that. Set it back with set_params, or fit again."
                )
