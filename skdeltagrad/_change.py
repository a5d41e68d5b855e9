"""The rows of one edit, as the engines see them."""

from dataclasses import dataclass

import numpy as np

_NOBODY = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Change:
    """Rows that leave and rows that join, by slot and by position.

    Removed rows have left their positions already and added ones have not taken theirs
    yet; the data of both is still, or already, stored.
    """

    removed_slots: np.ndarray
    removed_positions: np.ndarray
    added_slots: np.ndarray
    added_positions: np.ndarray

    def __len__(self):
        return len(self.removed_slots) + len(self.added_slots)

    def removal(self):
        """The rows that leave alone."""
        return Change(self.removed_slots, self.removed_positions, _NOBODY, _NOBODY)

    def addition(self):
        """The rows that join alone."""
        return Change(_NOBODY, _NOBODY, self.added_slots, self.added_positions)


NO_CHANGE = Change(_NOBODY, _NOBODY, _NOBODY, _NOBODY)
