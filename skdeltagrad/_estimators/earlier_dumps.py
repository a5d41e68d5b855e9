"""How dumps of earlier schemas are read.

A dump contains our objects as dicts of their attributes (see `plain_state`), so that
these tables suffice when a class is renamed or its attributes change.
"""

from functools import partial

from .._engine import Model
from .._optimum.curvature import FourthMoment
from .._optimum.rounding import Noise

# Versions of the format: schemas that can be read besides the current one.
EARLIER_SCHEMAS = (3, 4)

# Earlier names of classes.
RENAMED = {
    "Account": "OptimumReport",
    "Census": "RowCounts",
    "Endpoint": "OptimumEngine",
    "Path": "PathEngine",
    "Roster": "RowTable",
    "Seed": "Checkpoints",
    "SeedKind": "CheckpointPlan",
    "Sums": "CheckpointSums",
    "UnstoredRoster": "UnstoredRowTable",
}


def upgraded_state(attributes):
    """Return the attributes of an estimator under the names of today."""
    return {
        "_engine" if name == "_path" else name: value
        for name, value in attributes.items()
    }


def upgraded(name, attributes):
    """Return the attributes of an object of an earlier schema as they are today.

    Parameters
    ----------
    name : str
        Name of its class, as it is today.
    attributes : dict
    """
    upgrade = _UPGRADES.get(name)
    return attributes if upgrade is None else upgrade(dict(attributes))


def _with_model(attributes):
    """Engines had the fields of their model as attributes of their own."""
    fields = ("loss", "alpha", "n_groups", "centre", "spread")
    model = {name: attributes.pop(name) for name in fields if name in attributes}
    attributes["row_counts"] = attributes.pop("census")
    return attributes | {"model": Model(**model)}


def _with_names(attributes, **names):
    """Attributes had other names: the new one by the old one."""
    return {names.get(name, name): value for name, value in attributes.items()}


def _with_checkpoints(attributes):
    """The engine of a path called the Hessians along it its seed."""
    return _with_names(
        _with_model(attributes), seed="checkpoints", n_nodes="n_corrections",
        on_all="on_all_rows", ledger="facts",
    )  # fmt: skip


def _with_columns(attributes):
    """A row table had an attribute for each of its columns."""
    names = {
        "_y": "y",
        "_weight": "weight",
        "_ids": "id",
        "_given_weight": "given_weight",
        "_leverages": "leverage",
    }
    columns = {new: attributes.pop(old, None) for old, new in names.items()}
    columns = {name: column for name, column in columns.items() if column is not None}
    attributes["_stored_at"] = attributes.pop("_slot")
    attributes["_id_index"] = attributes.pop("_index", None)
    return attributes | {"_columns": columns}


def _with_table(attributes):
    attributes["table"] = attributes.pop("roster")
    return attributes


def _optimum(attributes):
    """The engine of an optimum had other names, and a curvature without the loss."""
    attributes = _with_model(attributes)
    names = {"kind": "curvature_kind", "ledger": "report", "way": "distance_since_pass"}
    attributes = _with_names(attributes, **names)
    parts = attributes.pop("noise", 0.0), attributes.pop("raw_noise", 0.0)
    attributes["noise"] = Noise(*parts, attributes.pop("raw_growth", 1.0))
    if attributes["curvature"] is not None:
        vars(attributes["curvature"])["loss"] = attributes["model"].loss
    return attributes


def _curvature(attributes):
    """A curvature had the parts of its fourth moment, and facts about the loss.

    It counted passes in units of Hessians; the count begins again.
    """
    for name in ("is_quadratic", "is_bounded", "self_concordance", "debt"):
        attributes.pop(name, None)
    sums, iterate = attributes.pop("fourth"), attributes.pop("surveyed_at")
    distance = attributes.pop("moved")
    moment = None if sums is None else FourthMoment(sums, iterate, distance)
    names = {
        "place": "hessian_iterate",
        "inflation": "growth",
        "stale": "since_hessian",
        "doubt": "log_hessian_error",
        "rent": "avoidable_passes",
        "lost": "entry_error",
    }
    return _with_names(attributes, **names) | {"fourth_moment": moment}


_UPGRADES = {
    "CheckpointPlan": partial(_with_names, name="form", share="fraction"),
    "Checkpoints": partial(_with_names, kind="plan", places="iterates"),
    "CheckpointSums": partial(_with_names, bends="second_derivatives"),
    "Curvature": _curvature,
    "OptimumEngine": _optimum,
    "PathEngine": _with_checkpoints,
    "RowTable": _with_columns,
    "TrainingSet": _with_table,
    "UnstoredRowTable": _with_columns,
}
