"""How pictures are written."""

from pathlib import Path

import matplotlib as mpl


def save(figure, file):
    """Write a figure; an SVG comes out the same whenever it is written."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "skdeltagrad"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})
