"""Models with a guarantee for rows that were removed before they were published."""

from __future__ import annotations

import os
import threading
from copy import deepcopy
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from .._estimators import refining
from .._estimators.base import BaseDeltaGrad
from ._accounting import cap_of, epsilon_of, mu_of
from ._checks import integer, number
from ._counter import Count, checked_path
from ._mechanism import fresh, published, seeded
from ._statement import SEEDED, Statement, not_covered


class Publisher:
    """Publish models so that removed rows leave no usable trace in them.

    An edited model is not exactly the one that was never trained with the removed rows:
    it is near to it, and the difference depends on them. `publish` brings the
    coefficients within a public distance of the exact optimum, which is proven, and
    adds fresh noise that hides what is left. All publications together are then
    (epsilon, delta)-close to those of a machine that fits from scratch, each time, on
    the current training rows. The budget is one of publications: edits between them
    cost nothing.

    It is not differential privacy, and whoever sees a model from before a removal and
    one from after it can compare them. `statement_` says what is promised and what is
    not; the user guide has the proof.

    Parameters
    ----------
    est : DeltaGradLogisticRegression, DeltaGradRidge or DeltaGradPoissonRegressor
        A fitted estimator with ``solver="newton"`` and stored rows. It is edited as
        usual, and must be kept secret. It is refined at once, so that noise which is
        too small for the accuracy of its arithmetic is refused here.
    noise : float
        Standard deviation of the noise of a coefficient whose scale is 1. It is public,
        and should not be computed from the rows. For standardised columns, 1e-4 is a
        good start, and ten times as much if that is refused.
    epsilon, delta : float
        What all publications together guarantee.
    n_publications : int
        How many models may be published. The distance that has to be proven is smaller
        by the square root of it.
    scale : float or array-like, default=None
        Public positive numbers, the units of the coefficients: the noise of coefficient
        j has the standard deviation ``noise * scale_j``. One number, or an array that
        can be broadcast to (n_outputs, n_features + 1), with the intercept in the last
        column unless ``fit_intercept=False``. None: 1.
    counter : str or path-like, default=None
        A file that does not exist yet, to which each publication appends a line. With
        it, loading an old dump of the publisher does not set the count back.
    random_state : int or None, default=None
        A seed for tests; the statement then says that nothing is private. None: noise
        from the operating system's entropy.

    Raises
    ------
    TypeError
        When `est` is none of these estimators, a pipeline for example: pass its last
        step.
    ValueError
        When the estimator's error is estimated and not bounded ("gd" and "sgd"), its
        rows are not stored, the noise is below what rounding allows, or the estimator
        or a copy of it has a publisher already.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skdeltagrad import DeltaGradLogisticRegression
    >>> from skdeltagrad.certified import Publisher
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = (X - X.mean(axis=0)) / X.std(axis=0)
    >>> model = DeltaGradLogisticRegression().fit(X, y)
    >>> publisher = Publisher(
    ...     model, noise=1e-5, epsilon=1.0, delta=1e-6, n_publications=1000
    ... )
    >>> model.unlearn(position=[3, 17]).n_features_in_
    30
    >>> published = publisher.publish()
    >>> publisher.statement_
    Statement(epsilon=1, delta=1e-06, private, 1 of 1,000 published)
    """

    def __init__(
        self,
        est: BaseDeltaGrad,
        *,
        noise: float,
        epsilon: float,
        delta: float,
        n_publications: int,
        scale: ArrayLike | None = None,
        counter: str | os.PathLike | None = None,
        random_state: int | None = None,
    ):
        if not isinstance(est, BaseDeltaGrad):
            raise TypeError(
                f"est must be an estimator of skdeltagrad, got {type(est).__name__}. "
                "Of a pipeline, pass the last step; what its other steps learned from "
                "removed rows is not covered."
            )
        check_is_fitted(est)
        self.noise = number("noise", noise, _LEAST_NOISE, _MOST_NOISE)
        self.epsilon = number("epsilon", epsilon, _LEAST_EPSILON, _LARGEST_EPSILON)
        self.delta = number("delta", delta, below=1.0)
        self.n_publications = integer("n_publications", n_publications, least=1)
        if random_state is not None:
            random_state = integer("random_state", random_state, least=0)
        path = None if counter is None else checked_path(counter)
        self.est, self.random_state = est, random_state
        self._mu = mu_of(self.epsilon, self.delta)
        self._cap = cap_of(self.noise, self._mu, self.n_publications)
        self._draw = fresh if random_state is None else seeded(random_state)
        self._unlock()
        self._published: tuple[tuple[str, str], Any] | None = None
        fit, _ = refining.lineage_of(est)
        Count.check_is_first(fit, refining.publications_of(est))
        est.refine(distance=self._cap, scale=scale)
        self.scale = None if scale is None else _read_only(scale)
        self._count = Count(fit, self.n_publications, path)
        try:
            self._count.begin()
            refining.record_publications(est, self._count.record())
        except BaseException:  # Ctrl-C as well: another publisher may be made then
            if self._count.give_up():
                refining.record_publications(est, None)
            raise

    def publish(self) -> Any:
        """Return the present model with fresh noise, as one of scikit-learn.

        Until the next edit, the model that was published last is returned again. Rows
        that changed and changed back are an edit. Purges, `refine` and
        ``partial_refit()`` are not.

        Returns
        -------
        model : LogisticRegression, Ridge or PoissonRegressor
            A copy, with noise in `coef_` and `intercept_`. With ``standardize=True``
            the coefficients are those of columns that are not standardised, because
            the scales depend on the rows.

        Raises
        ------
        ValueError
            When all publications were made; when the estimator was fitted again or its
            coefficients were replaced; when the coefficients cannot be brought near
            enough to the optimum, not even by a fit from scratch, which depends on
            nothing but the current rows.
        """
        with self._lock:
            lineage = self._checked_lineage()
            if self._published is None or self._published[0] != lineage:
                self._count.check()
                self._published = refining.published_model(
                    self.est, self._cap, self.scale, self._noisy
                )
            return deepcopy(self._published[1])

    def _checked_lineage(self):
        lineage = refining.lineage_of(self.est)
        if lineage[0] != self._count.fit:
            raise ValueError(
                "The estimator was fitted again since the publisher was made: what it "
                "published then and now is not covered by one guarantee. Make a new "
                "publisher."
            )
        return lineage

    def _noisy(self, coefficients, scale):
        """Return coefficients with noise, while no other thread can edit."""
        self._checked_lineage()  # again: another thread may have fitted it since
        self._count.add()  # before anything is published
        refining.record_publications(self.est, self._count.record())
        return published(coefficients, self.noise * scale, self._draw)

    @property
    def n_published_(self) -> int:
        """How many models were published, those of copies included."""
        return self._count.now()

    @property
    def remaining_(self) -> int:
        """How many more may be published."""
        return max(0, self.n_publications - self.n_published_)

    @property
    def statement_(self) -> Statement:
        """What is guaranteed, and what is not."""
        is_private = self.random_state is None
        scale = 1.0 if self.scale is None else np.asarray(self.scale, float).tolist()
        return Statement(
            mu=self._mu, epsilon=self.epsilon, delta=self.delta,
            noise=self.noise, scale=scale, cap=self._cap,
            n_published=self.n_published_, n_publications=self.n_publications,
            private=is_private, not_private=None if is_private else SEEDED,
            not_covered=not_covered(self._count.path),
        )  # fmt: skip

    def guarantee(self, delta: float) -> float:
        """Return the epsilon that all publications together guarantee at another delta.

        Parameters
        ----------
        delta : float
            Above 0 and below 1.

        Returns
        -------
        epsilon : float
        """
        return epsilon_of(self._mu, number("delta", delta, below=1.0))

    def __repr__(self):
        return (
            f"Publisher({type(self.est).__name__}, noise={self.noise:g}, "
            f"epsilon={self.epsilon:g}, delta={self.delta:g}, "
            f"{self.n_published_:,} of {self.n_publications:,} published)"
        )

    def __setattr__(self, name, value):
        if name in _FIXED and name in vars(self):
            raise AttributeError(
                f"{name} of a publisher cannot be changed: its statement would no "
                "longer hold for what was published. A new fit may have a new "
                "publisher."
            )
        super().__setattr__(name, value)

    # Copies share the count. Dumps hold the estimator, and the model published last.

    def __getstate__(self):
        state = {name: v for name, v in vars(self).items() if name not in _NOT_IN_DUMPS}
        last = state["_published"]
        if last is not None and last[0] != refining.lineage_of(self.est):
            state["_published"] = None  # of rows that were edited since
        return state

    def __setstate__(self, state):
        vars(self).update(state)
        self._draw = fresh if self.random_state is None else seeded(self.random_state)
        self._unlock()

    def _unlock(self):
        self._lock = threading.RLock()
        _publishers.add(self)


_publishers: WeakSet[Publisher] = WeakSet()


def _unlock_in_child():
    """Forget locks that threads hold which do not exist in a forked process."""
    for publisher in list(_publishers):
        publisher._unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_in_child)

# What draws noise is no part of the state: it would be drawn again after loading.
_NOT_IN_DUMPS = frozenset({"_draw", "_lock"})
# What a guarantee is made of.
_FIXED = frozenset({
    "est", "noise", "epsilon", "delta", "n_publications", "scale", "random_state",
})  # fmt: skip
# Rounding: with the units that a scale may have, steps of the grid of published numbers
# are neither 0 nor infinite.
_LEAST_NOISE, _MOST_NOISE = 1e-150, 1e150
# Rounding: with less, delta has fewer than three digits; see `log_delta_of`.
_LEAST_EPSILON = 1e-6
# Mathematics: e^epsilon, the factor between probabilities, is a number up to here.
_LARGEST_EPSILON = 700.0


def _read_only(scale):
    """Return a copy of a scale that cannot be changed, as the noise would follow it."""
    copied = np.array(scale, dtype=float)
    copied.setflags(write=False)
    return copied if copied.ndim else float(copied)
