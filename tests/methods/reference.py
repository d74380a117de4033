"""method.md as plain nested loops over floats: what every score is compared with."""

import math
from collections.abc import Sequence
from typing import NamedTuple

Vector = Sequence[float]


class Row(NamedTuple):
    """A row of the results table, as the paper has it."""

    texts: str
    is_weighted: bool = False
    is_normalised: bool = True
    is_refined: bool = False


ROWS = {
    "clip": Row("label"),
    "clip_e": Row("template"),
    "clip_d": Row("descriptor"),
    "waffle": Row("waffle"),
    "cupl": Row("description"),
    "wca": Row("description", is_weighted=True),
    "wca_refined": Row("description", is_weighted=True, is_refined=True),
    "wca_paper": Row("description", is_weighted=True, is_normalised=False),
}


def dot(a: Vector, b: Vector) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def unit(a: Vector) -> list[float]:
    length = math.sqrt(dot(a, a))
    return [x / length for x in a]


def mean_direction(rows: Sequence[Vector]) -> list[float]:
    rows = [unit(row) for row in rows]
    return unit([math.fsum(column) / len(rows) for column in zip(*rows, strict=True)])


def softmax(values: Sequence[float]) -> list[float]:
    top = max(values)
    masses = [math.exp(v - top) for v in values]
    return [m / math.fsum(masses) for m in masses]


def weights(rows: Sequence[Vector], anchor: Vector, scale: float | None) -> list[float]:
    if scale is None:
        return [1 / len(rows)] * len(rows)
    return softmax([math.exp(scale) * dot(row, anchor) for row in rows])


def wca(
    whole: Vector,
    crops: Sequence[Vector],
    label: Vector,
    texts: Sequence[Vector],
    image_scale: float | None,
    text_scale: float | None,
    normalised: bool,
) -> float:
    """sum_ij w_i v_j <p_i, t_j>, crop by crop and description by description."""
    w = weights(crops, whole, image_scale)
    v = weights(texts, label, text_scale)
    total = math.fsum(
        w[i] * v[j] * dot(crops[i], texts[j]) for i in range(len(crops)) for j in range(len(texts))
    )
    if not normalised:
        return total
    left = [math.fsum(w[i] * c for i, c in enumerate(col)) for col in zip(*crops, strict=True)]
    right = [math.fsum(v[j] * t for j, t in enumerate(col)) for col in zip(*texts, strict=True)]
    return total / (math.sqrt(dot(left, left)) * math.sqrt(dot(right, right)))


def refine(texts: Sequence[Vector], label: Vector) -> list[Vector]:
    """BiFTA: most like the label first, none that is like a kept one, at most fifty."""
    kept: list[Vector] = []
    for text in sorted(texts, key=lambda t: -dot(t, label)):
        if len(kept) < 50 and all(dot(text, other) < 0.99 for other in kept):
            kept.append(text)
    return kept
