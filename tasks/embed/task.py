"""The Prefect tasks that embed one shard of images or texts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from prefect import task
from prefect.logging import get_run_logger
from pydantic import BaseModel, ConfigDict

from tasks.datasets.index import IndexedDataset, image_places, read_image
from tasks.embed.crops import CropParameters
from tasks.embed.identity import EncoderIdentity, EncoderSource
from tasks.store.errors import InputError
from tasks.store.progress import Progress
from tasks.store.schemas import schema
from tasks.store.stopping import go_on
from tasks.store.tables import Recipe, Store, TableRef
from tasks.store.task import HOUR, TABLE_TASK, gpu_slot, shown_progress


class ImageShard(Recipe):
    """What decides the rows of a shard of crops: the images' bytes, the crops, the encoder."""

    encoder: EncoderIdentity
    crops: CropParameters
    image_digests: tuple[str, ...]


class TextShard(Recipe):
    """What decides the rows of a shard of texts."""

    encoder: EncoderIdentity
    texts: tuple[str, ...]


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
    recipe: ImageShard,
    dataset: IndexedDataset,
    source: EncoderSource,
    batch_size: int,
    progress: Progress,
) -> EmbeddedImages:
    """Write a shard's `crops` and `undecodable` tables, unless both are there."""
    from tasks.embed.encoder import cores, keep_heap, load_encoder
    from tasks.embed.images import embed_images

    store = Store.at(store_root)
    crops = store.find("crops", recipe.digest)
    undecodable = store.find("undecodable", recipe.digest)
    if crops and undecodable:
        return EmbeddedImages(crops=crops, undecodable=undecodable)
    keep_heap()
    places = image_places(store, dataset)
    rejected: list[dict[str, object]] = []
    with (
        gpu_slot(source.device),
        _memory_to_spare(),
        shown_progress("embedding images", " images", progress) as count,
    ):
        encoder = load_encoder(source)
        started = time.perf_counter()

        def read(digest: str) -> bytes:
            go_on()
            data = read_image(dataset, places[digest], digest)
            count.update()
            return data

        crops = store.write(
            "crops",
            recipe.digest,
            schema("crops", recipe.encoder.dimension),
            embed_images(
                recipe.image_digests, read, recipe.crops, encoder, batch_size, rejected, cores()
            ),
        )
    undecodable = store.write_rows("undecodable", recipe.digest, schema("undecodable"), rejected)
    rate = len(recipe.image_digests) / (time.perf_counter() - started)
    get_run_logger().info(
        "Embedded %d images (%d rejected), %.1f images/s.",
        len(recipe.image_digests),
        len(rejected),
        rate,
    )
    return EmbeddedImages(crops=crops, undecodable=undecodable)


@task(name="embed-texts", **TABLE_TASK, timeout_seconds=EMBED_TIMEOUT_SEC)
def embed_text_shard(
    store_root: str, recipe: TextShard, source: EncoderSource, progress: Progress
) -> TableRef:
    """Write a shard's `text_embeddings` table, unless it is there."""
    from tasks.embed.encoder import load_encoder
    from tasks.embed.texts import embed_texts

    store = Store.at(store_root)
    if stored := store.find("text_embeddings", recipe.digest):
        return stored
    with (
        gpu_slot(source.device),
        _memory_to_spare(),
        shown_progress("embedding texts", " texts", progress) as count,
    ):
        encoder = load_encoder(source)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in embed_texts(recipe.texts, encoder):
                go_on()
                yield batch
                count.update(batch.num_rows)

        return store.write(
            "text_embeddings",
            recipe.digest,
            schema("text_embeddings", recipe.encoder.dimension),
            batches(),
        )


@contextmanager
def _memory_to_spare() -> Iterator[None]:
    """Raise InputError where a GPU's memory is too small: a second attempt would be as large."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            "The GPU's memory is too small for this batch: choose a smaller --batch-size, "
            "or --device cpu."
        ) from error
