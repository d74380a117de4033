"""Synthetic embeddings at the scale of ImageNet, kept in the project's own store."""

from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import normalize

from tasks.methods.registry import METHODS, text_kinds
from tasks.store.digest import digest_of
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

METHODS_SCORED = tuple(
    name for name, row in METHODS.items() if row.is_default and name != "wca_refined"
)
POOL, DRAWN, RUNS, DIMENSION, SHARD = 100, 60, 20, 512, 1000


class Texts(NamedTuple):
    """Sentences of classes and their embeddings, as tables; centres: `(classes, dim)`."""

    descriptions: pa.Table
    embeddings: pa.Table
    centres: torch.Tensor


def synthetic_texts(
    classes: int, sentences: int, kinds: Collection[str] = text_kinds(METHODS_SCORED)
) -> Texts:
    """Texts of some kinds for each class: `sentences` descriptions, a label, ten of the others."""
    generator = torch.Generator().manual_seed(0)
    every = {"label": 1, "description": sentences, "prompted_description": 1 + sentences}
    counts = {kind: every.get(kind, 10) for kind in sorted(kinds)}
    total = sum(counts.values())
    centres = normalize(torch.randn(classes, DIMENSION, generator=generator), dim=1)
    noise = torch.randn(classes, total, DIMENSION, generator=generator) * DIMENSION**-0.5
    matrix = normalize(centres[:, None] + noise, dim=2).flatten(0, 1)
    places = [(kind, j) for kind, count in counts.items() for j in range(count)]
    rows = [
        {"class_id": c, "class_name": f"class {c}", "kind": kind, "position": j,
         "text": f"{kind} {j} of class {c}"}
        for c in range(classes) for kind, j in places
    ]  # fmt: skip
    columns = [
        pa.array([str(row["text"]) for row in rows]),
        pa.array([False] * len(rows)),
        embedding_array(matrix.numpy()),
    ]
    return Texts(
        pa.Table.from_pylist(rows, schema("descriptions")),
        pa.table(columns, schema=schema("text_embeddings", DIMENSION)),
        centres,
    )


def synthetic_views(centres: torch.Tensor, images: int, seed: int) -> torch.Tensor:
    """Images near a class, and crops near their image: `(images, 1 + pool, dim)`, unit rows."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(centres), (images,), generator=generator)
    scale = DIMENSION**-0.5
    places = centres[labels] + 6 * scale * torch.randn(images, DIMENSION, generator=generator)
    places = normalize(places, dim=1)[:, None]
    noise = torch.randn(images, 1 + POOL, DIMENSION, generator=generator) * scale
    noise[:, 0] = 0
    return normalize(places + noise, dim=2)


def write_images(store: Store, centres: torch.Tensor, images: int) -> list[TableRef]:
    """Write shards of `crops`, in another process, whose memory is not counted."""
    sizes = [min(SHARD, images - i) for i in range(0, images, SHARD)]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return [
            pool.submit(write_shard, store, centres, size, number).result()
            for number, size in enumerate(sizes)
        ]


def write_shard(store: Store, centres: torch.Tensor, images: int, number: int) -> TableRef:
    """A shard of `crops` in half precision, as a run of the encoder in bf16 writes it."""

    def batches() -> Iterator[pa.RecordBatch]:
        views = synthetic_views(centres, images, number)
        for i, embeddings in enumerate(views):
            count = len(embeddings)
            whole = pa.nulls(count, pa.int32())
            size = pa.array(np.full(count, 500, dtype=np.int32))
            yield pa.RecordBatch.from_arrays(
                [
                    pa.repeat(digest_of([number, i]), count),
                    pa.array(np.arange(count, dtype=np.int32)),
                    *(whole, whole, whole, whole, pa.nulls(count, pa.bool_()), size, size),
                    pa.array((embeddings @ embeddings[0]).numpy()),
                    embedding_array(embeddings.numpy()),
                ],
                schema=schema("crops", DIMENSION),
            )

    columns = schema("crops", DIMENSION, "bf16")
    return store.write("crops", digest_of(["synthetic", number]), columns, batches())
