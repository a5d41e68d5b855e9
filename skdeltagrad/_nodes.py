"""Nodes of a replay by Hessians: how many at first, on which rows, at what price."""

# Nodes to begin with; what measuring one takes, in passes over its rows; and the share
# of a retrain from which on only a sample is measured.
_FIRST_NODES = {"whole": 1, "block": 1, "mean": 3}
_PASSES_PER_NODE = 1.5
_DEAR_NODE = 0.05
# The share of a retrain that tries may take, besides what one of them reads of the rows
# that leave and join.
MOST_TRIED = 0.5


def first_nodes(kind):
    """How many a first edit begins with, by the `SeedKind`."""
    return _FIRST_NODES[kind.name]


def begins_on_all(kind, n_epochs):
    """Whether all rows are measured at once: what a block lacks is no sample's."""
    dear = _DEAR_NODE * n_epochs < _PASSES_PER_NODE
    return kind.share == 1.0 or (kind.name != "whole" and not dear)


def passes(kind, n_nodes, on_all):
    """What measuring them takes, in passes over all rows."""
    return _PASSES_PER_NODE * n_nodes * (1.0 if on_all else kind.share)


def first_passes(kind, n_epochs):
    """What an edit begins with."""
    return passes(kind, first_nodes(kind), begins_on_all(kind, n_epochs))
