"""Publications are counted across copies, dumps and processes."""

import json
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdeltagrad import DeltaGradRidge
from skdeltagrad.certified import Publisher, _counter

PARAMETERS = {"noise": 1e-5, "epsilon": 1.0, "delta": 1e-6}


@pytest.fixture
def est():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    return DeltaGradRidge().fit(X, X[:, 0] + rng.standard_normal(60))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "publications"


@pytest.fixture
def new_process(monkeypatch):
    """A function after which this process knows of no publications."""
    return lambda: monkeypatch.setattr(_counter, "_counts", {})


def publisher_of(est, path=None, n_publications=5):
    return Publisher(est, n_publications=n_publications, counter=path, **PARAMETERS)


def publish(publisher, n_times=1):
    """Publish so many different models, and return the coefficients of the last."""
    for _ in range(n_times):
        publisher.est.partial_refit(np.ones((1, 2)), [1.0])
        model = publisher.publish()
    return model.coef_


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# The file.


def test_every_publication_appends_a_line(est, path):
    publisher = publisher_of(est, path)
    assert len(lines(path)) == 1
    assert lines(path)[0]["n_publications"] == 5
    publish(publisher, 3)
    publisher.publish()  # the same model
    assert len(lines(path)) == 4
    assert len({line["token"] for line in lines(path)[1:]}) == 3


def test_the_line_is_written_before_the_noise_is_drawn(est, path):
    publisher = publisher_of(est, path)

    def draw(shape):
        assert len(lines(path)) == 2
        raise RuntimeError("no entropy")

    publisher._draw = draw
    with pytest.raises(RuntimeError, match="no entropy"):
        publisher.publish()
    assert publisher.n_published_ == 1  # to be on the safe side


def test_it_says_nothing_about_the_rows(est, path):
    publish(publisher_of(est, path), 2)
    head, *rest = lines(path)
    assert set(head) == {"fit", "n_publications"}
    assert all(set(line) == {"token", "time"} for line in rest)


@pytest.mark.parametrize("is_relative", [True, False])
def test_paths_of_any_kind(is_relative, est, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    publisher = publisher_of(est, path.name if is_relative else path)
    monkeypatch.chdir("/")
    publish(publisher)
    assert len(lines(path)) == 2


def test_a_file_that_exists_is_refused_before_anything_changes(est, path, unchanged):
    path.write_text("")
    with unchanged(est), pytest.raises(ValueError, match="exists already"):
        publisher_of(est, path)
    publisher_of(est, path.with_name("other"))


def test_a_folder_that_is_missing_is_refused_before_anything_changes(
    est, path, unchanged
):
    with unchanged(est), pytest.raises(ValueError, match="in a folder that does not"):
        publisher_of(est, path / "deeper")
    publisher_of(est, path)


@pytest.mark.parametrize("counter", [3, 1.5, True, ["a"]])
def test_counters_that_are_no_paths(counter, est, unchanged):
    with unchanged(est), pytest.raises(TypeError, match="counter must be the path"):
        publisher_of(est, counter)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_text(""), "cannot be read"),
        (lambda path: path.write_text("[1]\n"), "cannot be read"),
        (lambda path: path.write_text(path.read_text() + "5\n"), "cannot be read"),
        (lambda path: path.write_text(path.read_text()[:-9]), "cannot be read"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda path: path.write_text('{"fit": "other"}\n'), "another estimator"),
    ],
)
def test_without_the_right_file_nothing_is_published(damage, message, est, path):
    publisher = publisher_of(est, path)
    kept = publish(publisher, 2)
    text = path.read_text()
    damage(path)
    assert_array_equal(publisher.publish().coef_, kept)  # nothing new
    with pytest.raises(ValueError, match=message) as error:
        publish(publisher)
    assert str(path) in str(error.value)
    path.write_text(text)
    publisher.publish()
    assert publisher.n_published_ == 3


def test_a_file_of_the_past_does_not_set_the_count_back(est, path):
    publisher = publisher_of(est, path, n_publications=3)
    publish(publisher, 2)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))
    publish(publisher)
    assert publisher.n_published_ == 3
    with pytest.raises(ValueError, match="All n_publications=3"):
        publish(publisher)


# Dumps.


def test_a_dump_holds_the_publisher_and_the_model_published_last(
    est, path, tmp_path, new_process
):
    publisher = publisher_of(est, path)
    kept = publish(publisher, 2)
    joblib.dump(publisher, tmp_path / "publisher.joblib")
    new_process()
    loaded = joblib.load(tmp_path / "publisher.joblib")
    assert_array_equal(loaded.publish().coef_, kept)
    assert loaded.n_published_ == publisher.n_published_ == 2
    assert loaded.statement_ == publisher.statement_
    publish(loaded, 3)
    with pytest.raises(ValueError, match="All n_publications=5"):
        publish(loaded)


def test_a_dump_that_is_mapped_into_memory(est, tmp_path):
    publisher = publisher_of(est)
    kept = publish(publisher)
    joblib.dump(publisher, tmp_path / "publisher.joblib")
    before = (tmp_path / "publisher.joblib").read_bytes()
    mapped = joblib.load(tmp_path / "publisher.joblib", mmap_mode="r")
    assert_array_equal(mapped.publish().coef_, kept)
    assert (publish(mapped) != kept).any()
    assert publisher.n_published_ == 2
    assert (tmp_path / "publisher.joblib").read_bytes() == before


def test_with_a_file_an_old_dump_does_not_set_the_count_back(est, path, new_process):
    publisher = publisher_of(est, path)
    publish(publisher)
    dump = pickle.dumps(publisher)
    publish(publisher, 4)
    new_process()
    with pytest.warns(UserWarning, match="saved after 1 publications, and 5 have been"):
        loaded = pickle.loads(dump)
    assert loaded.remaining_ == 0
    with pytest.raises(ValueError, match="All n_publications=5"):
        publish(loaded)


def test_without_a_file_it_does_and_the_statement_says_so(est, new_process):
    publisher = publisher_of(est)
    dump = pickle.dumps(publisher)
    publish(publisher, 5)
    new_process()
    loaded = pickle.loads(dump)
    assert loaded.remaining_ == 5
    assert any("Old dumps" in text for text in loaded.statement_.not_covered)


def test_in_one_process_it_does_not_even_without_a_file(est):
    publisher = publisher_of(est)
    dump = pickle.dumps(publisher)
    publish(publisher, 5)
    with pytest.warns(UserWarning, match="the dump is an old one"):
        loaded = pickle.loads(dump)
    assert loaded.remaining_ == 0


def test_a_dump_that_is_loaded_where_the_file_is_missing(est, path, new_process):
    publisher = publisher_of(est, path)
    kept = publish(publisher)
    dump = pickle.dumps(publisher)
    path.unlink()
    new_process()
    loaded = pickle.loads(dump)
    assert_array_equal(loaded.publish().coef_, kept)
    with pytest.raises(ValueError, match="Restore the file"):
        publish(loaded)


def test_a_dump_that_is_loaded_beside_the_file_of_another_publisher(
    est, path, new_process
):
    dump = pickle.dumps(publisher_of(est, path))
    path.write_text('{"fit": "other"}\n')
    new_process()
    with pytest.raises(ValueError, match="counts the publications of another"):
        pickle.loads(dump)


def test_a_dump_of_the_estimator_alone_has_had_a_publisher(est, new_process):
    publish(publisher_of(est), 2)
    dump = pickle.dumps(est)
    new_process()
    loaded = pickle.loads(dump)
    with pytest.raises(ValueError, match="with 2 of 5 publications made"):
        publisher_of(loaded)


def test_a_dump_of_the_estimator_alone_names_the_file(est, path, new_process):
    publish(publisher_of(est, path))
    dump = pickle.dumps(est)
    new_process()
    with pytest.raises(ValueError, match="publications made and the counter file"):
        publisher_of(pickle.loads(dump))


# Others that publish at the same time.


def test_threads_of_copies_share_the_count(est, path):
    publisher = publisher_of(est, path, n_publications=10)
    copies = [pickle.loads(pickle.dumps(publisher)) for _ in range(4)]
    done, refused = [], []

    def work(own):
        for _ in range(5):
            try:
                publish(own)
                done.append(own)
            except ValueError:
                refused.append(own)

    threads = [threading.Thread(target=work, args=[own]) for own in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), len(refused)) == (10, 10)
    assert publisher.n_published_ == 10
    assert len(lines(path)) == 11


def test_processes_share_the_count(est, path):
    """Each of three tries to make all of them, by the count that its dump holds."""
    publisher = publisher_of(est, path, n_publications=40)
    # The module alone, which is imported in no time.
    program = textwrap.dedent("""
        import ast, importlib.util, sys
        spec = importlib.util.spec_from_file_location("counter", sys.argv[1])
        counter = importlib.util.module_from_spec(spec)
        sys.modules["counter"] = counter
        spec.loader.exec_module(counter)
        count = counter.Count.of_record(*ast.literal_eval(sys.argv[2]))
        for _ in range(40):
            try:
                count.add()
                print("published")
            except ValueError as error:
                assert "All n_publications=40" in str(error)
    """)
    command = [sys.executable, "-c", program, _counter.__file__]
    command.append(repr(publisher._count.record()))
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    printed = [process.communicate()[0] for process in running]
    assert all(process.returncode == 0 for process in running)
    assert sum(text.count("published") for text in printed) == 40
    with pytest.raises(ValueError, match="All n_publications=40"):
        publish(publisher)


def test_a_copy_of_the_file_is_of_no_use_to_another_publisher(est, path, tmp_path):
    first = publisher_of(est, path)
    publish(first, 5)
    other = DeltaGradRidge().fit(np.eye(4)[:, :2], np.arange(4.0))
    second = publisher_of(other, tmp_path / "second")
    shutil.copy(path, tmp_path / "second")
    with pytest.raises(ValueError, match="counts the publications of another"):
        second.publish()
