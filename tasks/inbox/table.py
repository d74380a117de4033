"""The `inbox` tables, one per batch: the images of an inbox with their best classes."""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tasks.runtime.clock import now
from tasks.runtime.errors import InputError
from tasks.store.place import modification_time
from tasks.store.snapshot import snapshot_path
from tasks.store.tables import Store


class RecordedImages(NamedTuple):
    """Every recorded image of an inbox: digests, and files as (name, size, modified)."""

    digests: frozenset[str]
    files: frozenset[tuple[str, int, int]]


def read_recorded_images(store: Store, inbox_name: str) -> RecordedImages:
    """Read from the `inbox` tables which images are recorded; InputError where one is damaged."""
    columns = ["image_digest", "image_name", "size_bytes", "modified_ns"]
    of_inbox = pc.field("inbox_name") == inbox_name
    files = store.list_files("inbox")
    for file in files:
        if reason := store.inspect_file(file.place):
            raise InputError(
                f"{file.place} {reason}: `wca store repair` removes it, and the next run on its "
                "inbox classifies its images again."
            )
    tables = [store.read(file.place, columns, of_inbox) for file in files]
    rows = [row for table in tables for row in table.to_pylist()]
    return RecordedImages(
        digests=frozenset(row["image_digest"] for row in rows),
        files=frozenset((r["image_name"], r["size_bytes"], r["modified_ns"]) for r in rows),
    )


def read_latest_rows(store: Store, inbox_name: str, most: int) -> list[dict[str, object]]:
    """Read the last rows of an inbox, at most `most`, newest batch first."""
    rows: list[dict[str, object]] = []
    of_inbox = pc.field("inbox_name") == inbox_name
    for file in sorted(store.list_files("inbox"), key=lambda file: file.modified, reverse=True):
        rows += store.read(file.place, where=of_inbox).to_pylist()
        if len(rows) >= most:
            break
    return rows[:most]


def is_snapshot_behind(store: Store) -> bool:
    """Whether an `inbox` table is newer than the snapshot, as after a run was killed."""
    try:
        published_at = modification_time(snapshot_path(store))
    except FileNotFoundError:
        published_at = 0.0
    # also where they are equal: the clock of a bucket counts whole seconds
    return any(file.modified >= published_at for file in store.list_files("inbox"))


def build_inbox_rows(
    images: pa.Table,
    classes: pa.Table,
    predictions: pa.Table,
    rejected: pa.Table,
    files: Mapping[str, dict[str, object]],
    shared: Mapping[str, object],
) -> list[dict[str, object]]:
    """One row per image of `files` that was scored or rejected, with its best classes first.

    files: digest to the columns that describe the file. shared: columns with one value for all
    rows, `method` among them. An image whose bytes have changed since the scan gets no row.
    """
    class_names = dict(zip(*(classes[c].to_pylist() for c in classes.column_names), strict=True))
    chosen = predictions.filter(
        (pc.field("method") == shared["method"]) & (pc.field("run_index") == 0)
    ).sort_by([("image_digest", "ascending"), ("rank", "ascending")])
    best: dict[str, list[tuple[str, float]]] = {}
    for row in chosen.to_pylist():
        best.setdefault(row["image_digest"], []).append(
            (class_names[row["class_id"]], row["score"])
        )
    columns = ("image_id", "reason")
    by_id = dict(zip(*(rejected[column].to_pylist() for column in columns), strict=True))
    reasons = {
        row["image_digest"]: by_id[row["image_id"]]
        for row in images.to_pylist()
        if row["image_id"] in by_id
    }
    classified_at = now()
    return [
        {
            **shared,
            **file,
            "image_digest": digest,
            "classified_at": classified_at,
            "class_name": best[digest][0][0] if digest in best else None,
            "score": best[digest][0][1] if digest in best else None,
            "class_names": [name for name, _ in best.get(digest, [])],
            "scores": [score for _, score in best.get(digest, [])],
            "reason": reasons.get(digest),
        }
        for digest, file in files.items()
        if digest in best or digest in reasons
    ]
