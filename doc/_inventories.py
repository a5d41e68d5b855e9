"""Links to other projects: their inventories, or a few names where there is no network.

Sphinx takes the first inventory that it can read: the one on the project's site, then
the short list below. So a page is built without a warning either way.
"""

import zlib
from pathlib import Path

SITES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "sklearn": "https://scikit-learn.org/stable/",
}

# Name, kind, and page, for names that are used here.
NAMES = {
    "python": [
        ("ValueError", "py:exception", "library/exceptions.html#ValueError"),
        ("MemoryError", "py:exception", "library/exceptions.html#MemoryError"),
    ],
    "numpy": [
        ("numpy.ndarray", "py:class", "reference/generated/numpy.ndarray.html"),
    ],
    "sklearn": [
        ("accuracy_score", "std:label", "modules/model_evaluation.html#accuracy-score"),
        ("r2_score", "std:label", "modules/model_evaluation.html#r2-score"),
        *(
            (name, "py:class", f"modules/generated/{name}.html")
            for name in (
                "sklearn.linear_model.LogisticRegression",
                "sklearn.linear_model.Ridge",
                "sklearn.pipeline.Pipeline",
                "sklearn.preprocessing.StandardScaler",
            )
        ),
    ],
}


def mapping(folder):
    """What ``intersphinx_mapping`` takes; writes the short lists into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for project, site in SITES.items():
        file = folder / f"{project}.inv"
        lines = [f"{name} {kind} 1 {page} -\n" for name, kind, page in NAMES[project]]
        head = (
            f"# Sphinx inventory version 2\n# Project: {project}\n# Version: stable\n"
            "# The remainder of this file is compressed using zlib.\n"
        )
        file.write_bytes(head.encode() + zlib.compress("".join(lines).encode()))
        found[project] = (site, (None, str(file.relative_to(Path(__file__).parent))))
    return found
