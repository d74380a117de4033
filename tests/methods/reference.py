"""The formulas as plain nested loops over floats: what every score is compared with."""

import math
from collections.abc import Callable, Sequence

Vector = Sequence[float]


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


def weighted_sum(masses: Sequence[float], rows: Sequence[Vector]) -> list[float]:
    return [
        math.fsum(m * x for m, x in zip(masses, column, strict=True))
        for column in zip(*rows, strict=True)
    ]


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
    left, right = weighted_sum(w, crops), weighted_sum(v, texts)
    return total / (math.sqrt(dot(left, left)) * math.sqrt(dot(right, right)))


def refine(texts: Sequence[Vector], label: Vector) -> list[Vector]:
    """BiFTA: most like the label first, none that is like a kept one, at most fifty."""
    kept: list[Vector] = []
    for text in sorted(texts, key=lambda t: -dot(t, label)):
        if len(kept) < 50 and all(dot(text, other) < 0.99 for other in kept):
            kept.append(text)
    return kept


# By the names of the sides. A score is the product of the two, scaled to length 1 unless the text
# side is the printed sum.
IMAGE_SIDES: dict[str, Callable[[Vector, Sequence[Vector], float | None], Vector]] = {
    "whole": lambda whole, crops, scale: whole,
    "equal_crops": lambda whole, crops, scale: weighted_sum(weights(crops, whole, None), crops),
    "weighted_crops": lambda whole, crops, scale: weighted_sum(weights(crops, whole, scale), crops),
}
TEXT_SIDES: dict[str, Callable[[Vector, Sequence[Vector], float | None], Vector]] = {
    **dict.fromkeys(
        ("label", "templates", "descriptors", "words", "descriptions"),
        lambda label, texts, scale: mean_direction(texts),
    ),
    "weighted_descriptions": lambda label, texts, scale: unit(
        weighted_sum(weights(texts, label, scale), texts)
    ),
    "printed_descriptions": lambda label, texts, scale: weighted_sum(
        weights(texts, label, scale), texts
    ),
    "refined_descriptions": lambda label, texts, scale: unit(
        weighted_sum(weights(refine(texts, label), label, scale), refine(texts, label))
    ),
}
