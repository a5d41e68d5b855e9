"""The DeltaGrad paper's experiments, with its settings, against exact retraining.

    python examples/benchmarks/paper.py --data-dir DIR --out doc/benchmarks

Every speed-up is over BaseL, the exact retrain by the same code on the same schedule
(`partial_refit()`), measured in turns with the replay in one process; medians. An error
is the distance of the replayed to the retrained iterate over the distance of doing
nothing. The cap of a speed-up is T / (exact steps).

Differences from the paper's model: ours starts at zero, not at random; it does not
penalise the intercept and centres columns with a large offset; two classes have one
output, not two. The data differ where a table says so. The paper's penalty is a mean,
ours a sum: C is scaled with the number of rows of the fit, and held when rows leave.

--quick takes a part of the data, the smallest experiments and one draw. --only takes
names of experiments. Results are written as JSON, a file for each experiment, and as
one markdown table of all JSON files in the folder.
"""

import argparse
import cProfile
import dataclasses
import json
import pstats
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

import _data
import numpy as np
from _environment import environment
from _timing import timed
from scipy import sparse
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad._utils.threads import limit_threads

WEIGHT_DECAY = 0.005
LEARNING_RATE = 0.1
RATES = (5e-5, 1e-3, 1e-2)


@dataclass(frozen=True)
class Experiment:
    """One row of the table: data, schedule, and what the paper reports for it."""

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
    quick: dict = field(default_factory=dict)


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
    """An estimator that goes through edits, and the names of its rows."""

    def __init__(self, experiment, X, y):
        self.experiment, self.X, self.y = experiment, X, y
        n_samples = X.shape[0]
        batch_size = experiment.batch_size or -(-n_samples // 2)
        self.estimator = DeltaGradLogisticRegression(
            C=1.0 / (WEIGHT_DECAY * n_samples),
            solver=experiment.solver,
            batch_size=batch_size,
            max_iter=experiment.epochs,
            learning_rate=LEARNING_RATE,
            burn_in=experiment.burn_in,
            period=experiment.period,
            history_size=2,
            random_state=0,
        ).fit(X, y)
        self.positions = np.arange(n_samples)  # of the rows of X

    @property
    def last(self):
        return self.estimator.trajectory_.end.copy()

    def remove(self, rows):
        """Seconds to unlearn rows of X."""
        return timed(self.estimator.unlearn, position=self.positions[rows])

    def add(self, rows):
        """Seconds to add rows of X."""
        roster = self.estimator._training_set.roster
        seconds = timed(self.estimator.partial_refit, self.X[rows], self.y[rows])
        self.positions[rows] = np.arange(
            roster.n_positions - len(rows), roster.n_positions
        )
        return seconds

    def retrain(self):
        """Seconds to retrain exactly."""
        return timed(self.estimator.partial_refit)

    def edit(self, edit, rows):
        """Replay an edit, then retrain exactly: times, errors and steps."""
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
    """Deletion and addition of a share of the rows, several draws in turn."""
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
    """Single-row requests one after the other, each a replay of the last replay."""
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


# What the baseline is worth, and where the time goes ------------------------------


def numpy_loop(estimator, X, y):
    """The same run as a plain NumPy (SciPy) loop; returns the last iterate."""
    schedule, roster = estimator._path.schedule, estimator._training_set.roster
    batches = schedule.batches(roster)
    classes = np.unique(y)
    one_hot = (y[:, np.newaxis] == classes).astype(float)
    if len(classes) == 2:
        one_hot = one_hot[:, 1:]
    W, b = np.zeros((one_hot.shape[1], X.shape[1])), np.zeros(one_hot.shape[1])
    eta = LEARNING_RATE
    for step in range(schedule.n_steps):
        rows = batches.at(step)
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
    ours, theirs = [], []
    with limit_threads(1), threadpool_limits(1):
        for _ in range(repeats):
            started = process_time()
            study.estimator.partial_refit()
            ours.append(process_time() - started)
            started = process_time()
            numpy_loop(study.estimator, study.X, study.y)
            theirs.append(process_time() - started)
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
            one = study.retrain()
        with limit_threads(2):
            ratios.append(one / study.retrain())
    return {"speed_up": float(np.median(ratios))}


def index_share(study, repeats=5):
    """Share of a replay's time that goes into finding which rows a step reads."""
    return {"share": float(np.median([_index_share(study) for _ in range(repeats)]))}


def _index_share(study):
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
        if Path(file).name in ("_schedule.py", "_roster.py", "shuffle.py")
    )
    total = sum(own for (_, _, own, _, _) in stats.values())
    return index / total


def sparse_memory(study):
    """Peak bytes of a sparse fit over the rows and the cached run."""
    X = study.X
    tracemalloc.start()
    study.estimator.fit(X, study.y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    study.positions = np.arange(X.shape[0])
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
    # Before any edit: the loop takes a row's slot for its number.
    loop = {} if X.shape[0] > 500_000 else {"against_numpy": against_numpy(study)}
    study.edit(study.remove, np.array([0]))  # compiles what is left to compile
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
        "index_share": index_share(study),
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
    """The paper's tables with ours beside them."""
    lines = [
        "| set | rows removed or added | speed-up: deletion / addition | cap | of cap "
        "| paper | error: deletion / addition | paper |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for edits in result["batch"]:
            out, back = edits["deletion"], edits["addition"]
            at_paper_rate = out["rate"] == 1e-3
            paper = result["paper"] if at_paper_rate else {}
            lines.append(
                f"| {result['name']} | {out['n_rows']:,} ({out['rate']:g}) "
                f"| {out['speed_up']:.2f} / {back['speed_up']:.2f} | {out['cap']:.2f} "
                f"| {out['of_cap']:.2f} / {back['of_cap']:.2f} "
                f"| {_cell(paper.get('speed_up'), '.2f')} "
                f"| {out['error']:.1e} / {back['error']:.1e} "
                f"| {_cell(paper.get('error'), '.1e')} |"
            )
    lines += [
        "",
        "| set | 100 online requests: speed-up, deletion / addition | paper "
        "| error, deletion / addition |",
        "|---|---|---|---|",
    ]
    for result in results:
        if "online" in result:
            out, back = result["online"]["deletion"], result["online"]["addition"]
            lines.append(
                f"| {result['name']} | {out['speed_up']:.2f} / {back['speed_up']:.2f} "
                f"| {_cell(result['paper']['online'], '.1f')} "
                f"| {out['error']:.1e} / {back['error']:.1e} |"
            )
    lines += [
        "",
        "| set | exact retrain | over a NumPy loop, CPU time, one thread "
        "| two threads over one | index work |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        seconds = result["batch"][0]["deletion"]["retrain_seconds"]
        loop = result.get("against_numpy", {}).get("ratio")
        lines.append(
            f"| {result['name']} | {seconds:.2f} s | {_cell(loop, '.2f')} "
            f"| {result['two_threads']['speed_up']:.2f} times "
            f"| {100 * result['index_share']['share']:.1f}% |"
        )
    for result in results:
        if "sparse_memory" in result:
            memory = result["sparse_memory"]
            lines += [
                "",
                f"{result['name']}: peak memory of the fit {memory['peak_bytes']:,} "
                f"bytes, {memory['ratio']:.2f} times rows and cached run; dense rows "
                f"would take {memory['dense_bytes']:,}.",
            ]
    return "\n".join(lines) + "\n"


def _cell(value, spec):
    return "" if value is None else format(value, spec)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder with the data sets as .npz files")
    parser.add_argument("--out", default="paper-results", help="folder for results")
    parser.add_argument("--only", nargs="+", help="names of experiments")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    table = experiments(options.data_dir)
    names = [experiment.name for experiment in table]
    for experiment in table:
        if options.only and experiment.name not in options.only:
            continue
        if options.quick and "M" in experiment.name.split()[-1]:
            continue
        started = perf_counter()
        result = run(experiment, options.quick) | {"environment": environment()}
        file = folder / f"{experiment.name.replace(' ', '-')}.json"
        file.write_text(json.dumps(result, indent=1))
        print(f"{experiment.name}: {perf_counter() - started:.0f} s", flush=True)
        results = [json.loads(path.read_text()) for path in folder.glob("*.json")]
        results.sort(key=lambda result: names.index(result["name"]))
        (folder / "paper.md").write_text(markdown(results))
    print((folder / "paper.md").read_text())


if __name__ == "__main__":
    main()
