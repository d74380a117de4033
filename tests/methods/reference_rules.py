"""The rules that are no product of two vectors, as plain nested loops over floats."""

import math
from collections.abc import Callable, Sequence

from tests.methods.reference import Vector, dot, softmax, unit, weighted_sum

Texts = Sequence[Sequence[Vector]]  # of each class


def entropy(logits: Sequence[float]) -> float:
    return -math.fsum(p * math.log(p) for p in softmax(logits) if p > 0)


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def lower_median(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def zero(
    views: Sequence[Vector], labels: Sequence[Vector], scale: float, keep: float = 0.3
) -> list[float]:
    """Votes of each class; the class that wins a tie has one more."""
    cosines = [[dot(view, label) for label in labels] for view in views]
    order = sorted(
        range(len(views)), key=lambda n: entropy([scale * cosine for cosine in cosines[n]])
    )
    best = [max(range(len(labels)), key=lambda c: cosines[n][c]) for n in order]
    count = int(len(views) * keep)
    votes = [float(best[:count].count(c)) for c in range(len(labels))]
    tied = [c for c in range(len(labels)) if votes[c] == max(votes)]
    if len(tied) > 1 and count < len(views):
        deciding = [c for c in best[count:] if c in tied]
        winner = (deciding or [max(tied, key=lambda c: cosines[order[count]][c])])[0]
        votes[winner] += 1
    return votes


def awt(
    views: Sequence[Vector],
    texts: Texts,
    scale: float,
    temperature: float = 0.5,
    regularisation: float = 0.1,
) -> list[float]:
    """sum_nm P_nm <p_n, t_cm> with the transport P of each class c."""
    classes = range(len(texts))
    cosines = [[[dot(view, text) for text in texts[c]] for c in classes] for view in views]
    means = [[scale * mean(of_class) for of_class in of_view] for of_view in cosines]
    a = softmax([-entropy(logits) / temperature for logits in means])
    b = [
        softmax(
            [
                -entropy([scale * cosine if k == c else means[0][k] for k in classes]) / temperature
                for cosine in cosines[0][c]
            ]
        )
        for c in classes
    ]
    kernels = [
        [[math.exp(-(1 - x) / regularisation) for x in of_view[c]] for of_view in cosines]
        for c in classes
    ]
    r = [[1.0] * len(views) for _ in classes]
    columns = [[1.0] * len(texts[c]) for c in classes]
    for _ in range(100):
        changes = []
        for c in classes:
            before = r[c]
            r[c] = [a[n] / dot(kernels[c][n], columns[c]) for n in range(len(views))]
            columns[c] = [
                b[c][m] / math.fsum(kernels[c][n][m] * r[c][n] for n in range(len(views)))
                for m in range(len(texts[c]))
            ]
            changes += [abs(new - old) for new, old in zip(r[c], before, strict=True)]
        if mean(changes) < 0.01:
            break
    return [
        math.fsum(
            r[c][n] * kernels[c][n][m] * columns[c][m] * cosines[n][c][m]
            for n in range(len(views))
            for m in range(len(texts[c]))
        )
        for c in classes
    ]


def soft_match(crops: Sequence[Vector], texts: Texts, temperature: float = 0.03) -> list[float]:
    """ABS: sum_n sum_m q_ncm S_ncm."""
    scores = [0.0] * len(texts)
    for crop in crops:
        similarities = [[dot(crop, text) / temperature for text in of_class] for of_class in texts]
        masses = iter(softmax([s for of_class in similarities for s in of_class]))
        for c, of_class in enumerate(similarities):
            scores[c] += math.fsum(next(masses) * s for s in of_class)
    return scores


def soft_trim(
    whole: Vector,
    texts: Texts,
    scale: float,
    outlier: float = 2.5,
    slopes: tuple[float, float] = (0.1, 4.0),
) -> list[float]:
    """CGBC: sum w s / sum w, over the logit scale."""
    scores = []
    for of_class in texts:
        s = [scale * dot(whole, text) for text in of_class]
        middle = lower_median(s)
        mad = lower_median([abs(x - middle) for x in s]) + 1e-6
        share = sum(abs(x - middle) > outlier * mad for x in s) / len(s)
        kappa = slopes[1] if share == 0 else math.log((1 - share) / share) if share < 1 else 0.0
        kappa = min(max(kappa, slopes[0]), slopes[1])
        w = [_sigmoid(kappa * (x - middle) / mad) for x in s]
        scores.append(dot(w, s) / math.fsum(w) / scale)
    return scores


def mta_mode(
    views: Sequence[Vector],
    labels: Sequence[Vector],
    scale: float,
    keep: float = 0.3,
    affinity: float = 4.0,
    temperature: float = 0.2,
) -> list[float]:
    """The mode m of the views."""
    count = len(views)
    if count == 1:
        return list(views[0])

    def squared_distance(a: Vector, b: Vector) -> float:
        return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    def densities(mode: Vector) -> list[float]:
        return [
            math.exp(-squared_distance(view, mode) / (2 * h))
            for view, h in zip(views, bandwidths, strict=True)
        ]

    nearest = max(1, int(keep * (count - 1)))
    bandwidths = []
    for i in range(count):
        others = sorted(squared_distance(views[i], views[j]) for j in range(count) if j != i)
        bandwidths.append(max(mean(others[:nearest]), 1e-12) / 2)
    classes = [softmax([scale * dot(view, label) for label in labels]) for view in views]
    weights = [1 / count] * count
    mode = list(views[0])
    for _ in range(5):
        density = densities(mode)
        for _ in range(5):
            before = weights
            weights = softmax(
                [
                    (density[i] + affinity * math.fsum(
                        dot(classes[i], classes[j]) * before[j] for j in range(count)
                    )) / temperature
                    for i in range(count)
                ]
            )  # fmt: skip
            if squared_distance(weights, before) < 1e-12:
                break
        for _ in range(5):
            last = mode
            masses = [d * y for d, y in zip(densities(mode), weights, strict=True)]
            mode = unit(weighted_sum(masses, views))
            if squared_distance(mode, last) < 1e-12:
                break
    return mode


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


# By name: from views (the whole first), labels, each class's texts and the logit scale to scores.
RULES: dict[str, Callable[[Sequence[Vector], Sequence[Vector], Texts, float], list[float]]] = {
    "zero": lambda views, labels, texts, scale: zero(views, labels, scale),
    "awt": lambda views, labels, texts, scale: awt(views, texts, scale),
    "soft_match": lambda views, labels, texts, scale: soft_match(views[1:], texts),
    "soft_trim": lambda views, labels, texts, scale: soft_trim(views[0], texts, scale),
}
