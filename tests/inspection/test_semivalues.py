"""Semivalues, next to the enumeration of all subsets by scikit-learn's fits."""

from itertools import permutations
from math import comb

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.metrics import get_scorer

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad.inspection import Utility, semivalues
from skdeltagrad.inspection._semivalues import sampled, size_probabilities

KINDS = ("shapley", "banzhaf", "beta")


def rows(n_rows=8, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows + 50, 2))
    raw = X @ [1.0, -0.5] + 0.3
    return rng, X, raw


def problem(kind, n_rows=8, seed=0):
    """A fitted model, scikit-learn's, training rows and validation rows."""
    rng, X, raw = rows(n_rows, seed)
    if kind == "logistic":
        y = np.where(raw + rng.logistic(size=len(raw)) > 0, "yes", "no")
        y[:2] = "yes", "no"
        model = DeltaGradLogisticRegression(tol=1e-10, edit_tol=1e-8)
        theirs = LogisticRegression(solver="newton-cholesky", tol=1e-12)
        scoring, empty = "neg_log_loss", -1.0
    elif kind == "poisson":
        y = rng.poisson(np.exp(0.5 * raw)) + 0.0
        model = DeltaGradPoissonRegressor(tol=1e-10, edit_tol=1e-8)
        theirs = PoissonRegressor(solver="newton-cholesky", tol=1e-12)
        scoring, empty = "neg_mean_squared_error", -3.0
    else:
        y = raw + 0.5 * rng.standard_normal(len(raw))
        model, theirs = DeltaGradRidge(), Ridge()
        scoring, empty = "r2", 0.0
    parts = X[:n_rows], y[:n_rows], X[n_rows:], y[n_rows:]
    return model.fit(*parts[:2]), theirs, parts, scoring, empty


def refit_score(theirs, parts, scoring, empty, chosen):
    """The utility of some rows by a fit of scikit-learn."""
    X, y, new, y_new = parts
    chosen = np.array(chosen, dtype=int)
    other = clone(theirs)
    if not len(chosen):
        return empty
    if isinstance(other, LogisticRegression) and len(set(y[chosen])) < len(set(y)):
        return empty
    if isinstance(other, PoissonRegressor):
        if not y[chosen].any():
            return empty
        other.set_params(alpha=1.0 / len(chosen))
    return get_scorer(scoring)(other.fit(X[chosen], y[chosen]), new, y_new)


def weight_of_size(kind, n, k, beta=(16.0, 1.0)):
    """What one subset of k others counts, from the papers' formulas."""
    if kind == "shapley":
        return 1.0 / (n * comb(n - 1, k))
    if kind == "banzhaf":
        return 0.5 ** (n - 1)
    a, b = beta  # Kwon and Zou (2022), with j = k + 1
    return special.beta(k + b, n - 1 - k + a) / special.beta(a, b)


def by_enumeration(utility, n, kind, **kwargs):
    values = np.zeros(n)
    for unit in range(n):
        others = [other for other in range(n) if other != unit]
        for code in range(2 ** (n - 1)):
            chosen = [other for bit, other in enumerate(others) if code >> bit & 1]
            gain = utility([*chosen, unit]) - utility(chosen)
            values[unit] += weight_of_size(kind, n, len(chosen), **kwargs) * gain
    return values


class Table:
    """A utility of which all values are known."""

    def __init__(self, n, function):
        self.n = n
        self.known = {code: function(np.flatnonzero(code >> np.arange(n) & 1))
                      for code in range(2**n)}  # fmt: skip

    def __len__(self):
        return self.n

    def __call__(self, chosen):
        return self.known[sum(1 << int(unit) for unit in chosen)]


@pytest.mark.parametrize("kind", ["ridge", "logistic", "poisson"])
def test_eight_rows_equal_enumeration_by_refits(kind):
    model, theirs, parts, scoring, empty = problem(kind)
    table = Table(8, lambda some: refit_score(theirs, parts, scoring, empty, some))
    for values in KINDS:
        found = semivalues(
            model, *parts[2:], kind=values, scoring=scoring, empty_score=empty
        )
        expected = by_enumeration(table, 8, values)
        assert_allclose(found.values, expected, rtol=1e-5, atol=1e-6)
        assert found.n_permutations == 0 and not found.standard_errors.any()
        assert found.n_edits > 3 * found.n_fits > 0
        if values == "shapley":
            assert_allclose(found.values.sum(), found.score - empty, rtol=1e-9)


def test_shapley_values_are_averages_over_all_orders():
    """The definition that the names of the kinds do not enter."""
    table = Table(
        5, lambda some: float(len(some) ** 1.5 + 3 * (0 in some) * (2 in some))
    )
    expected = np.zeros(5)
    for order in permutations(range(5)):
        for place, unit in enumerate(order):
            gain = table(order[: place + 1]) - table(order[:place])
            expected[unit] += gain / 120
    assert_allclose(by_enumeration(table, 5, "shapley"), expected)
    assert_allclose(
        by_enumeration(table, 5, "beta", beta=(1.0, 1.0)), expected, rtol=1e-12
    )


@pytest.mark.parametrize("n", [1, 2, 8, 300])
@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_of_sizes(kind, n):
    found = size_probabilities(kind, n, (4.0, 2.0))
    assert_allclose(found.sum(), 1.0)
    if n <= 8:
        expected = [
            comb(n - 1, k) * weight_of_size(kind, n, k, (4.0, 2.0)) for k in range(n)
        ] if kind == "beta" else [
            comb(n - 1, k) * weight_of_size(kind, n, k) for k in range(n)
        ]  # fmt: skip
        assert_allclose(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_permutations_estimate_the_enumeration(kind):
    """Within four standard errors, which are themselves of the right size."""
    weights = np.random.default_rng(0).standard_normal(8)
    table = Table(
        8, lambda some: float(np.tanh(weights[some].sum()) + len(some) ** 0.5)
    )
    expected = by_enumeration(table, 8, kind)
    probabilities = size_probabilities(kind, 8)
    ratios = []
    for seed in range(5):
        rng = np.random.RandomState(seed)
        values, errors = sampled(table, probabilities, rng, 2000, table(range(8)), 0.0)
        ratios.append((values - expected) / errors)
    assert np.abs(ratios).max() < 4.0
    assert 0.7 < np.sqrt(np.mean(np.square(ratios))) < 1.4


def test_truncation_skips_what_changes_little():
    table = Table(8, lambda some: 1.0 - 0.5 ** len(some))
    calls = []

    class Counted(Table):
        def __call__(self, chosen):
            calls.append(len(chosen))
            return table(chosen)

    counted = Counted(8, table)
    calls.clear()
    rng = np.random.RandomState(0)
    size = size_probabilities("shapley", 8)
    values, _ = sampled(counted, size, rng, 50, table(range(8)), 0.05)
    assert max(calls) == 5  # 1 - 1/32 is within 0.05 of 1 - 1/256
    assert_allclose(values.sum(), 1 - 1 / 32)


@pytest.mark.parametrize("kind", ["ridge", "logistic", "poisson"])
def test_many_rows_are_sampled_by_edits(kind, unchanged):
    model, theirs, parts, scoring, empty = problem(kind, n_rows=30)
    with unchanged(model):
        found = semivalues(
            model, *parts[2:], scoring=scoring, empty_score=empty, n_permutations=4,
            truncation=0.0, random_state=0,
        )  # fmt: skip
    # The same permutations, each model by a fit.
    rng, expected = np.random.RandomState(0), np.zeros(30)
    for _ in range(4):
        order = rng.permutation(30)
        scores = [
            refit_score(theirs, parts, scoring, empty, order[:size])
            for size in range(31)
        ]
        expected[order] += np.diff(scores) / 4
    assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)
    assert found.n_edits > 2 * found.n_fits
    again = semivalues(
        model, *parts[2:], scoring=scoring, empty_score=empty, n_permutations=4,
        truncation=0.0, random_state=0,
    )  # fmt: skip
    assert_array_equal(found.values, again.values)


def test_weights_and_groups():
    rng, X, raw = rows(24)
    y = raw + rng.standard_normal(len(raw))
    weight, group = rng.uniform(0.2, 3.0, 24), np.arange(24) % 6
    model = DeltaGradRidge().fit(X[:24], y[:24], weight, sample_id=group + 10)
    found = semivalues(model, X[24:], y[24:], groups="sample_id")
    assert_array_equal(found.units, np.arange(6) + 10)

    def by_refit(some):
        stay = np.isin(group, some)
        if not stay.any():
            return 0.0
        other = Ridge().fit(X[:24][stay], y[:24][stay], weight[stay])
        return other.score(X[24:], y[24:])

    expected = by_enumeration(Table(6, by_refit), 6, "shapley")
    assert_allclose(found.values, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("class_weight", ["balanced", {"yes": 2.0, "no": 0.5}])
def test_class_weights_are_those_of_a_fit_on_the_subset(class_weight):
    _, _, (X, y, new, y_new), scoring, empty = problem("logistic", 20)
    model = DeltaGradLogisticRegression(tol=1e-10, class_weight=class_weight)
    utility = Utility(model.fit(X, y), new, y_new, scoring=scoring)
    some = np.arange(15)
    theirs = LogisticRegression(
        solver="newton-cholesky", tol=1e-12, class_weight=class_weight
    ).fit(X[some], y[some])
    expected = get_scorer(scoring)(theirs, new, y_new)
    assert_allclose(utility(some), expected, rtol=1e-6)


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc"])
def test_utilities_follow_any_sequence(scoring):
    """Rows join and leave, few or many at a time; some sets have no model."""
    model, theirs, parts, _, _ = problem("logistic", 40)
    utility = Utility(model, *parts[2:], scoring=scoring, empty_score=0.25)
    rng = np.random.default_rng(1)
    chosen = np.arange(20)
    for step in range(40):
        if step % 8 == 7:
            chosen = rng.permutation(40)[: rng.integers(0, 40)]
        else:
            flipped = rng.integers(0, 40, 2)
            chosen = np.setxor1d(chosen, flipped)
        expected = refit_score(theirs, parts, scoring, 0.25, chosen)
        assert_allclose(utility(chosen), expected, atol=1e-9)
    assert utility.n_edits > utility.n_fits > 1
    assert utility(None) == utility([]) == 0.25
    assert_allclose(
        utility.full_score, refit_score(theirs, parts, scoring, 0, range(40))
    )


def test_the_most_harmful_and_the_frame():
    pytest.importorskip("pandas")
    model, _, parts, _, _ = problem("ridge", 8)
    found = semivalues(model, *parts[2:], kind="banzhaf")
    assert_array_equal(found.most_harmful(3).units, np.argsort(found.values)[:3])
    frame = found.to_frame()
    assert_array_equal(frame["values"], found.values)
    assert {"values", "standard_errors"} == set(frame.columns)
    assert len(repr(found).splitlines()) == 5 and "exact" in repr(found)
    with_ids = DeltaGradRidge().fit(*parts[:2], sample_id=np.arange(8) + 50)
    frame = semivalues(with_ids, *parts[2:]).to_frame()
    assert_array_equal(frame["sample_id"], np.arange(8) + 50)


@pytest.mark.filterwarnings("ignore")  # of its dependencies
def test_pydvl_uses_the_utility():
    pytest.importorskip("pydvl.valuation")
    from pydvl.valuation import Dataset, PermutationSampler, ShapleyValuation
    from pydvl.valuation.stopping import MaxUpdates

    model, _, parts, scoring, empty = problem("ridge")
    utility = Utility(model, *parts[2:], scoring=scoring, empty_score=empty)
    valuation = ShapleyValuation(
        utility, PermutationSampler(seed=0), MaxUpdates(300), progress=False
    )
    valuation.fit(Dataset(*parts[:2]))
    expected = semivalues(model, *parts[2:], scoring=scoring, empty_score=empty)
    assert_allclose(valuation.values().values, expected.values, atol=0.1)
    # Every permutation sums to the whole score.
    assert_allclose(valuation.values().values.sum(), expected.values.sum(), atol=1e-9)


class Sample:
    """What pyDVL calls a utility with."""

    def __init__(self, subset):
        self.subset = np.array(subset)


def test_the_interface_of_pydvl():
    model, _, parts, _, _ = problem("ridge")
    utility = Utility(model, *parts[2:])
    rows = list(range(8))
    other = utility.with_dataset(rows)
    assert other is not utility and other.training_data is rows
    assert utility.training_data is None
    assert utility.with_dataset(rows, copy=False) is utility
    assert other(Sample([0, 1, 2, 5])) == utility([0, 1, 2, 5])
    assert (other.n_fits, utility.n_fits) == (1, 1)
    with pytest.raises(ValueError, match="data has 3 rows or groups and the utility 8"):
        utility.with_dataset([1, 2, 3])


def test_errors_say_what_to_do():
    model, _, parts, _, _ = problem("ridge")
    with pytest.raises(ValueError, match="kind must be \"shapley\".*got 'owen'"):
        semivalues(model, *parts[2:], kind="owen")
    with pytest.raises(ValueError, match="beta must be two positive numbers"):
        semivalues(model, *parts[2:], kind="beta", beta=(0.0, 1.0))
    with pytest.raises(ValueError, match="n_permutations must be 2 or more, got 1"):
        semivalues(model, *parts[2:], n_permutations=1)
    with pytest.raises(ValueError, match=r"truncation must be in \[0, 1\), got 1.5"):
        semivalues(model, *parts[2:], truncation=1.5)
    with pytest.raises(ValueError, match="numbers of units from 0 to 7, got 2 to 8"):
        Utility(model, *parts[2:])([2, 8])


def test_the_utility_does_not_follow_the_estimator():
    """It is about the rows that the estimator had when it was made."""
    model, theirs, parts, scoring, empty = problem("ridge")
    utility = Utility(model, *parts[2:], scoring=scoring)
    before = utility.full_score
    model.unlearn(position=[0, 1]).purge()
    assert_allclose(
        utility([0, 1, 2, 3]), refit_score(theirs, parts, scoring, 0.0, [0, 1, 2, 3])
    )
    assert utility.full_score == before
