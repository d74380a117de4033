"""Whether a description helps: its weight, its similarities, and accuracy without it.

WCA is bilinear: without one description of a class, only that class's vector changes, whose other
weights keep their ratios. An image's scores of all other classes stay, so that its class without
the description follows from its two best classes and one product.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from tasks.methods.wca import text_weights, unit, weighted_crop_sum
from tasks.runtime.stopping import raise_if_stopped
from tasks.score.blocks import ImageRows
from tasks.score.intervals import Z
from tasks.score.predict import IMAGE_BLOCK, read_class_texts, top_classes
from tasks.store.schemas import schema

Floats = NDArray[np.float64]


class Leaving(NamedTuple):
    """The descriptions of all classes, and the class vectors with and without each.

    texts: float32 `(texts, dim)`. class_index: `(texts,)`. weights: float64 `(texts,)`. classes:
    float32 `(classes, dim)`, of length 1; without: float32 `(texts, dim)`, the vector of the text's
    class without the text, zeros where it is the class's only one.
    """

    texts: torch.Tensor
    class_index: torch.Tensor
    weights: torch.Tensor
    classes: torch.Tensor
    without: torch.Tensor

    @classmethod
    def of(
        cls, labels: torch.Tensor, texts: Sequence[torch.Tensor], text_scale: float | None
    ) -> "Leaving":
        """Weigh the texts `(texts, dim)` of each class by its label prompt, `(classes, dim)`."""
        weights, classes, without = [], [], []
        for label, own in zip(labels, texts, strict=True):
            own_weights = text_weights(label, own, text_scale)
            # a softmax without one of its entries has the ratios of the others
            kept = own_weights * (1 - torch.eye(len(own), dtype=torch.float64))
            weights.append(own_weights)
            classes.append(unit(own_weights @ own.double()))
            without.append(unit(kept @ own.double()))
        counts = torch.tensor([len(own) for own in texts])
        return cls(
            torch.cat(list(texts)),
            torch.repeat_interleave(torch.arange(len(texts)), counts),
            torch.cat(weights),
            torch.stack(classes).float(),
            torch.cat(without).float(),
        )


def measure_texts(
    blocks: Iterable[ImageRows],
    image_labels: Mapping[str, int],
    descriptions: pa.Table,
    text_embeddings: pa.Table,
    pool: int,
    image_scale: float | None,
    text_scale: float | None,
) -> pa.Table:
    """Compute the `text_effects` rows of all descriptions, over all crops that are embedded.

    blocks: of at most `IMAGE_BLOCK` images of the pool. image_labels: digest to class; an image
    without one takes no part, and without any no effect is known. descriptions: all kinds.
    """
    class_ids, kinds = read_class_texts(descriptions, text_embeddings, {"label", "description"})
    own = kinds["description"].by_class
    leaving = Leaving.of(kinds["label"].embeddings, own, text_scale)
    sums = _sum_images(blocks, image_labels, class_ids, leaving, pool, image_scale)
    rows = [row for row in descriptions.to_pylist() if row["kind"] == "description"]
    twins = [twin for texts in own for twin in _find_twins(texts)]
    shared = _count_classes(rows)
    alone = [len(texts) == 1 for texts in own for _ in texts]
    table = [
        {
            **{name: row[name] for name in ("class_id", "class_name", "position", "text")},
            "weight": weight,
            **effect,
            **twin,
            "class_count": count,
        }
        for row, weight, effect, twin, count in zip(
            rows, leaving.weights.tolist(), sums.rows(alone), twins, shared, strict=True
        )
    ]
    return pa.Table.from_pylist(table, schema("text_effects"))


class _Sums:
    """What is counted of each text over all labelled images; arrays are `(texts,)`."""

    def __init__(self, texts: int) -> None:
        self.images = 0
        self.own_images, self.whole, self.crops = (np.zeros(texts) for _ in range(3))
        self.lost, self.gained = (np.zeros(texts, dtype=np.int64) for _ in range(2))

    def rows(self, alone: Sequence[bool]) -> list[dict[str, Any]]:
        """The columns of each text; alone: whether it is the only one of its class."""
        low, high = effect_interval(self.lost, self.gained, self.images)
        rows = []
        for i, is_alone in enumerate(alone):
            count = int(self.own_images[i])
            row: dict[str, Any] = {"image_count": count}
            if count:
                row["whole_similarity"] = self.whole[i] / count
                row["crop_similarity"] = self.crops[i] / count
            if self.images and not is_alone:
                lost, gained = int(self.lost[i]), int(self.gained[i])
                row |= {"lost_count": lost, "gained_count": gained}
                row["effect"] = (lost - gained) / self.images
                row |= {"effect_low": float(low[i]), "effect_high": float(high[i])}
            rows.append(row)
        return rows


def effect_interval(
    lost: NDArray[np.int64], gained: NDArray[np.int64], images: int
) -> tuple[Floats, Floats]:
    """`mean_interval` of values of which `lost` are 1, `gained` are -1 and the others 0."""
    count = images + 2
    mean = (lost - gained) / count
    error = np.sqrt(np.maximum(lost + gained + 2 - count * mean**2, 0.0)) / count
    return np.maximum(-1.0, mean - Z * error), np.minimum(1.0, mean + Z * error)


def _sum_images(
    blocks: Iterable[ImageRows],
    image_labels: Mapping[str, int],
    class_ids: Sequence[int],
    leaving: Leaving,
    pool: int,
    image_scale: float | None,
) -> _Sums:
    sums = _Sums(len(leaving.texts))
    index_of = {class_id: i for i, class_id in enumerate(class_ids)}
    for rows in blocks:
        raise_if_stopped()
        block = rows.read(pool, IMAGE_BLOCK)
        found = [index_of.get(image_labels.get(d, -1), -1) for d in block.digests.to_pylist()]
        labels = torch.full((len(block.embeddings),), -1)
        labels[: len(found)] = torch.tensor(found)
        whole, crops = block.embeddings[:, 0], block.embeddings[:, 1:]
        present = torch.ones(crops.shape[:2]) if block.is_present is None else block.is_present
        counts = present.double().unsqueeze(1)
        counts[counts.sum(dim=2).squeeze(1) == 0] = 1.0  # images that fill up the block
        images = weighted_crop_sum(whole, crops, image_scale, counts).squeeze(1)
        is_labelled = labels >= 0
        sums.images += int(is_labelled.sum())
        is_own = (labels.unsqueeze(1) == leaving.class_index).double()
        sums.own_images += is_own.sum(dim=0).numpy()
        sums.whole += ((whole @ leaving.texts.T).double() * is_own).sum(dim=0).numpy()
        sums.crops += ((images @ leaving.texts.T).double() * is_own).sum(dim=0).numpy()
        if len(leaving.classes) > 1:
            right, right_without = _predict_without(unit(images), labels, leaving)
            part = is_labelled.unsqueeze(1)
            sums.lost += (part & right & ~right_without).sum(dim=0).numpy()
            sums.gained += (part & ~right & right_without).sum(dim=0).numpy()
    return sums


def _predict_without(
    images: torch.Tensor, labels: torch.Tensor, leaving: Leaving
) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether each image is right, `(images, 1)`, and without each text, `(images, texts)`."""
    scores, best = top_classes(images @ leaving.classes.T, 2)
    own = leaving.class_index
    is_best = best[:, :1] == own
    other = torch.where(is_best, best[:, 1:], best[:, :1])
    other_score = torch.where(is_best, scores[:, 1:], scores[:, :1])
    own_score = images @ leaving.without.T
    wins = (own_score > other_score) | ((own_score == other_score) & (own < other))
    label = labels.unsqueeze(1)
    return best[:, :1] == label, torch.where(wins, own, other) == label


def _find_twins(texts: torch.Tensor) -> list[dict[str, Any]]:
    """The most similar other text of the class, for each of its texts `(texts, dim)`."""
    if len(texts) == 1:
        return [{}]
    similarity = texts.double() @ texts.double().T
    similarity.fill_diagonal_(-2.0)
    values, positions = similarity.max(dim=1)
    return [
        {"twin_position": position, "twin_similarity": value}
        for position, value in zip(positions.tolist(), values.tolist(), strict=True)
    ]


def _count_classes(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """In how many classes each text is, where each class's own name is left out of its texts."""
    keys = []
    for row in rows:
        name = re.escape(row["class_name"])
        words = re.sub(rf"\b(?:an? |the )?{name}\b", " ", row["text"], flags=re.I).casefold()
        keys.append(" ".join(re.findall(r"\w+", words)))
    pairs = {(key, row["class_id"]) for key, row in zip(keys, rows, strict=True)}
    counts = Counter(key for key, _ in pairs)
    return [counts[key] for key in keys]
