"""The `inbox` tables, one per batch: which images of an inbox are done, and what they are."""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.store.place import File, files, modified
from tasks.store.snapshot import snapshot_path
from tasks.store.tables import Store


class Done(NamedTuple):
    """Every image of an inbox that is done: digests, and files as (name, size, modified)."""

    digests: frozenset[str]
    files: frozenset[tuple[str, int, int]]


def done_images(store: Store, inbox_name: str) -> Done:
    """What the store's own tables say is done; a table that is there is there whole."""
    columns = ["inbox_name", "image_digest", "image_name", "size_bytes", "modified_ns"]
    tables = [_read(store, file, columns).to_pylist() for file in _batches(store)]
    rows = [row for table in tables for row in table if row["inbox_name"] == inbox_name]
    return Done(
        digests=frozenset(row["image_digest"] for row in rows),
        files=frozenset((r["image_name"], r["size_bytes"], r["modified_ns"]) for r in rows),
    )


def latest_rows(store: Store, inbox_name: str, most: int) -> list[dict[str, object]]:
    """The rows of an inbox that came last, newest first."""
    rows: list[dict[str, object]] = []
    for file in sorted(_batches(store), key=lambda file: file.modified, reverse=True):
        rows += [row for row in _read(store, file).to_pylist() if row["inbox_name"] == inbox_name]
        if len(rows) >= most:
            break
    return rows[:most]


def is_snapshot_behind(store: Store) -> bool:
    """Whether an `inbox` table is newer than the snapshot: a run was killed between the two."""
    try:
        made = modified(snapshot_path(store))
    except FileNotFoundError:
        made = 0.0
    # not only later: a bucket's clock shows whole seconds
    return any(file.modified >= made for file in _batches(store))


def _batches(store: Store) -> list[File]:
    return files(store.root, "inbox/[!.]*.parquet")


def _read(store: Store, file: File, columns: list[str] | None = None) -> pa.Table:
    return pq.read_table(
        str(file.place), columns=columns, partitioning=None, filesystem=store.filesystem
    )
