"""Images whose views some table holds already: their rows are copied, not computed again."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Set
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc

from tasks.store.errors import InputError
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

# Under this key the footer of a table of crops says how they were made, whatever the images.
EMBEDDING_KEY = b"wca.embedding"


def crops_schema(dimension: int, precision: str, mark: str) -> pa.Schema:
    """The schema of a table of crops, with the mark of how they were made in its metadata."""
    return schema("crops", dimension, precision).with_metadata({EMBEDDING_KEY: mark.encode()})


def known_images(store: Store, mark: str, digests: Iterable[str]) -> dict[TableRef, set[str]]:
    """Which tables of crops with this mark hold which of some images, each image once.

    One listing, and of each table the digests between the first and the last; a table that goes
    away or turns out to be damaged meanwhile holds nothing.
    """
    wanted = set(digests)
    known: dict[TableRef, set[str]] = {}
    if not wanted:
        return known
    digest = pc.field("image_digest")
    where = (digest >= min(wanted)) & (digest <= max(wanted))  # other shards' are not even read
    for ref in store.marked("crops", EMBEDDING_KEY, mark.encode()):
        try:
            column = store.read(ref, ["image_digest"], where)["image_digest"]
        except (OSError, InputError):
            continue
        if found := wanted.intersection(column.unique().to_pylist()):
            known[ref] = found
            wanted -= found
    return known


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
    for rows in store.blocks(ref, schema("crops", 1).names, views):
        if (digest := _digest(rows)) in chosen:
            yield digest, rows


def _digest(rows: pa.RecordBatch) -> str:
    return str(rows["image_digest"][0].as_py())
