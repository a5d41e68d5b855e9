"""Nodes and checks of a replay by Hessians: how many, on which rows, at what price.

A node is measured and corrected for; a check is measured only, at a step that is no
node, for the estimate of the error: see `_replay_error`.
"""

# Costs: nodes to begin with; what measuring one, or a check, takes, in passes over its
# rows; and the share of a retrain from which on only a sample is measured.
_FIRST_NODES = {"whole": 1, "block": 1, "mean": 3}
_PASSES_EACH = 1.5
_DEAR = 0.05
# A cost: the share of a retrain that tries may take, besides what one of them reads of
# the rows that leave and join. Of sparse rows a node takes the time of some ten passes:
# they are measured in parts, of as many columns each.
_MOST_TRIED = {"whole": 0.5, "block": 0.5, "mean": 0.05}


def most_passes(kind, n_epochs):
    """What tries may take, in passes over all rows."""
    return _MOST_TRIED[kind.name] * n_epochs


def first_nodes(kind):
    """How many a first edit begins with, by the `SeedKind`."""
    return _FIRST_NODES[kind.name]


def begins_on_all(kind, n_epochs):
    """Whether all rows are measured at once: a sample misses heavy rare rows."""
    return kind.share == 1.0 or _DEAR * n_epochs >= _PASSES_EACH


def checks(kind, on_all, n_epochs):
    """Which checks are made: before the first node, and after the last one.

    Where the run is corrected for what nodes find, what was corrected tells as much as
    a check before the first node, for no pass: one after the last node is enough. But
    of a squared error there is hardly more than what rows are by chance, and that is
    told best where the run begins. Of a run that is not corrected both are made, or
    where one is dear the first. Where one is twice as dear none is.
    """
    price = _PASSES_EACH * _share(kind, on_all) / (_DEAR * n_epochs)
    if price > 2.0:
        return ()
    if kind.n_points == 1:
        return ("early",)
    if kind.name != "mean":
        return ("after",)
    return ("early",) if price > 1.0 else ("early", "after")


def gap(kind, n_nodes, n_steps):
    """Steps between nodes, from the start on.

    Half a gap is left at the end, where the residual is little more than at the last
    node. That of a block is more, and a whole one is.
    """
    return n_steps / (n_nodes + (1.0 if kind.name == "block" else 0.5))


def passes(kind, n_nodes, on_all, n_epochs):
    """What measuring nodes and checks takes, in passes over all rows."""
    n_measured = n_nodes + len(checks(kind, on_all, n_epochs))
    return _PASSES_EACH * n_measured * _share(kind, on_all)


def first_passes(kind, n_epochs):
    """What an edit begins with."""
    on_all = begins_on_all(kind, n_epochs)
    return passes(kind, first_nodes(kind), on_all, n_epochs)


def _share(kind, on_all):
    return 1.0 if on_all else kind.share
