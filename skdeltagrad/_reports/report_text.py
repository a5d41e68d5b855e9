"""A report in words: what was done, how far off the model can be, and what is left.

Numbers that are not shown here are in `UpdateReport.to_dict`.
"""

import textwrap

from .few_words import counted, duration

# Display: width of the lines, in characters; a cell of a notebook shows as many.
_WIDTH = 79
# Display: fractions of an edit that are not told apart.
_NEGLIGIBLE = 1e-4
# What the bound of decision values is about, by the estimator; of others it is the
# decision values themselves.
_BOUNDED = {
    "DeltaGradRidge": "predictions are",
    "DeltaGradPoissonRegressor": "the logarithms of predictions are",
}
_NOTHING = "nothing to do"
_DROPPED = "figures were dropped by a purge"
# Calls that purge an estimator, by its solver, where they are more than purge() alone.
_PURGED_BY = {"newton": "purge() or save()"}
# What other operations than edits are called, before the number of rows.
_OPERATIONS = {"fit": "fitted on", "purge": "purged,", "refine": "refined,"}


def text_of(report):
    """Return a report as text of a few lines."""
    details = [*accuracy(report), *work(report), *remarks(report)]
    lines = [_wrapped(headline(report), "    ")]
    lines += [_wrapped(line, "    ", "  ") for line in details]
    return "\n".join(lines)


def headline(report):
    """Return what was done, in one line."""
    request = "" if report.request_id is None else f"{report.request_id!r}: "
    done, left = _done(report)
    took = f" in {duration(report.seconds)}" if report.seconds else ""
    if done.startswith(_NOTHING):
        took = ""
    return f"{request}{done}{took}{left}"


def _done(report):
    """Return what was done, and how many rows there are where that is a result."""
    rows = counted(report.n_samples, "row", "rows")
    if report.operation in _OPERATIONS:
        return f"{_OPERATIONS[report.operation]} {rows}", ""
    edits = [
        f"{word} {counted(number, 'row', 'rows')}"
        for word, number in (("removed", report.n_removed), ("added", report.n_added))
        if number
    ]
    missing = f", {report.n_not_found:,} not found" if report.n_not_found else ""
    if edits:
        return f"{' and '.join(edits)}{missing}", f"; {rows} now"
    if report.is_redacted or report.n_steps or report.curvature is not None:
        return f"retrained on {rows}", ""
    return f"{_NOTHING}{missing}", f"; {rows}"


def accuracy(report):
    """Return how far the model can be from the exact one, as lines."""
    if report.is_redacted:
        return [_DROPPED]
    if report.error_estimate is not None:
        return [f"{_missing('about', report.error_estimate)} (an estimate)"]
    if report.curvature is None:
        return []
    if report.distance_bound is None:
        return [f"no bound: {report.no_bound}"]
    lines = []
    if report.change_bound is not None:
        lines.append(f"{_missing('at most', report.change_bound)} (proven)")
    if report.coef_bound is not None:
        lines.append(
            f"coefficients are off by at most {report.coef_bound:.2g} (proven)"
        )
    if report.decision_bound is not None:
        what = _BOUNDED.get(report.estimator, "decision values are")
        lines.append(f"{what} off by at most {report.decision_bound:.2g} (proven)")
    return lines


def _missing(how, fraction):
    shown = f"{how} {100 * fraction:.2g}%"
    if fraction < _NEGLIGIBLE:
        shown = f"less than {100 * _NEGLIGIBLE:.2g}%"
    return f"{shown} of what this edit changed is missing"


def work(report):
    """Return the work that was done, as lines."""
    if report.is_redacted:
        return []
    if report.n_steps:
        exact = f"computed {report.n_exact_steps:,} of {report.n_steps:,} steps exactly"
        if report.n_passes:
            exact += f", and read the rows {_times(report.n_passes)}"
        return [exact]
    if report.curvature is None:
        return []
    done = "did not read the other rows"
    if report.n_passes:
        done = f"read the rows {_times(report.n_passes)}"
    if report.n_hessians:
        done += f", and for {counted(report.n_hessians, 'Hessian', 'Hessians')}"
    return [done]


def _times(number):
    return "once" if number == 1 else counted(number, "time", "times")


def remarks(report):
    """Return what else there is to know, as lines."""
    lines = []
    if report.refit:
        lines.append(f"fitted again: {report.reason}")
    if not report.membership_checked:
        lines.append("not checked whether the rows were training rows")
    elif report.membership_error_rate:
        lines.append(
            "rows recognised by their fingerprints (others pass with a probability "
            f"of {report.membership_error_rate:.1g})"
        )
    if report.indexed:
        lines.append("rows indexed by content (once)")
    # Before a fit no row was removed; and redacted reports are older than a purge.
    if report.operation != "fit" and not report.is_redacted:
        lines += _traces(report)
    return lines


def _traces(report):
    if report.purged == "yes":
        return ["holds no trace of removed rows (purged)"]
    if report.purged == "cannot":
        return [f"cannot be purged: {report.not_purged}"]
    if report.purged == "no":
        # `save` purges if that is cheap. A path is trained again on request only.
        until = _PURGED_BY.get(report.solver, "purge()")
        return [f"may hold traces of removed rows until {until}"]
    return []


def _wrapped(line, rest, first=""):
    return textwrap.fill(
        line, _WIDTH, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
