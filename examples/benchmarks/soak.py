"""A hundred thousand edits of one row each: what they leave of accuracy and memory.

    python examples/benchmarks/soak.py --data-dir DIR --out soak-results
    python examples/benchmarks/plot_soak.py soak-results doc/images/soak.svg

A model is edited by one row at a time: rows leave, come back, and are corrected, by
position, by id and by content. Now and then it is held against a fresh fit of the rows
that are there, made here and polished: the error is the distance from it in the norm of
the Hessian, as a share of what is allowed: `edit_tol` of the way from where the rows
were last read, and units in the last place of the iterate and of raw predictions. The
bound that is reported is watched after every edit, as a share of the same.
Memory is that of the process and that of all arrays that the estimator holds.

Sets: a9a; 5,000 x 30 made rows whose matrix X'X has condition 1e10, in two classes and
as a Ridge problem; and, for a replayed path, a sample of HIGGS with fewer edits.

--quick makes 1,000 edits; --only takes names of sets.
"""

import argparse
import gc
import json
import resource
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import _data
import numpy as np
from _environment import environment
from scipy.linalg import solve_triangular
from scipy.special import expit
from sklearn.linear_model import Ridge

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

N_CHECKS = 40
CONDITION = 1e10
# Shares of edits, and of the ways that rows are named.
EDITS = {"remove": 0.35, "add": 0.35, "correct": 0.3}
WAYS = {"position": 0.6, "id": 0.3, "content": 0.1}
# Rows that wait to come back, at most, as a share of all.
MOST_AWAY = 0.02
# What no bound can undercut: units in the last place of the iterate, and of what raw
# predictions are sums of.
EPS = np.finfo(float).eps


@dataclass(frozen=True)
class Soak:
    """A model, its rows, and how often it is edited."""

    name: str
    load: Callable
    model: Callable
    n_edits: int = 100_000
    n_checks: int = N_CHECKS


def soaks(folder):
    """The table; `folder` holds the data sets."""
    least = CONDITION**-0.5
    return [
        Soak("a9a", lambda: _data.a9a(folder), lambda: DeltaGradLogisticRegression()),
        Soak(
            "condition 1e10, two classes",
            lambda: ill_conditioned(classes=True),
            lambda: DeltaGradLogisticRegression(C=1e3 / least**2),
        ),
        Soak(
            "condition 1e10, Ridge",
            lambda: ill_conditioned(classes=False),
            lambda: DeltaGradRidge(1e-3 * least**2),
        ),
        Soak(
            "gd, higgs",
            lambda: _data.higgs(folder),
            lambda: DeltaGradLogisticRegression(solver="gd", max_iter=300),
            2_000,
            20,
        ),
    ]


def ill_conditioned(classes):
    """Rows whose columns' scales go from 1 to 1e-5, rotated."""
    rng = np.random.default_rng(3)
    n_samples, n_features = 5_000, 30
    scale = np.geomspace(1.0, CONDITION**-0.5, n_features)
    rotation, _ = np.linalg.qr(rng.standard_normal((n_features, n_features)))
    X = rng.standard_normal((n_samples, n_features)) * scale @ rotation
    raw = X.sum(axis=1)
    if classes:
        return X, (raw + rng.logistic(size=n_samples) > 0).astype(int)
    return X, raw + rng.standard_normal(n_samples)


class Rows:
    """Who is there: the number of the row at every position that was ever given out.

    All arrays are as long as they will ever be from the start, so that what grows is
    the estimator's.
    """

    def __init__(self, n_samples, n_edits):
        self.at = np.zeros(n_samples + n_edits, np.int64)
        self.at[:n_samples] = np.arange(n_samples)
        self.n_positions = n_samples
        self.there = np.arange(n_samples)  # positions; the first `n_there`
        self.n_there = n_samples
        self.id_of = np.arange(n_samples)
        self.away = np.zeros(n_samples, np.int64)  # rows; the first `n_away`
        self.n_away = 0

    @property
    def live(self):
        """Rows that are there."""
        return self.at[self.there[: self.n_there]]

    def leave(self, place):
        """The row at the `place`-th live position leaves; its position and number."""
        position = self.there[place]
        self.n_there -= 1
        self.there[place] = self.there[self.n_there]
        row = self.at[position]
        self.away[self.n_away] = row
        self.n_away += 1
        return position, row

    def come(self, place):
        """The `place`-th row that is away comes back, at a new position."""
        row = self.away[place]
        self.n_away -= 1
        self.away[place] = self.away[self.n_away]
        self.at[self.n_positions] = row
        self.there[self.n_there] = self.n_positions
        self.n_positions += 1
        self.n_there += 1
        return row

    def correct(self, place, place_away):
        """A row takes the position and the id of another; both, and the id."""
        position = self.there[place]
        old, new = self.at[position], self.away[place_away]
        self.at[position], self.away[place_away] = new, old
        self.id_of[[old, new]] = self.id_of[[new, old]]
        return new, self.id_of[new]

    def exchange(self, place, place_away):
        """A row leaves its position and another comes at a new one."""
        position, _ = self.leave(place)
        return position, self.come(place_away)


class Editor:
    """Makes edits of one row, by chance."""

    def __init__(self, model, X, y, n_edits):
        self.model, self.X, self.y = model, X, y
        self.rows = Rows(len(y), n_edits)
        self.rng = np.random.default_rng(0)
        _, first, copies = np.unique(
            np.column_stack([X, y]), axis=0, return_inverse=True, return_counts=True
        )
        self.has_copies = copies[first.ravel()] > 1
        self.most_away = max(2, int(MOST_AWAY * len(y)))

    def edit(self):
        """One edit; its seconds."""
        rows, rng = self.rows, self.rng
        kind = rng.choice(list(EDITS), p=list(EDITS.values()))
        way = rng.choice(list(WAYS), p=list(WAYS.values()))
        if rows.n_away == 0 or (kind == "add" and rows.n_away < 2):
            kind = "remove"
        elif kind == "remove" and rows.n_away >= self.most_away:
            kind = "add"
        place = rng.integers(rows.n_there)
        started = perf_counter()
        if kind == "remove":
            position, row = rows.leave(place)
            self._remove(way, position, row)
        elif kind == "add":
            row = rows.come(rng.integers(rows.n_away))
            self._add(row, rows.id_of[row])
        elif way == "id":
            row, name = rows.correct(place, rng.integers(rows.n_away))
            self._add(row, name, replace=True)
        else:
            position, row = rows.exchange(place, rng.integers(rows.n_away))
            self._add(row, rows.id_of[row], remove_position=position)
        return perf_counter() - started

    def _add(self, row, name, **how):
        X, y = self.X[[row]], self.y[[row]]
        self.model.partial_refit(X, y, sample_id=[name], **how)

    def _remove(self, way, position, row):
        if way == "content" and self.has_copies[row]:
            way = "position"  # any of the copies would leave
        if way == "position":
            self.model.unlearn(position=position)
        elif way == "id":
            self.model.unlearn(sample_id=[self.rows.id_of[row]])
        else:
            self.model.unlearn(self.X[[row]], self.y[[row]])


# The exact optimum of the rows that are there, and distances from it.


def centred(X, centre):
    """Rows about a centre, with a column of ones."""
    return np.column_stack([X - centre, np.ones(len(X))])


def polished(X, y, alpha, start, steps=30):
    """The optimum of two classes by Newton's method, until rounding is left.

    Systems are solved by a QR decomposition of the weighted rows, whose condition is
    the root of the Hessian's.
    """
    penalty = np.full(X.shape[1], alpha)
    penalty[-1] = 0.0
    best, least = start, np.inf
    iterate = start
    for _ in range(steps):
        probability = expit(X @ iterate)
        gradient = X.T @ (probability - y) + penalty * iterate
        factor = roots(X, probability * (1.0 - probability), penalty)
        half = solve_triangular(factor, gradient, trans="T")
        left = np.linalg.norm(half)
        if left >= 0.5 * least:
            break
        best, least = iterate, left
        iterate = iterate - solve_triangular(factor, half)
    return best


def roots(X, curvature, penalty):
    """R with R'R = X' diag(curvature) X + diag(penalty)."""
    weighted = np.concatenate(
        [X * np.sqrt(curvature)[:, np.newaxis], np.diag(np.sqrt(penalty))]
    )
    return np.linalg.qr(weighted, mode="r")


def compare(model, X, y, before):
    """Error of a model as a share of the way from a reference, and that way."""
    engine = model._path
    rows = centred(X, engine.centre)
    iterate, alpha = engine.iterate[0], float(engine.alpha[0])
    if isinstance(model, DeltaGradRidge):
        mean = rows[:, :-1].mean(axis=0)
        found = Ridge(alpha, solver="svd").fit(rows[:, :-1] - mean, y)
        exact = np.append(found.coef_, found.intercept_ - mean @ found.coef_)
        curvature = np.ones(len(rows))
    else:
        exact = polished(rows, y, alpha, iterate)
        probability = expit(rows @ exact)
        curvature = probability * (1.0 - probability)

    def norm(vector):
        squared = curvature @ (rows @ vector) ** 2 + alpha * np.sum(vector[:-1] ** 2)
        return float(np.sqrt(squared))

    error, way = norm(iterate - exact), norm(iterate - before)
    columns = np.sqrt(curvature @ rows**2)
    floor = 100.0 * EPS * norm(exact) + 4.0 * EPS * np.abs(exact) @ columns
    return {
        "distance": error,
        "way": way,
        "floor": float(floor),
        "error": error / (model.edit_tol * way + floor),
        "relative": error / norm(exact),
    }


# Memory.


def resident_bytes():
    """Memory of the process now, or its peak where that is not told."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held_bytes(thing, seen=None):
    """Memory of all arrays that an object holds, each once."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        if thing.base is not None:
            return held_bytes(thing.base, seen)
        return thing.nbytes
    parts = getattr(thing, "__dict__", {})
    parts = parts.values() if isinstance(parts, dict) else ()
    if isinstance(thing, dict):
        parts = thing.values()
    elif isinstance(thing, (list, tuple)):
        parts = thing
    return sum(held_bytes(part, seen) for part in parts)


# The run.


def run(soak, n_edits, file):
    """All measurements of one soak, written at every check: it takes long."""
    warnings.simplefilter("error")  # a fit that does not converge is a result, too
    X, y = soak.load()
    model = soak.model().fit(X, y, sample_id=np.arange(len(y)))
    is_path = model.solver != "newton"
    editor = Editor(model, X, y, n_edits)
    checks = set(np.unique(np.linspace(0, n_edits, soak.n_checks + 1)[1:].astype(int)))
    result = {
        "name": soak.name,
        "n_samples": len(y),
        "n_features": X.shape[1],
        "environment": environment(),
        "edit_tol": model.edit_tol,
        "resident_at_first": resident_bytes(),
        "held_at_first": held_bytes(vars(model)),
        "checks": [],
    }
    window = Window(model)
    if not is_path:  # the floor, for the bounds until the first look
        window.floor = compare(model, X, y, model._path.reference[0])["floor"]
    for number in range(1, n_edits + 1):
        before = None if is_path else model._path.reference[0]
        window.add(editor.edit(), model.update_report_)
        if number not in checks:
            continue
        live = editor.rows.live
        if is_path:
            found = {}
            if number == n_edits:
                found = retrained(model)
        else:
            found = compare(model, X[live], y[live], before)
            window.floor = found["floor"]
        del live
        gc.collect()
        found |= window.close() | {
            "edit": number,
            "resident": resident_bytes(),
            "held": held_bytes(vars(model)),
            "n_samples": model.update_report_.n_samples,
            "n_positions": int(model._training_set.roster.n_positions),
        }
        result["checks"].append(found)
        result |= {"n_edits": number} | window.all()
        file.write_text(json.dumps(result, indent=1))
        print(soak.name, found, flush=True)


def retrained(model):
    """How far a replayed path is from its exact retrain."""
    replayed = model.coef_.copy()
    model.partial_refit()
    size = np.linalg.norm(model.coef_)
    return {"relative": float(np.linalg.norm(replayed - model.coef_) / size)}


class Window:
    """What edits reported since the last look."""

    def __init__(self, model):
        self.edit_tol = model.edit_tol
        self.is_path = model.solver != "newton"
        self.floor = 0.0
        self.number = self.refits = self.without = 0
        self.seconds = self.passes = self.hessians = self.worst = 0.0
        self.totals = np.zeros(6)
        self.largest = 0.0

    def add(self, seconds, report):
        """One edit."""
        self.number += 1
        self.seconds += seconds
        self.passes += report.n_passes + report.n_exact_steps  # of gd: a pass each
        self.hessians += report.n_hessians
        self.refits += report.refit
        if self.is_path:
            if report.error_estimate is not None:
                self.worst = max(self.worst, report.error_estimate / self.edit_tol)
        elif report.relative_bound is None:
            self.without += 1
        else:
            way = report.distance_bound / report.relative_bound
            allowed = self.edit_tol * way + self.floor
            self.worst = max(self.worst, report.distance_bound / allowed)

    def close(self):
        """Means of the window; a new one begins."""
        self.totals += (
            self.number, self.seconds, self.passes, self.hessians, self.refits,
            self.without,
        )  # fmt: skip
        self.largest = max(self.largest, self.worst)
        found = {
            "seconds": self.seconds / self.number,
            "passes": self.passes / self.number,
            "hessians": self.hessians,
            "refits": self.refits,
            "without_bound": self.without,
            "largest_bound": self.worst,
        }
        self.seconds = self.passes = self.hessians = self.worst = 0.0
        self.refits = self.without = self.number = 0
        return found

    def all(self):
        """Totals of the whole run."""
        number, seconds, passes, hessians, refits, without = self.totals.tolist()
        return {
            "seconds": seconds / number,
            "passes": passes / number,
            "hessians": hessians,
            "refits": refits,
            "without_bound": without,
            "largest_bound": self.largest,
        }


def markdown(results):
    """A line for each run."""
    lines = [
        "| set | edits | largest error, of what is allowed | largest bound, of the "
        "same | without a bound | fitted anew | relative error at the end | "
        "passes per edit | Hessians | time per edit: first tenth, last | "
        "arrays held: first, last | resident: first check, last |",
        "|---" * 12 + "|",
    ]
    for result in results:
        checks = result["checks"]
        tenth = max(1, len(checks) // 10)
        times = [
            1e3 * np.mean([check["seconds"] for check in part])
            for part in (checks[:tenth], checks[-tenth:])
        ]
        shares = [check["error"] for check in checks if "error" in check]
        largest = f"{max(shares):.1e}" if shares else ""
        held = [result["held_at_first"], checks[-1]["held"]]
        resident = [checks[0]["resident"], checks[-1]["resident"]]
        lines.append(
            f"| {result['name']} | {result['n_edits']:,} | {largest} | "
            f"{result['largest_bound']:.2g} | {result['without_bound']:.0f} | "
            f"{result['refits']:.0f} | {checks[-1]['relative']:.1e} | "
            f"{result['passes']:.3g} | {result['hessians']:.0f} | "
            f"{times[0]:.1f}, {times[1]:.1f} ms | "
            f"{held[0] / 1e6:.1f}, {held[1] / 1e6:.1f} MB | "
            f"{resident[0] / 1e6:.0f}, {resident[1] / 1e6:.0f} MB |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder with the data sets as .npz files")
    parser.add_argument("--out", default="soak-results", help="folder for results")
    parser.add_argument("--only", nargs="+", help="names of sets")
    parser.add_argument("--quick", action="store_true", help="1,000 edits each")
    options = parser.parse_args()
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    table = soaks(options.data_dir)
    for soak in table:
        if options.only and soak.name not in options.only:
            continue
        n_edits = min(soak.n_edits, 1_000) if options.quick else soak.n_edits
        run(
            soak,
            n_edits,
            folder / f"{soak.name.replace(' ', '-').replace(',', '')}.json",
        )
    names = [soak.name for soak in table]
    results = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    results.sort(key=lambda result: names.index(result["name"]))
    (folder / "soak.md").write_text(markdown(results))
    print((folder / "soak.md").read_text())


if __name__ == "__main__":
    main()
