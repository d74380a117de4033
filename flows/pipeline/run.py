"""One run of all stages: what the flows over images have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from flows.pipeline.descriptions import write_descriptions, writing_parameters
from flows.pipeline.insights import (
    Scored,
    check_embeddings,
    find_insights,
    measure_descriptions,
)
from flows.pipeline.record import manifest_of, method_parameters, record
from flows.pipeline.runner import StageRunner
from flows.pipeline.stages import (
    choose_crops_of_images,
    count_outdated,
    embed_images,
    embed_texts,
    find_needed_crops,
    gather_rule_inputs,
    gather_texts,
    index_dataset,
    record_draws,
    score_images,
    summarise,
    weigh_texts,
)
from flows.pipeline.summary import RunSummary
from flows.pipeline.texts import text_sources
from flows.settings.run import Settings
from tasks.datasets.dataset import Dataset
from tasks.embed.crops import CropParameters
from tasks.embed.sources import resampling_for, resolve_encoder
from tasks.embed.task import unload_encoder
from tasks.methods.describe import describe_other_crops
from tasks.methods.registry import METHODS, choose_methods, explained_method, text_kinds
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
    dataset: Dataset,
    command: str = "",
    explained: int = 0,
    has_text_effects: bool = False,
) -> RunSummary:
    """Describe, embed, score and record: the body of every flow.

    command: what repeats the run. explained: images to explain, where `wca` is among the methods.
    has_text_effects: whether to measure if each description helps.
    """
    sources = text_sources(settings, dataset)
    is_adaptive = settings.crops == "auto"
    methods = choose_methods(settings.methods, sources.kinds, is_adaptive=is_adaptive)
    encoder = resolve_encoder(settings.encoder, settings.precision, settings.device)
    resampling = resampling_for(encoder, settings.exact)
    parameters = settings.part(CropParameters)
    is_labelled = any(image.class_id is not None for image in dataset.images)
    store = Store(settings.store)
    kinds = text_kinds(methods)
    if has_text_effects and not (
        "description" in kinds and any(METHODS[name].needs_crops for name in methods)
    ):
        raise InputError(
            "--text-effects needs descriptions and crops: name --descriptions or --llm, and wca "
            "among --methods."
        )
    with StageRunner(store, settings, encoder.device) as runner:
        indexed = index_dataset(runner, dataset, settings.max_file_mb)
        writing = (
            write_descriptions(runner, indexed.classes, settings, dataset.name, dataset.questions)
            if settings.llm
            else None
        )
        answers = writing and writing.answers
        described = gather_texts(
            runner, indexed, dataset.templates, sources, answers, settings.seed, kinds
        )
        texts = embed_texts(runner, described, kinds, encoder, settings)
        scale, dimension = settings.used_text_scale, encoder.identity.dimension
        vectors = weigh_texts(runner, described, texts, methods, scale, dimension)
        choice = find_needed_crops(methods, vectors, settings)
        crops, undecodable = embed_images(
            runner, indexed, encoder, parameters, resampling, settings, choice
        )
        if not _IS_KEPT.get():
            unload_encoder()
        draws = record_draws(runner, methods, parameters, settings)
        rules = gather_rule_inputs(methods, described, texts, encoder.logits, settings)
        crop_uses = choose_crops_of_images(
            runner, crops, vectors, methods, encoder.identity, parameters, settings
        )
        predictions = score_images(runner, crops, vectors, parameters, settings, rules, crop_uses)
        results = summarise(
            runner,
            ResultsRecipe(
                images=indexed.images,
                classes=indexed.classes,
                predictions=tuple(predictions),
                undecodable=tuple(undecodable),
            ),
        )
        rejected_count = sum(ref.row_count for ref in results if ref.table == "rejected")
        used = [ref for uses in crop_uses for ref in uses]
        scored = Scored(indexed, described, texts, crops, vectors, predictions, draws, used)
        checks = check_embeddings(runner, scored, encoder, parameters, resampling, is_labelled)
        count = explained if explained_method(methods) else 0
        insights = find_insights(
            runner, scored, settings, encoder.logits, parameters, is_labelled, count
        )
        if has_text_effects:
            insights += measure_descriptions(runner, scored, settings, parameters.pool)

    manifest = manifest_of(
        flow_name,
        dataset.name,
        settings,
        encoder,
        resampling,
        indexed,
        {
            **method_parameters(methods, settings),
            **(writing_parameters(writing, settings) if writing else {}),
        },
        (
            *([writing.answers] if writing else []),
            described,
            *texts,
            *crops,
            *undecodable,
            vectors,
            *draws,
            *used,
            *predictions,
            *results,
            *checks,
            *insights,
        ),
        rejected_count,
        command,
    )
    count = count_outdated(store, [*texts, *crops])
    outdated = [
        f"{count} tables of embeddings were computed by other code of the same revision: "
        "--recompute computes them again."
    ] * bool(count)
    recorded = record(runner, manifest)
    return RunSummary(
        run_id=recorded.run_id,
        dataset_name=dataset.name,
        class_count=len(dataset.class_names),
        image_count=indexed.images.row_count,
        rejected_count=rejected_count,
        encoder_name=settings.encoder,
        encoder=encoder.identity,
        resampling=resampling,
        crop_strategy=parameters.crop_strategy,
        texts=sources.named,
        store_root=str(store.root),
        snapshot=recorded.snapshot,
        tables=manifest.tables,
        stages=tuple(runner.timings),
        indexed=indexed,
        remarks=(
            *dataset.remarks,
            *outdated,
            *describe_other_crops(methods, parameters.crop_strategy),
        ),
    )
