"""Markdown tables and the numbers in them."""


def table(head, rows):
    """A Markdown table; `rows` are sequences of as many strings as `head` has."""
    lines = ["| " + " | ".join(row) + " |" for row in [head, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


def print_row(cells):
    """Print one row of a table as soon as it is measured."""
    print("| " + " | ".join(cells) + " |", flush=True)


def print_head(head):
    """Print the head of a table whose rows follow one by one."""
    print(table(head, []), end="", flush=True)


def cell(value, spec):
    """A formatted number; an empty cell for None."""
    return "" if value is None else format(value, spec)


def duration(seconds):
    """A time in seconds, or in milliseconds if it is below 0.1 s."""
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1e3 * seconds:.1f} ms"


def table_of_dicts(rows):
    """A Markdown table of dicts with the same keys, which become its head."""
    return table(
        list(rows[0]),
        [
            [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()]
            for row in rows
        ],
    )
