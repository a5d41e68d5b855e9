"""Scans of Arrow data sets and of polars queries, in bounded memory."""

import sys

from .streams import Scan
from .tables import arrow

# A cost: number of bytes that are read from a column of a Parquet file at a time.
_BUFFER = 2**20


def scan_dataset(dataset, arguments):
    """Return the source of a `pyarrow.dataset.Dataset`.

    Parquet files without a filter are read in batches, whatever the size of their row
    groups. Of other files, and of those whose columns differ from the data set's, as in
    partitions, a row group or an Arrow record batch is in memory at a time.
    """
    files = _parquet_files(dataset)
    n_rows = None if files is None else sum(file.count_rows() for file in files)

    def read(max_rows):
        if files is None:
            yield from _scanned(dataset, max_rows)
            return
        for file in files:
            if file.physical_schema.equals(dataset.schema):
                yield from _read_parquet(file, max_rows)
            else:
                yield from _scanned(file, max_rows, schema=dataset.schema)

    return Scan(read, dataset.schema.empty_table(), arguments, n_rows)


def _parquet_files(dataset):
    """Return the files of a data set in their order; None if they cannot be read alone.

    None: they have other formats, or there is a filter, which is the data set's.
    """
    try:
        files = list(dataset.get_fragments())
    except ValueError:  # this is how pyarrow says that there is a filter
        return None
    kind = sys.modules["pyarrow.dataset"].ParquetFileFragment
    return files if all(isinstance(file, kind) for file in files) else None


def _scanned(dataset, max_rows, **options):
    # The reader of `AbstractSource` reads ahead where that is wanted.
    return dataset.to_batches(
        batch_size=max_rows, batch_readahead=0, fragment_readahead=0, **options
    )


def _read_parquet(file, max_rows):
    from pyarrow.parquet import ParquetFile

    groups = [group.id for group in file.row_groups]
    with file.open() as opened:
        parquet = ParquetFile(opened, pre_buffer=False, buffer_size=_BUFFER)
        yield from parquet.iter_batches(batch_size=max_rows, row_groups=groups)


def scan_query(query, arguments):
    """Return the source of a `polars.LazyFrame`, which polars streams in its order."""
    arrow(query)  # raises where it is not installed
    empty = sys.modules["polars"].DataFrame(schema=query.collect_schema())

    def read(max_rows):
        return query.collect_batches(chunk_size=max_rows, maintain_order=True)

    return Scan(read, empty, arguments)
