"""Small batches of rows, gathered into the row groups of a Parquet file."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

# 8,192 embeddings of 512 floats are 16 MB, which is read at once and held while it is gathered.
ROW_GROUP_ROWS = 8192
# The most small batches that wait before they are joined; more would fragment the memory.
BATCHES_TOGETHER = 16


def gather_row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gather batches into row groups large enough to compress and to skip.

    A few batches at a time are joined and copied. A batch consists of dozens of small objects:
    thousands of them between the large blocks of images and encoders would fragment the memory, by
    a megabyte an image.
    """
    small: list[pa.RecordBatch] = []
    waiting: list[pa.Table] = []
    rows = 0
    for batch in batches:
        small.append(batch)
        rows += batch.num_rows
        if len(small) == BATCHES_TOGETHER or rows >= ROW_GROUP_ROWS:
            waiting.append(pa.Table.from_batches(small).combine_chunks())
            small = []
        if rows >= ROW_GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
    if small:
        waiting.append(pa.Table.from_batches(small))
    if waiting:
        yield pa.concat_tables(waiting)
