"""A hundred thousand edits of one row each: how do accuracy and memory develop?

    python examples/benchmarks/soak.py --data-dir DIR --out soak-results
    python examples/benchmarks/plot_soak.py soak-results doc/images/soak.svg

Single rows of a model are removed, added again and corrected; they are named by
position, by id and by content. At regular checks the model is compared with the exact
optimum of the current training rows, computed here. The error is the distance from that
optimum in the norm of the Hessian, as a fraction of the accepted distance: `edit_tol`
times the distance moved since the rows were last read, plus some units in the last
place of the iterate and of raw predictions. The reported bound is recorded after every
edit, as a fraction of the same. Memory is that of the process and that of all arrays of
the estimator.

Data sets: a9a; 5,000 x 30 random rows whose matrix X'X has condition 1e10, in two
classes and as a Ridge problem; and, for a replayed path, a sample of HIGGS with fewer
edits.

--quick makes 1,000 edits; --edits another number.
"""

import gc
import resource
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import _data
import numpy as np
from _command import Results, environment, parser
from _internals import centre, iterate, last_read, n_positions
from _tables import table
from _timing import timed
from scipy.linalg import solve_triangular
from scipy.special import expit
from sklearn.linear_model import Ridge

from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge

N_CHECKS = 40
CONDITION = 1e10
# Probabilities of edits, and of the ways that rows are named.
EDITS = {"remove": 0.35, "add": 0.35, "correct": 0.3}
WAYS = {"position": 0.6, "id": 0.3, "content": 0.1}
# Largest fraction of the rows that is removed at the same time.
MOST_AWAY = 0.02
# Unit in the last place of 1: no bound can be smaller than a few of them, relative to
# the iterate and to the terms of raw predictions.
EPS = np.finfo(float).eps


@dataclass(frozen=True)
class Soak:
    """A model, its rows, and the number of edits and checks."""

    name: str
    load: Callable
    model: Callable
    n_edits: int = 100_000
    n_checks: int = N_CHECKS


def soaks(folder):
    """The data sets; `folder` holds their files."""
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
    """Rotated rows whose columns had scales from 1 to 1e-5."""
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
    """The number of the row at every position, and which rows are current.

    All arrays have their final length from the start, so that memory that grows belongs
    to the estimator.
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
        """Numbers of the current training rows."""
        return self.at[self.there[: self.n_there]]

    def leave(self, place):
        """Remove the row at the `place`-th current position; return both its names."""
        position = self.there[place]
        self.n_there -= 1
        self.there[place] = self.there[self.n_there]
        row = self.at[position]
        self.away[self.n_away] = row
        self.n_away += 1
        return position, row

    def come(self, place):
        """Add the `place`-th removed row at a new position; return its number."""
        row = self.away[place]
        self.n_away -= 1
        self.away[place] = self.away[self.n_away]
        self.at[self.n_positions] = row
        self.there[self.n_there] = self.n_positions
        self.n_positions += 1
        self.n_there += 1
        return row

    def correct(self, place, place_away):
        """Let a removed row take position and id of a current one; return its names."""
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
        """Make one edit and return its wall seconds."""
        rows, rng = self.rows, self.rng
        kind = rng.choice(list(EDITS), p=list(EDITS.values()))
        way = rng.choice(list(WAYS), p=list(WAYS.values()))
        if rows.n_away == 0 or (kind == "add" and rows.n_away < 2):
            kind = "remove"
        elif kind == "remove" and rows.n_away >= self.most_away:
            kind = "add"
        place = rng.integers(rows.n_there)
        if kind == "remove":
            change = partial(self._remove, way, *rows.leave(place))
        elif kind == "add":
            row = rows.come(rng.integers(rows.n_away))
            change = partial(self._add, row, rows.id_of[row])
        elif way == "id":
            row, name = rows.correct(place, rng.integers(rows.n_away))
            change = partial(self._add, row, name, replace=True)
        else:
            position, row = rows.exchange(place, rng.integers(rows.n_away))
            change = partial(self._add, row, rows.id_of[row], remove_position=position)
        return timed(change).wall

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


# The exact optimum of the current training rows, and distances from it.


def centred(X, mean):
    """Centred rows with a column of ones."""
    return np.column_stack([X - mean, np.ones(len(X))])


def polished(X, y, alpha, start, steps=30):
    """The optimum of two classes by Newton's method, up to rounding.

    Systems are solved by a QR decomposition of the weighted rows, whose condition
    number is the square root of the Hessian's.
    """
    penalty = np.full(X.shape[1], alpha)
    penalty[-1] = 0.0
    best, least = start, np.inf
    w = start
    for _ in range(steps):
        probability = expit(X @ w)
        gradient = X.T @ (probability - y) + penalty * w
        factor = roots(X, probability * (1.0 - probability), penalty)
        half = solve_triangular(factor, gradient, trans="T")
        left = np.linalg.norm(half)
        if left >= 0.5 * least:
            break
        best, least = w, left
        w = w - solve_triangular(factor, half)
    return best


def roots(X, curvature, penalty):
    """R with R'R = X' diag(curvature) X + diag(penalty)."""
    weighted = np.concatenate(
        [X * np.sqrt(curvature)[:, np.newaxis], np.diag(np.sqrt(penalty))]
    )
    return np.linalg.qr(weighted, mode="r")


def compare(model, X, y, before):
    """Distance of a model from the exact optimum, absolute and relative.

    `before` is the iterate at which the rows were last read.
    """
    rows, found = centred(X, centre(model)), iterate(model)[0]
    if isinstance(model, DeltaGradRidge):
        alpha = model.alpha
        mean = rows[:, :-1].mean(axis=0)
        ridge = Ridge(alpha, solver="svd").fit(rows[:, :-1] - mean, y)
        exact = np.append(ridge.coef_, ridge.intercept_ - mean @ ridge.coef_)
        curvature = np.ones(len(rows))
    else:
        alpha = 1.0 / model.C
        exact = polished(rows, y, alpha, found)
        probability = expit(rows @ exact)
        curvature = probability * (1.0 - probability)

    def norm(vector):
        squared = curvature @ (rows @ vector) ** 2 + alpha * np.sum(vector[:-1] ** 2)
        return float(np.sqrt(squared))

    error, moved = norm(found - exact), norm(found - before)
    columns = np.sqrt(curvature @ rows**2)
    floor = 100.0 * EPS * norm(exact) + 4.0 * EPS * np.abs(exact) @ columns
    return {
        "distance": error,
        "moved": moved,
        "floor": float(floor),
        "error": error / (model.edit_tol * moved + floor),
        "relative": error / norm(exact),
    }


# Memory.


def resident_bytes():
    """Memory of the process now; its peak on systems without /proc."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held_bytes(thing, seen=None):
    """Memory of all arrays that an object references, each counted once."""
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


def run(soak, n_edits, results):
    """Make all edits of a model; results are written at every check."""
    X, y = soak.load()
    warnings.simplefilter("error")  # a fit that does not converge must not go unnoticed
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
    if not is_path:  # bounds need it until the first check
        window.floor = compare(model, X, y, last_read(model)[0])["floor"]
    for number in range(1, n_edits + 1):
        before = None if is_path else last_read(model)[0]
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
            "n_positions": n_positions(model),
        }
        result["checks"].append(found)
        result |= {"n_edits": number} | window.all()
        results.write(soak.name, result)
        print(soak.name, found, flush=True)


def retrained(model):
    """Relative distance of a replayed path from its exact retrain."""
    replayed = model.coef_.copy()
    model.partial_refit()
    size = np.linalg.norm(model.coef_)
    return {"relative": float(np.linalg.norm(replayed - model.coef_) / size)}


class Window:
    """Sums of what edits reported since the last check."""

    def __init__(self, model):
        self.edit_tol = model.edit_tol
        self.is_path = model.solver != "newton"
        self.floor = 0.0
        self.number = self.refits = self.without = 0
        self.seconds = self.passes = self.hessians = self.worst = 0.0
        self.totals = np.zeros(6)
        self.largest = 0.0

    def add(self, seconds, report):
        """Count one edit."""
        self.number += 1
        self.seconds += seconds
        self.passes += (
            report.n_passes + report.n_exact_steps
        )  # an exact step of gd is a pass
        self.hessians += report.n_hessians
        self.refits += report.refit
        if self.is_path:
            if report.error_estimate is not None:
                self.worst = max(self.worst, report.error_estimate / self.edit_tol)
        elif report.relative_bound is None:
            self.without += 1
        else:
            moved = report.distance_bound / report.relative_bound
            allowed = self.edit_tol * moved + self.floor
            self.worst = max(self.worst, report.distance_bound / allowed)

    def close(self):
        """Return the means of the window and begin a new one."""
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
    head = [
        "set", "edits", "largest error, of what is allowed",
        "largest bound, of the same", "without a bound", "refitted",
        "relative error at the end", "passes per edit", "Hessians",
        "time per edit: first tenth, last", "arrays held: first, last",
        "resident: first check, last",
    ]  # fmt: skip
    lines = []
    for result in results:
        checks = result["checks"]
        tenth = max(1, len(checks) // 10)
        times = [
            1e3 * np.mean([check["seconds"] for check in part])
            for part in (checks[:tenth], checks[-tenth:])
        ]
        errors = [check["error"] for check in checks if "error" in check]
        held = [result["held_at_first"], checks[-1]["held"]]
        resident = [checks[0]["resident"], checks[-1]["resident"]]
        lines.append([
            result["name"],
            f"{result['n_edits']:,}",
            f"{max(errors):.1e}" if errors else "",
            f"{result['largest_bound']:.2g}",
            f"{result['without_bound']:.0f}",
            f"{result['refits']:.0f}",
            f"{checks[-1]['relative']:.1e}",
            f"{result['passes']:.3g}",
            f"{result['hessians']:.0f}",
            f"{times[0]:.1f}, {times[1]:.1f} ms",
            f"{held[0] / 1e6:.1f}, {held[1] / 1e6:.1f} MB",
            f"{resident[0] / 1e6:.0f}, {resident[1] / 1e6:.0f} MB",
        ])  # fmt: skip
    return table(head, lines)


def main():
    names = [soak.name for soak in soaks(None)]
    command = parser(__doc__, data=True, out="soak-results", only=names)
    command.add_argument("--quick", action="store_true", help="1,000 edits each")
    command.add_argument("--edits", type=int, help="so many edits at most")
    options = command.parse_args()
    limit = options.edits or (1_000 if options.quick else np.inf)
    results = Results(options.out)
    for soak in soaks(options.data_dir):
        if soak.name in options.only:
            run(soak, int(min(soak.n_edits, limit)), results)
    results.write_markdown("soak", markdown(list(results.read(names).values())))


if __name__ == "__main__":
    main()
