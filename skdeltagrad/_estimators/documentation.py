"""The parts of the docstrings that all estimators share.

A class docstring names a part by ``$parameters``, for example, at the start of a line:

    Parameters
    ----------
    alpha : float, default=1.0
        Regularisation strength.
    $fit_intercept
    $parameters
"""

from inspect import cleandoc
from string import Template
from typing import TypeVar

_Class = TypeVar("_Class", bound=type)

_FIT_INTERCEPT = """
fit_intercept : bool, default=True
    Whether there is an intercept. It is not penalised.
"""

_PARAMETERS = """
solver : {"newton", "gd", "sgd"}, default="newton"
    "newton" computes the optimum, which is scikit-learn's own solution, and after an
    edit the new optimum. "gd" and "sgd" (gradient descent on all rows, or on
    mini-batches) run exactly `max_iter` epochs: the model is the end of this path, and
    an edit replays the whole path, as in the paper.
max_iter : int, default=100
    Largest number of Newton steps; number of epochs (passes over the rows) for "gd"
    and "sgd".
tol : float, default=1e-4
    For "newton": a fit stops when the largest entry of the gradient, per unit of
    weight, is at most `tol`, and the distance to the optimum is at most a thousandth of
    the influence of a median row (a hundredth if no Hessian is kept).
edit_tol : float, default=1e-2
    For "newton": largest distance to the exact optimum after an edit, as a fraction of
    the distance that the coefficients have moved since the last pass over the rows
    (not of what this edit changes, which the report gives as `change_bound`).
    Guaranteed by a bound, if the loss has one. If there are too many coefficients for
    the Hessian and the penalty is tiny, the bound may be larger: see `update_report_`.
    For a replay with ``period="auto"``: largest distance to an exact retrain, as a
    fraction of the distance that the edit moves the coefficients; by an estimate. What
    earlier edits left is not counted in it, but in `error_estimate` of the report.
curvature : {"auto", "exact", "subset", "kronecker", "diagonal"}, default="auto"
    For "newton": "exact" keeps the Hessian, so that most edits do not read the
    remaining rows. The others keep no Hessian and use conjugate gradients, with one
    pass over the rows for each iteration, preconditioned by the Hessian of a sample of
    the rows, by a Kronecker product (several classes) or by the diagonal. Ask for
    "subset" if there are many edits between fits of a dense model with several thousand
    coefficients, at most 10,000: edits of images of digits took 0.5 to 0.7 of the
    time of "kronecker", the fit 1.7 times as long. Its factor takes 4 bytes for
    each pair of coefficients, and 20 while it is computed; it is in no dump, and the
    first edit after loading computes it again. "auto" takes the first of the others for
    which time and free memory suffice, but not "subset": a few edits do not pay for the
    longer fit, and on random columns edits took more passes than with "kronecker".
store_data : bool, default=True
    Whether the estimator keeps the training rows. Without them ("newton" with the exact
    Hessian only) rows can be removed, given by their content and their weights, as long
    as a bound guarantees `edit_tol`. A fingerprint of each row, of 8 bytes, is kept, so
    that rows that were never training rows are refused. This means that whoever has the
    estimator can find out whether a suspected row is a training row.
standardize : bool, default=False
    For "newton": whether the model is that of standardised columns, as in a pipeline
    after a `StandardScaler`. Rows are given and stored unscaled, and `coef_` is in
    their units; what is penalised is ``coef_ * scale_``. The standard deviations are
    those of the current training rows: an edit changes them, and the model with them,
    exactly, whereas a scaler would keep what it learned from removed rows.
    `sample_weight` counts in them, `class_weight` does not.
learning_rate : "auto", float or array-like of shape (max_iter,), default="auto"
    For "gd" and "sgd": step size on the mean objective, for all epochs or for each.
    "auto" is the inverse of its smoothness constant; it is computed by `fit` and kept
    through edits like a hyper-parameter: see `learning_rate_`.
batch_size : int, default=1024
    For "sgd": number of rows in a batch. Rows are shuffled in every epoch; the last
    batch may be smaller.
burn_in : int, default=10
    For "gd" and "sgd" with a number as `period`: number of steps at the start of a
    replay whose gradients are computed (the paper's j0).
period : "auto" or int, default="auto"
    For "gd" and "sgd". With a number, every `period`-th gradient is computed after
    `burn_in` steps, and the others are predicted (the paper's T0); with 1 every edit is
    an exact retrain. "auto" predicts every step by Hessians that are kept at a few
    points of the path (checkpoints), computes the error of the prediction at as many
    points as `edit_tol` requires, by an estimate, and retrains exactly when that is not
    slower.
history_size : int, default=2
    For "gd" and "sgd" with a number as `period`: number of L-BFGS pairs that
    predictions use (the paper's m).
cache_dtype : {"float64", "float32"}, default="float64"
    For "gd" and "sgd": precision of the steps that are kept. With "float32" every step
    is rounded when it is made, to a relative 6e-8: the cached path takes half the
    memory, and the error of its end is at most 6e-8 of the length of the path.
cache_folder : str, path-like or None, default=None
    For "gd" and "sgd": a folder for the cached path, which is then in a file that is
    mapped into memory. The file has no name and is deleted with the estimator. None:
    in memory. May be changed after `fit`.
store : str, path-like or None, default=None
    A folder in which `fit` keeps the training rows in files, for rows that do not fit
    into memory. It is made if it does not exist, belongs to this estimator alone, and
    is edited with it. Dumps and copies name the folder, by its absolute path, and do
    not contain the rows: predicting needs no folder, and all that reads rows does. If
    the folder was moved, set its new place here. None: in memory.
random_state : int, RandomState instance or None, default=None
    For "sgd": determines which rows share a batch.
callback : callable, default=None
    Called with the `UpdateReport` of every fit and edit, for example to log it. It is
    called last: if it raises an error, the edit is undone. Dumps and copies of a fitted
    estimator do not contain it. May be changed after `fit`.
verbose : int, default=0
    If positive, the memory that the Hessian or the cached path takes is printed before
    `fit`, and `update_report_` after `fit` and every edit; if above 1, every Newton
    step, too.
"""

_ATTRIBUTES = """
scale_ : ndarray of shape (n_features,)
    Standard deviations of the columns, 1 for constant ones, with ``standardize=True``.
n_iter_ : ndarray of shape (1,), dtype int32
    Number of Newton steps of the last fit, or of epochs.
learning_rate_ : float or ndarray of shape (max_iter,)
    Step size of each epoch, for "gd" and "sgd".
trajectory_ : Trajectory
    The cached path, for "gd" and "sgd": its steps and, computed from them, its
    iterates.
update_report_ : UpdateReport
    What the last fit or edit did: a receipt.
history_ : History
    The receipts of the fit and of the edits after it, the newest 1,000.
n_features_in_ : int
    Number of features seen by `fit`.
feature_names_in_ : ndarray of shape (`n_features_in_`,)
    Names of the features, if X has names that are all strings.
"""

_NOTES = """
Notes
-----
The fitted estimator contains its training rows, and so does a dump of it, unless
``store_data=False``. `to_sklearn` returns a model without them.

From scikit-learn 1.9 on, its callbacks (``set_callbacks``), progress bars for example,
follow fits and edits.

References
----------
.. [1] Y. Wu, E. Dobriban, S. B. Davidson, "DeltaGrad: Rapid retraining of machine
   learning models", ICML 2020. https://arxiv.org/abs/2006.14755
"""

_PARTS = {
    "fit_intercept": cleandoc(_FIT_INTERCEPT),
    "parameters": cleandoc(_PARAMETERS),
    "attributes": cleandoc(_ATTRIBUTES),
    "notes": cleandoc(_NOTES),
}


def with_shared_parts(cls: _Class) -> _Class:
    """Fill the shared parts into the docstring of a class.

    Raises
    ------
    KeyError
        When the docstring names a part that does not exist.
    """
    if cls.__doc__ is not None:  # as it is with python -OO
        # The end of the line belongs to a docstring, as numpydoc checks it.
        cls.__doc__ = Template(cleandoc(cls.__doc__)).substitute(_PARTS) + "\n"
    return cls
