"""Reuse rows that a stored table holds: they are copied, not computed again."""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, groupby
from operator import itemgetter
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tasks.runtime.errors import InputError
from tasks.store.batches import group_by_image, join_batches
from tasks.store.footer import read_footer
from tasks.store.tables import CODE_KEY, Store, TableRef

# Under this key the footer says how embeddings were made, whatever the images or texts.
EMBEDDING_KEY = b"wca.embedding"
# What the other columns of `crops` are computed from.
HELD_COLUMNS = ("image_digest", "crop_index", "image_width_px", "image_height_px", "embedding")
ROWS_AT_ONCE = 1024


def add_footer_keys(columns: pa.Schema, mark: str, codes: Set[str]) -> pa.Schema:
    """Add to a schema what its table's footer will say: how rows were made, and by which code."""
    keys = {EMBEDDING_KEY: mark.encode(), CODE_KEY: ",".join(sorted(codes)).encode()}
    return columns.with_metadata(keys)


def list_held_tables(
    store: Store, keys: Iterable[Mapping[bytes, bytes]], shards: Sequence[Sequence[str]]
) -> list[list[TableRef]]:
    """List for each shard the tables of `crops` that may hold views of its images.

    keys: of the footers of those tables, of today and of earlier versions. shards: the digests of
    their images, sorted. The store is listed once for all shards.
    """
    held: list[list[TableRef]] = [[] for _ in shards]
    firsts, lasts = [shard[0] for shard in shards], [shard[-1] for shard in shards]
    for ref in chain.from_iterable(store.find_by_footer("crops", known) for known in keys):
        first, last = _read_bounds(store, ref)
        for place in range(bisect_left(lasts, first), bisect_right(firsts, last)):
            held[place].append(ref)
    return held


def _read_bounds(store: Store, ref: TableRef) -> tuple[str, str]:
    """The smallest and the largest digest of a table's images, as its footer says."""
    try:
        meta = read_footer(store.path(ref)).meta
    except (OSError, pa.ArrowInvalid):  # gone since it was listed
        return "z", ""
    groups = [meta.row_group(place) for place in range(meta.num_row_groups)]
    columns = (group.column(place) for group in groups for place in range(meta.num_columns))
    found = [column.statistics for column in columns if column.path_in_schema == "image_digest"]
    if not all(statistics and statistics.has_min_max for statistics in found):
        return "", "z"  # any: digests are hexadecimal
    return min((s.min for s in found), default="z"), max((s.max for s in found), default="")


def read_tables_with(
    store: Store, refs: Iterable[TableRef], columns: list[str], values: Set[str]
) -> Iterator[tuple[TableRef, pa.Table]]:
    """Read some columns of the tables, largest first, that hold any of `values` in the first one.

    Only the rows with those values are read. A table that disappears or turns out to be damaged
    meanwhile counts as holding nothing.
    """
    if not values:
        return
    field = pc.field(columns[0])
    where = (field >= min(values)) & (field <= max(values))  # skips the tables of other shards
    for ref in sorted(refs, key=lambda ref: -ref.row_count):
        try:
            rows = store.read(ref, columns, where)
        except (OSError, InputError):
            continue
        if (rows := rows.filter(field.isin(list(values)))).num_rows:
            yield ref, rows


class HeldViews(NamedTuple):
    """The tables of `crops` that hold views of some images.

    images: the digests of the images of each table. complete: digests of the images of which all
    views are there.
    """

    images: dict[TableRef, set[str]]
    complete: set[str]


def find_held_views(
    store: Store, tables: Iterable[TableRef], digests: Iterable[str], views: int
) -> HeldViews:
    """Find which of some tables hold views of the images, each view once.

    views: of an image that is complete; those of larger pools are left out.
    """
    held: dict[str, set[int]] = {digest: set() for digest in digests}
    found = HeldViews({}, set())
    incomplete = set(held)
    columns = ["image_digest", "crop_index"]
    for ref, rows in read_tables_with(store, tables, columns, incomplete):
        listed = rows.group_by("image_digest").aggregate([("crop_index", "list")])
        for digest, listed_indices in zip(*listed.to_pydict().values(), strict=True):
            indices = [index for index in listed_indices if index < views]
            if digest in incomplete and not held[digest].issuperset(indices):
                found.images.setdefault(ref, set()).add(digest)
                held[digest].update(indices)
                if len(held[digest]) == views:
                    incomplete.discard(digest)
        if not incomplete:
            break
    found.complete.update(held.keys() - incomplete)
    return found


def read_held_views(store: Store, held: HeldViews) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Read HELD_COLUMNS of held views: an image at a time, in the order of digests.

    Where several tables hold views of an image, a view may come twice. A table is opened when its
    first image comes, so memory holds little of tables whose images follow one another.
    """

    def read(ref: TableRef, digests: set[str]) -> Iterator[tuple[str, pa.RecordBatch | None]]:
        yield min(digests), None  # compared before the table is opened
        yield from _read_images(store, ref, digests)

    tables = [read(ref, digests) for ref, digests in held.images.items()]
    merged = heapq.merge(*tables, key=itemgetter(0))
    for digest, images in groupby(merged, key=itemgetter(0)):
        yield digest, join_batches([rows for _, rows in images if rows is not None])


def _read_images(
    store: Store, ref: TableRef, digests: Set[str]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Read the rows of some images of a table, whose rows are in the order of digests."""
    blocks = store.read_blocks(ref, list(HELD_COLUMNS), ROWS_AT_ONCE)
    return (image for image in group_by_image(blocks) if image[0] in digests)
