"""Digests that make a chain of receipts from reports, and keyed hashes of ids.

A receipt has a public part, and figures: numbers that were computed from the values of
rows or measured by a clock, and the digest of the coefficients. The figures of an edit
can reveal which of several suspected rows was removed, so a purge drops them. The
digest of a receipt stays the same, because it contains a salted digest of the figures:

    figures_digest = sha256(salt, canonical JSON of the figures)
    digest = sha256(canonical JSON of the public part, including previous_digest, number
                    and figures_digest)

Without the salt, which is dropped together with the figures, nobody can test a guess of
the figures against `figures_digest`. Canonical JSON leaves out fields that are None, so
a field that a later version adds, with None as its default, changes no digest.

Receipts in dumps of schema 3 and before have neither salt nor number: their digest
includes all fields.

Reports refer to rows by keyed hashes of their ids: only those who have the key, which
the estimator contains, can find out which ids the hashes belong to.
"""

import hashlib
import json
import math
import os
import platform
import re
import secrets
from functools import cache
from importlib.metadata import version
from numbers import Integral

import numpy as np

from .._data.edit import NO_ROWS
from .._data.row_table import GONE
from .._version import __version__

# A cost: for more ids than this a report has one hash of them all, not one for each.
_MOST_HASHES = 1000
# Mathematics: 2^128 keys or salts are too many to try, and equal hashes of different
# ids are to be expected among 2^64 of them only.
_HASH_BYTES = 16
_SALT_BYTES = 16
_LIBRARIES = ("scikit-learn", "numpy", "scipy", "numba")
_PLAIN = frozenset({type(None), bool, int, str})
_NO_ARRAYS = frozenset({float, tuple, list, dict})
# Where an object lies in memory, as the default `repr` shows it.
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")

# Fields of a report that stay when its figures are dropped: what was requested, when,
# and by which program. They depend on which rows were named, not on the rows' values.
PUBLIC = frozenset({
    "operation", "solver", "estimator", "n_samples", "n_samples_before", "request_id",
    "n_removed", "n_added", "n_not_found", "curvature", "membership_checked",
    "membership_error_rate", "indexed", "purged",
    "not_purged", "time", "removed_ids", "added_ids", "missing_ids", "parameters",
    "seed", "versions", "number", "previous_digest", "figures_digest",
})  # fmt: skip
# Fields that are neither public nor figures. All others are figures, so that a purge
# drops a new field that is not listed here.
SEALS = frozenset({"salt", "digest"})

# The fields under the digest of a receipt in dumps of schema 3 and before.
_FIELDS_OF_SCHEMA_3 = frozenset({
    "operation", "solver", "n_samples", "n_samples_before", "request_id", "n_removed",
    "n_added", "n_not_found", "n_steps", "n_exact_steps", "n_passes", "n_hessians",
    "curvature", "gradient_norm", "distance_bound", "decision_bound", "relative_bound",
    "no_bound", "error_estimate", "refit", "reason", "membership_checked", "indexed",
    "cache_bytes", "seed_bytes", "seconds", "time", "removed_ids", "added_ids",
    "missing_ids", "parameters", "seed", "versions", "coef_digest", "previous_digest",
})  # fmt: skip


# First names of fields that were renamed. Digests are of records with the first names,
# so that receipts of earlier versions can still be verified.
_FIRST_NAMES = {"checkpoint_bytes": "seed_bytes"}
_PRESENT_NAMES = {first: present for present, first in _FIRST_NAMES.items()}


def new_key():
    """Return a random key for hashes of ids."""
    return secrets.token_bytes(_HASH_BYTES)


def names_of(table, indices):
    """Return the names of rows: their ids, or their positions if they have no ids."""
    if not table.is_stored:
        return []
    if table.ids is not None:
        return id_names(np.unique(table.ids[indices]))
    positions = table.position[indices]
    return position_names(positions[positions != GONE])


def names_of_added(edit, n_positions):
    """Return the names of added rows, if `n_positions` positions are in use."""
    if edit.new_rows is None:
        return []
    if edit.new_rows.ids is not None:
        return id_names(np.unique(edit.new_rows.ids))
    taken_over = NO_ROWS if edit.taken_over is None else edit.taken_over
    taken_over = taken_over[taken_over != GONE]
    n_new = edit.n_new_rows - len(taken_over)
    new = np.arange(n_positions, n_positions + n_new)
    return position_names(np.sort(np.concatenate([taken_over, new])))


def id_names(ids):
    """Return ids in the form in which they are hashed."""
    return [f"id {id_!r}" for id_ in ids.tolist()]


def position_names(positions):
    """Return positions in the form in which they are hashed."""
    return [f"position {position}" for position in positions.tolist()]


def hashed(names, key):
    """Return keyed hashes of names; for more than 1,000 names, one hash of them all.

    A name contains the `repr` of an id, in which a line feed is escaped. Therefore no
    two lists of names give the same lines to hash.

    Parameters
    ----------
    names : list of str
    key : bytes or None
        None: the key was left out of a dump, and there are no hashes.

    Returns
    -------
    hashes : tuple of str
    """
    if key is None:
        return ()
    if len(names) > _MOST_HASHES:
        names = ["\n".join(sorted(names))]
    return tuple(
        hashlib.blake2b(name.encode(), digest_size=_HASH_BYTES, key=key).hexdigest()
        for name in names
    )


def checked_key(key):
    """Return the key; raise ValueError if it was left out of a dump."""
    if key is None:
        raise ValueError(
            "This estimator has no key for hashes of ids: it was saved with "
            "receipt_key=False. Ask the estimator that wrote the dump, or a dump that "
            "was written with receipt_key=True; fit makes a new key."
        )
    return key


def plain(value, not_finite=str):
    """Return a value in JSON's types: None, bool, int, float, str, lists and dicts.

    Parameters
    ----------
    value : object
        Arrays and sequences become lists; keys of dicts and other objects become text.
    not_finite : callable, default=str
        Makes the replacement of NaN and infinity, which JSON does not have.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind not in _NO_ARRAYS and hasattr(value, "__array__"):
        value = np.asarray(value).tolist()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else not_finite(value)
    if isinstance(value, list | tuple):
        return [plain(part, not_finite) for part in value]
    if isinstance(value, dict):
        return {
            str(key): part if type(part) in _PLAIN else plain(part, not_finite)
            for key, part in value.items()
        }
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    # Without the address in memory, so that equal parameters give the same text.
    return _ADDRESS.sub("", str(value))


@cache
def versions():
    """Return versions of Python and of the libraries that results depend on."""
    ours = {"python": platform.python_version(), "skdeltagrad": __version__}
    return ours | {name: version(name) for name in _LIBRARIES}


def sealed(report, previous, number, coef, intercept):
    """Return a report as a receipt with a number, after the previous one or None."""
    seals = {
        "number": number,
        "previous_digest": None if previous is None else previous.digest,
        "coef_digest": coef_digest(coef, intercept),
        "salt": secrets.token_hex(_SALT_BYTES),
    }
    record = vars(report) | seals
    seals["figures_digest"] = record["figures_digest"] = _figures_digest(record)
    seals["digest"] = record_digest(record)
    return _with(report, seals)


def redacted(report):
    """Return a receipt without its figures and its salt; its digest is the same.

    A receipt of a dump of schema 3 gets another digest: its own includes the figures.
    """
    names = figures_of(report.__dataclass_fields__)
    dropped = dict.fromkeys(names) | {"salt": None}
    if report.figures_digest is None:
        record = report.to_dict() | {"salt": secrets.token_hex(_SALT_BYTES)}
        dropped["figures_digest"] = _figures_digest(record)
        dropped["digest"] = record_digest(record | dropped)
    return _with(report, dropped)


def sealed_again(report, previous, number):
    """Return a redacted receipt with another number and another previous one."""
    seals = {
        "number": number,
        "previous_digest": None if previous is None else previous.digest,
    }
    seals["digest"] = record_digest(report.to_dict() | seals)
    return _with(report, seals)


def _with(report, changes):
    changed = object.__new__(type(report))
    vars(changed).update(vars(report) | changes)  # dataclasses.replace takes ten times
    return changed


def is_redacted(record):
    """Whether the figures of a record were dropped."""
    return record.get("figures_digest") is not None and record.get("salt") is None


def figures_of(record):
    """Return the figures of a record: all that is neither public nor a seal."""
    return {
        name: value
        for name, value in record.items()
        if name not in PUBLIC and name not in SEALS
    }


def coef_digest(coef, intercept):
    """Return the sha256 of coefficients and intercepts, dtype and shape included."""
    return digest_of((np.asarray(coef), np.asarray(intercept)))


def digest_of(value):
    """Return the sha256 of arrays and plain Python values in dicts and sequences."""
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


def _canonical(record, names):
    """Return canonical JSON of some fields of a record, those that are not None.

    Numbers that JSON does not have count as None.
    """
    values = {name: record[name] for name in names if record.get(name) is not None}
    try:
        return _json(_under_first_names(values))
    except ValueError:
        return _canonical(plain(values, lambda value: None), names)


def under_present_names(values):
    """Return the fields of a report of any version under the names of today."""
    return {_PRESENT_NAMES.get(name, name): value for name, value in values.items()}


def _under_first_names(values):
    values = dict(values)
    for present, first in _FIRST_NAMES.items():
        if present in values:
            values[first] = values.pop(present)
    return values


def _figures_digest(record):
    figures = record.keys() - PUBLIC - SEALS
    text = f"{record['salt']}:{_canonical(record, figures)}"
    return hashlib.sha256(text.encode()).hexdigest()


def record_digest(record):
    """Return the digest that an unchanged record has."""
    if record.get("figures_digest") is None:
        record = _under_first_names(record)
        names = _FIELDS_OF_SCHEMA_3  # including those that are None
        text = _json({name: record[name] for name in names if name in record})
    else:
        text = _canonical(record, PUBLIC)
    return hashlib.sha256(text.encode()).hexdigest()


_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _is_as_made(record):
    if record_digest(record) != record.get("digest"):
        return False
    if record.get("figures_digest") is None:  # then it had no other fields
        record = _under_first_names(record)
        others = record.keys() - _FIELDS_OF_SCHEMA_3 - {"digest"}
    elif record.get("salt") is None:
        others = figures_of(record)
    else:
        return _figures_digest(record) == record["figures_digest"]
    return all(record[name] is None for name in others)


def check_chain(records):
    """Check that records are unchanged and form a chain.

    It is not checked whether records are missing before the first one.

    Parameters
    ----------
    records : iterable of dict
        As `UpdateReport.to_dict` returns them, in order. The figures of some or all may
        have been dropped.

    Returns
    -------
    n_records : int

    Raises
    ------
    ValueError
        The message names the first record that was changed or does not follow.
    """
    place, previous = -1, None
    for place, record in enumerate(records):
        if not _is_as_made(record):
            raise ValueError(
                f"{_name(place, record)} was changed: its digest is not that of its "
                "content."
            )
        if place and not _follows(record, previous):
            raise ValueError(
                f"{_name(place, record)} does not follow the one before it: records "
                "are missing, or in another order."
            )
        previous = record
    return place + 1


def _follows(record, previous):
    if record["previous_digest"] != previous["digest"]:
        return False
    before, number = previous.get("number"), record.get("number")
    return before is None or number == before + 1


def _name(place, record):
    return (
        f"Record {place} ({record.get('operation')}, "
        f"request_id={record.get('request_id')!r})"
    )
