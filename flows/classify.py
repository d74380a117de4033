"""The classify flow: the same stages for pictures without labels."""

from flows.pipeline.command import build_command
from flows.pipeline.run import run_stages
from flows.pipeline.runner import pipeline_flow
from flows.pipeline.summary import RunSummary
from flows.settings.classify import ClassifyConfig, ClassifySettings
from tasks.datasets.settings import FileSource
from tasks.datasets.sources import open_source
from tasks.describe.llm.plan import generated_kinds
from tasks.methods.registry import (
    EXPLAINED,
    METHODS,
    SETTLING,
    expand_methods,
    explained_method,
)
from tasks.report.task import draw_explanations, write_report
from tasks.runtime.errors import InputError
from tasks.store.retention import prevent_pruning
from tasks.store.tables import Store

# Explained in one run: as many as a person looks at.
MOST_EXPLAINED = 50


@pipeline_flow("classify", run_name="{config.encoder}, seed {config.seed}")
def classify(config: ClassifyConfig) -> RunSummary:
    """Find the best classes of some pictures."""
    source = FileSource(images=config.images, classes=config.classes)
    settings = with_best_method(config)
    with prevent_pruning(Store(config.store)):
        if not config.explain:
            return run_stages("classify", settings, open_source(source), _command(config))
        return _explained(config, settings, source)


def _explained(
    config: ClassifyConfig, settings: ClassifySettings, source: FileSource
) -> RunSummary:
    """Classify pictures and write why, as a page and as pictures."""
    if not explained_method(expand_methods(settings.methods)):
        raise InputError(
            f"--explain needs the method {EXPLAINED} or {SETTLING} and descriptions: name "
            "--descriptions FILE or --llm."
        )
    dataset = open_source(source)
    count = min(len(dataset.images), MOST_EXPLAINED)
    summary = run_stages("classify", settings, dataset, _command(config), count)
    place = (summary.store_root, summary.run_id, summary.indexed)
    pictures = draw_explanations(*place)
    report = write_report(*place, has_all_images=True)
    return summary.model_copy(update={"report": report, "pictures": tuple(pictures)})


def _command(config: ClassifyConfig) -> str:
    """What repeats the run; empty where a class name holds a comma, which only a file can say."""
    if any("," in name for name in config.classes):
        return ""
    operands = [path.as_posix() for path in config.images]
    return build_command("classify", operands, config, {"images", "store"})


def with_best_method(settings: ClassifySettings) -> ClassifySettings:
    """Settings with the best method that there are texts for, unless methods are named."""
    if not settings.methods:
        described = settings.descriptions or "description" in generated_kinds(settings)
        best = SETTLING if settings.crops == "auto" else EXPLAINED
        settings = settings.model_copy(update={"methods": (best if described else "clip",)})
    if not any(METHODS[name].needs_crops for name in expand_methods(settings.methods)):
        settings = settings.model_copy(update={"pool": 1})  # no crop would be looked at
    return settings
