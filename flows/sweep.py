"""The sweep flow: accuracy against parameters, each distinct set of crops embedded once."""

from flows.pipeline.command import build_command
from flows.pipeline.record import manifest_of, method_parameters, record
from flows.pipeline.runner import StageRunner, pipeline_flow
from flows.pipeline.stages import index_dataset
from flows.pipeline.summary import FlowSummary
from flows.pipeline.sweep_points import list_sweep_points
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
from tasks.score.task import SweepRecipe, summarise_sweep
from tasks.store.retention import prevent_pruning
from tasks.store.tables import Store, TableRef


class SweepSummary(FlowSummary):
    """A run under many settings."""

    dataset_name: str
    point_count: int
    image_count: int
    sweeps: TableRef


@pipeline_flow("sweep", run_name="{config.data} over {config.over}")
def sweep(config: SweepConfig) -> SweepSummary:
    """Score a labelled data set under many settings, computing only what each changes."""
    if config.llm:
        raise InputError("A sweep takes texts from files: wca describe writes them first.")
    with prevent_pruning(Store(config.store)):
        encoder = resolve_encoder(config.encoder, config.precision, config.device)
        with StageRunner(Store(config.store), config, encoder.device) as runner:
            return _sweep(config, runner, encoder)


def _sweep(given: SweepConfig, runner: StageRunner, encoder: EncoderSource) -> SweepSummary:
    dataset = open_source(DataSource.model_validate(given.model_dump()))
    config = given.with_preset(dataset.preset)
    points = list_sweep_points(config, config.over, dataset)
    sources = text_sources(config, dataset)
    methods = choose_methods(
        config.methods
        or available_methods([m.name for m in METHODS.values() if m.is_swept], sources.kinds),
        sources.kinds,
    )
    indexed = index_dataset(runner, dataset)
    resampling = resampling_for(encoder, config.exact)
    scorer = PointScorer(runner, dataset, indexed, methods, encoder, resampling, config)
    recipe = SweepRecipe(images=indexed.images, points=scorer.score(points))
    ((table,),) = runner.run("summarise", summarise_sweep, [recipe])
    stages = runner.timings_by_stage()
    manifest = manifest_of(
        "sweep",
        dataset.name,
        config,
        encoder,
        resampling,
        indexed,
        {"over": list(config.over), **method_parameters(methods, config)},
        [table],
        command=build_command("sweep", [given.data], given, {"data", "store"}),
        point_tables=scorer.tables,
    )
    recorded = record(runner.store, manifest, stages)
    return SweepSummary(
        run_id=recorded.run_id,
        dataset_name=dataset.name,
        point_count=len(points),
        image_count=indexed.images.row_count,
        sweeps=table,
        store_root=str(runner.store.root),
        snapshot=recorded.snapshot,
        report=write_sweep(str(runner.store.root), recorded.run_id),
        stages=tuple(stages),
    )
