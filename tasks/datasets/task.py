"""The Prefect tasks that read a data set's images and look for new ones."""

from prefect import task
from prefect.logging import get_run_logger

from tasks.datasets.index import IndexedDataset, index_dataset
from tasks.datasets.settings import DataSource, FileSource
from tasks.datasets.sources import open_source
from tasks.store.tables import Store
from tasks.table_task import HOUR, UNCACHED_TASK


@task(
    name="index-images",
    task_run_name="index images",
    **UNCACHED_TASK,  # reading every file's digest is how a change is noticed
    timeout_seconds=12 * HOUR,  # a terabyte over a slow network; a mount that hangs ends here
)
def index_images(store_root: str, source: DataSource | FileSource) -> IndexedDataset:
    """Write the `images` and `classes` tables of a data set, which is opened here once more."""
    dataset = open_source(source)
    for remark in dataset.remarks:
        get_run_logger().warning("%s", remark)
    return index_dataset(Store(store_root), dataset)
