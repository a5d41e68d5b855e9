"""What a publisher says of itself."""

import json

import numpy as np
import pytest

from skdeltagrad import DeltaGradRidge
from skdeltagrad.certified import Publisher
from skdeltagrad.certified._accounting import epsilon_of, mu_of


def publisher_of(**parameters):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 2))
    est = DeltaGradRidge().fit(X, X[:, 0])
    given = {"noise": 1e-5, "epsilon": 1.0, "delta": 1e-6, "n_publications": 100}
    return Publisher(est, **given | parameters)


def test_it_is_plain_json():
    publisher = publisher_of(scale=np.array([1.0, 2.0, 3.0]), epsilon=np.float64(0.5))
    said = publisher.statement_.to_dict()
    assert json.loads(json.dumps(said)) == said
    assert said["scale"] == [1.0, 2.0, 3.0]
    assert said["mu"] == mu_of(0.5, 1e-6)
    assert said["n_published"] == 0


def test_it_counts_publications():
    publisher = publisher_of()
    assert "of which 0 were made" in " ".join(str(publisher.statement_).split())
    publisher.publish()
    assert "of which 1 was made" in " ".join(str(publisher.statement_).split())
    assert publisher.statement_.n_published == 1
    assert repr(publisher.statement_).endswith("private, 1 of 100 published)")


def test_noise_from_a_seed_is_not_private_and_it_says_so():
    statement = publisher_of(random_state=0).statement_
    assert statement.private is False
    assert "whoever knows or guesses the seed" in statement.not_private
    assert "THE GUARANTEE DOES NOT HOLD" in str(statement)
    assert "NOT private" in repr(statement)
    private = publisher_of().statement_
    assert private.private is True
    assert private.not_private is None
    assert "DOES NOT HOLD" not in str(private)


def test_it_says_what_is_not_covered(tmp_path):
    text = " ".join(str(publisher_of().statement_).split())
    for words in ("not differential privacy", "before a removal", "scalers",
                  "must stay secret", "Old dumps"):  # fmt: skip
        assert words in text
    with_file = publisher_of(counter=tmp_path / "count").statement_
    assert str(tmp_path / "count") in with_file.not_covered[-1]
    assert "Old dumps" not in str(with_file)


def test_units_are_mentioned_where_there_are_any():
    assert "given as scale" in " ".join(str(publisher_of(scale=2.0).statement_).split())
    assert "as scale" not in str(publisher_of().statement_)


@pytest.mark.parametrize("delta", [1e-9, 1e-6, 1e-2])
def test_the_guarantee_at_another_delta(delta):
    publisher = publisher_of()
    assert publisher.guarantee(delta) == epsilon_of(mu_of(1.0, 1e-6), delta)
    assert publisher.guarantee(1e-6) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-6, np.nan, True, None, "1e-6"])
def test_deltas_that_are_none(delta):
    with pytest.raises(ValueError, match="delta must be a number above 0 and below 1"):
        publisher_of().guarantee(delta)
