"""Targets in the form in which engines read them."""

from dataclasses import dataclass, field

import numpy as np

from .._engine import Model


@dataclass(frozen=True)
class Targets:
    """Targets of the rows that are added, and the model after the edit.

    Attributes
    ----------
    y : ndarray of shape (n_rows,) or (n_rows, n_targets)
        Class codes, or numbers, of the rows in `fit` or of those that an edit adds.
    factor : ndarray of shape (n_rows,)
        Factors of their weights, from a ``class_weight`` dict.
    model : Model or None
        Without the columns' centre and spread. None after an edit that leaves it as it
        is.
    attributes : dict
        Fitted attributes of the estimator, such as `classes_`.
    recode : ndarray or None
        The new code of every code in use, if an edit changes the classes.
    """

    y: np.ndarray
    factor: np.ndarray
    model: Model | None = None
    attributes: dict = field(default_factory=dict)
    recode: np.ndarray | None = None
