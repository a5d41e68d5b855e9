"""Pipelines on a table of mixed columns: what forwards, what does not, what remembers.

The table is made here and is like the row counts data "adult": numbers of all sizes,
categories, missing values. More on pipelines is in `test_estimators`.
"""

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, assert_erased

N_ROWS = 300
NUMBERS = ["age", "weight", "gain", "hours"]
CATEGORIES = {
    "work": ["private", "state", "self"],
    "country": ["here", "there", "elsewhere"],
}
EDITS = ["unlearn", "partial_unfit", "partial_refit", "plan_unfit"]


@pytest.fixture(scope="module")
def adult():
    rng = np.random.default_rng(0)
    age = rng.integers(17, 90, N_ROWS)
    hours = np.clip(np.round(rng.normal(40, 12, N_ROWS)), 1, 99)
    gain = np.where(rng.random(N_ROWS) < 0.1, rng.integers(500, 90_000, N_ROWS), 0)
    work = rng.choice(CATEGORIES["work"], N_ROWS, p=[0.7, 0.2, 0.1])
    X = pd.DataFrame(
        {
            "age": age.astype(float),
            "work": work,
            "weight": rng.lognormal(12, 0.5, N_ROWS),
            "gain": gain.astype(float),
            "hours": hours,
            "country": rng.choice(CATEGORIES["country"], N_ROWS, p=[0.9, 0.06, 0.04]),
        },
        index=rng.permutation(N_ROWS) + 1000,  # no row's position
    )
    raw = (age - 50) / 20 + (hours - 40) / 12 + gain / 2e4 + (work == "self")
    y = np.where(raw + rng.logistic(size=N_ROWS) > 0, ">50K", "<=50K")
    for name in ("age", "work", "country"):
        X.loc[rng.choice(X.index, 12, replace=False), name] = np.nan
    return X, pd.Series(y, index=X.index)


def make_columns(remembering=True, sparse_output=True):
    """Transformers of mixed columns; they learn from rows, or are told all."""
    if remembering:
        numbers, texts = SimpleImputer(strategy="median"), "most_frequent"
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=sparse_output)
    else:
        numbers, texts = SimpleImputer(strategy="constant", fill_value=-1.0), "constant"
        levels = [[*levels, "missing"] for levels in CATEGORIES.values()]
        encoder = OneHotEncoder(categories=levels, sparse_output=sparse_output)
    texts = SimpleImputer(strategy=texts, fill_value="missing")
    return ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include=float)),
            ("texts", make_pipeline(texts, encoder), list(CATEGORIES)),
        ],
        sparse_threshold=1.0 if sparse_output else 0.0,
    )


def make_model(**parameters):
    return DeltaGradLogisticRegression(
        standardize=True, tol=1e-10, edit_tol=1e-7, **parameters
    )


def make_adult_pipeline(**parameters):
    return Pipeline([("columns", make_columns(**parameters)), ("model", make_model())])


def without(X, y, rows):
    kept = np.setdiff1d(np.arange(len(X)), rows)
    return X.iloc[kept], y.iloc[kept]


def assert_same_decisions(one, other, X):
    found, expected = (model.decision_function(X) for model in (one, other))
    assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


ROWS = [3, 17, 120, 121, 122, 299]


# ---------------------------------------------------------------------------
# Rows as they are in the table
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("sparse_output", [True, False])
def test_mixed_columns(adult, sparse_output):
    """By the fitted transformers; what follows them is as if fitted anew."""
    X, y = adult
    pipeline = make_adult_pipeline(sparse_output=sparse_output).fit(X, y)
    transformed = pipeline[:-1].transform(X)
    assert sparse.issparse(transformed) == sparse_output
    assert skdeltagrad.unlearn(pipeline, X.iloc[ROWS], y.iloc[ROWS]) is pipeline
    rest, y_rest = without(X, y, ROWS)
    fresh = make_pipeline(
        StandardScaler(), LogisticRegression(tol=1e-12, solver="newton-cholesky")
    )
    rows = pipeline[:-1].transform(rest)
    rows = rows.toarray() if sparse_output else rows
    fresh.fit(rows, y_rest)
    assert_allclose(pipeline.predict_proba(rest), fresh.predict_proba(rows), rtol=1e-6)
    assert_array_equal(pipeline.predict(rest), fresh.predict(rows))
    assert pipeline.score(rest, y_rest) == fresh.score(rows, y_rest)
    assert pipeline[-1].update_report_.n_removed == len(ROWS)


def test_a_pipeline_that_remembers_nothing(adult):
    """Constants for missing values, categories that are listed, no scaler."""
    X, y = adult
    pipeline = make_adult_pipeline(remembering=False).fit(X, y)
    skdeltagrad.unlearn(pipeline, X.iloc[ROWS], y.iloc[ROWS])
    anew = clone(pipeline).fit(*without(X, y, ROWS))
    assert_allclose(
        pipeline.decision_function(X), anew.decision_function(X), 1e-6, 1e-7
    )
    assert_allclose(pipeline[-1].scale_, anew[-1].scale_, rtol=1e-12)
    pipeline[-1].purge()
    assert assert_erased(pipeline, X.iloc[ROWS]).n_checked == len(ROWS)


def test_the_scaler_remembers(adult):
    """The row that left is n times the mean less the rows that are left."""
    X, y = adult
    X = X[["age", "weight", "gain", "hours"]].fillna(40.0)
    pipeline = make_pipeline(StandardScaler(), DeltaGradLogisticRegression()).fit(X, y)
    gone = [17]
    skdeltagrad.unlearn(pipeline, X.iloc[gone], y.iloc[gone])
    rest, y_rest = without(X, y, gone)
    recovered = N_ROWS * pipeline[0].mean_ - rest.sum().to_numpy()
    assert_allclose(recovered, X.iloc[17], rtol=1e-9, atol=1e-6)

    model = make_model().fit(X, y).unlearn(position=gone)
    anew = make_model().fit(rest, y_rest)
    assert_allclose(model.scale_, anew.scale_, rtol=1e-12)
    assert_allclose(model.coef_, anew.coef_, rtol=1e-6, atol=1e-10)


def test_unknown_categories_and_missing_values(adult):
    """A row is found as the transformers make it, not as it is written."""
    X, y = adult
    pipeline = make_adult_pipeline().fit(X, y)
    row = X[X["age"].isna()].iloc[:1]
    imputed = row.assign(age=pipeline["columns"].transformers_[0][1].statistics_[0])
    skdeltagrad.unlearn(pipeline, imputed, y.loc[row.index])
    assert pipeline[-1].update_report_.n_samples == N_ROWS - 1
    abroad = X.iloc[:1].assign(country="nowhere")
    with pytest.raises(ValueError, match=r"X\[0\], with its y"):
        skdeltagrad.unlearn(pipeline, abroad, y.iloc[:1])


# ---------------------------------------------------------------------------
# What forwards and what does not
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", EDITS)
def test_edits_are_not_forwarded(adult, method):
    X, y = adult
    pipeline = make_adult_pipeline().fit(X, y)
    assert not hasattr(pipeline, method)
    with pytest.raises(AttributeError, match=method):
        getattr(pipeline, method)
    assert hasattr(pipeline[-1], method)


def test_ids_reach_the_last_step(adult):
    X, y = adult
    ids = X.index.to_numpy() // 2
    pipeline = make_adult_pipeline(remembering=False)
    pipeline.fit(X, y, model__sample_id=ids)
    twin = deepcopy(pipeline)
    skdeltagrad.unlearn(pipeline, sample_id=ids[[3, 200]])
    rows = np.flatnonzero(np.isin(ids, ids[[3, 200]]))
    skdeltagrad.unlearn(twin, X.iloc[rows], y.iloc[rows])
    assert pipeline[-1].update_report_.n_removed == len(rows) >= 2
    assert_same_decisions(pipeline, twin, X)
    # Rows are added as the transformers make them.
    again = pipeline[:-1].transform(X.iloc[rows])
    pipeline[-1].partial_refit(again, y.iloc[rows], sample_id=ids[rows])
    anew = clone(pipeline).fit(X, y)
    assert_same_decisions(pipeline, anew, X)


def test_weights_and_ids_are_routed(adult):
    X, y = adult
    weight, ids = np.linspace(0.5, 2.0, N_ROWS), np.arange(N_ROWS) // 3
    direct = make_adult_pipeline().fit(
        X, y, model__sample_weight=weight, model__sample_id=ids
    )
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_adult_pipeline()
        routed[-1].set_fit_request(sample_weight=True, sample_id=True)
        routed.fit(X, y, sample_weight=weight, sample_id=ids)
        refusing = make_adult_pipeline()
        with pytest.raises(UnsetMetadataPassedError, match="sample_id"):
            refusing.fit(X, y, sample_id=ids)
    assert_array_equal(routed[-1].coef_, direct[-1].coef_)
    routed[-1].unlearn(sample_id=[5, 7])
    assert routed[-1].update_report_.n_removed == 6
    skdeltagrad.unlearn(direct, X.iloc[:2], y.iloc[:2], sample_weight=weight[:2])
    with pytest.raises(ValueError, match=r"X\[0\]"):
        skdeltagrad.unlearn(direct, X.iloc[2:3], y.iloc[2:3], sample_weight=[9.0])


def test_the_best_of_a_search(adult):
    X, y = adult
    search = GridSearchCV(
        make_adult_pipeline(remembering=False), {"model__C": [0.01, 1.0]}, cv=2
    ).fit(X, y)
    assert not hasattr(search, "unlearn")
    with pytest.raises(TypeError, match="best_estimator_"):
        skdeltagrad.unlearn(search, X.iloc[:2], y.iloc[:2])
    skdeltagrad.unlearn(search.best_estimator_, X.iloc[:2], y.iloc[:2])
    anew = clone(search.best_estimator_).fit(X.iloc[2:], y.iloc[2:])
    assert_same_decisions(search, anew, X)


def test_frames_between_the_steps(adult):
    X, y = adult
    pipeline = make_adult_pipeline(sparse_output=False).set_output(transform="pandas")
    pipeline.fit(X, y)
    names = list(pipeline[-1].feature_names_in_)
    assert names[:4] == [f"numbers__{name}" for name in NUMBERS]
    assert "texts__country_here" in names
    skdeltagrad.unlearn(pipeline, X.iloc[ROWS], y.iloc[ROWS])
    assert pipeline[-1].update_report_.n_samples == N_ROWS - len(ROWS)
    model = pipeline[-1].to_sklearn()
    assert list(model.feature_names_in_) == names
    rows = pipeline[:-1].transform(X)
    assert_allclose(model.predict_proba(rows), pipeline.predict_proba(X), rtol=1e-9)


def test_regression(adult):
    X, _ = adult
    X, y = X.drop(columns="hours"), X["hours"]
    pipeline = make_pipeline(make_columns(False), DeltaGradRidge(standardize=True))
    pipeline.fit(X, y)
    skdeltagrad.unlearn(pipeline, X.iloc[ROWS], y.iloc[ROWS])
    rest = without(X, y, ROWS)
    assert_allclose(pipeline.predict(X), clone(pipeline).fit(*rest).predict(X), 1e-9)
    score = clone(pipeline).fit(*rest).score(*rest)
    assert_allclose(pipeline.score(*rest), score, rtol=1e-9)


# ---------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_of", "error", "message"),
    [
        (lambda X, y: (X.drop(columns="hours"), y), ValueError, "hours"),
        (lambda X, y: (X, y.iloc[:1]), ValueError, "X has 2 rows and y has 1"),
        (lambda X, y: (X, None), ValueError, "y is missing"),
        (lambda X, y: (X.assign(age=18.5), y), ValueError, r"X\[0, 1\], with"),
        (lambda X, y: (X, y.replace({">50K": "?", "<=50K": "?"})), ValueError, r"X\["),
    ],
)
def test_a_request_that_fails_changes_nothing(
    adult, unchanged, request_of, error, message
):
    X, y = adult
    pipeline = make_adult_pipeline().fit(X, y)
    wrong = request_of(X.iloc[:2], y.iloc[:2])
    with unchanged(pipeline[-1]), pytest.raises(error, match=message):
        skdeltagrad.unlearn(pipeline, *wrong)


def test_a_pipeline_that_is_not_fitted(adult):
    X, y = adult
    with pytest.raises(NotFittedError):
        skdeltagrad.unlearn(make_adult_pipeline(), X.iloc[:2], y.iloc[:2])
