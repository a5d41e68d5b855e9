"""What the last fit or edit did."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._utils import html as _html
from . import digests, few_words, report_text

# Types of values that need no conversion, or are converted by `to_dict`.
_AS_THEY_ARE = frozenset({type(None), bool, int, float, str, tuple, list, dict})


@dataclass(frozen=True)
class UpdateReport:
    """What the last `fit` or edit of an estimator did: an audit record.

    It holds no feature values and no targets. Its fields are of two sorts. The *public*
    ones say what was requested, when, and by which program; they depend on which rows
    were named, and not on the values of those rows. The *figures* were computed from
    the values of rows or measured by a clock. The figures of an edit can reveal which
    of several suspected rows was removed, so a purge drops those of all reports before
    it: they are None then. `digest` stays the same.

    Attributes
    ----------
    operation : str
        "fit", "purge", "refine", or the edit that was called: "unlearn", "add",
        "correct", "partial_unfit" or "partial_refit". Public, like all attributes up to
        `versions`.
    solver : str
    estimator : str or None
        Name of the estimator's class. None in reports of earlier versions.
    n_samples : int
        Number of training rows after the operation.
    n_samples_before : int
        The same before it; 0 for a fit.
    request_id : str, int or None
        The caller's name for the request.
    n_removed, n_added : int
        Number of rows that were removed and added.
    n_not_found : int
        Number of requested rows, ids or positions that did not exist or had been
        removed, and were ignored (``on_missing="ignore"``).
    curvature : str or None
        Kind of curvature that steps were computed with. It follows from the parameters
        and the shape of the data.
    membership_checked : bool
        Whether removed rows were found among the training rows: among the stored rows,
        or with ``store_data=False`` among their fingerprints. False only for dumps of
        versions that made no fingerprints, or that lack the key for them.
    membership_error_rate : float or None
        Upper bound of the probability that a row which was never a training row, and is
        not nearly equal to one, passes the check: 0 if rows are stored. None if nothing
        was checked.
    indexed : bool
        Whether the rows were indexed by content, which takes one pass and is done once.
    purged : {"yes", "no", "cannot"} or None
        Whether everything that the estimator keeps after the operation is free of
        traces of removed rows: "yes"; "no", until the next purge; or "cannot", if no
        purge can remove them. None in reports of earlier versions.
    not_purged : str or None
        Why, when `purged` is "cannot".
    time : str
        When the operation ended: UTC, as in ISO 8601, to the second. Two more precise
        times would reveal how long the second operation took.
    removed_ids, added_ids, missing_ids : tuple of str
        Keyed hashes of the ids of rows that were removed, that were added, and that
        were not found; of their positions if `fit` was given no ids. For more than
        1,000 ids, one hash of them all. `hash_ids` of the estimator computes the hash
        of an id. Empty if the rows are not stored, or if the key was left out of the
        dump.
    parameters : dict
        Parameters of the estimator, as plain Python values.
    seed : int or None
        The random seed that was drawn from `random_state`, for "gd" and "sgd".
    versions : dict
        Versions of Python, of this library and of the libraries that it uses.
    n_steps : int or None
        Number of steps of the path, for "gd" and "sgd". A figure, like all attributes
        up to `coef_digest`: None after a purge.
    n_exact_steps : int or None
        Number of steps whose gradient was computed over the whole batch. The gradients
        of the others were predicted.
    n_passes : float or None
        Number of times that the rows were read for a loss and its gradient: for
        "newton", and at the correction points of a replay. Reading some of the rows
        counts as their fraction.
    n_hessians : float or None
        Number of Hessians computed from all rows, counted in the same way. The first
        edit counts as three: the Hessian, leverages, and the second Hessian of the
        certificate (as two for a squared error).
    gradient_norm : float or None
        Largest entry of the gradient per unit of weight, at the last pass; None where
        there was none.
    distance_bound : float or None
        Upper bound of the distance to the exact optimum, in the norm of the Hessian. A
        bound, not an estimate: see `skdeltagrad._optimum.certificate`.
    decision_bound : float or None
        Upper bound of the difference between the decision value of any training row
        (or the difference of the values of two classes) and that at the exact optimum.
    change_bound : float or None
        `distance_bound` as a fraction of *this edit's own change* of the coefficients:
        of the distance, in the norm of the Hessian, between the coefficients before and
        after this edit. With 0.01, the error is at most 1% of what the edit changed.
    relative_bound : float or None
        `distance_bound` as a fraction of the distance moved *since the last pass over
        the rows*, which may be several edits ago: of the distance between the
        coefficients at that time and those after this edit. It is compared with
        `edit_tol`. After several edits without a pass it can be much smaller than
        `change_bound`.
    coef_bound : float or None
        After `refine`: upper bound of the Euclidean distance between `coef_` and
        `intercept_` together and those of the exact optimum, in units of its `scale`.
    no_bound : str or None
        Why there is no bound.
    error_estimate : float or None
        For "gd" and "sgd" with ``period="auto"``: the estimated distance between the
        path's end and that of an exact retrain, as a fraction of the distance that this
        edit moved it. An estimate, not a bound. It counts what earlier edits left since
        the last exact retrain, and may therefore be above `edit_tol` when few rows
        leave after many. None after an edit with a number as `period`.
    refit : bool or None
        Whether the model had to be fitted again from zero. A figure, because it reveals
        that a removed row had much influence.
    reason : str or None
        Why, when `refit` is True.
    cache_bytes : int or None
        Size of the cached path, or of the cached Hessian.
    checkpoint_bytes : int or None
        Size of the Hessians along the path that are kept for ``period="auto"``.
    seconds : float or None
        Wall time of the operation.
    coef_digest : str or None
        sha256 of the coefficients and intercepts after the operation.
    number : int or None
        0 for a fit, 1 for the first edit after it, and so on. None in reports of
        earlier versions. Public.
    previous_digest : str or None
        `digest` of the report before this one; None for a fit. Public.
    figures_digest : str or None
        sha256 of `salt` and the figures. It stays when they are dropped; without the
        salt nobody can test a guess of them. None in reports of earlier versions.
    salt : str or None
        Random, different for each report; dropped together with the figures.
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
    coef_bound: float | None = None
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
    estimator: str | None = None

    def __post_init__(self):
        # NumPy's numbers become Python's, which JSON knows.
        for name, value in vars(self).items():
            if type(value) not in _AS_THEY_ARE:
                object.__setattr__(self, name, digests.plain(value, float))

    def __setstate__(self, state):
        vars(self).update(digests.under_present_names(state))

    @classmethod
    def from_dict(cls, values: dict) -> UpdateReport:
        """Return the report of which `to_dict` gave a dict, in an earlier version, too.

        Parameters
        ----------
        values : dict
        """
        return cls(**digests.under_present_names(values))

    @property
    def seed_bytes(self) -> int | None:
        """The earlier name of `checkpoint_bytes`."""
        return self.checkpoint_bytes

    def to_dict(self) -> dict:
        """Return the report as a dict of JSON's types.

        NaN and infinity, which JSON does not have, become None.
        """
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return digests.plain(values, lambda value: None)

    @property
    def is_redacted(self) -> bool:
        """Whether the figures of this report were dropped."""
        return self.figures_digest is not None and self.salt is None

    def redacted(self) -> UpdateReport:
        """Return this report without its figures: they are None, and so is `salt`.

        `digest` stays the same, and `History.verify` accepts the report in its place.
        Only a report from a dump of schema 3 or before, whose digest includes the
        figures, gets another digest: see `History.redacted`.
        """
        return self if self.is_redacted else digests.redacted(self)

    def __repr__(self):
        return f"UpdateReport({report_text.headline(self)})"

    def __str__(self):
        return report_text.text_of(self)

    def _repr_html_(self):
        digest = self.digest and f"{self.digest[:12]}\N{HORIZONTAL ELLIPSIS}"
        cache = None
        if self.cache_bytes:
            cache = few_words.size(self.cache_bytes)
            if self.checkpoint_bytes:
                cache += f" and Hessians {few_words.size(self.checkpoint_bytes)}"
        values = {
            "accuracy": "\n".join(report_text.accuracy(self)),
            "work": self.work(),
            "remarks": "\n".join(report_text.remarks(self)),
            "solver": self.solver,
            "curvature": self.curvature,
            "cache": cache,
            "time": self.time,
            "number": self.number,
            "digest": digest,
        }
        return _html.facts(report_text.headline(self), values)

    def changes(self) -> str:
        """Return how many rows were removed and added and how many remain, in words."""
        numbers = (
            (self.n_removed, "removed"),
            (self.n_added, "added"),
            (self.n_not_found, "not found"),
        )
        words = [f"{number:,} {what}" for number, what in numbers if number]
        return ", ".join([*words, few_words.counted(self.n_samples, "row", "rows")])

    def work(self) -> str:
        """Return the work that was done, in words."""
        return ", ".join(report_text.work(self)) or ", ".join(
            report_text.accuracy(self) if self.is_redacted else ["nothing to do"]
        )
