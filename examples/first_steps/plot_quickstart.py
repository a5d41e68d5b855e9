"""
Forget, add and correct training rows
=====================================

A model is fitted once. Then rows are removed, added and corrected, and after each edit
the model is the one that a fit to the current training rows would give. The data are
569 biopsies of the Wisconsin breast cancer study.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skdeltagrad import DeltaGradLogisticRegression, assert_erased

plt.style.use("petroff10")

X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
est = DeltaGradLogisticRegression().fit(X, y)
before = est.to_sklearn()

# %%
# Forget
# ------
# Rows are named by their content, by their position in ``fit``, or by an id that was
# given to ``fit``. The report says what was done, and how far the model can be from the
# optimum of the remaining rows.

est.unlearn(X[:30], y[:30])
print(est.update_report_)

# %%
# Edits leave rounding errors in memory from which an attacker who has the model and the
# other rows could reconstruct a removed one. A purge removes them. After it nothing in
# the estimator contains the removed rows:

est.purge()
print(assert_erased(est, X[:30]))

# %%
# Is it the right model?
# ----------------------
# The reference is scikit-learn, fitted to the other 539 rows. The edit changed each
# coefficient by as much as this fit.

fresh = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(X[30:], y[30:])

by_fit = (fresh.coef_ - before.coef_)[0]
by_edit = (est.coef_ - before.coef_)[0]
off = np.linalg.norm(by_edit - by_fit) / np.linalg.norm(by_fit)

fig, ax = plt.subplots(figsize=(5.2, 4.8), layout="constrained")
ends = np.array([by_fit.min(), by_fit.max()]) * 1.08
ax.plot(ends, ends, color="0.75", zorder=0)
ax.axhline(0, color="0.75", linestyle=":", zorder=0)
ax.annotate("doing nothing", (ends[0], 0), va="bottom", color="0.4")
ax.annotate("the same", 0.8 * ends[[1, 1]], ha="right", va="bottom", color="0.4")
ax.plot(by_fit, by_edit, "o", alpha=0.8)
ax.set_xlabel("change of a coefficient by a fresh fit of scikit-learn")
ax.set_ylabel("change by unlearn")
ax.set_title(f"Error of the edit relative to the change: {off:.0e}")
ax.spines[["top", "right"]].set_visible(False)

# %%
# Add and correct
# ---------------
# Ten rows are added again, and the label of row 100 is corrected. ``partial_refit()``
# without rows retrains the model exactly.

est.partial_refit(X[:10], y[:10])
print(est.update_report_)

# %%

est.partial_refit(X[[100]], [1 - y[100]], position=100, replace=True)
print(est.update_report_)

# %%

est.partial_refit()
print(est.update_report_)

# %%
# A model to hand over
# --------------------
# The fitted estimator contains its training rows. ``to_sklearn`` gives a plain
# ``LogisticRegression`` that does not.

print(est.to_sklearn())
