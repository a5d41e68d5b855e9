"""What the fingerprints of ``store_data=False`` cost, refuse, and tell an attacker.

    python examples/benchmarks/fingerprints.py

An estimator without rows keeps a fingerprint of each, to refuse rows that were never
trained. Whoever has it, and the key that it holds, can ask the same question. Tables:

1. rows of a service that are accepted: trained ones, as they are and rounded otherwise;
   nearly equal ones; others; and all of them by an attacker without the key;
2. an attacker who knows a training row but for one, two or three columns, and tries all
   values that occur in these;
3. an attacker who tries all rows that there can be, of few columns of few values;
4. what the fingerprints cost in fit.

The data is bundled with scikit-learn, or random. One core.
"""

import argparse
from itertools import product
from time import perf_counter

import numpy as np
from sklearn.datasets import load_breast_cancer

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad._data.fingerprints import Fingerprints
from skdeltagrad._data.rows import AbstractRows

AT_ONCE = 200_000


class Attacker:
    """Somebody who has an estimator without rows, or its dump."""

    def __init__(self, model, key=None):
        self.kept = model._training_set.roster.fingerprints
        self.key = model._key if key is None else key
        self.dtype = model._training_set.rows.dtype

    def accepted(self, X, y):
        """Whether each suspected row, of weight 1, is taken for a training row."""
        rows = AbstractRows.of(np.ascontiguousarray(X, self.dtype))
        fingerprints = Fingerprints(self.key, rows, y)
        found = np.zeros(len(X), bool)
        slots, weight = np.arange(len(X)), np.ones(len(X))
        for which, possible in fingerprints.possible(rows, slots, y, weight):
            place = np.searchsorted(self.kept, possible)
            place = np.minimum(place, len(self.kept) - 1)
            found[which[self.kept[place] == possible]] = True
        return found


def accepted_rows(dtype, rng):
    X, y = load_breast_cancer(return_X_y=True)
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(dtype)
    model = DeltaGradLogisticRegression(store_data=False).fit(X, y)
    attacker = Attacker(model)
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
    stranger = Attacker(model, key=bytes(16))
    print(f"   as they are, without the key       {stranger.accepted(X, y).mean():.6f}")


def unknown_columns(n_unknown, n_rows, rng):
    X, y = load_breast_cancer(return_X_y=True)
    model = DeltaGradLogisticRegression(store_data=False, max_iter=10_000).fit(X, y)
    attacker = Attacker(model)
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
    attacker = Attacker(model)
    every = (np.arange(2**n_columns)[:, np.newaxis] >> np.arange(n_columns)) & 1
    there = {(*map(int, row), int(label)) for row, label in zip(X, y, strict=True)}
    n_right = n_false = 0
    for label in (0, 1):
        for first in range(0, len(every), AT_ONCE):
            some = every[first : first + AT_ONCE]
            accepted = attacker.accepted(some, np.full(len(some), label))
            found = {(*map(int, row), label) for row in some[accepted]}
            n_right += len(found & there)
            n_false += len(found - there)
    print(f"3. {n_rows:,} rows of {n_columns} columns of 0 and 1:")
    print(f"   {2 * len(every):,} rows tried")
    print(f"   {n_right:,} of {len(there):,} found, {n_false} false ones")


def cost(n_rows, n_features, dtype, rng):
    X = rng.standard_normal((n_rows, n_features)).astype(dtype)
    y = rng.integers(0, 2, n_rows)
    rows, weight, slots = AbstractRows.of(X), np.ones(n_rows), np.arange(n_rows)
    fingerprints = Fingerprints(bytes(16), rows, y)
    fingerprints.of(rows, slots[:10], y, weight)
    started = perf_counter()
    kept = np.sort(fingerprints.of(rows, slots, y, weight))
    seconds = perf_counter() - started
    started = perf_counter()
    DeltaGradLogisticRegression().fit(X, y)
    of_fit = seconds / (perf_counter() - started)
    print(
        f"4. {n_rows:,} x {n_features}, {np.dtype(dtype)}: {seconds:.2f} s, "
        f"{of_fit:.1%} of a fit; {kept.nbytes / n_rows:.0f} bytes a row"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--more", action="store_true", help="three unknown columns, too: five minutes"
    )
    options = parser.parse_args()
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
