"""Scans of Arrow data sets and of polars queries, in bounded memory."""

import sys

import numpy as np

from .streams import Scan
from .tables import arrow, arrow_number_dtype

# A cost: number of bytes that are read from a column of a Parquet file at a time.
_BUFFER = 2**20


def scan_dataset(dataset, arguments):
    """Return the source of a `pyarrow.dataset.Dataset`.

    pyarrow's own scanner holds at least one row group of a Parquet file, and several
    record batches of an Arrow file. Therefore such files are read one by one here, in
    small parts. The scanner reads what only it can: other formats, files whose columns
    differ from those of the data set, as in partitions, and data sets with a filter.
    """
    files = _files(dataset)
    # Parquet files say how many rows they have; others would have to be read.
    is_parquet = files is not None and all(_reader(f) is _read_parquet for f in files)
    n_rows = sum(file.count_rows() for file in files) if is_parquet else None

    def read(max_rows):
        if files is None:
            yield from _scanned(dataset, max_rows)
            return
        for file in files:
            _check_schema(file, dataset.schema)
            reader = _reader(file)
            if reader is not None and file.physical_schema.equals(dataset.schema):
                yield from reader(file, max_rows)
            else:
                yield from _scanned(file, max_rows, schema=dataset.schema)

    return Scan(read, dataset.schema.empty_table(), arguments, n_rows)


def _files(dataset):
    """Return the parts of a data set in their order, or None if it has a filter."""
    try:
        return list(dataset.get_fragments())
    except ValueError:  # this is how pyarrow says that there is a filter
        return None


def _check_schema(file, schema):
    """Raise unless the columns of a file fit to those of the data set without loss.

    The first file decides about the data set. Arrow's scanner would fill columns that
    another one does not have with nulls, read strings as numbers, and round floats.
    """
    own = file.physical_schema
    name = getattr(file, "path", "the table in memory")
    in_path = sys.modules["pyarrow.dataset"].get_partition_keys(
        file.partition_expression
    )
    for field in schema:
        index = own.get_field_index(field.name)
        if index == -1 and field.name not in in_path:
            raise ValueError(
                f"X has column {field.name!r}, and {name} has no column of this name. "
                "All files of a data set must have the same columns."
            )
        if index != -1 and not _fits(own.types[index], field.type):
            raise TypeError(
                f"column {field.name!r} has type {own.types[index]} in {name}, and "
                f"type {field.type} in the schema of the data set X. Convert the "
                "file, or give X.to_batches() if what Arrow makes of it is right."
            )


def _fits(type_, wanted):
    """Return whether a column of an Arrow type becomes another type without loss."""
    one, other = arrow_number_dtype(type_), arrow_number_dtype(wanted)
    if one is None or other is None:
        return one is other  # both are strings, for example, of which one is encoded
    return np.can_cast(one, other, "safe")  # int64 to float64: Arrow checks the values


def _reader(file):
    """Return the function that reads a file of a data set in small parts, or None."""
    datasets = sys.modules["pyarrow.dataset"]
    if isinstance(file, datasets.ParquetFileFragment):
        return _read_parquet
    is_file = isinstance(file, datasets.FileFragment)
    if is_file and isinstance(file.format, datasets.IpcFileFormat):
        return _read_arrow
    return None


def _read_parquet(file, max_rows):
    from pyarrow.parquet import ParquetFile

    groups = [group.id for group in file.row_groups]
    with file.open() as opened:
        parquet = ParquetFile(opened, pre_buffer=False, buffer_size=_BUFFER)
        yield from parquet.iter_batches(batch_size=max_rows, row_groups=groups)


def _read_arrow(file, max_rows):
    pyarrow = sys.modules["pyarrow"]
    # A local file is mapped: of a record batch, only the rows in use are in memory.
    is_local = isinstance(file.filesystem, sys.modules["pyarrow.fs"].LocalFileSystem)
    with pyarrow.memory_map(file.path) if is_local else file.open() as opened:
        batches = pyarrow.ipc.open_file(opened)
        for number in range(batches.num_record_batches):
            yield batches.get_batch(number)


def _scanned(dataset, max_rows, **options):
    # Whoever reads the source reads ahead where that is wanted.
    return dataset.to_batches(
        batch_size=max_rows, batch_readahead=0, fragment_readahead=0, **options
    )


def scan_query(query, arguments):
    """Return the source of a `polars.LazyFrame`, which polars streams in its order."""
    arrow(query)  # raises where it is not installed
    empty = sys.modules["polars"].DataFrame(schema=query.collect_schema())

    def read(max_rows):
        return query.collect_batches(chunk_size=max_rows, maintain_order=True)

    return Scan(read, empty, arguments)
