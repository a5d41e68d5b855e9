"""What the last fit or edit did."""

from dataclasses import dataclass, field

from . import _html

_SEQUENCES = ("removed_ids", "added_ids", "missing_ids")
_MAPPINGS = ("parameters", "versions")


@dataclass(frozen=True)
class UpdateReport:
    """What the last `fit` or edit of an estimator did: an audit record.

    It holds no feature values and no targets.

    Attributes
    ----------
    operation : str
        "fit", "partial_unfit" or "partial_refit".
    solver : str
    n_samples : int
        Number of training rows after the operation.
    n_samples_before : int
        The same before it; 0 for a fit.
    request_id : str, int or None
        What the caller called the request.
    n_removed, n_added : int
        Number of rows that left and that joined.
    n_not_found : int
        Number of rows, ids or positions asked for that were not there and were
        passed over (``on_missing="ignore"``).
    n_steps : int
        Number of steps of the path, for "gd" and "sgd".
    n_exact_steps : int
        Number of steps whose gradient was computed over the whole batch. The gradients
        of the others were predicted.
    n_passes : float
        Number of times that the rows were read for a loss and its gradient: for
        "newton", and at the nodes of a replay. What reads some of them counts by its
        share.
    n_hessians : float
        Number of Hessians made from all rows, counted alike. What the first edit makes
        counts as three: the Hessian, leverages, and the second one of the certificate
        (two for a squared error).
    curvature : str or None
        Kind of curvature that steps were made with.
    gradient_norm : float or None
        Largest entry of the gradient per unit of weight, at the last pass; None where
        there was none.
    distance_bound : float or None
        At least the distance to the exact optimum, in the norm of the Hessian. A bound,
        not an estimate: see `skdeltagrad._certificate`.
    decision_bound : float or None
        At least the change of any training row's decision value (of the difference of
        two classes' values) on the way to the exact optimum.
    relative_bound : float or None
        `distance_bound` as a share of the way from where the last pass was made: what
        `edit_tol` is compared with.
    no_bound : str or None
        Why there is no bound.
    error_estimate : float or None
        For "gd" and "sgd" with ``period="auto"``: about how far the path's end is from
        an exact retrain's, as a share of how far the edit moved it. An estimate, not a
        bound.
    refit : bool
        Whether an edit had to fit anew instead of following the edit.
    reason : str or None
        Why, when `refit` is True.
    membership_checked : bool
        Whether removed rows were found among the training rows. Not so with
        ``store_data=False``, where they are taken at their word.
    indexed : bool
        Whether the rows were indexed by content, once, in a pass over the data.
    cache_bytes : int
        Size of the cached run, or of the curvature that is kept.
    seed_bytes : int
        Size of the Hessians along the path that ``period="auto"`` keeps.
    seconds : float
        Wall time of the operation.
    time : str
        When it was over: UTC, in the form of ISO 8601.
    removed_ids, added_ids, missing_ids : tuple of str
        Keyed hashes of the ids of rows that left, that joined, and that were not there;
        of their positions where fit was given no ids. Of more than 1,000, one hash of
        them all. `hash_ids` of the estimator tells the hash of an id.
    parameters : dict
        Of the estimator, as plain Python values.
    seed : int or None
        What `random_state` came to, for "gd" and "sgd".
    versions : dict
        Of Python, this library and those it rests on.
    coef_digest : str
        sha256 of the coefficients and intercepts that came of it.
    previous_digest : str or None
        `digest` of the report before this one; None for a fit.
    digest : str
        sha256 of this report, of all the above in it: see `History.verify`.
    """

    operation: str
    solver: str
    n_samples: int
    n_samples_before: int = 0
    request_id: str | int | None = None
    n_removed: int = 0
    n_added: int = 0
    n_not_found: int = 0
    n_steps: int = 0
    n_exact_steps: int = 0
    n_passes: float = 0.0
    n_hessians: float = 0.0
    curvature: str | None = None
    gradient_norm: float | None = None
    distance_bound: float | None = None
    decision_bound: float | None = None
    relative_bound: float | None = None
    no_bound: str | None = None
    error_estimate: float | None = None
    refit: bool = False
    reason: str | None = None
    membership_checked: bool = True
    indexed: bool = False
    cache_bytes: int = 0
    seed_bytes: int = 0
    seconds: float = 0.0
    time: str = ""
    removed_ids: tuple = ()
    added_ids: tuple = ()
    missing_ids: tuple = ()
    parameters: dict = field(default_factory=dict)
    seed: int | None = None
    versions: dict = field(default_factory=dict)
    coef_digest: str = ""
    previous_digest: str | None = None
    digest: str = ""

    def to_dict(self) -> dict:
        """The report as a dict of plain Python values, ready for JSON."""
        lists = {name: list(getattr(self, name)) for name in _SEQUENCES}
        dicts = {name: dict(getattr(self, name)) for name in _MAPPINGS}
        return vars(self) | lists | dicts

    def __repr__(self):
        return f"UpdateReport({self._heading()}: {self.changes()})"

    def __str__(self):
        lines = [
            f"{self._heading()} (solver={self.solver!r}): {self.changes()}",
            f"{self.work()}, {self.seconds:.3g} s",
        ]
        if self.cache_bytes:
            lines[-1] += f", cache {self._memory()}"
        return "\n  ".join([*lines, *self._certificate(), *self._remarks()])

    def _repr_html_(self):
        digest = self.digest and f"{self.digest[:12]}\N{HORIZONTAL ELLIPSIS}"
        values = {
            "rows": self.changes(),
            "solver": self.solver,
            "work": self.work(),
            "seconds": f"{self.seconds:.3g}",
            "cache": self._memory() if self.cache_bytes else None,
            "accuracy": "\n".join(self._certificate()),
            "remarks": "\n".join(self._remarks()),
            "time": self.time,
            "digest": digest,
        }
        return _html.facts(self._heading(), values)

    def _heading(self):
        request = "" if self.request_id is None else f" {self.request_id!r}"
        return self.operation + request

    def changes(self) -> str:
        """Rows that left and joined, and how many there are, in words."""
        numbers = (
            (self.n_removed, "removed"),
            (self.n_added, "added"),
            (self.n_not_found, "not found"),
        )
        words = [f"{number:,} {what}" for number, what in numbers if number]
        return ", ".join([*words, f"{self.n_samples:,} rows"])

    def _memory(self):
        text = _size(self.cache_bytes)
        if self.seed_bytes:
            text += f" and Hessians {_size(self.seed_bytes)}"
        return text

    def _remarks(self):
        remarks = []
        if self.refit:
            remarks.append(f"fitted anew: {self.reason}")
        if not self.membership_checked:
            remarks.append("not checked whether the rows were training rows")
        if self.indexed:
            remarks.append("rows indexed by content (once)")
        return remarks

    def work(self) -> str:
        """What was done, in words."""
        if self.n_steps:
            work = f"{self.n_exact_steps:,} of {self.n_steps:,} steps exact"
            if self.n_passes:
                work += ", " + counted(self.n_passes, "pass", "passes")
            return work
        if self.curvature is None:
            return "nothing to do"
        work = counted(self.n_passes, "pass", "passes")
        if self.n_hessians:
            work += ", " + counted(self.n_hessians, "Hessian", "Hessians")
        return f"{work}, curvature: {self.curvature}"

    def _certificate(self):
        if self.error_estimate is not None:
            share = f"{100 * self.error_estimate:.2g}% of the change"
            return [f"off an exact retrain by about {share} (an estimate)"]
        if self.curvature is None:
            return []
        if self.distance_bound is None:
            return [f"no bound: {self.no_bound}"]
        bound = f"{self.distance_bound:.2g} in the norm of the Hessian"
        if self.relative_bound is not None:
            share = f"{100 * self.relative_bound:.2g}%"
            bound = f"{share} of the way since the rows were last read ({bound})"
        return [
            f"off the optimum by at most {bound}",
            *self._decisions(),
        ]

    def _decisions(self):
        if self.decision_bound is None:
            return []
        return [f"decision values off by at most {self.decision_bound:.2g}"]


def _size(n_bytes):
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:.1f} kB"


def counted(number, one, many):
    """A number of things in words."""
    if not number:
        return f"no {one}"
    return f"{round(number, 1):g} {one if number == 1 else many}"
