"""The Prefect tasks that score: class vectors, predictions of each shard, result tables."""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tasks.score import (
    ALIGNMENT_TABLES,
    EXPLANATION_TABLES,
    RESULT_TABLES,
    STATISTICS_TABLES,
    SWEEP_TABLES,
)
from tasks.score.summarise import account_for_images, summarise
from tasks.score.sweep import SweepPoint, sweep_tables
from tasks.store.schemas import schema
from tasks.store.tables import Recipe, Store, TableRef
from tasks.table_task import HOUR, table_task

if TYPE_CHECKING:  # seconds to import
    from tasks.score.predict import SharedInputs


class ClassVectorsRecipe(Recipe):
    """What decides the class vectors; `text_scale` None switches the text weights off."""

    code = ("tasks.score.predict", "tasks.score.task")

    descriptions: TableRef
    text_embeddings: tuple[TableRef, ...]
    methods: tuple[str, ...]
    text_scale: float | None
    dimension: int


class RuleInputs(BaseModel):
    """What decides the scores of rules, and of sides that need labels.

    methods: the rules. options: by name of a method or a side, every option of each that has any.
    logit_scale, logit_bias: the encoder's.
    """

    model_config = ConfigDict(frozen=True)

    methods: tuple[str, ...]
    descriptions: TableRef
    text_embeddings: tuple[TableRef, ...]
    logit_scale: float
    logit_bias: float | None
    options: dict[str, dict[str, JsonValue]]


class PredictionsRecipe(Recipe):
    """What decides a shard's predictions; `image_scale` None switches the crop weights off.

    rules: only where a method needs more than class vectors, so that others do not depend on it.
    crop_uses: the shard's, where images have crops of their own.
    """

    code = ("tasks.score.predict", "tasks.score.task")

    crops: TableRef
    class_vectors: TableRef
    image_scale: float | None
    pool: int
    crops_per_run: int
    runs: int
    seed: int
    rules: RuleInputs | None = Field(None, exclude_if=lambda rules: rules is None)
    crop_uses: tuple[TableRef, ...] = Field((), exclude_if=lambda uses: not uses)


class DrawsRecipe(Recipe):
    """What decides which crops each run draws."""

    code = ("tasks.methods.wca", "tasks.score.task")

    pool: int
    crops_per_run: int
    runs: int
    seed: int


class StatisticsRecipe(Recipe):
    """What decides the statistics of a run's results.

    logit_scale, logit_bias: the encoder's; a bias makes confidence a sigmoid. pool, crops_per_run:
    the crops that runs draw from, and how many each draws. compared: methods that are compared
    though they are known by their sides alone.
    """

    code = ("tasks.score.statistics", "tasks.score.task")

    images: TableRef
    predictions: tuple[TableRef, ...]
    logit_scale: float
    logit_bias: float | None
    seed: int
    pool: int
    crops_per_run: int
    compared: tuple[str, ...] = ()


class AlignmentsRecipe(Recipe):
    """What decides how a shard's images align with descriptions of their own and other classes."""

    code = ("tasks.score.align", "tasks.score.task")

    images: TableRef
    crops: TableRef
    descriptions: TableRef
    text_embeddings: tuple[TableRef, ...]
    seed: int


class AlignmentSummaryRecipe(Recipe):
    """What decides the summary of all alignments."""

    code = ("tasks.score.align", "tasks.score.task")

    alignments: tuple[TableRef, ...]
    matched_alignments: tuple[TableRef, ...]


class ExplanationsRecipe(Recipe):
    """What decides the explanations of `count` images."""

    code = ("tasks.score.explained", "tasks.score.task")

    images: TableRef
    predictions: tuple[TableRef, ...]
    crops: tuple[TableRef, ...]
    class_vectors: TableRef
    descriptions: TableRef
    text_embeddings: tuple[TableRef, ...]
    image_scale: float | None
    text_scale: float | None
    count: int
    draws: tuple[TableRef, ...] = ()
    crop_uses: tuple[TableRef, ...] = Field((), exclude_if=lambda uses: not uses)


class TextEffectsRecipe(Recipe):
    """What decides the effects of descriptions."""

    code = ("tasks.score.text_effects", "tasks.score.task")

    images: TableRef
    crops: tuple[TableRef, ...]
    descriptions: TableRef
    text_embeddings: tuple[TableRef, ...]
    pool: int
    image_scale: float | None
    text_scale: float | None


class SweepRecipe(Recipe):
    """What decides a sweep's tables."""

    code = ("tasks.score.sweep", "tasks.score.task")

    images: TableRef
    points: tuple[SweepPoint, ...]


class ResultsRecipe(Recipe):
    """What decides a run's result tables."""

    code = ("tasks.score.summarise", "tasks.score.task")

    images: TableRef
    classes: TableRef
    predictions: tuple[TableRef, ...]
    undecodable: tuple[TableRef, ...]


# Scoring is arithmetic on what is embedded already: minutes for ImageNet on two cores.
SCORE_TIMEOUT_SEC = 2 * HOUR


@table_task("class-vectors", SCORE_TIMEOUT_SEC, "class_vectors")
def class_vectors(store_root: str, recipe: ClassVectorsRecipe) -> TableRef:
    """Write the `class_vectors` table."""
    from tasks.score.predict import class_vector_rows

    store = Store(store_root)
    texts = store.read_all(recipe.text_embeddings)
    batch = class_vector_rows(
        store.read(recipe.descriptions), texts, recipe.methods, recipe.text_scale
    )
    name = "class_vectors"
    return store.write(name, recipe.digest, schema(name, recipe.dimension), [batch])


@table_task("score-images", SCORE_TIMEOUT_SEC, "predictions")
def score_shard(store_root: str, recipe: PredictionsRecipe) -> TableRef:
    """Write a shard's `predictions` table."""
    from tasks.methods.registry import METHODS
    from tasks.methods.wca import draw_counts
    from tasks.score.blocks import BOX_COLUMNS, VIEW_COLUMNS
    from tasks.score.predict import IMAGE_BLOCK, CropsInUse, predict

    store, given = Store(store_root), recipe.rules
    rules = [METHODS[name] for name in given.methods] if given else []
    has_boxes = any(method.rule and method.rule.needs_boxes for method in rules)
    batches = predict(
        store.read_blocks(
            recipe.crops,
            [*VIEW_COLUMNS, *(BOX_COLUMNS if has_boxes else ())],
            IMAGE_BLOCK * (1 + recipe.pool),
        ),
        store.read(recipe.class_vectors),
        draw_counts(recipe.pool, recipe.crops_per_run, recipe.runs, recipe.seed),
        recipe.image_scale,
        [method.name for method in rules],
        _read_shared_inputs(store, given) if given else None,
        CropsInUse.from_rows(store.read(ref) for ref in recipe.crop_uses),
    )
    return store.write("predictions", recipe.digest, schema("predictions"), batches)


def _read_shared_inputs(store: Store, given: RuleInputs) -> "SharedInputs":
    from tasks.methods.options import make_options
    from tasks.methods.registry import text_kinds
    from tasks.score.predict import SharedInputs, read_class_texts

    embedded = store.read_all(given.text_embeddings)
    kinds = text_kinds(given.methods)
    _, texts = read_class_texts(store.read(given.descriptions), embedded, kinds)
    options = [make_options(owner, values) for owner, values in given.options.items()]
    return SharedInputs(
        texts["label"].embeddings,
        texts,
        given.logit_scale,
        given.logit_bias,
        {type(chosen): chosen for chosen in options},
    )


@table_task("draw-crops", SCORE_TIMEOUT_SEC, "draws")
def draw_crops(store_root: str, recipe: DrawsRecipe) -> TableRef:
    """Write the `draws` table: the counts with which `score_shard` weighs crops."""
    from tasks.methods.wca import draw_counts

    counts = draw_counts(recipe.pool, recipe.crops_per_run, recipe.runs, recipe.seed)
    runs, pool = counts.shape
    table = pa.table(
        {
            "run_index": [run for run in range(runs) for _ in range(pool)],
            "crop_index": list(range(1, pool + 1)) * runs,
            "draw_count": counts.flatten().int().tolist(),
        }
    )
    return _write(Store(store_root), recipe, "draws", table.cast(schema("draws")))


@table_task("summarise", SCORE_TIMEOUT_SEC, *RESULT_TABLES)
def summarise_run(store_root: str, recipe: ResultsRecipe) -> tuple[TableRef, ...]:
    """Write the tables of results, having accounted for every image."""
    store = Store(store_root)
    inputs = {
        "images": [recipe.images],
        "classes": [recipe.classes],
        "predictions": list(recipe.predictions),
        "undecodable": list(recipe.undecodable),
    }
    tables = summarise(store, inputs)
    account_for_images(store, inputs, tables["rejected"])
    return tuple(_write(store, recipe, name, table) for name, table in tables.items())


@table_task("compare-methods", SCORE_TIMEOUT_SEC, *STATISTICS_TABLES)
def compare_methods(store_root: str, recipe: StatisticsRecipe) -> tuple[TableRef, ...]:
    """Write the tables of intervals, paired tests, calibration, and the grid of pairs."""
    from tasks.score.statistics import Protocol, statistics_tables

    store = Store(store_root)
    inputs = {"images": [recipe.images], "predictions": list(recipe.predictions)}
    protocol = Protocol(recipe.pool, recipe.crops_per_run)
    tables = statistics_tables(
        store,
        inputs,
        recipe.seed,
        protocol,
        recipe.logit_scale,
        recipe.logit_bias,
        recipe.compared,
    )
    return tuple(_write(store, recipe, name, table) for name, table in tables.items())


@table_task("align-images", SCORE_TIMEOUT_SEC, *ALIGNMENT_TABLES)
def align_shard(store_root: str, recipe: AlignmentsRecipe) -> tuple[TableRef, ...]:
    """Write a shard's tables of alignments."""
    from tasks.runtime.threads import one_core_products
    from tasks.score.align import alignment_rows, first_labels

    store = Store(store_root)
    described = store.read(recipe.descriptions)
    crops = store.read(recipe.crops, ["image_digest", "crop_index", "embedding"])
    ends, digest = pc.min_max(crops["image_digest"]), pc.field("image_digest")
    is_in_shard = (digest >= ends["min"]) & (digest <= ends["max"])
    images = store.read(recipe.images, ["image_digest", "class_id"], is_in_shard)
    with one_core_products():
        rows = list(
            alignment_rows(
                crops,
                first_labels(images),
                described.filter(pc.field("kind") == "description"),
                store.read_all(recipe.text_embeddings),
                recipe.seed,
            )
        )
    return tuple(
        store.write(name, recipe.digest, schema(name), [row[i] for row in rows])
        for i, name in enumerate(ALIGNMENT_TABLES)
    )


@table_task("summarise-alignments", SCORE_TIMEOUT_SEC, "alignment_summary")
def summarise_alignments(store_root: str, recipe: AlignmentSummaryRecipe) -> TableRef:
    """Write the `alignment_summary` table."""
    from tasks.score.align import alignment_summary

    store = Store(store_root)
    inputs = {name: list(getattr(recipe, name)) for name in ALIGNMENT_TABLES}
    return _write(store, recipe, "alignment_summary", alignment_summary(store, inputs))


@table_task("explain-images", SCORE_TIMEOUT_SEC, *EXPLANATION_TABLES)
def explain_images(store_root: str, recipe: ExplanationsRecipe) -> tuple[TableRef, ...]:
    """Write the tables that explain some images."""
    from tasks.runtime.threads import one_core_products
    from tasks.score.explained import explanation_tables

    store = Store(store_root)
    inputs = {
        "images": [recipe.images],
        "predictions": list(recipe.predictions),
        "crops": list(recipe.crops),
        "draws": list(recipe.draws),
        "crop_use": list(recipe.crop_uses),
        "class_vectors": [recipe.class_vectors],
        "descriptions": [recipe.descriptions],
        "text_embeddings": list(recipe.text_embeddings),
    }
    scales = (recipe.image_scale, recipe.text_scale)
    with one_core_products():
        tables = explanation_tables(store, inputs, recipe.count, *scales)
    return tuple(_write(store, recipe, name, table) for name, table in tables.items())


@table_task("measure-texts", SCORE_TIMEOUT_SEC, "text_effects")
def measure_texts(store_root: str, recipe: TextEffectsRecipe) -> TableRef:
    """Write the `text_effects` table."""
    from tasks.score.align import first_labels
    from tasks.score.blocks import VIEW_COLUMNS, split_images
    from tasks.score.predict import IMAGE_BLOCK
    from tasks.score.text_effects import measure_texts as measure

    store = Store(store_root)
    size = IMAGE_BLOCK * (1 + recipe.pool)
    table = measure(
        (
            block
            for ref in recipe.crops
            for block in split_images(
                store.read_blocks(ref, [*VIEW_COLUMNS], size), recipe.pool, IMAGE_BLOCK
            )
        ),
        first_labels(store.read(recipe.images, ["image_digest", "class_id"])),
        store.read(recipe.descriptions),
        store.read_all(recipe.text_embeddings),
        recipe.pool,
        recipe.image_scale,
        recipe.text_scale,
    )
    return _write(store, recipe, "text_effects", table)


@table_task("summarise-sweep", SCORE_TIMEOUT_SEC, *SWEEP_TABLES)
def summarise_sweep(store_root: str, recipe: SweepRecipe) -> tuple[TableRef, ...]:
    """Write the tables of a sweep."""
    store = Store(store_root)
    tables = sweep_tables(store, recipe.images, recipe.points)
    return tuple(_write(store, recipe, name, table) for name, table in tables.items())


def _write(store: Store, recipe: Recipe, name: str, table: pa.Table) -> TableRef:
    return store.write(name, recipe.digest, schema(name), table.to_batches())
