"""The classify flow: the same stages for pictures without labels."""

from prefect import flow

from flows.command import command_line
from flows.config import ClassifyConfig
from flows.run import RunSummary, run_stages
from flows.runner import ONE_AT_A_TIME
from tasks.datasets.settings import FileSource
from tasks.datasets.sources import open_source
from tasks.describe.generate import written_kinds
from tasks.report.task import draw_explanations, write_report
from tasks.score.methods import METHODS, method_titles
from tasks.store.errors import InputError

# Explained in one run: as many as a person looks at.
MOST_EXPLAINED = 50


@flow(
    name="classify",
    flow_run_name="{config.encoder}, seed {config.seed}",
    task_runner=ONE_AT_A_TIME,
    result_serializer="json",
)
def classify(config: ClassifyConfig) -> RunSummary:
    """Find the best classes of some pictures."""
    source = FileSource(images=config.images, classes=config.classes)
    if not config.methods:
        best = "wca" if config.descriptions or "description" in written_kinds(config) else "clip"
        config = config.model_copy(update={"methods": (best,)})
    if not any(METHODS[name].is_weighted for name in config.methods if name in METHODS):
        config = config.model_copy(update={"pool": 1})  # no crop would be looked at
    dataset = open_source(source)
    if not config.explain:
        return run_stages("classify", config, source, dataset)
    if "wca" not in config.methods:
        raise InputError(
            "--explain needs the method wca and descriptions: name --descriptions FILE or --llm."
        )
    operands = [path.as_posix() for path in config.images]
    command = command_line("classify", operands, config, {"images", "store"})
    count = min(len(config.images), MOST_EXPLAINED)
    summary = run_stages("classify", config, source, dataset, command, count)
    place = (summary.store_root, summary.run_id, summary.indexed, method_titles())
    pictures = draw_explanations(*place)
    return summary.model_copy(update={"report": write_report(*place), "pictures": tuple(pictures)})
