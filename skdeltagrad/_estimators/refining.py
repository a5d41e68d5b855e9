"""Absolute bounds of the coefficients, and what can be published under them."""

from __future__ import annotations

import hashlib
import secrets
from copy import deepcopy
from numbers import Real
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from .._utils.lock import one_at_a_time
from .editing import refined

# Mathematics: 2^128 tokens are too many for two of them to be equal.
_TOKEN_BYTES = 16
# Rounding: the squares of units in between, and their inverses, have full accuracy.
_LEAST_UNIT, _LARGEST_UNIT = 1e-150, 1e150


def new_lineage(before=None):
    """Return names of the training rows that say nothing about the rows.

    Two estimators of one lineage have the same training rows. An edit changes it, even
    an edit that undoes the one before; purges, refinements and retrains do not.

    Parameters
    ----------
    before : tuple of str, optional
        The lineage before an edit. None: this is a fit.

    Returns
    -------
    of_fit : str
        Random; the same for an estimator and all its copies until the next fit.
    of_edit : str
        Random; another one after each edit.
    """
    of_edit = secrets.token_hex(_TOKEN_BYTES)
    of_fit = secrets.token_hex(_TOKEN_BYTES) if before is None else before[0]
    return of_fit, of_edit


class Refinable:
    """An estimator whose coefficients can be brought certainly near to the optimum."""

    # Of dumps of versions before there were any.
    _lineage: tuple[str, str] | None = None
    _publications: tuple | None = None
    _engine: Any
    _training_set: Any
    _key: bytes | None
    coef_: np.ndarray
    intercept_: np.ndarray | float

    @one_at_a_time
    def refine(self, *, distance: float, scale: ArrayLike | None = None) -> Self:
        """Bring the coefficients certainly within a distance of the exact optimum.

        Edits are exact to a fraction of what they change (`edit_tol`). This is an
        absolute bound for `coef_` and `intercept_`, with a proof:
        ``update_report_.coef_bound`` is at most `distance` afterwards, and the report
        says how many passes over the rows it took. After an edit these are two or
        three, each of which gains several digits. If rounding does not allow the
        distance, the model is fitted from zero before that is given up.

        Parameters
        ----------
        distance : float
            Largest Euclidean distance between `coef_` and `intercept_` together and
            those of the optimum of the current training rows.
        scale : float or array-like, default=None
            Units of the coefficients in that distance: each difference is divided by
            its own. One number, or an array that can be broadcast to (n_outputs,
            n_features + 1) with the intercept in the last column, which is missing with
            ``fit_intercept=False``. None: 1.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            When rounding, a singular Hessian or a missing penalty does not allow such a
            bound: then nothing is changed. With ``solver="gd"`` or ``"sgd"``, whose
            errors are estimated and not bounded, and with ``store_data=False``.
        """
        self._refine(distance, scale)
        return self

    def _refine(self, distance, scale):
        """Refine, in a thread that holds the estimator's lock; return the units."""
        started = perf_counter()
        self._begin_edit("raise")
        training_set, engine = self._training_set, self._engine
        if not training_set.table.is_stored:
            raise ValueError(
                "refine reads the training rows, and store_data=False kept none. Fit "
                "with store_data=True."
            )
        _check_distance(distance)
        units = _checked_scale(scale, engine)
        self._check_coefficients()
        with self._changing("refine") as transaction:
            engine = refined(transaction, training_set, engine, distance, units)
            summary = engine.summary()
            if not summary["coef_bound"] <= distance:
                raise ValueError(_out_of_reach(distance, summary))
            report = self._report(
                "refine", engine, training_set, started,
                n_samples_before=training_set.table.n_live, purged=self.purged_,
            )  # fmt: skip
            self._take_on(self._state_of(engine, training_set), report)
        training_set.give_back()
        return units

    def _check_coefficients(self):
        """Raise ValueError if fitted coefficients were replaced from outside."""
        known = self._publish(*self._engine.model.coefficients(self._engine.iterate))
        for name, value in known.items():
            if not np.array_equal(getattr(self, name), value):
                raise ValueError(
                    f"{name} is not what the last fit or edit computed: it was "
                    "assigned from outside. Call fit again, or load the estimator "
                    "from a dump."
                )

    @one_at_a_time
    def _publish_noisy(self, distance, scale, noisy):
        """Refine, and return what `published_model` does, before others can edit."""
        units = self._refine(distance, scale)
        iterate, model = self._engine.iterate, self._engine.model
        coef, intercept = model.coefficients(iterate)
        if model.centre is None:
            coef = noisy(coef, units)
        else:
            both = noisy(np.column_stack([coef, intercept]), units)
            coef, intercept = both[:, :-1], both[:, -1]
        return self._lineage, self._plain_model(coef, intercept)

    def _plain_model(self, coef, intercept):
        """Return a model of scikit-learn that has given coefficients, and nothing else.

        It has none of the numbers that `to_sklearn` copies: the number of iterations,
        and the means and deviations of columns, depend on the rows.
        """
        model, names = self._as_sklearn()
        for name in (*names, "n_features_in_", "feature_names_in_"):
            if name in vars(self):
                setattr(model, name, _in_one_form(deepcopy(vars(self)[name])))
        if "alpha" in model.get_params():
            # That of `PoissonRegressor` depends on the total weight of the rows.
            model.set_params(alpha=self.alpha)
        vars(model).update(self._publish(coef, intercept))
        return model


def _in_one_form(value):
    """Return an array in a dtype that does not tell which labels there have been.

    A label that is gone may have widened the dtype of the others, or made them floats.
    """
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind in ("i", "u") or (kind == "f" and np.array_equal(value, np.rint(value))):
        return value.astype(np.int64)
    return value.astype(np.float64) if kind == "f" else value


def _check_distance(distance):
    is_number = isinstance(distance, Real) and not isinstance(distance, bool)
    if not (is_number and 0.0 < distance < np.inf):
        raise ValueError(
            f"distance must be a positive finite number, got {distance!r}: it is the "
            "largest Euclidean distance of the coefficients from the optimum."
        )


def _checked_scale(scale, engine):
    """Return the units of all coefficients, shape (n_outputs, n_dof)."""
    shape = engine.iterate.shape
    if scale is None:
        return np.ones(shape)
    given = np.asarray(scale)
    if given.dtype.kind not in "iuf":
        raise ValueError(
            f"scale must be a number or an array of numbers, got {scale!r}."
        )
    try:
        units = np.broadcast_to(given.astype(float), shape).copy()
    except ValueError as error:
        intercept = ", with the intercept in the last column"
        raise ValueError(
            f"scale has shape {given.shape}, which cannot be broadcast to the shape of "
            f"the coefficients, {shape}"
            + (intercept if engine.model.centre is not None else "")
            + ". Give one positive number for each, or a single one."
        ) from error
    if not (np.isfinite(units).all() and (units > 0.0).all()):
        worst = given.ravel()[~((given > 0) & np.isfinite(given)).ravel()][0]
        raise ValueError(
            f"scale must be positive and finite, and has the entry {worst}."
        )
    if units.min() < _LEAST_UNIT or units.max() > _LARGEST_UNIT:
        raise ValueError(
            f"scale must be between {_LEAST_UNIT:g} and {_LARGEST_UNIT:g}, and is "
            f"between {units.min():.3g} and {units.max():.3g}: its squares would be 0 "
            "or infinite."
        )
    return units


def _out_of_reach(distance, summary):
    reached = summary["coef_bound"]
    if np.isfinite(reached):
        why = (
            f"the best that rounding allows is {reached:.2g}. Ask for more than that, "
            "or pass the coefficients' units as scale, if these differ much"
        )
    else:
        why = f"there is no bound: {summary['no_bound']}"
    return (
        f"The coefficients could not be brought within {distance:.2g} of the optimum: "
        f"{why}. Nothing is changed."
    )


def checked_scale(scale, estimator):
    """Return the units of an estimator's coefficients, shape (n_outputs, n_dof)."""
    check_is_fitted(estimator)
    return _checked_scale(scale, estimator._engine)


def published_model(estimator, distance, scale, noisy):
    """Refine a fitted estimator, and return it with other coefficients.

    Parameters
    ----------
    estimator : BaseDeltaGrad
    distance, scale
        As for `Refinable.refine`.
    noisy : callable
        ``noisy(coefficients, units)`` returns the coefficients to publish; both arrays
        have the shape (n_outputs, n_dof), with the intercept last.

    Returns
    -------
    lineage : tuple of str
        See `new_lineage`.
    model : linear model
        One of scikit-learn.
    """
    return estimator._publish_noisy(distance, scale, noisy)


def lineage_of(estimator):
    """Return the names of an estimator's training rows: see `new_lineage`.

    Dumps of earlier versions have none. Copies and loads of the same dump get the same
    one: that of the fit from its random key, which cannot be computed from the name,
    and that of the edit from the last receipt.
    """
    if estimator._lineage is None:
        history = estimator.history_
        of_fit = history[0].digest
        if estimator._key is not None:
            of_fit = hashlib.sha256(b"lineage:" + estimator._key).hexdigest()
        estimator._lineage = of_fit, history[-1].digest
    return estimator._lineage


def publications_of(estimator):
    """Return the record of what was published of an estimator, or None."""
    return estimator._publications


def record_publications(estimator, record):
    """Let an estimator, its copies and its dumps say what was published.

    Parameters
    ----------
    record : tuple
        Plain values, which say nothing about the rows.
    """
    estimator._publications = record
