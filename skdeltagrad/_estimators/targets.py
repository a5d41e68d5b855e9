"""Targets as the engine reads them."""

from dataclasses import dataclass, field

import numpy as np

from .._engine import Model


@dataclass(frozen=True)
class Targets:
    """Targets of the rows that join, and the model that follows from an edit.

    Attributes
    ----------
    y : ndarray of shape (n_rows,) or (n_rows, n_targets)
        Class codes, or numbers, of the rows in `fit` or of those that an edit adds.
    factor : ndarray of shape (n_rows,)
        What a ``class_weight`` dict multiplies their weights with.
    model : Model
        Without the columns' centre and spread.
    attributes : dict
        Attributes that the estimator gets.
    recode : ndarray or None
        When an edit changes the classes: the new code for every code in use.
    """

    y: np.ndarray
    factor: np.ndarray
    model: Model
    attributes: dict = field(default_factory=dict)
    recode: np.ndarray | None = None
