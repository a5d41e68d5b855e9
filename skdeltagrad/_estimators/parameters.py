"""The hyper-parameters that all estimators share, and when they may be changed."""

from __future__ import annotations

import dataclasses
import os
from copy import deepcopy
from numbers import Integral, Real

import numpy as np

from .._engine import Settings
from .._reports import digests
from .._utils.sklearn_compat import Interval, StrOptions


class SharedParameters:
    """A scikit-learn estimator with the parameters that `Settings` lists."""

    _parameter_constraints = {
        "fit_intercept": ["boolean"],
        "solver": [StrOptions({"newton", "gd", "sgd"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "edit_tol": [Interval(Real, 0, None, closed="neither")],
        "curvature": [StrOptions({"auto", "exact", "kronecker", "diagonal"})],
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
        "random_state": ["random_state"],
        "callback": [callable, None],
        "verbose": ["verbose"],
    }

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
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(Settings)
        }
        if of_fit:
            fixed = self._fit_parameters
            values = {name: fixed.get(name, value) for name, value in values.items()}
        return Settings(**values)

    def _reported_parameters(self, of_fit=False):
        """Return the parameters as a report gives them; see `_settings`."""
        fixed = digests.plain(self._fit_parameters) if of_fit else {}
        return {
            "solver": fixed.get("solver", self.solver),
            "parameters": digests.parameters_of(self) | fixed,
        }

    def _parameters_to_keep(self):
        """Return copies of the parameters that `fit` fixes, by name."""
        return {name: deepcopy(getattr(self, name)) for name in self._fixed_by_fit}

    def _check_fixed_parameters(self):
        """Raise ValueError if a parameter that `fit` fixed has another value now."""
        for name, of_fit in self._fit_parameters.items():
            now = getattr(self, name)
            if not np.array_equal(now, of_fit):
                raise ValueError(
                    f"{name} was {of_fit!r} in fit and is {now!r} now: what fit cached "
                    "is of no use for that. Set it back with set_params, or fit again."
                )
