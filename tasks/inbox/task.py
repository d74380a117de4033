"""The Prefect tasks that find new images in a folder and record their classes."""

from pathlib import Path

from pydantic import Field

from tasks.inbox.folder import FolderScan, NewImage, scan_folder
from tasks.inbox.table import build_inbox_rows, compact_tables, read_recorded_images
from tasks.store.schemas import schema
from tasks.store.tables import Recipe, Store, TableRef
from tasks.table_task import HOUR, MINUTE, pipeline_task, table_task


class InboxBatchRecipe(Recipe):
    """Everything that decides the `inbox` table of a batch, except the time."""

    inbox_name: str
    run_id: str
    method: str
    files: tuple[NewImage, ...]
    images: TableRef
    classes: TableRef
    predictions: tuple[TableRef, ...]
    rejected: TableRef
    threshold: float | None = Field(None, exclude_if=lambda threshold: threshold is None)


# Not cached: another scan finds other files, and only new ones are read.
@pipeline_task("find-arrivals", 2 * HOUR, run_name="look into {folder}")
def find_arrivals(
    store_root: str, inbox_name: str, folder: str, settle_sec: float, max_file_mb: int
) -> FolderScan:
    """Find the images of an inbox that no `inbox` table has yet, having compacted its tables."""
    store = Store(store_root)
    compact_tables(store, inbox_name)
    recorded = read_recorded_images(store, inbox_name)
    return scan_folder(Path(folder), recorded.files, recorded.digests, settle_sec, max_file_mb)


@table_task("record-batch", 10 * MINUTE, "inbox")  # a few thousand rows
def record_batch(store_root: str, recipe: InboxBatchRecipe) -> TableRef:
    """Write the `inbox` table of a batch, which records its images."""
    store = Store(store_root)
    rows = build_inbox_rows(
        store.read(recipe.images),
        store.read(recipe.classes),
        store.read_all(recipe.predictions),
        store.read(recipe.rejected),
        {
            image.digest: {
                "image_name": image.stamp.name,
                "size_bytes": image.stamp.size_bytes,
                "modified_ns": image.stamp.modified_ns,
            }
            for image in recipe.files
        },
        {"inbox_name": recipe.inbox_name, "run_id": recipe.run_id, "method": recipe.method},
        recipe.threshold,
    )
    return store.write_rows("inbox", recipe.digest, schema("inbox"), rows)
