"""Plots of a training run and of its replay."""

from typing import Any, Self

import numpy as np

from .._optimum.problem import problem_of
from .._path.trajectory import Trajectory
from .._utils.sklearn_compat import check_matplotlib_support
from .base import BaseDeltaGrad


class TrajectoryDisplay:
    """A plot of the objective along a training run and its replay.

    :meth:`from_estimator` makes it for an estimator with ``solver="gd"`` or "sgd".

    Parameters
    ----------
    step : ndarray of shape (n_points,)
        Numbers of steps, ascending; 0 is the start.
    objective : ndarray of shape (n_points,)
        The objective per unit of weight after these numbers of steps.
    exact : ndarray of shape (n_steps,), dtype bool
        Whether the gradient of each step was computed rather than predicted.
    drift : ndarray of shape (n_points,), default=None
        Distance between the iterate and that of the run before an edit.
    name : str, default=None
        Name of the run in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the objective.
    drift_ax_ : matplotlib Axes or None
        Axes of the drift, with the scale on the right.
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D
        The objective.
    exact_line_ : matplotlib Line2D or None
        Marks at the bottom for the exact steps; None if there are none.
    drift_line_ : matplotlib Line2D or None

    Examples
    --------
    >>> from copy import deepcopy
    >>> from sklearn.datasets import load_diabetes
    >>> from skdeltagrad import DeltaGradRidge, TrajectoryDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = DeltaGradRidge(solver="gd", max_iter=60, period=5).fit(X, y)
    >>> before = deepcopy(model)
    >>> model.unlearn(position=[1, 2, 3])
    DeltaGradRidge(max_iter=60, period=5, solver='gd')
    >>> display = TrajectoryDisplay.from_estimator(model, previous=before)
    >>> display.figure_.savefig("run.png")  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        step: np.ndarray,
        objective: np.ndarray,
        exact: np.ndarray,
        drift: np.ndarray | None = None,
        name: str | None = None,
    ):
        self.step = step
        self.objective = objective
        self.exact = exact
        self.drift = drift
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseDeltaGrad,
        *,
        previous: BaseDeltaGrad | Trajectory | None = None,
        n_points: int = 50,
        name: str | None = None,
        ax: Any = None,
        line_kw: dict | None = None,
        exact_kw: dict | None = None,
        drift_kw: dict | None = None,
    ) -> Self:
        """Draw the run of a fitted estimator.

        Parameters
        ----------
        estimator : DeltaGradLogisticRegression or DeltaGradRidge
            Fitted, with ``solver="gd"`` or "sgd". It is not changed.
        previous : estimator or Trajectory, default=None
            A deep copy from before the last edit, or its `trajectory_`. If given, the
            distance of the replay from it is drawn, too.
        n_points : int, default=50
            Number of steps at which the objective is evaluated, with a pass over the
            training rows for each. Half of them are evenly spaced, the others become
            denser towards the start.
        name : str, default=None
            Name in the legend; by default that of the estimator's class.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        line_kw, exact_kw, drift_kw : dict, default=None
            Passed on to ``ax.plot`` of the objective, of exact steps and of the drift.

        Returns
        -------
        display : TrajectoryDisplay

        Raises
        ------
        AttributeError
            When the estimator has no trajectory, with ``solver="newton"``.
        ValueError
            When the two runs have different numbers of steps or coefficients.
        """
        if not isinstance(estimator, BaseDeltaGrad):
            raise TypeError(
                "estimator must be a fitted estimator of skdeltagrad, got "
                f"{type(estimator).__name__}. For a pipeline pass its last step."
            )
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        run = estimator.trajectory_
        step = _points(run.n_steps, n_points)
        drift = None if previous is None else _drift(estimator, previous, step)
        display = cls(
            step=step,
            objective=_objective(estimator, step),
            exact=run.exact.copy(),
            drift=drift,
            name=type(estimator).__name__ if name is None else name,
        )
        return display.plot(ax, line_kw=line_kw, exact_kw=exact_kw, drift_kw=drift_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        name: str | None = None,
        line_kw: dict | None = None,
        exact_kw: dict | None = None,
        drift_kw: dict | None = None,
    ) -> Self:
        """Draw the run.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None: a new figure.
        name : str, default=None
            Name in the legend; by default that of the display.
        line_kw, exact_kw, drift_kw : dict, default=None
            Passed on to ``ax.plot`` of the objective, of exact steps and of the drift.

        Returns
        -------
        display : TrajectoryDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots()
        name = self.name if name is None else name
        style = {"label": name} | (line_kw or {})
        (self.line_,) = ax.plot(self.step, self.objective, **style)
        ax.set(xlabel="Step", ylabel="Objective per unit of weight")
        lines = [self.line_]
        self.exact_line_ = self._plot_exact(ax, exact_kw)
        self.drift_ax_ = self.drift_line_ = None
        if self.drift is not None:
            self.drift_ax_ = ax.twinx()
            style = {"color": "tab:red", "linestyle": "--", "label": "drift"}
            (self.drift_line_,) = self.drift_ax_.plot(
                self.step, self.drift, **(style | (drift_kw or {}))
            )
            self.drift_ax_.set(ylabel="Distance from the run before the edit")
            self.drift_ax_.set_ylim(bottom=0.0)
        lines += [line for line in (self.exact_line_, self.drift_line_) if line]
        ax.legend(handles=lines, loc="center right")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_exact(self, ax, exact_kw):
        steps = np.flatnonzero(self.exact)
        if not len(steps):
            return None
        style = {
            "marker": "|",
            "linestyle": "none",
            "color": "0.5",
            "label": f"exact steps ({len(steps):,} of {len(self.exact):,})",
            "transform": ax.get_xaxis_transform(),
        }
        at_bottom = np.full(len(steps), 0.02)
        (line,) = ax.plot(steps, at_bottom, **(style | (exact_kw or {})))
        return line


def _points(n_steps, n_points):
    """Return numbers of steps from 0 to n_steps, more of them near the start."""
    evenly = np.linspace(0, n_steps, max(2, n_points // 2))
    early = np.geomspace(1, n_steps, max(1, n_points - len(evenly)))
    return np.unique(np.rint(np.concatenate([evenly, early])).astype(int))


def _objective(estimator, step):
    training_set = estimator._training_set
    indices = training_set.table.live_indices()
    problem = problem_of(estimator._engine.model, training_set, indices)
    values = [
        problem.value(problem.measure(iterate), iterate)
        for iterate in estimator.trajectory_.walk(step)
    ]
    return np.array(values) / problem.weight


def _drift(estimator, previous, step):
    run, moved = estimator.trajectory_, None
    if isinstance(previous, BaseDeltaGrad):
        here, there = estimator._engine.model.centre, previous._engine.model.centre
        previous = previous.trajectory_
        if here is not None and there is not None and len(here) == len(there):
            moved = here - there
    if not isinstance(previous, Trajectory):
        raise TypeError(
            "previous must be an estimator of skdeltagrad, or its trajectory_, got "
            f"{type(previous).__name__}."
        )
    if previous.steps.shape != run.steps.shape:
        raise ValueError(
            f"previous has steps of shape {previous.steps.shape}, and the estimator of "
            f"shape {run.steps.shape}: they are no runs of the same model."
        )
    drift = []
    for ours, theirs in zip(run.walk(step), previous.walk(step), strict=True):
        difference = ours - theirs
        if moved is not None:  # the intercept is that of columns centred elsewhere
            difference[:, -1] -= theirs[:, :-1] @ moved
        drift.append(np.linalg.norm(difference))
    return np.array(drift)
