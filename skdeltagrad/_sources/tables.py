"""Rows that are there in full, in memory or mapped, in the forms that users have.

A form of rows is one class: its columns, which of them are numbers, and how a few of
its rows become NumPy's.
"""

import sys
from abc import ABC, abstractmethod

import numpy as np
from scipy import sparse

from .checks import NUMBERS, check_numbers, float_dtype, floats, refuse_missing


class AbstractTable(ABC):
    """Rows and columns as a user gave them.

    Parameters
    ----------
    given : object
        It has a `shape` of two numbers.

    Attributes
    ----------
    n_rows, n_columns : int
    names : list or None
        Names of the columns. None: they have none.
    is_sparse : bool
    """

    names: list | None = None
    is_sparse = False

    def __init__(self, given):
        self._given = given
        self.n_rows, self.n_columns = given.shape

    @abstractmethod
    def rows(self, start, stop):
        """Return the table of the rows from `start` to `stop`, without a copy."""

    @abstractmethod
    def float_dtype(self, columns, place):
        """Return float32 or float64, for features in some columns.

        Raises
        ------
        TypeError
            If a column does not hold numbers.
        """

    @abstractmethod
    def features(self, columns, dtype, place):
        """Return columns as a C-contiguous array or a canonical CSR matrix.

        Raises
        ------
        ValueError
            If a value is missing, not finite, or an integer that float64 cannot hold.
        """

    def column(self, number, name, place):
        """Return a column as a 1-d array, for the parameter of this name.

        Raises
        ------
        ValueError
            If a value is missing.
        """
        raise NotImplementedError  # without names no column can be asked for


class DenseTable(AbstractTable):
    """An array, or a memory map."""

    def rows(self, start, stop):
        return DenseTable(self._given[start:stop])

    def float_dtype(self, columns, place):
        check_numbers(self._given.dtype, place)
        return float_dtype([self._given.dtype])

    def features(self, columns, dtype, place):
        return np.ascontiguousarray(floats(self._given, dtype, place))


class CsrTable(AbstractTable):
    """A CSR matrix."""

    is_sparse = True

    def rows(self, start, stop):
        return CsrTable(self._given[start:stop])

    def float_dtype(self, columns, place):
        check_numbers(self._given.dtype, place)
        return float_dtype([self._given.dtype])

    def features(self, columns, dtype, place):
        X = sparse.csr_matrix(floats(self._given, dtype, place))
        if not X.has_canonical_format:
            X = X.copy()  # it may share its arrays with what the user gave
            X.sum_duplicates()
        return X


class AbstractFrame(AbstractTable):
    """A table whose columns have names and types of their own."""

    @abstractmethod
    def _number_dtype(self, number):
        """Return the NumPy dtype of a column of numbers, otherwise None."""

    @abstractmethod
    def _type_name(self, number):
        """Return the type of a column, for messages."""

    def float_dtype(self, columns, place):
        dtypes = []
        for number in columns:
            dtype = self._number_dtype(number)
            if dtype is None or dtype.kind not in NUMBERS:
                raise TypeError(
                    f"column {self.names[number]!r} of {place.of('X')} has type "
                    f"{self._type_name(number)}: features must be numbers. Encode "
                    "strings and categories, for example with sklearn.preprocessing."
                    "OneHotEncoder, convert what are numbers in fact, or leave the "
                    "column out."
                )
            dtypes.append(dtype)
        return float_dtype(dtypes)

    def features(self, columns, dtype, place):
        X = np.empty((self.n_rows, len(columns)), dtype)
        for j, number in enumerate(columns):
            values = self.column(number, "X", place)
            X[:, [j]] = floats(
                values[:, None], dtype, place, names=[self.names[number]]
            )
        return X


class PandasFrame(AbstractFrame):
    """A `pandas.DataFrame`."""

    def __init__(self, given):
        super().__init__(given)
        self.names = list(given.columns)
        self._dtypes = list(given.dtypes)

    def rows(self, start, stop):
        return PandasFrame(self._given.iloc[start:stop])

    def _number_dtype(self, number):
        dtype = self._dtypes[number]
        if isinstance(dtype, sys.modules["pandas"].SparseDtype):
            dtype = dtype.subtype
        # Nullable columns, and those that Arrow stores, say so.
        dtype = getattr(dtype, "numpy_dtype", dtype)
        return dtype if isinstance(dtype, np.dtype) else None

    def _type_name(self, number):
        return str(self._dtypes[number])

    def column(self, number, name, place):
        values = self._given.iloc[:, number]
        missing = values.isna().to_numpy()
        refuse_missing(missing, name, place, self.names[number])
        dtype = self._number_dtype(number)
        is_number = dtype is not None and dtype.kind in NUMBERS
        return values.to_numpy(dtype) if is_number else np.asarray(values)


class ArrowFrame(AbstractFrame):
    """A `pyarrow.Table`."""

    def __init__(self, given):
        super().__init__(given)
        self.names = given.column_names

    def rows(self, start, stop):
        return ArrowFrame(self._given.slice(start, stop - start))

    def _number_dtype(self, number):
        return arrow_number_dtype(self._given.schema.types[number])

    def _type_name(self, number):
        return str(self._given.schema.types[number])

    def column(self, number, name, place):
        values = self._given.column(number)
        if values.null_count:
            missing = values.is_null().to_numpy()
            refuse_missing(missing, name, place, self.names[number])
        if sys.modules["pyarrow"].types.is_dictionary(values.type):
            return np.concatenate([_decoded(chunk) for chunk in values.chunks])
        return values.to_numpy()


def arrow_number_dtype(type_):
    """Return the NumPy dtype of an Arrow type of numbers, otherwise None."""
    types = sys.modules["pyarrow"].types
    kinds = types.is_integer, types.is_floating, types.is_boolean
    is_number = any(is_kind(type_) for is_kind in kinds)
    return np.dtype(type_.to_pandas_dtype()) if is_number else None


def _decoded(encoded):
    """Return the values of a `pyarrow.DictionaryArray` without nulls."""
    # Arrow itself cannot decode the strings of polars (`string_view`) yet.
    values = encoded.dictionary.to_numpy(zero_copy_only=False)
    return values[encoded.indices.to_numpy()]


def table_of(X, place):
    """Return rows that are given all at once as the `AbstractTable` of their form.

    Parameters
    ----------
    X : object
        A SciPy matrix, a `pandas.DataFrame`, what exports itself as an Arrow table
        (those of pyarrow and polars, for example), or what NumPy makes an array of.
    place : Place

    Raises
    ------
    ValueError
        If it does not have two dimensions.
    """
    if sparse.issparse(X) and X.ndim == 2:
        return CsrTable(X.tocsr())
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(X, pandas.DataFrame):
        return PandasFrame(X)
    if is_arrow(X):
        return ArrowFrame(_arrow_table(X, place))
    if np.ma.is_masked(X) and X.ndim == 2:
        refuse_missing(np.ma.getmaskarray(X).any(axis=1), "X", place)
    try:
        X = np.asarray(X)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{place.of('X')} is no array: {error}") from error
    if X.ndim != 2:
        raise ValueError(
            f"{place.of('X')} must have two dimensions, rows and columns, got an array "
            f"of shape {X.shape} and dtype {X.dtype}."
            + ("" if place.batch is None else " A batch is X, or (X, y, ...).")
        )
    return DenseTable(X)


def _arrow_table(X, place):
    pyarrow = arrow(X)
    try:
        return pyarrow.table(X)
    except pyarrow.ArrowInvalid as error:  # a single column
        raise ValueError(
            f"{place.of('X')} is a {type(X).__name__}, and it must be a table: {error}."
        ) from error


def is_arrow(X):
    """Return whether X exports itself by the Arrow PyCapsule interface."""
    return hasattr(X, "__arrow_c_stream__") or hasattr(X, "__arrow_c_array__")


def arrow(X):
    """Return the module pyarrow, imported now; X needs it."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(
            f"X is a {type(X).__name__}, which is read through pyarrow: install it "
            "with pip install pyarrow."
        ) from error
    return pyarrow
