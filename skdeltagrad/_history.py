"""The receipts of an estimator's fit and edits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from . import _html
from ._receipt import check_chain, coef_digest
from ._report import UpdateReport

# How many are kept, the newest.
LENGTH = 1000
# How many of them a notebook shows.
_N_SHOWN = 20


class History(Sequence[UpdateReport]):
    """Reports of a fit and the edits after it, oldest first: the newest 1,000.

    A sequence of `UpdateReport`, never changed: every edit makes another one.

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
        """This history and one more report, without the oldest if it is full."""
        return History((*self._reports[1 - LENGTH :], report))

    def to_dicts(self) -> list[dict]:
        """The reports as dicts of plain Python values, for JSON or a data frame."""
        return [report.to_dict() for report in self]

    def verify(self, estimator: object = None) -> int:
        """See that no report was changed, left out or put in.

        Parameters
        ----------
        estimator : estimator, default=None
            If given, its coefficients have to be those of the last report.

        Returns
        -------
        n_reports : int
            How many were looked at.

        Raises
        ------
        ValueError
            That names the first report which is not as it was made.
        """
        n_reports = check_chain(self.to_dicts())
        if estimator is not None:
            now = coef_digest(estimator.coef_, estimator.intercept_)
            if not n_reports or self[-1].coef_digest != now:
                raise ValueError(
                    "The coefficients of the estimator are not those that the last "
                    "report is about."
                )
        return n_reports

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
                f"{report.seconds:.3g}",
            )
            for report in shown
        )
        n_before = len(self) - len(shown)
        note = f"and {n_before:,} before them" if n_before else ""
        return _html.records(f"{len(self):,} reports", columns, rows, note)

    def __str__(self):
        return "\n".join(str(report) for report in self)
