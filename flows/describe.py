"""The describe flow: from class names to descriptions written by a language model."""

from prefect.runtime import flow_run

from flows.pipeline.check import DescribedClasses, open_classes
from flows.pipeline.command import build_command
from flows.pipeline.descriptions import write_descriptions, writing_parameters
from flows.pipeline.record import record
from flows.pipeline.runner import StageRunner, pipeline_flow
from flows.pipeline.summary import FlowSummary
from flows.settings.describe import DescribeConfig
from tasks.datasets.index import write_classes
from tasks.describe.llm.plan import Tally
from tasks.store.records import RunManifest
from tasks.store.retention import prevent_pruning
from tasks.store.tables import Store, TableRef


class DescribeSummary(FlowSummary):
    """A run that had descriptions written."""

    class_count: int
    llm: str
    answers: TableRef
    tally: Tally


def _run_name() -> str:
    """Names in the UI: a list of classes can be as long as it likes."""
    config = DescribeConfig.model_validate(flow_run.get_parameters()["config"])
    classes = config.classes if len(config.classes) <= 60 else f"{config.classes[:57]}..."
    return f"{classes} by {config.llm}"


@pipeline_flow("describe", run_name=_run_name)
def describe(config: DescribeConfig) -> DescribeSummary:
    """Have a language model describe classes, and clean what it writes."""
    described = open_classes(config.classes)
    with prevent_pruning(Store(config.store)):
        return _describe(config, described)


def _describe(config: DescribeConfig, described: DescribedClasses) -> DescribeSummary:
    store = Store(config.store)
    runner = StageRunner(store)
    classes = write_classes(store, described.class_names)
    writing = write_descriptions(runner, classes, config, described.title, described.questions)
    manifest = RunManifest(
        flow_name="describe",
        dataset_name=described.title,
        parameters=writing_parameters(writing, config),
        tables=(classes, writing.answers),
        command=build_command("describe", [config.classes], config, {"classes", "store"}),
    )
    recorded = record(runner, manifest)
    return DescribeSummary(
        run_id=recorded.run_id,
        class_count=len(described.class_names),
        llm=writing.plan.model.llm,
        answers=writing.answers,
        tally=writing.asked.tally,
        store_root=str(store.root),
        snapshot=recorded.snapshot,
        stages=tuple(runner.timings),
    )
