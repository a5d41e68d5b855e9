"""What leaves the machine besides noisy coefficients: nothing that knows the rows."""

import hashlib
import json
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

import skdeltagrad
from skdeltagrad import (
    DeltaGradLogisticRegression,
    DeltaGradPoissonRegressor,
    DeltaGradRidge,
    assert_erased,
)
from skdeltagrad._reports import digests
from skdeltagrad.certified import Publisher, _counter

PARAMETERS = {"noise": 1e-5, "epsilon": 1.0, "delta": 1e-6, "n_publications": 10}
DUMPS = Path(skdeltagrad.__file__).parents[1] / "tests" / "estimators" / "dumps"
KINDS = {
    "binomial": (DeltaGradLogisticRegression, lambda raw: (raw > 0).astype(int)),
    "multinomial": (
        DeltaGradLogisticRegression,
        lambda raw: np.digitize(raw, [-0.5, 0.5]),
    ),
    "ridge": (DeltaGradRidge, lambda raw: raw),
    "ridges": (DeltaGradRidge, lambda raw: np.column_stack([raw, -raw])),
    "poisson": (DeltaGradPoissonRegressor, lambda raw: np.floor(np.exp(raw))),
}


def fitted(kind="binomial", seed=0, n_rows=60, storage=np.asarray, **parameters):
    """An estimator of rows of which all depends on a seed: number, size and weights."""
    estimator, targets = KINDS[kind]
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, 5)) * rng.uniform(1, 9, 5) + rng.uniform(0, 9, 5)
    raw = X @ rng.standard_normal(5)
    y = targets((raw - raw.mean()) / raw.std() + 0.1 * rng.standard_normal(n_rows))
    weight = rng.uniform(0.5, 2.0, n_rows)
    model = estimator(**parameters)
    return model.fit(storage(X), y, weight, sample_id=np.arange(n_rows) + 7000)


def publisher_of(est, **parameters):
    return Publisher(est, **PARAMETERS | parameters)


# Published models.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("storage", [np.asarray, np.float32, sparse.csr_array])
def test_published_models_of_other_rows_differ_in_their_coefficients_only(
    kind, standardize, storage
):
    """Byte by byte, once the coefficients are taken out.

    Numbers of iterations, means and deviations of columns, the total weight and the
    type of the rows' numbers are not in them.
    """
    pickles = []
    for seed, n_rows in ((0, 60), (1, 90)):
        est = fitted(kind, seed, n_rows, storage, standardize=standardize)
        est.unlearn(position=range(seed + 1))
        model = publisher_of(est).publish()
        assert model.coef_.dtype == np.asarray(model.intercept_).dtype == np.float64
        model.coef_ = np.zeros_like(model.coef_)
        model.intercept_ = 0.0 * model.intercept_
        pickles.append(pickle.dumps(model))
    assert pickles[0] == pickles[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_exact_coefficients_are_in_nothing_that_is_published(kind):
    est = fitted(kind, standardize=True)
    publisher = publisher_of(est)
    text = pickle.dumps((publisher.publish(), publisher.statement_))
    text += (
        json.dumps(publisher.statement_.to_dict()).encode() + repr(publisher).encode()
    )
    for array in (est.coef_, est.intercept_, est.scale_, est._engine.iterate):
        for value in np.ravel(array):
            assert np.float64(value).tobytes() not in text
            assert repr(float(value)).encode() not in text


def test_statements_of_other_rows_are_the_same():
    one, other = (publisher_of(fitted(seed=s, n_rows=60 + s)) for s in range(2))
    assert one.statement_ == other.statement_
    assert str(one.statement_) == str(other.statement_)
    assert repr(one) == repr(other)


# Receipts.


def test_redacted_receipts_hold_no_figure():
    est = fitted()
    publisher = publisher_of(est)
    est.unlearn(position=3)
    publisher.publish()
    receipts = [report.to_dict() for report in est.history_.redacted()]
    assert [receipt["operation"] for receipt in receipts].count("refine") == 2
    for receipt in receipts:
        left = {name for name, value in receipt.items() if value is not None}
        assert left <= digests.PUBLIC | {"digest"}
        assert receipt["coef_bound"] is None
        assert receipt["coef_digest"] is None
    assert digests.check_chain(receipts) == len(receipts)


def test_redacted_receipts_do_not_tell_whether_a_guess_of_coefficients_is_right():
    """Whoever knows all figures but the salt cannot find any digest again."""
    est = fitted()
    publisher_of(est)
    exact = est.history_[-1].to_dict()
    text = json.dumps(est.history_.redacted()[-1].to_dict())
    assert exact["coef_digest"] == digests.coef_digest(est.coef_, est.intercept_)
    assert exact["coef_digest"] not in text
    assert exact["salt"] not in text
    figures = {k: v for k, v in digests.figures_of(exact).items() if v is not None}
    guesses = [digests._canonical(exact, figures), est.coef_.tobytes()]
    for guess in (*guesses, *(f":{guess}" for guess in guesses[:1])):
        guess = guess.encode() if isinstance(guess, str) else guess
        assert hashlib.sha256(guess).hexdigest() not in text
    # It is only with the salt that it can be found.
    with_salt = f"{exact['salt']}:{guesses[0]}".encode()
    assert hashlib.sha256(with_salt).hexdigest() in text


def test_the_same_estimator_twice_has_no_digest_in_common():
    """Digests are of nothing that could be computed from the rows again."""
    found = []
    for _ in range(2):
        est = fitted()
        publisher_of(est)
        receipt = est.history_.redacted()[-1].to_dict()
        names = ("digest", "figures_digest", "previous_digest")
        found.append({receipt[name] for name in names})
    assert not found[0] & found[1]


# Dumps.


@pytest.fixture
def removed():
    """A publisher whose row 7 has left, and that row."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((50, 5))
    y = (X[:, 0] > 0).astype(int)
    est = DeltaGradLogisticRegression().fit(X, y, sample_id=np.arange(50) + 7000)
    publisher = publisher_of(est)
    publisher.publish()
    return publisher, X[[7]]


@pytest.mark.filterwarnings("ignore:This publisher was saved after 1 publications")
@pytest.mark.parametrize("publishes_again", [True, False])
def test_a_dump_of_a_publisher_holds_no_row_that_left(
    publishes_again, removed, tmp_path
):
    publisher, row = removed
    path, path_before = tmp_path / "publisher.joblib", tmp_path / "before.joblib"
    joblib.dump(publisher, path_before)
    for before in (publisher, path_before):
        with pytest.raises(AssertionError, match="is a current training row"):
            assert_erased(before, row, sample_id=[7007])
    publisher.est.unlearn(sample_id=7007)
    if publishes_again:
        publisher.publish()
    with pytest.raises(AssertionError, match="not purged"):
        assert_erased(publisher, row)
    publisher.est.purge()
    joblib.dump(publisher, path)
    for after in (publisher, path):
        assert assert_erased(after, row, sample_id=[7007]).n_checked == 1
    with pytest.raises(AssertionError):
        assert_erased(path_before, row, sample_id=[7007])


def test_a_row_that_is_hidden_in_a_publisher_is_found(removed):
    publisher, row = removed
    publisher.est.unlearn(sample_id=7007).purge()
    publisher.notes = {"row": [row.copy()]}
    with pytest.raises(AssertionError, match="notes"):
        assert_erased(publisher, row)


def test_a_dump_holds_no_model_of_rows_that_were_edited_since(removed):
    publisher, _ = removed
    old = publisher.publish().coef_
    assert old.tobytes() in pickle.dumps(publisher)
    publisher.est.unlearn(sample_id=7007)
    assert old.tobytes() not in pickle.dumps(publisher)
    new = publisher.publish().coef_
    assert new.tobytes() in pickle.dumps(publisher)


def test_loading_draws_no_fresh_noise_for_the_same_rows(removed, monkeypatch):
    publisher, _ = removed
    kept = publisher.publish().coef_
    dump = pickle.dumps(publisher)
    monkeypatch.setattr(_counter, "_counts", {})
    for _ in range(2):
        loaded = pickle.loads(dump)
        loaded.est.purge(exact=True).refine(distance=1e-9)
        assert_array_equal(loaded.publish().coef_, kept)
        assert loaded.n_published_ == 1


def test_a_dump_holds_nothing_that_noise_could_be_drawn_from_again(removed):
    publisher, _ = removed
    state = publisher.__getstate__()
    assert not {"_draw", "_lock"} & set(state)
    assert "random" not in pickle.dumps(state).decode("latin1").lower().replace(
        "random_state", ""
    )


# Dumps of versions in which there were no publishers.


@pytest.mark.parametrize("schema", [3, 4, 5])
@pytest.mark.parametrize("kind", ["logistic-newton", "ridge-newton"])
def test_old_dumps_can_get_a_publisher(kind, schema):
    est = joblib.load(DUMPS / f"{kind}-schema-{schema}.joblib")
    publisher = publisher_of(est)
    before = publisher.publish().coef_
    est.purge()
    assert_array_equal(publisher.publish().coef_, before)
    est.unlearn(position=est._training_set.table.position[[0]])
    assert (publisher.publish().coef_ != before).all()
    assert est.update_report_.coef_bound <= publisher.statement_.cap
    assert publisher.n_published_ == 2


@pytest.mark.parametrize("schema", [3, 4, 5])
def test_an_old_dump_that_is_loaded_twice_has_one_publisher(schema):
    path = DUMPS / f"logistic-newton-schema-{schema}.joblib"
    publisher_of(joblib.load(path), n_publications=3)
    with pytest.raises(ValueError, match="has a publisher already, with 0 of 3"):
        publisher_of(joblib.load(path))


@pytest.fixture(autouse=True)
def no_counts(monkeypatch):
    """Each test has its own process, as it were: old dumps are loaded by several."""
    monkeypatch.setattr(_counter, "_counts", {})
