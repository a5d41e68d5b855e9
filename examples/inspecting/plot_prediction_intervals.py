"""
Prediction intervals
====================

The jackknife+ of Barber, Candes, Ramdas and Tibshirani computes prediction intervals
from any regression. Their coverage is guaranteed for any distribution of the data. It
needs the model without each training row: one Hessian gives all of these, instead of as
many fits as there are rows.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradRidge
from skdeltagrad.inspection import jackknife_plus

plt.style.use("petroff10")

X, y = load_diabetes(return_X_y=True)
X = scale(X)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=150, random_state=0
)
est = DeltaGradRidge(alpha=10.0).fit(X_train, y_train)

began = perf_counter()
lower, upper = jackknife_plus(est, X_test, alpha=0.1)
seconds = perf_counter() - began

# %%
# Refitting 150 times gives the same intervals.

began = perf_counter()
low, high = [], []
for row in range(len(y_train)):
    model = clone(Ridge(alpha=10.0))
    model.fit(np.delete(X_train, row, axis=0), np.delete(y_train, row))
    residual = abs(y_train[row] - model.predict(X_train[[row]])[0])
    low.append(model.predict(X_test) - residual)
    high.append(model.predict(X_test) + residual)
rank = int(np.ceil(0.9 * (len(y_train) + 1)))
by_refits = -np.sort(-np.array(low), axis=0)[rank - 1], np.sort(high, axis=0)[rank - 1]
refit_seconds = perf_counter() - began
assert np.allclose((lower, upper), by_refits)
print(f"{seconds:.3f} s, by refits {refit_seconds:.3f} s")

# %%
# Is the coverage as promised? Nine in ten of the test patients should be inside their
# intervals.

inside = (lower <= y_test) & (y_test <= upper)
alphas = np.linspace(0.05, 0.6, 12)
coverage = []
for alpha in alphas:
    ends = jackknife_plus(est, X_test, alpha=alpha)
    coverage.append(np.mean((ends[0] <= y_test) & (y_test <= ends[1])))

fig, (left, right) = plt.subplots(
    1, 2, figsize=(9.5, 4), layout="constrained", width_ratios=[1.7, 1]
)
order = np.argsort(est.predict(X_test))
place = np.arange(len(order))
left.fill_between(
    place, lower[order], upper[order], color="C0", alpha=0.2, linewidth=0, step="mid",
    label="interval, alpha=0.1",
)  # fmt: skip
left.plot(place, est.predict(X_test)[order], color="C0", label="prediction")
for is_in, style in ((True, ".k"), (False, "xC2")):
    chosen = inside[order] == is_in
    label = f"{chosen.sum()} {'inside' if is_in else 'outside'}"
    left.plot(place[chosen], y_test[order][chosen], style, markersize=6, label=label)
left.set_xlabel("test patients, by prediction")
left.set_ylabel("disease progression after a year")
left.set_title(f"{100 * inside.mean():.0f}% of new patients are in the 90% interval")
left.set_ylim(top=530)
left.legend(frameon=False, ncols=2, loc="upper left")
right.plot([0.4, 1], [0.4, 1], color="0.7", label="nominal")
right.plot([0.4, 1], [-0.2, 1], color="0.7", linestyle=":", label="guaranteed")
right.plot(1 - alphas, coverage, "oC0", label="jackknife+")
right.set_xlim(0.4, 1)
right.set_ylim(0.3, 1.02)
right.set_xlabel("nominal coverage, 1 - alpha")
right.set_ylabel("fraction of test patients inside")
right.set_title("At every level")
right.legend(frameon=False)
for ax in (left, right):
    ax.grid(color="0.93")
    ax.spines[["top", "right"]].set_visible(False)
