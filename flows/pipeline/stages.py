"""The stages of a run over images: each says what decides its tables, and starts its tasks."""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import zip_longest
from typing import cast

import pyarrow.compute as pc
from prefect.utilities.annotations import quote

from flows.pipeline.runner import Items, StageRunner
from flows.pipeline.texts import TextSources
from tasks.datasets.dataset import Dataset
from tasks.datasets.decode import HEIF_EXTENSIONS
from tasks.datasets.index import IndexedDataset
from tasks.datasets.task import index_images
from tasks.describe.task import DescriptionsRecipe, TextFile, describe_classes
from tasks.describe.texts import PROMPTED
from tasks.embed.choice import CropChoice
from tasks.embed.crops import CropParameters
from tasks.embed.identity import EncoderIdentity, EncoderSource, Logits, Resampling
from tasks.embed.settings import EncoderSettings
from tasks.embed.task import (
    CropsRecipe,
    CropUseRecipe,
    TextEmbeddingsRecipe,
    choose_crops,
    digest_embedding_code,
    embed_image_shard,
    embed_text_shard,
    name_held_tables,
    name_held_texts,
)
from tasks.methods.options import select_options
from tasks.methods.registry import METHODS, SETTLING
from tasks.runtime.errors import InputError
from tasks.score.settings import ScoreSettings
from tasks.score.task import (
    ClassVectorsRecipe,
    DrawsRecipe,
    PredictionsRecipe,
    ResultsRecipe,
    RuleInputs,
    class_vectors,
    draw_crops,
    score_shard,
    summarise_run,
)
from tasks.store.digest import bytes_digest, shards_by_digest
from tasks.store.place import require_room
from tasks.store.tables import Recipe, Store, TableRef
from tasks.table_task import Refs

TEXTS_PER_SHARD = 4096  # a few seconds' work; ImageNet with CuPL has about 130,000 texts


def index_dataset(runner: StageRunner, dataset: Dataset, max_file_mb: int) -> IndexedDataset:
    """Read the digest of every file that is not larger; the `images` and `classes` tables."""
    started = time.perf_counter()
    # Prefect visits every element of an argument that is not quoted, and unwraps those that are
    indexed = index_images(str(runner.store.root), cast(Dataset, quote(dataset)), max_file_mb)
    runner.note("index images", started, 1, 0)
    runner.compare((indexed.images, indexed.classes))
    return indexed


def gather_texts(
    runner: StageRunner,
    indexed: IndexedDataset,
    templates: tuple[str, ...],
    sources: TextSources,
    answers: TableRef | None,
    seed: int,
    kinds: set[str],
) -> TableRef:
    """Gather every text of every class; the `descriptions` table.

    answers: those of a language model. seed: of the random words. kinds: those that methods need;
    AWT's texts are there only if they are needed.
    """
    recipe = DescriptionsRecipe(
        classes=indexed.classes,
        templates=templates,
        seed=seed,
        descriptions=sources.descriptions and TextFile.at(sources.descriptions),
        descriptors=sources.descriptors and TextFile.at(sources.descriptors),
        generated=answers,
        has_prompted=PROMPTED in kinds,
    )
    ((descriptions,),) = runner.run("describe classes", describe_classes, [recipe], is_local=True)
    return descriptions


def embed_texts(
    runner: StageRunner,
    described: TableRef,
    kinds: set[str],
    encoder: EncoderSource,
    settings: EncoderSettings,
) -> list[TableRef]:
    """Embed each distinct text of some kinds; the `text_embeddings` tables."""
    rows = runner.store.read(described, ["kind", "text"]).to_pylist()
    texts = {bytes_digest(r["text"].encode()): r["text"] for r in rows if r["kind"] in kinds}
    shards = shards_by_digest(texts, TEXTS_PER_SHARD)
    recipes = [
        TextEmbeddingsRecipe(
            encoder=encoder.identity.of_texts(), texts=tuple(texts[d] for d in shard)
        )
        for shard in shards
    ]
    if settings.recompute:
        _remove_outdated(runner.store, "text_embeddings", recipes)
    embedded = runner.run(
        "embed texts",
        embed_text_shard,
        recipes,
        Items("embedding texts", " texts", [len(shard) for shard in shards]),
        prepare=partial(name_held_texts, runner.store, recompute=settings.recompute),
        encoder=encoder,
    )
    return [texts for (texts,) in embedded]


def embed_images(
    runner: StageRunner,
    indexed: IndexedDataset,
    encoder: EncoderSource,
    crops: CropParameters,
    resampling: Resampling,
    settings: EncoderSettings,
    choice: CropChoice | None = None,
) -> tuple[list[TableRef], list[TableRef]]:
    """Embed each distinct image and its crops; the `crops` and the `undecodable` tables.

    choice: which crops; None: the whole pool.
    """
    recipe = CropsRecipe(
        encoder=encoder.identity,
        crops=crops,
        resampling=resampling,
        image_digests=(),
        choice=choice,
    )
    images = runner.store.read(indexed.images, ["image_digest", "image_name"])
    images = images.filter(pc.field("image_digest").is_valid())
    shards = shards_by_digest(images["image_digest"].to_pylist(), settings.shard_size)
    is_heic = pc.match_substring_regex(
        images["image_name"], f"(?i)({'|'.join(map(re.escape, HEIF_EXTENSIONS))})$"
    )
    heic = set(images["image_digest"].filter(is_heic).to_pylist())
    recipes = [
        recipe.model_copy(
            update={"image_digests": tuple(shard), "has_heic": not heic.isdisjoint(shard)}
        )
        for shard in shards
    ]
    if settings.recompute:
        _remove_outdated(runner.store, "crops", recipes)
    _require_room(runner.store, recipes)
    embedded = runner.run(
        "embed images",
        embed_image_shard,
        recipes,
        Items("embedding images", " images", [len(shard) for shard in shards]),
        prepare=partial(name_held_tables, runner.store, recompute=settings.recompute),
        dataset=indexed,
        encoder=encoder,
        batch_size=settings.batch_size,
        recompute=settings.recompute,
    )
    return [crops for crops, _ in embedded], [undecodable for _, undecodable in embedded]


def _require_room(store: Store, recipes: Sequence[CropsRecipe]) -> None:
    """Raise InputError where the store's disk has no room for the embeddings that it lacks."""

    def require(lacking: Sequence[CropsRecipe]) -> None:
        image_count = sum(len(recipe.image_digests) for recipe in lacking)
        size = sum(len(r.image_digests) * r.least_bytes_per_image for r in lacking)
        require_room(store.root, size, f"Embedding {image_count:,} images")

    with suppress(InputError):
        return require(recipes)
    return require([recipe for recipe in recipes if not store.find("crops", recipe.digest)])


def count_outdated(store: Store, embeddings: Sequence[TableRef]) -> int:
    """Count the tables of embeddings that other code of the same revision has computed."""
    current = {digest_embedding_code()}
    return sum(store.read_codes([ref]) != current for ref in embeddings if ref.row_count)


def _remove_outdated(store: Store, table: str, recipes: Sequence[Recipe]) -> None:
    """Remove the tables of recipes that other code has computed, so that they are made again."""
    for ref in filter(None, (store.find(table, recipe.digest) for recipe in recipes)):
        if count_outdated(store, [ref]):
            store.path(ref).unlink()


def weigh_texts(
    runner: StageRunner,
    described: TableRef,
    texts: list[TableRef],
    methods: tuple[str, ...],
    text_scale: float | None,
    dimension: int,
) -> TableRef:
    """Compute the vector of each method and class; the `class_vectors` table."""
    recipe = ClassVectorsRecipe(
        descriptions=described,
        text_embeddings=tuple(texts),
        methods=tuple(name for name in methods if not METHODS[name].rule),
        text_scale=text_scale,
        dimension=dimension,
    )
    ((vectors,),) = runner.run("weigh texts", class_vectors, [recipe])
    return vectors


def score_images(
    runner: StageRunner,
    crops: list[TableRef],
    vectors: TableRef,
    parameters: CropParameters,
    settings: ScoreSettings,
    rules: RuleInputs | None = None,
    crop_uses: Sequence[Refs] = (),
) -> list[TableRef]:
    """Score every shard of crops; the `predictions` tables.

    rules: as `gather_rule_inputs`. crop_uses: as `choose_crops_of_images`.
    """
    recipes = [
        PredictionsRecipe(
            crops=shard,
            class_vectors=vectors,
            image_scale=settings.used_image_scale,
            pool=parameters.pool,
            crops_per_run=settings.crops_per_run,
            runs=settings.runs,
            seed=parameters.seed,
            rules=rules,
            crop_uses=uses,
        )
        for shard, uses in zip_longest(crops, crop_uses, fillvalue=())
    ]
    return [ref for (ref,) in runner.run("score images", score_shard, recipes)]


def find_needed_crops(
    methods: Sequence[str], vectors: TableRef, settings: ScoreSettings
) -> CropChoice | None:
    """Find which crops methods need; None where one needs the whole pool of an image."""
    count, is_adaptive = settings.crop_count, SETTLING in methods
    needs_whole_pool = any(
        METHODS[name].needs_whole_pool(are_counted=count is not None) for name in methods
    )
    if needs_whole_pool or (count is None) != is_adaptive:
        return None
    if count is not None:
        return CropChoice(crops=count)
    return CropChoice(
        class_vectors=vectors,
        method=SETTLING,
        image_scale=settings.used_image_scale,
        agreement=settings.agreement,
    )


def choose_crops_of_images(
    runner: StageRunner,
    crops: list[TableRef],
    vectors: TableRef,
    methods: tuple[str, ...],
    encoder: EncoderIdentity,
    parameters: CropParameters,
    settings: ScoreSettings,
) -> list[Refs]:
    """Choose the crops that images have of their own; the `crop_use` tables of each shard."""
    recipe = CropUseRecipe(
        encoder=encoder,
        crops=parameters,
        embedded=vectors,
        image_scale=settings.used_image_scale,
    )
    kinds: list[dict[str, object]] = []
    if settings.crop_count is not None:
        kinds.append({"count": settings.crop_count})
    if SETTLING in methods:
        kinds.append({"class_vectors": vectors, "agreement": settings.agreement})
    recipes = [
        recipe.model_copy(update={"embedded": shard, **kind}) for shard in crops for kind in kinds
    ]
    if not recipes:
        return [() for _ in crops]
    chosen = [ref for (ref,) in runner.run("choose crops", choose_crops, recipes)]
    count = len(kinds)
    return [tuple(chosen[i : i + count]) for i in range(0, len(chosen), count)]


def gather_rule_inputs(
    methods: tuple[str, ...],
    described: TableRef,
    texts: list[TableRef],
    logits: Logits,
    settings: ScoreSettings,
) -> RuleInputs | None:
    """Gather what rules and sides that need labels rest on; None where class vectors are enough."""
    if not any(METHODS[name].needs_labels for name in methods):
        return None
    options = select_options(methods, settings.method_option)
    return RuleInputs(
        methods=tuple(name for name in methods if METHODS[name].rule),
        descriptions=described,
        text_embeddings=tuple(texts),
        logit_scale=logits.scale,
        logit_bias=logits.bias,
        options={owner: chosen.model_dump(mode="json") for owner, chosen in options.items()},
    )


def record_draws(
    runner: StageRunner,
    methods: tuple[str, ...],
    parameters: CropParameters,
    settings: ScoreSettings,
) -> list[TableRef]:
    """Write down which crops each run draws, if a method draws; the `draws` table."""
    if settings.crop_count is not None or not any(METHODS[name].has_draws for name in methods):
        return []
    recipe = DrawsRecipe(
        pool=parameters.pool,
        crops_per_run=settings.crops_per_run,
        runs=settings.runs,
        seed=parameters.seed,
    )
    ((draws,),) = runner.run("draw crops", draw_crops, [recipe])
    return [draws]


def summarise(runner: StageRunner, recipe: ResultsRecipe) -> Refs:
    """Compute the tables of results, having accounted for every image."""
    (tables,) = runner.run("summarise", summarise_run, [recipe])
    return tables
