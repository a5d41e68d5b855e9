"""
Speed and accuracy against refitting
====================================

How long does it take to forget rows, and how far is the result from a fit to the
remaining rows? Times are only meaningful for many rows. The two photographs that come
with scikit-learn have more than half a million pixels. The model predicts from which of
them a pixel comes, given the colours of the 3 x 3 pixels around it: 27 columns.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression

plt.style.use("petroff10")


def neighbourhoods(name):
    patches = sliding_window_view(load_sample_image(name) / 255, (3, 3), axis=(0, 1))
    return patches.reshape(-1, 27)


china, flower = neighbourhoods("china.jpg"), neighbourhoods("flower.jpg")
rng = np.random.default_rng(0)
X = scale(np.concatenate([china, flower]))
y = np.repeat([0, 1], [len(china), len(flower)])
order = rng.permutation(len(X))[:100_000]
X, y = X[order], y[order]
print(X.shape)

# %%
# ``unlearn`` is compared with scikit-learn's fastest solver for data of this shape,
# started from zero (cold) and from the old solution (warm). ``tol`` is as small as an
# accurate result requires: with the default, a warm start would stop at once, because
# the gradient is already small.


def timed(function, *args):
    started = perf_counter()
    result = function(*args)
    return perf_counter() - started, result


def refit(X, y, start=None, tol=1e-7):
    model = LogisticRegression(solver="newton-cholesky", tol=tol, max_iter=1000)
    if start is not None:
        model.set_params(warm_start=True)
        model.coef_, model.intercept_ = start.coef_.copy(), start.intercept_.copy()
        model.classes_ = start.classes_
    return timed(model.fit, X, y)


def flat(model):
    return np.append(model.coef_, model.intercept_)


est = DeltaGradLogisticRegression().fit(X, y)
est.unlearn(position=0)  # the first edit computes the Hessian and compiles
live = np.arange(1, len(X))

sizes = [1, 10, 100, 1_000, 5_000]
seconds = {"unlearn": [], "warm start": [], "cold start": []}
errors = []
for size in sizes:
    old = est.to_sklearn()
    removed, live = live[:size], live[size:]
    spent, _ = timed(lambda rows=removed: est.unlearn(position=rows))
    seconds["unlearn"].append(spent)
    warm, _ = refit(X[live], y[live], old)
    cold, fresh = refit(X[live], y[live])
    seconds["warm start"].append(warm)
    seconds["cold start"].append(cold)
    exact = flat(refit(X[live], y[live], fresh, tol=1e-12)[1])
    moved = np.linalg.norm(flat(old) - exact)
    errors.append(np.linalg.norm(flat(est) - exact) / moved)
    print(
        f"{size:>6,} rows: {spent:.4f} s, warm {warm:.2f} s, cold {cold:.2f} s; "
        f"relative error {errors[-1]:.0e}"
    )

# %%
# To remove few rows costs a small fraction of a refit. The error is below ``edit_tol``,
# one hundredth of the distance that the model moved since the rows were last read.

fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
styles = {"unlearn": "oC0", "warm start": "sC1", "cold start": "DC2"}
for name, style in styles.items():
    left.plot(sizes, seconds[name], style, linestyle="-", label=name)
left.set_title("Time")
left.set_ylabel("seconds")
left.legend(frameon=False, ncols=3)
right.plot(sizes, errors, "oC0", linestyle="-")
right.axhline(est.edit_tol, color="0.4", linestyle="--")
right.text(1, 1.5 * est.edit_tol, "edit_tol: accepted error", color="0.4")
right.axhline(1, color="0.4", linestyle=":")
right.text(1, 1.5, "doing nothing", color="0.4")
right.set_title("Error relative to the change")
right.set_yscale("log")
right.set_ylim(top=10)
left.set_yscale("log")
left.set_ylim(top=8 * max(seconds["cold start"]))
for ax in (left, right):
    ax.set_xscale("log")
    ax.set_xlabel("rows removed at once, of 100,000")
    ax.grid(color="0.93")
    ax.spines[["top", "right"]].set_visible(False)
