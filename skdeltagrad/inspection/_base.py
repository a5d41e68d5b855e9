"""What the results of `inspection` have in common.

A result prints in a few lines, has a box for notebooks, and turns into a data frame. A
result about units (rows, or groups of rows) can also be sorted and cut.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from .._utils import html


def data_frame(columns, index, index_name):
    """Return a data frame of some columns.

    Parameters
    ----------
    columns : dict
        Arrays of shape (n_rows,) by name.
    index : array-like of shape (n_rows,)
    index_name : str

    Raises
    ------
    ImportError
        When pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "to_frame needs pandas, which is not installed: pip install pandas. The "
            "attributes of the result hold the same numbers as NumPy arrays."
        ) from error
    return pandas.DataFrame(columns, index=pandas.Index(index, name=index_name))


def named_columns(name, array, names):
    """Return an array as columns by name, one for each of `names` if it has two axes.

    Parameters
    ----------
    name : str
    array : ndarray of shape (n_rows,) or (n_rows, n_names)
    names : sequence of length n_names
    """
    if array.ndim == 1:
        return {name: array}
    return {f"{name} {of}": array[:, place] for place, of in enumerate(names)}


class AbstractResult(ABC):
    """A result that can be printed, shown in a notebook, and turned into a frame."""

    @abstractmethod
    def _title(self) -> str:
        """Return the first line."""

    @abstractmethod
    def _facts(self) -> dict[str, str]:
        """Return up to four facts by name."""

    @abstractmethod
    def to_frame(self) -> Any:
        """Return the result as a pandas DataFrame.

        Raises
        ------
        ImportError
            When pandas is not installed.
        """

    def __repr__(self) -> str:
        facts = [f"{name}: {fact}" for name, fact in self._facts().items()]
        return "\n  ".join([f"{type(self).__name__}: {self._title()}", *facts])

    def _repr_html_(self) -> str:
        title = f"{type(self).__name__}: {self._title()}"
        return html.facts(title, self._facts())


class AbstractUnitResult(AbstractResult):
    """A result with a number for each unit: a training row, or a group of rows.

    Attributes
    ----------
    units : ndarray of shape (n_units,)
        Positions of the rows, or labels of the groups.
    unit_name : {"position", "sample_id", "group"}
        What `units` are.
    sample_ids : ndarray of shape (n_units,) or None
        Ids of the rows, if rows are the units and `fit` was given ids.
    """

    units: np.ndarray
    unit_name: str
    sample_ids: np.ndarray | None

    # The attribute that units are ranked by, and all others with a number for each.
    ranked_by: ClassVar[str]
    _further: ClassVar[tuple[str, ...]] = ()

    @property
    def ranked_values(self) -> np.ndarray:
        """The values that units are ranked by, shape (n_units,)."""
        return getattr(self, self.ranked_by)

    def most_influential(self, n: int = 10) -> Any:
        """Return the n units with the largest values, whatever their sign.

        Units without which there is no model, whose value is NaN, come first.
        """
        return self._first(-np.abs(self.ranked_values), n, nan=-np.inf)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row for each unit.

        Raises
        ------
        ImportError
            When pandas is not installed.
        """
        columns = {} if self.sample_ids is None else {"sample_id": self.sample_ids}
        for name in (self.ranked_by, *self._further):
            columns |= named_columns(name, getattr(self, name), self._names())
        return data_frame(columns, self.units, self.unit_name)

    def _names(self):
        """Return what the second axis of an attribute stands for."""
        return ()

    def _first(self, keys, n, nan) -> Self:
        """Return the n units with the smallest keys, in this order."""
        if n < 1:
            raise ValueError(f"n must be 1 or more, got {n!r}.")
        keys = np.where(np.isnan(keys), nan, keys)
        order = np.argsort(keys, kind="stable")[:n]
        names = ("units", self.ranked_by, *self._further)
        some = {name: getattr(self, name)[order] for name in names}
        if self.sample_ids is not None:
            some["sample_ids"] = self.sample_ids[order]
        return replace(self, **some)  # type: ignore[type-var]

    def _counted(self):
        """Return how many units there are, in words."""
        what = "rows" if self.unit_name == "position" else "groups"
        return f"{len(self.units):,} {what}"

    def _spread(self, values):
        """Return the median and the extreme of some values of the units, in words."""
        if not np.isfinite(values).any():
            return "none is known"
        place = np.nanargmax(np.abs(values))
        unit = self.units.tolist()[place]
        return (
            f"median {np.nanmedian(values):.3g}, extreme {values[place]:.3g} "
            f"({self.unit_name} {unit!r})"
        )
