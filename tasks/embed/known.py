"""What some table holds already: its rows are copied, not computed again."""

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


def crops_schema(dimension: int, precision: str, mark: str) -> pa.Schema:
    """The schema of a table of crops, with the mark of how they were made in its metadata."""
    return schema("crops", dimension, precision).with_metadata({EMBEDDING_KEY: mark.encode()})


def holders(
    store: Store, table: str, key: bytes, mark: bytes, column: str, values: Iterable[str]
) -> Iterator[tuple[TableRef, set[str]]]:
    """Tables of a kind with this mark, and which of some values of a column each holds, each once.

    One listing, and of each table the values between the first and the last; a table that goes
    away or turns out to be damaged meanwhile holds nothing.
    """
    wanted = set(values)
    if not wanted:
        return
    field = pc.field(column)
    where = (field >= min(wanted)) & (field <= max(wanted))  # other shards' are not even read
    for ref in store.find_by_footer(table, key, mark):
        try:
            held = store.read(ref, [column], where)[column]
        except (OSError, InputError):
            continue
        if found := wanted.intersection(held.unique().to_pylist()):
            yield ref, found
            wanted -= found


def known_images(store: Store, mark: str, digests: Iterable[str]) -> dict[TableRef, set[str]]:
    """Which tables of crops with this mark hold which of some images, each image once."""
    return dict(holders(store, "crops", EMBEDDING_KEY, mark.encode(), "image_digest", digests))


def with_known(
    store: Store, known: Mapping[TableRef, Set[str]], views: int, fresh: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The `crops` rows of known and of freshly embedded images, an image a batch, by digest.

    views: rows an image. fresh: ordered by digest, as every table of crops is. One image of each
    table waits at a time.
    """
    sources = [_of_images(store, ref, chosen, views) for ref, chosen in known.items()]
    named = heapq.merge(*sources, ((_digest(rows), rows) for rows in fresh), key=itemgetter(0))
    return (rows for _, rows in named)


def _of_images(
    store: Store, ref: TableRef, chosen: Set[str], views: int
) -> Iterator[tuple[str, pa.RecordBatch]]:
    for rows in store.read_blocks(ref, schema("crops", 1).names, views):
        if (digest := _digest(rows)) in chosen:
            yield digest, rows


def _digest(rows: pa.RecordBatch) -> str:
    return str(rows["image_digest"][0].as_py())
