"""What `assert_erased` asks of an estimator."""

from __future__ import annotations

import numpy as np

from .._utils.training_rows import KnowsTrainingRows


class SearchableForRows(KnowsTrainingRows):
    """An estimator that tells a search for removed rows what it contains rightly.

    It answers from the training set; without stored rows it counts none.
    """

    def _purge_state(self):
        return self.purged_, self.update_report_.not_purged

    def _knows_rows(self):
        return self._training_set.table.is_stored

    def _row_files(self):
        return self._training_set.files()

    def _count_equal_rows(self, X):
        if not self._knows_rows():
            return np.zeros(len(X), np.int64)
        return self._training_set.count_copies(self._in_form_of_rows(X))

    def _count_multiples(self, X):
        if not self._knows_rows():
            return np.zeros(len(X), np.int64)
        X = X.astype(self._training_set.rows.dtype).astype(np.float64)
        return self._training_set.count_multiples(X)

    def _count_ids(self, ids):
        table = self._training_set.table
        has_ids = table.is_stored and table.ids is not None
        if not has_ids or (table.ids.dtype.kind == "U") != (ids.dtype.kind == "U"):
            return np.zeros(len(ids), np.int64)
        which, _ = table.indices_of_ids(ids)
        return np.bincount(which, minlength=len(ids))

    def _training_sums(self):
        if not self._knows_rows():
            return None
        return self._training_set.live_sums(self._engine.model.centre)

    def _implied_vectors(self):
        return self._engine.gradients(self._training_set.rows.n_features)

    def _index_keys(self, X):
        return self._training_set.index_keys(self._in_form_of_rows(X))

    def _in_form_of_rows(self, X):
        rows = self._training_set.rows
        return rows.in_form(np.ascontiguousarray(X, dtype=rows.dtype))
