"""Numbers with few digits, because all digits would identify the rows behind them."""

from decimal import ROUND_DOWN, ROUND_UP, Context

import numpy as np

_TWO_DIGITS_UP = Context(prec=2, rounding=ROUND_UP)
_TWO_DIGITS_DOWN = Context(prec=2, rounding=ROUND_DOWN)


def rounded_up(value):
    """Return a positive number, rounded up to two significant digits."""
    return float(_TWO_DIGITS_UP.create_decimal_from_float(float(value)))


def rounded_down(value):
    """Return a positive number, rounded down to two significant digits."""
    return float(_TWO_DIGITS_DOWN.create_decimal_from_float(float(value)))


def power_of_ten(value):
    """Return the least power of ten that is not below a number; None for None."""
    return float(10.0 ** np.ceil(np.log10(value))) if value else value


def power_of_thousand(value):
    """Return the least power of a thousand not below a number; None for None."""
    return float(1e3 ** np.ceil(np.log10(value) / 3.0)) if value else value
