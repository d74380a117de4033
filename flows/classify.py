"""The classify flow: the same stages for pictures without labels."""

from prefect import flow

from flows.config import ClassifyConfig, ClassifySettings
from flows.run import RunSummary, run_stages
from flows.runner import ONE_AT_A_TIME
from tasks.datasets.settings import FileSource
from tasks.datasets.sources import open_source
from tasks.describe.generate import written_kinds
from tasks.score.methods import METHODS


@flow(
    name="classify",
    flow_run_name="{config.encoder}, seed {config.seed}",
    task_runner=ONE_AT_A_TIME,
    result_serializer="json",
)
def classify(config: ClassifyConfig) -> RunSummary:
    """Find the best classes of some pictures."""
    source = FileSource(images=config.images, classes=config.classes)
    return run_stages("classify", with_best_method(config), source, open_source(source))


def with_best_method(settings: ClassifySettings) -> ClassifySettings:
    """Settings with the best method that there are texts for, unless methods are named."""
    if not settings.methods:
        described = settings.descriptions or "description" in written_kinds(settings)
        settings = settings.model_copy(update={"methods": ("wca" if described else "clip",)})
    if not any(METHODS[name].is_weighted for name in settings.methods if name in METHODS):
        settings = settings.model_copy(update={"pool": 1})  # no crop would be looked at
    return settings
