"""Pictures: their colours, their command line, and how they are written."""

import argparse
from pathlib import Path

import matplotlib as mpl
from _command import Results

# Those of the examples: matplotlib's "petroff10" (Petroff 2021, arXiv 2107.02270),
# which people with colour blindness can tell apart. TEXT is a blue for text, darker.
BLUE, ORANGE, PURPLE, GREY = "#3F90DA", "#FFA90E", "#832DB6", "#94A4A2"
TEXT = "#1F6FB2"


def options(doc, script):
    """The command line of a script that draws results: (results, file, parser)."""
    command = argparse.ArgumentParser(description=doc.splitlines()[0])
    command.add_argument("results", help=f"folder that {script} wrote")
    command.add_argument("picture", help="file to write")
    given = command.parse_args()
    results = Results(given.results)
    if not results.read_all():
        command.error(f"{given.results} has no results: run {script} --out first.")
    return results, given.picture, command


def save(figure, file):
    """Write a figure. Equal figures make equal SVG files, whenever they are written."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "skdeltagrad"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})
