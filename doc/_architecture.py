"""The picture of the architecture, drawn from the floors that the tests hold.

``tests/test_architecture.py`` has the floors as data; the documentation draws them when
it is built, so that the picture is never older than the code.
"""

import runpy
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]

WHAT = {
    "face": "what is imported",
    "estimators": "scikit-learn's contract",
    "engines": "fit a model, follow edits",
    "seam": "what engines and reports are",
    "parts": "rows, sums over rows, search",
    "ground": "know nothing of learning",
}

WIDTH, LEFT, LINE, PAD = 960, 270, 26, 8
LETTER = 7.3
ABOVE, BELOW, INK = "#dbe9f6", "#e6f2e1", "#1f2d3d"


def boxes(modules):
    """Module names with their places, (x, line, width), broken into lines."""
    x, line = LEFT, 0
    for module in modules:
        width = LETTER * len(module) + 14
        if x + width > WIDTH - 2 * PAD:
            x, line = LEFT, line + 1
        yield module, x, line, width
        x += width + 6


def svg(floors, without_sklearn):
    """The picture as text."""
    parts, y = [], 34
    for floor, modules in floors.items():
        placed = list(boxes(modules))
        height = LINE * (placed[-1][2] + 1) + 2 * PAD - 4
        tint = BELOW if floor in without_sklearn else ABOVE
        parts.append(
            f'<rect x="0" y="{y}" width="{WIDTH}" height="{height}" rx="6" '
            f'fill="{tint}"/>'
            f'<text x="14" y="{y + 21}" font-weight="bold">{escape(floor)}</text>'
            f'<text x="100" y="{y + 21}" font-size="10">'
            f"{escape(WHAT.get(floor, ''))}</text>"
        )
        for module, x, line, width in placed:
            top = y + PAD + LINE * line
            parts.append(
                f'<rect x="{x:.0f}" y="{top}" width="{width:.0f}" height="{LINE - 6}" '
                f'rx="4" fill="white" stroke="#9fb3c8"/>'
                f'<text x="{x + 7:.0f}" y="{top + 14}" font-family="monospace" '
                f'font-size="12">{escape(module)}</text>'
            )
        y += height + 5
    key = (
        f'<rect x="0" y="6" width="16" height="16" rx="3" fill="{ABOVE}"/>'
        '<text x="22" y="19">knows scikit-learn</text>'
        f'<rect x="170" y="6" width="16" height="16" rx="3" fill="{BELOW}"/>'
        '<text x="192" y="19">NumPy, SciPy, Numba only</text>'
        f'<text x="{WIDTH - 14}" y="19" text-anchor="end">'
        "a module imports from floors below its own &#8595;</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" '
        f'width="{WIDTH}" font-family="sans-serif" font-size="13" fill="{INK}">'
        f"{key}{''.join(parts)}</svg>\n"
    )


def draw(*_):
    """Write the picture; a hook of Sphinx."""
    layout = runpy.run_path(str(ROOT / "tests" / "test_architecture.py"))
    file = ROOT / "doc" / "generated" / "architecture.svg"
    file.parent.mkdir(exist_ok=True)
    file.write_text(svg(layout["FLOORS"], layout["WITHOUT_SKLEARN"]))


if __name__ == "__main__":
    draw()
