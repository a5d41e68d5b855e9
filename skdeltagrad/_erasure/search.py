"""The search for removed rows: what is searched, for what, and what was found."""

from numbers import Integral

import numpy as np

from .._utils import threads
from . import dumps
from . import exemptions as twins
from .combinations import Combinations, bases_of, bases_of_squares, vectors_in
from .index_keys import places_of_ids, places_of_marks
from .multiples import places_of_multiples
from .object_graph import iter_arrays, iter_objects
from .row_search import CHUNK, distinct_arrays, places_of_rows, portions

# Bounds of what a message spells out.
_N_PLACES = 5
_N_NAMES = 10


class Search:
    """What is searched, for what, and what was found.

    Attributes
    ----------
    objects, arrays
        All that the estimator holds.
    forms : list of CSR array
        The rows, in each form that it may hold.
    not_checkable, multiples_not_checkable : dict of int to str
    checkable, scalable : ndarray of int
        Row numbers: those to be searched for, and those to be searched for multiples.
    places : dict of (str, str) to set of int
        Row numbers, by what was found and where.
    without_rows : list of str
        Places of estimators that do not keep their training rows.
    states : dict of str to (str, str or None, str or None)
        By place of an estimator that knows its rows: its purge state, the reason for
        it, and the solver where it has one.
    """

    def __init__(self, estimator, forms):
        self.objects = list(iter_objects(estimator))
        self.arrays = distinct_arrays(iter_arrays(estimator))
        self.forms = forms
        self.n_rows = self.forms[0].shape[0]
        self.not_checkable = twins.not_checkable(self.objects, self.forms)
        everyone = np.arange(self.n_rows)
        self.checkable = np.setdiff1d(everyone, list(self.not_checkable))
        self.multiples_not_checkable = twins.multiples_not_checkable(
            self.objects, self.forms, self.checkable
        )
        self.scalable = np.setdiff1d(self.checkable, list(self.multiples_not_checkable))
        self.places = {}
        self.ids_found = []
        self.without_rows = [
            place
            for place, obj in twins.fitted_ones(self.objects)
            if not obj._knows_rows()
        ]
        self.states = {
            place: (*obj._purge_state(), getattr(obj, "solver", None))
            for place, obj in twins.fitted_ones(self.objects)
        }

    def for_rows(self):
        """Search for the rows as they are."""
        for rows in self.forms:
            for wanted in portions(rows, self.checkable):
                for found in places_of_rows(self.objects, self.arrays, wanted):
                    self._add("", *found)

    def for_multiples(self):
        """Search for multiples of rows."""
        for rows in self._rounded_forms():
            for wanted in portions(rows, self.scalable):
                for found in places_of_multiples(self.objects, self.arrays, wanted):
                    self._add("a multiple of", *found)

    def for_sums(self):
        """Search for what is made of a row and of what may be there."""
        with threads.blas_for(order=1):  # a few rows are multiplied at a time
            for rows in self.forms:
                self._for_sums_of(rows)

    def _for_sums_of(self, rows):
        width = rows.shape[1]
        live = twins.live_sums(self.objects, width)
        together = live is not None  # else a mean may be minus theirs, by right
        for numbers, dense in twins.dense_portions(rows, self.scalable, together):
            numbers, dense = _also_rounded(numbers, dense)
            combinations = Combinations(dense, numbers, bases_of(width, live))
            self._search_vectors(combinations, self._stored(width))
            self._search_vectors(combinations, self._implied(width))
            if live is not None:
                squares = bases_of_squares(live)
                combinations = Combinations(dense**2, numbers, squares)
                self._search_vectors(combinations, self._stored(width))

    def _search_vectors(self, combinations, portions_of_vectors):
        for places, vectors, noise in portions_of_vectors:
            for what, number, i in combinations.found(vectors, noise):
                # A training row may stand there, whatever it is a sum of.
                if twins.is_live(self.objects, vectors[i]):
                    continue
                numbers = self.scalable.tolist() if number < 0 else [number]
                place = places if isinstance(places, str) else places[i]
                self._add(what, place, set(numbers))

    def _stored(self, width):
        """Vectors in arrays, the place of each portion, and what they may be off by."""
        for place, array in self.arrays:
            for vectors, noise in vectors_in(array, width):
                yield place, vectors, noise

    def _implied(self, width):
        """The same for vectors that follow from what is stored: a place for each."""
        for owner, obj in twins.those_with_rows(self.objects, width):
            places, parts, n_entries = [], [], 0
            for place, vectors, noise in obj._implied_vectors():
                places += [f"{place} of {owner}"] * len(vectors)
                parts.append((vectors, noise))
                n_entries += vectors.size
                if n_entries >= CHUNK:
                    yield places, *map(np.concatenate, zip(*parts, strict=True))
                    places, parts, n_entries = [], [], 0
            if parts:
                yield places, *map(np.concatenate, zip(*parts, strict=True))

    def for_marks(self):
        """Search for the numbers that rows are indexed by."""
        if not len(self.checkable):
            return
        for rows in self.forms:
            for _, obj in twins.those_with_rows(self.objects, rows.shape[1]):
                for numbers, dense in twins.dense_portions(rows, self.checkable, False):
                    marks = obj._marks(dense)
                    if marks is None:
                        continue
                    for found in places_of_marks(self.arrays, *marks, numbers):
                        self._add("the index number of", *found)

    def in_bytes(self, path):
        """Search the bytes of a dump for rows that what it loads to does not show."""
        known = set().union(*self.places.values())
        hidden = np.setdiff1d(self.checkable, list(known))
        for rows in self.forms:
            overlap = 8 * (rows.shape[1] + 1)
            for wanted in portions(rows, hidden):
                arrays = dumps.byte_arrays(path, overlap)
                for found in places_of_rows([], arrays, wanted):
                    self._add("", *found)

    def for_ids(self, sample_id):
        """Search for ids; return those searched for, and why others were not."""
        ids = _as_ids(sample_id)
        largest = max((array.size for _, array in self.arrays), default=0)
        reasons = {}
        for _, obj in twins.fitted_ones(self.objects):
            live = ids[obj._count_live_ids(ids) > 0].tolist()
            reasons.update(dict.fromkeys(live, twins.LIVE_ID))
        if ids.dtype.kind == "i":
            small = ids[np.abs(ids) <= largest].tolist()
            reasons = dict.fromkeys(small, twins.SMALL_ID) | reasons
        ids = np.array(
            [name for name in ids.tolist() if name not in reasons], ids.dtype
        )
        self.ids_found = list(places_of_ids(self.objects, ids))
        return ids, reasons

    def findings(self):
        """Lines that say what was found and where; none where nothing was."""
        lines = []
        if self.places:
            rows = set().union(*self.places.values())
            lines.append(f"{len(rows)} of {self.n_rows} removed rows found:")
            for (what, place), found in list(self.places.items())[:_N_PLACES]:
                what = f"{what} " if what else ""
                lines.append(f"  {what}{row_text(sorted(found))} in {place}")
            if len(self.places) > _N_PLACES:
                lines.append(f"  and {len(self.places) - _N_PLACES} more places")
        if self.ids_found:
            ids = set().union(*(found for _, found in self.ids_found))
            lines.append(f"{len(ids)} removed ids found:")
            for place, found in self.ids_found[:_N_PLACES]:
                lines.append(f"  {shortened(sorted(found))} in {place}")
        return lines

    def _add(self, what, place, found):
        # That the buffer of a view holds what the view shows is no news; nor is that
        # what stands there is a multiple of itself.
        for (_, known), numbers in self.places.items():
            if known in (place, place.removesuffix(".base")):
                found = found - numbers
        if found:
            self.places.setdefault((what, place), set()).update(found)

    def _rounded_forms(self):
        """The forms, also as rows of float32 that the estimator may have made them."""
        for rows in self.forms:
            yield rows
            with np.errstate(over="ignore", under="ignore"):
                rounded = rows.astype(np.float32).astype(np.float64)
            if np.isfinite(rounded.data).all() and (rounded.data != rows.data).any():
                rounded.eliminate_zeros()
                yield rounded


def _also_rounded(numbers, rows):
    """Rows, and what float32 made of them where that differs."""
    rounded = rows.astype(np.float32).astype(np.float64)
    others = (rounded != rows).any(axis=1) & np.isfinite(rounded).all(axis=1)
    return np.append(numbers, numbers[others]), np.vstack([rows, rounded[others]])


def _as_ids(sample_id):
    """Different ids, as fit keeps them."""
    ids = np.atleast_1d(np.asarray(sample_id))
    if ids.dtype.kind not in "iu":
        # Looked at one by one: NumPy makes text of integers beside text.
        given = np.atleast_1d(np.asarray(sample_id, dtype=object))
        if all(isinstance(value, str) for value in given.flat):
            with_nul = [value for value in given.flat if "\0" in value]
            if with_nul:
                raise ValueError(
                    f"sample_id holds {with_nul[0]!r}: ids have no NUL characters."
                )
            return np.unique(given.astype(str))
        if all(
            isinstance(value, Integral) and not isinstance(value, bool)
            for value in given.flat
        ):
            ids = given
        else:
            raise ValueError(
                f"sample_id has dtype {ids.dtype} and does not hold integers only or "
                "strings only: give them as in fit."
            )
    limits = np.iinfo(np.int64)
    if len(ids) and (ids.max() > limits.max or ids.min() < limits.min):
        raise ValueError(
            f"sample_id holds integers beyond 64 bits, {ids.min()} to {ids.max()}, "
            "which are no ids of fit."
        )
    return np.unique(ids.astype(np.int64))


def row_text(rows: list[int]) -> str:
    text = shortened(rows)
    if len(rows) > _N_NAMES:
        text += f" ({len(rows)} rows)"
    return f"row {text}" if len(rows) == 1 else f"rows {text}"


def shortened(names):
    text = ", ".join(str(name) for name in names[:_N_NAMES])
    return text + (", ..." if len(names) > _N_NAMES else "")
