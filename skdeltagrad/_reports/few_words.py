"""Numbers as readers of a report want them."""


def counted(number, one, many):
    """Return a number of things in words."""
    if not number:
        return f"no {one}"
    shown = f"{number:,}" if isinstance(number, int) else f"{round(number, 1):,g}"
    return f"{shown} {one if number == 1 else many}"


def duration(seconds):
    """Return a duration in milliseconds or seconds, with about two digits."""
    if seconds < 0.1:
        return f"{1e3 * seconds:.2g} ms"
    if seconds < 1.0:
        return f"{1e3 * seconds:.0f} ms"
    return f"{seconds:.2g} s" if seconds < 100.0 else f"{seconds:,.0f} s"


def size(n_bytes):
    """Return a number of bytes in kB or MB."""
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:.1f} kB"
