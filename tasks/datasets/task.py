"""The Prefect task that reads a data set's images."""

from prefect import task

from tasks.datasets.index import IndexedDataset, index_dataset
from tasks.datasets.settings import DataSource, FileSource
from tasks.datasets.sources import open_source
from tasks.store.tables import Store
from tasks.store.task import HOUR, worth_retrying


@task(
    name="index-images",
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
    return index_dataset(Store.at(store_root), open_source(source))
