"""The Prefect tasks that score: class vectors once, predictions per shard, accuracy at the end."""

import pyarrow as pa
from prefect import task
from pydantic import BaseModel, ConfigDict

from tasks.datasets.inbox import NewImage
from tasks.score.inbox import inbox_rows
from tasks.score.summarise import RESULT_TABLES, coverage, summarise
from tasks.store.schemas import schema
from tasks.store.tables import Recipe, Store, TableRef
from tasks.store.task import HOUR, MINUTE, TABLE_TASK


class ClassVectors(Recipe):
    """What decides the class vectors; `text_scale` None switches the text weights off."""

    descriptions: TableRef
    text_embeddings: tuple[TableRef, ...]
    methods: tuple[str, ...]
    text_scale: float | None
    dimension: int


class Predictions(Recipe):
    """What decides a shard's predictions; `image_scale` None switches the crop weights off."""

    crops: TableRef
    class_vectors: TableRef
    image_scale: float | None
    pool: int
    crops_per_run: int
    runs: int
    seed: int


class RunResults(BaseModel):
    """A run's result tables, and what became of its images."""

    model_config = ConfigDict(frozen=True)

    tables: tuple[TableRef, ...]
    image_count: int
    scored_count: int
    rejected_count: int


class Results(Recipe):
    """What decides a run's result tables."""

    images: TableRef
    classes: TableRef
    predictions: tuple[TableRef, ...]
    undecodable: tuple[TableRef, ...]


class InboxBatch(Recipe):
    """What decides a batch's `inbox` table, but for the time."""

    inbox_name: str
    run_id: str
    method: str
    files: tuple[NewImage, ...]
    images: TableRef
    classes: TableRef
    predictions: tuple[TableRef, ...]
    rejected: TableRef


# Scoring is arithmetic on what is embedded already: minutes for ImageNet on two cores.
SCORE_TIMEOUT_SEC = 2 * HOUR


@task(name="class-vectors", **TABLE_TASK, timeout_seconds=SCORE_TIMEOUT_SEC)
def class_vectors(store_root: str, recipe: ClassVectors) -> TableRef:
    """Write the `class_vectors` table."""
    from tasks.score.predict import class_vector_rows

    store = Store.at(store_root)
    texts = pa.concat_tables([store.read(ref) for ref in recipe.text_embeddings])
    batch = class_vector_rows(
        store.read(recipe.descriptions), texts, recipe.methods, recipe.text_scale
    )
    name = "class_vectors"
    return store.write(name, recipe.digest, schema(name, recipe.dimension), [batch])


@task(name="score-images", **TABLE_TASK, timeout_seconds=SCORE_TIMEOUT_SEC)
def score_shard(store_root: str, recipe: Predictions) -> TableRef:
    """Write a shard's `predictions` table."""
    from tasks.score.predict import predict
    from tasks.score.weights import draw_counts

    store = Store.at(store_root)
    batches = predict(
        store.read(recipe.crops, ["image_digest", "embedding"]),
        store.read(recipe.class_vectors),
        draw_counts(recipe.pool, recipe.crops_per_run, recipe.runs, recipe.seed),
        recipe.image_scale,
    )
    return store.write("predictions", recipe.digest, schema("predictions"), batches)


@task(name="summarise", **TABLE_TASK, timeout_seconds=SCORE_TIMEOUT_SEC)
def summarise_run(store_root: str, recipe: Results) -> RunResults:
    """Write the result tables, having accounted for every image."""
    store = Store.at(store_root)
    inputs = {
        "images": [recipe.images],
        "classes": [recipe.classes],
        "predictions": list(recipe.predictions),
        "undecodable": list(recipe.undecodable),
    }
    tables = summarise(store, inputs)
    covered = coverage(store, inputs, tables["rejected"])
    refs = tuple(
        store.write(name, recipe.digest, schema(name), tables[name].to_batches())
        for name in RESULT_TABLES
    )
    return RunResults(tables=refs, **covered._asdict())


@task(name="record-batch", **TABLE_TASK, timeout_seconds=10 * MINUTE)  # a few thousand rows
def record_batch(store_root: str, recipe: InboxBatch) -> TableRef:
    """Write a batch's `inbox` table: from then on its images are done."""
    store = Store.at(store_root)
    rows = inbox_rows(
        store.read(recipe.images),
        store.read(recipe.classes),
        pa.concat_tables([store.read(ref) for ref in recipe.predictions]),
        store.read(recipe.rejected),
        {
            image.digest: {
                "image_name": image.stamp.name,
                "size_bytes": image.stamp.size_bytes,
                "modified_ns": image.stamp.modified_ns,
            }
            for image in recipe.files
        },
        {"inbox_name": recipe.inbox_name, "run_id": recipe.run_id, "method": recipe.method},
    )
    return store.write_rows("inbox", recipe.digest, schema("inbox"), rows)
