"""What the fingerprints of ``store_data=False`` cost, refuse, and reveal.

    python examples/benchmarks/fingerprints.py

An estimator without rows keeps a fingerprint of each, to refuse the removal of rows
that were never trained. An attacker who has the fingerprints and their key can ask the
same question. Four tables show:

1. which rows are accepted: training rows as they are and with small changes, other
   rows, and training rows by an attacker without the key;
2. what an attacker finds who knows a training row except for one, two or three columns,
   and tries all values that occur in these;
3. what an attacker finds who tries all possible rows of few columns with few values;
4. what the fingerprints cost in `fit`.

The data is bundled with scikit-learn, or random.
"""

from itertools import product
from time import perf_counter

import numpy as np
from _command import parser
from _internals import (
    fingerprints_of_rows,
    kept_fingerprints,
    key,
    possible_fingerprints,
)
from _timing import timed
from sklearn.datasets import load_breast_cancer

from skdeltagrad import DeltaGradLogisticRegression

# Number of guesses that are tested together.
AT_ONCE = 200_000


class Attacker:
    """An attacker who has an estimator without rows, or its dump, and maybe the key."""

    def __init__(self, model, dtype, key_=None):
        self.kept = kept_fingerprints(model)
        self.key = key(model) if key_ is None else key_
        self.dtype = dtype

    def accepted(self, X, y):
        """Whether each row, with weight 1, is taken for a training row."""
        found = np.zeros(len(X), bool)
        for which, possible in possible_fingerprints(self.key, X, y, self.dtype):
            place = np.searchsorted(self.kept, possible)
            place = np.minimum(place, len(self.kept) - 1)
            found[which[self.kept[place] == possible]] = True
        return found


def accepted_rows(dtype, rng):
    X, y = load_breast_cancer(return_X_y=True)
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(dtype)
    model = DeltaGradLogisticRegression(store_data=False).fit(X, y)
    attacker = Attacker(model, dtype)
    print(f"\n1. breast_cancer, {np.dtype(dtype)}, {len(X)} rows: fraction accepted")
    print(f"   as they are                        {attacker.accepted(X, y).mean():.6f}")
    length = np.linalg.norm(X, axis=1, keepdims=True)
    distances = 1000 * np.finfo(dtype).eps * np.array([0.9, 10, 30, 100, 300, 1000])
    for distance in distances:
        direction = rng.standard_normal((100, *X.shape))
        direction /= np.linalg.norm(direction, axis=2, keepdims=True)
        near = np.vstack(X + distance * length * direction)
        fraction = attacker.accepted(near, np.tile(y, 100)).mean()
        print(f"   off by {distance:7.1e} of their length     {fraction:.6f}")
    n_others = 2_000_000
    n_accepted = 0
    for _ in range(n_others // AT_ONCE):
        others = np.column_stack([rng.choice(column, AT_ONCE) for column in X.T])
        n_accepted += attacker.accepted(others, rng.integers(0, 2, AT_ONCE)).sum()
    print(f"   {n_others:,} others, columns shuffled  {n_accepted} accepted")
    stranger = Attacker(model, dtype, key_=bytes(16))
    print(f"   as they are, without the key       {stranger.accepted(X, y).mean():.6f}")


def unknown_columns(n_unknown, n_rows, rng):
    X, y = load_breast_cancer(return_X_y=True)
    model = DeltaGradLogisticRegression(store_data=False, max_iter=10_000).fit(X, y)
    attacker = Attacker(model, float)
    n_tried = n_right = n_false = 0
    started = perf_counter()
    for row in rng.choice(len(X), n_rows, replace=False):
        columns = rng.choice(X.shape[1], n_unknown, replace=False)
        values = [np.unique(X[:, column]) for column in columns]
        last = np.stack(np.meshgrid(*values[-2:], indexing="ij"), -1)
        last = last.reshape(-1, min(n_unknown, 2))
        for first in product(*values[:-2]):
            for some in np.array_split(last, -(-len(last) // AT_ONCE)):
                guesses = np.tile(X[row], (len(some), 1))
                guesses[:, columns[: len(first)]] = first
                guesses[:, columns[len(first) :]] = some
                accepted = attacker.accepted(guesses, np.full(len(some), y[row]))
                right = (guesses[accepted] == X[row]).all(axis=1)
                n_right += right.sum()
                n_false += (~right).sum()
                n_tried += len(some)
    per_million = 1e6 * (perf_counter() - started) / n_tried
    print(f"2. breast_cancer, {n_unknown} columns unknown, {n_rows} rows:")
    print(f"   {n_tried / n_rows:,.0f} guesses a row, {per_million:.2g} s a million")
    print(
        f"   right ones found {n_right / n_rows:.2f}, false ones {n_false / n_rows:.2g}"
    )


def all_rows(n_columns, n_rows, rng):
    X = rng.integers(0, 2, (n_rows, n_columns)).astype(float)
    y = rng.integers(0, 2, n_rows)
    model = DeltaGradLogisticRegression(store_data=False).fit(X, y)
    attacker = Attacker(model, float)
    every = (np.arange(2**n_columns)[:, np.newaxis] >> np.arange(n_columns)) & 1
    trained = {(*map(int, row), int(label)) for row, label in zip(X, y, strict=True)}
    n_right = n_false = 0
    for label in (0, 1):
        for first in range(0, len(every), AT_ONCE):
            some = every[first : first + AT_ONCE]
            accepted = attacker.accepted(some, np.full(len(some), label))
            found = {(*map(int, row), label) for row in some[accepted]}
            n_right += len(found & trained)
            n_false += len(found - trained)
    print(f"3. {n_rows:,} rows of {n_columns} columns of 0 and 1:")
    print(f"   {2 * len(every):,} rows tried")
    print(f"   {n_right:,} of {len(trained):,} found, {n_false} false ones")


def cost(n_rows, n_features, dtype, rng):
    X = rng.standard_normal((n_rows, n_features)).astype(dtype)
    y = rng.integers(0, 2, n_rows)
    fingerprints_of_rows(bytes(16), X, y, 10)  # compiles the kernels
    made = timed(lambda: np.sort(fingerprints_of_rows(bytes(16), X, y)))
    seconds, kept = made.wall, made.result
    of_fit = seconds / timed(DeltaGradLogisticRegression().fit, X, y).wall
    print(
        f"4. {n_rows:,} x {n_features}, {np.dtype(dtype)}: {seconds:.2f} s, "
        f"{of_fit:.1%} of a fit; {kept.nbytes / n_rows:.0f} bytes a row"
    )


def main():
    command = parser(__doc__)
    command.add_argument(
        "--more", action="store_true", help="three unknown columns, too: five minutes"
    )
    options = command.parse_args()
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        accepted_rows(dtype, rng)
    print()
    unknown_columns(1, 100, rng)
    unknown_columns(2, 20, rng)
    if options.more:
        unknown_columns(3, 1, rng)
    print()
    all_rows(12, 1000, rng)
    all_rows(20, 10_000, rng)
    print()
    for dtype in (np.float64, np.float32):
        cost(1_000_000, 30, dtype, rng)
        cost(200_000, 200, dtype, rng)


if __name__ == "__main__":
    main()
