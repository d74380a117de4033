"""The Prefect tasks that find new images in a folder and record what became of them."""

from pathlib import Path

from tasks.inbox.arrivals import Arrivals, NewImage, Stamp, find_new_images
from tasks.inbox.history import done_images
from tasks.inbox.rows import inbox_rows
from tasks.store.schemas import schema
from tasks.store.tables import Recipe, Store, TableRef
from tasks.table_task import HOUR, MINUTE, pipeline_task, table_task


class InboxBatchRecipe(Recipe):
    """What decides a batch's `inbox` table, but for the time."""

    inbox_name: str
    run_id: str
    method: str
    files: tuple[NewImage, ...]
    images: TableRef
    classes: TableRef
    predictions: tuple[TableRef, ...]
    rejected: TableRef


# Not cached: another look finds other files, and only new ones are read.
@pipeline_task("find-arrivals", 2 * HOUR, run_name="look into {folder}")
def find_arrivals(store_root: str, inbox_name: str, folder: str, settle_sec: float) -> Arrivals:
    """Find the images of an inbox that no `inbox` table has yet."""
    done = done_images(Store(store_root), inbox_name)
    known = {Stamp(name=n, size_bytes=size, modified_ns=ns) for n, size, ns in done.files}
    return find_new_images(Path(folder), known, done.digests, settle_sec)


@table_task("record-batch", 10 * MINUTE)  # a few thousand rows
def record_batch(store_root: str, recipe: InboxBatchRecipe) -> TableRef:
    """Write a batch's `inbox` table: from then on its images are done."""
    store = Store(store_root)
    rows = inbox_rows(
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
    )
    return store.write_rows("inbox", recipe.digest, schema("inbox"), rows)
