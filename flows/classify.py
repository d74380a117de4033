"""The classify flow: the same stages for pictures without labels."""

from prefect import flow

from flows.config import ClassifyConfig
from flows.run import RunSummary, run_stages
from flows.runner import ONE_AT_A_TIME
from tasks.datasets.sources import open_files


@flow(
    name="classify",
    flow_run_name="{config.encoder}, seed {config.seed}",
    task_runner=ONE_AT_A_TIME,
    result_serializer="json",
)
def classify(config: ClassifyConfig) -> RunSummary:
    """Find the best classes of some pictures."""
    dataset = open_files(list(config.images), list(config.classes))
    return run_stages("classify", config, dataset)
