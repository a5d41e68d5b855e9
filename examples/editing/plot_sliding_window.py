"""
Continuous updating in a sliding window
=======================================

Rows keep arriving, and a model of the recent rows is needed: in one edit the new rows
are added and the oldest are removed. The stream is a photograph of which every second
line is read from top to bottom: first sky, then a pagoda, a lake and trees. A ridge
regression predicts the brightness of each pixel from the pixels above and to the left.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image
from sklearn.linear_model import Ridge

from skdeltagrad import DeltaGradRidge

plt.style.use("petroff10")

image = load_sample_image("china.jpg")[::2].mean(axis=2) / 255
n_lines, n_columns = image.shape


def rows_of(line):
    """The eleven neighbours above and to the left of the pixels of a line."""
    inner = slice(3, n_columns - 3)
    shifted = [(1, shift) for shift in range(-3, 4)] + [(2, 0)]
    above = [np.roll(image[line - up], shift)[inner] for up, shift in shifted]
    left = [np.roll(image[line], shift)[inner] for shift in (1, 2, 3)]
    return np.column_stack(above + left), image[line][inner]


# %%
# The id of every row is the number of its line. ``remove_id`` names the line that is
# removed while another is added, in one edit with one report.

WIDTH, FIRST = 20, 2
window = range(FIRST, FIRST + WIDTH)
X, y = (np.concatenate(part) for part in zip(*map(rows_of, window), strict=True))
ids = np.repeat(window, len(y) // WIDTH)
est = DeltaGradRidge(alpha=1e-3).fit(X, y, sample_id=ids)
frozen, growing = est.to_sklearn(), DeltaGradRidge(alpha=1e-3).fit(X, y)

lines = np.arange(FIRST + WIDTH, n_lines)
errors = {
    f"the first {WIDTH} lines": [],
    "all lines so far": [],
    f"the last {WIDTH} lines": [],
}
seconds = []
for line in lines:
    X_new, y_new = rows_of(line)
    for model, error in zip((frozen, growing, est), errors.values(), strict=True):
        error.append(np.sqrt(np.mean((model.predict(X_new) - y_new) ** 2)))
    began = perf_counter()
    new_ids = np.full(len(y_new), line)
    est.partial_refit(X_new, y_new, sample_id=new_ids, remove_id=line - WIDTH)
    seconds.append(perf_counter() - began)
    growing.partial_refit(X_new, y_new)

print(est.update_report_)

# %%
# After all these edits the model equals a fit to the last window. With 13,000 rows of
# eleven columns an edit takes as long as the fit. Its time grows with the number of
# rows that are added and removed, that of the fit with all rows of the window.

window = range(n_lines - WIDTH, n_lines)
X, y = (np.concatenate(part) for part in zip(*map(rows_of, window), strict=True))
began = perf_counter()
fresh = Ridge(alpha=1e-3, solver="cholesky").fit(X, y)
refit_seconds = perf_counter() - began
off = np.linalg.norm(est.coef_ - fresh.coef_) / np.linalg.norm(fresh.coef_)
print(f"relative error of the coefficients: {off:.0e}")
print(f"an edit {1e3 * np.median(seconds):.1f} ms, a fit {1e3 * refit_seconds:.1f} ms")

# %%
# Where the picture changes, the model that is never edited fails. The model of the
# window adapts a little sooner than that of all lines, and its memory does not grow.

for name, error in errors.items():
    print(f"{name:18}mean error {np.mean(error):.4f}")

fig, (left, right) = plt.subplots(
    1, 2, figsize=(9.5, 4.6), sharey=True, layout="constrained", width_ratios=[1, 1.1]
)
left.imshow(load_sample_image("china.jpg")[::2], aspect="auto")
left.set_xticks([])
left.set_ylabel("line, in the order of arrival")
left.set_title("The stream")
styles = (("0.5", ":"), ("C1", "--"), ("C0", "-"))
for (name, error), (colour, style) in zip(errors.items(), styles, strict=True):
    smooth = np.convolve(error, np.ones(9) / 9, mode="valid")
    right.plot(smooth, lines[4:-4], color=colour, linestyle=style, label=name)
right.set_xlabel("error of the next line, mean of nine (root mean square)")
right.set_title("How well the next line is predicted")
right.grid(color="0.93")
right.legend(frameon=False, title="fitted to", loc="lower left")
right.spines[["top", "right"]].set_visible(False)
