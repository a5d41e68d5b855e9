"""What an observer of a model before and after an edit learns of the removed row.

    python examples/benchmarks/observer.py --data-dir DIR

The observer sees the published coefficients of both models and has a fifth of the
*other* training rows, for example from a public source. The Hessian times the
difference of the coefficients is the gradient of the removed row, a multiple of (x, 1).
The observer estimates the Hessian from the known rows; dividing by the last entry of
the gradient removes the unknown factor. A row counts as reconstructed if the cosine
between the guess and the row, each centred at the mean of the known rows, is above 0.9.

No purge can prevent that, because both models are the ones asked for. Noise on the
published coefficients does: the second figure of a line is with noise of 1e-4, relative
to the largest coefficient.
"""

import _data
import numpy as np
from _command import parser
from _tables import print_head, print_row
from scipy.special import expit

from skdeltagrad import DeltaGradLogisticRegression

# Fraction of the other rows that the observer knows.
_KNOWN = 0.2
# Number of rows that are removed, one at a time.
_N_REMOVED = 30
# Standard deviation of the noise, relative to the largest coefficient.
_NOISE = 1e-4


def reconstructed(before, after, known, penalty):
    """A guess of the removed row; the intercept is the last coefficient."""
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
    """Fractions of rows that are reconstructed, without and with noise."""
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
            guess = reconstructed(before + noise[0], after + noise[1], known, penalty)
            found[number, column] = cosine(guess - centre, X[row] - centre) > 0.9
        model.partial_refit(X[[row]], y[[row]])
    return found.mean(axis=0)


def main():
    folder = parser(__doc__, data=True).parse_args().data_dir
    sets = {"higgs": _data.higgs, "a9a": _data.a9a}
    print_head(["set", "rows reconstructed", f"with noise of {_NOISE}"])
    for name, load in sets.items():
        print_row([name, *(f"{fraction:.0%}" for fraction in fractions(*load(folder)))])


if __name__ == "__main__":
    main()
