"""The benchmark flow: from a labelled data set to accuracy tables."""

from prefect import flow

from flows.artifacts import publish_run
from flows.config import BenchmarkConfig
from flows.run import RunSummary, run_stages
from flows.runner import ONE_AT_A_TIME
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source


@flow(
    name="benchmark",
    flow_run_name="{config.data} with {config.encoder}, seed {config.seed}",
    task_runner=ONE_AT_A_TIME,
    result_serializer="json",  # of failures too: by default they are written as pickles
)
def benchmark(config: BenchmarkConfig) -> RunSummary:
    """Describe, embed, score and report a labelled data set."""
    source = DataSource.model_validate(config.model_dump())
    dataset = open_source(source)
    summary = run_stages("benchmark", config.with_preset(dataset.preset), source, dataset)
    publish_run(summary)
    return summary
