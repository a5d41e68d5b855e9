"""All of an edit or none of it."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skdeltagrad._utils.transaction import Transaction

ERRORS = [ValueError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit]


@pytest.mark.parametrize("error", ERRORS)
def test_any_exception_undoes_the_last_step_first(error):
    done = []
    with pytest.raises(error, match="stop"), Transaction() as transaction:
        transaction.undo(done.append, "first")
        transaction.undo(done.append, "second")
        transaction.undo(done.append, "third")
        raise error("stop")
    assert done == ["third", "second", "first"]


def test_what_was_not_registered_yet_is_not_undone():
    done = []
    with pytest.raises(ZeroDivisionError), Transaction() as transaction:
        transaction.undo(done.append, "before")
        1 / 0  # noqa: B018
        transaction.undo(done.append, "after")
    assert done == ["before"]


def test_success_undoes_nothing():
    done = []
    with Transaction() as transaction:
        transaction.undo(done.append, "step")
        transaction.undo(done.append, saved=np.ones(3))
    assert done == []


def test_nothing_was_done():
    with Transaction():
        pass
    with pytest.raises(ValueError, match="stop"), Transaction():
        raise ValueError("stop")


def all_kinds_of_saved():
    return {
        "numbers": np.arange(1.0, 7.0).reshape(2, 3),
        "float32": np.ones(4, np.float32),
        "int": np.arange(1, 4),
        "str": np.array(["user-17", "x"]),
        "nothing": np.zeros((0, 3)),
        "list": [np.ones(2), np.array(["a"]), [np.arange(1, 3)]],
        "csr": sparse.csr_matrix(np.diag([1.0, 2.0, 3.0])),
    }


def arrays_of(saved):
    if isinstance(saved, list):
        return [array for part in saved for array in arrays_of(part)]
    if sparse.issparse(saved):
        # In a row of zeros and ones the columns say it all.
        return [saved.data, saved.indices]
    return [saved]


@pytest.mark.parametrize("kind", all_kinds_of_saved())
@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_saved_rows_are_zeroed_when_it_is_over(kind, error):
    saved = all_kinds_of_saved()[kind]
    arrays = arrays_of(saved)
    before = [array.copy() for array in arrays]
    seen = []

    def undo(what, given):
        seen.append((what, [array.copy() for array in arrays_of(given)]))

    try:
        with Transaction() as transaction:
            transaction.undo(undo, "argument", saved=saved)
            if error is not None:
                raise error
    except KeyboardInterrupt:
        # It was whole when it was needed.
        ((what, given),) = seen
        assert what == "argument"
        for found, expected in zip(given, before, strict=True):
            assert_array_equal(found, expected)
    else:
        assert seen == []
    for array in arrays:
        assert_array_equal(array, np.zeros_like(array))


def test_arguments_are_passed_on():
    seen = []

    def undo(*args):
        seen.append(args)

    saved = np.ones(1)
    with pytest.raises(ValueError, match="stop"), Transaction() as transaction:
        transaction.undo(undo)
        transaction.undo(undo, 1, "two")
        transaction.undo(undo, 3, saved=saved)
        raise ValueError("stop")
    assert seen == [(3, saved), (1, "two"), ()]


def test_the_exception_itself_comes_out():
    error = ValueError("stop")
    with pytest.raises(ValueError, match="stop") as caught, Transaction():
        raise error
    assert caught.value is error


def test_a_transaction_can_be_used_again():
    done = []
    transaction = Transaction()
    with transaction:
        transaction.undo(done.append, "first")
    with pytest.raises(ValueError, match="stop"), transaction:
        transaction.undo(done.append, "second")
        raise ValueError("stop")
    assert done == ["second"]


def test_a_step_that_cannot_be_undone_does_not_keep_the_others():
    undone, saved = [], np.ones(3)

    def fail():
        raise OSError("cannot be undone")

    with pytest.raises(OSError, match="cannot"), Transaction() as transaction:
        transaction.undo(undone.append, "first")
        transaction.undo(fail)
        transaction.undo(lambda rows: undone.append("last"), saved=saved)
        raise ValueError("an edit")
    assert undone == ["last", "first"]
    assert_array_equal(saved, np.zeros(3))
