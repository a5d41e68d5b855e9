"""What the last fit or edit did."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class UpdateReport:
    """What the last `fit` or edit of an estimator did.

    Attributes
    ----------
    operation : str
        "fit", "partial_unfit" or "partial_refit".
    solver : str
    n_samples : int
        Number of training rows after the operation.
    n_removed, n_added : int
        Number of rows that left and that joined.
    n_not_found : int
        Number of rows, ids or positions asked for that were not there and were
        passed over (``on_missing="ignore"``).
    n_steps : int
        Number of steps of the path; 0 when nothing was to be done.
    n_exact_steps : int
        Number of steps whose gradient was computed over the whole batch. The gradients
        of the others were predicted.
    refit : bool
        Whether an edit had to train the path anew instead of replaying it.
    reason : str or None
        Why, when `refit` is True.
    indexed : bool
        Whether the rows were indexed by content, once, in a pass over the data.
    cache_bytes : int
        Size of the cached run.
    seconds : float
        Wall time of the operation.
    """

    operation: str
    solver: str
    n_samples: int
    n_removed: int = 0
    n_added: int = 0
    n_not_found: int = 0
    n_steps: int = 0
    n_exact_steps: int = 0
    refit: bool = False
    reason: str | None = None
    indexed: bool = False
    cache_bytes: int = 0
    seconds: float = 0.0

    def to_dict(self):
        """The report as a dict of plain Python values."""
        return asdict(self)

    def __str__(self):
        changes = [
            f"{number:,} {what}"
            for number, what in (
                (self.n_removed, "removed"),
                (self.n_added, "added"),
                (self.n_not_found, "not found"),
            )
            if number
        ]
        lines = [
            f"{self.operation} (solver={self.solver!r}): "
            + ", ".join([*changes, f"{self.n_samples:,} rows"])
        ]
        if self.n_steps == 0:
            lines.append("nothing to do")
        else:
            lines.append(
                f"{self.n_exact_steps:,} of {self.n_steps:,} steps exact, "
                f"{self.seconds:.3g} s, cache {self.cache_bytes / 1e6:.1f} MB"
            )
        if self.refit:
            lines.append(f"trained anew: {self.reason}")
        if self.indexed:
            lines.append("rows indexed by content (once)")
        return "\n  ".join(lines)
