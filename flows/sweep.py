"""The sweep flow: accuracy against parameters, each distinct set of crops embedded once."""

from collections.abc import Mapping

from flows.pipeline.command import build_command
from flows.pipeline.record import manifest_of, method_parameters, record
from flows.pipeline.run import one_encoder
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
from flows.pipeline.sweep_points import (
    TEXTS,
    Point,
    choose_sweep_base,
    describe_encoders,
    list_encoders,
    list_sweep_points,
)
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
    indexed = index_dataset(runner, dataset)
    kinds, encoder = text_kinds(methods), encoders[config.encoder]
    point_tables: list[TableRef] = []

    def described(settings: BenchmarkConfig) -> TableRef:
        files = text_sources(settings, dataset)
        return gather_texts(runner, indexed, dataset.templates, files, None, settings.seed, kinds)

    def predictions(point: Point) -> tuple[TableRef, ...]:
        """The predictions of one point; the store has what earlier points computed."""
        settings, descriptions = point.settings, described(point.settings)
        encoder = encoders[settings.encoder]
        # fewer descriptions are among the base's, which are embedded once
        embedded = described(config) if point.parameter == TEXTS else descriptions
        texts = embed_texts(runner, embedded, kinds, encoder, settings)
        scale, dimension = settings.used_text_scale, encoder.identity.dimension
        vectors = weigh_texts(runner, descriptions, texts, methods, scale, dimension)
        parameters = settings.part(CropParameters)
        resampling = resampling_for(encoder, config.exact)
        crops, undecodable = embed_images(
            runner, indexed, encoder, parameters, resampling, settings
        )
        rules = gather_rule_inputs(methods, descriptions, texts, encoder.logits, settings)
        scores = score_images(runner, crops, vectors, parameters, settings, rules)
        point_tables.extend((descriptions, *texts, *crops, *undecodable, vectors, *scores))
        return tuple(scores)

    scored: dict[int, SweepPoint] = {}
    for name in encoders:
        with one_encoder():  # it is unloaded before the next one is loaded
            for i, point in enumerate(points):
                if point.settings.encoder == name:
                    scored[i] = point.with_predictions(predictions(point))
    recipe = SweepRecipe(images=indexed.images, points=tuple(scored[i] for i in range(len(points))))
    (tables,) = runner.run("summarise", summarise_sweep, [recipe])
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
