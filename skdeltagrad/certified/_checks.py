"""Checks of parameters, which name the parameter and say what it may be."""

import sys
from contextlib import suppress
from numbers import Integral, Real

import numpy as np


def number(name, value, above=0.0, below=np.inf):
    """Return a number in an open interval as a float; raise ValueError otherwise."""
    found = np.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        with suppress(OverflowError):  # an int may be too large
            found = float(value)
    if not above < found < below:
        limit = "finite" if below == np.inf else f"below {below:g}"
        raise ValueError(
            f"{name} must be a number above {above:g} and {limit}, got {value!r}."
        )
    return found


def integer(name, value, least):
    """Return an integer of at least `least` as an int; raise ValueError otherwise."""
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not (is_integer and least <= value <= sys.maxsize):
        raise ValueError(
            f"{name} must be an integer from {least} to {sys.maxsize}, got {value!r}."
        )
    return int(value)
