"""The picture that helps to choose a solver: questions on the left, answers right.

Each question is answered "yes", which leads to the answer beside it, or "no", which
leads to the question below. The last "no" leads to the last answer.
"""

from html import escape
from itertools import pairwise
from pathlib import Path
from textwrap import wrap

from _palette import THEMES, picture

# A question and its explanation, and the answer for "yes" with its explanation.
QUESTIONS = [
    (
        "Is a refit fast enough?",
        "some thousand rows, or rare edits",
        "scikit-learn itself",
        "fit again without the rows",
    ),
    (
        "Is it the end of a run?",
        "stopped early, or after few epochs",
        'solver="gd" or "sgd"',
        "an edit replays the run; its error is estimated",
    ),
    (
        "At most 3,000 coefficients?",
        "columns times classes",
        'solver="newton"',
        "most edits are a single step; its error is bounded",
    ),
    (
        "Many edits, dense rows?",
        "at most 10,000 coefficients",
        'curvature="subset"',
        "of \u201cnewton\u201d: a longer fit, and faster edits",
    ),
]
OTHERWISE = ('solver="newton"', "10 to 30 passes for an edit; its error is bounded")

# Sizes in pixels.
BOX, HEIGHT, GAP = 226, 78, 30
BETWEEN, MARGIN = 56, 8  # the columns, and the border of the picture
LETTERS = 34  # in a line of an explanation
WIDTH = 2 * BOX + BETWEEN + 2 * MARGIN
LEFT, RIGHT = MARGIN, MARGIN + BOX + BETWEEN


def box(x, y, fill, border, title, text):
    """A box with a title and an explanation of one or two lines, as SVG."""
    middle, lines = x + BOX / 2, wrap(text, LETTERS)
    top = y + (28 if len(lines) == 2 else 36)  # the baseline of the title
    below = "".join(
        f'<text x="{middle}" y="{top + 19 + 17 * i}" text-anchor="middle">'
        f"{escape(line)}</text>"
        for i, line in enumerate(lines)
    )
    return (
        f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="8" '
        f'fill="{fill}" stroke="{border}"/>'
        f'<text x="{middle}" y="{top}" text-anchor="middle" font-size="15" '
        f'font-weight="bold">{escape(title)}</text>{below}'
    )


def arrow(path, x, y, word, color):
    """An arrow and the word beside it, as SVG."""
    return (
        f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5" '
        f'marker-end="url(#head)"/><text x="{x}" y="{y}">{word}</text>'
    )


def svg(theme):
    """The picture as text, in the colours of one of `THEMES`."""
    tops = [MARGIN + i * (HEIGHT + GAP) for i in range(len(QUESTIONS) + 1)]
    parts = []
    for top, (question, hint, answer, text) in zip(tops, QUESTIONS, strict=False):
        parts += [
            box(LEFT, top, theme["green"], theme["border"], question, hint),
            box(RIGHT, top, theme["blue"], theme["border"], answer, text),
            arrow(
                f"M{LEFT + BOX} {top + HEIGHT / 2}H{RIGHT - 8}",
                LEFT + BOX + 14, top + HEIGHT / 2 - 8, "yes", theme["arrow"],
            ),
        ]  # fmt: skip
    middle = LEFT + BOX / 2
    for above, below in pairwise(tops[:-1]):
        path = f"M{middle} {above + HEIGHT}V{below - 8}"
        parts.append(arrow(path, middle + 10, below - 12, "no", theme["arrow"]))
    last = tops[-1]
    path = f"M{middle} {tops[-2] + HEIGHT}V{last + HEIGHT / 2}H{RIGHT - 8}"
    parts += [
        arrow(path, middle + 10, last - 12, "no", theme["arrow"]),
        box(RIGHT, last, theme["blue"], theme["border"], *OTHERWISE),
    ]
    height = last + HEIGHT + MARGIN
    return picture(WIDTH, height, theme, "".join(parts), font_size=13)


def draw(*_):
    """Write the picture for both themes of the site; a hook of Sphinx."""
    folder = Path(__file__).parent / "generated"
    folder.mkdir(exist_ok=True)
    for name, theme in THEMES.items():
        (folder / f"choosing-{name}.svg").write_text(svg(theme))


if __name__ == "__main__":
    draw()
