"""A hundred things that careless users do: what the messages say about them.

Every message names what is wrong, the parameter or the value, and the way out, or the
range that is allowed. Nothing is changed: `test_errors` and the state machine check it.
"""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdeltagrad
from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
    RollingWindow,
    assert_erased,
    inspection,
)
from skdeltagrad.certified import Publisher, privacy_profile

X, Y = load_breast_cancer(return_X_y=True)
X = X / X.std(axis=0)
XR, YR = load_diabetes(return_X_y=True)
IDS = [f"C{i:03d}" for i in range(569)]
FRAME = pd.DataFrame(X, columns=[f"c{i}" for i in range(30)])
OTHER = pd.DataFrame(X, columns=[f"d{i}" for i in range(30)])
PROMISE = {"noise": 1e-3, "epsilon": 1.0, "delta": 1e-6, "n_publications": 10}


def spoiled(value):
    X_spoiled = X.copy()
    X_spoiled[3, 2] = value
    return X_spoiled


def new(**parameters):
    return DeltaGradLogisticRegression(**parameters)


def fit(**parameters):
    return new(**parameters).fit(X, Y)


def named():
    return new().fit(X, Y, sample_id=IDS)


def ridge(**parameters):
    return DeltaGradRidge(**parameters).fit(XR, YR)


def without_rows():
    return fit(store_data=False)


def two_publishers():
    model = fit()
    Publisher(model, **PROMISE)
    Publisher(model, **PROMISE)


def publisher(**changes):
    return Publisher(fit(), **(PROMISE | changes))


def used_up():
    model = fit()
    one = Publisher(model, **(PROMISE | {"n_publications": 1}))
    one.publish()
    model.unlearn(position=1)
    one.publish()


def fitted_again():
    one = publisher()
    one.est.fit(X, Y)
    one.publish()


def changed_from_outside():
    one = publisher()
    one.est.coef_ = 2 * one.est.coef_
    one.publish()


# What is done, and what the message must contain: what is wrong, and the way out.
MISUSE = {
    # fit: rows
    "NaN": (lambda: new().fit(spoiled(np.nan), Y), "X contains NaN", "preprocess"),
    "infinity": (lambda: new().fit(spoiled(np.inf), Y), "X contains infinity", ""),
    "y too short": (lambda: new().fit(X, Y[:-1]), "[569, 568]", "inconsistent"),
    "one class": (lambda: new().fit(X, 0 * Y), "one class only, 0", "at least 2"),
    "NaN in y": (lambda: ridge().fit(XR, YR * np.nan), "y contains NaN", ""),
    "real labels": (lambda: new().fit(X, X[:, 0]), "continuous", "discrete classes"),
    "text": (lambda: new().fit(np.full((5, 2), "a"), [0, 1] * 2), "float: ", "'a'"),
    "a vector": (lambda: new().fit(X[:, 0], Y), "1D array", "Reshape"),
    "a cube": (lambda: new().fit(X[np.newaxis], Y), "dim 3", "<= 2"),
    "no rows": (lambda: new().fit(X[:0], Y[:0]), "0 sample", "minimum of 1"),
    "two labels a row": (lambda: new().fit(X, np.c_[Y, Y]), "(569, 2)", "1d array"),
    "negative counts": (
        lambda: DeltaGradPoissonRegressor().fit(XR, -YR), "least is -346", "0 or more"
    ),
    "no counts": (
        lambda: DeltaGradPoissonRegressor().fit(XR, 0 * YR),
        "must have a positive target", "Keep such a row",
    ),
    # fit: weights and ids
    "negative weights": (lambda: new().fit(X, Y, -X[:, 0]), "at row 212", "0 or more"),
    "no weight": (lambda: new().fit(X, Y, 0.0 * Y), "zero for all rows", "positive"),
    "few weights": (lambda: new().fit(X, Y, [1.0] * 5), "(5,)", "one weight for each"),
    "NaN weights": (lambda: new().fit(X, Y, Y * np.nan), "sample_weight contains", ""),
    "few ids": (
        lambda: new().fit(X, Y, sample_id=IDS[:5]), "5 entries", "one id for each"
    ),
    "real ids": (lambda: new().fit(X, Y, sample_id=X[:, 0]), "got float", "str()"),
    "mixed ids": (
        lambda: new().fit(X, Y, sample_id=[1, *IDS[1:]]), "got int, str", "Convert"
    ),
    "missing ids": (
        lambda: new().fit(X, Y, sample_id=[None] * 569), "got NoneType", "Convert"
    ),
    "long ids": (
        lambda: new().fit(X, Y, sample_id=["x" * 200] * 569), "200 char", "hashlib"
    ),
    # fit: parameters
    "C = 0": (lambda: fit(C=0), "'C' parameter", "range (0.0"),
    "C < 0": (lambda: fit(C=-1), "Got -1", "range (0.0"),
    "C is text": (lambda: fit(C="1"), "Got '1'", "float"),
    "C is tiny": (lambda: fit(C=1e-310), "C=1e-310", "Use C of"),
    "three alphas": (lambda: ridge(alpha=[1, 2, 3]), "1 target:", "one alpha"),
    "alpha < 0": (lambda: ridge(alpha=-1), "Got -1", "range [0.0"),
    "another solver": (lambda: fit(solver="lbfgs"), "Got 'lbfgs'", "'newton'"),
    "another curvature": (lambda: fit(curvature="full"), "Got 'full'", "'exact'"),
    "tol < 0": (lambda: fit(tol=-1), "'tol' parameter", "range [0.0"),
    "edit_tol = 0": (lambda: fit(edit_tol=0), "'edit_tol' parameter", "range (0.0"),
    "no iterations": (lambda: fit(max_iter=0), "Got 0", "range [1"),
    "no batch": (lambda: fit(solver="sgd", batch_size=0), "'batch_size'", "range [1"),
    "two rates": (
        lambda: fit(solver="gd", max_iter=5, learning_rate=[0.1, 0.2]),
        "shape (2,)", "one for each of the max_iter=5",
    ),
    "a negative rate": (
        lambda: fit(solver="gd", learning_rate=[-0.1] * 100), "[-0.1", '"auto"'
    ),
    "a huge rate": (
        lambda: fit(solver="gd", max_iter=2000, learning_rate=1e6),
        "too large for this data", "Lower learning_rate",
    ),
    "gd that standardises": (
        lambda: fit(solver="gd", standardize=True), "got 'gd'", 'Use solver="newton"'
    ),
    "gd without rows": (
        lambda: fit(solver="gd", store_data=False), "got 'gd'", 'needs solver="newton"'
    ),
    "weights of classes": (lambda: fit(class_weight="auto"), "Got 'auto'", "balanced"),
    "weights of others": (lambda: fit(class_weight={5: 1.0}), "[0, 1]", "not in"),
    "negative classes": (
        lambda: fit(class_weight={0: -1.0}), "got {0: -1.0}", "0 or more"
    ),
    "another penalty": (lambda: new(penalty="l1"), "'penalty'", "unexpected"),
    "a callback": (lambda: fit(callback=3), "Got 3", "callable"),
    # unlearn
    "before fit": (lambda: new().unlearn(position=1), "not fitted", "Call 'fit'"),
    "no rows named": (lambda: fit().unlearn(), "got 0 of them", "exactly one of"),
    "named twice": (
        lambda: fit().unlearn(X[:1], Y[:1], position=1), "got 2 of", "exactly one of"
    ),
    "X without y": (lambda: fit().unlearn(X[:1]), "y is missing", "together"),
    "y without X": (lambda: fit().unlearn(y=Y[:1], position=1), "X, which is", "go"),
    "an unknown row": (
        lambda: fit().unlearn(X[:1] + 1, Y[:1]), "X[0], with its y", "as they were"
    ),
    "another label": (
        lambda: fit().unlearn(X[:1], 1 - Y[:1]), "X[0], with its y", "on_missing="
    ),
    "text for a label": (lambda: fit().unlearn(X[:1], ["a"]), "got 'a'", "like those"),
    "removed before": (
        lambda: fit().unlearn(position=3).unlearn(position=3),
        "position 3 was removed", 'on_missing="ignore"',
    ),
    "a far position": (
        lambda: fit().unlearn(position=1000), "position 1000", "from 0 to 568"
    ),
    "from the end": (lambda: fit().unlearn(position=-1), "position -1", "0 to 568"),
    "half a position": (lambda: fit().unlearn(position=1.5), "1.5", "integers"),
    "an id as position": (
        lambda: fit().unlearn(position="C007"), "'C007'", "must hold integers"
    ),
    "a short mask": (
        lambda: fit().unlearn(position=[True, False]), "2 entries", "row numbers"
    ),
    "labels of an index": (
        lambda: fit().unlearn(position=FRAME.index[:3]), "holds labels", "get_indexer"
    ),
    "ids without ids": (
        lambda: fit().unlearn(sample_id="C007"), "not given sample_id", "by position"
    ),
    "an unknown id": (
        lambda: named().unlearn(sample_id="nobody"), "'nobody", "on_missing="
    ),
    "a number for an id": (
        lambda: named().unlearn(sample_id=7), "int ids", "Convert them"
    ),
    "all rows": (
        lambda: fit().unlearn(position=slice(None)), "All 569", "Keep at least one"
    ),
    "all of a class": (
        lambda: fit().unlearn(position=np.flatnonzero(Y == 0)),
        "Only rows of class 1", "Keep a row of another class",
    ),
    "few columns": (lambda: fit().unlearn(X[:1, :3], Y[:1]), "3 features", "30"),
    "more rows than y": (
        lambda: fit().unlearn(X[:2], Y[:1]), "2 rows and y has 1", "one target a row"
    ),
    "another on_missing": (
        lambda: fit().unlearn(position=1, on_missing="skip"), "'skip'", '"ignore"'
    ),
    "True for a request": (
        lambda: fit().unlearn(position=1, request_id=True), "got True", "the name or"
    ),
    "another C": (
        lambda: fit().set_params(C=2.0).unlearn(position=1), "is 2.0 now", "Set it back"
    ),
    "other columns": (
        lambda: new().fit(FRAME, Y).unlearn(OTHER[:1], Y[:1]), "- d0", "should match"
    ),
    "raw rows behind a scaler": (
        lambda: make_pipeline(StandardScaler(), new()).fit(X, Y)[-1].unlearn(
            X[:1], Y[:1]
        ),
        "not among the 569", "transformed in the same way",
    ),
    "one target of two": (
        lambda: DeltaGradRidge().fit(XR, np.c_[YR, YR]).unlearn(XR[:1], YR[:1]),
        "y has 1 target,", "as many columns",
    ),
    "another library": (
        lambda: skdeltagrad.unlearn(Ridge().fit(XR, YR), XR[:1], YR[:1]),
        "is a Ridge", "must be an estimator of skdeltagrad",
    ),
    "a search": (
        lambda: skdeltagrad.unlearn(
            GridSearchCV(new(), {"C": [1.0]}, cv=2).fit(X, Y), position=1
        ),
        "GridSearchCV", "best_estimator_",
    ),
    # partial_refit
    "add without y": (lambda: fit().partial_refit(X[:1]), "y is missing", "together"),
    "add NaN": (
        lambda: fit().partial_refit(spoiled(np.nan)[3:4], [0]), "contains NaN", ""
    ),
    "add few columns": (lambda: fit().partial_refit(X[:1, :2], [0]), "2 feat", "30"),
    "add without ids": (
        lambda: named().partial_refit(X[:1], Y[:1]), "sample_id is missing", "bring"
    ),
    "add with ids": (
        lambda: fit().partial_refit(X[:1], Y[:1], sample_id=["a"]),
        "fit was not given any", "Leave sample_id out",
    ),
    "replace what": (
        lambda: fit().partial_refit(X[:1], Y[:1], replace=True), "needs position", "say"
    ),
    "position without replace": (
        lambda: fit().partial_refit(X[:1], Y[:1], position=3),
        "replace is False", "pass replace=True",
    ),
    "two for one": (
        lambda: fit().partial_refit(X[:2], Y[:2], position=3, replace=True),
        "1 different rows and X has 2", "each new row replaces one",
    ),
    "y alone": (lambda: fit().partial_refit(y=[1]), "X is missing", "partial_refit()"),
    # without rows, and what is not there
    "add without rows": (
        lambda: without_rows().partial_refit(X[:1], Y[:1]), "kept no rows", "Fit with"
    ),
    "position without rows": (
        lambda: without_rows().unlearn(position=1), "kept no rows", "as X and y"
    ),
    "leave one out of none": (
        lambda: inspection.leave_one_out(without_rows()), "no rows", "Fit with"
    ),
    "refine without rows": (
        lambda: without_rows().refine(distance=1e-3), "kept none", "Fit with"
    ),
    "positions of none": (lambda: without_rows().positions_, "no positions_", "store"),
    "trajectory": (lambda: fit().trajectory_, "no trajectory_", "Fit with solver"),
    "scale": (lambda: fit().scale_, "no scale_", "Fit with standardize=True"),
    "ids": (lambda: fit().sample_ids_, "not given any", "positions_"),
    # predict and save
    "predict few columns": (lambda: fit().predict(X[:, :3]), "3 features", "30"),
    "predict before fit": (lambda: new().predict(X), "not fitted", "Call 'fit'"),
    "save nowhere": (
        lambda: fit().save("/no/such/folder/x"), "'/no/such/folder'", "create it"
    ),
    # refine and publish
    "negative distance": (lambda: fit().refine(distance=-1), "got -1", "positive"),
    "tiny distance": (lambda: fit().refine(distance=1e-18), "1e-18", "Ask for more"),
    "refine a path": (
        lambda: fit(solver="gd").refine(distance=1e-3), "estimated", 'solver="newton"'
    ),
    "two scales": (
        lambda: fit().refine(distance=1e-3, scale=[1, 2]), "shape (2,)", "for each"
    ),
    "publish a pipeline": (
        lambda: Publisher(make_pipeline(new()).fit(X, Y), **PROMISE),
        "got Pipeline", "pass the last step",
    ),
    "publish a path": (
        lambda: Publisher(fit(solver="gd"), **PROMISE), "estimated", "newton"
    ),
    "publish twice": (two_publishers, "has a publisher already", "use that one"),
    "publish too often": (used_up, "n_publications=1", "new fit"),
    "publish after a fit": (fitted_again, "fitted again", "Make a new publisher"),
    "publish other numbers": (changed_from_outside, "coef_ is not", "Call fit again"),
    "delta above 1": (lambda: publisher(delta=2), "got 2", "below 1"),
    "no noise": (lambda: publisher(noise=0), "noise must be", "above 1e-150"),
    "little noise": (lambda: publisher(noise=1e-14), "rounding", "Ask for more"),
    "half a publication": (lambda: publisher(n_publications=0.5), "0.5", "integer"),
    "profile before fit": (lambda: privacy_profile(new(), 1.0), "not fitted", "'fit'"),
    # erasure and inspection
    "not removed": (
        lambda: assert_erased(fit(), X[:1]), "is a current training row", "Remove it"
    ),
    "nothing to search": (lambda: assert_erased(fit()), "Give the removed rows", "X"),
    "not purged": (
        lambda: assert_erased(fit().unlearn(position=1), X[1:2]),
        "not purged", "Call purge()",
    ),
    "no such dump": (
        lambda: assert_erased("/no/such.joblib", X[:1]), "/no/such.joblib", "Give the"
    ),
    "two groups": (
        lambda: inspection.leave_one_out(fit(), groups=[1, 2]), "2 entries", "for each"
    ),
    "groups without ids": (
        lambda: inspection.leave_one_out(fit(), groups="sample_id"),
        "no sample_id", "fit with sample_id",
    ),
    "intervals of labels": (
        lambda: inspection.jackknife_plus(fit(), X[:3]),
        "be a regressor", "prediction_sets",
    ),
    "a window of what": (lambda: RollingWindow(new()).fit(X, Y), "n_rows=None", "one"),
}  # fmt: skip


def test_there_are_a_hundred():
    assert len(MISUSE) >= 100


@pytest.mark.parametrize("name", MISUSE)
def test_the_message_says_what_is_wrong_and_what_to_do(name):
    act, wrong, way_out = MISUSE[name]
    with warnings.catch_warnings(), pytest.raises(Exception) as error:
        warnings.simplefilter("ignore")
        act()
    message = " ".join(str(error.value).split())
    assert wrong in message
    assert way_out in message
    # No names of this library's private parts, and no traceback of another one's.
    assert not re.search(r"\b_[a-z]+\.|0x[0-9a-f]{6}", message)
