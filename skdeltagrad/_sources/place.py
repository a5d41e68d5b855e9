"""How messages name rows, columns and batches of the user."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Place:
    """Where some rows stand in what the user gave, for messages.

    Parameters
    ----------
    batch : int or None
        Number of the user's batch, from 0. None: there are no batches of the user.
    first_row : int
        Number of the first row, from 0, in the batch or in everything.
    """

    batch: int | None = None
    first_row: int = 0

    def of(self, name):
        """Return the name of a parameter, with that of the batch."""
        return name if self.batch is None else f"{name} of batch {self.batch}"

    def after(self, n_rows):
        """Return the place that lies some rows further on."""
        return replace(self, first_row=self.first_row + n_rows)

    def row(self, number, column=None):
        """Return the name of a row, and of a column if there is one."""
        row = f"row {self.first_row + int(number)}"
        return row if column is None else f"{row}, column {column!r}"
