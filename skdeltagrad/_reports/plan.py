"""The predicted cost of an edit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from .._utils import html as _html
from .few_words import counted, duration


@dataclass(frozen=True)
class EditPlan:
    """The predicted cost of an edit that was not run.

    Attributes
    ----------
    n_removed : int
        Number of rows that would be removed.
    n_not_found : int
        Number of rows, ids or positions that do not exist or were removed, and that
        would be ignored.
    n_samples : int
        Number of training rows after the edit.
    n_passes : float
        Passes over the rows: for "newton" one pass if the cached Hessian does not
        suffice for a bound, for the replay of a path those for its first correction
        point. More may turn out to be necessary, up to `n_passes_at_most`.
    n_hessians : float
        Hessians to be computed from all rows (the first edit does this); those of a
        sample count as its fraction of the rows. For a path they take at most as long
        as the fit.
    checkpoint_bytes : int
        Size of the Hessians along a path that the edit would compute; approximately, if
        rows are sampled.
    n_steps, n_exact_steps : int
        For "gd" and "sgd": steps of the path, and those whose gradient is computed.
    refit : bool
        Whether the model would be fitted again from zero.
    reason : str or None
        Why, if `refit` is True.
    seconds : float
        An estimate, from the time that a few rows take now. It is not a limit: an edit
        can take several times as long if other programs run at the same time, or if
        more passes turn out to be necessary.
    n_passes_at_most, n_hessians_at_most, n_exact_steps_at_most : float
        What the edit's report will not exceed, whatever the rows are: limits of the
        work, not of the time. For "newton" they include the steps from the old optimum
        and a new fit, which may take three times as much as the last fit from zero and
        then stops with a warning; usually it takes less than that fit. (The limit is
        higher for few rows, which take little time.) For a path they include half the
        passes of a retrain, the Hessians along the path if there are none yet, and a
        retrain.
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
        """Return the plan as a dict of plain Python values."""
        return asdict(self)

    def __repr__(self):
        return f"EditPlan({self._rows()})"

    def __str__(self):
        lines = [self._rows(), f"{self._work()}, about {duration(self.seconds)}"]
        if self.n_removed:
            lines.append(f"at most {self._work_at_most()}")
        if self.refit:
            lines.append(f"fitted again: {self.reason}")
        return "\n  ".join(lines)

    def _repr_html_(self):
        values = {
            "rows": self._rows(),
            "work": self._work(),
            "time": f"about {duration(self.seconds)}",
            "at most": self._work_at_most() if self.n_removed else None,
            "fitted again": self.reason,
        }
        return _html.facts("plan of an edit", values)

    def _rows(self):
        missing = f", {self.n_not_found:,} not found" if self.n_not_found else ""
        removed = counted(self.n_removed, "row", "rows")
        removed += f" would be removed{missing}"
        return f"{removed}, {self.n_samples:,} remain"

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


# Attributes that add up over several estimators that are edited together.
_SUMMED = (
    "n_passes", "n_hessians", "checkpoint_bytes", "n_steps", "n_exact_steps", "refit",
    "seconds", "n_passes_at_most", "n_hessians_at_most", "n_exact_steps_at_most",
)  # fmt: skip


def together(plans: Sequence[EditPlan]) -> EditPlan:
    """Return the plan of several estimators that are edited in the same way.

    Parameters
    ----------
    plans : sequence of EditPlan
        At least one, each for the same rows.
    """
    first, *others = plans
    if not others:
        return first
    values = {of.name: getattr(first, of.name) for of in fields(EditPlan)}
    for name in _SUMMED:
        values[name] = sum(getattr(plan, name) for plan in plans)
    reasons = dict.fromkeys(plan.reason for plan in plans if plan.reason)
    values |= {"refit": bool(values["refit"]), "reason": "; ".join(reasons) or None}
    return EditPlan(**values)
