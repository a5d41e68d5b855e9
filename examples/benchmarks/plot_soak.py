"""A picture of what soak.py measured: accuracy and memory over edits.

python examples/benchmarks/plot_soak.py soak-results doc/images/soak.svg
"""

from _picture import BLUE, GREY, ORANGE, PURPLE, options, save
from matplotlib.figure import Figure

ERROR, BOUND, HELD, RESIDENT = BLUE, ORANGE, PURPLE, GREY


def draw(results):
    """A column for each data set: accuracy above, memory below."""
    figure = Figure(figsize=(3.4 * len(results), 5.2), layout="constrained")
    panels = figure.subplots(2, len(results), sharex="col", squeeze=False)
    for (above, below), result in zip(panels.T, results, strict=True):
        checks = result["checks"]
        edits = [check["edit"] for check in checks]
        above.axhline(1.0, color="0.6", linewidth=1, linestyle=":")
        errors = [(c["edit"], c["error"]) for c in checks if c.get("error")]
        if errors:
            above.plot(*zip(*errors, strict=True), "o", color=ERROR, markersize=4,
                       label="error against a fresh fit")  # fmt: skip
        worst = [check["largest_bound"] for check in checks]
        above.step(edits, worst, color=BOUND, where="pre",
                   label="largest bound between checks (gd: estimate)")  # fmt: skip
        above.set_yscale("log")
        above.set_title(result["name"], fontsize=10)
        for name, colour, label in (
            ("held", HELD, "arrays of the estimator"),
            ("resident", RESIDENT, "the process"),
        ):
            sizes = [check[name] / 1e6 for check in checks]
            below.plot(edits, sizes, color=colour, label=label)
        below.set_yscale("log")
        below.set_ylim(1.0, 1e3)
        below.yaxis.set_major_formatter("{x:g}")
        below.set_xlabel("edits")
        below.xaxis.set_major_formatter("{x:,.0f}")
        below.tick_params(axis="x", labelsize=8)
        for panel in (above, below):
            panel.grid(color="0.92")
            panel.set_axisbelow(True)
            panel.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("fraction of the accepted distance")
    panels[1, 0].set_ylabel("memory, MB")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    more = panels[1, 0].get_legend_handles_labels()
    figure.legend(handles + more[0], labels + more[1], loc="outside upper center",
                  ncols=2, frameon=False, fontsize=9)  # fmt: skip
    return figure


def main():
    results, picture, _ = options(__doc__, "soak.py")
    save(draw(results.read_all()), picture)


if __name__ == "__main__":
    main()
