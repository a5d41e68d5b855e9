"""The form in which estimators are pickled, and what other forms are met with.

A dump holds an estimator's attributes as plain Python and NumPy: an object of ours in
them is a dict of its own attributes, with its name,

    {"_skdeltagrad_class": "RowTable", "_y": ..., "_weight": ...}

so that moving a class to another module breaks no dump, and a loader that wants to be
told which types to trust needs to hear of the estimators only. With them it holds the
number of the schema that they follow, and a checksum of them.
"""

from copy import deepcopy

import numpy as np

from .._data import growing_array
from .._data.centring import ColumnMoments
from .._data.csr_rows import CsrRows
from .._data.dense_rows import DenseRows
from .._data.group_weights import RowCounts
from .._data.growing_array import GrowingArray
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

# Version of the format: raised whenever a class that ends up in a dump changes its
# attributes.
SCHEMA = 5
# Version of the format: the first schema whose dumps have a checksum.
_FIRST_WITH_CHECKSUM = 4

_SCHEMA_KEY = "_skdeltagrad_schema"
_CHECKSUM_KEY = "_skdeltagrad_checksum"
_CLASS_KEY = "_skdeltagrad_class"

# What a dump may be made of, besides estimators.
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
        MeasuredStep,
        MiniBatches,
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
    """A state to pickle: the attributes in plain form, and the schema they follow.

    Parameters
    ----------
    state : dict
        Attributes.
    as_views : bool, default=False
        Whether what is edited in place need not be copied: nobody edits it before the
        state is written.
    """
    attributes = plain(state, as_views=as_views)
    return attributes | {_SCHEMA_KEY: SCHEMA, _CHECKSUM_KEY: checksum_of(attributes)}


def load(state, name, is_checked=True):
    """The attributes of a pickled state.

    Parameters
    ----------
    state : dict
    name : str
        What the estimator's class is called.
    is_checked : bool, default=True
        Whether to `check` it, which reads all of it.

    Raises
    ------
    ValueError
        When it was written under another schema, or is damaged.
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
    """See that a pickled state is as it was written.

    Those of earlier schemas have no checksum.

    Raises
    ------
    ValueError
        When it is not.
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
    """Whether arrays in a state are files that are mapped into memory."""
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, list | tuple):
        return any(is_mapped(part) for part in state)
    return growing_array.is_mapped(state)


def in_memory(attributes):
    """Attributes with copies of arrays that are files mapped into memory."""
    return _restored(plain(attributes, leaf=_copied), {})


def copied(attributes, memo=None):
    """Attributes of a copy.

    Parameters
    ----------
    attributes : dict
    memo : dict, optional
        That of a deep copy. Without it the copy shares what is never edited in place.
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
        # The pair keeps the array, so that its id is not given to another.
        memo[id(value)] = np.array(value)
        memo.setdefault(id(memo), []).append(value)
    return memo[id(value)]


def _copied(value):
    return np.array(value) if growing_array.is_mapped(value) else value


def plain(value, known=None, leaf=lambda value: value, as_views=False):
    """Something without objects of ours.

    Parameters
    ----------
    value : object
    known : dict, optional
        What became of our objects, by their id.
    leaf : callable, optional
        What becomes of all else.
    as_views : bool, default=False
        Whether arrays that grow become views of them; or copies, which edits in place
        do not change.
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
        What became of the dicts of our objects, by their id.
    upgrade : callable
        ``upgrade(name of the class, attributes)`` gives the attributes of today.
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
