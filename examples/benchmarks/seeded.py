"""Replay with period="auto" next to the paper's, on the paper's sets of few columns.

    python examples/benchmarks/seeded.py --data-dir DIR --out seeded-results

For every set, rate and draw three copies of one fit lose the same rows: by "auto", by
the paper's period, and by an exact retrain, which the other two are held against. One
row is removed before, so that Hessians are there: what they take is told apart. The
penalty is that of the fit throughout.
"""

import argparse
import json
from copy import deepcopy
from pathlib import Path

import _data
import numpy as np
from _environment import environment
from _timing import timed

from skdeltagrad import DeltaGradLogisticRegression

WEIGHT_DECAY = 0.005
# Name, rows, epochs, and the paper's period and burn-in.
SETS = {
    "covtype 93k": (lambda folder: _data.covtype(folder), 32, 5, 10),
    "covtype 523k": (lambda folder: _data.covtype(folder, 523_000), 32, 5, 10),
    "higgs 1M": (lambda folder: _data.higgs(folder, 1_000_000), 4, 3, 30),
}
RATES = (1e-3, 1e-2)


def edits(fitted, rows, period, burn_in):
    """Time, error and estimate of every way to remove some rows."""
    first, others = rows[:1], rows[1:]
    found, ends = {}, {}
    for name in ("exact", "paper", "auto"):
        model = deepcopy(fitted)
        if name != "auto":
            model.set_params(period=1 if name == "exact" else period, burn_in=burn_in)
        first_seconds = timed(model.unlearn, position=first)
        before = model.coef_.copy()
        seconds = timed(model.unlearn, position=others)
        report = model.update_report_
        ends[name] = model.coef_.copy()
        found[name] = {
            "first_seconds": first_seconds,
            "seconds": seconds,
            "estimate": report.error_estimate,
            "passes": report.n_passes,
            "refit": report.refit,
            "cache_bytes": report.cache_bytes,
        }
        if name == "exact":
            moved = np.linalg.norm(ends[name] - before)
    for name, one in found.items():
        one["error"] = float(np.linalg.norm(ends[name] - ends["exact"]) / moved)
        one["speed_up"] = found["exact"]["seconds"] / one["seconds"]
    return found


def run(name, folder, n_draws):
    """All rates and draws of one set."""
    load, epochs, period, burn_in = SETS[name]
    X, y = load(folder)
    model = DeltaGradLogisticRegression(
        C=1.0 / (WEIGHT_DECAY * len(y)), solver="sgd", batch_size=16_384,
        max_iter=epochs, learning_rate=0.1, random_state=0,
    )  # fmt: skip
    fit_seconds = timed(model.fit, X=X, y=y)
    draws = {}
    for rate in RATES:
        draws[rate] = []
        for draw in range(n_draws):
            rng = np.random.default_rng([draw, 7])
            rows = rng.choice(len(y), int(rate * len(y)) + 1, replace=False)
            draws[rate].append(edits(model, rows, period, burn_in))
    return {"name": name, "fit_seconds": fit_seconds, "draws": draws}


def markdown(results):
    """A line for every set and rate: medians."""
    lines = [
        "| set | removed | speed-up: auto, paper | error: auto, paper | estimate "
        "| passes | the first edit, of a fit |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for rate, draws in result["draws"].items():

            def median(name, what, draws=draws):
                values = [draw[name][what] for draw in draws]
                known = [value for value in values if value is not None]
                return float(np.median(known)) if known else float("nan")

            n_anew = sum(draw["auto"]["refit"] for draw in draws)
            anew = f" ({n_anew} of {len(draws)} anew)" if n_anew else ""
            first = median("auto", "first_seconds") / result["fit_seconds"]
            lines.append(
                f"| {result['name']} | {float(rate):g} "
                f"| {median('auto', 'speed_up'):.1f}{anew}, "
                f"{median('paper', 'speed_up'):.1f} "
                f"| {median('auto', 'error'):.1e}, {median('paper', 'error'):.1e} "
                f"| {median('auto', 'estimate'):.1e} "
                f"| {median('auto', 'passes'):.2g} | {first:.2f} |"
            )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder with the data sets as .npz files")
    parser.add_argument("--out", default="seeded-results", help="folder for results")
    parser.add_argument("--only", nargs="+", choices=list(SETS), help="names of sets")
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for name in options.only or SETS:
        results.append(run(name, options.data_dir, options.draws))
        print(markdown(results[-1:]), flush=True)
    report = {"environment": environment(), "results": results}
    (folder / "seeded.json").write_text(json.dumps(report, indent=1))
    (folder / "seeded.md").write_text(markdown(results))


if __name__ == "__main__":
    main()
