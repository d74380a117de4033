"""Explains a prediction of WCA: what decides it, and what would change it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Pairs of crop and description shown for each class: what a person reads.
PAIRS = 6


class ClassTexts(NamedTuple):
    """One class's descriptions: `embeddings` `(n, dim)`, softmax `weights` `(n,)`."""

    class_id: int
    positions: list[int]
    embeddings: Floats
    weights: Floats

    @property
    def total(self) -> Floats:
        """The weighted text embedding of the class, sum_j v_j t_j: `(dim,)`."""
        return self.weights @ self.embeddings


class Views(NamedTuple):
    """One image: `whole` `(dim,)`, `crops` `(n, dim)`, softmax `weights` `(n,)` of the crops.

    crop_indices: the crops' places in the pool, from 1.
    """

    image_digest: str
    whole: Floats
    crops: Floats
    weights: Floats
    crop_indices: list[int]

    @property
    def total(self) -> Floats:
        """The weighted crop embedding of the image, sum_i w_i p_i: `(dim,)`."""
        return self.weights @ self.crops


Rows = list[dict[str, object]]


class Explanation(NamedTuple):
    """The rows that explain one image, by table."""

    explanations: Rows
    explained_texts: Rows
    explained_pairs: Rows
    counterfactuals: Rows


def explain(
    views: Views, classes: Floats, texts: dict[int, ClassTexts], label: int | None
) -> Explanation:
    """Explain the prediction of `wca` over some crops: those that a run draws, or an image's own.

    The margin score(first) - score(second) is exactly a sum over pairs of a crop and a description
    of the first class: sum_ij w_i v_j (<p_i, t_j> / |T| - <p_i, T' / |T'|>) / |P|. T and T' are the
    weighted text embeddings of the first and the second class, P is the weighted crop embedding.
    Likewise it is a sum over the descriptions of the second class.

    Parameters
    ----------
    views : Views
        The image's whole, crops and crop weights.
    classes : ndarray
        `(classes, dim)`, the class vectors of length 1.
    texts : dict
        By class_id, the descriptions of the classes that have any.
    label : int or None
        The labelled class; it is explained too if it is neither first nor second.

    Returns
    -------
    Explanation
        Rows for each of the explanation tables.

    """
    scores = classes @ _unit(views.total)
    first, second = (int(c) for c in np.argsort(-scores, kind="stable")[:2])
    roles = {first: "predicted", second: "runner_up"}
    if label is not None:
        roles.setdefault(label, "labelled")
    supports = _pair_supports(views, texts[first], texts[second])
    return Explanation(
        [
            {
                "image_digest": views.image_digest,
                "role": role,
                "class_id": class_id,
                "score": float(scores[class_id]),
                "whole_score": float(classes[class_id] @ views.whole),
                "crop_count": len(views.crops),
            }
            for class_id, role in roles.items()
        ],
        [row for c in roles for row in _text_rows(views, texts[c], supports.get(c))],
        [row for c in (first, second) for row in _pair_rows(views, texts[c], supports[c], first)],
        [
            *_remove_texts(views, classes, texts[first], supports[first], second),
            *_remove_crops(views, classes, supports[first], first, second),
        ],
    )


def _unit(vector: Floats) -> Floats:
    """A vector at length 1; zero stays zero."""
    return vector / (np.linalg.norm(vector) or 1.0)


def _pair_supports(views: Views, first: ClassTexts, second: ClassTexts) -> dict[int, Floats]:
    """Compute what each pair adds to the margin: by class, `(crops, descriptions)`."""
    size = np.linalg.norm(views.total)
    supports = {}
    for mine, other, sign in ((first, second, 1), (second, first, -1)):
        similarity = views.crops @ mine.embeddings.T / np.linalg.norm(mine.total)
        rival = views.crops @ _unit(other.total)
        joint = views.weights[:, None] * mine.weights
        supports[mine.class_id] = sign * joint * (similarity - rival[:, None]) / size
    return supports


def _text_rows(views: Views, texts: ClassTexts, support: Floats | None) -> Rows:
    similarity = views.crops @ texts.embeddings.T
    whole = texts.embeddings @ views.whole
    weighted = texts.embeddings @ _unit(views.total)
    return [
        {
            "image_digest": views.image_digest,
            "class_id": texts.class_id,
            "position": position,
            "text_weight": float(texts.weights[j]),
            "whole_similarity": float(whole[j]),
            "weighted_similarity": float(weighted[j]),
            "best_similarity": float(similarity[:, j].max()),
            "best_crop_index": views.crop_indices[int(similarity[:, j].argmax())],
            "support": None if support is None else float(support[:, j].sum()),
        }
        for j, position in enumerate(texts.positions)
    ]


def _pair_rows(views: Views, texts: ClassTexts, support: Floats, first: int) -> Rows:
    """List the pairs that support a class most; those of the second class lower the margin most.

    Each description and each crop is in one pair at most, so that the pairs differ.
    """
    sign = 1 if texts.class_id == first else -1
    rows: Rows = []
    seen: tuple[set[int], set[int]] = (set(), set())
    for flat in np.argsort(-sign * support, axis=None, kind="stable"):
        i, j = (int(k) for k in np.unravel_index(flat, support.shape))
        if i in seen[0] or j in seen[1]:
            continue
        seen[0].add(i)
        seen[1].add(j)
        rows.append(
            {
                "image_digest": views.image_digest,
                "class_id": texts.class_id,
                "rank": len(rows) + 1,
                "position": texts.positions[j],
                "crop_index": views.crop_indices[i],
                "similarity": float(views.crops[i] @ texts.embeddings[j]),
                "text_weight": float(texts.weights[j]),
                "crop_weight": float(views.weights[i]),
                "support": float(support[i, j]),
            }
        )
        if len(rows) == PAIRS:
            break
    return rows


def _remove_texts(
    views: Views, classes: Floats, texts: ClassTexts, support: Floats, second: int
) -> Rows:
    """Predict without each description of the predicted class, and without the best so far.

    The other weights keep their proportions, as in a softmax over the other descriptions.
    """
    image = _unit(views.total)
    parts = texts.weights[:, None] * texts.embeddings

    def predict(total: Floats) -> _Prediction:
        changed = classes.copy()
        changed[texts.class_id] = _unit(total)
        return _find_best(changed @ image, texts.class_id, second)

    removals = _remove_parts(parts, texts.total, support.sum(axis=0), predict)
    kind = {"image_digest": views.image_digest, "removed": "description"}
    return [{**kind, **row, "index": texts.positions[j]} for j, row in removals]


def _remove_crops(views: Views, classes: Floats, support: Floats, first: int, second: int) -> Rows:
    """Predict without each crop, and without the best so far."""
    parts = views.weights[:, None] * views.crops

    def predict(total: Floats) -> _Prediction:
        return _find_best(classes @ _unit(total), first, second)

    removals = _remove_parts(parts, views.total, support.sum(axis=1), predict)
    kind = {"image_digest": views.image_digest, "removed": "crop"}
    return [{**kind, **row, "index": views.crop_indices[i]} for i, row in removals]


def _remove_parts(
    parts: Floats, total: Floats, support: Floats, predict: Callable[[Floats], "_Prediction"]
) -> Iterator[tuple[int, dict[str, object]]]:
    """Predict without each of the parts whose sum is `total`, the best supported part first.

    Each part is left out alone, and together with all parts before it.
    """
    order = np.argsort(-support, kind="stable").tolist()
    left = total
    for step, i in enumerate(order, start=1):
        left = left - parts[i] if step < len(order) else np.zeros_like(left)  # nothing is left
        alone = predict(total - parts[i] if len(order) > 1 else left)
        together = predict(left)
        yield (
            i,
            {
                "step": step,
                **alone._asdict(),
                "class_id_together": together.class_id,
                "margin_together": together.margin,
            },
        )


class _Prediction(NamedTuple):
    class_id: int
    margin: float


def _find_best(scores: Floats, first: int, second: int) -> _Prediction:
    """Find the class with the highest score, and by how much `first` leads `second`."""
    return _Prediction(int(np.argmax(scores)), float(scores[first] - scores[second]))
