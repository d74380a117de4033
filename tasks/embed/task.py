"""The Prefect tasks that embed one shard of images or texts."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pyarrow as pa
from prefect import task
from prefect.logging import get_run_logger
from pydantic import BaseModel, ConfigDict

from tasks.datasets.index import IndexedDataset, find_image_names, read_image
from tasks.embed.crops import CropParameters
from tasks.embed.identity import EncoderIdentity, EncoderSource, Resampling, is_reference
from tasks.runtime.errors import InputError
from tasks.runtime.gpus import needs_gpu
from tasks.runtime.heap import keep_freed_memory, release_freed_memory
from tasks.runtime.progress import Progress
from tasks.runtime.stopping import raise_if_stopped
from tasks.runtime.threads import cores
from tasks.store.schemas import schema
from tasks.store.tables import Recipe, Store, TableRef
from tasks.table_task import HOUR, TABLE_TASK, gpu_slot, report_progress

if TYPE_CHECKING:
    from tasks.embed.images import Images  # with torch, seconds to import


class CropsRecipe(Recipe):
    """What decides the rows of a shard of crops: the images' bytes, the crops, the encoder.

    resampling: who resizes the crops.
    """

    encoder: EncoderIdentity
    crops: CropParameters
    resampling: Resampling
    image_digests: tuple[str, ...]


class TextEmbeddingsRecipe(Recipe):
    """What decides the rows of a shard of texts."""

    encoder: EncoderIdentity
    texts: tuple[str, ...]


class PrecisionCheckRecipe(Recipe):
    """What decides how far a run's embeddings are from the reference: they and how they came."""

    encoder: EncoderIdentity
    crops: CropParameters
    resampling: Resampling
    embedded: TableRef


class EmbeddedImages(BaseModel):
    """The two tables of a shard: the views of its images, and the images that have none."""

    model_config = ConfigDict(frozen=True)

    crops: TableRef
    undecodable: TableRef


# A large encoder on a slow CPU takes hours for a shard, and on a GPU a shard waits for its turn.
EMBED_TIMEOUT_SEC = 24 * HOUR


@task(name="embed-images", **TABLE_TASK, timeout_seconds=EMBED_TIMEOUT_SEC)
def embed_image_shard(
    store_root: str,
    recipe: CropsRecipe,
    dataset: IndexedDataset,
    encoder: EncoderSource,
    batch_size: int | None,
    progress: Progress,
) -> EmbeddedImages:
    """Write a shard's `crops` and `undecodable` tables, unless both are there.

    Only images that no table of crops made alike holds are embedded; the rows are the same.
    """
    from tasks.embed.images import Images
    from tasks.embed.known import crops_schema, known_images, with_known

    store = Store(store_root)
    crops = store.find("crops", recipe.digest)
    undecodable = store.find("undecodable", recipe.digest)
    if crops and undecodable:
        return EmbeddedImages(crops=crops, undecodable=undecodable)
    keep_freed_memory()
    mark = recipe.model_copy(update={"image_digests": ()}).digest
    known = known_images(store, mark, recipe.image_digests)
    missing = sorted(set(recipe.image_digests).difference(*known.values()))
    rejected: list[dict[str, object]] = []
    started = time.perf_counter()
    with (
        gpu_slot(encoder.device) if missing else nullcontext(),
        _memory_to_spare(),
        report_progress("embedding images", " images", progress) as count,
    ):
        count.update(len(recipe.image_digests) - len(missing))
        places = find_image_names(store, dataset, missing)

        def read(digest: str) -> bytes:
            raise_if_stopped()
            data = read_image(dataset, places[digest], digest)
            count.update()
            return data

        images = Images(missing, read, recipe.crops, rejected, cores())
        fresh = _embedded(images, recipe, encoder, batch_size) if missing else iter(())
        columns = crops_schema(recipe.encoder.dimension, recipe.encoder.precision, mark)
        rows = with_known(store, known, 1 + recipe.crops.pool, fresh)
        crops = store.write("crops", recipe.digest, columns, rows)
        release_freed_memory()  # a run of many shards takes no more than one of a few
    undecodable = store.write_rows("undecodable", recipe.digest, schema("undecodable"), rejected)
    get_run_logger().info(
        "Embedded %d images (%d rejected), %.1f images/s; %d were known.",
        len(missing),
        len(rejected),
        len(missing) / (time.perf_counter() - started),
        len(recipe.image_digests) - len(missing),
    )
    return EmbeddedImages(crops=crops, undecodable=undecodable)


def _embedded(
    images: "Images", recipe: CropsRecipe, encoder: EncoderSource, batch_size: int | None
) -> Iterator[pa.RecordBatch]:
    """The `crops` rows of images, by the encoder that is loaded for the first."""
    from tasks.embed.encoder import load_encoder
    from tasks.embed.images import embed_images, embed_images_together

    model = load_encoder(encoder)
    size = batch_size or model.batch_size
    if needs_gpu(encoder.device) or recipe.resampling == "device":
        return embed_images_together(images, model, size, recipe.resampling)
    return embed_images(images, model, size)


@task(name="check-precision", **TABLE_TASK, timeout_seconds=EMBED_TIMEOUT_SEC)
def check_precision(
    store_root: str, recipe: PrecisionCheckRecipe, dataset: IndexedDataset, encoder: EncoderSource
) -> TableRef:
    """Write a run's `precision_checks` table; where there is something to compare, load fp32."""
    from tasks.embed.precision import CosineErrors, checked_rows, cosine_errors

    store = Store(store_root)
    errors = CosineErrors(0, 0.0, 0.0)
    if recipe.embedded.row_count and not is_reference(recipe.encoder, recipe.resampling):
        from tasks.embed.encoder import Encoder

        keep_freed_memory()
        rows = checked_rows(store, recipe.embedded)
        places = find_image_names(store, dataset, rows["image_digest"].unique().to_pylist())
        exact = encoder.identity.model_copy(update={"precision": "fp32"})
        with gpu_slot(encoder.device), _memory_to_spare():
            errors = cosine_errors(
                rows,
                lambda digest: read_image(dataset, places[digest], digest),
                recipe.crops,
                Encoder(encoder.model_copy(update={"identity": exact})),
            )
    row = {"precision": recipe.encoder.precision, "resampling": recipe.resampling}
    columns = schema("precision_checks")
    return store.write_rows(
        "precision_checks", recipe.digest, columns, [{**row, **errors._asdict()}]
    )


@task(name="embed-texts", **TABLE_TASK, timeout_seconds=EMBED_TIMEOUT_SEC)
def embed_text_shard(
    store_root: str, recipe: TextEmbeddingsRecipe, encoder: EncoderSource, progress: Progress
) -> TableRef:
    """Write a shard's `text_embeddings` table, unless it is there.

    Only texts that no table of the same encoder holds are encoded; the rows are the same.
    """
    from tasks.embed.texts import embed_texts, in_order, known_texts, text_schema

    store = Store(store_root)
    if stored := store.find("text_embeddings", recipe.digest):
        return stored
    known = known_texts(store, recipe.encoder, recipe.texts)
    held = set(known["text"].to_pylist())
    missing = [text for text in recipe.texts if text not in held]
    with report_progress("embedding texts", " texts", progress) as count:
        count.update(known.num_rows)
        batches = known.to_batches()
        if missing:
            from tasks.embed.encoder import load_encoder

            keep_freed_memory()
            with gpu_slot(encoder.device), _memory_to_spare():
                for batch in embed_texts(missing, load_encoder(encoder)):
                    raise_if_stopped()
                    batches.append(batch)
                    count.update(batch.num_rows)
    columns = text_schema(recipe.encoder)
    rows = in_order(pa.Table.from_batches(batches, schema=columns), recipe.texts)
    get_run_logger().info("Embedded %d texts; %d were known.", len(missing), known.num_rows)
    return store.write("text_embeddings", recipe.digest, columns, rows.to_batches())


def unload_encoder() -> None:
    """Have this process forget its encoder, if it has loaded one: others need the memory."""
    encoder = sys.modules.get("tasks.embed.encoder")  # which takes seconds to import
    if forget := getattr(encoder, "unload_encoder", None):
        forget()


@contextmanager
def _memory_to_spare() -> Iterator[None]:
    """Raise InputError where a GPU's memory is too small: a second attempt would be as large."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            "The GPU's memory is too small: choose a smaller --batch-size, --exact for large "
            "photographs, or --device cpu."
        ) from error
    finally:
        torch.cuda.empty_cache()  # whoever holds the GPU next could not have it emptied
