"""Stages beside the scores: what a reviewer asks, the paper's claim, why images are called so."""

from typing import NamedTuple

from flows.pipeline.stages import Stages
from tasks.datasets.index import IndexedDataset
from tasks.embed.identity import EncoderSource, is_reference
from tasks.embed.sources import resampling_for
from tasks.embed.task import PrecisionCheckRecipe, check_precision
from tasks.score.task import (
    AlignmentsRecipe,
    AlignmentSummaryRecipe,
    ExplanationsRecipe,
    StatisticsRecipe,
    align_shard,
    compare_methods,
    explain_images,
    summarise_alignments,
)
from tasks.store.tables import TableRef

# Images that a benchmark explains: each outcome three times.
EXPLAINED = 12
STATISTICS = ["intervals", "comparisons", "calibration"]
EXPLANATIONS = ["explanations", "explained_texts", "explained_pairs", "counterfactuals"]


class Scored(NamedTuple):
    """The tables of a scored run that insights rest on."""

    indexed: IndexedDataset
    described: TableRef
    texts: list[TableRef]
    crops: list[TableRef]
    vectors: TableRef
    predictions: list[TableRef]


def precision_check(
    stages: Stages,
    indexed: IndexedDataset,
    crops: list[TableRef],
    encoder: EncoderSource,
    is_labelled: bool,
) -> list[TableRef]:
    """How far embeddings are from float32 ones of crops by Pillow, on images of the first shard.

    A report says so of those that are the reference themselves as well.
    """
    settings = stages.settings
    resampling = resampling_for(encoder, settings.exact)
    if not is_labelled and is_reference(encoder.identity, resampling):
        return []
    recipes = [
        PrecisionCheckRecipe(
            encoder=encoder.identity,
            crops=settings.crop_parameters(),
            resampling=resampling,
            embedded=shard,
        )
        for shard in sorted(crops, key=lambda ref: ref.row_count == 0)[:1]
    ]
    stage, name = "check precision", "precision_checks"
    return stages.runner.run(
        stage, check_precision, [name], recipes, dataset=indexed, encoder=encoder
    )


def statistics(stages: Stages, scored: Scored) -> list[TableRef]:
    """Spreads, paired tests and calibration."""
    recipe = StatisticsRecipe(
        images=scored.indexed.images,
        predictions=tuple(scored.predictions),
        seed=stages.settings.seed,
    )
    (tables,) = stages.runner.run("compare methods", compare_methods, STATISTICS, [recipe])
    return list(tables)


def alignment(stages: Stages, scored: Scored) -> list[TableRef]:
    """Whether descriptions align better with crops than with whole images."""
    recipes = [
        AlignmentsRecipe(
            images=scored.indexed.images,
            crops=shard,
            descriptions=scored.described,
            text_embeddings=tuple(scored.texts),
            seed=stages.settings.seed,
        )
        for shard in scored.crops
    ]
    tables = stages.runner.run("align images", align_shard, ["alignments"], recipes)
    summary = AlignmentSummaryRecipe(alignments=tuple(tables), seed=stages.settings.seed)
    name = "alignment_summary"
    return [
        *tables,
        *stages.runner.run("summarise alignments", summarise_alignments, [name], [summary]),
    ]


def explanations(stages: Stages, scored: Scored, count: int) -> list[TableRef]:
    """Why some images are called what they are called under WCA."""
    settings = stages.settings
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
    )
    (tables,) = stages.runner.run("explain images", explain_images, EXPLANATIONS, [recipe])
    return list(tables)


def insights(stages: Stages, scored: Scored, is_labelled: bool, explained: int) -> list[TableRef]:
    """What the run's labels and texts allow; `explained` images, or none."""
    tables = statistics(stages, scored) if is_labelled else []
    if is_labelled and explained:
        tables += alignment(stages, scored)
    if explained and scored.indexed.classes.row_count > 1:  # one class is preferred to nothing
        tables += explanations(stages, scored, explained)
    return tables
