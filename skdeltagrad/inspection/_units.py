"""Units: training rows, or groups of them, that are left out together."""

import warnings

import numpy as np
from sklearn.exceptions import FitFailedWarning

from .._data.group_weights import LARGEST_PART, balanced_factors
from .._utils.ids import check_ids


class Units:
    """The current training rows, and how they are cut into units.

    Parameters
    ----------
    table : RowTable
        Of the training rows.
    groups : None, "sample_id" or array-like of shape (n_rows,)
        See `inspection.leave_one_out`.
    model : Model

    Attributes
    ----------
    index, positions : ndarray of shape (n_rows,)
        Storage indices of the rows in the order of their positions; these positions.
    y, weight : ndarray
        Targets or class codes, and weights, by storage index.
    names : ndarray of shape (n_units,)
        Positions, or labels of groups.
    kind_of_name : {"position", "sample_id", "group"}
        What the names are.
    sample_ids : ndarray of shape (n_rows,) or None
        Ids of the rows, in the order of their positions.
    of_row : ndarray of shape (n_rows,)
        Number of the unit of each row.
    sizes : ndarray of shape (n_units,)
        Numbers of rows.
    has_weight : ndarray of shape (n_units,)
        Whether a row of the unit has a positive weight.
    is_defined : ndarray of shape (n_units,)
        Whether there is a model of the same outputs without the unit.

    Raises
    ------
    ValueError
        When `groups` is invalid.
    """

    def __init__(self, table, groups, model):
        index = table.live_indices()
        self.index = index[np.argsort(table.position[index])]
        self.positions = table.position[self.index]
        self.y, self.weight = table.y, table.weight
        self.names, self.of_row = self.positions, np.arange(len(self.index))
        self.kind_of_name = "position"
        self.sample_ids = None if table.ids is None else table.ids[self.index]
        if groups is not None:
            self.kind_of_name = "sample_id" if isinstance(groups, str) else "group"
            labels = _labels(table, groups, self.index)
            self.names, self.of_row = np.unique(labels, return_inverse=True)
        # The rows, unit by unit, and where those of each unit begin.
        self._by_unit = self.index[np.argsort(self.of_row, kind="stable")]
        self.sizes = np.bincount(self.of_row)
        self._first = np.cumsum(self.sizes) - self.sizes
        n_weighted = np.bincount(self.of_row, self.weight[self.index] > 0)
        self.has_weight = n_weighted > 0
        self.is_defined = (n_weighted < n_weighted.sum()) | ~self.has_weight
        # What the loss cannot do without, such as the rows of a class.
        kinds = model.loss.essential_kinds(
            self.y[self.index], self.weight[self.index], model.centre is not None
        )
        self._has_kind = np.ones((len(self), 0), bool)
        if kinds is not None:
            counts, n_kinds = kinds >= 0, int(kinds.max(initial=0)) + 1
            n_rows = self._by_class(counts, np.maximum(kinds, 0), n_kinds)
            self._has_kind = n_rows > 0
            is_whole = (n_rows > 0) & (n_rows == n_rows.sum(axis=0))
            self.is_defined &= ~is_whole.any(axis=1)

    def __len__(self):
        return len(self.names)

    def have_model(self, units):
        """Whether there is a model of the same outputs of some units alone."""
        is_complete = self._has_kind[units].any(axis=0) >= self._has_kind.any(axis=0)
        return bool(self.has_weight[units].any() and is_complete.all())

    def described(self, units=slice(None)):
        """Return attributes of `AbstractUnitResult` that describe some units."""
        is_row = self.kind_of_name == "position"
        has_ids = is_row and self.sample_ids is not None
        return {
            "units": self.names[units],
            "unit_name": self.kind_of_name,
            "sample_ids": self.sample_ids[units] if has_ids else None,
        }

    def rows(self, units):
        """Storage indices of the rows of units of the same size: (n_units, size)."""
        offsets = np.arange(self.sizes[units[0]])
        return self._by_unit[self._first[units][:, np.newaxis] + offsets]

    def blocks(self, n_groups, block_size):
        """Defined units in blocks of the same size and factors of the groups' weights.

        Parameters
        ----------
        n_groups : int
            Number of classes under ``class_weight="balanced"``, else 1.
        block_size : callable
            How many units of so many rows make a block, or 0 for a block for each.

        Returns
        -------
        blocks : list of tuple
            Units, and the factors without each of them, (n_groups,).
        """
        units = np.flatnonzero(self.is_defined)
        factors, sizes = self._factors(n_groups)[units], self.sizes[units]
        order = np.lexsort((sizes, *factors.T))
        keys = np.column_stack([sizes, factors])[order]
        ends = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
        blocks = []
        for alike in filter(len, np.split(order, ends)):
            n_most = max(1, block_size(sizes[alike[0]]))
            for first in range(0, len(alike), n_most):
                some = alike[first : first + n_most]
                blocks.append((units[some], factors[some[0]]))
        return blocks

    def check_defined(self, required=False):
        """Warn, or raise if it is required, where there is no model without a unit."""
        names = self.names[~self.is_defined].tolist()
        if not names:
            return
        some = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
        message = (
            f"Without {some} ({len(names)} of {len(self)} rows or groups) a class, "
            "all targets above 0, or everything, would be gone, and there is no model "
            "of the same outputs"
        )
        if required:
            raise ValueError(
                f"{message}. Add such rows, or remove the last ones with "
                "unlearn and look at what remains."
            )
        warnings.warn(
            f"{message}: what depends on it is NaN.", FitFailedWarning, stacklevel=3
        )

    def _factors(self, n_groups):
        """Factors of the groups' weights without each unit: (n_units, n_groups)."""
        if n_groups == 1:
            return np.ones((len(self), 1))
        y, weight = self.y[self.index], self.weight[self.index]
        of_unit = self._by_class(weight, y, n_groups)
        left = np.bincount(y, weight, n_groups) - of_unit
        # Next to a very large weight the difference has few digits.
        for unit in np.flatnonzero((of_unit > LARGEST_PART * left).any(axis=1)):
            stay = self.of_row != unit
            left[unit] = np.bincount(y[stay], weight[stay], n_groups)
        return balanced_factors(left)

    def _by_class(self, values, classes, n_classes):
        """Sums of values of the rows: (n_units, n_classes)."""
        place = self.of_row * n_classes + classes
        sums = np.bincount(place, values, len(self) * n_classes)
        return sums.reshape(len(self), n_classes)


def _labels(table, groups, index):
    """Labels of the rows, in the order of their positions."""
    if not isinstance(groups, str):
        return check_ids(groups, "groups", len(index))
    if groups != "sample_id":
        raise ValueError(
            'groups must be None, "sample_id" or one label for each row, got '
            f"{groups!r}."
        )
    if table.ids is None:
        raise ValueError(
            'groups="sample_id" needs ids, and fit was given no sample_id. Pass '
            "one label for each row as groups, or fit with sample_id."
        )
    return table.ids[index]
