"""The DeltaGrad paper's experiments, with its settings, against exact retraining.

    python examples/benchmarks/paper.py --data-dir DIR --out paper-results

The baseline of every speed-up is BaseL, the exact retrain by the same code on the same
schedule (`partial_refit()`). Replays and retrains alternate in one process, and figures
are medians. An error is the distance of the replayed from the retrained iterate,
divided by the distance of the iterate before the edit. The cap of a speed-up is the
number of steps divided by the number of exact steps.

The model differs from the paper's: it starts at zero instead of a random point, does
not penalise the intercept, centres columns with a large offset, and has one output for
two classes instead of two. The paper's penalty is added to a mean of losses and ours to
their sum, so that C is scaled with the number of rows of the fit; it stays the same
when rows leave.

--quick takes a part of the data, the smallest experiments and one draw. Results are a
JSON file for each experiment and Markdown tables of all JSON files in the folder.
"""

import cProfile
import dataclasses
import pstats
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import _data
import numpy as np
from _command import Results, environment, parser
from _internals import batches, limit_threads
from _tables import cell, table
from _timing import in_turns, timed
from scipy import sparse
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from skdeltagrad import DeltaGradLogisticRegression

WEIGHT_DECAY = 0.005
LEARNING_RATE = 0.1
RATES = (5e-5, 1e-3, 1e-2)
# Modules that find the rows of a step: the schedule, the table of rows, the kernel.
INDEX_MODULES = ("schedule.py", "row_table.py", "shuffle.py")


@dataclass(frozen=True)
class Experiment:
    """One row of the table: data, schedule, and the figures that the paper reports."""

    name: str
    load: Callable
    batch_size: int | None  # None: half of the rows, rounded up
    epochs: int
    period: int
    burn_in: int
    paper_speed_up: float | None = None
    paper_error: float | None = None
    paper_online: float | None = None
    online: bool = False
    draws: int = 3
    solver: str = "sgd"

    def estimator(self, n_samples, **parameters):
        """An estimator with the paper's penalty and schedule, not fitted."""
        if self.solver == "sgd":
            parameters["batch_size"] = self.batch_size or -(-n_samples // 2)
        return DeltaGradLogisticRegression(
            C=1.0 / (WEIGHT_DECAY * n_samples),
            solver=self.solver,
            max_iter=self.epochs,
            burn_in=self.burn_in,
            random_state=0,
            **{"learning_rate": LEARNING_RATE} | parameters,
        )


def experiments(folder):
    """The paper's table; `folder` holds the data."""
    mnist = lambda: _data.mnist(folder)  # noqa: E731
    return [
        Experiment("mnist", mnist, 16_384, 32, 5, 10, 2.33, 2.0e-2, 2.5, True),
        Experiment("mnist full batch", mnist, None, 120, 5, 10, 2.83, 4.3e-3,
                   solver="gd"),
        Experiment("mnist 4096", mnist, 4_096, 8, 5, 10, 1.49),
        Experiment("mnist 1024", mnist, 1_024, 2, 5, 10, 0.99),
        Experiment("covtype 93k", lambda: _data.covtype(folder),
                   16_384, 32, 5, 10, 2.0, 2.1e-2, 1.8, True),
        Experiment("covtype 523k", lambda: _data.covtype(folder, 523_000),
                   16_384, 32, 5, 10, 2.0, 2.1e-2),
        Experiment("higgs 1M", lambda: _data.higgs(folder, 1_000_000),
                   16_384, 4, 3, 30, 1.42, None, 1.6, True),
        Experiment("higgs 10.5M", lambda: _data.higgs(folder, 10_500_000),
                   16_384, 4, 3, 300, 1.42, 8.3e-2, draws=2),
        Experiment("news20", lambda: _data.news20(folder),
                   None, 200, 10, 10, 6.13, 4.1e-4, 6.6, True),
        Experiment("rcv1", lambda: _data.rcv1(folder), None, 200, 10, 10, 6.13, 4.1e-4),
    ]  # fmt: skip


# Measuring ------------------------------------------------------------------------


class Study:
    """An estimator that is edited, and the positions that it gave to the rows of X."""

    def __init__(self, experiment, X, y):
        self.experiment, self.X, self.y = experiment, X, y
        self.estimator = experiment.estimator(
            X.shape[0], period=experiment.period, history_size=2
        )
        self.fit()

    def fit(self):
        """Fit all rows of X, which gives them the first positions."""
        self.estimator.fit(self.X, self.y)
        self.positions = np.arange(self.X.shape[0])
        self.n_positions = self.X.shape[0]

    @property
    def last(self):
        """A copy of the last iterate of the path."""
        return self.estimator.trajectory_.end.copy()

    def remove(self, rows):
        """Seconds to unlearn rows of X."""
        return timed(self.estimator.unlearn, position=self.positions[rows]).wall

    def add(self, rows):
        """Seconds to add rows of X, which get the next positions."""
        seconds = timed(self.estimator.partial_refit, self.X[rows], self.y[rows]).wall
        self.positions[rows] = self.n_positions + np.arange(len(rows))
        self.n_positions += len(rows)
        return seconds

    def retrain(self):
        """Seconds to retrain exactly."""
        return timed(self.estimator.partial_refit).wall

    def edit(self, edit, rows):
        """Replay an edit, then retrain exactly: seconds, error and numbers of steps."""
        before = self.last
        replay = edit(rows)
        report = self.estimator.update_report_
        replayed = self.last
        retrain = self.retrain()
        exact = self.last
        return {
            "replay_seconds": replay,
            "retrain_seconds": retrain,
            "error": _ratio(replayed - exact, before - exact),
            "n_steps": report.n_steps,
            "n_exact_steps": report.n_exact_steps,
            "refit": report.refit,
        }


def _ratio(a, b):
    return float(np.linalg.norm(a) / np.linalg.norm(b))


def batch_edits(study, rate, draws):
    """Deletion and addition of a fraction of the rows, alternately."""
    n_rows = max(1, round(rate * study.X.shape[0]))
    runs = {"deletion": [], "addition": []}
    for draw in range(draws):
        rng = np.random.default_rng([draw, n_rows])
        rows = rng.choice(study.X.shape[0], n_rows, replace=False)
        runs["deletion"].append(study.edit(study.remove, rows))
        runs["addition"].append(study.edit(study.add, rows))
    return {
        kind: summary(edits) | {"rate": rate, "n_rows": n_rows}
        for kind, edits in runs.items()
    }


def summary(edits):
    """Medians of several edits of one kind."""
    speed_ups = [edit["retrain_seconds"] / edit["replay_seconds"] for edit in edits]
    cap = edits[0]["n_steps"] / edits[0]["n_exact_steps"]
    return {
        "speed_up": float(np.median(speed_ups)),
        "cap": cap,
        "of_cap": float(np.median(speed_ups)) / cap,
        "error": float(np.median([edit["error"] for edit in edits])),
        "largest_error": max(edit["error"] for edit in edits),
        "retrain_seconds": float(np.median([e["retrain_seconds"] for e in edits])),
        "n_refits": sum(edit["refit"] for edit in edits),
        "edits": edits,
    }


def online_edits(study, edit, rows):
    """Edits of single rows one after the other, each a replay of the last replay."""
    n_requests = len(rows)
    before = study.last
    replays = [edit(rows[[i]]) for i in range(n_requests)]
    replayed = study.last
    retrains = [study.retrain() for _ in range(3)]
    exact = study.last
    return {
        "n_requests": n_requests,
        "speed_up": float(np.median(retrains) * n_requests / sum(replays)),
        "error": _ratio(replayed - exact, before - exact),
    }


# The baseline itself, and where the time goes --------------------------------------


def numpy_loop(estimator, X, y):
    """The same path by a plain NumPy (SciPy) loop; returns the last iterate."""
    classes = np.unique(y)
    one_hot = (y[:, np.newaxis] == classes).astype(float)
    if len(classes) == 2:
        one_hot = one_hot[:, 1:]
    W, b = np.zeros((one_hot.shape[1], X.shape[1])), np.zeros(one_hot.shape[1])
    eta = LEARNING_RATE
    for rows in batches(estimator):
        Xb, yb = X[rows], one_hot[rows]
        raw = Xb @ W.T + b
        if len(classes) == 2:
            pointwise = 1.0 / (1.0 + np.exp(-raw)) - yb
        else:
            pointwise = softmax(raw, axis=1) - yb
        gradient = (Xb.T @ pointwise).T
        W -= eta * (gradient / len(rows) + WEIGHT_DECAY * W)
        b -= eta * pointwise.mean(axis=0)
    return np.column_stack([W, b])


def against_numpy(study, repeats=3):
    """CPU seconds of our exact retrain over those of the NumPy loop, one thread."""
    loop = partial(numpy_loop, study.estimator, study.X, study.y)
    with limit_threads(1), threadpool_limits(1):
        turns = in_turns([study.estimator.partial_refit, loop], repeats)
    ours, theirs = turns[:, :, 1].T
    return {
        "cpu_seconds": float(np.median(ours)),
        "numpy_cpu_seconds": float(np.median(theirs)),
        "ratio": float(np.median(np.divide(ours, theirs))),
    }


def two_threads(study, repeats=3):
    """Wall time of the exact retrain with one thread over that with two."""
    ratios = []
    for _ in range(repeats):
        with limit_threads(1):
            in_one = study.retrain()
        with limit_threads(2):
            ratios.append(in_one / study.retrain())
    return {"speed_up": float(np.median(ratios))}


def index_work(study, repeats=5):
    """Fraction of a replay's time that is spent on finding the rows of each step."""
    return {"share": float(np.median([_index_work(study) for _ in range(repeats)]))}


def _index_work(study):
    rows = np.random.default_rng(9).choice(
        study.X.shape[0], max(1, study.X.shape[0] // 1000), replace=False
    )
    profile = cProfile.Profile()
    profile.enable()
    study.remove(rows)
    profile.disable()
    study.add(rows)
    study.retrain()
    stats = pstats.Stats(profile).stats
    index = sum(
        own
        for (file, _, _), (_, _, own, _, _) in stats.items()
        if Path(file).name in INDEX_MODULES
    )
    total = sum(own for (_, _, own, _, _) in stats.values())
    return index / total


def sparse_memory(study):
    """Peak memory of a sparse fit relative to the rows and the cached path."""
    X = study.X
    tracemalloc.start()
    study.fit()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rows = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    cache = study.estimator.trajectory_.nbytes
    return {
        "peak_bytes": peak,
        "row_bytes": rows,
        "cache_bytes": cache,
        "dense_bytes": 8 * X.shape[0] * X.shape[1],
        "ratio": peak / (rows + cache),
    }


def run(experiment, quick):
    """All measurements of one experiment."""
    X, y = experiment.load()
    if quick:
        X, y = X[:6_000], y[:6_000]
        experiment = dataclasses.replace(
            experiment, draws=1, batch_size=min(experiment.batch_size or 2_000, 2_000)
        )
    study = Study(experiment, X, y)
    # Before any edit: the loop takes the storage index of a row for its number in X.
    loop = {} if X.shape[0] > 500_000 else {"against_numpy": against_numpy(study)}
    study.edit(study.remove, np.array([0]))  # compiles the kernels of edits
    study.edit(study.add, np.array([0]))
    result = {
        "name": experiment.name,
        "n_samples": X.shape[0],
        "n_features": X.shape[1],
        "paper": {
            "speed_up": experiment.paper_speed_up,
            "error": experiment.paper_error,
            "online": experiment.paper_online,
        },
        "fit_cache_bytes": study.estimator.trajectory_.nbytes,
        "batch": [batch_edits(study, rate, experiment.draws) for rate in RATES],
        "index_share": index_work(study),
        "two_threads": two_threads(study),
        **loop,
    }
    if experiment.online:
        rows = np.random.default_rng(5).choice(X.shape[0], 100, replace=False)
        result["online"] = {
            "deletion": online_edits(study, study.remove, rows),
            "addition": online_edits(study, study.add, rows),
        }
    if sparse.issparse(X):
        result["sparse_memory"] = sparse_memory(study)
    return result


# Reporting ------------------------------------------------------------------------


def markdown(results):
    """The paper's tables with our figures beside its own."""
    parts = [edits_table(results), online_table(results), retrain_table(results)]
    for result in results:
        if "sparse_memory" in result:
            memory = result["sparse_memory"]
            parts.append(
                f"{result['name']}: peak memory of the fit {memory['peak_bytes']:,} "
                f"bytes, {memory['ratio']:.2f} times rows and cached path; dense rows "
                f"would take {memory['dense_bytes']:,}.\n"
            )
    return "\n".join(parts)


def edits_table(results):
    """A line for each data set and rate."""
    head = [
        "set", "rows removed or added", "speed-up: deletion / addition", "cap",
        "of cap", "paper", "error: deletion / addition", "paper",
    ]  # fmt: skip
    lines = []
    for result in results:
        for edits in result["batch"]:
            out, back = edits["deletion"], edits["addition"]
            paper = result["paper"] if out["rate"] == 1e-3 else {}
            lines.append([
                result["name"],
                f"{out['n_rows']:,} ({out['rate']:g})",
                f"{out['speed_up']:.2f} / {back['speed_up']:.2f}",
                f"{out['cap']:.2f}",
                f"{out['of_cap']:.2f} / {back['of_cap']:.2f}",
                cell(paper.get("speed_up"), ".2f"),
                f"{out['error']:.1e} / {back['error']:.1e}",
                cell(paper.get("error"), ".1e"),
            ])  # fmt: skip
    return table(head, lines)


def online_table(results):
    """A line for each data set with a sequence of single rows."""
    head = [
        "set", "100 online requests: speed-up, deletion / addition", "paper",
        "error, deletion / addition",
    ]  # fmt: skip
    lines = []
    for result in results:
        if "online" in result:
            out, back = result["online"]["deletion"], result["online"]["addition"]
            lines.append([
                result["name"],
                f"{out['speed_up']:.2f} / {back['speed_up']:.2f}",
                cell(result["paper"]["online"], ".1f"),
                f"{out['error']:.1e} / {back['error']:.1e}",
            ])  # fmt: skip
    return table(head, lines)


def retrain_table(results):
    """A line for each data set: the baseline, and what is spent on indices."""
    head = [
        "set", "exact retrain", "over a NumPy loop, CPU time, one thread",
        "two threads over one", "index work",
    ]  # fmt: skip
    return table(head, [
        [
            result["name"],
            f"{result['batch'][0]['deletion']['retrain_seconds']:.2f} s",
            cell(result.get("against_numpy", {}).get("ratio"), ".2f"),
            f"{result['two_threads']['speed_up']:.2f} times",
            f"{100 * result['index_share']['share']:.1f}%",
        ]
        for result in results
    ])  # fmt: skip


def main():
    names = [experiment.name for experiment in experiments(None)]
    command = parser(__doc__, data=True, out="paper-results", only=names)
    command.add_argument("--quick", action="store_true")
    options = command.parse_args()
    results = Results(options.out)
    for experiment in experiments(options.data_dir):
        is_large = "M" in experiment.name.split()[-1]
        if experiment.name not in options.only or (options.quick and is_large):
            continue
        spent = timed(run, experiment, options.quick)
        print(f"{experiment.name}: {spent.wall:.0f} s", flush=True)
        results.write(experiment.name, spent.result | {"environment": environment()})
    results.write_markdown("paper", markdown(list(results.read(names).values())))


if __name__ == "__main__":
    main()
