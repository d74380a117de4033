"""The `inbox` tables, one per batch: which images of an inbox are done, and what they are."""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.store.snapshot import snapshot_path
from tasks.store.tables import Store


class Done(NamedTuple):
    """Every image of an inbox that is done: digests, and files as (name, size, modified)."""

    digests: frozenset[str]
    files: frozenset[tuple[str, int, int]]


def done_images(store: Store, inbox_name: str) -> Done:
    """What the store's own tables say is done; a table that is there is there whole."""
    columns = ["inbox_name", "image_digest", "image_name", "size_bytes", "modified_ns"]
    tables = [
        pq.read_table(path, columns=columns, partitioning=None).to_pylist()
        for path in store.root.glob("inbox/[!.]*.parquet")
    ]
    rows = [row for table in tables for row in table if row["inbox_name"] == inbox_name]
    return Done(
        digests=frozenset(row["image_digest"] for row in rows),
        files=frozenset((r["image_name"], r["size_bytes"], r["modified_ns"]) for r in rows),
    )


def latest_rows(store: Store, inbox_name: str, most: int) -> list[dict[str, object]]:
    """The rows of an inbox that came last, newest first."""
    paths = sorted(
        store.root.glob("inbox/[!.]*.parquet"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    rows: list[dict[str, object]] = []
    for path in paths:
        table: pa.Table = pq.read_table(path, partitioning=None)
        rows += [row for row in table.to_pylist() if row["inbox_name"] == inbox_name]
        if len(rows) >= most:
            break
    return rows[:most]


def is_snapshot_behind(store: Store) -> bool:
    """Whether an `inbox` table is newer than the snapshot: a run was killed between the two."""
    snapshot = snapshot_path(store)
    made = snapshot.stat().st_mtime if snapshot.is_file() else 0.0
    return any(p.stat().st_mtime > made for p in store.root.glob("inbox/[!.]*.parquet"))
