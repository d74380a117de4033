"""The `inbox` tables, one per batch: which images of an inbox are done, and what they are."""

from typing import NamedTuple

import pyarrow.compute as pc

from tasks.store.place import modified
from tasks.store.snapshot import snapshot_path
from tasks.store.tables import Store


class Done(NamedTuple):
    """Every image of an inbox that is done: digests, and files as (name, size, modified)."""

    digests: frozenset[str]
    files: frozenset[tuple[str, int, int]]


def done_images(store: Store, inbox_name: str) -> Done:
    """What the store's own tables say is done; a table that is there is there whole.

    Raises InputError where one is damaged.
    """
    columns = ["image_digest", "image_name", "size_bytes", "modified_ns"]
    mine = pc.field("inbox_name") == inbox_name
    tables = [store.read(file.place, columns, mine) for file in store.finished("inbox")]
    rows = [row for table in tables for row in table.to_pylist()]
    return Done(
        digests=frozenset(row["image_digest"] for row in rows),
        files=frozenset((r["image_name"], r["size_bytes"], r["modified_ns"]) for r in rows),
    )


def latest_rows(store: Store, inbox_name: str, most: int) -> list[dict[str, object]]:
    """The rows of an inbox that came last, newest first."""
    rows: list[dict[str, object]] = []
    mine = pc.field("inbox_name") == inbox_name
    for file in sorted(store.finished("inbox"), key=lambda file: file.modified, reverse=True):
        rows += store.read(file.place, where=mine).to_pylist()
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
    return any(file.modified >= made for file in store.finished("inbox"))
