"""The Prefect tasks that read a data set's images and look for new ones."""

from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from tasks.datasets.inbox import Arrivals, Stamp, look_into
from tasks.datasets.index import IndexedDataset, index_dataset
from tasks.datasets.settings import DataSource, FileSource
from tasks.datasets.sources import open_source
from tasks.store.inbox import done_images
from tasks.store.tables import Store
from tasks.store.task import HOUR, worth_retrying


@task(
    name="index-images",
    task_run_name="index images",
    # never cached: reading every file's digest is how a change is noticed
    persist_result=False,
    result_serializer="json",  # of failures, which are written all the same
    retries=2,  # network file systems
    retry_delay_seconds=[1, 10],
    timeout_seconds=12 * HOUR,  # a terabyte over a slow network; a mount that hangs ends here
    retry_condition_fn=worth_retrying,
)
def index_images(store_root: str, source: DataSource | FileSource) -> IndexedDataset:
    """Write the `images` and `classes` tables of a data set, which is opened here once more."""
    dataset = open_source(source)
    for remark in dataset.remarks:
        get_run_logger().warning("%s", remark)
    return index_dataset(Store.at(store_root), dataset)


@task(
    name="find-arrivals",
    task_run_name="look into {folder}",
    persist_result=False,  # never cached: another look finds other files
    result_serializer="json",
    retries=2,  # network file systems
    retry_delay_seconds=[1, 10],
    retry_condition_fn=worth_retrying,
    timeout_seconds=2 * HOUR,  # only new files are read
)
def find_arrivals(store_root: str, inbox_name: str, folder: str, settle_sec: float) -> Arrivals:
    """Find the images of an inbox that no `inbox` table has yet."""
    done = done_images(Store.at(store_root), inbox_name)
    known = {Stamp(name=n, size_bytes=size, modified_ns=ns) for n, size, ns in done.files}
    return look_into(Path(folder), known, done.digests, settle_sec)
