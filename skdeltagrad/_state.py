"""The form in which estimators are pickled, and what older forms are met with."""

# Raised whenever a class that ends up in a dump changes its attributes.
SCHEMA = 2

_KEY = "_skdeltagrad_schema"


def dump(state):
    """A state to pickle: the attributes and the schema they follow."""
    return state | {_KEY: SCHEMA}


def load(state, name):
    """The attributes of a pickled state.

    Raises
    ------
    ValueError
        When it was written under another schema.
    """
    found = state.get(_KEY)
    if found != SCHEMA:
        raise ValueError(
            f"This dump of a {name} has schema {found!r}, and this version of "
            f"skdeltagrad reads schema {SCHEMA}. Load it with the version that wrote "
            "it, or fit again."
        )
    return {key: value for key, value in state.items() if key != _KEY}
