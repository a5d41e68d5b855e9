"""The default replay (period="auto") beside the paper's settings and the exact retrain.

    python examples/benchmarks/replay.py --data-dir DIR --out replay-results

Every replay is made on a copy of one fit and followed by an exact retrain of that copy
(`partial_refit()`): a speed-up is the ratio of the two, a median over draws, and an
error the distance of the replayed to the retrained coefficients over the distance that
the edit moves them. "By rows read" counts rows instead of seconds. Kernels are compiled
before, and one row is removed before by "auto", so that its curvature is there: what
that first edit takes is told apart. The penalty is that of the fit throughout.

--only takes names of sections, --sets names of data sets ("higgs 10.5M" is run only if
it is named); --quick takes a part of covtype and one draw. A section's results are a
JSON file, written as soon as a data set is done (results of other data sets in it are
kept); all JSON files in the folder make one markdown file.

A copy more or less is hundreds of MB. Where the machine is slow to hand out memory, set
MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=1000000000000.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from _data import standardised
from _environment import environment
from _replay_tables import (
    cache_table,
    edits_table,
    growth_table,
    hard_table,
    online_table,
    tradeoff_table,
)
from _timing import timed
from paper import LEARNING_RATE, WEIGHT_DECAY, Experiment, experiments
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer

from skdeltagrad import DeltaGradLogisticRegression

RATES = (1e-3, 1e-2)
# Not run unless named: it takes minutes, and 14 GB (17 with the settings above).
LARGEST = "higgs 10.5M"
PERIODS = (1, 2, 3, 5, 10, 20, 50)
EDIT_TOLS = (1e-1, 1e-2, 1e-3)
# What errors are asked to stay below: of an edit, and after a sequence.
EDIT_TOL = 2e-2
EDIT_TOL_ONLINE = 3e-2
GROWTH = (10_000, 100_000, 1_000_000, 10_000_000)
AUTO = {"period": "auto"}


@dataclass(frozen=True)
class Case(Experiment):
    """A data set of the paper's, and the schedule that it is trained on."""

    learning_rate: float | str = LEARNING_RATE
    edit_tol: float = EDIT_TOL

    @property
    def paper(self):
        """The paper's settings."""
        return {"period": self.period, "burn_in": self.burn_in}


def cases(folder):
    """All data sets by name; `folder` holds the data."""
    papers = {experiment.name: experiment for experiment in experiments(folder)}

    def case(name, of=None, **changes):
        return Case(**(vars(papers[of or name]) | {"name": name} | changes))

    everything = [
        case("mnist 16384", "mnist"),
        case("mnist full batch"),
        case("mnist 4096"),
        case("mnist 1024"),
        case("covtype 93k"),
        case("covtype 523k"),
        case("higgs 1M"),
        case(LARGEST),
        # At the paper's rate the path hardly moves.
        case("news20, rate 4", "news20", learning_rate=4.0, edit_tol=1e-2),
        case("news20, rate 0.1", "news20", edit_tol=1e-2),
    ]
    return {case.name: case for case in everything}


def breast_cancer():
    """569 x 30, standardised."""
    X, y = load_breast_cancer(return_X_y=True)
    return standardised(X), y


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    folder: str | None
    sets: tuple | None
    n_draws: int
    seed: int
    quick: bool

    def cases(self, *names):
        """Those of some data sets that are to be run."""
        table = cases(self.folder)
        if self.quick:
            # The first rows, in about as many steps.
            load = table["covtype 93k"].load
            table["covtype 93k"] = dataclasses.replace(
                table["covtype 93k"],
                load=lambda: tuple(part[:20_000] for part in load()),
                batch_size=4_000,
            )
            names = [name for name in names if name == "covtype 93k"]
        if self.sets is None:
            return [table[name] for name in names if name != LARGEST]
        return [table[name] for name in names if name in self.sets]

    def rng(self, *more):
        """Random numbers of their own for every use."""
        return np.random.default_rng([self.seed, *more])


# Measuring ------------------------------------------------------------------------


def estimator(case, n_samples):
    """Not fitted; with the paper's penalty, and period="auto"."""
    return DeltaGradLogisticRegression(
        C=1.0 / (WEIGHT_DECAY * n_samples),
        solver=case.solver,
        batch_size=case.batch_size or -(-n_samples // 2),
        max_iter=case.epochs,
        learning_rate=case.learning_rate,
        burn_in=case.burn_in,
        edit_tol=case.edit_tol,
        random_state=0,
    )


def warm_up(model, X, y):
    """Compile all that edits of such rows need."""
    X, y = X[:4_000], y[:4_000]
    model = clone(model).set_params(C=1.0 / (WEIGHT_DECAY * len(y))).fit(X, y)
    for way in (AUTO, AUTO, {"period": 5, "burn_in": 3}):
        model.set_params(**way).unlearn(position=model.update_report_.n_samples - 1)
        model.partial_refit(X[-2:], y[-2:])
    model.partial_refit()


def weights(model):
    """All coefficients."""
    return np.column_stack([model.coef_, model.intercept_])


def remove(rows, model):
    """Take rows out, by position."""
    model.unlearn(position=rows)


def ratio(a, b):
    """Of lengths."""
    return float(np.linalg.norm(a) / np.linalg.norm(b))


class Start:
    """Rows, and a model of them that has lost the first one, by "auto"."""

    def __init__(self, case, n_fits=1):
        self.case = case
        self.X, self.y = case.load()
        self.n_samples = self.X.shape[0]
        self.model = estimator(case, self.n_samples)
        warm_up(self.model, self.X, self.y)
        fits, first_edits = [], []
        for _ in range(n_fits):
            fits.append(timed(self.model.fit, self.X, self.y))
            first_edits.append(timed(remove, 0, self.model))
        self.fit_seconds = float(np.median(fits))
        self.first_edit = float(np.median(np.divide(first_edits, fits)))

    def facts(self):
        """What is the same for all edits."""
        report = self.model.update_report_
        return {
            "name": self.case.name,
            "n_samples": self.n_samples,
            "n_features": self.X.shape[1],
            "n_steps": report.n_steps,
            "fit_seconds": self.fit_seconds,
            "first_edit_of_a_fit": self.first_edit,
            "cache_bytes": report.cache_bytes,
        }

    def draw(self, n_rows, rng):
        """Random rows that are there."""
        return 1 + rng.choice(self.n_samples - 1, n_rows, replace=False)

    def add(self, rows, model):
        """Put rows of X in."""
        model.partial_refit(self.X[rows], self.y[rows])


def replay(model, way, edit):
    """Edit a model, then retrain it exactly: times, error, and what the report says."""
    model.set_params(**way)
    before = weights(model)
    seconds = timed(edit, model)
    report = model.update_report_
    replayed = weights(model)
    retrain_seconds = timed(model.partial_refit)
    exact = weights(model)
    estimate = report.error_estimate
    # In units of all rows; every epoch reads them once.
    epochs = model.max_iter
    touched = (report.n_removed + report.n_added) / report.n_samples
    passes = epochs * report.n_exact_steps / report.n_steps + report.n_passes
    return {
        "seconds": seconds,
        "retrain_seconds": retrain_seconds,
        "speed_up": retrain_seconds / seconds,
        "speed_up_by_rows": epochs / (passes + epochs * touched),
        "error": ratio(replayed - exact, before - exact),
        "estimate": None if estimate is None else float(estimate),
        "n_passes": float(report.n_passes),
        "n_exact_steps": int(report.n_exact_steps),
        "n_steps": int(report.n_steps),
        "refit": bool(report.refit),
        "reason": report.reason,
    }


def compare(start, ways, edit, draw=0, prepare=None):
    """The same edit in several ways, in turns; and the last model, exact again.

    With `prepare`, another edit comes first, by "auto".
    """
    order = list(ways)
    if draw % 2:
        order.reverse()
    found, model = {}, None
    for name in order:
        del model  # before there is another
        model = deepcopy(start)
        if prepare is not None:
            prepare(model.set_params(**AUTO))
        found[name] = replay(model, ways[name], edit)
    return found, model


# Sections -------------------------------------------------------------------------


def edits(options):
    """Deletion and addition of shares of the rows, by "auto" and as in the paper."""
    for case in options.cases(*cases(None)):
        n_draws = 1 if case.name == LARGEST else options.n_draws
        start = Start(case, n_draws)
        result = start.facts() | {"edits": []}
        ways = {"auto": AUTO, "paper": case.paper}
        for rate in RATES:
            n_rows = max(1, round(rate * start.n_samples))
            draws = {"deletion": [], "addition": []}
            for draw in range(n_draws):
                rows = start.draw(n_rows, options.rng(draw, n_rows))
                edit = partial(remove, rows)
                found, without = compare(start.model, ways, edit, draw)
                draws["deletion"].append(found)
                # That one is exact. Adding one row makes curvature, and room: to copies
                # there is none, and all rows would have to be moved.
                edit, first = partial(start.add, rows), partial(start.add, [0])
                found, _ = compare(without, ways, edit, draw, prepare=first)
                draws["addition"].append(found)
                del without, _
            for kind, of_kind in draws.items():
                result["edits"].append(
                    {"kind": kind, "rate": rate, "n_rows": n_rows, "draws": of_kind}
                )
        yield result


def online(options):
    """Single rows removed one after the other, and all at once."""
    names = ("mnist 16384", "covtype 93k", "higgs 1M", "news20, rate 4")
    runs = [(case, 100) for case in options.cases(*names)]
    runs += [(case, 1_000) for case in options.cases("covtype 93k")]
    if options.sets is None or "breast_cancer" in options.sets:
        case = Case("breast_cancer", breast_cancer, None, 200, 5, 10, solver="gd")
        runs.append((case, 200))
    for case, n_requests in runs:
        if options.quick:
            n_requests = n_requests // 10
        start = Start(case)
        rows = start.draw(n_requests, options.rng(n_requests))
        before = weights(start.model)
        start.model.set_params(edit_tol=EDIT_TOL_ONLINE)
        model = deepcopy(start.model)
        seconds, n_refits = [], 0
        for row in rows:
            seconds.append(timed(remove, row, model))
            n_refits += model.update_report_.refit
        replayed = weights(model)
        retrains = [timed(model.partial_refit) for _ in range(3)]
        exact = weights(model)
        del model
        remove(rows, start.model)
        report = start.model.update_report_
        error = ratio(replayed - exact, before - exact)
        batch_error = ratio(weights(start.model) - exact, before - exact)
        yield {
            "name": f"{case.name}, {n_requests:,} requests",
            "n_requests": n_requests,
            "seconds": sum(seconds),
            "median_seconds": float(np.median(seconds)),
            "retrain_seconds": float(np.median(retrains)),
            "speed_up": float(np.median(retrains) * n_requests / sum(seconds)),
            "error": error,
            "batch_error": batch_error,
            "batch_estimate": report.error_estimate,
            "batch_refit": report.refit,
            "ratio": error / batch_error if batch_error > 0.0 else None,
            "n_refits": n_refits,
        }


def hard(options):
    """Edits that change the path much."""
    for case in options.cases("mnist 16384", "covtype 93k", "higgs 1M"):
        start = Start(case)
        ways = {"auto": AUTO, "paper": case.paper}
        percent = start.n_samples // 100
        result = start.facts() | {"edits": []}
        choices = {
            "1%, all of one class": _of_one_class,
            "1%, of the largest loss": _of_largest_loss,
            "20%": lambda start, _, rng: start.draw(start.n_samples // 5, rng),
        }
        for number, (kind, choose) in enumerate(choices.items()):
            draws = []
            for draw in range(options.n_draws):
                rows = choose(start, percent, options.rng(draw, number))
                edit = partial(remove, rows)
                draws.append(compare(start.model, ways, edit, draw)[0])
            result["edits"].append({"kind": kind, "n_rows": len(rows), "draws": draws})
        yield result


def _of_one_class(start, n_rows, rng):
    """Rows of the rarest class of which half can go."""
    labels, counts = np.unique(start.y[1:], return_counts=True)
    counts = np.where(counts >= 2 * n_rows, counts, start.n_samples)
    members = 1 + np.flatnonzero(start.y[1:] == labels[np.argmin(counts)])
    return rng.choice(members, n_rows, replace=False)


def _of_largest_loss(start, n_rows, rng):
    """Rows that the model finds least likely."""
    codes = np.searchsorted(start.model.classes_, start.y)
    gain = start.model.predict_log_proba(start.X)[np.arange(start.n_samples), codes]
    gain[0] = np.inf  # is not there
    return np.argpartition(gain, n_rows)[:n_rows]


def growth(options):
    """Ten rows out of more and more, next to the exact retrain."""
    for n_samples in GROWTH[:2] if options.quick else GROWTH:
        X, y = _synthetic(n_samples)
        case = Case("growth", None, None, 50, 5, 10, solver="gd")
        model = estimator(case, n_samples)
        warm_up(model, X, y)
        fit_seconds = timed(model.fit, X, y)
        del X
        rows = options.rng(n_samples).choice(n_samples, (4, 10), replace=False)
        first_seconds = timed(remove, rows[0], model)
        exact = deepcopy(model)
        seconds, retrains = [], []
        for some in rows[1:]:
            seconds.append(timed(remove, some, model))
            retrains.append(timed(exact.partial_refit))
        report = model.update_report_
        yield {
            "name": f"{n_samples:,}",
            "n_samples": n_samples,
            "fit_seconds": fit_seconds,
            "first_seconds": first_seconds,
            "seconds": float(np.median(seconds)),
            "retrain_seconds": float(np.median(retrains)),
            "estimate": report.error_estimate,
            "n_passes": report.n_passes,
            "refit": report.refit,
        }
        del model, exact


def _synthetic(n_samples, n_features=28):
    """float32 rows and two classes, made a part at a time."""
    rng = np.random.default_rng(2)
    direction = rng.standard_normal(n_features) / np.sqrt(n_features)
    X = np.empty((n_samples, n_features), np.float32)
    y = np.empty(n_samples, np.int64)
    for first in range(0, n_samples, 250_000):
        part = X[first : first + 250_000]
        part[:] = rng.standard_normal(part.shape, np.float32)
        noise = rng.logistic(size=len(part))
        y[first : first + 250_000] = part @ direction + noise > 0.0
    return X, y


def tradeoff(options):
    """Error and speed-up of 1% removed, by the paper's periods and our edit_tol."""
    ways = {f"period={period}": {"period": period, "burn_in": 10} for period in PERIODS}
    ways |= {f"edit_tol={tol:g}": AUTO | {"edit_tol": tol} for tol in EDIT_TOLS}
    for case in options.cases("covtype 93k", "mnist 16384"):
        start = Start(case)
        n_rows = start.n_samples // 100
        draws = []
        for draw in range(options.n_draws):
            rows = start.draw(n_rows, options.rng(draw, n_rows))
            found, _ = compare(start.model, ways, partial(remove, rows), draw)
            draws.append(found)
        yield start.facts() | {"n_rows": n_rows, "draws": draws}


def cache(options):
    """Bytes that are kept, after the fit and after an edit."""
    for case in options.cases("covtype 93k"):
        case = dataclasses.replace(case, solver="gd", epochs=50)
        X, y = case.load()
        model = estimator(case, len(y)).fit(X, y)
        report = model.update_report_
        n_coef, n_steps = weights(model).size, report.n_steps
        remove(0, model)
        yield {
            "name": case.name,
            "n_steps": n_steps,
            "n_coefficients": n_coef,
            "run_bytes": 2 * n_steps * n_coef * 8,
            "cache_bytes": report.cache_bytes,
            "cache_bytes_after_an_edit": model.update_report_.cache_bytes,
        }


@dataclass(frozen=True)
class Section:
    """What is measured, by data set, and how it is shown."""

    title: str
    measure: Callable
    table: Callable


SECTIONS = {
    "edits": Section("Edits", edits, edits_table),
    "online": Section("Single rows in sequence", online, online_table),
    "hard": Section("Hard edits", hard, hard_table),
    "growth": Section("Ten rows out of more and more", growth, growth_table),
    "tradeoff": Section("Speed against error", tradeoff, tradeoff_table),
    "cache": Section("Memory", cache, cache_table),
}


def keep(file, result):
    """Put a result into a file, in place of one of the same name."""
    results = json.loads(file.read_text()) if file.exists() else []
    names = [other["name"] for other in results]
    if result["name"] in names:
        results[names.index(result["name"])] = result
    else:
        results.append(result)
    file.write_text(json.dumps(results, indent=1))


def markdown(folder):
    """All that the folder holds."""
    parts = []
    for name, section in SECTIONS.items():
        file = folder / f"{name}.json"
        if file.exists():
            shown = section.table(json.loads(file.read_text()))
            parts.append(f"## {section.title}\n\n{shown}")
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder with the data sets as .npz files")
    parser.add_argument("--out", default="replay-results", help="folder for results")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=SECTIONS)
    parser.add_argument("--sets", nargs="+", help="names of data sets")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    known = [*cases(None), "breast_cancer"]
    for name in set(asked.sets or ()) - set(known):
        parser.error(f"--sets: {name!r} is none of {', '.join(map(repr, known))}")
    options = Options(
        asked.data_dir, asked.sets, 1 if asked.quick else asked.draws, asked.seed,
        asked.quick,
    )  # fmt: skip
    folder = Path(asked.out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in asked.only:
        section, file, results = SECTIONS[name], folder / f"{name}.json", []
        started = perf_counter()
        for result in section.measure(options):
            spent = perf_counter() - started
            print(f"{name}, {result['name']}: {spent:.0f} s", flush=True)
            results.append(result | {"environment": environment()})
            keep(file, results[-1])
            started = perf_counter()
        if results:
            print(section.table(results), flush=True)
        (folder / "replay.md").write_text(markdown(folder))


if __name__ == "__main__":
    main()
