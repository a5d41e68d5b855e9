"""The default replay (period="auto") beside the paper's settings and the exact retrain.

    python examples/benchmarks/replay.py --data-dir DIR --out replay-results

Every replay is made on a copy of one fitted model and followed by an exact retrain of
that copy (`partial_refit()`). A speed-up is the ratio of the two times, a median over
draws. An error is the distance of the replayed from the retrained coefficients, divided
by the distance that the edit moves them. "By rows read" counts rows instead of seconds.
Before any measurement the kernels are compiled, and one row is removed with
period="auto", which computes the Hessians along the path: the cost of that first edit
is a column of its own. The penalty is that of the fit throughout.

--only takes names of sections, --sets names of data sets ("higgs 10.5M" is run only if
it is named); --quick takes a part of covtype and one draw. Results of a section are a
JSON file, written as soon as a data set is measured; results of other data sets in it
are kept. All JSON files in the folder make one Markdown file.

A copy of the model can take hundreds of MB. If the machine is slow to hand out memory,
set MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=1000000000000.
"""

import dataclasses
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import estimates
import numpy as np
from _command import Results, environment, parser
from _data import covtype, standardised
from _internals import replays_at_any_price
from _replay_tables import (
    cache_table,
    decisions_table,
    edits_table,
    growth_table,
    hard_table,
    online_table,
    tradeoff_table,
)
from _timing import timed
from paper import LEARNING_RATE, WEIGHT_DECAY, Experiment, experiments
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, make_regression

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

RATES = (1e-3, 1e-2)
# Not run unless named: it takes minutes and 14 GB (17 GB with the settings above).
LARGEST = "higgs 10.5M"
PERIODS = (1, 2, 3, 5, 10, 20, 50)
EDIT_TOLS = (1e-1, 1e-2, 1e-3)
# Largest accepted error of one edit, and of a sequence of edits.
EDIT_TOL = 2e-2
EDIT_TOL_ONLINE = 3e-2
GROWTH = (10_000, 100_000, 1_000_000, 10_000_000)
AUTO = {"period": "auto"}


@dataclass(frozen=True)
class Case(Experiment):
    """A data set of the paper, with a learning rate and a largest accepted error."""

    learning_rate: float | str = LEARNING_RATE
    edit_tol: float = EDIT_TOL

    @property
    def paper(self):
        """The paper's period and burn-in."""
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
    """Options of the command line."""

    folder: str | None
    sets: tuple | None
    n_draws: int
    seed: int
    quick: bool

    def cases(self, *names):
        """Those of the named data sets that the options select."""
        table = cases(self.folder)
        if self.quick:
            # With smaller batches the number of steps is about the same.
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
        """A random number generator that no other use shares."""
        return np.random.default_rng([self.seed, *more])


def narrow(folder):
    """245,000 x 3: most of the time of a step is not spent on multiplications."""
    X, y = _synthetic(245_000, 3)
    return X.astype(float), y


def narrow_regression(folder):
    """46,000 x 9."""
    X, y = make_regression(46_000, 9, noise=100.0, random_state=0)
    return X, y / y.std()


NARROW = {
    "narrow, 245k x 3": narrow,
    "narrow regression, 46k x 9": narrow_regression,
    "covtype, all rows": covtype,
}


# Measuring ------------------------------------------------------------------------


def estimator(case, n_samples):
    """An estimator with period="auto", not fitted."""
    return case.estimator(
        n_samples, learning_rate=case.learning_rate, edit_tol=case.edit_tol
    )


def warm_up(model, X, y):
    """Compile the kernels that edits of such rows need.

    The few rows of the warm-up would be retrained rather than replayed by "auto".
    """
    X, y = X[:4_000], y[:4_000]
    model = clone(model).set_params(C=1.0 / (WEIGHT_DECAY * len(y))).fit(X, y)
    with replays_at_any_price():
        for way in (AUTO, AUTO, {"period": 5, "burn_in": 3}):
            model.set_params(**way)
            model.unlearn(position=model.update_report_.n_samples - 1)
            model.partial_refit(X[-2:], y[-2:])
    model.partial_refit()


def weights(model):
    """Coefficients and intercepts, (n_outputs, n_features + 1)."""
    return np.column_stack([model.coef_, model.intercept_])


def remove(rows, model):
    """Unlearn rows by position; the model comes last for `partial`."""
    model.unlearn(position=rows)


def ratio(a, b):
    """Ratio of two norms."""
    return float(np.linalg.norm(a) / np.linalg.norm(b))


class Start:
    """Rows, and a model of them that has unlearned the first one with "auto"."""

    def __init__(self, case, n_fits=1):
        self.case = case
        self.X, self.y = case.load()
        self.n_samples = self.X.shape[0]
        self.model = estimator(case, self.n_samples)
        warm_up(self.model, self.X, self.y)
        fits, first_edits = [], []
        for _ in range(n_fits):
            fits.append(timed(self.model.fit, self.X, self.y).wall)
            if not first_edits and case.name != LARGEST:
                # Compiles kernels that only edits of many rows need.
                remove(0, deepcopy(self.model))
            first_edits.append(timed(remove, 0, self.model).wall)
        self.fit_seconds = float(np.median(fits))
        self.first_edit = float(np.median(np.divide(first_edits, fits)))

    def facts(self):
        """Figures that all edits share."""
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
        """Random rows of the current training rows."""
        return 1 + rng.choice(self.n_samples - 1, n_rows, replace=False)

    def add(self, rows, model):
        """Add rows of X."""
        model.partial_refit(self.X[rows], self.y[rows])


def replay(model, way, edit):
    """Edit a model, then retrain it exactly: times, error and figures of the report."""
    model.set_params(**way)
    before = weights(model)
    seconds = timed(edit, model).wall
    report = model.update_report_
    replayed = weights(model)
    retrain_seconds = timed(model.partial_refit).wall
    exact = weights(model)
    estimate = report.error_estimate
    # In passes over all rows; every epoch reads them once.
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
    """Make the same edit in several ways, alternately.

    With `prepare`, another edit is made before, with "auto". Returns the figures of
    each way, and the last model after its exact retrain.
    """
    order = list(ways)
    if draw % 2:
        order.reverse()
    found, model = {}, None
    for name in order:
        del model  # frees its memory before the next copy is made
        model = deepcopy(start)
        if prepare is not None:
            prepare(model.set_params(**AUTO))
        found[name] = replay(model, ways[name], edit)
    return found, model


# Sections -------------------------------------------------------------------------


def edits(options):
    """Deletion and addition of some rows, with "auto" and as in the paper."""
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
                # `without` was retrained exactly. Adding one row before the measurement
                # computes its Hessians and makes room: a copy has no spare room, so
                # that the first addition moves all rows.
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
    """Single rows removed one after the other, and all of them in one edit."""
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
            seconds.append(timed(remove, row, model).wall)
            n_refits += model.update_report_.refit
        replayed = weights(model)
        retrains = [timed(model.partial_refit).wall for _ in range(3)]
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
    """Edits that change the path a lot."""
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
    """Rows of the rarest class that has twice as many."""
    labels, counts = np.unique(start.y[1:], return_counts=True)
    counts = np.where(counts >= 2 * n_rows, counts, start.n_samples)
    members = 1 + np.flatnonzero(start.y[1:] == labels[np.argmin(counts)])
    return rng.choice(members, n_rows, replace=False)


def _of_largest_loss(start, n_rows, rng):
    """Rows that the model finds least likely."""
    codes = np.searchsorted(start.model.classes_, start.y)
    gain = start.model.predict_log_proba(start.X)[np.arange(start.n_samples), codes]
    gain[0] = np.inf  # was unlearned before
    return np.argpartition(gain, n_rows)[:n_rows]


def growth(options):
    """Ten rows removed from more and more, and the exact retrain."""
    for n_samples in GROWTH[:2] if options.quick else GROWTH:
        X, y = _synthetic(n_samples)
        case = Case("growth", None, None, 50, 5, 10, solver="gd")
        model = estimator(case, n_samples)
        warm_up(model, X, y)
        fit_seconds = timed(model.fit, X, y).wall
        del X
        rows = options.rng(n_samples).choice(n_samples, (4, 10), replace=False)
        first_seconds = timed(remove, rows[0], model).wall
        exact = deepcopy(model)
        seconds, retrains = [], []
        for some in rows[1:]:
            seconds.append(timed(remove, some, model).wall)
            retrains.append(timed(exact.partial_refit).wall)
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
    """float32 rows and two classes, generated in parts to save memory."""
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
    """Error and speed-up of a removal of 1%, for several periods and `edit_tol`."""
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
    """Bytes of the cached path after the fit and after an edit."""
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


SCHEDULES = {
    "gd, 100 epochs": {"solver": "gd", "max_iter": 100},
    "gd, 20 epochs": {"solver": "gd", "max_iter": 20},
    "sgd, 30 epochs of 15 batches": {"solver": "sgd", "max_iter": 30},
    "sgd, 20 epochs of 512 rows": {"solver": "sgd", "max_iter": 20, "batch_size": 512},
}


def decisions(options):
    """What is replayed or retrained, and the times of both.

    Every edit is replayed on a copy, by force if it would be retrained for its cost
    (`_internals.replays_at_any_price`), and the copy is then retrained. Only replays
    that end within `edit_tol` are counted.
    """
    sets = NARROW | {name: load for name, (load, _) in estimates.SETS.items()}
    for name, load in sets.items():
        if options.sets is not None and name not in options.sets:
            continue
        if options.folder is None and name in estimates.OF_FILES:
            continue
        X, y = load(options.folder)
        changes = estimates.SETS.get(name, (None, {}))[1]
        result = {"name": name, "schedules": {}}
        for title, schedule in SCHEDULES.items():
            model = _fitted(X, y, schedule, changes.get("learning_rate", 0.1))
            result["schedules"][title] = list(_decided(model, options))
        yield result


def _fitted(X, y, schedule, learning_rate):
    """A model with Hessian checkpoints, if those are affordable."""
    n_samples = X.shape[0]
    schedule = {"batch_size": n_samples // 15} | schedule | {"random_state": 0}
    if schedule["solver"] == "gd":
        del schedule["batch_size"]
    if np.issubdtype(y.dtype, np.floating):
        if schedule["solver"] == "gd":
            learning_rate = "auto"
        model = DeltaGradRidge(WEIGHT_DECAY * n_samples, **schedule)
    else:
        model = DeltaGradLogisticRegression(1 / (WEIGHT_DECAY * n_samples), **schedule)
    model.set_params(learning_rate=learning_rate).fit(X, y)
    with replays_at_any_price():
        return model.unlearn(position=0)


def _decided(model, options):
    """Yield figures of edits of a model."""
    n_samples = model.update_report_.n_samples
    for n_rows in (1, max(2, n_samples // 1_000), n_samples // 100):
        rows = 1 + options.rng(n_rows).choice(n_samples - 1, n_rows, replace=False)
        reason = model.plan_unfit(position=rows).reason
        replays, retrains = [], []
        for _ in range(options.n_draws):
            copy = deepcopy(model)
            with replays_at_any_price():
                replays.append(timed(remove, rows, copy).wall)
            within = not copy.update_report_.refit
            retrains.append(timed(copy.partial_refit).wall)
        yield {
            "n_rows": n_rows,
            "reason": reason,
            "within_edit_tol": within,
            "speed_up": float(np.median(retrains) / np.median(replays)),
        }


@dataclass(frozen=True)
class Section:
    """A generator of results, one for each data set, and the table that shows them."""

    title: str
    measure: Callable
    table: Callable


SECTIONS = {
    "edits": Section("Edits", edits, edits_table),
    "online": Section("Single rows in sequence", online, online_table),
    "hard": Section("Hard edits", hard, hard_table),
    "growth": Section("Ten rows removed from more and more", growth, growth_table),
    "tradeoff": Section("Speed against error", tradeoff, tradeoff_table),
    "cache": Section("Memory", cache, cache_table),
    "decisions": Section("Replayed or retrained", decisions, decisions_table),
}


def replaced(results, result):
    """Results with another one, which takes the place of one of the same name."""
    others = {other["name"]: other for other in results}
    return list((others | {result["name"]: result}).values())


def markdown(results):
    """Tables of all sections that have results."""
    return "\n".join(
        f"## {SECTIONS[name].title}\n\n{SECTIONS[name].table(found)}"
        for name, found in results.read(SECTIONS).items()
    )


def main():
    command = parser(__doc__, data=True, out="replay-results", only=SECTIONS)
    known = [*cases(None), "breast_cancer", *NARROW, *estimates.SETS]
    command.add_argument(
        "--sets", nargs="+", metavar="NAME", choices=known,
        help="which of: " + ", ".join(map(repr, known)),
    )  # fmt: skip
    command.add_argument("--draws", type=int, default=3, help="random sets of rows")
    command.add_argument("--seed", type=int, default=7)
    command.add_argument("--quick", action="store_true")
    asked = command.parse_args()
    n_draws = 1 if asked.quick else asked.draws
    options = Options(asked.data_dir, asked.sets, n_draws, asked.seed, asked.quick)
    results = Results(asked.out)
    for name in asked.only:
        section, new = SECTIONS[name], []
        started = perf_counter()
        for result in section.measure(options):
            spent = perf_counter() - started
            print(f"{name}, {result['name']}: {spent:.0f} s", flush=True)
            new.append(result | {"environment": environment()})
            kept = results.read([name]).get(name, [])
            results.write(name, replaced(kept, new[-1]))
            started = perf_counter()
        if new:
            print(section.table(new), flush=True)
    results.write_markdown("replay", markdown(results), show=False)


if __name__ == "__main__":
    main()
