"""The Prefect tasks that read a data set's images and look for new ones."""

from prefect.logging import get_run_logger

from tasks.datasets.index import IndexedDataset, index_dataset
from tasks.datasets.settings import DataSource, FileSource
from tasks.datasets.sources import open_source
from tasks.store.tables import Store
from tasks.table_task import HOUR, pipeline_task


# Not cached: reading every file's digest is how a change is noticed. A terabyte over a slow network
# takes hours; a mount that hangs ends with the timeout.
@pipeline_task("index-images", 12 * HOUR, run_name="index images")
def index_images(store_root: str, source: DataSource | FileSource) -> IndexedDataset:
    """Write the `images` and `classes` tables of a data set, which is opened here once more."""
    dataset = open_source(source)
    for remark in dataset.remarks:
        get_run_logger().warning("%s", remark)
    return index_dataset(Store(store_root), dataset)
