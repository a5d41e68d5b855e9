"""Small tables for notebooks, in the colours of the page, light or dark.

Every text is escaped here, and nowhere else.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

_BOX = (
    "display:inline-block;border:1px solid rgba(128,128,128,.5);border-radius:4px;"
    "padding:.4em .8em;margin:.2em 0;color:inherit;background:transparent;"
    "font-size:.9em"
)
_TABLE = "border-collapse:collapse;margin:0;color:inherit;background:transparent"
_CELL = (
    "padding:.1em .9em .1em 0;vertical-align:top;text-align:left;color:inherit;"
    "background:transparent;white-space:pre-line"
)
_DIM = "opacity:.65;font-weight:normal;"


def facts(title: str, values: Mapping[str, object], note: str = "") -> str:
    """A box of names and values; those that are None or "" are left out."""
    rows = "".join(
        f'<tr><th scope="row" style="{_DIM}{_CELL}">{escape(name)}</th>'
        f'<td style="{_CELL}">{escape(str(value))}</td></tr>'
        for name, value in values.items()
        if value is not None and value != ""
    )
    return _box(title, rows, note)


def records(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    note: str = "",
) -> str:
    """A box of rows under a heading."""
    head = "".join(
        f'<th scope="col" style="{_DIM}{_CELL}">{escape(column)}</th>'
        for column in columns
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{_CELL}">{escape(str(cell))}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    return _box(title, f"<tr>{head}</tr>{body}", note)


def _box(title, rows, note):
    note = f'<div style="{_DIM}">{escape(note)}</div>' if note else ""
    return (
        f'<div style="{_BOX}"><strong>{escape(title)}</strong>'
        f'<table style="{_TABLE}"><tbody>{rows}</tbody></table>{note}</div>'
    )
