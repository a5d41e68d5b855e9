"""The rows of one edit, as the engines see them."""

from dataclasses import dataclass

import numpy as np


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


NO_CHANGE = Change(*np.zeros((4, 0), np.int64))
