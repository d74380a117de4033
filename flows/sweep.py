"""The sweep flow: accuracy against parameters, each distinct set of crops embedded once."""

from flows.pipeline.command import build_command
from flows.pipeline.record import manifest_of, method_parameters, record
from flows.pipeline.runner import StageRunner, pipeline_flow
from flows.pipeline.stages import (
    embed_images,
    embed_texts,
    gather_rule_inputs,
    gather_texts,
    index_dataset,
    score_images,
    weigh_texts,
)
from flows.pipeline.summary import FlowSummary
from flows.pipeline.sweep_points import TEXTS, Point, list_sweep_points
from flows.pipeline.texts import text_sources
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.sweep import SweepConfig
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.embed.crops import CropParameters
from tasks.embed.identity import EncoderSource
from tasks.embed.sources import resampling_for, resolve_encoder
from tasks.methods.registry import METHODS, available_methods, choose_methods, text_kinds
from tasks.report.task import write_sweep
from tasks.runtime.errors import InputError
from tasks.score.sweep import SweepPoint
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
    kinds, identity = text_kinds(methods), encoder.identity
    resampling = resampling_for(encoder, config.exact)

    def described(settings: BenchmarkConfig) -> TableRef:
        files = text_sources(settings, dataset)
        return gather_texts(runner, indexed, dataset.templates, files, None, settings.seed)

    base_texts = embed_texts(runner, described(config), kinds, encoder, config)

    point_tables: list[TableRef] = []

    def predictions(point: Point) -> tuple[TableRef, ...]:
        """The predictions of one point; the store has what earlier points computed."""
        settings, descriptions = point.settings, described(point.settings)
        # fewer descriptions are among the base's, which are embedded already
        is_subset = point.parameter == TEXTS
        texts = (
            base_texts if is_subset else embed_texts(runner, descriptions, kinds, encoder, settings)
        )
        parameters = settings.part(CropParameters)
        crops, undecodable = embed_images(
            runner, indexed, encoder, parameters, resampling, settings
        )
        scale = settings.used_text_scale
        vectors = weigh_texts(runner, descriptions, texts, methods, scale, identity.dimension)
        rules = gather_rule_inputs(methods, descriptions, texts, encoder.logits, settings)
        scores = score_images(runner, crops, vectors, parameters, settings, rules)
        point_tables.extend((descriptions, *texts, *crops, *undecodable, vectors, *scores))
        return tuple(scores)

    scored = [
        SweepPoint(
            parameter=point.parameter,
            value=point.value,
            value_index=point.value_index,
            is_base=point.is_base,
            predictions=predictions(point),
        )
        for point in points
    ]
    recipe = SweepRecipe(images=indexed.images, points=tuple(scored))
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
        point_tables=point_tables,
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
