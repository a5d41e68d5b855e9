"""The costs that the code assumes, measured on this machine.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python examples/benchmarks/calibrate.py

The package decides by costs: whether a Hessian pays, whether a replay is faster than a
retrain, how many passes a correction point takes. Each of these costs is measured here
and printed beside the value in the code. A ratio between 1/2 and 2 changes no decision
by much; beyond, the value should be looked at again. Costs are relative, and most of
them are counted in one of two units:

- a *pass* reads all rows once, for the gradient (of a path) or for the loss and the
  gradient (of an optimum);
- a *multiplication*: a pass over dense rows makes two for each entry and output.

Seconds are processor seconds, medians of several calls. Other work on the machine
disturbs them less than elapsed time, but it does, by the caches.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from _command import parser
from _internals import (
    add_rank_one,
    batches,
    beginning_with,
    constant,
    data_term,
    hessians_by_factors,
    importance_of_rows,
    replays_at_any_price,
)
from _tables import print_head, print_row
from _timing import median_seconds, timed
from scipy import sparse
from scipy.linalg import cholesky, eigh

from skdeltagrad import DeltaGradLogisticRegression

# Value in the code of each cost: a number, or the module and name of a constant.
IN_CODE = {
    "columns of a Hessian": ("_optimum.cost", "_COLUMNS_PER_PASS"),
    "sparse entry": ("_data.csr_rows", "CsrRows", "entry_cost"),
    "call": ("_path.cost", "CALL"),
    "replay": ("_path.cost", "OVERHEAD"),
    "measuring": ("_path.cost", "MEASURING"),
    "row": ("_path.cost", "ROW"),
    "reading": ("_path.cost", "READING"),
    "dealing": ("_path.cost", "DEALING"),
    "second derivative": ("_path.cost", "SECOND_DERIVATIVE"),
    # `cost.step_work` counts multiplications: the factor is 1.
    "predicted step": 1.0,
    "BLAS": ("_path.cost", "BLAS"),
    "eigenvectors": ("_path.cost", "EIGENVECTORS"),
    "correction point": ("_path.cost", "PASSES_EACH"),
    "loss": ("_objective.data_term", "_LOSS_WORK"),
    "factored Hessian": ("_objective.second_derivatives", "_MOST_OF_FACTORED"),
    "importance": ("_optimum.cost", "PASSES_FOR_IMPORTANCE"),
    "largest change": ("_optimum.cost", "PASSES_FOR_LARGEST"),
    "bounds": ("_optimum.cost", "HESSIANS_FOR_MOMENTS"),
    "rank-one change": ("_optimum.cost", "RANK_ONE_FRACTION"),
}


def value_in_code(name):
    """The number that the package computes with."""
    value = IN_CODE[name]
    return float(constant(*value) if isinstance(value, tuple) else value)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements."""

    n_rows: int
    n_calls: int


# What is measured ---------------------------------------------------------------------


def random_rows(n_rows, n_features, n_classes=2, density=None):
    """Standard normal rows, sparse if `density` is given, and random classes."""
    rng = np.random.default_rng(0)
    if density is None:
        X = rng.standard_normal((n_rows, n_features))
    else:
        X = sparse.random_array(
            (n_rows, n_features), density=density, format="csr", rng=rng
        )
    return X, np.arange(n_rows) % n_classes


class Term:
    """The data term of random rows, at a random iterate."""

    def __init__(self, sizes, n_features, n_classes=2, density=None, n_rows=None):
        X, y = random_rows(n_rows or sizes.n_rows, n_features, n_classes, density)
        model = DeltaGradLogisticRegression(solver="gd", max_iter=1).fit(X, y)
        self.sizes = sizes
        self.objective, self.rows = data_term(model)
        self.n_entries = X.nnz if sparse.issparse(X) else X.size
        rng = np.random.default_rng(1)
        shape = self.objective.shape
        self.iterate, self.drift = 1e-2 * rng.standard_normal((2, *shape))

    def seconds(self, method, *args):
        """Median seconds of a method of the data term."""
        called = getattr(self.objective, method)
        return median_seconds(lambda: called(*args, self.rows), self.sizes.n_calls)

    @property
    def n_multiplications(self):
        """Multiplications of a pass."""
        return 2 * self.objective.n_outputs * self.n_entries

    def pass_seconds(self):
        """Median seconds of a pass for the gradient."""
        return self.seconds("gradient_sums", self.iterate)

    def measure_seconds(self):
        """Median seconds of a pass for the loss and the gradient."""
        return self.seconds("measure", self.iterate)

    def hessian_seconds(self):
        """Median seconds of a Hessian."""
        return self.seconds("hessian_sums", self.iterate)


@cache
def multiplication_seconds(sizes):
    """Seconds of a multiplication: of wide rows, where the loss hardly counts."""
    term = Term(sizes, 300)
    return term.pass_seconds() / term.n_multiplications


@cache
def later_edit_seconds(n_steps, n_features=50, n_rows=1_000):
    """Median seconds to replay the removal of one row, after a first edit."""
    X, y = random_rows(n_rows, n_features)
    model = DeltaGradLogisticRegression(
        solver="gd", max_iter=n_steps, learning_rate=0.1, edit_tol=1e6
    ).fit(X, y)
    rows = iter(range(n_rows))
    with replays_at_any_price():
        model.unlearn(position=next(rows))
        return median_seconds(lambda: model.unlearn(position=next(rows)), 9)


@cache
def replay_step_seconds(sizes):
    """Seconds of a multiplication of a predicted step, and of a step without any.

    A line through the steps of two orders, whose multiplications are those that
    `cost.step_work` counts.
    """
    work, seconds = [], []
    for n_features in (50, 150):
        order = n_features + 1
        work.append(
            constant("_path.cost", "RUNS_OF_REPLAY") * (2 * order**2 + 16 * order)
        )
        few, many = (later_edit_seconds(n, n_features) for n in (20, 220))
        seconds.append((many - few) / 200)
    slope = (seconds[1] - seconds[0]) / (work[1] - work[0])
    return slope, seconds[0] - slope * work[0]


# Measurements -------------------------------------------------------------------------
#
# Generators of a case, the measured value, and the value that the code computes with if
# it differs between cases.


def columns_of_hessian(sizes):
    """Passes in the time of a Hessian."""
    columns = value_in_code("columns of a Hessian")
    for n_features, n_classes in ((20, 2), (50, 2), (150, 2), (300, 2), (50, 7)):
        term = Term(sizes, n_features, n_classes)
        m = term.objective.n_curvatures
        expected = (1.0 + term.objective.n_dof / columns) * (m + 1) / 2
        measured = term.hessian_seconds() / term.measure_seconds()
        yield f"{n_features} columns, {n_classes} classes", measured, expected


def sparse_entry(sizes):
    """Multiplications of dense rows in the time of one of sparse rows."""
    for n_features in (1_000, 20_000):
        term = Term(sizes, n_features, density=50 / n_features)
        seconds = term.pass_seconds() / term.n_multiplications
        yield f"{n_features:,} columns", seconds / multiplication_seconds(sizes)


def call(sizes):
    """Multiplications in the time of what Python does around a step."""
    term = Term(sizes, 50)
    term.rows = term.rows[:1]
    one = multiplication_seconds(sizes)
    yield "pass over one row", term.pass_seconds() / one
    _, seconds = replay_step_seconds(sizes)
    yield "predicted step that reads one row", seconds / one


def replay(sizes):
    """Multiplications in the time of a replay apart from its steps."""
    few, many = later_edit_seconds(20), later_edit_seconds(220)
    seconds = few - 20 * (many - few) / 200
    yield "1,000 x 50", seconds / multiplication_seconds(sizes)


def measuring(sizes):
    """Multiplications in the time of a correction point of next to no rows."""
    X, y = random_rows(1_000, 50)
    model = DeltaGradLogisticRegression(
        solver="gd", max_iter=40, learning_rate=0.1, edit_tol=1e6
    ).fit(X, y)
    rows, seconds = iter(range(1_000)), []
    with replays_at_any_price():
        model.unlearn(position=next(rows))
        for n_corrections in (1, 9):
            seconds.append(
                median_seconds(
                    lambda n=n_corrections: beginning_with(model, n).unlearn(
                        position=next(rows)
                    ),
                    9,
                )
            )
    one = (seconds[1] - seconds[0]) / 8
    yield "1,000 x 50", one / multiplication_seconds(sizes)


def row(sizes):
    """Multiplications in the time of a row, besides those with its entries."""
    for n_features in (4, 20):
        term = Term(sizes, n_features)
        seconds = term.pass_seconds() - term.n_multiplications * multiplication_seconds(
            sizes
        )
        seconds /= sizes.n_rows
        yield f"{n_features} columns", seconds / multiplication_seconds(sizes)


def reading(sizes):
    """R, where K outputs take (K + R) / (1 + R) times as long as one."""
    for n_features in (9, 50):
        one, many = (Term(sizes, n_features, n).pass_seconds() for n in (2, 7))
        ratio = many / one
        yield f"{n_features} columns, 7 classes", (7.0 - ratio) / (ratio - 1.0)


def dealing(sizes):
    """Multiplications in the time of finding and reading a row of a mini-batch."""
    for n_features in (4, 50):
        X, y = random_rows(sizes.n_rows, n_features)
        model = DeltaGradLogisticRegression(
            solver="sgd", max_iter=1, batch_size=sizes.n_rows // 2, learning_rate=0.1
        ).fit(X, y)
        objective, rows = data_term(model)
        iterate = np.zeros(objective.shape)

        def epoch(model=model, objective=objective, iterate=iterate):
            for indices in batches(model):
                objective.gradient_sums(iterate, indices)

        seconds = median_seconds(epoch, sizes.n_calls) - median_seconds(
            lambda o=objective, i=iterate, r=rows: o.gradient_sums(i, r), sizes.n_calls
        )
        expected = value_in_code("dealing")
        expected += constant("_path.cost", "DEALING_ENTRY") * n_features
        measured = seconds / sizes.n_rows / multiplication_seconds(sizes)
        yield f"{n_features} columns", measured, expected


def second_derivative(sizes):
    """Multiplications in the time of an entry of a row's second derivative."""
    for n_classes in (4, 7):
        term = Term(sizes, 9, n_classes)
        seconds = term.hessian_seconds() - term.pass_seconds()
        n_entries = sizes.n_rows * term.objective.n_curvatures**2
        measured = seconds / n_entries / multiplication_seconds(sizes)
        yield f"9 columns, {n_classes} classes", measured


def predicted_step(sizes):
    """Time of a multiplication of a predicted step, relative to one of a pass."""
    seconds, _ = replay_step_seconds(sizes)
    yield "50 to 150 columns", seconds / multiplication_seconds(sizes)


def blas(sizes):
    """Multiplications that BLAS makes in the time of one of a kernel."""
    for n_features in (150, 300):
        term = Term(sizes, n_features)
        made = sizes.n_rows * term.objective.n_dof**2
        one = term.hessian_seconds() / made
        yield f"{n_features} columns", multiplication_seconds(sizes) / one


def eigenvectors(sizes):
    """Multiplications by BLAS for the eigenvectors of order d, over d^3."""
    rng = np.random.default_rng(2)
    one = multiplication_seconds(sizes) / value_in_code("BLAS")
    for order in (200, 600):
        matrix = rng.standard_normal((order, order))
        matrix = matrix @ matrix.T
        seconds = median_seconds(lambda m=matrix: eigh(m), sizes.n_calls)
        yield f"order {order}", seconds / order**3 / one


def correction_point(sizes):
    """Passes in the time of a change of the gradient between two iterates."""
    for n_features, n_classes in ((50, 2), (50, 7), (300, 2)):
        term = Term(sizes, n_features, n_classes)
        seconds = term.seconds("gradient_change", term.iterate, term.drift)
        yield (
            f"{n_features} columns, {n_classes} classes",
            seconds / term.pass_seconds(),
        )


def loss(sizes):
    """Multiplications in the time of the loss of one row and output."""
    narrow, wide = Term(sizes, 4), Term(sizes, 54)
    few, many = narrow.pass_seconds(), wide.pass_seconds()
    slope = (many - few) / (wide.n_multiplications - narrow.n_multiplications)
    of_loss = few - slope * narrow.n_multiplications
    yield "2 classes", of_loss / sizes.n_rows / slope


def factored_hessian(sizes):
    """Columns for each class from which on factors are slower."""
    n_classes = 10
    ratios = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
    gains = []
    for ratio in ratios:
        n_features = int(ratio * n_classes)
        term = Term(sizes, n_features, n_classes, n_rows=sizes.n_rows // 4)
        with hessians_by_factors(True):
            by_factors = term.hessian_seconds()
        with hessians_by_factors(False):
            gains.append(np.log(term.hessian_seconds() / by_factors))
    # Where the logarithm of the gain crosses zero; it falls with the columns.
    order = np.argsort(gains)
    crossing = np.interp(0.0, np.array(gains)[order], np.log(ratios)[order])
    yield f"{n_classes} classes", np.exp(crossing)


def importance(sizes):
    """Passes in the time of the importance of all rows."""
    for n_features in (50, 300):
        term = Term(sizes, n_features)
        seconds = median_seconds(
            lambda t=term: importance_of_rows(t.objective, t.rows), sizes.n_calls
        )
        yield f"{n_features} columns", seconds / term.measure_seconds()


def largest_change(sizes):
    """Passes in the time of the largest change of a raw prediction."""
    for n_features in (50, 300):
        term = Term(sizes, n_features)
        seconds = term.seconds("largest_change", term.drift)
        yield f"{n_features} columns", seconds / term.measure_seconds()


def bounds(sizes):
    """Hessians in the time of what a first edit computes for bounds besides its own."""
    n_features = 50
    X, y = random_rows(sizes.n_rows, n_features)
    term = Term(sizes, n_features)
    model = DeltaGradLogisticRegression()
    firsts, rows = [], iter(range(1, 100))
    for _ in range(sizes.n_calls):
        model.fit(X, y)
        firsts.append(timed(model.unlearn, position=0).processor)
    later = [timed(model.unlearn, position=next(rows)).processor for _ in range(9)]
    hessian = term.hessian_seconds()
    yield (
        f"{n_features} columns",
        (np.median(firsts) - np.median(later)) / hessian - 1.0,
    )


def rank_one_change(sizes):
    """q / k, where k rank-one changes of order q take the time of a new factor."""
    rng = np.random.default_rng(3)
    for order in (200, 800):
        X = rng.standard_normal((2 * order, order))
        matrix = X.T @ X
        factor = cholesky(matrix)
        vector = 1e-3 * rng.standard_normal(order)
        one = median_seconds(lambda f=factor, v=vector: add_rank_one(f, v.copy()), 9)
        new = median_seconds(lambda m=matrix: cholesky(m), sizes.n_calls)
        yield f"order {order}", order * one / new


MEASUREMENTS = {
    "columns of a Hessian": columns_of_hessian,
    "sparse entry": sparse_entry,
    "call": call,
    "replay": replay,
    "measuring": measuring,
    "row": row,
    "reading": reading,
    "dealing": dealing,
    "second derivative": second_derivative,
    "predicted step": predicted_step,
    "BLAS": blas,
    "eigenvectors": eigenvectors,
    "correction point": correction_point,
    "loss": loss,
    "factored Hessian": factored_hessian,
    "importance": importance,
    "largest change": largest_change,
    "bounds": bounds,
    "rank-one change": rank_one_change,
}


def main():
    command = parser(__doc__, only=MEASUREMENTS)
    command.add_argument("--rows", type=int, default=40_000)
    command.add_argument("--calls", type=int, default=7, help="for a median")
    options = command.parse_args()
    sizes = Sizes(options.rows, options.calls)
    print_head(["cost", "meaning", "case", "measured", "in the code", "ratio"])
    for name in options.only:
        measure = MEASUREMENTS[name]
        for case, measured, *own in measure(sizes):
            expected = own[0] if own else value_in_code(name)
            print_row([
                name, measure.__doc__, case, f"{measured:.3g}", f"{expected:.3g}",
                f"{measured / expected:.2f}",
            ])  # fmt: skip


if __name__ == "__main__":
    main()
