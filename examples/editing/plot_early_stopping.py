"""
Early-stopped models, and why the path matters
==============================================

A model that was trained for only a few steps is not an optimum. It is a point on the
path of gradient descent. To forget rows it is not enough to edit an optimum: the whole
path has to become that of the remaining rows. DeltaGrad replays the path, and predicts
most gradients instead of computing them.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skdeltagrad import DeltaGradLogisticRegression

plt.style.use("petroff10")

X, y = load_digits(return_X_y=True)
X, y = X / 16, (y >= 5).astype(int)

est = DeltaGradLogisticRegression(solver="gd", max_iter=60, period=3).fit(X, y)
path = est.trajectory_.iterates.reshape(61, -1).copy()
print(f"accuracy after 60 steps: {est.score(X, y):.3f}")

# %%
# All nines are removed
# ---------------------
# They are a tenth of the rows and similar to each other, so that the model changes a
# lot. With so few rows a retrain takes no longer than a replay, and the default
# ``period="auto"`` would retrain. The paper's ``period`` forces a replay: after ten
# steps, one gradient in three is computed.

est.unlearn(position=np.flatnonzero(load_digits().target == 9))
replayed = est.trajectory_.iterates.reshape(61, -1).copy()
print(est.update_report_)

# %%
# The replay is compared with the same steps on the remaining rows, where every gradient
# is computed.

est.partial_refit()
exact = est.trajectory_.iterates.reshape(61, -1).copy()
off = np.linalg.norm(replayed[-1] - exact[-1]) / np.linalg.norm(path[-1] - exact[-1])
print(f"error relative to the change: {off:.1e}")

# %%
# The optimum of the remaining rows, which the default solver would compute, is a very
# different model.

optimum = LogisticRegression(solver="newton-cholesky")
kept = load_digits().target != 9
optimum.fit(X[kept], y[kept])
optimum = np.append(optimum.coef_, optimum.intercept_)

# %%
# The figure shows all paths in the plane of their first two principal directions. The
# replay ends where the exact retrain ends.

everything = np.concatenate([path, exact])
_, _, directions = np.linalg.svd(everything - everything[0], full_matrices=False)


def in_plane(points):
    return (points - everything[0]) @ directions[:2].T


fig, ax = plt.subplots(figsize=(6.6, 4.6), layout="constrained")
for points, label, colour, style, width in (
    (path, "before: all rows", "0.5", "-", 1.5),
    (exact, "retrained without the nines", "C1", "-", 5),
    (replayed, "replayed without the nines", "C0", "-", 1.5),
):
    x1, x2 = in_plane(points).T
    ax.plot(x1, x2, style, color=colour, linewidth=width, label=label)
    ax.plot(x1[-1], x2[-1], "o", color=colour, markersize=4 + 1.5 * width)
ax.plot(0, 0, "ks", markersize=5)
ax.annotate("start", (0, 0), xytext=(0, -14), ha="center", textcoords="offset points")
x1, x2 = in_plane(optimum)
ax.plot(x1, x2, "*", color="k", markersize=12)
ax.annotate(
    "optimum of the remaining rows", (x1, x2), xytext=(12, 0), va="center",
    textcoords="offset points",
)  # fmt: skip
ax.set_xlabel("first principal direction of the coefficients")
ax.set_ylabel("second principal direction")
ax.set_title("An early-stopped model is a point on a path")
ax.legend(frameon=False, loc="lower left")
ax.grid(color="0.93")
ax.spines[["top", "right"]].set_visible(False)
