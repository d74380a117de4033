"""The `inbox` tables, one per batch: the images of an inbox with their best classes."""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tasks.datasets.class_names import UNKNOWN
from tasks.runtime.clock import now
from tasks.runtime.errors import InputError
from tasks.store.batches import group_by_size
from tasks.store.digest import digest_of
from tasks.store.place import File, modification_time
from tasks.store.published.snapshot import snapshot_path
from tasks.store.schemas import schema
from tasks.store.tables import Store

TABLES_MERGED = 8


class RecordedImages(NamedTuple):
    """Every recorded image of an inbox: digests, and files as (name, size, modified)."""

    digests: frozenset[str]
    files: frozenset[tuple[str, int, int]]


def read_recorded_images(store: Store, inbox_name: str) -> RecordedImages:
    """Read from the `inbox` tables which images are recorded; InputError where one is damaged."""
    columns = ["image_digest", "image_name", "size_bytes", "modified_ns"]
    tables = [_read_rows(store, file, inbox_name, columns) for file in store.list_files("inbox")]
    rows = pa.concat_tables([schema("inbox").empty_table().select(columns), *tables])
    digests, *files = (column.to_pylist() for column in rows.columns)
    return RecordedImages(frozenset(digests), frozenset(zip(*files, strict=True)))


def read_latest_rows(store: Store, inbox_name: str, most: int) -> list[dict[str, object]]:
    """Read the last rows of an inbox, at most `most`, newest first."""
    files = store.list_files("inbox")
    times = [_read_rows(store, file, inbox_name, ["classified_at"]) for file in files]
    newest = [pc.max(table["classified_at"]).as_py() or "" for table in times]
    rows: list[dict[str, object]] = []
    for _, i in sorted(zip(newest, range(len(files)), strict=True), reverse=True):
        table = _read_rows(store, files[i], inbox_name).sort_by([("classified_at", "descending")])
        rows += table.slice(0, most - len(rows)).to_pylist()
        if len(rows) >= most:
            break
    return rows


def compact_tables(store: Store, inbox_name: str) -> None:
    """Make one table of every `TABLES_MERGED` of an inbox that have about as many rows.

    So a thousand batches are a dozen tables, and a row is copied once for each power of
    `TABLES_MERGED`. The new table is there before the old ones are removed. After a kill in between
    both hold the same images, of which readers take each once, as does the next table.
    """

    def count_rows(file: File) -> int:
        return len(_read_rows(store, file, inbox_name, ["image_digest"]))

    files = store.list_files("inbox")
    sizes = zip(store.map(count_rows, files), files, strict=True)
    groups = group_by_size((sized for sized in sizes if sized[0]), TABLES_MERGED)
    for files in groups:
        parts = [_read_rows(store, file, inbox_name) for file in files]
        columns = schema("inbox")
        rows = pa.concat_tables([columns.empty_table(), *parts], promote_options="default")
        rows = rows.sort_by([("classified_at", "ascending"), ("run_id", "ascending")])
        digests = rows["image_digest"].to_pylist()
        first = dict(zip(reversed(digests), reversed(range(len(digests))), strict=True))
        digest = digest_of(["inbox", inbox_name, sorted(file.place.name for file in files)])
        store.write("inbox", digest, columns, rows.take(sorted(first.values())).to_batches())
        for file in files:
            file.place.unlink(missing_ok=True)


def _read_rows(
    store: Store, file: File, inbox_name: str, columns: list[str] | None = None
) -> pa.Table:
    """Read the rows of an inbox in a table; InputError where it is damaged."""
    try:
        rows = store.read(file.place, columns and [*columns, "inbox_name"])
    except FileNotFoundError:  # another inbox's run has compacted it
        rows = schema("inbox").empty_table()
    except (InputError, pa.ArrowException) as error:
        raise InputError(
            f"{file.place} {store.inspect_file(file.place) or 'cannot be read'}: "
            "`wca store repair` removes it, and the next run on its inbox classifies its images "
            "again."
        ) from error
    rows = rows.filter(pc.field("inbox_name") == inbox_name)
    return rows.select(columns) if columns else rows


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
    threshold: float | None = None,
) -> list[dict[str, object]]:
    """One row per image of `files` that was scored or rejected, with its best classes first.

    files: digest to the columns that describe the file. shared: columns with one value for all
    rows, `method` among them. threshold: of the score; below it the prediction is `unknown`. An
    image whose bytes have changed since the scan gets no row.
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
            **_predict(best.get(digest), threshold),
            "class_names": [name for name, _ in best.get(digest, [])],
            "scores": [score for _, score in best.get(digest, [])],
            "reason": reasons.get(digest),
        }
        for digest, file in files.items()
        if digest in best or digest in reasons
    ]


def _predict(
    best: list[tuple[str, float]] | None, threshold: float | None
) -> dict[str, str | float | None]:
    """The columns of an image's best class; null where it was rejected."""
    if best is None:
        return dict.fromkeys(("prediction", "class_name", "score"))
    name, score = best[0]
    is_unknown = threshold is not None and score < threshold
    return {"prediction": UNKNOWN if is_unknown else name, "class_name": name, "score": score}
