"""Let scikit-learn's callbacks, such as progress bars, follow a fit or an edit.

    engine -> `progress` -> `Subtasks` -> scikit-learn's CallbackContext -> callbacks

In `sklearn.callback`, tasks form a tree. A fit or an edit is its root, and the tasks of
the engine are its subtasks. A task of many steps has at most 100 subtasks.
"""

from contextlib import contextmanager
from functools import partial

from .progress import AbstractListener, PrintedFacts, listening
from .sklearn_compat import callback_management_context

# Display: largest number of subtasks of a task, enough for a progress bar.
N_LEAVES = 100
_ATTRIBUTES = ("_skl_callbacks", "_parent_callback_ctx")
# Attributes of an estimator while it is followed.
OF_A_RUN = ("_callback_fit_ctx", "_skl_callbacks_to_teardown", "_is_stand_in")


@contextmanager
def followed(estimator, operation, n_steps=None, **given):
    """Return a context in which an estimator's callbacks follow a fit or an edit.

    Parameters
    ----------
    estimator : estimator
        With ``verbose > 1``, the remarks of engines are printed, too.
    operation : str
        Name of the root task.
    n_steps : int or None
        Number of steps or epochs, if the operation is a single run: these become the
        subtasks. None: the tasks of the engine become the subtasks.
    **given
        X, y and metadata, for the callbacks.

    Yields
    ------
    finish : callable
        To be called last, when the operation has succeeded.
    """
    printed = [PrintedFacts()] if estimator.verbose > 1 else []
    if not any(name in vars(estimator) for name in _ATTRIBUTES):
        with listening(*printed):
            yield lambda: None
        return
    with callback_management_context(estimator):
        root = estimator._init_callback_context(
            operation, max_subtasks=_n_leaves(n_steps)
        )
        root.call_on_fit_task_begin(estimator=estimator, **given)
        subtasks = Subtasks(estimator, root)
        with listening(*printed, subtasks):
            yield partial(subtasks.finish, **given)


def stand_in(estimator):
    """Return a copy of an estimator that shares its attributes, for callbacks."""
    other = object.__new__(type(estimator))
    vars(other).update(vars(estimator), _is_stand_in=True)
    return other


class Subtasks(AbstractListener):
    """Makes the tasks of engines subtasks of a task of scikit-learn.

    Parameters
    ----------
    estimator : estimator
        For the callbacks.
    root : CallbackContext
    """

    def __init__(self, estimator, root):
        self._estimator = estimator
        self._root = root
        self._open = None

    def finish(self, **given):
        """End the root task, which has succeeded."""
        self._end_open()
        self._root.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=dict,  # none: the estimator is complete
            **given,
        )

    def begin(self, task, total):
        if self._root.max_subtasks is not None:  # it is one run
            return self._leaves(self._root, task, total)
        self._end_open()
        self._open = self._root.subcontext(task, max_subtasks=_n_leaves(total))
        self._open.call_on_fit_task_begin(estimator=self._estimator)
        return self._leaves(self._open, task, total)

    def _end_open(self):
        if self._open is not None:
            self._open.call_on_fit_task_end(estimator=self._estimator)
            self._open = None

    def _leaves(self, parent, task, total):
        n_told = 0

        def tell(done, fact=""):
            nonlocal n_told
            n_due = done if total is None else done * parent.max_subtasks // total
            while n_told < n_due:
                leaf = parent.subcontext(task)
                leaf.call_on_fit_task_begin(estimator=self._estimator)
                leaf.call_on_fit_task_end(estimator=self._estimator)
                n_told += 1

        return tell


def _n_leaves(total):
    return None if total is None else min(total, N_LEAVES)
