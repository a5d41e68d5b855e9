"""
Erasure requests over time
==========================

Erasure requests arrive one by one, and each has to be answered before the next. Here a
model answers 150 of them. It has 60,000 rows and predicts from which of two photographs
a pixel comes, given the colours of the 3 x 3 pixels around it. A tile of 8 x 8 pixels
plays the part of a person, whose rows share an id.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression, assert_erased

plt.style.use("petroff10")


def pixels(name):
    """The neighbourhood of each pixel of a photograph, and the tile of the pixel."""
    image = load_sample_image(name) / 255
    patches = sliding_window_view(image, (3, 3), axis=(0, 1))
    line, column = np.indices(patches.shape[:2]) // 8
    tiles = [f"{name} {a} {b}" for a, b in zip(line.flat, column.flat, strict=True)]
    return patches.reshape(-1, 27), tiles


rng = np.random.default_rng(0)
china, china_tiles = pixels("china.jpg")
flower, flower_tiles = pixels("flower.jpg")
rows = rng.permutation(len(china) + len(flower))[:60_000]
X = scale(np.concatenate([china, flower])[rows])
y = np.repeat(["china", "flower"], [len(china), len(flower)])[rows]
people = np.array(china_tiles + flower_tiles)[rows]

est = DeltaGradLogisticRegression().fit(X, y, sample_id=people)
print(est.update_report_)

# %%
# The requests
# ------------
# Each request names a person, and all rows of that person are removed. After every
# tenth request scikit-learn is fitted to the remaining rows to measure the error of the
# model: the largest error of a decision value of any training row. The report of each
# edit contains an upper bound of this error.

start = est.to_sklearn()
remaining = np.ones(len(X), bool)
seconds, bounds, n_passes = [], [], 0
checked, errors, nothing, refit_seconds = [], [], [], []
for number, person in enumerate(rng.permutation(np.unique(people))[:150], 1):
    began = perf_counter()
    est.unlearn(sample_id=person)
    seconds.append(perf_counter() - began)
    bounds.append(est.update_report_.decision_bound)
    n_passes += est.update_report_.n_passes
    remaining &= people != person
    if number % 10 == 0:
        kept, labels = X[remaining], y[remaining]
        began = perf_counter()
        fresh = LogisticRegression(solver="newton-cholesky", tol=1e-7)
        fresh.fit(kept, labels)
        refit_seconds.append(perf_counter() - began)
        exact = fresh.set_params(tol=1e-11, warm_start=True).fit(kept, labels)
        exact = exact.decision_function(kept)
        checked.append(number)
        errors.append(np.abs(est.decision_function(kept) - exact).max())
        nothing.append(np.abs(start.decision_function(kept) - exact).max())

assert np.all(np.array(errors) <= np.array(bounds)[np.array(checked) - 1] + 1e-7)
print(f"{n_passes:g} passes over the rows for {len(seconds)} requests")
est.purge()
print(assert_erased(est, X[~remaining][:20]))

# %%
# The true error is always below the bound, and both are far below the error of
# forgetting nothing. Most edits do not read the remaining rows.

requests = np.arange(1, len(seconds) + 1)
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
left.plot(checked, nothing, "D-", color="0.5", label="nothing forgotten: error")
left.plot(
    requests, bounds, color="C1", drawstyle="steps-mid", label="edited: reported bound"
)
left.plot(checked, errors, "o", color="C0", label="edited: error")
left.set_yscale("log")
left.set_ylim(top=1e3 * max(nothing))
left.set_ylabel("largest error of a decision value")
left.set_title("Error of the model")
refits = np.mean(refit_seconds) * requests
right.plot(requests, refits, color="C1", label="a fresh fit for each")
right.plot(requests, np.cumsum(seconds), color="C0", label="unlearn")
ratio = refits[-1] / np.sum(seconds)
right.text(requests[-1], 0.4 * refits[-1], f"{ratio:.0f} times less", ha="right")
right.set_ylabel("total seconds")
right.set_title("Cost of the requests")
for ax in (left, right):
    ax.set_xlabel("requests answered")
    ax.grid(color="0.93")
    ax.legend(frameon=False, loc="upper left")
    ax.spines[["top", "right"]].set_visible(False)
