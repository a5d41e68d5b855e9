"""What an observer of a model before and after an edit learns of the removed row.

    python examples/benchmarks/observer.py --data-dir DIR

The observer sees the published coefficients of both models, and has a fifth of the
*other* training rows, say from a public source. The difference of the coefficients,
times the Hessian at them, is the gradient of the removed row: a multiple of (x, 1). The
Hessian is estimated from the rows that are known; the row's own factor drops out by the
intercept. A row counts as rebuilt when the cosine between the guess and the row, each
centred at the mean of the known rows, is above 0.9.

No purge can prevent that, since both models are what they have to be. Noise on the
published coefficients does: the second figure of a line is with noise of 1e-4, relative
to the largest coefficient.
"""

import argparse

import _data
import numpy as np
from scipy.special import expit

from skdeltagrad import DeltaGradLogisticRegression

# Known fraction of the other rows; rows removed, one at a time; noise.
_KNOWN = 0.2
_N_REMOVED = 30
_NOISE = 1e-4


def rebuilt(before, after, known, penalty):
    """The guess of a row from coefficients with the intercept last."""
    design = np.column_stack([known, np.ones(len(known))])
    probability = expit(design @ after)
    weights = probability * (1.0 - probability) / _KNOWN
    hessian = (design.T * weights) @ design + np.diag(penalty)
    gradient = hessian @ (after - before)
    return gradient[:-1] / gradient[-1]


def cosine(guess, row):
    size = np.linalg.norm(guess) * np.linalg.norm(row)
    return abs(guess @ row) / size if size > 0 else 0.0


def fractions(X, y, seed=0):
    """Fraction of rows that are rebuilt, without and with noise."""
    rng = np.random.default_rng(seed)
    model = DeltaGradLogisticRegression().fit(X, y)
    penalty = np.append(np.ones(X.shape[1]), 0.0) / model.C
    found = np.zeros((_N_REMOVED, 2))
    for number, row in enumerate(rng.permutation(len(y))[:_N_REMOVED]):
        before = np.append(model.purge().coef_, model.intercept_)
        model.unlearn(position=row)
        after = np.append(model.purge().coef_, model.intercept_)
        others = np.setdiff1d(np.arange(len(y)), [row])
        known = X[rng.choice(others, int(_KNOWN * len(others)), replace=False)]
        centre = known.mean(axis=0)
        for column, size in enumerate((0.0, _NOISE)):
            noise = size * np.abs(after).max() * rng.standard_normal((2, len(after)))
            guess = rebuilt(before + noise[0], after + noise[1], known, penalty)
            found[number, column] = cosine(guess - centre, X[row] - centre) > 0.9
        model.partial_refit(X[[row]], y[[row]])
    return found.mean(axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir")
    folder = parser.parse_args().data_dir
    sets = {"higgs": _data.higgs(folder), "a9a": _data.a9a(folder)}
    print(f"{'':10s} rows rebuilt  with noise of {_NOISE}")
    for name, (X, y) in sets.items():
        plain, noisy = fractions(X, y)
        print(f"{name:10s} {plain:12.0%} {noisy:11.0%}", flush=True)


if __name__ == "__main__":
    main()
