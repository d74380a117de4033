"""The benchmark flow: from a labelled data set to accuracy tables."""

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.config import BenchmarkConfig
from flows.run import RunSummary, run_stages
from tasks.datasets.sources import open_dataset
from tasks.report.task import publish_accuracy
from tasks.score.methods import method_titles


@flow(
    name="benchmark",
    flow_run_name="{config.data} with {config.encoder}, seed {config.seed}",
    # inside a task torch uses every core; two tasks at once would only get in each other's way
    task_runner=ThreadPoolTaskRunner(max_workers=1),
)
def benchmark(config: BenchmarkConfig) -> RunSummary:
    """Describe, embed, score and report a labelled data set."""
    dataset = open_dataset(config.data, config.classnames)
    summary = run_stages("benchmark", config, dataset)
    publish_accuracy(
        summary.store_root, summary.refs("accuracy")[0], summary.dataset_name, method_titles()
    )
    return summary
