"""How messages show values."""

import numpy as np


def shown(values):
    """Return the first five values as text, and how many more there are."""
    values = np.asarray(values).tolist()
    text = ", ".join(repr(value) for value in values[:5])
    return text if len(values) <= 5 else f"{text} and {len(values) - 5} more"
