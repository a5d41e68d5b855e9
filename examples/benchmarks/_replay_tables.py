"""Tables of what replay.py measured."""

import numpy as np
from _tables import cell, duration, table


def median(draws, way, what):
    """Median over draws of those values that are not None; None if all are."""
    values = [draw[way][what] for draw in draws]
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def auto_and_paper(draws, what, spec):
    """Medians of both ways in one cell."""
    both = (cell(median(draws, way, what), spec) for way in ("auto", "paper"))
    return ", ".join(both)


def refits(draws, way="auto"):
    """How many draws were retrained; an empty cell for none."""
    n_refits = sum(draw[way]["refit"] for draw in draws)
    return f"{n_refits} of {len(draws)}" if n_refits else ""


def compared(draws):
    """Cells of both tables of edits: speed-ups, errors, estimate and passes."""
    return [
        auto_and_paper(draws, "speed_up", ".2f"),
        auto_and_paper(draws, "speed_up_by_rows", ".2f"),
        auto_and_paper(draws, "error", ".1e"),
        cell(median(draws, "auto", "estimate"), ".1e"),
        f"{median(draws, 'auto', 'n_passes'):.2g}",
    ]


def edits_table(results):
    """Medians for each data set, kind of edit and rate."""
    head = [
        "set", "edit", "rows", "speed-up: auto, paper", "by rows read",
        "error: auto, paper", "estimate", "passes", "exact steps", "retrained",
        "the first edit, of a fit",
    ]  # fmt: skip
    lines = []
    for result in results:
        for edit in result["edits"]:
            draws = edit["draws"]
            lines.append([
                result["name"],
                edit["kind"],
                f"{edit['n_rows']:,} ({edit['rate']:g})",
                *compared(draws),
                auto_and_paper(draws, "n_exact_steps", ".0f")
                + f" of {result['n_steps']}",
                refits(draws),
                f"{result['first_edit_of_a_fit']:.2f}",
            ])  # fmt: skip
    return table(head, lines)


def online_table(results):
    """A line for each sequence of single rows."""
    head = [
        "set", "time of a request: median, mean", "exact retrain", "speed-up",
        "error at the end", "all at once", "ratio", "retrained",
    ]  # fmt: skip
    return table(head, [
        [
            result["name"],
            duration(result["median_seconds"])
            + f", {duration(result['seconds'] / result['n_requests'])}",
            duration(result["retrain_seconds"]),
            f"{result['speed_up']:.2f}",
            f"{result['error']:.1e}",
            f"{result['batch_error']:.1e}" + (" (retrained)" * result["batch_refit"]),
            cell(result["ratio"], ".2f"),
            f"{result['n_refits']}" if result["n_refits"] else "",
        ]
        for result in results
    ])  # fmt: skip


def hard_table(results):
    """Medians for each data set and kind of edit."""
    head = [
        "set", "removed", "speed-up: auto, paper", "by rows read",
        "error: auto, paper", "estimate", "passes", "retrained", "because",
    ]  # fmt: skip
    lines = []
    for result in results:
        for edit in result["edits"]:
            draws = edit["draws"]
            reasons = {draw["auto"]["reason"] for draw in draws} - {None}
            lines.append([
                result["name"],
                f"{edit['kind']} ({edit['n_rows']:,})",
                *compared(draws),
                refits(draws),
                "; ".join(sorted(reasons)),
            ])  # fmt: skip
    return table(head, lines)


def growth_table(results):
    """A line for each number of rows, and the slopes of the times."""
    results = sorted(results, key=lambda result: result["n_samples"])
    head = [
        "rows x 28", "fit", "the first edit", "an edit", "exact retrain", "speed-up",
        "growth: edit, retrain", "estimate", "passes",
    ]  # fmt: skip
    least = results[0]
    lines = []
    for result in results:
        grown = [
            f"{result[what] / least[what]:,.1f}"
            for what in ("seconds", "retrain_seconds")
        ]
        lines.append([
            result["name"],
            duration(result["fit_seconds"]),
            duration(result["first_seconds"]),
            duration(result["seconds"]) + (" (retrained)" * result["refit"]),
            duration(result["retrain_seconds"]),
            f"{result['retrain_seconds'] / result['seconds']:.2f}",
            ", ".join(grown),
            cell(result["estimate"], ".1e"),
            f"{result['n_passes']:.2g}",
        ])  # fmt: skip
    text = table(head, lines)
    if len(results) > 1:
        size = np.log([result["n_samples"] for result in results])
        slopes = [
            np.polyfit(size, np.log([result[what] for result in results]), 1)[0]
            for what in ("seconds", "retrain_seconds")
        ]
        text += (
            "\nSlope of log time against log rows: "
            f"{slopes[0]:.2f} for the edit, {slopes[1]:.2f} for the retrain.\n"
        )
    return text


def tradeoff_table(results):
    """Medians for each data set and way."""
    head = [
        "set", "way", "speed-up", "by rows read", "error", "estimate", "passes",
        "retrained",
    ]  # fmt: skip
    lines = []
    for result in results:
        draws = result["draws"]
        for way in sorted(draws[0], key=_place_of_way):
            lines.append([
                result["name"],
                way,
                f"{median(draws, way, 'speed_up'):.2f}",
                f"{median(draws, way, 'speed_up_by_rows'):.2f}",
                f"{median(draws, way, 'error'):.1e}",
                cell(median(draws, way, "estimate"), ".1e"),
                f"{median(draws, way, 'n_passes'):.2g}",
                refits(draws, way),
            ])  # fmt: skip
    return table(head, lines)


def _place_of_way(way):
    name, value = way.split("=")
    return (0, float(value)) if name == "period" else (1, -float(value))


def cache_table(results):
    """A line for each data set."""
    head = [
        "set", "steps T", "coefficients p", "2 T p 8 bytes", "after the fit",
        "after an edit",
    ]  # fmt: skip
    lines = []
    for result in results:
        run = result["run_bytes"]
        sizes = [result["cache_bytes"], result["cache_bytes_after_an_edit"]]
        lines.append([
            result["name"],
            f"{result['n_steps']:,}",
            f"{result['n_coefficients']:,}",
            f"{run:,}",
            *(f"{size:,} ({size / run:.2f} times)" for size in sizes),
        ])  # fmt: skip
    return table(head, lines)


def decisions_table(results):
    """A line for each data set and schedule, and how many decisions cost time."""
    head = ["set", "schedule", "speed-up of a replay of 1 row, 0.1%, 1%", "because"]
    lines, wrong = [], {"retrained": [], "replayed": []}
    for result in results:
        for schedule, edits in result["schedules"].items():
            cells, reasons = [], set()
            for edit in edits:
                speed_up, is_retrained = edit["speed_up"], edit["reason"] is not None
                cells.append(f"{speed_up:.1f}" if edit["within_edit_tol"] else "-")
                if is_retrained:
                    cells[-1] = f"({cells[-1]})"
                    reasons.add(edit["reason"])
                if edit["within_edit_tol"]:
                    way = "retrained" if is_retrained else "replayed"
                    wrong[way].append(speed_up if is_retrained else 1.0 / speed_up)
            lines.append(
                [result["name"], schedule, ", ".join(cells), "; ".join(sorted(reasons))]
            )
    text = table(head, lines)
    text += (
        "\nIn parentheses: retrained. A dash: no replay is within edit_tol, or no "
        "Hessians can be afforded.\n\n"
    )
    for way, other in (("retrained", "a replay"), ("replayed", "a retrain")):
        factors = np.array(wrong[way])
        counts = ", ".join(
            f"{np.count_nonzero(factors >= factor)} where {other} is at least "
            f"{factor:g} times faster"
            for factor in (1.25, 2.0, 3.0)
        )
        text += f"{len(factors)} edits are {way}: {counts}.\n"
    return text
