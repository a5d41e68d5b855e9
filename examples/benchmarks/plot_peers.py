"""A picture of what peers.py measured: an edit beside warm and cold refits.

python examples/benchmarks/plot_peers.py peers-results doc/images/peers.svg
"""

from _picture import BLUE, GREY, ORANGE, options, save
from matplotlib.figure import Figure

EDITS = {"1": "one row", "0.1%": "0.1% of the rows", "1%": "1% of the rows"}
LABELS = ["unlearn", "scikit-learn, warm start", "scikit-learn, cold"]
OURS, WARM, COLD = BLUE, ORANGE, GREY


def fastest(by_solver):
    """Seconds of the fastest solver; None if there is no solver."""
    return min(by_solver.values()) if by_solver else None


def draw(results):
    """A panel for each size of edit, a line for each data set."""
    figure = Figure(figsize=(9.5, 0.42 * len(results) + 1.5), layout="constrained")
    panels = figure.subplots(1, len(EDITS), sharex=True, sharey=True)
    for panel, (size, title) in zip(panels, EDITS.items(), strict=True):
        for line, result in enumerate(results):
            edit = result["edits"].get(size)
            if edit is None:
                continue
            times = [
                (edit["seconds"], OURS, "o", LABELS[0]),
                (fastest(edit["warm"]), WARM, "s", LABELS[1]),
                (fastest(edit["cold"]), COLD, "D", LABELS[2]),
            ]
            known = [seconds for seconds, *_ in times if seconds is not None]
            panel.plot([min(known), max(known)], [line, line], color="0.85", zorder=0)
            for seconds, colour, marker, label in times:
                if seconds is not None:
                    panel.plot(
                        seconds, line, marker, color=colour, markersize=6,
                        label=label,
                    )  # fmt: skip
        panel.set_title(title, fontsize=10)
        panel.set_xscale("log")
        panel.grid(axis="x", color="0.92")
        panel.set_axisbelow(True)
        panel.tick_params(axis="y", length=0)
        panel.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_yticks(range(len(results)), [result["name"] for result in results])
    panels[0].invert_yaxis()
    panels[1].set_xlabel("seconds (log scale)")
    found = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = [label for label in LABELS if label in found]
    figure.legend(
        [found[label] for label in labels], labels, loc="outside upper center",
        ncols=3, frameon=False,
    )  # fmt: skip
    return figure


def main():
    results, picture, _ = options(__doc__, "peers.py")
    results = [result for result in results.read_all() if "edits" in result]
    results.sort(key=lambda result: result["edits"]["1"]["seconds"])
    save(draw(results), picture)


if __name__ == "__main__":
    main()
