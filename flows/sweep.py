"""The sweep flow: accuracy against parameters, each distinct set of crops embedded once."""

from collections.abc import Mapping

from prefect.runtime import flow_run

from flows.pipeline.command import build_command
from flows.pipeline.record import manifest_of, method_parameters, record
from flows.pipeline.run import one_encoder
from flows.pipeline.runner import StageRunner, pipeline_flow
from flows.pipeline.stages import index_dataset
from flows.pipeline.summary import FlowSummary
from flows.pipeline.sweep_points import (
    choose_sweep_base,
    describe_encoders,
    list_encoders,
    list_sweep_points,
)
from flows.pipeline.sweep_scores import PointScorer
from flows.pipeline.texts import text_sources
from flows.settings.sweep import SweepConfig
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.embed.identity import EncoderSource
from tasks.embed.sources import resampling_for, resolve_encoder
from tasks.methods.registry import METHODS, available_methods, choose_methods
from tasks.report.task import write_sweep
from tasks.runtime.errors import InputError
from tasks.score.sweep import SweepPoint
from tasks.score.task import SweepRecipe, summarise_sweep
from tasks.store.retention import prevent_pruning
from tasks.store.tables import Store, TableRef


def _run_name() -> str:
    """Name a run in the UI by its data and its parameters."""
    config = SweepConfig.model_validate(flow_run.get_parameters()["config"])
    return f"{config.data} over {', '.join(config.over)}"


class SweepSummary(FlowSummary):
    """A run under many settings."""

    dataset_name: str
    point_count: int
    image_count: int
    sweeps: TableRef


@pipeline_flow("sweep", run_name=_run_name)
def sweep(config: SweepConfig) -> SweepSummary:
    """Score a labelled data set under many settings, computing only what each changes."""
    if config.llm:
        raise InputError("A sweep takes texts from files: wca describe writes them first.")
    config = choose_sweep_base(config)
    encoders = {  # a bad one stops the sweep before anything is embedded
        name: resolve_encoder(name, config.precision, config.device)
        for name in list_encoders(config)
    }
    device = encoders[config.encoder].device
    store = Store(config.store)
    with prevent_pruning(store), StageRunner(store, config, device) as runner:
        return _sweep(config, runner, encoders)


def _sweep(
    given: SweepConfig, runner: StageRunner, encoders: Mapping[str, EncoderSource]
) -> SweepSummary:
    dataset = open_source(DataSource.model_validate(given.model_dump()))
    config = given.with_preset(dataset.preset)
    points = list_sweep_points(config, config.over, dataset)
    sources = text_sources(config, dataset)
    methods = choose_methods(
        config.methods
        or available_methods([m.name for m in METHODS.values() if m.is_swept], sources.kinds),
        sources.kinds,
    )
    indexed = index_dataset(runner, dataset, config.max_file_mb)
    scored: dict[int, SweepPoint] = {}
    point_tables: list[TableRef] = []
    for name, encoder in encoders.items():
        own = {i: point for i, point in enumerate(points) if point.settings.encoder == name}
        base = config.model_copy(update={"encoder": name})
        with one_encoder():  # it is unloaded before the next one is loaded
            scorer = PointScorer(runner, dataset, indexed, methods, encoder, base)
            scored.update(zip(own, scorer.score(list(own.values())), strict=True))
        point_tables += scorer.tables
    recipe = SweepRecipe(images=indexed.images, points=tuple(scored[i] for i in range(len(points))))
    (tables,) = runner.run("summarise", summarise_sweep, [recipe])
    encoder = encoders[config.encoder]
    stages = runner.timings_by_stage()
    manifest = manifest_of(
        "sweep",
        dataset.name,
        config,
        encoder,
        resampling_for(encoder, config.exact),
        indexed,
        {
            "over": list(config.over),
            **method_parameters(methods, config),
            **describe_encoders(encoders),
        },
        tables,
        command=build_command("sweep", [given.data], given, {"data", "store"}),
        point_tables=point_tables,
    )
    recorded = record(runner, manifest, stages)
    return SweepSummary(
        run_id=recorded.run_id,
        dataset_name=dataset.name,
        point_count=len(points),
        image_count=indexed.images.row_count,
        sweeps=tables[0],
        store_root=str(runner.store.root),
        snapshot=recorded.snapshot,
        report=write_sweep(str(runner.store.root), recorded.run_id),
        stages=tuple(stages),
    )
