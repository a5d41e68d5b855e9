"""Data values that average over subsets of the rows: Shapley, Banzhaf, Beta Shapley.

A semivalue of unit i, with the utility U of `_utility`, is

    v_i  =  sum_k p_k  E[ U(S + i) - U(S) ],     S of k other units, drawn uniformly,

and its kinds differ in the probabilities p_k of the sizes 0 to n - 1: uniform for
Shapley's, binomial with 1/2 for Banzhaf's, and beta-binomial for Beta(alpha, beta).

In a random permutation the units before unit i are such a set S, whose size is uniform.
The marginal contribution of every unit, times ``n p_k``, is therefore an unbiased
estimate of its value, whatever the kind; and the models along a permutation differ by
one unit, so that each is an edit of the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats
from sklearn.utils import check_random_state

from .._estimators.base import BaseDeltaGrad
from .._utils.typing import Groups, MatrixLike
from ._results import AbstractValues
from ._utility import Utility

# Cost: up to so many units all subsets are gone through, 4,096 of them.
_MOST_ENUMERATED = 12
# Cost: permutations, by default.
_N_PERMUTATIONS = 100
# Accuracy: the sizes of either tail that are left out have this probability together.
# The bias is at most this much of the largest marginal contribution.
_TAIL = 1e-6


@dataclass(frozen=True, repr=False, eq=False)
class SemiValues(AbstractValues):
    """Result of `semivalues`.

    Attributes
    ----------
    units : ndarray of shape (n_units,)
        Positions of the rows, or labels of the groups.
    values : ndarray of shape (n_units,)
        What each unit is worth. Shapley values sum to ``score - empty_score``.
    standard_errors : ndarray of shape (n_units,)
        Of the values, from their spread over permutations. 0 where all subsets were
        gone through.
    score : float
        Score of the model of all rows.
    n_permutations : int
        0 where all subsets were gone through.
    kind : {"shapley", "banzhaf", "beta"}
    n_fits, n_edits : int
        Numbers of models that were fitted, and edited.
    unit_name : {"position", "sample_id", "group"}
        What `units` are.
    sample_ids : ndarray of shape (n_units,) or None
        Ids of the rows, if rows are the units and `fit` was given ids.
    """

    units: np.ndarray
    values: np.ndarray
    standard_errors: np.ndarray
    score: float
    n_permutations: int
    kind: str
    n_fits: int
    n_edits: int
    unit_name: str = "position"
    sample_ids: np.ndarray | None = None

    _further = ("standard_errors",)

    def _title(self):
        how = (
            f"{self.n_permutations:,} permutations" if self.n_permutations else "exact"
        )
        return f"{self.kind} values of {self._counted()}, {how}"

    def _facts(self):
        error = np.median(self.standard_errors)
        models = f"{self.n_edits:,} by edits, {self.n_fits:,} by fits"
        return super()._facts() | {
            "standard errors": f"median {error:.3g}" if error else "none, it is exact",
            "models": models,
        }


def semivalues(
    estimator: BaseDeltaGrad, X: MatrixLike, y: ArrayLike, *,
    kind: Literal["shapley", "banzhaf", "beta"] = "shapley",
    beta: tuple[float, float] = (16.0, 1.0), scoring: str | Callable | None = None,
    sample_weight: ArrayLike | None = None, groups: Groups = None,
    n_permutations: int | None = None, truncation: float = 0.01,
    empty_score: float = 0.0, random_state: int | np.random.RandomState | None = None,
    verbose: int = 0,
) -> SemiValues:  # fmt: skip
    """What training rows or groups are worth on average over subsets of the others.

    `data_values` asks what is lost when a row leaves all others; of two equal rows
    neither is then worth anything. Semivalues average this loss over subsets of the
    others. Every model of a subset is an edit of the one before it.

    Parameters
    ----------
    estimator : DeltaGradLogisticRegression, DeltaGradPoissonRegressor or \
DeltaGradRidge
        Fitted, with ``store_data=True``. It is not changed; the rows are copied.
    X, y
        Validation rows: see `data_values`.
    kind : {"shapley", "banzhaf", "beta"}, default="shapley"
        "shapley" weighs all sizes of subsets alike, by truncated Monte Carlo [1]_;
        "banzhaf" all subsets [2]_; "beta" sizes as in Beta Shapley [3]_.
    beta : tuple of float, default=(16.0, 1.0)
        The parameters (alpha, beta) of "beta". A large alpha stresses small subsets;
        (1, 1) is "shapley".
    scoring, sample_weight
        Score of the validation rows, and their weights: see `data_values`.
    groups : default=None
        See `leave_one_out`.
    n_permutations : int, default=None
        Number of random permutations. None: all subsets of up to 12 units, which is
        exact, and 100 permutations of more.
    truncation : float, default=0.01
        A permutation ends when the score is this near to that of all rows, as a
        fraction of its distance from `empty_score`; all further contributions count as
        0. This biases the values. 0: never.
    empty_score : float, default=0.0
        Score of subsets without a model of the same outputs: see `Utility`.
    random_state : int, RandomState instance or None, default=None
        Decides the permutations.
    verbose : int, default=0
        If positive, every tenth permutation is printed.

    Returns
    -------
    result : SemiValues

    Raises
    ------
    ValueError
        When a parameter is invalid, or `X` and `y` do not match.

    References
    ----------
    .. [1] A. Ghorbani, J. Zou, "Data Shapley: equitable valuation of data for machine
       learning", ICML 2019.
    .. [2] J. T. Wang, R. Jia, "Data Banzhaf: a robust data valuation framework for
       machine learning", AISTATS 2023.
    .. [3] Y. Kwon, J. Zou, "Beta Shapley: a unified and noise-reduced data valuation
       framework for machine learning", AISTATS 2022.
    """
    if n_permutations is not None and n_permutations < 2:
        raise ValueError(f"n_permutations must be 2 or more, got {n_permutations!r}.")
    if not 0.0 <= truncation < 1.0:
        raise ValueError(f"truncation must be in [0, 1), got {truncation!r}.")
    utility = Utility(
        estimator, X, y, scoring=scoring, sample_weight=sample_weight, groups=groups,
        empty_score=empty_score,
    )  # fmt: skip
    n, score = len(utility), utility.full_score
    probabilities = size_probabilities(kind, n, beta)
    if n_permutations is None and n <= _MOST_ENUMERATED:
        n_permutations, values, errors = (
            0,
            enumerated(utility, probabilities),
            np.zeros(n),
        )
    else:
        n_permutations = n_permutations or _N_PERMUTATIONS
        near = truncation * abs(score - empty_score)
        values, errors = sampled(
            utility, probabilities, check_random_state(random_state), n_permutations,
            score, near, verbose,
        )  # fmt: skip
    return SemiValues(
        values=values, standard_errors=errors, score=score, kind=kind,
        n_permutations=n_permutations, n_fits=utility.n_fits, n_edits=utility.n_edits,
        **utility.units.described(),
    )  # fmt: skip


def size_probabilities(kind, n, beta=(16.0, 1.0)):
    """Return the probabilities of the sizes 0 to n - 1 of a subset: (n,)."""
    sizes = np.arange(n)
    if kind == "shapley":
        return np.full(n, 1.0 / n)
    if kind == "banzhaf":
        return stats.binom.pmf(sizes, n - 1, 0.5)
    if kind != "beta":
        raise ValueError(f'kind must be "shapley", "banzhaf" or "beta", got {kind!r}.')
    if len(beta) != 2 or not min(beta) > 0:
        raise ValueError(f"beta must be two positive numbers, got {beta!r}.")
    alpha, beta_ = beta
    return stats.betabinom.pmf(sizes, n - 1, beta_, alpha)


def enumerated(utility, probabilities):
    """Return the values by all subsets, in the order of Gray's code: (n,).

    One unit joins or leaves from each subset to the next.
    """
    n = len(utility)
    codes = np.arange(2**n)
    gray = codes ^ (codes >> 1)
    scores = np.empty(2**n)
    for code in gray:
        scores[code] = utility(np.flatnonzero((code >> np.arange(n)) & 1))
    sizes = np.bitwise_count(codes.astype(np.uint64)).astype(int)
    values = np.empty(n)
    for unit in range(n):
        others = codes[(codes >> unit) & 1 == 0]
        of_set = probabilities / special.comb(n - 1, np.arange(n))
        gains = scores[others | (1 << unit)] - scores[others]
        values[unit] = of_set[sizes[others]] @ gains
    return values


def sampled(utility, probabilities, rng, n_permutations, score, near, verbose=0):
    """Estimate the values by random permutations, and their standard errors.

    Parameters
    ----------
    utility : callable
        From numbers of units to a score; with a length, the number of units.
    probabilities : ndarray of shape (n,)
    rng : RandomState
    n_permutations : int
    score : float
        Of all units.
    near : float
        A permutation ends when the score is this near to that of all units.

    Returns
    -------
    values, standard_errors : ndarray of shape (n,)
    """
    n = len(utility)
    first, last = _sizes_that_count(probabilities)
    total, squares = np.zeros((2, n))
    for number in range(n_permutations):
        order = rng.permutation(n)
        gains, before = np.zeros(n), utility(order[:first])
        for size in range(first, last + 1):
            if near and abs(score - before) <= near:
                break
            after = utility(order[: size + 1])
            gains[order[size]] = n * probabilities[size] * (after - before)
            before = after
        total += gains
        squares += gains**2
        if verbose and (number + 1) % 10 == 0:
            print(f"{number + 1:,} of {n_permutations:,} permutations")
    values = total / n_permutations
    variance = np.maximum(squares / n_permutations - values**2, 0.0)
    return values, np.sqrt(variance / (n_permutations - 1))


def _sizes_that_count(probabilities):
    """The first and the last size but for tails of negligible probability."""
    first = np.searchsorted(np.cumsum(probabilities), _TAIL)
    last = len(probabilities) - 1
    return first, last - np.searchsorted(np.cumsum(probabilities[::-1]), _TAIL)
