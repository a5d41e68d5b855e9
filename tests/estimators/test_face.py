"""What tools ask of the public face: types, tags."""

import dataclasses
import inspect
import typing
from importlib.resources import files

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_diabetes, load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils import get_tags

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge, inspection


def public_functions():
    """All that is public and of ours, by its name."""
    for module in (skdeltagrad, inspection):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield name, value
            elif inspect.isclass(value):
                for member, method in inspect.getmembers(value):
                    if isinstance(method, property):
                        method = method.fget
                    is_public = member == "__init__" or not member.startswith("_")
                    ours = (getattr(method, "__module__", "") or "").split(".")[0]
                    if (
                        is_public
                        and inspect.isfunction(method)
                        and ours == "skdeltagrad"
                    ):
                        yield f"{name}.{member}", method


FUNCTIONS = dict(public_functions())


def test_the_functions_are_found():
    assert {
        "unlearn",
        "leave_one_out",
        "DeltaGradRidge.fit",
        "DeltaGradRidge.__init__",
        "DeltaGradRidge.trajectory_",
        "DeltaGradLogisticRegression.unlearn",
        "History.verify",
        "TrajectoryDisplay.plot",
    } <= set(FUNCTIONS)
    assert "DeltaGradRidge.get_params" not in FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_types_are_told(name):
    function = inspect.unwrap(FUNCTIONS[name])
    signature = inspect.signature(function)
    if "<string>" in function.__code__.co_filename:  # made by dataclasses
        return
    missing = [
        parameter
        for parameter, value in signature.parameters.items()
        if value.annotation is inspect.Parameter.empty and parameter != "self"
    ]
    assert not missing
    if not name.endswith("__init__"):
        assert signature.return_annotation is not inspect.Signature.empty
    typing.get_type_hints(function)  # raises where a name is none


def test_type_checkers_find_them():
    assert files(skdeltagrad).joinpath("py.typed").is_file()


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (DeltaGradLogisticRegression(), LogisticRegression()),
        (DeltaGradRidge(), Ridge()),
    ],
    ids=["logistic", "ridge"],
)
def test_tags_are_those_of_the_same_model(ours, theirs):
    ours, theirs = map(dataclasses.asdict, map(get_tags, (ours, theirs)))
    # NumPy only.
    assert not ours.pop("array_api_support")
    theirs.pop("array_api_support")
    # Sparse rows are taken, which scikit-learn 1.6.0 did not say of its own.
    theirs["input_tags"]["sparse"] = True
    assert ours == theirs


def test_tags_say_what_is_so():
    wine, diabetes = load_wine(return_X_y=True), load_diabetes(return_X_y=True)
    tags = get_tags(DeltaGradLogisticRegression())
    assert tags.classifier_tags.multi_class and not tags.classifier_tags.multi_label
    assert not tags.target_tags.multi_output
    assert len(DeltaGradLogisticRegression(C=1e-6).fit(*wine).classes_) == 3
    with pytest.raises(ValueError, match="1d array"):
        DeltaGradLogisticRegression().fit(wine[0], np.column_stack([wine[1]] * 2))
    tags = get_tags(DeltaGradRidge())
    assert tags.target_tags.multi_output
    X, y = diabetes
    assert DeltaGradRidge().fit(X, np.column_stack([y, y])).coef_.shape == (2, 10)
    for model in (DeltaGradLogisticRegression(), DeltaGradRidge()):
        tags = get_tags(model)
        assert tags.target_tags.required and tags.requires_fit
        assert tags.input_tags.sparse
        model.fit(sparse.csr_array(X), y > 100)
        assert not (tags.input_tags.allow_nan or tags.input_tags.pairwise)
        with pytest.raises(ValueError, match="NaN"):
            model.fit(np.where(X[0, 0] == X, np.nan, X), y > 100)
        with pytest.raises(ValueError, match="requires y"):
            model.fit(X, None)
