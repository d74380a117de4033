"""The Prefect task that reads a data set's images."""

from prefect.logging import get_run_logger

from tasks.datasets.dataset import Dataset
from tasks.datasets.index import IndexedDataset, index_dataset
from tasks.runtime.progress import Progress
from tasks.store.tables import Store
from tasks.table_task import HOUR, pipeline_task, report_progress


# Not cached: looking at every file is how a change is noticed. A terabyte over a slow network takes
# hours; a mount that hangs ends with the timeout.
@pipeline_task("index-images", 12 * HOUR, run_name="index images")
def index_images(store_root: str, dataset: Dataset, max_file_mb: int) -> IndexedDataset:
    """Write the `images` and `classes` tables of a data set.

    dataset: the caller wraps it in Prefect's `quote`. Without that Prefect walks through all of its
    images, which takes seconds for each 100,000.
    """
    for remark in dataset.remarks:
        get_run_logger().warning("%s", remark)
    progress = Progress(done=0, total=len(dataset.images))
    with report_progress("index images", " images", progress) as count:
        return index_dataset(Store(store_root), dataset, max_file_mb, progress=count)
