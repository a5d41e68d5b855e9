"""A picture of what replay.py measured: error against speed-up, and speed-ups by set.

python examples/benchmarks/plot_replay.py replay-results doc/images/replay.svg
"""

import numpy as np
from _picture import BLUE, ORANGE, TEXT, options, save
from _replay_tables import median
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

OURS, PAPER = BLUE, ORANGE
LABELS = {"auto": 'period="auto"', "paper": "the paper's period"}
RATE, KIND = 1e-2, "deletion"
# Possible ticks of the axis of speed-ups.
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def points(draws, parameter):
    """Value, speed-up and error for each value of a parameter with an error."""
    values = [way.split("=")[1] for way in draws[0] if way.split("=")[0] == parameter]
    found = []
    for value in sorted(values, key=float):
        way = f"{parameter}={value}"
        error = median(draws, way, "error")
        if error > 1e-9:  # otherwise it was an exact retrain
            found.append((value, median(draws, way, "speed_up"), error))
    return found


def label(panel, labels, shift, **how):
    """Label points; points that nearly coincide share a label."""
    places = {}
    for text, x, y in labels:
        for (other_x, other_y), texts in places.items():
            if abs(np.log(x / other_x)) < 0.15 and abs(np.log(y / other_y)) < 0.15:
                texts.append(text)
                break
        else:
            places[x, y] = [text]
    for place, texts in places.items():
        panel.annotate(
            ", ".join(texts),
            place,
            shift,
            textcoords="offset points",
            fontsize=8,
            **how,
        )


def draw_tradeoff(panel, result):
    """The paper's periods as a line, ours as points."""
    periods = points(result["draws"], "period")
    ours = points(result["draws"], "edit_tol")
    if periods:
        _, speed_ups, errors = zip(*periods, strict=True)
        panel.plot(speed_ups, errors, "o-", color=PAPER, markersize=4, linewidth=1)
        label(panel, periods, (5, -10), color="#8A5F00")
    if ours:
        _, speed_ups, errors = zip(*ours, strict=True)
        panel.plot(speed_ups, errors, "D", color=OURS, markersize=6)
        label(panel, ours[::-1], (0, -15), color=TEXT, ha="center")
    known = [(1.0, 1e-2), *((x, y) for _, x, y in periods + ours)]
    xs, ys = zip(*known, strict=True)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlim(min(xs) / 1.25, max(xs) * 1.4)
    panel.set_ylim(min(ys) / 2.5, max(ys) * 2.0)
    panel.set_xticks([tick for tick in TICKS if min(xs) / 1.25 < tick < max(xs) * 1.4])
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.yaxis.set_major_locator(LogLocator())
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_title(f"{result['name']}: 1% of the rows removed", fontsize=10)
    panel.set_xlabel("speed-up over the exact retrain")
    panel.set_ylabel("error relative to the change")
    panel.grid(color="0.92")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def draw_speed_ups(panel, results):
    """Two bars for each data set."""
    names, bars = [], {"auto": [], "paper": []}
    for result in results:
        for edit in result["edits"]:
            if (edit["kind"], edit["rate"]) == (KIND, RATE):
                names.append(result["name"])
                for way, values in bars.items():
                    values.append(median(edit["draws"], way, "speed_up"))
    lines = np.arange(len(names))
    for shift, colour, way in ((-0.19, OURS, "auto"), (0.19, PAPER, "paper")):
        drawn = panel.barh(lines + shift, bars[way], 0.36, color=colour)
        panel.bar_label(drawn, fmt="{:.1f}", fontsize=8, padding=2)
    panel.axvline(1.0, color="0.5", linewidth=0.8)
    panel.set_yticks(lines, names)
    panel.invert_yaxis()
    panel.set_title(f"{RATE:.0%} of the rows removed", fontsize=10)
    panel.set_xlabel("speed-up over the exact retrain")
    panel.tick_params(axis="y", length=0)
    panel.spines[["top", "right", "left"]].set_visible(False)


def draw(tradeoffs, edits):
    """A panel for each data set, and bars below."""
    heights = [3.4] * bool(tradeoffs) + [0.42 * len(edits) + 0.9] * bool(edits)
    figure = Figure(figsize=(9.5, sum(heights) + 0.4), layout="constrained")
    rows = iter(
        figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    )
    if tradeoffs:
        panels = next(rows).subplots(1, len(tradeoffs), squeeze=False)[0]
        for panel, result in zip(panels, tradeoffs, strict=True):
            draw_tradeoff(panel, result)
    if edits:
        draw_speed_ups(next(rows).subplots(), edits)
    handles = [
        Line2D([], [], color=OURS, marker="D", linestyle=""),
        Line2D([], [], color=PAPER, marker="o", linewidth=1),
    ]
    labels = [f"{LABELS['auto']} (edit_tol at points)"]
    labels.append(f"{LABELS['paper']} (at points)")
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return figure


def main():
    results, picture, command = options(__doc__, "replay.py")
    found = {"tradeoff": [], "edits": []} | results.read(["tradeoff", "edits"])
    if not any(found.values()):
        command.error("the folder has neither tradeoff.json nor edits.json.")
    save(draw(found["tradeoff"], found["edits"]), picture)


if __name__ == "__main__":
    main()
