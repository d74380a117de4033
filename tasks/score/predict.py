"""From stored embeddings to class vectors, and from those and a shard of crops to predictions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tasks.methods.inputs import ClassTexts, MethodOptions, Scene
from tasks.methods.method import ImageSide, Rule
from tasks.methods.products import Repeats, compute_scores, find_repeats
from tasks.methods.registry import METHODS, text_kinds
from tasks.methods.wca import unit
from tasks.runtime.errors import InputError
from tasks.runtime.stopping import raise_if_stopped
from tasks.runtime.threads import cores, map_in_threads
from tasks.score.blocks import ImageRows, split_images, tensor_of
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
    """The `class_vectors` rows of all classes and of the methods that are pairs of sides.

    text_embeddings: every text of the kinds that `methods` compare images with; of the other kinds'
    texts none need be there.
    """
    pairs = {name: side for name in methods if (side := METHODS[name].text_side)}
    class_ids, texts = read_class_texts(descriptions, text_embeddings, text_kinds(pairs))
    matrices = {}
    for side in dict.fromkeys(pairs.values()):
        own = texts[side.text_kind]
        labels = texts["label"].embeddings
        vectors = [
            side.vector(label, rows, text_scale)
            for label, rows in zip(labels, own.by_class, strict=True)
        ]
        matrices[side] = torch.stack(vectors).float()
    dimension = text_embeddings["embedding"].type.list_size
    stacked = torch.cat([torch.empty(0, dimension), *(matrices[side] for side in pairs.values())])
    return pa.RecordBatch.from_arrays(
        [
            pa.array([name for name in pairs for _ in class_ids], pa.string()),
            pa.array([class_id for _ in pairs for class_id in class_ids], pa.int32()),
            embedding_array(stacked.numpy()),
        ],
        schema=schema("class_vectors", dimension),
    )


def read_class_texts(
    descriptions: pa.Table, text_embeddings: pa.Table, kinds: set[str]
) -> tuple[list[int], dict[str, ClassTexts]]:
    """Read the texts of all classes: class ids in order, and the texts of each kind by class.

    descriptions: rows ordered by class, kind and position. text_embeddings: every text of `kinds`.
    """
    matrix = embedding_matrix(text_embeddings["embedding"])
    row_of = {text: i for i, text in enumerate(text_embeddings["text"].to_pylist())}
    places: dict[str, dict[int, list[int]]] = {kind: {} for kind in sorted(kinds)}
    for row in descriptions.to_pylist():
        if row["kind"] in kinds:
            own = places[row["kind"]].setdefault(row["class_id"], [])
            own.append(row_of[row["text"]])
    texts = {
        kind: ClassTexts(
            torch.from_numpy(matrix[[i for rows in by_class.values() for i in rows]]),
            tuple(map(len, by_class.values())),
        )
        for kind, by_class in places.items()
    }
    return list(places["label"]), texts


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


class SharedInputs(NamedTuple):
    """What rules, and sides that need labels, take besides a block of images: fields of `Scene`."""

    labels: torch.Tensor
    texts: Mapping[str, ClassTexts]
    logit_scale: float
    logit_bias: float | None
    options: Mapping[type[MethodOptions], MethodOptions]

    def find_repeats(self, kind: str) -> Repeats:
        """Find the classes whose label and texts of a kind are those of an earlier class."""
        own = self.texts[kind]
        padded = torch.cat([self.labels.unsqueeze(1), own.padded], dim=1)
        return find_repeats(padded.flatten(1))


class ClassMatrix(NamedTuple):
    """The class vectors of methods of one image side that share them.

    classes: float32 `(classes, dim)`. is_normalised: whether the image's vectors get length 1.
    """

    methods: list[str]
    classes: torch.Tensor
    repeats: Repeats
    is_normalised: bool


def group_methods(class_vectors: pa.Table) -> dict[ImageSide, list[ClassMatrix]]:
    """Group the pairs in `class_vectors` by image side; equal class vectors are one matrix."""
    groups: dict[ImageSide, dict[object, ClassMatrix]] = {}
    for name in class_vectors["method"].unique().to_pylist():
        pair = METHODS[name].score
        if isinstance(pair, Rule):
            raise TypeError(f"{name} is a rule, which has no class vectors")
        image_side, text_side = pair
        classes = tensor_of(class_vectors.filter(pc.field("method") == name)["embedding"])
        is_normalised = text_side.is_normalised and not image_side.is_unit
        matrices = groups.setdefault(image_side, {})
        key = (classes.numpy().tobytes(), is_normalised)
        matrix = ClassMatrix([], classes, find_repeats(classes), is_normalised)
        matrices.setdefault(key, matrix).methods.append(name)
    return {side: list(matrices.values()) for side, matrices in groups.items()}


class CropsInUse(NamedTuple):
    """The crops that images have of their own, by digest, from `crop_use`: indices from 1.

    counted: a fixed number, in place of the draws of runs. settled: those that settle the class.
    None where nothing was chosen.
    """

    counted: Mapping[str, Sequence[int]] | None = None
    settled: Mapping[str, Sequence[int]] | None = None

    @classmethod
    def from_rows(cls, tables: Iterable[pa.Table]) -> Self:
        """Take the rows of `crop_use` apart."""
        chosen = cls()
        for table in tables:
            of_images = dict(
                zip(
                    table["image_digest"].to_pylist(),
                    table["crop_indices"].to_pylist(),
                    strict=True,
                )
            )
            is_counted = table["agreement"].null_count == table.num_rows
            chosen = chosen._replace(**{"counted" if is_counted else "settled": of_images})
        return chosen


NOT_CHOSEN = CropsInUse()


def mask_crops(
    digests: pa.Array, chosen: Mapping[str, Sequence[int]] | None, images: int, pool: int
) -> torch.Tensor | None:
    """Mark the chosen crops, `(images, pool)`; None where none are chosen."""
    if chosen is None:
        return None
    mask = torch.zeros(images, pool, dtype=torch.bool)
    for row, digest in enumerate(digests.to_pylist()):
        mask[row, torch.tensor(chosen[digest]) - 1] = True
    return mask


def predict(
    batches: Iterable[pa.RecordBatch],
    class_vectors: pa.Table,
    counts: torch.Tensor,
    image_scale: float | None,
    rules: Sequence[str] = (),
    shared: SharedInputs | None = None,
    chosen: CropsInUse = NOT_CHOSEN,
) -> Iterator[pa.RecordBatch]:
    """The `predictions` rows of `crops`, by image, method, run and rank, a batch for each block.

    A matrix product of another shape may add up in another order: each has whole IMAGE_BLOCKs, and
    the classes of one method. So neither another image nor another method decides how a score is
    rounded, and the scores of one method at a time are held, however many are asked for.

    Parameters
    ----------
    batches : iterable of RecordBatch
        Rows of `crops` in the order they were written, image by image, the whole first.
    class_vectors : Table
        Those of every pair of sides to score.
    counts : Tensor
        `(runs, pool)`, how often each run draws each crop.
    image_scale : float or None
        Exponent of the scale of the crop weights.
    rules : sequence of str
        Methods that are no pairs.
    shared : SharedInputs or None
        What rules need, and the sides that need labels.
    chosen : CropsInUse
        The crops that images have of their own.

    """
    groups = group_methods(class_vectors)
    scored = {name: rule for name in rules if (rule := METHODS[name].rule)}
    repeats = {
        kind: shared.find_repeats(kind)
        for kind in {rule.text_kind for rule in scored.values()}
        if shared
    }
    pairs = [name for group in groups.values() for matrix in group for name in matrix.methods]
    are_counted = chosen.counted is not None
    whole_pools = [
        name
        for name in (*pairs, *scored)
        if METHODS[name].needs_whole_pool(are_counted=are_counted)
    ]
    given: dict[str, Any] = shared._asdict() if shared else {}

    def predict_block(rows: ImageRows) -> pa.RecordBatch:
        raise_if_stopped()
        block = rows.read(counts.shape[1], IMAGE_BLOCK)
        counted, settled = (
            mask_crops(block.digests, part, len(block.embeddings), counts.shape[1])
            for part in chosen
        )
        scene = Scene(
            block.embeddings[:, 0],
            block.embeddings[:, 1:],
            counts if counted is None else counted.double().unsqueeze(1),
            image_scale,
            block.is_present,
            settled,
            block.boxes,
            block.sizes,
            **given,
        )
        if whole_pools and scene.is_present is not None:
            raise InputError(
                f"Some images lack crops of the pool, which {', '.join(whole_pools)} need: name "
                "other --methods, or embed the whole pool."
            )
        count = len(block.digests)
        best = score_pairs(scene, groups, count)
        for name, rule in scored.items():
            scores = rule.scores(scene).float()
            later, first = repeats[rule.text_kind]
            scores = scores.index_copy(1, later, scores[:, first])
            best[name] = _top_of_runs(scores[:count].unsqueeze(1))
        return _prediction_rows(block.digests, {m: best[m] for m in METHODS if m in best})

    images = split_images(batches, counts.shape[1], IMAGE_BLOCK)
    return map_in_threads(predict_block, images, cores())


class Top(NamedTuple):
    """The best scores and their classes: each `(images, runs, k)`."""

    scores: torch.Tensor
    classes: torch.Tensor


def score_pairs(
    scene: Scene, groups: Mapping[ImageSide, Sequence[ClassMatrix]], count: int
) -> dict[str, Top]:
    """Find each pair's best classes for the first `count` images of a scene."""
    best: dict[str, Top] = {}
    for side, matrices in groups.items():
        vectors = side.vectors(scene)
        units = None if side.is_unit else unit(vectors)
        for matrix in matrices:
            images = units if matrix.is_normalised and units is not None else vectors
            scores = compute_scores(images, matrix.classes, matrix.repeats)
            best |= dict.fromkeys(matrix.methods, _top_of_runs(scores[:count]))
    return best


def _top_of_runs(scores: torch.Tensor) -> Top:
    """Find the best classes in scores `(images, runs, classes)`."""
    values, classes = top_classes(scores.flatten(0, 1), TOP_K)
    return Top(*(part.view(*scores.shape[:2], -1) for part in (values, classes)))


def _prediction_rows(digests: pa.Array, best: dict[str, Top]) -> pa.RecordBatch:
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
