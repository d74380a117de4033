"""From stored embeddings to class vectors, and from those and a shard of crops to predictions."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import normalize

from tasks.score.methods import METHODS, text_kinds
from tasks.score.vectors import class_vector, scores, top_classes
from tasks.score.weights import image_vectors
from tasks.store.embeddings import embedding_array, embedding_matrix
from tasks.store.schemas import schema

TOP_K = 5
# Images at a time: 64 x 101 views x 512 values are 26 MB as float64.
IMAGE_BLOCK = 64


def class_vector_rows(
    descriptions: pa.Table,
    text_embeddings: pa.Table,
    methods: Sequence[str],
    text_exponent: float | None,
) -> pa.RecordBatch:
    """The `class_vectors` rows of all methods and classes.

    text_embeddings: every text of the kinds that `methods` compare images with; of the other kinds'
    texts none need be there.
    """
    matrix = _tensor(text_embeddings["embedding"])
    row_of = {text: i for i, text in enumerate(text_embeddings["text"].to_pylist())}
    needed = text_kinds(methods)
    rows: dict[int, dict[str, list[int]]] = {}
    for row in descriptions.to_pylist():  # ordered by class, kind, position
        if row["kind"] in needed:
            kinds = rows.setdefault(row["class_id"], {})
            kinds.setdefault(row["kind"], []).append(row_of[row["text"]])
    vectors = [
        class_vector(METHODS[name], {k: matrix[i] for k, i in kinds.items()}, text_exponent)
        for name in methods
        for kinds in rows.values()
    ]
    stacked = torch.stack(vectors).float()
    return pa.RecordBatch.from_arrays(
        [
            pa.array([name for name in methods for _ in rows]),
            pa.array([class_id for _ in methods for class_id in rows], pa.int32()),
            embedding_array(stacked.numpy()),
        ],
        schema=schema("class_vectors", stacked.shape[1]),
    )


def predict(
    crops: pa.Table,
    class_vectors: pa.Table,
    counts: torch.Tensor,
    image_exponent: float | None,
) -> Iterator[pa.RecordBatch]:
    """The `predictions` rows of a shard of `crops`, a block of images at a time.

    counts: `(runs, pool)`, how often each run draws each crop. Rows of `crops` are in the order
    they were written: image by image, the whole first.
    """
    views = counts.shape[1] + 1
    matrix = _tensor(class_vectors["embedding"])
    names = np.array(class_vectors["method"].to_pylist())
    by_method = {name: matrix[torch.from_numpy(names == name)] for name in dict.fromkeys(names)}
    for start in range(0, crops.num_rows, IMAGE_BLOCK * views):
        block = crops.slice(start, IMAGE_BLOCK * views)
        digests = block["image_digest"].to_pylist()[::views]
        embeddings = _tensor(block["embedding"]).view(len(digests), views, -1)
        weighted = image_vectors(embeddings, counts, image_exponent)
        for name, classes in by_method.items():
            method = METHODS[name]
            images = embeddings[:, :1]  # (images, 1 run, dim)
            if method.is_weighted:
                images = normalize(weighted, dim=-1) if method.is_normalised else weighted
            yield _prediction_rows(digests, name, scores(images, classes))


def _prediction_rows(digests: list[str], method: str, score: torch.Tensor) -> pa.RecordBatch:
    """Top classes of `(images, runs, classes)` scores as rows, by image, run and rank."""
    runs = score.shape[1]
    values, classes = top_classes(score.flatten(0, 1), TOP_K)
    k = values.shape[1]
    count = values.numel()
    columns = [
        pa.array(np.repeat(np.array(digests), runs * k)),
        pa.array([method] * count),
        pa.array(np.tile(np.repeat(np.arange(runs, dtype=np.int32), k), len(digests))),
        pa.array(np.tile(np.arange(1, k + 1, dtype=np.int32), runs * len(digests))),
        pa.array(classes.flatten().to(torch.int32).numpy()),
        pa.array(values.flatten().numpy()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema("predictions"))


def _tensor(column: pa.ChunkedArray) -> torch.Tensor:
    return torch.from_numpy(embedding_matrix(column))
