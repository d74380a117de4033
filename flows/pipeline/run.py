"""One run of all stages: what the flows over images have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from flows.pipeline.descriptions import write_descriptions, writing_parameters
from flows.pipeline.insights import Scored, insights, precision_check
from flows.pipeline.record import manifest_of, record
from flows.pipeline.runner import StageRunner
from flows.pipeline.stages import Stages
from flows.pipeline.summary import RunSummary
from flows.pipeline.texts import text_sources
from flows.settings.run import Settings
from tasks.datasets.dataset import Dataset
from tasks.datasets.settings import DataSource, FileSource
from tasks.embed.sources import resampling_for, resolve_encoder
from tasks.embed.task import unload_encoder
from tasks.methods.registry import EXPLAINED, choose_methods, text_kinds
from tasks.runtime.errors import InputError
from tasks.score.task import ResultsRecipe
from tasks.store.tables import Store

_IS_KEPT = ContextVar("is_kept", default=False)


@contextmanager
def one_encoder() -> Iterator[None]:
    """Around runs with one encoder: it is loaded once, and its memory given back after the last."""
    before = _IS_KEPT.set(True)
    try:
        yield
    finally:
        _IS_KEPT.reset(before)
        unload_encoder()


def run_stages(
    flow_name: str,
    settings: Settings,
    source: DataSource | FileSource,
    dataset: Dataset,
    command: str = "",
    explained: int = 0,
) -> RunSummary:
    """Describe, embed, score and record: the body of every flow.

    Tasks are given `source`, which they open again: `dataset` may name a million images. command:
    what repeats the run. explained: images to explain, where `wca` is among the methods.
    """
    if settings.alpha > settings.beta:
        raise InputError(f"alpha {settings.alpha} must not be greater than beta {settings.beta}.")
    sources = text_sources(settings, dataset)
    methods = choose_methods(settings.methods, sources.kinds)
    encoder = resolve_encoder(settings.encoder, settings.precision, settings.device)
    store = Store(settings.store)
    with StageRunner(store, settings, encoder.device) as runner:
        stages = Stages(runner, settings)
        indexed = stages.index(source)
        writing = (
            write_descriptions(runner, indexed.classes, settings, dataset.name)
            if settings.llm
            else None
        )
        described = stages.describe(
            indexed, dataset.templates, sources, writing and writing.answers
        )
        texts = stages.embed_texts(described, text_kinds(methods), encoder)
        crops, undecodable = stages.embed_images(indexed, encoder)
        if not _IS_KEPT.get():
            unload_encoder()
        vectors, predictions = stages.score(
            described, texts, crops, methods, encoder.identity.dimension
        )
        results = stages.summarise(
            ResultsRecipe(
                images=indexed.images,
                classes=indexed.classes,
                predictions=tuple(predictions),
                undecodable=tuple(undecodable),
            )
        )
        scored = Scored(indexed, described, texts, crops, vectors, predictions)
        is_labelled = any(image.class_id is not None for image in dataset.images)
        found = precision_check(stages, indexed, crops, encoder, is_labelled)
        found += insights(stages, scored, is_labelled, explained if EXPLAINED in methods else 0)

    manifest = manifest_of(
        flow_name,
        dataset.name,
        settings,
        encoder,
        indexed,
        {
            "methods": list(methods),
            **(writing_parameters(writing, settings) if writing else {}),
        },
        (
            *([writing.answers] if writing else []),
            described,
            *texts,
            *crops,
            *undecodable,
            vectors,
            *predictions,
            *results.tables,
            *found,
        ),
        results.rejected_count,
        command,
    )
    recorded = record(store, manifest, runner.timings)
    return RunSummary(
        run_id=recorded.run_id,
        dataset_name=dataset.name,
        class_count=len(dataset.class_names),
        image_count=results.image_count,
        rejected_count=results.rejected_count,
        encoder_name=settings.encoder,
        encoder=encoder.identity,
        resampling=resampling_for(encoder, settings.exact),
        texts=sources.named,
        store_root=str(store.root),
        snapshot=recorded.snapshot,
        tables=manifest.tables,
        stages=tuple(runner.timings),
        indexed=indexed,
        remarks=dataset.remarks,
    )
