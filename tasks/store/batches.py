"""Batches of rows: gathered into the row groups of a Parquet file, and grouped by image."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

T = TypeVar("T")
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


def group_by_image(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Group rows by `image_digest`; the rows of an image follow one another, across batches too."""
    return group_rows(batches, "image_digest")


def group_rows(
    batches: Iterable[pa.RecordBatch], column: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Group rows by a column whose equal values follow one another, across batches too."""
    parts = (part for batch in batches for part in _split_rows(batch, column))
    for value, group in groupby(parts, key=itemgetter(0)):
        yield value, join_batches([rows for _, rows in group])


def _split_rows(batch: pa.RecordBatch, column: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    runs = pc.run_end_encode(batch[column])
    start = 0
    for value, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield value, batch[start:end]
        start = end


def join_batches(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Join batches into one; a single one is not copied."""
    if len(parts) == 1:
        return parts[0]
    return pa.Table.from_batches(parts).combine_chunks().to_batches()[0]


def group_by_size(items: Iterable[tuple[int, T]], count: int) -> list[list[T]]:
    """Group what has about the same size, up to `count` times as much; groups of `count` or more.

    If each group is made one as it appears, a row is copied once for each power of `count`, and few
    items are left. items: each with its size, at least 1.
    """
    groups: dict[int, list[T]] = defaultdict(list)
    for size, item in items:
        groups[int(math.log(size, count) + 1e-9)].append(item)
    return [group for group in groups.values() if len(group) >= count]
