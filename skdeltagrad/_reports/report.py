"""What the last fit or edit did."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._utils import html as _html
from . import digests

_DROPPED = "figures were dropped by a purge"
# Types of values that need no conversion, or are converted by `to_dict`.
_AS_THEY_ARE = frozenset({type(None), bool, int, float, str, tuple, list, dict})


@dataclass(frozen=True)
class UpdateReport:
    """What the last `fit` or edit of an estimator did: an audit record.

    It holds no feature values and no targets. Its fields are of two sorts. The *public*
    ones say what was asked, when, and by what program; they depend on which rows were
    named, and not on what is in those rows. The *figures* were computed from the values
    of rows or measured by a clock. Figures of an edit can tell which of several
    suspects was removed, so that a purge drops those of all reports before it: they are
    None then. `digest` stays the same.

    Attributes
    ----------
    operation : str
        "fit", "partial_unfit", "partial_refit" or "purge". Public, like all that follow
        up to `versions`.
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
    curvature : str or None
        Kind of curvature that steps were made with. It follows from parameters and from
        the shape of the data.
    membership_checked : bool
        Whether removed rows were found among the training rows: among the stored rows,
        or with ``store_data=False`` among their fingerprints. Not so only for dumps of
        versions that made no fingerprints, or without the key for them.
    membership_error_rate : float or None
        At least the probability that a row which was never trained, and is not nearly
        equal to one that was, would have passed the check: 0 where rows are stored.
        None where nothing was checked.
    indexed : bool
        Whether the rows were indexed by content, once, in a pass over the data.
    purged : {"yes", "no", "cannot"} or None
        Whether all that the estimator keeps after the operation is free of traces of
        removed rows: "yes"; "no", until the next purge; or "cannot", where no purge can
        remove them. None in reports of earlier versions, which did not ask.
    not_purged : str or None
        Why, when `purged` is "cannot".
    time : str
        When it was over, to the second: UTC, in the form of ISO 8601. Two finer times
        would tell how long the second operation took.
    removed_ids, added_ids, missing_ids : tuple of str
        Keyed hashes of the ids of rows that left, that joined, and that were not there;
        of their positions where fit was given no ids. Of more than 1,000, one hash of
        them all. `hash_ids` of the estimator tells the hash of an id. Empty where the
        rows are not stored, or the key was left out of the dump.
    parameters : dict
        Of the estimator, as plain Python values.
    seed : int or None
        What `random_state` came to, for "gd" and "sgd".
    versions : dict
        Of Python, this library and those it rests on.
    n_steps : int or None
        Number of steps of the path, for "gd" and "sgd". A figure, like all that follow
        up to `coef_digest`: None after a purge.
    n_exact_steps : int or None
        Number of steps whose gradient was computed over the whole batch. The gradients
        of the others were predicted.
    n_passes : float or None
        Number of times that the rows were read for a loss and its gradient: for
        "newton", and at the nodes of a replay. What reads some of them counts by its
        share.
    n_hessians : float or None
        Number of Hessians made from all rows, counted alike. What the first edit makes
        counts as three: the Hessian, leverages, and the second one of the certificate
        (two for a squared error).
    gradient_norm : float or None
        Largest entry of the gradient per unit of weight, at the last pass; None where
        there was none.
    distance_bound : float or None
        At least the distance to the exact optimum, in the norm of the Hessian. A bound,
        not an estimate: see `skdeltagrad._optimum.certificate`.
    decision_bound : float or None
        At least the change of any training row's decision value (of the difference of
        two classes' values) on the way to the exact optimum.
    change_bound : float or None
        `distance_bound` as a fraction of *this edit's own change* of the coefficients:
        of the distance, in the norm of the Hessian, between the coefficients before and
        after this edit. 0.01 means that the edit is right to 1% of what it did.
    relative_bound : float or None
        `distance_bound` as a fraction of the way *since the last pass over the rows*,
        which may lie several edits back: of the distance between the coefficients there
        and those after this edit. It is what `edit_tol` is compared with. After several
        edits without a pass it can be much smaller than `change_bound`.
    no_bound : str or None
        Why there is no bound.
    error_estimate : float or None
        For "gd" and "sgd" with ``period="auto"``: about how far the path's end is from
        an exact retrain's, as a share of how far the edit moved it. An estimate, not a
        bound.
    refit : bool or None
        Whether an edit had to fit again instead of following the edit. A figure, since
        it tells of a removed row that it had much influence.
    reason : str or None
        Why, when `refit` is True.
    cache_bytes : int or None
        Size of the cached run, or of the curvature that is kept.
    checkpoint_bytes : int or None
        Size of the Hessians along the path that ``period="auto"`` keeps.
    seconds : float or None
        Wall time of the operation.
    coef_digest : str or None
        sha256 of the coefficients and intercepts that came of it.
    number : int or None
        0 for a fit, 1 for the first edit after it, and so on. None in reports of
        earlier versions. Public.
    previous_digest : str or None
        `digest` of the report before this one; None for a fit. Public.
    figures_digest : str or None
        sha256 of `salt` and the figures. It stays when they are dropped, and without
        the salt no guess of them can be tested. None in reports of earlier versions.
    salt : str or None
        Random, of this report alone; dropped together with the figures.
    digest : str
        sha256 of the public fields, `figures_digest` among them: see `History.verify`.
    """

    operation: str
    solver: str
    n_samples: int
    n_samples_before: int = 0
    request_id: str | int | None = None
    n_removed: int = 0
    n_added: int = 0
    n_not_found: int = 0
    n_steps: int | None = 0
    n_exact_steps: int | None = 0
    n_passes: float | None = 0.0
    n_hessians: float | None = 0.0
    curvature: str | None = None
    gradient_norm: float | None = None
    distance_bound: float | None = None
    decision_bound: float | None = None
    relative_bound: float | None = None
    change_bound: float | None = None
    no_bound: str | None = None
    error_estimate: float | None = None
    refit: bool | None = False
    reason: str | None = None
    membership_checked: bool = True
    membership_error_rate: float | None = None
    indexed: bool = False
    purged: str | None = None
    not_purged: str | None = None
    cache_bytes: int | None = 0
    checkpoint_bytes: int | None = 0
    seconds: float | None = 0.0
    time: str = ""
    removed_ids: tuple = ()
    added_ids: tuple = ()
    missing_ids: tuple = ()
    parameters: dict = field(default_factory=dict)
    seed: int | None = None
    versions: dict = field(default_factory=dict)
    coef_digest: str | None = ""
    number: int | None = None
    previous_digest: str | None = None
    figures_digest: str | None = None
    salt: str | None = None
    digest: str = ""

    def __post_init__(self):
        # NumPy's numbers become Python's, which JSON knows.
        for name, value in vars(self).items():
            if type(value) not in _AS_THEY_ARE:
                object.__setattr__(self, name, digests.plain(value, float))

    def __setstate__(self, state):
        state = dict(state)
        if "seed_bytes" in state:  # of a dump of an earlier version
            state["checkpoint_bytes"] = state.pop("seed_bytes")
        vars(self).update(state)

    @property
    def seed_bytes(self) -> int | None:
        """The earlier name of `checkpoint_bytes`."""
        return self.checkpoint_bytes

    def to_dict(self) -> dict:
        """The report as a dict of JSON's types.

        NaN and infinity, which JSON does not have, become None.
        """
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return digests.plain(values, lambda value: None)

    @property
    def is_redacted(self) -> bool:
        """Whether the figures of this report were dropped."""
        return self.figures_digest is not None and self.salt is None

    def redacted(self) -> UpdateReport:
        """This report without its figures: they are None, and so is `salt`.

        `digest` stays the same, and `History.verify` accepts the report in its place.
        Only a report from a dump of schema 3 or before, whose digest was over the
        figures, gets another digest: see `History.redacted`.
        """
        return self if self.is_redacted else digests.redacted(self)

    def __repr__(self):
        return f"UpdateReport({self._heading()}: {self.changes()})"

    def __str__(self):
        lines = [f"{self._heading()} (solver={self.solver!r}): {self.changes()}"]
        lines.append(self.work())
        if not self.is_redacted:
            lines[-1] += f", {self.seconds:.3g} s"
        if self.cache_bytes:
            lines[-1] += f", cache {self._memory()}"
        return "\n  ".join([*lines, *self._certificate(), *self._remarks()])

    def _repr_html_(self):
        digest = self.digest and f"{self.digest[:12]}\N{HORIZONTAL ELLIPSIS}"
        values = {
            "rows": self.changes(),
            "solver": self.solver,
            "work": self.work(),
            "seconds": None if self.seconds is None else f"{self.seconds:.3g}",
            "cache": self._memory() if self.cache_bytes else None,
            "accuracy": "\n".join(self._certificate()),
            "remarks": "\n".join(self._remarks()),
            "time": self.time,
            "number": self.number,
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
        if self.checkpoint_bytes:
            text += f" and Hessians {_size(self.checkpoint_bytes)}"
        return text

    def _remarks(self):
        remarks = []
        if self.refit:
            remarks.append(f"fitted anew: {self.reason}")
        if not self.membership_checked:
            remarks.append("not checked whether the rows were training rows")
        elif self.membership_error_rate:
            remarks.append(
                "rows recognised by their fingerprints (others pass with a probability "
                f"of {self.membership_error_rate:.1g})"
            )
        if self.indexed:
            remarks.append("rows indexed by content (once)")
        # Before a fit no row was removed; and a purge has followed on what it redacted.
        if self.operation != "fit" and not self.is_redacted:
            remarks += self._traces()
        return remarks

    def _traces(self):
        if self.purged == "yes":
            return ["holds no trace of removed rows (purged)"]
        if self.purged == "cannot":
            return [f"cannot be purged: {self.not_purged}"]
        if self.purged == "no":
            # `save` purges where that is cheap. A path is trained again on request.
            until = "purge() or save()" if self.solver == "newton" else "purge()"
            return [f"may hold traces of removed rows until {until}"]
        return []

    def work(self) -> str:
        """What was done, in words."""
        if self.is_redacted:
            return _DROPPED
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
        if self.curvature is None or self.is_redacted:
            return []
        if self.distance_bound is None:
            return [f"no bound: {self.no_bound}"]
        lines = [
            f"off the optimum by at most {self.distance_bound:.2g} in the norm of the "
            "Hessian,"
        ]
        if self.change_bound is not None:
            fraction = f"{100 * self.change_bound:.2g}%"
            lines.append(f"which is {fraction} of what this edit itself changed,")
        if self.relative_bound is not None:
            fraction = f"{100 * self.relative_bound:.2g}%"
            lines.append(f"which is {fraction} of the way since the last pass,")
        if self.decision_bound is not None:
            bound = f"{self.decision_bound:.2g}"
            lines.append(f"and decision values are off by at most {bound}")
        return lines


def _size(n_bytes):
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:.1f} kB"


def counted(number, one, many):
    """A number of things in words."""
    if not number:
        return f"no {one}"
    return f"{round(number, 1):g} {one if number == 1 else many}"
