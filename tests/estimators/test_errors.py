"""Bad input gets a clear error and leaves the estimator as it was, to the bit.

A message says which parameter, which value, and what to do instead.
"""

import re
from copy import deepcopy

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils._param_validation import InvalidParameterError

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, assert_erased
from skdeltagrad._estimators import logistic
from skdeltagrad._utils.threads import limit_threads

# Many tests try all solvers with one set of parameters.
pytestmark = pytest.mark.filterwarnings(
    "ignore:These parameters have no effect with solver='gd'.*batch_size:UserWarning"
)


def _data_of(name):
    if name.startswith("ridge"):
        X, y = load_diabetes(return_X_y=True)
        return scale(X)[:60], scale(y)[:60]
    X, y = load_wine(return_X_y=True)
    X, y = scale(X)[::3], y[::3]
    return (X[y < 2], y[y < 2]) if name.startswith("binary") else (X, y)


# Name: estimator, whether rows are sparse, whether they have ids. Three rows each
# share an id.
MODELS = {
    "binary": (
        DeltaGradLogisticRegression(solver="gd", max_iter=12, learning_rate=0.5),
        False,
        True,
    ),
    "binary, sparse sgd": (
        DeltaGradLogisticRegression(
            solver="sgd", max_iter=3, batch_size=8, random_state=0
        ),
        True,
        False,
    ),
    "classes, balanced sgd": (
        DeltaGradLogisticRegression(
            solver="sgd", max_iter=4, batch_size=16, class_weight="balanced",
            random_state=0,
        ),
        False,
        False,
    ),
    "classes, sparse": (
        DeltaGradLogisticRegression(
            solver="gd", max_iter=12, class_weight={0: 1.0, 1: 2.0}
        ),
        True,
        True,
    ),
    "ridge": (DeltaGradRidge(solver="gd", max_iter=12), False, False),
    "ridge, sparse sgd": (
        DeltaGradRidge(solver="sgd", max_iter=4, batch_size=16, random_state=0),
        True,
        True,
    ),
}  # fmt: skip


class Case:
    """A fitted estimator, already edited once, with what it was fitted on."""

    def __init__(self, name):
        model, is_sparse, has_ids = MODELS[name]
        self.X, self.y = _data_of(name)
        self.n_samples = len(self.y)
        self.is_classifier = not name.startswith("ridge")
        self.ids = np.arange(self.n_samples) // 3 if has_ids else None
        self.given = sparse.csr_array(self.X) if is_sparse else self.X
        self.unfitted = model
        self.model = clone(model).fit(self.given, self.y, sample_id=self.ids)
        self.model.unlearn(position=[3, 4, 5])

    def new_ids(self, n_rows):
        return None if self.ids is None else np.zeros(n_rows, int)


_cases = {}


@pytest.fixture(params=MODELS)
def case(request):
    if request.param not in _cases:
        _cases[request.param] = Case(request.param)
    case = deepcopy(_cases[request.param])
    case.model.partial_refit(case.X[:2], case.y[:2], sample_id=case.new_ids(2))
    return case


@pytest.fixture
def classification():
    return _data_of("classes")


@pytest.fixture
def regression():
    return _data_of("ridge")


def spoilt(X, value):
    X = np.array(X, dtype=float)
    X.flat[1] = value
    return X


def check_message(caught, *parts):
    """Each part is a regular expression; nothing may look like NumPy's repr."""
    message = str(caught.value.args[0])
    for part in parts:
        assert re.search(part, message, re.DOTALL), message
    assert "np." not in message.replace("np.inf", "")
    assert "array(" not in message


# ---------------------------------------------------------------------------
# Requests for an edit
# ---------------------------------------------------------------------------

# What is asked for, the class of the error, and what its message says.
BAD_EDITS = {
    "unknown row": (
        lambda case: case.model.unlearn(case.X[[0, 7]] + 0.01, case.y[[0, 7]]),
        ValueError,
        (r"X\[0, 1\]", "is not among the", 'on_missing="ignore"'),
    ),
    "row with another target": (
        lambda case: case.model.unlearn(case.X[:3], 1 - case.y[:3]),
        ValueError,
        (r"X\[0, 1, 2\], with its y", "same y"),
    ),
    "row that was removed": (
        lambda case: case.model.unlearn(case.X[[0, 4]], case.y[[0, 4]]),
        ValueError,
        (r"X\[1\]", 'on_missing="ignore"'),
    ),
    "more copies than there are": (
        lambda case: case.model.unlearn(case.X[[0, 0, 0]], case.y[[0, 0, 0]]),
        ValueError,
        (r"X\[2\]", 'on_missing="ignore"'),
    ),
    "unknown position": (
        lambda case: case.model.unlearn(position=[0, 1000]),
        IndexError,
        ("position 1000 does not exist", "from 0 to"),
    ),
    "negative position": (
        lambda case: case.model.unlearn(position=-1),
        IndexError,
        ("position -1 does not exist", "from 0 to"),
    ),
    "position that was removed": (
        lambda case: case.model.unlearn(position=[0, 4]),
        IndexError,
        ("position 4 was removed before", 'on_missing="ignore"'),
    ),
    "removed position in a refit": (
        lambda case: case.model.partial_refit(remove_position=[0, 4]),
        IndexError,
        ("remove_position 4 was removed before", 'on_missing="ignore"'),
    ),
    "mask": (
        lambda case: case.model.unlearn(position=np.ones(3, bool)),
        IndexError,
        ("position is a mask of 3 entries", "positions were given out"),
    ),
    "fewer features": (
        lambda case: case.model.unlearn(case.X[:2, 1:], case.y[:2]),
        ValueError,
        ("X has (9|12) features", "is expecting (10|13) features"),
    ),
    "more features": (
        lambda case: case.model.partial_refit(
            np.hstack([case.X, case.X])[:2], case.y[:2], sample_id=case.new_ids(2)
        ),
        ValueError,
        ("X has (20|26) features", "is expecting (10|13) features"),
    ),
    "one row as a vector": (
        lambda case: case.model.unlearn(case.X[0], case.y[0]),
        ValueError,
        ("Expected 2D array, got 1D array", "reshape"),
    ),
    "no rows": (
        lambda case: case.model.partial_refit(case.X[:0], case.y[:0]),
        ValueError,
        (r"0 sample\(s\)", "minimum of 1"),
    ),
    "NaN in a request": (
        lambda case: case.model.unlearn(spoilt(case.X[:2], np.nan), case.y[:2]),
        ValueError,
        ("Input X contains NaN",),
    ),
    "infinity in a request": (
        lambda case: case.model.unlearn(spoilt(case.X[:2], np.inf), case.y[:2]),
        ValueError,
        ("Input X contains infinity",),
    ),
    "NaN in new rows": (
        lambda case: case.model.partial_refit(spoilt(case.X[:2], np.nan), case.y[:2]),
        ValueError,
        ("Input X contains NaN",),
    ),
    "infinity in new rows": (
        lambda case: case.model.partial_refit(spoilt(case.X[:2], -np.inf), case.y[:2]),
        ValueError,
        ("Input X contains infinity",),
    ),
    "NaN in new targets": (
        lambda case: case.model.partial_refit(
            case.X[:2], spoilt(case.y[:2], np.nan), sample_id=case.new_ids(2)
        ),
        ValueError,
        ("y contains NaN",),
    ),
    "infinity in new targets": (
        lambda case: case.model.partial_refit(
            case.X[:2], spoilt(case.y[:2], np.inf), sample_id=case.new_ids(2)
        ),
        ValueError,
        ("y contains infinity",),
    ),
    "more targets than rows": (
        lambda case: case.model.unlearn(case.X[:2], case.y[:3]),
        ValueError,
        ("X has 2 rows and y has 3",),
    ),
    "two targets instead of one": (
        lambda case: case.model.partial_refit(
            case.X[:2],
            np.column_stack([case.y[:2], case.y[:2]]),
            sample_id=case.new_ids(2),
        ),
        ValueError,
        ("y",),
    ),
    "negative weights": (
        lambda case: case.model.partial_refit(
            case.X[:2], case.y[:2], sample_weight=[1, -2], sample_id=case.new_ids(2)
        ),
        ValueError,
        ("sample_weight", "-2.0 at row 1", "0 or more"),
    ),
    "negative weight for all": (
        lambda case: case.model.partial_refit(
            case.X[:2], case.y[:2], sample_weight=-0.5, sample_id=case.new_ids(2)
        ),
        ValueError,
        ("sample_weight", "-0.5", "0 or more"),
    ),
    "NaN in the weights": (
        lambda case: case.model.partial_refit(
            case.X[:2], case.y[:2], sample_weight=[1, np.nan]
        ),
        ValueError,
        ("sample_weight contains NaN",),
    ),
    "infinite weights": (
        lambda case: case.model.partial_refit(
            case.X[:2], case.y[:2], sample_weight=[1, np.inf]
        ),
        ValueError,
        ("sample_weight contains infinity",),
    ),
    "too few weights": (
        lambda case: case.model.partial_refit(
            case.X[:2], case.y[:2], sample_weight=[1.0]
        ),
        ValueError,
        (r"sample_weight.shape == \(1,\), expected \(2,\)", "each row"),
    ),
    "two weights for each row": (
        lambda case: case.model.partial_refit(
            case.X[:2], case.y[:2], sample_weight=np.ones((2, 2))
        ),
        ValueError,
        ("got 2D array", "sample_weight one number for each row"),
    ),
    "all rows": (
        lambda case: case.model.unlearn(
            position=range(case.n_samples + 2), on_missing="ignore"
        ),
        ValueError,
        (r"All \d+ training rows", "Keep at least one row"),
    ),
    "all rows in a refit": (
        lambda case: case.model.partial_refit(
            remove_position=range(case.n_samples + 2), on_missing="ignore"
        ),
        ValueError,
        (r"All \d+ training rows", "Keep at least one row"),
    ),
    "on_missing": (
        lambda case: case.model.unlearn(position=0, on_missing="pass"),
        ValueError,
        ("on_missing", "'pass'", '"raise" or "ignore"'),
    ),
}


@pytest.mark.parametrize("bad", BAD_EDITS)
def test_bad_edit(case, unchanged, bad):
    call, error, parts = BAD_EDITS[bad]
    with unchanged(case.model), pytest.raises(error) as caught:
        call(case)
    check_message(caught, *parts)
    # And it can still be edited.
    case.model.unlearn(position=[0])


def test_removing_every_row_that_counts(regression, unchanged):
    X, y = regression
    weight = np.zeros(60)
    weight[:3] = 0.1  # 0.1 + 0.1 + 0.1 - 0.3 is not zero
    model = DeltaGradRidge(solver="gd", max_iter=5).fit(X, y, weight)
    with unchanged(model):
        with pytest.raises(ValueError, match="sample_weight is zero for all rows"):
            model.unlearn(position=[0, 1, 2])
        with pytest.raises(ValueError, match="sample_weight is zero for all rows"):
            model.partial_refit(
                X[:2], y[:2], sample_weight=0.0, remove_position=[0, 1, 2]
            )
    model.partial_refit(X[:2], y[:2], remove_position=[0, 1, 2])
    assert model.update_report_.n_samples == 59


@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c"], [True, False, True]])
@pytest.mark.parametrize("solver", ["gd", "sgd"])
@pytest.mark.parametrize("method", ["position", "content", "id"])
def test_removing_all_classes_but_one(
    classification, unchanged, labels, solver, method
):
    X, y = classification
    y = np.array(labels)[y]
    model = DeltaGradLogisticRegression(solver=solver, max_iter=5, batch_size=16)
    model.fit(X, y, sample_id=y.astype(str))
    others = np.flatnonzero(y != y[0])
    request = {
        "position": {"position": others},
        "content": {"X": X[others], "y": y[others]},
        "id": {"sample_id": np.unique(y[others]).astype(str)},
    }[method]
    with unchanged(model), pytest.raises(ValueError) as caught:
        model.unlearn(**request)
    check_message(caught, "Only rows of class", str(y[0]), "nothing is changed")


def test_ids_where_fit_had_none(case, unchanged):
    wrong = {"sample_id": np.arange(2)} if case.ids is None else {}
    parts = ("sample_id", "fit was") + (
        ("position",) if case.ids is None else ("must bring theirs",)
    )
    with unchanged(case.model):
        with pytest.raises(ValueError) as caught:
            case.model.partial_refit(case.X[:2], case.y[:2], **wrong)
        check_message(caught, *parts)
        if case.ids is None:
            with pytest.raises(ValueError) as caught:
                case.model.unlearn(sample_id=0)
            check_message(caught, *parts)


@pytest.mark.parametrize("sample_id", [[1], [0, 1000], -4])
def test_unknown_and_removed_ids(case, unchanged, sample_id):
    """Positions 3 to 5 were removed, and they were all of id 1."""
    if case.ids is None:
        case.model.fit(case.given, case.y, sample_id=np.arange(case.n_samples) // 3)
        case.model.unlearn(sample_id=1)
    wrong = np.atleast_1d(sample_id)[-1]
    with unchanged(case.model):
        for name, method in (
            ("sample_id", case.model.unlearn),
            ("remove_id", case.model.partial_refit),
        ):
            with pytest.raises(KeyError) as caught:
                method(**{name: sample_id})
            check_message(caught, f"{name} {wrong}", 'on_missing="ignore"')


@pytest.mark.parametrize("ids", [[1, "b"], [1.5, 2.0], [None, "b"], ["a", b"b"]])
def test_mixed_ids(case, unchanged, ids):
    with unchanged(case.model):
        with pytest.raises(TypeError) as caught:
            case.model.fit(case.given, case.y, sample_id=(ids * 100)[: case.n_samples])
        check_message(caught, "sample_id", r"str\(\)")
        if case.ids is not None:
            with pytest.raises(TypeError) as caught:
                case.model.unlearn(sample_id=ids)
            check_message(caught, "sample_id", r"str\(\)")


@pytest.mark.parametrize("labels", ["new", [1.5, 2.5], ["red", "rose"]])
def test_new_rows_whose_labels_are_of_another_kind(classification, unchanged, labels):
    """A fresh fit on these labels together would refuse them, too."""
    X, y = classification
    if labels == "new":
        y, labels = np.array(["a", "b", "c"])[y], [1, 2]
    model = DeltaGradLogisticRegression(solver="gd", max_iter=5).fit(X, y)
    with unchanged(model), pytest.raises((ValueError, TypeError), match=r"y|label"):
        model.partial_refit(X[:2], labels)


@pytest.mark.parametrize("labels", [0, ["a", "b"]])
def test_targets_of_the_wrong_kind(regression, unchanged, labels):
    X, y = regression
    model = DeltaGradRidge(solver="gd", max_iter=5).fit(X, y)
    with unchanged(model), pytest.raises((ValueError, TypeError)):
        model.partial_refit(X[:2], labels)


# ---------------------------------------------------------------------------
# Unfitted
# ---------------------------------------------------------------------------

UNFITTED_CALLS = {
    "predict": lambda model: model.predict(np.zeros((2, 3))),
    "unlearn": lambda model: model.unlearn(np.zeros((2, 3)), [0, 1]),
    "partial_unfit": lambda model: model.partial_unfit(position=0),
    "partial_unfit, by id": lambda model: model.partial_unfit(sample_id="a"),
    "partial_unfit, nothing": lambda model: model.partial_unfit(),
    "partial_refit": lambda model: model.partial_refit(np.zeros((2, 3)), [0, 1]),
    "partial_refit, nothing": lambda model: model.partial_refit(),
    "to_sklearn": lambda model: model.to_sklearn(),
    "assert_erased": lambda model: assert_erased(model, np.zeros((2, 3))),
    "skdeltagrad.unlearn": lambda model: skdeltagrad.unlearn(
        model, np.zeros((2, 3)), [0, 1]
    ),
    "pipeline": lambda model: skdeltagrad.unlearn(
        make_pipeline(StandardScaler(), model), np.zeros((2, 3)), [0, 1]
    ),
}


@pytest.mark.parametrize("call", UNFITTED_CALLS)
@pytest.mark.parametrize("kind", [DeltaGradLogisticRegression, DeltaGradRidge])
def test_unfitted(kind, call):
    model = kind(solver="gd")
    with pytest.raises(NotFittedError):
        UNFITTED_CALLS[call](model)
    for name in ("coef_", "trajectory_", "update_report_", "classes_", "n_iter_"):
        assert not hasattr(model, name)


@pytest.mark.parametrize(
    "name", ["predict_proba", "predict_log_proba", "decision_function"]
)
def test_unfitted_classifier(name):
    with pytest.raises(NotFittedError):
        getattr(DeltaGradLogisticRegression(solver="gd"), name)(np.zeros((2, 3)))


# ---------------------------------------------------------------------------
# Data for fit
# ---------------------------------------------------------------------------

BAD_FITS = {
    "NaN": ({"X": np.nan}, "Input X contains NaN"),
    "infinity": ({"X": -np.inf}, "Input X contains infinity"),
    "NaN in y": ({"y": np.nan}, "y contains NaN"),
    "infinity in y": ({"y": np.inf}, "y contains infinity"),
    "negative weight": (
        {"sample_weight": -1.5},
        "sample_weight.*-1.5 at row 1.*0 or more",
    ),
    "NaN in weights": ({"sample_weight": np.nan}, "sample_weight contains NaN"),
    "infinite weight": ({"sample_weight": np.inf}, "sample_weight contains infinity"),
    "zero weights": ({"sample_weight": "zero"}, "sample_weight is zero for all rows"),
    "too few weights": ({"sample_weight": "short"}, r"sample_weight.*expected \("),
    "too few ids": ({"sample_id": "short"}, "sample_id has .* entries and X has"),
    "too few targets": ({"y": "short"}, "inconsistent numbers of samples"),
    "no rows": ({"X": "empty"}, r"0 sample\(s\)"),
    "vector": ({"X": "vector"}, "Expected 2D array"),
    "no columns": ({"X": "narrow"}, r"0 feature\(s\)"),
}


@pytest.mark.parametrize("bad", BAD_FITS)
def test_bad_data_for_fit(case, unchanged, bad):
    (wrong,), message = BAD_FITS[bad][0].items(), BAD_FITS[bad][1]
    n_samples = case.n_samples
    arguments = {
        "X": case.X, "y": case.y, "sample_weight": np.ones(n_samples),
        "sample_id": np.arange(n_samples),
    }  # fmt: skip
    name, value = wrong
    good = arguments[name]
    arguments[name] = {
        "zero": np.zeros(n_samples), "short": good[:-1], "empty": good[:0],
        "vector": good[0], "narrow": good[..., :0],
    }[value] if isinstance(value, str) else spoilt(good, value)  # fmt: skip
    with unchanged(case.model), pytest.raises(ValueError) as caught:
        case.model.fit(**arguments)
    check_message(caught, message)
    fresh = clone(case.unfitted)
    with pytest.raises(ValueError):
        fresh.fit(**arguments)
    assert not hasattr(fresh, "coef_")


@pytest.mark.parametrize("label", [0, "a"])
def test_one_class_in_fit(classification, unchanged, label):
    X, y = classification
    model = DeltaGradLogisticRegression(solver="gd", max_iter=5).fit(X, y)
    with unchanged(model), pytest.raises(ValueError) as caught:
        model.fit(X, np.full(len(X), label))
    check_message(caught, "y contains one class only", str(label), "at least 2 classes")


def test_continuous_labels(classification, unchanged):
    X, y = classification
    model = DeltaGradLogisticRegression(solver="gd", max_iter=5).fit(X, y)
    with unchanged(model), pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, X[:, 0])


def test_a_failed_fit_of_another_shape(regression, unchanged):
    X, y = regression
    model = DeltaGradRidge(solver="gd", max_iter=5).fit(X, y)
    weight = np.full(len(y), -1.0)
    with unchanged(model), pytest.raises(ValueError, match="Negative"):
        model.fit(X, np.column_stack([y, y]), weight)
    with unchanged(model), pytest.raises(ValueError, match="Negative"):
        model.fit(X[:, :4], y, weight)
    assert model.unlearn(position=0).coef_.shape == (10,)
    assert model.predict(X).shape == (60,)


# ---------------------------------------------------------------------------
# Hyper-parameters
# ---------------------------------------------------------------------------

INVALID = {
    "C": [0, -1.0, "1", None, np.nan],
    "alpha": [-1.0, "1", None, np.nan],
    "fit_intercept": ["yes", 3],
    "solver": ["lbfgs", None, "GD"],
    "max_iter": [0, -3, 2.5, "10"],
    "learning_rate": [0, -0.1, "constant", np.inf, np.nan, None],
    "batch_size": [0, 2.5, None],
    "burn_in": [-1, 1.5, None],
    "period": [0, 2.5, None],
    "history_size": [0, 1.5, None],
    "random_state": ["seed", -1.5],
    "verbose": [-1, "loud"],
    "class_weight": ["balance", 3, [1, 2]],
}
INVALID = [(name, value) for name, values in INVALID.items() for value in values]


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_invalid_parameters(name, value, classification, unchanged):
    X, y = classification
    kinds = [DeltaGradLogisticRegression, DeltaGradRidge]
    for kind in kinds:
        if name not in kind(solver="gd").get_params():
            continue
        # The edit validates the parameters, which is remembered.
        model = kind(solver="gd", max_iter=3).fit(X, y).unlearn(position=1)
        before = model.get_params()[name]
        model.set_params(**{name: value})
        parts = (f"The '{name}' parameter of {kind.__name__} must be",)
        with unchanged(model):
            with pytest.raises(InvalidParameterError) as caught:
                model.fit(X, y)
            check_message(caught, *parts)
            with pytest.raises(InvalidParameterError) as caught:
                model.unlearn(position=0)
            check_message(caught, *parts)
        model.set_params(**{name: before}).unlearn(position=0)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ([0.1, 0.1], r"learning_rate has shape \(2,\).*max_iter=3"),
        (np.full((3, 1), 0.1), r"learning_rate has shape \(3, 1\)"),
        ([0.1, 0.0, 0.1], r"learning_rate must be positive .*\[0.1, 0.0, 0.1\]"),
        ([0.1, -0.2, 0.1], r"learning_rate must be positive .*-0.2"),
        ([0.1, np.nan, 0.1], "learning_rate must be positive and finite"),
        ([0.1, np.inf, 0.1], "learning_rate must be positive and finite"),
    ],
)
@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_learning_rates(regression, rate, message, solver):
    model = DeltaGradRidge(solver=solver, max_iter=3, learning_rate=rate)
    with pytest.raises(ValueError, match=message):
        model.fit(*regression)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize(
    ("alpha", "n_targets", "message"),
    [
        ([1.0, 2.0, 3.0], 2, r"alpha has shape \(3,\) and y has 2 targets.*one alpha"),
        ([1.0, 2.0], 1, r"alpha has shape \(2,\) and y has 1 target"),
        (np.ones((2, 1)), 2, r"alpha has shape \(2, 1\)"),
        ([], 2, r"alpha has shape \(0,\)"),
        ([1.0, -1.0], 2, r"alpha must be .* 0 or more, got \[1.0, -1.0\]"),
        ([1.0, np.nan], 2, "alpha must be finite"),
        ([1.0, np.inf], 2, "alpha must be finite"),
    ],
)
def test_alpha(regression, unchanged, alpha, n_targets, message):
    X, y = regression
    Y = np.column_stack([y] * n_targets)
    model = DeltaGradRidge(solver="gd", max_iter=3).fit(X, Y)
    model.set_params(alpha=alpha)
    with unchanged(model), pytest.raises(ValueError, match=message):
        model.fit(X, Y)


@pytest.mark.parametrize("solver", ["newton", "gd", "sgd"])
@pytest.mark.parametrize("C", [5e-324, 1e-320, np.float64(1e-320)])
def test_a_C_whose_inverse_overflows(classification, unchanged, solver, C):
    """The penalty is 1 / C, and of a subnormal C that is infinite."""
    model = DeltaGradLogisticRegression(solver=solver).fit(*classification)
    model.set_params(C=C)
    with unchanged(model), pytest.raises(ValueError) as caught:
        model.fit(*classification)
    check_message(caught, re.escape(f"C={float(C)}"), "1 / C", "5.6e-309 or more")
    assert np.isfinite(model.set_params(C=1e-300).fit(*classification).coef_).all()


@pytest.mark.parametrize("weights", [{0: 1.0, 1: -2.0}, {0: 1.0, 1: np.nan}])
def test_class_weights(classification, weights):
    model = DeltaGradLogisticRegression(
        solver="gd", max_iter=3, class_weight=weights | {2: 1.0}
    )
    with pytest.raises(ValueError, match=r"class_weight must .*(-2|nan)"):
        model.fit(*classification)
    assert not hasattr(model, "coef_")


def test_class_weight_of_a_class_that_appears_later(classification, unchanged):
    X, y = classification
    model = DeltaGradLogisticRegression(
        solver="gd", max_iter=3, class_weight={0: 1.0, 1: 1.0, 2: -1.0}
    )
    try:
        model.fit(X[y < 2], y[y < 2])
    except ValueError as error:
        assert "class_weight" in str(error)
        return
    with unchanged(model), pytest.raises(ValueError, match=r"class_weight.*-1"):
        model.partial_refit(X[y == 2], y[y == 2])


CHANGED = {
    "C": 2.0, "alpha": 2.0, "fit_intercept": False, "solver": "sgd", "max_iter": 9,
    "learning_rate": 0.25, "batch_size": 7, "class_weight": "balanced",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in (DeltaGradLogisticRegression, DeltaGradRidge)
        for name in CHANGED
        if name in kind().get_params()
    ],
)
def test_parameters_that_changed_since_fit(classification, unchanged, kind, name):
    X, y = classification
    model = kind(solver="gd", max_iter=8)
    before = model.get_params()
    model.fit(X, y).set_params(**{name: CHANGED[name]})
    for call in (
        lambda: model.unlearn(position=0),
        lambda: model.unlearn(X[:1], y[:1]),
        lambda: model.partial_refit(X[:1], y[:1]),
        lambda: model.partial_refit(),
    ):
        with unchanged(model), pytest.raises(ValueError) as caught:
            call()
        way_out = "set_params, or fit again"
        was, now = repr(before[name]), repr(CHANGED[name])
        check_message(caught, rf"^{name} was {was} in fit.*{now} now.*{way_out}")
    model.set_params(**{name: before[name]}).unlearn(position=0)
    assert model.update_report_.n_samples == len(y) - 1


@pytest.mark.parametrize(
    ("kind", "name", "of_fit", "changed"),
    [
        (DeltaGradRidge, "alpha", [1.0, 2.0], [1.0, 3.0]),
        (DeltaGradRidge, "alpha", np.array([1.0, 2.0]), 1.0),
        (DeltaGradRidge, "learning_rate", [0.1, 0.2, 0.3], [0.1, 0.2, 0.4]),
        (DeltaGradRidge, "learning_rate", "auto", [0.1, 0.2, 0.3]),
        (DeltaGradLogisticRegression, "class_weight", {0: 1.0}, {0: 2.0}),
        (DeltaGradLogisticRegression, "class_weight", {0: 1.0}, "balanced"),
        (DeltaGradLogisticRegression, "class_weight", "balanced", {0: 1.0}),
        (DeltaGradLogisticRegression, "class_weight", {0: 1.0}, None),
    ],
)
def test_array_and_dict_parameters_that_changed(
    classification, unchanged, kind, name, of_fit, changed
):
    X, y = classification
    if kind is DeltaGradRidge:
        y = X[:, :2]
    model = kind(solver="gd", max_iter=3, **{name: of_fit}).fit(X, y)
    model.set_params(**{name: changed})
    with unchanged(model), pytest.raises(ValueError, match=f"{name} was"):
        model.unlearn(position=0)
    model.set_params(**{name: deepcopy(of_fit)}).unlearn(position=0)


def test_parameters_that_were_changed_in_place(classification, unchanged):
    X, y = classification
    weights = {0: 1.0, 1: 2.0}
    model = DeltaGradLogisticRegression(solver="gd", class_weight=weights, max_iter=3)
    model.fit(X, y)
    model.class_weight[0] = 3.0
    with unchanged(model), pytest.raises(ValueError, match="class_weight was"):
        model.unlearn(position=0)


@pytest.mark.parametrize(
    "changed", [{"period": 1}, {"burn_in": 0}, {"history_size": 5}, {"verbose": 0}]
)
def test_parameters_that_may_change(case, changed):
    case.model.set_params(**changed).unlearn(position=0)
    assert case.model.update_report_.n_removed == 1


# ---------------------------------------------------------------------------
# Learning rates that diverge
# ---------------------------------------------------------------------------

STEP = r"step (\d+) of (\d+)"


@pytest.mark.parametrize("rate", [3.0, 1e3, 1e300])
@pytest.mark.parametrize("solver", ["gd", "sgd"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_diverging_fit(regression, unchanged, rate, solver, fit_intercept):
    X, y = regression
    model = DeltaGradRidge(
        solver=solver, batch_size=50, max_iter=1000, learning_rate=rate,
        fit_intercept=fit_intercept, random_state=0,
    )  # fmt: skip
    with pytest.raises(ValueError) as caught:
        model.fit(X + 100 * fit_intercept, y)
    check_message(caught, STEP, "Lower learning_rate", "standardise")
    step, n_steps = map(int, re.search(STEP, str(caught.value)).groups())
    assert 1 <= step < n_steps == (1000 if solver == "gd" else 2000)
    assert not hasattr(model, "coef_")
    model.set_params(learning_rate="auto", max_iter=3).fit(X, y)
    model.set_params(learning_rate=rate, max_iter=1000)
    with unchanged(model), pytest.raises(ValueError, match=STEP):
        model.fit(X, y)


@pytest.mark.parametrize("rate", [1e3, 1e300])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_diverging_in_threads(rate, convert):
    """So much work is shared among threads, which may not warn on their own."""
    X, y = load_digits(return_X_y=True)
    X, Y = convert(np.tile(X, (2, 1))), np.tile(y[:, np.newaxis] == range(10), (2, 1))
    model = DeltaGradRidge(solver="gd", max_iter=300, learning_rate=rate)
    with limit_threads(2), pytest.raises(ValueError, match=STEP):
        model.fit(X, Y)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("solver", ["gd", "sgd"])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_diverging_classifier(classification, n_classes, solver, convert):
    """The logistic gradient is bounded, but the penalty's is not."""
    X, y = classification
    model = DeltaGradLogisticRegression(
        C=1e-6, solver=solver, max_iter=500, learning_rate=10.0, batch_size=20
    )
    with pytest.raises(ValueError, match=STEP):
        model.fit(convert(X[y < n_classes]), y[y < n_classes])


@pytest.mark.parametrize("size", [1e3, 1e20, 1e90, 1e160, 1e200])
@pytest.mark.parametrize("solver", ["gd", "sgd"])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_diverging_edit(regression, unchanged, size, solver, convert):
    """The learning rate was right for the rows of `fit`, not for huge ones."""
    X, y = regression
    model = DeltaGradRidge(
        solver=solver, batch_size=50, max_iter=300, random_state=0
    ).fit(convert(X), y)
    for edit in (
        lambda: model.partial_refit(convert(X[:2] * size), y[:2]),
        lambda: model.partial_refit(
            convert(X[:2] * size), y[:2], position=[5, 0], replace=True
        ),
    ):
        with unchanged(model), pytest.raises(ValueError) as caught:
            edit()
        check_message(caught, STEP, "Lower learning_rate")
    model.unlearn(X[:1], y[:1])


@pytest.mark.parametrize("size", [1e90, 1e160, 1e200])
def test_huge_rows_of_a_classifier(classification, unchanged, contents, size):
    """The logistic gradient is bounded, so they need not diverge: but cleanly."""
    X, y = classification
    model = DeltaGradLogisticRegression(solver="gd", max_iter=20).fit(X, y)
    before, report = contents(model), model.update_report_
    try:
        model.partial_refit(np.vstack([X[:2] * size, -X[:2] * size]), [0, 1, 2, 0])
    except ValueError as error:
        assert re.search(STEP, str(error))
        assert contents(model) == before
        assert model.update_report_ is report
    else:
        assert np.isfinite(model.coef_).all()
        assert np.isfinite(model.intercept_).all()


# ---------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------

CACHES = {
    "binary": (DeltaGradLogisticRegression(solver="gd", max_iter=900), 2),
    "classes": (DeltaGradLogisticRegression(solver="gd", max_iter=300), 3),
    "balanced": (
        DeltaGradLogisticRegression(
            solver="sgd", batch_size=20, max_iter=100, class_weight="balanced"
        ),
        3,
    ),
}


@pytest.fixture
def limit_memory(monkeypatch):
    def limit(n_bytes):
        monkeypatch.setattr(
            skdeltagrad._utils.memory, "available_bytes", lambda: n_bytes
        )

    return limit


@pytest.mark.parametrize("name", CACHES)
def test_cache_that_does_not_fit(classification, unchanged, limit_memory, name):
    X, y = classification
    model, n_classes = CACHES[name]
    X, y = X[y < n_classes], y[y < n_classes]
    model = clone(model).fit(X, y)
    needed = model.trajectory_.nbytes
    assert needed > 2 * X.nbytes  # it is not the rows that do not fit
    fresh = clone(model)
    limit_memory(needed - 1)
    edits = [
        lambda: model.fit(X, y),
        lambda: model.unlearn(position=0),
        lambda: model.unlearn(X[1:2], y[1:2]),
        lambda: model.partial_refit(X[:1], y[:1]),
        lambda: model.partial_refit(X[:1], y[:1], position=2, replace=True),
        lambda: model.partial_refit(),
        lambda: fresh.fit(X, y),
    ]
    for edit in edits:
        with unchanged(model), pytest.raises(MemoryError) as caught:
            edit()
        check_message(
            caught, f"{needed:,} bytes", f"{needed - 1:,} bytes are available",
            "max_iter", "batch_size",
        )  # fmt: skip
        assert ("class_weight" in str(caught.value)) == (name == "balanced")
    assert not hasattr(fresh, "coef_")
    limit_memory(needed)
    for edit in edits:
        edit()


def test_rows_that_do_not_fit(classification, limit_memory):
    X, y = classification
    limit_memory(X.nbytes - 1)
    model = DeltaGradLogisticRegression(solver="gd", max_iter=3)
    with pytest.raises(MemoryError, match=r"bytes are needed .*copy of the 60") as e:
        model.fit(X, y)
    check_message(e, r"Fit on fewer rows", "float32", f"{X.nbytes - 1:,} bytes are av")


def test_a_cache_of_terabytes_is_not_tried():
    X, y = np.random.default_rng(0).normal(size=(20, 20_000)), np.arange(20.0)
    model = DeltaGradRidge(solver="gd", max_iter=10**7, learning_rate=1e-3)
    with pytest.raises(
        MemoryError, match=r"[\d,]{17,} bytes .*cache_folder, lower max_iter"
    ):
        model.fit(X, y)


# ---------------------------------------------------------------------------
# Numbers beyond what can be squared
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("solver", ["newton", "gd", "sgd"])
@pytest.mark.parametrize("size", [1e200, 1e300])
def test_numbers_whose_squares_overflow(solver, size, convert):
    """An error that says so, and no warning of NumPy's or failure of ARPACK."""
    X = np.random.default_rng(0).standard_normal((12, 3))
    X[0] *= size
    for model, y in (
        (DeltaGradLogisticRegression(solver=solver, max_iter=5), np.arange(12) % 2),
        (DeltaGradRidge(solver=solver, max_iter=5), X[:, 1] / size),
    ):
        with pytest.raises(ValueError, match="Standardise|standardise"):
            model.fit(convert(X), y)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_added_numbers_beyond_single_precision(classification, unchanged, convert):
    X, y = classification
    model = DeltaGradLogisticRegression().fit(convert(X.astype(np.float32)), y)
    with unchanged(model), pytest.raises(ValueError, match="X contains infinity"):
        model.partial_refit(convert(X[:1] * 1e40), y[:1])


def test_rows_too_large_for_a_projection_are_not_there(classification, unchanged):
    X, y = classification
    model = DeltaGradLogisticRegression().fit(X, y)
    for size in (1e160, 1e300, 1.7e308):
        with unchanged(model), pytest.raises(ValueError, match="is not among"):
            model.unlearn(X[:1] / np.abs(X[:1]).max() * size, y[:1])


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_edits_of_rows_that_are_next_to_nothing(classification, class_weight):
    """Steps of length zero."""
    X, y = classification
    X = np.where(X > 0, 5e-324, 0.0)
    weight = np.where(np.arange(len(y)) % 3, 1.0, 1e-300)
    model = DeltaGradLogisticRegression(class_weight=class_weight).fit(X, y, weight)
    model.unlearn(position=[0, 1]).partial_refit(X[:2], y[:2])
    assert np.isfinite(model.coef_).all()


_ROWS = np.random.default_rng(0).standard_normal((3, 4))
_LABELS = np.array([0, 1, 1])
GIVEN = {
    "as stored": (_ROWS, _LABELS),
    "lists": (_ROWS.tolist(), _LABELS.tolist()),
    "integers": (np.eye(3, 4, dtype=int), _LABELS),
    "float32": (_ROWS.astype(np.float32), _LABELS),
    "big-endian": (_ROWS.astype(">f8"), _LABELS.astype(">i8")),
    "by columns": (np.asfortranarray(_ROWS), _LABELS),
    "floating-point labels": (_ROWS, _LABELS.astype(float)),
    "a column of labels": (_ROWS, _LABELS[:, np.newaxis]),
    "text": (_ROWS, ["0", "1", "1"]),
    "objects": (_ROWS, _LABELS.astype(object)),
    "an unknown label": (_ROWS, [0, 1, 2]),
    "NaN": (_ROWS * [1, np.nan, 1, 1], _LABELS),
    "infinity": (_ROWS * [1, 1, 1, np.inf], _LABELS),
    "a NaN label": (_ROWS, [0.0, np.nan, 1.0]),
    "three columns": (_ROWS[:, :3], _LABELS),
    "no rows": (_ROWS[:0], _LABELS[:0]),
    "one dimension": (_ROWS[0], _LABELS[:1]),
    "three dimensions": (_ROWS[np.newaxis], _LABELS),
    "complex": (_ROWS + 1j, _LABELS),
    "two labels": (_ROWS, _LABELS[:2]),
}


@pytest.mark.filterwarnings("ignore:y contains new labels:UserWarning")
@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("operation", ["unlearn", "partial_refit"])
def test_skipping_the_checks_of_scikit_learn_changes_nothing(
    operation, given, monkeypatch
):
    def outcome():
        rng = np.random.default_rng(1)
        X = np.vstack([_ROWS, np.eye(3, 4), rng.standard_normal((30, 4))])
        y = np.concatenate([_LABELS, _LABELS, rng.integers(2, size=30)])
        model = DeltaGradLogisticRegression().fit(X, y)
        try:
            getattr(model, operation)(*given)
        except Exception as error:
            return type(error), str(error)
        return model.coef_.tolist(), model.classes_.tolist()

    with_shortcut = outcome()
    monkeypatch.setattr(DeltaGradLogisticRegression, "_is_validated", lambda *_: False)
    monkeypatch.setattr(logistic, "_KINDS_OF_LABELS", frozenset())
    assert outcome() == with_shortcut
