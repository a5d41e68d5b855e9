"""The only module that asks whether rows come as a table, in batches, or from files."""

import os
import sys
from collections.abc import Iterable
from typing import Any

from .arguments import Arguments
from .place import Place
from .scans import scan_dataset, scan_query
from .source import AbstractSource, TableSource
from .streams import BatchStream, has_two_dimensions, is_batch
from .tables import is_arrow, table_of


def as_source(
    X: Any, y: Any = None, sample_weight: Any = None, sample_id: Any = None
) -> AbstractSource:
    """Return training rows of any form as a source of checked batches.

    Parameters
    ----------
    X : object
        One of these:

        - an array-like, memory map or SciPy matrix of shape (n_rows, n_features);
        - a `pandas.DataFrame`, `polars.DataFrame`, `pyarrow.Table`, or what else
          exports itself as an Arrow table;
        - a `pyarrow.dataset.Dataset` or a `polars.LazyFrame`;
        - an iterable of batches, each a tuple (X, y[, sample_weight[, sample_id]]) or
          an X alone, in one of the first two forms. A generator can be read once.

    y, sample_weight, sample_id : array-like, str or None, default=None
        An entry for each row, or the name of a column of X, which then is no feature.
        `y` may have two dimensions, or be a list of names. `sample_weight` may be a
        number. With batches (X, y, ...) they are in the batches instead.

    Returns
    -------
    source : AbstractSource
        float32 features stay float32, all other numbers become float64. Targets keep
        their type, weights become float64, and ids int64 or str.

    Raises
    ------
    TypeError
        If X has none of these forms, or a column holds no numbers.
    ValueError
        If a named column does not exist, an array has another length than X, or X has
        no rows. Values are checked when they are read, in `AbstractSource.batches`.
        Messages count rows, and batches of an iterable, from 0.
    """
    arguments = Arguments(y, sample_weight, sample_id)
    if _is(X, "pyarrow.dataset", "Dataset"):
        return scan_dataset(X, arguments)
    if _is(X, "polars", "LazyFrame"):
        return scan_query(X, arguments)
    if _is_table(X):
        return TableSource(table_of(X, Place()), arguments, Place())
    if isinstance(X, Iterable) and not isinstance(X, str | bytes | dict):
        return BatchStream(X, arguments)
    hint = (
        "Files are read with pyarrow.dataset.dataset(path) or polars.scan_parquet(path)"
        if isinstance(X, str | bytes | os.PathLike)
        else "Give an array, a table or an iterable of batches"
    )
    raise TypeError(f"X is a {type(X).__name__}, which holds no rows. {hint}.")


def _is(X, module, name):
    """Return whether X is of a class, without importing the module."""
    imported = sys.modules.get(module)
    return imported is not None and isinstance(X, getattr(imported, name))


def _is_table(X):
    """Return whether X is there in full, rather than in batches."""
    if hasattr(X, "__next__"):
        return False  # pyarrow's readers export themselves as a table, too
    if isinstance(X, list | tuple):
        return (
            len(X) > 0
            and not (is_batch(X[0]) and has_two_dimensions(X[0][0]))
            and (not has_two_dimensions(X[0]))
        )
    return hasattr(X, "shape") or hasattr(X, "__array__") or is_arrow(X)
