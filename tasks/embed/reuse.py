"""Reuse rows that a stored table holds: they are copied, not computed again."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Set
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc

from tasks.runtime.errors import InputError
from tasks.store.schemas import schema
from tasks.store.tables import CODE_KEY, Store, TableRef

# Under this key the footer says how embeddings were made, whatever the images or texts.
EMBEDDING_KEY = b"wca.embedding"


def add_footer_keys(columns: pa.Schema, mark: str, codes: Set[str]) -> pa.Schema:
    """Add to a schema what its table's footer will say: how rows were made, and by which code."""
    keys = {EMBEDDING_KEY: mark.encode(), CODE_KEY: ",".join(sorted(codes)).encode()}
    return columns.with_metadata(keys)


def find_tables_with(
    store: Store, table: str, keys: Mapping[bytes, bytes], column: str, values: Iterable[str]
) -> Iterator[tuple[TableRef, set[str]]]:
    """Find the tables with these keys in their footers that hold some of the values, each once.

    A table that disappears or turns out to be damaged meanwhile counts as holding nothing.
    """
    missing = set(values)
    if not missing:
        return
    field = pc.field(column)
    where = (field >= min(missing)) & (field <= max(missing))  # skips the tables of other shards
    for ref in store.find_by_footer(table, keys):
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
    for rows in store.read_blocks(ref, [*schema("crops", 1).names, "side_px"], views):
        if (digest := _digest(rows)) in digests:
            yield digest, _name_columns(rows)


def _name_columns(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Give rows the columns of today; tables of earlier versions have the side of squares."""
    if "side_px" not in rows.schema.names:
        return rows
    side = rows["side_px"]
    is_flipped = pc.if_else(pc.is_null(side), pa.scalar(None, pa.bool_()), False)
    named = {"width_px": side, "height_px": side, "is_flipped": is_flipped}
    names = schema("crops", 1).names
    columns = [named[name] if name in named else rows[name] for name in names]
    return pa.RecordBatch.from_arrays(columns, names)


def _digest(rows: pa.RecordBatch) -> str:
    return str(rows["image_digest"][0].as_py())
