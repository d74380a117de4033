"""The classify-inbox flow: the new pictures in a folder, each classified exactly once.

An image is its bytes, and what is done is what the store's `inbox` tables say. A batch becomes one
such table, put in place in one step as the last thing: whenever a run is killed, an image is in a
table or is new to the next run, never both and never neither. Small tables become one as they
age, so that a run costs what its new images cost. The same bytes under two names are one image and
one row, under the name that was seen first.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from prefect.logging import get_run_logger
from pydantic import BaseModel, ConfigDict

from flows.classify import with_best_method
from flows.pipeline.artifacts import publish_inbox
from flows.pipeline.events import emit_rejected
from flows.pipeline.run import one_encoder, run_stages
from flows.pipeline.runner import pipeline_flow
from flows.settings.inbox import InboxConfig
from tasks.datasets.settings import FileSource
from tasks.datasets.sources import open_source
from tasks.inbox.folder import NewImage
from tasks.inbox.table import is_snapshot_behind
from tasks.inbox.task import InboxBatchRecipe, find_arrivals, record_batch
from tasks.runtime.text import count_of
from tasks.store.digest import digest_of, even_chunks
from tasks.store.leases import hold_lock
from tasks.store.published.publish import publish
from tasks.store.retention import prevent_pruning
from tasks.store.tables import Store, TableRef
from tasks.table_task import Shards


class InboxSummary(BaseModel):
    """What became of an inbox in one run."""

    model_config = ConfigDict(frozen=True)

    inbox_name: str
    batches: tuple[TableRef, ...]
    waiting_count: int
    unreadable_count: int
    unreadable: tuple[str, ...]
    store_root: str


@pipeline_flow(
    "classify-inbox", run_name="{config.folder} with {config.encoder}, seed {config.seed}"
)
def classify_inbox(config: InboxConfig) -> InboxSummary:
    """Classify the new images in a folder and append them to the inbox table."""
    folder = config.folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    name = config.inbox_name or str(folder)
    store = Store(config.store)
    with prevent_pruning(store), _alone(store, name):
        arrivals = find_arrivals(
            str(store.root), name, str(folder), config.settle_sec, config.max_file_mb
        )
        for unreadable in arrivals.unreadable:
            get_run_logger().warning("%s cannot be read: it is looked at again.", unreadable)
        with one_encoder():
            batches = tuple(
                _classify(config, store, name, folder, batch)
                for batch in even_chunks(arrivals.new, config.shard_size)
            )
        if is_snapshot_behind(store):
            publish(store)
        summary = InboxSummary(
            inbox_name=name,
            batches=batches,
            waiting_count=arrivals.waiting_count,
            unreadable_count=arrivals.unreadable_count,
            unreadable=arrivals.unreadable,
            store_root=str(store.root),
        )
        counts = arrivals.waiting_count, arrivals.unreadable_count
        emit_rejected(store, name, list(batches))
        publish_inbox(store, name, sum(batch.row_count for batch in batches), *counts)
    return summary


def _classify(
    config: InboxConfig, store: Store, name: str, folder: Path, batch: Sequence[NewImage]
) -> TableRef:
    """Run the stages over a batch, then record it."""
    paths = tuple(folder / image.stamp.name for image in batch)
    source = FileSource(images=paths, classes=config.classes)
    settings = with_best_method(config)
    summary = run_stages("classify-inbox", settings, open_source(source))
    recipe = InboxBatchRecipe(
        inbox_name=name,
        run_id=summary.run_id,
        method=settings.methods[0],
        files=tuple(batch),
        images=summary.refs("images")[0],
        classes=summary.refs("classes")[0],
        predictions=tuple(summary.refs("predictions")),
        rejected=summary.refs("rejected")[0],
        threshold=settings.threshold,
    )
    name = f"record {count_of(len(batch), 'image')}"
    record = record_batch.with_options(task_run_name=name)
    ((recorded,),) = record(str(store.root), Shards([recipe]))
    return recorded


def _alone(store: Store, inbox_name: str) -> AbstractContextManager[None]:
    """One run at a time is at an inbox."""
    place = store.root / "inbox" / f".{digest_of(inbox_name)[:32]}.lock"
    otherwise = "Another run is at this inbox: it finds what is new, too."
    return hold_lock(place, 0, otherwise)
