"""The Prefect tasks that embed one shard of images or texts."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pyarrow as pa
from prefect.logging import get_run_logger
from pydantic import Field

from tasks.datasets.index import IndexedDataset, find_image_names, read_image
from tasks.embed.choice import CropChoice, read_choice, sees_square
from tasks.embed.crops import CropParameters, digest_crop_law, digest_square_law
from tasks.embed.identity import (
    CPU_IMAGE_BATCH,
    EncoderIdentity,
    EncoderSource,
    Resampling,
    is_reference,
)
from tasks.embed.pieces import Pieces
from tasks.embed.reuse import (
    EMBEDDING_KEY,
    add_footer_keys,
    find_held_views,
    list_held_tables,
    read_held_views,
)
from tasks.runtime.errors import InputError
from tasks.runtime.gpus import lock_gpu, needs_gpu
from tasks.runtime.heap import keep_freed_memory, release_freed_memory
from tasks.runtime.stopping import raise_if_stopped
from tasks.runtime.threads import cores
from tasks.store.code import digest_code
from tasks.store.digest import digest_of
from tasks.store.schemas import schema
from tasks.store.tables import CODE_KEY, Recipe, Store, TableRef
from tasks.table_task import HOUR, current_count, table_task

if TYPE_CHECKING:
    from tasks.embed.images import Images  # with torch, seconds to import


POOL_OF_MARK = 100  # stands for every pool


class CropsRecipe(Recipe):
    """Everything that decides the rows of a shard of crops.

    revision: raised when changed code makes other embeddings. crop_law: changes by itself when
    changed code draws other boxes. has_heic: whether an image is HEIC by its name, which earlier
    versions rejected. held: tables that may hold views of the images, as `name_held_tables` finds.
    """

    encoder: EncoderIdentity
    crops: CropParameters
    resampling: Resampling
    image_digests: tuple[str, ...]
    revision: int = 1
    crop_law: str = Field(default_factory=lambda values: digest_crop_law(values["crops"]))
    choice: CropChoice | None = Field(None, exclude_if=lambda choice: choice is None)
    has_heic: bool = Field(False, exclude_if=lambda has_heic: not has_heic)
    held: tuple[TableRef, ...] = Field((), exclude=True)

    @property
    def views_at_once(self) -> int:
        """How many views a CPU encodes at once: always as many, and of a small pool all."""
        return min(CPU_IMAGE_BATCH, 1 + self.crops.pool)

    @property
    def least_bytes_per_image(self) -> int:
        """The bytes of an image's embeddings: of all that are surely encoded, uncompressed."""
        crop_count = self.crops.pool if self.choice is None else self.choice.crops or 0
        size = 4 if self.encoder.precision == "fp32" else 2
        return (1 + crop_count) * self.encoder.dimension * size

    @property
    def marks(self) -> tuple[str, str]:
        """What the footers of tables with the same views say: today, and in earlier versions.

        Pools share views, as the smaller one is the beginning of the larger one, but for `refined`.
        Earlier versions name the pool and the sides of squares.
        """
        views = self.model_copy(update={"image_digests": (), "choice": None, "has_heic": False})
        older = views.model_copy(update={"crop_law": digest_square_law(self.crops)})
        if self.views_at_once == CPU_IMAGE_BATCH and self.crops.crop_strategy != "refined":
            crops = self.crops.model_copy(update={"pool": POOL_OF_MARK})
            law = digest_crop_law(crops)
            views = views.model_copy(update={"crops": crops, "crop_law": law})
        return views.digest, older.digest


class TextEmbeddingsRecipe(Recipe):
    """Everything that decides the rows of a shard of texts; revision and held: as for crops."""

    encoder: EncoderIdentity
    texts: tuple[str, ...]
    revision: int = 2
    held: tuple[TableRef, ...] = Field((), exclude=True)

    @property
    def mark(self) -> str:
        """What the footers of tables of texts by the same encoder say."""
        return self.model_copy(update={"texts": ()}).digest


class PrecisionCheckRecipe(Recipe):
    """Everything that decides the measured error of a run's embeddings."""

    code = ("tasks.embed.precision", "tasks.embed.task")

    encoder: EncoderIdentity
    crops: CropParameters
    resampling: Resampling
    embedded: TableRef


class CropUseRecipe(Recipe):
    """Everything that decides by which crops a shard's images are classified.

    count: a fixed number, in the order of their cover; class_vectors and agreement: as many as
    settle an image's class. image_scale: exponent of the crop weights' scale, None for equal ones.
    """

    code = ("tasks.embed.crop_use", "tasks.embed.task")

    encoder: EncoderIdentity
    crops: CropParameters
    embedded: TableRef
    image_scale: float | None
    count: int | None = None
    class_vectors: TableRef | None = None
    agreement: float | None = None


def name_held_tables(
    store: Store, recipes: Sequence[CropsRecipe], recompute: bool
) -> list[CropsRecipe]:
    """Add to the recipes of a stage the tables that may hold views of their images.

    recipes: of the same crops and encoder, in the order of digests. recompute: only tables that
    this code has made.
    """
    code = digest_embedding_code() if recompute else None
    keys = [_list_footer_keys(mark, code) for mark in recipes[0].marks]
    held = list_held_tables(store, keys, [recipe.image_digests for recipe in recipes])
    return [
        recipe.model_copy(update={"held": tuple(refs)})
        for recipe, refs in zip(recipes, held, strict=True)
    ]


def name_held_texts(
    store: Store, recipes: Sequence[TextEmbeddingsRecipe], recompute: bool
) -> list[TextEmbeddingsRecipe]:
    """As `name_held_tables`, for recipes of texts: each may find some in every table."""
    code = digest_embedding_code() if recompute else None
    keys = _list_footer_keys(recipes[0].mark, code)
    held = tuple(store.find_by_footer("text_embeddings", keys))
    return [recipe.model_copy(update={"held": held}) for recipe in recipes]


# A large encoder on a slow CPU takes hours for a shard, and on a GPU a shard waits for its turn.
EMBED_TIMEOUT_SEC = 24 * HOUR


@table_task("embed-images", EMBED_TIMEOUT_SEC, "crops", "undecodable")
def embed_image_shard(
    store_root: str,
    recipe: CropsRecipe,
    dataset: IndexedDataset,
    encoder: EncoderSource,
    batch_size: int | None,
    recompute: bool,
) -> tuple[TableRef, TableRef]:
    """Write a shard's `crops` and `undecodable` tables.

    Images that one of the recipe's `held` tables or a piece of this shard holds are copied, not
    embedded again. recompute: the pieces are only those that this code has made.
    """
    from tasks.embed.images import Images, copy_images

    store = Store(store_root)
    keep_freed_memory()
    digests, code = recipe.image_digests, digest_embedding_code()
    pieces = Pieces(store, digest_of(["pieces", recipe.digest, code if recompute else None]))
    tables = dict.fromkeys((*pieces.refs, *recipe.held))  # these may list pieces, too
    held = find_held_views(store, tables, digests, 1 + recipe.crops.pool)
    missing = set(digests) - held.complete
    codes = store.read_codes(held.images) | ({code} if missing else set())
    dimension, precision = recipe.encoder.dimension, recipe.encoder.precision
    columns = add_footer_keys(schema("crops", dimension, precision), recipe.marks[0], codes)
    started = time.perf_counter()
    with (
        lock_gpu(encoder.device) if missing else nullcontext(),
        _explain_out_of_memory(),
    ):
        places = find_image_names(store, dataset, sorted(missing))

        def read(digest: str) -> bytes:
            raise_if_stopped()
            return read_image(dataset, places[digest], digest)

        images = Images(
            digests,
            read,
            recipe.crops,
            [],
            cores(),
            choose=read_choice(store, recipe.choice, recipe.encoder),
            is_half=precision != "fp32",
            count=current_count().update,
            stored=read_held_views(store, held),
        )
        rows = _embed(images, recipe, encoder, batch_size) if missing else copy_images(images)
        kept = pieces.keep(rows, columns, images.copied)
        crops = store.write("crops", recipe.digest, columns, kept)
        release_freed_memory()  # a run of many shards takes no more than one of a few
    undecodable = store.write_rows(
        "undecodable", recipe.digest, schema("undecodable"), images.rejected
    )
    pieces.remove()
    new_count = len(digests) - len(images.copied)
    rate = new_count / (time.perf_counter() - started)
    message = "Embedded %d images (%d rejected), %.1f images/s; reused the embeddings of %d images."
    get_run_logger().info(message, new_count, len(images.rejected), rate, len(images.copied))
    return crops, undecodable


def _embed(
    images: "Images", recipe: CropsRecipe, encoder: EncoderSource, batch_size: int | None
) -> Iterator[pa.RecordBatch]:
    from tasks.embed.encoder import load_encoder
    from tasks.embed.images import embed_images, embed_images_in_batches

    model = load_encoder(encoder)
    if needs_gpu(encoder.device) or recipe.resampling == "device":
        size = batch_size or model.batch_size
        return embed_images_in_batches(images, model, size, recipe.resampling)
    return embed_images(images, model, recipe.views_at_once)


@table_task("check-precision", EMBED_TIMEOUT_SEC, "precision_checks")
def check_precision(
    store_root: str, recipe: PrecisionCheckRecipe, dataset: IndexedDataset, encoder: EncoderSource
) -> TableRef:
    """Write a run's `precision_checks` table; load the encoder in fp32 only to compare."""
    from tasks.embed.precision import CosineErrors, measure_cosine_errors, read_checked_rows

    store = Store(store_root)
    errors = CosineErrors(0, 0.0, 0.0)
    if recipe.embedded.row_count and not is_reference(recipe.encoder, recipe.resampling):
        from tasks.embed.encoder import Encoder

        keep_freed_memory()
        checked = read_checked_rows(store, recipe.embedded)
        places = find_image_names(store, dataset, checked["image_digest"].unique().to_pylist())
        exact = encoder.identity.model_copy(update={"precision": "fp32"})
        with lock_gpu(encoder.device), _explain_out_of_memory():
            errors = measure_cosine_errors(
                checked,
                lambda digest: read_image(dataset, places[digest], digest),
                recipe.crops,
                Encoder(encoder.model_copy(update={"identity": exact})),
            )
    row = {"precision": recipe.encoder.precision, "resampling": recipe.resampling}
    columns, rows = schema("precision_checks"), [{**row, **errors._asdict()}]
    return store.write_rows("precision_checks", recipe.digest, columns, rows)


@table_task("embed-texts", EMBED_TIMEOUT_SEC, "text_embeddings")
def embed_text_shard(
    store_root: str, recipe: TextEmbeddingsRecipe, encoder: EncoderSource
) -> TableRef:
    """Write a shard's `text_embeddings` table.

    Texts that one of the recipe's `held` tables holds are copied, not encoded again.
    """
    from tasks.embed.texts import embed_texts, order_rows, read_reusable_texts

    store = Store(store_root)
    code, columns = digest_embedding_code(), schema("text_embeddings", recipe.encoder.dimension)
    reused, codes = read_reusable_texts(store, recipe.held, columns, recipe.texts)
    reused_texts = set(reused["text"].to_pylist())
    missing = [text for text in recipe.texts if text not in reused_texts]
    count = current_count()
    count.update(reused.num_rows)
    batches = reused.to_batches()
    if missing:
        from tasks.embed.encoder import load_encoder

        keep_freed_memory()
        with lock_gpu(encoder.device), _explain_out_of_memory():
            for batch in embed_texts(missing, load_encoder(encoder)):
                raise_if_stopped()
                batches.append(batch)
                count.update(batch.num_rows)
    rows = order_rows(pa.Table.from_batches(batches, schema=columns), recipe.texts)
    columns = add_footer_keys(columns, recipe.mark, codes | ({code} if missing else set()))
    get_run_logger().info(
        "Embedded %d texts; reused the embeddings of %d texts.", len(missing), reused.num_rows
    )
    return store.write("text_embeddings", recipe.digest, columns, rows.to_batches())


def _list_footer_keys(mark: str, code: str | None) -> dict[bytes, bytes]:
    """The footer keys of tables whose rows may be reused; code: only of this one."""
    keys = {EMBEDDING_KEY: mark.encode()}
    return keys if code is None else {**keys, CODE_KEY: code.encode()}


def digest_embedding_code() -> str:
    """Compute the digest of the code that embeds; the footer of each table of embeddings has it."""
    return digest_code("tasks.embed.images", "tasks.embed.encoder", "tasks.embed.texts")


def unload_encoder() -> None:
    """Free the memory of the encoder that this process has loaded, if any."""
    encoder = sys.modules.get("tasks.embed.encoder")  # an import here would take seconds
    if unload := getattr(encoder, "unload_encoder", None):
        unload()


@contextmanager
def _explain_out_of_memory() -> Iterator[None]:
    """Raise InputError where a GPU's memory is too small: a retry would need as much."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            "The GPU's memory is too small: choose a smaller --batch-size, --exact for large "
            "photographs, or --device cpu."
        ) from error
    finally:
        torch.cuda.empty_cache()  # the next holder of the GPU cannot free this process's cache


@table_task("choose-crops", HOUR, "crop_use")
def choose_crops(store_root: str, recipe: CropUseRecipe) -> TableRef:
    """Write a shard's `crop_use` table."""
    import pyarrow.compute as pc

    from tasks.embed.crop_use import READ_COLUMNS, CropRule, crop_use_rows
    from tasks.methods.adaptive import StopRule
    from tasks.methods.registry import SETTLING
    from tasks.store.embeddings import embedding_matrix

    store = Store(store_root)
    rule = CropRule(recipe.image_scale, recipe.count)
    if recipe.class_vectors is not None and recipe.agreement is not None:
        vectors = store.read(recipe.class_vectors).filter(pc.field("method") == SETTLING)
        classes = embedding_matrix(vectors["embedding"])
        rule = rule._replace(stop=StopRule(classes, recipe.image_scale, recipe.agreement))
    batches = store.read_blocks(recipe.embedded, list(READ_COLUMNS), 64 * (1 + recipe.crops.pool))
    rows = crop_use_rows(batches, recipe.crops, rule, is_square=sees_square(recipe.encoder))
    return store.write("crop_use", recipe.digest, schema("crop_use"), rows)
