"""What an edit would do."""

from dataclasses import asdict, dataclass

from .._utils import html as _html
from .report import counted


@dataclass(frozen=True)
class EditPlan:
    """What an edit would do, foretold without doing it.

    Attributes
    ----------
    n_removed : int
        Number of rows that would leave.
    n_not_found : int
        Number of rows, ids or positions that are not there and would be passed over.
    n_samples : int
        Number of training rows after it.
    n_passes : float
        Passes over the rows: for "newton" one where the curvature that is kept does
        not certify the step alone, for the replay of a path those at its first node.
        More may turn out to be necessary, up to `n_passes_at_most`.
    n_hessians : float
        Hessians to be made from all rows (the first edit makes them); those of a sample
        count by its share. For a path they take at most the time of the fit.
    checkpoint_bytes : int
        What those along a path are going to take; about, where rows are sampled.
    n_steps, n_exact_steps : int
        For "gd" and "sgd": steps of the path, and those whose gradient is computed.
    refit : bool
        Whether the model would be fitted anew.
    reason : str or None
        Why.
    seconds : float
        An estimate, from the time that a few rows take now. No limit: an edit can take
        several times as long where other work runs beside it, or where more passes turn
        out to be necessary.
    n_passes_at_most, n_hessians_at_most, n_exact_steps_at_most : float
        What the edit's report will not exceed, whatever the rows are: limits to the
        work, not to the time. For "newton" it
        is the steps from the old optimum and a fit anew, which may take three times
        what the last fit from nothing took, and stops there with a warning; mostly it
        takes less than such a fit. (Few rows, which take no time to speak of, may take
        more.) For a path it is half a retrain's passes, the Hessians along the path
        where there are none yet, and a retrain.
    """

    n_removed: int
    n_not_found: int
    n_samples: int
    n_passes: float = 0
    n_hessians: float = 0
    checkpoint_bytes: int = 0
    n_steps: int = 0
    n_exact_steps: int = 0
    refit: bool = False
    reason: str | None = None
    seconds: float = 0.0
    n_passes_at_most: float = 0.0
    n_hessians_at_most: float = 0.0
    n_exact_steps_at_most: int = 0

    @property
    def seed_bytes(self) -> int:
        """The earlier name of `checkpoint_bytes`."""
        return self.checkpoint_bytes

    def to_dict(self) -> dict:
        """The plan as a dict of plain Python values."""
        return asdict(self)

    def __repr__(self):
        return f"EditPlan({self._rows()})"

    def __str__(self):
        lines = [self._rows(), f"{self._work()}, about {self.seconds:.2g} s"]
        if self.n_removed:
            lines.append(f"at most {self._work_at_most()}")
        if self.refit:
            lines.append(f"fitted anew: {self.reason}")
        return "\n  ".join(lines)

    def _repr_html_(self):
        values = {
            "rows": self._rows(),
            "work": self._work(),
            "seconds": f"about {self.seconds:.2g}",
            "at most": self._work_at_most() if self.n_removed else None,
            "fitted anew": self.reason,
        }
        return _html.facts("plan of an edit", values)

    def _rows(self):
        missing = f", {self.n_not_found:,} not found" if self.n_not_found else ""
        return (
            f"{self.n_removed:,} rows would leave{missing}, {self.n_samples:,} remain"
        )

    def _work(self):
        work = [
            counted(self.n_passes, "pass", "passes"),
            counted(self.n_hessians, "new Hessian", "new Hessians"),
        ]
        if self.checkpoint_bytes:
            work[1] += f" ({self.checkpoint_bytes / 1e6:.1f} MB)"
        if self.n_steps:
            numbers = (self.n_passes, self.n_hessians)
            work = [part for part, number in zip(work, numbers, strict=True) if number]
            work.insert(0, f"{self.n_exact_steps:,} of {self.n_steps:,} steps exact")
        return ", ".join(work)

    def _work_at_most(self):
        most = [
            counted(self.n_passes_at_most, "pass", "passes"),
            counted(self.n_hessians_at_most, "Hessian", "Hessians"),
        ]
        if self.n_steps:
            most.insert(0, f"{self.n_exact_steps_at_most:,} exact steps")
        return ", ".join(part for part in most if not part.startswith("no "))
