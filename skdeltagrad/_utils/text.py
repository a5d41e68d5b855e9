"""Values as messages show them."""

import numpy as np


def shown(values):
    """The first few values, for messages."""
    values = np.asarray(values).tolist()
    text = ", ".join(repr(value) for value in values[:5])
    return text if len(values) <= 5 else f"{text} and {len(values) - 5} more"
