"""From stored embeddings to class vectors, and from those and a shard of crops to predictions."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.nn.functional import normalize, pad
from torch.utils.dlpack import from_dlpack

from tasks.methods.registry import METHODS, text_kinds
from tasks.methods.vectors import Repeats, class_vector, find_repeats, scores, top_classes
from tasks.methods.weights import image_vectors
from tasks.runtime.threads import cores, map_in_threads
from tasks.store.embeddings import embedding_array, embedding_matrix
from tasks.store.schemas import schema

TOP_K = 5
# Images at a time: 64 x 20 runs x 1,000 classes are 5 MB of scores, which stay in the cache.
IMAGE_BLOCK = 64


def class_vector_rows(
    descriptions: pa.Table,
    text_embeddings: pa.Table,
    methods: Sequence[str],
    text_scale: float | None,
) -> pa.RecordBatch:
    """The `class_vectors` rows of all methods and classes.

    text_embeddings: every text of the kinds that `methods` compare images with; of the other kinds'
    texts none need be there.
    """
    matrix = embedding_matrix(text_embeddings["embedding"])
    row_of = {text: i for i, text in enumerate(text_embeddings["text"].to_pylist())}
    needed = text_kinds(methods)
    rows: dict[int, dict[str, list[int]]] = {}
    for row in descriptions.to_pylist():  # ordered by class, kind, position
        if row["kind"] in needed:
            kinds = rows.setdefault(row["class_id"], {})
            kinds.setdefault(row["kind"], []).append(row_of[row["text"]])

    def vector(name: str, kinds: dict[str, list[int]]) -> torch.Tensor:
        used = text_kinds([name])
        # gathered by NumPy: torch would wake every core for each of these small steps
        texts = {kind: torch.from_numpy(matrix[kinds[kind]]) for kind in used}
        return class_vector(METHODS[name], texts, text_scale)

    vectors = [vector(name, kinds) for name in methods for kinds in rows.values()]
    stacked = torch.stack(vectors).float()
    return pa.RecordBatch.from_arrays(
        [
            pa.array([name for name in methods for _ in rows]),
            pa.array([class_id for _ in methods for class_id in rows], pa.int32()),
            embedding_array(stacked.numpy()),
        ],
        schema=schema("class_vectors", stacked.shape[1]),
    )


class MethodGroup(NamedTuple):
    """Methods that compare classes with the same image vectors: one matrix product for all.

    classes: float32 `(methods x classes, dim)`, method by method; repeats: those of its rows.
    """

    methods: list[str]
    is_weighted: bool
    is_normalised: bool
    classes: torch.Tensor
    repeats: Repeats

    def best(
        self, images: torch.Tensor, count: int
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """By method the best scores and their classes, each `(count, runs, k)`.

        images: `(images, runs, dim)`, of which the first `count` are asked for.
        """
        if self.is_weighted and self.is_normalised:
            images = normalize(images, dim=-1)
        score = scores(images, self.classes, self.repeats)[:count]
        shape = (*score.shape[:2], len(self.methods), -1)
        values, classes = top_classes(score.view(*shape).flatten(0, 2), TOP_K)
        tops = zip(values.view(shape).unbind(2), classes.view(shape).unbind(2), strict=True)
        return dict(zip(self.methods, tops, strict=True))


def method_groups(class_vectors: pa.Table) -> list[MethodGroup]:
    """The methods of `class_vectors`, those together that use the same image vectors."""
    groups: dict[tuple[bool, bool], list[str]] = {}
    for name in class_vectors["method"].unique().to_pylist():
        method = METHODS[name]
        groups.setdefault((method.is_weighted, method.is_normalised), []).append(name)
    made = []
    for (is_weighted, is_normalised), names in groups.items():
        tables = [class_vectors.filter(pc.field("method") == name) for name in names]
        classes = _tensor(pa.concat_tables(tables)["embedding"])
        repeats = find_repeats(classes)
        made.append(MethodGroup(names, is_weighted, is_normalised, classes, repeats))
    return made


def predict(
    blocks: Iterable[pa.RecordBatch],
    class_vectors: pa.Table,
    counts: torch.Tensor,
    image_scale: float | None,
) -> Iterator[pa.RecordBatch]:
    """The `predictions` rows of `crops`, by image, method, run and rank, a batch for each block.

    blocks: rows of `crops` in the order they were written, image by image, the whole first; no
    image is in two blocks. counts: `(runs, pool)`, how often each run draws each crop. A matrix
    product of another shape may add up in another order: each is filled up to whole IMAGE_BLOCKs,
    so that no other image decides how a score is rounded.
    """
    views = counts.shape[1] + 1
    groups = method_groups(class_vectors)

    def rows(block: pa.RecordBatch) -> pa.RecordBatch:
        digests = block["image_digest"].take(pa.array(range(0, block.num_rows, views)))
        embeddings = _tensor(block["embedding"]).view(len(digests), views, -1)
        if short := -len(digests) % IMAGE_BLOCK:
            embeddings = pad(embeddings, (0, 0, 0, 0, 0, short))
        wholes = embeddings[:, :1]  # one run, in which nothing is drawn
        if any(group.is_weighted for group in groups):
            weighted = image_vectors(embeddings, counts, image_scale)
        best = {
            name: top
            for group in groups
            for name, top in group.best(
                weighted if group.is_weighted else wholes, len(digests)
            ).items()
        }
        return _prediction_rows(digests, {name: best[name] for name in METHODS if name in best})

    return map_in_threads(rows, blocks, cores())


def _prediction_rows(
    digests: pa.Array, best: dict[str, tuple[torch.Tensor, torch.Tensor]]
) -> pa.RecordBatch:
    """Rows by image, method, run and rank."""
    values, classes = (torch.cat(parts, dim=1) for parts in zip(*best.values(), strict=True))
    images, rows, k = values.shape  # a row for each method and run
    runs = [score.shape[1] for score, _ in best.values()]
    method = np.repeat(np.arange(len(best)), runs)
    run_index = np.concatenate([np.arange(n, dtype=np.int32) for n in runs])
    columns = [
        digests.take(pa.array(np.repeat(np.arange(images), rows * k))),
        pa.array(list(best)).take(pa.array(np.tile(np.repeat(method, k), images))),
        pa.array(np.tile(np.repeat(run_index, k), images)),
        pa.array(np.tile(np.arange(1, k + 1, dtype=np.int32), images * rows)),
        pa.array(classes.flatten().int().numpy()),
        pa.array(values.flatten().numpy()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema("predictions"))


def _tensor(column: pa.ChunkedArray | pa.Array) -> torch.Tensor:
    """An embedding column as float32 `(n, dim)`; a single chunk of float32 is not copied."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return from_dlpack(whole.flatten()).float().view(-1, column.type.list_size)
