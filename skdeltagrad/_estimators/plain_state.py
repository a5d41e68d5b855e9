"""The form in which estimators are pickled: plain Python values and NumPy arrays.

An object of this package becomes a dict of its attributes and the name of its class:

    {"_skdeltagrad_class": "RowTable", "_y": ..., "_weight": ...}

Therefore a class can move to another module, and a loader that asks which types are
trusted, such as skops, needs to know the classes of the estimators only. A dump also
contains the number of its schema and a checksum.
"""

from copy import deepcopy

import numpy as np

from .._data import growing_array
from .._data.centring import ColumnMoments
from .._data.csr_rows import CsrRows
from .._data.dense_rows import DenseRows
from .._data.group_weights import RowCounts
from .._data.growing_array import GrowingArray
from .._data.mapped import MappedTrainingSet
from .._data.row_table import RowTable
from .._data.spread import ColumnSpread
from .._data.training_set import TrainingSet
from .._data.unstored import UnstoredRowTable
from .._engine import Model
from .._objective.losses import (
    BinomialLoss,
    HalfSquaredLoss,
    MultinomialLoss,
    PoissonLoss,
)
from .._optimum.cost import Cost
from .._optimum.curvature import Curvature, FourthMoment, MeasuredStep
from .._optimum.engine import OptimumEngine
from .._optimum.hessian import Hessian
from .._optimum.report import OptimumReport
from .._optimum.rounding import Noise
from .._path.checkpoint_plan import CheckpointPlan
from .._path.checkpoint_sums import CheckpointSums
from .._path.checkpoints import Checkpoints
from .._path.engine import PathEngine
from .._path.schedule import FullBatch, MiniBatches
from .._path.trajectory import Trajectory
from .._reports.history import History
from .._reports.report import UpdateReport
from .._utils.checksum import checksum_of
from .earlier_dumps import EARLIER_SCHEMAS, RENAMED, upgraded, upgraded_state

# Version of the format: it is increased whenever a class in `_CLASSES` changes its
# attributes.
SCHEMA = 5
# Version of the format: the first schema whose dumps have a checksum.
_FIRST_WITH_CHECKSUM = 4

_SCHEMA_KEY = "_skdeltagrad_schema"
_CHECKSUM_KEY = "_skdeltagrad_checksum"
_CLASS_KEY = "_skdeltagrad_class"

# The classes of this package whose objects dumps contain, besides estimators.
_CLASSES = {
    kind.__name__: kind
    for kind in (
        BinomialLoss,
        CheckpointPlan,
        CheckpointSums,
        Checkpoints,
        ColumnMoments,
        ColumnSpread,
        Cost,
        CsrRows,
        Curvature,
        DenseRows,
        FourthMoment,
        FullBatch,
        GrowingArray,
        HalfSquaredLoss,
        Hessian,
        History,
        MappedTrainingSet,
        MiniBatches,
        MeasuredStep,
        Model,
        MultinomialLoss,
        Noise,
        OptimumEngine,
        OptimumReport,
        PathEngine,
        PoissonLoss,
        RowCounts,
        RowTable,
        TrainingSet,
        Trajectory,
        UnstoredRowTable,
        UpdateReport,
    )
}


def dump(state, as_views=False):
    """Return a state to pickle: attributes in plain form, schema and checksum.

    Parameters
    ----------
    state : dict
        Attributes.
    as_views : bool, default=False
        Whether arrays that edits change in place are not copied. The caller must make
        sure that there is no edit before the state is written.
    """
    attributes = plain(state, as_views=as_views)
    return attributes | {_SCHEMA_KEY: SCHEMA, _CHECKSUM_KEY: checksum_of(attributes)}


def load(state, name, is_checked=True):
    """Return the attributes of a pickled state.

    Parameters
    ----------
    state : dict
    name : str
        Name of the estimator's class, for errors.
    is_checked : bool, default=True
        Whether to `check` the state, which reads all of it.

    Raises
    ------
    ValueError
        If its schema is unknown or if it is damaged.
    """
    found = state.get(_SCHEMA_KEY)
    if found != SCHEMA and found not in EARLIER_SCHEMAS:
        readable = ", ".join(map(str, EARLIER_SCHEMAS)) + f" and {SCHEMA}"
        raise ValueError(
            f"This dump of a {name} has schema {found!r}, and this version of "
            f"skdeltagrad reads schemas {readable}. Load it with the version that "
            "wrote it, or fit again."
        )
    if is_checked:
        check(state, name)
    if found == SCHEMA:
        return _restored(_attributes(state), {})
    return upgraded_state(_restored(_attributes(state), {}, upgraded))


def check(state, name):
    """Check that a pickled state is unchanged, by its checksum.

    States of schemas before 4 have no checksum.

    Raises
    ------
    ValueError
        If it was changed.
    """
    if state[_SCHEMA_KEY] < _FIRST_WITH_CHECKSUM:
        return
    if state.get(_CHECKSUM_KEY) != checksum_of(_attributes(state)):
        raise ValueError(
            f"This dump of a {name} is damaged: its checksum is not that of what it "
            "holds. Load another copy of the file, or fit again."
        )


def _attributes(state):
    ours = (_SCHEMA_KEY, _CHECKSUM_KEY)
    return {key: value for key, value in state.items() if key not in ours}


def is_mapped(state):
    """Return whether any array in a state is a memory-mapped file."""
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, list | tuple):
        return any(is_mapped(part) for part in state)
    return growing_array.is_mapped(state)


def in_memory(attributes):
    """Return attributes with copies of the arrays that are memory-mapped files."""
    return _restored(plain(attributes, leaf=_copied), {})


def copied(attributes, memo=None):
    """Return the attributes of a copy.

    Parameters
    ----------
    attributes : dict
    memo : dict, optional
        The memo of a deep copy. None: a shallow copy, which shares everything that is
        never changed in place.
    """
    if memo is None:
        return _restored(plain(attributes), {})
    return _restored(
        plain(attributes, leaf=lambda value: _deeply(value, memo), as_views=True), {}
    )


def _deeply(value, memo):
    if not growing_array.is_mapped(value):
        return deepcopy(value, memo)
    if id(value) not in memo:
        # Keep the array alive, so that its id is not given to another one.
        memo[id(value)] = np.array(value)
        memo.setdefault(id(memo), []).append(value)
    return memo[id(value)]


def _copied(value):
    return np.array(value) if growing_array.is_mapped(value) else value


def plain(value, known=None, leaf=lambda value: value, as_views=False):
    """Return a value in which the objects of this package are dicts.

    Parameters
    ----------
    value : object
    known : dict, optional
        The dicts of objects that were converted before, by the ids of the objects.
    leaf : callable, optional
        Applied to everything that is neither such an object nor a container.
    as_views : bool, default=False
        Whether a `GrowingArray` becomes a view of its values, which edits change, and
        not a copy.
    """
    known = {} if known is None else known
    kind = type(value)
    if kind in (list, tuple):
        return kind([plain(part, known, leaf, as_views) for part in value])
    if kind is dict:
        return {key: plain(part, known, leaf, as_views) for key, part in value.items()}
    if _CLASSES.get(kind.__name__) is not kind:
        return leaf(value)
    if id(value) not in known:
        if as_views and kind is GrowingArray:
            attributes = {"values": value.values}
        else:
            attributes = value.__getstate__() or {}
        attributes = plain(attributes, known, leaf, as_views)
        known[id(value)] = {_CLASS_KEY: kind.__name__} | attributes
    return known[id(value)]


def _restored(value, known, upgrade=lambda name, attributes: attributes):
    """The inverse of `plain`.

    Parameters
    ----------
    value : object
    known : dict
        The objects that were restored before, by the ids of their dicts.
    upgrade : callable
        ``upgrade(name, attributes)`` returns the present attributes of an object whose
        class had this name and these attributes in an earlier version.
    """
    kind = type(value)
    if kind in (list, tuple):
        return kind([_restored(part, known, upgrade) for part in value])
    if kind is not dict:
        return value
    if id(value) in known:
        return known[id(value)]
    attributes = {key: _restored(part, known, upgrade) for key, part in value.items()}
    if _CLASS_KEY not in attributes:
        return attributes
    name = attributes.pop(_CLASS_KEY)
    name = RENAMED.get(name, name)
    attributes = upgrade(name, attributes)
    kind = _CLASSES[name]
    known[id(value)] = restored = kind.__new__(kind)
    if hasattr(kind, "__setstate__"):
        restored.__setstate__(attributes)
    else:
        vars(restored).update(attributes)
    return restored
