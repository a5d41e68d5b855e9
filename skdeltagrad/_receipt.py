"""What makes a report a receipt: who asked, by what program, and what follows on what.

Receipts form a chain. Each holds the digest of the one before it, a digest of the
coefficients that it is about, and a digest of all that is in it:

    digest = sha256(canonical JSON of the record, previous_digest and coef_digest in it)

so that none can be changed, left out or put in afterwards without breaking the chain.
Rows appear by keyed hashes of their ids: whoever has the estimator, and with it the
key, can tell whether an id is meant; nobody can without.
"""

import hashlib
import json
import platform
import secrets
from copy import copy
from functools import cache
from importlib.metadata import version

import numpy as np

from ._roster import GONE
from ._version import __version__

# More ids than these are told by one hash of them all.
_MOST_HASHES = 1000
_HASH_BYTES = 16
_LIBRARIES = ("scikit-learn", "numpy", "scipy", "numba")
# What parameters of a model say nothing about it.
_NOT_TOLD = frozenset({"callback", "verbose"})
_PLAIN = frozenset({type(None), bool, int, str})


def new_key():
    """A key for hashes of ids."""
    return secrets.token_bytes(_HASH_BYTES)


def names_of(roster, slots):
    """What rows are called in receipts: by their ids, or by position without any."""
    if not roster.is_stored:
        return []
    if roster.ids is not None:
        return id_names(np.unique(roster.ids[slots]))
    positions = roster.position[slots]
    return position_names(positions[positions != GONE])


def id_names(ids):
    """Ids as they are hashed."""
    return [f"id {id_!r}" for id_ in ids.tolist()]


def position_names(positions):
    """Positions as they are hashed."""
    return [f"position {position}" for position in positions.tolist()]


def hashed(names, key):
    """Keyed hashes of names; of more than 1,000, one of them all.

    Returns
    -------
    hashes : tuple of str
    """
    if len(names) > _MOST_HASHES:
        names = ["\n".join(sorted(names))]
    return tuple(
        hashlib.blake2b(name.encode(), digest_size=_HASH_BYTES, key=key).hexdigest()
        for name in names
    )


def parameters_of(estimator):
    """Parameters as plain Python values."""
    attributes = vars(estimator)
    values = {name: attributes[name] for name in _parameter_names(type(estimator))}
    return {
        name: value if type(value) in _PLAIN else _plain(value)
        for name, value in values.items()
    }


@cache
def _parameter_names(kind):
    return [name for name in kind._get_param_names() if name not in _NOT_TOLD]


def _plain(value):
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and np.isfinite(value):
        return value
    return str(value)  # infinity is none of JSON's numbers


@cache
def versions():
    """Versions of Python and of the libraries that results depend on."""
    ours = {"python": platform.python_version(), "skdeltagrad": __version__}
    return ours | {name: version(name) for name in _LIBRARIES}


def sealed(report, previous, coef, intercept):
    """A report that follows on another one, or on None, with its digests."""
    digests = {
        "previous_digest": None if previous is None else previous.digest,
        "coef_digest": coef_digest(coef, intercept),
    }
    digests["digest"] = record_digest(report.to_dict() | digests)
    followed = copy(report)
    vars(followed).update(digests)  # a tenth of the time of dataclasses.replace
    return followed


def coef_digest(coef, intercept):
    """sha256 of coefficients and intercepts, dtype and shape included."""
    return digest_of((np.asarray(coef), np.asarray(intercept)))


def digest_of(value):
    """sha256 of arrays and plain Python values in dicts and sequences."""
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()


def _feed(sha, value):
    if isinstance(value, np.ndarray):
        sha.update(f"{value.dtype.str}{value.shape}".encode())
        sha.update(np.ascontiguousarray(value))
    elif isinstance(value, dict):
        for key, part in sorted(value.items()):
            sha.update(f"{key}:".encode())
            _feed(sha, part)
    elif isinstance(value, list | tuple):
        sha.update(f"{len(value)} parts:".encode())
        for part in value:
            _feed(sha, part)
    else:
        sha.update(f"{value!r};".encode())


def record_digest(record):
    """sha256 of a record without its digest, as canonical JSON."""
    rest = {name: value for name, value in record.items() if name != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_chain(records):
    """See that records are as they were made, and follow on one another.

    Parameters
    ----------
    records : iterable of dict
        As `UpdateReport.to_dict` gives them, in order.

    Returns
    -------
    n_records : int

    Raises
    ------
    ValueError
        That names the first record that was changed, or does not follow.
    """
    previous, number = None, -1
    for number, record in enumerate(records):
        if record_digest(record) != record["digest"]:
            raise ValueError(
                f"Record {number} ({record['operation']}, request_id="
                f"{record['request_id']!r}) was changed: its digest is not that of "
                "its content."
            )
        if number and record["previous_digest"] != previous:
            raise ValueError(
                f"Record {number} ({record['operation']}, request_id="
                f"{record['request_id']!r}) does not follow on the one before it: "
                "records are missing, or in another order."
            )
        previous = record["digest"]
    return number + 1
