"""What a publisher publishes, when, and what it refuses."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
)
from skdeltagrad._estimators import refining
from skdeltagrad.certified import Publisher
from skdeltagrad.certified._accounting import mu_of

PARAMETERS = {
    "noise": 1e-5, "epsilon": 1.0, "delta": 1e-6, "n_publications": 1000,
    "random_state": 0,
}  # fmt: skip


def rows(n_rows=120, n_features=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features))
    return X, (X[:, 0] + rng.standard_normal(n_rows) > 0).astype(int)


def fitted(kind=DeltaGradLogisticRegression, **parameters):
    return kind(**parameters).fit(*rows())


def publisher_of(est=None, **parameters):
    return Publisher(est or fitted(), **PARAMETERS | parameters)


def both(model):
    """Coefficients and intercepts in one array."""
    return np.append(model.coef_, model.intercept_)


# What is published.


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (DeltaGradLogisticRegression, LogisticRegression),
        (DeltaGradPoissonRegressor, PoissonRegressor),
        (DeltaGradRidge, Ridge),
    ],
)
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_it_is_a_model_of_scikit_learn_with_noise(
    kind, plain, standardize, fit_intercept
):
    X, _ = rows()
    est = fitted(kind, standardize=standardize, fit_intercept=fit_intercept)
    model = publisher_of(est).publish()
    assert type(model) is plain
    assert model.coef_.shape == est.coef_.shape
    assert np.shape(model.intercept_) == np.shape(est.intercept_)
    assert 0.0 < np.abs(model.coef_ - est.coef_).max() < 6e-5
    noise = np.abs(model.intercept_ - est.intercept_).max()
    assert (0.0 < noise < 6e-5) if fit_intercept else noise == 0.0
    assert np.abs(model.predict(X) - est.predict(X)).max() < 1e-3


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_and_names_of_columns_are_there(n_classes):
    pd = pytest.importorskip("pandas")
    X, _ = rows()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    y = np.array(["low", "mid", "top"])[np.arange(len(X)) % n_classes]
    model = publisher_of(DeltaGradLogisticRegression().fit(frame, y)).publish()
    assert_array_equal(model.classes_, np.unique(y))
    assert_array_equal(model.feature_names_in_, ["a", "b", "c"])
    assert set(model.predict(frame)) <= set(y)


def test_noise_follows_the_scale_and_lies_on_its_grid():
    scale = np.array([1.0, 100.0, 0.01, 10.0])
    publisher = publisher_of(scale=scale)
    model = publisher.publish()
    deviation = publisher.noise * scale
    noise = (both(model) - both(publisher.est)) / deviation
    assert (np.abs(noise) < 5.0).all()
    assert (np.abs(noise) > 1e-3).all()
    steps = both(model) / (deviation / 2.0**10)
    assert np.abs(steps - np.rint(steps)).max() < 1e-6


def test_every_estimator_is_within_the_cap_when_it_publishes():
    publisher = publisher_of(fitted(edit_tol=0.3), noise=1e-7)
    for position in range(10):
        publisher.est.unlearn(position=position)
        assert publisher.est.update_report_.coef_bound is None
        publisher.publish()
        report = publisher.est.update_report_
        assert report.operation == "refine"
        assert report.coef_bound <= publisher.statement_.cap


# One model until the next edit.


def test_the_same_model_is_returned_until_the_next_edit():
    publisher = publisher_of(random_state=None)
    est, first = publisher.est, both(publisher.publish())
    est.purge()
    assert_array_equal(both(publisher.publish()), first)
    est.refine(distance=1e-11)
    assert_array_equal(both(publisher.publish()), first)
    est.partial_refit()
    assert_array_equal(both(publisher.publish()), first)
    est.purge(exact=True)
    assert_array_equal(both(publisher.publish()), first)
    assert publisher.n_published_ == 1
    est.unlearn(position=3)
    assert (both(publisher.publish()) != first).all()
    assert publisher.n_published_ == 2


def test_a_request_that_finds_nothing_is_no_edit():
    X, y = rows()
    est = DeltaGradLogisticRegression().fit(X, y, sample_id=np.arange(len(X)))
    publisher = publisher_of(est)
    first = both(publisher.publish())
    est.unlearn(sample_id=999, on_missing="ignore")
    assert_array_equal(both(publisher.publish()), first)
    assert publisher.n_published_ == 1


def test_rows_changed_and_changed_back_are_a_new_publication():
    X, y = rows()
    publisher = publisher_of(random_state=None)
    first = both(publisher.publish())
    publisher.est.unlearn(position=0).partial_refit(X[:1], y[:1])
    assert (both(publisher.publish()) != first).any()
    assert publisher.n_published_ == 2


def test_an_edit_that_fails_is_no_edit():
    publisher = publisher_of(random_state=None)
    first = both(publisher.publish())

    def refuse(report):
        raise RuntimeError("not today")

    publisher.est.callback = refuse
    with pytest.raises(RuntimeError, match="not today"):
        publisher.est.unlearn(position=0)
    assert_array_equal(both(publisher.publish()), first)
    assert publisher.n_published_ == 1


def test_whoever_changes_a_published_model_changes_a_copy():
    publisher = publisher_of()
    first = publisher.publish()
    kept = both(first)
    first.coef_ += 1.0
    assert_array_equal(both(publisher.publish()), kept)


# The budget.


def test_the_budget_is_one_of_publications():
    publisher = publisher_of(n_publications=2)
    for position in range(2):
        publisher.publish()
        publisher.est.unlearn(position=position)
    assert publisher.remaining_ == 0
    before = both(publisher.est)
    with pytest.raises(ValueError, match="All n_publications=2 have been made"):
        publisher.publish()
    assert_array_equal(both(publisher.est), before)
    assert publisher.n_published_ == 2


def test_when_it_is_used_up_the_last_model_is_still_there():
    publisher = publisher_of(n_publications=1)
    assert_array_equal(both(publisher.publish()), both(publisher.publish()))


def test_the_cap_falls_with_the_root_of_the_number_of_publications():
    caps = [publisher_of(n_publications=n).statement_.cap for n in (1, 100, 10_000)]
    assert np.allclose(caps, 1e-5 * mu_of(1.0, 1e-6) / 2 / np.array([1, 10, 100]))


def test_a_publication_that_fails_before_noise_is_drawn_costs_nothing():
    publisher = publisher_of()
    publisher.est.unlearn(position=3)

    def refuse(report):
        raise RuntimeError("not today")

    publisher.est.callback = refuse
    with pytest.raises(RuntimeError, match="not today"):
        publisher.publish()
    assert publisher.n_published_ == 0
    publisher.est.callback = None
    publisher.publish()
    assert publisher.n_published_ == 1


# Copies and second publishers.


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda est: pickle.loads(pickle.dumps(est))]
)
@pytest.mark.parametrize("is_before", [True, False])
def test_copies_of_an_estimator_have_no_publisher_of_their_own(copied, is_before):
    est = fitted()
    twin = copied(est) if is_before else None
    publisher_of(est)
    twin = twin or copied(est)
    for second in (est, twin):
        with pytest.raises(ValueError, match="has a publisher already"):
            publisher_of(second)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_copies_of_a_publisher_share_the_count(copied):
    publisher = publisher_of(n_publications=3, random_state=None)
    first = both(publisher.publish())
    twin = copied(publisher)
    assert_array_equal(both(twin.publish()), first)
    assert twin.n_published_ == publisher.n_published_ == 1
    publisher.est.unlearn(position=0)
    twin.est.unlearn(position=1, on_missing="ignore")
    publisher.publish()
    twin.publish()
    assert twin.n_published_ == publisher.n_published_ == 3
    publisher.est.unlearn(position=2)
    with pytest.raises(ValueError, match="All n_publications=3"):
        publisher.publish()


def test_copies_made_before_the_first_publication_draw_noise_of_their_own():
    publisher = publisher_of(random_state=None)
    twin = copy.deepcopy(publisher)
    assert (both(twin.publish()) != both(publisher.publish())).all()
    assert twin.n_published_ == publisher.n_published_ == 2


def test_a_new_fit_may_have_a_new_publisher_and_the_old_one_stops():
    publisher = publisher_of()
    publisher.publish()
    publisher.est.fit(*rows())
    with pytest.raises(ValueError, match="fitted again since the publisher"):
        publisher.publish()
    assert publisher.n_published_ == 1
    second = publisher_of(publisher.est)
    second.publish()
    assert second.n_published_ == 1


# Bad parameters: an error that names them, and nothing changes.

NUMBERS = [np.nan, np.inf, 0, 0.0, -1.0, True, np.True_, None, "1", [1.0], 1j, 10**400]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["noise", "epsilon", "delta"])
def test_numbers_that_are_none(name, value, unchanged):
    est = fitted()
    with unchanged(est), pytest.raises(ValueError, match=f"{name} must be a number"):
        publisher_of(est, **{name: value})


@pytest.mark.parametrize("value", [1.0, 1.5, 0, -1, True, None, "1", [1], 10**30])
def test_counts_that_are_none(value, unchanged):
    est = fitted()
    with unchanged(est), pytest.raises(ValueError, match="n_publications must be an"):
        publisher_of(est, n_publications=value)


@pytest.mark.parametrize("value", [-1, True, 0.5, "1", np.random.RandomState(0)])
def test_seeds_that_are_none(value, unchanged):
    est = fitted()
    with unchanged(est), pytest.raises(ValueError, match="random_state must be an"):
        publisher_of(est, random_state=value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delta", 1.0),
        ("epsilon", 701.0),
        ("epsilon", 1e-7),
        ("noise", 1e-200),
        ("noise", 1e200),
    ],
)
def test_numbers_that_are_too_large_or_too_small(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a number above .* and below"):
        publisher_of(**{name: value})


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, "1", True, [1, 1], 1e200])
def test_scales_that_are_none(scale, unchanged):
    est = fitted()
    with unchanged(est), pytest.raises(ValueError, match="scale"):
        publisher_of(est, scale=scale)


@pytest.mark.parametrize(
    "number", [np.float32(0.5), np.int64(1), Fraction(1, 2)], ids=repr
)
def test_numbers_of_other_types(number):
    publisher = publisher_of(noise=number, epsilon=number)
    publisher.publish()
    assert publisher.statement_.to_dict()["epsilon"] == float(number)
    assert type(publisher.statement_.noise) is float


@pytest.mark.parametrize(("noise", "scale"), [(1e-149, 1e-149), (1e149, 1e149)])
def test_noise_of_any_size_is_a_number(noise, scale):
    """Coefficients of 0 have no rounding floor, and the grid is not 0 either."""
    est = DeltaGradRidge().fit(np.zeros((4, 2)), np.zeros(4))
    model = publisher_of(est, noise=noise, scale=scale).publish()
    assert np.isfinite(both(model)).all()
    assert (both(model) != 0.0).all()


def test_noise_below_the_rounding_floor_is_refused_at_once(unchanged):
    est = fitted()
    with unchanged(est), pytest.raises(ValueError, match="that rounding allows is"):
        publisher_of(est, noise=1e-14)
    publisher_of(est)  # nothing was recorded


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "gd", "max_iter": 3}, "estimated, not bounded"),
        ({"solver": "sgd", "max_iter": 3, "random_state": 0}, "estimated, not bounded"),
        ({"store_data": False}, "store_data=True"),
    ],
)
def test_estimators_without_a_bound(parameters, message, unchanged):
    est = fitted(**parameters)
    with unchanged(est), pytest.raises(ValueError, match=message):
        publisher_of(est)


def test_objects_that_are_no_fitted_estimator():
    pipeline = make_pipeline(StandardScaler(), DeltaGradRidge()).fit(*rows())
    with pytest.raises(TypeError, match="Of a pipeline, pass the last step"):
        publisher_of(pipeline)
    with pytest.raises(TypeError, match="must be an estimator of skdeltagrad"):
        publisher_of(LogisticRegression().fit(*rows()))
    with pytest.raises(NotFittedError):
        publisher_of(DeltaGradRidge())


def test_the_last_step_of_a_pipeline_may_have_one():
    pipeline = make_pipeline(StandardScaler(), DeltaGradRidge()).fit(*rows())
    publisher_of(pipeline[-1]).publish()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noise", 1e-9), ("epsilon", 9.0), ("delta", 0.5), ("n_publications", 10**9),
        ("scale", 1e-3), ("random_state", None), ("est", None),
    ],
)  # fmt: skip
def test_what_is_guaranteed_cannot_be_changed_afterwards(name, value):
    """Less noise, or a seed that was forgotten, would still be called private."""
    publisher = publisher_of(scale=[1.0, 2.0, 3.0, 4.0])
    statement = publisher.statement_
    with pytest.raises(AttributeError, match=f"{name} of a publisher cannot be"):
        setattr(publisher, name, value)
    assert publisher.statement_ == statement


def test_the_noise_does_not_follow_an_array_that_its_owner_changes():
    scale = np.ones(4)
    publisher = publisher_of(scale=scale)
    scale *= 1e-9
    noise = both(publisher.publish()) - both(publisher.est)
    assert (np.abs(noise) > 1e-8).all()
    assert publisher.statement_.scale == [1.0] * 4
    with pytest.raises(ValueError, match="read-only"):
        publisher.scale *= 1e-9


# An estimator that was changed behind the publisher's back.


@pytest.mark.parametrize("name", ["coef_", "intercept_"])
def test_coefficients_that_were_replaced(name):
    publisher = publisher_of()
    publisher.est.unlearn(position=3)
    setattr(publisher.est, name, getattr(publisher.est, name) + 1e-9)
    with pytest.raises(ValueError, match=f"{name} is not what the last fit or edit"):
        publisher.publish()
    assert publisher.n_published_ == 0


@pytest.mark.parametrize("change", [{"C": 2.0}, {"fit_intercept": False}])
def test_parameters_that_were_changed(change):
    publisher = publisher_of()
    publisher.est.unlearn(position=3).set_params(**change)
    with pytest.raises(ValueError, match="in fit and is"):
        publisher.publish()
    assert publisher.n_published_ == 0


def test_coefficients_that_were_replaced_are_not_what_is_published():
    publisher = publisher_of()
    first = both(publisher.publish())
    publisher.est.coef_ = publisher.est.coef_ + 1.0
    assert_array_equal(both(publisher.publish()), first)


# Classes that disappear.


def test_a_class_that_disappears():
    X, y = rows()
    y[:2] = 2
    publisher = publisher_of(DeltaGradLogisticRegression().fit(X, y), scale=2.0)
    assert publisher.publish().coef_.shape == (3, 3)
    publisher.est.unlearn(position=[0, 1])
    model = publisher.publish()
    assert model.coef_.shape == (1, 3)
    assert_array_equal(model.classes_, [0, 1])


def test_a_class_that_disappears_with_a_row_of_the_scale_for_each(unchanged):
    X, y = rows()
    y[:2] = 2
    est = DeltaGradLogisticRegression().fit(X, y)
    publisher = publisher_of(est, scale=np.ones((3, 4)))
    est.unlearn(position=[0, 1])
    with (
        unchanged(est),
        pytest.raises(ValueError, match=r"scale has shape \(3, 4\), which cannot"),
    ):
        publisher.publish()
    assert publisher.n_published_ == 0


# Threads.


def test_threads_that_edit_while_others_publish():
    """Each model is published under the rows it was made of, and all are counted."""
    X, y = rows(400)
    est = DeltaGradLogisticRegression().fit(X, y)
    publisher = publisher_of(est, noise=1e-7, random_state=None)
    models, errors = [], []

    def edit(number):
        est.unlearn(position=number)

    def publish(number):
        models.append(both(publisher.publish()))

    def repeat(work):
        try:
            for number in range(25):
                work(number)
        except Exception as error:
            errors.append(error)

    workers = [edit, publish, publish, publish]
    threads = [threading.Thread(target=repeat, args=[work]) for work in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len({tuple(model) for model in models}) == publisher.n_published_ <= 26
    # Each is a model of the first rows without some of those that left, in order.
    exact = []
    again = DeltaGradLogisticRegression().fit(X, y)
    for number in range(26):
        exact.append(both(again.refine(distance=1e-9)))
        again.unlearn(position=number)
    apart = [np.abs(exact - model).max(axis=1).min() for model in models]
    assert max(apart) < 1e-6


def test_a_fit_in_another_thread_is_not_published_by_the_old_publisher(monkeypatch):
    """Not even if it comes between the check and the lock."""
    publisher = publisher_of()
    publisher.est.unlearn(position=3)
    check = publisher._count.check

    def check_while_another_thread_fits():
        check()
        monkeypatch.undo()
        thread = threading.Thread(target=lambda: publisher.est.fit(*rows()))
        thread.start()
        thread.join()

    monkeypatch.setattr(publisher._count, "check", check_while_another_thread_fits)
    with pytest.raises(ValueError, match="fitted again since the publisher"):
        publisher.publish()
    assert publisher.n_published_ == 0
    publisher_of(publisher.est).publish()  # no record of the old one is left on it


def test_publishing_in_a_callback_is_refused():
    publisher = publisher_of()
    publisher.publish()
    publisher.est.callback = lambda report: publisher.publish()
    with pytest.raises(RuntimeError, match="under way in this thread"):
        publisher.est.unlearn(position=3)
    assert publisher.n_published_ == 1
    assert publisher.est.update_report_.operation == "refine"


# ---------------------------------------------------------------------------
# What an attacker found
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [np.array([300]), np.array([7.0])])
def test_labels_do_not_tell_which_others_there_have_been(gone):
    X, y = rows()
    est = DeltaGradLogisticRegression().fit(X, y.astype(np.int8))
    with pytest.warns(UserWarning, match="new labels"):
        est.partial_refit(X[:1], gone)
    est.unlearn(position=len(X))
    again = DeltaGradLogisticRegression().fit(X, y.astype(np.int8))
    found, expected = (publisher_of(one).publish().classes_ for one in (est, again))
    assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("max_iter", [1, 2, 3])
@pytest.mark.filterwarnings("ignore:The fit stopped")
def test_a_limit_of_iterations_does_not_tell_an_edited_model_from_a_new_one(max_iter):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4)) * [1.0, 10.0, 0.1, 3.0]
    y = (X @ [3.0, 0.3, 5.0, 1.0] + rng.logistic(size=400) > 0).astype(int)
    new = DeltaGradLogisticRegression(C=100.0, max_iter=max_iter).fit(X[50:], y[50:])
    edited = DeltaGradLogisticRegression(C=100.0, max_iter=max_iter).fit(X, y)
    edited.unlearn(position=np.arange(50))
    assert publisher_of(new).publish() is not None
    assert publisher_of(edited).publish() is not None
    assert new._engine.max_iter == edited._engine.max_iter == max_iter


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_while_another_thread_publishes_does_not_wait(monkeypatch, tmp_path):
    publisher = publisher_of(counter=tmp_path / "count")
    is_drawing, may_go_on = threading.Event(), threading.Event()
    draw = publisher._draw

    def slowly(shape):
        if threading.current_thread() is thread:
            is_drawing.set()
            may_go_on.wait(timeout=60)
        return draw(shape)

    monkeypatch.setattr(publisher, "_draw", slowly)
    thread = threading.Thread(target=publisher.publish)
    thread.start()
    assert is_drawing.wait(timeout=60)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # kills the process if it waits for ever
        try:
            publisher.est.fit(*rows(seed=1))
            publisher_of(publisher.est).publish()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    may_go_on.set()
    thread.join(timeout=60)
    assert os.waitstatus_to_exitcode(status) == 0


def test_publications_of_other_processes_are_in_the_statement(tmp_path):
    publisher = publisher_of(counter=tmp_path / "count", n_publications=3)
    dumped = pickle.dumps(publisher)
    code = "import pickle, sys; pickle.load(sys.stdin.buffer).publish()"
    subprocess.run([sys.executable, "-c", code], input=dumped, check=True)
    assert publisher.n_published_ == publisher.statement_.n_published == 1
    assert publisher.remaining_ == 2


def test_a_publisher_that_was_not_made_leaves_no_trace(monkeypatch, tmp_path):
    """Ctrl-C between the count and the record in the estimator, for example."""
    est, record = fitted(), refining.record_publications

    def interrupted(estimator, what):
        record(estimator, what)
        if what is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr(refining, "record_publications", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publisher_of(est, counter=tmp_path / "count")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    assert publisher_of(est, counter=tmp_path / "count").publish() is not None
