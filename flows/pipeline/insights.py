"""Stages beside the scores: what a reviewer asks, the paper's claim, why images are called so."""

from collections.abc import Sequence
from typing import NamedTuple

from flows.pipeline.runner import StageRunner
from flows.settings.run import Settings
from tasks.datasets.index import IndexedDataset
from tasks.embed.crops import CropParameters
from tasks.embed.identity import EncoderSource, Logits, Resampling, is_reference
from tasks.embed.task import PrecisionCheckRecipe, check_precision
from tasks.methods.registry import ALL, GRID, find_method
from tasks.score.sample import count_sampled_shards
from tasks.score.settings import ScoreSettings
from tasks.score.task import (
    AlignmentsRecipe,
    AlignmentSummaryRecipe,
    ExplanationsRecipe,
    StatisticsRecipe,
    TextEffectsRecipe,
    align_shard,
    compare_methods,
    explain_images,
    measure_texts,
    summarise_alignments,
)
from tasks.store.tables import Store, TableRef

# Images that a benchmark explains: each outcome three times.
EXPLAINED = 12


class Scored(NamedTuple):
    """The tables of a scored run that insights rest on."""

    indexed: IndexedDataset
    described: TableRef
    texts: list[TableRef]
    crops: list[TableRef]
    vectors: TableRef
    predictions: list[TableRef]
    draws: list[TableRef]
    crop_uses: list[TableRef]


def check_embeddings(
    runner: StageRunner,
    scored: Scored,
    encoder: EncoderSource,
    parameters: CropParameters,
    resampling: Resampling,
    is_labelled: bool,
) -> list[TableRef]:
    """Measure how far embeddings are from float32 ones of crops by Pillow, on a few images.

    Where they are the reference themselves, only a run with labels has the table: its page says so.
    """
    if not is_labelled and is_reference(encoder.identity, resampling):
        return []
    recipes = [
        PrecisionCheckRecipe(
            encoder=encoder.identity, crops=parameters, resampling=resampling, embedded=shard
        )
        for shard in sorted(scored.crops, key=lambda ref: ref.row_count == 0)[:1]
    ]
    checked = runner.run(
        "check precision",
        check_precision,
        recipes,
        dataset=scored.indexed,
        encoder=encoder,
    )
    return [ref for (ref,) in checked]


def find_insights(
    runner: StageRunner,
    scored: Scored,
    settings: Settings,
    logits: Logits,
    parameters: CropParameters,
    is_labelled: bool,
    explained_count: int,
) -> list[TableRef]:
    """Compute what the run's labels and texts allow; `explained_count` images are explained."""
    tables = _compare_methods(runner, scored, settings, logits, parameters) if is_labelled else []
    if not explained_count:
        return tables
    sampled = _sample_shards(runner.store, scored)
    if is_labelled:
        tables += _align_images(runner, sampled, parameters.seed)
    if scored.indexed.classes.row_count > 1:  # one class has no runner-up
        tables += _explain_images(runner, sampled, settings, explained_count)
    return tables


def _sample_shards(store: Store, scored: Scored) -> Scored:
    """Take the shards that are aligned, and whose images may be explained: of few images all."""
    shards = len(scored.crops)
    count = count_sampled_shards(store, scored.indexed.images, shards)
    uses = count * len(scored.crop_uses) // max(1, shards)
    return scored._replace(
        crops=scored.crops[:count],
        predictions=scored.predictions[:count],
        crop_uses=scored.crop_uses[:uses],
    )


def measure_descriptions(
    runner: StageRunner, scored: Scored, settings: Settings, pool: int
) -> list[TableRef]:
    """Measure whether each description helps, by labels where there are any."""
    recipe = TextEffectsRecipe(
        images=scored.indexed.images,
        crops=tuple(scored.crops),
        descriptions=scored.described,
        text_embeddings=tuple(scored.texts),
        pool=pool,
        image_scale=settings.used_image_scale,
        text_scale=settings.used_text_scale,
    )
    ((measured,),) = runner.run("measure texts", measure_texts, [recipe])
    return [measured]


def _compare_methods(
    runner: StageRunner,
    scored: Scored,
    settings: Settings,
    logits: Logits,
    parameters: CropParameters,
) -> list[TableRef]:
    """Compute intervals, paired tests, calibration, and the grid of pairs."""
    recipe = StatisticsRecipe(
        images=scored.indexed.images,
        predictions=tuple(scored.predictions),
        logit_scale=logits.scale,
        logit_bias=logits.bias,
        seed=parameters.seed,
        pool=parameters.pool,
        crops_per_run=settings.crops_per_run,
        compared=_find_compared_pairs(settings.methods),
    )
    (tables,) = runner.run("compare methods", compare_methods, [recipe])
    return list(tables)


def _find_compared_pairs(names: Sequence[str]) -> tuple[str, ...]:
    """Find the pairs that `--methods` names one by one, of those known by their sides alone."""
    methods = [find_method(name) for name in names if name not in (GRID, ALL)]
    return tuple(sorted({method.name for method in methods if not method.is_named}))


def _align_images(runner: StageRunner, scored: Scored, seed: int) -> list[TableRef]:
    """Measure whether descriptions align better with crops than with whole images."""
    recipes = [
        AlignmentsRecipe(
            images=scored.indexed.images,
            crops=shard,
            descriptions=scored.described,
            text_embeddings=tuple(scored.texts),
            seed=seed,
        )
        for shard in scored.crops
    ]
    aligned = runner.run("align images", align_shard, recipes)
    alignments, matched = (tuple(refs[i] for refs in aligned) for i in (0, 1))
    summary = AlignmentSummaryRecipe(alignments=alignments, matched_alignments=matched)
    ((summarised,),) = runner.run("summarise alignments", summarise_alignments, [summary])
    return [*alignments, *matched, summarised]


def _explain_images(
    runner: StageRunner, scored: Scored, settings: ScoreSettings, count: int
) -> list[TableRef]:
    """Explain why some images are called what they are called under WCA."""
    recipe = ExplanationsRecipe(
        images=scored.indexed.images,
        predictions=tuple(scored.predictions),
        crops=tuple(scored.crops),
        class_vectors=scored.vectors,
        descriptions=scored.described,
        text_embeddings=tuple(scored.texts),
        image_scale=settings.used_image_scale,
        text_scale=settings.used_text_scale,
        count=count,
        draws=tuple(scored.draws),
        crop_uses=tuple(scored.crop_uses),
    )
    (tables,) = runner.run("explain images", explain_images, [recipe])
    return list(tables)
