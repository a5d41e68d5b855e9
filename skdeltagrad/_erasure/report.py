"""What a search for removed rows has covered, as a report and as text."""

from dataclasses import dataclass, field

from .._utils import html as _html

# Display: how many names a message spells out.
_N_NAMES = 10

_NOTHING_CHECKED = "none could be searched for"


@dataclass(frozen=True)
class ErasureReport:
    """What :func:`assert_erased` has checked.

    Parameters
    ----------
    n_rows : int
        Number of rows given.
    n_checked : int
        Number of rows that were searched for, and found nowhere.
    not_checkable : dict of int to str
        The reason for each row, by row number, that was not searched for.
    n_arrays : int
        Number of arrays searched.
    n_bytes : int
        Size of these arrays.
    multiples_not_checkable : dict of int to str
        The reason for each row that was searched for as it is, but not for
        multiples of it or in sums.
    n_ids : int
        Number of different ids that were searched for, and found nowhere.
    ids_not_checkable : dict of (int or str) to str
        The reason for each id that was not searched for.
    purged : dict of str to {"yes", "cannot"}
        For each estimator that knows its training rows, by place: whether all that it
        keeps is a function of the current ones.
    purged_reason : dict of str to str
        Why an estimator cannot be purged, by place.
    membership_unknown : tuple of str
        Places of estimators that keep no rows, so that it is not known whether the rows
        are still training rows.
    """

    n_rows: int
    n_checked: int
    not_checkable: dict[int, str]
    n_arrays: int
    n_bytes: int
    multiples_not_checkable: dict[int, str] = field(default_factory=dict)
    n_ids: int = 0
    ids_not_checkable: dict[int | str, str] = field(default_factory=dict)
    purged: dict[str, str] = field(default_factory=dict)
    purged_reason: dict[str, str] = field(default_factory=dict)
    membership_unknown: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"ErasureReport({self.n_checked} of {self.n_rows} rows checked, "
            f"{self.n_arrays} arrays)"
        )

    def _repr_html_(self) -> str:
        first, *others = str(self).splitlines()
        values = {"checked": first, "besides": "\n".join(others)}
        return _html.facts("ErasureReport", values)

    def __str__(self) -> str:
        lines = []
        if self.n_rows:
            lines.append(
                f"{self.n_checked} of {self.n_rows} rows checked: {self._where}"
            )
        lines += _reasons("not checkable", self.not_checkable, row_text)
        lines += _reasons(
            "multiples not checkable", self.multiples_not_checkable, row_text
        )
        n_ids = self.n_ids + len(self.ids_not_checkable)
        if n_ids:
            ids = "id" if (self.n_ids or n_ids) == 1 else "ids"
            checked = f"{self.n_ids} {ids} checked: found nowhere"
            none = f"0 of {n_ids} {ids} checked: {_NOTHING_CHECKED}"
            lines.append(checked if self.n_ids else none)
        if self.membership_unknown:
            lines.append(
                "not known whether they are still training rows, since no rows are "
                f"kept (store_data=False): {', '.join(self.membership_unknown)}"
            )
        lines += _reasons("ids not checkable", self.ids_not_checkable, shortened)
        lines += _reasons("cannot be purged", self.purged_reason, ", ".join)
        return "\n".join(lines) or "nothing was given to check"

    @property
    def _where(self):
        if not self.n_checked:
            return _NOTHING_CHECKED
        if not self.n_arrays:
            return "there are no arrays to be found in"
        return f"found in none of {self.n_arrays} arrays ({self.n_bytes:,} bytes)"


def _reasons(what, reasons, text):
    """Return a line for each reason, with the names that it holds for."""
    return [
        f"{what}, {reason}: {text(with_reason(reasons, reason))}"
        for reason in dict.fromkeys(reasons.values())
    ]


def with_reason(reasons, reason):
    """Return the names that a reason is given for."""
    return [name for name, given in reasons.items() if given == reason]


def row_text(rows):
    text = shortened(rows)
    if len(rows) > _N_NAMES:
        text += f" ({len(rows)} rows)"
    return f"row {text}" if len(rows) == 1 else f"rows {text}"


def shortened(names):
    text = ", ".join(str(name) for name in names[:_N_NAMES])
    return text + (", ..." if len(names) > _N_NAMES else "")
