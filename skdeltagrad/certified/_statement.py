"""What a publisher guarantees, in words and in numbers."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass

import numpy as np

# Display: width of the text, in characters.
_WIDTH = 76

NOT_COVERED = (
    "Rows that are still in the training set. This is not differential privacy: a "
    "published model may reveal them, as any trained model may.",
    "The comparison of a model published before a removal with one published after "
    "it. Their difference shows what the removed rows did, unless the noise is far "
    "larger: privacy_profile computes how much.",
    "Whatever was chosen or computed with removed rows outside of this estimator: "
    "hyper-parameters such as C or alpha, scalers, vocabularies, selected columns.",
    "Everything but the published models. The estimator and its dumps, exact "
    "coefficients and their predictions, figures in receipts, counts of passes, times "
    "and logs must stay secret; history_.redacted() holds receipts without figures.",
    "Models of another fit on the same rows: each fit has a publisher of its own.",
    "That a request was made, when, and for how many rows.",
)
_NO_COUNTER = (
    "Old dumps and other processes: without a counter file, loading an old dump sets "
    "the number of publications back, every process counts its own, and nobody notices."
)
_COUNTER = (
    "The counter file {path!r}: whoever can change or delete it can set the number of "
    "publications back."
)
SEEDED = (
    "The noise was drawn from a seed (random_state): whoever knows or guesses the seed "
    "can subtract it. For tests only."
)


@dataclass(frozen=True, repr=False)
class Statement:
    """What is guaranteed for all models that one publisher publishes.

    ``print(statement)`` shows it as text, `to_dict` returns plain JSON types.

    Attributes
    ----------
    mu : float
        All publications together are mu-GDP-close to those of a machine that fits from
        scratch on the current rows each time.
    epsilon, delta : float
        What follows from it: probabilities differ by a factor of at most e^epsilon,
        apart from delta.
    noise : float
        Standard deviation of the noise of a coefficient whose scale is 1.
    scale : float or list
        Units of the coefficients.
    cap : float
        The proven distance of the coefficients from the exact optimum, in these units,
        is at most this at every publication.
    n_published, n_publications : int
        How many models were published, and how many may be.
    private : bool
        Whether the guarantee holds. False for noise from a seed.
    not_private : str or None
        Why it does not.
    not_covered : tuple of str
        What is not promised.
    """

    mu: float
    epsilon: float
    delta: float
    noise: float
    scale: float | list
    cap: float
    n_published: int
    n_publications: int
    private: bool = True
    not_private: str | None = None
    not_covered: tuple[str, ...] = NOT_COVERED

    def to_dict(self) -> dict:
        """Return the statement as a dict of JSON's types."""
        return vars(self) | {"not_covered": list(self.not_covered)}

    def __repr__(self):
        kind = "private" if self.private else "NOT private"
        return (
            f"Statement(epsilon={self.epsilon:g}, delta={self.delta:g}, {kind}, "
            f"{self.n_published:,} of {self.n_publications:,} published)"
        )

    def __str__(self):
        factor = f"{math.exp(self.epsilon):.3g}"
        lines = ["Certified removal at publication", ""]
        if not self.private:
            lines += [
                *_paragraph(f"THE GUARANTEE DOES NOT HOLD. {self.not_private}"),
                "",
            ]
        lines += _paragraph(
            "Rows that were removed before a model was published leave no usable trace "
            "in it. Whoever sees all published models, and has even chosen removals "
            "with their knowledge, can hardly tell whether they come from this "
            "estimator or from one that was trained from scratch, each time, without "
            "the removed rows: the probability of any conclusion differs by a factor "
            f"of at most {factor} (epsilon = {self.epsilon:g}), apart from a "
            f"probability of {self.delta:g} (delta)."
        )
        lines += ["", *_paragraph(
            f"This holds for {self.n_publications:,} publications together, of which "
            f"{self.n_published:,} {'was' if self.n_published == 1 else 'were'} made. "
            "Removals, additions and corrections between them cost nothing."
        )]  # fmt: skip
        lines += ["", *_paragraph(
            "How: before each publication the coefficients are brought within "
            f"{self.cap:.3g} of the exact optimum of the rows that remain, which is "
            f"proven, and fresh noise of standard deviation {self.noise:g} hides the "
            f"rest{self._units()}. In terms of Gaussian differential privacy, mu = "
            f"{self.mu:.4g}."
        )]  # fmt: skip
        lines += ["", "Not covered:"]
        for text in self.not_covered:
            lines += _paragraph(text, "- ", "  ")
        return "\n".join(lines)

    def _units(self):
        if np.ndim(self.scale) or self.scale != 1.0:
            return " (both in the units given as scale)"
        return ""


def not_covered(path):
    """Return what a statement does not cover, with or without a counter file."""
    last = _NO_COUNTER if path is None else _COUNTER.format(path=path)
    return (*NOT_COVERED, last)


def _paragraph(text, first="", rest=""):
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=rest)
