"""The benchmark flow: from a labelled data set to accuracy tables."""

from prefect import flow

from flows.command import command_line
from flows.config import BenchmarkConfig
from flows.insights import EXPLAINED
from flows.run import RunSummary, run_stages
from flows.runner import ONE_AT_A_TIME
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.report.task import publish_accuracy, write_report
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
    command = command_line("benchmark", [config.data], config, {"data", "store"})
    settings = config.with_preset(dataset.preset)
    summary = run_stages("benchmark", settings, source, dataset, command, EXPLAINED)
    titles = method_titles()
    publish_accuracy(summary.store_root, summary.refs("accuracy")[0], summary.dataset_name, titles)
    report = write_report(summary.store_root, summary.run_id, summary.indexed, titles)
    return summary.model_copy(update={"report": report})
