"""The cached path of a training run: its steps, from which all else follows."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from .._utils import html as _html
from .._utils import memory

# Rounding: error of a gradient that is computed from a step, in units of eps.
_ULPS = 16.0


class Trajectory:
    """Every step of a training run that starts at zero.

    The paper keeps every iterate and every gradient. Both follow from the steps, which
    take half the memory: an iterate is the sum of the steps before it, and a step is
    minus its learning rate times the gradient of its batch, penalty included.

    Parameters
    ----------
    steps : ndarray of shape (n_steps, n_outputs, n_dof), dtype float64 or float32
        Change of the iterate by every step. The last column is the intercept, if there
        is one, in centred columns. In single precision, steps are rounded when they are
        made: what is kept is the path itself, not a copy with an error.
    group_sums : ndarray of shape (n_steps, n_groups - 1, n_outputs, n_dof)
        Gradients of all groups but the last, summed over the rows of the batch, without
        the factor of the group and without the penalty. There are several groups with
        ``class_weight="balanced"`` only: one for each class.
    exact : ndarray of shape (n_steps,), dtype bool
        Whether the gradient was computed; otherwise the last edit predicted it.
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
        """Return a trajectory of zeros.

        Parameters
        ----------
        n_steps, n_groups : int
        shape : tuple
            (n_outputs, n_dof).
        dtype : {"float64", "float32"}, default="float64"
        folder : path-like, optional
            Where steps and sums are kept, in files without a name. The operating system
            removes them when they are no longer used. By default they are in memory.

        Raises
        ------
        MemoryError
            When the available memory is too small.
        OSError
            When the folder does not exist, or has too little space.
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
        """Return the number of bytes that `allocate` needs."""
        n_coef = shape[0] * shape[1]
        item = np.dtype(dtype).itemsize
        return item * n_coef * n_steps * n_groups + n_steps + 8 * n_coef

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return len(self.exact)

    @property
    def iterates(self) -> np.ndarray:
        """All iterates, in a new array: shape (n_steps + 1, n_outputs, n_dof)."""
        iterates = np.zeros((self.n_steps + 1, *self.end.shape))
        np.cumsum(self.steps, axis=0, dtype=float, out=iterates[1:])
        return iterates

    def iterates_at(self, steps: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return iterates of increasing steps: (len(steps), n_outputs, n_dof)."""
        found = np.zeros((len(steps), *self.end.shape))
        for number, iterate in enumerate(self.walk(steps)):
            found[number] = iterate
        return found

    def walk(self, steps: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Yield iterates of increasing steps, each in the same array."""
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
    """A cached path from its start on: its iterates, and the gradients of its steps.

    Parameters
    ----------
    trajectory : Trajectory
    sizes : tuple
        Rate, shrinkage and group_weight of the path: see `descent.descend`.
    n_features : int
        Coefficients from here on are intercepts.

    Attributes
    ----------
    iterate : ndarray of shape (n_outputs, n_dof)
        The iterate at the current step, which is the first one at the beginning.
    """

    def __init__(self, trajectory, sizes, n_features):
        self.trajectory = trajectory
        self.sizes = sizes
        self.n_features = n_features
        self.iterate = np.zeros(trajectory.end.shape)
        self._step = 0

    def go_to(self, step):
        """Go on to a later step."""
        for between in self.trajectory.steps[self._step : step]:
            self.iterate += between
        self._step = step

    def jump_to(self, step, iterate):
        """Go to a step whose iterate is known."""
        self._step, self.iterate = step, iterate

    def gradient_sums(self):
        """Return the gradient sums of the current step, by group, without the penalty.

        Returns
        -------
        gradient_sums : ndarray of shape (n_groups, n_outputs, n_dof)
        """
        step, n_features = self._step, self.n_features
        rate, shrinkage, (*others, last_weight) = self.sizes
        sums = np.zeros((len(others) + 1, *self.iterate.shape))
        if rate[step] == 0.0:
            return sums
        last = -self.trajectory.steps[step].astype(float)
        penalty = shrinkage[step][:, np.newaxis] * self.iterate[:, :n_features]
        last[:, :n_features] -= penalty
        last /= rate[step]
        sums[:-1] = self.trajectory.group_sums[step]
        if last_weight > 0.0:
            sums[-1] = (last - np.tensordot(others, sums[:-1], axes=1)) / last_weight
        return sums

    def gradients(self, n_features):
        """Yield the gradients of all steps from here on, with their rounding errors.

        Yields
        ------
        place : str
            Where the gradients were found.
        gradients : ndarray of shape (n_groups n_outputs, n_features)
            Without the intercept.
        noise : ndarray of shape (n_groups n_outputs,)
            Limit to the norm of each gradient's rounding error.
        """
        eps = _ULPS * np.finfo(self.trajectory.steps.dtype).eps
        rate, shrinkage, _ = self.sizes
        for step in range(self._step, self.trajectory.n_steps):
            self.go_to(step)
            sums = self.gradient_sums()
            if not sums.any():
                continue
            # A gradient is the difference of a step and its penalty.
            terms = np.linalg.norm(self.trajectory.steps[step].astype(float), axis=-1)
            terms += shrinkage[step] * np.linalg.norm(self.iterate, axis=-1)
            noise = np.linalg.norm(sums, axis=-1) + terms / rate[step]
            yield (
                f"the gradient of step {step}",
                sums[..., :n_features].reshape(-1, n_features),
                eps * noise.ravel(),
            )


def _zeros(shape, dtype, folder):
    """Return zeros in memory, or mapped into memory from a file without a name."""
    if folder is None or 0 in shape:
        return np.zeros(shape, dtype)
    n_bytes = np.dtype(dtype).itemsize * math.prod(shape)
    with tempfile.TemporaryFile(dir=folder) as file:
        # Without this, a full disk would end the process when the array is written.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        else:
            file.truncate(n_bytes)
        mapped = mmap.mmap(file.fileno(), n_bytes)
    # A np.memmap would be opened by its name in another process by joblib.
    return np.frombuffer(mapped, dtype).reshape(shape)


def _purpose(n_steps, n_groups, shape):
    """Return what the memory is for, and what to do if it is too small."""
    groups = f" and {n_groups} classes" if n_groups > 1 else ""
    return (
        f"the training run of {n_steps} steps x {shape[0] * shape[1]} coefficients"
        + groups,
        'Use cache_dtype="float32" or a cache_folder, lower max_iter, raise '
        "batch_size, or use fewer columns"
        + (', or class_weight other than "balanced".' if groups else "."),
    )
