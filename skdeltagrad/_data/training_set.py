"""The rows that an estimator was fitted on: storage, row table and column moments."""

import numpy as np

from .._utils import memory
from .._utils.row_blocks import row_blocks
from .._utils.training_rows import TrainingSums
from .centring import ColumnMoments
from .content_index import ContentIndex
from .edit import NO_ROWS
from .row_table import GONE, RowTable
from .spread import ColumnSpread
from .storage import canonical, nbytes, store

# A cost: storage is compacted when more rows than this, and more than this fraction of
# the current rows, were removed. The spare room of `GrowingArray` is not used up then.
_LEAST_TO_COMPACT = 1024
_MOST_REMOVED = 0.2
# A cost: number of products with rows that are computed at a time, which bounds memory.
# Rounding: error of a multiple of a row, in units in the last place of its largest
# entry.
_AT_ONCE = 2**20
_ULPS = 64.0


class TrainingSet:
    """Rows that can be removed and added in place, within a `Transaction`.

    An edit calls `stage` and, when the new model is known, `settle`. Both touch only
    the rows of the edit. `tidy` compacts the storage now and then, in place.

    Attributes
    ----------
    rows : AbstractRows
    table : RowTable
    moments : ColumnMoments or None
        None without an intercept.
    spread : ColumnSpread or None
        None where columns are not standardised.
    """

    def __init__(self, rows, table, moments, spread=None):
        self.rows = rows
        self.table = table
        self.moments = moments
        self.spread = spread
        self._content = None

    @property
    def n_features(self):
        return self.rows.n_features

    @property
    def keeps_zeros(self):
        """See `AbstractRows`."""
        return self.rows.keeps_zeros

    @classmethod
    def of(cls, X, y, weight, ids, fit_intercept, given_weight=None):
        """Copy rows.

        `given_weight` is given if columns are to be standardised: weights without the
        factors of classes.

        Raises
        ------
        MemoryError
        """
        memory.require(
            nbytes(X)
            + y.nbytes
            + 4 * weight.nbytes
            + (0 if ids is None else ids.nbytes),
            f"the estimator's own copy of the {X.shape[0]} training rows",
            "Fit on fewer rows or columns, or on float32.",
        )
        table = RowTable(y, weight, ids, given_weight)
        training_set = cls(store(canonical(X)), table, None)
        training_set.summarise(fit_intercept, given_weight is not None)
        return training_set

    def complete(self, y, weight, given_weight=None):
        """Replace the targets and weights of all rows by those of the model.

        Parameters are those of `of`.
        """
        columns = {"y": y, "weight": weight, "given_weight": given_weight}
        for name, values in columns.items():
            if values is not self.table.column(name):
                self.table.set_column(name, values)

    def summarise(self, fit_intercept, standardize):
        """Compute the sums over the columns that the model needs."""
        indices = self.table.live_indices()
        if fit_intercept:
            self.moments = self._moments_of(indices)
        if standardize:
            self.spread = self._spread_of(indices)

    def centre(self):
        """Return the centre of the columns, or None without an intercept."""
        return None if self.moments is None else self.moments.centre()

    def centre_after(self, removed, added):
        """Return the centre without some stored rows and with others."""
        if self.moments is None:
            return None
        return self._moments_after(removed, added).centre()

    def spread_after(self, removed, added):
        """Return the column scales without some stored rows and with others, or None.

        They are computed from the rows of the edit alone, unless that loses digits.
        """
        if self.spread is None:
            return None
        table = self.table
        spread = self.spread.after(self.rows, removed, added, table.given_weight)
        if spread.is_sharp():
            return spread
        indices = np.setdiff1d(table.live_indices(added), removed)
        return self._spread_of(indices)

    def follow(self, transaction, edit):
        """Let the column scales follow an edit, before the model does."""
        transaction.undo(setattr, self, "spread", self.spread)
        self.spread = self.spread_after(edit.removed, edit.added)

    def recount(self, transaction):
        """Compute the column scales again from the current training rows."""
        if self.spread is not None:
            transaction.undo(setattr, self, "spread", self.spread)
            self.spread = self._spread_of(self.table.live_indices())

    def renew_sums(self, transaction):
        """Compute the columns' sums again from the current training rows.

        The present ones contain the rounding of rows that left, which may have been
        large.
        """
        if self.moments is not None:
            transaction.undo(setattr, self, "moments", self.moments)
            self.moments = self._moments_of(self.table.live_indices())
        self.recount(transaction)

    def remainder(self):
        """Return what the column sums contain of rows that left, in words, or None."""
        if self.table.is_stored or self.spread is None:
            return None  # they were computed again
        if not self.spread.has_lost_digits:
            return None
        return (
            "the sums that scale_ is computed from have been much larger, with rows "
            "that left, and hold their rounding"
        )

    def close_holes(self, transaction, everywhere=False):
        """Compact the storage if removed rows can be seen in it, or if `everywhere`.

        The gap that a sparse row leaves shows its number of entries, and that of a
        dense row shows nothing. The indices by content and by id, in which removed rows
        left gaps, are built again when they are needed.
        """
        transaction.undo(self._forget_content)
        self._forget_content()
        self.table.forget_gaps(transaction)
        if self.rows.shows_lengths or everywhere:
            self.compact(transaction)

    def recode(self, transaction, y):
        """Replace the targets of all rows, by storage index."""
        transaction.undo(setattr, self, "table", self.table)
        self.table = self.table.recode(y)

    def index_content(self):
        """Index the rows by content in one pass; return False if they are already."""
        if self._content is not None:
            return False
        self._content = ContentIndex(self.rows, self.table.live_indices())
        return True

    def match(self, X, y, weight=None):
        """Return storage indices of rows that equal given ones, or GONE."""
        self.index_content()
        return self._content.match(self.rows, self.table, X, y, weight)

    def at(self, given):
        """Return the training set, which an estimator with ``store=given`` has."""
        return self

    @property
    def is_stored(self):
        """Whether the rows are kept, which is known without opening files."""
        return self.table.is_stored

    def catch_up(self, transaction):
        """Follow files that were edited since a dump was written.

        Returns
        -------
        is_other : bool
            Whether they were: all that is known of the rows must be computed again.
        """
        return False

    def changing(self, transaction):
        """Let a transaction know that an edit begins."""

    def stage(self, transaction, edit):
        """Store an edit's new rows and take the removed ones out of their positions.

        Parameters
        ----------
        transaction : Transaction
        edit : Edit
            Coded.

        Returns
        -------
        edit : Edit
            With the places of its rows: see `Edit.staged`.
        """
        added = positions = NO_ROWS
        new_rows = edit.new_rows
        if new_rows is not None:
            added = self.append(
                transaction, new_rows.X, edit.y, edit.weight, new_rows.ids,
                new_rows.weight,
            )  # fmt: skip
            positions = np.full(len(new_rows), GONE)
            if edit.taken_over is not None:
                positions[:] = edit.taken_over
            is_new = positions == GONE
            positions[is_new] = self.table.give_positions(np.count_nonzero(is_new))
        left = self.detach(transaction, edit.removed)
        return edit.staged(left, added, positions)

    def append(self, transaction, X, y, weight, ids, given_weight=None):
        """Store rows without positions, and return their storage indices."""
        if ids is not None:
            self._require_width(ids.dtype)
        transaction.undo(self._forget_content)
        transaction.undo(self.rows.truncate, self.rows.mark())
        transaction.undo(self.table.truncate, self.table.mark())
        self.rows.append(X)
        return self.table.append(y, weight, ids, given_weight)

    def _require_width(self, dtype):
        """Raise `MemoryError` if ids of such a width do not fit into memory."""
        stored = self.table.ids
        if dtype.itemsize > stored.dtype.itemsize:
            memory.require(
                dtype.itemsize * len(stored),
                f"{len(stored)} ids that are as wide as the longest new one",
                "Give shorter ids. Nothing is changed.",
            )

    def detach(self, transaction, indices):
        """Take rows out of their positions. Their data stays until `settle`."""
        positions = self.table.position[indices]
        transaction.undo(self.table.reattach, indices, positions, self.table.n_live)
        self.table.detach(indices)
        return positions

    def settle(self, transaction, edit):
        """Wipe the removed rows and let the added ones take their positions."""
        removed, added = edit.removed, edit.added
        transaction.undo(self._forget_content)
        if self.moments is not None:
            transaction.undo(setattr, self, "moments", self.moments)
            self.moments = self._moments_after(removed, added)
        if self._content is not None and len(removed):
            self._content.strike(self.rows, removed)
        if self._content is not None and len(added):
            self._content.insert(self.rows, added)
        self.table.index_ids(added)
        transaction.undo(self.rows.restore, removed, saved=self.rows.read(removed))
        transaction.undo(self.table.restore, removed, saved=self.table.read(removed))
        self.rows.wipe(removed)
        self.table.wipe(removed)
        n_live = self.table.n_live
        transaction.undo(self.table.unattach, added, edit.added_positions, n_live)
        self.table.attach(added, edit.added_positions)

    def _moments_after(self, removed, added):
        moments = self.moments
        if len(removed):
            moments = moments.minus(self._moments_of(removed))
        if moments is None:
            moments = self._moments_of(self.table.live_indices())
        return moments.plus(self._moments_of(added)) if len(added) else moments

    def _moments_of(self, indices):
        return ColumnMoments.of(self.rows, indices, self.table.weight)

    def _spread_of(self, indices):
        weight = self.table.numbers(len(indices))
        for block in row_blocks(len(indices)):
            weight[block] = self.table.given_weight[indices[block]]
        return ColumnSpread.of(self.rows, indices, weight)

    def aside(self):
        """Return the same rows with a row table of which positions may change."""
        return TrainingSet(self.rows, self.table.aside(), self.moments, self.spread)

    def tidy(self, transaction):
        """Compact the storage if much of it is removed rows."""
        n_removed = len(self.rows) - self.table.n_live
        if n_removed > max(_MOST_REMOVED * self.table.n_live, _LEAST_TO_COMPACT):
            self.compact(transaction)

    def compact(self, transaction):
        """Close the gaps of removed rows, in place. Call it after `settle`.

        It needs memory for a few numbers of every row, and for two blocks of rows. Rows
        get other storage indices, in the order of the former ones. Positions stay.

        Parameters
        ----------
        transaction : Transaction
            Moves them back if something fails afterwards.
        """
        if not self.table.is_stored:
            return
        if len(self.rows) == self.table.n_live:
            self.table.narrow_ids(transaction)
            return
        transaction.undo(self._forget_content)
        self._forget_content()
        self.rows.compact(transaction, self.table.live_indices())
        self.table.compact(transaction)

    def give_back(self):
        """Return spare memory to the operating system. Call it after an edit."""
        self.rows.give_back()
        self.table.give_back()

    def count_copies(self, X):
        """Return the number of stored rows that equal each given row, (n_rows,)."""
        self.index_content()
        return self._content.count(self.rows, self.table, X)

    def count_multiples(self, X):
        """Return the number of stored rows that are multiples of each given row.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features), dtype float64
        """
        rows, counts = self.rows, np.zeros(len(X), np.int64)
        length = np.linalg.norm(X, axis=1)
        size = min(rows.block_size(), max(1, _AT_ONCE // len(X)))
        indices = self.table.live_indices()
        for first in range(0, len(indices), size):
            block = indices[first : first + size]
            products = np.empty((len(block), len(X)))
            rows.matvec(rows.layout(X), np.zeros(len(X)), block, products)
            squares = rows.squared_distances(block, np.zeros(rows.n_features))
            # A first selection, which is precise to half of the digits.
            likely = products**2 >= (1 - 1e-9) * np.outer(squares, length**2)
            likely &= (squares > 0)[:, np.newaxis]
            for i, j in zip(*np.nonzero(likely), strict=True):
                row = rows.extended(block[i : i + 1], None)[0]
                multiple = products[i, j] / length[j] ** 2 * X[j]
                off = np.abs(row - multiple).max()
                counts[j] += off <= _ULPS * np.finfo(rows.dtype).eps * np.abs(row).max()
        return counts

    def live_sums(self, centre):
        """Return sums over the current training rows, for `assert_erased`.

        Parameters
        ----------
        centre : ndarray of shape (n_features,) or None
        """
        table, indices = self.table, self.table.live_indices()
        y, weight = table.y[indices], table.weight[indices]
        factors = {"unweighted": np.ones(len(indices)), "weighted": weight}
        if y.dtype.kind == "f":
            targets = y.reshape(len(indices), -1).T
            factors |= {f"class {k}": weight * y for k, y in enumerate(targets)}
        else:
            factors |= {f"class {k}": weight * (y == k) for k in np.unique(y)}
        vectors, magnitudes, squares = {}, {}, {}
        for name, factor in factors.items():
            some = np.flatnonzero(factor)
            size = np.abs(factor[some])
            _, vectors[name], _ = self.rows.column_moments(indices[some], factor[some])
            _, _, squares[name] = self.rows.column_moments(indices[some], size)
            # An upper bound, by the inequality of Cauchy and Schwarz.
            magnitudes[name] = float(np.sqrt(size.sum() * squares[name].sum()))
        return TrainingSums(vectors, magnitudes, len(indices), centre, squares)

    def index_keys(self, X):
        """Return the keys of given rows, and their rounding: `ContentIndex.keys_of`."""
        content = self._content or ContentIndex(self.rows, NO_ROWS)
        return content.keys_of(X)

    def into_memory(self):
        """Copy arrays that are memory-mapped files, because edits change them."""
        self.rows.into_memory()
        self.table.into_memory()

    def files(self):
        """Return the paths of all files that the rows are in."""
        return []

    def close(self):
        """Let others open the files of the rows, if they are in files."""

    def _forget_content(self):
        self._content = None

    def __getstate__(self):
        # The index is built again when it is needed: a dump holds every row once.
        return vars(self) | {"_content": None}
