"""The cached training run: its steps, from which all else follows."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from .._utils import html as _html
from .._utils import memory

# What rounding may do to a gradient that is found from a step.
_ULPS = 16.0


class Trajectory:
    """Every step of a training run that starts at zero.

    The paper keeps every iterate and every gradient. Each follows from the steps, at
    half the size: an iterate is the sum of the steps before it, and a step is minus its
    learning rate times the gradient of its batch, penalty included.

    Parameters
    ----------
    steps : ndarray of shape (n_steps, n_outputs, n_dof), dtype float64 or float32
        Change of the iterate by every step. The last column is the intercept, if there
        is one, of columns centred at `centre`. In single precision steps are rounded
        as they are made: what is kept is the run itself, not a copy with an error.
    group_sums : ndarray of shape (n_steps, n_groups - 1, n_outputs, n_dof)
        With ``class_weight="balanced"`` a step is made of the gradients of several
        groups, one for each class: those of all but the last, summed over the rows of
        the batch without the class's weight and without the penalty.
    exact : ndarray of shape (n_steps,), dtype bool
        Whether the gradient was computed, or predicted by the last edit.
    end : ndarray of shape (n_outputs, n_dof)
        The last iterate.
    """

    def __init__(
        self,
        steps: np.ndarray,
        group_sums: np.ndarray,
        exact: np.ndarray,
        end: np.ndarray,
    ):
        self.steps = steps
        self.group_sums = group_sums
        self.exact = exact
        self.end = end

    @classmethod
    def allocate(cls, n_steps, n_groups, shape, dtype="float64", folder=None):
        """A run that stands still; shape is (n_outputs, n_dof).

        With a folder, steps and sums are kept in files there that have no name and are
        gone when nobody reads them any more.

        Raises
        ------
        MemoryError
            When there is not so much memory.
        OSError
            When there is no such folder, or no space in it.
        """
        needed = cls.bytes_needed(n_steps, n_groups, shape, dtype)
        if folder is None:
            memory.require(needed, *_purpose(n_steps, n_groups, shape))
        elif not os.path.isdir(folder):
            raise NotADirectoryError(
                f"cache_folder={os.fspath(folder)!r} is no folder: make it, or use "
                "cache_folder=None to keep the run in memory."
            )
        return cls(
            _zeros((n_steps, *shape), dtype, folder),
            _zeros((n_steps, n_groups - 1, *shape), dtype, folder),
            np.ones(n_steps, bool),
            np.zeros(shape),
        )

    @staticmethod
    def bytes_needed(
        n_steps: int, n_groups: int, shape: tuple[int, int], dtype: str = "float64"
    ) -> int:
        """Bytes that `allocate` asks for."""
        n_coef = shape[0] * shape[1]
        item = np.dtype(dtype).itemsize
        return item * n_coef * n_steps * n_groups + n_steps + 8 * n_coef

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return len(self.exact)

    @property
    def iterates(self) -> np.ndarray:
        """All iterates, made anew: shape (n_steps + 1, n_outputs, n_dof)."""
        iterates = np.zeros((self.n_steps + 1, *self.end.shape))
        np.cumsum(self.steps, axis=0, dtype=float, out=iterates[1:])
        return iterates

    def iterates_at(self, steps: Sequence[int] | np.ndarray) -> np.ndarray:
        """Some iterates, by increasing step: shape (len(steps), n_outputs, n_dof)."""
        found = np.zeros((len(steps), *self.end.shape))
        for number, iterate in enumerate(self.walk(steps)):
            found[number] = iterate
        return found

    def walk(self, steps: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Some iterates one by one, by increasing step; each is overwritten."""
        first, iterate = 0, np.zeros(self.end.shape)
        for step in steps:
            for between in self.steps[first:step]:
                iterate += between
            yield iterate
            first = step

    @property
    def nbytes(self) -> int:
        """Bytes held, in memory or in files."""
        return sum(array.nbytes for array in vars(self).values())

    def __repr__(self):
        _, n_outputs, n_dof = self.steps.shape
        return (
            f"Trajectory(n_steps={self.n_steps}, n_outputs={n_outputs}, n_dof={n_dof}, "
            f"{self.nbytes / 1e6:.1f} MB)"
        )

    def _repr_html_(self):
        _, n_outputs, n_dof = self.steps.shape
        values = {
            "steps": f"{self.n_steps:,}, {np.count_nonzero(self.exact):,} exact",
            "coefficients": f"{n_outputs:,} x {n_dof:,}",
            "kept in": self.steps.dtype.name,
            "size": f"{self.nbytes / 1e6:.1f} MB",
        }
        return _html.facts("Trajectory", values)


class Playback:
    """A cached run from its start on: its iterates, and the gradients of its steps.

    Parameters
    ----------
    trajectory : Trajectory
    rate, shrinkage, group_weight : ndarray
        Those of the run: see `_descent.descend`.
    n_features : int
        Coefficients from here on are intercepts.

    Attributes
    ----------
    iterate : ndarray of shape (n_outputs, n_dof)
        At the step that it went to last.
    """

    def __init__(self, trajectory, rate, shrinkage, group_weight, n_features):
        self.trajectory = trajectory
        self.rate, self.shrinkage, self.group_weight = rate, shrinkage, group_weight
        self.n_features = n_features
        self.iterate = np.zeros(trajectory.end.shape)
        self._step = 0

    def go_to(self, step):
        """Go on to a step."""
        for between in self.trajectory.steps[self._step : step]:
            self.iterate += between
        self._step = step

    def jump_to(self, step, iterate):
        """Go to a step of which the iterate is known."""
        self._step, self.iterate = step, iterate

    def gradient_sums(self):
        """Gradient sums of the step that comes next, by group, without the penalty.

        Returns
        -------
        gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
        """
        step, n_features = self._step, self.n_features
        *others, last_weight = self.group_weight
        sums = np.zeros((len(self.group_weight), *self.iterate.shape))
        if self.rate[step] == 0.0:
            return sums
        last = -self.trajectory.steps[step].astype(float)
        penalty = self.shrinkage[step][:, np.newaxis] * self.iterate[:, :n_features]
        last[:, :n_features] -= penalty
        last /= self.rate[step]
        sums[:-1] = self.trajectory.group_sums[step]
        if last_weight > 0.0:
            sums[-1] = (last - np.tensordot(others, sums[:-1], axes=1)) / last_weight
        return sums

    def gradients(self, n_features):
        """Yield the gradients of all steps from here on, with what they are off by.

        Yields
        ------
        place : str
            What they are.
        gradients : ndarray of shape (n_groups n_outputs, n_features)
            Without the intercept.
        noise : ndarray of shape (n_groups n_outputs,)
            What rounding may have done to each, in length.
        """
        eps = _ULPS * np.finfo(self.trajectory.steps.dtype).eps
        for step in range(self._step, self.trajectory.n_steps):
            self.go_to(step)
            sums = self.gradient_sums()
            if not sums.any():
                continue
            # A gradient is what is left of a step and its penalty.
            terms = np.linalg.norm(self.trajectory.steps[step].astype(float), axis=-1)
            terms += self.shrinkage[step] * np.linalg.norm(self.iterate, axis=-1)
            noise = np.linalg.norm(sums, axis=-1) + terms / self.rate[step]
            yield (
                f"the gradient of step {step}",
                sums[..., :n_features].reshape(-1, n_features),
                eps * noise.ravel(),
            )


def _zeros(shape, dtype, folder):
    """In memory, or mapped into it from a file without a name."""
    if folder is None or 0 in shape:
        return np.zeros(shape, dtype)
    n_bytes = np.dtype(dtype).itemsize * math.prod(shape)
    with tempfile.TemporaryFile(dir=folder) as file:
        # Space that is promised only would end the process when it is not there.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        else:
            file.truncate(n_bytes)
        mapped = mmap.mmap(file.fileno(), n_bytes)
    # Not a np.memmap, which joblib would open by its name in another process.
    return np.frombuffer(mapped, dtype).reshape(shape)


def _purpose(n_steps, n_groups, shape):
    """What the memory is for, and what to do without it."""
    groups = f" and {n_groups} classes" if n_groups > 1 else ""
    return (
        f"the training run of {n_steps} steps x {shape[0] * shape[1]} coefficients"
        + groups,
        'Use cache_dtype="float32" or a cache_folder, lower max_iter, raise '
        "batch_size, or use fewer columns"
        + (', or class_weight other than "balanced".' if groups else "."),
    )
