"""
Data valuation
==============

What is a training row worth? One answer is the loss of a score on other rows when the
row is removed. Harmful rows, above all rows with wrong labels, have negative values.
Here one label in twelve of handwritten digits 8 and 9 is swapped.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skdeltagrad import DeltaGradLogisticRegression
from skdeltagrad.inspection import data_values

plt.style.use("petroff10")

X, y = load_digits(return_X_y=True)
X, y = X[y >= 8] / 16, y[y >= 8]
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=0.5, random_state=0, stratify=y
)
X_valid, X_test, y_valid, y_test = train_test_split(
    X_test, y_test, train_size=0.5, random_state=0, stratify=y_test
)
rng = np.random.default_rng(0)
wrong = rng.random(len(y_train)) < 1 / 12
y_train[wrong] = 17 - y_train[wrong]

# %%
# The value of a row is the decrease of the mean log-likelihood of the validation rows
# without it. One Hessian gives the values of all rows.

est = DeltaGradLogisticRegression(C=1.0).fit(X_train, y_train)
found = data_values(est, X_valid, y_valid, scoring="neg_log_loss")
order = np.argsort(found.values)
n_wrong = wrong.sum()
print(
    f"{n_wrong} labels are wrong; {wrong[order[:n_wrong]].sum()} of them are among the"
)
print(f"{n_wrong} rows with the lowest values")

# %%
# Do the values hold for rows that they were not computed with? Rows are unlearned with
# the most harmful first, with the most valuable first, or in random order. After every
# few rows the model is tested on a third set of rows.


def curve(order, step=4, n_rows=120):
    est = DeltaGradLogisticRegression(C=1.0).fit(X_train, y_train)
    losses = [test_loss(est)]
    for first in range(0, n_rows, step):
        est.unlearn(position=order[first : first + step])
        losses.append(test_loss(est))
    return np.arange(0, n_rows + 1, step), losses


def test_loss(est):
    probability = est.predict_proba(X_test)
    return -np.log(probability[np.arange(len(y_test)), y_test - 8]).mean()


curves = {
    "the most valuable": curve(order[::-1]),
    "at random": curve(rng.permutation(len(order))),
    "the most harmful": curve(order),
}

# %%
# The upper panels show the eight rows with the lowest values and their given labels.

fig = plt.figure(figsize=(7.2, 5.6), layout="constrained")
above, below = fig.subfigures(2, 1, height_ratios=[1, 3.2])
for ax, row in zip(above.subplots(1, 8), order[:8], strict=True):
    ax.imshow(X_train[row].reshape(8, 8), cmap="gray_r")
    ax.set_title(f'"{y_train[row]}"', color="C2" if wrong[row] else "k")
    ax.set_xticks([])
    ax.set_yticks([])
above.supxlabel("lowest values; red: the label was swapped", fontsize=9, color="0.3")
ax = below.subplots()
styles = (("C2", "^"), ("0.5", "D"), ("C0", "o"))
for (name, (counts, losses)), (colour, marker) in zip(
    curves.items(), styles, strict=True
):
    ax.plot(counts, losses, color=colour, marker=marker, markersize=4, label=name)
ax.set_xlabel(f"rows unlearned, of {len(order)}")
ax.set_ylabel("log-loss on test rows")
ax.set_title("The model improves without harmful rows")
ax.legend(frameon=False, title="unlearned first")
ax.grid(color="0.93")
ax.spines[["top", "right"]].set_visible(False)
