"""The search for removed rows: what is searched, for what, and what was found."""

import numpy as np

from .._utils import threads
from . import dumps
from .combinations import Combinations, bases_of, bases_of_squares, vectors_in
from .exemptions import Exemptions, dense_portions
from .ids import as_ids, places_of_ids
from .intervals import Intervals
from .object_graph import arrays_in, iter_objects
from .report import row_text, shortened
from .row_search import (
    ITSELF,
    candidates,
    distinct_arrays,
    lines,
    places_of_rows,
    portions,
)

# Display: how many places a message spells out.
_N_PLACES = 5

# A sentinel for all rows together, where others are row numbers.
_ALL = -1


class Search:
    """A search of all that an object holds for removed rows.

    Parameters
    ----------
    estimator : object
    forms : list of CSR array
        The removed rows, in each form in which they may be held.

    Attributes
    ----------
    arrays : list of (str, ndarray)
        What is searched, by place.
    exemptions : Exemptions
    """

    def __init__(self, estimator, forms):
        self._objects = list(iter_objects(estimator))
        self.arrays = distinct_arrays(
            (place, array) for place, obj in self._objects for array in arrays_in(obj)
        )
        self._forms = forms
        self.exemptions = Exemptions(self._objects, forms)
        self._found = {}  # by place and row number: what was found
        self._ids_found = []

    def for_rows(self):
        """Search for the rows as they are, and for multiples of them."""
        scalable = set(self.exemptions.scalable.tolist())
        for rows in self._forms:
            for wanted in portions(rows, self.exemptions.checkable):
                found = places_of_rows(self._objects, self.arrays, wanted, scalable)
                for finding in found:
                    self._add(*finding)

    def for_sums(self):
        """Search for combinations of a row and what the training set accounts for."""
        numbers = self.exemptions.scalable
        with threads.blas_for(order=1):  # a few rows are multiplied at a time
            for rows in self._forms:
                width = rows.shape[1]
                sums = self.exemptions.sums(width)
                for part, dense in dense_portions(rows, numbers):
                    # Rows that left together may still be held together. Where the
                    # other rows are unknown, what holds minus their sum may be a mean.
                    if (
                        sums is not None
                        and len(numbers) > 1
                        and part[-1] == numbers[-1]
                    ):
                        part = np.append(part, _ALL)
                        dense = np.vstack([dense, rows[numbers].sum(axis=0)])
                    part, dense = _also_rounded(part, dense)
                    wanted = Combinations(dense, part, bases_of(width, sums))
                    self._for_combinations(wanted, self._stored(width))
                    self._for_combinations(wanted, self._implied(width))
                    if sums is not None:
                        wanted = Combinations(dense**2, part, bases_of_squares(sums))
                        self._for_combinations(wanted, self._stored(width))

    def _for_combinations(self, wanted, portions_of_vectors):
        for places, vectors, noise in portions_of_vectors:
            for what, number, i in wanted.found(vectors, noise):
                # A training row is no leak, whatever it may be a combination of.
                if self.exemptions.is_training_row(vectors[i]):
                    continue
                place = places if isinstance(places, str) else places[i]
                everyone = self.exemptions.scalable.tolist()
                for each in everyone if number == _ALL else [number]:
                    self._add(what, place, each)

    def _stored(self, width):
        """Yield vectors in arrays, their place, and what they may be off by."""
        for place, array in self.arrays:
            for vectors, noise in vectors_in(array, width):
                yield place, vectors, noise

    def _implied(self, width):
        """Yield vectors that follow from what is stored, and a place for each."""
        for owner, obj in self.exemptions.knowing(width):
            implied = list(obj._implied_vectors())
            if implied:
                names, vectors, noise = zip(*implied, strict=True)
                places = [
                    f"{name} of {owner}"
                    for name, some in zip(names, vectors, strict=True)
                    for _ in some
                ]
                yield places, np.concatenate(vectors), np.concatenate(noise)

    def for_index_keys(self):
        """Search for the keys that rows are indexed by, to be found by content."""
        # In fewer bits, many numbers are alike.
        arrays = [
            (place, lines(array)[0])
            for place, array in self.arrays
            if array.dtype.kind == "f" and array.dtype.itemsize >= 8
        ]
        asked = self.exemptions.questions(self._forms, self.exemptions.checkable)
        for obj, numbers, dense in asked:
            keys = obj._index_keys(dense)
            for place, flat in arrays if keys is not None else ():
                for _, i in candidates(flat, 0, Intervals(*keys)):
                    for number in np.unique(numbers[i]).tolist():
                        self._add("the index number of", place, number)

    def in_bytes(self, path):
        """Search the bytes of a dump for rows that what it loads to does not show."""
        known = set().union(*self._found.values())
        hidden = np.setdiff1d(self.exemptions.checkable, list(known))
        for rows in self._forms:
            overlap = 8 * (rows.shape[1] + 1)
            for wanted in portions(rows, hidden):
                arrays = dumps.byte_arrays(path, overlap)
                for finding in places_of_rows([], arrays, wanted):
                    self._add(*finding)

    def for_ids(self, sample_id):
        """Search for ids. Return those searched for, and why others were not."""
        ids = as_ids(sample_id)
        largest = max((array.size for _, array in self.arrays), default=0)
        reasons = self.exemptions.ids_not_checkable(ids, largest)
        ids = np.array([i for i in ids.tolist() if i not in reasons], ids.dtype)
        self._ids_found = list(places_of_ids(self._objects, ids))
        return ids, reasons

    def findings(self):
        """Return lines that say what was found and where; none if nothing was."""
        groups = {}
        for place, found in self._found.items():
            for number, what in found.items():
                groups.setdefault((what, place), []).append(number)
        # The row itself says more than a multiple or a sum.
        groups = sorted(groups.items(), key=lambda group: group[0][0] != ITSELF)
        lines = []
        if groups:
            n_rows = len(set().union(*self._found.values()))
            lines.append(f"{n_rows} of {self._forms[0].shape[0]} removed rows found:")
        for (what, place), numbers in groups[:_N_PLACES]:
            text = f"{what} {row_text(sorted(numbers))}".strip()
            lines.append(f"  {text} in {place}")
        if len(groups) > _N_PLACES:
            lines.append(f"  and {len(groups) - _N_PLACES} more places")
        if self._ids_found:
            ids = set().union(*(found for _, found in self._ids_found))
            lines.append(f"{len(ids)} removed ids found:")
        for place, found in self._ids_found[:_N_PLACES]:
            lines.append(f"  {shortened(sorted(found))} in {place}")
        return lines

    def _add(self, what, place, number):
        # That the buffer of a view holds what the view shows is no news; nor is that
        # what is found somewhere is a multiple of itself.
        if number not in self._found.get(place.removesuffix(".base"), ()):
            self._found.setdefault(place, {}).setdefault(number, what)


def _also_rounded(numbers, rows):
    """Append what float32 makes of the rows that it changes."""
    rounded = rows.astype(np.float32).astype(np.float64)
    others = (rounded != rows).any(axis=1) & np.isfinite(rounded).all(axis=1)
    return np.append(numbers, numbers[others]), np.vstack([rows, rounded[others]])
