"""The picture of the architecture: a box for each folder, an arrow for each import.

Everything in it is read from the code when the documentation is built: the floors from
``tests/test_architecture.py``, the arrows from the import statements, and the text of a
box from the first line of the folder's docstring.

The layout is the usual one for layered graphs (Sugiyama, Tagawa and Toda 1981). An
arrow that passes a floor gets a *bend* there, a box without text. Each floor is ordered
by the mean place of its neighbours; then every box moves as near to that mean as the
boxes beside it allow, which is an isotonic regression.
"""

import ast
import runpy
from html import escape
from itertools import pairwise
from pathlib import Path
from textwrap import wrap

import numpy as np
from _palette import THEMES, picture
from scipy.optimize import isotonic_regression

ROOT = Path(__file__).parents[1]

# Folders whose arrows are not drawn: nearly all others import them.
EVERYWHERE = ("_utils", "_version")

# Sizes in pixels.
WIDTH, MARGIN, TOP = 1000, 12, 44
BOX, BEND, SPACE = 216, 6, 14  # widths of boxes and bends, and the space between them
LINE, PAD, GAP = 15, 10, 46  # a line of text, a box's border, and between two floors
LETTERS = 38  # in a line of a box


class Drawing:
    """Boxes and bends on floors, with their places.

    Parameters
    ----------
    floors : list of list of str
        Names of folders, from the highest floor to the lowest.
    imports : set of tuple of str
        Pairs of a folder and one that it imports.
    """

    def __init__(self, floors, imports):
        self.floors = [list(floor) for floor in floors]
        floor_of = {name: i for i, floor in enumerate(floors) for name in floor}
        self.routes = []  # for each import, the names on its way
        for above, below in sorted(imports):
            between = range(floor_of[above] + 1, floor_of[below])
            bends = [(above, below, floor) for floor in between]
            for bend in bends:
                self.floors[bend[2]].append(bend)
            self.routes.append([above, *bends, below])
        self.neighbours = {name: [] for floor in self.floors for name in floor}
        for route in self.routes:
            for one, other in pairwise(route):
                self.neighbours[one].append(other)
                self.neighbours[other].append(one)
        # The middle of each box; at first the boxes of a floor are spread evenly.
        self.x = {
            name: WIDTH * (i + 0.5) / len(floor)
            for floor in self.floors
            for i, name in enumerate(floor)
        }
        for _ in range(30):  # by then nothing moves any more
            for floor in [*self.floors, *self.floors[::-1]]:
                self._arrange(floor)

    def _mean(self, name):
        places = [self.x[other] for other in self.neighbours[name]]
        return np.mean(places) if places else self.x[name]

    def _arrange(self, floor):
        """Order a floor, and move its boxes as near to their neighbours as possible."""
        floor.sort(key=self._mean)
        widths = np.array([self.width(name) + SPACE for name in floor])
        least = np.cumsum(widths) - widths / 2  # places without any gap
        # Bends weigh more: a crooked arrow is worse than a box that is off centre.
        weights = [1.0 if isinstance(name, str) else 4.0 for name in floor]
        wanted = np.array([self._mean(name) for name in floor]) - least
        moved = isotonic_regression(wanted, weights=weights).x
        moved = np.clip(moved, MARGIN, WIDTH - MARGIN - widths.sum())
        self.x |= dict(zip(floor, moved + least, strict=True))

    @staticmethod
    def width(name):
        return BOX if isinstance(name, str) else BEND

    def ports(self, name, others):
        """Where the arrows between a box and others touch its border, by the other."""
        others = sorted(others, key=self.x.get)
        step = BOX / (len(others) + 1)
        left = self.x[name] - BOX / 2
        return {other: left + step * (i + 1) for i, other in enumerate(others)}


def arrows(drawing, tops, heights):
    """Paths of all arrows, as SVG."""
    leaving = {route[0]: [] for route in drawing.routes}
    arriving = {route[-1]: [] for route in drawing.routes}
    for route in drawing.routes:
        leaving[route[0]].append(route[1])
        arriving[route[-1]].append(route[-2])
    leaving = {name: drawing.ports(name, others) for name, others in leaving.items()}
    arriving = {name: drawing.ports(name, others) for name, others in arriving.items()}
    floor_of = {name: i for i, floor in enumerate(drawing.floors) for name in floor}
    for route in drawing.routes:
        first, last = route[0], route[-1]
        x, y = leaving[first][route[1]], tops[floor_of[first]] + heights[first]
        path = f"M{x:.1f} {y:.1f}"
        for name in route[1:]:
            top = tops[floor_of[name]] - (5 if name == last else 0)  # the arrow's head
            to = arriving[last][route[-2]] if name == last else drawing.x[name]
            middle = (y + top) / 2
            path += f"C{x:.1f} {middle:.1f} {to:.1f} {middle:.1f} {to:.1f} {top:.1f}"
            x, y = to, top
            if name != last:
                y += max(heights[box] for box in drawing.floors[floor_of[name]])
                path += f"V{y:.1f}"
        yield f'<path d="{path}" marker-end="url(#head)"/>'


def box(x, y, height, fill, title, lines, theme):
    """A folder with its description, as SVG."""
    left = x - BOX / 2
    yield (
        f'<rect x="{left:.1f}" y="{y}" width="{BOX}" height="{height}" rx="6" '
        f'fill="{fill}" stroke="{theme["border"]}"/>'
        f'<text x="{x:.1f}" y="{y + PAD + 10}" text-anchor="middle" font-size="13" '
        f'font-family="monospace" font-weight="bold">{escape(title)}</text>'
    )
    for number, line in enumerate(lines):
        yield (
            f'<text x="{x:.1f}" y="{y + PAD + 10 + LINE * (number + 1)}" '
            f'text-anchor="middle" font-size="11">{escape(line)}</text>'
        )


def svg(layout, theme):
    """The picture as text.

    Parameters
    ----------
    layout : dict
        Names of ``tests/test_architecture.py``.
    theme : dict
        One of `THEMES`.
    """
    sources, ours = layout["SOURCES"], layout["ours"]
    imports = {(file[0], other[0]) for file in sources for other in ours(file)}
    imports = {(above, below) for above, below in imports if above != below}
    drawn = {(above, below) for above, below in imports if below not in EVERYWHERE}
    floors = [
        [name for name in floor if name != "_version"]
        for floor in layout["FLOORS"].values()
    ]
    drawing = Drawing(floors, drawn)

    boxes = [name for floor in floors for name in floor]
    lines = {name: wrap(described(sources, name), LETTERS) for name in boxes}
    heights = {name: 2 * PAD + LINE * len(lines[name]) + 12 for name in boxes}
    tops, y = [], TOP
    for floor in drawing.floors:
        tallest = max(heights.get(name, 0) for name in floor)
        heights |= dict.fromkeys(floor, tallest)
        tops.append(y)
        y += tallest + GAP
    parts = list(arrows(drawing, tops, heights))
    parts = [f'<g fill="none" stroke="{theme["arrow"]}">{"".join(parts)}</g>']
    for top, floor in zip(tops, floors, strict=True):
        for name in floor:
            title = "skdeltagrad" if name == "__init__" else name
            fill = theme["green" if name in layout["WITHOUT_SKLEARN"] else "blue"]
            parts += box(
                drawing.x[name], top, heights[name], fill, title, lines[name], theme
            )
    without = " and ".join(
        "skdeltagrad" if name == "__init__" else name
        for name in boxes
        if name != "_utils" and (name, "_utils") not in imports
    )
    key = (
        f'<rect x="{MARGIN}" y="10" width="16" height="16" rx="3" '
        f'fill="{theme["blue"]}" stroke="{theme["border"]}"/>'
        f'<text x="{MARGIN + 22}" y="23">may import scikit-learn</text>'
        f'<rect x="190" y="10" width="16" height="16" rx="3" fill="{theme["green"]}" '
        f'stroke="{theme["border"]}"/>'
        '<text x="212" y="23">may not</text>'
        f'<text x="{WIDTH - MARGIN}" y="23" text-anchor="end">An arrow is an import. '
        f"All but {escape(without)} import _utils, without an arrow.</text>"
    )
    height = y - GAP + MARGIN
    return picture(WIDTH, height, theme, f"{key}{''.join(parts)}", font_size=12)


def described(sources, name):
    """The first line of the docstring of a folder or module, without its markup."""
    file = sources.get((name,)) or sources[name, "__init__"]
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    return docstring.splitlines()[0].replace("``", "")


def draw(*_):
    """Write the picture for both themes of the site; a hook of Sphinx."""
    layout = runpy.run_path(str(ROOT / "tests" / "test_architecture.py"))
    folder = ROOT / "doc" / "generated"
    folder.mkdir(exist_ok=True)
    for name, theme in THEMES.items():
        (folder / f"architecture-{name}.svg").write_text(svg(layout, theme))


if __name__ == "__main__":
    draw()
