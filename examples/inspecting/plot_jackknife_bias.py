"""
Jackknife: bias reduction and standard errors
=============================================

The coefficients of a logistic regression on few rows are too large on average: the
estimate is biased. The jackknife estimates this bias by leaving out one row at a time.
This takes as many fits as there are rows, or one Hessian.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad.inspection import jackknife

plt.style.use("petroff10")

data = load_breast_cancer()
names = ["mean texture", "mean smoothness", "mean symmetry"]
columns = [list(data.feature_names).index(name) for name in names]
X, y = scale(data.data[:, columns]), data.target

# %%
# The population consists of the 569 rows of the breast cancer data with three of its
# columns, so that its coefficients are known. Samples of 60 rows are drawn from it.

C = 1e4
truth = DeltaGradLogisticRegression(C=C).fit(X, y).coef_[0]

rng = np.random.default_rng(0)
draws = []
for _ in range(200):
    rows = rng.choice(len(X), 60)
    result = jackknife(DeltaGradLogisticRegression(C=C).fit(X[rows], y[rows]))
    draws.append((result.estimate[:3], result.corrected[:3], result.standard_error[:3]))
plain, corrected, standard_error = np.swapaxes(draws, 0, 1)

print(f"{'':18}{'bias':>8}{'corrected':>11}{'spread':>9}{'estimated':>11}")
for column, name in enumerate(names):
    bias = plain[:, column].mean() - truth[column]
    left = corrected[:, column].mean() - truth[column]
    spread, estimated = plain[:, column].std(), standard_error[:, column].mean()
    print(f"{name:18}{bias:8.3f}{left:11.3f}{spread:9.3f}{estimated:11.3f}")

# %%
# The corrected estimates are centred at the true coefficients, and vary less.

fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for column, true in enumerate(truth):
    for estimates, shift, colour in ((plain, 0.17, "C1"), (corrected, -0.17, "C0")):
        place = column + shift
        values = estimates[:, column]
        jitter = place + 0.1 * (rng.random(len(values)) - 0.5)
        ax.plot(values, jitter, ".", color=colour, alpha=0.25, markersize=5)
        ax.plot(values.mean(), place, "D", color=colour, markeredgecolor="k")
    ax.plot([true, true], [column - 0.36, column + 0.36], "k-", linewidth=2)
ax.set_yticks(range(3), names)
ax.set_ylim(2.6, -0.9)
ax.plot([], [], "D", color="C0", markeredgecolor="k", label="corrected, and mean")
ax.plot([], [], "D", color="C1", markeredgecolor="k", label="as fitted, and mean")
ax.plot([], [], "k-", linewidth=2, label="all 569 rows")
ax.set_xlabel("coefficient")
ax.set_title("200 samples of 60 rows: the jackknife removes most of the bias")
ax.legend(frameon=False, ncols=3, loc="upper center")
ax.tick_params(axis="y", length=0)
ax.spines[["top", "right", "left"]].set_visible(False)
