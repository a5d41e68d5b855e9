"""A picture of what crossover.py measured: how many times faster an edit is.

python examples/benchmarks/plot_crossover.py crossover-results doc/images/crossover.svg
"""

from itertools import groupby

from _picture import BLUE, GREY, ORANGE, PURPLE, options, save
from matplotlib.figure import Figure

EDITS = {"first": "the first edit after a fit", "later": "later edits"}
COLOURS = {5: BLUE, 50: ORANGE, 300: PURPLE}
STYLES = {2: "-", 10: "--"}


def draw(cases):
    """A panel for first and for later edits, a line for each number of columns."""
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    panels = figure.subplots(1, len(EDITS), sharex=True, sharey=True)
    for panel, (name, title) in zip(panels, EDITS.items(), strict=True):
        panel.axhline(1.0, color=GREY, linewidth=1.0)
        for (p, K), group in groupby(
            cases, lambda c: (c["n_features"], c["n_classes"])
        ):
            line = list(group)
            panel.plot(
                [case["n_samples"] for case in line],
                [case["refit"] / case[name] for case in line],
                STYLES[K], color=COLOURS[p], marker="o", markersize=4,
                label=f"{p} columns, {K} classes",
            )  # fmt: skip
        panel.set_title(title, fontsize=10)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel("training rows")
        panel.grid(color="0.92")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("times faster than the\nfastest warm-started refit")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return figure


def main():
    results, picture, _ = options(__doc__, "crossover.py")
    (result,) = results.read(["crossover"]).values()
    save(draw(result["cases"]), picture)


if __name__ == "__main__":
    main()
