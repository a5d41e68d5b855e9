"""The receipts of an estimator's fit and edits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from numpy.typing import ArrayLike

from .._utils import html as _html
from . import digests
from .report import UpdateReport

# A cost: the number of newest reports that are kept, of about 1 kB each in a dump.
LENGTH = 1000
# Display: the number of newest reports that a notebook shows.
_N_SHOWN = 20


class History(Sequence[UpdateReport]):
    """Reports of a fit and the edits after it, oldest first: the newest 1,000.

    An immutable sequence of `UpdateReport`: every edit makes a new one.

    Parameters
    ----------
    reports : iterable of UpdateReport
    """

    def __init__(self, reports: Iterable[UpdateReport] = ()):
        self._reports = tuple(reports)

    def __len__(self):
        return len(self._reports)

    def __getitem__(self, which):
        if isinstance(which, slice):
            return History(self._reports[which])
        return self._reports[which]

    def followed_by(self, report: UpdateReport) -> History:
        """Return this history and one more report, without the oldest if it is full."""
        return History((*self._reports[1 - LENGTH :], report))

    @property
    def next_number(self) -> int:
        """The number of the report that will follow: one more than that of the last.

        Reports from dumps of schema 3 and before have no number. They are counted, from
        0 if the first of them is that of the fit, otherwise from 1.
        """
        if self and self[-1].number is not None:
            return self[-1].number + 1
        begins_with_fit = not self or self[0].previous_digest is None
        return len(self) + (not begins_with_fit)

    def sealed(
        self, report: UpdateReport, coef: ArrayLike, intercept: ArrayLike
    ) -> UpdateReport:
        """Return a report as the next receipt of this history, with number and digests.

        Parameters
        ----------
        report : UpdateReport
        coef, intercept : array-like
            Coefficients and intercepts after the operation.

        Returns
        -------
        report : UpdateReport
        """
        previous = self[-1] if self else None
        return digests.sealed(report, previous, self.next_number, coef, intercept)

    def redacted(self) -> History:
        """Return this history without the figures of its reports; see `UpdateReport`.

        This is the receipt to hand out: it says what was requested and when, and
        nothing that was computed from the values of rows. The one exception is a purge
        with ``store_data=False``: `purged` and `not_purged` say whether removed rows
        were so large that rounding is left of them.

        The digests stay the same, unless there are reports from a dump of schema 3 or
        before. Their digests include the figures and can therefore not be kept: then
        all reports are numbered and sealed again, and all digests change.

        Returns
        -------
        history : History
        """
        reports = [report.redacted() for report in self]
        if any(report.figures_digest is None for report in self):
            first, previous = self.next_number - len(self), None
            for place, report in enumerate(reports):
                previous = digests.sealed_again(report, previous, first + place)
                reports[place] = previous
        return History(reports)

    def to_dicts(self) -> list[dict]:
        """Return the reports as dicts of JSON's types, for JSON or a data frame."""
        return [report.to_dict() for report in self]

    @classmethod
    def from_dicts(cls, records: Iterable[dict]) -> History:
        """Return the history of which `to_dicts` gave the records.

        Parameters
        ----------
        records : iterable of dict
            Oldest first, for example from a log; those of earlier versions, too.
        """
        return cls(UpdateReport.from_dict(record) for record in records)

    def verify(self, estimator: object = None) -> int:
        """Check that no report was changed, left out or inserted.

        The first report must be that of the fit, number 0, unless there are exactly
        1,000 reports: older ones are not kept. Reports whose figures were dropped by a
        purge are accepted; their figures are then not verified.

        This detects what was lost or changed by accident, and changes by somebody who
        cannot change the estimator as well. It proves nothing against somebody who has
        the estimator or its dump: digests are made without a secret, so anybody can
        change a report and compute all later digests again, or leave out the newest
        reports together with their edits. Only a digest that is kept elsewhere protects
        against that: archive ``history_[-1].digest`` after each edit, for example by a
        `callback`, in a place where those who have the estimator cannot write.

        Parameters
        ----------
        estimator : estimator, default=None
            If given, its coefficients must be those of the last report. Without it,
            missing reports at the end are not detected.

        Returns
        -------
        n_reports : int
            The number of reports.

        Raises
        ------
        ValueError
            When a report was changed (the message names the first one), when the first
            reports are missing, or when the coefficients differ.
        """
        n_reports = digests.check_chain(self.to_dicts())
        if n_reports and n_reports != LENGTH:
            self._check_start()
        if estimator is not None:
            self._check_coefficients(estimator)
        return n_reports

    def _check_start(self):
        first = self[0]
        if first.number is None:
            is_fit = first.previous_digest is None
        else:
            is_fit = first.number == 0
        if not is_fit:
            name = "" if first.number is None else f" has number {first.number} and"
            raise ValueError(
                f"The first of {len(self):,} reports{name} is not that of the fit: "
                f"reports before it are missing. Only a history of {LENGTH:,}, which "
                "are the most that are kept, may begin later."
            )

    def _check_coefficients(self, estimator):
        if self and self[-1].is_redacted:
            raise ValueError(
                "The figures of the last report were dropped, the digest of its "
                "coefficients among them: it cannot be compared with the estimator. "
                "Verify estimator.history_ itself, which ends with the report of the "
                "last operation."
            )
        now = digests.coef_digest(estimator.coef_, estimator.intercept_)
        if not self or self[-1].coef_digest != now:
            raise ValueError(
                "The coefficients of the estimator are not those after the operation "
                "of the last report."
            )

    def __repr__(self):
        return f"History({len(self)} reports)"

    def _repr_html_(self):
        shown = self[-_N_SHOWN:]
        columns = ("time", "operation", "request", "rows", "work", "seconds")
        rows = (
            (
                report.time,
                report.operation,
                "" if report.request_id is None else repr(report.request_id),
                report.changes(),
                report.work(),
                "" if report.seconds is None else f"{report.seconds:.3g}",
            )
            for report in shown
        )
        n_before = len(self) - len(shown)
        note = f"and {n_before:,} before them" if n_before else ""
        return _html.records(f"{len(self):,} reports", columns, rows, note)

    def __str__(self):
        return "\n".join(str(report) for report in self)
