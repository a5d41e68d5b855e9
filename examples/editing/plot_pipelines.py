"""
Pipelines: what is edited, and what is not
==========================================

A pipeline is asked to forget rows in the form in which its ``fit`` got them. The fitted
transformers transform them, and the last step forgets them. The transformers are not
changed: a ``StandardScaler`` keeps means and scales to which the removed rows
contributed. How much does that matter?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression

plt.style.use("petroff10")

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
pipeline = make_pipeline(StandardScaler(), DeltaGradLogisticRegression())
pipeline.fit(X, y)

# %%
# One call removes untransformed rows. Positions and ids need no transformer: they are
# given to the last step.

skdeltagrad.unlearn(pipeline, X[:3], y[:3])
pipeline[-1].unlearn(position=[3, 4])
print(pipeline[-1].update_report_)

# %%
# Two references
# --------------
# More and more rows are removed. The pipeline is compared with two fits to the
# remaining rows: one of the last step alone, behind the same scaler, and one of the
# whole pipeline, whose scaler forgets, too. An error is the largest difference of a
# predicted probability.

order = np.random.default_rng(0).permutation(np.arange(5, len(X)))
sizes = [5, 15, 30, 60, 120, 240]
same_scaler, new_scaler, nothing = [], [], []
start = pipeline.predict_proba(X)[:, 1]
n_removed = 5
for size in sizes:
    pipeline[-1].unlearn(position=order[n_removed - 5 : size - 5])
    n_removed = size
    kept = np.sort(order[size - 5 :])
    X_kept, y_kept = X.iloc[kept], y.iloc[kept]
    exact = LogisticRegression(solver="newton-cholesky", tol=1e-10)
    whole = make_pipeline(StandardScaler(), clone(exact)).fit(X_kept, y_kept)
    last = exact.fit(pipeline[:-1].transform(X_kept), y_kept)

    ours = pipeline.predict_proba(X)[:, 1]
    behind = last.predict_proba(pipeline[:-1].transform(X))[:, 1]
    fresh = whole.predict_proba(X)[:, 1]
    same_scaler.append(np.abs(ours - behind).max())
    new_scaler.append(np.abs(ours - fresh).max())
    nothing.append(np.abs(start - fresh).max())

# %%
# The edit of the last step is accurate to far below a thousandth. The remaining error
# is that of the scaler. Where it matters, use means and scales that do not depend on
# single rows, for example published ones, or fit the whole pipeline again from time to
# time.

fig, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
for errors, label, style in (
    (nothing, "nothing forgotten", {"color": "0.5", "marker": "D"}),
    (
        new_scaler,
        "edited, compared with a fresh pipeline",
        {"color": "C1", "marker": "s"},
    ),
    (
        same_scaler,
        "edited, compared with a fit behind the same scaler",
        {"color": "C0", "marker": "o"},
    ),
):
    ax.plot(sizes, errors, label=label, **style)
ax.set_xscale("log")
ax.set_yscale("log")
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.set_ylim(top=1e3)
ax.set_xlabel("rows removed, of 569")
ax.set_ylabel("largest error of a probability")
ax.set_title("The model forgets; the scaler before it remembers")
ax.grid(color="0.93")
ax.legend(frameon=False, loc="upper left")
ax.spines[["top", "right"]].set_visible(False)
