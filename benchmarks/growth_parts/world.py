"""A synthetic run of any size: tables as the encoder would write them, in a store of its own."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.embed.crops import CropParameters
from tasks.store.digest import bytes_digest, digest_of, even_chunks, shards_by_digest
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

METHODS = ("clip", "cupl", "wca")
POOL, DRAWN, RUNS, DIMENSION, SHARD = 20, 12, 20, 64, 1000
# Texts in a table, as a run has them.
TEXTS_PER_SHARD = 4096
IMAGE_WIDTH, IMAGE_HEIGHT = 500, 375


class Size(NamedTuple):
    """How large a run is; texts: descriptions of each class."""

    images: int = 10_000
    classes: int = 100
    texts: int = 10

    @property
    def name(self) -> str:
        """A name for a folder."""
        return "-".join(map(str, self))


class World(NamedTuple):
    """The tables of a run before it is scored."""

    images: TableRef
    classes: TableRef
    descriptions: TableRef
    text_embeddings: tuple[TableRef, ...]
    crops: tuple[TableRef, ...]
    undecodable: tuple[TableRef, ...]


def write_world(store: Store, size: Size) -> Iterator[World | None]:
    """Write the tables that are not there yet: None after each shard, at last all of them."""
    digests = [image_digest(number) for number in range(size.images)]
    images = _write(store, "images", size, _image_rows(digests, size))
    names = [f"class {c}" for c in range(size.classes)]
    rows = pa.table([np.arange(size.classes, dtype=np.int32), names], schema("classes"))
    classes = _write(store, "classes", size, iter(rows.to_batches()))
    described = _describe(names, size.texts)
    descriptions = _write(store, "descriptions", size, iter(described.to_batches()))
    centres = _draw_units(np.random.default_rng(0), size.classes)
    embedded = [
        _write(store, "text_embeddings", (size, chunk[0]), _text_rows(described, chunk, centres))
        for chunk in even_chunks(range(described.num_rows), TEXTS_PER_SHARD)
    ]
    crops = []
    for shard in shards_by_digest(digests, SHARD):
        crops.append(_write(store, "crops", (size, shard), _view_rows(shard, centres, size)))
        yield None
    undecodable = _write(store, "undecodable", size, iter(()))
    yield World(images, classes, descriptions, tuple(embedded), tuple(crops), (undecodable,))


def image_digest(number: int) -> str:
    """The digest that stands for the bytes of an image."""
    return bytes_digest(number.to_bytes(8))


def label_of(digest: str, classes: int) -> int:
    """The class of an image."""
    return int(digest[-8:], 16) % classes


def run_parameters() -> dict[str, Any]:
    """What a run of these tables records as its parameters."""
    crops = CropParameters(pool=POOL).model_dump(mode="json")
    return {**crops, "methods": list(METHODS), "image_scale": 4.0, "text_scale": 2.0}


def _write(store: Store, table: str, key: object, batches: Iterator[pa.RecordBatch]) -> TableRef:
    precision = "bf16" if table == "crops" else "fp32"
    digest = digest_of(["growth", table, key])
    columns = schema(table, DIMENSION, precision)
    return store.find(table, digest) or store.write(table, digest, columns, batches)


def _image_rows(digests: list[str], size: Size) -> Iterator[pa.RecordBatch]:
    for chunk in even_chunks(range(len(digests)), 10_000):
        own = [digests[i] for i in chunk]
        labels = [label_of(digest, size.classes) for digest in own]
        names = [f"class {c}/{i}.jpg" for i, c in zip(chunk, labels, strict=True)]
        columns = [
            pa.array(chunk, pa.int64()),
            pa.array(names),
            pa.array(own),
            pa.array(labels, pa.int32()),
            pa.nulls(len(own), pa.string()),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema("images"))


def _describe(names: list[str], texts: int) -> pa.Table:
    kinds = [("label", 0), *(("description", j) for j in range(texts))]
    return pa.Table.from_pylist(
        [
            {"class_id": c, "class_name": name, "kind": kind, "position": j,
             "text": f"{kind} {j} of {name}"}
            for c, name in enumerate(names) for kind, j in kinds
        ],
        schema("descriptions"),
    )  # fmt: skip


def _text_rows(
    described: pa.Table, chunk: Sequence[int], centres: NDArray[np.float32]
) -> Iterator[pa.RecordBatch]:
    rows = described.slice(chunk[0], len(chunk))
    class_ids, texts = rows["class_id"].to_numpy(), rows["text"].combine_chunks()
    rng = np.random.default_rng(chunk[0])
    moved = _move(rng, centres[class_ids], 1.0)
    flags = pa.array(np.zeros(len(moved), dtype=bool))
    yield pa.RecordBatch.from_arrays(
        [texts, flags, embedding_array(moved)], schema=schema("text_embeddings", DIMENSION)
    )


def _view_rows(
    shard: list[str], centres: NDArray[np.float32], size: Size
) -> Iterator[pa.RecordBatch]:
    """Make images near a class, and crops near their image, with all crops in one place."""
    rng = np.random.default_rng(int(shard[0][:8], 16))
    wholes = _move(rng, centres[[label_of(digest, size.classes) for digest in shard]], 4.0)
    views = _move(rng, np.repeat(wholes[:, None], 1 + POOL, axis=1), 1.0)
    views[:, 0] = wholes
    index = np.tile(np.arange(1 + POOL, dtype=np.int32), len(shard))
    boxes = [pa.array(np.full(len(index), px, np.int32), mask=index == 0) for px in (0, 0, 99, 99)]
    yield pa.RecordBatch.from_arrays(
        [
            pa.array(shard).take(pa.array(np.repeat(np.arange(len(shard)), 1 + POOL))),
            pa.array(index),
            *boxes,
            pa.array(np.zeros(len(index), dtype=bool), mask=index == 0),
            *(pa.array(np.full(len(index), px, np.int32)) for px in (IMAGE_WIDTH, IMAGE_HEIGHT)),
            pa.array(np.einsum("ivd,id->iv", views, wholes).reshape(-1)),
            embedding_array(views.reshape(-1, DIMENSION)),
        ],
        schema=schema("crops", DIMENSION),
    )


def _draw_units(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    return _move(rng, np.zeros((count, DIMENSION), np.float32), 1.0)


def _move(
    rng: np.random.Generator, places: NDArray[np.float32], distance: float
) -> NDArray[np.float32]:
    """Unit vectors about so far from places, `(..., dim)`."""
    noise = rng.standard_normal(places.shape, dtype=np.float32)
    moved = places + noise * np.float32(distance * DIMENSION**-0.5)
    return moved / np.linalg.norm(moved, axis=-1, keepdims=True)
