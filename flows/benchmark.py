"""The benchmark flow: from a labelled data set to accuracy tables."""

from flows.pipeline.artifacts import publish_run
from flows.pipeline.command import build_command
from flows.pipeline.events import emit_regression
from flows.pipeline.insights import EXPLAINED
from flows.pipeline.run import run_stages
from flows.pipeline.runner import pipeline_flow
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.report.task import write_report
from tasks.store.retention import prevent_pruning
from tasks.store.tables import Store


@pipeline_flow("benchmark", run_name="{config.data} with {config.encoder}, seed {config.seed}")
def benchmark(config: BenchmarkConfig) -> RunSummary:
    """Describe, embed, score and report a labelled data set."""
    dataset = open_source(DataSource.model_validate(config.model_dump()))
    command = build_command("benchmark", [config.data], config, {"data", "store"})
    settings = config.with_preset(dataset.preset)
    with prevent_pruning(Store(config.store)):
        summary = run_stages(
            "benchmark", settings, dataset, command, EXPLAINED, config.text_effects
        )
        place = (summary.store_root, summary.run_id, summary.indexed)
        report = write_report(*place, has_all_images=True)
        summary = summary.model_copy(update={"report": report})
        publish_run(summary)
        emit_regression(summary)
    return summary
