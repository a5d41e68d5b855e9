"""What is in a fitted model: how many rows, at which positions, and with which ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._reports.report import UpdateReport
from .._utils.ids import check_ids

# Attributes that a display of an estimator in a notebook leaves out: one entry a row.
_NOT_DISPLAYED = ("positions_", "sample_ids_")


class SampleIds(Sequence):
    """The ids of an estimator's current training rows, in the order of positions.

    It is made without reading the rows, and follows the edits of the estimator. ``id in
    ids`` takes a lookup in an index, iterating and ``np.asarray(ids)`` read all ids.
    """

    def __init__(self, table):
        self._table = table

    def __len__(self):
        return self._table.n_live

    def __contains__(self, sample_id: object) -> bool:
        try:
            wanted = check_ids([sample_id])
        except (TypeError, ValueError):
            return False
        if wanted.dtype.kind != self._table.ids.dtype.kind:
            return False
        _, found = self._table.indices_of_ids(wanted)
        return len(found) > 0

    def __array__(self, dtype=None, copy=None):
        ids = self._table.ids[_in_order(self._table)]
        return ids if dtype is None else ids.astype(dtype)

    def __getitem__(self, place):
        return np.asarray(self)[place]

    def __iter__(self) -> Iterator[Any]:
        return iter(np.asarray(self).tolist())

    def __repr__(self):
        return f"<ids of {len(self):,} rows>"


def _in_order(table):
    """Return the storage indices of the current rows, in the order of positions."""
    indices = table.live_indices()
    return indices[np.argsort(table.position[indices], kind="stable")]


class WithContents:
    """A fitted estimator that says which rows it was fitted on."""

    _training_set: Any
    update_report_: UpdateReport

    @property
    def n_samples_(self) -> int:
        """Number of current training rows."""
        check_is_fitted(self)
        return self.update_report_.n_samples

    @property
    def positions_(self) -> np.ndarray:
        """Positions of the current training rows, ascending, shape (`n_samples_`,).

        Rows given to `fit` have the positions 0, 1, ...; rows that were added later
        have those after them. Removed rows leave gaps.
        """
        table = self._stored_table("positions_")
        return np.sort(table.position[table.live_indices()])

    @property
    def sample_ids_(self) -> SampleIds:
        """Ids of the current training rows, in the order of `positions_`.

        ``"C007" in est.sample_ids_`` is fast, and ``np.asarray(est.sample_ids_)`` gives
        all of them. There are none unless `fit` was given `sample_id`.
        """
        table = self._stored_table("sample_ids_")
        if table.ids is None:
            raise AttributeError(
                "There are no sample_ids_, because fit was not given any sample_id. "
                "Rows are named by positions_."
            )
        return SampleIds(table)

    def _stored_table(self, name):
        if "_training_set" not in vars(self):
            raise AttributeError(f"There is no {name} before fit.")
        if not self._training_set.is_stored:
            raise AttributeError(
                f"There is no {name} with store_data=False, which keeps no rows."
            )
        try:
            return self._training_set.table
        except (OSError, ValueError) as error:  # so that `hasattr` and displays work
            raise AttributeError(f"There is no {name} now: {error}") from error

    def _get_fitted_attr_html(self, doc_link=""):
        # scikit-learn asks for this from version 1.9 on, and lists all attributes.
        shown = super()._get_fitted_attr_html(doc_link)
        for name in _NOT_DISPLAYED:
            shown.pop(name, None)
        return shown
