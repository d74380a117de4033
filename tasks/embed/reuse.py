"""Reuse rows that a stored table holds: they are copied, not computed again."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Set
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc

from tasks.runtime.errors import InputError
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

# Under this key the footer of a table of crops says how they were made, whatever the images.
EMBEDDING_KEY = b"wca.embedding"


def build_crops_schema(dimension: int, precision: str, mark: str) -> pa.Schema:
    """Build the schema of a table of crops; `mark`, in its metadata, says how they were made."""
    return schema("crops", dimension, precision).with_metadata({EMBEDDING_KEY: mark.encode()})


def find_tables_with(
    store: Store, table: str, metadata: Mapping[bytes, bytes], column: str, values: Iterable[str]
) -> Iterator[tuple[TableRef, set[str]]]:
    """Find the tables with a schema's metadata that hold some of the values, each value once.

    A table that disappears or turns out to be damaged meanwhile counts as holding nothing.
    """
    missing = set(values)
    if not missing:
        return
    field = pc.field(column)
    where = (field >= min(missing)) & (field <= max(missing))  # skips the tables of other shards
    ((key, mark),) = metadata.items()
    for ref in store.find_by_footer(table, key, mark):
        try:
            stored = store.read(ref, [column], where)[column]
        except (OSError, InputError):
            continue
        if held := missing.intersection(stored.unique().to_pylist()):
            yield ref, held
            missing -= held


def merge_rows(
    store: Store, reusable: Mapping[TableRef, Set[str]], views: int, new: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Merge the `crops` rows of reusable and newly embedded images: an image a batch, by digest.

    views: rows per image. new: ordered by digest, as every table of crops is. Memory holds one
    image of each table.
    """
    stored = [_read_images(store, ref, digests, views) for ref, digests in reusable.items()]
    merged = heapq.merge(*stored, ((_digest(rows), rows) for rows in new), key=itemgetter(0))
    return (rows for _, rows in merged)


def _read_images(
    store: Store, ref: TableRef, digests: Set[str], views: int
) -> Iterator[tuple[str, pa.RecordBatch]]:
    for rows in store.read_blocks(ref, schema("crops", 1).names, views):
        if (digest := _digest(rows)) in digests:
            yield digest, rows


def _digest(rows: pa.RecordBatch) -> str:
    return str(rows["image_digest"][0].as_py())
