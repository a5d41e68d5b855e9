"""
Why hyper-parameters remember the data
======================================

``C`` was chosen by cross-validation on all rows, including those that are now to be
forgotten. Unlearning edits the model for *this* ``C`` and does not choose it again. To
choose again, edit the models of all folds: no model has to be fitted again.

Here a contributor withdraws 60 of the 569 rows, half of which had swapped labels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression

plt.style.use("petroff10")

X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
rng = np.random.default_rng(0)
leaving = rng.choice(len(X), 60, replace=False)
y[leaving[::2]] = 1 - y[leaving[::2]]

# %%
# Cross-validation is written out here to keep the model of every fold and every ``C``.
# The row numbers serve as ids, so that a row can be found in the folds that it trained.

Cs = np.logspace(-4, 2, 13)
row_numbers = np.arange(len(X))
folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y))
models = {
    (C, fold): DeltaGradLogisticRegression(C=C).fit(
        X[train], y[train], sample_id=row_numbers[train]
    )
    for C in Cs
    for fold, (train, _) in enumerate(folds)
}


def losses(rows):
    """Cross-validated log-loss of some rows for each C."""
    found = []
    for C in Cs:
        probability = np.full(len(X), np.nan)
        for fold, (_, left_out) in enumerate(folds):
            probability[left_out] = models[C, fold].predict_proba(X[left_out])[:, 1]
        found.append(log_loss(y[rows], probability[rows]))
    return np.array(found)


before = losses(row_numbers)

# %%
# The rows are removed from every model that they trained.

for model in models.values():
    model.unlearn(sample_id=leaving, on_missing="ignore")
staying = np.setdiff1d(row_numbers, leaving)
after = losses(staying)

C_before, C_after = Cs[before.argmin()], Cs[after.argmin()]
print(f"C chosen with the rows: {C_before:.3g}, without: {C_after:.3g}")

# %%
# A search on the remaining rows would make the same choice:

fresh = np.zeros(len(Cs))
for number, C in enumerate(Cs):
    for train, left_out in folds:
        train = np.setdiff1d(train, leaving)
        left_out = np.setdiff1d(left_out, leaving)
        model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-8)
        probability = model.fit(X[train], y[train]).predict_proba(X[left_out])[:, 1]
        fresh[number] += log_loss(y[left_out], probability, normalize=False)
fresh /= len(staying)
print(f"largest difference of a loss: {np.abs(fresh - after).max():.0e}")

# %%
# With the wrong labels, strong regularisation seemed right. If that ``C`` is kept after
# the rows are removed, it still contains information on them, and the model is worse.

fig, ax = plt.subplots(figsize=(6.6, 4.4), layout="constrained")
for curve, C, label, colour, marker in (
    (before, C_before, "with the rows", "C1", "s"),
    (after, C_after, "after their removal, by edits", "C0", "o"),
):
    ax.plot(Cs, curve, color=colour, marker=marker, markersize=4, label=label)
    ax.plot(C, curve.min(), marker, color=colour, markersize=11, fillstyle="none")
    ax.annotate(
        f"C = {C:.2g}", (C, curve.min()), xytext=(0, -20), ha="center",
        textcoords="offset points", color=colour,
    )  # fmt: skip
kept = after[before.argmin()]
ax.annotate(
    f"the old choice costs {100 * (kept / after.min() - 1):.0f}%",
    (C_before, kept), xytext=(-30, -14), textcoords="offset points", ha="right",
    va="center", color="0.3", arrowprops={"arrowstyle": "->", "color": "0.5"},
)  # fmt: skip
ax.set_xscale("log")
ax.set_ylim(bottom=0)
ax.set_xlabel("C")
ax.set_ylabel("cross-validated log-loss")
ax.set_title("The chosen C remembers the rows that chose it")
ax.legend(frameon=False)
ax.grid(color="0.93")
ax.spines[["top", "right"]].set_visible(False)
