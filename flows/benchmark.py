"""The benchmark flow: from a labelled data set to accuracy tables."""

from prefect import flow

from flows.command import command_line
from flows.config import BenchmarkConfig
from flows.insights import EXPLAINED
from flows.run import RunSummary, run_stages
from flows.runner import ONE_AT_A_TIME
from tasks.datasets.sources import open_dataset
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
    dataset = open_dataset(config.data, config.classnames)
    command = command_line("benchmark", [config.data], config, {"data", "store"})
    summary = run_stages("benchmark", config, dataset, command, EXPLAINED)
    titles = method_titles()
    publish_accuracy(summary.store_root, summary.refs("accuracy")[0], summary.dataset_name, titles)
    report = write_report(summary.store_root, summary.run_id, summary.indexed, titles)
    return summary.model_copy(update={"report": report})
