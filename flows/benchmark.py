"""The benchmark flow: from a labelled data set to accuracy tables."""

from prefect import flow

from flows.config import BenchmarkConfig
from flows.run import RunSummary, run_stages
from flows.runner import ONE_AT_A_TIME
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.report.task import publish_accuracy
from tasks.score.methods import method_titles


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
    publish_accuracy(
        summary.store_root, summary.refs("accuracy")[0], summary.dataset_name, method_titles()
    )
    return summary
