"""A dump that is damaged does not load as another model."""

import pickle
import tracemalloc
from copy import copy, deepcopy

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_diabetes

import skdeltagrad
from skdeltagrad import DeltaGradLogisticRegression, DeltaGradRidge
from skdeltagrad._estimators import plain_state
from skdeltagrad._utils.checksum import checksum_of

MESSAGE = "dump of a DeltaGradRidge is damaged.*another copy of the file, or fit again"


def fitted():
    X, y = load_diabetes(return_X_y=True)
    return DeltaGradRidge().fit(X, y, sample_id=[f"patient {i}" for i in range(len(y))])


def damaged(content, array):
    """The bytes of a dump with one bit of an array flipped."""
    stored = np.ascontiguousarray(array).tobytes()
    place = content.index(stored) + len(stored) // 2
    content = bytearray(content)
    content[place] ^= 1
    return bytes(content)


ARRAYS = {
    "rows": lambda model: model._training_set.rows._X.values,
    "targets": lambda model: model._training_set.table.y,
    "ids": lambda model: model._training_set.table.ids,
    "coefficients": lambda model: model.coef_,
    "iterate": lambda model: model._engine.iterate,
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_flipped_bit_is_found(name, tmp_path):
    model, path = fitted(), tmp_path / "model"
    array = ARRAYS[name](model)
    model.save(path)
    path.write_bytes(damaged(path.read_bytes(), array))
    with pytest.raises(ValueError, match=MESSAGE):
        joblib.load(path)
    with pytest.raises(ValueError, match=MESSAGE):
        pickle.loads(damaged(pickle.dumps(model), array))


USES = {
    "unlearn": lambda model: model.unlearn(position=3),
    "partial_refit": lambda model: model.partial_refit(),
    "plan_unfit": lambda model: model.plan_unfit(position=3),
    "copy": copy,
    "deepcopy": deepcopy,
    "pickle": pickle.dumps,
}


@pytest.mark.parametrize("use", USES)
def test_a_mapped_file_is_checked_at_its_first_edit_or_copy(use, tmp_path):
    model, path = fitted(), tmp_path / "model"
    X, y = load_diabetes(return_X_y=True)
    model.save(path)
    content = path.read_bytes()
    path.write_bytes(damaged(content, ARRAYS["rows"](model)))
    mapped = joblib.load(path, mmap_mode="r")
    assert np.array_equal(mapped.predict(X), model.predict(X))
    for _ in range(2):  # it is not taken for checked by then
        with pytest.raises(ValueError, match=MESSAGE):
            USES[use](mapped)
    assert mapped.fit(X, y).unlearn(position=3).update_report_.n_samples == len(y) - 1
    path.write_bytes(content)
    mapped = joblib.load(path, mmap_mode="r")
    USES[use](mapped)
    assert "_unchecked_state" not in vars(mapped)


def test_only_dumps_of_schema_3_load_without_a_checksum():
    state = fitted().__getstate__()
    del state["_skdeltagrad_checksum"]
    loaded = object.__new__(DeltaGradRidge)
    with pytest.raises(ValueError, match=MESSAGE):
        loaded.__setstate__(state)
    state["_skdeltagrad_schema"] = 3
    plain_state.check(state, "DeltaGradRidge")


@pytest.mark.parametrize("how", ["joblib", "compressed", "pickle 2", "skops"])
def test_whatever_an_estimator_holds(how, tmp_path):
    """Loaders may change how arrays are stored, but not what they hold."""
    rng = np.random.default_rng(0)
    X = sparse.random(60, 7, 0.5, format="csr", random_state=0)
    y = np.array(["a", "b\u0300", "\U0001f600"])[np.arange(60) % 3]
    model = DeltaGradLogisticRegression(
        C=np.float32(2.0), class_weight=dict.fromkeys(np.unique(y), 1.5),
        random_state=np.random.RandomState(3),
    ).fit(X, y)  # fmt: skip
    model.notes_ = [
        None, True, 3, -0.0, 2**70, "caf\u00e9", b"\0", (1, (2.0,)), [], {}, {1: "one"},
        rng.random((3, 4)).T, rng.random((4, 5))[::2, ::-1], np.arange(3, dtype=">f8"),
        np.array(2.5), np.zeros((0, 3)), np.float64(0.1), np.int8(3),
        np.array(["", ""]),
    ]  # fmt: skip
    path = tmp_path / "model"
    if how == "joblib":
        loaded = joblib.load(joblib.dump(model, path)[0])
    elif how == "compressed":
        loaded = joblib.load(joblib.dump(model, path, compress=3)[0])
    elif how == "pickle 2":
        loaded = pickle.loads(pickle.dumps(model, protocol=2))
    else:
        skops_io = pytest.importorskip("skops.io")
        skops_io.dump(model, path)
        trusted = skops_io.get_untrusted_types(file=path)
        loaded = skops_io.load(path, trusted=trusted)
    native = str(model.notes_).replace(", dtype='>f8'", "")
    assert str(loaded.notes_).replace(", dtype='>f8'", "") == native
    loaded.unlearn(position=3)


def test_what_the_checksum_tells_apart():
    values = [
        None, 0, 0.0, False, "", b"", [], {}, [[], []], [[[]]], "0", b"0", 1, {1: 2},
        {2: 1}, [1, 2], [12], np.zeros(2), np.zeros(3), np.zeros((2, 1)), np.ones(2),
        np.zeros(2, np.float32), np.array(["a"]), np.array(["b"]),
        np.array(["a"], object), np.array([None]), np.array(0.0),
    ]  # fmt: skip
    assert len({checksum_of(value) for value in values}) == len(values)


def test_the_checksum_is_of_what_is_held():
    array = np.arange(2**18).reshape(2**9, -1) / 3
    for same in (
        np.asfortranarray(array), array.astype(">f8"), array.copy()[:],
        np.asfortranarray(array.astype(">f8")),
        np.repeat(array, 2, axis=1)[:, ::2],
    ):  # fmt: skip
        assert checksum_of([same]) == checksum_of((array,))
    assert checksum_of(object()) == checksum_of(np.random.RandomState(0))


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_saving_does_not_copy_the_rows(is_sparse, in_pipeline, tmp_path):
    X = np.random.default_rng(0).random((100_000, 100))  # joblib writes 16 MB at a time
    model = DeltaGradRidge().fit(sparse.csr_array(X) if is_sparse else X, X[:, 0])
    saved = {"model": model} if in_pipeline else model
    tracemalloc.start()
    try:
        skdeltagrad.save(saved, tmp_path / "model")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 0.3 * X.nbytes
    assert not plain_state.is_mapped(vars(model))
    model.save(tmp_path / "model")
    loaded = joblib.load(tmp_path / "model").unlearn(position=[1, 2])
    assert np.array_equal(loaded.coef_, model.unlearn(position=[1, 2]).coef_)
