"""From stored embeddings to class vectors, and from those and a shard of crops to predictions."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.nn.functional import pad
from torch.utils.dlpack import from_dlpack

from tasks.methods.registry import METHODS, ImageSide, text_kinds
from tasks.methods.wca import unit
from tasks.runtime.stopping import raise_if_stopped
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
        method = METHODS[name]
        return method.text_side.vector(texts["label"][0], texts[method.text_kind], text_scale)

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


class Repeats(NamedTuple):
    """Class vectors that are there already: row `later[i]` is equal to the earlier `first[i]`."""

    later: torch.Tensor
    first: torch.Tensor


def find_repeats(classes: torch.Tensor) -> Repeats:
    """Find the rows of `(classes, dim)` that repeat an earlier one: classes of equal names do."""
    seen: dict[bytes, int] = {}
    rows = (classes + 0.0).numpy()  # -0.0 equals 0.0
    first = torch.tensor([seen.setdefault(row.tobytes(), i) for i, row in enumerate(rows)])
    later = (first != torch.arange(len(first))).nonzero().flatten()
    return Repeats(later, first[later])


def compute_scores(images: torch.Tensor, classes: torch.Tensor, repeats: Repeats) -> torch.Tensor:
    """Multiply image and class vectors: float32 `(..., classes)`.

    images: `(..., dim)`; classes: `(classes, dim)`, whose repeats `find_repeats` has found. Equal
    class vectors get equal scores to the last bit, wherever the matrix product places them, so that
    ties go to the lower index.
    """
    product = images.float() @ classes.T
    if len(repeats.later):
        product[..., repeats.later] = product[..., repeats.first]
    return product


def top_classes(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k best classes of each row, best first; ties go to the lower index.

    scores: `(rows, classes)`. Returns scores `(rows, k)` and class indices `(rows, k)`.
    """
    # torch.topk is fast but breaks ties in any order: rows with a tie are sorted as a whole
    values, classes = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    is_tied = (values[:, 1:] == values[:, :-1]).any(dim=1)
    values, classes = values[:, :k], classes[:, :k]
    if is_tied.any():
        best, order = scores[is_tied].sort(dim=1, descending=True, stable=True)
        values[is_tied], classes[is_tied] = best[:, :k], order[:, :k]
    return values, classes


class MethodGroup(NamedTuple):
    """Methods with one image side, which share one matrix product.

    classes: float32 `(methods x classes, dim)`, method by method; repeats: those of its rows.
    """

    side: ImageSide
    methods: list[str]
    classes: torch.Tensor
    repeats: Repeats

    def top_classes(
        self, vectors: torch.Tensor, image_count: int
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Find each method's best scores and their classes, each `(image_count, runs, k)`.

        vectors: the side's `(images, runs, dim)`, of which the first `image_count` are wanted.
        """
        images = unit(vectors) if self.side.is_normalised else vectors
        scores = compute_scores(images, self.classes, self.repeats)[:image_count]
        shape = (*scores.shape[:2], len(self.methods), -1)
        values, classes = top_classes(scores.view(*shape).flatten(0, 2), TOP_K)
        tops = zip(values.view(shape).unbind(2), classes.view(shape).unbind(2), strict=True)
        return dict(zip(self.methods, tops, strict=True))


def group_methods(class_vectors: pa.Table) -> list[MethodGroup]:
    """Group the methods of `class_vectors` by their image sides."""
    sides: dict[ImageSide, list[str]] = {}
    for name in class_vectors["method"].unique().to_pylist():
        sides.setdefault(METHODS[name].image_side, []).append(name)
    groups = []
    for side, names in sides.items():
        tables = [class_vectors.filter(pc.field("method") == name) for name in names]
        classes = _tensor(pa.concat_tables(tables)["embedding"])
        groups.append(MethodGroup(side, names, classes, find_repeats(classes)))
    return groups


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
    groups = group_methods(class_vectors)

    def predict_block(block: pa.RecordBatch) -> pa.RecordBatch:
        raise_if_stopped()
        digests = block["image_digest"].take(pa.array(range(0, block.num_rows, views)))
        embeddings = _tensor(block["embedding"]).view(len(digests), views, -1)
        if missing := -len(digests) % IMAGE_BLOCK:
            embeddings = pad(embeddings, (0, 0, 0, 0, 0, missing))
        sides = {group.side.vectors for group in groups}  # some differ in their length alone
        given = (embeddings[:, 0], embeddings[:, 1:], image_scale, counts)
        vectors = {side: side(*given) for side in sides}
        best = {
            name: top
            for group in groups
            for name, top in group.top_classes(vectors[group.side.vectors], len(digests)).items()
        }
        return _prediction_rows(digests, {name: best[name] for name in METHODS if name in best})

    return map_in_threads(predict_block, blocks, cores())


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
