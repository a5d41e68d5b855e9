"""Tables of what peers.py measured."""

from _tables import cell, duration, table


def markdown(results, more):
    """All tables. `more` holds the results of the option --more, or is empty."""
    parts = [
        fits_table(results), first_edits_table(results), edits_table(results),
        sequences_table(results),
    ]  # fmt: skip
    if "growth" in more:
        times = [f"{n}: {duration(spent)}" for n, spent in more["growth"].items()]
        parts.append("One row removed from n x 20: " + "; ".join(times) + ".\n")
    if "replay" in more:
        parts.append(replays_table(more["replay"]))
    for case in more.get("ridge", []):
        parts.append(
            f"Ridge, 3,000 x 20, columns of mean {case['mean']:g}, condition "
            f"{case['condition']:.0e}: after 10,000 replacements of a row "
            f"{case['error']:.0e} from the solution by SVD, "
            f"{case['passes']:g} passes.\n"
        )
    return "\n".join(parts)


def fits_table(results):
    """A line for each data set: our fit beside those of scikit-learn."""
    head = [
        "set", "fit: ours", "passes, Hessians", "over the fastest at gap 1e-8",
        "at gap 1e-4", "our gap", "distance", "kept",
    ]  # fmt: skip
    lines = []
    for result in results:
        fit = result["fit"]
        theirs = fit["theirs"]
        tight = theirs.get("1e-8") or theirs.get("tight")
        lines.append([
            result["name"],
            f"{fit['seconds']:.2f} s",
            f"{fit['passes']:.3g}, {fit['hessians']:.2g} ({fit['curvature']})",
            _over(fit["seconds"], tight),
            _over(fit["seconds"], theirs.get("1e-4")),
            cell(fit.get("gap"), ".0e"),
            f"{fit['distance']:.0e}",
            f"{result['cache_bytes'] / 1e6:.1f} MB",
        ])  # fmt: skip
    return table(head, lines)


def first_edits_table(results):
    """A line for each data set: the first edit, and a working day."""
    head = [
        "set", "first edit after the fit", "after loading", "passes, Hessians",
        "bound", "error", "times faster than warm", "than cold",
        "fit and first edit, over the fastest fit at gap 1e-8", "working day",
        "times faster than warm",
    ]  # fmt: skip
    lines = []
    for result in results:
        fit, first = result["fit"], result["first_edit"]
        theirs, day = fit["theirs"], first["day"]
        tight = theirs.get("1e-8") or theirs.get("tight")
        lines.append([
            result["name"],
            duration(fit["first_edit"]),
            duration(first["seconds"]),
            f"{first['passes']:g}, {first['hessians']:g}",
            cell(first["relative_bound"], ".0e"),
            f"{first['error']:.0e}",
            _faster(first["seconds"], first["warm"]),
            _faster(first["seconds"], first["cold"]),
            _over(fit["with_first_edit"], tight),
            *([duration(day["ours"]), f"{day['theirs'] / day['ours']:.1f}"]
              if day else ["", ""]),
        ])  # fmt: skip
    return table(head, lines)


def edits_table(results):
    """A line for each data set and size of edit."""
    head = [
        "set", "removed", "ours", "passes", "bound", "error",
        "times faster than warm", "than cold", "a Newton step: error",
    ]  # fmt: skip
    lines = []
    for result in results:
        names = [result["name"]] + [""] * len(result["edits"])
        for shown, (name, edit) in zip(names, result["edits"].items(), strict=False):
            step = edit["newton_step"] or {}
            lines.append([
                shown,
                f"{name} ({edit['n_rows']:,})",
                duration(edit["seconds"]),
                f"{edit['passes']:g}{' (refitted)' if edit['refit'] else ''}",
                cell(edit["relative_bound"], ".0e"),
                f"{edit['error']:.0e}",
                _faster(edit["seconds"], edit["warm"]),
                _faster(edit["seconds"], edit["cold"]),
                cell(step.get("error"), ".0e"),
            ])  # fmt: skip
    return table(head, lines)


def sequences_table(results):
    """A line for each data set."""
    head = [
        "set", "single rows in sequence", "median", "mean", "passes", "largest error",
    ]  # fmt: skip
    lines = []
    for result in results:
        sequence = result["sequence"]
        lines.append([
            result["name"],
            f"{sequence['n_edits']:,}",
            duration(sequence["seconds"]),
            duration(sequence["mean_seconds"]),
            f"{sequence['passes']:g}",
            f"{sequence['error']:.0e}",
        ])  # fmt: skip
    return table(head, lines)


def replays_table(cases):
    """A line for each data set: both of our solvers."""
    head = ["0.1% removed", "newton", "its error", "gd, 100 steps", "its error"]
    return table(head, [
        [
            case["name"],
            duration(case["newton"]),
            f"{case['newton_error']:.0e}",
            duration(case["gd"]),
            f"{case['gd_error']:.0e}",
        ]
        for case in cases
    ])  # fmt: skip


def _over(ours, theirs):
    """Our time relative to that of the fastest solver, which is named."""
    if not theirs:
        return ""
    solver = min(theirs, key=theirs.get)
    return f"{ours / theirs[solver]:.2f} ({solver} {theirs[solver]:.2f} s)"


def _faster(ours, theirs):
    """How many times faster than the fastest solver, which is named."""
    if not theirs:
        return ""
    solver = min(theirs, key=theirs.get)
    return f"{theirs[solver] / ours:,.0f} ({solver})"
